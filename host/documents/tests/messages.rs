//! Wrappers of messages and receipts.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use attache_documents::{
    Limits, Moment,
    cpim::{self, Cpim, Extension, Party, Subject},
    imdn::{self, Delivery, Display, Imdn, Notification, Processing, Request},
};
use proptest::{collection::vec, option, prelude::*};

fn line() -> impl Strategy<Value = String> {
    "[A-Za-zäß日🙂\\\\][ -~ä\n\t\\\\]{0,20}[a-z日]"
}

fn party() -> impl Strategy<Value = Party> {
    (option::of(line()), "(im|sip):[a-z]{1,8}@[a-z]{1,8}\\.example")
        .prop_map(|(name, uri)| Party { name: name.unwrap_or_default(), uri })
}

proptest! {
    #[test]
    fn a_wrapper_reads_back_as_it_was_written(
        from in option::of(party()),
        to in vec(party(), 0..4),
        cc in vec(party(), 0..3),
        at in option::of(0_i64..4_000_000_000_000),
        subjects in vec((option::of("[a-z]{2}"), line()), 0..3),
        values in vec(("(urn:ietf:params:imdn|urn:x|urn:y)", "[A-Z][a-z]{1,8}", line()), 0..5),
        body in vec(any::<u8>(), 0..200),
    ) {
        let mut wrapper = Cpim::new("text/plain;charset=utf-8", body);
        (wrapper.from, wrapper.to, wrapper.cc) = (from, to, cc);
        wrapper.date_time = at.map(Moment::from_millis);
        wrapper.subjects = subjects.into_iter().map(|(lang, text)| Subject { lang, text }).collect();
        wrapper.extensions = values
            .into_iter()
            .map(|(namespace, name, value)| Extension { namespace, name, value })
            .collect();
        let bytes = wrapper.write();
        prop_assert_eq!(cpim::read(&bytes).unwrap(), wrapper);
    }

    #[test]
    fn no_octets_make_a_reader_of_messages_panic(bytes in vec(any::<u8>(), 0..300)) {
        if let Ok(wrapper) = cpim::read(&bytes) {
            let _ = (wrapper.content(), Request::of(&wrapper), wrapper.write());
        }
        let _ = imdn::read(&bytes, &Limits::DEFAULT);
    }
}

/// The example of RFC 3862, section 5.1, in substance.
#[test]
fn everything_that_the_specification_shows_is_read() {
    let text = "From: MR SANDERS <im:piglet@100akerwood.com>\r\n\
        To: Depressed Donkey <im:eeyore@100akerwood.com>\r\n\
        To: \"Owl \\\"the wise\\\"\" <im:owl@100akerwood.com>\r\n\
        cc: <im:roo@100akerwood.com>\r\n\
        DateTime: 2000-12-13T13:40:00-08:00\r\n\
        Subject: the weather will be fine today\r\n\
        Subject:;lang=fr beau temps pr\\u00e9vu pour aujourd'hui\r\n\
        NS: MyFeatures <mid:MessageFeatures@id.foo.com>\r\n\
        Require: MyFeatures.VitalMessageOption\r\n\
        MyFeatures.VitalMessageOption: Confirmation-requested\r\n\
        MyFeatures.WackyMessageOption: Use-silly-font\r\n\
        \r\n\
        Content-type: text/xml; charset=utf-8\r\n\
        Content-ID: <1234567890@foo.com>\r\n\
        \r\n\
        <body>Here is the text of my message.</body>";
    let wrapper = cpim::read(text.as_bytes()).unwrap();
    assert_eq!(wrapper.from.as_ref().unwrap().name, "MR SANDERS");
    let to: Vec<&str> = wrapper.to.iter().map(|party| party.name.as_str()).collect();
    assert_eq!(to, ["Depressed Donkey", "Owl \"the wise\""]);
    assert_eq!(wrapper.cc, [Party::new("im:roo@100akerwood.com")]);
    assert_eq!(wrapper.subject(Some("fr")), Some("beau temps prévu pour aujourd'hui"));
    let vital: Vec<&str> =
        wrapper.extension("mid:MessageFeatures@id.foo.com", "VitalMessageOption").collect();
    assert_eq!(vital, ["Confirmation-requested"]);
    assert_eq!(wrapper.content_header("content-id"), Some("<1234567890@foo.com>"));
    assert_eq!(wrapper.unsupported(&[]).collect::<Vec<_>>(), ["MyFeatures.VitalMessageOption"]);
    assert_eq!(wrapper.unsupported(&["mid:MessageFeatures@id.foo.com"]).count(), 0);
}

#[test]
fn what_must_be_understood_and_is_of_this_specification_is() {
    let wrapper = cpim::read(b"Require: From, DateTime\r\nFrom: <im:a@b>\r\n\r\n\r\nx").unwrap();
    assert_eq!(wrapper.unsupported(&[]).count(), 0);
}

