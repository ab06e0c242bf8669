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
}

fn main() -> ExitCode {
    match Command::parse() {
        Command::Lines { disconnects, minutes, rate, seed } => lines(disconnects, minutes, rate, seed),
        Command::Kill9 { times, seed, sync } => kill9(times, seed, sync),
        Command::Gateway(arguments) => ExitCode::from(arguments.run()),
    }
}

fn kill9(times: u32, seed: u64, sync: bool) -> ExitCode {
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => {
            eprintln!("soak: {error}");
            return ExitCode::FAILURE;
        }
    };
    let home = std::env::temp_dir().join(format!("meltica-kill9-{}", std::process::id()));
    let durability = if sync { "sync" } else { "batch" };
    match soak::kill9::run(&soak::kill9::Options { times, seed, durability, program, home }) {
        Ok(verdict) => {
            print!("{}", verdict.table());
            if verdict.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("soak: {error}");
            ExitCode::FAILURE
        }
    }
}

fn lines(disconnects: u32, minutes: f64, rate: u32, seed: u64) -> ExitCode {
    let duration = match Duration::try_from_secs_f64(minutes * 60.0) {
        Ok(duration) => duration,
        Err(error) => {
            eprintln!("soak: --minutes {minutes}: {error}");
            return ExitCode::from(2);
        }
    };
    match soak::lines::run(&soak::lines::Options { disconnects, duration, rate, seed }) {
        Ok(verdict) => {
            print!("{}", verdict.table());
            if verdict.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("soak: {error}");
            ExitCode::FAILURE
        }
    }
}
