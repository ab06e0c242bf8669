//! The sockets of the control endpoint: a listener and a bounded number of connections on one thread that shares nothing
//! with the data path.
//!
//! Whoever sends a byte a second, nothing, or garbage keeps one of [`CONNECTIONS_MAX`] places for [`REQUEST_NS_MAX`] at
//! the most. An answer that takes longer than its request (a change that shards must confirm) is given later, by ticket.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use super::http::{BODY_BYTES_MAX, HEAD_BYTES_MAX, Parsed, Request, Response, parse};
use crate::machine::poller::{Interest, Poller, Token};

/// Connections at a time; one more is told so and closed.
pub const CONNECTIONS_MAX: usize = 64;
/// From the first byte of a request to its last, and from the answer to its last byte taken, in nanoseconds.
pub const REQUEST_NS_MAX: u64 = 5_000_000_000;
/// Between two requests of one connection, in nanoseconds.
pub const IDLE_NS_MAX: u64 = 30_000_000_000;
/// Connections accepted in one turn.
const ACCEPTS_PER_TURN_MAX: usize = 128;
/// The listener's token.
const LISTENER: Token = Token(u32::MAX);

/// Whose answer is still due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    slot: usize,
    generation: u64,
}

impl Ticket {
    /// The ticket of somebody who asks without a socket, by a number of its own.
    pub const fn of(number: usize) -> Self {
        Self { slot: number, generation: 0 }
    }

    /// The number that was given to [`of`](Self::of).
    pub const fn number(self) -> usize {
        self.slot
    }
}

struct Connection {
    stream: TcpStream,
    generation: u64,
    inbox: Vec<u8>,
    outbox: Vec<u8>,
    written: usize,
    /// When the current request, answer or pause ends at the latest.
    until_ns: u64,
    /// The answer is being made; no further request is read meanwhile.
    waiting: Option<(bool, bool)>,
    closing: bool,
    wants_write: bool,
}

/// What came of connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerCounts {
    /// Connections taken.
    pub accepted_total: u64,
    /// Connections beyond [`CONNECTIONS_MAX`].
    pub refused_total: u64,
    /// Requests answered, whatever the answer.
    pub requests_total: u64,
    /// Requests answered with 4xx or 5xx.
    pub errors_total: u64,
    /// Connections ended because they took too long.
    pub timeouts_total: u64,
}

/// The listener and its connections.
pub struct Server {
    listener: TcpListener,
    poller: Poller,
    connections: Vec<Option<Connection>>,
    generation: u64,
    /// What was counted.
    pub counts: ServerCounts,
}

