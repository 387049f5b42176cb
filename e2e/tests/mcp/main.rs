//! The MCP door with the official SDKs as its clients, and every configuration that `docs/mcp.md`
//! shows. The tests themselves are in `e2e/mcp`, in the languages of the SDKs: they start doors and
//! workers on the server that is started here.

mod clients;
mod page;

use std::path::{Path, PathBuf};
use std::time::Duration;

/// For a suite on a machine that is busy with other things.
const BOUND: Duration = Duration::from_secs(900);

#[tokio::test(flavor = "multi_thread")]
async fn clients_in_python_find_what_is_promised() {
    if clients::is_missing("python3", &["-c", "import ensurepip, venv"]) {
        return;
    }
    clients::python(&directory("mcp/python")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_in_typescript_find_what_is_promised() {
    if clients::is_missing("npm", &["--version"]) {
        return;
    }
    clients::node(&directory("mcp/node")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_configuration_of_the_page_starts_a_server() {
    let page = std::fs::read_to_string(directory("../docs/mcp.md")).expect("the page is there");
    let commands = page::commands(&page);
    assert!(commands.len() >= 6, "{commands:?}");
    let (first, rest) = commands.split_first().expect("there are some");
    for command in rest {
        assert_eq!(
            command.line, first.line,
            "the agents are told to start different things"
        );
    }
    page::start(first).await;
}

fn directory(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
