//! Canonical events to disk, so that a session can be replayed: `<dir>/<run>-<name>/000000.rec` and on.
//!
//! On the shard an event is encoded into a block that was allocated at start; the [`writer`] thread does the rest. When
//! the disk stalls, blocks run out: events are then counted, and the count is written where they would have stood.
//! [`mod@format`] is the form of the files; `meltica replay --recording` reads them.

pub mod format;
#[cfg(test)]
mod tests;
pub mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use engine::consumer::{Consumer, Context};
use engine::event::Event;

use super::handoff::{BlockThread, Inbox, Outbox};
use super::{ConsumerConfig, ConsumerError, Maker, wrong_options};
use crate::machine::clock::{Clock, wall_ns};
use crate::report::utc;
use crate::topology::ConsumerOptions;
use format::{FileFacts, Lost, RECORD_HEAD_BYTES, RECORDED_BYTES_MAX, Tag};
use writer::{Directory, Disk, Progress, Writer};

/// Bytes of a block: large enough that a block is one good write, and that handing it over is rare.
const BLOCK_BYTES: usize = 256 << 10;
/// Blocks of one recorder: 16 MiB, what 50,000 events a second of 150 bytes fill in two seconds of a stalled disk.
const BLOCK_COUNT: usize = 64;
/// How long an event may wait in a block that is not full, in nanoseconds.
const FLUSH_EVERY_NS: u64 = 1_000_000_000;
/// How long the end of a run waits for the disk.
const STOP_WAIT: Duration = Duration::from_secs(10);

const _: () = assert!(BLOCK_BYTES <= format::PAYLOAD_BYTES_MAX);
const _: () = assert!(RECORDED_BYTES_MAX <= u16::MAX as usize);

/// Makes `recorder`: its directory, its first file and its thread.
///
/// # Errors
/// [`ConsumerError::Options`], [`ConsumerError::Io`]
pub fn factory(config: &ConsumerConfig) -> Result<Maker, ConsumerError> {
    let ConsumerOptions::Recorder { dir, rotate_mib } = &config.options else {
        return Err(wrong_options("recorder"));
    };
    // The report's directory has a name that no other run has, also within one second.
    let run = config
        .run_dir
        .file_name()
        .map_or_else(|| utc::file_name(config.started_at), |name| name.to_string_lossy().into_owned());
    let parent = |source| ConsumerError::Io { path: dir.clone(), source };
    std::fs::create_dir_all(dir).map_err(parent)?;
    let path = own_directory(dir, &format!("{run}-{}", config.name)).map_err(parent)?;
    let io = |source| ConsumerError::Io { path: path.clone(), source };
    on(config, Directory(path.clone()), u64::from(*rotate_mib) << 20, BLOCK_COUNT).map_err(io)
}

