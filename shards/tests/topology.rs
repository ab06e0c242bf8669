//! `topology.yaml`: each refused file with the message that it gives; the shipped file; recorded hosts.

use std::path::Path;

use shards::host::{CpuSet, HostCores};
use shards::topology::{
    self, Against, CONSUMER_KINDS, ConsumerOptions, Product, ProviderIndex, Role, Subscription, Topology,
    memory,
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
    let shipped = include_str!("../../topology.yaml");
    let two = CpuSet::parse("0-1").unwrap();
    let cores = HostCores { online: two.clone(), allowed: two };
    let against = Against { cores: Some(&cores), consumer_kinds: &CONSUMER_KINDS, simulated_lists: None };
    let topology =
        topology::read("topology.yaml", shipped, against).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(topology.symbols.len(), 100, "50 against USDT, and 50 against USD at two venues");
    let instruments: Vec<usize> = topology.providers.iter().map(|plan| plan.instruments.len()).collect();
    assert_eq!(instruments, [50, 50, 50]);
    assert_eq!(topology.consumers.len(), 5);
    let bytes = memory::memory_budget(&topology).total_bytes();
    assert!(bytes < 256 << 20, "the shipped file takes {} MiB", bytes >> 20);
}

#[test]
fn a_core_that_the_host_does_not_have_or_grant_is_refused() {
    refused(
        &[("name: strategies, core: 2", "name: strategies, core: 9")],
        &["t.yaml:6: shards[2].core: found 9, the host has cores 0-3"],
    );
    refused(
        &[("core: any", "core: 3")],
        &["t.yaml:43: control.core: found 3, this process may use cores 0-2 (the host has 0-3)"],
    );
    refused(
        &[("core: 1,", "core: -1,")],
        &[
            "t.yaml:5: shards[1].core: found -1, fits 0 to 1023 (a core number, as in /proc/cpuinfo; an affinity mask holds 1024)",
        ],
    );
}

#[test]
fn a_core_on_which_two_shards_spin_is_refused() {
    let twice = ("name: strategies, core: 2", "name: strategies, core: 0");
    refused(
        &[("host: shared", "host: dedicated"), twice, ("core: any", "core: 1")],
        &[
            "t.yaml:6: shards[2].core: found 0, on which shard md0 spins, fits a core of its own (or host: shared, where shards park and may share cores)",
            "t.yaml:43: control.core: found 1, on which shard merge0 spins, fits a core of its own (or host: shared, where shards park and may share cores)",
        ],
    );
    let shared = BASE.replace(twice.0, twice.1);
    read(&shared).unwrap_or_else(|message| panic!("shards may share a core of a shared host: {message}"));
}

#[test]
fn an_unknown_key_is_refused_with_what_was_meant() {
    refused(
        &[(
            "reorder: {lateness_ms: 150, flush_ms: 50, held_events_max: 200}\n  - name: kraken",
            "reorder: {latenes_ms: 150, flush_ms: 50, held_events_max: 200}\n  - name: kraken",
        )],
        &[
            "t.yaml:19: providers[0].reorder.lateness_ms: found nothing, this key must be there",
            "t.yaml:19: providers[0].reorder.latenes_ms: found an unknown key, did you mean 'lateness_ms'? (fits: lateness_ms, flush_ms, held_events_max)",
        ],
    );
    refused(
        &[("report: {dir", "zebra: 1\nreport: {dir")],
        &[
            "t.yaml:44: zebra: found an unknown key, fits: version, host, shards, simulated, providers, merges, consumers, journal, control, report, watchdog",
        ],
    );
    refused(
        &[("    venue: kraken\n", "    venue: kraken\n    api_secret: hunter2\n")],
        &[
            "t.yaml:22: providers[1].api_secret: found an unknown key, keys and secrets are never written in this file: they come from files or the environment",
        ],
    );
    refused(
        &[("core: 2, role: consumer,", "core: 2, role: consumer, pools: {frames: 200},")],
        &[
            "t.yaml:6: shards[2].pools: found a key without use here, pools belong to provider and merger shards",
        ],
    );
    refused(
        &[("version: 1", "version: 1\nversion: 1")],
        &["t.yaml:2: found the key 'version' again, fits once (it is already on line 1)"],
    );
}

#[test]
fn a_symbol_that_the_venue_does_not_list_is_refused() {
    refused(
        &[(
            "instruments: [BTC-USDT, ETH-USDT]\n    channels: [trade, book, ticker, {",
            "instruments: [BTC-USDT, ETH-USDT, ABC-USDT]\n    channels: [trade, book, ticker, {",
        )],
        &["t.yaml:15: providers[0].instruments[2]: found 'ABC-USDT', fits a symbol that binance spot lists"],
    );
    let topology = read(BASE).unwrap();
    let errors =
        topology.unlisted(ProviderIndex(1), &|symbol| symbol == "BTC-USD").expect("one is not listed");
    assert_eq!(
        errors.to_string(),
        "t.yaml:26: providers[1].instruments[1]: found 'ETH-USDT', fits a symbol that kraken spot lists"
    );
    assert_eq!(topology.unlisted(ProviderIndex(1), &|_| true), None);
}

