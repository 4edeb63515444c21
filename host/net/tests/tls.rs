//! TLS: who is believed, and what is said to those who are not (RFC 5922, RFC 5923, RFC 8996).

#![allow(clippy::unwrap_used, reason = "test code")]

mod common;
#[path = "common/pki.rs"]
mod pki;

use std::net::SocketAddr;
use std::time::Duration;

use attache_net::{
    BindOptions, CertificateProblem, CertificateSummary, FlowError, Identity, Limits, Roots, Sockets, Tls,
    TlsError, TlsOptions,
};
use attache_sip::transport::{Destination, Flow, Transmit, Transport};
use bytes::Bytes;
use common::{PATIENCE, address, failed, message, received, while_running};
use pki::{Authority, naming};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, date_time_ymd};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

fn accepting(at: &str, tls: Tls, limits: Limits) -> Sockets {
    let tls_addresses = vec![at.parse().unwrap()];
    Sockets::bind(BindOptions { tls_addresses, tls: Some(tls), limits, ..BindOptions::default() }).unwrap()
}

fn server(tls: Tls) -> Sockets {
    accepting("127.0.0.1:0", tls, Limits::default())
}

fn client(tls: Tls) -> Sockets {
    Sockets::bind(BindOptions { tls: Some(tls), ..BindOptions::default() }).unwrap()
}

fn to(remote: SocketAddr, domain: Option<&str>, payload: Bytes) -> Transmit {
    let destination = Destination { transport: Transport::Tls, remote };
    Transmit { destination, flow: None, domain: domain.map(Into::into), payload }
}

/// Sends to the server as `domain`, and gives what came out.
async fn attempt(
    client: &mut Sockets,
    server: &mut Sockets,
    domain: Option<&str>,
) -> Result<Flow, FlowError> {
    let remote = address(server, Transport::Tls);
    client.send(to(remote, domain, message("x", "")));
    let outcome = async {
        tokio::select! {
            (flow, bytes) = received(server) => {
                assert_eq!(bytes, message("x", ""));
                Ok(flow)
            }
            (_, _, reason) = failed(client) => Err(reason),
        }
    };
    timeout(2 * PATIENCE, outcome).await.expect("it works or fails in time")
}

/// What comes of asking for `domain` at a server with this certificate.
async fn asked(params: CertificateParams, domain: Option<&str>) -> Result<(), String> {
    let authority = Authority::new("The Tests' Authority");
    let mut server = server(authority.server(params));
    let mut client = client(authority.client());
    attempt(&mut client, &mut server, domain).await.map(|_| ()).map_err(|reason| reason.to_string())
}

#[tokio::test]
async fn messages_arrive_over_tls_in_both_directions_on_both_families() {
    let authority = Authority::new("a");
    for at in ["127.0.0.1:0", "[::1]:0"] {
        let mut server = accepting(at, authority.server_for(&["sip:example.com"]), Limits::default());
        let mut client = client(authority.client());
        let remote = address(&server, Transport::Tls);
        for number in 0..50 {
            client.send(to(remote, Some("example.com"), message(&number.to_string(), &"body ".repeat(200))));
        }
        let mut last = None;
        for number in 0..50 {
            let (flow, bytes) = while_running(&mut client, received(&mut server)).await;
            assert_eq!(bytes, message(&number.to_string(), &"body ".repeat(200)));
            last = Some(flow);
        }
        let flow = last.unwrap();
        assert_eq!(flow.transport, Transport::Tls);
        let payload = message("answer", "");
        server.send(Transmit {
            destination: flow.back(),
            flow: Some(flow.id),
            domain: None,
            payload: payload.clone(),
        });
        assert_eq!(while_running(&mut server, received(&mut client)).await.1, payload);
        assert_eq!((client.connection_count(), server.connection_count()), (1, 1));
    }
}

#[tokio::test]
async fn a_sip_uri_in_the_certificate_names_the_domain() {
    assert_eq!(asked(naming(&["sip:example.com"]), Some("EXAMPLE.com")).await, Ok(()));
}

