//! Against `sipx-sip`, the one other parser that decides both torture corpora as the RFCs want: both read the same, or here stands why not.

use attache_sip::message::{HeaderName, Message, NameAddr, Via};
use bytes::Bytes;
use sipx_testkit::{rfc4475, rfc5118};

use super::message::{challenge, notify};

/// Messages on which the two differ, whether ours reads it, and why.
const DIFFERENCES: &[(&str, bool, &str)] = &[(
    "ipv6-bad",
    true,
    "the other parser reads the request's address together with the start line; ours leaves it to validate(), which refuses it \
     with 400, so that there is a message to answer",
)];

fn corpus() -> Vec<(&'static str, Bytes)> {
    let torture = rfc4475::CASES.iter().map(|case| (case.name, Bytes::from_static(case.bytes)));
    let ipv6 = rfc5118::CASES.iter().map(|case| (case.name, case.wire()));
    torture.chain(ipv6).chain([("notify", notify()), ("challenge", challenge())]).collect()
}

fn theirs(bytes: &Bytes) -> Result<sipx_sip::Message, sipx_sip::error::ParseError> {
    sipx_sip::parse_datagram(bytes.clone(), &sipx_sip::Limits::datagram())
}

#[test]
fn both_parsers_read_the_same_messages_of_the_corpora() {
    for (name, bytes) in corpus() {
        let (ours, other) = (Message::parse(bytes.clone()), theirs(&bytes));
        match DIFFERENCES.iter().find(|(known, ..)| *known == name) {
            Some((_, reads, why)) => {
                assert_eq!(ours.is_ok(), *reads, "{name}: {why}");
                assert_ne!(ours.is_ok(), other.is_ok(), "{name}: the difference is gone");
            }
            None => {
                assert_eq!(ours.is_ok(), other.is_ok(), "{name}: ours {ours:?}, theirs {:?}", other.err());
            }
        }
    }
}

/// Reads the headers on which dispatch rests from both, and compares what both could read.
fn compare(name: &str, ours: &Message, theirs: &sipx_sip::Message) {
    assert_eq!(ours.is_request(), theirs.as_request().is_some(), "{name}");
    assert_eq!(ours.status(), theirs.as_response().map(|response| response.status.code()), "{name}");
    if let Some(request) = theirs.as_request() {
        assert_eq!(ours.method().unwrap().as_str().as_bytes(), request.method.as_bytes(), "{name}: method");
    }
    assert_eq!(ours.body(), theirs.body(), "{name}: body");

    let headers = theirs.headers();
    if let (Ok(via), Some(Ok(other))) = (ours.top_via(), headers.typed::<sipx_sip::Via>()) {
        assert_eq!(
            via.branch().map(str::as_bytes),
            other.branch().filter(|branch| is_plain(branch)),
            "{name}: branch"
        );
        assert_eq!(via.port(), other.port, "{name}: port");
        assert_eq!(via.transport_name(), other.transport, "{name}: transport");
    }
    let from = headers.typed::<sipx_sip::headers::From>().and_then(Result::ok);
    if let (Ok(ours), Some(theirs)) = (ours.from(), from) {
        assert_eq!(
            ours.tag().map(str::as_bytes),
            theirs.tag().filter(|tag| is_plain(tag)),
            "{name}: from tag"
        );
    }
    let to = headers.typed::<sipx_sip::headers::To>().and_then(Result::ok);
    if let (Ok(ours), Some(theirs)) = (ours.to(), to) {
        assert_eq!(ours.tag().map(str::as_bytes), theirs.tag().filter(|tag| is_plain(tag)), "{name}: to tag");
    }
    if let (Ok(ours), Some(Ok(theirs))) = (ours.cseq(), headers.typed::<sipx_sip::CSeq>()) {
        assert_eq!(ours.number, theirs.sequence, "{name}: cseq");
        assert_eq!(ours.method.as_str().as_bytes(), theirs.method.as_bytes(), "{name}: cseq method");
    }
    if let (Some(ours), Some(Ok(theirs))) = (ours.call_id(), headers.typed::<sipx_sip::CallId>()) {
        assert_eq!(ours.as_bytes(), theirs.0, "{name}: call-id");
    }
}

/// What our readers give out as a tag or a branch: printable and not empty.
fn is_plain(value: &[u8]) -> bool {
    !value.is_empty() && value.iter().all(|b| (0x21..0x7f).contains(b))
}

#[test]
fn both_parsers_see_the_same_in_the_corpora() {
    let mut compared = 0;
    for (name, bytes) in corpus() {
        if let (Ok(ours), Ok(theirs)) = (Message::parse(bytes.clone()), theirs(&bytes)) {
            compare(name, &ours, &theirs);
            compared += 1;
        }
    }
    assert!(compared >= 50, "{compared}");
}

#[test]
fn both_parsers_refuse_the_same_headers_of_the_corpora() {
    for (name, bytes) in corpus() {
        let (Ok(ours), Ok(theirs)) = (Message::parse(bytes.clone()), theirs(&bytes)) else { continue };
        let headers = theirs.headers();
        let check = |what: &str, ours: bool, theirs: Option<bool>| {
            if let Some(theirs) = theirs {
                assert_eq!(ours, theirs, "{name}: {what}");
            }
        };
        let vias_are_read = || ours.values(HeaderName::Via).all(|value| Via::parse(value).is_ok());
        check("via", vias_are_read(), headers.typed::<sipx_sip::Via>().map(|via| via.is_ok()));
        check("cseq", ours.cseq().is_ok(), headers.typed::<sipx_sip::CSeq>().map(|cseq| cseq.is_ok()));
        let read = |address: Result<NameAddr<'_>, _>| address.is_ok_and(|address| address.uri().is_ok());
        check("from", read(ours.from()), headers.typed::<sipx_sip::headers::From>().map(|from| from.is_ok()));
        check("to", read(ours.to()), headers.typed::<sipx_sip::headers::To>().map(|to| to.is_ok()));
    }
}

#[test]
fn both_parsers_see_the_same_in_mutated_messages() {
    let mut compared = 0_u32;
    super::mutation::for_each(30_000, 7, |bytes| {
        let input = Bytes::copy_from_slice(bytes);
        if let (Ok(ours), Ok(theirs)) = (Message::parse(input.clone()), theirs(&input)) {
            compare(&String::from_utf8_lossy(bytes), &ours, &theirs);
            compared += 1;
        }
    });
    assert!(compared > 5_000, "{compared}");
}
