//! `meltica ctl`: a small client of the control endpoint; tables for people, `--json` for scripts.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::{EXIT_FAILED, EXIT_OK, EXIT_REFUSED};
use crate::control::thread::read_token;

/// The file in the report directory that holds the address of the run that is going on.
pub const ADDRESS_FILE: &str = "control-address";
/// How long an answer may take: longer than the endpoint's own limit.
const ANSWER_MAX: Duration = Duration::from_secs(8);
/// Bytes of the longest answer: some thousand subscriptions.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// Asks a running gateway, or tells it what to change.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Host and port of the endpoint [default: what the run wrote into REPORT_DIR/control-address].
    #[arg(long, global = true)]
    address: Option<SocketAddr>,
    /// Where the run writes its reports.
    #[arg(long, global = true, default_value = "report")]
    report_dir: PathBuf,
    /// Holds the token that the endpoint asks for.
    #[arg(long, global = true)]
    token_file: Option<PathBuf>,
    /// The answer as it came.
    #[arg(long, global = true)]
    json: bool,
}

/// Which streams of whom.
#[derive(Debug, clap::Args)]
struct Streams {
    /// The consumer's name.
    #[arg(long)]
    consumer: String,
    /// The provider's name.
    #[arg(long)]
    provider: String,
    /// Symbols separated by commas, or all.
    #[arg(long, value_delimiter = ',', required = true)]
    instruments: Vec<String>,
    /// Channels separated by commas, for example "trade,kline 1m".
    #[arg(long, value_delimiter = ',', required = true)]
    channels: Vec<String>,
    /// What a full ring means, as CHANNEL=CLASS, separated by commas [default: the channel's own].
    #[arg(long, value_delimiter = ',')]
    delivery: Vec<String>,
    /// Levels a side of books, or full.
    #[arg(long)]
    book_depth: Option<String>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Everything at a glance.
    Status,
    /// Who receives what.
    Subscriptions,
    /// A consumer begins to receive streams.
    Subscribe(Streams),
    /// A consumer receives streams no longer.
    Unsubscribe(Streams),
    /// Merge rules, and who receives what they join.
    #[command(subcommand)]
    Merge(Merge),
    /// Moves a consumer's trading switch.
    Trading {
        /// The consumer's name.
        consumer: String,
        /// On or off.
        #[arg(value_parser = ["on", "off"])]
        switch: String,
    },
    /// No orders of a consumer, or of all.
    Kill {
        /// The consumer's name, or all.
        consumer: String,
        /// Ends it.
        #[arg(long)]
        undo: bool,
    },
    /// Replaces the lines of a provider, or of all, one after the other and without a hole.
    Roll {
        /// The provider's name [default: all, one command each].
        provider: Option<String>,
    },
    /// How late each stream was at each consumer shard.
    Streams,
    /// What could not be decoded or delivered.
    Dlq,
}

#[derive(Debug, clap::Subcommand)]
enum Merge {
    /// The rules in force.
    List,
    /// A rule begins.
    Add(Rule),
    /// A rule ends.
    End {
        /// The rule's name.
        rule: String,
    },
    /// A consumer begins to receive what a rule joins.
    Join {
        /// The rule's name.
        rule: String,
        /// The consumer's name.
        #[arg(long)]
        consumer: String,
        /// What a full ring means: lossless or latest.
        #[arg(long, default_value = "lossless")]
        delivery: String,
    },
    /// A consumer receives it no longer.
    Leave {
        /// The rule's name.
        rule: String,
        /// The consumer's name.
        #[arg(long)]
        consumer: String,
    },
}

/// A merge rule.
#[derive(Debug, clap::Args)]
struct Rule {
    /// Its name: up to 32 of a-z, 0-9 and _, a letter first.
    rule: String,
    /// What is joined: trade, ticker, "kline 1m", bbo or `book_bbo`.
    #[arg(long)]
    kind: String,
    /// A provider's instruments, as PROVIDER=SYMBOL,SYMBOL; once for each provider.
    #[arg(long = "input", required = true)]
    inputs: Vec<String>,
    /// Length of a window, in seconds.
    #[arg(long)]
    window_s: Option<u32>,
    /// Events that close a window early.
    #[arg(long)]
    count: Option<u32>,
    /// Age at which a leg of bbo or `book_bbo` is given up, in milliseconds [default: never].
    #[arg(long)]
    leg_age_ms: Option<u32>,
    /// The merge shard that owns it [default: the first].
    #[arg(long)]
    shard: Option<String>,
    /// A consumer that begins to receive it.
    #[arg(long)]
    consumer: Option<String>,
}

