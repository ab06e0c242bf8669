//! A venue, a clock and clients for the tests of all venues: bytes in, frames out, no sockets.

use serde_json::Value;

use crate::clock::MS_NS;
use crate::output::ConnectionId;
use crate::site::Site;
use crate::venue::Venue;

pub(crate) const START_NS: u64 = 1_783_000_000_000_000_000;

/// A site, a clock and what one client has received.
pub(crate) struct World {
    pub(crate) site: Site,
    pub(crate) now_ns: u64,
}

/// What a client got.
#[derive(Debug, PartialEq)]
pub(crate) enum Frame {
    Text(Value),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(u16),
}

impl World {
    pub(crate) fn of(venue: Box<dyn Venue>, output_bytes_max: usize) -> Self {
        Self { site: Site::new(venue, output_bytes_max), now_ns: START_NS }
    }

    /// Passes time in steps of 10 ms.
    pub(crate) fn pass(&mut self, time_ms: u64) {
        for _ in 0..time_ms.div_ceil(10) {
            self.now_ns += 10 * MS_NS;
            self.site.poll(self.now_ns);
        }
    }

    pub(crate) fn take(&mut self, id: ConnectionId) -> Vec<u8> {
        let bytes = self.site.unsent(id).to_vec();
        self.site.sent(id, bytes.len());
        bytes
    }

    pub(crate) fn upgrade(&mut self, target: &str) -> (ConnectionId, String) {
        let id = self.site.open(self.now_ns).expect("not refused");
        let request = format!(
            "GET {target} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        self.site.receive(id, request.as_bytes(), self.now_ns);
        let answer = self.site.unsent(id).to_vec();
        let upgraded = answer.starts_with(b"HTTP/1.1 101 ");
        // Frames may follow the head at once; they are left for later.
        let head = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").filter(|_| upgraded);
        let length = head.map_or(answer.len(), |head| head + 4);
        self.site.sent(id, length);
        (id, String::from_utf8(answer[..length].to_vec()).unwrap())
    }

    pub(crate) fn connect(&mut self, target: &str) -> ConnectionId {
        let (id, answer) = self.upgrade(target);
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        // The worked example of RFC 6455, 1.3.
        assert!(answer.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{answer}");
        id
    }

    pub(crate) fn send_frame(&mut self, id: ConnectionId, opcode: u8, payload: &[u8]) {
        let mut frame = vec![0x80 | opcode];
        match payload.len() {
            0..=125 => frame.push(0x80 | payload.len() as u8),
            length => {
                frame.push(0xFE);
                frame.extend_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
            }
        }
        frame.extend_from_slice(&[0; 4]);
        frame.extend_from_slice(payload);
        self.site.receive(id, &frame, self.now_ns);
    }

    pub(crate) fn ask(&mut self, id: ConnectionId, text: &str) -> Value {
        self.send_frame(id, 1, text.as_bytes());
        match self.frames(id).pop() {
            Some(Frame::Text(answer)) => answer,
            other => panic!("no answer to {text}: {other:?}"),
        }
    }

    /// (first byte, payload) of each frame.
    fn payloads(&mut self, id: ConnectionId) -> Vec<(u8, Vec<u8>)> {
        let bytes = self.take(id);
        let mut rest = &bytes[..];
        let mut frames = Vec::new();
        while let &[first, second, ..] = rest {
            let (length, head) = match second {
                126 => (usize::from(u16::from_be_bytes([rest[2], rest[3]])), 4),
                127 => (u64::from_be_bytes(rest[2..10].try_into().unwrap()) as usize, 10),
                short => (usize::from(short), 2),
            };
            frames.push((first, rest[head..head + length].to_vec()));
            rest = &rest[head + length..];
        }
        frames
    }

    pub(crate) fn frames(&mut self, id: ConnectionId) -> Vec<Frame> {
        let frame = |(first, payload): (u8, Vec<u8>)| match first {
            0x81 => Frame::Text(serde_json::from_slice(&payload).expect("JSON")),
            0x88 => Frame::Close(u16::from_be_bytes([payload[0], payload[1]])),
            0x89 => Frame::Ping(payload),
            0x8A => Frame::Pong(payload),
            other => panic!("unexpected frame {other:#x}"),
        };
        self.payloads(id).into_iter().map(frame).collect()
    }

    /// Text frames as sent.
    pub(crate) fn texts(&mut self, id: ConnectionId) -> Vec<String> {
        let texts = self.payloads(id).into_iter().filter(|(first, _)| *first == 0x81);
        texts.map(|(_, payload)| String::from_utf8(payload).unwrap()).collect()
    }

    pub(crate) fn events(&mut self, id: ConnectionId) -> Vec<Value> {
        let texts = self.frames(id).into_iter();
        texts.filter_map(|frame| if let Frame::Text(text) = frame { Some(text) } else { None }).collect()
    }

    pub(crate) fn rest_raw(&mut self, request: &str) -> String {
        let id = self.site.open(self.now_ns).expect("not refused");
        self.site.receive(id, request.as_bytes(), self.now_ns);
        let answer = String::from_utf8(self.take(id)).unwrap();
        self.site.closed(id);
        answer
    }

    pub(crate) fn rest(&mut self, target: &str) -> (u16, Value) {
        let answer = self.rest_raw(&format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n"));
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let status = head[9..12].parse().unwrap();
        (status, serde_json::from_str(body).unwrap_or(Value::Null))
    }
}
