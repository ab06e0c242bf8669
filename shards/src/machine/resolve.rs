//! Names to addresses, off the shards' threads.
//!
//! The system's resolver blocks for milliseconds to seconds, so it runs on a few threads of its own. They are started
//! by the launcher before any thread is pinned: a thread inherits its maker's cores, and one made by a shard would
//! run on the core that spins. An address that is already numeric needs no thread and is there at once.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::idle::Waker;

/// Threads that resolve: one name that takes its 30 s must not hold up another venue's.
const THREADS: usize = 2;

/// Names that may wait, of all shards together. Each provider asks for one or two hosts at a time.
const QUEUE_NAMES_MAX: usize = 64;

/// Asks for addresses. Cloned to each shard; the threads end when the last clone is gone.
#[derive(Clone, Debug)]
pub struct Resolver {
    names: SyncSender<Question>,
}

struct Question {
    host: String,
    port: u16,
    answer: SyncSender<io::Result<Vec<SocketAddr>>>,
    waker: Waker,
}

/// One question under way. Dropping it forgets the answer.
#[derive(Debug)]
pub enum Lookup {
    /// The answer was known at once.
    Known(Vec<SocketAddr>),
    /// A thread is at it.
    Asked(Receiver<io::Result<Vec<SocketAddr>>>),
}

impl Resolver {
    /// Starts the threads. Call it before pinning the calling thread.
    ///
    /// # Errors
    ///
    /// What the kernel says when it refuses a thread.
    pub fn start() -> io::Result<Self> {
        Self::with(|host, port| Ok((host, port).to_socket_addrs()?.collect()))
    }

    fn with(
        resolve: impl Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Clone + Send + 'static,
    ) -> io::Result<Self> {
        let (names, questions) = sync_channel::<Question>(QUEUE_NAMES_MAX);
        let questions = Arc::new(Mutex::new(questions));
        for index in 0..THREADS {
            let (questions, resolve) = (questions.clone(), resolve.clone());
            thread::Builder::new().name(format!("resolve-{index}")).spawn(move || {
                loop {
                    // The lock is released before the name is resolved.
                    let question = questions.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok(question) = question else { return };
                    // Nobody may be waiting any more; that is theirs to decide.
                    let _ = question.answer.send(usable(resolve(&question.host, question.port)));
                    question.waker.wake();
                }
            })?;
        }
        Ok(Self { names })
    }

    /// Asks for the addresses of `host`; `waker` is woken when the answer is there.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when too many names wait: ask again later.
    pub fn lookup(&self, host: &str, port: u16, waker: Waker) -> io::Result<Lookup> {
        if let Ok(address) = host.trim_matches(['[', ']']).parse::<IpAddr>() {
            return Ok(Lookup::Known(vec![SocketAddr::new(address, port)]));
        }
        let (answer, answered) = sync_channel(1);
        match self.names.try_send(Question { host: host.to_owned(), port, answer, waker }) {
            Ok(()) => Ok(Lookup::Asked(answered)),
            Err(TrySendError::Full(_)) => Err(io::ErrorKind::WouldBlock.into()),
            Err(TrySendError::Disconnected(_)) => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

impl Lookup {
    /// The answer, once, when it is there: at least one address, in the system's order of preference.
    pub fn poll(&mut self) -> Option<io::Result<Vec<SocketAddr>>> {
        match self {
            Self::Known(addresses) if addresses.is_empty() => None, // already given
            Self::Known(addresses) => Some(Ok(std::mem::take(addresses))),
            Self::Asked(answer) => match answer.try_recv() {
                Ok(answer) => {
                    *self = Self::Known(Vec::new());
                    Some(answer)
                }
                Err(TryRecvError::Empty) => None,
                Err(TryRecvError::Disconnected) => {
                    *self = Self::Known(Vec::new());
                    Some(Err(io::Error::other("the resolver's threads are gone")))
                }
            },
        }
    }
}

fn usable(answer: io::Result<Vec<SocketAddr>>) -> io::Result<Vec<SocketAddr>> {
    let mut addresses = answer?;
    let mut seen = Vec::with_capacity(addresses.len());
    addresses.retain(|address| {
        !seen.contains(address) && {
            seen.push(*address);
            true
        }
    });
    if addresses.is_empty() {
        Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"))
    } else {
        Ok(addresses)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::machine::testing::until;

    const ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 443);

    fn ask(resolver: &Resolver, host: &str) -> io::Result<Vec<SocketAddr>> {
        let mut lookup = resolver.lookup(host, 443, Waker::new().unwrap()).unwrap();
        let answer = until("the answer is there", || lookup.poll());
        assert!(lookup.poll().is_none(), "an answer is given once");
        answer
    }

    #[test]
    fn a_numeric_address_is_known_at_once() {
        let resolver = Resolver::with(|_, _| panic!("nobody needs to be asked")).unwrap();
        let mut lookup = resolver.lookup("192.0.2.1", 443, Waker::new().unwrap()).unwrap();
        assert_eq!(lookup.poll().unwrap().unwrap(), [ADDRESS]);
        assert!(lookup.poll().is_none());
        assert_eq!(ask(&resolver, "[::1]").unwrap(), ["[::1]:443".parse().unwrap()]);
    }

    #[test]
    fn this_host_resolves() {
        let addresses = ask(&Resolver::start().unwrap(), "localhost").unwrap();
        assert!(addresses.iter().all(|address| address.ip().is_loopback() && address.port() == 443));
    }

    #[test]
    fn an_answer_names_each_address_once() {
        let resolver = Resolver::with(|_, _| Ok(vec![ADDRESS, ADDRESS])).unwrap();
        assert_eq!(ask(&resolver, "venue.example").unwrap(), [ADDRESS]);
    }

    #[test]
    fn no_address_and_a_failure_are_errors() {
        let resolver = Resolver::with(|host, _| match host {
            "empty.example" => Ok(Vec::new()),
            _ => Err(io::Error::other("no such name")),
        })
        .unwrap();
        assert_eq!(ask(&resolver, "empty.example").unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(ask(&resolver, "missing.example").unwrap_err().to_string(), "no such name");
    }

    #[test]
    fn a_slow_name_does_not_hold_up_another_and_too_many_are_refused() {
        let (release, gate) = sync_channel::<()>(0);
        let gate = Arc::new(Mutex::new(gate));
        let resolver = Resolver::with(move |host, _| {
            if host == "slow.example" {
                let _ = gate.lock().unwrap().recv();
            }
            Ok(vec![ADDRESS])
        })
        .unwrap();
        let waker = Waker::new().unwrap();
        let mut slow = resolver.lookup("slow.example", 443, waker.clone()).unwrap();
        assert_eq!(ask(&resolver, "quick.example").unwrap(), [ADDRESS]);
        assert!(slow.poll().is_none());

        let mut waiting = Vec::new();
        let refused =
            until("the queue is full", || match resolver.lookup("slow.example", 443, waker.clone()) {
                Ok(lookup) => {
                    waiting.push(lookup);
                    None
                }
                Err(error) => Some(error),
            });
        assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
        drop(release);
        until("the slow one is there", || slow.poll()).unwrap();
    }
}
