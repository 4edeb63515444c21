//! Two flows of one account (RFC 5626) over real sockets: what happens when the network takes one of them away.
//!
//! The service is found by name at two places. At each of them stands a relay of the test, which can cut what goes through
//! it, as a router does that forgets its connections.

mod common;

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex},
};

use attache::{AccountConfig, EventKind, HostConfig, Messenger, Secret, SessionState, Transport, View};
use common::{World, address, event, signed_in, until};
use hickory_resolver::proto::{
    op::{Message, OpCode, ResponseCode},
    rr::{
        Name, RData, Record, RecordType,
        rdata::{A, AAAA, SOA, SRV},
    },
};
use tokio::{
    net::{TcpListener, TcpStream, UdpSocket},
    sync::watch,
};

/// A place where the service seems to be.
struct Relay {
    at: SocketAddr,
    /// Counts the cuts.
    cuts: Arc<watch::Sender<u32>>,
}

impl Relay {
    async fn to(service: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
        let at = listener.local_addr().expect("its address");
        let cuts = Arc::new(watch::Sender::new(0));
        let cutting = cuts.clone();
        tokio::spawn(async move {
            while let Ok((mut inside, _)) = listener.accept().await {
                let mut cut = cutting.subscribe();
                tokio::spawn(async move {
                    let Ok(mut outside) = TcpStream::connect(service).await else { return };
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut inside, &mut outside) => {}
                        _ = cut.changed() => {}
                    }
                });
            }
        });
        Self { at, cuts }
    }

    /// Ends every connection that goes through.
    fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }
}

/// Where a name server says that the services of `example.com` are.
type Zone = Arc<Mutex<Vec<SocketAddr>>>;

/// A name server that says that, for a second at a time, and knows nothing else.
async fn name_server(service: &'static str, zone: Zone) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    let at = socket.local_addr().expect("its address");
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            let Ok(question) = Message::from_vec(&buffer[..length]) else { continue };
            let query = question.queries[0].clone();
            let mut answer = Message::response(question.metadata.id, OpCode::Query);
            answer.add_query(query.clone());
            let name = query.name().to_lowercase().to_string();
            let mut add = |data| {
                answer.add_answer(Record::from_rdata(query.name().clone(), 1, data));
            };
            match query.query_type() {
                RecordType::SRV if name == service => {
                    for (priority, place) in (1..).zip(zone.lock().expect("not poisoned").iter()) {
                        let host = if place.is_ipv4() { "four.example.com." } else { "six.example.com." };
                        let host = Name::from_ascii(host).expect("a name");
                        add(RData::SRV(SRV::new(priority, 1, place.port(), host)));
                    }
                }
                RecordType::A if name == "four.example.com." => add(RData::A(A(Ipv4Addr::LOCALHOST))),
                RecordType::AAAA if name == "six.example.com." => add(RData::AAAA(AAAA(Ipv6Addr::LOCALHOST))),
                _ => {
                    answer.metadata.response_code = ResponseCode::NXDomain;
                    let root = Name::root();
                    let soa = SOA::new(root.clone(), root.clone(), 1, 3600, 3600, 3600, 1);
                    answer.add_authority(Record::from_rdata(root, 1, RData::SOA(soa)));
                }
            }
            let answer = answer.to_vec().expect("it can be written");
            let _ = socket.send_to(&answer, from).await;
        }
    });
    at
}

async fn arrives(view: View, text: &str) {
    event(view, |kind| match kind {
        EventKind::MessageReceived(message) if message.content.text() == text => Some(()),
        _ => None,
    })
    .await;
}

async fn both_flows(alice: &Messenger) {
    until(alice, "two flows", |alice| alice.report().outbound_flows == 2).await;
}

/// Cuts one, and waits until it is known to be gone.
async fn cut(alice: &Messenger, relay: &Relay) {
    let view = alice.view();
    relay.cut();
    event(view, |kind| match kind {
        EventKind::ReportChanged(report) if report.outbound_flows == 1 => Some(()),
        _ => None,
    })
    .await;
}

