//! The opening handshake of a client (RFC 6455, 4.1): the request's bytes, and a reader of the answer.
//!
//! tungstenite's own handshake wants a stream to read and write; this one has bytes in and a verdict out, and checks
//! what that one leaves open: extensions, `Connection` as a list of tokens, repeated headers. The derivation of the
//! accept key is tungstenite's; the head is parsed by httparse.

use base64::Engine as _;
use tungstenite::handshake::derive_accept_key;

/// Bytes of the answer's head, at the most.
pub const HEAD_BYTES_MAX: usize = 16 << 10;

/// Headers of the answer, at the most.
pub const HEADERS_MAX: usize = 64;

/// Bytes of a refusal's body that are kept for the operator.
pub const BODY_BYTES_MAX: usize = 512;

/// Headers that [`request`] writes itself, or that would ask for what we do not speak.
const OWN_HEADERS: [&str; 7] = [
    "Host",
    "Connection",
    "Upgrade",
    "Sec-WebSocket-Version",
    "Sec-WebSocket-Key",
    "Sec-WebSocket-Extensions",
    "Sec-WebSocket-Protocol",
];

/// Why a request cannot be written: it would not mean what the caller thinks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Empty, or holds something else than visible ASCII.
    #[error("host {0:?} is not visible ASCII")]
    Host(String),
    /// Does not begin with `/`, or holds something else than visible ASCII.
    #[error("path {0:?} is not an absolute path of visible ASCII")]
    Path(String),
    /// Not a token, or a header that the handshake writes itself.
    #[error("header {0:?} is not a token or not the caller's to set")]
    HeaderName(String),
    /// Holds a control character, which could end the line. The value may be a secret and is not repeated.
    #[error("the value of header {0:?} holds a control character")]
    HeaderValue(String),
}

/// The bytes that ask `host` for a WebSocket at `path` (with its query), with `extra_headers` as (name, value).
///
/// `host` is as it goes into the header: with `:port` where that is not the scheme's own. `key` is 16 random bytes,
/// never used before. Offers no extension and no subprotocol.
///
/// # Errors
///
/// See [`RequestError`].
pub fn request(
    host: &str,
    path: &str,
    extra_headers: &[(&str, &str)],
    key: [u8; 16],
) -> Result<Vec<u8>, RequestError> {
    let is_visible = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    if host.is_empty() || !is_visible(host) {
        return Err(RequestError::Host(host.into()));
    }
    if !path.starts_with('/') || !is_visible(path) {
        return Err(RequestError::Path(path.into()));
    }
    let mut text = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {}\r\n",
        encode_key(key)
    );
    for &(name, value) in extra_headers {
        if !is_token(name) || OWN_HEADERS.iter().any(|own| own.eq_ignore_ascii_case(name)) {
            return Err(RequestError::HeaderName(name.into()));
        }
        if value.bytes().any(|byte| byte.is_ascii_control()) {
            return Err(RequestError::HeaderValue(name.into()));
        }
        text.extend([name, ": ", value, "\r\n"]);
    }
    text.push_str("\r\n");
    Ok(text.into_bytes())
}

/// What the server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// The answer is not whole.
    NeedMore,
    /// The connection is a WebSocket now.
    Accepted {
        /// What followed in the same bytes: the first frames.
        leftover: &'a [u8],
    },
    /// The server answered by HTTP with something else than 101.
    Refused {
        /// The HTTP status.
        status: u16,
        /// `Retry-After`, in seconds; absent too where the server gives a date, which would need a clock.
        retry_after_s: Option<u64>,
        /// The body's first [`BODY_BYTES_MAX`] bytes, as far as they came; what is not UTF-8 is replaced.
        body: String,
    },
    /// This is no answer to our request.
    Invalid(Invalid),
}

