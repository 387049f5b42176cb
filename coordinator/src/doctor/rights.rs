//! What the present credential may do, as the server itself says it.

use std::net::IpAddr;

use a3s_shared::broker::{Broker, BrokerError, Names, Seen};
use a3s_shared::runtime::{Connection, Credential};
use serde::Deserialize;

use super::finding::Finding;
use crate::keys::permissions::{WHO_AM_I, covers};

#[derive(Debug, Deserialize)]
struct Answer {
    data: User,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct User {
    account: String,
    permissions: Option<Rights>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Rights {
    publish: Option<Subjects>,
    subscribe: Option<Subjects>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Subjects {
    allow: Option<Vec<String>>,
    deny: Option<Vec<String>>,
}

impl Subjects {
    fn permits(&self, subject: &str) -> bool {
        let among = |patterns: &[String]| patterns.iter().any(|p| covers(p, subject));
        let allowed = self
            .allow
            .as_deref()
            .is_none_or(|allow| allow.is_empty() || among(allow));
        allowed && !self.deny.as_deref().is_some_and(among)
    }
}

/// Asks the server.
pub(crate) async fn check(
    broker: &Broker,
    connection: &Connection,
) -> Result<Vec<Finding>, BrokerError> {
    let mut findings = Vec::new();
    findings.extend(judge_open(connection.credential(), &connection.server.url));
    findings.push(match broker.look_at::<Answer>(WHO_AM_I, WHO_AM_I).await {
        Ok(Seen::There(answer)) => judge(&answer.data, broker.names(), connection.credential()),
        Ok(Seen::Missing | Seen::Hidden(_)) | Err(_) => Finding::unknown(
            "permissions",
            format!(
                "the server does not say what {} may do",
                connection.credential()
            ),
            format!("permit it to publish to {WHO_AM_I}, which tells nothing but that"),
        ),
    });
    Ok(findings)
}

/// Whoever reaches a server without credentials can run commands on the workers.
fn judge_open(credential: &Credential, urls: &str) -> Option<Finding> {
    let open = *credential == Credential::None && !urls.split(',').all(is_local);
    open.then(|| {
        let text = format!(
            "{urls} asks for no credential: whoever reaches it can run commands on the workers"
        );
        Finding::wrong(
            "permissions",
            text,
            "make keys with `a3s-coordinator init`, and use its nats.conf",
        )
    })
}

fn is_local(url: &str) -> bool {
    let host = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

/// What can be done with it, in words. A credential that can do little is no fault: it is meant so.
fn judge(user: &User, names: &Names, credential: &Credential) -> Finding {
    let Some(rights) = &user.permissions else {
        let text = format!("{credential} may do everything in account {}", user.account);
        return Finding::good("permissions", text);
    };
    let publish = |subject: &str| rights.publish.as_ref().is_none_or(|p| p.permits(subject));
    let hear = |subject: &str| rights.subscribe.as_ref().is_none_or(|s| s.permits(subject));
    let (prefix, tasks) = (names.prefix(), "A3S_TASKS");
    // Any session: a credential for one is told below.
    let able = [
        (
            publish(&format!("{prefix}.any-session.query")),
            "submit for any session",
        ),
        (
            publish(&names.result("any-session", "t")),
            "store results of any session",
        ),
        (hear(&names.event("*", ">")), "hear all events"),
        (
            publish(&format!("$JS.API.STREAM.CREATE.{tasks}")),
            "create streams",
        ),
        (
            publish(&format!("$JS.API.STREAM.MSG.DELETE.{tasks}")),
            "delete messages",
        ),
    ];
    let (can, cannot): (Vec<_>, Vec<_>) = able.iter().partition(|(able, _)| *able);
    let list = |of: Vec<&(bool, &str)>| {
        let words: Vec<&str> = of.iter().map(|(_, word)| *word).collect();
        if words.is_empty() {
            "nothing of this".to_owned()
        } else {
            words.join(", ")
        }
    };
    let sessions = own_sessions(rights, prefix);
    let text = format!(
        "{credential} may: {}; may not: {}{sessions}",
        list(can),
        list(cannot)
    );
    Finding::good("permissions", text)
}

/// The sessions that a credential may submit for, where it names them.
fn own_sessions(rights: &Rights, prefix: &str) -> String {
    let allowed = rights
        .publish
        .as_ref()
        .and_then(|p| p.allow.as_deref())
        .unwrap_or_default();
    let own = allowed.iter().filter_map(|subject| {
        let mut tokens = subject.split('.');
        let (first, session, kind) = (tokens.next()?, tokens.next()?, tokens.next()?);
        (first == prefix && kind == "query" && !["*", ">"].contains(&session))
            .then(|| session.to_owned())
    });
    let mut own: Vec<String> = own.collect();
    own.dedup();
    match own.is_empty() {
        true => String::new(),
        false => format!("; submits for session {} alone", own.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::State;
    use super::*;

    fn names() -> Names {
        Names::new("a3s").expect("a valid prefix")
    }

    #[test]
    fn a_server_that_is_open_to_the_network_is_wrong() {
        assert_eq!(judge_open(&Credential::None, "nats://127.0.0.1:4333"), None);
        let finding = judge_open(&Credential::None, "nats://10.0.0.1:4222").expect("a finding");
        assert_eq!(finding.state, State::Wrong);
        assert_eq!(
            judge_open(&Credential::Token("x".into()), "nats://10.0.0.1"),
            None
        );
    }

    #[test]
    fn what_a_credential_may_do_is_told_in_words() {
        let user: User = serde_json::from_str(
            r#"{"account":"A3S","permissions":{"publish":{"allow":["a3s.s.query","a3s.*.result.*"]},
                "subscribe":{"allow":["_INBOX_x.>"]}}}"#,
        )
        .expect("an answer");
        let text = judge(&user, &names(), &Credential::None).text;
        assert!(
            text.contains("may: store results of any session; may not: submit"),
            "{text}"
        );
        assert!(text.ends_with("submits for session s alone"), "{text}");
        let free = judge(&User::default(), &names(), &Credential::None).text;
        assert!(free.contains("may do everything"), "{free}");
    }

    #[test]
    fn what_is_denied_goes_before_what_is_allowed() {
        let subjects = Subjects {
            allow: None,
            deny: Some(vec!["a.>".into()]),
        };
        assert!(!subjects.permits("a.b") && subjects.permits("b"));
    }
}
