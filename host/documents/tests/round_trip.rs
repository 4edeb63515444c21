//! What is written reads back as it was; what is not, is read in linear time and without a panic.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::time::{Duration, Instant};

use attache_documents::{
    Limits, Moment, composing,
    cpim::{self, Party},
    html,
    pidf::{
        self, Activities, Activity, Basic, Capabilities, Card, Choice, Contact, Device, Document, Note,
        Person, Rich, TimedStatus, Tuple, UserInput, UserInputState, Valid, Words,
    },
};
use proptest::{collection::vec, option, prelude::*};

/// Texts without blanks around, which are not kept, and without what XML cannot hold.
fn text() -> impl Strategy<Value = String> {
    "[a-zäß<>&\"'\\]日🙂-]([ -~ä\n\t]{0,20}[a-z<&日])?"
}

fn moment() -> impl Strategy<Value = Moment> {
    (0_i64..4_000_000_000_000).prop_map(Moment::from_millis)
}

fn valid() -> impl Strategy<Value = Valid> {
    (option::of(moment()), option::of(moment())).prop_map(|(from, until)| Valid { from, until })
}

fn notes() -> impl Strategy<Value = Vec<Note>> {
    vec((text(), option::of("[a-z]{2}")).prop_map(|(text, lang)| Note { text, lang }), 0..3)
}

fn words(known: &'static [&'static str]) -> impl Strategy<Value = Words> {
    let word = prop_oneof![proptest::sample::select(known).prop_map(str::to_owned), "[a-z]{3,9} [a-z]{3}"];
    (proptest::collection::btree_set(word, 0..3), notes(), valid()).prop_map(|(list, notes, valid)| Words {
        list: list.into_iter().collect(),
        notes,
        valid,
    })
}

fn activities() -> impl Strategy<Value = Activities> {
    let one = prop_oneof![
        proptest::sample::select(Activity::DEFINED),
        "[a-z]{3,9} [a-z]{3}".prop_map(Activity::Other),
    ];
    (proptest::collection::btree_set(one, 0..4), notes(), valid())
        .prop_map(|(list, notes, valid)| Activities { list: list.into_iter().collect(), notes, valid })
}

prop_compose! {
    fn rich()(
        activities in activities(),
        class in option::of(text()),
        mood in words(&["angry", "happy"]),
        place_type in words(&["office", "train"]),
        sphere in words(&["home", "work"]),
        noise in proptest::collection::btree_set(prop_oneof![Just("noisy"), Just("a fan")], 0..3),
        icon in option::of(text()),
        icon_valid in valid(),
        time_offset in option::of(-840..=840_i32),
        input in option::of((any::<bool>(), option::of(0..10_000_u32), option::of(moment()))),
    ) -> Rich {
        let user_input = input.map(|(active, idle_threshold, last_input)| UserInput {
            state: if active { UserInputState::Active } else { UserInputState::Idle },
            idle_threshold,
            last_input,
        });
        let place_is = Words { list: noise.iter().map(|word| format!("audio:{word}")).collect(), ..Words::default() };
        Rich {
            activities,
            class,
            mood,
            place_is,
            place_type,
            sphere,
            status_icon_valid: if icon.is_some() { icon_valid } else { Valid::default() },
            status_icon: icon,
            time_offset,
            user_input,
            ..Rich::default()
        }
    }
}

prop_compose! {
    fn card()(display_name in option::of(text()), icon in option::of(text()), sound in option::of(text())) -> Card {
        Card { display_name, icon, sound, ..Card::default() }
    }
}

prop_compose! {
    fn capabilities()(
        audio in option::of(any::<bool>()),
        is_focus in option::of(any::<bool>()),
        methods in proptest::collection::btree_set("[A-Z]{3,8}", 0..4),
        not in proptest::collection::btree_set("[a-z]{2}", 0..3),
        types in vec(text(), 0..2),
        descriptions in notes(),
    ) -> Capabilities {
        let methods = Choice { supported: methods.into_iter().collect(), not_supported: Vec::new() };
        let languages = Choice { supported: Vec::new(), not_supported: not.into_iter().collect() };
        Capabilities { audio, is_focus, methods, languages, types, descriptions, ..Capabilities::default() }
    }
}

