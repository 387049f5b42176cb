//! Points in time as people read them. All in the broker's time.

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// The time of day in UTC, to the millisecond: `13:05:09.042`.
pub(crate) fn time_of_day(at_ms: u64) -> String {
    let of_day = at_ms % DAY;
    let (hours, minutes) = (of_day / HOUR, of_day % HOUR / MINUTE);
    let (seconds, ms) = (of_day % MINUTE / 1_000, of_day % 1_000);
    format!("{hours:02}:{minutes:02}:{seconds:02}.{ms:03}")
}

/// How long ago: `0.4 s ago`, `12 min ago`, `3 h ago`, `5 d ago`; `-` for no time at all.
pub(crate) fn ago(at_ms: u64, now_ms: u64) -> String {
    if at_ms == 0 {
        return "-".to_owned();
    }
    format!("{} ago", span(now_ms.saturating_sub(at_ms)))
}

/// How long until then: `in 4.2 s`, `passed`.
pub(crate) fn ahead(at_ms: u64, now_ms: u64) -> String {
    match at_ms.saturating_sub(now_ms) {
        0 => "passed".to_owned(),
        left => format!("in {}", span(left)),
    }
}

fn span(ms: u64) -> String {
    match ms {
        _ if ms < MINUTE => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        _ if ms < HOUR => format!("{} min", ms / MINUTE),
        _ if ms < DAY => format!("{} h", ms / HOUR),
        _ => format!("{} d", ms / DAY),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_fits_the_length() {
        let spans = [0, 420, 59_999, 60_000, 7_200_000, 5 * DAY].map(span);
        assert_eq!(spans, ["0.0 s", "0.4 s", "59.9 s", "1 min", "2 h", "5 d"]);
    }

    #[test]
    fn times_are_read_from_the_first_second_of_1970() {
        assert_eq!(time_of_day(DAY + HOUR + 2 * MINUTE + 3_004), "01:02:03.004");
        assert_eq!(ago(0, 10), "-");
        assert_eq!(ago(1_000, 500), "0.0 s ago");
        assert_eq!(ahead(500, 1_000), "passed");
        assert_eq!(ahead(3_500, 1_000), "in 2.5 s");
    }
}
