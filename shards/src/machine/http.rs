//! REST client of one host: requests in, responses out, driven by the shard's own turn.
//!
//! It is written over httparse instead of hyper for two reasons: a parked shard sleeps in one epoll wait, which must
//! also be ended by a REST answer, and a hyper connection would want a reactor of its own beside it; and the
//! simulation drives venues at the level of [`Request`] and [`Response`], where nothing is left for a framework.
//!
//! HTTP/1.1 with a few kept connections, one request at a time on each, no pipelining, no redirects, no compression.
//! Knows nothing of venues, weights or signatures. Not on the data path: it allocates per request.
//!
//! ```text
//! submit() -> queue -> a free connection -> bytes -> response -> poll_response()
//! ```

mod response;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;

pub use response::{HEAD_BYTES_MAX, HEADERS_MAX, Response, ResponseParser};

use super::poller::{Interest, Poller, Ready, Token};
use super::socket::{Stream, TcpOptions, TcpSocket};
use super::tls::{self, TlsConfig, TlsSocket};

/// Bytes read from one connection in one turn, at the most: a book of 5,000 levels takes a few turns.
const READ_BYTES_PER_TURN_MAX: usize = 256 << 10;
/// Bytes of one read.
const READ_BYTES: usize = 32 << 10;
/// Bytes of one request, at the most: a batch of orders is some 10 KiB.
const REQUEST_BYTES_MAX: usize = 256 << 10;

/// Whom a client talks to.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Host name or address: what the certificate is for, and the `Host` header.
    pub host: String,
    /// Port.
    pub port: u16,
    /// `None` speaks plain HTTP.
    pub tls: Option<TlsConfig>,
}

/// Bounds of a client.
#[derive(Clone, Copy, Debug)]
pub struct HttpOptions {
    /// Connections kept, at the most.
    pub connections_max: usize,
    /// Requests that wait, at the most; those under way are not counted.
    pub queue_requests_max: usize,
    /// Bytes of a response's body, at the most.
    pub body_bytes_max: usize,
    /// How long connecting may take, TLS included, within the request's own deadline.
    pub connect_ns_max: u64,
    /// Response headers to keep, in lower case.
    pub headers_kept: &'static [&'static str],
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            connections_max: 2,
            queue_requests_max: 64,
            body_bytes_max: 64 << 20, // the largest venue's instrument list is some 20 MiB
            connect_ns_max: 5_000_000_000,
            headers_kept: &[],
        }
    }
}

/// A method that venues use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Asks; may be sent again.
    Get,
    /// Does.
    Post,
    /// Does.
    Put,
    /// Does.
    Delete,
}

impl Method {
    /// As on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
        }
    }
}

/// One request. Signing it is done before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// From the slash on, already escaped.
    pub path_and_query: String,
    /// Headers beside `host`, `content-length`, `user-agent` and those about connections and codings.
    pub headers: Vec<(String, String)>,
    /// The body; empty for none.
    pub body: Vec<u8>,
}

impl Request {
    /// A GET without headers.
    pub fn get(path_and_query: impl Into<String>) -> Self {
        Self {
            method: Method::Get,
            path_and_query: path_and_query.into(),
            headers: Vec::new(),
            body: Vec::new(),
        }
    }
}

