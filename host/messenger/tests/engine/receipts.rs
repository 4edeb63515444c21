//! Receipts, wrappers, and what is remembered of people's programs.

use std::time::Duration;

use attache_messenger::{
    command::Command,
    engine::EngineConfig,
    event::EventKind,
    id::MessageId,
    message::{Content, Draft, MessageState, ReceiptPolicy, Receipts, Text},
    privacy::{Decision, Who},
    sim::EngineNode,
    storage::{RecordKind, StorageError},
};

use crate::{service::Service, world::*};

/// Alice and Bob, who have written to each other: both know that the other reads wrappers. Bob gives receipts by
/// this policy.
fn acquainted(seed: u64, policy: ReceiptPolicy) -> World {
    let mut world = World::friends(seed);
    let policy = |mut config: EngineConfig| {
        config.receipts = policy;
        config
    };
    world.restart_with(BOB, policy, |node| node);
    world.run(BOB, Command::SignIn).unwrap();
    world.run(ALICE, send(BOB, "hello")).unwrap();
    world.run(BOB, send(ALICE, "hi")).unwrap();
    world.settle();
    world.sim.clear_trace();
    world
}

/// The text of the last MESSAGE that somebody sent.
fn last_sent(world: &World, from: &str) -> String {
    let sent = world.sim.trace().iter().rev().find(|packet| packet.from == at(from) && packet.is("MESSAGE"));
    String::from_utf8_lossy(&sent.unwrap().payload).into_owned()
}

fn last_received(world: &World, name: &str) -> MessageId {
    received(&world.store(name)).last().unwrap().id
}

/// The state of Alice's last message, as readers see it.
fn shown(world: &mut World) -> MessageState {
    let snapshot = world.snapshot(ALICE);
    snapshot.deliveries.values().next_back().unwrap().last().unwrap().state.clone()
}

fn records(world: &World, name: &str, kind: RecordKind) -> usize {
    world.store(name).restored().records.iter().filter(|record| record.kind == kind).count()
}

/// Alice writes to Bob while he is away: the service takes it. Then he comes back, and gets it.
fn deliver_later(world: &mut World) {
    world.run(BOB, Command::SignOut).unwrap();
    world.service(|service| service.offline_store = true);
    world.run(ALICE, send(BOB, "later")).unwrap();
    assert_eq!(shown(world), MessageState::Sent);
    world.run(BOB, Command::SignIn).unwrap();
    world.settle();
    world.sim.with(SERVICE.into(), |service: &mut Service, now| service.deliver_stored(now));
    world.settle();
}

fn receipt(id: &str, what: &str) -> Vec<u8> {
    format!(
        "From: <sip:bob@example.com>\r\nTo: <sip:alice@example.com>\r\n\r\nContent-Type: message/imdn+xml\r\n\r\n\
         <imdn xmlns=\"urn:ietf:params:xml:ns:imdn\"><message-id>{id}</message-id>{what}</imdn>"
    )
    .into_bytes()
}

const DISPLAYED: &str = "<display-notification><status><displayed/></status></display-notification>";
const DELIVERED: &str = "<delivery-notification><status><delivered/></status></delivery-notification>";
const FAILED: &str = "<delivery-notification><status><failed/></status></delivery-notification>";
const STORED: &str = "<processing-notification><status><stored/></status></processing-notification>";

/// Somebody's receipt for a message reaches Alice.
fn inject(world: &mut World, from: &str, call_id: &str, body: &[u8]) {
    world.sim.with(SERVICE.into(), |service: &mut Service, now| {
        service.inject_from(now, from, ALICE, call_id, 1, &[], ("message/cpim", body));
    });
    world.settle();
}

/// The identity on the wire of the last message that Alice sent.
fn wire_id(world: &World) -> String {
    let text = last_sent(world, ALICE);
    let line = text.lines().find(|line| line.starts_with("imdn.Message-ID: ")).unwrap();
    line["imdn.Message-ID: ".len()..].trim().to_owned()
}

