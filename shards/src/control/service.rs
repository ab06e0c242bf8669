//! What each route does: a request to an answer, now or when shards have confirmed.

use engine::channel::Channel;
use engine::dead_letter::DeadLetter;
use engine::merge::{BboSource, MergeKind};
use serde_json::{Value, json};

use super::controller::{Controller, Finished, Origin, ShardLatencies, ShardLetters};
use super::http::{Request, Response, is_same_secret};
use super::merge_order::{JoinOrder, MergedOrder, name_of};
use super::order::{Change, Order, Refusal, consumer_of, provider_of};
use super::server::{ServerCounts, Ticket};
use super::view::View;
use super::{metrics, openapi, shown};
use crate::status::POOL_NAMES;

/// Methods, path, and what it is for: `/`, 404 and the OpenAPI document say the same.
pub const ROUTES: &[(&str, &str, &str)] = &[
    ("GET", "/status", "Everything at a glance."),
    ("GET", "/subscriptions", "Who receives what."),
    (
        "GET",
        "/streams",
        "How late each stream was at each consumer shard, from the bytes read to the first handler, since the start.",
    ),
    ("POST", "/subscriptions", "A consumer begins to receive streams."),
    ("DELETE", "/subscriptions", "A consumer receives streams no longer."),
    ("GET", "/merges", "The merge rules, who joins what, and who receives it."),
    ("POST", "/merges", "A merge rule begins, for a consumer if one is named."),
    ("DELETE", "/merges", "A merge rule ends."),
    ("PUT", "/consumers/{name}/trading", "The consumer's trading switch: on or off."),
    ("POST", "/providers/{name}/roll", "Its lines are replaced one after the other, without a hole."),
    ("POST", "/kill", "No orders of a consumer, or of all."),
    ("DELETE", "/kill", "The end of that."),
    ("GET", "/dead-letters", "What could not be decoded or delivered, and why."),
    ("GET", "/metrics", "Counters and latencies for Prometheus."),
    ("GET", "/healthz", "The process runs."),
    ("GET", "/readyz", "Lines are up, books are proved, consumers are up; 503 with the reasons if not."),
    ("GET", "/openapi.json", "This, as an OpenAPI document."),
];

/// What a request is answered from.
#[derive(Debug)]
pub struct Service {
    /// Who receives what.
    pub controller: Controller,
    /// What a request must carry, if anything.
    pub token: Option<String>,
}

impl Service {
    /// Answers a request; `None` if the answer comes through [`poll`](Self::poll).
    pub fn handle(
        &mut self,
        ticket: Ticket,
        request: &Request,
        view: &View,
        counts: ServerCounts,
        now_ns: u64,
    ) -> Option<Response> {
        if let Some(token) = &self.token {
            let given = request.token.as_deref().unwrap_or_default();
            if !is_same_secret(given.as_bytes(), token.as_bytes()) {
                let fits = "Authorization: Bearer TOKEN, as in the file of control.token_file";
                return Some(Response::error(401, "the token is missing or wrong", fits));
            }
        } else if request.has_foreign_host {
            // Without a token, a page whose name was made to lead to loopback could ask in its visitor's browser.
            let fits = "the address in Host, or control.token_file where a name leads here";
            return Some(Response::error(403, "the endpoint has no name", fits));
        }
        if request.has_origin {
            return Some(Response::error(
                403,
                "pages of browsers have no access",
                "a request without Origin",
            ));
        }
        match self.route(ticket, request, view, counts, now_ns) {
            Ok(answer) => answer,
            Err(Refusal { status, reason, fits }) => Some(Response::error(status, &reason, &fits)),
        }
    }

