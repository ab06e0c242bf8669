//! Messages as the venues spell them, made here: shapes and sizes after the recordings, values of our own.
//!
//! Each is one that the venue's scanner reads (a test says so); with a space in front it is one that the scanner
//! refuses at once, which is how the general decoder is measured on the same bytes.

use std::fmt::Write as _;

use engine::book::{Book, Cut, Digits};
use engine::decimal::{Decimals, Price, Qty};
use engine::event::Level;
use engine::venue::kraken::checksum::checksum;
use fastrand::Rng;

use crate::levels;

/// The same JSON, and a surprise for the scanner.
pub fn unscannable(message: &[u8]) -> Vec<u8> {
    [b" ", message].concat()
}

/// A mantissa as text.
fn fixed(mantissa: i64, decimals: u8) -> String {
    let power = 10_i64.pow(u32::from(decimals));
    if decimals == 0 {
        return mantissa.to_string();
    }
    format!("{}.{:0width$}", mantissa / power, mantissa % power, width = usize::from(decimals))
}

/// `[["61837.63000000","0.02000000"],...]`, as Binance prints levels.
fn binance_levels(levels: &[Level]) -> String {
    let list: Vec<String> = levels
        .iter()
        .map(|level| format!("[\"{}000000\",\"{}\"]", fixed(level.price.0, 2), fixed(level.qty.0, 8)))
        .collect();
    format!("[{}]", list.join(","))
}

/// Binance Spot, `<symbol>@trade`.
pub fn binance_trade(symbol: &str, id: u64) -> Vec<u8> {
    let lower = symbol.to_lowercase();
    let cents = 6_183_700 + id % 97;
    format!(
        "{{\"stream\":\"{lower}@trade\",\"data\":{{\"e\":\"trade\",\"E\":1723161255343,\"s\":\"{symbol}\",\"t\":{id},\
         \"p\":\"{}.{:02}000000\",\"q\":\"0.02{:06}\",\"T\":1723161255342,\"m\":{},\"M\":true}}}}",
        cents / 100,
        cents % 100,
        id % 1_000_000,
        id.is_multiple_of(2),
    )
    .into_bytes()
}

/// Binance Spot, `<symbol>@aggTrade`.
pub fn binance_agg_trade(symbol: &str, id: u64) -> Vec<u8> {
    let lower = symbol.to_lowercase();
    format!(
        "{{\"stream\":\"{lower}@aggTrade\",\"data\":{{\"e\":\"aggTrade\",\"E\":1723161255343,\"s\":\"{symbol}\",\"a\":{id},\
         \"p\":\"61837.63000000\",\"q\":\"0.02{:06}\",\"f\":{},\"l\":{},\"T\":1723161255342,\"m\":true,\"M\":true}}}}",
        id % 1_000_000,
        id * 2,
        id * 2 + 1,
    )
    .into_bytes()
}

/// Binance Spot, `<symbol>@bookTicker`.
pub fn binance_best(symbol: &str, number: u64) -> Vec<u8> {
    let lower = symbol.to_lowercase();
    format!(
        "{{\"stream\":\"{lower}@bookTicker\",\"data\":{{\"u\":{number},\"s\":\"{symbol}\",\"b\":\"61837.63000000\",\
         \"B\":\"3.78{:06}\",\"a\":\"61837.64000000\",\"A\":\"1.54698000\"}}}}",
        number % 1_000_000,
    )
    .into_bytes()
}

/// Binance Spot, `<symbol>@depth@100ms`, with the update numbers `first..=last`.
pub fn binance_update(symbol: &str, first: u64, last: u64, bids: &[Level], asks: &[Level]) -> Vec<u8> {
    let lower = symbol.to_lowercase();
    format!(
        "{{\"stream\":\"{lower}@depth@100ms\",\"data\":{{\"e\":\"depthUpdate\",\"E\":1723161255208,\"s\":\"{symbol}\",\
         \"U\":{first},\"u\":{last},\"b\":{},\"a\":{}}}}}",
        binance_levels(bids),
        binance_levels(asks),
    )
    .into_bytes()
}

/// Binance Spot, answer to `/api/v3/depth`: the book of [`levels::book`], up to `depth` levels a side.
pub fn binance_snapshot(last: u64, depth: usize) -> Vec<u8> {
    let book = levels::book(depth);
    let side = |levels: Vec<Level>| binance_levels(&levels);
    format!(
        "{{\"lastUpdateId\":{last},\"bids\":{},\"asks\":{}}}",
        side(book.bids.iter().copied().collect()),
        side(book.asks.iter().copied().collect()),
    )
    .into_bytes()
}

