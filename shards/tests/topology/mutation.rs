//! Files with mistakes of every kind, by seed: refused or accepted, never a panic.

use super::{BASE, read};

/// Cut, doubled, swapped and overwritten bytes of the base: an answer each time, never a panic, and never a topology with a hole.
#[test]
fn a_mutated_file_never_panics() {
    const ROUNDS: u32 = 4000;
    const SEED: u64 = 20261121;
    let mut random = fastrand::Rng::with_seed(SEED);
    const PIECES: [&str; 24] = [
        "\n",
        " ",
        "  ",
        ":",
        ": ",
        "- ",
        "[",
        "]",
        "{",
        "}",
        ",",
        "'",
        "\"",
        "&a ",
        "*a",
        "!!str ",
        "|",
        ">",
        "#",
        "---\n",
        "\t",
        "\u{0}",
        "é",
        "99999999999999999999",
    ];
    let mut accepted = 0;
    for round in 0..ROUNDS {
        let mut text: Vec<char> = BASE.chars().collect();
        for _ in 0..=random.usize(0..4) {
            let at = random.usize(0..text.len());
            let end = (at + random.usize(0..40)).min(text.len());
            match random.u8(0..4) {
                0 => drop(text.drain(at..end)),
                1 => {
                    let copy: Vec<char> = text[at..end].to_vec();
                    let to = random.usize(0..=text.len());
                    text.splice(to..to, copy);
                }
                2 => {
                    let piece = PIECES[random.usize(0..PIECES.len())].chars();
                    text.splice(at..at, piece);
                }
                _ => text.truncate(at.max(1)),
            }
            if text.is_empty() {
                text.push(' ');
            }
        }
        let text: String = text.into_iter().collect();
        let Ok(outcome) = std::panic::catch_unwind(|| read(&text)) else {
            panic!("round {round} of seed {SEED} panicked on:\n{text}");
        };
        match outcome {
            Ok(_) => accepted += 1,
            Err(message) => assert!(!message.is_empty()),
        }
    }
    assert!(accepted < ROUNDS, "mutations must be noticed");
}
