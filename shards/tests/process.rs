//! The binary as a user meets it: what it prints, what it writes, how it ends.

#![cfg(feature = "simulate")]

use std::io::Read as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

/// A process that lives longer has failed. Long, because test machines are busy.
const WAIT_MAX: Duration = Duration::from_secs(90);

fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../topology.yaml")
}

fn meltica(arguments: &[&str]) -> Command {
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    // Recordings and journals go where it runs, and a journal is of one process at a time.
    let number = RUNS.fetch_add(1, Ordering::Relaxed);
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("process-{number}"));
    let _ = std::fs::remove_dir_all(&home);
    std::fs::create_dir_all(&home).expect("cargo's directory for tests");
    let mut command = Command::new(env!("CARGO_BIN_EXE_meltica"));
    command
        .current_dir(home)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Waits for a process, within reason.
fn ended(mut child: Child) -> Output {
    // Read on threads of their own: a full pipe would stop the child.
    let read = |mut from: Box<dyn std::io::Read + Send>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            from.read_to_end(&mut bytes).map(|_| bytes)
        })
    };
    let out = read(Box::new(child.stdout.take().expect("piped")));
    let err = read(Box::new(child.stderr.take().expect("piped")));
    let began = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("it can be waited for") {
            break status;
        }
        if began.elapsed() > WAIT_MAX {
            let _ = child.kill();
            panic!("the process did not end");
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let bytes = |thread: std::thread::JoinHandle<std::io::Result<Vec<u8>>>| {
        thread.join().expect("it only reads").expect("a pipe")
    };
    Output { status, stdout: bytes(out), stderr: bytes(err) }
}

