//! Our reader against tungstenite's `WebSocket` over the same bytes.
//!
//! Both must return the same messages and then both wait, both have closed, or both have failed. The accepted
//! differences, all of them ours to be stricter or earlier, and none of them in what a correct server sends:
//!
//! 1. A length in more bytes than it needs (RFC 6455, 5.2): we refuse, tungstenite accepts. So for a control frame too,
//!    which we refuse by the byte that says that a longer length follows.
//! 2. A close code that must not be sent (7.4): we refuse, tungstenite returns a close of its own making, 1002
//!    "Protocol violation". 1014, registered later, is the other way round: we return it.
//! 3. After a close: we ignore what follows (1.4), tungstenite calls it an error.
//! 4. A rule broken in a header: we say so at once, tungstenite when the payload is there. So after our error
//!    tungstenite is fed more bytes, up to the longest frame, and must then fail too (bytes of 1: a cut length is
//!    completed to one that is written as it must be). The kinds of errors are not compared: a frame that breaks two
//!    rules is named after either.

use std::io::{self, Read, Write};

use engine::frame::{Frame, FrameError, FrameReader};
use tungstenite::{
    Message, WebSocket,
    protocol::{Role, WebSocketConfig},
};

use super::wire::render;

/// Longest message, for both.
const MESSAGE_BYTES_MAX: usize = 2000;

/// How a stream ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// More bytes may come.
    Waiting,
    /// With a close.
    Closed,
    /// Somebody broke a rule; ours says which.
    Failed(Option<FrameError>),
}

/// What our reader makes of `bytes`, in random chops.
fn ours(bytes: &[u8], random: &mut fastrand::Rng) -> (Vec<String>, End) {
    let mut reader = FrameReader::new(random.usize(FrameReader::CAPACITY_BYTES_MIN..4000), MESSAGE_BYTES_MAX);
    let chop_bytes_max = [1, 3, 40, 400, 4000][random.usize(..5)];
    let (mut unread, mut seen, mut end) = (bytes, Vec::new(), End::Waiting);
    while !unread.is_empty() {
        let chop = unread.len().min(random.usize(1..=chop_bytes_max));
        unread = &unread[reader.feed(&unread[..chop])..];
        // Not always drained: the rest must keep.
        for _ in 0..if unread.is_empty() { usize::MAX } else { random.usize(0..8) } {
            match reader.next() {
                Ok(Some(frame)) => {
                    seen.push(render(&frame));
                    if matches!(frame, Frame::Close { .. }) {
                        end = End::Closed;
                    }
                }
                Ok(None) => break,
                Err(error) => return (seen, End::Failed(Some(error))),
            }
        }
    }
    (seen, end)
}

/// A socket that has `unread` to read, then would block, and takes any answer.
struct Memory<'a> {
    unread: &'a [u8],
}

impl Read for Memory<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.unread.is_empty() { Err(io::ErrorKind::WouldBlock.into()) } else { self.unread.read(buffer) }
    }
}

impl Write for Memory<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What tungstenite makes of `bytes`.
fn oracle(bytes: &[u8]) -> (Vec<String>, End) {
    let mut config = WebSocketConfig::default();
    config.max_message_size = Some(MESSAGE_BYTES_MAX);
    config.max_frame_size = Some(MESSAGE_BYTES_MAX);
    config.read_buffer_size = 4096;
    let mut socket = WebSocket::from_raw_socket(Memory { unread: bytes }, Role::Client, Some(config));
    let mut seen = Vec::new();
    loop {
        seen.push(match socket.read() {
            Ok(Message::Text(text)) => render(&Frame::Text(&mut text.as_bytes().to_vec())),
            Ok(Message::Binary(bytes)) => render(&Frame::Binary(&bytes)),
            Ok(Message::Ping(bytes)) => render(&Frame::Ping(&bytes)),
            Ok(Message::Pong(bytes)) => render(&Frame::Pong(&bytes)),
            Ok(Message::Close(close)) => {
                seen.push(match &close {
                    None => render(&Frame::Close { code: None, reason: "" }),
                    Some(close) => render(&Frame::Close { code: Some(close.code), reason: &close.reason }),
                });
                return (seen, End::Closed);
            }
            Ok(Message::Frame(_)) => unreachable!("never read"),
            Err(tungstenite::Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                return (seen, End::Waiting);
            }
            Err(_) => return (seen, End::Failed(None)),
        });
    }
}

/// What tungstenite makes of a close whose code it does not know.
const OWN_CLOSE: &str = "close(1002,Protocol violation)";

/// Compares one stream; returns how it ended for us.
pub fn check(bytes: &[u8], random: &mut fastrand::Rng) -> End {
    let (seen, end) = ours(bytes, random);
    match end {
        End::Failed(Some(FrameError::LengthNotMinimal { .. } | FrameError::ControlTooLong { .. })) => {
            // Difference 1: up to there alike.
            assert!(oracle(bytes).0.starts_with(&seen));
        }
        End::Failed(Some(FrameError::CloseCodeInvalid { .. })) => {
            // Difference 2.
            let (mut oracle_seen, oracle_end) = oracle(bytes);
            if oracle_end == End::Closed {
                assert_eq!(oracle_seen.pop().unwrap(), OWN_CLOSE);
            } else {
                // The reason was not UTF-8 either.
                assert_eq!(oracle_end, End::Failed(None));
            }
            assert_eq!(oracle_seen, seen);
        }
        End::Failed(_) => {
            // Difference 4.
            let filler = [1; MESSAGE_BYTES_MAX + 14];
            assert_eq!(oracle(&[bytes, &filler].concat()), (seen, End::Failed(None)));
        }
        End::Waiting | End::Closed => {
            let (oracle_seen, oracle_end) = oracle(bytes);
            assert_eq!(oracle_end, end);
            assert_eq!(oracle_seen.len(), seen.len());
            for (oracle, ours) in oracle_seen.iter().zip(&seen) {
                // Difference 2.
                assert!(
                    oracle == ours || (oracle == OWN_CLOSE && ours.starts_with("close(1014,")),
                    "{seen:?}"
                );
            }
        }
    }
    end
}
