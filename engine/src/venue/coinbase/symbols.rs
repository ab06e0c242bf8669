//! Products: the facts of the product list, and which of our instruments a product id means.
//!
//! A product id is the canonical `BASE-QUOTE` already. Two things remain: what the list says of a product (steps, sizes,
//! whether it trades), and Advanced Trade's one book under two names.

use crate::decimal::{Decimals, Number};
use crate::directory::{Directory, OrderFilters, VENUE_SYMBOL_BYTES_MAX};
use crate::ids::Listing;

/// What the product list says of one product.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    pub trading: bool,
    pub delisted: bool,
    pub filters: OrderFilters,
}

impl Facts {
    /// Writes them into the instrument.
    ///
    /// The list gives steps for orders and no precision of the assets, so they only say how wide the scale is at least:
    /// it starts there and grows with the widest text, as it does without a list.
    fn tell(&self, directory: &mut Directory, listing: Listing) {
        let steps = Decimals {
            price: self.filters.tick.trimmed().decimals,
            qty: self.filters.lot.trimmed().decimals,
        };
        directory.widen(listing, steps);
        let instrument = directory.instrument_mut(listing);
        instrument.trading = self.trading;
        instrument.delisted = self.delisted;
        instrument.filters = self.filters;
    }
}

/// The product list, as far as a later frame may need it.
#[derive(Debug, Default)]
pub(super) struct Products {
    /// Facts for an open directory's future instruments; empty beside a closed one.
    later: Vec<(String, Facts)>,
}

impl Products {
    /// Tells the directory the facts of a product: now if it is listed, when it appears if the directory is open.
    pub fn tell(&mut self, directory: &mut Directory, product_id: &str, facts: Facts) {
        if !directory.is_open() {
            if let Some(listing) = directory.listing(product_id.as_bytes()) {
                facts.tell(directory, listing);
            }
            return;
        }
        let known =
            directory.instruments().iter().position(|instrument| instrument.venue_symbol == product_id);
        if let Some(index) = known {
            facts.tell(directory, Listing(index as u16));
        }
        match self.later.iter_mut().find(|(id, _)| id == product_id) {
            Some((_, old)) => *old = facts,
            None => self.later.push((product_id.to_owned(), facts)),
        }
    }

    /// Whether a product trades, from the status channel.
    pub fn tell_trading(directory: &mut Directory, product_id: &str, trading: bool) {
        let known =
            directory.instruments().iter().position(|instrument| instrument.venue_symbol == product_id);
        if let Some(index) = known {
            directory.instrument_mut(Listing(index as u16)).trading = trading;
        }
    }

    /// The listing of a product id as frames spell it. An open directory adds it.
    #[inline]
    pub fn listing(&self, directory: &mut Directory, product_id: &[u8]) -> Option<Listing> {
        let known = directory.instruments().len();
        let listing = directory.listing(product_id)?;
        if directory.instruments().len() > known {
            self.tell_later(directory, listing);
        }
        Some(listing)
    }

    /// As [`listing`](Self::listing); data of `X-USD` belongs to `X-USDC` where only that is listed.
    ///
    /// Advanced Trade keeps one book for both, takes either name in a subscription and sends the data under the name
    /// with `-USD`; the few products without such a twin (`USDT-USDC`, `EURC-USDC`) keep their name.
    /// Source: docs.cdp.coinbase.com, Advanced Trade WebSocket channels, 2026-06-28.
    #[inline]
    pub fn listing_or_alias(&self, directory: &mut Directory, product_id: &[u8]) -> Option<Listing> {
        self.listing(directory, product_id).or_else(|| self.alias(directory, product_id))
    }

    #[cold]
    fn alias(&self, directory: &mut Directory, product_id: &[u8]) -> Option<Listing> {
        if !product_id.ends_with(b"-USD") || product_id.len() >= VENUE_SYMBOL_BYTES_MAX {
            return None;
        }
        let mut twin = [b'C'; VENUE_SYMBOL_BYTES_MAX];
        twin[..product_id.len()].copy_from_slice(product_id);
        self.listing(directory, &twin[..=product_id.len()])
    }

    #[cold]
    fn tell_later(&self, directory: &mut Directory, listing: Listing) {
        let product_id = &directory.instrument(listing).venue_symbol;
        if let Some((_, facts)) = self.later.iter().find(|(id, _)| id == product_id) {
            facts.tell(directory, listing);
        }
    }
}

/// A step or size of the product list; zero where it is absent or no number.
pub(super) fn number(text: Option<&str>) -> Number {
    text.and_then(|text| Number::parse(text.as_bytes()).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{InstrumentId, ProviderId};

    fn facts(tick: &str, lot: &str) -> Facts {
        let filters =
            OrderFilters { tick: number(Some(tick)), lot: number(Some(lot)), ..OrderFilters::default() };
        Facts { trading: true, delisted: false, filters }
    }

    #[test]
    fn an_open_directory_learns_facts_when_the_product_appears() {
        let (mut directory, mut products) = (Directory::open(ProviderId(0)), Products::default());
        products.tell(&mut directory, "BTC-USD", facts("0.01", "0.00000001"));
        assert!(directory.instruments().is_empty(), "the list lists nothing");
        let listing = products.listing(&mut directory, b"BTC-USD").expect("learned");
        let instrument = directory.instrument(listing);
        assert_eq!((instrument.decimals, instrument.decimals_known), (Decimals { price: 2, qty: 8 }, false));
        assert_eq!(instrument.filters.lot.to_string(), "0.00000001");
    }

    #[test]
    fn data_under_usd_belongs_to_usdc_where_only_that_is_listed() {
        let (mut directory, products) = (Directory::closed(ProviderId(0)), Products::default());
        let usdc = directory.add("BTC-USDC", "BTC-USDC", InstrumentId(0)).expect("listed");
        assert_eq!(products.listing_or_alias(&mut directory, b"BTC-USD"), Some(usdc));
        assert_eq!(products.listing_or_alias(&mut directory, b"BTC-EUR"), None);
        assert_eq!(products.listing_or_alias(&mut directory, b"A-PRODUCT-ID-OF-24-B-USD"), None);
        let usd = directory.add("BTC-USD", "BTC-USD", InstrumentId(1)).expect("listed");
        assert_eq!(products.listing_or_alias(&mut directory, b"BTC-USD"), Some(usd));
    }
}
