//! Where payloads lie and what memory they cost.

use engine::frame::{Frame, FrameReader, PADDING_BYTES};

use crate::{BINARY, CONTINUATION, FIN, PING, TEXT, close, frame, read};

const CAPACITY_BYTES: usize = 4096;
const MESSAGE_BYTES_MAX: usize = 1 << 20;

fn reader() -> FrameReader {
    FrameReader::new(CAPACITY_BYTES, MESSAGE_BYTES_MAX)
}

#[test]
fn whole_frames_are_borrowed_where_the_socket_wrote_them() {
    let mut reader = reader();
    let payloads: [(u8, Vec<u8>); 4] = [
        (TEXT, vec![b'a'; 200]),
        (BINARY, vec![b'b'; 300]),
        (PING, vec![b'c'; 100]),
        (TEXT, vec![b'd'; 1000]),
    ];
    let mut counted = 0;
    for _ in 0..100 {
        let stream: Vec<u8> =
            payloads.iter().flat_map(|(opcode, payload)| frame(FIN | opcode, payload)).collect();
        let space = reader.space();
        let base = space.as_ptr().addr();
        space[..stream.len()].copy_from_slice(&stream);
        reader.filled(stream.len());
        let mut offset = 0;
        for (opcode, payload) in &payloads {
            let seen = match reader.next().unwrap().unwrap() {
                Frame::Text(seen) => &*seen,
                Frame::Binary(seen) | Frame::Ping(seen) => seen,
                other => panic!("{other:?}"),
            };
            assert_eq!(seen, payload);
            offset += frame(FIN | opcode, payload).len() - payload.len();
            assert_eq!(seen.as_ptr().addr(), base + offset, "the payload lies where it was read to");
            offset += payload.len();
            counted += 1;
        }
        assert_eq!(reader.next(), Ok(None));
    }
    assert_eq!(counted, 400);
}

#[test]
fn a_text_is_written_in_place_without_touching_the_next_frame() {
    let mut reader = reader();
    reader.feed(&[frame(FIN | TEXT, b"one"), frame(FIN | TEXT, b"two")].concat());
    let Ok(Some(Frame::Text(text))) = reader.next() else { panic!("a text") };
    text.fill(0xff);
    assert_eq!(reader.next(), Ok(Some(Frame::Text(&mut b"two".to_owned()))));
}

