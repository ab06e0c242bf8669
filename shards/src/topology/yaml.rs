//! YAML text as a small tree with line numbers. Knows nothing of topologies.
//!
//! A file that people edit by hand and that starts a trading process is read narrowly: one document, no anchors or
//! aliases (a few lines of them expand to gigabytes), no tags, bounded size and nesting (refused before anything
//! recursive walks the tree), scalar keys only, and every duplicate key is a problem instead of a silent winner.

use saphyr_parser::{Event, Parser, ScalarStyle};

use super::problem::{Problems, Spot, quoted};

/// Bytes of a topology file. 150 instruments and 64 shards written one per line, with comments, stay below 64 KiB.
pub const FILE_BYTES_MAX: usize = 256 * 1024;

/// Collections inside one another. The deepest legal key is four deep
/// (`consumers` / element / `subscriptions` / element / `delivery`, with the root: six).
pub const NESTING_MAX: usize = 12;

/// One value and the line that it starts on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    pub line: usize,
    pub value: Value,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// Text as written; `plain` when it was not in quotes, so that it may be a number.
    Scalar {
        text: String,
        plain: bool,
    },
    Sequence(Vec<Node>),
    Mapping(Vec<Entry>),
}

/// One `key: value`. Keys of a mapping are unique.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub line: usize,
    pub key: String,
    pub value: Node,
}

impl Node {
    /// The value as a message names it.
    pub(super) fn shown(&self) -> String {
        match &self.value {
            Value::Scalar { text, plain: true } if text.is_empty() => "nothing".to_owned(),
            Value::Scalar { text, plain: true } if text.parse::<i64>().is_ok() => text.clone(),
            Value::Scalar { text, .. } => quoted(text),
            Value::Sequence(list) => format!("a list of {}", list.len()),
            Value::Mapping(entries) => format!("a mapping of {} keys", entries.len()),
        }
    }
}

/// Reads one document. `None`: the text is not a tree that we accept, and `problems` says why.
///
/// Duplicate keys do not stop the reading: the first one counts, the others are problems.
pub(super) fn parse(text: &str, problems: &mut Problems) -> Option<Node> {
    let file = Spot { line: 0, key: String::new() };
    if text.len() > FILE_BYTES_MAX {
        problems.add(&file, format!("{} bytes", text.len()), format!("fits up to {FILE_BYTES_MAX} bytes"));
        return None;
    }
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text) {
        let result = match event {
            Ok((event, span)) => builder.take(event, span.start.line(), problems),
            Err(error) => Err(Refused {
                line: error.marker().line(),
                found: "no valid YAML".to_owned(),
                fits: error.info().to_owned(),
            }),
        };
        if let Err(refused) = result {
            problems.add(&Spot { line: refused.line, key: String::new() }, refused.found, refused.fits);
            return None;
        }
    }
    if builder.root.is_none() {
        problems.add(&file, "an empty file", "fits a topology, as in the shipped topology.yaml");
    }
    builder.root
}

/// Why the reading ends here.
struct Refused {
    line: usize,
    found: String,
    fits: String,
}

/// A collection that is still open.
struct Open {
    line: usize,
    /// The key under which it will be put, if its parent is a mapping.
    under: Option<(usize, String)>,
    contents: Contents,
}

