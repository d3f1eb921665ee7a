//! The service's own file, `openim-bridge.toml`, with what the environment sets in place of single values. Here is the only
//! reader of the environment and of the operator's directory.

mod directory;
mod environment;
mod loaded;
mod section;
mod storage;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use jiff::tz::TimeZone;

pub use directory::{SERVICE_FILE, read_directory};
pub use environment::Environment;
pub use loaded::{Loaded, SecretFiles};
pub use section::{PREFIX, VARIABLES};
pub use storage::{Place, StorageSettings, parse_keep};

use crate::bridge::Surroundings;
use crate::bridge::group::{check_locale, check_time_zone, known_locales, read_groups};
use crate::bridge::measure::parse_time;
use crate::bridge::problem::{Flaw, Level, Problem, Sources};
use crate::bridge::reading::Reading;
use crate::bridge::table::as_text;
use crate::deliver::{Schedule, Unproven};
use crate::model::Secret;
use crate::web::Limits;
use section::{Layers, Section};
use storage::read_storage;

/// The commented default file. It is where the defaults come from, and what `init` writes.
pub const DEFAULT_FILE: &str = include_str!("default.toml");

/// The service's settings that need a restart.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The chat server.
    pub openim: OpenImSettings,
    /// Where webhooks come in.
    pub door: DoorSettings,
    /// Where health, metrics and the API are.
    pub console: ConsoleSettings,
    /// Where things are kept.
    pub storage: StorageSettings,
    /// How deliveries are tried.
    pub delivery: DeliverySettings,
}

/// The chat server and who speaks there.
#[derive(Clone, Debug)]
pub struct OpenImSettings {
    /// The address of OpenIM's API, without a slash at its end.
    pub api_url: String,
    /// An OpenIM admin.
    pub user_id: String,
    /// OpenIM's `secret`.
    pub secret: Secret,
    /// The account that speaks.
    pub send_as: SendAsSettings,
}

/// The account that speaks.
#[derive(Clone, Debug, PartialEq)]
pub struct SendAsSettings {
    /// Its userID.
    pub id: String,
    /// The name shown at its messages.
    pub nickname: String,
    /// The address of its picture; may be empty.
    pub face_url: String,
}

/// Where webhooks come in.
#[derive(Clone, Debug, PartialEq)]
pub struct DoorSettings {
    /// The address that is listened on.
    pub listen: SocketAddr,
    /// How senders reach it, without a slash at its end.
    pub public_url: Option<String>,
    /// Networks whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// How many requests it takes.
    pub limits: Limits,
}

/// Where health, metrics and the API are.
#[derive(Clone, Debug)]
pub struct ConsoleSettings {
    /// The address that is listened on.
    pub listen: SocketAddr,
    /// What a caller must show; always there beyond loopback.
    pub token: Option<Secret>,
}

/// How deliveries are tried.
#[derive(Clone, Debug, PartialEq)]
pub struct DeliverySettings {
    /// Whether messages are found again in OpenIM's history.
    pub read_back: bool,
    /// Messages of one conversation that are accepted and not found yet.
    pub window: u32,
    /// What is done with a message that is neither found nor proven lost.
    pub unproven: Unproven,
    /// Messages per second into one conversation, where nothing is read back.
    pub pace: u32,
    /// When a failure is tried again, and for how long.
    pub schedule: Schedule,
    /// How long connecting may take.
    pub connect_within: Duration,
    /// How long a request may take in all.
    pub answer_within: Duration,
    /// How long after a request began a lost answer may still turn out as taken.
    pub settle: Duration,
    /// After how long a message counts as unproven.
    pub prove: Duration,
}

/// Requests in a second or a minute: more than any machine takes.
const HIGHEST_LIMIT: u32 = 1_000_000;

/// More into one conversation than OpenIM takes from everybody together.
const FASTEST_PACE: u32 = 100;

/// OpenIM throws away more than 100 messages of one conversation that come to it at once, and others write there, too.
const WIDEST_WINDOW: u32 = 80;

/// A conversation is leased for 30 s where several processes share an outbox, and a request has to end before that.
const LONGEST_ANSWER: Duration = Duration::from_secs(25);

/// Sooner than this a server that has refused a message is not asked again.
const SHORTEST_RETRY: Duration = Duration::from_millis(100);

