//! The three simulated venues in a process of their own, so that the memory and the descriptors of the other one are the
//! gateway's. This is both ends: [`serve`] is the venues' process, `Venues` is how the day speaks to it.
//!
//! One line of text a command, one line of JSON an answer. The process ends when its input does.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};
use shards::launch::Simulation;
use shards::topology::{Endpoints, KeySource, Topology};
use simvenues::{BookTruth, Fault, InstrumentSpec, default_instruments};

use super::plan::Trouble;

/// Digits after the point at which quantities are compared, whatever the scales of venue and gateway.
pub(super) const QTY_DECIMALS: u32 = 18;

/// What a venue says of its orders.
#[derive(Clone, Debug, Default)]
pub(super) struct Orders {
    /// Accepted since the start.
    pub orders: u64,
    /// Still open.
    pub open: u64,
    /// Client ids that came twice.
    pub twice: u64,
    /// Executions.
    pub fills: u64,
    /// What they come to, in units of 10 to the minus [`QTY_DECIMALS`].
    pub qty: i128,
}

/// Runs the venues of a topology until the input ends.
///
/// # Errors
/// What kept them from starting.
pub fn serve(topology: &Topology, home: &Path) -> Result<(), String> {
    let simulation = Simulation::start(topology).map_err(|error| error.to_string())?;
    let text = |error: std::io::Error| error.to_string();
    let mut hello = Vec::new();
    for (provider, plan) in topology.providers.iter().enumerate() {
        let server = simulation.server(provider).ok_or("a provider without its venue")?;
        let key = server.faults().keys().into_iter().next().ok_or("the venue issued no key")?;
        let path = home.join(format!("{}.key", plan.name));
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .map_err(text)?;
        file.set_permissions(std::fs::Permissions::from_mode(0o600)).map_err(text)?;
        write!(file, "{}\n{}\n", key.name, key.secret_text.trim_end()).map_err(text)?;
        hello.push(json!({"address": server.address().to_string(), "key": path}));
    }
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", Value::from(hello)).map_err(text)?;
    for line in std::io::stdin().lock().lines() {
        let line = line.map_err(text)?;
        let answer = answer(&simulation, topology, &line).unwrap_or_else(|| json!({"error": line}));
        writeln!(out, "{answer}").map_err(text)?;
    }
    Ok(())
}

fn answer(simulation: &Simulation, topology: &Topology, line: &str) -> Option<Value> {
    let mut words = line.split(' ');
    let what = words.next()?;
    let provider: usize = words.next()?.parse().ok()?;
    let server = simulation.server(provider)?;
    let mut number = || words.next()?.parse::<f64>().ok();
    Some(match what {
        "rate" => {
            server.set_rate(number()?);
            json!({})
        }
        "trouble" => {
            let (kind, chance) = (number()? as usize, number()? as usize);
            let symbols: Vec<String> = server.truth().into_iter().map(|truth| truth.symbol).collect();
            let symbol = symbols.get(chance % symbols.len().max(1))?.clone();
            server.faults().inject(Trouble::ALL.get(kind)?.fault(symbol));
            json!({})
        }
        "calm" => {
            server.faults().inject(Fault::Clear);
            json!({})
        }
        "trades" => {
            let lasts = server.truth().into_iter().map(|truth| json!([truth.symbol, truth.trade_id_last]));
            Value::from(lasts.collect::<Vec<_>>())
        }
        "book" => {
            let book = server.book(words.next()?)?;
            json!({
                "update_id": book.update_id, "price_decimals": book.price_decimals, "qty_decimals": book.qty_decimals,
                "bids": book.bids, "asks": book.asks
            })
        }
        "stats" => {
            let stats = server.stats();
            json!({"frames": stats.frames_sent_total, "skipped_ns": stats.skipped_ns_total})
        }
        "orders" => {
            let truth = server.faults().trading();
            let mut ids: Vec<&str> = truth.orders.iter().map(|order| order.client_id.as_str()).collect();
            ids.sort_unstable();
            let unique = {
                ids.dedup();
                ids.len()
            };
            let quote =
                topology.symbol(topology.providers[provider].instruments.first()?.id).split_once('-')?.1;
            let specs = default_instruments(quote);
            let qty = |fill: &simvenues::exchange::Fill| {
                let at = truth.orders.binary_search_by_key(&fill.order, |order| order.id).ok()?;
                let order = &truth.orders[at];
                specs.iter().find(|spec| spec.symbol() == order.symbol).map(|spec| units(spec, fill.qty))
            };
            let sum: i128 = truth.fills.iter().filter_map(qty).sum();
            json!({
                "orders": truth.orders.len(), "open": truth.orders.iter().filter(|order| order.status.is_open()).count(),
                "twice": truth.orders.len() - unique, "fills": truth.fills.len(), "qty": sum.to_string()
            })
        }
        _ => return None,
    })
}

/// Lots in units of 10 to the minus [`QTY_DECIMALS`].
fn units(spec: &InstrumentSpec, lots: i64) -> i128 {
    i128::from(lots) * i128::from(spec.lot) * 10_i128.pow(QTY_DECIMALS - spec.qty_decimals as u32)
}

