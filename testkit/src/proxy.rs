//! A TCP proxy between a client and a server that breaks the network on demand.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

/// Chunks under way in one direction of one connection.
const UNDER_WAY: usize = 1024;

/// What the network does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// Everything passes, after a delay (zero: at once).
    Pass { delay: Duration },
    /// Connections are closed, new ones too.
    Cut,
    /// Connections stay open and nothing passes: the half-open link that no error reports.
    Blackhole,
}

/// A proxy on a loopback port of its own. Dropped, it closes everything.
#[derive(Debug)]
pub struct Proxy {
    url: String,
    fault: watch::Sender<Fault>,
    open: Arc<AtomicUsize>,
    acceptor: AbortHandle,
}

impl Proxy {
    /// A proxy to `url` (`nats://host:port`); everything passes.
    ///
    /// # Panics
    /// When there is no free port.
    pub async fn to(url: &str) -> Self {
        let target = url.trim_start_matches("nats://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener
            .local_addr()
            .expect("a bound socket has an address")
            .port();
        let (fault, faults) = watch::channel(Fault::Pass {
            delay: Duration::ZERO,
        });
        let open = Arc::default();
        let acceptor = tokio::spawn(accept(listener, target, faults, Arc::clone(&open)));
        let acceptor = acceptor.abort_handle();
        let url = format!("nats://127.0.0.1:{port}");
        Self {
            url,
            fault,
            open,
            acceptor,
        }
    }

    /// Where clients connect.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// How many connections are open at this moment.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    /// Lets everything pass; what a blackhole held back arrives now, as after a lost route.
    pub fn heal(&self) {
        self.delay(Duration::ZERO);
    }

    /// Delays everything by `delay` in each direction.
    pub fn delay(&self, delay: Duration) {
        self.fault.send_replace(Fault::Pass { delay });
    }

    /// Closes all connections and refuses new ones until [`Proxy::heal`].
    pub fn cut(&self) {
        self.fault.send_replace(Fault::Cut);
    }

    /// Keeps connections open and lets nothing pass until [`Proxy::heal`].
    pub fn blackhole(&self) {
        self.fault.send_replace(Fault::Blackhole);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}

async fn accept(
    listener: TcpListener,
    target: String,
    faults: watch::Receiver<Fault>,
    open: Arc<AtomicUsize>,
) {
    // Ends with this task, and every connection with it.
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        if *faults.borrow() != Fault::Cut {
            let carried = carry(client, target.clone(), faults.clone());
            let counted = Counted::one_more(&open);
            connections.spawn(async move {
                let _counted = counted;
                carried.await;
            });
        }
        while connections.try_join_next().is_some() {}
    }
}

/// An open connection, while it exists.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn one_more(open: &Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(open))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Carries one connection until it ends or is cut.
async fn carry(client: TcpStream, target: String, mut faults: watch::Receiver<Fault>) {
    let Ok(server) = TcpStream::connect(target).await else {
        return;
    };
    for end in [&client, &server] {
        let _ = end.set_nodelay(true);
    }
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let upstream = direct(from_client, to_server, faults.clone());
    let downstream = direct(from_server, to_client, faults.clone());
    tokio::select! {
        () = upstream => {}
        () = downstream => {}
        _ = faults.wait_for(|fault| *fault == Fault::Cut) => {}
    }
}

/// Carries one direction. Reading and writing are apart, so that a delay delays and does not
/// throttle.
async fn direct(from: OwnedReadHalf, to: OwnedWriteHalf, faults: watch::Receiver<Fault>) {
    let (chunks, inbox) = mpsc::channel(UNDER_WAY);
    tokio::join!(read(from, chunks, faults.clone()), write(to, inbox, faults));
}

type Chunk = (Instant, Vec<u8>);

async fn read(
    mut from: OwnedReadHalf,
    chunks: mpsc::Sender<Chunk>,
    faults: watch::Receiver<Fault>,
) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let delay = match *faults.borrow() {
            Fault::Pass { delay } => delay,
            Fault::Cut | Fault::Blackhole => Duration::ZERO,
        };
        let chunk = (Instant::now() + delay, buffer[..length].to_vec());
        if chunks.send(chunk).await.is_err() {
            return;
        }
    }
}

async fn write(
    mut to: OwnedWriteHalf,
    mut inbox: mpsc::Receiver<Chunk>,
    mut faults: watch::Receiver<Fault>,
) {
    while let Some((due, bytes)) = inbox.recv().await {
        sleep_until(due).await;
        let passes = faults
            .wait_for(|fault| *fault != Fault::Blackhole)
            .await
            .is_ok();
        if !passes || to.write_all(&bytes).await.is_err() {
            return;
        }
    }
}
