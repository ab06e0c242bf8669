//! Money as fixed point: an `i64` mantissa and the instrument's count of decimals.
//!
//! Venue text is parsed straight into it and never passes through a float. Text to value to text is exact; what does
//! not fit is an error, never a rounding.
//!
//! ```
//! use engine::decimal::{DecimalError, Number, Sum, parse};
//!
//! // A venue's text at the instrument's decimals: the mantissa of its `Price`.
//! assert_eq!(parse(b"64210.1", 2), Ok(6_421_010));
//! assert_eq!(parse(b"64210.1000", 2), Ok(6_421_010), "zeros lose nothing");
//! assert_eq!(parse(b"64210.105", 2), Err(DecimalError::TooPrecise { found: 3 }), "a digit would");
//!
//! // As printed, digits kept.
//! let price = Number::parse(b"0.0450")?;
//! assert_eq!(price, Number { mantissa: 450, decimals: 4 });
//! assert_eq!((price.to_string(), price.trimmed().to_string()), ("0.0450".into(), "0.045".into()));
//!
//! // Sums are exact: ten times 0.1 is one.
//! let mut sum = Sum::default();
//! (0..10).for_each(|_| sum.add(1, 1));
//! assert_eq!(sum.trimmed(), Sum { mantissa: 1, decimals: 0 });
//! # Ok::<(), DecimalError>(())
//! ```

use std::fmt;

/// A price, as a count of the instrument's smallest decimal ([`Decimals::price`]).
///
/// Only values of one instrument, at the same decimals, may be compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Price(pub i64);

/// A quantity, as a count of the instrument's smallest decimal ([`Decimals::qty`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Qty(pub i64);

/// How many digits behind the point the mantissas of an instrument's prices and quantities count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Decimals {
    /// Of prices.
    pub price: u8,
    /// Of quantities.
    pub qty: u8,
}

/// Digits behind the point that a number may have: 10^18 is the largest power of ten in an `i64`.
pub const DECIMALS_MAX: u8 = 18;

/// Why a text is not a number of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecimalError {
    /// Not of the form `-?digits[.digits][(e|E)[+-]digits]`.
    #[error("not a decimal number")]
    Malformed,
    /// A digit beyond the instrument's decimals is not zero: rounding would let our book drift from the venue's.
    #[error("more than the instrument's decimals: {found} needed")]
    TooPrecise {
        /// Digits behind the point that the text needs.
        found: u8,
    },
    /// The mantissa does not fit an `i64`.
    #[error("does not fit 64 bits")]
    Overflow,
}

/// A number as printed: `mantissa / 10^decimals`, trailing zeros kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Number {
    /// All digits of the text, signed.
    pub mantissa: i64,
    /// Digits behind the point in the text.
    pub decimals: u8,
}

const POWERS: [i64; 19] = {
    let mut powers = [1_i64; 19];
    let mut exponent = 1;
    while exponent < 19 {
        powers[exponent] = powers[exponent - 1] * 10;
        exponent += 1;
    }
    powers
};

/// 10^`exponent`; `exponent` is at most [`DECIMALS_MAX`].
#[inline]
pub const fn power_of_ten(exponent: u8) -> i64 {
    POWERS[exponent as usize]
}

/// For [`narrowed`]: the inverse of 5^`by` modulo 2^64, and the largest quotient by 10^`by`.
const NARROWING: [(u64, u64); 19] = {
    let mut table = [(1, u64::MAX); 19];
    let mut by = 1;
    while by < 19 {
        // Newton: each step doubles the bits that are right, of which an odd number's own has three.
        let five = 5_u64.pow(by as u32);
        let (mut inverse, mut step) = (five, 0);
        while step < 5 {
            inverse = inverse.wrapping_mul(2_u64.wrapping_sub(five.wrapping_mul(inverse)));
            step += 1;
        }
        table[by] = (inverse, u64::MAX / 10_u64.pow(by as u32));
        by += 1;
    }
    table
};

