//! How big and how patient the streams and consumers are, when they are created.

use std::time::Duration;

use clap::Args;

/// What may differ between installations. Existing streams and consumers are never changed.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Settings {
    /// Copies of each stream: 1, or 3 in a cluster
    #[arg(
        long,
        env = "A3S_REPLICAS",
        default_value_t = 1,
        value_name = "N",
        hide = true
    )]
    pub replicas: usize,

    /// Seconds without a sign of life after which a task goes to another worker
    ///
    /// A lease, not a timeout: a worker renews it every third of this while a tool runs. Taken
    /// when a consumer is created, and only then.
    #[arg(
        long = "ack-wait", env = "A3S_ACK_WAIT", default_value = "15", value_name = "SECONDS",
        value_parser = seconds, hide = true
    )]
    pub ack_wait: Duration,

    /// The largest size of the stream of tasks and of that of results, in MiB
    #[arg(
        long,
        env = "A3S_STREAM_MIB",
        default_value_t = 2048,
        value_name = "MIB",
        hide = true
    )]
    pub stream_mib: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            replicas: 1,
            ack_wait: Duration::from_secs(15),
            stream_mib: 2048,
        }
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(value) if (0.5..=3600.0).contains(&value) => Ok(Duration::from_secs_f64(value)),
        _ => Err("a number of seconds between 0.5 and 3600".to_owned()),
    }
}
