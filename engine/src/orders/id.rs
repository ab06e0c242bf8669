//! Client order ids: what consumers call their orders, and what venues are told.
//!
//! A venue only ever sees ids made here ([`WireIds`]): legal at every venue, decodable, and never made twice, whatever
//! consumers choose and however often the process restarts. The consumer's own id stays with the order and comes back
//! with its reports, so each consumer has a namespace of its own. One who gives none gets the id on the wire.

use std::fmt;

use sha1::{Digest, Sha1};

/// Bytes of the longest id that every venue takes.
///
/// Source: Kraken `cl_ord_id`, "free ASCII text up to 18 characters" (docs.kraken.com, `add_order`, 2026-07-23); letters
/// and digits only, for `OKX` (docs v5, 2026). Binance takes 36 of `[a-zA-Z0-9-_]`.
pub const ID_BYTES_MAX: usize = 18;

/// Why a text is no client order id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Empty, or longer than [`ID_BYTES_MAX`].
    #[error("a client order id has 1 to {ID_BYTES_MAX} characters, not {found}")]
    Length {
        /// Bytes found.
        found: usize,
    },
    /// Not `[A-Za-z0-9]`.
    #[error("a client order id has letters A-Z, a-z and digits only, not byte {found:#04x}")]
    Character {
        /// The first byte that is neither.
        found: u8,
    },
}

/// 1 to 18 of `[A-Za-z0-9]`, or absent.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientOrderId {
    bytes: [u8; ID_BYTES_MAX],
    length: u8,
}

impl ClientOrderId {
    /// None given.
    pub const ABSENT: Self = Self { bytes: [0; ID_BYTES_MAX], length: 0 };

    /// Checks a text.
    ///
    /// # Errors
    /// [`IdError`]
    pub fn parse(text: &[u8]) -> Result<Self, IdError> {
        if text.is_empty() || text.len() > ID_BYTES_MAX {
            return Err(IdError::Length { found: text.len() });
        }
        if let Some(&found) = text.iter().find(|byte| !byte.is_ascii_alphanumeric()) {
            return Err(IdError::Character { found });
        }
        let mut bytes = [0; ID_BYTES_MAX];
        bytes[..text.len()].copy_from_slice(text);
        Ok(Self { bytes, length: text.len() as u8 })
    }

    /// The text.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length).min(ID_BYTES_MAX)]
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or("")
    }

    /// Whether none was given.
    #[inline]
    pub const fn is_absent(&self) -> bool {
        self.length == 0
    }

    /// The id as integers, for a table. Two different ids have different words.
    #[inline]
    pub(super) fn words(&self) -> [u64; 3] {
        let word = |at: usize| {
            let mut eight = [0; 8];
            let end = (at + 8).min(ID_BYTES_MAX);
            eight[..end - at].copy_from_slice(&self.bytes[at..end]);
            u64::from_le_bytes(eight)
        };
        [word(0), word(8), word(16)]
    }

    /// The UUID that Coinbase gets for it: version 5 of the text in a namespace of ours.
    pub fn uuid(&self) -> Uuid {
        let mut digest = Sha1::new();
        digest.update(NAMESPACE.0);
        digest.update(self.as_bytes());
        let digest = digest.finalize();
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        bytes[6] = bytes[6] & 0x0F | 0x50;
        bytes[8] = bytes[8] & 0x3F | 0x80;
        Uuid(bytes)
    }
}

impl Default for ClientOrderId {
    fn default() -> Self {
        Self::ABSENT
    }
}

impl fmt::Debug for ClientOrderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for ClientOrderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The namespace of our version 5 UUIDs; fixed for ever, or orders of former runs could not be found again.
const NAMESPACE: Uuid =
    Uuid([0x8d, 0x1c, 0x4e, 0x02, 0x6b, 0x57, 0x4a, 0x39, 0x9e, 0x30, 0x2f, 0x7a, 0xd4, 0x15, 0xc8, 0x61]);

/// 128 bits, printed `8-4-4-4-12`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid(pub [u8; 16]);

impl Uuid {
    /// The text, 36 bytes.
    pub fn text(&self) -> [u8; 36] {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut text = [b'-'; 36];
        let mut at = 0;
        for (index, byte) in self.0.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                at += 1;
            }
            text[at] = HEX[usize::from(byte >> 4)];
            text[at + 1] = HEX[usize::from(byte & 15)];
            at += 2;
        }
        text
    }

    /// Parses the form that [`text`](Self::text) prints, in either case.
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text.len() != 36 {
            return None;
        }
        let mut bytes = [0; 16];
        let mut at = 0;
        for (index, byte) in bytes.iter_mut().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                if text[at] != b'-' {
                    return None;
                }
                at += 1;
            }
            let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
            *byte = digit(text[at])? << 4 | digit(text[at + 1])?;
            at += 2;
        }
        Some(Self(bytes))
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.text()).unwrap_or(""))
    }
}

