//! Every transport and both families of addresses, over real sockets on the embedded service.

mod common;

use attache::{Availability, Code, EventKind, Freshness, Transport};
use common::{World, event, signed_in};

/// Two people who see each other and talk, each over a transport.
async fn meet(world: &World, one: Transport, other: Transport) {
    let host = world.host().await;
    let alice = signed_in(&host, world.account("alice", "wonderland", one)).await;
    let bob = signed_in(&host, world.account("bob", "builder", other)).await;
    let view = alice.view();
    alice.add_contact(bob.address(), "Bob").await.expect("added");
    bob.publish(Availability::Busy, "in a review").await.expect("published");
    let presence = event(view, |kind| match kind {
        EventKind::PresenceChanged(changes) => changes
            .iter()
            .find(|change| change.presence.availability == Some(Availability::Busy))
            .map(|change| change.presence.clone()),
        _ => None,
    })
    .await;
    assert_eq!((&*presence.note, &presence.freshness), ("in a review", &Freshness::Live));
    let view = alice.view();
    bob.deliver(alice.address(), "hello").await.expect("delivered");
    let text = event(view, |kind| match kind {
        EventKind::MessageReceived(message) => Some(message.content.text().to_owned()),
        _ => None,
    })
    .await;
    assert_eq!(text, "hello");
    let flows = alice.connection().flows.clone();
    assert!(flows.iter().any(|flow| flow.destination.transport == one), "{flows:?}");
    assert_eq!(flows[0].certificate.is_some(), one.is_secure());
    host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn people_meet_over_tls() {
    meet(&World::start(), Transport::Tls, Transport::Tls).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn people_meet_over_websocket_with_and_without_tls() {
    meet(&World::start(), Transport::Wss, Transport::Ws).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn people_meet_over_ipv6() {
    let world = World::with("::1", 2120, "");
    meet(&world, Transport::Udp, Transport::Tcp).await;
    meet(&world, Transport::Tls, Transport::Wss).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_of_an_authority_that_is_not_trusted_is_refused_with_a_sentence() {
    let world = World::start();
    let mut config = world.host_config();
    config.tls.roots = attache::Roots::File(world.file("other.pem"));
    let host = attache::Host::start(config).await.expect("the host starts");
    let account = world.account("alice", "wonderland", Transport::Tls);
    let alice = host.add_account(account.clone()).await.expect("an account");
    let error = alice.sign_in().await.expect_err("refused");
    let failures = alice.connection().failures.clone();
    assert!(failures.iter().any(|failure| failure.certificate.is_some()), "{error}: {failures:?}");
    assert!(failures[0].reason.contains("not trusted here"), "{}", failures[0].reason);
    host.remove_account(alice.address()).await.expect("removed");
    // What an account says for itself goes before what the host says.
    let own = account.tls(world.host_config().tls);
    signed_in(&host, own).await;
    host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn roots_of_an_account_are_read_again_on_reload() {
    let world = World::start();
    let roots = world.file("own.pem");
    let put = |name: &str| std::fs::copy(world.file(name), &roots).map(drop).expect("copied");
    put("other.pem");
    let mut config = world.host_config();
    let own = attache::TlsConfig { roots: attache::Roots::File(roots.clone()), identity: None };
    let account = world.account("alice", "wonderland", Transport::Tls).tls(own);
    config.accounts = vec![account.clone()];
    let host = attache::Host::start(config.clone()).await.expect("the host starts");
    let alice = host.messenger(&account.address).expect("Alice");
    alice.sign_in().await.expect_err("the service's authority is not trusted");

    put("root.pem");
    let report = host.reload(config.clone()).await.expect("reloaded");
    assert_eq!((report.unchanged, report.changed.len()), (1, 0), "the settings are the same");
    alice.sign_in().await.expect("it is trusted now");

    std::fs::write(&roots, "half a file").expect("written");
    let error = host.reload(config).await.expect_err("the file cannot be used");
    assert!(error.cause().is_some_and(|cause| cause.contains("own.pem")), "{error}");
    assert_eq!(alice.snapshot().session, attache::SessionState::SignedIn, "nothing has changed");
    host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_settings_that_cannot_be_used_are_refused_at_once() {
    let world = World::start();
    let mut config = world.host_config();
    config.tls.roots = attache::Roots::File(world.file("service.key"));
    let error = attache::Host::start(config).await.expect_err("no certificate in it");
    assert_eq!(error.code(), Code::InvalidArgument);
    assert!(error.cause().is_some_and(|cause| cause.contains("service.key")), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_has_a_flow_and_an_address_of_its_own() {
    let world = World::start();
    let host = world.host().await;
    let alice = signed_in(&host, world.account("alice", "wonderland", Transport::Tls)).await;
    common::until(&alice, "a flow and a GRUU", |alice| {
        let report = alice.report();
        report.outbound_flows > 0 && report.gruu.is_some()
    })
    .await;
    host.shutdown().await;
    let host = world.host().await;
    let account = {
        let mut account = world.account("alice", "wonderland", Transport::Tls);
        account.outbound = false;
        account
    };
    let alice = signed_in(&host, account).await;
    assert!(alice.report().outbound_flows <= 1, "no second flow is made");
    host.shutdown().await;
}
