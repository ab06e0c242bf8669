//! A topology's names in the engine's terms: directories and the catalog, numbered in the order of the file.

use engine::catalog::{Catalog, ProviderFacts, StreamFacts};
use engine::directory::Directory;
use engine::ids::{InstrumentId, ProviderId};

use super::offer::engine_channel;
use super::plan::Topology;
use super::venues;

/// The names of everything, and the directory of each provider, numbered alike.
pub fn catalog_of(topology: &Topology) -> (Catalog, Vec<Directory>) {
    let mut providers = Vec::new();
    let mut directories = Vec::new();
    for (index, plan) in topology.providers.iter().enumerate() {
        let mut directory = Directory::closed(ProviderId(index as u8));
        for listed in &plan.instruments {
            let symbol = topology.symbol(listed.id);
            let venue_symbol = venues::venue_symbol(plan.product, symbol);
            let listing = directory
                .add(&venue_symbol, symbol, InstrumentId(listed.id.0))
                .expect("the topology bounds symbols and their count");
            for channel in &plan.channels {
                directory.add_stream(listing, engine_channel(*channel));
            }
        }
        let streams = directory.streams().iter().map(|stream| {
            let instrument = directory.instrument(stream.listing);
            StreamFacts {
                symbol: instrument.symbol.clone(),
                venue_symbol: instrument.venue_symbol.clone(),
                instrument: instrument.id,
                channel: stream.channel,
            }
        });
        providers.push(ProviderFacts {
            name: plan.name.clone(),
            venue: venues::name(plan.product).to_owned(),
            streams: streams.collect(),
        });
        directories.push(directory);
    }
    (Catalog { providers, symbols: topology.symbols.clone() }, directories)
}
