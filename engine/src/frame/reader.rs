//! The server's bytes to messages, borrowed from the buffer they were read into.

use super::{
    CONTROL_BYTES_MAX, CloseCode, Frame, FrameError, PADDING_BYTES, close_code_is_valid,
    header::{HEADER_BYTES_MAX, Header, Opcode},
};

/// Bytes that the buffer grows by at once: fresh memory costs a fault a page, and a snapshot of megabytes would be given all of it
/// in one turn.
const GROWTH_BYTES_MAX: usize = 256 << 10;
/// Bytes that are kept of a text that is passed over: what it is and whose stands at its beginning.
const HEAD_BYTES: usize = 512;

/// Reads frames out of one connection's bytes.
///
/// The buffer is taken once. It grows only while one frame larger than it arrives, step by step as bytes come in and never
/// beyond the limit on a message; [`FrameReader::reset`] gives the growth back.
///
/// ```
/// use engine::frame::{Frame, FrameReader};
///
/// let mut reader = FrameReader::new(16 << 10, 1 << 20);
/// let read = b"\x81\x05Hello\x89\x00"; // what a socket would have put there
/// reader.space()[..read.len()].copy_from_slice(read);
/// reader.filled(read.len());
///
/// let mut hello = *b"Hello";
/// assert_eq!(reader.next(), Ok(Some(Frame::Text(&mut hello))));
/// assert_eq!(reader.next(), Ok(Some(Frame::Ping(b""))));
/// assert_eq!(reader.next(), Ok(None));
/// ```
#[derive(Debug)]
pub struct FrameReader {
    /// Capacity, then [`PADDING_BYTES`] that are never filled. Unread bytes are `start..end`.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Bytes of the frame at `start`, with its header, once the header is whole and the payload is not; else 0.
    wanted_bytes: usize,
    /// Bytes of that frame's text that are known to be whole characters: a long one is looked at as it comes.
    valid_bytes: usize,
    /// Fragments so far; a whole fragmented message and its padding after that.
    message: Vec<u8>,
    /// Bytes of `message` that are known to be whole characters.
    message_valid_bytes: usize,
    /// What the fragments in `message` are part of.
    assembling: Option<Data>,
    /// Where the text returned last lies, until the buffer moves.
    text: LastText,
    state: State,
    /// The first bytes of a text that is passed over.
    head: Vec<u8>,
    /// Longest text that is passed over instead of being an error, in bytes.
    passed_over_bytes_max: u64,
    capacity_bytes: usize,
    message_bytes_max: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Data {
    Text,
    Binary,
}

#[derive(Clone, Copy, Debug)]
enum LastText {
    None,
    /// `buffer[start..end]`.
    InBuffer {
        start: usize,
        end: usize,
    },
    /// The first bytes of `message`.
    InMessage {
        bytes: usize,
    },
}

#[derive(Clone, Copy, Debug)]
enum State {
    Open,
    /// A text of `bytes` bytes is passed over, of which `left` have not come.
    PassingOver {
        bytes: u64,
        left: u64,
    },
    /// A close was returned: what follows is ignored (RFC 6455, 1.4 and 5.5.1).
    Closed,
    Failed(FrameError),
}

/// A frame as positions, so that finding it and borrowing it are two steps.
#[derive(Clone, Copy)]
enum Found {
    Text { start: usize, end: usize },
    Binary { start: usize, end: usize },
    TextMessage { bytes: usize },
    BinaryMessage { bytes: usize },
    Ping { start: usize, end: usize },
    Pong { start: usize, end: usize },
    Oversized { bytes: u64 },
    Close { code: Option<CloseCode>, start: usize, end: usize },
}

impl FrameReader {
    /// Bytes of buffer, at the least: a whole control frame fits.
    pub const CAPACITY_BYTES_MIN: usize = 2 + CONTROL_BYTES_MAX;

