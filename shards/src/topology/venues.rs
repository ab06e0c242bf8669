//! What a topology must know of venues, and the one place that lists their decoders: what a product is called, what it
//! carries, how many connections it takes. No socket is opened for it.

use engine::venue::Venue;

use super::offer::{Channel, Product, engine_channel};
use super::plan::ProviderPlan;

/// Calls `$use` with a decoder of the product's venue; everything below is static.
macro_rules! with_venue {
    ($product:expr, $depth:expr, |$venue:ident| $use:expr) => {
        match $product {
            $crate::topology::Product::BinanceSpot => {
                let $venue = engine::venue::binance::Binance::new(engine::venue::binance::Product::Spot);
                $use
            }
            $crate::topology::Product::BinanceUsdm => {
                let $venue = engine::venue::binance::Binance::new(engine::venue::binance::Product::UsdM);
                $use
            }
            $crate::topology::Product::BinanceUsdmMarket => {
                let $venue =
                    engine::venue::binance::Binance::new(engine::venue::binance::Product::UsdMMarket);
                $use
            }
            $crate::topology::Product::KrakenSpot => {
                let $venue = engine::venue::kraken::Kraken::new($depth).unwrap_or_default();
                $use
            }
            $crate::topology::Product::CoinbaseAdvanced => {
                let $venue =
                    engine::venue::coinbase::Coinbase::new(engine::venue::coinbase::Product::Advanced);
                $use
            }
            $crate::topology::Product::CoinbaseExchange => {
                let $venue =
                    engine::venue::coinbase::Coinbase::new(engine::venue::coinbase::Product::Exchange);
                $use
            }
        }
    };
}
pub(crate) use with_venue;

/// The venue's name in metrics and errors.
pub fn name(product: Product) -> &'static str {
    with_venue!(product, 10, |venue| venue.name())
}

/// The venue's spelling of a canonical symbol.
pub fn venue_symbol(product: Product, symbol: &str) -> String {
    with_venue!(product, 10, |venue| venue.venue_symbol(symbol))
}

/// Whether a connection of the product carries the channel, or what would fit.
///
/// # Errors
/// What would fit.
pub fn supports(product: Product, channel: Channel) -> Result<(), &'static str> {
    with_venue!(product, 10, |venue| venue.supports(engine_channel(channel)))
}

/// Connections that a provider may have open at a time: for each group of streams that one may carry its lines, and one
/// more during a roll.
pub fn connections(plan: &ProviderPlan) -> usize {
    let streams_max = with_venue!(plan.product, 10, |venue| venue.limits().streams_max);
    let together = (streams_max / plan.channels.len().max(1)).max(1);
    plan.instruments.len().div_ceil(together).max(1) * (usize::from(plan.lines) + 1)
}
