//! The percentile curves as a picture: one self-contained SVG, no script, no outside font, light background.
//!
//! Across is the percentile on a logarithmic scale of 1/(1-p), so that each further nine has the same room;
//! up is the latency, logarithmic too. Colour tells stages apart, the dash pattern shards.

use std::fmt::Write;

use super::RunReport;
use super::table::latency;
use super::total::StageTotal;

/// Curves in one picture; more would not be told apart. The others are in their `.hgrm` files.
const CURVES_MAX: usize = 40;

/// Further nines that the scale shows at the most: 99.99999 %.
const DECADES_MAX: u32 = 7;

/// Ten colours that differ in print and for most colour-blind readers (after Tableau 10, darkened for lines).
const COLOURS: [&str; 10] = [
    "#3b6fb6", "#e07b1f", "#c83f49", "#2f9c95", "#4d9a3f", "#8a5aa8", "#d9a400", "#d4568f", "#8c6239",
    "#6b7078",
];

/// Dash patterns by shard; the first is a full line.
const DASHES: [&str; 6] = ["", "7 4", "2 3", "10 3 2 3", "14 4", "4 2 1 2"];

/// The scale of latencies begins where the curves are from here on: the 5th percentile.
const BODY_FROM: f64 = 0.022;

const WIDTH: f64 = 1280.0;
const HEIGHT_MIN: f64 = 700.0;
const LEFT: f64 = 84.0;
const TOP: f64 = 104.0;
const BOTTOM: f64 = 66.0;
const LEGEND_WIDTH: f64 = 346.0;
const LEGEND_ROW: f64 = 19.0;

/// One line of the picture.
#[derive(Clone, Debug)]
pub struct Curve {
    shard: String,
    stage: String,
    /// Median and 99th percentile, in nanoseconds, for the legend.
    figures_ns: (u64, u64),
    /// (log10 of 1/(1-p), nanoseconds), both rising.
    points: Vec<(f64, u64)>,
}

impl Curve {
    /// The curve of one stage of one shard. It ends at its largest value, drawn at 1 - 1/count.
    pub fn new(shard: &str, stage: &str, total: &StageTotal) -> Self {
        // Fine enough that steps of the histogram show and no point is drawn twice.
        const TICKS_PER_HALF: u32 = 12;
        let end = (total.count().max(1) as f64).log10();
        let mut points: Vec<(f64, u64)> = Vec::new();
        if total.count() > 0 {
            points.push((0.0, total.latency_ns_at(0.0)));
        }
        for step in total.histogram().iter_quantiles(TICKS_PER_HALF) {
            let across = -(1.0 - step.quantile_iterated_to()).log10();
            if across >= end {
                break;
            }
            points.push((across, total.latency_ns_at(step.quantile_iterated_to() * 100.0)));
        }
        if total.count() > 0 {
            points.push((end, total.latency_ns_at(100.0)));
        }
        let figures_ns = (total.latency_ns_at(50.0), total.latency_ns_at(99.0));
        Self { shard: shard.to_owned(), stage: stage.to_owned(), figures_ns, points }
    }
}

impl Curve {
    /// A curve of points that were read back: (log10 of 1/(1-p), nanoseconds), both rising.
    pub fn of_points(shard: &str, stage: &str, figures_ns: (u64, u64), points: Vec<(f64, u64)>) -> Self {
        Self { shard: shard.to_owned(), stage: stage.to_owned(), figures_ns, points }
    }
}

/// A picture of percentile curves.
#[derive(Clone, Debug)]
pub struct Picture {
    title: String,
    subtitles: Vec<String>,
    curves: Vec<Curve>,
    left_out: usize,
}

impl Picture {
    /// A picture under any title; curves of one shard stand together.
    pub fn new(title: &str, subtitles: Vec<String>, mut curves: Vec<Curve>) -> Self {
        let left_out = curves.len().saturating_sub(CURVES_MAX);
        curves.truncate(CURVES_MAX);
        Self { title: title.to_owned(), subtitles, curves, left_out }
    }

