//! The journal of one provider's orders as files: read and cut at start, appended while it runs, rotated, bounded.
//!
//! `<dir>/<provider>/NNNNNNNN.journal`, numbered upwards. Each file begins with a checkpoint of the ledger, and gets its
//! name when that is whole; so the newest one alone rebuilds all orders, and what a crash leaves half made is a `.tmp` that
//! nobody reads. Only the newest can have a torn tail, which the next start cuts.
//!
//! The shard hands over what waits in one batch, and goes on: glommio writes it beside the turns. A batch is *durable* when
//! the kernel has it (a `kill -9` cannot take it back), under `durability: sync` when the disk has it. Under `batch` the
//! disk is asked once a second.

use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use engine::orders::journal::{Record, Records, Tail};

use super::disk::{Files, Machine, Writes, temporary};
use crate::machine::executor::{TaskHandle, Tasks};
use crate::topology::{Durability, JournalPlan};

/// Bytes of a journal file that is read at start, at most: `rotate_mib` bounds what is written.
const FILE_BYTES_MAX: u64 = 4 << 30;
/// Under `batch`: between two requests that the disk takes what the kernel has, in nanoseconds.
const SYNC_EVERY_NS: u64 = 1_000_000_000;

/// Why there is no journal.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The system refused.
    #[error("journal {}: {source}; check the directory, its rights and its room", path.display())]
    Io {
        /// What was touched.
        path: PathBuf,
        /// What it says.
        source: io::Error,
    },
    /// Somebody else writes it.
    #[error("journal {}: another process has it; one gateway at a time may trade with it", path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// Its numbers stand for other things than this topology's.
    #[error(
        "journal {}: was written where {before:?} stood for what is {now:?} here; end its orders with that topology, or move it away",
        path.display()
    )]
    Numbers {
        /// The directory.
        path: PathBuf,
        /// A line of the journal's numbers.
        before: String,
        /// The same line now.
        now: String,
    },
    /// It is too large to be one of ours.
    #[error("journal {}: has {bytes} bytes, more than any journal; move it away", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
}

/// A journal that was read, and is this process' alone while this lives.
#[derive(Debug)]
pub struct OpenJournal<F: Files = Machine> {
    files: F,
    directory: PathBuf,
    plan: JournalPlan,
    /// The newest file's bytes, its torn tail cut off.
    pub bytes: Vec<u8>,
    /// The newest file.
    pub file: Option<PathBuf>,
    /// Bytes of a torn tail that were cut off.
    pub cut_bytes: u64,
    /// The largest run that any record names.
    pub epoch_max: Option<u64>,
    number: u64,
    lock: F::Lock,
}

fn file_name(number: u64) -> String {
    format!("{number:08}.journal")
}

