//! apalis on Redis. It tells nobody of results, so its handler publishes them too.

use std::time::Duration;

use anyhow::Result;
use apalis::prelude::*;
use apalis_redis::{Config, RedisStorage};
use closed_loop::{drive, number, setting};

use crate::{Job, redis_results};

/// How often it looks for tasks. By itself it looks seconds apart when there were none.
const LOOK_EVERY: Duration = Duration::from_millis(1);

pub(crate) async fn work() -> Result<()> {
    let slots: usize = number("SLOTS")?;
    let connection = apalis_redis::connect(setting("PEER_URL")?).await?;
    let config = config().batch_size(slots);
    let storage = RedisStorage::<Job>::new(connection.clone()).with_config(config);
    let handle = move |job: Job| {
        let mut connection = connection.clone();
        async move {
            redis_results::tell(&mut connection, job.id).await?;
            Ok::<(), BoxDynError>(())
        }
    };
    let storage = storage.poll_with_interval(LOOK_EVERY);
    let worker = WorkerBuilder::new("bench")
        .backend(storage)
        .concurrency(slots);
    worker.build(handle).run().await?;
    Ok(())
}

pub(crate) async fn submit() -> Result<()> {
    let url = setting("PEER_URL")?;
    let waiting = redis_results::listen(&url).await?;
    let storage = RedisStorage::<Job>::new(apalis_redis::connect(url).await?);
    let storage = storage.with_config(config());
    drive(move |id| {
        let (mut storage, waiting) = (storage.clone(), waiting.clone());
        async move {
            let push = async {
                let pushed = storage.push(Job::of(id)).await;
                pushed.map_err(|error| anyhow::anyhow!("{error:?}"))
            };
            waiting.once(id, push).await
        }
    })
    .await
}

/// What both must say, or they are on different queues.
fn config() -> Config {
    Config::default().queue("bench")
}
