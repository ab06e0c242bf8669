//! One venue message to numbers in fixed point: our scanner, our general decoder, `serde_json` and `sonic_rs`.
//!
//! The serde structs borrow their texts and name only the fields that ours keeps; their prices go through our own
//! `Number::parse`, so that only the JSON differs. Levels go to a `Vec` that serde makes: that is how it is used.

use std::hint::black_box;

use bench::decoding::{self, Decoder};
use bench::{capture, messages};
use engine::decimal::Number;
use engine::venue::Venue;
use engine::venue::binance::Binance;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{Case, Group};

#[derive(Deserialize)]
struct Combined<'a, T> {
    #[serde(borrow)]
    stream: &'a str,
    data: T,
}

#[derive(Deserialize)]
struct Trade<'a> {
    s: &'a str,
    t: u64,
    p: &'a str,
    q: &'a str,
    #[serde(rename = "T")]
    time: u64,
    m: bool,
}

#[derive(Deserialize)]
struct Best<'a> {
    u: u64,
    s: &'a str,
    b: &'a str,
    #[serde(rename = "B")]
    bid_qty: &'a str,
    a: &'a str,
    #[serde(rename = "A")]
    ask_qty: &'a str,
}

#[derive(Deserialize)]
struct Update<'a> {
    #[serde(rename = "E")]
    time: u64,
    s: &'a str,
    #[serde(rename = "U")]
    first: u64,
    u: u64,
    #[serde(borrow)]
    b: Vec<[&'a str; 2]>,
    #[serde(borrow)]
    a: Vec<[&'a str; 2]>,
}

#[derive(Deserialize)]
struct Kraken<'a> {
    channel: &'a str,
    #[serde(borrow)]
    data: Vec<KrakenBook<'a>>,
}

#[derive(Deserialize)]
struct KrakenBook<'a> {
    symbol: &'a str,
    #[serde(borrow)]
    bids: Vec<KrakenLevel<'a>>,
    #[serde(borrow)]
    asks: Vec<KrakenLevel<'a>>,
    checksum: u32,
}

#[derive(Deserialize)]
struct KrakenLevel<'a> {
    #[serde(borrow)]
    price: &'a RawValue,
    #[serde(borrow)]
    qty: &'a RawValue,
}

#[derive(Deserialize)]
struct Coinbase<'a> {
    channel: &'a str,
    sequence_num: u64,
    #[serde(borrow)]
    events: Vec<CoinbaseEvent<'a>>,
}

#[derive(Deserialize)]
struct CoinbaseEvent<'a> {
    product_id: &'a str,
    #[serde(borrow)]
    updates: Vec<CoinbaseUpdate<'a>>,
}

#[derive(Deserialize)]
struct CoinbaseUpdate<'a> {
    side: &'a str,
    event_time: &'a str,
    price_level: &'a str,
    new_quantity: &'a str,
}

fn number(text: &str) -> i64 {
    Number::parse(text.as_bytes()).expect("a number").mantissa
}

/// What each of the structs comes to; black boxes keep every field wanted.
trait Convert {
    fn convert(self);
}

impl Convert for Combined<'_, Trade<'_>> {
    fn convert(self) {
        let trade = &self.data;
        black_box((self.stream, trade.s, trade.t, number(trade.p), number(trade.q), trade.time, trade.m));
    }
}

impl Convert for Combined<'_, Best<'_>> {
    fn convert(self) {
        let best = &self.data;
        black_box((self.stream, best.u, best.s, number(best.b), number(best.bid_qty)));
        black_box((number(best.a), number(best.ask_qty)));
    }
}

impl Convert for Combined<'_, Update<'_>> {
    fn convert(self) {
        let update = &self.data;
        black_box((self.stream, update.time, update.s, update.first, update.u));
        for [price, qty] in update.b.iter().chain(&update.a) {
            black_box((number(price), number(qty)));
        }
    }
}

impl Convert for Kraken<'_> {
    fn convert(self) {
        black_box(self.channel);
        for book in &self.data {
            black_box((book.symbol, book.checksum));
            for level in book.bids.iter().chain(&book.asks) {
                black_box((number(level.price.get()), number(level.qty.get())));
            }
        }
    }
}

impl Convert for Coinbase<'_> {
    fn convert(self) {
        black_box((self.channel, self.sequence_num));
        for event in &self.events {
            black_box(event.product_id);
            for update in &event.updates {
                black_box((update.side, update.event_time));
                black_box((number(update.price_level), number(update.new_quantity)));
            }
        }
    }
}