impl Rule {
    fn body(&self) -> Result<Value, String> {
        let mut body = json!({ "name": self.rule, "kind": self.kind, "inputs": {} });
        for input in &self.inputs {
            let (provider, symbols) = input.split_once('=').ok_or_else(|| {
                format!("{input:?} is not PROVIDER=SYMBOL,SYMBOL, as in kraken=BTC-USD,ETH-USD")
            })?;
            body["inputs"][provider] = json!(symbols.split(',').collect::<Vec<_>>());
        }
        for (key, value) in [
            ("window_s", self.window_s.map(Value::from)),
            ("count", self.count.map(Value::from)),
            ("leg_age_ms", self.leg_age_ms.map(Value::from)),
            ("shard", self.shard.clone().map(Value::from)),
            ("consumer", self.consumer.clone().map(Value::from)),
        ] {
            if let Some(value) = value {
                body[key] = value;
            }
        }
        Ok(body)
    }
}

impl Streams {
    fn body(&self) -> Result<Value, String> {
        let instruments = match &self.instruments[..] {
            [all] if all == "all" => json!("all"),
            list => json!(list),
        };
        let mut body = json!({
            "consumer": self.consumer,
            "provider": self.provider,
            "instruments": instruments,
            "channels": self.channels,
        });
        for rule in &self.delivery {
            let (channel, class) = rule
                .split_once('=')
                .ok_or_else(|| format!("{rule:?} is not CHANNEL=CLASS, as in trade=lossless"))?;
            body["delivery"][channel] = json!(class);
        }
        match self.book_depth.as_deref() {
            None => {}
            Some("full") => body["book_depth"] = json!("full"),
            Some(levels) => {
                let levels: u64 =
                    levels.parse().map_err(|_| "--book-depth: a number of levels, or full".to_owned())?;
                body["book_depth"] = json!(levels);
            }
        }
        Ok(body)
    }
}

impl Arguments {
    /// Asks, and prints the answer.
    pub fn run(self) -> u8 {
        let token = match token_of(self.token_file.as_deref()) {
            Ok(token) => token,
            Err(reason) => return refuse(&reason),
        };
        let address = match self.address.map_or_else(|| find_address(&self.report_dir), Ok) {
            Ok(address) => address,
            Err(reason) => return refuse(&reason),
        };
        if let Command::Roll { provider: None } = &self.command {
            return self.roll_all(address, token.as_deref());
        }
        match self.request() {
            Ok((method, path, body)) => self.tell(address, method, &path, body.as_ref(), token.as_deref()),
            Err(reason) => refuse(&reason),
        }
    }

    /// Each provider by itself: one whose lines are all down does not keep the others from theirs.
    fn roll_all(&self, address: SocketAddr, token: Option<&str>) -> u8 {
        let status = match ask(address, "GET", "/status", None, token) {
            Ok((200, status)) => status,
            Ok((status, answer)) => return self.show(status, &answer),
            Err(reason) => {
                errln!("meltica: {address}: {reason}");
                return EXIT_FAILED;
            }
        };
        let providers = rows(&status, "providers");
        let names = providers.iter().filter_map(|provider| provider.get("name")?.as_str());
        let codes = names.map(|name| self.tell(address, "POST", &roll_path(name), None, token));
        codes.max().unwrap_or(EXIT_OK)
    }

    fn tell(
        &self,
        address: SocketAddr,
        method: &str,
        path: &str,
        body: Option<&Value>,
        token: Option<&str>,
    ) -> u8 {
        match ask(address, method, path, body, token) {
            Ok((status, answer)) => self.show(status, &answer),
            Err(reason) => {
                errln!("meltica: {address}: {reason}");
                EXIT_FAILED
            }
        }
    }

