//! `bench scale`: what a message costs as instruments, consumers, shards, the depth of books and the size of messages grow.
//!
//! In process and without sockets: frames, pipeline, rings and consumers' hosts as they are, on one thread in every chart but
//! `shards`. A point is the median turn of at most [`TURN_MESSAGES`] messages, so that a host which others use disturbs some turns
//! and not the figure, and beside it the thread's own time on a core over all of them.

pub mod feed;
pub mod picture;
pub mod rigs;

use std::fmt::Write as _;
use std::str::FromStr;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use feed::Shape;
use rigs::Whole;

use crate::round_trip::pin;

/// Messages of a turn, as a busy socket's read brings them,
pub const TURN_MESSAGES: usize = 32;
/// and its bytes: large messages come one or two at a time. A turn stays shorter than a slice of the scheduler.
const TURN_BYTES: usize = 64 << 10;
/// Turns that are made ahead, outside of what is measured.
const AHEAD: usize = 32;
/// Levels a side of books, where their depth is not what grows.
const DEPTH: usize = 500;
/// Levels a side of an update, where their number is not what grows.
const UPDATE_LEVELS: usize = 5;
/// Changes near the touch are within so many levels of it.
const NEAR: usize = 10;

/// Something that grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axis {
    /// Instruments of one provider.
    Instruments,
    /// Consumers of every event.
    Consumers,
    /// Provider shards, each with a consumer.
    Shards,
    /// Levels a side of the book that updates change.
    Depth,
    /// Levels a side of an update.
    Size,
}

impl Axis {
    /// All, in the order of the table.
    pub const ALL: [Self; 5] = [Self::Instruments, Self::Consumers, Self::Shards, Self::Depth, Self::Size];

    /// On the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Instruments => "instruments",
            Self::Consumers => "consumers",
            Self::Shards => "shards",
            Self::Depth => "depth",
            Self::Size => "size",
        }
    }

    /// What stands below a chart.
    const fn unit(self) -> &'static str {
        match self {
            Self::Instruments => "instruments",
            Self::Consumers => "consumers of every event",
            Self::Shards => "provider shards, a consumer each",
            Self::Depth => "levels a side of the book",
            Self::Size => "bytes of a message",
        }
    }
}

impl FromStr for Axis {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|axis| axis.name() == text);
        found.ok_or_else(|| format!("{text}: instruments, consumers, shards, depth or size"))
    }
}

/// How far each axis goes, and how long a point is measured.
#[derive(Clone, Debug)]
pub struct Options {
    /// Instruments.
    pub instruments: Vec<usize>,
    /// Consumers; those above [`rigs::RINGS_MAX`] are on one shard only.
    pub consumers: Vec<usize>,
    /// Provider shards.
    pub shards: Vec<usize>,
    /// Levels a side of a book, 5000 at the most: the venue's snapshot has no more.
    pub depths: Vec<usize>,
    /// Levels a side of an update.
    pub sizes: Vec<usize>,
    /// Cores that shards are put on, in turn.
    pub cores: Vec<usize>,
    /// Measured time of a point.
    pub time: Duration,
}

impl Options {
    /// What the issue asks for; shards to four times the cores.
    pub fn full(cores: Vec<usize>, time: Duration) -> Self {
        let count = cores.len().max(1);
        let mut shards: Vec<usize> =
            (0..usize::BITS).map(|power| 1 << power).take_while(|&shards| shards < count).collect();
        shards.extend([count, 2 * count, 4 * count]);
        Self {
            instruments: vec![1, 50, 150, 1_000],
            consumers: vec![1, 4, 10, 50],
            shards,
            depths: vec![10, 100, 1_000, 5_000],
            sizes: vec![1, 5, 20, 100, 500],
            cores,
            time,
        }
    }
}

/// What one setting costs.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Where it stands on its axis.
    pub at: f64,
    /// A message, the median turn, in nanoseconds.
    pub message_ns: f64,
    /// A message, time on a core over all turns, in nanoseconds.
    pub cpu_ns: f64,
    /// What else is to be said of it; may be empty.
    pub note: String,
}

/// One line of a chart.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// What is sent.
    pub name: &'static str,
    /// From small to large.
    pub points: Vec<Point>,
}

/// One thing that grows.
#[derive(Clone, Debug, PartialEq)]
pub struct Chart {
    /// The axis.
    pub axis: Axis,
    /// What the axis counts.
    pub unit: &'static str,
    /// Its lines.
    pub series: Vec<Series>,
}

