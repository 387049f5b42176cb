//! What `bash` answers, and what it leaves behind: nothing.

use std::time::Instant;

use tokio::sync::mpsc;

use super::*;
use crate::tools::harness::Harness;

fn bash() -> Bash {
    Bash::default()
}

/// Processes whose command line holds `word` (which must be in no other test's).
fn running(word: &str) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").expect("there is /proc");
    let files = entries.filter_map(|e| Some(e.ok()?.path().join("cmdline")));
    let lines = files.filter_map(|file| std::fs::read(file).ok());
    lines
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(word))
        .collect()
}

#[tokio::test]
async fn a_command_answers_both_streams_and_its_exit_code() {
    let harness = Harness::new();
    let payload = json!({"command": "echo out; echo err >&2; exit 3"});
    let (error, result) = harness.failure(&bash(), payload).await;
    assert_eq!(error, "exited with code 3");
    assert_eq!(result["stdout"], "out\n");
    assert_eq!(result["stderr"], "err\n");
    assert_eq!(result["exit_code"], 3);
    let output = result["output"].as_str().expect("is text");
    assert!(
        output.contains("out\n") && output.contains("err\n"),
        "{output}"
    );
}

#[tokio::test]
async fn a_command_runs_in_the_workspace_and_reads_nothing() {
    let harness = Harness::new();
    let result = harness
        .success(&bash(), json!({"command": "cat; pwd -P"}))
        .await;
    let root = harness.root().canonicalize().expect("there");
    assert_eq!(result["stdout"], format!("{}\n", root.display()));
    assert_eq!(result["signal"], Value::Null);
}

#[tokio::test]
async fn a_command_sees_its_task_and_none_of_the_brokers_credentials() {
    let harness = Harness::new();
    let payload = json!({"command": "env | grep -E '^(NATS|A3S)_' | sort"});
    let result = harness.success(&bash(), payload).await;
    let seen = result["stdout"].as_str().expect("is text");
    let names: Vec<_> = seen.lines().filter_map(|l| l.split('=').next()).collect();
    assert_eq!(names, ["A3S_RUN_MARK", "A3S_SESSION_ID", "A3S_TASK_ID"]);
}

#[tokio::test]
async fn at_its_timeout_a_command_is_killed_and_keeps_what_it_printed() {
    let harness = Harness::new();
    let payload = json!({"command": "echo before; sleep 1001; echo after", "timeout": 300});
    let begun = Instant::now();
    let done = harness.done(&bash(), payload).await;
    assert!(begun.elapsed() < Duration::from_millis(1_500));
    assert_eq!(done.error.as_deref(), Some("timed out after 300 ms"));
    assert_eq!(done.error_kind, None);
    assert_eq!(done.result["stdout"], "before\n");
    assert_eq!(done.result["timed_out"], true);
    assert_eq!(done.result["exit_code"], Value::Null);
    assert_eq!(running("sleep 1001"), Vec::<String>::new());
}

#[tokio::test]
async fn the_deadline_of_the_task_comes_before_the_timeout_of_the_command() {
    let mut harness = Harness::new();
    harness.timeout = Duration::from_millis(300);
    let done = harness
        .done(&bash(), json!({"command": "sleep 1002"}))
        .await;
    assert_eq!(done.error_kind, Some(ErrorKind::TimedOut));
    assert_eq!(done.result["timed_out"], true);
}

#[tokio::test]
async fn a_stopped_command_takes_its_whole_tree_with_it() {
    let harness = Harness::new();
    // A child, one in a session of its own, and a daemon that has lost its parent too.
    let command =
        "echo up; sleep 1003 & setsid sleep 1003 & (setsid sh -c 'sleep 1003; :' &); wait";
    let tool = bash();
    let run = harness.done(&tool, json!({"command": command}));
    let stop = async {
        let begun = Instant::now();
        let started = |line: &&String| line.starts_with("sleep 1003");
        while running("sleep 1003").iter().filter(started).count() < 3 {
            assert!(begun.elapsed() < Duration::from_secs(10), "never started");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        harness.stop(StopReason::Cancelled);
        Instant::now()
    };
    let (done, stopped) = tokio::join!(run, stop);
    assert!(stopped.elapsed() < Duration::from_millis(500));
    assert_eq!(done.error_kind, Some(ErrorKind::Cancelled));
    assert_eq!(done.result["stdout"], "up\n");
    assert_eq!(running("sleep 1003"), Vec::<String>::new());
}

/// The kernel would kill a child with the thread that forked it.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_outlives_the_thread_that_started_it() {
    let mut harness = Harness::new();
    let (sender, mut printed) = mpsc::channel(8);
    harness.output = Some(sender);
    let mut run = Box::pin(async move {
        let payload = json!({"command": "echo up; sleep 0.3; echo done"});
        harness.success(&bash(), payload).await
    });
    let runtime = tokio::runtime::Handle::current();
    let thread = std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                done = &mut run => panic!("{done}"),
                _ = printed.recv() => {}
            }
        });
        run
    });
    let run = tokio::task::spawn_blocking(|| thread.join()).await;
    let run = run.expect("it does not panic").expect("it does not panic");
    assert_eq!(run.await["stdout"], "up\ndone\n");
}

