//! Presence documents as programs in the field send them, and as attackers do.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use attache_documents::{
    DocumentError, Finding, Limits,
    pidf::{self, Activity, Basic, Document, UserInputState},
};

fn read(text: &str) -> (Document, Vec<Finding>) {
    let parsed = pidf::read(text.as_bytes(), &Limits::DEFAULT).unwrap();
    (parsed.document, parsed.forgiven.iter().map(|forgiven| forgiven.finding).collect())
}

fn refused(text: &str) -> DocumentError {
    pidf::read(text.as_bytes(), &Limits::DEFAULT).unwrap_err()
}

const HEAD: &str = r#"<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="sip:bob@example.com">"#;

#[test]
fn the_example_of_rfc_3863_is_read_whole() {
    let (document, forgiven) = read(
        r#"<?xml version="1.0" encoding="UTF-8"?>
        <impp:presence xmlns:impp="urn:ietf:params:xml:ns:pidf" entity="pres:someone@example.com">
          <impp:tuple id="sg89ae">
            <impp:status><impp:basic>open</impp:basic></impp:status>
            <impp:contact priority="0.8">tel:+09012345678</impp:contact>
            <impp:note xml:lang="fr">Je suis là</impp:note>
            <impp:timestamp>2001-10-27T16:49:29+09:00</impp:timestamp>
          </impp:tuple>
        </impp:presence>"#,
    );
    assert_eq!(forgiven, []);
    let tuple = &document.tuples[0];
    assert_eq!((document.entity.as_str(), tuple.id.as_str()), ("pres:someone@example.com", "sg89ae"));
    assert_eq!(tuple.basic, Some(Basic::Open));
    let contact = tuple.contact.as_ref().unwrap();
    assert_eq!((contact.uri.as_str(), contact.priority), ("tel:+09012345678", Some(800)));
    assert_eq!((tuple.notes[0].text.as_str(), tuple.notes[0].lang.as_deref()), ("Je suis là", Some("fr")));
    assert_eq!(tuple.timestamp.unwrap().to_string(), "2001-10-27T07:49:29Z");
}

#[test]
fn rich_presence_at_person_service_and_device_is_read() {
    let (document, forgiven) = read(
        r#"<presence xmlns="urn:ietf:params:xml:ns:pidf" xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model"
            xmlns:rpid="urn:ietf:params:xml:ns:pidf:rpid" xmlns:lt="urn:ietf:params:xml:ns:location-type"
            entity="sip:someone@example.com">
          <tuple id="bs35r9"><status><basic>open</basic></status>
            <dm:deviceID>urn:device:0003ba4811e3</dm:deviceID>
            <rpid:relationship><rpid:self/></rpid:relationship>
            <rpid:service-class><rpid:electronic/></rpid:service-class>
            <contact priority="1">im:someone@mobile.example.net</contact></tuple>
          <note>whole</note>
          <dm:person id="p1">
            <rpid:activities from="2005-05-30T12:00:00+05:00" until="2005-05-30T17:00:00+05:00">
              <rpid:note>Far away</rpid:note><rpid:away/><rpid:on-the-phone/><rpid:other>brewing tea</rpid:other>
            </rpid:activities>
            <rpid:class>calendar</rpid:class>
            <rpid:mood><rpid:angry/><rpid:other>brooding</rpid:other></rpid:mood>
            <rpid:place-type><lt:office/></rpid:place-type>
            <rpid:privacy><rpid:audio/></rpid:privacy>
            <rpid:sphere>bowling league</rpid:sphere>
            <rpid:status-icon>http://www.example.com/play.gif</rpid:status-icon>
            <rpid:time-offset>-240</rpid:time-offset>
            <dm:note>Scoring 120</dm:note>
            <dm:timestamp>2005-05-30T16:09:44+05:00</dm:timestamp>
          </dm:person>
          <dm:device id="pc147">
            <rpid:user-input idle-threshold="600" last-input="2004-10-21T13:20:00-05:00">idle</rpid:user-input>
            <dm:deviceID>mac:8asd7d7d70</dm:deviceID>
          </dm:device>
        </presence>"#,
    );
    assert_eq!(forgiven, []);
    let rich = &document.persons[0].rich;
    assert_eq!(
        rich.activities.list,
        [Activity::Away, Activity::OnThePhone, Activity::Other("brewing tea".into())]
    );
    assert!(rich.activities.valid.from < rich.activities.valid.until);
    assert_eq!(rich.mood.list, ["angry", "brooding"]);
    assert_eq!(rich.place_type.list, ["office"]);
    assert_eq!(rich.time_offset, Some(-240));
    assert_eq!(document.persons[0].notes[0].text, "Scoring 120");
    assert_eq!(document.tuples[0].rich.relationship.list, ["self"]);
    let input = document.devices[0].rich.user_input.unwrap();
    assert_eq!((input.state, input.idle_threshold), (UserInputState::Idle, Some(600)));
    assert_eq!(document.notes[0].text, "whole");
}

