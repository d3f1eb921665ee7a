//! The OpenIM client against a server that misbehaves.

use std::sync::Arc;
use std::time::Duration;

use openim_bridge::deliver::openim::{Sign, Verdict};
use openim_bridge::deliver::{Family, OpenIm, SendAs, Server};
use openim_bridge::model::{
    Clock, Content, Conversation, DeliveryId, Lever, Message, Outcome, Push, Secret, Timestamp,
};

use crate::faulty::{Fault, Faulty};

const SECRET: &str = "a-very-secret-word";

fn start() -> Timestamp {
    "2026-07-02T10:00:00Z".parse().unwrap()
}

fn server(address: &str) -> Server {
    let send_as = SendAs {
        id: "bridge_bot".into(),
        nickname: "Bridge".into(),
        face_url: String::new(),
    };
    Server::new(address, "imAdmin", Secret::new(SECRET), send_as)
}

fn client(faulty: &Faulty) -> OpenIm {
    OpenIm::new(server(&faulty.address), Clock::system()).unwrap()
}

fn client_with_lever(faulty: &Faulty) -> (OpenIm, Lever) {
    let (clock, lever) = Clock::lever(start());
    (OpenIm::new(server(&faulty.address), clock).unwrap(), lever)
}

fn words(plain: &str) -> Message {
    Message {
        content: Content::Text {
            markdown: Some(format!("**{plain}**")),
            plain: plain.into(),
            preview: plain.into(),
            mentions: vec![],
        },
        push: Push::Off,
        template: "x.md.hbs".into(),
    }
}

async fn send(openim: &OpenIm, plain: &str) -> Verdict {
    let to = Conversation::Group("g1".into());
    let delivery = DeliveryId::new(start());
    let operation_id = format!("op-{plain}");
    openim
        .send(
            &words(plain),
            &to,
            delivery,
            &operation_id,
            openim_bridge::model::Hold::Ever,
        )
        .await
}

fn accepted(verdict: &Verdict) -> bool {
    matches!(verdict.outcome, Outcome::Accepted(Some(_)))
}

fn ambiguous(verdict: &Verdict) -> bool {
    matches!(verdict.outcome, Outcome::Ambiguous { .. })
}

/// Sends so many at once.
async fn send_many(openim: &OpenIm, many: usize) -> Vec<Verdict> {
    let openim = Arc::new(openim.clone());
    let mut sends = tokio::task::JoinSet::new();
    for number in 0..many {
        let openim = openim.clone();
        sends.spawn(async move { send(&openim, &number.to_string()).await });
    }
    sends.join_all().await
}

#[tokio::test]
async fn a_message_carries_its_delivery_and_the_server_says_what_it_is() {
    let faulty = Faulty::start().await;
    let openim = client(&faulty);

    assert!(accepted(&send(&openim, "hello").await));

    let sends = faulty.heard("/msg/send_msg");
    assert_eq!(sends.len(), 1);
    assert_eq!(sends[0].operation_id, "op-hello");
    assert_eq!(sends[0].token, "token-1");
    assert_eq!(sends[0].body["contentType"], 118);
    assert!(sends[0].body["ex"].as_str().unwrap().contains("bridge"));
    assert_eq!(openim.family(), Some(Family::Main));
}

#[tokio::test]
async fn one_token_is_fetched_for_all_who_wait_for_it() {
    let faulty = Faulty::start().await;

    let verdicts = send_many(&client(&faulty), 32).await;

    assert!(verdicts.iter().all(accepted), "{verdicts:?}");
    assert_eq!(faulty.sign_ins(), 1);
}

#[tokio::test]
async fn a_displaced_token_is_renewed_once_for_all() {
    let faulty = Faulty::start().await;
    let (openim, lever) = client_with_lever(&faulty);
    assert!(accepted(&send(&openim, "before").await));
    lever.advance(Duration::from_secs(60));
    faulty.displace_tokens();

    let verdicts = send_many(&openim, 32).await;

    assert!(verdicts.iter().all(accepted), "{verdicts:?}");
    assert_eq!(faulty.sign_ins(), 2);
}

#[tokio::test]
async fn a_token_is_not_used_longer_than_4_min_on_main() {
    let faulty = Faulty::start().await;
    let (openim, lever) = client_with_lever(&faulty);
    send(&openim, "1").await;
    lever.advance(Duration::from_secs(239));
    send(&openim, "2").await;
    assert_eq!(faulty.sign_ins(), 1);

    lever.advance(Duration::from_secs(2));
    send(&openim, "3").await;

    assert_eq!(faulty.sign_ins(), 2);
}

#[tokio::test]
async fn a_new_token_that_is_not_known_everywhere_yet_gets_a_moment() {
    let faulty = Faulty::start().await;
    let openim = client(&faulty);
    send(&openim, "before").await;
    faulty.be_slow_to_learn_tokens(3);

    assert!(accepted(&send(&openim, "after").await));
    assert!(faulty.sign_ins() <= 2);
}

