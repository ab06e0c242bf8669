//! The consumer at the far end of a replay: every figure from delivered events alone.

use engine::book::Replica;
use engine::codec::{EVENT_BYTES_MAX, encode_content};
use engine::decimal::Sum;
use engine::event::{Body, BookReason, BookStatus, Event, Flags, Kind, Side, Ticker, Trade};
use engine::ids::StreamId;
use sha2::{Digest, Sha256};

/// All that was delivered.
#[derive(Default)]
pub struct Tally {
    /// Logical events by kind.
    pub by_kind: [u64; Kind::COUNT],
    streams: Vec<Option<Box<StreamTally>>>,
    bytes: Vec<u8>,
}

/// What one stream delivered.
pub struct StreamTally {
    /// Over the content of every part.
    pub hash: Sha256,
    /// Its trades.
    pub trades: TradeTally,
    /// Its book, rebuilt.
    pub replica: Option<Replica>,
    /// Tickers, and the last one with the scale of its numbers.
    pub tickers: u64,
    /// The last ticker.
    pub last_ticker: Option<(Ticker, engine::decimal::Decimals)>,
    /// Gaps.
    pub gaps: u64,
    /// Times the book was given up.
    pub resyncs: u64,
    /// Times its sides crossed.
    pub crossed: u64,
    /// The recording has a hole behind which no snapshot has come yet: nobody knows what the book is.
    pub unknown: bool,
}

impl Default for StreamTally {
    fn default() -> Self {
        Self {
            hash: Sha256::new(),
            trades: TradeTally::default(),
            replica: None,
            tickers: 0,
            last_ticker: None,
            gaps: 0,
            resyncs: 0,
            crossed: 0,
            unknown: false,
        }
    }
}

/// Trades of one stream, summed exactly.
#[derive(Default)]
pub struct TradeTally {
    /// How many.
    pub count: u64,
    /// Of all.
    pub sum_qty: Sum,
    /// Of all.
    pub sum_price_x_qty: Sum,
    /// Those whose taker bought, and their quantity.
    pub taker_buy: (u64, Sum),
    /// Those whose taker sold, and their quantity.
    pub taker_sell: (u64, Sum),
    /// Id of the first.
    pub first_id: Option<u64>,
    /// Id of the last.
    pub last_id: Option<u64>,
}

impl Tally {
    /// Takes one event off a ring.
    pub fn take(&mut self, event: &Event) {
        if event.completes() {
            self.by_kind[event.kind() as usize] += 1;
        }
        let index = event.header.stream.index();
        if self.streams.len() <= index {
            self.streams.resize_with(index + 1, || None);
        }
        let stream = self.streams[index].get_or_insert_with(Box::default);
        self.bytes.clear();
        self.bytes.reserve(EVENT_BYTES_MAX);
        encode_content(event, &mut self.bytes);
        stream.hash.update(&self.bytes);
        stream.take(event);
    }

    /// Events of any stream are missing from here on.
    pub fn lose(&mut self) {
        self.streams.iter_mut().flatten().for_each(|stream| stream.unknown = stream.replica.is_some());
    }

    /// What a stream delivered; `None` if nothing.
    pub fn stream(&self, stream: StreamId) -> Option<&StreamTally> {
        self.streams.get(stream.index())?.as_deref()
    }
}

impl StreamTally {
    fn take(&mut self, event: &Event) {
        match &event.body {
            Body::Trade(trade) => self.trades.take(trade, event),
            Body::BookSnapshot(_) | Body::BookUpdate(_) => {
                let begins = event.kind() == Kind::BookSnapshot && event.header.flags.has(Flags::FIRST);
                self.unknown &= !begins;
                self.book().apply(event);
            }
            Body::BookState { status, reason, .. } => {
                self.book().apply(event);
                self.resyncs += u64::from(matches!(status, BookStatus::Suspect | BookStatus::Stale));
                self.crossed += u64::from(*reason == BookReason::Crossed);
            }
            Body::Ticker(ticker) => {
                self.tickers += 1;
                self.last_ticker = Some((*ticker, event.header.decimals));
            }
            Body::Gap(_) => self.gaps += 1,
            // A replay has no merge shard.
            Body::Kline(_) | Body::Merged(_) | Body::Fragment { .. } | Body::MergedBbo(_) | Body::Marker => {}
        }
    }

    fn book(&mut self) -> &mut Replica {
        self.replica.get_or_insert_with(|| Replica::new(super::BOOK_DEPTH_MAX, 1_024))
    }
}

impl TradeTally {
    fn take(&mut self, trade: &Trade, event: &Event) {
        let decimals = event.header.decimals;
        let (price, qty) = (i128::from(trade.price.0), i128::from(trade.qty.0));
        self.count += 1;
        self.sum_qty.add(qty, decimals.qty);
        self.sum_price_x_qty.add(price * qty, decimals.price + decimals.qty);
        let side = match trade.taker_side {
            Side::Buy => &mut self.taker_buy,
            Side::Sell => &mut self.taker_sell,
        };
        side.0 += 1;
        side.1.add(qty, decimals.qty);
        self.first_id.get_or_insert(trade.id);
        self.last_id = Some(trade.id);
    }
}