/// Measures one axis.
pub fn measure(axis: Axis, options: &Options) -> Chart {
    let trades = || Shape::Trades;
    let near = |levels: usize| Shape::Updates { levels, from: 0, to: NEAR };
    let series = match axis {
        Axis::Instruments => {
            let of = |name, shape: Shape| Series {
                name,
                points: (options.instruments.iter())
                    .map(|&count| alone(count as f64, Whole::new(count, 1, 1, shape, DEPTH), options))
                    .collect(),
            };
            vec![of("trades", trades()), of("books, 5+5 levels", near(UPDATE_LEVELS))]
        }
        Axis::Consumers => {
            let of = |name, shape: Shape, shards: fn(usize) -> usize| {
                let counts = options.consumers.iter().filter(|&&count| shards(count) <= rigs::RINGS_MAX);
                let points = counts.map(|&count| {
                    let mut point =
                        alone(count as f64, Whole::new(50, shards(count), count, shape, DEPTH), options);
                    point.note = format!("{:.0} ns a consumer", point.message_ns / count as f64);
                    point
                });
                Series { name, points: points.collect() }
            };
            vec![
                of("trades, one shard", trades(), |_| 1),
                of("trades, a shard each", trades(), |count| count),
                of("books, one shard", near(UPDATE_LEVELS), |_| 1),
            ]
        }
        Axis::Shards => {
            vec![Series {
                name: "trades",
                points: options.shards.iter().map(|&shards| together(shards, options)).collect(),
            }]
        }
        Axis::Depth => {
            let of = |name, to: fn(usize) -> usize| {
                let points = options.depths.iter().map(|&depth| {
                    let shape = Shape::Updates { levels: UPDATE_LEVELS, from: 0, to: to(depth) };
                    alone(depth as f64, Whole::new(1, 1, 1, shape, depth), options)
                });
                Series { name, points: points.collect() }
            };
            vec![of("near the touch", |depth| depth.min(NEAR)), of("anywhere in the book", |depth| depth)]
        }
        Axis::Size => {
            let points = options.sizes.iter().map(|&levels| {
                let shape = Shape::Updates { levels, from: 0, to: (2 * levels).max(NEAR) };
                let whole = Whole::new(1, 1, 1, shape, 2 * DEPTH);
                let bytes = whole.message_bytes();
                let mut point = alone(bytes, whole, options);
                let ns = point.message_ns;
                point.note = format!(
                    "{levels}+{levels} levels, {:.0} ns a level, {:.2} ns a byte",
                    ns / (2 * levels) as f64,
                    ns / bytes
                );
                point
            });
            vec![Series { name: "books", points: points.collect() }]
        }
    };
    Chart { axis, unit: axis.unit(), series }
}

/// One setting on the calling thread.
fn alone(at: f64, mut whole: Whole, options: &Options) -> Point {
    let taken = run(&mut whole, options.time);
    Point { at, message_ns: taken.median_ns(), cpu_ns: taken.cpu_ns(), note: String::new() }
}

/// So many threads, each with a provider and a consumer of its own, at the same time.
fn together(shards: usize, options: &Options) -> Point {
    let barrier = std::sync::Barrier::new(shards);
    let all: Vec<Taken> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..shards)
            .map(|number| {
                let barrier = &barrier;
                scope.spawn(move || {
                    if let Some(&core) = options.cores.get(number % options.cores.len().max(1)) {
                        pin(core);
                    }
                    let mut whole = Whole::new(50, 1, 1, Shape::Trades, DEPTH);
                    barrier.wait();
                    run(&mut whole, options.time)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("a rig does not panic")).collect()
    });
    let cores = options.cores.len().max(1);
    let medians = all.iter().map(Taken::median_ns).sum::<f64>() / shards as f64;
    let cpu_ns = all.iter().map(Taken::cpu_ns).sum::<f64>() / shards as f64;
    // Making what is sent is not in it: of each thread's time on a core only the measured part counts.
    let rate = (cores.min(shards)) as f64 * 1e3 / cpu_ns;
    let sharing = if shards > cores {
        format!(", {:.0} shards share a core", (shards as f64 / cores as f64).ceil())
    } else {
        String::new()
    };
    Point {
        at: shards as f64,
        message_ns: medians,
        cpu_ns,
        note: format!("{rate:.2} M messages/s together{sharing}"),
    }
}

/// What turns took.
struct Taken {
    /// A message of each turn.
    each_ns: Vec<f64>,
    on_core_ns: u64,
    messages: u64,
}

impl Taken {
    fn median_ns(&self) -> f64 {
        let mut sorted = self.each_ns.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
    }

    fn cpu_ns(&self) -> f64 {
        self.on_core_ns as f64 / self.messages as f64
    }
}