#[test]
fn a_text_goes_as_a_text_until_the_other_side_has_shown_that_it_reads_more() {
    let mut world = World::friends(1);
    world.run(ALICE, send(BOB, "hello")).unwrap();
    let first = last_sent(&world, ALICE);
    assert!(first.contains("Content-Type: text/plain") && first.ends_with("\r\n\r\nhello"), "{first}");
    world.run(BOB, send(ALICE, "hi")).unwrap();
    world.run(ALICE, send(BOB, "so")).unwrap();
    let second = last_sent(&world, ALICE);
    assert!(second.contains("Content-Type: message/cpim"), "{second}");
    assert!(second.contains("imdn.Disposition-Notification: positive-delivery, negative-delivery, display"));
    assert_eq!(world.received(BOB), ["hello", "so"]);
}

#[test]
fn what_is_known_of_a_program_outlives_a_restart() {
    let mut world = acquainted(2, ReceiptPolicy::None);
    world.restart(ALICE);
    world.run(ALICE, Command::SignIn).unwrap();
    world.run(ALICE, send(BOB, "so")).unwrap();
    assert!(last_sent(&world, ALICE).contains("Content-Type: message/cpim"));
}

#[test]
fn a_program_that_refuses_wrappers_gets_texts_and_that_is_remembered() {
    for status in [415, 488] {
        let mut world = acquainted(3, ReceiptPolicy::None);
        world.service(|service| service.script.insert("MESSAGE".into(), vec![status]));
        world.run(ALICE, send(BOB, "so")).unwrap();
        assert!(last_sent(&world, ALICE).ends_with("\r\n\r\nso"));
        assert_eq!(world.received(BOB), ["hello", "so"]);
        let before = world.service(|service| service.count("MESSAGE"));
        world.restart(ALICE);
        world.run(ALICE, Command::SignIn).unwrap();
        world.run(ALICE, send(BOB, "again")).unwrap();
        assert_eq!(world.service(|service| service.count("MESSAGE")) - before, 1, "{status}");
        assert!(last_sent(&world, ALICE).ends_with("\r\n\r\nagain"));
    }
}

#[test]
fn markup_goes_to_those_who_read_it_and_words_to_the_others() {
    let html = Content::Html { html: Text::new("<p>so <b>what</b></p>"), plain: Text::new("so what") };
    let mut world = World::friends(4);
    world.run(ALICE, Command::Send(Draft::new(address(BOB), html.clone()))).unwrap();
    assert_eq!(received(&world.store(BOB)).last().unwrap().content, Content::from("so what"));
    world.run(BOB, send(ALICE, "hi")).unwrap();
    world.run(ALICE, Command::Send(Draft::new(address(BOB), html.clone()))).unwrap();
    assert_eq!(received(&world.store(BOB)).last().unwrap().content, html);
    world.service(|service| service.script.insert("MESSAGE".into(), vec![415]));
    world.run(ALICE, Command::Send(Draft::new(address(BOB), html))).unwrap();
    assert_eq!(received(&world.store(BOB)).last().unwrap().content, Content::from("so what"));
    assert!(last_sent(&world, ALICE).contains("Content-Type: message/cpim"), "only the markup was left out");
}

#[test]
fn a_subject_arrives_where_wrappers_are_read() {
    let mut world = acquainted(5, ReceiptPolicy::None);
    world
        .run(ALICE, Command::Send(Draft::new(address(BOB), "at one?").subject("Mittagessen: Grüße")))
        .unwrap();
    let message = received(&world.store(BOB)).pop().unwrap();
    assert_eq!(message.subject.as_deref(), Some("Mittagessen: Grüße"));
    assert_eq!(message.sent_at, Some(world.store(ALICE).lines().last().unwrap().at));
}

#[test]
fn a_message_that_waited_at_the_service_is_delivered_once_its_receipt_comes() {
    let mut world = acquainted(6, ReceiptPolicy::Delivered);
    deliver_later(&mut world);
    assert_eq!(world.received(BOB), ["hello", "later"]);
    assert_eq!(world.states(ALICE)[1..], [MessageState::Sent, MessageState::Delivered]);
    assert_eq!(shown(&mut world), MessageState::Delivered);
    assert_eq!(records(&world, BOB, RecordKind::Receipt), 0, "it has been told");
}

