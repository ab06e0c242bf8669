//! The opening handshake, RFC 6455, 1.3 and 4.1.

use engine::frame::handshake::{Answer, AnswerReader, HEADERS_MAX, Invalid, RequestError, request};

/// The key of RFC 6455, 1.3: `dGhlIHNhbXBsZSBub25jZQ==`.
const KEY: [u8; 16] = *b"the sample nonce";
const ACCEPTED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";

/// Feeds whole, then byte by byte; both must say the same. What follows the head is checked as leftover.
#[track_caller]
fn check(answer: &str, expected: &Answer<'_>) {
    assert_eq!(&AnswerReader::new(KEY).feed(answer.as_bytes()), expected, "{answer}");
    let mut reader = AnswerReader::new(KEY);
    for (index, byte) in answer.bytes().enumerate() {
        let rest = &answer.as_bytes()[index + 1..];
        match (reader.feed(&[byte]), expected) {
            (Answer::NeedMore, _) => {}
            (Answer::Accepted { leftover: [] }, Answer::Accepted { leftover }) => {
                return assert_eq!(&rest, leftover);
            }
            (seen, _) => return assert_eq!(&seen, expected, "{answer} at {index}"),
        }
    }
    assert_eq!(expected, &Answer::NeedMore, "{answer}");
}

#[track_caller]
fn check_invalid(answer: &str, invalid: Invalid) {
    check(answer, &Answer::Invalid(invalid));
}

#[test]
fn the_request_is_what_the_rfc_wants_and_no_more() {
    let bytes =
        request("stream.example:9443", "/ws?streams=a@trade", &[("User-Agent", "meltica")], KEY).unwrap();
    let mut headers = [httparse::EMPTY_HEADER; 16];
    let mut parsed = httparse::Request::new(&mut headers);
    assert_eq!(parsed.parse(&bytes), Ok(httparse::Status::Complete(bytes.len())));
    assert_eq!(
        (parsed.method, parsed.path, parsed.version),
        (Some("GET"), Some("/ws?streams=a@trade"), Some(1))
    );
    let headers: Vec<(&str, &str)> =
        parsed.headers.iter().map(|header| (header.name, str::from_utf8(header.value).unwrap())).collect();
    assert_eq!(
        headers,
        [
            ("Host", "stream.example:9443"),
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("User-Agent", "meltica"),
        ]
    );
}

#[test]
fn a_request_that_would_say_something_else_is_refused() {
    let name = |name: &str| Err(RequestError::HeaderName(name.into()));
    for host in ["", "a b", "a\r\nX: y", "bücher.example"] {
        assert_eq!(request(host, "/", &[], KEY), Err(RequestError::Host(host.into())));
    }
    for path in ["", "ws", "/a b", "/a\r\nX: y"] {
        assert_eq!(request("a", path, &[], KEY), Err(RequestError::Path(path.into())));
    }
    for header in
        ["", "a:b", "a b", "a\n", "host", "Sec-WebSocket-Extensions", "sec-websocket-protocol", "UPGRADE"]
    {
        assert_eq!(request("a", "/", &[(header, "v")], KEY), name(header));
    }
    for value in ["a\r\nX: y", "a\n", "\0"] {
        let seen = request("a", "/", &[("X-Key", value)], KEY);
        assert_eq!(seen, Err(RequestError::HeaderValue("X-Key".into())));
    }
}

#[test]
fn tungstenite_as_a_server_accepts_our_request_and_we_its_answer() {
    let asked = request("localhost", "/ws", &[], KEY).unwrap();
    let (asked_by_us, mut answer) = (std::io::Cursor::new(asked), Vec::new());
    struct Both<'a>(std::io::Cursor<Vec<u8>>, &'a mut Vec<u8>);
    impl std::io::Read for Both<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            self.0.read(buffer)
        }
    }
    impl std::io::Write for Both<'_> {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.1.write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    tungstenite::accept(Both(asked_by_us, &mut answer)).unwrap();
    answer.extend(b"\x81\x00");
    assert_eq!(AnswerReader::new(KEY).feed(&answer), Answer::Accepted { leftover: b"\x81\x00" });
}

