//! The consumers that Meltica brings, and the list of kinds that a topology may name.
//!
//! A program of its own adds its strategies with [`Registry::with`] and hands [`Registry::kinds`] to
//! [`load_with`](crate::topology::load_with). Factories run on the starting thread, before any shard does, so that
//! what cannot work (a directory that is not writable) is an error before the start and not a hole in the data.

pub mod handoff;
pub mod maker;
pub mod own;
pub mod printer;
pub mod recorder;
pub mod stats;
pub mod taker;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use engine::catalog::Catalog;
use engine::consumer::Consumer;

pub(crate) use recorder::own_directory;

use crate::topology::{CONSUMER_KINDS, ConsumerOptions, ConsumerPlan};

/// Names of the built-in kinds.
pub const KINDS: &[&str] = &CONSUMER_KINDS;

/// What a factory may know of the consumer it is to make.
#[derive(Clone, Debug)]
pub struct ConsumerConfig {
    /// Its name in the topology.
    pub name: String,
    /// Its options in the topology.
    pub options: ConsumerOptions,
    /// Names behind the numbers in events.
    pub catalog: Arc<Catalog>,
    /// The directory of this run's report; it exists.
    pub run_dir: PathBuf,
    /// When the run started.
    pub started_at: SystemTime,
}

/// Why a consumer cannot be made; told before the start, behind the consumer's name.
#[derive(Debug, thiserror::Error)]
pub enum ConsumerError {
    /// No such kind is registered.
    #[error("there is no kind {0:?}")]
    UnknownKind(String),
    /// Its options are not those of its kind.
    #[error("{0}")]
    Options(String),
    /// A file or directory that it writes to cannot be made.
    #[error("cannot write {}: {source}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
}

/// Makes a consumer on its shard: at start, and again after a panic. It is moved to the shard, hence `Send`; the consumer
/// itself need not be. Fits [`MakeConsumer`](engine::consumer::MakeConsumer) as it is.
pub type Maker = Box<dyn Fn() -> Box<dyn Consumer> + Send>;

/// Checks a configuration, takes what can fail, and returns what makes the consumer.
pub type Factory = Box<dyn Fn(&ConsumerConfig) -> Result<Maker, ConsumerError>>;

/// Kinds of consumers by name.
pub struct Registry {
    run_dir: PathBuf,
    started_at: SystemTime,
    kinds: Vec<(&'static str, Factory)>,
}

impl Registry {
    /// The built-in kinds, for the run whose report goes to `run_dir`.
    pub fn built_in(run_dir: &Path) -> Self {
        Self { run_dir: run_dir.to_owned(), started_at: SystemTime::now(), kinds: Vec::new() }
            .with("stats", stats::factory)
            .with("printer", printer::factory)
            .with("recorder", recorder::factory)
            .with("maker", maker::factory)
            .with("taker", taker::factory)
    }

    /// Adds a kind. A name of lower case letters, digits and `_`, as topologies write it; the last one of a name counts.
    #[must_use]
    pub fn with(
        mut self,
        kind: &'static str,
        factory: impl Fn(&ConsumerConfig) -> Result<Maker, ConsumerError> + 'static,
    ) -> Self {
        self.kinds.retain(|(known, _)| *known != kind);
        self.kinds.push((kind, Box::new(factory)));
        self
    }

    /// All names, for the check of a topology.
    pub fn kinds(&self) -> Vec<&'static str> {
        self.kinds.iter().map(|(kind, _)| *kind).collect()
    }

    /// What makes the consumer that the topology plans. Call it before any thread is pinned: a consumer's own thread inherits
    /// the cores of the one that starts it.
    ///
    /// # Errors
    /// [`ConsumerError`]
    pub fn make(&self, plan: &ConsumerPlan, catalog: &Arc<Catalog>) -> Result<Maker, ConsumerError> {
        self.make_kind(
            &plan.kind,
            &ConsumerConfig {
                name: plan.name.clone(),
                options: plan.options.clone(),
                catalog: Arc::clone(catalog),
                run_dir: self.run_dir.clone(),
                started_at: self.started_at,
            },
        )
    }

    fn make_kind(&self, kind: &str, config: &ConsumerConfig) -> Result<Maker, ConsumerError> {
        let found = self.kinds.iter().find(|(known, _)| *known == kind);
        let (_, factory) = found.ok_or_else(|| ConsumerError::UnknownKind(kind.to_owned()))?;
        factory(config)
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Registry").field(&self.kinds()).finish()
    }
}

/// The error of options that belong to another kind: the program's own mistake, since the topology is checked by kind.
fn wrong_options(kind: &str) -> ConsumerError {
    ConsumerError::Options(format!("its options are not those of a {kind}"))
}

#[cfg(test)]
pub(crate) mod testing;

#[cfg(test)]
mod tests {
    use super::*;
    use engine::consumer::Context;
    use engine::event::Event;

    struct Silent;
    impl Consumer for Silent {
        fn on_event(&mut self, _: &Event, _: &mut Context<'_>) {}
        fn summary(&self) -> Vec<(String, String)> {
            vec![("said".to_owned(), "nothing".to_owned())]
        }
    }

    #[test]
    fn the_built_in_kinds_are_those_that_a_topology_may_name() {
        assert_eq!(Registry::built_in(Path::new("")).kinds(), KINDS);
    }

    #[test]
    fn a_program_adds_its_own_kind_and_an_unknown_one_is_refused() {
        let registry =
            Registry::built_in(Path::new("")).with("silent", |_| Ok(Box::new(|| Box::new(Silent))));
        assert_eq!(registry.kinds(), ["stats", "printer", "recorder", "maker", "taker", "silent"]);
        let config = testing::config(ConsumerOptions::None);
        let maker = registry.make_kind("silent", &config).expect("it is registered");
        let mut host = engine::consumer::Host::new(Arc::default(), 1);
        host.add("silent", testing::ID, engine::consumer::OnPanic::Disable, maker);
        assert_eq!(host.summaries()[0].1[0].1, "nothing");
        let error = registry.make_kind("loud", &config).err().map(|error| error.to_string());
        assert_eq!(error.as_deref(), Some("there is no kind \"loud\""));
    }
}
