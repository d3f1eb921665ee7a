//! Builds again when a shipped file is added or removed: `include_dir` sees changes of known files only.

fn main() {
    println!("cargo::rerun-if-changed=bridges");
    println!("cargo::rerun-if-changed=templates");
}
