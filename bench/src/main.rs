//! `cargo run --release -p bench -- latency`: measures the gateway as it runs, and prints what it found.

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use bench::counting::Counting;
use bench::idle;
use bench::latency::load::{Pace, Recording};
use bench::latency::{self, Row, Setting, fan_out};
use bench::orders;
use bench::scale::{self, Axis};
use bench::stalls;
use clap::{Args, Parser, Subcommand, ValueEnum};
use shards::host::{HostView as _, RealHost};
use shards::report::files::{ReportDirectory, percentiles_us};
use shards::report::host::HostFacts;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Messages a second of the bare loop: the rate that the design's figures are for.
const BARE_LOOP_RATE: u64 = 50_000;
/// How long it runs.
const BARE_LOOP_TIME: Duration = Duration::from_secs(2);

/// Measures Meltica.
#[derive(Parser)]
#[command(name = "bench")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Open loop over a real socket: from the moment that a message was meant to leave to the handler.
    Latency(LatencyArgs),
    /// From the first consumer's handler to the last one's, over consumers on one shard and on several.
    Fanout(FanoutArgs),
    /// Orders to the socket and reports to their consumer, against a simulated venue.
    Orders(OrdersArgs),
    /// A quiet market: time on a core of parked shards, turns and system calls of spinning ones.
    Idle(IdleArgs),
    /// What a message costs as instruments, consumers, shards, books and messages grow: a table, a picture, a CSV file.
    Scale(ScaleArgs),
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// Shards spin, each on a core of its own.
    Spin,
    /// Shards park when they have nothing to do.
    Park,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Wire {
    /// Plain.
    Ws,
    /// TLS.
    Wss,
}

#[derive(Args)]
struct LatencyArgs {
    /// Messages a second; one row each
    #[arg(long, value_delimiter = ',', default_value = "1000,10000,50000,100000,200000,400000,800000")]
    rates: Vec<u64>,
    /// In place of messages made here the recorded session of Binance Spot (`MELTICA_CAPTURES`), `line` for as fast as it goes
    /// or a multiple of its pace as `10x`; one row each
    #[arg(long, value_delimiter = ',')]
    paces: Vec<Pace>,
    /// Consumers, all on one shard; one row each
    #[arg(long, value_delimiter = ',', default_value = "1,4,16")]
    consumers: Vec<usize>,
    /// How shards wait
    #[arg(long, value_delimiter = ',', default_value = "spin,park")]
    modes: Vec<Mode>,
    /// How the venue is reached
    #[arg(long, value_delimiter = ',', default_value = "ws,wss")]
    wires: Vec<Wire>,
    /// Measured seconds of a row
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Where the raw histograms go
    #[arg(long, default_value = "report")]
    report_dir: std::path::PathBuf,
    /// Also the gateway's own stages of each row
    #[arg(long)]
    stages: bool,
}

#[derive(Args)]
struct FanoutArgs {
    /// Consumers; one row each
    #[arg(long, value_delimiter = ',', default_value = "1,10,50")]
    consumers: Vec<usize>,
    /// Shards that they are divided between; one row each
    #[arg(long, value_delimiter = ',', default_value = "1,5")]
    shards: Vec<usize>,
    /// Messages a second
    #[arg(long, default_value_t = 2_000)]
    rate: u64,
    /// Measured seconds of a row
    #[arg(long, default_value_t = 5)]
    seconds: u64,
}

#[derive(Args)]
struct OrdersArgs {
    /// How shards wait; one run each
    #[arg(long, value_delimiter = ',', default_value = "spin,park")]
    modes: Vec<Mode>,
    /// Orders a second
    #[arg(long, default_value_t = 50)]
    per_s: u64,
    /// Messages of market data a second
    #[arg(long, default_value_t = 3_000.0)]
    messages_per_s: f64,
    /// Seconds of a run
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Sign with Ed25519 instead of HMAC
    #[arg(long)]
    ed25519: bool,
}

#[derive(Args)]
struct IdleArgs {
    /// How shards wait; one run each
    #[arg(long, value_delimiter = ',', default_value = "park,spin")]
    modes: Vec<Mode>,
    /// Messages a second of all 16 instruments together
    #[arg(long, default_value_t = 20)]
    rate: u64,
    /// Seconds of a run
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Count system calls a turn instead, with strace
    #[arg(long)]
    calls: bool,
}

#[derive(Args)]
struct ScaleArgs {
    /// What grows
    #[arg(long, value_delimiter = ',', default_value = "instruments,consumers,shards,depth,size")]
    axes: Vec<Axis>,
    /// Measured seconds of a point
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Where table and picture go
    #[arg(long, default_value = "report")]
    report_dir: std::path::PathBuf,
}

