//! As much of Binance Spot as a measurement needs: answers what is asked at the start, takes the subscription, and then hands
//! the connection to whoever sends the schedule.
//!
//! Answers come from threads that block; nothing of it is on the path that is measured.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread;

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::{Message, Role, WebSocket};

use super::schedule::SNAPSHOT_NUMBER;
use crate::messages;

/// The longest head of a request.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// Levels a side of the snapshot.
const SNAPSHOT_LEVELS: usize = 500;

/// A connection of the gateway, as this side sees it.
pub enum Link {
    /// `ws://`.
    Plain(TcpStream),
    /// `wss://`.
    Tls(Box<StreamOwned<ServerConnection, TcpStream>>),
}

impl Link {
    /// From here on a write that does not fit returns at once.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn set_nonblocking(&self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.set_nonblocking(true),
            Self::Tls(stream) => stream.sock.set_nonblocking(true),
        }
    }
}

impl Read for Link {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(bytes),
            Self::Tls(stream) => stream.read(bytes),
        }
    }
}

impl Write for Link {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

/// A listening venue.
pub struct Venue {
    /// Where it listens.
    pub address: SocketAddr,
    /// A connection whose subscription was taken. There is one, if all streams fit one connection.
    pub subscribed: Receiver<Link>,
}

impl Venue {
    /// Listens on loopback, over TLS if a certificate is given, and lists `symbols`. Every book's snapshot is `snapshot`,
    /// or one made here.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn start(
        symbols: &[String],
        tls: Option<Arc<ServerConfig>>,
        snapshot: Option<Vec<u8>>,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let list = Arc::new(instrument_list(symbols));
        let snapshot =
            snapshot.unwrap_or_else(|| messages::binance_snapshot(SNAPSHOT_NUMBER, SNAPSHOT_LEVELS));
        let snapshot = Arc::new(snapshot);
        let (sender, subscribed) = mpsc::channel();
        thread::spawn(move || {
            for socket in listener.incoming() {
                let Ok(socket) = socket else { return };
                let (list, snapshot) = (Arc::clone(&list), Arc::clone(&snapshot));
                let (tls, sender) = (tls.clone(), sender.clone());
                // A connection that ends is the gateway's business; it says why.
                thread::spawn(move || {
                    if let Ok(Some(link)) = serve(socket, tls, &list, &snapshot) {
                        let _ = sender.send(link);
                    }
                });
            }
        });
        Ok(Self { address, subscribed })
    }
}

/// Serves one connection to its end, or until it has subscribed.
fn serve(
    socket: TcpStream,
    tls: Option<Arc<ServerConfig>>,
    list: &str,
    snapshot: &[u8],
) -> io::Result<Option<Link>> {
    socket.set_nodelay(true)?;
    let mut link = match tls {
        None => Link::Plain(socket),
        Some(config) => {
            let session = ServerConnection::new(config).map_err(io::Error::other)?;
            Link::Tls(Box::new(StreamOwned::new(session, socket)))
        }
    };
    loop {
        let Some(head) = read_head(&mut link)? else { return Ok(None) };
        let path = head.split(' ').nth(1).unwrap_or_default();
        if let Some(key) = header(&head, "sec-websocket-key") {
            let answer = format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n\r\n",
                derive_accept_key(key.as_bytes())
            );
            link.write_all(answer.as_bytes())?;
            link.flush()?;
            return subscribe(link).map(Some);
        }
        let body = if path.starts_with("/api/v3/exchangeInfo") {
            list.as_bytes().to_vec()
        } else if path.starts_with("/api/v3/depth") {
            snapshot.to_vec()
        } else {
            b"[]".to_vec()
        };
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        link.write_all(head.as_bytes())?;
        link.write_all(&body)?;
        link.flush()?;
    }
}

/// One request's head; `None` at the connection's end. Requests here have no body.
fn read_head(link: &mut Link) -> io::Result<Option<String>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if head.len() == HEAD_BYTES_MAX || link.read(&mut byte)? == 0 {
            return Ok(None);
        }
        head.push(byte[0]);
    }
    Ok(Some(String::from_utf8_lossy(&head).into_owned()))
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.lines().filter_map(|line| line.split_once(':'));
    lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

/// Takes the subscription and confirms it.
fn subscribe(link: Link) -> io::Result<Link> {
    let mut websocket = WebSocket::from_raw_socket(link, Role::Server, None);
    loop {
        let Message::Text(text) = websocket.read().map_err(io::Error::other)? else { continue };
        let Some(id) = text.split("\"id\":").nth(1) else { continue };
        let digits: String = id.chars().take_while(char::is_ascii_digit).collect();
        let answer = format!("{{\"result\":null,\"id\":{digits}}}");
        websocket.send(Message::Text(answer.into())).map_err(io::Error::other)?;
        return Ok(websocket.into_inner());
    }
}

/// `/api/v3/exchangeInfo` with these symbols, all of which trade against USDT.
fn instrument_list(symbols: &[String]) -> String {
    let entries = symbols.iter().map(|symbol| {
        let base = symbol.trim_end_matches("USDT");
        format!(
            "{{\"symbol\":\"{symbol}\",\"status\":\"TRADING\",\"baseAsset\":\"{base}\",\"baseAssetPrecision\":8,\
             \"quoteAsset\":\"USDT\",\"quotePrecision\":8,\"quoteAssetPrecision\":8,\"isSpotTradingAllowed\":true,\"filters\":[\
             {{\"filterType\":\"PRICE_FILTER\",\"minPrice\":\"0.01\",\"maxPrice\":\"1000000\",\"tickSize\":\"0.01\"}},\
             {{\"filterType\":\"LOT_SIZE\",\"minQty\":\"0.00001\",\"maxQty\":\"9000\",\"stepSize\":\"0.00001\"}}]}}"
        )
    });
    format!("{{\"symbols\":[{}]}}", entries.collect::<Vec<_>>().join(","))
}
