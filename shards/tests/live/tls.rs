//! The same over TLS, with an authority of this test's own; and what is said when the venue cannot prove who it is.

use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use simvenues::{Options, Server};

use crate::rig::{ProviderSpec, Rig, plain, venue, venue_of};

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

    /// A venue of this kind that proves to be `name`.
    fn venue(&self, kind: &str, name: &str, expired: bool) -> Server {
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
        venue_of(kind, 1, Options { tls: Some(Arc::new(config)), first: None })
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}

/// Of each kind: the provider's name is the venue's.
const VENUES: [&str; 3] = ["binance", "kraken", "coinbase"];

fn spec(venue: &'static str, server: &Server, ca: &Authority) -> ProviderSpec {
    ProviderSpec { name: venue, venue, address: server.address(), tls: Some(("localhost", ca.file.clone())) }
}

#[test]
fn books_are_proved_over_tls() {
    let ca = Authority::new("proved");
    let servers = VENUES.map(|kind| ca.venue(kind, "localhost", false));
    let specs: Vec<ProviderSpec> =
        VENUES.iter().zip(&servers).map(|(venue, server)| spec(venue, server, &ca)).collect();
    let mut rig = Rig::observed(&specs);
    rig.wait_proved();
    let observer = rig.observer();
    rig.wait("500 trades", |_| {
        observer.ledger().trades.values().map(|log| log.seen_total).sum::<u64>() >= 500
    });
    rig.wait_equal(&servers[0]);
    assert_eq!(observer.ledger().gaps, []);
    let ended = rig.finish();
    assert!(ended.providers.iter().all(|provider| provider.lost_total == 0));
}

/// One provider of each venue says `words`, says it again at the next try, counts both, and proves no book; a neighbour on
/// the same shard notices nothing.
fn refused(words: &str, trusted: &Authority, server: impl Fn(&str) -> Server) {
    let servers = VENUES.map(server);
    let neighbour = venue(2, 50.0);
    let mut specs: Vec<ProviderSpec> =
        VENUES.iter().zip(&servers).map(|(venue, server)| spec(venue, server, trusted)).collect();
    specs.push(plain("neighbour", &neighbour));
    let mut rig = Rig::observed(&specs);
    rig.wait("the reason, and another try", |rig| {
        let said = |name: &&&str| {
            let of = |(provider, text): &&(String, String)| {
                provider == **name && text.contains("line 0") && text.contains(words)
            };
            rig.happened.iter().filter(of).count() >= 2
        };
        VENUES.iter().filter(said).count() == VENUES.len()
    });
    let at = |rig: &Rig, index: u8| rig.board.providers().find(|status| status.provider == index).copied();
    rig.wait("the neighbour's books", |rig| {
        at(rig, 3).is_some_and(|at| at.books == 3 && at.books_proved == 3)
    });
    let before = at(&rig, 3).map_or(0, |status| status.counts.messages_total);
    rig.wait("the neighbour's messages", |rig| {
        at(rig, 3).is_some_and(|status| status.counts.messages_total > before + 100)
    });
    let ended = rig.finish();
    for (index, provider) in ended.providers.iter().enumerate().take(VENUES.len()) {
        assert!(provider.lost_total >= 2, "{}", VENUES[index]);
        assert_eq!(provider.books_by_state.get("proved"), None, "{}", VENUES[index]);
    }
    let neighbour = &ended.providers[3];
    assert_eq!(
        (neighbour.lost_total, neighbour.counts.gaps_total, neighbour.counts.resyncs_total),
        (0, 0, 0)
    );
}

#[test]
fn a_certificate_of_another_authority_is_refused_with_what_to_do() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let words = "signed by nobody this provider trusts";
    refused(words, &ours, |kind| theirs.venue(kind, "localhost", false));
}

#[test]
fn an_expired_certificate_is_refused_with_what_to_do() {
    let ca = Authority::new("expired");
    refused("the certificate has expired", &ca, |kind| ca.venue(kind, "localhost", true));
}

#[test]
fn a_certificate_for_another_host_is_refused_with_what_to_do() {
    let ca = Authority::new("other_host");
    refused("the certificate is for another host", &ca, |kind| ca.venue(kind, "example.org", false));
}