/// First letter of an id made here.
const MARK: u8 = b'm';
/// Base 36 digits of the epoch: seconds since 1970 fit until the year 4453.
const EPOCH_DIGITS: usize = 7;
/// Base 36 digits of the shard: 1,296.
const SHARD_DIGITS: usize = 2;
/// Base 36 digits of the counter: 2.8 * 10^12 orders in one run.
const COUNTER_DIGITS: usize = 8;
/// Largest epoch.
pub const EPOCH_MAX: u64 = 36_u64.pow(EPOCH_DIGITS as u32) - 1;
/// Largest counter.
pub const COUNTER_MAX: u64 = 36_u64.pow(COUNTER_DIGITS as u32) - 1;

const _: () = assert!(1 + EPOCH_DIGITS + SHARD_DIGITS + COUNTER_DIGITS == ID_BYTES_MAX);

/// What an id made here says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WireId {
    /// The run: the caller's number, larger in each run than in all before (seconds since 1970, or a count of starts).
    pub epoch: u64,
    /// The shard that owns the order.
    pub shard: u8,
    /// Which of that shard's orders in that run, from 1.
    pub counter: u64,
}

impl WireId {
    /// The text: `m`, epoch, shard, counter in base 36.
    pub fn encode(self) -> ClientOrderId {
        let mut bytes = [MARK; ID_BYTES_MAX];
        let (epoch, rest) = bytes[1..].split_at_mut(EPOCH_DIGITS);
        let (shard, counter) = rest.split_at_mut(SHARD_DIGITS);
        digits(self.epoch, epoch);
        digits(u64::from(self.shard), shard);
        digits(self.counter, counter);
        ClientOrderId { bytes, length: ID_BYTES_MAX as u8 }
    }

    /// Reads an id; `None` if it was not made here.
    pub fn decode(id: &ClientOrderId) -> Option<Self> {
        let text = id.as_bytes();
        if text.len() != ID_BYTES_MAX || text[0] != MARK {
            return None;
        }
        let (epoch, rest) = text[1..].split_at(EPOCH_DIGITS);
        let (shard, counter) = rest.split_at(SHARD_DIGITS);
        Some(Self {
            epoch: number(epoch)?,
            shard: u8::try_from(number(shard)?).ok()?,
            counter: number(counter)?,
        })
    }
}

fn digits(mut value: u64, out: &mut [u8]) {
    for byte in out.iter_mut().rev() {
        *byte = b"0123456789abcdefghijklmnopqrstuvwxyz"[(value % 36) as usize];
        value /= 36;
    }
}

fn number(text: &[u8]) -> Option<u64> {
    text.iter().try_fold(0_u64, |value, &byte| {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'z' => byte - b'a' + 10,
            _ => return None,
        };
        Some(value * 36 + u64::from(digit))
    })
}

/// Makes the ids of one shard in one run.
#[derive(Clone, Copy, Debug)]
pub struct WireIds {
    epoch: u64,
    shard: u8,
    counter: u64,
    /// The last runs that the journal tells of, and their largest known counters; 0 is none.
    former: [(u64, u64); FORMER_RUNS],
}

/// Runs of whose ids a UUID can be recognised. A process that dies at each start uses them up.
const FORMER_RUNS: usize = 12;
/// Ids after the last known one of a run that are tried: a journal in batches loses some milliseconds of them, at a power cut a
/// second, and the one venue with such ids takes fewer.
const FIND_MAX: u64 = 128;

impl WireIds {
    /// For the run `epoch`; beyond [`EPOCH_MAX`] there is no id, and `None`.
    pub const fn new(epoch: u64, shard: u8) -> Option<Self> {
        if epoch > EPOCH_MAX {
            None
        } else {
            Some(Self { epoch, shard, counter: 0, former: [(0, 0); FORMER_RUNS] })
        }
    }

    /// The next id; `None` after [`COUNTER_MAX`] of them.
    #[inline]
    pub fn make(&mut self) -> Option<ClientOrderId> {
        if self.counter >= COUNTER_MAX {
            return None;
        }
        self.counter += 1;
        Some(WireId { epoch: self.epoch, shard: self.shard, counter: self.counter }.encode())
    }

    /// Takes note of an id that the journal holds: nothing at or below it is made again.
    pub fn seen(&mut self, id: &ClientOrderId) {
        if let Some(found) = WireId::decode(id)
            && found.epoch == self.epoch
            && found.shard == self.shard
        {
            self.counter = self.counter.max(found.counter);
        } else if let Some(found) = WireId::decode(id)
            && found.shard == self.shard
        {
            self.began(found.epoch);
            for (epoch, counter) in &mut self.former {
                if *epoch == found.epoch {
                    *counter = found.counter.max(*counter);
                }
            }
        }
    }

    /// Takes note of a former run.
    pub fn began(&mut self, epoch: u64) {
        if epoch == self.epoch || self.former.iter().any(|former| former.0 == epoch) {
            return;
        }
        if let Some(oldest) = self.former.iter_mut().min_by_key(|former| former.0)
            && oldest.0 < epoch
        {
            *oldest = (epoch, 0);
        }
    }

