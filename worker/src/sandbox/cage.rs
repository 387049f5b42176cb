//! What one program is put into, between fork and exec.
//!
//! Everything is made before the fork. In the child, which shares the memory of a process with
//! many threads, there are only system calls: no lock, no allocation.

use std::io;
use std::sync::Arc;

use landlock::{Errno, RulesetCreated};
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};
use seccompiler::BpfProgram;

use crate::tools::process::RunNumber;

/// Of root's powers, those over files, without which a container's root could not use a workspace
/// that is another user's.
const KEPT: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID);

/// What one program is put into.
#[derive(Debug)]
pub(super) struct Cage {
    pub(super) ruleset: Option<RulesetCreated>,
    pub(super) filters: Arc<[BpfProgram]>,
    pub(super) capabilities: Option<CapabilitySets>,
    /// What its processes are known by.
    pub(super) number: RunNumber,
}

impl Cage {
    /// Restricts the calling thread, and all that it starts, for ever.
    ///
    /// # Errors
    /// What the kernel said.
    pub(super) fn enter(&self) -> io::Result<()> {
        close_inherited();
        // Before the power to raise it again is gone.
        self.number.take()?;
        rustix::thread::set_no_new_privs(true)?;
        if let Some(kept) = self.capabilities {
            set_capabilities(None, kept)?;
        }
        if let Some(ruleset) = &self.ruleset {
            // A second descriptor, for a command can be started again when its file was busy.
            let restricted = ruleset.try_clone()?.restrict_self();
            restricted.map_err(|e| io::Error::from_raw_os_error(*Errno::from(e)))?;
        }
        for filter in &*self.filters {
            let applied = seccompiler::apply_filter(filter);
            applied.map_err(|e| io::Error::from_raw_os_error(seccomp_errno(&e)))?;
        }
        Ok(())
    }
}

/// What is left to a program of the powers of this process; `None` when it has none to lose.
pub(super) fn kept_capabilities() -> Option<CapabilitySets> {
    let had = capabilities(None).ok()?;
    let kept = CapabilitySets {
        effective: had.effective.intersection(KEPT),
        permitted: had.permitted.intersection(KEPT),
        inheritable: CapabilitySet::empty(),
    };
    (!had.permitted.is_empty() || !had.inheritable.is_empty()).then_some(kept)
}

/// Has every file that whoever started the worker left open close at the exec. The worker's own
/// are marked so already, as is the pipe on which a failed exec is told. A kernel before 5.11
/// does not know the call.
#[allow(unsafe_code, reason = "no safe function does this")]
fn close_inherited() {
    let flags = libc::CLOSE_RANGE_CLOEXEC.cast_signed();
    // SAFETY: nothing is closed here; the descriptors stay valid in this process.
    let _ = unsafe { libc::close_range(3, libc::c_uint::MAX, flags) };
}

fn seccomp_errno(error: &seccompiler::Error) -> i32 {
    match error {
        seccompiler::Error::Prctl(e) | seccompiler::Error::Seccomp(e) => {
            e.raw_os_error().unwrap_or(libc::EINVAL)
        }
        _ => libc::EINVAL,
    }
}
