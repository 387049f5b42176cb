//! `grep` against the real ripgrep, on a tree of what has gone wrong for searchers.

use std::process::Command;

use a3s_shared::protocol::ErrorKind;

use super::*;
use crate::context::StopReason;
use crate::tools::harness::Harness;
use crate::tools::list_files::ListFiles;

fn tree() -> Harness {
    let harness = Harness::new();
    let long = format!("{} needle {}\n", "x".repeat(200_000), "y".repeat(200_000));
    let many: String = (0..40)
        .map(|i| format!("line {i} {}\n", needle(i)))
        .collect();
    let late = format!("needle first\n{}\0needle\n", "pad\n".repeat(50_000));
    let utf16: Vec<u8> = "\u{feff}a needle in UTF-16\r\n"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    std::fs::create_dir(harness.root().join(".git")).expect("made");
    let files: [(&str, &[u8]); 19] = [
        (".gitignore", b"*.log\n/build/\n"),
        (".ignore", b"*.tmp\n"),
        (".rgignore", b"*.bak\n"),
        ("a.txt", b"one needle\ntwo\nthree Needle\n"),
        ("a/x.rs", many.as_bytes()),
        ("a/.gitignore", b"!keep.log\n"),
        ("a/keep.log", b"kept needle\n"),
        ("a/lost.tmp", b"needle\n"),
        ("a.bak", b"needle\n"),
        ("b.log", b"needle\n"),
        ("build/out.rs", b"needle\n"),
        (".hidden/h.rs", b"hidden needle\n"),
        ("binary.bin", b"needle\n\0\0needle\n"),
        ("late.bin", late.as_bytes()),
        ("latin1.txt", b"caf\xe9 needle\nna\xefve\n"),
        ("utf16.txt", &utf16),
        ("crlf.txt", b"first\r\na needle\r\nlast\r\n"),
        ("noeol.txt", b"x\nneedle at the end"),
        ("long.txt", long.as_bytes()),
    ];
    for (path, content) in files {
        harness.write(path, content);
    }
    harness.write("empty.txt", "");
    std::os::unix::fs::symlink("a.txt", harness.root().join("link.txt")).expect("linked");
    harness
}

fn needle(line: usize) -> &'static str {
    if matches!(line, 3 | 5 | 20 | 39) {
        "needle"
    } else {
        "hay"
    }
}

fn rg(harness: &Harness, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("rg")
        .args(["--no-config", "-n", "--no-heading", "--sort", "path"])
        .args(arguments)
        .current_dir(harness.root())
        .stdin(std::process::Stdio::null())
        .output();
    output.expect("ripgrep is on the PATH").stdout
}

fn printed(result: &Value) -> Vec<u8> {
    let engine = base64::engine::general_purpose::STANDARD;
    match (&result["output"], &result["output_base64"]) {
        (Value::String(text), Value::Null) => text.clone().into_bytes(),
        (Value::Null, Value::String(text)) => engine.decode(text).expect("is base64"),
        _ => panic!("one of the two must be there: {result}"),
    }
}

/// Both must print the same, whole.
async fn agree(harness: &Harness, mut payload: Value, arguments: &[&str]) {
    payload["raw"] = true.into();
    let ours = printed(&harness.success(&Grep, payload.clone()).await);
    let theirs = rg(harness, arguments);
    assert_eq!(
        String::from_utf8_lossy(&ours),
        String::from_utf8_lossy(&theirs),
        "{payload} is not rg {arguments:?}"
    );
    assert_eq!(ours, theirs);
    assert!(!theirs.is_empty(), "rg {arguments:?} shows nothing");
}

