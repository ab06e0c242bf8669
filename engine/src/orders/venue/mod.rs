//! What a venue's order entry looks like: requests to bytes, bytes to answers and statements. One folder per venue.
//!
//! A gateway holds the keys and knows the venue's texts; it knows no table of orders and no socket. Time and random
//! bytes are arguments. After warm-up it allocates nothing: texts go to buffers that are reused.
//!
//! Which answers are definitive (the ledger ends the order, or the consumer may go on) and which are unknown (the ledger
//! asks) is a table in each venue's `decode.rs`, with a test per row.

pub mod binance;
pub mod coinbase;
pub mod kraken;

use crate::directory::Directory;
use crate::ids::Listing;
use crate::raw::DecodeError;

use super::ledger::{Ledger, Outcome, Purpose, Tag};
use super::life::OrderNews;
use super::order::Order;

/// How a request leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Transport {
    /// A text frame on the connection for orders; the text is in `body`.
    #[default]
    Frame,
    /// HTTP GET of `path`.
    Get,
    /// HTTP POST of `body` to `path`.
    Post,
    /// HTTP DELETE of `path`.
    Delete,
}

/// One request, ready to be written. Reused for the next; its buffers keep their memory.
#[derive(Clone, Debug, Default)]
pub struct Outgoing {
    /// How it leaves.
    pub transport: Transport,
    /// Asked of the gateway: write it for HTTP even where a frame would do. There may be no connection.
    pub by_http: bool,
    /// Path and query; empty for a frame.
    pub path: Vec<u8>,
    /// Whole header lines, each ended by CR LF, beside those that every HTTP request has.
    pub headers: Vec<u8>,
    /// Frame text or HTTP body.
    pub body: Vec<u8>,
}

impl Outgoing {
    /// With room for common requests.
    pub fn new() -> Self {
        Self {
            transport: Transport::Frame,
            by_http: false,
            path: Vec::with_capacity(1_024),
            headers: Vec::with_capacity(1_024),
            body: Vec::with_capacity(2_048),
        }
    }

    pub(super) fn start(&mut self, transport: Transport) {
        self.transport = transport;
        self.path.clear();
        self.headers.clear();
        self.body.clear();
    }
}

/// Time and chance for one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Milliseconds since the Unix epoch, by a clock that follows the venue's.
    pub unix_ms: u64,
    /// Larger for each request made with the same key, over restarts: nanoseconds since the Unix epoch will do.
    pub nonce: u64,
    /// 128 bits that nobody can guess; only Coinbase's tokens use them.
    pub random: u128,
}

/// Why a request cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The venue has no such thing.
    #[error("the venue does not have {0}")]
    Unsupported(&'static str),
    /// A token must be fetched first.
    #[error("no session token yet")]
    NoToken,
}

/// One thing that a venue said.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Incoming {
    /// The answer to a request: for [`Ledger::answer`](super::Ledger::answer).
    Answer {
        /// Which request.
        tag: Tag,
        /// What it says.
        outcome: Outcome,
        /// What it says of the order.
        news: OrderNews,
    },
    /// An entry of a list that was asked for: for [`Ledger::listed`](super::Ledger::listed).
    Item {
        /// Which request.
        tag: Tag,
        /// The entry.
        news: OrderNews,
    },
    /// The list's end: for [`Ledger::list_end`](super::Ledger::list_end).
    End {
        /// Which request.
        tag: Tag,
        /// Unless the venue has more of it than it sent.
        complete: bool,
    },
    /// Something that happened: for [`Ledger::news`](super::Ledger::news).
    News(OrderNews),
    /// The private stream is joined: for [`Ledger::session_joined`](super::Ledger::session_joined).
    Joined,
    /// The private stream ended, or lost frames, though the connection stands: leave it and join again.
    Lost,
    /// The session was refused; the code and text are in the news.
    Refused(OrderNews),
    /// A token for the session was given and kept.
    Token,
    /// The venue counts this many of the orders that it allows in the interval, both of the tightest limit.
    Used {
        /// Used so far.
        used: u32,
        /// Allowed.
        limit: u32,
        /// In an interval of this many milliseconds.
        window_ms: u64,
    },
    /// The list that was asked for has another page: ask with the same tag.
    More {
        /// Which request.
        tag: Tag,
    },
    /// Too many requests: stop for so many milliseconds, if it says.
    Limited {
        /// Milliseconds.
        wait_ms: Option<u64>,
    },
    /// The venue's clock, asked for by [`OrderGateway::clock`].
    VenueTime {
        /// Milliseconds since the Unix epoch.
        unix_ms: u64,
    },
    /// Our time stamp was refused: ask for the clock.
    ClockOff,
}

