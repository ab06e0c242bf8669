//! Subscriptions that a venue has yet to confirm.
//!
//! Most venues answer a message by its number. Coinbase has no numbers: it answers each message with the list of all that the
//! connection carries, so a subscription is confirmed when the list names it. One that a list has come without is asked for
//! once more after its time: its message may have been lost at the venue, and a stream that never began is silent, not wrong.

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
    /// Streams that were asked for once more on this connection.
    again: Vec<StreamId>,
}

/// What is to be done about those whose time is over.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Overdue {
    /// The venue does not answer.
    NoAnswer,
    /// These are to be asked for once more; the others were, and the venue still does not name them.
    Unnamed { again: Vec<StreamId>, given_up: Vec<StreamId> },
}

impl InFlight {
    /// A message was sent. What it ends is waited for no longer.
    pub fn push(&mut self, request: u64, subscribe: bool, streams: &[StreamId], now: ReceiveTime) {
        if !subscribe {
            for waiting in &mut self.waiting {
                waiting.streams.retain(|stream| !streams.contains(stream));
            }
            self.waiting.retain(|waiting| !waiting.streams.is_empty());
        }
        let deadline = now.plus_ns(ACK_NS_MAX);
        let streams = streams.to_vec();
        self.waiting.push(Waiting { request, deadline, subscribe, streams, answered: false });
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The connection is another one.
    pub fn clear(&mut self) {
        self.waiting.clear();
        self.again.clear();
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
        if over.iter().any(|waiting| !waiting.answered) {
            return Some(Overdue::NoAnswer);
        }
        // What was to end and is still named was answered all the same.
        let unnamed =
            over.into_iter().filter(|waiting| waiting.subscribe).flat_map(|waiting| waiting.streams);
        let (given_up, again): (Vec<_>, Vec<_>) = unnamed.partition(|stream| self.again.contains(stream));
        self.again.extend(&again);
        Some(Overdue::Unnamed { again, given_up })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at_s(seconds: u64) -> ReceiveTime {
        ReceiveTime::from_ns(seconds * 1_000_000_000)
    }

    /// `+1,2` asks for streams, `-1` ends one, each with the next number; `=1,2` is a list of all, `a3` an answer to message 3, `@7`
    /// the time in seconds. What is overdue is said as `lost`, or as `again 1 given up 2`, and what waits at the end as its streams.
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
                Some(Overdue::Unnamed { again, given_up }) => {
                    heard.push(format!("again {} given up {}", names(&again), names(&given_up)));
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
    fn what_no_list_names_is_asked_for_once_more_and_then_given_up() {
        check("+1 +2 =1 @10", "again 2 given up ", "");
        check("+1 +2 =1 @10 +2 =1,2", "again 2 given up ", "");
        check("+1 +2 =1 @10 +2 =1 @20", "again 2 given up ; again  given up 2", "");
        check("+1 +2 =1 @10 +2 @20", "again 2 given up ; lost", "");
        check("-1 =1 @10", "again  given up ", ""); // it was answered
        check("+1,2 =2 -1 =2 @10", "", ""); // nobody wants it any more
        check("+1 -1 +1 =2 @10", "again 1 given up ", "");
        check("+1 @1 =2 +3 @10", "again 1 given up ", "3");
    }
}
