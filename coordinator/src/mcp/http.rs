//! The way in for many clients of this machine: streamable HTTP on loopback, at `/mcp`. Other
//! machines cannot reach it, and web pages may not: their requests carry an origin, or the name of a
//! host that was bent to this machine, and both are refused.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use a3s_shared::runtime::Shutdown;
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::door::Door;
use super::server::Server;

/// Where the protocol is spoken.
const PATH: &str = "/mcp";

/// When a connection's session is forgotten of which nothing was heard. Longer than calls take:
/// the end of a session is the end of what its client hears of them.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(6 * 60 * 60);

/// How long answers that are on their way may take when the process stops.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How long a client may take to say what it wants.
const HEADERS_WITHIN: Duration = Duration::from_secs(30);

type Service = StreamableHttpService<Server, LocalSessionManager>;
type Answer = Response<BoxBody<Bytes, Infallible>>;

/// Why clients cannot be served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    /// Other machines could reach the address.
    #[error(
        "--http {0} is no loopback address: use 127.0.0.1:PORT, and a tunnel for other machines"
    )]
    NotLoopback(SocketAddr),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
}

/// A listening socket, not served yet.
#[derive(Debug)]
pub(crate) struct Http {
    listener: TcpListener,
    address: SocketAddr,
    token: Option<Arc<str>>,
}

impl Http {
    /// Listens on a loopback address; port 0 takes a free one. With `token`, clients must show it
    /// as `Authorization: Bearer`.
    ///
    /// # Errors
    /// [`HttpError`]
    pub(crate) async fn listen(
        address: SocketAddr,
        token: Option<String>,
    ) -> Result<Self, HttpError> {
        if !address.ip().is_loopback() {
            return Err(HttpError::NotLoopback(address));
        }
        let failed = |source| HttpError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        Ok(Self {
            address: listener.local_addr().map_err(failed)?,
            listener,
            token: token.map(Arc::from),
        })
    }

    /// Where clients connect to.
    pub(crate) fn url(&self) -> String {
        format!("http://{}{PATH}", self.address)
    }

    /// Serves until the process is asked to stop.
    pub(super) async fn serve(
        self,
        door: &Arc<Door>,
        shutdown: &Shutdown,
    ) -> Result<(), HttpError> {
        let stop = CancellationToken::new();
        let service = service(door, &stop);
        let connections = TaskTracker::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        let one = connection(stream, service.clone(), self.token.clone());
                        connections.spawn(one);
                    }
                    // Too many open files, or a client that went at once: the next may succeed.
                    Err(error) => {
                        tracing::warn!(%error, "a connection could not be accepted");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                },
                () = shutdown.draining() => break,
            }
        }
        // First: what a client hears next is not taken for its own wish to cancel.
        door.leaving.cancel();
        stop.cancel();
        connections.close();
        let _ = tokio::time::timeout(LAST_WORDS, connections.wait()).await;
        Ok(())
    }
}

fn service(door: &Arc<Door>, stop: &CancellationToken) -> Service {
    let config = StreamableHttpServerConfig::default()
        .enforce_origin_validation()
        .with_cancellation_token(stop.clone());
    let mut sessions = LocalSessionManager::default();
    sessions.session_config.keep_alive = Some(FORGOTTEN_AFTER);
    let door = Arc::clone(door);
    StreamableHttpService::new(move || Ok(Server::new(&door)), Arc::new(sessions), config)
}

async fn connection(stream: TcpStream, service: Service, token: Option<Arc<str>>) {
    let stop = service.config.cancellation_token.clone();
    let answer = service_fn(move |request: Request<Incoming>| {
        let (service, token) = (service.clone(), token.clone());
        async move { Ok::<_, Infallible>(answer(&service, token.as_deref(), request).await) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEADERS_WITHIN);
    let served = http.serve_connection(TokioIo::new(stream), answer);
    let mut served = std::pin::pin!(served);
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = stop.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

async fn answer(service: &Service, token: Option<&str>, request: Request<Incoming>) -> Answer {
    if request.uri().path() != PATH {
        return plain(StatusCode::NOT_FOUND, "the protocol is spoken at /mcp\n");
    }
    if !is_allowed(request.headers(), token) {
        let text = "this server wants `Authorization: Bearer` with its token\n";
        return plain(StatusCode::UNAUTHORIZED, text);
    }
    service.handle(request).await
}

/// Whether a request shows the token. Compared in a time that does not tell how much of it is right.
fn is_allowed(headers: &HeaderMap, token: Option<&str>) -> bool {
    let Some(token) = token else { return true };
    let shown = headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let shown = shown
        .and_then(|value| value.strip_prefix("Bearer "))
        .unwrap_or_default();
    let differs = token
        .bytes()
        .zip(shown.bytes())
        .fold(0, |all, (a, b)| all | (a ^ b));
    token.len() == shown.len() && differs == 0
}

fn plain(status: StatusCode, text: &'static str) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from_static(text.as_bytes())).boxed());
    *answer.status_mut() = status;
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_token_opens_the_door() {
        let headers = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, value.parse().expect("a header"));
            headers
        };
        assert!(is_allowed(&HeaderMap::new(), None));
        assert!(!is_allowed(&HeaderMap::new(), Some("secret")));
        assert!(is_allowed(&headers("Bearer secret"), Some("secret")));
        for wrong in ["Bearer secre", "Bearer secrets", "Bearer Secret", "secret"] {
            assert!(!is_allowed(&headers(wrong), Some("secret")), "{wrong}");
        }
    }

    #[tokio::test]
    async fn other_machines_are_kept_out() {
        let address = "0.0.0.0:0".parse().expect("an address");
        let error = Http::listen(address, None)
            .await
            .expect_err("is no loopback");
        assert!(error.to_string().contains("no loopback address"), "{error}");
    }
}
