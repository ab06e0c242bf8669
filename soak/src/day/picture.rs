//! Memory, latencies, losses and proved books over time, one under the other, as SVG.

use std::fmt::Write as _;

use super::Sample;

/// The pictures: title, curves.
pub(super) fn picture_of(samples: &[Sample]) -> String {
    let value = |get: fn(&Sample) -> f64| samples.iter().map(get).collect::<Vec<f64>>();
    let panels = [
        ("RSS of the gateway, MiB", vec![value(|at| at.rss_mib)]),
        (
            "receive to delivered, us: p50 (blue), p99",
            vec![
                value(|at| at.point.latency_ns_p50 as f64 / 1e3),
                value(|at| at.point.latency_ns_p99 as f64 / 1e3),
            ],
        ),
        (
            "so far: events dropped (blue), gaps declared",
            vec![value(|at| at.point.dropped_total as f64), value(|at| at.point.gaps_total as f64)],
        ),
        (
            "messages a second (blue), books proved x 100",
            vec![value(|at| at.messages_per_s), value(|at| f64::from(at.point.books_proved) * 100.0)],
        ),
        ("threads that waited for a core, in the mean", vec![value(|at| at.waiting)]),
    ];
    let end = samples.last().map_or(1.0, |sample| sample.second.max(1e-9));
    let height = 30 + 205 * panels.len();
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 900 {height}\" font-family=\"sans-serif\" \
         font-size=\"13\"><rect width=\"900\" height=\"{height}\" fill=\"white\"/>\n"
    );
    for (number, (title, curves)) in panels.iter().enumerate() {
        let top = 30.0 + number as f64 * 205.0;
        let most = curves.iter().flatten().copied().fold(1e-9, f64::max);
        let _ = writeln!(
            svg,
            "<text x=\"60\" y=\"{:.0}\">{title}; at most {most:.1}; {end:.0} s</text><rect x=\"60\" y=\"{top:.0}\" \
             width=\"820\" height=\"160\" fill=\"none\" stroke=\"#bbb\"/>",
            top - 8.0
        );
        for (curve, colour) in curves.iter().zip(["#1f5fa8", "#c04a1e"]) {
            let points = samples.iter().zip(curve).map(|(sample, value)| {
                let (x, y) = (60.0 + 820.0 * sample.second / end, top + 160.0 * (1.0 - value / most));
                format!("{x:.1},{y:.1}")
            });
            let points: Vec<String> = points.collect();
            let _ = writeln!(
                svg,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.3\"/>",
                points.join(" ")
            );
        }
    }
    svg + "</svg>\n"
}
