//! What of a policy can be checked before the first task.

use std::path::{Path, PathBuf};

use rustix::process::getuid;

use super::{SandboxError, SandboxOptions, system};
use crate::policy::{Policy, Rule};

/// Checks that the roots are there, that the worker's keys are below none of them, and that the
/// limits can hold.
pub(super) fn check(policy: &Policy, options: &SandboxOptions) -> Result<(), SandboxError> {
    if policy.limits.programs.max_processes.is_some() && getuid().is_root() {
        return Err(SandboxError::ProcessesOfRoot);
    }
    let read = real(Rule::PathsRead, &policy.paths.read, options)?;
    let write = real(Rule::PathsWrite, &policy.paths.write, options)?;
    let system = system::READ.iter().map(PathBuf::from);
    let readable: Vec<PathBuf> = read
        .into_iter()
        .chain(write.clone())
        .chain(system)
        .collect();
    for path in options.secrets.iter().filter_map(|p| p.canonicalize().ok()) {
        if let Some(root) = above(&readable, &path) {
            return Err(SandboxError::Secret { path, root });
        }
    }
    for path in options
        .settings
        .iter()
        .filter_map(|p| p.canonicalize().ok())
    {
        if let Some(root) = above(&write, &path) {
            return Err(SandboxError::Setting { path, root });
        }
    }
    Ok(())
}

fn real(
    rule: Rule,
    roots: &[PathBuf],
    options: &SandboxOptions,
) -> Result<Vec<PathBuf>, SandboxError> {
    let real = |root: &PathBuf| {
        let path = options.workspace.join(root);
        path.canonicalize()
            .map_err(|source| SandboxError::Root { rule, path, source })
    };
    roots.iter().map(real).collect()
}

fn above(roots: &[PathBuf], path: &Path) -> Option<PathBuf> {
    roots.iter().find(|root| path.starts_with(root)).cloned()
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn options() -> (TempDir, SandboxOptions) {
        let workspace = TempDir::new().expect("a directory");
        let options = SandboxOptions {
            workspace: workspace.path().to_owned(),
            ..SandboxOptions::default()
        };
        (workspace, options)
    }

    #[test]
    fn a_root_that_is_not_there_is_named_with_its_rule() {
        let (_workspace, options) = options();
        let mut policy = Policy::default();
        assert!(check(&policy, &options).is_ok());
        policy.paths.write.push("out".into());
        let error = check(&policy, &options).expect_err("there is no such directory");
        assert!(error.to_string().contains("\"paths.write\""), "{error}");
    }

    #[test]
    fn a_key_that_tasks_could_read_is_refused() {
        let (workspace, mut options) = options();
        let key = workspace.path().join("worker.nk");
        std::fs::write(&key, "SU").expect("written");
        options.secrets = vec![key, "/not/there".into()];
        let mut policy = Policy::default();
        let error = check(&policy, &options).expect_err("it is in the workspace");
        assert!(error.to_string().contains("worker.nk is below"), "{error}");
        std::fs::create_dir(workspace.path().join("src")).expect("made");
        policy.paths.read = vec!["src".into()];
        policy.paths.write.clear();
        assert!(check(&policy, &options).is_ok());
        options.secrets = vec!["/bin/sh".into()];
        assert!(
            check(&policy, &options).is_err(),
            "system directories count"
        );
    }

    #[test]
    fn a_policy_that_tasks_could_write_is_refused() {
        let (workspace, mut options) = options();
        let file = workspace.path().join("policy.toml");
        std::fs::write(&file, "").expect("written");
        options.settings = vec![file];
        let mut policy = Policy::default();
        assert!(check(&policy, &options).is_err());
        policy.paths.write.clear();
        assert!(check(&policy, &options).is_ok());
    }
}
