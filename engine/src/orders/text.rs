//! Short texts of venues (ids, reasons) kept inline, so that what carries them stays plain data.

use std::fmt;

/// At most `N` bytes of text, unused bytes zero. `N` is at most 255.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text<const N: usize> {
    bytes: [u8; N],
    length: u8,
}

impl<const N: usize> Text<N> {
    /// No text.
    pub const EMPTY: Self = Self { bytes: [0; N], length: 0 };

    /// The whole of `text`, or `None` if it is longer than `N` bytes: an id that is cut names another order.
    pub fn new(text: &[u8]) -> Option<Self> {
        if text.len() > N { None } else { Some(Self::cut(text)) }
    }

    /// As much of `text` as fits: reasons, for people.
    pub fn cut(text: &[u8]) -> Self {
        let length = text.len().min(N).min(255);
        let mut bytes = [0; N];
        bytes[..length].copy_from_slice(&text[..length]);
        Self { bytes, length: length as u8 }
    }

    /// The bytes.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length).min(N)]
    }

    /// The text; what is not UTF-8 (a reason cut within a letter, a venue's bad byte) is left out from there on.
    pub fn as_str(&self) -> &str {
        let bytes = self.as_bytes();
        match std::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or(""),
        }
    }

    /// Whether there is none.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }
}

impl<const N: usize> Default for Text<N> {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl<const N: usize> fmt::Debug for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl<const N: usize> fmt::Display for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_whole_or_absent_and_a_reason_may_be_cut() {
        assert_eq!(Text::<4>::new(b"abcd").map(|text| text.as_str().len()), Some(4));
        assert_eq!(Text::<4>::new(b"abcde"), None);
        assert_eq!(Text::<4>::cut(b"abcde").as_str(), "abcd");
        assert_eq!(Text::<3>::cut("ab\u{e9}".as_bytes()).as_str(), "ab");
    }
}
