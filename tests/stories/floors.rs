//! The floors: which room may use which, and which crate lives where. Reads `src/` as Rust, paths in expressions too.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use syn::visit::Visit;

/// A room and the rooms it may use. `main`, `cli`, `app` and `settings` may use all.
const MAY_USE: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("bridge", &["model"]),
    ("intake", &["model", "bridge"]),
    ("outbox", &["model"]),
    ("deliver", &["model", "outbox"]),
    ("sandbox", &["model"]),
    ("web", &["model", "bridge", "intake", "outbox"]),
];

/// The rooms on the top floor.
const TOP: &[&str] = &["main", "lib", "cli", "app", "settings"];

/// A crate and the places (prefixes of a file's path under `src/`) that may name it.
const HOMES: &[(&str, &[&str])] = &[
    ("axum", &["web/", "sandbox/"]),
    ("axum_server", &["web/", "sandbox/"]),
    ("tower_http", &["web/", "sandbox/"]),
    ("reqwest", &["deliver/openim"]),
    ("rusqlite", &["outbox/sqlite"]),
    ("tokio_postgres", &["outbox/postgres"]),
    ("tokio_postgres_rustls", &["outbox/postgres"]),
    ("deadpool_postgres", &["outbox/postgres"]),
    ("rustls", &["outbox/postgres"]),
    ("rustls_platform_verifier", &["outbox/postgres"]),
    ("cel", &["bridge/expression"]),
    ("handlebars", &["bridge/template"]),
    ("pulldown_cmark", &["bridge/template", "sandbox/"]),
    ("hmac", &["intake/authenticate", "sandbox/token"]),
    ("sha1", &["intake/authenticate"]),
    ("subtle", &["intake/authenticate", "web/"]),
    ("clap", &["cli"]),
    ("config", &["settings"]),
    ("notify_debouncer_full", &["app"]),
    ("prometheus_client", &["model/meter"]),
];

#[test]
fn no_room_uses_a_room_above_it_and_every_crate_stays_at_home() {
    let files = rust_files(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")));
    assert!(files.len() > 10, "src/ was not read");

    let mut broken = BTreeSet::new();
    let mut homes_seen = BTreeSet::new();
    for (name, text) in &files {
        let tree = syn::parse_file(text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let room = name.split(['/', '.']).next().unwrap();
        let mut paths = Paths::default();
        paths.visit_file(&tree);
        for path in &paths.0 {
            if path[0] == "crate" && path.len() > 1 && !TOP.contains(&room) {
                let used = path[1].as_str();
                let (_, may) = MAY_USE
                    .iter()
                    .find(|(known, _)| *known == room)
                    .unwrap_or_else(|| panic!("{name}: the room `{room}` stands on no floor"));
                if used != room && !may.contains(&used) {
                    broken.insert(format!("{name}: `{room}` uses `{used}`"));
                }
            }
            if let Some((krate, homes)) = HOMES.iter().find(|(krate, _)| *krate == path[0]) {
                if homes.iter().any(|home| name.starts_with(home)) {
                    homes_seen.insert(*krate);
                } else if path.len() > 1 {
                    broken.insert(format!("{name}: the crate `{krate}` lives in {homes:?}"));
                }
            }
        }
    }

    assert!(broken.is_empty(), "{broken:#?}");
    for (krate, homes) in HOMES {
        assert!(
            homes_seen.contains(krate),
            "`{krate}` is not used in {homes:?} any more: mend the table"
        );
    }
}

/// Every path of a file, written out: `use a::{b, c}` gives `a::b` and `a::c`.
#[derive(Default)]
struct Paths(Vec<Vec<String>>);

impl<'ast> Visit<'ast> for Paths {
    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.0
            .push(path.segments.iter().map(|s| s.ident.to_string()).collect());
        syn::visit::visit_path(self, path);
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.spread(&item.tree, Vec::new());
    }

    fn visit_macro(&mut self, makro: &'ast syn::Macro) {
        // The inside of a macro is only tokens: read `a::b` runs out of them.
        let text = makro.tokens.to_string().replace(' ', "");
        for word in text.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')) {
            if word.contains("::") {
                self.0.push(word.split("::").map(str::to_owned).collect());
            }
        }
        syn::visit::visit_macro(self, makro);
    }
}

impl Paths {
    fn spread(&mut self, tree: &syn::UseTree, mut before: Vec<String>) {
        match tree {
            syn::UseTree::Path(path) => {
                before.push(path.ident.to_string());
                self.spread(&path.tree, before);
            }
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    self.spread(tree, before.clone());
                }
            }
            syn::UseTree::Name(name) => {
                before.push(name.ident.to_string());
                self.0.push(before);
            }
            syn::UseTree::Rename(rename) => {
                before.push(rename.ident.to_string());
                self.0.push(before);
            }
            syn::UseTree::Glob(_) => self.0.push(before),
        }
    }
}

/// The files under `root` by their path below it, with their text.
fn rust_files(root: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open: Vec<PathBuf> = vec![root.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap();
                found.push((name.to_owned(), std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found
}
