//! Frames of any number of instruments, numbered on and on, as the venue numbers them.

use crate::latency::schedule::{FIRST_NUMBER, Template};
use crate::{levels, messages};

/// Different updates of one instrument, sent in turn under new numbers.
const UPDATES: u64 = 32;
/// Of these many templates the rest share: a thousand instruments with their own would not fit a cache, and a socket's
/// bytes do not come from memory that was last read a second ago.
const BYTES_MAX: usize = 16 << 20;

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Trades.
    Trades,
    /// Book updates.
    Updates {
        /// Levels a side.
        levels: usize,
        /// They change levels from so many ticks below the touch,
        from: usize,
        /// to before so many.
        to: usize,
    },
}

/// Messages of one shape, the instruments by turns.
#[derive(Debug)]
pub struct Feed {
    /// By instrument, then by turn.
    templates: Vec<Vec<Template>>,
    next: u64,
}

impl Feed {
    /// For these venue symbols.
    pub fn new(shape: Shape, symbols: &[String]) -> Self {
        let each_max = BYTES_MAX / symbols.len();
        let templates = symbols.iter().enumerate().map(|(number, symbol)| match shape {
            Shape::Trades => vec![Template::new(&messages::binance_trade(symbol, FIRST_NUMBER))],
            Shape::Updates { levels, from, to } => {
                let (from, to) = (from as i64, to as i64);
                let one = |turn: u64| {
                    let seed = number as u64 * 1_000 + turn * 2;
                    let bids = levels::changes(-1, levels, from, to, seed);
                    let asks = levels::changes(1, levels, from, to, seed + 1);
                    Template::new(&messages::binance_update(symbol, FIRST_NUMBER, FIRST_NUMBER, &bids, &asks))
                };
                let first = one(0);
                let count = (each_max / first.bytes().max(1)).clamp(1, UPDATES as usize) as u64;
                std::iter::once(first).chain((1..count).map(one)).collect()
            }
        });
        Self { templates: templates.collect(), next: 0 }
    }

    /// Bytes of the payload and header of a message, the mean of the first instrument's.
    pub fn message_bytes(&self) -> f64 {
        let first = &self.templates[0];
        first.iter().map(Template::bytes).sum::<usize>() as f64 / first.len() as f64
    }

    /// Appends the next `count` messages as frames.
    pub fn write(&mut self, count: usize, out: &mut Vec<u8>) {
        for _ in 0..count {
            let instruments = self.templates.len() as u64;
            let round = self.next / instruments;
            let turns = &self.templates[(self.next % instruments) as usize];
            turns[(round % turns.len() as u64) as usize].write(FIRST_NUMBER + round, out);
            self.next += 1;
        }
    }

    /// Messages written so far.
    pub const fn written(&self) -> u64 {
        self.next
    }
}
