//! Rules on a service that refuses, loses them, or has those of other programs.

use attache_messenger::{
    address::Address,
    code::Code,
    command::Command,
    error::Error,
    privacy::{Decision, Rule, Who},
};

use crate::{
    server::Fault,
    world::{RULES, World, address},
};

fn set(world: &mut World, who: Who, decision: Decision) -> Result<(), Error> {
    world.run(0, Command::SetRule { who, decision: Some(decision) })
}

fn one(name: &str) -> Who {
    Who::Address(address(name))
}

fn rules(world: &mut World) -> Vec<Rule> {
    world.snapshot(0).rules.to_vec()
}

fn decided(world: &mut World, name: &str) -> Option<Decision> {
    world.with(0, |node| node.engine().preview(&address(name)).decision)
}

/// A document with one rule, by its conditions.
fn document(conditions: &str) -> String {
    format!(
        r#"<?xml version="1.0"?><ruleset xmlns="urn:ietf:params:xml:ns:common-policy" xmlns:pr="urn:ietf:params:xml:ns:pres-rules">
<rule id="theirs">{conditions}<actions><pr:sub-handling>allow</pr:sub-handling></actions><transformations/></rule></ruleset>"#
    )
}

#[test]
fn a_rule_outlives_whatever_is_answered_in_place_of_the_document() {
    let answers = [(401, ""), (302, ""), (403, ""), (200, "<html>sign in here</html>")];
    for (status, body) in answers {
        let mut world = World::signed_in(1, 51);
        world.run(0, Command::SignOut).unwrap();
        set(&mut world, one("bob"), Decision::Block).unwrap();
        {
            let mut server = world.server();
            server.scripted = "pres-rules";
            server.script = [Fault::Status(status, body)].into();
        }
        world.run(0, Command::SignIn).unwrap();
        world.settle();
        assert!(rules(&mut world)[0].pending, "{status}");
        let more = set(&mut world, one("carol"), Decision::Block).unwrap_err();
        assert_eq!(more.code(), Code::UnsupportedByService, "{status}");
        world.restart(0, |node| node);
        world.run(0, Command::SignIn).unwrap();
        world.settle();
        assert!(rules(&mut world).iter().all(|rule| !rule.pending), "{status}");
        assert_eq!(decided(&mut world, "bob"), Some(Decision::Block), "{status}");
        assert_eq!(decided(&mut world, "carol"), Some(Decision::Block), "{status}");
    }
}

#[test]
fn a_rule_that_the_service_will_not_keep_is_told_and_dropped() {
    let mut world = World::signed_in(1, 52);
    {
        let mut server = world.server();
        server.scripted = "pres-rules";
        server.no_writes = Some(409);
    }
    let refused = set(&mut world, one("bob"), Decision::Block).unwrap_err();
    assert_eq!(refused.code(), Code::UnsupportedByService);
    assert!(rules(&mut world).is_empty());
}

#[test]
fn a_rule_of_another_program_that_shows_more_all_the_same_is_told() {
    let mut world = World::new(1, 53);
    let who = r#"<identity><one id="sip:carol@example.com"/></identity>"#;
    world.server().put(RULES, &document(&format!(r#"<conditions>{who}<sphere value="work"/></conditions>"#)));
    world.run(0, Command::SignIn).unwrap();
    world.settle();
    let told = set(&mut world, one("carol"), Decision::Block).unwrap_err();
    assert!(told.code() == Code::PolicyRestricted && told.message().contains("theirs"), "{told:?}");
    set(&mut world, one("dave"), Decision::Block).unwrap();
    set(&mut world, one("carol"), Decision::Allow).unwrap();
}

#[test]
fn a_rule_of_another_program_without_conditions_yields_to_a_block() {
    let mut world = World::new(1, 54);
    world.server().put(RULES, &document(""));
    world.run(0, Command::SignIn).unwrap();
    world.settle();
    set(&mut world, one("carol"), Decision::Block).unwrap();
    assert_eq!(decided(&mut world, "carol"), Some(Decision::Block));
    assert_eq!(decided(&mut world, "dave"), Some(Decision::Allow));
}

#[test]
fn rules_that_the_service_lost_are_written_again() {
    let mut world = World::signed_in(1, 55);
    set(&mut world, one("carol"), Decision::Block).unwrap();
    world.server().documents.remove(RULES);
    world.relogin(0);
    assert!(world.server().text(RULES).contains("sip:carol@example.com"));
    assert_eq!(decided(&mut world, "carol"), Some(Decision::Block));
    assert!(rules(&mut world).iter().all(|rule| !rule.pending));
}

#[test]
fn a_rule_in_another_spelling_replaces_the_one_that_waits() {
    let mut world = World::signed_in(1, 56);
    world.run(0, Command::SignOut).unwrap();
    let other = Who::Address(Address::parse("pres:bob@Example.com").unwrap());
    set(&mut world, other, Decision::Allow).unwrap();
    set(&mut world, one("bob"), Decision::Block).unwrap();
    assert_eq!(rules(&mut world).len(), 1);
    world.restart(0, |node| node);
    world.run(0, Command::SignIn).unwrap();
    world.settle();
    assert_eq!(decided(&mut world, "bob"), Some(Decision::Block));
}
