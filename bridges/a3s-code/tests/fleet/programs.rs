//! The program and the examples, as users start them.

use std::path::{Path, PathBuf};

use a3s_testkit::{Process, ProcessBuilder, Server};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::model::{Model, Say, call, text};
use crate::stage::{SOON, bin_dir, worker_in};

/// A server, a model behind an agent's configuration, and a directory that all of them see.
struct Bench {
    server: Server,
    model: Model,
    dir: TempDir,
}

impl Bench {
    async fn new(script: impl Fn(&str, usize) -> Say + Send + Sync + 'static) -> Self {
        let model = Model::start(script);
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("agent.acl"), model.config()).expect("written");
        Self {
            server: Server::start().await,
            model,
            dir,
        }
    }

    fn write(&self, name: &str, content: &str) {
        std::fs::write(self.dir.path().join(name), content).expect("written");
    }

    /// The command line of a program on this bench.
    fn run(&self, program: impl AsRef<Path>) -> ProcessBuilder {
        Process::at(program)
            .env("NATS_URL", self.server.url())
            .env("A3S_BIN_DIR", bin_dir())
            .args(["--config", "agent.acl"])
            .current_dir(self.dir.path())
    }
}

/// An example of this package, built with the tests.
fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("its own path");
    let profile = test.ancestors().nth(2).expect("target/…/debug");
    let path = profile.join("examples").join(name);
    assert!(
        path.is_file(),
        "{name} is not built: run `cargo build --examples`"
    );
    path
}

/// Runs it to its end, and returns what it printed.
async fn finish(process: ProcessBuilder) -> (String, String) {
    let mut process = process.start();
    let status = process.wait(SOON).await;
    let (out, err) = (process.stdout(), process.stderr());
    assert!(status.success(), "{status}\n{out}\n{err}");
    (out, err)
}

fn search(_: &str, turn: usize) -> Say {
    match turn {
        0 => call("grep", json!({"pattern": "fn auth"})),
        1 => call(
            "read",
            json!({"files": [{"path": "a.rs"}, {"path": "b.rs"}]}),
        ),
        _ => text("There are two of them."),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_streams_the_answer_and_says_who_did_what() {
    let bench = Bench::new(search).await;
    bench.write("a.rs", "fn auth_a() {}\n");
    bench.write("b.rs", "fn auth_b() {}\n");
    let program = bench.run(env!("CARGO_BIN_EXE_a3s-code-fleet"));
    let program = program.args(["--local-workers", "2", "send", "task search"]);

    let (out, err) = finish(program).await;

    assert_eq!(out, "There are two of them.\n");
    assert_eq!(err.matches("] read completed in ").count(), 2, "{err}");
    assert_eq!(err.matches("] grep completed in ").count(), 1, "{err}");
    assert!(err.contains(" tasks "), "{err}");
    assert!(bench.model.told("task search")[0].contains("fn auth_a"));
}

#[tokio::test(flavor = "multi_thread")]
async fn as_json_each_line_is_an_event_or_a_task() {
    let bench = Bench::new(search).await;
    bench.write("a.rs", "fn auth_a() {}\n");
    let program = bench.run(env!("CARGO_BIN_EXE_a3s-code-fleet"));
    let program = program.args([
        "--local-workers",
        "1",
        "--own",
        "--json",
        "send",
        "task json",
    ]);

    let (out, _) = finish(program).await;

    let lines: Vec<Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line of JSON"))
        .collect();
    let of = |kind: &str| lines.iter().filter(|line| line["type"] == kind).count();
    assert_eq!(
        (of("fleet_task"), of("fleet_stats"), of("agent_end")),
        (3, 1, 1),
        "{out}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_configuration_it_says_what_it_looked_for() {
    let mut program = Process::at(env!("CARGO_BIN_EXE_a3s-code-fleet"))
        .args(["--config", "/no/such.acl", "send", "hello"])
        .start();
    let status = program.wait(SOON).await;
    assert_eq!(status.code(), Some(2), "{}", program.stderr());
    assert!(
        program.stderr().contains("/no/such.acl"),
        "{}",
        program.stderr()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_of_parallel_code_search_gathers_from_all_workers() {
    let bench = Bench::new(|_, turn| match turn {
        0 => call(
            "grep",
            json!({"pattern": "fn auth", "output_mode": "files_with_matches"}),
        ),
        1 => call(
            "read",
            json!({"files": [{"path": "a.rs"}, {"path": "b.rs"}]}),
        ),
        _ => text("auth_a and auth_b."),
    })
    .await;
    bench.write("a.rs", "fn auth_a() {}\n");
    bench.write("b.rs", "fn auth_b() {}\n");
    let url = bench.server.url();
    let _workers = ["w1", "w2"].map(|id| worker_in(url, bench.dir.path(), id, &[]));

    let prompt = "task: Search for all authentication functions";
    let example = bench.run(example("parallel_code_search")).arg(prompt);
    let (out, _) = finish(example).await;

    assert!(out.contains("auth_a and auth_b."), "{out}");
    assert!(out.contains("3 tasks"), "{out}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_of_distributed_tests_reports_each_suite() {
    let bench = Bench::new(|_, turn| match turn {
        0 => Say::Calls(
            ["true", "echo broken; false", "true"]
                .map(|suite| ("bash".to_owned(), json!({ "command": suite })))
                .into(),
        ),
        _ => text("One of three suites fails."),
    })
    .await;
    let _worker = worker_in(bench.server.url(), bench.dir.path(), "w1", &[]);

    let prompt = "task: Run all tests in parallel";
    let example = bench.run(example("distributed_tests")).arg(prompt);
    let (out, _) = finish(example).await;

    assert!(out.contains("One of three suites fails."), "{out}");
    assert!(out.contains("2 passed, 1 failed"), "{out}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_of_regions_reads_each_file_where_it_is() {
    let bench = Bench::new(|_, turn| match turn {
        0 => call("read", json!({"file_path": "region.txt"})),
        _ => text("read"),
    })
    .await;
    let regions = ["us-east", "eu-west"];
    let dirs = regions.map(|_| tempfile::tempdir().expect("a directory"));
    let workers = regions.iter().zip(&dirs).map(|(region, dir)| {
        let text = format!("data of {region}\n");
        std::fs::write(dir.path().join("region.txt"), text).expect("written");
        worker_in(bench.server.url(), dir.path(), region, &["--pool", region])
    });
    let _workers: Vec<Process> = workers.collect();

    let example = bench.run(example("multi_region"));
    let (out, _) = finish(example.args(["us-east", "eu-west"])).await;

    for region in regions {
        assert!(
            out.contains(&format!("{region}: read by {region}")),
            "{out}"
        );
        let told = bench
            .model
            .told(&format!("task: read region.txt in {region}"));
        assert!(told[0].contains(&format!("data of {region}")), "{told:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_of_hybrid_monitoring_tells_what_ran_here() {
    let bench = Bench::new(|_, turn| match turn {
        0 => call("write", json!({"file_path": "note.txt", "content": "x"})),
        _ => text("written"),
    })
    .await;

    let example = bench
        .run(example("hybrid_monitoring"))
        .arg("task: write a note");
    let (out, _) = finish(example).await;

    assert!(bench.dir.path().join("note.txt").exists(), "{out}");
    for kind in ["started", "completed"] {
        assert!(
            out.contains(&format!("queue.command.{kind} write")),
            "{out}"
        );
    }
}