#[tokio::test]
async fn a_host_name_counts_where_there_is_no_sip_uri() {
    assert_eq!(asked(naming(&["example.com"]), Some("example.com")).await, Ok(()));
    assert_eq!(asked(naming(&["https://example.org", "example.com"]), Some("example.com")).await, Ok(()));
}

#[tokio::test]
async fn a_host_name_does_not_count_beside_a_sip_uri() {
    let told = asked(naming(&["sip:example.org", "example.com"]), Some("example.com")).await.unwrap_err();
    assert!(told.contains("is for sip:example.org, example.com, not for example.com"), "{told}");
}

#[tokio::test]
async fn a_sip_uri_of_a_user_names_no_domain() {
    assert!(asked(naming(&["sip:alice@example.com"]), Some("example.com")).await.is_err());
}

#[tokio::test]
async fn a_wildcard_matches_nothing() {
    for domain in ["sip.example.com", "*.example.com"] {
        assert!(asked(naming(&["*.example.com"]), Some(domain)).await.is_err(), "{domain}");
    }
}

#[tokio::test]
async fn a_common_name_is_not_looked_at() {
    let mut params = naming(&[]);
    params.distinguished_name.push(rcgen::DnType::CommonName, "example.com");
    let told = asked(params, Some("example.com")).await.unwrap_err();
    assert!(told.contains("names nobody in its subjectAltName"), "{told}");
}

#[tokio::test]
async fn without_a_domain_the_certificate_must_name_the_address() {
    assert_eq!(asked(naming(&["127.0.0.1"]), None).await, Ok(()));
    assert_eq!(asked(naming(&["127.0.0.1"]), Some("127.0.0.1")).await, Ok(()));
    let told = asked(naming(&["example.com"]), None).await.unwrap_err();
    assert!(told.contains("is for example.com, not for 127.0.0.1"), "{told}");
}

#[tokio::test]
async fn an_expired_certificate_is_refused_with_its_date() {
    let mut params = naming(&["example.com"]);
    params.not_after = date_time_ymd(2024, 2, 29);
    let told = asked(params, Some("example.com")).await.unwrap_err();
    assert!(
        told.starts_with("the certificate expired on 2024-02-29 00:00 UTC, and this machine's clock says 2"),
        "{told}"
    );
}

#[tokio::test]
async fn a_certificate_of_the_future_is_refused_and_the_clock_named() {
    let mut params = naming(&["example.com"]);
    params.not_before = date_time_ymd(2119, 1, 1);
    let told = asked(params, Some("example.com")).await.unwrap_err();
    assert!(told.starts_with("the certificate is not valid before 2119-01-01 00:00 UTC"), "{told}");
    assert!(told.contains("set the clock"), "{told}");
}

#[tokio::test]
async fn an_unknown_authority_is_refused_by_name() {
    let (theirs, ours) = (Authority::new("Somebody Else"), Authority::new("ours"));
    let mut server = server(theirs.server_for(&["example.com"]));
    let mut client = client(ours.client());
    let reason = attempt(&mut client, &mut server, Some("example.com")).await.unwrap_err();
    let FlowError::Certificate(CertificateProblem::UnknownIssuer { issuer, is_self_issued: false }) = &reason
    else {
        panic!("{reason:?}");
    };
    assert!(issuer.contains("CN=Somebody Else"), "{issuer}");
}

#[tokio::test]
async fn a_certificate_that_vouches_for_itself_must_be_a_root() {
    let key = rcgen::KeyPair::generate().unwrap();
    let der = naming(&["sip:example.com"]).self_signed(&key).unwrap().der().to_vec();
    let identity = Identity::Der { chain: vec![der.clone()], key: key.serialize_der() };
    let of = |roots, identity| Tls::new(&TlsOptions { roots, identity }).unwrap();
    let mut server = server(of(Roots::Only(Vec::new()), Some(identity)));
    let mut stranger = client(Authority::new("other").client());
    let told = attempt(&mut stranger, &mut server, Some("example.com")).await.unwrap_err().to_string();
    assert!(told.contains("signed by itself"), "{told}");
    let mut friend = client(of(Roots::Only(vec![der]), None));
    assert!(attempt(&mut friend, &mut server, Some("example.com")).await.is_ok());
}

