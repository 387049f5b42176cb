//! Processes that tests start: found, captured, bounded, and gone afterwards.

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use a3s_testkit::Process;

/// Far more than anything here takes on a busy machine.
const SOON: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_program_of_the_workspace_is_built_and_its_output_kept() {
    let mut recipes = Process::of("xtask").arg("--help").start();
    let status = recipes.wait(SOON).await;
    assert!(status.success(), "{status}");
    assert!(
        recipes.stdout().contains("nats-server"),
        "{}",
        recipes.stdout()
    );
}

#[tokio::test]
async fn a_process_reads_its_input_until_the_test_ends_it() {
    let mut cat = Process::at("cat").start();
    let mut input = cat.stdin().expect("not taken yet");
    input.write_all(b"one line\n").expect("cat reads");
    cat.wait_for("one line", SOON).await;
    assert!(cat.is_running());
    drop(input);
    assert!(cat.wait(SOON).await.success());
}

#[tokio::test]
async fn a_frozen_process_ends_only_when_it_goes_on_or_is_killed() {
    let mut frozen = Process::at("sleep").arg("1000").start();
    frozen.stop_process();
    frozen.terminate();
    assert!(frozen.is_running(), "a frozen process handles no SIGTERM");
    frozen.continue_process();
    let status = frozen.wait(SOON).await;
    assert_eq!(status.signal(), Some(15), "{status}");
}

#[tokio::test]
#[should_panic(expected = "will never come")]
async fn waiting_for_the_words_of_a_dead_process_fails_at_once() {
    let process = Process::at("true").start();
    process.wait_for("a word", SOON).await;
}
