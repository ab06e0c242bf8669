//! One WebSocket frame out of bytes that a socket would have brought: ours, tungstenite's and fastwebsockets'.
//!
//! All read from the same memory, which gives one frame, or as many as fit 16 KiB, at every read; each way copies them
//! to where it wants them, as a socket would. Messages are dropped at once.

use std::hint::black_box;
use std::io::{self, Read, Write};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use bench::{messages, wire};
use engine::frame::{Frame, FrameReader};
use fastwebsockets::{Role as FastRole, WebSocket as FastWebSocket};
use futures_core::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tungstenite::protocol::{Role, WebSocket, WebSocketConfig};

use crate::{Case, Group};

/// The frames of a read, again and again.
struct Memory {
    bytes: Vec<u8>,
    at: usize,
}

impl Memory {
    fn new(bytes: &[u8]) -> Self {
        Self { bytes: bytes.to_vec(), at: 0 }
    }

    fn next(&mut self, room: usize) -> &[u8] {
        let from = self.at;
        let to = self.bytes.len().min(from + room);
        self.at = if to == self.bytes.len() { 0 } else { to };
        &self.bytes[from..to]
    }
}

impl Read for Memory {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.next(buffer.len());
        buffer[..bytes.len()].copy_from_slice(bytes);
        Ok(bytes.len())
    }
}

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsyncRead for Memory {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context, buffer: &mut ReadBuf) -> Poll<io::Result<()>> {
        let bytes = self.next(buffer.remaining());
        buffer.put_slice(bytes);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Memory {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Memory never makes anybody wait, so one poll is the answer.
fn now<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("memory is always ready"),
    }
}

fn ours(bytes: &[u8], frames: usize) -> Case {
    let mut memory = Memory::new(bytes);
    let mut reader = FrameReader::new(64 << 10, 1 << 20);
    Case::new("ours", move || {
        let mut seen = 0;
        while seen < frames {
            let space = reader.space();
            let count = memory.read(space).expect("memory");
            reader.filled(count);
            while let Some(frame) = reader.next().expect("a good frame") {
                let Frame::Text(text) = frame else { panic!("a text") };
                black_box(text);
                seen += 1;
            }
        }
    })
}

fn tungstenite(name: &'static str, bytes: &[u8], frames: usize, config: Option<WebSocketConfig>) -> Case {
    let mut socket = WebSocket::from_raw_socket(Memory::new(bytes), Role::Client, config);
    Case::new(name, move || {
        for _ in 0..frames {
            black_box(socket.read().expect("a good frame"));
        }
    })
}

fn tokio_tungstenite(bytes: &[u8], frames: usize) -> Case {
    let mut socket = now(WebSocketStream::from_raw_socket(Memory::new(bytes), Role::Client, None));
    Case::new("tokio-tungstenite", move || {
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..frames {
            match Pin::new(&mut socket).poll_next(&mut context) {
                Poll::Ready(Some(Ok(message))) => drop(black_box(message)),
                other => panic!("{other:?}"),
            }
        }
    })
}

fn fastwebsockets(bytes: &[u8], frames: usize) -> Case {
    let mut socket = FastWebSocket::after_handshake(Memory::new(bytes), FastRole::Client);
    socket.set_auto_close(false);
    socket.set_auto_pong(false);
    Case::new("fastwebsockets", move || {
        for _ in 0..frames {
            let frame = now(socket.read_frame()).expect("a good frame");
            black_box(&frame.payload);
        }
    })
}

/// 200 B and 2 KiB; one frame a read, and 16 KiB of them.
pub fn groups() -> Vec<Group> {
    let mut groups = Vec::new();
    for (size_name, size) in [("200 B", 200), ("2 KiB", 2_048)] {
        let mut message = match size {
            200 => messages::binance_trade("BTCUSDT", 3_735_683_259),
            _ => messages::binance_update_of("BTCUSDT", 7, 20),
        };
        message.resize(size, b' ');
        let many = (16 << 10) / (size + 4);
        for (read_name, frames) in [("1 a read", 1), ("16 KiB a read", many)] {
            let bytes = wire::batch((0..frames).map(|_| message.as_slice()));
            let small = WebSocketConfig::default().read_buffer_size(4 << 10);
            let cases = vec![
                ours(&bytes, frames),
                tungstenite("tungstenite, default", &bytes, frames, None),
                tungstenite("tungstenite, 4 KiB buffer", &bytes, frames, Some(small)),
                tokio_tungstenite(&bytes, frames),
                fastwebsockets(&bytes, frames),
            ];
            groups.push(Group::new(format!("frame {size_name}, {read_name}"), frames, cases));
        }
    }
    groups
}
