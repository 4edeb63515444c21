//! Lists, contacts, rules and watchers, kept by a service written by others.

#![cfg(unix)]

use anyhow::{Context, Result, bail};
use attache::{
    Address, Availability, Decision, EventKind, Freshness, Snapshot, Strategy, WatcherState, Who, XcapState,
};
use attache_tests::{
    bare::Bare,
    desk::{Desk, Login},
    server::{Kind, Server, Transport},
};

const ALICE: &str = "sip:alice@example.test";
const BOB: &str = "sip:bob@example.test";
const CAROL: &str = "sip:carol@example.test";

/// An account whose contacts and rules are on the service.
fn with_documents(server: &Server, user: &str) -> Result<Login> {
    let mut login = server.login(user, Transport::Tcp)?;
    login.account = format!("xcap = \"{}\"", server.xcap_root()?);
    Ok(login)
}

fn synced(desk: &Desk) -> Result<()> {
    desk.until("that everything is on the service", |snapshot| {
        matches!(snapshot.report.xcap, XcapState::Synced { .. })
    })
    .with_context(|| format!("{:?}", desk.messenger().snapshot().report))
}

/// Makes an edit and waits until the service has it.
fn edit(desk: &Desk, edit: impl Fn() -> Result<()>) -> Result<()> {
    synced(desk)?;
    let before = desk.count_events(|kind| matches!(kind, EventKind::RosterSynced));
    edit()?;
    desk.until("that the edit is on the service", |_| {
        desk.count_events(|kind| matches!(kind, EventKind::RosterSynced)) > before
    })
}

fn has(snapshot: &Snapshot, address: &str) -> bool {
    snapshot.contacts.values().any(|entry| entry.contact.address.as_str() == address)
}

fn uses(snapshot: &Snapshot, strategy: Strategy, people: usize) -> bool {
    snapshot.report.watching.iter().any(|used| used.strategy == strategy && used.people == people)
}

fn who(address: &str) -> Result<Who> {
    Ok(Who::Address(Address::parse(address)?))
}

#[test]
fn contacts_are_kept_by_the_service_and_come_to_another_device() -> Result<()> {
    let server = Server::start(Kind::Kamailio)?;
    let steps = || {
        let desk = Desk::sign_in(&with_documents(&server, "alice")?)?;
        edit(&desk, || desk.add(BOB))?;
        edit(&desk, || {
            desk.wait("the group", desk.messenger().add_group("Friends"))??;
            Ok(())
        })?;

        let laptop = Desk::sign_in(&with_documents(&server, "alice")?)?;
        laptop.until("Bob on the other device", |snapshot| has(snapshot, BOB))?;
        laptop.until("the group on the other device", |snapshot| {
            snapshot.groups.values().any(|group| &*group.name == "Friends")
        })?;
        // Whoever writes second knows the first one's entity tag, or has to read again: nothing is lost either way.
        edit(&laptop, || laptop.add(CAROL))?;
        edit(&desk, || desk.add("sip:dave@example.test"))?;
        drop((desk, laptop));

        let third = Desk::sign_in(&with_documents(&server, "alice")?)?;
        third.until("everybody on the third device", |snapshot| {
            [BOB, CAROL, "sip:dave@example.test"].iter().all(|address| has(snapshot, address))
        })
    };
    steps().with_context(|| server.log())
}

#[test]
fn one_subscription_to_a_list_of_the_service_brings_everybodys_presence() -> Result<()> {
    let server = Server::start(Kind::Kamailio)?;
    let steps = || {
        let bob = Desk::sign_in(&server.login("bob", Transport::Udp)?)?;
        bob.publish(Availability::Busy, "in a review")?;
        let alice = Desk::sign_in(&with_documents(&server, "alice")?)?;
        alice.add(BOB)?;
        alice.add(CAROL)?;
        alice
            .until("that the service's list is used", |snapshot| uses(snapshot, Strategy::ServerList, 1))
            .with_context(|| format!("{:?}", alice.messenger().snapshot().report))?;
        assert_eq!(alice.sees(BOB, Availability::Busy)?, "in a review");
        bob.publish(Availability::Away, "")?;
        alice.sees(BOB, Availability::Away)?;
        // The list names her, and says nothing of her before she comes: until then she is asked for by herself.
        let carol = Desk::sign_in(&server.login("carol", Transport::Udp)?)?;
        carol.publish(Availability::Available, "")?;
        alice.sees(CAROL, Availability::Available)?;
        alice.until("that one subscription is left", |snapshot| uses(snapshot, Strategy::ServerList, 2))
    };
    steps().with_context(|| server.log())
}

