//! Two ways in which venues count what a client may do: per window of the clock, and as a bucket that refills.

/// Counts in windows that are aligned to the clock.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Window {
    number: u64,
    count: u32,
}

impl Window {
    /// Counts one more and says whether it is within `max` in this window.
    pub(crate) fn admit(&mut self, length_ns: u64, max: u32, now_ns: u64) -> bool {
        let number = now_ns / length_ns;
        if number != self.number {
            *self = Self { number, count: 0 };
        }
        self.count = self.count.saturating_add(1);
        self.count <= max
    }
}

/// Holds up to `burst` tokens; one comes back every `every_ns`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bucket {
    /// When the bucket would be full again.
    full_ns: u64,
}

impl Bucket {
    /// Takes a token if there is one.
    pub(crate) fn take(&mut self, every_ns: u64, burst: u32, now_ns: u64) -> bool {
        self.take_some(1, every_ns, burst, now_ns)
    }

    /// Takes so many tokens, or none if they are not all there.
    pub(crate) fn take_some(&mut self, count: u32, every_ns: u64, burst: u32, now_ns: u64) -> bool {
        let full_ns = self.full_ns.max(now_ns) + every_ns * u64::from(count);
        let taken = full_ns - now_ns <= every_ns * u64::from(burst);
        if taken {
            self.full_ns = full_ns;
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_forgets_at_its_end() {
        let mut window = Window::default();
        let admitted: Vec<bool> = [10, 11, 12, 19, 20].map(|now| window.admit(10, 2, now)).to_vec();
        assert_eq!(admitted, [true, true, false, false, true]);
    }

    #[test]
    fn a_bucket_refills_one_by_one_and_not_above_its_size() {
        let mut bucket = Bucket::default();
        let times = [100, 100, 100, 110, 110, 1000, 1000, 1000];
        let taken: Vec<bool> = times.map(|now| bucket.take(10, 2, now)).to_vec();
        assert_eq!(taken, [true, true, false, true, false, true, true, false]);
    }
}
