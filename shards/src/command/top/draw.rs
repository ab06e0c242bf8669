//! The screen: a head, tables, a foot. The terminal's own colours, bold and reverse alone, so that it is right on light and dark.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Sparkline};
use serde_json::Value;

use super::grid::Grid;
use super::model::{Model, View, list, number, text};
use crate::report::table::latency;

/// From this width on the head has a curve of latency.
const CURVE_COLUMNS: u16 = 100;
/// Lines of the curve in the view of latencies.
const CURVE_LINES: u16 = 8;

const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
const REVERSED: Style = Style::new().add_modifier(Modifier::REVERSED);
const PLAIN: Style = Style::new();

/// Draws everything.
pub(super) fn screen(frame: &mut Frame<'_>, model: &mut Model) {
    let area = frame.area();
    if area.height < 6 || area.width < 40 {
        frame.render_widget(Paragraph::new("a larger window, please"), area);
        return;
    }
    head(frame, Rect { height: 2, ..area }, model);
    let foot_at = Rect { y: area.bottom() - 1, height: 1, ..area };
    let body = Rect { y: area.y + 3, height: area.height - 4, ..area };
    if let Some(name) = model.opened.clone() {
        details(frame, body, model, &name);
    } else if model.view == View::Latency {
        let curve = Rect { height: CURVE_LINES.min(body.height / 2), ..body };
        history(frame, curve, model);
        let below = Rect { y: curve.bottom(), height: body.height - curve.height, ..body };
        tables(frame, below, model);
    } else {
        tables(frame, body, model);
    }
    foot(frame, foot_at, model);
}

