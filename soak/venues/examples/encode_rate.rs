//! Measures how many messages a second a simulated Binance makes and encodes, without sockets.
//!
//! `cargo run --release -p simvenues --example encode_rate`. A regression here means that the simulator, and not the
//! gateway, limits a load test.

use std::time::Instant;

use simvenues::site::Site;
use simvenues::{BinanceConfig, VenueConfig, default_instruments};

/// Simulated time of one measurement.
const SIMULATED_NS: u64 = 4_000_000_000;
const START_NS: u64 = 1_783_000_000_000_000_000;

fn main() {
    for per_instrument_per_s in [20.0, 400.0, 4000.0, 20_000.0] {
        let config =
            BinanceConfig { messages_per_instrument_per_s: per_instrument_per_s, ..BinanceConfig::default() };
        let mut site = Site::new(VenueConfig::Binance(config).build(START_NS), 1 << 30);
        let streams: Vec<String> = default_instruments("USDT")
            .iter()
            .flat_map(|spec| {
                let name = format!("{}usdt", spec.base.to_lowercase());
                ["trade", "bookTicker", "depth@100ms"].map(|kind| format!("{name}@{kind}"))
            })
            .collect();
        let id = site.open(START_NS).expect("nothing refuses it");
        let request = format!(
            "GET /stream?streams={} HTTP/1.1\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            streams.join("/")
        );
        site.receive(id, request.as_bytes(), START_NS);
        let begin = Instant::now();
        let mut now_ns = START_NS;
        while now_ns < START_NS + SIMULATED_NS {
            now_ns += 1_000_000;
            loop {
                site.poll(now_ns);
                let bytes = site.unsent(id).len();
                site.sent(id, bytes);
                if site.next_wake_ns() > now_ns {
                    break;
                }
            }
        }
        let elapsed_s = begin.elapsed().as_secs_f64();
        let stats = site.stats();
        println!(
            "asked {:>9.0} messages/s: made {} frames, {:.1} MB, skipped {} ns, in {elapsed_s:.3} s = {:.0} frames/s, {:.0} MB/s",
            per_instrument_per_s * 50.0,
            stats.frames_sent_total,
            stats.bytes_sent_total as f64 / 1e6,
            stats.skipped_ns_total,
            stats.frames_sent_total as f64 / elapsed_s,
            stats.bytes_sent_total as f64 / 1e6 / elapsed_s,
        );
    }
}
