//! `meltica topology check`.

use std::path::PathBuf;

use super::{EXIT_REFUSED, read_topology};
use crate::host::RealHost;
use crate::topology::{check, json, memory, table};

/// Works on topology files.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Says whether a file will start and run as written on this host.
    Check {
        /// The topology.
        #[arg(default_value = "topology.yaml")]
        file: PathBuf,
        /// The findings as JSON on standard output.
        #[arg(long)]
        json: bool,
    },
}

impl Arguments {
    /// Runs it.
    pub fn run(self) -> u8 {
        let Command::Check { file, json: as_json } = self.command;
        let topology = match read_topology(&file) {
            Ok(topology) => topology,
            Err(errors) => {
                eprintln!("{errors}");
                return EXIT_REFUSED;
            }
        };
        let findings = check::check(&topology, &RealHost);
        if as_json {
            println!("{}", json(&findings));
        } else {
            print!("{}", table(&findings, super::columns()));
            print!("{}", memory::memory_budget(&topology).render());
        }
        check::exit_code(&findings) as u8
    }
}
