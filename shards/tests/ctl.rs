//! `meltica ctl` beside a running gateway, as an operator types it: each command does what it says, shows it, and ends with its code.

#![cfg(feature = "simulate")]

mod scratch;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use scratch::Scratch;
use serde_json::Value;

/// What takes longer has failed. Long, because test machines are busy.
const PATIENCE: Duration = Duration::from_mins(1);

fn meltica(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meltica"));
    command.current_dir(dir).args(arguments).stdin(Stdio::null());
    command
}

fn ctl(dir: &Path, arguments: &[&str]) -> Output {
    meltica(dir, &[&["ctl"], arguments].concat()).output().expect("the binary runs")
}

/// What a gateway says of itself, once it holds what is wanted; [`PATIENCE`] at most.
fn wait_for(dir: &Path, arguments: &[&str], what: &str, holds: impl Fn(&Value) -> bool) {
    let begun = Instant::now();
    loop {
        let output = ctl(dir, &[arguments, &["--json"]].concat());
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        if holds(&answer) {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{what}: {answer} {}", String::from_utf8_lossy(&output.stderr));
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The shipped topology, which ends with the test.
struct Gateway(Child);

impl Gateway {
    fn start(dir: &Path) -> Self {
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../topology.yaml");
        let log = fs::File::create(dir.join("log")).expect("a directory of our own");
        let run = meltica(dir, &["run", "--duration", "1h", "--topology"])
            .arg(shipped)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        Self(run.expect("the binary runs"))
    }

    fn stop(mut self) -> Option<i32> {
        let status = Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status();
        assert!(status.expect("there is a kill").success());
        self.0.wait().expect("it stops").code()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One command: its words, its exit code, and what its one output must contain; the other output is empty.
type Said<'a> = (&'a str, i32, &'a [&'a str]);

fn check(dir: &Path, &(words, code, parts): &Said<'_>) {
    let arguments: Vec<&str> = words.split(' ').collect();
    let output = ctl(dir, &arguments);
    let [out, err] =
        [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    assert_eq!(output.status.code(), Some(code), "{words}: {out}{err}");
    let (said, silent) = if code == 0 { (&out, &err) } else { (&err, &out) };
    assert_eq!(*silent, "", "{words}");
    for part in parts {
        assert!(said.contains(part), "{words}: no {part:?} in {said}");
    }
}

/// In their order: later ones build on what earlier ones changed.
const COMMANDS: &[Said<'_>] = &[
    // Looking.
    (
        "status",
        0,
        &[
            "ready: true",
            "killed_all: false",
            "binance",
            "coinbase",
            "merge0",
            "lines_live",
            "session",
            "maker",
        ],
    ),
    ("subscriptions", 0, &["consumer", "stats", "BTC-USDT", "lossless", "best", "kline 1m"]),
    ("streams", 0, &["latency_ns_p99", "strategies", "ETH-USD"]),
    ("dlq", 0, &["reason", "excerpt"]),
    ("merge list", 0, &["best", "book_bbo", "merge0", "stats"]),
    // Streams.
    (
        "unsubscribe --consumer printer --provider kraken --instruments BTC-USD --channels trade",
        0,
        &["changed: true", "streams_changed: 1"],
    ),
    (
        "subscribe --consumer printer --provider kraken --instruments SOL-USD,BTC-USD --channels trade,book \
         --delivery book=book --book-depth 5",
        0,
        &["streams_changed: 4"],
    ),
    (
        "subscribe --consumer nobody --provider kraken --instruments all --channels trade",
        1,
        &["nobody", "HTTP 404", "fits: stats, printer"],
    ),
    (
        "subscribe --consumer printer --provider kraken --instruments all --channels trade --book-depth deep",
        2,
        &["--book-depth"],
    ),
    (
        "subscribe --consumer printer --provider kraken --instruments all --channels trade --delivery lossless",
        2,
        &["CHANNEL=CLASS"],
    ),
    // Merge rules.
    (
        "merge add late --kind ticker --input kraken=ETH-USD --input coinbase=ETH-USD --window-s 1 --count 50",
        0,
        &["changed: true"],
    ),
    ("merge add worse --kind ticker --input kraken", 2, &["PROVIDER=SYMBOL"]),
    ("merge join late --consumer printer --delivery latest", 0, &["streams_changed: 1"]),
    ("merge list", 0, &["late", "ticker", "printer"]),
    ("merge leave late --consumer printer", 0, &["streams_changed: 1"]),
    ("merge end late", 0, &["changed: true"]),
    ("merge end late", 0, &["changed: false"]),
    // Orders.
    ("trading maker off", 0, &["consumer: maker", "trading: false"]),
    ("trading nobody off", 1, &["no consumer \"nobody\"", "fits: stats"]),
    ("kill maker", 0, &["consumer: maker", "killed: true"]),
    ("kill maker --undo", 0, &["consumer: maker", "killed: false"]),
    ("kill all", 0, &["killed: true"]),
    ("status", 0, &["killed_all: true"]),
    ("kill all --undo", 0, &["killed: false"]),
    // Lines.
    ("roll kraken", 0, &["provider: kraken", "lines: 1"]),
    ("roll nowhere", 1, &["no provider \"nowhere\"", "fits: binance"]),
    // Not to be asked.
    ("status --report-dir nowhere", 2, &["no run found", "--address"]),
    ("status --token-file nowhere", 2, &["token file nowhere"]),
    ("status --address 127.0.0.1:1", 1, &["is the gateway running?"]),
];

#[test]
fn each_command_does_what_it_says() {
    let scratch = Scratch::new("commands");
    let dir = &scratch.0;
    let gateway = Gateway::start(dir);
    wait_for(dir, &["status"], "all books proved", |status| status["ready"] == true);
    for said in COMMANDS {
        check(dir, said);
    }
    // What was changed is in force.
    wait_for(dir, &["status"], "the switch of the maker", |status| {
        let consumers = status["consumers"].as_array().map(Vec::as_slice).unwrap_or_default();
        consumers
            .iter()
            .any(|one| one["name"] == "maker" && one["trading"] == false && one["killed"] == false)
    });
    wait_for(dir, &["subscriptions"], "the printer's new streams", |answer| {
        let consumers = answer["consumers"].as_array().map(Vec::as_slice).unwrap_or_default();
        let printer = consumers.iter().find(|one| one["consumer"] == "printer");
        let streams =
            printer.and_then(|one| one["streams"].as_array()).map(Vec::as_slice).unwrap_or_default();
        let is =
            |one: &Value| one["symbol"] == "SOL-USD" && one["channel"] == "book" && one["book_depth"] == 5;
        streams.iter().any(is) && !streams.iter().any(|one| one["merge"] == "late")
    });
    wait_for(dir, &["dlq"], "an answer as it came", |answer| answer["shards"].is_array());
    assert_eq!(gateway.stop(), Some(0), "{}", fs::read_to_string(dir.join("log")).unwrap_or_default());
}
