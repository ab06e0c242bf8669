//! The 2 to 10 bytes before a server's payload, and every rule that needs no more than them.
//!
//! Ours and not tungstenite's `FrameHeader::parse`, because it is on the path of every frame: that one reads through a
//! `Cursor`, logs, and takes 15 ns, where a 200-byte frame takes 10 to 12 here with everything; and it leaves the rules
//! to its caller. The test below compares the two over all first two bytes and all lengths around the boundaries.

use super::{CONTROL_BYTES_MAX, FrameError};

/// Bytes of a server's header, at the most: two, and a length of eight. Servers send no mask key.
pub(super) const HEADER_BYTES_MAX: usize = 2 + 8;

/// Length byte that says: 16 bits follow.
const LENGTH_16: u8 = 126;
/// Length byte that says: 64 bits follow.
const LENGTH_64: u8 = 127;

/// What a payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

/// A header that breaks no rule by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) opcode: Opcode,
    pub(super) is_final: bool,
    pub(super) header_bytes: usize,
    pub(super) payload_bytes: u64,
}

impl Header {
    /// Reads the header at the front of `bytes`; `None` if it is not whole yet. A broken rule is reported as soon as
    /// the two bytes that tell are there.
    #[inline]
    pub(super) fn parse(bytes: &[u8]) -> Result<Option<Header>, FrameError> {
        let &[first, second, ref rest @ ..] = bytes else { return Ok(None) };
        let opcode = match first & 0x7f {
            0x0 => Opcode::Continuation,
            0x1 => Opcode::Text,
            0x2 => Opcode::Binary,
            0x8 => Opcode::Close,
            0x9 => Opcode::Ping,
            0xa => Opcode::Pong,
            _ => return Err(first_byte_error(first)),
        };
        let is_final = first & 0x80 != 0;
        if second & 0x80 != 0 {
            return Err(FrameError::Masked);
        }
        if first & 0x8 != 0 {
            if !is_final {
                return Err(FrameError::ControlFragmented { opcode: first & 0xf });
            }
            if usize::from(second) > CONTROL_BYTES_MAX {
                return Err(FrameError::ControlTooLong { opcode: first & 0xf });
            }
        }
        let (header_bytes, payload_bytes) = match second {
            LENGTH_16 => {
                let Some(length) = rest.first_chunk() else { return Ok(None) };
                let length = u64::from(u16::from_be_bytes(*length));
                if length < u64::from(LENGTH_16) {
                    return Err(FrameError::LengthNotMinimal { bytes: length });
                }
                (2 + 2, length)
            }
            LENGTH_64 => {
                let Some(length) = rest.first_chunk() else { return Ok(None) };
                let length = u64::from_be_bytes(*length);
                if length >> 63 != 0 {
                    return Err(FrameError::LengthTopBit);
                }
                if u16::try_from(length).is_ok() {
                    return Err(FrameError::LengthNotMinimal { bytes: length });
                }
                (2 + 8, length)
            }
            length => (2, u64::from(length)),
        };
        Ok(Some(Header { opcode, is_final, header_bytes, payload_bytes }))
    }
}

#[cold]
fn first_byte_error(first: u8) -> FrameError {
    match (first >> 4) & 0b111 {
        0 => FrameError::ReservedOpcode { opcode: first & 0xf },
        bits => FrameError::ReservedBits { bits },
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use tungstenite::protocol::frame::{
        FrameHeader,
        coding::{Control, Data, OpCode},
    };

    use super::*;

    /// What tungstenite reads, and then the rules of RFC 6455, 5.1, 5.2 and 5.5 that it leaves to its caller.
    fn oracle(bytes: &[u8]) -> Result<Option<(OpCode, bool, usize, u64)>, ()> {
        let mut cursor = Cursor::new(bytes);
        let Some((header, length)) = FrameHeader::parse(&mut cursor).map_err(drop)? else { return Ok(None) };
        let header_bytes = cursor.position() as usize;
        let control = matches!(header.opcode, OpCode::Control(_));
        let broken = header.rsv1
            || header.rsv2
            || header.rsv3
            || header.mask.is_some()
            || (control && (!header.is_final || length > 125))
            || length > u64::MAX / 2
            || header.len(length) != header_bytes;
        if broken { Err(()) } else { Ok(Some((header.opcode, header.is_final, header_bytes, length))) }
    }

    fn ours(bytes: &[u8]) -> Result<Option<(OpCode, bool, usize, u64)>, ()> {
        let Some(header) = Header::parse(bytes).map_err(drop)? else { return Ok(None) };
        let opcode = match header.opcode {
            Opcode::Continuation => OpCode::Data(Data::Continue),
            Opcode::Text => OpCode::Data(Data::Text),
            Opcode::Binary => OpCode::Data(Data::Binary),
            Opcode::Close => OpCode::Control(Control::Close),
            Opcode::Ping => OpCode::Control(Control::Ping),
            Opcode::Pong => OpCode::Control(Control::Pong),
        };
        Ok(Some((opcode, header.is_final, header.header_bytes, header.payload_bytes)))
    }

    #[test]
    fn reads_every_first_pair_of_bytes_as_tungstenite_does() {
        const LENGTHS: [u64; 14] = [
            0,
            1,
            125,
            126,
            127,
            128,
            65535,
            65536,
            1 << 24,
            1 << 32,
            i64::MAX as u64,
            i64::MAX as u64 + 1,
            u64::MAX - 1,
            u64::MAX,
        ];
        for pair in 0..=u16::MAX {
            for length in LENGTHS {
                let mut bytes = pair.to_be_bytes().to_vec();
                match bytes[1] & 0x7f {
                    126 => bytes.extend((length as u16).to_be_bytes()),
                    127 => bytes.extend(length.to_be_bytes()),
                    _ => {}
                }
                bytes.extend([0; 4]); // a mask key, or payload
                assert_eq!(ours(&bytes), oracle(&bytes), "{bytes:02x?}");
            }
        }
    }

    #[test]
    fn a_cut_header_is_not_whole_or_already_an_error_and_never_something_else() {
        for whole in [
            &[0x81, 0x7e, 0x01, 0x00][..],
            &[0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0],
            &[0x89, 0x05],
            &[0x00, 0x7e, 0xff, 0xff],
        ] {
            assert!(matches!(Header::parse(whole), Ok(Some(_))));
            for cut in 0..whole.len() {
                assert_eq!(Header::parse(&whole[..cut]), Ok(None), "{whole:02x?} cut at {cut}");
            }
        }
        assert_eq!(Header::parse(&[0x89, 0x7e]), Err(FrameError::ControlTooLong { opcode: 9 }));
        assert_eq!(Header::parse(&[0x81, 0xff]), Err(FrameError::Masked));
    }
}
