//! An order from its fields to signed bytes, and an execution report from bytes to what it says: ours, and what one writes
//! first: `format!` and `serde_json`, signed by `ring`, whose HMAC and Ed25519 are assembly.
//!
//! Ours sorts nothing and allocates nothing: a request is written in the order that the venue signs. The others make the same
//! request with the same fields; reports are read into structs that borrow their texts, prices by our own `Number::parse`.

use std::hint::black_box;

use bench::trading::{Desk, Signed};
use engine::decimal::Number;
use ring::hmac;
use ring::signature::Ed25519KeyPair;
use serde::Deserialize;

use crate::{Case, Group};

/// Keys of nobody.
const KEY: &str = "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j";
const SEED: [u8; 32] = [7; 32];
const TOKEN: &str = "1Dwc4lzSwNWOAwkMdqhssNNFhs1ed606d1WcF3XfEMw";

/// Every group.
pub fn groups() -> Vec<Group> {
    let mut groups: Vec<Group> = Signed::ALL.into_iter().map(order).collect();
    groups.extend([Signed::BinanceHmac, Signed::KrakenToken, Signed::CoinbasePrepared].map(report));
    groups
}

fn order(signed: Signed) -> Group {
    let mut desk = Desk::new(signed);
    let ours = Case::new("ours", move || {
        // Coinbase's token of one order is not one of the next; what is done ahead of an order is done out of its turn, and
        // here there is no such time: the case of the prepared token holds the preparation too.
        if signed == Signed::CoinbasePrepared {
            desk.prepare();
        }
        black_box(desk.place());
    });
    let mut cases = vec![ours];
    let number = |number: u64| black_box(number);
    match signed {
        Signed::BinanceHmac => {
            let key = hmac::Key::new(hmac::HMAC_SHA256, KEY.as_bytes());
            cases.push(Case::new("format!, ring", move || {
                let params = binance_params(number(6_400_050));
                let signature = hex(hmac::sign(&key, params.as_bytes()).as_ref());
                black_box(binance_request(&params, &signature));
            }));
        }
        Signed::BinanceEd25519 => {
            let pair = Ed25519KeyPair::from_seed_unchecked(&SEED).expect("a seed of 32 bytes");
            cases.push(Case::new("format!, ring", move || {
                let params = binance_params(number(6_400_050));
                let signature = hex(pair.sign(params.as_bytes()).as_ref());
                black_box(binance_request(&params, &signature));
            }));
        }
        Signed::KrakenToken => cases.push(Case::new("serde_json::json!", move || {
            let request = serde_json::json!({
                "method": "add_order",
                "params": {
                    "order_type": "limit", "side": "buy", "symbol": "BTC/USD", "cl_ord_id": "m0thk7s00000000001",
                    "limit_price": number(6_400_050) as f64 / 100.0, "order_qty": 0.001, "time_in_force": "gtc", "token": TOKEN,
                },
                "req_id": 281_474_976_710_657_u64,
            });
            black_box(request.to_string());
        })),
        // A token of its own for each request; others make theirs in the same way, with the same curve.
        Signed::CoinbasePrepared | Signed::CoinbaseFresh => {}
    }
    let name = match signed {
        Signed::CoinbasePrepared => format!("order, {}, preparation included", signed.name()),
        _ => format!("order, {}", signed.name()),
    };
    Group::new(name, 1, cases)
}

fn binance_params(cents: u64) -> String {
    let mut params = [
        ("symbol", "BTCUSDT".to_owned()),
        ("side", "BUY".to_owned()),
        ("type", "LIMIT".to_owned()),
        ("timeInForce", "GTC".to_owned()),
        ("price", format!("{}.{:02}", cents / 100, cents % 100)),
        ("quantity", format!("{}.{:08}", 0, 100_000)),
        ("newClientOrderId", "m0thk7s00000000001".to_owned()),
        ("newOrderRespType", "ACK".to_owned()),
        ("recvWindow", "5000".to_owned()),
        ("timestamp", 1_783_000_000_000_u64.to_string()),
        ("apiKey", KEY.to_owned()),
    ];
    // The venue signs them by name.
    params.sort_unstable();
    params.map(|(name, value)| format!("{name}={value}")).join("&")
}

