//! Parser of one HTTP/1.1 response: bytes in, a [`Response`] out.
//!
//! Knows nothing of sockets. Takes bytes in any cut, one at a time as well, and never panics on what it is given.

use super::HttpError;

/// Bytes of a response's status line and headers, at the most. Venues behind Cloudflare send some 3 KiB.
pub const HEAD_BYTES_MAX: usize = 32 << 10;
/// Header lines of a response, at the most.
pub const HEADERS_MAX: usize = 96;
/// Bytes of one line of the chunked coding (its size and extensions), and of the trailers, at the most.
const CHUNK_LINE_BYTES_MAX: usize = 4 << 10;
/// What a body's memory grows to at once on a mere `content-length`.
const BODY_RESERVE_BYTES_MAX: usize = 1 << 20;

/// A venue's answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// The status code. Redirects are answers like any other: nobody follows them.
    pub status: u16,
    /// `retry-after` in seconds, where it is a number.
    pub retry_after_s: Option<u64>,
    /// The headers that the client keeps ([`super::HttpOptions::headers_kept`]), names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, whole.
    pub body: Vec<u8>,
}

/// What follows in the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The status line and the headers.
    Head,
    /// That many bytes of body.
    Length(usize),
    /// Body until the peer closes.
    UntilClose,
    /// The line with a chunk's size.
    ChunkSize,
    /// That many bytes of chunk.
    Chunk(usize),
    /// The line end after a chunk.
    ChunkEnd,
    /// Trailers, after the last chunk.
    Trailers,
    /// Nothing: the response is whole.
    Done,
}

/// One response on its way.
#[derive(Debug)]
pub struct ResponseParser {
    state: State,
    /// What of the head, of a chunk's line or of the trailers has come.
    line: Vec<u8>,
    response: Response,
    headers_kept: &'static [&'static str],
    body_bytes_max: usize,
    /// Whether the connection may carry another request after this one.
    keep_alive: bool,
}