#[test]
fn a_symbol_is_canonical_and_stands_once() {
    let from = "instruments: [BTC-USD, ETH-USDT]";
    refused(
        &[(from, "instruments: [BTC-USD, ETH-USDT, btc/eur, XRPUSDT, BTC-USD]")],
        &[
            "t.yaml:26: providers[1].instruments[2]: found 'btc/eur', did you mean 'BTC-EUR'? (fits BASE-QUOTE in upper case, such as BTC-USDT)",
            "t.yaml:26: providers[1].instruments[3]: found 'XRPUSDT', fits BASE-QUOTE in upper case, such as BTC-USDT",
            "t.yaml:26: providers[1].instruments[4]: found 'BTC-USD' again, fits once (it is already on line 26)",
        ],
    );
}

#[test]
fn a_ring_too_small_for_its_largest_event_is_refused() {
    refused(
        &[
            (
                "ring_events: 8192, critical_ring_events: 256, spill_events: 8192",
                "ring_events: 6667, critical_ring_events: 256, spill_events: 3333",
            ),
            ("book_depth: 50", "book_depth: full"),
        ],
        &[
            "t.yaml:6: shards[2].ring_events: found 6667, fits 6668 and more, twice the largest event (consumer stats gets book snapshots of 10000 levels a side: 3334 slots)",
            "t.yaml:6: shards[2].spill_events: found 3333, fits 3334 and more, the largest event (consumer stats gets book snapshots of 10000 levels a side: 3334 slots)",
        ],
    );
    let just = BASE
        .replace(
            "ring_events: 8192, critical_ring_events: 256, spill_events: 8192",
            "ring_events: 6668, critical_ring_events: 256, spill_events: 3334",
        )
        .replace("book_depth: 50", "book_depth: full");
    read(&just).unwrap_or_else(|message| panic!("{message}"));
}

#[test]
fn a_number_outside_of_its_bound_is_refused_with_the_reason() {
    refused(
        &[
            ("seed: 1", "seed: 0x10"),
            ("speed: 1.0", "speed: 0.0001"),
            ("window_s: 10", "window_s: ten"),
            ("interval_ms: 1000", "interval_ms: \"1000\""),
            ("frames: 200, ", "frames: 1_000, "),
            ("rest_weight_share: 0.5", "rest_weight_share: 0.95"),
        ],
        &[
            "t.yaml:4: shards[0].pools.frames: found '1_000', fits 16 to 65536 (slots; below 16 one read batch empties the pool, an index has 16 bits)",
            "t.yaml:7: simulated.seed: found '0x10', fits 0 to 9223372036854775807 (any number; the same seed gives the same market)",
            "t.yaml:7: simulated.speed: found '0.0001', fits 0.01 to 100, at most three digits after the point (simulated seconds in a real one)",
            "t.yaml:29: providers[1].rest_weight_share: found '0.95', fits 0.001 to 0.9, at most three digits after the point (of the venue's REST weight a minute; the rest is the reserve for orders)",
            "t.yaml:32: merges[0].window_s: found 'ten', fits 1 to 3600 (seconds; 10 is asked)",
            "t.yaml:44: report.interval_ms: found '1000', fits 100 to 3600000 (milliseconds; one line a stage and interval)",
        ],
    );
}

#[test]
fn words_have_one_spelling_and_a_guess() {
    refused(
        &[
            ("host: shared", "host: dedicatd"),
            ("kind: stats", "kind: stat"),
            ("on_panic: restart", "on_panic: ignore"),
            ("trading: false", "trading: no"),
            ("kind: bbo", "kind: book"),
            ("partial: suppress", "partial: emit"),
            (
                "product: spot\n    shard: md0\n    endpoints: live",
                "product: futures\n    shard: md0\n    endpoints: live",
            ),
        ],
        &[
            "t.yaml:2: host: found 'dedicatd', did you mean 'dedicated'? (fits: shared, dedicated)",
            "t.yaml:22: providers[1].product: found 'futures', fits: spot",
            "t.yaml:32: merges[0].kind: found 'book', fits: trade, ticker, kline, bbo, book_bbo",
            "t.yaml:32: merges[0].partial: found 'emit', fits: suppress",
            "t.yaml:35: consumers[0].kind: found 'stat', did you mean 'stats'? (fits: stats, printer, recorder, maker, taker)",
            "t.yaml:37: consumers[0].trading: found 'no', fits true or false",
            "t.yaml:38: consumers[0].on_panic: found 'ignore', fits: restart, disable",
        ],
    );
}

