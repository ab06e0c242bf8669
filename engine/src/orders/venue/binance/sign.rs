//! Signatures of Binance requests: HMAC-SHA256 in hexadecimal, or Ed25519 in base 64.

use ed25519_dalek::{Signer, SigningKey};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::orders::secret::{KeyError, Secret};
use crate::orders::venue::write;

/// A key that signs. Wiped when dropped, never printed.
pub enum BinanceKey {
    /// The state of HMAC after the key: hashing the key once and for all saves two compressions per request. Boxed so
    /// that moving it leaves no copies behind.
    Hmac(Box<Hmac<Sha256>>),
    /// An Ed25519 key.
    Ed25519(Box<SigningKey>),
}

impl std::fmt::Debug for BinanceKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Hmac(_) => "Hmac(***)",
            Self::Ed25519(_) => "Ed25519(***)",
        })
    }
}

impl BinanceKey {
    /// The kind of its signatures, as histograms name it.
    pub const fn signature(&self) -> &'static str {
        match self {
            Self::Hmac(_) => "hmac",
            Self::Ed25519(_) => "ed25519",
        }
    }

    /// An HMAC key: the secret's text as the venue gave it.
    ///
    /// # Errors
    /// [`KeyError`] if there is none.
    pub fn hmac(secret: &Secret) -> Result<Self, KeyError> {
        let text = secret.expose_trimmed();
        if text.is_empty() {
            return Err(KeyError::Malformed { expected: "an HMAC secret" });
        }
        let mac =
            Hmac::new_from_slice(text).map_err(|_| KeyError::Malformed { expected: "an HMAC secret" })?;
        Ok(Self::Hmac(Box::new(mac)))
    }

    /// An Ed25519 key in PKCS #8 PEM, as `openssl genpkey -algorithm ed25519` makes it.
    ///
    /// # Errors
    /// [`KeyError`] if it is not that.
    pub fn ed25519_pem(secret: &Secret) -> Result<Self, KeyError> {
        Ok(Self::Ed25519(Box::new(ed25519_from_pem(secret.expose_trimmed())?)))
    }

    /// Whether a connection can be logged on with it. Source: binance-spot-api-docs, web-socket-api.md, commit a5e0bc3.
    pub const fn can_log_on(&self) -> bool {
        matches!(self, Self::Ed25519(_))
    }

    /// Appends the signature of `payload` to `out`: hexadecimal or base 64, nothing escaped.
    pub fn sign(&self, payload: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Hmac(keyed) => {
                let mut mac = Hmac::clone(keyed);
                mac.update(payload);
                write::hex(&mac.finalize().into_bytes(), out);
            }
            Self::Ed25519(key) => write::base64(&key.sign(payload).to_bytes(), false, out),
        }
    }
}

