//! A recording reads back bit for bit, and says what it does not have.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc;

use engine::consumer::{Host, OnPanic};
use engine::event::control::{Command, ControlAck};
use engine::event::{Body, BookStatus, Gap, GapReason};
use engine::ids::{ProviderId, StreamId};
use engine::time::{FixedClock, ReceiveTime};

use super::writer::DiskFile;
use super::*;
use crate::consumers::testing;
use crate::replay::recording::{Extent, Hole, Item, files_of, read};
use crate::replay::{RecordingError, replay_recording};

/// A host with a recorder that gets every stream of the catalog.
fn host(config: &ConsumerConfig, make: Maker) -> Host {
    let mut host = Host::new(Arc::clone(&config.catalog), 4);
    let seat = host.add("recorder", testing::ID, OnPanic::Restart, make);
    for (provider, stream) in (0..2).flat_map(|provider| (0..8).map(move |stream| (provider, stream))) {
        host.subscribe(seat, ProviderId(provider), StreamId(stream), None);
    }
    host
}

fn show(host: &mut Host, events: &[Event]) {
    for event in events {
        host.deliver(event, &mut FixedClock(event.header.receive_time));
    }
}

/// Records `events` on the real disk and returns the recording's directory.
fn record(events: &[Event], rotate_mib: u32) -> PathBuf {
    let dir = testing::directory();
    let config = testing::config(ConsumerOptions::Recorder { dir: dir.clone(), rotate_mib });
    let mut host = host(&config, factory(&config).unwrap());
    show(&mut host, events);
    host.stop(ReceiveTime::default());
    let summary = host.summaries().remove(0).1;
    assert_eq!(summary[4], ("lost_parts".to_owned(), "0".to_owned()), "{summary:?}");
    assert_eq!(summary[5], ("closed".to_owned(), "true".to_owned()), "{summary:?}");
    let runs: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    let [run] = &runs[..] else { panic!("one run, one directory: {runs:?}") };
    run.clone()
}

fn read_back(paths: &[PathBuf]) -> (Vec<Event>, Vec<Hole>, Extent) {
    let (mut events, mut holes) = (Vec::new(), Vec::new());
    let extent = read(&files_of(paths).unwrap(), |item| match item {
        Item::Facts(facts) => assert_eq!(facts.catalog, testing::catalog()),
        Item::Event(event) => events.push(*event),
        Item::Hole(hole) => holes.push(hole),
    });
    (events, holes, extent.unwrap_or_else(|error| panic!("{error}")))
}

/// Enough for several blocks; a thousand rounds are some 5 MiB.
fn long_session() -> Vec<Event> {
    testing::session(1_000, 11)
}

#[test]
fn a_recording_over_several_files_reads_back_bit_for_bit() {
    let events = long_session();
    let run = record(&events, 1);
    let (found, holes, extent) = read_back(std::slice::from_ref(&run));
    assert!(extent.files >= 2, "1 MiB a file: {extent:?}");
    assert_eq!(holes, []);
    assert_eq!(extent.parts, events.len() as u64);
    assert!(found == events);
    for file in files_of(&[run]).unwrap() {
        assert!(std::fs::metadata(&file).unwrap().len() <= (1 << 20) + 64, "{}", file.display());
    }
}

#[test]
fn a_replay_of_a_recording_gives_the_hash_of_the_delivered_events() {
    let events = testing::session(200, 3);
    let hash = |events: &[Event]| replay_recording(&[record(events, 64)]).unwrap().events_sha256();
    let mut other = events.clone();
    let last = other.last_mut().unwrap();
    last.header.sequence_last += 1;
    assert_eq!(hash(&events), hash(&events));
    assert_ne!(hash(&events), hash(&other));
    let outcome = replay_recording(&[record(&events, 64)]).unwrap();
    let found: Vec<String> = outcome.providers.iter().map(|(_, replay)| replay.events_sha256()).collect();
    assert_eq!(found, crate::replay::recording::hashes_of_delivered(&events, &testing::catalog()));
    let logical = events.iter().filter(|event| event.completes()).count() as u64;
    let sum: u64 = engine::event::Kind::ALL.iter().map(|&kind| outcome.events(kind)).sum();
    assert_eq!(sum, logical);
    let json = outcome.to_json();
    let mut book = engine::book::Replica::new(1_000, 100);
    events
        .iter()
        .filter(|event| event.header.provider == ProviderId(1) && event.header.stream == StreamId(1))
        .for_each(|event| book.apply(event));
    let shown = &json["providers"]["kraken"]["instruments"]["BTC-USDT"]["book"];
    assert_eq!(shown["bid_levels"], book.book().bids.len());
    assert_eq!(shown["updates_applied"], book.update_total());
    assert_eq!(shown["state"], book.status().name());
    assert_eq!(json["events"]["Trade"], 4 * 200);
}

