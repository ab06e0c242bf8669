//! Readable lines of events, a few a second: for people who want to see that data flows and what it looks like.
//!
//! What is above the limit is counted and said once a second. Lines are written into a block that was allocated at start;
//! a thread of the printer's own brings them to the file or the terminal, so that a terminal that is stopped (Ctrl-S) or
//! a slow disk costs lines, counted as well, and no turn of the shard.

use std::fs::File;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use engine::consumer::{Consumer, Context};
use engine::decimal::{Decimals, Number, Price, Qty};
use engine::event::{BestLeg, Body, BookPart, Event, Side, TickerFields};
use engine::time::{ReceiveTime, VenueTime};

use super::handoff::{BlockThread, Inbox, Outbox};
use super::{ConsumerConfig, ConsumerError, Maker, wrong_options};
use crate::topology::{ConsumerOptions, PrinterOutput};

/// Bytes of a block of lines.
const BLOCK_BYTES: usize = 16 << 10;
/// Bytes of the longest line. A symbol has at most 33 letters, a name 32, a number 21; a ticker has ten numbers.
const LINE_BYTES_MAX: usize = 512;
/// Blocks under way: the thread may be behind by this much text.
const BLOCK_COUNT: usize = 8;
/// Length of the window in which lines are counted, in nanoseconds.
const WINDOW_NS: u64 = 1_000_000_000;
/// How often lines are handed over at most, in nanoseconds: soon enough for the eye, and no block for each line.
const SHOW_EVERY_NS: u64 = 50_000_000;
/// How long the end of a run waits for the last lines.
const STOP_WAIT: Duration = Duration::from_secs(2);

const _: () = assert!(LINE_BYTES_MAX * 2 <= BLOCK_BYTES);

/// Makes `printer`: opens its output and starts its thread.
///
/// # Errors
/// [`ConsumerError::Options`], [`ConsumerError::Io`]
pub fn factory(config: &ConsumerConfig) -> Result<Maker, ConsumerError> {
    let ConsumerOptions::Printer { output, lines_per_s } = &config.options else {
        return Err(wrong_options("printer"));
    };
    match output {
        PrinterOutput::Stderr => to(config, *lines_per_s, std::io::stderr()),
        PrinterOutput::File(path) => {
            let path = config.run_dir.join(path);
            let io = |source| ConsumerError::Io { path: path.clone(), source };
            to(config, *lines_per_s, File::create(&path).map_err(io)?)
        }
    }
}

/// Makes a printer to anything that can be written to.
///
/// # Errors
/// [`ConsumerError::Io`] if no thread can be started.
pub fn to(
    config: &ConsumerConfig,
    lines_per_s: u32,
    mut output: impl Write + Send + 'static,
) -> Result<Maker, ConsumerError> {
    let failed_bytes = Arc::new(AtomicU64::new(0));
    let failed = Arc::clone(&failed_bytes);
    let serve = move |inbox: &mut Inbox<Vec<u8>>| {
        while let Some(mut block) = inbox.wait() {
            if output.write_all(&block).and_then(|()| output.flush()).is_err() {
                failed.fetch_add(block.len() as u64, Ordering::Relaxed);
            }
            block.clear();
            inbox.give_back(block);
        }
    };
    let thread = BlockThread::start(&config.name, serve)
        .map_err(|source| ConsumerError::Io { path: "a thread of its own".into(), source })?;
    Ok(Box::new(move || {
        let blocks = (0..BLOCK_COUNT).map(|_| Vec::with_capacity(BLOCK_BYTES)).collect();
        Box::new(Printer {
            outbox: thread.open(blocks),
            block: None,
            lines_per_s: u64::from(lines_per_s),
            window: None,
            window_lines: 0,
            shown_at: ReceiveTime::default(),
            unprinted: 0,
            printed_total: 0,
            unprinted_total: 0,
            failed_bytes: Arc::clone(&failed_bytes),
        })
    }))
}

/// Prints events, at most so many a second.
#[derive(Debug)]
pub struct Printer {
    outbox: Outbox<Vec<u8>>,
    block: Option<Vec<u8>>,
    lines_per_s: u64,
    window: Option<ReceiveTime>,
    window_lines: u64,
    shown_at: ReceiveTime,
    /// Events since the last line that told of them.
    unprinted: u64,
    printed_total: u64,
    unprinted_total: u64,
    failed_bytes: Arc<AtomicU64>,
}