/// Why an answer is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// The bytes are not an HTTP response.
    #[error("not an HTTP response")]
    NotHttp,
    /// An upgrade exists since HTTP 1.1 only.
    #[error("not HTTP/1.1")]
    Version,
    /// More than [`HEAD_BYTES_MAX`].
    #[error("the head is longer than 16 KiB")]
    HeadTooLong,
    /// More than [`HEADERS_MAX`].
    #[error("more than 64 headers")]
    TooManyHeaders,
    /// RFC 6455, 4.1: exactly one, `websocket`.
    #[error("no `Upgrade: websocket`")]
    Upgrade,
    /// RFC 6455, 4.1: a token `Upgrade` among them.
    #[error("no `Connection: Upgrade`")]
    Connection,
    /// RFC 6455, 4.1: exactly one, derived from our key. A cache or a wrong server answers otherwise.
    #[error("`Sec-WebSocket-Accept` does not answer our key")]
    AcceptKey,
    /// RFC 6455, 4.1: we asked for none.
    #[error("an extension that was not asked for")]
    Extension,
    /// RFC 6455, 4.1: we asked for none.
    #[error("a subprotocol that was not asked for")]
    Subprotocol,
    /// The stream ended inside of the head.
    #[error("the stream ended before the answer did")]
    Cut,
}

/// Reads the answer to one request, in pieces as they come.
#[derive(Debug)]
pub struct AnswerReader {
    accept_key: String,
    /// What came so far, as long as the answer is not whole: the head, and the body of a refusal.
    received: Vec<u8>,
    /// The head of a refusal, once it is whole; its body may be on its way.
    refusal: Option<Refusal>,
}

/// What a refusal's head said.
#[derive(Clone, Copy, Debug)]
struct Refusal {
    status: u16,
    retry_after_s: Option<u64>,
    head_bytes: usize,
    /// Bytes of body to wait for; 0 where their number is not announced.
    body_bytes: usize,
}

impl AnswerReader {
    /// Waits for the answer to a [`request`] with this key.
    pub fn new(key: [u8; 16]) -> Self {
        AnswerReader {
            accept_key: derive_accept_key(encode_key(key).as_bytes()),
            received: Vec::new(),
            refusal: None,
        }
    }

    /// Takes the next bytes. After anything else than [`Answer::NeedMore`] the reader is done with.
    pub fn feed<'a>(&mut self, bytes: &'a [u8]) -> Answer<'a> {
        // Never more than could matter. An accepted answer's leftover is borrowed from `bytes`, however long it is.
        let kept_before_bytes = self.received.len();
        let kept_bytes = bytes.len().min(HEAD_BYTES_MAX + BODY_BYTES_MAX - kept_before_bytes);
        self.received.extend_from_slice(&bytes[..kept_bytes]);
        // A head ends with a line, so whole lines are parsed: once each, however the bytes are chopped.
        let line_end = bytes[..kept_bytes].iter().rposition(|byte| *byte == b'\n');
        if let (None, Some(line_end)) = (self.refusal, line_end) {
            match self.read_head(&self.received[..=kept_before_bytes + line_end]) {
                Ok(Head::Partial) => {}
                Ok(Head::Refused(refusal)) => self.refusal = Some(refusal),
                Ok(Head::Accepted { head_bytes }) => {
                    return Answer::Accepted {
                        leftover: &bytes[head_bytes.saturating_sub(kept_before_bytes)..],
                    };
                }
                Err(invalid) => return Answer::Invalid(invalid),
            }
        }
        match self.refusal {
            Some(refusal) if self.received.len() - refusal.head_bytes >= refusal.body_bytes => {
                self.refused(refusal)
            }
            None if self.received.len() > HEAD_BYTES_MAX => Answer::Invalid(Invalid::HeadTooLong),
            _ => Answer::NeedMore,
        }
    }

    /// The stream ended: the answer as far as it came. Never [`Answer::NeedMore`].
    pub fn end(&self) -> Answer<'static> {
        match self.refusal {
            Some(refusal) => self.refused(refusal),
            None => Answer::Invalid(Invalid::Cut),
        }
    }

    fn read_head(&self, lines: &[u8]) -> Result<Head, Invalid> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut response = httparse::Response::new(&mut headers);
        let head_bytes = match response.parse(lines) {
            Ok(httparse::Status::Complete(head_bytes)) => head_bytes,
            Ok(httparse::Status::Partial) => return Ok(Head::Partial),
            Err(httparse::Error::TooManyHeaders) => return Err(Invalid::TooManyHeaders),
            Err(_) => return Err(Invalid::NotHttp),
        };
        if head_bytes > HEAD_BYTES_MAX {
            return Err(Invalid::HeadTooLong);
        }
        let status = response.code.expect("a whole head has a status");
        if status != SWITCHING_PROTOCOLS {
            let body_bytes =
                number(response.headers, "Content-Length").unwrap_or(0).min(BODY_BYTES_MAX as u64);
            return Ok(Head::Refused(Refusal {
                status,
                retry_after_s: number(response.headers, "Retry-After"),
                head_bytes,
                body_bytes: body_bytes as usize,
            }));
        }
        if response.version != Some(HTTP_1_1) {
            return Err(Invalid::Version);
        }
        check_upgrade(response.headers, &self.accept_key)?;
        Ok(Head::Accepted { head_bytes })
    }

    fn refused(&self, refusal: Refusal) -> Answer<'static> {
        let body = &self.received[refusal.head_bytes..];
        let body = &body[..body.len().min(BODY_BYTES_MAX)];
        Answer::Refused {
            status: refusal.status,
            retry_after_s: refusal.retry_after_s,
            body: String::from_utf8_lossy(body).into_owned(),
        }
    }
}

