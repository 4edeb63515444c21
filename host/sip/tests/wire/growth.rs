//! No input costs more than in proportion to its length.
//!
//! One input eight times as long may take at most four times as long as eight inputs: linear work takes as long, quadratic work
//! eight times as long.

use std::time::{Duration, Instant};

use attache_sip::digest::Challenge;
use attache_sip::framing::StreamDecoder;
use attache_sip::message::{HeaderName, Limits, Message, NameAddr, Via, validate};
use attache_sip::uri::Uri;
use bytes::Bytes;

const LIMITS: Limits = Limits { message: 1 << 24, headers: 1 << 20, header: 1 << 24 };

/// Reads whatever could be read of a message.
fn read(bytes: &Bytes) {
    let Ok(message) = Message::parse_with(bytes.clone(), &LIMITS) else { return };
    let _ = validate(&message);
    let _ = (
        message.top_via().map(|via| via.received()),
        message.challenges(),
        message.credentials(false).count(),
    );
    let _ = message.values(HeaderName::Via).filter(|value| Via::parse(value).is_ok()).count();
    let _ = message.contacts().flatten().filter(|contact| contact.tag().is_some()).count();
    let _ = message.from().map(|from| (from.tag().map(str::len), from.display_name()));
    let _ = (
        message.retry_after().is_some(),
        message.event().is_some(),
        message.request_uri().map(|uri| uri.aor_key()),
    );
}

fn time(times: usize, step: &dyn Fn()) -> Duration {
    let begin = Instant::now();
    for _ in 0..times {
        step();
    }
    begin.elapsed()
}

/// Compares eight runs of a shape with one run of the shape eight times as large, in turns, and keeps the best of each. Both sides
/// are of equal length where the work is linear, so a busy machine slows them alike; it only ever adds time, so a linear shape meets the bound
/// sooner or later, and one that grows faster never does.
fn check(name: &str, small: usize, step: impl Fn(usize) -> Box<dyn Fn()>) {
    let (small, large) = (step(small), step(small * 8));
    let (mut eight_small, mut one_large) = (Duration::MAX, Duration::MAX);
    for round in 0..40 {
        eight_small = eight_small.min(time(8, &small));
        one_large = one_large.min(time(1, &large));
        // Below some microseconds the clock and the allocator are all that is measured.
        if round >= 2 && one_large < eight_small.max(Duration::from_micros(50)) * 4 {
            return;
        }
    }
    panic!("{name}: {eight_small:?} for eight of n, {one_large:?} for one of 8n");
}

fn message(rows: &str) -> Bytes {
    format!("OPTIONS sip:a@b SIP/2.0\r\nCSeq: 1 OPTIONS\r\n{rows}\r\n").into()
}

/// A message whose interesting row is made of `n` pieces.
fn shape(name: &str, n: usize, rows: impl Fn(usize) -> String + 'static) {
    check(name, n, |n| {
        let bytes = message(&rows(n));
        Box::new(move || read(&bytes))
    });
}

#[test]
fn rows_and_lists_are_read_in_linear_time() {
    shape("many rows", 4_000, |n| "X-A: b\r\n".repeat(n));
    shape("many vias", 2_000, |n| "Via: SIP/2.0/UDP a;branch=z9hG4bK1\r\n".repeat(n));
    shape("many vias in a row", 2_000, |n| {
        format!("Via: {}SIP/2.0/UDP a\r\n", "SIP/2.0/UDP a;branch=b,".repeat(n))
    });
    shape("many commas", 20_000, |n| format!("Contact: {}\r\nVia: {}\r\n", ",".repeat(n), ",".repeat(n)));
    shape("many contacts", 2_000, |n| format!("Contact: {}<sip:a>\r\n", "<sip:a>;q=0.1,".repeat(n)));
    shape("many bad lines", 8_000, |n| "bad line\r\n".repeat(n));
    shape("many content-lengths", 4_000, |n| "Content-Length: 0\r\n".repeat(n));
}

#[test]
fn folds_blanks_and_line_ends_are_read_in_linear_time() {
    shape("many folds", 20_000, |n| format!("Subject: a{}\r\n", "\r\n b".repeat(n)));
    shape("folded content-lengths", 2_000, |n| {
        format!("l: {}0\r\nl: {}0\r\n", "\r\n ".repeat(n), "\r\n ".repeat(n))
    });
    shape("empty folds", 20_000, |n| format!("Via:{}\r\n", "\r\n ".repeat(n)));
    shape("many blanks", 50_000, |n| {
        format!("From{}:{}x{}\r\n", " ".repeat(n), " ".repeat(n), " ".repeat(n))
    });
    check("leading line ends", 50_000, |n| {
        let bytes = Bytes::from(format!("{}OPTIONS sip:a@b SIP/2.0\r\n\r\n", "\r\n".repeat(n)));
        Box::new(move || read(&bytes))
    });
}

