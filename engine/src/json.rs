//! JSON of any shape, without allocation once warm: simd-json's tape, kept and reused, and a walker over it.
//!
//! The general decoder behind every scanner. simd-json turns bare numbers with a point into floats and forgets their
//! text; where that text is money, [`quote_numbers`] first copies the frame with every bare number made a string.

use simd_json::{Buffers, Node, StaticNode};

use crate::raw::DecodeError;
use crate::scan::number_length;

/// The memory of one parse after the other.
pub struct Tape {
    buffers: Buffers,
    /// Empty between two parses; kept for its capacity.
    parked: simd_json::Tape<'static>,
    /// Copy of a frame that has escapes.
    unescaped: Vec<u8>,
}

impl Default for Tape {
    fn default() -> Self {
        Self::with_capacity(4_096)
    }
}

impl std::fmt::Debug for Tape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tape").field("nodes_max", &self.parked.0.capacity()).finish_non_exhaustive()
    }
}

impl Tape {
    /// With room for a text of `bytes` before it must grow.
    pub fn with_capacity(bytes: usize) -> Self {
        Self {
            buffers: Buffers::new(bytes),
            parked: simd_json::Tape(Vec::with_capacity(bytes / 4)),
            unescaped: Vec::new(),
        }
    }

    /// Parses a whole text. Its bytes are the same afterwards, although simd-json wants to own them: a text with escapes
    /// is parsed from a copy, so that whoever must decode it again (see [`DecodeError::Wider`]) can.
    ///
    /// # Errors
    /// [`DecodeError::Json`], also for a whole number beyond 64 bits.
    pub fn parse<'a>(&'a mut self, bytes: &'a mut [u8]) -> Result<Parsed<'a>, DecodeError> {
        let mut tape = std::mem::replace(&mut self.parked, simd_json::Tape(Vec::new())).reset();
        let bytes = if bytes.contains(&b'\\') {
            self.unescaped.clear();
            self.unescaped.extend_from_slice(bytes);
            &mut self.unescaped
        } else {
            bytes
        };
        let filled = simd_json::fill_tape(bytes, &mut self.buffers, &mut tape);
        let parsed = Parsed { home: &mut self.parked, tape };
        if filled.is_err() || parsed.tape.0.is_empty() {
            return Err(DecodeError::Json);
        }
        Ok(parsed)
    }
}

/// A parsed text. Gives its memory back to the [`Tape`] when it goes.
#[derive(Debug)]
pub struct Parsed<'a> {
    home: &'a mut simd_json::Tape<'static>,
    tape: simd_json::Tape<'a>,
}

impl Parsed<'_> {
    /// The outermost value.
    pub fn root(&self) -> Value<'_> {
        Value { nodes: &self.tape.0 }
    }
}

impl Drop for Parsed<'_> {
    fn drop(&mut self) {
        *self.home = std::mem::replace(&mut self.tape, simd_json::Tape(Vec::new())).reset();
    }
}

/// A value of a parsed text: an object, an array, a string, a number, a boolean or null.
#[derive(Clone, Copy, Debug)]
pub struct Value<'a> {
    /// The value's node, all that is inside it, and whatever follows.
    nodes: &'a [Node<'a>],
}

/// Nodes that a value takes on the tape, itself included.
fn span(node: Option<&Node>) -> usize {
    match node {
        Some(Node::Object { count, .. } | Node::Array { count, .. }) => count + 1,
        _ => 1,
    }
}

impl<'a> Value<'a> {
    /// The value of the first field named `key`; `None` also if this is no object. Walks the fields, of which a
    /// venue's message has about ten.
    #[inline]
    pub fn get(self, key: &str) -> Option<Self> {
        let Some((Node::Object { len, .. }, mut nodes)) = self.nodes.split_first() else { return None };
        for _ in 0..*len {
            let (Node::String(name), value) = nodes.split_first()? else { return None };
            // Length and first letter tell nearly all names apart; comparing whole texts is a call each.
            if name.len() == key.len() && name.bytes().next() == key.bytes().next() && *name == key {
                return Some(Self { nodes: value });
            }
            nodes = value.get(span(value.first())..)?;
        }
        None
    }

