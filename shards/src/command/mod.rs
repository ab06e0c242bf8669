//! The commands of the binary, one module each. Each returns the process's exit code.

pub mod replay;

/// Everything went well.
pub const EXIT_OK: u8 = 0;
/// It ran, and what it found or did is not well.
pub const EXIT_FAILED: u8 = 1;
/// It did not start: arguments, topology or host do not fit.
pub const EXIT_REFUSED: u8 = 2;
