//! The delivery protocol under every bad luck there is, in virtual time: the decision functions and the rules of a lane that
//! run in the service, between a model of OpenIM and a model of the outbox, driven by one seed.
//!
//! One or two owners work on one or two lanes. Each await of the courier and of its reader is a step of its own, and an
//! owner may crash or freeze between any two. At the end an observer who knows everything counts what was lost, said twice
//! or out of order; each of these must be one of the exceptions that the protocol names.

pub mod rows;
pub mod server;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::fmt::Write as _;
use std::time::Duration;

use openim_bridge::deliver::decide;
use openim_bridge::deliver::decide::readings::{
    Part, Reading, Sight, Span, last_known, reaches_back, settle, spans,
};
use openim_bridge::deliver::{Outage, Policy, Unproven};
use openim_bridge::model::{
    Claim, Content, Conversation, DeliveryId, Hold, Message, Outcome, Push, Receipt, Timestamp,
};
use openim_bridge::outbox::{Look, Window};

use self::rows::{Claimed, LaneRow, Row, Rows};
use self::server::{Moods, Server};

/// How long a request may take in all.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// A lease must outlast a request by this.
const SPARE: Duration = Duration::from_secs(1);
/// Bad luck ends here; what is open then has to come to its end.
const FAULTS_END: Duration = Duration::from_secs(40 * 60);
/// A story that is not over by then is stuck.
const STORY_ENDS: Duration = Duration::from_secs(4 * 24 * 60 * 60);

/// A story of more steps goes round in circles.
const MOST_STEPS: usize = 30_000;

/// Random numbers from one seed.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.roll() % limit.max(1)
    }

    /// So many times of a thousand.
    pub fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }

    pub fn span(&mut self, from_ms: u64, to_ms: u64) -> Duration {
        Duration::from_millis(from_ms + self.below(to_ms - from_ms))
    }

    fn fraction(&mut self) -> f64 {
        f64::from(u32::try_from(self.roll() >> 32).unwrap()) / (f64::from(u32::MAX) + 1.0)
    }
}

pub fn later(moment: Timestamp, span: Duration) -> Timestamp {
    moment.saturating_add(span).unwrap()
}

pub fn ago(earlier: Timestamp, later: Timestamp) -> Duration {
    later.duration_since(earlier).try_into().unwrap_or_default()
}

/// What a story came to, for the sums.
#[derive(Clone, Debug, Default)]
pub struct Ending {
    pub deliveries: usize,
    pub lost: usize,
    pub twice: usize,
    pub out_of_order: usize,
    /// How often each named exception was met.
    pub exceptions: BTreeMap<&'static str, usize>,
    /// What no exception explains.
    pub violations: Vec<String>,
    pub crashes: usize,
    pub steps: usize,
}

/// An owner's process.
struct Owner {
    /// Which process this is: what an earlier one had under way is gone.
    life: usize,
    alive: bool,
    frozen_until: Option<Timestamp>,
    /// Its clock against the true one, in ms.
    clock_apart: i64,
    send_wake: Option<Timestamp>,
    look_wake: Option<Timestamp>,
    /// Its breaker is open: nobody asks before.
    no_look_before: Timestamp,
}

/// A request that is on its way.
#[derive(Clone, Debug)]
struct Request {
    owner: usize,
    life: usize,
    claim: Claimed,
    written: Timestamp,
}

/// Something that happens.
#[derive(Clone, Debug)]
enum Step {
    Keep {
        lane: usize,
        conversation: Conversation,
    },
    WakeSend(usize),
    WakeLook(usize),
    /// The newest seq is asked before the first message.
    AskBaseline(Request),
    KeepBaseline(Request, i64),
    Write(Request),
    Arrive(Request),
    Answer(Request, Answered),
    AskStatus(Request, Outcome),
    Record(Request, Outcome),
    AskNewest(Box<Glance>),
    PullFirst(Box<Glance>),
    PullSecond(Box<Glance>),
    Settle(Box<Glance>),
    Crash(usize),
    Start(usize),
    Freeze(usize),
    DropQueue(Conversation),
    Reset(Conversation),
    Hide(Conversation),
    GoDown,
    Release,
}

#[derive(Clone, Debug)]
enum Answered {
    Accepted(Receipt),
    Later,
    Refused,
    Lost,
}

