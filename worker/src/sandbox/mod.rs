//! Holds programs to the policy, as far as this machine can.
//!
//! * [`Level`]: how far that is, for people.
//! * `landlock`, `seccomp`: what a program may touch and call, made before it is forked; `system`:
//!   what every program needs. `cage` is what happens in the child.
//! * `wrap`: a command of the user's own instead of both.
//! * `home`: a directory for each task. `hints`: what a denied program is told.
//!
//! Why there is no launcher between worker and program is told in `docs/decisions/0014-sandbox.md`.

mod cage;
mod checks;
mod hints;
mod home;
mod kernel;
mod landlock;
mod level;
mod seccomp;
mod system;
mod wrap;

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use tokio::process::Command;

use crate::policy::{Policy, Refusal, Rule};
use crate::tools::process::RunNumber;
use crate::workspace::Workspace;

pub(crate) use home::Home;
pub use level::Level;

use kernel::Kernel;
use wrap::Wrap;

/// Whether programs are held to the policy by the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// As far as this machine can, and the worker says how far
    Auto,
    /// Wholly, or the worker does not start
    Require,
    /// Not at all
    Off,
}

/// What a sandbox is made of.
#[derive(Debug, Clone, Default)]
pub struct SandboxOptions {
    /// What tasks may do. Default: what the worker's user may, unless `mode` says that there is
    /// a sandbox: then what an empty policy says.
    pub policy: Option<Policy>,
    /// Default: `Auto` with a policy, `Off` without one.
    pub mode: Option<Mode>,
    /// A command below which every program runs, instead of what the kernel has.
    pub wrap: Option<String>,
    /// Where relative roots begin.
    pub workspace: PathBuf,
    /// Files that no task may read: the worker's keys.
    pub secrets: Vec<PathBuf>,
    /// Files that no task may write: the policy itself.
    pub settings: Vec<PathBuf>,
}

/// A sandbox that cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SandboxError {
    /// A root of the policy is not there.
    #[error("policy rule \"{rule}\": cannot use {}: {source}; make it, or leave it out", path.display())]
    Root {
        /// Which rule names it.
        rule: Rule,
        /// The root.
        path: PathBuf,
        /// What is wrong with it.
        source: io::Error,
    },
    /// A task could read what makes the worker trusted.
    #[error(
        "the worker's key {} is below {}, which its tasks may read: keep it elsewhere",
        path.display(), root.display()
    )]
    Secret {
        /// The key.
        path: PathBuf,
        /// The root above it.
        root: PathBuf,
    },
    /// A task could change what the next start allows.
    #[error(
        "{} is below {}, which tasks may write: keep it elsewhere", path.display(), root.display()
    )]
    Setting {
        /// The file.
        path: PathBuf,
        /// The root above it.
        root: PathBuf,
    },
    /// The kernel does not hold root to a number of processes.
    #[error(
        "policy rule \"limits.processes\" does not bind root: start the worker as another user"
    )]
    ProcessesOfRoot,
    /// The wrapping command does not work here.
    #[error("--wrap: {0}")]
    Wrap(String),
    /// This machine cannot hold programs to the policy.
    #[error(
        "--sandbox require: this machine has {0}, which is not all of landlock (version 3 or newer) \
         and seccomp; use a newer kernel, --wrap, or --sandbox auto"
    )]
    NotHere(Level),
}

/// What holds tasks to the policy. Made once, at the worker's start.
#[derive(Debug)]
pub struct Sandbox {
    policy: Policy,
    level: Level,
    wrap: Option<Wrap>,
    kernel: Option<Kernel>,
}

impl Default for Sandbox {
    /// None: tasks may what the worker's user may.
    fn default() -> Self {
        Self {
            policy: Policy::unrestricted(),
            level: Level::Off,
            wrap: None,
            kernel: None,
        }
    }
}

impl Sandbox {
    /// The default, shared: every task has one.
    pub(crate) fn none() -> Arc<Self> {
        static NONE: LazyLock<Arc<Sandbox>> = LazyLock::new(Arc::default);
        Arc::clone(&NONE)
    }