#[test]
fn an_answer_is_accepted_with_what_follows_it() {
    check(&format!("{ACCEPTED}\r\n"), &Answer::Accepted { leftover: b"" });
    check(&format!("{ACCEPTED}\r\n\x01\x05Hello"), &Answer::Accepted { leftover: b"\x01\x05Hello" });
    let much = "*".repeat(100_000);
    check(&format!("{ACCEPTED}\r\n{much}"), &Answer::Accepted { leftover: much.as_bytes() });
    check(ACCEPTED, &Answer::NeedMore);
    check("", &Answer::NeedMore);
    // Names in any case, a list of tokens, several headers of one name, empty lists.
    check(
        "HTTP/1.1 101 ok\r\nupgrade: WebSocket\r\nCONNECTION: keep-alive\r\nconnection: close , upgrade\r\n\
         sec-websocket-accept:  s3pPLMBiTxaQ9kYGzzhZRbK+xOo=  \r\nSec-WebSocket-Extensions: \r\n\r\n",
        &Answer::Accepted { leftover: b"" },
    );
}

#[test]
fn a_refusal_says_when_to_come_back_and_why() {
    let refused =
        |status, retry_after_s, body: &str| Answer::Refused { status, retry_after_s, body: body.into() };
    check("HTTP/1.1 503 x\r\n\r\n", &refused(503, None, ""));
    check(
        "HTTP/1.1 429 x\r\nRetry-After: 17\r\nContent-Length: 6\r\n\r\nbanned",
        &refused(429, Some(17), "banned"),
    );
    check("HTTP/1.1 429 x\r\nRetry-After: Sat, 21 Nov 2026 03:32:00 GMT\r\n\r\n", &refused(429, None, ""));
    for odd in ["-1", "+1", "", "1.5", "99999999999999999999999"] {
        check(&format!("HTTP/1.1 418 x\r\nRetry-After: {odd}\r\n\r\n"), &refused(418, None, ""));
    }
    check("HTTP/1.0 400 Bad Request\r\n\r\n", &refused(400, None, ""));
    check("HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n", &refused(302, None, ""));
    check("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", &Answer::NeedMore);

    let long = "*".repeat(600);
    let mut reader = AnswerReader::new(KEY);
    let head = "HTTP/1.1 500 x\r\nContent-Length: 600\r\n\r\n";
    assert_eq!(reader.feed(head.as_bytes()), Answer::NeedMore);
    assert_eq!(reader.feed(long.as_bytes()), refused(500, None, &long[..512]));

    let mut reader = AnswerReader::new(KEY);
    assert_eq!(reader.feed(format!("{head}cut\u{fe}").as_bytes()), Answer::NeedMore);
    assert_eq!(reader.end(), refused(500, None, "cut\u{fe}"));
}

