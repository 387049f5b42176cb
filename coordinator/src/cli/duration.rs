//! Durations as people type them: `90`, `1.5s`, `500ms`, `2m`, `1h`.

use std::time::Duration;

/// The longest: a year. What is longer is a typing mistake.
const MAX_SECONDS: f64 = 366.0 * 86_400.0;

/// Reads a duration; a bare number is in seconds.
///
/// # Errors
/// A sentence when it is none, is zero, or is longer than a year.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let unit_at = text
        .find(|c: char| c.is_ascii_alphabetic())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let factor = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3_600.0,
        _ => return Err(format!("unknown unit {unit:?}: use ms, s, m or h")),
    };
    let number: f64 = number
        .parse()
        .map_err(|_| format!("{text:?} is no duration: write 90, 1.5s, 500ms, 2m or 1h"))?;
    let seconds = number * factor;
    if !(0.001..=MAX_SECONDS).contains(&seconds) {
        return Err(format!("{text:?} is out of range: use 1ms to one year"));
    }
    Ok(Duration::from_secs_f64(seconds))
}

/// Whole milliseconds, as tasks carry them.
pub(crate) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_number_is_in_seconds() {
        let ms = |text| parse(text).map(milliseconds);
        assert_eq!(ms("90"), Ok(90_000));
        assert_eq!(ms("1.5s"), Ok(1_500));
        assert_eq!(ms("500ms"), Ok(500));
        assert_eq!(ms("2m"), Ok(120_000));
        assert_eq!(ms("1h"), Ok(3_600_000));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "", "0", "-1", "nan", "inf", "5 weeks", "1e300", "ms", "99999h",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
