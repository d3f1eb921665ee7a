//! The model of the server: who there is, who is where, who said what. Nothing here knows HTTP.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Value, json};
use tokio::sync::watch;
use uuid::Uuid;

use super::account::Accepted;
use super::answer::Refusal;
use super::faults::Faults;
use super::history::History;
use super::transfer::Transfer;
use crate::model::Family;
use crate::model::Timestamp;

/// The secret that OpenIM ships with (`config/share.yml`).
pub const SECRET: &str = "openIM123";

/// The admins of the sandbox: OpenIM's own, and a second one as our documents advise.
pub const ADMINS: [&str; 2] = ["imAdmin", "bridge_admin"];

/// `appMangerLevel` of an admin.
pub(super) const ADMIN_LEVEL: i64 = 2;
/// The least `appMangerLevel` of a bot account.
pub(super) const BOT_LEVEL: i64 = 3;

/// `roleLevel` of a group's owner, of its admins, of the others.
pub(super) const OWNER: i64 = 100;
pub(super) const GROUP_ADMIN: i64 = 60;
pub(super) const ORDINARY: i64 = 20;

/// Everything that the stand-in server knows.
pub(super) struct World {
    pub family: Family,
    users: HashMap<String, User>,
    groups: HashMap<String, Group>,
    pub history: History,
    /// What was accepted and is on its way into history.
    pub transfer: Transfer,
    /// Every message that was accepted, and what became of it.
    pub log: Vec<Accepted>,
    pub faults: Faults,
    /// Why nothing can be queued just now.
    pub producer: Option<Refusal>,
    /// Tokens that were taken back, and the code that says so.
    displaced: HashMap<String, i32>,
    /// Tokens that were given out, and until when they hold although they were replaced.
    tokens: HashMap<String, Given>,
    /// Send statuses by operationID.
    sent: HashMap<String, i64>,
    /// Who does not want to hear from whom: (owner, blocked).
    blocks: Vec<(String, String)>,
    /// How often each path was called.
    pub calls: BTreeMap<String, usize>,
    /// Grows with every change that the page shows.
    pub changes: watch::Sender<u64>,
    /// Grows with every change of users and groups.
    pub people: u64,
    /// Tells one start of the sandbox from the next.
    pub start: Uuid,
}

/// A token that was given out.
pub(super) struct Given {
    pub user: String,
    pub platform: i64,
    pub until: Option<Timestamp>,
}

/// An account: a person, an admin or a bot.
#[derive(Clone, Debug)]
pub(super) struct User {
    pub id: String,
    pub nickname: String,
    pub face: String,
    pub ex: String,
    pub created: Timestamp,
    /// 0 for people, [`ADMIN_LEVEL`], or [`BOT_LEVEL`] and above.
    pub level: i64,
    /// 1: wants no messages.
    pub receive_option: i64,
    /// Its place in listings.
    order: usize,
}

/// What a group is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GroupStatus {
    Open = 0,
    Dismissed = 2,
    Muted = 3,
}

/// A group.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub id: String,
    pub name: String,
    pub notification: String,
    pub introduction: String,
    pub face: String,
    pub ex: String,
    pub created: Timestamp,
    pub status: GroupStatus,
    pub members: Vec<Member>,
    order: usize,
}

/// Somebody's place in a group.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub user: String,
    pub role: i64,
    pub joined: Timestamp,
    pub muted_until: Option<Timestamp>,
    pub inviter: String,
}

impl World {
    pub fn new(family: Family, now: Timestamp) -> World {
        let mut world = World {
            family,
            users: HashMap::new(),
            groups: HashMap::new(),
            history: History::default(),
            transfer: Transfer::default(),
            log: Vec::new(),
            faults: Faults::none(now),
            producer: None,
            displaced: HashMap::new(),
            tokens: HashMap::new(),
            sent: HashMap::new(),
            blocks: Vec::new(),
            calls: BTreeMap::new(),
            changes: watch::Sender::new(0),
            people: 0,
            start: Uuid::new_v4(),
        };
        for admin in ADMINS {
            let nickname = match (family, admin) {
                (Family::Main, "imAdmin") => "superAdmin",
                _ => admin,
            };
            world.add_user(admin, nickname, "", "", ADMIN_LEVEL, now);
        }
        world
    }

