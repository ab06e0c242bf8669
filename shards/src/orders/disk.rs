//! What a journal asks of a file system, and the machine's.
//!
//! Two parts, because a journal has two lives: [`Files`] is for the start and the end, where waiting is in order, and [`Writes`]
//! goes on beside the turns of a shard. A simulation has a file system of its own behind both, that fills up, tears and forgets.

use std::fs::{File, TryLockError};
use std::future::Future;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use crate::machine::executor::{TaskHandle, Tasks, file_io};

/// How long the last sync of one journal may take. Three providers of one shard stay within its time to end.
const SYNC_MAX: Duration = Duration::from_millis(300);

/// Files at the start and at the end of a run; each call waits.
pub trait Files: Clone {
    /// A directory is this process' alone while this lives.
    type Lock;

    /// Makes a directory, and those above it, if it is not there.
    ///
    /// # Errors
    /// What the system says.
    fn make_directory(&self, path: &Path) -> io::Result<()>;

    /// Takes the lock at `path`; `None` if another process has it.
    ///
    /// # Errors
    /// What the system says.
    fn lock(&self, path: &Path) -> io::Result<Option<Self::Lock>>;

    /// The names in a directory, in no order.
    ///
    /// # Errors
    /// What the system says.
    fn names(&self, directory: &Path) -> io::Result<Vec<String>>;

    /// All of a file, if it is not longer than `bytes_max`; else its length.
    ///
    /// # Errors
    /// What the system says.
    fn read(&self, path: &Path, bytes_max: u64) -> io::Result<Result<Vec<u8>, u64>>;

    /// Cuts a file at `at`, on the disk when this returns.
    ///
    /// # Errors
    /// What the system says.
    fn cut(&self, path: &Path, at: u64) -> io::Result<()>;

    /// A file with these bytes, whole or not at all, on the disk when this returns.
    ///
    /// # Errors
    /// What the system says.
    fn put(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;

    /// The last bytes of a file, from `at` on; waits only so long for the disk to have them.
    ///
    /// # Errors
    /// What the system says, or that the disk took too long.
    fn end(&self, path: &Path, bytes: &[u8], at: u64) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// What the system says.
    fn remove(&self, path: &Path) -> io::Result<()>;
}

/// Files beside the turns of a shard.
pub trait Writes: Clone + 'static {
    /// The same file system, for what waits.
    type Files: Files;
    /// An open file.
    type File: 'static;

    /// Opens a file that is there.
    fn open(&self, path: PathBuf) -> impl Future<Output = io::Result<Self::File>> + 'static;

    /// Makes an empty file.
    fn create(&self, path: PathBuf) -> impl Future<Output = io::Result<Self::File>> + 'static;

    /// Writes at `at`; returns how many bytes of the buffer the kernel took.
    fn write(
        &self,
        file: Rc<Self::File>,
        bytes: Vec<u8>,
        at: u64,
    ) -> impl Future<Output = io::Result<usize>> + 'static;

    /// Waits until the disk has the file's bytes.
    fn sync(&self, file: Rc<Self::File>) -> impl Future<Output = io::Result<()>> + 'static;

    /// Gives a file another name; the disk has the name when this returns.
    fn rename(&self, from: PathBuf, to: PathBuf) -> impl Future<Output = io::Result<()>> + 'static;

    /// Lets go of a file.
    fn close(&self, file: Self::File) -> impl Future<Output = ()> + 'static;

    /// Runs `task` beside the turns.
    fn spawn<T: 'static>(&self, task: impl Future<Output = T> + 'static) -> TaskHandle<T>;
}

/// The name of a file that is being made.
pub fn temporary(path: &Path) -> PathBuf {
    path.with_extension("journal.tmp")
}

/// The machine's file system.
#[derive(Clone, Copy, Debug)]
pub struct Machine;

impl Files for Machine {
    type Lock = File;

