//! What happens at the providers and that an operator wants to read: one line each, told when it happens.

use std::fmt;

use engine::provider::Happening;

/// What happened.
#[derive(Debug)]
pub enum Happened {
    /// To the market data.
    Feed(Happening),
    /// To the orders.
    Orders(OrdersHappening),
}

impl Happened {
    /// As [`Happening::operation`].
    pub const fn operation(&self) -> &'static str {
        match self {
            Self::Feed(happening) => happening.operation(),
            Self::Orders(happening) => happening.operation(),
        }
    }

    /// As [`Happening::code`].
    pub fn code(&self) -> Option<String> {
        match self {
            Self::Feed(happening) => happening.code(),
            Self::Orders(happening) => happening.code().map(str::to_owned),
        }
    }
}

impl fmt::Display for Happened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Feed(happening) => happening.fmt(f),
            Self::Orders(happening) => happening.fmt(f),
        }
    }
}

/// Something that an operator wants to read.
#[derive(Debug)]
pub struct Report {
    /// The provider's index in the topology.
    pub provider: u8,
    /// What happened.
    pub happening: Happened,
}

impl Report {
    /// Whether it is bad news.
    pub const fn is_warning(&self) -> bool {
        match &self.happening {
            Happened::Feed(happening) => {
                use Happening::{BooksProved, Connected, Halted, Rolled};
                !matches!(
                    happening,
                    Connected(_) | BooksProved { .. } | Rolled { .. } | Halted { halted: false, .. }
                )
            }
            Happened::Orders(happening) => happening.is_warning(),
        }
    }
}

/// Something about orders that an operator wants to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrdersHappening {
    /// The session is gone.
    SessionLost {
        /// Orders that may be working.
        unknown_orders: u32,
        /// Why.
        reason: String,
        /// The same as a word.
        code: &'static str,
    },
    /// A session was joined, and everything that the venue did before was told.
    SessionReady {
        /// Its number, from 1.
        session: u64,
        /// Orders that the venue was asked for.
        checked_orders: u32,
        /// Reports that had been missed.
        recovered_reports: u32,
        /// Orders that even the venue could not tell of.
        unknown_orders: u32,
        /// Open orders at the venue that the journal does not know.
        foreign_orders: u32,
    },
    /// A consumer shard does not take its reports.
    CriticalRingFull {
        /// Index of the shard.
        shard: u8,
        /// Events that wait.
        waiting: usize,
    },
    /// The journal cannot be written: no order leaves any more, and what is open is cancelled.
    JournalFailed {
        /// Why.
        reason: String,
    },
}

impl OrdersHappening {
    /// Whether it is bad news.
    pub const fn is_warning(&self) -> bool {
        !matches!(self, Self::SessionReady { unknown_orders: 0, foreign_orders: 0, .. })
    }

    /// As [`engine::provider::Happening::operation`].
    pub const fn operation(&self) -> &'static str {
        match self {
            Self::SessionLost { .. } | Self::SessionReady { .. } => "orders_session",
            Self::CriticalRingFull { .. } => "orders_reports",
            Self::JournalFailed { .. } => "orders_journal",
        }
    }
}

impl OrdersHappening {
    /// As [`engine::provider::Happening::code`].
    pub const fn code(&self) -> Option<&'static str> {
        match self {
            Self::SessionLost { code, .. } => Some(*code),
            Self::CriticalRingFull { .. } => Some("critical_ring_full"),
            Self::JournalFailed { .. } => Some("journal"),
            Self::SessionReady { .. } => None,
        }
    }
}

impl fmt::Display for OrdersHappening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SessionLost { unknown_orders, reason, code } => {
                write!(
                    f,
                    "orders failed: session lost: {reason}; {unknown_orders} orders unknown until it is back ({code})"
                )
            }
            Self::SessionReady {
                session,
                checked_orders,
                recovered_reports,
                unknown_orders,
                foreign_orders,
            } => {
                write!(f, "orders: session {session} is live; {checked_orders} orders checked")?;
                for (count, what) in [
                    (recovered_reports, "reports recovered"),
                    (unknown_orders, "orders still unknown"),
                    (foreign_orders, "open orders there that the journal does not know"),
                ] {
                    if *count > 0 {
                        write!(f, ", {count} {what}")?;
                    }
                }
                Ok(())
            }
            Self::CriticalRingFull { shard, waiting } => {
                write!(
                    f,
                    "orders failed: ALARM: shard {shard} does not take its reports; {waiting} wait (critical_ring_full)"
                )
            }
            Self::JournalFailed { reason } => {
                write!(
                    f,
                    "orders failed: ALARM: {reason}; no order leaves any more, what is open is cancelled (journal)"
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use engine::connection::Lost;
    use engine::ids::LineId;

    use super::*;

    #[test]
    fn a_lost_line_says_when_it_is_tried_again() {
        let lost = |retry_ns| {
            let reason = Lost::Connect("Connection refused".to_owned());
            Happened::Feed(Happening::Lost(LineId(0), reason, retry_ns)).to_string()
        };
        let expected =
            "line 0 failed: connect failed: Connection refused; tried again in 4.2 s (connect_failed)";
        assert_eq!(lost(Some(4_180_000_000)), expected);
        assert_eq!(lost(None), "line 0 failed: connect failed: Connection refused (connect_failed)");
    }

    #[test]
    fn a_line_says_what_is_not_well_and_nothing_else() {
        let ready = |recovered_reports, unknown_orders| OrdersHappening::SessionReady {
            session: 2,
            checked_orders: 5,
            recovered_reports,
            unknown_orders,
            foreign_orders: 0,
        };
        assert_eq!(ready(0, 0).to_string(), "orders: session 2 is live; 5 orders checked");
        assert_eq!(
            ready(3, 1).to_string(),
            "orders: session 2 is live; 5 orders checked, 3 reports recovered, 1 orders still unknown"
        );
        assert!(!ready(3, 0).is_warning() && ready(0, 1).is_warning());
        let lost = OrdersHappening::SessionLost {
            unknown_orders: 2,
            reason: "the venue closed".to_owned(),
            code: "closed",
        };
        assert_eq!(
            lost.to_string(),
            "orders failed: session lost: the venue closed; 2 orders unknown until it is back (closed)"
        );
        assert_eq!(Happened::Orders(lost).code().as_deref(), Some("closed"));
    }
}