#[test]
fn an_answer_to_another_question_is_invalid() {
    let without = |line: &str| {
        let head: String = ACCEPTED.split_inclusive("\r\n").filter(|l| !l.starts_with(line)).collect();
        head + "\r\n"
    };
    let with = |line: &str| format!("{ACCEPTED}{line}\r\n\r\n");
    let instead = |from: &str, to: &str| format!("{}\r\n", ACCEPTED.replace(from, to));
    check_invalid(&without("Upgrade"), Invalid::Upgrade);
    check_invalid(&instead("websocket\r", "h2c\r"), Invalid::Upgrade);
    check_invalid(&with("Upgrade: websocket"), Invalid::Upgrade);
    check_invalid(&without("Connection"), Invalid::Connection);
    check_invalid(&instead("Connection: Upgrade", "Connection: Upgraded"), Invalid::Connection);
    check_invalid(&without("Sec-WebSocket-Accept"), Invalid::AcceptKey);
    check_invalid(&instead("s3pP", "S3pP"), Invalid::AcceptKey);
    check_invalid(&with("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), Invalid::AcceptKey);
    check_invalid(&with("Sec-WebSocket-Extensions: permessage-deflate"), Invalid::Extension);
    check_invalid(&with("Sec-WebSocket-Protocol: chat"), Invalid::Subprotocol);
    check_invalid(&instead("HTTP/1.1", "HTTP/1.0"), Invalid::Version);
    check_invalid("SSH-2.0-OpenSSH_9.6\r\n", Invalid::NotHttp);
    check_invalid("HTTP/1.1 101 x\r\nUpgrade : websocket\r\n\r\n", Invalid::NotHttp);
}

#[test]
fn a_head_is_bounded() {
    let headers = |count: usize| "X: y\r\n".repeat(count);
    check(&format!("{ACCEPTED}{}\r\n", headers(HEADERS_MAX - 3)), &Answer::Accepted { leftover: b"" });
    check_invalid(&format!("{ACCEPTED}{}\r\n", headers(HEADERS_MAX - 2)), Invalid::TooManyHeaders);

    let long =
        |bytes: usize| format!("X: {}\r\n\r\n", "y".repeat(bytes - ACCEPTED.len() - "X: \r\n\r\n".len()));
    check(&format!("{ACCEPTED}{}", long(16 << 10)), &Answer::Accepted { leftover: b"" });
    check_invalid(&format!("{ACCEPTED}{}", long((16 << 10) + 1)), Invalid::HeadTooLong);
    check_invalid(&"*".repeat(1 << 20), Invalid::HeadTooLong);
}

#[test]
fn a_stream_that_ends_early_is_cut() {
    let mut reader = AnswerReader::new(KEY);
    assert_eq!(reader.feed(ACCEPTED.as_bytes()), Answer::NeedMore);
    assert_eq!(reader.end(), Answer::Invalid(Invalid::Cut));
    assert_eq!(AnswerReader::new(KEY).end(), Answer::Invalid(Invalid::Cut));
}

/// Cut, damaged and repeated answers: an answer each, and the same kind however they are chopped.
#[test]
fn damaged_answers_never_panic_and_do_not_depend_on_chops() {
    let kind = |answer: &Answer<'_>| match answer {
        Answer::Refused { status, retry_after_s, .. } => format!("{status} {retry_after_s:?}"),
        Answer::Accepted { .. } => "accepted".into(),
        other => format!("{other:?}"),
    };
    for seed in 0..20_000 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut bytes = match random.u8(..3) {
            0 => b"HTTP/1.1 429 slow down\r\nRetry-After: 5\r\nContent-Length: 4\r\n\r\nbody".to_vec(),
            _ => format!("{ACCEPTED}\r\n\x01\x00").into_bytes(),
        };
        for _ in 0..random.usize(..4) {
            let at = random.usize(..bytes.len());
            match random.u8(..4) {
                0 => bytes[at] ^= 1 << random.u8(..8),
                1 => bytes[at] = *random.choice(b"\r\n:, \0").unwrap(),
                2 => bytes.truncate(at + 1),
                _ => bytes.splice(at..at, ACCEPTED.bytes().take(40)).for_each(drop),
            }
        }
        let whole = kind(&AnswerReader::new(KEY).feed(&bytes));
        let mut reader = AnswerReader::new(KEY);
        let (mut unread, mut chopped) = (&bytes[..], String::from("NeedMore"));
        while !unread.is_empty() && chopped == "NeedMore" {
            let (chop, rest) = unread.split_at(random.usize(1..=unread.len()));
            chopped = kind(&reader.feed(chop));
            unread = rest;
        }
        assert_eq!(chopped, whole, "seed {seed}: {}", bytes.escape_ascii());
        assert_ne!(reader.end(), Answer::NeedMore, "seed {seed}");
    }
}
