//! The contact list on the service.

use std::time::Duration;

use attache_messenger::{
    code::Code,
    command::Command,
    event::EventKind,
    report::XcapState,
    sim::Crash,
    sync::{ConflictAbout, Side},
};
use http::Method;

use crate::{
    server::Fault,
    world::{LISTS, SERVICES, World, address},
};

const FOREIGN: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<resource-lists xmlns="urn:ietf:params:xml:ns:resource-lists" xmlns:x="urn:x" x:owner="somebody">
  <list name="RootGroup">
    <entry uri="sip:dave@example.com" x:color="red"><display-name xml:lang="de">David</display-name><x:note>keep me</x:note></entry>
    <list name="work"><display-name>At Work</display-name>
      <entry uri="sip:erin@example.com"/>
      <entry-ref ref="resource-lists/users/sip:z@example.com/index/~~/resource-lists/list%5b1%5d/entry%5b1%5d"/>
      <external anchor="http://elsewhere.example.com/list"/>
      <x:thing/>
    </list>
  </list>
</resource-lists>"#;

#[test]
fn a_list_that_is_only_here_goes_to_a_service_without_one() {
    let mut world = World::new(1, 1);
    world.add(0, "bob");
    world.run(0, Command::AddGroup("Work".into())).unwrap();
    let (bob, work) = (world.contact(0, "bob"), world.group(0, "Work"));
    world.run(0, Command::AddToGroup(bob, work)).unwrap();
    world.add(0, "carol");
    world.run(0, Command::SignIn).unwrap();
    world.settle();
    assert!(world.is_synced(0), "{:?}", world.xcap(0));
    let mut uris = world.uris();
    uris.sort();
    assert_eq!(uris, ["sip:bob@example.com", "sip:carol@example.com"]);
    assert!(world.server().text(LISTS).contains("<display-name>Work</display-name>"));
    assert_eq!(world.events(0, "roster-synced"), 1);
}

#[test]
fn a_list_on_the_service_is_taken_over_at_the_first_sign_in() {
    let mut world = World::new(1, 2);
    world.server().put(LISTS, FOREIGN);
    world.add(0, "bob");
    world.run(0, Command::SignIn).unwrap();
    world.settle();
    let (contacts, groups) = world.shown(0);
    let names: Vec<_> = contacts.iter().map(|(uri, (name, _))| (uri.as_str(), name.as_str())).collect();
    assert_eq!(
        names,
        [("sip:bob@example.com", "bob"), ("sip:dave@example.com", "David"), ("sip:erin@example.com", "")]
    );
    assert!(contacts["sip:erin@example.com"].1.contains("At Work"));
    assert_eq!(groups.into_iter().collect::<Vec<_>>(), ["At Work"]);
    assert!(world.uris().contains(&"sip:bob@example.com".to_owned()));
}

#[test]
fn what_others_wrote_into_the_document_stays() {
    let mut world = World::new(1, 3);
    world.server().put(LISTS, FOREIGN);
    world.run(0, Command::SignIn).unwrap();
    world.settle();
    let (dave, erin) = (world.contact(0, "dave"), world.contact(0, "erin"));
    let work = world.group(0, "At Work");
    world.run(0, Command::RenameContact(erin, "Erin".into())).unwrap();
    world.run(0, Command::AddToGroup(dave, work)).unwrap();
    world.run(0, Command::RemoveFromGroup(erin, work)).unwrap();
    world.run(0, Command::RenameGroup(work, "Office".into())).unwrap();
    world.settle();
    let server = world.server();
    let text = server.text(LISTS);
    for kept in [
        "owner=\"somebody\"",
        "color=\"red\"",
        "keep me",
        "xml:lang=\"de\"",
        "entry-ref",
        "external anchor",
        "thing",
        "list%5b1%5d",
    ] {
        assert!(text.contains(kept), "{kept} is lost: {text}");
    }
    assert!(text.contains("Office") && !text.contains("At Work"));
    assert!(text.contains("name=\"work\""), "{text}");
}

