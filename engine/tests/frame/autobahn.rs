//! The Autobahn test suite's cases for a client, written anew after RFC 6455: each group names its section. Every case
//! is fed whole, byte by byte, and in pieces of 997 bytes; `!` begins a broken rule with its close code.

use engine::frame::FrameReader;

use crate::{BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, TEXT, close, frame, read};

const CAPACITY_BYTES: usize = 1024;
const MESSAGE_BYTES_MAX: usize = 8 << 20;

/// One stream and what it must become: each expected item is the beginning of what is seen, so that `!1002` suffices.
#[track_caller]
fn check(case: &str, frames: &[Vec<u8>], expected: &[&str]) {
    let bytes = frames.concat();
    // Byte by byte only where it says more than pieces do: the large cases of group 9 would only take longer.
    let pieces: &[usize] = if bytes.len() > 200_000 { &[usize::MAX, 997] } else { &[usize::MAX, 1, 997] };
    for &piece_bytes in pieces {
        let mut reader = FrameReader::new(CAPACITY_BYTES, MESSAGE_BYTES_MAX);
        let seen = read(&mut reader, &bytes, || piece_bytes);
        let is_equal = seen.len() == expected.len()
            && seen.iter().zip(expected).all(|(seen, expected)| {
                if expected.starts_with('!') { seen.starts_with(expected) } else { seen == expected }
            });
        assert!(is_equal, "case {case}, pieces of {piece_bytes}: seen {seen:?}, expected {expected:?}");
    }
}

fn text(payload: impl AsRef<[u8]>) -> Vec<u8> {
    frame(FIN | TEXT, payload.as_ref())
}

/// The beginning of a text in several frames.
fn text_start(payload: impl AsRef<[u8]>) -> Vec<u8> {
    frame(TEXT, payload.as_ref())
}

fn more(payload: impl AsRef<[u8]>) -> Vec<u8> {
    frame(CONTINUATION, payload.as_ref())
}

fn last(payload: impl AsRef<[u8]>) -> Vec<u8> {
    frame(FIN | CONTINUATION, payload.as_ref())
}

fn ping(payload: impl AsRef<[u8]>) -> Vec<u8> {
    frame(FIN | PING, payload.as_ref())
}

/// RFC 6455, 5.2 and 5.6: data frames of every form of length.
#[test]
fn group_1_framing() {
    for (opcode, kind) in [(TEXT, "text"), (BINARY, "binary")] {
        check("1.1 empty", &[frame(FIN | opcode, b"")], &[&format!("{kind}()")]);
        for bytes in [125, 126, 127, 128, 65535, 65536] {
            check(
                "1.1 and 1.2",
                &[frame(FIN | opcode, &vec![b'*'; bytes])],
                &[&format!("{kind}(*x{bytes})")],
            );
        }
    }
}

