//! One pass over a frame whose shape is known: expect this literal, take that number, and give up at the first
//! surprise.
//!
//! A scanner is right or silent. What it takes is what the general decoder ([`crate::json`]) would have taken from the
//! same bytes; for the rest it answers `None`, and the caller hands the frame to the general decoder, which also names
//! the error. It knows no venue. Numbers and strings are read eight bytes at a time; nothing allocates or panics.

use crate::decimal::{Number, power_of_ten};

/// Eight times the same byte.
const fn eight(byte: u8) -> u64 {
    u64::from_le_bytes([byte; 8])
}

/// A place in a frame, and what is left of it.
#[derive(Clone, Copy, Debug)]
pub struct Scanner<'a> {
    rest: &'a [u8],
}

impl<'a> Scanner<'a> {
    /// At the first byte of `bytes`.
    #[inline]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What was not taken yet.
    #[inline]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Whether everything was taken.
    #[inline]
    pub const fn is_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next byte, which is not taken.
    #[inline]
    pub const fn peek(&self) -> Option<u8> {
        match self.rest {
            [byte, ..] => Some(*byte),
            [] => None,
        }
    }

    /// Takes one byte, whatever it is.
    #[inline]
    pub fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(byte)
    }

    /// Takes `count` bytes, whatever they are.
    #[inline]
    pub fn skip(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    /// Takes `literal`; `None` if something else is next.
    #[inline]
    pub fn lit(&mut self, literal: &[u8]) -> Option<()> {
        self.rest = self.rest.strip_prefix(literal)?;
        Some(())
    }

    /// Takes `literal` if it is next, and says whether it was.
    #[inline]
    pub fn maybe(&mut self, literal: &[u8]) -> bool {
        self.lit(literal).is_some()
    }

    /// Takes the text of a string up to its closing quote, which is taken too; the opening quote was taken before.
    ///
    /// `None` for a text that is not plain: a backslash, a control character, a byte beyond ASCII.
    #[inline]
    pub fn string(&mut self) -> Option<&'a [u8]> {
        let mut at = 0;
        while let Some(chunk) = self.rest.get(at..).and_then(<[u8]>::first_chunk::<8>) {
            let word = u64::from_le_bytes(*chunk);
            // Exact for the lowest byte that is hit, and only that one is used.
            let zero = |word: u64| word.wrapping_sub(eight(1)) & !word;
            let stops = (zero(word ^ eight(b'"'))
                | zero(word ^ eight(b'\\'))
                | word.wrapping_sub(eight(0x20)) & !word
                | word)
                & eight(0x80);
            if stops != 0 {
                return self.end_string(at + stops.trailing_zeros() as usize / 8);
            }
            at += 8;
        }
        let tail = self.rest.get(at..)?;
        let end = tail.iter().position(|&byte| matches!(byte, b'"' | b'\\' | 0..0x20 | 0x80..))?;
        self.end_string(at + end)
    }

    #[inline]
    fn end_string(&mut self, length: usize) -> Option<&'a [u8]> {
        let text = self.skip(length)?;
        self.lit(b"\"")?;
        Some(text)
    }

    /// Takes `true` or `false`.
    #[inline]
    pub fn bool(&mut self) -> Option<bool> {
        if self.maybe(b"true") { Some(true) } else { self.lit(b"false").map(|()| false) }
    }

    /// Takes a whole number without a sign: at most 19 digits, no superfluous zero in front.
    ///
    /// It ends before the first byte that is no digit; the literal that the caller expects next must tell that nothing
    /// else follows (a point, an exponent).
    // Always: the calls and their saved registers were 3 % of the instructions of a trade.
    #[inline(always)]
    pub fn u64(&mut self) -> Option<u64> {
        // Times and ids have at most 15 digits, and the rest of the message follows: one check of the length is enough.
        let Some(window) = self.rest.first_chunk::<16>() else { return self.u64_rare() };
        let word = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&window[at..at + 8]);
            u64::from_le_bytes(bytes)
        };
        let (first, count) = digits_of(word(0));
        if count < 8 {
            if count == 0 || count > 1 && window[0] == b'0' {
                return None;
            }
            self.rest = self.rest.get(count..)?;
            return Some(first);
        }
        let (second, count) = digits_of(word(8));
        if count == 8 || window[0] == b'0' {
            return self.u64_rare();
        }
        self.rest = self.rest.get(8 + count..)?;
        Some(first * power_of_ten(count as u8 & 7) as u64 + second)
    }

    /// The same of 16 digits or more, and at the end of a message.
    #[inline(never)]
    fn u64_rare(&mut self) -> Option<u64> {
        let (first, count) = digits(self.rest);
        if count == 0 || count > 1 && self.rest.first() == Some(&b'0') {
            return None;
        }
        if count < 8 {
            self.skip(count)?;
            return Some(first);
        }
        let (second, count) = digits(self.rest.get(8..)?);
        if count < 8 {
            self.skip(8 + count)?;
            return Some(first * power_of_ten(count as u8) as u64 + second);
        }
        let (third, count) = digits(self.rest.get(16..)?);
        if count > 3 {
            return None;
        }
        self.skip(16 + count)?;
        Some((first * 100_000_000 + second) * power_of_ten(count as u8) as u64 + third)
    }

    /// Takes a decimal number as [`Number::parse`] reads it, for use between quotes. A sign or an exponent is a
    /// surprise.
    ///
    /// It ends before the first byte that is neither digit nor the one point.
    // Always: the calls alone were 7 % of the instructions of a book update.
    #[inline(always)]
    pub fn decimal(&mut self) -> Option<Number> {
        // Far enough from the end, one check of the length serves for all that follows.
        let Some(window) = self.rest.first_chunk::<DECIMAL_WINDOW_BYTES>() else {
            return self.decimal_at_end();
        };
        let (whole, count) = digits_of(word_at(window, 0));
        if count == 0 || count == 8 {
            return self.decimal_long();
        }
        let count = count & 7;
        if window[count] != b'.' {
            self.rest = self.rest.get(count..)?;
            return Some(Number { mantissa: whole as i64, decimals: 0 });
        }
        let (fraction, decimals) = digits_of(word_at(window, count + 1));
        if decimals == 0 || decimals == 8 && window[count + 9].is_ascii_digit() {
            return self.decimal_long();
        }
        self.rest = self.rest.get(count + 1 + decimals..)?;
        // At most 7 + 8 digits: no overflow.
        let mantissa = whole as i64 * power_of_ten(decimals as u8) + fraction as i64;
        Some(Number { mantissa, decimals: decimals as u8 })
    }

    /// The same where so much is not left.
    #[inline(never)]
    fn decimal_at_end(&mut self) -> Option<Number> {
        let (whole, whole_count) = digits(self.rest);
        let after = self.rest.get(whole_count..)?;
        if whole_count == 0 || whole_count == 8 {
            return self.decimal_long();
        }
        let Some((b'.', after)) = after.split_first() else {
            self.rest = after;
            return Some(Number { mantissa: whole as i64, decimals: 0 });
        };
        let (fraction, count) = digits(after);
        let rest = after.get(count..)?;
        if count == 0 || count == 8 && rest.first().is_some_and(u8::is_ascii_digit) {
            return self.decimal_long();
        }
        self.rest = rest;
        let mantissa = whole as i64 * power_of_ten(count as u8) + fraction as i64;
        Some(Number { mantissa, decimals: count as u8 })
    }

    /// As [`decimal`](Self::decimal), for a number that is not between quotes: JSON forbids a superfluous zero in front.
    #[inline]
    pub fn bare_decimal(&mut self) -> Option<Number> {
        if let [b'0', b'0'..=b'9', ..] = self.rest {
            return None;
        }
        self.decimal()
    }

    /// Eight digits or more on one side of the point, or none.
    #[inline(never)]
    fn decimal_long(&mut self) -> Option<Number> {
        let length =
            self.rest.iter().position(|byte| !matches!(byte, b'0'..=b'9' | b'.')).unwrap_or(self.rest.len());
        let number = Number::parse(self.rest.get(..length)?).ok()?;
        self.skip(length)?;
        Some(number)
    }

    /// Takes the text of a number that is not between quotes, as the venue spelled it, and checks it against JSON's
    /// grammar. What follows is for the caller's next literal to tell.
    #[inline]
    pub fn number_text(&mut self) -> Option<&'a [u8]> {
        let length = number_length(self.rest)?;
        self.skip(length)
    }

    /// Takes `[["1.5","0.2"],["1.4","3"]]`, which may be empty, and gives each pair to `each`, whose `None` ends it.
    #[inline]
    pub fn pairs(&mut self, mut each: impl FnMut(Number, Number) -> Option<()>) -> Option<()> {
        self.lit(b"[")?;
        if self.maybe(b"]") {
            return Some(());
        }
        self.lit(b"[\"")?;
        loop {
            let first = self.decimal()?;
            self.lit(b"\",\"")?;
            let second = self.decimal()?;
            each(first, second)?;
            // All that stands between two pairs is one comparison.
            if !self.maybe(b"\"],[\"") {
                return self.lit(b"\"]]");
            }
        }
    }

    /// As [`pairs`](Self::pairs), and stops behind a pair once fewer than `left_min` bytes are left. Returns whether the list
    /// has ended; if not, a scanner of the bytes that are left goes on with it, `resumed`.
    #[inline]
    pub fn some_pairs(
        &mut self,
        resumed: bool,
        left_min: usize,
        mut each: impl FnMut(Number, Number) -> Option<()>,
    ) -> Option<bool> {
        if !resumed {
            self.lit(b"[")?;
            if self.maybe(b"]") {
                return Some(true);
            }
            self.lit(b"[\"")?;
        }
        loop {
            let first = self.decimal()?;
            self.lit(b"\",\"")?;
            let second = self.decimal()?;
            each(first, second)?;
            if !self.maybe(b"\"],[\"") {
                self.lit(b"\"]]")?;
                return Some(true);
            }
            if self.rest().len() < left_min {
                return Some(false);
            }
        }
    }
}