fn main() -> ExitCode {
    let Cli { command } = Cli::parse();
    let outcome = match command {
        Command::Latency(args) => run_latency(&args),
        Command::Fanout(args) => run_fanout(&args),
        Command::Orders(args) => run_orders(&args).map(|()| true),
        Command::Idle(args) => run_idle(&args).map(|()| true),
        Command::Scale(args) => run_scale(&args).map(|()| true),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(reason) => {
            eprintln!("bench: {reason}");
            ExitCode::FAILURE
        }
    }
}

/// All rows; whether everything came in each.
fn run_fanout(args: &FanoutArgs) -> Result<bool, String> {
    println!("{}, governor {}, commit {}", HostFacts::read().line(), governor(), commit());
    println!("{}", fan_out::HEADING);
    let mut good = true;
    for &shards in &args.shards {
        // A shard without a consumer says nothing.
        for &consumers in args.consumers.iter().filter(|&&consumers| consumers >= shards.max(1)) {
            let setting = Setting {
                rate: args.rate,
                pace: None,
                consumers,
                shards: shards.max(1),
                spin: false,
                tls: false,
                duration: Duration::from_secs(args.seconds),
                warm_up: Duration::from_secs(1),
            };
            let row = latency::run(setting, None)?;
            println!("{}", fan_out::line(&row));
            good &= row.messages == row.expected;
        }
    }
    Ok(good)
}

/// Orders in each mode.
fn run_orders(args: &OrdersArgs) -> Result<(), String> {
    println!("{}, governor {}, commit {}", HostFacts::read().line(), governor(), commit());
    print!("{}", bare_loops()?);
    for &mode in &args.modes {
        let (time, spin) = (Duration::from_secs(args.seconds), mode == Mode::Spin);
        let setting = orders::Setting {
            per_s: args.per_s,
            messages_per_s: args.messages_per_s,
            time,
            spin,
            ed25519: args.ed25519,
        };
        print!("{}", orders::table(&orders::run(setting)?));
    }
    Ok(())
}

/// A quiet market in each mode.
fn run_idle(args: &IdleArgs) -> Result<(), String> {
    println!("{}, governor {}, commit {}", HostFacts::read().line(), governor(), commit());
    for &mode in &args.modes {
        if args.calls {
            let mode = if mode == Mode::Spin { "spin" } else { "park" };
            let (rate, seconds) = (args.rate.to_string(), args.seconds.to_string());
            let arguments =
                ["idle", "--modes", mode, "--rate", &rate, "--seconds", &seconds].map(str::to_owned);
            print!("{mode}\n{}", idle::count_calls(&arguments)?);
            continue;
        }
        let setting = Setting {
            rate: args.rate,
            pace: None,
            consumers: 1,
            shards: 1,
            spin: mode == Mode::Spin,
            tls: false,
            duration: Duration::from_secs(args.seconds),
            warm_up: Duration::from_secs(1),
        };
        print!("{}", idle::table(&latency::run(setting, None)?));
    }
    Ok(())
}

