//! The wire needs no library: a worker in shell, `docs/examples/worker.sh`, finishes a task.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use a3s_shared::protocol::{Outcome, Route};
use a3s_testkit::eventually;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::json;

use crate::{BOUND, Rig, options, task};

/// The shell and what it runs; ends with the test.
struct Shell(Child);

impl Drop for Shell {
    fn drop(&mut self) {
        if let Some(group) = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::TERM);
        }
        let _ = self.0.wait();
    }
}

fn is_there(program: &str) -> bool {
    let mut command = Command::new(program);
    let command = command
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

#[tokio::test]
async fn a_worker_in_shell_answers_and_acknowledges() {
    if !is_there("nats") || !is_there("jq") {
        eprintln!("SKIPPED: docs/examples/worker.sh needs the nats CLI and jq");
        return;
    }
    let rig = Rig::start().await;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples/worker.sh");
    let mut worker = Command::new(script);
    worker
        .env("NATS_URL", rig.server.url())
        .stdin(Stdio::null())
        .process_group(0);
    let _worker = Shell(worker.spawn().expect("a shell"));
    let shell = Route::Pool("shell".into());
    for (command, outcome) in [("echo", Outcome::Completed), ("sing", Outcome::Failed)] {
        let mut task = task(json!({ "text": "a {{ template }} 'and' \"quotes\"" }));
        task.command_type = command.into();
        rig.broker
            .submit(&task, &shell, &options())
            .await
            .expect("accepted");
        let result = eventually("the shell answers", BOUND, async || {
            let found = rig.broker.result("s", &task.task_id).await;
            found
                .map_err(|e| e.to_string())?
                .ok_or_else(|| "no result yet".to_owned())
        });
        let result = result.await;
        assert_eq!(result.outcome(), outcome, "{result:?}");
        if outcome == Outcome::Completed {
            assert_eq!(result.result, task.payload);
        }
    }
    eventually("the tasks are acknowledged", BOUND, async || {
        let left = rig.count("A3S_TASKS").await;
        (left == 0)
            .then_some(())
            .ok_or_else(|| format!("{left} are left"))
    })
    .await;
}