#[tokio::test]
async fn output_equals_ripgreps() {
    let harness = tree();
    let cases: &[(Value, &[&str])] = &[
        (json!({"path": "binary.bin"}), &["needle", "binary.bin"]),
        (json!({"path": "late.bin"}), &["needle", "late.bin"]),
        (
            json!({"path": "late.bin", "output_mode": "count"}),
            &["-c", "needle", "late.bin"],
        ),
        (
            json!({"path": "late.bin", "context": 1}),
            &["--no-mmap", "-C", "1", "needle", "late.bin"],
        ),
        (json!({"path": ".hidden"}), &["needle", ".hidden"]),
        (json!({"path": "b.log"}), &["needle", "b.log"]),
        (json!({"path": "build"}), &["needle", "build"]),
        (json!({}), &["needle"]),
        (json!({"path": "."}), &["needle", "."]),
        (json!({"path": "a"}), &["needle", "a"]),
        (json!({"path": "a/"}), &["needle", "a/"]),
        (json!({"path": "./a"}), &["needle", "./a"]),
        (json!({"path": "a/../a"}), &["needle", "a/../a"]),
        (json!({"path": "a.txt"}), &["needle", "a.txt"]),
        (json!({"path": "link.txt"}), &["needle", "link.txt"]),
        (json!({"path": "utf16.txt"}), &["needle", "utf16.txt"]),
        (
            json!({"path": "a.txt", "output_mode": "count"}),
            &["-c", "needle", "a.txt"],
        ),
        (
            json!({"path": "a.txt", "output_mode": "files_with_matches"}),
            &["-l", "needle", "a.txt"],
        ),
        (json!({"-i": true}), &["-i", "needle"]),
        (
            json!({"output_mode": "files_with_matches"}),
            &["-l", "needle"],
        ),
        (json!({"output_mode": "count"}), &["-c", "needle"]),
        (
            json!({"-i": true, "output_mode": "count"}),
            &["-i", "-c", "needle"],
        ),
        (json!({"glob": "*.rs"}), &["-g", "*.rs", "needle"]),
        (
            json!({"glob": ["*.txt", "!a*"]}),
            &["-g", "*.txt", "-g", "!a*", "needle"],
        ),
        (
            json!({"glob": "a/**", "path": "."}),
            &["-g", "a/**", "needle", "."],
        ),
        (json!({"glob": "/a.txt"}), &["-g", "/a.txt", "needle"]),
        (json!({"hidden": true}), &["--hidden", "needle"]),
        (json!({"context": 1}), &["-C", "1", "needle"]),
        (json!({"-C": 3, "path": "."}), &["-C", "3", "needle", "."]),
        (json!({"-A": 2}), &["-A", "2", "needle"]),
        (json!({"-B": 2, "path": "a"}), &["-B", "2", "needle", "a"]),
        (
            json!({"path": "a.txt", "context": 1}),
            &["-C", "1", "needle", "a.txt"],
        ),
    ];
    for (payload, arguments) in cases {
        let mut payload = payload.clone();
        payload["pattern"] = "needle".into();
        agree(&harness, payload, arguments).await;
    }
}

#[tokio::test]
async fn patterns_mean_what_they_mean_to_ripgrep() {
    let harness = tree();
    for pattern in [
        "^a needle",
        "needle$",
        r"\bn\w+e\b",
        "(?i)NEEDLE",
        "caf.",
        "",
        r"^$",
        "é|x",
    ] {
        let ours = harness
            .run(&Grep, json!({"pattern": pattern, "raw": true}))
            .await;
        let Verdict::Done(ours) = ours else {
            panic!("{ours:?}")
        };
        let ours = printed(&ours.result);
        assert!(ours == rg(&harness, &["-e", pattern]), "{pattern}");
    }
}

#[tokio::test]
async fn an_absolute_path_inside_is_shown_as_given() {
    let harness = tree();
    let root = harness.root().canonicalize().expect("there");
    let path = root.to_str().expect("is UTF-8");
    agree(
        &harness,
        json!({"pattern": "needle", "path": path}),
        &["needle", path],
    )
    .await;
}

#[tokio::test]
async fn a_search_in_parts_prints_what_the_whole_prints() {
    let harness = tree();
    let parts = search_in_parts(&harness, 0).await;
    assert_eq!(parts.concat(), rg(&harness, &["needle", "."]));
}

#[tokio::test]
async fn parts_with_context_are_joined_by_a_separator() {
    let harness = tree();
    let mut parts = search_in_parts(&harness, 2).await;
    parts.retain(|part| !part.is_empty());
    assert!(parts.len() > 2, "{}", parts.len());
    let whole = parts.join(b"--\n".as_slice());
    assert_eq!(whole, rg(&harness, &["-C", "2", "needle", "."]));
}

