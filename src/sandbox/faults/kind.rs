//! The faults by name: what each does, what can be set, and what holds where nothing is set.

use super::recorded::{self, Recorded};

/// What breaks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::sandbox) enum Kind {
    Slow,
    Hang,
    Reset,
    Status,
    Html,
    RateLimited,
    Says(&'static Recorded),
    /// As [`Kind::Says`], after the message was taken; the note of it is lost.
    SaysAfter(&'static Recorded),
    Token,
    Displaced,
    EmptyId,
    StatusLost,
    Unreadable,
    Drop,
    Late,
    EarlySeq,
    Hole,
    Repeat,
    Mixed,
    Restart,
    SeqsAnew,
}

impl Kind {
    /// Whether calls meet it.
    pub(super) fn is_at_the_door(self) -> bool {
        !self.is_event()
            && !matches!(
                self,
                Kind::Unreadable
                    | Kind::Drop
                    | Kind::Late
                    | Kind::EarlySeq
                    | Kind::Hole
                    | Kind::Repeat
                    | Kind::Mixed
            )
    }

    /// Whether it happens once, when its time has come.
    pub(super) fn is_event(self) -> bool {
        matches!(self, Kind::Displaced | Kind::Restart | Kind::SeqsAnew)
    }
}

/// What becomes of the message of a call that meets a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Message {
    Taken,
    NotTaken,
    /// Taken after the time of the fault.
    Later,
    /// Taken, and lost before it is stored.
    Lost,
}

/// A fault as `--list-faults` tells of it.
pub(super) struct Described {
    pub name: &'static str,
    pub kind: Kind,
    /// One line for people.
    pub says: &'static str,
    /// What can be set.
    pub keys: &'static [&'static [&'static str]],
    /// The calls that meet it; empty: all.
    pub calls: &'static [&'static str],
    /// How long it takes, in milliseconds; from, to.
    pub by: (u64, u64),
    /// What can become of the message; the first one holds where nothing is said.
    pub message: &'static [Message],
}

impl Described {
    pub fn keys(&self) -> impl Iterator<Item = &'static str> {
        self.keys.iter().copied().flatten().copied()
    }
}

/// When and how often it happens.
const WHEN: &[&str] = &["after", "for"];
const WHICH: &[&str] = &["conversation"];
const OFTEN: &[&str] = &["probability", "skip", "times"];
const CALL: &[&str] = &["call"];
const BY: &[&str] = &["by"];
const MESSAGE: &[&str] = &["message"];
const CODE: &[&str] = &["code"];

/// The call that says what became of a send.
pub(super) const STATUS_CALL: &str = "/msg/check_msg_is_send_success";

/// Names of calls, for short.
pub(super) const CALLS: [(&str, &str); 6] = [
    ("send", "/msg/send_msg"),
    ("status", STATUS_CALL),
    ("seqs", "/msg/get_conversations_has_read_and_max_seq"),
    ("pull", "/msg/pull_msg_by_seq"),
    ("token", "/auth/get_admin_token"),
    ("groups", "/group/get_groups_info"),
];

const SEND: &[&str] = &["/msg/send_msg"];
const STATUS: &[&str] = &[STATUS_CALL];
const MESSAGES: &[&str] = &["/msg/send_msg", STATUS_CALL];

/// A fault that a call meets.
const fn met(
    name: &'static str,
    kind: Kind,
    calls: &'static [&'static str],
    says: &'static str,
) -> Described {
    Described {
        name,
        kind,
        says,
        keys: &[WHEN, WHICH, OFTEN, CALL, BY],
        calls,
        by: (0, 0),
        message: &[Message::NotTaken],
    }
}

/// An answer that was recorded.
const fn answer(
    name: &'static str,
    recorded: &'static Recorded,
    calls: &'static [&'static str],
    by: (u64, u64),
    says: &'static str,
) -> Described {
    Described {
        by,
        ..met(name, Kind::Says(recorded), calls, says)
    }
}

/// A fault on the way into history.
const fn stored(name: &'static str, kind: Kind, says: &'static str) -> Described {
    Described {
        keys: &[WHEN, WHICH, OFTEN],
        ..met(name, kind, &[], says)
    }
}