#[test]
fn removing_a_group_leaves_what_others_put_into_it() {
    let mut world = World::new(1, 4);
    world.server().put(LISTS, FOREIGN);
    world.run(0, Command::SignIn).unwrap();
    world.settle();
    let work = world.group(0, "At Work");
    world.run(0, Command::RemoveGroup(work)).unwrap();
    world.settle();
    let (contacts, groups) = world.shown(0);
    assert!(groups.is_empty() && contacts.contains_key("sip:erin@example.com"), "{contacts:?}");
    assert!(world.is_synced(0));
    let server = world.server();
    let text = server.text(LISTS);
    assert!(text.contains("entry-ref") && text.contains("external anchor"), "{text}");
    assert!(!text.contains("At Work"), "{text}");
}

#[test]
fn edits_off_line_reach_the_service_later() {
    let mut world = World::signed_in(1, 5);
    world.add(0, "bob");
    world.settle();
    world.run(0, Command::SignOut).unwrap();
    world.add(0, "carol");
    let bob = world.contact(0, "bob");
    world.run(0, Command::RemoveContact(bob)).unwrap();
    world.restart(0, |node| node);
    world.run(0, Command::SignIn).unwrap();
    world.settle();
    assert_eq!(world.uris(), ["sip:carol@example.com"]);
}

#[test]
fn edits_on_two_devices_come_together() {
    let mut world = World::signed_in(2, 6);
    world.add(0, "bob");
    world.settle();
    world.run(1, Command::SignOut).unwrap();
    world.run(1, Command::SignIn).unwrap();
    world.settle();
    assert_eq!(world.shown(0), world.shown(1));
    for device in [0, 1] {
        world.run(device, Command::SignOut).unwrap();
    }
    world.add(0, "carol");
    world.add(1, "dave");
    let bob = world.contact(1, "bob");
    world.run(1, Command::RenameContact(bob, "Robert".into())).unwrap();
    world.run(0, Command::AddGroup("Work".into())).unwrap();
    world.run(1, Command::AddGroup("work".into())).unwrap();
    for device in [0, 1, 0] {
        world.run(device, Command::SignIn).ok();
        world.settle();
        world.run(device, Command::SignOut).unwrap();
    }
    assert_eq!(world.shown(0), world.shown(1));
    let (contacts, groups) = world.shown(0);
    assert_eq!(contacts.len(), 3);
    assert_eq!(contacts["sip:bob@example.com"].0, "Robert");
    assert_eq!(groups.len(), 1, "one group of that name, not two");
    assert_eq!(world.events(0, "roster-conflict") + world.events(1, "roster-conflict"), 0);
}

/// Both devices know Bob; each gives him another name while it cannot see the other's.
fn two_names(seed: u64) -> World {
    let mut world = World::signed_in(2, seed);
    world.add(0, "bob");
    world.settle();
    relogin(&mut world, 1);
    world.run(1, Command::SignOut).unwrap();
    let (one, other) = (world.contact(0, "bob"), world.contact(1, "bob"));
    world.run(1, Command::RenameContact(other, "Bobby".into())).unwrap();
    world.run(0, Command::RenameContact(one, "Robert".into())).unwrap();
    world.settle();
    world.run(1, Command::SignIn).unwrap();
    world.settle();
    world
}

fn relogin(world: &mut World, device: usize) {
    world.run(device, Command::SignOut).unwrap();
    world.run(device, Command::SignIn).unwrap();
    world.settle();
}

#[test]
fn two_names_are_a_conflict_and_theirs_shows_meanwhile() {
    let mut world = two_names(7);
    let snapshot = world.snapshot(1);
    let conflict = snapshot.conflicts.values().next().unwrap();
    assert_eq!(conflict.about, ConflictAbout::Contact(address("bob")));
    assert_eq!((conflict.mine.as_deref(), conflict.theirs.as_deref()), (Some("Bobby"), Some("Robert")));
    assert_eq!(conflict.shown, Side::Theirs);
    assert_eq!(world.shown(1).0["sip:bob@example.com"].0, "Robert");
    assert_eq!(world.events(1, "roster-conflict"), 1);
    world.restart(1, |node| node);
    assert_eq!(world.snapshot(1).conflicts.size(), 1, "a conflict outlives a restart");
}

#[test]
fn a_conflict_is_settled_with_either_side() {
    for (keep, name) in [(Side::Mine, "Bobby"), (Side::Theirs, "Robert")] {
        let mut world = two_names(8);
        let id = *world.snapshot(1).conflicts.keys().next().unwrap();
        let command = if keep == Side::Mine { Command::KeepMine(id) } else { Command::KeepTheirs(id) };
        world.run(1, command.clone()).unwrap();
        world.settle();
        assert!(world.snapshot(1).conflicts.is_empty());
        assert_eq!(world.events(1, "conflict-settled"), 1);
        relogin(&mut world, 0);
        assert_eq!(world.shown(0).0["sip:bob@example.com"].0, name);
        assert_eq!(world.run(1, command).unwrap_err().code(), Code::NotFound);
    }
}

