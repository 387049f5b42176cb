//! Tasks that wait too long for a worker.

use std::time::Duration;

use a3s_shared::broker::{Broker, BrokerError, Seen, TaskStream};
use a3s_shared::protocol::clock;
use async_nats::jetstream::consumer;
use serde::Deserialize;

use super::finding::Finding;

/// A page of the broker's list of consumers.
#[derive(Debug, Deserialize)]
pub(crate) struct Page {
    /// They.
    #[serde(default)]
    pub(crate) consumers: Vec<consumer::Info>,
}

/// What waits at a consumer.
#[derive(Debug)]
struct Queue {
    consumer: String,
    pending: u64,
    pulls: usize,
    /// How long its oldest task has waited, where we may look.
    oldest: Option<Duration>,
}

/// Looks at the consumers of all lanes, as far as the first page of the broker's list goes.
pub(crate) async fn check(broker: &Broker, wait: Duration) -> Result<Vec<Finding>, BrokerError> {
    let mut findings = Vec::new();
    for which in [TaskStream::Pool, TaskStream::Own] {
        let stream = broker.names().tasks(which);
        let call = format!("CONSUMER.LIST.{stream}");
        match broker.look::<Page>(&call).await? {
            Seen::There(page) => {
                for info in page.consumers.iter().filter(|info| info.num_pending > 0) {
                    findings.extend(judge(&queue(broker, &stream, info).await?, wait));
                }
            }
            Seen::Missing => {}
            Seen::Hidden(denied) => {
                findings.push(Finding::hidden(
                    "lag",
                    &format!("not permitted to {denied}"),
                ));
            }
        }
    }
    if findings.is_empty() {
        let text = format!("no task waits for more than {} s", wait.as_secs());
        findings.push(Finding::good("lag", text));
    }
    Ok(findings)
}

async fn queue(broker: &Broker, stream: &str, info: &consumer::Info) -> Result<Queue, BrokerError> {
    let from = info.delivered.stream_sequence + 1;
    let oldest = match broker.next(stream, &info.config.filter_subject, from).await {
        Ok(message) => message.map(|message| {
            Duration::from_millis(clock::now_ms().saturating_sub(message.stored_at_ms))
        }),
        Err(error) if error.is_denied() => None,
        Err(error) => return Err(error),
    };
    Ok(Queue {
        consumer: info.name.clone(),
        pending: info.num_pending,
        pulls: info.num_waiting,
        oldest,
    })
}

fn judge(queue: &Queue, wait: Duration) -> Option<Finding> {
    let Queue {
        consumer,
        pending,
        pulls,
        oldest,
    } = queue;
    // Nobody can say how old they are: that nobody asks for them is bad enough.
    let late = oldest.map_or(*pulls == 0, |oldest| oldest >= wait);
    late.then(|| {
        let age = oldest.map_or(String::new(), |age| {
            format!(", the oldest for {} s", age.as_secs())
        });
        let text = format!("{pending} tasks wait at {consumer}{age}; {pulls} pulls wait for tasks");
        let fix = match pulls {
            0 => format!("nobody is free: start a worker, `{}`", command(consumer)),
            _ => "workers ask and are not served: look at the consumer with `nats consumer info`"
                .to_owned(),
        };
        Finding::wrong("lag", text, fix)
    })
}

/// The worker that serves a consumer.
fn command(consumer: &str) -> String {
    let told = |kind: &str, option: &str| {
        let (whose, lane) = consumer.strip_prefix(kind)?.rsplit_once('-')?;
        Some(format!("a3s-worker {option} {whose} --lanes {lane}"))
    };
    told("pool-", "--pool")
        .or_else(|| told("own-", "--session-id"))
        .unwrap_or_else(|| "a3s-worker".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(consumer: &str, pulls: usize, oldest: Option<u64>) -> Option<Finding> {
        let queue = Queue {
            consumer: consumer.to_owned(),
            pending: 3,
            pulls,
            oldest: oldest.map(Duration::from_secs),
        };
        judge(&queue, Duration::from_secs(60))
    }

    #[test]
    fn only_what_waits_too_long_is_wrong_and_the_fix_starts_who_would_take_it() {
        assert_eq!(waiting("pool-eu-query", 0, Some(5)), None);
        let finding = waiting("pool-eu-query", 0, Some(61)).expect("too long");
        let fix = finding.fix.expect("a fix");
        assert!(fix.contains("a3s-worker --pool eu --lanes query"), "{fix}");
        let finding = waiting("own-my-session-execute", 0, None).expect("nobody asks");
        let fix = finding.fix.expect("a fix");
        assert!(
            fix.contains("--session-id my-session --lanes execute"),
            "{fix}"
        );
    }
}
