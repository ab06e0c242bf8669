//! One order over all inputs of a merge shard: what comes out depends on what was received when, not on who was faster.
//!
//! Each input is a queue in its own order; events leave by (receive time, input), and only when no input can still bring
//! an earlier one: it has *passed* that time, by an event or by a marker. Within an input an event that is older than
//! one before it (reordering, a second line) takes the time of that one, so an input's order is always kept. Whoever
//! does not pass in time is given up ([`Order::give_up`]) and not waited for again before it has caught up: a provider
//! that stands still costs the others one wait, not one for each event.

use std::collections::VecDeque;

use crate::time::ReceiveTime;

/// Several inputs, and what they hold until the others have caught up.
#[derive(Debug)]
pub struct Order<T> {
    inputs: Vec<Input<T>>,
    /// Nobody is waited for before this time; what comes for an earlier one takes this one.
    forced: ReceiveTime,
}

#[derive(Debug)]
struct Input<T> {
    /// What follows was received at this time or later, or is treated so.
    passed: ReceiveTime,
    held: VecDeque<(ReceiveTime, T)>,
    /// Whether the others wait for it.
    awaited: bool,
    /// It was given up and has not caught up since.
    lagging: bool,
}

impl<T> Input<T> {
    /// Something of this time came.
    #[inline]
    fn heard(&mut self, at: ReceiveTime, forced: ReceiveTime) {
        self.lagging &= at < forced;
        self.passed = self.passed.max(at);
    }
}

/// An order without inputs.
impl<T> Default for Order<T> {
    fn default() -> Self {
        Self { inputs: Vec::new(), forced: ReceiveTime::default() }
    }
}

impl<T> Order<T> {
    /// Adds an input that will hold at most `held_max` events, and returns its number. Nobody waits for it yet.
    pub fn add_input(&mut self, held_max: usize) -> usize {
        let held = VecDeque::with_capacity(held_max);
        self.inputs.push(Input { passed: ReceiveTime::default(), held, awaited: false, lagging: false });
        self.inputs.len() - 1
    }

    /// Inputs so far.
    pub fn input_count(&self) -> usize {
        self.inputs.len()
    }

    /// Sets whether the others wait for an input.
    pub fn set_awaited(&mut self, input: usize, awaited: bool) {
        self.inputs[input].awaited = awaited;
    }

    /// Events that an input holds.
    pub fn held(&self, input: usize) -> usize {
        self.inputs[input].held.len()
    }

    /// An input has passed `at`: nothing older follows, or it is treated as of then.
    #[inline]
    pub fn pass(&mut self, input: usize, at: ReceiveTime) {
        self.inputs[input].heard(at, self.forced);
    }

    /// Holds an event that an input received at `at`, until its turn comes.
    #[inline]
    pub fn hold(&mut self, input: usize, at: ReceiveTime, event: T) {
        let forced = self.forced;
        let input = &mut self.inputs[input];
        input.heard(at, forced);
        input.passed = input.passed.max(forced);
        input.held.push_back((input.passed, event));
    }

    /// The next event of all, with its time in this order, if no input can still bring an earlier one.
    #[inline]
    pub fn pop(&mut self) -> Option<(ReceiveTime, T)> {
        let (at, first) = self.first()?;
        if at >= self.forced {
            let mut lagging = false;
            for (number, input) in self.inputs.iter().enumerate() {
                let next = (input.passed.max(self.forced), number);
                if input.awaited && input.held.is_empty() && next < (at, first) {
                    if !input.lagging {
                        return None;
                    }
                    lagging = true;
                }
            }
            if lagging {
                self.forced = at;
            }
        }
        self.inputs[first].held.pop_front()
    }

    /// The input whose event is next, and that event's time.
    #[inline]
    fn first(&self) -> Option<(ReceiveTime, usize)> {
        let mut first = None;
        for (number, input) in self.inputs.iter().enumerate() {
            if let Some(&(at, _)) = input.held.front()
                && first.is_none_or(|(least, _)| at < least)
            {
                first = Some((at, number));
            }
        }
        first
    }

    /// The time of the oldest event held.
    pub fn oldest(&self) -> Option<ReceiveTime> {
        self.first().map(|(at, _)| at)
    }

    /// The time of the oldest event that an input holds.
    pub fn oldest_of(&self, input: usize) -> Option<ReceiveTime> {
        self.inputs[input].held.front().map(|&(at, _)| at)
    }

