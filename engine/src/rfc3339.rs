//! Times as venues print them: `2026-11-21T01:00:01.440295Z`, RFC 3339, to nanoseconds.
//!
//! Parses in place and allocates nothing. Knows no time zone but the offset in the text, and no leap second table: a
//! 60th second is the first of the next minute.

use crate::time::VenueTime;

const SECONDS_PER_DAY: u64 = 24 * 60 * 60;

/// Parses `YYYY-MM-DDTHH:MM:SS[.fraction](Z|+HH:MM|-HH:MM)`; digits of the fraction beyond the ninth are cut.
///
/// `None` if the text is not of that form. A time that the clock of [`VenueTime`] cannot express (1970 or before: Go
/// prints its zero time as year 1) is [`VenueTime::ABSENT`].
#[inline]
pub fn parse(text: &[u8]) -> Option<VenueTime> {
    let (head, rest) = text.split_at_checked(19)?;
    if !(head[4] == b'-'
        && head[7] == b'-'
        && matches!(head[10], b'T' | b't')
        && head[13] == b':'
        && head[16] == b':')
    {
        return None;
    }
    let year = two(head, 0)? * 100 + two(head, 2)?;
    let (month, day) = (two(head, 5)?, two(head, 8)?);
    let (hour, minute, second) = (two(head, 11)?, two(head, 14)?, two(head, 17)?);
    if !(1..=12).contains(&month)
        || !(1..=days_of(year, month)).contains(&day)
        || hour > 23
        || minute > 59
        || second > 60
    {
        return None;
    }
    let (fraction_ns, zone) = fraction(rest)?;
    let offset_s = match zone {
        [b'Z' | b'z'] => 0,
        _ => offset(zone)?,
    };
    let second_of_day = u64::from(hour) * 3_600 + u64::from(minute) * 60 + u64::from(second);
    let Some(days) = days_since_1970(year, month, day) else { return Some(VenueTime::ABSENT) };
    let Some(seconds) = (days * SECONDS_PER_DAY + second_of_day).checked_add_signed(-offset_s) else {
        return Some(VenueTime::ABSENT);
    };
    let ns = seconds.checked_mul(1_000_000_000).and_then(|ns| ns.checked_add(fraction_ns));
    Some(ns.map_or(VenueTime::ABSENT, VenueTime::from_ns))
}

/// Two digits at `at`.
#[inline]
fn two(text: &[u8], at: usize) -> Option<u32> {
    let (tens, ones) = (text[at].wrapping_sub(b'0'), text[at + 1].wrapping_sub(b'0'));
    if tens > 9 || ones > 9 { None } else { Some(u32::from(tens) * 10 + u32::from(ones)) }
}

/// Nanoseconds of `.123456`, and what follows it; 0 where there is no fraction.
#[inline]
fn fraction(text: &[u8]) -> Option<(u64, &[u8])> {
    let [b'.', digits @ ..] = text else { return Some((0, text)) };
    let (mut ns, mut unit, mut count) = (0, 1_000_000_000_u64, 0);
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        unit /= 10;
        ns += u64::from(digit) * unit;
        count += 1;
    }
    if count == 0 { None } else { Some((ns, &digits[count..])) }
}

/// Seconds east of UTC of `+HH:MM`.
#[cold]
fn offset(zone: &[u8]) -> Option<i64> {
    let &[sign, _, _, b':', _, _] = zone else { return None };
    let (hours, minutes) = (two(zone, 1)?, two(zone, 4)?);
    if hours > 23 || minutes > 59 {
        return None;
    }
    let seconds = i64::from(hours) * 3_600 + i64::from(minutes) * 60;
    match sign {
        b'+' => Some(seconds),
        b'-' => Some(-seconds),
        _ => None,
    }
}

const fn is_leap(year: u32) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

#[inline]
const fn days_of(year: u32, month: u32) -> u32 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap(year) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days from 1970-01-01, or `None` before. Years start in March here, so that a leap day is the last of its year.
#[inline]
const fn days_since_1970(year: u32, month: u32, day: u32) -> Option<u64> {
    if year < 1970 {
        return None;
    }
    let year = (if month <= 2 { year - 1 } else { year }) as u64;
    let month = ((month + 9) % 12) as u64;
    let day_of_year = (153 * month + 2) / 5 + day as u64 - 1;
    let days = year * 365 + year / 4 - year / 100 + year / 400 + day_of_year;
    // Days from 0000-03-01 to 1970-01-01.
    Some(days - 719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, ns: u64) {
        assert_eq!(parse(text.as_bytes()), Some(VenueTime::from_ns(ns)), "{text}");
    }

    #[test]
    fn a_time_becomes_nanoseconds_since_1970() {
        check("2026-11-21T01:00:01.440295Z", 1_795_222_801_440_295_000);
        check("2026-08-01T02:53:53.398143Z", 1_785_552_833_398_143_000);
        check("2024-05-19T18:55:20.910159752Z", 1_716_144_920_910_159_752);
        check("2024-02-29T23:59:59Z", 1_709_251_199_000_000_000);
        check("2024-03-01T00:00:00.5Z", 1_709_251_200_500_000_000);
        check("2000-02-29T12:00:00Z", 951_825_600_000_000_000);
        check("2100-03-01T00:00:00Z", 4_107_542_400_000_000_000);
        check("1970-01-01T00:00:00.000000001Z", 1);
        check("2023-01-05T11:00:00.1234567891Z", 1_672_916_400_123_456_789);
    }

    #[test]
    fn an_offset_is_taken_into_account() {
        check("2026-11-21T02:00:01.440295+01:00", 1_795_222_801_440_295_000);
        check("2026-11-20T19:30:01.440295-05:30", 1_795_222_801_440_295_000);
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let mut expected = 0;
        for year in 1970..2110 {
            for month in 1..=12 {
                for day in 1..=days_of(year, month) {
                    assert_eq!(days_since_1970(year, month, day), Some(expected), "{year}-{month}-{day}");
                    expected += 1;
                }
            }
        }
    }

    #[test]
    fn a_60th_second_is_the_first_of_the_next_minute() {
        assert_eq!(parse(b"2016-12-31T23:59:60Z"), parse(b"2017-01-01T00:00:00Z"));
    }

    #[test]
    fn what_the_clock_cannot_express_is_absent() {
        for text in ["0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "1970-01-01T00:30:00+01:00"] {
            check(text, 0);
        }
        check("9999-12-31T23:59:59Z", 0);
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "2026-11-21",
            "2026-11-21T01:00:01",
            "2026-11-21 01:00:01Z",
            "2026-11-21T01:00:01.Z",
            "2026-13-21T01:00:01Z",
            "2026-00-21T01:00:01Z",
            "2026-02-29T01:00:01Z",
            "2026-11-31T01:00:01Z",
            "2026-11-00T01:00:01Z",
            "2026-11-21T24:00:01Z",
            "2026-11-21T01:60:01Z",
            "2026-11-21T01:00:61Z",
            "2026-11-21T01:00:01.440295",
            "2026-11-21T01:00:01.440295ZZ",
            "2026-11-21T01:00:01,4Z",
            "2026-11-21T01:00:01+0100",
            "2026-11-21T01:00:01*01:00",
            "2026-11-21T01:00:01+24:00",
            "2O26-11-21T01:00:01Z",
            "+026-11-21T01:00:01Z",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text:?}");
        }
    }
}
