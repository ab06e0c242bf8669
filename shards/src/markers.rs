//! What a provider says to merge shards: how far it is, so that they need not wait for it while it is idle.
//!
//! When and why is written in `engine::merge::marker`.

use engine::dispatch::Dispatcher;
use engine::ids::ProviderId;
use engine::merge::marker::{MARKER_EVERY_NS, MarkerPace, marker, passed};
use engine::time::ReceiveTime;

/// The markers of one provider. A provider without merge shards has none and never pays for them.
#[derive(Debug)]
pub struct Markers {
    provider: ProviderId,
    /// Outputs that go to merge shards.
    outputs: Vec<usize>,
    pace: MarkerPace,
    /// How long an event may wait for missing numbers, in nanoseconds.
    lateness_ns: u64,
}

impl Default for Markers {
    fn default() -> Self {
        Self::new(ProviderId::default(), &[], 0)
    }
}

impl Markers {
    /// Markers for these outputs. An event waits `lateness_ns` at most for missing numbers.
    pub fn new(provider: ProviderId, outputs: &[usize], lateness_ns: u64) -> Self {
        Self { provider, outputs: outputs.to_vec(), pace: MarkerPace::new(MARKER_EVERY_NS), lateness_ns }
    }

    /// One more output that goes to a merge shard.
    pub fn add(&mut self, output: usize) {
        self.outputs.push(output);
    }

    /// When the next one is due, in nanoseconds; `u64::MAX` for never.
    #[inline]
    pub fn deadline_ns(&self) -> u64 {
        if self.outputs.is_empty() { u64::MAX } else { self.pace.deadline().ns() }
    }

    /// Offers one to each output, after the turn's events. `turn` is when the turn began, before it read anything: what was
    /// received before has been offered, except what waits for missing numbers until `hole` at the latest. Frames that
    /// are still unread are received when they are taken.
    ///
    /// Where events wait for room none goes: they themselves will say how far this is, and then the next marker.
    pub fn send(&mut self, turn: ReceiveTime, hole: Option<ReceiveTime>, dispatcher: &mut Dispatcher) {
        let event = marker(self.provider, passed(turn, hole, self.lateness_ns));
        for &output in &self.outputs {
            dispatcher.offer_marker(output, event);
        }
        self.pace.sent(turn);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::event::Body;
    use engine::ids::ShardId;
    use engine::ring::ring;

    #[test]
    fn one_goes_to_each_merge_shard_and_to_nobody_else_when_it_is_due() {
        let at = ReceiveTime::from_ns;
        let mut dispatcher = Dispatcher::new(1);
        let mut receivers = Vec::new();
        for shard in 0..3 {
            let (sender, receiver) = ring(4);
            dispatcher.add_output(ShardId(shard), sender, 4);
            receivers.push(receiver);
        }
        let mut markers = Markers::new(ProviderId(7), &[0, 2], 150);
        assert_eq!(markers.deadline_ns(), 0, "the first at once");
        markers.send(at(1_000), Some(at(1_100)), &mut dispatcher);
        dispatcher.flush(&mut (), |_| {});
        assert_eq!(markers.deadline_ns(), 1_000 + MARKER_EVERY_NS);
        for (shard, receiver) in receivers.iter_mut().enumerate() {
            let came =
                receiver.pop().map(|event| (event.body, event.header.provider, event.header.receive_time));
            let held_back = (Body::Marker, ProviderId(7), at(950));
            assert_eq!(came, (shard != 1).then_some(held_back), "output {shard}");
        }
        assert_eq!(Markers::default().deadline_ns(), u64::MAX);
    }
}
