//! `meltica replay --recording`: what a recorder wrote, read back. The events are those that were delivered, so nothing is
//! decoded again: they are counted, their books rebuilt and their content hashed as in any replay.
//!
//! A recording may have holes: a disk that was full, a process that was killed. Each is reported, the books that may
//! have missed an update show `unknown` until their next snapshot, and the tail of a file that was cut is not guessed at.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::Instant;

use engine::catalog::Catalog;
use engine::event::{Event, Kind, SCHEMA_VERSION};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::output::{ReplayOutcome, ShardSummary, hex};
use super::tally::Tally;
use crate::consumers::recorder::format::{
    self, End, FACTS_BYTES_MAX, FILE_EXTENSION, FILE_HEAD_BYTES, FORMAT_VERSION, FileFacts, Lost, MAGIC,
    RECORD_HEAD_BYTES, RecordHead, Tag,
};
use crate::topology::numbered;

/// Why a recording cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// A file or directory cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A directory has no recording in it.
    #[error("{}: no files *.{FILE_EXTENSION} in it; {hint}", path.display())]
    Empty {
        /// Which.
        path: PathBuf,
        /// What could be meant.
        hint: String,
    },
    /// Not a recording, or one whose head is damaged: without the names in it, no number has a meaning.
    #[error("{}: {what}", path.display())]
    Head {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The CRC holds and the content does not: written by a mistake of ours.
    #[error("{}: a record at byte {at_byte}: {what}", path.display())]
    Content {
        /// Which.
        path: PathBuf,
        /// Where the record begins.
        at_byte: u64,
        /// What is wrong.
        what: String,
    },
    /// Files of different recordings.
    #[error("{}: is of another recording than the file before it", path.display())]
    Mixed {
        /// The second one.
        path: PathBuf,
    },
}

/// A hole in a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hole {
    /// The recorder had no room and says so.
    Lost(Lost),
    /// A record whose bytes changed after they were written; others follow it.
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where it begins.
        at_byte: u64,
        /// Event parts in it, by its head.
        parts: u32,
    },
    /// The file has no end: the process was killed, or the machine went down. What follows this byte is not whole.
    Torn {
        /// The file.
        path: PathBuf,
        /// Bytes of it that are whole.
        at_byte: u64,
    },
    /// Files of the recording are not there.
    MissingFiles {
        /// The first.
        from: u32,
        /// The last.
        to: u32,
    },
    /// The last file says that another follows.
    NoLastFile,
}

impl std::fmt::Display for Hole {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Lost(Lost { parts: 0, .. }) => {
                write!(f, "the recorder was made anew; what it missed is not known")
            }
            Self::Lost(lost) => write!(
                f,
                "{} event parts lost by the recorder, received {} to {} ns",
                lost.parts, lost.first_receive_ns, lost.last_receive_ns
            ),
            Self::Damaged { path, at_byte, parts } => {
                write!(f, "{}: damaged at byte {at_byte}: {parts} event parts", path.display())
            }
            Self::Torn { path, at_byte } => {
                write!(f, "{}: was not closed; whole until byte {at_byte}", path.display())
            }
            Self::MissingFiles { from, to } => write!(f, "files {from:06} to {to:06} are missing"),
            Self::NoLastFile => write!(f, "the file that should follow the last one is missing"),
        }
    }
}

/// What reading a recording brings, in order.
#[derive(Debug)]
pub enum Item<'a> {
    /// The facts of the recording; first, and once.
    Facts(&'a FileFacts),
    /// An event.
    Event(&'a Event),
    /// Events are missing here.
    Hole(Hole),
}

/// Sizes of what was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Files.
    pub files: u64,
    /// Bytes that are whole.
    pub bytes: u64,
    /// Event parts.
    pub parts: u64,
}

