//! `options:` of a consumer: what its kind can be told. Strict for the built-in kinds; a registered kind checks its own.

use std::path::PathBuf;

use super::bounds;
use super::keys::Keys;
use super::problem::Problems;
use super::yaml::Value;

/// What a consumer's kind is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConsumerOptions {
    /// Nothing: `stats`, or a registered kind without options.
    None,
    /// Of a `printer`.
    Printer {
        /// Where its lines go.
        output: PrinterOutput,
        /// Lines it prints a second, at most; the rest is counted.
        lines_per_s: u32,
    },
    /// Of a `recorder`.
    Recorder {
        /// Directory that gets one directory a run.
        dir: PathBuf,
        /// Size from which a file is followed by the next, in MiB.
        rotate_mib: u32,
    },
    /// Of a kind that the program registered: keys and values as written, in order. Its factory checks them.
    Own(Vec<(String, String)>),
}

/// Where a printer's lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PrinterOutput {
    /// Standard error.
    Stderr,
    /// A file; a relative path starts at the directory of the run's report.
    File(PathBuf),
}

/// Reads the options of a consumer of `kind`; `None` when they do not fit, which has been told.
pub(super) fn read_options(
    keys: &mut Keys<'_>,
    kind: Option<&str>,
    problems: &mut Problems,
) -> Option<ConsumerOptions> {
    match kind {
        Some("stats") => {
            keys.must_not("options", "stats has none", problems);
            Some(ConsumerOptions::None)
        }
        Some("printer") => {
            let mut options = keys.must("options", problems)?.keys(problems)?;
            let output = options.must("output", problems).and_then(|found| {
                Some(match found.text("stderr, or the path of a file", problems)? {
                    "stderr" => PrinterOutput::Stderr,
                    path => PrinterOutput::File(PathBuf::from(path)),
                })
            });
            let lines = options
                .must("lines_per_s", problems)
                .and_then(|found| found.integer(bounds::PRINTER_LINES_PER_S, problems));
            options.close(problems);
            Some(ConsumerOptions::Printer { output: output?, lines_per_s: lines?.value as u32 })
        }
        Some("recorder") => {
            let mut options = keys.must("options", problems)?.keys(problems)?;
            let dir = options
                .must("dir", problems)
                .and_then(|found| found.text("the path of a directory", problems).map(PathBuf::from));
            let rotate = options
                .must("rotate_mib", problems)
                .and_then(|found| found.integer(bounds::RECORDER_ROTATE_MIB, problems));
            options.close(problems);
            Some(ConsumerOptions::Recorder { dir: dir?, rotate_mib: rotate?.value as u32 })
        }
        // Of a kind that is missing or unknown, which has been told, nothing can be said of the options.
        None => {
            keys.may("options");
            None
        }
        Some(_) => {
            let Some(options) = keys.may("options") else { return Some(ConsumerOptions::None) };
            let mut own = Vec::new();
            for (key, found) in options.keys(problems)?.all() {
                if let Value::Scalar { text, .. } = &found.node.value {
                    own.push((key.to_owned(), text.clone()));
                } else {
                    let _: Option<()> = found.misfit("fits one value: text or a number", problems);
                }
            }
            Some(ConsumerOptions::Own(own))
        }
    }
}
