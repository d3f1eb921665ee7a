//! The sandbox in trouble: what each fault does, and that it does it again.

mod control;
mod door;
mod reading;
mod recorded;
mod storing;

use std::sync::Arc;
use std::time::Duration;

use openim_bridge::model::{Clock, Conversation, Lever, Timestamp};
use openim_bridge::sandbox::{Account, Family, Plan, SECRET, Sandbox, UNTIL_STORED};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

/// A sandbox with a group `ops` (alice, bob, herald) whose clock stands still, and an admin's token for it.
struct Chat {
    sandbox: Sandbox,
    lever: Lever,
    asker: Arc<Asker>,
}

/// What a call needs, apart from the sandbox: so a call can go on while the test does something else.
struct Asker {
    http: reqwest::Client,
    url: String,
    token: String,
}

impl Asker {
    async fn say(&self, operation: &str, path: &str, body: &Value) -> reqwest::Result<Value> {
        let request = self.http.post(format!("{}{path}", self.url));
        let request = request
            .header("operationID", operation)
            .header("token", &self.token);
        request.json(body).send().await?.json().await
    }
}

impl Chat {
    async fn open(family: Family) -> Chat {
        let start: Timestamp = "2026-11-25T09:00:00Z".parse().unwrap();
        let (clock, lever) = Clock::lever(start);
        let sandbox = Sandbox::start_anywhere(family, clock).unwrap();
        sandbox.register("alice", "Alice");
        sandbox.register("bob", "Bob");
        sandbox.add_bot("herald", "Herald");
        sandbox.create_group("ops", "Operations", &["alice", "bob", "herald"]);
        let url = sandbox.url();
        let mut asker = Asker {
            http: reqwest::Client::new(),
            url,
            token: String::new(),
        };
        asker.token = token(&asker).await;
        lever.advance(UNTIL_STORED);
        Chat {
            sandbox,
            lever,
            asker: Arc::new(asker),
        }
    }

    /// As [`Chat::open`], and these faults are played.
    async fn with(family: Family, faults: &[&str]) -> Chat {
        let chat = Chat::open(family).await;
        chat.play(faults);
        chat
    }

    fn play(&self, faults: &[&str]) {
        self.sandbox.play(Plan::of(1, faults).unwrap());
    }

    async fn ask(&self, path: &str, body: Value) -> Value {
        self.asker.say("op", path, &body).await.unwrap()
    }

    async fn send(&self, body: Value) -> Value {
        self.ask("/msg/send_msg", body).await
    }

    /// Sends `count` texts to `ops` one after another, each taking `each` of the server's time; all must be accepted.
    async fn send_texts(&self, count: usize, each: Duration) {
        for n in 0..count {
            let answer = self.send(to_ops(&n.to_string())).await;
            assert_eq!(answer["errCode"], 0, "{answer}");
            self.lever.advance(each);
        }
    }

    /// Begins a call that is not answered before the clock moves, and waits until its fault has it.
    async fn begin(
        &self,
        operation: &'static str,
        path: &'static str,
        body: Value,
    ) -> JoinHandle<reqwest::Result<Value>> {
        let before = self.met();
        let asker = self.asker.clone();
        let begun = tokio::spawn(async move { asker.say(operation, path, &body).await });
        let met = async {
            while self.met() == before {
                tokio::task::yield_now().await;
            }
        };
        let limit = Duration::from_secs(10);
        tokio::time::timeout(limit, met)
            .await
            .expect("a fault is met");
        begun
    }

    fn met(&self) -> u64 {
        self.sandbox.faults().iter().map(|met| met.met).sum()
    }

    async fn status(&self, operation: &str) -> i64 {
        let path = "/msg/check_msg_is_send_success";
        let answer = self.asker.say(operation, path, &json!({})).await.unwrap();
        answer["data"]["status"].as_i64().unwrap()
    }

    async fn newest(&self, conversation: &str) -> i64 {
        let asked = json!({"userID": "alice", "conversationIDs": [conversation]});
        let path = "/msg/get_conversations_has_read_and_max_seq";
        let seqs = self.ask(path, asked).await;
        let newest = &seqs["data"]["seqs"][conversation]["maxSeq"];
        newest.as_i64().unwrap()
    }

    /// The newest seq, and `ex` and seq of what `alice` can read of a conversation.
    async fn read(&self, conversation: &str) -> (i64, Vec<(i64, String)>) {
        let newest = self.newest(conversation).await;
        let range =
            json!({"conversationID": conversation, "begin": 1, "end": newest, "num": newest});
        let asked = json!({"userID": "alice", "seqRanges": [range], "order": 0});
        let pulled = self.ask("/msg/pull_msg_by_seq", asked).await;
        assert_eq!(pulled["errCode"], 0);
        let messages = pulled["data"]["msgs"][conversation]["Msgs"].as_array();
        let messages = messages.cloned().unwrap_or_default();
        let found = messages.iter().map(|message| {
            let ex = message["ex"].as_str().unwrap().to_owned();
            (message["seq"].as_i64().unwrap(), ex)
        });
        (newest, found.collect())
    }

    /// The words of the texts in `ops` that stand or are on their way.
    fn words(&self) -> Vec<String> {
        let said = self.sandbox.messages(&Conversation::Group("ops".into()));
        let words = said
            .iter()
            .map(|sent| sent.content["content"].as_str().unwrap());
        words.map(str::to_owned).collect()
    }

    /// The `ex` of what is stored in a conversation, by the books; without what the server said itself.
    fn stored(&self, conversation: &str) -> Vec<String> {
        exes(&self.sandbox.account(), conversation)
    }
}

fn exes(account: &Account, conversation: &str) -> Vec<String> {
    let stored = account.stored.get(conversation);
    let stored = stored.into_iter().flatten();
    let ours = stored.filter(|stored| !stored.ex.is_empty());
    ours.map(|stored| stored.ex.clone()).collect()
}

async fn token(asker: &Asker) -> String {
    let who = json!({"secret": SECRET, "userID": "imAdmin"});
    let answer = asker
        .say("op", "/auth/get_admin_token", &who)
        .await
        .unwrap();
    answer["data"]["token"].as_str().unwrap().to_owned()
}

/// A text to the group `ops`; its words are its `ex` too.
fn to_ops(words: &str) -> Value {
    json!({
        "sendID": "herald", "groupID": "ops", "senderPlatformID": 10, "ex": words,
        "content": {"content": words}, "contentType": 101, "sessionType": 3,
    })
}

/// A text to a person.
fn to_person(person: &str, words: &str) -> Value {
    json!({
        "sendID": "herald", "recvID": person, "senderPlatformID": 10, "ex": words,
        "content": {"content": words}, "contentType": 101, "sessionType": 1,
    })
}

/// A notification to a person.
fn notice(person: &str, words: &str) -> Value {
    json!({
        "sendID": "herald", "recvID": person, "senderPlatformID": 10, "ex": words,
        "content": {"notificationName": "Herald", "notificationType": 1, "text": words},
        "contentType": 1400, "sessionType": 4,
    })
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}

const SECOND: Duration = Duration::from_secs(1);