#[test]
fn a_later_edit_settles_a_conflict() {
    let mut world = two_names(9);
    let bob = world.contact(1, "bob");
    world.run(1, Command::RenameContact(bob, "Bob B.".into())).unwrap();
    world.settle();
    assert!(world.snapshot(1).conflicts.is_empty());
    assert!(world.server().text(LISTS).contains("Bob B."));
}

#[test]
fn what_one_removed_and_the_other_changed_stays_and_is_a_conflict() {
    let mut world = World::signed_in(2, 10);
    world.add(0, "bob");
    world.settle();
    relogin(&mut world, 1);
    world.run(1, Command::SignOut).unwrap();
    let (one, other) = (world.contact(0, "bob"), world.contact(1, "bob"));
    world.run(1, Command::RemoveContact(other)).unwrap();
    world.run(0, Command::RenameContact(one, "Robert".into())).unwrap();
    world.settle();
    world.run(1, Command::SignIn).unwrap();
    world.settle();
    assert_eq!(world.shown(1).0["sip:bob@example.com"].0, "Robert");
    let conflict = world.snapshot(1).conflicts.values().next().unwrap().clone();
    assert_eq!((conflict.mine.as_deref(), conflict.theirs.as_deref()), (None, Some("Robert")));
    world.run(1, Command::KeepMine(conflict.id)).unwrap();
    world.settle();
    relogin(&mut world, 0);
    assert!(world.shown(0).0.is_empty());
}

#[test]
fn a_write_that_somebody_forestalled_is_merged_and_tried_again() {
    let mut world = World::signed_in(1, 11);
    world.add(0, "bob");
    world.settle();
    let other = world.server().text(LISTS).replace("</list>", "<entry uri=\"sip:zoe@example.com\"/></list>");
    world.server().put(LISTS, &other);
    world.add(0, "carol");
    world.settle();
    assert_eq!(world.shown(0).0.len(), 3);
    let mut uris = world.uris();
    uris.sort();
    assert_eq!(uris, ["sip:bob@example.com", "sip:carol@example.com", "sip:zoe@example.com"]);
}

#[test]
fn an_answer_that_is_lost_after_the_write_does_no_harm() {
    let mut world = World::signed_in(1, 12);
    world.add(0, "bob");
    world.settle();
    world.server().script.push_back(Fault::LostAfter);
    let bob = world.contact(0, "bob");
    world.run(0, Command::RenameContact(bob, "Robert".into())).unwrap();
    world.sim.run_for(Duration::from_secs(10));
    assert!(world.server().text(LISTS).contains("Robert"), "the write happened");
    // Edited again while the fate of the first write is not known.
    world.run(0, Command::RenameContact(bob, "Bobby".into())).unwrap();
    world.sim.run_for(Duration::from_secs(120));
    assert!(world.is_synced(0), "{:?}", world.xcap(0));
    assert!(world.server().text(LISTS).contains("Bobby"));
    assert!(world.snapshot(0).conflicts.is_empty());
}

#[test]
fn a_service_that_is_away_is_asked_again_and_contacts_work_meanwhile() {
    let mut world = World::new(1, 13);
    world.server().down = true;
    world.run(0, Command::SignIn).unwrap();
    world.add(0, "bob");
    world.sim.run_for(Duration::from_secs(600));
    assert!(matches!(world.xcap(0), XcapState::Offline { .. }), "{:?}", world.xcap(0));
    assert_eq!(world.shown(0).0.len(), 1);
    let asked = world.server().count(&Method::GET, "resource-lists");
    assert!(asked <= 14, "{asked} requests in ten minutes");
    world.server().down = false;
    world.sim.run_for(Duration::from_secs(310));
    assert!(world.is_synced(0));
    assert_eq!(world.uris(), ["sip:bob@example.com"]);
}

