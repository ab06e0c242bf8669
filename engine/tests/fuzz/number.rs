//! Numbers against arithmetic on digits: strings of any length, no integer of ours.

use engine::decimal::{self, DecimalError, Number};
use engine::scan::Scanner;

/// A value in its one canonical form: sign, digits without zeros around them, and the power of ten of the last digit.
/// Zero has no digits.
#[derive(Debug, PartialEq, Eq)]
struct Exact {
    negative: bool,
    digits: Vec<u8>,
    exponent: i64,
}

impl Exact {
    fn new(negative: bool, digits: &[u8], mut exponent: i64) -> Self {
        let first = digits.iter().position(|&digit| digit != b'0').unwrap_or(digits.len());
        let mut digits = digits[first..].to_vec();
        while digits.last() == Some(&b'0') {
            digits.pop();
            exponent += 1;
        }
        if digits.is_empty() {
            return Self { negative: false, digits, exponent: 0 };
        }
        Self { negative, digits, exponent }
    }

    /// `-?digits[.digits][(e|E)[+-]digits]`; `None` for anything else.
    fn parse(text: &[u8]) -> Option<Self> {
        let (negative, text) = match text {
            [b'-', rest @ ..] => (true, rest),
            _ => (false, text),
        };
        let (text, power) = match text.iter().position(|byte| matches!(byte, b'e' | b'E')) {
            None => (text, 0),
            Some(at) => {
                let power = std::str::from_utf8(&text[at + 1..]).ok()?;
                let digits = power.strip_prefix(['+', '-']).unwrap_or(power);
                if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                    return None;
                }
                // What is beyond is only asked whether it is a number.
                (&text[..at], power.parse::<i32>().unwrap_or(i32::MAX).into())
            }
        };
        let mut parts = text.splitn(2, |&byte| byte == b'.');
        let (whole, fraction) = (parts.next()?, parts.next());
        let is_digits = |part: &[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_digit);
        if !is_digits(whole) || fraction.is_some_and(|fraction| !is_digits(fraction)) {
            return None;
        }
        let fraction = fraction.unwrap_or_default();
        Some(Self::new(negative, &[whole, fraction].concat(), power - fraction.len() as i64))
    }

    fn of(mantissa: i64, decimals: u8) -> Self {
        Self::new(mantissa < 0, mantissa.unsigned_abs().to_string().as_bytes(), -i64::from(decimals))
    }

    /// The mantissa at `decimals`, where it is whole and fits.
    fn at(&self, decimals: u8) -> Option<i64> {
        if self.digits.is_empty() {
            return Some(0);
        }
        let zeros = usize::try_from(self.exponent + i64::from(decimals)).ok().filter(|&zeros| zeros < 20)?;
        let sign = if self.negative { "-" } else { "" };
        let digits = std::str::from_utf8(&self.digits).ok()?;
        format!("{sign}{digits}{}", "0".repeat(zeros)).parse().ok()
    }
}

/// A byte of decimals, then a text.
pub fn decimal(data: &[u8]) -> bool {
    let Some((&decimals, text)) = data.split_first() else { return false };
    let decimals = decimals % 24;
    let exact = Exact::parse(text);
    let number = Number::parse(text);
    let shown = text.escape_ascii();
    match (&exact, number) {
        (None, found) => assert_eq!(found, Err(DecimalError::Malformed), "{shown}"),
        (Some(_), Err(DecimalError::Malformed)) => panic!("{shown} is a number"),
        (Some(exact), Ok(number)) => {
            assert_eq!(*exact, Exact::of(number.mantissa, number.decimals), "{shown}");
            assert_eq!(Number::parse(number.to_string().as_bytes()), Ok(number), "{shown}");
            assert_eq!(Exact::of(number.trimmed().mantissa, number.trimmed().decimals), *exact, "{shown}");
        }
        (Some(exact), Err(_)) => {
            // Refused only for its size: such a text has many digits, or a power of ten.
            let is_short = text.len() <= 18 && !text.iter().any(|byte| matches!(byte, b'e' | b'E'));
            assert!(!is_short, "{shown} is {exact:?} and was refused");
        }
    }
    if let (Some(exact), Ok(number)) = (&exact, number) {
        let found = number.at(decimals);
        assert_eq!(found.ok(), exact.at(decimals), "{shown} at {decimals}: {found:?}");
        assert_eq!(decimal::parse(text, decimals), found, "{shown}");
    }
    let mut scanner = Scanner::new(text);
    if let Some(scanned) = scanner.decimal()
        && scanner.is_end()
    {
        assert_eq!(Ok(scanned), number, "the scanner takes what the parser takes: {shown}");
    }
    exact.is_some() && number.is_ok()
}

/// Texts at the edges.
pub fn seeds() -> Vec<Vec<u8>> {
    let texts = [
        "64210.10",
        "0",
        "-0.5",
        "0.00000001",
        "1e-08",
        "1.5E+3",
        "92233720368547758.07",
        "9223372036854775808",
        "-9223372036854775808",
        "0.000000000000000001",
        "1.0000000000000000000000",
        "123456789.123456789",
        "00.50",
        "5.",
        "12345678.12345678",
        "0e99",
        "1e999",
        "99999999999999999999999999999999999999999",
    ];
    texts.iter().enumerate().map(|(index, text)| [&[index as u8], text.as_bytes()].concat()).collect()
}
