//! From an event to its rows: one for each level of a book, one for everything else.

#![allow(
    clippy::large_types_passed_by_value,
    reason = "a row is built by struct update, once a row, by a program that only converts"
)]

use engine::decimal::{Decimals, Price, Qty};
use engine::event::{
    BestLeg, Body, BookPart, Event, Flags, FragmentValue, Kline, Level, MergedBbo, Side, Ticker,
    TickerFields, Trade,
};
use engine::ids::ProviderId;
use shards::consumers::recorder::format::FileFacts;

use crate::columns::Fixed;

/// One row; what an event has not is absent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Row<'a> {
    pub provider: Option<&'a str>,
    pub venue: Option<&'a str>,
    pub symbol: Option<&'a str>,
    pub venue_symbol: Option<&'a str>,
    pub channel: Option<&'a str>,
    pub kind: &'a str,
    pub sequence_first: Option<u64>,
    pub sequence_last: Option<u64>,
    pub part: Option<u64>,
    pub first: bool,
    pub last: bool,
    pub recovered: bool,
    pub switched: bool,
    pub conflated: bool,
    pub is_final: bool,
    pub line: Option<u64>,
    pub frame: Option<u64>,
    pub venue_time_ns: Option<u64>,
    pub receive_time_ns: Option<u64>,
    pub receive_ns: Option<u64>,
    pub decoded_after_ns: Option<u64>,
    pub ordered_after_ns: Option<u64>,
    pub enqueued_after_ns: Option<u64>,
    pub side: Option<&'a str>,
    pub price: Option<Fixed>,
    pub qty: Option<Fixed>,
    pub trade_id: Option<u64>,
    pub bid: Option<Fixed>,
    pub bid_qty: Option<Fixed>,
    pub ask: Option<Fixed>,
    pub ask_qty: Option<Fixed>,
    pub last_price: Option<Fixed>,
    pub last_qty: Option<Fixed>,
    pub open: Option<Fixed>,
    pub high: Option<Fixed>,
    pub low: Option<Fixed>,
    pub close: Option<Fixed>,
    pub volume: Option<Fixed>,
    pub taker_buy_volume: Option<Fixed>,
    pub quote_volume: Option<Fixed>,
    pub trade_count: Option<u64>,
    pub open_time_ns: Option<u64>,
    pub close_time_ns: Option<u64>,
    pub status: Option<&'a str>,
    pub proof: Option<&'a str>,
    pub reason: Option<&'a str>,
    pub gap_from: Option<u64>,
    pub gap_to: Option<u64>,
    pub gap_events: Option<u64>,
    pub detail: Option<&'a str>,
}

/// The row for what a recording does not have.
pub(crate) fn hole(detail: &str) -> Row<'_> {
    Row { kind: "Hole", detail: Some(detail), ..Row::default() }
}

/// The names of a recording, with the channels spelled once.
#[derive(Debug)]
pub(crate) struct Names {
    facts: FileFacts,
    channels: Vec<Vec<String>>,
}

impl Names {
    pub fn new(facts: &FileFacts) -> Self {
        let spelled = |provider: &engine::catalog::ProviderFacts| {
            provider.streams.iter().map(|stream| stream.channel.to_string()).collect()
        };
        let channels = facts.catalog.providers.iter().map(spelled).collect();
        Self { facts: facts.clone(), channels }
    }

    fn provider(&self, provider: ProviderId) -> &str {
        self.facts.catalog.provider(provider)
    }

