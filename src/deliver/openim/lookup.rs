//! Look-ups and the few things that `setup` makes at the server: accounts, groups, members.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{CallFailed, Family, NoSession, OpenIm};
use crate::model::Timestamp;

/// A user as OpenIM lists it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Account {
    /// OpenIM's userID.
    #[serde(rename = "userID")]
    pub id: String,
    /// The name people see.
    #[serde(default)]
    pub nickname: String,
}

/// A group as OpenIM lists it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Group {
    /// OpenIM's groupID.
    #[serde(rename = "groupID")]
    pub id: String,
    /// The name people see.
    #[serde(rename = "groupName", default)]
    pub name: String,
    /// Its owner's userID.
    #[serde(rename = "ownerUserID", default)]
    pub owner: String,
    /// How many are in it.
    #[serde(rename = "memberCount", default)]
    pub members: u64,
    /// 0 well, 1 banned, 2 dismissed, 3 muted (protocol `constant/constant.go`).
    #[serde(default)]
    status: i64,
}

impl Group {
    /// It exists no more; nobody can post to it.
    pub fn is_dismissed(&self) -> bool {
        self.status == 2
    }

    /// Only its owner and its admins can post to it.
    pub fn is_muted(&self) -> bool {
        self.status == 3
    }
}

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Member {
    /// The member's userID.
    #[serde(rename = "userID")]
    pub id: String,
    /// 100 owner, 60 admin, 20 ordinary.
    #[serde(rename = "roleLevel", default)]
    role: i64,
    /// Muted until then, in ms since 1970; 0 or the past: not muted.
    #[serde(rename = "muteEndTime", default)]
    mute_end: i64,
}

impl Member {
    /// The owner and the admins of a group may post while it is muted.
    pub fn may_post_while_muted(&self) -> bool {
        self.role >= 60
    }

    /// Whether this member is muted at that moment.
    pub fn is_muted(&self, now: Timestamp) -> bool {
        self.mute_end > now.as_millisecond()
    }
}

/// A look-up has no answer, or not the one that was hoped for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unheard {
    /// OpenIM cannot be reached.
    #[error("OpenIM cannot be reached: {0}")]
    Unreached(String),
    /// OpenIM gives no token.
    #[error("{0}")]
    NoToken(String),
    /// OpenIM says no.
    #[error("OpenIM says {0}")]
    No(String),
    /// OpenIM's answer is not what its API describes.
    #[error("OpenIM's answer cannot be read: {0}")]
    Unreadable(String),
}

impl From<CallFailed> for Unheard {
    fn from(failed: CallFailed) -> Unheard {
        match failed {
            CallFailed::NoSession(none @ NoSession::Refused(_)) => {
                Unheard::NoToken(none.to_string())
            }
            CallFailed::NoSession(NoSession::Unheard(why)) => Unheard::Unreached(why),
            CallFailed::Unanswered(unanswered) => Unheard::Unreached(unanswered.to_string()),
        }
    }
}

/// Elements per page, as OpenIM's own admin page asks for.
const PAGE: usize = 100;

/// The most that a search lists. More is a search to be narrowed.
const MOST_FOUND: usize = 1000;

/// `appMangerLevel` (sic) of an account for notifications, which may send to whom it is no friend of.
const NOTIFICATION_ACCOUNT: i32 = 3;

impl OpenIm {
    /// The server's time; the cheapest call that needs a token.
    pub async fn server_time(&self) -> Result<Timestamp, Unheard> {
        let data = self.look_up("/msg/get_server_time", json!({})).await?;
        let time = data["serverTime"].as_i64();
        time.and_then(|ms| Timestamp::from_millisecond(ms).ok())
            .ok_or_else(|| Unheard::Unreadable("no time in it".into()))
    }

    /// Signs in if that was not done, and says the server's family; `None` when the server does not say it.
    pub async fn find_family(&self) -> Result<Option<Family>, Unheard> {
        let session = self.sessions.present(None).await;
        Ok(session.map_err(CallFailed::from)?.family)
    }

