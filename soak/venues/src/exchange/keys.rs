//! Throw-away API keys made from a seed (but for ES256, whose library takes no seed), and the signatures that are checked with them.
//!
//! The cryptography is `ring`'s, not the libraries that the gateway signs with. Which bytes are signed and how a
//! signature is written is each venue's own.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use fastrand::Rng;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ED25519, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair as _, UnparsedPublicKey,
};
use ring::{digest, hmac};

use super::order::AccountId;

/// DER of a PKCS #8 version 1 Ed25519 key up to its seed (RFC 8410, section 7).
const ED25519_PREFIX: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// DER of a SEC1 P-256 key (RFC 5915) up to its scalar, and between that and its public point.
const SEC1_PREFIX: [u8; 7] = [0x30, 0x77, 0x02, 0x01, 0x01, 0x04, 0x20];
const SEC1_MIDDLE: [u8; 17] =
    [0xa0, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0xa1, 0x44, 0x03, 0x42, 0x00];
/// Where a P-256 key in PKCS #8 has its scalar and its public point.
const SCALAR: std::ops::Range<usize> = 36..68;
const POINT: std::ops::Range<usize> = 73..138;

/// What the public names of keys look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyNames {
    /// 64 letters and digits.
    Letters,
    /// `organizations/{uuid}/apiKeys/{uuid}` (Coinbase).
    Organization,
}

impl KeyNames {
    pub(super) fn make(self, rng: &mut Rng) -> Option<String> {
        let mut uuid = || {
            let (time, serial) = (rng.u32(..), rng.u64(..));
            format!(
                "{time:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
                serial >> 48,
                rng.u16(..4096),
                rng.u16(..4096),
                serial & 0xffff_ffff_ffff
            )
        };
        match self {
            Self::Letters => None,
            Self::Organization => Some(format!("organizations/{}/apiKeys/{}", uuid(), uuid())),
        }
    }
}

/// The kinds of keys that venues give out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// 64 letters and digits, used as they are (Binance).
    Text,
    /// 64 bytes, written in base 64 (Kraken).
    Bytes,
    /// An Ed25519 key in PKCS #8 PEM (Binance, Coinbase).
    Ed25519,
    /// An ECDSA key on P-256 in SEC1 PEM (Coinbase).
    Es256,
}

/// A key as its owner gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// Whose.
    pub account: AccountId,
    /// The public name that is sent with requests.
    pub name: String,
    /// What it is.
    pub kind: KeyKind,
    /// What the owner keeps in a file: the text, the base 64 or the PEM.
    pub secret_text: String,
    /// What signs: the secret's bytes, the Ed25519 seed.
    secret: Vec<u8>,
    /// What verifies, where that is another thing.
    public: Vec<u8>,
}

impl ApiKey {
    pub(super) fn make(account: AccountId, kind: KeyKind, name: Option<String>, rng: &mut Rng) -> Self {
        let mut letters = || -> String { (0..64).map(|_| rng.alphanumeric()).collect() };
        let name = name.unwrap_or_else(&mut letters);
        let mut p256_public = Vec::new();
        let (secret_text, secret) = match kind {
            KeyKind::Text => {
                let text = letters();
                (text.clone(), text.into_bytes())
            }
            KeyKind::Bytes => {
                let secret: Vec<u8> = (0..64).map(|_| rng.u8(..)).collect();
                (STANDARD.encode(&secret), secret)
            }
            KeyKind::Es256 => {
                let (text, scalar, point) = p256();
                p256_public = point;
                (text, scalar)
            }
            KeyKind::Ed25519 => {
                let seed: Vec<u8> = (0..32).map(|_| rng.u8(..)).collect();
                let der = STANDARD.encode([&ED25519_PREFIX[..], &seed].concat());
                (format!("-----BEGIN PRIVATE KEY-----\n{der}\n-----END PRIVATE KEY-----\n"), seed)
            }
        };
        let public = match kind {
            KeyKind::Text | KeyKind::Bytes => Vec::new(),
            KeyKind::Ed25519 => ed25519_public(&secret),
            KeyKind::Es256 => p256_public,
        };
        Self { account, name, kind, secret_text, secret, public }
    }

