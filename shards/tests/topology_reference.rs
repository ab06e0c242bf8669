//! `docs/topology.md` is what the strict reader says of itself: this test asks it for every key of a topology that has all of
//! them, and fails where the page says otherwise. `MELTICA_WRITE_DOCS=1 cargo test -p shards --test topology_reference` writes it.
//!
//! A key that nobody knows makes the reader list those that it takes; a key left out says whether it must be there; a value of
//! the wrong form says what fits.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use shards::topology::{Against, CONSUMER_KINDS, Problem, read};

/// A topology with every key that there is. Keys that exclude one another stand in different elements.
fn everything() -> Value {
    let pools = json!({"frames": 200, "raws": 200, "events": 300, "merged": 50, "order_requests": 20,
        "execution_reports": 20});
    let reorder = json!({"lateness_ms": 150, "flush_ms": 50, "held_events_max": 200});
    json!({
        "version": 1,
        "host": "shared",
        "shards": [
            {"name": "md0", "core": 0, "role": "provider", "pools": pools, "order_ring_requests": 64},
            {"name": "merge0", "core": 1, "role": "merger", "pools": pools, "ring_events": 4096,
             "critical_ring_events": 64, "spill_events": 4096,
             "fairness": {"high_water": 0.5, "burst_events": 32}},
            {"name": "strategies", "core": 1, "role": "consumer", "ring_events": 8192,
             "critical_ring_events": 256, "spill_events": 8192,
             "fairness": {"high_water": 0.5, "burst_events": 32}},
        ],
        "simulated": {"seed": 1, "messages_per_instrument_per_s": 20, "speed": 1.0, "book_levels": 500},
        "providers": [
            {"name": "binance", "venue": "binance", "product": "spot", "shard": "md0",
             "endpoints": {"websocket": "wss://a.example", "rest": "https://a.example", "ca_file": "ca.pem"},
             "lines": 1, "instruments": ["BTC-USDT"], "channels": ["trade", "book", "ticker"],
             "book": {"depth_max": 10000, "snapshot_limit": 1000, "verify_s": 180},
             "rest_weight_share": 0.8, "reorder": reorder,
             "roll": {"after_h": 20, "quiet_utc": "04:10-04:40"},
             "capture": {"dir": "captures", "rotate_mib": 64, "keep": 100},
             "orders": {"enabled": true, "keys": {"file": "/etc/meltica/binance.key"},
                        "websocket": "wss://b.example", "on_session_loss": "keep", "on_stop": "keep"}},
            {"name": "kraken", "venue": "kraken", "product": "spot", "shard": "md0", "endpoints": "simulated",
             "lines": 1, "instruments": ["BTC-USD"], "channels": ["trade", "ticker"],
             "rest_weight_share": 0.8, "reorder": reorder},
        ],
        "merges": [
            {"name": "best", "shard": "merge0", "kind": "bbo",
             "inputs": {"binance": ["BTC-USDT"], "kraken": ["BTC-USD"]},
             "window_s": 10, "count": 1000, "partial": "suppress", "leg_age_ms": 10000},
        ],
        "consumers": [
            {"name": "stats", "kind": "stats", "shard": "strategies", "trading": false, "on_panic": "restart",
             "limits": {"qty_max": 0.5, "notional_max": 10000, "open_orders_max": 10, "orders_per_s_max": 20,
                        "collar_bp": 100, "book_proved_for": "market_orders"},
             "subscriptions": [
                {"provider": "binance", "instruments": "all", "channels": ["trade", "book"],
                 "delivery": {"trade": "lossless", "book": "book"}, "book_depth": 50},
                {"merge": "best", "delivery": "lossless"}]},
            {"name": "printer", "kind": "printer", "shard": "strategies", "trading": false,
             "on_panic": "restart", "options": {"output": "events.txt", "lines_per_s": 20},
             "subscriptions": [{"merge": "best", "delivery": "lossless"}]},
            {"name": "recorder", "kind": "recorder", "shard": "strategies", "trading": false,
             "on_panic": "disable", "options": {"dir": "recordings", "rotate_mib": 64},
             "subscriptions": [{"merge": "best", "delivery": "lossless"}]},
        ],
        "journal": {"dir": "journal", "durability": "sync", "rotate_mib": 64, "keep": 10},
        "control": {"listen": "127.0.0.1:0", "core": "any", "token_file": "token"},
        "report": {"dir": "report", "interval_ms": 1000},
        "watchdog": {"stall_ms": 2000, "then": "report"},
    })
}

