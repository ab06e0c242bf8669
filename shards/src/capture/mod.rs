//! Raw frames and REST bodies of a provider to disk, as they came, in the form that `meltica replay` reads.
//!
//! On the shard a message is copied into blocks that were allocated at start; the [`writer`] thread makes files of them. When
//! the disk stalls, blocks run out: messages are then not kept, and counted. Nothing here knows what a message means.

pub mod writer;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use engine::ids::LineId;
use serde_json::{Value, json};

use crate::consumers::handoff::{BlockThread, Inbox, Outbox};
use crate::consumers::own_directory;
use crate::machine::http::RequestId;
use crate::report::utc;
use crate::topology::CapturePlan;
use crate::topology::memory::{CAPTURE_BLOCK_BYTES, CAPTURE_BLOCK_COUNT};
use writer::{Progress, Writer};

/// How long a message may wait in a block that is not full, in nanoseconds.
const FLUSH_EVERY_NS: u64 = 1_000_000_000;
/// How long the end of a run waits for the disk.
const STOP_WAIT: Duration = Duration::from_secs(1);

/// What stands before each message in the blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    what: What,
    /// Connection of a frame.
    line: u8,
    /// Of the process' monotonic clock.
    receive_ns: u64,
    /// Bytes of the request's path, before those of the payload.
    path_bytes: u16,
    /// Bytes of the payload; of `Lost`, how many were lost.
    payload_bytes: u32,
}

/// What follows a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// A connection stands, and its frames begin anew.
    Opened,
    /// The connection is gone.
    Ended,
    Frame,
    Answer,
    /// The instrument list: what follows cannot be read without it.
    List,
    /// Messages before this one found no block.
    Lost,
    /// The run ends: every file is complete when the block comes back.
    Finished,
}

const HEAD_BYTES: usize = 16;

impl Head {
    fn to_bytes(self) -> [u8; HEAD_BYTES] {
        let mut bytes = [0; HEAD_BYTES];
        bytes[0] = match self.what {
            What::Opened => 0,
            What::Frame => 1,
            What::Answer => 2,
            What::List => 3,
            What::Lost => 4,
            What::Ended => 5,
            What::Finished => 6,
        };
        bytes[1] = self.line;
        bytes[2..4].copy_from_slice(&self.path_bytes.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.payload_bytes.to_le_bytes());
        bytes[8..].copy_from_slice(&self.receive_ns.to_le_bytes());
        bytes
    }

    fn read(bytes: &[u8; HEAD_BYTES]) -> Self {
        let [what, line, p0, p1, b0, b1, b2, b3, time @ ..] = *bytes;
        let what = match what {
            0 => What::Opened,
            1 => What::Frame,
            2 => What::Answer,
            3 => What::List,
            5 => What::Ended,
            6 => What::Finished,
            _ => What::Lost,
        };
        Self {
            what,
            line,
            receive_ns: u64::from_le_bytes(time),
            path_bytes: u16::from_le_bytes([p0, p1]),
            payload_bytes: u32::from_le_bytes([b0, b1, b2, b3]),
        }
    }
}

/// What a provider has kept and lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CaptureCounts {
    /// Frames handed to the writer.
    pub frames_total: u64,
    /// REST bodies handed to the writer.
    pub answers_total: u64,
    /// Messages that found no free block.
    pub lost_total: u64,
}

/// The shard's end of one provider's capture.
pub struct Tap {
    outbox: Outbox<Vec<u8>>,
    block: Option<Vec<u8>>,
    /// Lost, and not yet said in the stream.
    lost: u32,
    counts: CaptureCounts,
    /// Paths of the requests under way.
    requests: Vec<(RequestId, String)>,
    flush_at_ns: u64,
    directory: PathBuf,
    progress: Arc<Progress>,
}

impl fmt::Debug for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tap").field("counts", &self.counts).finish_non_exhaustive()
    }
}

