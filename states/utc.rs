//! Points in time and spans, for people.
//!
//! A time is UTC as ISO 8601 writes it. It is shown, and nothing is decided by it. The caller knows what time it is.

const MINUTE_S: u64 = 60;
const HOUR_S: u64 = 60 * MINUTE_S;
const DAY_S: u64 = 24 * HOUR_S;
/// As the Gregorian calendar has it, on average.
const YEAR_S: u64 = 31_556_952;

/// A point in time, in seconds since 1970: `2026-09-01T00:00:00Z`.
pub fn utc(s: u64) -> String {
    // Days from 1 March of the year 0, so that a leap day is the last of its year; years come in cycles of 400.
    let days = s / DAY_S + 719_468;
    let (cycle, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, later) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    let year = cycle * 400 + year + later;
    let (hour, minute, second) = (s % DAY_S / HOUR_S, s % HOUR_S / MINUTE_S, s % MINUTE_S);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// How long something is, in the unit that a person would take: `about 3 days`.
pub fn span(s: u64) -> String {
    for (unit_s, name) in [
        (YEAR_S, "years"),
        (DAY_S, "days"),
        (HOUR_S, "hours"),
        (MINUTE_S, "minutes"),
    ] {
        if s >= 2 * unit_s {
            return format!("about {} {name}", (s + unit_s / 2) / unit_s);
        }
    }
    match s {
        1 => "1 second".to_owned(),
        s => format!("{s} seconds"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        // As `date --utc --iso-8601=seconds --date=@N` of GNU coreutils says them.
        for (s, wanted) in [
            (0, "1970-01-01T00:00:00Z"),
            (1_000_000, "1970-01-12T13:46:40Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_709_164_800, "2024-02-29T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (253_402_300_799, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(utc(s), wanted);
        }
        // It never ends the program.
        assert!(utc(u64::MAX).ends_with('Z'));
    }

    #[test]
    fn spans_have_the_unit_of_their_size() {
        for (s, wanted) in [
            (0, "0 seconds"),
            (1, "1 second"),
            (119, "119 seconds"),
            (120, "about 2 minutes"),
            (7_200, "about 2 hours"),
            (100_000, "about 28 hours"),
            (3 * DAY_S + HOUR_S, "about 3 days"),
            (1_767_225_600, "about 56 years"),
        ] {
            assert_eq!(span(s), wanted);
        }
    }
}