#[tokio::test]
async fn a_background_process_that_holds_the_pipes_does_not_hold_the_task() {
    let harness = Harness::new();
    let begun = Instant::now();
    let payload = json!({"command": "sleep 1004 & setsid sleep 1004 & echo done"});
    let result = harness.success(&bash(), payload).await;
    assert!(begun.elapsed() < Duration::from_secs(2));
    assert_eq!(result["stdout"], "done\n");
    assert_eq!(running("sleep 1004"), Vec::<String>::new());
}

#[tokio::test]
async fn a_given_up_run_kills_its_group() {
    let mut harness = Harness::new();
    let (sender, mut printed) = mpsc::channel(8);
    harness.output = Some(sender);
    let tool = bash();
    tokio::select! {
        done = harness.done(&tool, json!({"command": "echo up; sleep 1005; :"})) => panic!("{done:?}"),
        _ = printed.recv() => {}
    }
    let begun = Instant::now();
    while !running("sleep 1005").is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(2), "still running");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_killed_worker_leaves_no_shell() {
    let program = std::env::current_exe().expect("the test is a file");
    let mut worker = tokio::process::Command::new(program)
        .args(["--ignored", "--exact", "tools::bash::tests::worker_to_kill"])
        .stdout(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("the test can be started");
    let begun = Instant::now();
    while running("sleep 1006").is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(10), "never started");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    worker.kill().await.expect("it can be killed");
    let killed = Instant::now();
    while !running("sleep 1006").is_empty() {
        assert!(killed.elapsed() < Duration::from_secs(2), "still running");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
#[ignore = "the worker that a_killed_worker_leaves_no_shell kills"]
async fn worker_to_kill() {
    let payload = json!({"command": "exec sleep 1006", "timeout": 20_000});
    let _ = Harness::new().run(&bash(), payload).await;
}

#[tokio::test]
async fn endless_output_is_bounded_in_memory() {
    let harness = Harness::new();
    let before = peak_kib();
    let payload = json!({"command": "yes | head -c 300000000"});
    let result = harness.success(&bash(), payload).await;
    let grown = peak_kib() - before;
    assert!(grown < 64 * 1024, "grown by {grown} KiB");
    assert_eq!(result["truncated"], true);
    let output = result["output"].as_str().expect("is text");
    assert!(output.contains("bytes cut here"), "{}", output.len());
    assert!(output.len() < 101 * 1024, "{}", output.len());
}

fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("there is /proc");
    let line = status.lines().find(|line| line.starts_with("VmHWM"));
    let line = line.expect("it says the peak");
    let number = line.split_whitespace().nth(1).expect("has a number");
    number.parse().expect("is a number")
}

#[tokio::test]
async fn a_killed_command_names_its_signal() {
    let harness = Harness::new();
    let (error, result) = harness
        .failure(&bash(), json!({"command": "kill -9 $$"}))
        .await;
    assert_eq!(error, "killed by signal 9");
    assert_eq!(result["exit_code"], Value::Null);
    assert_eq!(result["signal"], 9);
    assert_eq!(result["timed_out"], false);
}

#[tokio::test]
async fn a_limit_on_memory_holds() {
    let harness = Harness::new();
    let limits = Limits {
        max_memory: Some(64 * 1024 * 1024),
        ..Limits::default()
    };
    let command =
        "head -c 200000000 /dev/zero | tail -c 150000000 >/dev/null; exit ${PIPESTATUS[1]}";
    let (error, result) = harness
        .failure(&Bash { limits }, json!({"command": command}))
        .await;
    let stderr = result["stderr"].as_str().expect("is text");
    assert!(stderr.contains("memory"), "{stderr}");
    assert!(error.contains("64 MiB at most (--max-memory"), "{error}");
}

#[tokio::test]
async fn a_missing_command_is_bad_input() {
    let harness = Harness::new();
    let done = harness.done(&bash(), json!({})).await;
    assert_eq!(done.error_kind, Some(ErrorKind::InvalidInput));
}
