//! The recorder's thread: blocks to files, one after the other, and what to do when the disk does not take them.
//!
//! A block that cannot be written is cut off the file again and counted as lost. The count goes into the file as soon as
//! the disk takes it, before anything else: whoever reads the file learns that events are missing, where, and how many.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::Block;
use super::format::{self, End, FILE_EXTENSION, FileFacts, Lost, Tag};
use crate::consumers::handoff::{Inbox, NoBlock};

/// Where files are made.
pub trait Disk {
    /// An open file.
    type File: DiskFile;

    /// Makes a new file.
    ///
    /// # Errors
    /// What the system says; also if there is such a file already.
    fn create(&mut self, name: &str) -> io::Result<Self::File>;

    /// Makes sure that the names of the files are on the disk: without its name a file is lost, however well it was synced.
    ///
    /// # Errors
    /// What the system says.
    fn sync_names(&mut self) -> io::Result<()>;
}

/// A file that grows at its end.
pub trait DiskFile {
    /// Appends all of `bytes`, or fails having appended some.
    ///
    /// # Errors
    /// What the system says.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Cuts the file to its first `bytes`.
    ///
    /// # Errors
    /// What the system says.
    fn cut(&mut self, bytes: u64) -> io::Result<()>;

    /// Makes sure that it is on the disk.
    ///
    /// # Errors
    /// What the system says.
    fn sync(&mut self) -> io::Result<()>;
}

/// A directory of the file system.
#[derive(Debug)]
pub struct Directory(pub PathBuf);

impl Disk for Directory {
    type File = File;

    fn create(&mut self, name: &str) -> io::Result<File> {
        OpenOptions::new().append(true).create_new(true).open(self.0.join(name))
    }

    fn sync_names(&mut self) -> io::Result<()> {
        File::open(&self.0)?.sync_all()
    }
}