    /// Which of these userIDs are accounts.
    pub async fn known_accounts(&self, ids: &[&str]) -> Result<BTreeSet<String>, Unheard> {
        let unique: BTreeSet<&str> = ids.iter().copied().collect(); // the server refuses repeated ones
        let unique: Vec<&str> = unique.into_iter().collect();
        let mut known = BTreeSet::new();
        for part in unique.chunks(PAGE) {
            let asked = json!({ "checkUserIDs": part });
            let data = self.look_up("/user/account_check", asked).await?;
            for result in list::<Value>(&data, "results")? {
                // A number, in v3.8.0 and older a text.
                let status = &result["accountStatus"];
                let is_known =
                    status.as_i64() == Some(1) || status == "1" || status == "registered";
                if let (true, Some(id)) = (is_known, result["userID"].as_str()) {
                    known.insert(id.to_owned());
                }
            }
        }
        Ok(known)
    }

    /// Those of these groups that exist, dismissed ones too.
    pub async fn find_groups(&self, ids: &[&str]) -> Result<Vec<Group>, Unheard> {
        let mut found = Vec::new();
        for part in ids.chunks(PAGE) {
            let asked = json!({ "groupIDs": part });
            let data = self.look_up("/group/get_groups_info", asked).await?;
            found.extend(list::<Group>(&data, "groupInfos")?);
        }
        Ok(found)
    }

    /// The user as a member of the group; `None` when it is none.
    pub async fn find_member(&self, group: &str, user: &str) -> Result<Option<Member>, Unheard> {
        let asked = json!({ "groupID": group, "userIDs": [user] });
        let data = self.look_up("/group/get_group_members_info", asked).await?;
        let members = list::<Member>(&data, "members")?;
        Ok(members.into_iter().find(|member| member.id == user))
    }

    /// Groups whose name holds `text` or whose id is `text`; all of them when it is empty.
    pub async fn search_groups(&self, text: &str) -> Result<Vec<Group>, Unheard> {
        #[derive(Deserialize)]
        struct Listed {
            #[serde(rename = "groupInfo")]
            group: Group,
        }
        let path = "/group/get_groups";
        let mut found: Vec<Group> = Vec::new();
        for field in searched_fields("groupName", "groupID", text) {
            let listed = self.pages::<Listed>(path, "groups", field, text).await?;
            found.extend(listed.into_iter().map(|listed| listed.group));
        }
        found.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        found.dedup();
        Ok(found)
    }

    /// People whose name holds `text` or whose userID is `text`; all of them when it is empty.
    pub async fn search_people(&self, text: &str) -> Result<Vec<Account>, Unheard> {
        let path = "/user/get_users";
        let mut found: Vec<Account> = Vec::new();
        for field in searched_fields("nickName", "userID", text) {
            found.extend(self.pages(path, "users", field, text).await?);
        }
        found.sort_by(|a, b| (&a.nickname, &a.id).cmp(&(&b.nickname, &b.id)));
        found.dedup();
        Ok(found)
    }

    /// Whether the account that speaks may send system notifications.
    pub async fn is_notification_account(&self) -> Result<bool, Unheard> {
        let bot = self.send_as().id.as_str();
        let path = "/user/search_notification_account";
        let found: Vec<Account> = self
            .pages(path, "notificationAccounts", "keyword", bot)
            .await?;
        Ok(found.iter().any(|account| account.id == bot))
    }

    /// Whether the account that speaks is one of the server's admins, who post to groups without being in them. The server
    /// tells it by giving a token, or not.
    pub async fn is_admin(&self) -> Result<bool, Unheard> {
        if self.sends_as_admin() {
            return Ok(true);
        }
        let secret = self.server.secret.expose_text().unwrap_or_default();
        let asked = json!({ "secret": secret, "userID": self.send_as().id });
        match self.look_up("/auth/get_admin_token", asked).await {
            Ok(_) => Ok(true),
            Err(Unheard::No(_)) => Ok(false),
            Err(unheard) => Err(unheard),
        }
    }

