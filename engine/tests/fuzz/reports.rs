//! What venues say of orders: frames of the private connection and answers to HTTP requests.

use engine::orders::ledger::{Outcome, Purpose, Tag};
use engine::orders::secret::Secret;
use engine::orders::venue::binance::{BinanceKey, BinanceOrders};
use engine::orders::venue::coinbase::{CoinbaseKey, CoinbaseOrders, LIVE_HOST};
use engine::orders::venue::kraken::{KrakenKey, KrakenOrders};
use engine::orders::venue::{Incoming, OrderGateway};
use engine::raw::DecodeError;

/// What an HTTP request was about; a frame is the eighth way.
const PURPOSES: [Purpose; 7] = [
    Purpose::Place,
    Purpose::Cancel,
    Purpose::Order,
    Purpose::Fills,
    Purpose::OpenOrders,
    Purpose::CancelAll,
    Purpose::Session,
];
const FRAME: u8 = PURPOSES.len() as u8;
/// 0 is an answer that never came.
const STATUSES: [u16; 8] = [200, 0, 400, 404, 418, 429, 500, 503];

fn gateway(venue: u8) -> Box<dyn OrderGateway> {
    // 32 bytes of zero, which is a secret of each kind.
    let secret = Secret::new(b"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=".to_vec());
    match venue % 3 {
        0 => Box::new(BinanceOrders::new(b"key", BinanceKey::hmac(&secret).expect("a key"), 5_000)),
        1 => Box::new(KrakenOrders::new(b"key", KrakenKey::new(&secret).expect("a key"))),
        _ => Box::new(CoinbaseOrders::new(b"key", CoinbaseKey::new(&secret).expect("a key"), LIVE_HOST)),
    }
}

fn tag(purpose: Purpose) -> Tag {
    Tag((purpose as u64) << 48 | 0x0022_000C)
}

/// A venue, a way (a frame, or what an HTTP request was about), a status, and the text: the same news twice, a request for a new
/// order is never left without an answer, and one that cannot be read is unknown.
pub fn order_reports(data: &[u8]) -> bool {
    let Some((&[venue, way, status], text)) = data.split_first_chunk() else { return false };
    let said = [(); 2].map(|()| {
        let (mut gateway, mut bytes, mut incoming) = (gateway(venue), text.to_vec(), Vec::new());
        let Some(&purpose) = PURPOSES.get(usize::from(way % (FRAME + 1))) else {
            return (gateway.decode_frame(&mut bytes, &mut incoming), incoming);
        };
        let status = STATUSES[usize::from(status) % STATUSES.len()];
        let result = gateway.decode_http(tag(purpose), status, &mut bytes, &mut incoming);
        if purpose == Purpose::Place {
            placed(&result, &incoming);
        }
        (result, incoming)
    });
    assert_eq!(said[0], said[1]);
    said[0].0.is_ok() && !said[0].1.is_empty()
}

fn placed(result: &Result<(), DecodeError>, incoming: &[Incoming]) {
    let outcomes: Vec<Outcome> = incoming
        .iter()
        .filter_map(|one| match one {
            Incoming::Answer { tag: about, outcome, .. } if *about == tag(Purpose::Place) => Some(*outcome),
            _ => None,
        })
        .collect();
    assert!(!outcomes.is_empty(), "a new order that nothing is known of: {result:?} {incoming:?}");
    if result.is_err() {
        assert_eq!(outcomes.last(), Some(&Outcome::Unknown), "{result:?} {incoming:?}");
    }
}

