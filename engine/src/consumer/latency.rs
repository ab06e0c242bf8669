//! How late the events of one stream were: coarse, small, and never resized.

/// Buckets: the first below 1,024 ns, each next one up to twice as long, the last from 4.3 s on.
pub const LATENCY_BUCKETS: usize = 24;

/// From the bytes read to the first handler, over the whole run of one stream on one shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamLatency {
    /// Events, in whatever number of parts.
    pub count_total: u64,
    /// The longest, in nanoseconds.
    pub latency_ns_max: u64,
    /// How many were in each bucket; bucket `n` ends before `1024 << n` ns.
    pub buckets: [u64; LATENCY_BUCKETS],
}

impl StreamLatency {
    /// What `percent` of the events did not exceed, in nanoseconds: the end of the bucket, so at most twice as much as it
    /// was. 0 before the first event.
    pub fn at_most_ns(&self, percent: u64) -> u64 {
        let rank = (self.count_total * percent).div_ceil(100).max(1);
        let mut count = 0;
        let bucket = self.buckets.iter().position(|in_it| {
            count += in_it;
            count >= rank
        });
        bucket.map_or(0, |bucket| {
            if bucket == LATENCY_BUCKETS - 1 {
                self.latency_ns_max
            } else {
                self.latency_ns_max.min(1_024 << bucket)
            }
        })
    }

    #[inline]
    pub(super) fn record(&mut self, ns: u64) {
        self.count_total += 1;
        self.latency_ns_max = self.latency_ns_max.max(ns);
        let bucket = (u64::BITS - (ns >> 10).leading_zeros()) as usize;
        self.buckets[bucket.min(LATENCY_BUCKETS - 1)] += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_falls_into_the_bucket_that_ends_above_it() {
        let mut latency = StreamLatency::default();
        for (ns, bucket) in
            [(0, 0), (1_023, 0), (1_024, 1), (2_047, 1), (2_048, 2), (1 << 32, 23), (u64::MAX, 23)]
        {
            let before = latency.buckets[bucket];
            latency.record(ns);
            assert_eq!(latency.buckets[bucket], before + 1, "{ns}");
        }
        assert_eq!((latency.count_total, latency.latency_ns_max), (7, u64::MAX));
    }

    #[test]
    fn a_percentile_is_the_end_of_its_bucket_and_never_above_the_longest() {
        let mut latency = StreamLatency::default();
        assert_eq!(latency.at_most_ns(50), 0);
        (0..98).for_each(|_| latency.record(1_500));
        latency.record(5_000);
        latency.record(9_000);
        assert_eq!(
            [50, 98, 99, 100].map(|percent| latency.at_most_ns(percent)),
            [2_048, 2_048, 8_192, 9_000]
        );
    }
}
