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
}

fn main() -> ExitCode {
    let Command::Lines { disconnects, minutes, rate, seed } = Command::parse();
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
