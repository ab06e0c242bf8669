//! Recordings, shapes of JSON text, and a client of a simulated venue without sockets.
//!
//! Recordings are not part of the repository. They are looked for in `MELTICA_CAPTURES`, or beside the workspace.

#![allow(dead_code, reason = "each test binary uses a part")]

use std::path::PathBuf;
use std::process::Command;

use simvenues::VenueConfig;
use simvenues::output::ConnectionId;
use simvenues::site::Site;

pub const START_NS: u64 = 1_783_000_000_000_000_000;

fn captures() -> PathBuf {
    std::env::var_os("MELTICA_CAPTURES").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/captures"),
        PathBuf::from,
    )
}

/// (source, payload) of each line of a recording; `None` if it is not there.
pub fn recording(name: &str) -> Option<Vec<(String, String)>> {
    let path = captures().join(name);
    if !path.exists() {
        eprintln!("SKIPPED: no recording {} (set MELTICA_CAPTURES)", path.display());
        return None;
    }
    let text = if path.extension().is_some_and(|extension| extension == "gz") {
        let output = Command::new("gzip").arg("-dc").arg(&path).output().expect("gzip is installed");
        String::from_utf8(output.stdout).expect("UTF-8")
    } else {
        std::fs::read_to_string(&path).expect("UTF-8")
    };
    let line = |line: &str| {
        let mut parts = line.splitn(3, '\t').skip(1).map(str::to_owned);
        (parts.next().expect("three columns"), parts.next().expect("three columns"))
    };
    Some(text.lines().map(line).collect())
}

/// Keys and types in their order; white space is dropped. Numbers are told apart by being bare or in quotes, and by how
/// many digits they have after the point; of an array, the first element stands for all.
pub fn shape(text: &str) -> String {
    let mut out = String::new();
    value(&mut Scanner { rest: text.trim() }, &mut out);
    out
}

struct Scanner<'a> {
    rest: &'a str,
}

impl<'a> Scanner<'a> {
    fn peek(&mut self) -> u8 {
        self.rest = self.rest.trim_start();
        self.rest.as_bytes()[0]
    }

    fn skip(&mut self) {
        self.rest = &self.rest[1..];
    }

    fn string(&mut self) -> &'a str {
        self.skip();
        let (text, rest) = self.rest.split_once('"').expect("no escapes in what is compared");
        self.rest = rest;
        text
    }
}

fn decimal(text: &str) -> Option<String> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let numeric = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    (!whole.is_empty() && numeric(whole) && numeric(fraction)).then(|| fraction.len().to_string())
}

fn value(scanner: &mut Scanner<'_>, out: &mut String) {
    match scanner.peek() {
        b'"' => match decimal(scanner.string()) {
            Some(digits) => out.extend(["\"", &digits, "\""]),
            None => *out += "text",
        },
        b'[' => {
            scanner.skip();
            out.push('[');
            let mut first = true;
            while scanner.peek() != b']' {
                let mut ignored = String::new();
                value(scanner, if first { out } else { &mut ignored });
                first = false;
                if scanner.peek() == b',' {
                    scanner.skip();
                }
            }
            scanner.skip();
            out.push(']');
        }
        b'{' => {
            scanner.skip();
            out.push('{');
            while scanner.peek() != b'}' {
                *out += scanner.string();
                assert_eq!(scanner.peek(), b':');
                scanner.skip();
                out.push(':');
                value(scanner, out);
                if scanner.peek() == b',' {
                    scanner.skip();
                    out.push(',');
                }
            }
            scanner.skip();
            out.push('}');
        }
        _ => {
            let end = scanner.rest.find([',', '}', ']']).unwrap_or(scanner.rest.len());
            let word = &scanner.rest[..end].trim_end();
            match decimal(word) {
                Some(digits) => *out += &digits,
                None => *out += word,
            }
            scanner.rest = &scanner.rest[end..];
        }
    }
}

/// One WebSocket client of a venue.
pub struct Client {
    pub site: Site,
    pub now_ns: u64,
    id: ConnectionId,
}

impl Client {
    pub fn connect(venue: VenueConfig, target: &str) -> Self {
        let mut site = Site::new(venue.build(START_NS), 1 << 26);
        let id = site.open(START_NS).unwrap();
        let upgrade = format!(
            "GET {target} HTTP/1.1\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: eA==\r\n\r\n"
        );
        site.receive(id, upgrade.as_bytes(), START_NS);
        let answer = site.unsent(id);
        assert!(answer.starts_with(b"HTTP/1.1 101 "));
        let head = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap() + 4;
        site.sent(id, head);
        Self { site, now_ns: START_NS, id }
    }

    /// Sends a text frame of less than 64 KiB.
    pub fn send(&mut self, text: &str) {
        let mut frame = vec![0x81, 0xFE];
        frame.extend_from_slice(&u16::try_from(text.len()).unwrap().to_be_bytes());
        frame.extend_from_slice(&[0; 4]);
        frame.extend_from_slice(text.as_bytes());
        self.site.receive(self.id, &frame, self.now_ns);
    }

    /// Passes time in steps of 10 ms.
    pub fn pass(&mut self, until_ns: u64) {
        while self.now_ns < until_ns {
            self.now_ns += 10_000_000;
            self.site.poll(self.now_ns);
        }
    }

    /// The text frames received.
    pub fn texts(&mut self) -> Vec<String> {
        let bytes = self.site.unsent(self.id).to_vec();
        self.site.sent(self.id, bytes.len());
        let mut rest = &bytes[..];
        let mut texts = Vec::new();
        while let &[first, second, ..] = rest {
            let (length, head) = match second {
                126 => (usize::from(u16::from_be_bytes([rest[2], rest[3]])), 4),
                127 => (u64::from_be_bytes(rest[2..10].try_into().unwrap()) as usize, 10),
                short => (usize::from(short), 2),
            };
            if first == 0x81 {
                texts.push(String::from_utf8(rest[head..head + length].to_vec()).unwrap());
            }
            rest = &rest[head + length..];
        }
        texts
    }

    /// The body of the answer to a GET.
    pub fn get(&mut self, target: &str) -> String {
        let id = self.site.open(self.now_ns).unwrap();
        self.site.receive(id, format!("GET {target} HTTP/1.1\r\n\r\n").as_bytes(), self.now_ns);
        let answer = String::from_utf8(self.site.unsent(id).to_vec()).unwrap();
        answer.split_once("\r\n\r\n").unwrap().1.to_owned()
    }
}
