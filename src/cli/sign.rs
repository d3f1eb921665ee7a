//! `sign`: a request as its sender would sign it, as HTTP text or as a `curl` line. Nothing is kept or sent.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use anyhow::bail;
use http::header::CONTENT_ENCODING;

use super::Everywhere;
use super::check::base_address;
use super::post_line::signed_line;
use super::subject::{Subject, read_request};
use crate::bridge::auth::Scheme;
use crate::intake::Request;
use crate::intake::authenticate::diagnose::unpack;
use crate::intake::authenticate::{Unsigned, prepare, sign_with};
use crate::model::{Clock, Timestamp};

/// The arguments of `sign`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The bridge that the request is for
    bridge: String,
    /// An HTTP request as text (request line, headers, an empty line, body) or only a body; `-` is standard input
    file: String,
    /// A header more, `Name: value`; it replaces one of the file
    #[arg(short = 'H', long = "header", value_name = "HEADER")]
    headers: Vec<String>,
    /// The moment at which it is signed, RFC 3339 [default: now]
    #[arg(long, value_name = "TIME")]
    now: Option<Timestamp>,
    /// Which of the bridge's secrets: its number or its reference [default: 1]; for a bridge without secrets env:NAME or file:/path
    #[arg(long, value_name = "REF")]
    secret: Option<String>,
    /// Print a line that posts it, in place of the request
    #[arg(long)]
    curl: bool,
}

/// Signs one request. 0 when it is signed.
pub fn run(everywhere: &Everywhere, args: &Args) -> ExitCode {
    let signed = look(everywhere, args);
    let text = match signed {
        Ok(text) => text,
        Err(error) => {
            super::say_error(&error);
            let refused = error.downcast_ref::<Unsigned>().is_some();
            return ExitCode::from(if refused { 1 } else { 2 });
        }
    };
    // Bytes, not words: who saves them signs and sends the same.
    let mut out = std::io::stdout();
    let mut written = out.write_all(&text);
    if args.curl || out.is_terminal() {
        written = written.and_then(|()| out.write_all(b"\n"));
    }
    match written.and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => super::exit_code(Err(error.into())),
    }
}

fn look(everywhere: &Everywhere, args: &Args) -> anyhow::Result<Vec<u8>> {
    let now = args.now.unwrap_or_else(|| Clock::system().now());
    let subject = Subject::find(everywhere, &args.bridge, args.secret.as_deref())?;
    let auth = subject.auth()?;
    let request = read_request(&args.bridge, &args.file, &args.headers)?;
    // The door unpacks before it verifies.
    let (mut request, _) = unpack(request);
    request.headers.remove(CONTENT_ENCODING);
    let request = prepare(auth, addressed(request, &args.bridge));
    let open = |scheme: &Scheme| matches!(scheme, Scheme::None);
    if auth.ways().iter().all(|way| open(&way.scheme)) {
        bail!(
            "the bridge `{}` asks for no proof: there is nothing to sign",
            args.bridge
        );
    }
    let signed = sign_with(auth, request.clone(), now, subject.number)?;
    if !args.curl {
        return Ok(signed.to_text());
    }
    let base = base_address(subject.loaded.settings.as_ref());
    let is_body = file_is_body(&args.bridge, &args.file, &signed);
    let file = is_body.then_some(args.file.as_str());
    let line = signed_line(
        &subject.bridge,
        subject.number,
        &request,
        &signed,
        &base,
        file,
    )?;
    Ok(line.into_bytes())
}

/// The request with the address of the bridge, whatever the file's is: a path may be signed, and it is posted there.
fn addressed(mut request: Request, bridge: &str) -> Request {
    let hook = format!("/hooks/{bridge}");
    let behind = request.target.strip_prefix(&hook);
    let fits = behind.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?']));
    if !fits {
        let query = request
            .target
            .split_once('?')
            .map(|(_, query)| format!("?{query}"));
        request.target = hook + &query.unwrap_or_default();
        request.rest.clear();
    }
    request
}

/// Whether the file is the body and nothing else, so that a line can send the file itself.
fn file_is_body(bridge: &str, file: &str, request: &Request) -> bool {
    let only_body =
        |text: &[u8]| Request::from_text(bridge, text).is_ok_and(|read| read.body == text);
    file != "-" && std::fs::read(file).is_ok_and(|text| only_body(&text) && request.body == text)
}
