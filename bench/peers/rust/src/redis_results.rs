//! Tells of results through Redis, for peers that tell nobody of them.

use anyhow::Result;
use futures::StreamExt as _;
use redis::RedisResult;
use redis::aio::ConnectionLike;

use closed_loop::Waiting;

/// Where results are told.
const DONE: &str = "bench_done";

/// Tells that a task has its result.
pub(crate) async fn tell(connection: &mut impl ConnectionLike, id: u64) -> RedisResult<()> {
    let mut publish = redis::cmd("PUBLISH");
    publish.arg(DONE).arg(id).exec_async(connection).await
}

/// Those that wait are told, from now on.
pub(crate) async fn listen(url: &str) -> Result<Waiting> {
    let mut done = redis::Client::open(url)?.get_async_pubsub().await?;
    done.subscribe(DONE).await?;
    let waiting = Waiting::default();
    let told = waiting.clone();
    tokio::spawn(async move {
        let mut messages = done.into_on_message();
        while let Some(message) = messages.next().await {
            if let Ok(id) = message.get_payload() {
                told.tell(id);
            }
        }
    });
    Ok(waiting)
}
