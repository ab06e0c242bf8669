//! What `--version` and every report say of the build: its commit and its features.
//!
//! The commit is `MELTICA_COMMIT` from the environment, or what git says of a release build; a build without either, as from
//! an archive, says nothing. Builds for development do not ask git: they would be compiled anew after each commit.

use std::env;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=MELTICA_COMMIT");
    let named = env::var("MELTICA_COMMIT").ok().filter(|commit| !commit.is_empty());
    let released = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let commit = named.or_else(|| if released { of_git() } else { None });
    if let Some(commit) = &commit {
        println!("cargo:rustc-env=MELTICA_COMMIT={commit}");
    }
    let features: Vec<&str> = [("SIMULATE", "simulate"), ("TOP", "top")]
        .into_iter()
        .filter(|(name, _)| env::var_os(format!("CARGO_FEATURE_{name}")).is_some())
        .map(|(_, feature)| feature)
        .collect();
    let commit = commit.map_or("commit unknown".to_owned(), |commit| format!("commit {commit}"));
    let features = if features.is_empty() { "none".to_owned() } else { features.join(" ") };
    println!("cargo:rustc-env=MELTICA_BUILD={commit}; features: {features}");
}

/// The commit, with a `+` if the working tree differs from it.
fn of_git() -> Option<String> {
    let git = |arguments: &[&str]| {
        let output =
            Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
        let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
        (!text.is_empty() && text.chars().all(|c| !c.is_control())).then_some(text)
    };
    for file in ["logs/HEAD", "index"] {
        if let Some(path) = git(&["rev-parse", "--path-format=absolute", "--git-path", file]) {
            println!("cargo:rerun-if-changed={path}");
        }
    }
    git(&["describe", "--always", "--exclude=*", "--abbrev=12", "--dirty=+"])
}
