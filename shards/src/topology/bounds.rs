//! Bounds of every number in the file, each with its unit and reason. A message shows both.

/// Least and greatest value of an integer key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Least value that fits.
    pub min: u64,
    /// Greatest value that fits.
    pub max: u64,
    /// What is counted, and why these bounds; shown behind the numbers.
    pub why: &'static str,
}

const fn bound(min: u64, max: u64, why: &'static str) -> Bound {
    assert!(min <= max, "a bound leaves at least one value");
    Bound { min, max, why }
}

/// Shards of one process: each provider or merge shard has a ring to each consumer shard, so rings grow as the square.
pub const SHARDS_MAX: usize = 64;
/// Providers of one process. The scale is three; a provider index is a byte and a metrics label.
pub const PROVIDERS_MAX: usize = 32;
/// Consumers of one process; a consumer index is a byte and a metrics label.
pub const CONSUMERS_MAX: usize = 128;
/// Merge rules of one process; each holds its open windows in the pools of its shard.
pub const MERGES_MAX: usize = 64;
/// Subscriptions of one consumer: one a provider and merge rule, with room for different depths.
pub const SUBSCRIPTIONS_MAX: usize = 128;
/// Instruments of one provider. The scale is 50; 500 at two streams each is what one venue connection carries.
pub const INSTRUMENTS_MAX: usize = 500;
/// Channels of one provider: every kind and a few kline intervals.
pub const CHANNELS_MAX: usize = 16;
/// Streams of one process (the scale is 150): routing, sequence and histograms are tables with a row a stream.
pub const STREAMS_MAX: usize = 8192;
/// Letters of a name: names are labels of metrics, threads and files.
pub const NAME_CHARS_MAX: usize = 32;

/// The only version of the file's form.
pub const VERSION: Bound = bound(1, 1, "the form of this file");
/// A kernel's core number.
pub const CORE: Bound = bound(0, 1023, "a core number, as in /proc/cpuinfo; an affinity mask holds 1024");
/// Pool of frames, raws or events: one stream may hold 200, and a slot index is 16 bits.
pub const POOL: Bound =
    bound(16, 65_536, "slots; below 16 one read batch empties the pool, an index has 16 bits");
/// Pools of the rare types.
pub const POOL_RARE: Bound = bound(1, 65_536, "slots; an index has 16 bits");
/// Ring of market events.
pub const RING_EVENTS: Bound = bound(64, 1 << 20, "slots of 192 bytes; four publish batches to 200 MB");
/// Ring of critical events.
pub const CRITICAL_RING_EVENTS: Bound =
    bound(16, 65_536, "slots of 384 bytes; one burst of reports to 25 MB");
/// Spill of lossless events.
pub const SPILL_EVENTS: Bound = bound(64, 1 << 20, "slots of 192 bytes; four publish batches to 200 MB");
/// Mark of a ring, in thousandths: at 1 there is no room above it, and nobody is held back before the ring is full.
pub const HIGH_WATER_PERMILLE: (u32, u32, &str) = (
    100,
    1000,
    "of the ring; below 0.1 a turn's batch is pressure already, 1 means that only a full ring is",
);
/// What a stream may have above the mark at once.
pub const BURST_EVENTS: Bound = bound(1, 4096, "events a stream; a snapshot of 50 levels a side is 17");
/// Ring of order requests.
pub const ORDER_RING_REQUESTS: Bound = bound(8, 4096, "slots of 256 bytes; a venue takes far fewer a second");
/// Seed of the simulated venues.
pub const SEED: Bound = bound(0, i64::MAX as u64, "any number; the same seed gives the same market");
/// Rate of the simulated venues.
pub const SIMULATED_RATE: Bound = bound(1, 10_000, "messages per second and instrument");
/// Depth of the simulated books.
pub const SIMULATED_LEVELS: Bound = bound(10, 20_000, "levels a side; a venue's REST snapshot ends at 5000");
/// Redundant connections.
pub const LINES: Bound =
    bound(1, 4, "connections for the same streams; venues count new connections per address");
