//! One venue message to our types: by the scanner, and (`tape_*`) by the general decoder over simd-json's tape.

use std::hint::black_box;

use bench::decoding::{self, Decoder, Named};
use bench::messages;
use engine::decimal::{Decimals, Number};
use engine::scan::Scanner;
use engine::venue::Venue;
use engine::venue::binance::Binance;
use engine::venue::coinbase::Coinbase;
use engine::venue::kraken::Kraken;
use iai_callgrind::{library_benchmark, library_benchmark_group};

use crate::at_most;

/// In a box, so that handing it in and out costs nothing.
type Work<V> = Box<(Decoder<V>, Vec<u8>)>;

fn pick<V: Venue>((venue, list): (V, Vec<Named>), name: &str) -> Work<V> {
    let (_, message) = list.into_iter().find(|(known, _)| *known == name).expect("a message of the list");
    Box::new((Decoder::warm(venue, &message), message))
}

fn pick_unscannable<V: Venue>((venue, list): (V, Vec<Named>), name: &str) -> Work<V> {
    let (_, message) = list.into_iter().find(|(known, _)| *known == name).expect("a message of the list");
    let message = messages::unscannable(&message);
    Box::new((Decoder::warm(venue, &message), message))
}

fn binance(name: &str) -> Work<Binance> {
    pick(decoding::binance(), name)
}

/// As live: the instrument list told the scale, and the venue prints prices with more digits than that, all of them zero.
fn binance_listed(name: &str) -> Work<Binance> {
    let (venue, list) = decoding::binance();
    let (_, message) = list.into_iter().find(|(known, _)| *known == name).expect("a message of the list");
    let mut decoder = Decoder::new(venue);
    let listing = decoder.directory.listing(b"BTCUSDT").expect("an open directory learns");
    let instrument = decoder.directory.instrument_mut(listing);
    (instrument.decimals, instrument.decimals_known) = (Decimals { price: 2, qty: 8 }, true);
    for _ in 0..2 {
        decoder.decode(&mut message.clone()).expect("no digit beyond the listed scale");
    }
    Box::new((decoder, message))
}

fn binance_tape(name: &str) -> Work<Binance> {
    pick_unscannable(decoding::binance(), name)
}

fn kraken(name: &str) -> Work<Kraken> {
    pick(decoding::kraken(), name)
}

fn kraken_tape(name: &str) -> Work<Kraken> {
    pick_unscannable(decoding::kraken(), name)
}

fn coinbase(name: &str) -> Work<Coinbase> {
    pick(decoding::coinbase(), name)
}

fn coinbase_tape(name: &str) -> Work<Coinbase> {
    pick_unscannable(decoding::coinbase(), name)
}

fn exchange(name: &str) -> Work<Coinbase> {
    pick(decoding::exchange(), name)
}

fn exchange_tape(name: &str) -> Work<Coinbase> {
    pick_unscannable(decoding::exchange(), name)
}

#[library_benchmark]
#[bench::trade(args = ("binance trade"), setup = binance, config = at_most(1180))]
#[bench::agg_trade(args = ("binance aggTrade"), setup = binance, config = at_most(1290))]
#[bench::book_ticker(args = ("binance bookTicker"), setup = binance, config = at_most(1200))]
#[bench::update_20(args = ("binance update, 20 levels"), setup = binance, config = at_most(6410))]
#[bench::update_20_a_side(args = ("binance update, 20 levels a side"), setup = binance, config = at_most(11_460))]
#[bench::update_100_a_side(args = ("binance update, 100 levels a side"), setup = binance, config = at_most(51_830))]
#[bench::listed_trade(args = ("binance trade"), setup = binance_listed, config = at_most(1200))]
#[bench::listed_update_20(args = ("binance update, 20 levels"), setup = binance_listed, config = at_most(6840))]
#[bench::tape_trade(args = ("binance trade"), setup = binance_tape, config = at_most(5780))]
#[bench::tape_book_ticker(args = ("binance bookTicker"), setup = binance_tape, config = at_most(5660))]
#[bench::tape_update_20(args = ("binance update, 20 levels"), setup = binance_tape, config = at_most(23_670))]
fn decode_binance(mut work: Work<Binance>) -> Work<Binance> {
    let (decoder, message) = &mut *work;
    #[cfg(feature = "slowdown")]
    black_box(format!("{:?}", decoder.venue.fallbacks()));
    let decoded = black_box(decoder.decode(black_box(message)));
    assert!(decoded.is_ok());
    work
}

#[library_benchmark]
#[bench::trade(args = ("kraken trade"), setup = kraken, config = at_most(1410))]
#[bench::ticker(args = ("kraken ticker"), setup = kraken, config = at_most(2010))]
#[bench::update_2(args = ("kraken update, 2 levels"), setup = kraken, config = at_most(1760))]
#[bench::update_20(args = ("kraken update, 20 levels"), setup = kraken, config = at_most(7050))]
#[bench::tape_trade(args = ("kraken trade"), setup = kraken_tape, config = at_most(8150))]
#[bench::tape_update_20(args = ("kraken update, 20 levels"), setup = kraken_tape, config = at_most(42_790))]
fn decode_kraken(mut work: Work<Kraken>) -> Work<Kraken> {
    let (decoder, message) = &mut *work;
    let decoded = black_box(decoder.decode(black_box(message)));
    assert!(decoded.is_ok());
    work
}

#[library_benchmark]
#[bench::l2_2(args = ("coinbase l2, 2 levels"), setup = coinbase, config = at_most(2770))]
#[bench::l2_20(args = ("coinbase l2, 20 levels"), setup = coinbase, config = at_most(11_330))]
#[bench::trades_1(args = ("coinbase trades, 1"), setup = coinbase, config = at_most(2570))]
#[bench::trades_10(args = ("coinbase trades, 10"), setup = coinbase, config = at_most(17_990))]
#[bench::exchange_match(args = ("exchange match"), setup = exchange, config = at_most(1890))]
#[bench::exchange_l2update_1(args = ("exchange l2update, 1 level"), setup = exchange, config = at_most(1480))]
#[bench::exchange_l2update_20(args = ("exchange l2update, 20 levels"), setup = exchange, config = at_most(6910))]
#[bench::tape_l2_20(args = ("coinbase l2, 20 levels"), setup = coinbase_tape, config = at_most(50_440))]
#[bench::tape_exchange_match(args = ("exchange match"), setup = exchange_tape, config = at_most(6260))]
fn decode_coinbase(mut work: Work<Coinbase>) -> Work<Coinbase> {
    let (decoder, message) = &mut *work;
    let decoded = black_box(decoder.decode(black_box(message)));
    assert!(decoded.is_ok());
    work
}

#[library_benchmark]
#[bench::spot(args = (b"61837.63000000"), config = at_most(210))]
#[bench::short(args = (b"0.006"), config = at_most(120))]
#[bench::exponent(args = (b"1e-08"), config = at_most(360))]
fn decimal_parse(text: &[u8]) -> Number {
    black_box(Number::parse(black_box(text))).expect("a number")
}

#[library_benchmark]
#[bench::spot(args = (b"61837.63000000\",\"0.02000000\"]]"), config = at_most(120))]
fn decimal_scan(text: &[u8]) -> Option<Number> {
    black_box(Scanner::new(black_box(text)).decimal())
}

library_benchmark_group!(
    name = decode_group;
    benchmarks = decode_binance, decode_kraken, decode_coinbase, decimal_parse, decimal_scan
);
