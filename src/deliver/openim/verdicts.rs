//! What an answer to a send means: a table of OpenIM's codes and texts, and the few rules around it.

use std::time::Duration;

use super::envelope::{Answer, Envelope, Unanswered};
use crate::model::{Outcome, Receipt};

/// What an answer means for the delivery, and for the server as a whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// How the attempt ended.
    pub outcome: Outcome,
    /// What it says about the server.
    pub sign: Sign,
}

/// What one answer says about the server as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sign {
    /// It works, whatever it thinks of this message.
    Well,
    /// It was not asked.
    None,
    /// Something is wrong that may be this request's alone; the same from another conversation makes it the server's.
    Doubtful(String),
    /// It cannot be used by anybody: no connection, no token.
    Down(String),
    /// It asks everybody to wait so long.
    Busy(Duration),
}

/// What follows from a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// OpenIM says no for good.
    Refuse,
    /// The token is not taken: renew it once for all, and ask again.
    RenewToken,
    /// Surely not taken; the same may be taken later.
    TryLater,
    /// May have been taken.
    Settle,
}

/// One row: an errCode, the words that its texts must hold (any of them; none: whatever they say), and what follows.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The first and the last errCode it is for.
    pub codes: (i64, i64),
    /// The words, one of which must stand in errMsg or errDlt.
    pub words: &'static [&'static str],
    /// What follows.
    pub then: Then,
    /// For the operator, where the code's own name does not say what to do.
    pub hint: &'static str,
}

const fn row(first: i64, last: i64, then: Then, hint: &'static str) -> Row {
    worded(first, last, &[], then, hint)
}

const fn worded(
    first: i64,
    last: i64,
    words: &'static [&'static str],
    then: Then,
    hint: &'static str,
) -> Row {
    Row {
        codes: (first, last),
        words,
        then,
        hint,
    }
}

/// The first row that fits decides. Codes: open-im-server `pkg/common/servererrs/code.go`, tools `errs/predefine.go`;
/// what each leaves behind was seen on running servers with a part of them stopped or hung.
#[rustfmt::skip]
pub static TABLE: &[Row] = &[
    // gRPC codes, as release 3.8 passes them on. Without a server to talk to nothing was taken; else it may have been.
    worded(14, 14, &["no children to pick from", "connection refused"], Then::TryLater, "a part of OpenIM is down"),
    row(3, 3, Then::Refuse, ""),
    row(5, 5, Then::Refuse, ""),
    row(7, 7, Then::Refuse, ""),
    row(12, 12, Then::Refuse, ""),
    row(1, 16, Then::Settle, ""),
    row(429, 429, Then::TryLater, "OpenIM limits its rate"),
    // 500 is whatever has no code of its own. Kafka's breaker refuses before it takes anything.
    worded(500, 500, &["circuit breaker is open"], Then::TryLater, "OpenIM's Kafka is down"),
    worded(500, 500, &["Field validation for", "expected type", "error(s) decoding", "unconvertible type"], Then::Refuse, "OpenIM does not take this content"),
    worded(500, 500, &["larger than configured Producer.MaxMessageBytes"], Then::Refuse, "the message is too large for OpenIM"),
    worded(500, 500, &["no documents in result"], Then::Refuse, "unknown at OpenIM"),
    row(500, 500, Then::Settle, ""),
    row(1000, 1000, Then::Settle, ""),
    worded(1001, 1001, &["header must have token"], Then::RenewToken, ""),
    worded(1001, 1001, &["message is not sent"], Then::Refuse, "the recipient refuses messages"),
    row(1001, 1001, Then::Refuse, ""),
    worded(1002, 1002, &["notification messages cannot be sent for this ID"], Then::Refuse, "the sender is no notification account"),
    row(1002, 1002, Then::Refuse, "the bridge's OpenIM user is no admin"),
    row(1003, 1003, Then::Refuse, ""),
    row(1004, 1004, Then::Refuse, "no such group or user at OpenIM"),
    row(1050, 1050, Then::Refuse, ""),
    row(1101, 1101, Then::Refuse, "the sender is no account at OpenIM"),
    row(1102, 1102, Then::Refuse, ""),
    row(1201, 1202, Then::Refuse, ""),
    row(1203, 1203, Then::Refuse, "the bot is not in the group"),
    row(1204, 1204, Then::Refuse, "the group is dismissed"),
    row(1205, 1206, Then::Refuse, ""),
    row(1302, 1302, Then::Refuse, "the recipient has blocked the bot"),
    row(1303, 1303, Then::Refuse, "the recipient takes messages of friends only"),
    row(1301, 1305, Then::Refuse, ""),
    row(1402, 1402, Then::TryLater, "the bot is muted in the group"),
    row(1403, 1403, Then::TryLater, "the group is muted"),
    row(1401, 1404, Then::Refuse, ""),
    row(1501, 1507, Then::RenewToken, "OpenIM does not take the token"),
    row(1520, 1520, Then::Refuse, ""),
    row(1601, 1604, Then::Refuse, ""),
    row(1701, 1701, Then::Refuse, ""),
    row(5000, 9999, Then::Refuse, "refused by a webhook of OpenIM"),
    row(10001, 10014, Then::Refuse, ""),
    row(80000, 80000, Then::Settle, ""),
    row(90002, 90002, Then::Settle, ""),
    row(90004, 90004, Then::TryLater, "OpenIM cannot reach its own webhook"),
    row(90007, 90007, Then::TryLater, "OpenIM's own webhook answers nonsense"),
    // A code that nobody has described: a named refusal from 1000 on, something internal below.
    row(1000, i64::MAX, Then::Refuse, ""),
    row(i64::MIN, 999, Then::Settle, ""),
];

