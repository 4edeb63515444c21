//! RFC 4475 and RFC 5118: every message, and what becomes of it.

use attache_sip::message::{Fault, HeaderName, Message, Severity, validate};
use attache_sip::uri::Host;
use bytes::Bytes;
use sipx_testkit::{rfc4475, rfc5118};

/// What the RFC wants for a message, and what the codec does.
#[derive(Debug, PartialEq)]
enum Verdict {
    /// Read, and nothing in it stands in the way.
    Accepted,
    /// Read; a server answers with that code for a reason above syntax, as the RFC asks.
    Answered(u16),
    /// Read, and refused with that code for what it says.
    Refused(u16),
    /// Not a message.
    Unreadable(Fault),
    /// The RFC lets an element reject it or look past it: looked past, with a diagnostic.
    Forgiven,
}

use Verdict::{Accepted, Answered, Forgiven, Refused, Unreadable};

/// RFC 4475 in the order of its sections.
const RFC4475: &[(&str, Verdict)] = &[
    // 3.1.1: valid.
    ("wsinv", Accepted),
    ("intmeth", Accepted),
    ("esc01", Accepted),
    ("escnull", Accepted),
    ("esc02", Accepted),
    ("lwsdisp", Accepted),
    ("longreq", Accepted),
    ("dblreq", Accepted),
    ("semiuri", Accepted),
    ("transports", Accepted),
    ("mpart01", Accepted),
    ("unreason", Accepted),
    ("noreason", Accepted),
    // 3.1.2: invalid.
    ("badinv01", Refused(400)),
    ("clerr", Unreadable(Fault::Truncated)),
    ("ncl", Unreadable(Fault::ContentLength)),
    ("scalar02", Refused(400)),
    ("scalarlg", Refused(400)),
    ("quotbal", Refused(400)),
    ("ltgtruri", Unreadable(Fault::StartLine)),
    ("lwsruri", Unreadable(Fault::StartLine)),
    ("lwsstart", Unreadable(Fault::StartLine)),
    ("trws", Unreadable(Fault::StartLine)),
    ("escruri", Refused(400)),
    // An element that has no use for the date may look past it.
    ("baddate", Forgiven),
    ("regbadct", Refused(400)),
    ("badaspec", Refused(400)),
    // The archive's copy lacks the blank line after the headers.
    ("baddn", Unreadable(Fault::Unterminated)),
    ("badvers", Refused(505)),
    ("mismatch01", Refused(400)),
    ("mismatch02", Refused(400)),
    ("bigcode", Unreadable(Fault::StartLine)),
    // 3.2: transaction layer. Falling back to the matching of RFC 2543 is one of the two ways the RFC names.
    ("badbranch", Accepted),
    // 3.3: application layer.
    ("insuf", Refused(400)),
    ("unkscm", Answered(416)),
    ("novelsc", Answered(416)),
    ("unksm2", Accepted),
    ("bext01", Answered(420)),
    ("invut", Accepted),
    ("regaut01", Accepted),
    ("multi01", Refused(400)),
    ("mcl01", Unreadable(Fault::ContentLength)),
    ("bcast", Accepted),
    ("zeromf", Accepted),
    ("cparam01", Accepted),
    ("cparam02", Accepted),
    ("regescrt", Accepted),
    ("sdp01", Accepted),
    // 3.4: backward compatibility.
    ("inv2543", Accepted),
];

/// What the RFC calls acceptable: read, and if answered, then for a reason above syntax.
const RFC4475_ACCEPTABLE: usize = 27;

const RFC5118: &[(&str, Verdict)] = &[
    ("ipv6-good", Accepted),
    ("ipv6-bad", Refused(400)),
    ("port-ambiguous", Accepted),
    ("port-unambiguous", Accepted),
    ("via-received-param-with-delim", Accepted),
    ("via-received-param-no-delim", Accepted),
    ("ipv6-in-sdp", Accepted),
    ("mult-ip-in-header", Accepted),
    ("mult-ip-in-sdp", Accepted),
    ("ipv4-mapped-ipv6", Accepted),
    ("ipv6-bug-abnf-3-colons", Accepted),
    ("ipv6-correct-abnf-2-colons", Accepted),
];

