//! TLS client over our non-blocking socket: rustls with ring, always verified.
//!
//! There is no unverified mode: a simulated venue or a proxy gets in by its CA file ([`TlsOptions::extra_ca`]).
//! One [`TlsConfig`] per provider, shared by its connections, so that sessions resume on a reconnect.
//!
//! Decrypted bytes are copied straight into the caller's buffer and nothing here allocates per record. rustls itself
//! allocates once per record (175 ns per 204 B record, in both its APIs): the price of wss that the README states.

use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, ClientConfig, ClientConnection, RootCertStore};

use super::socket::TcpSocket;

/// Sessions kept for resumption, per provider: its lines and its REST connections, some of each spare.
const SESSIONS_MAX: usize = 32;

/// Whose certificates are trusted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Roots {
    /// The host's certificate store, and Mozilla's list if the host has none.
    #[default]
    Host,
    /// Mozilla's list as built in.
    Mozilla,
    /// Nobody but the extra CA file: simulated venues.
    OnlyExtra,
}

/// How a provider verifies its venue.
#[derive(Clone, Debug, Default)]
pub struct TlsOptions {
    /// Whose certificates are trusted.
    pub roots: Roots,
    /// A PEM file with CA certificates that are trusted as well.
    pub extra_ca: Option<PathBuf>,
}

/// The client configuration of one provider. Cheap to clone; clones share the session store.
#[derive(Clone, Debug)]
pub struct TlsConfig(Arc<ClientConfig>);

/// Why a provider's TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsSetupError {
    /// The extra CA file cannot be used.
    #[error("CA file {path}: {reason}; it must hold at least one PEM certificate")]
    ExtraCa {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Nobody is trusted.
    #[error("no trusted certificates: name a CA file, or use `host` or `mozilla` roots")]
    NoRoots,
    /// rustls refused its own defaults.
    #[error("TLS library: {0}")]
    Library(#[from] rustls::Error),
}

impl TlsConfig {
    /// Reads the certificates and builds the configuration. Touches files: call it at start, not on a turn.
    ///
    /// # Errors
    ///
    /// [`TlsSetupError`], each naming what to change.
    pub fn new(options: &TlsOptions) -> Result<Self, TlsSetupError> {
        let mut roots = RootCertStore::empty();
        if options.roots == Roots::Host {
            // Single bad certificates in a host's store are normal; an empty result is what matters.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        if options.roots == Roots::Mozilla || (options.roots == Roots::Host && roots.is_empty()) {
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        if let Some(path) = &options.extra_ca {
            add_file(&mut roots, path)
                .map_err(|reason| TlsSetupError::ExtraCa { path: path.clone(), reason })?;
        }
        if roots.is_empty() {
            return Err(TlsSetupError::NoRoots);
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.resumption = Resumption::in_memory_sessions(SESSIONS_MAX);
        // Both venues' WebSocket and our REST client speak HTTP/1.1; saying so avoids an upgrade to h2.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(Arc::new(config)))
    }
}

fn add_file(roots: &mut RootCertStore, path: &Path) -> Result<(), String> {
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| error.to_string())?;
    let before = roots.len();
    for certificate in certificates {
        let certificate = certificate.map_err(|error| error.to_string())?;
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    if roots.len() == before { Err("no certificate in it".to_owned()) } else { Ok(()) }
}

/// Why a TLS connection failed, with what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// The certificate's time is over, or this host's clock is wrong.
    #[error(
        "{host}: the certificate has expired; check this host's clock (`date -u`), then the venue's status page"
    )]
    Expired {
        /// Whom we asked for.
        host: String,
    },
    /// The certificate's time has not come, or this host's clock is wrong.
    #[error("{host}: the certificate is not valid yet; this host's clock is probably behind (`date -u`)")]
    NotYetValid {
        /// Whom we asked for.
        host: String,
    },
    /// The certificate is for somebody else.
    #[error(
        "{host}: the certificate is for another host; check the endpoint's spelling, and whether a proxy answers"
    )]
    WrongHost {
        /// Whom we asked for.
        host: String,
    },
    /// Nobody we trust signed the certificate.
    #[error(
        "{host}: signed by nobody this provider trusts; install the host's `ca-certificates`, \
         or name the CA file of your proxy or simulated venue"
    )]
    UnknownIssuer {
        /// Whom we asked for.
        host: String,
    },
    /// The name cannot be in a certificate.
    #[error("{host}: not a host name or address; check the endpoint")]
    BadName {
        /// What was asked for.
        host: String,
    },
    /// Anything else of the protocol: no common version or cipher, alerts, garbage.
    #[error("{host}: TLS failed: {reason}; check that the port speaks TLS")]
    Protocol {
        /// Whom we asked for.
        host: String,
        /// What rustls says.
        reason: String,
    },
}

/// The TLS reason inside an error of a stream, if it has one.
pub fn failure(error: &io::Error) -> Option<&TlsError> {
    error.get_ref()?.downcast_ref()
}

/// One TLS connection.
#[derive(Debug)]
pub struct TlsSocket {
    tcp: TcpSocket,
    session: ClientConnection,
    host: Box<str>,
    /// Until when the handshake must be done; `None` once it is.
    deadline_ns: Option<u64>,
    /// Plain bytes given to rustls since its output was last empty: its queue has no length of its own.
    queued_bytes: usize,
    queue_bytes_max: usize,
    /// The transport ended; what is decrypted is still read.
    ended: bool,
    /// Decrypted bytes that the caller has not taken yet.
    plain_bytes: usize,
}

