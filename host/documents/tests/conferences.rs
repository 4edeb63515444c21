//! Conferences (RFC 4575), and the lists of people who are asked into them (RFC 5364).

use attache_documents::{
    Limits,
    conference_info::{
        self, ConferenceInfo, Description, Endpoint, EndpointStatus, LIMITS, Media, State, Status, User,
    },
    recipients::{self, Copy, Recipient},
};
use proptest::prelude::*;

fn user(name: &str, status: EndpointStatus) -> User {
    User {
        entity: format!("sip:{name}@example.com"),
        endpoints: vec![Endpoint {
            entity: format!("sip:{name}@192.0.2.1"),
            status: Some(status),
            ..Endpoint::default()
        }],
        ..User::default()
    }
}

fn read(text: &str) -> ConferenceInfo {
    conference_info::read(text.as_bytes(), &LIMITS).expect("a document").document
}

#[test]
fn a_conference_reads_back_as_it_was_written() {
    let document = ConferenceInfo {
        entity: "sip:room@example.com".into(),
        version: 7,
        description: Some(Description {
            display_text: Some("Lunch & more".into()),
            subject: Some("Where <to> go".into()),
            free_text: None,
            maximum_users: Some(64),
        }),
        status: Some(Status { user_count: Some(1), active: Some(true), locked: Some(false) }),
        users: vec![User {
            display_text: Some("Bob".into()),
            nickname: Some("bobby".into()),
            roles: vec!["participant".into()],
            endpoints: vec![Endpoint {
                entity: "sip:bob@192.0.2.1".into(),
                status: Some(EndpointStatus::OnHold),
                joining_method: Some("dialed-in".into()),
                joined_at: "2026-01-31T09:00:00Z".parse().ok(),
                disconnection_method: Some("departed".into()),
                disconnection_reason: Some("SIP;cause=200".into()),
                media: vec![Media {
                    id: "1".into(),
                    kind: Some("message".into()),
                    status: Some("sendrecv".into()),
                }],
                ..Endpoint::default()
            }],
            ..user("bob", EndpointStatus::Connected)
        }],
        ..ConferenceInfo::default()
    };
    assert_eq!(read(&conference_info::write(&document)), document);
}

#[test]
fn a_document_of_another_sender_is_understood() {
    let document = read(
        r#"<?xml version="1.0"?>
        <ci:conference-info xmlns:ci="urn:ietf:params:xml:ns:conference-info" entity="sips:conf233@example.com" state="full" version="1">
          <ci:conference-description><ci:subject>Agenda</ci:subject>
            <ci:service-uris><ci:entry><ci:uri>http://example.com</ci:uri></ci:entry></ci:service-uris></ci:conference-description>
          <ci:conference-state><ci:user-count>2</ci:user-count></ci:conference-state>
          <ci:users><ci:user entity="sip:bob@example.com" state="full"><ci:display-text>Bob</ci:display-text>
            <ci:endpoint entity="sip:bob@pc33.example.com"><ci:status>connected</ci:status></ci:endpoint></ci:user>
            <ci:user entity="sip:alice@example.com" state="full"><ci:endpoint entity="sip:4kfk4j392jsu@example.com">
            <ci:status>dialing-out</ci:status><ci:call-info/></ci:endpoint></ci:user></ci:users>
        </ci:conference-info>"#,
    );
    assert_eq!(document.description.unwrap().subject.as_deref(), Some("Agenda"));
    let there: Vec<_> =
        document.users.iter().map(|user| (user.entity.as_str(), user.is_connected())).collect();
    assert_eq!(there, [("sip:bob@example.com", true), ("sip:alice@example.com", false)]);
}

#[test]
fn a_change_of_a_conference_changes_only_what_it_names() {
    let mut known = ConferenceInfo {
        status: Some(Status { user_count: Some(2), ..Status::default() }),
        users: vec![user("alice", EndpointStatus::Connected), user("bob", EndpointStatus::DialingOut)],
        ..ConferenceInfo::default()
    };
    let change = read(
        r#"<conference-info xmlns="urn:ietf:params:xml:ns:conference-info" entity="sip:c@d" state="partial" version="1">
        <users state="partial"><user entity="sip:bob@example.com" state="partial">
        <endpoint entity="sip:bob@192.0.2.1" state="partial"><status>connected</status></endpoint></user>
        <user entity="sip:alice@example.com" state="deleted"/>
        <user entity="sip:carol@example.com"/></users></conference-info>"#,
    );
    known.merge(change, 16);
    let users: Vec<_> = known.users.iter().map(|user| (user.entity.as_str(), user.is_connected())).collect();
    assert_eq!(users, [("sip:bob@example.com", true), ("sip:carol@example.com", false)]);
    assert_eq!(known.status.as_ref().unwrap().user_count, Some(2));
    // One that says nothing of people leaves them.
    known.merge(
        read(
            r#"<conference-info xmlns="urn:ietf:params:xml:ns:conference-info" entity="sip:c@d" state="partial" version="2">
            <conference-state><user-count>3</user-count></conference-state></conference-info>"#,
        ),
        16,
    );
    assert_eq!((known.users.len(), known.version), (2, 2));
    known.merge(
        read(
            r#"<conference-info xmlns="urn:ietf:params:xml:ns:conference-info" entity="sip:c@d" state="deleted" version="3"/>"#,
        ),
        16,
    );
    assert_eq!((known.users.len(), known.state), (0, State::Deleted));
}

#[test]
fn a_change_without_a_version_is_no_change() {
    let text = r#"<conference-info xmlns="urn:ietf:params:xml:ns:conference-info" entity="sip:c@d" state="partial"/>"#;
    assert!(conference_info::read(text.as_bytes(), &LIMITS).is_err());
}

#[test]
fn a_conference_of_too_many_is_cut() {
    let users: String = (0..500).map(|n| format!(r#"<user entity="sip:u{n}@example.com"/>"#)).collect();
    let text = format!(
        r#"<conference-info xmlns="urn:ietf:params:xml:ns:conference-info" entity="sip:c@d" version="1"><users>{users}</users></conference-info>"#
    );
    let read = conference_info::read(text.as_bytes(), &Limits::DEFAULT).unwrap();
    assert_eq!((read.document.users.len(), read.forgiven.len()), (256, 1));
    let mut known = ConferenceInfo::default();
    known.merge(read.document, 100);
    assert_eq!(known.users.len(), 100);
}

#[test]
fn a_list_of_recipients_says_who_sees_whom() {
    let one = |uri: &str, copy, anonymous| Recipient {
        uri: uri.into(),
        display_name: "Some <one>".into(),
        copy,
        anonymous,
    };
    let list = [
        one("sip:bill@example.com", Copy::To, false),
        one("sip:randy@example.net", Copy::To, true),
        one("sip:eddy@example.com", Copy::Cc, false),
        one("sip:joe@example.org", Copy::Bcc, false),
    ];
    let text = recipients::write(&list);
    assert_eq!(recipients::read(text.as_bytes(), &Limits::DEFAULT).unwrap(), list);
    let seen: Vec<_> = recipients::visible(&list).into_iter().map(|it| it.uri).collect();
    assert_eq!(seen, ["sip:bill@example.com", "sip:anonymous@anonymous.invalid", "sip:eddy@example.com"]);
    let few = Limits { entries: 3, ..Limits::DEFAULT };
    assert!(recipients::read(text.as_bytes(), &few).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_reader_of_conferences_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = conference_info::read(&bytes, &LIMITS);
    }
}
