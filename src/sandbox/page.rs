//! The page that shows the chats: its files, and the stream that keeps it up to date.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::stream::{self, Stream};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::Shared;
use super::bubble;
use super::history::{Kept, Place};
use super::markup::web_address;
use super::world::{ADMIN_LEVEL, GroupStatus, World};

const INDEX: &str = include_str!("page/index.html");
const STYLE: &str = include_str!("page/style.css");
const SCRIPT: &str = include_str!("page/script.js");

/// What the browser may do: our script, our style, pictures from the web; never a script from anywhere else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src 'self' data: http: https:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// How many messages a page gets that is opened late.
const BACKLOG: usize = 2000;

/// How often an idle stream says that it is alive.
const ALIVE: Duration = Duration::from_secs(15);

pub(super) fn router() -> Router<Shared> {
    Router::new()
        .route("/", get(index))
        .route(
            "/page/style.css",
            get(|| async { file("text/css; charset=utf-8", STYLE) }),
        )
        .route(
            "/page/script.js",
            get(|| async { file("text/javascript; charset=utf-8", SCRIPT) }),
        )
        .route("/page/events", get(events))
}

/// The page with its present state in it, so that it is full at its first sight.
async fn index(State(shared): State<Shared>) -> Response {
    let now = {
        let world = shared.settled();
        let kept = &world.history.kept;
        json!({
            "start": world.start,
            "chats": chats(&world),
            "messages": messages(&world, &kept[kept.len().saturating_sub(BACKLOG)..]),
        })
    };
    // Inside a script element only `<` could end it or open a comment.
    let now = now.to_string().replace('<', "\\u003c");
    file("text/html; charset=utf-8", INDEX.replace("{{now}}", &now))
}

fn file(kind: &'static str, text: impl IntoResponse) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, text).into_response()
}

async fn events(State(shared): State<Shared>) -> Response {
    let stream = Sse::new(Viewer::new(shared).stream());
    stream
        .keep_alive(KeepAlive::new().interval(ALIVE))
        .into_response()
}

/// One open page: what it was told so far.
struct Viewer {
    shared: Shared,
    changes: watch::Receiver<u64>,
    people: Option<u64>,
    arrivals: usize,
    revoked: usize,
    news: VecDeque<Event>,
}

impl Viewer {
    fn new(shared: Shared) -> Viewer {
        let (changes, arrivals, start) = {
            let world = shared.settled();
            let late = world.history.kept.len().saturating_sub(BACKLOG);
            (
                world.changes.subscribe(),
                late,
                json!({"start": world.start}),
            )
        };
        let hello = event("hello", &start).retry(Duration::from_secs(1));
        Viewer {
            shared,
            changes,
            people: None,
            arrivals,
            revoked: 0,
            news: VecDeque::from([hello]),
        }
    }

    fn stream(self) -> impl Stream<Item = Result<Event, Infallible>> {
        stream::unfold(self, |mut viewer| async move {
            loop {
                if let Some(event) = viewer.news.pop_front() {
                    return Some((Ok(event), viewer));
                }
                viewer.catch_up();
                if viewer.news.is_empty() {
                    let mut stopped = viewer.shared.stopped.clone();
                    tokio::select! {
                        changed = viewer.changes.changed() => changed.ok()?,
                        _ = stopped.wait_for(|stopped| *stopped) => return None,
                    }
                }
            }
        })
    }

    /// Puts together what is new since the page was told last.
    fn catch_up(&mut self) {
        self.changes.mark_unchanged();
        let world = self.shared.settled();
        let history = &world.history;
        let new = &history.kept[self.arrivals..];
        let opened = new.iter().any(|kept| kept.seq == 1);
        if opened || self.people != Some(world.people) {
            self.people = Some(world.people);
            self.news.push_back(event("chats", &chats(&world)));
        }
        let told = messages(&world, new);
        if !told.is_empty() {
            self.news.push_back(event("messages", &Value::from(told)));
        }
        for (id, seq) in &history.revoked[self.revoked..] {
            self.news
                .push_back(event("revoked", &json!({"chat": id, "seq": seq})));
        }
        self.arrivals = history.kept.len();
        self.revoked = history.revoked.len();
    }
}

fn event(name: &str, data: &Value) -> Event {
    Event::default().event(name).data(data.to_string())
}

/// These messages, without what only clients are told, and without copies, which clients hide.
fn messages(world: &World, kept: &[Kept]) -> Vec<Value> {
    kept.iter()
        .filter(|kept| !kept.post.place.is_news() && !kept.is_copy)
        .map(|kept| message(world, &kept.conversation, kept))
        .collect()
}

/// A message as the page shows it.
fn message(world: &World, chat: &str, kept: &Kept) -> Value {
    let post = &kept.post;
    let user = world.user(&post.sender);
    let known = |said: &str, own: &str| {
        if said.is_empty() {
            own.to_owned()
        } else {
            said.to_owned()
        }
    };
    let name = known(
        &post.nickname,
        user.map_or(&post.sender, |user| &user.nickname),
    );
    let face = known(&post.face, user.map_or("", |user| &user.face));
    // What the server itself says in a group carries options; what people say does not.
    let news = post.options.is_some().then_some(post.content_type);
    let drawn = bubble::draw(post.content_type, &post.content);
    json!({
        "chat": chat,
        "seq": kept.seq,
        "time": post.send_time,
        "from": post.sender,
        "name": name,
        "face": web_address(&face),
        "bot": user.is_some_and(|user| user.level >= ADMIN_LEVEL),
        "news": news,
        "kind": drawn.kind,
        "html": if news.is_some() { String::new() } else { drawn.html },
        "preview": drawn.preview,
        "ex": post.ex,
    })
}

/// The conversations: every group, and whoever was written to.
fn chats(world: &World) -> Value {
    let name = |id: &str| {
        world
            .user(id)
            .map_or(id.to_owned(), |user| user.nickname.clone())
    };
    let groups = world.groups().into_iter().map(|group| {
        let members: Vec<String> = group
            .members
            .iter()
            .map(|member| name(&member.user))
            .collect();
        json!({
            "id": Place::Group(group.id.clone()).id(),
            "kind": "group",
            "title": if group.name.is_empty() { &group.id } else { &group.name },
            "face": web_address(&group.face),
            "members": members,
            "address": group.id,
            "dismissed": group.status == GroupStatus::Dismissed,
            "muted": group.status == GroupStatus::Muted,
        })
    });
    let is_system = |id: &str| world.user(id).is_some_and(|user| user.level >= ADMIN_LEVEL);
    let mut others: Vec<_> = world.history.conversations().collect();
    others.sort_by_key(|(id, _)| *id);
    let others = others.into_iter().filter_map(|(id, place)| {
        let (kind, person, with) = match place {
            Place::Pair(a, b) if is_system(b) => ("person", a, b),
            Place::Pair(a, b) => ("person", b, a),
            Place::Notice { from, to } => ("notice", to, from),
            _ => return None,
        };
        let face = world.user(person).map_or("", |user| &user.face);
        Some(json!({
            "id": id,
            "kind": kind,
            "title": name(person),
            "face": web_address(face),
            "members": [name(with)],
            "address": person,
            "dismissed": false,
            "muted": false,
        }))
    });
    json!({
        "server": world.family.to_string(),
        "chats": groups.chain(others).collect::<Vec<Value>>(),
    })
}
