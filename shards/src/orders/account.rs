//! What one consumer has done through one provider in this run: counts, and its position in each instrument.
//!
//! Made of the reports that went to it, and of nothing else; the ledger remains the truth. For status lines and reports.

use engine::decimal::Decimals;
use engine::ids::{ConsumerId, InstrumentId};
use engine::orders::Rule;
use engine::orders::report::ReportFlags;
use engine::orders::{ExecReport, OrderEvent, OrderSide, Origin, ReportState};

engine::counters! {
    /// What became of one consumer's orders.
    pub struct AccountCounts {
        /// New orders that were taken on.
        orders_total,
        /// Acknowledged by the venue.
        acks_total,
        /// Executions.
        fills_total,
        /// Orders filled whole.
        filled_total,
        /// Orders cancelled.
        cancelled_total,
        /// Orders ended by their own terms.
        expired_total,
        /// Orders that the venue rejected.
        rejected_total,
        /// Orders refused before the wire.
        refused_total,
        /// Outcomes that were not known in time.
        unknown_total,
        /// Cancels and questions that came to nothing.
        cancels_rejected_total,
        /// Reports found by asking the venue.
        recovered_total,
    }
}

/// Orders that did not leave or did not arrive, by rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusals([u32; Rule::COUNT]);

impl Default for Refusals {
    fn default() -> Self {
        Self([0; Rule::COUNT])
    }
}

impl Refusals {
    /// Takes note of one.
    pub const fn note(&mut self, rule: Rule) {
        let count = &mut self.0[rule as usize];
        *count = count.saturating_add(1);
    }

    /// Those that came since `before`: each rule with how many, the ones without any left out.
    pub fn since(self, before: Self) -> impl Iterator<Item = (Rule, u32)> {
        let more = self.0.into_iter().zip(before.0).map(|(now, before)| now.saturating_sub(before));
        Rule::ALL.iter().copied().zip(more).filter(|(_, count)| *count > 0)
    }

    /// All of them.
    pub fn all(self) -> impl Iterator<Item = (Rule, u32)> {
        self.since(Self::default())
    }
}

/// What a consumer holds of an instrument by the executions of this run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Which.
    pub instrument: InstrumentId,
    /// Scale of price and quantity.
    pub decimals: Decimals,
    /// Bought less sold, at the quantity's scale.
    pub qty: i128,
    /// What it cost to get there, at the sum of both scales; of the sign of `qty`.
    pub cost: i128,
    /// Bought in all.
    pub bought_qty: i128,
    /// Sold in all.
    pub sold_qty: i128,
}

impl Position {
    /// The average price paid for what is held, at the price's scale, rounded to the nearest; `None` for nothing.
    pub fn price_average(&self) -> Option<i128> {
        let (cost, qty) = (self.cost.abs(), self.qty.abs());
        (qty > 0).then(|| (cost + qty / 2) / qty)
    }

    fn execute(&mut self, side: OrderSide, qty: i128, price: i128) {
        let signed = match side {
            OrderSide::Buy => {
                self.bought_qty += qty;
                qty
            }
            OrderSide::Sell => {
                self.sold_qty += qty;
                -qty
            }
        };
        if self.qty.signum() * signed.signum() >= 0 {
            self.cost += signed * price;
        } else if signed.abs() <= self.qty.abs() {
            // Closing leaves the average price of the rest as it was.
            self.cost -= self.cost * signed.abs() / self.qty.abs();
        } else {
            self.cost = (self.qty + signed) * price;
        }
        self.qty += signed;
        if self.qty == 0 {
            self.cost = 0;
        }
    }
}

/// One consumer through one provider.
#[derive(Clone, Debug)]
pub struct Account {
    /// Whose.
    pub consumer: ConsumerId,
    /// What was counted.
    pub counts: AccountCounts,
    /// Why orders were refused.
    pub refusals: Refusals,
    /// By instrument, in the order of their first executions.
    pub positions: Vec<Position>,
}

impl Account {
    /// Nothing done yet. Memory for `instruments` positions is taken here.
    pub fn new(consumer: ConsumerId, instruments: usize) -> Self {
        Self {
            consumer,
            counts: AccountCounts::default(),
            refusals: Refusals::default(),
            positions: Vec::with_capacity(instruments),
        }
    }

