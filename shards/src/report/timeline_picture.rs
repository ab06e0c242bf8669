//! A run over time as a picture: rates, latency, what was lost, and what disturbed which shard, over one axis of time. One
//! self-contained SVG, without script or outside font, light or dark as the reader's system is.

use std::fmt::Write;

use super::table::latency;
use super::timeline::Point;
use super::{Incident, RunReport};

const WIDTH: f64 = 1280.0;
const LEFT: f64 = 216.0;
const RIGHT: f64 = 1260.0;
const PANEL_HEIGHT: f64 = 130.0;
const PANEL_GAP: f64 = 44.0;
const TOP: f64 = 46.0;
const LANE: f64 = 17.0;
/// Lanes of disturbances; more are named below.
const LANES_MAX: usize = 24;
/// Columns of a lane in which something happens all the time.
const COLUMNS: u64 = 174;

/// Colours by class, for both looks. Lines differ in lightness too, for print and the colour-blind.
pub const STYLE: &str = "\
.bg{fill:#ffffff}.ink{fill:#2b2f36}.soft{fill:#6b7078}.grid{stroke:#e3e5e9}.axis{stroke:#8b9099}\
.a{stroke:#3b6fb6}.b{stroke:#e07b1f}.c{stroke:#c83f49}.fa{fill:#3b6fb6}.fb{fill:#e07b1f}.fc{fill:#c83f49}.mark{fill:#c83f49}\
@media (prefers-color-scheme:dark){\
.bg{fill:#14171c}.ink{fill:#e6e8ec}.soft{fill:#9aa0aa}.grid{stroke:#2a2f38}.axis{stroke:#6b7078}\
.a{stroke:#7fb0f5}.b{stroke:#f5a65b}.c{stroke:#f0767e}.fa{fill:#7fb0f5}.fb{fill:#f5a65b}.fc{fill:#f0767e}.mark{fill:#f0767e}}";

/// One line of a panel: its name, its class, and (milliseconds, value).
struct Series {
    name: &'static str,
    class: &'static str,
    points: Vec<(u64, f64)>,
}

/// The picture of a run.
pub fn timeline_svg(report: &RunReport) -> String {
    let points = &report.timeline.points;
    let end_ms = (report.run_ns / 1_000_000).max(1_000);
    let lanes = lanes(report);
    let shown = lanes.len().min(LANES_MAX);
    let height = TOP + 3.0 * (PANEL_HEIGHT + PANEL_GAP) + shown.max(1) as f64 * LANE + 74.0;
    let mut svg = String::with_capacity(64 << 10);
    let _ = write!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"'Inter','Helvetica Neue',Helvetica,Arial,'DejaVu Sans',sans-serif\" font-size=\"12\">\n\
         <title>The run over time</title>\n<style>{STYLE}</style>\n\
         <rect class=\"bg\" width=\"{WIDTH}\" height=\"{height}\"/>\n"
    );
    text(
        &mut svg,
        (LEFT, 24.0),
        "ink",
        "font-size=\"16\" font-weight=\"600\"",
        &format!("{} for {:.1} s", report.started_at, report.run_ns as f64 / 1e9),
    );
    let time = Time { end_ms };
    let mut top = TOP;
    let rate = |of: fn(&Point) -> u64| rates(points, of);
    let panels: [(&str, Vec<Series>, bool); 3] = [
        (
            "per second",
            vec![
                Series { name: "messages of venues", class: "a", points: rate(|point| point.messages_total) },
                Series {
                    name: "events taken by consumers",
                    class: "b",
                    points: rate(|point| point.received_total),
                },
            ],
            false,
        ),
        (
            "receive to delivered",
            vec![
                Series { name: "p50", class: "a", points: values(points, |point| point.latency_ns_p50) },
                Series { name: "p99", class: "b", points: values(points, |point| point.latency_ns_p99) },
                Series { name: "longest", class: "c", points: values(points, |point| point.latency_ns_max) },
            ],
            true,
        ),
        (
            "lost or replaced per second",
            vec![
                Series { name: "coalesced", class: "a", points: rate(|point| point.coalesced_total) },
                Series {
                    name: "gaps and resyncs",
                    class: "b",
                    points: rate(|point| point.gaps_total + point.resyncs_total),
                },
                Series { name: "dropped", class: "c", points: rate(|point| point.dropped_total) },
            ],
            false,
        ),
    ];
    for (title, series, is_latency) in &panels {
        panel(&mut svg, top, title, series, *is_latency, &time);
        top += PANEL_HEIGHT + PANEL_GAP;
    }
    text(&mut svg, (LEFT, top - 12.0), "ink", "font-weight=\"600\"", "disturbances, by shard");
    if lanes.is_empty() {
        text(&mut svg, (LEFT, top + 12.0), "soft", "", "none was seen");
    }
    for (name, marks) in lanes.iter().take(shown) {
        text(&mut svg, (LEFT - 8.0, top + 11.0), "soft", "font-size=\"11\" text-anchor=\"end\"", name);
        let _ = writeln!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{0:.1}\" y2=\"{0:.1}\"/>",
            top + LANE - 2.0
        );
        for &Mark { from_ms, to_ms, count, ref what, strength } in marks {
            let (x, end) = (time.x(from_ms), time.x(to_ms));
            let _ = writeln!(
                svg,
                "<rect class=\"mark\" opacity=\"{strength:.2}\" x=\"{x:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{}\"><title>{} x{count} at {:.2} s</title></rect>",
                top + 1.0,
                (end - x).max(1.5),
                LANE - 5.0,
                escaped(what),
                from_ms as f64 / 1e3,
            );
        }
        top += LANE;
    }
    if lanes.len() > shown {
        text(
            &mut svg,
            (LEFT, top + 14.0),
            "soft",
            "",
            &format!("and {} rows more in report.json", lanes.len() - shown),
        );
    }
    time.draw(&mut svg, height - 34.0);
    svg.push_str("</svg>\n");
    svg
}

