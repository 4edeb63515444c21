use attache_documents::{
    multipart::Writer,
    rlmi::{self, Instance, List, Resource, State},
};

use super::*;

const TYPE: &str = "application/pidf+xml";

fn at(name: &str) -> Address {
    Address::parse(&format!("sip:{name}@example.com")).unwrap()
}

fn instance(id: &str, state: State, reason: Option<&str>, cid: Option<&str>) -> Instance {
    Instance { id: id.into(), state, reason: reason.map(Into::into), cid: cid.map(Into::into) }
}

fn resource(name: &str, instances: Vec<Instance>) -> Resource {
    Resource { uri: format!("sip:{name}@example.com"), instances, ..Resource::default() }
}

/// A member whose document has the member's name as its identifier.
fn known(name: &str) -> Resource {
    resource(name, vec![instance("1", State::Active, None, Some(name))])
}

fn bundle(list: &List, parts: &[(&str, &str, Bytes)]) -> (String, Bytes) {
    let mut writer = Writer::new(&format!("b{}", list.uri.len()));
    writer.part(rlmi::MEDIA_TYPE, Some("root"), rlmi::write(list).as_bytes());
    for (id, kind, body) in parts {
        writer.part(kind, Some(id), body);
    }
    (writer.related_type(rlmi::MEDIA_TYPE, "root"), writer.finish())
}

fn take(state: &mut ListState, version: u32, full_state: bool, resources: Vec<Resource>) -> Outcome {
    let documents: Vec<(String, Bytes)> = resources
        .iter()
        .flat_map(|resource| &resource.instances)
        .filter_map(|instance| Some((instance.cid.clone()?, Bytes::from(format!("<{version}/>")))))
        .collect();
    let parts: Vec<(&str, &str, Bytes)> =
        documents.iter().map(|(id, body)| (id.as_str(), TYPE, body.clone())).collect();
    let list = List { uri: "sip:list@example.com".into(), version, full_state, resources, ..List::default() };
    let (content_type, body) = bundle(&list, &parts);
    state.take(&content_type, &body)
}

