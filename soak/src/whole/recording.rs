//! The gateway's recorder on a simulated disk that fills up, stands still, tears and forgets: one of the consumers records all
//! that it is shown, and what can be read afterwards is that, or says what is missing.
//!
//! The recorder and its writer are the gateway's; only the thread between them is missing, and takes its turn by seed.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use engine::catalog::Catalog;
use engine::consumer::{Consumer, Context};
use engine::event::Event;
use engine::orders::OrderEvent;
use fastrand::Rng;
use shards::consumers::handoff::{Inbox, NoBlock, pair};
use shards::consumers::recorder::format::{FileFacts, Lost, put_event};
use shards::consumers::recorder::writer::{Progress, Writer};
use shards::consumers::recorder::{Block, Recorder};
use shards::orders::disk::Files;
use shards::replay::recording::{Hole, Item, read_from};

use super::Sabotage;
use super::auditor::Auditor;
use super::sabotage::Saboteur;
use crate::disk::records::Records;
use crate::disk::{Crash, SimDisk};
use crate::sim::MS_NS;

/// Between two blocks that the writer takes, in nanoseconds.
const WRITE_NS_MAX: u64 = 20 * MS_NS;

/// What the recorder was shown, and itself.
#[derive(Default)]
pub(super) struct Tape {
    recorder: Option<Recorder>,
    /// The writer's ends, one for each recorder, oldest first.
    inboxes: VecDeque<Inbox<Box<Block>>>,
    /// A print of each event part, in their order.
    shown: Vec<u64>,
    /// Where a recorder was made anew.
    begins: Vec<usize>,
    blocks: usize,
    progress: Arc<Progress>,
    /// An event is not shown to the recorder, to see that it is noticed.
    skips: bool,
    encoded: Vec<u8>,
}

impl Tape {
    fn begin(&mut self) {
        self.recorder = None;
        let (outbox, inbox) = pair(Block::many(self.blocks));
        self.recorder = Some(Recorder::new(outbox, Arc::clone(&self.progress)));
        self.inboxes.push_back(inbox);
        self.begins.push(self.shown.len());
    }

    fn print(&mut self, event: &Event) -> u64 {
        self.encoded.clear();
        put_event(event, &mut self.encoded);
        print_of(&self.encoded)
    }

    fn show(&mut self, event: &Event, context: &mut Context<'_>) {
        let print = self.print(event);
        self.shown.push(print);
        if let Some(recorder) = self.recorder.as_mut()
            && !std::mem::take(&mut self.skips)
        {
            recorder.on_event(event, context);
        }
    }
}

fn print_of(bytes: &[u8]) -> u64 {
    let add = |print: u64, byte: &u8| (print ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, add)
}

/// An auditor whose shard records what it sees.
pub(super) struct Recorded {
    auditor: Auditor,
    tape: Rc<RefCell<Tape>>,
}

impl Recorded {
    pub(super) fn new(auditor: Auditor, tape: &Rc<RefCell<Tape>>) -> Self {
        tape.borrow_mut().begin();
        Self { auditor, tape: Rc::clone(tape) }
    }
}

impl Drop for Recorded {
    fn drop(&mut self) {
        self.tape.borrow_mut().recorder = None;
    }
}

impl Consumer for Recorded {
    fn on_event(&mut self, event: &Event, context: &mut Context<'_>) {
        self.tape.borrow_mut().show(event, context);
        self.auditor.on_event(event, context);
    }

    fn on_order_event(&mut self, event: &OrderEvent, context: &mut Context<'_>) {
        self.auditor.on_order_event(event, context);
    }

    fn timer_every_ns(&self) -> Option<u64> {
        self.tape.borrow().recorder.as_ref().and_then(Consumer::timer_every_ns)
    }

    fn on_timer(&mut self, context: &mut Context<'_>) {
        if let Some(recorder) = &mut self.tape.borrow_mut().recorder {
            recorder.on_timer(context);
        }
    }
}

/// What was recorded, over all recordings of a run.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    /// Recordings that were read back.
    pub recordings: u64,
    /// Event parts read back.
    pub read: u64,
    /// Event parts that the recordings declare lost.
    pub lost: u64,
    /// Files without an end.
    pub torn: u64,
}

