//! Documents over real HTTP.

#![allow(clippy::unwrap_used, reason = "test code")]

mod common;
#[path = "../../net/tests/common/pki.rs"]
mod pki;

use std::sync::Arc;

use attache_net::{HttpClient, HttpClientOptions, SystemResolver, Tls};
use attache_service::{Service, ServiceConfig};
use bytes::Bytes;
use common::xcap::{Ask, LISTS, Xcap, header, text};
use http::{Method, Response};

const INDEX: &str = "/xcap-root/resource-lists/users/sip:alice@example.com/index";
const BODY: &str =
    "<resource-lists xmlns=\"urn:ietf:params:xml:ns:resource-lists\"><list name=\"a\"/></resource-lists>";

fn config(extra: &str) -> ServiceConfig {
    ServiceConfig::parse(&format!(
        r#"
        [service]
        listen = "127.0.0.1:0"
        xcap = ["127.0.0.1:0", "[::1]:0"]
        domains = ["example.com"]
        {extra}
        [[user]]
        name = "alice"
        password = "wonderland"
        "#
    ))
    .unwrap()
}

fn client(tls: Option<Tls>) -> HttpClient {
    HttpClient::new(HttpClientOptions::new(Arc::new(SystemResolver::default()), tls))
}

/// The answer to a request, after the challenge.
async fn ask(client: &HttpClient, root: &str, alice: &mut Xcap, ask: &Ask<'_>) -> Response<Bytes> {
    for _ in 0..2 {
        let (mut head, body) = alice.sign(ask.request()).into_parts();
        head.uri = format!("{root}{}", head.uri).parse().unwrap();
        let answer = client.request(http::Request::from_parts(head, body)).await.unwrap();
        if answer.status() != 401 {
            return answer;
        }
        alice.learn(&answer);
    }
    panic!("not let in")
}

#[tokio::test]
async fn documents_are_kept_over_http_on_both_families() {
    let service = Service::start(&config("")).unwrap();
    let client = client(None);
    let mut alice = Xcap::new("alice", "wonderland");
    for address in service.xcap_addrs().to_vec() {
        let root = format!("http://{address}");
        let put = ask(&client, &root, &mut alice, &Ask::new(Method::PUT, INDEX).body(LISTS, BODY)).await;
        assert!(put.status().is_success(), "{}", put.status());
        let node = format!("{INDEX}/~~/resource-lists/list%5B@name=%22a%22%5D");
        let got = ask(&client, &root, &mut alice, &Ask::new(Method::GET, node)).await;
        assert_eq!((text(&got), header(&got, "etag")), ("<list name=\"a\"/>".into(), header(&put, "etag")));
        let head = ask(&client, &root, &mut alice, &Ask::new(Method::HEAD, INDEX)).await;
        assert_eq!((head.status().as_u16(), head.body().len()), (200, 0));
    }
    assert_eq!(service.statistics().await.documents, 1);
    service.shutdown().await;
}

#[tokio::test]
async fn documents_on_disk_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(&format!("data-dir = {:?}", folder.path()));
    let service = Service::start(&config).unwrap();
    let client = client(None);
    let mut alice = Xcap::new("alice", "wonderland");
    let root = format!("http://{}", service.xcap_addrs()[0]);
    let put = ask(&client, &root, &mut alice, &Ask::new(Method::PUT, INDEX).body(LISTS, BODY)).await;
    assert_eq!(put.status(), 201);
    service.shutdown().await;

    let service = Service::start(&config).unwrap();
    let root = format!("http://{}", service.xcap_addrs()[0]);
    let got = ask(&client, &root, &mut alice, &Ask::new(Method::GET, INDEX)).await;
    assert_eq!((text(&got), header(&got, "etag")), (BODY.into(), header(&put, "etag")));
    let known = Ask::new(Method::PUT, INDEX).body(LISTS, BODY).header("if-none-match", "*");
    assert_eq!(ask(&client, &root, &mut alice, &known).await.status(), 412);
    service.shutdown().await;
}

#[tokio::test]
async fn documents_are_kept_over_https_where_there_is_a_certificate() {
    let authority = pki::Authority::new("The Tests' Authority");
    let (certificate, key) = authority.issue_pem(pki::naming(&["localhost"]));
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("certificate.pem"), certificate).unwrap();
    std::fs::write(folder.path().join("key.pem"), key).unwrap();
    let mut config = config("[service.tls]\ncertificate = \"certificate.pem\"\nkey = \"key.pem\"\n");
    config.base = folder.path().to_owned();
    let service = Service::start(&config).unwrap();
    let port = service.xcap_addrs()[0].port();
    let mut alice = Xcap::new("alice", "wonderland");
    let put = Ask::new(Method::PUT, INDEX).body(LISTS, BODY);
    let root = format!("https://localhost:{port}");
    assert_eq!(ask(&client(Some(authority.client())), &root, &mut alice, &put).await.status(), 201);
    let plain = http::Request::get(format!("http://localhost:{port}{INDEX}")).body(Bytes::new()).unwrap();
    assert!(client(None).request(plain).await.is_err(), "nobody asks in plain");
    service.shutdown().await;
}
