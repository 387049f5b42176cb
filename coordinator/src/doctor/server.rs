//! The server: its version, and how large a message it takes.

use a3s_shared::broker::BLOB_THRESHOLD;
use a3s_shared::runtime::Connection;
use a3s_shared::runtime::version::{self, RECOMMENDED};

use super::finding::Finding;

/// What a message has beside its body: subjects and headers.
const BESIDE_BODY: usize = 16 * 1024;

/// Looks at what the server said when we connected.
pub(crate) fn check(connection: &Connection) -> Vec<Finding> {
    let info = connection.client.server_info();
    vec![
        judge_version(&info.version, &connection.server.to_string()),
        judge_payload(info.max_payload),
    ]
}

fn judge_version(reported: &str, place: &str) -> Finding {
    match version::accept(reported) {
        Ok(version) if version < RECOMMENDED => Finding::good(
            "server",
            format!("nats-server {version} on {place}; {RECOMMENDED} is what this was tested with"),
        ),
        Ok(version) => Finding::good("server", format!("nats-server {version} on {place}")),
        Err(error) => {
            let fix = format!("install nats-server {RECOMMENDED} (`cargo xtask nats`)");
            Finding::wrong("server", error.to_string(), fix)
        }
    }
}

fn judge_payload(max: usize) -> Finding {
    let needed = BLOB_THRESHOLD + BESIDE_BODY;
    if max < needed {
        let text = format!(
            "messages may have {max} bytes, and bodies of up to {BLOB_THRESHOLD} are sent as messages: \
             those between are refused"
        );
        return Finding::wrong(
            "payload",
            text,
            "set `max_payload: 1MB` in the server's configuration",
        );
    }
    Finding::good("payload", format!("messages may have {max} bytes"))
}

#[cfg(test)]
mod tests {
    use super::super::finding::State;
    use super::*;

    #[test]
    fn a_server_that_takes_no_whole_body_is_wrong() {
        assert_eq!(judge_payload(1024 * 1024).state, State::Good);
        assert_eq!(judge_payload(BLOB_THRESHOLD).state, State::Wrong);
    }

    #[test]
    fn a_version_that_loses_letters_is_wrong() {
        assert_eq!(judge_version("2.15.1", "x").state, State::Good);
        assert_eq!(judge_version("2.14.0", "x").state, State::Wrong);
    }
}
