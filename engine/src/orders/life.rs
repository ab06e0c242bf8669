//! The life of one order: what a venue says of it goes in, what the consumer is told comes out.
//!
//! Venues repeat themselves, speak out of order and contradict themselves. States only move forward here, an execution
//! counts once, quantities never shrink, and what is filled and what remains add up to the quantity. A statement that
//! breaks a rule changes nothing; the order is then in doubt and the venue is asked.

use crate::decimal::{Decimals, Number, Price, Qty};
use crate::event::Amount;
use crate::time::VenueTime;

use super::id::{ClientOrderId, Uuid};
use super::report::{Asset, ExecutionId, Liquidity, Reason, ReportFlags, ReportState, VenueOrderId};
use super::request::{OrderKind, OrderSide};
use super::text::Text;

/// Our order id as a venue repeats it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientKey {
    /// The venue did not say, or said something that is not ours.
    #[default]
    Absent,
    /// The text itself.
    Text(ClientOrderId),
    /// The UUID made of it.
    Uuid(Uuid),
}

/// One execution as the venue tells it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Execution {
    /// Unique within the order.
    pub id: ExecutionId,
    /// How much.
    pub qty: Number,
    /// At which price.
    pub price: Number,
    /// For which fee.
    pub fee: Number,
    /// In which asset.
    pub fee_asset: Asset,
    /// Who gave liquidity.
    pub liquidity: Liquidity,
}

/// What an order is, as a list of the venue tells it: enough to take on one of ours that the journal lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// The instrument in the venue's spelling.
    pub symbol: Text<23>,
    /// Buy or sell.
    pub side: OrderSide,
    /// Limit or market.
    pub kind: OrderKind,
    /// Limit price; zero for a market order.
    pub price: Number,
    /// Quantity in the base asset.
    pub qty: Number,
}

/// What a venue said of one order, in no venue's words. Fields that it left out are absent: unchanged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OrderNews {
    /// Our id for it.
    pub key: ClientKey,
    /// The venue's id for it.
    pub venue_order_id: VenueOrderId,
    /// Where it stands.
    pub state: Option<ReportState>,
    /// If it says CANCELLED of an order that was never acknowledged, the order was rejected.
    pub ends_unborn: bool,
    /// An execution.
    pub execution: Option<Execution>,
    /// Executed so far, in the base asset.
    pub cum_qty: Option<Number>,
    /// Executed so far, in the quote asset.
    pub cum_quote: Option<Number>,
    /// The venue gives cumulative figures and never executions: what they grew by is one. With the fees so far.
    pub cumulative_fee: Option<Number>,
    /// The venue's number for its reason, or 0.
    pub code: i32,
    /// Why.
    pub reason: Reason,
    /// When, by the venue's clock.
    pub venue_time: VenueTime,
    /// What the order is; lists of open orders say so.
    pub terms: Option<Terms>,
}

/// How a statement breaks the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Contradiction {
    /// More was executed than ordered.
    Overfilled,
    /// FILLED, though less was executed than ordered.
    FilledShort,
    /// A number that does not fit the instrument's scale.
    Scale,
    /// The venue's id of the order is another one than before.
    OtherOrder,
}

/// What a consumer is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Marks; the ledger adds its own.
    pub flags: ReportFlags,
    /// Quantity of the execution.
    pub last_qty: Qty,
    /// Its price.
    pub last_price: Price,
    /// Its fee.
    pub fee: Amount,
    /// In which asset.
    pub fee_asset: Asset,
    /// Who gave liquidity.
    pub liquidity: Liquidity,
    /// Its id.
    pub execution_id: ExecutionId,
}

/// Where an order stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// Its quantity.
    pub qty: Qty,
    /// Scale of its quantities and prices, fixed when it was made.
    pub decimals: Decimals,
    /// Where it stands; `None` until the venue said anything.
    pub state: Option<ReportState>,
    /// Executed so far, as the venue says.
    pub cum_qty: Qty,
    /// What that cost, at the sum of both scales.
    pub cum_quote: i128,
    /// Executed so far, as the executions that were reported add up. Less than `cum_qty`: some are missing.
    pub executed_qty: Qty,
    /// What those cost.
    pub executed_quote: i128,
    /// Fees so far, where the venue gives nothing but that.
    pub fees: Number,
    /// The venue's id.
    pub venue_order_id: VenueOrderId,
}