/// The recording under way, its writer and its disk.
pub(super) struct Recording {
    tape: Rc<RefCell<Tape>>,
    disk: SimDisk,
    facts: FileFacts,
    rotate_bytes: u64,
    writer: Writer<Records>,
    directory: PathBuf,
    /// Recordings begun.
    number: u32,
    writes_at_ns: u64,
    stands_until_ns: u64,
    rng: Rng,
    pub(super) tally: Tally,
}

impl Recording {
    pub(super) fn new(seed: u64, catalog: &Catalog) -> Self {
        let mut rng = Rng::with_seed(seed ^ 0x004e_c04d);
        let disk = SimDisk::new(seed ^ 0x4ec);
        let facts = FileFacts {
            index: 0,
            recorder: "recorder".to_owned(),
            started_at: "2023-11-14T22:13:20Z".to_owned(),
            program: "simulation".to_owned(),
            zero_unix_ns: None,
            catalog: catalog.clone(),
        };
        let tape = Tape { blocks: rng.usize(2..6), ..Tape::default() };
        let rotate_bytes = rng.u64(2_000..60_000);
        let directory = PathBuf::from("recording");
        let progress = Arc::clone(&tape.progress);
        let records = Records { disk: disk.clone(), directory: directory.clone() };
        let writer = Writer::new(records, facts.clone(), rotate_bytes, progress);
        let mut recording = Self {
            tape: Rc::new(RefCell::new(tape)),
            disk,
            facts,
            rotate_bytes,
            writer,
            directory,
            number: 0,
            writes_at_ns: 0,
            stands_until_ns: 0,
            rng,
            tally: Tally::default(),
        };
        recording.begin();
        recording
    }

    pub(super) const fn tape(&self) -> &Rc<RefCell<Tape>> {
        &self.tape
    }

    /// A new recording in a directory of its own, as at the start of a process.
    fn begin(&mut self) {
        self.number += 1;
        self.directory = PathBuf::from(format!("recording-{}", self.number));
        let tape = &mut *self.tape.borrow_mut();
        tape.progress = Arc::default();
        (tape.shown, tape.begins) = (Vec::new(), Vec::new());
        tape.inboxes.clear();
        let records = Records { disk: self.disk.clone(), directory: self.directory.clone() };
        let progress = Arc::clone(&tape.progress);
        self.writer = Writer::new(records, self.facts.clone(), self.rotate_bytes, progress);
        self.writer.begin().expect("the disk has room at a start");
    }

    /// When the writer has something to do next.
    pub(super) fn next_ns(&self) -> u64 {
        let tape = self.tape.borrow();
        let is_due = tape.inboxes.len() > 1 || tape.inboxes.front().is_some_and(Inbox::has_block);
        if is_due { self.writes_at_ns.max(self.stands_until_ns) } else { u64::MAX }
    }

    /// The writer's turn.
    pub(super) fn step(&mut self, now_ns: u64, sabotage: &mut Saboteur) {
        if now_ns < self.next_ns() {
            return;
        }
        self.tape.borrow_mut().skips |= sabotage.strikes(Sabotage::RecordLess);
        if sabotage.strikes(Sabotage::LoseWrite) {
            self.disk.lose_write();
        }
        if sabotage.strikes(Sabotage::LieSynced) {
            self.disk.lie();
        }
        self.writes_at_ns = now_ns + self.rng.u64(0..WRITE_NS_MAX);
        self.write();
    }

    /// Writes one block. Returns whether there was one.
    fn write(&mut self) -> bool {
        let tape = &mut *self.tape.borrow_mut();
        while let Some(inbox) = tape.inboxes.front_mut() {
            match self.writer.serve_one(inbox) {
                Ok(()) => return true,
                Err(NoBlock::Yet) => return false,
                Err(NoBlock::AnyMore) => drop(tape.inboxes.pop_front()),
            }
        }
        false
    }

