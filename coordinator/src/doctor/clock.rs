//! How far this machine's clock is from the broker's.

use a3s_shared::broker::Broker;
use a3s_shared::runtime::{Connection, offset};

use super::finding::Finding;

/// Beyond it people, and programs that look at times in logs, are misled.
const TOLERATED_MS: u64 = 1_000;

/// Compares the clocks.
pub(crate) async fn check(connection: &Connection, broker: &Broker) -> Vec<Finding> {
    let question = format!("STREAM.INFO.{}", broker.names().results());
    let question = broker.api_subject(&question);
    vec![judge(
        offset::compare_by(&connection.client, &question).await,
    )]
}

fn judge(offset_ms: Option<i64>) -> Finding {
    match offset_ms {
        None => Finding::hidden("clock", "the broker did not tell its time"),
        Some(ms) if ms.unsigned_abs() > TOLERATED_MS => Finding::wrong(
            "clock",
            format!(
                "this machine's clock is {ms} ms from the broker's; deadlines follow the broker's"
            ),
            "let both machines follow a time server: `timedatectl set-ntp true`",
        ),
        Some(ms) => Finding::good("clock", format!("{ms} ms from the broker's")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::State;
    use super::*;

    #[test]
    fn a_clock_that_is_seconds_off_is_wrong_on_either_side() {
        let states = [Some(20), Some(2_000), Some(-2_000), None].map(|ms| judge(ms).state);
        assert_eq!(
            states,
            [State::Good, State::Wrong, State::Wrong, State::Unknown]
        );
    }
}
