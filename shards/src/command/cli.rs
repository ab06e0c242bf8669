//! The command line as a whole: what `meltica` understands, and what its manual pages, completions and documents are checked by.

use clap::{CommandFactory, Parser};

#[cfg(feature = "simulate")]
use super::simulate;
#[cfg(feature = "top")]
use super::top;
use super::{code_after_output, ctl, definition, doctor, replay, report, run, topology};

/// Version, commit and features.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("MELTICA_BUILD"), ")");

/// Market-data and execution gateway for crypto venues: one process, thread-per-core, nothing shared.
#[derive(Debug, Parser)]
#[command(name = "meltica", version = VERSION)]
pub struct Cli {
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

impl Cli {
    /// Runs what was asked for; gives the exit code.
    pub fn run(self) -> u8 {
        let code = match self.command {
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
            Command::Completions(arguments) => arguments.run(Self::command()),
            Command::Man(arguments) => arguments.run(Self::command()),
        };
        code_after_output(code)
    }
}