    /// A key of a published test vector.
    #[cfg(test)]
    pub(crate) fn known(kind: KeyKind, name: &str, secret: Vec<u8>, public: Vec<u8>) -> Self {
        Self {
            account: AccountId(0),
            name: name.to_owned(),
            kind,
            secret_text: String::new(),
            secret,
            public,
        }
    }

    /// The bytes of a shared secret.
    pub fn secret(&self) -> &[u8] {
        &self.secret
    }

    #[cfg(test)]
    pub(crate) fn ed25519_sign(&self, payload: &[u8]) -> String {
        let pair = Ed25519KeyPair::from_seed_unchecked(&self.secret).expect("a seed has 32 bytes");
        STANDARD.encode(pair.sign(payload))
    }

    /// The signature of a token's text (JWS), as it stands in the token.
    #[cfg(test)]
    pub(crate) fn token_sign(&self, payload: &[u8]) -> String {
        match self.kind {
            KeyKind::Es256 => {
                let random = SystemRandom::new();
                let pair = EcdsaKeyPair::from_private_key_and_public_key(
                    &ECDSA_P256_SHA256_FIXED_SIGNING,
                    &self.secret,
                    &self.public,
                    &random,
                );
                let signature = pair.expect("a pair").sign(&random, payload).expect("signs");
                URL_SAFE_NO_PAD.encode(signature)
            }
            _ => URL_SAFE_NO_PAD.encode(STANDARD.decode(self.ed25519_sign(payload)).expect("base 64")),
        }
    }

    /// Whether an ES256 signature (64 bytes, two numbers) of `payload` was made with this key.
    pub fn es256_verifies(&self, payload: &[u8], signature: &[u8]) -> bool {
        self.kind == KeyKind::Es256
            && UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &self.public)
                .verify(payload, signature)
                .is_ok()
    }

    /// Whether an Ed25519 signature (64 bytes) of `payload` was made with this key.
    pub fn ed25519_verifies(&self, payload: &[u8], signature: &[u8]) -> bool {
        self.kind == KeyKind::Ed25519
            && UnparsedPublicKey::new(&ED25519, &self.public).verify(payload, signature).is_ok()
    }
}

/// A new P-256 key: SEC1 PEM, scalar, public point.
fn p256() -> (String, Vec<u8>, Vec<u8>) {
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
    let pkcs8 = pkcs8.expect("the system gives random bytes");
    let (scalar, point) = (&pkcs8.as_ref()[SCALAR], &pkcs8.as_ref()[POINT]);
    let der = STANDARD.encode([&SEC1_PREFIX[..], scalar, &SEC1_MIDDLE, point].concat());
    let mut text = "-----BEGIN EC PRIVATE KEY-----\n".to_owned();
    for line in der.as_bytes().chunks(64) {
        text.extend(line.iter().map(|byte| char::from(*byte)));
        text.push('\n');
    }
    (text + "-----END EC PRIVATE KEY-----\n", scalar.to_vec(), point.to_vec())
}

fn ed25519_public(seed: &[u8]) -> Vec<u8> {
    let pair = Ed25519KeyPair::from_seed_unchecked(seed).expect("a seed has 32 bytes");
    pair.public_key().as_ref().to_vec()
}

/// HMAC with SHA-256.
pub fn hmac_sha256(secret: &[u8], payload: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), payload).as_ref().to_vec()
}

/// HMAC with SHA-512.
pub fn hmac_sha512(secret: &[u8], payload: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA512, secret), payload).as_ref().to_vec()
}

