//! Files: what is outside of the roots stays as it is and unread, and what is inside works.

use std::os::unix::fs::symlink;
use std::path::Path;

use a3s_shared::protocol::Outcome;

use super::caged::{Caged, SECRET};

#[tokio::test]
async fn a_command_reads_nothing_outside_of_the_roots() {
    let caged = Caged::start("").await;
    if !caged.held_by("landlock") {
        return;
    }
    let (outside, secret) = (caged.outside().display(), caged.secret());
    let secret = secret.display();
    let up = "../../../../../../../../../..";
    for attempt in [
        format!("cat {secret}"),
        format!("cat {up}{secret}"),
        format!("cd / && cat .{secret}"),
        format!("cat /proc/self/root{secret}"),
        format!("cat /proc/self/cwd/{up}{secret}"),
        format!("cat /proc/$PPID/root{secret}; cat /proc/$PPID/cwd{secret}"),
        format!("ln -s {secret} link; cat link"),
        format!("ln {secret} hard; cat hard"),
        format!("mv {secret} moved; cat moved"),
        format!("cp -r {outside} copied; cat copied/*"),
        format!("exec 7<{secret}; cat <&7"),
        format!("perl -e 'open(F, \"<\", \"{secret}\") or die $!; print <F>'"),
        "cat /etc/shadow; cat ~root/.ssh/*; ls /root /home /var /opt".to_owned(),
    ] {
        let result = caged.keeps_secret(&attempt).await;
        assert_eq!(result.outcome(), Outcome::Failed, "{attempt}: {result:#?}");
    }
    let denied = caged.keeps_secret(&format!("cat {secret}")).await;
    let error = denied.error.unwrap_or_default();
    assert!(error.contains("\"paths.read\""), "{error}");
    assert_eq!(
        caged
            .output(&format!("ls {outside} 2>/dev/null || echo no"))
            .await,
        "no\n"
    );
}

#[tokio::test]
async fn a_command_writes_nothing_outside_of_the_roots() {
    let caged = Caged::start("[paths]\nread = [\".\"]\nwrite = [\"out\"]").await;
    if !caged.held_by("landlock") {
        return;
    }
    std::fs::write(caged.rig.workspace().join("kept"), "kept").expect("a file");
    let outside = caged.outside().display();
    for attempt in [
        format!("echo x > {outside}/made"),
        format!("echo x >> {outside}/secret"),
        format!("truncate -s 0 {outside}/secret"),
        format!("rm -f {outside}/secret"),
        format!("mkdir {outside}/made"),
        format!("mkfifo {outside}/made"),
        format!("ln -s x {outside}/made"),
        format!("mv {outside}/secret {outside}/made"),
        format!("cp kept {outside}/made"),
        format!("echo x > /proc/self/root{outside}/made"),
        "echo x > kept".to_owned(),
        "echo x > made".to_owned(),
        "rm kept".to_owned(),
        "ln -s .. out/up; echo x > out/up/made".to_owned(),
        "echo x > /tmp/made-by-a3s-test".to_owned(),
        "echo x > out/../made".to_owned(),
        "mknod out/disk b 8 0".to_owned(),
    ] {
        let result = caged.bash(&attempt).await;
        assert_eq!(result.outcome(), Outcome::Failed, "{attempt}: {result:#?}");
    }
    assert_eq!(caged.rig.file("kept"), "kept");
    assert!(!caged.rig.workspace().join("made").exists());
    let left = std::fs::read_dir(caged.outside()).expect("it is there");
    assert_eq!(left.count(), 2, "the secret and the policy");
    let secret = std::fs::read_to_string(caged.secret()).expect("it is there");
    assert_eq!(secret, SECRET);
    assert_eq!(
        caged.output("echo x > out/made; cat out/made kept").await,
        "x\nkept"
    );
}

#[tokio::test]
async fn a_link_that_stood_there_before_leads_nowhere() {
    let caged = Caged::start("").await;
    if !caged.held_by("landlock") {
        return;
    }
    symlink(caged.outside(), caged.rig.workspace().join("link")).expect("a link");
    caged.keeps_secret("cat link/secret; ls link").await;
    caged.bash("echo x > link/made").await;
    assert!(!caged.outside().join("made").exists());
}

#[tokio::test]
async fn ordinary_work_does_not_notice() {
    let caged = Caged::start("").await;
    for (command, expected) in [
        ("printf 'b\\na\\n' | sort | tr a-z A-Z", "A\nB\n"),
        ("echo x > /dev/null 2>&1; echo $?", "0\n"),
        ("cat <<< here; cat <<'E'\nthere\nE", "here\nthere\n"),
        ("f=$(mktemp) && echo t > $f && cat $f && rm $f", "t\n"),
        ("cat <(echo one) <(echo two)", "one\ntwo\n"),
        ("echo x | tee /dev/stderr >/dev/stdout", "x\nx\n"),
        (
            "mkdir -p a/b && echo 1 > a/b/c && mv a/b/c d && cat d && rm -r a",
            "1\n",
        ),
        ("sleep 0.01 & wait $!; echo $?", "0\n"),
        ("head -c 4 /dev/urandom | wc -c", "4\n"),
        ("cd \"$HOME\" && touch x && ls", "x\n"),
        (
            "id -u > /dev/null && date > /dev/null && uname > /dev/null; echo $?",
            "0\n",
        ),
        (
            "perl -e 'pipe(R, W); print fork() ? (wait() > 0) : exit'",
            "1",
        ),
        (
            "printf '#!/bin/sh\\necho run\\n' > s && chmod +x s && ./s",
            "run\n",
        ),
        ("ls /proc/self/fd | wc -l", "4\n"),
        (
            "grep -c processor /proc/cpuinfo > /dev/null; echo $?",
            "0\n",
        ),
    ] {
        assert_eq!(caged.output(command).await, expected, "{command}");
    }
    let git = "git init -q . && git config user.email a@b && git config user.name a && \
               echo 1 > f && git add f && git commit -qm one && git log --format=%s";
    assert_eq!(caged.output(git).await, "one\n");
    let tree = "rm -rf .git * && ls -A | wc -l";
    assert_eq!(caged.output(tree).await, "0\n");
}

#[tokio::test]
async fn a_build_needs_no_more_than_its_toolchain() {
    let Some(cargo) = std::env::var_os("CARGO") else {
        eprintln!("SKIPPED: the tests are not run by cargo");
        return;
    };
    let bin = Path::new(&cargo).parent().expect("a directory");
    let toolchain = bin.parent().expect("a directory").display();
    let caged = Caged::start(&format!("[paths]\nread = [\".\", \"{toolchain}\"]")).await;
    let bin = bin.display();
    let build = format!(
        "export PATH={bin}:$PATH && cargo init -q --vcs none --name hello . && \
         cargo run -q --offline"
    );
    assert_eq!(caged.output(&build).await, "Hello, world!\n");
}