/// Kamailio obeys Alice's rules; Bob wants to see her.
fn under_rules(steps: impl Fn(&Server, &Desk, &Desk) -> Result<()>) -> Result<()> {
    let server = Server::start_with(Kind::Kamailio, false)?;
    let all = || {
        let alice = Desk::sign_in(&with_documents(&server, "alice")?)?;
        let bob = Desk::sign_in(&server.login("bob", Transport::Udp)?)?;
        synced(&alice)?;
        alice.publish(Availability::Busy, "in a review")?;
        steps(&server, &alice, &bob)
    };
    all().with_context(|| server.log())
}

fn rule(alice: &Desk, who: Who, decision: Decision) -> Result<()> {
    Ok(alice.wait("the rule", alice.messenger().set_rule(who, Some(decision)))??)
}

#[test]
fn somebody_who_is_allowed_sees_presence() -> Result<()> {
    under_rules(|_, alice, bob| {
        rule(alice, who(BOB)?, Decision::Allow)?;
        bob.add(ALICE)?;
        assert_eq!(bob.sees(ALICE, Availability::Busy)?, "in a review");
        Ok(())
    })
}

#[test]
fn somebody_who_is_blocked_is_told_so_and_sees_nothing() -> Result<()> {
    under_rules(|_, alice, bob| {
        rule(alice, who(BOB)?, Decision::Block)?;
        bob.add(ALICE)?;
        let alice = Address::parse(ALICE)?;
        bob.until("that he is denied", |_| {
            bob.messenger().presence(&alice).is_some_and(|seen| seen.freshness == Freshness::Denied)
        })?;
        assert_eq!(bob.messenger().presence(&alice).and_then(|seen| seen.availability), None);
        Ok(())
    })
}

#[test]
fn somebody_who_is_blocked_politely_sees_somebody_who_is_never_there() -> Result<()> {
    under_rules(|_, alice, bob| {
        rule(alice, who(BOB)?, Decision::PoliteBlock)?;
        bob.add(ALICE)?;
        assert_eq!(bob.sees(ALICE, Availability::Offline)?, "");
        alice.publish(Availability::Available, "look at me")?;
        let seen = bob.messenger().presence(&Address::parse(ALICE)?).context("no contact")?;
        assert_eq!((seen.availability, &*seen.note), (Some(Availability::Offline), ""));
        Ok(())
    })
}

#[test]
fn somebody_unknown_asks_and_is_answered() -> Result<()> {
    under_rules(|_, alice, bob| {
        bob.add(ALICE)?;
        let asks = alice.event("Bob's request", |kind| match kind {
            EventKind::WatcherRequested(watcher) => Some(watcher.address.to_string()),
            _ => None,
        })?;
        assert_eq!(asks, BOB);
        alice.until("Bob among those who wait", |snapshot| {
            snapshot.watchers.values().any(|watcher| {
                watcher.address.as_str() == BOB
                    && matches!(watcher.state, WatcherState::Pending | WatcherState::Waiting)
            })
        })?;
        let address = Address::parse(BOB)?;
        alice.wait("the answer", alice.messenger().answer_watcher(&address, Decision::Allow))??;
        assert_eq!(bob.sees(ALICE, Availability::Busy)?, "in a review");
        Ok(())
    })
}

