//! Streams: cut anywhere, interrupted by rubbish, and bounded.

use attache_sip::framing::{Frame, FrameError, FrameFault, StreamDecoder, is_keep_alive};
use attache_sip::message::{Limits, Message};

fn request(call_id: &str, body: &str) -> String {
    format!("MESSAGE sip:a@b SIP/2.0\r\nCall-ID: {call_id}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn drain(decoder: &mut StreamDecoder) -> Vec<Result<Frame, FrameError>> {
    std::iter::from_fn(|| decoder.next()).collect()
}

/// Call-IDs of the messages, `!` and the fault of what was skipped, `~` and the pings of keep-alives.
fn script(stream: &[u8], piece: usize, limits: Limits) -> Vec<String> {
    let mut decoder = StreamDecoder::new(limits);
    let mut out = Vec::new();
    for piece in stream.chunks(piece) {
        decoder.push(piece);
        for frame in drain(&mut decoder) {
            out.push(match frame {
                Ok(Frame::Message(bytes)) => {
                    Message::parse_with(bytes, &limits).unwrap().call_id().unwrap_or("?").to_owned()
                }
                Ok(Frame::KeepAlive { pings, .. }) => format!("~{pings}"),
                Err(error) => format!("!{:?}", error.fault),
            });
        }
    }
    out
}

fn at_once(stream: &str) -> Vec<String> {
    script(stream.as_bytes(), stream.len(), Limits::DEFAULT)
}

#[test]
fn messages_are_cut_by_content_length_however_they_arrive() {
    let stream = request("1", "one") + &request("2", "") + &request("3", "a\r\n\r\nb");
    for piece in 1..stream.len() {
        assert_eq!(script(stream.as_bytes(), piece, Limits::DEFAULT), ["1", "2", "3"], "{piece}");
    }
}

#[test]
fn a_compact_or_folded_content_length_counts() {
    for name in ["l: 2", "L :2", "Content-Length:\r\n 2", "content-length: \r\n\t2 "] {
        let stream = format!("MESSAGE sip:a@b SIP/2.0\r\nCall-ID: 1\r\n{name}\r\n\r\nhi") + &request("2", "");
        assert_eq!(at_once(&stream), ["1", "2"], "{name}");
    }
}

#[test]
fn bare_line_feeds_end_lines_too() {
    assert_eq!(
        at_once("OPTIONS sip:a@b SIP/2.0\nCall-ID: 1\n\nOPTIONS sip:a@b SIP/2.0\nCall-ID: 2\n\n"),
        ["1", "2"]
    );
}

#[test]
fn line_ends_between_messages_are_counted_as_pings() {
    let stream = format!("\r\n\r\n{}\r\n{}\r\n\r\n\r\n\r\n", request("1", ""), request("2", ""));
    assert_eq!(at_once(&stream), ["~1", "1", "~0", "2", "~2"]);
}

#[test]
fn a_ping_in_two_pieces_is_one_ping() {
    let pings: usize = [1, 2, 3]
        .into_iter()
        .map(|piece| {
            script(b"\r\n\r\n\r\n\r\n", piece, Limits::DEFAULT)
                .iter()
                .map(|s| s[1..].parse::<usize>().unwrap())
                .sum::<usize>()
        })
        .sum();
    assert_eq!(pings, 6);
}

#[test]
fn a_message_that_is_too_large_is_skipped_without_being_kept() {
    let limits = Limits { message: 200, ..Limits::DEFAULT };
    let stream = request("1", &"x".repeat(5_000)) + &request("2", "");
    let mut decoder = StreamDecoder::new(limits);
    let mut frames = Vec::new();
    for piece in stream.as_bytes().chunks(50) {
        decoder.push(piece);
        frames.extend(drain(&mut decoder));
        assert!(decoder.buffered() <= 250, "{}", decoder.buffered());
    }
    let error = frames[0].clone().unwrap_err();
    assert_eq!((error.fault, error.fault.status()), (FrameFault::TooLarge, 513));
    // Its headers are there to be answered.
    let salvage = Message::parse(error.head).unwrap_err();
    assert_eq!(salvage.salvage().unwrap().call_id(), Some("1"));
    assert!(matches!(&frames[1], Ok(Frame::Message(_))));
    assert_eq!(frames.len(), 2);
}

#[test]
fn an_announced_giant_is_never_allocated() {
    let mut decoder = StreamDecoder::default();
    decoder.push(b"MESSAGE sip:a@b SIP/2.0\r\nContent-Length: 18446744073709551615\r\n\r\n");
    assert_eq!(drain(&mut decoder)[0].clone().unwrap_err().fault, FrameFault::TooLarge);
    decoder.push(&[b'x'; 4_096]);
    assert_eq!(drain(&mut decoder), []);
    assert_eq!(decoder.buffered(), 0);
}

#[test]
fn headers_without_end_are_given_up_at_the_limit() {
    let limits = Limits { message: 1_000, ..Limits::DEFAULT };
    let mut decoder = StreamDecoder::new(limits);
    decoder.push(b"MESSAGE sip:a@b SIP/2.0\r\n");
    let mut faults = 0;
    for _ in 0..100 {
        decoder.push(b"X-Long: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n");
        faults += drain(&mut decoder).len();
        assert!(decoder.buffered() <= 1_100);
    }
    assert_eq!(faults, 1);
    decoder.push(format!("\r\n{}", request("2", "")).as_bytes());
    assert!(matches!(drain(&mut decoder)[..], [Ok(Frame::Message(_))]));
}

#[test]
fn one_bad_message_is_skipped_and_the_stream_lives_on() {
    for (bad, expected) in [
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", "!NotSip"),
        ("MESSAGE sip:a@b SIP/2.0\r\nContent-Length: -5\r\n\r\nhello\r\n", "!ContentLength"),
        ("MESSAGE sip:a@b SIP/2.0\r\nContent-Length: 1\r\nl: 2\r\n\r\nhello\r\n", "!ContentLength"),
        ("MESSAGE sip:a@b SIP/2.0\r\nContent-Type: text/plain\r\n\r\nhello\r\n", "!NoContentLength"),
        ("\x16\x03\x01 rubbish\n\n", "!NotSip"),
    ] {
        let stream = request("1", "") + bad + &request("2", "x");
        for piece in [1, 5, stream.len()] {
            assert_eq!(
                script(stream.as_bytes(), piece, Limits::DEFAULT),
                ["1", expected, "2"],
                "{bad:?} {piece}"
            );
        }
    }
}

#[test]
fn datagrams_of_line_ends_are_keep_alives() {
    assert!(is_keep_alive(b"") && is_keep_alive(b"\r\n\r\n") && is_keep_alive(b"\0\0\0\0"));
    assert!(!is_keep_alive(b"\r\nOPTIONS"));
}
