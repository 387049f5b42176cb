//! A TCP proxy between a client and a server that breaks the network on demand.

use std::net::Ipv4Addr;
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
    /// What clients send arrives, and every answer is thrown away. A connection that lost bytes
    /// is of no use any more: it is closed when this ends.
    Deaf,
}

/// A proxy on a port of its own, on loopback unless said otherwise. Dropped, it closes everything.
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
        Self::on(Ipv4Addr::LOCALHOST, url).await
    }

    /// As [`Proxy::to`], on another address of this machine.
    ///
    /// # Panics
    /// When the address is not this machine's, or has no free port.
    pub async fn on(address: Ipv4Addr, url: &str) -> Self {
        let target = url.trim_start_matches("nats://").to_owned();
        let listener = TcpListener::bind((address, 0)).await.expect("a free port");
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
        let url = format!("nats://{address}:{port}");
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

    /// Carries what clients send and loses what they would hear, until [`Proxy::heal`]; then
    /// closes the connections. The other side has done what it was asked, and nobody knows.
    pub fn lose_answers(&self) {
        self.fault.send_replace(Fault::Deaf);
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
    let upstream = direct(from_client, to_server, faults.clone(), &[Fault::Blackhole]);
    let silent = [Fault::Blackhole, Fault::Deaf];
    let downstream = direct(from_server, to_client, faults.clone(), &silent);
    let deaf = faults.clone();
    tokio::select! {
        // First the end: what was held back must not slip through when the fault is over.
        biased;
        () = end_of_deafness(deaf) => {}
        () = upstream => {}
        () = downstream => {}
        _ = faults.wait_for(|fault| *fault == Fault::Cut) => {}
    }
}

async fn end_of_deafness(mut faults: watch::Receiver<Fault>) {
    for deaf in [true, false] {
        let _ = faults
            .wait_for(|fault| (*fault == Fault::Deaf) == deaf)
            .await;
    }
}

/// Carries one direction, and nothing during one of the faults in `silent`. Reading and writing are
/// apart, so that a delay delays and does not throttle.
async fn direct(
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
    faults: watch::Receiver<Fault>,
    silent: &[Fault],
) {
    let (chunks, inbox) = mpsc::channel(UNDER_WAY);
    let reading = read(from, chunks, faults.clone());
    tokio::join!(reading, write(to, inbox, faults, silent));
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
            Fault::Cut | Fault::Blackhole | Fault::Deaf => Duration::ZERO,
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
    silent: &[Fault],
) {
    while let Some((due, bytes)) = inbox.recv().await {
        sleep_until(due).await;
        // A deaf connection is closed before this goes on (see `carry`): its bytes are lost.
        let passes = faults
            .wait_for(|fault| !silent.contains(fault))
            .await
            .is_ok();
        if !passes || to.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_sent_to_the_deaf_arrives_and_its_answer_never_does() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("it is bound").port();
        let proxy = Proxy::to(&format!("nats://127.0.0.1:{port}")).await;
        let address = proxy.url().trim_start_matches("nats://").to_owned();
        let mut client = TcpStream::connect(address).await.expect("the proxy");
        let (mut server, _) = listener.accept().await.expect("a connection");
        proxy.lose_answers();
        client.write_all(b"ask").await.expect("sent");
        let mut asked = [0; 3];
        server.read_exact(&mut asked).await.expect("it arrives");
        server.write_all(b"answer").await.expect("sent");
        proxy.heal();
        let heard = client.read(&mut [0; 16]).await;
        assert!(matches!(heard, Ok(0) | Err(_)), "{heard:?}");
    }
}
