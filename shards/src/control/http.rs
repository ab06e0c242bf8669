//! HTTP/1.1 as far as a control endpoint needs it: bytes to a request, a response to bytes. No sockets, no routes.
//!
//! Every bound is a constant here; what is beyond one is answered, not waited for.

use std::fmt::Write as _;

/// Bytes of request line and headers.
pub const HEAD_BYTES_MAX: usize = 8 << 10;
/// Bytes of a body: a subscription of some thousand symbols.
pub const BODY_BYTES_MAX: usize = 64 << 10;
/// Headers of one request.
const HEADERS_MAX: usize = 64;

/// One request, whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// `GET`, `POST`, ...
    pub method: String,
    /// The path, without what follows a `?`.
    pub path: String,
    /// What `Authorization: Bearer` carries.
    pub token: Option<String>,
    /// The value of `Content-Type`.
    pub content_type: Option<String>,
    /// A browser sent it for a page of somebody else.
    pub has_origin: bool,
    /// `Host` is a name, and not an address or `localhost`: a page whose name leads here may have sent it.
    pub has_foreign_host: bool,
    /// The connection may carry another request.
    pub keep_alive: bool,
    /// The body.
    pub body: Vec<u8>,
}

/// What bytes are so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// The beginning of a request.
    Partial,
    /// A request, and how many bytes it took.
    Whole(Box<Request>, usize),
    /// Never a request. The connection ends after the answer.
    Bad(u16, &'static str),
}

/// Reads one request from the front of `bytes`.
pub fn parse(bytes: &[u8]) -> Parsed {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Request::new(&mut headers);
    let head_bytes = match head.parse(bytes) {
        Ok(httparse::Status::Complete(count)) => count,
        Ok(httparse::Status::Partial) if bytes.len() > HEAD_BYTES_MAX => {
            return Parsed::Bad(431, "request line and headers take more than 8192 bytes");
        }
        Ok(httparse::Status::Partial) => return Parsed::Partial,
        Err(httparse::Error::TooManyHeaders) => return Parsed::Bad(431, "more than 64 headers"),
        Err(_) => return Parsed::Bad(400, "not an HTTP/1.1 request"),
    };
    if head_bytes > HEAD_BYTES_MAX {
        return Parsed::Bad(431, "request line and headers take more than 8192 bytes");
    }
    let target = head.path.unwrap_or_default();
    if !target.starts_with('/') {
        return Parsed::Bad(400, "the target of the request is not a path");
    }
    let mut request = Request {
        method: head.method.unwrap_or_default().to_owned(),
        path: target.split('?').next().unwrap_or_default().to_owned(),
        keep_alive: head.version == Some(1),
        ..Request::default()
    };
    let mut body_bytes: Option<usize> = None;
    for header in head.headers.iter() {
        let Ok(value) = std::str::from_utf8(header.value) else {
            return Parsed::Bad(400, "a header is not text");
        };
        let value = value.trim();
        match header.name.to_ascii_lowercase().as_str() {
            "content-length" => {
                let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
                let count = if digits { value.parse().unwrap_or(usize::MAX) } else { usize::MAX };
                if !digits || body_bytes.is_some_and(|before| before != count) {
                    return Parsed::Bad(400, "content-length is not one number");
                }
                body_bytes = Some(count);
            }
            "transfer-encoding" => return Parsed::Bad(501, "only bodies with a content-length are taken"),
            "authorization" => {
                request.token = value.strip_prefix("Bearer ").map(|token| token.trim().to_owned());
            }
            "content-type" => request.content_type = Some(value.to_ascii_lowercase()),
            "origin" => request.has_origin = true,
            "host" => request.has_foreign_host |= !is_own_host(value),
            "connection" if value.eq_ignore_ascii_case("close") => request.keep_alive = false,
            _ => {}
        }
    }
    let body_bytes = body_bytes.unwrap_or(0);
    if body_bytes > BODY_BYTES_MAX {
        return Parsed::Bad(413, "the body is longer than 65536 bytes");
    }
    match bytes.get(head_bytes..head_bytes + body_bytes) {
        None => Parsed::Partial,
        Some(body) => {
            body.clone_into(&mut request.body);
            Parsed::Whole(Box::new(request), head_bytes + body_bytes)
        }
    }
}