    /// Wakes the page and whoever waits for messages.
    pub fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    pub fn add_user(
        &mut self,
        id: &str,
        nickname: &str,
        face: &str,
        ex: &str,
        level: i64,
        now: Timestamp,
    ) {
        let user = User {
            id: id.to_owned(),
            nickname: nickname.to_owned(),
            face: face.to_owned(),
            ex: ex.to_owned(),
            created: now,
            level,
            receive_option: 0,
            order: self.users.len(),
        };
        self.users.insert(id.to_owned(), user);
        self.people += 1;
        self.changed();
    }

    pub fn user(&self, id: &str) -> Option<&User> {
        self.users.get(id)
    }

    pub fn user_mut(&mut self, id: &str) -> Option<&mut User> {
        self.people += 1;
        self.users.get_mut(id)
    }

    /// All accounts, the oldest first.
    pub fn users(&self) -> Vec<&User> {
        let mut users: Vec<&User> = self.users.values().collect();
        users.sort_by_key(|user| user.order);
        users
    }

    /// Whether the account is an admin of the server (`share.imAdminUser`).
    pub fn is_admin(id: &str) -> bool {
        ADMINS.contains(&id)
    }

    pub fn add_group(&mut self, mut group: Group) {
        group.order = self.groups.len();
        self.groups.insert(group.id.clone(), group);
        self.people += 1;
        self.changed();
    }

    pub fn group(&self, id: &str) -> Option<&Group> {
        self.groups.get(id)
    }

    pub fn group_mut(&mut self, id: &str) -> Option<&mut Group> {
        self.people += 1;
        self.groups.get_mut(id)
    }

    /// All groups, the oldest first.
    pub fn groups(&self) -> Vec<&Group> {
        let mut groups: Vec<&Group> = self.groups.values().collect();
        groups.sort_by_key(|group| group.order);
        groups
    }

    pub fn is_member(&self, group: &str, user: &str) -> bool {
        self.group(group)
            .is_some_and(|group| group.member(user).is_some())
    }

    pub fn block(&mut self, owner: &str, blocked: &str) {
        self.blocks.push((owner.to_owned(), blocked.to_owned()));
    }

    pub fn is_blocked(&self, owner: &str, sender: &str) -> bool {
        let mut blocks = self.blocks.iter();
        blocks.any(|(by, whom)| by == owner && whom == sender)
    }

    /// Notes that the send of this operation was queued.
    pub fn note_sent(&mut self, operation: &str) {
        self.sent.insert(operation.to_owned(), 2);
    }

    /// Loses the note that the send of this operation was queued.
    pub fn forget_sent(&mut self, operation: &str) {
        self.sent.remove(operation);
    }

    /// 2 when a send of this operation was queued, otherwise 0.
    pub fn send_status(&self, operation: &str) -> i64 {
        self.sent.get(operation).copied().unwrap_or(0)
    }

    /// Notes a token as given out. On main a new admin token leaves the older ones five minutes.
    pub fn give(&mut self, token: &str, user: &str, platform: i64, now: Timestamp) {
        if self.family == Family::Main && World::is_admin(user) {
            let grace = now
                .saturating_add(std::time::Duration::from_secs(300))
                .unwrap_or(Timestamp::MAX);
            for given in self.tokens.values_mut() {
                if given.user == user && given.until.is_none() {
                    given.until = Some(grace);
                }
            }
        }
        let given = Given {
            user: user.to_owned(),
            platform,
            until: None,
        };
        self.tokens.insert(token.to_owned(), given);
        // Two tokens of one second are the same token.
        self.displaced.remove(token);
    }

    /// Takes back every token that was given out.
    pub fn displace_tokens(&mut self, code: i32) {
        let given = self.tokens.keys().cloned();
        self.displaced.extend(given.map(|token| (token, code)));
    }

