//! What the OpenIM server says about the configuration: token, family, bot account, groups, people. The part of `check`
//! that needs the network.

use std::fmt;

use serde::Serialize;

use crate::deliver::OpenIm;
use crate::deliver::openim::{Group, Unheard};
use crate::model::Timestamp;

/// What the configuration names at the server.
#[derive(Clone, Debug, Default)]
pub struct Named {
    /// Groups: the name in `[groups]`, or the destination as written, and the groupID.
    pub groups: Vec<(String, String)>,
    /// People: the key in `people.toml`, or the destination as written, and the userID.
    pub people: Vec<(String, String)>,
    /// Whether a route goes to a `notice:`.
    pub notices: bool,
}

/// One thing that was asked, and its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How it is.
    pub level: Level,
    /// What was asked about: `group ops`.
    pub about: String,
    /// The answer, with what to do about it.
    pub says: String,
}

/// How a thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// As it should be.
    Ok,
    /// It works, or will work again.
    Warning,
    /// Messages would not arrive.
    Problem,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.level {
            Level::Ok => "ok",
            Level::Warning => "warning",
            Level::Problem => "problem",
        };
        write!(f, "{word:<8} {}: {}", self.about, self.says)
    }
}

/// Clocks that differ by more make timestamps look wrong and signatures with a time fail, in seconds.
const CLOCKS_APART: i64 = 30;

/// Asks the server about everything; one finding per thing. What cannot be asked is a problem, and the rest is asked all
/// the same, unless the server cannot be reached at all.
pub async fn ask_server(openim: &OpenIm, named: &Named, now: Timestamp) -> Vec<Finding> {
    let mut findings = Vec::new();
    match openim.find_family().await {
        Err(unheard) => {
            findings.push(problem("server", advice(&unheard)));
            return findings;
        }
        Ok(Some(family)) => findings.push(ok("server", format!("token given, family {family}"))),
        Ok(None) => findings.push(warning(
            "server",
            "token given, but it does not say its family: plain texts only for now".into(),
        )),
    }
    findings.extend(ask_clock(openim, now).await);
    let bot = Bot::ask(openim, named, &mut findings).await;
    let groups = ask_groups(openim, named, &bot, now).await;
    findings.extend(groups.unwrap_or_else(|unheard| vec![problem("groups", advice(&unheard))]));
    let people = ask_people(openim, named).await;
    findings.extend(people.unwrap_or_else(|unheard| vec![problem("people", advice(&unheard))]));
    findings
}

async fn ask_clock(openim: &OpenIm, now: Timestamp) -> Option<Finding> {
    let theirs = openim.server_time().await.ok()?;
    let apart = theirs.as_second().saturating_sub(now.as_second());
    (apart.abs() > CLOCKS_APART).then(|| {
        let says = format!("OpenIM's clock and ours are {} s apart", apart.abs());
        warning("clock", says)
    })
}

/// The account that speaks.
struct Bot {
    id: String,
    /// It posts to groups without being in them.
    admin: bool,
}

impl Bot {
    async fn ask(openim: &OpenIm, named: &Named, findings: &mut Vec<Finding>) -> Bot {
        let id = openim.send_as().id.clone();
        let about = format!("bot {id}");
        let known = openim.known_accounts(&[&id]).await;
        findings.push(match &known {
            Ok(known) if known.contains(&id) => ok(&about, "the account is there".into()),
            Ok(_) => problem(
                &about,
                "no such account: `openim-bridge setup` makes it".into(),
            ),
            Err(unheard) => problem(&about, advice(unheard)),
        });
        if named.notices && !openim.is_notification_account().await.unwrap_or(true) {
            findings.push(problem(
                &about,
                "it is no notification account, so OpenIM refuses its notices".into(),
            ));
        }
        Bot {
            admin: openim.is_admin().await.unwrap_or(false),
            id,
        }
    }
}

async fn ask_groups(
    openim: &OpenIm,
    named: &Named,
    bot: &Bot,
    now: Timestamp,
) -> Result<Vec<Finding>, Unheard> {
    let ids: Vec<&str> = named.groups.iter().map(|(_, id)| id.as_str()).collect();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let known = openim.find_groups(&ids).await?;
    let mut findings = Vec::new();
    for (name, id) in &named.groups {
        let about = format!("group {name} ({id})");
        findings.push(match known.iter().find(|group| group.id == *id) {
            None => problem(
                &about,
                "no such group at OpenIM: `openim-bridge find groups` lists them".into(),
            ),
            Some(group) => ask_group(openim, group, bot, about, now).await?,
        });
    }
    Ok(findings)
}

async fn ask_group(
    openim: &OpenIm,
    group: &Group,
    bot: &Bot,
    about: String,
    now: Timestamp,
) -> Result<Finding, Unheard> {
    let called = format!("“{}”", group.name);
    if group.is_dismissed() {
        return Ok(problem(&about, format!("{called} is dismissed")));
    }
    let member = openim.find_member(&group.id, &bot.id).await?;
    Ok(match member {
        None if bot.admin => ok(&about, format!("{called}, posted to as an admin")),
        None => problem(
            &about,
            format!("{called}, but the bot is not in it: `openim-bridge setup` brings it in"),
        ),
        Some(member) if member.is_muted(now) && !bot.admin => {
            warning(&about, format!("{called}, but the bot is muted there"))
        }
        Some(member) if group.is_muted() && !member.may_post_while_muted() && !bot.admin => {
            warning(&about, format!("{called} is muted: messages wait"))
        }
        Some(_) => ok(&about, format!("{called}, the bot is in it")),
    })
}

async fn ask_people(openim: &OpenIm, named: &Named) -> Result<Vec<Finding>, Unheard> {
    let ids: Vec<&str> = named.people.iter().map(|(_, id)| id.as_str()).collect();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let known = openim.known_accounts(&ids).await?;
    let found = named.people.iter().map(|(name, id)| {
        let about = format!("person {name} ({id})");
        match known.contains(id) {
            true => ok(&about, "the account is there".into()),
            false => problem(
                &about,
                "no such account at OpenIM: `openim-bridge find people` lists them".into(),
            ),
        }
    });
    Ok(found.collect())
}

fn advice(unheard: &Unheard) -> String {
    match unheard {
        Unheard::Unreached(_) => format!("{unheard}; is `api_url` right, and does it run?"),
        Unheard::NoToken(_) => format!("{unheard}; are `user_id` and `secret` those of share.yml?"),
        _ => unheard.to_string(),
    }
}

fn ok(about: &str, says: String) -> Finding {
    finding(Level::Ok, about, says)
}

fn warning(about: &str, says: String) -> Finding {
    finding(Level::Warning, about, says)
}

fn problem(about: &str, says: String) -> Finding {
    finding(Level::Problem, about, says)
}

fn finding(level: Level, about: &str, says: String) -> Finding {
    Finding {
        level,
        about: about.to_owned(),
        says,
    }
}