impl Life {
    /// An order of which nothing is known but what was asked.
    pub const fn new(qty: Qty, decimals: Decimals) -> Self {
        Self {
            qty,
            decimals,
            state: None,
            cum_qty: Qty(0),
            cum_quote: 0,
            executed_qty: Qty(0),
            executed_quote: 0,
            fees: Number { mantissa: 0, decimals: 0 },
            venue_order_id: VenueOrderId::EMPTY,
        }
    }

    /// Whether it may still be working.
    pub fn is_open(&self) -> bool {
        !self.state.is_some_and(ReportState::is_final)
    }

    /// Whether executions are missing that `cum_qty` contains.
    pub fn misses_executions(&self) -> bool {
        self.executed_qty < self.cum_qty
    }

    /// Quantity not executed.
    pub fn remaining(&self) -> Qty {
        Qty(self.qty.0 - self.cum_qty.0)
    }

    fn quote(&self, number: Number) -> Result<i128, Contradiction> {
        let scale = u32::from(self.decimals.price) + u32::from(self.decimals.qty);
        let number = number.trimmed();
        let by = scale.checked_sub(u32::from(number.decimals)).ok_or(Contradiction::Scale)?;
        let power = 10_i128.checked_pow(by).ok_or(Contradiction::Scale)?;
        i128::from(number.mantissa).checked_mul(power).ok_or(Contradiction::Scale)
    }

    /// Takes in what the venue says. `fresh` tells whether its execution, if any, is one that was not seen before.
    ///
    /// `Ok(None)` if it says nothing new. The caller reports a [`Step`] with the order's state after it.
    ///
    /// # Errors
    /// [`Contradiction`]; nothing has changed then.
    pub fn apply(&mut self, news: &OrderNews, fresh: bool) -> Result<Option<Step>, Contradiction> {
        let mut next = *self;
        if !news.venue_order_id.is_empty() {
            if !self.venue_order_id.is_empty() && self.venue_order_id != news.venue_order_id {
                return Err(Contradiction::OtherOrder);
            }
            next.venue_order_id = news.venue_order_id;
        }
        let scaled_qty = |number: Number| {
            let qty = number.at(self.decimals.qty).map_err(|_| Contradiction::Scale)?;
            if qty < 0 { Err(Contradiction::Scale) } else { Ok(Qty(qty)) }
        };
        let told_cum = news.cum_qty.map(scaled_qty).transpose()?;
        next.cum_qty = next.cum_qty.max(told_cum.unwrap_or_default());
        if let Some(quote) = news.cum_quote {
            next.cum_quote = next.cum_quote.max(self.quote(quote)?);
        }
        let mut step = Step::default();
        let mut executed = false;
        if let Some(execution) = news.execution.as_ref().filter(|_| fresh) {
            let qty = scaled_qty(execution.qty)?;
            let price = execution.price.at(self.decimals.price).map_err(|_| Contradiction::Scale)?;
            next.executed_qty =
                Qty(next.executed_qty.0.checked_add(qty.0).ok_or(Contradiction::Overfilled)?);
            next.executed_quote += i128::from(price) * i128::from(qty.0);
            if told_cum.is_none_or(|cum| cum < next.executed_qty) {
                next.cum_qty = next.cum_qty.max(next.executed_qty);
            }
            if next.cum_qty == self.cum_qty {
                step.flags = step.flags.with(ReportFlags::LATE);
            }
            let fee = execution.fee.trimmed();
            step.last_qty = qty;
            step.last_price = Price(price);
            step.fee = Amount { mantissa: fee.mantissa, decimals: fee.decimals };
            (step.fee_asset, step.liquidity) = (execution.fee_asset, execution.liquidity);
            step.execution_id = execution.id;
            executed = true;
        }
        // FILLED without a figure: all of it.
        if news.state == Some(ReportState::Filled) && news.cum_qty.is_none() && self.is_open() {
            next.cum_qty = self.qty;
        }
        if let Some(fees) = news.cumulative_fee
            && next.cum_qty > next.executed_qty
        {
            next.combined(self, fees, &mut step)?;
            executed = true;
        }
        next.cum_quote = next.cum_quote.max(next.executed_quote);
        if next.cum_qty > self.qty || next.executed_qty > self.qty {
            return Err(Contradiction::Overfilled);
        }
        next.state = self.state_after(news, &next)?;
        let told = next.state != self.state || next.cum_qty != self.cum_qty || executed;
        *self = next;
        Ok(told.then_some(step))
    }

