//! The client's half of WebSocket (RFC 6455), over memory: bytes in, messages out, and the way back.
//!
//! - [`handshake`]: the opening request, and the answer to it.
//! - [`FrameReader`]: the server's bytes to [`Frame`]s. A whole data frame is borrowed from the buffer that the socket
//!   was read into; nothing is copied and nothing is allocated.
//! - [`FrameWriter`]: our messages to masked frames in a buffer of fixed size.
//!
//! Knows nothing of sockets, TLS, venues or time, and answers nothing by itself: the caller sends the pong, the close,
//! and decides when to reconnect. No extension is ever offered (compression would cost more than it saves between a
//! venue and a near host), so every reserved bit is an error. Mask keys and the handshake's key are arguments.
//!
//! Handshake key derivation, outgoing headers and close codes are tungstenite's; its `WebSocket` is the oracle of
//! `tests/frame/oracle.rs`, where the four accepted differences are listed.

pub mod handshake;
mod header;
mod reader;
mod writer;

pub use reader::FrameReader;
pub use tungstenite::protocol::frame::coding::CloseCode;
pub use writer::{FrameWriter, WriteError};

/// Payload of a control frame, at the most, in bytes (RFC 6455, 5.5).
pub const CONTROL_BYTES_MAX: usize = 125;

/// Bytes that can be read behind every text payload, for SIMD loads ([`FrameReader::text_padded`]).
pub const PADDING_BYTES: usize = simd_json::INPUT_PADDING;

/// What the server said, borrowed from the reader until the next call of it.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A whole text message, proved to be UTF-8. Mutable, since JSON strings are unescaped in place.
    Text(&'a mut [u8]),
    /// A whole binary message.
    Binary(&'a [u8]),
    /// The server asks for a pong with the same bytes, 125 at the most.
    Ping(&'a [u8]),
    /// The server answers our ping, or says unasked that it lives.
    Pong(&'a [u8]),
    /// A text of `bytes` bytes, longer than is taken, was passed over ([`FrameReader::passing_over`]).
    Oversized {
        /// Its first bytes.
        head: &'a [u8],
        /// Its length.
        bytes: u64,
    },
    /// The server closes: answer with a close, then drop the connection. What follows is not read.
    Close {
        /// Why, as a number; absent where the server gave none. 1014, which the registry has and tungstenite has not,
        /// is `CloseCode::Bad(1014)`.
        code: Option<CloseCode>,
        /// Why, in the server's words.
        reason: &'a str,
    },
}

/// How the server broke the protocol. The connection is over: send a close with [`FrameError::close_code`], then drop it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// RFC 6455, 5.2: no extension was negotiated that would give these bits a meaning.
    #[error("reserved bits {bits:#05b} are set and no extension was negotiated")]
    ReservedBits {
        /// RSV1 is 4, RSV2 is 2, RSV3 is 1.
        bits: u8,
    },
    /// RFC 6455, 5.2: opcodes 3-7 and 11-15.
    #[error("opcode {opcode} is reserved")]
    ReservedOpcode {
        /// As it was sent.
        opcode: u8,
    },
    /// RFC 6455, 5.1: a server must not mask.
    #[error("the server masked a frame")]
    Masked,
    /// RFC 6455, 5.5: a control frame is one frame.
    #[error("a control frame, opcode {opcode}, is fragmented")]
    ControlFragmented {
        /// 8 close, 9 ping, 10 pong.
        opcode: u8,
    },
    /// RFC 6455, 5.5: [`CONTROL_BYTES_MAX`].
    #[error("a control frame, opcode {opcode}, is longer than 125 bytes")]
    ControlTooLong {
        /// 8 close, 9 ping, 10 pong.
        opcode: u8,
    },
    /// RFC 6455, 5.2: the most significant bit of a 64-bit length must be 0.
    #[error("the top bit of a 64-bit length is set")]
    LengthTopBit,
    /// RFC 6455, 5.2: "the minimal number of bytes MUST be used". Refused as browsers do; tungstenite accepts it.
    #[error("a length of {bytes} was written in more bytes than it needs")]
    LengthNotMinimal {
        /// The length that was written.
        bytes: u64,
    },
    /// RFC 6455, 5.4: nothing was begun that could be continued.
    #[error("a continuation frame without a message to continue")]
    ContinuationWithoutStart,
    /// RFC 6455, 5.4: fragments of two messages must not interleave.
    #[error("a new message inside of a fragmented one")]
    MessageInsideMessage,
    /// RFC 6455, 8.1.
    #[error("a text message is not UTF-8")]
    TextNotUtf8,
    /// Our own limit. Found in the header: nothing was allocated for it.
    #[error("a message of {bytes} bytes, where {bytes_max} are the limit")]
    TooLong {
        /// Bytes of the message as far as it was announced.
        bytes: u64,
        /// The reader's limit.
        bytes_max: usize,
    },
    /// RFC 6455, 5.5.1: a close's payload is empty or begins with a code of two bytes.
    #[error("a close frame with half a code")]
    CloseCodeCut,
    /// RFC 6455, 7.4: a code that nobody may send.
    #[error("close code {code} must not be sent")]
    CloseCodeInvalid {
        /// As it was sent.
        code: u16,
    },
    /// RFC 6455, 5.5.1.
    #[error("a close frame's reason is not UTF-8")]
    CloseReasonNotUtf8,
}

impl FrameError {
    /// The code of the close frame that tells the server (RFC 6455, 7.4.1).
    pub fn close_code(self) -> CloseCode {
        match self {
            FrameError::TextNotUtf8 | FrameError::CloseReasonNotUtf8 => CloseCode::Invalid,
            FrameError::TooLong { .. } => CloseCode::Size,
            FrameError::ReservedBits { .. }
            | FrameError::ReservedOpcode { .. }
            | FrameError::Masked
            | FrameError::ControlFragmented { .. }
            | FrameError::ControlTooLong { .. }
            | FrameError::LengthTopBit
            | FrameError::LengthNotMinimal { .. }
            | FrameError::ContinuationWithoutStart
            | FrameError::MessageInsideMessage
            | FrameError::CloseCodeCut
            | FrameError::CloseCodeInvalid { .. } => CloseCode::Protocol,
        }
    }
}

/// Whether a close frame may carry this code.
///
/// RFC 6455, 7.4, and the WebSocket Close Code Number Registry, which added 1014 (bad gateway) after tungstenite's list.
fn close_code_is_valid(code: CloseCode) -> bool {
    const BAD_GATEWAY: u16 = 1014;
    code.is_allowed() || u16::from(code) == BAD_GATEWAY
}
