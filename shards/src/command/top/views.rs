//! The tables of each view, made of two statuses: what stands in the newest, and rates between the two.

use serde_json::Value;

use super::grid::{Cell, Grid, Head, Row};
use super::model::{Model, View, list, number, text};
use crate::report::table::latency;

/// The tables of a view.
pub(super) fn grids(model: &Model, view: View) -> Vec<Grid> {
    match view {
        View::Overview => {
            let mut grids = vec![shards(model), providers(model), rings(model), consumers(model)];
            grids.extend([mergers(model), orders(model)].into_iter().filter(|grid| !grid.rows.is_empty()));
            grids
        }
        View::Shards => vec![shards(model)],
        View::Rings => vec![rings(model)],
        View::Providers => {
            let merged = mergers(model);
            let mut grids = vec![providers(model)];
            grids.extend((!merged.rows.is_empty()).then_some(merged));
            grids
        }
        View::Consumers => {
            let orders = orders(model);
            let mut grids = vec![consumers(model)];
            grids.extend((!orders.rows.is_empty()).then_some(orders));
            grids
        }
        View::Latency => vec![latencies(model)],
        View::Incidents => vec![incidents(model)],
    }
}

/// The object of the same name in the status before.
fn earlier<'a>(model: &'a Model, list_name: &str, name: &str) -> Option<&'a Value> {
    list(&model.before, list_name).iter().find(|one| text(one, "name") == name)
}

/// What a total grew by in a second; `None` with one status alone.
fn rate(model: &Model, now: &Value, before: Option<&Value>, key: &str) -> Option<f64> {
    let seconds = model.seconds();
    let before = before?;
    (seconds > 0.0).then(|| (number(now, key) - number(before, key)).max(0.0) / seconds)
}

fn per_second(rate: Option<f64>) -> Cell {
    match rate {
        None => Cell::number("-", -1.0),
        Some(rate) => Cell::number(short(rate), rate),
    }
}

fn share(part: Option<f64>) -> Cell {
    match part {
        None => Cell::number("-", -1.0),
        Some(part) => Cell::number(format!("{:.1}%", part * 100.0), part),
    }
}

fn count(value: &Value, key: &str) -> Cell {
    match value.get(key).and_then(Value::as_f64) {
        None => Cell::number("-", -1.0),
        Some(number) => Cell::number(short(number), number),
    }
}

fn time(ns: Option<f64>) -> Cell {
    match ns {
        None => Cell::number("-", -1.0),
        Some(ns) => Cell::number(latency(ns as u64), ns),
    }
}

/// At most five characters: `12345`, `123k`, `4.17M`.
fn short(value: f64) -> String {
    match value {
        value if value < 10.0 && value.fract() > 0.0 => format!("{value:.1}"),
        value if value < 99_999.5 => format!("{value:.0}"),
        value if value < 999_500.0 => format!("{:.0}k", value / 1e3),
        value if value < 99.95e6 => format!("{:.2}M", value / 1e6),
        value if value < 999.5e6 => format!("{:.0}M", value / 1e6),
        value => format!("{:.2}G", value / 1e9),
    }
}

fn latency_of(shard: &Value, stage: &str, key: &str) -> Option<f64> {
    let found = list(shard, "stages").iter().find(|one| text(one, "stage") == stage)?;
    Some(number(found, key))
}

fn shards(model: &Model) -> Grid {
    const HEADS: &[Head] = &[
        ("SHARD", 0),
        ("ROLE", 4),
        ("CORE", 1),
        ("TURNS/S", 2),
        ("IDLE", 0),
        ("TURN P99", 1),
        ("LONGEST", 3),
        ("LONG", 2),
        ("SWITCHED", 3),
        ("FAULTS", 5),
        ("STALLS", 1),
        ("PLACE", 6),
    ];
    let rows = list(&model.now, "shards").iter().map(|shard| {
        let before = earlier(model, "shards", text(shard, "name"));
        let busy = rate(model, shard, before, "busy_ns_total").map(|ns| ns / 1e9);
        let stalled_ms = number(shard, "stalled_ms");
        let pinned = shard.get("pinned").and_then(Value::as_bool).unwrap_or(true);
        let core = match shard.get("core").and_then(Value::as_u64) {
            Some(core) if pinned => Cell::number(core.to_string(), core as f64),
            Some(core) => Cell::number(format!("{core} lost"), core as f64),
            None => Cell::number("-", -1.0),
        };
        let stalls = if stalled_ms > 0.0 {
            Cell::number(format!("since {}", latency((stalled_ms * 1e6) as u64)), f64::MAX)
        } else {
            count(shard, "stalls_total")
        };
        Row {
            cells: vec![
                Cell::text(text(shard, "name")),
                Cell::text(text(shard, "role")),
                core,
                per_second(rate(model, shard, before, "turns_total")),
                share(busy.map(|busy| (1.0 - busy).clamp(0.0, 1.0))),
                time(latency_of(shard, "turn", "latency_ns_p99")),
                time(Some(number(shard, "turn_ns_max"))),
                count(shard, "turns_long_total"),
                count(shard, "involuntary_switches_total"),
                count(shard, "minor_faults_total"),
                stalls,
                Cell::text(text(shard, "place")),
            ],
            alarm: stalled_ms > 0.0 || !pinned,
            raw: shard.clone(),
        }
    });
    Grid { title: "Shards", heads: HEADS, rows: rows.collect() }
}