/// `mantissa / 10^by`, if that drops zeros only; `by` is at most [`DECIMALS_MAX`].
///
/// Without a division, which takes as long as reading the number did: the product with the inverse, rotated, is the quotient
/// where there is no remainder, and larger than any quotient where there is one (Granlund and Montgomery, "Division by
/// Invariant Integers using Multiplication", section 9).
#[inline]
const fn narrowed(mantissa: u64, by: u8) -> Option<u64> {
    let (inverse, quotient_max) = NARROWING[by as usize];
    let quotient = mantissa.wrapping_mul(inverse).rotate_right(by as u32);
    if quotient <= quotient_max { Some(quotient) } else { None }
}

impl Number {
    /// The mantissa at fewer `decimals` than the text has, where that drops zeros only and the number is not negative:
    /// what venues print whose digits are fixed and whose ticks are coarser (Binance).
    #[inline]
    pub const fn narrowed(self, decimals: u8) -> Option<i64> {
        if self.decimals < decimals || self.decimals > DECIMALS_MAX || self.mantissa < 0 {
            return None;
        }
        match narrowed(self.mantissa as u64, self.decimals - decimals) {
            Some(mantissa) => Some(mantissa as i64),
            None => None,
        }
    }

    /// Parses what venues print: `64210.10`, `-0.5`, `1e-08`. No spaces, no plus sign, no leading point.
    ///
    /// # Errors
    /// [`DecimalError::Malformed`]; [`DecimalError::Overflow`] if all digits together do not fit;
    /// [`DecimalError::TooPrecise`] beyond [`DECIMALS_MAX`] digits behind the point.
    #[inline]
    pub fn parse(text: &[u8]) -> Result<Self, DecimalError> {
        let (negative, digits) = match text {
            [b'-', rest @ ..] => (true, rest),
            _ => (false, text),
        };
        let mut mantissa: u64 = 0;
        let mut index = 0;
        // 18 digits cannot overflow a u64, so the common text needs no check per digit.
        let unchecked = digits.len().min(18);
        let mut point = None;
        while index < unchecked {
            let byte = digits[index];
            let digit = byte.wrapping_sub(b'0');
            if digit <= 9 {
                mantissa = mantissa * 10 + u64::from(digit);
            } else if byte == b'.' && point.is_none() && index > 0 {
                point = Some(index);
            } else {
                return Self::parse_rare(text);
            }
            index += 1;
        }
        if index < digits.len() {
            return Self::parse_rare(text);
        }
        let decimals = match point {
            Some(at) => digits.len() - at - 1,
            None => 0,
        };
        if digits.is_empty() || (point.is_some() && decimals == 0) {
            return Err(DecimalError::Malformed);
        }
        let mantissa = if negative { -(mantissa as i64) } else { mantissa as i64 };
        Ok(Self { mantissa, decimals: decimals as u8 })
    }

    /// Long texts, exponents, and everything that is refused.
    #[cold]
    fn parse_rare(text: &[u8]) -> Result<Self, DecimalError> {
        let (negative, digits) = match text {
            [b'-', rest @ ..] => (true, rest),
            _ => (false, text),
        };
        let (digits, exponent) = match digits.iter().position(|byte| matches!(byte, b'e' | b'E')) {
            Some(at) => (&digits[..at], Self::exponent(&digits[at + 1..])),
            None => (digits, Ok(0)),
        };
        let (whole, fraction) = match digits.iter().position(|&byte| byte == b'.') {
            Some(at) if at + 1 < digits.len() => (&digits[..at], &digits[at + 1..]),
            Some(_) => return Err(DecimalError::Malformed),
            None => (digits, &digits[..0]),
        };
        if whole.is_empty() || !whole.iter().chain(fraction).all(u8::is_ascii_digit) {
            return Err(DecimalError::Malformed);
        }
        // Only now: what is no number is malformed, however large its exponent.
        let mut decimals = fraction.len() as i64 - exponent?;
        let mut mantissa: i128 = 0;
        for &byte in whole.iter().chain(fraction) {
            mantissa = mantissa
                .checked_mul(10)
                .and_then(|value| value.checked_add(i128::from(byte - b'0')))
                .ok_or(DecimalError::Overflow)?;
        }
        while decimals < 0 {
            mantissa = mantissa.checked_mul(10).ok_or(DecimalError::Overflow)?;
            decimals += 1;
            if mantissa == 0 {
                decimals = 0;
            }
        }
        // Zeros that only made the text long are dropped; others are digits like any.
        while (decimals > i64::from(DECIMALS_MAX) || mantissa > i128::from(i64::MAX)) && decimals > 0 {
            if mantissa % 10 != 0 {
                break;
            }
            mantissa /= 10;
            decimals -= 1;
        }
        if decimals > i64::from(DECIMALS_MAX) {
            return Err(DecimalError::TooPrecise { found: decimals.min(255) as u8 });
        }
        let mantissa = if negative { -mantissa } else { mantissa };
        let mantissa = i64::try_from(mantissa).map_err(|_| DecimalError::Overflow)?;
        Ok(Self { mantissa, decimals: decimals as u8 })
    }

