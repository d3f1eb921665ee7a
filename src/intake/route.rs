//! The third step: to which conversations an event goes, and why.

use jiff::tz::TimeZone;

use crate::bridge::destination::{Called, Destination, What};
use crate::bridge::expression::{Expression, Scope};
use crate::bridge::kinds::Kinds;
use crate::bridge::route::Route;
use crate::bridge::template::TemplateName;
use crate::bridge::{Bridge, RuleBook};
use crate::model::{Conversation, Event, Mention, Timestamp};

/// Where an event goes.
#[derive(Clone, Debug)]
pub struct Routing<'b> {
    /// What each route said, in the order they were asked.
    pub decisions: Vec<Decision>,
    /// The conversations, each once, in the order the routes lead there.
    pub addressed: Vec<Addressed<'b>>,
    /// Whether a route took the event. One that no route took is kept as unrouted.
    pub taken: bool,
    /// How many computed destinations and mentions were skipped because nobody is known by that name.
    pub skipped: usize,
}

/// What one route said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The route's name.
    pub route: String,
    /// Whether it is about this event.
    pub matched: bool,
    /// The reason. It may show short values of the payload: it is for `try`, never for the log. Empty at the door.
    pub why: String,
    /// The destinations it leads to: `group:ops`.
    pub to: Vec<String>,
}

/// One conversation that an event goes to.
#[derive(Clone, Debug)]
pub struct Addressed<'b> {
    /// As the route says it: `group:ops`.
    pub destination: String,
    /// Where that is at OpenIM.
    pub conversation: Conversation,
    /// The first route that leads there: it chooses the template, the push and the language.
    pub route: &'b Route,
    /// The template; `None` when nothing speaks of this kind, which is silence by choice.
    pub template: Option<TemplateName>,
    /// Whom the routes that lead there call, each once.
    pub mentions: Vec<Mention>,
    /// Not shown any more after this moment.
    pub expires: Option<Timestamp>,
    /// The language of the message.
    pub locale: &'b str,
    /// The time zone of the times in the message.
    pub time_zone: &'b TimeZone,
}

/// An event goes to no more conversations than this: a payload must not make a thousand deliveries.
const MOST_CONVERSATIONS: usize = 100;

/// Asks the bridge's routes in order. For the door: the decisions give no reasons.
pub fn route<'b>(bridge: &'b Bridge, book: &'b RuleBook, event: &Event) -> Routing<'b> {
    ask(bridge, book, event, false)
}

/// The same with the reason for each yes and no, for `try`.
pub fn route_explained<'b>(bridge: &'b Bridge, book: &'b RuleBook, event: &Event) -> Routing<'b> {
    ask(bridge, book, event, true)
}

fn ask<'b>(bridge: &'b Bridge, book: &'b RuleBook, event: &Event, explain: bool) -> Routing<'b> {
    let (scope, _) = bridge.rules.scope(event);
    let mut inquiry = Inquiry {
        bridge,
        book,
        event,
        scope,
        explain,
        routing: Routing {
            decisions: Vec::with_capacity(bridge.routes.len()),
            addressed: Vec::new(),
            taken: false,
            skipped: 0,
        },
    };
    let mut stopped: Option<&Route> = None;
    let mut taker: Option<&Route> = None;
    for route in bridge.routes.iter().filter(|route| !route.otherwise) {
        if let Some(stop) = stopped {
            inquiry.decide(route, false, || {
                format!("not asked: `{}` took it and stops", stop.name)
            });
        } else if inquiry.take(route) {
            taker = taker.or(Some(route));
            stopped = route.stop.then_some(route);
        }
    }
    for route in bridge.routes.iter().filter(|route| route.otherwise) {
        match taker {
            Some(taker) => inquiry.decide(route, false, || format!("`{}` took it", taker.name)),
            None => drop(inquiry.take(route)),
        }
    }
    inquiry.routing
}

/// One event before the routes of its bridge.
struct Inquiry<'b, 'e> {
    bridge: &'b Bridge,
    book: &'b RuleBook,
    event: &'e Event,
    scope: Scope<'e>,
    explain: bool,
    routing: Routing<'b>,
}

