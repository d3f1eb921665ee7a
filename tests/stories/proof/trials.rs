//! The trials of the fault matrix: every fault of the sandbox, in the ways in which it can be played.

use super::books::Exception;

/// A fault, as one message meets it and as many do.
pub struct Trial {
    /// The fault's name.
    pub fault: &'static str,
    /// What becomes of the message, where the fault can be played in several ways.
    pub way: &'static str,
    pub one: &'static [&'static str],
    pub many: &'static [&'static str],
    /// The exceptions that this fault may lead to.
    pub may: &'static [Exception],
    /// Whether the sandbox counts that it was met.
    pub met: Met,
    /// Chat and notices of one pair in turn, instead of groups.
    pub pair: bool,
}

/// What shows that a fault was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Met {
    Counted,
    /// The sandbox does not count it.
    Uncounted,
    /// The way in which we send never lets it happen.
    Never,
}

const fn trial(
    fault: &'static str,
    way: &'static str,
    one: &'static [&'static str],
    many: &'static [&'static str],
) -> Trial {
    Trial {
        fault,
        way,
        one,
        many,
        may: &[],
        met: Met::Counted,
        pair: false,
    }
}

impl Trial {
    const fn may(self, may: &'static [Exception]) -> Trial {
        Trial { may, ..self }
    }

    const fn met(self, met: Met) -> Trial {
        Trial { met, ..self }
    }
}

use Exception::{Emptied, GivenUp, ProvenLost, Unproven};