    /// Something is wrong with the disk, or no longer. Says what.
    pub(super) fn disturb(&mut self, rng: &mut Rng, now_ns: u64) -> String {
        match rng.u8(0..6) {
            0 | 1 => {
                let room = rng.usize(0..100_000);
                self.disk.fill(room);
                format!("the recorder's disk takes {room} bytes more")
            }
            2 => {
                let room = rng.usize(0..100_000);
                self.disk.fill(room);
                self.disk.refuse_cuts();
                format!("the recorder's disk takes {room} bytes more, and cannot cut")
            }
            3 => {
                let for_ms = rng.u64(1..9_000);
                self.stands_until_ns = now_ns + for_ms * MS_NS;
                format!("the recorder's disk stands for {for_ms} ms")
            }
            _ => {
                self.calm();
                "the recorder's disk is as it should be".to_owned()
            }
        }
    }

    /// Nothing is wrong with the disk any more.
    pub(super) fn calm(&mut self) {
        self.disk.clear();
        self.stands_until_ns = 0;
    }

    /// The process that records dies, or its host; another begins a recording of its own. What the first one left is read.
    ///
    /// # Errors
    /// The promise that was broken.
    pub(super) fn crash(&mut self, crash: Crash) -> Result<(), String> {
        if self.rng.bool() {
            // In the middle of a write.
            self.disk.fill(self.rng.usize(0..30_000));
            self.disk.refuse_cuts();
            self.write();
        }
        let consumer_is_there = self.tape.borrow().recorder.is_some();
        self.tape.borrow_mut().recorder = None;
        let before = self.files();
        self.disk.crash(crash);
        self.disk.clear();
        let after = self.files();
        for (path, bytes) in before.iter().filter(|(path, bytes)| is_ended(path, bytes)) {
            if after.get(path) != Some(bytes) {
                return Err(format!("{}: was written to its end, and is not after a crash", path.display()));
            }
        }
        self.read_back(&after, false, Some((crash, &before)))?;
        self.begin();
        if consumer_is_there {
            self.tape.borrow_mut().begin();
        }
        Ok(())
    }

    /// The end of the run: the recording is closed and read.
    ///
    /// # Errors
    /// The promise that was broken.
    pub(super) fn finish(&mut self) -> Result<(), String> {
        self.calm();
        while self.write() {}
        let closes = self
            .tape
            .borrow_mut()
            .recorder
            .as_mut()
            .is_some_and(|recorder| recorder.hand_over_last(Duration::ZERO));
        while self.write() {}
        let files = self.files();
        self.read_back(&files, closes, None)?;
        if closes && !files.iter().next_back().is_some_and(|(path, bytes)| is_ended(path, bytes)) {
            return Err("a recording that was closed has no end".to_owned());
        }
        let tape = self.tape.borrow();
        let count = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
        let (written, refused) = (count(&tape.progress.parts_written), count(&tape.progress.parts_refused));
        if let (true, Some(recorder)) = (tape.begins.len() == 1 && closes, &tape.recorder) {
            let ((taken, lost), shown) = (recorder.counts(), tape.shown.len() as u64);
            if taken + lost != shown || written + refused != taken {
                return Err(format!(
                    "the recorder was shown {shown} event parts, took {taken} and lost {lost}; {written} were written and \
                     {refused} refused"
                ));
            }
        }
        Ok(())
    }

    fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let names = self.disk.names(&self.directory).expect("a simulated directory can be read");
        let read = |name: String| {
            let path = self.directory.join(name);
            let bytes = self.disk.read(&path, u64::MAX).expect("it was listed").expect("any length fits");
            (path, bytes)
        };
        names.into_iter().map(read).collect()
    }

    /// Reads a recording as `meltica replay` does, and follows what was shown: every part is there, or declared missing where
    /// it is.
    fn read_back(
        &mut self,
        files: &BTreeMap<PathBuf, Vec<u8>>,
        closes: bool,
        crash: Option<(Crash, &BTreeMap<PathBuf, Vec<u8>>)>,
    ) -> Result<(), String> {
        let paths: Vec<PathBuf> = files.keys().cloned().collect();
        let tape = self.tape.borrow();
        let power = matches!(crash, Some((Crash::Power, _)));
        let mut follower = Follower { tape: &tape, power, ..Follower::of(&tape) };
        let mut encoded = Vec::new();
        let open = |path: &Path| Ok(Cursor::new(&files[path][..]));
        let read = read_from(&paths, open, |item| match item {
            Item::Facts(_) => {}
            Item::Event(event) => {
                encoded.clear();
                put_event(event, &mut encoded);
                follower.event(print_of(&encoded));
            }
            Item::Hole(hole) => {
                if let (Hole::Torn { path, at_byte }, Some((_, before))) = (&hole, crash) {
                    let whole = before[path].iter().zip(&files[path]).take_while(|(one, other)| one == other);
                    if *at_byte > whole.count() as u64 {
                        follower.broke(format!("{}: is not whole until byte {at_byte}", path.display()));
                    }
                }
                follower.hole(&hole);
            }
        });
        let read = read.map_err(|error| format!("a recording cannot be read: {error}"))?;
        // A recorder that is gone closes nothing: its file has no end, which says so.
        if closes {
            follower.end();
        }
        let Follower { broken, lost_total, torn, .. } = follower;
        self.tally.recordings += 1;
        self.tally.read += read.parts;
        self.tally.lost += lost_total;
        self.tally.torn += torn;
        broken.map_or(Ok(()), |what| Err(format!("a recording of {} files: {what}", paths.len())))
    }
}

