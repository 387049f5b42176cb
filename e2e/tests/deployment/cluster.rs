//! `deploy/cluster`: three servers that write through, and lose the one that matters most.

use std::time::{Duration, Instant};

use a3s_testkit::eventually;
use serde_json::Value;

use crate::load::Load;
use crate::nodes::Nodes;
use crate::{BOUND, shipped};

/// After how long the next results must be here when a server was killed: a new leader is there
/// after some seconds, and a lease of three may have to run out. The rest is for busy machines.
const GOES_ON_WITHIN: Duration = Duration::from_secs(90);

/// How many results show that work goes on.
const SOME: usize = 40;

#[tokio::test]
async fn the_shipped_cluster_goes_on_without_the_server_that_leads_and_loses_nothing() {
    let mut nodes = Nodes::start().await;
    let mut load = Load::start(&nodes).await;
    load.goes_on(SOME).await;
    what_keda_asks_for_is_there(&nodes).await;
    for _ in 0..2 {
        let leader = nodes.leader().await;
        nodes.kill(leader);
        let killed = Instant::now();
        load.goes_on(SOME).await;
        let took = killed.elapsed();
        println!("{SOME} results {took:?} after SIGKILL of the leader");
        assert!(took < GOES_ON_WITHIN, "work went on after {took:?}");
        nodes.start_again(leader).await;
    }
    load.is_done().await;
}

/// The lag by which `deploy/kubernetes/keda` scales: its streams and consumers exist under the
/// names that it has, and while tasks wait and run it is more than nothing.
async fn what_keda_asks_for_is_there(nodes: &Nodes) {
    let manifest = shipped("kubernetes/keda/scaled-object.yaml");
    let manifest = std::fs::read_to_string(manifest).expect("it is readable");
    let named = |key: &str| -> Vec<String> {
        let lines = manifest.lines().map(str::trim);
        let values = lines.filter_map(|line| line.strip_prefix(key)?.strip_prefix(": "));
        values
            .map(|value| value.trim_matches('"').to_owned())
            .collect()
    };
    let pairs: Vec<_> = named("stream").into_iter().zip(named("consumer")).collect();
    assert_eq!(pairs.len(), 3, "a lane each: {pairs:?}");
    for (stream, consumer) in &pairs {
        let what = format!("{consumer} of {stream}");
        eventually(&what, BOUND, async || lag(nodes, stream, consumer).await).await;
    }
    let (stream, query) = &pairs[0];
    eventually("a lag under load", BOUND, async || {
        let lag = lag(nodes, stream, query).await?;
        (lag > 0).then_some(()).ok_or_else(|| "no lag".to_owned())
    })
    .await;
}

/// What waits and runs, as KEDA counts it: at the server that leads the consumer.
async fn lag(nodes: &Nodes, stream: &str, consumer: &str) -> Result<u64, String> {
    for n in nodes.up() {
        let all = nodes
            .ask(n, "/jsz?acc=$G&consumers=true&config=true")
            .await?;
        let streams = &all["account_details"][0]["stream_detail"];
        let Some(stream) = find(streams, stream) else {
            continue;
        };
        let found = find(&stream["consumer_detail"], consumer);
        let leads = |one: &&Value| one["cluster"]["leader"] == format!("n{n}");
        if let Some(found) = found.filter(leads) {
            let count = |field: &str| found[field].as_u64().unwrap_or_default();
            return Ok(count("num_pending") + count("num_ack_pending"));
        }
    }
    Err(format!("nobody leads {consumer} of {stream}"))
}

fn find<'a>(list: &'a Value, name: &str) -> Option<&'a Value> {
    list.as_array()?.iter().find(|one| one["name"] == name)
}
