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
    ];
    let streams = [
        names.tasks(TaskStream::Pool),
        names.tasks(TaskStream::Own),
        names.results(),
        names.claims(),
        names.cancels(),
        names.dead_letters(),
        names.advisories(),
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
