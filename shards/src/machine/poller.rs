//! The sockets of one shard in one epoll set.
//!
//! Level triggered: a socket that still has bytes is reported again, so a turn may stop reading at its own bound.
//! One poll over eight idle sockets is about 100 ns, where one `recv` on an idle socket is 240 ns each.
//! Nothing is allocated after construction.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

/// Reports taken in one poll. More sockets than this are reported by the next poll; epoll rotates its list.
pub const EVENTS_PER_POLL_MAX: usize = 64;

/// The token of the eventfd by which other shards wake this one; never reported.
const TOKEN_WAKE: u64 = u64::MAX;

/// A socket's number within its shard, chosen by whoever registers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(pub u32);

/// What a socket is watched for. Errors and hang-ups are always reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Bytes to read: the normal state.
    Read,
    /// Also room to write: while connecting, and while a send queue holds bytes.
    ReadWrite,
    /// Only errors and hang-ups: a connection that must not be read now.
    Paused,
}

impl Interest {
    fn flags(self) -> EventFlags {
        match self {
            Self::Read => EventFlags::IN | EventFlags::RDHUP,
            Self::ReadWrite => EventFlags::IN | EventFlags::RDHUP | EventFlags::OUT,
            Self::Paused => EventFlags::empty(),
        }
    }
}

/// One socket's report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    /// Which socket.
    pub token: Token,
    /// A read will not block. Also set on errors and hang-ups: the read says which.
    pub readable: bool,
    /// A write will not block, or a connect has been decided.
    pub writable: bool,
}

/// The epoll set of one shard.
pub struct Poller {
    epoll: Rc<OwnedFd>,
    events: Box<[Event]>,
    /// How many of `events` the last poll filled.
    filled: usize,
}

impl Poller {
    /// An empty set.
    ///
    /// # Errors
    ///
    /// What the kernel says: too many open files, or `Unsupported` from a kernel older than 5.11 (which lacks
    /// `epoll_pwait2`; the executor needs io_uring's timers from 5.8 on anyway).
    pub fn new() -> io::Result<Self> {
        let epoll = Rc::new(epoll::create(CreateFlags::CLOEXEC)?);
        let mut poller = Self { epoll, events: event_buffer(EVENTS_PER_POLL_MAX), filled: 0 };
        poller.poll()?;
        Ok(poller)
    }

    /// Starts watching `socket` under `token`. The kernel forgets a socket when it is closed.
    pub fn add(&self, socket: impl AsFd, token: Token, interest: Interest) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, socket, EventData::new_u64(u64::from(token.0)), interest.flags())?)
    }

    /// Changes what `socket` is watched for.
    pub fn modify(&self, socket: impl AsFd, token: Token, interest: Interest) -> io::Result<()> {
        Ok(epoll::modify(&self.epoll, socket, EventData::new_u64(u64::from(token.0)), interest.flags())?)
    }

    /// Stops watching `socket`; only needed for one that stays open.
    pub fn remove(&self, socket: impl AsFd) -> io::Result<()> {
        Ok(epoll::delete(&self.epoll, socket)?)
    }

    /// Takes what is ready now, without waiting; returns how many reports [`Self::ready`] holds.
    pub fn poll(&mut self) -> io::Result<usize> {
        self.wait(Some(Duration::ZERO))
    }

    /// Waits until something is ready or `timeout` has passed (`None`: for ever); returns how many reports
    /// [`Self::ready`] holds. An interrupted wait is an early return, not an error.
    pub fn wait(&mut self, timeout: Option<Duration>) -> io::Result<usize> {
        self.filled = 0;
        self.filled = wait(&self.epoll, &mut self.events, timeout)?;
        // A wake by another shard is nobody's socket, and there is at most one.
        let wake = self.events[..self.filled].iter().position(|event| event.data.u64() == TOKEN_WAKE);
        if let Some(index) = wake {
            self.filled -= 1;
            self.events.swap(index, self.filled);
        }
        Ok(self.filled)
    }

    /// The report at `index`, for a caller that changes the set while it goes through them; `None` past the end.
    pub fn event(&self, index: usize) -> Option<Ready> {
        // The struct is packed: copy the fields before using them.
        let Event { flags, data, .. } = *self.events[..self.filled].get(index)?;
        let failed = flags.intersects(EventFlags::ERR | EventFlags::HUP | EventFlags::RDHUP);
        Some(Ready {
            token: Token(data.u64() as u32),
            readable: failed || flags.contains(EventFlags::IN),
            writable: failed || flags.contains(EventFlags::OUT),
        })
    }

    /// What the last poll or wait reported.
    pub fn ready(&self) -> impl Iterator<Item = Ready> + '_ {
        (0..self.filled).map_while(|index| self.event(index))
    }

    /// A second view of the same set for the idle policy, which only waits and leaves the reports to the turn.
    pub(super) fn waiter(&self) -> Waiter {
        Waiter { epoll: Rc::clone(&self.epoll), events: event_buffer(1) }
    }
}

