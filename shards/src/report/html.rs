//! A report as one page: tables and pictures, without script, outside file or font; light or dark as the reader's system is.

use std::fmt::Write;

use serde_json::Value;

use super::RunReport;
use super::compare::{Change, Outcome, counted, providers};
use super::picture::escaped;
use super::picture::{Curve, Picture};
use super::read::LeftBehind;
use super::table::{grouped, in_families, latency};
use super::timeline::{Outlier, beside_by_shard};
use super::timeline_picture::timeline_svg;

/// Outliers that the page shows.
const OUTLIERS_SHOWN: usize = 20;

/// Tables and pictures keep their width on a narrow screen and are moved sideways; a shade at an edge says that there is more.
const STYLE: &str = "\
:root{color-scheme:light dark;--bg:#fff;--ink:#2b2f36;--soft:#6b7078;--line:#e3e5e9;--bad:#c83f49;--good:#2f7d32;--edge:#c9cdd4}\
@media (prefers-color-scheme:dark){:root{--bg:#14171c;--ink:#e6e8ec;--soft:#9aa0aa;--line:#2a2f38;--bad:#f0767e;--good:#7fd08a;--edge:#3a414c}\
.light svg rect[fill='#ffffff']{fill:#14171c}.light svg,.light svg text[font-weight]{fill:#e6e8ec}\
.light svg [fill='#6b7078']{fill:#9aa0aa}.light svg [stroke='#f0f1f3']{stroke:#1d2128}.light svg [stroke='#d5d8dd']{stroke:#2a2f38}}\
body{background:var(--bg);color:var(--ink);font:14px/1.45 Inter,'Helvetica Neue',Helvetica,Arial,'DejaVu Sans',sans-serif;\
max-width:1280px;margin:24px auto;padding:0 16px}h1{font-size:22px}h2{font-size:17px;margin:32px 0 8px}p,.soft{color:var(--soft)}\
table{border-collapse:collapse;font-variant-numeric:tabular-nums;width:100%}th{text-align:left;font-weight:600}\
th,td{padding:3px 10px 3px 0;border-bottom:1px solid var(--line);vertical-align:top}td.n,th.n{text-align:right;white-space:nowrap}td.name,td.own{white-space:nowrap}\
.worse{color:var(--bad);font-weight:600}.better{color:var(--good);font-weight:600}td.own{padding-left:18px;color:var(--soft)}\
td.long{min-width:20em}summary{cursor:pointer;color:var(--soft);padding:6px 0}svg{max-width:100%;min-width:860px;height:auto}\
.wide{overflow-x:auto;background:linear-gradient(90deg,var(--bg) 30%,transparent) 0 0/40px 100% no-repeat local,\
linear-gradient(270deg,var(--bg) 30%,transparent) 100% 0/40px 100% no-repeat local,\
linear-gradient(90deg,var(--edge),transparent) 0 0/12px 100% no-repeat scroll,\
linear-gradient(270deg,var(--edge),transparent) 100% 0/12px 100% no-repeat scroll}\
@media (max-width:700px){body{font-size:12px;margin:8px auto;padding:0 10px}th,td{padding-right:8px}h1{overflow-wrap:anywhere}}";

/// A cell: its text, and whether it is a number.
type Cell = (String, bool);

/// What the rows of two runs are headed by.
const COMPARED: [(&str, bool); 7] = [
    ("", false),
    ("of", false),
    ("what", false),
    ("first", true),
    ("second", true),
    ("change", true),
    ("noise", true),
];