    /// Takes note of an event that goes to it.
    pub fn note(&mut self, event: &OrderEvent) {
        match event {
            OrderEvent::Report(report) => self.note_report(report),
            OrderEvent::Unknown(_) => self.counts.unknown_total += 1,
            OrderEvent::CancelRejected(_) => self.counts.cancels_rejected_total += 1,
            OrderEvent::SessionGap { .. } | OrderEvent::SessionRestored { .. } => {}
        }
    }

    fn note_report(&mut self, report: &ExecReport) {
        let counts = &mut self.counts;
        counts.recovered_total += u64::from(report.flags.has(ReportFlags::RECOVERED));
        let late = report.flags.has(ReportFlags::LATE);
        match report.state {
            _ if late => {}
            ReportState::Ack => counts.acks_total += 1,
            ReportState::Partial => {}
            ReportState::Filled => counts.filled_total += 1,
            ReportState::Cancelled => counts.cancelled_total += 1,
            ReportState::Expired => counts.expired_total += 1,
            ReportState::Rejected if report.origin == Origin::Local => {
                counts.refused_total += 1;
                if let Some(rule) = Rule::from_name(report.reason.as_bytes()) {
                    self.refusals.note(rule);
                }
            }
            ReportState::Rejected => counts.rejected_total += 1,
        }
        if report.last_qty.0 == 0 {
            return;
        }
        counts.fills_total += 1;
        let at = self.positions.iter().position(|position| position.instrument == report.instrument);
        let at = at.unwrap_or_else(|| {
            let (instrument, decimals) = (report.instrument, report.decimals);
            self.positions.push(Position { instrument, decimals, ..Position::default() });
            self.positions.len() - 1
        });
        let position = &mut self.positions[at];
        let (qty, price) = (i128::from(report.last_qty.0), i128::from(report.last_price.0));
        if position.decimals == report.decimals {
            position.execute(report.side, qty, price);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::decimal::{Price, Qty};

    /// `+3@100` buys 3 at 100; then quantity and average price.
    fn check(executions: &str, expected: (i128, Option<i128>)) {
        let mut account = Account::new(ConsumerId(1), 4);
        for word in executions.split_whitespace() {
            let (side, rest) = word.split_at(1);
            let (qty, price) = rest.split_once('@').expect("QTY@PRICE");
            account.note(&OrderEvent::Report(ExecReport {
                side: if side == "+" { OrderSide::Buy } else { OrderSide::Sell },
                state: ReportState::Filled,
                last_qty: Qty(qty.parse().expect("a number")),
                last_price: Price(price.parse().expect("a number")),
                ..ExecReport::default()
            }));
        }
        let position = account.positions[0];
        assert_eq!((position.qty, position.price_average()), expected, "{executions}");
        assert_eq!(position.bought_qty - position.sold_qty, position.qty, "{executions}");
        assert_eq!(account.counts.fills_total, executions.split_whitespace().count() as u64);
    }

    #[test]
    fn a_position_has_the_average_price_of_what_opened_it() {
        check("+3@100", (3, Some(100)));
        check("+1@100 +1@102", (2, Some(101)));
        check("+4@100 -1@150", (3, Some(100)));
        check("+4@100 -4@150", (0, None));
        check("+4@100 -6@150", (-2, Some(150)));
        check("-2@50 -2@60 +1@10", (-3, Some(55)));
        check("-2@50 +5@40 +1@46", (4, Some(42)));
    }

    #[test]
    fn each_event_is_counted_once_by_what_it_says() {
        let mut account = Account::new(ConsumerId(1), 4);
        let report = ExecReport::default();
        account.note(&OrderEvent::Report(report));
        account.note(&OrderEvent::Report(ExecReport {
            state: ReportState::Rejected,
            origin: Origin::Local,
            ..report
        }));
        account.note(&OrderEvent::Report(ExecReport { state: ReportState::Rejected, ..report }));
        let late = ReportFlags::LATE.with(ReportFlags::RECOVERED);
        let filled = ExecReport { state: ReportState::Filled, ..report };
        account.note(&OrderEvent::Report(ExecReport { flags: late, last_qty: Qty(1), ..filled }));
        let counts = account.counts;
        assert_eq!((counts.acks_total, counts.refused_total, counts.rejected_total), (1, 1, 1));
        assert_eq!((counts.filled_total, counts.fills_total, counts.recovered_total), (0, 1, 1));
    }
}
