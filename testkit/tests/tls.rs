//! TLS with a certificate authority of our own: server and client prove who they are.

use std::path::{Path, PathBuf};

use a3s_shared::runtime::connect::ConnectError;
use a3s_shared::runtime::{ConnectOptions, Role, connect};
use a3s_testkit::Server;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).expect("no names, no wrong ones");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    CertifiedIssuer::self_signed(params, key).expect("a certificate")
}

fn write(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, text).expect("the file is written");
    path
}

/// Writes a certificate for 127.0.0.1 and its key.
fn issue(authority: &Authority, dir: &Path, name: &str) -> (PathBuf, PathBuf) {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("an address");
    let certificate = params.signed_by(&key, authority).expect("it is signed");
    let certificate = write(dir, &format!("{name}.pem"), &certificate.pem());
    (
        certificate,
        write(dir, &format!("{name}.key"), &key.serialize_pem()),
    )
}

/// A server that asks for a certificate of `authority`, and files for a client that has one.
async fn server(authority: &Authority, dir: &TempDir) -> (Server, PathBuf, PathBuf, PathBuf) {
    let ca = write(dir.path(), "ca.pem", &authority.pem());
    let (cert, key) = issue(authority, dir.path(), "server");
    let tls =
        format!("tls {{ cert_file: {cert:?}, key_file: {key:?}, ca_file: {ca:?}, verify: true }}");
    let server = Server::builder().config(&tls).start().await;
    let (cert, key) = issue(authority, dir.path(), "client");
    (server, ca, cert, key)
}

#[tokio::test]
async fn a_client_with_a_certificate_gets_in() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (server, ca, cert, key) = server(&authority(), &dir).await;
    let mut options = server.options();
    (options.tls_ca, options.tls_cert, options.tls_key) = (Some(ca), Some(cert), Some(key));
    let connection = connect(&options, &Role::worker("test")).await;
    let connection = connection.unwrap_or_else(|error| panic!("{error}"));
    connection.client.flush().await.expect("it works");
}

#[tokio::test]
async fn a_server_that_nobody_vouches_for_is_refused() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (server, ..) = server(&authority(), &dir).await;
    let options = ConnectOptions::to(server.url());
    let refused = connect(&options, &Role::worker("test"))
        .await
        .expect_err("no authority");
    assert!(matches!(refused, ConnectError::Tls { .. }), "{refused:?}");
    assert!(refused.to_string().contains("--tls-ca"), "{refused}");
}