fn providers(model: &Model) -> Grid {
    const HEADS: &[Head] = &[
        ("PROVIDER", 0),
        ("LINES", 0),
        ("MSG/S", 0),
        ("BOOKS PROVED", 0),
        ("GAPS", 0),
        ("RESYNCS", 1),
        ("LOST", 2),
        ("UNDECODABLE", 3),
        ("FRAMES", 4),
        ("EVENTS", 4),
    ];
    let rows = list(&model.now, "providers").iter().map(|provider| {
        let before = earlier(model, "providers", text(provider, "name"));
        let (lines, live) = (number(provider, "lines"), number(provider, "lines_live"));
        let (books, proved) = (number(provider, "books"), number(provider, "books_proved"));
        let pool = |name: &str| {
            let pool = list(provider, "pools").iter().find(|pool| text(pool, "name") == name);
            match pool {
                None => Cell::number("-", -1.0),
                Some(pool) => {
                    let (out, capacity) = (number(pool, "out"), number(pool, "capacity"));
                    Cell::number(format!("{out}/{capacity}"), out / capacity.max(1.0))
                }
            }
        };
        Row {
            cells: vec![
                Cell::text(text(provider, "name")),
                Cell::number(format!("{live}/{lines}"), live / lines.max(1.0)),
                per_second(rate(model, provider, before, "messages_total")),
                Cell::number(format!("{proved}/{books}"), proved / books.max(1.0)),
                count(provider, "gaps_total"),
                count(provider, "resyncs_total"),
                count(provider, "lines_lost_total"),
                count(provider, "decode_errors_total"),
                pool("frames"),
                pool("events"),
            ],
            alarm: live < lines || proved < books,
            raw: provider.clone(),
        }
    });
    Grid { title: "Providers", heads: HEADS, rows: rows.collect() }
}

fn rings(model: &Model) -> Grid {
    const HEADS: &[Head] = &[
        ("RING", 0),
        ("EVENTS/S", 0),
        ("DEPTH", 0),
        ("FULL", 1),
        ("BEHIND", 0),
        ("SPILL", 2),
        ("UNCHANGED/S", 4),
        ("COALESCED", 1),
        ("DROPPED", 0),
        ("FULL TIMES", 3),
    ];
    let mut rows = Vec::new();
    for owners in ["providers", "mergers"] {
        for owner in list(&model.now, owners) {
            let name = text(owner, "name");
            for output in list(owner, "outputs") {
                let to = text(output, "shard");
                let before = earlier(model, owners, name)
                    .and_then(|owner| list(owner, "outputs").iter().find(|one| text(one, "shard") == to));
                let (depth, capacity) =
                    (number(output, "ring_events"), number(output, "ring_capacity_events").max(1.0));
                let delivered = rate(model, output, before, "delivered_total");
                // The age of its oldest event, where the gateway measures it; else what is in it at the rate of its emptying.
                let seen = list(&model.now, "rings");
                let seen = seen.iter().find(|ring| text(ring, "from") == name && text(ring, "shard") == to);
                let behind_ns = match seen {
                    Some(ring) => Some(number(ring, "oldest_ns")),
                    None => {
                        delivered.map(|rate| if depth == 0.0 { 0.0 } else { depth / rate.max(1.0) * 1e9 })
                    }
                };
                let dropped = rate(model, output, before, "dropped_total");
                rows.push(Row {
                    cells: vec![
                        Cell::text(format!("{name} > {to}")),
                        per_second(delivered),
                        Cell::number(format!("{depth}/{capacity}"), depth),
                        share(Some(depth / capacity)),
                        time(behind_ns),
                        count(output, "spill_events"),
                        per_second(rate(model, output, before, "unchanged_total")),
                        count(output, "coalesced_total"),
                        count(output, "dropped_total"),
                        count(output, "ring_full_total"),
                    ],
                    alarm: dropped.is_some_and(|rate| rate > 0.0) || depth / capacity > 0.5,
                    raw: output.clone(),
                });
            }
        }
    }
    Grid { title: "Rings", heads: HEADS, rows }
}

