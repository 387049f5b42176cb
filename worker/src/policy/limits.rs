//! How much a task may use.

use std::time::Duration;

use crate::tools::process::Limits;

/// How much a task may use. Default: no limits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PolicyLimits {
    /// Bytes that a program may print to both streams together, or that any one field of another
    /// tool's result may have.
    pub output: Option<u64>,
    /// How long one attempt may take, whatever the task's deadline says.
    pub time: Option<Duration>,
    /// What the processes of a program may use.
    pub programs: Limits,
}

/// Reads a time: a number with `ms`, `s`, `m` or `h`.
///
/// # Errors
/// When it is no such thing, or 0.
pub(super) fn parse_time(text: &str) -> Result<Duration, String> {
    let complaint = || format!("{text:?} is no time: write 90s, 10m or 2h");
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let number = text[..text.len() - unit.len()].parse::<u64>();
    let number = number.ok().filter(|number| *number > 0);
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(complaint()),
    };
    let ms = number.and_then(|number| number.checked_mul(unit_ms));
    ms.map(Duration::from_millis).ok_or_else(complaint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_number_with_a_unit() {
        assert_eq!(parse_time("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_time("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_time("2h"), Ok(Duration::from_secs(7_200)));
        for nonsense in [
            "",
            "90",
            "s",
            "0s",
            "-1s",
            "1.5h",
            "1d",
            "9999999999999999999h",
        ] {
            assert!(parse_time(nonsense).is_err(), "{nonsense}");
        }
    }
}
