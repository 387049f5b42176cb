//! A hub and two regions on hosts of their own, 40 and 150 ms away: what runs where, what crosses
//! the link, and what is left of it all when the link or the hub is gone for a while.

mod batch;
mod example;
mod measure;
mod permissions;
mod world;

use std::time::Duration;

use a3s_shared::protocol::Presence;
use a3s_testkit::eventually;
use batch::Batch;
use tokio::time::{Instant, sleep};
use world::{BOUND, World};

/// How soon a region is to ask for tasks again once its link is back.
const REARMED_WITHIN: Duration = Duration::from_secs(2);

/// How long the hub is gone: longer than a lease.
const HUB_DOWN: Duration = Duration::from_secs(5);

/// How long a link is cut: longer than both its ends need to notice. `A3S_REGION_CUT` sets another
/// number of seconds.
fn cut() -> Duration {
    let seconds = std::env::var("A3S_REGION_CUT").ok();
    Duration::from_secs(seconds.and_then(|s| s.parse().ok()).unwrap_or(20))
}

#[tokio::test]
async fn tasks_that_are_pinned_to_a_region_run_only_there() {
    let Some(world) = World::start().await else {
        return;
    };
    for pool in ["eu", "ap"] {
        world.hub.run(&["pool", pool, "--policy", "any"]).await;
    }
    let _eu = world.eu.worker("eu-1", &["--pool", "eu"]).await;
    let _ap = world.ap.worker("ap-1", &["--pool", "ap"]).await;
    let _hub = world.hub.worker("hub-1", world.eu.workspace(), &[]).await;
    let outcome = Batch::start(&world, "eu", 40, 0.02, &["-j", "20"]);
    let outcome = outcome.end().await;
    assert_eq!((outcome.of("eu"), outcome.repeated), (40, 0));
    let outcome = Batch::start(&world, "ap", 20, 0.02, &["-j", "20"]);
    let outcome = outcome.end().await;
    assert_eq!((outcome.of("ap"), outcome.repeated), (20, 0));
}

#[tokio::test]
async fn nothing_crosses_while_a_nearer_worker_has_a_free_slot() {
    let Some(world) = World::start().await else {
        return;
    };
    world.hub.run(&["pool", "web", "--policy", "near"]).await;
    let pool = ["--pool", "web", "-j", "4", "--distance"];
    let _ap = world.ap.worker("ap-1", &[&pool[..], &["5"]].concat()).await;
    let _eu = world.eu.worker("eu-1", &[&pool[..], &["0"]].concat()).await;
    let shown = world.hub.run(&["pool", "web"]).await;
    assert!(shown.starts_with("pool web: near"), "{shown}");
    settled(&world, "eu-1").await;

    // All slots of the near worker at once, from nothing.
    let burst = Batch::start(&world, "web", 4, 0.5, &["-j", "4"]);
    assert_eq!(burst.end().await.of("eu"), 4);
    // Slots that come and go, longer than pulls wait at the broker.
    let stream = Batch::start(&world, "web", 80, 0.3, &["-j", "2"]);
    assert_eq!(stream.end().await.of("eu"), 80);
    // More than it has slots.
    let flood = Batch::start(&world, "web", 40, 0.3, &["-j", "16"]);
    let flood = flood.end().await;
    assert!(
        flood.of("eu") > 0 && flood.of("ap") > 0,
        "{:?}",
        flood.by_worker
    );
}

#[tokio::test]
async fn a_helper_gets_nothing_below_its_threshold_and_helps_above_it() {
    let Some(world) = World::start().await else {
        return;
    };
    world
        .hub
        .run(&["pool", "web", "--policy", "overflow"])
        .await;
    let pool = ["--pool", "web", "-j"];
    let _eu = world.eu.worker("eu-1", &[&pool[..], &["1"]].concat()).await;
    let helps = ["4", "--help-when", "5"];
    let _ap = world.ap.worker("ap-1", &[&pool[..], &helps].concat()).await;
    // Four at the broker: less than five can wait.
    let few = Batch::start(&world, "web", 30, 0.1, &["-j", "4"]);
    assert_eq!(few.end().await.of("eu"), 30);
    // One runs, and five wait until the helper takes one.
    let many = Batch::start(&world, "web", 60, 0.1, &["-j", "6"]);
    let many = many.end().await;
    assert!(
        many.of("eu") > 0 && many.of("ap") > 0,
        "{:?}",
        many.by_worker
    );
}

#[tokio::test]
async fn a_region_whose_link_was_cut_goes_on_when_it_heals() {
    let Some(world) = World::start().await else {
        return;
    };
    world.hub.run(&["pool", "eu", "--policy", "any"]).await;
    let options = ["--pool", "eu", "-j", "4"];
    let _one = world.eu.worker("eu-1", &options).await;
    let _two = world.eu.worker("eu-2", &options).await;
    let batch = Batch::start(&world, "eu", 500, 0.1, &["-j", "500"]);
    batch.until(50).await;
    let links = world.eu.links();
    world.eu.cut();
    sleep(cut()).await;
    let before = batch.starts();
    world.eu.heal();
    goes_on(&world, &batch, links, before).await;
    let outcome = batch.end().await;
    assert_eq!(outcome.of("eu"), 500);
    // At most what the eight slots held, twice: with the leases of both.
    assert!(outcome.repeated <= 16, "{} repeated", outcome.repeated);
}

#[tokio::test]
async fn a_region_outlives_its_hub() {
    let Some(mut world) = World::start().await else {
        return;
    };
    world.hub.run(&["pool", "eu", "--policy", "any"]).await;
    let _eu = world.eu.worker("eu-1", &["--pool", "eu", "-j", "8"]).await;
    let batch = Batch::start(&world, "eu", 500, 0.1, &["-j", "500"]);
    batch.until(50).await;
    let links = world.eu.links();
    world.hub.kill();
    sleep(HUB_DOWN).await;
    let before = batch.starts();
    world.hub.start_again().await;
    goes_on(&world, &batch, links, before).await;
    let outcome = batch.end().await;
    assert_eq!(outcome.of("eu"), 500);
    assert!(outcome.repeated <= 16, "{} repeated", outcome.repeated);
}

/// Waits until a region starts tasks again, beyond the `before` that it had started when its link
/// was healed.
async fn goes_on(world: &World, batch: &Batch, links: usize, before: usize) {
    let healed = Instant::now();
    world.eu.is_linked_again(links).await;
    let linked = Instant::now();
    eventually("a task that starts", BOUND, || {
        let more = batch.starts() > before;
        std::future::ready(more.then_some(()).ok_or("none"))
    })
    .await;
    let (link, rearmed) = (linked - healed, linked.elapsed());
    eprintln!("the link was back after {link:?}, the first task started {rearmed:?} later");
    assert!(rearmed <= REARMED_WITHIN, "at work only after {rearmed:?}");
}

/// Waits until a worker's pulls wait at the broker: what tells is their heartbeat, two seconds on.
async fn settled(world: &World, worker: &str) {
    eventually("a worker whose pulls wait", BOUND, || async {
        let workers = world.hub.run(&["workers", "--json"]).await;
        let waits = workers.lines().any(|line| {
            let presence: Presence = serde_json::from_str(line).expect("a heartbeat");
            presence.worker_id == worker && presence.last_pull_ms >= presence.started_at_ms + 1_900
        });
        waits.then_some(()).ok_or(workers)
    })
    .await;
}
