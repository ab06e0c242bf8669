//! Runs a target without coverage: its seeds as they are, then seeded mutations of them, a bounded number or a bounded time.
//!
//! | variable | is |
//! |---|---|
//! | `MELTICA_FUZZ_SECONDS` | mutate for so long instead of so often |
//! | `MELTICA_FUZZ_SEED` | seed of the mutations, 1 if absent |
//! | `MELTICA_FUZZ_CORPUS` | a directory: the seeds are written into `<directory>/<target>/`, and nothing runs |
//! | `MELTICA_FUZZ_INPUT` | a file: this input runs alone, in every target of the test that is called |

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

/// One thing to fuzz.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name in commands.
    pub name: &'static str,
    /// Runs one input; panics on a finding. Says whether the input was taken for what it pretends to be.
    pub run: fn(&[u8]) -> bool,
    /// Inputs to begin with, written by us.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Mutations where no time is given: some seconds in a test build.
    pub runs: u64,
}

/// Inputs that were taken, beside the seeds, that mutations begin from.
const DRIFTED_MAX: usize = 256;

/// Runs `target`, and asserts that it saw inputs that were taken and inputs that were refused.
pub fn drive(target: &Target) {
    let seeds = (target.seeds)();
    assert!(!seeds.is_empty(), "{} has seeds", target.name);
    if let Some(directory) = std::env::var_os("MELTICA_FUZZ_CORPUS") {
        write_corpus(&Path::new(&directory).join(target.name), &seeds);
        return;
    }
    if let Some(file) = std::env::var_os("MELTICA_FUZZ_INPUT") {
        let input = std::fs::read(&file).expect("MELTICA_FUZZ_INPUT is a file");
        println!("{}: taken: {}", target.name, (target.run)(&input));
        return;
    }
    let number =
        |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a whole number"));
    let seed = number("MELTICA_FUZZ_SEED").unwrap_or(1);
    let until = number("MELTICA_FUZZ_SECONDS").map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut runs, mut taken) = (0_u64, 0_u64);
    for input in &seeds {
        taken += u64::from(guarded(target, input));
    }
    assert!(taken > 0, "{}: no seed was taken", target.name);
    let mut corpus = seeds;
    let drifted_from = corpus.len();
    while until.map_or(runs < target.runs, |until| Instant::now() < until) {
        let mut input = corpus[random.usize(..corpus.len())].clone();
        for _ in 0..=random.usize(..4) {
            mutate(&mut input, &corpus, &mut random);
        }
        runs += 1;
        if guarded(target, &input) {
            taken += 1;
            // What is still taken drifts on, so that several changes can meet.
            if corpus.len() < drifted_from + DRIFTED_MAX {
                corpus.push(input);
            } else {
                let at = random.usize(drifted_from..corpus.len());
                corpus[at] = input;
            }
        }
    }
    println!("fuzz {}: {runs} mutated inputs, {taken} taken, seed {seed}", target.name);
    assert!(taken < runs, "{}: something was refused", target.name);
}

/// Runs one input, and shows it if it is a finding.
fn guarded(target: &Target, input: &[u8]) -> bool {
    catch_unwind(AssertUnwindSafe(|| (target.run)(input))).unwrap_or_else(|panic| {
        eprintln!("FINDING in {}: b\"{}\"", target.name, input.escape_ascii());
        resume_unwind(panic)
    })
}

fn write_corpus(directory: &Path, seeds: &[Vec<u8>]) {
    std::fs::create_dir_all(directory).expect("the corpus' directory");
    for (index, seed) in seeds.iter().enumerate() {
        std::fs::write(directory.join(format!("seed-{index:03}")), seed).expect("the corpus' directory");
    }
}

/// Bytes that mean something to what we read.
const TOKENS: [&[u8]; 36] = [
    b"\"",
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"0",
    b"-",
    b".",
    b"e",
    b"E+9",
    b"1e-8",
    b"null",
    b"true",
    b" ",
    b"\n",
    b"\r\n",
    b"\r\n\r\n",
    b"\x00",
    b"\x7f",
    b"\x80",
    b"\xff",
    b"\xc3\xa9",
    b"\xf0\x9f\x98\x80",
    b"\\u0041",
    b"9223372036854775807",
    b"18446744073709551616",
    b"0.000000000000000001",
    b"99999999999999999999999",
    b"\xff\xff\xff\xff",
    b"\x00\x00\x00\x00",
    b"- ",
    b"&a ",
    b"''",
];

/// One change: bytes flipped, set, cut, doubled, moved, or replaced by a token or by a piece of another input.
fn mutate(input: &mut Vec<u8>, corpus: &[Vec<u8>], random: &mut fastrand::Rng) {
    let at = random.usize(..=input.len());
    let end = (at + random.usize(..40)).min(input.len());
    match random.u8(..10) {
        0 if at < input.len() => input[at] ^= 1 << random.u8(..8),
        1 if at < input.len() => input[at] = random.u8(..),
        2 => input.truncate(at),
        3 => drop(input.drain(at..end)),
        4 => {
            let piece = input[at..end].to_vec();
            let to = random.usize(..=input.len());
            input.splice(to..to, piece);
        }
        5 => {
            let token = TOKENS[random.usize(..TOKENS.len())];
            input.splice(at..at, token.iter().copied());
        }
        6 => {
            let token = TOKENS[random.usize(..TOKENS.len())];
            input.splice(at..(at + token.len()).min(input.len()), token.iter().copied());
        }
        7 => {
            let other = &corpus[random.usize(..corpus.len())];
            let from = random.usize(..=other.len());
            let piece = other[from..(from + random.usize(..60)).min(other.len())].to_vec();
            input.splice(at..end, piece);
        }
        _ => {
            // A digit by another: shapes stay, values change.
            let digits: Vec<usize> = (0..input.len()).filter(|&at| input[at].is_ascii_digit()).collect();
            if let Some(at) = random.choice(digits) {
                input[at] = b'0' + random.u8(..10);
            }
        }
    }
}
