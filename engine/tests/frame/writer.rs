//! What we send, read back by tungstenite as a server.

use std::io::{self, Read, Write};

use engine::frame::{CloseCode, FrameWriter, WriteError};
use tungstenite::{Message, WebSocket, protocol::Role};

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

struct Memory<'a>(&'a [u8]);

impl Read for Memory<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Memory<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Sends `messages` through a socket that takes `taken_bytes` at a time; a server must read the same.
#[track_caller]
fn check(messages: &[Message], taken_bytes: usize) {
    let mut random = fastrand::Rng::with_seed(taken_bytes as u64);
    let mut writer = FrameWriter::new(70_000);
    let mut sent = Vec::new();
    for message in messages {
        loop {
            let mask = random.u32(..).to_ne_bytes();
            let queued = match message {
                Message::Text(text) => writer.text(text.as_bytes(), mask),
                Message::Ping(payload) => writer.ping(payload, mask),
                Message::Pong(payload) => writer.pong(payload, mask),
                Message::Close(Some(close)) => writer.close(close.code, &close.reason, mask),
                other => panic!("not something we send: {other}"),
            };
            let taken = writer.pending().len().min(taken_bytes);
            sent.extend_from_slice(&writer.pending()[..taken]);
            writer.written(taken);
            match queued {
                Ok(()) => break,
                Err(WriteError::Full { .. }) => assert!(taken > 0, "a full writer has something pending"),
                Err(WriteError::Closed) => panic!("closed too early"),
            }
        }
    }
    sent.extend_from_slice(writer.pending());
    // A server refuses what is not masked.
    let mut server = WebSocket::from_raw_socket(Memory(&sent), Role::Server, None);
    for message in messages {
        assert_eq!(&server.read().unwrap(), message);
    }
    assert!(server.read().is_err(), "and nothing else");
}

#[test]
fn a_server_reads_what_we_wrote() {
    let mut messages = Vec::new();
    for bytes in (0..20).chain([124, 125, 126, 127, 128, 1000, 65535, 65536, 66_000]) {
        messages.push(Message::text("*".repeat(bytes)));
        messages.push(Message::Ping(vec![0xfe; bytes.min(125)].into()));
        messages.push(Message::text("κόσμε ".repeat(bytes / 16)));
        messages.push(Message::Pong(vec![0xff; bytes.min(125)].into()));
    }
    messages.push(Message::Close(Some(tungstenite::protocol::CloseFrame {
        code: CloseCode::Normal,
        reason: "done".into(),
    })));
    for taken_bytes in [700, 1000, 65536, usize::MAX] {
        check(&messages, taken_bytes);
    }
}

#[test]
fn a_full_writer_refuses_whole_frames_and_keeps_what_was_queued() {
    let mut writer = FrameWriter::new(FrameWriter::CAPACITY_BYTES_MIN);
    writer.text(&[b'*'; 100], MASK).unwrap();
    let queued = writer.pending().to_vec();
    assert_eq!(queued.len(), 106);
    assert_eq!(writer.text(&[b'*'; 20], MASK), Err(WriteError::Full { needed_bytes: 26, free_bytes: 25 }));
    assert_eq!(writer.pending(), queued);
    writer.written(1);
    writer.text(&[b'*'; 20], MASK).unwrap();
    assert_eq!(writer.pending().len(), 105 + 26);
    assert_eq!(&writer.pending()[..105], &queued[1..]);
}

#[test]
fn nothing_follows_a_close() {
    let mut writer = FrameWriter::new(1000);
    writer.text(b"before", MASK).unwrap();
    writer.close(CloseCode::Away, "", MASK).unwrap();
    assert!(writer.is_closed());
    let queued = writer.pending().to_vec();
    assert_eq!(writer.text(b"after", MASK), Err(WriteError::Closed));
    assert_eq!(writer.pong(b"after", MASK), Err(WriteError::Closed));
    assert_eq!(writer.close(CloseCode::Normal, "again", MASK), Err(WriteError::Closed));
    assert_eq!(writer.pending(), queued);
    writer.reset();
    assert!(writer.pending().is_empty());
    writer.text(b"a new connection", MASK).unwrap();
}

#[test]
fn a_long_reason_is_cut_between_characters() {
    let mut writer = FrameWriter::new(1000);
    writer.close(CloseCode::Policy, &"é".repeat(100), [0; 4]).unwrap();
    // 122 bytes of 123: the last character would be cut.
    assert_eq!(writer.pending()[..2], [0x88, 0x80 + 124]);
    assert_eq!(&writer.pending()[8..], "é".repeat(61).as_bytes());
}

#[test]
fn a_close_that_was_read_can_be_echoed_whatever_its_code() {
    for code in [1000, 1014, 3000, 4999] {
        let mut writer = FrameWriter::new(1000);
        writer.close(CloseCode::from(code), "", [0; 4]).unwrap();
        assert_eq!(writer.pending()[6..], code.to_be_bytes());
    }
}
