//! Non-blocking TCP client stream: connect under a deadline, read into the caller's buffer, bounded sends.
//!
//! Knows nothing of epoll sets or frames. Whoever owns a [`Stream`] registers it with its
//! [`Poller`](super::poller::Poller) for [`Stream::interest`], and asks again after each call that may change it.
//! `WouldBlock` is the normal end of reading. [`Stream`] is the same over plain TCP and over TLS.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use super::poller::Interest;
use super::tls::TlsSocket;

/// How a socket is set up.
#[derive(Clone, Copy, Debug)]
pub struct TcpOptions {
    /// `SO_RCVBUF`, in bytes; `None` leaves the kernel's automatic tuning, which is right unless a burst of a known
    /// size must fit. A value above `net.core.rmem_max` is cut by the kernel.
    pub receive_buffer_bytes: Option<usize>,
    /// Bytes that may wait for the kernel to take them, at the most.
    pub send_queue_bytes_max: usize,
}

impl Default for TcpOptions {
    fn default() -> Self {
        // A venue's largest message from us is a batch of subscriptions: some 10 KiB. Six of them.
        Self { receive_buffer_bytes: None, send_queue_bytes_max: 64 << 10 }
    }
}

/// A non-blocking TCP connection that this side opened.
#[derive(Debug)]
pub struct TcpSocket {
    stream: TcpStream,
    /// While connecting: when to give up.
    connecting_until_ns: Option<u64>,
    queue: SendQueue,
}

impl TcpSocket {
    /// Starts to connect; [`Self::poll_connect`] says when it is done. Fails it after `deadline_ns`.
    ///
    /// # Errors
    ///
    /// What the kernel says at once: no route, no descriptors, refused on loopback.
    pub fn connect(address: SocketAddr, options: TcpOptions, deadline_ns: u64) -> io::Result<Self> {
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
        // Orders and pings are small and must not wait for an acknowledgement of the last one.
        sockopt::set_tcp_nodelay(&socket, true)?;
        if let Some(bytes) = options.receive_buffer_bytes {
            sockopt::set_socket_recv_buffer_size(&socket, bytes)?; // before connect: it fixes the window scale
        }
        match rustix::net::connect(&socket, &address) {
            Ok(()) | Err(rustix::io::Errno::INPROGRESS | rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(Self {
            stream: TcpStream::from(socket),
            connecting_until_ns: Some(deadline_ns),
            queue: SendQueue::new(options.send_queue_bytes_max),
        })
    }

    /// Whether the connection stands.
    ///
    /// # Errors
    ///
    /// Why it failed, or `TimedOut` at the deadline; the socket is then of no more use.
    pub fn poll_connect(&mut self, now_ns: u64) -> io::Result<bool> {
        let Some(deadline_ns) = self.connecting_until_ns else { return Ok(true) };
        sockopt::socket_error(&self.stream)??;
        match self.stream.peer_addr() {
            Ok(_) => {
                self.connecting_until_ns = None;
                Ok(true)
            }
            Err(error) if error.kind() != io::ErrorKind::NotConnected => Err(error),
            Err(_) if now_ns >= deadline_ns => Err(io::ErrorKind::TimedOut.into()),
            Err(_) => Ok(false),
        }
    }

    /// Reads what is there, at most `buffer`; 0 means that the peer closed its side.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when nothing is there; anything else ends the connection.
    #[inline]
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        retry(|| self.stream.read(buffer))
    }

    /// Sends all of `bytes`: what the kernel does not take waits in the send queue.
    ///
    /// # Errors
    ///
    /// `StorageFull` if the queue cannot hold it; then nothing of `bytes` was sent and the connection goes on.
    /// Anything else ends the connection.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.queue.reserve(bytes.len())?;
        self.flush()?;
        let mut taken = 0;
        if self.connecting_until_ns.is_none() && self.queue.is_empty() {
            taken = self.write(bytes)?;
        }
        self.queue.push(&bytes[taken..]);
        Ok(())
    }