    /// What all rows of an event have in common.
    fn common(&self, event: &Event) -> Row<'_> {
        let header = &event.header;
        let (provider, catalog) = (header.provider.index(), &self.facts.catalog);
        let facts = catalog.stream(header.provider, header.stream);
        let receive_ns = header.receive_time.ns();
        let flag = |flag| header.flags.has(flag);
        Row {
            provider: Some(catalog.provider(header.provider)),
            venue: catalog.providers.get(provider).map(|facts| facts.venue.as_str()),
            symbol: Some(facts.map_or_else(|| catalog.symbol(header.instrument), |facts| &facts.symbol)),
            venue_symbol: facts.map(|facts| facts.venue_symbol.as_str()),
            channel: self
                .channels
                .get(provider)
                .and_then(|of| of.get(header.stream.index()))
                .map(String::as_str),
            kind: event.kind().name(),
            sequence_first: Some(header.sequence_first),
            sequence_last: Some(header.sequence_last),
            part: Some(u64::from(header.part)),
            first: flag(Flags::FIRST),
            last: flag(Flags::LAST),
            recovered: flag(Flags::RECOVERED),
            switched: flag(Flags::SWITCHED),
            conflated: flag(Flags::CONFLATED),
            is_final: flag(Flags::FINAL),
            line: Some(u64::from(header.trace.line().0)),
            frame: Some(header.trace.frame()),
            venue_time_ns: header.venue_time.ns(),
            receive_time_ns: self.facts.zero_unix_ns.and_then(|zero| zero.checked_add(receive_ns)),
            receive_ns: Some(receive_ns),
            decoded_after_ns: Some(u64::from(header.decoded_after_ns)),
            ordered_after_ns: Some(u64::from(header.ordered_after_ns)),
            enqueued_after_ns: Some(u64::from(header.enqueued_after_ns)),
            ..Row::default()
        }
    }

    /// Gives the rows of an event, one or more, until `take` fails.
    pub fn rows<E>(&self, event: &Event, mut take: impl FnMut(&Row<'_>) -> Result<(), E>) -> Result<(), E> {
        let row = self.common(event);
        let scale = event.header.decimals;
        match &event.body {
            Body::Trade(trade) => take(&with_trade(row, trade, scale)),
            Body::Ticker(ticker) => take(&with_ticker(row, ticker, scale)),
            Body::Kline(kline) => take(&with_kline(row, kline, scale)),
            Body::BookSnapshot(part) | Body::BookUpdate(part) => levels(row, part, scale, take),
            Body::Gap(gap) => take(&Row {
                reason: Some(gap.reason.name()),
                gap_from: Some(gap.from),
                gap_to: Some(gap.to),
                gap_events: (gap.event_count != 0).then_some(gap.event_count),
                ..row
            }),
            Body::BookState { status, proof, reason } => take(&Row {
                status: Some(status.name()),
                proof: Some(proof.name()),
                reason: Some(reason.name()),
                ..row
            }),
            Body::Fragment { provider, value, .. } => {
                let row = Row { detail: Some(self.provider(*provider)), ..row };
                take(&match value {
                    FragmentValue::Trade(trade) => with_trade(row, trade, scale),
                    FragmentValue::Ticker(ticker) => with_ticker(row, ticker, scale),
                    FragmentValue::Kline(kline) => with_kline(row, kline, scale),
                })
            }
            Body::MergedBbo(best) => self.consolidated(row, best, take),
            Body::Merged(window) => {
                let detail = format!(
                    "{} events of {} of {} providers",
                    window.event_count, window.providers_present, window.providers_expected
                );
                take(&Row { detail: Some(&detail), ..row })
            }
            Body::ControlAck(ack) => {
                let detail = format!("{} {}", ack.command.name(), ack.request);
                take(&Row { detail: Some(&detail), ..row })
            }
            Body::ControlResult(result) => {
                let detail =
                    format!("{} {} {}", result.command.name(), result.request, result.outcome.name());
                take(&Row { detail: Some(&detail), ..row })
            }
            Body::Marker => take(&row),
        }
    }

    fn consolidated<E>(
        &self,
        row: Row<'_>,
        best: &MergedBbo,
        mut take: impl FnMut(&Row<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let name = |leg: &Option<BestLeg>| leg.as_ref().map_or("nobody", |leg| self.provider(leg.provider));
        let detail = format!("bid of {}, ask of {}", name(&best.bid), name(&best.ask));
        let price_of = |leg: &Option<BestLeg>| leg.as_ref().map(|leg| price(leg.price, leg.decimals));
        let qty_of = |leg: &Option<BestLeg>| leg.as_ref().map(|leg| qty(leg.qty, leg.decimals));
        take(&Row {
            bid: price_of(&best.bid),
            bid_qty: qty_of(&best.bid),
            ask: price_of(&best.ask),
            ask_qty: qty_of(&best.ask),
            detail: Some(&detail),
            ..row
        })
    }
}

fn price(price: Price, scale: Decimals) -> Fixed {
    Fixed { mantissa: price.0, decimals: scale.price }
}

fn qty(qty: Qty, scale: Decimals) -> Fixed {
    Fixed { mantissa: qty.0, decimals: scale.qty }
}

fn with_trade<'a>(row: Row<'a>, trade: &Trade, scale: Decimals) -> Row<'a> {
    let side = match trade.taker_side {
        Side::Buy => "buy",
        Side::Sell => "sell",
    };
    Row {
        side: Some(side),
        price: Some(price(trade.price, scale)),
        qty: Some(qty(trade.qty, scale)),
        trade_id: Some(trade.id),
        ..row
    }
}

