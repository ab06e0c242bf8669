//! What one provider carries: its instruments under the venue's spelling, and the streams of each.
//!
//! The only place where text meets numbers. After boot a venue symbol is found by its bytes taken as three integers;
//! nothing on the path hashes or compares strings. An *open* directory (replay) learns what it did not know; a closed
//! one (live) knows what the topology asked for and answers `None` to the rest.

use crate::channel::Channel;
use crate::decimal::{Decimals, Number};
use crate::ids::{InstrumentId, Listing, ProviderId, StreamId};

/// Bytes of the longest venue symbol that can be listed. Longest seen: 16 (Binance, 2026).
pub const VENUE_SYMBOL_BYTES_MAX: usize = 24;

/// A venue symbol's bytes as integers, padded with zeros.
type Key = [u64; 3];

/// The key of a venue symbol, or `None` if it is longer than [`VENUE_SYMBOL_BYTES_MAX`] or empty.
#[inline]
fn key(symbol: &[u8]) -> Option<Key> {
    if symbol.is_empty() || symbol.len() > VENUE_SYMBOL_BYTES_MAX {
        return None;
    }
    let mut bytes = [0; VENUE_SYMBOL_BYTES_MAX];
    bytes[..symbol.len()].copy_from_slice(symbol);
    let word = |at: usize| {
        let mut eight = [0; 8];
        eight.copy_from_slice(&bytes[at..at + 8]);
        u64::from_le_bytes(eight)
    };
    Some([word(0), word(8), word(16)])
}

/// What the venue allows for an order on an instrument; zero where it says nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OrderFilters {
    /// Prices are multiples of this.
    pub tick: Number,
    /// Quantities are multiples of this.
    pub lot: Number,
    /// Smallest quantity.
    pub qty_min: Number,
    /// Largest quantity.
    pub qty_max: Number,
    /// Smallest price times quantity.
    pub notional_min: Number,
}

/// One instrument as this provider knows it.
#[derive(Clone, Debug)]
pub struct Instrument {
    /// The venue's spelling.
    pub venue_symbol: String,
    /// Canonical `BASE-QUOTE`; the venue symbol where no instrument list told base and quote.
    pub symbol: String,
    /// Its number over all venues.
    pub id: InstrumentId,
    /// Scale of its prices and quantities.
    pub decimals: Decimals,
    /// Whether the scale comes from the venue's instrument list, and not from the widest text so far.
    pub decimals_known: bool,
    /// Whether the venue trades it now.
    pub trading: bool,
    /// Whether the venue said that it never will again.
    pub delisted: bool,
    /// What an order on it must obey.
    pub filters: OrderFilters,
    /// Its streams, in the order of their addition. A handful.
    streams: Vec<(Channel, StreamId)>,
}

/// One stream: what it carries for which instrument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream {
    /// The instrument.
    pub listing: Listing,
    /// The kind of feed.
    pub channel: Channel,
}

/// The instruments and streams of one provider.
#[derive(Clone, Debug)]
pub struct Directory {
    provider: ProviderId,
    open: bool,
    instruments: Vec<Instrument>,
    streams: Vec<Stream>,
    /// Open addressing, a power of two in size, at most half full.
    index: Vec<Option<(Key, Listing)>>,
}

/// A venue symbol cannot be listed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListingError {
    /// Longer than [`VENUE_SYMBOL_BYTES_MAX`], or empty.
    #[error("venue symbol {0:?} is empty or longer than {VENUE_SYMBOL_BYTES_MAX} bytes")]
    Length(String),
    /// More than 65,535 instruments.
    #[error("more than 65535 instruments")]
    TooMany,
}

impl Directory {
    /// A directory that only knows what is added to it.
    pub fn closed(provider: ProviderId) -> Self {
        Self { provider, open: false, instruments: Vec::new(), streams: Vec::new(), index: vec![None; 16] }
    }

    /// A directory that lists whatever the venue mentions: replay, where somebody else subscribed.
    pub fn open(provider: ProviderId) -> Self {
        Self { open: true, ..Self::closed(provider) }
    }

    /// Whose directory it is.
    pub const fn provider(&self) -> ProviderId {
        self.provider
    }

    /// Whether it learns what it does not know.
    pub const fn is_open(&self) -> bool {
        self.open
    }

