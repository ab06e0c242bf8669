//! Counters: plain integers beside the component that counts, one writer each. Publishing them to other threads is the
//! shard's business.
//!
//! A list of counters is written once, with its documentation, and yields the struct, the names for metrics and
//! reports, and their help texts.

/// Declares a struct of counters: `counters! { /// Doc. pub struct Name { /// Doc. field_total, ... } }`.
#[macro_export]
macro_rules! counters {
    ($(#[$struct_doc:meta])* pub struct $name:ident { $(#[doc = $doc:literal] $field:ident,)+ }) => {
        $(#[$struct_doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $name {
            $(#[doc = $doc] pub $field: u64,)+
        }

        impl $name {
            /// Name and help text of each counter, in the order of [`values`](Self::values).
            pub const LIST: &'static [(&'static str, &'static str)] = &[$((stringify!($field), $doc),)+];

            /// The values, in the order of [`LIST`](Self::LIST).
            pub const fn values(&self) -> [u64; Self::LIST.len()] {
                [$(self.$field,)+]
            }

            /// Adds another set: totals over providers or shards.
            pub fn add(&mut self, other: &Self) {
                $(self.$field += other.$field;)+
            }
        }
    };
}
