//! Random streams of server frames, whole and mutated, against tungstenite's `WebSocket` over the same bytes.
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

use crate::{BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, TEXT, frame, render};

const MESSAGE_BYTES_MAX: usize = 2000;
const STREAMS: u64 = 30_000;

#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    Waiting,
    Closed,
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

/// Compares one stream; returns how it ended.
fn check(bytes: &[u8], random: &mut fastrand::Rng) -> End {
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

const WORDS: [&str; 6] = ["{\"e\":\"trade\"}", "κόσμε", "\u{10ffff}", "plain", "ß", "€100"];

fn payload(random: &mut fastrand::Rng, is_text: bool) -> Vec<u8> {
    let bytes_max = [0, 5, 130, 300, 1000][random.usize(..5)];
    let mut payload = Vec::new();
    while payload.len() < bytes_max {
        if is_text {
            payload.extend(random.choice(WORDS).unwrap().bytes());
        } else {
            payload.push(random.u8(..));
        }
    }
    payload
}

fn control(random: &mut fastrand::Rng, opcode: u8) -> Vec<u8> {
    let mut payload = payload(random, false);
    payload.truncate(125);
    frame(FIN | opcode, &payload)
}

/// A message in 1 to 5 frames, cut anywhere, with pings and pongs between.
fn message(random: &mut fastrand::Rng) -> Vec<u8> {
    let is_text = random.bool();
    let mut rest = &payload(random, is_text)[..];
    let mut opcode = if is_text { TEXT } else { BINARY };
    let mut bytes = Vec::new();
    for _ in 0..random.usize(..2) * random.usize(..5) {
        let (front, back) = rest.split_at(random.usize(..=rest.len()));
        bytes.extend(frame(opcode, front));
        (rest, opcode) = (back, CONTINUATION);
        if random.u8(..4) == 0 {
            let opcode = if random.bool() { PING } else { PONG };
            bytes.extend(control(random, opcode));
        }
    }
    bytes.extend(frame(FIN | opcode, rest));
    bytes
}

fn stream(random: &mut fastrand::Rng) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..random.usize(1..12) {
        bytes.extend(match random.u8(..12) {
            0 => control(random, PING),
            1 => control(random, PONG),
            2 if random.bool() => {
                let code = [1000, 1001, 1012, 1014, 3000, 4999, 999, 1005, 1016, 5000][random.usize(..10)];
                let reason = *random.choice(&[&b""[..], b"bye", "κόσμε".as_bytes(), b"\xff"]).unwrap();
                crate::close(code, reason)
            }
            3 if random.u8(..4) == 0 => frame(FIN | CLOSE, &[0x03][..random.usize(..2)]),
            _ => message(random),
        });
    }
    bytes
}

/// Damages some bytes, more often in the first frames' headers, or cuts or repeats a part.
fn mutate(bytes: &mut Vec<u8>, random: &mut fastrand::Rng) {
    for _ in 0..random.usize(..3) {
        let at = random.usize(..bytes.len());
        match random.u8(..6) {
            0 => bytes[at] ^= 1 << random.u8(..8),
            1 => bytes[at] = random.u8(..),
            2 => bytes.truncate(at + 1),
            3 => drop(bytes.drain(at..(at + random.usize(1..9)).min(bytes.len() - 1).max(at))),
            4 => {
                let part = bytes[at..(at + random.usize(1..200)).min(bytes.len())].to_vec();
                bytes.splice(at..at, part);
            }
            _ => {
                let header = bytes.len().min(2);
                bytes[random.usize(..header)] ^= 1 << random.u8(..8);
            }
        }
    }
}

#[test]
fn our_reader_and_tungstenite_say_the_same() {
    let mut ended = [0u64; 3];
    for seed in 0..STREAMS {
        let seen = std::panic::catch_unwind(|| {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut bytes = stream(&mut random);
            if seed % 3 != 0 {
                mutate(&mut bytes, &mut random);
            }
            check(&bytes, &mut random)
        });
        match seen {
            Ok(End::Waiting) => ended[0] += 1,
            Ok(End::Closed) => ended[1] += 1,
            Ok(End::Failed(_)) => ended[2] += 1,
            Err(panic) => {
                eprintln!("seed {seed}");
                std::panic::resume_unwind(panic);
            }
        }
    }
    assert!(ended.iter().all(|count| *count > STREAMS / 20), "the streams end in every way: {ended:?}");
}

/// Streams of few bytes, most of them headers: what a mutated long stream rarely hits.
#[test]
fn our_reader_and_tungstenite_say_the_same_of_noise() {
    for seed in 0..STREAMS {
        let mut random = fastrand::Rng::with_seed(seed);
        let firsts =
            [FIN | TEXT, TEXT, CONTINUATION, FIN, FIN | PING, FIN | CLOSE, FIN | BINARY, PONG, 0x83, 0xc1];
        let mut bytes = Vec::new();
        for _ in 0..random.usize(1..8) {
            bytes.push(*random.choice(&firsts).unwrap());
            bytes.push(*random.choice(&[0, 1, 2, 3, 125, 126, 127, 0x80, 0x82]).unwrap());
            bytes.extend(
                (0..random.usize(..5)).map(|_| *random.choice(&[0, 3, 0xe8, b'a', 0xc2, 0x80]).unwrap()),
            );
        }
        eprintln!("seed {seed}: {bytes:02x?}"); // shown on failure only
        check(&bytes, &mut random);
    }
}