prop_compose! {
    fn tuple()(
        id in "[a-z0-9]{1,8}",
        basic in option::of(prop_oneof![Just(Basic::Open), Just(Basic::Closed)]),
        contact in option::of((text(), option::of(0..=1000_u16))),
        device_id in option::of(text()),
        rich in rich(),
        capabilities in option::of(capabilities()),
        timed in option::of((moment(), option::of(moment()), rich(), notes())),
        card in card(),
        notes in notes(),
        timestamp in option::of(moment()),
    ) -> Tuple {
        let contact = contact.map(|(uri, priority)| Contact { uri, priority });
        let timed = timed
            .map(|(from, until, rich, notes)| TimedStatus {
                from: Some(from),
                until,
                basic: Some(Basic::Closed),
                rich,
                notes,
            })
            .into_iter()
            .collect();
        Tuple {
            id,
            basic,
            contact,
            device_id,
            rich,
            capabilities: capabilities.map(Box::new),
            timed,
            card,
            notes,
            timestamp,
        }
    }
}

prop_compose! {
    fn document()(
        entity in text(),
        tuples in vec(tuple(), 0..3),
        persons in vec((text(), rich(), notes(), option::of(moment())), 0..3),
        devices in vec((text(), option::of(text()), rich()), 0..2),
        notes in notes(),
    ) -> Document {
        let persons = persons
            .into_iter()
            .map(|(id, rich, notes, timestamp)| Person { id, rich, notes, timestamp, ..Person::default() })
            .collect();
        let devices = devices
            .into_iter()
            .map(|(id, device_id, rich)| Device { id, device_id, rich, ..Device::default() })
            .collect();
        Document { entity, tuples, persons, devices, notes }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_reads_back_as_it_was(document in document()) {
        let written = pidf::write(&document);
        let parsed = pidf::read(written.as_bytes(), &Limits::DEFAULT).unwrap();
        prop_assert_eq!(parsed.forgiven, []);
        prop_assert_eq!(parsed.document, document);
    }

    #[test]
    fn no_octets_make_a_reader_panic(bytes in vec(any::<u8>(), 0..400)) {
        let _ = pidf::read(&bytes, &Limits::DEFAULT);
        let _ = composing::read(&bytes, &Limits::DEFAULT);
        let _ = cpim::read(&bytes);
        let _ = html::to_text(&String::from_utf8_lossy(&bytes), 100);
    }

    #[test]
    fn no_damage_to_a_document_makes_a_reader_panic(document in document(), at in any::<usize>(), with in any::<u8>()) {
        let mut bytes = pidf::write(&document).into_bytes();
        let at = at % bytes.len();
        bytes[at] = with;
        let _ = pidf::read(&bytes, &Limits::DEFAULT);
        bytes.truncate(at);
        let _ = pidf::read(&bytes, &Limits::DEFAULT);
    }

    #[test]
    fn indications_read_back_as_they_were(active in any::<bool>(), refresh in option::of(60..4000_u32), at in option::of(moment())) {
        let indication = composing::Composing { active, content_type: Some("text/plain".into()), last_active: at, refresh };
        let parsed = composing::read(composing::write(&indication).as_bytes(), &Limits::DEFAULT).unwrap();
        prop_assert_eq!(parsed.document, indication);
    }
}

#[test]
fn no_input_takes_longer_than_its_length() {
    let limits = Limits { bytes: usize::MAX, elements: usize::MAX, depth: 64, ..Limits::DEFAULT };
    let head = r#"<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="x">"#;
    type Shape = (&'static str, fn(usize) -> String);
    let shapes: [Shape; 6] = [
        ("elements", |n| "<a/>".repeat(n)),
        ("attributes", |n| format!("<tuple{}/>", " a='b'".repeat(n))),
        ("references", |n| format!("<note>{}</note>", "&amp;".repeat(n))),
        ("unknown references", |n| format!("<note>{}</note>", "&x;".repeat(n))),
        ("comments", |n| "<!-- -->".repeat(n)),
        ("open tags", |n| "<".repeat(n)),
    ];
    for (name, shape) in shapes {
        let cost = |n: usize| {
            let text = format!("{head}{}</presence>", shape(n));
            (0..7)
                .map(|_| {
                    let begun = Instant::now();
                    let _ = pidf::read(text.as_bytes(), &limits);
                    begun.elapsed()
                })
                .min()
                .unwrap()
        };
        let (small, large) = (cost(10_000), cost(160_000));
        // Sixteen times the input: room for a noisy machine, and far below the 256 of a quadratic reader.
        assert!(large < small * 100 + Duration::from_millis(20), "{name}: {small:?} and {large:?}");
    }
    let markup = |n: usize| "<script><!--&#".repeat(n);
    let cost = |n| {
        let text = markup(n);
        let begun = Instant::now();
        let _ = html::to_text(&text, usize::MAX);
        begun.elapsed()
    };
    let (small, large) = (cost(10_000), cost(160_000));
    assert!(large < small * 100 + Duration::from_millis(20), "markup: {small:?} and {large:?}");
}

#[test]
fn markup_becomes_what_it_says() {
    for (markup, text) in [
        ("plain", "plain"),
        ("<p>one</p><p>two</p>", "one\ntwo"),
        ("a<br>b<BR/>c", "a\nb\nc"),
        ("1 &lt; 2 &amp;&#38; 3&nbsp;&gt; 2 &bogus; &", "1 < 2 && 3\u{a0}> 2 &bogus; &"),
        ("<style>p { color: red }</style>x<script>alert('</p>')</script>y", "xy"),
        ("<b title=\"a>b\">bold</b>  \n and", "bold and"),
        ("a <!-- <b> --> b", "a b"),
        ("1 < 2", "1 < 2"),
        ("x<unclosed", "x"),
        ("&#7;", "\u{fffd}"),
    ] {
        assert_eq!(html::to_text(markup, 100), text, "{markup}");
    }
    assert_eq!(html::to_text("ééé", 5), "éé");
}

#[test]
fn a_wrapper_is_read_with_and_without_its_parts() {
    let full = b"From: Alice <im:alice@example.com>\r\nTo: <im:bob@example.com>\r\nDateTime: 2026-01-31T09:00:00-05:00\r\n\
        Subject: the weather\r\nSubject:;lang=fr le temps\r\nNS: x <urn:x>\r\n\r\nContent-type: text/html; charset=utf-8\r\nContent-ID: <1>\r\n\r\n<b>hi</b>";
    let wrapped = cpim::read(full).unwrap();
    assert_eq!(wrapped.from, Some(Party { name: "Alice".into(), uri: "im:alice@example.com".into() }));
    assert_eq!(wrapped.subject(None), Some("the weather"));
    assert_eq!(wrapped.subject(Some("FR")), Some("le temps"));
    assert_eq!(wrapped.date_time.unwrap().to_string(), "2026-01-31T14:00:00Z");
    assert_eq!(wrapped.content_type(), Some("text/html; charset=utf-8"));
    assert_eq!(&*wrapped.body, b"<b>hi</b>");
    assert_eq!(&*cpim::read(b"Content-Type: text/plain\n\nhi").unwrap().body, b"hi");
    assert!(cpim::read(b"From: x").is_err());
    assert!(cpim::read("A: b\r\n".repeat(300).as_bytes()).is_err());
}

#[test]
fn an_unknown_composing_state_is_idle() {
    let text = br#"<isComposing xmlns="urn:ietf:params:xml:ns:im-iscomposing" xmlns:x="urn:x"><state>thinking</state>
        <x:extra><state>active</state></x:extra><refresh>5</refresh></isComposing>"#;
    let read = composing::read(text, &Limits::DEFAULT).unwrap().document;
    assert_eq!((read.active, read.refresh), (false, Some(60)));
}