impl ResponseParser {
    /// A parser that keeps the headers named (in lower case) and bodies of at most `body_bytes_max`.
    pub fn new(headers_kept: &'static [&'static str], body_bytes_max: usize) -> Self {
        Self {
            state: State::Head,
            line: Vec::new(),
            response: Response::default(),
            headers_kept,
            body_bytes_max,
            keep_alive: true,
        }
    }

    /// Takes what came. Returns how much of it belongs to this response: less than all only when it is whole.
    pub fn feed(&mut self, input: &[u8]) -> Result<usize, HttpError> {
        let mut taken = 0;
        while taken < input.len() && self.state != State::Done {
            taken += self.step(&input[taken..])?;
        }
        Ok(taken)
    }

    /// Whether the response is whole.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Whether nothing of the response has come.
    pub fn is_untouched(&self) -> bool {
        self.state == State::Head && self.line.is_empty()
    }

    /// Whether the connection may carry another request; to be asked when the response is whole.
    pub fn keep_alive(&self) -> bool {
        self.keep_alive
    }

    /// The peer closed its side: the end of some bodies, a truncation of all others.
    pub fn end(&mut self) -> Result<(), HttpError> {
        match self.state {
            State::Done => Ok(()),
            State::UntilClose => {
                self.state = State::Done;
                Ok(())
            }
            _ if self.is_untouched() => Err(HttpError::Closed),
            _ => Err(HttpError::Truncated),
        }
    }

    /// The whole response.
    pub fn take(self) -> Response {
        debug_assert!(self.is_done());
        self.response
    }

    /// Takes at least one byte of `input`, which is not empty.
    fn step(&mut self, input: &[u8]) -> Result<usize, HttpError> {
        match self.state {
            State::Head => self.head(input),
            State::Length(left) => {
                let count = self.body(input, left)?;
                self.state = if count == left { State::Done } else { State::Length(left - count) };
                Ok(count)
            }
            State::UntilClose => self.body(input, usize::MAX),
            State::ChunkSize => self.chunk_size(input),
            State::Chunk(left) => {
                let count = self.body(input, left)?;
                self.state = if count == left { State::ChunkEnd } else { State::Chunk(left - count) };
                Ok(count)
            }
            State::ChunkEnd => {
                let count = self.line(input, CHUNK_LINE_BYTES_MAX)?;
                if let Some(end) = self.finished_line() {
                    if !end.is_empty() {
                        return Err(HttpError::Malformed("a chunk is longer than it says"));
                    }
                    self.state = State::ChunkSize;
                }
                Ok(count)
            }
            State::Trailers => {
                let count = self.line(input, CHUNK_LINE_BYTES_MAX)?;
                if self.finished_line().is_some_and(<[u8]>::is_empty) {
                    self.state = State::Done;
                }
                if self.line.ends_with(b"\n") {
                    self.line.clear();
                }
                Ok(count)
            }
            State::Done => Ok(0),
        }
    }

    /// Collects input up to and with the next line end.
    fn line(&mut self, input: &[u8], bytes_max: usize) -> Result<usize, HttpError> {
        if self.line.ends_with(b"\n") {
            self.line.clear(); // the line before
        }
        let end = input.iter().position(|&byte| byte == b'\n').map_or(input.len(), |index| index + 1);
        if self.line.len() + end > bytes_max {
            return Err(HttpError::TooLarge("chunk line"));
        }
        self.line.extend_from_slice(&input[..end]);
        Ok(end)
    }

    /// The line collected, without its end, if it is whole.
    fn finished_line(&self) -> Option<&[u8]> {
        let line = self.line.strip_suffix(b"\n")?;
        Some(line.strip_suffix(b"\r").unwrap_or(line))
    }

    fn head(&mut self, input: &[u8]) -> Result<usize, HttpError> {
        let before = self.line.len();
        let room = HEAD_BYTES_MAX - before;
        let offered = &input[..input.len().min(room)];
        self.line.extend_from_slice(offered);
        if !could_be_http(&self.line) {
            return Err(HttpError::Malformed("not HTTP/1"));
        }
        // Parse only when a head's end is in sight: one byte at a time would otherwise parse once per byte.
        let Some(end) = head_end(&self.line, before) else {
            if self.line.len() == HEAD_BYTES_MAX {
                return Err(HttpError::TooLarge("head"));
            }
            return Ok(offered.len());
        };
        self.line.truncate(end);
        let head = std::mem::take(&mut self.line);
        self.parse_head(&head)?;
        Ok(end - before)
    }

    fn parse_head(&mut self, head: &[u8]) -> Result<(), HttpError> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut parsed = httparse::Response::new(&mut headers);
        match parsed.parse(head) {
            Ok(httparse::Status::Complete(_)) => {}
            Ok(httparse::Status::Partial) => {
                return Err(HttpError::Malformed("an empty line within the head"));
            }
            Err(httparse::Error::TooManyHeaders) => return Err(HttpError::TooLarge("number of headers")),
            Err(_) => return Err(HttpError::Malformed("bad status line or header")),
        }
        let status = parsed.code.ok_or(HttpError::Malformed("no status"))?;
        if status < 200 {
            if status == 101 {
                return Err(HttpError::Malformed("an upgrade that nobody asked for"));
            }
            return Ok(()); // an interim response: the real one follows
        }
        self.response.status = status;
        self.keep_alive = parsed.version == Some(1);
        let mut length = None;
        let mut chunked = false;
        for header in parsed.headers.iter() {
            let name = header.name.to_ascii_lowercase();
            let value = String::from_utf8_lossy(header.value);
            let value = value.trim();
            match name.as_str() {
                "content-length" => {
                    let count = parse_length(value)?;
                    if length.is_some_and(|before| before != count) {
                        return Err(HttpError::Malformed("two lengths that differ"));
                    }
                    length = Some(count);
                }
                "transfer-encoding" => {
                    if !value.eq_ignore_ascii_case("chunked") {
                        return Err(HttpError::Malformed("a transfer coding that we did not ask for"));
                    }
                    chunked = true;
                }
                "content-encoding" if !value.eq_ignore_ascii_case("identity") => {
                    return Err(HttpError::Malformed("a content coding that we did not ask for"));
                }
                "connection" => {
                    for option in value.split(',').map(str::trim) {
                        if option.eq_ignore_ascii_case("close") {
                            self.keep_alive = false;
                        } else if option.eq_ignore_ascii_case("keep-alive") {
                            self.keep_alive = true;
                        }
                    }
                }
                "retry-after" => self.response.retry_after_s = value.parse().ok(),
                _ => {}
            }
            if self.headers_kept.contains(&name.as_str()) {
                self.response.headers.push((name, value.to_owned()));
            }
        }
        if chunked && length.is_some() {
            // RFC 9112 section 6.3: chunked wins, but such a pair is how responses are smuggled.
            return Err(HttpError::Malformed("both a length and chunks"));
        }
        self.state = match (status, chunked, length) {
            (204 | 304, _, _) | (_, false, Some(0)) => State::Done,
            (_, true, _) => State::ChunkSize,
            (_, _, Some(length)) => {
                if length > self.body_bytes_max {
                    return Err(HttpError::TooLarge("body"));
                }
                self.response.body.reserve(length.min(BODY_RESERVE_BYTES_MAX));
                State::Length(length)
            }
            (_, _, None) => {
                self.keep_alive = false;
                State::UntilClose
            }
        };
        Ok(())
    }

    fn chunk_size(&mut self, input: &[u8]) -> Result<usize, HttpError> {
        let count = self.line(input, CHUNK_LINE_BYTES_MAX)?;
        if self.line.ends_with(b"\n") {
            let size = match httparse::parse_chunk_size(&self.line) {
                Ok(httparse::Status::Complete((_, size))) => usize::try_from(size).unwrap_or(usize::MAX),
                _ => return Err(HttpError::Malformed("bad chunk size")),
            };
            if size > self.body_bytes_max.saturating_sub(self.response.body.len()) {
                return Err(HttpError::TooLarge("body"));
            }
            self.state = if size == 0 { State::Trailers } else { State::Chunk(size) };
        }
        Ok(count)
    }

    /// Adds to the body what belongs to it, at most `left` bytes.
    fn body(&mut self, input: &[u8], left: usize) -> Result<usize, HttpError> {
        let count = input.len().min(left);
        if count > self.body_bytes_max - self.response.body.len() {
            return Err(HttpError::TooLarge("body"));
        }
        self.response.body.extend_from_slice(&input[..count]);
        Ok(count)
    }
}