impl Server {
    /// Listens on `address`.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        Self::over(TcpListener::bind(address)?)
    }

    /// Serves a listener that is bound already. To be called on the thread that serves.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn over(listener: TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let poller = Poller::new()?;
        poller.add(&listener, LISTENER, Interest::Read)?;
        let connections = (0..CONNECTIONS_MAX).map(|_| None).collect();
        Ok(Self { listener, poller, connections, generation: 0, counts: ServerCounts::default() })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Waits up to `wait` for something to come, and hands each whole request to `handle`, which answers now or, with
    /// `None`, later through [`answer`](Self::answer). `now_ns` is asked after the wait.
    ///
    /// # Errors
    /// What the kernel says about the wait; what befalls a connection ends that connection.
    pub fn turn(
        &mut self,
        wait: Duration,
        now_ns: impl Fn() -> u64,
        mut handle: impl FnMut(Ticket, &Request) -> Option<Response>,
    ) -> io::Result<()> {
        let events = self.poller.wait(Some(wait))?;
        let now_ns = now_ns();
        for index in 0..events {
            let Some(ready) = self.poller.event(index) else { break };
            if ready.token == LISTENER {
                self.accept(now_ns);
                continue;
            }
            let slot = ready.token.0 as usize;
            if ready.readable {
                self.read(slot, now_ns);
            }
            self.serve(slot, now_ns, &mut handle);
        }
        for slot in 0..self.connections.len() {
            let Some(connection) = &self.connections[slot] else { continue };
            if now_ns >= connection.until_ns && connection.waiting.is_none() {
                self.overdue(slot, now_ns);
            }
        }
        Ok(())
    }

    /// Gives an answer that was due. A connection that is gone gets none.
    pub fn answer(&mut self, ticket: Ticket, response: &Response, now_ns: u64) {
        let Some(Some(connection)) = self.connections.get_mut(ticket.slot) else { return };
        if connection.generation != ticket.generation {
            return;
        }
        let Some((keep_alive, without_body)) = connection.waiting.take() else { return };
        self.counts.requests_total += 1;
        self.counts.errors_total += u64::from(response.status >= 400);
        connection.put(response, keep_alive, without_body, now_ns);
        self.write(ticket.slot, now_ns);
    }

    fn accept(&mut self, now_ns: u64) {
        for _ in 0..ACCEPTS_PER_TURN_MAX {
            let Ok((mut stream, _)) = self.listener.accept() else { return };
            if stream.set_nonblocking(true).is_err() {
                continue;
            }
            let Some(slot) = self.connections.iter().position(Option::is_none) else {
                self.counts.refused_total += 1;
                let refusal =
                    Response::error(503, "64 connections are open", "try again when one has been closed");
                let mut bytes = Vec::new();
                refusal.encode(false, false, &mut bytes);
                // A fresh socket has room for it; whoever does not read it has nothing to lose.
                let _ = stream.write(&bytes);
                continue;
            };
            let _ = stream.set_nodelay(true);
            self.generation += 1;
            self.counts.accepted_total += 1;
            if self.poller.add(&stream, Token(slot as u32), Interest::Read).is_err() {
                continue;
            }
            self.connections[slot] = Some(Connection {
                stream,
                generation: self.generation,
                inbox: Vec::new(),
                outbox: Vec::new(),
                written: 0,
                until_ns: now_ns + REQUEST_NS_MAX,
                waiting: None,
                closing: false,
                wants_write: false,
            });
        }
    }

    fn read(&mut self, slot: usize, now_ns: u64) {
        let Some(Some(connection)) = self.connections.get_mut(slot) else { return };
        let room = (HEAD_BYTES_MAX + BODY_BYTES_MAX + 1).saturating_sub(connection.inbox.len());
        let mut buffer = [0; 16 << 10];
        let space = room.min(buffer.len());
        if space == 0 || connection.closing {
            // More than any request: what is there is answered first. A closing one is drained, so that the answer is
            // not lost to a reset.
            if connection.closing && matches!(connection.stream.read(&mut buffer), Ok(0) | Err(_)) {
                self.connections[slot] = None;
            }
            return;
        }
        match connection.stream.read(&mut buffer[..space]) {
            Ok(0) => self.connections[slot] = None,
            Ok(count) => {
                if connection.inbox.is_empty() && connection.outbox.is_empty() {
                    connection.until_ns = now_ns + REQUEST_NS_MAX;
                }
                connection.inbox.extend_from_slice(&buffer[..count]);
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => self.connections[slot] = None,
        }
    }

    /// Takes whole requests, one after the other, and writes what is to be written.
    fn serve(
        &mut self,
        slot: usize,
        now_ns: u64,
        handle: &mut impl FnMut(Ticket, &Request) -> Option<Response>,
    ) {
        while let Some(Some(connection)) = self.connections.get_mut(slot) {
            // One request at a time: the next one waits until the answer is out.
            if connection.closing || connection.waiting.is_some() || !connection.outbox.is_empty() {
                break;
            }
            if connection.inbox.is_empty() {
                break;
            }
            match parse(&connection.inbox) {
                Parsed::Partial => break,
                Parsed::Bad(status, reason) => {
                    self.counts.requests_total += 1;
                    self.counts.errors_total += 1;
                    let response =
                        Response::error(status, reason, "an HTTP/1.1 request; see GET /openapi.json");
                    connection.put(&response, false, false, now_ns);
                }
                Parsed::Whole(request, taken) => {
                    connection.inbox.drain(..taken);
                    let ticket = Ticket { slot, generation: connection.generation };
                    let without_body = request.method == "HEAD";
                    match handle(ticket, &request) {
                        Some(response) => {
                            self.counts.requests_total += 1;
                            self.counts.errors_total += u64::from(response.status >= 400);
                            connection.put(&response, request.keep_alive, without_body, now_ns);
                        }
                        None => connection.waiting = Some((request.keep_alive, without_body)),
                    }
                }
            }
            self.write(slot, now_ns);
        }
        self.write(slot, now_ns);
    }

    fn write(&mut self, slot: usize, now_ns: u64) {
        let Some(Some(connection)) = self.connections.get_mut(slot) else { return };
        while connection.written < connection.outbox.len() {
            match connection.stream.write(&connection.outbox[connection.written..]) {
                Ok(count) => connection.written += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.connections[slot] = None;
                    return;
                }
            }
        }
        let done = connection.written == connection.outbox.len();
        if done && connection.written > 0 {
            connection.outbox.clear();
            connection.written = 0;
            connection.until_ns = now_ns + if connection.closing { REQUEST_NS_MAX } else { IDLE_NS_MAX };
            if connection.closing {
                let _ = connection.stream.shutdown(Shutdown::Write);
            }
        }
        if connection.wants_write == done {
            connection.wants_write = !done;
            let interest = if done { Interest::Read } else { Interest::ReadWrite };
            if self.poller.modify(&connection.stream, Token(slot as u32), interest).is_err() {
                self.connections[slot] = None;
            }
        }
    }

    /// A connection took too long. Half a request is answered, anything else just ends.
    fn overdue(&mut self, slot: usize, now_ns: u64) {
        let Some(Some(connection)) = self.connections.get_mut(slot) else { return };
        if connection.inbox.is_empty() || connection.closing || !connection.outbox.is_empty() {
            self.counts.timeouts_total += u64::from(!connection.outbox.is_empty());
            self.connections[slot] = None;
            return;
        }
        self.counts.timeouts_total += 1;
        self.counts.requests_total += 1;
        self.counts.errors_total += 1;
        let response = Response::error(408, "the request was not whole within 5 s", "a request sent at once");
        connection.put(&response, false, false, now_ns);
        self.write(slot, now_ns);
    }
}