/// A look of the reader, step by step.
#[derive(Clone, Debug)]
struct Glance {
    owner: usize,
    life: usize,
    lane: usize,
    look: Look,
    sight: Sight,
    first: Vec<(Conversation, Span)>,
    second: Vec<(Conversation, Span)>,
    newest: BTreeMap<Conversation, i64>,
}

pub struct Story {
    dice: Dice,
    now: Timestamp,
    start: Timestamp,
    queue: BinaryHeap<Reverse<(Timestamp, u64)>>,
    steps: BTreeMap<u64, Step>,
    number: u64,
    owners: Vec<Owner>,
    rows: Rows,
    server: Server,
    policy: Policy,
    stride: i64,
    /// How requests end, in per mille.
    lost_before: u64,
    lost_after: u64,
    slow: u64,
    not_now: u64,
    refused: u64,
    history_fails: u64,
    ending: Ending,
    /// What happened, in words; only when asked for.
    told: Option<String>,
}

/// Plays the story of one seed by a policy that `change` may spoil. With `tell`, what happened is told in words.
pub fn play(seed: u64, tell: bool, change: impl FnOnce(&mut Policy)) -> (Ending, String) {
    let mut story = Story::new(seed, tell);
    change(&mut story.policy);
    story.run();
    story.judge();
    (story.ending, story.told.unwrap_or_default())
}

impl Story {
    fn new(seed: u64, tell: bool) -> Story {
        let mut dice = Dice::new(seed);
        let start: Timestamp = "2026-07-02T10:00:00Z".parse().unwrap();
        // Most stories have few kinds of bad luck, or none could be told apart.
        let mut luck = |most: u64| match dice.below(3) {
            0 => dice.below(most + 1),
            _ => 0,
        };
        let moods = Moods {
            drops: luck(300),
            stalls: luck(300),
            early_seqs: luck(500),
            holes: luck(200),
            vanishes: luck(100),
            filled_late: luck(60),
            repeats: luck(300),
            others: luck(900),
            status_lost: luck(1000),
        };
        let (lost_before, lost_after, slow) = (luck(300), luck(300), luck(200));
        let (not_now, refused, history_fails) = (luck(300), luck(50), luck(400));
        let (crashes, freezes) = (luck(6), luck(4));
        let (queue_drops, resets, hides, downs) = (luck(4), luck(2), luck(3), luck(2));
        let leased = dice.chance(600);
        let policy = Policy {
            unproven: match dice.chance(250) {
                true => Unproven::Hold,
                false => Unproven::Repeat,
            },
            window: Window {
                messages: [1, 2, 4, 32][usize::try_from(dice.below(4)).unwrap()],
                ..Window::default()
            },
            ..Policy::default()
        };
        let clock = |dice: &mut Dice, apart: u64| {
            i64::try_from(dice.below(2 * apart)).unwrap() - i64::try_from(apart).unwrap()
        };
        let owners = (0..if leased { 2 } else { 1 })
            .map(|_| Owner {
                life: 0,
                alive: true,
                frozen_until: None,
                clock_apart: clock(&mut dice, 2_000),
                send_wake: None,
                look_wake: None,
                no_look_before: start,
            })
            .collect::<Vec<_>>();
        let server = Server::new(moods, clock(&mut dice, 120_000));
        // So many in a row are never without a message here; in life it is an exception that the protocol names.
        let stride = [10, 30, 200][usize::try_from(dice.below(3)).unwrap()];
        let mut story = Story {
            dice,
            now: start,
            start,
            queue: BinaryHeap::new(),
            steps: BTreeMap::new(),
            number: 0,
            owners,
            rows: Rows {
                lanes: Vec::new(),
                leased,
            },
            server,
            policy,
            stride,
            lost_before,
            lost_after,
            slow,
            not_now,
            refused,
            history_fails,
            ending: Ending::default(),
            told: tell.then(String::new),
        };
        story.prepare(crashes, freezes, [queue_drops, resets, hides, downs]);
        story
    }

