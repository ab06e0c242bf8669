//! The client against scripted servers of this process.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

use super::*;
use crate::machine::testing::{TestCa, accept, listener, refusing, until};
use crate::machine::tls::{Roots, TlsOptions};

const LATER: u64 = u64::MAX;
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A client with its poller.
struct Fixture {
    client: HttpClient,
    poller: Poller,
    now_ns: u64,
}

impl Fixture {
    fn new(address: SocketAddr) -> Self {
        Self::with(address, HttpOptions::default(), None)
    }

    fn with(address: SocketAddr, options: HttpOptions, tls: Option<TlsConfig>) -> Self {
        let host = if tls.is_some() { "localhost".to_owned() } else { address.ip().to_string() };
        let endpoint = Endpoint { host, port: address.port(), tls };
        let mut client = HttpClient::new(endpoint, options, Token(10));
        client.set_addresses(vec![address]);
        Self { client, poller: Poller::new().unwrap(), now_ns: 0 }
    }

    fn submit(&mut self, request: &Request) -> RequestId {
        self.client.submit(request, LATER).unwrap()
    }

    fn turn(&mut self) {
        self.poller.wait(Some(Duration::from_millis(1))).unwrap();
        for ready in self.poller.ready() {
            assert!(self.client.handle_ready(ready));
        }
        self.client.turn(&self.poller, self.now_ns);
    }

    fn response(&mut self) -> (RequestId, Result<Response, HttpFailure>) {
        until("there is an answer", || {
            self.turn();
            self.client.poll_response()
        })
    }

    fn get(&mut self, path: &str) -> Result<Response, HttpFailure> {
        let id = self.submit(&Request::get(path));
        let (answered, result) = self.response();
        assert_eq!(answered, id);
        result
    }
}

/// Reads one request, up to its empty line; `None` at the end of the connection.
fn read_head(socket: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        match socket.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return None,
        }
    }
    Some(String::from_utf8(head).unwrap())
}

/// Serves one connection after the other; each gives its answers, one a request, and is closed. Returns the heads.
fn serve(connections: Vec<Vec<String>>) -> (SocketAddr, JoinHandle<Vec<String>>) {
    let (listener, address) = listener();
    let server = std::thread::spawn(move || {
        let mut heads = Vec::new();
        for answers in connections {
            let mut socket = accept(&listener);
            for answer in answers {
                let Some(head) = read_head(&mut socket) else { break };
                heads.push(head);
                socket.write_all(answer.as_bytes()).unwrap();
            }
        }
        heads
    });
    (address, server)
}

