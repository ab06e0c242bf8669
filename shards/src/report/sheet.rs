//! Panels one under the other over one axis of time, each with a scale, as one self-contained SVG: no script, no outside font,
//! light or dark as the reader's system is. Knows nothing of what is drawn; [`super::timeline_picture`] and the soaks do.

use std::fmt::Write;

use super::picture::{escaped, power_label};

const WIDTH: f64 = 1280.0;
const LEFT: f64 = 216.0;
const RIGHT: f64 = 1260.0;
const PANEL_HEIGHT: f64 = 130.0;
const PANEL_GAP: f64 = 44.0;
const TOP: f64 = 54.0;
const LANE: f64 = 17.0;
/// Steps of a linear scale, at the most: more labels than that would touch each other.
const STEPS_MAX: f64 = 5.0;
/// Marks of the axis of time, at the most, for the same reason.
const TIME_STEPS_MAX: u64 = 12;

/// Colours by class, for both looks. Lines differ in lightness too, for print and the colour-blind.
const STYLE: &str = "\
.bg{fill:#ffffff}.ink{fill:#2b2f36}.soft{fill:#6b7078}.grid{stroke:#e3e5e9}.axis{stroke:#8b9099}\
.a{stroke:#3b6fb6}.b{stroke:#e07b1f}.c{stroke:#c83f49}.fa{fill:#3b6fb6}.fb{fill:#e07b1f}.fc{fill:#c83f49}.mark{fill:#c83f49}\
@media (prefers-color-scheme:dark){\
.bg{fill:#14171c}.ink{fill:#e6e8ec}.soft{fill:#9aa0aa}.grid{stroke:#2a2f38}.axis{stroke:#6b7078}\
.a{stroke:#7fb0f5}.b{stroke:#f5a65b}.c{stroke:#f0767e}.fa{fill:#7fb0f5}.fb{fill:#f5a65b}.fc{fill:#f0767e}.mark{fill:#f0767e}}";

/// One line of a panel.
pub struct Series {
    /// What the legend calls it.
    pub name: &'static str,
    /// (milliseconds, value), by time.
    pub points: Vec<(u64, f64)>,
}

/// How values lie on a panel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// From zero, in whole steps.
    Linear,
    /// Nanoseconds, logarithmic, in whole decades. What is zero had no latency and is left out.
    Latency,
}

/// When something happened, and how much of it.
#[derive(Clone, Debug)]
pub struct Mark {
    /// Its begin.
    pub from_ms: u64,
    /// Its end.
    pub to_ms: u64,
    /// How many times.
    pub count: u64,
    /// What, for a reader who points at it.
    pub what: String,
    /// How dark it is drawn, 0 to 1.
    pub strength: f64,
}

/// A picture that grows downwards.
pub struct Sheet {
    title: String,
    body: String,
    top: f64,
    time: Time,
}

impl Sheet {
    /// An empty one over so much time.
    pub fn new(title: &str, end_ms: u64) -> Self {
        Self {
            title: title.to_owned(),
            body: String::new(),
            top: TOP,
            time: Time { end_ms: end_ms.max(1_000) },
        }
    }

