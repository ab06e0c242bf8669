//! Writes numbers as venues print them, into a byte buffer that the caller reuses.
//!
//! All that the simulated venues send is written with these few functions, by hand: the output is the same bytes
//! for the same market, and costs no allocation. Knows nothing of JSON beyond quotes and lists.

/// Ten to the power of the index, as far as an `i64` holds it.
pub(crate) const POW10: [i64; 19] = {
    let mut table = [1i64; 19];
    let mut index = 1;
    while index < table.len() {
        table[index] = table[index - 1] * 10;
        index += 1;
    }
    table
};

/// Appends bytes as they are.
#[inline]
pub(crate) fn put(buffer: &mut Vec<u8>, bytes: &[u8]) {
    buffer.extend_from_slice(bytes);
}

/// Appends a list with commas.
#[inline]
pub(crate) fn put_list<T>(
    buffer: &mut Vec<u8>,
    items: impl Iterator<Item = T>,
    mut write: impl FnMut(&mut Vec<u8>, T),
) {
    buffer.push(b'[');
    for (index, item) in items.enumerate() {
        if index > 0 {
            buffer.push(b',');
        }
        write(buffer, item);
    }
    buffer.push(b']');
}

/// Appends an unsigned integer.
#[inline]
pub(crate) fn put_u64(buffer: &mut Vec<u8>, value: u64) {
    put_fixed(buffer, u128::from(value), 0);
}

/// Appends a signed integer.
pub(crate) fn put_i64(buffer: &mut Vec<u8>, value: i64) {
    if value < 0 {
        buffer.push(b'-');
    }
    put_u64(buffer, value.unsigned_abs());
}

/// Appends `value * 10^-decimals` with exactly `decimals` digits after the point (no point if 0).
#[inline]
pub(crate) fn put_fixed(buffer: &mut Vec<u8>, value: u128, decimals: usize) {
    let mut digits = [0u8; 48];
    let mut at = digits.len();
    let mut written = 0;
    // Nearly all values fit 64 bits, where a division by ten is a multiplication.
    let mut push = |digit: u8| {
        at -= 1;
        digits[at] = b'0' + digit;
        written += 1;
        if written == decimals {
            at -= 1;
            digits[at] = b'.';
        }
    };
    let mut wide = value;
    while wide > u128::from(u64::MAX) {
        push((wide % 10) as u8);
        wide /= 10;
    }
    let mut rest = wide as u64;
    while rest > 0 {
        push((rest % 10) as u8);
        rest /= 10;
    }
    while written <= decimals {
        at -= 1;
        digits[at] = b'0';
        written += 1;
        if written == decimals {
            at -= 1;
            digits[at] = b'.';
        }
    }
    buffer.extend_from_slice(&digits[at..]);
}

/// As [`put_fixed`], in quotes, with a sign.
#[inline]
pub(crate) fn put_quoted(buffer: &mut Vec<u8>, value: i128, decimals: usize) {
    buffer.push(b'"');
    if value < 0 {
        buffer.push(b'-');
    }
    put_fixed(buffer, value.unsigned_abs(), decimals);
    buffer.push(b'"');
}

/// As [`put_fixed`], with a sign.
#[inline]
pub(crate) fn put_signed(buffer: &mut Vec<u8>, value: i128, decimals: usize) {
    if value < 0 {
        buffer.push(b'-');
    }
    put_fixed(buffer, value.unsigned_abs(), decimals);
}

/// As [`put_signed`], without zeros at the end, nor a point with nothing behind it.
#[inline]
pub(crate) fn put_trimmed(buffer: &mut Vec<u8>, value: i128, decimals: usize) {
    let (mut value, mut decimals) = (value, decimals);
    while decimals > 0 && value % 10 == 0 {
        value /= 10;
        decimals -= 1;
    }
    put_signed(buffer, value, decimals);
}