#[test]
fn contents_are_freed_of_their_transfer_encoding() {
    for (encoding, body, content) in [
        ("base64", "aGVs\r\nbG8=", Some("hello")),
        ("quoted-printable", "gr=C3=BC=\r\n=C3=9F =x", Some("grüß =x")),
        ("8bit", "grüß", Some("grüß")),
        ("base64", "?", None),
        ("x-uuencode", "x", None),
    ] {
        let text = format!(
            "From: <im:a@b>\r\n\r\nContent-Transfer-Encoding: {encoding}\r\nContent-Type: text/plain\r\n\r\n{body}"
        );
        let wrapper = cpim::read(text.as_bytes()).unwrap();
        assert_eq!(wrapper.content().as_deref(), content.map(str::as_bytes), "{encoding} {body}");
    }
}

#[test]
fn a_line_end_in_a_name_starts_no_header() {
    let mut wrapper = Cpim::new("text/plain", &b"x"[..]);
    wrapper.from =
        Some(Party { name: "a\r\nTo: <im:evil@x>".into(), uri: "im:a@b>\r\ncc: <im:evil@x".into() });
    let bytes = wrapper.write();
    let read = cpim::read(&bytes).unwrap();
    assert_eq!((read.to.len(), read.cc.len()), (0, 0));
    assert_eq!(read.from.unwrap().name, "a\r\nTo: <im:evil@x>");
}

#[test]
fn wishes_for_receipts_read_back_as_they_were_written() {
    let request = Request {
        message_id: Some("34jk324j".into()),
        positive_delivery: true,
        negative_delivery: true,
        processing: false,
        display: true,
        original_to: Some("im:bob@example.com".into()),
        record_route: vec!["sip:one@example.com".into(), "sip:two@example.com".into()],
        route: Vec::new(),
    };
    let mut wrapper = Cpim::new("text/plain", &b"x"[..]);
    request.write(&mut wrapper);
    let bytes = wrapper.write();
    assert_eq!(Request::of(&cpim::read(&bytes).unwrap()), request);
}

#[test]
fn wishes_are_read_without_their_namespace_and_unknown_ones_are_passed_over() {
    let text = b"From: <im:a@b>\r\nimdn.Message-ID: 1\r\nimdn.Disposition-Notification: display, sing;loud=yes\r\n\r\n\r\nx";
    let request = Request::of(&cpim::read(text).unwrap());
    assert!(request.display && !request.positive_delivery && request.wants_any());
}

#[test]
fn every_receipt_reads_back_as_it_was_written() {
    let all = [
        Notification::Delivery(Delivery::Delivered),
        Notification::Delivery(Delivery::Failed),
        Notification::Delivery(Delivery::Forbidden),
        Notification::Delivery(Delivery::Error),
        Notification::Processing(Processing::Processed),
        Notification::Processing(Processing::Stored),
        Notification::Processing(Processing::Forbidden),
        Notification::Processing(Processing::Error),
        Notification::Display(Display::Displayed),
        Notification::Display(Display::Forbidden),
        Notification::Display(Display::Error),
    ];
    for notification in all {
        let receipt = Imdn {
            message_id: "a<b&c".into(),
            date_time: Some(Moment::from_millis(1_207_325_000_000)),
            recipient: Some("im:bob@example.com".into()),
            original_recipient: None,
            notification: Some(notification),
        };
        let read = imdn::read(imdn::write(&receipt).as_bytes(), &Limits::DEFAULT).unwrap();
        assert_eq!(read.document, receipt);
    }
}

#[test]
fn a_receipt_for_nothing_is_refused_and_an_unknown_status_says_nothing() {
    let receipt = |inner: &str| {
        let text = format!("<imdn xmlns=\"urn:ietf:params:xml:ns:imdn\">{inner}</imdn>");
        imdn::read(text.as_bytes(), &Limits::DEFAULT)
    };
    assert!(receipt("<display-notification><status><displayed/></status></display-notification>").is_err());
    let unknown =
        "<message-id>1</message-id><display-notification><status><smelt/></status></display-notification>";
    assert_eq!(receipt(unknown).unwrap().document.notification, None);
}

#[test]
fn a_message_that_two_readers_could_take_for_those_of_two_senders_is_not_read() {
    let read = |head: &str| {
        cpim::read(format!("{head}\r\n\r\nContent-Type: text/plain\r\n\r\nx").as_bytes()).is_ok()
    };
    assert!(read("From: <im:a@b>\r\nTo: <im:c@d>"));
    for doubtful in [
        "From: <im:a@b>\r\nFrom: <im:other@b>",
        "From: Other <im:other@b> of old\r\nFrom: <im:a@b>",
        "from;x=y: <im:a@b>\r\nFROM : <im:other@b>",
        "Subject: x\rFrom: <im:other@b>\r\nFrom: <im:a@b>",
        "From: <im:a@b>\r\n\r\nFrom: <im:other@b>",
    ] {
        assert!(!read(doubtful), "{doubtful:?}");
    }
}
