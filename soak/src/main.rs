//! `soak`: wears the running gateway out, and says whether it held.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

/// Wears Meltica out.
#[derive(Debug, Parser)]
enum Command {
    /// Ends one line after another of the running gateway with two lines to each of three simulated venues.
    Lines {
        /// Lines to end, over all venues.
        #[arg(long, default_value_t = 200)]
        disconnects: u32,
        /// Over so many minutes.
        #[arg(long, default_value_t = 10.0)]
        minutes: f64,
        /// Messages a second of each of the 30 instruments.
        #[arg(long, default_value_t = 20)]
        rate: u32,
        /// The same seed gives the same market.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Kills the running gateway with kill -9 at random moments while orders work, and compares with the venue.
    Kill9 {
        /// Kills.
        #[arg(long, default_value_t = 100)]
        times: u32,
        /// The same seed gives the same moments.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// An order leaves when its intent is on the disk, and not at once.
        #[arg(long)]
        sync: bool,
    },
    /// Trades at three simulated venues through the running gateway: idle, with full rings and a slow consumer, and while
    /// sessions are lost and orders fill meanwhile. Compares with the venues.
    Orders {
        /// Sessions to cut, over all venues.
        #[arg(long, default_value_t = 200)]
        disconnects: u32,
        /// A quarter of it idle, a quarter overloaded, half for the cuts, which take longer where they must.
        #[arg(long, default_value_t = 4.0)]
        minutes: f64,
        /// Messages a second of each of the nine instruments in the overload.
        #[arg(long, default_value_t = 400)]
        rate: u32,
        /// The same seed gives the same market.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Runs the gateway, as `meltica run` does; for kill9.
    #[command(hide = true)]
    Gateway(shards::command::run::Arguments),
    /// Adds subscriptions over HTTP under load: time until the first event, and the others before, during and after.
    Subscribe {
        /// Instruments to add, each with trades, book and ticker.
        #[arg(long, default_value_t = 10)]
        instruments: usize,
        /// Seconds of each of the three phases.
        #[arg(long, default_value_t = 10.0)]
        phase_s: f64,
        /// Messages a second of each of the 20 instruments that are there, and of the new ones.
        #[arg(long, default_value_t = 100)]
        rate: u32,
        /// The same seed gives the same market.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// The whole gateway under a simulated clock, network and venues, seed after seed, with what goes wrong by seed.
    Simulate {
        /// Seeds to run; without it and without --hours, 100.
        #[arg(long)]
        seeds: Option<u64>,
        /// Run seeds for so long.
        #[arg(long)]
        hours: Option<f64>,
        /// The first seed; a fresh one where it is not given.
        #[arg(long)]
        from: Option<u64>,
        /// What may go wrong, as a failure printed it, in place of what the seed says.
        #[arg(long)]
        mix: Option<u32>,
        /// Of what goes wrong only these, by number, as a failure printed them.
        #[arg(long, value_delimiter = ',')]
        only: Option<Vec<u32>>,
    },
    /// A day of the shipped topology over real sockets, as long as it is asked to be: load, faults, orders, and a verdict.
    Day {
        /// Minutes; a real day has 1440.
        #[arg(long, default_value_t = 1_440.0)]
        minutes: f64,
        /// Instruments of each of the three venues, 3 to 50.
        #[arg(long, default_value_t = 50)]
        instruments: usize,
        /// Messages a second of each instrument at a usual hour.
        #[arg(long, default_value_t = 20)]
        rate: u32,
        /// All the messages of 24 hours in those minutes: with --minutes 60, 24 times the rate.
        #[arg(long)]
        compressed: bool,
        /// Seconds between two faults.
        #[arg(long, default_value_t = 20.0)]
        fault_every_s: f64,
        /// The same seed gives the same market and plan.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Where journal, recording, picture (day.svg) and its table (day.csv) go.
        #[arg(long, default_value = "soak-day")]
        home: std::path::PathBuf,
        /// Runs nothing: draws the picture of this table again, beside it.
        #[arg(long, value_name = "CSV")]
        redraw: Option<std::path::PathBuf>,
        /// Be the venues of a day that another process runs.
        #[arg(long, hide = true)]
        venues: bool,
    },
    /// Rolls every connection of the running gateway, again and again, under load, beside a quiet time of the same length.
    Rolls {
        /// Messages a second of all 30 instruments together, which the market is asked for.
        #[arg(long, default_value_t = 50_000)]
        rate: u32,
        /// Minutes without rolls, and as many with them.
        #[arg(long, default_value_t = 1.0)]
        minutes: f64,
        /// The same seed gives the same market.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Every turn above 1 ms under load with resyncs, snapshots of megabytes and rolls in between, and whose doing it was.
    Turns {
        /// Messages a second of all 30 instruments together, which the market is asked for.
        #[arg(long, default_value_t = 50_000)]
        rate: u32,
        /// Minutes.
        #[arg(long, default_value_t = 10.0)]
        minutes: f64,
        /// Seconds between two disturbances; a shorter run has eight of them.
        #[arg(long, default_value_t = 10.0)]
        every: f64,
        /// The same seed gives the same market.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Before it, for as long, the same audit of a loop that does nothing: what the host alone does.
        #[arg(long)]
        bare: bool,
        /// A line for each long turn goes to this file, the kernel's `trace_marker` (bench/trace-turns.py).
        #[arg(long, value_name = "FILE")]
        marker: Option<std::path::PathBuf>,
    },
    /// A consumer that sleeps gets a multiple of what it takes; beside it a healthy one on a shard of its own.
    Overload {
        /// Messages a second of all ten instruments together, which the market is asked for.
        #[arg(long, default_value_t = 10_000)]
        rate: u32,
        /// How many times what the sleeper takes.
        #[arg(long, default_value_t = 3)]
        times: u32,
        /// Minutes without sleep, and as many of overload.
        #[arg(long, default_value_t = 0.5)]
        minutes: f64,
        /// The same seed gives the same market.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
}

fn main() -> ExitCode {
    let command = match Command::parse() {
        Command::Gateway(arguments) => return ExitCode::from(arguments.run()),
        command => command,
    };
    match run(command) {
        Ok((table, good)) => {
            print!("{table}");
            if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("soak: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The table of a command, and whether it held.
fn run(command: Command) -> Result<(String, bool), String> {
    let duration = |name: &str, seconds: f64| {
        Duration::try_from_secs_f64(seconds).map_err(|error| format!("{name}: {error}"))
    };
    match command {
        Command::Kill9 { times, seed, sync } => {
            let program = std::env::current_exe().map_err(|error| error.to_string())?;
            let home = std::env::temp_dir().join(format!("meltica-kill9-{}", std::process::id()));
            let durability = if sync { "sync" } else { "batch" };
            let options = soak::kill9::Options { times, seed, durability, program, home };
            let verdict = soak::kill9::run(&options)?;
            Ok((verdict.table(), verdict.is_good()))
        }
        Command::Orders { disconnects, minutes, rate, seed } => {
            let duration = duration("--minutes", minutes * 60.0)?;
            let home = std::env::temp_dir().join(format!("meltica-orders-{}", std::process::id()));
            let options = soak::orders::Options { disconnects, duration, rate, seed, home };
            let verdict = soak::orders::run(&options)?;
            Ok((verdict.table(), verdict.is_good()))
        }
        Command::Gateway(_) => Err("it runs by itself".to_owned()),
        Command::Lines { disconnects, minutes, rate, seed } => {
            let duration = duration("--minutes", minutes * 60.0)?;
            let verdict = soak::lines::run(&soak::lines::Options { disconnects, duration, rate, seed })?;
            Ok((verdict.table(), verdict.is_good()))
        }
        Command::Rolls { rate, minutes, seed } => {
            let duration = duration("--minutes", minutes * 60.0)?;
            let options = soak::rolls::Options { rate: rate.div_ceil(30), duration, seed };
            let verdict = soak::rolls::run(&options)?;
            Ok((verdict.table(), verdict.is_good()))
        }
        Command::Turns { rate, minutes, every, seed, bare, marker } => {
            let (every, duration) = (duration("--every", every)?, duration("--minutes", minutes * 60.0)?);
            let options =
                soak::turns::Options { rate: rate.div_ceil(30), duration, every, seed, bare, marker };
            let verdict = soak::turns::run(&options)?;
            Ok((verdict.table(), verdict.is_good()))
        }
        Command::Overload { rate, times, minutes, seed } => {
            let duration = duration("--minutes", minutes * 60.0)?;
            let options = soak::overload::Options { rate: rate.div_ceil(10), times, duration, seed };
            let verdict = soak::overload::run(&options)?;
            Ok((verdict.table(), verdict.is_good()))
        }
        Command::Simulate { seeds, hours, from, mix, only } => {
            let time = hours.map(|hours| duration("--hours", hours * 3_600.0)).transpose()?;
            let seeds = seeds.unwrap_or(if time.is_some() { u64::MAX } else { 100 });
            let from = from.unwrap_or_else(|| fastrand::u64(..1 << 32));
            let verdict =
                soak::whole::run::simulate_many(from, seeds, time, mix.map(soak::whole::chaos::Mix), only);
            Ok((verdict.table(), verdict.is_good()))
        }
        Command::Day { redraw: Some(table), .. } => {
            let picture = soak::day::picture::draw(&table)?;
            Ok((format!("picture: {}\n", picture.display()), true))
        }
        Command::Day {
            minutes,
            instruments,
            rate,
            compressed,
            fault_every_s,
            seed,
            home,
            venues,
            redraw: None,
        } => {
            let program = std::env::current_exe().map_err(|error| error.to_string())?;
            let arguments = std::env::args().skip(1).chain(["--venues".to_owned()]).collect();
            let options = soak::day::Options {
                duration: duration("--minutes", minutes * 60.0)?,
                instruments,
                rate,
                compressed,
                seed,
                fault_every: duration("--fault-every-s", fault_every_s)?,
                home,
                strict: minutes >= 5.0,
                venues: (program, arguments),
            };
            if venues {
                return soak::day::run_venues(&options).map(|()| (String::new(), true));
            }
            let verdict = soak::day::run(&options)?;
            Ok((verdict.table(), verdict.is_good()))
        }
        Command::Subscribe { instruments, phase_s, rate, seed } => {
            let phase = duration("--phase-s", phase_s)?;
            let options = soak::subscribe::Options { instruments, phase, rate, seed };
            let verdict = soak::subscribe::run(&options)?;
            Ok((verdict.table(), verdict.is_good()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            let cargo = text.split("cargo run --release -p soak -- ").skip(1);
            for rest in cargo.chain(text.split("`soak ").skip(1)) {
                let command = rest.split(['`', '\n', '|', ';', '>', '#']).next().unwrap_or_default();
                count += 1;
                let words = ["soak"].into_iter().chain(command.split_whitespace());
                if let Err(error) = Command::try_parse_from(words) {
                    panic!("{}: soak {command}: {error}", page.display());
                }
            }
        }
        assert!(count >= 8, "{count} commands found: has their form changed?");
    }
}