#[test]
fn what_is_read_by_itself_draws_from_the_budget() {
    let mut world = World::new(1, 31);
    let budget = std::sync::Arc::new(attache_sip::budget::Budget::new(1, 1));
    world.restart_with(0, |config| config.budget = Some(budget), |node| node);
    world.add(0, "bob");
    world.run(0, Command::SignIn).unwrap();
    let started = world.sim.elapsed();
    world.sim.run_until(Duration::from_secs(60), |sim| {
        let _ = sim;
        world.server.lock().unwrap().log.len() >= 4
    });
    assert!(world.sim.elapsed() - started >= Duration::from_secs(2), "one request a second");
    world.settle();
    assert_eq!(world.uris(), ["sip:bob@example.com"]);
}

#[test]
fn a_service_that_refuses_is_not_asked_again_and_says_what_to_do() {
    let mut world = World::new(1, 14);
    world.add(0, "bob");
    world.server().script = [Fault::Status(403, "")].into();
    world.run(0, Command::SignIn).unwrap();
    world.sim.run_for(Duration::from_secs(60));
    let XcapState::Refused { status: told, sentence, advice } = world.xcap(0) else {
        panic!("{:?}", world.xcap(0));
    };
    assert!(told == 403 && sentence.contains("403") && advice.contains("operator"));
    let gets = world.server().count(&Method::GET, "resource-lists");
    assert_eq!(gets, 1);
    world.add(0, "carol");
    assert_eq!(world.shown(0).0.len(), 2);
}

#[test]
fn a_document_that_the_service_will_not_take_is_not_sent_again_and_again() {
    let mut world = World::signed_in(1, 15);
    let body = r#"<xcap-error xmlns="urn:ietf:params:xml:ns:xcap-error"><constraint-failure phrase="no more than 3"/></xcap-error>"#;
    world.server().script = [Fault::Status(409, body)].into();
    world.add(0, "bob");
    world.sim.run_for(Duration::from_secs(120));
    let XcapState::Refused { status: 409, sentence, .. } = world.xcap(0) else {
        panic!("{:?}", world.xcap(0));
    };
    assert!(sentence.contains("no more than 3"), "{sentence}");
    assert_eq!(world.server().count(&Method::PUT, "resource-lists"), 1);
}

#[test]
fn capabilities_that_cannot_be_read_do_not_disable_contacts() {
    for fault in [Fault::Status(200, "<xcap-caps"), Fault::Status(500, ""), Fault::Lost] {
        let mut world = World::new(1, 30);
        world.server().scripted = "xcap-caps";
        world.server().script.push_back(fault);
        world.add(0, "bob");
        world.run(0, Command::SignIn).unwrap();
        world.settle();
        assert_eq!(world.uris(), ["sip:bob@example.com"]);
        world.sim.run_for(Duration::from_secs(120));
        assert!(world.is_synced(0), "{:?}", world.xcap(0));
    }
}

#[test]
fn credentials_are_given_when_asked_for() {
    let mut world = World::new(1, 16);
    world.server().password = Some("a".to_owned());
    world.add(0, "bob");
    world.run(0, Command::SignIn).unwrap();
    world.settle();
    assert_eq!(world.uris(), ["sip:bob@example.com"]);
}

#[test]
fn a_wrong_password_at_the_xcap_server_leaves_contacts_alone() {
    let mut world = World::new(1, 17);
    world.server().password = Some("other".to_owned());
    world.add(0, "bob");
    world.run(0, Command::SignIn).unwrap();
    world.sim.run_for(Duration::from_secs(60));
    let XcapState::Refused { status: 401, advice, .. } = world.xcap(0) else { panic!("{:?}", world.xcap(0)) };
    assert!(advice.contains("password"));
    assert_eq!(world.shown(0).0.len(), 1);
    assert!(world.server().log.len() <= 8, "{:?}", world.server().log);
}

#[test]
fn a_document_that_cannot_be_read_is_neither_shown_nor_overwritten() {
    let mut world = World::new(1, 18);
    world.server().put(LISTS, "<resource-lists");
    world.add(0, "bob");
    world.run(0, Command::SignIn).unwrap();
    world.sim.run_for(Duration::from_secs(60));
    assert!(matches!(world.xcap(0), XcapState::Refused { .. }));
    assert_eq!(world.server().text(LISTS), "<resource-lists");
    assert_eq!(world.shown(0).0.len(), 1);
}

