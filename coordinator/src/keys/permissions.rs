//! The one table: what each role may publish and subscribe to. What is not here is denied.
//!
//! JetStream's own calls are subjects too, so what a role may do to streams and consumers is said
//! in the same words. Where a call names a filter in its subject, the table does; where it has it
//! in its body alone, a limit to one session cannot be said: `docs/security.md` lists these.

use a3s_shared::broker::{Names, TaskStream};
use a3s_shared::protocol::{Route, Serves, SessionLane};

use super::role::{Role, region_worker};

/// What a credential may do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Permissions {
    /// Subjects to publish to, requests included.
    pub(crate) publish: Vec<String>,
    /// Subjects to subscribe to.
    pub(crate) subscribe: Vec<String>,
    /// Whether it may answer whoever asks it, once for each question.
    pub(crate) responds: bool,
}

/// Asks the server what the credential itself may do.
pub(crate) const WHO_AM_I: &str = "$SYS.REQ.USER.INFO";

/// What `role` may do, in JetStream domain `domain`, with all names under those of `names`.
pub(crate) fn permissions(role: &Role, names: &Names, domain: Option<&str>) -> Permissions {
    let table = Table {
        names,
        api: domain.map_or("$JS.API".to_owned(), |domain| format!("$JS.{domain}.API")),
        // Keys are written under the API of a domain, and not at all under the plain one.
        keys: domain.map_or(String::new(), |domain| format!("$JS.{domain}.API.")),
        inbox: role.inbox(),
    };
    let mut permissions = match role {
        Role::Coordinator => table.coordinator(),
        Role::Session(session) => table.session(session),
        Role::Worker { serves, lanes } => table.worker(serves, lanes),
        Role::Observer => table.observer(),
        // What its workers may: a leaf is a way, and not somebody.
        Role::Leaf(region) => {
            let Role::Worker { serves, lanes } = region_worker(region) else {
                return Permissions::default();
            };
            table.worker(&serves, &lanes)
        }
    };
    permissions.publish.push(WHO_AM_I.to_owned());
    permissions
        .subscribe
        .insert(0, format!("{}.>", table.inbox));
    permissions
}

/// The lines that roles share.
struct Table<'a> {
    names: &'a Names,
    api: String,
    keys: String,
    inbox: String,
}

