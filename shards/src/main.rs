//! The binary `meltica`: arguments, command, exit code.

use std::process::ExitCode;

use clap::Parser;
use shards::command::replay;

/// Market-data and execution gateway for crypto venues: one process, thread-per-core, nothing shared.
#[derive(Debug, Parser)]
#[command(name = "meltica", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Replay(replay::Arguments),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    ExitCode::from(match cli.command {
        Command::Replay(arguments) => arguments.run(),
    })
}
