//! The CRC-32 that Kraken puts on its books: IEEE, as zlib computes it.
//!
//! Written here so that a mistake of the gateway's is not repeated; the tests hold the venue's documented vectors.

/// The polynomial 0x04C11DB7, reflected.
const POLYNOMIAL: u32 = 0xEDB8_8320;

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut value = index as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { value >> 1 ^ POLYNOMIAL } else { value >> 1 };
            bit += 1;
        }
        table[index] = value;
        index += 1;
    }
    table
};

/// CRC-32 of `bytes`.
pub(super) fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |sum, byte| sum >> 8 ^ TABLE[(sum as u8 ^ byte) as usize])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Source: docs.kraken.com, guide "Spot WebSocket book checksum (v2)", page of 2026-05-27.
    #[test]
    fn the_venues_documented_example() {
        let asks = "4528521000004528641545719534528661545711094528961545609114529021589066\
                    0452918154553491452947445474945296135380000452975994554245299518772827";
        let bids = "4528351000000045283415458201545282110000000452810100000004528031545925\
                    86452790799000045277633101034527753000000045277315460273745276615445238";
        assert_eq!(crc32(format!("{asks}{bids}").as_bytes()), 3_310_070_434);
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }
}
