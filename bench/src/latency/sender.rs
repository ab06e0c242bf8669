//! Sends a schedule: open loop, each message when it is due, whatever became of those before.

use std::io::{ErrorKind, Read as _, Write as _};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError};

use shards::machine::clock::Clock;

use super::load::SharedLoad;
use super::venue::Link;

/// Messages whose time of sending is kept, a power of two: more than can be under way.
const KEPT: usize = 1 << 16;
/// Messages written at once, at most: a sender that is late must not keep its core for long.
const BATCH_MAX: u64 = 64;
/// Bytes that the socket has not taken; more are not made until it has. The messages' due times do not move.
const PENDING_BYTES_MAX: usize = 1 << 20;
/// From the subscription to the first message.
const LEAD_NS: u64 = 50_000_000;
/// The gateway's own frames (pongs) are read and dropped, this often.
const READS_EVERY_NS: u64 = 100_000_000;

/// What sender and readers share. Times are of the process' clock, in nanoseconds.
#[derive(Debug)]
pub struct Shared {
    /// What is sent, and when.
    pub load: SharedLoad,
    /// Messages in all.
    pub messages: u64,
    /// Messages before this one only warm up.
    pub warm: u64,
    begin_ns: AtomicU64,
    sent_ns: Box<[AtomicU64]>,
    sent: AtomicU64,
    ended: AtomicBool,
    /// Readers that have not seen the last message.
    reading: AtomicUsize,
}

impl Shared {
    /// A schedule that has not begun.
    pub fn new(load: SharedLoad, messages: u64, warm: u64, readers: usize) -> Self {
        Self {
            load,
            messages,
            warm,
            begin_ns: AtomicU64::new(0),
            sent_ns: (0..KEPT).map(|_| AtomicU64::new(0)).collect(),
            sent: AtomicU64::new(0),
            ended: AtomicBool::new(false),
            reading: AtomicUsize::new(readers),
        }
    }

    /// A reader has seen the last message. Returns whether no other has yet to.
    pub fn reader_ended(&self) -> bool {
        self.reading.fetch_sub(1, Ordering::Relaxed) == 1
    }

    /// When a message was meant to leave.
    #[inline]
    pub fn intended_ns(&self, index: u64) -> u64 {
        self.begin_ns.load(Ordering::Relaxed) + self.load.due_ns(index)
    }

    /// When a message was handed to the socket, if it is one of the last.
    #[inline]
    pub fn sent_ns(&self, index: u64) -> u64 {
        self.sent_ns[index as usize % KEPT].load(Ordering::Relaxed)
    }

    /// Messages handed to the socket so far.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// The schedule is over, or the connection is.
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }
}

/// Sends one schedule over one connection.
pub struct Sender {
    shared: std::sync::Arc<Shared>,
    clock: Clock,
    links: Receiver<Link>,
    link: Option<Link>,
    pending: Vec<u8>,
    next: u64,
    read_at_ns: u64,
}

impl Sender {
    /// Waits for the first of `links`.
    pub fn new(shared: std::sync::Arc<Shared>, links: Receiver<Link>) -> Self {
        let room = PENDING_BYTES_MAX + BATCH_MAX as usize * shared.load.bytes_max();
        let pending = Vec::with_capacity(room);
        Self { shared, clock: Clock::new(), links, link: None, pending, next: 0, read_at_ns: 0 }
    }

    /// Sends what is due.
    pub fn turn(&mut self) {
        let Some(link) = &mut self.link else { return self.connect() };
        let now_ns = self.clock.now();
        let begin_ns = self.shared.begin_ns.load(Ordering::Relaxed);
        if now_ns < begin_ns || self.shared.has_ended() {
            return;
        }
        if self.pending.len() < PENDING_BYTES_MAX {
            let due = self.shared.load.due_count(now_ns - begin_ns).min(self.shared.messages);
            let end = due.min(self.next + BATCH_MAX);
            for index in self.next..end {
                self.shared.load.write(index, &mut self.pending);
                self.shared.sent_ns[index as usize % KEPT].store(now_ns, Ordering::Relaxed);
            }
            self.next = end;
        }
        if !self.pending.is_empty() {
            match link.write(&self.pending).and_then(|taken| link.flush().map(|()| taken)) {
                Ok(taken) => {
                    self.pending.drain(..taken);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => self.shared.ended.store(true, Ordering::Release),
            }
            self.shared.sent.store(self.next, Ordering::Relaxed);
        } else if self.next == self.shared.messages {
            self.shared.ended.store(true, Ordering::Release);
        }
        if now_ns >= self.read_at_ns {
            self.read_at_ns = now_ns + READS_EVERY_NS;
            let mut bytes = [0; 256];
            // What the gateway says is of no interest; that it is gone shows at the next write.
            let _ = link.read(&mut bytes);
        }
    }

    #[cold]
    fn connect(&mut self) {
        match self.links.try_recv() {
            Ok(link) => {
                let begin_ns = self.clock.now() + LEAD_NS;
                if link.set_nonblocking().is_err() {
                    return self.shared.ended.store(true, Ordering::Release);
                }
                self.shared.begin_ns.store(begin_ns, Ordering::Relaxed);
                self.link = Some(link);
            }
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => self.shared.ended.store(true, Ordering::Release),
        }
    }
}