    fn route(
        &mut self,
        ticket: Ticket,
        request: &Request,
        view: &View,
        counts: ServerCounts,
        now_ns: u64,
    ) -> Result<Option<Response>, Refusal> {
        let path = request.path.trim_end_matches('/');
        // Every route is the same under its version: what changes incompatibly will have another one.
        let path = path.strip_prefix("/v1").filter(|rest| rest.starts_with('/')).unwrap_or(path);
        let is_on = |pattern: &str| match pattern.split_once("{name}") {
            None => pattern == path,
            Some((before, after)) => path
                .strip_prefix(before)
                .and_then(|rest| rest.strip_suffix(after))
                .is_some_and(|name| !name.is_empty() && !name.contains('/')),
        };
        let methods: Vec<&str> =
            ROUTES.iter().filter(|(_, pattern, _)| is_on(pattern)).map(|(method, ..)| *method).collect();
        let method = if request.method == "HEAD" { "GET" } else { request.method.as_str() };
        if methods.is_empty() {
            let list: Vec<String> =
                ROUTES.iter().map(|(method, path, _)| format!("{method} {path}")).collect();
            return Err(Refusal::new(404, format!("no route {path:?}"), list.join(", ")));
        }
        if !methods.contains(&method) {
            let fits = methods.join(", ");
            let mut response = Response::error(405, &format!("{method} does not fit {path}"), &fits);
            response.allow = Some(fits);
            return Ok(Some(response));
        }
        let answer = match (method, path) {
            ("GET", "/status") => Response::json(200, &self.status(view)),
            ("GET", "/subscriptions") => Response::json(200, &self.subscriptions()),
            ("GET", "/merges") => Response::json(200, &self.merges()),
            ("GET", "/metrics") => {
                let text = metrics::render(view, &self.controller, counts);
                Response::text(200, "text/plain; version=0.0.4; charset=utf-8", text)
            }
            ("GET", "/healthz") => Response::json(200, &json!({ "status": "ok" })),
            ("GET", "/readyz") => {
                let reasons = self.unready(view);
                let status = if reasons.is_empty() { 200 } else { 503 };
                Response::json(status, &json!({ "ready": reasons.is_empty(), "reasons": reasons }))
            }
            ("GET", "/openapi.json") => Response::json(200, &openapi::document()),
            ("GET", "/streams") => {
                self.controller.ask_latencies(ticket, now_ns);
                return Ok(None);
            }
            ("GET", _) => {
                self.controller.ask_letters(ticket, now_ns);
                return Ok(None);
            }
            (_, "/subscriptions") => {
                let body = body_of(request)?;
                let topology = self.controller.topology();
                let change = if body.get("merge").is_some() {
                    Change::Merged(MergedOrder::of_json(topology, method == "POST", &body)?)
                } else {
                    Change::Streams(Order::of_json(topology, method == "POST", &body)?)
                };
                self.controller.submit(Origin::Operator(ticket), change, now_ns)?;
                return Ok(None);
            }
            (_, "/merges") => {
                let body = body_of(request)?;
                let change = if method == "POST" {
                    Change::Join(Box::new(JoinOrder::of_json(self.controller.topology(), &body)?))
                } else {
                    Change::EndMerge(name_of(&body)?)
                };
                self.controller.submit(Origin::Operator(ticket), change, now_ns)?;
                return Ok(None);
            }
            ("POST", path) if path.starts_with("/providers/") => {
                let name = path.split('/').nth(2).unwrap_or_default();
                let provider = provider_of(self.controller.topology(), name)?;
                self.controller.ask_roll(ticket, provider, now_ns);
                return Ok(None);
            }
            (_, "/kill") => self.kill(method == "POST", &body_of(request)?, now_ns)?,
            _ => self.trading(path, &body_of(request)?, now_ns)?,
        };
        Ok(Some(answer))
    }

    fn kill(&mut self, on: bool, body: &Value, now_ns: u64) -> Result<Response, Refusal> {
        let name = body.get("consumer").and_then(Value::as_str).ok_or_else(|| {
            Refusal::new(400, "consumer is not a text", "{\"consumer\": \"all\"} or the name of one")
        })?;
        let consumer = match name {
            "all" => None,
            name => Some(consumer_of(self.controller.topology(), name)?),
        };
        let changed = self.controller.set_killed(consumer, on, now_ns);
        let version = self.controller.version();
        let answer =
            json!({ "consumer": name, "killed": on, "changed": changed, "routing_version": version });
        Ok(Response::json(200, &answer))
    }

