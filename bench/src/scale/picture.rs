//! Charts side by side as one self-contained SVG: both axes logarithmic, the same height of a factor everywhere, so that
//! slopes can be compared between charts.

use std::fmt::Write as _;

use super::Chart;

/// Of one chart's field, in pixels.
const WIDTH: f64 = 250.0;
const HEIGHT: f64 = 260.0;
/// Around it.
const LEFT: f64 = 62.0;
const RIGHT: f64 = 18.0;
const TOP: f64 = 84.0;
const BOTTOM: f64 = 118.0;
/// Charts of a row.
const COLUMNS: usize = 3;
/// Told apart also by those who see few colours.
const COLOURS: [&str; 3] = ["#0072b2", "#d55e00", "#009e73"];

/// The picture, with a line of text below the title.
pub fn svg(charts: &[Chart], caption: &str) -> String {
    let columns = charts.len().clamp(1, COLUMNS);
    let rows = charts.len().div_ceil(columns).max(1);
    let (cell_w, cell_h) = (LEFT + WIDTH + RIGHT, HEIGHT + BOTTOM);
    let (width, height) = (columns as f64 * cell_w, TOP + rows as f64 * cell_h);
    let all = || charts.iter().flat_map(|chart| &chart.series).flat_map(|series| &series.points);
    let low = all().map(|point| point.message_ns).fold(f64::MAX, f64::min).log10().floor();
    let high = all().map(|point| point.message_ns).fold(f64::MIN_POSITIVE, f64::max).log10().ceil();
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>\n\
         <text x=\"12\" y=\"24\" font-size=\"16\">Cost of a message, ns (both axes logarithmic)</text>\n\
         <text x=\"12\" y=\"44\" fill=\"#555\">{}</text>\n",
        escaped(caption)
    );
    for (number, chart) in charts.iter().enumerate() {
        let x = (number % columns) as f64 * cell_w + LEFT;
        let y = TOP + (number / columns) as f64 * cell_h;
        let _ = writeln!(text, "<g transform=\"translate({x} {y})\">");
        draw(chart, (low, high.max(low + 1.0)), &mut text);
        text += "</g>\n";
    }
    text + "</svg>\n"
}

/// One chart; `low` and `high` are powers of ten.
fn draw(chart: &Chart, (low, high): (f64, f64), text: &mut String) {
    let points = || chart.series.iter().flat_map(|series| &series.points);
    let first = points().map(|point| point.at).fold(f64::MAX, f64::min).log10();
    let last = points().map(|point| point.at).fold(1.0, f64::max).log10().max(first + 0.1);
    let x_of = |at: f64| (at.log10() - first) / (last - first) * WIDTH;
    let y_of = |ns: f64| HEIGHT - (ns.log10() - low) / (high - low) * HEIGHT;
    let _ = writeln!(text, "<text y=\"-12\" font-size=\"13\">{}</text>", chart.axis.name());
    for power in low as i32..=high as i32 {
        let y = y_of(10_f64.powi(power));
        let _ = writeln!(text, "<path d=\"M0 {y:.1}H{WIDTH}\" stroke=\"#ccc\"/>");
        let _ = writeln!(
            text,
            "<text x=\"-6\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            y + 4.0,
            10_f64.powi(power)
        );
        for step in (2..10).filter(|_| power < high as i32) {
            let y = y_of(10_f64.powi(power) * f64::from(step));
            let _ = writeln!(text, "<path d=\"M0 {y:.1}H{WIDTH}\" stroke=\"#f0f0f0\"/>");
        }
    }
    let mut marks: Vec<f64> = points().map(|point| point.at).collect();
    marks.sort_by(f64::total_cmp);
    marks.dedup();
    let mut free_x = f64::MIN;
    for at in marks {
        let x = x_of(at);
        let _ = writeln!(text, "<path d=\"M{x:.1} {HEIGHT}v4\" stroke=\"#555\"/>");
        // What would lie on its neighbour is left to the table.
        if x >= free_x {
            let _ = writeln!(
                text,
                "<text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{at:.0}</text>",
                HEIGHT + 16.0
            );
            free_x = x + 30.0;
        }
    }
    let _ = writeln!(
        text,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\" fill=\"#555\">{}</text>",
        WIDTH / 2.0,
        HEIGHT + 34.0,
        escaped(chart.unit)
    );
    for (number, series) in chart.series.iter().enumerate() {
        let colour = COLOURS[number % COLOURS.len()];
        let line: Vec<String> = (series.points.iter())
            .map(|point| format!("{:.1},{:.1}", x_of(point.at), y_of(point.message_ns)))
            .collect();
        let _ = writeln!(
            text,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            line.join(" ")
        );
        for point in &series.points {
            let (x, y) = (x_of(point.at), y_of(point.message_ns));
            let _ = writeln!(
                text,
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\" fill=\"{colour}\"><title>{:.0}: {:.0} ns {}</title></circle>",
                point.at,
                point.message_ns,
                escaped(&point.note)
            );
            let (side, end) = if x > WIDTH - 20.0 { (-6.0, "end") } else { (6.0, "start") };
            let _ = writeln!(
                text,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{end}\" font-size=\"10\" fill=\"{colour}\">{:.0}</text>",
                x + side,
                y - 5.0,
                point.message_ns
            );
        }
        let y = HEIGHT + 54.0 + 15.0 * number as f64;
        let _ = writeln!(text, "<path d=\"M0 {y}h18\" stroke=\"{colour}\" stroke-width=\"2\"/>");
        let _ = writeln!(text, "<text x=\"24\" y=\"{}\">{}</text>", y + 4.0, escaped(series.name));
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
