//! Tokens (JWT) for Coinbase: ES256 or `EdDSA`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::Signer as _;
use p256::ecdsa::{Signature, SigningKey};
use zeroize::Zeroizing;

use crate::orders::secret::{KeyError, Secret};
use crate::orders::venue::binance::ed25519_from_pem;
use crate::orders::venue::write;

/// A key that signs. Wiped when dropped, never printed.
pub enum CoinbaseKey {
    /// An ECDSA key on P-256, the venue's common kind.
    Es256(Box<SigningKey>),
    /// An Ed25519 key.
    EdDsa(Box<ed25519_dalek::SigningKey>),
}

impl std::fmt::Debug for CoinbaseKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Es256(_) => "Es256(***)",
            Self::EdDsa(_) => "EdDsa(***)",
        })
    }
}

impl CoinbaseKey {
    /// A key as the venue gives it out: SEC1 PEM (`EC PRIVATE KEY`), Ed25519 in PKCS #8 PEM, or the base 64 of an Ed25519
    /// seed alone (32 bytes) or with its public key (64). Line ends may be written `\n`, as in the venue's JSON file.
    ///
    /// # Errors
    /// [`KeyError`] if it is none of those.
    pub fn new(secret: &Secret) -> Result<Self, KeyError> {
        const MALFORMED: KeyError = KeyError::Malformed { expected: "a Coinbase key: PEM or base 64" };
        let text = std::str::from_utf8(secret.expose_trimmed()).map_err(|_| MALFORMED)?;
        let text = Zeroizing::new(text.replace("\\n", "\n"));
        if text.contains("EC PRIVATE KEY") {
            let key = p256::SecretKey::from_sec1_pem(text.trim()).map_err(|_| MALFORMED)?;
            return Ok(Self::Es256(Box::new(SigningKey::from(key))));
        }
        if text.contains("PRIVATE KEY") {
            return Ok(Self::EdDsa(Box::new(ed25519_from_pem(text.trim().as_bytes())?)));
        }
        let bytes = Zeroizing::new(STANDARD.decode(text.trim()).map_err(|_| MALFORMED)?);
        if !matches!(bytes.len(), 32 | 64) {
            return Err(MALFORMED);
        }
        let mut seed = Zeroizing::new([0; 32]);
        seed.copy_from_slice(&bytes[..32]);
        Ok(Self::EdDsa(Box::new(ed25519_dalek::SigningKey::from_bytes(&seed))))
    }

    /// The kind of its signatures, as histograms name it.
    pub const fn signature(&self) -> &'static str {
        match self {
            Self::Es256(_) => "es256",
            Self::EdDsa(_) => "ed25519",
        }
    }

    const fn algorithm(&self) -> &'static [u8] {
        match self {
            Self::Es256(_) => b"ES256",
            Self::EdDsa(_) => b"EdDSA",
        }
    }

    /// Appends a token. `uri` is `METHOD host/path` for a REST request, `None` for a channel. `scratch` is overwritten.
    pub(super) fn token(&self, claims: &Claims<'_>, scratch: &mut Vec<u8>, out: &mut Vec<u8>) {
        let start = out.len();
        scratch.clear();
        scratch.extend_from_slice(b"{\"alg\":\"");
        scratch.extend_from_slice(self.algorithm());
        scratch.extend_from_slice(b"\",\"typ\":\"JWT\",\"kid\":\"");
        scratch.extend_from_slice(claims.key_name);
        scratch.extend_from_slice(b"\",\"nonce\":\"");
        write::hex(&claims.random.to_be_bytes(), scratch);
        scratch.extend_from_slice(b"\"}");
        write::base64(scratch, true, out);
        out.push(b'.');
        scratch.clear();
        scratch.extend_from_slice(b"{\"sub\":\"");
        scratch.extend_from_slice(claims.key_name);
        scratch.extend_from_slice(b"\",\"iss\":\"cdp\",\"nbf\":");
        write::u64(claims.now_s, scratch);
        scratch.extend_from_slice(b",\"exp\":");
        write::u64(claims.now_s + TOKEN_LIFE_S, scratch);
        if let Some((method, host, path)) = claims.uri {
            scratch.extend_from_slice(b",\"uri\":\"");
            scratch.extend_from_slice(method);
            scratch.push(b' ');
            scratch.extend_from_slice(host);
            scratch.extend_from_slice(path);
            scratch.push(b'"');
        }
        scratch.push(b'}');
        write::base64(scratch, true, out);
        match self {
            Self::Es256(key) => {
                let signature: Signature = key.sign(&out[start..]);
                out.push(b'.');
                write::base64(&signature.to_bytes(), true, out);
            }
            Self::EdDsa(key) => {
                let signature = key.sign(&out[start..]).to_bytes();
                out.push(b'.');
                write::base64(&signature, true, out);
            }
        }
    }
}

