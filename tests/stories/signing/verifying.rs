//! Every prepared mistake is called by its name.

use std::collections::BTreeSet;
use std::path::Path;

use openim_bridge::bridge::RuleBook;
use openim_bridge::bridge::problem::{Level, Sources};
use openim_bridge::intake::authenticate::diagnose::{Diagnosis, Scene, diagnose};
use openim_bridge::model::Timestamp;
use openim_bridge::settings::{Environment, Loaded};

use super::mistakes::{self, BRIDGES, Mistake, NOW, VARIABLES};

fn environment() -> Environment {
    Environment::of(Path::new("."), VARIABLES)
}

fn book() -> RuleBook {
    let bridges = BRIDGES.iter().map(|(name, secret, auth)| {
        let text = format!("secrets = [\"{secret}\"]\n[auth]\n{auth}\n[event]\nkind = '\"x\"'\n");
        (format!("bridges/{name}.toml"), text)
    });
    let mut sources: Sources = bridges.collect();
    sources.insert(
        "openim-bridge.toml".to_owned(),
        "[groups]\ndev = \"1\"\n".to_owned(),
    );
    let loaded = Loaded::without_missing_secrets(sources, &environment());
    let mut problems = loaded.problems;
    problems.retain(|problem| problem.level == Level::Error);
    loaded.book.unwrap_or_else(|| panic!("{problems:#?}"))
}

fn verify(book: &RuleBook, mistake: &Mistake) -> Diagnosis {
    let bridge = &book.bridges[mistake.bridge];
    let mut scene = Scene::of(book, bridge).unwrap();
    for (at, reference) in bridge.secrets.iter().enumerate() {
        let why = environment().secret(reference).err();
        scene.absent.extend(why.map(|why| (at + 1, why)));
    }
    let now = Timestamp::from_second(NOW).unwrap();
    diagnose(&scene, mistake.request.clone(), now)
}

#[test]
fn every_prepared_mistake_is_called_by_its_name() {
    let book = book();
    let mistakes = mistakes::mistakes();

    let mut wrong = Vec::new();
    let mut named = BTreeSet::new();
    for mistake in &mistakes {
        let diagnosis = verify(&book, mistake);
        let causes: Vec<&str> = diagnosis.causes.iter().map(|cause| cause.id).collect();
        if diagnosis.verdict.is_ok() || causes != mistake.causes {
            let what = mistake.what;
            wrong.push(format!(
                "{what}: {causes:?} in place of {:?} ({:?}, {} tried)",
                mistake.causes, diagnosis.verdict, diagnosis.tried
            ));
        }
        named.extend(causes);
    }

    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    eprintln!("{} mistakes, {} causes", mistakes.len(), named.len());
    assert!(mistakes.len() >= 40);
}