    /// Lists an instrument, or gives the listing that it already has.
    ///
    /// # Errors
    /// [`ListingError`]
    pub fn add(
        &mut self,
        venue_symbol: &str,
        symbol: &str,
        id: InstrumentId,
    ) -> Result<Listing, ListingError> {
        let key =
            key(venue_symbol.as_bytes()).ok_or_else(|| ListingError::Length(venue_symbol.to_owned()))?;
        if let Some(listing) = self.find_key(&key) {
            return Ok(listing);
        }
        let listing = Listing(u16::try_from(self.instruments.len()).map_err(|_| ListingError::TooMany)?);
        self.instruments.push(Instrument {
            venue_symbol: venue_symbol.to_owned(),
            symbol: symbol.to_owned(),
            id,
            decimals: Decimals::default(),
            decimals_known: false,
            trading: true,
            delisted: false,
            filters: OrderFilters::default(),
            streams: Vec::new(),
        });
        if self.instruments.len() * 2 > self.index.len() {
            let size = self.index.len() * 2;
            let old = std::mem::replace(&mut self.index, vec![None; size]);
            for (key, listing) in old.into_iter().flatten() {
                self.insert(key, listing);
            }
        }
        self.insert(key, listing);
        Ok(listing)
    }

    /// Adds a stream of an instrument, or gives the one that it already has.
    pub fn add_stream(&mut self, listing: Listing, channel: Channel) -> StreamId {
        if let Some(stream) = self.stream(listing, channel) {
            return stream;
        }
        let stream = StreamId(self.streams.len() as u32);
        self.streams.push(Stream { listing, channel });
        self.instruments[listing.index()].streams.push((channel, stream));
        stream
    }

    /// The listing of a venue symbol, compared byte by byte. Adds nothing, open or not.
    #[inline]
    pub fn find(&self, venue_symbol: &[u8]) -> Option<Listing> {
        key(venue_symbol).and_then(|key| self.find_key(&key))
    }

    /// The listing of a venue symbol, compared byte by byte. An open directory adds it.
    #[inline]
    pub fn listing(&mut self, venue_symbol: &[u8]) -> Option<Listing> {
        let found = self.find(venue_symbol);
        if found.is_some() || !self.open {
            return found;
        }
        self.learn(venue_symbol)
    }

    /// As [`listing`](Self::listing), with ASCII letters taken as upper case: for stream names that spell it lower.
    #[inline]
    pub fn listing_upper(&mut self, venue_symbol: &[u8]) -> Option<Listing> {
        let mut upper = [0; VENUE_SYMBOL_BYTES_MAX];
        let upper = upper.get_mut(..venue_symbol.len())?;
        upper.copy_from_slice(venue_symbol);
        upper.make_ascii_uppercase();
        self.listing(upper)
    }

    #[cold]
    fn learn(&mut self, venue_symbol: &[u8]) -> Option<Listing> {
        let text = std::str::from_utf8(venue_symbol).ok()?;
        let id = InstrumentId(u16::try_from(self.instruments.len()).ok()?);
        self.add(text, text, id).ok()
    }

    /// The stream of `channel` of an instrument.
    #[inline]
    pub fn stream(&self, listing: Listing, channel: Channel) -> Option<StreamId> {
        let streams = &self.instruments[listing.index()].streams;
        streams.iter().find(|(carried, _)| *carried == channel).map(|&(_, stream)| stream)
    }

    /// The stream that a message of `channel` belongs to. An open directory adds it.
    #[inline]
    pub fn carried(&mut self, listing: Listing, channel: Channel) -> Option<StreamId> {
        let found = self.stream(listing, channel);
        if found.is_some() || !self.open {
            return found;
        }
        Some(self.add_stream(listing, channel))
    }

    /// The book stream of an instrument, whatever its speed: for messages that do not tell it. An open directory adds
    /// one of speed 0.
    #[inline]
    pub fn carried_book(&mut self, listing: Listing) -> Option<StreamId> {
        let streams = &self.instruments[listing.index()].streams;
        let found = streams.iter().find(|(channel, _)| channel.is_book()).map(|&(_, stream)| stream);
        if found.is_some() || !self.open {
            return found;
        }
        Some(self.add_stream(listing, Channel::Book { speed_ms: 0 }))
    }

