//! A small company to show things in: people, groups, and the bot that speaks to them.

use super::Sandbox;

/// The bot account of the demo.
pub const DEMO_BOT: &str = "bridge_bot";

/// userID and name.
const PEOPLE: [(&str, &str); 6] = [
    ("alice", "Alice Moreau"),
    ("bob", "Bob Okafor"),
    ("chen_jing", "陈静"),
    ("dana", "Dana Weiss"),
    ("wang_lei", "王磊"),
    ("yuki", "Yuki Tanaka"),
];

/// groupID, name and members; the first one owns it.
const GROUPS: [(&str, &str, &[&str]); 3] = [
    (
        "ops",
        "Operations",
        &["alice", "chen_jing", "wang_lei", DEMO_BOT],
    ),
    (
        "dev",
        "Developers",
        &["bob", "dana", "yuki", "wang_lei", DEMO_BOT],
    ),
    (
        "everyone",
        "Everyone",
        &[
            "alice",
            "bob",
            "chen_jing",
            "dana",
            "wang_lei",
            "yuki",
            DEMO_BOT,
        ],
    ),
];

impl Sandbox {
    /// Moves the demo's people and groups in: `ops`, `dev` and `everyone`, with [`DEMO_BOT`] in all of them.
    pub fn furnish(&self) {
        for (id, name) in PEOPLE {
            self.register(id, name);
        }
        self.add_bot(DEMO_BOT, "Bridge");
        for (id, name, members) in GROUPS {
            self.create_group(id, name, members);
        }
    }
}