    fn show(&self, status: u16, answer: &Value) -> u8 {
        if self.json {
            outln!("{answer}");
        } else if status < 300 {
            out!("{}", self.shown(answer));
        } else {
            let text = |key: &str| answer.get(key).and_then(Value::as_str).unwrap_or("?");
            errln!("meltica: {} (HTTP {status}); fits: {}", text("error"), text("fits"));
        }
        if status < 300 { EXIT_OK } else { EXIT_FAILED }
    }

    fn request(&self) -> Result<(&'static str, String, Option<Value>), String> {
        let path = |path: &str| path.to_owned();
        Ok(match &self.command {
            Command::Status => ("GET", path("/status"), None),
            Command::Subscriptions => ("GET", path("/subscriptions"), None),
            Command::Streams => ("GET", path("/streams"), None),
            Command::Dlq => ("GET", path("/dead-letters"), None),
            Command::Roll { provider } => ("POST", roll_path(provider.as_deref().unwrap_or_default()), None),
            Command::Subscribe(streams) => ("POST", path("/subscriptions"), Some(streams.body()?)),
            Command::Unsubscribe(streams) => ("DELETE", path("/subscriptions"), Some(streams.body()?)),
            Command::Merge(Merge::List) => ("GET", path("/merges"), None),
            Command::Merge(Merge::Add(rule)) => ("POST", path("/merges"), Some(rule.body()?)),
            Command::Merge(Merge::End { rule }) => ("DELETE", path("/merges"), Some(json!({ "name": rule }))),
            Command::Merge(Merge::Join { rule, consumer, delivery }) => {
                let body = json!({ "consumer": consumer, "merge": rule, "delivery": delivery });
                ("POST", path("/subscriptions"), Some(body))
            }
            Command::Merge(Merge::Leave { rule, consumer }) => {
                let body = json!({ "consumer": consumer, "merge": rule });
                ("DELETE", path("/subscriptions"), Some(body))
            }
            Command::Trading { consumer, switch } => {
                ("PUT", format!("/consumers/{consumer}/trading"), Some(json!({ "trading": switch })))
            }
            Command::Kill { consumer, undo } => {
                let method = if *undo { "DELETE" } else { "POST" };
                (method, path("/kill"), Some(json!({ "consumer": consumer })))
            }
        })
    }

    fn shown(&self, answer: &Value) -> String {
        match &self.command {
            Command::Status => {
                let head = pairs(answer, &["version", "uptime_ms", "routing_version", "ready", "killed_all"]);
                let providers = table(
                    &rows(answer, "providers"),
                    &[
                        "name",
                        "lines_live",
                        "lines",
                        "books_proved",
                        "books",
                        "messages_total",
                        "gaps_total",
                        "resyncs_total",
                    ],
                );
                let consumers = table(
                    &rows(answer, "consumers"),
                    &["name", "shard", "up", "events_total", "panics_total", "streams", "trading", "killed"],
                );
                let orders = orders_shown(answer);
                let mergers = rows(answer, "mergers");
                if mergers.is_empty() {
                    return format!("{head}\n{providers}\n{consumers}{orders}");
                }
                let columns = [
                    "name",
                    "rules",
                    "merged_total",
                    "windows_complete_total",
                    "windows_partial_total",
                    "late_total",
                ];
                format!("{head}\n{providers}\n{}\n{consumers}{orders}", table(&mergers, &columns))
            }
            Command::Subscriptions => {
                let mut all = Vec::new();
                for consumer in rows(answer, "consumers") {
                    for mut stream in rows(&consumer, "streams") {
                        stream["consumer"] = consumer["consumer"].clone();
                        all.push(stream);
                    }
                }
                table(&all, &["consumer", "provider", "symbol", "channel", "merge", "delivery", "book_depth"])
            }
            Command::Merge(Merge::List) => {
                let mut all = Vec::new();
                for shard in rows(answer, "shards") {
                    for mut rule in rows(&shard, "rules") {
                        rule["shard"] = shard["shard"].clone();
                        let names = rows(&rule, "consumers");
                        let names: Vec<&str> = names.iter().filter_map(|one| one["name"].as_str()).collect();
                        rule["consumers"] = json!(names.join(","));
                        all.push(rule);
                    }
                }
                table(
                    &all,
                    &["shard", "name", "kind", "inputs", "window_s", "count", "leg_age_ms", "consumers"],
                )
            }
            Command::Streams => {
                let figures = ["events_total", "latency_ns_p50", "latency_ns_p99", "latency_ns_max"];
                let columns = [&["shard", "provider", "symbol", "channel"][..], &figures].concat();
                table(&rows(answer, "streams"), &columns)
            }
            Command::Dlq => {
                let mut all = Vec::new();
                for shard in rows(answer, "shards") {
                    for mut letter in rows(&shard, "letters") {
                        letter["on"] = shard["shard"].clone();
                        all.push(letter);
                    }
                }
                table(
                    &all,
                    &[
                        "on", "reason", "venue", "provider", "symbol", "channel", "consumer", "trace",
                        "at_ns", "excerpt",
                    ],
                )
            }
            _ => {
                let keys: Vec<&str> = answer
                    .as_object()
                    .map(|object| object.keys().map(String::as_str).collect())
                    .unwrap_or_default();
                pairs(answer, &keys)
            }
        }
    }
}