/// Depth of a book.
pub const DEPTH_MAX: Bound =
    bound(10, 65_536, "levels a side, 16 bytes each; a full Coinbase book has tens of thousands");
/// REST snapshot.
pub const SNAPSHOT_LIMIT: Bound = bound(5, 5000, "levels a side; the venue's greatest is 5000");
/// Period of book verification.
pub const VERIFY_S: Bound =
    bound(10, 300, "seconds; every 2 to 5 minutes is asked, more often costs REST weight");
/// Lateness of reordering.
pub const LATENESS_MS: Bound =
    bound(1, 5000, "milliseconds; about 150, and recovery from a gap must end within 5 s");
/// Flush of reordering.
pub const FLUSH_MS: Bound = bound(1, 1000, "milliseconds; about 50");
/// Events one stream may hold.
pub const HELD_EVENTS_MAX: Bound = bound(1, 4096, "events a stream; 200 is asked");
/// Age from which a line is rolled at the quiet time.
pub const ROLL_AFTER_H: Bound = bound(1, 23, "hours; Binance ends a connection after 24");
/// Length of the quiet time: a venue's limit is met 5 minutes early, which must fall into its first half.
pub const QUIET_MIN: Bound = bound(10, 720, "minutes; shorter would miss it, longer is no quiet time");
/// Length of a merge window.
pub const WINDOW_S: Bound = bound(1, 3600, "seconds; 10 is asked");
/// Events of a merge window.
pub const MERGE_COUNT: Bound = bound(2, 100_000, "events; 1000 is asked, and joining needs two");
/// Age of a leg of a best bid and offer.
pub const LEG_AGE_MS: Bound = bound(1, 3_600_000, "milliseconds; a busy ticker comes many times a second");
/// Levels of a subscription.
pub const BOOK_DEPTH: Bound = bound(1, 65_536, "levels a side");
/// Lines of a printer.
pub const PRINTER_LINES_PER_S: Bound = bound(1, 1000, "lines a second; more is not read by people");
/// Size of a recording's files.
pub const RECORDER_ROTATE_MIB: Bound =
    bound(1, 65_536, "MiB; 1 is a few seconds, 65536 a day of a busy topology");
/// Size of a capture's files.
pub const CAPTURE_ROTATE_MIB: Bound =
    bound(1, 65_536, "MiB; each file begins with the instrument list, which may take several");
/// Files of a capture that are kept.
pub const CAPTURE_KEEP: Bound = bound(2, 10_000, "files of one run; the oldest go first, open ones stay");
/// Open orders of a consumer at one provider; the table of orders holds 4096.
pub const OPEN_ORDERS_MAX: Bound = bound(1, 4096, "open orders; a provider's table holds 4096");
/// Orders of a consumer within any second.
pub const ORDERS_PER_S_MAX: Bound =
    bound(1, 1000, "orders within any second; the window is counted exactly up to 1000");
/// Price collar.
pub const COLLAR_BP: Bound =
    bound(1, 10_000, "hundredths of a percent of the other side's best price; 10000 is twice that price");
/// Size of a journal's files.
pub const JOURNAL_ROTATE_MIB: Bound =
    bound(1, 1024, "MiB; 1 is some 2000 orders, and must hold all open ones");
/// Files of a journal that are kept.
pub const JOURNAL_KEEP: Bound = bound(2, 1000, "files; the current one, and at least the one before it");
/// Period of the interval log.
pub const INTERVAL_MS: Bound = bound(100, 3_600_000, "milliseconds; one line a stage and interval");

/// How long a shard may not turn.
pub const STALL_MS: Bound = bound(
    200,
    600_000,
    "milliseconds; a parked shard turns every 100 at least, a busy handler may take longer",
);

/// Share of a venue's REST weight, in thousandths; together at most this much for one address.
///
/// The rest is the reserve for orders and for queries after a lost session.
pub const REST_WEIGHT_SHARES_PERMILLE_MAX: u32 = 900;
