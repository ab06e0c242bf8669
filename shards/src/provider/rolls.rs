//! When lines are rolled beside what the engine does by itself (age limit of the venue, notice of a shutdown, command): at the
//! quiet time of the topology. How a roll goes is the engine's: the new line first, then the end of the old one.

use engine::connection::{Connection, ROLL_BEFORE_NS};
use engine::ids::LineId;
use engine::time::ReceiveTime;
use engine::venue::Venue;

use super::Driver;
use crate::machine::clock::wall_ns;
use crate::topology::RollPlan;

/// How often the ages of lines are compared with the quiet time, in nanoseconds.
const QUIET_LOOK_NS: u64 = 10_000_000_000;
/// One second, in nanoseconds.
const SECOND_NS: u64 = 1_000_000_000;
/// One day, in seconds; a UTC day has no more for `SystemTime`.
const DAY_S: u64 = 24 * 60 * 60;

/// The rolls of one provider.
#[derive(Debug, Default)]
pub(super) struct Rolls {
    pub(super) plan: Option<RollPlan>,
    look_at_ns: u64,
}

impl Rolls {
    /// When [`Driver::roll_due`] has something to look at.
    pub(super) fn deadline_ns(&self) -> u64 {
        if self.plan.is_some() { self.look_at_ns } else { u64::MAX }
    }
}

impl RollPlan {
    /// Whether a line of `age_s` is to be rolled at this second of the UTC day. `limit_s` is the age at which the engine
    /// rolls it whatever the hour, 0 for none.
    ///
    /// Rolls begin in the middle of the quiet time: a line of a venue that ends it after a day then meets its limit, which
    /// is a little less than a day later, in the first half of the next quiet time. What would not live until the next
    /// one begins is rolled too, however young, so that the limit never comes at another hour.
    pub fn is_due(&self, second: u64, age_s: u64, limit_s: u64) -> bool {
        let (from_s, to_s) = (u64::from(self.quiet_from_min) * 60, u64::from(self.quiet_to_min) * 60);
        let length_s = (to_s + DAY_S - from_s) % DAY_S;
        let into_s = (second + DAY_S - from_s) % DAY_S;
        if into_s < length_s / 2 || into_s >= length_s {
            return false;
        }
        let next_in_s = DAY_S - into_s;
        let dies_before = limit_s > 0 && age_s + next_in_s > limit_s && limit_s >= next_in_s;
        age_s >= u64::from(self.after_h) * 60 * 60 || dies_before
    }
}

impl<V: Venue> Driver<V> {
    /// Begins the rolls of the quiet time that are due.
    #[cold]
    pub(super) fn roll_due(&mut self, now_ns: u64) {
        if now_ns < self.rolls.deadline_ns() {
            return;
        }
        let now = ReceiveTime::from_ns(now_ns);
        self.rolls.look_at_ns = now_ns + QUIET_LOOK_NS;
        let Some(plan) = self.rolls.plan else { return };
        let second = wall_ns() / SECOND_NS % DAY_S;
        let age_ns_max = self.provider.pipeline.venue.limits().age_s_max * SECOND_NS;
        let limit_s = age_ns_max.saturating_sub(ROLL_BEFORE_NS) / SECOND_NS;
        let age_s = |connection: &Connection| connection.live_since().map(|at| now.since_ns(at) / SECOND_NS);
        let due: Vec<LineId> = self
            .provider
            .connections()
            .iter()
            .filter(|&connection| age_s(connection).is_some_and(|age_s| plan.is_due(second, age_s, limit_s)))
            .map(Connection::line)
            .collect();
        for line in due {
            // `false` while another line of its group is rolled: its turn comes with the next look.
            self.provider.roll(line, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_S: u64 = 60 * 60;
    /// What the engine leaves of Binance's 24 hours.
    const LIMIT_S: u64 = DAY_S - 300;

    fn plan(after_h: u32, from: u32, to: u32) -> RollPlan {
        RollPlan { after_h, quiet_from_min: from, quiet_to_min: to }
    }

    #[test]
    fn lines_are_rolled_in_the_second_half_of_the_quiet_time_when_they_are_old_enough() {
        let plan = plan(20, 4 * 60 + 10, 4 * 60 + 40);
        let at = |hour: u64, minute: u64| hour * HOUR_S + minute * 60;
        for (second, age_s, due) in [
            (at(4, 24), 21 * HOUR_S, false),
            (at(4, 25), 21 * HOUR_S, true),
            (at(4, 25), 20 * HOUR_S - 1, false),
            (at(4, 39), 20 * HOUR_S, true),
            (at(4, 40), 21 * HOUR_S, false),
            (at(16, 30), 23 * HOUR_S, false),
        ] {
            assert_eq!(plan.is_due(second, age_s, 0), due, "second {second}, age {age_s}");
        }
    }

    #[test]
    fn a_quiet_time_may_contain_midnight() {
        let plan = plan(1, 23 * 60 + 50, 20);
        assert!(plan.is_due(5 * 60, 2 * HOUR_S, 0));
        assert!(!plan.is_due(20 * 60, 2 * HOUR_S, 0));
        assert!(!plan.is_due(23 * HOUR_S + 55 * 60, 2 * HOUR_S, 0), "its first half");
    }

    #[test]
    fn over_years_the_venues_limit_is_met_in_the_quiet_time_alone() {
        // From any hour of the start on: the first limit may come at any hour, none after the first quiet time.
        for (plan, hour) in (0..24).flat_map(|hour| [(plan(20, 250, 280), hour), (plan(23, 1430, 10), hour)])
        {
            let (mut opened_s, mut rolls) = (hour * HOUR_S, 0);
            let mut now_s = opened_s;
            let mut was_quiet = false;
            while now_s < 400 * DAY_S {
                now_s += 10;
                let age_s = now_s - opened_s;
                let into_s = (now_s + DAY_S - u64::from(plan.quiet_from_min) * 60) % DAY_S;
                let is_quiet = into_s < 30 * 60;
                if plan.is_due(now_s % DAY_S, age_s, LIMIT_S) {
                    (opened_s, rolls) = (now_s, rolls + 1);
                } else if age_s >= LIMIT_S {
                    assert!(is_quiet || !was_quiet, "limit at {now_s}, {into_s} s into the quiet time");
                    (opened_s, rolls) = (now_s, rolls + 1);
                }
                was_quiet |= is_quiet && into_s >= 15 * 60;
            }
            assert!((399..=700).contains(&rolls), "{rolls} rolls in 400 days");
        }
    }
}