/// Bytes that a decimal of the common size and the reads around it touch: 7 digits, the point, 8 digits and one more.
const DECIMAL_WINDOW_BYTES: usize = 17;

/// Eight bytes of a window; `at` is at most 8.
#[inline]
fn word_at(window: &[u8; DECIMAL_WINDOW_BYTES], at: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&window[at..at + 8]);
    u64::from_le_bytes(bytes)
}

/// Value and count of the digits that `bytes` begins with, at most eight.
#[inline]
fn digits(bytes: &[u8]) -> (u64, usize) {
    digits_of(match bytes.first_chunk::<8>() {
        Some(chunk) => u64::from_le_bytes(*chunk),
        None => short(bytes),
    })
}

/// Value and count of the digits in the lowest bytes of `word`.
// Always: as a call it was 5 % of the instructions of a trade.
#[inline(always)]
fn digits_of(word: u64) -> (u64, usize) {
    let word = word ^ eight(b'0');
    // The high bit of each byte above 9. A carry reaches only later bytes, and only the first hit is used.
    let others = (word.wrapping_add(eight(0x76)) | word) & eight(0x80);
    let count = others.trailing_zeros() / 8;
    if count == 0 {
        return (0, 0);
    }
    // Zeros move in front of the digits, the first of which is the lowest byte; then pairs, fours and eights join.
    let word = word << (64 - 8 * count);
    let word = word.wrapping_mul(10).wrapping_add(word >> 8);
    let low = (word & 0x0000_00FF_0000_00FF).wrapping_mul(0x000F_4240_0000_0064);
    let high = (word >> 16 & 0x0000_00FF_0000_00FF).wrapping_mul(0x0000_2710_0000_0001);
    (low.wrapping_add(high) >> 32, count as usize)
}

