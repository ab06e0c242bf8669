//! Wall time as text: `2026-11-21T03:30:00Z`. UTC only; no time zones, no leap seconds.

use std::time::{SystemTime, UNIX_EPOCH};

const SECONDS_PER_DAY: u64 = 24 * 60 * 60;

/// The time to the second, as RFC 3339 writes it. A time before 1970 shows as its first second.
pub fn text(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (year, month, day) = date(seconds / SECONDS_PER_DAY);
    let second = seconds % SECONDS_PER_DAY;
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// The time to the millisecond: `2026-11-21T03:30:00.007Z`.
pub fn text_ms(time: SystemTime) -> String {
    let ms = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.subsec_millis());
    let mut text = text(time);
    text.truncate(text.len() - 1);
    format!("{text}.{ms:03}Z")
}

/// The same as a file name: colons, which some file systems and shells dislike, become dashes.
pub fn file_name(time: SystemTime) -> String {
    text(time).replace(':', "-")
}

/// Year, month and day of a day after 1970-01-01.
///
/// Counts in years that begin in March, so that the leap day is the last one (Howard Hinnant,
/// "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`).
fn date(day: u64) -> (u64, u64, u64) {
    const DAYS_PER_ERA: u64 = 146_097; // 400 years
    let day = day + 719_468; // days from 0000-03-01 to 1970-01-01
    let (era, day_of_era) = (day / DAYS_PER_ERA, day % DAYS_PER_ERA);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day_of_month)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn check(seconds: u64, expected: &str) {
        assert_eq!(text(UNIX_EPOCH + Duration::from_secs(seconds)), expected);
    }

    // Expected values from `date -u -d @<seconds> +%FT%TZ`.
    #[test]
    fn seconds_become_dates() {
        check(0, "1970-01-01T00:00:00Z");
        check(951_782_399, "2000-02-28T23:59:59Z");
        check(951_782_400, "2000-02-29T00:00:00Z");
        check(951_868_800, "2000-03-01T00:00:00Z");
        check(1_735_689_599, "2024-12-31T23:59:59Z");
        check(1_795_231_800, "2026-11-21T03:30:00Z");
        check(4_107_542_400, "2100-03-01T00:00:00Z");
    }

    #[test]
    fn every_day_of_four_centuries_follows_the_one_before() {
        let mut before = date(0);
        for day in 1..146_097 {
            let (year, month, day_of_month) = date(day);
            let follows = if day_of_month == 1 {
                if month == 1 {
                    before == (year - 1, 12, 31)
                } else {
                    before.1 + 1 == month && before.2 >= 28
                }
            } else {
                before == (year, month, day_of_month - 1) && day_of_month <= 31
            };
            assert!(follows, "{before:?} then {:?}", (year, month, day_of_month));
            before = (year, month, day_of_month);
        }
        assert_eq!(before, (2369, 12, 31));
    }

    #[test]
    fn a_file_name_has_no_colon_and_time_before_1970_is_the_epoch() {
        assert_eq!(file_name(UNIX_EPOCH + Duration::from_secs(1_795_231_807)), "2026-11-21T03-30-07Z");
        assert_eq!(text(UNIX_EPOCH - Duration::from_secs(5)), "1970-01-01T00:00:00Z");
    }
}