fn roll_path(provider: &str) -> String {
    format!("/providers/{provider}/roll")
}

fn refuse(reason: &str) -> u8 {
    errln!("meltica: {reason}");
    EXIT_REFUSED
}

/// The token of an operator who names a file with one.
pub(super) fn token_of(file: Option<&Path>) -> Result<Option<String>, String> {
    let read =
        |file: &Path| read_token(file).map_err(|reason| format!("token file {}: {reason}", file.display()));
    file.map(read).transpose()
}

/// The address that a run wrote into its report directory.
pub(super) fn find_address(report_dir: &Path) -> Result<SocketAddr, String> {
    let file = report_dir.join(ADDRESS_FILE);
    let text = std::fs::read_to_string(&file)
        .map_err(|error| format!("no run found: {}: {error}; give --address HOST:PORT", file.display()))?;
    text.trim().parse().map_err(|_| format!("{} holds no address", file.display()))
}

/// Sends one request and gives status and document of the answer.
///
/// # Errors
/// In words.
pub fn ask(
    address: SocketAddr,
    method: &str,
    path: &str,
    body: Option<&Value>,
    token: Option<&str>,
) -> Result<(u16, Value), String> {
    let words = |error: std::io::Error| error.to_string();
    let nobody = |error: std::io::Error| {
        format!(
            "{error}; is the gateway running? Its address is printed at start and stands in report/control-address"
        )
    };
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_MAX).map_err(nobody)?;
    stream.set_read_timeout(Some(ANSWER_MAX)).map_err(words)?;
    let body = body.map(Value::to_string).unwrap_or_default();
    let token = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{token}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).map_err(words)?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).map_err(words)?;
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut head = httparse::Response::new(&mut headers);
    let Ok(httparse::Status::Complete(head_bytes)) = head.parse(&answer) else {
        return Err("the answer is not HTTP; is it Meltica's endpoint?".to_owned());
    };
    let body = &answer[head_bytes..];
    let value = serde_json::from_slice(body)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(body).into_owned()));
    Ok((head.code.unwrap_or(0), value))
}

fn rows(value: &Value, key: &str) -> Vec<Value> {
    value.get(key).and_then(Value::as_array).cloned().unwrap_or_default()
}

/// Order entry of each provider, then what each consumer did through it and holds; nothing where nobody trades.
fn orders_shown(answer: &Value) -> String {
    let all = rows(answer, "orders");
    if all.is_empty() {
        return String::new();
    }
    let mut accounts = Vec::new();
    for provider in &all {
        for mut account in rows(provider, "accounts") {
            account["provider"] = provider["name"].clone();
            for (key, count) in account["counts"].as_object().cloned().unwrap_or_default() {
                account[key] = count;
            }
            let positions: Vec<String> = rows(&account, "positions")
                .iter()
                .map(|held| {
                    let at = held["price_average"].as_str().map(|price| format!(" @ {price}"));
                    format!("{} {}{}", cell(&held["qty"]), cell(&held["symbol"]), at.unwrap_or_default())
                })
                .collect();
            account["positions"] = json!(positions.join(", "));
            accounts.push(account);
        }
    }
    let counts = ["orders_total", "acks_total", "fills_total", "rejected_total", "refused_total"];
    let stands = [&["name", "session", "open_orders", "unknown_orders"][..], &counts].concat();
    let did = [&["consumer", "provider"][..], &counts, &["positions"]].concat();
    format!("\n{}\n{}", table(&all, &stands), table(&accounts, &did))
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.chars().map(|c| if c.is_control() { '.' } else { c }).collect(),
        other => other.to_string(),
    }
}