impl TlsSocket {
    /// TLS to `host` (a name or an address; it is what the certificate must be for, and what SNI says) over `tcp`,
    /// which may still be connecting. Connecting and the handshake together end by `deadline_ns`.
    ///
    /// # Errors
    ///
    /// [`TlsError::BadName`], as [`failure`] finds it.
    pub fn new(
        config: &TlsConfig,
        host: &str,
        tcp: TcpSocket,
        queue_bytes_max: usize,
        deadline_ns: u64,
    ) -> io::Result<Self> {
        let name = match host.trim_matches(['[', ']']).parse::<IpAddr>() {
            Ok(address) => ServerName::from(address),
            Err(_) => ServerName::try_from(host.to_owned())
                .map_err(|_| invalid(TlsError::BadName { host: host.to_owned() }))?,
        };
        let mut session =
            ClientConnection::new(config.0.clone(), name).map_err(|error| invalid(explain(&error, host)))?;
        session.set_buffer_limit(None); // bounded by `queue_bytes_max`, all or nothing
        Ok(Self {
            tcp,
            session,
            host: host.into(),
            deadline_ns: Some(deadline_ns),
            queued_bytes: 0,
            queue_bytes_max,
            ended: false,
            plain_bytes: 0,
        })
    }

    /// Whether the peer proved who it is. See [`super::socket::Stream::poll_ready`].
    pub fn poll_ready(&mut self, now_ns: u64) -> io::Result<bool> {
        let Some(deadline_ns) = self.deadline_ns else { return Ok(true) };
        if !self.tcp.poll_connect(now_ns)? {
            return Ok(false);
        }
        self.write_records()?;
        while self.session.is_handshaking() {
            match self.read_records() {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => self.write_records()?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        if !self.session.is_handshaking() {
            self.deadline_ns = None;
            return Ok(true);
        }
        if now_ns >= deadline_ns { Err(io::ErrorKind::TimedOut.into()) } else { Ok(false) }
    }

    /// See [`super::socket::Stream::read`].
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.session.reader().read(buffer) {
                Ok(count) => {
                    self.plain_bytes = self.plain_bytes.saturating_sub(count);
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && !self.ended => {}
                Err(error) => return Err(error),
            }
            if self.read_records()? == 0 {
                self.ended = true;
            }
            if self.session.wants_write() {
                self.write_records()?; // answers of the protocol: key updates
            }
        }
    }

    /// See [`super::socket::TcpSocket::send`].
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.queued_bytes + bytes.len() > self.queue_bytes_max {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.session.writer().write_all(bytes)?;
        self.queued_bytes += bytes.len();
        self.flush()
    }

    /// See [`super::socket::Stream::flush`].
    pub fn flush(&mut self) -> io::Result<()> {
        if self.tcp.deadline_ns().is_none() { self.write_records() } else { Ok(()) }
    }

    /// Whether decrypted bytes wait.
    pub fn has_buffered(&self) -> bool {
        self.plain_bytes > 0
    }

    /// Whether this side still has to be told of writability.
    pub fn wants_write(&self) -> bool {
        self.tcp.wants_write() || self.session.wants_write()
    }

    /// Until when the handshake must be done; `None` once it is.
    pub fn deadline_ns(&self) -> Option<u64> {
        self.deadline_ns
    }

    /// Whether the handshake resumed an earlier session; `None` until it is done.
    pub fn resumed(&self) -> Option<bool> {
        self.session.handshake_kind().map(|kind| kind == rustls::HandshakeKind::Resumed)
    }

    /// Takes what the kernel has, as far as rustls wants it, and decrypts it; 0 means that the transport ended.
    fn read_records(&mut self) -> io::Result<usize> {
        let count = self.session.read_tls(&mut Transport(&mut self.tcp))?;
        match self.session.process_new_packets() {
            Ok(state) => self.plain_bytes = state.plaintext_bytes_to_read(),
            Err(error) => {
                let _ = self.write_records(); // the alert that tells the peer why; the connection is lost anyway
                return Err(invalid(explain(&error, &self.host)));
            }
        }
        Ok(count)
    }

    /// Hands rustls' records to the kernel as far as it takes them.
    fn write_records(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut Transport(&mut self.tcp)) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        if !self.session.is_handshaking() {
            self.queued_bytes = 0;
        }
        Ok(())
    }
}

impl AsFd for TlsSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.tcp.as_fd()
    }
}

/// The socket as rustls wants to see it.
struct Transport<'a>(&'a mut TcpSocket);

impl Read for Transport<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Transport<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.write(bytes)? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            taken => Ok(taken),
        }
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cold]
fn invalid(error: TlsError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cold]
fn explain(error: &rustls::Error, host: &str) -> TlsError {
    use CertificateError as Certificate;
    let host = host.to_owned();
    match error {
        rustls::Error::InvalidCertificate(reason) => match reason {
            Certificate::Expired | Certificate::ExpiredContext { .. } => TlsError::Expired { host },
            Certificate::NotValidYet | Certificate::NotValidYetContext { .. } => {
                TlsError::NotYetValid { host }
            }
            Certificate::NotValidForName | Certificate::NotValidForNameContext { .. } => {
                TlsError::WrongHost { host }
            }
            // A bad signature is an issuer of the right name with another key: a CA file from before it was renewed.
            Certificate::UnknownIssuer | Certificate::BadSignature => TlsError::UnknownIssuer { host },
            other => TlsError::Protocol { host, reason: other.to_string() },
        },
        other => TlsError::Protocol { host, reason: other.to_string() },
    }
}

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tests;
