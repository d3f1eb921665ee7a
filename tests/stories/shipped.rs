//! The shipped bridges and templates at work: a bridge that extends each, with a group for every language.

use jiff::tz::TimeZone;
use openim_bridge::bridge::expression::Note;
use openim_bridge::bridge::group::Group;
use openim_bridge::bridge::problem::{Level, Sources};
use openim_bridge::bridge::{NOTICES, RuleBook, Surroundings, shipped};
use openim_bridge::intake::{Authentic, Request, Said, Taken, parse, render_with_notes, route};
use openim_bridge::model::{Content, Event, Secret, SecretRef, Timestamp};

/// The languages that are shipped.
pub const LOCALES: [&str; 2] = ["en", "zh-CN"];

/// The shipped bridges that have a sender: of `notices` it is the service itself.
pub fn bridges() -> Vec<String> {
    let sources = shipped::sources();
    let bridges = sources
        .keys()
        .filter_map(|path| path.strip_prefix("bridges/")?.strip_suffix(".toml"));
    let bridges = bridges.filter(|bridge| *bridge != NOTICES);
    let mut bridges: Vec<_> = bridges.map(str::to_owned).collect();
    bridges.sort();
    bridges
}

/// The folders of the corpus that hold what the sender of a bridge sends.
pub fn corpus_of(bridge: &str) -> Vec<&str> {
    match bridge {
        "azure-devops" => vec!["azuredevops"],
        "docker-hub" => vec!["dockerhub"],
        "forgejo" => vec!["gitea"],
        "json" => vec!["generic", "json"],
        // What Slack itself sends is not in the corpus; what is sent to Slack is.
        "slack" | "standard-webhooks-ed25519" | "svix" => Vec::new(),
        "slack-webhook" => vec!["slack"],
        same => vec![same],
    }
}

/// A secret that fits a bridge.
pub fn secret_of(bridge: &str) -> &'static str {
    match bridge {
        "gitlab" | "standard-webhooks" | "svix" => "whsec_c2VjcmV0IG9mIHR3ZW50eS1mb3VyIGJ5dGVz",
        // The public key of the pair that is made of 32 bytes 7.
        "standard-webhooks-ed25519" => "whpk_6kpsY+KcUgq+9VB7Ey7F+ZVHdq6+vnuSQh7qaRRG0iw=",
        _ => "s3cret:s3cret",
    }
}

/// A directory that extends each shipped bridge.
pub struct Shipped {
    /// Its rule-book.
    pub book: RuleBook,
}

/// A webhook, read.
pub struct Told {
    /// What it was read as.
    pub event: Event,
    /// Which fields could not be read as the bridge says.
    pub unread: Vec<Note>,
    /// What is said about it, by language; none of a kind that is silent by choice.
    pub messages: Vec<Spoken>,
}

/// A message as people read it.
pub struct Spoken {
    /// Its language.
    pub locale: String,
    /// As Markdown.
    pub markdown: String,
    /// As plain text.
    pub plain: String,
    /// In one line.
    pub preview: String,
    /// What its template asked for in vain.
    pub absent: Vec<String>,
}

impl Shipped {
    /// Compiles the directory; any problem but an advice (a token signs no body) fails the test.
    pub fn open() -> Shipped {
        Shipped::open_with(&secret_of)
    }

    /// The same with other secrets.
    pub fn open_with(secret_of: &dyn Fn(&str) -> &'static str) -> Shipped {
        let bridge = |name: &str| {
            let text = format!(
                "extends = \"{name}\"\nsecrets = [\"env:{name}\"]\n[[route]]\nto = [\"group:en\", \"group:zh-CN\"]\n"
            );
            (format!("bridges/my-{name}.toml"), text)
        };
        let sources: Sources = bridges().iter().map(|name| bridge(name)).collect();
        let group = |locale: &&str| {
            let group = Group {
                id: (*locale).to_owned(),
                locale: Some((*locale).to_owned()),
                time_zone: None,
            };
            ((*locale).to_owned(), group)
        };
        let surroundings = Surroundings {
            groups: LOCALES.iter().map(group).collect(),
            locale: "en".to_owned(),
            time_zone: TimeZone::UTC,
        };
        let secrets = |reference: &SecretRef| match reference {
            SecretRef::Env(bridge) => Ok(Secret::new(secret_of(bridge))),
            SecretRef::File(_) => Err("no file is asked for".to_owned()),
        };
        let (book, problems) = RuleBook::compile(&sources, &surroundings, &secrets);
        let wrong = problems.into_iter();
        let wrong: Vec<_> = wrong.filter(|it| it.level != Level::Advice).collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
        Shipped {
            book: book.unwrap(),
        }
    }

    /// The folders of a shipped bridge's templates.
    pub fn folders(&self, bridge: &str) -> Vec<&str> {
        let folders = &self.book.bridges[bridge].template_folders;
        folders.iter().map(String::as_str).collect()
    }

    /// The samples of all bridges in the order of their numbers: the bridge, the file's name, the request.
    pub fn samples(&self) -> Vec<(String, String, Request)> {
        let mut samples: Vec<_> = shipped::sources()
            .iter()
            .filter_map(|(path, text)| {
                let (bridge, name) = path.strip_prefix("bridges/samples/")?.split_once('/')?;
                if bridge == NOTICES {
                    return None;
                }
                let request = Request::from_text(bridge, text.as_bytes()).unwrap();
                Some((bridge.to_owned(), name.to_owned(), request))
            })
            .collect();
        samples.sort_by(|a, b| a.1.cmp(&b.1));
        samples
    }

    /// Takes a request that arrives `now` through the steps behind the signature. What cannot be read or said fails the
    /// test.
    pub fn tell(&self, bridge: &str, request: Request, now: Timestamp) -> Told {
        let told = self.tell_anyway(bridge, request, now);
        assert!(told.unread.is_empty(), "{:?}", told.unread);
        told
    }

    /// The same with a request whose fields may be unreadable. What cannot be said fails the test.
    pub fn tell_anyway(&self, bridge: &str, request: Request, now: Timestamp) -> Told {
        let bridge = &self.book.bridges[&format!("my-{bridge}")];
        let authentic = Authentic::unproven(request, "not asked");
        let (event, unread) = match parse(&bridge.name, &bridge.rules, authentic, now).unwrap() {
            Taken::Event(event, unread) => (*event, unread),
            Taken::Silent(why) => panic!("{} stays silent: {why}", bridge.name),
        };

        let routing = route(bridge, &self.book, &event);
        assert_eq!(routing.addressed.len(), LOCALES.len());
        let spoken = render_with_notes(&self.book, &event, &routing.addressed);
        let messages = spoken.into_iter().filter_map(|spoken| {
            let notes = spoken.notes.into_iter();
            let absent = notes.map(|note| format!("{}: {}", note.file, note.message));
            match spoken.said {
                Said::Silent(_) => None,
                Said::Broken(why) => panic!("{}: {why}", event.kind),
                Said::Ready(message) => match message.content {
                    Content::Text {
                        markdown,
                        plain,
                        preview,
                        ..
                    } => Some(Spoken {
                        locale: spoken.conversation.id().to_owned(),
                        markdown: markdown.unwrap_or_default(),
                        plain,
                        preview,
                        absent: absent.collect(),
                    }),
                    Content::Raw { .. } => panic!("{} is no text", event.kind),
                },
            }
        });
        let messages = messages.collect();
        Told {
            event,
            unread,
            messages,
        }
    }
}
