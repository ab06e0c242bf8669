//! Tokens (JWT) and who they speak for.

use serde_json::Value;

use crate::exchange::keys::from_base64_url;
use crate::exchange::{ApiKey, Exchange, KeyKind};

/// The host that a token of a REST request names.
const HOST: &str = "api.coinbase.com";
/// The longest life of a token, seconds.
const LIFE_S_MAX: u64 = 120;
/// The fewest hexadecimal digits of a nonce.
const NONCE_DIGITS_MIN: usize = 16;

/// What a token must be for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Purpose<'a> {
    /// A REST request: method, the `Host` that was asked, path without query.
    Rest(&'a str, &'a str, &'a str),
    /// A channel.
    Channel,
}

/// The key that signed a token which is good now for this; `None` if it is not. The venue says no more than that either.
/// (How far its clock may differ is not documented: not at all here.)
pub(super) fn signer<'a>(
    exchange: &'a Exchange,
    token: &str,
    purpose: Purpose<'_>,
    now_ns: u64,
) -> Option<&'a ApiKey> {
    let (payload, signature) = token.rsplit_once('.')?;
    let (header, claims) = payload.split_once('.')?;
    let part = |part: &str| serde_json::from_slice::<Value>(&from_base64_url(part)?).ok();
    let (header, claims) = (part(header)?, part(claims)?);
    let key = exchange.key(header["kid"].as_str()?)?;
    let signature = from_base64_url(signature)?;
    let nonce = header["nonce"].as_str()?;
    let fresh = nonce.len() >= NONCE_DIGITS_MIN && nonce.bytes().all(|byte| byte.is_ascii_hexdigit());
    let (right, algorithm) = match key.kind {
        KeyKind::Es256 => (key.es256_verifies(payload.as_bytes(), &signature), "ES256"),
        _ => (key.ed25519_verifies(payload.as_bytes(), &signature), "EdDSA"),
    };
    let now_s = exchange.clock_ms(now_ns) / 1_000;
    let (from_s, until_s) = (claims["nbf"].as_u64()?, claims["exp"].as_u64()?);
    let valid = from_s <= now_s && now_s < until_s && until_s - from_s <= LIFE_S_MAX;
    let target = match purpose {
        Purpose::Channel => true,
        Purpose::Rest(method, host, path) => {
            let uri = claims["uri"].as_str()?;
            [HOST, host].iter().any(|host| uri == format!("{method} {host}{path}"))
        }
    };
    let named = header["alg"] == algorithm && claims["sub"] == key.name.as_str() && claims["iss"] == "cdp";
    (right && fresh && valid && target && named).then_some(key)
}