/// Makes a directory that nobody else has: two gateways may start within one second and record to one place.
pub(crate) fn own_directory(parent: &Path, name: &str) -> std::io::Result<PathBuf> {
    let mut path = parent.join(name);
    for number in 2.. {
        match std::fs::create_dir(&path) {
            Ok(()) => break,
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && number < 1_000 => {
                path = parent.join(format!("{name}-{number}"));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(path)
}

/// Makes a recorder on any disk.
fn on(
    config: &ConsumerConfig,
    disk: impl Disk<File: Send> + Send + 'static,
    rotate_bytes: u64,
    block_count: usize,
) -> std::io::Result<Maker> {
    let facts = FileFacts {
        index: 0,
        recorder: config.name.clone(),
        started_at: utc::text(config.started_at),
        program: env!("CARGO_PKG_VERSION").to_owned(),
        zero_unix_ns: wall_ns().checked_sub(Clock::new().now()),
        catalog: (*config.catalog).clone(),
    };
    let progress = Arc::new(Progress::default());
    let mut writer = Writer::new(disk, facts, rotate_bytes, Arc::clone(&progress));
    writer.begin()?;
    let thread = BlockThread::start(&config.name, move |inbox: &mut Inbox<Box<Block>>| writer.serve(inbox))?;
    Ok(Box::new(move || {
        Box::new(Recorder::new(thread.open(Block::many(block_count)), Arc::clone(&progress)))
    }))
}

/// Encoded events on their way to the disk.
#[derive(Debug)]
pub struct Block {
    /// Room for a record's head, then the events.
    bytes: Vec<u8>,
    parts: u32,
    /// What was lost between the block before and this one.
    lost_before: Lost,
    first_receive_ns: u64,
    last_receive_ns: u64,
    /// The recording ends with it.
    last: bool,
}

impl Block {
    /// As many as a recorder is to have.
    pub fn many(count: usize) -> Vec<Box<Self>> {
        (0..count).map(|_| Box::new(Self::new())).collect()
    }

    fn new() -> Self {
        let mut block = Self {
            bytes: Vec::with_capacity(BLOCK_BYTES),
            parts: 0,
            lost_before: Lost::default(),
            first_receive_ns: 0,
            last_receive_ns: 0,
            last: false,
        };
        block.clear();
        block
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.extend_from_slice(&[0; RECORD_HEAD_BYTES]);
        (self.parts, self.lost_before, self.last) = (0, Lost::default(), false);
    }

    #[inline]
    fn put(&mut self, event: &Event) {
        format::put_event(event, &mut self.bytes);
        let receive_ns = event.header.receive_time.ns();
        if self.parts == 0 {
            self.first_receive_ns = receive_ns;
        }
        self.last_receive_ns = receive_ns;
        self.parts += 1;
    }

    fn is_full(&self) -> bool {
        self.bytes.len() + RECORDED_BYTES_MAX > BLOCK_BYTES
    }

    fn seal(&mut self) {
        format::seal(&mut self.bytes, Tag::Events, self.parts);
    }

    /// What is lost when it cannot be written.
    fn as_lost(&self) -> Lost {
        Lost {
            parts: u64::from(self.parts),
            first_receive_ns: self.first_receive_ns,
            last_receive_ns: self.last_receive_ns,
        }
    }
}

/// Records all that it is shown.
#[derive(Debug)]
pub struct Recorder {
    outbox: Outbox<Box<Block>>,
    block: Option<Box<Block>>,
    /// Lost since the last block that told of it.
    lost: Lost,
    lost_total: u64,
    recorded_total: u64,
    closed: bool,
    progress: Arc<Progress>,
}

impl Recorder {
    /// One whose blocks go through `outbox` to a writer that notes its progress.
    pub fn new(outbox: Outbox<Box<Block>>, progress: Arc<Progress>) -> Self {
        Self {
            outbox,
            block: None,
            lost: Lost::default(),
            lost_total: 0,
            recorded_total: 0,
            closed: false,
            progress,
        }
    }

    /// Event parts taken, and those lost for want of a block.
    pub const fn counts(&self) -> (u64, u64) {
        (self.recorded_total, self.lost_total)
    }

    /// Hands over the block that closes the recording, if one can be had within this time.
    pub fn hand_over_last(&mut self, wait: Duration) -> bool {
        let block = self.block.take().or_else(|| {
            let mut block = self.outbox.wait_for_block(wait)?;
            block.lost_before = std::mem::take(&mut self.lost);
            Some(block)
        });
        let Some(mut block) = block else { return false };
        block.last = true;
        self.outbox.hand_over(block);
        true
    }

    /// The next block, if one is free; it tells what was lost before it.
    #[cold]
    fn next_block(&mut self) -> Option<Box<Block>> {
        let mut block = self.outbox.take()?;
        block.lost_before = std::mem::take(&mut self.lost);
        Some(block)
    }

    #[cold]
    fn lose(&mut self, event: &Event) {
        self.lost.add_event(event);
        self.lost_total += 1;
    }
}

impl Consumer for Recorder {
    fn on_event(&mut self, event: &Event, _: &mut Context<'_>) {
        let mut block = match self.block.take() {
            Some(block) => block,
            None => match self.next_block() {
                Some(block) => block,
                None => return self.lose(event),
            },
        };
        block.put(event);
        self.recorded_total += 1;
        if block.is_full() {
            self.outbox.hand_over(block);
        } else {
            self.block = Some(block);
        }
    }

    fn timer_every_ns(&self) -> Option<u64> {
        Some(FLUSH_EVERY_NS)
    }

    fn on_timer(&mut self, _: &mut Context<'_>) {
        if let Some(block) = self.block.take() {
            self.outbox.hand_over(block);
        }
    }

    fn on_stop(&mut self, _: &mut Context<'_>) {
        self.closed = self.hand_over_last(STOP_WAIT) && self.outbox.wait_until_written(STOP_WAIT);
    }

    fn summary(&self) -> Vec<(String, String)> {
        let count = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
        let Progress { parts_written, bytes_written, files, parts_refused, error } = &*self.progress;
        let mut facts = vec![
            ("taken_parts".to_owned(), self.recorded_total.to_string()),
            ("written_parts".to_owned(), count(parts_written).to_string()),
            ("written_bytes".to_owned(), count(bytes_written).to_string()),
            ("files".to_owned(), count(files).to_string()),
            ("lost_parts".to_owned(), (self.lost_total + count(parts_refused)).to_string()),
            ("closed".to_owned(), self.closed.to_string()),
        ];
        if let Some(error) = &*error.lock().unwrap_or_else(PoisonError::into_inner) {
            facts.push(("disk_error".to_owned(), error.clone()));
        }
        facts
    }
}
