//! Where this project keeps files on a user's machine (XDG base directories).

use std::path::PathBuf;

/// Where the embedded server keeps its store, credential and state: `$XDG_STATE_HOME/a3s`,
/// by default `~/.local/state/a3s`. `None` when there is no home directory either.
#[must_use]
pub fn state_dir() -> Option<PathBuf> {
    Some(base("XDG_STATE_HOME", ".local/state")?.join("a3s"))
}

/// Where downloaded programs are kept: `$XDG_CACHE_HOME/a3s`, by default `~/.cache/a3s`.
#[must_use]
pub fn cache_dir() -> Option<PathBuf> {
    Some(base("XDG_CACHE_HOME", ".cache")?.join("a3s"))
}

/// Where a user keeps what our programs read by themselves: `$XDG_CONFIG_HOME/a3s`, by default
/// `~/.config/a3s`.
#[must_use]
pub fn config_dir() -> Option<PathBuf> {
    Some(base("XDG_CONFIG_HOME", ".config")?.join("a3s"))
}

/// Where the `nats` CLI keeps its contexts: `$XDG_CONFIG_HOME/nats/context`, by default
/// `~/.config/nats/context`.
#[must_use]
pub fn nats_context_dir() -> Option<PathBuf> {
    Some(base("XDG_CONFIG_HOME", ".config")?.join("nats/context"))
}

/// `path` with a leading `~/` replaced by the home directory.
#[must_use]
pub fn expand_home(path: &str) -> PathBuf {
    match (path.strip_prefix("~/"), std::env::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(path),
    }
}

/// The XDG specification says to ignore relative values.
fn base(variable: &str, below_home: &str) -> Option<PathBuf> {
    let set = std::env::var_os(variable).map(PathBuf::from);
    set.filter(|path| path.is_absolute())
        .or_else(|| Some(std::env::home_dir()?.join(below_home)))
}