    fn prepare(&mut self, crashes: u64, freezes: u64, faults: [u64; 4]) {
        let group = Conversation::Group("g".into());
        let chats = [
            Conversation::Person("u".into()),
            Conversation::Notice("u".into()),
        ];
        let lanes = match self.dice.below(3) {
            0 => vec![vec![group]],
            1 => vec![chats.to_vec()],
            _ => vec![vec![group], chats.to_vec()],
        };
        let mut all = Vec::new();
        for (number, conversations) in lanes.into_iter().enumerate() {
            self.rows.lanes.push(LaneRow {
                name: conversations[0].lane(),
                epoch: 1,
                owner: None,
                lease_until: self.start,
                in_hand: None,
                stopped: false,
                held: false,
                look: None,
                newest_look: None,
                looking: None,
                cursors: BTreeMap::new(),
                rows: Vec::new(),
            });
            let many = 1 + self.dice.below(6);
            let spread = [100, 10_000, 1_000_000][usize::try_from(self.dice.below(3)).unwrap()];
            for _ in 0..many {
                let which = self.dice.below(u64::try_from(conversations.len()).unwrap());
                let conversation = conversations[usize::try_from(which).unwrap()].clone();
                let wait = self.dice.span(0, spread);
                self.at(
                    wait,
                    Step::Keep {
                        lane: number,
                        conversation,
                    },
                );
            }
            all.extend(conversations);
        }
        let any = |dice: &mut Dice| {
            let which = dice.below(u64::try_from(all.len()).unwrap());
            all[usize::try_from(which).unwrap()].clone()
        };
        let owners = u64::try_from(self.owners.len()).unwrap();
        // Most happens while most is under way.
        let moment = |dice: &mut Dice| match dice.chance(700) {
            true => dice.span(0, 20_000),
            false => dice.span(0, 1_500_000),
        };
        for _ in 0..crashes {
            let (wait, who) = (moment(&mut self.dice), self.dice.below(owners));
            self.at(wait, Step::Crash(usize::try_from(who).unwrap()));
        }
        for _ in 0..freezes {
            let (wait, who) = (moment(&mut self.dice), self.dice.below(owners));
            self.at(wait, Step::Freeze(usize::try_from(who).unwrap()));
        }
        let [queue_drops, resets, hides, downs] = faults;
        for _ in 0..queue_drops {
            let (wait, which) = (moment(&mut self.dice), any(&mut self.dice));
            self.at(wait, Step::DropQueue(which));
        }
        for _ in 0..resets {
            let (wait, which) = (moment(&mut self.dice), any(&mut self.dice));
            self.at(wait, Step::Reset(which));
        }
        for _ in 0..hides {
            let (wait, which) = (moment(&mut self.dice), any(&mut self.dice));
            self.at(wait, Step::Hide(which));
        }
        for _ in 0..downs {
            let wait = moment(&mut self.dice);
            self.at(wait, Step::GoDown);
        }
    }

    fn at(&mut self, wait: Duration, step: Step) {
        let moment = later(self.now, wait);
        self.at_moment(moment, step);
    }

    fn at_moment(&mut self, moment: Timestamp, step: Step) {
        self.number += 1;
        self.steps.insert(self.number, step);
        self.queue
            .push(Reverse((moment.max(self.now), self.number)));
    }

    /// A short wait on the network or for the disk.
    fn soon(&mut self, step: Step) {
        let wait = self.dice.span(1, 20);
        self.at(wait, step);
    }

    fn tell(&mut self, words: impl FnOnce() -> String) {
        let at = ago(self.start, self.now);
        if let Some(told) = &mut self.told {
            let _ = writeln!(told, "{:>10.3} {}", at.as_secs_f64(), words());
        }
    }

    fn run(&mut self) {
        let end = later(self.start, STORY_ENDS);
        while let Some(Reverse((moment, number))) = self.queue.pop() {
            if moment > end {
                break;
            }
            if self.ending.steps > MOST_STEPS {
                self.ending.violations.push("it never rests".to_owned());
                break;
            }
            self.now = moment;
            self.ending.steps += 1;
            let step = self.steps.remove(&number).unwrap();
            self.server.advance(self.now, &mut self.dice);
            if let Some(owner) = step.owner()
                && let Some(until) = self.owners[owner]
                    .frozen_until
                    .filter(|until| *until > moment)
            {
                self.at_moment(until, step);
                continue;
            }
            self.take(step);
            self.wake();
        }
    }

