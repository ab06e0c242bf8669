//! The desk's own REST lane: what waits, what is under way, and how fast the venue may be asked.
//!
//! What waits is not yet signed: a request is written when it leaves, so its time and its nonce are of that moment and in
//! order. Cancels go before orders, those before the session's own, before questions, before lists; questions never
//! take the last calls, so that an order finds one free. Market data has a lane of its own and takes nothing from here.

use crate::orders::ledger::Tag;
use crate::time::ReceiveTime;

/// Requests that may wait.
const WAITING_MAX: usize = 1_024;
/// How long a call may take, in nanoseconds. The shell may give up earlier.
const CALL_NS_MAX: u64 = 10_000_000_000;
/// Pause after a 429 that names none, in seconds.
const LIMITED_PAUSE_S: u64 = 10;
/// Pause after a 418 that names none, in seconds: the shortest ban that Binance documents.
const BANNED_PAUSE_S: u64 = 120;
/// Longest pause that an answer can make us take, in seconds: the longest ban that Binance documents, three days.
const PAUSE_S_MAX: u64 = 259_200;
const SECOND_NS: u64 = 1_000_000_000;

/// Names a call between its sending and its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CallId(pub u64);

/// Method of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// GET, without a body.
    Get,
    /// POST.
    Post,
    /// DELETE, without a body.
    Delete,
}

impl Method {
    /// The word of HTTP.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Delete => "DELETE",
        }
    }
}

/// One HTTP call, signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpCall<'a> {
    /// Comes back with the answer.
    pub id: CallId,
    /// Method.
    pub method: Method,
    /// Path and query.
    pub path: &'a [u8],
    /// Whole header lines, each ended by CR LF, beside Host and Content-Length. They are secret.
    pub headers: &'a [u8],
    /// The body, empty but for a POST.
    pub body: &'a [u8],
}

/// What a request is for, most important first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    Cancel,
    Place,
    Session,
    Query,
    List,
}

/// A request that waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Want {
    pub rank: Rank,
    pub tag: Tag,
    pub attempt: u32,
}

#[derive(Debug)]
struct UnderWay {
    id: CallId,
    tag: Tag,
    rank: Rank,
    deadline: ReceiveTime,
}

/// Waiting and running requests.
#[derive(Debug)]
pub(super) struct Lane {
    waiting: Vec<Want>,
    under_way: Vec<UnderWay>,
    calls_max: usize,
    next_id: u64,
    paused_until: ReceiveTime,
    /// Questions that may be asked now; in thousandths, growing with time.
    budget_milli: u64,
    budget_at: ReceiveTime,
    /// No question before that, by whatever way.
    quiet_until: ReceiveTime,
    queries_per_s_max: u64,
}

impl Lane {
    pub(super) fn new(calls_max: usize, queries_per_s_max: u32) -> Self {
        let queries_per_s_max = u64::from(queries_per_s_max.max(1));
        Self {
            waiting: Vec::with_capacity(WAITING_MAX),
            under_way: Vec::with_capacity(calls_max.max(1)),
            calls_max: calls_max.max(1),
            next_id: 1,
            paused_until: ReceiveTime::default(),
            budget_milli: queries_per_s_max * 1_000,
            budget_at: ReceiveTime::default(),
            quiet_until: ReceiveTime::default(),
            queries_per_s_max,
        }
    }

    /// Puts a request behind those of its rank. False if there is no room.
    pub(super) fn put(&mut self, want: Want) -> bool {
        if self.waiting.len() == WAITING_MAX {
            return false;
        }
        let at = self.waiting.partition_point(|other| other.rank <= want.rank);
        self.waiting.insert(at, want);
        true
    }

    pub(super) const fn is_full(&self) -> bool {
        self.waiting.len() == WAITING_MAX
    }

    /// Takes the first request that waits and of which `which` says so.
    pub(super) fn remove(&mut self, which: impl FnMut(&Want) -> bool) -> Option<Want> {
        let at = self.waiting.iter().position(which)?;
        Some(self.waiting.remove(at))
    }

    /// How many of the requests that wait are such.
    pub(super) fn count(&self, which: impl Fn(&Want) -> bool) -> usize {
        self.waiting.iter().filter(|want| which(want)).count()
    }

    /// The next request that may leave now.
    pub(super) fn next(&mut self, now: ReceiveTime) -> Option<Want> {
        if now < self.paused_until || self.under_way.len() >= self.calls_max {
            return None;
        }
        let questions = self.under_way.iter().filter(|call| call.rank >= Rank::Query).count();
        let questions_max = (self.calls_max / 2).max(1);
        let first = self.waiting.first()?;
        if first.rank >= Rank::Query && questions >= questions_max {
            return None;
        }
        Some(self.waiting.remove(0))
    }

    /// A request leaves.
    pub(super) fn start(&mut self, want: &Want, now: ReceiveTime) -> CallId {
        let id = CallId(self.next_id);
        self.next_id += 1;
        self.under_way.push(UnderWay {
            id,
            tag: want.tag,
            rank: want.rank,
            deadline: now.plus_ns(CALL_NS_MAX),
        });
        id
    }

    /// A call ended; `None` if it was given up before.
    pub(super) fn finish(&mut self, id: CallId) -> Option<Tag> {
        let at = self.under_way.iter().position(|call| call.id == id)?;
        Some(self.under_way.remove(at).tag)
    }

    /// A call whose time is over.
    pub(super) fn expired(&self, now: ReceiveTime) -> Option<CallId> {
        self.under_way.iter().find(|call| now >= call.deadline).map(|call| call.id)
    }