/// What happens at the door hits every tenth or twentieth send of many; an outage lasts for a while.
const TRIALS: &[Trial] = &[
    trial(
        "slow",
        "",
        &["slow:by=3s"],
        &["slow:by=100ms..3s,probability=0.3"],
    ),
    trial(
        "slow",
        "taken at once",
        &["slow:by=3s,message=taken"],
        &["slow:by=100ms..3s,probability=0.3,message=taken"],
    ),
    trial(
        "hang",
        "not taken",
        &["hang:times=1"],
        &["hang:probability=0.05"],
    ),
    trial(
        "hang",
        "taken",
        &["hang:message=taken,times=1"],
        &["hang:message=taken,probability=0.05"],
    ),
    trial(
        "hang",
        "taken 60 s later",
        &["hang:message=later,by=60s,times=1"],
        &["hang:message=later,by=60s,probability=0.05"],
    ),
    trial(
        "reset",
        "not taken",
        &["reset:times=1"],
        &["reset:probability=0.1"],
    ),
    trial(
        "reset",
        "taken",
        &["reset:message=taken,times=1"],
        &["reset:message=taken,probability=0.1"],
    ),
    trial("http", "502", &["http:times=1"], &["http:probability=0.1"]),
    trial(
        "http",
        "500, taken",
        &["http:code=500,message=taken,times=1"],
        &["http:code=500,message=taken,probability=0.1"],
    ),
    trial(
        "http",
        "503 from every call for 20 s",
        &["http:code=503,call=send,call=pull,call=seqs,call=status,call=token,for=20s"],
        &["http:code=503,call=send,call=pull,call=seqs,call=status,call=token,after=1s,for=20s"],
    ),
    trial(
        "html",
        "not taken",
        &["html:times=1"],
        &["html:probability=0.1"],
    ),
    trial(
        "html",
        "taken",
        &["html:message=taken,times=1"],
        &["html:message=taken,probability=0.1"],
    ),
    trial(
        "rate-limited",
        "",
        &["rate-limited:retry-after=5s,times=3"],
        &["rate-limited:retry-after=2s,probability=0.2"],
    ),
    trial(
        "rpc-stopped",
        "",
        &["rpc-stopped:for=20s"],
        &["rpc-stopped:after=1s,for=20s"],
    ),
    trial(
        "rpc-refused",
        "",
        &["rpc-refused:for=20s"],
        &["rpc-refused:after=1s,for=20s"],
    ),
    trial(
        "rpc-cut",
        "",
        &["rpc-cut:times=1"],
        &["rpc-cut:probability=0.1"],
    ),
    trial(
        "rpc-deadline",
        "not taken",
        &["rpc-deadline:times=1"],
        &["rpc-deadline:probability=0.1"],
    ),
    trial(
        "rpc-deadline",
        "taken",
        &["rpc-deadline:message=taken,times=1"],
        &["rpc-deadline:message=taken,probability=0.1"],
    ),
    trial(
        "kafka-stopped",
        "",
        &["kafka-stopped:for=20s"],
        &["kafka-stopped:probability=0.1"],
    ),
    trial(
        "kafka-hangs",
        "",
        &["kafka-hangs:times=1"],
        &["kafka-hangs:probability=0.1"],
    ),
    trial(
        "kafka-breaker",
        "",
        &["kafka-breaker:for=20s"],
        &["kafka-breaker:after=1s,for=20s"],
    ),
    trial(
        "redis-stopped",
        "",
        &["redis-stopped:for=20s"],
        &["redis-stopped:after=1s,for=20s"],
    ),
    trial(
        "redis-hangs",
        "",
        &["redis-hangs:for=20s"],
        &["redis-hangs:after=1s,for=20s"],
    ),
    trial(
        "redis-lost",
        "taken",
        &["redis-lost:times=1"],
        &["redis-lost:probability=0.1"],
    ),
    trial(
        "redis-lost",
        "lost",
        &["redis-lost:message=lost,times=1"],
        &["redis-lost:message=lost,probability=0.05"],
    ),
    trial(
        "mongo-hangs",
        "",
        &["mongo-hangs:times=1"],
        &["mongo-hangs:probability=0.05"],
    ),
    trial(
        "webhook-down",
        "",
        &["webhook-down:for=20s"],
        &["webhook-down:after=1s,for=20s"],
    ),
    trial(
        "webhook-silent",
        "",
        &["webhook-silent:for=20s"],
        &["webhook-silent:after=1s,for=20s"],
    ),
    trial(
        "webhook-nonsense",
        "",
        &["webhook-nonsense:for=20s"],
        &["webhook-nonsense:after=1s,for=20s"],
    ),
    trial("token", "", &["token:times=2"], &["token:probability=0.1"]),
    trial(
        "token",
        "for 20 s",
        &["token:code=1501,for=20s"],
        &["token:code=1501,after=1s,for=20s"],
    ),
    trial(
        "displaced",
        "",
        &["displaced"],
        &["displaced:after=1s", "displaced:after=3s"],
    ),
    trial(
        "empty-id",
        "",
        &["empty-id:times=1"],
        &["empty-id:probability=0.1"],
    )
    .may(&[GivenUp]),
    trial(
        "status-lost",
        "with reset, taken",
        &["reset:message=taken,times=1", "status-lost"],
        &["reset:message=taken,probability=0.1", "status-lost"],
    ),
    trial(
        "status-lost",
        "with reset, not taken",
        &["reset:times=1", "status-lost"],
        &["reset:probability=0.05", "status-lost"],
    ),
    trial(
        "unreadable",
        "for 5 min",
        &["unreadable:for=5m"],
        &["unreadable:for=5m"],
    ),
    trial(
        "unreadable",
        "in parts, for 5 min",
        &["unreadable:part=0.5,for=5m"],
        &["unreadable:part=0.5,for=5m"],
    ),
    trial(
        "unreadable",
        "for 15 min",
        &["unreadable:for=15m"],
        &["unreadable:for=15m"],
    )
    .may(&[Unproven]),
    trial(
        "drop",
        "each batch of more than 100",
        &["drop"],
        &["drop", "late:after=1s,for=5s"],
    )
    .met(Met::Never),
    trial(
        "drop",
        "single batches",
        &["drop:over=0,times=1"],
        &["drop:over=0,probability=0.2"],
    )
    .may(&[ProvenLost, Unproven]),
    trial("late", "5 s", &["late:for=5s"], &["late:after=1s,for=5s"]).met(Met::Uncounted),
    trial("late", "5 min", &["late:for=5m"], &["late:after=1s,for=5m"]).met(Met::Uncounted),
    trial(
        "early-seq",
        "",
        &["early-seq:by=3s"],
        &["early-seq:by=3s,probability=0.3"],
    ),
    trial(
        "early-seq",
        "40 s",
        &["early-seq:by=40s"],
        &["early-seq:by=40s,probability=0.1"],
    ),
    trial("hole", "", &["hole"], &["hole:probability=0.3"]),
    trial(
        "hole",
        "marked",
        &["hole:mark=yes"],
        &["hole:probability=0.3,mark=yes"],
    ),
    trial(
        "hole",
        "in its place",
        &["hole:lost=yes,times=1"],
        &["hole:lost=yes,probability=0.1"],
    )
    .may(&[ProvenLost, Unproven]),
    trial("repeat", "", &["repeat"], &["repeat:probability=0.3"]),
    trial(
        "repeat",
        "2 s later",
        &["repeat:by=2s"],
        &["repeat:by=2s,probability=0.3"],
    ),
    Trial {
        pair: true,
        ..trial("mixed", "", &["mixed"], &["mixed"]).met(Met::Never)
    },
    trial(
        "restart",
        "with a full queue",
        &["late:for=2s", "restart:after=1s"],
        &["late:after=1s,for=2s", "restart:after=2s"],
    )
    .may(&[ProvenLost, Unproven]),
    trial(
        "restart",
        "down for 10 s",
        &["late:for=2s", "restart:after=1s,for=10s"],
        &["late:after=1s,for=2s", "restart:after=2s,for=10s"],
    )
    .may(&[ProvenLost, Unproven]),
    trial(
        "seqs-anew",
        "",
        &["seqs-anew:after=50ms"],
        &["seqs-anew:after=2s"],
    )
    .may(&[Emptied]),
    trial(
        "seqs-anew",
        "before it was found",
        &["unreadable:for=4s", "seqs-anew:after=3s"],
        &["unreadable:after=1s,for=4s", "seqs-anew:after=4s"],
    )
    .may(&[Emptied]),
];

/// All trials; or the last one of each fault, which is the hardest.
pub fn trials(all: bool) -> Vec<&'static Trial> {
    let later = |place: usize| TRIALS[place + 1..].iter();
    let places = 0..TRIALS.len();
    places
        .filter(|place| all || later(*place).all(|other| other.fault != TRIALS[*place].fault))
        .map(|place| &TRIALS[place])
        .collect()
}