impl<'b: 'e, 'e> Inquiry<'b, 'e> {
    fn decide(&mut self, route: &Route, matched: bool, why: impl FnOnce() -> String) {
        self.routing.decisions.push(Decision {
            route: route.name.clone(),
            matched,
            why: if self.explain { why() } else { String::new() },
            to: Vec::new(),
        });
    }

    /// Whether the route is about the event, with the reason.
    fn is_about(&self, on: Option<&Kinds>, when: Option<&'b Expression>) -> (bool, String) {
        if let Some(kinds) = on.filter(|kinds| !kinds.contain(&self.event.kind)) {
            let why = || format!("the kind `{}` is not among {kinds}", self.event.kind);
            return (false, if self.explain { why() } else { String::new() });
        }
        match when {
            Some(when) if self.explain => {
                let holds = when.holds(&self.scope);
                (holds.yes, holds.why)
            }
            Some(when) => (when.is_true(&self.scope), String::new()),
            None if !self.explain => (true, String::new()),
            None => (
                true,
                match on {
                    Some(_) => format!("the kind is `{}`", self.event.kind),
                    None => "it takes every event".to_owned(),
                },
            ),
        }
    }

    /// Asks one route. It has taken the event when it is about it and leads somewhere, or nowhere on purpose.
    fn take(&mut self, route: &'b Route) -> bool {
        let (matched, why) = self.is_about(route.on.as_ref(), route.when.as_ref());
        self.decide(route, matched, || match route.otherwise {
            true => "no other route took it".to_owned(),
            false => why,
        });
        if !matched {
            return false;
        }
        let mut skipped = Vec::new();
        let conversations = self.conversations(route, &mut skipped);
        let taken = !conversations.is_empty() || route.to.is_empty();
        let mentions = match taken {
            true => self.mentions(route, &mut skipped),
            false => Vec::new(),
        };
        self.routing.taken |= taken;
        self.routing.skipped += skipped.len();
        if let Some(decision) = self.routing.decisions.last_mut() {
            decision.to = conversations
                .iter()
                .map(|(written, _)| written.clone())
                .collect();
            if self.explain {
                for name in skipped {
                    decision.why.push_str("; skipped: ");
                    decision.why.push_str(&name);
                }
            }
        }
        for (written, conversation) in conversations {
            self.address(route, written, conversation, &mentions);
        }
        taken
    }

    fn conversations(
        &self,
        route: &'b Route,
        skipped: &mut Vec<String>,
    ) -> Vec<(String, Conversation)> {
        let mut found: Vec<(String, Conversation)> = Vec::new();
        let mut add = |written: String, conversation: Conversation| {
            if found.len() < MOST_CONVERSATIONS
                && !found.iter().any(|(_, known)| *known == conversation)
            {
                found.push((written, conversation));
            }
        };
        for to in &route.to {
            match to {
                Destination::Fixed {
                    written,
                    conversation,
                } => add(written.clone(), conversation.clone()),
                Destination::Computed { what, expression } => {
                    for name in self.names(expression, what.word(), skipped) {
                        match what.find(&name, &self.book.groups, &self.book.people) {
                            Some(conversation) => {
                                add(format!("{}:{name}", what.word()), conversation)
                            }
                            None => skipped.push(unknown(*what, &name)),
                        }
                    }
                }
            }
        }
        found
    }

    fn mentions(&self, route: &'b Route, skipped: &mut Vec<String>) -> Vec<Mention> {
        let mut mentions = Vec::new();
        for called in &route.mention {
            match called {
                Called::Fixed(mention) => mentions.push(mention.clone()),
                Called::Computed(expression) => {
                    for name in self.names(expression, "mention", skipped) {
                        match self.book.people.find(&name) {
                            Some(person) => mentions.push(Mention::Person {
                                user_id: person.user_id,
                                name: person.name,
                            }),
                            None => skipped.push(unknown(What::Person, &name)),
                        }
                    }
                }
            }
        }
        mentions
    }

    /// The names that an expression gives; says so when there are none.
    fn names(
        &self,
        expression: &'b Expression,
        what: &str,
        skipped: &mut Vec<String>,
    ) -> Vec<String> {
        let (value, notes) = expression.evaluate(&self.scope);
        let mut names = value.to_texts();
        names.truncate(MOST_CONVERSATIONS);
        if names.is_empty() {
            let notes = notes
                .iter()
                .chain(&expression.absent(&self.scope))
                .map(|note| note.to_string())
                .collect::<Vec<_>>();
            skipped.push(match notes.as_slice() {
                [] => format!("the computed {what} is empty"),
                notes => format!("the computed {what} is empty ({})", notes.join(", ")),
            });
        }
        names
    }

    fn address(
        &mut self,
        route: &'b Route,
        destination: String,
        conversation: Conversation,
        mentions: &[Mention],
    ) {
        let known = self
            .routing
            .addressed
            .iter()
            .position(|known| known.conversation == conversation);
        let index = match known {
            Some(index) => index,
            None if self.routing.addressed.len() < MOST_CONVERSATIONS => {
                let addressed = self.first_address(route, destination, conversation);
                self.routing.addressed.push(addressed);
                self.routing.addressed.len() - 1
            }
            None => return,
        };
        if let Some(addressed) = self.routing.addressed.get_mut(index) {
            for mention in mentions {
                if !addressed
                    .mentions
                    .iter()
                    .any(|known| is_same(known, mention))
                {
                    addressed.mentions.push(mention.clone());
                }
            }
        }
    }

    fn first_address(
        &self,
        route: &'b Route,
        destination: String,
        conversation: Conversation,
    ) -> Addressed<'b> {
        let group = match &conversation {
            Conversation::Group(id) => self.book.groups.values().find(|group| group.id == *id),
            Conversation::Person(_) | Conversation::Notice(_) => None,
        };
        let locale = group
            .and_then(|group| group.locale.as_deref())
            .or(route.locale.as_deref());
        let time_zone = group
            .and_then(|group| group.time_zone.as_ref())
            .or(route.time_zone.as_ref());
        Addressed {
            destination,
            conversation,
            route,
            template: self.template(route),
            mentions: Vec::new(),
            expires: route
                .expire
                .and_then(|after| self.event.received.checked_add(after).ok()),
            locale: locale
                .or(self.bridge.locale.as_deref())
                .unwrap_or(&self.book.locale),
            time_zone: time_zone
                .or(self.bridge.time_zone.as_ref())
                .unwrap_or(&self.book.time_zone),
        }
    }

    /// The route's template, else the first `[[message]]` that is about the event, else the one for its kind.
    fn template(&self, route: &Route) -> Option<TemplateName> {
        if let Some(template) = &route.template {
            return Some(template.clone());
        }
        let about = |on, when| self.is_about(on, when).0;
        let message = self
            .bridge
            .messages
            .iter()
            .find(|rule| about(rule.on.as_ref(), rule.when.as_ref()));
        message.map(|rule| rule.template.clone()).or_else(|| {
            let folders: Vec<&str> = self
                .bridge
                .template_folders
                .iter()
                .map(String::as_str)
                .collect();
            self.book.templates.find(&folders, &self.event.kind)
        })
    }
}

fn is_same(one: &Mention, other: &Mention) -> bool {
    match (one, other) {
        (Mention::Person { user_id: one, .. }, Mention::Person { user_id: other, .. }) => {
            one == other
        }
        (Mention::Everyone, Mention::Everyone) => true,
        _ => false,
    }
}

/// A name that nobody is known by, short enough for an explanation.
fn unknown(what: What, name: &str) -> String {
    const SHOWN: usize = 60;
    let short: String = name
        .chars()
        .take(SHOWN)
        .filter(|c| !c.is_control())
        .collect();
    match what {
        What::Group => format!("`{short}` is not in [groups]"),
        What::Person | What::Notice => format!("`{short}` is not in people.toml"),
    }
}