fn with_ticker<'a>(row: Row<'a>, ticker: &Ticker, scale: Decimals) -> Row<'a> {
    let has = |fields| ticker.fields.has(fields);
    let price_if = |has: bool, value| has.then(|| price(value, scale));
    let qty_if = |has: bool, value| has.then(|| qty(value, scale));
    // Of the range a venue may have some; the others are zero, which no price of a day is.
    let of_day = |value: Price| price_if(has(TickerFields::RANGE) && value.0 != 0, value);
    Row {
        bid: price_if(has(TickerFields::BEST), ticker.bid),
        bid_qty: qty_if(has(TickerFields::BEST), ticker.bid_qty),
        ask: price_if(has(TickerFields::BEST), ticker.ask),
        ask_qty: qty_if(has(TickerFields::BEST), ticker.ask_qty),
        last_price: price_if(has(TickerFields::LAST), ticker.last),
        last_qty: qty_if(has(TickerFields::LAST_QTY), ticker.last_qty),
        open: of_day(ticker.open),
        high: of_day(ticker.high),
        low: of_day(ticker.low),
        volume: qty_if(has(TickerFields::VOLUME), ticker.volume),
        ..row
    }
}

fn with_kline<'a>(row: Row<'a>, kline: &Kline, scale: Decimals) -> Row<'a> {
    let quote = Fixed { mantissa: kline.quote_volume.mantissa, decimals: kline.quote_volume.decimals };
    Row {
        open: Some(price(kline.open, scale)),
        high: Some(price(kline.high, scale)),
        low: Some(price(kline.low, scale)),
        close: Some(price(kline.close, scale)),
        volume: Some(qty(kline.volume, scale)),
        // Both are zero where the venue does not say them, and where nothing was traded.
        taker_buy_volume: (kline.taker_buy_volume.0 != 0).then(|| qty(kline.taker_buy_volume, scale)),
        quote_volume: (quote.mantissa != 0).then_some(quote),
        trade_count: Some(kline.trade_count),
        open_time_ns: kline.open_time.ns(),
        close_time_ns: kline.close_time.ns(),
        ..row
    }
}

/// A row for each level; one without a price for a part that has none, such as the snapshot of an empty book.
fn levels<E>(
    row: Row<'_>,
    part: &BookPart,
    scale: Decimals,
    mut take: impl FnMut(&Row<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let row = Row { status: Some(part.status.name()), proof: Some(part.proof.name()), ..row };
    if part.bids().is_empty() && part.asks().is_empty() {
        return take(&row);
    }
    let sides = [("bid", part.bids()), ("ask", part.asks())];
    for (side, level) in
        sides.iter().flat_map(|(side, of)| of.iter().map(move |level: &Level| (*side, level)))
    {
        let (price, qty) = (Some(price(level.price, scale)), Some(qty(level.qty, scale)));
        take(&Row { side: Some(side), price, qty, ..row })?;
    }
    Ok(())
}
