//! What must exist on the broker, and why it is configured so.

use std::collections::HashMap;
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, pull};
use async_nats::jetstream::stream::{
    Config, DiscardPolicy, Republish, RetentionPolicy, StorageType,
};
use async_nats::jetstream::{kv, object_store};

use super::fleet::PRESENCE_TTL;
use super::{Names, Settings, TaskStream};
use crate::protocol::SessionLane;

/// The version of this layout, in the metadata of each stream.
pub(super) const SCHEMA: &str = "1";
pub(super) const SCHEMA_KEY: &str = "a3s.schema";

const MIB: i64 = 1024 * 1024;
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Deliveries after which the broker itself gives up: a backstop, far above any task's attempts.
/// The worker counts attempts and buries the task long before.
const MAX_DELIVER: i64 = 100;

/// Waiting pulls per consumer. The server's default of 512 cannot be raised later, and what is
/// beyond it is dropped without a word when the pull asks for heartbeats.
const MAX_WAITING: i64 = 10_000;

/// Consumers per stream. nats-server 2.15 defaults to 1,000, too few for many pools or sessions.
const MAX_CONSUMERS: i32 = 100_000;

/// Ids are remembered this long. Each costs the server memory, and a submit is retried within
/// seconds.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(60);

fn base(name: String, subjects: Vec<String>, settings: &Settings) -> Config {
    Config {
        name,
        subjects,
        storage: StorageType::File,
        num_replicas: settings.replicas,
        allow_direct: true,
        max_consumers: MAX_CONSUMERS,
        duplicate_window: DUPLICATE_WINDOW,
        metadata: HashMap::from([(SCHEMA_KEY.to_owned(), SCHEMA.to_owned())]),
        ..Config::default()
    }
}

/// All streams, in the order of a task's life.
pub(super) fn streams(names: &Names, settings: &Settings) -> Vec<Config> {
    vec![
        tasks(names, TaskStream::Pool, settings),
        tasks(names, TaskStream::Own, settings),
        results(names, settings),
        claims(names, settings),
        rates(names, settings),
        cancels(names, settings),
        dead_letters(names, settings),
        advisories(names, settings),
        workspaces(names, settings),
    ]
}

/// Competing consumers, and an acknowledged task is gone. Full means refused, never dropped; no
/// age limit, because age drops tasks without a word.
fn tasks(names: &Names, which: TaskStream, settings: &Settings) -> Config {
    Config {
        retention: RetentionPolicy::WorkQueue,
        discard: DiscardPolicy::New,
        max_bytes: i64::from(settings.stream_mib) * MIB,
        ..base(names.tasks(which), names.task_subjects(which), settings)
    }
}

/// The first result of a task wins (its publisher expects subject sequence 0), and is repeated on
/// the done subject, where a plain subscriber sees each stored result once.
fn results(names: &Names, settings: &Settings) -> Config {
    let prefix = names.prefix();
    Config {
        max_age: DAY,
        max_bytes: i64::from(settings.stream_mib) * MIB,
        republish: Some(Republish {
            source: names.result("*", "*"),
            destination: format!("{prefix}.{{{{wildcard(1)}}}}.done.{{{{wildcard(2)}}}}"),
            headers_only: false,
        }),
        ..base(names.results(), vec![names.result("*", "*")], settings)
    }
}

/// The last word on each task counts; it goes a while after the task's deadline, by its own TTL.
fn claims(names: &Names, settings: &Settings) -> Config {
    Config {
        max_age: 7 * DAY,
        max_bytes: 512 * MIB,
        max_messages_per_subject: 1,
        allow_message_ttl: true,
        ..base(names.claims(), vec![names.claim("*", "*")], settings)
    }
}

/// The last word on each session counts. No limit takes longer than an hour to fill up, so that
/// what a day has not changed is full, and so is what is not there.
fn rates(names: &Names, settings: &Settings) -> Config {
    Config {
        max_age: DAY,
        max_bytes: 64 * MIB,
        max_messages_per_subject: 1,
        ..base(names.rates(), vec![names.rate("*")], settings)
    }
}

/// As claims: one marker a task, gone when the task can no longer run.
fn cancels(names: &Names, settings: &Settings) -> Config {
    Config {
        max_age: 7 * DAY,
        max_bytes: 128 * MIB,
        max_messages_per_subject: 1,
        allow_message_ttl: true,
        ..base(names.cancels(), vec![names.cancel("*", "*")], settings)
    }
}

/// One letter a task: a second copy is refused, so burying is idempotent without a window.
fn dead_letters(names: &Names, settings: &Settings) -> Config {
    Config {
        max_age: 30 * DAY,
        max_bytes: 1024 * MIB,
        max_messages_per_subject: 1,
        discard: DiscardPolicy::New,
        discard_new_per_subject: true,
        ..base(
            names.dead_letters(),
            vec![names.dead_letter("*", "*", "*")],
            settings,
        )
    }
}

