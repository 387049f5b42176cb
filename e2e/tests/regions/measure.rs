//! What a region costs: a task's time and what crosses the link, as docs/regions.md tells them.
//! `cargo test -p a3s-e2e --test regions measure -- --ignored --nocapture`

use std::time::Duration;

use a3s_testkit::{Process, eventually};
use serde_json::{Value, json};

use crate::world::{BOUND, Region, World};

/// Tasks that are measured, one after another, and those before them that are not.
const TASKS: usize = 200;
const WARM_UP: usize = 20;

#[tokio::test]
#[ignore = "a measurement: it proves nothing and takes a quiet machine"]
async fn measure_a_task_beside_the_hub_and_in_regions() {
    for round_trip in [0, 40, 150] {
        let distance = Duration::from_millis(round_trip);
        let Some(world) = World::at(distance, distance).await else {
            return;
        };
        for policy in ["any", "near"] {
            world.hub.run(&["pool", policy, "--policy", policy]).await;
            let options = ["--pool", policy, "-j", "4"];
            if round_trip == 0 {
                let dir = world.eu.workspace();
                let _direct = world.hub.worker("hub-1", dir, &options).await;
                let (time, _) = one_by_one(&world, policy).await;
                println!("beside the hub, policy {policy}: {time} ms a task");
            }
            let _worker = world.eu.worker("eu-1", &options).await;
            let (time, link) = one_by_one(&world, policy).await;
            println!("{round_trip} ms away, policy {policy}: {time} ms a task; {link}");
        }
    }
}

/// The median time from one start to the next, one task at a time, and what crossed the link for
/// each.
async fn one_by_one(world: &World, pool: &str) -> (u64, String) {
    world.file("eu/small", "a small file\n");
    let task = json!({"command_type": "read", "payload": {"path": "small"}});
    let lines = format!("{task}\n").repeat(WARM_UP + TASKS);
    let file = world.file("tasks.jsonl", &lines).display().to_string();
    let batch = world
        .hub
        .coordinator(&["batch", "-j", "1", "--pool", pool, &file]);
    results(&batch, WARM_UP).await;
    let before = traffic(&world.eu).await;
    results(&batch, WARM_UP + TASKS).await;
    let after = traffic(&world.eu).await;
    let started = |line: &str| {
        let answer: Value = serde_json::from_str(line).expect("JSON");
        answer["started_at_ms"].as_u64().expect("a time")
    };
    let starts: Vec<u64> = batch.stdout().lines().skip(WARM_UP).map(started).collect();
    let mut times: Vec<u64> = starts.windows(2).map(|pair| pair[1] - pair[0]).collect();
    times.sort_unstable();
    let each = |at: usize| (after[at] - before[at]) / TASKS as f64;
    let link = format!(
        "to the region {:.1} messages, {:.0} bytes; from it {:.1} messages, {:.0} bytes",
        each(0),
        each(1),
        each(2),
        each(3)
    );
    (times[times.len() / 2], link)
}

async fn results(batch: &Process, count: usize) {
    eventually("the results", BOUND, || {
        let done = batch.stdout().lines().count();
        std::future::ready((done >= count).then_some(()).ok_or(done))
    })
    .await;
}

/// Messages and bytes to the region and from it, since its link was made.
async fn traffic(region: &Region) -> [f64; 4] {
    let body = region.monitor("leafz").await;
    let links: Value = serde_json::from_str(&body).expect("JSON");
    let fields = ["in_msgs", "in_bytes", "out_msgs", "out_bytes"];
    fields.map(|field| links["leafs"][0][field].as_f64().unwrap_or_default())
}
