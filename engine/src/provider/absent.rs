//! Books whose subscription the venue has taken and whose snapshot never came: they are asked for again.
//!
//! A snapshot that comes in the stream comes once. If its frame is lost, or cannot be read, nothing that follows brings the book
//! back: it is broken already, so further loss is no news, and its snapshot is wanted already, so no update asks for another.
//! The one thing that helps is a time after which a wish has failed.
//!
//! Every state of a book that is not proved has somebody who brings it back, and a time:
//!
//! | state | who | at the latest |
//! | --- | --- | --- |
//! | its line is down | the connection opens again and subscribes all | its pause, 30 s |
//! | its subscription is not answered | the connection is made anew (`NoAck`) | 10 s |
//! | it broke again and again | [`Resyncs`](super::resync::Resyncs) | its pause, 300 s |
//! | subscribed, its snapshot in the stream has not come | this | 10 s |
//! | its snapshot by REST is under way | the queue tries again until it is answered | its pause, 60 s, or the venue's |
//! | no snapshot by REST is wanted, updates come | the next of them wants one | at once |
//! | the same, none comes | `look_at_quiet` | its pause, 60 s |
//! | loaded by REST, not joined | the next update joins it, or breaks it | see above |
//! | delisted | nobody: its streams have ended | |

use super::Provider;
use crate::ids::{LineId, StreamId};
use crate::pipeline::Want;
use crate::time::ReceiveTime;
use crate::venue::Venue;

/// How long a snapshot may take once all subscriptions of its line are taken, in nanoseconds. Twice what verifications get; a
/// snapshot of megabytes over a slow network comes sooner.
const SNAPSHOT_NS_MAX: u64 = 10_000_000_000;

/// A book without a snapshot, as one line keeps it.
#[derive(Clone, Copy, Debug)]
struct Absent {
    stream: StreamId,
    line: LineId,
    since: ReceiveTime,
}

/// The books without a snapshot. A handful of entries, and none while all is well.
#[derive(Debug, Default)]
pub(super) struct Absents(Vec<Absent>);

impl Absents {
    /// A stream is being subscribed anew: its time begins when that is done.
    pub fn forget(&mut self, stream: StreamId) {
        self.0.retain(|absent| absent.stream != stream);
    }
}

impl<V: Venue> Provider<V> {
    /// Asks again for snapshots that should have come.
    pub(super) fn look_at_absent(&mut self, now: ReceiveTime) {
        let Self { connections, pipeline, absents, resyncs, .. } = self;
        absents.0.retain(|absent| {
            let line = &connections[absent.line.index()];
            line.is_live()
                && line.streams().contains(&absent.stream)
                && pipeline.lacks_snapshot(absent.stream, absent.line)
        });
        for line in connections.iter().filter(|line| line.is_subscribed()) {
            for &stream in line.streams() {
                let known = |absent: &Absent| (absent.stream, absent.line) == (stream, line.line());
                // One that broke again and again has its pause first.
                if pipeline.lacks_snapshot(stream, line.line())
                    && !resyncs.waits(stream, line.line())
                    && !absents.0.iter().any(known)
                {
                    absents.0.push(Absent { stream, line: line.line(), since: now });
                }
            }
        }
        let is_overdue = |absent: &Absent| {
            now.since_ns(absent.since) >= SNAPSHOT_NS_MAX && connections[absent.line.index()].is_subscribed()
        };
        let overdue: Vec<Absent> = absents.0.extract_if(.., |absent| is_overdue(absent)).collect();
        for Absent { stream, line, .. } in overdue {
            self.care.counts.absent_snapshots_total += 1;
            self.want(Want::Resubscribe(stream, Some(line)), now);
        }
    }
}