#[test]
fn a_torn_tail_is_recognised_at_every_cut() {
    let events = testing::session(2, 5);
    let run = record(&events, 64);
    let path = run.join("000000.rec");
    let bytes = std::fs::read(&path).unwrap();
    let cut_path = testing::directory().join("000000.rec");
    let mut whole_cuts = 0;
    for cut in (0..bytes.len()).rev().step_by(7) {
        std::fs::write(&cut_path, &bytes[..cut]).unwrap();
        let (found, holes, _) = read_back(std::slice::from_ref(&cut_path));
        assert!(events.starts_with(&found), "cut at {cut}: what is read was written");
        let [Hole::Torn { at_byte, .. }] = holes[..] else { panic!("cut at {cut}: {holes:?}") };
        assert!(at_byte <= cut as u64);
        whole_cuts += usize::from(found.len() == events.len());
    }
    assert!(whole_cuts > 0, "a cut within the last record costs no event");
}

/// Found by `soak simulate`: after a power cut a file may have its length and zeros for bytes. In a head they made all files of the
/// recording unreadable, and behind it the record that they cut into counted as whole.
#[test]
fn a_tail_of_zeros_is_a_torn_one_wherever_it_begins() {
    let events = testing::session(2, 5);
    let run = record(&events, 64);
    let bytes = std::fs::read(run.join("000000.rec")).unwrap();
    let path = testing::directory().join("000000.rec");
    for kept in (0..bytes.len()).rev().step_by(7) {
        let mut zeroed = bytes.clone();
        zeroed[kept..].fill(0);
        if zeroed == bytes {
            continue;
        }
        std::fs::write(&path, &zeroed).unwrap();
        let (found, holes, _) = read_back(std::slice::from_ref(&path));
        assert!(events.starts_with(&found), "zeros from {kept} on: what is read was written");
        let [Hole::Torn { at_byte, .. }] = holes[..] else { panic!("zeros from {kept} on: {holes:?}") };
        let same = bytes.iter().zip(&zeroed).take_while(|(one, other)| one == other).count();
        assert!(at_byte <= same as u64, "zeros from {kept} on: whole until {at_byte}");
    }
}

#[test]
fn changed_bytes_are_noticed_and_cost_one_block() {
    let events = long_session();
    let run = record(&events, 64);
    let path = run.join("000000.rec");
    let whole = std::fs::read(&path).unwrap();
    let mut bytes = whole.clone();
    bytes[300_000] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let (found, holes, extent) = read_back(std::slice::from_ref(&run));
    let [Hole::Damaged { parts, .. }] = holes[..] else { panic!("{holes:?}") };
    assert_eq!(extent.parts + u64::from(parts), events.len() as u64);
    assert_eq!(found.len() as u64, extent.parts);
    let outcome = replay_recording(std::slice::from_ref(&run)).unwrap();
    assert_eq!(outcome.holes.len(), 1);
    // Any byte: never a panic, never events that were not written in silence.
    let mut random = fastrand::Rng::with_seed(9);
    for _ in 0..30 {
        let at = random.usize(0..whole.len());
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << random.u8(0..8);
        std::fs::write(&path, &bytes).unwrap();
        let mut noticed = false;
        let outcome = read(std::slice::from_ref(&path), |item| noticed |= matches!(item, Item::Hole(_)));
        assert!(noticed || outcome.is_err(), "the change at byte {at} went unnoticed");
    }
}

/// Found by the fuzz target `recording`: its list of streams would have had as many places as the number says.
#[test]
fn an_event_of_a_stream_that_nobody_can_have_is_refused() {
    let gap = Gap { from: 1, to: 1, event_count: 1, reason: GapReason::SlowConsumer };
    let mut event = testing::event(0, 0, 1, Body::Gap(gap));
    event.header.stream = StreamId(u32::MAX);
    let mut payload = Vec::new();
    format::put_event(&event, &mut payload);
    let refused = format::events(&payload, |_| panic!("it was taken"));
    assert!(refused.is_err_and(|what| what.contains("stream 4294967295")));
}

