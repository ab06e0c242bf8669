//! `/metrics`: the view in Prometheus' text format. Every label comes from the topology or from a list in the code.

use std::fmt::Write as _;

use engine::consumer::SeatCounts;
use engine::dispatch::LaneCounts;
use engine::merge::{MergeCounts, MergerCounts};
use engine::orders::desk::DeskCounts;
use engine::orders::ledger::{LedgerCounts, SessionState};
use engine::orders::outbox::OutboxCounts;
use engine::pipeline::{PipelineCounts, Race};
use engine::provider::{CareCounts, RestCounts};

use super::controller::Controller;
use super::server::ServerCounts;
use super::view::View;
use crate::orders::account::AccountCounts;
use crate::orders::critical::CriticalCounts;
use crate::orders::journal::JournalCounts;
use crate::orders::status::{ORDER_POOL_NAMES, OrdersStatus};
use crate::status::{
    MERGER_POOL_NAMES, MergerStatus, OutputStatus, POOL_NAMES, ProviderStatus, RingStatus, RuleStatus,
};
use crate::topology::Topology;

/// Name, type, help, and where the value comes from.
type Described<T> = (&'static str, &'static str, &'static str, fn(&T) -> f64);

/// A text under construction: each family once, with its help and type, then its samples.
#[derive(Debug, Default)]
struct Families {
    text: String,
}

impl Families {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let help = help.trim().replace('\\', "\\\\").replace('\n', " ");
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.text.push_str(name);
        for (index, (label, text)) in labels.iter().enumerate() {
            let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.text, "{}{label}=\"{text}\"", if index == 0 { '{' } else { ',' });
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
    }

    /// One family with a sample for each provider.
    fn providers(
        &mut self,
        view: &View,
        topology: &Topology,
        (name, kind, help): (&str, &str, &str),
        value: impl Fn(&ProviderStatus) -> f64,
    ) {
        self.family(name, kind, help);
        for status in &view.providers {
            let provider = &topology.providers[usize::from(status.provider)].name;
            self.sample(name, &[("provider", provider)], value(status));
        }
    }
}

/// The name of a counter that counts nanoseconds, in seconds, and what to multiply its value by.
fn in_seconds(name: &str) -> (String, f64) {
    match name.split_once("_ns_") {
        Some((before, after)) => (format!("{before}_seconds_{after}"), 1e-9),
        None => (name.to_owned(), 1.0),
    }
}

