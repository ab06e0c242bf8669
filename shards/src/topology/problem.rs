//! What is wrong with a topology file, in a form that an operator can act on.
//!
//! Every problem names its line, its key, what was found and what would fit. Nothing here knows what a topology is.

use std::fmt;

/// Characters of the file's own text that a message repeats. Longer text is cut: a message is one line.
const QUOTED_CHARS_MAX: usize = 60;

/// One thing that must change before the file can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Line in the file, from 1; 0 when the file as a whole is meant.
    pub line: usize,
    /// Path of the key, such as `shards[0].core`; empty for the file itself.
    pub key: String,
    /// What the file says.
    pub found: String,
    /// What it could say instead, as the rest of the sentence: `fits 1 to 4`, `did you mean 'core'?`.
    pub fits: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.key.is_empty() {
            write!(out, "{}: ", self.key)?;
        }
        write!(out, "found {}, {}", self.found, self.fits)
    }
}

/// All problems of one file. Displays as one line each, `<file>:<line>: <key>: found <this>, <what fits>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopologyErrors {
    /// The file's name as it was given.
    pub file: String,
    /// At least one, in the order of the lines.
    pub problems: Vec<Problem>,
}

impl TopologyErrors {
    /// Puts the problems in the order of the file.
    pub(super) fn new(file: &str, mut problems: Vec<Problem>) -> Self {
        assert!(!problems.is_empty(), "an error names at least one problem");
        problems.sort_by_key(|problem| problem.line); // stable: problems of one line stay as they were found
        Self { file: file.to_owned(), problems }
    }
}

impl fmt::Display for TopologyErrors {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                writeln!(out)?;
            }
            if problem.line == 0 {
                write!(out, "{}: {problem}", self.file)?;
            } else {
                write!(out, "{}:{}: {problem}", self.file, problem.line)?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for TopologyErrors {}

/// Where something stands in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spot {
    /// Line, from 1.
    pub line: usize,
    /// Path of the key, such as `shards[0].core`.
    pub key: String,
}

impl Spot {
    /// The spot of a member: `shards[0]` and `core` give `shards[0].core`.
    pub(super) fn member(&self, line: usize, name: &str) -> Self {
        let key = if self.key.is_empty() { name.to_owned() } else { format!("{}.{name}", self.key) };
        Self { line, key }
    }

    /// The spot of an element: `shards` and 0 give `shards[0]`.
    pub(super) fn element(&self, line: usize, index: usize) -> Self {
        Self { line, key: format!("{}[{index}]", self.key) }
    }
}

/// Collects problems while the file is read to its end.
#[derive(Debug, Default)]
pub(super) struct Problems {
    list: Vec<Problem>,
}

impl Problems {
    pub(super) fn add(&mut self, spot: &Spot, found: impl Into<String>, fits: impl Into<String>) {
        self.list.push(Problem {
            line: spot.line,
            key: spot.key.clone(),
            found: found.into(),
            fits: fits.into(),
        });
    }

    /// Whether this key has a problem already: what follows from it is not told again.
    pub(super) fn has(&self, key: &str) -> bool {
        self.list.iter().any(|problem| problem.key == key)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(super) fn into_list(self) -> Vec<Problem> {
        self.list
    }
}

/// The file's text as a message may repeat it: in quotes, control characters escaped, cut to one line.
pub(super) fn quoted(text: &str) -> String {
    let mut shown: String =
        text.chars().take(QUOTED_CHARS_MAX).flat_map(char::escape_debug).collect::<String>();
    if text.chars().count() > QUOTED_CHARS_MAX {
        shown.push_str("...");
    }
    format!("'{shown}'")
}

/// `did you mean 'core'?` and the whole list, or only the list when nothing is near.
pub(super) fn did_you_mean<S: AsRef<str>>(text: &str, known: &[S]) -> String {
    let mut words: Vec<&str> = known.iter().map(AsRef::as_ref).collect();
    words.dedup();
    let list = words.join(", ");
    let list = if list.is_empty() { "nothing".to_owned() } else { list };
    match nearest(text, known) {
        Some(near) => format!("did you mean '{near}'? (fits: {list})"),
        None => format!("fits: {list}"),
    }
}

/// The known word that the text most likely meant.
fn nearest<'a, S: AsRef<str>>(text: &str, known: &'a [S]) -> Option<&'a str> {
    if text.len() > QUOTED_CHARS_MAX {
        return None; // no key is that long, and the distance costs length x length
    }
    let lower = text.to_lowercase();
    known
        .iter()
        .map(|word| (edit_distance(&lower, &word.as_ref().to_lowercase()), word.as_ref()))
        // A third of the letters may be wrong; more than that is another word.
        .filter(|(distance, word)| *distance <= word.chars().count().max(3) / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// Letters to insert, delete, replace or swap with their neighbour to turn `a` into `b`.
fn edit_distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = last;
        last = row;
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_single_letter_changes_and_swaps() {
        for (a, b, expected) in [
            ("", "", 0),
            ("core", "core", 0),
            ("cores", "core", 1),
            ("croe", "core", 1),
            ("", "abc", 3),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(edit_distance(a, b), expected, "{a} {b}");
            assert_eq!(edit_distance(b, a), expected, "{b} {a}");
        }
    }

    #[test]
    fn a_far_word_gets_the_list_without_a_guess() {
        assert_eq!(did_you_mean("coer", &["core", "role"]), "did you mean 'core'? (fits: core, role)");
        assert_eq!(did_you_mean("zebra", &["core", "role"]), "fits: core, role");
    }

    #[test]
    fn repeated_text_is_cut_and_cannot_move_the_cursor() {
        assert_eq!(quoted("a\u{1b}[2Jb"), r"'a\u{1b}[2Jb'");
        assert_eq!(quoted(&"x".repeat(100)), format!("'{}...'", "x".repeat(60)));
    }
}
