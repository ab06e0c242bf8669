//! A server's WebSocket frames: not masked, in one piece or in fragments.

/// One text message in one frame.
pub fn text(payload: &[u8]) -> Vec<u8> {
    frame(0x81, payload)
}

/// One text message in `count` fragments of nearly equal length; `count` is at least 1.
pub fn fragmented(payload: &[u8], count: usize) -> Vec<u8> {
    let size = payload.len().div_ceil(count).max(1);
    let pieces: Vec<&[u8]> = payload.chunks(size).collect();
    let last = pieces.len().saturating_sub(1);
    let mut bytes = Vec::new();
    for (index, piece) in pieces.iter().enumerate() {
        let opcode = u8::from(index == 0); // text, then continuations
        let end = if index == last { 0x80 } else { 0x00 };
        bytes.extend(frame(opcode | end, piece));
    }
    bytes
}

/// Frames one after the other, as one read of a busy socket brings them.
pub fn batch<'a>(payloads: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    payloads.into_iter().flat_map(text).collect()
}

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        length @ 0..126 => bytes.push(length as u8),
        length @ 126..65_536 => {
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

#[cfg(test)]
mod tests {
    use super::*;
    use engine::frame::{Frame, FrameReader};

    #[test]
    fn frames_read_back_as_they_were_written() {
        for length in [0, 5, 125, 126, 2_048, 70_000] {
            let payload = vec![b'x'; length];
            for bytes in [text(&payload), fragmented(&payload, 3)] {
                if length == 0 && bytes.is_empty() {
                    continue;
                }
                let mut reader = FrameReader::new(128 << 10, 128 << 10);
                assert_eq!(reader.feed(&bytes), bytes.len());
                let mut expected = payload.clone();
                assert_eq!(reader.next(), Ok(Some(Frame::Text(&mut expected))), "{length}");
            }
        }
    }
}
