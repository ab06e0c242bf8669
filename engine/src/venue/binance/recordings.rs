//! The recordings, which stay outside of the repository: both decoders on every frame of them, and figures that another
//! program found in them.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::tests::{By, Source, decode, listed};
use super::*;
use crate::decimal::Sum;
use crate::event::Side;
use crate::ids::{InstrumentId, ProviderId};
use crate::raw::{Content, Numbers};

/// The recordings, or `None` with a loud line where they are not.
fn captures() -> Option<PathBuf> {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/captures");
    let folder = std::env::var_os("MELTICA_CAPTURES").map_or(default, PathBuf::from).join("binance");
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("SKIPPED: no recordings at {}", folder.display());
    None
}

/// Receive time, source and payload of each line.
fn lines(path: &Path) -> Vec<(String, Vec<u8>)> {
    let mut bytes = std::fs::read(path).expect("a recording");
    if path.extension().is_some_and(|extension| extension == "gz") {
        let mut plain = Vec::new();
        flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_end(&mut plain).expect("gzip");
        bytes = plain;
    }
    let lines = bytes.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).map(|line| {
        let mut parts = line.splitn(3, |&byte| byte == b'\t');
        let _time = parts.next();
        let source = String::from_utf8(parts.next().expect("a source").to_vec()).expect("text");
        (source, parts.next().expect("a payload").to_vec())
    });
    lines.collect()
}

#[test]
fn both_decoders_read_the_recordings_alike_and_the_scanner_reads_nearly_all() {
    let Some(folder) = captures() else { return };
    let mut files: Vec<PathBuf> =
        folder.read_dir().expect("recordings").map(|entry| entry.expect("a file").path()).collect();
    files.sort();
    assert!(files.len() >= 11);
    for path in files {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let samples = name.starts_with("samples_");
        let product = if name.starts_with("usdm_") { Product::UsdM } else { Product::Spot };
        let (mut venue, mut other) = (Binance::new(product), Binance::new(product));
        let mut directory = Directory::open(ProviderId(0));
        let mut other_directory = directory.clone();
        let (mut frames, mut refused) = (0, BTreeMap::<&str, u32>::new());
        let mut last = BTreeMap::new();
        for (source, payload) in lines(&path) {
            let source = match source.strip_prefix("rest:") {
                None => Source::Frame,
                Some(path) => {
                    let path = path.rsplit(' ').next().unwrap_or(path).to_owned();
                    // A list would tell the scale; the widest text so far is to be tried here.
                    if path.ends_with("/exchangeInfo") {
                        continue;
                    }
                    Source::Get(path)
                }
            };
            frames += 1;
            let (scanned, raw) = decode(&mut venue, &mut directory, &source, By::Both, &payload);
            let (parsed, expected) = decode(&mut other, &mut other_directory, &source, By::Tape, &payload);
            let text = || String::from_utf8_lossy(&payload);
            assert_eq!(scanned, parsed, "{name}: {}", text());
            assert_eq!(raw.messages, expected.messages, "{name}: {}", text());
            assert!(raw.bids == expected.bids && raw.asks == expected.asks, "{name}: {}", text());
            for message in raw.messages.iter().filter(|_| !samples && matches!(source, Source::Frame)) {
                let rule = venue.sequence_rule(directory.carries(message.stream).channel);
                let Numbers { first, last: number, .. } = message.numbers;
                let before = last.insert(message.stream, number).unwrap_or(first.saturating_sub(1));
                assert!(first > before, "{name}: {before} {}", text());
                let contiguous = rule == SequenceRule::Contiguous;
                assert!(!contiguous || first == before + 1, "{name}: {before} {}", text());
            }
            match scanned {
                Err(error) if samples => *refused.entry(error.name()).or_default() += 1,
                Err(error) => panic!("{name}: {error}: {}", text()),
                Ok(Decoded::Data) => assert!(!raw.messages.is_empty(), "{name}: {}", text()),
                Ok(Decoded::Notice(_)) => assert!(samples, "{name}: {}", text()),
            }
        }
        let fallbacks = venue.fallbacks();
        eprintln!("{name}: {frames} lines, {fallbacks:?}, refused {refused:?}");
        if !samples {
            assert!(fallbacks.scanned_frames * 100 >= fallbacks.hot_frames * 99, "{name}: {fallbacks:?}");
        }
    }
}