impl Connection {
    fn put(&mut self, response: &Response, keep_alive: bool, without_body: bool, now_ns: u64) {
        response.encode(keep_alive, without_body, &mut self.outbox);
        self.closing = !keep_alive;
        self.until_ns = now_ns + REQUEST_NS_MAX;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// A server, its clock, and how often it was turned.
    struct World {
        server: Server,
        now_ns: Cell<u64>,
    }

    impl World {
        fn new() -> Self {
            let server = Server::bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
            Self { server, now_ns: Cell::new(1) }
        }

        fn connect(&mut self) -> TcpStream {
            let stream = TcpStream::connect(self.server.address().expect("bound")).expect("it listens");
            stream.set_nonblocking(true).expect("a socket");
            stream
        }

        fn turn(&mut self) {
            let wait = Duration::from_millis(1);
            let now_ns = &self.now_ns;
            self.server
                .turn(
                    wait,
                    || now_ns.get(),
                    |_, request| {
                        Some(Response::text(
                            200,
                            "text/plain",
                            format!("{} {}", request.method, request.path),
                        ))
                    },
                )
                .expect("an open set");
        }

        /// Turns until the client has read something that ends with `end`, or its connection is over.
        fn read(&mut self, stream: &mut TcpStream, end: &str) -> String {
            let mut text = Vec::new();
            for _ in 0..5_000 {
                self.turn();
                let mut buffer = [0; 4096];
                match stream.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(count) => text.extend_from_slice(&buffer[..count]),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(_) => break,
                }
                if !end.is_empty() && text.ends_with(end.as_bytes()) {
                    break;
                }
            }
            String::from_utf8_lossy(&text).into_owned()
        }

        fn open(&self) -> usize {
            self.server.connections.iter().flatten().count()
        }
    }

    #[test]
    fn requests_of_one_connection_are_answered_in_their_order() {
        let mut world = World::new();
        let mut client = world.connect();
        client
            .write_all(b"GET /a HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\nConnection: close\r\n\r\n")
            .expect("room");
        let text = world.read(&mut client, "GET /b");
        let (a, b) = (text.find("GET /a"), text.find("GET /b"));
        assert!(a.is_some() && a < b, "{text}");
    }