fn answers(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

/// One request against a server that answers once and closes.
fn once(answer: &str) -> Result<Response, HttpFailure> {
    let (address, server) = serve(vec![answers(&[answer])]);
    let result = Fixture::new(address).get("/");
    server.join().unwrap();
    result
}

#[test]
fn a_request_arrives_as_written_and_is_answered() {
    let (address, server) = serve(vec![answers(&[OK])]);
    let mut fixture = Fixture::new(address);
    let request = Request {
        method: Method::Post,
        path_and_query: "/api/v3/order?symbol=BTCUSDT".into(),
        headers: vec![("X-MBX-APIKEY".into(), "key".into())],
        body: b"a=b".to_vec(),
    };
    let id = fixture.submit(&request);
    let (answered, response) = fixture.response();
    assert_eq!(answered, id);
    let response = response.unwrap();
    assert_eq!((response.status, response.body.as_slice()), (200, b"ok".as_slice()));
    let expected = format!(
        "POST /api/v3/order?symbol=BTCUSDT HTTP/1.1\r\nHost: {address}\r\nUser-Agent: meltica/{}\r\n\
         Accept-Encoding: identity\r\nX-MBX-APIKEY: key\r\nContent-Length: 3\r\n\r\n",
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(server.join().unwrap(), [expected]);
}

#[test]
fn a_connection_is_kept_for_the_next_request() {
    let (address, server) = serve(vec![answers(&[OK, OK, OK])]);
    let mut fixture = Fixture::new(address);
    for path in ["/1", "/2", "/3"] {
        assert_eq!(fixture.get(path).unwrap().body, b"ok");
    }
    assert_eq!(server.join().unwrap().len(), 3, "all on the one connection that the server accepted");
}

#[test]
fn a_connection_that_is_not_kept_is_replaced() {
    let close = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";
    let (address, server) = serve(vec![answers(&[close]), answers(&[close])]);
    let mut fixture = Fixture::new(address);
    for path in ["/1", "/2"] {
        assert_eq!(fixture.get(path).unwrap().status, 200);
    }
    assert_eq!(server.join().unwrap().len(), 2);
}

#[test]
fn no_more_connections_than_allowed_and_the_rest_waits() {
    let (listener, address) = listener();
    let mut fixture = Fixture::new(address);
    let ids: Vec<_> = (0..5).map(|_| fixture.submit(&Request::get("/"))).collect();
    let mut sockets: Vec<_> = (0..2)
        .map(|_| {
            fixture.turn();
            accept(&listener)
        })
        .collect();
    for _ in 0..20 {
        fixture.turn();
    }
    listener.set_nonblocking(true).unwrap();
    assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
    assert_eq!(fixture.client.open_requests(), 5);

    let server = std::thread::spawn(move || {
        for socket in &mut sockets {
            let mut socket = socket.try_clone().unwrap();
            std::thread::spawn(move || {
                while read_head(&mut socket).is_some() {
                    socket.write_all(OK.as_bytes()).unwrap();
                }
            });
        }
        sockets
    });
    let mut answered: Vec<_> =
        (0..5).map(|_| fixture.response()).map(|(id, result)| result.map(|_| id).unwrap()).collect();
    answered.sort();
    assert_eq!(answered, ids);
    assert_eq!(fixture.client.open_requests(), 0);
    drop(server.join().unwrap());
}

#[test]
fn a_full_queue_refuses() {
    let options = HttpOptions { queue_requests_max: 1, ..HttpOptions::default() };
    let mut fixture = Fixture::with(SocketAddr::from((Ipv4Addr::LOCALHOST, 1)), options, None);
    fixture.submit(&Request::get("/"));
    assert_eq!(fixture.client.submit(&Request::get("/"), LATER), Err(SubmitError::QueueFull));
}

#[test]
fn what_would_break_the_request_apart_is_refused() {
    let mut fixture = Fixture::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 1)));
    let mut refused =
        |request: Request| matches!(fixture.client.submit(&request, LATER), Err(SubmitError::Invalid(_)));
    assert!(refused(Request::get("/a b")));
    assert!(refused(Request::get("/a\r\nX: y")));
    assert!(refused(Request::get("http://host/")));
    let with = |name: &str, value: &str| Request {
        headers: vec![(name.to_owned(), value.to_owned())],
        ..Request::get("/")
    };
    assert!(refused(with("A: b", "c")));
    assert!(refused(with("A", "b\r\nC: d")));
    assert!(refused(Request { body: vec![0; REQUEST_BYTES_MAX], ..Request::get("/") }));
    assert!(!refused(with("A", "b c")));
}

#[test]
fn chunks_html_redirects_and_errors_are_answers() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    assert_eq!(once(chunked).unwrap().body, b"abcde");
    let html = "HTTP/1.1 403 Forbidden\r\nContent-Type: text/html\r\n\r\n<html>blocked</html>";
    let response = once(html).unwrap();
    assert_eq!((response.status, response.body.as_slice()), (403, b"<html>blocked</html>".as_slice()));
    assert_eq!(once("HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n").unwrap().status, 302);
    let slow = "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 3\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(once(slow).unwrap().retry_after_s, Some(3));
}

#[test]
fn bad_answers_are_errors_with_an_unknown_outcome() {
    let huge = format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "x".repeat(HEAD_BYTES_MAX));
    let cases: [(&str, HttpError); 5] = [
        ("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", HttpError::Truncated),
        ("\x16\x03\x01 garbage", HttpError::Malformed("not HTTP/1")),
        (&huge, HttpError::TooLarge("head")),
        ("HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", HttpError::TooLarge("body")),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1",
            HttpError::Malformed("more than one answer"),
        ),
    ];
    for (answer, error) in cases {
        assert_eq!(once(answer), Err(HttpFailure { error, sent: true }));
    }
    assert_eq!(once(""), Err(HttpFailure { error: HttpError::Closed, sent: true }));
}

