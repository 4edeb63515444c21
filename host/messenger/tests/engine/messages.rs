//! Messages: sent once, in order, kept until done.

use std::time::Duration;

use attache_messenger::{
    code::Code,
    command::Command,
    event::EventKind,
    message::{Author, Draft, MessageState, Origin, Text},
    sim::{EngineNode, Link, Simulation},
    storage::StorageError,
};

use crate::{service::Service, world::*};

#[test]
fn a_message_arrives_and_its_sender_hears_of_it() {
    let mut world = World::friends(1);
    world.run(ALICE, send(BOB, "hello")).unwrap();
    assert_eq!(world.received(BOB), ["hello"]);
    assert_eq!(world.states(ALICE), [MessageState::Delivered]);
    let message = received(&world.store(BOB)).remove(0);
    assert_eq!(message.sender, address(ALICE));
    assert_eq!(message.contact, Some(world.contact(BOB)));
    assert_eq!(message.origin, Origin::Person);
    assert!(world.store(ALICE).outbox().is_empty());
}

#[test]
fn messages_to_one_person_arrive_in_order_whatever_the_network_does() {
    for seed in 0..10 {
        let mut world = World::friends(seed);
        let bad = Link {
            loss: 0.25,
            duplicate: 0.2,
            reorder: 0.2,
            jitter: Duration::from_millis(80),
            ..Link::default()
        };
        world.sim.set_default_link(bad);
        let texts: Vec<String> = (0..20).map(|n| format!("line {n}")).collect();
        for text in &texts {
            world.say(ALICE, BOB, text);
        }
        world.sim.run_for(Duration::from_secs(1800));
        assert_eq!(world.received(BOB), texts, "seed {seed}");
        assert!(world.states(ALICE).iter().all(|state| *state == MessageState::Delivered));
    }
}

#[test]
fn an_automatic_reply_is_marked_and_recognised() {
    let mut world = World::friends(2);
    let draft = Draft::new(address(BOB), "I am away")
        .author(Author::Plugin("auto-reply".into()))
        .origin(Origin::Automatic);
    world.run(ALICE, Command::Send(draft)).unwrap();
    let marked = |packet: &attache_messenger::sim::Packet| {
        String::from_utf8_lossy(&packet.payload).contains("Auto-Submitted: auto-replied")
    };
    assert!(world.sim.trace().iter().any(marked));
    assert_eq!(received(&world.store(BOB))[0].origin, Origin::Automatic);
}

#[test]
fn each_refusal_has_its_own_code() {
    for (status, code) in [
        (404, Code::UserNotFound),
        (403, Code::Rejected),
        (603, Code::Rejected),
        (413, Code::MessageTooLong),
        (415, Code::NotAcceptingPages),
        (486, Code::RecipientUnavailable),
    ] {
        let mut world = World::friends(3);
        world.service(|s| s.script.insert("MESSAGE".into(), vec![status]));
        assert_eq!(world.fails(ALICE, send(BOB, "hello")), code, "{status}");
        assert!(matches!(world.states(ALICE)[..], [MessageState::Failed(_)]));
        assert!(world.store(ALICE).outbox().is_empty());
    }
}

#[test]
fn what_cannot_be_sent_is_refused_at_once() {
    let mut world = World::friends(4);
    assert_eq!(world.fails(ALICE, send(ALICE, "hello")), Code::SessionInvitedSelf);
    assert_eq!(world.fails(ALICE, send(BOB, "")), Code::InvalidArgument);
    assert_eq!(world.fails(ALICE, send(BOB, &"x".repeat(Text::MAX + 1))), Code::MessageTooLong);
}

#[test]
fn a_message_stored_by_the_service_is_sent_and_not_delivered() {
    let mut world = World::friends(5);
    world.run(BOB, Command::SignOut).unwrap();
    world.service(|s| s.offline_store = true);
    world.run(ALICE, send(BOB, "later")).unwrap();
    assert_eq!(world.states(ALICE), [MessageState::Sent]);
}