    /// Ends the wait for all that was received before `at`.
    pub fn force(&mut self, at: ReceiveTime) {
        self.forced = self.forced.max(at);
    }

    /// Ends the wait for all that was received before `at`, and gives up the inputs that have not passed it.
    pub fn give_up(&mut self, at: ReceiveTime) {
        self.force(at);
        for input in &mut self.inputs {
            input.lagging |= input.awaited && input.held.is_empty() && input.passed < self.forced;
        }
    }

    /// Whether an input was given up and has not caught up since.
    pub fn is_lagging(&self, input: usize) -> bool {
        self.inputs[input].lagging
    }

    /// Everything before this time has left, once [`pop`](Self::pop) gives nothing more.
    #[inline]
    pub fn frontier(&mut self) -> ReceiveTime {
        let (mut least, mut lagging) = (None, false);
        for input in &self.inputs {
            let next = match input.held.front() {
                Some(&(at, _)) => at,
                None if input.lagging => {
                    lagging = true;
                    continue;
                }
                None if input.awaited => input.passed.max(self.forced),
                None => continue,
            };
            least = Some(least.map_or(next, |least: ReceiveTime| least.min(next)));
        }
        let frontier = least.unwrap_or(self.forced);
        if lagging {
            self.force(frontier);
        }
        frontier
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ns: u64) -> ReceiveTime {
        ReceiveTime::from_ns(ns)
    }

    fn order(inputs: usize) -> Order<u64> {
        let mut order = Order::default();
        for _ in 0..inputs {
            let input = order.add_input(16);
            order.set_awaited(input, true);
        }
        order
    }

    fn pop_all(order: &mut Order<u64>) -> Vec<(u64, u64)> {
        std::iter::from_fn(|| order.pop()).map(|(at, event)| (at.ns(), event)).collect()
    }

    #[test]
    fn an_event_leaves_when_no_input_can_bring_an_earlier_one() {
        let mut order = order(2);
        order.hold(0, at(10), 1);
        assert_eq!(pop_all(&mut order), []);
        order.pass(1, at(10));
        assert_eq!(pop_all(&mut order), [(10, 1)]);
        order.hold(1, at(10), 2);
        assert_eq!(pop_all(&mut order), [], "the first input may have more of the same time");
        order.pass(0, at(11));
        assert_eq!(pop_all(&mut order), [(10, 2)]);
        assert_eq!(order.frontier(), at(10));
    }

    #[test]
    fn an_input_keeps_its_own_order() {
        let mut order = order(2);
        order.hold(0, at(20), 1);
        order.hold(0, at(15), 2);
        order.hold(1, at(17), 3);
        order.pass(0, at(30));
        order.pass(1, at(30));
        assert_eq!(pop_all(&mut order), [(17, 3), (20, 1), (20, 2)]);
    }

    #[test]
    fn who_does_not_pass_is_not_waited_for_when_forced() {
        let mut order = order(2);
        order.hold(1, at(10), 1);
        order.force(at(10));
        assert_eq!(pop_all(&mut order), [], "only what is before the time");
        order.force(at(11));
        assert_eq!(pop_all(&mut order), [(10, 1)]);
        order.hold(0, at(5), 2);
        assert_eq!(order.oldest(), Some(at(11)), "too late for its own time");
    }

    #[test]
    fn who_was_given_up_is_waited_for_again_when_it_has_caught_up() {
        let mut order = order(2);
        order.hold(0, at(10), 1);
        order.give_up(at(11));
        assert_eq!(pop_all(&mut order), [(10, 1)]);
        assert!(order.is_lagging(1));
        order.hold(0, at(20), 2);
        assert_eq!(pop_all(&mut order), [(20, 2)], "no second wait");
        order.hold(1, at(15), 3);
        assert!(order.is_lagging(1), "still behind");
        order.hold(0, at(25), 4);
        assert_eq!(pop_all(&mut order), [(20, 3), (25, 4)]);
        order.pass(1, at(30));
        order.hold(0, at(31), 5);
        assert!(!order.is_lagging(1));
        assert_eq!(pop_all(&mut order), []);
        order.pass(1, at(32));
        assert_eq!(pop_all(&mut order), [(31, 5)]);
    }

    #[test]
    fn nobody_waits_for_an_input_without_rules() {
        let mut order = order(2);
        order.set_awaited(1, false);
        order.hold(0, at(10), 1);
        assert_eq!(pop_all(&mut order), [(10, 1)]);
    }
}