#[test]
fn a_document_that_vanished_comes_back_and_nothing_is_removed_here() {
    let mut world = World::signed_in(1, 19);
    world.add(0, "bob");
    world.settle();
    world.server().documents.clear();
    relogin(&mut world, 0);
    assert_eq!(world.shown(0).0.len(), 1);
    assert_eq!(world.uris(), ["sip:bob@example.com"]);
}

#[test]
fn changes_elsewhere_are_found_at_refresh_time_and_cost_little_otherwise() {
    let mut world = World::signed_in(1, 20);
    world.add(0, "bob");
    world.settle();
    let before = world.server().log.len();
    world.sim.run_for(Duration::from_secs(901));
    let after = world.server().log.len();
    assert!(after > before && after - before <= 3, "{:?}", &world.server().log[before..]);
    let other = world.server().text(LISTS).replace("</list>", "<entry uri=\"sip:zoe@example.com\"/></list>");
    world.server().put(LISTS, &other);
    world.sim.run_for(Duration::from_secs(905));
    assert!(world.shown(0).0.contains_key("sip:zoe@example.com"));
}

#[test]
fn edits_that_follow_each_other_go_together() {
    let mut world = World::signed_in(1, 21);
    let before = world.server().count(&Method::PUT, "");
    for n in 0..20 {
        world.add(0, &format!("friend{n}"));
    }
    world.settle();
    assert_eq!(world.uris().len(), 20);
    // One or two of the contact list, and as many of the list that is subscribed to.
    let writes = world.server().count(&Method::PUT, "") - before;
    assert!(writes <= 6, "{writes} writes");
}

#[test]
fn of_a_large_list_only_the_entry_that_changed_is_written() {
    let mut world = World::signed_in(1, 28);
    for n in 0..150 {
        world.add(0, &format!("somebody-with-a-long-name-{n}"));
    }
    world.settle();
    let before = world.server().log.len();
    world.add(0, "bob");
    world.settle();
    let bob = world.contact(0, "bob");
    world.run(0, Command::RemoveContact(bob)).unwrap();
    world.settle();
    let log = world.server().log[before..].to_vec();
    let of_lists: Vec<_> = log.iter().filter(|(_, path)| path.contains("/resource-lists/")).collect();
    assert_eq!(of_lists.len(), 2, "{of_lists:?}");
    assert!(of_lists.iter().all(|(_, path)| path.contains("/~~/")), "{of_lists:?}");
    assert_eq!((&of_lists[0].0, &of_lists[1].0), (&Method::PUT, &Method::DELETE));
    assert!(world.is_synced(0));
    assert_eq!(world.uris().len(), 150);
    world.restart(0, |node| node);
    world.run(0, Command::SignIn).unwrap();
    world.settle();
    assert_eq!(world.shown(0).0.len(), 150);
}

#[test]
fn a_service_that_takes_no_single_entries_gets_the_document() {
    let mut world = World::signed_in(1, 29);
    for n in 0..150 {
        world.add(0, &format!("somebody-with-a-long-name-{n}"));
    }
    world.settle();
    world.server().script.push_back(Fault::Status(405, ""));
    world.add(0, "bob");
    world.settle();
    assert!(world.is_synced(0), "{:?}", world.xcap(0));
    assert_eq!(world.uris().len(), 151);
}

#[test]
fn a_service_without_entity_tags_works_all_the_same() {
    let mut world = World::new(1, 22);
    world.server().untagged = true;
    world.run(0, Command::SignIn).unwrap();
    world.add(0, "bob");
    world.settle();
    world.add(0, "carol");
    world.settle();
    assert!(world.is_synced(0));
    assert_eq!(world.uris().len(), 2);
    assert!(world.server().log.len() < 30);
}

#[test]
fn the_last_edits_can_be_taken_back_also_after_a_restart_and_across_devices() {
    let mut world = World::signed_in(1, 23);
    world.add(0, "bob");
    world.run(0, Command::AddGroup("Work".into())).unwrap();
    let (bob, work) = (world.contact(0, "bob"), world.group(0, "Work"));
    world.run(0, Command::AddToGroup(bob, work)).unwrap();
    let before = world.shown(0);
    world.run(0, Command::RenameContact(bob, "Robert".into())).unwrap();
    world.run(0, Command::RemoveGroup(work)).unwrap();
    world.run(0, Command::RemoveContact(bob)).unwrap();
    world.settle();
    world.restart(0, |node| node);
    world.run(0, Command::SignIn).unwrap();
    world.settle();
    for _ in 0..3 {
        world.run(0, Command::Undo).unwrap();
    }
    assert_eq!(world.shown(0), before);
    world.settle();
    assert_eq!(world.uris(), ["sip:bob@example.com"]);
    for _ in 0..3 {
        world.run(0, Command::Undo).unwrap();
    }
    assert_eq!(world.shown(0), Default::default());
    assert_eq!(world.run(0, Command::Undo).unwrap_err().code(), Code::NotFound);
    world.settle();
    assert!(world.uris().is_empty());
}

