//! `topology.yaml`: what runs on which core. Read strictly, all problems at once, into a [`Topology`] that cannot be wrong.
//!
//! The way of a file: text -> `yaml` (a tree with lines) -> `written` (one struct a mapping, each key within its bounds) ->
//! `resolve` (names to indices, sums, the host's cores) -> [`Topology`]. A problem never stops the reading of the rest.
//! [`check`] then compares the topology with the host; [`memory`] sums what it takes.
//!
//! Nothing here opens a socket or starts a thread.

pub(crate) mod books;
pub mod bounds;
pub(crate) mod catalog;
pub mod check;
mod explain;
mod fix_script;
mod keys;
pub mod memory;
pub mod offer;
mod options;
mod plan;
mod problem;
pub mod propose;
mod render;
mod resolve;
pub(crate) mod rules;
mod subscriptions;
mod trading;
mod tuning;
pub(crate) mod venues;
mod written;
mod yaml;

use std::io::Read;
use std::path::Path;

use crate::host::{HostCores, HostView, RealHost};

pub use explain::{explain, memory_text};
pub use fix_script::fix_script;
pub use offer::{Channel, ChannelKind, Product};
pub use options::{ConsumerOptions, PrinterOutput};
pub use plan::{
    BookDepth, BookPlan, CapturePlan, ConsumerPlan, ControlPlan, Delivery, Endpoints, HostMode, InstrumentId,
    ListedInstrument, MergeIndex, MergeKind, MergePlan, OnPanic, OnStall, Pools, ProviderIndex, ProviderPlan,
    ReorderPlan, ReportPlan, RingSizes, Role, RollPlan, ShardIndex, ShardPlan, SimulatedPlan, Subscription,
    Topology, WatchdogPlan,
};
pub use problem::{Problem, TopologyErrors};
pub use render::{json, narrowed, numbered, table};
pub use trading::{Durability, JournalPlan, KeySource, LimitsPlan, OnStop, OrdersPlan};
pub use yaml::{FILE_BYTES_MAX, NESTING_MAX};

use problem::{Problems, Spot};

/// The consumers that this program brings; a program of its own adds the names of its strategies.
pub const CONSUMER_KINDS: [&str; 5] = ["stats", "printer", "recorder", "maker", "taker"];

/// Whether a product of a venue lists a canonical symbol.
pub type Listing<'a> = dyn Fn(Product, &str) -> bool + 'a;

/// What a file is read against.
#[derive(Clone, Copy)]
pub struct Against<'a> {
    /// The host's cores; `None` reads the file for another machine.
    pub cores: Option<&'a HostCores>,
    /// Names that `consumers[].kind` may have.
    pub consumer_kinds: &'a [&'a str],
    /// Whether a simulated venue lists a symbol; `None` if it takes any.
    ///
    /// Live venues are asked when their list has arrived: [`Topology::unlisted`].
    pub simulated_lists: Option<&'a Listing<'a>>,
}

/// Reads a file for this host and the built-in consumers.
///
/// Call it before any thread is pinned: the cores that count are those that the calling thread may use.
///
/// # Errors
///
/// Every problem of the file, in the order of its lines.
pub fn load(path: &Path) -> Result<Topology, TopologyErrors> {
    load_with(path, &CONSUMER_KINDS, None)
}

/// The same with the consumers that the program has registered, and the symbols that its simulated venues list.
///
/// # Errors
///
/// As [`load`].
pub fn load_with(
    path: &Path,
    consumer_kinds: &[&str],
    simulated_lists: Option<&Listing<'_>>,
) -> Result<Topology, TopologyErrors> {
    let file = path.display().to_string();
    let text = read_file(path).map_err(|problem| TopologyErrors::new(&file, vec![problem]))?;
    let cores = RealHost.cores();
    read(&file, &text, Against { cores: cores.as_ref(), consumer_kinds, simulated_lists })
}

/// Reads a text; `file` is its name in messages.
///
/// # Errors
///
/// Every problem of the text, in the order of its lines:
///
/// ```
/// use shards::topology::{Against, CONSUMER_KINDS, read};
///
/// // For any machine (`cores: None`) and the consumers that are built in.
/// let against = Against { cores: None, consumer_kinds: &CONSUMER_KINDS, simulated_lists: None };
/// let shipped = std::fs::read_to_string("../topology.yaml")?;
/// let topology = read("topology.yaml", &shipped, against).expect("the shipped one is good");
/// assert_eq!(topology.providers[0].name, "binance");
///
/// let broken = shipped.replacen("    core: 0", "    coer: 0", 1);
/// let errors = read("topology.yaml", &broken, against).expect_err("a misspelt key");
/// let found = errors.problems.iter().find(|problem| problem.key == "shards[0].coer").expect("its place");
/// assert_eq!(found.found, "an unknown key");
/// assert!(found.fits.starts_with("did you mean 'core'?"));
/// assert!(errors.to_string().starts_with("topology.yaml:"));
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn read(file: &str, text: &str, against: Against<'_>) -> Result<Topology, TopologyErrors> {
    let mut problems = Problems::default();
    let topology = yaml::parse(text, &mut problems)
        .and_then(|root| written::read(&root, against.consumer_kinds, &mut problems))
        .and_then(|written| resolve::resolve(file, &written, against, &mut problems));
    if let Some(topology) = &topology {
        for (index, reason) in rules::problems(topology) {
            let merge = &topology.merges[index];
            let spot = Spot { line: merge.line, key: format!("merges[{index}]") };
            problems.add(&spot, format!("rule {}", merge.name), reason);
        }
    }
    match topology {
        Some(topology) if problems.is_empty() => Ok(topology),
        _ => Err(TopologyErrors::new(file, problems.into_list())),
    }
}

impl Topology {
    /// The instruments of a provider that its venue does not list, as problems of the file.
    pub fn unlisted(&self, provider: ProviderIndex, listed: &dyn Fn(&str) -> bool) -> Option<TopologyErrors> {
        let plan = self.provider(provider);
        let mut problems = Problems::default();
        for (index, instrument) in plan.instruments.iter().enumerate() {
            let symbol = self.symbol(instrument.id);
            if !listed(symbol) {
                let spot = Spot {
                    line: instrument.line,
                    key: format!("providers[{}].instruments[{index}]", provider.0),
                };
                resolve::add_unlisted(&spot, symbol, plan.product, &mut problems);
            }
        }
        (!problems.is_empty()).then(|| TopologyErrors::new(&self.file, problems.into_list()))
    }
}

/// The file's text, at most [`FILE_BYTES_MAX`] of it: the path may name a device or a log.
fn read_file(path: &Path) -> Result<String, Problem> {
    let problem =
        |found: String, fits: &str| Problem { line: 0, key: String::new(), found, fits: fits.to_owned() };
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes))
        .map_err(|error| problem(format!("no readable file ({error})"), "fits the path of a topology file"))?;
    if bytes.len() > FILE_BYTES_MAX {
        return Err(problem("a longer file".to_owned(), &format!("fits up to {FILE_BYTES_MAX} bytes")));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..valid].split(|byte| *byte == b'\n').count();
        Problem {
            line,
            key: String::new(),
            found: "bytes that are not UTF-8".to_owned(),
            fits: "fits text".to_owned(),
        }
    })
}