#[test]
fn that_a_person_saw_a_message_is_told_when_they_let_it_be_told() {
    let mut world = acquainted(7, ReceiptPolicy::Displayed);
    world.run(ALICE, send(BOB, "so")).unwrap();
    world.settle();
    assert_eq!(shown(&mut world), MessageState::Delivered);
    let id = last_received(&world, BOB);
    world.run(BOB, Command::MarkDisplayed(id)).unwrap();
    world.settle();
    assert_eq!(shown(&mut world), MessageState::Displayed);
    let sent = world.service(|service| service.count("MESSAGE"));
    world.run(BOB, Command::MarkDisplayed(id)).unwrap();
    world.settle();
    assert_eq!(world.service(|service| service.count("MESSAGE")), sent, "it is told once");
}

#[test]
fn by_default_nobody_learns_when_a_person_reads() {
    let mut world = acquainted(8, ReceiptPolicy::default());
    world.run(ALICE, send(BOB, "so")).unwrap();
    world.settle();
    world.run(BOB, Command::MarkDisplayed(last_received(&world, BOB))).unwrap();
    world.settle();
    assert_eq!(shown(&mut world), MessageState::Delivered);
    assert_eq!(records(&world, BOB, RecordKind::Receipt), 0);
}

#[test]
fn no_receipts_are_given_where_none_are_wanted_or_the_account_gives_none() {
    let mut world = acquainted(9, ReceiptPolicy::Displayed);
    let draft = Draft::new(address(BOB), "so").receipts(Receipts::NONE);
    world.run(ALICE, Command::Send(draft)).unwrap();
    let sent = world.service(|service| service.count("MESSAGE"));
    world.run(BOB, Command::MarkDisplayed(last_received(&world, BOB))).unwrap();
    world.settle();
    assert_eq!(world.service(|service| service.count("MESSAGE")), sent);

    let mut world = acquainted(10, ReceiptPolicy::None);
    world.run(ALICE, send(BOB, "so")).unwrap();
    let sent = world.service(|service| service.count("MESSAGE"));
    world.settle();
    assert_eq!(world.service(|service| service.count("MESSAGE")), sent);
}

#[test]
fn whoever_may_not_see_ones_presence_gets_no_receipts() {
    let mut world = acquainted(11, ReceiptPolicy::Displayed);
    let hide = Command::SetRule { who: Who::Address(address(ALICE)), decision: Some(Decision::PoliteBlock) };
    world.restart_with(
        BOB,
        |mut config| {
            config.receipts = ReceiptPolicy::Displayed;
            config.xcap = Some("http://10.0.0.8/xcap".to_owned());
            config
        },
        |node| node,
    );
    world.run(BOB, Command::SignIn).unwrap();
    world.start(BOB, hide);
    world.settle();
    assert_eq!(world.snapshot(BOB).rules.len(), 1);
    deliver_later(&mut world);
    assert_eq!(world.received(BOB), ["hello", "later"]);
    assert_eq!(shown(&mut world), MessageState::Sent);
}

#[test]
fn an_anonymous_sender_and_a_receipt_get_no_receipt() {
    let mut world = acquainted(12, ReceiptPolicy::Delivered);
    let wishes = "NS: imdn <urn:ietf:params:imdn>\r\nimdn.Message-ID: 1\r\n\
        imdn.Disposition-Notification: positive-delivery, display\r\n\r\nContent-Type: ";
    let text = format!("{wishes}text/plain\r\n\r\nboo");
    let imdn = format!(
        "{wishes}message/imdn+xml\r\n\r\n<imdn xmlns=\"urn:ietf:params:xml:ns:imdn\">\
         <message-id>2</message-id>{DELIVERED}</imdn>"
    );
    inject(&mut world, "sip:anonymous@anonymous.invalid", "a", text.as_bytes());
    inject(&mut world, "sip:bob@example.com", "b", imdn.as_bytes());
    assert_eq!(world.received(ALICE).last().unwrap(), "boo");
    assert!(!world.sim.trace().iter().any(|packet| packet.from == at(ALICE) && packet.is("MESSAGE")));
}

#[test]
fn a_receipt_counts_days_later_and_after_a_restart() {
    let mut world = acquainted(13, ReceiptPolicy::None);
    world.run(BOB, Command::SignOut).unwrap();
    world.service(|service| service.offline_store = true);
    world.run(ALICE, send(BOB, "so")).unwrap();
    let id = wire_id(&world);
    world.restart(ALICE);
    assert_eq!(shown(&mut world), MessageState::Sent, "it is known after the restart");
    world.run(ALICE, Command::SignIn).unwrap();
    world.with(ALICE, |node| node.step_clock(5 * 86_400_000));
    inject(&mut world, "sip:bob@example.com", "a", &receipt(&id, DISPLAYED));
    assert_eq!(shown(&mut world), MessageState::Displayed);
    let told = world.with(ALICE, EngineNode::take_events).into_iter().any(|event| {
        matches!(event.kind, EventKind::MessageStateChanged { state: MessageState::Displayed, .. })
    });
    assert!(told);
}