#[test]
fn names_must_exist_have_the_role_and_be_unique() {
    refused(
        &[
            ("shard: strategies", "shard: stratgies"),
            ("shard: merge0", "shard: md0"),
            ("{provider: kraken, ins", "{provider: kraked, ins"),
            ("{merge: best,", "{merge: worst,"),
        ],
        &[
            "t.yaml:6: shards[2]: found no consumer with 'shard: strategies', fits a shard that a consumer names: name it there, or remove it here",
            "t.yaml:32: merges[0].shard: found 'md0', which has another role, fits a shard with role: merger (merge0)",
            "t.yaml:36: consumers[0].shard: found 'stratgies', no such shard; did you mean 'strategies'? (fits: strategies)",
            "t.yaml:41: consumers[0].subscriptions[1].provider: found 'kraked', no such provider; did you mean 'kraken'? (fits: binance, kraken)",
            "t.yaml:42: consumers[0].subscriptions[2].merge: found 'worst', no such merge rule; fits: best",
        ],
    );
    refused(
        &[("name: kraken\n", "name: binance\n")],
        &[
            "t.yaml:20: providers[1].name: found 'binance' again, fits a name that no other provider has (line 9 has this one)",
            "t.yaml:32: merges[0].inputs.kraken: found 'kraken', no such provider; fits: binance",
            "t.yaml:41: consumers[0].subscriptions[1].provider: found 'kraken', no such provider; fits: binance",
        ],
    );
    refused(
        &[("name: md0", "name: MD-0")],
        &[
            "t.yaml:4: shards[0].name: found 'MD-0', fits up to 32 of a-z, 0-9 and _, a letter first (it becomes a label of metrics)",
        ],
    );
}

#[test]
fn channels_are_the_venues_and_subscriptions_the_providers() {
    refused(
        &[(
            "channels: [trade, book, ticker]\n    book: {depth_max: 1000,",
            "channels: [trade, agg_trade, {book: 100ms}, {kline: 2m}, kline, ticker, ticker]\n    book: {depth_max: 1001,",
        )],
        &[
            "t.yaml:27: providers[1].channels[6]: found the same channel again, fits once",
            "t.yaml:27: providers[1].channels[1]: found agg_trade, this product offers: trade, book, ticker, kline",
            "t.yaml:27: providers[1].channels[2]: found {book: 100ms}, fits {book: X} with X one of realtime",
            "t.yaml:27: providers[1].channels[3]: found {kline: 2m}, fits {kline: X} with X one of 1m, 5m, 15m, 30m, 1h, 4h, 1d, 1w, 15d",
            "t.yaml:27: providers[1].channels[4]: found kline, fits {kline: X} with X one of 1m, 5m, 15m, 30m, 1h, 4h, 1d, 1w, 15d",
            "t.yaml:28: providers[1].book: found a key without use here, fits when channels has book",
        ],
    );
    refused(
        &[
            ("channels: [trade, book, {kline: 1m}]", "channels: [trade, book, {kline: 5m}, candle]"),
            ("channels: [ticker], delivery: {ticker: latest}", "channels: [ticker], delivery: {}"),
        ],
        &[
            "t.yaml:40: consumers[0].subscriptions[0].channels[3]: found 'candle', fits: trade, agg_trade, book, partial_book, ticker, ticker_24h, kline",
            "t.yaml:40: consumers[0].subscriptions[0].channels[2]: found {kline: 5m}, provider binance has: trade, {book: 100ms}, ticker, {kline: 1m}",
            "t.yaml:41: consumers[0].subscriptions[1].delivery.ticker: found nothing, fits: latest, lossless",
        ],
    );
}

#[test]
fn a_channel_of_usdm_stands_on_its_own_route() {
    let usdm = "product: usdm\n    shard: md0\n    endpoints: simulated";
    refused(
        &[("product: spot\n    shard: md0\n    endpoints: simulated", usdm)],
        &[
            "t.yaml:17: providers[0].channels[3]: found {kline: 1m}, this product offers: trade, book, partial_book, ticker; kline is carried by product: usdm_market, as a provider of its own",
        ],
    );
    let other_route = BASE.replace("  - name: kraken\n", "  - {name: market, venue: binance, product: usdm_market, shard: md0, endpoints: simulated, lines: 1, instruments: [BTC-USDT], channels: [agg_trade, ticker_24h, {kline: 1m}], rest_weight_share: 0.1, reorder: {lateness_ms: 150, flush_ms: 50, held_events_max: 200}}\n  - name: kraken\n");
    read(&other_route).unwrap_or_else(|message| panic!("{message}"));
}