/// What the broker says of tasks that it gave up itself. Nobody hears it unless a stream does.
fn advisories(names: &Names, settings: &Settings) -> Config {
    let subjects = ["MAX_DELIVERIES", "MSG_TERMINATED"]
        .into_iter()
        .flat_map(|kind| {
            [TaskStream::Pool, TaskStream::Own].map(|which| {
                let stream = names.tasks(which);
                format!("$JS.EVENT.ADVISORY.CONSUMER.{kind}.{stream}.*")
            })
        });
    Config {
        retention: RetentionPolicy::WorkQueue,
        max_age: 30 * DAY,
        max_bytes: 128 * MIB,
        ..base(names.advisories(), subjects.collect(), settings)
    }
}

/// How long a pack or a tree is kept after it was stored last. A sync stores again what is older
/// than half of it.
const WORKSPACE_AGE: Duration = Duration::from_secs(7 * 24 * 3600);

/// The trees that tasks run in. A stream and no object store: a pack is one message, stored and
/// read by one request each, and thousands of them go at once. Full means refused: what is dropped
/// without a word would be missing when a task starts.
fn workspaces(names: &Names, settings: &Settings) -> Config {
    Config {
        discard: DiscardPolicy::New,
        max_age: WORKSPACE_AGE,
        max_bytes: i64::from(settings.stream_mib) * MIB,
        max_messages_per_subject: 1,
        // Not all below `workspace`: that could be a session, whose tasks are elsewhere.
        ..base(
            names.workspaces(),
            vec![
                names.workspace_pack("*"),
                names.workspace_tree("*"),
                names.workspace_changes("*"),
            ],
            settings,
        )
    }
}

/// Who moves what the broker gave up. It has to be moved for sure, so there is no last delivery.
pub(super) fn mover(names: &Names) -> pull::Config {
    pull::Config {
        durable_name: Some(names.mover_consumer()),
        ack_policy: AckPolicy::Explicit,
        ack_wait: Duration::from_secs(30),
        max_deliver: -1,
        ..pull::Config::default()
    }
}

/// The heartbeats of workers; one that is older than its TTL is gone. In a file all the same: a
/// bucket in memory is gone itself when the server was restarted, and nobody creates it again.
pub(super) fn workers_bucket(names: &Names, settings: &Settings) -> kv::Config {
    kv::Config {
        bucket: names.workers_bucket(),
        history: 1,
        max_age: PRESENCE_TTL,
        max_bytes: 32 * MIB,
        num_replicas: settings.replicas,
        ..kv::Config::default()
    }
}

/// The records of sessions.
pub(super) fn sessions_bucket(names: &Names, settings: &Settings) -> kv::Config {
    kv::Config {
        bucket: names.sessions_bucket(),
        history: 1,
        max_age: 30 * DAY,
        max_bytes: 256 * MIB,
        num_replicas: settings.replicas,
        ..kv::Config::default()
    }
}

/// Bodies that are too large for a message.
pub(super) fn blobs_bucket(names: &Names, settings: &Settings) -> object_store::Config {
    object_store::Config {
        bucket: names.blobs_bucket(),
        max_age: 2 * DAY,
        max_bytes: i64::from(settings.stream_mib) * MIB,
        num_replicas: settings.replicas,
        ..object_store::Config::default()
    }
}

fn consumer(name: String, filter: String, settings: &Settings) -> pull::Config {
    pull::Config {
        durable_name: Some(name),
        filter_subject: filter,
        ack_policy: AckPolicy::Explicit,
        ack_wait: settings.ack_wait,
        max_deliver: MAX_DELIVER,
        max_waiting: MAX_WAITING,
        max_ack_pending: -1,
        ..pull::Config::default()
    }
}

/// One consumer a lane for all sessions of a pool: 100,000 sessions cost four consumers.
pub(super) fn pool_consumers(names: &Names, pool: &str, settings: &Settings) -> Vec<pull::Config> {
    let route = crate::protocol::Route::Pool(pool.to_owned());
    SessionLane::ALL
        .into_iter()
        .map(|lane| {
            let filter = names.task("*", lane, &route);
            consumer(names.pool_consumer(pool, lane), filter, settings)
        })
        .collect()
}

/// A session's own consumers. The broker holds the lane's concurrency over all workers, and the
/// consumer goes a while after the last of them.
pub(super) fn own_consumers(
    names: &Names,
    session: &str,
    caps: [usize; 4],
    settings: &Settings,
) -> Vec<pull::Config> {
    SessionLane::ALL
        .into_iter()
        .map(|lane| {
            let filter = names.task(session, lane, &crate::protocol::Route::Own);
            pull::Config {
                max_ack_pending: i64::try_from(caps[lane.index()]).unwrap_or(i64::MAX),
                inactive_threshold: DAY,
                ..consumer(names.own_consumer(session, lane), filter, settings)
            }
        })
        .collect()
}