/// The page of one run.
pub fn page(run: &LeftBehind) -> String {
    let report = &run.report;
    let mut html = begin(&format!("Meltica run {}", report.started_at));
    about(&mut html, report);
    notes(&mut html, run);
    head(&mut html, "Latency");
    latencies(&mut html, report);
    if let Some(svg) = &run.percentiles_svg {
        head(&mut html, "Percentiles");
        let _ = writeln!(html, "<div class=\"wide light\">{}</div>", without_script(svg));
    }
    head(&mut html, "The run over time");
    if report.timeline.points.is_empty() {
        let _ = writeln!(
            html,
            "<p>The report has no timeline: the run was shorter than a second, or of an older version.</p>"
        );
    } else {
        let _ = writeln!(html, "<div class=\"wide\">{}</div>", timeline_svg(report));
    }
    head(&mut html, "Longest latencies, and what happened beside them");
    outliers(&mut html, report);
    head(&mut html, "What disturbed the run");
    disturbances(&mut html, report);
    head(&mut html, "Providers");
    provider_table(&mut html, report);
    head(&mut html, "Ways to shards");
    ways(&mut html, report);
    head(&mut html, "Consumers");
    consumers(&mut html, report);
    html.push_str("</body></html>\n");
    html
}

/// The page of two runs beside each other.
pub fn comparison_page(first: &LeftBehind, second: &LeftBehind, changes: &[Change], rule: &str) -> String {
    let mut html = begin("Meltica: two runs compared");
    for (name, run) in [("First", first), ("Second", second)] {
        let _ = writeln!(html, "<h2>{name}: {}</h2>", escaped(&run.directory.display().to_string()));
        about(&mut html, &run.report);
        notes(&mut html, run);
    }
    head(&mut html, "What changed");
    let _ = writeln!(html, "<p>{}</p>", escaped(rule));
    let _ = writeln!(html, "<p>{}.</p>", escaped(&counted(changes)));
    let row = |change: &Change| {
        let shown = |value: f64| {
            if change.is_latency { latency(value as u64) } else { grouped(value.round() as u64) }
        };
        let relative = change.relative().map_or("new".to_owned(), |part| format!("{:+.1} %", part * 100.0));
        vec![
            (change.outcome.name().to_owned(), false),
            (change.of.clone(), false),
            (change.what.clone(), false),
            (shown(change.first), true),
            (shown(change.second), true),
            (relative, true),
            (shown(change.noise), true),
        ]
    };
    let moved = |change: &&Change| matches!(change.outcome, Outcome::Worse | Outcome::Better);
    let same = |change: &&Change| change.outcome == Outcome::Same;
    if changes.iter().any(|change| moved(&change)) {
        table(&mut html, &COMPARED, changes.iter().filter(moved).map(row));
    }
    if changes.iter().any(|change| same(&change)) {
        html.push_str("<details><summary>What did not change beyond noise</summary>\n");
        table(&mut html, &COMPARED, changes.iter().filter(same).map(row));
        html.push_str("</details>\n");
    }
    head(&mut html, "Percentiles of what was delivered");
    let curves = [("first", first), ("second", second)].into_iter().flat_map(|(name, run)| {
        run.report.shards.iter().flat_map(move |shard| {
            let delivered = shard.stages.iter().filter(|stage| stage.stage == "receive_to_delivered");
            delivered.map(move |stage| {
                let points = run.percentile_points(&shard.name, &stage.stage);
                Curve::of_points(name, &shard.name, (stage.latency_ns_p50, stage.latency_ns_p99), points)
            })
        })
    });
    let picture = Picture::new("receive_to_delivered by percentile", Vec::new(), curves.collect());
    let _ = writeln!(html, "<div class=\"wide light\">{}</div>", picture.to_svg());
    html.push_str("</body></html>\n");
    html
}

fn begin(title: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{0}</title><style>{STYLE}</style></head><body>\n<h1>{0}</h1>\n",
        escaped(title)
    )
}

fn head(html: &mut String, title: &str) {
    let _ = writeln!(html, "<h2>{title}</h2>");
}

/// A picture that was read from a file is put into the page only if it is nothing but a picture.
fn without_script(svg: &str) -> &str {
    let lower = svg.to_ascii_lowercase();
    let suspicious =
        ["<script", "<foreignobject", "href=", "onload", "onclick", "onmouse", "@import", "url("];
    if svg.starts_with("<svg") && !suspicious.iter().any(|word| lower.contains(word)) {
        svg
    } else {
        "<p>percentiles.svg holds more than a picture and was left out.</p>"
    }
}

