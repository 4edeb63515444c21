//! Messages and their readers.

use attache_sip::message::{
    Fault, HeaderError, HeaderName, Limits, Message, Method, NameAddr, RetryAfter, SubscriptionStatus,
    Support, Via, validate, validate_with,
};
use bytes::Bytes;

/// A NOTIFY as a presence server sends it.
pub(crate) fn notify() -> Bytes {
    Bytes::from_static(
        b"NOTIFY sip:alice@192.0.2.1:5060 SIP/2.0\r\n\
          Via: SIP/2.0/UDP 192.0.2.10;branch=z9hG4bK74bf9.2;rport\r\n\
          Max-Forwards: 70\r\n\
          From: \"Bob\" <sip:bob@example.com>;tag=a6c85cf\r\n\
          To: <sip:alice@example.com>;tag=1928301774\r\n\
          Call-ID: a84b4c76e66710@192.0.2.1\r\n\
          CSeq: 314159 NOTIFY\r\n\
          Contact: <sip:192.0.2.10>\r\n\
          Event: presence;id=7\r\n\
          Subscription-State: Active;expires=3599\r\n\
          Content-Type: application/pidf+xml;charset=\"UTF-8\"\r\n\
          Content-Length: 11\r\n\
          \r\n\
          <presence/>",
    )
}

/// A 401 with two challenges.
pub(crate) fn challenge() -> Bytes {
    Bytes::from_static(
        b"SIP/2.0 401 Unauthorized\r\n\
          v: SIP/2.0/TCP [2001:db8::9]:5060;received=2001:db8::9;rport=5060; branch=z9hG4bK7\r\n\
          f: <sip:alice@example.com>;tag=1\r\n\
          t: <sip:alice@example.com>;tag=2\r\n\
          i: 1@x\r\n\
          CSeq: 1 REGISTER\r\n\
          WWW-Authenticate: Digest realm=\"a, b\", nonce=\"n1\", algorithm=SHA-256, qop=\"auth,auth-int\", stale=true\r\n\
          WWW-Authenticate: Digest realm=\"a, b\", nonce=\"n1\", algorithm=MD5, qop=\"auth\", Basic realm=\"x\"\r\n\
          l: 0\r\n\r\n",
    )
}

