//! `docker stop` of workers that are at work: what they do is finished or handed back.

use std::time::Instant;

use crate::docker::{answers, docker, output_of};
use crate::images::Images;
use crate::load::Load;
use crate::stack::{Stack, inspect};

/// How many results must come before, between and after the stops.
const SOME: usize = 30;

#[tokio::test(flavor = "multi_thread")]
async fn docker_stop_of_every_worker_in_turn_under_load_loses_nothing() {
    if !answers() {
        eprintln!("SKIPPED: docker stop under load, because no Docker engine answers");
        return;
    }
    let images = Images::shared();
    let stack = Stack::up_with(&images, "a3s-drain", &[("A3S_WORKSPACE_MODE", "rw")]);
    stack.both_workers_are_there().await;
    let mut load = Load::start(&stack);
    load.goes_on(SOME).await;
    for worker in stack.containers("worker") {
        let stopping = worker.clone();
        load.during(on_a_thread(move || stop(&stopping))).await;
        // The other one does the work of both.
        load.goes_on(SOME).await;
        load.during(on_a_thread(move || {
            output_of(&mut docker(["start", &worker]));
        }))
        .await;
        load.during(stack.both_workers_are_there()).await;
        load.goes_on(SOME).await;
    }
    load.ends_well(&stack).await;
    stack.down();
}

/// Stops a container, which ends by itself, in order, within compose's time of grace.
fn stop(container: &str) {
    let began = Instant::now();
    output_of(&mut docker(["stop", container]));
    let took = began.elapsed();
    // 137 would be Docker's SIGKILL at the end of the time of grace.
    let end = inspect(container, "{{.State.Status}} {{.State.ExitCode}}");
    assert_eq!(end, "exited 0", "after {took:?}");
    println!("docker stop took {took:?}");
}

/// Blocking work, while the load goes on.
async fn on_a_thread(work: impl FnOnce() + Send + 'static) {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|failure| std::panic::resume_unwind(failure.into_panic()));
}
