//! Orders out, execution reports back: everything about trading but the sockets and the files.
//!
//! ```text
//! consumer -> OrderRequest -> check -> Ledger (id, intent) -> journal -> venue::encode -> socket
//!          <- OrderEvent   <----------- Ledger (state machine) <- venue::decode <- socket
//! ```
//!
//! One [`Desk`] per provider is all of that in one object without sockets and files. Its [`Ledger`] owns the orders; it says what to write to the journal, what to ask the venue, and what
//! to tell the consumers. The rules: an order is sent at most once; an outcome is accepted, rejected or *unknown*, and
//! unknown is asked, never resent; states move forward only; each execution is reported once; what is filled and what
//! remains add up to the quantity.

pub mod check;
pub mod desk;
pub mod id;
mod index;
pub mod journal;
pub mod ledger;
pub mod life;
pub mod order;
pub mod outbox;
pub mod report;
pub mod request;
pub mod secret;
pub mod text;
pub mod venue;

pub use check::Rule;
pub use desk::{Desk, DeskOptions, Durability, Stamps, Turn};
pub use id::{ClientOrderId, WireId, WireIds};
pub use ledger::{Ledger, LedgerOptions, Outcome, Query, Submitted, Tag};
pub use life::OrderNews;
pub use order::Order;
pub use outbox::{MayTrade, Outbox, OutboxFull};
pub use report::{ExecReport, OrderEvent, Origin, ReportState};
pub use request::{Command, DecisionId, OrderKind, OrderRequest, OrderSide, TimeInForce};

/// Whose orders those are that a former run sent and the journal lost: nobody's. The kill switch for all reaches them.
pub const ADOPTED: crate::ids::ConsumerId = crate::ids::ConsumerId(u16::MAX);
