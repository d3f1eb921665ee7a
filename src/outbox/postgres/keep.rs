//! Keeping events with their deliveries, many in one transaction, and knowing those that come again.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio_postgres::Row;

use super::lanes::{self, LaneRow, Terms};
use super::pool::{Failed, Task, Tx};
use super::put::{Encoded, Origin, Places, Rows, encode, put_back};
use super::rows::{get, get_moment, get_state, get_text, micros, stored};
use crate::model::{DeliveryState, Event, EventId, Lane, SignedDigest, State};
use crate::outbox::{Kept, NewEvent, OutboxError};

/// A sender without ids repeats itself within this time (its retry); the same body later is news (its reminder).
const RETRY_WINDOW: Duration = Duration::from_secs(60);

/// An event with everything that can be made ready before its transaction begins.
pub(super) struct Keep {
    new: NewEvent,
    body_hash: [u8; 32],
    header: String,
    query: String,
    messages: Vec<Option<Encoded>>,
}

/// What makes two events the same, or nearly: equal ids and bodies, or that the same was signed.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Identity {
    /// A bridge, an id, the hash of a body.
    Named(String, String, [u8; 32]),
    /// A bridge, and what was signed.
    Signed(String, SignedDigest),
}

impl Identity {
    /// The number of the lock that who keeps such an event holds: one that comes in at another replica waits for it.
    fn lock(&self) -> i64 {
        let (bridge, parts): (_, [&[u8]; 2]) = match self {
            Identity::Named(bridge, id, body_hash) => (bridge, [id.as_bytes(), body_hash]),
            Identity::Signed(bridge, signed) => (bridge, [b"", signed]),
        };
        let mut digest = Sha256::new();
        digest.update(bridge.as_bytes());
        for part in parts {
            digest.update([0]);
            digest.update(part);
        }
        let digest = digest.finalize();
        i64::from_be_bytes(std::array::from_fn(|place| digest[place]))
    }
}

impl Keep {
    /// Hashes and encodes, on the caller's time.
    ///
    /// # Errors
    /// When a part cannot be written as JSON.
    pub fn prepare(new: NewEvent) -> Result<Keep, OutboxError> {
        let json = |error: serde_json::Error| OutboxError::Broken(error.to_string());
        Ok(Keep {
            body_hash: Sha256::digest(&new.event.raw).into(),
            header: serde_json::to_string(&new.event.header).map_err(json)?,
            query: serde_json::to_string(&new.event.query).map_err(json)?,
            messages: encode(&new.deliveries)?,
            new,
        })
    }

    /// How many bytes it brings to the database.
    pub fn bytes(&self) -> usize {
        let messages: usize = self.messages.iter().flatten().map(|m| m.json.len()).sum();
        self.new.event.raw.len() + self.header.len() + self.query.len() + messages
    }

    /// What it shares with its repeats. One of them is enough.
    pub fn identities(&self) -> impl Iterator<Item = Identity> {
        let event = &self.new.event;
        let (bridge, id) = (event.bridge.clone(), event.id.as_str().to_owned());
        let signed = event
            .signed
            .map(|signed| Identity::Signed(event.bridge.clone(), signed));
        std::iter::once(Identity::Named(bridge, id, self.body_hash)).chain(signed)
    }

    /// What was signed with its time.
    fn signed(&self) -> Option<&[u8]> {
        self.new.event.signed.as_ref().map(|digest| &digest[..])
    }

    /// Whether it made something that can be sent.
    pub fn rings(&self, kept: &Kept) -> bool {
        match kept {
            Kept::New { .. } => self.messages.iter().any(Option::is_some),
            Kept::Repeat { put_back, .. } => *put_back > 0,
        }
    }
}

/// A group of events, no two of which share an identity.
pub(super) struct Group {
    pub keeps: Arc<Vec<Keep>>,
    pub terms: Terms,
}

/// What became of a group.
pub(super) struct GroupKept {
    /// One for each.
    pub kept: Vec<Kept>,
    /// Whether something of it goes into a lane that another replica has leased now.
    pub for_others: bool,
}

/// An event that was kept before.
struct First {
    number: i64,
    routed: bool,
}

/// What is to be done with an event.
enum Is {
    New { number: i64 },
    Routed { number: i64 },
    Repeat { number: i64 },
}

impl Task for Group {
    type Gives = GroupKept;

