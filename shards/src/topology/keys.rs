//! Strict reading of a YAML tree: each key is asked for by name, what nobody asked for is unknown.
//!
//! A reader returns `None` where the value does not fit, after adding a problem, and goes on with the next key, so that one run
//! shows all problems of a file.

use super::bounds::{Bound, NAME_CHARS_MAX};
use super::problem::{Problems, Spot, did_you_mean, quoted};
use super::yaml::{Entry, Node, Value};

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct At<T> {
    /// Where the file says it.
    pub spot: Spot,
    /// What it says.
    pub value: T,
}

/// A node and the spot that its key gives it.
#[derive(Clone)]
pub(super) struct Found<'a> {
    pub spot: Spot,
    pub node: &'a Node,
}

impl<'a> Found<'a> {
    pub(super) fn misfit<T>(&self, fits: impl Into<String>, problems: &mut Problems) -> Option<T> {
        problems.add(&self.spot, self.node.shown(), fits);
        None
    }

    pub(super) fn at<T>(&self, value: T) -> At<T> {
        At { spot: self.spot.clone(), value }
    }

    /// Text that is not empty.
    pub(super) fn text(&self, fits: &str, problems: &mut Problems) -> Option<&'a str> {
        match &self.node.value {
            Value::Scalar { text, .. } if !text.is_empty() => Some(text),
            _ => self.misfit(format!("fits {fits}"), problems),
        }
    }

    /// An integer within its bound.
    pub(super) fn integer(&self, bound: Bound, problems: &mut Problems) -> Option<At<u64>> {
        if let Value::Scalar { text, plain: true } = &self.node.value
            && text.bytes().all(|byte| byte.is_ascii_digit()) // no sign, hex, octal or underscore: one spelling
            && let Ok(number) = text.parse::<u64>()
            && (bound.min..=bound.max).contains(&number)
        {
            return Some(self.at(number));
        }
        self.misfit(format!("fits {} to {} ({})", bound.min, bound.max, bound.why), problems)
    }

    /// A decimal number with up to three digits after the point, in thousandths.
    pub(super) fn permille(&self, min: u32, max: u32, why: &str, problems: &mut Problems) -> Option<At<u32>> {
        if let Value::Scalar { text, plain: true } = &self.node.value
            && let Some(number) = thousandths(text)
            && (min..=max).contains(&number)
        {
            return Some(self.at(number));
        }
        let shown = |number: u32| f64::from(number) / 1000.0;
        self.misfit(
            format!("fits {} to {}, at most three digits after the point ({why})", shown(min), shown(max)),
            problems,
        )
    }

    /// `true` or `false`.
    pub(super) fn boolean(&self, problems: &mut Problems) -> Option<At<bool>> {
        match &self.node.value {
            Value::Scalar { text, plain: true } if text == "true" => Some(self.at(true)),
            Value::Scalar { text, plain: true } if text == "false" => Some(self.at(false)),
            _ => self.misfit("fits true or false", problems),
        }
    }

    /// One of the words.
    pub(super) fn word<T: Copy>(
        &self,
        words: &[(&'static str, T)],
        problems: &mut Problems,
    ) -> Option<At<T>> {
        let names: Vec<&str> = words.iter().map(|(name, _)| *name).collect();
        let Value::Scalar { text, .. } = &self.node.value else {
            return self.misfit(format!("fits: {}", names.join(", ")), problems);
        };
        match words.iter().find(|(name, _)| name == text) {
            Some((_, value)) => Some(self.at(*value)),
            None => self.misfit(did_you_mean(text, &names), problems),
        }
    }

    /// A name that can be a label: lower case letters, digits and `_`, a letter first.
    pub(super) fn name(&self, problems: &mut Problems) -> Option<At<String>> {
        if let Value::Scalar { text, .. } = &self.node.value
            && text.len() <= NAME_CHARS_MAX
            && text.starts_with(|first: char| first.is_ascii_lowercase())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        {
            return Some(self.at(text.clone()));
        }
        self.misfit(
            format!("fits up to {NAME_CHARS_MAX} of a-z, 0-9 and _, a letter first (it becomes a label of metrics)"),
            problems,
        )
    }

    /// The elements of a list of `min` to `max` elements. Elements beyond `max` are not read.
    pub(super) fn list(&self, min: usize, max: usize, of: &str, problems: &mut Problems) -> Vec<Found<'a>> {
        let Value::Sequence(list) = &self.node.value else {
            let _: Option<()> = self.misfit(format!("fits a list of {of}"), problems);
            return Vec::new();
        };
        if !(min..=max).contains(&list.len()) {
            let _: Option<()> = self.misfit(format!("fits {min} to {max} {of}"), problems);
        }
        list.iter()
            .take(max)
            .enumerate()
            .map(|(index, node)| Found { spot: self.spot.element(node.line, index), node })
            .collect()
    }

    /// The keys of a mapping.
    pub(super) fn keys(&self, problems: &mut Problems) -> Option<Keys<'a>> {
        match &self.node.value {
            Value::Mapping(entries) => {
                Some(Keys { spot: self.spot.clone(), entries, asked: Vec::new(), listed: Vec::new() })
            }
            _ => self.misfit("fits a mapping of keys", problems),
        }
    }
}