fn about(html: &mut String, report: &RunReport) {
    let commit = report.commit.as_ref().map(|commit| format!(" ({commit})")).unwrap_or_default();
    let books: Vec<String> =
        report.books_by_state.iter().map(|(state, count)| format!("{count} {state}")).collect();
    let books = if books.is_empty() { String::new() } else { format!("; books: {}", books.join(", ")) };
    let _ = writeln!(
        html,
        "<p>Version {}{}, topology {}, {} to {} ({:.1} s){}<br>{}</p>",
        escaped(&report.version),
        escaped(&commit),
        escaped(&report.topology),
        escaped(&report.started_at),
        escaped(&report.stopped_at),
        report.run_ns as f64 / 1e9,
        escaped(&books),
        escaped(&report.host.line())
    );
}

fn notes(html: &mut String, run: &LeftBehind) {
    for note in &run.notes {
        let _ = writeln!(html, "<p>Note: {}.</p>", escaped(note));
    }
}

const TABLE_END: &str = "</table></div>\n";

fn class(number: bool) -> &'static str {
    if number { " class=\"n\"" } else { "" }
}

fn open_table(html: &mut String, heads: &[(&str, bool)]) {
    html.push_str("<div class=\"wide\"><table><tr>");
    for (name, number) in heads {
        let _ = write!(html, "<th{}>{name}</th>", class(*number));
    }
    html.push_str("</tr>\n");
}

fn table(html: &mut String, heads: &[(&str, bool)], rows: impl Iterator<Item = Vec<Cell>>) {
    open_table(html, heads);
    for row in rows {
        html.push_str("<tr>");
        for (text, number) in row {
            match text.as_str() {
                "worse" | "better" => {
                    let _ = write!(html, "<td class=\"{text}\">{text}</td>");
                }
                _ => {
                    let _ = write!(html, "<td{}>{}</td>", class(number), escaped(&text));
                }
            }
        }
        html.push_str("</tr>\n");
    }
    html.push_str(TABLE_END);
}

fn latencies(html: &mut String, report: &RunReport) {
    let heads = [
        ("shard", false),
        ("stage", false),
        ("count", true),
        ("p50", true),
        ("p90", true),
        ("p99", true),
        ("p99.9", true),
        ("p99.99", true),
        ("max", true),
    ];
    open_table(html, &heads);
    for shard in &report.shards {
        for (index, (stage, shown)) in in_families(&shard.stages).into_iter().enumerate() {
            let (name, class) = match shown.strip_prefix("  ") {
                Some(owner) => (owner, "own"),
                None => (shown.as_str(), "name"),
            };
            // Once per shard, and those of one owner moved in: as on the terminal.
            let shard = if index == 0 { shard.name.as_str() } else { "" };
            let _ = write!(
                html,
                "<tr><td class=\"name\">{}</td><td class=\"{class}\">{}</td><td class=\"n\">{}</td>",
                escaped(shard),
                escaped(name),
                grouped(stage.count)
            );
            let figures = [
                stage.latency_ns_p50,
                stage.latency_ns_p90,
                stage.latency_ns_p99,
                stage.latency_ns_p99_9,
                stage.latency_ns_p99_99,
                stage.latency_ns_max,
            ];
            for ns in figures {
                let _ = write!(html, "<td class=\"n\">{}</td>", latency(ns));
            }
            html.push_str("</tr>\n");
        }
    }
    html.push_str(TABLE_END);
}

