//! Clients that nobody here wrote sign in their way: each is taken at the door, and refused after one flipped byte, with a
//! stale clock and with another secret.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use openim_bridge::model::Clock;
use reqwest::StatusCode;

use crate::stage::{Service, Stage};

/// Letters beyond ASCII too: a client that signs characters and not bytes is found.
const BODY: &str = r#"{"title":"Der Drucker spinnt – 打印机坏了"}"#;

/// Longer ago than any bridge allows, in seconds.
const LONG_AGO: i64 = 2 * 3600;

/// A client: what runs it, its bridge, its secret and another one.
struct Client {
    library: &'static str,
    script: &'static str,
    /// The shipped bridge.
    extends: &'static str,
    /// Its `[auth]`, where no shipped bridge has it.
    auth: &'static str,
    secret: &'static str,
    /// What the bridge is given, where it is not the secret itself.
    public: Option<&'static str>,
    other: &'static str,
    covers_body: bool,
}

const DISCORD: &str = r#"
[auth]
scheme    = "ed25519"
signature = "header:x-signature-ed25519"
format    = "{hex}"
signed    = "{timestamp}{body}"
timestamp = { from = "header:x-signature-timestamp", within = "5m" }
key       = "{hex}"
"#;

const CLIENTS: [Client; 6] = [
    // The key pair of RFC 8032, section 7.1, test 1.
    Client {
        library: "tweetnacl",
        script: "sign.mjs",
        extends: "json",
        auth: DISCORD,
        secret: "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        public: Some("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"),
        other: "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        covers_body: true,
    },
    Client {
        library: "standardwebhooks",
        script: "sign.mjs",
        extends: "standard-webhooks",
        auth: "",
        secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        public: None,
        other: "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
        covers_body: true,
    },
    Client {
        library: "svix",
        script: "sign.mjs",
        extends: "svix",
        auth: "",
        secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        public: None,
        other: "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
        covers_body: true,
    },
    Client {
        library: "stripe",
        script: "sign.mjs",
        extends: "stripe",
        auth: "",
        secret: "whsec_is_text_at_stripe",
        public: None,
        other: "whsec_is_text_at_stripf",
        covers_body: true,
    },
    Client {
        library: "slack_sdk",
        script: "sign.py",
        extends: "slack",
        auth: "",
        secret: "8f742231b10e8888abcd99yyyzzz85a5",
        public: None,
        other: "8f742231b10e8888abcd99yyyzzz85a6",
        covers_body: true,
    },
    Client {
        library: "dingtalkchatbot",
        script: "sign.py",
        extends: "dingtalk",
        auth: "",
        secret: "SEC-of-a-robot",
        public: None,
        other: "SEC-of-another",
        covers_body: false,
    },
];

/// Where `tests/install.sh` puts the clients: in the build's directory.
fn home() -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_openim-bridge"));
    let mut folders = program.ancestors().map(|folder| folder.join("signer"));
    let found = folders.find(|home| home.join("node_modules/standardwebhooks").is_dir());
    found.expect("the clients are not there: run tests/install.sh")
}

/// The headers, and the query under `:query`, that a client makes for the body.
fn signed(client: &Client, secret: &str, time: i64) -> BTreeMap<String, String> {
    let home = home();
    let (program, script) = match client.script {
        "sign.py" => (home.join("python/bin/python"), "sign.py"),
        script => (PathBuf::from("node"), script),
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/signers")
        .join(script);
    let mut child = Command::new(&program)
        .arg(script)
        .args([client.library, secret, &time.to_string()])
        .current_dir(&home)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}: run tests/install.sh", program.display()));
    child
        .stdin
        .take()
        .unwrap()
        .write_all(BODY.as_bytes())
        .unwrap();
    let ended = child.wait_with_output().unwrap();
    let complaint = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{}: {complaint}", client.library);
    serde_json::from_slice(&ended.stdout).unwrap()
}

async fn post(
    stage: &Stage,
    service: &Service,
    client: &Client,
    headers: &BTreeMap<String, String>,
    body: Vec<u8>,
) -> StatusCode {
    let mut address = service.hook(client.library);
    if let Some(query) = headers.get(":query") {
        address = format!("{address}?{query}");
    }
    let mut request = stage.client.post(address).body(body);
    request = request.header("content-type", "application/json");
    for (name, value) in headers.iter().filter(|(name, _)| *name != ":query") {
        request = request.header(name, value);
    }
    request.send().await.unwrap().status()
}

/// The same with one bit of the signature turned round.
fn flipped(headers: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut headers = headers.clone();
    let names = ["signature", "ed25519", ":query"];
    let (_, value) = headers
        .iter_mut()
        .find(|(name, _)| names.iter().any(|part| name.contains(part)))
        .unwrap();
    // The last letter but five is inside of every signature here, hex or base64, percent-encoded or not.
    let at = value.len() - 6;
    let letter = if value.as_bytes()[at] == b'a' {
        "b"
    } else {
        "a"
    };
    value.replace_range(at..=at, letter);
    headers
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_of_others_signs_is_taken_and_refused_once_anything_is_wrong() {
    let bridges: Vec<(String, String)> = CLIENTS
        .iter()
        .map(|client| {
            let library = client.library;
            let text = format!(
                "extends = \"{}\"\nsecrets = [\"file:{library}.secret\"]\n{}\n[[route]]\nto = [\"group:dev\"]\ntemplate = \"json/default\"\n",
                client.extends, client.auth
            );
            (library.to_owned(), text)
        })
        .collect();
    let bridges: Vec<(&str, &str)> = bridges
        .iter()
        .map(|(name, text)| (&name[..], &text[..]))
        .collect();
    let stage = Stage::set(&bridges).await;
    for client in &CLIENTS {
        let secret = client.public.unwrap_or(client.secret);
        stage.write(&format!("{}.secret", client.library), secret);
    }
    let service = stage.serve().await;
    let now = Clock::system().now().as_second();

    for client in &CLIENTS {
        let library = client.library;
        let right = signed(client, client.secret, now);
        let refused = StatusCode::UNAUTHORIZED;

        let mut body = BODY.as_bytes().to_vec();
        body[3] ^= 1;
        if client.covers_body {
            let status = post(&stage, &service, client, &right, body).await;
            assert_eq!(status, refused, "{library}: a flipped byte of the body");
        }
        let status = post(&stage, &service, client, &flipped(&right), BODY.into()).await;
        assert_eq!(
            status, refused,
            "{library}: a flipped byte of the signature"
        );
        let stale = signed(client, client.secret, now - LONG_AGO);
        let status = post(&stage, &service, client, &stale, BODY.into()).await;
        assert_eq!(status, refused, "{library}: a stale clock");
        let other = signed(client, client.other, now);
        let status = post(&stage, &service, client, &other, BODY.into()).await;
        assert_eq!(status, refused, "{library}: another secret");

        let status = post(&stage, &service, client, &right, BODY.into()).await;
        assert!(status.is_success(), "{library}: {status}");
    }
    let texts = stage.texts_when("dev", CLIENTS.len()).await;
    assert!(
        texts.iter().all(|text| text.contains("打印机坏了")),
        "{texts:?}"
    );
}
