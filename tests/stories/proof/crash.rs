//! The crash proof: the service is killed, frozen, left without disk and without its database again and again, at random
//! moments, while webhooks come in and the chat server breaks at random.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use openim_bridge::model::Clock;
use openim_bridge::outbox::postgres::{Address, Options, PostgresOutbox};
use openim_bridge::outbox::{DeliveryRecord, Outbox};
use openim_bridge::sandbox::Plan;
use serde_json::json;
use tokio::task::JoinSet;

use super::books::{Books, Exception};
use super::ground::records;
use super::is_long;
use crate::database::{Server, shared};
use crate::stage::{SECRET, Service, Stage};

/// Connections that post at the same time; each has groups of its own and posts to them in turn.
const SENDERS: usize = 8;

/// Groups of a sender.
const GROUPS: usize = 5;

/// A sender rests so long after each answer: what was accepted has to be delivered in the end.
const REST: Duration = Duration::from_millis(60);

/// The same where each round takes long.
const LONG_REST: Duration = Duration::from_secs(2);

/// The latest moment of a blow, after the service is ready.
const LATEST: Duration = Duration::from_millis(800);

/// How long the rest of the deliveries may take, once all is well again: settling is part of it.
const DRAIN: Duration = Duration::from_secs(400);

/// Settling in real time: the shortest that the settings take.
const LIMITS: &str = r#"
[delivery]
retry  = { first = "1s", longest = "5s" }
limits = { connect = "1s", answer = "5s", settle = "30s", prove = "60s" }
"#;

/// The faults of which each round plays some.
const FAULTS: [&str; 13] = [
    "slow:by=10ms..400ms,probability=0.2",
    "reset:probability=0.05",
    "reset:message=taken,probability=0.1",
    "http:probability=0.05",
    "http:code=500,message=taken,probability=0.05",
    "html:message=taken,probability=0.05",
    "rpc-cut:probability=0.1",
    "redis-lost:by=50ms,probability=0.05",
    "token:probability=0.02",
    "status-lost",
    "unreadable:probability=0.3",
    "early-seq:by=1s,probability=0.2",
    "repeat:probability=0.1",
];

/// Numbers that look random and come again with the same seed (SplitMix64).
struct Dice(u64);

impl Dice {
    fn throw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn moment(&mut self, latest: Duration) -> Duration {
        latest.mul_f64(self.throw() as f64 / u64::MAX as f64)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.throw() % end as u64) as usize
    }

    /// Four faults.
    fn plan(&mut self) -> Plan {
        let faults: Vec<&str> = (0..4).map(|_| FAULTS[self.below(FAULTS.len())]).collect();
        Plan::of(self.throw(), &faults).unwrap()
    }
}

/// The doors that are open, the senders before them, and the chat server behind.
struct Field {
    stage: Stage,
    dice: Dice,
    doors: Arc<Mutex<Vec<String>>>,
    senders: Vec<Sender>,
    posting: JoinSet<()>,
    over: Arc<AtomicBool>,
}

/// A sender with a connection of its own. It posts one webhook after the other and repeats one until it is answered.
#[derive(Clone)]
struct Sender {
    number: usize,
    client: reqwest::Client,
    /// The webhook that has no answer yet; all before it were accepted.
    next: Arc<AtomicU32>,
    /// So many answers said that it was a repeat; so many that it could not be kept.
    repeats: Arc<AtomicUsize>,
    refusals: Arc<AtomicUsize>,
}

impl Sender {
    fn group(&self, group: usize) -> String {
        format!("k{}-{group}", self.number)
    }

    fn place(&self, webhook: u32) -> (String, String) {
        let group = self.group(webhook as usize % GROUPS);
        let id = format!("{group}/{}", webhook / GROUPS as u32);
        (group, id)
    }