    /// Each owner sees what the outbox has for it, a moment later.
    fn wake(&mut self) {
        for owner in 0..self.owners.len() {
            if !self.owners[owner].alive {
                continue;
            }
            let (send, look) = self.rows.next_due(owner, &self.policy);
            let soonest = later(self.now, Duration::from_millis(1));
            if let Some(send) = send.map(|due| due.max(soonest))
                && self.owners[owner]
                    .send_wake
                    .is_none_or(|known| known > send)
            {
                self.owners[owner].send_wake = Some(send);
                self.at_moment(send, Step::WakeSend(owner));
            }
            if let Some(look) =
                look.map(|due| due.max(soonest).max(self.owners[owner].no_look_before))
                && self.owners[owner]
                    .look_wake
                    .is_none_or(|known| known > look)
            {
                self.owners[owner].look_wake = Some(look);
                self.at_moment(look, Step::WakeLook(owner));
            }
        }
    }

    fn is_calm(&self) -> bool {
        ago(self.start, self.now) >= FAULTS_END
    }

    fn luck(&mut self, per_mille: u64) -> bool {
        !self.is_calm() && self.dice.chance(per_mille)
    }

    fn lives(&self, owner: usize, life: usize) -> bool {
        self.owners[owner].alive && self.owners[owner].life == life
    }

    /// The outbox's clock is the true one; an owner's may differ.
    fn clock_of(&self, owner: usize) -> Timestamp {
        let apart = jiff::SignedDuration::from_millis(self.owners[owner].clock_apart);
        self.now.saturating_add(apart).unwrap()
    }

    fn outage(&self, since: Timestamp) -> Outage {
        let (lasted, until) = self.server.outage(since, self.now);
        Outage {
            lasted,
            next_try: until.map(|until| until.min(later(self.now, Duration::from_secs(30)))),
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Keep { lane, conversation } => {
                let number = u128::try_from(self.ending.deliveries).unwrap() + 1;
                let id = DeliveryId(uuid::Uuid::from_u128(number));
                let row = Row::new(id, conversation, self.now);
                self.rows.lanes[lane].rows.push(row);
                self.ending.deliveries += 1;
            }
            Step::WakeSend(owner) => self.send(owner),
            Step::WakeLook(owner) => self.look(owner),
            Step::AskBaseline(request) if self.lives(request.owner, request.life) => {
                match self.server.is_down(self.now) {
                    true => self.soon(Step::Record(request, later_because("down"))),
                    false => {
                        let newest = self.server.newest(&request.claim.conversation);
                        self.soon(Step::KeepBaseline(request, newest));
                    }
                }
            }
            Step::KeepBaseline(request, newest) if self.lives(request.owner, request.life) => {
                let conversation = request.claim.conversation.clone();
                self.rows
                    .baseline(request.claim.lane, &conversation, newest);
                self.soon(Step::Write(request));
            }
            Step::Write(request) if self.lives(request.owner, request.life) => self.write(request),
            Step::Arrive(request) => self.arrive(request),
            Step::Answer(request, answer) if self.lives(request.owner, request.life) => {
                let outcome = match answer {
                    Answered::Accepted(receipt) => Outcome::Accepted(Some(receipt)),
                    Answered::Refused => Outcome::Refused("no".into()),
                    Answered::Later => later_because("muted"),
                    Answered::Lost => Outcome::Ambiguous {
                        reason: "lost".into(),
                        after: None,
                    },
                };
                match outcome {
                    Outcome::Ambiguous { .. } => self.soon(Step::AskStatus(request, outcome)),
                    outcome => self.soon(Step::Record(request, outcome)),
                }
            }
            Step::AskStatus(request, outcome) if self.lives(request.owner, request.life) => {
                let operation_id = &request.claim.attempt.operation_id;
                let queued = self.server.says_queued(operation_id);
                let known = queued && !self.server.is_down(self.now);
                let outcome = match known {
                    true => Outcome::Accepted(None),
                    false => outcome,
                };
                self.soon(Step::Record(request, outcome));
            }
            Step::Record(request, outcome) if self.lives(request.owner, request.life) => {
                self.record(&request, &outcome);
            }
            Step::AskNewest(glance) if self.lives(glance.owner, glance.life) => {
                self.ask_newest(*glance);
            }
            Step::PullFirst(glance) if self.lives(glance.owner, glance.life) => {
                self.pull_first(*glance);
            }
            Step::PullSecond(glance) if self.lives(glance.owner, glance.life) => {
                self.pull_second(*glance);
            }
            Step::Settle(glance) if self.lives(glance.owner, glance.life) => self.settle(&glance),
            Step::Crash(owner) if self.owners[owner].alive => {
                self.tell(|| format!("owner {owner} crashes"));
                self.ending.crashes += 1;
                let process = &mut self.owners[owner];
                process.alive = false;
                process.life += 1;
                process.frozen_until = None;
                let wait = self.dice.span(100, 60_000);
                self.at(wait, Step::Start(owner));
            }
            Step::Start(owner) => {
                let process = &mut self.owners[owner];
                process.alive = true;
                process.send_wake = None;
                process.look_wake = None;
                if !self.rows.leased {
                    self.rows.recover(self.now);
                } else {
                    // A new process is another owner: its lanes come back with their leases.
                    for lane in &mut self.rows.lanes {
                        if lane.owner == Some(owner) {
                            lane.owner = Some(usize::MAX);
                        }
                    }
                }
                self.tell(|| format!("owner {owner} starts"));
            }
            Step::Freeze(owner) if self.owners[owner].alive => {
                let until = later(self.now, self.dice.span(1_000, 90_000));
                self.owners[owner].frozen_until = Some(until);
                self.tell(|| format!("owner {owner} freezes until {until}"));
            }
            Step::DropQueue(conversation) => {
                self.tell(|| format!("the queue of {conversation} is dropped"));
                self.server.drop_queue(&conversation);
            }
            Step::Reset(conversation) => {
                self.tell(|| format!("{conversation} is reset"));
                self.server.reset(&conversation, self.now);
            }
            Step::Hide(conversation) => {
                let until = later(self.now, self.dice.span(1_000, 2_000_000));
                self.tell(|| format!("{conversation} cannot be read until {until}"));
                self.server.hide(&conversation, until);
            }
            Step::GoDown => {
                let until = later(self.now, self.dice.span(1_000, 1_200_000));
                if !self.server.is_down(self.now) {
                    self.tell(|| format!("the server is down until {until}"));
                    self.server.down_until = Some(until);
                    self.server.downs.push((self.now, until));
                }
            }
            Step::Release => {
                for lane in 0..self.rows.lanes.len() {
                    self.rows.release(lane, self.now);
                }
                self.tell(|| "an operator releases what is held".to_owned());
            }
            gone => self.tell(|| format!("nobody is there any more for {}", gone.word())),
        }
    }

