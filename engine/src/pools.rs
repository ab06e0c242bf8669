//! The pooled types of a shard (SPEC F-01), each with its reset; those of a merge shard beside events are in [`merge`](crate::merge).

use crate::decimal::Decimals;
use crate::event::{Event, GapReason, Header};
use crate::ids::TraceId;
use crate::orders::{ExecReport, OrderRequest};
use crate::pool::{Pool, Reset};
use crate::raw::Raw;
use crate::time::{ReceiveTime, VenueTime};
use crate::{event::Body, event::Gap};

/// Bytes that a pooled frame holds before it must grow: the largest frame of the recorded Binance sessions is 64,046.
pub const FRAME_BYTES: usize = 4_096;
/// Levels a side that a pooled raw holds before it must grow.
pub const RAW_LEVELS: usize = 256;
/// Messages that a pooled raw holds before it must grow.
pub const RAW_MESSAGES: usize = 16;

/// Bytes of a WebSocket message or REST body that must outlive the read buffer.
///
/// Whole text frames are decoded where they were read and take no slot: a slot there would be pure copying.
#[derive(Debug, Default)]
pub struct WsFrame {
    /// Where it came from.
    pub trace: TraceId,
    /// When its bytes reached us.
    pub receive_time: ReceiveTime,
    /// The payload.
    pub bytes: Vec<u8>,
}

impl Reset for WsFrame {
    fn reset(&mut self) {
        self.trace = TraceId::default();
        self.receive_time = ReceiveTime::default();
        self.bytes.clear();
    }

    fn poison(&mut self) {
        self.bytes.extend_from_slice(b"\xDE\xAD");
    }
}

impl Reset for Raw {
    fn reset(&mut self) {
        Raw::reset(self);
    }

    fn poison(&mut self) {
        self.connection_sequence = Some(0xDEAD_DEAD_DEAD_DEAD);
    }
}

impl Reset for Event {
    fn reset(&mut self) {
        *self = Self::default();
    }

    fn poison(&mut self) {
        self.header = Header {
            sequence_first: 0xDEAD_DEAD_DEAD_DEAD,
            sequence_last: 0xDEAD_DEAD_DEAD_DEAD,
            venue_time: VenueTime::from_ns(0xDEAD_DEAD_DEAD_DEAD),
            decimals: Decimals { price: 0xDE, qty: 0xDE },
            ..Header::default()
        };
        self.body = Body::Gap(Gap { from: 0xDEAD, to: 0xDEAD, event_count: 0, reason: GapReason::PoolEmpty });
    }
}

/// How many of each type a shard may hold at once. A sum with its reasons stands in `topology.yaml`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolSizes {
    /// [`WsFrame`]
    pub frames: usize,
    /// [`Raw`]
    pub raws: usize,
    /// [`Event`]
    pub events: usize,
    /// Merged events.
    pub merged: usize,
    /// Order requests.
    pub order_requests: usize,
    /// Execution reports.
    pub execution_reports: usize,
}

impl PoolSizes {
    /// SPEC's figures: 200, 200, 300, 50, 20, 20.
    pub const SPEC: Self =
        Self { frames: 200, raws: 200, events: 300, merged: 50, order_requests: 20, execution_reports: 20 };
}

/// The pools that a provider shard's path takes from.
#[derive(Debug)]
pub struct Pools {
    /// Frames that must outlive the read buffer.
    pub frames: Pool<WsFrame>,
    /// Decoded frames.
    pub raws: Pool<Raw>,
    /// Canonical events.
    pub events: Pool<Event>,
}

impl Pools {
    /// Pools of these sizes; all memory is taken here.
    pub fn new(sizes: &PoolSizes) -> Self {
        Self {
            frames: Pool::new("WsFrame", sizes.frames, || WsFrame {
                bytes: Vec::with_capacity(FRAME_BYTES),
                ..WsFrame::default()
            }),
            raws: Pool::new("ProviderRaw", sizes.raws, || Raw::with_capacity(RAW_MESSAGES, RAW_LEVELS)),
            events: Pool::new("CanonicalEvent", sizes.events, Event::default),
        }
    }
}

/// The pools that a provider's order path takes from.
#[derive(Debug)]
pub struct OrderPools {
    /// Requests off the rings, until the desk has taken them on.
    pub requests: Pool<OrderRequest>,
    /// Reports of the desk, until each shard that they concern has its copy.
    pub reports: Pool<ExecReport>,
}

impl OrderPools {
    /// Pools of these sizes; all memory is taken here.
    pub fn new(sizes: &PoolSizes) -> Self {
        Self {
            requests: Pool::new("OrderRequest", sizes.order_requests, OrderRequest::default),
            reports: Pool::new("ExecReport", sizes.execution_reports, ExecReport::default),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Level;
    use crate::ids::LineId;

    #[test]
    fn a_reset_frame_has_nothing_of_the_former_use() {
        let pools = Pools::new(&PoolSizes::SPEC);
        let mut frame = pools.frames.take().expect("free");
        frame.bytes.extend_from_slice(b"{\"e\":1}");
        frame.trace = TraceId::new(LineId(1), 7);
        frame.receive_time = ReceiveTime::from_ns(9);
        drop(frame);
        let frame = pools.frames.take().expect("free");
        assert_eq!(
            (frame.bytes.len(), frame.trace, frame.receive_time),
            (0, TraceId::default(), ReceiveTime::default())
        );
        assert!(frame.bytes.capacity() >= FRAME_BYTES);
    }

    #[test]
    fn a_reset_raw_has_nothing_of_the_former_use() {
        let pools = Pools::new(&PoolSizes::SPEC);
        let mut raw = pools.raws.take().expect("free");
        raw.bids.push(Level::default());
        raw.asks.push(Level::default());
        raw.connection_sequence = Some(3);
        drop(raw);
        let raw = pools.raws.take().expect("free");
        assert!(raw.bids.is_empty() && raw.asks.is_empty() && raw.messages.is_empty());
        assert_eq!(raw.connection_sequence, None);
    }

    #[test]
    fn a_reset_request_and_a_reset_report_have_nothing_of_the_former_use() {
        use crate::decimal::{Number, Qty};
        use crate::orders::{DecisionId, OrderSide, ReportState};
        let pools =
            OrderPools::new(&PoolSizes { order_requests: 1, execution_reports: 1, ..PoolSizes::SPEC });
        let mut request = pools.requests.take().expect("free");
        let number = Number { mantissa: 7, decimals: 1 };
        *request = OrderRequest {
            decision: DecisionId(9),
            post_only: true,
            ..OrderRequest::limit(OrderSide::Sell, number, number)
        };
        assert!(pools.requests.take().is_none(), "there is one");
        drop(request);
        assert_eq!(*pools.requests.take().expect("free"), OrderRequest::default());
        let mut report = pools.reports.take().expect("free");
        *report =
            ExecReport { state: ReportState::Filled, sequence: 5, cum_qty: Qty(3), ..ExecReport::default() };
        drop(report);
        assert_eq!(*pools.reports.take().expect("free"), ExecReport::default());
        assert_eq!((pools.requests.usage().empty_total, pools.reports.usage().out), (1, 0));
    }

    #[test]
    fn a_reset_event_has_nothing_of_the_former_use() {
        let pools = Pools::new(&PoolSizes::SPEC);
        let mut event = pools.events.take().expect("free");
        event.header.sequence_last = 77;
        event.body = Body::Gap(Gap { from: 1, to: 2, event_count: 3, reason: GapReason::SlowConsumer });
        drop(event);
        assert_eq!(*pools.events.take().expect("free"), Event::default());
    }
}
