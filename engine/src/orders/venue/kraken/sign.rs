//! `API-Sign` of Kraken's REST requests: HMAC-SHA512 over the path and the SHA-256 of nonce and body.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256, Sha512};
use zeroize::Zeroizing;

use crate::orders::secret::{KeyError, Secret};
use crate::orders::venue::write;

/// A key that signs. Never printed.
pub struct KrakenKey(Box<Hmac<Sha512>>);

impl std::fmt::Debug for KrakenKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KrakenKey(***)")
    }
}

impl KrakenKey {
    /// From the private key's text, which is base 64.
    ///
    /// # Errors
    /// [`KeyError`] if it is not.
    pub fn new(secret: &Secret) -> Result<Self, KeyError> {
        const MALFORMED: KeyError = KeyError::Malformed { expected: "a Kraken private key in base 64" };
        let bytes = Zeroizing::new(STANDARD.decode(secret.expose_trimmed()).map_err(|_| MALFORMED)?);
        if bytes.is_empty() {
            return Err(MALFORMED);
        }
        Ok(Self(Box::new(Hmac::new_from_slice(&bytes).map_err(|_| MALFORMED)?)))
    }

    /// Appends the signature in base 64. `nonce` is the text that stands in `body`.
    pub fn sign(&self, path: &[u8], nonce: &[u8], body: &[u8], out: &mut Vec<u8>) {
        let digest = Sha256::new().chain_update(nonce).chain_update(body).finalize();
        let mut mac = Hmac::clone(&self.0);
        mac.update(path);
        mac.update(&digest);
        write::base64(&mac.finalize().into_bytes(), false, out);
    }
}

#[cfg(test)]
pub(in crate::orders::venue) mod tests {
    use super::*;

    /// Documented in docs.kraken.com, "Spot REST authentication".
    pub(in crate::orders::venue) const SECRET: &[u8] =
        b"kQH5HW/8p1uGOVjbgWA7FunAmGO8lsSUXNsu3eow76sz84Q18fWxnyRzBHCd3pd5nE9qa99HAZtuZuj6F1huXg==";

    fn check(path: &str, nonce: &str, body: &str, expected: &str) {
        let key = KrakenKey::new(&Secret::new(SECRET.to_vec())).expect("a key");
        let mut out = Vec::new();
        key.sign(path.as_bytes(), nonce.as_bytes(), body.as_bytes(), &mut out);
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }

    #[test]
    fn documented_signatures_are_reproduced() {
        check(
            "/0/private/AddOrder",
            "1616492376594",
            "nonce=1616492376594&ordertype=limit&pair=XBTUSD&price=37500&type=buy&volume=1.25",
            "4/dpxb3iT4tp/ZCVEwSnEsLxx0bqyhLpdfOpc6fn7OR8+UClSV5n9E6aSS8MPtnRfp32bAb0nmbRn6H8ndwLUQ==",
        );
        check(
            "/0/private/GetWebSocketsToken",
            "1783000000000",
            "nonce=1783000000000",
            "Eh35DOGtGqiZwBTJfFehfZnvxIjJxJUy0wZQTkEZmSRdKYIaH5oqdrlnGBnJW9TAQDZP3/id29FSr23wJgYiaQ==",
        );
    }

    #[test]
    fn what_is_no_key_is_refused_and_nothing_prints() {
        for bad in ["", "not base 64!"] {
            assert!(KrakenKey::new(&Secret::new(bad.as_bytes().to_vec())).is_err());
        }
        let key = KrakenKey::new(&Secret::new(SECRET.to_vec())).expect("a key");
        assert_eq!(format!("{key:?}"), "KrakenKey(***)");
    }
}