/// Decodes all of `list` by our decoder.
fn ours<V: Venue + 'static>(name: &'static str, venue: V, list: &[Vec<u8>]) -> Case {
    let mut decoder = Decoder::warm(venue, &list[0]);
    for message in list {
        decoder = Decoder { ..rewarm(decoder, message) };
    }
    let mut list = list.to_vec();
    Case::new(name, move || {
        for message in &mut list {
            black_box(decoder.decode(message)).expect("a message of the list");
        }
    })
}

/// Widens what a message needs widened.
fn rewarm<V: Venue>(mut decoder: Decoder<V>, message: &[u8]) -> Decoder<V> {
    let mut copy = message.to_vec();
    while let Err(engine::raw::DecodeError::Wider { listing, decimals }) = decoder.decode(&mut copy) {
        decoder.directory.widen(listing, decimals);
    }
    decoder
}

macro_rules! serde_cases {
    ($list:expr, $shape:ty) => {{
        let (one, other) = ($list.to_vec(), $list.to_vec());
        [
            Case::new("serde_json", move || {
                for message in &one {
                    serde_json::from_slice::<$shape>(message).expect("a message of the list").convert();
                }
            }),
            Case::new("sonic_rs", move || {
                for message in &other {
                    sonic_rs::from_slice::<$shape>(message).expect("a message of the list").convert();
                }
            }),
        ]
    }};
}

fn spaced(list: &[Vec<u8>]) -> Vec<Vec<u8>> {
    list.iter().map(|message| messages::unscannable(message)).collect()
}

/// How many recorded messages a run takes.
const RECORDED_MAX: usize = 256;

/// Recorded messages where they are, else generated ones.
fn input(file: &str, part: &str, generated: &[u8]) -> (&'static str, Vec<Vec<u8>>) {
    match capture::texts(file, part, RECORDED_MAX) {
        Some(list) => ("recorded", list),
        None => ("generated", vec![generated.to_vec()]),
    }
}

/// Every venue's hot messages.
pub fn groups() -> Vec<Group> {
    let mut groups = Vec::new();
    let (_, list) = decoding::binance();
    let named =
        |name: &str| list.iter().find(|(known, _)| *known == name).map(|(_, m)| m.clone()).expect("listed");
    let spot = "binance/spot_btcusdt_20240808.tsv.gz";
    let trade_only = "\"e\":\"trade\"";
    for (name, (from, list)) in [
        ("binance trade", input(spot, trade_only, &named("binance trade"))),
        ("binance bookTicker", input(spot, "@bookTicker", &named("binance bookTicker"))),
        ("binance update", input(spot, "\"depthUpdate\"", &named("binance update, 20 levels"))),
        ("binance update, 10 + 10 levels", ("generated", vec![named("binance update, 20 levels")])),
        ("binance update, 20 + 20 levels", ("generated", vec![named("binance update, 20 levels a side")])),
        ("binance update, 100 + 100 levels", ("generated", vec![named("binance update, 100 levels a side")])),
    ] {
        let mut cases = vec![
            ours("ours, scanner", Binance::spot(), &list),
            ours("ours, simd-json tape", Binance::spot(), &spaced(&list)),
        ];
        if name.contains("trade") {
            cases.extend(serde_cases!(list, Combined<Trade>));
        } else if name.contains("bookTicker") {
            cases.extend(serde_cases!(list, Combined<Best>));
        } else {
            cases.extend(serde_cases!(list, Combined<Update>));
        }
        groups.push(Group::new(format!("{name} ({from})"), list.len(), cases));
    }
    let generated = messages::KrakenBook::new("BTC/USD", 25, 1).update(10);
    let recorded =
        input("kraken/v2_book25_btcusd_20260802.tsv.gz", "\"book\",\"type\":\"update\"", &generated);
    for (from, list) in [recorded, ("generated, 20 levels", vec![generated.clone()])] {
        let (kraken, _) = decoding::kraken();
        let (other, _) = decoding::kraken();
        let mut cases =
            vec![ours("ours, scanner", kraken, &list), ours("ours, simd-json tape", other, &spaced(&list))];
        let [serde, _] = serde_cases!(list, Kraken);
        cases.push(serde);
        groups.push(Group::new(format!("kraken update ({from})"), list.len(), cases));
    }
    for count in [2, 20] {
        let list = vec![messages::coinbase_l2("BTC-USD", 7, count)];
        let (coinbase, _) = decoding::coinbase();
        let (other, _) = decoding::coinbase();
        let mut cases =
            vec![ours("ours, scanner", coinbase, &list), ours("ours, simd-json tape", other, &spaced(&list))];
        cases.extend(serde_cases!(list, Coinbase));
        groups.push(Group::new(format!("coinbase l2, {count} levels (generated)"), list.len(), cases));
    }
    groups
}