    /// The picture of a run, with its facts as the title. Stages of one owner (`handler:maker`) are left out where the stage of all
    /// is there: forty curves in ten colours tell nobody anything.
    pub fn of_run(report: &RunReport, mut curves: Vec<Curve>) -> Self {
        let all = curves.len();
        let whole: Vec<(String, String)> =
            curves.iter().map(|curve| (curve.shard.clone(), curve.stage.clone())).collect();
        curves.retain(|curve| {
            let of = curve.stage.split_once(':').map(|(of, _)| (curve.shard.clone(), of.to_owned()));
            of.is_none_or(|of| !whole.contains(&of))
        });
        let owners = all - curves.len();
        let commit = report.commit.as_ref().map(|commit| format!(" ({commit})")).unwrap_or_default();
        let seconds = report.run_ns as f64 / 1e9;
        let run = format!(
            "Meltica {}{commit}, {}, from {} for {seconds:.0} s",
            report.version, report.topology, report.started_at
        );
        let mut picture = Self::new("Latency by percentile", vec![run, report.host.line()], curves);
        picture.left_out += owners;
        picture
    }

    /// The SVG text.
    pub fn to_svg(&self) -> String {
        let shards = distinct(self.curves.iter().map(|curve| curve.shard.as_str()));
        let legend_rows = self.curves.len() + shards.len() + usize::from(self.left_out > 0);
        let height =
            HEIGHT_MIN.max(TOP + legend_rows as f64 * LEGEND_ROW + 12.0 * shards.len() as f64 + BOTTOM);
        let scale = Scale::of(&self.curves, height);
        let mut svg = String::with_capacity(64 << 10);
        let _ = write!(
            svg,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
             viewBox=\"0 0 {WIDTH} {height}\" font-family=\"'Inter','Helvetica Neue',Helvetica,Arial,'DejaVu Sans',sans-serif\" \
             font-size=\"13\" fill=\"#2b2f36\">\n\
             <title>{}</title>\n\
             <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n",
            escaped(&self.title)
        );
        text(&mut svg, (LEFT, 38.0), "font-size=\"22\" font-weight=\"600\"", &self.title);
        for (index, subtitle) in self.subtitles.iter().enumerate() {
            text(&mut svg, (LEFT, 60.0 + 18.0 * index as f64), "fill=\"#6b7078\"", subtitle);
        }
        scale.draw(&mut svg);
        let stages = distinct(self.curves.iter().map(|curve| curve.stage.as_str()));
        let look = |curve: &Curve| {
            let stage = stages.iter().position(|stage| *stage == curve.stage).unwrap_or(0);
            let shard = shards.iter().position(|shard| *shard == curve.shard).unwrap_or(0);
            (COLOURS[stage % COLOURS.len()], DASHES[shard % DASHES.len()])
        };
        for curve in &self.curves {
            scale.draw_curve(&mut svg, curve, look(curve));
        }
        if self.curves.is_empty() {
            let middle = (f64::midpoint(LEFT, scale.right), f64::midpoint(TOP, scale.bottom));
            text(&mut svg, middle, "text-anchor=\"middle\" fill=\"#6b7078\"", "no latencies were recorded");
        }
        self.draw_legend(&mut svg, scale.right + 28.0, &shards, look);
        svg.push_str("</svg>\n");
        svg
    }

    fn draw_legend(
        &self,
        svg: &mut String,
        left: f64,
        shards: &[&str],
        look: impl Fn(&Curve) -> (&'static str, &'static str),
    ) {
        let right = WIDTH - 20.0;
        let mut down = TOP + 10.0;
        let small = "font-size=\"11\" fill=\"#6b7078\" text-anchor=\"end\"";
        if !self.curves.is_empty() {
            text(svg, (right - 58.0, down - 16.0), small, "p50");
            text(svg, (right, down - 16.0), small, "p99");
        }
        for shard in shards {
            text(svg, (left, down), "font-weight=\"600\"", &shortened(shard, 30));
            down += LEGEND_ROW;
            for curve in self.curves.iter().filter(|curve| curve.shard == *shard) {
                let (colour, dash) = look(curve);
                let _ = writeln!(
                    svg,
                    "<line x1=\"{left}\" y1=\"{0}\" x2=\"{1}\" y2=\"{0}\" stroke=\"{colour}\" stroke-width=\"2.5\"{2}/>",
                    down - 4.0,
                    left + 26.0,
                    dash_attribute(dash),
                );
                text(svg, (left + 34.0, down), "font-size=\"12\"", &shortened(&curve.stage, 22));
                let (p50_ns, p99_ns) = curve.figures_ns;
                text(svg, (right - 58.0, down), small, &spaced(p50_ns));
                text(svg, (right, down), small, &spaced(p99_ns));
                down += LEGEND_ROW;
            }
            down += 12.0;
        }
        if self.left_out > 0 {
            let more = format!("and {} more in their .hgrm files", self.left_out);
            text(svg, (left, down), "font-size=\"12\" fill=\"#6b7078\"", &more);
        }
    }
}

