//! What comes to the desk: bytes of the private connection, answers to calls, and what the gateway makes of them.

use crate::connection::Lost;
use crate::orders::ledger::{Purpose, SessionState};
use crate::orders::life::OrderNews;
use crate::orders::report::ReportState;
use crate::orders::venue::{Incoming, OrderGateway};
use crate::raw::DecodeError;
use crate::time::ReceiveTime;

use super::Desk;
use super::lane::{CallId, Rank, Want};
use super::turn::Join;

/// Orders found at the venue that wait to be taken on.
pub(super) const ADOPTABLE_MAX: usize = 1_024;

impl<G: OrderGateway> Desk<G> {
    pub(super) fn take_bytes(&mut self, mut bytes: &[u8], now: ReceiveTime) {
        while !bytes.is_empty() {
            let taken = match self.link.feed(bytes, now) {
                Ok((taken, opened)) => {
                    if opened {
                        self.link_opened(now);
                    }
                    taken
                }
                Err(lost) => return self.lose(lost, now),
            };
            bytes = &bytes[taken..];
            loop {
                match self.link.next_text() {
                    Ok(None) => break,
                    Err(lost) => return self.lose(lost, now),
                    Ok(Some(text)) => {
                        self.frames += 1;
                        self.counts.frames_total += 1;
                        let decoded = self.gateway.decode_frame(text, &mut self.incoming);
                        self.take_in(now);
                        self.undecodable(decoded, now);
                    }
                }
            }
            if taken == 0 && !self.link.is_live() {
                return;
            }
        }
    }

    /// What could not be read may have been an execution.
    fn undecodable(&mut self, decoded: Result<(), DecodeError>, now: ReceiveTime) {
        match decoded {
            // Venues add channels and events without notice.
            Ok(()) | Err(DecodeError::UnknownChannel) => {}
            Err(_) => {
                self.counts.undecodable_total += 1;
                self.ledger.compare_now(now);
            }
        }
    }

    pub(super) fn take_answer(
        &mut self,
        id: CallId,
        status: u16,
        retry_after_s: Option<u64>,
        body: &mut [u8],
        now: ReceiveTime,
    ) {
        let Some(tag) = self.lane.finish(id) else { return };
        if let Some(wait_ms) = self.lane.pause_for(status, retry_after_s, now) {
            self.limited(Some(wait_ms), now);
        }
        self.frames += 1;
        let decoded = self.gateway.decode_http(tag, status, body, &mut self.incoming);
        self.take_in(now);
        if tag.purpose() != Some(Purpose::OpenOrders) {
            self.undecodable(decoded, now);
        } else if decoded.is_err() {
            self.counts.undecodable_total += 1; // the list is asked for again in its own time
        }
    }

    /// The venue wants fewer requests: orders that wait for a call would come too late.
    fn limited(&mut self, wait_ms: Option<u64>, now: ReceiveTime) {
        self.counts.limited_total += 1;
        self.pace.limited(wait_ms, now);
        self.lane.be_quiet(wait_ms, now);
        self.drop_unsent(None, super::Rule::VenueRate, now);
    }

    /// Remembers an open order at the venue that carries an id of ours and is not known.
    fn find_adoptable(&mut self, news: &OrderNews) {
        let is_open = matches!(news.state, Some(ReportState::Ack | ReportState::Partial));
        if is_open
            && news.terms.is_some()
            && self.adoptable.len() < ADOPTABLE_MAX
            && self.ledger.is_foreign_of_ours(news)
        {
            self.adoptable.push(*news);
        }
    }

    fn take_in(&mut self, now: ReceiveTime) {
        let mut incoming = std::mem::take(&mut self.incoming);
        for said in incoming.drain(..) {
            self.take_one(&said, now);
        }
        self.incoming = incoming;
    }

    fn take_one(&mut self, said: &Incoming, now: ReceiveTime) {
        let trace = self.trace();
        match said {
            Incoming::Answer { tag, outcome, news } => self.ledger.answer(*tag, *outcome, news, trace, now),
            Incoming::Item { tag, news } => {
                if tag.purpose() == Some(Purpose::OpenOrders) {
                    self.find_adoptable(news);
                }
                self.ledger.listed(*tag, news, trace, now);
            }
            Incoming::End { tag, complete } => self.ledger.list_end(*tag, *complete, trace, now),
            Incoming::More { tag } => {
                self.ledger.list_goes_on(*tag, now);
                let rank = if tag.purpose() == Some(Purpose::OpenOrders) { Rank::List } else { Rank::Query };
                self.lane.put(Want { rank, tag: *tag, attempt: 0 });
            }
            Incoming::News(news) => {
                // Kraken begins its stream with the open orders. Later news of an unknown order is of one long ended.
                if matches!(self.ledger.session(), SessionState::Listing | SessionState::Checking) {
                    self.find_adoptable(news);
                }
                self.ledger.news(news, trace, now);
            }
            Incoming::Joined => {
                if self.join != Join::Done {
                    self.join = Join::Done;
                    self.note_reach();
                    self.link.is_good();
                    self.ledger.session_joined(now);
                }
            }
            Incoming::Lost => self.lose(Lost::Handshake("the private stream lost frames".to_owned()), now),
            Incoming::Refused(news) => {
                self.counts.refused_total += 1;
                self.last_refusal = Some(*news);
                if self.join == Join::Done {
                    // Of which request, it does not say.
                    self.ledger.compare_now(now);
                } else {
                    self.lose(
                        Lost::Handshake(format!("session refused: {} {}", news.code, news.reason)),
                        now,
                    );
                }
            }
            Incoming::Token => {
                if let Join::Answer { next, deadline } = self.join {
                    self.join = Join::Step { step: next, deadline };
                }
            }
            Incoming::Used { used, limit, window_ms } => self.pace.told(*used, *limit, *window_ms, now),
            Incoming::Limited { wait_ms } => self.limited(*wait_ms, now),
            Incoming::VenueTime { unix_ms } => self.clock.told(*unix_ms, now),
            Incoming::ClockOff => self.clock.ask_now(now),
        }
    }
}
