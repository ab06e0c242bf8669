//! The same file system under a recorder, whose thread waits for each write.

use std::io;
use std::path::PathBuf;

use shards::consumers::recorder::writer::{Disk, DiskFile};

use super::SimDisk;

/// A directory that one recording writes into.
#[derive(Debug)]
pub struct Records {
    /// The file system.
    pub disk: SimDisk,
    /// The directory.
    pub directory: PathBuf,
}

/// One of its files.
#[derive(Debug)]
pub struct RecordFile {
    disk: SimDisk,
    inode: usize,
}

impl Disk for Records {
    type File = RecordFile;

    fn create(&mut self, name: &str) -> io::Result<RecordFile> {
        let path = self.directory.join(name);
        let state = &mut *self.disk.0.borrow_mut();
        if state.names.contains_key(&path) {
            return Err(io::Error::from(io::ErrorKind::AlreadyExists));
        }
        let inode = state.make(&path);
        Ok(RecordFile { disk: self.disk.clone(), inode })
    }

    fn sync_names(&mut self) -> io::Result<()> {
        let state = &mut *self.disk.0.borrow_mut();
        if !state.lies {
            state.sync_names();
        }
        Ok(())
    }
}

impl DiskFile for RecordFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let state = &mut *self.disk.0.borrow_mut();
        if std::mem::take(&mut state.loses_write) {
            return Ok(());
        }
        let taken = state.take_room(bytes.len())?;
        let at = state.inodes[self.inode].bytes.len();
        state.put_at(self.inode, at, &bytes[..taken]);
        if taken < bytes.len() { Err(io::Error::from(io::ErrorKind::StorageFull)) } else { Ok(()) }
    }

    fn cut(&mut self, bytes: u64) -> io::Result<()> {
        let state = &mut *self.disk.0.borrow_mut();
        if state.refuses_cuts {
            return Err(io::Error::from(io::ErrorKind::ReadOnlyFilesystem));
        }
        let file = &mut state.inodes[self.inode];
        let freed = file.bytes.len() - bytes as usize;
        file.bytes.truncate(bytes as usize);
        file.synced = file.synced.min(file.bytes.len());
        if let Some(room) = &mut state.room {
            *room += freed;
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let state = &mut *self.disk.0.borrow_mut();
        if !state.lies {
            let file = &mut state.inodes[self.inode];
            file.synced = file.bytes.len();
        }
        Ok(())
    }
}
