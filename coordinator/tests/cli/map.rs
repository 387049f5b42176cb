//! `map` has GNU parallel's habits.

use a3s_testkit::{Process, binary};

use crate::stage::{SOON, Stage, finish, gone};

#[tokio::test]
async fn the_exit_status_counts_the_jobs_that_failed() {
    let stage = Stage::new().await;
    let _worker = stage.worker(&["-j3"]).await;
    let junit = stage.path().join("report.xml").display().to_string();
    let command = [
        "map",
        "--junit",
        &junit,
        "echo ran {#} {}; test {} != b",
        ":::",
        "a x",
        "b",
        "c",
    ];
    let done = stage.run(&command).await;
    assert_eq!(done.status, 1, "{}", done.stderr);
    let mut lines: Vec<&str> = done.stdout.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["ran 1 a x", "ran 2 b", "ran 3 c"]);
    assert!(
        done.stderr.contains("2 succeeded, 1 failed"),
        "{}",
        done.stderr
    );
    let report = std::fs::read_to_string(junit).expect("a report");
    assert!(
        report.contains(r#"tests="3""#) && report.contains(r#"failures="1""#),
        "{report}"
    );
}

#[tokio::test]
async fn output_keeps_the_order_of_the_arguments_when_asked() {
    let stage = Stage::new().await;
    let _worker = stage.worker(&["-j4"]).await;
    let command = ["map", "--keep-order", "--tag", "sleep 0.{}; echo {}"];
    let done = stage.run_with(&command, "4\n3\n2\n1\n").await;
    assert_eq!(done.status, 0, "{}", done.stderr);
    assert_eq!(done.stdout, "4\t4\n3\t3\n2\t2\n1\t1\n");
}

#[tokio::test]
async fn the_first_failure_cancels_the_rest_when_asked() {
    let stage = Stage::new().await;
    let _worker = stage.worker(&["-j2"]).await;
    let fail = "test {} = slow && touch started && exec sleep 300; \
                while ! test -e started; do sleep 0.01; done; exit 3";
    let command = [
        "map",
        "--halt",
        "now,fail=1",
        fail,
        ":::",
        "slow",
        "fails",
        "never",
        "never",
    ];
    let done = stage.run(&command).await;
    assert_eq!(done.status, 1, "{}", done.stderr);
    assert!(
        done.stderr
            .contains("0 succeeded, 1 failed, 1 cancelled, 2 not started"),
        "{}",
        done.stderr
    );
}

#[tokio::test]
async fn a_job_that_takes_too_long_is_killed() {
    let stage = Stage::new().await;
    let _worker = stage.worker(&[]).await;
    let done = stage
        .run(&["map", "--timeout", "300ms", "sleep", ":::", "300"])
        .await;
    assert_eq!(done.status, 1);
    assert!(done.stderr.contains("timed out"), "{}", done.stderr);
}

#[tokio::test]
async fn a_failed_job_is_run_again_as_often_as_allowed() {
    let stage = Stage::new().await;
    let _worker = stage.worker(&[]).await;
    let command = "echo x >> {}; test $(wc -l < {}) -ge 3";
    let done = stage
        .run(&["map", "--retries", "2", command, ":::", "one"])
        .await;
    assert_eq!(done.status, 0, "{}", done.stderr);
    let done = stage
        .run(&["map", "--retries", "1", command, ":::", "two"])
        .await;
    assert_eq!(done.status, 1, "{}", done.stderr);
}

#[tokio::test]
async fn ctrl_c_ends_the_jobs_too() {
    let stage = Stage::new().await;
    let _worker = stage.worker(&[]).await;
    let mut map = stage
        .coordinator(&["map", "echo $$ > pid; exec sleep 300; #", ":::", "x"])
        .start();
    let pid = stage.path().join("pid");
    let pid = a3s_testkit::eventually("the job", SOON, || {
        let text = std::fs::read_to_string(&pid).unwrap_or_default();
        std::future::ready(text.trim().parse::<u32>())
    })
    .await;
    map.signal(rustix::process::Signal::INT);
    let done = finish(map).await;
    assert_eq!(done.status, 130, "{}", done.stderr);
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
}

#[tokio::test]
async fn a_reader_that_has_seen_enough_ends_the_jobs() {
    let stage = Stage::new().await;
    let _worker = stage.worker(&["-j3"]).await;
    let job = "case {} in sleeps) echo $$ > pid; exec sleep 300;; \
               *) while ! test -s pid; do sleep 0.01; done; sleep 0.{}; echo out;; esac";
    let pipe = r#""$0" map "$1" ::: sleeps 1 5 | head -n 1"#;
    let done = Process::at("sh")
        .env("NATS_URL", stage.server.url())
        .current_dir(stage.path())
        .args(["-c", pipe])
        .arg(binary("a3s-coordinator"))
        .arg(job);
    let done = finish(done.start()).await;
    assert_eq!(done.stdout, "out\n", "{}", done.stderr);
    let pid = std::fs::read_to_string(stage.path().join("pid")).expect("the job ran");
    gone(&[pid.trim().parse().expect("a process id")]).await;
}

#[tokio::test]
async fn commands_can_be_looked_at_without_a_server() {
    let stage = Stage::new().await;
    let done = stage
        .run(&[
            "map",
            "--dry-run",
            "cc -c {} -o {.}.o",
            ":::",
            "a b.c",
            "d.c",
        ])
        .await;
    assert_eq!(done.status, 0, "{}", done.stderr);
    assert_eq!(done.stdout, "cc -c 'a b.c' -o 'a b'.o\ncc -c d.c -o d.o\n");
    // Options end where the command begins.
    let words = ["map", "--dry-run", "-j1", "echo", "-n", "{}", ":::", "-x"];
    assert_eq!(stage.run(&words).await.stdout, "echo -n -x\n");
    let misspelt = stage.run(&["map", "--dryrun", "echo", ":::", "x"]).await;
    assert_eq!(misspelt.status, 2, "{}", misspelt.stdout);
    let by_variable = stage
        .coordinator(&["map", "cc {}", ":::", "a"])
        .env("A3S_DRY_RUN", "1");
    assert_eq!(finish(by_variable.start()).await.stdout, "cc a\n");
    assert_eq!(stage.run(&["map", ":::", "a"]).await.status, 255);
}
