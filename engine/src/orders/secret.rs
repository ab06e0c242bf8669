//! Keys in memory: never printed, wiped when they go.

use std::fmt;

use zeroize::Zeroizing;

/// Bytes that nobody may see. Prints as `***`, is wiped when dropped, and cannot be cloned or compared by accident.
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes over `bytes`; the caller's own copies are for the caller to wipe.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes, for a signer.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// As text without the white space around it: key files end in a newline.
    pub fn expose_trimmed(&self) -> &[u8] {
        self.0.trim_ascii()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Why a key cannot be used. Says nothing of its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not the encoding that the venue gives out.
    #[error("the key is not {expected}")]
    Malformed {
        /// What it should be.
        expected: &'static str,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_a_key_is_wiped_when_it_goes() {
        fn check<T: zeroize::ZeroizeOnDrop>() {}
        check::<Zeroizing<Vec<u8>>>();
        // HMAC keeps no key but the state of these after it.
        check::<sha2::block_api::Sha256VarCore>();
        check::<sha2::block_api::Sha512VarCore>();
        check::<ed25519_dalek::SigningKey>();
        check::<p256::ecdsa::SigningKey>();
    }

    #[test]
    fn a_secret_does_not_print() {
        let secret = Secret::new(b"hunter2\n".to_vec());
        assert_eq!(format!("{secret} {secret:?} {:?}", Some(&secret)), "*** *** Some(***)");
        assert_eq!(secret.expose_trimmed(), b"hunter2");
    }
}