impl Printer {
    /// A block with room for one more line.
    fn room(&mut self) -> Option<&mut Vec<u8>> {
        if self.block.as_ref().is_some_and(|block| block.len() + LINE_BYTES_MAX > BLOCK_BYTES) {
            self.change_block();
        }
        if self.block.is_none() {
            self.block = self.outbox.take();
        }
        self.block.as_mut().filter(|block| block.len() + LINE_BYTES_MAX <= BLOCK_BYTES)
    }

    /// Hands the block over if another one is free; otherwise it goes on being filled, so that lines are lost only when all
    /// blocks are full.
    fn change_block(&mut self) {
        if self.block.as_ref().is_some_and(|block| !block.is_empty())
            && let Some(next) = self.outbox.take()
            && let Some(block) = self.block.replace(next)
        {
            self.outbox.hand_over(block);
        }
    }

    /// Starts a new window when the old one is over, and tells what it did not print.
    fn turn_window(&mut self, now: ReceiveTime) {
        let start = *self.window.get_or_insert(now);
        if now.since_ns(start) < WINDOW_NS {
            return;
        }
        (self.window, self.window_lines) = (Some(now), 0);
        self.tell_unprinted();
    }

    fn tell_unprinted(&mut self) {
        let unprinted = self.unprinted;
        if unprinted > 0
            && let Some(block) = self.room()
        {
            // Writing into memory that was reserved does not fail.
            let _ = writeln!(block, "... and {unprinted} more events");
            self.unprinted = 0;
        }
    }
}

impl Consumer for Printer {
    fn on_event(&mut self, event: &Event, context: &mut Context<'_>) {
        if !event.completes() {
            return;
        }
        self.turn_window(context.now());
        if self.window_lines < self.lines_per_s
            && let Some(block) = self.room()
        {
            let start = block.len();
            let _ = line(block, event, context);
            debug_assert!(block.len() - start <= LINE_BYTES_MAX, "the sum at LINE_BYTES_MAX holds");
            self.window_lines += 1;
            self.printed_total += 1;
        } else {
            self.unprinted += 1;
            self.unprinted_total += 1;
        }
    }

    fn on_batch_end(&mut self, context: &mut Context<'_>) {
        if context.now().since_ns(self.shown_at) >= SHOW_EVERY_NS {
            self.shown_at = context.now();
            self.change_block();
        }
    }

    fn timer_every_ns(&self) -> Option<u64> {
        Some(WINDOW_NS)
    }

    fn on_timer(&mut self, context: &mut Context<'_>) {
        self.turn_window(context.now());
        self.change_block();
    }

    fn on_stop(&mut self, _: &mut Context<'_>) {
        self.tell_unprinted();
        if let Some(block) = self.block.take() {
            self.outbox.hand_over(block);
        }
        self.outbox.wait_until_written(STOP_WAIT);
    }

    fn summary(&self) -> Vec<(String, String)> {
        let mut facts = vec![
            ("printed_events".to_owned(), self.printed_total.to_string()),
            ("unprinted_events".to_owned(), self.unprinted_total.to_string()),
        ];
        let failed = self.failed_bytes.load(Ordering::Relaxed);
        if failed > 0 {
            facts.push(("unwritable_bytes".to_owned(), failed.to_string()));
        }
        facts
    }
}