fn consumers(model: &Model) -> Grid {
    const HEADS: &[Head] = &[
        ("CONSUMER", 0),
        ("SHARD", 2),
        ("STATE", 0),
        ("EVENTS/S", 0),
        ("HANDLER", 0),
        ("P99", 1),
        ("LONGEST", 2),
        ("LAG P50", 3),
        ("LAG P99", 0),
        ("DROPPED", 1),
        ("PANICS", 1),
        ("STREAMS", 4),
        ("TRADING", 3),
    ];
    let all_outputs = ["providers", "mergers"].iter().flat_map(|owners| list(&model.now, owners));
    let all_outputs: Vec<&Value> = all_outputs.flat_map(|owner| list(owner, "outputs")).collect();
    let rows = list(&model.now, "consumers").iter().map(|consumer| {
        let (name, on) = (text(consumer, "name"), text(consumer, "shard"));
        let before = earlier(model, "consumers", name);
        let shard = list(&model.now, "shards").iter().find(|shard| text(shard, "name") == on);
        let of_shard = |stage: &str, key: &str| shard.and_then(|shard| latency_of(shard, stage, key));
        let events = rate(model, consumer, before, "events_total");
        let busy = rate(model, consumer, before, "busy_ns_total");
        let mean_ns = events.zip(busy).map(|(events, busy)| if events > 0.0 { busy / events } else { 0.0 });
        // Rings belong to shards: what was lost on the way to one is lost to each consumer there.
        let dropped: f64 = all_outputs
            .iter()
            .filter(|output| text(output, "shard") == on)
            .map(|output| number(output, "dropped_total"))
            .sum();
        let up = consumer.get("up").and_then(Value::as_bool);
        let flag = |key: &str| consumer.get(key).and_then(Value::as_bool).unwrap_or(false);
        let trading = match (flag("killed"), flag("trading")) {
            (true, _) => "killed",
            (false, true) => "on",
            (false, false) => "off",
        };
        let handler = format!("handler:{name}");
        Row {
            cells: vec![
                Cell::text(name),
                Cell::text(on),
                Cell::text(match up {
                    Some(true) => "up",
                    Some(false) => "DOWN",
                    None => "-",
                }),
                per_second(events),
                time(mean_ns),
                time(of_shard(&handler, "latency_ns_p99")),
                time(Some(number(consumer, "busy_ns_max"))),
                time(of_shard("receive_to_delivered", "latency_ns_p50")),
                time(of_shard("receive_to_delivered", "latency_ns_p99")),
                Cell::number(short(dropped), dropped),
                count(consumer, "panics_total"),
                count(consumer, "streams"),
                Cell::text(trading),
            ],
            alarm: up == Some(false) || flag("killed"),
            raw: consumer.clone(),
        }
    });
    Grid { title: "Consumers", heads: HEADS, rows: rows.collect() }
}

fn mergers(model: &Model) -> Grid {
    const HEADS: &[Head] = &[
        ("MERGER", 0),
        ("EVENTS/S", 0),
        ("MERGED/S", 0),
        ("PARTIAL", 1),
        ("LATE", 1),
        ("OPEN", 2),
        ("LAGGING", 0),
    ];
    let rows = list(&model.now, "mergers").iter().map(|merger| {
        let before = earlier(model, "mergers", text(merger, "name"));
        Row {
            cells: vec![
                Cell::text(text(merger, "name")),
                per_second(rate(model, merger, before, "received_total")),
                per_second(rate(model, merger, before, "merged_total")),
                count(merger, "windows_partial_total"),
                count(merger, "late_total"),
                count(merger, "open_events"),
                count(merger, "inputs_lagging"),
            ],
            alarm: number(merger, "inputs_lagging") > 0.0,
            raw: merger.clone(),
        }
    });
    Grid { title: "Mergers", heads: HEADS, rows: rows.collect() }
}