    /// One execution made of what the cumulative figures grew by.
    fn combined(&mut self, before: &Self, fees: Number, step: &mut Step) -> Result<(), Contradiction> {
        let qty = self.cum_qty.0 - before.executed_qty.0;
        let quote = self.cum_quote - before.executed_quote;
        let divisor = i128::from(qty);
        // quote is at price + qty decimals, qty at qty decimals: the quotient is at price decimals.
        let price = (quote + divisor / 2).div_euclid(divisor);
        step.last_price = Price(i64::try_from(price).map_err(|_| Contradiction::Scale)?);
        step.last_qty = Qty(qty);
        step.flags = step.flags.with(ReportFlags::COMBINED);
        if price * divisor != quote {
            step.flags = step.flags.with(ReportFlags::PRICE_DERIVED);
        }
        let wide = fees.decimals.max(before.fees.decimals);
        let at = |number: Number| number.at(wide).map_err(|_| Contradiction::Scale);
        let fee = Number { mantissa: at(fees)? - at(before.fees)?, decimals: wide }.trimmed();
        step.fee = Amount { mantissa: fee.mantissa, decimals: fee.decimals };
        (self.executed_qty, self.executed_quote, self.fees) = (self.cum_qty, self.cum_quote, fees);
        Ok(())
    }

