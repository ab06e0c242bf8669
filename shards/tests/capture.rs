//! What a provider captures is what `meltica replay` reads: the binary runs against simulated venues, then replays its captures.

#![cfg(feature = "simulate")]

mod scratch;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use engine::event::Body;
use serde_json::Value;
use shards::replay::recording::{self, Item};

use scratch::Scratch;

fn meltica(dir: &Path, arguments: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_meltica"))
        .args(arguments)
        .current_dir(dir)
        .stdin(Stdio::null())
        .output()
        .expect("the binary runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {said}");
    output
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).expect("JSON on standard output")
}

/// Rows of an index: file, frames, answers, lost.
fn rows(dir: &Path) -> Vec<(String, u64, u64, u64)> {
    let index = fs::read_to_string(dir.join("index.tsv")).expect("the index");
    let number = |text: &str| text.parse::<u64>().expect("a number");
    index
        .lines()
        .skip(1)
        .map(|row| {
            let row: Vec<&str> = row.split('\t').collect();
            (row[0].to_owned(), number(row[3]), number(row[4]), number(row[5]))
        })
        .collect()
}

#[test]
fn what_three_venues_sent_is_replayed_frame_for_frame() {
    let scratch = Scratch::new("capture");
    let dir = &scratch.0;
    let arguments =
        ["topology", "plan", "--shared", "--venues", "binance,kraken,coinbase", "--instruments", "3"];
    let plan = String::from_utf8(meltica(dir, &arguments).stdout).expect("UTF-8");
    let with_capture = plan.replace(
        "\n    rest_weight_share:",
        "\n    capture: {dir: captures, rotate_mib: 1, keep: 1000}\n    rest_weight_share:",
    );
    assert_eq!(with_capture.matches("capture:").count(), 3, "{plan}");
    fs::write(dir.join("topology.yaml"), with_capture).expect("the scratch directory can be written");
    let run = meltica(dir, &["run", "--duration", "6s", "--json"]);
    let report = json(&run);
    for (provider, venue) in [("binance", "binance"), ("kraken", "kraken"), ("coinbase", "coinbase")] {
        let facts = &report["providers"][provider]["capture"];
        assert_eq!(facts["complete"], true, "{provider}: {facts}");
        let frames_total = facts["frames_total"].as_u64().expect("a count");
        assert!(frames_total > 50, "{provider}: {facts}");
        let captured = dir.join(facts["dir"].as_str().expect("a path"));
        let rows = rows(&captured);
        assert_eq!(rows.iter().map(|row| row.1).sum::<u64>(), frames_total, "{provider}: {rows:?}");
        assert!(rows.iter().all(|row| row.3 == 0), "{provider}: {rows:?}");
        let mut files: Vec<String> =
            rows.iter().map(|row| captured.join(&row.0).display().to_string()).collect();
        files.sort();
        let mut arguments = vec!["replay", "--venue", venue, "--json"];
        arguments.extend(files.iter().map(String::as_str));
        let replayed = json(&meltica(dir, &arguments));
        let answers: u64 = rows.iter().map(|row| row.2).sum();
        assert_eq!(replayed["ws"].as_u64(), Some(frames_total), "{provider}: {replayed}");
        assert_eq!(replayed["rest"].as_u64(), Some(answers), "{provider}: {replayed}");
        assert_eq!(replayed["decode_errors"], 0, "{provider}: {replayed}");
        assert_eq!(replayed["events"]["Gap"], 0, "{provider}: {replayed}");
    }
}

/// A topology over two venues in which everything is captured, and recorded as it was delivered.
fn write_topology(dir: &Path, lines: u32) {
    let arguments = ["topology", "plan", "--shared", "--venues", "binance,kraken", "--instruments", "2"];
    let plan = String::from_utf8(meltica(dir, &arguments).stdout).expect("UTF-8");
    let captured = plan
        .replace(
            "\n    rest_weight_share:",
            "\n    capture: {dir: captures, rotate_mib: 64, keep: 1000}\n    rest_weight_share:",
        )
        .replace("lines: 1", &format!("lines: {lines}"))
        .replace("ring_events: 4096", "ring_events: 8192");
    let from = captured.find("\nconsumers:\n").expect("a proposal has consumers");
    let to = captured.find("\ncontrol:").expect("and an endpoint");
    let shard =
        plan.lines().find_map(|line| line.strip_prefix("    shard: strategies")).expect("they have a shard");
    let all = |provider: &str| {
        format!(
            "      - provider: {provider}\n        instruments: all\n        channels: [trade, book, ticker, {{kline: 1m}}]\n        \
             delivery: {{trade: lossless, book: book, ticker: lossless, kline: lossless}}\n        book_depth: full\n"
        )
    };
    let consumer = format!(
        "\nconsumers:\n  - name: recorder\n    kind: recorder\n    shard: strategies{shard}\n    trading: false\n    \
         on_panic: disable\n    options: {{dir: recordings, rotate_mib: 64}}\n    subscriptions:\n{}{}",
        all("binance"),
        all("kraken")
    );
    let text = format!("{}{consumer}{}", &captured[..from], &captured[to..]);
    fs::write(dir.join("topology.yaml"), text).expect("the scratch directory can be written");
}

/// The captured files of a provider, in order.
fn captured(dir: &Path, report: &Value, provider: &str) -> Vec<PathBuf> {
    let facts = &report["providers"][provider]["capture"];
    assert_eq!(facts["complete"], true, "{provider}: {facts}");
    let captured = dir.join(facts["dir"].as_str().expect("a path"));
    let mut files: Vec<PathBuf> = rows(&captured).iter().map(|row| captured.join(&row.0)).collect();
    files.sort();
    files
}