/// Kraken v2, channel `trade`, one trade.
pub fn kraken_trade(symbol: &str, id: u64) -> Vec<u8> {
    format!(
        "{{\"channel\":\"trade\",\"type\":\"update\",\"data\":[{{\"symbol\":\"{symbol}\",\"side\":\"buy\",\"price\":68500.0,\
         \"qty\":0.01{:06},\"ord_type\":\"market\",\"trade_id\":{id},\"timestamp\":\"2024-05-27T12:43:11.798009Z\"}}]}}",
        id % 1_000_000,
    )
    .into_bytes()
}

/// Kraken v2, channel `ticker`.
pub fn kraken_ticker(symbol: &str) -> Vec<u8> {
    format!(
        "{{\"channel\":\"ticker\",\"type\":\"update\",\"data\":[{{\"symbol\":\"{symbol}\",\"bid\":65843.7,\"bid_qty\":12.31628629,\
         \"ask\":65843.8,\"ask_qty\":0.31232000,\"last\":65843.7,\"volume\":4182.59447976,\"vwap\":64223.4,\"low\":61325.4,\
         \"high\":66450.0,\"change\":4213.8,\"change_pct\":6.84}}]}}"
    )
    .into_bytes()
}

/// A Kraken v2 book of one symbol as its venue keeps it: every message carries the checksum that belongs to it.
pub struct KrakenBook {
    symbol: String,
    book: Book,
    depth: usize,
    random: Rng,
    cut: Cut,
}

impl KrakenBook {
    /// Prices with one digit behind the point, quantities with eight.
    const DECIMALS: Decimals = Decimals { price: 1, qty: 8 };
    /// Tenths of the best ask at the start.
    const TOUCH: i64 = 633_887;

    /// A book of `depth` levels a side.
    pub fn new(symbol: &str, depth: usize, seed: u64) -> Self {
        let mut book = Book::new(depth * 2, depth * 2);
        book.clear(Self::DECIMALS);
        let mut made = Self {
            symbol: symbol.to_owned(),
            book,
            depth,
            random: Rng::with_seed(seed),
            cut: Cut::default(),
        };
        for index in 0..depth as i64 {
            let bid = Level { price: Price(Self::TOUCH - 1 - index), qty: made.qty() };
            let ask = Level { price: Price(Self::TOUCH + index), qty: made.qty() };
            made.book.apply(&[bid], &[ask], &mut made.cut);
        }
        made
    }

    fn qty(&mut self) -> Qty {
        Qty(self.random.i64(1..1_000_000_000))
    }

    /// The whole book.
    pub fn snapshot(&self) -> Vec<u8> {
        let bids: Vec<Level> = self.book.bids.iter().copied().collect();
        let asks: Vec<Level> = self.book.asks.iter().copied().collect();
        self.message("snapshot", &bids, &asks)
    }

    /// New quantities for `count` levels a side near the touch. The levels stay, as most do.
    pub fn update(&mut self, count: usize) -> Vec<u8> {
        let near = (self.depth as i64).min(10);
        let mut side = |touch: i64, step: i64| -> Vec<Level> {
            (0..count)
                .map(|_| Level {
                    price: Price(touch + step * self.random.i64(0..near)),
                    qty: Qty(self.random.i64(1..1_000_000_000)),
                })
                .collect()
        };
        let (bids, asks) = (side(Self::TOUCH - 1, -1), side(Self::TOUCH, 1));
        self.book.apply(&bids, &asks, &mut self.cut);
        self.book.truncate(self.depth, &mut self.cut);
        self.message("update", &bids, &asks)
    }

    fn message(&self, kind: &str, bids: &[Level], asks: &[Level]) -> Vec<u8> {
        let list = |levels: &[Level]| {
            let list: Vec<String> = levels
                .iter()
                .map(|level| {
                    format!("{{\"price\":{},\"qty\":{}}}", fixed(level.price.0, 1), fixed(level.qty.0, 8))
                })
                .collect();
            list.join(",")
        };
        let mut text = format!(
            "{{\"channel\":\"book\",\"type\":\"{kind}\",\"data\":[{{\"symbol\":\"{}\",\"bids\":[{}],\"asks\":[{}],\"checksum\":{}",
            self.symbol,
            list(bids),
            list(asks),
            checksum(self.book.asks.iter(), self.book.bids.iter(), &mut Digits::default()),
        );
        if kind == "update" {
            text.push_str(",\"timestamp\":\"2026-08-02T03:35:51.660084Z\"");
        }
        text.push_str("}]}");
        text.into_bytes()
    }
}

