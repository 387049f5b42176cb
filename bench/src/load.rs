//! What a submitter is told on its command line, and what it reports when it has finished.

use std::time::Duration;

use a3s_coordinator::bench::{Load, Summary, Until};
use a3s_shared::protocol::Encoding;
use anyhow::Result;
use clap::Args;
use serde::{Deserialize, Serialize};

use crate::usage::{Usages, Watched};

/// What a submitter is to do.
#[derive(Debug, Clone, Args)]
pub(crate) struct Orders {
    /// The server.
    #[arg(long)]
    pub(crate) url: String,
    /// Tasks that are submitted and not yet answered at a time.
    #[arg(long, default_value_t = 64)]
    pub(crate) in_flight: usize,
    /// Bytes of a task's body.
    #[arg(long, default_value_t = 256)]
    pub(crate) body: usize,
    /// `messagepack` or `json`.
    #[arg(long, default_value = "messagepack", value_parser = encoding)]
    pub(crate) encoding: Encoding,
    /// Sessions that tasks are submitted to in turn.
    #[arg(long, default_value_t = 1)]
    pub(crate) sessions: usize,
    /// One task in so many milliseconds, instead of as many as can be.
    #[arg(long)]
    pub(crate) every_ms: Option<u64>,
    /// How long is measured, in seconds.
    #[arg(long, default_value_t = 3.0)]
    pub(crate) seconds: f64,
    /// How long the same is done before, in seconds.
    #[arg(long, default_value_t = 1.0)]
    pub(crate) warm_up: f64,
    /// Processes whose CPU time and memory are reported: NAME=PID.
    #[arg(long)]
    pub(crate) watch: Vec<Watched>,
}

/// What a submitter saw.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Report {
    /// The measured part.
    #[serde(flatten)]
    pub(crate) summary: Summary,
    /// All tasks that were submitted and answered, the warm-up too.
    pub(crate) submitted: u64,
    /// What the measured part cost.
    pub(crate) usage: Usages,
}

impl Orders {
    /// The load of the warm-up.
    pub(crate) fn warm_up(&self) -> Load {
        self.load(self.warm_up)
    }

    /// The load that is measured.
    pub(crate) fn measured(&self) -> Load {
        self.load(self.seconds)
    }

    fn load(&self, seconds: f64) -> Load {
        Load {
            in_flight: self.in_flight,
            body_bytes: self.body,
            every: self.every_ms.map(Duration::from_millis),
            until: Until::Elapsed(Duration::from_secs_f64(seconds)),
        }
    }
}

fn encoding(text: &str) -> Result<Encoding, String> {
    match text {
        "messagepack" => Ok(Encoding::MessagePack),
        "json" => Ok(Encoding::Json),
        _ => Err("messagepack or json".to_owned()),
    }
}
