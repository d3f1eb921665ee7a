//! Finding things again.

use openim_bridge::model::*;
use openim_bridge::outbox::*;

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

/// An event of a bridge and a kind.
fn of(bridge: &str, kind: &str, id: &str, clock: &Clock) -> Event {
    Event {
        bridge: bridge.into(),
        kind: kind.into(),
        ..event(id, id, clock)
    }
}

/// Keeps what the stories below look for: four events, an hour apart.
async fn furnish(outbox: &dyn Outbox, lever: &Lever, clock: &Clock) {
    let to = |conversation: &str, destination: &str, text: &str| NewDelivery {
        destination: destination.into(),
        ..delivery(conversation, text, clock)
    };
    let alert = of("alerts", "alert.firing", "a1", clock);
    let made = vec![
        to("group:#1", "group:ops", "a1 ops"),
        to("group:#2", "group:dev", "a1 dev"),
    ];
    outbox.keep(new(alert, made)).await.unwrap();
    lever.advance(HOUR);
    let push = of("github", "push", "p1", clock);
    let made = vec![to("group:#2", "group:dev", "p1 dev")];
    outbox.keep(new(push, made)).await.unwrap();
    lever.advance(HOUR);
    let over = of("alerts", "alert.resolved", "a2", clock);
    let made = vec![to("group:#1", "group:ops", "a2 ops")];
    outbox.keep(new(over, made)).await.unwrap();
    lever.advance(HOUR);
    let nowhere = of("github", "alertness", "p2", clock);
    outbox.keep(new(nowhere, vec![])).await.unwrap();
    let claims = claim_all(outbox, clock).await;
    assert_eq!(texts(&claims), ["a1 ops", "a1 dev"]);
    let refused = Decision::Refused("no".into());
    let ended = record(&claims[0], clock, refused);
    outbox.record(ended).await.unwrap();
    accept(outbox, &claims[1], clock).await;
}

/// The deliveries that fit, the newest first, by event and destination.
async fn found(outbox: &dyn Outbox, filter: Filter) -> Vec<String> {
    let page = Page {
        oldest_first: false,
        ..ALL
    };
    let found = outbox.list_deliveries(filter, page).await.unwrap();
    found
        .into_iter()
        .map(|one| format!("{} {}", one.event, one.destination))
        .collect()
}

/// The events that fit, the newest first.
async fn events(outbox: &dyn Outbox, filter: Filter) -> Vec<String> {
    let page = Page {
        oldest_first: false,
        ..ALL
    };
    let found = outbox.list_events(filter, page).await.unwrap();
    found
        .into_iter()
        .map(|one| one.event.id.to_string())
        .collect()
}

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

pub async fn deliveries_are_found_by_what_is_known_of_them(engine: &mut dyn Engine) {
    use DeliveryState::{Accepted, Refused, Stored, Waiting};
    let (clock, lever) = clock();
    let start = clock.now();
    let outbox = engine.open(&clock);
    let nothing = Filter {
        since: Some(start),
        until: Some(start),
        ..Filter::default()
    };
    assert!(found(&*outbox, nothing.clone()).await.is_empty());
    assert!(events(&*outbox, nothing).await.is_empty());
    furnish(&*outbox, &lever, &clock).await;
    let (ops1, dev1) = ("a1 group:ops", "a1 group:dev");
    let (dev2, ops2) = ("p1 group:dev", "a2 group:ops");
    let any = Filter::default;

    for (filter, expected) in [
        (any(), vec![ops2, dev2, dev1, ops1]),
        (
            Filter {
                bridge: text("alerts"),
                ..any()
            },
            vec![ops2, dev1, ops1],
        ),
        (
            Filter {
                event: text("a1"),
                ..any()
            },
            vec![dev1, ops1],
        ),
        (
            Filter {
                kind: text("alert.firing"),
                ..any()
            },
            vec![dev1, ops1],
        ),
        (
            Filter {
                kind: text("alert.*"),
                ..any()
            },
            vec![ops2, dev1, ops1],
        ),
        (
            Filter {
                kind: text("*"),
                ..any()
            },
            vec![ops2, dev2, dev1, ops1],
        ),
        (
            Filter {
                kind: text("alert"),
                ..any()
            },
            vec![],
        ),
        (
            Filter {
                destination: text("group:dev"),
                ..any()
            },
            vec![dev2, dev1],
        ),
        (
            Filter {
                destination: text("group:#1"),
                ..any()
            },
            vec![ops2, ops1],
        ),
        (
            Filter {
                states: vec![Refused],
                ..any()
            },
            vec![ops1],
        ),
        (
            Filter {
                states: vec![Waiting, Accepted],
                ..any()
            },
            vec![ops2, dev2, dev1],
        ),
        (
            Filter {
                states: vec![Stored],
                ..any()
            },
            vec![],
        ),
        (
            Filter {
                since: Some(start + HOUR),
                ..any()
            },
            vec![ops2, dev2],
        ),
        (
            Filter {
                until: Some(start + HOUR),
                ..any()
            },
            vec![dev1, ops1],
        ),
        (
            Filter {
                since: Some(start + HOUR),
                until: Some(start + 2 * HOUR),
                ..any()
            },
            vec![dev2],
        ),
        (
            Filter {
                unrouted: true,
                ..any()
            },
            vec![],
        ),
        (
            Filter {
                bridge: text("alerts"),
                kind: text("alert.*"),
                states: vec![Waiting],
                destination: text("group:ops"),
                event: text("a2"),
                since: Some(start),
                ..any()
            },
            vec![ops2],
        ),
    ] {
        assert_eq!(
            found(&*outbox, filter.clone()).await,
            expected,
            "{filter:?}"
        );
    }
}

