//! What the door has seen since the service started: which secrets fitted, and why requests were refused.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::bridge::Bridge;
use crate::model::{SecretInUse, SecretRef, Timestamp};

/// Refusals by their reason, one word each.
pub type Refusals = BTreeMap<&'static str, u64>;

/// What the door has seen. Bounded by the bridges of the rule-books: what names no bridge is counted under the empty name.
#[derive(Debug, Default)]
pub struct Seen {
    refused: Mutex<BTreeMap<String, Refusals>>,
    verified: Mutex<HashMap<String, Vec<Verified>>>,
    /// Tells a secret from the one that stood there before; random, and nowhere shown.
    marks: RandomState,
}

/// What one secret has verified.
#[derive(Debug)]
struct Verified {
    reference: SecretRef,
    mark: u64,
    count: u64,
    last: Timestamp,
}

impl Seen {
    /// Counts a refusal; `bridge` is empty when none is meant.
    pub fn refused(&self, bridge: &str, reason: &'static str) {
        let mut refused = lock(&self.refused);
        // A name is copied once, not at each refusal.
        match refused.get_mut(bridge) {
            Some(reasons) => *reasons.entry(reason).or_default() += 1,
            None => drop(refused.insert(bridge.to_owned(), [(reason, 1)].into())),
        }
    }

    /// All refusals, by bridge and reason. The empty name holds those that mean no bridge.
    pub fn all_refusals(&self) -> BTreeMap<String, Refusals> {
        lock(&self.refused).clone()
    }

    /// The refusals of one bridge, or of no bridge by the empty name.
    pub fn refusals(&self, bridge: &str) -> Refusals {
        lock(&self.refused).get(bridge).cloned().unwrap_or_default()
    }

    /// How many requests of a bridge failed to prove who sent them.
    pub fn not_authentic(&self, bridge: &str) -> u64 {
        let refusals = self.refusals(bridge);
        let unproven = refusals.iter().filter(|(reason, _)| {
            !reason.starts_with("body_") && !["too_many", "not_kept"].contains(reason)
        });
        unproven.map(|(_, many)| many).sum()
    }

    /// Counts that a secret of a bridge, by its number from 1, has verified a request.
    pub fn verified(&self, bridge: &Bridge, number: usize, now: Timestamp) {
        let Some((reference, mark)) = self.secret(bridge, number) else {
            return;
        };
        let mut verified = lock(&self.verified);
        if !verified.contains_key(&bridge.name) {
            verified.insert(bridge.name.clone(), Vec::new());
        }
        let Some(of_bridge) = verified.get_mut(&bridge.name) else {
            return;
        };
        match of_bridge
            .iter_mut()
            .find(|known| known.reference == *reference)
        {
            Some(known) if known.mark == mark => {
                known.count += 1;
                known.last = known.last.max(now);
            }
            known => {
                let fresh = Verified {
                    reference: reference.clone(),
                    mark,
                    count: 1,
                    last: now,
                };
                match known {
                    Some(known) => *known = fresh,
                    None => of_bridge.push(fresh),
                }
            }
        }
    }

    /// The secrets of a bridge in its order, each with what it has verified. A new secret under an old reference begins
    /// at nothing.
    pub fn secrets(&self, bridge: &Bridge) -> Vec<SecretInUse> {
        let verified = lock(&self.verified);
        let of_bridge = verified.get(&bridge.name).map_or(&[][..], Vec::as_slice);
        let numbers = 1..=bridge.secrets.len();
        let secrets = numbers.filter_map(|number| self.secret(bridge, number));
        secrets
            .map(|(reference, mark)| {
                let known = of_bridge
                    .iter()
                    .find(|known| known.reference == *reference && known.mark == mark);
                SecretInUse {
                    secret: reference.to_string(),
                    verified: known.map_or(0, |known| known.count),
                    last: known.map(|known| format!("{:.0}", known.last)),
                }
            })
            .collect()
    }

    fn secret<'b>(&self, bridge: &'b Bridge, number: usize) -> Option<(&'b SecretRef, u64)> {
        let reference = bridge.secrets.get(number.checked_sub(1)?)?;
        let secret = bridge.auth.as_ref()?.secret(number)?;
        Some((reference, self.marks.hash_one(secret.expose())))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