/// The mappings of [`everything`], each with what it is; keys of `delivery` and `inputs` are data.
const MAPPINGS: &[(&str, &str)] = &[
    ("", "The file"),
    ("shards[0]", "`shards[]`, role `provider`"),
    ("shards[1]", "`shards[]`, role `merger`"),
    ("shards[2]", "`shards[]`, role `consumer`"),
    ("shards[0].pools", "`shards[].pools`"),
    ("shards[1].fairness", "`shards[].fairness`"),
    ("simulated", "`simulated`"),
    ("providers[0]", "`providers[]`"),
    ("providers[0].endpoints", "`providers[].endpoints`, where it is no word"),
    ("providers[0].book", "`providers[].book`"),
    ("providers[0].reorder", "`providers[].reorder`"),
    ("providers[0].roll", "`providers[].roll`"),
    ("providers[0].capture", "`providers[].capture`"),
    ("providers[0].orders", "`providers[].orders`"),
    ("providers[0].orders.keys", "`providers[].orders.keys`"),
    ("merges[0]", "`merges[]`"),
    ("consumers[1]", "`consumers[]`"),
    ("consumers[1].options", "`consumers[].options`, kind `printer`"),
    ("consumers[2].options", "`consumers[].options`, kind `recorder`"),
    ("consumers[0].limits", "`consumers[].limits`"),
    ("consumers[0].subscriptions[0]", "`consumers[].subscriptions[]`, of a provider"),
    ("consumers[0].subscriptions[1]", "`consumers[].subscriptions[]`, of a merge rule"),
    ("journal", "`journal`"),
    ("control", "`control`"),
    ("report", "`report`"),
    ("watchdog", "`watchdog`"),
];

fn problems(topology: &Value) -> Vec<Problem> {
    let against = Against { cores: None, consumer_kinds: &CONSUMER_KINDS, simulated_lists: None };
    // YAML takes JSON.
    read("topology", &topology.to_string(), against).err().map_or_else(Vec::new, |errors| errors.problems)
}

/// What stands at `shards[0].pools`.
fn at<'a>(topology: &'a mut Value, path: &str) -> &'a mut Value {
    let pointer = path.replace(['.', '['], "/").replace(']', "");
    let pointer = if pointer.is_empty() { pointer } else { format!("/{pointer}") };
    topology.pointer_mut(&pointer).unwrap_or_else(|| panic!("{path} stands in the topology with everything"))
}

fn path_of(mapping: &str, key: &str) -> String {
    if mapping.is_empty() { key.to_owned() } else { format!("{mapping}.{key}") }
}

/// What the reader says of one key after `change`.
fn said(path: &str, change: impl FnOnce(&mut Value)) -> Vec<String> {
    let mut topology = everything();
    change(&mut topology);
    let of_key = problems(&topology).into_iter().filter(|problem| problem.key == path);
    of_key.map(|problem| problem.fits).collect()
}

/// The keys that a mapping takes: the reader lists them beside one that nobody knows.
fn keys(mapping: &str) -> Vec<String> {
    let unknown = path_of(mapping, "zzzzzzzzzzzz");
    let said = said(&unknown, |topology| at(topology, mapping)["zzzzzzzzzzzz"] = json!(1));
    let [fits] = &said[..] else { panic!("{mapping}: {said:?}") };
    let list = fits.strip_prefix("fits: ").unwrap_or_else(|| panic!("{mapping}: {fits}"));
    list.split(", ").map(str::to_owned).collect()
}

