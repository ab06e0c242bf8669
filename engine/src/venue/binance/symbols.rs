//! The instrument list: base and quote, scale, filters, trading or not.

use crate::decimal::{Decimals, Number};
use crate::directory::{Directory, OrderFilters};
use crate::ids::Listing;
use crate::json::Value;
use crate::raw::DecodeError;

use super::Product;
use super::decode::bytes;

/// The venue's spelling of a canonical symbol: `BTC-USDT` to `BTCUSDT`, on USD-M also `BTC-USDT-261225` to
/// `BTCUSDT_261225`.
pub(super) fn venue_symbol(symbol: &str, product: Product) -> String {
    let mut parts = symbol.splitn(3, '-');
    let mut name = parts.next().unwrap_or_default().to_owned() + parts.next().unwrap_or_default();
    if let Some(delivery) = parts.next() {
        if product.is_usdm() {
            name.push('_');
        }
        name.push_str(delivery);
    }
    name.to_uppercase()
}

/// What the list says about one instrument.
#[derive(Clone, Debug)]
struct Facts {
    venue_symbol: String,
    symbol: String,
    decimals: Decimals,
    trading: bool,
    filters: OrderFilters,
}

/// The list, kept for the instruments that an open directory will come to know.
#[derive(Clone, Debug, Default)]
pub(super) struct Symbols {
    /// Sorted by venue symbol. Empty with a closed directory, where the list is applied at once.
    facts: Vec<Facts>,
    /// Instruments of the directory that were looked up in the list already.
    known: usize,
}

impl Symbols {
    /// Tells the directory about the instruments that it has learnt since.
    #[inline]
    pub fn catch_up(&mut self, directory: &mut Directory) {
        if self.known != directory.instruments().len() {
            self.tell(directory);
        }
    }

    #[cold]
    fn tell(&mut self, directory: &mut Directory) {
        let count = directory.instruments().len();
        for index in self.known.min(count)..count {
            let listing = Listing(index as u16);
            let venue_symbol = directory.instrument(listing).venue_symbol.as_str();
            let found = self.facts.binary_search_by(|facts| facts.venue_symbol.as_str().cmp(venue_symbol));
            if let Ok(found) = found {
                apply(&self.facts[found], directory, listing);
            }
        }
        self.known = count;
    }

    /// Takes a whole list.
    ///
    /// # Errors
    /// [`DecodeError::Missing`], [`DecodeError::Invalid`], [`DecodeError::Decimal`] of an instrument that is listed.
    pub fn take(
        &mut self,
        root: Value,
        product: Product,
        directory: &mut Directory,
    ) -> Result<(), DecodeError> {
        let field = "symbols";
        let list = root.get(field).ok_or(DecodeError::Missing { field })?;
        let list = list.items().ok_or(DecodeError::Invalid { field })?;
        self.facts.clear();
        let mut wanted: Vec<&str> =
            directory.instruments().iter().map(|instrument| instrument.venue_symbol.as_str()).collect();
        wanted.sort_unstable();
        for entry in list {
            let listed = entry.get("symbol").and_then(Value::str);
            let listed = listed.is_some_and(|symbol| wanted.binary_search(&symbol).is_ok());
            match read(entry, product) {
                Ok(facts) if listed || directory.is_open() => self.facts.push(facts),
                // What one instrument lacks must not keep the others from trading, unless it is one of ours.
                Err(error) if listed => return Err(error),
                _ => {}
            }
        }
        self.facts.sort_unstable_by(|one, other| one.venue_symbol.cmp(&other.venue_symbol));
        self.known = 0;
        self.tell(directory);
        if !directory.is_open() {
            self.facts = Vec::new();
        }
        Ok(())
    }
}

/// Digits are never taken back: events may have been published at a wider scale.
fn apply(facts: &Facts, directory: &mut Directory, listing: Listing) {
    directory.widen(listing, facts.decimals);
    let instrument = directory.instrument_mut(listing);
    instrument.decimals_known = true;
    instrument.symbol.clone_from(&facts.symbol);
    instrument.trading = facts.trading;
    instrument.filters = facts.filters;
}

/// One entry of the list.
///
/// Scale: on Spot the precision of the assets, for books hold finer quantities than the lot (which is for orders). On
/// USD-M the instrument's own `pricePrecision` and `quantityPrecision`: the venue prints exactly those digits
/// (recordings of 2024: `61800.30` at a tick of 0.10), while its asset precision of 8 would only use up the range.
///
/// Status: the documents know `TRADING`, `END_OF_DAY`, `HALT`, `BREAK`, `CANCEL_ONLY`, on USD-M `PENDING_TRADING` and the steps of
/// delivery; all but the first, and all to come, are not trading. `isSpotTradingAllowed` is another question: it is
/// false for leveraged tokens that trade (recorded list of 2021).
fn read(entry: Value, product: Product) -> Result<Facts, DecodeError> {
    let text = |field| {
        let text = bytes(entry, field)?;
        std::str::from_utf8(text).map_err(|_| DecodeError::Invalid { field })
    };
    let digits = |field| {
        let value = entry.get(field).ok_or(DecodeError::Missing { field })?.u64();
        value.filter(|&digits| digits <= 18).map(|digits| digits as u8).ok_or(DecodeError::Invalid { field })
    };
    let venue_symbol = text("symbol")?;
    let mut symbol = format!("{}-{}", text("baseAsset")?, text("quoteAsset")?);
    let decimals = if product.is_usdm() {
        if let Some((_, delivery)) = venue_symbol.rsplit_once('_') {
            symbol = format!("{symbol}-{delivery}");
        }
        Decimals { price: digits("pricePrecision")?, qty: digits("quantityPrecision")? }
    } else {
        // `quotePrecision` is the older spelling of the same number.
        let price = digits("quoteAssetPrecision").or_else(|_| digits("quotePrecision"))?;
        Decimals { price, qty: digits("baseAssetPrecision")? }
    };
    let trading = text("status")? == "TRADING";
    Ok(Facts { venue_symbol: venue_symbol.to_owned(), symbol, decimals, trading, filters: filters(entry)? })
}

/// What is absent stays zero: no such rule.
fn filters(entry: Value) -> Result<OrderFilters, DecodeError> {
    let mut filters = OrderFilters::default();
    let Some(list) = entry.get("filters").and_then(Value::items) else { return Ok(filters) };
    for filter in list {
        let number = |field| {
            Number::parse(bytes(filter, field)?)
                .map(Number::trimmed)
                .map_err(|error| DecodeError::Decimal { field, error })
        };
        match filter.get("filterType").and_then(Value::str) {
            Some("PRICE_FILTER") => filters.tick = number("tickSize")?,
            Some("LOT_SIZE") => {
                filters.lot = number("stepSize")?;
                filters.qty_min = number("minQty")?;
                filters.qty_max = number("maxQty")?;
            }
            // Spot has had both; USD-M spells the field `notional`.
            Some("NOTIONAL" | "MIN_NOTIONAL") => {
                filters.notional_min = number("minNotional").or_else(|_| number("notional"))?;
            }
            _ => {}
        }
    }
    Ok(filters)
}