#[test]
fn simd_json_parses_in_the_padding_of_the_last_and_of_the_first_byte_of_the_buffer() {
    let json = br#"{"e":"tr\u0061de","p":"64210.10"}"#;
    let mut reader = reader();
    // Fill the buffer to the last byte, so that the last text's padding is behind the capacity.
    let frame_bytes = frame(FIN | TEXT, json).len();
    let filler = frame(FIN | BINARY, &vec![0x7b; CAPACITY_BYTES - 2 * frame_bytes - 4]);
    let stream = [frame(FIN | TEXT, json), filler, frame(FIN | TEXT, json)].concat();
    assert_eq!(reader.feed(&stream), CAPACITY_BYTES);
    let fragmented = [frame(TEXT, &json[..9]), frame(FIN | CONTINUATION, &json[9..])].concat();

    let mut buffers = simd_json::Buffers::default();
    let mut parsed = 0;
    for _ in 0..2 {
        while let Some(frame) = reader.next().unwrap() {
            if !matches!(frame, Frame::Text(_)) {
                assert_eq!(reader.text_padded(), None);
                continue;
            }
            let (padded, bytes) = reader.text_padded().unwrap();
            assert_eq!(&padded[..bytes], json);
            assert!(padded.len() >= bytes + PADDING_BYTES);
            let padding = padded[bytes..].to_vec();
            let mut tape = simd_json::Tape::null();
            simd_json::fill_tape_padded(padded, bytes, &mut buffers, &mut tape).unwrap();
            assert_eq!(format!("{:?}", &tape.0[2]), r#"String("trade")"#);
            drop(tape);
            assert_eq!(&reader.text_padded().unwrap().0[bytes..], padding);
            parsed += 1;
        }
        reader.feed(&fragmented);
    }
    assert_eq!(parsed, 3);
    assert_eq!(reader.text_padded(), None, "nothing was returned last");
    reader.feed(&frame(FIN | TEXT, json));
    assert!(matches!(reader.next(), Ok(Some(Frame::Text(_)))));
    reader.space();
    assert_eq!(reader.text_padded(), None, "the bytes may have moved");
}

#[test]
fn memory_grows_with_bytes_that_came_and_not_with_announced_ones() {
    let mut reader = reader();
    let at_start = reader.memory_bytes();
    reader.feed(&[&[FIN | BINARY, 127][..], &(4u64 << 30).to_be_bytes()].concat());
    assert!(reader.next().is_err());
    assert_eq!(reader.memory_bytes(), at_start, "above the limit nothing is taken");

    reader.reset();
    reader.feed(&[&[FIN | BINARY, 127][..], &(MESSAGE_BYTES_MAX as u64).to_be_bytes()].concat());
    assert_eq!(reader.next(), Ok(None));
    assert!(!reader.space().is_empty());
    assert_eq!(reader.memory_bytes(), at_start, "nor for what has not come");

    let (mut missing, mut begins_at) = (MESSAGE_BYTES_MAX, None);
    while missing > 0 {
        assert_eq!(reader.next(), Ok(None));
        let before = reader.memory_bytes();
        let space = reader.space();
        let (bytes, ends_at) = (space.len().min(missing), space.as_ptr_range().end.addr());
        assert!(bytes > 0);
        let after = reader.memory_bytes();
        assert!(after - before <= 256 << 10, "{} bytes at once", after - before);
        if after > at_start {
            // What has come is not moved again.
            assert_eq!(*begins_at.get_or_insert(ends_at - after), ends_at - after, "at {after} bytes");
        }
        reader.filled(bytes);
        missing -= bytes;
    }
    assert!(matches!(reader.next(), Ok(Some(Frame::Binary(payload))) if payload.len() == MESSAGE_BYTES_MAX));
    assert_eq!(reader.memory_bytes(), 10 + MESSAGE_BYTES_MAX + PADDING_BYTES, "and no more than the limit");

    reader.reset();
    assert_eq!(reader.memory_bytes(), at_start, "a reset gives the growth back");
}

#[test]
fn after_the_first_round_a_mix_of_frames_takes_no_memory() {
    let mut reader = reader();
    let large = vec![b'*'; 3 * CAPACITY_BYTES];
    let round = [
        frame(FIN | TEXT, b"small"),
        frame(TEXT, &large),
        frame(FIN | PING, b""),
        frame(FIN | CONTINUATION, &large),
        frame(FIN | BINARY, &large),
    ]
    .concat();
    let mut after_first = None;
    for _ in 0..50 {
        assert_eq!(read(&mut reader, &round, || 1000).len(), 4);
        assert_eq!(*after_first.get_or_insert(reader.memory_bytes()), reader.memory_bytes());
    }
}

#[test]
fn a_reader_that_is_not_drained_neither_grows_nor_loses_frames() {
    let mut reader = reader();
    let at_start = reader.memory_bytes();
    let stream: Vec<u8> = (0..2000).flat_map(|i| frame(FIN | TEXT, format!("{i:0100}").as_bytes())).collect();
    let (mut unread, mut seen) = (&stream[..], 0);
    while seen < 2000 {
        unread = &unread[reader.feed(unread)..];
        let Ok(Some(Frame::Text(text))) = reader.next() else { panic!("frame {seen}") };
        assert_eq!(text, format!("{seen:0100}").as_bytes());
        seen += 1;
    }
    assert_eq!(reader.next(), Ok(None));
    assert_eq!(reader.unread_bytes(), 0);
    assert_eq!(reader.memory_bytes(), at_start);
}

#[test]
fn a_closed_reader_takes_bytes_and_keeps_none_until_it_is_reset() {
    let mut reader = reader();
    reader.feed(&close(1001, b"going away"));
    assert!(matches!(reader.next(), Ok(Some(Frame::Close { .. }))));
    for _ in 0..10 {
        assert_eq!(reader.feed(&[0xff; CAPACITY_BYTES]), CAPACITY_BYTES);
        assert_eq!(reader.next(), Ok(None));
        assert_eq!(reader.unread_bytes(), 0);
    }
    reader.reset();
    reader.feed(&frame(FIN | PING, b"again"));
    assert_eq!(reader.next(), Ok(Some(Frame::Ping(b"again"))));
}

#[test]
fn a_reset_forgets_a_message_half_come() {
    let mut reader = reader();
    reader.feed(&[frame(TEXT, b"begun"), vec![FIN | TEXT]].concat());
    assert_eq!(reader.next(), Ok(None));
    reader.reset();
    reader.feed(&frame(FIN | TEXT, b"new"));
    assert_eq!(reader.next(), Ok(Some(Frame::Text(&mut b"new".to_owned()))));
}

#[test]
fn a_text_too_long_is_passed_over_in_any_pieces_and_what_follows_is_read() {
    let long = vec![b'x'; MESSAGE_BYTES_MAX + 1];
    let stream = [frame(FIN | TEXT, b"one"), frame(FIN | TEXT, &long), frame(FIN | TEXT, b"two")].concat();
    for piece in [1, 7, 100, CAPACITY_BYTES] {
        let mut reader = FrameReader::new(CAPACITY_BYTES, MESSAGE_BYTES_MAX).passing_over(1 << 21);
        let at_start = reader.memory_bytes();
        let mut seen = read(&mut reader, &stream, || piece);
        assert_eq!(seen.len(), 3, "{seen:?}");
        let passed_over = seen.remove(1);
        assert!(passed_over.starts_with(&format!("oversized({},x", long.len())), "{passed_over}");
        assert_eq!(seen, ["text(one)", "text(two)"]);
        assert_eq!(reader.memory_bytes(), at_start, "nothing of it was kept but its head");
    }
}

#[test]
fn a_text_longer_than_is_passed_over_is_an_error() {
    let mut reader = FrameReader::new(CAPACITY_BYTES, MESSAGE_BYTES_MAX).passing_over(1 << 21);
    reader.feed(&[&[FIN | TEXT, 127][..], &((1_u64 << 21) + 1).to_be_bytes()].concat());
    assert!(reader.next().is_err());
    let mut reader = FrameReader::new(CAPACITY_BYTES, MESSAGE_BYTES_MAX).passing_over(1 << 21);
    reader.feed(&[&[FIN | BINARY, 127][..], &((1_u64 << 20) + 1).to_be_bytes()].concat());
    assert!(reader.next().is_err(), "no venue sends binary frames");
}