/// How a step of the session's beginning goes, and what follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JoinStep {
    /// A frame; the next step at once.
    Send,
    /// A frame; the next step when it was answered with [`Incoming::Token`].
    SendAndWait,
    /// An HTTP call; the next step when it was answered with [`Incoming::Token`].
    Call,
}

/// Questions that can be asked as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Those of the same kind go together.
    pub kind: u8,
    /// Orders that one question can name.
    pub orders_max: usize,
}

/// A venue's order entry. One value serves one account.
pub trait OrderGateway {
    /// The venue.
    fn name(&self) -> &'static str;

    /// How long after the send "no such order" can be believed, in nanoseconds.
    fn not_found_final_ns(&self) -> u64;

    /// Whether requests of this kind go by frame on the private connection, and not by HTTP.
    fn by_frame(&self, purpose: Purpose) -> bool;

    /// Whether cancels and questions reach the venue by HTTP while there is no private connection.
    fn works_without_session(&self) -> bool;

    /// HTTP calls that may be under way at once. 1 where they must arrive in order.
    fn calls_max(&self) -> usize {
        4
    }

    /// How a step of [`join`](Self::join) goes.
    fn join_step(&self, step: u32) -> JoinStep {
        let _ = step;
        JoinStep::Send
    }

    /// Whether [`clock`](Self::clock) asks anything.
    fn has_clock(&self) -> bool {
        false
    }

    /// Writes a frame that asks for the venue's clock; the answer is [`Incoming::VenueTime`].
    fn clock(&mut self, out: &mut Outgoing) {
        out.start(Transport::Frame);
    }

    /// Whether [`prepare`](Self::prepare) would make the next new order faster.
    fn wants_token(&self, stamp: &Stamp) -> bool {
        let _ = stamp;
        false
    }

    /// Does ahead, off the hot path, what the next new order needs.
    fn prepare(&mut self, stamp: &Stamp) {
        let _ = stamp;
    }

    /// Writes the requests that join the private stream, in their order: `step` 0 first, until `false`. A step may need
    /// the answer to the one before ([`Incoming::Token`]).
    ///
    /// # Errors
    /// [`EncodeError`]
    fn join(&mut self, step: u32, stamp: &Stamp, out: &mut Outgoing) -> Result<bool, EncodeError>;

    /// Writes a new order.
    ///
    /// # Errors
    /// [`EncodeError`]: nothing may be sent, and the order is to be rejected.
    fn place(
        &mut self,
        tag: Tag,
        order: &Order,
        directory: &Directory,
        stamp: &Stamp,
        out: &mut Outgoing,
    ) -> Result<(), EncodeError>;

    /// Writes the cancel of an order.
    ///
    /// # Errors
    /// [`EncodeError`]
    fn cancel(
        &mut self,
        tag: Tag,
        order: &Order,
        directory: &Directory,
        stamp: &Stamp,
        out: &mut Outgoing,
    ) -> Result<(), EncodeError>;

    /// Writes the cancel of everything that is open on an instrument, whoever ordered it (Kraken: on the account).
    ///
    /// # Errors
    /// [`EncodeError`]
    fn cancel_all(
        &mut self,
        listing: Listing,
        directory: &Directory,
        stamp: &Stamp,
        out: &mut Outgoing,
    ) -> Result<(), EncodeError>;