/// Numbers of the files of a directory, rising.
fn numbers<F: Files>(files: &F, directory: &Path) -> io::Result<Vec<u64>> {
    let names = files.names(directory)?;
    let numbers = names.iter().filter_map(|name| name.strip_suffix(".journal")?.parse().ok());
    let mut numbers: Vec<u64> = numbers.collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Removes what a crash left half made.
fn clear_up<F: Files>(files: &F, directory: &Path) -> io::Result<()> {
    for name in files.names(directory)? {
        if name.ends_with(".journal.tmp") {
            files.remove(&directory.join(name))?;
        }
    }
    Ok(())
}

/// Refuses a journal in which a number that stands for something here stood for something else, and notes the numbers.
fn check_numbers<F: Files>(files: &F, directory: &Path, now: &[String]) -> Result<(), JournalError> {
    let path = directory.join("numbers");
    let io = |source| JournalError::Io { path: path.clone(), source };
    let before = match files.read(&path, FILE_BYTES_MAX) {
        Ok(Ok(bytes)) => String::from_utf8_lossy(&bytes).into_owned(),
        Ok(Err(bytes)) => return Err(JournalError::TooLarge { path: path.clone(), bytes }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(io(error)),
    };
    let number = |line: &str| line.rsplit_once(' ').map(|(number, _)| number.to_owned());
    let mut all: Vec<String> = now.to_vec();
    for old in before.lines() {
        match now.iter().find(|line| number(line) == number(old)) {
            Some(line) if line != old => {
                let (before, now) = (old.to_owned(), line.clone());
                return Err(JournalError::Numbers { path: directory.to_owned(), before, now });
            }
            Some(_) => {}
            None => all.push(old.to_owned()),
        }
    }
    let all = all.join("\n") + "\n";
    // Whole or not at all: half a line would stand for something else at the next start, and refuse it.
    if all == before { Ok(()) } else { files.put(&path, all.as_bytes()).map_err(io) }
}

impl OpenJournal {
    /// Reads the journal of a provider, and cuts a torn tail off. Makes the directory if it is not there. `numbers_now` says
    /// in lines, each beginning with two words that name a number, what the numbers in records stand for.
    ///
    /// # Errors
    /// [`JournalError`]
    pub fn open(plan: &JournalPlan, provider: &str, numbers_now: &[String]) -> Result<Self, JournalError> {
        Self::open_on(Machine, plan, provider, numbers_now)
    }
}

impl<F: Files> OpenJournal<F> {
    /// [`open`](OpenJournal::open) on any file system.
    ///
    /// # Errors
    /// [`JournalError`]
    pub fn open_on(
        files: F,
        plan: &JournalPlan,
        provider: &str,
        numbers_now: &[String],
    ) -> Result<Self, JournalError> {
        let directory = plan.dir.join(provider);
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| JournalError::Io { path, source }
        };
        files.make_directory(&directory).map_err(io(&directory))?;
        let lock_path = directory.join("lock");
        let lock = files.lock(&lock_path).map_err(io(&lock_path))?;
        let lock = lock.ok_or_else(|| JournalError::Locked { path: directory.clone() })?;
        clear_up(&files, &directory).map_err(io(&directory))?;
        check_numbers(&files, &directory, numbers_now)?;
        let numbers = numbers(&files, &directory).map_err(io(&directory))?;
        let number = numbers.last().copied().unwrap_or(0);
        let mut journal = Self {
            files,
            directory,
            plan: plan.clone(),
            bytes: Vec::new(),
            file: None,
            cut_bytes: 0,
            epoch_max: None,
            number,
            lock,
        };
        if !numbers.is_empty() {
            let path = journal.directory.join(file_name(number));
            journal.read(&path)?;
            journal.file = Some(path);
        }
        Ok(journal)
    }

    fn read(&mut self, path: &Path) -> Result<(), JournalError> {
        let io = |source| JournalError::Io { path: path.to_owned(), source };
        self.bytes = match self.files.read(path, FILE_BYTES_MAX).map_err(io)? {
            Ok(bytes) => bytes,
            Err(bytes) => return Err(JournalError::TooLarge { path: path.to_owned(), bytes }),
        };
        let mut records = Records::new(&self.bytes);
        loop {
            for record in records.by_ref() {
                if let Record::Begin { epoch, .. } = record {
                    self.epoch_max = self.epoch_max.max(Some(epoch));
                }
            }
            match records.tail() {
                Some(Tail::Torn { at }) => {
                    self.cut_bytes = (self.bytes.len() - at) as u64;
                    self.files.cut(path, at as u64).map_err(io)?;
                    self.bytes.truncate(at);
                    return Ok(());
                }
                Some(Tail::Damaged { resumes_at, .. }) => records.resume(resumes_at),
                Some(Tail::Clean) | None => return Ok(()),
            }
        }
    }

    /// The run that begins: this second, or one more than the journal's last where a clock went back.
    pub fn next_epoch(&self, unix_s: u64) -> u64 {
        self.epoch_max.map_or(unix_s, |last| unix_s.max(last + 1))
    }

    /// Begins the file of this run with `checkpoint`, on the disk when this returns.
    ///
    /// # Errors
    /// [`JournalError`]
    pub fn begin(self, checkpoint: &[u8]) -> Result<BegunJournal<F>, JournalError> {
        let number = self.number + 1;
        let path = self.directory.join(file_name(number));
        let put = self.files.put(&path, checkpoint);
        put.map_err(|source| JournalError::Io { path: path.clone(), source })?;
        forget(&self.files, &self.directory, self.plan.keep);
        Ok(BegunJournal {
            files: self.files,
            directory: self.directory,
            plan: self.plan,
            number,
            path,
            at: checkpoint.len() as u64,
            lock: self.lock,
        })
    }
}

/// A journal whose file of this run has begun; it goes to the shard that writes it.
#[derive(Debug)]
pub struct BegunJournal<F: Files = Machine> {
    files: F,
    directory: PathBuf,
    plan: JournalPlan,
    number: u64,
    path: PathBuf,
    at: u64,
    lock: F::Lock,
}

impl<F: Files> BegunJournal<F> {
    /// What writes it beside the turns of a shard, on that shard's thread.
    pub fn writer<W: Writes<Files = F>>(self, writes: W) -> JournalWriter<W> {
        JournalWriter {
            writes,
            files: self.files,
            directory: self.directory,
            plan: self.plan,
            number: self.number,
            current: Current { path: self.path, file: None, at: self.at },
            under_way: None,
            handed_position: 0,
            durable_position: 0,
            synced_at_ns: 0,
            is_unsynced: false,
            failure: None,
            counts: JournalCounts::default(),
            _lock: self.lock,
        }
    }
}

engine::counters! {
    /// What a journal did.
    pub struct JournalCounts {
        /// Bytes written.
        written_bytes_total,
        /// Batches written.
        batches_total,
        /// Files begun after the first of the run.
        rotations_total,
        /// Longest time from handing a batch over to its being durable, in nanoseconds.
        batch_ns_max,
    }
}

/// The file that is written.
struct Current<T> {
    path: PathBuf,
    file: Option<Rc<T>>,
    /// Its size.
    at: u64,
}

/// What a batch leaves: the file that goes on.
type Written<T> = Result<Current<T>, (PathBuf, String)>;

struct UnderWay<T> {
    position: u64,
    bytes: u64,
    since_ns: u64,
    task: TaskHandle<Written<T>>,
}

/// Writes the journal of one provider beside the turns of its shard.
pub struct JournalWriter<W: Writes = Tasks> {
    writes: W,
    files: W::Files,
    directory: PathBuf,
    plan: JournalPlan,
    number: u64,
    current: Current<W::File>,
    under_way: Option<UnderWay<W::File>>,
    handed_position: u64,
    durable_position: u64,
    synced_at_ns: u64,
    /// The kernel has bytes that nobody asked the disk to take.
    is_unsynced: bool,
    failure: Option<String>,
    /// What was counted.
    pub counts: JournalCounts,
    _lock: <W::Files as Files>::Lock,
}

impl<W: Writes> JournalWriter<W> {
    /// Takes over what has ended. Returns the position that is durable now, if it moved.
    pub fn poll(&mut self, now_ns: u64) -> Option<u64> {
        let result = self.under_way.as_ref()?.task.take()?;
        let done = self.under_way.take()?;
        match result {
            Ok(current) => {
                self.current = current;
                self.durable_position = done.position;
                if done.bytes > 0 {
                    self.counts.written_bytes_total += done.bytes;
                    self.counts.batches_total += 1;
                    let took_ns = now_ns.saturating_sub(done.since_ns);
                    self.counts.batch_ns_max = self.counts.batch_ns_max.max(took_ns);
                }
                Some(done.position)
            }
            Err((path, reason)) => {
                // In batches the disk has not got all that came before, and nothing will ask for it any more. Beside the turns: the
                // failure is news at once, however long a full disk takes.
                if let Some(file) = self.current.file.clone() {
                    let writes = self.writes.clone();
                    self.writes.spawn(async move { writes.sync(file).await });
                }
                self.failure = Some(format!("journal {}: {reason}", path.display()));
                None
            }
        }
    }

    /// Whether a batch may be handed over now.
    pub fn is_free(&self) -> bool {
        self.under_way.is_none() && self.failure.is_none()
    }

    /// Whether a batch is being written.
    pub fn is_writing(&self) -> bool {
        self.under_way.is_some()
    }

    /// Whether the next batch should begin a new file.
    pub fn wants_rotation(&self) -> bool {
        self.current.at >= self.plan.rotate_bytes
    }

    /// Why it cannot write any more.
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// Hands over `batch`, whose end is `position` in bytes of this run. With a `checkpoint` it goes into a new file that
    /// begins with that. Call it when [`is_free`](Self::is_free).
    pub fn write(&mut self, batch: &[u8], position: u64, checkpoint: Option<Vec<u8>>, now_ns: u64) {
        let sync = match self.plan.durability {
            Durability::Sync => true,
            Durability::Batch => now_ns.saturating_sub(self.synced_at_ns) >= SYNC_EVERY_NS,
        };
        // A new file is synced whole.
        let sync = sync || checkpoint.is_some();
        if sync {
            self.synced_at_ns = now_ns;
        }
        self.is_unsynced = !sync;
        self.handed_position = position;
        let mut current =
            Current { path: self.current.path.clone(), file: self.current.file.clone(), at: self.current.at };
        let bytes = batch.len() as u64;
        let batch = batch.to_vec();
        let task = if let Some(mut checkpoint) = checkpoint {
            // The checkpoint contains what the batch says; the batch follows for the order of the records.
            checkpoint.extend_from_slice(&batch);
            self.number += 1;
            self.counts.rotations_total += 1;
            let path = self.directory.join(file_name(self.number));
            let (directory, keep) = (self.directory.clone(), self.plan.keep);
            let (files, writes) = (self.files.clone(), self.writes.clone());
            self.writes.spawn(async move {
                let begun = begin(&writes, &path, checkpoint).await;
                let begun = begun.map_err(|error| (path, error.to_string()))?;
                if let Some(old) = current.file.take().and_then(Rc::into_inner) {
                    writes.close(old).await;
                }
                forget(&files, &directory, keep);
                Ok(begun)
            })
        } else {
            let writes = self.writes.clone();
            self.writes.spawn(async move {
                match append(&writes, &mut current, batch, sync).await {
                    Ok(()) => Ok(current),
                    Err(error) => Err((current.path, error.to_string())),
                }
            })
        };
        self.under_way = Some(UnderWay { position, bytes, since_ns: now_ns, task });
    }

    /// When [`sync`](Self::sync) is due: under `batch` what came last would else wait for a batch that may never come.
    pub const fn sync_due_ns(&self) -> Option<u64> {
        if self.is_unsynced { Some(self.synced_at_ns + SYNC_EVERY_NS) } else { None }
    }

    /// Asks the disk to take what the kernel has. Call it when [`is_free`](Self::is_free).
    pub fn sync(&mut self, now_ns: u64) {
        self.write(&[], self.handed_position, None, now_ns);
    }

    /// The end: writes `batch` and waits until the disk has all. Blocks; no batch may be under way.
    ///
    /// # Errors
    /// What the system says.
    pub fn finish(&mut self, batch: &[u8]) -> Result<JournalCounts, String> {
        if let Some(reason) = &self.failure {
            return Err(reason.clone());
        }
        if self.under_way.is_some() {
            return Err(format!(
                "journal {}: the last batch did not end in time",
                self.current.path.display()
            ));
        }
        let path = &self.current.path;
        let ended = self.files.end(path, batch, self.current.at);
        ended.map_err(|error| format!("journal {}: {error}", path.display()))?;
        self.counts.written_bytes_total += batch.len() as u64;
        Ok(self.counts)
    }
}

impl<W: Writes> std::fmt::Debug for JournalWriter<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JournalWriter").field("file", &self.current.path).finish_non_exhaustive()
    }
}

