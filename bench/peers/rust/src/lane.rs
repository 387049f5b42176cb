//! a3s-lane: a queue within one process, with nothing that survives it. For scale.

use std::sync::Arc;

use a3s_lane::{Command, EventEmitter, LaneConfig, QueueManagerBuilder};
use anyhow::Result;
use async_trait::async_trait;
use closed_loop::{drive, number};
use serde_json::{Value, json};

use crate::Job;

struct Noop(Job);

#[async_trait]
impl Command for Noop {
    async fn execute(&self) -> a3s_lane::Result<Value> {
        Ok(json!({ "id": self.0.id }))
    }

    fn command_type(&self) -> &str {
        "noop"
    }
}

pub(crate) async fn run() -> Result<()> {
    let slots: usize = number("SLOTS")?;
    let lane = LaneConfig::new(slots, slots);
    let manager = QueueManagerBuilder::new(EventEmitter::new(100));
    let manager = manager.with_lane("bench", lane, 0).build().await?;
    manager.start().await?;
    let manager = Arc::new(manager);
    drive(move |id| {
        let manager = Arc::clone(&manager);
        async move {
            let result = manager.submit("bench", Box::new(Noop(Job::of(id)))).await?;
            result.await??;
            Ok(())
        }
    })
    .await
}