    /// Makes ready what `options` ask for. In a process with a sandbox of the kernel's, the
    /// process cannot be traced nor dump core any more, and orphans of its programs come to it.
    ///
    /// # Errors
    /// [`SandboxError`]: what cannot be had, and what to do.
    pub fn prepare(options: SandboxOptions) -> Result<Self, SandboxError> {
        let unsaid = if options.policy.is_some() {
            Mode::Auto
        } else {
            Mode::Off
        };
        let mode = options.mode.unwrap_or(unsaid);
        let wrap = options.wrap.as_deref().map(Wrap::try_out).transpose();
        let wrap = wrap.map_err(SandboxError::Wrap)?;
        let kernel = (mode != Mode::Off && wrap.is_none()).then_some(());
        let policy = match &options.policy {
            Some(policy) => {
                checks::check(policy, &options)?;
                policy.clone()
            }
            None if kernel.is_some() => {
                let policy = Policy::default();
                checks::check(&policy, &options)?;
                policy
            }
            None => Policy::unrestricted(),
        };
        let kernel = kernel.map(|()| Kernel::find(&policy));
        let level = match (&wrap, &kernel) {
            (Some(wrap), _) => Level::Wrapped(wrap.name().to_owned()),
            (None, Some(kernel)) => kernel.level(),
            (None, None) => Level::Off,
        };
        if mode == Mode::Require && !level.is_whole() {
            return Err(SandboxError::NotHere(level));
        }
        if kernel.is_some() {
            kernel::guard_this_process();
        }
        let sandbox = Self {
            policy,
            level,
            wrap,
            kernel,
        };
        if options.policy.is_some() || sandbox.kernel.is_some() {
            sandbox.warn();
        }
        Ok(sandbox)
    }

    /// Says which rules programs are not held to.
    fn warn(&self) {
        let not_held = self.level.not_held(&self.policy);
        if !not_held.is_empty() {
            let rules: Vec<String> = not_held.iter().map(Rule::to_string).collect();
            tracing::warn!(
                sandbox = %self.level,
                rules = rules.join(", "),
                "programs are not held to all rules of the policy; the other tools are"
            );
        }
    }

    /// What tasks may do.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// How far programs are held to it.
    #[must_use]
    pub fn level(&self) -> &Level {
        &self.level
    }

    /// The workspace at `root`, of which tasks may use what the policy allows.
    ///
    /// # Errors
    /// When it, or one of the roots in it, cannot be opened.
    pub fn workspace(&self, root: &Path) -> io::Result<Workspace> {
        Workspace::open(root)?.allowing(&self.policy.paths)
    }

    /// A command that runs `program`, with the environment that the policy allows.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let program = program.as_os_str();
        let mut command = match &self.wrap {
            Some(wrap) => Command::from(wrap.command(program)),
            None => Command::new(program),
        };
        for (name, _) in std::env::vars_os() {
            if !self.policy.environment.shows(&name.to_string_lossy()) {
                command.env_remove(&name);
            }
        }
        command
    }

    /// Has `command` put into its cage when it starts, and known by `number`. What is returned is to be kept as long as
    /// anything of it runs.
    ///
    /// # Errors
    /// When the cage cannot be made. The command must not be started then.
    pub(crate) fn confine(
        &self,
        command: &mut Command,
        workspace: &Path,
        number: RunNumber,
    ) -> io::Result<Option<Home>> {
        let Some(kernel) = &self.kernel else {
            return Ok(None);
        };
        let home = Home::make()?;
        for name in ["HOME", "TMPDIR"] {
            if !self.policy.environment.names(name) {
                command.env(name, home.path());
            }
        }
        let program = found(command.as_std().get_program());
        let own = [workspace, home.path(), &program];
        kernel.confine(command, &self.policy, own, number)?;
        Ok(Some(home))
    }

    /// `error` of a program that printed `stderr`, with the rule that may be behind it.
    pub(crate) fn explain(&self, error: String, stderr: &str) -> String {
        match hints::hint(&self.policy, &self.level, stderr) {
            Some(hint) => format!("{error}: {hint}"),
            None => error,
        }
    }

    /// Whether what a program has printed by now is too much.
    pub(crate) fn allow_printed(&self, bytes: u64) -> Result<(), Refusal> {
        match self.policy.limits.output {
            Some(most) if bytes > most => {
                let why = format!("it printed more than {most} bytes");
                Err(Refusal::new(Rule::LimitsOutput, why))
            }
            _ => Ok(()),
        }
    }
}

/// The file of a program: itself, or where `PATH` has it.
fn found(program: &OsStr) -> PathBuf {
    let named = PathBuf::from(program);
    if named.components().count() != 1 {
        return named;
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut files = std::env::split_paths(&path).map(|directory| directory.join(&named));
    files.find(|file| file.is_file()).unwrap_or(named)
}
