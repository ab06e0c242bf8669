//! Our messages to masked frames, in a buffer of fixed size.

use tungstenite::protocol::frame::{
    FrameHeader,
    coding::{Control, Data, OpCode},
};

use super::{CONTROL_BYTES_MAX, CloseCode, close_code_is_valid};

/// Bytes of a client's header, at the most: two, a length of eight, a mask key of four.
const HEADER_BYTES_MAX: usize = 2 + 8 + 4;

/// Bytes of a close's reason, at the most: the code takes two.
const REASON_BYTES_MAX: usize = CONTROL_BYTES_MAX - 2;

/// Why a message was not queued. Nothing of it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The socket has not yet taken what was queued before. Try again after [`FrameWriter::written`].
    #[error("{needed_bytes} bytes do not fit the {free_bytes} that are free")]
    Full {
        /// Bytes of the frame.
        needed_bytes: usize,
        /// Bytes free in the buffer.
        free_bytes: usize,
    },
    /// A close was queued, and it is the last frame of a connection (RFC 6455, 5.5.1).
    #[error("a close was already sent")]
    Closed,
}

/// Queues one connection's frames until the socket takes them. Allocates once, in [`FrameWriter::new`].
///
/// A mask key must be unpredictable (RFC 6455, 5.3) and is used for one frame.
///
/// ```
/// use engine::frame::FrameWriter;
///
/// let mut writer = FrameWriter::new(4096);
/// writer.text(b"Hello", [0x37, 0xfa, 0x21, 0x3d]).unwrap();
/// assert_eq!(writer.pending(), b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"); // RFC 6455, 5.7
/// writer.written(11);
/// assert!(writer.pending().is_empty());
/// ```
#[derive(Debug)]
pub struct FrameWriter {
    buffer: Box<[u8]>,
    /// Bytes to send are `start..end`.
    start: usize,
    end: usize,
    is_closed: bool,
}

impl FrameWriter {
    /// Bytes of buffer, at the least: a whole control frame fits.
    pub const CAPACITY_BYTES_MIN: usize = 2 + 4 + CONTROL_BYTES_MAX;

    /// A writer that holds up to `capacity_bytes`, headers included.
    ///
    /// # Panics
    ///
    /// If the capacity is below [`FrameWriter::CAPACITY_BYTES_MIN`].
    pub fn new(capacity_bytes: usize) -> Self {
        assert!(capacity_bytes >= Self::CAPACITY_BYTES_MIN, "the buffer holds a control frame");
        FrameWriter { buffer: vec![0; capacity_bytes].into(), start: 0, end: 0, is_closed: false }
    }

    /// Queues a text message in one frame.
    ///
    /// # Errors
    ///
    /// See [`WriteError`].
    pub fn text(&mut self, text: &[u8], mask: [u8; 4]) -> Result<(), WriteError> {
        debug_assert!(str::from_utf8(text).is_ok(), "a text is UTF-8");
        self.frame(OpCode::Data(Data::Text), &[text], mask)
    }

    /// Queues a ping, which the server must answer with the same bytes.
    ///
    /// # Errors
    ///
    /// See [`WriteError`].
    ///
    /// # Panics
    ///
    /// If the payload is longer than [`CONTROL_BYTES_MAX`].
    pub fn ping(&mut self, payload: &[u8], mask: [u8; 4]) -> Result<(), WriteError> {
        assert!(payload.len() <= CONTROL_BYTES_MAX, "a ping carries up to 125 bytes");
        self.frame(OpCode::Control(Control::Ping), &[payload], mask)
    }

    /// Queues a pong, with the bytes of the ping that it answers.
    ///
    /// # Errors
    ///
    /// See [`WriteError`].
    ///
    /// # Panics
    ///
    /// If the payload is longer than [`CONTROL_BYTES_MAX`], which no [`super::Frame::Ping`] is.
    pub fn pong(&mut self, payload: &[u8], mask: [u8; 4]) -> Result<(), WriteError> {
        assert!(payload.len() <= CONTROL_BYTES_MAX, "a pong carries up to 125 bytes");
        self.frame(OpCode::Control(Control::Pong), &[payload], mask)
    }