    /// Hands the queue to the kernel as far as it takes it.
    pub fn flush(&mut self) -> io::Result<()> {
        if self.connecting_until_ns.is_some() {
            return Ok(());
        }
        while !self.queue.is_empty() {
            match retry(|| self.stream.write(self.queue.bytes())) {
                Ok(taken) => self.queue.take(taken),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Bytes that the kernel has not taken yet.
    pub fn queued_bytes(&self) -> usize {
        self.queue.bytes().len()
    }

    /// Whether this side still has to be told of writability.
    pub fn wants_write(&self) -> bool {
        self.connecting_until_ns.is_some() || !self.queue.is_empty()
    }

    /// When the connect fails unless it is done; `None` once it is.
    pub fn deadline_ns(&self) -> Option<u64> {
        self.connecting_until_ns
    }

    /// How much of `bytes` the kernel takes now; 0 if nothing.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match retry(|| self.stream.write(bytes)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            other => other,
        }
    }
}

impl AsFd for TcpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// A signal during a system call is not an error.
fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// Bytes on their way to the kernel, taken from the front. Its memory is taken at first use and kept.
#[derive(Debug)]
struct SendQueue {
    bytes: Vec<u8>,
    /// How much of the front the kernel has taken.
    taken: usize,
    bytes_max: usize,
}

impl SendQueue {
    fn new(bytes_max: usize) -> Self {
        Self { bytes: Vec::new(), taken: 0, bytes_max }
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[self.taken..]
    }

    fn is_empty(&self) -> bool {
        self.bytes().is_empty()
    }

    /// Checks that `more` bytes fit, whatever the kernel takes of them.
    fn reserve(&self, more: usize) -> io::Result<()> {
        if self.bytes().len() + more > self.bytes_max {
            Err(io::ErrorKind::StorageFull.into())
        } else {
            Ok(())
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if self.taken > 0 {
            self.bytes.drain(..self.taken);
            self.taken = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    fn take(&mut self, bytes: usize) {
        self.taken += bytes;
        if self.is_empty() {
            self.bytes.clear();
            self.taken = 0;
        }
    }
}

/// A connection to a venue, plain or encrypted.
#[derive(Debug)]
pub enum Stream {
    /// TCP as it is: simulated venues.
    Plain(TcpSocket),
    /// TLS over TCP.
    Tls(Box<TlsSocket>),
}

impl Stream {
    /// Whether the connection stands: connected, and over TLS the peer proved who it is.
    ///
    /// # Errors
    ///
    /// Why not; [`super::tls::failure`] finds the TLS reason in it.
    pub fn poll_ready(&mut self, now_ns: u64) -> io::Result<bool> {
        match self {
            Self::Plain(socket) => socket.poll_connect(now_ns),
            Self::Tls(socket) => socket.poll_ready(now_ns),
        }
    }

    /// Reads what is there, at most `buffer`; 0 means that the peer closed its side in good order.
    ///
    /// Read until `WouldBlock` or until [`Self::has_buffered`] is false: bytes that TLS has already taken from the
    /// kernel are not reported by an epoll set again.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when nothing is there; `UnexpectedEof` when a TLS peer vanished without saying so; anything
    /// else ends the connection too.
    #[inline]
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(buffer),
            Self::Tls(socket) => socket.read(buffer),
        }
    }

    /// Sends all of `bytes`, now or when the kernel takes them. See [`TcpSocket::send`].
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.send(bytes),
            Self::Tls(socket) => socket.send(bytes),
        }
    }