enum Contents {
    Sequence(Vec<Node>),
    /// The entries so far, and the key whose value comes next.
    Mapping(Vec<Entry>, Option<(usize, String)>),
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    root: Option<Node>,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, line: usize, problems: &mut Problems) -> Result<(), Refused> {
        let refuse =
            |found: &str, fits: &str| Err(Refused { line, found: found.to_owned(), fits: fits.to_owned() });
        match event {
            Event::Alias(_) => return refuse("an alias (*name)", "fits the value itself, written out"),
            Event::Scalar(_, _, anchor, _)
            | Event::SequenceStart(anchor, _)
            | Event::MappingStart(anchor, _)
                if anchor > 0 =>
            {
                return refuse("an anchor (&name)", "fits the value itself, written out each time");
            }
            Event::Scalar(_, _, _, Some(_))
            | Event::SequenceStart(_, Some(_))
            | Event::MappingStart(_, Some(_)) => {
                return refuse("a tag (!name)", "fits a plain value");
            }
            Event::DocumentStart(_) if self.root.is_some() => {
                return refuse("a second document", "fits one document a file");
            }
            Event::Scalar(text, style, _, _) => {
                if let Some(Open { contents: Contents::Mapping(_, key @ None), .. }) = self.open.last_mut() {
                    *key = Some((line, text.into_owned()));
                } else {
                    let plain = style == ScalarStyle::Plain;
                    self.put(
                        Node { line, value: Value::Scalar { text: text.into_owned(), plain } },
                        problems,
                    );
                }
            }
            Event::SequenceStart(..) => self.enter(line, Contents::Sequence(Vec::new()))?,
            Event::MappingStart(..) => self.enter(line, Contents::Mapping(Vec::new(), None))?,
            Event::SequenceEnd | Event::MappingEnd => {
                let closed = self.open.pop().expect("the parser closes only what it opened");
                let value = match closed.contents {
                    Contents::Sequence(list) => Value::Sequence(list),
                    Contents::Mapping(entries, _) => Value::Mapping(entries),
                };
                if let (Some(key), Some(Open { contents: Contents::Mapping(_, slot), .. })) =
                    (closed.under, self.open.last_mut())
                {
                    *slot = Some(key);
                }
                self.put(Node { line: closed.line, value }, problems);
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => {}
        }
        Ok(())
    }

    fn enter(&mut self, line: usize, contents: Contents) -> Result<(), Refused> {
        if self.open.len() == NESTING_MAX {
            return Err(Refused {
                line,
                found: format!("more than {NESTING_MAX} collections inside one another"),
                fits: "fits a flatter file".to_owned(),
            });
        }
        let under = match self.open.last_mut() {
            Some(Open { contents: Contents::Mapping(_, key), .. }) => match key.take() {
                Some(key) => Some(key),
                None => {
                    return Err(Refused {
                        line,
                        found: "a list or mapping as a key".to_owned(),
                        fits: "fits a word".to_owned(),
                    });
                }
            },
            _ => None,
        };
        self.open.push(Open { line, under, contents });
        Ok(())
    }

    /// Puts a finished value into what is open around it.
    fn put(&mut self, node: Node, problems: &mut Problems) {
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open { contents: Contents::Sequence(list), .. }) => list.push(node),
            Some(Open { contents: Contents::Mapping(entries, key), .. }) => {
                let (line, key) = key.take().expect("a value in a mapping follows its key");
                if let Some(first) = entries.iter().find(|entry| entry.key == key) {
                    let found = format!("the key {} again", quoted(&key));
                    problems.add(
                        &Spot { line, key: String::new() },
                        found,
                        format!("fits once (it is already on line {})", first.line),
                    );
                } else {
                    entries.push(Entry { line, key, value: node });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[&str]) {
        let mut problems = Problems::default();
        parse(text, &mut problems);
        let found: Vec<String> =
            problems.into_list().iter().map(|problem| format!("{}: {problem}", problem.line)).collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn scalars_sequences_and_mappings_keep_their_lines() {
        let mut problems = Problems::default();
        let root = parse("a: 1\nb:\n  - {c: 'x'}\n  -\n    d: [2, 3]\n", &mut problems).unwrap();
        assert!(problems.is_empty());
        let Value::Mapping(entries) = &root.value else { panic!("{root:?}") };
        assert_eq!(
            entries.iter().map(|e| (e.line, e.key.as_str())).collect::<Vec<_>>(),
            [(1, "a"), (2, "b")]
        );
        let Value::Sequence(list) = &entries[1].value.value else { panic!("{root:?}") };
        let lines: Vec<usize> = list
            .iter()
            .map(|node| match &node.value {
                Value::Mapping(entries) => entries[0].line,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(lines, [3, 5]);
    }

    #[test]
    fn every_duplicate_key_is_named() {
        check(
            "a: 1\nb: {c: 1, c: 2}\na: 3\na: [4]\n",
            &[
                "2: found the key 'c' again, fits once (it is already on line 2)",
                "3: found the key 'a' again, fits once (it is already on line 1)",
                "4: found the key 'a' again, fits once (it is already on line 1)",
            ],
        );
    }

    #[test]
    fn what_expands_nests_or_hides_is_refused() {
        check(
            "a: &x [1]\nb: *x\n",
            &["1: found an anchor (&name), fits the value itself, written out each time"],
        );
        check("a: *x\n", &["1: found no valid YAML, while parsing node, found unknown anchor"]);
        check("a: !!int 3\n", &["1: found a tag (!name), fits a plain value"]);
        check("a: 1\n---\nb: 2\n", &["2: found a second document, fits one document a file"]);
        check("? [1]\n: 2\n", &["1: found a list or mapping as a key, fits a word"]);
        check("", &["0: found an empty file, fits a topology, as in the shipped topology.yaml"]);
        let deep = "- ".repeat(5000);
        check(&deep, &["1: found more than 12 collections inside one another, fits a flatter file"]);
        check(
            &"[".repeat(200),
            &["1: found more than 12 collections inside one another, fits a flatter file"],
        );
        let long = format!("a: {}", "x".repeat(FILE_BYTES_MAX));
        check(&long, &["0: found 262147 bytes, fits up to 262144 bytes"]);
    }
}
