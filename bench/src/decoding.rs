//! A venue's decoder with its directory and one raw, warm: what decodes one frame after the other.

use engine::directory::Directory;
use engine::ids::ProviderId;
use engine::pools::{RAW_LEVELS, RAW_MESSAGES};
use engine::raw::{DecodeError, Decoded, Raw};
use engine::venue::Venue;
use engine::venue::binance::Binance;
use engine::venue::coinbase::{Coinbase, Product};
use engine::venue::kraken::Kraken;

use crate::messages;

/// Decodes frames of one venue into one raw.
#[derive(Debug)]
pub struct Decoder<V> {
    /// The decoder.
    pub venue: V,
    /// What it knows by now.
    pub directory: Directory,
    /// What the last frame said.
    pub raw: Raw,
}

impl<V: Venue> Decoder<V> {
    /// A decoder that learns instruments as they come.
    pub fn new(venue: V) -> Self {
        Self {
            venue,
            directory: Directory::open(ProviderId(0)),
            raw: Raw::with_capacity(RAW_MESSAGES, RAW_LEVELS),
        }
    }

    /// A decoder that has decoded `message` several times: symbol, stream, scale and memory are there.
    pub fn warm(venue: V, message: &[u8]) -> Self {
        let mut decoder = Self::new(venue);
        for _ in 0..8 {
            let mut copy = message.to_vec();
            while let Err(error) = decoder.decode(&mut copy) {
                let DecodeError::Wider { listing, decimals } = error else {
                    panic!("{error} in {}", String::from_utf8_lossy(message))
                };
                decoder.directory.widen(listing, decimals);
            }
        }
        decoder
    }

    /// Decodes one frame.
    ///
    /// # Errors
    /// As the venue's.
    #[inline]
    pub fn decode(&mut self, frame: &mut [u8]) -> Result<Decoded, DecodeError> {
        self.raw.reset();
        self.venue.decode(frame, &mut self.directory, &mut self.raw)
    }
}

/// A message under a name.
pub type Named = (&'static str, Vec<u8>);

/// Binance's hot messages.
pub fn binance() -> (Binance, Vec<Named>) {
    let list = vec![
        ("binance trade", messages::binance_trade("BTCUSDT", 3_735_683_259)),
        ("binance aggTrade", messages::binance_agg_trade("BTCUSDT", 3_105_683_259)),
        ("binance bookTicker", messages::binance_best("BTCUSDT", 50_093_239_212)),
        ("binance update, 20 levels", messages::binance_update_of("BTCUSDT", 50_093_239_212, 10)),
        ("binance update, 20 levels a side", messages::binance_update_of("BTCUSDT", 50_093_239_212, 20)),
        ("binance update, 100 levels a side", messages::binance_update_of("BTCUSDT", 50_093_239_212, 100)),
    ];
    (Binance::spot(), list)
}

/// Kraken's hot messages.
pub fn kraken() -> (Kraken, Vec<Named>) {
    let list = vec![
        ("kraken trade", messages::kraken_trade("BTC/USD", 70_635_299)),
        ("kraken ticker", messages::kraken_ticker("BTC/USD")),
        ("kraken update, 2 levels", messages::KrakenBook::new("BTC/USD", 25, 1).update(1)),
        ("kraken update, 20 levels", messages::KrakenBook::new("BTC/USD", 25, 1).update(10)),
    ];
    (Kraken::default(), list)
}

/// Hot messages of Coinbase Advanced.
pub fn coinbase() -> (Coinbase, Vec<Named>) {
    let list = vec![
        ("coinbase l2, 2 levels", messages::coinbase_l2("BTC-USD", 7, 2)),
        ("coinbase l2, 20 levels", messages::coinbase_l2("BTC-USD", 7, 20)),
        ("coinbase trades, 1", messages::coinbase_trades("BTC-USD", 7, 22_381_691, 1)),
        ("coinbase trades, 10", messages::coinbase_trades("BTC-USD", 7, 22_381_691, 10)),
    ];
    (Coinbase::new(Product::Advanced), list)
}

/// Hot messages of Coinbase Exchange.
pub fn exchange() -> (Coinbase, Vec<Named>) {
    let list = vec![
        ("exchange match", messages::exchange_match("BTC-USD", 280_232)),
        ("exchange l2update, 1 level", messages::exchange_l2("BTC-USD", 1)),
        ("exchange l2update, 20 levels", messages::exchange_l2("BTC-USD", 20)),
    ];
    (Coinbase::new(Product::Exchange), list)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<V: Venue>((venue, list): (V, Vec<Named>)) {
        let mut decoder = Decoder::new(venue);
        for (name, message) in list {
            let warm = |decoder: &mut Decoder<V>, message: &[u8]| {
                let mut copy = message.to_vec();
                while let Err(error) = decoder.decode(&mut copy) {
                    let DecodeError::Wider { listing, decimals } = error else { panic!("{name}: {error}") };
                    decoder.directory.widen(listing, decimals);
                }
                let mut copy = message.to_vec();
                decoder.decode(&mut copy).expect("decoded just now");
            };
            // The first decode may fall back: an open directory lists the stream then.
            warm(&mut decoder, &message);
            let before = decoder.venue.fallbacks().scanned_frames;
            warm(&mut decoder, &message);
            assert!(decoder.venue.fallbacks().scanned_frames > before, "{name} is not scanned");
            let scanned = format!("{:?} {:?}", decoder.raw.messages, decoder.raw.bids);
            assert!(!decoder.raw.messages.is_empty(), "{name}");
            let before = decoder.venue.fallbacks().scanned_frames;
            warm(&mut decoder, &messages::unscannable(&message));
            assert_eq!(decoder.venue.fallbacks().scanned_frames, before, "{name} with a space is scanned");
            assert_eq!(format!("{:?} {:?}", decoder.raw.messages, decoder.raw.bids), scanned, "{name}");
        }
    }

    #[test]
    fn every_message_is_scanned_and_with_a_space_in_front_is_not_and_means_the_same() {
        check(binance());
        check(kraken());
        check(coinbase());
        check(exchange());
    }
}