    async fn apply(&self, tx: &Tx) -> Result<GroupKept, Failed> {
        let found = self.find_firsts(tx).await?;
        let is = self.sort(&found)?;
        let repeated: Vec<i64> = is
            .iter()
            .filter_map(|is| match is {
                Is::Repeat { number } => Some(*number),
                _ => None,
            })
            .collect();
        let routed: Vec<i64> = is
            .iter()
            .filter_map(|is| match is {
                Is::Routed { number } => Some(*number),
                _ => None,
            })
            .collect();
        if !routed.is_empty() {
            tx.execute(
                "UPDATE event SET routed = true WHERE number = ANY($1)",
                &[&routed],
            )
            .await?;
        }
        let mut before = match repeated.is_empty() {
            true => Before::default(),
            false => Before::find(tx, &repeated).await?,
        };

        self.insert_events(tx, &is).await?;
        self.remember_signed(tx, &is).await?;
        let wanted = self.wanted(&is, &before);
        let lanes = lanes::reserve(tx, &wanted).await?;
        let mut places = Places::new(&lanes, &wanted);
        let mut new = Rows::default();
        for (keep, is) in self.keeps.iter().zip(&is) {
            if let Is::New { number } | Is::Routed { number } = is {
                let from = Origin::of(&keep.new.event, *number);
                for (delivery, message) in keep.new.deliveries.iter().zip(&keep.messages) {
                    new.push(&from, delivery, message.as_ref(), &mut places);
                }
            }
        }
        new.insert(tx, &self.terms).await?;
        before.put_back(tx, &mut places, &self.terms).await?;
        lanes::write(tx, &lanes, &self.terms).await?;

        let kept = self.keeps.iter().zip(&is).map(|(keep, is)| match is {
            Is::New { .. } | Is::Routed { .. } => Kept::New {
                deliveries: keep.new.deliveries.len(),
            },
            Is::Repeat { number } => before.kept(*number),
        });
        let elsewhere = |lane: &LaneRow| {
            lane.owner
                .as_ref()
                .is_some_and(|owner| *owner != self.terms.owner)
        };
        Ok(GroupKept {
            kept: kept.collect(),
            for_others: lanes.iter().any(elsewhere),
        })
    }
}

impl Group {
    /// Holds the locks of all identities, in their order, and finds what was kept before under them. Where the same was
    /// signed with the same time, what was not signed, an id among it, makes no difference. By their ids the latest counts:
    /// a reminder is the first of its own retries.
    async fn find_firsts(&self, tx: &Tx) -> Result<Vec<Row>, Failed> {
        let locks: BTreeSet<i64> = self
            .keeps
            .iter()
            .flat_map(|keep| keep.identities().map(|identity| identity.lock()))
            .collect();
        let locks: Vec<i64> = locks.into_iter().collect();
        let bridges: Vec<&str> = self.column(|keep| &*keep.new.event.bridge);
        let ids: Vec<Cow<'_, str>> = self.column(|keep| stored(keep.new.event.id.as_str()));
        let hashes: Vec<&[u8]> = self.column(|keep| &keep.body_hash[..]);
        let signed: Vec<Option<&[u8]>> = self.column(Keep::signed);
        let nameless: Vec<bool> = self.column(|keep| matches!(keep.new.event.id, EventId::Body(_)));
        let (_, found) = tx
            .both(
                "SELECT pg_advisory_xact_lock(lock) FROM unnest($1::bigint[]) AS l (lock)",
                &[&locks],
                "SELECT coalesce(c.number, e.number), coalesce(c.routed, e.routed),
                        CASE WHEN c.number IS NULL THEN e.received END,
                        o.number IS NOT NULL,
                        CASE WHEN c.number IS NULL AND (e.number IS NULL OR w.nameless)
                             THEN nextval(pg_get_serial_sequence('event', 'number')) END
                 FROM unnest($1::text[], $2::text[], $3::bytea[], $4::bytea[], $5::boolean[])
                     WITH ORDINALITY AS w (bridge, id, body_hash, signed, nameless, place)
                 LEFT JOIN LATERAL (SELECT c.number, c.routed FROM signed s JOIN event c ON c.number = s.event
                     WHERE s.bridge = w.bridge AND s.digest = w.signed) c ON true
                 LEFT JOIN LATERAL (SELECT e.number, e.routed, e.received FROM event e
                     WHERE c.number IS NULL AND e.bridge = w.bridge AND e.id = w.id AND e.body_hash = w.body_hash
                     ORDER BY e.number DESC LIMIT 1) e ON true
                 LEFT JOIN LATERAL (SELECT o.number FROM event o
                     WHERE c.number IS NULL AND e.number IS NULL AND o.bridge = w.bridge AND o.id = w.id
                     LIMIT 1) o ON true
                 ORDER BY w.place",
                &[&bridges, &ids, &hashes, &signed, &nameless],
            )
            .await?;
        Ok(found)
    }

    fn column<'a, T>(&'a self, of: impl Fn(&'a Keep) -> T) -> Vec<T> {
        self.keeps.iter().map(of).collect()
    }

