//! The binary `meltica`.

fn main() {}
