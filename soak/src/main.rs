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
    let command = Command::parse();
    let (Command::Lines { minutes, .. } | Command::Rolls { minutes, .. } | Command::Overload { minutes, .. }) =
        command;
    let duration = match Duration::try_from_secs_f64(minutes * 60.0) {
        Ok(duration) => duration,
        Err(error) => {
            eprintln!("soak: --minutes {minutes}: {error}");
            return ExitCode::from(2);
        }
    };
    let verdict = match command {
        Command::Lines { disconnects, rate, seed, .. } => {
            soak::lines::run(&soak::lines::Options { disconnects, duration, rate, seed })
                .map(|verdict| (verdict.table(), verdict.is_good()))
        }
        Command::Rolls { rate, seed, .. } => {
            soak::rolls::run(&soak::rolls::Options { rate: rate.div_ceil(30), duration, seed })
                .map(|verdict| (verdict.table(), verdict.is_good()))
        }
        Command::Overload { rate, times, seed, .. } => {
            soak::overload::run(&soak::overload::Options { rate: rate.div_ceil(10), times, duration, seed })
                .map(|verdict| (verdict.table(), verdict.is_good()))
        }
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