impl Table<'_> {
    fn coordinator(&self) -> Permissions {
        let Self {
            names, api, keys, ..
        } = self;
        let mut publish = vec![
            format!("{}.>", names.prefix()),
            format!("{api}.>"),
            "$JS.ACK.>".to_owned(),
            "$JS.FC.>".to_owned(),
            format!("{keys}{}", names.kv_key(&names.workers_bucket(), ">")),
            format!("{keys}{}", names.kv_key(&names.sessions_bucket(), ">")),
            "$SRV.>".to_owned(),
        ];
        publish.extend(self.write_bodies());
        publish.push(self.nobody());
        Permissions {
            publish,
            subscribe: vec![
                format!("{}.>", names.prefix()),
                "$JS.EVENT.ADVISORY.>".to_owned(),
            ],
            responds: false,
        }
    }

    fn session(&self, session: &str) -> Permissions {
        let Self { names, api, .. } = self;
        let (pool, own) = (names.tasks(TaskStream::Pool), names.tasks(TaskStream::Own));
        let mut publish = Vec::new();
        for lane in SessionLane::ALL {
            let any_pool = Route::Pool("*".to_owned());
            let default = Route::Pool(a3s_shared::protocol::DEFAULT_POOL.to_owned());
            let mine = names.task(session, lane, &Route::Own);
            publish.push(names.task(session, lane, &default));
            publish.push(names.task(session, lane, &any_pool));
            publish.push(mine.clone());
            let consumer = names.own_consumer(session, lane);
            publish.push(format!("{api}.CONSUMER.INFO.{own}.{consumer}"));
            publish.push(format!("{api}.CONSUMER.CREATE.{own}.{consumer}.{mine}"));
        }
        publish.extend([
            names.result(session, "*"),
            names.claim(session, "*"),
            names.cancel(session, "*"),
            names.dead_letter(session, "*", "*"),
            names.rate(session),
            names.event(session, ">"),
        ]);
        for stream in [&pool, &own, &names.results()] {
            publish.push(format!("{api}.STREAM.INFO.{stream}"));
        }
        publish.push(format!("{api}.CONSUMER.INFO.{pool}.*"));
        let letters = names.dead_letter(session, "*", "*");
        publish.extend([
            self.read(&names.results(), &names.result(session, "*")),
            self.read(&names.claims(), &names.claim(session, "*")),
            self.read(&names.cancels(), &names.cancel(session, "*")),
            self.read(&names.rates(), &names.rate(session)),
            self.read(&names.dead_letters(), &letters),
        ]);
        publish.extend(self.follow(&names.cancels(), &names.cancel(session, "*")));
        publish.extend(self.follow(&names.dead_letters(), &letters));
        publish.extend(self.record(session));
        publish.extend(self.fleet());
        publish.extend(self.read_bodies());
        publish.extend(self.write_bodies());
        publish.extend(self.read_trees());
        publish.extend([
            format!("{api}.STREAM.INFO.{}", names.workspaces()),
            names.workspace_pack("*"),
            names.workspace_tree("*"),
        ]);
        publish.push(self.nobody());
        Permissions {
            publish,
            subscribe: vec![names.of_session(session)],
            responds: false,
        }
    }

    fn worker(&self, serves: &Serves, lanes: &[SessionLane]) -> Permissions {
        let Self {
            names, api, keys, ..
        } = self;
        let (stream, session) = match serves {
            Serves::Pool(_) => (names.tasks(TaskStream::Pool), "*"),
            Serves::Session(session) => (names.tasks(TaskStream::Own), session.as_str()),
        };
        let mut publish = Vec::new();
        for lane in lanes {
            let (consumer, filter) = match serves {
                Serves::Pool(pool) => {
                    let route = Route::Pool(pool.clone());
                    (
                        names.pool_consumer(pool, *lane),
                        names.task("*", *lane, &route),
                    )
                }
                Serves::Session(session) => {
                    let filter = names.task(session, *lane, &Route::Own);
                    (names.own_consumer(session, *lane), filter)
                }
            };
            publish.extend([
                format!("{api}.CONSUMER.INFO.{stream}.{consumer}"),
                format!("{api}.CONSUMER.MSG.NEXT.{stream}.{consumer}"),
                format!("$JS.ACK.{stream}.{consumer}.>"),
                // As servers write it that name the domain and the account.
                format!("$JS.ACK.*.*.{stream}.{consumer}.>"),
                // Of the lanes that it serves, and with their filter alone.
                format!("{api}.CONSUMER.CREATE.{stream}.{consumer}.{filter}"),
                names.dead_letter(session, lane.id(), "*"),
            ]);
        }
        publish.extend([
            names.result(session, "*"),
            names.claim(session, "*"),
            names.event(session, ">"),
            names.output(session, "*"),
            self.read(&names.claims(), &names.claim(session, "*")),
            self.read(&names.cancels(), &names.cancel(session, "*")),
        ]);
        publish.extend(self.follow(&names.cancels(), &names.cancel(session, "*")));
        // A pool's worker asks whether a task has a result without reading it.
        if let Serves::Session(session) = serves {
            publish.push(self.read(&names.results(), &names.result(session, "*")));
            publish.extend(self.record(session));
        }
        let workers = names.workers_bucket();
        publish.push(format!("{api}.STREAM.INFO.{}", names.kv_stream(&workers)));
        publish.push(format!("{keys}{}", names.kv_key(&workers, "*")));
        publish.extend(self.read_bodies());
        publish.extend(self.write_bodies());
        publish.extend(self.read_trees());
        publish.extend([names.workspace_pack("*"), names.workspace_changes("*")]);
        publish.push(self.nobody());
        let service = names.worker_service();
        Permissions {
            publish,
            subscribe: vec![
                "$SRV.*".to_owned(),
                format!("$SRV.*.{service}"),
                format!("$SRV.*.{service}.*"),
                names.worker_endpoint("*"),
                // The markers that it may read and follow, heard as they are written: the way of
                // the worker in Node.
                names.cancel(session, "*"),
            ],
            responds: true,
        }
    }

    /// Numbers, names and heartbeats; no payload, no result, no consumer of its own.
    fn observer(&self) -> Permissions {
        let Self { names, api, .. } = self;
        let calls = [
            "INFO",
            "STREAM.NAMES",
            "STREAM.LIST",
            "STREAM.INFO.*",
            "CONSUMER.NAMES.*",
            "CONSUMER.LIST.*",
            "CONSUMER.INFO.*.*",
        ];
        let mut publish: Vec<String> = calls.map(|call| format!("{api}.{call}")).to_vec();
        for bucket in [names.workers_bucket(), names.sessions_bucket()] {
            publish.push(self.read(&names.kv_stream(&bucket), &names.kv_key(&bucket, "*")));
        }
        for verb in ["PING", "INFO", "STATS"] {
            publish.extend([format!("$SRV.{verb}"), format!("$SRV.{verb}.>")]);
        }
        publish.push(names.worker_endpoint("*"));
        Permissions {
            publish,
            subscribe: vec![names.event("*", ">"), "$JS.EVENT.ADVISORY.>".to_owned()],
            responds: false,
        }
    }

    /// The last message of a subject.
    fn read(&self, stream: &str, subject: &str) -> String {
        format!("{}.DIRECT.GET.{stream}.{subject}", self.api)
    }

    /// A watch of its own on these subjects of a stream.
    fn follow(&self, stream: &str, subject: &str) -> [String; 2] {
        [
            format!("{}.CONSUMER.CREATE.{stream}.*.{subject}", self.api),
            format!("$JS.FC.{stream}.>"),
        ]
    }

    /// A session's record, to read, follow and write.
    fn record(&self, session: &str) -> Vec<String> {
        let bucket = self.names.sessions_bucket();
        let (stream, key) = (
            self.names.kv_stream(&bucket),
            self.names.kv_key(&bucket, session),
        );
        let mut lines = vec![
            format!("{}.STREAM.INFO.{stream}", self.api),
            self.read(&stream, &key),
            format!("{}{key}", self.keys),
        ];
        lines.extend(self.follow(&stream, &key));
        lines
    }

    /// The heartbeats of all workers, to read and follow.
    fn fleet(&self) -> Vec<String> {
        let (api, bucket) = (&self.api, self.names.workers_bucket());
        let stream = self.names.kv_stream(&bucket);
        vec![
            format!("{api}.STREAM.INFO.{stream}"),
            self.read(&stream, &self.names.kv_key(&bucket, "*")),
            format!("{api}.CONSUMER.CREATE.{stream}"),
            format!("{api}.CONSUMER.CREATE.{stream}.>"),
            format!("{api}.CONSUMER.INFO.{stream}.*"),
            format!("$JS.FC.{stream}.>"),
        ]
    }

    /// Large bodies. The client library asks for chunks in a request's body, so no subject can
    /// hold one session's from another's.
    fn read_bodies(&self) -> Vec<String> {
        let (api, stream) = (&self.api, self.names.blobs_stream());
        vec![
            format!("{api}.STREAM.INFO.{stream}"),
            self.read(&stream, &self.names.blob_info("*")),
            format!("{api}.CONSUMER.CREATE.{stream}"),
            format!("{api}.CONSUMER.CREATE.{stream}.>"),
            format!("$JS.FC.{stream}.>"),
        ]
    }

    fn write_bodies(&self) -> [String; 2] {
        [self.names.blob_info("*"), self.names.blob_chunks("*")]
    }

    /// Trees that tasks run in. They belong to no session: who knows the digest of one may read it.
    fn read_trees(&self) -> [String; 3] {
        let (names, stream) = (self.names, self.names.workspaces());
        [
            names.workspace_pack("*"),
            names.workspace_tree("*"),
            names.workspace_changes("*"),
        ]
        .map(|subject| self.read(&stream, &subject))
    }

    /// Where nobody listens: the question whether anybody hears an event is answered after it.
    fn nobody(&self) -> String {
        format!("{}.*.nobody.*", self.inbox)
    }
}

