//! A run over time as a picture: rates, latency, what was lost, and what disturbed which shard, over one axis of time. One
//! self-contained SVG, without script or outside font, light or dark as the reader's system is.

use super::sheet::{Mark, Scale, Series, Sheet};
use super::timeline::Point;
use super::{Incident, RunReport};

/// Lanes of disturbances; more are named below.
const LANES_MAX: usize = 24;
/// Columns of a lane in which something happens all the time.
const COLUMNS: u64 = 174;

/// The picture of a run.
pub fn timeline_svg(report: &RunReport) -> String {
    let points = &report.timeline.points;
    let title = format!("{} for {:.1} s", report.started_at, report.run_ns as f64 / 1e9);
    let mut sheet = Sheet::new(&title, report.run_ns / 1_000_000);
    let rate = |name, of: fn(&Point) -> u64| Series { name, points: rates(points, of) };
    let value = |name, of: fn(&Point) -> u64| Series {
        name,
        points: points.iter().map(|point| (point.at_ms, of(point) as f64)).collect(),
    };
    sheet.panel(
        "per second",
        Scale::Linear,
        &[
            rate("messages of venues", |point| point.messages_total),
            rate("events taken by consumers", |point| point.received_total),
        ],
    );
    sheet.panel(
        "receive to delivered",
        Scale::Latency,
        &[
            value("p50", |point| point.latency_ns_p50),
            value("p99", |point| point.latency_ns_p99),
            value("longest", |point| point.latency_ns_max),
        ],
    );
    sheet.panel(
        "lost or replaced per second",
        Scale::Linear,
        &[
            rate("coalesced", |point| point.coalesced_total),
            rate("gaps and resyncs", |point| point.gaps_total + point.resyncs_total),
            rate("dropped", |point| point.dropped_total),
        ],
    );
    let lanes = lanes(report);
    sheet.heading("disturbances, by shard");
    if lanes.is_empty() {
        sheet.note("none was seen");
    }
    for (name, marks) in lanes.iter().take(LANES_MAX) {
        sheet.lane(name, marks);
    }
    if lanes.len() > LANES_MAX {
        sheet.note(&format!("and {} rows more in report.json", lanes.len() - LANES_MAX));
    }
    sheet.into_svg()
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

#[cfg(test)]
mod tests {
    use super::super::DisturbanceKind as Kind;
    use super::super::tests::fixed_report;
    use super::*;

    fn incident(from_ms: u64, to_ms: u64, shard: &str, what: Kind) -> Incident {
        Incident { from_ms, to_ms, shard: shard.to_owned(), what, count: 2, detail: String::new() }
    }

    #[test]
    fn rates_are_between_neighbours() {
        let points = [(1_000, 50), (2_000, 150), (4_000, 150)].map(|(at_ms, total)| Point {
            at_ms,
            messages_total: total,
            ..Point::default()
        });
        assert_eq!(
            rates(&points, |point| point.messages_total),
            [(1_000, 50.0), (2_000, 100.0), (4_000, 0.0)]
        );
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
