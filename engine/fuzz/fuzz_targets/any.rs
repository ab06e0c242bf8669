//! Every target: the name of the binary says which.
#![no_main]

libfuzzer_sys::fuzz_target!(
    init: meltica_fuzz::write_seeds(env!("CARGO_BIN_NAME")),
    |data: &[u8]| meltica_fuzz::run(env!("CARGO_BIN_NAME"), data)
);