    /// Obeys a 429 or 418: nothing leaves until the time is over. The pause in milliseconds.
    pub(super) fn pause_for(
        &mut self,
        status: u16,
        retry_after_s: Option<u64>,
        now: ReceiveTime,
    ) -> Option<u64> {
        let seconds = match status {
            429 => retry_after_s.unwrap_or(LIMITED_PAUSE_S),
            418 => retry_after_s.unwrap_or(BANNED_PAUSE_S),
            _ => return None,
        };
        let seconds = seconds.clamp(1, PAUSE_S_MAX);
        self.paused_until = self.paused_until.max(now.plus_ns(seconds * SECOND_NS));
        Some(seconds * 1_000)
    }

    /// Whether a question may be asked now, by whatever way.
    pub(super) fn may_ask(&mut self, now: ReceiveTime) -> bool {
        let grown = now.since_ns(self.budget_at).min(SECOND_NS) * self.queries_per_s_max / 1_000_000;
        if grown > 0 {
            self.budget_milli = (self.budget_milli + grown).min(self.queries_per_s_max * 1_000);
            self.budget_at = now;
        }
        self.budget_milli >= 1_000 && now >= self.quiet_until
    }

    /// The venue said that there were too many requests: no question for a while. Asked on, it bans.
    pub(super) fn be_quiet(&mut self, wait_ms: Option<u64>, now: ReceiveTime) {
        let wait_ms = wait_ms.unwrap_or(LIMITED_PAUSE_S * 1_000).min(PAUSE_S_MAX * 1_000);
        self.quiet_until = self.quiet_until.max(now.plus_ns(wait_ms * 1_000_000));
    }

    /// One was asked.
    pub(super) fn asked(&mut self) {
        self.budget_milli = self.budget_milli.saturating_sub(1_000);
    }

    /// When the next question may be asked.
    pub(super) fn ask_at(&self) -> ReceiveTime {
        let missing = 1_000_u64.saturating_sub(self.budget_milli);
        let budget_at = self.budget_at.plus_ns((missing * 1_000_000).div_ceil(self.queries_per_s_max));
        budget_at.max(self.quiet_until)
    }

    /// When a call's time is over.
    pub(super) fn deadline(&self) -> Option<ReceiveTime> {
        self.under_way.iter().map(|call| call.deadline).min()
    }

    /// When what waits may leave, if nothing but a pause holds it back.
    pub(super) fn pause_end(&self, now: ReceiveTime) -> Option<ReceiveTime> {
        (!self.waiting.is_empty() && now < self.paused_until).then_some(self.paused_until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> ReceiveTime {
        ReceiveTime::from_ns(5_000_000_000 + ms * 1_000_000)
    }

    fn want(rank: Rank, number: u32) -> Want {
        Want { rank, tag: Tag::session(number), attempt: 0 }
    }

    fn taken(lane: &mut Lane, now: ReceiveTime) -> Vec<(u32, CallId)> {
        std::iter::from_fn(|| {
            let want = lane.next(now)?;
            Some((want.tag.number(), lane.start(&want, now)))
        })
        .collect()
    }

    #[test]
    fn cancels_go_first_and_questions_leave_room_for_orders() {
        let mut lane = Lane::new(4, 10);
        for (rank, number) in
            [(Rank::List, 1), (Rank::Query, 2), (Rank::Query, 3), (Rank::Place, 4), (Rank::Cancel, 5)]
        {
            assert!(lane.put(want(rank, number)));
        }
        let calls = taken(&mut lane, at(0));
        assert_eq!(calls.iter().map(|call| call.0).collect::<Vec<_>>(), [5, 4, 2, 3], "the list waits");
        assert_eq!(lane.finish(calls[2].1).map(Tag::number), Some(2));
        assert_eq!(lane.finish(calls[2].1), None, "an answer ends a call once");
        assert_eq!(taken(&mut lane, at(0)).len(), 1);
        lane.finish(calls[0].1);
        lane.put(want(Rank::Query, 6));
        assert!(taken(&mut lane, at(0)).is_empty(), "two questions are under way");
        lane.put(want(Rank::Place, 7));
        assert_eq!(taken(&mut lane, at(0)).len(), 1);
    }

    #[test]
    fn a_429_stops_everything_for_as_long_as_it_says_and_a_late_call_is_given_up() {
        let mut lane = Lane::new(4, 10);
        lane.put(want(Rank::Cancel, 1));
        assert_eq!(lane.pause_for(429, Some(3), at(0)), Some(3_000));
        assert_eq!(lane.pause_for(500, Some(3), at(0)), None);
        assert!(taken(&mut lane, at(2_999)).is_empty());
        assert_eq!(lane.pause_end(at(1)), Some(at(3_000)));
        let calls = taken(&mut lane, at(3_000));
        assert_eq!(lane.deadline(), Some(at(13_000)));
        assert_eq!((lane.expired(at(12_999)), lane.expired(at(13_000))), (None, Some(calls[0].1)));
    }

    #[test]
    fn no_second_holds_more_than_twice_the_questions_and_the_rate_is_kept() {
        let mut lane = Lane::new(4, 10);
        let mut asked = 0;
        for ms in 0..5_000 {
            while lane.may_ask(at(ms)) {
                lane.asked();
                asked += 1;
            }
            assert!(lane.ask_at() > at(ms));
        }
        assert_eq!(asked, 10 + 49, "a burst of one second, then the rate");
        lane.be_quiet(Some(4_000), at(6_000));
        assert!(!lane.may_ask(at(9_999)) && lane.may_ask(at(10_000)));
        lane.be_quiet(None, at(11_000));
        assert_eq!(lane.ask_at(), at(21_000));
    }
}
