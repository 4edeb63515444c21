//! Addresses: what is read, what is refused, what is the same.

use attache_sip::uri::{Host, Scheme, Uri, UriBuf, UriError};
use proptest::prelude::*;

fn uri(text: &str) -> Uri<'_> {
    Uri::parse_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn same(a: &str, b: &str) -> bool {
    let forth = uri(a).equivalent(&uri(b));
    assert_eq!(forth, uri(b).equivalent(&uri(a)), "{a} {b}");
    forth
}

#[test]
fn a_dot_in_the_user_part_stays_in_the_user_part() {
    let uri = uri("sip:john.doe@example.com");
    assert_eq!(uri.user(), Some("john.doe"));
    assert_eq!(uri.host(), Some(Host::Name("example.com")));
}

#[test]
fn every_part_is_found() {
    let uri =
        uri("sips:al;ice?x&y=%41:pass@[2001:db8::1]:5061;transport=tcp;lr;maddr=a?Subject=x%20y&Replaces=z");
    assert_eq!(uri.scheme(), Scheme::Sips);
    assert_eq!(uri.user(), Some("al;ice?x&y=%41"));
    assert_eq!(uri.password(), Some("pass"));
    assert_eq!(uri.host().unwrap().to_string(), "[2001:db8::1]");
    assert_eq!(uri.port(), Some(5061));
    assert_eq!(uri.transport(), Some(attache_sip::transport::Transport::Tcp));
    assert!(uri.is_loose_router());
    assert_eq!(uri.param("MADDR"), Some("a"));
    assert_eq!(uri.header_pairs().collect::<Vec<_>>(), [("Subject", "x%20y"), ("Replaces", "z")]);
}

#[test]
fn presence_and_message_addresses_have_a_user_and_a_host() {
    for (text, scheme) in [("pres:bob@example.com", Scheme::Pres), ("im:bob@example.com", Scheme::Im)] {
        assert_eq!(uri(text).scheme(), scheme);
        assert_eq!(uri(text).user(), Some("bob"));
        assert_eq!(uri(text).password(), None);
        assert_eq!(uri(text).host(), Some(Host::Name("example.com")));
    }
}

#[test]
fn a_telephone_number_is_a_user_without_a_host() {
    let uri = uri("tel:+1-201-555-0123;phone-context=example.com");
    assert_eq!(uri.user(), Some("+1-201-555-0123"));
    assert_eq!(uri.host(), None);
    assert_eq!(uri.param("phone-context"), Some("example.com"));
}

#[test]
fn unknown_schemes_are_opaque() {
    assert_eq!(uri("urn:service:sos").opaque(), "service:sos");
    assert_eq!(uri("soap.beep://192.0.2.103:3002").scheme(), Scheme::Other("soap.beep"));
}

#[test]
fn what_is_no_address_is_refused() {
    for (text, error) in [
        ("", UriError::Scheme),
        ("alice", UriError::Scheme),
        (":alice@example.com", UriError::Scheme),
        ("1sip:alice@example.com", UriError::Scheme),
        ("sip:", UriError::Empty),
        ("sip:@example.com", UriError::User),
        ("sip:alice@", UriError::Host),
        ("sip:alice@exa mple.com", UriError::Character),
        ("<sip:alice@example.com>", UriError::Character),
        ("sip:alice@example.com:99999", UriError::Port),
        ("sip:alice@example.com:", UriError::Port),
        ("sip:alice@example.com:50x0", UriError::Port),
        ("sip:2001:db8::10", UriError::Host),
        ("sip:[2001:db8::10", UriError::Host),
        ("sip:[2001:db8::10]5060", UriError::Host),
        ("sip:al%4ice@example.com%4", UriError::Parameter),
        ("sip:alice@example.com;=x", UriError::Parameter),
        ("sip:alice@trusted.example?x@evil.example", UriError::User),
        ("sip:alice\r\n@example.com", UriError::Character),
    ] {
        assert_eq!(Uri::parse_str(text).unwrap_err(), error, "{text:?}");
    }
    assert_eq!(Uri::parse(b"sip:al\xffice@example.com").unwrap_err(), UriError::Character);
}

#[test]
fn the_examples_of_rfc_3261_19_1_4_that_are_equivalent_are() {
    for (a, b) in [
        ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtlanTa.CoM;Transport=tcp"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
        ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;newparam=5"),
        (
            "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
            "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
        ),
        (
            "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
            "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
        ),
    ] {
        assert!(same(a, b), "{a} {b}");
    }
}

