//! `kill -9` again and again while webhooks come in: nothing that was accepted is missing, and what stands twice had an
//! attempt that a crash left open.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use openim_bridge::model::{Clock, Conversation};
use serde_json::json;

use crate::stage::{SECRET, Service, Stage};

/// How often the service is killed.
const ROUNDS: usize = 50;

/// Connections that post at the same time; each has groups of its own and posts to them in turn.
const CONNECTIONS: usize = 8;

/// Groups per connection: many, so that not the pace of a conversation sets the time that this takes.
const GROUPS: usize = 5;

/// Webhooks that a connection posts in one round at most: four for each of its groups, well below a conversation's burst.
const IN_A_ROUND: u32 = 20;

/// The latest moment of a kill, after the service is ready.
const LATEST: Duration = Duration::from_millis(150);

/// Numbers that look random and come again with the same seed (SplitMix64).
struct Dice(u64);

impl Dice {
    fn throw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn moment(&mut self) -> Duration {
        LATEST.mul_f64(self.throw() as f64 / u64::MAX as f64)
    }
}

/// A sender with a connection of its own. It posts one webhook after the other and repeats one until it is answered.
#[derive(Clone)]
struct Sender {
    number: usize,
    /// Made once: that takes longer than a round.
    client: reqwest::Client,
    /// The webhook that has no answer yet; all before it were accepted.
    next: Arc<AtomicU32>,
}

impl Sender {
    /// The group of a webhook, and its number there: from 0 on, without gaps.
    fn place(&self, webhook: u32) -> (String, u32) {
        let group = webhook as usize % GROUPS;
        let name = format!("k{}-{group}", self.number);
        (name, webhook / GROUPS as u32)
    }

    /// How many of a group's webhooks were accepted.
    fn accepted(&self, group: usize) -> u32 {
        let all = self.next.load(Ordering::SeqCst);
        all / GROUPS as u32 + u32::from((all as usize % GROUPS) > group)
    }

    /// Posts until the service is gone or the round is full. How many answers said that it was a repeat.
    async fn post(self, hook: String) -> usize {
        let mut repeats = 0;
        for _ in 0..IN_A_ROUND {
            let webhook = self.next.load(Ordering::SeqCst);
            let (group, number) = self.place(webhook);
            let body = json!({
                "id": format!("{group}/{number}"),
                "title": format!("n{number}"),
                "team": group,
            });
            let request = self.client.post(&hook).bearer_auth(SECRET).json(&body);
            let Ok(answer) = request.send().await else {
                return repeats;
            };
            match answer.status().as_u16() {
                200 => repeats += 1,
                202 => {}
                other => panic!("{other}: {:?}", answer.text().await),
            }
            self.next.store(webhook + 1, Ordering::SeqCst);
        }
        repeats
    }
}

fn round(senders: &[Sender], service: &Service) -> tokio::task::JoinSet<usize> {
    let hook = service.hook("json");
    senders
        .iter()
        .map(|sender| sender.clone().post(hook.clone()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_accepted_is_missing_after_50_times_kill_9() {
    let seed = Clock::system().now().as_nanosecond() as u64;
    eprintln!("kill: the seed of the moments is {seed}");
    let mut dice = Dice(seed);
    let bridge = r#"
extends = "json"
secrets = ["env:HOOK_SECRET"]

[[route]]
to = [{ group = "body.team" }]
"#;
    let stage = Stage::set(&[("json", bridge)]).await;
    let senders: Vec<Sender> = (0..CONNECTIONS)
        .map(|number| Sender {
            number,
            client: reqwest::Client::new(),
            next: Arc::default(),
        })
        .collect();
    let groups = senders
        .iter()
        .flat_map(|sender| (0..GROUPS as u32).map(|group| sender.place(group).0));
    let groups: Vec<String> = groups.collect();
    stage.open_groups(&groups);

    let mut repeats = 0;
    for _ in 0..ROUNDS {
        let service = stage.serve().await;
        let posting = round(&senders, &service);
        Clock::system().sleep(dice.moment()).await;
        service.kill().await;
        repeats += posting.join_all().await.iter().sum::<usize>();
    }
    let service = stage.serve().await;
    repeats += round(&senders, &service)
        .join_all()
        .await
        .iter()
        .sum::<usize>();
    stage
        .until("all that was accepted is delivered", async || {
            let health = service.health().await;
            let left = ["waiting", "sending"].map(|state| health["deliveries"][state].as_u64());
            left.iter().all(|left| left.unwrap_or(0) == 0)
        })
        .await;
    assert!(service.stop().await);
    let kept = stage.kept().await;

    let is_open = |event: &str| {
        let attempts = &kept[event].attempts;
        attempts.iter().any(|attempt| attempt.ended.is_none())
    };
    let (mut accepted, mut twice, mut disordered) = (0, Vec::new(), Vec::new());
    for sender in &senders {
        for group in 0..GROUPS {
            let name = sender.place(group as u32).0;
            let chat = Conversation::Group(format!("g_{name}"));
            let said = stage.sandbox.messages(&chat);
            let mut firsts = Vec::new();
            let mut seen = BTreeSet::new();
            for message in &said {
                let text = message.content.to_string();
                let digits = text.split('n').find_map(number_at_start);
                let number = digits.unwrap_or_else(|| panic!("no number in {text}"));
                match seen.insert(number) {
                    true => firsts.push(number),
                    false => twice.push(format!("{name}/{number}")),
                }
            }
            let promised = sender.accepted(group);
            let missing: Vec<u32> = (0..promised).filter(|n| !seen.contains(n)).collect();
            assert!(missing.is_empty(), "{name} misses {missing:?}: {seen:?}");
            assert_eq!(seen.len(), promised as usize, "{name} has what nobody sent");
            accepted += promised;
            for pair in firsts.windows(2).filter(|pair| pair[0] > pair[1]) {
                disordered.push((format!("{name}/{}", pair[0]), format!("{name}/{}", pair[1])));
            }
        }
    }
    assert_eq!(kept.len(), accepted as usize);
    let open = kept.keys().filter(|event| is_open(event)).count();
    eprintln!(
        "kill: {ROUNDS} kills, {accepted} webhooks accepted in {} groups ({repeats} by the answer to their repeat), \
         {open} had an attempt that a crash left open, {} stand twice, {} out of order",
        groups.len(),
        twice.len(),
        disordered.len()
    );
    for event in &twice {
        assert!(
            is_open(event),
            "{event} stands twice without an open attempt"
        );
    }
    for (early, late) in &disordered {
        assert!(
            is_open(early) || is_open(late),
            "{late} stands behind {early} and neither had an open attempt"
        );
    }
}

/// The number that a text begins with.
fn number_at_start(text: &str) -> Option<u32> {
    let end = text.find(|c: char| !c.is_ascii_digit());
    text[..end.unwrap_or(text.len())].parse().ok()
}
