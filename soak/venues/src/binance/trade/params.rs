//! Parameters of a request that trades, who signed it, and when.
//!
//! Source: binance-spot-api-docs, rest-api.md, web-socket-api.md ("Request security") and errors.md, commit a5e0bc3. In
//! which order the venue looks at key, time and signature is not documented.

use crate::exchange::keys::{from_base64, hex, hmac_sha256};
use crate::exchange::{ApiKey, Decimal, Exchange, KeyKind};
use crate::http::Query;

use super::{Failure, failure};

/// The widest `recvWindow`, milliseconds.
const WINDOW_MS_MAX: u64 = 60_000;
/// A timestamp may be this far ahead of the venue's clock, milliseconds.
const AHEAD_MS_MAX: u64 = 1_000;
/// Digits after the point that any amount may have.
const DECIMALS_MAX: usize = 8;
/// Parameters that every signed request may have.
const COMMON: [&str; 5] = ["apiKey", "recvWindow", "returnRateLimits", "signature", "timestamp"];

/// The parameters of one request, as text.
#[derive(Debug, Default)]
pub(super) struct Params {
    list: Vec<(String, String)>,
    /// What the signature covers.
    payload: Vec<u8>,
}

impl Params {
    /// Of the WebSocket API: sorted by name, values as the JSON has them, nothing escaped.
    pub(super) fn of_frame(params: Option<&serde_json::Value>) -> Result<Self, Failure> {
        use serde_json::Value;
        let empty = serde_json::Map::new();
        let object = match params {
            None | Some(Value::Null) => &empty,
            Some(Value::Object(object)) => object,
            Some(_) => return Err(failure(-1130, "Data sent for parameter 'params' is not valid.")),
        };
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let mut list: Vec<(String, String)> =
            object.iter().map(|(name, value)| (name.clone(), text(value))).collect();
        list.sort();
        let pairs = list.iter().filter(|(name, _)| name != "signature");
        let pairs: Vec<String> = pairs.map(|(name, value)| format!("{name}={value}")).collect();
        Ok(Self { payload: pairs.join("&").into_bytes(), list })
    }

    /// Of REST: query, then body, as they were sent; a name in both means the query's.
    pub(super) fn of_rest(query: &str, body: &[u8]) -> Result<Self, Failure> {
        let body =
            std::str::from_utf8(body).map_err(|_| failure(-1100, "Illegal characters found in the body."))?;
        let mut list = Query::parse(query).0;
        list.extend(Query::parse(body).0);
        // The signature is the end of what it stands in.
        let unsigned = |part: &str| {
            let at = if part.starts_with("signature=") { Some(0) } else { part.find("&signature=") };
            at.map_or(part, |at| &part[..at]).to_owned()
        };
        Ok(Self { list, payload: (unsigned(query) + &unsigned(body)).into_bytes() })
    }

    #[cfg(test)]
    pub(super) fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The first value of a parameter, unless it is empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let found = self.list.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    pub(super) fn needed(&self, name: &str) -> Result<&str, Failure> {
        self.get(name).ok_or_else(|| {
            failure(
                -1102,
                format!("Mandatory parameter '{name}' was not sent, was empty/null, or malformed."),
            )
        })
    }

    pub(super) fn number(&self, name: &str) -> Result<Option<u64>, Failure> {
        let parse = |text: &str| {
            let legal = text.len() <= 20 && text.bytes().all(|byte| byte.is_ascii_digit());
            let value = legal.then(|| text.parse().ok()).flatten();
            value.ok_or_else(|| illegal(name, "^[0-9]{1,20}$"))
        };
        self.get(name).map(parse).transpose()
    }

    pub(super) fn decimal(&self, name: &str) -> Result<Decimal, Failure> {
        let text = self.needed(name)?;
        let value = Decimal::parse(text).filter(|_| !text.ends_with('.'));
        let value = value.ok_or_else(|| illegal(name, "^([0-9]{1,20})(\\.[0-9]{1,20})?$"))?;
        if value.decimals > DECIMALS_MAX {
            return Err(failure(-1111, format!("Parameter '{name}' has too much precision.")));
        }
        Ok(value)
    }