/// Coinbase Advanced, channel `l2_data`, with `count` changes.
pub fn coinbase_l2(product: &str, sequence: u64, count: usize) -> Vec<u8> {
    let mut updates = String::new();
    for index in 0..count {
        let side = if index.is_multiple_of(2) { "bid" } else { "offer" };
        let cents = if index.is_multiple_of(2) { 7_885_605 - index } else { 7_885_606 + index };
        let _ = write!(
            updates,
            "{}{{\"side\":\"{side}\",\"event_time\":\"2026-08-24T22:34:13.592233Z\",\"price_level\":\"{}.{:02}\",\
             \"new_quantity\":\"0.0486{:04}\"}}",
            if index == 0 { "" } else { "," },
            cents / 100,
            cents % 100,
            index + 1,
        );
    }
    format!(
        "{{\"channel\":\"l2_data\",\"timestamp\":\"2026-08-24T22:34:13.813365299Z\",\"sequence_num\":{sequence},\
         \"events\":[{{\"type\":\"update\",\"product_id\":\"{product}\",\"updates\":[{updates}]}}]}}"
    )
    .into_bytes()
}

/// Coinbase Advanced, channel `market_trades`, with `count` trades, the newest first as the venue sends them.
pub fn coinbase_trades(product: &str, sequence: u64, id_last: u64, count: usize) -> Vec<u8> {
    let trades: Vec<String> = (0..count as u64)
        .map(|index| {
            format!(
                "{{\"product_id\":\"{product}\",\"trade_id\":\"{}\",\"price\":\"78856.05\",\"size\":\"0.5{:04}\",\
                 \"time\":\"2024-10-04T07:13:31.088388Z\",\"side\":\"BUY\"}}",
                id_last - index,
                index
            )
        })
        .collect();
    format!(
        "{{\"channel\":\"market_trades\",\"client_id\":\"\",\"timestamp\":\"2024-10-04T07:13:31.158696693Z\",\
         \"sequence_num\":{sequence},\"events\":[{{\"type\":\"update\",\"trades\":[{}]}}]}}",
        trades.join(",")
    )
    .into_bytes()
}

/// Coinbase Exchange, `l2update`, with `count` changes.
pub fn exchange_l2(product: &str, count: usize) -> Vec<u8> {
    let changes: Vec<String> = (0..count)
        .map(|index| {
            let side = if index.is_multiple_of(2) { "buy" } else { "sell" };
            format!("[\"{side}\",\"{}.05\",\"0.0486{:04}\"]", 78_856 + index, index + 1)
        })
        .collect();
    format!(
        "{{\"type\":\"l2update\",\"product_id\":\"{product}\",\"changes\":[{}],\"time\":\"2021-04-17T16:43:37.075687Z\"}}",
        changes.join(",")
    )
    .into_bytes()
}

/// Coinbase Exchange, `match`.
pub fn exchange_match(product: &str, id: u64) -> Vec<u8> {
    format!(
        "{{\"type\":\"match\",\"trade_id\":{id},\"maker_order_id\":\"2a0da34e-61f7-4c36-88e5-c9dd15927b16\",\
         \"taker_order_id\":\"3c82abaa-c01e-4608-be59-6a1e69742891\",\"side\":\"sell\",\"size\":\"0.0985\",\"price\":\"61305.25\",\
         \"product_id\":\"{product}\",\"sequence\":177100030,\"time\":\"2021-04-17T16:43:37.089723Z\"}}"
    )
    .into_bytes()
}

/// Changes near the touch, `count` a side, for [`binance_update`], best first as in recordings of Spot; another `number`
/// gives others.
pub fn binance_changes(number: u64, count: usize) -> (Vec<Level>, Vec<Level>) {
    let (mut bids, mut asks) =
        (levels::changes(-1, count, 0, 200, number), levels::changes(1, count, 0, 200, number + 1));
    bids.sort_by_key(|level| std::cmp::Reverse(level.price));
    asks.sort_by_key(|level| level.price);
    (bids, asks)
}

/// An update of Binance Spot with `count` levels a side, as [`binance_update`] with changes near the touch.
pub fn binance_update_of(symbol: &str, number: u64, count: usize) -> Vec<u8> {
    let (bids, asks) = binance_changes(number, count);
    binance_update(symbol, number, number, &bids, &asks)
}