impl Tap {
    /// Makes the directory of this run and starts the writer; call it before the shard's thread is pinned.
    ///
    /// `wall_ns` and `now_ns` are one moment by the wall clock and by the shards' clock: files have the former.
    ///
    /// # Errors
    /// What the system says of the directory or the thread.
    pub fn start(
        plan: &CapturePlan,
        provider: &str,
        started_at: SystemTime,
        (wall_ns, now_ns): (u64, u64),
    ) -> std::io::Result<Self> {
        std::fs::create_dir_all(&plan.dir)?;
        let name = format!("{}-{provider}", utc::file_name(started_at));
        let directory = own_directory(&plan.dir, &name)?;
        let progress = Arc::new(Progress::default());
        let rotate_bytes = u64::from(plan.rotate_mib) << 20;
        let offset_ns = wall_ns.saturating_sub(now_ns);
        let mut writer = Writer::new(
            directory.clone(),
            rotate_bytes,
            plan.keep as usize,
            offset_ns,
            Arc::clone(&progress),
        );
        writer.begin()?;
        let name = format!("capture-{provider}");
        let thread = BlockThread::start(&name, move |inbox: &mut Inbox<Vec<u8>>| writer.serve(inbox))?;
        Ok(Self::over(&thread, CAPTURE_BLOCK_COUNT, directory, progress))
    }

    fn over(
        thread: &BlockThread<Vec<u8>>,
        block_count: usize,
        directory: PathBuf,
        progress: Arc<Progress>,
    ) -> Self {
        let blocks = (0..block_count).map(|_| Vec::with_capacity(CAPTURE_BLOCK_BYTES)).collect();
        Self {
            outbox: thread.open(blocks),
            block: None,
            lost: 0,
            counts: CaptureCounts::default(),
            requests: Vec::new(),
            flush_at_ns: u64::MAX,
            directory,
            progress,
        }
    }

    /// Where its files are.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// A connection stands: its next frame is the first one.
    pub fn opened(&mut self, line: LineId, now_ns: u64) {
        self.put(What::Opened, line, now_ns, "", &[]);
    }

    /// A connection is gone.
    pub fn ended(&mut self, line: LineId, now_ns: u64) {
        self.put(What::Ended, line, now_ns, "", &[]);
    }

    /// A text frame, before anything has touched it.
    #[inline]
    pub fn frame(&mut self, line: LineId, receive_ns: u64, payload: &[u8]) {
        let kept = self.put(What::Frame, line, receive_ns, "", payload);
        self.counts.frames_total += u64::from(kept);
    }

    /// A request has left.
    pub fn asked(&mut self, request: RequestId, path: &str) {
        self.requests.push((request, path.to_owned()));
    }

    /// A request has ended: with a body of status 200, or without one.
    pub fn answered(&mut self, request: RequestId, body: Option<&[u8]>, list_path: &str, now_ns: u64) {
        let Some(at) = self.requests.iter().position(|(known, _)| *known == request) else { return };
        let (_, path) = self.requests.swap_remove(at);
        let Some(body) = body else { return };
        let what = if path == list_path { What::List } else { What::Answer };
        let kept = self.put(what, LineId(0), now_ns, &path, body);
        self.counts.answers_total += u64::from(kept);
    }

    /// Hands over what waits for long enough.
    pub fn flush(&mut self, now_ns: u64) {
        if now_ns >= self.flush_at_ns {
            self.hand_over();
        }
    }

    /// When [`flush`](Self::flush) has something to do.
    pub const fn deadline_ns(&self) -> u64 {
        self.flush_at_ns
    }

    /// Hands over the rest and waits for the disk, for a second at most. What it came to, for `report.json`.
    pub fn finish(&mut self) -> Value {
        if self.outbox.available() == 0 {
            // Room for the end, and for saying what was lost last.
            self.hand_over();
            self.block = self.outbox.wait_for_block(STOP_WAIT);
        }
        self.put(What::Finished, LineId(0), 0, "", &[]);
        self.hand_over();
        let written = self.outbox.wait_until_written(STOP_WAIT);
        let progress = &self.progress;
        let refused_total = progress.refused_total.load(Ordering::Acquire);
        let error = progress.error.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        json!({
            "dir": self.directory.display().to_string(),
            "frames_total": self.counts.frames_total,
            "answers_total": self.counts.answers_total,
            "lost_total": self.counts.lost_total,
            "refused_by_disk_total": refused_total,
            "files_total": progress.files_total.load(Ordering::Acquire),
            "bytes_written": progress.bytes_written.load(Ordering::Acquire),
            "complete": written && refused_total == 0 && self.counts.lost_total == 0,
            "error": error,
        })
    }

