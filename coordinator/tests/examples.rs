//! Every example does what it shows.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use a3s_testkit::{Process, ProcessBuilder, Server, binary};

/// How long an example may take on a busy machine. Each needs a second or two.
const SOON: Duration = Duration::from_secs(60);

/// Where the examples are, built from the sources as they are now.
fn examples() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        let test = env::current_exe().expect("the test knows its own path");
        let profile = test.ancestors().nth(2).expect("target/debug/deps/…");
        let examples = profile.join("examples");
        // `cargo xtask test` has built them all, with one question to cargo.
        if env::var_os("A3S_BINARIES_BUILT").is_some() && examples.join("metrics").is_file() {
            return examples;
        }
        let target = profile.parent().expect("target/debug");
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args([
            "build",
            "--quiet",
            "--package",
            "a3s-coordinator",
            "--examples",
        ]);
        cargo.arg("--target-dir").arg(target);
        if profile.ends_with("release") {
            cargo.arg("--release");
        }
        let status = cargo.status().expect("cargo runs");
        assert!(status.success(), "the examples were not built: {status}");
        examples
    })
}

fn example(server: &Server, name: &str) -> ProcessBuilder {
    Process::at(examples().join(name)).env("NATS_URL", server.url())
}

/// What an example prints, when it ends well and in time.
async fn printed(example: ProcessBuilder) -> String {
    let mut process = example.start();
    let status = process.wait(SOON).await;
    let (stdout, stderr) = (process.stdout(), process.stderr());
    assert!(status.success(), "{status}\n{stdout}\n{stderr}");
    stdout
}

#[track_caller]
fn has_lines(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(
            text.lines().any(|l| l.starts_with(line)),
            "no line {line:?} in:\n{text}"
        );
    }
}

#[tokio::test]
async fn an_external_handler_gets_the_tasks_of_its_lane() {
    let server = Server::start().await;
    let text = printed(example(&server, "external_handler")).await;
    assert_eq!(
        text,
        "worker received task: bash\nresult: \"\\\"make\\\" completed\"\n"
    );
}

#[tokio::test]
async fn parallel_sessions_each_bring_their_result() {
    let server = Server::start().await;
    let text = printed(example(&server, "parallel_sessions")).await;
    assert_eq!(text.lines().count(), 4, "{text}");
    has_lines(
        &text,
        &["lib.rs: ", "error.rs: ", "handle.rs: ", "command.rs: "],
    );
}

#[tokio::test]
async fn a_deployed_worker_serves_the_session_it_was_started_for() {
    let server = Server::start().await;
    let example =
        example(&server, "configure_worker_deploy").env("A3S_WORKER_PROGRAM", binary("a3s-worker"));
    let text = printed(example).await;
    let before = "before: no worker serves lane query of session abc123's own workers";
    has_lines(&text, &[before]);
    let reads = text
        .lines()
        .filter(|line| line.ends_with("lines on worker-1"));
    assert_eq!(reads.count(), 2, "{text}");
}

#[tokio::test]
async fn a_monitor_hears_of_what_runs_elsewhere() {
    let server = Server::start().await;
    let text = printed(example(&server, "hybrid_monitor")).await;
    has_lines(
        &text,
        &[
            "queue.command.started sum",
            "queue.command.completed sum in",
            "queue.command.failed sum in",
            "queue.shutdown.complete",
        ],
    );
    assert!(text.contains("nothing to add"), "{text}");
}

#[tokio::test]
async fn a_handler_that_retries_succeeds_or_gives_up() {
    let server = Server::start().await;
    let text = printed(example(&server, "retry")).await;
    has_lines(
        &text,
        &["succeeded at attempt", "gave up: failed 4 times, last: 503"],
    );
    assert_eq!(text.matches("attempt 3: ok").count(), 1, "{text}");
}

#[tokio::test]
async fn timeouts_end_what_takes_too_long_and_nothing_else() {
    let server = Server::start().await;
    let text = printed(example(&server, "timeouts")).await;
    has_lines(
        &text,
        &[
            "a fast query: completed",
            "a slow query: timed out",
            "a slow command: completed",
            "a command in a hurry: timed out",
        ],
    );
}

#[tokio::test]
async fn metrics_are_those_of_what_ran() {
    let server = Server::start().await;
    let text = printed(example(&server, "metrics")).await;
    has_lines(
        &text,
        &[
            "pending: 60, active: 0, external: 60",
            "alert: ",
            "total processed: 60",
        ],
    );
    has_lines(&text, &["success rate: 98.33 %", "p95 latency: "]);
}

#[tokio::test]
async fn pollers_share_the_tasks_of_a_session() {
    let server = Server::start().await;
    let text = printed(example(&server, "pending_tasks")).await;
    assert_eq!(text.matches("poller").count(), 3, "each task once:\n{text}");
    has_lines(
        &text,
        &[
            "completed: \"a\\n\"",
            "completed: \"b\\n\"",
            "failed: \"\"",
            "an unknown task was completed: false",
        ],
    );
}

#[tokio::test]
async fn an_example_needs_nothing_but_itself() {
    let state = tempfile::tempdir().expect("a directory");
    let example = Process::at(examples().join("external_handler"))
        .env("A3S_EMBEDDED", "true")
        .env("A3S_STATE_DIR", state.path());
    assert!(printed(example).await.starts_with("worker received task"));
}
