//! Broken messages by the hundred thousand, the same ones each time: nothing panics, and what is read keeps its properties.
//!
//! `ATTACHE_SOAK=1` runs a million.

use attache_sip::build::{RequestBuilder, ResponseBuilder};
use attache_sip::framing::StreamDecoder;
use attache_sip::message::{HeaderName, Limits, Message, NameAddr, Via, validate};
use bytes::Bytes;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use sipx_testkit::{rfc4475, rfc5118};

/// Pieces that change what the octets around them mean.
const PIECES: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\n\r\n",
    b"\r\n ",
    b"\r\n\t",
    b":",
    b";",
    b",",
    b"<",
    b">",
    b"\"",
    b"\\",
    b"=",
    b"@",
    b"%",
    b"%00",
    b"[",
    b"]",
    b"::",
    b":::",
    b"(",
    b")",
    b" ",
    b"\0",
    b"\xff",
    b"\xc3\xa4",
    b"SIP/2.0",
    b"sip:",
    b"z9hG4bK",
    b"tag=",
    b"branch=",
    b"Content-Length: 5\r\n",
    b"l: -1\r\n",
    b"Via: SIP/2.0/UDP a;branch=\r\n",
    b"18446744073709551616",
    b"4294967296",
    b"\xe2\x80\xa8",
    b"Digest ",
    b"nonce=\"x\"",
];

fn seeds() -> Vec<Vec<u8>> {
    let torture = rfc4475::CASES.iter().map(|case| case.bytes.to_vec());
    let ipv6 = rfc5118::CASES.iter().map(|case| case.wire().to_vec());
    torture
        .chain(ipv6)
        .chain([super::message::notify().to_vec(), super::message::challenge().to_vec()])
        .collect()
}

fn below(rng: &mut ChaCha8Rng, n: usize) -> usize {
    ((u64::from(rng.next_u32()) * n.max(1) as u64) >> 32) as usize
}

