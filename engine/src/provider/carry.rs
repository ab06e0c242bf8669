//! Which streams a provider carries, on which connections, and which instruments the venue lists.

use super::rest::Purpose;
use super::{Happening, Provider};
use crate::connection::Connection;
use crate::directory::ListingError;
use crate::ids::{InstrumentId, LineId, Listing, StreamId};
use crate::pipeline::Pipeline;
use crate::time::ReceiveTime;
use crate::venue::Venue;

/// No connection has room for another stream, and no more connections fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no connection has room for another stream")]
pub struct NoRoom;

impl<V: Venue> Provider<V> {
    pub(super) fn name_unlisted(&mut self) {
        let instruments = self.pipeline.directory.instruments().iter();
        let unlisted: Vec<Happening> = instruments
            .filter(|instrument| !instrument.trading)
            .map(|instrument| Happening::Unlisted {
                symbol: instrument.symbol.clone(),
                venue_symbol: instrument.venue_symbol.clone(),
            })
            .collect();
        for happening in unlisted {
            self.happened(happening);
        }
    }

    /// Adds an instrument, known by nothing but its names, and asks the venue for its list once more.
    ///
    /// Until [`lists_total`](Self::lists_total) has grown nobody knows whether the venue has it; then its `trading` says so.
    ///
    /// # Errors
    /// [`ListingError`]
    #[cold]
    pub fn list(
        &mut self,
        venue_symbol: &str,
        symbol: &str,
        id: InstrumentId,
        now: ReceiveTime,
    ) -> Result<Listing, ListingError> {
        let known = self.pipeline.directory.find(venue_symbol.as_bytes());
        let listing = self.pipeline.directory.add(venue_symbol, symbol, id)?;
        if known.is_none() {
            self.pipeline.directory.instrument_mut(listing).trading = false;
        }
        self.rest.ask(Purpose::Instruments, self.pipeline.venue.instruments_request(), now);
        Ok(listing)
    }

    /// Instrument lists that have come, and those that could not be had.
    pub const fn lists_total(&self) -> (u64, u64) {
        (self.lists_total, self.lists_failed_total)
    }

    /// Whether a stream's subscription is wanted at the venue.
    pub fn carries(&self, stream: StreamId) -> bool {
        self.carried.get(stream.index()).copied().unwrap_or(false)
    }

    /// Subscribes a stream at the venue, or ends its subscription there; no other stream notices. Repeating it changes
    /// nothing.
    ///
    /// # Errors
    /// [`NoRoom`]; nothing has changed then.
    #[cold]
    pub fn carry(&mut self, stream: StreamId, wanted: bool, now: ReceiveTime) -> Result<(), NoRoom> {
        if self.carries(stream) == wanted {
            return Ok(());
        }
        if wanted {
            self.wanted_again(self.pipeline.directory.carries(stream).listing);
            let group = self.group_for(stream, now).ok_or(NoRoom)?;
            self.pipeline.begin_stream(stream);
            for line in self.lines_of(group) {
                self.connections[line].change(true, stream, now);
            }
        } else {
            self.pipeline.end_stream(stream);
            for connection in &mut self.connections {
                if connection.streams().contains(&stream) {
                    connection.change(false, stream, now);
                }
            }
        }
        if self.carried.len() <= stream.index() {
            self.carried.resize(stream.index() + 1, false);
        }
        self.carried[stream.index()] = wanted;
        Ok(())
    }

    /// The connections of a group: one for each line.
    fn lines_of(&self, group: usize) -> std::ops::Range<usize> {
        let lines = usize::from(self.pipeline.options().lines).max(1);
        group * lines..(group + 1) * lines
    }

    /// The group of connections for a new stream: where its instrument is already, else the first with room, else a new one.
    fn group_for(&mut self, stream: StreamId, now: ReceiveTime) -> Option<usize> {
        let limits = self.pipeline.venue.limits();
        let lines = usize::from(self.pipeline.options().lines).max(1);
        let listing = self.pipeline.directory.carries(stream).listing;
        let siblings: Vec<StreamId> = self.pipeline.directory.streams_of(listing).map(|(_, id)| id).collect();
        let groups = self.connections.len() / lines;
        let streams_in = |group: usize| self.connections[group * lines].streams();
        let has_room = |&group: &usize| streams_in(group).len() < limits.streams_max;
        let at_home = |&group: &usize| streams_in(group).iter().any(|known| siblings.contains(known));
        let found = (0..groups).filter(has_room).find(at_home).or_else(|| (0..groups).find(has_room));
        if found.is_some() {
            return found;
        }
        if self.connections.len() + lines > usize::from(u8::MAX) {
            return None;
        }
        for number in 0..lines {
            let line = LineId(self.connections.len() as u8);
            let (host, bytes_max) = (&self.options.websocket_host, self.options.message_bytes_max);
            let connection = Connection::new(&self.pipeline.venue, line, host, Vec::new(), bytes_max, now);
            let is_spare = number > 0 && number + 1 == lines;
            self.connections.push(if is_spare { connection.as_spare() } else { connection });
        }
        self.pipeline.set_line_count(self.connections.len());
        Some(groups)
    }
}

/// The streams of a provider in groups that one connection may carry; all streams of an instrument in one group.
pub(super) fn groups<V: Venue>(pipeline: &Pipeline<V>, streams_max: usize) -> Vec<Vec<StreamId>> {
    let mut groups: Vec<Vec<StreamId>> = vec![Vec::new()];
    for index in 0..pipeline.directory.instruments().len() {
        let streams = pipeline.directory.streams_of(Listing(index as u16)).map(|(_, stream)| stream);
        let streams: Vec<StreamId> = streams.collect();
        let last = groups.last_mut().expect("there is always a group");
        if last.len() + streams.len() > streams_max && !last.is_empty() {
            groups.push(streams);
        } else {
            last.extend(streams);
        }
    }
    for group in &mut groups {
        group.sort_by_key(|&stream| (pipeline.directory.carries(stream).channel, stream));
    }
    groups
}