    async fn post(self, doors: Arc<Mutex<Vec<String>>>, over: Arc<AtomicBool>, rest: Duration) {
        let mut turn = self.number;
        // What was begun is brought to its end: the last webhook has an answer, too.
        let mut unanswered = false;
        while unanswered || !over.load(Ordering::SeqCst) {
            Clock::system().sleep(rest).await;
            turn += 1;
            let door = {
                let doors = doors.lock().unwrap();
                doors.get(turn % doors.len().max(1)).cloned()
            };
            let Some(door) = door else { continue };
            let webhook = self.next.load(Ordering::SeqCst);
            let (group, id) = self.place(webhook);
            let body = json!({"id": id, "title": id, "team": group});
            let request = self.client.post(&door).bearer_auth(SECRET).json(&body);
            unanswered = true;
            let Ok(answer) = request.send().await else {
                continue;
            };
            match answer.status().as_u16() {
                200 => self.repeats.fetch_add(1, Ordering::SeqCst),
                202 => 0,
                503 => {
                    self.refusals.fetch_add(1, Ordering::SeqCst);
                    continue;
                }
                other => panic!("{other}: {:?}", answer.text().await),
            };
            unanswered = false;
            self.next.store(webhook + 1, Ordering::SeqCst);
        }
    }
}

impl Field {
    /// Sets the stage, with an outbox at `storage`, and lets the senders begin.
    async fn open(storage: &str, seed: u64, rest: Duration) -> Field {
        let bridge = r#"
extends = "json"
secrets = ["env:HOOK_SECRET"]

[[route]]
to = [{ group = "body.team" }]
"#;
        let stage = Stage::set(&[("json", bridge)]).await;
        let settings = std::fs::read_to_string(stage.path("openim-bridge.toml")).unwrap();
        let settings = settings.replace("sqlite:openim-bridge.db", storage);
        let settings = settings.replace("[groups]", &format!("{LIMITS}\n[groups]"));
        stage.write("openim-bridge.toml", &settings);
        let senders: Vec<Sender> = (0..SENDERS)
            .map(|number| Sender {
                number,
                client: reqwest::Client::builder()
                    .timeout(Duration::from_secs(10))
                    .build()
                    .unwrap(),
                next: Arc::default(),
                repeats: Arc::default(),
                refusals: Arc::default(),
            })
            .collect();
        let groups: Vec<String> = senders
            .iter()
            .flat_map(|sender| (0..GROUPS).map(|group| sender.group(group)))
            .collect();
        stage.open_groups(&groups);
        let (doors, over) = (
            Arc::<Mutex<Vec<String>>>::default(),
            Arc::<AtomicBool>::default(),
        );
        let posting = senders
            .iter()
            .map(|sender| sender.clone().post(doors.clone(), over.clone(), rest))
            .collect();
        Field {
            stage,
            dice: Dice(seed),
            doors,
            senders,
            posting,
            over,
        }
    }

    /// Starts a service and opens its door to the senders.
    async fn serve(&self) -> Service {
        let service = self.stage.serve().await;
        self.doors.lock().unwrap().push(service.hook("json"));
        service
    }

    async fn kill(&self, service: Service) {
        let hook = service.hook("json");
        service.kill().await;
        self.doors.lock().unwrap().retain(|door| *door != hook);
    }

    fn new_faults(&mut self) {
        let plan = self.dice.plan();
        self.stage.sandbox.play(plan);
    }

    async fn moment(&mut self, latest: Duration) {
        let moment = self.dice.moment(latest);
        Clock::system().sleep(moment).await;
    }

    /// Lets the senders end and everything be delivered, with no faults any more; stops the services and counts.
    async fn close(mut self, services: Vec<Service>, what: &str) -> Field {
        self.stage.sandbox.be_well();
        self.over.store(true, Ordering::SeqCst);
        while let Some(ended) = self.posting.join_next().await {
            ended.unwrap();
        }
        let began = Instant::now();
        loop {
            let health = services[0].health().await;
            let left = ["waiting", "sending", "accepted"]
                .map(|state| health["deliveries"][state].as_u64().unwrap());
            if left.iter().sum::<u64>() == 0 {
                break;
            }
            assert!(
                began.elapsed() < DRAIN,
                "{what}: [waiting, sending, accepted] = {left:?}: {health}"
            );
            Clock::system().sleep(Duration::from_millis(200)).await;
        }
        for service in services {
            assert!(service.stop().await);
        }
        eprintln!(
            "{what}: all had ended {:.0} s after the last blow",
            began.elapsed().as_secs_f64()
        );
        self
    }