    /// Writes the question where an order stands; `attempt` is that of [`Query::Order`](super::ledger::Query::Order).
    ///
    /// # Errors
    /// [`EncodeError`]
    fn query(
        &mut self,
        tag: Tag,
        attempt: u32,
        order: &Order,
        directory: &Directory,
        stamp: &Stamp,
        out: &mut Outgoing,
    ) -> Result<(), EncodeError>;

    /// Writes the question for all open orders.
    ///
    /// # Errors
    /// [`EncodeError`]
    fn open_orders(&mut self, tag: Tag, stamp: &Stamp, out: &mut Outgoing) -> Result<(), EncodeError>;

    /// Writes the question for the executions of an order.
    ///
    /// # Errors
    /// [`EncodeError`]
    fn fills(
        &mut self,
        tag: Tag,
        order: &Order,
        directory: &Directory,
        stamp: &Stamp,
        out: &mut Outgoing,
    ) -> Result<(), EncodeError>;

    /// Whether the question `tag`, by HTTP, can go together with others of its kind; `None`: by itself only.
    fn batch(&self, tag: Tag, order: &Order) -> Option<Batch> {
        let _ = (tag, order);
        None
    }

    /// Writes several questions of one [`Batch`] as one. It is answered under the first tag; what
    /// [`decode_http`](Self::decode_http) makes of that carries the tag of each.
    ///
    /// # Errors
    /// [`EncodeError`]
    fn query_batch(
        &mut self,
        tags: &[Tag],
        orders: &Ledger,
        stamp: &Stamp,
        out: &mut Outgoing,
    ) -> Result<(), EncodeError> {
        let _ = (tags, orders, stamp, out);
        Err(EncodeError::Unsupported("several orders in one question"))
    }

    /// Decodes a text frame of the private connection, appending to `incoming`.
    ///
    /// # Errors
    /// [`DecodeError`]; never a panic. What was appended before the error holds.
    fn decode_frame(&mut self, frame: &mut [u8], incoming: &mut Vec<Incoming>) -> Result<(), DecodeError>;

    /// Decodes the answer to an HTTP request. `status` is 0 if none came: the connection broke or time ran out.
    ///
    /// # Errors
    /// As [`decode_frame`](Self::decode_frame). The answer to a new order is then unknown, and is appended as such.
    fn decode_http(
        &mut self,
        tag: Tag,
        status: u16,
        body: &mut [u8],
        incoming: &mut Vec<Incoming>,
    ) -> Result<(), DecodeError>;
}

/// Texts without `format!`.
pub(super) mod write {
    use crate::decimal::{Number, power_of_ten};

    /// A whole number.
    pub fn u64(mut value: u64, out: &mut Vec<u8>) {
        let mut digits = [0; 20];
        let mut at = digits.len();
        loop {
            at -= 1;
            digits[at] = b'0' + (value % 10) as u8;
            value /= 10;
            if value == 0 {
                break;
            }
        }
        out.extend_from_slice(&digits[at..]);
    }

    /// A decimal number, without superfluous zeros behind the point.
    pub fn number(number: Number, out: &mut Vec<u8>) {
        let number = number.trimmed();
        if number.mantissa < 0 {
            out.push(b'-');
        }
        let magnitude = number.mantissa.unsigned_abs();
        let power = power_of_ten(number.decimals.min(18)) as u64;
        u64(magnitude / power, out);
        if number.decimals > 0 {
            out.push(b'.');
            let fraction = magnitude % power;
            let mut leading = power / 10;
            while leading > fraction && leading > 1 {
                out.push(b'0');
                leading /= 10;
            }
            u64(fraction, out);
        }
    }

