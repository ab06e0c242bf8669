//! The WebSocket frame layer against RFC 6455, against tungstenite, and against a byte-by-byte network.

mod autobahn;
mod buffers;
mod handshake;
mod oracle;
mod writer;

use engine::frame::{Frame, FrameReader};

/// First byte of a header: the last or only frame of a message.
const FIN: u8 = 0x80;
const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xa;

/// A server's frame: any first byte, a length in as few bytes as it needs, no mask.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        length @ 0..=125 => bytes.push(length as u8),
        length @ 126..=65535 => {
            bytes.push(126);
            bytes.extend((length as u16).to_be_bytes());
        }
        length => {
            bytes.push(127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(payload);
    bytes
}

/// A server's close frame.
fn close(code: u16, reason: &[u8]) -> Vec<u8> {
    frame(FIN | CLOSE, &[&code.to_be_bytes(), reason].concat())
}

/// What a reader returned, as text: frames by kind and payload, a broken rule as `!code` and its name.
fn render(frame: &Frame<'_>) -> String {
    match frame {
        Frame::Text(payload) => format!("text({})", abbreviate(payload)),
        Frame::Binary(payload) => format!("binary({})", abbreviate(payload)),
        Frame::Ping(payload) => format!("ping({})", abbreviate(payload)),
        Frame::Pong(payload) => format!("pong({})", abbreviate(payload)),
        Frame::Oversized { head, bytes } => format!("oversized({bytes},{})", abbreviate(head)),
        Frame::Close { code: None, reason } => format!("close(,{reason})"),
        Frame::Close { code: Some(code), reason } => {
            format!("close({},{})", u16::from(*code), abbreviate(reason.as_bytes()))
        }
    }
}

/// Long payloads of one repeated byte as `*x65536`, others escaped.
fn abbreviate(payload: &[u8]) -> String {
    match payload {
        [first, rest @ ..] if rest.len() > 15 && rest.iter().all(|byte| byte == first) => {
            format!("{}x{}", first.escape_ascii(), payload.len())
        }
        _ => payload.escape_ascii().to_string(),
    }
}

/// Feeds `bytes` in pieces of the sizes that `piece_bytes` gives, and returns what came out, in order.
fn read(reader: &mut FrameReader, mut bytes: &[u8], mut piece_bytes: impl FnMut() -> usize) -> Vec<String> {
    let mut seen = Vec::new();
    while !bytes.is_empty() {
        let piece = bytes.len().min(piece_bytes());
        let fed = reader.feed(&bytes[..piece]);
        assert!(fed > 0, "a drained reader has space");
        bytes = &bytes[fed..];
        loop {
            match reader.next() {
                Ok(Some(frame)) => seen.push(render(&frame)),
                Ok(None) => break,
                Err(error) => {
                    seen.push(format!("!{} {error:?}", u16::from(error.close_code())));
                    assert_eq!(reader.next(), Err(error), "a broken connection stays broken");
                    return seen;
                }
            }
        }
    }
    seen
}
