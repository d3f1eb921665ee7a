#!/usr/bin/env python3
"""Turns each rule of the verifier round, one at a time, and asks its unit tests whether they notice.

All mutants go into one scratch copy, each behind a switch, so one build serves them all: `if crate::mutant(7) { wrong }
else { right }`. Ends with 1 when a mutant survives, or when a place to change is not there (then mend the list).

    tests/mutants.py            all of them
    tests/mutants.py 7 12       these
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FILTERS = ["intake::authenticate", "intake::form", "bridge::auth"]
TIMEOUT = 300  # seconds; a mutant that hangs is noticed too

A = "src/intake/authenticate/"
B = "src/bridge/auth/"
ALL = "if M { 1 } else { usize::MAX }"

# What it does wrong; the file; the text there; what stands in its place, with `M` for "this mutant is alive".
MUTANTS = [
    ("addresses are not asked", A + "mod.rs", "match peer.is_some_and(allowed) {", "match M || peer.is_some_and(allowed) {"),
    ("IPv4 in IPv6 is another address", A + "mod.rs", "peer.to_canonical()", "(if M { peer } else { peer.to_canonical() })"),
    ("what could answer a challenge is believed", A + "mod.rs", "auth.challenge().is_some_and(Challenge::is_signed) && proven.is_plain", "!M && auth.challenge().is_some_and(Challenge::is_signed) && proven.is_plain"),
    ("a bad proof falls through to the next way", A + "mod.rs", "let Some(proven) = prove(way, &request, now)? else", "let Some(proven) = (if M { prove(way, &request, now).unwrap_or(None) } else { prove(way, &request, now)? }) else"),
    ("only the first token is compared", A + "mod.rs", "        values\n            .iter()\n", f"        values\n            .iter().take({ALL})\n"),
    ("only the first secret of a token counts", A + "mod.rs", "    way.keys\n        .iter()\n        .find(fits)", f"    way.keys\n        .iter().take({ALL})\n        .find(fits)"),
    ("only the first secret of a signature counts", A + "mod.rs", "    for key in &way.keys {\n        facts", f"    for key in way.keys.iter().take({ALL}) {{\n        facts"),
    ("only the first signature counts", A + "mod.rs", "    for proof in proofs {", f"    for proof in proofs.iter().take({ALL}) {{"),
    ("the named hash is not used", A + "mod.rs", "proof.algorithm.unwrap_or(*default)", "(if M { *default } else { proof.algorithm.unwrap_or(*default) })"),
    ("a repeated header is believed", A + "mod.rs", "if values.len() > 1 && shown.separator.is_none()", "if !M && values.len() > 1 && shown.separator.is_none()"),
    ("an empty value counts as absent", A + "mod.rs", "        if !values.is_empty() {\n            return Ok(Some((place, values)));", "        if !values.is_empty() && !(M && values.iter().all(|value| value.is_empty())) {\n            return Ok(Some((place, values)));"),
    ("an unsigned body's time counts as signed with it", A + "mod.rs", "signing.timestamp.is_some() && way.scheme.covers_body()", "signing.timestamp.is_some() && (M || way.scheme.covers_body())"),
    ("a truncated signature is believed", A + "mac.rs", "    one.ct_eq(other).into()", "    if M { return one.starts_with(other) || other.starts_with(one); }\n    one.ct_eq(other).into()"),
    ("every value is equal", A + "mac.rs", "    one.ct_eq(other).into()", "    if M { return true; }\n    one.ct_eq(other).into()"),
    ("the first piece is not signed", A + "mac.rs", "    for piece in message {", "    let message = &message[usize::from(M && message.len() > 1)..];\n    for piece in message {"),
    ("the last piece is not signed", A + "mac.rs", "    for piece in message {", "    let message = &message[..message.len() - usize::from(M && message.len() > 1)];\n    for piece in message {"),
    ("SHA-1 is SHA-256", A + "mac.rs", "Algorithm::Sha1 => run", "Algorithm::Sha1 if M => run::<Hmac<sha2::Sha256>>(key, message),\n        Algorithm::Sha1 => run"),
    ("SHA-224 is SHA-256", A + "mac.rs", "Algorithm::Sha224 => run", "Algorithm::Sha224 if M => run::<Hmac<sha2::Sha256>>(key, message),\n        Algorithm::Sha224 => run"),
    ("SHA-384 is SHA-512", A + "mac.rs", "Algorithm::Sha384 => run", "Algorithm::Sha384 if M => run::<Hmac<sha2::Sha512>>(key, message),\n        Algorithm::Sha384 => run"),
    ("SHA-512 is SHA-384", A + "mac.rs", "Algorithm::Sha512 => run", "Algorithm::Sha512 if M => run::<Hmac<sha2::Sha384>>(key, message),\n        Algorithm::Sha512 => run"),
    ("every Ed25519 signature holds", A + "ed25519.rs", "        .is_ok()", "        .is_ok() || M"),
    ("percent-encoding is undone twice in a query", A + "read.rs", "matches!(place, Place::Header(_))", "(M || matches!(place, Place::Header(_)))"),
    ("percent-encoding stays in a header", A + "read.rs", "matches!(place, Place::Header(_))", "(!M && matches!(place, Place::Header(_)))"),
    ("two times are believed", A + "read.rs", "Some(kept) if kept != text", "Some(kept) if !M && kept != text"),
    ("the limit itself is too late", A + "read.rs", "off > rule.within", "(off > rule.within || (M && off == rule.within))"),
    ("a clock ahead is believed", A + "read.rs", "off > rule.within ", "(off > rule.within && !(M && signed > now)) "),
    ("an old request is believed", A + "read.rs", "off > rule.within ", "(off > rule.within && !(M && signed < now)) "),
    ("the clock is not cut to seconds", A + "read.rs", "(signed, Timestamp::from_second(now.as_second()))", "(signed, if M { Ok(now) } else { Timestamp::from_second(now.as_second()) })"),
    ("milliseconds are read as seconds", A + "read.rs", "digits(&text).and_then(|n| Timestamp::from_millisecond(n).ok())", "digits(&text).and_then(|n| (if M { Timestamp::from_second(n) } else { Timestamp::from_millisecond(n) }).ok())"),
    ("a repeated timestamp is believed", A + "read.rs", "            if !values.is_empty() {\n                return Err(Refusal::Repeated(place.to_string()));", "            if !M && !values.is_empty() {\n                return Err(Refusal::Repeated(place.to_string()));"),
    ("a timestamp may have a sign", A + "read.rs", "!text.is_empty() && text.iter().all(u8::is_ascii_digit)", "!text.is_empty() && (M || text.iter().all(u8::is_ascii_digit))"),
    ("the scheme's word is exact", A + "read.rs", "name.eq_ignore_ascii_case(scheme.as_bytes())", "(if M { name == scheme.as_bytes() } else { name.eq_ignore_ascii_case(scheme.as_bytes()) })"),
    ("an empty Authorization falls through", A + "read.rs", "|| name.is_empty();", "|| (!M && name.is_empty());"),
    ("a repeated Authorization is believed", A + "read.rs", "if lines.len() > 1 {", "if !M && lines.len() > 1 {"),
    ("an empty token is a token", A + "read.rs", "Reads::Token if text.is_empty() => {}", "Reads::Token if !M && text.is_empty() => {}"),
    ("blanks around separators refuse", A + "read.rs", "items.push(trim_blanks(&rest[..at]));", "items.push(if M { &rest[..at] } else { trim_blanks(&rest[..at]) });"),
    ("an unknown hash is the first one", A + "read.rs", "                    None => return Ok(()),", "                    None if M => {}\n                    None => return Ok(()),"),
    ("a parameter's name is not decoded", A + "find.rs", "            .filter(|(key, _)| undo(key).as_ref() == name.as_bytes())", "            .filter(|(key, _)| if M { *key == name.as_bytes() } else { undo(key).as_ref() == name.as_bytes() })"),
    ("the path is not decoded", A + "find.rs", "vec![undo(request.rest.as_bytes())]", "vec![if M { Cow::Borrowed(request.rest.as_bytes()) } else { undo(request.rest.as_bytes()) }]"),
    ("JSON may have something behind it", A + "find.rs", "|| reader.end().is_err()", "|| (!M && reader.end().is_err())"),
    ("an index may have zeros in front", A + "find.rs", "(digits && !leading)", "(digits && (M || !leading))"),
    ("a field may hold anything", A + "find.rs", "                .ok_or(NotAText)", "                .or_else(|| M.then(|| Cow::Borrowed(&b\"\"[..]))).ok_or(NotAText)"),
    ("only the blanks behind a header's value are cut", A + "find.rs", "    &text[start..=end]", "    &text[if M { 0 } else { start }..=end]"),
    ("JSON is read as a form", "src/intake/form.rs", "    body.first().is_none_or(encoded).then(", "    (M || body.first().is_none_or(encoded)).then("),
    ("a plus in a form stays", "src/intake/form.rs", "if byte == b'+' { b' ' }", "if !M && byte == b'+' { b' ' }"),
    ("only the first pattern of `signed` counts", A + "build.rs", "            Err(gap) => missing = gap,", "            Err(gap) if M => return Err(Refusal::Absent(gap)),\n            Err(gap) => missing = gap,"),
    ("a signed place may be there twice", A + "build.rs", "    if values.is_empty() {\n        Ok(value)", "    if M || values.is_empty() {\n        Ok(value)"),
    ("header values are joined otherwise", A + "build.rs", "values.join(&b'.')", "values.join(if M { &b' ' } else { &b'.' })"),
    ("the query is not signed with the address", A + "build.rs", "Cow::Borrowed(facts.request.target.as_bytes())", "Cow::Borrowed(if M { facts.request.target.split('?').next().unwrap_or_default().as_bytes() } else { facts.request.target.as_bytes() })"),
    ("the method is always POST", A + "build.rs", "Cow::Borrowed(facts.request.method.as_str().as_bytes())", "Cow::Borrowed(if M { &b\"POST\"[..] } else { facts.request.method.as_str().as_bytes() })"),
    ("other headers may keep signatures", A + "take_out.rs", "        .filter(|name| tells(name))", "        .filter(|name| !M && tells(name))"),
    ("the token stays in the query", A + "take_out.rs", "let named = |other: &[u8]| other == name.as_bytes();", "let named = |other: &[u8]| !M && other == name.as_bytes();"),
    ("a token that the bridge does not name stays in the query", A + "take_out.rs", "name.split(['-', '_']).any(|word| TELLING.contains(&word))", "!M && name.split(['-', '_']).any(|word| TELLING.contains(&word))"),
    ("text behind a value is passed over", B + "pattern.rs", "        rest.is_empty().then_some(found)", "        (M || rest.is_empty()).then_some(found)"),
    ("the case of a prefix does not matter", B + "pattern.rs", "Piece::Text(text) => rest = rest.strip_prefix(text.as_bytes())?,", "Piece::Text(text) if M && rest.len() >= text.len() && rest[..text.len()].eq_ignore_ascii_case(text.as_bytes()) => rest = &rest[text.len()..],\n                Piece::Text(text) => rest = rest.strip_prefix(text.as_bytes())?,"),
    ("hex may have blanks around it", B + "encoding.rs", "hex::decode(text).ok()", "hex::decode(if M { text.trim_ascii() } else { text }).ok()"),
    ("an empty signature is one", B + "encoding.rs", "bytes.filter(|bytes| !bytes.is_empty())", "bytes.filter(|bytes| M || !bytes.is_empty())"),
    ("base64 and base64url are one", B + "encoding.rs", "Encoding::Base64Url => URL.decode(text).ok()", "Encoding::Base64Url => URL.decode(text).ok().or_else(|| if M { STANDARD.decode(text).ok() } else { None })"),
    ("an unsigned timestamp compiles", B + "time.rs", "    if !by_key && !signed.iter().all(covered) {", "    if !M && !by_key && !signed.iter().all(covered) {"),
    ("one signed timestamp of several is enough", B + "time.rs", "!signed.iter().all(covered)", "!(if M { signed.iter().any(covered) } else { signed.iter().all(covered) })"),
    ("Basic takes a secret without a user", B + "key.rs", "Scheme::Basic => secret.expose().contains(&b':'),", "Scheme::Basic => M || secret.expose().contains(&b':'),"),
    ("an Ed25519 key may have any length", B + "key.rs", "bytes.expose().len() == PUBLIC_KEY", "(M || bytes.expose().len() == PUBLIC_KEY)"),
    ("an empty secret compiles", B + "key.rs", "if secret.expose().is_empty() {", "if !M && secret.expose().is_empty() {"),
]

SWITCH = '''
/// Whether a mutant is alive.
pub fn mutant(number: usize) -> bool {
    static ALIVE: std::sync::OnceLock<usize> = std::sync::OnceLock::new();
    *ALIVE.get_or_init(|| std::env::var("MUTANT").ok().and_then(|text| text.parse().ok()).unwrap_or(0)) == number
}
'''


def mutate(scratch):
    """Puts every mutant into the copy; gives those that have no place. What stands in a place's stead holds the right text
    too, so several at one place nest."""
    lost = []
    for number, (says, file, right, wrong) in enumerate(MUTANTS, 1):
        text = (scratch / file).read_text()
        if text.count(right) == 1:
            wrong = re.sub(r"\bM\b", f"crate::mutant({number})", wrong)
            (scratch / file).write_text(text.replace(right, wrong))
        else:
            lost.append(f"{number} {says}: {text.count(right)} places in {file}")
    return lost


def build(scratch):
    command = ["cargo", "test", "--locked", "--lib", "--no-run", "--message-format=json"]
    environment = dict(os.environ, CARGO_TARGET_DIR=os.environ.get("CARGO_TARGET_DIR", str(ROOT / "target")))
    built = subprocess.run(command, cwd=scratch, env=environment, stdout=subprocess.PIPE, text=True)
    if built.returncode:
        for line in built.stdout.splitlines():
            message = json.loads(line).get("message") or {}
            print(message.get("rendered", "") if message.get("level") == "error" else "", end="")
        sys.exit("the mutants do not compile")
    messages = [json.loads(line) for line in built.stdout.splitlines() if line.startswith("{")]
    return [m["executable"] for m in messages if m.get("executable")][-1]


def passes(program, scratch, number):
    environment = dict(os.environ, MUTANT=str(number), PROPTEST_CASES="64", PROPTEST_MAX_SHRINK_ITERS="0")
    try:
        ran = subprocess.run([program, "-q", *FILTERS], cwd=scratch, env=environment, capture_output=True, timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        return False
    if number == 0 and ran.returncode:
        print(ran.stdout.decode(errors="replace")[-4000:])
    return ran.returncode == 0


def main():
    wanted = [int(number) for number in sys.argv[1:]] or range(1, len(MUTANTS) + 1)
    # Always the same folder, so that a second run builds only what has changed.
    scratch = ROOT / "target/mutants"
    shutil.rmtree(scratch, ignore_errors=True)
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    for name in filter(None, files.decode().split("\0")):
        if (ROOT / name).is_file():
            (scratch / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, scratch / name)
    lost = mutate(scratch)
    if lost:
        sys.exit("mend the list of mutants:\n" + "\n".join(lost))
    # Another version, or cargo would take the copy's build for the project's own.
    for name in ("Cargo.toml", "Cargo.lock"):
        text = (scratch / name).read_text()
        own = re.compile(r'^(name = "openim-bridge"\nversion = ")[^"]*', re.MULTILINE)
        text, count = own.subn(r"\g<1>0.0.0", text)
        assert count == 1, name
        (scratch / name).write_text(text)
    with open(scratch / "src/lib.rs", "a") as library:
        library.write(SWITCH)
    program = build(scratch)
    if not passes(program, scratch, 0):
        sys.exit("the tests fail without a mutant")
    survivors = []
    for number in wanted:
        survives = passes(program, scratch, number)
        print(f"{number:3} {'SURVIVES' if survives else 'noticed '} {MUTANTS[number - 1][0]}", flush=True)
        if survives:
            survivors.append(number)
    print(f"{len(list(wanted)) - len(survivors)} of {len(list(wanted))} noticed")
    sys.exit(1 if survivors else 0)


if __name__ == "__main__":
    main()
