//! Capture files and their index, on a thread of their own.
//!
//! Each connection is a session: `line0-0001-000000.tsv`, `line0-0001-000001.tsv` and so on, and `line0-0002-000000.tsv` after it
//! was opened anew. REST bodies go into every session that is open; each file begins with the instrument list, so that it can be
//! read without those before it. A line is `<ns since 1970> TAB <ws | rest:PATH> TAB <payload>`; line breaks in a payload, which
//! mean nothing in JSON, become spaces. `index.tsv` says what each file holds.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::{HEAD_BYTES, Head, What};
use crate::consumers::handoff::Inbox;

/// How far the writer is, for the shard that ends.
#[derive(Debug, Default)]
pub struct Progress {
    /// Files begun.
    pub files_total: AtomicU64,
    /// Bytes in the files.
    pub bytes_written: AtomicU64,
    /// Messages that the disk did not take.
    pub refused_total: AtomicU64,
    /// The disk's last refusal.
    pub error: Mutex<Option<String>>,
}

/// What a file holds: a row of the index.
#[derive(Clone, Debug, Default)]
struct Row {
    name: String,
    first_ns: u64,
    last_ns: u64,
    frames: u64,
    answers: u64,
    lost: u64,
    bytes: u64,
    /// It has ended.
    closed: bool,
}

/// A connection's files.
#[derive(Default)]
struct Session {
    number: u32,
    file_number: u32,
    /// Its connection is gone.
    ended: bool,
    open: Option<(BufWriter<File>, Row)>,
}

/// Makes files of what a tap hands over.
pub struct Writer {
    directory: PathBuf,
    rotate_bytes: u64,
    keep: usize,
    /// From the shards' clock to nanoseconds since 1970.
    offset_ns: u64,
    /// Bytes that are no whole message yet.
    waiting: Vec<u8>,
    /// Lists, and what was answered before the first connection: time, path, body.
    before: Vec<(u64, String, Vec<u8>)>,
    sessions: BTreeMap<u8, Session>,
    rows: VecDeque<Row>,
    /// Lost, and in no row yet.
    lost: u64,
    progress: Arc<Progress>,
}

impl Writer {
    /// A writer into `directory`.
    pub fn new(
        directory: PathBuf,
        rotate_bytes: u64,
        keep: usize,
        offset_ns: u64,
        progress: Arc<Progress>,
    ) -> Self {
        Self {
            directory,
            rotate_bytes,
            keep,
            offset_ns,
            waiting: Vec::new(),
            before: Vec::new(),
            sessions: BTreeMap::new(),
            rows: VecDeque::new(),
            lost: 0,
            progress,
        }
    }

    /// Writes the empty index, so that a disk that takes nothing is known before the start.
    ///
    /// # Errors
    /// What the system says.
    pub fn begin(&mut self) -> io::Result<()> {
        self.write_index()
    }

    /// Writes what a tap hands over, until it is gone.
    pub(super) fn serve(&mut self, inbox: &mut Inbox<Vec<u8>>) {
        while let Some(mut block) = inbox.wait() {
            self.take(&block);
            // A block that is given back says that its bytes are with the system.
            self.flush();
            block.clear();
            inbox.give_back(block);
        }
        self.close_all();
    }