/// Found by `soak simulate`: an operator who moved the kill switch told every consumer of it, the recorder too, and the recording could
/// not be read from there on.
#[test]
fn what_the_control_thread_tells_the_recorder_is_recorded_and_hinders_nobody() {
    let mut events = testing::session(3, 5);
    let mut told =
        testing::event(0, 0, 1, Body::ControlAck(ControlAck { request: 0, command: Command::Kill }));
    (told.header.provider, told.header.stream) = (ProviderId(u8::MAX), StreamId(u32::MAX));
    let market = hash_of(&events);
    events.insert(events.len() / 2, told);
    let dir = testing::directory();
    let config = testing::config(ConsumerOptions::Recorder { dir: dir.clone(), rotate_mib: 64 });
    let mut host = host(&config, factory(&config).unwrap());
    for event in &events {
        let mut probe = FixedClock(event.header.receive_time);
        if event.kind().is_critical() {
            host.show(0, event, &mut probe);
        } else {
            host.deliver(event, &mut probe);
        }
    }
    host.stop(ReceiveTime::default());
    let run = std::fs::read_dir(dir).unwrap().next().unwrap().unwrap().path();
    let (found, holes, _) = read_back(std::slice::from_ref(&run));
    assert!(found == events && holes.is_empty(), "{holes:?}");
    assert_eq!(replay_recording(&[run]).unwrap().events_sha256(), market);
}

fn hash_of(events: &[Event]) -> String {
    replay_recording(&[record(events, 64)]).unwrap().events_sha256()
}

#[test]
fn missing_and_foreign_files_are_reported() {
    let events = long_session();
    let run = record(&events, 1);
    let files = files_of(std::slice::from_ref(&run)).unwrap();
    assert!(files.len() >= 3, "{files:?}");
    let (_, holes, _) = read_back(&[files[0].clone(), files[2].clone()]);
    assert_eq!(holes[0], Hole::MissingFiles { from: 1, to: 1 });
    let (_, holes, _) = read_back(&files[..1]);
    assert_eq!(holes, [Hole::NoLastFile]);
    let message = |paths: &[PathBuf]| replay_recording(paths).err().map(|error| error.to_string());
    let parent = run.parent().unwrap().to_owned();
    assert!(message(&[parent]).unwrap().contains("name one of the 1 in it"));
    let text = testing::directory().join("a.rec");
    std::fs::write(&text, "a file that is long enough to have a head").unwrap();
    assert!(message(&[text]).unwrap().ends_with("not a recording"));
    let other = testing::directory().join("000001.rec");
    let mut facts = FileFacts {
        index: 1,
        recorder: "other".to_owned(),
        started_at: String::new(),
        program: String::new(),
        zero_unix_ns: None,
        catalog: testing::catalog(),
    };
    std::fs::write(&other, facts.encode()).unwrap();
    assert!(matches!(replay_recording(&[files[0].clone(), other]), Err(RecordingError::Mixed { .. })));
    facts.index = 0;
    let mut newer = facts.encode();
    newer[8] += 1;
    let path = testing::directory().join("000000.rec");
    std::fs::write(&path, newer).unwrap();
    assert!(message(&[path]).unwrap().contains("this program reads format 1"));
}

/// A disk in memory that holds so many bytes and can be asked to wait.
#[derive(Default)]
struct SmallDisk {
    files: Mutex<Vec<(String, Vec<u8>)>>,
    room_bytes: Mutex<usize>,
    cut_fails: bool,
    held: Mutex<Option<mpsc::Receiver<()>>>,
}

struct Handle(Arc<SmallDisk>, usize);

impl Disk for Arc<SmallDisk> {
    type File = Handle;

    fn create(&mut self, name: &str) -> std::io::Result<Handle> {
        let mut files = self.files.lock().unwrap();
        assert!(files.iter().all(|(known, _)| known != name), "{name} is made once");
        files.push((name.to_owned(), Vec::new()));
        Ok(Handle(Arc::clone(self), files.len() - 1))
    }