    fn trading(&mut self, path: &str, body: &Value, now_ns: u64) -> Result<Response, Refusal> {
        let name = path.split('/').nth(2).unwrap_or_default();
        let consumer = consumer_of(self.controller.topology(), name)?;
        let on = match body.get("trading") {
            Some(Value::Bool(on)) => *on,
            Some(Value::String(text)) if text == "on" => true,
            Some(Value::String(text)) if text == "off" => false,
            _ => return Err(Refusal::new(400, "trading does not fit", "{\"trading\": \"on\"} or \"off\"")),
        };
        let changed = self.controller.set_trading(None, consumer, on, now_ns);
        let answer = json!({
            "consumer": name,
            "trading": on,
            "killed": self.controller.switches().killed(consumer),
            "changed": changed,
            "routing_version": self.controller.version(),
        });
        Ok(Response::json(200, &answer))
    }

    /// Answers that were due and are there now.
    pub fn poll(&mut self) -> Option<(Vec<Ticket>, Response)> {
        if let Some((tickets, letters)) = self.controller.poll_letters() {
            return Some((tickets, Response::json(200, &self.letters(&letters))));
        }
        if let Some((tickets, shards)) = self.controller.poll_latencies() {
            return Some((tickets, Response::json(200, &self.streams(&shards))));
        }
        if let Some((ticket, provider, answer)) = self.controller.poll_rolls() {
            let response = match answer {
                Ok(answer) => Response::json(
                    200,
                    &json!({
                        "provider": self.controller.topology().providers[provider].name,
                        "lines": answer.lines,
                        "under_way": answer.under_way,
                    }),
                ),
                Err(Refusal { status, reason, fits }) => Response::error(status, &reason, &fits),
            };
            return Some((vec![ticket], response));
        }
        while let Some(Finished { origin, result }) = self.controller.poll_finished() {
            let Origin::Operator(ticket) = origin else { continue };
            let response = match result {
                Ok(changed) => Response::json(200, &changed.to_json()),
                Err(Refusal { status, reason, fits }) => Response::error(status, &reason, &fits),
            };
            return Some((vec![ticket], response));
        }
        None
    }

    fn letters(&self, shards: &[ShardLetters]) -> Value {
        let topology = self.controller.topology();
        let catalog = self.controller.catalog();
        let facts_of = |letter: &DeadLetter| catalog.stream(letter.provider?, letter.stream?);
        let one = |found: &ShardLetters| {
            let letters = found.letters.iter().map(|letter| {
                let consumer = letter.consumer.and_then(|id| topology.consumers.get(id.index()));
                json!({
                    "reason": letter.reason.name(),
                    "priority": format!("{:?}", letter.priority).to_lowercase(),
                    "at_ns": letter.at.ns(),
                    "provider": letter.provider.map(|id| catalog.provider(id)),
                    "stream": letter.stream.map(|id| id.0),
                    "symbol": facts_of(letter).map(|facts| facts.symbol.as_str()),
                    "channel": facts_of(letter).map(|facts| facts.channel.to_string()),
                    "venue": letter.provider.and_then(|id| topology.providers.get(id.index())).map(|plan| plan.product.venue().to_owned()),
                    "shard": letter.shard.and_then(|id| topology.shards.get(usize::from(id.0))).map(|plan| &plan.name),
                    "consumer": consumer.map(|plan| &plan.name),
                    "trace": letter.trace.to_string(),
                    "excerpt": String::from_utf8_lossy(&letter.excerpt),
                })
            });
            json!({
                "shard": topology.shards[found.shard].name,
                "written_total": found.written_total,
                "evicted_total": found.evicted_total,
                "letters": letters.collect::<Vec<_>>(),
            })
        };
        json!({ "shards": shards.iter().map(one).collect::<Vec<_>>() })
    }

    fn streams(&self, shards: &[ShardLatencies]) -> Value {
        let topology = self.controller.topology();
        let catalog = self.controller.catalog();
        let rows = shards.iter().flat_map(|found| {
            let shard = topology.shards[found.shard].name.as_str();
            found.streams.iter().map(move |(provider, stream, latency)| {
                let facts = catalog.stream(*provider, *stream);
                json!({
                    "shard": shard,
                    "provider": catalog.provider(*provider),
                    "symbol": facts.map(|facts| facts.symbol.as_str()),
                    "channel": facts.map(|facts| facts.channel.to_string()),
                    "events_total": latency.count_total,
                    "latency_ns_p50": latency.at_most_ns(50),
                    "latency_ns_p99": latency.at_most_ns(99),
                    "latency_ns_max": latency.latency_ns_max,
                })
            })
        });
        json!({ "streams": rows.collect::<Vec<_>>() })
    }

