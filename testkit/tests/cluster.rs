//! The cluster of tests replicates, and survives the loss of one server.

use a3s_testkit::Cluster;
use async_nats::jetstream;

#[tokio::test]
async fn what_a_cluster_stored_survives_the_loss_of_its_leader() {
    let mut cluster = Cluster::start().await;
    let context = cluster.jetstream().await;
    let config = jetstream::stream::Config {
        name: "KEEP".to_owned(),
        subjects: vec!["keep".to_owned()],
        num_replicas: 3,
        ..jetstream::stream::Config::default()
    };
    context.create_stream(config).await.expect("a stream");
    let sent = context.publish("keep", "it".into()).await;
    sent.expect("it is sent").await.expect("it is stored");

    let leader = cluster.leader_of("KEEP").await;
    cluster.server(leader).kill();

    let context = cluster.jetstream().await;
    let next = a3s_testkit::eventually(
        "another leader",
        std::time::Duration::from_secs(60),
        async || {
            let stream = context
                .get_stream("KEEP")
                .await
                .map_err(|e| e.to_string())?;
            let info = stream.cached_info().clone();
            let name = info.cluster.and_then(|c| c.leader).unwrap_or_default();
            let other = !name.is_empty() && name != format!("n{leader}");
            let held = (other && info.state.messages == 1).then_some(name);
            held.ok_or_else(|| "none".to_owned())
        },
    )
    .await;
    assert_ne!(next, format!("n{leader}"));
}