    /// The instrument of a listing.
    #[inline]
    pub fn instrument(&self, listing: Listing) -> &Instrument {
        &self.instruments[listing.index()]
    }

    /// The instrument of a listing, to fill in what the venue's list says.
    pub fn instrument_mut(&mut self, listing: Listing) -> &mut Instrument {
        &mut self.instruments[listing.index()]
    }

    /// Widens the scale of an instrument to at least `decimals`. Cold: once or twice in an instrument's life.
    #[cold]
    pub fn widen(&mut self, listing: Listing, decimals: Decimals) {
        let own = &mut self.instruments[listing.index()].decimals;
        own.price = own.price.max(decimals.price);
        own.qty = own.qty.max(decimals.qty);
    }

    /// What a stream carries.
    #[inline]
    pub fn carries(&self, stream: StreamId) -> Stream {
        self.streams[stream.index()]
    }

    /// All instruments, in the order of their listings.
    pub fn instruments(&self) -> &[Instrument] {
        &self.instruments
    }

    /// All streams, in the order of their numbers.
    pub fn streams(&self) -> &[Stream] {
        &self.streams
    }

    /// The streams of an instrument.
    pub fn streams_of(&self, listing: Listing) -> impl Iterator<Item = (Channel, StreamId)> + '_ {
        self.instruments[listing.index()].streams.iter().copied()
    }

    #[inline]
    fn slot(&self, key: &Key) -> usize {
        // Multiplicative mixing of three integers; the table is small and its size a power of two.
        let mixed =
            (key[0] ^ key[1].rotate_left(23) ^ key[2].rotate_left(41)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (mixed >> 32) as usize & (self.index.len() - 1)
    }

    #[inline]
    fn find_key(&self, key: &Key) -> Option<Listing> {
        let mut at = self.slot(key);
        while let Some((found, listing)) = &self.index[at] {
            if found == key {
                return Some(*listing);
            }
            at = (at + 1) & (self.index.len() - 1);
        }
        None
    }

    fn insert(&mut self, key: Key, listing: Listing) {
        let mut at = self.slot(&key);
        while self.index[at].is_some() {
            at = (at + 1) & (self.index.len() - 1);
        }
        self.index[at] = Some((key, listing));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_symbol_is_found_by_its_bytes_alone() {
        let mut directory = Directory::closed(ProviderId(0));
        let symbols: Vec<String> = (0..500).map(|number| format!("COIN{number}USDT")).collect();
        for (index, symbol) in symbols.iter().enumerate() {
            assert_eq!(directory.add(symbol, symbol, InstrumentId(index as u16)), Ok(Listing(index as u16)));
        }
        for (index, symbol) in symbols.iter().enumerate() {
            assert_eq!(directory.listing(symbol.as_bytes()), Some(Listing(index as u16)));
            assert_eq!(
                directory.listing_upper(symbol.to_lowercase().as_bytes()),
                Some(Listing(index as u16))
            );
        }
        for absent in [&b"COIN500USDT"[..], b"", b"coin1usdt", b"A-SYMBOL-LONGER-THAN-ALL-THAT-A-VENUE-HAS"] {
            assert_eq!(directory.listing(absent), None);
        }
    }

    #[test]
    fn an_open_directory_learns_and_a_closed_one_does_not() {
        let mut open = Directory::open(ProviderId(0));
        let listing = open.listing(b"BTCUSDT").expect("learned");
        assert_eq!(open.listing(b"BTCUSDT"), Some(listing));
        let stream = open.carried(listing, Channel::Trade).expect("learned");
        assert_eq!(open.carries(stream), Stream { listing, channel: Channel::Trade });
        assert_eq!(open.listing(b"\xff\xfe"), None, "not text, so not a symbol");

        let mut closed = Directory::closed(ProviderId(0));
        assert_eq!(closed.listing(b"BTCUSDT"), None);
    }

    #[test]
    fn a_message_without_a_speed_belongs_to_the_book_stream_of_any_speed() {
        let mut directory = Directory::closed(ProviderId(0));
        let listing = directory.add("BTCUSDT", "BTC-USDT", InstrumentId(0)).expect("listed");
        assert_eq!(directory.carried_book(listing), None);
        let stream = directory.add_stream(listing, Channel::Book { speed_ms: 100 });
        assert_eq!(directory.carried_book(listing), Some(stream));
    }
}
