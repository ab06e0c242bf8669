//! What a merge shard does for the control thread: rules and routes that change. Without its sockets and clocks, so that the
//! simulation runs the same.

use engine::event::Event;
use engine::ids::ProviderId;
use engine::merge::Merger;
use engine::ring::Receiver;
use engine::routing::Delivery;

use crate::control::link::{Command, Opened, Reply, RouteChange};

/// Does what a command says, at the beginning of a turn. `joined` takes the ring of each new input, `opened` each new way.
#[cold]
pub fn obey(
    merger: &mut Merger,
    command: Command,
    mut joined: impl FnMut(ProviderId, Receiver<Event>),
    opened: impl FnOnce(Opened),
) -> Reply {
    match command {
        Command::Merge { catalog, rule, streams, inputs, version } => {
            for (provider, ring) in inputs {
                merger.add_input(provider);
                joined(provider, ring);
            }
            merger.set_catalog(catalog);
            merger.dispatcher.routing.begin_version(version);
            match merger.add_rule(&rule) {
                Ok(made) => {
                    assert_eq!(made, streams, "both sides number merged streams alike");
                    Reply::Done
                }
                Err(error) => Reply::Refused(error.to_string()),
            }
        }
        Command::EndMerge { name, version } => {
            merger.dispatcher.routing.begin_version(version);
            merger.remove_rule(&name);
            Reply::Done
        }
        Command::Route { change, .. } => {
            take_routes(merger, *change, opened);
            Reply::Done
        }
        Command::Letters => {
            let letters = &merger.dispatcher.letters;
            Reply::Letters {
                letters: letters.iter().cloned().collect(),
                written_total: letters.written_total(),
                evicted_total: letters.evicted_total(),
            }
        }
        Command::List { .. }
        | Command::Roll { .. }
        | Command::Subscribe { .. }
        | Command::Unsubscribe { .. }
        | Command::Tell { .. }
        | Command::Latencies => Reply::Refused("a merge shard has no venue and no consumers".to_owned()),
    }
}

fn take_routes(merger: &mut Merger, change: RouteChange, opened: impl FnOnce(Opened)) {
    let dispatcher = &mut merger.dispatcher;
    if let Some(output) = change.output {
        opened(output.open(dispatcher));
    }
    dispatcher.routing.begin_version(change.version);
    for (stream, route) in change.routes {
        debug_assert!(route.delivery != Delivery::Book, "merged streams are no books");
        dispatcher.routing.set(stream, route);
        dispatcher.reserve(stream);
    }
    for (stream, output, holders) in change.holders {
        dispatcher.routing.set_holders(stream, output, &holders);
    }
    for (stream, output) in change.ended {
        dispatcher.routing.remove(stream, output);
    }
}