    /// Says which are new.
    fn sort(&self, found: &[Row]) -> Result<Vec<Is>, Failed> {
        let mut sorted = Vec::with_capacity(found.len());
        for (keep, row) in self.keeps.iter().zip(found) {
            let event = &keep.new.event;
            let first = match get::<Option<i64>>(row, 0)? {
                None => None,
                Some(number) => {
                    let first = First {
                        number,
                        routed: get(row, 1)?,
                    };
                    match (&event.id, get_moment(row, 2)?) {
                        // Two that came at nearly the same time may be kept in the other order.
                        (EventId::Body(_), Some(received)) => {
                            let between = event.received.duration_since(received).unsigned_abs();
                            (between < RETRY_WINDOW).then_some(first)
                        }
                        (EventId::Sender(_), _) | (EventId::Body(_), None) => Some(first),
                    }
                }
            };
            let known: bool = get(row, 3)?;
            if let (EventId::Sender(id), true) = (&event.id, known) {
                tracing::warn!(
                    bridge.name = event.bridge,
                    event.id = id,
                    "an event came with the id of another one and another body; both are kept"
                );
            }
            sorted.push(match first {
                // A number was drawn for each that may be new.
                None => Is::New {
                    number: get(row, 4)?,
                },
                // No route took the first one, and one does now: nothing was said yet, so this is no repetition. It is
                // what people hope for who mend a route and press "redeliver".
                Some(first) if !first.routed && keep.new.routed => Is::Routed {
                    number: first.number,
                },
                Some(first) => Is::Repeat {
                    number: first.number,
                },
            });
        }
        Ok(sorted)
    }

    /// How many places are wanted in which lane.
    fn wanted(&self, is: &[Is], before: &Before) -> BTreeMap<Lane, i64> {
        let mut wanted: BTreeMap<Lane, i64> = BTreeMap::new();
        for (keep, is) in self.keeps.iter().zip(is) {
            if matches!(is, Is::Repeat { .. }) {
                continue;
            }
            for (delivery, message) in keep.new.deliveries.iter().zip(&keep.messages) {
                let places = wanted.entry(delivery.conversation.lane()).or_default();
                *places += i64::from(message.is_some());
            }
        }
        for ended in &before.ended {
            *wanted.entry(ended.lane.clone()).or_default() += 1;
        }
        wanted
    }

    /// Remembers what was signed, also when it was signed anew for an event that is there. One that is removed at this
    /// moment is passed over.
    async fn remember_signed(&self, tx: &Tx, is: &[Is]) -> Result<(), Failed> {
        let (mut bridges, mut digests, mut events) = (Vec::new(), Vec::new(), Vec::new());
        for (keep, is) in self.keeps.iter().zip(is) {
            if let Some(digest) = keep.signed() {
                bridges.push(&*keep.new.event.bridge);
                digests.push(digest);
                events.push(is.number());
            }
        }
        if events.is_empty() {
            return Ok(());
        }
        tx.execute(
            "INSERT INTO signed (bridge, digest, event)
             SELECT n.bridge, n.digest, e.number FROM unnest($1::text[], $2::bytea[], $3::bigint[]) AS n (bridge, digest, event)
             JOIN event e ON e.number = n.event FOR KEY SHARE OF e
             ON CONFLICT DO NOTHING",
            &[&bridges, &digests, &events],
        )
        .await?;
        Ok(())
    }

