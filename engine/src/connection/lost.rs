//! Why a connection is over, in words for people and under a name for counters.

use crate::frame::FrameError;

/// Why a connection is over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    /// The socket could not be opened; the shell's words.
    #[error("connect failed: {0}")]
    Connect(String),
    /// TCP, TLS and handshake took too long.
    #[error("connect failed: no answer within 10 s")]
    OpenTimeout,
    /// The venue answered the handshake with another status.
    #[error("handshake refused: HTTP {status}: {body}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// The first bytes of the body.
        body: String,
        /// Seconds that the venue asks to wait.
        retry_after_s: Option<u64>,
    },
    /// The answer to the handshake breaks RFC 6455.
    #[error("handshake failed: {0}")]
    Handshake(String),
    /// A frame breaks RFC 6455.
    #[error("protocol error: {0}")]
    Frame(#[from] FrameError),
    /// The venue closed.
    #[error("closed by the venue with {code}: {reason}")]
    Closed {
        /// Close code, 1005 if none was given.
        code: u16,
        /// The venue's words.
        reason: String,
    },
    /// The socket ended without a close frame, or with an error; the shell's words.
    #[error("connection lost: {0}")]
    Socket(String),
    /// Nothing came for longer than the venue's heartbeat allows.
    #[error("connection silent for {0} ms")]
    Silent(u64),
    /// A subscription was not answered.
    #[error("subscription not answered within 10 s")]
    NoAck,
    /// A subscription was refused because there were too many requests: the next connection asks again, after its pause.
    #[error("subscription refused for now: too many requests")]
    TooFast,
    /// More bytes wait to be written than may: the venue does not read.
    #[error("the venue does not read what is sent")]
    OutboxFull,
    /// We end it: a planned roll. It becomes the spare one.
    #[error("closed by us: {0}")]
    Ours(&'static str),
}

impl Lost {
    /// The name under which it is counted.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Connect(_) => "connect_failed",
            Self::OpenTimeout => "connect_timeout",
            Self::Refused { .. } => "handshake_refused",
            Self::Handshake(_) => "handshake_invalid",
            Self::Frame(_) => "protocol_error",
            Self::Closed { .. } => "closed_by_venue",
            Self::Socket(_) => "socket",
            Self::Silent(_) => "silent",
            Self::NoAck => "no_ack",
            Self::TooFast => "too_fast",
            Self::OutboxFull => "outbox_full",
            Self::Ours(reason) => reason,
        }
    }
}
