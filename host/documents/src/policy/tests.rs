use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::limits::Limits;
use crate::pidf::{self, Activity};

/// The example of RFC 5025, section 6, with what other programs put in.
const EXAMPLE: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<cr:ruleset xmlns="urn:ietf:params:xml:ns:pres-rules" xmlns:pr="urn:ietf:params:xml:ns:pres-rules"
            xmlns:cr="urn:ietf:params:xml:ns:common-policy" xmlns:o="urn:other" o:author="o:somebody">
  <cr:rule id="a">
    <cr:conditions>
      <cr:identity><cr:one id="sip:user@example.com"/></cr:identity>
    </cr:conditions>
    <cr:actions>
      <pr:sub-handling>allow</pr:sub-handling>
      <o:ring tone="o:loud">twice</o:ring>
    </cr:actions>
    <cr:transformations>
      <pr:provide-services>
        <pr:service-uri-scheme>sip</pr:service-uri-scheme>
        <pr:service-uri-scheme>mailto</pr:service-uri-scheme>
      </pr:provide-services>
      <pr:provide-persons><pr:all-persons/></pr:provide-persons>
      <pr:provide-activities>true</pr:provide-activities>
      <pr:provide-user-input>bare</pr:provide-user-input>
      <pr:provide-unknown-attribute ns="urn:vendor-specific:foo-namespace" name="foo">true</pr:provide-unknown-attribute>
      <o:blur/>
    </cr:transformations>
    <o:colour>green</o:colour>
  </cr:rule>
</cr:ruleset>"#;

fn ruleset(text: &str) -> Ruleset {
    read(text.as_bytes(), &Limits::STORED).unwrap()
}

fn rules(inside: &str) -> Ruleset {
    ruleset(&format!(
        "<ruleset xmlns=\"{NAMESPACE}\" xmlns:pr=\"{PRES_RULES}\" xmlns:ocp=\"{OMA}\">{inside}</ruleset>"
    ))
}

fn allow_when(conditions: &str) -> Ruleset {
    rules(&format!(
        "<rule id=\"a\"><conditions>{conditions}</conditions>\
         <actions><pr:sub-handling>allow</pr:sub-handling></actions></rule>"
    ))
}

fn handling(ruleset: &Ruleset, who: &str) -> SubHandling {
    evaluate(ruleset, &Watcher::new(who)).handling
}

#[test]
fn the_example_of_rfc_5025_is_understood() {
    let ruleset = ruleset(EXAMPLE);
    let granted = evaluate(&ruleset, &Watcher::new("sip:user@example.com"));
    assert_eq!(granted.handling, SubHandling::Allow);
    assert_eq!(granted.persons, Selection::All);
    assert_eq!(granted.devices, Selection::Some(BTreeSet::new()));
    let schemes = ["mailto", "sip"].map(|scheme| ServiceSelector::UriScheme(scheme.into()));
    assert_eq!(granted.services, Selection::Some(schemes.into()));
    assert!(granted.shows(Attribute::Activities) && !granted.shows(Attribute::Mood));
    assert_eq!(granted.user_input, UserInputDetail::Bare);
    assert!(granted.shows_unknown("urn:vendor-specific:foo-namespace", "foo"));
    assert_eq!(handling(&ruleset, "sip:other@example.com"), SubHandling::Block);
}

#[test]
fn what_others_put_into_rules_survives() {
    let before = ruleset(EXAMPLE);
    let written = write(&before);
    assert_eq!(ruleset(&written), before);
    for kept in ["o:ring", "twice", "o:blur", "green", "o:somebody", "xmlns:o=\"urn:other\""] {
        assert!(written.contains(kept), "{kept} is lost:\n{written}");
    }
}

#[test]
fn all_spellings_of_an_address_are_one_person() {
    let ruleset = allow_when("<identity><one id=\"sip:%75ser@Example.COM\"/></identity>");
    for who in [
        "sip:user@example.com",
        "sips:user@example.com:5061;x=y",
        "pres:user@EXAMPLE.com",
        "user@example.com",
    ] {
        assert_eq!(handling(&ruleset, who), SubHandling::Allow, "{who}");
    }
    for who in
        ["sip:User@example.com", "tel:user@example.com", "sip:user@example.org", "mailto:user@example.com"]
    {
        assert_eq!(handling(&ruleset, who), SubHandling::Block, "{who}");
    }
}