fn head(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let now = &model.now;
    let seconds = number(now, "uptime_ms") as u64 / 1_000;
    let sum =
        |list_name: &str, key: &str| list(now, list_name).iter().map(|one| number(one, key)).sum::<f64>();
    let before: f64 = list(&model.before, "providers").iter().map(|one| number(one, "messages_total")).sum();
    let rate = match model.seconds() {
        0.0 => "-".to_owned(),
        seconds => format!("{:.0}", (sum("providers", "messages_total") - before).max(0.0) / seconds),
    };
    let dropped: f64 = ["providers", "mergers"]
        .iter()
        .flat_map(|owners| list(now, owners))
        .flat_map(|owner| list(owner, "outputs"))
        .map(|output| number(output, "dropped_total"))
        .sum();
    let lag = model.history.back().map_or("-".to_owned(), |(_, p99)| latency(*p99));
    let flag = |key: &str| now.get(key).and_then(Value::as_bool);
    let (state, style) = match (&model.silent, flag("killed_all"), flag("ready")) {
        (Some((seconds, reason)), ..) => (format!("NO ANSWER for {seconds} s: {reason}"), REVERSED),
        (_, Some(true), _) => ("KILLED: nobody may trade".to_owned(), REVERSED),
        (_, _, Some(true)) => ("ready".to_owned(), PLAIN),
        (_, _, Some(false)) => ("NOT READY".to_owned(), REVERSED),
        _ => ("-".to_owned(), PLAIN),
    };
    let paused = if model.paused { "  PAUSED" } else { "" };
    let up = format!("{}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60);
    let first = Line::from(vec![
        Span::styled(format!("meltica {}", text(now, "version")), BOLD),
        Span::raw(format!("  up {up}  ")),
        Span::styled(state, style),
        Span::styled(paused, REVERSED),
    ]);
    let second = format!(
        "{rate} msg/s  lag p99 {lag}  books {}/{} proved  gaps {}  dropped {dropped}",
        sum("providers", "books_proved"),
        sum("providers", "books"),
        sum("providers", "gaps_total"),
    );
    let wide = area.width >= CURVE_COLUMNS && model.view != View::Latency;
    let curve_width = if wide { area.width - 82 } else { 0 };
    let texts = Rect { width: area.width - curve_width, ..area };
    frame.render_widget(Paragraph::new(vec![first, Line::styled(second, BOLD)]), texts);
    if wide {
        // Its name above it: two lines of blocks alone say nothing.
        let at = Rect { x: texts.right(), width: curve_width, ..area };
        let (name, below) = (Rect { height: 1, ..at }, Rect { y: at.y + 1, height: 1, ..at });
        frame.render_widget(Paragraph::new("lag p99 over time").right_aligned(), name);
        curve(frame, below, model);
    }
}

/// The 99th percentile over the last minutes, the newest to the right.
fn curve(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let shown = model.history.iter().rev().take(usize::from(area.width)).rev();
    let values: Vec<u64> = shown.map(|(_, p99)| *p99).collect();
    let blanks = usize::from(area.width).saturating_sub(values.len());
    let values: Vec<u64> = std::iter::repeat_n(0, blanks).chain(values).collect();
    frame.render_widget(Sparkline::default().data(&values), area);
}

fn history(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let max = model.history.iter().map(|(_, p99)| *p99).max().unwrap_or(0);
    let title = format!("receive_to_delivered p99 of the worst shard; the highest is {}", latency(max));
    frame.render_widget(Paragraph::new(Line::styled(title, BOLD)), Rect { height: 1, ..area });
    let below = Rect { y: area.y + 1, height: area.height.saturating_sub(2), ..area };
    curve(frame, below, model);
}

/// Tables below each other, as far as there is room; the selected row is always in sight.
fn tables(frame: &mut Frame<'_>, area: Rect, model: &mut Model) {
    let grids = model.grids();
    let rows: usize = grids.iter().map(|grid| grid.rows.len()).sum();
    model.row = model.row.min(rows.saturating_sub(1));
    let width = usize::from(area.width);
    let mut lines: Vec<Line<'_>> = Vec::new();
    let mut selected_line = 0;
    let mut number = 0;
    let sort = model.sort();
    for (index, grid) in grids.iter().enumerate() {
        if index > 0 {
            lines.push(Line::raw(""));
        }
        let layout = grid.layout(width.saturating_sub(2));
        let right = grid.right();
        let heads: Vec<&str> = grid.heads.iter().map(|(name, _)| *name).collect();
        let mut head: Vec<char> =
            format!("  {}", Grid::line(&heads, &right, &layout, width - 2)).chars().collect();
        // The mark stands in the gap behind the name: columns must not move when the order changes.
        let mut end = 0;
        for &(column, wide) in &layout {
            let begin = end + 2;
            end = begin + wide;
            if sort.column != Some(column) || model.view == View::Overview {
                continue;
            }
            let behind = if right[column] { end } else { begin + heads[column].chars().count() };
            let mark = if sort.ascending { '^' } else { 'v' };
            match head.get_mut(behind) {
                Some(gap) => *gap = mark,
                None => head.push(mark),
            }
        }
        let head: String = head.into_iter().collect();
        lines.push(Line::styled(head, BOLD));
        for row in &grid.rows {
            let cells: Vec<&str> = row.cells.iter().map(|cell| cell.text.as_str()).collect();
            let mark = if row.alarm { "! " } else { "  " };
            let text = format!("{mark}{}", Grid::line(&cells, &right, &layout, width - 2));
            let style = match (number == model.row, row.alarm) {
                (true, _) => REVERSED,
                (false, true) => BOLD,
                (false, false) => PLAIN,
            };
            if number == model.row {
                selected_line = lines.len();
            }
            lines.push(Line::styled(text, style));
            number += 1;
        }
        if grid.rows.is_empty() {
            lines.push(Line::raw(format!("  ({}: none)", grid.title.to_lowercase())));
        }
    }
    let height = usize::from(area.height);
    let skip = (selected_line + 1).saturating_sub(height).min(lines.len().saturating_sub(height));
    let hidden = lines.len().saturating_sub(skip + height);
    if hidden > 0 && height > 1 {
        lines.truncate(skip + height - 1);
        lines.push(Line::raw(format!("  ... {} lines more: arrows move, 2 to 7 show one table", hidden + 1)));
    }
    frame.render_widget(Paragraph::new(lines.split_off(skip.min(lines.len()))), area);
}

/// The whole object of one row, a line a value.
fn details(frame: &mut Frame<'_>, area: Rect, model: &Model, name: &str) {
    let grids = model.grids();
    let row = grids.iter().flat_map(|grid| &grid.rows).find(|row| row.cells[0].text == name);
    let mut lines = vec![Line::styled(name.to_owned(), BOLD)];
    match row {
        None => lines.push(Line::raw("is gone")),
        Some(row) => flatten(&row.raw, "", &mut lines),
    }
    let height = usize::from(area.height);
    // In columns, if there are more values than lines.
    let widest = lines.iter().map(Line::width).max().unwrap_or(1) + 3;
    for (column, part) in lines.chunks(height.max(1)).enumerate() {
        let x = column * widest;
        if x + 8 >= usize::from(area.width) {
            break;
        }
        let at = Rect { x: area.x + x as u16, width: area.width - x as u16, ..area };
        frame.render_widget(Paragraph::new(part.to_vec()), at);
    }
}

fn flatten(value: &Value, path: &str, lines: &mut Vec<Line<'_>>) {
    let join = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match value {
        Value::Object(object) => object.iter().for_each(|(key, value)| flatten(value, &join(key), lines)),
        Value::Array(list) => {
            for (index, value) in list.iter().enumerate() {
                let key = ["name", "shard", "stage"].iter().find_map(|key| value.get(*key)?.as_str());
                flatten(value, &join(key.map_or(index.to_string(), str::to_owned).as_str()), lines);
            }
        }
        Value::String(text) => {
            let text: String = text.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
            lines.push(Line::raw(format!("  {path}: {text}")));
        }
        other => lines.push(Line::raw(format!("  {path}: {other}"))),
    }
}

fn foot(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let mut spans = Vec::new();
    if model.opened.is_some() {
        spans.push(Span::raw("esc back  q quit"));
    } else {
        // On a narrow screen only the view that is shown is spelled out.
        let wide = area.width >= 120;
        for (number, view) in View::ALL.iter().enumerate() {
            let shown = *view == model.view;
            let name = if shown || wide {
                format!("{} {}", number + 1, view.name())
            } else {
                format!("{}", number + 1)
            };
            spans.push(Span::styled(name, if shown { REVERSED } else { PLAIN }));
            spans.push(Span::raw(" "));
        }
        let sort = if model.view == View::Overview { "" } else { "s sort  r reverse  " };
        let moves = if wide { "arrows move  " } else { "" };
        spans.push(Span::raw(format!(" {moves}enter details  {sort}p pause  q quit")));
    }
    frame.render_widget(Paragraph::new(Line::from(spans)), area);
}
