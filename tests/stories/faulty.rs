//! A chat server that can be told to misbehave: it speaks HTTP over a bare socket, so that it can also hang up, stay silent
//! and answer nonsense. It knows just enough of OpenIM to let a good send through.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What the server does with a send.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Takes the message, then hangs up without an answer.
    TakeAndHangUp,
    /// Hangs up; the message is not taken.
    HangUp,
    /// Never answers; the message is not taken.
    Silence,
    /// Answers this status and text.
    Say(u16, &'static str),
    /// Answers this status, with one header more.
    SayWith(u16, &'static str, &'static str),
    /// Waits until [`Faulty::let_go`] is called, then takes the message.
    Hold,
}

/// One heard request.
#[derive(Clone, Debug)]
pub struct Heard {
    pub path: String,
    pub operation_id: String,
    pub token: String,
    pub body: Value,
}

impl Heard {
    /// The words of a sent text.
    pub fn words(&self) -> String {
        let content = &self.body["content"];
        let words = [&content["content"], &content["text"]];
        let words = words.iter().find_map(|words| words.as_str());
        words.unwrap_or_default().to_owned()
    }
}

impl Heard {
    /// OpenIM's id of the conversation that a send goes to.
    fn place(&self) -> String {
        let text = |name: &str| self.body[name].as_str().unwrap_or_default();
        let (group, from, to) = (text("groupID"), text("sendID"), text("recvID"));
        let kind = match self.body["contentType"].as_i64() {
            Some(1400) => "sn",
            _ => "si",
        };
        match (group, from <= to) {
            ("", true) => format!("{kind}_{from}_{to}"),
            ("", false) => format!("{kind}_{to}_{from}"),
            (group, _) => format!("sg_{group}"),
        }
    }
}

#[derive(Default)]
struct State {
    heard: Vec<Heard>,
    taken: Vec<Heard>,
    faults: VecDeque<Fault>,
    /// Every send to this group or user meets this fault.
    poison: Option<(String, Fault)>,
    sign_ins: usize,
    refused_tokens: BTreeSet<String>,
    /// So many uses of any token are refused as unknown.
    unknown_uses: usize,
    takes_markdown: bool,
    knows_admin_token: bool,
    most_at_once: usize,
    at_once: usize,
}

impl State {
    /// What was taken for a conversation, by OpenIM's id of it.
    fn history(&self, conversation: &str) -> Vec<&Heard> {
        let taken = self.taken.iter();
        taken
            .filter(|heard| heard.place() == conversation)
            .collect()
    }

    fn newest(&self, asked: &Value) -> String {
        let mut seqs = serde_json::Map::new();
        for id in asked["conversationIDs"].as_array().unwrap() {
            let id = id.as_str().unwrap();
            let newest = self.history(id).len();
            seqs.insert(id.to_owned(), json!({"maxSeq": newest, "hasReadSeq": 0}));
        }
        yes(json!({ "seqs": seqs, "pinnedConversationIDs": null }))
    }

    fn pull(&self, asked: &Value) -> String {
        let mut msgs = serde_json::Map::new();
        for range in asked["seqRanges"].as_array().unwrap() {
            let id = range["conversationID"].as_str().unwrap();
            let span = range["begin"].as_u64().unwrap()..=range["end"].as_u64().unwrap();
            let seqs = (1u64..).zip(self.history(id));
            let shown = seqs.filter(|(seq, _)| span.contains(seq)).map(|(seq, heard)| {
                let number = self.taken.iter().position(|it| std::ptr::eq(it, heard));
                let number = number.unwrap() + 1;
                json!({
                    "seq": seq, "status": 0, "serverMsgID": format!("s{number}"),
                    "clientMsgID": format!("c{number}"), "sendTime": number, "ex": heard.body["ex"],
                })
            });
            let shown: Vec<Value> = shown.collect();
            if !shown.is_empty() {
                msgs.insert(
                    id.to_owned(),
                    json!({"Msgs": shown, "isEnd": true, "endSeq": 0}),
                );
            }
        }
        yes(json!({ "msgs": msgs }))
    }
}

/// The server; it ends with its value.
pub struct Faulty {
    pub address: String,
    state: Arc<Mutex<State>>,
    changed: watch::Sender<u64>,
    held: Arc<tokio::sync::Semaphore>,
    _accepting: JoinSet<()>,
}

