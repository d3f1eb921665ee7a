//! `setup`: makes at the OpenIM server what the configuration names. Says first what it will do, then asks; a second run
//! finds nothing left to do.

use std::fmt;
use std::io::{BufRead, Write};

use serde_json::json;

use crate::deliver::OpenIm;
use crate::deliver::openim::Unheard;

/// The arguments of `setup`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Do it without asking
    #[arg(long, short)]
    pub yes: bool,
    /// Print one JSON object; without --yes nothing is made
    #[arg(long)]
    pub json: bool,
}

/// What is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The account that speaks.
    MakeBot {
        /// Its userID.
        id: String,
        /// Its name.
        nickname: String,
    },
    /// The bot's place in a group.
    BringInto {
        /// The name in `[groups]`.
        name: String,
        /// The groupID.
        id: String,
    },
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::MakeBot { id, nickname } => write!(f, "make the bot account {id} (“{nickname}”)"),
            Step::BringInto { name, id } => write!(f, "bring the bot into group {name} ({id})"),
        }
    }
}

/// What is to be done, and what nobody but the operator can mend.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// In order.
    pub steps: Vec<Step>,
    /// Groups that are not there, or dismissed.
    pub troubles: Vec<String>,
}

impl Plan {
    /// Asks the server what is missing for these groups (name and groupID).
    pub async fn make(openim: &OpenIm, groups: &[(String, String)]) -> Result<Plan, Unheard> {
        let bot = openim.send_as();
        let mut plan = Plan::default();
        if !openim.known_accounts(&[&bot.id]).await?.contains(&bot.id) {
            plan.steps.push(Step::MakeBot {
                id: bot.id.clone(),
                nickname: bot.nickname.clone(),
            });
        }
        let ids: Vec<&str> = groups.iter().map(|(_, id)| id.as_str()).collect();
        let known = match ids.is_empty() {
            true => Vec::new(),
            false => openim.find_groups(&ids).await?,
        };
        let is_admin = openim.is_admin().await.unwrap_or(false);
        for (name, id) in groups {
            match known.iter().find(|group| group.id == *id) {
                None => plan
                    .troubles
                    .push(format!("group {name}: no group {id} at OpenIM")),
                Some(group) if group.is_dismissed() => {
                    plan.troubles
                        .push(format!("group {name}: {id} is dismissed"));
                }
                Some(_) if is_admin => {} // posts to any group without being in it
                Some(_) => {
                    if openim.find_member(id, &bot.id).await?.is_none() {
                        plan.steps.push(Step::BringInto {
                            name: name.clone(),
                            id: id.clone(),
                        });
                    }
                }
            }
        }
        Ok(plan)
    }
}

/// Says what it will do, asks (reads one line from `answers`), does it, and says how it went. `true` when everything is as
/// the configuration names it afterwards.
pub async fn set_up(
    args: &Args,
    openim: &OpenIm,
    groups: &[(String, String)],
    answers: &mut (dyn BufRead + Send),
    out: &mut (dyn Write + Send),
) -> anyhow::Result<bool> {
    let plan = Plan::make(openim, groups).await?;
    if args.json {
        let done = match args.yes {
            true => carry_out(openim, &plan, None).await?,
            false => Vec::new(),
        };
        let well = plan.troubles.is_empty()
            && done.len() == plan.steps.len()
            && done.iter().all(Result::is_ok);
        let steps: Vec<String> = plan.steps.iter().map(Step::to_string).collect();
        let done: Vec<_> = done
            .iter()
            .map(|done| match done {
                Ok(()) => json!({ "ok": true }),
                Err(unheard) => json!({ "ok": false, "says": unheard.to_string() }),
            })
            .collect();
        let report = json!({ "steps": steps, "done": done, "troubles": plan.troubles });
        writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?;
        return Ok(well);
    }
    for trouble in &plan.troubles {
        writeln!(out, "cannot be set up: {trouble}")?;
    }
    if plan.steps.is_empty() {
        writeln!(out, "nothing to do")?;
        return Ok(plan.troubles.is_empty());
    }
    writeln!(out, "At the OpenIM server this will")?;
    for step in &plan.steps {
        writeln!(out, "  {step}")?;
    }
    if !args.yes {
        write!(out, "Do it? [y/N] ")?;
        out.flush()?;
        let mut answer = String::new();
        answers.read_line(&mut answer)?;
        if !matches!(answer.trim().to_lowercase().as_str(), "y" | "yes") {
            writeln!(out, "nothing was made")?;
            return Ok(false);
        }
    }
    let done = carry_out(openim, &plan, Some(out)).await?;
    Ok(plan.troubles.is_empty() && done.iter().all(Result::is_ok))
}

/// Does the steps in order. Without its account the bot can be brought nowhere, so a failure there ends it.
async fn carry_out(
    openim: &OpenIm,
    plan: &Plan,
    mut out: Option<&mut (dyn Write + Send)>,
) -> anyhow::Result<Vec<Result<(), Unheard>>> {
    let mut done = Vec::new();
    for step in &plan.steps {
        let made = match step {
            Step::MakeBot { .. } => openim.make_bot().await,
            Step::BringInto { id, .. } => openim.bring_bot_into(id).await,
        };
        if let Some(out) = &mut out {
            match &made {
                Ok(()) => writeln!(out, "done: {step}")?,
                Err(unheard) => writeln!(out, "not done: {step}: {unheard}")?,
            }
        }
        let ends_it = made.is_err() && matches!(step, Step::MakeBot { .. });
        done.push(made);
        if ends_it {
            break;
        }
    }
    Ok(done)
}
