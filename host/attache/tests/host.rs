//! The crate as an application uses it, on the embedded service over real sockets.

use std::{path::Path, time::Duration};

use attache::{
    AccountConfig, Address, Availability, Change, Code, EventKind, Freshness, Host, HostConfig, Messenger,
    Secret, SessionState, View,
};
use attache_service::{Service, ServiceConfig};
use futures_util::FutureExt as _;

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(20);

fn service() -> Service {
    let text = "[service]\nlisten = \"127.0.0.1:0\"\ndomains = [\"example.com\"]\n\n\
                [[user]]\nname = \"alice\"\npassword = \"wonderland\"\n\n\
                [[user]]\nname = \"bob\"\npassword = \"builder\"\n";
    let config = ServiceConfig::parse(text).expect("a valid configuration");
    Service::start(&config).expect("the service starts")
}

fn address(text: &str) -> Address {
    Address::parse(text).expect("an address")
}

fn account(service: &Service, user: &str, password: &str) -> AccountConfig {
    let (_, at) = service.local_addrs()[0];
    let mut account = AccountConfig::new(address(&format!("sip:{user}@example.com")), Secret::new(password));
    account.service = Some(format!("sip:{at}"));
    account.sign_in = false;
    account
}

async fn host(data_dir: Option<&Path>) -> Host {
    let mut config = HostConfig::default();
    config.data_dir = data_dir.map(Path::to_owned);
    Host::start(config).await.expect("the host starts")
}

async fn signed_in(host: &Host, service: &Service, user: &str, password: &str) -> Messenger {
    let messenger = host.add_account(account(service, user, password)).await.expect("an account");
    messenger.sign_in().await.expect("signed in");
    messenger
}

/// Waits for the first event that is wanted, after the view was taken.
async fn event<T>(mut view: View, mut wanted: impl FnMut(&EventKind) -> Option<T>) -> T {
    let found = async {
        while let Some(change) = view.changes.next().await {
            if let Change::Event(event) = change
                && let Some(found) = wanted(&event.kind)
            {
                return found;
            }
        }
        panic!("the stream ended");
    };
    tokio::time::timeout(PATIENCE, found).await.expect("in time")
}