    /// Names and values of an object, in its order.
    pub fn fields(self) -> Option<Fields<'a>> {
        match self.nodes.first() {
            Some(Node::Object { len, .. }) => Some(Fields { left: *len, nodes: self.nodes.get(1..)? }),
            _ => None,
        }
    }

    /// Elements of an array, in its order.
    pub fn items(self) -> Option<Items<'a>> {
        match self.nodes.first() {
            Some(Node::Array { len, .. }) => Some(Items { left: *len, nodes: self.nodes.get(1..)? }),
            _ => None,
        }
    }

    /// Element `index` of an array.
    pub fn at(self, index: usize) -> Option<Self> {
        self.items()?.nth(index)
    }

    /// A string, escapes resolved.
    pub fn str(self) -> Option<&'a str> {
        match self.nodes.first() {
            Some(Node::String(text)) => Some(text),
            _ => None,
        }
    }

    /// The bytes of a string, escapes resolved.
    pub fn bytes(self) -> Option<&'a [u8]> {
        self.str().map(str::as_bytes)
    }

    /// A whole number that is not negative.
    pub fn u64(self) -> Option<u64> {
        match self.nodes.first() {
            Some(Node::Static(StaticNode::U64(number))) => Some(*number),
            Some(Node::Static(StaticNode::I64(number))) => u64::try_from(*number).ok(),
            _ => None,
        }
    }

    /// A whole number.
    pub fn i64(self) -> Option<i64> {
        match self.nodes.first() {
            Some(Node::Static(StaticNode::I64(number))) => Some(*number),
            Some(Node::Static(StaticNode::U64(number))) => i64::try_from(*number).ok(),
            _ => None,
        }
    }

    /// A boolean.
    pub fn bool(self) -> Option<bool> {
        match self.nodes.first() {
            Some(Node::Static(StaticNode::Bool(value))) => Some(*value),
            _ => None,
        }
    }

    /// Whether it is null.
    pub fn is_null(self) -> bool {
        matches!(self.nodes.first(), Some(Node::Static(StaticNode::Null)))
    }

    /// Whether it is an object.
    pub fn is_object(self) -> bool {
        matches!(self.nodes.first(), Some(Node::Object { .. }))
    }
}

/// What has fields with names.
pub trait Object<'a>: Copy {
    /// The value of the first field named `key`.
    fn get(self, key: &str) -> Option<Value<'a>>;
}

impl<'a> Object<'a> for Value<'a> {
    #[inline]
    fn get(self, key: &str) -> Option<Value<'a>> {
        Value::get(self, key)
    }
}

/// The first letter that [`Letters`] has a place for, and how many places from it to `z`.
const FIRST_LETTER: u8 = b'A';
const LETTERS: usize = (b'z' - FIRST_LETTER + 1) as usize;

/// An object whose fields are named by single letters, each found in one walk over all of them: for messages of which
/// most fields are asked for.
#[derive(Clone, Copy, Debug)]
pub struct Letters<'a> {
    object: Value<'a>,
    places: [Option<Value<'a>>; LETTERS],
}

impl<'a> Letters<'a> {
    /// The letters of an object; none of another value.
    pub fn of(object: Value<'a>) -> Self {
        let mut places = [None; LETTERS];
        for (name, value) in object.fields().into_iter().flatten() {
            if let Some(at) = Self::place(name) {
                places[at].get_or_insert(value);
            }
        }
        Self { object, places }
    }

    #[inline]
    fn place(name: &str) -> Option<usize> {
        match name.as_bytes() {
            [letter @ FIRST_LETTER..=b'z'] => Some(usize::from(letter - FIRST_LETTER)),
            _ => None,
        }
    }
}