/// Waits on a shard's set without consuming what it reports: the next [`Poller::poll`] sees it again.
pub(super) struct Waiter {
    epoll: Rc<OwnedFd>,
    events: Box<[Event]>,
}

impl Waiter {
    /// Adds the shard's eventfd. Edge triggered: each write to it is one report, so that nobody has to read it back
    /// to zero, which saves the receiver a system call per wake.
    pub(super) fn watch_wakes(&self, eventfd: impl AsFd) -> io::Result<()> {
        let data = EventData::new_u64(TOKEN_WAKE);
        Ok(epoll::add(&self.epoll, eventfd, data, EventFlags::IN | EventFlags::ET)?)
    }

    /// What ended the wait.
    pub(super) fn wait(&mut self, timeout: Duration) -> io::Result<Woken> {
        Ok(match wait(&self.epoll, &mut self.events, Some(timeout))? {
            0 => Woken::Deadline,
            _ if self.events[0].data.u64() == TOKEN_WAKE => Woken::Sender,
            _ => Woken::Socket,
        })
    }
}

/// What ended a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// The time was up, or a signal came.
    Deadline,
    /// Another shard published something.
    Sender,
    /// A socket is ready.
    Socket,
}

impl fmt::Debug for Poller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Poller")
            .field("epoll", &self.epoll)
            .field("filled", &self.filled)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Waiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiter").field("epoll", &self.epoll).finish_non_exhaustive()
    }
}

fn event_buffer(events: usize) -> Box<[Event]> {
    vec![Event { flags: EventFlags::empty(), data: EventData::new_u64(0) }; events].into_boxed_slice()
}

fn wait(epoll: &OwnedFd, events: &mut [Event], timeout: Option<Duration>) -> io::Result<usize> {
    let timeout = timeout.map(|timeout| Timespec {
        tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    });
    match epoll::wait(epoll, events, timeout.as_ref()) {
        Ok(filled) => Ok(filled),
        Err(rustix::io::Errno::INTR) => Ok(0),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;
    use crate::machine::testing::socket_pair;

    #[test]
    fn an_idle_set_reports_nothing() {
        let (mut poller, (client, _server)) = (Poller::new().unwrap(), socket_pair());
        poller.add(&client, Token(3), Interest::Read).unwrap();
        assert_eq!(poller.poll().unwrap(), 0);
        assert_eq!(poller.ready().count(), 0);
        assert_eq!(poller.event(0), None);
    }

    #[test]
    fn bytes_are_reported_under_their_token_until_they_are_read() {
        let (mut poller, (mut client, mut server)) = (Poller::new().unwrap(), socket_pair());
        poller.add(&client, Token(3), Interest::Read).unwrap();
        server.write_all(b"x").unwrap();
        for _ in 0..2 {
            poller.wait(Some(Duration::from_secs(5))).unwrap();
            let expected = Ready { token: Token(3), readable: true, writable: false };
            assert_eq!(poller.ready().collect::<Vec<_>>(), [expected]);
        }
        client.read_exact(&mut [0]).unwrap();
        assert_eq!(poller.poll().unwrap(), 0);
    }

    #[test]
    fn writability_is_reported_only_when_asked_for() {
        let (mut poller, (client, _server)) = (Poller::new().unwrap(), socket_pair());
        poller.add(&client, Token(0), Interest::ReadWrite).unwrap();
        poller.poll().unwrap();
        assert!(poller.event(0).unwrap().writable);
        poller.modify(&client, Token(0), Interest::Read).unwrap();
        assert_eq!(poller.poll().unwrap(), 0);
    }

    #[test]
    fn a_paused_socket_reports_no_bytes_and_a_closed_one_is_readable() {
        let (mut poller, (client, mut server)) = (Poller::new().unwrap(), socket_pair());
        poller.add(&client, Token(0), Interest::Paused).unwrap();
        server.write_all(b"x").unwrap();
        assert_eq!(poller.poll().unwrap(), 0);
        poller.modify(&client, Token(0), Interest::Read).unwrap();
        drop(server);
        poller.wait(Some(Duration::from_secs(5))).unwrap();
        assert!(poller.event(0).unwrap().readable);
    }

    #[test]
    fn a_removed_socket_is_silent() {
        let (mut poller, (client, mut server)) = (Poller::new().unwrap(), socket_pair());
        poller.add(&client, Token(0), Interest::Read).unwrap();
        server.write_all(b"x").unwrap();
        poller.remove(&client).unwrap();
        assert_eq!(poller.poll().unwrap(), 0);
    }

    #[test]
    fn waiting_leaves_the_reports_to_the_turn() {
        let (mut poller, (client, mut server)) = (Poller::new().unwrap(), socket_pair());
        poller.add(&client, Token(7), Interest::Read).unwrap();
        let mut waiter = poller.waiter();
        server.write_all(b"x").unwrap();
        assert_eq!(waiter.wait(Duration::from_secs(5)).unwrap(), Woken::Socket);
        poller.poll().unwrap();
        assert_eq!(poller.event(0).unwrap().token, Token(7));
    }
}
