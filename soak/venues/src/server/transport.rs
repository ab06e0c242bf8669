//! The bytes of one socket, non-blocking, plain or through TLS.

use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::sync::Arc;

use mio::Registry;
use mio::net::TcpStream;
use rustls::{ServerConfig, ServerConnection};

/// One client's connection.
pub(super) enum Transport {
    /// `ws://` and `http://`.
    Plain(TcpStream),
    /// `wss://` and `https://`.
    Tls(TcpStream, Box<ServerConnection>),
}

/// What reading gave.
pub(super) enum Received {
    /// So many bytes.
    Bytes(usize),
    /// Nothing now.
    Nothing,
    /// The client is gone.
    Closed,
}

impl Transport {
    /// Over a socket that was just accepted; with a configuration, through TLS.
    pub(super) fn new(socket: TcpStream, tls: Option<&Arc<ServerConfig>>) -> Result<Self, rustls::Error> {
        Ok(match tls {
            None => Self::Plain(socket),
            Some(config) => Self::Tls(socket, Box::new(ServerConnection::new(Arc::clone(config))?)),
        })
    }

    /// Reads once.
    pub(super) fn receive(&mut self, buffer: &mut [u8]) -> Received {
        match self {
            Self::Plain(socket) => received(socket.read(buffer)),
            Self::Tls(socket, session) => loop {
                match received(session.reader().read(buffer)) {
                    Received::Nothing => {}
                    result => return result,
                }
                match received(session.read_tls(socket)) {
                    Received::Bytes(_) => {}
                    result => return result,
                }
                let understood = session.process_new_packets().is_ok();
                // The handshake answers, or the alert that says why not.
                if flush_tls(socket, session).is_err() || !understood {
                    return Received::Closed;
                }
            },
        }
    }

    /// Takes some bytes; 0 if it takes none now.
    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => blocked_is_zero(socket.write(bytes)),
            Self::Tls(socket, session) => {
                if !flush_tls(socket, session)? {
                    return Ok(0);
                }
                let count = session.writer().write(bytes)?;
                flush_tls(socket, session)?;
                Ok(count)
            }
        }
    }

    /// Whether all that was taken is on its way.
    pub(super) fn flush(&mut self) -> io::Result<bool> {
        match self {
            Self::Plain(_) => Ok(true),
            Self::Tls(socket, session) => flush_tls(socket, session),
        }
    }

    /// Closes the socket.
    pub(super) fn close(self, registry: &Registry) {
        let mut socket = match self {
            Self::Plain(socket) => socket,
            Self::Tls(mut socket, mut session) => {
                session.send_close_notify();
                // A courtesy: the socket is closed in any case.
                let _ = flush_tls(&mut socket, &mut session);
                socket
            }
        };
        // It is registered, and closing it removes it anyway.
        let _ = registry.deregister(&mut socket);
        let _ = socket.shutdown(Shutdown::Both);
    }
}

/// `false`: the socket takes no more now.
fn flush_tls(socket: &mut TcpStream, session: &mut ServerConnection) -> io::Result<bool> {
    while session.wants_write() {
        if blocked_is_zero(session.write_tls(socket))? == 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

fn blocked_is_zero(result: io::Result<usize>) -> io::Result<usize> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        result => result,
    }
}

fn received(result: io::Result<usize>) -> Received {
    match result {
        Ok(0) => Received::Closed,
        Ok(count) => Received::Bytes(count),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Received::Nothing,
        Err(_) => Received::Closed,
    }
}
