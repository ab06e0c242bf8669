//! A venue, a clock and clients for the tests: bytes in, frames out, no sockets.

use serde_json::Value;

use super::super::*;
use crate::site::Site;

pub(super) const START_NS: u64 = 1_783_000_000_000_000_000;

/// A site, a clock and what one client has received.
pub(super) struct World {
    pub(super) site: Site,
    pub(super) now_ns: u64,
}

#[derive(Debug, PartialEq)]
pub(super) enum Frame {
    Text(Value),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(u16),
}

pub(super) fn config(product: Product, rate: f64) -> BinanceConfig {
    BinanceConfig {
        instruments: default_instruments("USDT")[..3].to_vec(),
        messages_per_instrument_per_s: rate,
        ..BinanceConfig::of(product)
    }
}

impl World {
    pub(super) fn new(config: BinanceConfig) -> Self {
        let output_bytes_max = config.limits.output_bytes_max;
        Self { site: Site::new(Box::new(config.build(START_NS)), output_bytes_max), now_ns: START_NS }
    }

    pub(super) fn spot(rate: f64) -> Self {
        Self::new(config(Product::Spot, rate))
    }

    /// Passes time in steps of 10 ms.
    pub(super) fn pass(&mut self, time_ms: u64) {
        for _ in 0..time_ms.div_ceil(10) {
            self.now_ns += 10 * MS_NS;
            self.site.poll(self.now_ns);
        }
    }

    pub(super) fn take(&mut self, id: ConnectionId) -> Vec<u8> {
        let bytes = self.site.unsent(id).to_vec();
        self.site.sent(id, bytes.len());
        bytes
    }

