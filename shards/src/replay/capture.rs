//! Capture files: one recorded message a line, `<receive ns> TAB <ws|rest:PATH> TAB <payload>`, plain or gzip.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

/// Bytes of the longest line that is read; a longer one is an error, not a reason to take all memory.
const LINE_BYTES_MAX: u64 = 256 << 20;

/// Why a capture cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The file cannot be opened or read.
    #[error("cannot read capture {}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line is not of the form of a capture.
    #[error("{}:{line}: not a capture line, expected <receive ns> TAB <ws|rest:PATH> TAB <payload>", path.display())]
    Form {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: u64,
    },
}

/// Where a recorded message came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin<'a> {
    /// A WebSocket text frame.
    WebSocket,
    /// The answer to a GET of this path.
    Rest(&'a str),
}

/// One recorded message.
#[derive(Debug)]
pub struct Line<'a> {
    /// When it was received, in nanoseconds by the recorder's clock; 0 where that is not known.
    pub receive_ns: u64,
    /// Where it came from.
    pub origin: Origin<'a>,
    /// Its bytes. They may be changed.
    pub payload: &'a mut [u8],
}

/// The lines of several files, one after another.
pub struct Session {
    files: std::collections::VecDeque<PathBuf>,
    current: Option<(PathBuf, Box<dyn BufRead>)>,
    line: u64,
    buffer: Vec<u8>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("line", &self.line).finish_non_exhaustive()
    }
}

impl Session {
    /// Opens the first file; the others follow.
    ///
    /// # Errors
    /// [`CaptureError::Io`]
    pub fn open(files: &[PathBuf]) -> Result<Self, CaptureError> {
        let mut session = Self {
            files: files.iter().cloned().collect(),
            current: None,
            line: 0,
            buffer: Vec::with_capacity(1 << 16),
        };
        session.open_next()?;
        Ok(session)
    }

    fn open_next(&mut self) -> Result<bool, CaptureError> {
        let Some(path) = self.files.pop_front() else {
            self.current = None;
            return Ok(false);
        };
        let file = File::open(&path).map_err(|source| CaptureError::Io { path: path.clone(), source })?;
        let reader: Box<dyn BufRead> = if path.extension().is_some_and(|extension| extension == "gz") {
            Box::new(BufReader::with_capacity(1 << 18, MultiGzDecoder::new(file)))
        } else {
            Box::new(BufReader::with_capacity(1 << 18, file))
        };
        self.current = Some((path, reader));
        self.line = 0;
        Ok(true)
    }

    /// The next message, or `None` at the end of the last file.
    ///
    /// # Errors
    /// [`CaptureError`]
    pub fn next_line(&mut self) -> Result<Option<Line<'_>>, CaptureError> {
        loop {
            let Some((path, reader)) = &mut self.current else { return Ok(None) };
            self.buffer.clear();
            let read = reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut self.buffer);
            let count = read.map_err(|source| CaptureError::Io { path: path.clone(), source })?;
            if count == 0 {
                self.open_next()?;
                continue;
            }
            self.line += 1;
            if self.buffer.last() == Some(&b'\n') {
                self.buffer.pop();
            }
            if !self.buffer.is_empty() {
                break;
            }
        }
        let path = self.current.as_ref().map(|(path, _)| path.clone()).unwrap_or_default();
        split(&mut self.buffer, &path, self.line).map(Some)
    }
}

fn split<'a>(bytes: &'a mut [u8], path: &Path, line: u64) -> Result<Line<'a>, CaptureError> {
    let form = || CaptureError::Form { path: path.to_owned(), line };
    let first = bytes.iter().position(|&byte| byte == b'\t').ok_or_else(form)?;
    let second = bytes[first + 1..].iter().position(|&byte| byte == b'\t').ok_or_else(form)? + first + 1;
    let (head, rest) = bytes.split_at_mut(second);
    let text = std::str::from_utf8(head).map_err(|_| form())?;
    let receive_ns = text[..first].parse().map_err(|_| form())?;
    let origin = match &text[first + 1..] {
        "ws" => Origin::WebSocket,
        origin => Origin::Rest(origin.strip_prefix("rest:").ok_or_else(form)?),
    };
    Ok(Line { receive_ns, origin, payload: &mut rest[1..] })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: Option<(u64, Origin<'_>, &str)>) {
        let mut bytes = line.as_bytes().to_vec();
        let found = split(&mut bytes, Path::new("f"), 1);
        match (found, expected) {
            (Ok(line), Some((receive_ns, origin, payload))) => {
                assert_eq!((line.receive_ns, line.origin), (receive_ns, origin));
                assert_eq!(line.payload, payload.as_bytes());
            }
            (Err(CaptureError::Form { line: 1, .. }), None) => {}
            (found, expected) => panic!("{line:?}: {found:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn a_line_is_split_at_its_first_two_tabs_only() {
        check("12\tws\t{\"a\":\"b\tc\"}", Some((12, Origin::WebSocket, "{\"a\":\"b\tc\"}")));
        check("0\trest:/api/v3/depth?symbol=A\t{}", Some((0, Origin::Rest("/api/v3/depth?symbol=A"), "{}")));
        check("0\tws\t", Some((0, Origin::WebSocket, "")));
        for bad in ["", "12", "12\tws", "x\tws\t{}", "12\twss\t{}", "-1\tws\t{}"] {
            check(bad, None);
        }
    }
}