/// Whether a subject is among those that `pattern` stands for; wildcards in `subject` count as
/// what they are, tokens.
pub(crate) fn covers(pattern: &str, subject: &str) -> bool {
    let (mut pattern, mut subject) = (pattern.split('.'), subject.split('.'));
    loop {
        match (pattern.next(), subject.next()) {
            (Some(">"), Some(_)) | (None, None) => return true,
            (Some("*"), Some(_)) => {}
            (Some(one), Some(other)) if one == other => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(role: &Role) -> Permissions {
        permissions(role, &Names::new("a3s").expect("a valid prefix"), None)
    }

    fn worker(serves: Serves, lanes: &[SessionLane]) -> Permissions {
        of(&Role::Worker {
            serves,
            lanes: lanes.to_vec(),
        })
    }

    fn may(permissions: &Permissions, subject: &str) -> bool {
        permissions
            .publish
            .iter()
            .any(|allowed| covers(allowed, subject))
    }

    #[test]
    fn patterns_cover_what_the_server_says_they_do() {
        for (pattern, subject, covered) in [
            ("a.*.c", "a.b.c", true),
            ("a.*", "a.b.c", false),
            ("a.>", "a.b.c", true),
            ("a.>", "a", false),
            ("a.s.result.*", "a.*.result.*", false),
            ("a.*.result.*", "a.s.result.*", true),
        ] {
            assert_eq!(covers(pattern, subject), covered, "{pattern} {subject}");
        }
    }

    #[test]
    fn a_worker_of_a_session_reads_and_writes_that_session_alone() {
        let worker = worker(Serves::Session("s".into()), &SessionLane::ALL);
        for subject in [
            "a3s.s.result.t",
            "$JS.API.DIRECT.GET.A3S_RESULTS.a3s.s.result.t",
            "$JS.API.CONSUMER.MSG.NEXT.A3S_OWN.own-s-query",
            "$KV.a3s_sessions.s",
        ] {
            assert!(may(&worker, subject), "{subject}");
        }
        for subject in [
            "a3s.other.result.t",
            "$JS.API.DIRECT.GET.A3S_RESULTS.a3s.other.result.t",
            "$JS.API.DIRECT.GET.A3S_RESULTS.a3s.*.result.*",
            "$JS.API.DIRECT.GET.A3S_RESULTS",
            "$JS.API.CONSUMER.MSG.NEXT.A3S_OWN.own-other-query",
            "$JS.API.CONSUMER.CREATE.A3S_CANCELS.x.a3s.*.cancel.*",
            "$KV.a3s_sessions.other",
            "a3s.s.query",
            "a3s.s.own.query",
        ] {
            assert!(!may(&worker, subject), "{subject}");
        }
    }

    #[test]
    fn a_worker_of_a_pool_reads_no_result() {
        let worker = worker(Serves::Pool("eu".into()), &SessionLane::ALL);
        assert!(may(&worker, "a3s.s.result.t"));
        assert!(!may(
            &worker,
            "$JS.API.DIRECT.GET.A3S_RESULTS.a3s.s.result.t"
        ));
    }

    #[test]
    fn a_worker_of_a_lane_pulls_and_answers_that_lane_alone() {
        let worker = worker(Serves::Pool("eu".into()), &[SessionLane::Query]);
        assert!(may(
            &worker,
            "$JS.API.CONSUMER.MSG.NEXT.A3S_TASKS.pool-eu-query"
        ));
        assert!(may(&worker, "$JS.ACK.A3S_TASKS.pool-eu-query.1.2.3.4.5"));
        for subject in [
            "$JS.API.CONSUMER.MSG.NEXT.A3S_TASKS.pool-eu-execute",
            "$JS.API.CONSUMER.MSG.NEXT.A3S_TASKS.pool-default-query",
            "$JS.API.CONSUMER.CREATE.A3S_TASKS.pool-eu-query.a3s.*.query",
            "$JS.ACK.A3S_TASKS.pool-eu-execute.1.2.3.4.5",
            "a3s.s.dlq.execute.t",
        ] {
            assert!(!may(&worker, subject), "{subject}");
        }
    }

    #[test]
    fn only_the_coordinator_of_all_sessions_deletes_purges_or_creates_streams() {
        let others = [
            Role::Session("s".into()),
            Role::Observer,
            Role::Leaf("eu".into()),
            region_worker("eu"),
        ];
        let calls = [
            "STREAM.CREATE.A3S_TASKS",
            "STREAM.UPDATE.A3S_TASKS",
            "STREAM.DELETE.A3S_TASKS",
            "STREAM.PURGE.A3S_TASKS",
            "STREAM.MSG.DELETE.A3S_TASKS",
            "STREAM.MSG.GET.A3S_RESULTS",
            "CONSUMER.DELETE.A3S_TASKS.pool-eu-query",
            "CONSUMER.CREATE.A3S_TASKS.mine.a3s.*.query",
            "CONSUMER.DURABLE.CREATE.A3S_TASKS.mine",
            "DIRECT.GET.A3S_TASKS",
        ];
        for call in calls.map(|call| format!("$JS.API.{call}")) {
            assert!(may(&of(&Role::Coordinator), &call), "{call}");
            for role in &others {
                assert!(!may(&of(role), &call), "{role}: {call}");
            }
        }
    }

    #[test]
    fn workers_read_trees_and_tell_changes_and_only_who_submits_makes_trees() {
        let worker = worker(Serves::Pool("eu".into()), &[SessionLane::Query]);
        let session = of(&Role::Session("s".into()));
        let read = "$JS.API.DIRECT.GET.A3S_WORKSPACES.a3s.workspace.tree.0";
        assert!(may(&worker, read) && may(&session, read));
        assert!(may(&worker, "a3s.workspace.changes.0"));
        assert!(!may(&worker, "a3s.workspace.tree.0"));
        assert!(may(&session, "a3s.workspace.tree.0"));
        assert!(!may(&session, "$JS.API.STREAM.PURGE.A3S_WORKSPACES"));
        assert!(!may(&of(&Role::Observer), read));
    }

    #[test]
    fn an_observer_publishes_questions_alone() {
        for allowed in of(&Role::Observer).publish {
            let question = ["$JS.API.", "$SRV.", "a3s.worker.", "$SYS.REQ."];
            assert!(question.iter().any(|q| allowed.starts_with(q)), "{allowed}");
        }
    }
}