/// Whether a file has its last record.
fn is_ended(path: &Path, bytes: &[u8]) -> bool {
    let mut ends = true;
    let open = |_: &Path| Ok(Cursor::new(bytes));
    let read = read_from(&[path.to_owned()], open, |item| {
        ends &= !matches!(item, Item::Hole(Hole::Torn { .. }));
    });
    ends && read.is_ok()
}

/// Goes through what was shown beside what is read.
struct Follower<'a> {
    tape: &'a Tape,
    /// The host lost its power: what was not synced is gone, with nobody to say so but the cut itself.
    power: bool,
    /// The next part that was shown.
    at: usize,
    /// Declared missing from there on: parts, a recorder's restart, a cut.
    lost: u64,
    restarted: bool,
    cut: bool,
    lost_total: u64,
    torn: u64,
    broken: Option<String>,
}

impl<'a> Follower<'a> {
    const fn of(tape: &'a Tape) -> Self {
        Self {
            tape,
            power: false,
            at: 0,
            lost: 0,
            restarted: false,
            cut: false,
            lost_total: 0,
            torn: 0,
            broken: None,
        }
    }

    fn broke(&mut self, what: String) {
        self.broken.get_or_insert(what);
    }

    fn event(&mut self, print: u64) {
        let from = self.at + self.lost as usize;
        let found = if self.restarted || self.cut {
            let rest = self.tape.shown.get(from..).unwrap_or_default();
            rest.iter().position(|shown| *shown == print).map(|skipped| from + skipped)
        } else {
            (self.tape.shown.get(from) == Some(&print)).then_some(from)
        };
        let Some(found) = found else {
            let (shown, lost) = (self.tape.shown.len(), self.lost);
            return self
                .broke(format!("part {} of {shown} is another, with {lost} declared missing", self.at));
        };
        let begins = self.tape.begins.iter().any(|begin| (self.at..=found).contains(begin));
        if self.restarted && !self.cut && !begins {
            self.broke(format!("a restart is declared at part {}, where there was none", self.at));
        }
        (self.at, self.lost, self.restarted, self.cut) = (found + 1, 0, false, false);
    }

    fn hole(&mut self, hole: &Hole) {
        match hole {
            Hole::Lost(Lost { parts: 0, .. }) => self.restarted = true,
            Hole::Lost(lost) => {
                self.lost += lost.parts;
                self.lost_total += lost.parts;
            }
            // Without a power cut what a torn file lost is declared in the next one.
            Hole::Torn { .. } => {
                self.torn += 1;
                self.cut |= self.power;
            }
            Hole::Damaged { .. } | Hole::MissingFiles { .. } | Hole::NoLastFile if self.power => {
                self.cut = true;
            }
            Hole::NoLastFile => {}
            Hole::Damaged { .. } | Hole::MissingFiles { .. } => {
                self.broke(format!("{hole}, though nothing but its process ended"));
            }
        }
    }

    /// All that was shown must be read or declared by now.
    fn end(&mut self) {
        let (shown, known) = (self.tape.shown.len(), self.at + self.lost as usize);
        if !self.restarted && known != shown {
            self.broke(format!("it has or declares {known} of {shown} parts that were shown"));
        }
    }
}