impl DiskFile for File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn cut(&mut self, bytes: u64) -> io::Result<()> {
        self.set_len(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

/// What the thread has done; read by the summary.
#[derive(Debug, Default)]
pub struct Progress {
    /// Event parts in the files.
    pub parts_written: AtomicU64,
    /// Bytes in the files.
    pub bytes_written: AtomicU64,
    /// Files begun.
    pub files: AtomicU64,
    /// Event parts that the disk did not take.
    pub parts_refused: AtomicU64,
    /// The disk's last refusal.
    pub error: Mutex<Option<String>>,
}

/// Writes blocks into files.
pub struct Writer<D: Disk> {
    disk: D,
    facts: FileFacts,
    rotate_bytes: u64,
    /// The open file and its whole bytes; 0: not even its head.
    file: Option<(D::File, u64)>,
    /// Event parts in the open file.
    file_parts: u64,
    /// Lost, and not yet said in a file.
    lost: Lost,
    /// A consumer went without closing: some are lost, nobody knows how many.
    lost_unknown: bool,
    /// The recorder that is served has closed the recording.
    closed: bool,
    lost_total: u64,
    progress: Arc<Progress>,
}

impl<D: Disk> Writer<D> {
    /// A writer whose first file will be the one of `facts`.
    pub fn new(disk: D, facts: FileFacts, rotate_bytes: u64, progress: Arc<Progress>) -> Self {
        Self {
            disk,
            facts,
            rotate_bytes,
            file: None,
            file_parts: 0,
            lost: Lost::default(),
            lost_unknown: false,
            closed: false,
            lost_total: 0,
            progress,
        }
    }

    /// Begins the first file, so that a disk that takes nothing is known before the start.
    ///
    /// # Errors
    /// What the system says.
    pub fn begin(&mut self) -> io::Result<()> {
        self.open()
    }

    /// Writes what one recorder hands over, until it is gone.
    pub(super) fn serve(&mut self, inbox: &mut Inbox<Box<Block>>) {
        while let Some(block) = inbox.wait() {
            self.take_from(inbox, block);
        }
        self.recorder_gone();
    }

    /// Writes one block, if there is one: for who has no thread.
    ///
    /// # Errors
    /// [`NoBlock`]
    pub fn serve_one(&mut self, inbox: &mut Inbox<Box<Block>>) -> Result<(), NoBlock> {
        match inbox.poll() {
            Ok(block) => self.take_from(inbox, block),
            Err(NoBlock::AnyMore) => {
                self.recorder_gone();
                return Err(NoBlock::AnyMore);
            }
            Err(NoBlock::Yet) => return Err(NoBlock::Yet),
        }
        Ok(())
    }

    fn take_from(&mut self, inbox: &mut Inbox<Box<Block>>, mut block: Box<Block>) {
        self.closed |= block.last;
        self.take(&mut block);
        block.clear();
        inbox.give_back(block);
    }

    /// A recorder that goes without closing panicked, or the process is going down: a next one begins after a hole.
    fn recorder_gone(&mut self) {
        self.lost_unknown |= !std::mem::take(&mut self.closed);
    }

    /// Writes one block.
    pub(super) fn take(&mut self, block: &mut Block) {
        self.lose(block.lost_before);
        if let Err(error) = self.write(block) {
            self.progress.parts_refused.fetch_add(u64::from(block.parts), Ordering::Relaxed);
            self.lose(block.as_lost());
            self.note(&error);
        }
        if block.last
            && let Err(error) = self.end(true)
        {
            self.note(&error);
        }
    }

    fn lose(&mut self, lost: Lost) {
        self.lost.add(lost);
        self.lost_total += lost.parts;
    }

    fn note(&self, error: &io::Error) {
        *self.progress.error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
    }

    fn write(&mut self, block: &mut Block) -> io::Result<()> {
        self.tell_lost()?;
        if block.parts == 0 {
            return Ok(());
        }
        let full = |bytes: u64| bytes + block.bytes.len() as u64 > self.rotate_bytes;
        if self.file_parts > 0 && self.file.as_ref().is_some_and(|(_, bytes)| full(*bytes)) {
            self.end(false)?;
        }
        self.open()?;
        block.seal();
        self.append(&block.bytes)?;
        self.file_parts += u64::from(block.parts);
        self.progress.parts_written.fetch_add(u64::from(block.parts), Ordering::Relaxed);
        Ok(())
    }

    fn tell_lost(&mut self) -> io::Result<()> {
        if self.lost_unknown {
            self.open()?;
            self.append(&format::record(Tag::Lost, &Lost::default().payload()))?;
            self.lost_unknown = false;
        }
        if !self.lost.is_none() {
            self.open()?;
            self.append(&format::record(Tag::Lost, &self.lost.payload()))?;
            self.lost = Lost::default();
        }
        Ok(())
    }

    /// Makes sure that there is a file with a whole head.
    fn open(&mut self) -> io::Result<()> {
        if self.file.is_none() {
            let file = self.disk.create(&format!("{:06}.{FILE_EXTENSION}", self.facts.index))?;
            self.progress.files.fetch_add(1, Ordering::Relaxed);
            (self.file, self.file_parts) = (Some((file, 0)), 0);
        }
        if self.file.as_ref().is_some_and(|(_, bytes)| *bytes == 0) {
            let head = self.facts.encode();
            self.append(&head)?;
        }
        Ok(())
    }

    /// Appends, or leaves the file as it was. A file that cannot even be cut is given up: its tail is torn.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (file, whole) = self.file.as_mut().expect("a file is open");
        let appended = file.append(bytes);
        if appended.is_ok() {
            *whole += bytes.len() as u64;
            self.progress.bytes_written.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        } else if file.cut(*whole).is_err() {
            self.file = None;
            self.facts.index += 1;
        }
        appended
    }

    /// Ends the open file.
    fn end(&mut self, closed: bool) -> io::Result<()> {
        if closed {
            self.tell_lost()?;
            self.open()?;
        }
        let end = End { closed, parts: self.file_parts, lost_parts: self.lost_total };
        self.append(&format::record(Tag::End, &end.payload()))?;
        if let Some((mut file, _)) = self.file.take() {
            self.facts.index += 1;
            file.sync()?;
            self.disk.sync_names()?;
        }
        Ok(())
    }
}
