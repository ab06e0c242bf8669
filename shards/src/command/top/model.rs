//! What `top` knows: the two newest statuses, a short history of latency, and what the user looks at.

use std::collections::VecDeque;

use serde_json::Value;

use super::grid::{Grid, Sort};
use super::views;

/// Seconds of history.
const HISTORY_MAX: usize = 240;

/// What the screen shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum View {
    #[default]
    Overview,
    Shards,
    Rings,
    Providers,
    Consumers,
    Latency,
    Incidents,
}

impl View {
    pub(super) const ALL: [Self; 7] = [
        Self::Overview,
        Self::Shards,
        Self::Rings,
        Self::Providers,
        Self::Consumers,
        Self::Latency,
        Self::Incidents,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Overview => "overview",
            Self::Shards => "shards",
            Self::Rings => "rings",
            Self::Providers => "providers",
            Self::Consumers => "consumers",
            Self::Latency => "latency",
            Self::Incidents => "incidents",
        }
    }

    fn index(self) -> usize {
        Self::ALL.iter().position(|view| *view == self).unwrap_or(0)
    }
}

/// What `top` knows.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub now: Value,
    pub before: Value,
    pub view: View,
    pub sorts: [Sort; 7],
    pub row: usize,
    /// The row whose whole object is shown, by its first cell.
    pub opened: Option<String>,
    pub paused: bool,
    /// Seconds since the last answer, and why there is none.
    pub silent: Option<(u64, String)>,
    /// 50th and 99th percentile of `receive_to_delivered`, the worst of all shards, in nanoseconds.
    pub history: VecDeque<(u64, u64)>,
}

impl Model {
    /// Takes a status. A gateway that was started anew begins a new history.
    pub(super) fn take(&mut self, status: &Value) {
        let before = std::mem::replace(&mut self.now, status.clone());
        let restarted = number(&self.now, "uptime_ms") < number(&before, "uptime_ms");
        self.before = if restarted { Value::Null } else { before };
        if restarted {
            self.history.clear();
        }
        let delivered = |key: &str| {
            let stages = list(&self.now, "shards").iter().flat_map(|shard| list(shard, "stages"));
            let found = stages.filter(|stage| text(stage, "stage") == "receive_to_delivered");
            found.map(|stage| number(stage, key) as u64).max().unwrap_or(0)
        };
        let point = (delivered("latency_ns_p50"), delivered("latency_ns_p99"));
        if self.history.len() == HISTORY_MAX {
            self.history.pop_front();
        }
        self.history.push_back(point);
    }

    /// Seconds between the two statuses; 0 with one alone.
    pub(super) fn seconds(&self) -> f64 {
        if self.before.is_null() {
            return 0.0;
        }
        (number(&self.now, "uptime_ms") - number(&self.before, "uptime_ms")).max(0.0) / 1e3
    }

    /// The tables of the view, sorted.
    pub(super) fn grids(&self) -> Vec<Grid> {
        let mut grids = views::grids(self, self.view);
        if self.view != View::Overview {
            for grid in &mut grids {
                grid.sort(self.sorts[self.view.index()]);
            }
        }
        grids
    }

    /// The column by which the view is sorted.
    pub(super) fn sort(&self) -> Sort {
        self.sorts[self.view.index()]
    }

    pub(super) fn show(&mut self, view: View) {
        (self.view, self.row, self.opened) = (view, 0, None);
    }

    pub(super) fn step_view(&mut self, by: isize) {
        let count = View::ALL.len() as isize;
        self.show(View::ALL[(self.view.index() as isize + by).rem_euclid(count) as usize]);
    }

    pub(super) fn step_row(&mut self, by: isize) {
        let rows: usize = self.grids().iter().map(|grid| grid.rows.len()).sum();
        self.row = self.row.saturating_add_signed(by).min(rows.saturating_sub(1));
    }

    /// Shows the whole object of the row.
    pub(super) fn open(&mut self) {
        let grids = self.grids();
        let row = grids.iter().flat_map(|grid| &grid.rows).nth(self.row);
        self.opened = row.map(|row| row.cells[0].text.clone());
    }

    pub(super) fn back(&mut self) {
        if self.opened.take().is_none() {
            self.show(View::Overview);
        }
    }

    pub(super) fn sort_next(&mut self) {
        let columns = self.grids().first().map_or(0, |grid| grid.heads.len());
        let sort = &mut self.sorts[self.view.index()];
        sort.column = match sort.column {
            None if columns > 0 => Some(0),
            Some(column) if column + 1 < columns => Some(column + 1),
            _ => None,
        };
    }

    pub(super) fn sort_reverse(&mut self) {
        let sort = &mut self.sorts[self.view.index()];
        sort.ascending = !sort.ascending;
    }
}

/// A list under a key; empty where there is none: older and newer gateways say less or more.
pub(super) fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A number under a key; 0 where there is none.
pub(super) fn number(value: &Value, key: &str) -> f64 {
    value.get(key).and_then(Value::as_f64).unwrap_or(0.0)
}

/// A text under a key.
pub(super) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or("-")
}
