//! What presence documents say of a person.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use attache_documents::{
    Limits, Moment,
    pidf::{self, Activity, Basic, Document, Note, Person, Rich, Tuple, UserInput, UserInputState},
};
use attache_messenger::{
    compose::{Reason, compose, express},
    presence::Availability::{self, *},
    time::Timestamp,
};
use proptest::prelude::*;

const NOW: Timestamp = Timestamp::from_millis(1_769_850_000_000);

fn tuple(basic: Option<Basic>) -> Tuple {
    Tuple { id: "t".into(), basic, ..Tuple::default() }
}

fn person(activities: &[&str], at: Option<i64>) -> Person {
    let mut rich = Rich::default();
    rich.activities.list = activities.iter().map(|word| Activity::from_name(word)).collect();
    Person { id: "p".into(), rich, timestamp: at.map(Moment::from_millis), ..Person::default() }
}

fn document(tuples: &[Option<Basic>], persons: Vec<Person>) -> Document {
    Document {
        entity: "sip:b@c".into(),
        tuples: tuples.iter().map(|b| tuple(*b)).collect(),
        persons,
        ..Document::default()
    }
}

fn availability(document: Document) -> Option<Availability> {
    compose(&[document], NOW).availability
}

const OPEN: Option<Basic> = Some(Basic::Open);
const CLOSED: Option<Basic> = Some(Basic::Closed);

#[test]
fn what_is_expressed_composes_to_what_was_meant() {
    for meant in Availability::ALL {
        let written = pidf::write(&express("sip:b@c", "1", meant, "a <note>", NOW));
        let read = pidf::read(written.as_bytes(), &Limits::DEFAULT).unwrap().document;
        let composed = compose(&[read], NOW);
        assert_eq!((composed.availability, &*composed.note), (Some(meant), "a <note>"));
    }
}

#[test]
fn simple_watchers_see_open_and_closed() {
    for meant in Availability::ALL {
        let basic = express("sip:b@c", "1", meant, "", NOW).tuples[0].basic;
        assert_eq!(basic == CLOSED, meant == Offline);
    }
}

#[test]
fn nothing_published_is_offline_and_nothing_said_is_unknown() {
    assert_eq!(compose(&[], NOW).availability, Some(Offline));
    assert_eq!(compose(&[], NOW).reasons, [Reason::NothingPublished]);
    let silent = compose(&[document(&[None], vec![])], NOW);
    assert_eq!((silent.availability, &silent.reasons[..]), (None, &[Reason::NoStatement][..]));
}

#[test]
fn one_open_service_is_enough() {
    assert_eq!(availability(document(&[CLOSED, OPEN], vec![])), Some(Available));
    assert_eq!(availability(document(&[CLOSED, CLOSED], vec![person(&["busy"], None)])), Some(Offline));
}

#[test]
fn activities_of_other_programs_have_their_meaning() {
    for (activities, expected) in [
        (&["on-the-phone"][..], Busy),
        (&["meeting"], Busy),
        (&["presentation", "working"], Busy),
        (&["vacation"], Away),
        (&["lunch"], Away),
        (&["working"], Available),
        (&["brewing tea"], Available),
        (&["dnd"], DoNotDisturb),
        (&["busy", "away"], Away),
        (&["away", "be right back"], BeRightBack),
    ] {
        assert_eq!(
            availability(document(&[OPEN], vec![person(activities, None)])),
            Some(expected),
            "{activities:?}"
        );
    }
}

#[test]
fn a_statement_without_a_service_counts_as_open() {
    let composed = compose(&[document(&[], vec![person(&["away"], None)])], NOW);
    assert_eq!(composed.availability, Some(Away));
    assert_eq!(composed.reasons, [Reason::StatementOnly, Reason::Activity("away".into())]);
}

#[test]
fn the_latest_statement_on_the_person_counts() {
    let composed = compose(
        &[document(&[OPEN], vec![person(&["vacation"], Some(1_000)), person(&["busy"], Some(2_000))])],
        NOW,
    );
    assert_eq!(composed.availability, Some(Busy));
    assert!(composed.reasons.contains(&Reason::Outdated(1)));
}