    #[test]
    fn a_byte_a_second_ends_after_five() {
        let mut world = World::new();
        let mut client = world.connect();
        world.turn();
        for byte in b"GET / HT" {
            client.write_all(&[*byte]).expect("room");
            for _ in 0..3 {
                world.turn();
            }
            world.now_ns.set(world.now_ns.get() + 1_000_000_000);
            world.turn();
        }
        let text = world.read(&mut client, "");
        assert!(text.starts_with("HTTP/1.1 408 "), "{text}");
        assert_eq!(world.server.counts.timeouts_total, 1);
    }

    #[test]
    fn a_thousand_connections_leave_it_answering() {
        let mut world = World::new();
        let mut clients: Vec<TcpStream> = Vec::new();
        for _ in 0..1_000 {
            clients.push(world.connect());
            world.turn();
        }
        while world.server.counts.accepted_total + world.server.counts.refused_total < 1_000 {
            world.turn();
        }
        assert_eq!(world.open(), CONNECTIONS_MAX);
        assert_eq!(world.server.counts.refused_total, 1_000 - CONNECTIONS_MAX as u64);
        let last = clients.last_mut().expect("a thousand");
        assert!(world.read(last, "").starts_with("HTTP/1.1 503 "));
        clients[0].write_all(b"GET /a HTTP/1.1\r\n\r\n").expect("room");
        let mut first = clients.swap_remove(0);
        assert!(world.read(&mut first, "GET /a").starts_with("HTTP/1.1 200 "));
        drop((clients, first));
        while world.open() > 0 {
            world.turn();
        }
    }

    #[test]
    fn mutated_requests_never_stop_it() {
        let seed = std::env::var("MELTICA_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(11);
        let mut random = fastrand::Rng::with_seed(seed);
        let whole =
            b"POST /subscriptions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
        let mut world = World::new();
        for _ in 0..400 {
            let mut bytes = whole.to_vec();
            for _ in 0..random.usize(1..6) {
                if bytes.is_empty() {
                    break;
                }
                let at = random.usize(..bytes.len());
                match random.u8(..4) {
                    0 => bytes[at] = random.u8(..),
                    1 => drop(bytes.remove(at)),
                    2 => bytes.insert(at, random.u8(..)),
                    _ => bytes.truncate(at + 1),
                }
            }
            let mut client = world.connect();
            let _ = client.write_all(&bytes);
            world.turn();
            world.turn();
            drop(client);
        }
        let mut client = world.connect();
        world.now_ns.set(REQUEST_NS_MAX * 2);
        client.write_all(b"GET /ok HTTP/1.1\r\n\r\n").expect("room");
        let text = world.read(&mut client, "GET /ok");
        assert!(text.starts_with("HTTP/1.1 200 "), "seed {seed}: {text}");
        assert!(world.server.counts.errors_total > 0, "seed {seed}");
    }

    #[test]
    fn a_body_without_end_is_refused_before_it_is_read() {
        let mut world = World::new();
        let mut client = world.connect();
        client.write_all(b"POST /x HTTP/1.1\r\nContent-Length: 10000000\r\n\r\n").expect("room");
        assert!(world.read(&mut client, "").starts_with("HTTP/1.1 413 "));
    }

    #[test]
    fn an_answer_may_come_later_and_only_to_the_connection_that_asked() {
        let mut world = World::new();
        let mut client = world.connect();
        client.write_all(b"GET /a HTTP/1.1\r\n\r\n").expect("room");
        let mut ticket = None;
        while ticket.is_none() {
            let turned = world.server.turn(
                Duration::from_millis(1),
                || 1,
                |given, _| {
                    ticket = Some(given);
                    None
                },
            );
            turned.expect("an open set");
        }
        let ticket = ticket.expect("just set");
        let late = Response::text(200, "text/plain", "late".to_owned());
        let other = Ticket { generation: ticket.generation + 1, ..ticket };
        world.server.answer(other, &late, 1);
        world.server.answer(ticket, &late, 1);
        world.server.answer(ticket, &late, 1);
        let text = world.read(&mut client, "late");
        assert_eq!(text.matches("late").count(), 1, "{text}");
    }
}