/// What each of several tasks prints, each for its part of the files.
async fn search_in_parts(harness: &Harness, context: usize) -> Vec<Vec<u8>> {
    let listed = harness.success(&ListFiles, json!({"path": "."})).await;
    let listed = listed["files"].as_array().expect("is a list");
    let mut parts = Vec::new();
    for pair in listed.chunks(2) {
        let paths: Vec<_> = pair.iter().map(|file| file[0].clone()).collect();
        let mut payload = json!({"pattern": "needle", "paths": paths, "raw": true});
        payload["context"] = context.into();
        let result = harness.success(&Grep, payload).await;
        assert_eq!(result["files_searched"], pair.len());
        parts.push(printed(&result));
    }
    parts
}

#[tokio::test]
async fn matches_have_path_line_and_text() {
    let harness = tree();
    let payload = json!({"pattern": "needle", "glob": ["crlf.txt", "a.txt"]});
    let result = harness.success(&Grep, payload).await;
    let matches = json!([
        {"path": "a.txt", "line": 1, "text": "one needle"},
        {"path": "crlf.txt", "line": 2, "text": "a needle"},
    ]);
    assert_eq!(result["matches"], matches);
    assert_eq!(result["matched_lines"], 2);
    assert_eq!(result["files_matched"], 2);
    assert_eq!(result["truncated"], false);
}

#[tokio::test]
async fn the_other_modes_list_files_and_counts() {
    let harness = tree();
    let mut payload = json!({"pattern": "needle", "path": "a", "output_mode": "count"});
    let result = harness.success(&Grep, payload.clone()).await;
    let counts = json!([{"path": "a/keep.log", "count": 1}, {"path": "a/x.rs", "count": 4}]);
    assert_eq!(result["counts"], counts);
    payload["output_mode"] = "files_with_matches".into();
    let result = harness.success(&Grep, payload).await;
    assert_eq!(result["files"], json!(["a/keep.log", "a/x.rs"]));
    assert_eq!(result["matches"], Value::Null);
}

#[tokio::test]
async fn a_limit_ends_the_search_and_is_said() {
    let harness = tree();
    let payload = json!({"pattern": "needle", "path": "a", "limit": 3});
    let result = harness.success(&Grep, payload).await;
    assert_eq!(result["matches"].as_array().map(Vec::len), Some(3));
    assert_eq!(result["truncated"], true);
}

#[tokio::test]
async fn long_output_is_cut_for_a_reader_and_refused_for_a_program() {
    let harness = tree();
    let payload = json!({"pattern": "needle"});
    let result = harness.success(&Grep, payload).await;
    let output = result["output"].as_str().expect("is text");
    assert!(output.len() < 101 * 1024, "{}", output.len());
    assert_eq!(result["truncated"], true);
    let payload = json!({"pattern": "needle", "raw": true, "max_output_bytes": 1000});
    let (error, _) = harness.failure(&Grep, payload).await;
    assert!(error.contains("over 1000 bytes"), "{error}");
}

#[tokio::test]
async fn a_malformed_pattern_is_told_as_ripgrep_tells_it() {
    let harness = tree();
    let done = harness.done(&Grep, json!({"pattern": "a(b"})).await;
    let error = done.error.expect("it failed");
    assert!(error.contains("regex parse error"), "{error}");
    assert!(error.contains("unclosed group"), "{error}");
    assert_eq!(done.error_kind, Some(ErrorKind::InvalidInput));
}

#[tokio::test]
async fn a_missing_path_fails_and_a_missing_file_of_a_list_does_not() {
    let harness = tree();
    let payload = json!({"pattern": "needle", "path": "none"});
    let (error, _) = harness.failure(&Grep, payload).await;
    assert_eq!(error, "none: No such file or directory (os error 2)");
    let payload = json!({"pattern": "needle", "paths": ["none", "a.txt", "../x"]});
    let result = harness.success(&Grep, payload).await;
    assert_eq!(result["matched_lines"], 1);
    let errors = result["errors"].as_array().expect("is a list");
    assert_eq!(errors.len(), 2, "{errors:?}");
}

#[tokio::test]
async fn a_stopped_search_says_so() {
    let harness = tree();
    harness.stop(StopReason::Cancelled);
    let done = harness.done(&Grep, json!({"pattern": "needle"})).await;
    assert!(!done.success);
    assert_eq!(done.error_kind, Some(ErrorKind::Cancelled));
}