#[test]
fn a_rule_that_lets_somebody_ask_has_them_wait_for_the_answer() -> Result<()> {
    under_rules(|_, alice, bob| {
        rule(alice, who(BOB)?, Decision::Confirm)?;
        bob.add(ALICE)?;
        alice.event("Bob's request", |kind| match kind {
            EventKind::WatcherRequested(watcher) if watcher.address.as_str() == BOB => Some(()),
            _ => None,
        })?;
        let address = Address::parse(ALICE)?;
        assert_eq!(bob.messenger().presence(&address).and_then(|seen| seen.availability), None);
        let asker = Address::parse(BOB)?;
        alice.wait("the answer", alice.messenger().answer_watcher(&asker, Decision::Allow))??;
        bob.sees(ALICE, Availability::Busy)?;
        // Who was let in can be made to wait again, and then sees nobody, and nobody who is offline either.
        rule(alice, who(BOB)?, Decision::Confirm)?;
        bob.until("that he sees her no more", |_| {
            let seen = bob.messenger().presence(&address);
            seen.is_some_and(|seen| {
                seen.freshness != Freshness::Live && seen.availability != Some(Availability::Offline)
            })
        })
    })
}

#[test]
fn what_waits_in_the_mailbox_is_told() -> Result<()> {
    let server = Server::start(Kind::Kamailio)?;
    let steps = || {
        let login = server.login("alice", Transport::Udp)?;
        let alice = Desk::sign_in(&login)?;
        // A voice mail system publishes under the user's name.
        let mut mailbox = Bare::new(&login, server.addr(Transport::Udp)?)?;
        let mut publish = |etag: &str, body: &str| -> Result<String> {
            let headers = format!(
                "Event: message-summary\r\nExpires: 600\r\nContent-Type: application/simple-message-summary\r\n{etag}"
            );
            let answer = mailbox.ask("PUBLISH", ALICE, &headers, body)?;
            anyhow::ensure!(answer.starts_with("SIP/2.0 200"), "{answer}");
            let etag = answer.lines().find_map(|line| line.strip_prefix("SIP-ETag: "));
            Ok(format!("SIP-If-Match: {}\r\n", etag.context("no entity tag")?))
        };
        let etag = publish("", "Messages-Waiting: yes\r\nVoice-Message: 2/8 (0/2)\r\n")?;
        alice.until("two new voice messages", |snapshot| {
            let waiting = snapshot.messages_waiting.as_ref();
            waiting.is_some_and(|it| it.waiting && it.unheard("voice-message") == 2)
        })?;
        publish(&etag, "Messages-Waiting: no\r\nVoice-Message: 0/10 (0/2)\r\n")?;
        alice.until("that all were heard", |snapshot| {
            let waiting = snapshot.messages_waiting.as_ref();
            waiting.is_some_and(|it| !it.waiting && it.unheard("voice-message") == 0)
        })
    };
    steps().with_context(|| server.log())
}

#[test]
fn the_devices_that_an_account_is_signed_in_with_are_told() -> Result<()> {
    let server = Server::start(Kind::Kamailio)?;
    let steps = || {
        let desk = Desk::sign_in(&server.login("alice", Transport::Udp)?)?;
        desk.until("one device, this one", |snapshot| {
            snapshot.devices.len() == 1 && snapshot.devices.iter().any(|device| device.this)
        })?;
        let laptop = Desk::sign_in(&server.login("alice", Transport::Tcp)?)?;
        desk.until("two devices", |snapshot| snapshot.devices.len() == 2)?;
        laptop.leave();
        desk.until("one device again", |snapshot| {
            snapshot.devices.len() == 1 && snapshot.devices.iter().any(|device| device.this)
        })
    };
    steps().with_context(|| server.log())
}

#[test]
fn a_message_to_somebody_who_is_away_is_kept_and_comes_with_its_time() -> Result<()> {
    let server = Server::start(Kind::Kamailio)?;
    let alice = Desk::sign_in(&server.login("alice", Transport::Tls)?)?;
    alice.send(BOB, "for later")?;
    let bob = Desk::sign_in(&server.login("bob", Transport::Tls)?)?;
    let (text, sent, received) = bob
        .event("the kept message", |kind| match kind {
            EventKind::MessageReceived(it) => {
                Some((it.content.text().to_owned(), it.sent_at, it.received_at))
            }
            _ => None,
        })
        .with_context(|| server.log())?;
    assert!(text.ends_with("for later"), "{text}");
    let Some(sent) = sent else { bail!("it does not say when it was sent") };
    assert!(sent.as_millis() <= received.as_millis() + 1_000, "{sent:?} is not before {received:?}");
    Ok(())
}