/// Names a request of one client, for its answer. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// Why there is no response.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// No connection came about; the last address' reason.
    #[error("no connection: {0}")]
    Connect(String),
    /// The request's deadline passed.
    #[error("no answer before the deadline")]
    Deadline,
    /// The connection ended before the first byte of an answer.
    #[error("the connection ended before an answer")]
    Closed,
    /// The connection ended within the answer.
    #[error("the connection ended within the answer")]
    Truncated,
    /// The answer is not HTTP as we speak it.
    #[error("malformed answer: {0}")]
    Malformed(&'static str),
    /// The answer is larger than what is bounded.
    #[error("answer too large: {0}")]
    TooLarge(&'static str),
    /// The connection failed.
    #[error("connection failed: {0}")]
    Io(String),
}

/// A request that has no response.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{error}{}", if *.sent { " (the request was sent: its outcome is unknown)" } else { " (nothing was sent)" })]
pub struct HttpFailure {
    /// Why.
    pub error: HttpError,
    /// Whether any of the request left. If so, the venue may have acted on it.
    pub sent: bool,
}

/// Why a request was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// Too many requests wait.
    #[error("too many requests wait")]
    QueueFull,
    /// The path or a header has a character that would end its line, or the whole is too long.
    #[error("not a valid request: {0}")]
    Invalid(&'static str),
}

/// The client of one host.
#[derive(Debug)]
pub struct HttpClient {
    endpoint: Endpoint,
    options: HttpOptions,
    addresses: Vec<SocketAddr>,
    /// The address that the next connection tries.
    address_index: usize,
    first_token: Token,
    connections: Vec<Option<Connection>>,
    queue: VecDeque<Exchange>,
    done: VecDeque<(RequestId, Result<Response, HttpFailure>)>,
    next_id: u64,
    buffer: Box<[u8]>,
}

/// One request and what has become of it.
#[derive(Debug)]
struct Exchange {
    id: RequestId,
    method: Method,
    /// Head and body, as on the wire.
    bytes: Vec<u8>,
    deadline_ns: u64,
    /// Addresses that it has tried in vain.
    connects_failed: usize,
    /// It was on a kept connection that turned out to be closed.
    retried: bool,
    sent: bool,
}

#[derive(Debug)]
struct Connection {
    stream: Stream,
    interest: Interest,
    /// It stands, and TLS is done.
    ready: bool,
    /// A request was answered on it: its peer may close it at any time without wrong.
    used: bool,
    /// The poller reported it, or it has something to do of itself.
    due: bool,
    exchange: Option<(Exchange, ResponseParser)>,
}

impl HttpClient {
    /// A client that registers its sockets under `first_token` and the following
    /// [`HttpOptions::connections_max`]` - 1`. It waits for [`Self::set_addresses`].
    pub fn new(endpoint: Endpoint, options: HttpOptions, first_token: Token) -> Self {
        Self {
            endpoint,
            options,
            addresses: Vec::new(),
            address_index: 0,
            first_token,
            connections: (0..options.connections_max).map(|_| None).collect(),
            queue: VecDeque::new(),
            done: VecDeque::new(),
            next_id: 1,
            buffer: vec![0; READ_BYTES].into_boxed_slice(),
        }
    }

    /// Where the host is, as a [`super::resolve::Lookup`] says. Replaces what was known; open connections stay.
    pub fn set_addresses(&mut self, addresses: Vec<SocketAddr>) {
        self.addresses = addresses;
        self.address_index = 0;
    }

    /// Whether an address is known; until then requests wait.
    pub fn has_addresses(&self) -> bool {
        !self.addresses.is_empty()
    }

    /// Takes a request. It is answered, or has failed, by `deadline_ns`, whichever way it goes.
    pub fn submit(&mut self, request: &Request, deadline_ns: u64) -> Result<RequestId, SubmitError> {
        if self.queue.len() >= self.options.queue_requests_max {
            return Err(SubmitError::QueueFull);
        }
        let bytes = encode(&self.endpoint, request)?;
        let id = RequestId(self.next_id);
        self.next_id += 1;
        self.queue.push_back(Exchange {
            id,
            method: request.method,
            bytes,
            deadline_ns,
            connects_failed: 0,
            retried: false,
            sent: false,
        });
        Ok(id)
    }

    /// Takes note of a report of the shard's poller; false if the token is not of this client.
    pub fn handle_ready(&mut self, ready: Ready) -> bool {
        let index = ready.token.0.wrapping_sub(self.first_token.0) as usize;
        let Some(slot) = self.connections.get_mut(index) else { return false };
        if let Some(connection) = slot {
            connection.due = true;
        }
        true
    }

    /// Goes on with everything that can go on. Returns how many connections did something.
    ///
    /// Touches only the connections that were reported, so that an idle client costs no system call.
    pub fn turn(&mut self, poller: &Poller, now_ns: u64) -> usize {
        self.expire(now_ns);
        self.assign(poller, now_ns);
        let mut worked = 0;
        for index in 0..self.connections.len() {
            let Some(connection) = &mut self.connections[index] else { continue };
            if !connection.due {
                continue;
            }
            worked += 1;
            connection.due = false;
            let token = token(self.first_token, index);
            match connection.advance(poller, token, &mut self.buffer, now_ns) {
                Ok(Progress::Waiting) => {}
                Ok(Progress::Answered) => self.answer(index),
                Err(error) => self.fail(index, error),
            }
        }
        worked
    }

    /// The next answer that is there.
    pub fn poll_response(&mut self) -> Option<(RequestId, Result<Response, HttpFailure>)> {
        self.done.pop_front()
    }

    /// When [`Self::turn`] is needed although the poller reports nothing.
    pub fn next_deadline_ns(&self) -> Option<u64> {
        let open = self.connections.iter().flatten();
        // A connection that has something to do of itself cannot wait.
        let can_assign = !self.queue.is_empty()
            && self.has_addresses()
            && self.connections.iter().any(|slot| slot.as_ref().is_none_or(|c| c.exchange.is_none()));
        if can_assign || open.clone().any(|connection| connection.due) {
            return Some(0);
        }
        let under_way =
            open.clone().filter_map(|connection| connection.exchange.as_ref()).map(|(exchange, _)| exchange);
        let deadlines = self.queue.iter().chain(under_way).map(|exchange| exchange.deadline_ns);
        deadlines.chain(open.filter_map(|connection| connection.stream.deadline_ns())).min()
    }

    /// Requests that wait or are under way.
    pub fn open_requests(&self) -> usize {
        self.queue.len() + self.connections.iter().flatten().filter(|c| c.exchange.is_some()).count()
    }

    /// Fails what is late. A connection whose answer is outstanding cannot be used again.
    fn expire(&mut self, now_ns: u64) {
        let done = &mut self.done;
        self.queue.retain(|exchange| {
            let late = now_ns >= exchange.deadline_ns;
            if late {
                done.push_back((exchange.id, exchange.failure(HttpError::Deadline)));
            }
            !late
        });
        for slot in &mut self.connections {
            if let Some(Connection { exchange: Some((exchange, _)), .. }) = slot
                && now_ns >= exchange.deadline_ns
            {
                self.done.push_back((exchange.id, exchange.failure(HttpError::Deadline)));
                *slot = None;
                continue;
            }
            if let Some(connection) = slot
                && connection.stream.deadline_ns().is_some_and(|deadline| now_ns >= deadline)
            {
                connection.due = true; // its connect reports the timeout
            }
        }
    }

    /// Gives waiting requests to free connections, and opens connections while there are fewer than wanted.
    fn assign(&mut self, poller: &Poller, now_ns: u64) {
        while !self.queue.is_empty() && !self.addresses.is_empty() {
            let free =
                self.connections.iter().position(|slot| slot.as_ref().is_some_and(|c| c.exchange.is_none()));
            let index = free.or_else(|| self.connections.iter().position(Option::is_none));
            let Some(index) = index else { return };
            let Some(exchange) = self.queue.pop_front() else { return };
            let parser = ResponseParser::new(self.options.headers_kept, self.options.body_bytes_max);
            if free.is_some() {
                if let Some(connection) = &mut self.connections[index] {
                    connection.exchange = Some((exchange, parser));
                    connection.due = true;
                }
                continue;
            }
            let deadline_ns = exchange.deadline_ns.min(now_ns.saturating_add(self.options.connect_ns_max));
            match self.connect(poller, index, deadline_ns) {
                Ok(mut connection) => {
                    connection.exchange = Some((exchange, parser));
                    self.connections[index] = Some(connection);
                }
                Err(error) => self.connect_failed(exchange, &error),
            }
        }
    }

    fn connect(&mut self, poller: &Poller, index: usize, deadline_ns: u64) -> io::Result<Connection> {
        let address = self.addresses[self.address_index % self.addresses.len()];
        let options = TcpOptions { send_queue_bytes_max: REQUEST_BYTES_MAX, ..TcpOptions::default() };
        let tcp = TcpSocket::connect(address, options, deadline_ns)?;
        let stream = match &self.endpoint.tls {
            None => Stream::Plain(tcp),
            Some(config) => {
                let socket =
                    TlsSocket::new(config, &self.endpoint.host, tcp, REQUEST_BYTES_MAX, deadline_ns)?;
                Stream::Tls(Box::new(socket))
            }
        };
        let interest = stream.interest();
        poller.add(&stream, token(self.first_token, index), interest)?;
        Ok(Connection { stream, interest, ready: false, used: false, due: true, exchange: None })
    }

    /// Tries the next address, unless this request has tried them all.
    fn connect_failed(&mut self, mut exchange: Exchange, error: &io::Error) {
        self.address_index = self.address_index.wrapping_add(1);
        exchange.connects_failed += 1;
        // A certificate that is refused at one address will be at the next: say so at once.
        if exchange.connects_failed >= self.addresses.len() || tls::failure(error).is_some() {
            let failure = exchange.failure(HttpError::Connect(error.to_string()));
            self.done.push_back((exchange.id, failure));
        } else {
            self.queue.push_front(exchange);
        }
    }

    /// The response on connection `index` is whole.
    fn answer(&mut self, index: usize) {
        let Some(connection) = &mut self.connections[index] else { return };
        let Some((exchange, parser)) = connection.exchange.take() else { return };
        connection.used = true;
        if !parser.keep_alive() {
            self.connections[index] = None;
        }
        self.done.push_back((exchange.id, Ok(parser.take())));
    }

    /// Connection `index` is lost. Its request is tried again only where that is certain to do no harm.
    fn fail(&mut self, index: usize, error: Failure) {
        let Some(connection) = self.connections[index].take() else { return };
        let Some((mut exchange, parser)) = connection.exchange else { return };
        match error {
            Failure::Connect(error) => self.connect_failed(exchange, &error),
            // The peer closed a kept connection: normal. What was not sent goes elsewhere (each time a connection
            // is used up, so this ends), and a GET that was on its way is repeated once.
            Failure::Lost(_)
                if connection.used
                    && parser.is_untouched()
                    && (!exchange.sent || (exchange.method == Method::Get && !exchange.retried)) =>
            {
                exchange.retried |= exchange.sent;
                exchange.sent = false;
                self.queue.push_front(exchange);
            }
            Failure::Lost(error) | Failure::Answer(error) => {
                let failure = exchange.failure(error);
                self.done.push_back((exchange.id, failure));
            }
        }
    }
}

impl Exchange {
    fn failure(&self, error: HttpError) -> Result<Response, HttpFailure> {
        Err(HttpFailure { error, sent: self.sent })
    }
}

/// What a connection's advance led to.
enum Progress {
    /// It waits for the poller.
    Waiting,
    /// Its response is whole.
    Answered,
}

/// How a connection was lost.
enum Failure {
    /// It never stood.
    Connect(io::Error),
    /// It ended.
    Lost(HttpError),
    /// What came on it is of no use.
    Answer(HttpError),
}

impl Connection {
    fn advance(
        &mut self,
        poller: &Poller,
        token: Token,
        buffer: &mut [u8],
        now_ns: u64,
    ) -> Result<Progress, Failure> {
        if !self.ready {
            self.ready = self.stream.poll_ready(now_ns).map_err(Failure::Connect)?;
        }
        let mut progress = Progress::Waiting;
        if self.ready {
            self.write(buffer)?;
            progress = self.read(buffer)?;
        }
        let interest = self.stream.interest();
        if interest != self.interest {
            self.interest = interest;
            poller.modify(&self.stream, token, interest).map_err(lost)?;
        }
        Ok(progress)
    }

    fn write(&mut self, buffer: &mut [u8]) -> Result<(), Failure> {
        self.stream.flush().map_err(lost)?;
        if let Some((exchange, _)) = &mut self.exchange
            && !exchange.sent
        {
            // A kept connection that the peer has closed would swallow the request and leave its outcome unknown.
            // One look saves most of these, and matters for what cannot be repeated.
            if self.used {
                match self.stream.read(buffer) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    _ => return Err(Failure::Lost(HttpError::Closed)),
                }
            }
            exchange.sent = true;
            self.stream.send(&exchange.bytes).map_err(lost)?;
        }
        Ok(())
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<Progress, Failure> {
        let mut left = READ_BYTES_PER_TURN_MAX;
        loop {
            if left == 0 {
                self.due = self.stream.has_buffered(); // the poller reports the rest
                return Ok(Progress::Waiting);
            }
            let ended = match self.stream.read(buffer) {
                Ok(0) => None,
                Ok(count) => Some(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Progress::Waiting),
                // Many servers close TLS without saying so; only a body without a length is then in doubt.
                Err(error) => return Err(lost_in(self.exchange.as_ref(), &error)),
            };
            let Some((_, parser)) = &mut self.exchange else {
                // Nobody asked: the end of a kept connection, or bytes that belong to no request.
                return Err(Failure::Lost(HttpError::Closed));
            };
            let Some(count) = ended else {
                return match parser.end() {
                    Ok(()) => Ok(Progress::Answered),
                    Err(error) => Err(Failure::Lost(error)),
                };
            };
            let taken = parser.feed(&buffer[..count]).map_err(Failure::Answer)?;
            if parser.is_done() {
                if taken < count {
                    return Err(Failure::Answer(HttpError::Malformed("more than one answer")));
                }
                return Ok(Progress::Answered);
            }
            left = left.saturating_sub(count);
        }
    }
}

fn token(first: Token, index: usize) -> Token {
    Token(first.0 + index as u32)
}

fn lost(error: io::Error) -> Failure {
    Failure::Lost(HttpError::Io(error.to_string()))
}

/// A read failed: what that means depends on how far the answer is.
fn lost_in(exchange: Option<&(Exchange, ResponseParser)>, error: &io::Error) -> Failure {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, UnexpectedEof};
    if !matches!(error.kind(), UnexpectedEof | ConnectionReset | ConnectionAborted) {
        return Failure::Lost(HttpError::Io(error.to_string()));
    }
    let untouched = exchange.is_none_or(|(_, parser)| parser.is_untouched());
    Failure::Lost(if untouched { HttpError::Closed } else { HttpError::Truncated })
}