#[test]
fn a_quiet_time_is_written_in_one_way_and_long_enough() {
    let with = |roll: &str| {
        BASE.replace(
            "channels: [trade, book, ticker]\n",
            &format!("channels: [trade, book, ticker]\n    roll: {roll}\n"),
        )
    };
    for (roll, from, to) in [
        ("{after_h: 23, quiet_utc: \"04:10-04:40\"}", 250, 280),
        ("{after_h: 1, quiet_utc: 23:50-00:20}", 1430, 20),
    ] {
        let topology = read(&with(roll)).unwrap_or_else(|message| panic!("{message}"));
        let plan = topology.providers[1].roll.expect("it is written");
        assert_eq!((plan.quiet_from_min, plan.quiet_to_min), (from, to));
        assert_eq!(topology.providers[0].roll, None);
    }
    let fits = "fits HH:MM-HH:MM, hours and minutes of UTC, of 10 to 720 minutes (rolls begin in its middle)";
    for quiet in
        ["4:10-04:40", "04:10", "04:10-04:19", "04:10-16:11", "24:00-00:30", "04:60-05:20", "04:10-04:40Z"]
    {
        let message = read(&with(&format!("{{after_h: 20, quiet_utc: '{quiet}'}}"))).expect_err(quiet);
        assert_eq!(message, format!("t.yaml:28: providers[1].roll.quiet_utc: found '{quiet}', {fits}"));
    }
    let message = read(&with("{after_h: 24, quiet_utc: 04:10-04:40, at: 1}")).expect_err("a day");
    assert!(
        message.contains("roll.after_h: found 24, fits 1 to 23 (hours; Binance ends a connection after 24)")
    );
    assert!(message.contains("roll.at: found an unknown key"), "{message}");
}

#[test]
fn what_a_merge_shard_cannot_do_is_found_before_the_start() {
    let merge = "kind: bbo, inputs: {binance: [BTC-USDT, ETH-USDT], kraken: [BTC-USD, ETH-USDT]}";
    let klines = ("channels: [trade, book, ticker]\n", "channels: [trade, book, ticker, {kline: 5m}]\n");
    refused(
        &[(merge, &merge.replace("bbo", "kline")), klines],
        &[
            "t.yaml:32: merges[0]: found rule best, its providers have no kline of the same length; add one to their channels",
        ],
    );
    let message = {
        let text = BASE.replace(merge, &merge.replace("bbo", "trade"));
        read(&text.replace(
            "events: 300, merged: 50, order_requests: 1,",
            "events: 300, merged: 1, order_requests: 1,",
        ))
        .expect_err("two windows and one slot")
    };
    assert!(message.starts_with("t.yaml:32: merges[0]: found rule best, "), "{message}");
}

#[test]
fn fairness_has_a_mark_and_a_burst_that_fit() {
    let with = |fairness: &str| {
        BASE.replacen("spill_events: 8192}", &format!("spill_events: 8192, fairness: {fairness}}}"), 1)
    };
    let fits = "fits 0.1 to 1, at most three digits after the point";
    for (fairness, key, found) in [
        ("{high_water: 0.05, burst_events: 32}", ".high_water", format!("found 0.05, {fits}")),
        ("{high_water: 1.5, burst_events: 32}", ".high_water", format!("found 1.5, {fits}")),
        ("{high_water: 0.1234, burst_events: 32}", ".high_water", format!("found 0.1234, {fits}")),
        ("{high_water: half, burst_events: 32}", ".high_water", format!("found 'half', {fits}")),
        ("{high_water: 0.5, burst_events: 0}", ".burst_events", "found 0, fits 1 to 4096".to_owned()),
        ("{high_water: 0.5, burst_events: 4097}", ".burst_events", "found 4097, fits 1 to 4096".to_owned()),
        ("{high_water: 0.5}", ".burst_events", "found nothing, this key must be there".to_owned()),
        ("{high_water: 0.5, burst_events: 32, share: 3}", ".share", "found an unknown key".to_owned()),
    ] {
        let error = read(&with(fairness)).expect_err(fairness);
        let expected = format!("t.yaml:6: shards[2].fairness{key}: {found}");
        assert!(error.contains(&expected), "{fairness}: expected {expected}, got {error}");
    }
    let topology = read(&with("{high_water: 0.25, burst_events: 7}")).expect("it fits");
    let rings = topology.shards.iter().filter_map(shards::topology::ShardPlan::rings);
    let rings = rings.map(|rings| (rings.high_water_permille, rings.burst_events));
    assert_eq!(rings.filter(|rings| *rings == (250, 7)).count(), 1);
}

