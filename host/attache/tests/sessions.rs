//! Conversations whose messages go in sessions over connections of their own (RFC 4975), at the embedded service.

mod common;

use attache::{
    Address, ConversationKind, EventKind, Messenger, Mode, NewConversation, ParticipantState, Transport,
};
use common::{World, address, event, signed_in, until};

/// What is said to somebody, and in which kind of conversation, from the view on.
async fn hears(messenger: &Messenger, view: attache::View) -> (String, Address, ConversationKind) {
    let message = event(view, |kind| match kind {
        EventKind::MessageReceived(message) => Some(message.clone()),
        _ => None,
    })
    .await;
    let conversation = messenger.conversation(message.conversation).expect("it is in a conversation");
    (message.content.text().to_owned(), message.sender.clone(), conversation.kind)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_people_talk_in_a_session_between_their_machines() {
    two_talk(Transport::Tcp, Transport::Tcp).await;
}

/// Whoever signals over TLS takes no session in the clear, and what is too long for a MESSAGE goes by no other way.
#[tokio::test(flavor = "multi_thread")]
async fn two_people_talk_over_tls_where_they_reach_the_service_so() {
    two_talk(Transport::Tls, Transport::Wss).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_who_signals_over_tls_talks_over_tls_to_one_who_does_not() {
    two_talk(Transport::Tls, Transport::Tcp).await;
}

async fn two_talk(first: Transport, second: Transport) {
    let world = World::start();
    let (desk, other) = (world.host().await, world.host().await);
    let alice = signed_in(&desk, world.account("alice", "wonderland", first)).await;
    let bob = signed_in(&other, world.account("bob", "builder", second)).await;
    let new = NewConversation::with(vec![bob.address().clone()]).about("plans").mode(Mode::Session);
    let talk = alice.start_conversation(new).await.expect("begun");

    let view = bob.view();
    alice.say(talk, "hello in a session").await.expect("accepted");
    let (text, sender, kind) = hears(&bob, view).await;
    assert_eq!(
        (text.as_str(), &sender, kind),
        ("hello in a session", alice.address(), ConversationKind::Direct)
    );

    // Longer than any MESSAGE may be, and back the same way.
    let long = "long words ".repeat(40_000);
    let view = alice.view();
    let theirs = bob.conversations()[0].id;
    bob.say(theirs, &long).await.expect("accepted");
    let (text, sender, _) = hears(&alice, view).await;
    assert!(text == long, "{} bytes came", text.len());
    assert_eq!(&sender, bob.address());
    desk.shutdown().await;
    other.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_people_meet_at_the_focus_of_the_service() {
    three_meet(Transport::Tcp, "listen-msrp = \"127.0.0.1:0\"").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_people_meet_over_tls_where_they_reach_the_service_so() {
    three_meet(Transport::Tls, "listen-msrp = \"127.0.0.1:0\"\nlisten-msrp-tls = \"127.0.0.1:0\"").await;
}

async fn three_meet(transport: Transport, listen: &str) {
    let world =
        World::with("127.0.0.1", 2120, &format!("conference = \"sip:conference@example.com\"\n{listen}"));
    let host = world.host().await;
    let mut people = Vec::new();
    for (user, password) in [("alice", "wonderland"), ("bob", "builder"), ("carol", "christmas")] {
        let mut account = world.account(user, password, transport);
        account.conference = Some(address("sip:conference@example.com"));
        people.push(signed_in(&host, account).await);
    }
    let [alice, bob, carol] = &people[..] else { unreachable!("there are three") };
    let others = vec![bob.address().clone(), carol.address().clone()];
    let talk = alice.start_conversation(NewConversation::with(others).about("plans")).await.expect("begun");

    // Everybody sees everybody there.
    for who in &people {
        until(who, "the others are there", |who| {
            let all = who.conversations();
            let others = all.iter().flat_map(|conversation| &conversation.participants);
            others.filter(|other| other.state == ParticipantState::Joined).count() == 2
        })
        .await;
    }
    let views = (bob.view(), carol.view());
    alice.say(talk, "welcome").await.expect("accepted");
    for (who, view) in [(bob, views.0), (carol, views.1)] {
        let (text, sender, kind) = hears(who, view).await;
        assert_eq!((text.as_str(), &sender), ("welcome", alice.address()));
        assert_eq!(kind, ConversationKind::Conference);
    }
    let views = (alice.view(), carol.view());
    bob.say(bob.conversations()[0].id, "thanks").await.expect("accepted");
    for (who, view) in [(alice, views.0), (carol, views.1)] {
        let (text, sender, _) = hears(who, view).await;
        assert_eq!((text.as_str(), &sender), ("thanks", bob.address()));
    }
    // One is taken out, and hears nothing more.
    alice.remove_participant(talk, carol.address()).await.expect("taken out");
    until(carol, "she is out", |carol| carol.conversations().iter().all(|talk| !talk.is_open())).await;
    host.shutdown().await;
}