    /// A reader with `capacity_bytes` of buffer for reads, which accepts messages of up to `message_bytes_max` bytes.
    ///
    /// # Panics
    ///
    /// If the capacity is below [`FrameReader::CAPACITY_BYTES_MIN`] or the limit is below [`CONTROL_BYTES_MAX`].
    pub fn new(capacity_bytes: usize, message_bytes_max: usize) -> Self {
        assert!(capacity_bytes >= Self::CAPACITY_BYTES_MIN, "the buffer holds a control frame");
        assert!(message_bytes_max >= CONTROL_BYTES_MAX, "a message may be as long as a control frame");
        FrameReader {
            buffer: vec![0; capacity_bytes + PADDING_BYTES],
            start: 0,
            end: 0,
            wanted_bytes: 0,
            valid_bytes: 0,
            message: Vec::new(),
            message_valid_bytes: 0,
            assembling: None,
            text: LastText::None,
            state: State::Open,
            head: Vec::new(),
            passed_over_bytes_max: 0,
            capacity_bytes,
            message_bytes_max,
        }
    }

    /// The same, but texts in one frame of up to `bytes_max` bytes that are longer than is taken are passed over and not an
    /// error: the connection lives on, and [`Frame::Oversized`] tells.
    #[must_use]
    pub fn passing_over(mut self, bytes_max: u64) -> Self {
        self.passed_over_bytes_max = bytes_max;
        self
    }

    /// Where to read the socket's next bytes to; say how many with [`FrameReader::filled`].
    ///
    /// Ask after [`FrameReader::next`] has returned `None`, when less than a frame is left to be moved to the front.
    /// The space is then never empty. Asked earlier it may be, with frames waiting: a read of no bytes would look like
    /// the end of the stream.
    #[inline]
    pub fn space(&mut self) -> &mut [u8] {
        self.text = LastText::None;
        let capacity_bytes = self.buffer.len() - PADDING_BYTES;
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        } else if capacity_bytes - self.end < capacity_bytes / 2 {
            self.make_room();
        }
        let capacity_bytes = self.buffer.len() - PADDING_BYTES;
        &mut self.buffer[self.end..capacity_bytes]
    }

    /// Says that the first `bytes` of [`FrameReader::space`] now hold what the server sent.
    ///
    /// # Panics
    ///
    /// If that is more than the space there was.
    #[inline]
    pub fn filled(&mut self, bytes: usize) {
        assert!(
            bytes <= self.buffer.len() - PADDING_BYTES - self.end,
            "no more is filled than there was space"
        );
        self.end += bytes;
    }

    /// Copies bytes that were read elsewhere (behind the handshake's answer, or out of TLS) and returns how many fitted.
    pub fn feed(&mut self, bytes: &[u8]) -> usize {
        let space = self.space();
        let fitting = bytes.len().min(space.len());
        space[..fitting].copy_from_slice(&bytes[..fitting]);
        self.filled(fitting);
        fitting
    }