#[tokio::test(flavor = "multi_thread")]
async fn two_accounts_of_one_host_see_each_other_and_talk() {
    let service = service();
    let host = host(None).await;
    let alice = signed_in(&host, &service, "alice", "wonderland").await;
    let bob = signed_in(&host, &service, "bob", "builder").await;
    bob.publish(Availability::Busy, "in a review").await.expect("published");

    // Before the contact is added, so that nothing can happen in between.
    let view = alice.view();
    alice.add_contact(bob.address(), "Bob").await.expect("added");
    let presence = event(view, |kind| match kind {
        EventKind::PresenceChanged(changes) => changes
            .iter()
            .find(|change| change.presence.availability == Some(Availability::Busy))
            .map(|change| change.presence.clone()),
        _ => None,
    })
    .await;
    assert_eq!((&*presence.note, &presence.freshness), ("in a review", &Freshness::Live));

    let mut view = bob.view();
    alice.deliver(bob.address(), "hello").await.expect("delivered");
    let received = async {
        loop {
            match view.changes.next().await.expect("the stream goes on") {
                Change::Event(event) => {
                    if let EventKind::MessageReceived(message) = event.kind {
                        return message;
                    }
                }
                _ => panic!("nobody was slow"),
            }
        }
    };
    let message = tokio::time::timeout(PATIENCE, received).await.expect("in time");
    assert_eq!((message.content.text(), &message.sender), ("hello", alice.address()));
    host.shutdown().await;
    service.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_the_answer_to_signing_in() {
    let service = service();
    let host = host(None).await;
    let alice = host.add_account(account(&service, "alice", "looking-glass")).await.expect("an account");
    let error = alice.sign_in().await.expect_err("refused");
    assert_eq!(error.code(), Code::InvalidPassword);
    assert_eq!(error.code().number(), 0x8100_0303);
    let snapshot = alice.snapshot();
    assert_eq!(snapshot.session, SessionState::SignedOut);
    assert_eq!(snapshot.session_reason.as_ref().map(attache::Error::code), Some(Code::InvalidPassword));
    host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn handles_stay_valid_after_a_shutdown() {
    let service = service();
    let host = host(None).await;
    let alice = signed_in(&host, &service, "alice", "wonderland").await;
    alice.add_contact(&address("sip:bob@example.com"), "Bob").await.expect("added");
    let mut view = alice.view();
    host.shutdown().await;
    for _ in 0..2 {
        let error = alice.send(&address("sip:bob@example.com"), "hello").await.expect_err("closed");
        assert_eq!(error.code(), Code::Closed);
    }
    assert_eq!(alice.snapshot().contacts.size(), 1, "what was known stays readable");
    assert_eq!(alice.address().as_str(), "sip:alice@example.com");
    let ended = async { while view.changes.next().await.is_some() {} };
    tokio::time::timeout(PATIENCE, ended).await.expect("the stream ends");
    assert!(host.messenger(alice.address()).is_none());
    host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_falls_behind_starts_again_from_a_snapshot() {
    let host = host(None).await;
    let service = service();
    let alice = host.add_account(account(&service, "alice", "wonderland")).await.expect("an account");
    let mut view = alice.view();
    let group = alice.add_group("group").await.expect("added");
    for number in 0..=attache::CAPACITY {
        alice.rename_group(group, &format!("group {number}")).await.expect("renamed");
    }
    let change = tokio::time::timeout(PATIENCE, view.changes.next()).await.expect("in time");
    let Some(Change::Reset(snapshot)) = change else { panic!("a reset, not {change:?}") };
    let name = snapshot.groups.get(&group).map(|group| group.name.to_string());
    assert_eq!(name, Some(format!("group {}", attache::CAPACITY)));
    // From here on, events follow the snapshot without a gap.
    alice.add_group("one more").await.expect("added");
    let next = tokio::time::timeout(PATIENCE, view.changes.next()).await.expect("in time");
    let Some(Change::Event(event)) = next else { panic!("an event, not {next:?}") };
    assert!(event.seq > snapshot.seq);
    assert!(matches!(event.kind, EventKind::GroupAdded(group) if &*group.name == "one more"));
    host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn contacts_groups_and_own_presence_are_there_after_a_restart() {
    let service = service();
    let folder = tempfile::tempdir().expect("a folder");
    let bob = address("sip:bob@example.com");
    {
        let host = host(Some(folder.path())).await;
        let alice = host.add_account(account(&service, "alice", "wonderland")).await.expect("an account");
        let contact = alice.add_contact(&bob, "Bob").await.expect("added");
        let group = alice.add_group("Friends").await.expect("added");
        alice.add_to_group(contact, group).await.expect("put in");
        let error = alice.publish(Availability::Away, "until Monday").await.expect_err("signed out");
        assert_eq!(error.code(), Code::NotLoggedOn, "and kept for the next sign-in");
        host.shutdown().await;
    }
    let host = host(Some(folder.path())).await;
    let alice = host.add_account(account(&service, "alice", "wonderland")).await.expect("an account");
    let snapshot = alice.snapshot();
    let id = snapshot.by_address.get(&bob).expect("Bob is on the list");
    let entry = snapshot.contacts.get(id).expect("Bob has an entry");
    assert_eq!(&*entry.contact.name, "Bob");
    assert_eq!(snapshot.groups.get(&entry.contact.groups[0]).map(|group| &*group.name), Some("Friends"));
    assert_eq!(alice.own_presence().availability, Some(Availability::Away));
    host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_can_be_removed_and_added_again() {
    let service = service();
    let host = host(None).await;
    let alice = signed_in(&host, &service, "alice", "wonderland").await;
    let again = host.add_account(account(&service, "alice", "wonderland")).await.expect_err("it is there");
    assert_eq!(again.code(), Code::AlreadyInList);
    host.remove_account(alice.address()).await.expect("removed");
    assert_eq!(alice.sign_in().await.expect_err("closed").code(), Code::Closed);
    let alice = signed_in(&host, &service, "alice", "wonderland").await;
    assert_eq!(alice.snapshot().session, SessionState::SignedIn);
    host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hosts_cannot_use_one_data_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = host(Some(folder.path())).await;
    let mut config = HostConfig::default();
    config.data_dir = Some(folder.path().to_owned());
    let error = Host::start(config.clone()).await.expect_err("in use");
    assert_eq!(error.code(), Code::Storage);
    assert!(error.to_string().contains(&folder.path().display().to_string()), "{error}");
    first.shutdown().await;
    Host::start(config).await.expect("free again").shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_does_not_wait_for_a_service_that_is_gone() {
    let service = service();
    let host = host(None).await;
    signed_in(&host, &service, "alice", "wonderland").await;
    service.shutdown().await;
    tokio::time::timeout(Duration::from_secs(10), host.shutdown()).await.expect("in a few seconds");
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_who_is_no_contact_is_watched_as_long_as_the_guard_is_held() {
    let service = service();
    let host = host(None).await;
    let alice = signed_in(&host, &service, "alice", "wonderland").await;
    let bob = signed_in(&host, &service, "bob", "builder").await;
    bob.publish(Availability::Busy, "in a review").await.expect("published");

    let mut watching = alice.watch(bob.address()).await.expect("a lease");
    let also = alice.watch(bob.address()).await.expect("another one");
    let busy = async {
        while watching.presence().availability != Some(Availability::Busy) {
            watching.changed().await.expect("it goes on");
        }
    };
    tokio::time::timeout(PATIENCE, busy).await.expect("in time");
    assert_eq!(watching.presence().freshness, Freshness::Live);
    assert_eq!(also.presence().availability, Some(Availability::Busy), "both leases hear of it");
    assert_eq!(alice.snapshot().contacts.size(), 0, "nobody came onto the list");
    assert_eq!(alice.snapshot().watched.get(bob.address()).map(|entry| entry.leases), Some(2));

    let mut changes = alice.view().changes;
    drop(also);
    drop(watching);
    // Nothing waits for the release, so what follows it in the queue is asked: then it has been done.
    alice.add_group("after").await.expect("added");
    let released = async {
        while alice.snapshot().watched.get(bob.address()).is_some() {
            changes.next().await.expect("it goes on");
        }
    };
    tokio::time::timeout(PATIENCE, released).await.expect("in time");
    host.shutdown().await;
}

// On one thread, so that the answer cannot come while it is asked for.
#[tokio::test]
async fn a_lease_that_nobody_waits_for_any_more_is_given_back() {
    let service = service();
    let host = host(None).await;
    let alice = host.add_account(account(&service, "alice", "wonderland")).await.expect("an account");
    let bob = address("sip:bob@example.com");
    let mut changes = alice.view().changes;
    let mut asked = Box::pin(alice.watch(&bob));
    // Asked for, and not looked at again: the answer lies there when whoever asked goes away.
    tokio::select! {
        biased;
        _ = &mut asked => unreachable!("nobody has answered"),
        () = core::future::ready(()) => {}
    }
    let leased = async {
        while alice.snapshot().watched.get(&bob).is_none() {
            changes.next().await.expect("it goes on");
        }
    };
    tokio::time::timeout(PATIENCE, leased).await.expect("in time");
    drop(asked);
    let released = async {
        // Nothing tells of the release but what happens after it.
        for n in 0.. {
            if alice.snapshot().watched.get(&bob).is_none() {
                break;
            }
            alice.add_group(&format!("group {n}")).await.expect("added");
        }
    };
    tokio::time::timeout(PATIENCE, released).await.expect("in time");
    host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_cannot_sign_in_is_not_left_behind() {
    let host = host(None).await;
    let telephone = address("tel:+12015550123");
    let config = AccountConfig::new(telephone.clone(), Secret::new("secret"));
    for _ in 0..2 {
        let error = host.add_account(config.clone()).await.expect_err("a telephone number does not sign in");
        assert_eq!(error.code(), Code::InvalidAddress);
        assert!(host.messenger(&telephone).is_none());
    }
    host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_removes_an_account_waits_until_it_has_ended() {
    let service = service();
    let host = host(None).await;
    let alice = signed_in(&host, &service, "alice", "wonderland").await;
    // Signing out takes its time now.
    service.shutdown().await;
    let mut changes = alice.view().changes;
    let one = async { host.remove_account(alice.address()).await.expect("removed") };
    let other = async {
        host.remove_account(alice.address()).await.expect("removed");
        let ended = async { while changes.next().await.is_some() {} };
        assert!(ended.now_or_never().is_some(), "it is still about to end");
    };
    tokio::join!(one, other);
    assert!(host.messenger(alice.address()).is_none());
    host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_ends_with_its_account() {
    let service = service();
    let host = host(None).await;
    let alice = host.add_account(account(&service, "alice", "wonderland")).await.expect("an account");
    let mut watching = alice.watch(&address("sip:bob@example.com")).await.expect("a lease, also signed out");
    host.remove_account(alice.address()).await.expect("removed");
    let ended = async { while watching.changed().await.is_some() {} };
    tokio::time::timeout(PATIENCE, ended).await.expect("in time");
    let error = alice.watch(&address("sip:bob@example.com")).await.expect_err("closed");
    assert_eq!(error.code(), Code::Closed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_touches_only_the_accounts_that_differ() {
    let service = service();
    let (alice, bob) = (account(&service, "alice", "wonderland"), account(&service, "bob", "builder"));
    let mut config = HostConfig::default();
    config.accounts = vec![alice.clone()];
    let host = Host::start(config.clone()).await.expect("the host starts");
    let before = host.messenger(&alice.address).expect("Alice");
    before.sign_in().await.expect("signed in");

    config.accounts = vec![alice.clone(), bob.clone()];
    let report = host.reload(config.clone()).await.expect("reloaded");
    assert_eq!((report.added, report.unchanged), (vec![bob.address.clone()], 1));
    assert_eq!(before.snapshot().session, SessionState::SignedIn, "Alice noticed nothing");

    config.accounts = vec![alice.clone().display_name("Alice")];
    let report = host.reload(config.clone()).await.expect("reloaded");
    assert_eq!((report.changed, report.removed), (vec![alice.address.clone()], vec![bob.address.clone()]));
    assert!(host.messenger(&bob.address).is_none());
    assert_eq!(&*host.messenger(&alice.address).expect("Alice").snapshot().display_name, "Alice");
    assert_eq!(before.sign_in().await.expect_err("the old handle").code(), Code::Closed);

    // What the application added by itself is not the configuration's.
    host.add_account(bob.clone()).await.expect("added");
    config.accounts.clear();
    config.data_dir = Some("elsewhere".into());
    let report = host.reload(config).await.expect("reloaded");
    assert_eq!((report.removed, report.needs_restart), (vec![alice.address], vec!["host.data-dir"]));
    assert!(host.messenger(&bob.address).is_some());
    host.shutdown().await;
}

struct People;

impl attache::Directory for People {
    fn search<'a>(
        &'a self,
        query: &'a str,
        _limit: usize,
    ) -> attache::BoxFuture<'a, Result<Vec<attache::DirectoryEntry>, attache::Error>> {
        let all = [("sip:carol@example.com", "Carol"), ("sip:caroline@example.com", "Caroline")];
        let found = all.iter().filter(|(_, name)| name.to_lowercase().contains(&query.to_lowercase()));
        let found = found.map(|(to, name)| attache::DirectoryEntry::new(address(to), *name)).collect();
        Box::pin(async move { Ok(found) })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn people_are_looked_up_in_the_directory_of_the_application() {
    let service = service();
    let mut config = HostConfig::default();
    config.accounts = vec![account(&service, "alice", "wonderland")];
    let without = Host::start(config.clone()).await.expect("the host starts");
    let alice = without.messenger(&address("sip:alice@example.com")).expect("Alice");
    assert_eq!(alice.search_directory("carol", 5).await.expect_err("none").code(), Code::NotFound);
    config.directory = Some(std::sync::Arc::new(People));
    let host = Host::start(config).await.expect("the host starts");
    let alice = host.messenger(&address("sip:alice@example.com")).expect("Alice");
    let found = alice.search_directory(" carol ", 1).await.expect("found");
    assert_eq!(found.iter().map(|entry| entry.name.as_str()).collect::<Vec<_>>(), ["Carol"]);
    assert!(alice.search_directory("  ", 5).await.expect("nobody").is_empty());
}
