//! Processes: none outlives its task, reaches another one, or becomes more than it was.

use a3s_testkit::eventually;
use serde_json::json;

use super::caged::Caged;
use super::support::BOUND;

/// Processes whose command line holds `word`.
fn running(word: &str) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").expect("there is /proc");
    let files = entries.filter_map(|e| Some(e.ok()?.path().join("cmdline")));
    let lines = files.filter_map(|file| std::fs::read(file).ok());
    lines
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.starts_with(word))
        .collect()
}

#[tokio::test]
async fn nothing_outlives_its_task_however_it_hides() {
    let caged = Caged::start("").await;
    if !caged.held_by("seccomp") {
        return;
    }
    let null = "</dev/null >/dev/null 2>&1";
    for (way, command) in [
        ("in the background", format!("sleep 7101 {null} &")),
        (
            "in a session of its own",
            format!("setsid sleep 7102 {null} &"),
        ),
        (
            "without a parent",
            format!("(setsid sh -c 'sleep 7103; :' {null} &) {null}"),
        ),
        (
            "without an environment",
            format!("(env -i setsid sh -c 'env -i setsid sleep 7104 & exit' {null} &) {null}"),
        ),
        (
            "under another number",
            format!("(env -i setsid bash -c 'ulimit -R 1000; sleep 7108 & exit' {null} &) {null}"),
        ),
        (
            "under another one's name",
            format!("(A3S_RUN_MARK=1-2-3-4 setsid sleep 7105 {null} &) {null}"),
        ),
    ] {
        caged.output(&format!("{command}\nsleep 0.2")).await;
        assert_eq!(running("sleep 710"), Vec::<String>::new(), "{way}");
    }
    // When the task is killed, too.
    let hidden = format!("(env -i setsid sleep 7106 {null} &); sleep 7107");
    let payload = json!({ "command": hidden, "timeout": 700 });
    caged.run("bash", payload).await;
    assert_eq!(running("sleep 710"), Vec::<String>::new());
    // And nobody is left to be waited for.
    let worker = caged.worker.pid();
    eventually(
        "the worker has no children",
        BOUND,
        async || match children(worker) {
            none if none.is_empty() => Ok(()),
            some => Err(some),
        },
    )
    .await;
}

fn children(pid: u32) -> String {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
    let lists = threads
        .filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("children")).ok());
    lists.collect::<String>().trim().to_owned()
}

#[tokio::test]
async fn the_background_of_one_task_is_not_ended_with_another() {
    let caged = Caged::start("").await;
    if !caged.held_by("seccomp") {
        return;
    }
    // Its child loses its parent and its environment, and goes on as long as the task does.
    let long = "(env -i setsid sh -c 'sleep 1; echo x > out/done' >/dev/null 2>&1 &); \
                touch out/begun; until [ -e out/done ]; do sleep 0.05; done; cat out/done";
    let short = async {
        eventually("the first task runs", BOUND, async || {
            let begun = caged.rig.workspace().join("out/begun").exists();
            begun.then_some(()).ok_or("not yet")
        })
        .await;
        for _ in 0..5 {
            caged.output("(true &); true").await;
        }
    };
    let (output, ()) = tokio::join!(caged.output(long), short);
    assert_eq!(output, "x\n");
}

#[tokio::test]
async fn a_command_cannot_signal_its_worker_or_another_task() {
    let mut caged = Caged::start("").await;
    if !caged.held_by("landlock") || !caged.holds_signals() {
        return;
    }
    let told = caged
        .output("kill -0 $PPID 2>&1; kill -TERM $PPID 2>&1; kill -STOP $PPID 2>&1; true")
        .await;
    assert_eq!(told.matches("not permitted").count(), 3, "{told}");
    let victim = "echo $$ > out/pid; sleep 2; echo lived";
    let killer = async {
        let pid = eventually("the victim runs", BOUND, async || {
            let pid = caged.rig.file("out/pid");
            pid.trim().parse::<u32>().map_err(|e| e.to_string())
        })
        .await;
        let told = caged.output(&format!("kill -9 {pid} 2>&1; true")).await;
        assert!(told.contains("not permitted"), "{told}");
    };
    let (output, ()) = tokio::join!(caged.output(victim), killer);
    assert_eq!(output, "lived\n");
    assert!(caged.worker.is_running());
}

#[tokio::test]
async fn a_command_gets_no_other_view_of_the_machine() {
    let caged = Caged::start("").await;
    if !caged.held_by("seccomp") {
        return;
    }
    // Each prints why it failed, and must fail for lack of permission.
    for attempt in [
        "unshare -U true",
        "unshare -r true",
        "unshare -m true",
        "unshare -n true",
        "unshare -p -f true",
        "mount -t tmpfs none out",
        "chroot / true",
        "nsenter -t 1 -m true",
        "perl -e 'syscall(425, 8, 0) < 0 and die \"io_uring: $!\"'",
        "perl -e '$n = `uname -m` =~ /x86_64/ ? 101 : 117; \
         syscall($n, 16, getppid(), 0, 0) < 0 and die \"ptrace: $!\"'",
        "perl -e '$n = `uname -m` =~ /x86_64/ ? 56 : 220; \
         syscall($n, 0x10000011, 0, 0, 0, 0) < 0 and die \"clone: $!\"'",
    ] {
        let result = caged.bash(attempt).await;
        assert!(!result.success, "{attempt}: {result:#?}");
        let told = result.result["stderr"].as_str().unwrap_or_default();
        let words = ["not permitted", "ermission denied", "superuser"];
        let denied = words.iter().any(|word| told.contains(word));
        assert!(denied, "{attempt}: {told}");
    }
    let status = caged.output("cat /proc/self/status").await;
    let line = |name: &str| status.lines().find(|line| line.starts_with(name));
    assert_eq!(line("NoNewPrivs:"), Some("NoNewPrivs:\t1"));
    assert_eq!(line("Seccomp:"), Some("Seccomp:\t2"));
    // Of root's powers those over files are left: chown, dac_override, fowner, fsetid.
    let powers = line("CapEff:")
        .and_then(|l| l.split('\t').nth(1))
        .expect("a mask");
    let powers = u64::from_str_radix(powers, 16).expect("a number");
    assert_eq!(powers & !0b1_1011, 0, "{powers:b}");
}

#[tokio::test]
async fn a_command_dies_with_its_worker() {
    let mut caged = Caged::start("").await;
    let submit = caged.rig.submit(super::support::shell(
        a3s_shared::protocol::SessionLane::Execute,
        "exec sleep 7201",
    ));
    submit.await;
    let runs = async |expected: bool| {
        eventually(&format!("it runs: {expected}"), BOUND, async || {
            let found = !running("sleep 7201").is_empty();
            (found == expected).then_some(()).ok_or(found)
        })
        .await;
    };
    runs(true).await;
    caged.worker.kill();
    runs(false).await;
}
