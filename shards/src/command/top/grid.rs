//! A table that fits its width: columns have an importance, and the least important go first.

use std::cmp::Ordering;

use serde_json::Value;

/// What a cell is sorted by.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Key {
    Text(String),
    Number(f64),
}

/// One cell.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Cell {
    pub text: String,
    pub key: Key,
}

impl Cell {
    pub(super) fn text(text: impl Into<String>) -> Self {
        let text: String = text.into().chars().map(|c| if c.is_control() { '?' } else { c }).collect();
        Self { key: Key::Text(text.clone()), text }
    }

    pub(super) fn number(text: impl Into<String>, number: f64) -> Self {
        Self { text: text.into(), key: Key::Number(number) }
    }
}

/// One row, with the object that it was made of.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub cells: Vec<Cell>,
    /// Something in it is not well.
    pub alarm: bool,
    pub raw: Value,
}

/// A heading: its name, and how important it is, 0 the most.
pub(super) type Head = (&'static str, u8);

/// A table.
#[derive(Clone, Debug)]
pub(super) struct Grid {
    pub title: &'static str,
    pub heads: &'static [Head],
    pub rows: Vec<Row>,
}

/// By which column, and whether the greatest comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sort {
    pub column: Option<usize>,
    pub ascending: bool,
}

impl Grid {
    pub(super) fn sort(&mut self, sort: Sort) {
        let Some(column) = sort.column else { return };
        self.rows.sort_by(|a, b| {
            let order = match (&a.cells[column].key, &b.cells[column].key) {
                (Key::Number(a), Key::Number(b)) => b.total_cmp(a),
                (Key::Text(a), Key::Text(b)) => a.cmp(b),
                (Key::Number(_), Key::Text(_)) => Ordering::Less,
                (Key::Text(_), Key::Number(_)) => Ordering::Greater,
            };
            if sort.ascending { order.reverse() } else { order }
        });
    }

    /// The columns that fit `width`, and how wide each is, with two blanks between them.
    pub(super) fn layout(&self, width: usize) -> Vec<(usize, usize)> {
        let widest = |column: usize| {
            let cells = self.rows.iter().map(|row| row.cells[column].text.chars().count());
            cells.max().unwrap_or(0).max(self.heads[column].0.chars().count())
        };
        let mut columns: Vec<(usize, usize)> = (0..self.heads.len()).map(|c| (c, widest(c))).collect();
        let sum = |columns: &[(usize, usize)]| columns.iter().map(|(_, wide)| wide + 2).sum::<usize>();
        while columns.len() > 1 && sum(&columns) > width + 2 {
            let least = columns.iter().map(|(column, _)| self.heads[*column].1).max().unwrap_or(0);
            let at = columns.iter().rposition(|(column, _)| self.heads[*column].1 == least);
            columns.remove(at.expect("the maximum is of one of them"));
        }
        columns
    }

    /// The cells of a line padded to their columns: numbers to the right.
    pub(super) fn line(cells: &[&str], right: &[bool], layout: &[(usize, usize)], width: usize) -> String {
        let mut line = String::new();
        for (at, &(column, wide)) in layout.iter().enumerate() {
            let text = cells[column];
            let gap = if at == 0 { "" } else { "  " };
            line.push_str(gap);
            let blanks = wide.saturating_sub(text.chars().count());
            if right[column] {
                line.extend(std::iter::repeat_n(' ', blanks));
                line.push_str(text);
            } else {
                line.push_str(text);
                line.extend(std::iter::repeat_n(' ', blanks));
            }
        }
        line.chars().take(width).collect()
    }

    /// Which columns hold numbers.
    pub(super) fn right(&self) -> Vec<bool> {
        (0..self.heads.len())
            .map(|column| self.rows.iter().any(|row| matches!(row.cells[column].key, Key::Number(_))))
            .collect()
    }
}