    /// What the books say, and a line of a table.
    fn count(
        &self,
        records: BTreeMap<String, DeliveryRecord>,
        what: &str,
        rounds: usize,
        seed: u64,
    ) {
        let open = records
            .values()
            .filter(|record| {
                record
                    .attempts
                    .iter()
                    .any(|attempt| attempt.ended.is_none())
            })
            .count();
        let kept = records.len();
        let books = Books {
            records,
            account: self.stage.sandbox.account(),
        };
        let accepted: Vec<Vec<String>> = self
            .senders
            .iter()
            .flat_map(|sender| {
                let count = sender.next.load(Ordering::SeqCst);
                (0..GROUPS).map(move |group| {
                    let own = (0..count).filter(move |webhook| *webhook as usize % GROUPS == group);
                    own.map(|webhook| sender.place(webhook).1).collect()
                })
            })
            .collect();
        let counts = books.count(&accepted);
        let sum = |of: fn(&Sender) -> &AtomicUsize| -> usize {
            self.senders
                .iter()
                .map(|sender| of(sender).load(Ordering::SeqCst))
                .sum()
        };
        eprintln!(
            "| {what} | {rounds} | {} | {} | {} | {open} | {counts} |  seed {seed}",
            counts.accepted,
            sum(|sender| &sender.repeats),
            sum(|sender| &sender.refusals),
        );
        assert!(
            counts.broken.is_empty(),
            "{what}, seed {seed}: {} broken:\n{}",
            counts.broken.len(),
            counts.broken.join("\n")
        );
        let may = [Exception::Unproven, Exception::NotTaken].into();
        let more: Vec<&Exception> = counts.exceptions.difference(&may).collect();
        assert!(
            more.is_empty(),
            "{what}, seed {seed}: {more:?}: {:?}",
            counts.reasons
        );
        assert_eq!(
            kept, counts.accepted,
            "{what}, seed {seed}: more is kept than was posted"
        );
    }
}

fn seed() -> u64 {
    Clock::system().now().as_nanosecond() as u64
}

