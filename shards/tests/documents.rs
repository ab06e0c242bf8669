//! README and `docs/` cannot rot unseen: every `meltica` command in a fenced block is one that the command line takes, every YAML
//! block of a whole topology passes the check, every relative link leads to a file, every path in backticks exists, and the table of
//! refusals is the code's.
//!
//! Marks of a block: ```` ```sh ```` and ```` ```console ```` (lines with `$ ` are commands, the rest is output), ```` ```yaml ````
//! (a whole topology if it has `version:`, else a part that must be YAML).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::CommandFactory;
use engine::orders::Rule;
use shards::command::Cli;
use shards::topology::{Against, CONSUMER_KINDS, read};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the workspace")
}

/// README and every page of `docs/`, with their text.
fn pages() -> Vec<(PathBuf, String)> {
    let root = root();
    let docs = fs::read_dir(root.join("docs")).expect("docs").flatten().map(|entry| entry.path());
    let mut paths: Vec<PathBuf> = docs
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .chain([root.join("README.md")])
        .collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), fs::read_to_string(path).expect("a page"))).collect()
}

/// A fenced block: its mark, its first line from 1, its text.
struct Block {
    mark: String,
    line: usize,
    text: String,
}

fn blocks(text: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut open = false;
    for (index, line) in text.lines().enumerate() {
        if let Some(mark) = line.trim_start().strip_prefix("```") {
            open = !open;
            if open {
                blocks.push(Block { mark: mark.trim().to_owned(), line: index + 2, text: String::new() });
            }
        } else if open {
            let block = blocks.last_mut().expect("it was opened");
            block.text.push_str(line);
            block.text.push('\n');
        }
    }
    assert!(!open, "a block without an end");
    blocks
}

