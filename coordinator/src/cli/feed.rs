//! Input that blocks (a file, a terminal) as a stream, read a bounded number of items ahead.

use futures::Stream;
use tokio::sync::mpsc;

/// How many items are read ahead of their use.
const AHEAD: usize = 64;

/// Where the reading thread puts what it has read.
pub(crate) struct Feed<T>(mpsc::Sender<T>);

impl<T> Feed<T> {
    /// Hands on an item, when there is room. False when nobody wants any more.
    pub(crate) fn send(&self, item: T) -> bool {
        self.0.blocking_send(item).is_ok()
    }
}

/// What `read` sends, from a thread of its own. The thread is never waited for: it ends with its
/// input, with the first item that nobody wants, or with the process.
pub(crate) fn from_thread<T: Send + 'static>(
    read: impl FnOnce(&Feed<T>) + Send + 'static,
) -> impl Stream<Item = T> {
    let (sender, receiver) = mpsc::channel(AHEAD);
    std::thread::spawn(move || read(&Feed(sender)));
    futures::stream::unfold(receiver, async |mut receiver| {
        let item = receiver.recv().await?;
        Some((item, receiver))
    })
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;

    use super::*;

    #[tokio::test]
    async fn items_come_in_order_and_the_thread_ends_when_nobody_listens() {
        let (gone, ended) = std::sync::mpsc::channel();
        let mut feed = Box::pin(from_thread(move |feed: &Feed<usize>| {
            let sent = (0..).take_while(|&n| feed.send(n)).count();
            gone.send(sent).expect("the test waits");
        }));
        assert_eq!(feed.next().await, Some(0));
        assert_eq!(feed.next().await, Some(1));
        drop(feed);
        let sent = ended.recv().expect("the thread ended");
        assert!(sent <= AHEAD + 2, "{sent} read ahead");
    }
}