#[tokio::test]
async fn a_token_that_is_never_taken_is_tried_later_and_shown_nowhere() {
    let faulty = Faulty::start().await;
    let openim = client(&faulty);
    send(&openim, "before").await;
    faulty.be_slow_to_learn_tokens(usize::MAX);

    let verdict = send(&openim, "after").await;

    assert!(matches!(verdict.outcome, Outcome::Later { .. }));
    assert!(matches!(verdict.sign, Sign::Down(_)));
    let shown = format!("{verdict:?} {openim:?}");
    assert!(
        !shown.contains("token-") && !shown.contains(SECRET),
        "{shown}"
    );
}

#[tokio::test]
async fn an_older_server_is_asked_by_its_older_call() {
    let faulty = Faulty::start().await;
    faulty.know_only_the_older_token_call();
    let openim = client(&faulty);

    assert!(accepted(&send(&openim, "hello").await));

    assert_eq!(openim.family(), Some(Family::Release38));
    assert_eq!(faulty.heard("/msg/send_msg")[0].body["contentType"], 101);
}

#[tokio::test]
async fn markdown_that_is_refused_after_all_goes_as_plain_text() {
    let faulty = Faulty::start().await;
    let openim = client(&faulty);
    send(&openim, "before").await;
    faulty.refuse_markdown();

    assert!(accepted(&send(&openim, "after").await));

    assert_eq!(openim.family(), Some(Family::Release38));
    assert_eq!(faulty.said(), ["**before**", "after"]);
}

#[tokio::test]
async fn what_a_proxy_says_is_not_taken_for_openims_word() {
    let faulty = Faulty::start().await;
    let openim = client(&faulty);
    faulty.meet([
        Fault::Say(502, "<html>Bad Gateway</html>"),
        Fault::Say(200, "<html>Please log in</html>"),
        Fault::Say(200, ""),
    ]);
    for _ in 0..3 {
        let verdict = send(&openim, "x").await;
        assert!(ambiguous(&verdict), "{verdict:?}");
        assert!(!format!("{verdict:?}").contains("html"));
    }
    faulty.meet([Fault::SayWith(302, "location: /elsewhere", "")]);
    let verdict = send(&openim, "x").await;
    assert!(matches!(verdict.outcome, Outcome::Later { .. }));
    assert_eq!(faulty.heard("/elsewhere").len(), 0);
}

#[tokio::test]
async fn a_wait_that_the_server_asks_for_is_handed_on() {
    let faulty = Faulty::start().await;
    let openim = client(&faulty);
    faulty.meet([Fault::SayWith(
        429,
        "retry-after: 7",
        r#"{"errCode":429,"errMsg":"slow down"}"#,
    )]);

    let verdict = send(&openim, "x").await;

    let seven = Duration::from_secs(7);
    assert_eq!(verdict.sign, Sign::Busy(seven));
    assert!(matches!(verdict.outcome, Outcome::Later { after: Some(after), .. } if after == seven));
}

#[tokio::test]
async fn after_hanging_up_or_silence_nobody_knows_and_without_a_connection_everybody_does() {
    let faulty = Faulty::start().await;
    let mut impatient = server(&faulty.address);
    impatient.answer_within = Duration::from_millis(200);
    let openim = OpenIm::new(impatient, Clock::system()).unwrap();
    send(&openim, "before").await;

    faulty.meet([Fault::HangUp]);
    assert!(ambiguous(&send(&openim, "x").await));
    faulty.meet([Fault::Silence]);
    let verdict = send(&openim, "x").await;
    assert!(ambiguous(&verdict), "{verdict:?}");

    let address = faulty.address.clone();
    drop(faulty);
    let nobody = OpenIm::new(server(&address), Clock::system()).unwrap();
    let verdict = send(&nobody, "x").await;
    assert!(
        matches!(verdict.outcome, Outcome::Later { .. }),
        "{verdict:?}"
    );
    assert!(matches!(verdict.sign, Sign::Down(_)));
}

#[tokio::test]
async fn only_a_yes_of_the_send_status_is_believed() {
    let faulty = Faulty::start().await;
    let openim = client(&faulty);
    faulty.meet([Fault::TakeAndHangUp, Fault::HangUp]);

    assert!(ambiguous(&send(&openim, "taken").await));
    assert!(ambiguous(&send(&openim, "lost").await));

    assert!(openim.was_sent("op-taken").await);
    assert!(!openim.was_sent("op-lost").await);
}

#[test]
fn an_address_that_is_none_is_said_at_once() {
    for address in ["", "openim:10002", "ftp://x.test", "http://"] {
        assert!(
            OpenIm::new(server(address), Clock::system()).is_err(),
            "{address}"
        );
    }
}
