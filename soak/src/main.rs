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
    /// Runs the gateway, as `meltica run` does; for kill9.
    #[command(hide = true)]
    Gateway(shards::command::run::Arguments),
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
}

fn main() -> ExitCode {
    let verdict = match Command::parse() {
        Command::Gateway(arguments) => return ExitCode::from(arguments.run()),
        Command::Lines { disconnects, minutes, rate, seed } => of_minutes(minutes).and_then(|duration| {
            soak::lines::run(&soak::lines::Options { disconnects, duration, rate, seed })
                .map(|verdict| (verdict.table(), verdict.is_good()))
        }),
        Command::Rolls { rate, minutes, seed } => of_minutes(minutes).and_then(|duration| {
            soak::rolls::run(&soak::rolls::Options { rate: rate.div_ceil(30), duration, seed })
                .map(|verdict| (verdict.table(), verdict.is_good()))
        }),
        Command::Kill9 { times, seed, sync } => kill9(times, seed, sync),
    };
    match verdict {
        Ok((table, is_good)) => {
            print!("{table}");
            if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("soak: {error}");
            ExitCode::FAILURE
        }
    }
}

fn of_minutes(minutes: f64) -> Result<Duration, String> {
    Duration::try_from_secs_f64(minutes * 60.0).map_err(|error| format!("--minutes {minutes}: {error}"))
}

fn kill9(times: u32, seed: u64, sync: bool) -> Result<(String, bool), String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let home = std::env::temp_dir().join(format!("meltica-kill9-{}", std::process::id()));
    let durability = if sync { "sync" } else { "batch" };
    soak::kill9::run(&soak::kill9::Options { times, seed, durability, program, home })
        .map(|verdict| (verdict.table(), verdict.is_good()))
}