#[tokio::test]
async fn a_certificate_for_another_purpose_is_refused() {
    let mut params = naming(&["example.com"]);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::EmailProtection];
    assert!(asked(params, Some("example.com")).await.unwrap_err().contains("not issued for a server"));
}

#[tokio::test]
async fn a_certificate_for_sip_domains_is_for_servers() {
    let mut params = naming(&["sip:example.com"]);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Other(vec![1, 3, 6, 1, 5, 5, 7, 3, 20])];
    assert_eq!(asked(params, Some("example.com")).await, Ok(()));
}

#[tokio::test]
async fn the_peers_certificate_can_be_looked_at() {
    let authority = Authority::new("The Authority");
    let mut server = server(authority.server_for(&["sip:example.com", "example.com", "127.0.0.1"]));
    let mut client = client(authority.client());
    let flow = attempt(&mut client, &mut server, Some("example.com")).await.unwrap();
    let payload = message("back", "");
    server.send(Transmit { destination: flow.back(), flow: Some(flow.id), domain: None, payload });
    let (mine, _) = while_running(&mut server, received(&mut client)).await;
    let shown = client.peer_certificate(mine.id).unwrap();
    assert_eq!(shown.issuer, "CN=The Authority");
    assert_eq!(shown.names(), ["sip:example.com", "example.com", "127.0.0.1"]);
    assert!(
        shown.to_string().ends_with("issued by CN=The Authority, valid until 2120-01-01 00:00 UTC"),
        "{shown}"
    );
    assert_eq!(server.peer_certificate(flow.id), None, "a client shows none");
}

#[tokio::test]
async fn a_connection_is_reused_for_the_domain_that_it_was_opened_for_only() {
    let authority = Authority::new("a");
    let mut server = server(authority.server_for(&["sip:one.example", "sip:two.example"]));
    let mut client = client(authority.client());
    let first = attempt(&mut client, &mut server, Some("one.example")).await.unwrap();
    let again = attempt(&mut client, &mut server, Some("One.Example")).await.unwrap();
    assert_eq!(again.id, first.id);
    let other = attempt(&mut client, &mut server, Some("two.example")).await.unwrap();
    assert_ne!(other.id, first.id);
    let third = attempt(&mut client, &mut server, Some("three.example")).await;
    assert!(matches!(third, Err(FlowError::Certificate(_))), "{third:?}");
}

#[tokio::test]
async fn a_flow_that_is_named_carries_nothing_for_another_domain() {
    let authority = Authority::new("a");
    let mut server = server(authority.server_for(&["sip:one.example", "sip:two.example"]));
    let mut client = client(authority.client());
    let theirs = attempt(&mut client, &mut server, Some("one.example")).await.unwrap();
    server.send(Transmit {
        destination: theirs.back(),
        flow: Some(theirs.id),
        domain: None,
        payload: message("b", ""),
    });
    let (mine, _) = while_running(&mut server, received(&mut client)).await;
    let mut transmit = to(address(&server, Transport::Tls), Some("two.example"), message("c", ""));
    transmit.flow = Some(mine.id);
    client.send(transmit);
    let (flow, _) = while_running(&mut client, received(&mut server)).await;
    assert_ne!(flow.id, theirs.id);
}

#[tokio::test]
async fn an_answer_to_a_connection_that_is_gone_opens_none_and_fails_nothing() {
    let authority = Authority::new("a");
    let mut server = server(authority.server_for(&["sip:example.com"]));
    let mut client = client(authority.client());
    let flow = attempt(&mut client, &mut server, Some("example.com")).await.unwrap();
    drop(client);
    assert_eq!(failed(&mut server).await.1, Some(flow.id));
    let payload = Bytes::from_static(b"SIP/2.0 200 OK\r\n\r\n");
    server.send(Transmit { destination: flow.back(), flow: Some(flow.id), domain: None, payload });
    assert_eq!(server.connection_count(), 0);
    assert!(server.try_recv().is_none());
}