/// Whether a `Host` names no domain: whoever sent it knows the address, and was not led here by a name of somebody else.
fn is_own_host(value: &str) -> bool {
    let host = match value.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => value.split(':').next().unwrap_or_default(),
    };
    host.eq_ignore_ascii_case("localhost") || host.parse::<std::net::IpAddr>().is_ok()
}

/// One response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// Media type of the body.
    pub content_type: &'static str,
    /// Methods that fit, for 405.
    pub allow: Option<String>,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    /// A JSON document.
    pub fn json(status: u16, value: &serde_json::Value) -> Self {
        let mut body = value.to_string().into_bytes();
        body.push(b'\n');
        Self { status, content_type: "application/json", allow: None, body }
    }

    /// Text.
    pub fn text(status: u16, content_type: &'static str, text: String) -> Self {
        Self { status, content_type, allow: None, body: text.into_bytes() }
    }

    /// An error: what is wrong, and what would fit.
    pub fn error(status: u16, reason: &str, fits: &str) -> Self {
        Self::json(status, &serde_json::json!({ "error": reason, "fits": fits }))
    }

    /// Its bytes.
    pub fn encode(&self, keep_alive: bool, without_body: bool, out: &mut Vec<u8>) {
        let mut head = String::new();
        let connection = if keep_alive { "keep-alive" } else { "close" };
        let _ = write!(
            head,
            "HTTP/1.1 {} {}\r\ncontent-type: {}\r\ncontent-length: {}\r\nconnection: {connection}\r\ncache-control: no-store\r\n",
            self.status,
            phrase(self.status),
            self.content_type,
            self.body.len()
        );
        if let Some(allow) = &self.allow {
            let _ = write!(head, "allow: {allow}\r\n");
        }
        if self.status == 401 {
            head.push_str("www-authenticate: Bearer\r\n");
        }
        head.push_str("\r\n");
        out.extend_from_slice(head.as_bytes());
        if !without_body {
            out.extend_from_slice(&self.body);
        }
    }
}

const fn phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        422 => "Unprocessable Content",
        431 => "Request Header Fields Too Large",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Other",
    }
}

/// Compares a secret: the time taken depends on the lengths alone.
pub fn is_same_secret(one: &[u8], other: &[u8]) -> bool {
    let differing = one.iter().zip(other).fold(0, |differing, (one, other)| differing | (one ^ other));
    one.len() == other.len() && std::hint::black_box(differing) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_taken_when_it_is_whole_and_not_before() {
        let text = b"POST /kill?x=1 HTTP/1.1\r\nContent-Length: 2\r\nAuthorization: Bearer abc\r\n\r\n{}GET";
        for count in 0..text.len() - 3 {
            assert_eq!(parse(&text[..count]), Parsed::Partial, "{count}");
        }
        let Parsed::Whole(request, taken) = parse(text) else { panic!("it is whole") };
        assert_eq!(taken, text.len() - 3);
        assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/kill"));
        assert_eq!((request.token.as_deref(), request.body.as_slice()), (Some("abc"), &b"{}"[..]));
        assert!(request.keep_alive);
    }

    #[test]
    fn what_can_never_become_a_request_is_refused_with_its_reason() {
        let check = |text: &str, status: u16| match parse(text.as_bytes()) {
            Parsed::Bad(found, _) => assert_eq!(found, status, "{text:.60}"),
            other => panic!("{text:.60}: {other:?}"),
        };
        check("\u{1}\r\n\r\n", 400);
        check("GET x HTTP/1.1\r\n\r\n", 400);
        check("GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400);
        check("GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400);
        check("GET / HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n", 413);
        check("GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 501);
        check(&format!("GET /{}", "x".repeat(HEAD_BYTES_MAX)), 431);
        check(&format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(HEADERS_MAX + 1)), 431);
    }

    #[test]
    fn a_host_is_ours_when_it_is_no_name() {
        for (host, ours) in [
            ("127.0.0.1:9464", true),
            ("127.0.0.1", true),
            ("[::1]:9464", true),
            ("LocalHost:9464", true),
            ("evil.example:9464", false),
            ("127.0.0.1.evil.example", false),
            ("", false),
        ] {
            assert_eq!(is_own_host(host), ours, "{host:?}");
        }
    }

    #[test]
    fn secrets_are_equal_only_when_they_are() {
        assert!(is_same_secret(b"token", b"token") && is_same_secret(b"", b""));
        assert!(!is_same_secret(b"token", b"tokem") && !is_same_secret(b"token", b"toke"));
    }
}