    fn exponent(text: &[u8]) -> Result<i64, DecimalError> {
        let (negative, digits) = match text {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            _ => (false, text),
        };
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            return Err(DecimalError::Malformed);
        }
        if digits.len() > 3 {
            return Err(DecimalError::Overflow);
        }
        let value = digits.iter().fold(0_i64, |value, byte| value * 10 + i64::from(byte - b'0'));
        Ok(if negative { -value } else { value })
    }

    /// The mantissa at `decimals` digits behind the point.
    ///
    /// # Errors
    /// [`DecimalError::TooPrecise`] if that drops a digit that is not zero, [`DecimalError::Overflow`] if it does not fit.
    #[inline]
    pub const fn at(self, decimals: u8) -> Result<i64, DecimalError> {
        if self.decimals == decimals {
            return Ok(self.mantissa);
        }
        self.rescaled(decimals)
    }

    const fn rescaled(self, decimals: u8) -> Result<i64, DecimalError> {
        if self.decimals < decimals {
            let by = decimals - self.decimals;
            if self.mantissa == 0 {
                return Ok(0);
            }
            if by > DECIMALS_MAX {
                return Err(DecimalError::Overflow);
            }
            return match self.mantissa.checked_mul(power_of_ten(by)) {
                Some(mantissa) => Ok(mantissa),
                None => Err(DecimalError::Overflow),
            };
        }
        let by = self.decimals - decimals;
        if self.mantissa == 0 {
            return Ok(0);
        }
        if by > DECIMALS_MAX || self.mantissa % power_of_ten(by) != 0 {
            return Err(DecimalError::TooPrecise { found: self.trimmed().decimals });
        }
        Ok(self.mantissa / power_of_ten(by))
    }

    /// The same value without trailing zeros behind the point.
    #[must_use]
    pub const fn trimmed(mut self) -> Self {
        while self.decimals > 0 && self.mantissa % 10 == 0 {
            self.mantissa /= 10;
            self.decimals -= 1;
        }
        self
    }
}

impl fmt::Display for Number {
    /// With exactly `decimals` digits behind the point.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Sum { mantissa: i128::from(self.mantissa), decimals: self.decimals }.fmt(f)
    }
}

/// Parses venue text to a mantissa at `decimals` digits behind the point.
///
/// # Errors
/// Those of [`Number::parse`] and [`Number::at`].
#[inline]
pub fn parse(text: &[u8], decimals: u8) -> Result<i64, DecimalError> {
    Number::parse(text)?.at(decimals)
}

/// A sum of many values or products of two: 128 bits, exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// The value times 10^`decimals`.
    pub mantissa: i128,
    /// Digits behind the point.
    pub decimals: u8,
}

impl Sum {
    /// Adds `mantissa` at `decimals`; the sum takes the wider of both. What 128 bits do not hold stays at their end: nothing
    /// that is traded comes near, and numbers read from a file must not be able to stop us.
    pub fn add(&mut self, mut mantissa: i128, decimals: u8) {
        while self.decimals < decimals {
            self.mantissa = self.mantissa.saturating_mul(10);
            self.decimals += 1;
        }
        for _ in decimals..self.decimals {
            mantissa = mantissa.saturating_mul(10);
        }
        self.mantissa = self.mantissa.saturating_add(mantissa);
    }