/// The other process.
pub(super) struct Venues {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    addresses: Vec<(String, PathBuf)>,
}

impl Venues {
    /// Starts `program day ...` as the venues.
    pub(super) fn start(mut command: Command) -> Result<Self, String> {
        let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = spawned.map_err(|error| format!("the venues' process: {error}"))?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let output = BufReader::new(output.ok_or("the venues' process has no output")?);
        let mut venues = Self { child, input, output, addresses: Vec::new() };
        let hello = venues.read()?;
        let address = |one: &Value| Some((one["address"].as_str()?.to_owned(), one["key"].as_str()?.into()));
        let addresses: Option<Vec<_>> = hello.as_array().and_then(|list| list.iter().map(address).collect());
        venues.addresses = addresses.ok_or_else(|| format!("the venues' process said {hello}"))?;
        Ok(venues)
    }

    /// Leads the providers of a topology to them.
    pub(super) fn attach(&self, topology: &mut Topology) {
        for (plan, (address, key)) in topology.providers.iter_mut().zip(&self.addresses) {
            plan.endpoints = Endpoints::Explicit {
                websocket: format!("ws://{address}"),
                rest: format!("http://{address}"),
                ca_file: None,
            };
            if let Some(orders) = &mut plan.orders {
                orders.keys = Some(KeySource::File(key.clone()));
            }
        }
    }

    /// How many venues there are.
    pub(super) fn count(&self) -> usize {
        self.addresses.len()
    }

    fn read(&mut self) -> Result<Value, String> {
        let mut line = String::new();
        self.output.read_line(&mut line).map_err(|error| format!("the venues' process: {error}"))?;
        serde_json::from_str(&line).map_err(|_| "the venues' process has ended".to_owned())
    }

    fn ask(&mut self, line: &str) -> Result<Value, String> {
        let input = self.input.as_mut().ok_or("the venues' process has ended")?;
        writeln!(input, "{line}").map_err(|error| format!("the venues' process: {error}"))?;
        let answer = self.read()?;
        if answer.get("error").is_some() {
            Err(format!("the venues' process refuses {line}"))
        } else {
            Ok(answer)
        }
    }

    /// Messages a second of each instrument of every venue; 0 stands still.
    pub(super) fn set_rate(&mut self, rate: f64) -> Result<(), String> {
        (0..self.count()).try_for_each(|provider| self.ask(&format!("rate {provider} {rate}")).map(drop))
    }

    /// Something goes wrong at a venue now; `chance` says with which instrument.
    pub(super) fn trouble(&mut self, provider: usize, trouble: Trouble, chance: u16) -> Result<(), String> {
        let kind = Trouble::ALL.iter().position(|known| *known == trouble).unwrap_or(0);
        self.ask(&format!("trouble {provider} {kind} {chance}")).map(drop)
    }

    /// Nothing goes wrong any more.
    pub(super) fn calm(&mut self) -> Result<(), String> {
        (0..self.count()).try_for_each(|provider| self.ask(&format!("calm {provider}")).map(drop))
    }

    /// By canonical symbol: the last trade published.
    pub(super) fn trades(&mut self, provider: usize) -> Result<Vec<(String, Option<u64>)>, String> {
        let answer = self.ask(&format!("trades {provider}"))?;
        let one = |one: &Value| Some((one[0].as_str()?.to_owned(), one[1].as_u64()));
        Ok(answer.as_array().into_iter().flatten().filter_map(one).collect())
    }

    /// The true book of an instrument.
    pub(super) fn book(&mut self, provider: usize, symbol: &str) -> Result<BookTruth, String> {
        let answer = self.ask(&format!("book {provider} {symbol}"))?;
        let number = |name: &str| answer[name].as_u64().unwrap_or(0);
        let level = |one: &Value| Some((one[0].as_i64()?, one[1].as_i64()?));
        let levels = |name: &str| answer[name].as_array().into_iter().flatten().filter_map(level).collect();
        Ok(BookTruth {
            update_id: number("update_id"),
            price_decimals: number("price_decimals") as usize,
            qty_decimals: number("qty_decimals") as usize,
            bids: levels("bids"),
            asks: levels("asks"),
        })
    }

    /// Frames sent, and seconds of market that were skipped because the venue could not keep up.
    pub(super) fn stats(&mut self, provider: usize) -> Result<(u64, f64), String> {
        let answer = self.ask(&format!("stats {provider}"))?;
        let number = |name: &str| answer[name].as_u64().unwrap_or(0);
        Ok((number("frames"), number("skipped_ns") as f64 / 1e9))
    }

    /// What became of orders there.
    pub(super) fn orders(&mut self, provider: usize) -> Result<Orders, String> {
        let answer = self.ask(&format!("orders {provider}"))?;
        let number = |name: &str| answer[name].as_u64().unwrap_or(0);
        let qty = answer["qty"].as_str().and_then(|text| text.parse().ok()).unwrap_or(0);
        let (orders, open, twice) = (number("orders"), number("open"), number("twice"));
        Ok(Orders { orders, open, twice, fills: number("fills"), qty })
    }
}

impl Drop for Venues {
    fn drop(&mut self) {
        // The end of its input is what ends it.
        drop(self.input.take());
        let _ = self.child.wait();
    }
}
