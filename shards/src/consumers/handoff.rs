//! Blocks from a consumer to a thread of its own, and back: the only way a consumer here reaches a disk or a terminal.
//!
//! A shard never waits for either. It fills a block that was allocated at start, moves it into an SPSC ring, and gets
//! it back through a second ring once its bytes are written. When none has come back, there is none: the consumer then
//! counts what it could not keep. Handing over costs two moves and at most one wake-up, once a block.
//!
//! The thread is started by the consumer's factory, before shards are pinned, so that it does not inherit a shard's core.

use std::sync::mpsc;
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use rtrb::{Consumer, Producer, RingBuffer};

/// How long the thread sleeps at most when nothing wakes it: only a bound on how late it sees that its consumer is gone.
const IDLE: Duration = Duration::from_millis(100);

/// A thread that serves the consumers that a factory makes, one after the other (a second one follows a panic).
#[derive(Debug)]
pub struct BlockThread<T> {
    sessions: mpsc::Sender<Inbox<T>>,
    thread: Thread,
}

impl<T: Send + 'static> BlockThread<T> {
    /// Starts it; `serve` is called once for each [`open`](Self::open) and returns when its inbox has ended.
    ///
    /// # Errors
    /// What the system says when it has no thread left.
    pub fn start(
        name: &str,
        mut serve: impl FnMut(&mut Inbox<T>) + Send + 'static,
    ) -> std::io::Result<BlockThread<T>> {
        let (sessions, coming) = mpsc::channel::<Inbox<T>>();
        let run = move || {
            for mut inbox in coming {
                serve(&mut inbox);
            }
        };
        let handle = thread::Builder::new().name(name.to_owned()).spawn(run)?;
        Ok(Self { sessions, thread: handle.thread().clone() })
    }

    /// The shard's end for one consumer, with all its blocks.
    pub fn open(&self, blocks: Vec<T>) -> Outbox<T> {
        let (outbox, inbox) = ends(blocks, self.thread.clone());
        // A thread that is gone cannot serve: its blocks will run out, and that is counted.
        let _ = self.sessions.send(inbox);
        outbox
    }
}

/// Both ends for one consumer, with all its blocks, where no thread is between them: whoever has the inbox serves it.
pub fn pair<T>(blocks: Vec<T>) -> (Outbox<T>, Inbox<T>) {
    ends(blocks, thread::current())
}

fn ends<T>(blocks: Vec<T>, thread: Thread) -> (Outbox<T>, Inbox<T>) {
    let block_count = blocks.len();
    let (full, full_inbox) = RingBuffer::new(block_count);
    let (mut free_inbox, free) = RingBuffer::new(block_count);
    for block in blocks {
        free_inbox.push(block).unwrap_or_else(|_| unreachable!("the ring holds every block"));
    }
    (Outbox { full, free, block_count, taken: 0, thread }, Inbox { full: full_inbox, free: free_inbox })
}

/// The shard's end.
#[derive(Debug)]
pub struct Outbox<T> {
    full: Producer<T>,
    free: Consumer<T>,
    block_count: usize,
    /// Blocks in the hands of the consumer.
    taken: usize,
    thread: Thread,
}

impl<T> Outbox<T> {
    /// A free block, if there is one.
    #[inline]
    pub fn take(&mut self) -> Option<T> {
        let block = self.free.pop().ok()?;
        self.taken += 1;
        Some(block)
    }

    /// Blocks that can be had now.
    #[inline]
    pub fn available(&self) -> usize {
        self.free.slots()
    }

    /// Hands a block over.
    pub fn hand_over(&mut self, block: T) {
        self.full.push(block).unwrap_or_else(|_| unreachable!("the ring holds every block"));
        self.taken -= 1;
        self.thread.unpark();
    }

    /// Waits for a free block; for the end of a run only.
    pub fn wait_for_block(&mut self, at_most: Duration) -> Option<T> {
        let until = Instant::now() + at_most;
        loop {
            if let Some(block) = self.take() {
                return Some(block);
            }
            if Instant::now() >= until {
                return None;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits until every block handed over has come back; for the end of a run only. Returns whether they did.
    pub fn wait_until_written(&mut self, at_most: Duration) -> bool {
        let until = Instant::now() + at_most;
        while self.free.slots() + self.taken < self.block_count {
            if Instant::now() >= until {
                return false;
            }
            thread::sleep(Duration::from_millis(1));
        }
        true
    }
}

/// The thread's end for one consumer.
#[derive(Debug)]
pub struct Inbox<T> {
    full: Consumer<T>,
    free: Producer<T>,
}

/// Why there is no block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoBlock {
    /// None was handed over yet.
    Yet,
    /// The consumer is gone, and all it handed over has been taken.
    AnyMore,
}

impl<T> Inbox<T> {
    /// The next block; waits for it. `None` when the consumer is gone and all it handed over has been taken.
    pub fn wait(&mut self) -> Option<T> {
        loop {
            match self.poll() {
                Ok(block) => return Some(block),
                Err(NoBlock::AnyMore) => return None,
                Err(NoBlock::Yet) => thread::park_timeout(IDLE),
            }
        }
    }

    /// The next block, if it is there.
    ///
    /// # Errors
    /// [`NoBlock`]
    pub fn poll(&mut self) -> Result<T, NoBlock> {
        // Asked before the look into the ring: what was handed over before the consumer went is still there.
        let abandoned = self.full.is_abandoned();
        self.full.pop().map_err(|_| if abandoned { NoBlock::AnyMore } else { NoBlock::Yet })
    }

    /// Whether a block was handed over.
    pub fn has_block(&self) -> bool {
        !self.full.is_empty()
    }

    /// Gives a block back.
    pub fn give_back(&mut self, block: T) {
        self.free.push(block).unwrap_or_else(|_| unreachable!("the ring holds every block"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[test]
    fn blocks_go_round_in_order_and_a_second_consumer_is_served_after_the_first() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&seen);
        let thread = BlockThread::start("handoff", move |inbox: &mut Inbox<u32>| {
            while let Some(block) = inbox.wait() {
                noted.lock().unwrap().push(block);
                inbox.give_back(block);
            }
        })
        .unwrap();
        for session in 0..2 {
            let mut outbox = thread.open(vec![0, 0]);
            for number in 0..100 {
                outbox.wait_for_block(Duration::from_secs(20)).expect("it comes back");
                outbox.hand_over(session * 1_000 + number);
            }
            assert!(outbox.wait_until_written(Duration::from_secs(20)));
        }
        let expected: Vec<u32> = (0..100).chain(1_000..1_100).collect();
        assert_eq!(*seen.lock().unwrap(), expected);
    }

    #[test]
    fn a_thread_that_does_not_give_back_leaves_the_shard_without_blocks_and_not_waiting() {
        let (release, held) = mpsc::channel::<()>();
        let thread = BlockThread::start("handoff", move |inbox: &mut Inbox<u32>| {
            let _ = held.recv();
            while let Some(block) = inbox.wait() {
                inbox.give_back(block);
            }
        })
        .unwrap();
        let mut outbox = thread.open(vec![0, 0]);
        for _ in 0..2 {
            let block = outbox.take().expect("two blocks");
            outbox.hand_over(block);
        }
        assert!(outbox.take().is_none());
        assert!(!outbox.wait_until_written(Duration::from_millis(1)));
        drop(release);
        assert!(outbox.wait_until_written(Duration::from_secs(20)));
        assert!(outbox.take().is_some());
    }
}
