//! The commands of the binary, one module each. Each returns the process's exit code.

/// `println!`, `print!`, `eprintln!` and `eprint!` for what a person or a pipe reads. Those of std panic when nobody reads any
/// more, and a gateway must not end because `| head` did, or because the journal was restarted.
macro_rules! outln {
    ($($text:tt)*) => {{ use std::io::Write as _; crate::command::written(writeln!(std::io::stdout().lock(), $($text)*)); }};
}
macro_rules! out {
    ($($text:tt)*) => {{ use std::io::Write as _; crate::command::written(write!(std::io::stdout().lock(), $($text)*)); }};
}
macro_rules! errln {
    ($($text:tt)*) => {{ use std::io::Write as _; let _ = writeln!(std::io::stderr().lock(), $($text)*); }};
}
macro_rules! err {
    ($($text:tt)*) => {{ use std::io::Write as _; let _ = write!(std::io::stderr().lock(), $($text)*); }};
}

mod cli;
pub mod ctl;
pub mod definition;
pub mod doctor;
mod observe;
pub mod replay;
pub mod report;
pub mod run;
mod screen;
#[cfg(feature = "simulate")]
pub mod simulate;
#[cfg(feature = "top")]
pub mod top;
pub mod topology;
mod verdict;

use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

pub use cli::Cli;

use crate::consumers;
use crate::topology::{Topology, TopologyErrors, load_with};

/// Everything went well.
pub const EXIT_OK: u8 = 0;
/// It ran, and what it found or did is not well.
pub const EXIT_FAILED: u8 = 1;
/// It did not start: arguments, topology or host do not fit.
pub const EXIT_REFUSED: u8 = 2;

/// Standard output took less than it was given, and not because nobody reads it any more.
static OUTPUT_FAILED: AtomicBool = AtomicBool::new(false);

/// Takes note of what became of a write to standard output. Who closed the pipe has seen enough; anything else, a full disk,
/// leaves somebody with half of what they asked for, and must not end with code 0.
fn written(result: io::Result<()>) {
    let Err(error) = result else { return };
    if error.kind() != io::ErrorKind::BrokenPipe && !OUTPUT_FAILED.swap(true, Ordering::Relaxed) {
        errln!("meltica: standard output failed: {error}");
    }
}

/// The exit code, once all that was printed has left or failed to.
fn code_after_output(code: u8) -> u8 {
    written(io::stdout().flush());
    if code == EXIT_OK && OUTPUT_FAILED.load(Ordering::Relaxed) { EXIT_FAILED } else { code }
}

/// Reads a topology against this host, the consumers of this program, and what its simulated venues list.
fn read_topology(file: &Path) -> Result<Topology, TopologyErrors> {
    #[cfg(feature = "simulate")]
    {
        load_with(file, consumers::KINDS, Some(&crate::launch::simulated_lists))
    }
    #[cfg(not(feature = "simulate"))]
    load_with(file, consumers::KINDS, None)
}

/// Columns of the terminal behind a descriptor; none beyond any line where it is no terminal.
fn columns_of(terminal: &impl std::os::fd::AsFd) -> usize {
    let columns = rustix::termios::tcgetwinsize(terminal).map_or(0, |size| usize::from(size.ws_col));
    if columns == 0 { usize::MAX } else { columns }
}

/// Columns of the terminal, 100 where there is none.
fn columns() -> usize {
    rustix::termios::tcgetwinsize(std::io::stdout()).map_or(100, |size| usize::from(size.ws_col).max(80))
}