#[test]
fn a_class_of_delivery_fits_its_kind() {
    refused(
        &[(
            "delivery: {trade: lossless, book: book, kline: latest}",
            "delivery: {trade: latest, book: latest, kline: book, ticker: latest}",
        )],
        &[
            "t.yaml:40: consumers[0].subscriptions[0].delivery.trade: found latest, fits: lossless",
            "t.yaml:40: consumers[0].subscriptions[0].delivery.book: found latest, fits: book, lossless",
            "t.yaml:40: consumers[0].subscriptions[0].delivery.kline: found book, fits: latest, lossless",
            "t.yaml:40: consumers[0].subscriptions[0].delivery.ticker: found a class for a channel that is not subscribed to, remove it, or add the channel",
        ],
    );
}

#[test]
fn books_are_kept_as_the_venue_can_give_them() {
    refused(
        &[
            (
                "book: {depth_max: 1000, verify_s: 180}",
                "book: {depth_max: 1001, snapshot_limit: 100, verify_s: 180}",
            ),
            (
                "book: {depth_max: 10000, snapshot_limit: 1000, verify_s: 180}",
                "book: {depth_max: 10000, verify_s: 180}",
            ),
        ],
        &[
            "t.yaml:17: providers[0].book.snapshot_limit: found nothing, this key must be there: a book of this venue starts from a REST snapshot",
            "t.yaml:28: providers[1].book.depth_max: found 1001, the venue has books of 10, 25, 100, 500, 1000",
            "t.yaml:28: providers[1].book.snapshot_limit: found a key without use here, the venue's stream brings the snapshot: remove it",
        ],
    );
    refused(
        &[
            ("snapshot_limit: 1000, verify_s: 180", "snapshot_limit: 5000, verify_s: 10"),
            ("rest_weight_share: 0.8", "rest_weight_share: 0.1"),
            ("depth_max: 10000", "depth_max: 4999"),
            ("book_depth: 50", "book_depth: 5000"),
        ],
        &[
            "t.yaml:17: providers[0].book.verify_s: found 10 s, so 2 snapshots of 5000 levels take weight 3000 a minute, rest_weight_share grants 600 of 6000: verify less often, or smaller snapshots",
            "t.yaml:17: providers[0].book.snapshot_limit: found 5000, fits up to depth_max (4999): what is beyond would be cut at once",
            "t.yaml:40: consumers[0].subscriptions[0].book_depth: found 5000, fits up to 4999, which the provider keeps (book.depth_max), or full",
        ],
    );
    refused(
        &[
            ("flush_ms: 50, held_events_max: 200}\nmerges", "flush_ms: 151, held_events_max: 301}\nmerges"),
            (", book_depth: 50", ""),
        ],
        &[
            "t.yaml:30: providers[1].reorder.flush_ms: found 151, fits up to lateness_ms (150): a hole would be noticed later than it may last",
            "t.yaml:30: providers[1].reorder.held_events_max: found 301, fits up to the pool it is held in (pools.events of its shard: 300)",
            "t.yaml:40: consumers[0].subscriptions[0].book_depth: found nothing, this key must be there, since channels has book: full, or levels a side",
        ],
    );
}

#[test]
fn shares_of_one_venue_leave_the_reserve_for_orders() {
    let kraken = "venue: kraken\n    product: spot\n    shard: md0\n    endpoints: live";
    let second = "venue: binance\n    product: spot\n    shard: md0\n    endpoints: simulated";
    refused(
        &[
            (kraken, second),
            ("book: {depth_max: 1000, verify", "book: {depth_max: 1000, snapshot_limit: 1000, verify"),
        ],
        &[
            "t.yaml:29: providers[1].rest_weight_share: found 0.5, 1.3 together with the providers of the same venue above, fits up to 0.9 together: the limit counts by address, and the rest is the reserve for orders",
        ],
    );
}