#[test]
fn one_who_is_not_there_is_told_at_once() {
    let mut world = World::friends(22);
    world.run(BOB, Command::SignOut).unwrap();
    let begun = world.sim.elapsed();
    assert_eq!(world.fails(ALICE, send(BOB, "hello")), Code::RecipientUnavailable);
    assert!(world.sim.elapsed() - begun < Duration::from_secs(1));
}

#[test]
fn an_overloaded_service_is_asked_again_later() {
    let mut world = World::friends(6);
    world.service(|s| s.script.insert("MESSAGE".into(), vec![500, 503]));
    world.run(ALICE, send(BOB, "hello")).unwrap();
    assert_eq!(world.received(BOB), ["hello"]);
}

#[test]
fn a_service_that_always_fails_is_given_up_in_the_end() {
    let mut world = World::friends(7);
    world.service(|s| s.script.insert("MESSAGE".into(), vec![500; 1000]));
    let token = world.say(ALICE, BOB, "hello");
    world.sim.run_for(Duration::from_secs(3600));
    let outcome = world.with(ALICE, |node| node.outcome(token)).unwrap();
    assert_eq!(outcome.unwrap_err().code(), Code::ServerUnavailable);
    assert!(world.service(|s| s.count("MESSAGE")) < 20);
}

#[test]
fn a_message_waits_signed_out_and_goes_at_the_next_sign_in() {
    let mut world = World::friends(8);
    world.run(ALICE, Command::SignOut).unwrap();
    let token = world.say(ALICE, BOB, "hello");
    world.settle();
    assert!(world.with(ALICE, |node| node.answer(token).unwrap().is_ok()), "it is accepted");
    assert_eq!(world.store(ALICE).outbox().len(), 1);
    world.run(ALICE, Command::SignIn).unwrap();
    world.settle();
    assert_eq!(world.received(BOB), ["hello"]);
}

#[test]
fn nothing_is_transmitted_before_it_is_durable() {
    let mut world = World::friends(9);
    world.store(ALICE).fail_with(Some(StorageError::Full("disk".into())));
    let before = world.service(|s| s.count("MESSAGE"));
    assert_eq!(world.fails(ALICE, send(BOB, "hello")), Code::StorageFull);
    world.settle();
    assert_eq!(world.service(|s| s.count("MESSAGE")), before);
    assert!(world.snapshot(ALICE).conversations.is_empty());
}

#[test]
fn a_message_that_cannot_be_stored_stays_with_its_sender() {
    let mut world = World::friends(10);
    world.store(BOB).fail_with(Some(StorageError::Full("disk".into())));
    let token = world.say(ALICE, BOB, "hello");
    world.settle();
    assert!(world.received(BOB).is_empty());
    assert!(world.with(ALICE, |node| node.outcome(token)).is_none(), "it is not done");
    world.store(BOB).fail_with(None);
    world.sim.run_for(Duration::from_secs(600));
    assert_eq!(world.received(BOB), ["hello"]);
    assert!(world.with(ALICE, |node| node.outcome(token)).unwrap().is_ok());
}

#[test]
fn an_outcome_that_the_store_refused_is_kept_later_and_the_message_is_not_sent_again() {
    let mut world = World::friends(11);
    // The second commit after this is the outcome.
    let token = world.say(ALICE, BOB, "hello");
    world.store(ALICE).fail_with(Some(StorageError::Other("gone".into())));
    world.sim.run_for(Duration::from_secs(20));
    assert_eq!(world.received(BOB), ["hello"]);
    assert!(world.states(ALICE).is_empty());
    world.store(ALICE).fail_with(None);
    world.sim.run_for(Duration::from_secs(120));
    assert_eq!(world.states(ALICE), [MessageState::Delivered]);
    assert_eq!(world.received(BOB), ["hello"]);
    assert!(world.with(ALICE, |node| node.outcome(token)).unwrap().is_ok());
}

