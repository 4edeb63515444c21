//! Contacts and rules that live on the service, over HTTPS, shared by several devices of one person.

mod common;

use attache::{Availability, Decision, EventKind, Freshness, Transport, Who, XcapState};
use common::{World, event, signed_in, until};

fn world() -> World {
    World::with("127.0.0.1", 2120, "xcap = \"127.0.0.1:0\"")
}

#[tokio::test(flavor = "multi_thread")]
async fn two_devices_of_one_person_have_the_same_contacts() {
    let world = world();
    let (desk, phone) = (world.host().await, world.host().await);
    let account = world.account("alice", "wonderland", Transport::Tls).xcap(world.xcap());
    let one = signed_in(&desk, account.clone()).await;
    let two = signed_in(&phone, account).await;
    let bob = common::address("sip:bob@example.com");
    let contact = one.add_contact(&bob, "Bob").await.expect("added");
    let group = one.add_group("Friends").await.expect("added");
    one.add_to_group(contact, group).await.expect("put in");
    until(&two, "Bob is on the other device, among friends", |two| {
        let snapshot = two.snapshot();
        let entry = snapshot.by_address.get(&bob).and_then(|id| snapshot.contacts.get(id));
        entry.is_some_and(|entry| {
            &*entry.contact.name == "Bob"
                && entry
                    .contact
                    .groups
                    .iter()
                    .any(|id| snapshot.groups.get(id).is_some_and(|group| &*group.name == "Friends"))
        })
    })
    .await;
    until(&one, "everything is on the service", |one| matches!(one.report().xcap, XcapState::Synced { .. }))
        .await;
    // What this device did last is taken back, here and there.
    one.remove_contact(contact).await.expect("removed");
    until(&two, "Bob is gone there", |two| two.snapshot().by_address.get(&bob).is_none()).await;
    one.undo().await.expect("taken back");
    until(&two, "Bob is back there", |two| two.snapshot().by_address.get(&bob).is_some()).await;
    desk.shutdown().await;
    phone.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_decides_who_sees_what_and_is_shown_what_they_see() {
    let world = World::with("127.0.0.1", 2120, "xcap = \"127.0.0.1:0\"\ndefault-policy = \"confirm\"");
    let host = world.host().await;
    let account = world.account("alice", "wonderland", Transport::Tcp).xcap(world.xcap());
    let alice = signed_in(&host, account).await;
    alice.publish(Availability::Busy, "in a review").await.expect("published");
    let bob = signed_in(&host, world.account("bob", "builder", Transport::Tcp)).await;

    let view = alice.view();
    let mut watching = bob.watch(alice.address()).await.expect("a lease");
    let asked = event(view, |kind| match kind {
        EventKind::WatcherRequested(watcher) => Some(watcher.address.clone()),
        _ => None,
    })
    .await;
    assert_eq!(asked, *bob.address());
    assert_eq!(watching.presence().availability, None, "Bob sees nothing before the answer");

    alice.answer_watcher(&asked, Decision::Allow).await.expect("answered");
    let seen = async {
        while watching.presence().availability != Some(Availability::Busy) {
            watching.changed().await.expect("it goes on");
        }
    };
    tokio::time::timeout(common::PATIENCE, seen).await.expect("in time");
    assert_eq!(watching.presence().freshness, Freshness::Live);
    let preview = alice.preview(bob.address()).await.expect("a preview");
    assert_eq!(
        (preview.decision, preview.presence.availability),
        (Some(Decision::Allow), Some(Availability::Busy))
    );

    alice.set_rule(Who::Address(bob.address().clone()), Some(Decision::PoliteBlock)).await.expect("set");
    let hidden = async {
        while watching.presence().availability != Some(Availability::Offline) {
            watching.changed().await.expect("it goes on");
        }
    };
    tokio::time::timeout(common::PATIENCE, hidden).await.expect("in time");
    assert!(watching.presence().note.is_empty());
    let preview = alice.preview(bob.address()).await.expect("a preview");
    assert_eq!(preview.presence.availability, Some(Availability::Offline));
    host.shutdown().await;
}