/// RFC 6455, 5.5.2 and 5.5.3.
#[test]
fn group_2_pings_and_pongs() {
    check("2.1", &[ping("")], &["ping()"]);
    check("2.2", &[ping("Hello, world!")], &["ping(Hello, world!)"]);
    check("2.3", &[ping(b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff")], &[r"ping(\x00\xff\xfe\xfd\xfc\xfb\x00\xff)"]);
    check("2.4, 2.6, 2.11", &[ping([0xfe; 125])], &[r"ping(\xfex125)"]);
    check("2.5", &[ping([0xfe; 126])], &["!1002 ControlTooLong { opcode: 9 }"]);
    check("2.7", &[frame(FIN | PONG, b"")], &["pong()"]);
    check("2.8", &[frame(FIN | PONG, b"unsolicited pong payload")], &["pong(unsolicited pong payload)"]);
    check(
        "2.9",
        &[frame(FIN | PONG, b"unsolicited"), ping("ping payload")],
        &["pong(unsolicited)", "ping(ping payload)"],
    );
    let pings: Vec<Vec<u8>> = (0..10).map(|i| ping(format!("payload-{i}"))).collect();
    let expected: Vec<String> = (0..10).map(|i| format!("ping(payload-{i})")).collect();
    check("2.10", &pings, &expected.iter().map(String::as_str).collect::<Vec<_>>());
}

/// RFC 6455, 5.2: RSV1-3 must be 0 where no extension was negotiated.
#[test]
fn group_3_reserved_bits() {
    for bits in 1..8u8 {
        let name = format!("!1002 ReservedBits {{ bits: {bits} }}");
        for (case, opcode) in
            [("3.1-4", TEXT), ("3.5", BINARY), ("3.6", PING), ("3.7", CLOSE), ("-", CONTINUATION)]
        {
            let broken = frame(FIN | bits << 4 | opcode, b"*x");
            check(case, &[text("Hello"), broken, ping("")], &["text(Hello)", &name]);
        }
    }
}

/// RFC 6455, 5.2: opcodes 3-7 are reserved for data, 11-15 for control.
#[test]
fn group_4_reserved_opcodes() {
    for opcode in (3..=7).chain(11..=15) {
        let name = format!("!1002 ReservedOpcode {{ opcode: {opcode} }}");
        for first in [FIN | opcode, opcode] {
            check("4.x.1", &[frame(first, b"")], &[&name]);
            check("4.x.2-5", &[text("Hello"), frame(first, b"payload"), ping("")], &["text(Hello)", &name]);
        }
    }
}

/// RFC 6455, 5.4 and 5.5.
#[test]
fn group_5_fragmentation() {
    let whole = "text(fragment1fragment2)";
    let (start, end) = (text_start("fragment1"), last("fragment2"));
    let no_start = "!1002 ContinuationWithoutStart";
    check("5.1", &[frame(PING, b"fragment1"), end.clone()], &["!1002 ControlFragmented { opcode: 9 }"]);
    check("5.2", &[frame(PONG, b"fragment1"), end.clone()], &["!1002 ControlFragmented { opcode: 10 }"]);
    check("5, close", &[frame(CLOSE, b"")], &["!1002 ControlFragmented { opcode: 8 }"]);
    check("5.3-5", &[start.clone(), end.clone()], &[whole]);
    check("5.6-8", &[start.clone(), ping("ping payload"), end.clone()], &["ping(ping payload)", whole]);
    check("5.9, 5.11", &[more("non-continuation"), text("Hello")], &[no_start]);
    check("5.10, 5.12-14", &[last("non-continuation"), text("Hello")], &[no_start]);
    check("5.15", &[start.clone(), end.clone(), more("fragment3"), text_start("f4")], &[whole, no_start]);
    check("5.16", &[more("fragment1"), start.clone(), end.clone()], &[no_start]);
    check("5.17", &[last("fragment1"), start.clone(), end.clone()], &[no_start]);
    check("5.18", &[start.clone(), text("fragment2")], &["!1002 MessageInsideMessage"]);
    check("5, binary inside", &[start.clone(), frame(BINARY, b"fragment2")], &["!1002 MessageInsideMessage"]);
    check(
        "5.19-20",
        &[
            start,
            more("fragment2"),
            ping("1"),
            more("fragment3"),
            more("fragment4"),
            ping("2"),
            last("fragment5"),
        ],
        &["ping(1)", "ping(2)", "text(fragment1fragment2fragment3fragment4fragment5)"],
    );
    check(
        "5, binary",
        &[frame(BINARY, b"\xff"), last(b"\xfe"), text("x")],
        &[r"binary(\xff\xfe)", "text(x)"],
    );
    check("5, pong inside", &[text_start(""), frame(FIN | PONG, b"p"), last("")], &["pong(p)", "text()"]);
    check(
        "5, close inside",
        &[text_start("begun"), close(1001, b"bye"), last("never read")],
        &["close(1001,bye)"],
    );
}

/// RFC 6455, 5.6 and 8.1, RFC 3629: every class of well-formed and ill-formed sequence.
#[test]
fn group_6_utf8() {
    let valid: [&[u8]; 20] = [
        "Hello-µ@ßöäüàá-UTF-8!!".as_bytes(), // 6.2
        "κόσμε".as_bytes(),                  // 6.5
        b"\x00",                             // 6.7 first of each length
        b"\xc2\x80",
        b"\xe0\xa0\x80",
        b"\xf0\x90\x80\x80",
        b"\x7f", // 6.9 last of each length
        b"\xdf\xbf",
        b"\xef\xbf\xbf",
        b"\xf4\x8f\xbf\xbf",
        b"\xed\x9f\xbf", // 6.11 around the surrogates
        b"\xee\x80\x80",
        b"\xef\xbf\xbd",
        b"\xf0\x9f\xbf\xbf", // 6.22-23 noncharacters are characters here
        b"\xef\xbf\xbe",
        b"\xf0\x9f\xbf\xbe",
        b"\xf1\x8f\xbf\xbf",
        b"\xf4\x8f\xbf\xbe",
        b"\xef\xb7\x90",
        b"",
    ];
    let invalid: [&[u8]; 33] = [
        b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited", // 6.3
        b"\xf8\x88\x80\x80\x80",                                           // 6.8, 6.10 five and six bytes
        b"\xfc\x84\x80\x80\x80\x80",
        b"\xfb\xbf\xbf\xbf\xbf",
        b"\xfd\xbf\xbf\xbf\xbf\xbf",
        b"\xf7\xbf\xbf\xbf",
        b"\xf4\x90\x80\x80", // 6.11.5 beyond the last
        b"\x80",             // 6.12 continuations alone
        b"\xbf",
        b"\x80\xbf",
        b"\x80\xbf\x80\xbf\x80\xbf",
        b"\xc0 \xc1 \xde \xdf ", // 6.13 starts alone
        b"\xe0 \xef ",
        b"\xf0 \xf7 ",
        b"\xf8 \xfb ",
        b"\xfc \xfd ",
        b"\xc0", // 6.14 the last byte missing
        b"\xe0\x80",
        b"\xf0\x80\x80",
        b"\xdf",
        b"\xef\xbf",
        b"\xf7\xbf\xbf",
        b"\xc0\xe0\x80\xf0\x80\x80", // 6.15
        b"\xfe",                     // 6.16 impossible bytes
        b"\xff",
        b"\xfe\xfe\xff\xff",
        b"\xc0\xaf", // 6.17-19 overlong
        b"\xe0\x80\xaf",
        b"\xf0\x80\x80\xaf",
        b"\xc1\xbf",
        b"\xe0\x9f\xbf",
        b"\xed\xa0\x80", // 6.20-21 surrogates, alone and paired
        b"\xed\xa0\x80\xed\xb0\x80",
    ];
    // Alone, and where a word-wise scan of ASCII ends in every position.
    for pad in [0, 1, 7, 8, 15, 16, 31, 33, 200] {
        let around = |bytes: &[u8]| [&vec![b'*'; pad][..], bytes, &vec![b'*'; pad]].concat();
        for payload in valid {
            let payload = around(payload);
            let expected = format!("text({})", crate::abbreviate(&payload));
            check("6 valid", &[text(&payload)], &[&expected]);
            // 6.1, 6.2: fragments may cut characters, and may be empty.
            let mut frames: Vec<Vec<u8>> = payload.chunks(1).map(more).collect();
            frames.insert(0, text_start(""));
            frames.push(last(""));
            check("6 valid, in fragments of one byte", &frames, &[&expected]);
        }
        for payload in invalid {
            let payload = around(payload);
            check("6 invalid", &[text("ok"), text(&payload), ping("")], &["text(ok)", "!1007 TextNotUtf8"]);
            let (front, back) = payload.split_at(payload.len() / 2);
            check("6 invalid, fragmented", &[text_start(front), last(back)], &["!1007 TextNotUtf8"]);
            check(
                "6, binary is not text",
                &[frame(FIN | BINARY, &payload)],
                &[&format!("binary({})", crate::abbreviate(&payload))],
            );
        }
    }
}

/// 6.4: what no later fragment can mend is refused at once, what one can is not.
#[test]
fn group_6_utf8_fails_fast() {
    check("6.4.1", &[text_start("ok"), more(b"\xf4\x90\x80\x80")], &["!1007 TextNotUtf8"]);
    check("6.4.2", &[text_start("ok"), more(b"\xf4"), more(b"\x90")], &["!1007 TextNotUtf8"]);
    check("6.4, may be mended", &[text_start("ok"), more(b"\xf4"), ping("")], &["ping()"]);
    check(
        "6.4, is mended",
        &[text_start(b"\xf4"), more(b"\x8f\xbf"), last(b"\xbf")],
        &[r"text(\xf4\x8f\xbf\xbf)"],
    );
    check("6.4, is not mended", &[text_start(b"\xf4"), more(b"\x8f\xbf"), last(b"")], &["!1007 TextNotUtf8"]);
}

/// RFC 6455, 5.5.1 and 7.4; codes also after the WebSocket Close Code Number Registry.
#[test]
fn group_7_close() {
    check("7.1.1", &[text("Hello World!"), close(1000, b"")], &["text(Hello World!)", "close(1000,)"]);
    check(
        "7.1.2-6, nothing is read behind a close",
        &[close(1000, b""), close(1000, b"")],
        &["close(1000,)"],
    );
    check("7.1.3", &[close(1000, b""), ping("ignored")], &["close(1000,)"]);
    check("7.1.4", &[close(1000, b""), text("ignored"), vec![0xff; 3000]], &["close(1000,)"]);
    check("7.3.1", &[frame(FIN | CLOSE, b"")], &["close(,)"]);
    check("7.3.2", &[frame(FIN | CLOSE, b"a")], &["!1002 CloseCodeCut"]);
    check("7.3.4", &[close(1000, b"Hello World!")], &["close(1000,Hello World!)"]);
    check("7.3.5", &[close(1000, &[b'*'; 123])], &["close(1000,*x123)"]);
    check("7.3.6", &[close(1000, &[b'*'; 124])], &["!1002 ControlTooLong { opcode: 8 }"]);
    check("7.5.1", &[close(1000, b"\xce\xba\xed\xa0\x80edited")], &["!1007 CloseReasonNotUtf8"]);
    for code in (1000..=1003).chain(1007..=1014).chain([3000, 3999, 4000, 4999]) {
        check("7.7", &[close(code, b"")], &[&format!("close({code},)")]);
    }
    for code in [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535] {
        check("7.9, 7.13", &[close(code, b"why")], &[&format!("!1002 CloseCodeInvalid {{ code: {code} }}")]);
    }
}

/// RFC 6455, 10.4: implementations limit messages; and what is below the limit must come through.
#[test]
fn group_9_limits() {
    for (opcode, kind) in [(TEXT, "text"), (BINARY, "binary")] {
        for kib in [64, 256, 1024, 4096, 8192] {
            let payload = vec![b'*'; kib << 10];
            let expected = format!("{kind}(*x{})", payload.len());
            check("9.1-2", &[frame(FIN | opcode, &payload), ping("")], &[&expected, "ping()"]);
        }
        let payload = vec![b'*'; 1 << 20];
        for fragment_bytes in [64, 256, 4096, 65536, 1 << 20] {
            let mut frames: Vec<Vec<u8>> = payload.chunks(fragment_bytes).map(more).collect();
            frames[0][0] = opcode;
            frames.push(last(""));
            check("9.3-4", &frames, &[&format!("{kind}(*x{})", payload.len())]);
        }
    }
    let above = vec![b'*'; MESSAGE_BYTES_MAX + 1];
    let too_long = format!("!1009 TooLong {{ bytes: {}, bytes_max: {MESSAGE_BYTES_MAX} }}", above.len());
    check("one frame above the limit", &[ping(""), text(&above)], &["ping()", &too_long]);
    check("a sum above the limit", &[text_start("*"), last(&above[1..])], &[&too_long]);
    check(
        "a sum at the limit",
        &[text_start("*"), last(&above[2..])],
        &[&format!("text(*x{MESSAGE_BYTES_MAX})")],
    );
}

/// RFC 6455, 5.2 for lengths, 5.1 for masks: what the suite cannot send, since its server is correct.
#[test]
fn lengths_and_masks_that_a_server_must_not_write() {
    let with_length = |second: u8, length: &[u8]| [&[FIN | BINARY, second], length].concat();
    check("top bit", &[with_length(127, &[0x80, 0, 0, 0, 0, 0, 0, 1])], &["!1002 LengthTopBit"]);
    check("all ones", &[with_length(127, &[0xff; 8])], &["!1002 LengthTopBit"]);
    check("the largest length", &[with_length(127, &(i64::MAX as u64).to_be_bytes())], &["!1009 TooLong"]);
    check("4 GiB", &[with_length(127, &(4u64 << 30).to_be_bytes())], &["!1009 TooLong"]);
    for length in [0u16, 1, 125] {
        check("125 in 16 bits", &[with_length(126, &length.to_be_bytes())], &["!1002 LengthNotMinimal"]);
    }
    for length in [0u64, 125, 126, 65535] {
        check("65535 in 64 bits", &[with_length(127, &length.to_be_bytes())], &["!1002 LengthNotMinimal"]);
    }
    check(
        "masked",
        &[text("ok"), vec![FIN | TEXT, 0x81, 1, 2, 3, 4, b'x' ^ 1]],
        &["text(ok)", "!1002 Masked"],
    );
    check("masked ping", &[vec![FIN | PING, 0x80, 1, 2, 3, 4]], &["!1002 Masked"]);
}

/// Group 9.5-6 and beyond: one stream with every kind of frame, cut in two at every byte.
#[test]
fn a_cut_at_any_byte_changes_nothing() {
    let stream = [
        text("Hello"),
        frame(FIN | BINARY, &[b'*'; 126]),
        text_start("κό"),
        ping("between"),
        more("σμ"),
        frame(FIN | PONG, b""),
        last("ε"),
        text(vec![b'*'; 1500]),
        frame(FIN | BINARY, &vec![b'*'; 65536]),
        text("after"),
        close(1000, "fin".as_bytes()),
    ]
    .concat();
    let mut reader = FrameReader::new(CAPACITY_BYTES, MESSAGE_BYTES_MAX);
    let expected = read(&mut reader, &stream, || usize::MAX);
    assert_eq!(expected.len(), 9);
    for cut in 1..stream.len() {
        // Only around the headers of the long frame: its payload is alike everywhere.
        if cut > 3000 && cut < stream.len() - 200 && cut % 1009 != 0 {
            continue;
        }
        reader.reset();
        let mut pieces = [cut, usize::MAX].into_iter().chain(std::iter::repeat(usize::MAX));
        // `feed` may take less than a piece; then the rest is the next piece, which is one more cut.
        let seen = read(&mut reader, &stream, || pieces.next().unwrap_or(usize::MAX));
        assert_eq!(seen, expected, "cut at {cut}");
    }
}