/// Values of forms that no key takes all of.
const WRONG: &[&str] = &["[]", "[[]]", "{\"zzzzzzzzzzzz\": 1}", "\"\"", "-1", "\" \""];

/// What fits a key, in the reader's words; nothing for a mapping of its own.
fn fits(mapping: &str, key: &str) -> String {
    let path = path_of(mapping, key);
    let mut words: Vec<String> = Vec::new();
    for alone in [false, true] {
        for wrong in WRONG {
            let wrong: Value = serde_json::from_str(wrong).expect("JSON");
            let change = |topology: &mut Value| {
                let mapping = at(topology, mapping);
                // One of two that exclude one another says more by itself.
                if alone {
                    *mapping = json!({});
                }
                mapping[key] = wrong;
            };
            for fits in said(&path, change) {
                let fits =
                    fits.strip_prefix("fits ").or_else(|| fits.strip_prefix("fits: ")).unwrap_or(&fits);
                // What follows from the value is not what fits.
                let follows = fits.starts_with("this key must be there");
                if !follows && !words.iter().any(|word| word.contains(fits)) {
                    words.retain(|word| !fits.contains(word.as_str()));
                    words.push(fits.to_owned());
                }
            }
        }
        if !words.is_empty() {
            break;
        }
    }
    assert!(!words.is_empty(), "the reader says nothing of {path}, whatever stands there");
    words.join("; ")
}

fn page() -> String {
    let mut text = String::from(
        "# Topology reference\n\n\
         Made from the answers of the program's own reader by `shards/tests/topology_reference.rs`, which fails when this page says\n\
         anything else: do not edit it. What a key is for, and why it has its value, stands beside it in the shipped\n\
         [topology.yaml](../topology.yaml). `meltica topology check FILE` says the same of your file, all problems at once.\n\n\
         Must: the key must be there in a topology that has all parts; `-`: it may be left out.\n",
    );
    for (mapping, title) in MAPPINGS {
        let _ = write!(text, "\n## {title}\n\n| key | must | fits |\n|---|---|---|\n");
        for key in keys(mapping) {
            let stands = at(&mut everything(), mapping).get(&key).is_some();
            let must = stands
                && !said(&path_of(mapping, &key), |topology| {
                    let object = at(topology, mapping).as_object_mut().expect("a mapping");
                    object.remove(&key);
                })
                .is_empty();
            let fits = fits(mapping, &key).replace('|', "\\|");
            let _ = writeln!(text, "| `{key}` | {} | {fits} |", if must { "must" } else { "-" });
        }
    }
    text
}

#[test]
fn a_topology_with_every_key_is_read_without_a_problem_of_form() {
    let forms: Vec<String> = problems(&everything())
        .iter()
        .map(ToString::to_string)
        .filter(|problem| problem.contains("unknown key") || problem.contains("must be there"))
        .collect();
    assert_eq!(forms, Vec::<String>::new());
    for (mapping, _) in MAPPINGS {
        for key in keys(mapping) {
            let covered = MAPPINGS.iter().any(|(other, _)| {
                let generic = |path: &str| path.replace(|c: char| c.is_ascii_digit(), "");
                // The same kind of mapping may have the key in another element.
                generic(other) == generic(mapping) && at(&mut everything(), other).get(&key).is_some()
            });
            let path = path_of(mapping, &key);
            let optional = ["providers[0].orders.keys.env", "consumers[1].limits"];
            assert!(
                covered || optional.contains(&path.as_str()),
                "{path} is not in the topology with everything"
            );
        }
    }
}

#[test]
fn the_reference_says_what_the_reader_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/topology.md");
    let page = page();
    if std::env::var_os("MELTICA_WRITE_DOCS").is_some() {
        fs::write(&path, &page).expect("docs can be written");
    }
    let written = fs::read_to_string(&path).expect("docs/topology.md");
    assert!(
        written == page,
        "docs/topology.md is not what the reader says; write it with \
         MELTICA_WRITE_DOCS=1 cargo test -p shards --test topology_reference\n{page}"
    );
}
