//! RFC 3263 against a name server of the tests.

#![allow(clippy::unwrap_used, reason = "test code")]

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use attache_net::{DnsOptions, DnsResolver, MAX_ADDRESSES, Query, ResolveError, Resolver};
use attache_sip::transport::Transport;
use hickory_resolver::proto::op::{Message, OpCode, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA, NAPTR, SOA, SRV};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use tokio::net::UdpSocket;

/// What the server does about a name.
#[derive(Clone)]
enum Does {
    Answer(Vec<RData>),
    Fail,
    Ignore,
}

#[derive(Default)]
struct Zone {
    names: HashMap<(String, RecordType), Does>,
    asked: Mutex<Vec<(String, RecordType)>>,
}

impl Zone {
    fn with(mut self, name: &str, data: RData) -> Self {
        let key = (format!("{name}."), data.record_type());
        match self.names.entry(key).or_insert_with(|| Does::Answer(Vec::new())) {
            Does::Answer(all) => all.push(data),
            Does::Fail | Does::Ignore => {}
        }
        self
    }

    fn but(mut self, name: &str, kind: RecordType, does: Does) -> Self {
        self.names.insert((format!("{name}."), kind), does);
        self
    }

    fn a(self, name: &str, address: [u8; 4]) -> Self {
        self.with(name, RData::A(A(Ipv4Addr::from(address))))
    }

    fn srv(self, name: &str, priority: u16, weight: u16, port: u16, target: &str) -> Self {
        self.with(name, RData::SRV(SRV::new(priority, weight, port, Name::from_ascii(target).unwrap())))
    }

    fn naptr(self, name: &str, order: u16, flags: &str, service: &str, to: &str) -> Self {
        let (flags, service) = (flags.as_bytes().into(), service.as_bytes().into());
        let to = Name::from_ascii(to).unwrap();
        self.with(name, RData::NAPTR(NAPTR::new(order, 1, flags, service, Box::default(), to)))
    }

    fn times(&self, name: &str, kind: RecordType) -> usize {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|(one, of)| *one == format!("{name}.") && *of == kind).count()
    }

    /// Answers until the test ends, and gives a resolver that asks here.
    async fn serve(self) -> (Arc<Self>, DnsResolver) {
        self.serve_with(Duration::from_secs(10)).await
    }

    async fn serve_with(self, patience: Duration) -> (Arc<Self>, DnsResolver) {
        let zone = Arc::new(self);
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let at = socket.local_addr().unwrap();
        let answering = Arc::clone(&zone);
        tokio::spawn(async move {
            let mut buffer = [0; 4096];
            loop {
                let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
                if let Some(answer) = answering.answer(&buffer[..length]) {
                    socket.send_to(&answer, from).await.unwrap();
                }
            }
        });
        (zone, resolver(at, patience))
    }

    fn answer(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let question = Message::from_vec(bytes).unwrap();
        let query = question.queries[0].clone();
        let key = (query.name().to_lowercase().to_string(), query.query_type());
        self.asked.lock().unwrap().push(key.clone());
        let mut answer = Message::response(question.metadata.id, OpCode::Query);
        answer.add_query(query.clone());
        answer.metadata.recursion_available = true;
        match self.names.get(&key) {
            Some(Does::Ignore) => return None,
            Some(Does::Fail) => answer.metadata.response_code = ResponseCode::ServFail,
            Some(Does::Answer(all)) => {
                for data in all {
                    answer.add_answer(Record::from_rdata(query.name().clone(), 300, data.clone()));
                }
            }
            None => {
                answer.metadata.response_code = ResponseCode::NXDomain;
                let root = Name::root();
                let soa = SOA::new(root.clone(), root.clone(), 1, 3600, 3600, 3600, 300);
                answer.add_authority(Record::from_rdata(root, 300, RData::SOA(soa)));
            }
        }
        Some(answer.to_vec().unwrap())
    }
}

fn resolver(at: SocketAddr, patience: Duration) -> DnsResolver {
    let timeout = Duration::from_secs(60);
    let options =
        DnsOptions { name_servers: vec![at], patience, timeout, seed: Some(1), ..DnsOptions::default() };
    DnsResolver::new(options).unwrap()
}

fn query(host: &str) -> Query {
    Query { host: host.into(), port: None, transport: None, secure: false }
}

async fn found(resolver: &DnsResolver, query: Query) -> Vec<String> {
    let destinations = resolver.resolve(query).await.unwrap();
    destinations.iter().map(ToString::to_string).collect()
}

