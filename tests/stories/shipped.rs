//! The shipped bridges and templates at work: a bridge that extends each, with a group for every language.

use jiff::tz::TimeZone;
use openim_bridge::bridge::expression::Note;
use openim_bridge::bridge::group::Group;
use openim_bridge::bridge::problem::{Level, Sources};
use openim_bridge::bridge::{RuleBook, Surroundings, shipped};
use openim_bridge::intake::{Authentic, Request, Said, Taken, parse, render_with_notes, route};
use openim_bridge::model::{Content, Event, Secret, Timestamp};

/// The languages that are shipped.
pub const LOCALES: [&str; 2] = ["en", "zh-CN"];

/// The shipped bridges that have templates.
pub const BRIDGES: [&str; 3] = ["alertmanager", "github", "json"];

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
        let bridge = |name: &str| {
            let text = format!(
                "extends = \"{name}\"\nsecrets = [\"env:SECRET\"]\n[[route]]\nto = [\"group:en\", \"group:zh-CN\"]\n"
            );
            (format!("bridges/my-{name}.toml"), text)
        };
        let sources: Sources = BRIDGES.iter().map(|name| bridge(name)).collect();
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
        let secrets = |_: &_| Ok(Secret::new("s3cret:s3cret"));
        let (book, problems) = RuleBook::compile(&sources, &surroundings, &secrets);
        let wrong = problems.into_iter();
        let wrong: Vec<_> = wrong.filter(|it| it.level != Level::Advice).collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
        Shipped {
            book: book.unwrap(),
        }
    }

    /// The samples of all bridges in the order of their numbers: the bridge, the file's name, the request.
    pub fn samples(&self) -> Vec<(String, String, Request)> {
        let mut samples: Vec<_> = shipped::sources()
            .iter()
            .filter_map(|(path, text)| {
                let (bridge, name) = path.strip_prefix("bridges/samples/")?.split_once('/')?;
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
