//! What is fuzzed in the shards: one function a target, which panics on a finding. Nothing here knows who makes the bytes.

use std::sync::OnceLock;

use engine::catalog::{Catalog, ProviderFacts, StreamFacts};
use engine::channel::Channel;
use engine::decimal::{Price, Qty};
use engine::event::{Body, Event, Gap, GapReason, SCHEMA_VERSION, Side, Trade};
use engine::ids::InstrumentId;
use shards::consumers::recorder::format::{
    End, FILE_HEAD_BYTES, FileFacts, Lost, Tag, put_event, record, seal,
};
use shards::control::http::{BODY_BYTES_MAX, HEAD_BYTES_MAX, Parsed, parse};
use shards::control::merge_order::{self, JoinOrder, MergedOrder};
use shards::control::order::Order;
use shards::host::{CpuSet, HostCores};
use shards::machine::http::ResponseParser;
use shards::replay::recording::{Item, read, replay_recording};
use shards::topology::{self, Against, CONSUMER_KINDS, Product, Topology, TopologyErrors};

use super::driver::Target;

/// All of them.
pub const TARGETS: [Target; 5] = [
    Target { name: "topology", run: topology, seeds: topology_seeds, runs: 3_000 },
    Target { name: "control_http", run: control_http, seeds: control_http_seeds, runs: 60_000 },
    Target { name: "control_orders", run: control_orders, seeds: control_orders_seeds, runs: 50_000 },
    Target { name: "rest_response", run: rest_response, seeds: rest_response_seeds, runs: 60_000 },
    Target { name: "recording", run: recording, seeds: recording_seeds, runs: 4_000 },
];

// --- topology ----------------------------------------------------------------------------------------------------------

const TOPOLOGY: &str = include_str!("../../../topology.yaml");

fn read_topology(text: &str) -> Result<Topology, TopologyErrors> {
    let cores = HostCores {
        online: CpuSet::parse("0-3").expect("a list"),
        allowed: CpuSet::parse("0-2").expect("a list"),
    };
    let lists = |_: Product, symbol: &str| symbol != "ABC-USDT";
    let against =
        Against { cores: Some(&cores), consumer_kinds: &CONSUMER_KINDS, simulated_lists: Some(&lists) };
    topology::read("t.yaml", text, against)
}

/// A file: accepted, and then the same the second time; or refused in words.
fn topology(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    match read_topology(text) {
        Ok(accepted) => {
            let again = read_topology(text).expect("accepted again");
            assert_eq!(format!("{accepted:?}"), format!("{again:?}"));
            true
        }
        Err(errors) => {
            assert!(!errors.to_string().trim().is_empty());
            false
        }
    }
}

/// The shipped file without its comments, small enough that a change hits something; and corners of YAML.
fn topology_seeds() -> Vec<Vec<u8>> {
    let bare: String = TOPOLOGY
        .lines()
        .map(|line| line.split(" #").next().unwrap_or_default().trim_end())
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .flat_map(|line| [line, "\n"])
        .collect();
    [bare.as_str(), "version: 1\nhost: [a, {b: c}]\n", "&a [*a]\n", "{version: 1, version: 1}"]
        .map(|text| text.as_bytes().to_vec())
        .to_vec()
}

// --- the control endpoint ------------------------------------------------------------------------------------------------

/// A request: taken when it is whole, not before, and the same whatever follows; its parts within their bounds.
fn control_http(data: &[u8]) -> bool {
    let Parsed::Whole(request, taken) = parse(data) else { return false };
    assert!(taken <= data.len() && request.body.len() <= BODY_BYTES_MAX);
    assert!(taken - request.body.len() <= HEAD_BYTES_MAX && request.path.starts_with('/'));
    for end in [taken - 1, taken / 2, taken.saturating_sub(request.body.len() / 2 + 1)] {
        assert_eq!(parse(&data[..end]), Parsed::Partial, "{end} of {taken}");
    }
    assert_eq!(parse(&data[..taken]), Parsed::Whole(request.clone(), taken));
    assert_eq!(parse(&[&data[..taken], b"GET"].concat()), Parsed::Whole(request, taken));
    true
}

