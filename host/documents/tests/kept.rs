//! Documents that are kept on a service: nothing of anybody is lost, and nothing costs more than its length.

#![allow(clippy::unwrap_used, reason = "test code")]

use attache_documents::resource_lists::{
    self, DisplayName, Entry, EntryRef, External, List, Member, ResourceLists,
};
use attache_documents::rls_services::{self, Members, RlsServices, Service};
use attache_documents::watcher_info::{self, Event, State, Status, Watcher, WatcherInfo, WatcherList};
use attache_documents::xcap::{
    Capabilities, Conflict, DocumentChange, Exists, NodeChange, NodeContent, XcapDiff, read_capabilities,
    read_diff, read_error, write_capabilities, write_diff, write_error,
};
use attache_documents::{DocumentError, Foreign, Limits, policy};
use proptest::prelude::*;

const LISTS: &str = r#"<?xml version="1.0"?>
<rl:resource-lists xmlns:rl="urn:ietf:params:xml:ns:resource-lists" xmlns:x="urn:x" x:owner="x:alice">
  <!-- made by hand -->
  <rl:list name="friends" x:colour="red">
    <rl:display-name xml:lang="de">Freunde &amp; Co</rl:display-name>
    <rl:entry uri="sip:bob@example.com" x:rank="1"><rl:display-name>Bob</rl:display-name><x:phone kind="x:desk">12<x:ext/></x:phone></rl:entry>
    <rl:list name="close"><rl:entry uri="sip:carol@example.com"/></rl:list>
    <rl:entry-ref ref="resource-lists/users/sip:dave@example.com/index/~~/resource-lists/list/entry"/>
    <rl:external anchor="http://xcap.example.org/list"><rl:display-name>Work</rl:display-name></rl:external>
    <x:sort order="name"/>
  </rl:list>
  <x:trailer/>
</rl:resource-lists>"#;

fn lists(text: &str) -> ResourceLists {
    resource_lists::read(text.as_bytes(), &Limits::STORED).unwrap()
}

#[test]
fn a_contact_list_is_read_with_all_its_kinds_of_members() {
    let document = lists(LISTS);
    let friends = &document.lists[0];
    assert_eq!(friends.name.as_deref(), Some("friends"));
    let name = DisplayName { text: "Freunde & Co".into(), lang: Some("de".into()) };
    assert_eq!(friends.display_name, Some(name));
    let kinds: Vec<_> = friends
        .members
        .iter()
        .map(|member| match member {
            Member::Entry(entry) => entry.uri.as_str(),
            Member::List(list) => list.name.as_deref().unwrap(),
            Member::EntryRef(EntryRef { reference, .. }) => reference,
            Member::External(External { anchor, .. }) => anchor,
        })
        .collect();
    assert_eq!(kinds[..2], ["sip:bob@example.com", "close"]);
    assert_eq!(kinds[3], "http://xcap.example.org/list");
}

#[test]
fn what_others_put_into_contact_lists_survives() {
    let before = lists(LISTS);
    let written = resource_lists::write(&before);
    assert_eq!(lists(&written), before, "{written}");
    for kept in
        ["x:phone", "kind=\"x:desk\"", "<x:ext/>", "x:sort", "x:trailer", "x:alice", "\"red\"", "\"1\""]
    {
        assert!(written.contains(kept), "{kept} is lost:\n{written}");
    }
}

#[test]
fn foreign_elements_without_a_namespace_stay_without_one() {
    let text = "<l:resource-lists xmlns:l=\"urn:ietf:params:xml:ns:resource-lists\"><plain><inner/></plain></l:resource-lists>";
    let before = lists(text);
    assert_eq!(before.foreign[0].name(), (String::new(), "plain".into()));
    let after = lists(&resource_lists::write(&before));
    assert_eq!(after.foreign[0].name(), (String::new(), "plain".into()));
    assert_eq!(lists(&resource_lists::write(&after)), after);
}

