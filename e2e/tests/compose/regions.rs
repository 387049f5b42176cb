//! The two regions of `compose.yaml`: their workers reach the server of their region alone, and
//! do what is meant for their pool.

use a3s_testkit::eventually;
use serde_json::Value;

use crate::docker::answers;
use crate::images::Images;
use crate::stack::{BOUND, Stack, inspect};

static REGIONS: [(&str, &str); 2] = [
    ("COMPOSE_PROFILES", "regions"),
    ("A3S_LEAF_PASSWORD", "leaf5e1a0b2c"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_task_for_a_region_is_done_there_and_its_workers_reach_nothing_else() {
    if !answers() {
        eprintln!("SKIPPED: the regions of compose.yaml, because no Docker engine answers");
        return;
    }
    let images = Images::shared();
    let stack = Stack::up_with(&images, "a3s-regions", &REGIONS);
    four_workers_are_there(&stack).await;
    for region in ["eu", "ap"] {
        let worker = stack.container(&format!("worker-{region}"));
        let done = bash(&stack, region, "hostname");
        assert_eq!(done["success"], true, "{done}");
        let here = inspect(&worker, "{{.Config.Hostname}}");
        assert_eq!(done["result"]["stdout"], format!("{here}\n"), "{region}");

        let near = bash(&stack, region, &greeting_of(&format!("nats-{region}")));
        assert_eq!(near["result"]["stdout"], "INFO", "{near}");
        let far = bash(&stack, region, &greeting_of("nats"));
        assert_eq!(far["result"]["stdout"], "", "{far}");
    }
    stack.down();
}

#[test]
fn regions_without_a_password_do_not_start() {
    if !answers() {
        eprintln!("SKIPPED: the regions of compose.yaml, because no Docker engine answers");
        return;
    }
    let images = Images::shared();
    let stack = Stack::not_started(&images, "a3s-open", &REGIONS[..1]);
    for service in ["nats", "nats-eu", "nats-ap"] {
        let refused = stack.attempt(&["run", "--rm", "-T", "--no-deps", service]);
        let said = [refused.stdout, refused.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(!refused.status.success(), "{service}: {said}");
        assert!(said.contains("A3S_LEAF_PASSWORD"), "{service}: {said}");
    }
}

async fn four_workers_are_there(stack: &Stack) {
    eventually("the workers of all regions", BOUND, async || {
        let workers = stack.coordinator(&["workers", "--json"]);
        let four = workers.lines().count() == 4;
        four.then_some(()).ok_or(workers)
    })
    .await;
}

/// The first four letters that a server says to whoever calls it, or nothing.
fn greeting_of(server: &str) -> String {
    format!("timeout 10 nc {server} 4222 </dev/null | head -c 4")
}

fn bash(stack: &Stack, pool: &str, command: &str) -> Value {
    let payload = serde_json::json!({ "command": command }).to_string();
    let result = stack.submit(&["--pool", pool, "--json", "bash", &payload]);
    serde_json::from_str(&result).expect("the result is JSON")
}