/// The last bytes of a frame as a word.
#[cold]
fn short(bytes: &[u8]) -> u64 {
    bytes.iter().take(8).rev().fold(0, |word, &byte| word << 8 | u64::from(byte))
}

/// Length of the JSON number that `bytes` begins with: `-?(0|[1-9][0-9]*)(.[0-9]+)?([eE][+-]?[0-9]+)?`.
///
/// `None` if there is none, or if more of a number follows than the grammar allows.
pub(crate) fn number_length(bytes: &[u8]) -> Option<usize> {
    let run = |at: usize| {
        bytes.get(at..).map_or(0, |rest| rest.iter().take_while(|byte| byte.is_ascii_digit()).count())
    };
    let mut at = usize::from(bytes.first() == Some(&b'-'));
    let whole = run(at);
    if whole == 0 || whole > 1 && bytes.get(at) == Some(&b'0') {
        return None;
    }
    at += whole;
    if bytes.get(at) == Some(&b'.') {
        let fraction = run(at + 1);
        if fraction == 0 {
            return None;
        }
        at += 1 + fraction;
    }
    if let Some(b'e' | b'E') = bytes.get(at) {
        at += 1 + usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
        let exponent = run(at);
        if exponent == 0 {
            return None;
        }
        at += exponent;
    }
    match bytes.get(at) {
        Some(b'0'..=b'9' | b'.' | b'+' | b'-' | b'e' | b'E') => None,
        _ => Some(at),
    }
}