fn parse(text: &str) -> Message {
    Message::parse(Bytes::copy_from_slice(text.as_bytes())).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// A request with some rows between the mandatory ones.
fn request(rows: &str) -> String {
    format!(
        "OPTIONS sip:alice@example.com SIP/2.0\r\nVia: SIP/2.0/UDP a.example.com;branch=z9hG4bKx\r\nMax-Forwards: 70\r\n\
         From: <sip:b@example.com>;tag=1\r\nTo: <sip:alice@example.com>\r\nCall-ID: x\r\nCSeq: 1 OPTIONS\r\n{rows}\r\n"
    )
}

fn fault(text: &str) -> Fault {
    Message::parse(Bytes::copy_from_slice(text.as_bytes())).unwrap_err().fault()
}

fn codes(text: &str) -> Vec<u16> {
    validate(&parse(text))
        .into_iter()
        .filter(attache_sip::message::Finding::must_refuse)
        .map(|finding| finding.code)
        .collect()
}

#[test]
fn a_notify_is_read_in_full() {
    let message = Message::parse(notify()).unwrap();
    assert_eq!(message.method(), Some(Method::Notify));
    assert_eq!(message.status(), None);
    assert_eq!(message.top_via().unwrap().branch(), Some("z9hG4bK74bf9.2"));
    assert_eq!(message.top_via().unwrap().rport(), Some(None));
    assert_eq!(message.from().unwrap().tag(), Some("a6c85cf"));
    assert_eq!(message.from().unwrap().display_name().unwrap(), "Bob");
    assert_eq!(message.to().unwrap().tag(), Some("1928301774"));
    assert_eq!(message.call_id(), Some("a84b4c76e66710@192.0.2.1"));
    assert_eq!(message.cseq().unwrap().number, 314_159);
    assert_eq!(message.event().unwrap().package, "presence");
    assert_eq!(message.event().unwrap().id(), Some("7"));
    let state = message.subscription_state().unwrap();
    assert_eq!((state.status, state.expires()), (SubscriptionStatus::Active, Some(3599)));
    assert!(message.content_type().unwrap().is("Application/PIDF+xml"));
    assert_eq!(message.content_type().unwrap().charset(), Some("UTF-8"));
    assert_eq!(message.body(), b"<presence/>");
    assert_eq!(validate(&message), []);
}

#[test]
fn compact_names_are_the_long_ones() {
    let message = parse(
        "SUBSCRIBE sip:a@b SIP/2.0\r\nv: SIP/2.0/UDP c\r\nf: <sip:x@y>;tag=1\r\nt: <sip:a@b>\r\ni: 1\r\nm: <sip:c>\r\nk: a, b\r\no: presence\r\n\
         u: presence,dialog\r\nr: <sip:z>\r\nb: <sip:q>\r\nx: 90\r\nd: fork\r\nj: *\r\na: *\r\ne: gzip\r\ns: hi\r\nc: text/plain\r\nl: 2\r\n\r\nhi",
    );
    let first = |name| std::str::from_utf8(message.header(name).unwrap()).unwrap();
    assert_eq!(first(HeaderName::Event), "presence");
    assert_eq!(first(HeaderName::ReferTo), "<sip:z>");
    assert_eq!(first(HeaderName::SessionExpires), "90");
    assert_eq!(message.values(HeaderName::AllowEvents).count(), 2);
    assert_eq!(message.body(), b"hi");
    assert!(message.all().all(|(_, id, _)| id != HeaderName::Other));
}

#[test]
fn names_are_read_in_any_case_with_blanks_before_the_colon() {
    let message = parse("OPTIONS sip:a@b SIP/2.0\r\nCALL-id \t :  x  \r\nX-Thing:y\r\n\r\n");
    assert_eq!(message.call_id(), Some("x"));
    assert_eq!(message.other("x-thing"), Some(&b"y"[..]));
    assert_eq!(message.other("call-ID"), Some(&b"x"[..]));
    assert_eq!(message.other("x-other"), None);
}

#[test]
fn folding_is_undone_when_read_and_kept_when_forwarded() {
    let text =
        "OPTIONS sip:a@b SIP/2.0\r\nSubject: one\r\n two\r\n\tthree\r\nCall-ID:\r\n x\r\n\r\nbo\r\n dy";
    let message = parse(text);
    assert_eq!(message.header(HeaderName::Subject), Some(&b"one   two  \tthree"[..]));
    assert_eq!(message.call_id(), Some("x"));
    assert_eq!(message.body(), b"bo\r\n dy");
    assert_eq!(message.as_bytes(), text.as_bytes());
}

#[test]
fn lists_are_split_across_rows_and_at_commas() {
    let message = parse(
        "OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1, SIP/2.0/TCP b;branch=z9hG4bK2\r\nVia: SIP/2.0/UDP c\r\n\
         Contact: \"A, B\" <sip:a@b;x=1,2>;q=0.5 , <sip:c@d>\r\nRoute: <sip:r1;lr>,<sip:r2;lr>\r\nDate: Sat, 31 Jan 2026 09:00:00 GMT\r\n\r\n",
    );
    assert_eq!(message.values(HeaderName::Via).count(), 3);
    assert_eq!(message.top_via().unwrap().branch(), Some("z9hG4bK1"));
    let contacts: Vec<_> = message.contacts().map(Result::unwrap).collect();
    assert_eq!(contacts.len(), 2);
    assert_eq!(contacts[0].display_name().unwrap(), "A, B");
    assert_eq!(contacts[0].q(), Some(500));
    assert_eq!(message.values(HeaderName::Route).count(), 2);
    assert_eq!(message.values(HeaderName::Date).count(), 1);
}

#[test]
fn a_blank_after_a_semicolon_does_not_lose_the_branch() {
    for value in [
        "SIP/2.0/UDP a; branch=z9hG4bK1",
        "SIP/2.0/UDP a ;rport; branch = z9hG4bK1 ;x",
        "SIP/2.0/UDP a:5060 ; BRANCH=z9hG4bK1",
    ] {
        assert_eq!(Via::parse(value.as_bytes()).unwrap().branch(), Some("z9hG4bK1"), "{value}");
    }
}

#[test]
fn a_branch_or_tag_is_found_however_it_is_spelt() {
    for params in
        ["tag=x", "tag= x", "tag =x", "TAG=x", "tag=\"x\"", "a=\"tag=y;\";tag=x", "tag=x;tag=y", "tag=x "]
    {
        let value = format!("<sip:a@b>;{params}");
        assert_eq!(NameAddr::parse(value.as_bytes()).unwrap().tag(), Some("x"), "{value}");
        let value = format!("SIP/2.0/UDP a;{}", params.replace("tag", "branch").replace("TAG", "Branch"));
        assert_eq!(Via::parse(value.as_bytes()).unwrap().branch(), Some("x"), "{value}");
    }
    for params in ["tag=", "tag", "tag=\"\"", "tags=x", "tag=a b"] {
        assert_eq!(
            NameAddr::parse(format!("<sip:a@b>;{params}").as_bytes()).unwrap().tag(),
            None,
            "{params}"
        );
    }
}

#[test]
fn received_and_rport_of_an_ipv6_via_are_read() {
    let message = Message::parse(challenge()).unwrap();
    let via = message.top_via().unwrap();
    assert_eq!(via.received(), Some("2001:db8::9".parse().unwrap()));
    assert_eq!(via.rport(), Some(Some(5060)));
    assert_eq!(via.port(), Some(5060));
    assert_eq!(via.branch(), Some("z9hG4bK7"));
}

#[test]
fn a_via_with_blanks_around_the_port_is_read() {
    let via = Via::parse(
        b"SIP / 2.0 / UDP first.example.com: 4000;ttl=16 ;maddr=224.2.0.1 ;branch=z9hG4bKa7c6a8dlze.1",
    )
    .unwrap();
    assert_eq!(
        (via.port(), via.maddr(), via.branch()),
        (Some(4000), Some("224.2.0.1"), Some("z9hG4bKa7c6a8dlze.1"))
    );
}

#[test]
fn challenges_of_one_row_and_of_several_are_found() {
    let message = Message::parse(challenge()).unwrap();
    let challenges = message.challenges();
    assert_eq!(challenges.len(), 2);
    assert_eq!(challenges[0].realm, "a, b");
    assert!(challenges[0].stale && challenges[0].qop_auth_int);
    assert_eq!(challenges[1].algorithm, Some(attache_sip::digest::Algorithm::Md5));
}

#[test]
fn an_unknown_method_and_package_are_read() {
    let message = parse("WIGGLE sip:a@b SIP/2.0\r\nCSeq: 2147483647 WIGGLE\r\nEvent: made.up\r\n\r\n");
    assert_eq!(message.method(), Some(Method::Other("WIGGLE")));
    assert_eq!(message.cseq().unwrap().method, Method::Other("WIGGLE"));
    assert_eq!(message.event().unwrap().package, "made.up");
}

#[test]
fn cseq_is_below_two_to_the_31st() {
    let message = parse("BYE sip:a@b SIP/2.0\r\nCSeq: 2147483648 BYE\r\n\r\n");
    assert_eq!(message.cseq().unwrap_err(), HeaderError::Malformed(HeaderName::CSeq));
}

#[test]
fn status_codes_are_from_100_to_699() {
    for (line, valid) in [
        ("100", true),
        ("699", true),
        ("099", false),
        ("700", false),
        ("1000", false),
        ("20", false),
        ("2x0", false),
    ] {
        let text = format!("SIP/2.0 {line} Reason\r\n\r\n");
        assert_eq!(Message::parse(text.into()).is_ok(), valid, "{line}");
    }
}

#[test]
fn a_body_is_cut_to_its_content_length_and_the_surplus_ignored() {
    let message = parse("MESSAGE sip:a@b SIP/2.0\r\nContent-Length: 2\r\n\r\nhiGARBAGE");
    assert_eq!(message.body(), b"hi");
    assert!(message.as_bytes().ends_with(b"\r\n\r\nhi"));
    assert_eq!(parse("MESSAGE sip:a@b SIP/2.0\r\n\r\nall of it").body(), b"all of it");
}

#[test]
fn a_binary_body_and_binary_headers_stay_octets() {
    let bytes = b"MESSAGE sip:a@b SIP/2.0\r\nSubject: \xff\xfe\r\nContent-Length: 4\r\n\r\n\x00\xff\r\n";
    let message = Message::parse(Bytes::from_static(bytes)).unwrap();
    assert_eq!(message.header(HeaderName::Subject), Some(&b"\xff\xfe"[..]));
    assert_eq!(message.body(), b"\x00\xff\r\n");
    assert_eq!(message.body_bytes(), &b"\x00\xff\r\n"[..]);
}

#[test]
fn content_length_that_is_negative_contradictory_or_too_large_is_refused() {
    for (rows, expected) in [
        ("Content-Length: -1\r\n", Fault::ContentLength),
        ("Content-Length: x\r\n", Fault::ContentLength),
        ("Content-Length:\r\n", Fault::ContentLength),
        ("Content-Length: 0, 0\r\n", Fault::ContentLength),
        ("Content-Length: 0\r\nl: 1\r\n", Fault::ContentLength),
        ("Content-Length: 18446744073709551616\r\n", Fault::ContentLength),
        ("Content-Length: 1\r\n", Fault::Truncated),
    ] {
        assert_eq!(fault(&format!("OPTIONS sip:a@b SIP/2.0\r\n{rows}\r\n")), expected, "{rows}");
    }
    assert!(parse("OPTIONS sip:a@b SIP/2.0\r\nContent-Length: 0\r\nl: 00\r\n\r\n").body().is_empty());
}

#[test]
fn start_lines_that_are_none_are_refused() {
    for line in [
        "",
        "INVITE",
        "INVITE sip:a@b",
        "INVITE sip:a@b HTTP/1.1",
        "INVITE  sip:a@b SIP/2.0",
        "INVITE sip:a@b  SIP/2.0",
        "INVITE sip:a@b SIP/2.0 ",
        "INVITE sip:a b SIP/2.0",
        "INVITE <sip:a@b> SIP/2.0",
        "INV@ITE sip:a@b SIP/2.0",
        "SIP/2.0 200OK",
        "SIP/2.0  200 OK",
        "INVITE sip:a@b SIP/2",
        "INVITE sip:a@b SIP/x.0",
    ] {
        let text = format!("{line}\r\nCall-ID: x\r\n\r\n");
        let result = Message::parse(text.into());
        assert!(result.is_err(), "{line:?}");
    }
}

#[test]
fn line_ends_before_the_start_line_are_ignored() {
    let message = parse("\r\n\r\nOPTIONS sip:a@b SIP/2.0\r\n\r\n");
    assert_eq!(message.as_bytes(), b"OPTIONS sip:a@b SIP/2.0\r\n\r\n");
    assert_eq!(fault("\r\n\r\n"), Fault::Empty);
    assert_eq!(fault(""), Fault::Empty);
}

#[test]
fn a_lone_carriage_return_in_the_headers_is_refused() {
    assert_eq!(fault("OPTIONS sip:a@b SIP/2.0\r\nSubject: a\rVia: b\r\n\r\n"), Fault::LineEnd);
}

#[test]
fn a_line_that_is_no_header_spoils_nothing_but_itself() {
    let message =
        parse("OPTIONS sip:a@b SIP/2.0\r\nno colon here\r\nBad Name: x\r\n: y\r\nCall-ID: x\r\n\r\n");
    assert_eq!((message.bad_rows(), message.all().len(), message.call_id()), (3, 1, Some("x")));
}

#[test]
fn limits_are_kept() {
    let limits = Limits { message: 200, headers: 2, header: 40 };
    let check = |text: String| {
        Message::parse_with(text.into(), &limits).err().map(|error| (error.fault(), error.status()))
    };
    assert_eq!(check("OPTIONS sip:a@b SIP/2.0\r\na: 1\r\nb: 2\r\n\r\n".into()), None);
    assert_eq!(
        check("OPTIONS sip:a@b SIP/2.0\r\na: 1\r\nb: 2\r\nc: 3\r\n\r\n".into()),
        Some((Fault::TooManyHeaders, 513))
    );
    assert_eq!(
        check(format!("OPTIONS sip:a@b SIP/2.0\r\na: {}\r\n\r\n", "x".repeat(40))),
        Some((Fault::HeaderTooLarge, 513))
    );
    assert_eq!(
        check(format!("OPTIONS sip:{} SIP/2.0\r\n\r\n", "x".repeat(40))),
        Some((Fault::HeaderTooLarge, 513))
    );
    assert_eq!(
        check(format!("OPTIONS sip:a@b SIP/2.0\r\n\r\n{}", "x".repeat(200))),
        Some((Fault::TooLarge, 513))
    );
}

#[test]
fn an_address_with_a_question_mark_must_stand_in_brackets() {
    assert!(NameAddr::parse(b"sip:a@b?x=y").is_none());
    assert_eq!(NameAddr::parse(b"<sip:a@b?x=y>").unwrap().uri().unwrap().headers(), Some("x=y"));
    assert_eq!(NameAddr::parse(b"sip:a@b;tag=1").unwrap().tag(), Some("1"));
    assert_eq!(NameAddr::parse(b"<sip:a@b;tag=1>").unwrap().tag(), None);
}

#[test]
fn names_of_people_are_read_as_they_write_them() {
    for (value, name) in [
        (r#""J \"R\" Doe" <sip:a@b>"#, Some(r#"J "R" Doe"#)),
        ("J. R. Doe (Berlin) <sip:a@b>", Some("J. R. Doe (Berlin)")),
        ("J\u{e4}s <sip:a@b>", Some("J\u{e4}s")),
        ("caller<sip:a@b>", Some("caller")),
        ("<sip:a@b>", None),
        ("sip:a@b", None),
    ] {
        assert_eq!(NameAddr::parse(value.as_bytes()).unwrap().display_name().as_deref(), name, "{value}");
    }
    for bad in [
        "Bell, Alexander <sip:a@b>",
        "\"open <sip:a@b>",
        "\"x\" sip:a@b",
        "a\"b <sip:a@b>",
        "<sip:a@b",
        "<>",
        "< sip:a@b >",
        "",
        "<sip:a@b>x",
    ] {
        assert!(NameAddr::parse(bad.as_bytes()).is_none(), "{bad}");
    }
}

#[test]
fn retry_after_is_read_with_a_comment_and_a_duration() {
    let value = RetryAfter::parse(b"18000 (in a (long) meeting \\) ) ;duration=3600").unwrap();
    assert_eq!((value.seconds, value.duration()), (18_000, Some(3_600)));
    assert!(RetryAfter::parse(b"soon").is_none() && RetryAfter::parse(b"5 (open").is_none());
}

#[test]
fn absurd_times_saturate_and_malformed_ones_are_none() {
    assert_eq!(
        parse("OPTIONS sip:a@b SIP/2.0\r\nExpires: 100000000000000000\r\n\r\n").expires(),
        Some(u32::MAX)
    );
    assert_eq!(parse("OPTIONS sip:a@b SIP/2.0\r\nExpires: soon\r\n\r\n").expires(), None);
}

#[test]
fn each_fault_gets_the_code_it_deserves() {
    assert!(codes(&request("")).is_empty());
    assert_eq!(codes("OPTIONS sip:a@b SIP/2.0\r\n\r\n"), [400; 5]);
    assert_eq!(codes(&request("").replace(" SIP/2.0\r\n", " SIP/7.0\r\n")), [505]);
    assert_eq!(codes(&request("").replace("1 OPTIONS", "1 INVITE")), [400]);
    assert_eq!(codes(&request("To: <sip:c@d>\r\n")), [400]);
    assert_eq!(codes(&request("Require: made-up\r\n")), [420]);
    assert_eq!(codes(&request("").replace("sip:alice@example.com SIP", "made-up:x SIP")), [416]);
    assert_eq!(codes(&request("").replace("sip:alice@example.com SIP", "sip:2001:db8::1 SIP")), [400]);
    assert_eq!(codes(&request("").replace("Max-Forwards: 70", "Max-Forwards: 256")), [400]);
    assert_eq!(codes(&request("Contact: \"x <sip:a@b>\r\n")), [400]);
}

#[test]
fn what_is_forgiven_is_told() {
    let told = |text: &str| {
        let findings = validate(&parse(text));
        assert!(!findings.is_empty() && findings.iter().all(|finding| !finding.must_refuse()), "{text}");
        findings.iter().all(|finding| finding.code == 400)
    };
    assert!(told(&request("").replace("z9hG4bKx", "z9hG4bK")));
    assert!(told(&request("").replace("Max-Forwards: 70\r\n", "")));
    assert!(told(&request("Date: today\r\n")));
    assert!(told(&request("not a header\r\n")));
    assert!(told(&request("Content-Length: 0\r\nContent-Length: 0\r\n")));
}

#[test]
fn support_decides_what_may_be_required() {
    let message = parse(&request("Require: foo, path\r\n"));
    let support = Support { options: &["foo", "path"], other_schemes: false };
    assert_eq!(validate_with(&message, &support), []);
    let tel = parse(&request("").replace("sip:alice@example.com SIP", "tel:+1 SIP"));
    assert_eq!(validate_with(&tel, &support)[0].code, 416);
}

#[test]
fn debug_output_hides_the_body() {
    assert!(!format!("{:?}", Message::parse(notify()).unwrap()).contains("presence"));
}