pub async fn events_are_found_by_what_is_known_of_them(engine: &mut dyn Engine) {
    let (clock, lever) = clock();
    let start = clock.now();
    let outbox = engine.open(&clock);
    furnish(&*outbox, &lever, &clock).await;
    let any = Filter::default;

    for (filter, expected) in [
        (any(), vec!["p2", "a2", "p1", "a1"]),
        (
            Filter {
                bridge: text("github"),
                ..any()
            },
            vec!["p2", "p1"],
        ),
        (
            Filter {
                event: text("a1"),
                ..any()
            },
            vec!["a1"],
        ),
        (
            Filter {
                kind: text("alert.*"),
                ..any()
            },
            vec!["a2", "a1"],
        ),
        (
            Filter {
                unrouted: true,
                ..any()
            },
            vec!["p2"],
        ),
        (
            Filter {
                since: Some(start + HOUR),
                until: Some(start + 3 * HOUR),
                ..any()
            },
            vec!["a2", "p1"],
        ),
        (
            Filter {
                states: vec![DeliveryState::Refused],
                ..any()
            },
            vec!["a1"],
        ),
        (
            Filter {
                destination: text("group:dev"),
                bridge: text("github"),
                ..any()
            },
            vec!["p1"],
        ),
        (
            Filter {
                destination: text("group:#1"),
                states: vec![DeliveryState::Waiting],
                ..any()
            },
            vec!["a2"],
        ),
    ] {
        assert_eq!(
            events(&*outbox, filter.clone()).await,
            expected,
            "{filter:?}"
        );
    }
    let listed = outbox.list_events(any(), ALL).await.unwrap();
    let first = outbox.find_event(listed[0].number).await.unwrap().unwrap();
    for one in [&listed[0], &first] {
        assert_eq!(one.event.bridge, "alerts");
        assert_eq!(one.event.severity, Severity::Info);
        assert_eq!(one.event.state, Some(State::Changed));
        assert_eq!((one.kept, one.routed, one.has_body), (start, true, true));
        let became = BTreeMap::from([(DeliveryState::Refused, 1), (DeliveryState::Accepted, 1)]);
        assert_eq!(one.became, became);
    }
    assert_eq!(&first.event.raw[..], b"a1");
    assert!(outbox.find_event(9000).await.unwrap().is_none());
}

