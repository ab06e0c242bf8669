//! What goes where: the names of everything, who wants which streams, and the rings between providers and other shards.

use std::time::SystemTime;

use engine::channel::Channel;
use engine::directory::Directory;
use engine::dispatch::Dispatcher;
use engine::event::Event;
use engine::ids::{ConsumerId, ProviderId, ShardId, StreamId};
use engine::ring::{Receiver, Sender, ring};
use engine::routing::{Delivery, Route};

use super::merges::Merges;
use super::{LETTERS_MAX, LaunchError, Simulation, orders, venues};
use crate::capture::Tap;
use crate::machine::clock::{Clock, wall_ns};
use crate::machine::idle::Waker;
use crate::machine::target::Target;
use crate::outputs::add_output;
use crate::topology::books::book_reserve;
use crate::topology::offer::engine_channel;
use crate::topology::{self, ConsumerPlan, ProviderPlan, RingSizes, ShardIndex, Subscription, Topology};

/// The parts of one provider that are made before its thread exists.
pub(super) struct ProviderParts {
    pub(super) index: u8,
    pub(super) plan: ProviderPlan,
    pub(super) directory: Directory,
    /// With the consumer of a route; a merge shard has none.
    pub(super) routes: Vec<(StreamId, Route, Option<ConsumerId>)>,
    pub(super) outputs: Vec<(ShardId, Sender<Event>, RingSizes)>,
    pub(super) wakers: Vec<Waker>,
    /// Outputs that go to merge shards: they get markers.
    pub(super) markers: Vec<usize>,
    pub(super) websocket: Target,
    pub(super) rest: Target,
    pub(super) orders: Option<orders::ProviderEnd>,
    pub(super) tap: Option<Tap>,
}

/// What a consumer wants: provider, stream, and for book streams the levels of the copy and those made at start.
pub(super) type Wants = Vec<(ProviderId, StreamId, Option<(usize, usize)>)>;

pub(super) fn subscriptions(
    topology: &Topology,
    consumer: &ConsumerPlan,
    directories: &[Directory],
) -> Wants {
    let mut wants = Vec::new();
    for_each_stream(topology, consumer, directories, |provider, stream, channel, _, depth| {
        let copy = channel.is_book().then(|| (depth, book_reserve(depth)));
        wants.push((ProviderId(provider), stream, copy));
    });
    wants
}

/// Calls `each` with provider, stream, channel, delivery and book depth of everything that a consumer subscribes to.
pub(super) fn for_each_stream(
    topology: &Topology,
    consumer: &ConsumerPlan,
    directories: &[Directory],
    mut each: impl FnMut(u8, StreamId, Channel, Delivery, usize),
) {
    for subscription in &consumer.subscriptions {
        let Subscription::Market { provider, instruments, channels, book_depth } = subscription else {
            continue;
        };
        let directory = &directories[usize::from(provider.0)];
        let depth_max = topology.provider(*provider).book.map_or(0, |book| book.depth_max as usize);
        let depth =
            book_depth.map_or(depth_max, |depth| if depth.full { depth_max } else { depth.levels as usize });
        for (index, instrument) in directory.instruments().iter().enumerate() {
            if !instruments.iter().any(|wanted| wanted.0 == instrument.id.0) {
                continue;
            }
            for (channel, delivery) in channels {
                let channel = engine_channel(*channel);
                let listing = engine::ids::Listing(index as u16);
                let Some(stream) = directory.stream(listing, channel) else { continue };
                let delivery = match delivery {
                    topology::Delivery::Latest => Delivery::Latest,
                    topology::Delivery::Book => Delivery::Book,
                    topology::Delivery::Lossless => Delivery::Lossless,
                };
                each(provider.0, stream, channel, delivery, depth);
            }
        }
    }
}

pub(super) type Receivers = Vec<Vec<Receiver<Event>>>;

/// Makes the rings: one from each provider to each consumer or merge shard that wants any of its streams.
pub(super) fn wire(
    topology: &Topology,
    directories: &[Directory],
    merges: &Merges,
    wakers: &[Waker],
    simulation: &Simulation,
) -> Result<(Vec<ProviderParts>, Receivers), LaunchError> {
    let mut receivers: Receivers = topology.shards.iter().map(|_| Vec::new()).collect();
    let mut all = Vec::new();
    for (index, plan) in topology.providers.iter().enumerate() {
        let (websocket, rest) = venues::targets(index, plan, simulation)?;
        let mut part = ProviderParts {
            index: index as u8,
            plan: plan.clone(),
            directory: directories[index].clone(),
            routes: Vec::new(),
            outputs: Vec::new(),
            wakers: Vec::new(),
            markers: Vec::new(),
            websocket,
            rest,
            orders: None,
            tap: start_tap(plan)?,
        };
        for (number, shard) in topology.shards.iter().enumerate() {
            let Some(rings) = shard.rings() else { continue };
            let output = part.outputs.len();
            let merged = merges.wanted(ShardIndex(number as u8), index);
            let mut routes: Vec<_> =
                merged.map(|(stream, kind)| (stream, kind.route(output), None)).collect();
            if !routes.is_empty() {
                part.markers.push(output);
            }
            for (holder, consumer) in topology.consumers_on(ShardIndex(number as u8)) {
                for_each_stream(
                    topology,
                    consumer,
                    directories,
                    |provider, stream, _, delivery, book_depth| {
                        if usize::from(provider) == index {
                            let route = Route { output, delivery, book_depth };
                            routes.push((stream, route, Some(ConsumerId(holder as u16))));
                        }
                    },
                );
            }
            if routes.is_empty() {
                continue;
            }
            let (sender, receiver) = ring(rings.ring_events as usize);
            receivers[number].push(receiver);
            part.outputs.push((ShardId(number as u8), sender, rings));
            part.wakers.push(wakers[number].clone());
            part.routes.extend(routes);
        }
        all.push(part);
    }
    Ok((all, receivers))
}

/// Starts the capture that a provider asks for.
fn start_tap(plan: &ProviderPlan) -> Result<Option<Tap>, LaunchError> {
    let Some(capture) = &plan.capture else { return Ok(None) };
    let moment = (wall_ns(), Clock::new().now());
    let tap = Tap::start(capture, &plan.name, SystemTime::now(), moment);
    let refused =
        |source| LaunchError::Capture { provider: plan.name.clone(), dir: capture.dir.clone(), source };
    tap.map(Some).map_err(refused)
}

impl ProviderParts {
    /// The dispatcher with its outputs and routes.
    pub(super) fn dispatcher(&mut self) -> Dispatcher {
        let mut dispatcher = Dispatcher::new(LETTERS_MAX);
        for (shard, sender, rings) in self.outputs.drain(..) {
            add_output(&mut dispatcher, shard, sender, rings);
        }
        dispatcher.routing.begin_version(1);
        for (stream, route, holder) in self.routes.drain(..) {
            dispatcher.routing.add(stream, route);
            if let Some(holder) = holder {
                dispatcher.routing.add_holder(stream, route.output, holder);
            }
        }
        dispatcher
    }
}