/// SHA-256.
pub fn sha256(payload: &[u8]) -> Vec<u8> {
    digest::digest(&digest::SHA256, payload).as_ref().to_vec()
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).expect("below 16");
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// Reads base 64 of the alphabet for URLs, without padding.
pub fn from_base64_url(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// Reads base 64 with padding.
pub fn from_base64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hmac_of_the_documented_vectors() {
        // Documented in binance-spot-api-docs, rest-api.md and web-socket-api.md, commit a5e0bc3.
        let secret = b"NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j";
        let check = |payload: &str, expected: &str| {
            assert_eq!(hex(&hmac_sha256(secret, payload.as_bytes())), expected, "{payload}");
        };
        check(
            "symbol=LTCBTC&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=0.1&recvWindow=5000&timestamp=1499827319559",
            "c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71",
        );
        check(
            "apiKey=vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A&price=52000.00&quantity=0.01000000&recvWindow=100&side=SELL&symbol=BTCUSDT&timeInForce=GTC&timestamp=1645423376532&type=LIMIT",
            "aa1b5712c094bc4e57c05a1a5c1fd8d88dcd628338ea863fec7b88e59fe2db24",
        );
    }

    #[test]
    fn hmac_of_krakens_documented_vector() {
        // Documented at docs.kraken.com, "Spot REST authentication".
        let secret = from_base64(
            "kQH5HW/8p1uGOVjbgWA7FunAmGO8lsSUXNsu3eow76sz84Q18fWxnyRzBHCd3pd5nE9qa99HAZtuZuj6F1huXg==",
        );
        let nonce = "1616492376594";
        let body = "nonce=1616492376594&ordertype=limit&pair=XBTUSD&price=37500&type=buy&volume=1.25";
        let inner = sha256(format!("{nonce}{body}").as_bytes());
        let payload = [b"/0/private/AddOrder", &inner[..]].concat();
        assert_eq!(
            STANDARD.encode(hmac_sha512(&secret.unwrap(), &payload)),
            "4/dpxb3iT4tp/ZCVEwSnEsLxx0bqyhLpdfOpc6fn7OR8+UClSV5n9E6aSS8MPtnRfp32bAb0nmbRn6H8ndwLUQ=="
        );
    }

    #[test]
    fn ed25519_of_rfc_8032() {
        // Section 7.1, test 2.
        let seed = [
            0x4c, 0xcd, 0x08, 0x9b, 0x28, 0xff, 0x96, 0xda, 0x9d, 0xb6, 0xc3, 0x46, 0xec, 0x11, 0x4e, 0x0f,
            0x5b, 0x8a, 0x31, 0x9f, 0x35, 0xab, 0xa6, 0x24, 0xda, 0x8c, 0xf6, 0xed, 0x4f, 0xb8, 0xa6, 0xfb,
        ];
        let key = ApiKey {
            account: AccountId(0),
            name: String::new(),
            kind: KeyKind::Ed25519,
            secret_text: String::new(),
            secret: seed.to_vec(),
            public: ed25519_public(&seed),
        };
        assert!(hex(&key.public).starts_with("3d4017c3e843895a92b70aa74d1b7ebc"));
        let signature = from_base64(
            "kqAJqfDUyrhyDoILX2QlQKKye1QWUD+Ps3YiI+vbadoIWsHkPhWZbkWPNhPQ8R2MOHsurrQwKu6wDSkWErsMAA==",
        );
        assert!(key.ed25519_verifies(&[0x72], signature.as_deref().unwrap()));
        assert!(!key.ed25519_verifies(&[0x73], signature.as_deref().unwrap()));
    }

    #[test]
    fn a_seed_makes_the_same_keys_and_another_seed_others() {
        let make = |seed| ApiKey::make(AccountId(0), KeyKind::Text, None, &mut Rng::with_seed(seed));
        assert_eq!(make(1), make(1));
        assert_ne!(make(1).secret_text, make(2).secret_text);
        assert_eq!((make(1).name.len(), make(1).secret_text.len()), (64, 64));
    }
}