#[test]
fn the_examples_of_rfc_3261_19_1_4_that_are_not_equivalent_are_not() {
    for (a, b) in [
        ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"),
        ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
        ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off"),
        ("sip:a@b", "sips:a@b"),
        ("sip:a@b", "sip:b"),
    ] {
        assert!(!same(a, b), "{a} {b}");
    }
}

#[test]
fn ipv6_addresses_are_compared_by_value() {
    assert!(same("sip:a@[2001:db8:0:0::1]", "sip:a@[2001:DB8::1]"));
    assert!(!same("sip:a@[2001:db8::1]", "sip:a@[2001:db8::2]"));
}

#[test]
fn telephone_numbers_are_compared_without_separators() {
    assert!(same("tel:+1-201-555-0123", "tel:+12015550123"));
    assert!(!same("tel:+1-201-555-0123", "tel:+12015550124"));
}

#[test]
fn the_key_of_an_address_of_record_is_canonical() {
    for text in [
        "sip:alice@example.com",
        "SIP:alice@EXAMPLE.com",
        "sip:%61lice@example.com.;transport=tcp",
        "sip:alice:secret@example.com?Subject=x",
    ] {
        assert_eq!(uri(text).aor_key(), "sip:alice@example.com", "{text}");
    }
    assert_eq!(uri("sip:a%2fb@[2001:DB8::1]:5070").aor_key(), "sip:a%2Fb@[2001:db8::1]:5070");
    assert_ne!(uri("sip:Alice@example.com").aor_key(), uri("sip:alice@example.com").aor_key());
}

#[test]
fn a_password_is_not_printed_by_debug() {
    assert!(!format!("{:?}", uri("sip:alice:swordfish@example.com")).contains("swordfish"));
    assert!(
        !format!("{:?}", UriBuf::parse("sip:alice:swordfish@example.com").unwrap()).contains("swordfish")
    );
}

prop_compose! {
    fn any_uri()(
        scheme in prop::sample::select(vec!["sip", "sips", "pres", "im", "SIP"]),
        user in prop::option::of("[a-zA-Z0-9_.!~*'()&=+$,;?/%41-]{1,20}"),
        host in prop_oneof![
            "[a-z][a-z0-9-]{0,10}(\\.[a-z][a-z0-9]{0,5}){0,2}",
            any::<std::net::Ipv4Addr>().prop_map(|ip| ip.to_string()),
            any::<std::net::Ipv6Addr>().prop_map(|ip| format!("[{ip}]")),
        ],
        port in prop::option::of(any::<u16>()),
        params in prop::collection::vec(("[a-z][a-z0-9-]{0,8}", prop::option::of("[a-z0-9.]{1,8}")), 0..4),
        headers in prop::option::of("[A-Z][a-z]{0,6}=[a-z0-9]{0,6}"),
    ) -> (String, Option<String>, String, Option<u16>) {
        // Escapes are made whole.
        let user = user.map(|user| user.replace('%', "%2B"));
        let mut text = format!("{scheme}:");
        if let Some(user) = &user {
            text += &format!("{user}@");
        }
        text += &host;
        if let Some(port) = port {
            text += &format!(":{port}");
        }
        for (name, value) in &params {
            text += &format!(";{name}");
            if let Some(value) = value {
                text += &format!("={value}");
            }
        }
        if let Some(headers) = headers {
            text += &format!("?{headers}");
        }
        (text, user, host, port)
    }
}

proptest! {
    #[test]
    fn an_address_is_read_as_it_was_made((text, user, host, port) in any_uri()) {
        let uri = Uri::parse_str(&text).unwrap();
        prop_assert_eq!(uri.user(), user.as_deref());
        prop_assert!(uri.host().unwrap().same(&Host::parse(&host).unwrap()));
        prop_assert_eq!(uri.port(), port);
        prop_assert_eq!(uri.to_string(), text);
    }

    #[test]
    fn an_address_is_equivalent_to_itself_and_its_key_is_stable((text, ..) in any_uri()) {
        let uri = UriBuf::parse(&text).unwrap();
        prop_assert!(uri.equivalent(&uri));
        let key = uri.aor_key();
        prop_assert_eq!(UriBuf::parse(&key).unwrap().aor_key(), key);
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC{0,60}") {
        if let Ok(uri) = Uri::parse_str(&text) {
            let _ = (uri.aor_key(), uri.equivalent(&uri), uri.params().iter().count());
        }
    }
}
