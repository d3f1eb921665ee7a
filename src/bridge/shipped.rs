//! What is compiled into the binary: bridges, templates, locales and samples. A file of the same name in the operator's
//! directory replaces one.

use include_dir::{Dir, DirEntry, include_dir};

use super::problem::Sources;

static BRIDGES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/bridges");
static TEMPLATES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/templates");

/// Stands before the path of a shipped file in problems, so that nobody looks for it in the directory.
pub const MARK: &str = "shipped:";

/// The text of a shipped file by its path, `bridges/github.toml`.
pub fn find(path: &str) -> Option<&'static str> {
    let (room, rest) = path.split_once('/')?;
    let dir = match room {
        "bridges" => &BRIDGES,
        "templates" => &TEMPLATES,
        _ => return None,
    };
    dir.get_file(rest)?.contents_utf8()
}

/// The paths of all shipped files.
pub fn paths() -> impl Iterator<Item = String> {
    sources().into_keys()
}

/// All shipped files.
pub fn sources() -> Sources {
    let mut sources = Sources::new();
    collect(&BRIDGES, "bridges", &mut sources);
    collect(&TEMPLATES, "templates", &mut sources);
    sources
}

fn collect(dir: &Dir<'static>, room: &str, sources: &mut Sources) {
    for entry in dir.entries() {
        match entry {
            DirEntry::Dir(inner) => collect(inner, room, sources),
            DirEntry::File(file) => {
                let path = format!("{room}/{}", file.path().display());
                if let Some(text) = file.contents_utf8() {
                    sources.insert(path.replace('\\', "/"), text.to_owned());
                }
            }
        }
    }
}