fn pairs(value: &Value, keys: &[&str]) -> String {
    let lines: Vec<String> = keys.iter().map(|key| format!("{key}: {}", cell(&value[*key]))).collect();
    lines.join("\n") + "\n"
}

/// Rows under their headings, each column as wide as its widest cell.
fn table(rows: &[Value], columns: &[&str]) -> String {
    let cells: Vec<Vec<String>> =
        rows.iter().map(|row| columns.iter().map(|column| cell(&row[*column])).collect()).collect();
    let widths: Vec<usize> = columns
        .iter()
        .enumerate()
        .map(|(at, column)| {
            cells.iter().map(|row| row[at].chars().count()).max().unwrap_or(0).max(column.len())
        })
        .collect();
    let line = |texts: Vec<&str>| {
        let padded: Vec<String> =
            texts.iter().zip(&widths).map(|(text, &width)| format!("{text:<width$}")).collect();
        format!("{}\n", padded.join("  ").trim_end())
    };
    let mut text = line(columns.to_vec());
    for row in &cells {
        text.push_str(&line(row.iter().map(String::as_str).collect()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_as_wide_as_its_widest_cells() {
        let rows = [json!({ "a": "x", "b": 12 }), json!({ "a": "long one", "b": null })];
        assert_eq!(table(&rows, &["a", "b"]), "a         b\nx         12\nlong one  -\n");
    }

    #[test]
    fn orders_are_shown_by_provider_and_by_consumer() {
        assert_eq!(orders_shown(&json!({ "providers": [] })), "");
        let text = orders_shown(&json!({ "orders": [{
            "name": "binance", "session": "live", "open_orders": 2, "unknown_orders": 0, "orders_total": 7,
            "acks_total": 6, "fills_total": 3, "rejected_total": 1, "refused_total": 0,
            "accounts": [{
                "consumer": "maker", "counts": { "orders_total": 7, "fills_total": 3 },
                "positions": [{ "symbol": "BTC-USDT", "qty": "-0.002", "price_average": "64000.5" }],
            }],
        }] }));
        let words =
            |line: usize| text.lines().nth(line).map(|line| line.split_whitespace().collect::<Vec<_>>());
        assert_eq!(words(2), Some(vec!["binance", "live", "2", "0", "7", "6", "3", "1", "0"]));
        let maker = ["maker", "binance", "7", "-", "3", "-", "-", "-0.002", "BTC-USDT", "@", "64000.5"];
        assert_eq!(words(5).as_deref(), Some(&maker[..]));
    }

    #[test]
    fn what_is_typed_becomes_the_body_of_the_request() {
        let streams = Streams {
            consumer: "stats".to_owned(),
            provider: "binance".to_owned(),
            instruments: vec!["all".to_owned()],
            channels: vec!["kline 1m".to_owned()],
            delivery: vec!["kline=lossless".to_owned()],
            book_depth: Some("5".to_owned()),
        };
        let body = streams.body().expect("it fits");
        assert_eq!((&body["instruments"], &body["delivery"]["kline"]), (&json!("all"), &json!("lossless")));
        assert_eq!(body["book_depth"], json!(5));
        let rule = Rule {
            rule: "best".to_owned(),
            kind: "book_bbo".to_owned(),
            inputs: vec!["kraken=BTC-USD,ETH-USD".to_owned(), "coinbase=BTC-USD,ETH-USD".to_owned()],
            window_s: None,
            count: None,
            leg_age_ms: Some(5_000),
            shard: None,
            consumer: None,
        };
        let expected = json!({
            "name": "best", "kind": "book_bbo", "leg_age_ms": 5000,
            "inputs": { "kraken": ["BTC-USD", "ETH-USD"], "coinbase": ["BTC-USD", "ETH-USD"] },
        });
        assert_eq!(rule.body(), Ok(expected));
        let wrong = Streams { delivery: vec!["trade".to_owned()], ..streams };
        assert!(wrong.body().is_err());
    }
}
