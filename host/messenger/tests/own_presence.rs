//! What own presence is made of, and whether others see what was meant.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::{sync::Arc, time::Duration};

use attache_documents::{Limits, pidf};
use attache_messenger::{
    compose::{OwnComposition, OwnFacts, Reason, compose, compose_own, express_own},
    presence::{Availability, Fact},
    time::Timestamp,
};
use proptest::{option, prelude::*};

const NOW: Timestamp = Timestamp::from_millis(1_769_850_000_000);

fn fact(availability: Option<Availability>, activity: &str) -> Fact {
    Fact { availability, activity: activity.into(), note: "".into(), from: None, until: None }
}

fn facts(all: &[(&str, Fact)]) -> OwnFacts {
    let facts = all.iter().map(|(source, fact)| (Arc::from(*source), fact.clone())).collect();
    OwnFacts { facts, ..OwnFacts::default() }
}

fn after(seconds: u64) -> Timestamp {
    NOW + Duration::from_secs(seconds)
}

fn why(own: &OwnComposition) -> (Availability, &[Reason]) {
    (own.availability, &own.reasons)
}

#[test]
fn without_a_choice_and_facts_a_person_is_available() {
    let own = compose_own(&OwnFacts::default(), NOW);
    assert_eq!(why(&own), (Availability::Available, &[Reason::NothingElse][..]));
}

#[test]
fn a_choice_goes_before_idle_and_facts() {
    let mut all = facts(&[("calendar", fact(Some(Availability::DoNotDisturb), "meeting"))]);
    all.chosen = Some((Availability::Available, None));
    all.idle_since = Some(NOW);
    let own = compose_own(&all, NOW);
    assert_eq!(why(&own), (Availability::Available, &[Reason::Chosen(None)][..]));
    assert!(own.activities.is_empty(), "what others would read as busy is not said");
}

#[test]
fn a_choice_runs_out() {
    let mut all = facts(&[("calendar", fact(None, "meeting"))]);
    all.chosen = Some((Availability::Available, Some(after(60))));
    let own = compose_own(&all, NOW);
    assert_eq!((own.availability, own.next_change_at), (Availability::Available, Some(after(60))));
    let own = compose_own(&all, after(60));
    assert_eq!(why(&own), (Availability::Busy, &[Reason::ChoiceOver, Reason::Fact("calendar".into())][..]));
    assert_eq!(own.next_change_at, None);
}

#[test]
fn words_go_with_any_availability_and_stay_when_a_choice_runs_out() {
    let all = OwnFacts {
        chosen: Some((Availability::Offline, Some(after(1)))),
        note: "in Rome".into(),
        ..OwnFacts::default()
    };
    assert_eq!(&*compose_own(&all, NOW).note, "in Rome");
    assert_eq!(&*compose_own(&all, after(2)).note, "in Rome");
}

#[test]
fn the_least_willing_fact_counts_and_is_named() {
    let all = facts(&[
        ("call", fact(None, "on-the-phone")),
        ("calendar", fact(Some(Availability::Away), "travel")),
    ]);
    let own = compose_own(&all, NOW);
    assert_eq!(why(&own), (Availability::Away, &[Reason::Fact("calendar".into())][..]));
    assert_eq!(own.activities.len(), 2);
}

#[test]
fn a_device_that_is_not_touched_makes_idle_unless_its_user_is_on_the_phone() {
    let mut all = facts(&[("calendar", fact(None, "meeting"))]);
    all.idle_since = Some(NOW);
    assert_eq!(compose_own(&all, NOW).availability, Availability::BusyIdle);
    all.facts.insert("call".into(), fact(None, "on-the-phone"));
    assert_eq!(compose_own(&all, NOW).availability, Availability::Busy);
    all.facts.clear();
    let own = compose_own(&all, NOW);
    assert_eq!(own.availability, Availability::Idle);
    assert_eq!(own.reasons, [Reason::NothingElse, Reason::NotTouched(NOW)]);
}

#[test]
fn a_fact_of_the_future_is_announced_and_not_held() {
    let meeting = Fact { from: Some(after(600)), until: Some(after(1200)), ..fact(None, "meeting") };
    let all = facts(&[("calendar", meeting)]);
    let own = compose_own(&all, NOW);
    assert_eq!((own.availability, own.next_change_at), (Availability::Available, Some(after(600))));
    assert_eq!((own.upcoming[0].from, own.upcoming[0].until), (after(600), Some(after(1200))));
    let seen = seen_by_others(&own, NOW);
    assert_eq!((seen.availability, seen.next_change_at), (Some(Availability::Available), Some(after(600))));
    let upcoming = &seen.details.unwrap().upcoming;
    assert_eq!((upcoming[0].from, upcoming[0].availability), (after(600), Some(Availability::Busy)));
    let own = compose_own(&all, after(600));
    assert_eq!((own.availability, own.next_change_at), (Availability::Busy, Some(after(1200))));
    assert!(own.upcoming.is_empty());
}

fn seen_by_others(own: &OwnComposition, now: Timestamp) -> attache_messenger::compose::Composition {
    let document = pidf::write(&express_own("sip:alice@example.com", "1", own, now));
    let read = pidf::read(document.as_bytes(), &Limits::DEFAULT).unwrap();
    assert!(read.forgiven.is_empty(), "{:?}", read.forgiven);
    compose(&[read.document], now)
}

fn availability() -> impl Strategy<Value = Availability> {
    proptest::sample::select(&Availability::ALL)
}

prop_compose! {
    fn any_fact()(
        availability in option::of(availability()),
        activity in proptest::sample::select(&["", "meeting", "on-the-phone", "lunch", "gardening", "vacation"]),
        from in option::of(0..100_u64),
        until in option::of(0..100_u64),
    ) -> Fact {
        Fact { from: from.map(after), until: until.map(after), ..fact(availability, activity) }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn others_see_what_was_meant(
        chosen in option::of((availability(), option::of(0..100_u64))),
        idle in option::of(0..50_u64),
        all in proptest::collection::btree_map("[a-c]", any_fact(), 0..4),
        now in 0..100_u64,
    ) {
        let facts = OwnFacts {
            chosen: chosen.map(|(availability, until)| (availability, until.map(after))),
            note: "words".into(),
            idle_since: idle.map(after),
            facts: all.into_iter().map(|(source, fact)| (Arc::from(source), fact)).collect(),
        };
        let own = compose_own(&facts, after(now));
        let seen = seen_by_others(&own, after(now));
        prop_assert_eq!(seen.availability, Some(own.availability));
        prop_assert_eq!(&*seen.note, "words");
        prop_assert!(own.next_change_at.is_none_or(|at| at > after(now)));
        if let Some(next) = own.next_change_at {
            // Between now and then nothing changes.
            let before = Timestamp::from_millis(next.as_millis() - 1);
            prop_assert_eq!(compose_own(&facts, before).availability, own.availability);
        } else {
            prop_assert_eq!(compose_own(&facts, after(100_000)).availability, own.availability);
        }
    }
}
