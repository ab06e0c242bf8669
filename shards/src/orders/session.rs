//! Sockets of one provider's order entry: the private connection and the calls over HTTP. Moves bytes between them and the desk.

use std::io;

use engine::connection::Lost;
use engine::orders::desk::{CallId, Desk, HttpCall, Method as DeskMethod, Turn};
use engine::orders::venue::OrderGateway;
use engine::time::ReceiveTime;

use crate::io::Io;
use crate::machine::http::{Endpoint, HttpClient, HttpOptions, Method, Request, RequestId};
use crate::machine::poller::{Interest, Ready, Token};
use crate::machine::socket::{Stream, TcpOptions, TcpSocket};
use crate::machine::target::{Addresses, Target};
use crate::machine::tls::TlsSocket;

/// Bytes of one read.
const READ_BYTES: usize = 32 << 10;
/// Reads in one turn, at most: reports do not keep market data from its turn.
const READS_PER_TURN_MAX: usize = 4;
/// How long TCP and TLS may take, in nanoseconds.
const CONNECT_NS_MAX: u64 = 10_000_000_000;
/// How long a call may take, in nanoseconds; what has no answer then is unknown.
const CALL_NS_MAX: u64 = 5_000_000_000;
/// Calls under way at once: as many as any venue's gateway has.
const CALLS_MAX: usize = 4;

/// Poller tokens that a session takes: the private connection's, then those of its calls.
pub const TOKENS: u32 = 1 + CALLS_MAX as u32;

/// The sockets.
pub struct Session {
    private: Addresses,
    stream: Option<Stream>,
    /// It stands, TLS included.
    ready: bool,
    interest: Option<Interest>,
    /// The desk asked for it and no address is known yet.
    wanted: bool,
    /// More may be there to read.
    more: bool,
    token: Token,
    http_addresses: Addresses,
    http: HttpClient,
    calls: Vec<(RequestId, CallId)>,
    buffer: Box<[u8]>,
}

impl Session {
    /// Sockets that are opened when the desk asks; they take [`TOKENS`] from `token` on.
    pub fn new(private: Target, rest: Target, token: Token) -> Self {
        let endpoint = Endpoint { host: rest.host.clone(), port: rest.port, tls: rest.tls.clone() };
        let options =
            HttpOptions { connections_max: CALLS_MAX, body_bytes_max: 8 << 20, ..HttpOptions::default() };
        Self {
            private: Addresses::new(private),
            stream: None,
            ready: false,
            interest: None,
            wanted: false,
            more: false,
            token,
            http_addresses: Addresses::new(rest),
            http: HttpClient::new(endpoint, options, Token(token.0 + 1)),
            calls: Vec::with_capacity(CALLS_MAX),
            buffer: vec![0; READ_BYTES].into_boxed_slice(),
        }
    }

    /// Whether there is something to read at once.
    pub const fn has_more(&self) -> bool {
        self.more
    }

    /// Takes a report of the poller.
    pub fn handle_ready<G: OrderGateway>(&mut self, ready: Ready, desk: &mut Desk<G>, io: &mut Io) {
        if ready.token != self.token {
            self.http.handle_ready(ready);
            return;
        }
        if (self.ready || self.connect(desk, io)) && ready.readable {
            self.read(desk, io);
        }
    }

    /// Whether the socket stands now; if so the handshake begins.
    fn connect<G: OrderGateway>(&mut self, desk: &mut Desk<G>, io: &mut Io) -> bool {
        let Some(stream) = &mut self.stream else { return false };
        if self.ready {
            return true;
        }
        let now_ns = io.clock.now();
        match stream.poll_ready(now_ns) {
            Ok(true) => {
                self.ready = true;
                desk.connected(ReceiveTime::from_ns(now_ns));
                true
            }
            Ok(false) => {
                self.watch(io);
                false
            }
            Err(error) => {
                self.failed(Lost::Connect(error.to_string()), desk, io);
                false
            }
        }
    }

    fn failed<G: OrderGateway>(&mut self, lost: Lost, desk: &mut Desk<G>, io: &mut Io) {
        self.drop_stream(io);
        desk.disconnected(lost, ReceiveTime::from_ns(io.clock.now()));
    }

