//! The short form of the simulation. The long one is `cargo bench --bench simulation`.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use openim_bridge::deliver::Policy;

use crate::simulation::{Ending, play};

/// Plays seeds in two threads and gives what they came to.
fn play_all(seeds: std::ops::Range<u64>, change: fn(&mut Policy)) -> Vec<(u64, Ending)> {
    let endings = Mutex::new(Vec::new());
    let half = seeds.start + (seeds.end - seeds.start) / 2;
    std::thread::scope(|scope| {
        for part in [seeds.start..half, half..seeds.end] {
            let endings = &endings;
            scope.spawn(move || {
                let mine: Vec<_> = part
                    .map(|seed| (seed, play(seed, false, change).0))
                    .collect();
                endings.lock().unwrap().extend(mine);
            });
        }
    });
    endings.into_inner().unwrap()
}

#[test]
fn whatever_happens_nothing_is_lost_repeated_or_disordered_but_by_a_named_exception() {
    let mut exceptions: BTreeMap<&str, usize> = BTreeMap::new();
    let mut crashes = 0;
    for (seed, ending) in play_all(0..10_000, |_| {}) {
        assert_eq!(
            ending.violations, [""; 0],
            "`cargo bench --bench simulation -- {seed}` tells it"
        );
        crashes += ending.crashes;
        for (exception, many) in ending.exceptions {
            *exceptions.entry(exception).or_default() += many;
        }
    }
    eprintln!("{crashes} crashes; {exceptions:#?}");
    assert!(crashes > 1000);
}

#[test]
fn the_simulation_notices_who_repeats_an_unclear_send_too_early() {
    let endings = play_all(0..3_000, |policy| policy.settle = Duration::from_secs(20));
    let noticed = endings
        .iter()
        .filter(|(_, ending)| !ending.violations.is_empty());
    assert!(noticed.count() > 0);
}

#[test]
fn the_simulation_notices_who_gives_up_while_there_is_time() {
    let endings = play_all(0..1_000, |policy| {
        policy.schedule.horizon = Duration::from_secs(5)
    });
    let noticed = endings
        .iter()
        .filter(|(_, ending)| !ending.violations.is_empty());
    assert!(noticed.count() > 0);
}
