//! Every name on the broker. Nothing else spells one.

use crate::protocol::{DEFAULT_POOL, InvalidToken, Route, SessionLane, validate_token};

/// The names under one prefix: subjects begin with it, streams and buckets too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    prefix: String,
}

/// What a task's subject says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskAddress {
    /// The session that asked.
    pub session: String,
    /// Its lane.
    pub lane: SessionLane,
    /// Who is to run it.
    pub route: Route,
}

/// The two streams that hold tasks, by what runs them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TaskStream {
    /// Tasks for the workers of a pool.
    Pool,
    /// Tasks for workers of their session alone.
    Own,
}

impl TaskStream {
    /// The one that holds the tasks of a route.
    #[must_use]
    pub fn of(route: &Route) -> Self {
        match route {
            Route::Pool(_) => Self::Pool,
            Route::Own => Self::Own,
        }
    }
}

impl Names {
    /// Names under `prefix`, usually `a3s`.
    ///
    /// # Errors
    /// When `prefix` cannot be a part of a subject.
    pub fn new(prefix: &str) -> Result<Self, InvalidToken> {
        validate_token("prefix", prefix)?;
        Ok(Self {
            prefix: prefix.to_owned(),
        })
    }

    /// The prefix.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    fn stream(&self, name: &str) -> String {
        format!("{}_{name}", self.prefix.to_ascii_uppercase())
    }

    /// The stream of tasks for pools, `A3S_TASKS`, or for sessions' own workers, `A3S_OWN`.
    #[must_use]
    pub fn tasks(&self, which: TaskStream) -> String {
        match which {
            TaskStream::Pool => self.stream("TASKS"),
            TaskStream::Own => self.stream("OWN"),
        }
    }

    /// The stream of results, `A3S_RESULTS`.
    #[must_use]
    pub fn results(&self) -> String {
        self.stream("RESULTS")
    }

    /// The stream of task records (claims and attempts), `A3S_CLAIMS`.
    #[must_use]
    pub fn claims(&self) -> String {
        self.stream("CLAIMS")
    }

    /// The stream of what is left of sessions' rate limits, `A3S_RATES`.
    #[must_use]
    pub fn rates(&self) -> String {
        self.stream("RATES")
    }

    /// The stream of cancel markers, `A3S_CANCELS`.
    #[must_use]
    pub fn cancels(&self) -> String {
        self.stream("CANCELS")
    }

    /// The stream of dead letters, `A3S_DLQ`.
    #[must_use]
    pub fn dead_letters(&self) -> String {
        self.stream("DLQ")
    }

    /// The stream of the broker's notes on tasks it gave up, `A3S_ADVISORIES`.
    #[must_use]
    pub fn advisories(&self) -> String {
        self.stream("ADVISORIES")
    }

    /// The consumer of the advisories, shared by all janitors: `mover`.
    #[must_use]
    pub fn mover_consumer(&self) -> String {
        "mover".to_owned()
    }

    /// The bucket of session records, `a3s_sessions`.
    #[must_use]
    pub fn sessions_bucket(&self) -> String {
        format!("{}_sessions", self.prefix)
    }

    /// The bucket of worker heartbeats, `a3s_workers`.
    #[must_use]
    pub fn workers_bucket(&self) -> String {
        format!("{}_workers", self.prefix)
    }

    /// The object store of large bodies, `a3s_blobs`.
    #[must_use]
    pub fn blobs_bucket(&self) -> String {
        format!("{}_blobs", self.prefix)
    }

    /// The stream of trees that workers run tasks in, `A3S_WORKSPACES`.
    #[must_use]
    pub fn workspaces(&self) -> String {
        self.stream("WORKSPACES")
    }

    /// A filter for all subjects of that stream.
    #[must_use]
    pub fn workspace_subjects(&self) -> String {
        format!("{}.workspace.>", self.prefix)
    }

    /// A pack of contents; `*` for any.
    #[must_use]
    pub fn workspace_pack(&self, digest: &str) -> String {
        format!("{}.workspace.pack.{digest}", self.prefix)
    }

    /// The head of a tree; `*` for any.
    #[must_use]
    pub fn workspace_tree(&self, digest: &str) -> String {
        format!("{}.workspace.tree.{digest}", self.prefix)
    }

    /// The head of what a task changed; `*` for any.
    #[must_use]
    pub fn workspace_changes(&self, digest: &str) -> String {
        format!("{}.workspace.changes.{digest}", self.prefix)
    }

    /// The stream behind a bucket of keys and values.
    #[must_use]
    pub fn kv_stream(&self, bucket: &str) -> String {
        format!("KV_{bucket}")
    }

    /// The subject of a key (`*`: of any).
    #[must_use]
    pub fn kv_key(&self, bucket: &str, key: &str) -> String {
        format!("$KV.{bucket}.{key}")
    }

    /// The stream behind the object store of large bodies.
    #[must_use]
    pub fn blobs_stream(&self) -> String {
        format!("OBJ_{}", self.blobs_bucket())
    }

    /// The subject of what is known of a large body; `*` stands for any.
    #[must_use]
    pub fn blob_info(&self, encoded_name: &str) -> String {
        format!("$O.{}.M.{encoded_name}", self.blobs_bucket())
    }

    /// The subject of the chunks of a large body; `*` stands for any.
    #[must_use]
    pub fn blob_chunks(&self, nuid: &str) -> String {
        format!("$O.{}.C.{nuid}", self.blobs_bucket())
    }

    /// The NATS micro service that workers register as, `a3s-worker`.
    #[must_use]
    pub fn worker_service(&self) -> String {
        format!("{}-worker", self.prefix)
    }

    /// The subject that a worker's micro service answers on.
    #[must_use]
    pub fn worker_endpoint(&self, worker: &str) -> String {
        format!("{}.worker.{worker}", self.prefix)
    }

    /// Where a task is published: `a3s.<session>.<lane>`, `a3s.<session>.<lane>.<pool>` or
    /// `a3s.<session>.own.<lane>`.
    #[must_use]
    pub fn task(&self, session: &str, lane: SessionLane, route: &Route) -> String {
        let (prefix, lane) = (&self.prefix, lane.id());
        match route {
            Route::Pool(pool) if pool == DEFAULT_POOL => [prefix, ".", session, ".", lane].concat(),
            Route::Pool(pool) => format!("{prefix}.{session}.{lane}.{pool}"),
            Route::Own => format!("{prefix}.{session}.own.{lane}"),
        }
    }

    /// All subjects of a session (`*`: of all sessions); in a stream of tasks, all its tasks.
    #[must_use]
    pub fn of_session(&self, session: &str) -> String {
        format!("{}.{session}.>", self.prefix)
    }

    /// Reads a task's subject back; `None` when it is none.
    #[must_use]
    pub fn parse_task(&self, subject: &str) -> Option<TaskAddress> {
        let mut tokens = subject.strip_prefix(&self.prefix)?.split('.');
        let (empty, session, kind) = (tokens.next()?, tokens.next()?, tokens.next()?);
        let (last, end) = (tokens.next(), tokens.next());
        if !empty.is_empty() || end.is_some() || validate_token("session", session).is_err() {
            return None;
        }
        let (lane, route) = match (kind, last) {
            ("own", Some(lane)) => (lane, Route::Own),
            (lane, pool) => (lane, Route::Pool(pool.unwrap_or(DEFAULT_POOL).to_owned())),
        };
        // The subject holds the lane in lower case only; the capitalised name is for bodies.
        let lane = SessionLane::ALL.into_iter().find(|l| l.id() == lane)?;
        Some(TaskAddress {
            session: session.to_owned(),
            lane,
            route,
        })
    }

    /// All lanes of a session on a route: the subjects that [`task`](Self::task) gives, and
    /// nothing else that the stream of the route holds.
    #[must_use]
    pub fn session_tasks(&self, session: &str, route: &Route) -> String {
        let prefix = &self.prefix;
        match route {
            Route::Pool(pool) if pool == DEFAULT_POOL => format!("{prefix}.{session}.*"),
            Route::Pool(pool) => format!("{prefix}.{session}.*.{pool}"),
            Route::Own => format!("{prefix}.{session}.own.*"),
        }
    }

    /// The subjects of a stream of tasks.
    #[must_use]
    pub fn task_subjects(&self, which: TaskStream) -> Vec<String> {
        let prefix = &self.prefix;
        let lanes = SessionLane::ALL.map(SessionLane::id);
        match which {
            TaskStream::Own => lanes.map(|l| format!("{prefix}.*.own.{l}")).to_vec(),
            TaskStream::Pool => lanes
                .into_iter()
                .flat_map(|l| [format!("{prefix}.*.{l}"), format!("{prefix}.*.{l}.*")])
                .collect(),
        }
    }

    /// The consumer that a pool's workers share for a lane: `pool-<pool>-<lane>`.
    #[must_use]
    pub fn pool_consumer(&self, pool: &str, lane: SessionLane) -> String {
        format!("pool-{pool}-{}", lane.id())
    }

    /// The priority group that all workers of a pool name in their pulls: `workers`. A pool that
    /// serves whoever asks first ignores it; any other refuses a pull without it.
    #[must_use]
    pub fn pool_group(&self) -> &'static str {
        "workers"
    }

    /// The consumer that a session's own workers share for a lane: `own-<session>-<lane>`.
    #[must_use]
    pub fn own_consumer(&self, session: &str, lane: SessionLane) -> String {
        format!("own-{session}-{}", lane.id())
    }

    /// The subject of one thing of a session. (Put together by hand: a task has several, and `format!`
    /// takes three times as long.)
    fn of_one(&self, session: &str, what: &str, id: &str) -> String {
        [&self.prefix, ".", session, ".", what, ".", id].concat()
    }

    /// Where the result of a task is published.
    #[must_use]
    pub fn result(&self, session: &str, task_id: &str) -> String {
        self.of_one(session, "result", task_id)
    }

    /// A subject among those of results that no task has: nothing is ever stored there.
    #[must_use]
    pub fn no_result(&self) -> String {
        self.result("_", "_")
    }

    /// Where the broker repeats each result that it stored; `*` stands for any.
    #[must_use]
    pub fn done(&self, session: &str, task_id: &str) -> String {
        self.of_one(session, "done", task_id)
    }

    /// Where a task's record is kept.
    #[must_use]
    pub fn claim(&self, session: &str, task_id: &str) -> String {
        self.of_one(session, "claim", task_id)
    }

    /// Where is kept what is left of a session's rate limit; `*` stands for any.
    #[must_use]
    pub fn rate(&self, session: &str) -> String {
        format!("{}.{session}.rate", self.prefix)
    }

    /// Where the wish to end a task is kept; `*` stands for any.
    #[must_use]
    pub fn cancel(&self, session: &str, task_id: &str) -> String {
        format!("{}.{session}.cancel.{task_id}", self.prefix)
    }

    /// Where a dead letter is kept; `*` stands for any.
    #[must_use]
    pub fn dead_letter(&self, session: &str, lane: &str, task_id: &str) -> String {
        format!("{}.{session}.dlq.{lane}.{task_id}", self.prefix)
    }

    /// Where an event is told; `>` stands for any kind.
    #[must_use]
    pub fn event(&self, session: &str, kind: &str) -> String {
        self.of_one(session, "event", kind)
    }

    /// Where a running task's output is shown.
    #[must_use]
    pub fn output(&self, session: &str, task_id: &str) -> String {
        self.of_one(session, "output", task_id)
    }

    /// The session and the last token of a subject of four tokens, as of results and cancels.
    #[must_use]
    pub fn session_and_id<'a>(&self, subject: &'a str) -> Option<(&'a str, &'a str)> {
        let mut tokens = subject
            .strip_prefix(&self.prefix)?
            .strip_prefix('.')?
            .split('.');
        let session = tokens.next()?;
        tokens.next()?;
        let id = tokens.next()?;
        tokens.next().is_none().then_some((session, id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        Names::new("a3s").expect("a valid prefix")
    }

    #[test]
    fn task_subjects_are_read_back() {
        let routes = [
            Route::Pool("default".into()),
            Route::Pool("eu".into()),
            Route::Own,
        ];
        for route in routes {
            for lane in SessionLane::ALL {
                let subject = names().task("s1", lane, &route);
                let address = names().parse_task(&subject).expect("a task's subject");
                assert_eq!((address.lane, &address.route), (lane, &route), "{subject}");
            }
        }
    }

    #[test]
    fn subjects_of_other_things_are_no_tasks() {
        for subject in [
            "a3s.s.result.t",
            "a3s.s.Query",
            "a3s.s.rate",
            "a3s.s",
            "b.s.query",
            "a3s.s.query.eu.x",
            "a3sx.s.query",
        ] {
            assert_eq!(names().parse_task(subject), None, "{subject}");
        }
        assert_eq!(names().session_and_id("a3s.s.done.t"), Some(("s", "t")));
        assert_eq!(names().tasks(TaskStream::Pool), "A3S_TASKS");
    }
}
