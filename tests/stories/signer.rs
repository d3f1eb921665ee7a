//! `@octokit/webhooks-methods`, which nobody here wrote, signs what the door takes and believes what we sign.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bytes::Bytes;
use openim_bridge::bridge::problem::Sources;
use openim_bridge::intake::Request;
use openim_bridge::intake::authenticate::sign;
use openim_bridge::model::Clock;
use openim_bridge::settings::{Environment, Loaded};
use reqwest::StatusCode;

use crate::stage::{SECRET, Service, Stage};

const GITHUB: &str = r#"
extends = "github"
secrets = ["env:HOOK_SECRET"]

[[route]]
to = ["group:dev"]
"#;

/// Letters beyond ASCII too: a signer that signs characters and not bytes is found.
const BODY: &str = r#"{"action":"opened","issue":{"number":8,"title":"Der Drucker spinnt – 打印机坏了","html_url":"https://github.com/acme/shop/issues/8","user":{"login":"mei-lin"}},"repository":{"full_name":"acme/shop","html_url":"https://github.com/acme/shop"},"sender":{"login":"mei-lin"}}"#;

/// Where `tests/install.sh` puts the signer: in the build's directory.
fn home() -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_openim-bridge"));
    let found = program
        .ancestors()
        .map(|folder| folder.join("signer"))
        .find(|home| home.join("node_modules/@octokit/webhooks-methods").is_dir());
    found.expect("@octokit/webhooks-methods is not there: run tests/install.sh")
}

/// Runs a line of JavaScript with the library, `arguments` in `a` and the body in `body`; gives what it prints.
fn octokit(line: &str, arguments: &[&str], body: &[u8]) -> String {
    let script = format!(
        "import {{ sign, verify }} from '@octokit/webhooks-methods';
         import {{ readFileSync }} from 'node:fs';
         const a = process.argv.slice(1);
         const body = readFileSync(0, 'utf8');
         process.stdout.write(String(await {line}));"
    );
    let mut node = Command::new("node")
        .args(["--input-type=module", "-e", &script, "--"])
        .args(arguments)
        .current_dir(home())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("node cannot be started ({error}): run tests/install.sh"));
    node.stdin.take().unwrap().write_all(body).unwrap();
    let ended = node.wait_with_output().unwrap();
    let complaint = String::from_utf8_lossy(&ended.stderr);
    assert!(
        ended.status.success(),
        "node failed, perhaps tests/install.sh was not run:\n{complaint}"
    );
    String::from_utf8(ended.stdout).unwrap()
}

async fn post(stage: &Stage, service: &Service, body: Vec<u8>, signature: &[u8]) -> StatusCode {
    let request = stage.client.post(service.hook("github")).body(body);
    let request = request
        .header("content-type", "application/json")
        .header("x-github-event", "issues")
        .header("x-github-delivery", "delivery-1")
        .header("x-hub-signature-256", signature);
    request.send().await.unwrap().status()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_octokit_signs_is_taken_and_one_flipped_byte_anywhere_is_refused() {
    let signature = octokit("sign(a[0], body)", &[SECRET], BODY.as_bytes());
    let stage = Stage::set(&[("github", GITHUB)]).await;
    // Hundreds of refusals come from one address: here none of them shall wait.
    let service = stage
        .serve_with_variables(&[("OPENIM_BRIDGE__DOOR__LIMITS__REFUSALS", "100000")])
        .await;

    for at in 0..BODY.len() {
        let mut body = BODY.as_bytes().to_vec();
        body[at] ^= 1;
        let status = post(&stage, &service, body, signature.as_bytes()).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "byte {at} of the body");
    }
    for at in 0..signature.len() {
        let mut flipped = signature.clone().into_bytes();
        flipped[at] ^= 1;
        let status = post(&stage, &service, BODY.into(), &flipped).await;
        assert_eq!(
            status,
            StatusCode::UNAUTHORIZED,
            "byte {at} of the signature"
        );
    }
    assert_eq!(stage.texts("dev"), Vec::<String>::new());

    let status = post(&stage, &service, BODY.into(), signature.as_bytes()).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    let texts = stage.texts_when("dev", 1).await;
    assert!(texts[0].contains("打印机坏了"), "{}", texts[0]);
    eprintln!(
        "octokit's signature was taken; {} requests with one flipped byte were refused",
        BODY.len() + signature.len()
    );
}

#[test]
fn octokit_believes_what_we_sign_and_not_when_a_byte_is_flipped() {
    let sources = Sources::from([
        (
            "openim-bridge.toml".to_owned(),
            "[groups]\ndev = \"1\"\n".to_owned(),
        ),
        ("bridges/github.toml".to_owned(), GITHUB.to_owned()),
    ]);
    let variables = [("OPENIM_SECRET", "s"), ("HOOK_SECRET", SECRET)];
    let loaded = Loaded::compile(sources, &Environment::of(Path::new("."), variables));
    let book = loaded.book.expect("the directory is right");
    let auth = book.bridges["github"].auth.as_ref().expect("it is a door");
    let mut request = Request::from_text("github", b"{}").unwrap();
    request.body = Bytes::from_static(BODY.as_bytes());

    let signed = sign(auth, request, Clock::system().now()).unwrap();

    let signature = signed.headers["x-hub-signature-256"].to_str().unwrap();
    let verify = |body: &[u8]| octokit("verify(a[0], body, a[1])", &[SECRET, signature], body);
    assert_eq!(verify(BODY.as_bytes()), "true");
    let mut flipped = BODY.as_bytes().to_vec();
    flipped[20] ^= 1;
    assert_eq!(verify(&flipped), "false");
}
