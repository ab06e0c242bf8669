//! What a server writes, and what a reader made of it as text.

use engine::frame::Frame;

/// First byte of a header: the last or only frame of a message.
pub const FIN: u8 = 0x80;
pub const CONTINUATION: u8 = 0x0;
pub const TEXT: u8 = 0x1;
pub const BINARY: u8 = 0x2;
pub const CLOSE: u8 = 0x8;
pub const PING: u8 = 0x9;
pub const PONG: u8 = 0xa;

/// A server's frame: any first byte, a length in as few bytes as it needs, no mask.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
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
pub fn close(code: u16, reason: &[u8]) -> Vec<u8> {
    frame(FIN | CLOSE, &[&code.to_be_bytes(), reason].concat())
}

/// What a reader returned, as text: frames by kind and payload, a broken rule as `!code` and its name.
pub fn render(frame: &Frame<'_>) -> String {
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
pub fn abbreviate(payload: &[u8]) -> String {
    match payload {
        [first, rest @ ..] if rest.len() > 15 && rest.iter().all(|byte| byte == first) => {
            format!("{}x{}", first.escape_ascii(), payload.len())
        }
        _ => payload.escape_ascii().to_string(),
    }
}