#[tokio::test]
async fn a_connection_that_a_peer_opened_carries_only_what_names_it() {
    let authority = Authority::new("a");
    let mut server = server(authority.server_for(&["sip:example.com"]));
    let mut client = client(authority.client());
    let flow = attempt(&mut client, &mut server, Some("example.com")).await.unwrap();
    let request = Transmit {
        destination: flow.back(),
        flow: Some(flow.id),
        domain: None,
        payload: message("named", ""),
    };
    server.send(Transmit { flow: None, payload: message("secret", ""), ..request.clone() });
    server.send(request);
    assert_eq!(while_running(&mut server, received(&mut client)).await.1, message("named", ""));
}

#[tokio::test]
async fn tls_needs_to_be_set_up() {
    let mut bare = Sockets::bind(BindOptions::default()).unwrap();
    bare.send(to("127.0.0.1:1".parse().unwrap(), None, message("x", "")));
    assert_eq!(failed(&mut bare).await.2, FlowError::Unsupported("TLS"));
    let tls_addresses = vec!["127.0.0.1:0".parse().unwrap()];
    let error = Sockets::bind(BindOptions { tls_addresses, ..BindOptions::default() }).unwrap_err();
    assert!(error.to_string().contains("certificate"), "{error}");
}

/// The record of a ClientHello that offers nothing newer than TLS 1.1.
fn hello_of_tls_1_1() -> Vec<u8> {
    let mut hello = vec![3, 2];
    hello.extend([7; 32]);
    // No session; one cipher suite of old (TLS_RSA_WITH_AES_128_CBC_SHA); no compression.
    hello.extend([0, 0, 2, 0, 0x2f, 1, 0]);
    let mut record = vec![22, 3, 1, 0, hello.len() as u8 + 4, 1, 0, 0, hello.len() as u8];
    record.extend(hello);
    record
}

#[tokio::test]
async fn a_client_that_knows_only_tls_1_1_is_turned_away() {
    let authority = Authority::new("a");
    let mut server = server(authority.server_for(&["example.com"]));
    let mut old = TcpStream::connect(address(&server, Transport::Tls)).await.unwrap();
    old.write_all(&hello_of_tls_1_1()).await.unwrap();
    let mut answer = Vec::new();
    while_running(&mut server, old.read_to_end(&mut answer)).await.unwrap();
    assert_eq!(answer[..1], [21], "an alert and nothing else");
    assert!(matches!(answer[5..], [2, 40 | 70]), "fatal, handshake_failure or protocol_version: {answer:?}");
}

#[tokio::test]
async fn a_server_that_knows_only_tls_1_1_is_not_believed() {
    let old = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = client(Authority::new("a").client());
    client.send(to(old.local_addr().unwrap(), Some("example.com"), message("x", "")));
    let (mut stream, _) = while_running(&mut client, old.accept()).await.unwrap();
    let mut hello = vec![3, 2];
    hello.extend([7; 32]);
    hello.extend([0, 0, 0x2f, 0]);
    let mut record = vec![22, 3, 2, 0, hello.len() as u8 + 4, 2, 0, 0, hello.len() as u8];
    record.extend(hello);
    stream.write_all(&record).await.unwrap();
    let told = failed(&mut client).await.2.to_string();
    assert!(told.contains("TLS 1.2 is the least"), "{told}");
}

