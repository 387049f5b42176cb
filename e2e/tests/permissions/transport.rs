//! TLS on both sides, and a region behind its leaf.

use a3s_testkit::Process;

use crate::BOUND;
use crate::installation::{Installation, start_server};

#[tokio::test(flavor = "multi_thread")]
async fn with_tls_both_sides_show_a_certificate_of_the_installation() {
    let mut installation = Installation::new(&["--tls"]).await.with_streams().await;
    let worker = installation.worker("worker-pool-default").await;
    installation
        .done("coordinator", &["submit", "ls", "{}"])
        .await;
    drop(worker);

    // The key alone is not enough: the certificate belongs to it.
    let key = installation.dir().join("keys/coordinator.nk");
    let mut without = Process::of("a3s-coordinator")
        .args(["workers", "--nats-url", installation.url(), "--nkey"])
        .arg(key)
        .start();
    let status = without.wait(BOUND).await;
    assert_eq!(status.code(), Some(3), "{}", without.stderr());
    assert!(without.stderr().contains("--tls-c"), "{}", without.stderr());
    assert!(installation.is_up(), "the server is as it was");
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_of_a_region_work_through_their_leaf_with_their_keys() {
    let port = free_port();
    let listen = format!("127.0.0.1:{port}");
    let options = [
        "--region",
        "eu",
        "--leaf-listen",
        &listen,
        "--host",
        "127.0.0.1",
    ];
    let installation = Installation::new(&options).await.with_streams().await;
    // Where a region has its own machine, this one has other servers too.
    let conf = installation.dir().join("leaf-eu.conf");
    let text = std::fs::read_to_string(&conf).expect("the leaf's configuration");
    std::fs::write(&conf, text.replace("127.0.0.1:4222", "127.0.0.1:-1")).expect("it is written");
    let (leaf, url) = start_server(installation.dir(), "leaf-eu.conf").await;

    let worker = installation
        .process_at("a3s-worker", "worker-pool-eu", &url)
        .args(["-j", "2", "--workspace"])
        .arg(installation.workspace())
        .start();
    worker.wait_for("ready for tasks", BOUND).await;
    let submit = ["submit", "ls", "{}", "--pool", "eu", "--timeout", "100s"];
    installation.done("coordinator", &submit).await;
    assert!(!worker.stderr().contains("may not"), "{}", worker.stderr());
    drop(leaf);
}

/// A port that was free a moment ago. The configuration names it before a server has it.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}