    /// Bytes as lower-case hexadecimal.
    pub fn hex(bytes: &[u8], out: &mut Vec<u8>) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        for byte in bytes {
            out.push(DIGITS[usize::from(byte >> 4)]);
            out.push(DIGITS[usize::from(byte & 15)]);
        }
    }

    /// Bytes as base 64: the common alphabet with padding, or the one for URLs without.
    pub fn base64(bytes: &[u8], url: bool, out: &mut Vec<u8>) {
        use base64::Engine as _;
        use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
        let start = out.len();
        out.resize(start + bytes.len().div_ceil(3) * 4, 0);
        let engine = if url { &URL_SAFE_NO_PAD } else { &STANDARD };
        let written = engine.encode_slice(bytes, &mut out[start..]).unwrap_or(0); // there is room for any padding
        out.truncate(start + written);
    }

    /// Bytes percent-encoded, but for the unreserved characters of RFC 3986.
    pub fn percent(bytes: &[u8], out: &mut Vec<u8>) {
        const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
        for &byte in bytes {
            if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
                out.push(byte);
            } else {
                out.extend_from_slice(&[
                    b'%',
                    DIGITS[usize::from(byte >> 4)],
                    DIGITS[usize::from(byte & 15)],
                ]);
            }
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn numbers_print_as_they_were_parsed() {
            let text = |number: Number| {
                let mut out = Vec::new();
                super::number(number, &mut out);
                String::from_utf8(out).expect("ASCII")
            };
            for case in
                ["0", "1", "0.5", "0.00000001", "64210.1", "-0.05", "92233720368547758.07", "10", "100.01"]
            {
                assert_eq!(text(Number::parse(case.as_bytes()).expect("a number")), case);
            }
            assert_eq!(text(Number { mantissa: 1_500, decimals: 3 }), "1.5");
            assert_eq!(text(Number { mantissa: i64::MIN, decimals: 18 }), "-9.223372036854775808");
            for seed in 0..2_000 {
                let mut random = fastrand::Rng::with_seed(seed);
                let number = Number { mantissa: random.i64(..), decimals: random.u8(0..=18) };
                let expected = number.trimmed().to_string();
                assert_eq!(text(number), expected, "seed {seed}");
            }
        }

        #[test]
        fn reserved_characters_are_escaped() {
            let mut out = Vec::new();
            percent(b"a+b/c=", &mut out);
            assert_eq!(out, b"a%2Bb%2Fc%3D");
        }
    }
}

/// Reading venues' JSON, where a field may be absent but not nonsense.
pub(super) mod read {
    use crate::decimal::Number;
    use crate::json::{Object, Value};
    use crate::orders::id::ClientOrderId;
    use crate::orders::life::ClientKey;
    use crate::orders::text::Text;
    use crate::raw::DecodeError;

    /// A decimal in quotes; absent if the field is.
    pub fn number<'a>(object: impl Object<'a>, field: &'static str) -> Result<Option<Number>, DecodeError> {
        match object.get(field).and_then(Value::bytes) {
            None | Some(b"") => Ok(None),
            Some(text) => {
                Number::parse(text).map(Some).map_err(|error| DecodeError::Decimal { field, error })
            }
        }
    }

    /// A decimal in quotes that must be there.
    pub fn needed<'a>(object: impl Object<'a>, field: &'static str) -> Result<Number, DecodeError> {
        number(object, field)?.ok_or(DecodeError::Missing { field })
    }

    /// A text, `""` if absent.
    pub fn text<'a>(object: impl Object<'a>, field: &str) -> &'a [u8] {
        object.get(field).and_then(Value::bytes).unwrap_or_default()
    }

    /// An id, which is never cut.
    pub fn id<const N: usize>(text: &[u8], field: &'static str) -> Result<Text<N>, DecodeError> {
        Text::new(text).ok_or(DecodeError::Invalid { field })
    }

    /// A number as an id's text.
    pub fn number_id<const N: usize>(number: u64) -> Text<N> {
        let mut digits = [0; 20];
        let (mut at, mut value) = (digits.len(), number);
        loop {
            at -= 1;
            digits[at] = b'0' + (value % 10) as u8;
            value /= 10;
            if value == 0 {
                break;
            }
        }
        Text::cut(&digits[at..])
    }

    /// Our id, if it can be one.
    pub fn key(text: &[u8]) -> ClientKey {
        ClientOrderId::parse(text).map_or(ClientKey::Absent, ClientKey::Text)
    }
}

#[cfg(test)]
pub(super) mod tests;