    fn subscriptions(&self) -> Value {
        let topology = self.controller.topology();
        let consumers = topology.consumers.iter().enumerate().map(|(index, plan)| {
            let streams = self.controller.held(index).map(|held| {
                json!({
                    "provider": held.provider,
                    "symbol": held.symbol,
                    "channel": held.channel.to_string(),
                    "merge": held.merge,
                    "delivery": held.how.delivery.name(),
                    "book_depth": held.channel.is_book().then_some(held.how.book_depth),
                })
            });
            json!({ "consumer": plan.name, "streams": streams.collect::<Vec<_>>() })
        });
        json!({ "routing_version": self.controller.version(), "consumers": consumers.collect::<Vec<_>>() })
    }

    fn merges(&self) -> Value {
        let topology = self.controller.topology();
        let catalog = self.controller.catalog();
        let shards = self.controller.mergers().iter().map(|merger| {
            let rules = merger.rules().iter().map(|known| {
                let rule = &known.rule;
                let inputs = rule.inputs.iter().map(|(provider, instruments)| {
                    let symbols = instruments.iter().map(|id| catalog.symbol(*id)).collect::<Vec<_>>();
                    (catalog.provider(*provider).to_owned(), json!(symbols))
                });
                let consumers = self.controller.consumers_of(merger, known).map(|(consumer, delivery)| {
                    json!({ "name": topology.consumers[consumer].name, "delivery": delivery.name() })
                });
                let windowed = rule.kind.is_windowed();
                let age_ms = (rule.leg_age_ns_max < u64::MAX).then_some(rule.leg_age_ns_max / 1_000_000);
                json!({
                    "name": rule.name,
                    "kind": kind_words(rule.kind),
                    "inputs": inputs.collect::<serde_json::Map<_, _>>(),
                    "window_s": windowed.then_some(rule.window_ns as f64 / 1e9),
                    "count": windowed.then_some(rule.count),
                    "leg_age_ms": age_ms,
                    "streams": known.streams.len(),
                    "ends_with_its_consumers": known.from_inside,
                    "consumers": consumers.collect::<Vec<_>>(),
                })
            });
            json!({ "shard": topology.shards[merger.shard()].name, "rules": rules.collect::<Vec<_>>() })
        });
        json!({ "routing_version": self.controller.version(), "shards": shards.collect::<Vec<_>>() })
    }

