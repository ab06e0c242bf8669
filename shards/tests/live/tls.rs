//! The same over TLS, with an authority of this test's own; and what is said when the venue cannot prove who it is.

use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use simvenues::{Options, Server};

use crate::rig::{ProviderSpec, Rig, venue_with};

/// An authority, and the file with its certificate.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    file: PathBuf,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("self-signed");
        let file = std::env::temp_dir().join(format!("meltica-live-{}-{name}.pem", std::process::id()));
        std::fs::write(&file, certificate.pem()).expect("a temporary file");
        Self { issuer: Issuer::new(params, key), file }
    }

    /// A venue that proves to be `name`.
    fn venue(&self, name: &str, expired: bool) -> Server {
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        if expired {
            params.not_before = rcgen::date_time_ymd(2020, 1, 1);
            params.not_after = rcgen::date_time_ymd(2020, 2, 1);
        }
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .expect("a certificate");
        venue_with(1, 100.0, Options { tls: Some(Arc::new(config)), first: None })
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}

fn spec(server: &Server, ca: &Authority) -> ProviderSpec {
    ProviderSpec { name: "one", address: server.address(), tls: Some(("localhost", ca.file.clone())) }
}

#[test]
fn books_are_proved_over_tls() {
    let ca = Authority::new("proved");
    let server = ca.venue("localhost", false);
    let mut rig = Rig::observed(&[spec(&server, &ca)]);
    rig.wait_proved();
    let observer = rig.observer();
    rig.wait("500 trades", |_| {
        observer.ledger().trades.values().map(|log| log.seen_total).sum::<u64>() >= 500
    });
    rig.wait_equal(&server);
    assert_eq!(observer.ledger().gaps, []);
    rig.finish();
}

/// The provider says `words`, says it again at the next try, and no book is ever proved.
fn refused(server: &Server, trusted: &Authority, words: &str) {
    let mut rig = Rig::observed(&[spec(server, trusted)]);
    rig.wait("the reason, and another try", |rig| {
        rig.happened.iter().filter(|(_, text)| text.contains("line 0") && text.contains(words)).count() >= 2
    });
    assert!(!rig.all_proved());
    rig.finish();
}

#[test]
fn a_certificate_of_another_authority_is_refused_with_what_to_do() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    refused(&theirs.venue("localhost", false), &ours, "signed by nobody this provider trusts");
}

#[test]
fn an_expired_certificate_is_refused_with_what_to_do() {
    let ca = Authority::new("expired");
    refused(&ca.venue("localhost", true), &ca, "the certificate has expired");
}

#[test]
fn a_certificate_for_another_host_is_refused_with_what_to_do() {
    let ca = Authority::new("other_host");
    refused(&ca.venue("example.org", false), &ca, "the certificate is for another host");
}