/// The text.
pub fn render(view: &View, controller: &Controller, server: ServerCounts) -> String {
    let topology = controller.topology();
    let mut out = Families::default();
    out.family("meltica_info", "gauge", "The program; always 1.");
    out.sample("meltica_info", &[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    out.family("meltica_uptime_seconds", "gauge", "Time since the start.");
    out.sample("meltica_uptime_seconds", &[], view.run_ns as f64 * 1e-9);

    for (index, (name, help)) in PipelineCounts::LIST.iter().enumerate() {
        let family = format!("meltica_provider_{name}");
        out.providers(view, topology, (&family, "counter", help), |status| {
            status.counts.values()[index] as f64
        });
    }
    for (index, (name, help)) in RestCounts::LIST.iter().enumerate() {
        let family = format!("meltica_rest_{name}");
        out.providers(view, topology, (&family, "counter", help), |status| {
            status.rest.values()[index] as f64
        });
    }
    for (index, (name, help)) in CareCounts::LIST.iter().enumerate() {
        let family = format!("meltica_care_{name}");
        out.providers(view, topology, (&family, "counter", help), |status| {
            status.care.values()[index] as f64
        });
    }
    let gauges: [Described<ProviderStatus>; 7] = [
        ("meltica_lines", "gauge", "Connections.", |status| f64::from(status.connections)),
        ("meltica_lines_live", "gauge", "Connections that are subscribed.", |status| {
            f64::from(status.connections_live)
        }),
        ("meltica_lines_lost_total", "counter", "Connections lost.", |status| status.lost_total as f64),
        ("meltica_books", "gauge", "Books that are wanted.", |status| f64::from(status.books)),
        ("meltica_books_proved", "gauge", "Books that are proved.", |status| f64::from(status.books_proved)),
        ("meltica_dead_letters_total", "counter", "Dead letters written.", |status| {
            status.letters_total as f64
        }),
        ("meltica_routing_version", "gauge", "The routing version in force.", |status| {
            f64::from(status.routing_version)
        }),
    ];
    for (name, kind, help, value) in gauges {
        out.providers(view, topology, (name, kind, help), value);
    }
    races(&mut out, view, topology);
    pools(&mut out, view, topology);
    outputs(&mut out, view, topology);
    mergers(&mut out, view, topology);
    consumers(&mut out, view, controller);
    orders(&mut out, view, topology);
    stages(&mut out, view);

    let (changes_total, refused_total) = controller.counts();
    for (name, help, value) in [
        ("meltica_control_changes_total", "Routing changes carried out.", changes_total),
        ("meltica_control_refused_total", "Changes that were refused.", refused_total),
        ("meltica_control_connections_total", "Connections to this endpoint.", server.accepted_total),
        ("meltica_control_connections_refused_total", "Connections beyond the limit.", server.refused_total),
        ("meltica_control_requests_total", "Requests answered.", server.requests_total),
        ("meltica_control_errors_total", "Requests answered with 4xx or 5xx.", server.errors_total),
        ("meltica_control_timeouts_total", "Requests that took too long.", server.timeouts_total),
    ] {
        out.family(name, "counter", help);
        out.sample(name, &[], value as f64);
    }
    out.text
}

/// Order entry of the providers that trade.
fn orders(out: &mut Families, view: &View, topology: &Topology) {
    let name = |status: &OrdersStatus| topology.providers[usize::from(status.provider)].name.as_str();
    let mut each = |family: &str, kind: &str, help: &str, value: &dyn Fn(&OrdersStatus) -> f64| {
        out.family(family, kind, help);
        for status in &view.orders {
            out.sample(family, &[("provider", name(status))], value(status));
        }
    };
    for (index, (counter, help)) in LedgerCounts::LIST.iter().enumerate() {
        let value = |status: &OrdersStatus| status.ledger.values()[index] as f64;
        each(&format!("meltica_orders_ledger_{counter}"), "counter", help, &value);
    }
    for (index, (counter, help)) in DeskCounts::LIST.iter().enumerate() {
        let value = |status: &OrdersStatus| status.desk.values()[index] as f64;
        each(&format!("meltica_orders_desk_{counter}"), "counter", help, &value);
    }
    for (index, (counter, help)) in JournalCounts::LIST.iter().enumerate() {
        let (counter, scale) = in_seconds(counter);
        let value = |status: &OrdersStatus| status.journal.values()[index] as f64 * scale;
        each(&format!("meltica_orders_journal_{counter}"), "counter", help, &value);
    }
    each("meltica_orders_session_live", "gauge", "Whether the session for orders is live.", &|status| {
        f64::from(u8::from(status.session == SessionState::Live))
    });
    each("meltica_orders_open", "gauge", "Orders that may be working.", &|status| {
        f64::from(status.open_orders)
    });
    each("meltica_orders_unknown", "gauge", "Open orders whose state is unknown.", &|status| {
        f64::from(status.unknown_orders)
    });
    each(
        "meltica_orders_journal_failed",
        "gauge",
        "Whether the journal cannot be written any more.",
        &|status| f64::from(u8::from(status.journal_failed)),
    );
    for (index, (counter, help)) in AccountCounts::LIST.iter().enumerate() {
        let family = format!("meltica_orders_account_{counter}");
        out.family(&family, "counter", help);
        for status in &view.orders {
            for account in status.accounts() {
                let Some(consumer) = topology.consumers.get(account.consumer.index()) else { continue };
                let labels = [("provider", name(status)), ("consumer", consumer.name.as_str())];
                out.sample(&family, &labels, account.counts.values()[index] as f64);
            }
        }
    }
    let family = "meltica_orders_account_refused_by_reason_total";
    out.family(
        family,
        "counter",
        "Orders refused before the wire, by reason; a reason that never was is left out.",
    );
    for status in &view.orders {
        for account in status.accounts() {
            let Some(consumer) = topology.consumers.get(account.consumer.index()) else { continue };
            for (rule, count) in account.refusals.all() {
                let consumer = consumer.name.as_str();
                let labels = [("provider", name(status)), ("consumer", consumer), ("reason", rule.name())];
                out.sample(family, &labels, f64::from(count));
            }
        }
    }
    for (index, (counter, help)) in CriticalCounts::LIST.iter().enumerate() {
        let family = format!("meltica_orders_critical_{counter}");
        out.family(&family, "counter", help);
        for status in &view.orders {
            for (shard, counts) in status.lanes() {
                let shard = topology.shards[usize::from(*shard)].name.as_str();
                let labels = [("provider", name(status)), ("shard", shard)];
                out.sample(&family, &labels, counts.values()[index] as f64);
            }
        }
    }
}

/// The merge shards: what came, what became of windows and best prices, and who was missing.
fn mergers(out: &mut Families, view: &View, topology: &Topology) {
    let shard = |status: &MergerStatus| topology.shards[usize::from(status.shard)].name.as_str();
    let mut each = |family: &str, kind: &str, help: &str, value: &dyn Fn(&MergerStatus) -> f64| {
        out.family(family, kind, help);
        for status in &view.mergers {
            out.sample(family, &[("shard", shard(status))], value(status));
        }
    };
    for (index, (name, help)) in MergerCounts::LIST.iter().enumerate() {
        let (name, scale) = in_seconds(name);
        let kind = if name.ends_with("_total") { "counter" } else { "gauge" };
        each(&format!("meltica_merger_{name}"), kind, help, &|status| {
            status.counts.values()[index] as f64 * scale
        });
    }
    for (index, (name, help)) in MergeCounts::LIST.iter().enumerate() {
        each(&format!("meltica_merge_{name}"), "counter", help, &|status| {
            status.merges.values()[index] as f64
        });
    }
    each("meltica_merge_rules", "gauge", "Merge rules in force.", &|status| f64::from(status.rule_count));
    each("meltica_merge_open_events", "gauge", "Events in open windows.", &|status| {
        status.open_events as f64
    });
    each("meltica_merger_inputs_lagging", "gauge", "Providers that are not waited for.", &|status| {
        f64::from(status.inputs_lagging)
    });
    each("meltica_merger_routing_version", "gauge", "The routing version in force.", &|status| {
        f64::from(status.routing_version)
    });
    each("meltica_merger_dead_letters_total", "counter", "Dead letters written.", &|status| {
        status.letters_total as f64
    });
    // By rule beside the sums: those end with their rule, and there are no more than a topology may have.
    let mut by_rule = |family: &str, kind: &str, help: &str, value: &dyn Fn(&RuleStatus) -> f64| {
        out.family(family, kind, help);
        for status in &view.mergers {
            for rule in &status.rules[..usize::from(status.rule_count)] {
                out.sample(family, &[("shard", shard(status)), ("rule", rule.name())], value(rule));
            }
        }
    };
    for (index, (name, help)) in MergeCounts::LIST.iter().enumerate() {
        by_rule(&format!("meltica_merge_rule_{name}"), "counter", help, &|rule| {
            rule.counts.values()[index] as f64
        });
    }
    by_rule("meltica_merge_rule_open_events", "gauge", "Events in the rule's open windows.", &|rule| {
        rule.open_events as f64
    });
    let name = "meltica_merge_windows_missed_total";
    out.family(name, "counter", "Suppressed windows that lacked a provider.");
    for status in &view.mergers {
        for (provider, missed) in topology.providers.iter().zip(status.missed_by_provider) {
            out.sample(name, &[("shard", shard(status)), ("provider", &provider.name)], missed as f64);
        }
    }
}

fn races(out: &mut Families, view: &View, topology: &Topology) {
    let families: [Described<Race>; 4] = [
        (
            "meltica_line_won_total",
            "counter",
            "Trades, tickers and klines that a line brought first.",
            |race| race.won_total as f64,
        ),
        (
            "meltica_line_confirmed_total",
            "counter",
            "Those of them that another line brought later.",
            |race| race.confirmed_total as f64,
        ),
        ("meltica_line_margin_seconds_total", "counter", "How much later, over all of those.", |race| {
            race.margin_ns_total as f64 * 1e-9
        }),
        ("meltica_line_margin_seconds_max", "gauge", "How much later at most.", |race| {
            race.margin_ns_max as f64 * 1e-9
        }),
    ];
    for (name, kind, help, value) in families {
        out.family(name, kind, help);
        for status in &view.providers {
            let provider = &topology.providers[usize::from(status.provider)].name;
            // Which of a provider's lines is the spare one changes with every roll: those that ever won are shown.
            for (line, race) in status.races.iter().enumerate().filter(|(_, race)| race.won_total > 0) {
                out.sample(name, &[("provider", provider), ("line", &line.to_string())], value(race));
            }
        }
    }
}

fn pools(out: &mut Families, view: &View, topology: &Topology) {
    for (name, help, capacity) in [
        ("meltica_pool_slots_used", "Slots of a pool that are out.", false),
        ("meltica_pool_slots", "Slots of a pool.", true),
    ] {
        out.family(name, "gauge", help);
        for status in &view.providers {
            let provider = &topology.providers[usize::from(status.provider)].name;
            for (pool, (used, slots)) in POOL_NAMES.iter().zip(status.pools) {
                let value = f64::from(if capacity { slots } else { used });
                out.sample(name, &[("provider", provider), ("pool", pool)], value);
            }
        }
        for status in &view.orders {
            let provider = &topology.providers[usize::from(status.provider)].name;
            for (pool, usage) in ORDER_POOL_NAMES.iter().zip(&status.pools) {
                let value = if capacity { usage.capacity } else { usage.out } as f64;
                out.sample(name, &[("provider", provider), ("pool", pool)], value);
            }
        }
        // A merge shard is the provider of what it joins.
        for status in &view.mergers {
            let shard = &topology.shards[usize::from(status.shard)].name;
            for (pool, (used, slots)) in MERGER_POOL_NAMES.iter().zip(status.pools) {
                let value = f64::from(if capacity { slots } else { used });
                out.sample(name, &[("provider", shard), ("pool", pool)], value);
            }
        }
    }
}

fn outputs(out: &mut Families, view: &View, topology: &Topology) {
    let mut each = |family: &str, kind: &str, help: &str, value: &dyn Fn(&OutputStatus) -> f64| {
        out.family(family, kind, help);
        let providers = view.providers.iter().map(|status| {
            let provider = topology.providers[usize::from(status.provider)].name.as_str();
            (provider, &status.outputs[..usize::from(status.output_count)])
        });
        let mergers = view.mergers.iter().map(|status| {
            let shard = topology.shards[usize::from(status.shard)].name.as_str();
            (shard, &status.outputs[..usize::from(status.output_count)])
        });
        for (provider, outputs) in providers.chain(mergers) {
            for output in outputs {
                let shard = topology.shards.get(usize::from(output.shard)).map_or("?", |shard| &shard.name);
                out.sample(family, &[("provider", provider), ("shard", shard)], value(output));
            }
        }
    };
    for (index, (name, help)) in LaneCounts::LIST.iter().enumerate() {
        each(&format!("meltica_fanout_{name}"), "counter", help, &|output| {
            output.counts.values()[index] as f64
        });
    }
    each("meltica_fanout_in_flight", "gauge", "Events that wait before the ring.", &|output| {
        output.in_flight as f64
    });
    each("meltica_ring_events", "gauge", "Event parts in the ring.", &|output| {
        output.state.ring_depth as f64
    });
    each("meltica_ring_capacity_events", "gauge", "Event parts that fit the ring.", &|output| {
        output.state.ring_capacity as f64
    });
    each("meltica_ring_full_total", "counter", "Events that met a full ring.", &|output| {
        output.state.full_total as f64
    });
    each("meltica_spill_events", "gauge", "Event parts in the spill.", &|output| {
        output.state.spill_depth as f64
    });
    each("meltica_ring_pushed_total", "counter", "Event parts put into the ring.", &|output| {
        output.state.pushed_total as f64
    });
}

fn consumers(out: &mut Families, view: &View, controller: &Controller) {
    let topology = controller.topology();
    let seats = || {
        view.consumers.iter().flat_map(|status| {
            let shard = crate::topology::ShardIndex(status.shard);
            let names = topology.consumers_on(shard).map(|(_, plan)| plan.name.as_str());
            let shard = topology.shard(shard).name.as_str();
            names
                .zip(&status.seats[..usize::from(status.seat_count)])
                .map(move |(name, seat)| (shard, name, seat))
        })
    };
    for (index, (name, help)) in SeatCounts::LIST.iter().enumerate() {
        let (name, scale) = in_seconds(name);
        let family = format!("meltica_consumer_{name}");
        out.family(&family, if name.ends_with("_total") { "counter" } else { "gauge" }, help);
        for (shard, consumer, seat) in seats() {
            let value = seat.counts.values()[index] as f64 * scale;
            out.sample(&family, &[("shard", shard), ("consumer", consumer)], value);
        }
    }
    out.family("meltica_consumer_up", "gauge", "Whether the consumer takes events.");
    for (shard, consumer, seat) in seats() {
        out.sample(
            "meltica_consumer_up",
            &[("shard", shard), ("consumer", consumer)],
            f64::from(u8::from(seat.up)),
        );
    }
    let named = || topology.consumers.iter().enumerate();
    out.family("meltica_consumer_subscriptions", "gauge", "Streams that the consumer subscribes to.");
    for (index, plan) in named() {
        let count = controller.held(index).count();
        out.sample("meltica_consumer_subscriptions", &[("consumer", &plan.name)], count as f64);
    }
    out.family(
        "meltica_consumer_may_trade",
        "gauge",
        "Whether its orders may leave: switch on and not killed.",
    );
    for (index, plan) in named() {
        let may_trade = controller.switches().may_trade(index);
        out.sample("meltica_consumer_may_trade", &[("consumer", &plan.name)], f64::from(u8::from(may_trade)));
    }
    for (name, help, value) in [
        (
            "meltica_ring_oldest_seconds",
            "Since when the oldest event in the ring had been received.",
            (|ring| ring.oldest_ns) as fn(&RingStatus) -> u64,
        ),
        (
            "meltica_ring_oldest_seconds_max",
            "The longest that the oldest event of a ring had waited when the shard came to it.",
            |ring| ring.oldest_ns_max,
        ),
    ] {
        out.family(name, "gauge", help);
        for status in &view.consumers {
            let shard = &topology.shards[usize::from(status.shard)].name;
            for ring in &status.rings[..usize::from(status.ring_count)] {
                let labels = [("provider", topology.sender_name(ring.provider)), ("shard", shard)];
                if ring.provider.is_some() {
                    out.sample(name, &labels, value(ring) as f64 * 1e-9);
                }
            }
        }
    }
    out.family(
        "meltica_shard_received_total",
        "counter",
        "Event parts taken off the rings of a consumer shard.",
    );
    for status in &view.consumers {
        let shard = &topology.shards[usize::from(status.shard)].name;
        out.sample("meltica_shard_received_total", &[("shard", shard)], status.received_total as f64);
    }
    for (index, (name, help)) in OutboxCounts::LIST.iter().enumerate() {
        let family = format!("meltica_outbox_{name}");
        out.family(&family, "counter", help);
        for status in &view.consumers {
            let shard = &topology.shards[usize::from(status.shard)].name;
            out.sample(&family, &[("shard", shard)], status.outbox.values()[index] as f64);
        }
    }
}

fn stages(out: &mut Families, view: &View) {
    out.family(
        "meltica_stage_latency_seconds",
        "gauge",
        "Latency of a stage over the last interval; quantile 1 is the largest.",
    );
    for (shard, stages) in &view.stages {
        for stage in stages {
            for (quantile, ns) in
                [("0.5", stage.latency_ns_p50), ("0.99", stage.latency_ns_p99), ("1", stage.latency_ns_max)]
            {
                let labels = [("shard", shard.as_str()), ("stage", &stage.stage), ("quantile", quantile)];
                out.sample("meltica_stage_latency_seconds", &labels, ns as f64 * 1e-9);
            }
        }
    }
    out.family("meltica_stage_count_total", "counter", "Latencies recorded in a stage since the start.");
    for (shard, stage, count) in &view.stage_counts {
        out.sample("meltica_stage_count_total", &[("shard", shard), ("stage", stage)], *count as f64);
    }
    let loops: [Described<super::view::LoopView>; 4] = [
        ("meltica_loop_turns_total", "counter", "Turns of a shard's loop.", |counts| {
            counts.turns_total as f64
        }),
        ("meltica_loop_long_turns_total", "counter", "Turns above 1 ms.", |counts| {
            counts.turns_long_total as f64
        }),
        ("meltica_loop_turn_seconds_max", "gauge", "The longest turn.", |counts| {
            counts.turn_ns_max as f64 * 1e-9
        }),
        ("meltica_loop_sleeps_total", "counter", "Sleeps of a shard's loop.", |counts| {
            counts.sleeps_total as f64
        }),
    ];
    for (name, kind, help, value) in loops {
        out.family(name, kind, help);
        for (shard, counts) in &view.loops {
            out.sample(name, &[("shard", shard)], value(counts));
        }
    }
}