/// A domain with everything.
fn example() -> Zone {
    Zone::default()
        .naptr("example.com", 10, "s", "SIPS+D2T", "_sips._tcp.example.com.")
        .naptr("example.com", 20, "s", "SIP+D2U", "_sip._udp.example.com.")
        .srv("_sips._tcp.example.com", 2, 0, 5061, "second.example.com.")
        .srv("_sips._tcp.example.com", 1, 0, 5071, "first.example.com.")
        .srv("_sip._udp.example.com", 1, 0, 5080, "first.example.com.")
        .a("first.example.com", [127, 0, 0, 1])
        .with("first.example.com", RData::AAAA(AAAA("::1".parse().unwrap())))
        .a("second.example.com", [127, 0, 0, 2])
        .a("example.com", [127, 0, 0, 9])
}

#[tokio::test]
async fn a_domain_is_found_by_naptr_then_srv_then_address() {
    let (_, resolver) = example().serve().await;
    let mut found = found(&resolver, query("Example.com")).await;
    // Which family comes first depends on what this machine can reach.
    found[..2].sort();
    assert_eq!(found, ["tls:127.0.0.1:5071", "tls:[::1]:5071", "tls:127.0.0.2:5061"]);
}

#[tokio::test]
async fn a_transport_that_is_named_needs_no_naptr() {
    let (zone, resolver) = example().serve().await;
    let udp = Query { transport: Some(Transport::Udp), ..query("example.com") };
    let mut found = found(&resolver, udp).await;
    found.sort();
    assert_eq!(found, ["udp:127.0.0.1:5080", "udp:[::1]:5080"]);
    assert_eq!(zone.times("example.com", RecordType::NAPTR), 0);
}

#[tokio::test]
async fn a_port_that_is_named_needs_addresses_alone() {
    let (zone, resolver) = example().serve().await;
    assert_eq!(
        found(&resolver, Query { port: Some(5070), ..query("example.com") }).await,
        ["udp:127.0.0.9:5070"]
    );
    let tcp = Query { port: Some(5070), transport: Some(Transport::Tcp), ..query("example.com") };
    assert_eq!(found(&resolver, tcp).await, ["tcp:127.0.0.9:5070"]);
    let secure = Query { port: Some(5071), secure: true, ..query("example.com") };
    assert_eq!(found(&resolver, secure).await, ["tls:127.0.0.9:5071"]);
    let asked = zone.asked.lock().unwrap();
    assert!(asked.iter().all(|(_, kind)| matches!(kind, RecordType::A | RecordType::AAAA)), "{asked:?}");
}