impl Faulty {
    pub async fn start() -> Faulty {
        Faulty::start_at("127.0.0.1:0").await
    }

    /// As [`Faulty::start`], at an address where nobody listens now.
    pub async fn start_at(address: &str) -> Faulty {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State {
            takes_markdown: true,
            knows_admin_token: true,
            ..State::default()
        }));
        let (changed, _) = watch::channel(0);
        let held = Arc::new(tokio::sync::Semaphore::new(0));
        let mut accepting = JoinSet::new();
        let (inner, sender, gate) = (state.clone(), changed.clone(), held.clone());
        accepting.spawn(async move {
            let mut talking = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                talking.spawn(talk(stream, inner.clone(), sender.clone(), gate.clone()));
            }
        });
        Faulty {
            address,
            state,
            changed,
            held,
            _accepting: accepting,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// The next sends meet these faults, one each.
    pub fn meet(&self, faults: impl IntoIterator<Item = Fault>) {
        self.state().faults.extend(faults);
    }

    /// Every send to that group or user meets this fault, until `None` is said.
    pub fn poison(&self, poison: Option<(&str, Fault)>) {
        self.state().poison = poison.map(|(id, fault)| (id.to_owned(), fault));
    }

    /// Lets `many` held sends go on.
    pub fn let_go(&self, many: usize) {
        self.held.add_permits(many);
    }

    /// The server forgets all tokens that it has given.
    pub fn displace_tokens(&self) {
        let mut state = self.state();
        for number in 1..=state.sign_ins {
            state.refused_tokens.insert(format!("token-{number}"));
        }
    }

    /// The next uses of a token are refused, as by a part of the server that has not heard of it yet.
    pub fn be_slow_to_learn_tokens(&self, uses: usize) {
        self.state().unknown_uses = uses;
    }

    /// From now on Markdown is refused as a release 3.8 does, although the server was taken for `main`.
    pub fn refuse_markdown(&self) {
        self.state().takes_markdown = false;
    }

    /// Only the older call for a token is there.
    pub fn know_only_the_older_token_call(&self) {
        self.state().knows_admin_token = false;
    }

    pub fn sign_ins(&self) -> usize {
        self.state().sign_ins
    }

    /// The requests of that path.
    pub fn heard(&self, path: &str) -> Vec<Heard> {
        let state = self.state();
        let heard = state.heard.iter().filter(|heard| heard.path == path);
        heard.cloned().collect()
    }

    /// The words of all messages that were taken, in order.
    pub fn said(&self) -> Vec<String> {
        self.state().taken.iter().map(Heard::words).collect()
    }

    /// The most sends that were under way at once.
    pub fn most_at_once(&self) -> usize {
        self.state().most_at_once
    }

    /// Waits until the server's state is as asked; fails after 10 s.
    pub async fn until(&self, what: &str, fits: impl Fn(&Faulty) -> bool) {
        let mut changes = self.changed.subscribe();
        let limit = std::time::Duration::from_secs(10);
        let fitting = async {
            while !fits(self) {
                changes.changed().await.unwrap();
            }
        };
        if tokio::time::timeout(limit, fitting).await.is_err() {
            panic!("not within 10 s: {what}; said {:?}", self.said());
        }
    }
}

async fn talk(
    mut stream: TcpStream,
    state: Arc<Mutex<State>>,
    changed: watch::Sender<u64>,
    gate: Arc<tokio::sync::Semaphore>,
) {
    let mut buffer = Vec::new();
    while let Some(heard) = read_request(&mut stream, &mut buffer).await {
        let is_send = heard.path == "/msg/send_msg";
        if is_send {
            let mut state = state.lock().unwrap();
            state.at_once += 1;
            state.most_at_once = state.most_at_once.max(state.at_once);
        }
        let reply = answer(&heard, &state, &changed, &gate).await;
        if is_send {
            state.lock().unwrap().at_once -= 1;
        }
        changed.send_modify(|n| *n += 1);
        match reply {
            Some(reply) => stream.write_all(reply.as_bytes()).await.unwrap_or(()),
            None => return,
        }
    }
}

async fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Heard> {
    loop {
        if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8(buffer[..end].to_vec()).unwrap();
            let header = |name: &str| {
                let found = head.lines().find_map(|line| {
                    let (key, value) = line.split_once(": ")?;
                    key.eq_ignore_ascii_case(name).then(|| value.to_owned())
                });
                found.unwrap_or_default()
            };
            let length: usize = header("content-length").parse().unwrap_or(0);
            if buffer.len() >= end + 4 + length {
                let body = buffer[end + 4..end + 4 + length].to_vec();
                let heard = Heard {
                    path: head.split(' ').nth(1).unwrap_or_default().to_owned(),
                    operation_id: header("operationID"),
                    token: header("token"),
                    body: serde_json::from_slice(&body).unwrap_or_default(),
                };
                buffer.drain(..end + 4 + length);
                return Some(heard);
            }
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}

async fn answer(
    heard: &Heard,
    state: &Mutex<State>,
    changed: &watch::Sender<u64>,
    gate: &tokio::sync::Semaphore,
) -> Option<String> {
    let fault = {
        let mut state = state.lock().unwrap();
        state.heard.push(heard.clone());
        let with_token = !heard.path.starts_with("/auth/");
        if with_token && state.unknown_uses > 0 {
            state.unknown_uses -= 1;
            return Some(no(1507, "TokenNotExistError", ""));
        }
        if with_token && state.refused_tokens.contains(&heard.token) {
            let text = format!("1507 jwt parse error, token={}", heard.token);
            return Some(no(1507, "TokenNotExistError", &text));
        }
        match heard.path.as_str() {
            "/auth/get_admin_token" if !state.knows_admin_token => {
                return Some(http(404, "", "404 page not found"));
            }
            "/auth/get_admin_token" | "/auth/user_token" => {
                state.sign_ins += 1;
                let token = format!("token-{}", state.sign_ins);
                return Some(yes(
                    json!({ "token": token, "expireTimeSeconds": 7_776_000 }),
                ));
            }
            "/msg/send_simple_msg" => {
                return Some(no(1001, "ArgsError", "missing key in query"));
            }
            "/msg/check_msg_is_send_success" => {
                let taken = state.taken.iter();
                let taken = taken.filter(|taken| taken.operation_id == heard.operation_id);
                let status = if taken.count() > 0 { 2 } else { 0 };
                return Some(yes(json!({ "status": status })));
            }
            "/msg/get_conversations_has_read_and_max_seq" => {
                return Some(state.newest(&heard.body));
            }
            "/msg/pull_msg_by_seq" => return Some(state.pull(&heard.body)),
            "/msg/send_msg" => {}
            _ => return Some(http(404, "", "404 page not found")),
        }
        if heard.body["contentType"] == 118 && !state.takes_markdown {
            return Some(no(1001, "ArgsError", ""));
        }
        let poison = state.poison.clone().filter(|(id, _)| {
            heard.body["groupID"] == id.as_str() || heard.body["recvID"] == id.as_str()
        });
        match poison {
            Some((_, fault)) => Some(fault),
            None => state.faults.pop_front(),
        }
    };
    changed.send_modify(|n| *n += 1);
    match fault {
        None => {}
        Some(Fault::Hold) => gate.acquire().await.unwrap().forget(),
        Some(Fault::TakeAndHangUp) => {
            state.lock().unwrap().taken.push(heard.clone());
            return None;
        }
        Some(Fault::HangUp) => return None,
        Some(Fault::Silence) => std::future::pending().await,
        Some(Fault::Say(status, text)) => return Some(http(status, "", text)),
        Some(Fault::SayWith(status, header, text)) => return Some(http(status, header, text)),
    }
    let mut state = state.lock().unwrap();
    state.taken.push(heard.clone());
    let number = state.taken.len();
    Some(yes(json!({
        "serverMsgID": format!("s{number}"), "clientMsgID": format!("c{number}"), "sendTime": number,
    })))
}

fn yes(data: Value) -> String {
    let body = json!({ "errCode": 0, "errMsg": "", "errDlt": "", "data": data });
    http(200, "", &body.to_string())
}

fn no(code: i32, message: &str, detail: &str) -> String {
    let body = json!({ "errCode": code, "errMsg": message, "errDlt": detail });
    http(200, "", &body.to_string())
}

fn http(status: u16, header: &str, body: &str) -> String {
    let header = match header {
        "" => String::new(),
        header => format!("{header}\r\n"),
    };
    format!(
        "HTTP/1.1 {status} Said\r\ncontent-length: {}\r\n{header}\r\n{body}",
        body.len()
    )
}
