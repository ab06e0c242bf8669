//! Two clocks, two types: what the venue says, and when the bytes reached us. Nobody subtracts one from the other by accident.

/// When the venue says it happened, in nanoseconds since the Unix epoch, by the venue's clock; or absent.
///
/// One that is later than the receive time is normal: clocks differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct VenueTime(u64);

impl VenueTime {
    /// The venue gave no time. It stays absent; nothing invents one.
    pub const ABSENT: Self = Self(0);

    /// From nanoseconds since the Unix epoch; 0 is absent.
    pub const fn from_ns(ns: u64) -> Self {
        Self(ns)
    }

    /// From milliseconds since the Unix epoch. A value that does not fit is absent.
    pub const fn from_ms(ms: u64) -> Self {
        match ms.checked_mul(1_000_000) {
            Some(ns) => Self(ns),
            None => Self::ABSENT,
        }
    }

    /// From microseconds since the Unix epoch. A value that does not fit is absent.
    pub const fn from_us(us: u64) -> Self {
        match us.checked_mul(1_000) {
            Some(ns) => Self(ns),
            None => Self::ABSENT,
        }
    }

    /// Nanoseconds since the Unix epoch, or `None` where the venue gave no time.
    pub const fn ns(self) -> Option<u64> {
        if self.0 == 0 { None } else { Some(self.0) }
    }

    /// The number as stored: 0 is absent.
    pub const fn raw_ns(self) -> u64 {
        self.0
    }
}

/// When the bytes reached us, in nanoseconds of the process's monotonic clock (in a replay: the recorded receive time).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct ReceiveTime(u64);

impl ReceiveTime {
    /// From nanoseconds of the monotonic clock.
    pub const fn from_ns(ns: u64) -> Self {
        Self(ns)
    }

    /// Nanoseconds of the monotonic clock.
    pub const fn ns(self) -> u64 {
        self.0
    }

    /// Nanoseconds from `earlier` to here; 0 where the clock of another core is a little ahead.
    pub const fn since_ns(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// This time and `ns` nanoseconds.
    #[must_use]
    pub const fn plus_ns(self, ns: u64) -> Self {
        Self(self.0.saturating_add(ns))
    }
}

/// Reads the time for the engine, which has no clock of its own: an argument, as time is everywhere here.
pub trait Clock {
    /// Now, by the clock that receive times are read from.
    fn now(&self) -> ReceiveTime;
}

/// A clock that stands where it was put: replays and tests.
#[derive(Clone, Copy, Debug, Default)]
pub struct FixedClock(pub ReceiveTime);

impl Clock for FixedClock {
    fn now(&self) -> ReceiveTime {
        self.0
    }
}
