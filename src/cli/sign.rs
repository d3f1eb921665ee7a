//! `sign`: a request as its sender would sign it, as HTTP text or as a `curl` line. Nothing is kept or sent.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::bail;
use http::header::CONTENT_ENCODING;

use super::Everywhere;
use super::check::base_address;
use super::post_line::signed_line;
use super::subject::{Asked, Subject};
use crate::bridge::auth::Scheme;
use crate::intake::Request;
use crate::intake::authenticate::diagnose::{as_sent, unpack};
use crate::intake::authenticate::{Unsigned, chosen, prepare, sign_with};
use crate::model::Clock;

/// The arguments of `sign`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    asked: Asked,
    /// Which of the bridge's secrets: its number or its reference [default: the first]; for a bridge without secrets env:NAME or file:/path
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
    let asked = &args.asked;
    let now = asked.now.unwrap_or_else(|| Clock::system().now());
    let given = asked.read()?;
    let subject = Subject::find(everywhere, &asked.bridge, args.secret.as_deref())?;
    let auth = subject.auth()?;
    // The door unpacks before it verifies.
    let (mut request, _) = unpack(as_sent(given.request));
    request.headers.remove(CONTENT_ENCODING);
    let request = prepare(auth, addressed(request, &asked.bridge));
    let open = |scheme: &Scheme| matches!(scheme, Scheme::None);
    if auth.ways().iter().all(|way| open(&way.scheme)) {
        bail!(
            "the bridge `{}` asks for no proof: there is nothing to sign",
            asked.bridge
        );
    }
    if chosen(auth, subject.number).is_none()
        && let Some((number, why)) = subject.lacks()
    {
        bail!("secret {number} of `{}` is not there: {why}", asked.bridge);
    }
    let signed = sign_with(auth, request.clone(), now, subject.number)?;
    if !args.curl {
        return Ok(signed.to_text());
    }
    let base = base_address(subject.loaded.settings.as_ref());
    // Where signing leaves the body as it is, a line can send the file itself.
    let file = given.body.filter(|file| is_in(file, &signed));
    let line = signed_line(
        &subject.bridge,
        subject.number,
        &request,
        &signed,
        &base,
        &subject.directory,
        file.as_deref(),
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

/// Whether the file is the request's body.
fn is_in(file: &Path, request: &Request) -> bool {
    std::fs::read(file).is_ok_and(|text| request.body == text)
}
