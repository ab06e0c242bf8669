//! Servers that break the WebSocket protocol on purpose, or keep to it and flood: the line pays, its books are proved again, and
//! the neighbour on the same shard notices nothing. Slow and endless answers are in [`crate::answers`].

use simvenues::{Fault, Target};

use crate::faults::one_is_disturbed;
use crate::rig::{Rig, plain, venue};

/// A frame that no server may send costs its line, by name.
fn is_refused(bytes: &[u8]) {
    one_is_disturbed(Fault::Bytes { target: Target::All, bytes: bytes.to_vec(), count: 1 }, "protocol error");
}

#[test]
fn reserved_bits_are_refused_since_no_extension_was_offered() {
    is_refused(b"\xc1\x01x");
}

#[test]
fn a_text_that_is_not_utf_8_is_refused() {
    is_refused(b"\x81\x02\xc3\x28");
}

#[test]
fn a_masked_frame_and_a_reserved_opcode_are_refused() {
    is_refused(b"\x81\x81\x01\x02\x03\x04\x05");
    is_refused(b"\x83\x00");
}

#[test]
fn a_frame_of_four_gibibytes_is_refused_by_its_header() {
    is_refused(b"\x82\x7f\x00\x00\x00\x01\x00\x00\x00\x00");
}

/// Legal frames in any number: the neighbour's messages go on meanwhile, and afterwards all books are proved.
fn is_survived(frame: &[u8], count: u32) {
    let (server, neighbour) = (venue(1, 50.0), venue(2, 50.0));
    let mut rig = Rig::observed(&[plain("one", &server), plain("two", &neighbour)]);
    rig.wait_proved();
    let messages = |rig: &Rig, provider: u8| {
        let mut statuses = rig.board.providers();
        statuses.find(|status| status.provider == provider).map_or(0, |status| status.counts.messages_total)
    };
    let before = [0, 1].map(|provider| messages(&rig, provider));
    server.faults().inject(Fault::Bytes { target: Target::All, bytes: frame.to_vec(), count });
    rig.wait("the neighbour's messages", |rig| messages(rig, 1) > before[1] + 100);
    rig.wait("its own messages", |rig| messages(rig, 0) > before[0] + 100);
    rig.wait_proved();
    let told: Vec<_> = rig.happened.iter().filter(|(name, _)| name == "two").cloned().collect();
    assert_eq!(told.len(), 2, "the neighbour connected and proved its books, nothing else: {told:?}");
    let ended = rig.finish();
    let two = &ended.providers[1];
    assert_eq!((two.lost_total, two.counts.gaps_total, two.counts.resyncs_total), (0, 0, 0));
}

#[test]
fn a_flood_of_pings_starves_nobody() {
    is_survived(b"\x89\x00", 50_000);
}

#[test]
fn thousands_of_tiny_frames_starve_nobody() {
    // Not JSON, an empty object, and a message in fragments of nothing.
    is_survived(b"\x81\x01{\x81\x02{}\x01\x00\x00\x00\x80\x00", 10_000);
}
