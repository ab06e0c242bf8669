//! A simulated file system under a journal: it takes its time, fills up, tears what it was writing, and forgets on a power cut
//! what nobody waited for. Chance is its own, by seed.
//!
//! A process that dies (`kill -9`) leaves everything that the kernel had, and a part of the write that was under way. A power cut
//! leaves what was synced; of the rest of a file some first part, sometimes with zeros where the bytes should be; of names that
//! were given without syncing their directory the first few.

pub mod records;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::future::{Future, poll_fn};
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use fastrand::Rng;
use shards::machine::executor::TaskHandle;
use shards::orders::disk::{Files, Writes, temporary};

/// Longest time that a write, a sync or a change of names takes, in nanoseconds.
const STEP_NS_MAX: u64 = 5_000_000;
/// Polls of one instant after which its tasks do nothing but poll.
const POLLS_AT_ONCE_MAX: usize = 1_000;

/// A file, whatever its names are.
#[derive(Clone, Debug, Default)]
struct Inode {
    /// As the kernel has it.
    bytes: Vec<u8>,
    /// How much of it the disk has for sure.
    synced: usize,
}

/// A change of the names in the directory.
#[derive(Clone, Debug)]
enum Change {
    Link(PathBuf, usize),
    Unlink(PathBuf),
}

type Names = BTreeMap<PathBuf, usize>;
type Task = Pin<Box<dyn Future<Output = ()>>>;

struct State {
    now_ns: u64,
    rng: Rng,
    inodes: Vec<Inode>,
    /// As the kernel has them, as the disk has them for sure, and what lies between.
    names: Names,
    synced_names: Names,
    changes: Vec<Change>,
    /// Bytes that may still be written; `None` for any number.
    room: Option<usize>,
    /// The next file that is put stays half made: the process dies there.
    dies_at_put: bool,
    /// It says that it has what it has not.
    lies: bool,
    /// The next write of a recorder is said to be done, and is not.
    loses_write: bool,
    /// Files cannot be made shorter.
    refuses_cuts: bool,
    locked: BTreeSet<PathBuf>,
    tasks: Vec<Task>,
    busy_until_ns: u64,
    /// The write under way: file, offset, bytes.
    under_way: Option<(usize, usize, Vec<u8>)>,
}

/// How a process, or its host, ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// `kill -9`: the kernel goes on.
    Kill,
    /// The host loses its power.
    Power,
}

/// The file system; clones are the same one.
#[derive(Clone)]
pub struct SimDisk(Rc<RefCell<State>>);

impl std::fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimDisk").field("names", &self.0.borrow().names).finish_non_exhaustive()
    }
}

impl SimDisk {
    /// An empty one.
    pub fn new(seed: u64) -> Self {
        Self(Rc::new(RefCell::new(State {
            now_ns: 0,
            rng: Rng::with_seed(seed ^ 0xd15c),
            inodes: Vec::new(),
            names: Names::new(),
            synced_names: Names::new(),
            changes: Vec::new(),
            room: None,
            dies_at_put: false,
            lies: false,
            loses_write: false,
            refuses_cuts: false,
            locked: BTreeSet::new(),
            tasks: Vec::new(),
            busy_until_ns: 0,
            under_way: None,
        })))
    }

    /// Lets the tasks go on as far as they come until `now_ns`.
    ///
    /// # Panics
    /// If one of them never waits.
    pub fn run(&self, now_ns: u64) {
        self.0.borrow_mut().now_ns = now_ns;
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..POLLS_AT_ONCE_MAX {
            // Taken out: a task borrows the disk while it runs.
            let mut tasks = std::mem::take(&mut self.0.borrow_mut().tasks);
            let before = tasks.len();
            tasks.retain_mut(|task| task.as_mut().poll(&mut context).is_pending());
            let ended = before - tasks.len();
            self.0.borrow_mut().tasks.extend(tasks);
            if ended == 0 {
                return;
            }
        }
        panic!("tasks of the disk end and begin without end");
    }

    /// From now on so many bytes can be written.
    pub fn fill(&self, room: usize) {
        self.0.borrow_mut().room = Some(room);
    }

    /// There is room again, and files can be cut.
    pub fn clear(&self) {
        let state = &mut *self.0.borrow_mut();
        (state.room, state.refuses_cuts) = (None, false);
    }

    /// From now on a recorder's files cannot be made shorter.
    pub fn refuse_cuts(&self) {
        self.0.borrow_mut().refuses_cuts = true;
    }

    /// The next write of a recorder is said to be done, and is not: to see that the checks notice.
    pub fn lose_write(&self) {
        self.0.borrow_mut().loses_write = true;
    }