/// The intervals with the longest latencies. What stood beside them is said once for all that share an interval: it is the same.
fn outliers(html: &mut String, report: &RunReport) {
    let heads = [
        ("at", true),
        ("shard", false),
        ("stage", false),
        ("longest", true),
        ("p99", true),
        ("beside it", false),
    ];
    let shown = &report.outliers[..report.outliers.len().min(OUTLIERS_SHOWN)];
    // Shards are asked one after the other: what reads as the same moment is the same interval.
    let moment = |one: &Outlier| format!("{:.1} s", one.from_ms as f64 / 1e3);
    let mut moments: Vec<String> = Vec::new();
    for one in shown {
        if !moments.contains(&moment(one)) {
            moments.push(moment(one));
        }
    }
    open_table(html, &heads);
    for at in moments {
        let rows: Vec<_> = shown.iter().filter(|one| moment(one) == at).collect();
        for (index, one) in rows.iter().enumerate() {
            html.push_str("<tr>");
            if index == 0 {
                let _ = write!(html, "<td class=\"n\" rowspan=\"{}\">{at}</td>", rows.len());
            }
            let _ = write!(
                html,
                "<td class=\"name\">{}</td><td class=\"name\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>",
                escaped(&one.shard),
                escaped(&one.stage),
                latency(one.latency_ns_max),
                latency(one.latency_ns_p99)
            );
            if index == 0 {
                // The first is the longest: its interval reaches back furthest.
                let mut beside: Vec<String> =
                    beside_by_shard(&one.beside).iter().map(|shard| escaped(shard)).collect();
                if beside.is_empty() {
                    beside.push("nothing was seen".to_owned());
                }
                let _ = write!(
                    html,
                    "<td class=\"long\" rowspan=\"{}\">{}</td>",
                    rows.len(),
                    beside.join("<br>")
                );
            }
            html.push_str("</tr>\n");
        }
    }
    html.push_str(TABLE_END);
}

fn disturbances(html: &mut String, report: &RunReport) {
    if report.disturbances.is_empty() {
        html.push_str("<p>Nothing.</p>\n");
        return;
    }
    let heads = [("what", false), ("shard", false), ("times", true), ("meaning", false)];
    let rows = report.disturbances.iter().map(|one| {
        let shard = one.shard.clone().unwrap_or_default();
        vec![
            (one.what.name().to_owned(), false),
            (shard, false),
            (grouped(one.count), true),
            (one.detail.clone(), false),
        ]
    });
    table(html, &heads, rows);
}

fn number(value: &Value) -> Cell {
    (value.as_u64().map_or_else(|| "-".to_owned(), grouped), true)
}

fn provider_table(html: &mut String, report: &RunReport) {
    let heads = [
        ("provider", false),
        ("venue", false),
        ("messages", true),
        ("events", true),
        ("gaps", true),
        ("resyncs", true),
        ("undecodable", true),
        ("REST weight", true),
    ];
    let rows = providers(report).map(|(name, provider)| {
        let counts = &provider["counts"];
        vec![
            (name.to_owned(), false),
            (provider["venue"].as_str().unwrap_or("-").to_owned(), false),
            number(&counts["messages_total"]),
            number(&counts["events_total"]),
            number(&counts["gaps_total"]),
            number(&counts["resyncs_total"]),
            number(&counts["decode_errors_total"]),
            number(&provider["rest"]["weight_total"]),
        ]
    });
    table(html, &heads, rows);
}

fn ways(html: &mut String, report: &RunReport) {
    let heads = [
        ("from", false),
        ("to", false),
        ("offered", true),
        ("delivered", true),
        ("unchanged", true),
        ("coalesced", true),
        ("dropped", true),
        ("in flight", true),
    ];
    let mergers =
        report.mergers.as_object().into_iter().flatten().map(|(name, merger)| (name.as_str(), merger));
    let rows = providers(report).chain(mergers).flat_map(|(name, from)| {
        from["outputs"].as_array().into_iter().flatten().map(move |output| {
            let mut row =
                vec![(name.to_owned(), false), (output["to"].as_str().unwrap_or("-").to_owned(), false)];
            for key in [
                "offered_total",
                "delivered_total",
                "unchanged_total",
                "coalesced_total",
                "dropped_total",
                "in_flight",
            ] {
                row.push(number(&output[key]));
            }
            row
        })
    });
    table(html, &heads, rows);
}