/// Where the head ends, just behind its empty line. Nothing before `seen` ends it.
fn head_end(head: &[u8], seen: usize) -> Option<usize> {
    let from = seen.saturating_sub(3);
    (from..head.len()).find_map(|index| {
        let rest = &head[index..];
        if rest.starts_with(b"\r\n\r\n") {
            Some(index + 4)
        } else if rest.starts_with(b"\n\n") {
            Some(index + 2)
        } else {
            None
        }
    })
}

/// Whether these first bytes can still become a response of ours; garbage is refused before its 32 KiB have come.
fn could_be_http(head: &[u8]) -> bool {
    const START: &[u8] = b"HTTP/1.";
    let count = head.len().min(START.len());
    head[..count] == START[..count]
}

fn parse_length(text: &str) -> Result<usize, HttpError> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(HttpError::Malformed("bad content-length"));
    }
    text.parse().map_err(|_| HttpError::TooLarge("body"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEPT: &[&str] = &["x-mbx-used-weight-1m", "date"];

    /// Feeds `input` whole and one byte at a time, which must agree, then ends it.
    fn parse(input: &[u8]) -> Result<(Response, usize, bool), HttpError> {
        let feed = |step: usize| {
            let mut parser = ResponseParser::new(KEPT, 1000);
            let mut taken = 0;
            while taken < input.len() && !parser.is_done() {
                let piece = &input[taken..input.len().min(taken + step)];
                taken += parser.feed(piece)?;
            }
            parser.end()?;
            let keep_alive = parser.keep_alive();
            Ok((parser.take(), taken, keep_alive))
        };
        let (whole, slow) = (feed(usize::MAX - input.len()), feed(1));
        assert_eq!(whole, slow, "the cut of the input does not matter");
        whole
    }

    fn body(input: &str) -> String {
        String::from_utf8(parse(input.as_bytes()).unwrap().0.body).unwrap()
    }

    fn error(input: &str) -> HttpError {
        parse(input.as_bytes()).unwrap_err()
    }

    #[test]
    fn a_length_ends_a_body_and_what_follows_is_not_taken() {
        let input = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbodyHTTP/1.1";
        let (response, taken, keep_alive) = parse(input).unwrap();
        assert_eq!((response.status, response.body.as_slice()), (200, b"body".as_slice()));
        assert_eq!(taken, input.len() - 8);
        assert!(keep_alive);
    }

    #[test]
    fn chunks_are_joined_and_trailers_skipped() {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(
            body(&format!("{head}3;name=x\r\nabc\r\nA\r\n0123456789\r\n0\r\nX: y\r\n\r\n")),
            "abc0123456789"
        );
        assert_eq!(body(&format!("{head}0\r\n\r\n")), "");
        assert_eq!(
            error(&format!("{head}3\r\nabcd\r\n0\r\n\r\n")),
            HttpError::Malformed("a chunk is longer than it says")
        );
        assert_eq!(error(&format!("{head}zz\r\n")), HttpError::Malformed("bad chunk size"));
        assert_eq!(error(&format!("{head}ffffffffffffffff\r\n")), HttpError::TooLarge("body"));
        assert_eq!(error(&format!("{head}3\r\nab")), HttpError::Truncated);
        assert_eq!(error(&format!("{head}3\r\nabc\r\n")), HttpError::Truncated);
    }

    #[test]
    fn without_a_length_the_end_of_the_connection_ends_the_body() {
        let (response, _, keep_alive) = parse(b"HTTP/1.1 200 OK\r\n\r\nall of it").unwrap();
        assert_eq!(response.body, b"all of it");
        assert!(!keep_alive);
    }

    #[test]
    fn statuses_without_a_body_have_none() {
        for status in ["204 No Content", "304 Not Modified"] {
            assert_eq!(body(&format!("HTTP/1.1 {status}\r\n\r\n")), "");
        }
    }

    #[test]
    fn an_interim_response_is_skipped() {
        assert_eq!(body("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"), "ok");
        assert_eq!(
            error("HTTP/1.1 101 Switching Protocols\r\n\r\n"),
            HttpError::Malformed("an upgrade that nobody asked for")
        );
    }

    #[test]
    fn headers_of_interest_are_kept_in_lower_case() {
        let input = b"HTTP/1.1 429 Slow Down\r\nX-MBX-USED-WEIGHT-1M:  1201 \r\nRetry-After: 7\r\nOther: x\r\nContent-Length: 0\r\n\r\n";
        let response = parse(input).unwrap().0;
        assert_eq!(response.status, 429);
        assert_eq!(response.retry_after_s, Some(7));
        assert_eq!(response.headers, [("x-mbx-used-weight-1m".to_owned(), "1201".to_owned())]);
    }

    #[test]
    fn a_redirect_and_html_are_answers_like_any_other() {
        let html = "HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>";
        assert_eq!(parse(html.as_bytes()).unwrap().0.status, 302);
        assert_eq!(body(html), "<html>");
    }

    #[test]
    fn connections_are_kept_as_the_version_and_the_header_say() {
        let keeps = |head: &str| parse(format!("{head}\r\nContent-Length: 0\r\n\r\n").as_bytes()).unwrap().2;
        assert!(keeps("HTTP/1.1 200 OK"));
        assert!(!keeps("HTTP/1.1 200 OK\r\nConnection: Close"));
        assert!(!keeps("HTTP/1.0 200 OK"));
        assert!(keeps("HTTP/1.0 200 OK\r\nConnection: keep-alive"));
    }

    #[test]
    fn what_is_not_a_response_is_refused_at_once() {
        assert_eq!(error("<html>"), HttpError::Malformed("not HTTP/1"));
        assert_eq!(error("\0\0\0"), HttpError::Malformed("not HTTP/1"));
        assert_eq!(error("HTTP/1.1 abc\r\n\r\n"), HttpError::Malformed("bad status line or header"));
        assert_eq!(
            error("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"),
            HttpError::Malformed("bad content-length")
        );
        assert_eq!(
            error("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"),
            HttpError::Malformed("two lengths that differ")
        );
        assert_eq!(
            error("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"),
            HttpError::Malformed("both a length and chunks")
        );
        assert_eq!(
            error("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\n"),
            HttpError::Malformed("a content coding that we did not ask for")
        );
    }

    #[test]
    fn bounds_hold_for_heads_and_bodies() {
        let long = "x".repeat(HEAD_BYTES_MAX);
        assert_eq!(error(&format!("HTTP/1.1 200 OK\r\nA: {long}\r\n\r\n")), HttpError::TooLarge("head"));
        let many = "A: b\r\n".repeat(HEADERS_MAX + 1);
        assert_eq!(
            error(&format!("HTTP/1.1 200 OK\r\n{many}\r\n")),
            HttpError::TooLarge("number of headers")
        );
        assert_eq!(error("HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n"), HttpError::TooLarge("body"));
        let big = "x".repeat(1001);
        assert_eq!(error(&format!("HTTP/1.1 200 OK\r\n\r\n{big}")), HttpError::TooLarge("body"));
        assert_eq!(body(&format!("HTTP/1.1 200 OK\r\n\r\n{}", &big[1..])).len(), 1000);
    }

    #[test]
    fn an_end_before_anything_and_one_in_the_middle_are_told_apart() {
        assert_eq!(error(""), HttpError::Closed);
        assert_eq!(error("HTTP/1.1 200"), HttpError::Truncated);
        assert_eq!(error("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbod"), HttpError::Truncated);
    }

    #[test]
    fn cut_and_mutated_responses_never_panic() {
        const SEEDS: [&[u8]; 2] = [
            b"HTTP/1.1 200 OK\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nbody",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nX: y\r\n\r\n",
        ];
        let mut random = fastrand::Rng::with_seed(11);
        let mut answers = 0;
        for round in 0..20_000 {
            let mut input = SEEDS[round % 2].to_vec();
            for _ in 0..random.usize(0..4) {
                let index = random.usize(0..input.len());
                input[index] = random.u8(..);
            }
            input.truncate(random.usize(0..=2 * input.len()));
            answers += usize::from(parse(&input).is_ok());
        }
        assert!(answers > 1000, "some survive");
    }
}
