//! Runs every command of `docs/observing.md` with the real `nats` CLI. How the page says what is
//! to be seen stands in [`page`].

mod page;
mod stage;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use a3s_testkit::{Process, eventually};

use page::{Block, Kind, blocks};
use stage::Stage;

/// For one command on a machine that is busy with other things.
const BOUND: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn every_command_of_the_page_shows_what_the_page_says() {
    if !nats_cli_is_there() {
        return;
    }
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/observing.md");
    let page = std::fs::read_to_string(page).expect("the page is readable");
    let mut reader = Reader {
        stage: Stage::set().await,
        settings: Vec::new(),
        watching: Vec::new(),
    };
    for block in blocks(&page) {
        reader.follow(block).await;
    }
    assert!(reader.watching.is_empty(), "nothing follows the last watch");
}

/// Whether the test can run. In CI it must.
fn nats_cli_is_there() -> bool {
    let there = Command::new("nats").arg("--version").output().is_ok();
    let ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
    assert!(there || !ci, "the `nats` CLI is not installed");
    if !there {
        eprintln!("SKIPPED: docs/observing.md, because the `nats` CLI is not installed");
    }
    there
}

/// Somebody who types what stands on the page.
struct Reader {
    stage: Stage,
    /// Variables that the page has set.
    settings: Vec<(String, String)>,
    /// Terminals in which a `nats sub` runs.
    watching: Vec<(Block, Process)>,
}

impl Reader {
    async fn follow(&mut self, block: Block) {
        println!("line {}: {}", block.line, block.script);
        match block.kind() {
            Kind::Watches => return self.watch(block).await,
            Kind::Settings => self.set(&block).await,
            Kind::Acts => {
                let output = self.run(&block.script).await;
                let missing = block.missing(&output);
                assert!(
                    missing.is_empty(),
                    "{missing:?} is not in the output:\n{output}"
                );
            }
            Kind::Looks => self.look(&block).await,
        }
        for (watch, terminal) in self.watching.drain(..) {
            for text in &watch.expected {
                terminal.wait_for(text, BOUND).await;
            }
        }
    }

    async fn set(&mut self, block: &Block) {
        let output = self.run(&format!("{}\nenv", block.script)).await;
        let missing = block.missing(&output);
        assert!(missing.is_empty(), "{missing:?} is not set:\n{output}");
        let lines = output.lines().filter_map(|line| line.split_once('='));
        let ours = lines.filter(|(name, _)| name.starts_with("NATS_") || name.starts_with("A3S_"));
        self.settings = ours.map(|(a, b)| (a.to_owned(), b.to_owned())).collect();
    }

    /// `exec`, so that the process that is killed in the end is `nats` and not a shell.
    async fn watch(&mut self, block: Block) {
        let subject = block.subject().expect("a quoted subject").to_owned();
        let terminal = self.start(&format!("exec {}", block.script));
        self.stage.subscribed(&subject).await;
        self.watching.push((block, terminal));
    }

    async fn look(&self, block: &Block) {
        let what = format!("what is expected in line {}", block.line);
        eventually(&what, BOUND, async || {
            let output = self.run(&block.script).await;
            let missing = block.missing(&output);
            let all = missing.is_empty();
            all.then_some(())
                .ok_or_else(|| format!("{missing:?} is not in\n{output}"))
        })
        .await;
    }

    /// What a block prints, to both outputs.
    async fn run(&self, script: &str) -> String {
        let mut shell = self.start(script);
        let status = shell.wait(BOUND).await;
        let output = shell.stdout() + &shell.stderr();
        assert!(status.success(), "{script}: {status}\n{output}");
        output
    }

    fn start(&self, script: &str) -> Process {
        let mut shell = self.stage.shell().args(["-eu", "-c", script]);
        for (name, value) in &self.settings {
            shell = shell.env(name, value);
        }
        let mut shell = shell.start();
        drop(shell.stdin());
        shell
    }
}
