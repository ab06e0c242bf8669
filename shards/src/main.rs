//! The binary `meltica`: arguments, command, exit code.

use std::process::ExitCode;

use clap::Parser;
use shards::command::Cli;

fn main() -> ExitCode {
    ExitCode::from(Cli::parse().run())
}
