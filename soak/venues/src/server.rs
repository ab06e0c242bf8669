//! The socket shell: one thread, one epoll, one port for WebSocket and REST.
//!
//! Decides nothing: it moves bytes between sockets and a [`Site`], and sleeps until the site's next wake-up. Pinning
//! the thread is the caller's business (see [`Options::first`]).

mod transport;

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token, Waker};

use self::transport::{Received, Transport};
use crate::VenueConfig;
use crate::exchange::{ApiKey, Fill, Order, TradingTruth};
use crate::faults::Fault;
use crate::output::{ConnectionId, Ending};
use crate::site::Site;
use crate::venue::{BookTruth, InstrumentTruth, Stats};

const LISTENER: Token = Token(usize::MAX - 1);
const WAKER: Token = Token(usize::MAX - 2);

/// Sockets that have something, taken at once.
const EVENTS_MAX: usize = 256;

/// The shortest sleep. A venue with a thousand messages a second would wake for each of them otherwise.
const SLEEP_MIN: Duration = Duration::from_millis(1);
/// The longest sleep.
const SLEEP_MAX: Duration = Duration::from_secs(1);

/// What the handles ask of the thread.
enum Command {
    Fault(Fault),
    Rate(f64),
    Stats(Sender<Stats>),
    Truth(Sender<Vec<InstrumentTruth>>),
    Book(String, Sender<Option<BookTruth>>),
    Trading(Sender<TradingTruth>),
    Keys(Sender<Vec<ApiKey>>),
    Stop,
}

/// Orders faults from any thread.
#[derive(Clone)]
pub struct FaultHandle {
    commands: Sender<Command>,
    waker: Arc<Waker>,
}

impl FaultHandle {
    /// Orders a fault; it takes effect within about a millisecond. Nothing happens if the server has stopped.
    pub fn inject(&self, fault: Fault) {
        self.send(Command::Fault(fault));
    }

    /// Changes the number of messages per second of each instrument; 0 stands still.
    pub fn set_rate(&self, messages_per_instrument_per_s: f64) {
        self.send(Command::Rate(messages_per_instrument_per_s));
    }

    /// All orders that the venue accepted since its start; empty if the server has stopped.
    pub fn orders(&self) -> Vec<Order> {
        self.trading().orders
    }

    /// All fills since the venue's start; empty if the server has stopped.
    pub fn fills(&self) -> Vec<Fill> {
        self.trading().fills
    }

    /// Orders and fills, of the same moment.
    pub fn trading(&self) -> TradingTruth {
        self.ask(Command::Trading)
    }

    /// The throw-away keys of all accounts; none if the server has stopped.
    pub fn keys(&self) -> Vec<ApiKey> {
        self.ask(Command::Keys)
    }

    fn send(&self, command: Command) {
        // Both fail only when the thread is gone, and then there is nothing to command.
        let _ = self.commands.send(command);
        let _ = self.waker.wake();
    }

    fn ask<T: Default>(&self, command: impl FnOnce(Sender<T>) -> Command) -> T {
        let (answer, answered) = channel();
        self.send(command(answer));
        answered.recv().unwrap_or_default()
    }
}

/// A simulated venue that runs on a thread of its own.
pub struct Server {
    address: SocketAddr,
    name: &'static str,
    handle: FaultHandle,
    thread: Option<JoinHandle<()>>,
}

/// Starts a venue on a thread called `sim-<venue>`. With port 0 the system chooses one, see [`Server::address`].
///
/// # Errors
///
/// Those of binding, of epoll and of starting a thread.
pub fn start(listen: SocketAddr, venue: VenueConfig) -> io::Result<Server> {
    start_with(listen, venue, Options::default())
}

/// How a server is started.
#[derive(Default)]
pub struct Options {
    /// Speak TLS with this configuration; plain TCP without.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Called on the new thread before anything else, to pin it for example.
    pub first: Option<Box<dyn FnOnce() + Send>>,
}

/// As [`start`], with options.
///
/// # Errors
///
/// Those of binding, of epoll and of starting a thread.
pub fn start_with(listen: SocketAddr, venue: VenueConfig, options: Options) -> io::Result<Server> {
    let (mut shell, handle) = Shell::bind(listen, venue, options.tls)?;
    let address = shell.listener.local_addr()?;
    let name = shell.site.name();
    let first = options.first;
    let thread = std::thread::Builder::new().name(format!("sim-{name}")).spawn(move || {
        if let Some(first) = first {
            first();
        }
        if let Err(error) = shell.run() {
            let _ = writeln!(io::stderr(), "simulated venue {name}: {error}");
        }
    })?;
    Ok(Server { address, name, handle, thread: Some(thread) })
}