    /// Hands what waits to the kernel as far as it takes it.
    pub fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.flush(),
            Self::Tls(socket) => socket.flush(),
        }
    }

    /// Whether decrypted bytes wait that no epoll set will report.
    pub fn has_buffered(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(socket) => socket.has_buffered(),
        }
    }

    /// What the stream should be watched for now.
    pub fn interest(&self) -> Interest {
        let wants_write = match self {
            Self::Plain(socket) => socket.wants_write(),
            Self::Tls(socket) => socket.wants_write(),
        };
        if wants_write { Interest::ReadWrite } else { Interest::Read }
    }

    /// Until when the connection must stand; `None` once it does.
    pub fn deadline_ns(&self) -> Option<u64> {
        match self {
            Self::Plain(socket) => socket.deadline_ns(),
            Self::Tls(socket) => socket.deadline_ns(),
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Plain(socket) => socket.as_fd(),
            Self::Tls(socket) => socket.as_fd(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::machine::testing::{accept, listener, refusing, until};

    const LATER: u64 = u64::MAX;

    fn connected(options: TcpOptions) -> (TcpSocket, TcpStream) {
        let (listener, address) = listener();
        let mut client = TcpSocket::connect(address, options, LATER).unwrap();
        let server = accept(&listener);
        until("the connection stands", || client.poll_connect(0).unwrap().then_some(()));
        (client, server)
    }

    #[test]
    fn a_connection_carries_bytes_both_ways() {
        let (mut client, mut server) = connected(TcpOptions::default());
        assert_eq!(client.read(&mut [0; 8]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        client.send(b"ping").unwrap();
        let mut buffer = [0; 4];
        server.read_exact(&mut buffer).unwrap();
        assert_eq!(&buffer, b"ping");
        server.write_all(b"pong").unwrap();
        let count = until("the answer is there", || client.read(&mut buffer).ok());
        assert_eq!(&buffer[..count], b"pong");
        drop(server);
        let count = until("the end is there", || client.read(&mut buffer).ok());
        assert_eq!(count, 0);
    }

    #[test]
    fn a_refused_connect_is_an_error() {
        let (_kept, address) = refusing();
        let refused = match TcpSocket::connect(address, TcpOptions::default(), LATER) {
            Err(error) => error,
            Ok(mut client) => until("the refusal comes", || client.poll_connect(0).err()),
        };
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn a_connect_that_nobody_answers_fails_at_its_deadline() {
        // A listener whose queue of one is full: further handshakes are dropped, so that a connect hangs.
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        rustix::net::bind(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        rustix::net::listen(&socket, 0).unwrap();
        let address: SocketAddr = rustix::net::getsockname(&socket).unwrap().try_into().unwrap();
        let mut clients: Vec<TcpSocket> =
            (0..8).map(|_| TcpSocket::connect(address, TcpOptions::default(), 1_000).unwrap()).collect();
        // Those that fit are done at once on loopback.
        let hanging = clients.iter_mut().position(|client| !client.poll_connect(0).unwrap_or(true));
        let hanging = &mut clients[hanging.expect("eight do not fit into a queue of one")];
        assert!(!hanging.poll_connect(999).unwrap());
        assert_eq!(hanging.deadline_ns(), Some(1_000));
        assert_eq!(hanging.poll_connect(1_000).unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn what_the_kernel_does_not_take_waits_and_arrives_in_order() {
        const CHUNK: usize = 256 << 10;
        let options = TcpOptions { send_queue_bytes_max: 64 << 20, ..TcpOptions::default() };
        let (mut client, mut server) = connected(options);
        let mut sent = Vec::new();
        while client.queued_bytes() == 0 {
            let chunk: Vec<u8> = (0..CHUNK).map(|index| (index * 7 + sent.len() / CHUNK) as u8).collect();
            client.send(&chunk).unwrap();
            sent.extend(chunk);
        }
        assert!(client.wants_write());
        client.send(b"the end").unwrap();
        sent.extend(b"the end");

        let total = sent.len();
        let reader = std::thread::spawn(move || {
            let mut got = vec![0; total];
            server.read_exact(&mut got).map(|()| got)
        });
        until("the queue is empty", || {
            client.flush().unwrap();
            (!client.wants_write()).then_some(())
        });
        assert!(reader.join().unwrap().unwrap() == sent, "bytes arrive in order and whole");
    }

    #[test]
    fn a_full_queue_refuses_and_sends_nothing_of_it() {
        let options = TcpOptions { send_queue_bytes_max: 1 << 20, ..TcpOptions::default() };
        let (mut client, _server) = connected(options);
        let chunk = vec![1; 512 << 10];
        let refused = until("the queue is full", || client.send(&chunk).err());
        assert_eq!(refused.kind(), io::ErrorKind::StorageFull);
        let queued = client.queued_bytes();
        assert!(queued <= 1 << 20);
        assert!(client.send(&chunk).is_err());
        assert_eq!(client.queued_bytes(), queued, "and the connection goes on");
    }

    #[test]
    fn what_is_sent_before_the_connection_stands_is_kept() {
        let (listener, address) = listener();
        let mut client = TcpSocket::connect(address, TcpOptions::default(), LATER).unwrap();
        client.send(b"early").unwrap();
        let mut server = accept(&listener);
        until("the connection stands", || client.poll_connect(0).unwrap().then_some(()));
        client.flush().unwrap();
        let mut buffer = [0; 5];
        server.read_exact(&mut buffer).unwrap();
        assert_eq!(&buffer, b"early");
    }

    #[test]
    fn the_receive_buffer_is_set() {
        let options = TcpOptions { receive_buffer_bytes: Some(32 << 10), ..TcpOptions::default() };
        let (client, _server) = connected(options);
        // The kernel doubles the value for its own bookkeeping (socket(7)).
        assert_eq!(sockopt::socket_recv_buffer_size(&client).unwrap(), 64 << 10);
        assert!(sockopt::tcp_nodelay(&client).unwrap());
    }
}
