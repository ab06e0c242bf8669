//! The columns: name, what they hold, and where a row has it. The one list behind the schema, the writer and the book's table.

use crate::rows::Row;

/// A value with its scale: `mantissa / 10^decimals`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fixed {
    pub mantissa: i64,
    pub decimals: u8,
}

/// What a row has in a column.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cell<'a> {
    Text(Option<&'a str>),
    Count(Option<u64>),
    /// Nanoseconds since the Unix epoch.
    Time(Option<u64>),
    Decimal(Option<Fixed>),
    Mark(bool),
}

/// One column.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Its name in the file.
    pub name: &'static str,
    /// What stands in it, for people.
    pub meaning: &'static str,
    pub(crate) cell: for<'a> fn(&'a Row<'_>) -> Cell<'a>,
}

/// Shortens the list: name, meaning, kind of cell, where it is.
macro_rules! columns {
    ($(($name:literal, $cell:ident, $row:ident => $value:expr, $meaning:literal),)*) => {
        &[$(Column { name: $name, meaning: $meaning, cell: |$row| Cell::$cell($value) }),*]
    };
}

/// All of them, in the order of the file.
pub const COLUMNS: &[Column] = columns![
    ("provider", Text, row => row.provider, "name of the provider in the topology"),
    ("venue", Text, row => row.venue, "its venue"),
    ("symbol", Text, row => row.symbol, "canonical symbol, `BTC-USDT`"),
    ("venue_symbol", Text, row => row.venue_symbol, "the venue's spelling"),
    ("channel", Text, row => row.channel, "kind of feed, as the topology spells it"),
    ("kind", Text, row => Some(row.kind), "kind of the event, `Trade`, `BookUpdate`, ...; `Hole` where the recorder lost something"),
    ("sequence_first", Count, row => row.sequence_first, "first of the venue's numbers that it covers"),
    ("sequence_last", Count, row => row.sequence_last, "last of them"),
    ("part", Count, row => row.part, "place of the part in its event, from 0"),
    ("first", Mark, row => row.first, "the event's first part"),
    ("last", Mark, row => row.last, "the event's last part"),
    ("recovered", Mark, row => row.recovered, "fetched after a hole"),
    ("switched", Mark, row => row.switched, "a snapshot because another line took over"),
    ("conflated", Mark, row => row.conflated, "a snapshot that stands for updates which the consumer was too slow for"),
    ("final", Mark, row => row.is_final, "the kline is final"),
    ("line", Count, row => row.line, "connection that brought it"),
    ("frame", Count, row => row.frame, "number of the frame on that line"),
    ("venue_time", Time, row => row.venue_time_ns, "when the venue says it happened"),
    ("receive_time", Time, row => row.receive_time_ns, "when the bytes reached us, by the host's clock as it was when the recording began"),
    ("receive_ns", Count, row => row.receive_ns, "the same by the process's monotonic clock, for differences"),
    ("decoded_after_ns", Count, row => row.decoded_after_ns, "from receive time to the end of decoding"),
    ("ordered_after_ns", Count, row => row.ordered_after_ns, "from receive time to the dispatcher"),
    ("enqueued_after_ns", Count, row => row.enqueued_after_ns, "from receive time to the ring"),
    ("side", Text, row => row.side, "of a trade who took, `buy` or `sell`; of a level `bid` or `ask`"),
    ("price", Decimal, row => row.price, "of a trade or a level"),
    ("qty", Decimal, row => row.qty, "of a trade or a level; 0 removes the level"),
    ("trade_id", Count, row => row.trade_id, "the venue's number of the trade"),
    ("bid", Decimal, row => row.bid, "best bid of a ticker or of a consolidated best bid and offer"),
    ("bid_qty", Decimal, row => row.bid_qty, "quantity there"),
    ("ask", Decimal, row => row.ask, "best ask"),
    ("ask_qty", Decimal, row => row.ask_qty, "quantity there"),
    ("last_price", Decimal, row => row.last_price, "last trade of a ticker"),
    ("last_qty", Decimal, row => row.last_qty, "its quantity"),
    ("open", Decimal, row => row.open, "of a kline, or of a ticker's day"),
    ("high", Decimal, row => row.high, "the same"),
    ("low", Decimal, row => row.low, "the same"),
    ("close", Decimal, row => row.close, "of a kline"),
    ("volume", Decimal, row => row.volume, "base volume"),
    ("taker_buy_volume", Decimal, row => row.taker_buy_volume, "of a kline, where the venue says it"),
    ("quote_volume", Decimal, row => row.quote_volume, "of a kline, where the venue says it"),
    ("trade_count", Count, row => row.trade_count, "of a kline"),
    ("open_time", Time, row => row.open_time_ns, "when the kline opened, by the venue's clock"),
    ("close_time", Time, row => row.close_time_ns, "its last moment"),
    ("status", Text, row => row.status, "of a book: `syncing`, `proved`, `suspect`, `stale`"),
    ("proof", Text, row => row.proof, "what `proved` rests on"),
    ("reason", Text, row => row.reason, "why a book changed its state, or why events are missing"),
    ("gap_from", Count, row => row.gap_from, "first number that will not come"),
    ("gap_to", Count, row => row.gap_to, "last of them"),
    ("gap_events", Count, row => row.gap_events, "events missing, where that differs from the numbers"),
    ("detail", Text, row => row.detail, "in words, of what has no columns: holes, merge windows, commands"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_columns_have_one_name() {
        for (index, column) in COLUMNS.iter().enumerate() {
            assert!(COLUMNS[..index].iter().all(|other| other.name != column.name), "{}", column.name);
            assert!(!column.meaning.is_empty(), "{}", column.name);
        }
    }
}
