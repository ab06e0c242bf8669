//! Meltica's stages and, beside each, the ways that others take. One list of cases: `ratios` measures it by turns and
//! prints a table, `benches/stages.rs` gives it to divan.

pub mod books;
pub mod case;
pub mod json;
pub mod merges;
pub mod orders;
pub mod pooling;
pub mod rings;
pub mod websocket;

pub use case::{Case, Group};

/// Every group, in the order of the path.
pub fn groups() -> Vec<Group> {
    let mut groups = websocket::groups();
    groups.extend(json::groups());
    groups.extend(books::groups());
    groups.extend(rings::groups());
    groups.extend(merges::groups());
    groups.extend(orders::groups());
    groups
}