/// `<venue time UTC> <provider> <symbol> <kind> <essentials>`. Numbers are exact, with the digits of their scale.
///
/// An event without a venue time shows the receive time as `+<seconds>` of the monotonic clock.
fn line(out: &mut Vec<u8>, event: &Event, context: &Context<'_>) -> std::io::Result<()> {
    let header = &event.header;
    if header.venue_time == VenueTime::ABSENT {
        let us = header.receive_time.ns() / 1_000;
        write!(out, "+{}.{:06}", us / 1_000_000, us % 1_000_000)?;
    } else {
        clock(out, header.venue_time)?;
    }
    let catalog = context.catalog();
    let (provider, symbol) = (catalog.provider(header.provider), catalog.symbol(header.instrument));
    write!(out, " {provider} {symbol} {} ", event.kind().name())?;
    let Decimals { price: price_decimals, qty: qty_decimals } = header.decimals;
    let price = |price: Price| Number { mantissa: price.0, decimals: price_decimals };
    let qty = |qty: Qty| Number { mantissa: qty.0, decimals: qty_decimals };
    match &event.body {
        Body::Trade(trade) => {
            let side = if trade.taker_side == Side::Buy { "buy" } else { "sell" };
            writeln!(out, "{side} {} @ {} id {}", qty(trade.qty), price(trade.price), trade.id)
        }
        Body::BookSnapshot(part) | Body::BookUpdate(part) => {
            let BookPart { status, .. } = part;
            write!(out, "{} sequence {}", status.name(), header.sequence_last)?;
            let book = context.book(header.provider, header.stream).map(engine::book::Replica::book);
            match book.map(|book| (book.bids.best(), book.asks.best())) {
                Some((Some(bid), Some(ask))) => {
                    let ((bid, bid_qty), (ask, ask_qty)) =
                        ((price(bid.price), qty(bid.qty)), (price(ask.price), qty(ask.qty)));
                    writeln!(out, " bid {bid_qty} @ {bid} ask {ask_qty} @ {ask}")
                }
                _ => writeln!(out),
            }
        }
        Body::Ticker(ticker) => {
            if ticker.fields.has(TickerFields::BEST) {
                write!(out, "bid {} @ {} ", qty(ticker.bid_qty), price(ticker.bid))?;
                write!(out, "ask {} @ {} ", qty(ticker.ask_qty), price(ticker.ask))?;
            }
            if ticker.fields.has(TickerFields::LAST) {
                write!(out, "last {} ", price(ticker.last))?;
            }
            if ticker.fields.has(TickerFields::RANGE) {
                let (open, high, low) = (price(ticker.open), price(ticker.high), price(ticker.low));
                write!(out, "open {open} high {high} low {low} ")?;
            }
            if ticker.fields.has(TickerFields::VOLUME) {
                write!(out, "volume {} ", qty(ticker.volume))?;
            }
            out.pop(); // the blank after the last field
            writeln!(out)
        }
        Body::Kline(k) => {
            write!(out, "{} from ", k.interval.name())?;
            clock(out, k.open_time)?;
            let (open, high, low, close) = (price(k.open), price(k.high), price(k.low), price(k.close));
            write!(out, " open {open} high {high} low {low} close {close} volume {}", qty(k.volume))?;
            let word = if header.flags.has(engine::event::Flags::FINAL) { " final" } else { "" };
            writeln!(out, "{word}")
        }
        Body::Gap(gap) => writeln!(out, "{}..={} missing: {}", gap.from, gap.to, gap.reason.name()),
        Body::BookState { status, proof, reason } => {
            writeln!(out, "{} proof {}: {}", status.name(), proof.name(), reason.name())
        }
        Body::Merged(head) => writeln!(
            out,
            "window {} with {} events of {} of {} providers",
            header.sequence_last, head.event_count, head.providers_present, head.providers_expected
        ),
        Body::Fragment { provider, sequence, .. } => {
            writeln!(out, "of {} sequence {sequence}", catalog.provider(*provider))
        }
        Body::MergedBbo(best) => {
            for (word, leg) in [("bid", best.bid), ("ask", best.ask)] {
                let Some(BestLeg { price, qty, decimals, provider, proof }) = leg else { continue };
                let price = Number { mantissa: price.0, decimals: decimals.price };
                let qty = Number { mantissa: qty.0, decimals: decimals.qty };
                write!(out, "{word} {qty} @ {price} {} ({}) ", catalog.provider(provider), proof.name())?;
            }
            writeln!(out, "of {} legs", best.legs().len())
        }
        Body::Marker => writeln!(out),
        Body::ControlAck(ack) => writeln!(out, "{} taken", ack.command.name()),
        Body::ControlResult(result) => writeln!(
            out,
            "{} {}: {} streams, routing version {}",
            result.command.name(),
            result.outcome.name(),
            result.stream_count,
            result.routing_version
        ),
    }
}

