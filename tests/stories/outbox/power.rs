//! The commit is on disk before the answer: what the program does to its files is written down call by call, and then
//! the power fails at an answer. What no finished fsync covers is lost, wholly or in part; what was answered is not.

use std::path::{Path, PathBuf};
use std::process::Command;

use openim_bridge::model::Clock;
use openim_bridge::outbox::sqlite::{Options, SqliteOutbox};
use openim_bridge::outbox::{Filter, Outbox, Page};
use serde_json::json;

use crate::stage::{JSON, SECRET, Stage};

/// Small webhooks first, then large ones: enough for the log to be copied and to begin anew (at 32 MiB).
const SMALL: usize = 12;
const LARGE: usize = 48;
const LARGE_BODY: usize = 900 << 10;

/// The power fails at each answer to a small one, and so often at an answer while the log is copied.
const WHILE_COPIED: usize = 4;

/// One call of the program.
enum Call {
    Write {
        file: usize,
        at: usize,
        bytes: Vec<u8>,
    },
    Cut {
        file: usize,
        length: usize,
    },
    SyncBegins {
        file: usize,
        number: usize,
    },
    SyncEnds {
        file: usize,
        number: usize,
    },
    Answer {
        status: usize,
    },
}

/// The database and its log.
const FILES: [&str; 2] = ["outbox.db", "outbox.db-wal"];

/// Reads what `power.c` has written.
fn read_calls(path: &Path) -> Vec<Call> {
    let bytes = std::fs::read(path).unwrap();
    let mut rest = &bytes[..];
    let mut calls = Vec::new();
    while !rest.is_empty() {
        let number = |at: usize| {
            let bytes = rest[at..at + 8].try_into().unwrap();
            usize::try_from(u64::from_le_bytes(bytes)).unwrap()
        };
        let (what, file) = (rest[0], usize::from(rest[1] == b'l'));
        let (first, second) = (number(2), number(10));
        rest = &rest[18..];
        calls.push(match what {
            b'W' => {
                let bytes = rest[..second].to_vec();
                rest = &rest[second..];
                Call::Write {
                    file,
                    at: first,
                    bytes,
                }
            }
            b'T' => Call::Cut {
                file,
                length: first,
            },
            b'B' => Call::SyncBegins {
                file,
                number: first,
            },
            b'S' => Call::SyncEnds {
                file,
                number: first,
            },
            b'A' => Call::Answer { status: first },
            other => panic!("{other} is no call"),
        });
    }
    calls
}

/// What a file holds when the power fails: what fsyncs have covered, and what may or may not have reached the disk.
#[derive(Clone, Default)]
struct Disk {
    sure: Vec<u8>,
    unsure: Vec<usize>,
    /// How much of `unsure` each fsync covers that has begun.
    begun: Vec<(usize, usize)>,
}

fn apply(image: &mut Vec<u8>, call: &Call) {
    match call {
        Call::Write { at, bytes, .. } => {
            if image.len() < at + bytes.len() {
                image.resize(at + bytes.len(), 0);
            }
            image[*at..at + bytes.len()].copy_from_slice(bytes);
        }
        Call::Cut { length, .. } => image.resize(*length, 0),
        _ => panic!("it changes no file"),
    }
}

impl Disk {
    /// Takes note of a call about this file.
    fn note(&mut self, index: usize, calls: &[Call]) {
        match &calls[index] {
            Call::Write { .. } | Call::Cut { .. } => self.unsure.push(index),
            Call::SyncBegins { number, .. } => self.begun.push((*number, self.unsure.len())),
            Call::SyncEnds { number, .. } => {
                let place = self.begun.iter().position(|begun| begun.0 == *number);
                let (_, covers) = self.begun.remove(place.unwrap());
                for index in self.unsure.drain(..covers) {
                    apply(&mut self.sure, &calls[index]);
                }
                for other in &mut self.begun {
                    other.1 = other.1.saturating_sub(covers);
                }
            }
            Call::Answer { .. } => {}
        }
    }

    /// The file after the power has failed; `survives` says which of the unsure calls have reached the disk.
    fn after(&self, calls: &[Call], mut survives: impl FnMut() -> bool) -> Vec<u8> {
        let mut image = self.sure.clone();
        for index in self.unsure.iter().filter(|_| survives()) {
            apply(&mut image, &calls[*index]);
        }
        image
    }
}

/// Numbers that look random and are the same each time (SplitMix64).
struct Dice(u64);

impl Dice {
    fn throw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^ (mixed >> 27)
    }
}

