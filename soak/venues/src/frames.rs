//! WebSocket frames, the server's side (RFC 6455): masked frames in, unmasked frames out.
//!
//! Written for this crate only, so that an error in the gateway's frame layer is not made twice. No fragmentation is
//! sent; fragments of the client are refused, since no client of a venue has a reason to send them.

/// The longest frame accepted from a client; subscriptions with a thousand names fit.
const CLIENT_PAYLOAD_BYTES_MAX: u64 = 256 * 1024;

/// What a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opcode {
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Opcode {
    fn bits(self) -> u8 {
        match self {
            Self::Text => 1,
            Self::Binary => 2,
            Self::Close => 8,
            Self::Ping => 9,
            Self::Pong => 10,
        }
    }

    fn from_bits(bits: u8) -> Option<Self> {
        [Self::Text, Self::Binary, Self::Close, Self::Ping, Self::Pong]
            .into_iter()
            .find(|it| it.bits() == bits)
    }
}

/// A complete frame of a client, in the buffer it was parsed from.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ClientFrame {
    pub opcode: Opcode,
    /// Where the (now unmasked) payload is.
    pub payload: std::ops::Range<usize>,
    /// Bytes of the frame with its header.
    pub bytes: usize,
}

/// Why a client is disconnected: it broke the protocol. The close code is 1002.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("a client's frame is not masked")]
    NotMasked,
    #[error("reserved bits or an unknown opcode")]
    Reserved,
    #[error("a fragment, or a control frame of more than 125 bytes")]
    Fragment,
    #[error("more than {CLIENT_PAYLOAD_BYTES_MAX} bytes")]
    TooLong,
}

/// The first frame in `buffer`, unmasked in place; `None` if it is not complete.
pub(crate) fn parse(buffer: &mut [u8]) -> Result<Option<ClientFrame>, FrameError> {
    let &[first, second, ..] = &*buffer else { return Ok(None) };
    if first & 0x70 != 0 {
        return Err(FrameError::Reserved);
    }
    let opcode = first & 0x0f;
    if first & 0x80 == 0 || opcode == 0 {
        return Err(FrameError::Fragment);
    }
    let opcode = Opcode::from_bits(opcode).ok_or(FrameError::Reserved)?;
    if second & 0x80 == 0 {
        return Err(FrameError::NotMasked);
    }
    let short = second & 0x7f;
    if opcode.bits() >= 8 && short > 125 {
        return Err(FrameError::Fragment);
    }
    let length_bytes = match short {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let Some(length) = buffer.get(2..2 + length_bytes) else { return Ok(None) };
    let length = match length_bytes {
        0 => u64::from(short),
        _ => length.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
    };
    if length > CLIENT_PAYLOAD_BYTES_MAX {
        return Err(FrameError::TooLong);
    }
    let mask_at = 2 + length_bytes;
    let start = mask_at + 4;
    let end = start + length as usize;
    if buffer.len() < end {
        return Ok(None);
    }
    let mask = [buffer[mask_at], buffer[mask_at + 1], buffer[mask_at + 2], buffer[mask_at + 3]];
    for (byte, key) in buffer[start..end].iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
    Ok(Some(ClientFrame { opcode, payload: start..end, bytes: end }))
}

/// Appends the header of an unmasked, final frame with a payload of `length` bytes.
#[inline]
pub(crate) fn put_header(buffer: &mut Vec<u8>, opcode: Opcode, length: u64) {
    buffer.push(0x80 | opcode.bits());
    match length {
        0..=125 => buffer.push(length as u8),
        126..=65535 => {
            buffer.push(126);
            buffer.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            buffer.push(127);
            buffer.extend_from_slice(&length.to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client's frame, masked.
    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        put_header(&mut frame, Opcode::Text, payload.len() as u64);
        frame[0] = first;
        frame[1] |= 0x80;
        let mask = [1, 2, 3, 250];
        frame.extend_from_slice(&mask);
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
        frame
    }

    #[test]
    fn frames_of_all_length_forms_are_read_and_cut_ones_wait() {
        for length in [0usize, 1, 125, 126, 65535, 65536] {
            let payload: Vec<u8> = (0..length).map(|index| index as u8).collect();
            let frame = masked(0x81, &payload);
            for cut in [1, 2, frame.len() / 2, frame.len() - 1] {
                assert_eq!(parse(&mut frame.clone()[..cut]), Ok(None), "{length} cut at {cut}");
            }
            let mut whole = frame.clone();
            whole.extend_from_slice(b"next");
            let parsed = parse(&mut whole).unwrap().unwrap();
            assert_eq!((parsed.opcode, parsed.bytes), (Opcode::Text, frame.len()));
            assert_eq!(whole[parsed.payload], payload[..]);
        }
    }

    #[test]
    fn protocol_errors_are_told_apart() {
        assert_eq!(parse(&mut [0x81, 0x01, b'x']), Err(FrameError::NotMasked));
        assert_eq!(parse(&mut masked(0xC1, b"x")), Err(FrameError::Reserved));
        assert_eq!(parse(&mut masked(0x83, b"x")), Err(FrameError::Reserved));
        assert_eq!(parse(&mut masked(0x01, b"x")), Err(FrameError::Fragment));
        assert_eq!(parse(&mut masked(0x89, &[0; 126])), Err(FrameError::Fragment));
        assert_eq!(parse(&mut [0x81, 0xFF, 0, 0, 0, 1, 0, 0, 0, 0]), Err(FrameError::TooLong));
    }
}