    pub(super) fn upgrade(&mut self, target: &str) -> (ConnectionId, String) {
        let id = self.site.open(self.now_ns).expect("not refused");
        let request = format!(
            "GET {target} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        self.site.receive(id, request.as_bytes(), self.now_ns);
        let answer = self.take(id);
        (id, String::from_utf8(answer).unwrap())
    }

    pub(super) fn connect(&mut self, target: &str) -> ConnectionId {
        let (id, answer) = self.upgrade(target);
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        // The worked example of RFC 6455, 1.3.
        assert!(answer.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{answer}");
        id
    }

    pub(super) fn send_frame(&mut self, id: ConnectionId, opcode: u8, payload: &[u8]) {
        let mut frame = vec![0x80 | opcode];
        match payload.len() {
            0..=125 => frame.push(0x80 | payload.len() as u8),
            length => {
                frame.push(0xFE);
                frame.extend_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
            }
        }
        frame.extend_from_slice(&[0; 4]);
        frame.extend_from_slice(payload);
        self.site.receive(id, &frame, self.now_ns);
    }

    pub(super) fn ask(&mut self, id: ConnectionId, text: &str) -> Value {
        self.send_frame(id, 1, text.as_bytes());
        match self.frames(id).pop() {
            Some(Frame::Text(answer)) => answer,
            other => panic!("no answer to {text}: {other:?}"),
        }
    }

    pub(super) fn frames(&mut self, id: ConnectionId) -> Vec<Frame> {
        let bytes = self.take(id);
        let mut rest = &bytes[..];
        let mut frames = Vec::new();
        while let &[first, second, ..] = rest {
            let (length, head) = match second {
                126 => (usize::from(u16::from_be_bytes([rest[2], rest[3]])), 4),
                127 => (u64::from_be_bytes(rest[2..10].try_into().unwrap()) as usize, 10),
                short => (usize::from(short), 2),
            };
            let payload = &rest[head..head + length];
            frames.push(match first {
                0x81 => Frame::Text(serde_json::from_slice(payload).expect("JSON")),
                0x88 => Frame::Close(u16::from_be_bytes([payload[0], payload[1]])),
                0x89 => Frame::Ping(payload.to_vec()),
                0x8A => Frame::Pong(payload.to_vec()),
                other => panic!("unexpected frame {other:#x}"),
            });
            rest = &rest[head + length..];
        }
        frames
    }

    pub(super) fn events(&mut self, id: ConnectionId) -> Vec<Value> {
        let texts = self.frames(id).into_iter();
        texts.filter_map(|frame| if let Frame::Text(text) = frame { Some(text) } else { None }).collect()
    }

    pub(super) fn rest_raw(&mut self, request: &str) -> String {
        let id = self.site.open(self.now_ns).expect("not refused");
        self.site.receive(id, request.as_bytes(), self.now_ns);
        let answer = String::from_utf8(self.take(id)).unwrap();
        self.site.closed(id);
        answer
    }

    pub(super) fn rest(&mut self, target: &str) -> (u16, Value) {
        let answer = self.rest_raw(&format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n"));
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let status = head[9..12].parse().unwrap();
        (status, serde_json::from_str(body).unwrap_or(Value::Null))
    }
}

pub(super) fn mantissa(text: &Value, decimals: usize) -> i64 {
    let text = text.as_str().expect("decimals are strings");
    let (_, fraction) = text.split_once('.').unwrap_or((text, ""));
    assert_eq!(fraction.len(), decimals, "{text}");
    text.replace('.', "").parse().unwrap()
}

/// A book that follows the venue's documented procedure. Written from the documents, not from the code above.
#[derive(Default)]
pub(super) struct Follower {
    product: Option<Product>,
    last: u64,
    pub(super) applied: u64,
    bids: std::collections::BTreeMap<i64, i64>,
    asks: std::collections::BTreeMap<i64, i64>,
}

impl Follower {
    pub(super) fn decimals(truth: &BookTruth) -> (usize, usize) {
        (truth.price_decimals, truth.qty_decimals)
    }

    pub(super) fn levels(
        side: &mut std::collections::BTreeMap<i64, i64>,
        levels: &Value,
        decimals: (usize, usize),
    ) {
        for level in levels.as_array().unwrap() {
            let (price, qty) = (mantissa(&level[0], decimals.0), mantissa(&level[1], decimals.1));
            if qty == 0 {
                side.remove(&price)
            } else {
                side.insert(price, qty)
            };
        }
    }

    pub(super) fn snapshot(product: Product, body: &Value, truth: &BookTruth) -> Self {
        let mut follower =
            Self { product: Some(product), last: body["lastUpdateId"].as_u64().unwrap(), ..Self::default() };
        Self::levels(&mut follower.bids, &body["bids"], Self::decimals(truth));
        Self::levels(&mut follower.asks, &body["asks"], Self::decimals(truth));
        follower
    }

    /// `Err`: a gap.
    pub(super) fn apply(&mut self, event: &Value, truth: &BookTruth) -> Result<(), String> {
        let (first, last) = (event["U"].as_u64().unwrap(), event["u"].as_u64().unwrap());
        assert!(first <= last);
        match (self.product.unwrap(), self.applied) {
            (Product::Spot, _) if last <= self.last => return Ok(()),
            (Product::UsdM, 0) if last < self.last => return Ok(()),
            (Product::Spot, _) if first > self.last + 1 => {
                return Err(format!("{first} after {}", self.last));
            }
            // USD-M leaves ids unused, so a snapshot taken between two updates lies in neither; it is continued by
            // the update whose `pu` it is.
            (Product::UsdM, 0) if first > self.last && event["pu"].as_u64().unwrap() > self.last => {
                return Err(format!("{first} after snapshot {}", self.last));
            }
            (Product::UsdM, 1..) if event["pu"].as_u64().unwrap() != self.last => {
                return Err(format!("pu {} after {}", event["pu"], self.last));
            }
            _ => {}
        }
        self.applied += 1;
        self.last = last;
        Self::levels(&mut self.bids, &event["b"], Self::decimals(truth));
        Self::levels(&mut self.asks, &event["a"], Self::decimals(truth));
        let (bid, ask) = (self.bids.last_key_value().unwrap().0, self.asks.first_key_value().unwrap().0);
        assert!(bid < ask, "crossed");
        Ok(())
    }

    pub(super) fn assert_equals(&self, truth: &BookTruth) {
        assert_eq!(self.last, truth.update_id);
        let bids: Vec<_> = self.bids.iter().rev().map(|(price, qty)| (*price, *qty)).collect();
        let asks: Vec<_> = self.asks.iter().map(|(price, qty)| (*price, *qty)).collect();
        assert_eq!(bids, truth.bids);
        assert_eq!(asks, truth.asks);
    }
}