#[test]
fn endpoints_are_safe_and_exist() {
    refused(
        &[("endpoints: live", "endpoints: testnet")],
        &["t.yaml:24: providers[1].endpoints: found testnet, kraken spot has none; fits: simulated, live"],
    );
    const WS: &str = "fits wss://host[:port][/path], or ws:// to this machine (127.0.0.1, [::1], localhost)";
    const REST: &str =
        "fits https://host[:port][/path], or http:// to this machine (127.0.0.1, [::1], localhost)";
    let at = "t.yaml:24: providers[1].endpoints";
    refused(
        &[(
            "endpoints: live",
            "endpoints: {websocket: 'ws://example.org/v2', rest: 'https://me:pw@example.org'}",
        )],
        &[
            &format!("{at}.websocket: found 'ws://example.org/v2', {WS}"),
            &format!("{at}.rest: found a user or password in a URL, {REST}"),
        ],
    );
    for url in ["ws://127.0.0.1:9000/v2", "ws://[::1]:9000", "ws://localhost", "wss://example.org:443/v2"] {
        let text = BASE.replace(
            "endpoints: live",
            &format!("endpoints: {{websocket: '{url}', rest: 'https://example.org', ca_file: ca.pem}}"),
        );
        read(&text).unwrap_or_else(|message| panic!("{url}: {message}"));
    }
    refused(
        &[("simulated: {seed: 1, messages_per_instrument_per_s: 20, speed: 1.0, book_levels: 500}\n", "")],
        &[
            "t.yaml:12: providers[0].endpoints: found simulated, the file must then have the key 'simulated' with a seed and a rate",
        ],
    );
    refused(
        &[("listen: 127.0.0.1:0", "listen: 0.0.0.0:9464")],
        &[
            "t.yaml:43: control.listen: found 0.0.0.0:9464, which other hosts can reach, fits a loopback address (127.0.0.1, [::1]), or add token_file: a request must then carry that token",
        ],
    );
}

#[test]
fn merges_join_what_belongs_together() {
    refused(
        &[("kraken: [BTC-USD, ETH-USDT]}", "kraken: [BTC-USDT]}"), ("kind: bbo", "kind: kline")],
        &[
            "t.yaml:32: merges[0].inputs.kraken[0]: found 'BTC-USDT', provider kraken does not list it: fits one of its 2 instruments",
            "t.yaml:32: merges[0].inputs.kraken: found a provider without the channel kline, fits a provider that has it: add it to its channels",
            "t.yaml:32: merges[0].inputs.kraken: found 1 instruments, fits 2, as the first provider has: the n-th of each are joined",
        ],
    );
    refused(
        &[(", kraken: [BTC-USD, ETH-USDT]}", "}")],
        &["t.yaml:32: merges[0].inputs: found 1 provider, fits two or more: one has nothing to join"],
    );
}

#[test]
fn options_are_those_of_the_kind() {
    const AT: &str = "t.yaml:36: consumers[0].options";
    let stats = "    kind: stats\n    shard: strategies";
    let with = |kind: &str, options: &str| {
        format!("    kind: {kind}\n    options: {options}\n    shard: strategies")
    };
    refused(
        &[(stats, &with("stats", "{a: 1}"))],
        &[&format!("{AT}: found a key without use here, stats has none")],
    );
    refused(
        &[(stats, &with("printer", "{output: [], lines: 1}"))],
        &[
            &format!("{AT}.output: found a list of 0, fits stderr, or the path of a file"),
            &format!("{AT}.lines_per_s: found nothing, this key must be there"),
            &format!("{AT}.lines: found an unknown key, fits: output, lines_per_s"),
        ],
    );
    refused(
        &[(stats, &with("recorder", "{dir: recordings, rotate_mib: 0}"))],
        &[&format!(
            "{AT}.rotate_mib: found 0, fits 1 to 65536 (MiB; 1 is a few seconds, 65536 a day of a busy topology)"
        )],
    );
    refused(
        &[("kind: stats", "kind: recorder")],
        &["t.yaml:34: consumers[0].options: found nothing, this key must be there"],
    );
    let text = BASE.replace(stats, &with("recorder", "{dir: d, rotate_mib: 2}"));
    let options = read(&text).unwrap().consumers[0].options.clone();
    assert_eq!(options, ConsumerOptions::Recorder { dir: "d".into(), rotate_mib: 2 });
    let text = BASE.replace(stats, &with("mine", "{size: 7}"));
    let against = Against { cores: None, consumer_kinds: &["mine"], simulated_lists: None };
    let own = topology::read("t.yaml", &text, against).unwrap().consumers[0].options.clone();
    assert_eq!(own, ConsumerOptions::Own(vec![("size".to_owned(), "7".to_owned())]));
}

#[test]
fn a_text_that_is_no_topology_says_why() {
    for (text, expected) in [
        ("", "t.yaml: found an empty file, fits a topology, as in the shipped topology.yaml"),
        ("just words", "t.yaml:1: found 'just words', fits a mapping of keys"),
        ("a: [1", "t.yaml:2: found no valid YAML, while parsing a flow sequence, expected ',' or ']'"),
        ("a: &b 1", "t.yaml:1: found an anchor (&name), fits the value itself, written out each time"),
    ] {
        assert_eq!(read(text).unwrap_err(), expected, "{text:?}");
    }
    let missing = topology::load(Path::new("no/such/file.yaml")).unwrap_err().to_string();
    assert!(missing.starts_with("no/such/file.yaml: found no readable file ("), "{missing}");
}