    fn sync_names(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl DiskFile for Handle {
    fn append(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        if let Some(held) = &*self.0.held.lock().unwrap() {
            let _ = held.recv();
        }
        let mut room = self.0.room_bytes.lock().unwrap();
        let taken = bytes.len().min(*room);
        *room -= taken;
        self.0.files.lock().unwrap()[self.1].1.extend_from_slice(&bytes[..taken]);
        if taken < bytes.len() { Err(std::io::Error::other("no space left on device")) } else { Ok(()) }
    }

    fn cut(&mut self, bytes: u64) -> std::io::Result<()> {
        if self.0.cut_fails {
            return Err(std::io::Error::other("read-only file system"));
        }
        let file = &mut self.0.files.lock().unwrap()[self.1].1;
        *self.0.room_bytes.lock().unwrap() += file.len() - bytes as usize;
        file.truncate(bytes as usize);
        Ok(())
    }

    fn sync(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl SmallDisk {
    fn write_to(&self, dir: &Path) -> Vec<PathBuf> {
        let files = self.files.lock().unwrap();
        let write = |(name, bytes): &(String, Vec<u8>)| {
            std::fs::write(dir.join(name), bytes).unwrap();
            dir.join(name)
        };
        files.iter().map(write).collect()
    }
}

/// Blocks of `events` through a writer on `disk`; `between` may change the disk before each.
fn write_blocks(disk: &Arc<SmallDisk>, events: &[Event], mut between: impl FnMut(usize)) -> Arc<Progress> {
    let facts = FileFacts {
        index: 0,
        recorder: "tested".to_owned(),
        started_at: "2026-11-21T03:30:00Z".to_owned(),
        program: "0".to_owned(),
        zero_unix_ns: None,
        catalog: testing::catalog(),
    };
    let progress = Arc::new(Progress::default());
    let mut writer = Writer::new(Arc::clone(disk), facts, 1 << 20, Arc::clone(&progress));
    let _ = writer.begin();
    let chunks: Vec<_> = events.chunks(100).collect();
    for (index, chunk) in chunks.iter().enumerate() {
        between(index);
        let mut block = Block::new();
        chunk.iter().for_each(|event| block.put(event));
        block.last = index + 1 == chunks.len();
        writer.take(&mut block);
    }
    progress
}

fn lost_parts(holes: &[Hole]) -> u64 {
    holes.iter().map(|hole| if let Hole::Lost(lost) = hole { lost.parts } else { 0 }).sum()
}

#[test]
fn a_full_disk_costs_blocks_and_the_file_says_which_and_how_many() {
    let events = testing::session(100, 2);
    for cut_fails in [false, true] {
        let disk = Arc::new(SmallDisk { cut_fails, ..SmallDisk::default() });
        *disk.room_bytes.lock().unwrap() = 60_000;
        let blocks = events.len().div_ceil(100);
        let progress = write_blocks(&disk, &events, |index| {
            if index == blocks / 2 {
                *disk.room_bytes.lock().unwrap() = 1 << 30; // somebody made room
            }
        });
        let (found, holes, _) = read_back(&disk.write_to(&testing::directory()));
        let lost = lost_parts(&holes);
        assert!(lost > 0 && lost < events.len() as u64, "{lost} of {}", events.len());
        assert_eq!(found.len() as u64 + lost, events.len() as u64);
        assert_eq!(progress.parts_refused.load(Ordering::Relaxed), lost);
        assert_eq!(progress.parts_written.load(Ordering::Relaxed), found.len() as u64);
        assert_eq!(progress.error.lock().unwrap().as_deref(), Some("no space left on device"));
        // The hole names the receive times of what it swallowed.
        let told = holes.iter().find_map(|hole| if let Hole::Lost(lost) = hole { Some(*lost) } else { None });
        let first = events.iter().zip(&found).position(|(event, found)| event != found).unwrap();
        assert_eq!(told.unwrap().first_receive_ns, events[first].header.receive_time.ns());
        let torn = holes.iter().filter(|hole| matches!(hole, Hole::Torn { .. })).count();
        assert_eq!(torn > 0, cut_fails, "a tail that could not be cut stays, and is told: {holes:?}");
    }
}

#[test]
fn a_disk_that_stays_full_leaves_a_whole_file_without_an_end() {
    let events = testing::session(20, 2);
    let disk = Arc::new(SmallDisk::default());
    *disk.room_bytes.lock().unwrap() = 1 << 30;
    let progress = write_blocks(&disk, &events, |index| {
        if index == 2 {
            *disk.room_bytes.lock().unwrap() = 1; // not even the count of what is lost fits
        }
    });
    let (found, holes, _) = read_back(&disk.write_to(&testing::directory()));
    assert!(events.starts_with(&found) && !found.is_empty());
    assert!(matches!(holes[..], [Hole::Torn { .. }]), "{holes:?}");
    assert_eq!(
        progress.parts_refused.load(Ordering::Relaxed) + found.len() as u64,
        events.len() as u64,
        "the report still says how many"
    );
}

#[test]
fn a_disk_that_stalls_never_stops_the_shard_and_what_is_lost_is_recorded() {
    let events = long_session();
    let (release, held) = mpsc::channel();
    let disk = Arc::new(SmallDisk::default());
    *disk.room_bytes.lock().unwrap() = usize::MAX >> 1;
    let config = testing::config(ConsumerOptions::None);
    let make = on(&config, Arc::clone(&disk), 1 << 30, 2).unwrap();
    *disk.held.lock().unwrap() = Some(held);
    let mut host = host(&config, make);
    show(&mut host, &events); // two blocks, and nobody takes them
    drop(release);
    // The stall is over: what comes now is recorded again.
    let again = testing::session(3, 8);
    let until = std::time::Instant::now() + Duration::from_secs(20);
    while disk.files.lock().unwrap()[0].1.len() < 2 * (BLOCK_BYTES - RECORDED_BYTES_MAX) {
        assert!(std::time::Instant::now() < until, "the blocks are written");
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(Duration::from_millis(20)); // the second block is on its way back
    show(&mut host, &again);
    host.stop(ReceiveTime::default());
    let (found, holes, _) = read_back(&disk.write_to(&testing::directory()));
    let lost = lost_parts(&holes);
    assert!(lost > 0);
    assert_eq!(found.len() as u64 + lost, (events.len() + again.len()) as u64);
    assert!(found.ends_with(&again[again.len() - 1..]), "recording went on");
    let summary = host.summaries().remove(0).1;
    assert!(summary.contains(&("lost_parts".to_owned(), lost.to_string())), "{summary:?}");
    let path = disk.write_to(&testing::directory());
    let outcome = replay_recording(&path).unwrap();
    assert_eq!(outcome.holes, holes);
}

#[test]
fn behind_a_hole_a_book_is_unknown_until_its_next_snapshot() {
    let level = engine::event::Level { price: engine::decimal::Price(5), qty: engine::decimal::Qty(1) };
    let before = testing::book(0, 1, 1, true, &[level], &[]);
    let after = testing::book(0, 1, 3, false, &[level], &[]);
    let snapshot = testing::book(0, 1, 4, true, &[level], &[]);
    let state = |events: &[Vec<Event>]| {
        let disk = Arc::new(SmallDisk::default());
        *disk.room_bytes.lock().unwrap() = 1 << 30;
        let config = testing::config(ConsumerOptions::None);
        let facts = FileFacts {
            index: 0,
            recorder: config.name,
            started_at: String::new(),
            program: String::new(),
            zero_unix_ns: None,
            catalog: testing::catalog(),
        };
        let mut writer = Writer::new(Arc::clone(&disk), facts, 1 << 20, Arc::default());
        for (index, events) in events.iter().enumerate() {
            let mut block = Block::new();
            for event in events {
                block.put(event);
            }
            if index == 1 {
                block.lost_before.add_event(&events[0]);
            }
            block.last = index + 1 == 3;
            writer.take(&mut block);
        }
        let json = replay_recording(&disk.write_to(&testing::directory())).unwrap().to_json();
        json["providers"]["binance"]["instruments"]["BTC-USDT"]["book"]["state"].clone()
    };
    assert_eq!(state(&[before.clone(), after.clone(), after.clone()]), "unknown");
    assert_eq!(state(&[before, after, snapshot]), BookStatus::Proved.name());
}

#[test]
fn a_directory_that_cannot_be_written_is_refused_before_the_start() {
    let dir = testing::directory().join("a file");
    std::fs::write(&dir, "").unwrap();
    let config = testing::config(ConsumerOptions::Recorder { dir, rotate_mib: 1 });
    let message = factory(&config).err().map(|error| error.to_string()).unwrap();
    assert!(message.starts_with("cannot write ") && message.contains("a file"), "{message}");
}

#[test]
fn the_facts_read_back() {
    let facts = FileFacts {
        index: 7,
        recorder: "r".to_owned(),
        started_at: "s".to_owned(),
        program: "p".to_owned(),
        zero_unix_ns: Some(1_795_231_800_000_000_000),
        catalog: testing::catalog(),
    };
    let bytes = facts.encode();
    let json = &bytes[format::FILE_HEAD_BYTES..bytes.len() - 4];
    assert_eq!(FileFacts::decode(7, json), Some(facts));
}