/// How long a token is good for, in seconds. Source: docs.cdp.coinbase.com, 2026-08.
pub(super) const TOKEN_LIFE_S: u64 = 120;

/// What a token says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claims<'a> {
    pub key_name: &'a [u8],
    pub random: u128,
    pub now_s: u64,
    /// Method, host, path without query.
    pub uri: Option<(&'a [u8], &'a [u8], &'a [u8])>,
}

#[cfg(test)]
pub(in crate::orders::venue) mod tests {
    use super::*;

    const NAME: &[u8] =
        b"organizations/00000000-0000-0000-0000-000000000001/apiKeys/00000000-0000-0000-0000-000000000002";

    fn claims() -> Claims<'static> {
        Claims {
            key_name: NAME,
            random: 0x0011_2233_4455_6677_8899_aabb_ccdd_eeff,
            now_s: 1_783_000_000,
            uri: Some((b"GET", b"api.coinbase.com", b"/api/v3/brokerage/accounts")),
        }
    }

    fn signature(key: &CoinbaseKey) -> String {
        let (mut scratch, mut out) = (Vec::new(), Vec::new());
        key.token(&claims(), &mut scratch, &mut out);
        let text = String::from_utf8(out).expect("ASCII");
        assert_eq!(text.split('.').count(), 3);
        text.rsplit('.').next().expect("a signature").to_owned()
    }

    pub(in crate::orders::venue) fn es256() -> CoinbaseKey {
        // The private key of RFC 6979, A.2.5.
        let scalar = [
            0xC9, 0xAF, 0xA9, 0xD8, 0x45, 0xBA, 0x75, 0x16, 0x6B, 0x5C, 0x21, 0x57, 0x67, 0xB1, 0xD6, 0x93,
            0x4E, 0x50, 0xC3, 0xDB, 0x36, 0xE8, 0x9B, 0x12, 0x7B, 0x8A, 0x62, 0x2B, 0x12, 0x0F, 0x67, 0x21,
        ];
        CoinbaseKey::Es256(Box::new(SigningKey::from_slice(&scalar).expect("a scalar")))
    }

    #[test]
    fn tokens_are_signed_as_computed_independently() {
        // Computed with another implementation from the same claims; ES256 with the deterministic nonce of RFC 6979.
        assert_eq!(
            signature(&es256()),
            "DebQD3qTboaVSIhXFtZKvQMfx51nk6XC7xyf-lXEXgNHwUwrj5kkH8GbFodpLZBKkXjsUtlQVFA57Nf8oejFWg"
        );
        // The seed of RFC 8032, test 1.
        let seed = Secret::new(b"nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=\n".to_vec());
        let key = CoinbaseKey::new(&seed).expect("a seed");
        assert_eq!(
            signature(&key),
            "_otUhdXGd4JedThVC35CvYhR3jAMtEzjDWOGYK-9xDEfPrKG23e2nurEwHq3-0d1qv_JpLBoq5Dpt_wQGedMBw"
        );
    }

    #[test]
    fn a_key_is_read_as_the_venue_gives_it_and_never_printed() {
        let CoinbaseKey::Es256(key) = es256() else { panic!("ES256") };
        let pem =
            p256::SecretKey::from(&*key).to_sec1_pem(p256::pkcs8::LineEnding::default()).expect("encodes");
        for text in [pem.to_string(), pem.replace('\n', "\\n")] {
            let key = CoinbaseKey::new(&Secret::new(text.into_bytes())).expect("a key");
            assert_eq!(signature(&key), signature(&es256()));
            assert_eq!(format!("{key:?}"), "Es256(***)");
        }
        for bad in
            ["", "AAAA", "-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----", "\u{e9}"]
        {
            assert!(CoinbaseKey::new(&Secret::new(bad.as_bytes().to_vec())).is_err(), "{bad}");
        }
    }
}
