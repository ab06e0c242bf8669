//! Fair shares of one ring under pressure: a token bucket a consumer and one a stream, filled by what the receiving shard
//! takes.
//!
//! Each consumer is given an equal share of what is taken, and each of its streams an equal part of that share; a stream of
//! several consumers has a part from each. Knows no clock: the rate of every bucket follows what the shard really takes.
//! Nothing here is touched while the ring is below its mark, and shares are divided only when routes change.

use crate::ids::ConsumerId;

/// How a ring is shared between consumers and streams under pressure.
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
const POINT: u32 = 32;
/// The whole of what is taken, as a weight. A part that is taken times a weight is a number of tokens.
pub(super) const WHOLE: u64 = 1 << POINT;
/// Parts that a bucket is filled for at once, so that their product with a weight fits; also the clock at the start, so
/// that buckets begin full.
const NEW_MAX: u64 = 1 << 30;

/// Tokens of one stream or consumer. May be in debt: an event enters whole.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bucket {
    tokens: i64,
    /// The clock of the shares when it was filled last.
    filled_at: u64,
}

/// A consumer of the shard, as the holder of streams.
#[derive(Debug)]
struct Member {
    /// `None` for all streams of which nobody says whose they are.
    consumer: Option<ConsumerId>,
    bucket: Bucket,
    /// Streams of it that wait.
    waiting: usize,
}

/// A stream's part in the shares.
#[derive(Debug)]
pub(super) struct Part {
    bucket: Bucket,
    /// Of what is taken, in 2^-32.
    weight: u64,
    /// Whose it is: places among the members.
    pub members: Vec<u16>,
}

impl Default for Part {
    fn default() -> Self {
        Self { bucket: Bucket::default(), weight: WHOLE, members: Vec::new() }
    }
}

/// Out of which bucket an event is paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purse {
    /// The stream's, and with it one of its consumers'.
    Stream,
    /// What one of its consumers has left of its own.
    Consumer,
}

/// Whom a round of what waits is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum For {
    /// Streams that have something of their share left, as one of their consumers has: many streams of one consumer that
    /// have saved something at the same time do not keep another from its share.
    Share,
    /// Streams of a consumer that has something left.
    Consumer,
    /// Streams that have something of their share left, and those that need none.
    Anybody,
}

impl For {
    /// The round after it.
    pub const fn next(self) -> Option<Self> {
        match self {
            Self::Share => Some(Self::Consumer),
            Self::Consumer => Some(Self::Anybody),
            Self::Anybody => None,
        }
    }
}

/// What all streams of one ring have in common.
#[derive(Debug)]
pub(super) struct Shares {
    /// Free slots above the mark: below it a ring has more than these.
    pub headroom: usize,
    capacity: u64,
    burst: i64,
    members: Vec<Member>,
    /// Parts that were taken since the start.
    clock: u64,
    /// Parts that the receiver had taken then.
    taken_total: u64,
    /// Parts that it took between the last two looks, at most a ring of them.
    recent: u64,
}

impl Shares {
    pub fn new(fairness: Fairness, capacity: usize) -> Self {
        let mark = capacity * usize::from(fairness.high_water_permille.min(1_000)) / 1_000;
        let burst = i64::from(fairness.burst_events.max(1)) << POINT;
        Self {
            headroom: capacity - mark,
            capacity: capacity as u64,
            burst,
            members: Vec::new(),
            clock: NEW_MAX,
            taken_total: 0,
            recent: 0,
        }
    }

    /// Shares are equal from now on between these consumers. What each has saved stays.
    pub fn set_members(&mut self, consumers: &[Option<ConsumerId>]) {
        let known = std::mem::take(&mut self.members);
        let bucket =
            |consumer| known.iter().find(|member| member.consumer == consumer).map(|member| member.bucket);
        let full = Bucket { tokens: self.burst, filled_at: self.clock };
        let members = consumers.iter().map(|&consumer| Member {
            consumer,
            bucket: bucket(consumer).unwrap_or(full),
            waiting: 0,
        });
        self.members = members.collect();
    }

