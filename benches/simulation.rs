//! The long form of the simulation: a million stories of bad luck, and what came of them.
//!
//! `cargo bench --bench simulation` plays a million seeds on all cores; `cargo bench --bench simulation -- SEED` tells one.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a simulation that goes wrong shall stop; what it counts is printed"
)]

#[path = "../tests/stories/simulation/mod.rs"]
mod simulation;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use simulation::{Ending, play};

/// Seeds of one run, where the command line does not say it.
const MANY: u64 = 1_000_000;

#[derive(Default)]
struct Sum {
    stories: u64,
    deliveries: usize,
    lost: usize,
    twice: usize,
    out_of_order: usize,
    crashes: usize,
    steps: usize,
    exceptions: BTreeMap<&'static str, usize>,
    violations: Vec<(u64, Vec<String>)>,
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).filter(|it| !it.starts_with("--"));
    let numbers: Vec<u64> = arguments
        .by_ref()
        .filter_map(|it| it.parse().ok())
        .collect();
    if let [seed] = numbers.as_slice() {
        let (ending, told) = play(*seed, true, |_| {});
        println!("{told}\n{ending:#?}");
        return ExitCode::from(u8::from(!ending.violations.is_empty()));
    }
    let (from, many) = match numbers.as_slice() {
        [from, many, ..] => (*from, *many),
        _ => (0, MANY),
    };
    let sum = Mutex::new(Sum::default());
    let next = AtomicU64::new(from);
    let cores = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                let mut mine = Sum::default();
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + many {
                        break;
                    }
                    mine.add(seed, play(seed, false, |_| {}).0);
                }
                sum.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .merge(mine);
            });
        }
    });
    let sum = sum.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!(
        "{} stories, {} deliveries, {} crashes, {} steps",
        sum.stories, sum.deliveries, sum.crashes, sum.steps
    );
    println!(
        "lost {}, twice {}, out of order {}; of these by a named exception:",
        sum.lost, sum.twice, sum.out_of_order
    );
    for (exception, many) in &sum.exceptions {
        println!("  {many:>8}  {exception}");
    }
    println!("without one: {} stories", sum.violations.len());
    for (seed, violations) in sum.violations.iter().take(20) {
        println!("  seed {seed}: {}", violations.join("; "));
    }
    ExitCode::from(u8::from(!sum.violations.is_empty()))
}

impl Sum {
    fn add(&mut self, seed: u64, ending: Ending) {
        self.merge(Sum {
            stories: 1,
            deliveries: ending.deliveries,
            lost: ending.lost,
            twice: ending.twice,
            out_of_order: ending.out_of_order,
            crashes: ending.crashes,
            steps: ending.steps,
            exceptions: ending.exceptions,
            violations: match ending.violations.is_empty() {
                true => Vec::new(),
                false => vec![(seed, ending.violations)],
            },
        });
    }

    fn merge(&mut self, other: Sum) {
        self.stories += other.stories;
        self.deliveries += other.deliveries;
        self.lost += other.lost;
        self.twice += other.twice;
        self.out_of_order += other.out_of_order;
        self.crashes += other.crashes;
        self.steps += other.steps;
        for (exception, many) in other.exceptions {
            *self.exceptions.entry(exception).or_default() += many;
        }
        self.violations.extend(other.violations);
    }
}