/// Runs a venue on the calling thread until the process ends; `ready` gets the address and the handle.
///
/// # Errors
///
/// Those of binding and of epoll, also later ones.
pub fn run_alone(
    listen: SocketAddr,
    venue: VenueConfig,
    ready: impl FnOnce(SocketAddr, FaultHandle),
) -> io::Result<()> {
    let (mut shell, handle) = Shell::bind(listen, venue, None)?;
    ready(shell.listener.local_addr()?, handle);
    shell.run()
}

/// A venue on the thread of whoever calls its turns: where no core is left for a thread of its own.
pub struct Driven {
    shell: Shell,
    events: Events,
}

/// A venue that [`Driven::turn`] moves.
///
/// # Errors
///
/// Those of binding and of epoll.
pub fn driven(listen: SocketAddr, venue: VenueConfig) -> io::Result<Driven> {
    let (shell, _) = Shell::bind(listen, venue, None)?;
    Ok(Driven { shell, events: Events::with_capacity(EVENTS_MAX) })
}

impl Driven {
    /// Where it listens.
    ///
    /// # Errors
    ///
    /// Those of the socket.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.shell.listener.local_addr()
    }

    /// The throw-away keys of all accounts.
    pub fn keys(&self) -> Vec<ApiKey> {
        self.shell.site.keys()
    }

    /// Sends what is due and takes what came, without waiting.
    ///
    /// # Errors
    ///
    /// Those of epoll.
    pub fn turn(&mut self) -> io::Result<()> {
        self.shell.turn(&mut self.events, Some(Duration::ZERO)).map(drop)
    }
}

impl Server {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// For example `binance`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Orders faults.
    pub fn faults(&self) -> FaultHandle {
        self.handle.clone()
    }

    /// Changes the number of messages per second of each instrument; 0 stands still.
    pub fn set_rate(&self, messages_per_instrument_per_s: f64) {
        self.handle.set_rate(messages_per_instrument_per_s);
    }

    /// Counters; all zero if the server has stopped.
    pub fn stats(&self) -> Stats {
        self.handle.ask(Command::Stats)
    }

    /// What was sent, for each instrument; empty if the server has stopped.
    pub fn truth(&self) -> Vec<InstrumentTruth> {
        self.handle.ask(Command::Truth)
    }

    /// The true book of one instrument, by canonical symbol; `None` if there is no such instrument.
    pub fn book(&self, symbol: &str) -> Option<BookTruth> {
        self.handle.ask(|answer| Command::Book(symbol.to_owned(), answer))
    }

    /// Closes all connections and ends the thread.
    pub fn stop(mut self) {
        self.stop_and_join();
    }

    fn stop_and_join(&mut self) {
        self.handle.send(Command::Stop);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been printed by the thread.
            let _ = thread.join();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop_and_join();
    }
}

/// The system's clock at the start, and a monotonic one from there on, so that a step of the system's clock is no
/// step of the market.
struct Clock {
    start: Instant,
    epoch_ns: u64,
}

impl Clock {
    fn new() -> Self {
        let epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { start: Instant::now(), epoch_ns: epoch.as_nanos() as u64 }
    }

    fn now_ns(&self) -> u64 {
        self.epoch_ns + self.start.elapsed().as_nanos() as u64
    }
}

struct Shell {
    poll: Poll,
    listener: TcpListener,
    commands: Receiver<Command>,
    site: Site,
    clock: Clock,
    tls: Option<Arc<rustls::ServerConfig>>,
    transports: Vec<Option<Transport>>,
    dirty: Vec<ConnectionId>,
    input: Vec<u8>,
}

impl Shell {
    fn bind(
        listen: SocketAddr,
        venue: VenueConfig,
        tls: Option<Arc<rustls::ServerConfig>>,
    ) -> io::Result<(Self, FaultHandle)> {
        let poll = Poll::new()?;
        let mut listener = TcpListener::bind(listen)?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        let (sender, commands) = channel();
        let clock = Clock::new();
        let output_bytes_max = venue.output_bytes_max();
        let site = Site::new(venue.build(clock.now_ns()), output_bytes_max);
        let shell = Self {
            poll,
            listener,
            commands,
            site,
            clock,
            tls,
            transports: Vec::new(),
            dirty: Vec::new(),
            input: vec![0; 64 * 1024],
        };
        Ok((shell, FaultHandle { commands: sender, waker }))
    }

    fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS_MAX);
        while self.turn(&mut events, None)? {}
        Ok(())
    }

    /// One round; waits for `wait`, or until something is due. `false`: stop.
    fn turn(&mut self, events: &mut Events, wait: Option<Duration>) -> io::Result<bool> {
        let now_ns = self.clock.now_ns();
        while let Ok(command) = self.commands.try_recv() {
            if !self.obey(command, now_ns) {
                return Ok(false);
            }
        }
        self.site.poll(now_ns);
        self.flush_dirty();
        let timeout = wait.unwrap_or_else(|| self.sleep());
        match self.poll.poll(events, Some(timeout)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for event in &*events {
            match event.token() {
                LISTENER => self.accept()?,
                WAKER => {}
                Token(index) => {
                    let id = ConnectionId(index as u32);
                    if event.is_readable() || event.is_read_closed() || event.is_error() {
                        self.read(id);
                    }
                    if event.is_writable() {
                        self.flush(id);
                    }
                }
            }
        }
        Ok(true)
    }

    fn sleep(&self) -> Duration {
        let wait_ns = self.site.next_wake_ns().saturating_sub(self.clock.now_ns());
        if wait_ns == 0 { Duration::ZERO } else { Duration::from_nanos(wait_ns).clamp(SLEEP_MIN, SLEEP_MAX) }
    }

    /// `false`: stop.
    fn obey(&mut self, command: Command, now_ns: u64) -> bool {
        // An answer that nobody waits for any more is no error.
        match command {
            Command::Fault(fault) => self.site.fault(&fault, now_ns),
            Command::Rate(rate) => self.site.set_rate(rate, now_ns),
            Command::Stats(answer) => drop(answer.send(self.site.stats())),
            Command::Truth(answer) => drop(answer.send(self.site.truth())),
            Command::Book(symbol, answer) => drop(answer.send(self.site.book(&symbol))),
            Command::Trading(answer) => drop(answer.send(self.site.trading())),
            Command::Keys(answer) => drop(answer.send(self.site.keys())),
            Command::Stop => return false,
        }
        true
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let mut socket = match self.listener.accept() {
                Ok((socket, _)) => socket,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                // No more descriptors, for example: the next client brings us here again.
                Err(_) => return Ok(()),
            };
            // A small frame must not wait for the acknowledgement of the one before.
            let _ = socket.set_nodelay(true);
            let Some(id) = self.site.open(self.clock.now_ns()) else { continue };
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.poll.registry().register(&mut socket, Token(id.index()), interest)?;
            if self.transports.len() <= id.index() {
                self.transports.resize_with(id.index() + 1, || None);
            }
            match Transport::new(socket, self.tls.as_ref()) {
                Ok(transport) => self.transports[id.index()] = Some(transport),
                Err(error) => {
                    self.site.closed(id);
                    return Err(io::Error::other(error));
                }
            }
        }
    }

    fn read(&mut self, id: ConnectionId) {
        loop {
            let Some(Some(transport)) = self.transports.get_mut(id.index()) else { return };
            match transport.receive(&mut self.input) {
                Received::Bytes(count) => {
                    self.site.receive(id, &self.input[..count], self.clock.now_ns());
                }
                Received::Nothing => return,
                Received::Closed => return self.remove(id),
            }
        }
    }

    fn flush_dirty(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        self.site.take_dirty(&mut dirty);
        for id in &dirty {
            self.flush(*id);
        }
        self.dirty = dirty;
    }

    fn flush(&mut self, id: ConnectionId) {
        let Some(Some(transport)) = self.transports.get_mut(id.index()) else { return };
        if matches!(self.site.ending(id), Some(Ending::Abort(_))) {
            return self.remove(id);
        }
        while !self.site.unsent(id).is_empty() {
            match transport.send(self.site.unsent(id)) {
                Ok(0) => return,
                Ok(count) => self.site.sent(id, count),
                Err(_) => return self.remove(id),
            }
        }
        match transport.flush() {
            Ok(true) if self.site.ending(id).is_none() => {}
            Ok(false) => {}
            Ok(true) | Err(_) => self.remove(id),
        }
    }

    fn remove(&mut self, id: ConnectionId) {
        if let Some(transport) = self.transports.get_mut(id.index()).and_then(Option::take) {
            transport.close(self.poll.registry());
            self.site.closed(id);
        }
    }
}