/// Where values lie on the picture.
struct Scale {
    right: f64,
    bottom: f64,
    /// Nines shown: the right edge is 1 - 10^-decades.
    decades: u32,
    /// Powers of ten, in nanoseconds, of the lower and upper edge.
    low: i32,
    high: i32,
}

impl Scale {
    fn of(curves: &[Curve], height: f64) -> Self {
        let points = || curves.iter().flat_map(|curve| &curve.points);
        let across = points().map(|&(across, _)| across).fold(2.0, f64::max);
        let log = |ns: u64| (ns.max(1) as f64).log10();
        // Not from the least of all: one latency of a nanosecond would leave half of the picture empty.
        let lowest_from = |from: f64| {
            points().filter(|(across, _)| *across >= from).map(|&(_, ns)| log(ns)).reduce(f64::min)
        };
        let lowest = lowest_from(BODY_FROM).or_else(|| lowest_from(0.0)).unwrap_or(2.0);
        let highest = points().map(|&(_, ns)| log(ns)).reduce(f64::max).unwrap_or(6.0);
        let low = lowest.floor() as i32;
        Self {
            right: WIDTH - LEGEND_WIDTH,
            bottom: height - BOTTOM,
            decades: (across.ceil() as u32).min(DECADES_MAX),
            low,
            high: (highest.ceil() as i32).max(low + 1),
        }
    }

    fn x(&self, across: f64) -> f64 {
        LEFT + (across / f64::from(self.decades)).min(1.0) * (self.right - LEFT)
    }

    fn y(&self, log_ns: f64) -> f64 {
        let share = ((log_ns - f64::from(self.low)) / f64::from(self.high - self.low)).max(0.0);
        self.bottom - share * (self.bottom - TOP)
    }

    fn draw(&self, svg: &mut String) {
        let line = |svg: &mut String, [x1, y1, x2, y2]: [f64; 4], stroke: &str| {
            let _ =
                writeln!(svg, "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" {stroke}/>");
        };
        const MINOR: &str = "stroke=\"#f0f1f3\"";
        const MAJOR: &str = "stroke=\"#d5d8dd\"";
        const AXIS: &str = "stroke=\"#8b9099\"";
        for power in self.low..=self.high {
            let y = self.y(f64::from(power));
            if power < self.high {
                for digit in 2..10 {
                    let minor = self.y(f64::from(power) + f64::from(digit).log10());
                    line(svg, [LEFT, minor, self.right, minor], MINOR);
                }
            }
            line(svg, [LEFT, y, self.right, y], MAJOR);
            let label = power_label(power);
            text(svg, (LEFT - 10.0, y + 4.5), "text-anchor=\"end\"", &label);
        }
        for decade in 0..=self.decades {
            let x = self.x(f64::from(decade));
            line(svg, [x, TOP, x, self.bottom], MAJOR);
            line(svg, [x, self.bottom, x, self.bottom + 5.0], AXIS);
            text(svg, (x, self.bottom + 21.0), "text-anchor=\"middle\"", &percentile_label(decade));
        }
        line(svg, [LEFT, self.bottom, self.right, self.bottom], AXIS);
        line(svg, [LEFT, TOP, LEFT, self.bottom], AXIS);
        let middle = (f64::midpoint(LEFT, self.right), self.bottom + 46.0);
        text(svg, middle, "text-anchor=\"middle\" fill=\"#6b7078\"", "percentile");
        let middle = f64::midpoint(TOP, self.bottom);
        let turned =
            format!("text-anchor=\"middle\" fill=\"#6b7078\" transform=\"rotate(-90 22 {middle:.1})\"");
        text(svg, (22.0, middle), &turned, "latency");
    }

    fn draw_curve(&self, svg: &mut String, curve: &Curve, (colour, dash): (&str, &str)) {
        let at = |&(across, ns): &(f64, u64)| (self.x(across), self.y((ns.max(1) as f64).log10()));
        let mut path = String::new();
        for (index, point) in curve.points.iter().enumerate() {
            let (x, y) = at(point);
            let _ = write!(path, "{}{x:.1} {y:.1}", if index == 0 { "M" } else { " L" });
        }
        let Some((x, y)) = curve.points.last().map(at) else { return };
        let _ = writeln!(
            svg,
            "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" stroke-linejoin=\"round\" \
             stroke-linecap=\"round\"{}><title>{} {}</title></path>",
            dash_attribute(dash),
            escaped(&curve.shard),
            escaped(&curve.stage),
        );
        // The largest value of all is one latency, not a percentile: a dot.
        let _ = writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>");
    }
}

/// `0%`, `90%`, `99%`, `99.9%` and so on.
fn percentile_label(decade: u32) -> String {
    match decade {
        0 => "0%".to_owned(),
        1 => "90%".to_owned(),
        2 => "99%".to_owned(),
        nines => format!("99.{}%", "9".repeat(nines as usize - 2)),
    }
}

/// A power of ten of nanoseconds: `100 ns`, `1 µs`.
pub(super) fn power_label(power: i32) -> String {
    let power = power.max(0) as u32;
    let (unit, less) = match power {
        0..3 => ("ns", 0),
        3..6 => ("µs", 3),
        6..9 => ("ms", 6),
        _ => ("s", 9),
    };
    format!("{} {unit}", 10_u64.pow(power - less))
}

/// `1.23 µs`.
fn spaced(latency_ns: u64) -> String {
    let text = latency(latency_ns);
    let unit = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    format!("{} {}", &text[..unit], text[unit..].replace("us", "µs"))
}

fn dash_attribute(dash: &str) -> String {
    if dash.is_empty() { String::new() } else { format!(" stroke-dasharray=\"{dash}\"") }
}

/// One text at (x, y) with further attributes.
fn text(svg: &mut String, (x, y): (f64, f64), attributes: &str, content: &str) {
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" {attributes}>{}</text>", escaped(content));
}