/// The row for an error; `None` for a success.
pub fn row_for(envelope: &Envelope) -> Option<&'static Row> {
    if envelope.code == 0 {
        return None;
    }
    TABLE.iter().find(|row| {
        (row.codes.0..=row.codes.1).contains(&envelope.code)
            && (row.words.is_empty() || row.words.iter().any(|words| envelope.says(words)))
    })
}

/// Whether the answer says that the token is not taken.
pub fn wants_a_new_token(answer: &Answer) -> bool {
    let row = answer.envelope.as_ref().and_then(row_for);
    row.is_some_and(|row| row.then == Then::RenewToken)
}

/// What an answer to `/msg/send_msg` means.
pub fn judge(answer: Result<Answer, Unanswered>) -> Verdict {
    match answer {
        Err(unanswered @ Unanswered::NotConnected(_)) => Verdict {
            sign: Sign::Down(unanswered.to_string()),
            outcome: later(unanswered.to_string(), None),
        },
        Err(unanswered @ Unanswered::TooLate) => Verdict {
            sign: Sign::None,
            outcome: later(unanswered.to_string(), None),
        },
        Err(unanswered @ Unanswered::Lost(_)) => Verdict {
            sign: Sign::Doubtful(unanswered.to_string()),
            outcome: ambiguous(unanswered.to_string(), None),
        },
        Err(unanswered @ Unanswered::Impossible(_)) => Verdict {
            sign: Sign::Well,
            outcome: Outcome::Refused(unanswered.to_string()),
        },
        Ok(answer) => match &answer.envelope {
            Some(envelope) if envelope.code == 0 => taken(envelope),
            Some(envelope) => refused(envelope, answer.retry_after),
            None => by_status(answer.status, answer.retry_after),
        },
    }
}

fn taken(envelope: &Envelope) -> Verdict {
    let text = |name: &str| envelope.data[name].as_str().unwrap_or_default().to_owned();
    let outcome = match text("serverMsgID") {
        // Release 3.8 answers so when the recipient refuses all messages.
        id if id.is_empty() && envelope.data.is_object() => {
            Outcome::Refused("the recipient refuses messages".into())
        }
        id if id.is_empty() => ambiguous("success without a message id".into(), None),
        id => Outcome::Accepted(Some(Receipt {
            server_msg_id: id,
            client_msg_id: text("clientMsgID"),
            send_time: envelope.data["sendTime"].as_i64().unwrap_or_default(),
        })),
    };
    Verdict {
        outcome,
        sign: Sign::Well,
    }
}