#[test]
fn services_are_read_with_references_and_lists_of_their_own() {
    // The example of RFC 4826, section 4.3.
    let text = r#"<?xml version="1.0" encoding="UTF-8"?>
<rls-services xmlns="urn:ietf:params:xml:ns:rls-services" xmlns:rl="urn:ietf:params:xml:ns:resource-lists"
   xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
 <service uri="sip:mybuddies@example.com">
  <resource-list>http://xcap.example.com/resource-lists/users/sip:joe@example.com/index/~~/resource-lists/list%5b@name=%22l1%22%5d</resource-list>
  <packages><package>presence</package></packages>
 </service>
 <service uri="sip:marketing@example.com">
   <list name="marketing"><rl:entry uri="sip:joe@example.com"/><rl:entry uri="sip:sudhir@example.com"/></list>
   <packages><package>presence</package></packages>
 </service>
</rls-services>"#;
    let document = rls_services::read(text.as_bytes(), &Limits::STORED).unwrap();
    assert!(matches!(&document.services[0].members, Members::Reference(uri) if uri.ends_with("%22l1%22%5d")));
    let Members::List(list) = &document.services[1].members else { panic!("no list") };
    assert_eq!(list.members.len(), 2);
    assert!(document.services[1].has_package("presence") && !document.services[1].has_package("dialog"));
    let written = rls_services::write(&document);
    assert_eq!(rls_services::read(written.as_bytes(), &Limits::STORED).unwrap(), document, "{written}");
}

#[test]
fn a_service_that_is_made_here_reads_back() {
    let service = Service::presence("sip:a@example.com", "http://x/list");
    let document = RlsServices { services: vec![service], ..RlsServices::default() };
    assert_eq!(
        rls_services::read(rls_services::write(&document).as_bytes(), &Limits::STORED).unwrap(),
        document
    );
}

#[test]
fn watchers_are_read_and_written() {
    let watcher = Watcher {
        uri: "sip:bob@example.com".into(),
        id: "8ajksjda7s".into(),
        status: Status::Pending,
        event: Event::Subscribe,
        expiration: Some(600),
        duration_subscribed: Some(0),
        display_name: Some("Bob \"B\"".into()),
    };
    let document = WatcherInfo {
        version: 7,
        state: State::Partial,
        lists: vec![WatcherList {
            resource: "sip:alice@example.com".into(),
            package: "presence".into(),
            watchers: vec![watcher],
        }],
    };
    let written = watcher_info::write(&document);
    assert_eq!(watcher_info::read(written.as_bytes(), &Limits::STORED).unwrap(), document);
}

#[test]
fn one_watcher_that_cannot_be_understood_does_not_spoil_the_others() {
    let text = r#"<watcherinfo xmlns="urn:ietf:params:xml:ns:watcherinfo" version="0" state="full">
        <watcher-list resource="sip:a@b" package="presence">
          <watcher id="1" status="dreaming" event="subscribe">sip:x@b</watcher>
          <watcher id="2" status="active" event="approved">sip:y@b</watcher></watcher-list></watcherinfo>"#;
    let document = watcher_info::read(text.as_bytes(), &Limits::STORED).unwrap();
    assert_eq!(document.lists[0].watchers.len(), 1);
}

#[test]
fn errors_of_a_service_are_read_and_written() {
    let all = [
        Conflict::NotWellFormed.into(),
        Conflict::NotXmlFrag.into(),
        Conflict::NoParent { ancestor: None }.into(),
        Conflict::NoParent { ancestor: Some("http://x/a/~~/b".into()) }.because("there is <no> such list"),
        Conflict::SchemaValidation.because("no uri"),
        Conflict::NotXmlAttValue.into(),
        Conflict::CannotInsert.into(),
        Conflict::CannotDelete.into(),
        Conflict::Uniqueness(vec![Exists {
            field: "a/b/@uri".into(),
            alternatives: vec!["x".into(), "y".into()],
        }])
        .into(),
        Conflict::Constraint.into(),
        Conflict::NotUtf8.into(),
        Conflict::Extension(vec![Foreign::parse("<x:y xmlns:x=\"urn:x\"/>", &Limits::DEFAULT).unwrap()])
            .into(),
    ];
    for error in all {
        let written = write_error(&error);
        assert_eq!(read_error(written.as_bytes(), &Limits::DEFAULT).unwrap(), error, "{written}");
    }
}