/// When something happened, and how much of it.
#[derive(Clone, Debug)]
struct Mark {
    from_ms: u64,
    to_ms: u64,
    count: u64,
    what: String,
    /// How dark it is drawn.
    strength: f64,
}

/// Marks of one kind on one shard.
type Lane = (String, Vec<Mark>);

/// The rarest kinds first: what happens all the time says least. Marks that touch are one; where they would fill most of the run,
/// a bar from end to end says nothing, so they are columns there, as dark as there is much of it.
fn lanes(report: &RunReport) -> Vec<Lane> {
    let mut all: Vec<(String, Vec<&Incident>)> = Vec::new();
    for incident in &report.incidents {
        let name = format!("{} {}", incident.shard, incident.what.name());
        match all.iter_mut().find(|(known, _)| *known == name) {
            Some((_, incidents)) => incidents.push(incident),
            None => all.push((name, vec![incident])),
        }
    }
    let run_ms = (report.run_ns / 1_000_000).max(1);
    let mut lanes: Vec<(u64, Lane)> = all
        .into_iter()
        .map(|(name, incidents)| {
            let marks = joined(&incidents);
            let length = marks.iter().map(|mark| mark.to_ms - mark.from_ms).sum::<u64>();
            let marks = if 2 * length > run_ms { columns(&incidents, run_ms) } else { marks };
            (length, (name, marks))
        })
        .collect();
    lanes.sort_by_key(|(length, _)| *length);
    lanes.into_iter().map(|(_, lane)| lane).collect()
}

/// Marks that touch as one.
fn joined(incidents: &[&Incident]) -> Vec<Mark> {
    let mut marks: Vec<Mark> = Vec::new();
    for incident in incidents {
        match marks.last_mut() {
            Some(mark) if mark.to_ms >= incident.from_ms => {
                mark.to_ms = incident.to_ms;
                mark.count += incident.count;
            }
            _ => marks.push(Mark {
                from_ms: incident.from_ms,
                to_ms: incident.to_ms,
                count: incident.count,
                what: incident.what.name().to_owned(),
                strength: 0.75,
            }),
        }
    }
    marks
}

/// A column a second, or wider if the run is long; an incident counts where it began.
fn columns(incidents: &[&Incident], run_ms: u64) -> Vec<Mark> {
    let width_ms = run_ms.div_ceil(COLUMNS).max(1_000);
    let mut marks: Vec<Mark> = Vec::new();
    for incident in incidents {
        let from_ms = incident.from_ms / width_ms * width_ms;
        match marks.last_mut() {
            Some(mark) if mark.from_ms == from_ms => mark.count += incident.count,
            _ => marks.push(Mark {
                from_ms,
                to_ms: from_ms + width_ms,
                count: incident.count,
                what: incident.what.name().to_owned(),
                strength: 0.0,
            }),
        }
    }
    let most = marks.iter().map(|mark| mark.count).max().unwrap_or(1) as f64;
    for mark in &mut marks {
        mark.strength = 0.1 + 0.75 * (mark.count as f64 / most);
    }
    marks
}

/// What a total grew by in a second, between neighbouring points.
fn rates(points: &[Point], of: fn(&Point) -> u64) -> Vec<(u64, f64)> {
    let start = Point::default();
    let pairs = std::iter::once(&start).chain(points).zip(points);
    pairs
        .filter(|(before, now)| now.at_ms > before.at_ms)
        .map(|(before, now)| {
            let seconds = (now.at_ms - before.at_ms) as f64 / 1e3;
            (now.at_ms, of(now).saturating_sub(of(before)) as f64 / seconds)
        })
        .collect()
}