/// The request as on the wire, or why it would not arrive as meant.
fn encode(endpoint: &Endpoint, request: &Request) -> Result<Vec<u8>, SubmitError> {
    let path = &request.path_and_query;
    if !path.starts_with('/') || !path.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(SubmitError::Invalid("a path starts with `/` and has no spaces or control characters"));
    }
    let mut bytes = Vec::with_capacity(512 + request.body.len());
    let mut put = |text: &str| bytes.extend_from_slice(text.as_bytes());
    for text in [request.method.as_str(), " ", path, " HTTP/1.1\r\nHost: ", &endpoint.host] {
        put(text);
    }
    let port_default = if endpoint.tls.is_some() { 443 } else { 80 };
    if endpoint.port != port_default {
        put(&format!(":{}", endpoint.port));
    }
    put(concat!("\r\nUser-Agent: meltica/", env!("CARGO_PKG_VERSION")));
    put("\r\nAccept-Encoding: identity\r\n");
    for (name, value) in &request.headers {
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if name.is_empty() || !name.bytes().all(token) {
            return Err(SubmitError::Invalid("a header's name has only letters, digits, `-`, `_` and `.`"));
        }
        if value.bytes().any(|byte| byte.is_ascii_control()) {
            return Err(SubmitError::Invalid("a header's value has no control characters"));
        }
        for text in [name, ": ", value, "\r\n"] {
            put(text);
        }
    }
    if !request.body.is_empty() || matches!(request.method, Method::Post | Method::Put) {
        put(&format!("Content-Length: {}\r\n", request.body.len()));
    }
    put("\r\n");
    bytes.extend_from_slice(&request.body);
    if bytes.len() > REQUEST_BYTES_MAX {
        return Err(SubmitError::Invalid("longer than a request may be"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
