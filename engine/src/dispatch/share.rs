//! Fair shares of one ring under pressure: a token bucket a stream, filled by what the receiving shard takes.
//!
//! Knows no clock: the rate of every bucket is an equal share of what the shard really takes, whatever that is. Nothing
//! here is touched while the ring is below its mark.

/// How a ring is shared between streams under pressure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fairness {
    /// Fill of the ring, in thousandths of its capacity, above which streams that may coalesce have their share only.
    pub high_water_permille: u16,
    /// Parts of events that one stream may have above the mark at once, after it was quiet.
    pub burst_events: u16,
}

impl Fairness {
    /// Half of the ring for whoever comes first; then bursts of a few book snapshots a stream.
    pub const DEFAULT: Self = Self { high_water_permille: 500, burst_events: 32 };
}

impl Default for Fairness {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Tokens are parts of events, with this many binary digits behind the point.
const POINT: u32 = 16;

/// Tokens of one stream. May be in debt: an event enters whole.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bucket {
    tokens: i64,
    /// The clock of the shares when it was filled last.
    filled_at: u64,
}

/// What all streams of one ring have in common.
#[derive(Debug)]
pub(super) struct Shares {
    /// Free slots above the mark: below it a ring has more than these.
    pub headroom: usize,
    burst: i64,
    /// Streams that lead to the ring.
    streams: u64,
    /// Tokens that each stream was given since the start.
    clock: u64,
    /// Parts that the receiver had taken then.
    taken_total: u64,
}

impl Shares {
    pub fn new(fairness: Fairness, capacity: usize) -> Self {
        let mark = capacity * usize::from(fairness.high_water_permille.min(1_000)) / 1_000;
        let burst = i64::from(fairness.burst_events.max(1)) << POINT;
        // Buckets begin full: they are filled from zero when they are first looked at.
        Self { headroom: capacity - mark, burst, streams: 1, clock: burst.unsigned_abs(), taken_total: 0 }
    }

    pub fn set_streams(&mut self, streams: usize) {
        self.streams = streams.max(1) as u64;
    }

    /// The receiver has taken so many parts since the start: each stream gets an equal share of the new ones.
    #[inline]
    pub fn advance(&mut self, taken_total: u64) {
        let new = taken_total.saturating_sub(self.taken_total);
        self.taken_total = taken_total;
        self.clock += (new << POINT) / self.streams;
    }

    /// Whether a stream has something of its share left.
    #[inline]
    pub fn allows(&self, bucket: &mut Bucket) -> bool {
        let new = i64::try_from(self.clock - bucket.filled_at).unwrap_or(i64::MAX);
        bucket.tokens = bucket.tokens.saturating_add(new).min(self.burst);
        bucket.filled_at = self.clock;
        bucket.tokens > 0
    }
}

impl Shares {
    /// Whether a stream is behind its share by more than an event.
    pub fn has_saved(&self, bucket: &mut Bucket) -> bool {
        self.allows(bucket) && bucket.tokens >= 2 << POINT
    }
}

impl Bucket {
    /// Parts of the stream went into the ring after they had waited, or above its mark.
    #[inline]
    pub fn spend(&mut self, parts: usize) {
        self.tokens -= (parts as i64) << POINT;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(streams: usize) -> Shares {
        let mut shares = Shares::new(Fairness { high_water_permille: 750, burst_events: 4 }, 100);
        shares.set_streams(streams);
        shares
    }

    /// Parts that a stream may have now, one at a time.
    fn spent(shares: &Shares, bucket: &mut Bucket) -> usize {
        let mut parts = 0;
        while shares.allows(bucket) {
            bucket.spend(1);
            parts += 1;
        }
        parts
    }

    #[test]
    fn a_bucket_begins_full_and_is_filled_by_an_equal_share_of_what_is_taken() {
        let mut shares = shares(10);
        assert_eq!(shares.headroom, 25);
        let (mut loud, mut quiet) = (Bucket::default(), Bucket::default());
        assert_eq!(spent(&shares, &mut loud), 4);
        shares.advance(20);
        assert_eq!(spent(&shares, &mut loud), 2);
        shares.advance(25);
        shares.advance(30);
        assert_eq!(spent(&shares, &mut loud), 1, "halves add up");
        shares.advance(1_000_000);
        assert_eq!(spent(&shares, &mut loud), 4, "no more than a burst is saved");
        assert_eq!(spent(&shares, &mut quiet), 4);
    }

    #[test]
    fn an_event_larger_than_the_bucket_is_a_debt_that_later_shares_pay() {
        let mut shares = shares(2);
        let mut bucket = Bucket::default();
        assert!(shares.allows(&mut bucket));
        bucket.spend(10);
        for taken in [4, 8, 12] {
            shares.advance(taken);
            assert!(!shares.allows(&mut bucket), "{taken}");
        }
        shares.advance(14);
        assert!(shares.allows(&mut bucket));
    }
}