    fn send(&mut self, owner: usize) {
        if !self.owners[owner].alive || self.owners[owner].send_wake > Some(self.now) {
            return;
        }
        self.owners[owner].send_wake = None;
        let life = self.owners[owner].life;
        for claim in self.rows.claim(owner, &self.policy, self.now) {
            self.tell(|| {
                let attempt = &claim.attempt;
                format!(
                    "owner {owner} claims {} as attempt {} ({})",
                    short(claim.delivery),
                    attempt.number,
                    claim.conversation
                )
            });
            let has_baseline = claim.has_baseline;
            let request = Request {
                owner,
                life,
                claim,
                written: self.now,
            };
            match has_baseline {
                true => self.soon(Step::Write(request)),
                false => self.soon(Step::AskBaseline(request)),
            }
        }
    }

    fn write(&mut self, mut request: Request) {
        let needed = later(self.now, ANSWER_WITHIN + SPARE);
        let outlasts = request.claim.hold_until.is_none_or(|end| needed <= end);
        if !outlasts {
            self.soon(Step::Record(
                request,
                later_because("the lease ends too soon"),
            ));
            return;
        }
        if self.server.is_down(self.now) {
            self.soon(Step::Record(request, later_because("not connected")));
            return;
        }
        request.written = self.now;
        if self.luck(self.lost_before) {
            let wait = self.dice.span(1, 15_000);
            self.at(wait, Step::Answer(request, Answered::Lost));
            return;
        }
        // Bytes may be late, and a server may hang; the courier waits so long and no longer.
        let wait = match self.luck(self.slow) {
            true => self.dice.span(1_000, 110_000),
            false => self.dice.span(1, 30),
        };
        if wait > ANSWER_WITHIN {
            self.at(ANSWER_WITHIN, Step::Answer(request.clone(), Answered::Lost));
        }
        self.at(wait, Step::Arrive(request));
    }