#[cfg(test)]
// A method of `Scanner<'a>` is not general enough over `'a`; a closure is.
#[allow(clippy::redundant_closure_for_method_calls)]
mod tests {
    use super::*;

    /// Reads `text` with `take`, both alone and with bytes behind it, and wants the value and what was left.
    fn check<T: PartialEq + std::fmt::Debug>(
        take: impl Fn(&mut Scanner) -> Option<T>,
        text: &str,
        expected: Option<T>,
        left: &str,
    ) {
        for tail in ["", "\",\"T\":1783000000123}}"] {
            let bytes = format!("{text}{tail}");
            let mut scanner = Scanner::new(bytes.as_bytes());
            let found = take(&mut scanner);
            assert_eq!(found, expected, "{bytes:?}");
            if expected.is_some() {
                assert_eq!(scanner.rest(), format!("{left}{tail}").as_bytes(), "{bytes:?}");
            }
        }
    }

    #[test]
    fn whole_numbers() {
        let u64 = |text, expected, left| check(|scanner| scanner.u64(), text, expected, left);
        u64("0", Some(0), "");
        u64("7,", Some(7), ",");
        u64("1234567", Some(1_234_567), "");
        u64("12345678", Some(12_345_678), "");
        u64("123456789", Some(123_456_789), "");
        u64("1783000000123}", Some(1_783_000_000_123), "}");
        u64("1234567890123456", Some(1_234_567_890_123_456), "");
        u64("9999999999999999999", Some(9_999_999_999_999_999_999), "");
        u64("10000000000000000000", None, "");
        u64("007", None, "");
        u64("-1", None, "");
        u64("x", None, "");
        u64("", None, "");
        u64("12.5", Some(12), ".5");
    }

    #[test]
    fn decimals_as_the_parser_of_numbers_reads_them() {
        for text in [
            "0",
            "7",
            "61837.63000000",
            "0.02000000",
            "61800.30",
            "1234567.12345678",
            "12345678.5",
            "12345678",
            "0.123456789",
            "123456789012.12345678",
            "00.50",
            "0.000000000000000001",
            "9223372036854775807",
            "1.0",
            "99999999999999999999.00",
        ] {
            check(|scanner| scanner.decimal(), text, Number::parse(text.as_bytes()).ok(), "");
        }
        for text in ["", "-1", ".5", "5.", "x", "12345678.", "1.123456789."] {
            check(|scanner| scanner.decimal(), text, None::<Number>, "");
        }
        check(|scanner| scanner.decimal(), "1.2.3", Some(Number { mantissa: 12, decimals: 1 }), ".3");
        check(|scanner| scanner.decimal(), "1e5", Some(Number { mantissa: 1, decimals: 0 }), "e5");
        check(|scanner| scanner.bare_decimal(), "01.5", None, "");
        check(|scanner| scanner.bare_decimal(), "0.5,", Some(Number { mantissa: 5, decimals: 1 }), ",");
    }