/// `03:30:00.123456`, UTC.
fn clock(out: &mut Vec<u8>, time: VenueTime) -> std::io::Result<()> {
    let us = time.raw_ns() / 1_000;
    let second = us / 1_000_000 % 86_400;
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    write!(out, "{hour:02}:{minute:02}:{second:02}.{:06}", us % 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consumers::testing::{self, trade};
    use engine::consumer::{Host, OnPanic};
    use engine::ids::{ProviderId, StreamId};
    use engine::time::FixedClock;

    /// A printer on a file, subscribed to every stream.
    fn host(lines_per_s: u32) -> (Host, std::path::PathBuf) {
        let output = PrinterOutput::File("events.txt".into());
        let config = testing::config(ConsumerOptions::Printer { output, lines_per_s });
        let mut host = Host::new(Arc::clone(&config.catalog), 4);
        let seat = host.add("printer", testing::ID, OnPanic::Disable, factory(&config).unwrap());
        for (provider, stream) in (0..2).flat_map(|provider| (0..8).map(move |stream| (provider, stream))) {
            let depth = (stream % 4 == 1).then_some((100, 100));
            host.subscribe(seat, ProviderId(provider), StreamId(stream), depth);
        }
        (host, config.run_dir.join("events.txt"))
    }

    #[test]
    fn every_kind_has_a_line_with_exact_numbers() {
        let (mut host, path) = host(1000);
        for event in testing::session(60, 7).iter().filter(|event| event.header.provider == ProviderId(1)) {
            host.deliver(event, &mut FixedClock(event.header.receive_time));
            host.batch_end(1, event.header.receive_time);
        }
        host.stop(ReceiveTime::default());
        let text = std::fs::read_to_string(path).unwrap();
        for expected in [
            "03:30:00.001000 kraken BTC-USDT Trade buy 0.50000001 @ 64210.01 id 1\n",
            "03:30:00.051000 kraken ETH-USDT BookSnapshot proved sequence 51 bid 0.00000007 @ 64210.00 ask 0.00000009 @ 64210.10\n",
            " kraken BTC-USDT Ticker bid ",
            " last 64210.05\n",
            "KlineSummary 1m from 03:30:00.000000 open 64210.00 high 64220.00 low 64200.00 close 64215.50 volume 1.23000000\n",
            " missing: sequence\n",
            "BookState suspect proof none: sequence_gap\n",
        ] {
            assert!(text.contains(expected), "no {expected:?} in\n{text}");
        }
    }

    #[test]
    fn lines_beyond_the_limit_are_counted_and_told_once_a_second() {
        let (mut host, path) = host(2);
        let start = 10_000_000_000;
        for (at_ms, sequences) in [(0, 1..=5), (999, 6..=6), (1_000, 7..=9), (2_500, 10..=10)] {
            let now = ReceiveTime::from_ns(start + at_ms * 1_000_000);
            for sequence in sequences {
                host.deliver(&trade(0, 0, sequence), &mut FixedClock(now));
            }
            host.batch_end(1, now);
        }
        host.stop(ReceiveTime::default());
        let text = std::fs::read_to_string(path).unwrap();
        let words: Vec<&str> = text
            .lines()
            .map(|line| line.rsplit_once(" id ").map_or(line, |(_, sequence)| sequence))
            .collect();
        assert_eq!(words, ["1", "2", "... and 4 more events", "7", "8", "... and 1 more events", "10"]);
        let summary = host.summaries().remove(0).1;
        assert_eq!(summary[0].1, "5");
        assert_eq!(summary[1].1, "5");
    }

    #[test]
    fn an_output_that_does_not_take_lines_costs_lines_and_no_time() {
        struct Stuck(std::sync::mpsc::Receiver<()>);
        impl Write for Stuck {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                let _ = self.0.recv();
                Err(std::io::Error::other("gone"))
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let (release, held) = std::sync::mpsc::channel();
        let config = testing::config(ConsumerOptions::None);
        let mut host = Host::new(Arc::clone(&config.catalog), 4);
        let make = to(&config, 1_000_000, Stuck(held)).unwrap();
        let seat = host.add("printer", testing::ID, OnPanic::Disable, make);
        host.subscribe(seat, ProviderId(0), StreamId(0), None);
        for sequence in 1..=10_000 {
            host.deliver(&trade(0, 0, sequence), &mut FixedClock::default());
        }
        let summary = host.summaries().remove(0).1;
        let (printed, unprinted): (u64, u64) = (summary[0].1.parse().unwrap(), summary[1].1.parse().unwrap());
        assert_eq!(printed + unprinted, 10_000);
        assert!(unprinted > 5_000, "eight blocks hold some 2000 lines: {printed} printed");
        drop(release);
        host.stop(ReceiveTime::default());
        let summary = host.summaries().remove(0).1;
        assert_eq!(summary[2].0, "unwritable_bytes");
    }
}