/// The seed in a PKCS #8 version 1 PEM: RFC 8410 fixes its DER to 16 bytes and the seed's 32.
pub(in crate::orders::venue) fn ed25519_from_pem(pem: &[u8]) -> Result<SigningKey, KeyError> {
    use base64::Engine as _;
    use zeroize::Zeroizing;
    const PREFIX: [u8; 16] =
        [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
    const MALFORMED: KeyError = KeyError::Malformed { expected: "an Ed25519 key in PKCS #8 PEM" };
    let body = pem
        .strip_prefix(b"-----BEGIN PRIVATE KEY-----")
        .and_then(|rest| rest.strip_suffix(b"-----END PRIVATE KEY-----"))
        .ok_or(MALFORMED)?;
    let mut text = Zeroizing::new(Vec::with_capacity(body.len()));
    text.extend(body.iter().filter(|byte| !byte.is_ascii_whitespace()));
    let der = base64::engine::general_purpose::STANDARD.decode(&*text).map_err(|_| MALFORMED)?;
    let der = Zeroizing::new(der);
    let seed = der.strip_prefix(&PREFIX).ok_or(MALFORMED)?;
    let seed = Zeroizing::new(<[u8; 32]>::try_from(seed).map_err(|_| MALFORMED)?);
    Ok(SigningKey::from_bytes(&seed))
}

#[cfg(test)]
pub(in crate::orders::venue) mod tests {
    use super::*;

    /// Documented in binance-spot-api-docs, rest-api.md, commit a5e0bc3.
    pub(in crate::orders::venue) const SECRET: &[u8] =
        b"NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j";
    pub(in crate::orders::venue) const API_KEY: &[u8] =
        b"vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A";

    fn check(payload: &str, expected: &str) {
        let key = BinanceKey::hmac(&Secret::new(SECRET.to_vec())).expect("a key");
        let mut out = Vec::new();
        key.sign(payload.as_bytes(), &mut out);
        assert_eq!(String::from_utf8_lossy(&out), expected, "{payload}");
    }

    #[test]
    fn documented_hmac_signatures_are_reproduced() {
        check(
            "symbol=LTCBTC&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=0.1&recvWindow=5000&timestamp=1499827319559",
            "c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71",
        );
        check(
            "symbol=%EF%BC%91%EF%BC%92%EF%BC%93%EF%BC%94%EF%BC%95%EF%BC%96&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=0.1&recvWindow=5000&timestamp=1499827319559",
            "e1353ec6b14d888f1164ae9af8228a3dbd508bc82eb867db8ab6046442f33ef3",
        );
        check(
            "apiKey=vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A&price=52000.00&quantity=0.01000000&recvWindow=100&side=SELL&symbol=BTCUSDT&timeInForce=GTC&timestamp=1645423376532&type=LIMIT",
            "aa1b5712c094bc4e57c05a1a5c1fd8d88dcd628338ea863fec7b88e59fe2db24",
        );
        check(
            "apiKey=vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A&timestamp=1747385641636",
            "681110a6057ad58657af22f5640fab9dd17418834cdfccdc81be8b0f7b2cde3e",
        );
    }

    #[test]
    fn ed25519_signs_as_rfc_8032_says() {
        // RFC 8032, section 7.1, test 2: one byte, 0x72. The PEM was made here around its seed.
        let pem = b"-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIEzNCJso/5banbbDRuwRTg9bijGfNaumJNqM9u1PuKb7\n-----END PRIVATE KEY-----\n";
        let seed = [
            0x4c, 0xcd, 0x08, 0x9b, 0x28, 0xff, 0x96, 0xda, 0x9d, 0xb6, 0xc3, 0x46, 0xec, 0x11, 0x4e, 0x0f,
            0x5b, 0x8a, 0x31, 0x9f, 0x35, 0xab, 0xa6, 0x24, 0xda, 0x8c, 0xf6, 0xed, 0x4f, 0xb8, 0xa6, 0xfb,
        ];
        let key = BinanceKey::Ed25519(Box::new(SigningKey::from_bytes(&seed)));
        let mut out = Vec::new();
        key.sign(&[0x72], &mut out);
        assert_eq!(
            out,
            b"kqAJqfDUyrhyDoILX2QlQKKye1QWUD+Ps3YiI+vbadoIWsHkPhWZbkWPNhPQ8R2MOHsurrQwKu6wDSkWErsMAA=="[..]
                .to_vec(),
        );
        let read = BinanceKey::ed25519_pem(&Secret::new(pem.to_vec())).expect("a key");
        let mut again = Vec::new();
        read.sign(&[0x72], &mut again);
        assert_eq!(again, out, "the PEM holds the same seed");
        for bad in [&b""[..], b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----", b"MC4CAQ"] {
            assert!(BinanceKey::ed25519_pem(&Secret::new(bad.to_vec())).is_err());
        }
    }

    #[test]
    fn a_key_does_not_print() {
        let key = BinanceKey::hmac(&Secret::new(SECRET.to_vec())).expect("a key");
        assert_eq!(format!("{key:?}"), "Hmac(***)");
        assert!(BinanceKey::hmac(&Secret::new(b" \n".to_vec())).is_err());
    }
}
