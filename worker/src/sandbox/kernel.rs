//! What this machine's kernel has, and how a command is started in it.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustix::process::{DumpableBehavior, getpid, set_child_subreaper, set_dumpable_behavior};
use rustix::thread::CapabilitySets;
use seccompiler::BpfProgram;
use tokio::process::Command;

use super::cage::{Cage, kept_capabilities};
use super::landlock::{Landlock, Use};
use super::{Level, seccomp};
use crate::policy::Policy;
use crate::tools::process::RunNumber;

/// What this machine's kernel has for us.
#[derive(Debug)]
pub(super) struct Kernel {
    landlock: Option<Landlock>,
    /// Empty where there are none.
    filters: Arc<[BpfProgram]>,
    capabilities: Option<CapabilitySets>,
}

impl Kernel {
    pub(super) fn find(policy: &Policy) -> Self {
        let filters = seccomp::filters(policy.network, policy.unix_sockets);
        let filters = filters.ok().filter(|filters| are_taken(filters.clone()));
        Self {
            landlock: Landlock::find(),
            filters: filters.unwrap_or_default().into(),
            capabilities: kept_capabilities(),
        }
    }

    pub(super) fn level(&self) -> Level {
        Level::Kernel {
            landlock: self.landlock.as_ref().map(Landlock::version),
            seccomp: !self.filters.is_empty(),
        }
    }

    /// Has `command` enter its cage between fork and exec. Beside the policy's roots it may use
    /// its own: the directory for temporary files to write, its program to read.
    pub(super) fn confine(
        &self,
        command: &mut Command,
        policy: &Policy,
        [workspace, home, program]: [&Path; 3],
        number: RunNumber,
    ) -> io::Result<()> {
        let list = |roots: &[std::path::PathBuf], usage: Use| {
            let join = |root| (workspace.join(root), usage);
            roots.iter().map(join).collect::<Vec<_>>()
        };
        let mut roots = list(&policy.paths.read, Use::Read);
        roots.extend(list(&policy.paths.write, Use::Write));
        roots.push((home.to_owned(), Use::Write));
        roots.push((program.to_owned(), Use::Read));
        let roots = roots.iter().map(|(path, usage)| (path.as_path(), *usage));
        let ruleset = self
            .landlock
            .as_ref()
            .map(|landlock| landlock.ruleset(roots, policy.network))
            .transpose();
        let cage = Cage {
            ruleset: ruleset.map_err(io::Error::other)?,
            filters: Arc::clone(&self.filters),
            capabilities: self.capabilities,
            number,
        };
        enter(command, cage);
        Ok(())
    }
}

#[allow(
    unsafe_code,
    reason = "pre_exec is the only hook between fork and exec"
)]
fn enter(command: &mut Command, cage: Cage) {
    // SAFETY: the closure only makes system calls; it takes no lock and allocates nothing.
    unsafe {
        command.pre_exec(move || cage.enter());
    }
}

/// Whether the kernel takes these filters. A thread takes them and ends: the only way to know
/// that nothing around this process forbids it.
fn are_taken(filters: Vec<BpfProgram>) -> bool {
    let tried = std::thread::spawn(move || {
        let mut filters = filters.iter();
        filters.all(|filter| seccompiler::apply_filter(filter).is_ok())
    });
    tried.join().unwrap_or(false)
}

/// Keeps other processes of the same user out of this one's memory and environment, and has the
/// orphans of its programs come to it, so that it can end them. Without either the sandbox is
/// weaker and not broken.
pub(super) fn guard_this_process() {
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "other processes of this user may look into the worker");
    }
    if let Err(error) = set_child_subreaper(Some(getpid())) {
        tracing::warn!(%error, "processes that leave their task may outlive it");
    }
}