fn verdict(bytes: Bytes) -> Verdict {
    let message = match Message::parse(bytes) {
        Ok(message) => message,
        Err(error) => return Unreadable(error.fault()),
    };
    let findings = validate(&message);
    match findings.first() {
        Some(finding) if finding.severity == Severity::Refuse => match finding.code {
            code @ (416 | 420) => Answered(code),
            code => Refused(code),
        },
        Some(finding) if finding.header == Some(HeaderName::Date) => Forgiven,
        _ => Accepted,
    }
}

fn rfc4475(name: &str) -> Bytes {
    Bytes::from_static(rfc4475::case(name).unwrap_or_else(|| panic!("no message {name}")).bytes)
}

fn rfc5118(name: &str) -> Message {
    let case = rfc5118::case(name).unwrap_or_else(|| panic!("no message {name}"));
    Message::parse(case.wire()).unwrap()
}

#[test]
fn every_message_of_rfc_4475_is_decided_as_listed() {
    assert_eq!(RFC4475.len(), rfc4475::classified().count());
    for (name, expected) in RFC4475 {
        assert_eq!(verdict(rfc4475(name)), *expected, "{name}");
    }
}

#[test]
fn the_27_acceptable_messages_of_rfc_4475_are_read_and_the_rest_is_not_accepted() {
    let (mut accepted, mut refused) = (0, 0);
    for case in rfc4475::classified() {
        let verdict = verdict(Bytes::from_static(case.bytes));
        match case.expect {
            rfc4475::Expect::ParseOk => {
                assert!(matches!(verdict, Accepted | Answered(_)), "{}: {verdict:?}", case.name);
                accepted += 1;
            }
            _ => {
                assert!(
                    matches!(verdict, Refused(_) | Unreadable(_) | Forgiven),
                    "{}: {verdict:?}",
                    case.name
                );
                refused += 1;
            }
        }
    }
    assert_eq!((accepted, refused), (RFC4475_ACCEPTABLE, 22));
}

#[test]
fn every_message_of_rfc_5118_is_decided_as_listed() {
    assert_eq!(RFC5118.len(), rfc5118::CASES.len());
    for (name, expected) in RFC5118 {
        assert_eq!(verdict(rfc5118::case(name).unwrap().wire()), *expected, "{name}");
    }
}

#[test]
fn an_acceptable_message_keeps_its_bytes() {
    for (name, expected) in RFC4475 {
        let bytes = rfc4475(name);
        if let (Accepted | Answered(_), Ok(message)) = (expected, Message::parse(bytes.clone())) {
            let end = if *name == "dblreq" { message.as_bytes().len() } else { bytes.len() };
            assert_eq!(message.as_bytes(), &bytes[..end], "{name}");
        }
    }
}

#[test]
fn a_second_message_in_one_datagram_is_ignored() {
    let message = Message::parse(rfc4475("dblreq")).unwrap();
    assert_eq!(message.method().unwrap().as_str(), "REGISTER");
    assert!(message.body().is_empty());
    assert!(!message.as_bytes().windows(6).any(|w| w == b"INVITE"));
}

