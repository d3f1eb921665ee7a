//! What broken servers answered, word for word, and after how long. Recorded on release 3.8.3-patch.16 unless it says otherwise.

use super::super::answer::Refusal;

/// Where the call breaks off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sandbox) enum Point {
    /// Before anything is looked at.
    Door,
    /// When the message is put into the queue: what is refused before that is refused as always.
    Queue,
}

/// One answer.
#[derive(Debug, PartialEq)]
pub(in crate::sandbox) struct Recorded {
    pub code: i32,
    pub message: &'static str,
    /// `None`: the same text as `message`.
    pub detail: Option<&'static str>,
    /// What the status call says instead.
    pub status_message: Option<&'static str>,
    pub point: Point,
}

impl Recorded {
    pub fn refusal(&self, is_status_call: bool) -> Refusal {
        let message = match self.status_message {
            Some(message) if is_status_call => message,
            _ => self.message,
        };
        Refusal::Recorded {
            code: self.code,
            message: message.to_owned(),
            detail: self.detail.unwrap_or(message).to_owned(),
        }
    }
}

const fn code(code: i32, message: &'static str, detail: Option<&'static str>) -> Recorded {
    Recorded {
        code,
        message,
        detail,
        status_message: None,
        point: Point::Door,
    }
}

pub(super) const RPC_STOPPED: Recorded = code(14, "no children to pick from", Some(""));
pub(super) const RPC_REFUSED: Recorded = code(
    14,
    "connection error: desc = \"transport: Error while dialing: dial tcp 127.0.0.1:41571: connect: connection refused\"",
    Some(""),
);
pub(super) const RPC_CUT: Recorded = code(
    14,
    "connection error: desc = \"error reading server preface: read tcp 127.0.0.1:33928->127.0.0.1:41571: read: connection reset by peer\"",
    Some(""),
);
/// Not recorded: gRPC's own words for its code 4.
pub(super) const RPC_DEADLINE: Recorded = code(4, "context deadline exceeded", Some(""));

pub(super) const KAFKA_STOPPED: Recorded = Recorded {
    point: Point::Queue,
    ..code(
        500,
        "kafka: client has run out of available brokers to talk to: dial tcp 127.0.0.1:19094: connect: connection refused p.producer.SendMessage error",
        None,
    )
};
pub(super) const KAFKA_BREAKER: Recorded = Recorded {
    point: Point::Queue,
    ..code(
        500,
        "circuit breaker is open p.producer.SendMessage error",
        None,
    )
};

/// Redis cannot be reached, as the API process says it with Go's stack.
const REDIS_GONE: &str =
    "Error: dial tcp 127.0.0.1:16380: connect: connection refused | -> (Go stack text)";

pub(super) const REDIS_STOPPED: Recorded = Recorded {
    status_message: Some(REDIS_GONE),
    ..code(
        500,
        "dial tcp 127.0.0.1:16380: connect: connection refused FetchBatch2 failed",
        None,
    )
};
pub(super) const REDIS_HANGS: Recorded = code(500, "Error: i/o timeout | -> (Go stack text)", None);
pub(super) const REDIS_LOST: Recorded = code(500, REDIS_GONE, None);

pub(super) const MONGO_HANGS: Recorded = code(
    500,
    "Error: connection(127.0.0.1:37018[-3]) incomplete read of message header: read tcp 127.0.0.1:47328->127.0.0.1:37018: \
     use of closed network connection mongo find | -> (Go stack text)",
    None,
);

pub(super) const WEBHOOK_DOWN: Recorded = code(
    90004,
    "NetworkError",
    Some(
        "Error: Post \"http://127.0.0.1:19999/cb/callbackBeforeSendSingleMsgCommand\": dial tcp 127.0.0.1:19999: connect: \
         connection refused HTTP request failed | -> (Go stack text)",
    ),
);
pub(super) const WEBHOOK_SILENT: Recorded = code(
    90004,
    "NetworkError",
    Some(
        "Error: Post \"http://127.0.0.1:19999/cb/callbackBeforeSendSingleMsgCommand\": context deadline exceeded \
         HTTP request failed | -> (Go stack text)",
    ),
);
pub(super) const WEBHOOK_NONSENSE: Recorded = code(
    90007,
    "DataError",
    Some("invalid character '<' looking for beginning of value response format error"),
);
