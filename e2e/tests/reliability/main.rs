//! A coordinator and workers, as users start them, while what is between them breaks: every task
//! has one result in the end, and nothing waits for ever.

mod large;
mod stage;

use std::net::TcpListener;
use std::time::Duration;

use a3s_testkit::{Cluster, Proxy, Server, eventually};
use stage::{BOUND, Stage, TASKS};

/// How long a link is down: longer than the lease of what is under way.
const DOWN: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_server_that_restarts_and_dies_under_load_loses_nothing() {
    let mut server = Server::start().await;
    let stage = Stage::new();
    let _workers = [
        stage.worker(server.url(), &[]).await,
        stage.worker(server.url(), &[]).await,
    ];
    let mut batch = stage.batch(server.url());
    batch.until(TASKS / 10).await;
    server.restart().await;
    batch.until(TASKS / 2).await;
    server.kill();
    server.start_again().await;
    batch.is_done().await;
}

#[tokio::test]
async fn a_cluster_that_loses_its_leader_under_load_loses_nothing() {
    let mut cluster = Cluster::start().await;
    let stage = Stage::replicated();
    let _worker = stage.worker(&cluster.url(), &[]).await;
    let mut batch = stage.batch(&cluster.url());
    batch.until(TASKS / 10).await;
    let leader = cluster.leader_of("A3S_TASKS").await;
    cluster.server(leader).kill();
    batch.until(TASKS / 2).await;
    cluster.server(leader).start_again().await;
    batch.is_done().await;
}

#[tokio::test]
async fn a_worker_leaves_a_lame_duck_for_another_server() {
    let mut cluster = Cluster::start().await;
    let stage = Stage::replicated();
    let first = cluster.server(0).url().to_owned();
    // It is told of one server only; of the others it hears from that one.
    let worker = stage.worker(&first, &[]).await;
    let mut batch = stage.batch(&cluster.url());
    batch.until(TASKS / 10).await;
    cluster.server(0).lame_duck();
    worker.wait_for("the broker is about to stop", BOUND).await;
    batch.is_done().await;
}

/// A hub whose JetStream is domain `hub`, a leaf without any, and the link between them.
struct Region {
    hub: Server,
    link: Proxy,
    leaf: Server,
    _store: tempfile::TempDir,
}

async fn region() -> Region {
    let port = free_port();
    let store = tempfile::tempdir().expect("a temporary directory");
    let hub = Server::builder()
        .without_jetstream()
        .config(&format!(
            "jetstream {{ domain: hub, store_dir: {:?}, max_file_store: 256GB }}",
            store.path()
        ))
        .config(&format!("leafnodes {{ listen: \"127.0.0.1:{port}\" }}"));
    let hub = hub.start().await;
    let link = Proxy::to(&format!("nats://127.0.0.1:{port}")).await;
    let remote = format!(
        "leafnodes {{ reconnect: 1, remotes: [{{ url: {:?} }}] }}",
        link.url()
    );
    let leaf = Server::builder()
        .without_jetstream()
        .config(&remote)
        .start()
        .await;
    eventually("the link", BOUND, || {
        let open = link.connections();
        std::future::ready((open > 0).then_some(()).ok_or("none"))
    })
    .await;
    Region {
        hub,
        link,
        leaf,
        _store: store,
    }
}

#[tokio::test]
async fn a_leaf_whose_link_is_cut_goes_on_when_it_is_back() {
    let region = region().await;
    let stage = Stage::new();
    let _worker = stage
        .worker(region.leaf.url(), &["--js-domain", "hub"])
        .await;
    let mut batch = stage.batch(region.hub.url());
    batch.until(TASKS / 10).await;
    region.link.cut();
    tokio::time::sleep(DOWN).await;
    region.link.heal();
    batch.is_done().await;
}

#[tokio::test]
async fn a_worker_that_starts_before_the_link_of_its_region_waits_for_it() {
    let region = region().await;
    region.link.cut();
    let stage = Stage::new();
    let worker = stage.worker(region.leaf.url(), &["--js-domain", "hub"]);
    let heal = async {
        tokio::time::sleep(DOWN).await;
        region.link.heal();
    };
    let (_worker, ()) = tokio::join!(worker, heal);
    stage.batch(region.hub.url()).is_done().await;
}

#[tokio::test]
async fn a_half_open_connection_is_found_out_on_both_sides() {
    let server = Server::start().await;
    let stage = Stage::new();
    let (near, far) = (Proxy::to(server.url()).await, Proxy::to(server.url()).await);
    let _worker = stage.worker(far.url(), &[]).await;
    let mut batch = stage.batch(near.url());
    batch.until(TASKS / 10).await;
    for link in [&near, &far] {
        link.blackhole();
        tokio::time::sleep(DOWN).await;
        link.heal();
    }
    batch.is_done().await;
}

#[tokio::test]
async fn a_coordinator_that_was_too_slow_to_read_gets_its_results_all_the_same() {
    // A server that gives up soon on who does not read.
    let server = Server::builder().config("write_deadline: \"500ms\"");
    let server = server.start().await;
    let stage = Stage::new();
    let _worker = stage.worker(server.url(), &[]).await;
    // All at once and almost 200 KB a result: far more than the buffers of sockets hold.
    let wide = "head -c 90000 /dev/zero | tr '\\0' x; echo";
    let mut batch = stage.batch_with(server.url(), wide, &["--jobs", "200"]);
    batch.until(TASKS / 10).await;
    batch.0.stop_process();
    eventually("the server gave up on it", BOUND, || {
        let log = std::fs::read_to_string(server.dir().join("nats-server.log"));
        let seen = log.unwrap_or_default().contains("Slow Consumer");
        std::future::ready(seen.then_some(()).ok_or("it has not yet"))
    })
    .await;
    batch.0.continue_process();
    batch.is_done().await;
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr();
    address.expect("a bound socket has an address").port()
}
