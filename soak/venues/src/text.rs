//! Writes numbers as venues print them, into a byte buffer that the caller reuses.
//!
//! All that the simulated venues send is written with these few functions, by hand: the output is the same bytes
//! for the same market, and costs no allocation. Knows nothing of JSON beyond quotes.

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
    fn decimals_are_read_exactly_and_nonsense_is_refused() {
        assert_eq!(parse_decimal("64210.50"), Some((6_421_050, 2)));
        assert_eq!(parse_decimal("1"), Some((1, 0)));
        assert_eq!(parse_decimal("0.00000001"), Some((1, 8)));
        assert_eq!(parse_decimal(".5"), None);
        assert_eq!(parse_decimal("1e5"), None);
        assert_eq!(parse_decimal("-1"), None);
    }
}