#[test]
fn every_activity_of_rfc_4480_has_its_word() {
    assert_eq!(Activity::DEFINED.len(), 26);
    for activity in Activity::DEFINED {
        assert_eq!(Activity::from_name(activity.name()), *activity);
        let text = format!(
            r#"{HEAD}<p:person xmlns:p="urn:ietf:params:xml:ns:pidf:data-model" id="p"><r:activities
            xmlns:r="urn:ietf:params:xml:ns:pidf:rpid"><r:{}/></r:activities></p:person></presence>"#,
            activity.name()
        );
        assert_eq!(read(&text).0.persons[0].rich.activities.list, std::slice::from_ref(activity));
    }
}

#[test]
fn an_activity_of_somebody_elses_vocabulary_is_kept() {
    let (document, _) = read(&format!(
        r#"{HEAD}<p:person xmlns:p="urn:ietf:params:xml:ns:pidf:data-model" id="p"><r:activities
        xmlns:r="urn:ietf:params:xml:ns:pidf:rpid"><x:juggling xmlns:x="urn:x"/></r:activities></p:person></presence>"#
    ));
    assert_eq!(document.persons[0].rich.activities.list, [Activity::Other("juggling".into())]);
}

// ---- as programs send them ----

#[test]
fn asterisk_res_pjsip_is_read() {
    let (document, forgiven) = read(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<presence entity="sip:6001@192.0.2.5:5060" xmlns="urn:ietf:params:xml:ns:pidf" xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model" xmlns:rpid="urn:ietf:params:xml:ns:pidf:rpid">
 <note>On the phone</note>
 <tuple id="6001">
  <status>
   <basic>open</basic>
  </status>
  <contact priority="1">sip:6002@192.0.2.7:5060</contact>
 </tuple>
 <dm:person>
  <rpid:activities>
   <rpid:on-the-phone />
  </rpid:activities>
 </dm:person>
</presence>
"#,
    );
    assert_eq!(forgiven, [Finding::Attribute], "its person has no id");
    assert_eq!(document.persons[0].rich.activities.list, [Activity::OnThePhone]);
    assert_eq!(document.tuples[0].basic, Some(Basic::Open));
}

#[test]
fn asterisk_chan_sip_with_its_draft_namespaces_is_read() {
    let (document, forgiven) = read(
        r#"<?xml version="1.0" encoding="ISO-8859-1"?>
<presence xmlns="urn:ietf:params:xml:ns:pidf"
xmlns:pp="urn:ietf:params:xml:ns:pidf:person"
xmlns:es="urn:ietf:params:xml:ns:pidf:rpid:status:rpid-status"
xmlns:ep="urn:ietf:params:xml:ns:pidf:rpid:rpid-person"
entity="sip:6001@192.0.2.5">
<pp:person><status>
<ep:activities><ep:away/></ep:activities>
</status></pp:person>
<note>Ready</note>
<tuple id="6001">
<contact priority="1">sip:6001@192.0.2.5</contact>
<status><basic>open</basic></status>
</tuple>
</presence>
"#,
    );
    assert!(forgiven.contains(&Finding::DraftNamespace));
    assert_eq!(document.persons[0].rich.activities.list, [Activity::Away]);
    assert_eq!(document.notes[0].text, "Ready");
}

#[test]
fn pjsua_is_read() {
    let (document, forgiven) = read(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<presence entity="sip:bob@example.com" xmlns="urn:ietf:params:xml:ns:pidf" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model" xmlns:rpid="urn:ietf:params:xml:ns:pidf:rpid">
 <tuple id="0x7f5c5c0">
  <status>
   <basic>open</basic>
  </status>
  <contact>&lt;sip:bob@192.0.2.9:5080;ob&gt;</contact>
  <timestamp>2026-01-31T09:00:00.123Z</timestamp>
 </tuple>
 <dm:person id="pj123">
  <rpid:activities>
   <rpid:busy/>
  </rpid:activities>
  <dm:note>Busy</dm:note>
 </dm:person>
</presence>"#,
    );
    assert_eq!(forgiven, []);
    assert_eq!(document.tuples[0].contact.as_ref().unwrap().uri, "<sip:bob@192.0.2.9:5080;ob>");
    assert_eq!(document.persons[0].notes[0].text, "Busy");
}