/// So many blows in the long form, so many in the short one.
fn rounds(long: usize, short: usize) -> usize {
    if is_long() { long } else { short }
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_at_any_moment_loses_nothing_and_repeats_nothing() {
    let (seed, rounds) = (seed(), rounds(100, 10));
    let what = "`kill -9`, SQLite";
    let mut field = Field::open("sqlite:openim-bridge.db", seed, REST).await;
    for _ in 0..rounds {
        field.new_faults();
        let service = field.serve().await;
        field.moment(LATEST).await;
        field.kill(service).await;
    }
    let service = field.serve().await;
    let field = field.close(vec![service], what).await;
    let records = field.stage.kept().await;
    field.count(records, what, rounds, seed);
}

/// A small disk of its own; it is taken away with this value.
struct Disk(tempfile::TempDir);

impl Disk {
    /// `None` where only root may do this, and we are not.
    fn mount(megabytes: usize) -> Option<Disk> {
        let folder = tempfile::tempdir().unwrap();
        let size = format!("size={megabytes}m");
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(folder.path())
            .output();
        mounted
            .is_ok_and(|ran| ran.status.success())
            .then_some(Disk(folder))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Leaves so many bytes of it free.
    fn fill(&self, leave: u64) {
        let free = rustix_free(self.path());
        let filler = std::fs::File::create(self.path().join("filler")).unwrap();
        let block = vec![7; 1 << 16];
        let mut left = free.saturating_sub(leave);
        while left > 0 {
            let part = left.min(block.len() as u64) as usize;
            match std::io::Write::write(&mut &filler, &block[..part]) {
                Ok(written) => left -= written as u64,
                Err(_) => break, // it is full
            }
        }
    }

    fn free(&self) {
        std::fs::remove_file(self.path().join("filler")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount")
            .arg("-l")
            .arg(self.path())
            .status();
    }
}

/// The free bytes of a disk, as `df` says.
fn rustix_free(path: &Path) -> u64 {
    let said = std::process::Command::new("df")
        .args(["--output=avail", "-B1"])
        .arg(path)
        .output()
        .unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    said.lines().nth(1).unwrap().trim().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_loses_nothing_and_repeats_nothing() {
    let (seed, rounds) = (seed(), rounds(100, 4));
    let what = "disk full, and `kill -9`, SQLite";
    // Above the floor of free space that the outbox keeps, 64 MiB.
    let Some(disk) = Disk::mount(160) else {
        eprintln!("skipped: only root can mount the small disk that this needs");
        return;
    };
    let file = disk.path().join("outbox.db");
    let mut field = Field::open(&format!("sqlite:{}", file.display()), seed, REST).await;
    for round in 0..rounds {
        field.new_faults();
        let service = field.serve().await;
        field.moment(LATEST).await;
        // Below the floor, where the courier can still write; or with no byte left.
        let leave = [32 << 20, 0][field.dice.below(2)];
        disk.fill(leave);
        field.moment(LATEST).await;
        match round % 2 {
            0 => field.kill(service).await,
            _ => {
                disk.free();
                field.moment(LATEST).await;
                field.kill(service).await;
                continue;
            }
        }
        disk.free();
    }
    let service = field.serve().await;
    let field = field.close(vec![service], what).await;
    let records = field.stage.kept_in(&file).await;
    field.count(records, what, rounds, seed);
}

/// How long a lane is leased: who is silent for longer has lost it.
const LEASE: Duration = Duration::from_secs(30);

async fn kept_at(url: &str) -> BTreeMap<String, DeliveryRecord> {
    let address = Address::parse(url).unwrap();
    let outbox = PostgresOutbox::open(&address, Options::default(), Clock::system());
    let outbox = outbox.await.unwrap();
    let records = records(&outbox).await;
    outbox.close().await.unwrap();
    records
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_of_one_of_two_replicas_loses_nothing_and_repeats_nothing() {
    let (seed, rounds) = (seed(), rounds(100, 4));
    let what = "`kill -9` of one of two replicas, PostgreSQL";
    let url = shared().schema().url();
    let mut field = Field::open(&url, seed, REST).await;
    let mut services = vec![field.serve().await, field.serve().await];
    for _ in 0..rounds {
        field.new_faults();
        field.moment(LATEST).await;
        let hit = services.swap_remove(field.dice.below(2));
        field.kill(hit).await;
        services.push(field.serve().await);
    }
    let field = field.close(services, what).await;
    field.count(kept_at(&url).await, what, rounds, seed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_the_database_loses_nothing_and_repeats_nothing() {
    let (seed, rounds) = (seed(), rounds(100, 2));
    let what = "PostgreSQL killed and started, two replicas";
    let mut server = Server::start(true);
    let url = server.schema().url();
    let mut field = Field::open(&url, seed, REST).await;
    let services = vec![field.serve().await, field.serve().await];
    for _ in 0..rounds {
        field.new_faults();
        field.moment(LATEST * 2).await;
        tokio::task::block_in_place(|| {
            server.down();
            server.up();
        });
    }
    let field = field.close(services, what).await;
    field.count(kept_at(&url).await, what, rounds, seed);
}

/// One pair of replicas, of which one is frozen past its lease again and again.
async fn freeze(url: &str, seed: u64, rounds: usize, what: &str) {
    let mut field = Field::open(url, seed, LONG_REST).await;
    let services = vec![field.serve().await, field.serve().await];
    for _ in 0..rounds {
        field.new_faults();
        field.moment(LATEST).await;
        let frozen = &services[field.dice.below(2)];
        frozen.signal("STOP");
        let more = field.dice.moment(Duration::from_secs(6));
        Clock::system().sleep(LEASE + more).await;
        frozen.signal("CONT");
        field.moment(LATEST).await;
    }
    let field = field.close(services, what).await;
    field.count(kept_at(url).await, what, rounds, seed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_frozen_past_its_lease_repeats_nothing() {
    let (seed, pairs, rounds) = (seed(), rounds(10, 1), rounds(10, 1));
    let freezing: JoinSet<()> = (0..pairs)
        .map(|pair| async move {
            let what = "a replica frozen (SIGSTOP) for 30 to 36 s, PostgreSQL";
            freeze(&shared().schema().url(), seed + pair as u64, rounds, what).await;
        })
        .collect();
    freezing.join_all().await;
}
