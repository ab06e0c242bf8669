//! The WebSocket frame layer against RFC 6455, against tungstenite, and against a byte-by-byte network.

mod against;
mod autobahn;
mod buffers;
mod handshake;
mod oracle;
mod wire;
mod writer;

use engine::frame::FrameReader;

use wire::{BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, TEXT, abbreviate, close, frame, render};

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