    fn arrive(&mut self, request: Request) {
        let answer = if self.luck(self.refused) {
            Answered::Refused
        } else if self.luck(self.not_now) {
            Answered::Later
        } else {
            let claim = &request.claim;
            let receipt = self.server.take(
                &claim.conversation,
                claim.delivery,
                &claim.attempt.operation_id,
                request.written,
                self.now,
                &mut self.dice,
            );
            let dropped = self.server.taken.last().is_some_and(|taken| taken.dropped);
            self.tell(|| {
                let fate = if dropped { ", and drops it" } else { "" };
                format!("the server takes {}{fate}", short(request.claim.delivery))
            });
            match self.luck(self.lost_after) {
                true => Answered::Lost,
                false => Answered::Accepted(receipt),
            }
        };
        if ago(request.written, self.now) <= ANSWER_WITHIN {
            self.soon(Step::Answer(request, answer));
        }
    }

    fn record(&mut self, request: &Request, outcome: &Outcome) {
        let claim = &request.claim;
        let whole = Claim {
            delivery: claim.delivery,
            bridge: String::new(),
            event: String::new(),
            conversation: claim.conversation.clone(),
            message: nothing(),
            attempt: claim.attempt.clone(),
            first_attempt: claim.first_attempt,
            epoch: claim.epoch,
            hold: Hold::Ever,
            has_baseline: claim.has_baseline,
            folded: None,
        };
        let now = self.clock_of(request.owner);
        let outage = self.outage(claim.first_attempt);
        let random = self.dice.fraction();
        let decision = decide::answers::decide(&whole, outcome, &outage, &self.policy, now, random);
        let taken = self.rows.record(claim, now, &decision);
        self.tell(|| {
            let late = if taken { "" } else { ", too late" };
            format!(
                "owner {} records {}: {}{late}",
                request.owner,
                short(claim.delivery),
                word(outcome)
            )
        });
    }

    fn look(&mut self, owner: usize) {
        if !self.owners[owner].alive || self.owners[owner].look_wake > Some(self.now) {
            return;
        }
        self.owners[owner].look_wake = None;
        if self.server.is_down(self.now) {
            let wait = self.dice.span(1_000, 30_000);
            self.owners[owner].no_look_before = later(self.now, wait);
            return;
        }
        let life = self.owners[owner].life;
        for (lane, look) in self.rows.looks(owner, self.now) {
            let sight = Sight {
                at: self.clock_of(owner),
                ..Sight::default()
            };
            let glance = Glance {
                owner,
                life,
                lane,
                look,
                sight,
                first: Vec::new(),
                second: Vec::new(),
                newest: BTreeMap::new(),
            };
            self.soon(Step::AskNewest(Box::new(glance)));
        }
    }

    fn ask_newest(&mut self, mut glance: Glance) {
        let unclear = glance.look.unsettled.iter().filter(|one| !one.accepted);
        for unsettled in unclear {
            if self.server.says_queued(&unsettled.attempt.operation_id) {
                glance.sight.queued.insert(unsettled.delivery);
            }
        }
        let fails = self.luck(self.history_fails) || self.server.is_down(self.now);
        if !fails {
            for unsettled in &glance.look.unsettled {
                let conversation = &unsettled.conversation;
                let newest = self.server.newest(conversation);
                glance.newest.insert(conversation.clone(), newest);
            }
        }
        for (conversation, newest) in &glance.newest {
            let cursor = glance.look.cursors.get(conversation).cloned();
            let cursor = cursor.unwrap_or_default();
            let mut asked = spans(&cursor, *newest, self.stride, false);
            asked.extend(last_known(
                &glance.look,
                *newest,
                conversation,
                glance.sight.at,
            ));
            let mut asked = asked.into_iter();
            glance
                .first
                .extend(asked.next().map(|span| (conversation.clone(), span)));
            glance
                .second
                .extend(asked.map(|span| (conversation.clone(), span)));
            let newest = *newest;
            let parts = Vec::new();
            let reading = Reading { newest, parts };
            glance.sight.readings.insert(conversation.clone(), reading);
        }
        self.soon(Step::PullFirst(Box::new(glance)));
    }