#[test]
fn the_tortuous_invite_reads_like_a_plain_one() {
    let message = Message::parse(rfc4475("wsinv")).unwrap();
    assert_eq!(message.to().unwrap().tag(), Some("1918181833n"));
    assert_eq!(message.from().unwrap().tag(), Some("98asjd8"));
    assert_eq!(message.from().unwrap().display_name().unwrap(), r#"J Rosenberg \""#);
    assert_eq!(message.cseq().unwrap().number, 9);
    assert_eq!(message.max_forwards(), Some(68));
    assert_eq!(message.body().len(), 150);
    assert_eq!(message.header(HeaderName::Subject), Some(&b""[..]));
    assert_eq!(
        message.other("newfangledheader"),
        Some(&b"newfangled value   continued newfangled value"[..])
    );
    let branches: Vec<_> = message
        .values(HeaderName::Via)
        .map(|via| attache_sip::message::Via::parse(via).unwrap().branch().unwrap())
        .collect();
    assert_eq!(branches, ["390skdjuw", "z9hG4bK9ikj8", "z9hG4bK30239"]);
    assert_eq!(message.top_via().unwrap().branch(), Some("390skdjuw"));
    let contact = message.contacts().next().unwrap().unwrap();
    assert_eq!(contact.q(), Some(330));
    assert_eq!(contact.params().get_str("newparam"), Some("newvalue"));
}

#[test]
fn what_cannot_be_followed_can_still_be_answered() {
    for name in ["clerr", "ncl", "mcl01", "ltgtruri", "lwsruri", "lwsstart", "trws"] {
        let error = Message::parse(rfc4475(name)).unwrap_err();
        let salvage = error.salvage().unwrap_or_else(|| panic!("{name}"));
        assert_eq!(error.status(), 400, "{name}");
        assert!(salvage.call_id().is_some() && salvage.top_via().is_ok() && salvage.cseq().is_ok(), "{name}");
        assert!(salvage.body().is_empty(), "{name}");
    }
}

#[test]
fn unknown_transports_are_kept() {
    let message = Message::parse(rfc4475("transports")).unwrap();
    let names: Vec<_> = message
        .values(HeaderName::Via)
        .map(|via| {
            String::from_utf8_lossy(attache_sip::message::Via::parse(via).unwrap().transport_name())
                .into_owned()
        })
        .collect();
    assert_eq!(names, ["UDP", "SCTP", "TLS", "UNKNOWN", "TCP"]);
}

#[test]
fn an_unusual_reason_keeps_its_octets() {
    let message = Message::parse(rfc4475("unreason")).unwrap();
    assert_eq!(message.status(), Some(200));
    assert!(std::str::from_utf8(message.reason()).unwrap().contains('\u{43f}'));
    assert_eq!(Message::parse(rfc4475("noreason")).unwrap().reason(), b"");
}

#[test]
fn a_user_part_with_semicolons_is_one_user_part() {
    let message = Message::parse(rfc4475("semiuri")).unwrap();
    let uri = message.request_uri().unwrap();
    assert_eq!(uri.user(), Some("user;par=u%40example.net"));
    assert_eq!(uri.host(), Some(Host::Name("example.com")));
}

#[test]
fn a_port_swallowed_by_the_brackets_is_part_of_the_address() {
    let ambiguous = rfc5118("port-ambiguous");
    let uri = ambiguous.request_uri().unwrap();
    assert_eq!(uri.host().unwrap().to_string(), "[2001:db8::10:5070]");
    assert_eq!(uri.port(), None);
    let unambiguous = rfc5118("port-unambiguous");
    let uri = unambiguous.request_uri().unwrap();
    assert_eq!(uri.host().unwrap().to_string(), "[2001:db8::10]");
    assert_eq!(uri.port(), Some(5070));
}

#[test]
fn received_is_read_with_and_without_brackets() {
    for name in ["via-received-param-with-delim", "via-received-param-no-delim"] {
        let message = rfc5118(name);
        let via = message.top_via().unwrap();
        assert_eq!(via.received(), Some("2001:db8::9:255".parse().unwrap()), "{name}");
        assert!(via.branch().unwrap().starts_with("z9hG4bKas3"), "{name}");
    }
}

#[test]
fn three_colons_are_read_as_two_and_written_as_three() {
    let three = rfc5118("ipv6-bug-abnf-3-colons");
    let two = rfc5118("ipv6-correct-abnf-2-colons");
    assert_eq!(three.request_uri().unwrap().host(), two.request_uri().unwrap().host());
    assert!(three.as_bytes().windows(3).any(|w| w == b":::"));
}

#[test]
fn all_ten_addresses_of_rfc_5118_are_read() {
    // The ten sections are told apart by where the address stands; each of these was refused by the parser replaced here.
    for (name, host) in [
        ("ipv6-good", "[2001:db8::10]"),
        ("port-ambiguous", "[2001:db8::10:5070]"),
        ("port-unambiguous", "[2001:db8::10]"),
        ("via-received-param-with-delim", "[2001:db8::10]"),
        ("via-received-param-no-delim", "[2001:db8::10]"),
        ("ipv6-in-sdp", "[2001:db8::10]"),
        ("mult-ip-in-header", "host.example.net"),
        ("mult-ip-in-sdp", "[2001:db8::10]"),
        ("ipv4-mapped-ipv6", "example.com"),
        ("ipv6-bug-abnf-3-colons", "[2001:db8::c000:201]"),
        ("ipv6-correct-abnf-2-colons", "[2001:db8::c000:201]"),
    ] {
        assert_eq!(rfc5118(name).request_uri().unwrap().host().unwrap().to_string(), host, "{name}");
    }
}