/// One of each kind of text, by venue.
pub fn seeds() -> Vec<Vec<u8>> {
    let id = tag(Purpose::Place).0;
    let texts: [(u8, u8, u8, String); 22] = [
        (0, FRAME, 0, format!(r#"{{"id":{id},"status":200,"result":{{"symbol":"BTCUSDT","orderId":28000,"clientOrderId":"m1abc","transactTime":1783000000004}},"rateLimits":[{{"rateLimitType":"ORDERS","interval":"SECOND","intervalNum":10,"limit":100,"count":9}}]}}"#)),
        (0, FRAME, 0, format!(r#"{{"id":{id},"status":400,"error":{{"code":-1021,"msg":"outside of the window"}}}}"#)),
        (0, FRAME, 0, format!(r#"{{"id":{id},"status":418,"error":{{"code":-1003,"msg":"too much","data":{{"serverTime":1783000000000,"retryAfter":1783000004500}}}}}}"#)),
        (0, FRAME, 0, format!(r#"{{"id":{id},"status":200,"result":{{"serverTime":1783000000000}}}}"#)),
        (0, FRAME, 0, r#"{"subscriptionId":0,"event":{"e":"executionReport","E":1783000002001,"s":"BTCUSDT","c":"m1abc","S":"BUY","o":"LIMIT","f":"GTC","q":"0.003","p":"64000.0","C":"","x":"TRADE","X":"PARTIALLY_FILLED","r":"NONE","i":28000,"l":"0.001","z":"0.001","L":"64000.0","n":"0.000001","N":"BTC","T":1783000002000,"t":51234,"m":true,"Z":"64.0","Y":"64.0"}}"#.to_owned()),
        (0, 0, 0, r#"{"symbol":"BTCUSDT","orderId":28,"clientOrderId":"m1abc","status":"CANCELED","executedQty":"0"}"#.to_owned()),
        (0, 2, 3, r#"{"code":-2013,"msg":"Order does not exist."}"#.to_owned()),
        (0, 3, 0, r#"[{"symbol":"BTCUSDT","id":28457,"orderId":100234,"price":"4.1","qty":"12.0","quoteQty":"49.2","commission":"0.01","commissionAsset":"BNB","time":1783000000000,"isMaker":false}]"#.to_owned()),
        (0, 4, 0, r#"[{"symbol":"BTCUSDT","orderId":28,"clientOrderId":"m1abc","price":"0.1","origQty":"1.0","executedQty":"0.0","status":"NEW"}]"#.to_owned()),
        (1, FRAME, 0, format!(r#"{{"method":"add_order","req_id":{id},"success":false,"error":"EOrder:Insufficient funds"}}"#)),
        (1, FRAME, 0, format!(r#"{{"method":"add_order","req_id":{id},"success":true,"result":{{"order_id":"OA-1","cl_ord_id":"m1abc"}}}}"#)),
        (1, FRAME, 0, r#"{"channel":"executions","type":"update","sequence":1,"data":[{"order_id":"OA-1","cl_ord_id":"m1abc","exec_id":"TA-1","exec_type":"trade","trade_id":987,"symbol":"BTC/USD","side":"buy","last_qty":0.001,"last_price":64000.0,"liquidity_ind":"m","order_status":"partially_filled","cum_qty":0.001,"cum_cost":64.0,"fees":[{"asset":"USD","qty":0.16}],"timestamp":"2026-11-21T01:00:03.709993Z"}]}"#.to_owned()),
        (1, 4, 0, r#"{"error":["WGeneral:Danger"],"result":{"open":{"OA-1":{"cl_ord_id":"m1abc","status":"open","opentm":1783000000.1,"vol":"0.003","vol_exec":"0.001","cost":"64.0","fee":"0.16"}}}}"#.to_owned()),
        (1, 3, 0, r#"{"error":[],"result":{"trades":{"T2":{"ordertxid":"O1","time":1783000002.1,"price":"64000.0","cost":"64.0","fee":"0.1","vol":"0.001","maker":true}},"count":1}}"#.to_owned()),
        (1, 2, 5, r#"{"error":["EAPI:Rate limit exceeded"]}"#.to_owned()),
        (1, 6, 0, r#"{"error":[],"result":{"token":"token","expires":900}}"#.to_owned()),
        (2, 0, 0, r#"{"success":true,"success_response":{"order_id":"a1b2","product_id":"BTC-USD","side":"BUY","client_order_id":"6f1c2c1e-0000-4000-8000-000000000001"}}"#.to_owned()),
        (2, 0, 0, r#"{"success":false,"error_response":{"error":"INSUFFICIENT_FUND","message":"m","preview_failure_reason":"x"}}"#.to_owned()),
        (2, 1, 0, r#"{"results":[{"success":false,"failure_reason":"UNKNOWN_CANCEL_ORDER","order_id":"a"}]}"#.to_owned()),
        (2, 4, 0, r#"{"orders":[{"order_id":"a1","client_order_id":"6f1c2c1e-0000-4000-8000-000000000001","status":"OPEN","filled_size":"0","average_filled_price":"0","filled_value":"0","total_fees":"0","order_configuration":{"limit_limit_gtc":{"base_size":"0.5"}}}],"has_next":true,"cursor":"c"}"#.to_owned()),
        (2, 2, 3, r#"{"error":"NOT_FOUND","message":"order not found"}"#.to_owned()),
        (2, FRAME, 0, r#"{"channel":"user","timestamp":"2026-11-21T01:00:06.0Z","sequence_num":0,"events":[{"type":"update","orders":[{"order_id":"a1b2","client_order_id":"6f1c2c1e-0000-4000-8000-000000000001","product_id":"BTC-USD","status":"OPEN","cumulative_quantity":"0.0004","leaves_quantity":"0.0006","avg_price":"64000","filled_value":"25.6","total_fees":"0.15","cancel_reason":"","reject_reason":""}]}]}"#.to_owned()),
    ];
    texts
        .into_iter()
        .map(|(venue, way, status, text)| [&[venue, way, status], text.as_bytes()].concat())
        .collect()
}