    /// The code for a token that was taken back.
    pub fn displaced(&self, token: &str) -> Option<i32> {
        self.displaced.get(token).copied()
    }

    /// Whether the server remembers this token. Released servers do not keep admin tokens: a right signature is enough.
    pub fn remembers(&self, token: &str, user: &str, now: Timestamp) -> bool {
        if self.family == Family::Release38 && World::is_admin(user) {
            return true;
        }
        let given = self.tokens.get(token);
        given.is_some_and(|given| given.until.is_none_or(|until| now <= until))
    }

    /// Forgets tokens: those of one user and platform, or all.
    pub fn forget_tokens(&mut self, whose: Option<(&str, i64)>) {
        self.tokens.retain(|_, given| match whose {
            Some((user, platform)) => given.user != user || given.platform != platform,
            None => false,
        });
    }
}

impl User {
    /// The account as the user calls show it.
    pub fn info(&self) -> Value {
        json!({
            "userID": self.id,
            "nickname": self.nickname,
            "faceURL": self.face,
            "ex": self.ex,
            "createTime": self.created.as_millisecond(),
            "appMangerLevel": self.level,
            "globalRecvMsgOpt": self.receive_option,
        })
    }

    /// The account as the calls for bot accounts show it.
    pub fn bot_info(&self) -> Value {
        json!({
            "userID": self.id,
            "faceURL": self.face,
            "nickName": self.nickname,
            "appMangerLevel": self.level,
        })
    }
}

impl Group {
    pub fn new(id: &str, name: &str, now: Timestamp) -> Group {
        // A group without an id of its own gets ten digits, as the server makes them.
        let id = match id {
            "" => format!("{:010}", Uuid::new_v4().as_u128() % 10_000_000_000),
            id => id.to_owned(),
        };
        Group {
            id,
            name: name.to_owned(),
            notification: String::new(),
            introduction: String::new(),
            face: String::new(),
            ex: String::new(),
            created: now,
            status: GroupStatus::Open,
            members: Vec::new(),
            order: 0,
        }
    }

    pub fn join(&mut self, user: &str, role: i64, inviter: &str, now: Timestamp) {
        self.members.push(Member {
            user: user.to_owned(),
            role,
            joined: now,
            muted_until: None,
            inviter: inviter.to_owned(),
        });
    }

    pub fn member(&self, user: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.user == user)
    }

    pub fn member_mut(&mut self, user: &str) -> Option<&mut Member> {
        self.members.iter_mut().find(|member| member.user == user)
    }

    pub fn owner(&self) -> &str {
        let owner = self.members.iter().find(|member| member.role == OWNER);
        owner.map_or("", |owner| &owner.user)
    }

    /// The group as the group calls show it.
    pub fn info(&self) -> Value {
        json!({
            "groupID": self.id,
            "groupName": self.name,
            "notification": self.notification,
            "introduction": self.introduction,
            "faceURL": self.face,
            "ownerUserID": self.owner(),
            "createTime": self.created.as_millisecond(),
            "memberCount": self.members.len(),
            "ex": self.ex,
            "status": self.status as i32,
            "creatorUserID": "",
            "groupType": 2,
            "needVerification": 0,
            "lookMemberInfo": 0,
            "applyMemberFriend": 0,
            "notificationUpdateTime": 0,
            "notificationUserID": "",
        })
    }

    /// A member as the group calls show it.
    pub fn member_info(&self, member: &Member, user: Option<&User>) -> Value {
        json!({
            "groupID": self.id,
            "userID": member.user,
            "roleLevel": member.role,
            "joinTime": member.joined.as_millisecond(),
            "nickname": user.map_or("", |user| &user.nickname),
            "faceURL": user.map_or("", |user| &user.face),
            "appMangerLevel": 0,
            "joinSource": 2,
            "operatorUserID": member.inviter,
            "ex": "",
            "muteEndTime": member.muted_until.map_or(0, |until| until.as_millisecond()),
            "inviterUserID": member.inviter,
        })
    }
}
