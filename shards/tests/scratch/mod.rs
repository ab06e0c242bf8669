//! A directory for what a test writes.

use std::fs;
use std::path::PathBuf;

/// A directory of one test alone, removed at its end.
pub struct Scratch(pub PathBuf);

impl Scratch {
    /// `name` is the test's, among those of its file.
    pub fn new(name: &str) -> Self {
        let of_test = format!("meltica-{}-{name}-{}", env!("CARGO_CRATE_NAME"), std::process::id());
        let path = std::env::temp_dir().join(of_test);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("the temporary directory can be written");
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