    /// The former runs that it took note of, the oldest first.
    pub fn former(&self) -> impl Iterator<Item = u64> {
        let mut runs = self.former.map(|(epoch, _)| epoch);
        runs.sort_unstable();
        runs.into_iter().filter(|&epoch| epoch != 0)
    }

    /// The id of which `uuid` was made, among the next ones after the last that is known of each former run: orders that
    /// a journal in batches lost.
    pub fn find(&self, uuid: &Uuid) -> Option<ClientOrderId> {
        if uuid.0[6] >> 4 != 5 {
            return None;
        }
        let runs = self.former.iter().filter(|former| former.0 != 0);
        runs.flat_map(|&(epoch, last)| (last + 1..=last + FIND_MAX).map(move |counter| (epoch, counter)))
            .map(|(epoch, counter)| WireId { epoch, shard: self.shard, counter }.encode())
            .find(|id| id.uuid() == *uuid)
    }

    /// The run.
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_letters_and_digits_and_not_too_long() {
        let check = |text: &str, expected: Result<(), IdError>| {
            assert_eq!(ClientOrderId::parse(text.as_bytes()).map(|_| ()), expected, "{text:?}");
        };
        check("a", Ok(()));
        check("Abc0123456789Abc18", Ok(()));
        check("", Err(IdError::Length { found: 0 }));
        check("Abc0123456789Abc019", Err(IdError::Length { found: 19 }));
        check("gw1-000001", Err(IdError::Character { found: b'-' }));
        check("a b", Err(IdError::Character { found: b' ' }));
        check("caf\u{e9}", Err(IdError::Character { found: 0xC3 }));
        check("a\0", Err(IdError::Character { found: 0 }));
    }

    #[test]
    fn what_is_made_is_legal_decodable_and_different_over_shards_and_runs() {
        let mut seen = std::collections::HashSet::new();
        for epoch in [0, 1_783_000_000, 1_783_000_001, EPOCH_MAX] {
            for shard in [0, 1, 255] {
                let mut ids = WireIds::new(epoch, shard).expect("an epoch that fits");
                for counter in 1..=100 {
                    let id = ids.make().expect("not exhausted");
                    assert_eq!(ClientOrderId::parse(id.as_bytes()), Ok(id));
                    assert_eq!(WireId::decode(&id), Some(WireId { epoch, shard, counter }));
                    assert!(seen.insert(id));
                }
            }
        }
        assert!(WireIds::new(EPOCH_MAX + 1, 0).is_none());
    }

    #[test]
    fn what_the_journal_holds_is_not_made_again() {
        let mut first = WireIds::new(7, 1).expect("fits");
        let used: Vec<ClientOrderId> = (0..5).filter_map(|_| first.make()).collect();
        let mut second = WireIds::new(7, 1).expect("fits");
        for id in &used {
            second.seen(id);
        }
        assert!(!used.contains(&second.make().expect("not exhausted")));
    }

    #[test]
    fn a_uuid_of_an_order_that_the_journal_lost_is_recognised() {
        let id = |epoch, shard, counter| WireId { epoch, shard, counter }.encode();
        let mut ids = WireIds::new(1_000, 1).expect("fits");
        for epoch in 970..=997 {
            ids.began(epoch);
        }
        ids.seen(&id(996, 1, 40));
        let finds = |epoch, shard, counter| ids.find(&id(epoch, shard, counter).uuid()).is_some();
        assert!(finds(996, 1, 41) && finds(996, 1, 40 + FIND_MAX) && finds(997, 1, 1));
        assert!(!finds(996, 1, 40), "known ones are in the table");
        assert!(finds(986, 1, 1) && !finds(985, 1, 1) && !finds(996, 2, 41) && !finds(1_000, 1, 1));
    }

    #[test]
    fn ids_of_others_are_not_ours() {
        for text in ["gw1", "m00000000000000000", "x00000000000000001", "mABCDEFG0000000001"] {
            let id = ClientOrderId::parse(text.as_bytes()).expect("legal");
            let ours = WireId::decode(&id);
            assert_eq!(ours.is_some(), text == "m00000000000000000", "{text}");
        }
    }

    #[test]
    fn a_uuid_is_version_5_of_the_text_and_reads_back() {
        let id = ClientOrderId::parse(b"m0thk7s00000000001").expect("legal");
        let uuid = id.uuid();
        assert_eq!(uuid.0[6] >> 4, 5, "version");
        assert_eq!(uuid.0[8] >> 6, 2, "variant");
        assert_eq!(Uuid::parse(&uuid.text()), Some(uuid));
        assert_eq!(uuid, id.uuid(), "the same for ever");
        assert_ne!(uuid, ClientOrderId::parse(b"m0thk7s00000000002").expect("legal").uuid());
        for text in [
            "",
            "6f1c2c1e-0000-4000-8000-00000000000",
            "6f1c2c1e-0000-4000-8000_000000000001",
            "6f1c2c1e-0000-4000-8000-00000000000g",
        ] {
            assert_eq!(Uuid::parse(text.as_bytes()), None, "{text}");
        }
    }
}