    /// A stream is held by these, each with so many streams in all; and whether something of it waits.
    pub fn set_part(&mut self, part: &mut Part, members: &[(u16, usize)], waits: bool) {
        let shares = (self.members.len() as u64).max(1);
        // What it has by its share until now; a new one begins with a burst.
        let is_new = part.bucket.filled_at == 0;
        self.fill_stream(part, waits && !is_new);
        part.weight = members.iter().map(|&(_, streams)| WHOLE / shares / streams.max(1) as u64).sum();
        part.members = members.iter().map(|&(member, _)| member).collect();
        for &member in &part.members {
            self.members[usize::from(member)].waiting += usize::from(waits);
        }
    }

    /// The receiver has taken so many parts since the start.
    #[inline]
    pub fn advance(&mut self, taken_total: u64) {
        let new = taken_total.saturating_sub(self.taken_total);
        if new > 0 {
            self.taken_total = taken_total;
            self.clock += new;
            self.recent = new.min(self.capacity);
        }
    }

    /// While it waits nothing of a share is lost; otherwise a burst can be saved.
    fn fill(&self, bucket: &mut Bucket, weight: u64, waits: bool) {
        let new = (self.clock - bucket.filled_at).min(NEW_MAX) * weight;
        bucket.filled_at = self.clock;
        bucket.tokens = bucket.tokens.saturating_add_unsigned(new);
        if !waits {
            bucket.tokens = bucket.tokens.min(self.burst);
        }
    }

    fn fill_stream(&self, part: &mut Part, waits: bool) {
        self.fill(&mut part.bucket, part.weight, waits);
    }

    /// The consumer of a stream that has saved most.
    fn richest(&mut self, part: &Part) -> Option<&mut Member> {
        let weight = WHOLE / (self.members.len() as u64).max(1);
        for &member in &part.members {
            let mut bucket = self.members[usize::from(member)].bucket;
            self.fill(&mut bucket, weight, self.members[usize::from(member)].waiting > 0);
            self.members[usize::from(member)].bucket = bucket;
        }
        let tokens = |member: &&u16| self.members[usize::from(**member)].bucket.tokens;
        let richest = usize::from(*part.members.iter().max_by_key(tokens)?);
        Some(&mut self.members[richest])
    }

    /// All is one consumer's: only its streams are held against each other.
    const fn is_lone(&self) -> bool {
        self.members.len() <= 1
    }

    /// Whether a stream has something of its own share left.
    pub fn allows_stream(&self, part: &mut Part, waits: bool) -> bool {
        self.fill_stream(part, waits);
        part.bucket.tokens > 0
    }

    /// Out of what an event of a stream may be paid.
    pub fn allows(&mut self, part: &mut Part, waits: bool) -> Option<Purse> {
        if self.allows_stream(part, waits) {
            return Some(Purse::Stream);
        }
        if self.is_lone() {
            return None;
        }
        self.richest(part).is_some_and(|member| member.bucket.tokens > 0).then_some(Purse::Consumer)
    }

    /// Out of what an event of a stream that waits may be paid in a round.
    pub fn purse(&mut self, part: &mut Part, round: For) -> Option<Purse> {
        let stream_has = self.allows_stream(part, true);
        if round == For::Anybody || self.is_lone() {
            return stream_has.then_some(Purse::Stream);
        }
        let consumer_has = self.richest(part).is_none_or(|member| member.bucket.tokens > 0);
        match (consumer_has, stream_has) {
            (true, true) => Some(Purse::Stream),
            (true, false) if round == For::Consumer => Some(Purse::Consumer),
            _ => None,
        }
    }

    /// Parts of what was taken since the last look that a stream, or its consumer, is given.
    pub fn of_a_turn(&self, part: &Part, round: For) -> u64 {
        let weight = match round {
            For::Share => part.weight,
            For::Consumer => WHOLE / (self.members.len() as u64).max(1),
            For::Anybody => 0,
        };
        (self.recent * weight) >> POINT
    }

    /// Parts of a stream went into the ring after they had waited, or above its mark.
    pub fn spend(&mut self, part: &mut Part, purse: Purse, count: usize) {
        let tokens = (count as i64) << POINT;
        if purse == Purse::Stream {
            part.bucket.tokens -= tokens;
        }
        if let Some(member) = self.richest(part) {
            member.bucket.tokens -= tokens;
        }
    }