fn control_http_seeds() -> Vec<Vec<u8>> {
    [
        "GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:9464\r\n\r\n",
        "POST /subscriptions?x=1 HTTP/1.1\r\nHost: [::1]\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
        "POST /kill HTTP/1.1\r\nAuthorization: Bearer abc\r\nConnection: close\r\nOrigin: null\r\nContent-Length: 0\r\n\r\n",
        "POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET / HTTP/1.0\n\n",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

/// A body of the endpoint that changes something, to everything that might read it: an order, or a refusal in words.
fn control_orders(data: &[u8]) -> bool {
    static TOPOLOGY_READ: OnceLock<Topology> = OnceLock::new();
    let topology = TOPOLOGY_READ.get_or_init(|| read_topology(TOPOLOGY).expect("the shipped file"));
    let Ok(body) = serde_json::from_slice(data) else { return false };
    let refused = |refusal: shards::control::order::Refusal| {
        assert!((400..500).contains(&refusal.status), "{refusal:?}");
        assert!(!refusal.reason.is_empty(), "{refusal:?}");
    };
    let mut taken = false;
    for subscribe in [true, false] {
        taken |= Order::of_json(topology, subscribe, &body).map_err(refused).is_ok();
        taken |= MergedOrder::of_json(topology, subscribe, &body).map_err(refused).is_ok();
    }
    taken |= JoinOrder::of_json(topology, &body).map_err(refused).is_ok();
    taken |= merge_order::name_of(&body).map_err(refused).is_ok();
    taken
}

fn control_orders_seeds() -> Vec<Vec<u8>> {
    [
        r#"{"consumer":"stats","provider":"binance","symbols":["BTC-USDT"],"channels":["trade","book"]}"#,
        r#"{"consumer":"stats","provider":"kraken","symbols":"all","channels":["trade"],"delivery":"lossless"}"#,
        r#"{"consumer":"stats","merge":"best","symbols":["BTC-USDT"]}"#,
        r#"{"name":"late","kind":"bbo","shard":"merge0","inputs":{"binance":["BTC-USDT"],"kraken":["BTC-USD"]},"window_s":10,"count":1000,"partial":"suppress"}"#,
        r#"{"name":"late"}"#,
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

// --- answers of REST endpoints --------------------------------------------------------------------------------------------

/// A response in one piece and in two: the same, and within its bounds.
fn rest_response(data: &[u8]) -> bool {
    const BODY_MAX: usize = 256;
    let answer = |pieces: &[&[u8]]| {
        let mut parser = ResponseParser::new(&["retry-after"], BODY_MAX);
        let mut taken = 0;
        for piece in pieces {
            match parser.feed(piece) {
                Ok(count) => taken += count,
                Err(error) => return Err(error.to_string()),
            }
        }
        parser.end().map_err(|error| error.to_string())?;
        let keep_alive = parser.keep_alive();
        Ok((format!("{:?}", parser.take()), keep_alive, taken))
    };
    let whole = answer(&[data]);
    let (front, back) = data.split_at(data.len() / 2);
    assert_eq!(answer(&[front, back]), whole);
    let bytes: Vec<&[u8]> = data.chunks(1).collect();
    assert_eq!(answer(&bytes), whole);
    whole.is_ok()
}

fn rest_response_seeds() -> Vec<Vec<u8>> {
    [
        "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody",
        "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nX: y\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\nuntil the end",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

// --- recordings -----------------------------------------------------------------------------------------------------------

/// The head of a file for one provider with two streams.
fn recording_head() -> Vec<u8> {
    let stream = |channel| StreamFacts {
        symbol: "BTC-USDT".to_owned(),
        venue_symbol: "BTCUSDT".to_owned(),
        instrument: InstrumentId(0),
        channel,
    };
    let provider = ProviderFacts {
        name: "binance".to_owned(),
        venue: "binance".to_owned(),
        streams: vec![stream(Channel::Trade), stream(Channel::Book { speed_ms: 100 })],
    };
    let catalog = Catalog { providers: vec![provider], symbols: vec!["BTC-USDT".to_owned()] };
    let facts = FileFacts {
        index: 0,
        recorder: "disk".to_owned(),
        started_at: "2026-11-21T00:00:00Z".to_owned(),
        program: "0".to_owned(),
        zero_unix_ns: None,
        catalog,
    };
    facts.encode()
}

/// A byte of options, then the bytes of a recording. With the lowest bit set what follows is records whose checksums are
/// made, since no mutation would find them: a tag, one byte of length, a payload. Everything that is read is an event of the
/// file's own streams, a hole, or an error in words.
fn recording(data: &[u8]) -> bool {
    let Some((&options, data)) = data.split_first() else { return false };
    let mut bytes = data.to_vec();
    if options & 1 == 1 {
        bytes = recording_head();
        let mut rest = data;
        while let [tag, parts, length, after @ ..] = rest {
            let (payload, after) = after.split_at(usize::from(*length).min(after.len()));
            let tag = [Tag::Events, Tag::Lost, Tag::End][usize::from(*tag) % 3];
            let mut whole = record(tag, payload);
            seal(&mut whole, tag, u32::from(*parts));
            bytes.extend_from_slice(&whole);
            rest = after;
        }
    }
    let path = std::env::temp_dir().join(format!("meltica-fuzz-{}-000000.rec", std::process::id()));
    std::fs::write(&path, &bytes).expect("the temporary directory");
    let (mut events, mut has_facts) = (0_u64, false);
    let extent = read(std::slice::from_ref(&path), |item| match item {
        Item::Event(_) => events += 1,
        Item::Facts(_) => has_facts = true,
        Item::Hole(hole) => assert!(!hole.to_string().is_empty()),
    });
    let replayed = replay_recording(std::slice::from_ref(&path));
    let _ = std::fs::remove_file(&path);
    match extent {
        Ok(extent) => {
            assert!(
                extent.bytes <= bytes.len() as u64 && extent.parts == events,
                "{extent:?}, {events} events"
            );
            match replayed {
                Ok(outcome) => assert_eq!(outcome.extent.parts, events),
                Err(error) => assert!(!has_facts, "what has a head can be replayed: {error}"),
            }
            events > 0
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            false
        }
    }
}

fn recording_seeds() -> Vec<Vec<u8>> {
    let bodies = [
        Body::Trade(Trade { price: Price(6_421_010), qty: Qty(5), id: 7, taker_side: Side::Buy }),
        Body::Gap(Gap { from: 8, to: 9, event_count: 2, reason: GapReason::SlowConsumer }),
    ];
    let mut events = Vec::new();
    for body in bodies {
        let mut event = Event { body, ..Event::default() };
        event.header.schema = SCHEMA_VERSION;
        put_event(&event, &mut events);
    }
    let mut block = record(Tag::Events, &events);
    seal(&mut block, Tag::Events, 2);
    let lost = Lost { parts: 3, first_receive_ns: 1, last_receive_ns: 2 }.payload();
    let end = End { closed: true, parts: 2, lost_parts: 3 }.payload();
    let head = recording_head();
    assert!(head.len() > FILE_HEAD_BYTES);
    let whole = [&[0], &head[..], &block, &record(Tag::Lost, &lost), &record(Tag::End, &end)].concat();
    let mut made = vec![1];
    for (tag, parts, payload) in [(0, 2, &events), (1, 0, &lost), (2, 0, &end)] {
        made.extend_from_slice(&[tag, parts, payload.len() as u8]);
        made.extend_from_slice(payload);
    }
    vec![whole, made]
}
