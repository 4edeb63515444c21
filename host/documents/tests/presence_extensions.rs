//! What goes with presence: timed status, cards, capabilities, dialogs, bindings and waiting messages.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use attache_documents::{
    DocumentError, Finding, Limits, dialog_info, message_summary,
    pidf::{self, Activity, Basic, Card, UserInputState},
    reg_info,
};

fn read(inside: &str) -> pidf::Document {
    let text = format!(
        r#"<presence xmlns="urn:ietf:params:xml:ns:pidf" xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model"
        xmlns:r="urn:ietf:params:xml:ns:pidf:rpid" xmlns:ts="urn:ietf:params:xml:ns:pidf:timed-status"
        xmlns:ci="urn:ietf:params:xml:ns:pidf:cipid" xmlns:caps="urn:ietf:params:xml:ns:pidf:caps"
        entity="pres:someone@example.com">{inside}</presence>"#
    );
    pidf::read(text.as_bytes(), &Limits::DEFAULT).unwrap().document
}

#[test]
fn every_element_of_rpid_is_read() {
    let document = read(
        r#"<tuple id="t"><status><basic>open</basic></status>
          <r:service-class><r:electronic/></r:service-class>
          <r:relationship><r:assistant/><r:note>my assistant</r:note></r:relationship><r:class>calls</r:class></tuple>
        <dm:person id="p">
          <r:activities from="2005-05-30T12:00:00+05:00" until="2005-05-30T17:00:00+05:00">
            <r:note>Far away</r:note><r:away/><x:gardening xmlns:x="urn:x"/><r:other>yoga</r:other></r:activities>
          <r:mood><r:angry/><r:other>brooding</r:other></r:mood>
          <r:place-is until="2005-05-30T17:00:00Z"><r:audio><r:noisy/></r:audio><r:video><r:dark/></r:video></r:place-is>
          <r:place-type><lt:residence xmlns:lt="urn:ietf:params:xml:ns:location-type"/></r:place-type>
          <r:privacy><r:unknown/></r:privacy><r:sphere>bowling league</r:sphere>
          <r:status-icon until="2005-05-30T17:00:00Z">https://example.com/play.gif</r:status-icon>
          <r:time-offset from="2005-05-30T17:00:00Z" description="America/New_York">-240</r:time-offset>
          <r:user-input idle-threshold="600" last-input="2004-10-21T13:20:00.000-05:00">idle</r:user-input>
        </dm:person>"#,
    );
    let tuple = &document.tuples[0].rich;
    assert_eq!(
        (&tuple.service_class.list[..], &tuple.relationship.list[..]),
        (&["electronic".to_owned()][..], &["assistant".to_owned()][..])
    );
    assert_eq!(
        (&tuple.relationship.notes[0].text[..], tuple.class.as_deref()),
        ("my assistant", Some("calls"))
    );
    let person = &document.persons[0].rich;
    let other = |word: &str| Activity::Other(word.to_owned());
    assert_eq!(
        person.activities.list,
        [Activity::Away, other("gardening"), other("yoga")],
        "unknown ones are kept"
    );
    assert_eq!(person.activities.notes[0].text, "Far away");
    assert_eq!(person.activities.valid.from.unwrap().to_string(), "2005-05-30T07:00:00Z");
    assert_eq!(person.activities.valid.until.unwrap().to_string(), "2005-05-30T12:00:00Z");
    assert_eq!(person.mood.list, ["angry", "brooding"]);
    assert_eq!(person.place_is.list, ["audio:noisy", "video:dark"]);
    assert!(person.place_is.valid.until.is_some());
    assert_eq!(
        (&person.place_type.list[..], &person.privacy.list[..]),
        (&["residence".to_owned()][..], &["unknown".to_owned()][..])
    );
    assert_eq!(person.status_icon.as_deref(), Some("https://example.com/play.gif"));
    assert!(person.status_icon_valid.until.is_some() && person.time_offset_valid.from.is_some());
    assert_eq!(person.time_offset, Some(-240));
    let input = person.user_input.unwrap();
    assert_eq!(
        (input.state, input.idle_threshold, input.last_input.is_some()),
        (UserInputState::Idle, Some(600), true)
    );
}

