//! The documents name what there is.

use std::path::PathBuf;

use a3s_shared::broker::{Names, TaskStream};
use a3s_shared::protocol::{EventKind, headers};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn document(name: &str) -> String {
    let path = root().join("docs").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

#[test]
fn every_file_that_the_map_names_exists() {
    let map = document("architecture.md");
    let named: Vec<_> = map
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|t| t.contains('/') && !t.contains(char::is_whitespace))
        .collect();
    assert!(named.len() > 40, "the map is read: {named:?}");
    for path in named {
        assert!(
            root().join(path).exists(),
            "{path} is on the map and not in the repository"
        );
    }
}

#[test]
fn the_wire_document_names_every_header_event_and_stream() {
    let wire = document("wire.md");
    let names = Names::new("a3s").expect("a valid prefix");
    let headers = [
        headers::MESSAGE_ID,
        headers::REPLY_TO,
        headers::DEADLINE,
        headers::MAX_ATTEMPTS,
        headers::RETRY_DELAY,
        headers::EFFECT,
        headers::CONTENT_TYPE,
        headers::TRACEPARENT,
        headers::BLOB,
        headers::WORKSPACE,
        headers::KEY,
        headers::SIGNATURE,
        headers::ANSWERS,
    ];
    let streams = [
        names.tasks(TaskStream::Pool),
        names.tasks(TaskStream::Own),
        names.results(),
        names.claims(),
        names.cancels(),
        names.dead_letters(),
        names.advisories(),
        names.workspaces(),
        names.sessions_bucket(),
        names.workers_bucket(),
        names.blobs_bucket(),
        names.worker_service(),
        names.mover_consumer(),
    ];
    let events = EventKind::ALL
        .iter()
        .filter_map(|kind| kind.id().rsplit('.').next());
    let all = headers
        .into_iter()
        .chain(streams.iter().map(String::as_str))
        .chain(events);
    for name in all {
        assert!(wire.contains(name), "docs/wire.md says nothing of {name}");
    }
}

/// All Rust sources below `dir`, in one text.
fn sources(dir: &std::path::Path) -> String {
    let mut all = String::new();
    for entry in std::fs::read_dir(dir)
        .expect("a directory")
        .filter_map(Result::ok)
    {
        let (path, name) = (entry.path(), entry.file_name());
        if path.is_dir()
            && !["target", "node_modules", ".venv"]
                .iter()
                .any(|n| name == *n)
        {
            all.push_str(&sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs" || e == "py") {
            all.push_str(&std::fs::read_to_string(&path).expect("a source"));
        }
    }
    all
}

#[test]
fn every_test_that_the_page_on_reliability_names_exists() {
    let page = document("reliability.md");
    let named = page.split('`').skip(1).step_by(2);
    let tests: Vec<_> = named.filter(|t| t.matches('_').count() > 3).collect();
    assert!(tests.len() > 20, "the page is read: {tests:?}");
    let sources: Vec<_> = ["shared", "worker", "coordinator", "e2e", "bridges"]
        .map(|package| sources(&root().join(package)))
        .into();
    for test in tests {
        let declared = [format!("fn {test}("), format!("def {test}(")];
        let there = sources
            .iter()
            .any(|source| declared.iter().any(|d| source.contains(d)));
        assert!(there, "{test} is promised and not in the repository");
    }
}