impl<'a> Object<'a> for &Letters<'a> {
    /// Any other name is looked for by a walk.
    #[inline]
    fn get(self, key: &str) -> Option<Value<'a>> {
        match Letters::place(key) {
            Some(at) => self.places[at],
            None => self.object.get(key),
        }
    }
}

/// See [`Value::fields`].
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    left: usize,
    nodes: &'a [Node<'a>],
}

impl<'a> Iterator for Fields<'a> {
    type Item = (&'a str, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let (Node::String(name), nodes) = self.nodes.split_first()? else { return None };
        self.nodes = nodes.get(span(nodes.first())..)?;
        Some((name, Value { nodes }))
    }
}

/// See [`Value::items`].
#[derive(Clone, Debug)]
pub struct Items<'a> {
    left: usize,
    nodes: &'a [Node<'a>],
}

impl<'a> Iterator for Items<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        self.left = self.left.checked_sub(1)?;
        let nodes = self.nodes;
        self.nodes = nodes.get(span(nodes.first())..)?;
        Some(Value { nodes })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

/// Copies `frame` to `out`, which is emptied first, and puts every bare number between quotes: `{"price":61.50}` becomes
/// `{"price":"61.50"}`. Strings and all else are copied as they are.
///
/// # Errors
/// [`DecodeError::Json`] for what would become valid by it though it was not: a number against JSON's grammar, or one
/// in the place of a field's name. Other mistakes are copied for the parser to find.
pub fn quote_numbers(frame: &[u8], out: &mut Vec<u8>) -> Result<(), DecodeError> {
    out.clear();
    // What is copied as it is is copied between two numbers, not between two strings.
    let (mut copied, mut at) = (0, 0);
    while let Some(&byte) = frame.get(at) {
        match byte {
            b'"' => at += string_length(&frame[at..]),
            b'-' | b'0'..=b'9' => {
                let end = at + number_length(&frame[at..]).ok_or(DecodeError::Json)?;
                if frame[end..].trim_ascii_start().first() == Some(&b':') {
                    return Err(DecodeError::Json);
                }
                out.extend_from_slice(&frame[copied..at]);
                out.push(b'"');
                out.extend_from_slice(&frame[at..end]);
                out.push(b'"');
                (copied, at) = (end, end);
            }
            _ => at += 1,
        }
    }
    out.extend_from_slice(&frame[copied..]);
    Ok(())
}

/// Length of the string that `bytes` begins with, quotes included; all of it if the string does not end.
#[inline]
fn string_length(bytes: &[u8]) -> usize {
    let mut at = 1;
    while let Some(found) = bytes.get(at..).and_then(quote_or_backslash) {
        at += found + 1;
        if bytes[at - 1] == b'"' {
            return at;
        }
        at += 1;
    }
    bytes.len()
}

