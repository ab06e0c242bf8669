//! Endpoints that speak, but not as a venue does: HTML, a redirect, 60 MB, headers without end, a byte a second, nothing. Each is named and tried again with
//! pauses, over REST and over WebSocket, and the neighbour on the same shard notices nothing.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::rig::{ProviderSpec, Rig, plain, venue};

/// Bytes of the longest answer.
const HUGE_BYTES: usize = 60 << 20;
/// Connections that one endpoint may see in this test: pauses double, and no try is followed by another at once.
const TRIES_MAX: usize = 100;

/// What an endpoint says to whatever is asked.
#[derive(Clone, Copy)]
enum Answer {
    Html,
    Redirect,
    Huge,
    EndlessHeaders,
    ByteASecond,
    Nothing,
}

impl Answer {
    fn give(self, stream: &mut TcpStream) -> std::io::Result<()> {
        let page = "<html><body>Under maintenance</body></html>";
        match self {
            Self::Html => write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\r\n{page}",
                page.len()
            ),
            Self::Redirect => write!(
                stream,
                "HTTP/1.1 302 Found\r\nLocation: https://example.org/\r\nContent-Length: 0\r\n\r\n"
            ),
            Self::Huge => {
                write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {HUGE_BYTES}\r\n\r\n")?;
                let piece = vec![b'['; 64 << 10];
                (0..HUGE_BYTES / piece.len()).try_for_each(|_| stream.write_all(&piece))
            }
            Self::EndlessHeaders => {
                write!(stream, "HTTP/1.1 101 Switching Protocols\r\n")?;
                loop {
                    write!(stream, "X-Padding: 0123456789abcdef\r\n")?;
                }
            }
            Self::ByteASecond => b"HTTP/1.1 101 Switching Protocols\r\n".chunks(1).try_for_each(|byte| {
                std::thread::sleep(std::time::Duration::from_secs(1));
                stream.write_all(byte)
            }),
            Self::Nothing => Ok(()),
        }
    }
}

/// An endpoint that counts its connections. Its threads end with the process.
fn endpoint(answer: Answer) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&tries);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            counted.fetch_add(1, Ordering::Relaxed);
            std::thread::spawn(move || {
                let mut request = [0; 4_096];
                while stream.read(&mut request).is_ok_and(|count| count > 0) {
                    if answer.give(&mut stream).is_err() {
                        return;
                    }
                }
            });
        }
    });
    (address, tries)
}

#[test]
fn endpoints_that_are_no_venue_are_named_and_disturb_nobody() {
    let cases = [
        ("html", Answer::Html, "HTTP 200"),
        ("redirect", Answer::Redirect, "HTTP 302"),
        ("huge", Answer::Huge, "HTTP 200"),
        ("endless", Answer::EndlessHeaders, "more than 64 headers"),
        ("trickle", Answer::ByteASecond, "no answer within 10 s"),
        ("nothing", Answer::Nothing, "no answer within 10 s"),
    ];
    let neighbour = venue(2, 50.0);
    let endpoints = cases.map(|(_, answer, _)| endpoint(answer));
    let mut specs: Vec<ProviderSpec> = cases
        .iter()
        .zip(&endpoints)
        .map(|((name, ..), (address, _))| ProviderSpec {
            name,
            venue: "binance",
            address: *address,
            tls: None,
        })
        .collect();
    specs.push(plain("neighbour", &neighbour));
    let mut rig = Rig::observed(&specs);
    rig.wait("each endpoint named twice", |rig| {
        cases.iter().all(|(name, _, words)| {
            let said = |what: &str| {
                rig.happened.iter().filter(|(provider, text)| provider == name && text.contains(what)).count()
            };
            said("GET /api/v3/exchangeInfo failed") >= 1
                && said(words) >= 2
                && said("line 0 failed: ") >= 2
                && said("; tried again in ") >= 2
        })
    });
    let at =
        |rig: &Rig| rig.board.providers().find(|status| usize::from(status.provider) == cases.len()).copied();
    rig.wait("the neighbour's books", |rig| at(rig).is_some_and(|at| at.books == 3 && at.books_proved == 3));
    let before = at(&rig).map_or(0, |status| status.counts.messages_total);
    rig.wait("the neighbour's messages", |rig| {
        at(rig).is_some_and(|at| at.counts.messages_total > before + 100)
    });
    for ((name, ..), (_, tries)) in cases.iter().zip(&endpoints) {
        let tries = tries.load(Ordering::Relaxed);
        assert!((1..=TRIES_MAX).contains(&tries), "{name}: {tries} connections");
    }
    let ended = rig.finish();
    for (provider, (name, ..)) in ended.providers.iter().zip(&cases) {
        assert!(provider.lost_total >= 2 && provider.rest.failed_total >= 1, "{name}: {:?}", provider.rest);
    }
    let neighbour = &ended.providers[cases.len()];
    assert_eq!(
        (neighbour.lost_total, neighbour.counts.gaps_total, neighbour.counts.resyncs_total),
        (0, 0, 0)
    );
}