fn refused(envelope: &Envelope, after: Option<Duration>) -> Verdict {
    let row = row_for(envelope);
    let hint = row.map_or("", |row| row.hint);
    let line = match hint {
        "" => envelope.line(),
        hint => format!("{}: {hint}", envelope.line()),
    };
    let then = row.map_or(Then::Settle, |row| row.then);
    let (outcome, sign) = match then {
        Then::Refuse => (Outcome::Refused(line), Sign::Well),
        Then::RenewToken => (later(line.clone(), after), Sign::Down(line)),
        Then::TryLater if envelope.code == 429 => (later(line, after), busy(after)),
        Then::TryLater if matches!(envelope.code, 14 | 500) => {
            (later(line.clone(), after), Sign::Doubtful(line))
        }
        Then::TryLater => (later(line, after), Sign::Well),
        Then::Settle => (ambiguous(line.clone(), after), Sign::Doubtful(line)),
    };
    Verdict { outcome, sign }
}

/// Not OpenIM's words, so something before it answered: a proxy, or a server that is none of OpenIM's.
fn by_status(status: u16, after: Option<Duration>) -> Verdict {
    let line = format!("HTTP {status} without OpenIM's envelope");
    match status {
        429 => Verdict {
            outcome: later(line, after),
            sign: busy(after),
        },
        // Nothing was done (RFC 9110: a redirect was not followed, a 4xx is the asker's fault), and the operator can
        // mend an address or a proxy: so not for good.
        300..=499 => Verdict {
            outcome: later(line.clone(), after),
            sign: Sign::Doubtful(line),
        },
        _ => Verdict {
            outcome: ambiguous(line.clone(), after),
            sign: Sign::Doubtful(line),
        },
    }
}

fn later(reason: String, after: Option<Duration>) -> Outcome {
    Outcome::Later { reason, after }
}

fn ambiguous(reason: String, after: Option<Duration>) -> Outcome {
    Outcome::Ambiguous { reason, after }
}