#[test]
fn quotes_brackets_and_parameters_are_read_in_linear_time() {
    shape("many parameters", 8_000, |n| {
        format!("From: <sip:a>{}\r\nVia: SIP/2.0/UDP a{}\r\n", ";a=b".repeat(n), ";a=b".repeat(n))
    });
    shape("many semicolons", 20_000, |n| {
        format!("From: sip:a{0}\r\nEvent: a{0}\r\nVia: SIP/2.0/UDP a{0}\r\n", ";".repeat(n))
    });
    shape("open quotes", 20_000, |n| format!("From: {0}\r\nContact: {0}\r\n", "\"".repeat(n | 1)));
    shape("escaped quotes", 20_000, |n| format!("From: \"{0}\r\nContact: \"{0}\r\n", "\\\"".repeat(n)));
    shape("open brackets", 20_000, |n| format!("From: {0}\r\nContact: {0}\r\nRoute: {0}\r\n", "<".repeat(n)));
    shape("quotes in parameters", 8_000, |n| format!("Contact: <sip:a>{}\r\n", ";a=\"b,c\"".repeat(n)));
    shape("deep comments", 20_000, |n| format!("Retry-After: 5 {}\r\n", "(".repeat(n)));
}

#[test]
fn challenges_and_credentials_are_read_in_linear_time() {
    shape("many challenges", 1_000, |n| {
        format!("WWW-Authenticate: {}\r\n", "Digest realm=\"a\", nonce=\"b\", ".repeat(n))
    });
    shape("many pairs", 4_000, |n| format!("Authorization: Digest {}\r\n", "username=\"a\", ".repeat(n)));
    check("a row of spaces", 20_000, |n| {
        let row = "Digest  ".repeat(n);
        Box::new(move || drop(Challenge::parse_row(row.as_bytes(), false)))
    });
}

#[test]
fn addresses_are_read_and_compared_in_linear_time() {
    for (name, piece) in
        [("at signs", "@"), ("colons", ":"), ("percent", "%41"), ("brackets", "["), ("three colons", ":::")]
    {
        check(name, 20_000, |n| {
            let text = format!("sip:{}", piece.repeat(n));
            Box::new(move || drop(Uri::parse_str(&text).map(|uri| uri.aor_key())))
        });
    }
    check("parameters compared", 4_000, |n| {
        let forth: String = (0..n).map(|i| format!(";a{i}=b")).collect();
        let back: String = (0..n).rev().map(|i| format!(";a{i}=b")).collect();
        let (a, b) = (format!("sip:a@b{forth}"), format!("sip:a@b{back}"));
        Box::new(move || assert!(Uri::parse_str(&a).unwrap().equivalent(&Uri::parse_str(&b).unwrap())))
    });
    check("names of addresses", 20_000, |n| {
        let text = format!("{}<sip:a@b>", "a ".repeat(n));
        Box::new(move || assert!(NameAddr::parse(text.as_bytes()).is_some()))
    });
}

/// Feeds a stream in pieces of that size.
fn feed(bytes: &[u8], piece: usize) {
    let mut decoder = StreamDecoder::new(LIMITS);
    for piece in bytes.chunks(piece) {
        decoder.push(piece);
        while decoder.next().is_some() {}
    }
}

#[test]
fn a_stream_is_cut_in_linear_time_however_it_arrives() {
    type Shape = (&'static str, usize, fn(usize) -> String);
    let shapes: [Shape; 6] = [
        ("one long head", 8_000, |n| format!("OPTIONS sip:a@b SIP/2.0\r\n{}", "X: y\r\n".repeat(n))),
        ("one long line", 50_000, |n| format!("OPTIONS sip:a@b SIP/2.0\r\nX: {}", "y".repeat(n))),
        ("a long body", 50_000, |n| format!("OPTIONS sip:a@b SIP/2.0\r\nl: {n}\r\n\r\n{}", "y".repeat(n))),
        ("line ends", 20_000, |n| "\r\n".repeat(n)),
        ("garbage lines", 8_000, |n| format!("x\r\n\r\n{}", "garbage\r\n\r\n".repeat(n))),
        ("small messages", 2_000, |n| "OPTIONS sip:a@b SIP/2.0\r\n\r\n".repeat(n)),
    ];
    for (name, small, make) in shapes {
        for piece in [7, 65_536] {
            check(name, small, |n| {
                let bytes = make(n);
                Box::new(move || feed(bytes.as_bytes(), piece))
            });
        }
    }
}
