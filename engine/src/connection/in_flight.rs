//! Subscriptions that a venue has yet to confirm.
//!
//! Most venues answer a message by its number. Coinbase has no numbers: it answers each message with the list of all that the
//! connection carries, so a subscription is confirmed when the list names it. One that a list has come without is asked for
//! again after its time, until it is named: its message may have been lost at the venue, and a stream that never began is silent,
//! not wrong. From the second time on it counts as refused, so that the rest of the connection is not held up by it.

use crate::ids::StreamId;
use crate::time::ReceiveTime;

/// Time for the venue to answer a subscription, in nanoseconds. Without an answer the connection is made anew.
const ACK_NS_MAX: u64 = 10_000_000_000;

/// One message.
#[derive(Debug)]
struct Waiting {
    request: u64,
    deadline: ReceiveTime,
    subscribe: bool,
    /// Those that are not confirmed.
    streams: Vec<StreamId>,
    /// A list has come since it was sent.
    answered: bool,
}

/// All that wait.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    waiting: Vec<Waiting>,
    /// Streams that were asked for again on this connection and are not named yet, and whether that was so twice.
    unnamed: Vec<(StreamId, bool)>,
}

/// What is to be done about those whose time is over.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Overdue {
    /// The venue does not answer.
    NoAnswer,
    /// These are to be asked for again; some of them for the second time, which is news.
    Unnamed { again: Vec<StreamId>, refused: Vec<StreamId> },
}

impl InFlight {
    /// A message was sent. What it ends is waited for no longer.
    pub fn push(&mut self, request: u64, subscribe: bool, streams: &[StreamId], now: ReceiveTime) {
        if !subscribe {
            for waiting in &mut self.waiting {
                waiting.streams.retain(|stream| !streams.contains(stream));
            }
            self.waiting.retain(|waiting| !waiting.streams.is_empty());
            self.unnamed.retain(|(stream, _)| !streams.contains(stream));
        }
        let deadline = now.plus_ns(ACK_NS_MAX);
        let streams = streams.to_vec();
        self.waiting.push(Waiting { request, deadline, subscribe, streams, answered: false });
    }

    /// Whether every message is answered, but for streams that count as refused.
    pub fn is_empty(&self) -> bool {
        self.waiting.iter().all(|waiting| self.is_refused(waiting))
    }

    fn is_refused(&self, waiting: &Waiting) -> bool {
        waiting.streams.iter().all(|stream| self.unnamed.contains(&(*stream, true)))
    }

    /// Whether a stream counts as refused.
    pub fn lacks_any(&self) -> bool {
        self.unnamed.iter().any(|&(_, twice)| twice)
    }

    /// The connection is another one.
    pub fn clear(&mut self) {
        self.waiting.clear();
        self.unnamed.clear();
    }

    /// The venue answered a message, or, without a number, refused something and does not say what.
    pub fn answered(&mut self, request: Option<u64>) {
        match request {
            // Venues that answer each stream by itself repeat the request; the first answer ends the wait.
            Some(request) => self.waiting.retain(|waiting| waiting.request != request),
            None => self.waiting.clear(),
        }
    }

    /// The venue named all that the connection carries.
    pub fn listed(&mut self, all: &[StreamId]) {
        for waiting in &mut self.waiting {
            waiting.answered = true;
            let subscribe = waiting.subscribe;
            waiting.streams.retain(|stream| all.contains(stream) != subscribe);
        }
        self.waiting.retain(|waiting| !waiting.streams.is_empty());
        self.unnamed.retain(|(stream, _)| !all.contains(stream));
    }

    /// The streams of a message that waits.
    pub fn streams_of(&self, request: u64) -> &[StreamId] {
        let waiting = self.waiting.iter().find(|waiting| waiting.request == request);
        waiting.map_or(&[], |waiting| &waiting.streams)
    }

    /// When the first of them has waited long enough.
    pub fn deadline(&self) -> Option<ReceiveTime> {
        self.waiting.iter().map(|waiting| waiting.deadline).min()
    }

    /// Those whose time is over, which wait no longer.
    pub fn overdue(&mut self, now: ReceiveTime) -> Option<Overdue> {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return None;
        }
        let over: Vec<Waiting> = self.waiting.extract_if(.., |waiting| now >= waiting.deadline).collect();
        if over.iter().any(|waiting| !waiting.answered && !self.is_refused(waiting)) {
            return Some(Overdue::NoAnswer);
        }
        // What was to end and is still named was answered all the same.
        let unnamed =
            over.into_iter().filter(|waiting| waiting.subscribe).flat_map(|waiting| waiting.streams);
        let (mut again, mut refused) = (Vec::new(), Vec::new());
        for stream in unnamed {
            match self.unnamed.iter_mut().find(|(known, _)| *known == stream) {
                None => self.unnamed.push((stream, false)),
                Some((_, twice)) if !*twice => {
                    *twice = true;
                    refused.push(stream);
                }
                Some(_) => {}
            }
            again.push(stream);
        }
        Some(Overdue::Unnamed { again, refused })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at_s(seconds: u64) -> ReceiveTime {
        ReceiveTime::from_ns(seconds * 1_000_000_000)
    }