#[test]
fn an_answer_of_one_byte_at_a_time_is_whole() {
    let (listener, address) = listener();
    let server = std::thread::spawn(move || {
        let mut socket = accept(&listener);
        socket.set_nodelay(true).unwrap();
        read_head(&mut socket);
        for byte in OK.as_bytes() {
            socket.write_all(&[*byte]).unwrap();
        }
    });
    assert_eq!(Fixture::new(address).get("/").unwrap().body, b"ok");
    server.join().unwrap();
}

#[test]
fn a_large_body_takes_several_turns() {
    let body = "x".repeat(4 * READ_BYTES_PER_TURN_MAX);
    let response = once(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())).unwrap();
    assert!(response.body == body.as_bytes());
}

#[test]
fn a_kept_connection_that_was_closed_meanwhile_is_replaced_without_a_trace() {
    for method in [Method::Get, Method::Post] {
        let (address, server) = serve(vec![answers(&[OK]), answers(&[OK])]);
        let mut fixture = Fixture::new(address);
        let request = Request { method, ..Request::get("/") };
        for _ in 0..2 {
            fixture.submit(&request);
            assert_eq!(fixture.response().1.unwrap().body, b"ok");
            // Let the close arrive: what is not sent yet is safe, whatever the method.
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(server.join().unwrap().len(), 2);
    }
}

/// A server that answers once, reads a second request on the same connection and closes; then answers on others.
fn closes_on_the_second() -> (SocketAddr, JoinHandle<usize>) {
    let (listener, address) = listener();
    let server = std::thread::spawn(move || {
        let mut first = accept(&listener);
        read_head(&mut first);
        first.write_all(OK.as_bytes()).unwrap();
        read_head(&mut first);
        drop(first);
        listener.set_nonblocking(true).unwrap();
        for _ in 0..50 {
            if let Ok((mut socket, _)) = listener.accept() {
                socket.set_nonblocking(false).unwrap();
                read_head(&mut socket);
                socket.write_all(OK.as_bytes()).unwrap();
                return 2;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        1
    });
    (address, server)
}

#[test]
fn a_get_that_was_lost_with_its_kept_connection_is_sent_again_once() {
    let (address, server) = closes_on_the_second();
    let mut fixture = Fixture::new(address);
    assert!(fixture.get("/1").is_ok());
    assert_eq!(fixture.get("/2").unwrap().body, b"ok");
    assert_eq!(server.join().unwrap(), 2);
}

#[test]
fn a_post_that_was_lost_with_its_kept_connection_is_unknown_and_never_sent_again() {
    let (address, server) = closes_on_the_second();
    let mut fixture = Fixture::new(address);
    assert!(fixture.get("/1").is_ok());
    fixture.submit(&Request { method: Method::Post, ..Request::get("/order") });
    assert_eq!(fixture.response().1, Err(HttpFailure { error: HttpError::Closed, sent: true }));
    assert_eq!(fixture.client.open_requests(), 0);
    assert_eq!(server.join().unwrap(), 1);
}

#[test]
fn a_get_on_a_fresh_connection_that_is_closed_is_not_sent_again() {
    let (address, server) = serve(vec![answers(&[""])]);
    let result = Fixture::new(address).get("/");
    assert_eq!(result, Err(HttpFailure { error: HttpError::Closed, sent: true }));
    assert_eq!(server.join().unwrap().len(), 1);
}

#[test]
fn deadlines_end_what_waits_and_what_is_under_way() {
    let (listener, address) = listener();
    let mut fixture =
        Fixture::with(address, HttpOptions { connections_max: 1, ..HttpOptions::default() }, None);
    let under_way = fixture.client.submit(&Request::get("/1"), 1000).unwrap();
    let waiting = fixture.client.submit(&Request::get("/2"), 500).unwrap();
    fixture.turn();
    let mut silent = accept(&listener);
    until("the request is out", || {
        fixture.turn();
        silent.set_nonblocking(true).unwrap();
        silent.peek(&mut [0]).ok()
    });
    assert_eq!(fixture.client.next_deadline_ns(), Some(500));
    fixture.now_ns = 500;
    let late = |sent| Err(HttpFailure { error: HttpError::Deadline, sent });
    assert_eq!(fixture.response(), (waiting, late(false)));
    assert_eq!(fixture.client.next_deadline_ns(), Some(1000));
    fixture.now_ns = 1000;
    assert_eq!(fixture.response(), (under_way, late(true)));
    assert_eq!(fixture.client.next_deadline_ns(), None);
    silent.set_nonblocking(false).unwrap();
    let mut rest = Vec::new();
    silent.read_to_end(&mut rest).unwrap();
    assert!(
        rest.starts_with(b"GET /1 "),
        "and its connection is closed, for an answer would be the next one's"
    );
}

#[test]
fn what_cannot_connect_tries_each_address_and_was_not_sent() {
    let (_kept, refused) = refusing();
    let (address, server) = serve(vec![answers(&[OK])]);
    let mut fixture = Fixture::new(refused);
    let failure = fixture.get("/").unwrap_err();
    assert!(matches!(failure.error, HttpError::Connect(_)), "{failure}");
    assert!(!failure.sent);
    fixture.client.set_addresses(vec![refused, address]);
    assert_eq!(fixture.get("/").unwrap().body, b"ok");
    server.join().unwrap();
}

#[test]
fn requests_wait_for_the_first_address() {
    let (address, server) = serve(vec![answers(&[OK])]);
    let mut fixture = Fixture::new(address);
    fixture.client.set_addresses(Vec::new());
    fixture.submit(&Request::get("/"));
    fixture.turn();
    assert!(!fixture.client.has_addresses());
    assert_eq!(fixture.client.open_requests(), 1);
    fixture.client.set_addresses(vec![address]);
    assert_eq!(fixture.client.next_deadline_ns(), Some(0), "a turn would do something");
    assert!(fixture.response().1.is_ok());
    server.join().unwrap();
}

#[test]
fn reports_of_other_sockets_are_not_taken() {
    let mut fixture = Fixture::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 1)));
    let report = |token| Ready { token: Token(token), readable: true, writable: false };
    assert!(!fixture.client.handle_ready(report(9)));
    assert!(fixture.client.handle_ready(report(10)));
    assert!(!fixture.client.handle_ready(report(12)));
}

