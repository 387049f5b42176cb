//! What processes cost: CPU time and memory, as the kernel counts them.

use std::collections::BTreeMap;
use std::fs;
use std::str::FromStr;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// The kernel's unit of CPU time here: a hundredth of a second on every Linux of today.
const TICK_US: u64 = 10_000;

/// Processes to watch, by what they are: `server`, `worker`, `submitter`. Several of one kind are
/// added up.
#[derive(Debug, Clone)]
pub(crate) struct Watched {
    /// What it is.
    pub(crate) name: String,
    /// Its process id.
    pub(crate) pid: u32,
}

/// What processes of one kind cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Usage {
    /// CPU time, user and system, in microseconds.
    pub(crate) cpu_us: u64,
    /// Resident memory, in KiB: the largest of several.
    pub(crate) rss_kib: u64,
}

/// What each kind of process has cost since it began.
pub(crate) type Usages = BTreeMap<String, Usage>;

impl FromStr for Watched {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let pair = text.split_once('=');
        let read = pair.and_then(|(name, pid)| Some((name.to_owned(), pid.parse().ok()?)));
        let (name, pid) = read.ok_or_else(|| format!("{text:?} is not NAME=PID"))?;
        Ok(Self { name, pid })
    }
}

/// What `watched`, and this process as `submitter`, have cost until now.
pub(crate) fn sample(watched: &[Watched]) -> Result<Usages> {
    let mut usages = Usages::new();
    let own = Watched {
        name: "submitter".to_owned(),
        pid: std::process::id(),
    };
    for Watched { name, pid } in watched.iter().chain([&own]) {
        let found = of(*pid)?;
        let sum = usages.entry(name.clone()).or_default();
        sum.cpu_us += found.cpu_us;
        sum.rss_kib = sum.rss_kib.max(found.rss_kib);
    }
    Ok(usages)
}

/// What was spent between two samples; memory is that of the second.
pub(crate) fn between(before: &Usages, after: &Usages) -> Usages {
    let spent = |(name, usage): (&String, &Usage)| {
        let earlier = before.get(name).map_or(0, |usage| usage.cpu_us);
        let usage = Usage {
            cpu_us: usage.cpu_us.saturating_sub(earlier),
            ..*usage
        };
        (name.clone(), usage)
    };
    after.iter().map(spent).collect()
}

/// What one process has cost until now.
pub(crate) fn of(pid: u32) -> Result<Usage> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
    let stat = stat.with_context(|| format!("process {pid} cannot be watched"))?;
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let ticks = ticks(&stat).with_context(|| format!("no CPU times in {stat:?}"))?;
    Ok(Usage {
        cpu_us: ticks * TICK_US,
        rss_kib: rss_kib(&status).unwrap_or(0),
    })
}

/// User and system time. The second field is the program's name in parentheses, which may hold
/// anything, so fields are counted behind its end.
fn ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(11);
    let user: u64 = times.next()?.parse().ok()?;
    let system: u64 = times.next()?.parse().ok()?;
    Some(user + system)
}

fn rss_kib(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_found_behind_any_name() {
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 11 12 0 0 20 0 1 0 1 1 1";
        assert_eq!(ticks(stat), Some(11 + 12));
    }

    #[test]
    fn what_this_process_burns_is_seen() {
        let before = sample(&[]).expect("this process can be watched");
        let mut after = before.clone();
        let mut burnt = 0_u64;
        while between(&before, &after)["submitter"].cpu_us < 30_000 {
            for n in 0..1_000_000_u64 {
                burnt = std::hint::black_box(burnt.wrapping_add(n));
            }
            after = sample(&[]).expect("this process can be watched");
        }
        assert!(after["submitter"].rss_kib > 100, "{after:?}");
    }
}
