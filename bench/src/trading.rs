//! Order entry of each venue as a bench drives it: a gateway with a key of its own, one order, one report.

use std::hint::black_box;

use engine::decimal::{Decimals, Price, Qty};
use engine::directory::Directory;
use engine::ids::{ConsumerId, InstrumentId, Listing, ProviderId, TraceId};
use engine::orders::id::WireId;
use engine::orders::life::Life;
use engine::orders::secret::Secret;
use engine::orders::venue::binance::{BinanceKey, BinanceOrders};
use engine::orders::venue::coinbase::{CoinbaseKey, CoinbaseOrders, LIVE_HOST};
use engine::orders::venue::kraken::{KrakenKey, KrakenOrders};
use engine::orders::venue::{Incoming, OrderGateway, Outgoing, Stamp};
use engine::orders::{DecisionId, Order, OrderKind, OrderSide, Tag, TimeInForce};

/// Keys of nobody: bytes that count up.
const HMAC_SECRET: &[u8] = b"NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j";
const BASE64_SECRET: &[u8] =
    b"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+Pw==";
const ED25519_SEED: &[u8] = b"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const ED25519_PEM: &[u8] = b"-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f\n-----END PRIVATE KEY-----\n";

/// Reports as the venues spell them: one execution of an order.
const BINANCE_REPORT: &str = r#"{"subscriptionId":0,"event":{"e":"executionReport","E":1783000002001,"s":"BTCUSDT","c":"m0thk7s00000000001","S":"BUY","o":"LIMIT","f":"GTC","q":"0.00300000","p":"64000.00000000","P":"0.00000000","F":"0.00000000","g":-1,"C":"","x":"TRADE","X":"PARTIALLY_FILLED","r":"NONE","i":28000000123,"l":"0.00100000","z":"0.00100000","L":"64000.00000000","n":"0.00000100","N":"BTC","T":1783000002000,"t":5123456790,"I":9000000001,"w":true,"m":true,"M":true,"O":1783000000004,"Z":"64.00000000","Y":"64.00000000","Q":"0.00000000","W":1783000000004,"V":"NONE"}}"#;
const KRAKEN_REPORT: &str = r#"{"channel":"executions","type":"update","sequence":10,"data":[{"order_id":"OAAAAA-BBBBB-CCCCCC","cl_ord_id":"m0thk7s00000000001","exec_id":"TAAAAA-BBBBB-CCCCCC","exec_type":"trade","trade_id":98765433,"symbol":"BTC/USD","side":"buy","last_qty":0.001,"last_price":64000.0,"liquidity_ind":"m","cost":64.0,"order_type":"limit","order_status":"partially_filled","cum_qty":0.001,"cum_cost":64.0,"avg_price":64000.0,"fees":[{"asset":"USD","qty":0.16}],"fee_usd_equiv":0.16,"timestamp":"2026-11-21T01:00:03.709993Z"}]}"#;
const COINBASE_REPORT: &str = r#"{"channel":"user","timestamp":"2026-11-21T01:00:06.000000000Z","sequence_num":1000000000,"events":[{"type":"update","orders":[{"order_id":"a1b2c3d4-0000-4000-8000-000000000001","client_order_id":"6f1c2c1e-0000-4000-8000-000000000001","product_id":"BTC-USD","order_side":"BUY","order_type":"Limit","status":"OPEN","cumulative_quantity":"0.0004","leaves_quantity":"0.0006","avg_price":"64000","limit_price":"64000","filled_value":"25.6","number_of_fills":"1","completion_percentage":"40.00","total_fees":"0.15","post_only":"true","cancel_reason":"","reject_reason":"","creation_time":"2026-11-21T00:59:55.123456Z"}]}]}"#;

/// The first number of Coinbase's reports.
const FIRST_NUMBER: &str = "1000000000";

/// A venue and how its requests are signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signed {
    /// Binance, HMAC-SHA256 over the parameters.
    BinanceHmac,
    /// Binance, Ed25519.
    BinanceEd25519,
    /// Kraken, a session token.
    KrakenToken,
    /// Coinbase, a token that was prepared ahead, Ed25519.
    CoinbasePrepared,
    /// Coinbase, a token made with the order, Ed25519.
    CoinbaseFresh,
}

impl Signed {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::BinanceHmac,
        Self::BinanceEd25519,
        Self::KrakenToken,
        Self::CoinbasePrepared,
        Self::CoinbaseFresh,
    ];

    /// For tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BinanceHmac => "binance, HMAC",
            Self::BinanceEd25519 => "binance, Ed25519",
            Self::KrakenToken => "kraken, session token",
            Self::CoinbasePrepared => "coinbase, token prepared ahead",
            Self::CoinbaseFresh => "coinbase, token made with the order",
        }
    }
}

/// One venue's order entry, ready to work.
pub struct Desk {
    signed: Signed,
    gateway: Box<dyn OrderGateway>,
    directory: Directory,
    order: Order,
    stamp: Stamp,
    out: Outgoing,
    report: Vec<u8>,
    /// Where the number of a venue that numbers its reports ends in them.
    number_ends_at: Option<usize>,
    scratch: Vec<u8>,
    incoming: Vec<Incoming>,
}

