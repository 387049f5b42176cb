//! What a program may use, and how its failure tells that it used that up.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use rustix::process::Signal;

/// What the programs of `bash` and of a worker's own tools may use (`setrlimit`). `None` is no
/// limit of ours. Default: none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Address space of each process, in bytes. What asks for more is told that there is none.
    pub max_memory: Option<u64>,
    /// Processor time of each process, in seconds; then it is killed.
    pub max_cpu_seconds: Option<u64>,
    /// Processes and threads of the worker's user, the worker and all its tasks together; what
    /// asks for more is told that there are none. The kernel does not hold root to it.
    pub max_processes: Option<u64>,
}

/// Reads a size: a number of bytes, or of `K`, `M`, `G` (powers of 1024; `MB` and `MiB` mean the
/// same).
///
/// # Errors
/// When it is no such thing, or 0.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let power = match text[digits.len()..].to_ascii_uppercase().as_str() {
        "" | "B" => 0,
        "K" | "KB" | "KIB" => 1,
        "M" | "MB" | "MIB" => 2,
        "G" | "GB" | "GIB" => 3,
        _ => return Err(format!("{text:?} is no size: write 512M or 2G")),
    };
    let number = digits.parse::<u64>().ok().filter(|number| *number > 0);
    let bytes = number.and_then(|number| number.checked_mul(1 << (10 * power)));
    bytes.ok_or_else(|| format!("{text:?} is no size: write 512M or 2G"))
}

impl Limits {
    /// The smaller of each limit of the two.
    #[must_use]
    pub fn stricter(self, other: Self) -> Self {
        let smaller = |a: Option<u64>, b: Option<u64>| match (a, b) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        Self {
            max_memory: smaller(self.max_memory, other.max_memory),
            max_cpu_seconds: smaller(self.max_cpu_seconds, other.max_cpu_seconds),
            max_processes: smaller(self.max_processes, other.max_processes),
        }
    }

    /// Which limit a program came up against, if that can be told from how it ended and what it
    /// printed to stderr: words that complete an error text.
    pub(in crate::tools) fn met(&self, status: Option<ExitStatus>, stderr: &str) -> Option<String> {
        if let Some(seconds) = self.max_cpu_seconds
            && status.is_some_and(is_out_of_time)
        {
            return Some(format!(
                "it used up its {seconds} s of processor time (--max-cpu-seconds, or limits.cpu_seconds)"
            ));
        }
        let says = |words: &[&str]| words.iter().any(|word| stderr.contains(word));
        if let Some(number) = self.max_processes
            && says(&["fork: ", "Resource temporarily unavailable", "EAGAIN"])
        {
            return Some(format!(
                "the worker's user has {number} processes at most (--max-processes, or limits.processes)"
            ));
        }
        if let Some(bytes) = self.max_memory
            && says(&["emory", "cannot allocate", "ENOMEM"])
        {
            let mib = bytes / (1024 * 1024);
            return Some(format!(
                "each of its processes has {mib} MiB at most (--max-memory, or limits.memory)"
            ));
        }
        None
    }

    /// `error`, with the limit that led to it if there was one.
    pub(in crate::tools) fn explain(
        &self,
        error: String,
        status: Option<ExitStatus>,
        stderr: &str,
    ) -> String {
        match self.met(status, stderr) {
            Some(limit) => format!("{error}: {limit}"),
            None => error,
        }
    }
}

/// Whether the kernel ended it for its processor time, or a shell says so of what it ran.
fn is_out_of_time(status: ExitStatus) -> bool {
    let signal = Signal::XCPU.as_raw();
    status.signal() == Some(signal) || status.code() == Some(128 + signal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_a_number_with_a_unit() {
        assert_eq!(parse_size("4096"), Ok(4096));
        assert_eq!(parse_size("64k"), Ok(64 * 1024));
        assert_eq!(parse_size("512MiB"), Ok(512 * 1024 * 1024));
        assert_eq!(parse_size("2G"), Ok(2 * 1024 * 1024 * 1024));
        for nonsense in ["", "M", "0", "-1", "1.5G", "2X", "99999999999G"] {
            assert!(parse_size(nonsense).is_err(), "{nonsense}");
        }
    }

    #[test]
    fn of_two_limits_the_smaller_holds() {
        let limits = |max_memory, max_processes| Limits {
            max_memory,
            max_processes,
            ..Limits::default()
        };
        let both = limits(Some(5), None).stricter(limits(Some(7), Some(9)));
        assert_eq!(both, limits(Some(5), Some(9)));
    }

    #[test]
    fn a_limit_that_is_not_set_is_never_blamed() {
        let out_of_time = Some(ExitStatus::from_raw(Signal::XCPU.as_raw()));
        let stderr = "bash: fork: Cannot allocate memory";
        assert_eq!(Limits::default().met(out_of_time, stderr), None);
    }
}
