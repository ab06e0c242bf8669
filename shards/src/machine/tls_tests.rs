//! TLS against a server of this process whose CA was made a moment ago.

use std::net::SocketAddr;
use std::thread::JoinHandle;

use super::*;
use crate::machine::socket::{Stream, TcpOptions};
use crate::machine::testing::{TestCa, accept, listener, until};

const LATER: u64 = u64::MAX;

fn trusting(ca: &TestCa) -> TlsConfig {
    let options = TlsOptions { roots: Roots::OnlyExtra, extra_ca: Some(ca.file()) };
    TlsConfig::new(&options).unwrap()
}

fn dial(config: &TlsConfig, host: &str, address: SocketAddr) -> Stream {
    let tcp = TcpSocket::connect(address, TcpOptions::default(), LATER).unwrap();
    Stream::Tls(Box::new(TlsSocket::new(config, host, tcp, 64 << 10, LATER).unwrap()))
}

/// A server that echoes `bytes` bytes and closes in good order, on each of `connections` connections.
fn echo(config: Arc<rustls::ServerConfig>, connections: usize, bytes: usize) -> (SocketAddr, JoinHandle<()>) {
    let (listener, address) = listener();
    let server = std::thread::spawn(move || {
        for _ in 0..connections {
            let mut socket = accept(&listener);
            let mut session = rustls::ServerConnection::new(config.clone()).unwrap();
            let mut stream = rustls::Stream::new(&mut session, &mut socket);
            let mut buffer = vec![0; bytes];
            if stream.read_exact(&mut buffer).is_ok() {
                stream.write_all(&buffer).unwrap();
                stream.flush().unwrap();
                session.send_close_notify();
                while session.wants_write() {
                    session.write_tls(&mut socket).unwrap();
                }
            }
        }
    });
    (address, server)
}

fn ready(stream: &mut Stream) {
    until("the handshake is done", || stream.poll_ready(0).unwrap().then_some(()));
}

/// The text of the failure of a handshake.
fn refusal(config: &TlsConfig, host: &str, server: Arc<rustls::ServerConfig>) -> TlsError {
    let (address, server) = echo(server, 1, 1);
    let mut stream = dial(config, host, address);
    let error = until("the handshake fails", || stream.poll_ready(0).err());
    drop(stream);
    server.join().unwrap();
    failure(&error).unwrap_or_else(|| panic!("{error} has a TLS reason")).clone()
}

#[test]
fn a_verified_peer_is_spoken_to_and_ends_in_good_order() {
    let ca = TestCa::new();
    let sent: Vec<u8> = (0..40_000u32).map(|index| ((index * 31) >> 3) as u8).collect();
    let (address, server) = echo(ca.server(&["localhost"], false), 1, sent.len());
    let mut stream = dial(&trusting(&ca), "localhost", address);
    ready(&mut stream);
    assert_eq!(stream.deadline_ns(), None);
    stream.send(&sent).unwrap();
    let mut got = Vec::new();
    let mut buffer = [0; 1000];
    until("the echo ended", || {
        loop {
            stream.flush().unwrap();
            match stream.read(&mut buffer) {
                Ok(0) => return Some(()),
                Ok(count) => got.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    assert!(!stream.has_buffered(), "`WouldBlock` means that nothing is left inside");
                    return None;
                }
                Err(error) => panic!("{error}"),
            }
        }
    });
    assert!(got == sent);
    server.join().unwrap();
}

#[test]
fn bytes_that_no_poll_will_report_are_announced() {
    let ca = TestCa::new();
    let (address, server) = echo(ca.server(&["localhost"], false), 1, 100);
    let mut stream = dial(&trusting(&ca), "localhost", address);
    ready(&mut stream);
    stream.send(&[7; 100]).unwrap();
    let mut buffer = [0; 60];
    assert_eq!(until("the echo comes", || stream.read(&mut buffer).ok()), 60);
    assert!(stream.has_buffered());
    assert_eq!(stream.read(&mut buffer).unwrap(), 40);
    assert!(!stream.has_buffered());
    server.join().unwrap();
}

#[test]
fn a_second_connection_resumes_the_session() {
    let ca = TestCa::new();
    let (address, server) = echo(ca.server(&["localhost"], false), 2, 1);
    let config = trusting(&ca);
    let resumed: Vec<_> = (0..2)
        .map(|_| {
            let tcp = TcpSocket::connect(address, TcpOptions::default(), LATER).unwrap();
            let mut socket = TlsSocket::new(&config, "localhost", tcp, 1 << 10, LATER).unwrap();
            until("the handshake is done", || socket.poll_ready(0).unwrap().then_some(()));
            socket.send(b"x").unwrap();
            // The ticket comes with the answer.
            until("the echo comes", || socket.read(&mut [0; 8]).ok());
            socket.resumed().unwrap()
        })
        .collect();
    assert_eq!(resumed, [false, true]);
    server.join().unwrap();
}

