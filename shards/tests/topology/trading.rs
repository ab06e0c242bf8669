//! Orders, keys, limits and the journal in the file.

use shards::topology;

use super::{BASE, read, refused};

/// Orders with keys in a file for the live provider of the base, and the journal that they need.
const LIVE: (&str, &str) = (
    "    rest_weight_share: 0.5\n",
    "    rest_weight_share: 0.5\n    orders: {enabled: true, keys: {file: /k/kraken.key}, on_session_loss: keep, on_stop: keep}\n",
);
const JOURNAL: (&str, &str) =
    ("control: {", "journal: {dir: journal, durability: sync, rotate_mib: 16, keep: 4}\ncontrol: {");
const NEVER_HERE: &str = "fits {file: PATH} or {env: NAME}; keys and secrets are never written in this file";

#[test]
fn orders_need_keys_of_their_own_and_a_journal() {
    let mut text = BASE.to_owned();
    for (from, to) in [LIVE, JOURNAL] {
        text = text.replace(from, to);
    }
    let topology = read(&text).unwrap_or_else(|message| panic!("{message}"));
    let orders = topology.providers[1].orders.as_ref().expect("it trades");
    assert_eq!(orders.keys, Some(topology::KeySource::File("/k/kraken.key".into())));
    assert!(topology.providers[0].orders.is_none());
    assert_eq!(topology.journal.map(|journal| journal.rotate_bytes), Some(16 << 20));
    refused(
        &[LIVE],
        &["t.yaml:20: journal: found nothing, this key must be there, since provider 'kraken' sends orders"],
    );
    refused(
        &[LIVE, JOURNAL, ("endpoints: live", "endpoints: simulated")],
        &[
            "t.yaml:30: providers[1].orders.keys: found a key without use here, a simulated venue issues throw-away keys when it starts: remove it",
        ],
    );
    let without = LIVE.1.replace(" keys: {file: /k/kraken.key},", "");
    refused(
        &[(LIVE.0, &without), JOURNAL],
        &[&format!(
            "t.yaml:30: providers[1].orders.keys: found nothing, this key must be there where orders are enabled: {NEVER_HERE}"
        )],
    );
}

#[test]
fn a_literal_key_is_refused_and_never_shown() {
    for (keys, message) in [
        ("hunter2hunter2", format!("orders.keys: found a value in the place of keys, {NEVER_HERE}")),
        ("{secret: hunter2}", "orders.keys.secret: found an unknown key, keys and secrets are never written in this file: they come from files or the environment".to_owned()),
        ("{file: hunter2}", "orders.keys.file: found something that is no path, fits the path of a file, beginning with /, ./ or ../; keys and secrets are never written in this file".to_owned()),
        ("{env: hunter2}", "orders.keys.env: found something that is no name, fits the name of a variable, A-Z, 0-9 and _, a letter first; keys and secrets are never written in this file".to_owned()),
        ("{file: ./a, env: A}", format!("orders.keys: found not one of file and env, {NEVER_HERE}")),
    ] {
        let orders = LIVE.1.replace("{file: /k/kraken.key}", keys);
        let mut text = BASE.to_owned();
        for (from, to) in [(LIVE.0, orders.as_str()), JOURNAL] {
            text = text.replace(from, to);
        }
        let found = read(&text).expect_err("a key does not belong there");
        assert!(found.contains(&message), "{found}");
        assert!(!found.contains("hunter2"), "{found}");
    }
}

#[test]
fn limits_are_checked_one_by_one() {
    let trading = "    trading: false\n";
    let with = |limits: &str| format!("    trading: true\n    limits: {{{limits}}}\n");
    let check = |limits: &str, expected: &str| refused(&[(trading, &with(limits))], &[expected]);
    check(
        "qty_max: 0",
        "t.yaml:38: consumers[0].limits.qty_max: found 0, fits a decimal number above 0, such as 0.5",
    );
    check(
        "notional_max: NaN",
        "t.yaml:38: consumers[0].limits.notional_max: found 'NaN', fits a decimal number above 0, such as 0.5",
    );
    check(
        "orders_per_s_max: 1001",
        "t.yaml:38: consumers[0].limits.orders_per_s_max: found 1001, fits 1 to 1000 (orders within any second; the window is counted exactly up to 1000)",
    );
    check(
        "book_proved_for: market",
        "t.yaml:38: consumers[0].limits.book_proved_for: found 'market', fits: none, market_orders, all_orders",
    );
    let text = BASE.replace(trading, &with("qty_max: 0.5, collar_bp: 50"));
    let topology = read(&text).unwrap_or_else(|message| panic!("{message}"));
    assert_eq!(topology.consumers[0].limits.collar_bp, Some(50));
}
