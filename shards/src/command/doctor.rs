//! `meltica doctor`: the host with the eyes of one topology, and tuning beyond it.

use std::path::PathBuf;

use super::{EXIT_REFUSED, columns, read_topology};
use crate::host::RealHost;
use crate::topology::{check, fix_script, json, table};

/// Looks at this host: will the topology start and run as written, and what would make it steadier. Changes nothing.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The topology.
    #[arg(default_value = "topology.yaml")]
    file: PathBuf,
    /// The findings as JSON on standard output.
    #[arg(long)]
    json: bool,
    /// A commented script that would mend what was found; it is printed, not run.
    #[arg(long, conflicts_with = "json")]
    fix_script: bool,
}

impl Arguments {
    /// Runs it. The exit code is 2 with an error among the findings, else 0.
    pub fn run(self) -> u8 {
        let topology = match read_topology(&self.file) {
            Ok(topology) => topology,
            Err(errors) => {
                errln!("{errors}");
                return EXIT_REFUSED;
            }
        };
        let findings = check::doctor(&topology, &RealHost);
        if self.json {
            outln!("{}", json(&findings));
        } else if self.fix_script {
            out!("{}", fix_script(&topology, &RealHost, &findings));
        } else {
            out!("{}", table(&findings, columns()));
        }
        check::exit_code(&findings) as u8
    }
}
