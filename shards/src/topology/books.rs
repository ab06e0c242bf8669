//! How deep a provider's books are kept, and what of them is made at start.

use super::plan::ProviderPlan;

/// Levels a side of a book whose memory is taken at start; deeper books grow once, while they load.
const BOOK_RESERVE: usize = 1_024;

/// Levels a side of a book whose memory is taken at once.
pub fn book_reserve(depth: usize) -> usize {
    depth.min(BOOK_RESERVE)
}

/// The engine's book sizes for a provider: levels a side kept, made at start, and asked for with a snapshot.
pub fn book_sizes(plan: &ProviderPlan) -> (usize, usize, usize) {
    let depth_max = plan.book.map_or(1, |book| book.depth_max as usize);
    let snapshot = plan.book.and_then(|book| book.snapshot_limit).unwrap_or(1_000) as usize;
    (depth_max, depth_max.min(BOOK_RESERVE.max(snapshot)), snapshot)
}