/// How many of the first `answered` events are missing when the machine starts again with these files.
async fn missing(images: [Vec<u8>; 2], answered: usize) -> usize {
    let folder = tempfile::tempdir().unwrap();
    for (name, image) in FILES.iter().zip(images) {
        std::fs::write(folder.path().join(name), image).unwrap();
    }
    let file = folder.path().join(FILES[0]);
    let Ok(outbox) = SqliteOutbox::open(file, Options::default(), Clock::system()) else {
        return answered; // nothing can be read at all
    };
    let page = Page {
        after: None,
        most: 1000,
        oldest_first: true,
    };
    let kept = outbox.list_events(Filter::default(), page).await.unwrap();
    let there = |number: usize| {
        let id = format!("e{number}");
        kept.iter()
            .any(|one| one.event.id.as_str() == id && one.has_body)
    };
    (0..answered).filter(|number| !there(*number)).count()
}

/// Builds `power.c`.
fn build(folder: &Path) -> PathBuf {
    let library = folder.join("power.so");
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
        .arg(&library)
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/stories/outbox/power.c"
        ))
        .args(["-ldl", "-pthread"])
        .status();
    assert!(built.expect("there is a C compiler").success());
    library
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn whatever_was_answered_outlasts_a_power_failure() {
    let stage = Stage::set(&[("json", JSON)]).await;
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("calls");
    let mut program = stage.program(&["--log-format", "json", "serve"]);
    program
        .env("LD_PRELOAD", build(folder.path()))
        .env("POWER_LOG", &trace);
    let service = stage.start(program).await;
    for number in 0..SMALL + LARGE {
        let fill = if number < SMALL { 10 } else { LARGE_BODY };
        let body = json!({ "id": format!("e{number}"), "title": "t", "fill": "x".repeat(fill) });
        let post = stage.client.post(service.hook("json"));
        let answer = post.bearer_auth(SECRET).json(&body).send().await.unwrap();
        assert_eq!(answer.status(), 202);
    }
    service.kill().await;

    let calls = read_calls(&trace);
    let mut dice = Dice(1);
    let mut disks = [Disk::default(), Disk::default()];
    let (mut answered, mut checked, mut lost_without_fsync) = (0, 0, 0);
    let (mut copied, mut stirred) = (false, false);
    for (index, call) in calls.iter().enumerate() {
        match call {
            Call::Write { file, .. }
            | Call::Cut { file, .. }
            | Call::SyncBegins { file, .. }
            | Call::SyncEnds { file, .. } => {
                // A page of the database is written only when the log is copied, once the service has begun.
                copied |= answered > 0 && *file == 0;
                stirred |= answered > 0 && *file == 0;
                disks[*file].note(index, &calls);
            }
            Call::Answer { status: 202 } => {
                answered += 1;
                if answered > SMALL && (!stirred || checked == SMALL + WHILE_COPIED) {
                    continue;
                }
                (checked, stirred) = (checked + 1, false);
                let surely = disks.each_ref().map(|disk| disk.after(&calls, || false));
                assert_eq!(missing(surely, answered).await, 0, "at answer {answered}");
                let torn = disks
                    .each_ref()
                    .map(|disk| disk.after(&calls, || dice.throw().is_multiple_of(2)));
                assert_eq!(
                    missing(torn, answered).await,
                    0,
                    "at answer {answered}, torn"
                );
                // Without the fsyncs of the log since the first answer something would be missing: the test can fail.
                if answered == SMALL {
                    lost_without_fsync = without_fsync(&calls[..index], answered).await;
                }
            }
            Call::Answer { .. } => {}
        }
    }

    eprintln!(
        "power: {} calls, {answered} answers, the power failed at {checked} of them; the log was copied: {copied}; without \
         fsync {lost_without_fsync} of {SMALL} would be missing",
        calls.len()
    );
    assert_eq!(answered, SMALL + LARGE);
    assert!(
        copied,
        "the log was never copied: nothing is shown about that"
    );
    assert!(lost_without_fsync > 0);
}

/// How many would be missing if no fsync after the first answer had done anything.
async fn without_fsync(calls: &[Call], answered: usize) -> usize {
    let mut disks = [Disk::default(), Disk::default()];
    for (index, call) in calls.iter().enumerate() {
        match call {
            Call::Answer { status: 202 } => break,
            Call::Answer { .. } => {}
            Call::Write { file, .. }
            | Call::Cut { file, .. }
            | Call::SyncBegins { file, .. }
            | Call::SyncEnds { file, .. } => disks[*file].note(index, calls),
        }
    }
    let images = disks.each_ref().map(|disk| disk.after(calls, || false));
    missing(images, answered).await
}