/// A server whose queue hung has taken a message 90 s after its request began.
const SHORTEST_SETTLE: Duration = Duration::from_secs(30);

impl Settings {
    /// Reads the service's file out of a directory's texts and lets the environment set single values. Reports everything
    /// that is wrong; there are settings when no error is among it. What the file says about the rules is there always,
    /// so that the bridges can be checked whatever else is wrong.
    pub fn read(
        sources: &Sources,
        environment: &Environment,
    ) -> (Option<Settings>, Surroundings, Vec<Problem>) {
        let reading = Reading::default();
        let empty = String::new();
        let text = match sources.get(SERVICE_FILE) {
            Some(text) => text,
            None => {
                reading.extend([Problem {
                    help: Some("`openim-bridge init` writes one".to_owned()),
                    ..Problem::of_file(SERVICE_FILE, "there is no such file")
                }]);
                &empty
            }
        };
        let layers = Layers::of(DEFAULT_FILE, text, environment);
        let (settings, surroundings) = read_service(&reading, text, sources, environment, &layers);
        reading.extend(layers.unknown(environment));
        let problems = reading.into_problems();
        let broken = problems.iter().any(|problem| problem.level == Level::Error);
        (settings.filter(|_| !broken), surroundings, problems)
    }
}

fn read_service<'a>(
    reading: &Reading<'a>,
    text: &'a str,
    sources: &Sources,
    environment: &Environment,
    layers: &Layers,
) -> (Option<Settings>, Surroundings) {
    let locales = known_locales(sources);
    let mut file = Section::whole(reading.open(SERVICE_FILE, text), layers, environment);
    let locale = file.read("locale", |text| check_locale(text, &locales));
    let time_zone = file.read("time_zone", check_time_zone);
    let openim = read_openim(file.section("openim"));
    let door = read_door(file.section("door"));
    let console = read_console(file.section("console"));
    let storage = read_storage(file.section("storage"));
    let delivery = read_delivery(file.section("delivery"));
    let groups = file
        .table()
        .table("groups")
        .map(|table| read_groups(table, &locales));
    file.finish();
    let surroundings = Surroundings {
        groups: groups.unwrap_or_default(),
        locale: locale.unwrap_or("en".to_owned()),
        time_zone: time_zone.unwrap_or(TimeZone::UTC),
    };
    let whole = || {
        Some(Settings {
            openim: openim?,
            door: door?,
            console: console?,
            storage: storage?,
            delivery: delivery?,
        })
    };
    (whole(), surroundings)
}

fn read_openim(mut section: Section<'_, '_>) -> Option<OpenImSettings> {
    let api_url = section.read("api_url", check_address);
    let user_id = section.read("user_id", check_not_empty);
    let secret = section.secret("secret");
    let mut send_as = section.section("send_as");
    let id = send_as.read("id", check_not_empty);
    let nickname = send_as.read("nickname", check_not_empty);
    let face_url = send_as.text("face_url");
    send_as.finish();
    section.finish();
    Some(OpenImSettings {
        api_url: api_url?,
        user_id: user_id?,
        secret: secret?,
        send_as: SendAsSettings {
            id: id?,
            nickname: nickname?,
            face_url: face_url?,
        },
    })
}

fn read_door(mut section: Section<'_, '_>) -> Option<DoorSettings> {
    let listen = section.read("listen", check_listen);
    let public_url = section.read("public_url", check_address);
    let mut trusted_proxies = Vec::new();
    let reading = section.reading();
    for item in section.table().items("trusted_proxies").unwrap_or_default() {
        let Some(text) = as_text(reading, item, "a network in quotes") else {
            continue;
        };
        let alone = || text.value.parse::<IpAddr>().map(IpNet::from).ok();
        match text.value.parse().ok().or_else(alone) {
            Some(network) => trusted_proxies.push(network),
            None => reading.error(Flaw::new(
                text.span,
                "this is no network; write it like `10.0.0.0/8` or `192.0.2.7`",
            )),
        }
    }
    let mut limits = section.section("limits");
    let bridge = limits.count("bridge", HIGHEST_LIMIT);
    let address = limits.count("address", HIGHEST_LIMIT);
    let refusals = limits.count("refusals", HIGHEST_LIMIT);
    limits.finish();
    section.finish();
    Some(DoorSettings {
        listen: listen?,
        public_url,
        trusted_proxies,
        limits: Limits {
            bridge: bridge?,
            address: address?,
            refusals: refusals?,
        },
    })
}