    fn pull_first(&mut self, mut glance: Glance) {
        for (conversation, span) in std::mem::take(&mut glance.first) {
            let Some(part) = self.pull(&conversation, span) else {
                continue;
            };
            let cursor = glance.look.cursors.get(&conversation).cloned();
            let cursor = cursor.unwrap_or_default();
            let newest = glance.newest[&conversation];
            let left_out = span.begin > cursor.seq + 1 && cursor.seq <= newest;
            if left_out && !reaches_back(&part, &glance.look.unsettled, &conversation) {
                let through = spans(&cursor, newest, self.stride, true);
                glance.second.retain(|(other, _)| *other != conversation);
                let more = through.first().map(|span| (conversation.clone(), *span));
                glance.second.extend(more);
            }
            glance.add(&conversation, part);
        }
        self.soon(Step::PullSecond(Box::new(glance)));
    }

    fn pull_second(&mut self, mut glance: Glance) {
        for (conversation, span) in std::mem::take(&mut glance.second) {
            if let Some(part) = self.pull(&conversation, span) {
                glance.add(&conversation, part);
            }
        }
        self.soon(Step::Settle(Box::new(glance)));
    }

    fn pull(&mut self, conversation: &Conversation, span: Span) -> Option<Part> {
        if self.server.is_down(self.now) || self.luck(self.history_fails) {
            return None;
        }
        let found = self.server.pull(conversation, span, self.now);
        Some(Part { span, found })
    }

    fn settle(&mut self, glance: &Glance) {
        let random = self.dice.fraction();
        let outage = |since| self.outage(since);
        let settled = settle(&glance.look, &glance.sight, outage, &self.policy, random);
        let ours = self.rows.settle(glance.lane, &settled);
        self.tell(|| {
            let mut fates = String::new();
            for settling in &settled.fates {
                let _ = write!(fates, " {} {:?};", short(settling.delivery), settling.fate);
            }
            let again = settled.look_again;
            let cursors = &settled.cursors;
            let stop = settled.stop;
            format!(
                "owner {} settles lane {} (taken {ours}, stop {stop}, again {again}, {cursors:?}):{fates}",
                glance.owner, glance.lane
            )
        });
        for settling in &settled.fates {
            if matches!(settling.fate, openim_bridge::outbox::Fate::Held) {
                let wait = self.dice.span(1_000, 3_000_000);
                self.at(wait, Step::Release);
            }
        }
        self.wake();
    }
}

impl Glance {
    fn add(&mut self, conversation: &Conversation, part: Part) {
        if let Some(reading) = self.sight.readings.get_mut(conversation) {
            reading.parts.push(part);
        }
    }
}

impl Step {
    /// Whose process takes the step.
    fn owner(&self) -> Option<usize> {
        match self {
            Step::WakeSend(owner) | Step::WakeLook(owner) | Step::Freeze(owner) => Some(*owner),
            Step::AskBaseline(request)
            | Step::KeepBaseline(request, _)
            | Step::Write(request)
            | Step::Answer(request, _)
            | Step::AskStatus(request, _)
            | Step::Record(request, _) => Some(request.owner),
            Step::AskNewest(glance)
            | Step::PullFirst(glance)
            | Step::PullSecond(glance)
            | Step::Settle(glance) => Some(glance.owner),
            _ => None,
        }
    }

    fn word(&self) -> &'static str {
        match self {
            Step::Answer(..) => "an answer",
            Step::Record(..) => "a record",
            Step::Settle(_) => "a settlement",
            _ => "a step",
        }
    }
}

fn later_because(why: &str) -> Outcome {
    Outcome::Later {
        reason: why.into(),
        after: None,
    }
}

fn word(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Accepted(_) => "accepted".into(),
        Outcome::Refused(_) => "refused".into(),
        Outcome::Later { reason, .. } => format!("later ({reason})"),
        Outcome::Ambiguous { .. } => "ambiguous".into(),
    }
}

fn short(delivery: DeliveryId) -> String {
    format!("d{}", delivery.0.as_u128() & 0xffff)
}

fn nothing() -> Message {
    Message {
        content: Content::Text {
            markdown: None,
            plain: String::new(),
            preview: String::new(),
            mentions: Vec::new(),
        },
        push: Push::Off,
        template: String::new(),
    }
}

mod judge;