/// Removes files beyond the newest `keep`. One that cannot be removed costs space and nothing else.
fn forget<F: Files>(files: &F, directory: &Path, keep: u32) {
    let Ok(numbers) = numbers(files, directory) else { return };
    let old = numbers.len().saturating_sub(keep as usize);
    for number in &numbers[..old] {
        let _ = files.remove(&directory.join(file_name(*number)));
    }
}

/// Writes all of it behind what is there.
async fn append<W: Writes>(
    writes: &W,
    current: &mut Current<W::File>,
    mut batch: Vec<u8>,
    sync: bool,
) -> io::Result<()> {
    let file = match &current.file {
        Some(file) => Rc::clone(file),
        None => Rc::new(writes.open(current.path.clone()).await?),
    };
    current.file = Some(Rc::clone(&file));
    while !batch.is_empty() {
        // The kernel keeps the buffer while it writes, and it is gone then: a short write needs the rest once more.
        let rest = batch.clone();
        let written = writes.write(Rc::clone(&file), batch, current.at).await?;
        if written == 0 {
            return Err(io::Error::other("the disk takes no more"));
        }
        current.at += written as u64;
        batch = rest[written.min(rest.len())..].to_vec();
    }
    if sync {
        writes.sync(file).await?;
    }
    Ok(())
}