    fn status(&self, view: &View) -> Value {
        let topology = self.controller.topology();
        let switches = self.controller.switches();
        let providers = view.providers.iter().map(|status| {
            let outputs = shown::outputs(topology, &status.outputs[..usize::from(status.output_count)]);
            let pools = POOL_NAMES
                .iter()
                .zip(status.pools)
                .map(|(name, (out, capacity))| json!({ "name": name, "out": out, "capacity": capacity }));
            json!({
                "name": topology.providers[usize::from(status.provider)].name,
                "lines": status.connections,
                "lines_live": status.connections_live,
                "books": status.books,
                "books_proved": status.books_proved,
                "messages_total": status.counts.messages_total,
                "gaps_total": status.counts.gaps_total,
                "resyncs_total": status.counts.resyncs_total,
                "decode_errors_total": status.counts.decode_errors_total,
                "lines_lost_total": status.lost_total,
                "routing_version": status.routing_version,
                "pools": pools.collect::<Vec<_>>(),
                "outputs": outputs,
            })
        });
        let consumers = topology.consumers.iter().enumerate().map(|(index, plan)| {
            let seat = view.consumers.iter().find(|status| status.shard == plan.shard.0).and_then(|status| {
                let at = topology.consumers_on(plan.shard).position(|(found, _)| found == index)?;
                status.seats[..usize::from(status.seat_count)].get(at)
            });
            json!({
                "name": plan.name,
                "shard": topology.shard(plan.shard).name,
                "up": seat.map(|seat| seat.up),
                "events_total": seat.map(|seat| seat.counts.events_total),
                "panics_total": seat.map(|seat| seat.counts.panics_total),
                "busy_ns_total": seat.map(|seat| seat.counts.busy_ns_total),
                "busy_ns_max": seat.map(|seat| seat.counts.busy_ns_max),
                "missed_total": seat.map(|seat| seat.counts.missed_total),
                "streams": self.controller.held(index).count(),
                "trading": switches.trading(index),
                "killed": switches.killed(index),
                "may_trade": switches.may_trade(index),
            })
        });
        let rings = view.consumers.iter().flat_map(|status| {
            let shard = &topology.shards[usize::from(status.shard)].name;
            status.rings[..usize::from(status.ring_count)].iter().map(move |ring| {
                json!({
                    "shard": shard,
                    "from": topology.sender_name(ring.provider),
                    "events": ring.events,
                    "oldest_ns": ring.oldest_ns,
                    "oldest_ns_max": ring.oldest_ns_max,
                })
            })
        });
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "uptime_ms": view.run_ns / 1_000_000,
            "routing_version": self.controller.version(),
            "killed_all": switches.killed_all(),
            "ready": self.unready(view).is_empty(),
            "providers": providers.collect::<Vec<_>>(),
            "consumers": consumers.collect::<Vec<_>>(),
            "shards": shown::shards(topology, view),
            "mergers": shown::mergers(topology, view),
            "orders": shown::orders(topology, view),
            "incidents": shown::incidents(view),
            "rings": rings.collect::<Vec<_>>(),
        })
    }

    /// Why the gateway is not ready; empty if it is.
    fn unready(&self, view: &View) -> Vec<String> {
        let topology = self.controller.topology();
        let mut reasons = Vec::new();
        for (index, plan) in topology.providers.iter().enumerate() {
            let Some(status) = view.providers.iter().find(|status| usize::from(status.provider) == index)
            else {
                reasons.push(format!("provider {} has not said anything yet", plan.name));
                continue;
            };
            let down = (0..status.connections.min(64)).filter(|line| status.lines_live & (1 << line) == 0);
            for line in down {
                reasons.push(format!("provider {}: line {line} is down or not subscribed", plan.name));
            }
            let unproved = status.books - status.books_proved;
            if unproved > 0 {
                let named: Vec<&str> = status
                    .books_unproved
                    .iter()
                    .filter(|listing| **listing != u16::MAX)
                    .map(|listing| self.controller.symbol(index, *listing))
                    .collect();
                let more = if named.len() < unproved as usize { ", ..." } else { "" };
                reasons.push(format!(
                    "provider {}: {unproved} of {} books are not proved: {}{more}",
                    plan.name,
                    status.books,
                    named.join(", ")
                ));
            }
        }
        for status in &view.consumers {
            let shard = crate::topology::ShardIndex(status.shard);
            let seats = &status.seats[..usize::from(status.seat_count)];
            for ((_, plan), seat) in topology.consumers_on(shard).zip(seats) {
                if !seat.up {
                    reasons.push(format!("consumer {} is down", plan.name));
                }
            }
        }
        reasons
    }
}

/// The word for a kind, as a rule is asked for with it.
fn kind_words(kind: MergeKind) -> String {
    match kind {
        MergeKind::Kline(interval) => Channel::Kline(interval).to_string(),
        MergeKind::Bbo(BboSource::Book { .. }) => "book_bbo".to_owned(),
        kind => kind.name().to_owned(),
    }
}

/// A request's body as JSON.
fn body_of(request: &Request) -> Result<Value, Refusal> {
    let media = request.content_type.as_deref().and_then(|media| media.split(';').next()).map(str::trim);
    if media != Some("application/json") {
        return Err(Refusal::new(415, "the body is not said to be JSON", "Content-Type: application/json"));
    }
    serde_json::from_slice(&request.body)
        .map_err(|error| Refusal::new(400, format!("the body is not JSON: {error}"), "a JSON object"))
}