    fn make_directory(&self, path: &Path) -> io::Result<()> {
        std::fs::create_dir_all(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<File>> {
        let lock = File::options().create(true).truncate(false).write(true).open(path)?;
        match lock.try_lock() {
            Ok(()) => Ok(Some(lock)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn names(&self, directory: &Path) -> io::Result<Vec<String>> {
        let names = std::fs::read_dir(directory)?.map(|entry| entry.map(|entry| entry.file_name()));
        let names = names.collect::<io::Result<Vec<_>>>()?;
        Ok(names.into_iter().filter_map(|name| name.into_string().ok()).collect())
    }

    fn read(&self, path: &Path, bytes_max: u64) -> io::Result<Result<Vec<u8>, u64>> {
        let bytes = std::fs::metadata(path)?.len();
        if bytes > bytes_max { Ok(Err(bytes)) } else { std::fs::read(path).map(Ok) }
    }

    fn cut(&self, path: &Path, at: u64) -> io::Result<()> {
        let file = File::options().write(true).open(path)?;
        file.set_len(at)?;
        file.sync_all()
    }

    fn put(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let made = temporary(path);
        let mut file = File::create(&made)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&made, path)?;
        File::open(directory_of(path))?.sync_all()
    }

    fn end(&self, path: &Path, bytes: &[u8], at: u64) -> io::Result<()> {
        let file = File::options().write(true).open(path)?;
        file.write_all_at(bytes, at)?;
        sync_soon(file)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }
}

fn directory_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("."))
}

/// Brings a file to the disk, on a thread of its own: a disk that is busy with others' writes takes seconds, and the shard
/// has other providers to end.
fn sync_soon(file: File) -> io::Result<()> {
    let (done, answer) = std::sync::mpsc::channel();
    std::thread::Builder::new().name("journal-sync".to_owned()).spawn(move || {
        let _ = done.send(file.sync_all()); // nobody waits for it any more
    })?;
    answer.recv_timeout(SYNC_MAX).unwrap_or_else(|_| {
        Err(io::Error::other(format!(
            "all is written, but the disk did not confirm it within {} ms: only a power cut can still lose it",
            SYNC_MAX.as_millis()
        )))
    })
}

/// The system's words, without the executor's own type.
fn said<T>(result: Result<T, impl std::fmt::Display>) -> io::Result<T> {
    result.map_err(|error| io::Error::other(error.to_string()))
}

#[allow(
    clippy::manual_async_fn,
    reason = "an async fn would keep the borrow of self for as long as the file is under way"
)]
impl Writes for Tasks {
    type Files = Machine;
    type File = file_io::BufferedFile;

    fn open(&self, path: PathBuf) -> impl Future<Output = io::Result<Self::File>> + 'static {
        async move { said(file_io::OpenOptions::new().write(true).buffered_open(&path).await) }
    }

    fn create(&self, path: PathBuf) -> impl Future<Output = io::Result<Self::File>> + 'static {
        async move { said(file_io::BufferedFile::create(&path).await) }
    }

    fn write(
        &self,
        file: Rc<Self::File>,
        bytes: Vec<u8>,
        at: u64,
    ) -> impl Future<Output = io::Result<usize>> + 'static {
        async move { said(file.write_at(bytes, at).await) }
    }

    fn sync(&self, file: Rc<Self::File>) -> impl Future<Output = io::Result<()>> + 'static {
        async move { said(file.fdatasync().await) }
    }

    fn rename(&self, from: PathBuf, to: PathBuf) -> impl Future<Output = io::Result<()>> + 'static {
        async move {
            said(file_io::rename(&from, &to).await)?;
            let directory = said(file_io::Directory::open(directory_of(&to)).await)?;
            let synced = said(directory.sync().await);
            said(directory.close().await)?;
            synced
        }
    }

    fn close(&self, file: Self::File) -> impl Future<Output = ()> + 'static {
        async move {
            let _ = file.close().await; // what it holds stands elsewhere as well
        }
    }

    fn spawn<T: 'static>(&self, task: impl Future<Output = T> + 'static) -> TaskHandle<T> {
        Self::spawn(self, task)
    }
}
