//! Logs: for a person on a terminal, as JSON lines for machines. Only our own words: other crates are heard from
//! warnings on, since their finer levels may print what came over the wire.

use std::fmt;
use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

use crate::model::Clock;

/// How logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For a person on a terminal, JSON elsewhere.
    Auto,
    /// One readable line each.
    Human,
    /// One JSON object a line.
    Json,
}

/// From which level on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogLevel {
    /// Only what needs somebody.
    Error,
    /// Also what went wrong and was handled.
    Warn,
    /// Also each webhook and each message.
    Info,
    /// Also the steps between.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    fn word(self) -> &'static str {
        match self {
            LogLevel::Error => "error",
            LogLevel::Warn => "warn",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
            LogLevel::Trace => "trace",
        }
    }
}

/// Begins to log to standard error. A second call changes nothing.
pub fn start(format: LogFormat, level: LogLevel) {
    let filter = EnvFilter::new(format!("warn,openim_bridge={}", level.word()));
    let terminal = std::io::stderr().is_terminal();
    let human = match format {
        LogFormat::Auto => terminal,
        LogFormat::Human => true,
        LogFormat::Json => false,
    };
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false);
    let started = if human {
        log.with_timer(TimeOfDay(Clock::system()))
            .with_ansi(terminal)
            .try_init()
    } else {
        log.json()
            .with_timer(Instant(Clock::system()))
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .try_init()
    };
    drop(started); // a second subscriber is refused, and the first one goes on
}

struct TimeOfDay(Clock);

impl FormatTime for TimeOfDay {
    fn format_time(&self, w: &mut Writer<'_>) -> fmt::Result {
        let here = self.0.now().to_zoned(jiff::tz::TimeZone::system());
        write!(w, "{}", here.strftime("%H:%M:%S"))
    }
}

struct Instant(Clock);

impl FormatTime for Instant {
    fn format_time(&self, w: &mut Writer<'_>) -> fmt::Result {
        write!(w, "{:.3}", self.0.now())
    }
}