async fn one_flow_is_lost(transport: Transport, service: &'static str) {
    let world = World::start();
    let listens = world.service.local_addrs().iter();
    let (_, at) = *listens.clone().find(|(it, _)| *it == transport).expect("it listens so");
    let (first, second) = (Relay::to(at).await, Relay::to(at).await);
    let mut config: HostConfig = world.host_config();
    config.name_servers = vec![name_server(service, Arc::new(Mutex::new(vec![first.at, second.at]))).await];
    let host = attache::Host::start(config).await.expect("the host starts");
    let mut account = AccountConfig::new(address("sip:alice@example.com"), Secret::new("wonderland"));
    account.sign_in = false;
    let alice = signed_in(&host, account).await;
    both_flows(&alice).await;
    let other = world.host().await;
    let bob = signed_in(&other, world.account("bob", "builder", Transport::Udp)).await;

    let mut session = alice.view().changes;
    let view = alice.view();
    bob.deliver(alice.address(), "over either").await.expect("delivered");
    arrives(view, "over either").await;

    cut(&alice, &first).await;
    let view = alice.view();
    bob.deliver(alice.address(), "over what is left").await.expect("delivered");
    arrives(view, "over what is left").await;
    alice.deliver(bob.address(), "and back").await.expect("delivered");

    // It is made anew by itself; then the other one can go.
    both_flows(&alice).await;
    cut(&alice, &second).await;
    let view = alice.view();
    bob.deliver(alice.address(), "over the new one").await.expect("delivered");
    arrives(view, "over the new one").await;

    assert_eq!(alice.snapshot().session, SessionState::SignedIn);
    let last = alice.snapshot().seq;
    while let Some(attache::Change::Event(change)) = session.next().await {
        assert!(!matches!(change.kind, EventKind::SessionChanged { .. }), "nobody noticed: {change:?}");
        if change.seq >= last {
            break;
        }
    }
    other.shutdown().await;
    host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_connection_costs_no_message_and_is_made_anew_over_tcp() {
    one_flow_is_lost(Transport::Tcp, "_sip._tcp.example.com.").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_connection_costs_no_message_and_is_made_anew_over_tls() {
    one_flow_is_lost(Transport::Tls, "_sips._tcp.example.com.").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_address_of_this_machine_is_taken_when_the_way_to_the_service_changes() {
    let (before, after) = (World::start(), World::with("::1", 2120, ""));
    let place = |world: &World| {
        let listens = world.service.local_addrs().iter();
        listens.clone().find(|(it, _)| *it == Transport::Tcp).expect("it listens so").1
    };
    let zone = Arc::new(Mutex::new(vec![place(&before)]));
    let mut config = HostConfig::default();
    config.name_servers = vec![name_server("_sip._tcp.example.com.", zone.clone()).await];
    let host = attache::Host::start(config).await.expect("the host starts");
    let mut account = AccountConfig::new(address("sip:alice@example.com"), Secret::new("wonderland"));
    account.sign_in = false;
    let alice = signed_in(&host, account).await;

    // The service moves to where another address of this machine leads.
    *zone.lock().expect("not poisoned") = vec![place(&after)];
    before.service.shutdown().await;
    let other = after.host().await;
    let bob = signed_in(&other, after.account("bob", "builder", Transport::Tcp)).await;
    let view = bob.view();
    alice.send(bob.address(), "from my new address").await.expect("accepted");
    arrives(view, "from my new address").await;
    // What the service keeps is where this machine is now.
    until(&alice, "registered at the new address", |alice| {
        let devices = alice.snapshot().devices.clone();
        alice.snapshot().session == SessionState::SignedIn
            && devices.iter().any(|device| device.this && device.uri.contains("@[::1]:"))
    })
    .await;
    let view = alice.view();
    bob.deliver(alice.address(), "to your new address").await.expect("delivered");
    arrives(view, "to your new address").await;
    other.shutdown().await;
    host.shutdown().await;
}
