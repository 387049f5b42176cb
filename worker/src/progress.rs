//! Partial output of running tools, shown to whoever watches. Best effort and bounded.

use std::sync::Arc;

use a3s_shared::broker::Broker;
use async_nats::HeaderMap;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::context::ShowOutput;

/// Chunks that wait to be shown; what is beyond it is dropped (the result still has it).
const WAITING: usize = 1_024;

/// The largest chunk, in bytes.
const MAX_CHUNK: usize = 64 * 1024;

/// Numbers the chunks of a task from 1, so that a watcher sees a gap.
const CHUNK_NUMBER: &str = "A3s-Chunk";

/// Shows the output of all tasks of a worker.
#[derive(Debug, Clone)]
pub(crate) struct ProgressPump {
    broker: Broker,
    sender: mpsc::Sender<(String, u64, Bytes)>,
}

impl ProgressPump {
    /// Starts it; it ends with the last clone.
    pub(crate) fn start(broker: &Broker) -> Self {
        let (sender, mut receiver) = mpsc::channel::<(String, u64, Bytes)>(WAITING);
        let client = broker.client().clone();
        tokio::spawn(async move {
            while let Some((subject, number, chunk)) = receiver.recv().await {
                let mut headers = HeaderMap::new();
                headers.insert(CHUNK_NUMBER, number.to_string().as_str());
                if client
                    .publish_with_headers(subject, headers, chunk)
                    .await
                    .is_err()
                {
                    return;
                }
            }
        });
        Self {
            broker: broker.clone(),
            sender,
        }
    }

    /// The way for one task's output.
    pub(crate) fn of(&self, session: &str, task_id: &str) -> ShowOutput {
        let subject = self.broker.names().output(session, task_id);
        let sender = self.sender.clone();
        let number = Mutex::new(0);
        Arc::new(move |chunk: Bytes| {
            let chunk = chunk.slice(..chunk.len().min(MAX_CHUNK));
            let mut number = number.lock();
            *number += 1;
            let _ = sender.try_send((subject.clone(), *number, chunk));
        })
    }
}