/// Text as XML may hold it.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            c if c.is_control() => escaped.push('?'),
            c => escaped.push(c),
        }
    }
    escaped
}

fn shortened(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    text.chars().take(max - 1).chain(['…']).collect()
}

/// The different values, in the order of their first appearance.
fn distinct<'a>(values: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut found = Vec::new();
    for value in values {
        if !found.contains(&value) {
            found.push(value);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::tests::fixed_report;
    use super::*;
    use crate::stages::{Stage, StageLayout, StageSet};

    fn total(values: impl IntoIterator<Item = u64>) -> StageTotal {
        let mut set = StageSet::new(&StageLayout::default());
        values.into_iter().for_each(|value| set.record(Stage::VenueToReceive, value));
        let mut total = StageTotal::new();
        total.add_cell(&set.cells()[0]);
        total
    }

    /// Latencies as they really are: a narrow body, a shoulder, rare spikes.
    fn lifelike(seed: u64, body_ns: f64, count: u32) -> StageTotal {
        let mut random = fastrand::Rng::with_seed(seed);
        total((0..count).map(|_| {
            let body = body_ns * (1.0 + 0.25 * (random.f64() + random.f64() + random.f64()));
            let tail = (1.0 / (1.0 - random.f64())).powf(0.55);
            (body * tail.max(1.0)) as u64 + 5
        }))
    }

    /// Every tag that opens closes, in order; attributes and entities are well formed as far as a
    /// reader without a parser can tell.
    fn assert_well_formed(svg: &str) {
        let mut open = Vec::new();
        let mut rest = svg;
        while let Some(start) = rest.find('<') {
            let content = &rest[..start];
            assert!(!content.contains('>'), "a stray > in {content:?}");
            for entity in content.split('&').skip(1) {
                assert!(
                    ["amp;", "lt;", "gt;", "quot;"].iter().any(|known| entity.starts_with(known)),
                    "{content}"
                );
            }
            let end = start + rest[start..].find('>').expect("a tag ends");
            let tag = &rest[start + 1..end];
            assert!(tag.matches('"').count().is_multiple_of(2), "{tag}");
            if let Some(name) = tag.strip_prefix('/') {
                assert_eq!(open.pop(), Some(name), "{tag}");
            } else if !tag.ends_with('/') {
                open.push(tag.split(' ').next().unwrap());
            }
            rest = &rest[end + 1..];
        }
        assert!(open.is_empty(), "left open: {open:?}");
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "a coordinate is no number");
    }

    #[test]
    fn a_picture_is_well_formed_and_names_everything() {
        let curves = vec![
            Curve::new("binance", "receive_to_decoded", &lifelike(1, 90.0, 200_000)),
            Curve::new("binance", "turn", &lifelike(2, 900.0, 5_000)),
            Curve::new("c<0> & \"co\"", "handler:alpha", &lifelike(3, 300.0, 200_000)),
        ];
        let svg = Picture::of_run(&fixed_report(), curves).to_svg();
        assert_well_formed(&svg);
        for expected in
            [">binance<", ">receive_to_decoded<", ">c&lt;0&gt; &amp; ", ">99.999%<", ">100 ns<", ">1 µs<"]
        {
            assert!(svg.contains(expected), "{expected}");
        }
        assert_eq!(svg.matches("<path").count(), 3);
        assert!(svg.contains("Meltica 0.1.0 (9e57cbc), topology.yaml, from 2026-11-21T03:30:07Z for 83 s"));
        assert!(svg.contains("stroke-dasharray"), "the second shard is dashed");
    }

    #[test]
    fn extreme_data_still_makes_a_picture() {
        let cases: [(&str, Vec<Curve>); 5] = [
            ("none", vec![]),
            ("empty", vec![Curve::new("a", "turn", &total([]))]),
            ("one zero", vec![Curve::new("a", "turn", &total([0]))]),
            ("one value often", vec![Curve::new("a", "turn", &total([500; 1_000]))]),
            ("out of range", vec![Curve::new("a", "turn", &total([1, u64::MAX]))]),
        ];
        for (name, curves) in cases {
            let svg = Picture::new(name, vec![], curves).to_svg();
            assert_well_formed(&svg);
        }
    }

    #[test]
    fn curves_that_are_too_many_are_counted() {
        let total = total([1, 2, 3]);
        let curves = (0..50).map(|index| Curve::new("a", &format!("handler:{index}"), &total)).collect();
        let svg = Picture::new("many", vec![], curves).to_svg();
        assert_well_formed(&svg);
        assert!(svg.contains("and 10 more in their .hgrm files"));
    }

    #[test]
    fn owners_are_left_out_where_the_stage_of_all_is_there_and_one_nanosecond_does_not_set_the_scale() {
        let (body, mixed) =
            (lifelike(5, 300.0, 10_000), total(std::iter::once(1).chain(std::iter::repeat_n(40_000, 9_999))));
        let curves = vec![
            Curve::new("a", "handler", &body),
            Curve::new("a", "handler:maker", &body),
            Curve::new("b", "handler:alone", &body),
            Curve::new("b", "turn", &mixed),
        ];
        let svg = Picture::of_run(&fixed_report(), curves).to_svg();
        assert_well_formed(&svg);
        assert_eq!(svg.matches("<path").count(), 3);
        assert!(!svg.contains("handler:maker") && svg.contains("handler:alone"));
        assert!(svg.contains("and 1 more in their .hgrm files"));
        assert!(svg.contains(">100 ns<") && !svg.contains(">10 ns<"), "the scale begins with the curves");
    }

    #[test]
    fn a_curve_rises_from_the_smallest_to_the_largest() {
        let total = lifelike(9, 400.0, 10_000);
        let curve = Curve::new("a", "turn", &total);
        assert!(curve.points.is_sorted_by(|before, after| before.0 <= after.0 && before.1 <= after.1));
        assert_eq!(curve.points.last(), Some(&(4.0, total.latency_ns_at(100.0))));
        assert_eq!(curve.points[0].0, 0.0);
    }

    #[test]
    fn labels_read_as_units() {
        assert_eq!(
            [0, 2, 3, 5, 6, 9, 11].map(power_label),
            ["1 ns", "100 ns", "1 µs", "100 µs", "1 ms", "1 s", "100 s"]
        );
        assert_eq!([0, 1, 2, 3, 5].map(percentile_label), ["0%", "90%", "99%", "99.9%", "99.999%"]);
        assert_eq!(spaced(1_234), "1.23 µs");
        assert_eq!(spaced(0), "0 ns");
    }
}