enum Head {
    Partial,
    Refused(Refusal),
    Accepted { head_bytes: usize },
}

/// The status that accepts.
const SWITCHING_PROTOCOLS: u16 = 101;
/// httparse's number of HTTP/1.1.
const HTTP_1_1: u8 = 1;

/// RFC 6455, 4.1, the client's list of what to check, 2 to 6.
fn check_upgrade(headers: &[httparse::Header<'_>], accept_key: &str) -> Result<(), Invalid> {
    if only(headers, "Upgrade").is_none_or(|value| !value.eq_ignore_ascii_case(b"websocket")) {
        return Err(Invalid::Upgrade);
    }
    let is_upgrade = |value: &[u8]| {
        value.split(|byte| *byte == b',').any(|token| token.trim_ascii().eq_ignore_ascii_case(b"Upgrade"))
    };
    if !values(headers, "Connection").any(is_upgrade) {
        return Err(Invalid::Connection);
    }
    if only(headers, "Sec-WebSocket-Accept") != Some(accept_key.as_bytes()) {
        return Err(Invalid::AcceptKey);
    }
    // An empty header names nothing.
    if values(headers, "Sec-WebSocket-Extensions").any(|value| !value.is_empty()) {
        return Err(Invalid::Extension);
    }
    if values(headers, "Sec-WebSocket-Protocol").any(|value| !value.is_empty()) {
        return Err(Invalid::Subprotocol);
    }
    Ok(())
}

/// The values of all headers of this name, without the space around them.
fn values<'a>(headers: &'a [httparse::Header<'a>], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    headers
        .iter()
        .filter(move |header| header.name.eq_ignore_ascii_case(name))
        .map(|header| header.value.trim_ascii())
}

/// The value of a header that must not be repeated (RFC 6455, 11.3); `None` too if it is.
fn only<'a>(headers: &'a [httparse::Header<'a>], name: &'a str) -> Option<&'a [u8]> {
    let mut values = values(headers, name);
    let value = values.next()?;
    values.next().is_none().then_some(value)
}

/// The value of a header that is a decimal number.
fn number(headers: &[httparse::Header<'_>], name: &str) -> Option<u64> {
    let value = only(headers, name)?;
    // `parse` alone would take a sign.
    value.iter().all(u8::is_ascii_digit).then(|| str::from_utf8(value).ok()?.parse().ok()).flatten()
}

/// RFC 9110, 5.6.2.
fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// As `Sec-WebSocket-Key` carries it.
fn encode_key(key: [u8; 16]) -> String {
    base64::engine::general_purpose::STANDARD.encode(key)
}