    /// Queues a close, the last frame. The reason is cut to 123 bytes, between characters.
    ///
    /// # Errors
    ///
    /// See [`WriteError`].
    ///
    /// # Panics
    ///
    /// If the code is one that must not be sent (RFC 6455, 7.4.1: 1005, 1006 and others).
    pub fn close(&mut self, code: CloseCode, reason: &str, mask: [u8; 4]) -> Result<(), WriteError> {
        assert!(close_code_is_valid(code), "a close carries a code that may be sent");
        let reason = &reason.as_bytes()[..reason.floor_char_boundary(REASON_BYTES_MAX)];
        self.frame(OpCode::Control(Control::Close), &[&u16::from(code).to_be_bytes(), reason], mask)?;
        self.is_closed = true;
        Ok(())
    }

    /// What the socket is to be given next.
    #[inline]
    pub fn pending(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Says that the socket took the first `bytes` of [`FrameWriter::pending`].
    ///
    /// # Panics
    ///
    /// If that is more than were pending.
    #[inline]
    pub fn written(&mut self, bytes: usize) {
        assert!(bytes <= self.end - self.start, "no more is written than was pending");
        self.start += bytes;
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
    }

    /// Whether a close was queued.
    pub fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Makes the writer new for the next connection: forgets what was not written.
    pub fn reset(&mut self) {
        self.start = 0;
        self.end = 0;
        self.is_closed = false;
    }

    fn frame(&mut self, opcode: OpCode, parts: &[&[u8]], mask: [u8; 4]) -> Result<(), WriteError> {
        if self.is_closed {
            return Err(WriteError::Closed);
        }
        let payload_bytes: usize = parts.iter().map(|part| part.len()).sum();
        let header = FrameHeader { opcode, mask: Some(mask), ..FrameHeader::default() };
        let mut header_space = [0; HEADER_BYTES_MAX];
        let mut unused = &mut header_space[..];
        header.format(payload_bytes as u64, &mut unused).expect("a header fits its longest form");
        let header_bytes = HEADER_BYTES_MAX - unused.len();

        let needed_bytes = header_bytes + payload_bytes;
        if needed_bytes > self.buffer.len() - self.end {
            self.make_room(needed_bytes)?;
        }
        self.push(&header_space[..header_bytes]);
        let payload_start = self.end;
        for part in parts {
            self.push(part);
        }
        apply_mask(&mut self.buffer[payload_start..self.end], mask);
        Ok(())
    }

    #[inline]
    fn push(&mut self, bytes: &[u8]) {
        self.buffer[self.end..self.end + bytes.len()].copy_from_slice(bytes);
        self.end += bytes.len();
    }

    /// Moves what is pending to the front.
    #[cold]
    fn make_room(&mut self, needed_bytes: usize) -> Result<(), WriteError> {
        let free_bytes = self.buffer.len() - (self.end - self.start);
        if needed_bytes > free_bytes {
            return Err(WriteError::Full { needed_bytes, free_bytes });
        }
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        Ok(())
    }
}

/// RFC 6455, 5.3: each byte by the key's byte at its position modulo 4. By words of eight, which the compiler widens.
fn apply_mask(bytes: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let word_mask = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, tail) = bytes.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ word_mask).to_ne_bytes();
    }
    for (byte, key) in tail.iter_mut().zip([a, b, c, d, a, b, c]) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masking_by_words_is_masking_by_bytes() {
        let mut random = fastrand::Rng::with_seed(6455);
        for bytes in 0..300 {
            let plain: Vec<u8> = (0..bytes).map(|_| random.u8(..)).collect();
            let mask = random.u32(..).to_ne_bytes();
            let mut masked = plain.clone();
            apply_mask(&mut masked, mask);
            let expected: Vec<u8> = plain.iter().enumerate().map(|(i, byte)| byte ^ mask[i % 4]).collect();
            assert_eq!(masked, expected);
        }
    }
}
