//! All that takes part in a run, and what can be done to it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use a3s_shared::protocol::clock;
use anyhow::{Context as _, Result};
use rustix::process::Signal;
use tokio::time::{Instant, sleep};

use super::cast::{Cast, way, worker, worker_id};
use super::ledger::lines::{Event, Struck, WorkerLife};
use super::ledger::{FAULTS, Journal};
use super::member::{Member, command};
use super::plan::{Fault, Harm, Target};
use super::server::Server;

/// How long workers may take to drain.
const DRAIN_WITHIN: Duration = Duration::from_secs(40);

/// How often a process is looked at that gives no event when it ends.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The processes of a run. All of them end with it.
pub(crate) struct Stage {
    dir: PathBuf,
    name: String,
    journal: Journal,
    workers: Vec<Member>,
    pub(crate) submitter: Member,
    /// None: the server is somebody else's.
    server: Option<Server>,
    /// Faults that are not over, and when they began.
    open: Vec<(Fault, u64)>,
}

impl Stage {
    /// Sets the stage of run `name` in `dir`; [`Stage::tend`] starts the processes.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub(crate) async fn set(
        dir: &Path,
        name: &str,
        cast: &Cast,
        server: Option<Server>,
    ) -> Result<Self> {
        let journal = Journal::open(&dir.join(FAULTS))?;
        let count = cast.workers + cast.others.len();
        let mut workers = Vec::with_capacity(count);
        for place in 0..count {
            let (link, join) = way(server.as_ref(), &cast.join).await;
            let recipe = worker(dir, name, cast, place, join);
            workers.push(Member::new(link, Box::new(recipe)));
        }
        let (link, join) = way(server.as_ref(), &cast.join).await;
        let (program, at) = (cast.coordinator.clone(), dir.to_owned());
        let submitter = Member::new(
            link,
            Box::new(move |_| {
                let mut command = command(&program, &join, &at.join("submitter.log"));
                command.arg("chaos").arg("--submitter").arg(&at);
                command
            }),
        );
        Ok(Self {
            dir: dir.to_owned(),
            name: name.to_owned(),
            journal,
            workers,
            submitter,
            server,
            open: Vec::new(),
        })
    }

    /// Starts whoever is not there and should be.
    ///
    /// # Errors
    /// When a process cannot be started, or the ledger not be written.
    pub(crate) async fn tend(&mut self) -> Result<()> {
        let mut begun = Vec::new();
        for (place, worker) in self.workers.iter_mut().enumerate() {
            let life = worker.tend().context("a worker cannot be started")?;
            begun.extend(life.map(|(life, pid)| (place, life, pid)));
        }
        for (place, life, pid) in begun {
            let life = WorkerLife {
                id: worker_id(&self.name, place, life),
                pid,
                from_ms: clock::local_now_ms(),
            };
            self.journal.note(&Event::Worker(life)).await?;
        }
        // It is started again when it fails, and left alone when it has done its work.
        if self
            .submitter
            .ended()
            .is_none_or(|status| !status.success())
        {
            self.submitter
                .tend()
                .context("the submitter cannot be started")?;
        }
        Ok(())
    }

    /// Begins a fault.
    pub(crate) fn begin(&mut self, fault: Fault) {
        self.open.push((fault, clock::local_now_ms()));
        match (fault.harm, self.member(fault.target)) {
            (Harm::ServerKill, _) => self.server.as_mut().map_or((), Server::kill),
            (Harm::ServerFreeze, _) => self.signal_server(Signal::STOP),
            (Harm::WorkerKill | Harm::SubmitterKill, Some(member)) => member.kill(),
            (Harm::WorkerFreeze | Harm::SubmitterFreeze, Some(member)) => {
                member.signal(Signal::STOP);
            }
            (Harm::WorkerDrain, Some(member)) => member.drain(),
            (
                harm,
                Some(Member {
                    link: Some(link), ..
                }),
            ) => match harm {
                Harm::Cut => link.cut(),
                Harm::Delay => link.delay(Duration::from_millis(fault.latency_ms)),
                Harm::HalfOpen => link.blackhole(),
                _ => link.lose_answers(),
            },
            _ => {}
        }
    }

    /// Ends a fault.
    ///
    /// # Errors
    /// When the server does not start again, or the ledger cannot be written.
    pub(crate) async fn end(&mut self, fault: Fault) -> Result<()> {
        let Some(at) = self.open.iter().position(|(open, _)| *open == fault) else {
            return Ok(());
        };
        match (fault.harm, self.member(fault.target)) {
            (Harm::ServerKill, _) => {
                if let Some(server) = &mut self.server {
                    server.start_again().await?;
                }
            }
            (Harm::ServerFreeze, _) => self.signal_server(Signal::CONT),
            (Harm::WorkerKill | Harm::SubmitterKill | Harm::WorkerDrain, Some(member)) => {
                member.up();
            }
            (Harm::WorkerFreeze | Harm::SubmitterFreeze, Some(member)) => {
                member.signal(Signal::CONT);
            }
            (
                _,
                Some(Member {
                    link: Some(link), ..
                }),
            ) => link.heal(),
            _ => {}
        }
        let (fault, from_ms) = self.open.remove(at);
        let struck = Struck {
            fault,
            from_ms,
            to_ms: clock::local_now_ms(),
        };
        self.journal.note(&Event::Struck(struck)).await?;
        Ok(())
    }

    /// Ends all faults.
    ///
    /// # Errors
    /// As [`Stage::end`].
    pub(crate) async fn heal(&mut self) -> Result<()> {
        while let Some((fault, _)) = self.open.first() {
            self.end(*fault).await?;
        }
        Ok(())
    }

    /// Lets the workers drain, and ends those that do not: how many that were.
    pub(crate) async fn drain(&mut self) -> usize {
        for worker in &mut self.workers {
            worker.signal(Signal::CONT);
            worker.drain();
        }
        let until = Instant::now() + DRAIN_WITHIN;
        while self.workers.iter_mut().any(Member::runs) && Instant::now() < until {
            sleep(LOOK_EVERY).await;
        }
        let stubborn = self
            .workers
            .iter_mut()
            .filter_map(|worker| worker.runs().then_some(()));
        let stubborn = stubborn.count();
        self.workers.iter_mut().for_each(Member::kill);
        stubborn
    }

    /// Whether the server is the run's own: then nobody else has leases on it.
    pub(crate) fn owns_server(&self) -> bool {
        self.server.is_some()
    }

    /// Where the run is.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    fn member(&mut self, target: Target) -> Option<&mut Member> {
        match target {
            Target::Worker(place) => self.workers.get_mut(place),
            Target::Submitter => Some(&mut self.submitter),
            Target::Server => None,
        }
    }

    fn signal_server(&mut self, signal: Signal) {
        if let Some(server) = &mut self.server {
            server.signal(signal);
        }
    }
}