    /// Lines under a title with its unit, at the most three.
    pub fn panel(&mut self, title: &str, scale: Scale, series: &[Series]) {
        let (svg, top) = (&mut self.body, self.top);
        self.top += PANEL_HEIGHT + PANEL_GAP;
        let classes = ["a", "b", "c"];
        text(svg, (LEFT, top), "ink", "font-weight=\"600\"", title);
        // A single line is what the title says. Others have their names in columns where titles are short enough.
        let mut x = LEFT + 210_f64.max(title.chars().count() as f64 * 7.0 + 30.0);
        for (one, class) in series.iter().zip(classes).filter(|_| series.len() > 1) {
            let _ = writeln!(
                svg,
                "<rect class=\"f{class}\" x=\"{x:.1}\" y=\"{:.1}\" width=\"14\" height=\"4\"/>",
                top - 6.0
            );
            text(svg, (x + 19.0, top), "soft", "", one.name);
            x += 36.0 + one.name.chars().count() as f64 * 6.6;
        }
        let (upper, lower) = (top + 10.0, top + PANEL_HEIGHT);
        let values = || series.iter().flat_map(|one| &one.points).map(|(_, value)| *value);
        let ticks = match scale {
            Scale::Linear => linear_ticks(values().fold(0.0, f64::max)),
            Scale::Latency => latency_ticks(values().filter(|value| *value > 0.0)),
        };
        let (Some(&(low, _)), Some(&(high, _))) = (ticks.first(), ticks.last()) else {
            text(svg, (LEFT, f64::midpoint(upper, lower)), "soft", "", "nothing");
            line(svg, "grid", [LEFT, lower, RIGHT, lower]);
            return;
        };
        let along = |value: f64| if scale == Scale::Latency { value.max(1.0).log10() } else { value };
        let y =
            |value: f64| lower - (along(value) - along(low)) / (along(high) - along(low)) * (lower - upper);
        for second in self.time.marks_s() {
            let x = self.time.x(second * 1_000);
            line(svg, "grid", [x, upper, x, lower]);
        }
        for (value, label) in &ticks {
            let at = y(*value);
            line(svg, "grid", [LEFT, at, RIGHT, at]);
            text(svg, (LEFT - 8.0, at + 4.0), "soft", "text-anchor=\"end\"", label);
        }
        // The first one last, on top: each further one is wilder.
        for (one, class) in series.iter().zip(classes).rev() {
            let shown = one.points.iter().filter(|(_, value)| scale == Scale::Linear || *value > 0.0);
            let mut path = String::new();
            for &(at_ms, value) in shown {
                let (x, y) = (self.time.x(at_ms), y(value));
                // One point alone makes no line, so the first one is a short one.
                let _ = match path.len() {
                    0 => write!(path, "M{x:.1} {y:.1} h1"),
                    _ => write!(path, " L{x:.1} {y:.1}"),
                };
            }
            if !path.is_empty() {
                let _ = writeln!(
                    svg,
                    "<path class=\"{class}\" d=\"{path}\" fill=\"none\" stroke-width=\"1.6\" stroke-linejoin=\"round\"><title>{}</title></path>",
                    one.name
                );
            }
        }
    }

    /// A title over lanes.
    pub fn heading(&mut self, title: &str) {
        text(&mut self.body, (LEFT, self.top - 12.0), "ink", "font-weight=\"600\"", title);
    }

    /// A line of marks with its name beside.
    pub fn lane(&mut self, name: &str, marks: &[Mark]) {
        let svg = &mut self.body;
        let top = self.top;
        self.top += LANE;
        text(svg, (LEFT - 8.0, top + 11.0), "soft", "font-size=\"11\" text-anchor=\"end\"", name);
        line(svg, "grid", [LEFT, top + LANE - 2.0, RIGHT, top + LANE - 2.0]);
        for &Mark { from_ms, to_ms, count, ref what, strength } in marks {
            let (x, end) = (self.time.x(from_ms), self.time.x(to_ms));
            let times = if count > 1 { format!(" x{count}") } else { String::new() };
            let _ = writeln!(
                svg,
                "<rect class=\"mark\" opacity=\"{strength:.2}\" x=\"{x:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{}\"><title>{}{times} at {:.2} s</title></rect>",
                top + 1.0,
                (end - x).max(1.5),
                LANE - 5.0,
                escaped(what),
                from_ms as f64 / 1e3,
            );
        }
    }

    /// A remark in a line of its own.
    pub fn note(&mut self, content: &str) {
        text(&mut self.body, (LEFT, self.top + 12.0), "soft", "", content);
        self.top += LANE;
    }