/// The files of a recording: those named, and those of each directory named, by their names.
///
/// # Errors
/// [`RecordingError::Io`], [`RecordingError::Empty`]
pub fn files_of(paths: &[PathBuf]) -> Result<Vec<PathBuf>, RecordingError> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let io = |source| RecordingError::Io { path: path.clone(), source };
        let entries = std::fs::read_dir(path).map_err(io)?.collect::<Result<Vec<_>, _>>().map_err(io)?;
        let all: Vec<PathBuf> = entries.iter().map(std::fs::DirEntry::path).collect();
        let mut own: Vec<PathBuf> = all
            .iter()
            .filter(|path| path.extension().is_some_and(|is| is == FILE_EXTENSION))
            .cloned()
            .collect();
        if own.is_empty() {
            let mut runs: Vec<&PathBuf> = all.iter().filter(|path| path.is_dir()).collect();
            runs.sort();
            let hint = match runs.last() {
                Some(last) => format!("name one of the {} in it, such as {}", runs.len(), last.display()),
                None => "fits a directory that a recorder has written".to_owned(),
            };
            return Err(RecordingError::Empty { path: path.clone(), hint });
        }
        own.sort();
        files.append(&mut own);
    }
    Ok(files)
}

/// Reads files in order; they are one recording.
///
/// ```
/// use engine::event::Event;
/// use shards::consumers::recorder::format::{End, FileFacts, Tag, put_event, record};
/// use shards::replay::recording::{Hole, Item, files_of, read};
///
/// # let directory = std::env::temp_dir().join(format!("meltica-doc-{}", std::process::id()));
/// # std::fs::create_dir_all(&directory)?;
/// // What the consumer `recorder` writes: names, records of events, and an end that says how many there are.
/// let facts = FileFacts {
///     index: 0,
///     recorder: "tape".into(),
///     started_at: "2026-11-21T03:30:00Z".into(),
///     program: "meltica".into(),
///     zero_unix_ns: None,
///     catalog: Default::default(),
/// };
/// let mut events = Vec::new();
/// put_event(&Event::default(), &mut events);
/// let mut file = facts.encode();
/// file.extend(record(Tag::Events, &events));
/// let without_end = file.clone();
/// file.extend(record(Tag::End, &End { closed: true, parts: 1, lost_parts: 0 }.payload()));
/// std::fs::write(directory.join("000000.rec"), file)?;
///
/// let mut seen = Vec::new();
/// let extent = read(&files_of(&[directory.clone()])?, |item| match item {
///     Item::Facts(facts) => seen.push(format!("by {}", facts.recorder)),
///     Item::Event(event) => seen.push(event.kind().name().to_owned()),
///     Item::Hole(hole) => seen.push(hole.to_string()),
/// })?;
/// assert_eq!((seen, extent.files), (vec!["by tape".to_owned(), Event::default().kind().name().to_owned()], 1));
///
/// // A file that was cut is read as far as it is whole, and the cut is said.
/// std::fs::write(directory.join("000000.rec"), without_end)?;
/// let mut torn = 0;
/// read(&files_of(&[directory.clone()])?, |item| torn += u32::from(matches!(item, Item::Hole(Hole::Torn { .. }))))?;
/// assert_eq!(torn, 1);
/// # std::fs::remove_dir_all(directory)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`RecordingError`]; what was taken before stays taken.
pub fn read(files: &[PathBuf], take: impl FnMut(Item<'_>)) -> Result<Extent, RecordingError> {
    read_from(files, |path| File::open(path), take)
}

/// The same with files that `open` gives.
///
/// # Errors
/// [`RecordingError`]
pub fn read_from<R: Read>(
    files: &[PathBuf],
    mut open: impl FnMut(&Path) -> io::Result<R>,
    mut take: impl FnMut(Item<'_>),
) -> Result<Extent, RecordingError> {
    let mut extent = Extent::default();
    let mut first: Option<FileFacts> = None;
    let (mut next_index, mut closed) = (0, true);
    for path in files {
        let file = open(path).map_err(|source| RecordingError::Io { path: path.clone(), source })?;
        let mut reader = FileReader::new(path, file);
        extent.files += 1;
        let Some(facts) = reader.facts()? else {
            take(Item::Hole(Hole::Torn { path: path.clone(), at_byte: 0 }));
            (next_index, closed) = (next_index + 1, true);
            continue;
        };
        match &first {
            None => take(Item::Facts(first.insert(facts.clone()))),
            Some(first) if FileFacts { index: first.index, ..facts.clone() } != *first => {
                return Err(RecordingError::Mixed { path: path.clone() });
            }
            Some(_) => {}
        }
        if facts.index > next_index {
            take(Item::Hole(Hole::MissingFiles { from: next_index, to: facts.index - 1 }));
        }
        next_index = facts.index + 1;
        let end = reader.records(&mut extent, &mut take)?;
        extent.bytes += reader.whole_bytes;
        closed = end.is_none_or(|end| end.closed);
        if end.is_none() {
            take(Item::Hole(Hole::Torn { path: path.clone(), at_byte: reader.whole_bytes }));
        }
    }
    if !closed {
        take(Item::Hole(Hole::NoLastFile));
    }
    Ok(extent)
}

/// One file, from its head to its end or to where it is cut.
struct FileReader<'a, R> {
    path: &'a Path,
    file: BufReader<R>,
    whole_bytes: u64,
    payload: Vec<u8>,
}

impl<'a, R: Read> FileReader<'a, R> {
    fn new(path: &'a Path, file: R) -> Self {
        let file = BufReader::with_capacity(1 << 18, file);
        Self { path, file, whole_bytes: 0, payload: Vec::new() }
    }

    fn head(&self, what: impl Into<String>) -> RecordingError {
        RecordingError::Head { path: self.path.to_owned(), what: what.into() }
    }

    /// Fills `bytes`; `false` if the file ends before.
    fn fill(&mut self, bytes: &mut [u8]) -> Result<bool, RecordingError> {
        match self.file.read_exact(bytes) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(source) => Err(RecordingError::Io { path: self.path.to_owned(), source }),
        }
    }

    /// The facts of the file; `None` if it was cut before they were written.
    fn facts(&mut self) -> Result<Option<FileFacts>, RecordingError> {
        let mut head = Vec::new();
        match self.whole_facts(&mut head) {
            Err(RecordingError::Head { .. }) if self.is_unwritten(&head)? => Ok(None),
            found => found,
        }
    }

    /// Whether the file is zeros from somewhere in `read` on: when the host lost its power its length was on the disk, and its
    /// bytes were not. That is a cut, and no reason not to read the files before it.
    fn is_unwritten(&mut self, read: &[u8]) -> Result<bool, RecordingError> {
        let mut byte = [0];
        let mut is_zero = read.ends_with(&[0]);
        while is_zero && self.fill(&mut byte)? {
            is_zero = byte == [0];
        }
        Ok(is_zero)
    }

    /// The same, with what was read of it in `read`.
    fn whole_facts(&mut self, read: &mut Vec<u8>) -> Result<Option<FileFacts>, RecordingError> {
        let mut head = [0; FILE_HEAD_BYTES];
        if !self.fill(&mut head)? {
            return Ok(None);
        }
        read.extend_from_slice(&head);
        if !head.starts_with(MAGIC) {
            return Err(self.head("not a recording"));
        }
        let short = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
        let long = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let (version, schema) = (short(8), short(10));
        if version != FORMAT_VERSION || schema != u16::from(SCHEMA_VERSION) {
            return Err(self.head(format!(
                "format {version} with events of schema {schema}; this program reads format {FORMAT_VERSION}, schema {SCHEMA_VERSION}"
            )));
        }
        let (index, facts_bytes) = (long(12), long(16) as usize);
        if facts_bytes > FACTS_BYTES_MAX {
            return Err(self.head("its head is damaged"));
        }
        let mut rest = vec![0; facts_bytes + 4];
        if !self.fill(&mut rest)? {
            return Ok(None);
        }
        read.extend_from_slice(&rest);
        let (whole, crc) = read.split_at(FILE_HEAD_BYTES + facts_bytes);
        let facts = FileFacts::decode(index, &whole[FILE_HEAD_BYTES..]);
        match facts.filter(|_| crc.first_chunk().is_some_and(|crc| format::head_fits(whole, *crc))) {
            Some(facts) => {
                self.whole_bytes = read.len() as u64;
                Ok(Some(facts))
            }
            None => Err(self.head("its head is damaged")),
        }
    }

    /// Gives every record; returns the one that ends the file, or `None` if the file was cut.
    fn records(
        &mut self,
        extent: &mut Extent,
        take: &mut impl FnMut(Item<'_>),
    ) -> Result<Option<End>, RecordingError> {
        // A record that does not fit its CRC, and its bytes: damage if another record follows, else the torn tail.
        let mut damaged: Option<(Hole, u64)> = None;
        loop {
            let mut head = [0; RECORD_HEAD_BYTES];
            if !self.fill(&mut head)? {
                return Ok(None);
            }
            let Some(head) = RecordHead::read(head) else { return Ok(None) };
            let at_byte = self.whole_bytes + damaged.as_ref().map_or(0, |(_, bytes)| *bytes);
            let mut payload = std::mem::take(&mut self.payload);
            payload.resize(head.payload_bytes, 0);
            let filled = self.fill(&mut payload)?;
            self.payload = payload;
            if !filled {
                return Ok(None);
            }
            let record_bytes = (RECORD_HEAD_BYTES + head.payload_bytes) as u64;
            if !head.fits(&self.payload) {
                if damaged.is_some() {
                    return Ok(None);
                }
                let path = self.path.to_owned();
                damaged = Some((Hole::Damaged { path, at_byte, parts: head.parts }, record_bytes));
                continue;
            }
            if let Some((hole, bytes)) = damaged.take() {
                take(Item::Hole(hole));
                self.whole_bytes += bytes;
            }
            self.whole_bytes += record_bytes;
            let content = |what: &str| RecordingError::Content {
                path: self.path.to_owned(),
                at_byte,
                what: what.to_owned(),
            };
            match head.tag {
                Tag::Events => {
                    extent.parts += format::events(&self.payload, |event| take(Item::Event(event)))
                        .map_err(|what| content(&what))?;
                }
                Tag::Lost => {
                    let lost = Lost::read(&self.payload).ok_or_else(|| content("short"))?;
                    take(Item::Hole(Hole::Lost(lost)));
                }
                Tag::End => return End::read(&self.payload).map(Some).ok_or_else(|| content("short")),
            }
        }
    }
}

/// A recording that was replayed.
pub struct RecordingOutcome {
    /// By provider: its name, and its replay.
    pub providers: Vec<(String, ReplayOutcome)>,
    /// What was read.
    pub extent: Extent,
    /// What is missing, in order.
    pub holes: Vec<Hole>,
    recorder: String,
    started_at: String,
}

/// Replays the recording in these files and directories.
///
/// # Errors
/// [`RecordingError`]
pub fn replay_recording(paths: &[PathBuf]) -> Result<RecordingOutcome, RecordingError> {
    let started = Instant::now();
    let mut facts = None;
    let mut tallies: Vec<Tally> = Vec::new();
    let mut holes = Vec::new();
    let extent = read(&files_of(paths)?, |item| match item {
        Item::Facts(found) => {
            tallies.resize_with(found.catalog.providers.len(), Tally::default);
            facts = Some(found.clone());
        }
        // What the recorder itself was told is of no stream.
        Item::Event(event) if event.kind().is_critical() => {}
        Item::Event(event) => {
            if let Some(tally) = tallies.get_mut(event.header.provider.index()) {
                tally.take(event);
            }
        }
        Item::Hole(hole) => {
            tallies.iter_mut().for_each(Tally::lose);
            holes.push(hole);
        }
    })?;
    let Some(facts) = facts else {
        let path = paths.first().cloned().unwrap_or_default();
        return Err(RecordingError::Head { path, what: "no file has a whole head".to_owned() });
    };
    let elapsed = started.elapsed();
    let FileFacts { recorder, started_at, catalog, .. } = facts;
    let Catalog { providers, .. } = catalog;
    let providers = providers.into_iter().zip(tallies).map(|(facts, tally)| {
        let summary = ShardSummary::of_catalog(&facts);
        (facts.name, ReplayOutcome::recorded(tally, summary, elapsed))
    });
    Ok(RecordingOutcome { providers: providers.collect(), extent, holes, recorder, started_at })
}

impl RecordingOutcome {
    /// Events of a kind, over all providers.
    pub fn events(&self, kind: Kind) -> u64 {
        self.providers.iter().map(|(_, outcome)| outcome.events(kind)).sum()
    }

    /// Of one provider, its own hash; of several, a hash over names and hashes in the order of the names. It covers receive times,
    /// so the replay of a live run's capture, which is dated by the host's clock, has the same events and another hash.
    pub fn events_sha256(&self) -> String {
        if let [(_, only)] = &self.providers[..] {
            return only.events_sha256();
        }
        let mut hashes: Vec<(&str, String)> =
            self.providers.iter().map(|(name, outcome)| (name.as_str(), outcome.events_sha256())).collect();
        hashes.sort_unstable();
        let mut all = Sha256::new();
        for (name, hash) in hashes {
            all.update(format!("{name}\0{hash}\0"));
        }
        hex(&all.finalize())
    }

    /// One JSON object: the fields of a replay, with those of each provider under `providers`. With one provider, its `instruments`
    /// stand at the top as well.
    pub fn to_json(&self) -> Value {
        let events: Map<String, Value> =
            Kind::ALL.iter().map(|&kind| (kind.name().to_owned(), json!(self.events(kind)))).collect();
        let mut providers = Map::new();
        for (name, outcome) in &self.providers {
            providers.insert(name.clone(), outcome.to_json("recorded"));
        }
        let mut value = json!({
            "recorder": self.recorder,
            "started_at": self.started_at,
            "files": self.extent.files,
            "bytes": self.extent.bytes,
            "parts": self.extent.parts,
            "events": events,
            "holes": self.holes.iter().map(Hole::to_string).collect::<Vec<_>>(),
            "events_sha256": self.events_sha256(),
            "providers": providers,
        });
        if let [(name, _)] = &self.providers[..] {
            value["instruments"] = value["providers"][name]["instruments"].clone();
        }
        value
    }

    /// A table a provider, for people.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        let Extent { files, bytes, parts } = self.extent;
        let _ = writeln!(
            text,
            "recording of {} by {}: {parts} event parts in {}, {bytes} bytes",
            self.started_at,
            self.recorder,
            numbered(files as usize, "file")
        );
        for (name, outcome) in &self.providers {
            let _ = writeln!(text, "provider {name}");
            text.push_str(&outcome.tables());
        }
        for hole in &self.holes {
            let _ = writeln!(text, "MISSING: {hole}");
        }
        let _ = writeln!(text, "events_sha256: {}", self.events_sha256());
        text
    }
}

/// The hash of each provider's delivered events, as a replay that never saw a disk has it.
#[cfg(test)]
pub(crate) fn hashes_of_delivered(events: &[Event], catalog: &Catalog) -> Vec<String> {
    let mut tallies: Vec<Tally> = Vec::new();
    tallies.resize_with(catalog.providers.len(), Tally::default);
    for event in events {
        tallies[event.header.provider.index()].take(event);
    }
    let outcomes = catalog.providers.iter().zip(tallies).map(|(facts, tally)| {
        ReplayOutcome::recorded(tally, ShardSummary::of_catalog(facts), std::time::Duration::ZERO)
    });
    outcomes.map(|outcome| outcome.events_sha256()).collect()
}
