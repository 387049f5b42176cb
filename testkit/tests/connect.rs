//! The connection against real servers and broken networks.

use std::time::{Duration, Instant};

use a3s_shared::runtime::connect::ConnectError;
use a3s_shared::runtime::{ConnectOptions, Role, connect, offset};
use a3s_testkit::{Proxy, Server};
use async_nats::Event;
use async_nats::jetstream::stream::Config;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::sync::broadcast;
use tokio::time::timeout;

/// Far more than anything here takes on a busy machine.
const SOON: Duration = Duration::from_secs(20);

fn worker() -> Role {
    Role::worker("test")
}

async fn expect(events: &mut broadcast::Receiver<Event>, wanted: Event) {
    let seen = async { while events.recv().await.expect("the connection lives") != wanted {} };
    timeout(SOON, seen)
        .await
        .unwrap_or_else(|_| panic!("no {wanted:?}"));
}

#[tokio::test]
async fn a_cut_connection_comes_back_and_says_so() {
    let server = Server::start().await;
    let proxy = Proxy::to(server.url()).await;
    let options = ConnectOptions::to(proxy.url());
    let connection = connect(&options, &worker()).await.expect("a server");
    let mut events = connection.events();
    proxy.cut();
    expect(&mut events, Event::Disconnected).await;
    proxy.heal();
    expect(&mut events, Event::Connected).await;
    connection.client.flush().await.expect("it works again");
}

#[tokio::test]
async fn a_blackhole_holds_everything_back_until_it_heals() {
    let server = Server::start().await;
    let proxy = Proxy::to(server.url()).await;
    let client = async_nats::connect(proxy.url()).await.expect("a client");
    proxy.blackhole();
    client.publish("x", "".into()).await.expect("it is queued");
    let silence = timeout(Duration::from_millis(200), client.flush()).await;
    // Flush ends when the bytes are written; only the server's answer proves that they arrived.
    drop(silence);
    let answer = client.request("$JS.API.INFO", "".into());
    tokio::pin!(answer);
    let held = timeout(Duration::from_millis(300), &mut answer).await;
    assert!(held.is_err(), "nothing may pass");
    proxy.heal();
    timeout(SOON, answer)
        .await
        .expect("in time")
        .expect("the answer arrives");
}

#[tokio::test]
async fn a_delay_delays_each_direction() {
    let server = Server::start().await;
    let proxy = Proxy::to(server.url()).await;
    let client = async_nats::connect(proxy.url()).await.expect("a client");
    proxy.delay(Duration::from_millis(50));
    let began = Instant::now();
    client
        .request("$JS.API.INFO", "".into())
        .await
        .expect("an answer");
    assert!(
        began.elapsed() >= Duration::from_millis(100),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_given_up_in_time() {
    let mut server = Server::start().await;
    server.stop_process();
    let mut options = server.options();
    options.connect_timeout = Duration::from_millis(300);
    let failed = timeout(SOON, connect(&options, &worker()))
        .await
        .expect("it is bounded");
    let error = failed.expect_err("a frozen server answers nobody");
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains(server.url()), "{error}");
}

#[tokio::test]
async fn who_waits_for_its_server_is_connected_when_it_comes() {
    let mut server = Server::start().await;
    let options = server.options().waiting_for_server();
    server.stop().await;
    let waiting = tokio::spawn(async move { connect(&options, &worker()).await });
    server.start_again().await;
    let connected = timeout(SOON, waiting)
        .await
        .expect("in time")
        .expect("no panic");
    connected.expect("it is connected");
}

#[tokio::test]
async fn a_server_that_loses_dead_letters_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    let old = tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.expect("a client");
        let info = r#"{"server_id":"x","version":"2.14.0","max_payload":1024,"headers":true}"#;
        let greeting = format!("INFO {info}\r\nPONG\r\n");
        client
            .write_all(greeting.as_bytes())
            .await
            .expect("it listens");
        std::future::pending::<()>().await;
    });
    let options = ConnectOptions::to(format!("nats://127.0.0.1:{port}"));
    let refused = connect(&options, &worker())
        .await
        .expect_err("2.14.0 is refused");
    assert!(matches!(refused, ConnectError::Version { .. }), "{refused}");
    assert!(refused.to_string().contains("2.12.9 or newer"), "{refused}");
    old.abort();
}

#[tokio::test]
async fn a_user_and_a_password_are_taken_from_options_and_from_the_address() {
    let rule = r#"authorization { user: ann, password: "pw" }"#;
    let server = Server::builder().config(rule).start().await;
    let options = server.options().with_user("ann", "pw");
    connect(&options, &worker()).await.expect("by options");
    let address = server.url().replace("nats://", "nats://ann:pw@");
    connect(&ConnectOptions::to(address), &worker())
        .await
        .expect("by address");
    let wrong = server.options().with_user("ann", "s3cret");
    let refused = connect(&wrong, &worker())
        .await
        .expect_err("another password");
    let text = refused.to_string();
    assert!(
        text.contains("user \"ann\"") && !text.contains("s3cret"),
        "{text}"
    );
}

#[tokio::test]
async fn a_killed_server_keeps_what_it_stored_and_its_port() {
    let mut server = Server::start().await;
    let jetstream = server.jetstream().await;
    let config = Config {
        name: "KEEP".into(),
        subjects: vec!["keep".into()],
        ..Config::default()
    };
    jetstream.create_stream(config).await.expect("a stream");
    let stored = jetstream
        .publish("keep", "this".into())
        .await
        .expect("it is sent");
    stored.await.expect("it is stored");
    let url = server.url().to_owned();

    server.kill();
    server.start_again().await;

    assert_eq!(server.url(), url);
    let stream = server
        .jetstream()
        .await
        .get_stream("KEEP")
        .await
        .expect("the stream is there");
    assert_eq!(stream.cached_info().state.messages, 1);
}

#[tokio::test]
async fn clocks_of_one_machine_agree() {
    let server = Server::start().await;
    let connection = connect(&server.options(), &worker())
        .await
        .expect("a server");
    let config = Config {
        name: "ANY".into(),
        subjects: vec!["any".into()],
        ..Config::default()
    };
    connection
        .jetstream()
        .create_stream(config)
        .await
        .expect("a stream");
    let offset = offset::measure(&connection.client, &connection.js_api_prefix(), "ANY").await;
    let offset = offset.expect("the broker answers");
    assert!(offset.abs() < 1_000, "{offset} ms");
}