#[test]
fn names_become_indices() {
    let topology = read(BASE).unwrap();
    assert_eq!(
        topology.symbols,
        ["BTC-USDT", "ETH-USDT", "BTC-USD"],
        "one number for a symbol of two providers"
    );
    assert_eq!(topology.stream_count(), 2 * 4 + 2 * 3);
    assert!(matches!(topology.shards[0].role, Role::Provider { order_ring_requests: 64, .. }));
    let Subscription::Market { instruments, book_depth, channels, .. } =
        &topology.consumers[0].subscriptions[0]
    else {
        panic!("{:?}", topology.consumers[0].subscriptions[0]);
    };
    assert_eq!(
        instruments.iter().map(|id| topology.symbol(*id)).collect::<Vec<_>>(),
        ["BTC-USDT", "ETH-USDT"]
    );
    assert_eq!(book_depth.map(|depth| (depth.levels, depth.full)), Some((50, false)));
    let shown: Vec<String> =
        channels.iter().map(|(channel, class)| format!("{channel} {}", class.name())).collect();
    assert_eq!(shown, ["trade lossless", "{book: 100ms} book", "{kline: 1m} latest"]);
}

#[test]
fn the_memory_budget_names_each_item_and_adds_up() {
    let budget = memory::memory_budget(&read(BASE).unwrap());
    let bytes = |what: &str| {
        let found = budget.items.iter().find(|item| item.what.starts_with(what));
        found.unwrap_or_else(|| panic!("no item {what:?} in\n{}", budget.render())).bytes
    };
    assert_eq!(bytes("provider binance to shard strategies: ring"), 8192 * 192);
    assert_eq!(bytes("provider binance to shard merge0: ring"), 1024 * 192);
    assert_eq!(bytes("shard merge0 to shard strategies: spill"), 8192 * 192);
    assert!(bytes("provider binance: 2 books") > 2 * 2 * 1_000 * 16);
    let books = budget.items.iter().find(|item| item.what.starts_with("provider binance: 2 books"));
    assert!(books.is_some_and(|item| item.bytes_max > 2 * 2 * 10_000 * 16), "{}", budget.render());
    assert_eq!(budget.total_bytes(), budget.items.iter().map(|item| item.bytes).sum::<u64>());
    assert_eq!(budget.render().lines().count(), budget.items.len() + 2);
}

/// No key is known only to the code: each one that the reader asks for stands in the shipped file, if only in a comment.
#[test]
fn the_shipped_file_shows_every_key() {
    let shipped = include_str!("../../topology.yaml");
    let reader =
        concat!(include_str!("../src/topology/written.rs"), include_str!("../src/topology/options.rs"));
    let mut keys = 0;
    for opening in ["must(\"", "may(\"", "&mut keys, \"", "(keys, \""] {
        for rest in reader.split(opening).skip(1) {
            let key = rest.split('"').next().unwrap();
            keys += 1;
            assert!(shipped.contains(&format!("{key}:")), "the key {key} is not in topology.yaml");
        }
    }
    assert!(keys > 50, "the reader's calls are found by their text: {keys}");
}

/// Cut, doubled, swapped and overwritten bytes of the base: an answer each time, never a panic, and never a topology with a hole.
#[test]
fn a_mutated_file_never_panics() {
    const ROUNDS: u32 = 4000;
    const SEED: u64 = 20261121;
    let mut random = fastrand::Rng::with_seed(SEED);
    const PIECES: [&str; 24] = [
        "\n",
        " ",
        "  ",
        ":",
        ": ",
        "- ",
        "[",
        "]",
        "{",
        "}",
        ",",
        "'",
        "\"",
        "&a ",
        "*a",
        "!!str ",
        "|",
        ">",
        "#",
        "---\n",
        "\t",
        "\u{0}",
        "é",
        "99999999999999999999",
    ];
    let mut accepted = 0;
    for round in 0..ROUNDS {
        let mut text: Vec<char> = BASE.chars().collect();
        for _ in 0..=random.usize(0..4) {
            let at = random.usize(0..text.len());
            let end = (at + random.usize(0..40)).min(text.len());
            match random.u8(0..4) {
                0 => drop(text.drain(at..end)),
                1 => {
                    let copy: Vec<char> = text[at..end].to_vec();
                    let to = random.usize(0..=text.len());
                    text.splice(to..to, copy);
                }
                2 => {
                    let piece = PIECES[random.usize(0..PIECES.len())].chars();
                    text.splice(at..at, piece);
                }
                _ => text.truncate(at.max(1)),
            }
            if text.is_empty() {
                text.push(' ');
            }
        }
        let text: String = text.into_iter().collect();
        let Ok(outcome) = std::panic::catch_unwind(|| read(&text)) else {
            panic!("round {round} of seed {SEED} panicked on:\n{text}");
        };
        match outcome {
            Ok(_) => accepted += 1,
            Err(message) => assert!(!message.is_empty()),
        }
    }
    assert!(accepted < ROUNDS, "mutations must be noticed");
}