#[test]
fn a_device_in_use_outweighs_an_idle_one() {
    let input = |state| Some(UserInput { state, idle_threshold: None, last_input: None });
    let mut one = document(&[OPEN], vec![]);
    one.tuples[0].rich.user_input = input(UserInputState::Idle);
    assert_eq!(availability(one.clone()), Some(Idle));
    let mut other = document(&[OPEN], vec![]);
    other.tuples[0].rich.user_input = input(UserInputState::Active);
    assert_eq!(compose(&[one, other], NOW).availability, Some(Available));
}

#[test]
fn a_statement_holds_within_its_time_only() {
    let mut person = person(&["meeting"], None);
    let begins = NOW.as_millis() as i64 + 60_000;
    person.rich.activities.valid.from = Some(Moment::from_millis(begins));
    person.rich.activities.valid.until = Some(Moment::from_millis(begins + 60_000));
    let documents = [document(&[OPEN], vec![person])];
    let at = |seconds| compose(&documents, NOW + std::time::Duration::from_secs(seconds));
    assert_eq!(
        (at(0).availability, at(0).next_change_at.unwrap().as_millis() as i64),
        (Some(Available), begins)
    );
    assert_eq!(at(60).availability, Some(Busy));
    assert_eq!((at(120).availability, at(120).next_change_at), (Some(Available), None));
}

#[test]
fn the_persons_own_words_come_before_those_of_a_device() {
    let mut document = document(&[OPEN], vec![person(&[], None)]);
    document.notes.push(Note::new("whole"));
    assert_eq!(&*compose(std::slice::from_ref(&document), NOW).note, "whole");
    document.tuples[0].notes.push(Note::new("device"));
    assert_eq!(&*compose(std::slice::from_ref(&document), NOW).note, "device");
    document.persons[0].notes.push(Note { text: "ich".into(), lang: Some("de".into()) });
    document.persons[0].notes.push(Note::new("me"));
    assert_eq!(&*compose(&[document], NOW).note, "me");
}

#[test]
fn a_long_note_is_cut_between_characters() {
    let mut document = document(&[OPEN], vec![]);
    document.notes.push(Note::new("é".repeat(2_000)));
    assert_eq!(compose(&[document], NOW).note.len(), 1_024);
}

fn any_person() -> impl Strategy<Value = Person> {
    const WORDS: &[&str] = &["busy", "away", "meeting", "dnd", "be-right-back", "working", "x"];
    (
        proptest::collection::vec(proptest::sample::select(WORDS), 0..3),
        proptest::option::of(0_i64..4),
        proptest::option::of(any::<bool>()),
        proptest::option::of("[a-c]{1,2}"),
    )
        .prop_map(|(words, at, active, note)| {
            let mut person = person(&words, at);
            person.notes = note.map(Note::new).into_iter().collect();
            person.rich.user_input = active.map(|active| UserInput {
                state: if active { UserInputState::Active } else { UserInputState::Idle },
                idle_threshold: None,
                last_input: None,
            });
            person
        })
}

fn any_document() -> impl Strategy<Value = Document> {
    let basic = proptest::option::of(prop_oneof![Just(Basic::Open), Just(Basic::Closed)]);
    (proptest::collection::vec(basic, 0..3), proptest::collection::vec(any_person(), 0..3))
        .prop_map(|(tuples, persons)| document(&tuples, persons))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_order_of_documents_and_their_parts_does_not_matter(
        documents in proptest::collection::vec(any_document(), 0..4),
        seed in any::<u64>(),
    ) {
        let before = compose(&documents, NOW);
        let mut shuffled = documents.clone();
        shuffled.reverse();
        for document in &mut shuffled {
            let parts = document.persons.len().max(1);
            document.persons.rotate_left(seed as usize % parts);
            document.tuples.reverse();
        }
        let after = compose(&shuffled, NOW);
        prop_assert_eq!(&before, &after);
        // One document with all parts says the same as several.
        let mut whole = Document::default();
        for document in documents {
            whole.tuples.extend(document.tuples);
            whole.persons.extend(document.persons);
        }
        prop_assert_eq!(compose(&[whole], NOW), before);
    }
}