/// Year, month and day (from 1) of a day since 1970, in the Gregorian calendar.
pub(crate) fn civil(days: u64) -> (u64, u64, u64) {
    // Years start in March here, so that the leap day is the last one.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// Appends a number with two digits.
fn put_two(buffer: &mut Vec<u8>, value: u64) {
    buffer.push(b'0' + (value / 10 % 10) as u8);
    buffer.push(b'0' + (value % 10) as u8);
}

/// Appends `2026-11-21`.
pub(crate) fn put_date(buffer: &mut Vec<u8>, time_ns: u64) {
    let (year, month, day) = civil(time_ns / 86_400_000_000_000);
    put_u64(buffer, year);
    buffer.push(b'-');
    put_two(buffer, month);
    buffer.push(b'-');
    put_two(buffer, day);
}

/// Appends `01:02:03`, the time of the day.
pub(crate) fn put_time(buffer: &mut Vec<u8>, time_ns: u64) {
    let second = time_ns / 1_000_000_000 % 86_400;
    put_two(buffer, second / 3600);
    buffer.push(b':');
    put_two(buffer, second / 60 % 60);
    buffer.push(b':');
    put_two(buffer, second % 60);
}

/// Appends `2026-11-21T01:02:03.123456Z` with so many (1 to 9) digits after the point.
pub(crate) fn put_rfc3339(buffer: &mut Vec<u8>, time_ns: u64, digits: usize) {
    put_date(buffer, time_ns);
    buffer.push(b'T');
    put_time(buffer, time_ns);
    buffer.push(b'.');
    let mut unit = 100_000_000;
    for _ in 0..digits {
        buffer.push(b'0' + (time_ns / unit % 10) as u8);
        unit /= 10;
    }
    buffer.push(b'Z');
}

/// `value` in units of `10^-from`, converted to units of `10^-to`; digits that do not fit are cut off.
pub(crate) fn rescale(value: i128, from: usize, to: usize) -> i128 {
    if to >= from { value * i128::from(POW10[to - from]) } else { value / i128::from(POW10[from - to]) }
}

/// Reads a plain decimal such as `0.0001` as (mantissa, decimals), trailing zeros kept.
pub(crate) fn parse_decimal(text: &str) -> Option<(i64, usize)> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if whole.is_empty() || !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let mantissa = format!("{whole}{fraction}").parse().ok()?;
    Some((mantissa, fraction.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixed(value: u128, decimals: usize) -> String {
        let mut buffer = Vec::new();
        put_fixed(&mut buffer, value, decimals);
        String::from_utf8(buffer).unwrap()
    }

    #[test]
    fn fixed_point_text_has_all_its_decimals() {
        assert_eq!(fixed(0, 0), "0");
        assert_eq!(fixed(0, 8), "0.00000000");
        assert_eq!(fixed(1, 8), "0.00000001");
        assert_eq!(fixed(6_421_051_000_000, 8), "64210.51000000");
        assert_eq!(fixed(10, 1), "1.0");
        assert_eq!(fixed(1234, 0), "1234");
        assert_eq!(fixed(u128::from(u64::MAX) * 1000, 3), "18446744073709551615.000");
    }

    #[test]
    fn signs_and_quotes() {
        let mut buffer = Vec::new();
        put_quoted(&mut buffer, -1205, 3);
        put_i64(&mut buffer, -7);
        assert_eq!(buffer, b"\"-1.205\"-7");
    }

    #[test]
    fn zeros_at_the_end_can_be_left_out() {
        let trimmed = |value, decimals| {
            let mut buffer = Vec::new();
            put_trimmed(&mut buffer, value, decimals);
            String::from_utf8(buffer).unwrap()
        };
        assert_eq!(trimmed(7_885_580, 2), "78855.8");
        assert_eq!(trimmed(4_761_770, 8), "0.0476177");
        assert_eq!(trimmed(0, 8), "0");
        assert_eq!(trimmed(-1500, 3), "-1.5");
        assert_eq!(trimmed(1200, 0), "1200");
    }

    #[test]
    fn times_are_printed_in_the_gregorian_calendar() {
        let text = |time_ns, digits| {
            let mut buffer = Vec::new();
            put_rfc3339(&mut buffer, time_ns, digits);
            String::from_utf8(buffer).unwrap()
        };
        assert_eq!(text(0, 6), "1970-01-01T00:00:00.000000Z");
        assert_eq!(text(951_827_696_123_456_789, 9), "2000-02-29T12:34:56.123456789Z");
        assert_eq!(text(1_783_000_000_000_000_000, 3), "2026-07-02T13:46:40.000Z");
        assert_eq!(text(4_107_542_400_000_000_000, 1), "2100-03-01T00:00:00.0Z");
    }

    #[test]
    fn decimals_are_read_exactly_and_nonsense_is_refused() {
        assert_eq!(parse_decimal("64210.50"), Some((6_421_050, 2)));
        assert_eq!(parse_decimal("1"), Some((1, 0)));
        assert_eq!(parse_decimal("0.00000001"), Some((1, 8)));
        assert_eq!(parse_decimal(".5"), None);
        assert_eq!(parse_decimal("1e5"), None);
        assert_eq!(parse_decimal("-1"), None);
    }
}