#[test]
fn linphone_is_read() {
    let (document, forgiven) = read(
        r#"<?xml version="1.0" encoding="UTF-8" standalone="no" ?>
<p1:presence xmlns="urn:ietf:params:xml:ns:pidf:rpid" xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model" xmlns:p1="urn:ietf:params:xml:ns:pidf" entity="sip:bob@example.com">
  <p1:tuple id="qmht-9">
    <p1:status><p1:basic>open</p1:basic></p1:status>
    <p1:contact priority="0.8">sip:bob@example.com</p1:contact>
    <p1:timestamp>2026-01-31T09:00:00Z</p1:timestamp>
  </p1:tuple>
  <dm:person id="x9">
    <activities><away/></activities>
    <dm:timestamp>2026-01-31T09:00:00Z</dm:timestamp>
  </dm:person>
</p1:presence>"#,
    );
    assert_eq!(forgiven, []);
    assert_eq!(document.persons[0].rich.activities.list, [Activity::Away]);
}

#[test]
fn baresip_is_read() {
    let (document, forgiven) = read(
        "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"no\"?>\r\n\
        <presence xmlns=\"urn:ietf:params:xml:ns:pidf\"\r\n    xmlns:dm=\"urn:ietf:params:xml:ns:pidf:data-model\"\r\n\
        \x20   xmlns:rpid=\"urn:ietf:params:xml:ns:pidf:rpid\"\r\n    entity=\"sip:bob@example.com\">\r\n\
        \x20 <dm:person id=\"p4159\"><rpid:activities/></dm:person>\r\n  <tuple id=\"t4109\">\r\n    <status>\r\n\
        \x20     <basic>closed</basic>\r\n    </status>\r\n    <contact>sip:bob@example.com</contact>\r\n  </tuple>\r\n\
        </presence>\r\n",
    );
    assert_eq!(forgiven, []);
    assert_eq!(document.tuples[0].basic, Some(Basic::Closed));
    assert!(document.persons[0].rich.activities.list.is_empty());
}

#[test]
fn libpurple_is_read() {
    let (document, forgiven) = read(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<presence xmlns=\"urn:ietf:params:xml:ns:pidf\"\n\
        xmlns:im=\"urn:ietf:params:xml:ns:pidf:im\"\nentity=\"sip:bob@example.com\">\n<tuple id=\"bs35r9f\">\n<status>\n\
        <basic>open</basic>\n<im:im>busy</im:im>\n</status>\n<note>Busy</note>\n</tuple>\n</presence>",
    );
    assert_eq!(forgiven, []);
    assert_eq!(
        (document.tuples[0].basic, document.tuples[0].notes[0].text.as_str()),
        (Some(Basic::Open), "Busy")
    );
}

#[test]
fn kamailios_aggregate_of_two_devices_is_read() {
    let (document, forgiven) = read(
        r#"<?xml version="1.0"?>
<presence xmlns="urn:ietf:params:xml:ns:pidf" xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model" xmlns:rpid="urn:ietf:params:xml:ns:pidf:rpid" entity="sip:bob@example.com"><tuple id="a"><status><basic>open</basic></status></tuple><dm:person id="p-a"><rpid:activities><rpid:busy/></rpid:activities></dm:person><tuple xmlns="urn:ietf:params:xml:ns:pidf" id="b"><status><basic>closed</basic></status></tuple><dm:person xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model" id="p-b"/></presence>
"#,
    );
    assert_eq!(forgiven, []);
    assert_eq!((document.tuples.len(), document.persons.len()), (2, 2));
}

// ---- what is forgiven ----

#[test]
fn a_document_without_a_namespace_is_forgiven() {
    let (document, forgiven) = read(
        r#"<presence entity="sip:bob@example.com"><tuple id="a"><status><basic> OPEN </basic></status></tuple></presence>"#,
    );
    assert_eq!(document.tuples[0].basic, Some(Basic::Open));
    assert_eq!(forgiven, [Finding::Namespace]);
}