    /// `+1,2` asks for streams, `-1` ends one, each with the next number; `=1,2` is a list of all, `a3` an answer to message 3, `@7`
    /// the time in seconds. What is overdue is said as `lost`, or as `again 1,2 refused 2`, and what waits at the end as its streams.
    #[track_caller]
    fn check(script: &str, said: &str, waits: &str) {
        let (mut in_flight, mut now, mut request) = (InFlight::default(), at_s(0), 0);
        let ids = |text: &str| -> Vec<StreamId> {
            text.split(',').filter_map(|number| number.parse().ok()).map(StreamId).collect()
        };
        let names = |streams: &[StreamId]| {
            streams.iter().map(|stream| stream.0.to_string()).collect::<Vec<_>>().join(",")
        };
        let mut heard = Vec::new();
        for word in script.split_whitespace() {
            let (kind, rest) = word.split_at(1);
            match kind {
                "+" | "-" => {
                    request += 1;
                    in_flight.push(request, kind == "+", &ids(rest), now);
                }
                "=" => in_flight.listed(&ids(rest)),
                "a" => in_flight.answered(rest.parse().ok()),
                _ => now = at_s(rest.parse().expect("seconds")),
            }
            match in_flight.overdue(now) {
                Some(Overdue::NoAnswer) => heard.push("lost".to_owned()),
                Some(Overdue::Unnamed { again, refused }) => {
                    heard.push(format!("again {} refused {}", names(&again), names(&refused)));
                }
                None => {}
            }
        }
        assert_eq!(heard.join("; "), said, "{script}");
        let left: Vec<String> = in_flight.waiting.iter().map(|waiting| names(&waiting.streams)).collect();
        assert_eq!(left.join(" "), waits, "{script}");
    }

    #[test]
    fn a_subscription_waits_until_it_is_answered_or_named() {
        check("+1,2 @9", "", "1,2");
        check("+1,2 @10", "lost", "");
        check("+1,2 +3 a1", "", "3");
        check("+1 a", "", ""); // refused without a number
        check("+1,2 =1,2", "", "");
        check("+1,2 =1", "", "2");
        check("+1 +2 +3 =1 =1,3 @9", "", "2"); // the second message was lost
        check("+1 +2 +3 =1,2,3", "", ""); // one answer for all
        check("-1 =1", "", "1");
        check("-1 =2", "", "");
    }

    #[test]
    fn what_no_list_names_is_asked_for_again_and_counts_as_refused_from_the_second_time_on() {
        check("+1 +2 =1 @10", "again 2 refused ", "");
        check("+1 +2 =1 @10 +2 =1,2", "again 2 refused ", "");
        check(
            "+1 +2 =1 @10 +2 =1 @20 +2 =1 @30 +2",
            "again 2 refused ; again 2 refused 2; again 2 refused ",
            "2",
        );
        check("+1 +2 =1 @10 +2 @20", "again 2 refused ; lost", "");
        check("+1 +2 =1 @10 +2 =1 @20 +2 @30", "again 2 refused ; again 2 refused 2; again 2 refused ", "");
        check("-1 =1 @10", "again  refused ", ""); // it was answered
        check("+1 @1 =2 +3 @10", "again 1 refused ", "3");
        check("+1,2 =2 -1 =2 @10", "", ""); // nobody wants it any more
        check("+1 -1 +1 =2 @10", "again 1 refused ", "");
    }

    #[test]
    fn a_refused_stream_holds_nothing_up_and_is_lacked_until_it_is_named() {
        let (mut in_flight, streams) = (InFlight::default(), [StreamId(1), StreamId(2)]);
        let state = |in_flight: &InFlight| (in_flight.is_empty(), in_flight.lacks_any());
        for (second, expected) in [(0, (false, false)), (10, (false, false)), (20, (true, true))] {
            let _ = in_flight.overdue(at_s(second));
            in_flight.push(second, true, &streams[1..], at_s(second));
            in_flight.listed(&streams[..1]);
            assert_eq!(state(&in_flight), expected, "second {second}");
        }
        in_flight.push(21, true, &[StreamId(3)], at_s(21));
        assert_eq!(state(&in_flight), (false, true));
        in_flight.listed(&[StreamId(1), StreamId(2), StreamId(3)]);
        assert_eq!(state(&in_flight), (true, false));
    }
}
