//! The way in for the one client that started this process: JSON lines on standard input and output.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use a3s_shared::runtime::Shutdown;
use rmcp::ServiceExt as _;
use rmcp::transport::stdio;
use tokio::io::{AsyncRead, ReadBuf};
use tokio_util::sync::CancellationToken;

use super::door::Door;
use super::server::Server;

/// Serves the client until it closes its end, or the process is asked to stop.
pub(super) async fn serve(door: &Arc<Door>, shutdown: &Shutdown) {
    let (input, output) = stdio();
    let input = UntilEnd {
        input,
        ended: door.leaving.clone(),
    };
    let served = async {
        match Server::new(door).serve((input, output)).await {
            Ok(running) => drop(running.waiting().await),
            Err(error) => tracing::warn!(%error, "the client went without a word of the protocol"),
        }
    };
    tokio::select! {
        () = served => {}
        () = shutdown.draining() => door.leaving.cancel(),
    }
}

/// Standard input, which says at once when it ends: calls must not be waited for then, because
/// whoever started us waits for us.
struct UntilEnd<R> {
    input: R,
    ended: CancellationToken,
}

impl<R: AsyncRead + Unpin> AsyncRead for UntilEnd<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.input).poll_read(cx, buffer);
        let over = match &read {
            Poll::Ready(Ok(())) => buffer.filled().len() == before && buffer.capacity() > before,
            Poll::Ready(Err(_)) => true,
            Poll::Pending => false,
        };
        if over {
            self.ended.cancel();
        }
        read
    }
}