/// Orders with keys in a file for the live provider of the base, and the journal that they need.
const LIVE: (&str, &str) = (
    "    rest_weight_share: 0.5\n",
    "    rest_weight_share: 0.5\n    orders: {enabled: true, keys: {file: /k/kraken.key}, on_session_loss: keep, on_stop: keep}\n",
);
const JOURNAL: (&str, &str) =
    ("control: {", "journal: {dir: journal, durability: sync, rotate_mib: 16, keep: 4}\ncontrol: {");
const NEVER_HERE: &str = "fits {file: PATH} or {env: NAME}; keys and secrets are never written in this file";

#[test]
fn orders_need_keys_of_their_own_and_a_journal() {
    let mut text = BASE.to_owned();
    for (from, to) in [LIVE, JOURNAL] {
        text = text.replace(from, to);
    }
    let topology = read(&text).unwrap_or_else(|message| panic!("{message}"));
    let orders = topology.providers[1].orders.as_ref().expect("it trades");
    assert_eq!(orders.keys, Some(topology::KeySource::File("/k/kraken.key".into())));
    assert!(topology.providers[0].orders.is_none());
    assert_eq!(topology.journal.map(|journal| journal.rotate_bytes), Some(16 << 20));
    refused(
        &[LIVE],
        &["t.yaml:20: journal: found nothing, this key must be there, since provider 'kraken' sends orders"],
    );
    refused(
        &[LIVE, JOURNAL, ("endpoints: live", "endpoints: simulated")],
        &[
            "t.yaml:30: providers[1].orders.keys: found a key without use here, a simulated venue issues throw-away keys when it starts: remove it",
        ],
    );
    let without = LIVE.1.replace(" keys: {file: /k/kraken.key},", "");
    refused(
        &[(LIVE.0, &without), JOURNAL],
        &[&format!(
            "t.yaml:30: providers[1].orders.keys: found nothing, this key must be there where orders are enabled: {NEVER_HERE}"
        )],
    );
}

#[test]
fn a_literal_key_is_refused_and_never_shown() {
    for (keys, message) in [
        ("hunter2hunter2", format!("orders.keys: found a value in the place of keys, {NEVER_HERE}")),
        ("{secret: hunter2}", "orders.keys.secret: found an unknown key, keys and secrets are never written in this file: they come from files or the environment".to_owned()),
        ("{file: hunter2}", "orders.keys.file: found something that is no path, fits the path of a file, beginning with /, ./ or ../; keys and secrets are never written in this file".to_owned()),
        ("{env: hunter2}", "orders.keys.env: found something that is no name, fits the name of a variable, A-Z, 0-9 and _, a letter first; keys and secrets are never written in this file".to_owned()),
        ("{file: ./a, env: A}", format!("orders.keys: found not one of file and env, {NEVER_HERE}")),
    ] {
        let orders = LIVE.1.replace("{file: /k/kraken.key}", keys);
        let mut text = BASE.to_owned();
        for (from, to) in [(LIVE.0, orders.as_str()), JOURNAL] {
            text = text.replace(from, to);
        }
        let found = read(&text).expect_err("a key does not belong there");
        assert!(found.contains(&message), "{found}");
        assert!(!found.contains("hunter2"), "{found}");
    }
}

#[test]
fn limits_are_checked_one_by_one() {
    let trading = "    trading: false\n";
    let with = |limits: &str| format!("    trading: true\n    limits: {{{limits}}}\n");
    let check = |limits: &str, expected: &str| refused(&[(trading, &with(limits))], &[expected]);
    check(
        "qty_max: 0",
        "t.yaml:38: consumers[0].limits.qty_max: found 0, fits a decimal number above 0, such as 0.5",
    );
    check(
        "notional_max: NaN",
        "t.yaml:38: consumers[0].limits.notional_max: found 'NaN', fits a decimal number above 0, such as 0.5",
    );
    check(
        "orders_per_s_max: 1001",
        "t.yaml:38: consumers[0].limits.orders_per_s_max: found 1001, fits 1 to 1000 (orders within any second; the window is counted exactly up to 1000)",
    );
    check(
        "book_proved_for: market",
        "t.yaml:38: consumers[0].limits.book_proved_for: found 'market', fits: none, market_orders, all_orders",
    );
    let text = BASE.replace(trading, &with("qty_max: 0.5, collar_bp: 50"));
    let topology = read(&text).unwrap_or_else(|message| panic!("{message}"));
    assert_eq!(topology.consumers[0].limits.collar_bp, Some(50));
}