/// Runs turns for so long; the first tenth only warms.
fn run(whole: &mut Whole, time: Duration) -> Taken {
    let warm = time / 10;
    let messages = (TURN_BYTES / whole.message_bytes() as usize).clamp(1, TURN_MESSAGES);
    let began = Instant::now();
    let mut taken = Taken { each_ns: Vec::new(), on_core_ns: 0, messages: 0 };
    let mut reads: Vec<Vec<u8>> = vec![Vec::new(); AHEAD];
    loop {
        for read in &mut reads {
            read.clear();
            whole.feed.write(messages, read);
        }
        let elapsed = began.elapsed();
        let counts = elapsed >= warm;
        let before_ns = on_core_ns();
        for read in &reads {
            let turn = Instant::now();
            whole.turn(read);
            if counts {
                taken.each_ns.push(turn.elapsed().as_nanos() as f64 / messages as f64);
            }
        }
        if counts {
            taken.on_core_ns += on_core_ns() - before_ns;
            taken.messages += (AHEAD * messages) as u64;
        }
        if elapsed >= time && taken.messages > 0 {
            whole.check();
            return taken;
        }
    }
}

/// Time that this thread was on a core.
fn on_core_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// The heading of [`table`].
pub const HEADING: &str =
    "grows        what is sent                  at   ns a message    ns on a core   to the first";

/// A chart as lines.
pub fn table(chart: &Chart) -> String {
    let mut text = String::new();
    for series in &chart.series {
        let first = series.points.first().map_or(f64::NAN, |point| point.message_ns);
        for point in &series.points {
            let _ = writeln!(
                text,
                "{:<12} {:<22} {:>9.0} {:>14.1} {:>15.1} {:>13.2}x  {}",
                chart.axis.name(),
                series.name,
                point.at,
                point.message_ns,
                point.cpu_ns,
                point.message_ns / first,
                point.note,
            );
        }
    }
    text
}

/// All points as comma-separated values, one line each, with a heading.
pub fn csv(charts: &[Chart]) -> String {
    let mut text = "axis,series,at,message_ns,cpu_ns,note\n".to_owned();
    for chart in charts {
        for series in &chart.series {
            for Point { at, message_ns, cpu_ns, note } in &series.points {
                let axis = chart.axis.name();
                let _ = writeln!(
                    text,
                    "{axis},\"{}\",{at:.0},{message_ns:.1},{cpu_ns:.1},\"{note}\"",
                    series.name
                );
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tiny() -> Options {
        Options {
            instruments: vec![1, 3],
            consumers: vec![1, 3],
            shards: vec![1, 2],
            depths: vec![10, 40],
            sizes: vec![1, 7],
            cores: vec![0],
            time: Duration::from_millis(2),
        }
    }

    #[test]
    fn every_axis_gives_its_points_a_table_and_a_picture() {
        let charts: Vec<Chart> = Axis::ALL.into_iter().map(|axis| measure(axis, &tiny())).collect();
        let lines: Vec<(Axis, usize)> = charts.iter().map(|chart| (chart.axis, chart.series.len())).collect();
        let expected = [
            (Axis::Instruments, 2),
            (Axis::Consumers, 3),
            (Axis::Shards, 1),
            (Axis::Depth, 2),
            (Axis::Size, 1),
        ];
        assert_eq!(lines, expected);
        let points: Vec<&Point> =
            charts.iter().flat_map(|chart| &chart.series).flat_map(|series| &series.points).collect();
        assert_eq!(points.len(), 18);
        assert!(points.iter().all(|point| point.message_ns > 0.0 && point.cpu_ns > 0.0), "{points:?}");
        assert_eq!(csv(&charts).lines().count(), 1 + 18);
        assert_eq!(charts.iter().map(|chart| table(chart).lines().count()).sum::<usize>(), 18);
        let picture = picture::svg(&charts, "a <machine>");
        assert_eq!(picture.matches("<circle").count(), 18);
        assert!(picture.contains("a &lt;machine&gt;") && picture.ends_with("</svg>\n"), "{picture}");
    }

    #[test]
    fn an_axis_is_named_as_it_is_read() {
        for axis in Axis::ALL {
            assert_eq!(axis.name().parse(), Ok(axis));
        }
        assert!("length".parse::<Axis>().is_err());
    }

    #[test]
    fn shards_go_beyond_the_cores_of_the_host() {
        let of = |cores: usize| Options::full((0..cores).collect(), Duration::ZERO).shards;
        assert_eq!(of(1), [1, 2, 4]);
        assert_eq!(of(2), [1, 2, 4, 8]);
        assert_eq!(of(6), [1, 2, 4, 6, 12, 24]);
    }
}