fn applied(outcome: Outcome) -> (bool, Vec<(Address, Said)>, Vec<Address>) {
    match outcome {
        Outcome::Applied { whole, told, removed } => (whole, told, removed),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_member_is_told_with_its_document() {
    let mut state = ListState::new(100);
    let (whole, told, removed) = applied(take(&mut state, 0, true, vec![known("bob")]));
    assert!(whole && removed.is_empty() && state.is_complete());
    let [(address, Said::Documents { parts, sources })] = &told[..] else { panic!("{told:?}") };
    assert_eq!((address, &*parts[0].media_type, &parts[0].body[..]), (&at("bob"), TYPE, &b"<0/>"[..]));
    assert_eq!(sources[..], [parts[0].source]);
}

#[test]
fn a_partial_list_says_nothing_of_the_others() {
    let mut state = ListState::new(100);
    take(&mut state, 0, true, vec![known("bob"), known("carol")]);
    let (whole, told, removed) = applied(take(&mut state, 1, false, vec![known("bob")]));
    assert_eq!((whole, told.len(), removed.len()), (false, 1, 0));
    assert!(state.holds(&at("carol")));
}

#[test]
fn a_whole_list_names_who_is_gone() {
    let mut state = ListState::new(100);
    take(&mut state, 0, true, vec![known("bob"), known("carol")]);
    let (_, told, removed) = applied(take(&mut state, 1, true, vec![known("bob")]));
    assert_eq!((told.len(), &removed[..]), (1, &[at("carol")][..]));
    assert!(!state.holds(&at("carol")));
}

#[test]
fn a_gap_applies_nothing() {
    let mut state = ListState::new(100);
    take(&mut state, 0, true, vec![known("bob")]);
    assert!(matches!(take(&mut state, 2, false, vec![known("carol")]), Outcome::Gap));
    assert!(!state.holds(&at("carol")));
    assert!(matches!(take(&mut state, 3, true, vec![known("carol")]), Outcome::Applied { .. }));
}

#[test]
fn a_repeated_list_is_passed_over() {
    let mut state = ListState::new(100);
    take(&mut state, 0, true, vec![known("bob")]);
    take(&mut state, 1, false, vec![known("bob")]);
    assert!(matches!(take(&mut state, 1, false, vec![known("bob")]), Outcome::Repeated));
}

#[test]
fn after_another_beginning_a_part_is_a_gap() {
    let mut state = ListState::new(100);
    take(&mut state, 0, true, vec![known("bob")]);
    state.restart();
    assert!(matches!(take(&mut state, 1, false, vec![known("bob")]), Outcome::Gap));
    assert!(state.holds(&at("bob")), "who was on it is compared with what comes");
}

#[test]
fn members_without_a_state_pending_and_ended_ones_are_told_apart() {
    let mut state = ListState::new(100);
    let members = vec![
        resource("a", Vec::new()),
        resource("b", vec![instance("1", State::Pending, None, None)]),
        resource("c", vec![instance("1", State::Terminated, Some("rejected"), None)]),
        resource("d", vec![instance("1", State::Active, None, None)]),
        resource("e", vec![instance("1", State::Active, None, Some("not there"))]),
    ];
    let list = List {
        uri: "sip:l@e.com".into(),
        version: 0,
        full_state: true,
        resources: members,
        ..List::default()
    };
    let (content_type, body) = bundle(&list, &[]);
    let (_, told, _) = applied(state.take(&content_type, &body));
    let said: Vec<&Said> = told.iter().map(|(_, said)| said).collect();
    let quiet = |said: &Said| matches!(said, Said::Documents { parts, sources } if parts.is_empty() && sources.len() == 1);
    assert_eq!(said[..3], [&Said::Nothing, &Said::Pending, &Said::Ended("rejected".into())]);
    assert!(quiet(said[3]), "its document is as it was");
    assert!(quiet(said[4]), "a part that is missing is no news either");
}

#[test]
fn two_instances_of_a_member_are_two_sources() {
    let mut state = ListState::new(100);
    let two = resource(
        "bob",
        vec![
            instance("desk", State::Active, None, Some("1")),
            instance("phone", State::Active, None, Some("2")),
            instance("old", State::Terminated, Some("timeout"), None),
        ],
    );
    let (_, told, _) = applied(take(&mut state, 0, true, vec![two]));
    let Said::Documents { parts, sources } = &told[0].1 else { panic!("{told:?}") };
    assert_eq!((parts.len(), sources.len()), (2, 2));
    assert_ne!(sources[0], sources[1]);
}

#[test]
fn members_of_a_list_within_the_list_count_too() {
    let mut state = ListState::new(100);
    let inner = |version, full_state, resources| {
        let list =
            List { uri: "sip:team@example.com".into(), version, full_state, resources, ..List::default() };
        bundle(&list, &[("bob", TYPE, Bytes::from_static(b"<b/>"))])
    };
    let outer = |version, (kind, body): (String, Bytes)| {
        let team = resource("team", vec![instance("1", State::Active, None, Some("team"))]);
        let resources = vec![team, resource("carol", Vec::new())];
        let list = List {
            uri: "sip:all@example.com".into(),
            version,
            full_state: true,
            resources,
            ..List::default()
        };
        bundle(&list, &[("team", &kind, body)])
    };
    let (kind, body) = outer(0, inner(0, true, vec![known("bob")]));
    let (_, told, _) = applied(state.take(&kind, &body));
    let names: Vec<&Address> = told.iter().map(|(address, _)| address).collect();
    assert_eq!(names, [&at("carol"), &at("bob")], "the list itself is no person");
    let (kind, body) = outer(1, inner(1, true, vec![]));
    let (_, _, removed) = applied(state.take(&kind, &body));
    assert_eq!(removed, [at("bob")]);
    let (kind, body) = outer(2, inner(5, false, vec![known("bob")]));
    assert!(matches!(state.take(&kind, &body), Outcome::Gap), "a list in the list has versions of its own");
}

/// A list of others, each with one member of its own, and without documents.
fn outer(state: &mut ListState, uri: &str, inner: &[(&str, &str)]) -> Vec<Address> {
    let teams =
        inner.iter().map(|(team, _)| resource(team, vec![instance("1", State::Active, None, Some(team))]));
    let list = List { uri: uri.into(), full_state: true, resources: teams.collect(), ..List::default() };
    let inner: Vec<(&str, (String, Bytes))> = inner
        .iter()
        .map(|(team, member)| {
            let resources = vec![resource(member, Vec::new())];
            let uri = format!("sip:{team}@example.com");
            (*team, bundle(&List { uri, full_state: true, resources, ..List::default() }, &[]))
        })
        .collect();
    let parts: Vec<(&str, &str, Bytes)> =
        inner.iter().map(|(team, (kind, body))| (*team, kind.as_str(), body.clone())).collect();
    let (kind, body) = bundle(&list, &parts);
    applied(state.take(&kind, &body)).2
}

#[test]
fn a_list_that_left_the_list_is_forgotten_with_its_members() {
    let mut state = ListState::new(100);
    outer(&mut state, "sip:everybody@example.com", &[("team", "bob"), ("crew", "carol")]);
    let removed = outer(&mut state, "sip:everybody@example.com", &[("crew", "carol")]);
    assert_eq!(removed, [at("bob")]);
    assert!(!state.holds(&at("bob")) && state.holds(&at("carol")));
    assert_eq!(state.lists.len(), 2);
}

#[test]
fn a_list_that_is_as_it_was_keeps_its_members() {
    let mut state = ListState::new(100);
    outer(&mut state, "sip:everybody@example.com", &[("team", "bob")]);
    let quiet = resource("team", vec![instance("1", State::Active, None, None)]);
    let list = List {
        uri: "sip:everybody@example.com".into(),
        version: 1,
        full_state: true,
        resources: vec![quiet],
        ..List::default()
    };
    let (kind, body) = bundle(&list, &[]);
    let (_, told, removed) = applied(state.take(&kind, &body));
    assert!(told.is_empty() && removed.is_empty(), "{told:?} {removed:?}");
    assert!(state.holds(&at("bob")));
}

#[test]
fn another_root_takes_the_place_of_the_one_before() {
    let mut state = ListState::new(100);
    for n in 0..2 * MAX_LISTS {
        outer(&mut state, &format!("sip:{n}@example.com"), &[("team", "bob")]);
    }
    assert_eq!(state.lists.len(), 2);
}

#[test]
fn changes_make_a_list_no_longer_than_allowed() {
    let mut state = ListState::new(2);
    take(&mut state, 0, true, vec![known("a"), known("b")]);
    let (_, told, _) = applied(take(&mut state, 1, false, vec![known("c"), known("b")]));
    assert_eq!(told.iter().map(|(address, _)| address).collect::<Vec<_>>(), [&at("b")]);
    assert!(state.holds(&at("a")) && !state.holds(&at("c")));
}

#[test]
fn lists_in_lists_end_somewhere() {
    let mut state = ListState::new(100);
    let (mut kind, mut body) = {
        let list = List {
            uri: "sip:0@e.com".into(),
            full_state: true,
            resources: vec![known("bob")],
            ..List::default()
        };
        bundle(&list, &[("bob", TYPE, Bytes::from_static(b"<b/>"))])
    };
    for n in 1..12 {
        let below = resource("below", vec![instance("1", State::Active, None, Some("below"))]);
        let uri = format!("sip:{}@e.com", "x".repeat(n));
        let list = List { uri, full_state: true, resources: vec![below], ..List::default() };
        let mut writer = Writer::new(&format!("level{n}"));
        writer.part(rlmi::MEDIA_TYPE, Some("root"), rlmi::write(&list).as_bytes());
        writer.part(&kind, Some("below"), &body);
        (kind, body) = (writer.related_type(rlmi::MEDIA_TYPE, "root"), writer.finish());
    }
    let (_, told, _) = applied(state.take(&kind, &body));
    assert!(told.is_empty());
}

#[test]
fn more_members_than_allowed_are_left_out() {
    let mut state = ListState::new(2);
    let (_, told, _) = applied(take(&mut state, 0, true, vec![known("a"), known("b"), known("c")]));
    assert_eq!(told.len(), 2);
}

#[test]
fn a_presence_document_is_no_list() {
    let mut state = ListState::new(100);
    let outcome = state.take(TYPE, &Bytes::from_static(b"<presence/>"));
    assert!(matches!(outcome, Outcome::NoList(_)));
}
