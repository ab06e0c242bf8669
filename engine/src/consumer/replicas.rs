//! The copies of books that the consumers of a shard read.

use super::{slot, slot_of_provider};
use crate::book::Replica;
use crate::ids::{ProviderId, StreamId};

/// The books of a consumer shard, one for each book stream that one of its consumers wants.
#[derive(Debug, Default)]
pub struct Replicas {
    /// By provider, then by stream.
    books: Vec<Vec<Option<Box<Replica>>>>,
}

impl Replicas {
    /// The copy of a stream's book.
    #[inline]
    pub fn get(&self, provider: ProviderId, stream: StreamId) -> Option<&Replica> {
        self.books.get(provider.index())?.get(stream.index())?.as_deref()
    }

    #[inline]
    pub(super) fn get_mut(&mut self, provider: ProviderId, stream: StreamId) -> Option<&mut Replica> {
        self.books.get_mut(provider.index())?.get_mut(stream.index())?.as_deref_mut()
    }

    pub(super) fn add(
        &mut self,
        provider: ProviderId,
        stream: StreamId,
        (depth_max, reserve): (usize, usize),
        version: u32,
    ) {
        let at = slot(slot_of_provider(&mut self.books, provider), stream.index());
        at.get_or_insert_with(|| Box::new(Replica::new(depth_max, reserve))).deepen(depth_max, version);
    }

    pub(super) fn remove(&mut self, provider: ProviderId, stream: StreamId) {
        if let Some(at) = self.books.get_mut(provider.index()).and_then(|books| books.get_mut(stream.index()))
        {
            *at = None;
        }
    }

    /// All books, with their provider and stream.
    pub fn iter(&self) -> impl Iterator<Item = (ProviderId, StreamId, &Replica)> + '_ {
        self.books.iter().enumerate().flat_map(|(provider, streams)| {
            streams.iter().enumerate().filter_map(move |(stream, book)| {
                Some((ProviderId(provider as u8), StreamId(stream as u32), book.as_deref()?))
            })
        })
    }
}
