//! The sandbox, asked by people who have no recordings: other ids, other orders, other mistakes.

use openim_bridge::model::{Clock, Conversation, Lever, Timestamp};
use openim_bridge::sandbox::{Family, Sandbox, UNTIL_STORED};
use serde_json::{Value, json};

/// A sandbox and an admin's token for it.
struct Chat {
    sandbox: Sandbox,
    lever: Lever,
    http: reqwest::Client,
    token: String,
}

impl Chat {
    async fn open(family: Family) -> Chat {
        let start: Timestamp = "2026-03-01T09:00:00Z".parse().unwrap();
        let (clock, lever) = Clock::lever(start);
        let sandbox = Sandbox::start_anywhere(family, clock).unwrap();
        sandbox.register("wei", "Wei Zhang");
        sandbox.register("ana", "Ana Souza");
        sandbox.add_bot("herald", "Herald");
        sandbox.create_group("night", "Night shift", &["wei", "ana", "herald"]);
        sandbox.create_group("day", "Day shift", &["ana"]);
        let mut chat = Chat {
            sandbox,
            lever,
            http: reqwest::Client::new(),
            token: String::new(),
        };
        chat.log_in().await;
        chat
    }

    async fn log_in(&mut self) {
        let answer = self
            .ask(
                "/auth/get_admin_token",
                json!({"secret": "openIM123", "userID": "imAdmin"}),
            )
            .await;
        self.token = answer["data"]["token"].as_str().unwrap().to_owned();
    }

    async fn ask(&self, path: &str, body: Value) -> Value {
        self.ask_as("op", path, body).await
    }

    async fn ask_as(&self, operation: &str, path: &str, body: Value) -> Value {
        let request = self.http.post(format!("{}{path}", self.sandbox.url()));
        let request = request
            .header("operationID", operation)
            .header("token", &self.token);
        request
            .json(&body)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap()
    }

    async fn send(&self, body: Value) -> Value {
        self.ask("/msg/send_msg", body).await
    }
}

fn to_group(group: &str, sender: &str, text: &str) -> Value {
    json!({
        "sendID": sender, "groupID": group, "senderNickname": sender, "senderPlatformID": 10,
        "content": {"content": text}, "contentType": 101, "sessionType": 3, "ex": format!("id of {text}"),
    })
}

fn to_person(person: &str, sender: &str, content_type: i64, content: Value) -> Value {
    json!({
        "sendID": sender, "recvID": person, "senderPlatformID": 10,
        "content": content, "contentType": content_type, "sessionType": 1,
    })
}

#[tokio::test]
async fn a_message_stands_in_history_a_moment_after_it_was_accepted() {
    let chat = Chat::open(Family::Main).await;
    let newest = json!({"userID": "herald", "conversationIDs": ["sg_night"]});
    let newest = async || {
        let answer = chat
            .ask(
                "/msg/get_conversations_has_read_and_max_seq",
                newest.clone(),
            )
            .await;
        answer["data"]["seqs"]["sg_night"]["maxSeq"]
            .as_i64()
            .unwrap()
    };
    chat.lever.advance(UNTIL_STORED);
    let before = newest().await;

    let answer = chat.send(to_group("night", "herald", "good evening")).await;
    assert_eq!(answer["errCode"], 0);
    assert_eq!(newest().await, before);
    chat.lever.advance(UNTIL_STORED);

    assert_eq!(newest().await, before + 1);
    let range =
        json!({"conversationID": "sg_night", "begin": before + 1, "end": before + 9, "num": 9});
    let pulled = chat
        .ask(
            "/msg/pull_msg_by_seq",
            json!({"userID": "ana", "seqRanges": [range]}),
        )
        .await;
    let found = &pulled["data"]["msgs"]["sg_night"]["Msgs"][0];
    assert_eq!(found["ex"], "id of good evening");
    assert_eq!(found["serverMsgID"], answer["data"]["serverMsgID"]);
}

#[tokio::test]
async fn a_range_longer_than_num_gives_the_last_ones() {
    let chat = Chat::open(Family::Release38).await;
    for n in 0..5 {
        chat.send(to_group("night", "ana", &format!("line {n}")))
            .await;
    }
    chat.lever.advance(UNTIL_STORED);

    // The group's creation has seq 1.
    let range = json!({"conversationID": "sg_night", "begin": 2, "end": 6, "num": 2});
    let pulled = chat
        .ask(
            "/msg/pull_msg_by_seq",
            json!({"userID": "wei", "seqRanges": [range]}),
        )
        .await;

    let found = pulled["data"]["msgs"]["sg_night"]["Msgs"]
        .as_array()
        .unwrap();
    let found: Vec<&str> = found
        .iter()
        .map(|message| message["ex"].as_str().unwrap())
        .collect();
    assert_eq!(found, ["id of line 3", "id of line 4"]);
    assert!(pulled["data"]["notificationMsgs"].is_null());
}

