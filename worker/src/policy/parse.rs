//! Reads a policy's file, and says by line what is wrong with it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::environment::check_pattern;
use super::limits::parse_time;
use super::paths;
use super::{Environment, Paths, Policy, PolicyLimits};
use crate::tools::process::{Limits, parse_size};

/// A policy that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// The file cannot be read.
    #[error("cannot read the policy {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is no TOML, or has a key or a value that means nothing.
    #[error("policy {}, line {line}: {why}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong and what would be right.
        why: String,
    },
}

impl Policy {
    /// Reads a policy from a file.
    ///
    /// # Errors
    /// [`PolicyError`], with the line.
    pub fn read(path: &Path) -> Result<Self, PolicyError> {
        let text = std::fs::read_to_string(path).map_err(|source| PolicyError::Read {
            path: path.to_owned(),
            source,
        })?;
        let home = std::env::var_os("HOME").filter(|home| !home.is_empty());
        let home = home.as_deref().map(Path::new);
        Self::parse(&text, home).map_err(|(line, why)| PolicyError::Invalid {
            path: path.to_owned(),
            line,
            why,
        })
    }

    /// The policy that `text` says; `~` in a path is `home`.
    ///
    /// # Errors
    /// The line, from 1, and what is wrong with it.
    pub fn parse(text: &str, home: Option<&Path>) -> Result<Self, (usize, String)> {
        let at = |offset: usize| text[..offset.min(text.len())].matches('\n').count() + 1;
        let file: File = toml::from_str(text).map_err(|e| {
            let line = e.span().map_or(1, |span| at(span.start));
            (line, e.message().replace('\n', " "))
        })?;
        let policy = Self::default();
        let line = |(byte, why): (usize, String)| (at(byte), why);
        let roots = |list: Option<Texts>, unsaid: Vec<PathBuf>| match list {
            Some(list) => each(list, |text| paths::root(text, home)).map_err(line),
            None => Ok(unsaid),
        };
        let pattern = |text: &str| check_pattern(text).map(|()| text.to_owned());
        Ok(Self {
            tools: file.tools.map(|tools| tools.0.into_iter().collect()),
            paths: Paths {
                read: roots(file.paths.read, policy.paths.read)?,
                write: roots(file.paths.write, policy.paths.write)?,
            },
            environment: match file.environment {
                Some(names) => Environment::Only(each(names, pattern).map_err(line)?),
                None => policy.environment,
            },
            network: file.network,
            unix_sockets: file.unix_sockets,
            limits: file.limits.into(),
        })
    }
}

/// Texts, with their places in the file.
type Texts = Vec<toml::Spanned<String>>;

/// What each text means; the place of the first one that means nothing, and why not.
fn each<T>(
    texts: Texts,
    meaning: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, (usize, String)> {
    let each = texts.into_iter().map(|text| {
        let byte = text.span().start;
        meaning(text.get_ref()).map_err(|why| (byte, why))
    });
    each.collect()
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    tools: Option<Tools>,
    environment: Option<Texts>,
    #[serde(default)]
    network: bool,
    #[serde(default)]
    unix_sockets: bool,
    #[serde(default)]
    paths: PathsTable,
    #[serde(default)]
    limits: LimitsTable,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct PathsTable {
    read: Option<Texts>,
    write: Option<Texts>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitsTable {
    output: Option<Size>,
    time: Option<Time>,
    memory: Option<Size>,
    cpu_seconds: Option<std::num::NonZeroU64>,
    processes: Option<std::num::NonZeroU64>,
}

impl From<LimitsTable> for PolicyLimits {
    fn from(table: LimitsTable) -> Self {
        Self {
            output: table.output.map(|size| size.0),
            time: table.time.map(|time| time.0),
            programs: Limits {
                max_memory: table.memory.map(|size| size.0),
                max_cpu_seconds: table.cpu_seconds.map(u64::from),
                max_processes: table.processes.map(u64::from),
            },
        }
    }
}

/// A list that names something.
#[derive(Deserialize)]
#[serde(try_from = "Vec<String>")]
struct Tools(Vec<String>);

impl TryFrom<Vec<String>> for Tools {
    type Error = String;

    fn try_from(list: Vec<String>) -> Result<Self, String> {
        if list.is_empty() {
            return Err("tools allows nothing: name one, or leave the key out for all".to_owned());
        }
        Ok(Self(list))
    }
}

#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Size(u64);

impl TryFrom<String> for Size {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        parse_size(&text).map(Self)
    }
}

#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Time(Duration);

impl TryFrom<String> for Time {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        parse_time(&text).map(Self)
    }
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