/// The commands of a block; a line that ends in a backslash goes on.
fn commands(block: &Block) -> Vec<String> {
    let joined = block.text.replace("\\\n", " ");
    let lines = joined.lines().map(str::trim);
    match block.mark.as_str() {
        "sh" => lines.map(str::to_owned).collect(),
        "console" => lines.filter_map(|line| line.strip_prefix("$ ")).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

/// The words of a command without its comment, variables, redirection and whatever reads its output.
fn words(command: &str) -> Vec<String> {
    let command = command.split(" #").next().unwrap_or_default();
    let command = command.split([';', '|', '>', '&']).next().unwrap_or_default();
    let words = command.split_whitespace().map(|word| word.trim_matches(['\'', '"']).to_owned());
    words.skip_while(|word| word == "sudo" || word.contains('=')).collect()
}

/// The arguments of `meltica`, also when cargo builds it first.
fn arguments_of(words: &[String]) -> Option<Vec<String>> {
    let cargo = ["cargo", "run", "--release", "--"];
    let meltica = match words.first().map(String::as_str) {
        Some("meltica") => &words[1..],
        Some("cargo") if words.len() > 4 && words[..4].iter().map(String::as_str).eq(cargo) => &words[4..],
        _ => return None,
    };
    Some(["meltica".to_owned()].into_iter().chain(meltica.iter().cloned()).collect())
}

#[test]
fn every_command_is_one_that_the_command_line_takes() {
    let mut count = 0;
    for (page, text) in pages() {
        for block in blocks(&text) {
            for command in commands(&block) {
                let Some(arguments) = arguments_of(&words(&command)) else { continue };
                count += 1;
                let parsed = Cli::command().try_get_matches_from(&arguments);
                if let Err(error) = parsed {
                    use clap::error::ErrorKind::{DisplayHelp, DisplayVersion};
                    let fine = matches!(error.kind(), DisplayHelp | DisplayVersion);
                    assert!(fine, "{}:{}: {command}: {error}", page.display(), block.line);
                }
            }
        }
    }
    assert!(count >= 35, "{count} commands found: has the form of the blocks changed?");
}

/// The commands that only look at something are also run, in a directory with the shipped topology.
#[cfg(feature = "simulate")]
#[test]
fn every_command_that_only_looks_runs() {
    let scratch = std::env::temp_dir().join(format!("meltica-documents-{}", std::process::id()));
    let _ = fs::remove_dir_all(&scratch);
    fs::create_dir_all(&scratch).expect("the temporary directory can be written");
    fs::copy(root().join("topology.yaml"), scratch.join("topology.yaml")).expect("the shipped topology");
    let mut count = 0;
    for (page, text) in pages() {
        for block in blocks(&text) {
            for command in commands(&block) {
                let Some(arguments) = arguments_of(&words(&command)) else { continue };
                let looks = match (arguments.get(1).map(String::as_str), arguments.get(2).map(String::as_str))
                {
                    (Some("--version" | "--help" | "completions"), _)
                    | (Some("man"), None)
                    | (Some("topology"), Some("plan")) => true,
                    (Some("topology"), Some("explain" | "check")) => arguments.len() == 3,
                    (Some("doctor"), rest) => rest.is_none_or(|argument| argument.starts_with("--")),
                    _ => false,
                };
                if !looks {
                    continue;
                }
                count += 1;
                let output = Command::new(env!("CARGO_BIN_EXE_meltica"))
                    .args(&arguments[1..])
                    .current_dir(&scratch)
                    .output()
                    .expect("the binary runs");
                // 2: a check of this host that finds something. The command itself was understood.
                let code = output.status.code();
                assert!(
                    matches!(code, Some(0..=2)) && !(output.stdout.is_empty() && output.stderr.is_empty()),
                    "{}:{}: {command}: {code:?}: {}",
                    page.display(),
                    block.line,
                    String::from_utf8_lossy(&output.stderr)
                );
            }
        }
    }
    fs::remove_dir_all(&scratch).expect("it can be removed");
    assert!(count >= 5, "{count} commands run");
}

#[test]
fn every_topology_passes_the_check() {
    let mut count = 0;
    for (page, text) in pages() {
        for block in blocks(&text).iter().filter(|block| block.mark == "yaml") {
            let against = Against { cores: None, consumer_kinds: &CONSUMER_KINDS, simulated_lists: None };
            let at = format!("{}:{}", page.display(), block.line);
            let whole = block.text.lines().any(|line| line.starts_with("version:"));
            let Err(errors) = read(&at, &block.text, against) else {
                count += 1;
                continue;
            };
            // A part is read too: its keys must be known, its values must fit. What is missing around it is not its fault.
            let own = errors.problems.iter().filter(|problem| {
                whole || !(problem.found == "nothing" || problem.fits.starts_with("no such"))
            });
            let own: Vec<String> = own.map(|problem| format!("line {}: {problem}", problem.line)).collect();
            assert!(own.is_empty(), "{at}: {}", own.join("\n"));
            count += 1;
        }
    }
    assert!(count >= 4, "{count} topologies found");
}

#[test]
fn every_link_and_every_path_leads_somewhere() {
    let root = root();
    for (page, text) in pages() {
        let directory = page.parent().expect("a page has a directory");
        let mut fenced = false;
        for (index, line) in text.lines().enumerate() {
            if line.trim_start().starts_with("```") {
                fenced = !fenced;
            }
            if fenced {
                continue;
            }
            for target in line.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
                let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
                if path.starts_with("http") || (path.is_empty() && anchor.is_empty()) {
                    continue;
                }
                let to = if path.is_empty() { page.clone() } else { directory.join(path) };
                assert!(to.exists(), "{}:{}: {target} leads nowhere", page.display(), index + 1);
                if !anchor.is_empty() {
                    let headings = fs::read_to_string(&to).expect("a page");
                    let found = headings.lines().any(|heading| anchor_of(heading).as_deref() == Some(anchor));
                    assert!(found, "{}:{}: {target} has no such heading", page.display(), index + 1);
                }
            }
            for word in line.split('`').skip(1).step_by(2) {
                let ours = ["engine/", "shards/", "scripts/", "soak/", "bench/", "docs/"];
                let plain = word.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-".contains(&b));
                if plain && ours.iter().any(|start| word.starts_with(start)) {
                    let path = word.trim_end_matches('/');
                    // `soak/tests` and `engine/tests/allocations.rs` alike.
                    assert!(
                        root.join(path).exists(),
                        "{}:{}: {word} does not exist",
                        page.display(),
                        index + 1
                    );
                }
            }
        }
    }
}

/// `## A line, and two` as `a-line-and-two`, as the usual renderers have it.
fn anchor_of(line: &str) -> Option<String> {
    let heading = line.strip_prefix('#')?.trim_start_matches('#').trim();
    let letters = heading.to_lowercase();
    let kept = letters.chars().filter(|c| c.is_alphanumeric() || *c == ' ' || *c == '-' || *c == '_');
    Some(kept.map(|c| if c == ' ' { '-' } else { c }).collect())
}

#[test]
fn every_reason_of_a_refusal_is_in_the_table_of_orders() {
    let page = fs::read_to_string(root().join("docs/orders.md")).expect("the page");
    let head =
        page.lines().position(|line| line.starts_with("| reason | refused because |")).expect("its table");
    let rows: Vec<&str> = page.lines().skip(head + 2).take_while(|line| line.starts_with('|')).collect();
    let expected: Vec<String> = Rule::ALL
        .iter()
        .map(|rule| format!("| `{}` | {} | {} |", rule.name(), rule.why(), rule.remedy()))
        .collect();
    assert_eq!(rows.join("\n"), expected.join("\n"), "docs/orders.md and engine/src/orders/check.rs differ");
}

#[test]
fn every_page_is_in_the_index() {
    let index = fs::read_to_string(root().join("docs/README.md")).expect("the index");
    for (page, _) in pages() {
        let name = page.file_name().expect("a page has a name").to_string_lossy().into_owned();
        if page.parent() == Some(&root().join("docs")) && name != "README.md" {
            assert!(index.contains(&format!("]({name})")), "docs/README.md does not name {name}");
        }
    }
}