    /// The next message, or `None` until more bytes are there.
    ///
    /// After a close frame everything is ignored and the answer is `None`.
    ///
    /// # Errors
    ///
    /// The server broke RFC 6455 or our limit. The connection cannot be read any further, and every later call says
    /// the same.
    #[allow(
        clippy::should_implement_trait,
        reason = "an item borrows the reader, which `Iterator` cannot say"
    )]
    #[inline]
    pub fn next(&mut self) -> Result<Option<Frame<'_>>, FrameError> {
        self.text = LastText::None;
        let Some(found) = self.find()? else { return Ok(None) };
        Ok(Some(match found {
            Found::Text { start, end } => {
                self.text = LastText::InBuffer { start, end };
                Frame::Text(&mut self.buffer[start..end])
            }
            Found::TextMessage { bytes } => {
                self.text = LastText::InMessage { bytes };
                Frame::Text(&mut self.message[..bytes])
            }
            Found::Binary { start, end } => Frame::Binary(&self.buffer[start..end]),
            Found::BinaryMessage { bytes } => Frame::Binary(&self.message[..bytes]),
            Found::Ping { start, end } => Frame::Ping(&self.buffer[start..end]),
            Found::Pong { start, end } => Frame::Pong(&self.buffer[start..end]),
            Found::Oversized { bytes } => Frame::Oversized { head: &self.head, bytes },
            Found::Close { code, start, end } => {
                let reason = str::from_utf8(&self.buffer[start..end])
                    .expect("a close that was found has a valid reason");
                Frame::Close { code, reason }
            }
        }))
    }

    /// The text that [`FrameReader::next`] returned last, once more, with at least [`PADDING_BYTES`] behind it: the
    /// slice, and how many of its bytes are the text. `None` after anything else, or after [`FrameReader::space`].
    ///
    /// For `simd_json::fill_tape_padded`, which reads beyond the text instead of copying it. It leaves the padding as it
    /// was, and so must every caller: the next frame is in it.
    #[inline]
    pub fn text_padded(&mut self) -> Option<(&mut [u8], usize)> {
        match self.text {
            LastText::None => None,
            LastText::InBuffer { start, end } => {
                Some((&mut self.buffer[start..end + PADDING_BYTES], end - start))
            }
            LastText::InMessage { bytes } => Some((&mut self.message[..bytes + PADDING_BYTES], bytes)),
        }
    }

    /// The first bytes of the text that was passed over last.
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// Bytes that were read and not yet returned; those of fragments apart.
    pub fn unread_bytes(&self) -> usize {
        self.end - self.start
    }

    /// Bytes of memory held: both buffers, with padding. Of the first what was written to; it has addresses for more.
    pub fn memory_bytes(&self) -> usize {
        self.buffer.len() + self.message.capacity()
    }

    /// Makes the reader new for the next connection: forgets all bytes and keeps the memory it was made with.
    pub fn reset(&mut self) {
        self.start = 0;
        self.end = 0;
        self.wanted_bytes = 0;
        self.valid_bytes = 0;
        self.assembling = None;
        self.text = LastText::None;
        self.state = State::Open;
        self.buffer.truncate(self.capacity_bytes + PADDING_BYTES);
        self.buffer.shrink_to_fit();
        self.message.clear();
        self.message.shrink_to(self.capacity_bytes + PADDING_BYTES);
    }

    /// Moves what is unread to the front, and lets the buffer grow if the frame at the front needs more than all of it.
    #[cold]
    fn make_room(&mut self) {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        let capacity_bytes = self.buffer.len() - PADDING_BYTES;
        if self.end == capacity_bytes && self.wanted_bytes > capacity_bytes {
            let most_bytes = HEADER_BYTES_MAX + self.message_bytes_max;
            let doubled_bytes = (capacity_bytes * 2).min(most_bytes);
            let grown_bytes = doubled_bytes.min(capacity_bytes + GROWTH_BYTES_MAX) + PADDING_BYTES;
            if self.buffer.capacity() < grown_bytes {
                // Addresses for all that may come, of which memory is what is written to: a buffer that moves as it grows takes
                // fresh memory for all that it has, and 2 MB were seen to take a millisecond.
                self.buffer.reserve_exact(most_bytes + PADDING_BYTES - self.buffer.len());
            }
            self.buffer.resize(grown_bytes, 0);
        }
    }

    #[inline]
    fn find(&mut self) -> Result<Option<Found>, FrameError> {
        match self.state {
            State::Open => {}
            State::PassingOver { .. } => return Ok(self.pass_over()),
            State::Closed => {
                self.start = self.end;
                return Ok(None);
            }
            State::Failed(error) => return Err(error),
        }
        loop {
            let header = match Header::parse(&self.buffer[self.start..self.end]) {
                Ok(Some(header)) => header,
                Ok(None) => return Ok(None),
                Err(error) => return Err(self.fail(error)),
            };
            if header.payload_bytes > self.message_bytes_max as u64 {
                return self.too_long(header);
            }
            // Cannot wrap: the limit is below `usize::MAX`, or the buffer would not have been taken.
            let start = self.start + header.header_bytes;
            let payload_bytes = header.payload_bytes as usize;
            let is_whole = payload_bytes <= self.end.saturating_sub(start);

            // The common case: a text in one frame, outside of any other message.
            if header.opcode == Opcode::Text && header.is_final && self.assembling.is_none() && is_whole {
                let end = start + payload_bytes;
                if !is_utf8(&self.buffer[start + self.valid_bytes..end]) {
                    return Err(self.fail(FrameError::TextNotUtf8));
                }
                self.start = end;
                self.wanted_bytes = 0;
                self.valid_bytes = 0;
                return Ok(Some(Found::Text { start, end }));
            }
            match self.find_other(header, start, is_whole) {
                Ok(Step::Found(found)) => return Ok(Some(found)),
                Ok(Step::Again) => {}
                Ok(Step::More) => return Ok(None),
                Err(error) => return Err(self.fail(error)),
            }
        }
    }

    /// All but a whole text frame. What can be refused by the header is refused before the payload is there.
    fn find_other(&mut self, header: Header, start: usize, is_whole: bool) -> Result<Step, FrameError> {
        let payload_bytes = header.payload_bytes as usize;
        match (header.opcode, self.assembling) {
            (Opcode::Continuation, None) => return Err(FrameError::ContinuationWithoutStart),
            (Opcode::Text | Opcode::Binary, Some(_)) => return Err(FrameError::MessageInsideMessage),
            (Opcode::Continuation, Some(_)) => {
                let bytes = self.message.len() as u64 + header.payload_bytes;
                if bytes > self.message_bytes_max as u64 {
                    return Err(FrameError::TooLong { bytes, bytes_max: self.message_bytes_max });
                }
            }
            _ => {}
        }
        if !is_whole {
            self.wanted_bytes = header.header_bytes + payload_bytes;
            if header.opcode == Opcode::Text && header.is_final {
                self.look_at_text(start);
            }
            return Ok(Step::More);
        }
        let end = start + payload_bytes;
        self.start = end;
        self.wanted_bytes = 0;
        Ok(Step::Found(match (header.opcode, header.is_final) {
            (Opcode::Ping, _) => Found::Ping { start, end },
            (Opcode::Pong, _) => Found::Pong { start, end },
            (Opcode::Close, _) => self.close(start, end)?,
            (Opcode::Binary, true) => Found::Binary { start, end },
            (Opcode::Text, true) => unreachable!("a whole text is the common case above"),
            (Opcode::Text, false) => return self.begin(Data::Text, start, end),
            (Opcode::Binary, false) => return self.begin(Data::Binary, start, end),
            (Opcode::Continuation, is_final) => {
                self.append(start, end)?;
                if !is_final {
                    return Ok(Step::Again);
                }
                self.finish()?
            }
        }))
    }

    /// Looks at what has come of a text since the last time. What is wrong with it is said at its end.
    fn look_at_text(&mut self, start: usize) {
        // The header may be all that is there.
        let Some(fresh) = self.buffer.get(start + self.valid_bytes..self.end) else { return };
        self.valid_bytes += if is_ascii(fresh) {
            fresh.len()
        } else {
            str::from_utf8(fresh).map_or_else(|error| error.valid_up_to(), str::len)
        };
    }

    fn begin(&mut self, data: Data, start: usize, end: usize) -> Result<Step, FrameError> {
        self.message.clear();
        self.message_valid_bytes = 0;
        self.assembling = Some(data);
        self.append(start, end)?;
        Ok(Step::Again)
    }

    fn append(&mut self, start: usize, end: usize) -> Result<(), FrameError> {
        self.message.extend_from_slice(&self.buffer[start..end]);
        if self.assembling == Some(Data::Text) {
            match str::from_utf8(&self.message[self.message_valid_bytes..]) {
                Ok(text) => self.message_valid_bytes += text.len(),
                Err(error) if error.error_len().is_some() => return Err(FrameError::TextNotUtf8),
                // A fragment may cut a character (RFC 6455, 5.6): the next one brings the rest.
                Err(error) => self.message_valid_bytes += error.valid_up_to(),
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<Found, FrameError> {
        let data = self.assembling.take().expect("a continuation was checked to continue something");
        let bytes = self.message.len();
        if data == Data::Binary {
            return Ok(Found::BinaryMessage { bytes });
        }
        if self.message_valid_bytes != bytes {
            return Err(FrameError::TextNotUtf8);
        }
        self.message.resize(bytes + PADDING_BYTES, 0);
        Ok(Found::TextMessage { bytes })
    }

    fn close(&mut self, start: usize, end: usize) -> Result<Found, FrameError> {
        let (code, start) = match self.buffer[start..end] {
            [] => (None, start),
            [_] => return Err(FrameError::CloseCodeCut),
            [high, low, ..] => {
                let code = u16::from_be_bytes([high, low]);
                if !close_code_is_valid(code.into()) {
                    return Err(FrameError::CloseCodeInvalid { code });
                }
                (Some(code.into()), start + 2)
            }
        };
        if str::from_utf8(&self.buffer[start..end]).is_err() {
            return Err(FrameError::CloseReasonNotUtf8);
        }
        self.state = State::Closed;
        Ok(Found::Close { code, start, end })
    }

    #[cold]
    fn fail(&mut self, error: FrameError) -> FrameError {
        self.state = State::Failed(error);
        error
    }

    #[cold]
    fn too_long(&mut self, header: Header) -> Result<Option<Found>, FrameError> {
        let bytes = header.payload_bytes;
        let whole = header.opcode == Opcode::Text && header.is_final && self.assembling.is_none();
        if !whole || bytes > self.passed_over_bytes_max {
            return Err(self.fail(FrameError::TooLong { bytes, bytes_max: self.message_bytes_max }));
        }
        self.start += header.header_bytes;
        self.wanted_bytes = 0;
        self.head.clear();
        self.state = State::PassingOver { bytes, left: bytes };
        Ok(self.pass_over())
    }

    /// Drops what has come of a text that is too long; says so once it has ended.
    #[cold]
    fn pass_over(&mut self) -> Option<Found> {
        let State::PassingOver { bytes, left } = &mut self.state else { return None };
        let here = (self.end - self.start).min(usize::try_from(*left).unwrap_or(usize::MAX));
        let kept = here.min(HEAD_BYTES - self.head.len());
        self.head.extend_from_slice(&self.buffer[self.start..self.start + kept]);
        self.start += here;
        *left -= here as u64;
        if *left > 0 {
            return None;
        }
        let bytes = *bytes;
        self.state = State::Open;
        Some(Found::Oversized { bytes })
    }
}

/// Venues write ASCII, and to see that takes half the time of `from_utf8` (200 B: 18 -> 10 ns a frame in all); a text
/// with other characters pays a few ns more.
#[inline]
fn is_utf8(bytes: &[u8]) -> bool {
    is_ascii(bytes) || str::from_utf8(bytes).is_ok()
}

/// Chunks of 64 bytes joined without a branch between them, which become vector instructions; then the last 64 bytes once
/// more, instead of one byte after the other. The standard library's loop stops at the first hit, which never comes.
#[inline]
fn is_ascii(bytes: &[u8]) -> bool {
    const HIGH_BITS: u64 = u64::from_le_bytes([0x80; 8]);
    let Some(tail) = bytes.last_chunk::<64>() else { return bytes.is_ascii() };
    let mut joined = [0; 4];
    let mut join = |half: &[[u8; 8]]| {
        for (joined, word) in joined.iter_mut().zip(half) {
            *joined |= u64::from_le_bytes(*word);
        }
    };
    for chunk in bytes.as_chunks::<64>().0 {
        let words = chunk.as_chunks::<8>().0;
        join(&words[..4]);
        join(&words[4..]);
    }
    let words = tail.as_chunks::<8>().0;
    join(&words[..4]);
    join(&words[4..]);
    (joined[0] | joined[1] | joined[2] | joined[3]) & HIGH_BITS == 0
}

enum Step {
    Found(Found),
    /// A fragment was kept; look at the next frame.
    Again,
    More,
}