    /// Makes the account that speaks. An account of that id that is there already is left as it is.
    pub async fn make_bot(&self) -> Result<(), Unheard> {
        let bot = self.send_as();
        let asked = json!({
            "userID": bot.id,
            "nickName": if bot.nickname.is_empty() { &bot.id } else { &bot.nickname },
            "faceURL": bot.face_url,
            "appMangerLevel": NOTIFICATION_ACCOUNT,
        });
        match self.look_up("/user/add_notification_account", asked).await {
            Err(Unheard::No(text)) if text.contains("userID is used") => Ok(()),
            made => made.map(|_| ()),
        }
    }

    /// Brings the account that speaks into a group. What counts is whether it is in it afterwards: release 3.8 answers
    /// `maxSeq is invalid` although it has done it, and both answer 500 when it was in it before.
    pub async fn bring_bot_into(&self, group: &str) -> Result<(), Unheard> {
        let bot = &self.send_as().id;
        let asked = json!({
            "groupID": group, "reason": "", "invitedUserIDs": [bot], "sendMessage": false,
        });
        let answer = self.look_up("/group/invite_user_to_group", asked).await;
        if self.find_member(group, bot).await?.is_some() {
            return Ok(());
        }
        answer?;
        Err(Unheard::No(
            "yes, but the bot is not in the group afterwards".into(),
        ))
    }

    async fn look_up(&self, path: &str, asked: Value) -> Result<Value, Unheard> {
        let answer = self.ask(path, &asked).await?;
        match answer.envelope {
            Some(envelope) if envelope.code == 0 => Ok(envelope.data),
            Some(envelope) => Err(Unheard::No(envelope.line())),
            None => Err(Unheard::Unreadable(format!(
                "HTTP {} without OpenIM's envelope",
                answer.status
            ))),
        }
    }

    async fn pages<T: for<'de> Deserialize<'de>>(
        &self,
        path: &str,
        name: &str,
        field: &str,
        text: &str,
    ) -> Result<Vec<T>, Unheard> {
        let mut found = Vec::new();
        for page in 1..=MOST_FOUND / PAGE {
            let mut asked = json!({ "pagination": { "pageNumber": page, "showNumber": PAGE } });
            asked[field] = text.into();
            let data = self.look_up(path, asked).await?;
            let more = list::<T>(&data, name)?;
            let last = more.len() < PAGE;
            found.extend(more);
            if last {
                break;
            }
        }
        Ok(found)
    }
}

/// OpenIM joins what is asked by "and", so a search over name and id is two; one where there is nothing to look for.
fn searched_fields(name: &'static str, id: &'static str, text: &str) -> Vec<&'static str> {
    match text {
        "" => vec![name],
        _ => vec![name, id],
    }
}

/// A list of the answer's data. OpenIM writes `null`, or nothing, for an empty one.
fn list<T: for<'de> Deserialize<'de>>(data: &Value, name: &str) -> Result<Vec<T>, Unheard> {
    match &data[name] {
        Value::Null => Ok(Vec::new()),
        list => Vec::<T>::deserialize(list)
            .map_err(|error| Unheard::Unreadable(format!("`{name}`: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_list_is_an_empty_one() {
        let none: Vec<Group> = list(&json!({"groups": null}), "groups").unwrap();
        assert!(none.is_empty());
        assert!(list::<Group>(&json!({}), "groups").unwrap().is_empty());
        assert!(list::<Group>(&json!({"groups": "x"}), "groups").is_err());
    }

    #[test]
    fn a_group_tells_whether_it_can_be_posted_to() {
        let group = |status: i64| -> Group {
            serde_json::from_value(json!({"groupID": "g", "status": status})).unwrap()
        };
        assert!(!group(0).is_dismissed() && !group(0).is_muted());
        assert!(group(2).is_dismissed());
        assert!(group(3).is_muted());
    }

    #[test]
    fn a_member_is_muted_until_the_time_it_has() {
        let now: Timestamp = "2026-07-02T10:00:00Z".parse().unwrap();
        let member = |until: i64, role: i64| -> Member {
            let made = json!({"userID": "u", "roleLevel": role, "muteEndTime": until});
            serde_json::from_value(made).unwrap()
        };
        assert!(member(now.as_millisecond() + 1, 20).is_muted(now));
        assert!(!member(0, 20).is_muted(now));
        assert!(member(0, 100).may_post_while_muted());
    }
}
