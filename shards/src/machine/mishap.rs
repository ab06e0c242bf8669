//! In debug builds: what the tests of the whole process make a shard do, since no input can. Release builds have none of it.
//!
//! `MELTICA_TEST_MISHAP=<shard>:<panics|stands>:<milliseconds after its start>`

/// The variable that names the mishap.
pub const VARIABLE: &str = "MELTICA_TEST_MISHAP";

/// What befalls the shard of this thread.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Mishap {
    /// When, and whether it panics (else it stands still).
    at: Option<(u64, bool)>,
}

impl Mishap {
    /// The one that the environment has for this thread, counted from `now_ns`.
    pub fn of_this_thread(now_ns: u64) -> Self {
        let thread = std::thread::current();
        match (std::env::var(VARIABLE), thread.name()) {
            (Ok(text), Some(name)) => Self::parse(&text, name, now_ns),
            _ => Self::default(),
        }
    }

    fn parse(text: &str, shard: &str, now_ns: u64) -> Self {
        let mut words = text.split(':');
        let named = words.next() == Some(shard);
        let panics = words.next() == Some("panics");
        let after_ms: Option<u64> = words.next().and_then(|word| word.parse().ok());
        Self { at: after_ms.filter(|_| named).map(|ms| (now_ns + ms * 1_000_000, panics)) }
    }

    /// Lets it happen, once it is time.
    ///
    /// # Panics
    /// If that is what happens.
    pub fn strike(&mut self, now_ns: u64) {
        let Some((_, panics)) = self.at.take_if(|(at_ns, _)| *at_ns <= now_ns) else { return };
        assert!(!panics, "a mishap by design");
        // Longer than any watchdog waits, and than the end of a process does.
        std::thread::sleep(std::time::Duration::from_mins(10));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mishap_is_of_one_shard_and_of_one_moment() {
        assert_eq!(Mishap::parse("md0:stands:5", "md1", 1).at, None);
        assert_eq!(Mishap::parse("md0:stands:5", "md0", 1).at, Some((5_000_001, false)));
        let mut mishap = Mishap::parse("md0:panics:5", "md0", 0);
        mishap.strike(4_999_999);
        assert!(mishap.at.is_some());
        std::panic::catch_unwind(move || mishap.strike(5_000_000)).expect_err("it is time");
    }
}