#[tokio::test]
async fn a_bot_speaks_in_a_group_only_after_it_was_invited() {
    for (family, said) in [
        (Family::Main, ""),
        (Family::Release38, "NotInGroupYetError"),
    ] {
        let chat = Chat::open(family).await;

        let refused = chat.send(to_group("day", "herald", "hello")).await;
        let invitation = json!({"groupID": "day", "invitedUserIDs": ["herald"]});
        chat.ask("/group/invite_user_to_group", invitation).await;
        let taken = chat.send(to_group("day", "herald", "hello")).await;

        assert_eq!(
            (&refused["errCode"], &refused["errDlt"]),
            (&json!(1203), &json!(said))
        );
        assert_eq!(taken["errCode"], 0);
        assert_eq!(chat.sandbox.members("day"), ["ana", "herald"]);
        let day = Conversation::Group("day".into());
        assert_eq!(chat.sandbox.messages(&day).len(), 1);
    }
}

#[tokio::test]
async fn markdown_tells_the_families_apart() {
    for (family, code) in [(Family::Main, 0), (Family::Release38, 1001)] {
        let chat = Chat::open(family).await;

        let answer = chat
            .send(to_person("wei", "herald", 118, json!({"content": "# hi"})))
            .await;

        assert_eq!(answer["errCode"], code);
        let wei = Conversation::Person("wei".into());
        assert_eq!(chat.sandbox.messages(&wei).len(), usize::from(code == 0));
    }
}

#[tokio::test]
async fn a_mute_ends_with_its_time() {
    let chat = Chat::open(Family::Main).await;
    let mute = json!({"groupID": "night", "userID": "herald", "mutedSeconds": 60});
    chat.ask("/group/mute_group_member", mute).await;

    let during = chat.send(to_group("night", "herald", "hush")).await;
    chat.lever.advance(std::time::Duration::from_secs(60));
    let after = chat.send(to_group("night", "herald", "hello")).await;

    assert_eq!(
        (&during["errCode"], &after["errCode"]),
        (&json!(1402), &json!(0))
    );
}

#[tokio::test]
async fn everything_that_is_wrong_with_a_content_is_said_at_once() {
    let chat = Chat::open(Family::Main).await;

    let answer = chat
        .send(to_person(
            "wei",
            "herald",
            104,
            json!({"videoUrl": "http://x.test/v"}),
        ))
        .await;

    assert_eq!(answer["errCode"], 500);
    let said = answer["errDlt"].as_str().unwrap();
    assert_eq!(said.lines().count(), 6);
    assert!(said.starts_with("Key: 'VideoElem.VideoType' Error:Field validation for 'VideoType' failed on the 'required' tag"));
}

#[tokio::test]
async fn a_notification_reaches_one_person_and_only_that_person_reads_it() {
    let chat = Chat::open(Family::Release38).await;
    let content =
        json!({"notificationName": "Pager", "notificationType": 7, "text": "disk <full>"});
    chat.send(to_person("ana", "herald", 1400, content)).await;
    chat.lever.advance(UNTIL_STORED);

    let range = json!({"conversationID": "sn_ana_herald", "begin": 1, "end": 1, "num": 1});
    let as_bot = chat
        .ask(
            "/msg/pull_msg_by_seq",
            json!({"userID": "herald", "seqRanges": [range]}),
        )
        .await;
    let as_ana = chat
        .ask(
            "/msg/pull_msg_by_seq",
            json!({"userID": "ana", "seqRanges": [range]}),
        )
        .await;

    assert!(as_bot["data"]["msgs"].is_null());
    assert_eq!(
        as_ana["data"]["msgs"]["sn_ana_herald"]["Msgs"][0]["sessionType"],
        4
    );
    let seen = chat.sandbox.messages(&Conversation::Notice("ana".into()));
    let detail: Value = serde_json::from_str(seen[0].content["detail"].as_str().unwrap()).unwrap();
    assert_eq!(detail["text"], "disk <full>");
    let ordinary = json!({"notificationName": "a", "notificationType": 1, "text": "x"});
    let refused = chat.send(to_person("ana", "wei", 1400, ordinary)).await;
    assert_eq!(refused["errCode"], 1002);
}

