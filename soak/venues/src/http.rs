//! HTTP/1.1, the server's side, over memory: one request in, one answer out.
//!
//! Only what clients of venues do: requests without a body or with a `Content-Length`, keep-alive, the WebSocket
//! upgrade. Knows no path of any venue.

use std::io::Write as _;

use crate::exchange::Answer;

/// The longest head of a request; a stream URL with a thousand names fits.
const HEAD_BYTES_MAX: usize = 128 * 1024;
/// The longest body of a request.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// Headers of one request.
const HEADERS_MAX: usize = 64;

/// A request, borrowed from the connection's input.
#[derive(Debug, PartialEq, Eq)]
pub struct HttpRequest<'a> {
    /// `GET`, `POST` and so on.
    pub method: &'a str,
    /// Path and query as sent, percent-encoding included.
    pub target: &'a str,
    /// Names as sent, values as sent where they are UTF-8.
    pub headers: Vec<(&'a str, &'a str)>,
    /// The body.
    pub body: &'a [u8],
}

impl<'a> HttpRequest<'a> {
    /// A header by its name, in any case.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    }

    /// The target without its query.
    pub fn path(&self) -> &'a str {
        split_target(self.target).0
    }

    /// The decoded query.
    pub fn query(&self) -> Query {
        Query::parse(split_target(self.target).1)
    }

    /// Whether it asks for a WebSocket.
    pub(crate) fn wants_upgrade(&self) -> bool {
        self.header("upgrade").is_some_and(|value| value.eq_ignore_ascii_case("websocket"))
    }
}

/// Path and query (without the question mark; empty if there is none).
pub fn split_target(target: &str) -> (&str, &str) {
    target.split_once('?').unwrap_or((target, ""))
}

/// The parameters of a query, decoded, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query(pub Vec<(String, String)>);

impl Query {
    /// From `a=1&b=2`, percent-encoded.
    pub fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|part| !part.is_empty()).map(|part| {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            (percent_decode(key), percent_decode(value))
        });
        Self(pairs.collect())
    }

    /// All values of a parameter that may be repeated.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.0.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str()).collect()
    }

    /// The first value of a parameter.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Replaces `%XX`; what is not a valid escape or UTF-8 stays visible.
pub fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escape = (bytes[at] == b'%')
            .then(|| text.get(at + 1..at + 3))
            .flatten()
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        decoded.push(escape.unwrap_or(bytes[at]));
        at += if escape.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpAnswer {
    /// For example 200.
    pub status: u16,
    /// Besides content type and length.
    pub headers: Vec<(&'static str, String)>,
    /// `Content-Type`.
    pub content_type: &'static str,
    /// The body.
    pub body: Vec<u8>,
    /// When it is sent, and whether.
    pub delivery: Answer,
}

impl HttpAnswer {
    /// A JSON answer without further headers.
    pub fn json(status: u16, body: Vec<u8>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            content_type: "application/json;charset=UTF-8",
            body,
            delivery: Answer::Now,
        }
    }

    /// The page that a proxy in front of a venue sends.
    pub fn html(status: u16) -> Self {
        let reason = reason(status);
        let body = format!(
            "<html>\r\n<head><title>{status} {reason}</title></head>\r\n<body>\r\n<center><h1>{status} \
             {reason}</h1></center>\r\n</body>\r\n</html>\r\n"
        );
        Self {
            status,
            headers: Vec::new(),
            content_type: "text/html",
            body: body.into_bytes(),
            delivery: Answer::Now,
        }
    }

    /// As the fault script of order entry wants it. For [`Answer::ServerError`] the caller makes another answer.
    #[must_use]
    pub fn delivered(self, delivery: Answer) -> Self {
        Self { delivery, ..self }
    }

    /// Adds a header.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.headers.push((name, value.to_string()));
        self
    }

    /// Appends the answer as sent.
    pub(crate) fn write(&self, buffer: &mut Vec<u8>) {
        let mut write = |text: std::fmt::Arguments<'_>| {
            buffer.write_fmt(text).expect("writing to a vector cannot fail");
        };
        write(format_args!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status)));
        write(format_args!("Content-Type: {}\r\nContent-Length: {}\r\n", self.content_type, self.body.len()));
        for (name, value) in &self.headers {
            write(format_args!("{name}: {value}\r\n"));
        }
        buffer.extend_from_slice(b"\r\n");
        buffer.extend_from_slice(&self.body);
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        418 => "I'm a teapot",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Status",
    }
}

/// What [`parse`] found.
#[derive(Debug)]
pub(crate) enum Parsed<'a> {
    /// A request and how many bytes it took.
    Request(HttpRequest<'a>, usize),
    /// Not complete.
    Partial,
    /// Not HTTP, or larger than accepted.
    Malformed,
}

/// The first request in `buffer`.
pub(crate) fn parse(buffer: &[u8]) -> Parsed<'_> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let head = match request.parse(buffer) {
        Ok(httparse::Status::Complete(head)) => head,
        Ok(httparse::Status::Partial) if buffer.len() < HEAD_BYTES_MAX => return Parsed::Partial,
        _ => return Parsed::Malformed,
    };
    let (Some(method), Some(target)) = (request.method, request.path) else { return Parsed::Malformed };
    let headers: Vec<(&str, &str)> = request
        .headers
        .iter()
        .filter_map(|header| Some((header.name, std::str::from_utf8(header.value).ok()?)))
        .collect();
    let mut request = HttpRequest { method, target, headers, body: &[] };
    let length = match request.header("content-length").map(str::parse::<usize>) {
        None => 0,
        Some(Ok(length)) if length <= BODY_BYTES_MAX => length,
        Some(_) => return Parsed::Malformed,
    };
    let Some(body) = buffer.get(head..head + length) else { return Parsed::Partial };
    request.body = body;
    Parsed::Request(request, head + length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_parsed_with_its_query_and_the_next_one_is_left() {
        let text = b"GET /api/v3/depth?symbol=BTC%20USDT&limit=5 HTTP/1.1\r\nHost: x\r\nX-A: b\r\n\r\nGET /";
        let Parsed::Request(request, bytes) = parse(text) else { panic!("complete") };
        assert_eq!(&text[bytes..], b"GET /");
        assert_eq!((request.path(), request.header("x-a")), ("/api/v3/depth", Some("b")));
        assert_eq!(request.query().get("symbol"), Some("BTC USDT"));
        assert_eq!(request.query().get("limit"), Some("5"));
        assert_eq!(request.query().get("other"), None);
    }

    #[test]
    fn incomplete_and_malformed_requests_differ() {
        assert!(matches!(parse(b"GET /x HTTP/1.1\r\nHost"), Parsed::Partial));
        assert!(matches!(parse(b"POST /x HTTP/1.1\r\nContent-Length: 3\r\n\r\nab"), Parsed::Partial));
        assert!(matches!(parse(b"POST /x HTTP/1.1\r\nContent-Length: x\r\n\r\n"), Parsed::Malformed));
        assert!(matches!(parse(b"\x16\x03\x01\x02\x00 TLS"), Parsed::Malformed));
    }

    #[test]
    fn escapes_are_decoded_and_broken_ones_kept() {
        assert_eq!(percent_decode("%5B%22A%22%5D"), "[\"A\"]");
        assert_eq!(percent_decode("100%"), "100%");
        assert_eq!(percent_decode("%zz%4"), "%zz%4");
        assert_eq!(percent_decode("%2é"), "%2é");
    }
}