#[test]
fn a_domain_is_everybody_in_it_but_for_the_exceptions() {
    let ruleset = allow_when(
        "<identity><many domain=\"example.com\"><except id=\"sip:joe@example.com\"/></many></identity>",
    );
    assert_eq!(handling(&ruleset, "sip:ann@example.com"), SubHandling::Allow);
    assert_eq!(handling(&ruleset, "sip:joe@example.com"), SubHandling::Block);
    assert_eq!(handling(&ruleset, "sip:ann@sub.example.com"), SubHandling::Block);
    let ruleset = allow_when("<identity><many><except domain=\"example.com\"/></many></identity>");
    assert_eq!(handling(&ruleset, "sip:ann@example.com"), SubHandling::Block);
    assert_eq!(handling(&ruleset, "sip:ann@example.org"), SubHandling::Allow);
}

#[test]
fn many_are_those_who_proved_an_address_only() {
    let anonymous = Watcher { identity: None, ..Watcher::new("") };
    assert_eq!(
        evaluate(&allow_when("<identity><many/></identity>"), &anonymous).handling,
        SubHandling::Block
    );
    assert_eq!(evaluate(&allow_when("<ocp:anonymous-request/>"), &anonymous).handling, SubHandling::Allow);
    assert_eq!(handling(&allow_when("<ocp:anonymous-request/>"), "sip:a@example.com"), SubHandling::Block);
}

#[test]
fn everybody_else_is_who_no_other_rule_names() {
    let mut ruleset = allow_when("<ocp:other-identity/>");
    ruleset.rules.push(Rule::for_people("b", ["sip:eve@example.com"], SubHandling::Block));
    assert_eq!(handling(&ruleset, "sip:ann@example.com"), SubHandling::Allow);
    assert_eq!(handling(&ruleset, "sip:eve@example.com"), SubHandling::Block);
}

#[test]
fn a_list_elsewhere_is_asked_for_its_members() {
    let ruleset = allow_when("<ocp:external-list><ocp:entry anc=\"http://x/list\"/></ocp:external-list>");
    let mut is_member = |list: &str, who: &str| list == "http://x/list" && who == "sip:ann@example.com";
    let mut asked = |who| evaluate_with(&ruleset, &Watcher::new(who), &mut is_member).handling;
    assert_eq!(asked("sip:ann@example.com"), SubHandling::Allow);
    assert_eq!(asked("sip:eve@example.com"), SubHandling::Block);
    assert_eq!(handling(&ruleset, "sip:ann@example.com"), SubHandling::Block);
}

#[test]
fn a_condition_that_is_not_known_never_holds() {
    for condition in [
        "<identity/>",
        "<x:phase-of-the-moon xmlns:x=\"urn:x\"/>",
        "<identity><x:robot xmlns:x=\"urn:x\"/></identity>",
        "<identity><one id=\"sip:ann@example.com\"><x:only-by-day xmlns:x=\"urn:x\"/></one></identity>",
        "<identity><many><x:but xmlns:x=\"urn:x\"/></many></identity>",
        "<validity><from>never</from><until>always</until></validity>",
        "<ocp:external-list><ocp:list/></ocp:external-list>",
    ] {
        let ruleset = allow_when(condition);
        assert_eq!(handling(&ruleset, "sip:ann@example.com"), SubHandling::Block, "{condition}");
        assert_eq!(self::ruleset(&write(&ruleset)), ruleset, "{condition}");
    }
}

#[test]
fn all_conditions_of_a_rule_must_hold() {
    let ruleset = allow_when("<identity><many/></identity><sphere value=\"work\"/>");
    let at = |spheres: &[String]| {
        let watcher = Watcher { spheres, ..Watcher::new("sip:ann@example.com") };
        evaluate(&ruleset, &watcher).handling
    };
    assert_eq!(at(&["work".into()]), SubHandling::Allow);
    assert_eq!(at(&["home".into()]), SubHandling::Block);
    assert_eq!(at(&[]), SubHandling::Block);
    assert_eq!(
        handling(
            &rules(
                "<rule id=\"a\"><conditions/><actions><pr:sub-handling>allow</pr:sub-handling>\
                                </actions></rule>"
            ),
            "sip:ann@example.com"
        ),
        SubHandling::Allow
    );
}