    /// An id that a client gave to an order or a cancel.
    pub(super) fn client_id(&self, name: &str) -> Result<Option<&str>, Failure> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        match self.get(name) {
            Some(id) if id.len() > 36 || !id.bytes().all(legal) => {
                Err(illegal(name, "^[a-zA-Z0-9-_]{1,36}$"))
            }
            id => Ok(id),
        }
    }

    /// Refuses parameters that the call does not have.
    pub(super) fn only(&self, names: &[&str]) -> Result<(), Failure> {
        let known = |name: &String| names.contains(&name.as_str()) || COMMON.contains(&name.as_str());
        let read = self.list.iter().filter(|(name, _)| known(name)).count();
        if read == self.list.len() {
            return Ok(());
        }
        let sent = self.list.len();
        let text =
            format!("Not all sent parameters were read; read '{read}' parameter(s) but was sent '{sent}'.");
        Err(failure(-1104, text))
    }

    /// Whose request it is: the key's, if time and signature are right.
    pub(super) fn signed_by<'a>(
        &self,
        exchange: &'a Exchange,
        name: &str,
        now_ns: u64,
    ) -> Result<&'a ApiKey, Failure> {
        let key = key(exchange, name)?;
        let signature = self.needed("signature")?;
        self.check_time(exchange, now_ns)?;
        let right = match key.kind {
            KeyKind::Ed25519 => from_base64(signature)
                .is_some_and(|signature| key.ed25519_verifies(&self.payload, &signature)),
            _ => hex(&hmac_sha256(key.secret(), &self.payload)).eq_ignore_ascii_case(signature),
        };
        if right { Ok(key) } else { Err(failure(-1022, "Signature for this request is not valid.")) }
    }

    /// Refuses timestamps that are too old or from the future.
    pub(super) fn check_time(&self, exchange: &Exchange, now_ns: u64) -> Result<(), Failure> {
        self.needed("timestamp")?;
        let timestamp = self.number("timestamp")?.unwrap_or(0);
        // Microseconds have at least 16 digits.
        let timestamp_ms = if timestamp >= 1_000_000_000_000_000 { timestamp / 1_000 } else { timestamp };
        let window_ms = match self.get("recvWindow") {
            None => 5_000,
            Some(text) => {
                let legal = Decimal::parse(text).filter(|window| window.decimals <= 3);
                legal.ok_or_else(|| illegal("recvWindow", "^[0-9]{1,5}(\\.[0-9]{1,3})?$"))?;
                text.split('.').next().and_then(|whole| whole.parse().ok()).unwrap_or(0)
            }
        };
        if window_ms > WINDOW_MS_MAX {
            return Err(failure(-1131, "recvWindow must be less than 60000."));
        }
        let server_ms = exchange.clock_ms(now_ns);
        if timestamp_ms >= server_ms + AHEAD_MS_MAX {
            let text = "Timestamp for this request was 1000ms ahead of the server's time.";
            return Err(failure(-1021, text));
        }
        if server_ms.saturating_sub(timestamp_ms) > window_ms {
            return Err(failure(-1021, "Timestamp for this request is outside of the recvWindow."));
        }
        Ok(())
    }
}

/// The key of a name.
fn key<'a>(exchange: &'a Exchange, name: &str) -> Result<&'a ApiKey, Failure> {
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err((401, -2014, "API-key format invalid.".to_owned()));
    }
    let refused = "Invalid API-key, IP, or permissions for action.";
    exchange.key(name).ok_or_else(|| (401, -2015, refused.to_owned()))
}

fn illegal(name: &str, range: &str) -> Failure {
    failure(-1100, format!("Illegal characters found in parameter '{name}'; legal range is '{range}'."))
}