fn values(points: &[Point], of: fn(&Point) -> u64) -> Vec<(u64, f64)> {
    points.iter().map(|point| (point.at_ms, of(point) as f64)).filter(|(_, value)| *value > 0.0).collect()
}

struct Time {
    end_ms: u64,
}

impl Time {
    fn x(&self, at_ms: u64) -> f64 {
        LEFT + (at_ms.min(self.end_ms) as f64 / self.end_ms as f64) * (RIGHT - LEFT)
    }

    /// Between two marks of the axis: 1, 2 or 5 times a power of ten seconds, or minutes beyond.
    fn step_s(&self) -> u64 {
        let least = self.end_ms / 1_000 / 12;
        let steps =
            [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1_200, 1_800, 3_600, 7_200, 14_400, 43_200, 86_400];
        steps.into_iter().find(|step| *step > least).unwrap_or(least + 1)
    }

    fn draw(&self, svg: &mut String, y: f64) {
        let step_s = self.step_s();
        for second in (0..=self.end_ms / 1_000).step_by(step_s as usize) {
            let x = self.x(second * 1_000);
            let _ = writeln!(
                svg,
                "<line class=\"axis\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{y:.1}\" y2=\"{:.1}\"/>",
                y + 5.0
            );
            let label = match (step_s, second) {
                (60.., _) => format!("{}:{:02} min", second / 60, second % 60),
                _ => format!("{second} s"),
            };
            text(svg, (x, y + 19.0), "soft", "text-anchor=\"middle\"", &label);
        }
        let _ =
            writeln!(svg, "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>");
    }
}

fn panel(svg: &mut String, top: f64, title: &str, series: &[Series], is_latency: bool, time: &Time) {
    text(svg, (LEFT, top), "ink", "font-weight=\"600\"", title);
    let mut x = LEFT + 210.0;
    for one in series {
        let _ = writeln!(
            svg,
            "<rect class=\"f{}\" x=\"{x:.1}\" y=\"{:.1}\" width=\"14\" height=\"4\"/>",
            one.class,
            top - 6.0
        );
        text(svg, (x + 19.0, top), "soft", "", one.name);
        x += 36.0 + one.name.chars().count() as f64 * 6.6;
    }
    let (upper, lower) = (top + 10.0, top + PANEL_HEIGHT);
    let all = || series.iter().flat_map(|one| &one.points).map(|(_, value)| *value);
    let highest = all().fold(0.0, f64::max);
    if highest <= 0.0 {
        text(svg, (LEFT, f64::midpoint(upper, lower)), "soft", "", "nothing");
        let _ = writeln!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{lower:.1}\" y2=\"{lower:.1}\"/>"
        );
        return;
    }
    // Latency is logarithmic, in whole decades; rates begin at zero.
    let decades = |value: f64| value.max(1.0).log10();
    let (low, high) = if is_latency {
        let low = all().fold(f64::MAX, f64::min);
        (decades(low).floor(), decades(highest).ceil().max(decades(low).floor() + 1.0))
    } else {
        (0.0, nice(highest))
    };
    let y = |value: f64| {
        let value = if is_latency { decades(value) } else { value };
        lower - (value - low) / (high - low) * (lower - upper)
    };
    let marks: Vec<f64> = if is_latency {
        (low as i32..=high as i32).map(|power| 10_f64.powi(power)).collect()
    } else {
        (0..=2).map(|half| high * f64::from(half) / 2.0).collect()
    };
    for mark in marks {
        let at = y(mark);
        let _ = writeln!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>"
        );
        let label = if is_latency {
            latency(mark as u64).replace("us", "µs").replace(".00", "").replace(".0", "")
        } else {
            rounded(mark)
        };
        text(svg, (LEFT - 8.0, at + 4.0), "soft", "text-anchor=\"end\"", &label);
    }
    for one in series {
        let mut path = String::new();
        for (index, &(at_ms, value)) in one.points.iter().enumerate() {
            let _ =
                write!(path, "{}{:.1} {:.1}", if index == 0 { "M" } else { " L" }, time.x(at_ms), y(value));
        }
        if let [(at_ms, value)] = one.points[..] {
            // One point makes no line.
            let _ = write!(path, " L{:.1} {:.1}", time.x(at_ms) + 2.0, y(value));
        }
        if !path.is_empty() {
            let _ = writeln!(
                svg,
                "<path class=\"{}\" d=\"{path}\" fill=\"none\" stroke-width=\"1.6\" stroke-linejoin=\"round\"><title>{}</title></path>",
                one.class, one.name
            );
        }
    }
}

