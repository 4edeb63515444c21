//! The bridge to `rsip`: what it carries over, what it hides, and what it refuses.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the vocabulary on the far side of the bridge"
)]

use attache_sip::bridge::{
    BridgeError, Redaction, from_request, from_response, from_uri, to_message, to_request, to_response,
    to_uri,
};
use attache_sip::message::{HeaderName, Message};
use attache_sip::uri::Uri;

use super::message::{challenge, notify};

fn rows(message: &Message) -> Vec<(HeaderName, Vec<u8>)> {
    message
        .all()
        .filter(|row| row.1 != HeaderName::ContentLength)
        .map(|(_, id, value)| (id, value.to_vec()))
        .collect()
}

#[test]
fn a_request_survives_the_way_there_and_back() {
    let message = Message::parse(notify()).unwrap();
    let request = to_request(&message, Redaction::default()).unwrap();
    assert_eq!(request.method, rsip::Method::Notify);
    assert_eq!(request.body, message.body());
    let again = Message::parse(from_request(&request).unwrap()).unwrap();
    assert_eq!(again.request_uri_bytes(), message.request_uri_bytes());
    assert_eq!(rows(&again), rows(&message));
    assert_eq!(again.body(), message.body());
}

#[test]
fn a_response_survives_the_way_there_and_back() {
    let message = Message::parse(challenge()).unwrap();
    let response = to_response(&message, Redaction::default()).unwrap();
    assert_eq!(response.status_code, rsip::StatusCode::Unauthorized);
    let bytes = from_response(&response).unwrap();
    assert!(bytes.starts_with(b"SIP/2.0 401 Unauthorized\r\nVia: "));
    assert_eq!(rows(&Message::parse(bytes).unwrap()), rows(&message));
    assert_eq!(to_request(&message, Redaction::default()).unwrap_err(), BridgeError::Kind);
    assert!(matches!(to_message(&message, Redaction::default()), Ok(rsip::SipMessage::Response(_))));
}

#[test]
fn addresses_that_rsip_misreads_are_carried_over_right() {
    for text in [
        "sip:john.doe@example.com",
        "sip:alice:secret@[2001:db8::1]:5061;transport=tcp;lr;x=y",
        "pres:bob@example.com",
        "im:bob@example.com",
        "sips:a@192.0.2.1;user=phone;maddr=b",
        "tel:+12015550123;phone-context=example.com",
        "urn:service:sos",
    ] {
        let uri = to_uri(&Uri::parse_str(text).unwrap());
        assert_eq!(from_uri(&uri).unwrap(), text);
    }
    let uri = to_uri(&Uri::parse_str("sip:john.doe@example.com").unwrap());
    assert_eq!(uri.user(), Some("john.doe"));
    assert_eq!(uri.host().to_string(), "example.com");
}

#[test]
fn credentials_are_hidden_unless_asked_for() {
    let text = "REGISTER sip:a SIP/2.0\r\nAuthorization: Digest username=\"a\", response=\"deadbeef\"\r\n\
                Proxy-Authorization: Bearer deadbeef\r\nContent-Length: 0\r\n\r\n";
    let message = Message::parse(text.into()).unwrap();
    let shown = format!("{:?}", to_request(&message, Redaction::default()).unwrap());
    assert!(
        !shown.contains("deadbeef") && shown.contains("Digest redacted") && shown.contains("Bearer redacted")
    );
    assert!(format!("{:?}", to_request(&message, Redaction::Nothing).unwrap()).contains("deadbeef"));
}

#[test]
fn what_rsip_cannot_say_is_an_error() {
    let unknown = Message::parse("WIGGLE sip:a SIP/2.0\r\n\r\n".into()).unwrap();
    assert_eq!(to_request(&unknown, Redaction::default()).unwrap_err(), BridgeError::Method("WIGGLE".into()));
    let future = Message::parse("OPTIONS sip:a SIP/3.0\r\n\r\n".into()).unwrap();
    assert_eq!(to_request(&future, Redaction::default()).unwrap_err(), BridgeError::Version);
}

#[test]
fn a_binary_body_stays_binary() {
    let message = Message::parse(bytes::Bytes::from_static(
        b"MESSAGE sip:a SIP/2.0\r\nContent-Length: 2\r\n\r\n\xff\0",
    ))
    .unwrap();
    let request = to_request(&message, Redaction::default()).unwrap();
    assert!(from_request(&request).unwrap().ends_with(b"\r\n\r\n\xff\0"));
}

#[test]
fn nothing_is_smuggled_through_the_bridge() {
    let mut request = to_request(&Message::parse(notify()).unwrap(), Redaction::default()).unwrap();
    request.headers.push(rsip::Header::Other("X-A".into(), "b\r\nVia: c".into()));
    assert!(matches!(from_request(&request), Err(BridgeError::Build(_))));
    let uri = rsip::Uri {
        host_with_port: rsip::Host::Domain("a\r\nVia: b".to_owned().into()).into(),
        ..rsip::Uri::default()
    };
    assert!(matches!(from_uri(&uri), Err(BridgeError::Uri(_))));
}

/// Every Rust file below a folder.
fn sources(folder: &std::path::Path, found: &mut Vec<std::path::PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn only_the_bridge_converts_with_rsip() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let mut files = Vec::new();
    for crate_folder in std::fs::read_dir(root.join("host")).unwrap().flatten() {
        sources(&crate_folder.path().join("src"), &mut files);
    }
    assert!(files.len() > 20, "{} sources", files.len());
    for file in files.iter().filter(|file| !file.ends_with("sip/src/bridge.rs")) {
        let text = std::fs::read_to_string(file).unwrap();
        // Whoever needs a value of these types in a file gets it from the bridge, not by conversion.
        let code: String = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        if code.contains("rsip::") {
            for conversion in ["try_from", "try_into", "TryFrom", "TryInto", ".typed()", ".parse::<rsip"] {
                assert!(!code.contains(conversion), "{}: {conversion}", file.display());
            }
        }
    }
}