    /// The same value without trailing zeros behind the point.
    #[must_use]
    pub const fn trimmed(mut self) -> Self {
        while self.decimals > 0 && self.mantissa % 10 == 0 {
            self.mantissa /= 10;
            self.decimals -= 1;
        }
        self
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.mantissa < 0 { "-" } else { "" };
        let digits = self.mantissa.unsigned_abs();
        if self.decimals == 0 {
            return write!(f, "{sign}{digits}");
        }
        let power = 10_u128.pow(u32::from(self.decimals));
        write!(f, "{sign}{}.{:0width$}", digits / power, digits % power, width = usize::from(self.decimals))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, decimals: u8, expected: Result<i64, DecimalError>) {
        assert_eq!(parse(text.as_bytes(), decimals), expected, "{text:?} at {decimals}");
    }

    #[test]
    fn narrowing_drops_zeros_and_nothing_else() {
        let mut random = fastrand::Rng::with_seed(11);
        for _ in 0..200_000 {
            let (decimals, kept) = (random.u8(0..=18), random.u8(0..=18));
            let zeros = power_of_ten(random.u8(0..=18));
            let mantissa = ((random.i64(..) >> random.u32(..63)) / zeros).wrapping_mul(zeros);
            let number = Number { mantissa, decimals };
            let expected = if kept <= decimals && mantissa >= 0 { number.rescaled(kept).ok() } else { None };
            assert_eq!(number.narrowed(kept), expected, "{number:?} at {kept}");
        }
        for mantissa in [0, 1, 9, 10, 11, i64::MAX - 7, i64::MAX, i64::MIN] {
            for by in 0..=18 {
                let number = Number { mantissa, decimals: by };
                let expected =
                    (mantissa >= 0 && mantissa % power_of_ten(by) == 0).then(|| mantissa / power_of_ten(by));
                assert_eq!(number.narrowed(0), expected, "{number:?}");
            }
        }
    }

    #[test]
    fn venue_text_becomes_a_mantissa() {
        check("64210.10", 2, Ok(6_421_010));
        check("64210.10000000", 8, Ok(6_421_010_000_000));
        check("64210.10000000", 2, Ok(6_421_010));
        check("64210", 2, Ok(6_421_000));
        check("0", 8, Ok(0));
        check("0.0", 0, Ok(0));
        check("-0.5", 1, Ok(-5));
        check("00.50", 2, Ok(50));
        check("1e-08", 8, Ok(1));
        check("1.5E+3", 0, Ok(1_500));
        check("92233720368547758.07", 2, Ok(i64::MAX));
        check("0.000000000000000001", 18, Ok(1));
        check("0e99", 3, Ok(0));
        check("1.0000000000000000000000", 4, Ok(10_000));
    }

    #[test]
    fn what_does_not_fit_is_an_error_and_never_a_rounding() {
        check("64210.101", 2, Err(DecimalError::TooPrecise { found: 3 }));
        check("0.0000000000000000001", 18, Err(DecimalError::TooPrecise { found: 19 }));
        check("92233720368547758.08", 2, Err(DecimalError::Overflow));
        check("9223372036854775807", 1, Err(DecimalError::Overflow));
        check("1e19", 0, Err(DecimalError::Overflow));
        check("1e9999", 0, Err(DecimalError::Overflow));
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in [
            "",
            "-",
            ".",
            ".5",
            "5.",
            "1.2.3",
            "+1",
            " 1",
            "1 ",
            "1,5",
            "NaN",
            "inf",
            "0x1",
            "1e",
            "e5",
            "--1",
            "1.e5",
            "١",
            "e12345",
            "1.2.3e9999",
        ] {
            check(text, 2, Err(DecimalError::Malformed));
        }
    }

    #[test]
    fn text_to_value_to_text_is_exact() {
        for text in ["64210.10000000", "0.00000001", "-12.5", "7", "123456789.123456789"] {
            assert_eq!(Number::parse(text.as_bytes()).map(|number| number.to_string()).as_deref(), Ok(text));
        }
        assert_eq!(Number::parse(b"1.500").expect("a number").trimmed().to_string(), "1.5");
    }

    #[test]
    fn sums_take_the_wider_scale() {
        let mut sum = Sum::default();
        sum.add(15, 1);
        sum.add(25, 3);
        sum.add(-1, 0);
        assert_eq!(sum.to_string(), "0.525");
        sum.add(i128::MAX, 36);
        sum.add(1, 0);
        assert_eq!(sum, Sum { mantissa: i128::MAX, decimals: 36 }, "beyond 128 bits it stays at the end");
    }
}