pub async fn lists_go_on_behind_a_number(engine: &mut dyn Engine) {
    let (clock, lever) = clock();
    let outbox = engine.open(&clock);
    furnish(&*outbox, &lever, &clock).await;
    let both = vec![DeliveryState::Waiting, DeliveryState::Accepted];
    for (states, total) in [(vec![], 4), (both, 3)] {
        for oldest_first in [false, true] {
            let filter = Filter {
                states: states.clone(),
                ..Filter::default()
            };
            let mut page = Page {
                after: None,
                most: 2,
                oldest_first,
            };
            let mut numbers = Vec::new();
            loop {
                let part = outbox.list_deliveries(filter.clone(), page).await.unwrap();
                assert!(part.len() <= 2);
                numbers.extend(part.iter().map(|one| one.number));
                match part.last() {
                    Some(last) => page.after = Some(last.number),
                    None => break,
                }
            }
            assert_eq!(numbers.len(), total);
            let sorted = numbers.is_sorted_by(|a, b| if oldest_first { a < b } else { a > b });
            assert!(sorted, "{numbers:?}");
        }
    }
    let page = Page { most: 1, ..ALL };
    let first = outbox.list_events(Filter::default(), page).await.unwrap();
    let page = Page {
        after: Some(first[0].number),
        ..page
    };
    let second = outbox.list_events(Filter::default(), page).await.unwrap();
    assert_eq!(second[0].event.id.as_str(), "p1");
}

pub async fn a_list_brings_no_messages_and_no_bodies(engine: &mut dyn Engine) {
    let (clock, lever) = clock();
    let outbox = engine.open(&clock);
    furnish(&*outbox, &lever, &clock).await;

    let deliveries = outbox
        .list_deliveries(Filter::default(), ALL)
        .await
        .unwrap();
    let events = outbox.list_events(Filter::default(), ALL).await.unwrap();

    for one in deliveries {
        assert!(one.message.is_none() && one.attempts.is_empty());
        let whole = outbox.find_delivery(one.id).await.unwrap().unwrap();
        assert!(whole.message.is_some());
        assert_eq!((whole.number, whole.receipt), (one.number, one.receipt));
        assert_eq!(
            (whole.kind, whole.event_number),
            (one.kind, one.event_number)
        );
    }
    for one in events {
        assert!(one.event.raw.is_empty() && one.has_body);
    }
}

pub async fn lanes_tell_why_they_wait(engine: &mut dyn Engine) {
    let (clock, lever) = clock();
    let one = Window {
        messages: 1,
        bytes: 1 << 20,
    };
    let outbox = engine.open_with(one, &clock);
    let later = clock.now() + HOUR;
    for (to, decision) in [
        (
            "group:#full",
            Decision::Accepted {
                receipt: None,
                look: Some(later),
            },
        ),
        ("group:#unclear", Decision::Unclear { look: later }),
        ("group:#later", Decision::Again { at: later }),
        ("group:#idle", accepted(None)),
    ] {
        keep_one(&*outbox, to, to, &clock).await;
        let claims = claim_all(&*outbox, &clock).await;
        let ended = record(&claims[0], &clock, decision);
        outbox.record(ended).await.unwrap();
        if to != "group:#idle" {
            outbox
                .hold(claims[0].conversation.lane(), Some("hold".into()))
                .await
                .unwrap();
            keep_one(&*outbox, to, &format!("{to} 2"), &clock).await;
            outbox
                .hold(claims[0].conversation.lane(), None)
                .await
                .unwrap();
        }
    }
    keep_one(&*outbox, "group:#hand", "hand", &clock).await;
    claim_all(&*outbox, &clock).await;

    let lanes = outbox.list_lanes(None, ALL).await.unwrap();

    let told: Vec<_> = lanes
        .iter()
        .map(|it| (it.lane.as_str(), it.waiting, it.unsettled, it.due))
        .collect();
    assert_eq!(
        told,
        [
            ("group:#full", 1, 1, None),
            ("group:#unclear", 1, 1, None),
            ("group:#later", 2, 0, Some(later)),
            ("group:#hand", 0, 0, None),
        ]
    );
    let why: Vec<_> = lanes.iter().map(|it| it.waits_for.as_deref()).collect();
    assert!(why[0].unwrap().contains("1 accepted"), "{why:?}");
    assert!(why[1].unwrap().contains("not known"), "{why:?}");
    assert_eq!(why[2], Some("as the test says"));
    assert_eq!(why[3], None);
    let idle = Conversation::Group("idle".into()).lane();
    let idle = outbox.list_lanes(Some(idle), ALL).await.unwrap();
    assert_eq!((idle.len(), idle[0].waiting), (1, 0));
    let page = Page {
        after: Some(lanes[0].number),
        most: 2,
        oldest_first: true,
    };
    let some = outbox.list_lanes(None, page).await.unwrap();
    assert_eq!(some, lanes[1..3]);
    lever.advance(HOUR);
    assert_eq!(texts(&claim_all(&*outbox, &clock).await), ["group:#later"]);
}
