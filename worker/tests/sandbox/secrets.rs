//! The worker's credentials: not in a program's environment, not in /proc, not in a file.

use super::caged::{Caged, SECRET};

/// The server asks for nobody's name, so the worker connects with any.
async fn with_secrets(policy: &str) -> Caged {
    Caged::with(policy, |worker| {
        worker
            .env("NATS_USER", "somebody")
            .env("NATS_PASSWORD", SECRET)
            .env("OF_THE_HOST", SECRET)
    })
    .await
}

#[tokio::test]
async fn a_command_finds_no_secret_of_its_worker() {
    let caged = with_secrets("").await;
    for attempt in ["env", "declare -p", "cat /proc/self/environ"] {
        caged.keeps_secret(attempt).await;
    }
    if !caged.held_by("landlock") {
        return;
    }
    for attempt in [
        "cat /proc/$PPID/environ",
        "cat /proc/[0-9]*/environ",
        "cat /proc/[0-9]*/task/*/environ",
        "strings -a /proc/$PPID/mem; cat /proc/$PPID/mem /proc/$PPID/maps",
        "for fd in /proc/$PPID/fd/*; do timeout 1 head -c 65536 $fd; done",
        "ls -l /proc/$PPID/fd/ /proc/$PPID/map_files/",
        "perl -e 'syscall(101, 16, getppid(), 0, 0) == 0 or die $!; print qx(cat /proc/$PPID/environ)'",
    ] {
        caged.keeps_secret(attempt).await;
    }
    let links = "readlink /proc/$PPID/fd/* /proc/$PPID/exe /proc/$PPID/cwd /proc/$PPID/root";
    assert_eq!(caged.output(&format!("{links} || true")).await, "");
}

#[tokio::test]
async fn only_the_variables_of_the_policy_are_passed() {
    let caged = with_secrets("").await;
    let names = "env | cut -d= -f1 | grep -vE '^(PWD|OLDPWD|SHLVL|_|LC_.*|LANG.*)$' | sort";
    let default = caged.output(names).await;
    assert!(
        default.contains("HOME\n") && default.contains("PATH\n"),
        "{default}"
    );
    assert!(!default.contains("OF_THE_HOST"), "{default}");
    let named = with_secrets("environment = [\"PATH\", \"OF_*\"]").await;
    let seen = named.output(names).await;
    let ours = "A3S_RUN_MARK\nA3S_SESSION_ID\nA3S_TASK_ID\n";
    assert_eq!(seen, format!("{ours}HOME\nOF_THE_HOST\nPATH\nTMPDIR\n"));
}