/// All axes.
fn run_scale(args: &ScaleArgs) -> Result<(), String> {
    let time = Duration::try_from_secs_f64(args.seconds).map_err(|error| format!("--seconds: {error}"))?;
    let directory =
        ReportDirectory::create(&args.report_dir, SystemTime::now()).map_err(|error| error.to_string())?;
    let machine = format!("{}, governor {}, commit {}", HostFacts::read().line(), governor(), commit());
    println!("{machine}");
    println!("{}", scale::HEADING);
    let cores = RealHost.cores().ok_or("this host does not say which cores it has")?;
    let cores = cores.allowed.iter().map(|core| core as usize).collect();
    let options = scale::Options::full(cores, time);
    let mut charts = Vec::new();
    for &axis in &args.axes {
        let chart = scale::measure(axis, &options);
        print!("{}", scale::table(&chart));
        charts.push(chart);
    }
    for (name, text) in
        [("scale.svg", scale::picture::svg(&charts, &machine)), ("scale.csv", scale::csv(&charts))]
    {
        let path = directory.path().join(name);
        std::fs::write(&path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        println!("{}", path.display());
    }
    Ok(())
}

/// All rows; whether each could be run.
fn run_latency(args: &LatencyArgs) -> Result<bool, String> {
    let recording = if args.paces.is_empty() { None } else { Recording::load()? };
    if recording.is_none() && !args.paces.is_empty() {
        // It was said, loudly; a host without recordings has not failed.
        return Ok(true);
    }
    let loads: Vec<(u64, Option<Pace>)> = match recording {
        Some(_) => args.paces.iter().map(|&pace| (0, Some(pace))).collect(),
        None => args.rates.iter().map(|&rate| (rate, None)).collect(),
    };
    let directory =
        ReportDirectory::create(&args.report_dir, SystemTime::now()).map_err(|error| error.to_string())?;
    println!("{}, governor {}, commit {}", HostFacts::read().line(), governor(), commit());
    print!("{}", bare_loops()?);
    println!("{}", latency::HEADING);
    let mut good = true;
    for &mode in &args.modes {
        for &wire in &args.wires {
            for &consumers in &args.consumers {
                for &(rate, pace) in &loads {
                    let setting = Setting {
                        rate,
                        pace,
                        consumers,
                        shards: 1,
                        spin: mode == Mode::Spin,
                        tls: wire == Wire::Wss,
                        duration: Duration::from_secs(args.seconds),
                        warm_up: Duration::from_secs(1),
                    };
                    let row = match latency::run(setting, recording.as_ref()) {
                        Ok(row) => row,
                        Err(reason) => {
                            let load = pace.map_or_else(|| rate.to_string(), |pace| pace.to_string());
                            println!("{load:>8} {consumers:>5}  not run: {reason}");
                            good = false;
                            break;
                        }
                    };
                    println!("{}", latency::line(&row));
                    if args.stages {
                        for (shard, stage, p50_ns, p99_ns) in &row.stages {
                            println!("{shard:>26} {stage:<22} p50 {p50_ns:>8} ns  p99 {p99_ns:>8} ns");
                        }
                    }
                    write(&directory, &row)?;
                    if pace.is_none() && !row.kept_up() {
                        // A higher rate says nothing new.
                        break;
                    }
                }
            }
        }
    }
    println!("histograms: {}", directory.path().display());
    Ok(good)
}

/// What the host takes from a bare loop on the two cores that spinning shards will have.
fn bare_loops() -> Result<String, String> {
    let cores = RealHost.cores().ok_or("this host does not say which cores it has")?;
    let mut cores: Vec<u32> = cores.allowed.iter().collect();
    cores.sort_unstable();
    cores.truncate(2);
    let all = stalls::measure(&cores, BARE_LOOP_RATE, BARE_LOOP_TIME);
    Ok(all.iter().map(|one| stalls::line(one) + "\n").collect())
}

/// The row's histograms, as files that HdrHistogram's plotter reads.
fn write(directory: &ReportDirectory, row: &Row) -> Result<(), String> {
    let Setting { rate, pace, consumers, spin, tls, .. } = row.setting;
    let rate = pace.map_or_else(|| rate.to_string(), |pace| pace.to_string());
    let (mode, wire) = (if spin { "spin" } else { "park" }, if tls { "wss" } else { "ws" });
    let all = [("intended", &row.seen.intended), ("wire", &row.seen.wire), ("receive", &row.seen.receive)];
    for (from, histogram) in all {
        let name = format!("{mode}-{wire}-{consumers}c-{rate}-{from}_to_handler.hgrm");
        let path = directory.path().join(name);
        std::fs::write(&path, percentiles_us(histogram))
            .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    }
    Ok(())
}

/// The frequency governor of the first core, where there is one.
fn governor() -> String {
    let text = std::fs::read_to_string("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor");
    text.map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
}

/// The commit that is checked out, where git says so.
fn commit() -> String {
    let output = std::process::Command::new("git").args(["describe", "--always", "--dirty"]).output();
    let text = output.ok().filter(|output| output.status.success());
    text.map_or_else(
        || "unknown".to_owned(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Commands of this program in a text: behind `cargo run --release -p bench --`, or as `bench NAME ...` in backticks.
    fn commands(text: &str) -> Vec<String> {
        let cargo = text.split("cargo run --release -p bench -- ").skip(1);
        let short = text.split("`bench ").skip(1);
        let end =
            |rest: &str| rest.split(['`', '\n', '|', ';', '>', '#']).next().unwrap_or_default().to_owned();
        cargo.chain(short).map(end).collect()
    }

    #[test]
    fn every_command_in_a_document_is_one_that_the_command_line_takes() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let docs = std::fs::read_dir(root.join("docs")).expect("docs").flatten().map(|entry| entry.path());
        let pages = ["README.md", "bench/README.md", "bench/RESULTS.md"].map(|page| root.join(page));
        let mut count = 0;
        for page in
            docs.chain(pages).filter(|page| page.extension().is_some_and(|extension| extension == "md"))
        {
            let text = std::fs::read_to_string(&page).expect("a page");
            for command in commands(&text) {
                count += 1;
                let words = ["bench"].into_iter().chain(command.split_whitespace());
                if let Err(error) = Cli::try_parse_from(words) {
                    panic!("{}: bench {command}: {error}", page.display());
                }
            }
        }
        assert!(count >= 8, "{count} commands found: has their form changed?");
    }
}
