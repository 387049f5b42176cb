//! `search` is ripgrep, and stays it when workers die.

use std::process::{Command, Stdio};

use crate::stage::{SOON, Stage, finish};

/// A tree with everything that makes a search difficult.
async fn stage() -> Stage {
    let stage = Stage::new().await;
    stage.write(".git/HEAD", "x");
    stage.write(".gitignore", "target/\n*.log\n");
    stage.write(".hidden/needle.txt", "needle hidden\n");
    stage.write("target/out.txt", "needle ignored\n");
    stage.write("a.log", "needle ignored\n");
    stage.write("a.txt", "one\nneedle\ntwo\nthree\nfour\nNeedle again\n");
    stage.write("a/b/c.rs", "fn needle() {}\n// needle: a:1:b -- c\n");
    stage.write("a-b.rs", "needle without end");
    stage.write("binary.dat", b"needle\0needle\n");
    stage.write("crlf.txt", "x\r\nneedle\r\ny\r\n");
    stage.write("latin1.txt", b"needle \xe9\xff\n");
    stage.write("long.txt", format!("{}needle\n", "x".repeat(70_000)));
    stage.write("sub/none.txt", "nothing\n");
    for n in 0..40 {
        stage.write(
            &format!("many/{n}/f{n}.txt"),
            format!("{}needle {n}\n", "line\n".repeat(9_000)),
        );
    }
    stage
}

/// What ripgrep prints, and its status. None, said loudly, where it is not installed.
pub(crate) fn ripgrep(stage: &Stage, arguments: &[&str]) -> Option<(i32, Vec<u8>)> {
    let output = Command::new("rg")
        .args(["--no-config", "-n", "--no-heading", "--sort", "path"])
        .args(arguments)
        .current_dir(stage.path())
        .stdin(Stdio::null())
        .output();
    match output {
        Ok(output) => Some((output.status.code().unwrap_or(-1), output.stdout)),
        Err(error) => {
            eprintln!("SKIPPED: search against ripgrep, which cannot be run: {error}");
            None
        }
    }
}

#[tokio::test]
async fn the_output_is_ripgreps_to_the_byte() {
    let stage = stage().await;
    let _workers = [stage.worker(&["-j2"]).await, stage.worker(&["-j1"]).await];
    let here = stage.path();
    let absolute = here.join("a").display().to_string();
    let cases: &[&[&str]] = &[
        &["needle"],
        &["needle", "."],
        &["needle", "a"],
        &["needle", "./a/"],
        &["needle", "a//b"],
        &["needle", &absolute],
        &["needle", "a.txt"],
        &["needle", "binary.dat"],
        &["-i", "NEEDLE"],
        &["-l", "needle"],
        &["-l", "needle", "./a.txt"],
        &["-c", "needle"],
        &["-c", "needle", "a.txt"],
        &["-C1", "needle"],
        &["-C2", "needle", "a.txt"],
        &["-g", "*.rs", "needle"],
        &["-g", "!many", "-g", "!*.txt", "needle"],
        &["--hidden", "needle"],
        &["not there at all"],
        &["needle", "sub"],
        &["^needle$"],
    ];
    for arguments in cases {
        let Some((status, expected)) = ripgrep(&stage, arguments) else {
            return;
        };
        let done = stage.run(&[&["search"], *arguments].concat()).await;
        let expected = String::from_utf8_lossy(&expected).into_owned();
        assert!(
            done.stdout == expected,
            "{arguments:?}: {expected}\nbut: {done:?}"
        );
        assert_eq!(done.status, status, "{arguments:?}: {}", done.stderr);
    }
}

#[tokio::test]
async fn where_this_machine_has_no_copy_a_worker_lists_the_tree() {
    let stage = stage().await;
    let _worker = stage.worker(&[]).await;
    let elsewhere = tempfile::tempdir().expect("a directory");
    let cases: &[&[&str]] = &[&["needle"], &["needle", "./a"], &["-c", "needle", "a.txt"]];
    for arguments in cases {
        let Some((status, expected)) = ripgrep(&stage, arguments) else {
            return;
        };
        let arguments = [&["search"], *arguments].concat();
        let done = finish(stage.coordinator_in(elsewhere.path(), &arguments).start()).await;
        assert_eq!(
            done.stdout,
            String::from_utf8_lossy(&expected),
            "{}",
            done.stderr
        );
        assert_eq!(done.status, status);
    }
    let arguments = ["search", "needle", "nosuch"];
    let done = finish(stage.coordinator_in(elsewhere.path(), &arguments).start()).await;
    assert_eq!(done.status, 2);
    assert!(done.stderr.contains("the workers see"), "{}", done.stderr);
}

#[tokio::test]
async fn a_worker_killed_half_way_costs_no_line() {
    let stage = Stage::new().await;
    for n in 0..150 {
        let text = format!(
            "{}needle {n}\n",
            "a line of some length that is read\n".repeat(12_000)
        );
        stage.write(&format!("{n:03}.txt"), text);
    }
    // The consumers' lease is set by who makes them: the coordinator that waits for the workers.
    let mut doomed = stage.worker(&["-j1"]).await;
    let _other = stage.worker(&["-j1"]).await;
    let search = stage.coordinator(&["search", "needle"]).start();
    search.wait_for("needle", SOON).await;
    doomed.kill();
    let done = finish(search).await;
    assert_eq!(done.status, 0, "{}", done.stderr);
    let numbers: Vec<String> = done
        .stdout
        .lines()
        .map(|line| line.rsplit(' ').next().unwrap_or_default().to_owned())
        .collect();
    let expected: Vec<String> = (0..150).map(|n| n.to_string()).collect();
    assert_eq!(numbers, expected);
}

#[tokio::test]
async fn matches_come_as_json_too() {
    let stage = stage().await;
    let _worker = stage.worker(&[]).await;
    let done = stage
        .run(&["search", "--json", "-C1", "needle", "a.txt"])
        .await;
    assert_eq!(done.status, 0, "{}", done.stderr);
    let lines: Vec<serde_json::Value> = done
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(
        lines[1],
        serde_json::json!({"path": "a.txt", "line": 2, "text": "needle"})
    );
    assert_eq!(lines[0]["context"], true);
}

#[tokio::test]
async fn a_malformed_pattern_is_refused_before_anybody_is_asked() {
    let stage = Stage::new().await;
    let done = stage.run(&["search", "a(b"]).await;
    assert_eq!(done.status, 2);
    assert!(done.stderr.contains("unclosed group"), "{}", done.stderr);
}