#[test]
fn a_validity_holds_from_its_start_and_before_its_end() {
    let ruleset = allow_when(
        "<validity><from>2026-01-01T00:00:00Z</from><until>2026-01-02T00:00:00Z</until>\
         <from>2026-02-01T01:00:00+01:00</from><until>2026-02-02T00:00:00Z</until></validity>",
    );
    let at = |moment: &str| {
        evaluate(&ruleset, &Watcher::new("sip:ann@example.com").at(moment.parse().unwrap())).handling
    };
    assert_eq!(at("2026-01-01T00:00:00Z"), SubHandling::Allow);
    assert_eq!(at("2026-01-02T00:00:00Z"), SubHandling::Block);
    assert_eq!(at("2026-02-01T00:00:00Z"), SubHandling::Allow);
    assert_eq!(at("2025-12-31T23:59:59Z"), SubHandling::Block);
}

#[test]
fn rules_that_apply_together_grant_the_greater_value_and_both_sets() {
    let rule = |id: &str, inside: &str| format!("<rule id=\"{id}\"><conditions/>{inside}</rule>");
    let ruleset = rules(
        &(rule(
            "a",
            "<actions><pr:sub-handling>confirm</pr:sub-handling></actions><transformations>\
         <pr:provide-services><pr:class>a</pr:class></pr:provide-services>\
         <pr:provide-mood>false</pr:provide-mood></transformations>",
        ) + &rule(
            "b",
            "<actions><pr:sub-handling>polite-block</pr:sub-handling></actions><transformations>\
         <pr:provide-services><pr:class>b</pr:class></pr:provide-services>\
         <pr:provide-mood>true</pr:provide-mood></transformations>",
        )),
    );
    let granted = evaluate(&ruleset, &Watcher::new("sip:ann@example.com"));
    assert_eq!(granted.handling, SubHandling::PoliteBlock);
    let classes = ["a", "b"].map(|class| ServiceSelector::Class(class.into()));
    assert_eq!(granted.services, Selection::Some(classes.into()));
    assert!(granted.shows(Attribute::Mood));
}

const PRESENCE: &str = r#"<presence xmlns="urn:ietf:params:xml:ns:pidf" xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model"
    xmlns:r="urn:ietf:params:xml:ns:pidf:rpid" entity="sip:bob@example.com">
  <tuple id="t1"><status><basic>open</basic></status><dm:deviceID>urn:d</dm:deviceID><r:class>work</r:class>
    <contact>sip:bob@example.com</contact><note>at my desk</note></tuple>
  <tuple id="t2"><status><basic>closed</basic></status><contact>mailto:bob@example.com</contact></tuple>
  <note>on the whole</note>
  <dm:person id="p"><r:activities><r:busy/></r:activities><r:mood><r:grumpy/></r:mood>
    <r:user-input idle-threshold="600" last-input="2026-01-01T00:00:00Z">idle</r:user-input><dm:note>hm</dm:note></dm:person>
  <dm:device id="d"><dm:deviceID>urn:d</dm:deviceID></dm:device></presence>"#;

fn seen(granted: &Permissions) -> pidf::Document {
    transform(&pidf::read(PRESENCE.as_bytes(), &Limits::DEFAULT).unwrap().document, granted)
}

fn allowed() -> Permissions {
    Permissions { handling: SubHandling::Allow, ..Permissions::default() }
}

#[test]
fn nothing_is_shown_that_is_not_granted() {
    let document = seen(&allowed());
    assert_eq!(document, pidf::Document { entity: "sip:bob@example.com".into(), ..Default::default() });
}

#[test]
fn everything_is_shown_where_everything_is_granted() {
    let whole = pidf::read(PRESENCE.as_bytes(), &Limits::DEFAULT).unwrap().document;
    assert_eq!(seen(&Permissions::everything()), whole);
    assert_eq!(seen(&Permissions::of(&Rule::for_people("a", ["sip:a@b"], SubHandling::Allow))), whole);
}

