//! `topology.yaml`: each refused file with the message that it gives; the shipped file; recorded hosts.

use std::path::Path;

use shards::host::{CpuSet, HostCores};
use shards::topology::{
    self, Against, CONSUMER_KINDS, Product, ProviderIndex, Role, Subscription, Topology, memory,
};

/// Two providers that are joined, one consumer of everything; four cores.
const BASE: &str = "\
version: 1
host: shared
shards:
  - {name: md0, core: 0, role: provider, pools: {frames: 200, raws: 200, events: 300, merged: 50, order_requests: 20, execution_reports: 20}, order_ring_requests: 64}
  - {name: merge0, core: 1, role: merger, pools: {frames: 16, raws: 16, events: 300, merged: 50, order_requests: 1, execution_reports: 1}, ring_events: 1024, critical_ring_events: 64, spill_events: 1024}
  - {name: strategies, core: 2, role: consumer, ring_events: 8192, critical_ring_events: 256, spill_events: 8192}
simulated: {seed: 1, messages_per_instrument_per_s: 20, speed: 1.0, book_levels: 500}
providers:
  - name: binance
    venue: binance
    product: spot
    shard: md0
    endpoints: simulated
    lines: 1
    instruments: [BTC-USDT, ETH-USDT]
    channels: [trade, book, ticker, {kline: 1m}]
    book: {depth_max: 10000, snapshot_limit: 1000, verify_s: 180}
    rest_weight_share: 0.8
    reorder: {lateness_ms: 150, flush_ms: 50, held_events_max: 200}
  - name: kraken
    venue: kraken
    product: spot
    shard: md0
    endpoints: live
    lines: 1
    instruments: [BTC-USD, ETH-USDT]
    channels: [trade, book, ticker]
    book: {depth_max: 1000, verify_s: 180}
    rest_weight_share: 0.5
    reorder: {lateness_ms: 150, flush_ms: 50, held_events_max: 200}
merges:
  - {name: best, shard: merge0, kind: bbo, inputs: {binance: [BTC-USDT, ETH-USDT], kraken: [BTC-USD, ETH-USDT]}, window_s: 10, count: 1000, partial: suppress}
consumers:
  - name: stats
    kind: stats
    shard: strategies
    trading: false
    on_panic: restart
    subscriptions:
      - {provider: binance, instruments: all, channels: [trade, book, {kline: 1m}], delivery: {trade: lossless, book: book, kline: latest}, book_depth: 50}
      - {provider: kraken, instruments: [BTC-USD], channels: [ticker], delivery: {ticker: latest}}
      - {merge: best, delivery: lossless}
control: {listen: 127.0.0.1:0, core: any}
report: {dir: report, interval_ms: 1000}
";

fn read(text: &str) -> Result<Topology, String> {
    let cores = HostCores {
        online: CpuSet::parse("0-3").expect("a list"),
        allowed: CpuSet::parse("0-2").expect("a list"),
    };
    let lists = |_: Product, symbol: &str| symbol != "ABC-USDT";
    let against =
        Against { cores: Some(&cores), consumer_kinds: &CONSUMER_KINDS, simulated_lists: Some(&lists) };
    topology::read("t.yaml", text, against).map_err(|errors| errors.to_string())
}

/// Replaces each `from` (once in the base) and expects exactly these messages, in the order of the lines.
fn refused(changes: &[(&str, &str)], expected: &[&str]) {
    let mut text = BASE.to_owned();
    for (from, to) in changes {
        assert_eq!(text.matches(from).count(), 1, "{from:?} must stand once in the base");
        text = text.replace(from, to);
    }
    match read(&text) {
        Ok(_) => panic!("accepted: {changes:?}"),
        Err(message) => assert_eq!(message.lines().collect::<Vec<_>>(), expected, "{changes:?}"),
    }
}

#[test]
fn the_base_and_the_shipped_file_are_accepted() {
    read(BASE).unwrap_or_else(|message| panic!("{message}"));
    let shipped =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../topology.yaml")).unwrap();
    let topology = read(&shipped).unwrap_or_else(|message| panic!("{message}"));
    assert_eq!(topology.symbols.len(), 50);
    println!("{}", memory::memory_budget(&topology).render());
}