/// Where the first quote or backslash is: eight bytes at a time.
#[inline]
fn quote_or_backslash(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    // The high bit of each byte that is `byte`: exact for the lowest one, and only that one is used.
    let equal = |word: u64, byte: u8| {
        let word = word ^ (ONES * u64::from(byte));
        word.wrapping_sub(ONES) & !word & (ONES << 7)
    };
    let (words, tail) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let hits = equal(word, b'"') | equal(word, b'\\');
        if hits != 0 {
            return Some(8 * index + hits.trailing_zeros() as usize / 8);
        }
    }
    let found = tail.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
    Some(8 * words.len() + found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The value again as JSON text, through every accessor of the walker.
    fn print(value: Value) -> String {
        if let Some(fields) = value.fields() {
            let fields: Vec<String> =
                fields.map(|(name, value)| format!("{name:?}:{}", print(value))).collect();
            return format!("{{{}}}", fields.join(","));
        }
        if let Some(items) = value.items() {
            return format!("[{}]", items.map(print).collect::<Vec<_>>().join(","));
        }
        if let Some(text) = value.str() {
            return format!("{text:?}");
        }
        match (value.u64(), value.i64(), value.bool(), value.is_null()) {
            (Some(number), ..) => number.to_string(),
            (_, Some(number), ..) => number.to_string(),
            (_, _, Some(value), _) => value.to_string(),
            (.., true) => "null".to_owned(),
            _ => "float".to_owned(),
        }
    }

    fn check_walk(text: &str, expected: &str) {
        let mut tape = Tape::default();
        let mut bytes = text.as_bytes().to_vec();
        let parsed = tape.parse(&mut bytes).expect("valid");
        assert_eq!(print(parsed.root()), expected);
        drop(parsed);
        assert_eq!(bytes, text.as_bytes(), "parsing leaves the text as it was");
    }

    #[test]
    fn every_shape_is_walked() {
        check_walk("{}", "{}");
        check_walk("[]", "[]");
        check_walk("null", "null");
        check_walk(
            r#" { "a" : [ 1 , -2 , [ ] , { } , true ] , "b" : null } "#,
            r#"{"a":[1,-2,[],{},true],"b":null}"#,
        );
        check_walk(r#"{"a":{"b":{"c":[[["x"]]]}},"d":false}"#, r#"{"a":{"b":{"c":[[["x"]]]}},"d":false}"#);
        check_walk(r#"["A\/B","\"","é"]"#, r#"["A/B","\"","é"]"#);
        check_walk(
            "[18446744073709551615,-9223372036854775808]",
            "[18446744073709551615,-9223372036854775808]",
        );
        check_walk("[1.5,1e3]", "[float,float]");
    }

    #[test]
    fn fields_are_found_by_name_and_the_first_one_counts() {
        let mut bytes = br#"{"n":{"x":1},"x":2,"x":3,"list":[4,{"x":5},6]}"#.to_vec();
        let mut tape = Tape::default();
        let parsed = tape.parse(&mut bytes).expect("valid");
        let root = parsed.root();
        assert_eq!(root.get("x").and_then(Value::u64), Some(2));
        assert_eq!(root.get("list").and_then(|list| list.at(2)).and_then(Value::u64), Some(6));
        assert!(root.get("absent").is_none() && root.get("x").and_then(|x| x.get("y")).is_none());
        assert!(root.get("list").and_then(|list| list.at(3)).is_none());
        assert!(root.get("list").is_some_and(|list| !list.is_object() && list.get("x").is_none()));
    }

    #[test]
    fn letters_are_what_a_walk_finds() {
        let text =
            r#"{"e":"x","E":1,"":0,"1":2,"z":[{"a":3}],"A":null,"e":"second","eR":"long","\u00e9":4,"~":5}"#;
        let mut bytes = text.as_bytes().to_vec();
        let mut tape = Tape::default();
        let parsed = tape.parse(&mut bytes).expect("valid");
        let (root, letters) = (parsed.root(), Letters::of(parsed.root()));
        for key in ["e", "E", "z", "A", "eR", "a", "Q", "", "1", "~", "é"] {
            let (walked, found) = (root.get(key).map(print), (&letters).get(key).map(print));
            assert_eq!(walked, found, "{key:?}");
        }
        assert!((&Letters::of(root.get("z").expect("a list"))).get("a").is_none(), "a list has no fields");
    }

    #[test]
    fn what_is_no_json_is_refused_and_the_next_text_is_read() {
        let mut tape = Tape::default();
        for text in [
            "",
            " ",
            "{",
            "[1,]",
            "{\"a\":}",
            "tru",
            "{\"a\":1}}",
            "\"\u{1}\"",
            "[99999999999999999999]",
            "nul",
        ] {
            assert_eq!(tape.parse(&mut text.as_bytes().to_vec()).err(), Some(DecodeError::Json), "{text:?}");
            let mut good = b"[1,2]".to_vec();
            assert_eq!(tape.parse(&mut good).expect("valid").root().items().map(Iterator::count), Some(2));
        }
        assert_eq!(tape.parse(&mut [b'"', 0xff, b'"']).err(), Some(DecodeError::Json));
    }

    /// Nesting of the text, walked; `None` where it is refused.
    fn depth(levels: usize) -> Option<usize> {
        let mut bytes = [vec![b'['; levels], vec![b']'; levels]].concat();
        let mut tape = Tape::default();
        let parsed = tape.parse(&mut bytes).ok()?;
        Some(std::iter::successors(Some(parsed.root()), |value| value.at(0)).count())
    }

    #[test]
    fn deep_nesting_is_walked_or_refused_and_overflows_no_stack() {
        assert_eq!(depth(500), Some(500));
        assert_eq!(depth(100_000), None);
    }

    fn check_quote(text: &str, expected: &str) {
        let mut out = b"old".to_vec();
        quote_numbers(text.as_bytes(), &mut out).expect("numbers");
        assert_eq!(String::from_utf8_lossy(&out), expected, "{text:?}");
    }

    #[test]
    fn bare_numbers_get_quotes_and_nothing_else_does() {
        check_quote("", "");
        check_quote("0", r#""0""#);
        check_quote(r#"{"price":61.50,"qty":0.00100000}"#, r#"{"price":"61.50","qty":"0.00100000"}"#);
        check_quote("[1,-2.5,1e-08,1.5E+3,-0]", r#"["1","-2.5","1e-08","1.5E+3","-0"]"#);
        check_quote(r#"[ 1 , [ 2 ] , {"a": 3 } ]"#, r#"[ "1" , [ "2" ] , {"a": "3" } ]"#);
        check_quote(r#"{"1":"2","a3":"-4","t":true,"n":null}"#, r#"{"1":"2","a3":"-4","t":true,"n":null}"#);
        check_quote(r#"["a\"1","b\\",2,"\\\"3"]"#, r#"["a\"1","b\\","2","\\\"3"]"#);
        check_quote(r#"["no end 1"#, r#"["no end 1"#);
        check_quote(r#"["no end 1\"#, r#"["no end 1\"#);
        check_quote("[\"é1\",1]", "[\"é1\",\"1\"]");
        check_quote("1234567890123456789012345", r#""1234567890123456789012345""#);
    }

    #[test]
    fn quoting_never_turns_bad_json_into_good() {
        let mut out = Vec::new();
        for text in ["01", "-", "1.", "1e", "--1", "1.2.3", "{1:2}", "{1 :2}", "[1-2]"] {
            assert_eq!(quote_numbers(text.as_bytes(), &mut out), Err(DecodeError::Json), "{text:?}");
        }
        let good = br#"{"a":[1,-2.50,{"b\"":3e1,"c":"x1"}],"d":true,"e":null,"f":"\\"}"#;
        let mut random = fastrand::Rng::with_seed(11);
        let (mut quoted, mut tape, mut still_good) = (Vec::new(), Tape::default(), 0);
        for _ in 0..50_000 {
            let mut bytes = good.to_vec();
            for _ in 0..random.usize(1..4) {
                let at = random.usize(..bytes.len());
                match random.u8(..3) {
                    0 => bytes[at] = good[random.usize(..good.len())],
                    1 => drop(bytes.remove(at)),
                    _ => bytes.insert(at, good[random.usize(..good.len())]),
                }
            }
            let valid = serde_json::from_slice::<serde_json::Value>(&bytes).is_ok();
            let passed = quote_numbers(&bytes, &mut quoted).is_ok() && tape.parse(&mut quoted).is_ok();
            assert_eq!(passed, valid, "{}", String::from_utf8_lossy(&bytes));
            still_good += usize::from(valid);
        }
        assert!(still_good > 1_000, "the mutations leave some texts valid: {still_good}");
    }
}