#[test]
fn the_answer_waits_for_the_store() {
    let mut world = World::friends(12);
    world.restart_with(BOB, |config| config, |node| node.commit_delay(Duration::from_millis(300)));
    world.run(BOB, Command::SignIn).unwrap();
    world.settle();
    world.sim.clear_trace();
    world.run(ALICE, send(BOB, "hello")).unwrap();
    let at_of = |from: &str, what: &str| {
        world.sim.trace().iter().find(|p| p.from == at(from) && p.is(what)).map(|packet| packet.at).unwrap()
    };
    let asked = world.sim.trace().iter().find(|p| p.to == at(BOB) && p.is("MESSAGE")).unwrap().at;
    assert!(at_of(BOB, "SIP/2.0 200") - asked >= Duration::from_millis(300));
}

#[test]
fn a_repetition_in_a_new_transaction_is_one_message() {
    let mut world = World::friends(13);
    for _ in 0..3 {
        inject(&mut world, "call-1", 1, &[], ("text/plain", b"ok"));
    }
    assert_eq!(world.received(BOB), ["ok"]);
}

#[test]
fn the_same_words_said_twice_are_two_messages() {
    let mut world = World::friends(14);
    inject(&mut world, "call-1", 1, &[], ("text/plain", b"ok"));
    inject(&mut world, "call-1", 2, &[], ("text/plain", b"ok"));
    inject(&mut world, "call-2", 1, &[], ("text/plain", b"ok"));
    assert_eq!(world.received(BOB).len(), 3);
}

#[test]
fn a_repetition_after_a_restart_is_still_one_message() {
    let mut world = World::friends(15);
    inject(&mut world, "call-1", 1, &[], ("text/plain", b"ok"));
    world.restart(BOB);
    world.run(BOB, Command::SignIn).unwrap();
    world.settle();
    inject(&mut world, "call-1", 1, &[], ("text/plain", b"ok"));
    assert_eq!(world.received(BOB), ["ok"]);
}

#[test]
fn the_senders_date_is_kept() {
    let mut world = World::friends(16);
    let date = [("Date", "Fri, 30 Jan 2026 18:00:00 GMT")];
    inject(&mut world, "call-1", 1, &date, ("text/plain", b"from the store"));
    let message = received(&world.store(BOB)).remove(0);
    assert_eq!(message.sent_at.unwrap().to_string(), "2026-01-30T18:00:00.000Z");
}

#[test]
fn typing_is_answered_and_not_kept() {
    let mut world = World::friends(17);
    let body =
        br#"<isComposing xmlns="urn:ietf:params:xml:ns:im-iscomposing"><state>active</state></isComposing>"#;
    inject(&mut world, "call-1", 1, &[], ("application/im-iscomposing+xml", body));
    assert!(world.received(BOB).is_empty());
    assert!(answered(&world, "SIP/2.0 200"));
}

#[test]
fn what_cannot_be_read_is_refused_with_what_can() {
    let mut world = World::friends(18);
    inject(&mut world, "call-1", 1, &[], ("application/sdp", b"v=0"));
    assert!(answered(&world, "SIP/2.0 415"));
    let accept = world.sim.trace().iter().any(|packet| {
        packet.is("SIP/2.0 415") && String::from_utf8_lossy(&packet.payload).contains("Accept: text/plain")
    });
    assert!(accept);
    inject(&mut world, "call-2", 1, &[], ("text/plain", &vec![b'x'; Text::MAX + 1][..40_000]));
    assert_eq!(world.received(BOB).len(), 1, "what fits is taken");
}

