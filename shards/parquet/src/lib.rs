//! A recording as one Parquet file: a row for each trade, ticker, kline, level of a book and notice, in the order of delivery.
//!
//! For research, in a crate of its own: nothing that runs depends on it, and it knows nothing of venues, rings or books. Prices
//! and quantities are `DECIMAL(38, 18)`, which holds every one of ours exactly; nothing passes through a float. What the recorder
//! could not keep stands as a row of kind `Hole` where it is missing.

mod columns;
mod rows;
mod table;

use std::fs::File;
use std::path::{Path, PathBuf};

use parquet::errors::ParquetError;
use shards::replay::RecordingError;
use shards::replay::recording::{self, Extent, Item};

pub use columns::{COLUMNS, Column};
use rows::Names;
use table::Table;

/// Why there is no file.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// The recording cannot be read.
    #[error(transparent)]
    Recording(#[from] RecordingError),
    /// Something of that name is there; it is left as it is.
    #[error("{}: exists already; remove it, or name another file", path.display())]
    Exists {
        /// Which.
        path: PathBuf,
    },
    /// No file of the recording has a whole head.
    #[error("{}: no file of it has a whole head, so its numbers have no names", path.display())]
    NoHead {
        /// The first one named.
        path: PathBuf,
    },
    /// The file cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: ParquetError,
    },
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// What was read.
    pub extent: Extent,
    /// Rows, those of holes included.
    pub rows: u64,
    /// Places at which the recording misses something.
    pub holes: u64,
    /// Bytes of the file.
    pub bytes: u64,
}

/// Writes the recording in these files and directories to `out`, which must not exist. While it is written its name ends in
/// `.unfinished`, so that a file of the right name is a whole one.
///
/// # Errors
/// [`ConvertError`]; then there is no `out`.
pub fn convert(paths: &[PathBuf], out: &Path) -> Result<Written, ConvertError> {
    if out.exists() {
        return Err(ConvertError::Exists { path: out.to_owned() });
    }
    let mut name = out.as_os_str().to_owned();
    name.push(".unfinished");
    let unfinished = PathBuf::from(name);
    let outcome = write(paths, &unfinished).and_then(|mut written| {
        let failed =
            |error: std::io::Error| ConvertError::Write { path: out.to_owned(), source: error.into() };
        written.bytes = std::fs::metadata(&unfinished).map_err(failed)?.len();
        std::fs::rename(&unfinished, out).map_err(failed)?;
        Ok(written)
    });
    if outcome.is_err() {
        // Nothing more can be done about it than the error that is told.
        let _ = std::fs::remove_file(&unfinished);
    }
    outcome
}

fn write(paths: &[PathBuf], out: &Path) -> Result<Written, ConvertError> {
    let failed = |source: ParquetError| ConvertError::Write { path: out.to_owned(), source };
    let files = recording::files_of(paths)?;
    let file = File::create(out).map_err(|error| failed(error.into()))?;
    let mut table = Table::new(file).map_err(failed)?;
    let mut names: Option<Names> = None;
    let mut holes = 0;
    // The reader cannot be stopped by what it gives to; after a failure the rest is passed over.
    let mut failure: Option<ParquetError> = None;
    let extent = recording::read(&files, |item| {
        if failure.is_some() {
            return;
        }
        let outcome = match (item, &names) {
            (Item::Facts(facts), _) => {
                table.say("meltica.recorder", &facts.recorder);
                table.say("meltica.started_at", &facts.started_at);
                table.say("meltica.program", &facts.program);
                names = Some(Names::new(facts));
                Ok(())
            }
            (Item::Event(event), Some(names)) => names.rows(event, |row| table.append(row)),
            // Events come behind their file's facts; a hole may come before all of them.
            (Item::Event(_), None) => Ok(()),
            (Item::Hole(hole), _) => {
                holes += 1;
                table.append(&rows::hole(&hole.to_string()))
            }
        };
        failure = outcome.err();
    })?;
    if let Some(source) = failure {
        return Err(failed(source));
    }
    if names.is_none() {
        return Err(ConvertError::NoHead { path: paths.first().cloned().unwrap_or_default() });
    }
    let rows = table.close().map_err(failed)?;
    Ok(Written { extent, rows, holes, bytes: 0 })
}