#[test]
fn an_address_is_verified_as_an_address() {
    let ca = TestCa::new();
    let (address, server) = echo(ca.server(&["127.0.0.1"], false), 1, 1);
    let mut stream = dial(&trusting(&ca), "127.0.0.1", address);
    ready(&mut stream);
    drop(stream);
    server.join().unwrap();
}

#[test]
fn an_expired_certificate_is_refused_and_the_clock_is_suspected() {
    let ca = TestCa::new();
    let error = refusal(&trusting(&ca), "localhost", ca.server(&["localhost"], true));
    assert_eq!(error, TlsError::Expired { host: "localhost".into() });
    assert!(error.to_string().contains("clock"));
}

#[test]
fn a_certificate_for_another_host_is_refused() {
    let ca = TestCa::new();
    let error = refusal(&trusting(&ca), "localhost", ca.server(&["other.example"], false));
    assert_eq!(error, TlsError::WrongHost { host: "localhost".into() });
    assert!(error.to_string().contains("endpoint"));
}

#[test]
fn an_unknown_issuer_is_refused_and_the_ca_file_is_named() {
    let (ours, theirs) = (TestCa::new(), TestCa::new());
    let error = refusal(&trusting(&ours), "localhost", theirs.server(&["localhost"], false));
    assert_eq!(error, TlsError::UnknownIssuer { host: "localhost".into() });
    assert!(error.to_string().contains("CA file"));
}

#[test]
fn an_authority_that_was_renewed_under_its_name_is_unknown_too() {
    let (old, renewed) = (TestCa::named("renewed"), TestCa::named("renewed"));
    let error = refusal(&trusting(&old), "localhost", renewed.server(&["localhost"], false));
    assert_eq!(error, TlsError::UnknownIssuer { host: "localhost".into() });
}

#[test]
fn a_peer_that_does_not_speak_tls_is_an_error_and_not_a_panic() {
    let (listener, address) = listener();
    let server = std::thread::spawn(move || {
        let mut socket = accept(&listener);
        let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        let _ = socket.read(&mut [0; 1024]);
    });
    let mut stream = dial(&trusting(&TestCa::new()), "localhost", address);
    let error = until("the handshake fails", || stream.poll_ready(0).err());
    assert!(matches!(failure(&error), Some(TlsError::Protocol { .. })), "{error}");
    drop(stream);
    server.join().unwrap();
}

#[test]
fn a_peer_that_vanishes_in_the_handshake_is_an_error() {
    let (listener, address) = listener();
    let server = std::thread::spawn(move || drop(accept(&listener)));
    let mut stream = dial(&trusting(&TestCa::new()), "localhost", address);
    let error = until("the handshake fails", || stream.poll_ready(0).err());
    assert!(
        matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset),
        "{error}: either is how the kernel reports it"
    );
    server.join().unwrap();
}

#[test]
fn a_handshake_that_nobody_answers_fails_at_its_deadline() {
    let (listener, address) = listener();
    let tcp = TcpSocket::connect(address, TcpOptions::default(), 1_000).unwrap();
    let config = trusting(&TestCa::new());
    let mut socket = TlsSocket::new(&config, "localhost", tcp, 1 << 10, 1_000).unwrap();
    let _silent = accept(&listener);
    until("the connection stands", || {
        assert!(!socket.poll_ready(0).unwrap());
        socket.tcp.deadline_ns().is_none().then_some(())
    });
    assert_eq!(socket.poll_ready(1_000).unwrap_err().kind(), io::ErrorKind::TimedOut);
}

#[test]
fn a_full_queue_refuses_and_sends_nothing_of_it() {
    let ca = TestCa::new();
    let (address, server) = echo(ca.server(&["localhost"], false), 1, 1);
    let mut stream = dial(&trusting(&ca), "localhost", address);
    ready(&mut stream);
    assert_eq!(stream.send(&vec![0; (64 << 10) + 1]).unwrap_err().kind(), io::ErrorKind::StorageFull);
    stream.send(b"x").unwrap();
    let mut buffer = [0; 8];
    assert_eq!(until("the echo comes", || stream.read(&mut buffer).ok()), 1);
    server.join().unwrap();
}

#[test]
fn a_bad_name_or_ca_file_is_said_at_setup() {
    let missing = TlsOptions { roots: Roots::OnlyExtra, extra_ca: Some("/nonexistent/ca.pem".into()) };
    assert!(TlsConfig::new(&missing).unwrap_err().to_string().contains("/nonexistent/ca.pem"));
    let nobody = TlsOptions { roots: Roots::OnlyExtra, extra_ca: None };
    assert!(matches!(TlsConfig::new(&nobody), Err(TlsSetupError::NoRoots)));
    let mozilla = TlsOptions { roots: Roots::Mozilla, extra_ca: None };
    let config = TlsConfig::new(&mozilla).unwrap();
    let (_listener, address) = listener();
    let tcp = TcpSocket::connect(address, TcpOptions::default(), LATER).unwrap();
    let error = TlsSocket::new(&config, "not a name", tcp, 1 << 10, LATER).unwrap_err();
    assert_eq!(failure(&error), Some(&TlsError::BadName { host: "not a name".into() }));
}
