//! Which files a program may touch: a Landlock ruleset.
//!
//! It names what is allowed, and the kernel refuses everything else, to the program and to all
//! that it starts, for ever. It also keeps them from tracing, and from version 6 on from
//! signalling, any process that is not of the same task.

use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, LandlockStatus, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, Scope, make_bitflags,
};

use super::system;

/// The newest version that this file was written for.
const KNOWN: ABI = ABI::V7;

/// Which of the two ways a root may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// Read and execute.
    Read,
    /// That, and everything else but making devices.
    Write,
}

impl Use {
    fn rights(self) -> BitFlags<AccessFs> {
        // A device file that root makes here would be the disk itself.
        let never = make_bitflags!(AccessFs::{MakeChar | MakeBlock | IoctlDev});
        match self {
            Self::Read => AccessFs::from_read(KNOWN),
            Self::Write => AccessFs::from_all(KNOWN) & !never,
        }
    }
}

/// Landlock, as this machine has it.
pub(super) struct Landlock {
    /// What every program needs, opened once.
    system: Vec<(PathFd, BitFlags<AccessFs>)>,
    version: u8,
}

impl std::fmt::Debug for Landlock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Landlock v{}", self.version)
    }
}

impl Landlock {
    /// `None` where the kernel has none, or does not let us.
    pub(super) fn find() -> Option<Self> {
        let version = probe()?;
        let device = make_bitflags!(AccessFs::{ReadFile | WriteFile | Truncate | IoctlDev});
        let read = system::READ.map(|path| (path, Use::Read.rights()));
        let devices = system::DEVICES.map(|path| (path, device));
        let paths = read.into_iter().chain(devices);
        let system = paths
            .filter_map(|(path, rights)| Some((PathFd::new(path).ok()?, rights)))
            .collect();
        Some(Self { system, version })
    }

    /// The version of the interface that is in use.
    pub(super) fn version(&self) -> u8 {
        self.version
    }

    /// The ruleset of one program, which may use `roots`. A root that is not there is left out.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(super) fn ruleset<'a>(
        &self,
        roots: impl Iterator<Item = (&'a Path, Use)>,
        network: bool,
    ) -> Result<RulesetCreated, RulesetError> {
        let mut ruleset = Ruleset::default()
            .handle_access(AccessFs::from_all(KNOWN))?
            .scope(Scope::from_all(KNOWN))?;
        if !network {
            ruleset = ruleset.handle_access(AccessNet::from_all(KNOWN))?;
        }
        let mut created = ruleset.create()?;
        for (path, rights) in &self.system {
            created = created.add_rule(PathBeneath::new(path, *rights))?;
        }
        for (path, usage) in roots {
            if let Ok(path) = PathFd::new(path) {
                created = created.add_rule(PathBeneath::new(path, usage.rights()))?;
            }
        }
        Ok(created)
    }
}

/// The version in use. A thread restricts itself and ends: the only way to know that nothing
/// around this process forbids it.
fn probe() -> Option<u8> {
    let restricted = std::thread::spawn(|| {
        let ruleset = Ruleset::default().handle_access(AccessFs::from_all(KNOWN));
        ruleset?.create()?.restrict_self()
    });
    let status = restricted.join().ok()?.ok()?;
    match status.landlock {
        LandlockStatus::Available { effective_abi, .. } => {
            let version = effective_abi.min(KNOWN);
            u8::try_from(version as i32).ok()
        }
        _ => None,
    }
}
