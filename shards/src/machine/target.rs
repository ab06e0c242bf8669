//! Where a connection goes: a host, and its addresses once they are known.

use std::net::SocketAddr;

use super::idle::Waker;
use super::resolve::{Lookup, Resolver};
use super::tls::TlsConfig;

/// Between two tries to resolve a name, in nanoseconds.
const RESOLVE_RETRY_NS: u64 = 1_000_000_000;

/// Where a provider connects.
#[derive(Clone, Debug)]
pub struct Target {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// `None` speaks plain text.
    pub tls: Option<TlsConfig>,
}

impl Target {
    /// What a request's `Host` says: the port stands there when it is not the scheme's own.
    pub fn authority(&self) -> String {
        let own = if self.tls.is_some() { 443 } else { 80 };
        if self.port == own { self.host.clone() } else { format!("{}:{}", self.host, self.port) }
    }
}

/// Addresses of a host, asked for when they are needed.
#[derive(Debug)]
pub struct Addresses {
    /// Where.
    pub target: Target,
    /// What is known.
    pub known: Vec<SocketAddr>,
    next: usize,
    lookup: Option<Lookup>,
    /// When the name may be asked for again.
    pub not_before_ns: u64,
    /// Why there is none.
    pub failure: Option<String>,
}

impl Addresses {
    /// Nothing is known yet.
    pub fn new(target: Target) -> Self {
        Self { target, known: Vec::new(), next: 0, lookup: None, not_before_ns: 0, failure: None }
    }

    /// The next address to try, if one is known; else the question is under way.
    pub fn next(&mut self, resolver: &Resolver, waker: &Waker, now_ns: u64) -> Option<SocketAddr> {
        self.poll(resolver, waker, now_ns);
        let address = self.known.get(self.next % self.known.len().max(1)).copied();
        self.next += 1;
        address
    }

    /// Goes on with the question.
    pub fn poll(&mut self, resolver: &Resolver, waker: &Waker, now_ns: u64) {
        if !self.known.is_empty() {
            return;
        }
        if self.lookup.is_none() && now_ns >= self.not_before_ns {
            self.not_before_ns = now_ns + RESOLVE_RETRY_NS;
            match resolver.lookup(&self.target.host, self.target.port, waker.clone()) {
                Ok(lookup) => self.lookup = Some(lookup),
                Err(error) => self.failure = Some(error.to_string()),
            }
        }
        match self.lookup.as_mut().and_then(Lookup::poll) {
            Some(Ok(addresses)) => {
                self.known = addresses;
                self.lookup = None;
            }
            Some(Err(error)) => {
                self.failure = Some(format!("cannot resolve {}: {error}", self.target.host));
                self.lookup = None;
            }
            None => {}
        }
    }
}
