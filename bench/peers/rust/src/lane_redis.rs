//! a3s-lane on Redis: its queue of jobs, which a worker in another process waits for. It tells nobody of
//! results but in its stored events, so its handler publishes them too.

use std::future::pending;
use std::sync::Arc;

use a3s_lane::{
    JobOptions, JobQueueBackend as _, JobWorker, JobWorkerConfig, LaneError, RedisJobQueue,
    job_processor_fn,
};
use anyhow::Result;
use closed_loop::{drive, number, setting};
use serde_json::json;

use crate::{Job, redis_results};

pub(crate) async fn work() -> Result<()> {
    let url = setting("PEER_URL")?;
    let tell = redis::Client::open(url.as_str())?;
    let tell = tell.get_connection_manager().await?;
    let handle = job_processor_fn(move |job: a3s_lane::Job, _| {
        let mut tell = tell.clone();
        async move {
            let done = async {
                let job: Job = serde_json::from_value(job.payload)?;
                redis_results::tell(&mut tell, job.id).await?;
                anyhow::Ok(json!({ "id": job.id }))
            };
            let done = done.await;
            done.map_err(|error| LaneError::Other(error.to_string()))
        }
    });
    let config = JobWorkerConfig::new("bench").with_concurrency(number("SLOTS")?);
    let worker = JobWorker::new(Arc::new(queue(&url)?), Arc::new(handle), config);
    let _working = worker.start();
    pending().await
}

pub(crate) async fn submit() -> Result<()> {
    let url = setting("PEER_URL")?;
    let waiting = redis_results::listen(&url).await?;
    let queue = Arc::new(queue(&url)?);
    drive(move |id| {
        let (queue, waiting) = (Arc::clone(&queue), waiting.clone());
        async move {
            let add = async {
                let job = serde_json::to_value(Job::of(id))?;
                queue
                    .add_job("noop".to_owned(), job, JobOptions::new())
                    .await?;
                Ok(())
            };
            waiting.once(id, add).await
        }
    })
    .await
}

/// What both must say, or they are on different queues.
fn queue(url: &str) -> a3s_lane::Result<RedisJobQueue> {
    RedisJobQueue::new(url, "bench")
}