    /// Whether a stream that comes to wait, or goes on, is behind its share by more than an event.
    pub fn has_saved(&self, part: &mut Part, waits: bool) -> bool {
        self.allows_stream(part, waits) && part.bucket.tokens >= 2 << POINT
    }

    /// Something of a stream waits from now on, or no longer.
    pub fn waits(&mut self, part: &Part, waits: bool) {
        self.richest(part);
        for &member in &part.members {
            let waiting = &mut self.members[usize::from(member)].waiting;
            *waiting = if waits { *waiting + 1 } else { *waiting - 1 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(consumers: u16) -> Shares {
        let mut shares = Shares::new(Fairness { high_water_permille: 750, burst_events: 4 }, 100);
        let consumers: Vec<_> = (0..consumers).map(|consumer| Some(ConsumerId(consumer))).collect();
        shares.set_members(&consumers);
        shares
    }

    fn part(shares: &mut Shares, members: &[(u16, usize)]) -> Part {
        let mut part = Part::default();
        shares.set_part(&mut part, members, false);
        part
    }

    /// Parts that a stream may have now of its own share, one at a time.
    fn spent(shares: &mut Shares, part: &mut Part) -> usize {
        let mut parts = 0;
        while shares.allows_stream(part, false) {
            shares.spend(part, Purse::Stream, 1);
            parts += 1;
        }
        parts
    }

    #[test]
    fn a_bucket_begins_full_and_is_filled_by_an_equal_share_of_what_is_taken() {
        let mut shares = shares(1);
        assert_eq!(shares.headroom, 25);
        let (mut loud, mut quiet) = (part(&mut shares, &[(0, 10)]), part(&mut shares, &[(0, 10)]));
        assert_eq!(spent(&mut shares, &mut loud), 4);
        // Ten shares of a number that ten does not divide are rounded down, by less than a millionth of a part.
        shares.advance(21);
        assert_eq!(spent(&mut shares, &mut loud), 3, "an event enters whole, the rest of it is a debt");
        shares.advance(30);
        assert_eq!(spent(&mut shares, &mut loud), 0);
        shares.advance(1_000_000);
        assert_eq!(spent(&mut shares, &mut loud), 4, "no more than a burst is saved");
        assert_eq!(spent(&mut shares, &mut quiet), 4);
    }

    #[test]
    fn an_event_larger_than_the_bucket_is_a_debt_that_later_shares_pay() {
        let mut shares = shares(1);
        let mut part = part(&mut shares, &[(0, 2)]);
        assert!(shares.allows_stream(&mut part, false));
        shares.spend(&mut part, Purse::Stream, 10);
        for taken in [4, 8, 12] {
            shares.advance(taken);
            assert!(!shares.allows_stream(&mut part, false), "{taken}");
        }
        shares.advance(14);
        assert!(shares.allows_stream(&mut part, false));
    }

    #[test]
    fn a_consumer_with_one_stream_has_as_much_as_one_with_many_and_what_is_left_goes_to_any_of_its_streams() {
        let mut shares = shares(2);
        let mut one = part(&mut shares, &[(0, 1)]);
        let mut many: Vec<Part> = (0..50).map(|_| part(&mut shares, &[(1, 50)])).collect();
        for part in many.iter_mut().chain([&mut one]) {
            spent(&mut shares, part);
            shares.waits(part, true);
        }
        // The debts of fifty bursts at once.
        shares.advance(400);
        for taken in [500, 600, 700] {
            shares.advance(taken);
        }
        let count = |shares: &mut Shares, part: &mut Part| {
            let mut parts = 0;
            while let Some(purse) = shares.allows(part, true) {
                shares.spend(part, purse, 1);
                parts += 1;
            }
            parts
        };
        assert_eq!(count(&mut shares, &mut one), 350);
        assert_eq!(count(&mut shares, &mut many[0]), 350 - 200 + 4, "less the bursts of the others");
    }

    #[test]
    fn a_stream_of_two_consumers_has_a_part_from_each() {
        let mut shares = shares(2);
        let shared = part(&mut shares, &[(0, 1), (1, 4)]);
        assert_eq!(shared.weight, WHOLE / 2 + WHOLE / 8);
    }
}
