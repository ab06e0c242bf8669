//! Recorded frames as input, where the recordings are: the folder of `MELTICA_CAPTURES`, else `../shared/captures` beside
//! the workspace.

use std::path::PathBuf;

use shards::replay::{Origin, Session};

/// The folder of the recordings, if it is there.
pub fn folder() -> Option<PathBuf> {
    let folder = match std::env::var_os("MELTICA_CAPTURES") {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/captures")),
    };
    folder.is_dir().then_some(folder)
}

/// A recorded message: the path of its GET, or `None` for a WebSocket text.
pub type Recorded = (Option<String>, Vec<u8>);

/// All messages of a recording, in memory; `None`, and a line that says so, where it is not there.
pub fn load(name: &str) -> Option<Vec<Recorded>> {
    let path = folder().map(|folder| folder.join(name)).filter(|path| path.is_file());
    let Some(path) = path else {
        eprintln!("SKIPPED: no recording {name}; set MELTICA_CAPTURES");
        return None;
    };
    let mut session = Session::open(&[path]).expect("a recording that is there can be opened");
    let mut messages = Vec::new();
    while let Some(line) = session.next_line().expect("a recording holds capture lines") {
        let path = match line.origin {
            Origin::WebSocket => None,
            Origin::Rest(path) => Some(path.to_owned()),
        };
        messages.push((path, line.payload.to_vec()));
    }
    Some(messages)
}

/// The WebSocket texts of a recording that contain `part`, at most `count_max`.
pub fn texts(name: &str, part: &str, count_max: usize) -> Option<Vec<Vec<u8>>> {
    let found: Vec<Vec<u8>> = load(name)?
        .into_iter()
        .filter(|(path, text)| {
            path.is_none() && text.windows(part.len()).any(|window| window == part.as_bytes())
        })
        .map(|(_, text)| text)
        .take(count_max)
        .collect();
    (!found.is_empty()).then_some(found)
}