#[test]
fn capabilities_are_read_and_written() {
    let capabilities = Capabilities {
        auids: vec!["resource-lists".into(), "pres-rules".into()],
        extensions: Vec::new(),
        namespaces: vec!["urn:x".into()],
    };
    let written = write_capabilities(&capabilities);
    assert_eq!(read_capabilities(written.as_bytes(), &Limits::DEFAULT).unwrap(), capabilities);
}

#[test]
fn changes_of_documents_are_read_and_written() {
    let document = |selector: &str, new: Option<&str>, previous: Option<&str>| DocumentChange {
        selector: selector.into(),
        new_etag: new.map(str::to_owned),
        previous_etag: previous.map(str::to_owned),
        ..DocumentChange::default()
    };
    let patch = Foreign::parse(
        "<d:add xmlns:d=\"urn:ietf:params:xml:ns:xcap-diff\" sel=\"a\"><d:x/></d:add>",
        &Limits::DEFAULT,
    );
    let diff = XcapDiff {
        root: "http://xcap.example.com/root/".into(),
        documents: vec![
            document("new", Some("1"), None),
            document("gone", None, Some("2")),
            DocumentChange { body_not_changed: true, ..document("same", Some("3"), Some("2")) },
            DocumentChange { patch: vec![patch.unwrap()], ..document("patched", Some("3"), Some("2")) },
        ],
        elements: vec![
            NodeChange {
                selector: "a/~~/b".into(),
                exists: true,
                content: Some(NodeContent::Element(
                    Foreign::parse("<b xmlns=\"urn:b\"/>", &Limits::DEFAULT).unwrap(),
                )),
            },
            NodeChange { selector: "a/~~/c".into(), exists: false, content: None },
        ],
        attributes: vec![NodeChange {
            selector: "a/~~/b/@c".into(),
            exists: true,
            content: Some(NodeContent::Value("d".into())),
        }],
    };
    let written = write_diff(&diff);
    assert_eq!(read_diff(written.as_bytes(), &Limits::DEFAULT).unwrap(), diff, "{written}");
}

#[test]
fn what_could_cost_more_than_its_length_is_refused() {
    let bomb = "<!DOCTYPE r [<!ENTITY a \"aaaa\">]><resource-lists xmlns=\"urn:ietf:params:xml:ns:resource-lists\"/>";
    assert_eq!(resource_lists::read(bomb.as_bytes(), &Limits::STORED), Err(DocumentError::Entities));
    let entity = "<resource-lists xmlns=\"urn:ietf:params:xml:ns:resource-lists\">&a;</resource-lists>";
    assert_eq!(resource_lists::read(entity.as_bytes(), &Limits::STORED), Err(DocumentError::Entities));
    let too_large = |text: &str, what: &str| {
        let refused = policy::read(text.as_bytes(), &Limits::STORED);
        assert!(
            matches!(&refused, Err(DocumentError::TooLarge { what: of, .. }) if *of == what),
            "{refused:?}"
        );
    };
    too_large(&"<a>".repeat(100_000), "levels");
    too_large(&format!("<a>{}</a>", "<b/>".repeat(200_000)), "elements");
    too_large(&format!("<a b=\"{}\"/>", "c".repeat(20_000)), "bytes of one text");
    let attributes: String = (0..1000).map(|number| format!(" a{number}=\"\"")).collect();
    too_large(&format!("<a{attributes}/>"), "attributes");
    let nested: String = (0..10)
        .map(|number| {
            let declared: String = (0..10).map(|inner| format!(" xmlns:p{number}{inner}=\"u\"")).collect();
            format!("<a{declared}>")
        })
        .collect();
    too_large(&nested, "namespaces");
    too_large(&" ".repeat(5 << 20), "bytes");
}