#[test]
fn a_receipt_after_a_month_is_for_nothing() {
    let mut world = acquainted(14, ReceiptPolicy::None);
    world.run(ALICE, send(BOB, "so")).unwrap();
    let id = wire_id(&world);
    world.with(ALICE, |node| node.step_clock(32 * 86_400_000));
    // The next message makes room.
    world.run(ALICE, send(BOB, "and now")).unwrap();
    inject(&mut world, "sip:bob@example.com", "a", &receipt(&id, DISPLAYED));
    assert!(!world.states(ALICE).contains(&MessageState::Displayed));
    assert_eq!(records(&world, ALICE, RecordKind::Delivery), 1);
}

#[test]
fn states_never_go_back_whatever_comes_in_which_order() {
    let mut world = acquainted(15, ReceiptPolicy::None);
    world.run(BOB, Command::SignOut).unwrap();
    world.service(|service| service.offline_store = true);
    world.run(ALICE, send(BOB, "so")).unwrap();
    let id = wire_id(&world);
    for (number, what) in [STORED, FAILED, DELIVERED, FAILED, DISPLAYED, DELIVERED, STORED].iter().enumerate()
    {
        inject(&mut world, "sip:bob@example.com", &format!("r{number}"), &receipt(&id, what));
    }
    let names: Vec<&str> = world.states(ALICE)[1..].iter().map(MessageState::name).collect();
    assert_eq!(names, ["sent", "failed", "delivered", "displayed"]);
}

#[test]
fn a_receipt_of_somebody_else_is_passed_over() {
    let mut world = acquainted(16, ReceiptPolicy::None);
    world.run(ALICE, send(BOB, "so")).unwrap();
    let id = wire_id(&world);
    inject(&mut world, "sip:carol@example.com", "a", &receipt(&id, DISPLAYED));
    inject(&mut world, "sip:bob@example.com", "b", &receipt("0000", DISPLAYED));
    assert_eq!(shown(&mut world), MessageState::Delivered);
}

#[test]
fn a_receipt_is_answered_when_it_is_kept() {
    let mut world = acquainted(17, ReceiptPolicy::None);
    world.run(ALICE, send(BOB, "so")).unwrap();
    let id = wire_id(&world);
    world.store(ALICE).fail_with(Some(StorageError::Full("disk".into())));
    world.sim.clear_trace();
    inject(&mut world, "sip:bob@example.com", "a", &receipt(&id, DISPLAYED));
    let answered = |world: &World, status: &str| {
        world.sim.trace().iter().any(|packet| packet.from == at(ALICE) && packet.is(status))
    };
    assert!(answered(&world, "SIP/2.0 500") && !answered(&world, "SIP/2.0 200"));
    assert_eq!(shown(&mut world), MessageState::Delivered);
    world.store(ALICE).fail_with(None);
    world.sim.run_for(Duration::from_secs(120));
    assert_eq!(shown(&mut world), MessageState::Displayed);
}

#[test]
fn a_receipt_that_could_not_be_given_is_given_after_a_restart() {
    let mut world = acquainted(18, ReceiptPolicy::Displayed);
    world.run(ALICE, send(BOB, "so")).unwrap();
    world.settle();
    let id = last_received(&world, BOB);
    world.run(BOB, Command::SignOut).unwrap();
    world.run(BOB, Command::MarkDisplayed(id)).unwrap();
    world.restart(BOB);
    world.run(BOB, Command::SignIn).unwrap();
    world.settle();
    assert_eq!(shown(&mut world), MessageState::Displayed);
    assert_eq!(records(&world, BOB, RecordKind::Receipt), 0);
}

