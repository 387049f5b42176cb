//! Streams and consumers: there, and as this version would make them.

use a3s_shared::broker::{Broker, BrokerError, Comparison, Drift, Settings};

use super::finding::Finding;

/// Compares, and creates nothing.
pub(crate) async fn check(
    broker: &Broker,
    settings: &Settings,
) -> Result<Vec<Finding>, BrokerError> {
    match broker.compare(settings).await {
        Ok(found) => Ok(judge(&found)),
        Err(error @ BrokerError::NewerSchema { .. }) => Ok(vec![Finding::wrong(
            "topology",
            error.to_string(),
            "install the newer version of this program",
        )]),
        Err(error) => Err(error),
    }
}

fn judge(found: &Comparison) -> Vec<Finding> {
    let mut findings: Vec<Finding> = found.drift.iter().map(drifted).collect();
    if !found.missing.is_empty() {
        let text = format!("not there: {}", found.missing.join(", "));
        let fix = "start a coordinator for all sessions once: a3s-coordinator serve";
        findings.push(Finding::wrong("topology", text, fix));
    }
    if !found.hidden.is_empty() {
        let text = format!(
            "not for this credential to see: {}",
            found.hidden.join(", ")
        );
        findings.push(Finding::hidden("topology", &text));
    }
    if findings.is_empty() {
        let text = "streams, buckets and consumers are there, and as this version makes them";
        findings.push(Finding::good("topology", text));
    }
    findings
}

fn drifted(drift: &Drift) -> Finding {
    let fix = match drift.of.split_once(" consumer ") {
        Some((stream, consumer)) => format!(
            "set it back with `nats consumer edit {stream} {consumer}`, or leave it if it is meant: \
             it is never changed by itself"
        ),
        None => format!(
            "set it back with `nats stream edit {}`, or leave it if it is meant: it is never \
             changed by itself",
            drift.of
        ),
    };
    Finding::wrong("topology", drift.to_string(), fix)
}

#[cfg(test)]
mod tests {
    use super::super::finding::State;
    use super::*;

    #[test]
    fn what_differs_is_wrong_and_what_is_hidden_is_unknown() {
        let drift = Drift {
            of: "A3S_TASKS".into(),
            field: "max_bytes".into(),
            found: "1".into(),
            expected: "2".into(),
        };
        let found = Comparison {
            drift: vec![drift],
            missing: Vec::new(),
            hidden: vec!["A3S_DLQ".into()],
        };
        let states: Vec<State> = judge(&found).iter().map(|finding| finding.state).collect();
        assert_eq!(states, [State::Wrong, State::Unknown]);
        assert_eq!(judge(&Comparison::default())[0].state, State::Good);
    }
}