/// Order entry of each provider, and below it what each consumer did through it; empty where the gateway tells nothing of it.
fn orders(model: &Model) -> Grid {
    const HEADS: &[Head] = &[
        ("ORDERS", 0),
        ("SESSION", 1),
        ("OPEN", 0),
        ("UNKNOWN", 0),
        ("ORDERS/S", 1),
        ("ACKS", 0),
        ("FILLS", 0),
        ("REJECTED", 0),
        ("REFUSED", 1),
        ("POSITIONS", 2),
    ];
    let mut rows = Vec::new();
    for provider in list(&model.now, "orders") {
        let (name, session) = (text(provider, "name"), text(provider, "session"));
        let before = earlier(model, "orders", name);
        rows.push(Row {
            cells: vec![
                Cell::text(name),
                Cell::text(session),
                count(provider, "open_orders"),
                count(provider, "unknown_orders"),
                per_second(rate(model, provider, before, "orders_total")),
                count(provider, "acks_total"),
                count(provider, "fills_total"),
                count(provider, "rejected_total"),
                count(provider, "refused_total"),
                Cell::text(""),
            ],
            alarm: session != "live"
                || number(provider, "unknown_orders") > 0.0
                || provider["journal_failed"] == true,
            raw: provider.clone(),
        });
        // Those that neither did anything nor may: at each venue a row of zeros for each that only listens.
        let traders = list(provider, "accounts").iter().filter(|account| {
            let did =
                account["counts"].as_object().is_some_and(|counts| counts.values().any(|count| *count != 0));
            let may = list(&model.now, "consumers")
                .iter()
                .any(|one| one["name"] == account["consumer"] && one["trading"] == true);
            did || may
        });
        for account in traders {
            let counts = &account["counts"];
            let held = list(account, "positions").iter();
            let held: Vec<String> =
                held.map(|held| format!("{} {}", text(held, "qty"), text(held, "symbol"))).collect();
            rows.push(Row {
                cells: vec![
                    Cell::text(format!("{name} < {}", text(account, "consumer"))),
                    Cell::text(""),
                    Cell::text(""),
                    count(counts, "unknown_total"),
                    Cell::text(""),
                    count(counts, "acks_total"),
                    count(counts, "fills_total"),
                    count(counts, "rejected_total"),
                    count(counts, "refused_total"),
                    Cell::text(held.join(" ")),
                ],
                alarm: false,
                raw: account.clone(),
            });
        }
    }
    Grid { title: "Orders", heads: HEADS, rows }
}

fn latencies(model: &Model) -> Grid {
    const HEADS: &[Head] =
        &[("STAGE", 0), ("SHARD", 0), ("COUNT/S", 2), ("P50", 0), ("P99", 0), ("LONGEST", 0)];
    let rows = list(&model.now, "shards").iter().flat_map(|shard| {
        list(shard, "stages").iter().map(|stage| Row {
            cells: vec![
                Cell::text(text(stage, "stage")),
                Cell::text(text(shard, "name")),
                count(stage, "count"),
                time(Some(number(stage, "latency_ns_p50"))),
                time(Some(number(stage, "latency_ns_p99"))),
                time(Some(number(stage, "latency_ns_max"))),
            ],
            alarm: false,
            raw: stage.clone(),
        })
    });
    Grid { title: "Latency of the last interval", heads: HEADS, rows: rows.collect() }
}

fn incidents(model: &Model) -> Grid {
    const HEADS: &[Head] = &[("AT", 0), ("AGO", 1), ("SHARD", 0), ("WHAT", 0), ("TIMES", 0), ("DETAIL", 2)];
    let uptime_ms = number(&model.now, "uptime_ms");
    let rows = list(&model.now, "incidents").iter().map(|incident| {
        let (from_ms, to_ms) = (number(incident, "from_ms"), number(incident, "to_ms"));
        let what = text(incident, "what");
        Row {
            cells: vec![
                Cell::number(format!("{:.2} s", from_ms / 1e3), from_ms),
                Cell::number(format!("{:.0} s", (uptime_ms - to_ms).max(0.0) / 1e3), uptime_ms - to_ms),
                Cell::text(text(incident, "shard")),
                Cell::text(what),
                count(incident, "count"),
                Cell::text(text(incident, "detail")),
            ],
            alarm: matches!(what, "stalls" | "lost_pinning"),
            raw: incident.clone(),
        }
    });
    Grid { title: "Incidents, the newest first", heads: HEADS, rows: rows.collect() }
}