#[test]
fn message_events_follow_in_order_and_numbers_only_grow() {
    let mut world = World::friends(19);
    world.with(ALICE, EngineNode::take_events);
    for text in ["one", "two"] {
        world.run(ALICE, send(BOB, text)).unwrap();
    }
    let events = world.with(ALICE, EngineNode::take_events);
    let names: Vec<&str> = events.iter().map(|event| event.kind.name()).collect();
    assert_eq!(
        names,
        [
            "conversation-opened",
            "message-accepted",
            "message-state-changed",
            "command-completed",
            "message-accepted",
            "message-state-changed",
            "command-completed",
        ]
    );
    assert!(events.windows(2).all(|pair| pair[0].seq < pair[1].seq));
    let journal = world.store(ALICE).journal();
    for event in events.iter().filter(|event| event.kind.must_deliver()) {
        assert!(
            journal.iter().any(|entry| entry.seq == event.seq),
            "{} is in the journal",
            event.kind.name()
        );
    }
}

#[test]
fn a_full_outbox_says_so() {
    let mut world = World::new(20);
    world.restart_with(
        ALICE,
        |mut config| {
            config.limits.outbox = 2;
            config
        },
        |node| node,
    );
    world.say(ALICE, BOB, "one");
    world.say(ALICE, BOB, "two");
    let token = world.say(ALICE, BOB, "three");
    world.settle();
    let answer = world.with(ALICE, |node| node.answer(token).unwrap().clone());
    assert_eq!(answer.unwrap_err().code(), Code::TooManyMessages);
}

#[test]
fn texts_never_show_in_debug_output() {
    let mut world = World::friends(21);
    world.run(ALICE, send(BOB, "a secret between us")).unwrap();
    let shown = world.with(BOB, |node| format!("{:?} {:?}", node.events(), node.snapshot()));
    assert!(!shown.contains("secret between"));
    let received = world.with(BOB, |node| {
        node.events().iter().any(|event| matches!(event.kind, EventKind::MessageReceived(_)))
    });
    assert!(received);
}

fn inject(world: &mut World, call_id: &str, cseq: u32, headers: &[(&str, &str)], content: (&str, &[u8])) {
    world.sim.with(SERVICE.into(), |service: &mut Service, now| {
        service.inject(now, BOB, call_id, cseq, headers, content);
    });
    world.settle();
}

fn answered(world: &World, beginning: &str) -> bool {
    let sim: &Simulation = &world.sim;
    sim.trace().iter().any(|packet| {
        packet.from == at(BOB) && packet.is(beginning) && {
            String::from_utf8_lossy(&packet.payload).contains("CSeq: 1 MESSAGE")
        }
    })
}

#[test]
fn refused_credentials_cost_no_message_while_the_registrar_takes_them() {
    let mut world = World::friends(40);
    world.service(|s| s.script.insert("MESSAGE".into(), vec![401]));
    let first = world.say(ALICE, BOB, "one");
    let second = world.say(ALICE, BOB, "two");
    world.settle();
    assert!(world.with(ALICE, |node| node.outcome(first)).unwrap().is_ok());
    assert!(world.with(ALICE, |node| node.outcome(second)).unwrap().is_ok());
    assert_eq!(world.received(BOB), ["one", "two"]);
}

#[test]
fn a_peer_that_always_refuses_credentials_fails_its_own_message_only() {
    let mut world = World::friends(41);
    world.service(|s| s.script.insert("MESSAGE".into(), vec![401, 401]));
    assert_eq!(world.fails(ALICE, send(BOB, "one")), Code::SessionAuthenticationFailed);
    assert_eq!(world.session(ALICE), attache_messenger::event::SessionState::SignedIn);
    world.run(ALICE, send(BOB, "two")).unwrap();
}

#[test]
fn a_message_that_comes_again_after_days_is_known() {
    let mut world = World::friends(42);
    inject(&mut world, "call-1", 1, &[], ("text/plain", b"hello"));
    world.sim.run_for(Duration::from_secs(3 * 86_400));
    inject(&mut world, "call-1", 1, &[], ("text/plain", b"hello"));
    world.settle();
    assert_eq!(world.received(BOB), ["hello"]);
}