    /// The next file that is put at a start stays half made, and the start fails.
    pub fn die_at_put(&self) {
        self.0.borrow_mut().dies_at_put = true;
    }

    /// From now on it says of a sync that it is done, and does nothing: to see that the checks notice.
    pub fn lie(&self) {
        self.0.borrow_mut().lies = true;
    }

    /// The process ends, or its host does. Whatever holds a lock or a file of it must be gone.
    pub fn crash(&self, crash: Crash) {
        let tasks = std::mem::take(&mut self.0.borrow_mut().tasks);
        drop(tasks);
        let state = &mut *self.0.borrow_mut();
        state.locked.clear();
        if let Some((inode, at, bytes)) = state.under_way.take() {
            let torn = state.rng.usize(0..=bytes.len());
            state.put_at(inode, at, &bytes[..torn]);
        }
        if crash == Crash::Power {
            state.lose_power();
        }
    }

    /// Whether the disk has these bytes for sure, in a file that it has a name for.
    pub fn has(&self, text: &[u8]) -> bool {
        let state = self.0.borrow();
        let on_disk = |inode: &usize| {
            let Inode { bytes, synced } = &state.inodes[*inode];
            bytes[..*synced].windows(text.len()).any(|bytes| bytes == text)
        };
        state.synced_names.values().any(on_disk)
    }

    /// How long the step that begins now takes: steps go one after the other.
    fn step(&self) -> impl Future<Output = ()> + 'static + use<> {
        let disk = self.clone();
        let at_ns = {
            let state = &mut *self.0.borrow_mut();
            let took_ns = state.rng.u64(0..=STEP_NS_MAX);
            state.busy_until_ns = state.busy_until_ns.max(state.now_ns) + took_ns;
            state.busy_until_ns
        };
        poll_fn(move |_| if disk.0.borrow().now_ns >= at_ns { Poll::Ready(()) } else { Poll::Pending })
    }
}

impl State {
    fn put_at(&mut self, inode: usize, at: usize, bytes: &[u8]) {
        let file = &mut self.inodes[inode].bytes;
        assert!(at <= file.len(), "a journal leaves no hole: at {at} of {}", file.len());
        file.truncate(at);
        file.extend_from_slice(bytes);
    }

    /// Takes as much of the room as there is, at most `wanted`.
    fn take_room(&mut self, wanted: usize) -> io::Result<usize> {
        let Some(room) = &mut self.room else { return Ok(wanted) };
        if *room == 0 && wanted > 0 {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        let taken = wanted.min(*room);
        *room -= taken;
        Ok(taken)
    }

    fn make(&mut self, path: &Path) -> usize {
        self.inodes.push(Inode::default());
        let inode = self.inodes.len() - 1;
        self.change(Change::Link(path.to_owned(), inode));
        inode
    }

    fn change(&mut self, change: Change) {
        apply(&mut self.names, &change);
        self.changes.push(change);
    }

    fn sync_names(&mut self) {
        self.synced_names = self.names.clone();
        self.changes.clear();
    }

    fn lose_power(&mut self) {
        let kept = self.rng.usize(0..=self.changes.len());
        for change in self.changes.drain(..).take(kept) {
            apply(&mut self.synced_names, &change);
        }
        self.names = self.synced_names.clone();
        for Inode { bytes, synced } in &mut self.inodes {
            let kept = self.rng.usize(*synced..=bytes.len());
            if self.rng.u8(0..3) == 0 {
                bytes[kept..].fill(0); // its length was written, its bytes were not
            } else {
                bytes.truncate(kept);
            }
            *synced = bytes.len();
        }
    }

    fn inode(&self, path: &Path) -> io::Result<usize> {
        self.names.get(path).copied().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }
}

fn apply(names: &mut Names, change: &Change) {
    match change {
        Change::Link(path, inode) => {
            // A file has one name here: another one takes its place.
            names.retain(|_, of| of != inode);
            names.insert(path.clone(), *inode);
        }
        Change::Unlink(path) => {
            names.remove(path);
        }
    }
}

/// A lock that was taken.
#[derive(Debug)]
pub struct Locked {
    disk: SimDisk,
    path: PathBuf,
}

impl Drop for Locked {
    fn drop(&mut self) {
        self.disk.0.borrow_mut().locked.remove(&self.path);
    }
}

impl Files for SimDisk {
    type Lock = Locked;

