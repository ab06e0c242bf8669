//! The digits of levels as text, for the checksums that venues make over them.
//!
//! Knows no venue: which levels, in which order, and what is summed is the venue's module's. Between two updates nearly all
//! levels are the same, so what was written for a level is kept, in a slot that its price picks.

use crate::event::Level;

/// Levels that one text can have.
const LEVELS_MAX: usize = 20;

/// Digits of the largest mantissa, `i64::MAX`.
const DIGITS_MAX: usize = 19;

/// Digits of a level, and room behind them for a word that is only partly digits.
const LEVEL_BYTES: usize = 40;

const _: () = assert!(LEVEL_BYTES >= 2 * DIGITS_MAX);

/// All levels, and room behind them for a level that is only partly digits.
const TEXT_BYTES: usize = LEVELS_MAX * 2 * DIGITS_MAX + LEVEL_BYTES + 8;

/// Slots of levels: three times as many as a text has, so that few share one. A power of two.
const SLOTS: usize = 64;

const _: () = assert!(SLOTS.is_power_of_two() && SLOTS >= 3 * LEVELS_MAX);

/// 10^8: eight digits are one word.
const WORD: u64 = 100_000_000;

/// What was written for one level.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Kept {
    level: Level,
    text: [u8; LEVEL_BYTES],
    bytes: u8,
}

/// Digits of levels, one level behind the other, and those of the levels before.
#[derive(Clone, Debug)]
pub struct Digits {
    // A level of zeros has no digits: the slots are right before anything was written.
    kept: [Kept; SLOTS],
    text: [u8; TEXT_BYTES],
    used: usize,
}

impl Default for Digits {
    fn default() -> Self {
        let nothing = Kept { level: Level::default(), text: [0; LEVEL_BYTES], bytes: 0 };
        Self { kept: [nothing; SLOTS], text: [0; TEXT_BYTES], used: 0 }
    }
}

impl Digits {
    /// Begins a new text.
    #[inline]
    pub fn clear(&mut self) {
        self.used = 0;
    }

    /// The digits of the levels since [`clear`](Self::clear).
    #[inline]
    pub fn text(&self) -> &[u8] {
        &self.text[..self.used]
    }

    /// Appends price and quantity as their mantissas, without sign and leading zeros: nothing for 0.
    ///
    /// # Panics
    /// Beyond 20 levels.
    #[inline]
    pub fn push(&mut self, level: &Level) {
        // Neighbouring prices get different slots, whatever the tick.
        let slot = (level.price.0 as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (64 - SLOTS.ilog2());
        let kept = &mut self.kept[slot as usize % SLOTS];
        if kept.level != *level {
            *kept = Kept::new(level);
        }
        self.text[self.used..self.used + LEVEL_BYTES].copy_from_slice(&kept.text);
        self.used += usize::from(kept.bytes);
    }
}

impl Kept {
    #[inline(never)]
    fn new(level: &Level) -> Self {
        let mut writer = Writer { bytes: [0; LEVEL_BYTES + 8], used: 0 };
        writer.push_mantissa(level.price.0.unsigned_abs());
        writer.push_mantissa(level.qty.0.unsigned_abs());
        let mut text = [0; LEVEL_BYTES];
        text.copy_from_slice(&writer.bytes[..LEVEL_BYTES]);
        Self { level: *level, text, bytes: writer.used as u8 }
    }
}

/// The digits of one level, on the stack.
struct Writer {
    bytes: [u8; LEVEL_BYTES + 8],
    used: usize,
}

impl Writer {
    #[inline]
    fn push_mantissa(&mut self, mantissa: u64) {
        if mantissa < WORD {
            self.push_first(mantissa);
        } else if mantissa < WORD * WORD {
            self.push_first(mantissa / WORD);
            self.push_word(mantissa % WORD);
        } else {
            self.push_first(mantissa / (WORD * WORD));
            self.push_word(mantissa / WORD % WORD);
            self.push_word(mantissa % WORD);
        }
    }

    /// Appends a number below 10^8 without leading zeros.
    #[inline]
    fn push_first(&mut self, value: u64) {
        let digits = eight_digits(value);
        let zeros = digits.trailing_zeros() / 8;
        let text = (digits | ASCII).checked_shr(8 * zeros).unwrap_or(0);
        self.bytes[self.used..self.used + 8].copy_from_slice(&text.to_le_bytes());
        self.used += 8 - zeros as usize;
    }

    /// Appends a number below 10^8 with leading zeros.
    #[inline]
    fn push_word(&mut self, value: u64) {
        let text = eight_digits(value) | ASCII;
        self.bytes[self.used..self.used + 8].copy_from_slice(&text.to_le_bytes());
        self.used += 8;
    }
}

/// Makes digits of values.
const ASCII: u64 = u64::from_le_bytes([b'0'; 8]);

/// The values of the eight digits of a number below 10^8, the first one in the lowest byte.
///
/// Halves of four digits, then pairs, then digits, each step for all parts at once; the divisions by 100 and by 10 are
/// multiplications that are exact in their range.
#[inline]
const fn eight_digits(value: u64) -> u64 {
    let fours = (value / 10_000) | ((value % 10_000) << 32);
    let hundreds = ((fours * 10_486) >> 20) & 0x0000_007F_0000_007F;
    let pairs = hundreds | ((fours - 100 * hundreds) << 16);
    let tens = ((pairs * 103) >> 10) & 0x000F_000F_000F_000F;
    tens | ((pairs - 10 * tens) << 8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decimal::{Price, Qty};

    #[test]
    fn eight_digits_are_exact_in_every_half_and_pair() {
        for value in 0..10_000 {
            for value in [value, value * 10_000, value * 10_001, 99_990_000 + value] {
                let digits = (eight_digits(value) | ASCII).to_le_bytes();
                assert_eq!(digits, format!("{value:08}").as_bytes());
            }
        }
    }

    #[test]
    fn levels_that_share_a_slot_and_levels_that_return_are_written_right() {
        let mut digits = Digits::default();
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..500 {
            digits.clear();
            let mut expected = String::new();
            for _ in 0..LEVELS_MAX {
                let level = Level { price: Price(random.i64(0..200) * 10), qty: Qty(random.i64(0..3) << 40) };
                digits.push(&level);
                for number in [level.price.0, level.qty.0].into_iter().filter(|number| *number != 0) {
                    expected.push_str(&number.to_string());
                }
            }
            assert_eq!(digits.text(), expected.as_bytes());
        }
    }

    #[test]
    fn the_widest_levels_fit() {
        let mut digits = Digits::default();
        for _ in 0..LEVELS_MAX {
            digits.push(&Level { price: Price(i64::MAX), qty: Qty(i64::MIN) });
        }
        assert_eq!(digits.text(), "92233720368547758079223372036854775808".repeat(LEVELS_MAX).as_bytes());
    }
}
