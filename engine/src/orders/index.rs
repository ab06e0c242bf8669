//! A table from a few integers to a slot number: open addressing in memory taken once, no hashing of strings.

/// Finds slots by keys of `W` words. Holds at most the entries that it was made for.
#[derive(Clone, Debug)]
pub struct Index<const W: usize> {
    /// A power of two in size, at most half full.
    cells: Vec<Option<([u64; W], u32)>>,
    len: usize,
    len_max: usize,
}

impl<const W: usize> Index<W> {
    /// Room for `len_max` entries; taken here.
    pub fn new(len_max: usize) -> Self {
        let size = (len_max.max(1) * 2).next_power_of_two();
        Self { cells: vec![None; size], len: 0, len_max }
    }

    /// Where `key` would stand if nobody were in its way.
    #[inline]
    fn home(&self, key: &[u64; W]) -> usize {
        let mut mixed = 0_u64;
        for word in key {
            mixed = (mixed.rotate_left(23) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        }
        (mixed >> 32) as usize & (self.cells.len() - 1)
    }

    /// The cell that holds `key`, or the empty one where it belongs.
    #[inline]
    fn cell(&self, key: &[u64; W]) -> usize {
        let mut at = self.home(key);
        while let Some((found, _)) = &self.cells[at] {
            if found == key {
                break;
            }
            at = (at + 1) & (self.cells.len() - 1);
        }
        at
    }

    /// The slot of `key`.
    #[inline]
    pub fn get(&self, key: &[u64; W]) -> Option<u32> {
        self.cells[self.cell(key)].map(|(_, slot)| slot)
    }

    /// Enters or replaces; false if it is full and `key` is new.
    #[inline]
    pub fn insert(&mut self, key: [u64; W], slot: u32) -> bool {
        let at = self.cell(&key);
        if self.cells[at].is_none() {
            if self.len == self.len_max {
                return false;
            }
            self.len += 1;
        }
        self.cells[at] = Some((key, slot));
        true
    }

    /// Removes, and closes the hole so that every other key is still found.
    pub fn remove(&mut self, key: &[u64; W]) -> Option<u32> {
        let mut hole = self.cell(key);
        let (_, removed) = self.cells[hole].take()?;
        self.len -= 1;
        let mask = self.cells.len() - 1;
        let mut at = (hole + 1) & mask;
        while let Some((found, _)) = self.cells[at] {
            let home = self.home(&found);
            // It may move back only if its home is not between the hole and where it stands.
            if (at.wrapping_sub(home) & mask) >= (at.wrapping_sub(hole) & mask) {
                self.cells[hole] = self.cells[at].take();
                hole = at;
            }
            at = (at + 1) & mask;
        }
        Some(removed)
    }

    /// Entries held.
    #[cfg(test)]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether no further key fits.
    pub const fn is_full(&self) -> bool {
        self.len == self.len_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn random_operations_agree_with_a_hash_map() {
        for seed in 0..20 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut index = Index::<2>::new(64);
            let mut oracle: HashMap<[u64; 2], u32> = HashMap::new();
            for step in 0..5_000_u32 {
                let key = [random.u64(0..12), random.u64(0..12)];
                match random.u8(0..3) {
                    0 => {
                        let fits = oracle.contains_key(&key) || oracle.len() < 64;
                        assert_eq!(index.insert(key, step), fits, "seed {seed} step {step}");
                        if fits {
                            oracle.insert(key, step);
                        }
                    }
                    1 => assert_eq!(index.remove(&key), oracle.remove(&key), "seed {seed} step {step}"),
                    _ => assert_eq!(index.get(&key), oracle.get(&key).copied(), "seed {seed} step {step}"),
                }
                assert_eq!(index.len(), oracle.len());
            }
        }
    }
}