    /// Copies a message into the blocks, whole or not at all.
    #[inline]
    fn put(&mut self, what: What, line: LineId, receive_ns: u64, path: &str, payload: &[u8]) -> bool {
        let lost_bytes = if self.lost > 0 { HEAD_BYTES } else { 0 };
        let bytes = lost_bytes + HEAD_BYTES + path.len() + payload.len();
        let room = self.block.as_ref().map_or(0, |block| CAPTURE_BLOCK_BYTES - block.len());
        let fits = u16::try_from(path.len()).is_ok() && u32::try_from(payload.len()).is_ok();
        if !fits || (bytes > room && bytes > room + self.outbox.available() * CAPTURE_BLOCK_BYTES) {
            self.lost = self.lost.saturating_add(1);
            self.counts.lost_total += 1;
            return false;
        }
        self.say_lost();
        let path_bytes = path.len() as u16;
        let head = Head { what, line: line.0, receive_ns, path_bytes, payload_bytes: payload.len() as u32 };
        self.write(&head.to_bytes());
        self.write(path.as_bytes());
        self.write(payload);
        if self.flush_at_ns == u64::MAX {
            self.flush_at_ns = receive_ns + FLUSH_EVERY_NS;
        }
        true
    }

    fn say_lost(&mut self) {
        if self.lost == 0 {
            return;
        }
        let head = Head { what: What::Lost, line: 0, receive_ns: 0, path_bytes: 0, payload_bytes: self.lost };
        self.lost = 0;
        self.write(&head.to_bytes());
    }

    /// Room was looked for before.
    #[inline]
    fn write(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.block.is_none() {
                self.block = self.outbox.take();
            }
            let Some(block) = &mut self.block else { return };
            let count = bytes.len().min(CAPTURE_BLOCK_BYTES - block.len());
            block.extend_from_slice(&bytes[..count]);
            bytes = &bytes[count..];
            if block.len() == CAPTURE_BLOCK_BYTES {
                self.hand_over();
            }
        }
    }

    fn hand_over(&mut self) {
        self.flush_at_ns = u64::MAX;
        if let Some(block) = self.block.take() {
            self.outbox.hand_over(block);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_survives_its_bytes() {
        for what in
            [What::Opened, What::Ended, What::Frame, What::Answer, What::List, What::Lost, What::Finished]
        {
            let head =
                Head { what, line: 7, receive_ns: u64::MAX - 3, path_bytes: 513, payload_bytes: 70_000 };
            assert_eq!(Head::read(&head.to_bytes()), head);
        }
    }

    #[test]
    fn what_finds_no_block_is_lost_whole_and_said_where_it_was() {
        let (release, held) = std::sync::mpsc::channel::<()>();
        let (send, written) = std::sync::mpsc::channel();
        let thread = BlockThread::start("capture-test", move |inbox: &mut Inbox<Vec<u8>>| {
            held.recv().expect("the test releases it");
            while let Some(mut block) = inbox.wait() {
                send.send(block.clone()).expect("the test listens");
                block.clear();
                inbox.give_back(block);
            }
        })
        .expect("a thread");
        let mut tap = Tap::over(&thread, 2, PathBuf::new(), Arc::new(Progress::default()));
        let long = vec![b'x'; CAPTURE_BLOCK_BYTES];
        tap.frame(LineId(1), 5, &long); // a block and a head
        tap.frame(LineId(1), 6, &long); // no room for all of it
        tap.frame(LineId(1), 7, &long);
        assert_eq!(tap.counts, CaptureCounts { frames_total: 1, answers_total: 0, lost_total: 2 });
        release.send(()).expect("the thread waits");
        tap.frame(LineId(2), 8, b"{}");
        tap.finish();
        drop(tap);
        drop(thread);
        let stream: Vec<u8> = written.iter().flatten().collect();
        let head = |at: usize| Head::read(stream[at..at + HEAD_BYTES].try_into().expect("a head"));
        assert_eq!((head(0).what, head(0).payload_bytes as usize), (What::Frame, CAPTURE_BLOCK_BYTES));
        let lost = HEAD_BYTES + CAPTURE_BLOCK_BYTES;
        assert_eq!((head(lost).what, head(lost).payload_bytes), (What::Lost, 2));
        let last = lost + HEAD_BYTES;
        assert_eq!((head(last).line, head(last).receive_ns), (2, 8));
        let end = last + HEAD_BYTES + 2;
        assert_eq!(&stream[last + HEAD_BYTES..end], b"{}");
        assert_eq!((head(end).what, end + HEAD_BYTES), (What::Finished, stream.len()));
    }
}