#[tokio::test]
async fn an_address_needs_no_name_server() {
    let (zone, resolver) = Zone::default().serve().await;
    assert_eq!(found(&resolver, query("[::1]")).await, ["udp:[::1]:5060"]);
    assert_eq!(found(&resolver, Query { secure: true, ..query("192.0.2.1") }).await, ["tls:192.0.2.1:5061"]);
    assert!(zone.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn without_naptr_each_transport_is_asked_for_in_our_own_order() {
    let zone = Zone::default()
        .srv("_sip._udp.example.com", 1, 0, 5060, "host.example.com.")
        .srv("_sip._tcp.example.com", 1, 0, 5070, "host.example.com.")
        .a("host.example.com", [127, 0, 0, 1]);
    let (_, resolver) = zone.serve().await;
    assert_eq!(found(&resolver, query("example.com")).await, ["tcp:127.0.0.1:5070", "udp:127.0.0.1:5060"]);
}

#[tokio::test]
async fn without_srv_the_domain_itself_is_the_host() {
    let (_, resolver) = Zone::default().a("example.com", [127, 0, 0, 9]).serve().await;
    assert_eq!(found(&resolver, query("example.com")).await, ["udp:127.0.0.9:5060"]);
    assert_eq!(
        found(&resolver, Query { secure: true, ..query("example.com") }).await,
        ["tls:127.0.0.9:5061"]
    );
    let wss = Query { transport: Some(Transport::Wss), ..query("example.com") };
    assert_eq!(found(&resolver, wss).await, ["wss:127.0.0.9:443"]);
}

#[tokio::test]
async fn websocket_is_found_where_naptr_names_it_or_it_is_asked_for() {
    let zone = Zone::default()
        .naptr("example.com", 1, "s", "SIPS+D2W", "_sips._ws.example.com.")
        .srv("_sips._ws.example.com", 1, 0, 8443, "host.example.com.")
        .srv("_sip._ws.plain.example", 1, 0, 8080, "host.example.com.")
        .a("plain.example", [127, 0, 0, 3])
        .a("host.example.com", [127, 0, 0, 1]);
    let (_, resolver) = zone.serve().await;
    assert_eq!(found(&resolver, query("example.com")).await, ["wss:127.0.0.1:8443"]);
    let asked = Query { transport: Some(Transport::Ws), ..query("plain.example") };
    assert_eq!(found(&resolver, asked).await, ["ws:127.0.0.1:8080"]);
    assert_eq!(found(&resolver, query("plain.example")).await, ["udp:127.0.0.3:5060"]);
}

#[tokio::test]
async fn naptr_can_lead_to_addresses_directly() {
    let zone = Zone::default()
        .naptr("example.com", 1, "a", "SIP+D2T", "host.example.com.")
        .a("host.example.com", [127, 0, 0, 1]);
    let (_, resolver) = zone.serve().await;
    assert_eq!(found(&resolver, query("example.com")).await, ["tcp:127.0.0.1:5060"]);
}

#[tokio::test]
async fn sips_goes_over_encrypted_transports_only() {
    let zone = Zone::default()
        .naptr("example.com", 1, "s", "SIP+D2T", "_sip._tcp.example.com.")
        .naptr("example.com", 2, "s", "SIPS+D2T", "_sips._tcp.example.com.")
        .srv("_sips._tcp.example.com", 1, 0, 5061, "host.example.com.")
        .srv("_sip._tcp.example.com", 1, 0, 5060, "host.example.com.")
        .a("host.example.com", [127, 0, 0, 1]);
    let (_, resolver) = zone.serve().await;
    assert_eq!(
        found(&resolver, Query { secure: true, ..query("example.com") }).await,
        ["tls:127.0.0.1:5061"]
    );
}

#[tokio::test]
async fn a_service_that_is_refused_on_purpose_is_not_looked_for_elsewhere() {
    let zone = Zone::default()
        .srv("_sip._tcp.example.com", 0, 0, 0, ".")
        .srv("_sip._udp.example.com", 0, 0, 0, ".")
        .a("example.com", [127, 0, 0, 9]);
    let (_, resolver) = zone.serve().await;
    for transport in [None, Some(Transport::Tcp)] {
        let error = resolver.resolve(Query { transport, ..query("example.com") }).await.unwrap_err();
        assert_eq!(error, ResolveError::NotFound("example.com".into()));
    }
}

#[tokio::test]
async fn a_domain_that_does_not_exist_is_not_found_and_not_asked_for_again() {
    let (zone, resolver) = Zone::default().serve().await;
    for _ in 0..3 {
        let error = resolver.resolve(query("nowhere.example")).await.unwrap_err();
        assert_eq!(error, ResolveError::NotFound("nowhere.example".into()));
    }
    assert_eq!(zone.times("nowhere.example", RecordType::A), 1);
}

#[tokio::test]
async fn answers_are_kept_until_they_are_forgotten() {
    let (zone, resolver) = example().serve().await;
    for _ in 0..3 {
        found(&resolver, query("example.com")).await;
    }
    assert_eq!(zone.times("example.com", RecordType::NAPTR), 1);
    resolver.forget();
    found(&resolver, query("example.com")).await;
    assert_eq!(zone.times("example.com", RecordType::NAPTR), 2);
}

#[tokio::test]
async fn a_name_server_that_ignores_naptr_costs_its_patience_once() {
    let zone = Zone::default()
        .but("example.com", RecordType::NAPTR, Does::Ignore)
        .srv("_sip._udp.example.com", 1, 0, 5060, "host.example.com.")
        .a("host.example.com", [127, 0, 0, 1]);
    let (zone, resolver) = zone.serve_with(Duration::from_millis(300)).await;
    assert_eq!(found(&resolver, query("example.com")).await, ["udp:127.0.0.1:5060"]);
    let asked = zone.times("example.com", RecordType::NAPTR);
    assert!(asked > 0);
    assert_eq!(found(&resolver, query("example.com")).await, ["udp:127.0.0.1:5060"]);
    assert_eq!(zone.times("example.com", RecordType::NAPTR), asked);
}

#[tokio::test]
async fn a_transport_that_is_named_is_found_where_nobody_answers_about_srv() {
    let zone = Zone::default().a("example.com", [192, 0, 2, 7]).but(
        "_sip._tcp.example.com",
        RecordType::SRV,
        Does::Fail,
    );
    let (_zone, resolver) = zone.serve().await;
    let asked = Query { transport: Some(Transport::Tcp), ..query("example.com") };
    assert_eq!(found(&resolver, asked).await, ["tcp:192.0.2.7:5060"]);
}

#[tokio::test]
async fn an_offer_that_cannot_be_looked_up_is_not_replaced_by_a_weaker_one() {
    let zone = Zone::default()
        .naptr("example.com", 1, "s", "SIPS+D2T", "_sips._tcp.example.com.")
        .but("_sips._tcp.example.com", RecordType::SRV, Does::Fail)
        .srv("_sip._udp.example.com", 1, 1, 5060, "sip.example.com.")
        .a("sip.example.com", [192, 0, 2, 8])
        .a("example.com", [192, 0, 2, 7]);
    let (_zone, resolver) = zone.serve().await;
    let error = resolver.resolve(query("example.com")).await.unwrap_err();
    assert!(matches!(error, ResolveError::Failed(..)), "{error:?}");
}

#[tokio::test]
async fn a_name_server_that_fails_is_told_from_a_name_that_is_not_there() {
    let zone = Zone::default().but("example.com", RecordType::A, Does::Fail).but(
        "example.com",
        RecordType::AAAA,
        Does::Fail,
    );
    let (zone, resolver) = zone.serve().await;
    let port = || Query { port: Some(5060), ..query("example.com") };
    let error = resolver.resolve(port()).await.unwrap_err();
    assert!(matches!(&error, ResolveError::Failed(host, _) if host == "example.com"), "{error:?}");
    let asked = zone.times("example.com", RecordType::A);
    assert_eq!(resolver.resolve(port()).await.unwrap_err(), error, "and is not asked again at once");
    assert_eq!(zone.times("example.com", RecordType::A), asked);
}

#[tokio::test]
async fn one_server_that_cannot_be_found_does_not_hide_the_others() {
    let zone = Zone::default()
        .srv("_sip._tcp.example.com", 1, 0, 5060, "gone.example.com.")
        .srv("_sip._tcp.example.com", 2, 0, 5060, "failing.example.com.")
        .srv("_sip._tcp.example.com", 3, 0, 5060, "host.example.com.")
        .but("failing.example.com", RecordType::A, Does::Fail)
        .but("failing.example.com", RecordType::AAAA, Does::Fail)
        .a("host.example.com", [127, 0, 0, 1]);
    let (_, resolver) = zone.serve().await;
    let tcp = Query { transport: Some(Transport::Tcp), ..query("example.com") };
    assert_eq!(found(&resolver, tcp).await, ["tcp:127.0.0.1:5060"]);
}

#[tokio::test]
async fn a_long_answer_is_cut_and_doubles_are_left_out() {
    let mut zone = Zone::default();
    for number in 0..10 {
        zone = zone.a("example.com", [127, 0, 1, number]).a("example.com", [127, 0, 2, number]);
    }
    let zone = zone
        .srv("_sip._udp.twice.example", 1, 0, 5060, "host.example.")
        .srv("_sip._udp.twice.example", 2, 0, 5060, "host.example.")
        .a("host.example", [127, 0, 0, 1]);
    let (_, resolver) = zone.serve().await;
    let many = found(&resolver, Query { port: Some(5060), ..query("example.com") }).await;
    assert_eq!(many.len(), MAX_ADDRESSES);
    assert_eq!(found(&resolver, query("twice.example")).await, ["udp:127.0.0.1:5060"]);
}

#[tokio::test]
async fn servers_of_equal_priority_are_drawn_by_weight() {
    let zone = Zone::default()
        .srv("_sip._udp.example.com", 1, 900, 5001, "host.example.com.")
        .srv("_sip._udp.example.com", 1, 100, 5002, "host.example.com.")
        .a("host.example.com", [127, 0, 0, 1]);
    let (_, resolver) = zone.serve().await;
    let mut big = 0;
    for _ in 0..500 {
        big += u32::from(found(&resolver, query("example.com")).await[0] == "udp:127.0.0.1:5001");
    }
    assert!((400..500).contains(&big), "{big} of 500");
}

#[tokio::test]
async fn a_name_server_that_is_not_there_is_a_failure_within_the_time() {
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let options = DnsOptions {
        name_servers: vec![silent.local_addr().unwrap()],
        timeout: Duration::from_millis(300),
        ..DnsOptions::default()
    };
    let resolver = DnsResolver::new(options).unwrap();
    let error = resolver.resolve(query("example.com")).await.unwrap_err();
    assert_eq!(error, ResolveError::Timeout("example.com".into(), 0));
}

#[tokio::test]
async fn the_machine_itself_needs_no_name_server() {
    let (zone, resolver) = Zone::default().serve().await;
    let found = found(&resolver, query("localhost")).await;
    assert!(found.contains(&"udp:127.0.0.1:5060".to_owned()), "{found:?}");
    assert!(zone.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn names_that_cannot_be_asked_about_say_so() {
    let (_, resolver) = Zone::default().serve().await;
    for host in ["", "..", &"x".repeat(70), &"long.".repeat(60)] {
        let error = resolver.resolve(query(host)).await.unwrap_err();
        assert!(error.to_string().contains(host), "{error}");
    }
}
