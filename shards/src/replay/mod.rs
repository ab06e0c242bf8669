//! `meltica replay`: recorded sessions through the engine that runs live, as fast as it can.
//!
//! Every shard reads the whole session and keeps the instruments that are its share; what it publishes goes over a ring
//! to one consumer thread, which rebuilds every figure from the events that were delivered. The recorded receive times
//! are the clock, so the same session gives the same events on any number of shards.

mod capture;
mod output;
pub mod recording;
mod tally;

use std::path::PathBuf;
use std::thread;
use std::time::Instant;

use engine::directory::Directory;
use engine::dispatch::Dispatcher;
use engine::event::Event;
use engine::ids::{LineId, ProviderId, ShardId};
use engine::pipeline::{Pipeline, PipelineOptions};
use engine::pools::PoolSizes;
use engine::ring::{Receiver, ring};
use engine::sequence::Patience;
use engine::time::{FixedClock, ReceiveTime};
use engine::venue::Venue;

pub use capture::{CaptureError, Line, Origin, Session};
pub use output::ReplayOutcome;
pub use recording::{RecordingError, RecordingOutcome, replay_recording};
use tally::Tally;

/// Events between a replay shard and the consumer: enough that a burst of a joined book rarely spills.
const RING_EVENTS: usize = 1 << 15;
/// Parts that may wait beyond the ring. A replay waits for its consumer before each line, so this bounds one line.
const SPILL_EVENTS: usize = 1 << 22;
/// Levels a side of a replayed book. Coinbase sends whole books; the count of levels refused is in the output.
const BOOK_DEPTH_MAX: usize = 1 << 16;
/// Updates of one book that may wait for its snapshot: 100 seconds at ten a second.
const BOOK_WAITING_MAX: usize = 1_000;

/// What to replay.
#[derive(Clone, Debug)]
pub struct ReplayOptions {
    /// Capture files, in order; they make one session.
    pub files: Vec<PathBuf>,
    /// Shards to run it on; at least 1.
    pub shards: u16,
}

/// Why a replay did not run.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// A file could not be read, or is no capture.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// A replay thread panicked: a bug of ours.
    #[error("replay shard {0} panicked; this is a bug")]
    Panicked(u16),
}

/// Replays a session of `venue`; `make` makes the decoder of each shard.
///
/// # Errors
/// [`ReplayError`]
pub fn replay<V: Venue>(
    options: &ReplayOptions,
    make: impl Fn() -> V + Sync,
) -> Result<ReplayOutcome, ReplayError> {
    let started = Instant::now();
    let mut senders = Vec::new();
    let mut receivers = Vec::new();
    for _ in 0..options.shards {
        let (sender, receiver) = ring::<Event>(RING_EVENTS);
        senders.push(sender);
        receivers.push(receiver);
    }
    let (tally, shards) = thread::scope(|scope| {
        let shards: Vec<_> = senders
            .into_iter()
            .zip(0..options.shards)
            .map(|(sender, index)| {
                let make = &make;
                scope.spawn(move || {
                    let mut dispatcher = Dispatcher::new(64);
                    let output = dispatcher.add_output(ShardId(0), sender, SPILL_EVENTS);
                    let pipeline_options = PipelineOptions {
                        // Updates of every instrument may wait at once for snapshots recorded later.
                        pools: PoolSizes { raws: 8 * BOOK_WAITING_MAX, ..PoolSizes::SPEC },
                        patience: Patience::SPEC,
                        book_depth_max: BOOK_DEPTH_MAX,
                        book_reserve: 1_024,
                        book_waiting_max: BOOK_WAITING_MAX,
                        letters_max: 64,
                        lines: 1,
                        snapshot_levels: usize::MAX,
                        fill_trades: false,
                        share: (index, options.shards),
                        route_all_to: Some(output),
                    };
                    let pipeline =
                        Pipeline::new(make(), Directory::open(ProviderId(0)), dispatcher, pipeline_options);
                    run_shard(pipeline, &options.files)
                })
            })
            .collect();
        let tally = consume(receivers);
        let shards: Vec<_> = shards.into_iter().map(thread::ScopedJoinHandle::join).collect();
        (tally, shards)
    });
    let mut finished = Vec::new();
    for (index, shard) in shards.into_iter().enumerate() {
        finished.push(shard.map_err(|_| ReplayError::Panicked(index as u16))??);
    }
    Ok(ReplayOutcome::new(tally, finished, started.elapsed()))
}

/// What a shard knows at the end that is no event: names, and the counts of what was not published.
pub(crate) struct FinishedShard {
    lines: u64,
    ws: u64,
    rest: u64,
    summary: output::ShardSummary,
}

fn run_shard<V: Venue>(mut pipeline: Pipeline<V>, files: &[PathBuf]) -> Result<FinishedShard, CaptureError> {
    let mut session = Session::open(files)?;
    let mut clock = FixedClock(ReceiveTime::default());
    let (mut lines, mut ws, mut rest) = (0, 0, 0);
    while let Some(line) = session.next_line()? {
        lines += 1;
        // A receive time of 0 means that the source had none: the clock stands still.
        if line.receive_ns > 0 {
            clock.0 = ReceiveTime::from_ns(line.receive_ns);
        }
        let at = clock.0;
        wait_for_room(&mut pipeline, &mut clock);
        match line.origin {
            Origin::WebSocket => {
                ws += 1;
                pipeline.frame(LineId(0), line.payload, at, &mut clock);
            }
            Origin::Rest(path) => {
                rest += 1;
                pipeline.rest(path, line.payload, at, &mut clock);
            }
        }
        while pipeline.poll_want().is_some() {
            // Whoever recorded the session fetched what was needed; its answers are in the file.
        }
    }
    pipeline.finish();
    pipeline.flush(&mut clock, |_| {});
    while pipeline.dispatcher.is_congested() {
        thread::yield_now();
        pipeline.flush(&mut clock, |_| {});
    }
    Ok(FinishedShard { lines, ws, rest, summary: output::ShardSummary::of(&pipeline) })
}

/// A replay loses nothing: it waits for its consumer where a live shard would coalesce.
fn wait_for_room<V: Venue>(pipeline: &mut Pipeline<V>, clock: &mut FixedClock) {
    loop {
        if pipeline.dispatcher.has_room(engine::ring::STAGED_MAX) {
            return;
        }
        pipeline.flush(clock, |_| {});
        if pipeline.dispatcher.is_congested() || !pipeline.dispatcher.has_room(engine::ring::STAGED_MAX) {
            thread::yield_now();
        }
    }
}

/// Takes events off all rings until every shard is done.
fn consume(mut receivers: Vec<Receiver<Event>>) -> Tally {
    let mut tally = Tally::default();
    loop {
        let mut taken = 0;
        let mut ended = 0;
        for receiver in &mut receivers {
            // Asked before the last drain: what was published before the sender left is still there.
            let abandoned = receiver.is_abandoned();
            taken += receiver.drain(1_024, |event| tally.take(event));
            ended += usize::from(abandoned && receiver.is_empty());
        }
        if ended == receivers.len() {
            return tally;
        }
        if taken == 0 {
            thread::yield_now();
        }
    }
}