fn consumers(html: &mut String, report: &RunReport) {
    let heads = [
        ("consumer", false),
        ("events", true),
        ("in handlers", true),
        ("longest", true),
        ("panics", true),
        ("missed", true),
    ];
    let rows = report.consumers.as_array().into_iter().flatten().map(|consumer| {
        let counts = &consumer["counts"];
        let time = |key: &str| (counts[key].as_u64().map_or_else(|| "-".to_owned(), latency), true);
        vec![
            (consumer["name"].as_str().unwrap_or("-").to_owned(), false),
            number(&counts["events_total"]),
            time("busy_ns_total"),
            time("busy_ns_max"),
            number(&counts["panics_total"]),
            number(&counts["missed_total"]),
        ]
    });
    table(html, &heads, rows);
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::compare::compare;
    use super::super::tests::fixed_report;
    use super::*;

    fn left() -> LeftBehind {
        let mut report = fixed_report();
        report.topology = "<script>alert(1)</script>.yaml".to_owned();
        report.providers = serde_json::json!({ "dead_letters": [], "binance": { "venue": "binance", "counts": { "messages_total": 4062 },
            "outputs": [{ "to": "strategies", "offered_total": 3945 }] } });
        let percentiles_svg = Some("<svg onload=\"x()\"></svg>".to_owned());
        LeftBehind {
            directory: PathBuf::from("a"),
            report,
            intervals: Vec::new(),
            percentiles_svg,
            notes: vec!["a < b".to_owned()],
        }
    }

    fn well_formed(html: &str) {
        for tag in ["table", "tr", "td", "th", "h2", "p", "div", "svg", "details", "summary"] {
            let opened =
                html.matches(&format!("<{tag}>")).count() + html.matches(&format!("<{tag} ")).count();
            assert_eq!(opened, html.matches(&format!("</{tag}>")).count(), "{tag}");
        }
        for outside in ["<script", "src=", "href=", "@import"] {
            assert!(!html.contains(outside), "{outside}");
        }
    }

    #[test]
    fn the_page_has_all_tables_and_nothing_from_outside() {
        let html = page(&left());
        well_formed(&html);
        for text in [
            "&lt;script&gt;",
            "4,062",
            "3,945",
            "receive_to_enqueued",
            "a &lt; b",
            "involuntary_switches",
            "was left out",
        ] {
            assert!(html.contains(text), "{text}");
        }
        assert!(html.contains("prefers-color-scheme:dark"));
    }

    #[test]
    fn what_shares_an_interval_is_explained_once() {
        let mut left = left();
        let outlier = |from_ms, shard: &str, beside: &[&str]| Outlier {
            from_ms,
            to_ms: from_ms + 1_000,
            shard: shard.to_owned(),
            stage: "turn".to_owned(),
            count: 5,
            latency_ns_p99: 1_000,
            latency_ns_max: 2_000,
            beside: beside.iter().map(|text| (*text).to_owned()).collect(),
        };
        left.report.outliers = vec![
            outlier(4_000, "a", &["long_turns x2 on a", "minor_faults x7 on <b>"]),
            outlier(9_000, "a", &[]),
            outlier(4_012, "b", &["long_turns x2 on a"]),
        ];
        let html = page(&left);
        well_formed(&html);
        assert!(html.contains("rowspan=\"2\">a: long_turns x2<br>&lt;b&gt;: minor_faults x7</td>"), "{html}");
        assert_eq!(html.matches("a: long_turns x2").count(), 1);
        assert!(html.contains("rowspan=\"1\">nothing was seen</td>"));
    }

    #[test]
    fn two_runs_stand_beside_each_other() {
        let (first, mut second) = (left(), left());
        second.report.providers["binance"]["outputs"][0]["dropped_total"] = serde_json::json!(900);
        let changes = compare(&first, &second);
        let html = comparison_page(&first, &second, &changes, "the rule");
        well_formed(&html);
        assert!(
            html.contains("<td class=\"worse\">worse</td><td>binance</td><td>dropped_total</td>"),
            "{html}"
        );
    }
}