    async fn insert_events(&self, tx: &Tx, is: &[Is]) -> Result<(), Failed> {
        let new: Vec<(&Keep, i64)> = self
            .keeps
            .iter()
            .zip(is)
            .filter_map(|(keep, is)| match is {
                Is::New { number } => Some((keep, *number)),
                _ => None,
            })
            .collect();
        if new.is_empty() {
            return Ok(());
        }
        let kept = micros(self.terms.now);
        macro_rules! column {
            ($new:ident => $value:expr) => {{
                let of = |(keep, _): &(&'_ Keep, i64)| {
                    let $new: &Event = &keep.new.event;
                    $value
                };
                new.iter().map(of).collect::<Vec<_>>()
            }};
        }
        let numbers: Vec<i64> = new.iter().map(|(_, number)| *number).collect();
        let bridges: Vec<&str> = new.iter().map(|(k, _)| &*k.new.event.bridge).collect();
        let ids: Vec<Cow<'_, str>> = new
            .iter()
            .map(|(k, _)| stored(k.new.event.id.as_str()))
            .collect();
        let hashes: Vec<&[u8]> = new.iter().map(|(k, _)| &k.body_hash[..]).collect();
        let headers: Vec<&str> = new.iter().map(|(k, _)| &*k.header).collect();
        let queries: Vec<&str> = new.iter().map(|(k, _)| &*k.query).collect();
        let bodies: Vec<&[u8]> = new.iter().map(|(k, _)| &k.new.event.raw[..]).collect();
        let routed: Vec<bool> = new.iter().map(|(k, _)| k.new.routed).collect();
        tx.execute(
            "INSERT INTO event (number, bridge, id, id_is, body_hash, kind, happened, received, kept, routed, title, actor,
                                link, severity, state, subject, header, query, body)
             SELECT n.number, n.bridge, n.id, n.id_is, n.body_hash, n.kind, n.happened, n.received, $19, n.routed, n.title,
                    n.actor, n.link, n.severity, n.state, n.subject, n.header, n.query, n.body
             FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::bytea[], $6::text[], $7::bigint[],
                         $8::bigint[], $9::boolean[], $10::text[], $11::text[], $12::text[], $13::text[], $14::text[],
                         $15::text[], $16::text[], $17::text[], $18::bytea[])
                 AS n (number, bridge, id, id_is, body_hash, kind, happened, received, routed, title, actor, link, severity,
                       state, subject, header, query, body)",
            &[
                &numbers,
                &bridges,
                &ids,
                &column!(event => match event.id {
                    EventId::Sender(_) => "sender",
                    EventId::Body(_) => "body",
                }),
                &hashes,
                &column!(event => stored(&event.kind).into_owned()),
                &column!(event => micros(event.time)),
                &column!(event => micros(event.received)),
                &routed,
                &column!(event => stored(&event.title).into_owned()),
                &column!(event => stored(&event.actor).into_owned()),
                &column!(event => stored(&event.link).into_owned()),
                &column!(event => event.severity.word()),
                &column!(event => event.state.map(State::word)),
                &column!(event => stored(&event.subject).into_owned()),
                &headers,
                &queries,
                &bodies,
                &kept,
            ],
        )
        .await?;
        Ok(())
    }
}

impl Is {
    /// Of the event, or of the one that it repeats.
    fn number(&self) -> i64 {
        match self {
            Is::New { number } | Is::Routed { number } | Is::Repeat { number } => *number,
        }
    }
}

/// What had become of events that are repeated, and what of it is put back.
#[derive(Default)]
struct Before {
    became: BTreeMap<i64, BTreeMap<DeliveryState, usize>>,
    ended: Vec<Ended>,
    put_back: BTreeMap<i64, usize>,
}

/// A delivery that ended dead or refused.
struct Ended {
    number: i64,
    event: i64,
    lane: Lane,
}

impl Before {
    async fn find(tx: &Tx, events: &[i64]) -> Result<Before, Failed> {
        let (states, ended) = tx
            .both(
                "SELECT event, state, count(*) FROM delivery WHERE event = ANY($1) GROUP BY event, state",
                &[&events],
                "SELECT d.number, d.event, l.name FROM delivery d JOIN lane l ON l.number = d.lane
                 WHERE d.event = ANY($1) AND d.state IN ('dead', 'refused') AND d.message IS NOT NULL ORDER BY d.number",
                &[&events],
            )
            .await?;
        let mut before = Before::default();
        for row in &states {
            let many: i64 = get(row, 2)?;
            let many = usize::try_from(many).unwrap_or(usize::MAX);
            let became = before.became.entry(get(row, 0)?).or_default();
            became.insert(get_state(row, 1)?, many);
        }
        for row in &ended {
            before.ended.push(Ended {
                number: get(row, 0)?,
                event: get(row, 1)?,
                lane: get_text(row, 2)?.into(),
            });
        }
        Ok(before)
    }

    /// Puts what ended dead or refused back at the end of its lane: people press "redeliver" to have it tried again.
    async fn put_back(
        &mut self,
        tx: &Tx,
        places: &mut Places,
        terms: &Terms,
    ) -> Result<(), Failed> {
        let numbers: Vec<i64> = self.ended.iter().map(|ended| ended.number).collect();
        let positions: Vec<i64> = self
            .ended
            .iter()
            .map(|ended| places.take(&ended.lane))
            .collect();
        // Somebody else may have put it back before we had the lock of its lane.
        let there = put_back(tx, &numbers, &positions, terms).await?;
        for ended in &self.ended {
            if there.contains(&ended.number) {
                *self.put_back.entry(ended.event).or_default() += 1;
            }
        }
        Ok(())
    }

    fn kept(&self, event: i64) -> Kept {
        Kept::Repeat {
            became: self.became.get(&event).cloned().unwrap_or_default(),
            put_back: self.put_back.get(&event).copied().unwrap_or(0),
        }
    }
}