#[test]
fn services_are_chosen_by_address_scheme_id_and_class() {
    let ids = |selector: ServiceSelector| {
        let granted = Permissions { services: Selection::Some([selector].into()), ..allowed() };
        seen(&granted).tuples.iter().map(|tuple| tuple.id.clone()).collect::<Vec<_>>()
    };
    assert_eq!(ids(ServiceSelector::Uri("mailto:bob@example.com".into())), ["t2"]);
    assert_eq!(ids(ServiceSelector::UriScheme("SIP".into())), ["t1"]);
    assert_eq!(ids(ServiceSelector::OccurrenceId("t2".into())), ["t2"]);
    assert_eq!(ids(ServiceSelector::Class("work".into())), ["t1"]);
}

#[test]
fn of_what_is_shown_only_granted_elements_are_there() {
    let mut granted = allowed();
    granted.services = Selection::All;
    granted.persons = Selection::All;
    granted.shown = [Attribute::Activities].into();
    granted.user_input = UserInputDetail::Thresholds;
    let document = seen(&granted);
    let (tuple, person) = (&document.tuples[0], &document.persons[0]);
    assert_eq!(tuple.basic, Some(pidf::Basic::Open));
    assert!(tuple.contact.is_some() && tuple.notes.is_empty() && tuple.device_id.is_none());
    assert_eq!(tuple.rich.class, None);
    assert_eq!(person.rich.activities.list, [Activity::Busy]);
    assert!(person.rich.mood.list.is_empty() && person.notes.is_empty() && document.notes.is_empty());
    let input = person.rich.user_input.unwrap();
    assert_eq!((input.idle_threshold, input.last_input), (Some(600), None));
}

#[test]
fn who_is_blocked_politely_sees_somebody_who_is_not_there() {
    let granted = Permissions { handling: SubHandling::PoliteBlock, ..Permissions::everything() };
    let document = seen(&granted);
    assert_eq!(document.tuples.len(), 1);
    assert_eq!(document.tuples[0].basic, Some(pidf::Basic::Closed));
    assert!(document.persons.is_empty() && document.devices.is_empty() && document.notes.is_empty());
}

fn any_permissions() -> impl Strategy<Value = Permissions> {
    let handling = prop::sample::select(vec![
        SubHandling::Block,
        SubHandling::Confirm,
        SubHandling::PoliteBlock,
        SubHandling::Allow,
    ]);
    let services = prop_oneof![
        Just(Selection::All),
        prop::collection::btree_set("[ab]".prop_map(ServiceSelector::Class), 0..3).prop_map(Selection::Some),
    ];
    let persons = prop_oneof![
        Just(Selection::All),
        prop::collection::btree_set("[ab]".prop_map(PersonSelector::OccurrenceId), 0..3)
            .prop_map(Selection::Some),
    ];
    let shown = prop::collection::btree_set(prop::sample::select(Attribute::ALL.to_vec()), 0..5);
    let input = prop::sample::select(vec![
        UserInputDetail::False,
        UserInputDetail::Bare,
        UserInputDetail::Thresholds,
        UserInputDetail::Full,
    ]);
    let unknown = prop::collection::btree_set(("[ab]", "[ab]"), 0..3);
    (handling, services, persons, shown, input, unknown, any::<bool>()).prop_map(
        |(handling, services, persons, shown, user_input, unknown, all_attributes)| Permissions {
            handling,
            services,
            persons,
            shown,
            user_input,
            unknown,
            all_attributes,
            ..Permissions::default()
        },
    )
}

fn sum(all: &[&Permissions]) -> Permissions {
    all.iter().fold(Permissions::default(), |mut sum, one| {
        sum.add(one);
        sum
    })
}

fn any_rule() -> impl Strategy<Value = Rule> {
    let who = prop_oneof![
        prop::collection::vec("sip:[ab]@x\\.example", 0..3)
            .prop_map(|all| Condition::Identity(all.into_iter().map(Who::One).collect())),
        "[xy]\\.example".prop_map(|domain| {
            Condition::Identity(vec![Who::Many { domain: Some(domain), except: Vec::new() }])
        }),
        "work|home".prop_map(Condition::Sphere),
        Just(Condition::OtherIdentity),
        "[lm]".prop_map(|list| Condition::ExternalList(vec![list])),
        (0_i64..10, 0_i64..10).prop_map(|(from, until)| {
            Condition::Validity(vec![(Moment::from_millis(from), Moment::from_millis(until))])
        }),
    ];
    let handling = prop::option::of(prop::sample::select(vec![
        SubHandling::Block,
        SubHandling::Confirm,
        SubHandling::PoliteBlock,
        SubHandling::Allow,
    ]));
    let shown =
        prop::collection::btree_map(prop::sample::select(Attribute::ALL.to_vec()), any::<bool>(), 0..4);
    ("[a-z]{1,4}", prop::collection::vec(who, 0..3), handling, shown, any::<bool>()).prop_map(
        |(id, conditions, handling, shown, all_attributes)| Rule {
            id,
            conditions,
            handling,
            transformations: Transformations { shown, all_attributes, ..Transformations::default() },
            ..Rule::default()
        },
    )
}

