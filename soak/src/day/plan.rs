//! What goes wrong in a day, and how loud its hours are: both by seed.

use std::time::Duration;

use fastrand::Rng;
use simvenues::exchange::OrderFault;
use simvenues::{Fault, How, RestFault, Target, VenueFault};

/// The share of its usual rate that the market has in each hour of the day, in percent: Asia, Europe, America.
const HOURS: [u32; 24] =
    [60, 70, 60, 40, 30, 25, 30, 60, 100, 110, 90, 80, 90, 130, 180, 200, 170, 130, 100, 80, 70, 60, 50, 50];
/// How many times the rate of its hour a burst has.
const BURST: u32 = 10;
/// Pieces of a day in which a burst may begin; one in [`BURST_ONE_IN`] has one.
const PIECES_PER_DAY: f64 = 1_000.0;
const BURST_ONE_IN: u32 = 10;
/// From this share of the day on nothing goes wrong, so that all can be compared at the end.
const QUIET_FROM: f64 = 0.9;

/// Something that goes wrong at a venue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    Dropped,
    Closed,
    TooMany,
    Html,
    Garbage,
    Doubled,
    Cut,
    Unknown,
    Announced,
    Refused,
    NoTrades,
    Checksum,
    Updates,
    KillSession,
    AckLost,
}

impl Trouble {
    /// All of them. The last ones are for some venues only, see [`Trouble::fits`].
    pub(super) const ALL: [Self; 15] = [
        Self::Dropped,
        Self::Closed,
        Self::TooMany,
        Self::Html,
        Self::Garbage,
        Self::Doubled,
        Self::Cut,
        Self::Unknown,
        Self::Announced,
        Self::Refused,
        Self::NoTrades,
        Self::Checksum,
        Self::Updates,
        Self::KillSession,
        Self::AckLost,
    ];

    /// Whether a venue, by its place in the shipped topology, has what goes wrong: Kraken checksums, Binance numbers of updates.
    pub(super) fn fits(self, provider: usize) -> bool {
        match self {
            Self::Checksum => provider == 1,
            Self::Updates => provider == 0,
            _ => true,
        }
    }

    /// The venue's fault; `symbol` is whose data it is about.
    pub(super) fn fault(self, symbol: String) -> Fault {
        let rest = |kind, count| Fault::Rest { path: String::new(), kind, count };
        let orders = |fault| Fault::Venue(VenueFault::Orders(fault));
        match self {
            Self::Dropped => Fault::Disconnect(Target::Oldest, How::Drop),
            Self::Closed => Fault::Disconnect(Target::Newest, How::CloseFrame(1001)),
            Self::TooMany => rest(RestFault::Status { status: 429, retry_after_s: 1 }, 3),
            Self::Html => rest(RestFault::Html(200), 2),
            Self::Garbage => Fault::Garbage(Target::Oldest),
            Self::Doubled => Fault::DuplicateFrame(Target::Oldest),
            Self::Cut => Fault::CutFrame(Target::Oldest),
            Self::Unknown => Fault::UnknownEvent(Target::All),
            Self::Announced => Fault::PlannedShutdown { target: Target::Oldest, after_ns: 2_000_000_000 },
            Self::Refused => Fault::RefuseConnections { for_ns: 2_000_000_000 },
            Self::NoTrades => Fault::Venue(VenueFault::DropTrades { symbol, count: 3 }),
            Self::Checksum => Fault::Venue(VenueFault::LieChecksum { symbol, count: 1 }),
            Self::Updates => Fault::Venue(VenueFault::DropUpdates { symbol, count: 2 }),
            Self::KillSession => orders(OrderFault::KillSession { count: 1 }),
            Self::AckLost => orders(OrderFault::AckLost { count: 1 }),
        }
    }

    /// Whether it costs a stream something, so that a Gap may follow.
    pub(super) fn may_lose(self) -> bool {
        !matches!(self, Self::TooMany | Self::Unknown | Self::KillSession | Self::AckLost)
    }
}

/// The plan of a day.
pub(super) struct Plan {
    faults: Rng,
    bursts: Rng,
    duration: Duration,
    rate: f64,
    fault_every: Duration,
    fault_at: Duration,
    piece: u32,
    burst_until: Duration,
}

impl Plan {
    pub(super) fn new(seed: u64, duration: Duration, rate: f64, fault_every: Duration) -> Self {
        let (faults, bursts) = (Rng::with_seed(seed ^ 0xda7), Rng::with_seed(seed ^ 0xb57));
        Self {
            faults,
            bursts,
            duration,
            rate,
            fault_every,
            fault_at: fault_every,
            piece: 0,
            burst_until: Duration::ZERO,
        }
    }

    /// Messages a second of each instrument at this time of the day.
    pub(super) fn rate_at(&mut self, at: Duration) -> f64 {
        let share = at.as_secs_f64() / self.duration.as_secs_f64();
        // Bursts follow from the seed and from the time, not from how often this is asked.
        let piece = (share * PIECES_PER_DAY) as u32;
        while self.piece < piece {
            self.piece += 1;
            if self.bursts.u32(0..BURST_ONE_IN) == 0 {
                self.burst_until = at + Duration::from_millis(self.bursts.u64(200..2_000));
            }
        }
        let hour = f64::from(HOURS[((share * 24.0) as usize).min(23)]) / 100.0;
        let burst = if at < self.burst_until { f64::from(BURST) } else { 1.0 };
        (self.rate * hour * burst).max(1.0)
    }

    /// What goes wrong now, where, and with which instrument, if it is time.
    pub(super) fn trouble_at(&mut self, at: Duration, venues: usize) -> Option<(usize, Trouble, u16)> {
        if at < self.fault_at || at.as_secs_f64() >= QUIET_FROM * self.duration.as_secs_f64() {
            return None;
        }
        self.fault_at = at + self.fault_every;
        let provider = self.faults.usize(0..venues);
        let fitting = Trouble::ALL.into_iter().filter(|trouble| trouble.fits(provider));
        Some((provider, self.faults.choice(fitting.collect::<Vec<_>>())?, self.faults.u16(..)))
    }
}
