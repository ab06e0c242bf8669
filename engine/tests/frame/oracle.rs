//! Random streams of server frames, whole and mutated, through our reader and through tungstenite ([`crate::against`]).

use crate::against::{End, check};
use crate::{BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, TEXT, frame};

const STREAMS: u64 = 30_000;

const WORDS: [&str; 6] = ["{\"e\":\"trade\"}", "κόσμε", "\u{10ffff}", "plain", "ß", "€100"];

fn payload(random: &mut fastrand::Rng, is_text: bool) -> Vec<u8> {
    let bytes_max = [0, 5, 130, 300, 1000][random.usize(..5)];
    let mut payload = Vec::new();
    while payload.len() < bytes_max {
        if is_text {
            payload.extend(random.choice(WORDS).unwrap().bytes());
        } else {
            payload.push(random.u8(..));
        }
    }
    payload
}

fn control(random: &mut fastrand::Rng, opcode: u8) -> Vec<u8> {
    let mut payload = payload(random, false);
    payload.truncate(125);
    frame(FIN | opcode, &payload)
}

/// A message in 1 to 5 frames, cut anywhere, with pings and pongs between.
fn message(random: &mut fastrand::Rng) -> Vec<u8> {
    let is_text = random.bool();
    let mut rest = &payload(random, is_text)[..];
    let mut opcode = if is_text { TEXT } else { BINARY };
    let mut bytes = Vec::new();
    for _ in 0..random.usize(..2) * random.usize(..5) {
        let (front, back) = rest.split_at(random.usize(..=rest.len()));
        bytes.extend(frame(opcode, front));
        (rest, opcode) = (back, CONTINUATION);
        if random.u8(..4) == 0 {
            let opcode = if random.bool() { PING } else { PONG };
            bytes.extend(control(random, opcode));
        }
    }
    bytes.extend(frame(FIN | opcode, rest));
    bytes
}

fn stream(random: &mut fastrand::Rng) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..random.usize(1..12) {
        bytes.extend(match random.u8(..12) {
            0 => control(random, PING),
            1 => control(random, PONG),
            2 if random.bool() => {
                let code = [1000, 1001, 1012, 1014, 3000, 4999, 999, 1005, 1016, 5000][random.usize(..10)];
                let reason = *random.choice(&[&b""[..], b"bye", "κόσμε".as_bytes(), b"\xff"]).unwrap();
                crate::close(code, reason)
            }
            3 if random.u8(..4) == 0 => frame(FIN | CLOSE, &[0x03][..random.usize(..2)]),
            _ => message(random),
        });
    }
    bytes
}

/// Damages some bytes, more often in the first frames' headers, or cuts or repeats a part.
fn mutate(bytes: &mut Vec<u8>, random: &mut fastrand::Rng) {
    for _ in 0..random.usize(..3) {
        let at = random.usize(..bytes.len());
        match random.u8(..6) {
            0 => bytes[at] ^= 1 << random.u8(..8),
            1 => bytes[at] = random.u8(..),
            2 => bytes.truncate(at + 1),
            3 => drop(bytes.drain(at..(at + random.usize(1..9)).min(bytes.len() - 1).max(at))),
            4 => {
                let part = bytes[at..(at + random.usize(1..200)).min(bytes.len())].to_vec();
                bytes.splice(at..at, part);
            }
            _ => {
                let header = bytes.len().min(2);
                bytes[random.usize(..header)] ^= 1 << random.u8(..8);
            }
        }
    }
}

#[test]
fn our_reader_and_tungstenite_say_the_same() {
    let mut ended = [0u64; 3];
    for seed in 0..STREAMS {
        let seen = std::panic::catch_unwind(|| {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut bytes = stream(&mut random);
            if seed % 3 != 0 {
                mutate(&mut bytes, &mut random);
            }
            check(&bytes, &mut random)
        });
        match seen {
            Ok(End::Waiting) => ended[0] += 1,
            Ok(End::Closed) => ended[1] += 1,
            Ok(End::Failed(_)) => ended[2] += 1,
            Err(panic) => {
                eprintln!("seed {seed}");
                std::panic::resume_unwind(panic);
            }
        }
    }
    assert!(ended.iter().all(|count| *count > STREAMS / 20), "the streams end in every way: {ended:?}");
}

/// Streams of few bytes, most of them headers: what a mutated long stream rarely hits.
#[test]
fn our_reader_and_tungstenite_say_the_same_of_noise() {
    for seed in 0..STREAMS {
        let mut random = fastrand::Rng::with_seed(seed);
        let firsts =
            [FIN | TEXT, TEXT, CONTINUATION, FIN, FIN | PING, FIN | CLOSE, FIN | BINARY, PONG, 0x83, 0xc1];
        let mut bytes = Vec::new();
        for _ in 0..random.usize(1..8) {
            bytes.push(*random.choice(&firsts).unwrap());
            bytes.push(*random.choice(&[0, 1, 2, 3, 125, 126, 127, 0x80, 0x82]).unwrap());
            bytes.extend(
                (0..random.usize(..5)).map(|_| *random.choice(&[0, 3, 0xe8, b'a', 0xc2, 0x80]).unwrap()),
            );
        }
        eprintln!("seed {seed}: {bytes:02x?}"); // shown on failure only
        check(&bytes, &mut random);
    }
}