/// OpenIM's own limiter always says 1 s; what stands before it may say nothing.
fn busy(after: Option<Duration>) -> Sign {
    Sign::Busy(after.unwrap_or(Duration::from_secs(1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// A verdict in one word.
    fn word(verdict: &Verdict) -> &'static str {
        match &verdict.outcome {
            Outcome::Accepted(_) => "sent",
            Outcome::Refused(_) => "refused",
            Outcome::Later { .. } => "later",
            Outcome::Ambiguous { .. } => "ambiguous",
        }
    }

    fn heard(status: u16, body: &str) -> Verdict {
        judge(Ok(Answer {
            status,
            retry_after: None,
            envelope: Envelope::read(body.as_bytes(), &[]),
        }))
    }

    fn said(code: i64, text: &str) -> Verdict {
        let body = json!({ "errCode": code, "errMsg": "Name", "errDlt": text });
        heard(200, &body.to_string())
    }

    #[test]
    fn every_code_of_the_contract_has_its_verdict() {
        #[rustfmt::skip]
        let contract: &[(&[i64], &str, &str)] = &[
            (&[3, 5, 7, 12], "", "refused"),
            (&[1, 2, 4, 6, 8, 9, 10, 11, 13, 14, 15, 16], "", "ambiguous"),
            (&[14], "no children to pick from", "later"),
            (&[14], "dial tcp 127.0.0.1:1: connect: connection refused", "later"),
            (&[14], "read: connection reset by peer", "ambiguous"),
            (&[429], "", "later"),
            (&[500], "kafka: client has run out of available brokers to talk to", "ambiguous"),
            (&[500], "circuit breaker is open p.producer.SendMessage error", "later"),
            (&[500], "Key: 'TextElem.Content' Error:Field validation for 'Content' failed", "refused"),
            (&[500], "1 error(s) decoding: 'data' expected type 'string', got unconvertible type", "refused"),
            (&[500], "Attempt to produce message larger than configured Producer.MaxMessageBytes: 2 > 1", "refused"),
            (&[500], "mongo: no documents in result", "refused"),
            (&[1000, 80000, 90002], "", "ambiguous"),
            (&[1001], "header must have token", "later"),
            (&[1001], "message is not sent", "refused"),
            (&[1001, 1002, 1003, 1004, 1050, 1101, 1102, 1201, 1202, 1203, 1204, 1205, 1206], "", "refused"),
            (&[1301, 1302, 1303, 1304, 1305, 1401, 1404, 1520, 1601, 1602, 1603, 1604, 1701], "", "refused"),
            (&[1402, 1403, 90004, 90007], "", "later"),
            (&[1501, 1502, 1503, 1504, 1505, 1506, 1507], "", "later"),
            (&[5000, 5001, 9999, 10001, 10014], "", "refused"),
            (&[4711, 99999], "nobody knows this code", "refused"),
            (&[-1, 17, 999], "nobody knows this code", "ambiguous"),
        ];
        for (codes, text, expected) in contract {
            for code in *codes {
                assert_eq!(word(&said(*code, text)), *expected, "{code} {text}");
            }
        }
    }

    #[test]
    fn every_row_of_the_table_is_reached() {
        for (number, row) in TABLE.iter().enumerate() {
            let words = row.words.first().copied().unwrap_or("anything else");
            let reached = (row.codes.0.max(-1)..=row.codes.1.min(100_000)).any(|code| {
                let body = json!({ "errCode": code, "errMsg": "", "errDlt": words });
                let envelope = Envelope::read(body.to_string().as_bytes(), &[]).unwrap();
                row_for(&envelope).is_some_and(|found| std::ptr::eq(found, row))
            });
            assert!(reached, "row {number} {row:?}");
        }
    }

    #[test]
    fn a_token_that_is_not_taken_is_renewed_and_nothing_else_is() {
        let wants = |body: Value| {
            wants_a_new_token(&Answer {
                status: 200,
                retry_after: None,
                envelope: Envelope::read(body.to_string().as_bytes(), &[]),
            })
        };
        for code in 1501..=1507 {
            assert!(wants(json!({ "errCode": code })));
        }
        assert!(wants(
            json!({"errCode": 1001, "errDlt": "header must have token"})
        ));
        assert!(!wants(json!({"errCode": 1002})));
        assert!(!wants(json!({"errCode": 0})));
    }

    #[test]
    fn success_needs_a_message_id() {
        let sent = r#"{"errCode":0,"errMsg":"","errDlt":"","data":{"serverMsgID":"s","clientMsgID":"c","sendTime":7,"modify":null}}"#;
        let receipt = Receipt {
            server_msg_id: "s".into(),
            client_msg_id: "c".into(),
            send_time: 7,
        };
        assert_eq!(heard(200, sent).outcome, Outcome::Accepted(Some(receipt)));
        // The recipient refuses messages, in the words of release 3.8.
        let refused = r#"{"errCode":0,"errMsg":"","errDlt":"","data":{"serverMsgID":"","clientMsgID":"","sendTime":0,"modify":null}}"#;
        assert_eq!(word(&heard(200, refused)), "refused");
        let nothing = r#"{"errCode":0,"errMsg":"","errDlt":""}"#;
        assert_eq!(word(&heard(200, nothing)), "ambiguous");
    }

    #[test]
    fn the_envelope_counts_whatever_the_status_and_the_status_where_there_is_none() {
        let muted = r#"{"errCode":1403,"errMsg":"MutedGroup","errDlt":""}"#;
        assert_eq!(word(&heard(500, muted)), "later");
        let bad = r#"{"errCode":1001,"errMsg":"ArgsError","errDlt":"EOF"}"#;
        assert_eq!(word(&heard(400, bad)), "refused");
        for (status, expected) in [
            (200, "ambiguous"),
            (302, "later"),
            (404, "later"),
            (429, "later"),
            (500, "ambiguous"),
            (502, "ambiguous"),
        ] {
            assert_eq!(word(&heard(status, "<html>")), expected, "{status}");
        }
    }

    #[test]
    fn only_without_a_connection_it_is_sure_that_nothing_was_taken() {
        let lost = judge(Err(Unanswered::Lost("reset".into())));
        assert_eq!(word(&lost), "ambiguous");
        assert!(matches!(lost.sign, Sign::Doubtful(_)));
        let none = judge(Err(Unanswered::NotConnected("refused".into())));
        assert_eq!(word(&none), "later");
        assert!(matches!(none.sign, Sign::Down(_)));
    }

    #[test]
    fn a_server_that_asks_for_a_wait_is_heard() {
        let verdict = judge(Ok(Answer {
            status: 429,
            retry_after: Some(Duration::from_secs(7)),
            envelope: Envelope::read(br#"{"errCode":429,"errMsg":"slow down"}"#, &[]),
        }));
        assert_eq!(verdict.sign, Sign::Busy(Duration::from_secs(7)));
        let Outcome::Later { after, .. } = verdict.outcome else {
            panic!("{verdict:?}");
        };
        assert_eq!(after, Some(Duration::from_secs(7)));
    }

    #[test]
    fn an_operator_reads_what_to_do() {
        let verdict = said(1203, "");
        let expected = "1203 Name: the bot is not in the group";
        assert_eq!(verdict.outcome, Outcome::Refused(expected.into()));
    }

    /// What real servers of both families answered, some with a part of them stopped or hung.
    #[test]
    fn what_real_servers_answered_has_the_verdict_that_was_seen_to_be_right() {
        #[expect(clippy::disallowed_methods, reason = "says where the recordings are")]
        let Ok(folder) = std::env::var("OPENIM_BRIDGE_SHARED") else {
            eprintln!("skipped: OPENIM_BRIDGE_SHARED is not set");
            return;
        };
        let path = format!("{folder}/reference/openim-transcripts.jsonl");
        let text = std::fs::read_to_string(path).unwrap();
        let mut seen = std::collections::BTreeMap::new();
        for line in text.lines() {
            let row: Value = serde_json::from_str(line).unwrap();
            if row["request"]["path"] != "/msg/send_msg" {
                continue;
            }
            let name = row["name"].as_str().unwrap();
            let answer = &row["response"];
            let verdict = match answer["status"].as_u64() {
                None => judge(Err(Unanswered::Lost("timed out".into()))),
                Some(status) => heard(
                    u16::try_from(status).unwrap(),
                    &match &answer["body"] {
                        Value::Null => String::new(),
                        body => body.to_string(),
                    },
                ),
            };
            let word = word(&verdict);
            *seen.entry(word).or_insert(0) += 1;
            let server = row["server"].as_str().unwrap();
            let expected = match name {
                // Code 0 and no id: the recipient refuses, as release 3.8 says it.
                "refuse.recv_opt_not_receive" => "refused",
                "refuse.muted_group" | "refuse.muted_group_member" | "refuse.muted_member" => {
                    "later"
                }
                name if name.starts_with("bad.token_") && name != "bad.token_of_user" => {
                    match answer["body"]["errCode"].as_i64() {
                        Some(0) => "sent",
                        _ => "later",
                    }
                }
                "bad.no_token" => "later",
                "fault.rpc_msg_killed" => "ambiguous",
                name if name.starts_with("fault.rpc_msg_hangs")
                    || name == "fault.kafka_stopped"
                    || name == "fault.kafka_stopped.again"
                    || name == "fault.kafka_hangs"
                    || name == "fault.kafka_hangs_client_gives_up"
                    || name.starts_with("fault.redis_stopped") && !name.ends_with("then_ok")
                    || name.starts_with("fault.redis_hangs")
                    || name.starts_with("fault.redis_lost")
                    || name.starts_with("fault.mongo_hangs")
                    || name == "webhook.refuses.next0" =>
                {
                    "ambiguous"
                }
                name if name.starts_with("fault.rpc_")
                    || name.starts_with("fault.kafka_stopped.") =>
                {
                    "later"
                }
                "webhook.refused" | "webhook.html" | "webhook.500" | "webhook.slow" => "later",
                _ => match answer["body"]["errCode"].as_i64() {
                    Some(0) => "sent",
                    _ => "refused",
                },
            };
            assert_eq!(word, expected, "{server} {name}: {answer}");
        }
        eprintln!("judged {seen:?}");
        assert_eq!(seen.len(), 4);
    }
}
