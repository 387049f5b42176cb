//! Which variables of the worker's environment a program sees.

/// What any shell needs and nobody hides a secret in. HOME and TMPDIR are not here: in a sandbox
/// both are a directory of the task's own.
const DEFAULT: [&str; 9] = [
    "PATH", "LANG", "LANGUAGE", "LC_*", "TZ", "TERM", "USER", "LOGNAME", "SHELL",
];

/// Which variables of the worker's environment a program sees. Never `NATS_*` and `A3S_*`, which
/// hold the broker's credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Environment {
    /// All others.
    AllButOurs,
    /// Those that one of these patterns names: a name, or its beginning and `*`.
    Only(Vec<String>),
}

impl Default for Environment {
    fn default() -> Self {
        Self::Only(DEFAULT.map(str::to_owned).to_vec())
    }
}

impl Environment {
    /// Whether a program sees the variable `name`.
    #[must_use]
    pub fn shows(&self, name: &str) -> bool {
        !is_ours(name)
            && match self {
                Self::AllButOurs => true,
                Self::Only(patterns) => patterns.iter().any(|pattern| fits(pattern, name)),
            }
    }

    /// Whether the variable is passed because somebody asked for it by its whole name.
    #[must_use]
    pub fn names(&self, name: &str) -> bool {
        match self {
            Self::AllButOurs => true,
            Self::Only(patterns) => patterns.iter().any(|pattern| pattern == name),
        }
    }
}

/// Checks a pattern of the file.
///
/// # Errors
/// When it is no name, or one that is never passed.
pub(super) fn check_pattern(pattern: &str) -> Result<(), String> {
    let name = pattern.strip_suffix('*').unwrap_or(pattern);
    let word = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if pattern.is_empty() || !word {
        return Err(format!(
            "{pattern:?} is no name of a variable: write HOME, or LC_* for all that begin so"
        ));
    }
    if is_ours(name) {
        return Err(format!(
            "{pattern:?} is never passed: NATS_* and A3S_* hold the worker's credentials; give \
             the program a variable of another name"
        ));
    }
    Ok(())
}

fn is_ours(name: &str) -> bool {
    name.starts_with("NATS_") || name.starts_with("A3S_")
}

fn fits(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => pattern == name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_a_name_or_a_beginning() {
        let shown = Environment::Only(vec!["HOME".to_owned(), "LC_*".to_owned()]);
        assert!(shown.shows("HOME") && shown.shows("LC_ALL"));
        assert!(!shown.shows("HOMEPAGE") && !shown.shows("PATH"));
    }

    #[test]
    fn the_brokers_credentials_are_shown_to_nobody() {
        let everything = Environment::Only(vec!["*".to_owned()]);
        for environment in [everything, Environment::AllButOurs] {
            assert!(environment.shows("PATH"));
            assert!(!environment.shows("NATS_PASSWORD") && !environment.shows("A3S_STATE_DIR"));
        }
    }

    #[test]
    fn what_would_never_be_passed_cannot_be_asked_for() {
        for pattern in ["NATS_PASSWORD", "A3S_*", "NATS_*", "A B", "", "a=b", "L*C"] {
            assert!(check_pattern(pattern).is_err(), "{pattern}");
        }
        for pattern in ["PATH", "LC_*", "*", "_x9"] {
            assert_eq!(check_pattern(pattern), Ok(()), "{pattern}");
        }
    }
}