#[test]
fn the_replay_of_a_capture_tells_what_was_delivered_live() {
    let scratch = Scratch::new("capture-recorded");
    let dir = &scratch.0;
    write_topology(dir, 1);
    let report = json(&meltica(dir, &["run", "--duration", "6s", "--json"]));
    let recorded = recording_of(dir);
    let recorded = json(&meltica(dir, &["replay", "--recording", &recorded.display().to_string(), "--json"]));
    assert_eq!(recorded["holes"], serde_json::json!([]));
    for provider in ["binance", "kraken"] {
        let files: Vec<String> =
            captured(dir, &report, provider).iter().map(|file| file.display().to_string()).collect();
        let mut arguments = vec!["replay", "--venue", provider, "--json"];
        arguments.extend(files.iter().map(String::as_str));
        let replayed = json(&meltica(dir, &arguments));
        let live = &recorded["providers"][provider];
        assert_eq!(replayed["events"], live["events"], "{provider}");
        for (symbol, live) in live["instruments"].as_object().expect("by symbol") {
            let replayed = &replayed["instruments"][symbol];
            // Exact sums over every trade; the books as they stood at the end, every level summed.
            for what in ["trades", "ticker"] {
                assert_eq!(replayed[what], live[what], "{provider} {symbol} {what}");
            }
            assert!(
                live["trades"]["count"].as_u64().is_some_and(|count| count > 0),
                "{provider} {symbol}: {live}"
            );
            for what in
                ["bid", "bid_qty", "ask", "ask_qty", "sum_bid_qty", "sum_ask_qty", "updates_applied", "state"]
            {
                assert_eq!(replayed["book"][what], live["book"][what], "{provider} {symbol} book {what}");
            }
        }
    }
}

/// The only recording of a run.
fn recording_of(dir: &Path) -> PathBuf {
    let runs: Vec<_> = fs::read_dir(dir.join("recordings")).expect("it was recorded").flatten().collect();
    let [run] = &runs[..] else { panic!("one run, one recording: {runs:?}") };
    run.path()
}

/// Venue symbol to the numbers of its trades.
type Trades = BTreeMap<String, BTreeSet<u64>>;

/// What the frames of a captured file tell of trades.
fn trades_in(file: &Path, trades: &mut Trades) {
    for line in fs::read_to_string(file).expect("it was listed").lines() {
        let Some((_, payload)) = line.split_once("\tws\t") else { continue };
        let Ok(frame) = serde_json::from_str::<Value>(payload) else { continue };
        let mut take = |symbol: &Value, id: &Value| {
            let (Some(symbol), Some(id)) = (symbol.as_str(), id.as_u64()) else {
                panic!("a trade: {payload}")
            };
            trades.entry(symbol.to_owned()).or_default().insert(id);
        };
        if frame["data"]["e"] == "trade" {
            take(&frame["data"]["s"], &frame["data"]["t"]);
        } else if frame["channel"] == "trade" {
            let all = frame["data"].as_array().expect("a list");
            for trade in all {
                take(&trade["symbol"], &trade["trade_id"]);
            }
        }
    }
}

#[test]
fn two_lines_and_a_roll_deliver_each_captured_trade_once() {
    let scratch = Scratch::new("capture-roll");
    let dir = &scratch.0;
    write_topology(dir, 2);
    let run = Command::new(env!("CARGO_BIN_EXE_meltica"))
        .args(["run", "--duration", "14s", "--json"])
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let begun = Instant::now();
    while !dir.join("report/control-address").exists() {
        assert!(begun.elapsed() < Duration::from_mins(1), "the run did not begin");
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_secs(3));
    meltica(dir, &["ctl", "roll"]);
    let output = run.wait_with_output().expect("it ends by itself");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    let report = json(&output);

    let mut recorded: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let mut names = None;
    recording::read(&recording::files_of(&[recording_of(dir)]).expect("files"), |item| match item {
        Item::Facts(facts) => names = Some(facts.catalog.clone()),
        Item::Event(event) => {
            let Body::Trade(trade) = &event.body else { return };
            let names = names.as_ref().expect("facts come first");
            let stream = names.stream(event.header.provider, event.header.stream).expect("a known stream");
            recorded.entry(stream.venue_symbol.clone()).or_default().push(trade.id);
        }
        Item::Hole(hole) => panic!("{hole}"),
    })
    .expect("the recording is whole");

    let mut captured_trades = Trades::new();
    for (provider, venue) in [("binance", "binance"), ("kraken", "kraken")] {
        let files = captured(dir, &report, provider);
        let lines: BTreeSet<&str> =
            files.iter().filter_map(|file| file.file_name()?.to_str()?.split('-').next()).collect();
        assert!(lines.len() >= 3, "{provider}: two lines, and the one that a roll opened: {lines:?}\n{said}");
        for file in &files {
            trades_in(file, &mut captured_trades);
            // Each session stands for itself, also the one that a roll began in the middle.
            let replayed =
                json(&meltica(dir, &["replay", "--venue", venue, "--json", &file.display().to_string()]));
            assert_eq!(replayed["decode_errors"], 0, "{}: {replayed}", file.display());
            assert_eq!(replayed["events"]["Gap"], 0, "{}: {replayed}", file.display());
        }
    }
    assert_eq!(recorded.len(), 4, "two instruments at two venues");
    for (symbol, ids) in &recorded {
        assert!(ids.is_sorted_by(|a, b| a < b), "{symbol}: in order and once: {ids:?}");
        let (first, last) = (ids[0], ids[ids.len() - 1]);
        // What a line was told before the stream began to be delivered is history (Kraken's snapshot of trades).
        let expected: Vec<u64> = captured_trades[symbol].range(first..=last).copied().collect();
        assert_eq!(*ids, expected, "{symbol}");
        assert!(ids.len() > 5, "{symbol}: {ids:?}");
    }
}