    fn state_after(&self, news: &OrderNews, next: &Self) -> Result<Option<ReportState>, Contradiction> {
        use ReportState::{Ack, Cancelled, Filled, Partial, Rejected};
        // An execution after the end is told; life after it, or another end, is not.
        if !self.is_open() {
            return Ok(self.state);
        }
        if next.cum_qty == self.qty && self.qty.0 > 0 {
            return Ok(Some(Filled));
        }
        Ok(match news.state {
            Some(Filled) => return Err(Contradiction::FilledShort),
            Some(Cancelled) if news.ends_unborn && self.state.is_none() && next.cum_qty.0 == 0 => {
                Some(Rejected)
            }
            Some(Rejected) if next.cum_qty.0 > 0 => Some(Cancelled),
            Some(end) if end.is_final() => Some(end),
            _ if next.cum_qty.0 > 0 => Some(Partial),
            Some(_) => Some(Ack),
            None => self.state,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Says words to an order of 10 and writes what is told. `a` acknowledged, `f2` an execution of 2 with the venue's
    /// cumulative figure, `g2` one without, `=2` the first execution of 2 once more; `c3` cancelled with 3 executed,
    /// `C` without a figure, `F` filled, `r` rejected, `x` expired, `u` cancelled before it was born, `+4` cumulative
    /// figures only.
    fn check(words: &str, expected: &str) {
        let decimals = Decimals { price: 1, qty: 0 };
        let mut life = Life::new(Qty(10), decimals);
        let mut told = Vec::new();
        let mut venue_cum = 0;
        for (index, word) in words.split_whitespace().enumerate() {
            let (letter, rest) = word.split_at(1);
            let count: i64 = rest.parse().unwrap_or(0);
            let whole = |mantissa: i64| Number { mantissa, decimals: 0 };
            let execution = Execution {
                id: ExecutionId::cut(index.to_string().as_bytes()),
                qty: whole(count),
                price: Number { mantissa: 25, decimals: 1 },
                ..Execution::default()
            };
            let mut news = OrderNews::default();
            let mut fresh = true;
            match letter {
                "a" => news.state = Some(ReportState::Ack),
                "f" => {
                    venue_cum += count;
                    (news.execution, news.cum_qty) = (Some(execution), Some(whole(venue_cum)));
                    news.state = Some(ReportState::Partial);
                }
                "g" => (news.execution, news.state) = (Some(execution), Some(ReportState::Partial)),
                "=" => (news.execution, fresh) = (Some(execution), false),
                "c" => {
                    (news.state, news.cum_qty) = (Some(ReportState::Cancelled), Some(whole(count)));
                }
                "C" => news.state = Some(ReportState::Cancelled),
                "F" => news.state = Some(ReportState::Filled),
                "Q" => (news.state, news.cum_qty) = (Some(ReportState::Filled), Some(whole(count))),
                "r" => news.state = Some(ReportState::Rejected),
                "x" => news.state = Some(ReportState::Expired),
                "u" => (news.state, news.ends_unborn) = (Some(ReportState::Cancelled), true),
                "+" => {
                    news.cum_qty = Some(whole(count));
                    news.cum_quote = Some(Number { mantissa: count * 25, decimals: 1 });
                    news.cumulative_fee = Some(Number { mantissa: count, decimals: 2 });
                }
                _ => panic!("{word}"),
            }
            let before = life;
            match life.apply(&news, fresh) {
                Ok(Some(step)) => {
                    let state = life.state.map_or("-", ReportState::name);
                    let late = if step.flags.has(ReportFlags::LATE) { "!" } else { "" };
                    told.push(format!("{state}({}/{}{late})", step.last_qty.0, life.cum_qty.0));
                    assert_eq!(life.cum_qty.0 + life.remaining().0, life.qty.0);
                }
                Ok(None) => {}
                Err(error) => {
                    assert_eq!(life, before, "a contradiction changes nothing");
                    told.push(format!("{error:?}"));
                }
            }
        }
        assert_eq!(told.join(" "), expected, "{words}");
    }

    #[test]
    fn the_common_lives() {
        check("a f4 f6", "ACK(0/0) PARTIAL(4/4) FILLED(6/10)");
        check("a f4 c4", "ACK(0/0) PARTIAL(4/4) CANCELLED(0/4)");
        check("a C", "ACK(0/0) CANCELLED(0/0)");
        check("r", "REJECTED(0/0)");
        check("a r", "ACK(0/0) REJECTED(0/0)");
        check("a g4 x", "ACK(0/0) PARTIAL(4/4) EXPIRED(0/4)");
    }

    #[test]
    fn an_acknowledgement_after_an_execution_is_old() {
        check("f4 a f6 a", "PARTIAL(4/4) FILLED(6/10)");
        check("C a", "CANCELLED(0/0)");
    }

    #[test]
    fn the_same_thing_twice_is_told_once() {
        check("a a a", "ACK(0/0)");
        check("a f4 =4 f6 F F", "ACK(0/0) PARTIAL(4/4) FILLED(6/10)");
        check("c0 c0 C x", "CANCELLED(0/0)");
    }

    #[test]
    fn an_execution_after_the_end_is_told_late() {
        check("a c4 g4", "ACK(0/0) CANCELLED(0/4) CANCELLED(4/4!)");
        check("a F g4 g6", "ACK(0/0) FILLED(0/10) FILLED(4/10!) FILLED(6/10!)");
        check("a C g4", "ACK(0/0) CANCELLED(0/0) CANCELLED(4/4)");
    }

    #[test]
    fn an_order_that_is_executed_whole_is_filled_whatever_it_is_called() {
        check("a g10", "ACK(0/0) FILLED(10/10)");
        check("a c10", "ACK(0/0) FILLED(0/10)");
        check("a g4 r", "ACK(0/0) PARTIAL(4/4) CANCELLED(0/4)");
    }

    #[test]
    fn an_order_cancelled_before_it_was_born_was_rejected() {
        check("u", "REJECTED(0/0)");
        check("a u", "ACK(0/0) CANCELLED(0/0)");
    }

    #[test]
    fn contradictions_change_nothing() {
        check("a g11", "ACK(0/0) Overfilled");
        check("a g6 g6 g4", "ACK(0/0) PARTIAL(6/6) Overfilled FILLED(4/10)");
        check("a Q4", "ACK(0/0) FilledShort");
    }

    #[test]
    fn cumulative_figures_become_executions() {
        check("a +4 +4 +10", "ACK(0/0) PARTIAL(4/4) FILLED(6/10)");
        check("a +4 C", "ACK(0/0) PARTIAL(4/4) CANCELLED(0/4)");
        check("+10", "FILLED(10/10)");
    }

    #[test]
    fn a_quotient_that_is_not_exact_says_so() {
        let mut life = Life::new(Qty(3), Decimals { price: 0, qty: 0 });
        let news = |cum: i64, quote: i64| OrderNews {
            cum_qty: Some(Number { mantissa: cum, decimals: 0 }),
            cum_quote: Some(Number { mantissa: quote, decimals: 0 }),
            cumulative_fee: Some(Number::default()),
            ..OrderNews::default()
        };
        let step = life.apply(&news(1, 7), true).expect("consistent").expect("new");
        assert_eq!((step.last_price, step.flags.has(ReportFlags::PRICE_DERIVED)), (Price(7), false));
        let step = life.apply(&news(3, 20), true).expect("consistent").expect("new");
        assert_eq!((step.last_price, step.flags.has(ReportFlags::PRICE_DERIVED)), (Price(7), true));
    }
}
