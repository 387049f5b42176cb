//! The docker programs.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

/// Whether there is an engine to talk to.
pub(crate) fn answers() -> bool {
    let version = Command::new("docker").arg("version").output();
    version.is_ok_and(|output| output.status.success())
}

/// `docker` with arguments, in the top directory of the sources.
pub(crate) fn docker<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = Command::new("docker");
    command.args(arguments).current_dir(sources());
    command
}

/// `docker compose`, or the `docker-compose` of older installations.
///
/// # Panics
/// When there is neither.
pub(crate) fn compose() -> Command {
    static PLUGIN: LazyLock<bool> = LazyLock::new(|| {
        let runs = |command: &mut Command| command.output().is_ok_and(|out| out.status.success());
        let plugin = runs(Command::new("docker").args(["compose", "version"]));
        let program = || runs(Command::new("docker-compose").arg("version"));
        assert!(
            plugin || program(),
            "Docker is here, but neither `docker compose` nor `docker-compose` is"
        );
        plugin
    });
    let mut command = match *PLUGIN {
        true => docker(["compose"]),
        false => Command::new("docker-compose"),
    };
    command.current_dir(sources());
    command
}

/// The top directory of the sources.
pub(crate) fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Runs a command that must succeed, and returns what it printed to stdout.
///
/// # Panics
/// When it fails; all it printed is shown.
#[track_caller]
pub(crate) fn output_of(command: &mut Command) -> String {
    let output = command.output();
    let output = output.unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{stdout}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    stdout
}
