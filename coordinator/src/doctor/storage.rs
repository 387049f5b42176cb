//! How much room JetStream has, how full the streams are, and when data is forced to the disk.

use a3s_shared::broker::{Broker, BrokerError, Seen, TaskStream};
use async_nats::jetstream::stream;
use serde::Deserialize;

use super::finding::Finding;

/// What the broker says of the account.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Account {
    memory: i64,
    storage: i64,
    reserved_storage: i64,
    limits: AccountLimits,
}

#[derive(Debug, Deserialize)]
#[serde(default)]
struct AccountLimits {
    max_storage: i64,
}

impl Default for AccountLimits {
    fn default() -> Self {
        Self { max_storage: -1 }
    }
}

/// What the system account is told of JetStream's configuration.
#[derive(Debug, Deserialize)]
struct Monitored {
    data: MonitoredData,
}

#[derive(Debug, Deserialize)]
struct MonitoredData {
    config: MonitoredConfig,
}

#[derive(Debug, Deserialize)]
struct MonitoredConfig {
    #[serde(default)]
    sync_interval: u64,
    #[serde(default)]
    sync_always: bool,
}

const SYNC: &str = "$SYS.REQ.SERVER.PING.JSZ";

/// Looks at the account, each stream, and the server's configuration where it is told.
pub(crate) async fn check(broker: &Broker, full: u8) -> Result<Vec<Finding>, BrokerError> {
    let mut findings = vec![match broker.look::<Account>("INFO").await? {
        Seen::There(account) => judge_account(&account, full),
        Seen::Missing => Finding::wrong(
            "storage",
            "JetStream is not enabled",
            "start nats-server with -js, or with a nats.conf that `a3s-coordinator init` writes",
        ),
        Seen::Hidden(denied) => Finding::hidden("storage", &format!("not permitted to {denied}")),
    }];
    findings.extend(streams(broker, full).await?);
    findings.push(judge_sync(broker.look_at::<Monitored>(SYNC, SYNC).await));
    Ok(findings)
}

fn judge_account(account: &Account, full: u8) -> Finding {
    let Account {
        memory,
        storage,
        reserved_storage,
        limits,
    } = account;
    let used = format!("{} stored, {} in memory", size(*storage), size(*memory));
    if limits.max_storage <= 0 {
        let text = format!(
            "{used}, {} reserved by streams; the account has no limit of its own, and the server's \
             is seen with the system account alone",
            size(*reserved_storage)
        );
        return Finding::good("storage", text);
    }
    let taken = storage.max(reserved_storage);
    let text = format!(
        "{used}, {} of {} taken",
        size(*taken),
        size(limits.max_storage)
    );
    match is_full(*taken, limits.max_storage, full) {
        true => Finding::wrong(
            "storage",
            text,
            "raise the account's max_file in the server's configuration",
        ),
        false => Finding::good("storage", text),
    }
}

/// The streams that refuse what is new when they are full. Others let go of what is old.
async fn streams(broker: &Broker, full: u8) -> Result<Vec<Finding>, BrokerError> {
    let names = broker.names();
    let refusing = [
        (
            names.tasks(TaskStream::Pool),
            "tasks are refused when it is full",
        ),
        (
            names.tasks(TaskStream::Own),
            "tasks are refused when it is full",
        ),
        (
            names.dead_letters(),
            "nothing can be given up when it is full",
        ),
        (
            names.blobs_stream(),
            "large bodies are refused when it is full",
        ),
    ];
    let mut findings = Vec::new();
    for (stream, meaning) in refusing {
        if let Seen::There(info) = broker.stream_info(&stream).await? {
            findings.extend(judge_stream(&info, meaning, full));
        }
    }
    if findings.is_empty() {
        findings.push(Finding::good("streams", format!("none is {full} % full")));
    }
    Ok(findings)
}

fn judge_stream(info: &stream::Info, meaning: &str, full: u8) -> Option<Finding> {
    let (used, max) = (info.state.bytes, info.config.max_bytes);
    let used = i64::try_from(used).unwrap_or(i64::MAX);
    let name = &info.config.name;
    is_full(used, max, full).then(|| {
        let text = format!("{name} holds {} of {}: {meaning}", size(used), size(max));
        let fix = format!("remove what is not needed, or `nats stream edit {name} --max-bytes …`");
        Finding::wrong("streams", text, fix)
    })
}

fn is_full(used: i64, max: i64, percent: u8) -> bool {
    max > 0 && i128::from(used) * 100 >= i128::from(max) * i128::from(percent)
}

fn judge_sync(seen: Result<Seen<Monitored>, BrokerError>) -> Finding {
    let Ok(Seen::There(monitored)) = seen else {
        return Finding::unknown(
            "sync",
            "when data is forced to the disk is seen with the system account alone",
            "look for `sync_interval` in nats.conf: without it, a power cut may lose two minutes",
        );
    };
    let MonitoredConfig {
        sync_interval,
        sync_always,
    } = monitored.data.config;
    let text = match (sync_always, sync_interval) {
        (true, _) => "everything that is acknowledged is on the disk".to_owned(),
        (false, 0) => "a power cut may lose two minutes".to_owned(),
        (false, ns) => format!("a power cut may lose {} s", ns / 1_000_000_000),
    };
    Finding::good("sync", text)
}

fn size(bytes: i64) -> String {
    const MIB: i64 = 1024 * 1024;
    match bytes {
        b if b >= 1024 * MIB => format!("{} GiB", b / (1024 * MIB)),
        b if b >= MIB => format!("{} MiB", b / MIB),
        b => format!("{} KiB", b / 1024),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::State;
    use super::*;

    #[test]
    fn a_limit_is_a_limit_and_none_is_none() {
        assert!(is_full(90, 100, 80));
        assert!(!is_full(79, 100, 80));
        assert!(!is_full(i64::MAX, -1, 80));
    }

    #[test]
    fn an_account_that_is_nearly_full_is_wrong() {
        let account = |reserved_storage| Account {
            reserved_storage,
            limits: AccountLimits { max_storage: 1000 },
            ..Account::default()
        };
        assert_eq!(judge_account(&account(100), 80).state, State::Good);
        assert_eq!(judge_account(&account(900), 80).state, State::Wrong);
        assert_eq!(judge_account(&Account::default(), 80).state, State::Good);
    }

    #[test]
    fn without_the_system_account_it_says_so() {
        assert_eq!(judge_sync(Ok(Seen::Missing)).state, State::Unknown);
    }
}
