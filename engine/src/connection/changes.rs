//! What is still to be said to a venue about the streams of a connection.

use std::collections::VecDeque;

use crate::ids::StreamId;

/// Subscriptions to begin (`true`) and to end, in order. Those of one kind stand side by side where they may, for one message
/// tells many: ten books of a connection with a hole are two messages and not twenty, which take three seconds where the venue
/// allows eight a second.
#[derive(Debug, Default)]
pub(super) struct Changes(VecDeque<(bool, StreamId)>);

impl Changes {
    /// Nothing but these, all to begin.
    pub fn of(streams: &[StreamId]) -> Self {
        Self(streams.iter().map(|&stream| (true, stream)).collect())
    }

    pub fn push(&mut self, subscribe: bool, stream: StreamId) {
        self.0.push_back((subscribe, stream));
    }

    /// A stream is to end and to begin. Nothing is added if it is to begin already.
    pub fn push_anew(&mut self, stream: StreamId) {
        let beginning = self.0.iter().rev().take_while(|(subscribe, _)| *subscribe).count();
        let at = self.0.len() - beginning;
        if self.0.range(at..).any(|&(_, known)| known == stream) {
            return;
        }
        // Before those that only begin: none of them is this one.
        self.0.insert(at, (false, stream));
        self.0.push_back((true, stream));
    }

    /// The first ones of one kind, `count_max` at most; empty if there is nothing to say.
    pub fn first(&self, count_max: usize) -> (bool, Vec<StreamId>) {
        let kind = self.0.front().is_some_and(|&(subscribe, _)| subscribe);
        let same = self.0.iter().take_while(|(subscribe, _)| *subscribe == kind).take(count_max);
        (kind, same.map(|&(_, stream)| stream).collect())
    }

    /// The first `count` were said.
    pub fn said(&mut self, count: usize) {
        self.0.drain(..count);
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `+3` begins stream 3, `-3` ends it, `~3` begins it anew. What is said then, message by message.
    #[track_caller]
    fn check(asked: &str, said: &str) {
        let mut changes = Changes::default();
        for word in asked.split_whitespace() {
            let (kind, stream) = word.split_at(1);
            let stream = StreamId(stream.parse().expect("a number"));
            match kind {
                "~" => changes.push_anew(stream),
                kind => changes.push(kind == "+", stream),
            }
        }
        let mut messages = Vec::new();
        while !changes.is_empty() {
            let (subscribe, streams) = changes.first(4);
            let names: Vec<String> = streams.iter().map(|stream| stream.0.to_string()).collect();
            messages.push(format!("{}{}", if subscribe { '+' } else { '-' }, names.join(",")));
            changes.said(streams.len());
        }
        assert_eq!(messages.join(" "), said, "{asked}");
    }

    #[test]
    fn changes_of_one_kind_are_one_message_and_the_order_of_each_stream_is_kept() {
        check("", "");
        check("+1 +2 -3", "+1,2 -3");
        check("~1", "-1 +1");
        check("~1 ~2 ~3", "-1,2,3 +1,2,3");
        check("~1 ~2 ~3 ~4 ~5", "-1,2,3,4 -5 +1,2,3,4 +5");
        check("~1 ~1", "-1 +1"); // it has not even begun
        check("+1 ~1", "+1");
        check("+1 ~2", "-2 +1,2");
        check("~1 -2 ~3", "-1 +1 -2,3 +3"); // no end moves past a beginning that was asked for before it
        check("~1 -1 ~1", "-1 +1 -1,1 +1");
        check("-1 ~2 +1", "-1,2 +2,1");
    }
}