#[test]
fn a_wrong_value_spoils_only_itself() {
    let (document, forgiven) = read(&format!(
        r#"{HEAD}<tuple id="a"><status><basic>perhaps</basic></status><contact priority="7">sip:x@y</contact>
        <timestamp>yesterday</timestamp><note/></tuple><tuple><status><basic>open</basic></status></tuple></presence>"#
    ));
    let tuple = &document.tuples[0];
    assert_eq!((tuple.basic, tuple.timestamp, tuple.notes.len()), (None, None, 0));
    assert_eq!(tuple.contact.as_ref().unwrap().priority, None);
    assert_eq!(document.tuples[1].basic, Some(Basic::Open));
    assert_eq!(forgiven, [Finding::Value, Finding::Date, Finding::Attribute]);
}

#[test]
fn latin_1_is_forgiven() {
    let mut bytes = format!("{HEAD}<note>gr").into_bytes();
    bytes.extend(b"\xfc\xdf</note></presence>");
    let parsed = pidf::read(&bytes, &Limits::DEFAULT).unwrap();
    assert_eq!(parsed.document.notes[0].text, "grüß");
    assert_eq!(parsed.forgiven[0].finding, Finding::Encoding);
}

#[test]
fn entities_of_xml_are_read_and_others_dropped() {
    let (document, forgiven) =
        read(&format!("{HEAD}<note>a&amp;b &lt;&#99;&#x64;> &copy;<![CDATA[<&>]]></note></presence>"));
    assert_eq!(document.notes[0].text, "a&b <cd> <&>");
    assert_eq!(forgiven, [Finding::Entity]);
}

#[test]
fn a_date_without_an_offset_is_utc() {
    let (document, _) = read(&format!(
        r#"{HEAD}<tuple id="a"><status/><timestamp>2026-01-31T09:00:00</timestamp></tuple></presence>"#
    ));
    assert_eq!(document.tuples[0].timestamp.unwrap().to_string(), "2026-01-31T09:00:00Z");
}

// ---- what is refused ----

#[test]
fn a_billion_laughs_are_refused_unread() {
    let text = r#"<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY lol "lol"><!ENTITY lol2 "&lol;&lol;&lol;">]>
        <presence xmlns="urn:ietf:params:xml:ns:pidf" entity="x"><note>&lol2;</note></presence>"#;
    assert_eq!(refused(text), DocumentError::Entities);
    assert_eq!(
        refused(r#"<!DOCTYPE presence SYSTEM "file:///etc/passwd"><presence entity="x"/>"#),
        DocumentError::Entities
    );
}

#[test]
fn depth_size_and_number_are_bounded() {
    let deep = format!("{HEAD}{}{}</presence>", "<a>".repeat(30), "</a>".repeat(30));
    assert!(matches!(refused(&deep), DocumentError::TooLarge { what: "levels", .. }));
    let many = format!("{HEAD}{}</presence>", "<a/>".repeat(9_000));
    assert!(matches!(refused(&many), DocumentError::TooLarge { what: "elements", .. }));
    let long = format!("{HEAD}<note>{}</note></presence>", "x".repeat(300_000));
    assert!(matches!(refused(&long), DocumentError::TooLarge { what: "bytes", .. }));
}

#[test]
fn long_lists_and_texts_are_cut() {
    let text = format!(
        "{HEAD}{}<note>{}</note></presence>",
        r#"<tuple id="a"><status/></tuple>"#.repeat(300),
        "é".repeat(3_000)
    );
    let (document, forgiven) = read(&text);
    assert_eq!((document.tuples.len(), document.notes[0].text.len()), (256, 4_096));
    assert_eq!(forgiven, [Finding::LongList, Finding::LongText]);
}

#[test]
fn what_is_no_presence_document_is_told_apart() {
    assert!(matches!(refused("<html/>"), DocumentError::WrongRoot { .. }));
    assert_eq!(refused("  \n"), DocumentError::Empty);
    for broken in
        ["<presence", "<presence entity='x'><tuple>", "<presence entity='x'></tuple>", "no xml at all"]
    {
        assert!(
            matches!(refused(broken), DocumentError::Malformed { .. } | DocumentError::Empty),
            "{broken}"
        );
    }
    let more = format!("{HEAD}</presence><presence/>");
    assert!(matches!(refused(&more), DocumentError::Malformed { .. }));
}

#[test]
fn namespace_declarations_are_bounded() {
    let attributes: String = (0..200).map(|n| format!(r#" xmlns:n{n}="urn:{n}""#)).collect();
    assert!(matches!(refused(&format!("<presence{attributes}/>")), DocumentError::Malformed { .. }));
}
