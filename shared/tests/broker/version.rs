//! A server that would lose dead letters is refused, with the way out.

use std::path::{Path, PathBuf};
use std::process::Command;

use a3s_shared::runtime::nats_server::{Launch, NatsServer};
use a3s_shared::runtime::{ConnectOptions, Role, connect};
use tempfile::TempDir;

/// Debian's nats-server 2.9, unpacked below `dir`; `None` where it is not to be had.
fn unpack_old_server(dir: &Path) -> Option<PathBuf> {
    let run = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        let done = command.args(arguments).current_dir(dir).output();
        done.is_ok_and(|output| output.status.success())
    };
    let newest_2_9 = "nats-server=2.9.*";
    run("apt-get", &["download", newest_2_9]).then_some(())?;
    let mut files = std::fs::read_dir(dir).ok()?.filter_map(Result::ok);
    let package = files.find(|file| file.path().extension().is_some_and(|x| x == "deb"))?;
    run("dpkg", &["-x", package.path().to_str()?, "."]).then_some(())?;
    let places = ["usr/sbin/nats-server", "usr/bin/nats-server"];
    let mut places = places.into_iter().map(|place| dir.join(place));
    places.find(|place| place.is_file())
}

#[tokio::test]
async fn the_server_of_debian_stable_is_refused_with_the_way_to_a_better_one() {
    let dir = TempDir::new().expect("a temporary directory");
    let Some(binary) = unpack_old_server(dir.path()) else {
        eprintln!("SKIPPED: `apt-get download nats-server=2.9.*` brings no server here");
        return;
    };
    let config = dir.path().join("nats-server.conf");
    let store = dir.path().join("store");
    let text = format!("listen: \"127.0.0.1:-1\"\njetstream {{ store_dir: {store:?} }}\n");
    std::fs::write(&config, text).expect("a configuration");
    let launch = Launch {
        binary,
        config,
        ports_dir: dir.path().join("ports"),
        log: dir.path().join("log"),
        hold: None,
    };
    let server = NatsServer::launch(launch).await.expect("it starts");
    let refused = connect(&ConnectOptions::to(server.url()), &Role::worker("test")).await;
    let message = refused.expect_err("2.9 is refused").to_string();
    let parts = [
        server.url(),
        "nats-server 2.9.",
        "2.12.9 or newer is needed",
        "lose dead letters",
        "cargo xtask nats",
        "https://nats.io/download",
    ];
    for part in parts {
        assert!(message.contains(part), "{message} lacks {part}");
    }
    server.stop().await;
}