    #[test]
    fn random_numbers_agree_with_the_slow_way() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..20_000 {
            let whole = random.u64(..) >> random.u32(0..64);
            check(
                |scanner| scanner.u64(),
                &whole.to_string(),
                Some(whole).filter(|&n| n < 10_u64.pow(19)),
                "",
            );
            let number = Number { mantissa: (whole >> 1) as i64, decimals: random.u8(0..=18) };
            let text = number.to_string();
            check(|scanner| scanner.decimal(), &text, Number::parse(text.as_bytes()).ok(), "");
        }
    }

    #[test]
    fn a_plain_string_ends_at_its_quote() {
        let string = |text, expected: Option<&str>, left| {
            check(
                |scanner| scanner.string().map(<[u8]>::to_vec),
                text,
                expected.map(|text| text.into()),
                left,
            );
        };
        string("\"", Some(""), "");
        string("BTCUSDT\",", Some("BTCUSDT"), ",");
        string("btcusdt@depth@100ms\":", Some("btcusdt@depth@100ms"), ":");
        string("a b~!#[]{}\"", Some("a b~!#[]{}"), "");
        for refused in
            ["a\\\"b\"", "1234567\\u0041\"", "tab\there\"", "1234567890\n\"", "币安\"", "12345678é\""]
        {
            string(refused, None, "");
        }
        assert_eq!(Scanner::new(b"no end").string(), None);
        assert_eq!(Scanner::new(b"no end at all, and more than eight").string(), None);
    }

    #[test]
    fn every_byte_in_every_place_of_a_string() {
        for at in 0..20 {
            for byte in 0..=255_u8 {
                let mut bytes = [b'a'; 24];
                bytes[20] = b'"';
                bytes[at] = byte;
                let expected = match byte {
                    b'"' => Some(&bytes[..at]),
                    b'\\' | 0..0x20 | 0x80.. => None,
                    _ => Some(&bytes[..20]),
                };
                assert_eq!(Scanner::new(&bytes).string(), expected, "byte {byte:#x} at {at}");
            }
        }
    }

    #[test]
    fn words_and_pairs() {
        check(|scanner| scanner.bool(), "true", Some(true), "");
        check(|scanner| scanner.bool(), "false,", Some(false), ",");
        check(|scanner| scanner.bool(), "True", None, "");
        let pairs = |scanner: &mut Scanner| {
            let mut sum = 0;
            scanner.pairs(|first, second| {
                sum += first.mantissa * 1_000 + second.mantissa;
                Some(())
            })?;
            Some(sum)
        };
        check(pairs, "[]", Some(0), "");
        check(pairs, r#"[["1.5","2"]]"#, Some(15_002), "");
        check(pairs, r#"[["1.5","2"],["1","0.3"]],"#, Some(16_005), ",");
        for refused in [
            "",
            "[",
            "[[",
            r#"[["1","2"]"#,
            r#"[["1","2",[]]]"#,
            r#"[["1"]]"#,
            r#"[["1","2"]["1","2"]]"#,
            r#"[ ["1","2"]]"#,
            "[[1,2]]",
            r#"[["-1","2"]]"#,
            "[,]",
        ] {
            check(pairs, refused, None, "");
        }
        check(|scanner| scanner.pairs(|_, _| None), r#"[["1","2"]]"#, None, "");
    }

    #[test]
    fn the_text_of_a_number() {
        for text in ["0", "-0.5", "12.50", "1e-08", "1.5E+3", "-7", "123456789012345678901234567890"] {
            check(|scanner| scanner.number_text().map(<[u8]>::len), text, Some(text.len()), "");
        }
        for text in ["", "-", "01", "1.", ".5", "1e", "1e+", "1.2.3", "1-2", "+1", "NaN"] {
            check(|scanner| scanner.number_text().map(<[u8]>::len), text, None, "");
        }
    }

    #[test]
    fn taking_more_than_there_is_takes_nothing() {
        let mut scanner = Scanner::new(b"ab");
        assert_eq!(scanner.skip(3), None);
        assert_eq!(
            (scanner.peek(), scanner.byte(), scanner.byte(), scanner.byte()),
            (Some(b'a'), Some(b'a'), Some(b'b'), None)
        );
        assert!(scanner.is_end() && !scanner.maybe(b"a") && scanner.maybe(b""));
    }
}
