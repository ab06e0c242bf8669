//! Small integers for what is named by strings only at the edges: after boot nothing on the path compares text.

use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(transparent)]
        pub struct $name(pub $inner);

        impl $name {
            /// The number as an index into a table of its kind.
            #[inline]
            pub const fn index(self) -> usize {
                self.0 as usize
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

id!(/// A configured connection set to a venue: its place in the topology's list of providers.
    ProviderId(u8));
id!(/// A thing traded, over all venues: its place in the process's table of canonical symbols.
    InstrumentId(u16));
id!(/// An instrument of one provider: its place in that provider's directory.
    Listing(u16));
id!(/// One ordered sequence (provider, instrument, channel), numbered within its provider.
    StreamId(u32));
id!(/// One pinned core's loop and all that it owns.
    ShardId(u8));
id!(/// A user of events: its place in the topology's list of consumers.
    ConsumerId(u16));
id!(/// One connection of a provider; with `lines: 2` two of them carry the same streams.
    LineId(u8));

/// Where an event came from: the line and the number of the frame on it. Unique in one run of one provider.
///
/// Written `line.frame` in logs and dead letters, for example `0.51342`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct TraceId(u64);

impl TraceId {
    const FRAME_BITS: u32 = 56;

    /// The trace of frame `frame` (counted from 1 over the life of the line, reconnects included) of `line`.
    #[inline]
    pub const fn new(line: LineId, frame: u64) -> Self {
        Self((line.0 as u64) << Self::FRAME_BITS | frame & ((1 << Self::FRAME_BITS) - 1))
    }

    /// The line.
    pub const fn line(self) -> LineId {
        LineId((self.0 >> Self::FRAME_BITS) as u8)
    }

    /// The frame's number on that line.
    pub const fn frame(self) -> u64 {
        self.0 & ((1 << Self::FRAME_BITS) - 1)
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.line(), self.frame())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_keeps_line_and_frame() {
        let trace = TraceId::new(LineId(3), 51_342);
        assert_eq!((trace.line(), trace.frame(), trace.to_string().as_str()), (LineId(3), 51_342, "3.51342"));
    }
}