use Message::{Later, Lost, NotTaken, Taken};

/// All faults, in the order in which they are listed.
pub(super) const FAULTS: [Described; 33] = [
    Described {
        by: (2_000, 2_000),
        message: &[Later, Taken],
        keys: &[WHEN, WHICH, OFTEN, CALL, BY, MESSAGE],
        ..met(
            "slow",
            Kind::Slow,
            SEND,
            "answers late, by=2s (default), and takes the message then, also when nobody waits any more; message=taken: at once",
        )
    },
    Described {
        message: &[NotTaken, Taken, Later],
        keys: &[WHEN, WHICH, OFTEN, CALL, BY, MESSAGE],
        ..met(
            "hang",
            Kind::Hang,
            SEND,
            "never answers; message=taken, or later: by=30s, or without `by` when the faults are changed",
        )
    },
    Described {
        message: &[NotTaken, Taken],
        keys: &[WHEN, WHICH, OFTEN, CALL, BY, MESSAGE],
        ..met(
            "reset",
            Kind::Reset,
            SEND,
            "resets the connection; message=taken: after the message was taken",
        )
    },
    Described {
        message: &[NotTaken, Taken],
        keys: &[WHEN, WHICH, OFTEN, CALL, BY, MESSAGE, CODE],
        ..met(
            "http",
            Kind::Status,
            SEND,
            "HTTP status and page of a proxy: code=502 (default), 503, 504; 500 has no body; message=taken",
        )
    },
    Described {
        message: &[NotTaken, Taken],
        keys: &[WHEN, WHICH, OFTEN, CALL, BY, MESSAGE],
        ..met(
            "html",
            Kind::Html,
            SEND,
            "a proxy's page with HTTP 200; message=taken",
        )
    },
    Described {
        keys: &[WHEN, WHICH, OFTEN, CALL, BY, &["retry-after"]],
        ..met(
            "rate-limited",
            Kind::RateLimited,
            SEND,
            "HTTP and errCode 429 with Retry-After: retry-after=1s (default)",
        )
    },
    answer(
        "rpc-stopped",
        &recorded::RPC_STOPPED,
        MESSAGES,
        (4, 4),
        "errCode 14 `no children to pick from`",
    ),
    answer(
        "rpc-refused",
        &recorded::RPC_REFUSED,
        MESSAGES,
        (3, 3),
        "errCode 14 `connection refused`",
    ),
    answer(
        "rpc-cut",
        &recorded::RPC_CUT,
        MESSAGES,
        (3, 3),
        "errCode 14 `connection reset by peer`",
    ),
    Described {
        message: &[NotTaken, Taken],
        keys: &[WHEN, WHICH, OFTEN, CALL, BY, MESSAGE],
        ..answer(
            "rpc-deadline",
            &recorded::RPC_DEADLINE,
            MESSAGES,
            (0, 0),
            "errCode 4 `context deadline exceeded`; message=taken",
        )
    },
    answer(
        "kafka-stopped",
        &recorded::KAFKA_STOPPED,
        SEND,
        (870, 1_600),
        "errCode 500 `client has run out of available brokers`",
    ),
    Described {
        by: (6_000, 6_000),
        message: &[Later],
        ..met(
            "kafka-hangs",
            Kind::Slow,
            SEND,
            "errCode 0 late, by=6s (default); the message is taken then, until then its status is 0",
        )
    },
    answer(
        "kafka-breaker",
        &recorded::KAFKA_BREAKER,
        SEND,
        (9, 100),
        "errCode 500 `circuit breaker is open`; so from a few sends after Kafka stopped until 5 s after it is back",
    ),
    answer(
        "redis-stopped",
        &recorded::REDIS_STOPPED,
        &[],
        (2_260, 2_540),
        "errCode 500 `connection refused` from every call",
    ),
    answer(
        "redis-hangs",
        &recorded::REDIS_HANGS,
        &[],
        (3_026, 3_026),
        "errCode 500 `i/o timeout` from every call",
    ),
    Described {
        kind: Kind::SaysAfter(&recorded::REDIS_LOST),
        message: &[Taken, Lost],
        keys: &[WHEN, WHICH, OFTEN, CALL, BY, MESSAGE],
        ..answer(
            "redis-lost",
            &recorded::REDIS_LOST,
            SEND,
            (4_780, 4_780),
            "errCode 500 although the message was taken, and status 0 for ever; message=lost: and it is never stored",
        )
    },
    answer(
        "mongo-hangs",
        &recorded::MONGO_HANGS,
        SEND,
        (30_010, 52_319),
        "errCode 500 after 30 to 52 s",
    ),
    answer(
        "webhook-down",
        &recorded::WEBHOOK_DOWN,
        SEND,
        (12, 12),
        "errCode 90004: the server's own before-webhook refuses the connection",
    ),
    answer(
        "webhook-silent",
        &recorded::WEBHOOK_SILENT,
        SEND,
        (5_011, 5_011),
        "errCode 90004: the server's own before-webhook does not answer",
    ),
    answer(
        "webhook-nonsense",
        &recorded::WEBHOOK_NONSENSE,
        SEND,
        (6, 6),
        "errCode 90007: the server's own before-webhook answers HTML",
    ),
    Described {
        keys: &[WHEN, WHICH, OFTEN, CALL, BY, CODE],
        ..met(
            "token",
            Kind::Token,
            &[],
            "refuses a token: code=1507 (default), 1501, 1503, 1505 or 1506",
        )
    },
    Described {
        keys: &[&["after"], CODE],
        ..met(
            "displaced",
            Kind::Displaced,
            &[],
            "takes back every token given out so far; code as above",
        )
    },
    met(
        "empty-id",
        Kind::EmptyId,
        SEND,
        "errCode 0 with an empty serverMsgID; the message is not taken",
    ),
    met(
        "status-lost",
        Kind::StatusLost,
        STATUS,
        "the status call says 0, whatever became of the send",
    ),
    Described {
        keys: &[WHEN, WHICH, OFTEN, &["part"]],
        ..met(
            "unreadable",
            Kind::Unreadable,
            &[],
            "a pull finds nothing, with errCode 0; part=0.5: only that share of the seqs is left out",
        )
    },
    Described {
        keys: &[WHEN, WHICH, OFTEN, &["over"]],
        ..stored(
            "drop",
            Kind::Drop,
            "loses a whole batch that holds more than over=100 (default) messages of one conversation; the status call says 2",
        )
    },
    Described {
        keys: &[WHEN, WHICH],
        ..stored(
            "late",
            Kind::Late,
            "stores nothing for a time, then goes on with what has piled up; with conversation= that one only",
        )
    },
    Described {
        keys: &[WHEN, WHICH, OFTEN, BY],
        by: (500, 500),
        ..stored(
            "early-seq",
            Kind::EarlySeq,
            "publishes a message's seq before the message can be read, by=500ms (default)",
        )
    },
    Described {
        keys: &[WHEN, WHICH, OFTEN, &["lost", "mark"]],
        ..stored(
            "hole",
            Kind::Hole,
            "leaves out a seq before a message; lost=yes: in its place; mark=yes: a pull shows it with status 4",
        )
    },
    Described {
        keys: &[WHEN, WHICH, OFTEN, BY],
        ..stored(
            "repeat",
            Kind::Repeat,
            "stores a message twice under one clientMsgID; by=2s: the copy comes so much later",
        )
    },
    stored(
        "mixed",
        Kind::Mixed,
        "files notifications (1400) and chat of one pair in one batch under the conversation of the first",
    ),
    Described {
        keys: &[WHEN],
        ..met(
            "restart",
            Kind::Restart,
            &[],
            "loses what was accepted and not stored yet; for=3s: and resets every connection so long",
        )
    },
    Described {
        keys: &[&["after"], WHICH],
        ..met(
            "seqs-anew",
            Kind::SeqsAnew,
            &[],
            "empties conversations; their seqs begin at 1 again",
        )
    },
];