fn read_console(mut section: Section<'_, '_>) -> Option<ConsoleSettings> {
    let place = section.place("listen");
    let listen = section.read("listen", check_listen);
    let has_token = section.is_set("token");
    let token = section.secret("token");
    let reading = section.reading();
    section.finish();
    let listen = listen?;
    if !listen.ip().is_loopback() && !has_token {
        let flaw = Flaw::new(place, "beyond this machine the console wants a `token`");
        reading.error(
            flaw.help("`token = \"env:CONSOLE_TOKEN\"` in `[console]`, or listen on 127.0.0.1"),
        );
        return None;
    }
    Some(ConsoleSettings { listen, token })
}

fn read_delivery(mut section: Section<'_, '_>) -> Option<DeliverySettings> {
    let read_back = section.flag("read_back");
    let window = section.count("window", WIDEST_WINDOW);
    let unproven = section.read("unproven", |word| match word {
        "repeat" => Ok(Unproven::Repeat),
        "hold" => Ok(Unproven::Hold),
        _ => Err("`repeat` or `hold` is expected".to_owned()),
    });
    let pace = section.count("pace", FASTEST_PACE);
    let mut retry = section.section("retry");
    let place = retry.place("longest");
    let reading = section.reading();
    let first = retry.read("first", |text| match check_wait(text)? {
        span if span >= SHORTEST_RETRY => Ok(span),
        _ => Err(format!("at least {} ms", SHORTEST_RETRY.as_millis())),
    });
    let longest = retry.read("longest", check_wait);
    retry.finish();
    let at_horizon = section.place("horizon");
    let horizon = section.read("horizon", check_wait);
    let mut limits = section.section("limits");
    let places = [limits.place("settle"), limits.place("prove")];
    let connect = limits.read("connect", check_wait);
    let answer = limits.read("answer", |text| match check_wait(text)? {
        span if span <= LONGEST_ANSWER => Ok(span),
        _ => Err(format!("at most {} s", LONGEST_ANSWER.as_secs())),
    });
    let settle = limits.read("settle", |text| match check_wait(text)? {
        span if span >= SHORTEST_SETTLE => Ok(span),
        _ => Err(format!("at least {} s", SHORTEST_SETTLE.as_secs())),
    });
    let prove = limits.read("prove", check_wait);
    limits.finish();
    section.finish();
    let (first, longest) = (first?, longest?);
    if longest < first {
        let message = "the longest wait is shorter than the first";
        reading.error(Flaw::new(place, message));
    }
    let horizon = horizon?;
    if horizon < first {
        let message = "`horizon` is shorter than the first wait: nothing would be sent again";
        reading.error(Flaw::new(at_horizon, message));
    }
    let (answer, settle, prove) = (answer?, settle?, prove?);
    let [at_settle, at_prove] = places;
    if settle < answer {
        let message =
            "`settle` is shorter than `answer`: a request would be judged while it is under way";
        reading.error(Flaw::new(at_settle, message));
    }
    if prove < settle {
        reading.error(Flaw::new(at_prove, "`prove` is shorter than `settle`"));
    }
    Some(DeliverySettings {
        read_back: read_back?,
        window: window?,
        unproven: unproven?,
        pace: pace?,
        schedule: Schedule {
            first,
            longest,
            horizon,
        },
        connect_within: connect?,
        answer_within: answer,
        settle,
        prove,
    })
}

fn check_wait(text: &str) -> Result<Duration, String> {
    match parse_time(text)? {
        Duration::ZERO => Err("a wait is longer than nothing".to_owned()),
        span => Ok(span),
    }
}

fn check_not_empty(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("it is empty".to_owned()),
        text => Ok(text.to_owned()),
    }
}

fn check_listen(text: &str) -> Result<SocketAddr, String> {
    let wrong = |_| {
        "an address to listen on is written like `0.0.0.0:8080`, `127.0.0.1:8081` or `[::]:8080`"
            .to_owned()
    };
    text.parse().map_err(wrong)
}