fn tls_server(listener: TcpListener, config: std::sync::Arc<rustls::ServerConfig>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut socket = accept(&listener);
        let mut session = rustls::ServerConnection::new(config).unwrap();
        let mut stream = rustls::Stream::new(&mut session, &mut socket);
        let body = "y".repeat(100_000);
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let mut head = [0; 4096];
        for _ in 0..2 {
            if !matches!(stream.read(&mut head), Ok(1..)) {
                return;
            }
            stream.write_all(answer.as_bytes()).unwrap();
        }
    })
}

#[test]
fn requests_over_tls_are_answered_and_a_refused_peer_is_explained() {
    let ca = TestCa::new();
    let (listener, address) = listener();
    let server = tls_server(listener, ca.server(&["localhost"], false));
    let options = TlsOptions { roots: Roots::OnlyExtra, extra_ca: Some(ca.file()) };
    let config = TlsConfig::new(&options).unwrap();
    let mut fixture = Fixture::with(address, HttpOptions::default(), Some(config.clone()));
    for _ in 0..2 {
        assert_eq!(fixture.get("/").unwrap().body.len(), 100_000);
    }
    server.join().unwrap();

    let (listener, address) = crate::machine::testing::listener();
    let server = tls_server(listener, ca.server(&["other.example"], false));
    let failure = Fixture::with(address, HttpOptions::default(), Some(config)).get("/").unwrap_err();
    assert!(failure.to_string().contains("the certificate is for another host"), "{failure}");
    assert!(!failure.sent);
    server.join().unwrap();
}