#[tokio::test]
async fn an_older_admin_token_dies_on_main_and_lives_on_3_8() {
    for (family, code) in [(Family::Main, 1507), (Family::Release38, 0)] {
        let mut chat = Chat::open(family).await;
        let older = chat.token.clone();
        chat.lever.advance(std::time::Duration::from_secs(1));
        chat.log_in().await;
        let newer = std::mem::replace(&mut chat.token, older);

        let within_grace = chat.ask("/msg/get_server_time", json!({})).await;
        chat.lever.advance(std::time::Duration::from_secs(301));
        let after_grace = chat.ask("/msg/get_server_time", json!({})).await;
        chat.token = newer;
        let with_newer = chat.ask("/msg/get_server_time", json!({})).await;

        assert_eq!(within_grace["errCode"], 0);
        assert_eq!(after_grace["errCode"], code);
        assert_eq!(with_newer["errCode"], 0);
        chat.lever
            .advance(std::time::Duration::from_secs(90 * 86_400));
        let expired = chat.ask("/msg/get_server_time", json!({})).await;
        assert_eq!(expired["errCode"], 1501);
    }
}

#[tokio::test]
async fn the_status_of_a_send_is_kept_by_its_operation() {
    let chat = Chat::open(Family::Release38).await;
    chat.ask_as("sent", "/msg/send_msg", to_group("night", "wei", "hello"))
        .await;
    chat.ask_as(
        "refused",
        "/msg/send_msg",
        to_group("night", "stranger", "hello"),
    )
    .await;

    for (operation, status) in [("sent", 2), ("refused", 0), ("never", 0)] {
        let answer = chat
            .ask_as(operation, "/msg/check_msg_is_send_success", json!({}))
            .await;
        assert_eq!(answer["data"]["status"], status, "{operation}");
    }
}

#[tokio::test]
async fn whoever_waits_for_a_message_gets_it_when_it_comes() {
    let chat = Chat::open(Family::Main).await;
    let night = Conversation::Group("night".into());

    let (seen, _) = tokio::join!(
        chat.sandbox.wait_for(&night, 1),
        chat.send(to_group("night", "herald", "here I am")),
    );

    assert_eq!(seen[0].content, json!({"content": "here I am"}));
    assert_eq!(seen[0].sender, "herald");
    assert_eq!(chat.sandbox.calls("/msg/send_msg"), 1);
}

/// Reads the page's stream until it has told what is looked for.
async fn told(chat: &Chat, what: &str) -> String {
    let url = format!("{}/page/events", chat.sandbox.url());
    let mut stream = chat.http.get(url).send().await.unwrap();
    let mut text = String::new();
    while !text.contains(what) {
        let chunk = stream.chunk().await.unwrap().expect("the stream goes on");
        text.push_str(&String::from_utf8_lossy(&chunk));
    }
    text
}

#[tokio::test]
async fn the_page_hears_of_a_message_while_it_is_open() {
    let chat = Chat::open(Family::Main).await;

    let (heard, ()) = tokio::join!(told(&chat, "good morning"), async {
        chat.send(to_group("day", "ana", "good morning")).await;
        chat.lever.advance(UNTIL_STORED);
    });

    assert!(heard.contains("event: hello"));
    assert!(heard.contains("event: chats"));
    chat.sandbox.stop().await;
}

#[tokio::test]
async fn a_message_never_becomes_a_script_on_the_page() {
    let chat = Chat::open(Family::Main).await;
    let attack = "</script><script>alert(1)</script><img src=x onerror=alert(1)>";
    for content_type in [101, 118] {
        chat.send(to_person(
            "wei",
            "herald",
            content_type,
            json!({"content": attack}),
        ))
        .await;
    }
    chat.lever.advance(UNTIL_STORED);

    let page = chat.http.get(chat.sandbox.url()).send().await.unwrap();
    let policy = page.headers()["content-security-policy"]
        .to_str()
        .unwrap()
        .to_owned();
    let text = page.text().await.unwrap();
    let heard = told(&chat, "alert(1)").await;

    assert!(policy.starts_with("default-src 'none'; script-src 'self';"));
    assert!(!policy.contains("unsafe"));
    assert_eq!(text.matches("<script").count(), 2);
    assert!(!text.contains("<img"));
    let messages = heard
        .lines()
        .find(|line| line.contains("alert(1)"))
        .unwrap();
    let messages: Value = serde_json::from_str(messages.trim_start_matches("data: ")).unwrap();
    let drawn = messages
        .as_array()
        .unwrap()
        .iter()
        .filter(|message| message["chat"] == "si_herald_wei");
    for message in drawn {
        let html = message["html"].as_str().unwrap();
        assert!(html.contains("&lt;img src=x"), "{html}");
        assert!(
            !html.contains("<script") && !html.contains("<img"),
            "{html}"
        );
    }
}