/// Whole addresses only: what follows the host would be glued to paths. A password in it would end up in logs.
fn check_address(text: &str) -> Result<String, String> {
    let rest = text
        .strip_prefix("http://")
        .or_else(|| text.strip_prefix("https://"));
    match rest {
        Some(rest) if rest.contains('@') => {
            Err("no user or password belongs into an address".to_owned())
        }
        Some(rest) if !rest.is_empty() && !rest.contains(['?', '#', ' ']) => {
            Ok(text.trim_end_matches('/').to_owned())
        }
        _ => Err(
            "an address is written like `http://127.0.0.1:10002` or `https://chat.example.com`"
                .to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn read(
        text: &str,
        variables: &[(&str, &str)],
    ) -> (Option<(Settings, Surroundings)>, Vec<String>) {
        let sources = Sources::from([(SERVICE_FILE.to_owned(), text.to_owned())]);
        let mut variables = variables.to_vec();
        variables.push(("OPENIM_SECRET", "openIM123"));
        let environment = Environment::of(Path::new("."), variables);
        let (settings, surroundings, problems) = Settings::read(&sources, &environment);
        let told = |problem: Problem| match problem.position(&sources) {
            Some((line, column)) => format!("{line}:{column} {}", problem.message),
            None => format!("{} {}", problem.file, problem.message),
        };
        (
            settings.map(|settings| (settings, surroundings)),
            problems.into_iter().map(told).collect(),
        )
    }

    #[test]
    fn the_commented_default_file_is_the_defaults() {
        let (empty, problems) = read("", &[]);
        assert_eq!(problems, [""; 0]);
        let (commented, problems) = read(DEFAULT_FILE, &[]);
        assert_eq!(problems, [""; 0]);
        let (empty, commented) = (empty.unwrap(), commented.unwrap());
        assert_eq!(format!("{empty:?}"), format!("{commented:?}"));
        let (empty, _) = empty;
        assert_eq!(empty.delivery.schedule.horizon, Duration::from_secs(86_400));
        assert_eq!(
            empty.storage.place,
            Place::Sqlite("openim-bridge.db".into())
        );
        assert_eq!(empty.door.public_url, None);
    }

    #[test]
    fn what_the_default_file_shows_as_a_comment_is_right_too() {
        let live = DEFAULT_FILE
            .replace("\n# public_url", "\npublic_url")
            .replace("\n# token ", "\ntoken ")
            .replace("\n# ops", "\nops");
        let live = live.replace("file:/run/secrets/console", "env:OPENIM_SECRET");
        let (settings, problems) = read(&live, &[]);
        assert_eq!(problems, [""; 0]);
        let (settings, surroundings) = settings.unwrap();
        assert!(settings.console.token.is_some());
        assert_eq!(surroundings.groups["ops"].id, "2839678182");
        assert_eq!(
            settings.door.public_url.as_deref(),
            Some("https://hook.example.com")
        );
    }

    #[test]
    fn the_environment_sets_single_values_and_nothing_guesses_their_type() {
        let (settings, problems) = read(
            "[delivery]\nhorizon = \"7h\"\n",
            &[
                ("OPENIM_BRIDGE__STORAGE__URL", "sqlite:/data/outbox.db"),
                ("OPENIM_BRIDGE__DELIVERY__HORIZON", "14h"),
                ("OPENIM_BRIDGE__DELIVERY__PACE", "9"),
                ("OPENIM_BRIDGE__OPENIM__SEND_AS__ID", "007"),
                ("OPENIM_BRIDGE__TIME_ZONE", "Asia/Shanghai"),
            ],
        );
        assert_eq!(problems, [""; 0]);
        let (settings, surroundings) = settings.unwrap();
        assert_eq!(
            settings.storage.place,
            Place::Sqlite("/data/outbox.db".into())
        );
        assert_eq!(
            settings.delivery.schedule.horizon,
            Duration::from_secs(14 * 3600)
        );
        assert_eq!(settings.delivery.pace, 9);
        assert_eq!(settings.openim.send_as.id, "007");
        assert_eq!(surroundings.time_zone.iana_name(), Some("Asia/Shanghai"));
    }

    #[test]
    fn the_database_s_password_stands_behind_a_reference_or_in_the_environment() {
        let shown = |text: &str, variables: &[(&str, &str)]| {
            let (settings, problems) = read(text, variables);
            assert_eq!(problems, [""; 0]);
            let (settings, _) = settings.unwrap();
            let Place::Postgres(address) = settings.storage.place else {
                panic!("{text}");
            };
            assert!(address.has_password(), "{text}");
            address.to_string()
        };
        let url = "postgres://bridge:hunter2@db.example/bridge?sslmode=require";
        let bridge = "postgres://bridge@db.example/bridge";
        let by_reference = "[storage]\nurl = \"env:DATABASE_URL\"\n";
        assert_eq!(shown(by_reference, &[("DATABASE_URL", url)]), bridge);
        assert_eq!(shown("", &[("OPENIM_BRIDGE__STORAGE__URL", url)]), bridge);
        let apart = format!("[storage]\nurl = \"{bridge}\"\npassword = \"env:DB\"\n");
        assert_eq!(shown(&apart, &[("DB", "hunter2")]), bridge);

        let (settings, problems) = read(&format!("[storage]\nurl = \"{url}\"\n"), &[]);
        assert!(settings.is_none());
        assert!(
            problems[0].contains("no secret stands in this file"),
            "{problems:?}"
        );
        assert!(!problems[0].contains("hunter2"), "{problems:?}");
        let (_, problems) = read("[storage]\npassword = \"env:DB\"\n", &[("DB", "x")]);
        assert!(
            problems[0].contains("a SQLite file has no `password`"),
            "{problems:?}"
        );
    }

    #[test]
    fn a_variable_that_means_nothing_or_is_wrong_is_an_error() {
        let (settings, problems) = read(
            "",
            &[
                ("OPENIM_BRIDGE__STORAGE__ULR", "x"),
                ("OPENIM_BRIDGE__DELIVERY__PACE", "fast"),
            ],
        );
        assert!(settings.is_none());
        assert_eq!(
            problems,
            [
                "environment `OPENIM_BRIDGE__DELIVERY__PACE`: a whole number from 1 to 100 is expected",
                "environment unknown variable `OPENIM_BRIDGE__STORAGE__ULR`",
            ]
        );
    }

    #[test]
    fn every_mistake_of_the_file_is_named_with_its_place() {
        let (settings, problems) = read(
            r#"locale = "fr"
time_zone = "Asia/Shanghia"
[openim]
api_url = "localhost"
secret = "hunter2"
[door]
listn = "0.0.0.0:80"
trusted_proxies = ["10.0.0.0/99", 5]
[console]
listen = "0.0.0.0:8081"
[storage]
url = 30
[delivery]
horizon = "5"
pace = "5"
retry = { first = "1m", longest = "30s" }
read_back = "yes"
window = 100
unproven = "lose"
limits = { answer = "1m", settle = "5s" }
[groups]
ops = 5
"#,
            &[],
        );
        assert!(settings.is_none());
        assert_eq!(
            problems,
            [
                "1:10 there is no `templates/locales/fr.toml`; known: en, zh-CN",
                "2:13 there is no time zone `Asia/Shanghia`; did you mean `Asia/Shanghai`?",
                "4:11 an address is written like `http://127.0.0.1:10002` or `https://chat.example.com`",
                "5:10 a secret is written as a reference, `env:NAME` or `file:/path`, never as itself",
                "7:1 unknown key `listn` in `door`",
                "8:20 this is no network; write it like `10.0.0.0/8` or `192.0.2.7`",
                "8:35 expected a network in quotes, found a whole number",
                "10:10 beyond this machine the console wants a `token`",
                "12:7 expected a text, found a whole number",
                "14:11 `5` is no span of time; write it like `90s`, `5m`, `1h30m` or `30d`",
                "15:8 expected a whole number without quotes, found a text",
                "16:35 the longest wait is shorter than the first",
                "17:13 expected true or false without quotes, found a text",
                "18:10 a whole number from 1 to 80 is expected",
                "19:12 `repeat` or `hold` is expected",
                "20:21 at most 25 s",
                "20:36 at least 30 s",
                "22:7 expected the group's id in quotes, found a whole number",
            ]
        );
    }
}
