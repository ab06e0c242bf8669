//! Time and chance for signed requests: the wall clock, numbers that only rise, bits that nobody can guess.

use std::fs::File;
use std::io::{self, Read};
use std::time::{SystemTime, UNIX_EPOCH};

use engine::orders::desk::Stamps;
use engine::orders::venue::Stamp;

/// Bytes taken from the kernel at once: 64 stamps, then one more call.
const BYTES: usize = 1_024;

/// The kernel's clock and its source of chance.
pub struct Chance {
    source: File,
    bytes: Box<[u8; BYTES]>,
    used: usize,
    nonce: u64,
}

impl Chance {
    /// # Errors
    /// What the system says of `/dev/urandom`.
    pub fn open() -> io::Result<Self> {
        let mut source = File::open("/dev/urandom")?;
        let mut bytes = Box::new([0; BYTES]);
        source.read_exact(&mut *bytes)?;
        Ok(Self { source, bytes, used: 0, nonce: 0 })
    }

    fn random(&mut self) -> u128 {
        if self.used + 16 > BYTES {
            // An open urandom does not fail; were it to, yesterday's bits must not be given out again.
            self.source.read_exact(&mut *self.bytes).expect("the kernel's source of chance does not end");
            self.used = 0;
        }
        let mut sixteen = [0; 16];
        sixteen.copy_from_slice(&self.bytes[self.used..self.used + 16]);
        self.bytes[self.used..self.used + 16].fill(0);
        self.used += 16;
        u128::from_le_bytes(sixteen)
    }
}

impl Stamps for Chance {
    fn stamp(&mut self) -> Stamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // A clock that was set back must not repeat a number.
        self.nonce = (since.as_nanos() as u64).max(self.nonce + 1);
        Stamp { unix_ms: since.as_millis() as u64, nonce: self.nonce, random: self.random() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn stamps_rise_and_do_not_repeat() {
        let mut chance = Chance::open().expect("a kernel with a source of chance");
        let stamps: Vec<Stamp> = (0..1_000).map(|_| chance.stamp()).collect();
        assert!(stamps.is_sorted_by(|one, next| one.nonce < next.nonce));
        assert_eq!(stamps.iter().map(|stamp| stamp.random).collect::<HashSet<_>>().len(), 1_000);
        assert!(stamps[0].unix_ms > 1_700_000_000_000);
    }
}