    fn close_all(&mut self) {
        let lines: Vec<u8> = self.sessions.keys().copied().collect();
        for line in lines {
            self.close(line);
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        self.waiting.extend_from_slice(bytes);
        let waiting = std::mem::take(&mut self.waiting);
        let mut at = 0;
        while let Some(head) = waiting.get(at..at + HEAD_BYTES) {
            let head = Head::read(head.try_into().expect("the slice has that length"));
            let path_at = at + HEAD_BYTES;
            if head.what == What::Lost {
                self.lost += u64::from(head.payload_bytes);
                at = path_at;
                continue;
            }
            let payload_at = path_at + usize::from(head.path_bytes);
            let end = payload_at + head.payload_bytes as usize;
            let Some(payload) = waiting.get(payload_at..end) else { break };
            let path = String::from_utf8_lossy(&waiting[path_at..payload_at]);
            self.message(head, &path, payload);
            at = end;
        }
        self.waiting = waiting;
        self.waiting.drain(..at);
    }

    fn message(&mut self, head: Head, path: &str, payload: &[u8]) {
        let at_ns = head.receive_ns + self.offset_ns;
        match head.what {
            What::Opened => {
                self.close(head.line);
                let session = self.sessions.entry(head.line).or_default();
                session.number += 1;
                session.file_number = 0;
                session.ended = false;
            }
            What::Ended => {
                self.close(head.line);
                if let Some(session) = self.sessions.get_mut(&head.line) {
                    session.ended = true;
                }
            }
            What::Frame => self.line(head.line, at_ns, None, payload),
            What::Answer | What::List => {
                if head.what == What::List {
                    self.before.retain(|(_, known, _)| known != path);
                }
                if head.what == What::List || self.sessions.is_empty() {
                    self.before.push((at_ns, path.to_owned(), payload.to_vec()));
                }
                let stands = self.sessions.iter().filter(|(_, session)| !session.ended);
                let lines: Vec<(u8, bool)> =
                    stands.map(|(line, session)| (*line, session.open.is_some())).collect();
                for (line, open) in lines {
                    // A file that has not begun will begin with the list.
                    if open || head.what == What::Answer {
                        self.line(line, at_ns, Some(path), payload);
                    }
                }
            }
            What::Finished => self.close_all(),
            // Counted by who reads the stream.
            What::Lost => {}
        }
    }

    /// Writes a message into the file of `line`; begins a file where there is none, and ends one that is full.
    fn line(&mut self, line: u8, at_ns: u64, path: Option<&str>, payload: &[u8]) {
        let written = self.open(line).and_then(|()| {
            let session = self.sessions.get_mut(&line).expect("it was opened");
            let (file, row) = session.open.as_mut().expect("it was opened");
            row.lost += std::mem::take(&mut self.lost);
            put(file, row, at_ns, path, payload)
        });
        match written {
            Ok(bytes) if bytes >= self.rotate_bytes => self.close(line),
            Ok(_) => {}
            Err(error) => {
                self.refused(&error);
                self.close(line);
            }
        }
    }

    fn open(&mut self, line: u8) -> io::Result<()> {
        let session = self.sessions.entry(line).or_default();
        if session.open.is_some() {
            return Ok(());
        }
        session.number = session.number.max(1);
        let name = format!("line{line}-{:04}-{:06}.tsv", session.number, session.file_number);
        session.file_number += 1;
        let mut file = BufWriter::with_capacity(1 << 18, File::create(self.directory.join(&name))?);
        let mut row = Row { name, ..Row::default() };
        for (at_ns, path, body) in &self.before {
            put(&mut file, &mut row, *at_ns, Some(path), body)?;
        }
        self.rows.push_back(row.clone());
        session.open = Some((file, row));
        self.progress.files_total.fetch_add(1, Ordering::Release);
        self.drop_oldest();
        self.write_index()
    }

    fn close(&mut self, line: u8) {
        let Some((mut file, mut row)) = self.sessions.get_mut(&line).and_then(|session| session.open.take())
        else {
            return;
        };
        if let Err(error) = file.flush() {
            self.refused(&error);
        }
        row.lost += std::mem::take(&mut self.lost);
        row.closed = true;
        self.progress.bytes_written.fetch_add(row.bytes, Ordering::Release);
        if let Some(known) = self.rows.iter_mut().find(|known| known.name == row.name) {
            *known = row;
        }
        if let Err(error) = self.write_index() {
            self.refused(&error);
        }
    }

    fn flush(&mut self) {
        let mut refused = None;
        for (file, _) in self.sessions.values_mut().filter_map(|session| session.open.as_mut()) {
            if let Err(error) = file.flush() {
                refused = Some(error);
            }
        }
        if let Some(error) = refused {
            self.refused(&error);
        }
    }

    /// Removes files beyond `keep`, the oldest first; an open one stays.
    fn drop_oldest(&mut self) {
        while self.rows.len() > self.keep {
            let Some(at) = self.rows.iter().position(|row| row.closed) else { return };
            let Some(row) = self.rows.remove(at) else { return };
            // One that somebody has taken away is gone already.
            let _ = std::fs::remove_file(self.directory.join(row.name));
        }
    }

    fn refused(&self, error: &io::Error) {
        self.progress.refused_total.fetch_add(1, Ordering::Release);
        *self.progress.error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
    }

    /// The whole index, replaced at once.
    fn write_index(&self) -> io::Result<()> {
        let mut text = String::from("file\tfirst_ns\tlast_ns\tframes\tanswers\tlost\tbytes\n");
        for row in &self.rows {
            let Row { name, first_ns, last_ns, frames, answers, lost, bytes, .. } = row;
            let _ = writeln!(text, "{name}\t{first_ns}\t{last_ns}\t{frames}\t{answers}\t{lost}\t{bytes}");
        }
        let new = self.directory.join("index.tsv.new");
        std::fs::write(&new, text)?;
        std::fs::rename(new, self.directory.join("index.tsv"))
    }
}

/// One line; gives the bytes of the file so far.
fn put(
    file: &mut BufWriter<File>,
    row: &mut Row,
    at_ns: u64,
    path: Option<&str>,
    payload: &[u8],
) -> io::Result<u64> {
    let head = match path {
        None => format!("{at_ns}\tws\t"),
        Some(path) => format!("{at_ns}\trest:{path}\t"),
    };
    file.write_all(head.as_bytes())?;
    for (index, part) in payload.split(|byte| matches!(byte, b'\n' | b'\r')).enumerate() {
        if index > 0 {
            file.write_all(b" ")?;
        }
        file.write_all(part)?;
    }
    file.write_all(b"\n")?;
    if row.bytes == 0 {
        row.first_ns = at_ns;
    }
    row.last_ns = at_ns;
    row.bytes += (head.len() + payload.len() + 1) as u64;
    *(if path.is_none() { &mut row.frames } else { &mut row.answers }) += 1;
    Ok(row.bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(what: What, line: u8, receive_ns: u64, path: &str, payload: &str) -> Vec<u8> {
        let (path_bytes, payload_bytes) = (path.len() as u16, payload.len() as u32);
        let mut bytes = Head { what, line, receive_ns, path_bytes, payload_bytes }.to_bytes().to_vec();
        bytes.extend_from_slice(path.as_bytes());
        bytes.extend_from_slice(payload.as_bytes());
        bytes
    }

    fn directory(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("meltica-capture-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).expect("the temporary directory can be written");
        path
    }

    #[test]
    fn sessions_begin_with_the_list_and_only_as_many_files_as_wanted_stay() {
        let path = directory("files");
        let progress = Arc::new(Progress::default());
        let mut writer = Writer::new(path.clone(), 40, 3, 1_000, Arc::clone(&progress));
        let mut stream = message(What::List, 0, 1, "/list", "{\n}");
        stream.extend(message(What::Opened, 0, 2, "", ""));
        for number in 3..9 {
            stream.extend(message(What::Frame, 0, number, "", "{\"a\":\"a\tb\"}"));
        }
        stream.extend(
            Head { what: What::Lost, line: 0, receive_ns: 0, path_bytes: 0, payload_bytes: 4 }.to_bytes(),
        );
        stream.extend(message(What::Opened, 0, 9, "", ""));
        stream.extend(message(What::Frame, 0, 10, "", "x"));
        stream.extend(message(What::Answer, 0, 11, "/depth", "y"));
        // Blocks end anywhere.
        for piece in stream.chunks(7) {
            writer.take(piece);
        }
        writer.close(0);
        let last = std::fs::read_to_string(path.join("line0-0002-000000.tsv")).expect("the last session");
        assert_eq!(last, "1001\trest:/list\t{ }\n1010\tws\tx\n1011\trest:/depth\ty\n");
        let index = std::fs::read_to_string(path.join("index.tsv")).expect("the index");
        let rows: Vec<Vec<&str>> = index.lines().skip(1).map(|row| row.split('\t').collect()).collect();
        assert_eq!(rows.len(), 3, "{index}");
        assert_eq!((rows[0][0], rows[1][0]), ("line0-0001-000004.tsv", "line0-0001-000005.tsv"), "{index}");
        assert_eq!((rows[0][3], rows[0][4], rows[0][5]), ("1", "1", "0"), "{index}");
        // Lost before the session was opened anew, told by the next file.
        assert_eq!(rows[2][0], "line0-0002-000000.tsv", "{index}");
        assert_eq!((rows[2][3], rows[2][4], rows[2][5]), ("1", "2", "4"), "{index}");
        let files = std::fs::read_dir(&path).expect("the directory").count();
        assert_eq!(files, 4, "three files and the index");
        std::fs::remove_dir_all(path).expect("it can be removed");
    }
}
