//! What is written, and what cannot be.

use attache_sip::build::{BuildError, RequestBuilder, ResponseBuilder, reason_phrase};
use attache_sip::message::{HeaderName, Message, Method};
use bytes::Bytes;

fn request(via: &str, to: &str) -> Message {
    let text = format!(
        "OPTIONS sip:alice@example.com SIP/2.0\r\nVia: {via}\r\nv: SIP/2.0/TCP proxy;branch=z9hG4bK2\r\nRecord-Route: <sip:p;lr>\r\n\
         f: \"B\" <sip:b@example.com>;tag=1\r\nTo: {to}\r\nCall-ID: c\r\nCSeq: 7 OPTIONS\r\nTimestamp: 54\r\nSubject: s\r\n\r\n"
    );
    Message::parse(text.into()).unwrap()
}

fn top_via(via: &str, source: &str) -> String {
    let request = request(via, "<sip:a@b>");
    let bytes =
        ResponseBuilder::for_request_from(&request, source.parse().unwrap(), 200, "").finish().unwrap();
    let response = Message::parse(bytes).unwrap();
    String::from_utf8(response.header(HeaderName::Via).unwrap().to_vec()).unwrap()
}

#[test]
fn a_request_is_written_in_the_order_given_with_its_length_counted() {
    let bytes = RequestBuilder::new(&Method::Message, "sip:bob@[2001:db8::1]")
        .header(HeaderName::MaxForwards, 70)
        .header(HeaderName::ContentLength, 99)
        .other("X-Note", "a: b")
        .header_bytes(HeaderName::Subject, b"\xff")
        .body("text/plain", &b"h\0i"[..])
        .finish()
        .unwrap();
    assert_eq!(
        bytes,
        &b"MESSAGE sip:bob@[2001:db8::1] SIP/2.0\r\nMax-Forwards: 70\r\nX-Note: a: b\r\nSubject: \xff\r\n\
           Content-Type: text/plain\r\nContent-Length: 3\r\n\r\nh\0i"[..]
    );
}

#[test]
fn no_value_can_become_a_header_of_its_own() {
    let start = || RequestBuilder::new(&Method::Options, "sip:a@b");
    for evil in ["x\r\nVia: y", "x\ny", "x\ry", "x\0y", "\r\n"] {
        assert!(
            matches!(start().header(HeaderName::Subject, evil).finish(), Err(BuildError::Injection(_))),
            "{evil:?}"
        );
        assert!(matches!(
            start().header_bytes(HeaderName::Subject, evil.as_bytes()).finish(),
            Err(BuildError::Injection(_))
        ));
        assert!(matches!(start().other("X-A", evil).finish(), Err(BuildError::Injection(_))));
        assert!(matches!(start().other(evil, "x").finish(), Err(BuildError::Name(_))));
        assert!(matches!(start().body(evil, Bytes::new()).finish(), Err(BuildError::Injection(_))));
        assert!(ResponseBuilder::new(200, evil).finish().is_err());
        assert!(RequestBuilder::new(&Method::Other(evil), "sip:a@b").finish().is_err());
        assert!(RequestBuilder::new(&Method::Options, &format!("sip:{evil}")).finish().is_err());
        let asked = request("SIP/2.0/UDP a", "<sip:a@b>");
        assert!(ResponseBuilder::for_request(&asked, 200, "").to_tag(evil).finish().is_err());
    }
    assert!(matches!(start().other("Bad Name", "x").finish(), Err(BuildError::Name(_))));
    assert!(matches!(start().header(HeaderName::Other, "x").finish(), Err(BuildError::Name(_))));
}

#[test]
fn a_response_copies_what_rfc_3261_says() {
    let request = request("SIP/2.0/UDP a;branch=z9hG4bK1", "<sip:alice@example.com>");
    let bytes = ResponseBuilder::for_request(&request, 404, "").to_tag("9").finish().unwrap();
    assert_eq!(
        std::str::from_utf8(&bytes).unwrap(),
        "SIP/2.0 404 Not Found\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\nVia: SIP/2.0/TCP proxy;branch=z9hG4bK2\r\n\
         Record-Route: <sip:p;lr>\r\nFrom: \"B\" <sip:b@example.com>;tag=1\r\nCall-ID: c\r\nCSeq: 7 OPTIONS\r\nTimestamp: 54\r\n\
         To: <sip:alice@example.com>;tag=9\r\nContent-Length: 0\r\n\r\n"
    );
}

#[test]
fn a_tag_that_is_there_stays_and_100_gets_none() {
    let to = |value: &str, status| {
        let request = request("SIP/2.0/UDP a", value);
        let bytes = ResponseBuilder::for_request(&request, status, "").to_tag("9").finish().unwrap();
        String::from_utf8(Message::parse(bytes).unwrap().header(HeaderName::To).unwrap().to_vec()).unwrap()
    };
    assert_eq!(to("<sip:a@b>;tag=3", 200), "<sip:a@b>;tag=3");
    assert_eq!(to("<sip:a@b>", 100), "<sip:a@b>");
    assert_eq!(to("sip:a@b", 200), "sip:a@b;tag=9");
}

#[test]
fn received_and_rport_are_written_into_the_top_via() {
    // Sent-by is where it came from: nothing to add.
    assert_eq!(
        top_via("SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1", "192.0.2.1:5060"),
        "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1"
    );
    assert_eq!(
        top_via("SIP/2.0/UDP host;branch=z9hG4bK1", "192.0.2.1:5060"),
        "SIP/2.0/UDP host;branch=z9hG4bK1;received=192.0.2.1"
    );
    assert_eq!(
        top_via("SIP/2.0/UDP 192.0.2.1;rport;branch=z9hG4bK1", "192.0.2.1:7000"),
        "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1;received=192.0.2.1;rport=7000"
    );
    // What the sender claims is replaced, and the rest of a list is kept.
    assert_eq!(
        top_via(
            "SIP/2.0/UDP host ; received=6.6.6.6; rport=1 ;branch=z9hG4bK1 , SIP/2.0/TCP b",
            "[2001:db8::7]:9"
        ),
        "SIP/2.0/UDP host;branch=z9hG4bK1;received=2001:db8::7;rport=9, SIP/2.0/TCP b"
    );
    assert_eq!(top_via("SIP/2.0/UDP 192.0.2.1", "[::ffff:192.0.2.1]:5060"), "SIP/2.0/UDP 192.0.2.1");
}

#[test]
fn impossible_status_codes_are_refused() {
    for status in [0, 99, 700, 1000] {
        assert_eq!(ResponseBuilder::new(status, "").finish(), Err(BuildError::Status(status)));
    }
    assert_eq!(reason_phrase(400), "Bad Request");
    assert_eq!(reason_phrase(499), "Client Error");
}
