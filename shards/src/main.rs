//! The binary `meltica`: arguments, command, exit code.

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
#[cfg(feature = "simulate")]
use shards::command::simulate;
#[cfg(feature = "top")]
use shards::command::top;
use shards::command::{ctl, definition, doctor, replay, report, run, topology};

/// Version, commit and features.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("MELTICA_BUILD"), ")");

/// Market-data and execution gateway for crypto venues: one process, thread-per-core, nothing shared.
#[derive(Debug, Parser)]
#[command(name = "meltica", version = VERSION)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Run(run::Arguments),
    Ctl(ctl::Arguments),
    Doctor(doctor::Arguments),
    #[cfg(feature = "top")]
    Top(top::Arguments),
    Topology(topology::Arguments),
    Replay(replay::Arguments),
    Report(report::Arguments),
    #[cfg(feature = "simulate")]
    Simulate(simulate::Arguments),
    Completions(definition::Completions),
    Man(definition::Manual),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    ExitCode::from(match cli.command {
        Command::Run(arguments) => arguments.run(),
        Command::Ctl(arguments) => arguments.run(),
        Command::Doctor(arguments) => arguments.run(),
        #[cfg(feature = "top")]
        Command::Top(arguments) => arguments.run(),
        Command::Topology(arguments) => arguments.run(),
        Command::Replay(arguments) => arguments.run(),
        Command::Report(arguments) => arguments.run(),
        #[cfg(feature = "simulate")]
        Command::Simulate(arguments) => arguments.run(),
        Command::Completions(arguments) => arguments.run(Cli::command()),
        Command::Man(arguments) => arguments.run(Cli::command()),
    })
}