#[test]
fn what_was_changed_again_since_is_not_taken_back() {
    let mut world = two_names(24);
    // The rename to "Bobby" lost against "Robert": taking it back must not undo the other device's edit.
    world.run(1, Command::Undo).unwrap();
    assert_eq!(world.shown(1).0["sip:bob@example.com"].0, "Robert");
}

#[test]
fn the_service_gets_one_list_of_everybody_and_a_broken_one_is_repaired() {
    let mut world = World::signed_in(1, 25);
    world.add(0, "bob");
    world.settle();
    let text = world.server().text(SERVICES).to_owned();
    assert!(text.contains("sip:alice-attache@example.com") && text.contains("sip:bob@example.com"), "{text}");
    let foreign = r#"<r:service uri="sip:mine@example.com"><r:resource-list>http://x/y</r:resource-list></r:service></r:rls-services>"#;
    let broken = text.replace("sip:bob@", "sip:mallory@").replace("</r:rls-services>", foreign);
    world.server().put(SERVICES, &broken);
    relogin(&mut world, 0);
    let text = world.server().text(SERVICES).to_owned();
    assert!(text.contains("sip:bob@example.com") && !text.contains("mallory"), "{text}");
    assert!(text.contains("sip:mine@example.com"), "{text}");
}

#[test]
fn a_process_that_dies_at_any_commit_loses_no_edit_and_makes_none_twice() {
    let mut cases = 0;
    for number in 1..25 {
        for crash in [Crash::Before(number), Crash::After(number)] {
            let mut world = World::signed_in(1, 26);
            world.add(0, "bob");
            world.settle();
            let other =
                world.server().text(LISTS).replace("</list>", "<entry uri=\"sip:zoe@example.com\"/></list>");
            world.server().put(LISTS, &other);
            let base = world.stores[0].commits();
            let crash = match crash {
                Crash::Before(n) => Crash::Before(base + n),
                Crash::After(n) => Crash::After(base + n),
                other => other,
            };
            world.restart(0, |node| node.commit_delay(Duration::from_millis(5)).crash_at(crash));
            let mut accepted = Vec::new();
            world.start(0, Command::SignIn);
            world.sim.run_for(Duration::from_secs(2));
            for name in ["carol", "dave", "erin"] {
                let command = Command::AddContact { address: address(name), name: name.into() };
                let token = world.start(0, command);
                world.sim.run_for(Duration::from_millis(400));
                if world.with(0, |node| matches!(node.answer(token), Some(Ok(_)))) {
                    accepted.push(name);
                }
            }
            let died = world.with(0, |node| node.is_dead());
            world.restart(0, |node| node);
            world.run(0, Command::SignIn).unwrap();
            world.settle();
            cases += usize::from(died);
            let mut uris = world.uris();
            let shown: Vec<String> = world.shown(0).0.into_keys().collect();
            uris.sort();
            assert_eq!(uris, shown, "{crash:?}");
            for name in ["bob", "zoe"].iter().chain(&accepted) {
                assert!(shown.contains(&format!("sip:{name}@example.com")), "{crash:?}: {name} is lost");
            }
            assert!(world.snapshot(0).conflicts.is_empty(), "{crash:?}");
        }
    }
    assert!(cases >= 12, "only {cases} crashes happened");
}

#[test]
fn contacts_are_told_as_they_come_from_the_service() {
    let mut world = World::new(1, 27);
    world.server().put(LISTS, FOREIGN);
    world.run(0, Command::SignIn).unwrap();
    world.settle();
    let kinds = world.kinds(0);
    let added = kinds.iter().filter(|kind| matches!(kind, EventKind::ContactAdded(_))).count();
    assert_eq!(added, 2);
    let place = |name: &str| kinds.iter().position(|kind| kind.name() == name).unwrap();
    assert!(place("group-added") < place("contact-added") && place("contact-added") < place("roster-synced"));
}