#[test]
fn what_is_not_well_formed_is_refused() {
    for text in [
        "",
        " ",
        "x",
        "<a",
        "<a>",
        "<a></b>",
        "<a/><b/>",
        "<a/>x",
        "<p:a/>",
        "<a p:b=\"\"/>",
        "<a b=\"&c;\"/>",
        "<a b=\"1\" b=\"2\"/>",
        "<a xmlns:p=\"\"/>",
        "<resource-lists/>",
    ] {
        assert!(resource_lists::read(text.as_bytes(), &Limits::STORED).is_err(), "{text}");
    }
    assert!(resource_lists::read(b"<a>\xff</a>", &Limits::STORED).is_err());
}

fn any_text() -> impl Strategy<Value = String> {
    "[ -~äß\u{1F600}]{0,12}".prop_map(|text| text.trim().to_owned())
}

fn any_name() -> impl Strategy<Value = Option<DisplayName>> {
    prop::option::of(any_text().prop_map(DisplayName::new))
}

fn any_list() -> impl Strategy<Value = List> {
    let entry = (any_text(), any_name())
        .prop_map(|(uri, display_name)| Member::Entry(Entry { uri, display_name, ..Entry::default() }));
    let leaf = (prop::option::of(any_text()), any_name(), prop::collection::vec(entry, 0..4))
        .prop_map(|(name, display_name, members)| List { name, display_name, members, ..List::default() });
    leaf.prop_recursive(3, 12, 3, |inner| {
        let members = prop::collection::vec(inner.prop_map(Member::List), 0..3);
        (prop::option::of(any_text()), any_name(), members).prop_map(|(name, display_name, members)| List {
            name,
            display_name,
            members,
            ..List::default()
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn contact_lists_read_back_as_they_were_written(all in prop::collection::vec(any_list(), 0..3)) {
        let document = ResourceLists { lists: all, ..ResourceLists::default() };
        let written = resource_lists::write(&document);
        prop_assert_eq!(resource_lists::read(written.as_bytes(), &Limits::STORED).unwrap(), document);
    }

    #[test]
    fn no_text_makes_a_reader_fail_otherwise_than_with_an_error(text in "[<>/a-c=\"'&;: !\\[\\]-]{0,60}") {
        let _ = resource_lists::read(text.as_bytes(), &Limits::STORED);
        let _ = policy::read(text.as_bytes(), &Limits::STORED);
        if let Ok(foreign) = Foreign::parse(&text, &Limits::STORED) {
            prop_assert!(Foreign::parse(foreign.as_str(), &Limits::STORED).is_ok());
        }
    }
}

#[test]
fn names_of_namespaces_are_not_copied_without_bound() {
    let document = |length: usize, prefixes: usize, count: usize, text: &str| {
        let name = "n".repeat(length);
        let declared: String = (0..prefixes).map(|n| format!(" xmlns:p{n}='urn:{n}:{name}'")).collect();
        let one: String = (0..prefixes).map(|n| format!("<p{n}:e/>")).collect();
        let all = format!("<entry uri='sip:a@b'><p0:x>{one}</p0:x>{text}</entry>").repeat(count);
        format!(
            "<resource-lists xmlns='urn:ietf:params:xml:ns:resource-lists'{declared}><list>{all}</list></resource-lists>"
        )
    };
    let limits = Limits { bytes: 256 * 1024, ..Limits::STORED };
    let read = |text: &str| resource_lists::read(text.as_bytes(), &limits);
    assert!(read(&document(20, 4, 100, "")).is_ok());
    let too_long = read(&document(2_000, 1, 1, ""));
    assert!(matches!(too_long, Err(DocumentError::TooLarge { limit: 1024, .. })), "{too_long:?}");
    let copied = read(&document(1_000, 40, 100, ""));
    assert!(matches!(copied, Err(DocumentError::TooLarge { .. })), "{:?}", copied.map(|_| ()));
}
