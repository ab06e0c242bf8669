//! Records what a simulated venue sends, in the form of a capture file: what a line's bytes are as messages, and what
//! REST answered.
//!
//! Written apart from the engine's reader of frames, so that both would have to be wrong alike.

use std::collections::BTreeMap;

use engine::ids::LineId;

/// What one line has sent that is no whole message yet.
#[derive(Debug, Default)]
struct Reel {
    bytes: Vec<u8>,
    /// The answer to the upgrade has been read.
    open: bool,
}

/// A recording under way.
#[derive(Debug, Default)]
pub(crate) struct Tape {
    reels: BTreeMap<u8, Reel>,
    text: Vec<u8>,
}

impl Tape {
    /// Bytes of a line's connection. A new connection begins with the answer to its upgrade.
    pub fn bytes(&mut self, line: LineId, bytes: &[u8], now_ns: u64) {
        let reel = self.reels.entry(line.0).or_default();
        if bytes.starts_with(b"HTTP/1.1") {
            *reel = Reel::default();
        }
        reel.bytes.extend_from_slice(bytes);
        if !reel.open {
            let Some(at) = reel.bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return };
            reel.bytes.drain(..at + 4);
            reel.open = true;
        }
        while let Some((opcode, payload)) = whole_frame(&reel.bytes) {
            if opcode == 1 {
                write_line(&mut self.text, now_ns, "ws", &reel.bytes[payload.clone()]);
            }
            reel.bytes.drain(..payload.end);
        }
    }

    /// The body of an answer to a GET.
    pub fn answer(&mut self, path: &str, body: &[u8], now_ns: u64) {
        write_line(&mut self.text, now_ns, &format!("rest:{path}"), body);
    }

    /// The capture file.
    pub fn into_text(self) -> Vec<u8> {
        self.text
    }
}

fn write_line(text: &mut Vec<u8>, now_ns: u64, origin: &str, payload: &[u8]) {
    text.extend_from_slice(format!("{now_ns}\t{origin}\t").as_bytes());
    text.extend_from_slice(payload);
    text.push(b'\n');
}

/// Opcode and payload of the unmasked, unfragmented frame at the front, as the simulated venues send them.
fn whole_frame(bytes: &[u8]) -> Option<(u8, std::ops::Range<usize>)> {
    let (&first, &second) = (bytes.first()?, bytes.get(1)?);
    let (head, length) = match second & 0x7f {
        126 => (4, usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?))),
        127 => (10, u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?) as usize),
        length => (2, usize::from(length)),
    };
    (bytes.len() >= head + length).then_some((first & 0x0f, head..head + length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_found_however_the_bytes_are_cut() {
        let mut stream = b"HTTP/1.1 101 Switching Protocols\r\n\r\n\x81\x02{}\x89\x00".to_vec();
        stream.extend_from_slice(&[0x81, 126, 0, 200]);
        stream.extend_from_slice(&[b'x'; 200]);
        for cut in 8..stream.len() {
            let mut tape = Tape::default();
            tape.bytes(LineId(0), &stream[..cut], 5);
            tape.bytes(LineId(0), &stream[cut..], 5);
            tape.answer("/a", b"[]", 6);
            let expected = format!("5\tws\t{{}}\n5\tws\t{}\n6\trest:/a\t[]\n", "x".repeat(200));
            assert_eq!(String::from_utf8(tape.into_text()).expect("text"), expected, "cut at {cut}");
        }
    }
}
