//! For consumers: the parts of a merged event put together, each merged event once.

use crate::event::{Body, Event, Flags, FragmentValue, Header, MERGED_PROVIDERS_MAX, MergedHead};
use crate::ids::{ProviderId, StreamId};
use crate::time::ReceiveTime;

/// One provider's latest event of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Its place: instrument, scale, trace and venue time are its own.
    pub header: Header,
    /// Whose it is.
    pub provider: ProviderId,
    /// Its number in its own stream.
    pub sequence: u64,
    /// When its bytes reached us.
    pub receive_time: ReceiveTime,
    /// What happened.
    pub value: FragmentValue,
}

/// A whole merged event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// The merge id.
    pub id: u64,
    /// The merge shard's provider number and the stream.
    pub place: (ProviderId, StreamId),
    /// The window.
    pub head: MergedHead,
    /// One of each provider, in the order of the rule.
    pub fragments: heapless::Vec<Fragment, MERGED_PROVIDERS_MAX>,
}

/// A stream whose events are being put together.
#[derive(Debug)]
struct Seam {
    place: (ProviderId, StreamId),
    /// Merge id of the last event that was whole. Ids of a stream only grow.
    last_id: u64,
    joined: Option<Joined>,
}

/// Puts parts together, per stream, and drops what it has seen before by its merge id.
#[derive(Debug, Default)]
pub struct Joiner {
    seams: Vec<Seam>,
    duplicates_total: u64,
    broken_total: u64,
}

impl Joiner {
    /// One that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes one event. Returns the merged event that it completes, until the next call.
    pub fn take(&mut self, event: &Event) -> Option<&Joined> {
        let Header { provider, stream, sequence_last: id, .. } = event.header;
        let place = (provider, stream);
        if !matches!(event.body, Body::Merged(_) | Body::Fragment { .. }) {
            return None;
        }
        let at = self.seams.iter().position(|seam| seam.place == place).unwrap_or_else(|| {
            self.seams.push(Seam { place, last_id: 0, joined: None });
            self.seams.len() - 1
        });
        let seam = &mut self.seams[at];
        match (&event.body, &mut seam.joined) {
            (Body::Merged(head), _) if event.header.flags.has(Flags::FIRST) => {
                if id <= seam.last_id {
                    self.duplicates_total += 1;
                    seam.joined = None;
                    return None;
                }
                seam.joined = Some(Joined { id, place, head: *head, fragments: heapless::Vec::new() });
            }
            (&Body::Fragment { provider, sequence, receive_time, value }, Some(joined)) => {
                let fragment = Fragment { header: event.header, provider, sequence, receive_time, value };
                if joined.id != id || joined.fragments.push(fragment).is_err() {
                    self.broken_total += 1;
                    seam.joined = None;
                    return None;
                }
            }
            // The rest of one that is dropped.
            (_, _) if id <= seam.last_id => return None,
            (_, _) => {
                self.broken_total += 1;
                return None;
            }
        }
        if !event.completes() {
            return None;
        }
        seam.last_id = id;
        seam.joined.as_ref()
    }

    /// Merged events that came again.
    pub const fn duplicates_total(&self) -> u64 {
        self.duplicates_total
    }

    /// Parts without their beginning.
    pub const fn broken_total(&self) -> u64 {
        self.broken_total
    }
}