#[test]
fn a_status_to_come_is_read_with_its_time() {
    let document = read(
        r#"<tuple id="c8dqui"><status><basic>open</basic></status>
        <ts:timed-status from="2006-11-04T20:00:00.000-05:00" until="2006-11-05T20:00:00.000-05:00">
        <ts:basic>closed</ts:basic><ts:note>asleep</ts:note><r:activities><r:sleeping/></r:activities></ts:timed-status>
        <contact>sip:someone@example.com</contact></tuple>"#,
    );
    let [timed] = &document.tuples[0].timed[..] else { panic!() };
    assert_eq!(document.tuples[0].basic, Some(Basic::Open), "it does not hold now");
    assert_eq!(timed.from.unwrap().to_string(), "2006-11-05T01:00:00Z");
    assert_eq!((timed.basic, timed.until.is_some()), (Some(Basic::Closed), true));
    assert_eq!(
        (&timed.rich.activities.list[..], &timed.notes[0].text[..]),
        (&[Activity::Sleeping][..], "asleep")
    );
}

#[test]
fn a_card_is_read_wherever_it_stands() {
    let inside = r#"<ci:display-name>Hugo</ci:display-name><ci:card>http://example.com/v.vcf</ci:card>
        <ci:homepage>http://example.com/~hugo</ci:homepage><ci:icon>http://example.com/i.png</ci:icon>
        <ci:map>http://example.com/map</ci:map><ci:sound>http://example.com/hi.wav</ci:sound><ci:shoes>43</ci:shoes>"#;
    let expected = Card {
        display_name: Some("Hugo".into()),
        card: Some("http://example.com/v.vcf".into()),
        homepage: Some("http://example.com/~hugo".into()),
        icon: Some("http://example.com/i.png".into()),
        map: Some("http://example.com/map".into()),
        sound: Some("http://example.com/hi.wav".into()),
    };
    let document =
        read(&format!(r#"<tuple id="t"><status/>{inside}</tuple><dm:person id="p">{inside}</dm:person>"#));
    assert_eq!(document.tuples[0].card, expected);
    assert_eq!(document.persons[0].card, expected);
}

#[test]
fn capabilities_are_read_with_what_is_not_supported() {
    let document = read(
        r#"<tuple id="t"><status><basic>open</basic></status><caps:servcaps>
          <caps:actor><caps:supported><caps:principal/></caps:supported></caps:actor>
          <caps:audio>true</caps:audio><caps:video>false</caps:video><caps:isfocus>perhaps</caps:isfocus>
          <caps:duplex><caps:supported><caps:full/></caps:supported><caps:notsupported><caps:half/></caps:notsupported></caps:duplex>
          <caps:languages><caps:supported><caps:l>en</caps:l><caps:l>fi</caps:l></caps:supported></caps:languages>
          <caps:methods><caps:supported><caps:ACK/><caps:INVITE/></caps:supported><caps:notsupported><caps:MESSAGE/></caps:notsupported></caps:methods>
          <caps:schemes><caps:supported><caps:s>sip</caps:s></caps:supported></caps:schemes>
          <caps:type>text/plain</caps:type><caps:description xml:lang="en">desk phone</caps:description>
        </caps:servcaps></tuple>
        <dm:device id="d"><caps:devcaps><caps:mobility><caps:supported><caps:mobile/></caps:supported></caps:mobility></caps:devcaps>
          <dm:deviceID>mac:8asd7d7d70</dm:deviceID></dm:device>"#,
    );
    let caps = document.tuples[0].capabilities.as_ref().unwrap();
    assert_eq!((caps.audio, caps.video, caps.is_focus, caps.text), (Some(true), Some(false), None, None));
    assert_eq!(
        (&caps.methods.supported[..], &caps.methods.not_supported[..]),
        (&["ACK".to_owned(), "INVITE".to_owned()][..], &["MESSAGE".to_owned()][..])
    );
    assert_eq!((caps.languages.supported.len(), &caps.schemes.supported[..]), (2, &["sip".to_owned()][..]));
    assert_eq!(
        (caps.duplex.not_supported.len(), &caps.actor.supported[..]),
        (1, &["principal".to_owned()][..])
    );
    assert_eq!(
        (&caps.types[..], &caps.descriptions[0].text[..]),
        (&["text/plain".to_owned()][..], "desk phone")
    );
    assert_eq!(document.devices[0].capabilities.as_ref().unwrap().mobility.supported, ["mobile"]);
}

#[test]
fn dialogs_tell_who_is_on_the_phone() {
    let text = br#"<?xml version="1.0"?><dialog-info xmlns="urn:ietf:params:xml:ns:dialog-info" version="3" state="partial"
        entity="sip:alice@example.com"><dialog id="as7d900as8" call-id="a84b4c76e66710" local-tag="1928301774"
        direction="initiator"><state event="rejected" code="486">terminated</state></dialog>
        <dialog id="2" direction="recipient"><state>confirmed</state><duration>274</duration>
        <remote><identity display="Bob">sip:bob@example.com</identity><target uri="sip:bob@192.0.2.3"/></remote></dialog></dialog-info>"#;
    let document = dialog_info::read(text, &Limits::DEFAULT).unwrap().document;
    assert_eq!((document.version, document.full, document.is_on_the_phone()), (3, false, true));
    let [first, second] = &document.dialogs[..] else { panic!() };
    assert_eq!(
        (first.state, first.code, first.event.as_deref()),
        (dialog_info::State::Terminated, Some(486), Some("rejected"))
    );
    assert_eq!((second.duration, second.remote.display.as_deref()), (Some(274), Some("Bob")));
    assert_eq!(second.remote.target.as_deref(), Some("sip:bob@192.0.2.3"));
    let again = dialog_info::read(dialog_info::write(&document).as_bytes(), &Limits::DEFAULT).unwrap();
    assert_eq!(again.document, document);
}

#[test]
fn a_dialog_document_without_its_number_is_refused() {
    let text = br#"<dialog-info xmlns="urn:ietf:params:xml:ns:dialog-info" state="full" entity="sip:a@b"/>"#;
    assert!(matches!(dialog_info::read(text, &Limits::DEFAULT), Err(DocumentError::Malformed { .. })));
}

#[test]
fn registrations_name_the_devices() {
    let text = br#"<reginfo xmlns="urn:ietf:params:xml:ns:reginfo" xmlns:gr="urn:ietf:params:xml:ns:gruuinfo" version="0" state="full">
        <registration aor="sip:joe@example.com" id="as9" state="active">
        <contact id="76" state="active" event="registered" duration-registered="7322" q="0.8" expires="300">
        <uri>sip:joe@pc887.example.com</uri><unknown-param name="+sip.instance">"&lt;urn:uuid:f8&gt;"</unknown-param>
        <gr:pub-gruu uri="sip:joe@example.com;gr=f8"/></contact>
        <contact id="77" state="terminated" event="expired"><uri>sip:joe@old.example.com</uri></contact></registration></reginfo>"#;
    let document = reg_info::read(text, &Limits::DEFAULT).unwrap().document;
    let registration = &document.registrations[0];
    assert_eq!(
        (document.full, registration.state, &registration.aor[..]),
        (true, reg_info::State::Active, "sip:joe@example.com")
    );
    let [one, other] = &registration.contacts[..] else { panic!() };
    assert_eq!(
        (one.priority, one.expires, one.public_gruu.as_deref()),
        (Some(800), Some(300), Some("sip:joe@example.com;gr=f8"))
    );
    assert_eq!(one.params, [("+sip.instance".to_owned(), "\"<urn:uuid:f8>\"".to_owned())]);
    assert_eq!((other.state, other.event.as_deref()), (reg_info::State::Terminated, Some("expired")));
}

#[test]
fn registrations_read_back_as_they_were_written() {
    let contact = reg_info::Contact {
        id: "c1".into(),
        uri: "sip:joe@pc887.example.com;a=\"&<".into(),
        display_name: Some("Joe & Co".into()),
        state: reg_info::State::Active,
        event: Some("registered".into()),
        expires: Some(300),
        priority: Some(850),
        public_gruu: Some("sip:joe@example.com;gr=f8".into()),
        params: vec![("+sip.instance".into(), "\"<urn:uuid:f8>\"".into())],
    };
    let gone =
        reg_info::Contact { id: "c2".into(), state: reg_info::State::Terminated, ..Default::default() };
    let registration = reg_info::Registration {
        id: "r1".into(),
        aor: "sip:joe@example.com".into(),
        state: reg_info::State::Active,
        contacts: vec![contact, gone],
    };
    let document = reg_info::RegInfo { version: 7, full: true, registrations: vec![registration] };
    let text = reg_info::write(&document);
    assert_eq!(reg_info::read(text.as_bytes(), &Limits::DEFAULT).unwrap().document, document);
}

#[test]
fn a_summary_counts_waiting_messages() {
    let text = b"Messages-Waiting: yes\r\nMessage-Account: sip:alice@vmail.example.com\r\nVoice-Message: 2/8 (0/2)\r\nFax-Message: none\r\n\r\nTo: <alice@atlanta.example.com>\r\n";
    let parsed = message_summary::read(text, &Limits::DEFAULT).unwrap();
    let summary = parsed.document;
    assert!(summary.waiting);
    assert_eq!(summary.account.as_deref(), Some("sip:alice@vmail.example.com"));
    let voice = summary.class("Voice-Message").unwrap();
    assert_eq!((voice.new, voice.old, voice.urgent_new, voice.urgent_old), (2, 8, Some(0), Some(2)));
    assert_eq!(parsed.forgiven[0].finding, Finding::Value, "a number that cannot be read is passed over");
    let again = message_summary::read(message_summary::write(&summary).as_bytes(), &Limits::DEFAULT).unwrap();
    assert_eq!(again.document, summary);
}