fn mutate(rng: &mut ChaCha8Rng, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = seeds[below(rng, seeds.len())].clone();
    for _ in 0..=below(rng, 4) {
        let at = below(rng, bytes.len() + 1);
        match below(rng, 7) {
            0 if at < bytes.len() => bytes[at] = rng.next_u32() as u8,
            1 if at < bytes.len() => bytes[at] ^= 1 << below(rng, 8),
            2 => {
                bytes.truncate(at);
            }
            3 => {
                let end = (at + below(rng, 40)).min(bytes.len());
                bytes.drain(at..end);
            }
            4 => {
                let end = (at + below(rng, 80)).min(bytes.len());
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
            5 => {
                let other = &seeds[below(rng, seeds.len())];
                let from = below(rng, other.len() + 1);
                let end = (from + below(rng, 120)).min(other.len());
                bytes.splice(at..at, other[from..end].iter().copied());
            }
            _ => {
                let piece = PIECES[below(rng, PIECES.len())];
                bytes.splice(at..at, piece.iter().copied());
            }
        }
    }
    bytes
}

/// Hands that many mutated messages of a seed to `step`.
pub(crate) fn for_each(count: u32, seed: u64, mut step: impl FnMut(&[u8])) {
    let seeds = seeds();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    for _ in 0..count {
        step(&mutate(&mut rng, &seeds));
    }
}

/// Calls every reader, and checks what must hold for whatever was read.
fn examine(message: &Message, input: &[u8]) {
    assert!(message.body().len() <= input.len());
    if let Some(length) = message.header(HeaderName::ContentLength) {
        let length: usize = std::str::from_utf8(length).unwrap().parse().unwrap();
        assert_eq!(message.body().len(), length);
    }
    for (name, id, value) in message.all() {
        assert!(!name.is_empty() && !value.iter().any(|b| matches!(b, b'\r' | b'\n')));
        assert!(id != HeaderName::Other || HeaderName::parse(name) == HeaderName::Other);
    }
    read_everything(message);

    // What was read is read again from its own bytes.
    let again = Message::parse(message.to_bytes()).unwrap();
    assert_eq!(again.as_bytes(), message.as_bytes());
    assert!(again.all().eq(message.all()));
    assert_eq!(again.body(), message.body());

    rebuild(message);
    answer(message);
}

fn read_everything(message: &Message) {
    let _ = (
        message.request_uri().map(|uri| uri.aor_key()),
        message.top_via(),
        message.call_id(),
        message.cseq(),
    );
    for address in [message.from(), message.to()].into_iter().flatten() {
        let _ = (address.display_name(), address.tag(), address.uri().map(|uri| uri.equivalent(&uri)));
    }
    for contact in message.contacts().flatten() {
        let _ = (contact.q(), contact.expires(), contact.uri().map(|uri| uri.header_pairs().count()));
    }
    for via in message.values(HeaderName::Via).filter_map(|value| Via::parse(value).ok()) {
        let _ = (via.received(), via.rport(), via.maddr(), via.transport(), via.rfc3261_branch());
    }
    for name in [HeaderName::Route, HeaderName::Accept, HeaderName::Reason, HeaderName::Path] {
        let _ = message.values(name).filter_map(NameAddr::parse).count();
    }
    let _ =
        (message.event().map(|e| e.id().map(str::len)), message.subscription_state().map(|s| s.expires()));
    let _ = (
        message.retry_after().map(|r| r.duration()),
        message.content_type().map(|t| t.charset().map(str::len)),
    );
    let _ = (message.expires(), message.sip_etag(), message.sip_if_match(), message.max_forwards());
    let _ = (message.challenges(), message.credentials(false).count(), message.credentials(true).count());
    let _ = (validate(message), format!("{message:?}"));
}

/// A request rebuilt from its parts says the same.
fn rebuild(message: &Message) {
    let (Some(method), Ok(uri)) = (message.method(), message.request_uri()) else { return };
    let mut builder = RequestBuilder::new(&method, uri.as_str());
    for (name, _, value) in message.all() {
        builder = builder.row(name, value);
    }
    // Only a NUL can stand in the way: it is read as it came and never written.
    let Ok(bytes) = builder.body("", message.body_bytes()).finish() else {
        assert!(message.all().any(|(_, _, value)| value.contains(&0)));
        return;
    };
    let again = Message::parse_with(bytes, &WIDE).unwrap();
    assert_eq!(again.method(), message.method());
    assert_eq!(again.body(), message.body());
    let rows = |message: &Message| {
        let keep = |(name, id, value): (&[u8], HeaderName, &[u8])| {
            (id != HeaderName::ContentLength).then(|| (name.to_vec(), value.to_vec()))
        };
        message.all().filter_map(keep).collect::<Vec<_>>()
    };
    assert_eq!(rows(&again), rows(message));
}

/// The answer to whatever request it was is a message again, with the same rows copied.
fn answer(message: &Message) {
    let source = "[2001:db8::7]:5071".parse().unwrap();
    let response = ResponseBuilder::for_request_from(message, source, 400, "").to_tag("t1").finish();
    let Ok(bytes) = response else { return };
    let answer = Message::parse_with(bytes, &WIDE).unwrap();
    assert_eq!(answer.status(), Some(400));
    assert_eq!(answer.count(HeaderName::Via), message.count(HeaderName::Via));
    assert_eq!(answer.header(HeaderName::CallId), message.header(HeaderName::CallId));
    assert_eq!(answer.header(HeaderName::CSeq), message.header(HeaderName::CSeq));
    assert_eq!(answer.header(HeaderName::From), message.header(HeaderName::From));
    if let (Ok(asked), Ok(answered)) = (message.top_via(), answer.top_via()) {
        assert_eq!(asked.branch(), answered.branch());
    }
}

/// Rebuilt messages may be a little longer than what they came from.
const WIDE: Limits = Limits { message: 1 << 20, headers: 1_000, header: 1 << 16 };

#[test]
fn no_mutated_message_panics_and_what_is_read_keeps_its_properties() {
    let count = if std::env::var_os("ATTACHE_SOAK").is_some_and(|v| v == "1") { 1_000_000 } else { 100_000 };
    let seeds = seeds();
    let mut rng = ChaCha8Rng::seed_from_u64(0x5349_5032);
    let (mut read, mut framed) = (0_u32, 0_u32);
    for _ in 0..count {
        let bytes = mutate(&mut rng, &seeds);
        match Message::parse(Bytes::copy_from_slice(&bytes)) {
            Ok(message) => {
                read += 1;
                examine(&message, &bytes);
            }
            Err(error) => {
                assert!(error.position() <= bytes.len());
                if let Some(salvage) = error.salvage() {
                    assert!(salvage.body().is_empty());
                    read_everything(salvage);
                    answer(salvage);
                }
            }
        }
        framed += stream(&mut rng, &bytes);
    }
    // The mutations must be neither harmless nor hopeless, or they show nothing.
    assert!(read > count / 4 && read < count * 19 / 20, "{read} of {count} were read");
    assert!(framed > count / 4, "{framed} frames of {count}");
}

/// Cut anywhere, the stream gives the same frames, and ends with a good message behind the bad one.
fn stream(rng: &mut ChaCha8Rng, bytes: &[u8]) -> u32 {
    let mut whole = StreamDecoder::default();
    whole.push(bytes);
    let mut frames = Vec::new();
    while let Some(frame) = whole.next() {
        frames.push(frame);
    }
    let mut pieces = StreamDecoder::default();
    let mut rest = bytes;
    let mut again = Vec::new();
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(1 + below(rng, rest.len()));
        pieces.push(piece);
        while let Some(frame) = pieces.next() {
            again.push(frame);
        }
        rest = after;
    }
    let messages = |frames: &[Result<attache_sip::framing::Frame, attache_sip::framing::FrameError>]| {
        frames
            .iter()
            .filter(|frame| !matches!(frame, Ok(attache_sip::framing::Frame::KeepAlive { .. })))
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(messages(&again), messages(&frames), "{}", String::from_utf8_lossy(bytes));
    assert!(pieces.buffered() <= Limits::DEFAULT.message + bytes.len());
    messages(&frames).iter().filter(|frame| frame.is_ok()).count() as u32
}