/// Figures that another program found (`EXPECTED.json` beside the recordings): exact sums of the trades of a stream.
#[test]
fn the_trades_of_the_recordings_add_up() {
    let Some(folder) = captures() else { return };
    let expected = std::fs::read(folder.join("../EXPECTED.json")).expect("figures");
    let expected: serde_json::Value = serde_json::from_slice(&expected).expect("JSON");
    let mut checked = 0;
    for name in ["spot_btcusdt_20240808.tsv.gz", "usdm_btcusdt_20240808.tsv.gz", "spot_multi_20211012.tsv"] {
        let mut venue = Binance::new(if name.starts_with("usdm") { Product::UsdM } else { Product::Spot });
        let mut directory = Directory::open(ProviderId(0));
        let mut sums = BTreeMap::new();
        for (source, payload) in lines(&folder.join(name)) {
            if source != "ws" {
                continue;
            }
            let (_, raw) = decode(&mut venue, &mut directory, &Source::Frame, By::Both, &payload);
            for message in &raw.messages {
                let Content::Trade(trade) = &message.content else { continue };
                let channel = if directory.carries(message.stream).channel == Channel::Trade {
                    "trade"
                } else {
                    "aggTrade"
                };
                let key = format!("{} {channel}", directory.instrument(message.listing).venue_symbol);
                let (count, qty, notional, bought) =
                    sums.entry(key).or_insert((0_u64, Sum::default(), Sum::default(), 0_u64));
                *count += 1;
                *bought += u64::from(trade.taker_side == Side::Buy);
                qty.add(i128::from(trade.qty.0), message.decimals.qty);
                notional.add(
                    i128::from(trade.price.0) * i128::from(trade.qty.0),
                    message.decimals.price + message.decimals.qty,
                );
            }
        }
        for (key, (count, qty, notional, bought)) in sums {
            let figures = &expected[format!("binance/{name}")]["trades"][&key];
            let exact = |field: &str| {
                let text = figures[field].as_str().unwrap_or_else(|| panic!("{name} {key} {field}"));
                let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
                Sum {
                    mantissa: format!("{whole}{fraction}").parse().expect("digits"),
                    decimals: fraction.len() as u8,
                }
                .trimmed()
            };
            assert_eq!(Some(count), figures["count"].as_u64(), "{name} {key}");
            assert_eq!(Some(bought), figures["taker_buy"][0].as_u64(), "{name} {key}");
            assert_eq!(qty.trimmed(), exact("sum_qty"), "{name} {key}");
            assert_eq!(notional.trimmed(), exact("sum_price_x_qty"), "{name} {key}");
            checked += 1;
        }
    }
    assert!(checked >= 3);
}

#[test]
fn the_recorded_instrument_lists_are_read_whole() {
    let Some(folder) = captures() else { return };
    for (name, path, symbol, expected) in [
        (
            "rest_exchangeinfo_20211012.tsv.gz",
            "/api/v3/exchangeInfo",
            "ETHBTC",
            "ETH-BTC 8/8 trading true: tick 0.000001 lot 0.0001 qty 0.0001..100000 notional 0.0001",
        ),
        (
            "usdm_rest_exchangeinfo_20210722.tsv",
            "/fapi/v1/exchangeInfo",
            "BTCUSDT",
            "BTC-USDT 2/3 trading true: tick 0.01 lot 0.001 qty 0.001..1000 notional 5",
        ),
    ] {
        let lines = lines(&folder.join(name));
        let body = &lines[0].1;
        let list: serde_json::Value = serde_json::from_slice(body).expect("JSON");
        let symbols = list["symbols"].as_array().expect("a list");
        let mut directory = Directory::closed(ProviderId(0));
        for entry in symbols {
            let symbol = entry["symbol"].as_str().expect("a symbol");
            directory.add(symbol, symbol, InstrumentId(0)).expect("listed");
        }
        let mut venue = Binance::new(if name.starts_with("usdm") { Product::UsdM } else { Product::Spot });
        let (decoded, _) = decode(&mut venue, &mut directory, &Source::Get(path.to_owned()), By::Both, body);
        assert_eq!(decoded, Ok(Decoded::Data), "{name}");
        let listing = directory.listing(symbol.as_bytes()).expect("listed");
        assert_eq!(listed(&directory, listing), expected);
        for (entry, instrument) in symbols.iter().zip(directory.instruments()) {
            assert!(instrument.decimals_known && instrument.symbol.contains('-'), "{entry}");
            assert_eq!(instrument.trading, entry["status"] == "TRADING", "{entry}");
            assert!(instrument.filters.tick.mantissa > 0 && instrument.filters.lot.mantissa > 0, "{entry}");
        }
    }
}