    fn make_directory(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Locked>> {
        let is_free = self.0.borrow_mut().locked.insert(path.to_owned());
        Ok(is_free.then(|| Locked { disk: self.clone(), path: path.to_owned() }))
    }

    fn names(&self, directory: &Path) -> io::Result<Vec<String>> {
        let state = self.0.borrow();
        let here = state.names.keys().filter(|path| path.parent() == Some(directory));
        Ok(here.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
    }

    fn read(&self, path: &Path, bytes_max: u64) -> io::Result<Result<Vec<u8>, u64>> {
        let state = self.0.borrow();
        let bytes = &state.inodes[state.inode(path)?].bytes;
        let length = bytes.len() as u64;
        Ok(if length > bytes_max { Err(length) } else { Ok(bytes.clone()) })
    }

    fn cut(&self, path: &Path, at: u64) -> io::Result<()> {
        let state = &mut *self.0.borrow_mut();
        let inode = state.inode(path)?;
        let file = &mut state.inodes[inode];
        file.bytes.truncate(at as usize);
        file.synced = file.bytes.len();
        Ok(())
    }

    fn put(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let state = &mut *self.0.borrow_mut();
        let made = temporary(path);
        let inode = state.make(&made);
        if std::mem::take(&mut state.dies_at_put) {
            let torn = state.rng.usize(0..=bytes.len());
            state.put_at(inode, 0, &bytes[..torn]);
            return Err(io::Error::other("the process died here"));
        }
        let taken = state.take_room(bytes.len())?;
        state.put_at(inode, 0, &bytes[..taken]);
        if taken < bytes.len() {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        state.inodes[inode].synced = bytes.len();
        state.change(Change::Link(path.to_owned(), inode));
        state.sync_names();
        Ok(())
    }

    fn end(&self, path: &Path, bytes: &[u8], at: u64) -> io::Result<()> {
        let state = &mut *self.0.borrow_mut();
        let inode = state.inode(path)?;
        let taken = state.take_room(bytes.len())?;
        state.put_at(inode, at as usize, &bytes[..taken]);
        if taken < bytes.len() {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        state.inodes[inode].synced = state.inodes[inode].bytes.len();
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let state = &mut *self.0.borrow_mut();
        state.inode(path)?;
        state.change(Change::Unlink(path.to_owned()));
        Ok(())
    }
}

/// An open file: its number.
#[derive(Debug)]
pub struct Opened(usize);

impl Writes for SimDisk {
    type Files = Self;
    type File = Opened;

    fn open(&self, path: PathBuf) -> impl Future<Output = io::Result<Opened>> + 'static {
        let disk = self.clone();
        async move {
            disk.step().await;
            let inode = disk.0.borrow().inode(&path)?;
            Ok(Opened(inode))
        }
    }

    fn create(&self, path: PathBuf) -> impl Future<Output = io::Result<Opened>> + 'static {
        let disk = self.clone();
        async move {
            disk.step().await;
            let state = &mut *disk.0.borrow_mut();
            Ok(Opened(state.make(&path)))
        }
    }

    fn write(
        &self,
        file: Rc<Opened>,
        bytes: Vec<u8>,
        at: u64,
    ) -> impl Future<Output = io::Result<usize>> + 'static {
        let disk = self.clone();
        async move {
            disk.0.borrow_mut().under_way = Some((file.0, at as usize, bytes.clone()));
            disk.step().await;
            let state = &mut *disk.0.borrow_mut();
            state.under_way = None;
            // The kernel may take less than it was given, too.
            let offered = if state.rng.u8(0..8) == 0 { bytes.len().div_ceil(2) } else { bytes.len() };
            let taken = state.take_room(offered)?;
            state.put_at(file.0, at as usize, &bytes[..taken]);
            Ok(taken)
        }
    }

    fn sync(&self, file: Rc<Opened>) -> impl Future<Output = io::Result<()>> + 'static {
        let disk = self.clone();
        async move {
            disk.step().await;
            let state = &mut *disk.0.borrow_mut();
            if !state.lies {
                let inode = &mut state.inodes[file.0];
                inode.synced = inode.bytes.len();
            }
            Ok(())
        }
    }

    fn rename(&self, from: PathBuf, to: PathBuf) -> impl Future<Output = io::Result<()>> + 'static {
        let disk = self.clone();
        async move {
            disk.step().await;
            {
                let state = &mut *disk.0.borrow_mut();
                let inode = state.inode(&from)?;
                state.change(Change::Link(to, inode));
            }
            disk.step().await;
            disk.0.borrow_mut().sync_names();
            Ok(())
        }
    }

    #[allow(clippy::manual_async_fn, reason = "an async fn would keep the borrow of self")]
    fn close(&self, _: Opened) -> impl Future<Output = ()> + 'static {
        async {}
    }

    fn spawn<T: 'static>(&self, task: impl Future<Output = T> + 'static) -> TaskHandle<T> {
        let (handle, value) = TaskHandle::pair();
        self.0.borrow_mut().tasks.push(Box::pin(async move { value.set(Some(task.await)) }));
        handle
    }
}