fn run(arguments: &[&str]) -> Output {
    ended(meltica(arguments).spawn().expect("the binary is built"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A directory of its own for a test; removed when it is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("meltica-process-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).expect("a temporary directory");
        Self(path)
    }

    fn file(&self, name: &str, content: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, content).expect("a temporary file");
        path.display().to_string()
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    /// The only report in `reports`.
    fn report(&self) -> Value {
        let runs: Vec<_> = std::fs::read_dir(self.0.join("reports")).expect("it was made").collect();
        assert_eq!(runs.len(), 1);
        let run = runs.into_iter().next().expect("one").expect("readable").path();
        for kind in ["hgrm", "svg"] {
            let has = |entry: std::io::Result<std::fs::DirEntry>| {
                entry.is_ok_and(|entry| entry.path().extension().is_some_and(|extension| extension == kind))
            };
            assert!(
                std::fs::read_dir(&run).expect("readable").any(has),
                "a .{kind} file in {}",
                run.display()
            );
        }
        let json = std::fs::read(run.join("report.json")).expect("it was written");
        serde_json::from_slice(&json).expect("it is JSON")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What a good run has in its report.
fn assert_good(report: &Value) {
    assert_eq!(report["books_by_state"], serde_json::json!({"proved": 150}));
    for name in ["binance", "kraken", "coinbase"] {
        let provider = &report["providers"][name];
        for counter in ["gaps_total", "resyncs_total", "decode_errors_total"] {
            assert_eq!(provider["counts"][counter], 0, "{counter}");
        }
        let outputs = provider["outputs"].as_array().expect("a list");
        // Two shards of consumers; the merge shard has those that its rules join.
        assert_eq!(outputs.len(), if name == "binance" { 2 } else { 3 });
        for output in outputs {
            let count = |name: &str| output[name].as_u64().expect("a count");
            // A rule joins a few instruments, whose books alone go there.
            let offered_min = if output["to"] == "merge0" { 0 } else { 500 };
            assert!(count("offered_total") > offered_min, "{output}");
            assert_eq!(count("dropped_total"), 0, "{output}");
            let reached = count("delivered_total") + count("unchanged_total");
            let accounted = reached + count("coalesced_total") + count("in_flight");
            assert_eq!(count("offered_total"), accounted, "{output}");
        }
    }
    assert_eq!(report["consumers"].as_array().map(Vec::len), Some(6));
}

/// What a run of some seconds has in its report of orders: a session at every venue, and how long the ways of orders took.
fn assert_traded(report: &Value) {
    let stages = report.to_string();
    for (name, way) in
        [("binance", "binance-hmac"), ("kraken", "kraken-token"), ("coinbase", "coinbase-es256")]
    {
        let orders = &report["providers"][name]["orders"];
        assert_eq!(orders["session"], "live", "{orders}");
        for stage in [
            "submit_to_ready",
            "ready_to_written",
            "submit_to_written",
            "written_to_ack",
            "report_to_delivered",
        ] {
            assert!(stages.contains(&format!("{stage}:{way}")), "{stage}:{way}");
        }
    }
}

#[test]
fn the_shipped_topology_runs_proves_its_books_and_writes_its_report() {
    let scratch = Scratch::new("shipped");
    let shipped = shipped().display().to_string();
    let reports = scratch.path("reports");
    let output = run(&["run", "--topology", &shipped, "--duration", "4s", "--report-dir", &reports]);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{out}\n{err}");
    assert_good(&scratch.report());
    assert_traded(&scratch.report());
    assert!(err.contains("books 150/150 proved"), "{err}");
    assert!(!err.contains('\u{1b}'), "no terminal, no control sequences: {err}");
    assert!(out.lines().all(|line| line.chars().count() <= 120), "{out}");
}

/// Starts the shipped topology and waits until its books are proved. The standard error so far is returned.
fn started(scratch: &Scratch) -> (Child, String) {
    let shipped = shipped().display().to_string();
    let reports = scratch.path("reports");
    ready(&mut meltica(&["run", "--topology", &shipped, "--report-dir", &reports, "--json"]))
}

/// Starts a command and waits, within reason, until the shipped topology's books are proved.
fn ready(command: &mut Command) -> (Child, String) {
    let mut child = command.spawn().expect("the binary is built");
    let mut err = child.stderr.take().expect("piped");
    let (sender, seen) = std::sync::mpsc::channel();
    // A read has no time limit, so it waits on a thread of its own.
    let reader = std::thread::spawn(move || {
        let mut seen = Vec::new();
        let mut bytes = [0; 4_096];
        while !text(&seen).contains("150/150 proved") {
            let count = err.read(&mut bytes).expect("a pipe");
            if count == 0 {
                break;
            }
            seen.extend_from_slice(&bytes[..count]);
        }
        let _ = sender.send(text(&seen));
        err
    });
    let Ok(seen) = seen.recv_timeout(WAIT_MAX) else {
        let _ = child.kill();
        let _ = child.wait();
        panic!("its books were not all proved within {WAIT_MAX:?}");
    };
    assert!(seen.contains("150/150 proved"), "it ended: {seen}");
    child.stderr = Some(reader.join().expect("it only reads"));
    (child, seen)
}

fn signal(child: &Child, names: &[&str]) {
    for name in names {
        let status = Command::new("kill").args([format!("-{name}"), child.id().to_string()]).status();
        assert!(status.expect("there is a kill").success());
    }
}

#[test]
fn sigterm_and_sigint_drain_report_and_end_well() {
    for name in ["TERM", "INT"] {
        let scratch = Scratch::new(name);
        let (child, _) = started(&scratch);
        signal(&child, &[name]);
        let output = ended(child);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        assert_good(&scratch.report());
        let printed: Value = serde_json::from_slice(&output.stdout).expect("--json prints JSON alone");
        assert_good(&printed);
    }
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let scratch = Scratch::new("twice");
    let (child, _) = started(&scratch);
    // Stopped, so that both signals are there when it goes on.
    signal(&child, &["STOP", "TERM", "INT", "CONT"]);
    let output = ended(child);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stdout), "", "no report: it was told not to wait");
}

#[test]
fn sigterm_in_a_burst_loses_nothing_in_silence() {
    let scratch = Scratch::new("burst");
    let shipped = std::fs::read_to_string(shipped()).expect("it is there");
    let from = "messages_per_instrument_per_s: 20";
    assert!(shipped.contains(from));
    let file = scratch.file("burst.yaml", &shipped.replacen(from, "messages_per_instrument_per_s: 120", 1));
    let reports = scratch.path("reports");
    let (child, _) = ready(&mut meltica(&["run", "--topology", &file, "--report-dir", &reports, "--json"]));
    signal(&child, &["TERM"]);
    let output = ended(child);
    // Its own verdict: 1 if any counter did not add up or a shard did not hand in what it had.
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let report = scratch.report();
    for name in ["binance", "kraken", "coinbase"] {
        for output in report["providers"][name]["outputs"].as_array().expect("a list") {
            let count = |name: &str| output[name].as_u64().expect("a count");
            let reached = count("delivered_total") + count("unchanged_total") + count("coalesced_total");
            assert_eq!(
                count("offered_total"),
                reached + count("dropped_total") + count("in_flight"),
                "{output}"
            );
        }
    }
}

/// A run in which something befalls a shard after three seconds.
#[cfg(debug_assertions)]
fn mishap(scratch: &Scratch, what: &str, then: &str) -> (Output, PathBuf) {
    let text_of_shipped = std::fs::read_to_string(shipped()).expect("it is there");
    assert!(text_of_shipped.contains("then: report"));
    let file = scratch.file("mishap.yaml", &text_of_shipped.replacen("then: report", then, 1));
    let reports = scratch.path("reports");
    let mut command =
        meltica(&["run", "--topology", &file, "--duration", "60s", "--report-dir", &reports, "--json"]);
    command.env("MELTICA_TEST_MISHAP", what);
    let home = command.get_current_dir().expect("it has one").to_owned();
    (ended(command.spawn().expect("the binary is built")), home)
}

#[cfg(debug_assertions)]
#[test]
fn a_data_shard_that_panics_ends_the_run_which_says_what_is_lost() {
    let scratch = Scratch::new("panics");
    let (output, home) = mishap(&scratch, "md0:panics:3000", "then: report");
    let err = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert!(err.contains("shard md0 panicked") && err.contains("a mishap by design"), "{err}");
    for provider in ["binance", "kraken", "coinbase"] {
        assert!(err.contains(&format!("provider {provider} was lost with shard md0")), "{err}");
        // What can be working at the venue is found again by the next run.
        let journal = std::fs::read_dir(home.join("journal").join(provider)).expect("a journal");
        let sizes = journal.map(|file| file.expect("readable").metadata().expect("readable").len());
        assert!(sizes.sum::<u64>() > 0, "the journal of {provider} is empty");
    }
    // Histograms are there (the report's own check), those who listened handed in what they had, and nothing says that counters
    // of the fallen shard do not add up: there are none.
    let report = scratch.report();
    assert_eq!(report["consumers"].as_array().map(Vec::len), Some(6));
    assert!(!err.contains("do not add up") && !err.contains(" of 0 event parts"), "{err}");
    // The next run begins where this one fell.
    let next = meltica(&[
        "run",
        "--topology",
        &scratch.path("mishap.yaml"),
        "--duration",
        "3s",
        "--report-dir",
        &scratch.path("next"),
    ])
    .current_dir(&home)
    .spawn();
    let next = ended(next.expect("the binary is built"));
    assert_eq!(next.status.code(), Some(0), "{}", text(&next.stderr));
}

#[cfg(debug_assertions)]
#[test]
fn a_shard_that_stands_still_ends_the_run_where_the_watchdog_is_to_abort() {
    for (shard, left) in [("strategies", 1), ("md0", 6)] {
        let scratch = Scratch::new(&format!("stands-{shard}"));
        let (output, _) = mishap(&scratch, &format!("{shard}:stands:3000"), "then: abort");
        let err = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{err}");
        assert!(err.contains(&format!("[{shard}] stalled: no turn for")), "{err}");
        assert!(err.contains("last known place"), "{err}");
        assert!(err.contains(&format!("shard {shard}: did not end within")), "{err}");
        assert_eq!(scratch.report()["consumers"].as_array().map(Vec::len), Some(left), "{err}");
    }
}

/// Files may not grow beyond 150 KiB, which is what a disk without room looks like to the writers of the recording, the journal
/// and the report.
#[test]
fn a_full_disk_costs_the_files_and_is_said_but_the_figures_are_printed() {
    let scratch = Scratch::new("full");
    let (shipped, reports) = (shipped().display().to_string(), scratch.path("reports"));
    let inner = meltica(&["run", "--topology", &shipped, "--duration", "4s", "--report-dir", &reports]);
    let mut command = Command::new("bash");
    command
        .args(["-c", "trap '' XFSZ; ulimit -f 150; exec \"$0\" \"$@\""])
        .arg(inner.get_program())
        .args(inner.get_args())
        .current_dir(inner.get_current_dir().expect("it has one"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let output = ended(command.spawn().expect("there is a bash"));
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{out}\n{err}");
    assert!(err.contains("the report could not be written"), "{err}");
    assert!(err.contains("books 150/150 proved"), "it ran all the same: {err}");
    assert!(out.contains("Books: 150 proved"), "{out}");
}

#[test]
fn for_machines_every_line_of_a_run_is_one_json_object_with_the_same_fields() {
    let scratch = Scratch::new("machines");
    let (shipped, reports) = (shipped().display().to_string(), scratch.path("reports"));
    let output = run(&[
        "run",
        "--topology",
        &shipped,
        "--duration",
        "3s",
        "--report-dir",
        &reports,
        "--json",
        "--log-format",
        "json",
    ]);
    let err = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{err}");
    let mut operations = std::collections::BTreeSet::new();
    for line in err.lines() {
        let object: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        for field in ["time", "level", "source", "operation", "message"] {
            assert!(object[field].is_string(), "{field} in {line}");
        }
        operations.insert(object["operation"].as_str().expect("checked").to_owned());
    }
    for operation in ["start", "line", "books", "status", "verdict", "report"] {
        assert!(operations.contains(operation), "{operation} is not among {operations:?}");
    }
    let refused =
        run(&["run", "--topology", &scratch.file("bad.yaml", "version: 9\n"), "--log-format", "json"]);
    let err = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{err}");
    assert_eq!(err.lines().count(), 1, "{err}");
    let object: Value = serde_json::from_str(&err).expect("JSON");
    assert_eq!((&object["level"], &object["operation"]), (&"error".into(), &"topology".into()), "{err}");
}

#[test]
fn a_run_of_no_time_is_refused() {
    let output = run(&["run", "--duration", "0s"]);
    let err = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{err}");
    assert!(err.contains("a run of no time shows nothing"), "{err}");
}

#[test]
fn what_cannot_be_printed_is_not_taken_for_printed() {
    let full = || std::fs::File::create("/dev/full").expect("Linux has it");
    let proposal = ["topology", "plan", "--shared", "--venues", "kraken", "--instruments", "2"];
    let mut command = meltica(&proposal);
    let output = command.stdout(full()).output().expect("the binary is built");
    let err = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert_eq!(err.matches("standard output failed").count(), 1, "once, with its reason: {err}");
    let shipped = shipped().display().to_string();
    let mut command = meltica(&["run", "--topology", &shipped, "--duration", "1s", "--json"]);
    let output = command.stdout(full()).output().expect("the binary is built");
    let err = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert!(err.contains("standard output failed: No space left on device"), "{err}");
}

#[test]
fn a_bad_topology_is_refused_with_all_its_problems_and_nothing_starts() {
    let scratch = Scratch::new("bad");
    let text_of_shipped = std::fs::read_to_string(shipped()).expect("it is there");
    let mut bad = text_of_shipped.clone();
    for (from, to) in [
        ("core: 0  ", "core: 900  "),
        ("ring_events: 8192             # slots", "ring_events: 4             # slots"),
        ("messages_per_instrument_per_s:", "messages_per_instrument:"),
        ("BTC-USDT, ETH-USDT, SOL-USDT, BNB-USDT", "BTC-USDT, ETH-USDT, SOL-USDT, NOPE-USDT"),
    ] {
        assert!(bad.contains(from), "{from}");
        bad = bad.replacen(from, to, 1);
    }
    let file = scratch.file("bad.yaml", &bad);
    let reports = scratch.path("reports");
    let output = run(&["run", "--topology", &file, "--duration", "1s", "--report-dir", &reports]);
    let err = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{err}");
    for words in ["900", "ring_events", "messages_per_instrument", "NOPE-USDT"] {
        assert!(err.contains(words), "{words} in {err}");
    }
    assert!(!Path::new(&reports).exists(), "nothing was started");
    assert_eq!(text(&output.stdout), "");
}

#[test]
fn a_topology_that_is_not_there_and_one_with_spinning_neighbours() {
    let scratch = Scratch::new("spin");
    let output = run(&["run", "--topology", &scratch.path("none.yaml")]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("none.yaml"), "{}", text(&output.stderr));

    let shipped = std::fs::read_to_string(shipped()).expect("it is there");
    let file = scratch.file("spin.yaml", &shipped.replacen("host: shared", "host: dedicated", 1));
    let output = run(&["run", "--topology", &file]);
    let err = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{err}");
    assert!(err.contains("shard strategies spins"), "{err}");
}

#[test]
fn a_report_directory_that_cannot_be_made_is_refused_before_anything_starts() {
    let scratch = Scratch::new("unwritable");
    let file = scratch.file("a_file", "no directory");
    let shipped = shipped().display().to_string();
    let output =
        run(&["run", "--topology", &shipped, "--duration", "1s", "--report-dir", &format!("{file}/below")]);
    let err = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{err}");
    assert!(err.contains("a_file"), "{err}");
}

#[test]
fn a_port_in_use_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    let output = run(&["simulate", "binance", "--listen", &address]);
    let err = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert!(err.contains(&address) && err.contains("in use"), "{err}");
}

#[test]
fn a_replay_says_which_file_and_which_line() {
    let scratch = Scratch::new("replay");
    let missing = scratch.path("missing.jsonl");
    let output = run(&["replay", "--venue", "binance", &missing]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains(&missing), "{}", text(&output.stderr));

    let bad = scratch.file("bad.txt", "1\tws\t{}\nno capture line\n");
    let output = run(&["replay", "--venue", "binance", &bad]);
    let err = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert!(err.contains(&format!("{bad}:2")), "{err}");
    assert_eq!(text(&output.stdout), "");
}

#[test]
fn topology_check_prints_json_that_says_the_same_as_its_exit_code() {
    let shipped = shipped().display().to_string();
    let output = run(&["topology", "check", "--json", &shipped]);
    let json: Value = serde_json::from_slice(&output.stdout).expect("JSON alone");
    assert_eq!(output.status.code(), Some(0), "{json}\n{}", text(&output.stderr));
    let output = run(&["topology", "check", &shipped]);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stdout).contains("Required"), "{}", text(&output.stdout));
}