/// A new file with these bytes, under its name only when the disk has them; and the disk has the name when this returns, or a
/// power cut would leave the file before as the newest one, without what was called durable since.
async fn begin<W: Writes>(writes: &W, path: &Path, bytes: Vec<u8>) -> io::Result<Current<W::File>> {
    let made = temporary(path);
    let file = writes.create(made.clone()).await?;
    let mut current = Current { path: path.to_owned(), file: Some(Rc::new(file)), at: 0 };
    append(writes, &mut current, bytes, true).await?;
    writes.rename(made, path.to_owned()).await?;
    Ok(current)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::executor::{ShardOptions, sleep, spawn_shard};
    use crate::machine::idle::IdlePolicy;
    use engine::ids::ProviderId;
    use std::time::Duration;

    fn plan(name: &str, durability: Durability) -> JournalPlan {
        let dir = std::env::temp_dir().join(format!("meltica-journal-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        JournalPlan { dir, durability, rotate_bytes: 200, keep: 2 }
    }

    fn begin_record(epoch: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        let record = Record::Begin { epoch, shard: 1, provider: ProviderId(2) };
        engine::orders::journal::append(&record, &mut bytes);
        bytes
    }

    fn epochs(bytes: &[u8]) -> Vec<u64> {
        let epoch = |record| if let Record::Begin { epoch, .. } = record { epoch } else { 0 };
        Records::new(bytes).map(epoch).collect()
    }

    /// Writes `count` records one after the other, then ends; what was durable is returned.
    fn write(plan: &JournalPlan, count: u64) -> Vec<u64> {
        let opened = OpenJournal::open(plan, "binance", &[]).expect("a directory of our own");
        let first = opened.next_epoch(1_000);
        let bytes = begin_record(first);
        let options = ShardOptions { name: "journal".to_owned(), core: None, idle: IdlePolicy::PARK };
        // The lock moves to the shard with the journal.
        let shard = spawn_shard(options, move |context| async move {
            let begun = opened.begin(&bytes).expect("it can write");
            let mut writer = begun.writer(context.tasks.clone());
            let (mut position, mut durable) = (0, Vec::new());
            for number in 1..=count {
                let batch = begin_record(first + number);
                position += batch.len() as u64;
                let checkpoint = writer.wants_rotation().then(|| begin_record(first));
                writer.write(&batch, position, checkpoint, number);
                while writer.is_writing() {
                    sleep(Duration::from_micros(100)).await;
                    durable.extend(writer.poll(number));
                }
                assert_eq!(writer.failure(), None);
            }
            writer.finish(&begin_record(first + count + 1)).expect("it can write");
            durable
        });
        shard.expect("a shard").join().expect("it does not panic")
    }

    #[test]
    fn what_is_durable_is_read_back_in_its_order_over_rotations_and_restarts() {
        for durability in [Durability::Sync, Durability::Batch] {
            let plan = plan(&format!("{durability:?}"), durability);
            let one = begin_record(1).len() as u64;
            assert_eq!(write(&plan, 30), (1..=30).map(|number| number * one).collect::<Vec<_>>());
            let read = OpenJournal::open(&plan, "binance", &[]).expect("ours");
            assert_eq!((read.epoch_max, read.cut_bytes), (Some(1_031), 0));
            let kept = epochs(&read.bytes);
            assert_eq!(kept[0], 1_000, "the newest file begins with the checkpoint");
            assert_eq!(kept.last(), Some(&1_031), "and ends with the last record");
            assert!(kept[1..].is_sorted() && kept.len() < 20, "it was rotated: {kept:?}");
            assert_eq!(numbers(&Machine, &plan.dir.join("binance")).expect("ours").len(), 2, "two are kept");
            assert_eq!(read.next_epoch(500), 1_032, "a clock that went back makes no run twice");
            drop(read);
            write(&plan, 1);
            let again = OpenJournal::open(&plan, "binance", &[]).expect("ours");
            assert_eq!(again.epoch_max, Some(1_034));
            std::fs::remove_dir_all(&plan.dir).expect("ours");
        }
    }

    /// A directory that is gone stands for a disk that takes no more.
    #[test]
    fn a_journal_that_cannot_go_on_says_so_for_good_and_claims_nothing_durable() {
        let plan = plan("gone", Durability::Sync);
        let opened = OpenJournal::open(&plan, "binance", &[]).expect("a directory of our own");
        let bytes = begin_record(opened.next_epoch(1_000));
        let options = ShardOptions { name: "journal".to_owned(), core: None, idle: IdlePolicy::PARK };
        let dir = plan.dir.clone();
        let shard = spawn_shard(options, move |context| async move {
            let begun = opened.begin(&bytes).expect("it can write");
            let mut writer = begun.writer(context.tasks.clone());
            std::fs::remove_dir_all(&dir).expect("ours");
            writer.write(&begin_record(7), 100, Some(bytes), 1);
            while writer.is_writing() {
                sleep(Duration::from_micros(100)).await;
                assert_eq!(writer.poll(2), None, "nothing became durable");
            }
            assert!(!writer.is_free(), "nothing more is taken");
            assert!(writer.failure().is_some_and(|reason| reason.contains("meltica-journal-")));
            writer.finish(&begin_record(8)).expect_err("the end says it too")
        });
        let said = shard.expect("a shard").join().expect("it does not panic");
        assert!(said.contains("journal"), "{said}");
    }

    #[test]
    fn a_torn_tail_is_cut_and_a_half_made_file_is_not_read() {
        let plan = plan("torn", Durability::Batch);
        write(&plan, 3);
        let directory = plan.dir.join("binance");
        let newest = *numbers(&Machine, &directory).expect("ours").last().expect("one file");
        let path = directory.join(file_name(newest));
        let whole = std::fs::read(&path).expect("ours");
        let mut torn = whole.clone();
        torn.extend_from_slice(&begin_record(7)[..9]);
        std::fs::write(&path, &torn).expect("ours");
        std::fs::write(temporary(&directory.join(file_name(newest + 1))), b"half").expect("ours");
        let read = OpenJournal::open(&plan, "binance", &[]).expect("ours");
        assert_eq!((read.cut_bytes, read.bytes.len()), (9, whole.len()));
        assert_eq!(std::fs::read(&path).expect("ours"), whole, "cut on the disk too");
        drop(read);
        assert_eq!(OpenJournal::open(&plan, "binance", &[]).expect("ours").cut_bytes, 0);
        std::fs::remove_dir_all(&plan.dir).expect("ours");
    }

    #[test]
    fn a_journal_whose_numbers_stand_for_other_things_is_refused() {
        let plan = plan("numbers", Durability::Batch);
        let lines = |text: &str| text.split(", ").map(str::to_owned).collect::<Vec<_>>();
        let check = |now: &str, expected: Option<&str>| {
            let error = OpenJournal::open(&plan, "binance", &lines(now)).err().map(|error| error.to_string());
            assert_eq!(error.is_some(), expected.is_some(), "{error:?}");
            assert!(error.is_none_or(|error| error.contains(expected.unwrap_or_default())));
        };
        check("consumer 0 maker, instrument 0 BTC-USDT", None);
        check("consumer 0 maker, consumer 1 taker, instrument 0 BTC-USDT", None);
        check("consumer 0 maker", None);
        check("consumer 0 taker", Some("consumer 0 maker"));
        check("consumer 0 maker, consumer 1 other", Some("consumer 1 taker"));
        std::fs::remove_dir_all(&plan.dir).expect("ours");
    }

    #[test]
    fn two_processes_do_not_share_a_journal() {
        let plan = plan("locked", Durability::Batch);
        let first = OpenJournal::open(&plan, "binance", &[]).expect("ours");
        let error = OpenJournal::open(&plan, "binance", &[]).expect_err("it is taken");
        assert!(error.to_string().contains("another process"), "{error}");
        assert!(OpenJournal::open(&plan, "kraken", &[]).is_ok(), "another provider's is another one");
        drop(first);
        assert!(OpenJournal::open(&plan, "binance", &[]).is_ok());
        std::fs::remove_dir_all(&plan.dir).expect("ours");
    }
}