/// The least of 1, 2, 5 times a power of ten that is not below.
fn nice(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|times| times * power).find(|nice| *nice >= value).unwrap_or(value)
}

fn rounded(value: f64) -> String {
    if value >= 1e6 {
        format!("{:.1}M", value / 1e6)
    } else if value >= 10_000.0 {
        format!("{:.0}k", value / 1e3)
    } else if value < 10.0 && value.fract() > 0.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.0}")
    }
}

fn text(svg: &mut String, (x, y): (f64, f64), class: &str, attributes: &str, content: &str) {
    let _ = writeln!(
        svg,
        "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" {attributes}>{}</text>",
        escaped(content)
    );
}

/// Text as XML and HTML may hold it.
pub(super) fn escaped(text: &str) -> String {
    super::picture::escaped(text)
}

#[cfg(test)]
mod tests {
    use super::super::DisturbanceKind as Kind;
    use super::super::tests::fixed_report;
    use super::*;

    fn incident(from_ms: u64, to_ms: u64, shard: &str, what: Kind) -> Incident {
        Incident { from_ms, to_ms, shard: shard.to_owned(), what, count: 2, detail: String::new() }
    }

    #[test]
    fn rates_are_between_neighbours_and_a_long_run_has_few_marks() {
        let points = [(1_000, 50), (2_000, 150), (4_000, 150)].map(|(at_ms, total)| Point {
            at_ms,
            messages_total: total,
            ..Point::default()
        });
        assert_eq!(
            rates(&points, |point| point.messages_total),
            [(1_000, 50.0), (2_000, 100.0), (4_000, 0.0)]
        );
        for (seconds, step_s) in [(5, 1), (60, 10), (600, 60), (86_400, 14_400), (10_000_000, 833_334)] {
            assert_eq!(Time { end_ms: seconds * 1_000 }.step_s(), step_s, "{seconds}");
        }
    }

    #[test]
    fn neighbours_are_one_mark_and_the_rarest_lane_comes_first() {
        let mut report = fixed_report();
        report.incidents = vec![
            incident(0, 1_000, "md0", Kind::MinorFaults),
            incident(1_000, 2_000, "md0", Kind::MinorFaults),
            incident(5_000, 6_000, "md0", Kind::MinorFaults),
            incident(5_100, 5_150, "<md1>", Kind::LongTurns),
        ];
        let lanes = lanes(&report);
        assert_eq!(lanes[0].0, "<md1> long_turns");
        assert_eq!(
            lanes[1].1.iter().map(|mark| (mark.from_ms, mark.to_ms, mark.count)).collect::<Vec<_>>(),
            [(0, 2_000, 4), (5_000, 6_000, 2)]
        );
        let svg = timeline_svg(&report);
        assert!(svg.contains("&lt;md1&gt; long_turns") && !svg.contains("<md1>"), "names are escaped");
        assert!(svg.contains("long_turns x2 at 5.10 s"));
    }

    #[test]
    fn what_happens_all_the_time_is_as_dark_as_there_is_much_of_it() {
        let mut report = fixed_report();
        report.run_ns = 4_000_000_000;
        report.incidents = (0..4)
            .map(|second| Incident {
                count: 1 + 99 * u64::from(second == 2),
                ..incident(second * 1_000, second * 1_000 + 1_000, "md0", Kind::InvoluntarySwitches)
            })
            .collect();
        let strengths = |lane: &Lane| lane.1.iter().map(|mark| mark.strength).collect::<Vec<_>>();
        let drawn = strengths(&lanes(&report)[0]);
        assert_eq!(drawn.len(), 4, "one bar from end to end says nothing");
        assert!(drawn[2] > 0.8 && drawn[1] < 0.2, "{drawn:?}");
        report.run_ns = 7_200_000_000_000;
        report.incidents = (0..7_200)
            .map(|second| incident(second * 1_000, second * 1_000 + 1_000, "md0", Kind::InvoluntarySwitches))
            .collect();
        assert!(strengths(&lanes(&report)[0]).len() <= COLUMNS as usize, "the page stays small");
    }

    #[test]
    fn a_picture_of_anything_is_well_formed() {
        let mut report = fixed_report();
        for count in [0, 1, 50] {
            report.timeline.points = (1..=count)
                .map(|second| Point {
                    at_ms: second * 1_000,
                    messages_total: second * second * 100,
                    latency_ns_p50: 70_000,
                    latency_ns_p99: 1_000_000 + second,
                    latency_ns_max: 30_000_000,
                    ..Point::default()
                })
                .collect();
            let svg = timeline_svg(&report);
            for tag in ["svg", "text", "title", "style"] {
                assert_eq!(
                    svg.matches(&format!("<{tag}")).count(),
                    svg.matches(&format!("</{tag}>")).count(),
                    "{tag}"
                );
            }
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }
}