#[test]
fn a_receipt_that_nobody_takes_is_given_up_in_the_end() {
    let mut world = World::friends(19);
    let text = b"NS: imdn <urn:ietf:params:imdn>\r\nimdn.Message-ID: 1\r\n\
        imdn.Disposition-Notification: positive-delivery\r\n\r\nContent-Type: text/plain\r\n\r\nboo";
    inject(&mut world, "sip:nobody@example.com", "a", text);
    assert_eq!(world.received(ALICE), ["boo"]);
    assert_eq!(records(&world, ALICE, RecordKind::Receipt), 0, "there is nobody to tell");
    world.service(|service| service.script.insert("MESSAGE".into(), vec![500; 100]));
    inject(&mut world, "sip:carol@example.com", "b", text);
    assert_eq!(records(&world, ALICE, RecordKind::Receipt), 1, "it is tried again");
    world.sim.run_for(Duration::from_secs(6 * 3_600));
    assert_eq!(records(&world, ALICE, RecordKind::Receipt), 0);
    assert!(world.service(|service| service.count("MESSAGE")) < 12);
}

#[test]
fn a_receipt_proves_a_delivery_whose_answer_was_lost() {
    let mut world = acquainted(20, ReceiptPolicy::None);
    // The answers get lost, the message does not.
    world.service(|service| service.script.insert("MESSAGE".into(), vec![500; 2]));
    let token = world.say(ALICE, BOB, "so");
    world.settle();
    let id = wire_id(&world);
    let before = world.service(|service| service.count("MESSAGE"));
    inject(&mut world, "sip:bob@example.com", "a", &receipt(&id, DELIVERED));
    world.sim.run_for(Duration::from_secs(600));
    assert!(world.with(ALICE, |node| node.outcome(token)).unwrap().is_ok());
    assert!(world.store(ALICE).outbox().is_empty());
    assert_eq!(shown(&mut world), MessageState::Delivered);
    assert!(
        world.service(|service| service.count("MESSAGE")) <= before + 1,
        "it is not sent again and again"
    );
}

#[test]
fn a_sender_is_who_the_envelope_says() {
    let mut world = World::friends(21);
    let body = b"From: Bob <im:bob@example.com>\r\nTo: <im:alice@example.com>\r\n\r\nContent-Type: text/plain\r\n\r\nboo";
    inject(&mut world, "sip:carol@example.com", "a", body);
    let message = received(&world.store(ALICE)).pop().unwrap();
    assert_eq!(message.sender, address("carol"));
    let told = world.with(ALICE, EngineNode::take_events).into_iter().any(|event| {
        matches!(&event.kind, EventKind::Diagnostic(text) if text.contains("claims to come from im:bob@example.com"))
    });
    assert!(told);
}

#[test]
fn a_wrapper_that_requires_what_is_not_known_gets_488() {
    let mut world = World::friends(22);
    let body =
        b"NS: x <urn:x>\r\nRequire: x.Fancy\r\nx.Fancy: yes\r\n\r\nContent-Type: text/plain\r\n\r\nboo";
    inject(&mut world, "sip:carol@example.com", "a", body);
    assert!(world.sim.trace().iter().any(|packet| packet.from == at(ALICE) && packet.is("SIP/2.0 488")));
    assert!(world.received(ALICE).is_empty());
}

#[test]
fn a_receipt_goes_back_by_the_way_that_the_message_asks_for_within_known_domains() {
    for (hop, expected) in [
        ("sip:imdn@example.com", "MESSAGE sip:imdn@example.com"),
        ("sip:victim@elsewhere.example", "MESSAGE sip:carol@example.com"),
    ] {
        let mut world = World::friends(23);
        let body = format!(
            "From: <sip:carol@example.com>\r\nNS: imdn <urn:ietf:params:imdn>\r\nimdn.Message-ID: 1\r\n\
             imdn.Disposition-Notification: positive-delivery\r\nimdn.IMDN-Record-Route: <{hop}>\r\n\
             imdn.IMDN-Record-Route: <sip:second@example.com>\r\n\r\nContent-Type: text/plain\r\n\r\nboo"
        );
        inject(&mut world, "sip:carol@example.com", "a", body.as_bytes());
        let sent = last_sent(&world, ALICE);
        assert!(sent.starts_with(expected), "{sent}");
        assert_eq!(sent.contains("imdn.IMDN-Route: <sip:second@example.com>"), hop.contains("imdn@"));
        assert!(sent.contains("Content-Disposition: notification"));
    }
}