impl Desk {
    /// With the session that the venue wants.
    ///
    /// # Panics
    /// If the venue refuses a key that it documents.
    pub fn new(signed: Signed) -> Self {
        let (gateway, symbol, report): (Box<dyn OrderGateway>, &str, &str) = match signed {
            Signed::BinanceHmac | Signed::BinanceEd25519 => {
                let key = match signed {
                    Signed::BinanceHmac => BinanceKey::hmac(&Secret::new(HMAC_SECRET.to_vec())),
                    _ => BinanceKey::ed25519_pem(&Secret::new(ED25519_PEM.to_vec())),
                };
                let gateway = BinanceOrders::new(&HMAC_SECRET[..64], key.expect("a key"), 5_000);
                (Box::new(gateway), "BTCUSDT", BINANCE_REPORT)
            }
            Signed::KrakenToken => {
                let key = KrakenKey::new(&Secret::new(BASE64_SECRET.to_vec())).expect("a key");
                let mut gateway = KrakenOrders::new(b"public", key);
                let mut token = br#"{"error":[],"result":{"token":"1Dwc4lzSwNWOAwkMdqhssNNFhs1ed606d1WcF3XfEMw","expires":900}}"#.to_vec();
                gateway.decode_http(Tag::session(0), 200, &mut token, &mut Vec::new()).expect("a token");
                (Box::new(gateway), "BTC/USD", KRAKEN_REPORT)
            }
            Signed::CoinbasePrepared | Signed::CoinbaseFresh => {
                let key = CoinbaseKey::new(&Secret::new(ED25519_SEED.to_vec())).expect("a key");
                let gateway = CoinbaseOrders::new(b"organizations/o/apiKeys/k", key, LIVE_HOST);
                (Box::new(gateway), "BTC-USD", COINBASE_REPORT)
            }
        };
        let mut directory = Directory::closed(ProviderId(0));
        let listing = directory.add(symbol, "BTC-USD", InstrumentId(0)).expect("listed");
        let stamp = Stamp { unix_ms: 1_783_000_000_000, nonce: 1_783_000_000_000_000_000, random: 7 };
        let mut desk = Self {
            signed,
            gateway,
            directory,
            order: order(listing),
            stamp,
            out: Outgoing::new(),
            report: report.as_bytes().to_vec(),
            number_ends_at: report.find(FIRST_NUMBER).map(|at| at + FIRST_NUMBER.len()),
            scratch: Vec::with_capacity(4_096),
            incoming: Vec::with_capacity(16),
        };
        // Buffers grow once.
        desk.prepare();
        desk.place();
        desk.prepare();
        if !matches!(signed, Signed::CoinbasePrepared | Signed::CoinbaseFresh) {
            desk.report();
        }
        desk
    }

    /// What is done ahead of an order.
    pub fn prepare(&mut self) {
        self.stamp.random += 1;
        if self.signed == Signed::CoinbasePrepared {
            self.gateway.prepare(&self.stamp);
        }
    }

    /// An order from its fields to bytes that can be sent; returns how many.
    ///
    /// # Panics
    /// If the venue does not have such an order.
    pub fn place(&mut self) -> usize {
        let tag = Tag(1 << 48 | 1);
        let Self { gateway, directory, order, stamp, out, .. } = self;
        gateway.place(tag, black_box(order), directory, stamp, out).expect("an order that the venue has");
        out.body.len() + out.path.len() + out.headers.len()
    }

    /// The venue's report of an execution, as it is spelled.
    pub fn report_text(&self) -> &[u8] {
        &self.report
    }

    /// The venue's report of an execution, from text to what it says; returns how many statements.
    ///
    /// # Panics
    /// If it cannot be decoded.
    pub fn report(&mut self) -> usize {
        self.scratch.clear();
        self.scratch.extend_from_slice(&self.report);
        self.incoming.clear();
        self.gateway.decode_frame(black_box(&mut self.scratch), &mut self.incoming).expect("a report");
        // A report under the number of the last one would be passed over.
        if let Some(at) = self.number_ends_at {
            for digit in self.report[..at].iter_mut().rev() {
                if *digit != b'9' {
                    *digit += 1;
                    break;
                }
                *digit = b'0';
            }
        }
        self.incoming.len()
    }
}

fn order(listing: Listing) -> Order {
    let wire_id = WireId { epoch: 1_783_000_000, shard: 1, counter: 42 }.encode();
    Order {
        client_order_id: wire_id,
        wire_id,
        consumer: ConsumerId(0),
        provider: ProviderId(0),
        instrument: InstrumentId(0),
        listing,
        side: OrderSide::Buy,
        kind: OrderKind::Limit,
        time_in_force: TimeInForce::GoodTillCancelled,
        post_only: false,
        price: Price(6_400_050),
        decision: DecisionId(1),
        trace: TraceId::default(),
        life: Life::new(Qty(100_000), Decimals { price: 2, qty: 8 }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_venue_writes_an_order_and_reads_a_report() {
        for signed in Signed::ALL {
            let mut desk = Desk::new(signed);
            for _ in 0..3 {
                desk.prepare();
                assert!(desk.place() > 100, "{}", signed.name());
            }
            for _ in 0..30 {
                assert!(desk.report() > 0, "{}", signed.name());
            }
        }
    }
}
