//! `meltica topology check`, `plan` and `explain`.

use std::path::PathBuf;

use super::{EXIT_OK, EXIT_REFUSED, read_topology};
use crate::host::{HostView, RealHost};
use crate::topology::offer::PRODUCTS;
use crate::topology::propose::{Aim, Wish, propose};
use crate::topology::{
    Against, CONSUMER_KINDS, Product, check, explain, json, memory, memory_text, narrowed, read, table,
};

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
    /// Proposes a file for this host on standard output: which core does what, and why.
    Plan {
        /// Venues, with a product where it is not the first: binance, binance/usdm, kraken, coinbase, coinbase/exchange.
        #[arg(long, value_delimiter = ',', value_parser = product, default_value = "binance,kraken,coinbase")]
        venues: Vec<Product>,
        /// Instruments of each venue.
        #[arg(long, default_value_t = 50)]
        instruments: usize,
        /// Consumers.
        #[arg(long, default_value_t = 2)]
        consumers: usize,
        /// Every shard spins on a core of its own [default: if isolated cores suffice].
        #[arg(long, conflicts_with = "shared")]
        latency: bool,
        /// Shards park when idle.
        #[arg(long)]
        shared: bool,
        /// The venues as they are, instead of simulated ones.
        #[arg(long)]
        live: bool,
    },
    /// Draws a file: cores, shards, sockets, rings and memory.
    Explain {
        /// The topology.
        #[arg(default_value = "topology.yaml")]
        file: PathBuf,
    },
}

/// `binance`, or `binance/usdm`.
fn product(text: &str) -> Result<Product, String> {
    let (venue, name) = text.split_once('/').map_or((text, None), |(venue, name)| (venue, Some(name)));
    let fits =
        |(of, product, _): &&(&str, &str, Product)| *of == venue && name.is_none_or(|name| name == *product);
    PRODUCTS.iter().find(fits).map(|(_, _, product)| *product).ok_or_else(|| {
        let known: Vec<String> = PRODUCTS.iter().map(|(venue, name, _)| format!("{venue}/{name}")).collect();
        format!("fits: {}", known.join(", "))
    })
}

impl Arguments {
    /// Runs it.
    pub fn run(self) -> u8 {
        match self.command {
            Command::Check { file, json } => check_file(file, json),
            Command::Plan { venues, instruments, consumers, latency, shared, live } => {
                let aim = match (latency, shared) {
                    (true, _) => Aim::Latency,
                    (_, true) => Aim::Shared,
                    _ => Aim::Fitting,
                };
                plan(&Wish { venues, instruments, consumers, aim, live }, &RealHost)
            }
            Command::Explain { file } => match read_topology(&file) {
                Ok(topology) => {
                    // Not where it is read by a program: `cores.sh` takes whole lines.
                    let columns = super::columns_of(&std::io::stdout());
                    out!("{}", narrowed(&explain(&topology, &RealHost), columns.max(40)));
                    EXIT_OK
                }
                Err(errors) => {
                    errln!("{errors}");
                    EXIT_REFUSED
                }
            },
        }
    }
}

/// Prints a proposal and, as comments, what it takes; what the check finds goes to standard error.
fn plan(wish: &Wish, host: &dyn HostView) -> u8 {
    let refuse = |reason: &str| {
        errln!("meltica: {reason}");
        EXIT_REFUSED
    };
    let text = match propose(wish, host) {
        Ok(text) => text,
        Err(reason) => return refuse(&reason),
    };
    let cores = host.cores();
    let against = Against { cores: cores.as_ref(), consumer_kinds: &CONSUMER_KINDS, simulated_lists: None };
    let topology = match read("the proposal", &text, against) {
        Ok(topology) => topology,
        Err(errors) => return refuse(&format!("the proposal does not fit: {errors}")),
    };
    out!("{text}\n# What it takes at start:\n");
    for line in memory_text(&topology).lines() {
        outln!("# {line}");
    }
    let findings: Vec<_> = check::check(&topology, host)
        .into_iter()
        .filter(|finding| finding.severity > check::Severity::Note)
        .collect();
    if !findings.is_empty() {
        err!("{}", table(&findings, super::columns()));
    }
    check::exit_code(&findings) as u8
}

fn check_file(file: PathBuf, as_json: bool) -> u8 {
    let topology = match read_topology(&file) {
        Ok(topology) => topology,
        Err(errors) => {
            errln!("{errors}");
            return EXIT_REFUSED;
        }
    };
    let findings = check::check(&topology, &RealHost);
    if as_json {
        outln!("{}", json(&findings));
    } else {
        out!("{}", table(&findings, super::columns()));
        out!("{}", narrowed(&memory::memory_budget(&topology).render(), super::columns()));
    }
    check::exit_code(&findings) as u8
}