fn binance_request(params: &str, signature: &str) -> String {
    let fields: Vec<String> = params
        .split('&')
        .filter_map(|field| field.split_once('='))
        .map(|(name, value)| format!("\"{name}\":\"{value}\""))
        .collect();
    format!(
        "{{\"id\":\"281474976710657\",\"method\":\"order.place\",\"params\":{{{},\"signature\":\"{signature}\"}}}}",
        fields.join(",")
    )
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[derive(Deserialize)]
struct BinanceFrame<'a> {
    #[serde(borrow)]
    event: BinanceReport<'a>,
}

#[derive(Deserialize)]
struct BinanceReport<'a> {
    e: &'a str,
    #[serde(rename = "E")]
    sent: u64,
    s: &'a str,
    c: &'a str,
    x: &'a str,
    #[serde(rename = "X")]
    status: &'a str,
    i: u64,
    l: &'a str,
    z: &'a str,
    #[serde(rename = "L")]
    price: &'a str,
    n: &'a str,
    t: i64,
    m: bool,
}

#[derive(Deserialize)]
struct KrakenFrame<'a> {
    #[serde(borrow)]
    data: Vec<KrakenReport<'a>>,
}

#[derive(Deserialize)]
struct KrakenReport<'a> {
    order_id: &'a str,
    cl_ord_id: &'a str,
    exec_id: &'a str,
    exec_type: &'a str,
    order_status: &'a str,
    symbol: &'a str,
    #[serde(borrow)]
    last_qty: &'a serde_json::value::RawValue,
    #[serde(borrow)]
    last_price: &'a serde_json::value::RawValue,
    #[serde(borrow)]
    cum_qty: &'a serde_json::value::RawValue,
    timestamp: &'a str,
}

#[derive(Deserialize)]
struct CoinbaseFrame<'a> {
    sequence_num: u64,
    #[serde(borrow)]
    events: Vec<CoinbaseEvent<'a>>,
}

#[derive(Deserialize)]
struct CoinbaseEvent<'a> {
    #[serde(borrow)]
    orders: Vec<CoinbaseReport<'a>>,
}

#[derive(Deserialize)]
struct CoinbaseReport<'a> {
    order_id: &'a str,
    client_order_id: &'a str,
    product_id: &'a str,
    status: &'a str,
    cumulative_quantity: &'a str,
    leaves_quantity: &'a str,
    avg_price: &'a str,
    total_fees: &'a str,
}

fn number(text: &str) {
    black_box(Number::parse(text.as_bytes()).expect("a number"));
}

fn report(signed: Signed) -> Group {
    let mut desk = Desk::new(signed);
    let text = desk.report_text().to_vec();
    let whole = text.clone();
    let ours = Case::new("ours", move || {
        black_box(desk.report());
    });
    let structs = Case::new("serde_json, structs", move || match signed {
        Signed::BinanceHmac | Signed::BinanceEd25519 => {
            let BinanceFrame { event } = serde_json::from_slice(black_box(&text)).expect("a report");
            [event.l, event.z, event.price, event.n].into_iter().for_each(number);
            black_box((
                event.e,
                event.sent,
                event.s,
                event.c,
                event.x,
                event.status,
                event.i,
                event.t,
                event.m,
            ));
        }
        Signed::KrakenToken => {
            let frame: KrakenFrame = serde_json::from_slice(black_box(&text)).expect("a report");
            for report in frame.data {
                [report.last_qty, report.last_price, report.cum_qty]
                    .into_iter()
                    .for_each(|raw| number(raw.get()));
                black_box((report.order_id, report.cl_ord_id, report.exec_id, report.exec_type));
                black_box((report.order_status, report.symbol, report.timestamp));
            }
        }
        Signed::CoinbasePrepared | Signed::CoinbaseFresh => {
            let frame: CoinbaseFrame = serde_json::from_slice(black_box(&text)).expect("a report");
            black_box(frame.sequence_num);
            for report in frame.events.into_iter().flat_map(|event| event.orders) {
                [report.cumulative_quantity, report.leaves_quantity, report.avg_price, report.total_fees]
                    .into_iter()
                    .for_each(number);
                black_box((report.order_id, report.client_order_id, report.product_id, report.status));
            }
        }
    });
    let value = Case::new("serde_json, Value", move || {
        black_box(serde_json::from_slice::<serde_json::Value>(black_box(&whole)).expect("a report"));
    });
    let venue = signed.name().split(',').next().unwrap_or_default();
    Group::new(format!("report, {venue}"), 1, vec![ours, structs, value])
}