    /// The SVG text.
    pub fn into_svg(mut self) -> String {
        self.time.draw(&mut self.body, self.top + 14.0);
        let height = self.top + 48.0;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
             font-family=\"'Inter','Helvetica Neue',Helvetica,Arial,'DejaVu Sans',sans-serif\" font-size=\"12\">\n\
             <title>{0}</title>\n<style>{STYLE}</style>\n\
             <rect class=\"bg\" width=\"{WIDTH}\" height=\"{height}\"/>\n",
            escaped(&self.title)
        );
        text(&mut svg, (LEFT, 24.0), "ink", "font-size=\"16\" font-weight=\"600\"", &self.title);
        svg + &self.body + "</svg>\n"
    }
}

struct Time {
    end_ms: u64,
}

impl Time {
    fn x(&self, at_ms: u64) -> f64 {
        LEFT + (at_ms.min(self.end_ms) as f64 / self.end_ms as f64) * (RIGHT - LEFT)
    }

    /// Between two marks of the axis: what a clock is divided by.
    fn step_s(&self) -> u64 {
        let least = self.end_ms.div_ceil(1_000 * TIME_STEPS_MAX);
        let steps =
            [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1_200, 1_800, 3_600, 7_200, 14_400, 43_200, 86_400];
        steps.into_iter().find(|step| *step >= least).unwrap_or(least)
    }

    fn marks_s(&self) -> impl Iterator<Item = u64> {
        (0..=self.end_ms / 1_000).step_by(self.step_s() as usize)
    }

    /// Seconds, minutes or hours, the same on the whole axis.
    fn label(&self, second: u64) -> String {
        match self.step_s() {
            0..60 => format!("{second} s"),
            60..3_600 => format!("{} min", second / 60),
            step if step % 3_600 == 0 => format!("{} h", second / 3_600),
            _ => format!("{:.1} h", second as f64 / 3_600.0),
        }
    }

    fn draw(&self, svg: &mut String, y: f64) {
        for second in self.marks_s() {
            let x = self.x(second * 1_000);
            line(svg, "axis", [x, y, x, y + 5.0]);
            text(svg, (x, y + 19.0), "soft", "text-anchor=\"middle\"", &self.label(second));
        }
        line(svg, "axis", [LEFT, y, RIGHT, y]);
    }
}

/// From zero to what is not below the highest value, in steps of 1, 2 or 5 times a power of ten, each with its label. Empty where
/// all is zero.
fn linear_ticks(highest: f64) -> Vec<(f64, String)> {
    if highest <= 0.0 {
        return Vec::new();
    }
    let least = highest / STEPS_MAX;
    let power = 10_f64.powf(least.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|times| times * power).into_iter().find(|step| *step >= least);
    let step = step.unwrap_or(least);
    let steps = (highest / step).ceil().max(1.0);
    let (unit, sign) = match steps * step {
        1e6.. => (1e6, "M"),
        1e4.. => (1e3, "k"),
        _ => (1.0, ""),
    };
    // As many digits as tell one step from the next.
    let digits = (-(step / unit).log10().floor()).max(0.0) as usize;
    let label = |value: f64| {
        if value > 0.0 { format!("{:.digits$}{sign}", value / unit) } else { "0".to_owned() }
    };
    (0..=steps as u32).map(|number| f64::from(number) * step).map(|value| (value, label(value))).collect()
}

/// The decades around the latencies, in nanoseconds, each with its label. Empty where there is none.
fn latency_ticks(values: impl Iterator<Item = f64>) -> Vec<(f64, String)> {
    let (lowest, highest) =
        values.fold((f64::MAX, 0.0), |(low, high), value| (value.min(low), value.max(high)));
    if highest <= 0.0 {
        return Vec::new();
    }
    let decade = |value: f64| value.max(1.0).log10();
    let low = decade(lowest).floor() as i32;
    let high = (decade(highest).ceil() as i32).max(low + 1);
    (low..=high).map(|power| (10_f64.powi(power), power_label(power))).collect()
}

fn line(svg: &mut String, class: &str, [x1, y1, x2, y2]: [f64; 4]) {
    let _ = writeln!(
        svg,
        "<line class=\"{class}\" x1=\"{x1:.1}\" x2=\"{x2:.1}\" y1=\"{y1:.1}\" y2=\"{y2:.1}\"/>"
    );
}