#[tokio::test]
async fn a_peer_that_speaks_no_tls_is_told_from_one_that_does() {
    let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = client(Authority::new("a").client());
    client.send(to(plain.local_addr().unwrap(), Some("example.com"), message("x", "")));
    let (mut stream, _) = while_running(&mut client, plain.accept()).await.unwrap();
    stream.write_all(b"SIP/2.0 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await.unwrap();
    let told = failed(&mut client).await.2.to_string();
    assert!(told.contains("does not speak TLS"), "{told}");
}

#[tokio::test]
async fn a_stranger_that_never_finishes_its_handshake_is_shown_out() {
    let authority = Authority::new("a");
    let limits = Limits { handshake_timeout: Duration::from_millis(300), ..Limits::default() };
    let mut server = accepting("127.0.0.1:0", authority.server_for(&["example.com"]), limits);
    let mut stranger = TcpStream::connect(address(&server, Transport::Tls)).await.unwrap();
    stranger.write_all(&hello_of_tls_1_1()[..9]).await.unwrap();
    let mut rest = Vec::new();
    while_running(&mut server, stranger.read_to_end(&mut rest)).await.unwrap();
    while_running(&mut server, async { tokio::task::yield_now().await }).await;
    assert!(rest.is_empty());
}

#[tokio::test]
async fn handshakes_under_way_are_bounded_and_finished_ones_are_not_counted() {
    let authority = Authority::new("a");
    let limits = Limits { max_handshakes: 1, ..Limits::default() };
    let mut server = accepting("127.0.0.1:0", authority.server_for(&["example.com"]), limits);
    let at = address(&server, Transport::Tls);
    let mut finished = [client(authority.client()), client(authority.client())];
    for client in &mut finished {
        assert!(attempt(client, &mut server, Some("example.com")).await.is_ok());
    }
    let _dawdler = TcpStream::connect(at).await.unwrap();
    let mut refused = TcpStream::connect(at).await.unwrap();
    let mut rest = Vec::new();
    let _ = while_running(&mut server, refused.read_to_end(&mut rest)).await;
    assert!(rest.is_empty());
}

#[tokio::test]
async fn certificate_key_and_roots_are_read_from_files() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("a");
    let (certificate, key) = authority.issue_pem(naming(&["sip:example.com"]));
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("certificate.pem"), certificate).unwrap();
    std::fs::write(at("key.pem"), key).unwrap();
    let identity = Identity::Files { certificate: at("certificate.pem"), key: at("key.pem") };
    let options = TlsOptions { roots: Roots::File(at("certificate.pem")), identity: Some(identity) };
    let tls = Tls::new(&options).unwrap();
    assert_eq!(tls.own_certificate().unwrap().uri_names, ["sip:example.com"]);
    let mut server = server(tls);
    let mut client = client(authority.client());
    assert!(attempt(&mut client, &mut server, Some("example.com")).await.is_ok());

    let refused =
        |identity| Tls::new(&TlsOptions { roots: Roots::default(), identity: Some(identity) }).unwrap_err();
    let swapped = refused(Identity::Files { certificate: at("key.pem"), key: at("certificate.pem") });
    assert!(matches!(&swapped, TlsError::Pem { what: "certificate", .. }), "{swapped}");
    let missing = refused(Identity::Files { certificate: at("none.pem"), key: at("key.pem") });
    assert!(missing.to_string().contains("none.pem"), "{missing}");
    let (_, other) = authority.issue_pem(naming(&["sip:example.com"]));
    std::fs::write(at("other.pem"), other).unwrap();
    let foreign = refused(Identity::Files { certificate: at("certificate.pem"), key: at("other.pem") });
    assert!(matches!(&foreign, TlsError::Identity(_)), "{foreign}");
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("a");
    let at = |name: &str| folder.path().join(name);
    let put = |names: &[&str]| {
        let (certificate, key) = authority.issue_pem(naming(names));
        std::fs::write(at("certificate.pem"), certificate).unwrap();
        std::fs::write(at("key.pem"), key).unwrap();
    };
    put(&["sip:old.example"]);
    let identity = Identity::Files { certificate: at("certificate.pem"), key: at("key.pem") };
    let tls = Tls::new(&TlsOptions { roots: authority.roots(), identity: Some(identity) }).unwrap();
    let mut server = server(tls.clone());
    let mut client = client(authority.client());
    assert!(attempt(&mut client, &mut server, Some("old.example")).await.is_ok());

    put(&["sip:new.example"]);
    tls.reload().unwrap();
    assert_eq!(tls.own_certificate().unwrap().uri_names, ["sip:new.example"]);
    assert!(attempt(&mut client, &mut server, Some("new.example")).await.is_ok());

    std::fs::write(at("key.pem"), "half a file").unwrap();
    assert!(tls.reload().is_err());
    assert_eq!(tls.own_certificate().unwrap().uri_names, ["sip:new.example"], "the old one stays");
}