proptest! {
    #[test]
    fn combining_grants_is_commutative_associative_and_idempotent(
        a in any_permissions(), b in any_permissions(), c in any_permissions()
    ) {
        prop_assert_eq!(sum(&[&a, &b, &c]), sum(&[&c, &a, &b]));
        prop_assert_eq!(sum(&[&sum(&[&a, &b]), &c]), sum(&[&a, &sum(&[&b, &c])]));
        prop_assert_eq!(sum(&[&a, &a]), sum(&[&a]));
    }

    #[test]
    fn a_further_rule_takes_nothing_away(rules in prop::collection::vec(any_rule(), 0..5), more in any_rule(), now in 0_i64..10) {
        let watcher = Watcher::new("sip:a@x.example").at(Moment::from_millis(now));
        let spheres = ["work".to_owned()];
        let watcher = Watcher { spheres: &spheres, ..watcher };
        // "Everybody else" becomes fewer with each further rule that names somebody, as OMA has it.
        let rules = rules.into_iter().filter(|rule| !rule.conditions.contains(&Condition::OtherIdentity)).collect();
        let mut ruleset = Ruleset { rules, ..Ruleset::default() };
        let before = evaluate(&ruleset, &watcher);
        ruleset.rules.insert(0, more);
        let after = evaluate(&ruleset, &watcher);
        prop_assert_eq!(sum(&[&before, &after]), after);
    }

    #[test]
    fn the_order_of_rules_says_nothing(rules in prop::collection::vec(any_rule(), 0..6), now in 0_i64..10) {
        let watcher = Watcher::new("sip:a@x.example").at(Moment::from_millis(now));
        let ruleset = Ruleset { rules, ..Ruleset::default() };
        let mut turned = ruleset.clone();
        turned.rules.reverse();
        prop_assert_eq!(evaluate(&ruleset, &watcher), evaluate(&turned, &watcher));
    }

    #[test]
    fn prepared_rules_grant_the_same(rules in prop::collection::vec(any_rule(), 0..6), now in 0_i64..10, who in "[abc]@[xyz]") {
        let identity = format!("sip:{who}.example");
        let spheres = ["work".to_owned()];
        let watcher = Watcher { spheres: &spheres, ..Watcher::new(&identity).at(Moment::from_millis(now)) };
        let ruleset = Ruleset { rules, ..Ruleset::default() };
        let mut is_member = |list: &str, who: &str| list == "l" && who == "sip:c@x.example";
        let plain = evaluate_with(&ruleset, &watcher, &mut is_member);
        prop_assert_eq!(Evaluator::new(ruleset).evaluate(&watcher, &mut is_member), plain);
    }

    #[test]
    fn rules_read_back_as_they_were_written(rules in prop::collection::vec(any_rule(), 0..6)) {
        let ruleset = Ruleset { rules, ..Ruleset::default() };
        prop_assert_eq!(read(write(&ruleset).as_bytes(), &Limits::STORED).unwrap(), ruleset);
    }

    #[test]
    fn more_grants_never_show_less(a in any_permissions(), b in any_permissions()) {
        let a = Permissions { handling: SubHandling::Allow, ..a };
        let both = sum(&[&a, &b]);
        let (less, more) = (seen(&a), seen(&both));
        for tuple in &less.tuples {
            let shown = more.tuples.iter().find(|other| other.id == tuple.id).unwrap();
            prop_assert!(tuple.notes.is_empty() || tuple.notes == shown.notes);
            prop_assert!(tuple.device_id.is_none() || tuple.device_id == shown.device_id);
        }
        prop_assert!(less.persons.len() <= more.persons.len());
    }
}