fn text(svg: &mut String, (x, y): (f64, f64), class: &str, attributes: &str, content: &str) {
    let _ = writeln!(
        svg,
        "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" {attributes}>{}</text>",
        escaped(content)
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(ticks: &[(f64, String)], between: &str) -> String {
        ticks.iter().map(|(_, label)| label.as_str()).collect::<Vec<_>>().join(between)
    }

    #[test]
    fn a_linear_scale_begins_at_zero_ends_above_and_its_labels_differ() {
        for (highest, expected) in [
            (0.0, ""),
            (0.03, "0 0.01 0.02 0.03"),
            (0.8, "0 0.2 0.4 0.6 0.8"),
            (3.1, "0 1 2 3 4"),
            (7.0, "0 2 4 6 8"),
            (126.3, "0 50 100 150"),
            (9_999.0, "0 2k 4k 6k 8k 10k"),
            (50_477.3, "0 20k 40k 60k"),
            (1_000_000.0, "0 0.2M 0.4M 0.6M 0.8M 1.0M"),
            (4_291_097.0, "0 1M 2M 3M 4M 5M"),
        ] {
            let ticks = linear_ticks(highest);
            assert_eq!(labels(&ticks, " "), expected, "{highest}");
            assert!(ticks.last().is_none_or(|(last, _)| *last >= highest * 0.999_999), "{highest}");
        }
    }

    #[test]
    fn a_scale_of_latencies_has_whole_decades_with_units() {
        let of = |values: &[f64]| labels(&latency_ticks(values.iter().copied()), ", ");
        assert_eq!(of(&[]), "");
        assert_eq!(of(&[94_000.0, 1_257_387_200.0]), "10 µs, 100 µs, 1 ms, 10 ms, 100 ms, 1 s, 10 s");
        assert_eq!(of(&[1_000.0]), "1 µs, 10 µs", "a scale has a height");
        assert_eq!(of(&[0.3]), "1 ns, 10 ns");
    }

    #[test]
    fn the_axis_of_time_has_few_marks_in_one_unit() {
        for (seconds, expected) in [
            (5, "0 s 1 s 2 s 3 s 4 s 5 s"),
            (600, "0 min 1 min 2 min 3 min 4 min 5 min 6 min 7 min 8 min 9 min 10 min"),
            (3_599, "0 min 5 min 10 min 15 min 20 min 25 min 30 min 35 min 40 min 45 min 50 min 55 min"),
            (86_400, "0 h 2 h 4 h 6 h 8 h 10 h 12 h 14 h 16 h 18 h 20 h 22 h 24 h"),
        ] {
            let time = Time { end_ms: seconds * 1_000 };
            let labels: Vec<String> = time.marks_s().map(|second| time.label(second)).collect();
            assert_eq!(labels.join(" "), expected);
        }
        assert!(Time { end_ms: 10_000_000_000 }.marks_s().count() <= 13);
    }

    #[test]
    fn values_lie_where_the_scale_says() {
        let mut sheet = Sheet::new("t", 10_000);
        let points = vec![(0, 0.0), (5_000, 50.0), (10_000, 100.0)];
        sheet.panel("of it, MiB", Scale::Linear, &[Series { name: "one", points }]);
        let svg = sheet.into_svg();
        let (upper, lower) = (TOP + 10.0, TOP + PANEL_HEIGHT);
        let middle = (f64::midpoint(LEFT, RIGHT), f64::midpoint(upper, lower));
        let expected =
            format!("M{LEFT:.1} {lower:.1} h1 L{:.1} {:.1} L{RIGHT:.1} {upper:.1}", middle.0, middle.1);
        assert!(svg.contains(&expected), "{expected} in {svg}");
        assert!(svg.contains(&format!("y=\"{:.1}\" text-anchor=\"end\">100</text>", upper + 4.0)), "{svg}");
    }
}
