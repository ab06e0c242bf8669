//! The bytes of one socket, non-blocking. TLS would be a second variant that wraps the same socket.

use std::io::{self, Read as _, Write as _};

use mio::Registry;
use mio::net::TcpStream;

/// One client's connection.
#[derive(Debug)]
pub(super) enum Transport {
    /// `ws://` and `http://`.
    Plain(TcpStream),
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
    /// Reads once.
    pub(super) fn receive(&mut self, buffer: &mut [u8]) -> Received {
        let Self::Plain(socket) = self;
        loop {
            return match socket.read(buffer) {
                Ok(0) => Received::Closed,
                Ok(count) => Received::Bytes(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Received::Nothing,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => Received::Closed,
            };
        }
    }

    /// Writes once; 0 if the socket takes nothing now.
    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Self::Plain(socket) = self;
        loop {
            match socket.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                result => return result,
            }
        }
    }

    /// Closes the socket.
    pub(super) fn close(self, registry: &Registry) {
        let Self::Plain(mut socket) = self;
        // It is registered, and closing it removes it anyway.
        let _ = registry.deregister(&mut socket);
        let _ = socket.shutdown(std::net::Shutdown::Both);
    }
}