#[tokio::test]
async fn renewed_roots_count_for_the_connections_that_follow() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (Authority::new("first"), Authority::new("second"));
    let file = folder.path().join("roots.pem");
    std::fs::write(&file, first.root_pem()).unwrap();
    let tls = Tls::new(&TlsOptions { roots: Roots::File(file.clone()), identity: None }).unwrap();
    let mut one = server(first.server_for(&["sip:example.com"]));
    let mut two = server(second.server_for(&["sip:example.com"]));
    // Kept to the end: a server must not be told of one that has gone.
    let mut clients = Vec::new();
    let mut attempt = async |server: &mut Sockets| {
        let mut client = client(tls.clone());
        let outcome = attempt(&mut client, server, Some("example.com")).await;
        clients.push(client);
        outcome
    };
    assert!(attempt(&mut one).await.is_ok());
    assert!(attempt(&mut two).await.is_err());

    std::fs::write(&file, second.root_pem()).unwrap();
    tls.reload().unwrap();
    // Not even a session of before is resumed: nobody would look at the certificate.
    assert!(attempt(&mut one).await.is_err());
    assert!(attempt(&mut two).await.is_ok());

    std::fs::write(&file, "half a file").unwrap();
    assert!(tls.reload().is_err());
    assert!(attempt(&mut two).await.is_ok(), "the roots of before stay");
}

#[tokio::test]
async fn a_certificate_that_is_refused_can_be_looked_at_too() {
    let authority = Authority::new("The Authority");
    let mut server = server(authority.server_for(&["sip:other.example"]));
    let destination = Destination { transport: Transport::Tls, remote: address(&server, Transport::Tls) };
    let tls = authority.client();
    let look =
        async |server: &mut Sockets, domain| while_running(server, tls.inspect(destination, domain)).await;
    let good = look(&mut server, Some("other.example")).await;
    assert_eq!((good.outcome, good.version), (Ok(()), Some("TLS 1.3")));
    assert_eq!(good.certificate.unwrap().issuer, "CN=The Authority");
    let bad = look(&mut server, Some("example.com")).await;
    assert!(matches!(bad.outcome, Err(FlowError::Certificate(CertificateProblem::WrongName { .. }))));
    assert_eq!(bad.certificate.unwrap().uri_names, ["sip:other.example"]);
}

#[test]
fn a_certificate_that_is_cut_or_garbled_breaks_nothing() {
    let Identity::Der { chain, .. } =
        Authority::new("a").issue(naming(&["sip:example.com", "example.com", "::1"]))
    else {
        unreachable!("it is issued in DER");
    };
    let whole = &chain[0];
    assert_eq!(CertificateSummary::read(whole).unwrap().names(), ["sip:example.com", "example.com", "::1"]);
    for length in 0..whole.len() {
        assert_eq!(CertificateSummary::read(&whole[..length]), None);
    }
    for index in 0..whole.len() {
        for bit in [1, 0x20, 0x80] {
            let mut garbled = whole.clone();
            garbled[index] ^= bit;
            let _ = CertificateSummary::read(&garbled);
        }
    }
}

#[test]
fn debug_output_shows_no_key() {
    let identity = Identity::Der { chain: Vec::new(), key: vec![201, 202, 203] };
    let options = TlsOptions { roots: Roots::default(), identity: Some(identity) };
    assert!(!format!("{options:?}").contains("202"));
}