    fn drop_stream(&mut self, io: &mut Io) {
        if let Some(stream) = self.stream.take() {
            let _ = io.poller.remove(&stream);
        }
        (self.ready, self.wanted, self.more, self.interest) = (false, false, false, None);
    }

    /// Hands what came to the desk.
    pub fn read<G: OrderGateway>(&mut self, desk: &mut Desk<G>, io: &mut Io) {
        self.more = false;
        for _ in 0..READS_PER_TURN_MAX {
            let Some(stream) = &mut self.stream else { return };
            match stream.read(&mut self.buffer) {
                Ok(0) => {
                    let lost = Lost::Socket("the venue ended the connection".to_owned());
                    return self.failed(lost, desk, io);
                }
                Ok(count) => {
                    let whole = count == self.buffer.len() || stream.has_buffered();
                    desk.received(&self.buffer[..count], ReceiveTime::from_ns(io.clock.now()));
                    if !whole {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => return self.failed(Lost::Socket(error.to_string()), desk, io),
            }
        }
        self.more = true;
    }

    /// Opens, closes and writes as the desk asks. Returns how many bytes of frames left.
    pub fn serve<G: OrderGateway>(&mut self, desk: &mut Desk<G>, io: &mut Io) -> usize {
        if desk.poll_disconnect() {
            if let Some(stream) = self.stream.as_mut().filter(|_| self.ready) {
                // The close frame, if there is one; nobody waits for it.
                let _ = stream.send(desk.bytes_to_send());
            }
            self.drop_stream(io);
        }
        if desk.poll_connect().is_some() {
            self.wanted = true;
        }
        if self.wanted {
            self.open(desk, io);
        }
        if !self.ready && self.stream.is_some() {
            self.connect(desk, io);
        }
        let Some(stream) = self.stream.as_mut().filter(|_| self.ready) else { return 0 };
        let (mut sent, mut failure) = (0, None);
        // The handshake's request and frames lie in different buffers.
        while failure.is_none() && !desk.bytes_to_send().is_empty() {
            let count = desk.bytes_to_send().len();
            match stream.send(desk.bytes_to_send()) {
                Ok(()) => {
                    desk.sent(count);
                    sent += count;
                }
                Err(error) => failure = Some(error),
            }
        }
        if failure.is_none() && self.interest == Some(Interest::ReadWrite) {
            failure = stream.flush().err();
        }
        if let Some(error) = failure {
            self.failed(Lost::Socket(error.to_string()), desk, io);
        } else {
            self.watch(io);
        }
        sent
    }

    fn watch(&mut self, io: &mut Io) {
        let Some(stream) = &self.stream else { return };
        let interest = stream.interest();
        if self.interest != Some(interest) && io.poller.modify(stream, self.token, interest).is_ok() {
            self.interest = Some(interest);
        }
    }

    fn open<G: OrderGateway>(&mut self, desk: &mut Desk<G>, io: &mut Io) {
        let now_ns = io.clock.now();
        let Some(address) = self.private.next(&io.resolver, &io.waker, now_ns) else {
            if let Some(reason) = self.private.failure.take() {
                self.failed(Lost::Connect(reason), desk, io);
            }
            return;
        };
        self.wanted = false;
        let deadline_ns = now_ns + CONNECT_NS_MAX;
        let options = TcpOptions::default();
        let target = &self.private.target;
        let stream = TcpSocket::connect(address, options, deadline_ns).and_then(|tcp| match &target.tls {
            None => Ok(Stream::Plain(tcp)),
            Some(config) => {
                TlsSocket::new(config, &target.host, tcp, options.send_queue_bytes_max, deadline_ns)
                    .map(|tls| Stream::Tls(Box::new(tls)))
            }
        });
        let added = stream.and_then(|stream| {
            // While it connects, writability says when it stands.
            io.poller.add(&stream, self.token, Interest::ReadWrite)?;
            Ok(stream)
        });
        match added {
            Ok(stream) => {
                self.stream = Some(stream);
                self.interest = Some(Interest::ReadWrite);
            }
            Err(error) => self.failed(Lost::Connect(format!("{address}: {error}")), desk, io),
        }
    }

    /// Makes the calls that the desk asks for. Returns how many.
    pub fn call<G: OrderGateway>(&mut self, desk: &mut Desk<G>, turn: &mut Turn<'_>, io: &mut Io) -> usize {
        let now_ns = turn.now.ns();
        if !self.http.has_addresses() {
            self.http_addresses.poll(&io.resolver, &io.waker, now_ns);
            if !self.http_addresses.known.is_empty() {
                self.http.set_addresses(self.http_addresses.known.clone());
            }
        }
        let mut made = 0;
        // What waits is signed when it leaves: no call before there is a connection for it.
        while self.http.has_addresses() && self.calls.len() < CALLS_MAX {
            let Some(call) = desk.poll_http(turn) else { break };
            made += 1;
            let id = call.id;
            let submitted =
                request_of(&call).and_then(|request| self.http.submit(&request, now_ns + CALL_NS_MAX).ok());
            match submitted {
                Some(request) => self.calls.push((request, id)),
                None => desk.http_answer(id, 0, None, &mut [], turn.now),
            }
        }
        // As in the provider: what ended with no request under way is due too.
        if self.http.open_requests() > 0 || self.http.next_deadline_ns() == Some(0) {
            self.http.turn(&io.poller, now_ns);
        }
        made
    }

    /// Takes the answers that came. Returns how many calls have ended.
    pub fn take_answers<G: OrderGateway>(&mut self, desk: &mut Desk<G>, io: &mut Io) -> usize {
        let mut ended = 0;
        while let Some((request, answer)) = self.http.poll_response() {
            let Some(at) = self.calls.iter().position(|(known, _)| *known == request) else { continue };
            let (_, id) = self.calls.swap_remove(at);
            ended += 1;
            let now = ReceiveTime::from_ns(io.clock.now());
            match answer {
                Ok(mut response) => {
                    let retry = response.retry_after_s;
                    desk.http_answer(id, response.status, retry, &mut response.body, now);
                }
                Err(_) => desk.http_answer(id, 0, None, &mut [], now),
            }
        }
        ended
    }

    /// When something is due although nothing comes.
    pub fn deadline_ns(&self) -> u64 {
        let mut at = self.http.next_deadline_ns().unwrap_or(u64::MAX);
        at = at.min(self.stream.as_ref().and_then(Stream::deadline_ns).unwrap_or(u64::MAX));
        if self.wanted {
            at = at.min(self.private.not_before_ns);
        }
        if !self.http.has_addresses() {
            at = at.min(self.http_addresses.not_before_ns);
        }
        at
    }

    /// Ends the private connection.
    pub fn close<G: OrderGateway>(&mut self, desk: &Desk<G>, io: &mut Io) {
        if let Some(stream) = self.stream.as_mut().filter(|_| self.ready) {
            let _ = stream.send(desk.bytes_to_send());
            let _ = stream.flush();
        }
        self.drop_stream(io);
    }
}

/// The desk's call as the client takes it; `None` if it is no text, which would be our own mistake.
fn request_of(call: &HttpCall<'_>) -> Option<Request> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
    let mut headers = Vec::new();
    for line in text(call.headers)?.split("\r\n").filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':')?;
        headers.push((name.trim().to_owned(), value.trim().to_owned()));
    }
    Some(Request {
        method: match call.method {
            DeskMethod::Get => Method::Get,
            DeskMethod::Post => Method::Post,
            DeskMethod::Delete => Method::Delete,
        },
        path_and_query: text(call.path)?,
        headers,
        body: call.body.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_becomes_a_request_with_its_headers() {
        let call = HttpCall {
            id: CallId(1),
            method: DeskMethod::Post,
            path: b"/0/private/AddOrder?a=1",
            headers: b"API-Key: k\r\nAPI-Sign: a:b==\r\n",
            body: b"nonce=1",
        };
        let request = request_of(&call).expect("text");
        assert_eq!(request.method, Method::Post);
        assert_eq!(request.path_and_query, "/0/private/AddOrder?a=1");
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(request.headers, [pair("API-Key", "k"), pair("API-Sign", "a:b==")]);
        assert_eq!(request.body, b"nonce=1");
        assert!(request_of(&HttpCall { headers: b"no colon\r\n", ..call }).is_none());
        assert!(request_of(&HttpCall { path: b"\xFF", ..call }).is_none());
    }
}
