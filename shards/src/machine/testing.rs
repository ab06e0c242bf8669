//! Helpers of this layer's tests: loopback sockets, scripted servers, and a bound on every wait.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketType};

/// How long any single wait of a test may take before the test fails. Generous: it bounds hangs, it measures nothing.
pub const WAIT_MAX: Duration = Duration::from_secs(20);

/// Calls `step` until it gives a value; fails the test after [`WAIT_MAX`].
pub fn until<T>(what: &str, mut step: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = step() {
            return value;
        }
        assert!(start.elapsed() < WAIT_MAX, "gave up waiting until {what}");
        std::thread::sleep(Duration::from_micros(100));
    }
}

/// A listener on an ephemeral loopback port.
pub fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// A loopback address that refuses every connection while the socket is kept: bound, so that nobody else gets the port, and never
/// listened on. That of a listener that was closed may soon be another test's.
pub fn refusing() -> (OwnedFd, SocketAddr) {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let address = rustix::net::getsockname(&socket).unwrap().try_into().unwrap();
    (socket, address)
}

/// Two connected blocking sockets, whose reads and writes are bounded by [`WAIT_MAX`].
pub fn socket_pair() -> (TcpStream, TcpStream) {
    let (listener, address) = listener();
    let client = TcpStream::connect(address).unwrap();
    let (server, _) = listener.accept().unwrap();
    for socket in [&client, &server] {
        bound(socket);
    }
    (client, server)
}

/// Bounds the reads and writes of a blocking socket by [`WAIT_MAX`].
pub fn bound(socket: &TcpStream) {
    socket.set_read_timeout(Some(WAIT_MAX)).unwrap();
    socket.set_write_timeout(Some(WAIT_MAX)).unwrap();
}

/// Accepts one connection, bounded by [`WAIT_MAX`].
pub fn accept(listener: &TcpListener) -> TcpStream {
    listener.set_nonblocking(true).unwrap();
    let socket = until("somebody connects", || listener.accept().ok()).0;
    socket.set_nonblocking(false).unwrap();
    bound(&socket);
    socket
}

/// A certificate authority made a moment ago, with its certificate in a file of its own.
pub struct TestCa {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    file: std::path::PathBuf,
}

impl TestCa {
    pub fn new() -> Self {
        Self::named(&format!("test authority {}", Self::count()))
    }

    fn count() -> usize {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        COUNT.fetch_add(1, Ordering::Relaxed)
    }

    /// An authority of that name and a new key.
    pub fn named(name: &str) -> Self {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let count = Self::count();
        let file = std::env::temp_dir().join(format!("meltica-test-ca-{}-{count}.pem", std::process::id()));
        std::fs::write(&file, certificate.pem()).unwrap();
        Self { issuer: rcgen::Issuer::new(params, key), file }
    }

    /// The file with this authority's certificate.
    pub fn file(&self) -> std::path::PathBuf {
        self.file.clone()
    }

    /// A server that proves to be `names`, by a certificate that has expired if told so.
    pub fn server(&self, names: &[&str], expired: bool) -> Arc<rustls::ServerConfig> {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = rcgen::CertificateParams::new(names).unwrap();
        if expired {
            params.not_before = rcgen::date_time_ymd(2020, 1, 1);
            params.not_after = rcgen::date_time_ymd(2020, 2, 1);
        }
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        Arc::new(config)
    }
}

impl Drop for TestCa {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}