/// A mapping whose keys are asked for one after the other, and then closed.
pub(super) struct Keys<'a> {
    pub spot: Spot,
    entries: &'a [Entry],
    asked: Vec<&'static str>,
    /// Keys that are known here though this mapping has no use for them; not offered in messages.
    listed: Vec<&'static str>,
}

impl<'a> Keys<'a> {
    /// A key that may be left out; the shipped file says when and what that means.
    pub(super) fn may(&mut self, name: &'static str) -> Option<Found<'a>> {
        self.asked.push(name);
        let entry = self.entries.iter().find(|entry| entry.key == name)?;
        Some(Found { spot: self.spot.member(entry.line, name), node: &entry.value })
    }

    /// A key that must be there.
    pub(super) fn must(&mut self, name: &'static str, problems: &mut Problems) -> Option<Found<'a>> {
        let found = self.may(name);
        if found.is_none() {
            problems.add(&self.spot.member(self.spot.line, name), "nothing", "this key must be there");
        }
        found
    }

    /// A key that does not belong here, though it does elsewhere: says why instead of calling it unknown.
    pub(super) fn must_not(&mut self, name: &'static str, why: &str, problems: &mut Problems) {
        self.listed.push(name);
        if let Some(entry) = self.entries.iter().find(|entry| entry.key == name) {
            problems.add(&self.spot.member(entry.line, name), "a key without use here", why);
        }
    }

    /// Every key with its value, for mappings whose keys are data.
    pub(super) fn all(&self) -> impl Iterator<Item = (&'a str, Found<'a>)> {
        self.entries.iter().map(|entry| {
            (
                entry.key.as_str(),
                Found { spot: self.spot.member(entry.line, &shown_key(&entry.key)), node: &entry.value },
            )
        })
    }

    /// Ends the reading: keys that nobody asked for are problems.
    pub(super) fn close(self, problems: &mut Problems) {
        for entry in self.entries {
            let key = entry.key.as_str();
            if self.asked.contains(&key) || self.listed.contains(&key) {
                continue;
            }
            // A secret in this file must not reach a terminal or a log: only its key is shown.
            let fits = if ["secret", "api_key", "apikey", "passphrase", "password", "private_key"]
                .iter()
                .any(|word| key.to_lowercase().contains(word))
            {
                "keys and secrets are never written in this file: they come from files or the environment"
                    .to_owned()
            } else {
                did_you_mean(key, &self.asked)
            };
            problems.add(&self.spot.member(entry.line, &shown_key(key)), "an unknown key", fits);
        }
    }
}

/// A key as a path shows it: plain when it looks like one of ours, quoted otherwise.
fn shown_key(key: &str) -> String {
    let plain = !key.is_empty()
        && key.len() <= 2 * NAME_CHARS_MAX
        && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    if plain { key.to_owned() } else { quoted(key) }
}

/// `0.8` as 800. Exact: a fourth digit is refused, not rounded.
fn thousandths(text: &str) -> Option<u32> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(part) || part.len() > 3 || whole.len() > 6 {
        return None;
    }
    let scale = 10_u32.pow(3 - part.len() as u32);
    Some(whole.parse::<u32>().ok()? * 1000 + part.parse::<u32>().ok()? * scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_read_exactly_or_not_at_all() {
        for (text, expected) in [
            ("0.8", Some(800)),
            ("1", Some(1000)),
            ("1.0", Some(1000)),
            ("0.125", Some(125)),
            ("12.05", Some(12_050)),
            ("0.1234", None),
            (".5", None),
            ("1.", None),
            ("-1", None),
            ("1e3", None),
            ("9999999", None),
            ("", None),
        ] {
            assert_eq!(thousandths(text), expected, "{text}");
        }
    }
}
