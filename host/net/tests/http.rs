//! HTTP: what is asked, what is served, and what neither side can be made to hold.

#![allow(clippy::unwrap_used, reason = "test code")]

#[path = "common/pki.rs"]
mod pki;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use attache_net::{
    FlowError, HttpClient, HttpClientOptions, HttpError, HttpExchange, HttpLimits, HttpListener, HttpOptions,
    SystemResolver, Tls,
};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use pki::Authority;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio::time::timeout;

/// Far more than anything here takes; so that a broken test fails instead of hanging.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server that answers by `answer` until it is dropped.
struct Running(SocketAddr, AbortHandle);

impl Drop for Running {
    fn drop(&mut self) {
        self.1.abort();
    }
}

fn listener(at: &str, tls: Option<Tls>, limits: HttpLimits) -> HttpListener {
    HttpListener::bind(HttpOptions { addresses: vec![at.parse().unwrap()], tls, limits }).unwrap()
}

fn serving(mut listener: HttpListener, answer: impl Fn(HttpExchange) + Send + Sync + 'static) -> Running {
    let at = listener.local_addresses()[0];
    let task = tokio::spawn(async move {
        loop {
            answer(listener.recv().await);
        }
    });
    Running(at, task.abort_handle())
}

/// Answers with what was asked.
fn echo(exchange: HttpExchange) {
    let HttpExchange { request, answer, .. } = exchange;
    let body = format!("{} {} {}", request.method(), request.uri(), String::from_utf8_lossy(request.body()));
    answer.send(Response::new(body.into()));
}

fn echoing(limits: HttpLimits) -> Running {
    serving(listener("127.0.0.1:0", None, limits), echo)
}

fn options(tls: Option<Tls>) -> HttpClientOptions {
    HttpClientOptions::new(Arc::new(SystemResolver::default()), tls)
}

fn client() -> HttpClient {
    HttpClient::new(options(None))
}

fn put(uri: &str, body: &str) -> Request<Bytes> {
    Request::builder().method(Method::PUT).uri(uri).body(Bytes::from(body.to_owned())).unwrap()
}

/// What comes back for bytes that are sent as they are, up to the end of the connection.
async fn raw(at: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(at).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("the server closes");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_request_is_answered_on_both_families() {
    for at in ["127.0.0.1:0", "[::1]:0"] {
        let server = serving(listener(at, None, HttpLimits::default()), echo);
        let response =
            client().request(put(&format!("http://{}/a/b?c=d", server.0), "a body")).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.body(), "PUT /a/b?c=d a body");
    }
}

#[tokio::test]
async fn a_connection_is_used_again() {
    let mut listener = listener("127.0.0.1:0", None, HttpLimits::default());
    let uri = format!("http://{}/", listener.local_addresses()[0]);
    let client = client();
    let mut peers = Vec::new();
    for number in 0..5 {
        let asked = client.request(put(&uri, &number.to_string()));
        let answered = async {
            let exchange = listener.recv().await;
            peers.push(exchange.peer);
            echo(exchange);
            // The listener's owner goes on, as any does.
            std::future::poll_fn(|cx| listener.poll_recv(cx).map(drop)).await;
        };
        tokio::select! {
            response = asked => assert_eq!(response.unwrap().body(), &format!("PUT / {number}")),
            () = answered => panic!("there was only one request"),
        }
    }
    peers.dedup();
    assert_eq!(peers.len(), 1);
}

#[tokio::test]
async fn a_kept_connection_that_the_server_has_closed_is_replaced() {
    let limits = HttpLimits { head_timeout: Duration::from_millis(100), ..HttpLimits::default() };
    let server = echoing(limits);
    let client = client();
    for _ in 0..3 {
        let response = client.request(put(&format!("http://{}/", server.0), "x")).await.unwrap();
        assert_eq!(response.body(), "PUT / x");
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
}

#[tokio::test]
async fn https_is_served_to_those_who_trust_the_authority() {
    let authority = Authority::new("a");
    let tls = authority.server_for(&["localhost", "127.0.0.1"]);
    let mut exchanges = listener("127.0.0.1:0", Some(tls), HttpLimits::default());
    let port = exchanges.local_addresses()[0].port();
    let friend = HttpClient::new(options(Some(authority.client())));
    let asked = friend.request(put(&format!("https://127.0.0.1:{port}/x"), ""));
    let (response, is_secure) = tokio::join!(asked, async {
        let exchange = exchanges.recv().await;
        let is_secure = exchange.is_secure;
        echo(exchange);
        is_secure
    });
    assert_eq!(response.unwrap().body(), "PUT /x ");
    assert!(is_secure);

    let server = serving(exchanges, echo);
    let stranger = HttpClient::new(options(Some(Authority::new("other").client())));
    let error =
        stranger.request(put(&format!("https://127.0.0.1:{}/", server.0.port()), "")).await.unwrap_err();
    assert!(matches!(&error, HttpError::Unreachable { cause: FlowError::Certificate(_), .. }), "{error}");
    let unset =
        client().request(put(&format!("https://127.0.0.1:{}/", server.0.port()), "")).await.unwrap_err();
    assert!(unset.to_string().contains("not set up"), "{unset}");
}

#[tokio::test]
async fn https_follows_the_rules_of_the_web_for_names() {
    let authority = Authority::new("a");
    for (names, works) in [(["localhost"], true), (["sip:localhost"], false), (["other.example"], false)] {
        let server =
            serving(listener("127.0.0.1:0", Some(authority.server_for(&names)), HttpLimits::default()), echo);
        let client = HttpClient::new(options(Some(authority.client())));
        let response = client.request(put(&format!("https://localhost:{}/", server.0.port()), "")).await;
        assert_eq!(response.is_ok(), works, "{names:?}: {response:?}");
    }
}

#[tokio::test]
async fn a_request_that_is_dropped_unanswered_is_a_servers_error() {
    let server = serving(listener("127.0.0.1:0", None, HttpLimits::default()), drop);
    let response = client().request(put(&format!("http://{}/", server.0), "")).await.unwrap();
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
}

#[tokio::test]
async fn an_answer_that_takes_too_long_is_given_by_the_listener() {
    let limits = HttpLimits { answer_timeout: Duration::from_millis(100), ..HttpLimits::default() };
    let kept = std::sync::Mutex::new(Vec::new());
    let server =
        serving(listener("127.0.0.1:0", None, limits), move |exchange| kept.lock().unwrap().push(exchange));
    let response = client().request(put(&format!("http://{}/", server.0), "")).await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn a_body_that_is_too_long_is_refused_before_it_is_read() {
    let server = echoing(HttpLimits { max_body: 100, ..HttpLimits::default() });
    let answer = raw(server.0, b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000000\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test]
async fn a_chunked_body_is_read_up_to_the_limit() {
    let server = echoing(HttpLimits { max_body: 8, ..HttpLimits::default() });
    let head = "PUT / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
    let short = raw(server.0, format!("{head}4\r\nbody\r\n0\r\n\r\n").as_bytes()).await;
    assert!(short.ends_with("PUT / body"), "{short}");
    let long = raw(server.0, format!("{head}9\r\nmore body\r\n0\r\n\r\n").as_bytes()).await;
    assert!(long.starts_with("HTTP/1.1 413 "), "{long}");
}

#[tokio::test]
async fn heads_that_are_too_long_or_have_too_many_headers_are_refused() {
    let server = echoing(HttpLimits { max_head: 8192, max_headers: 10, ..HttpLimits::default() });
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(11));
    assert!(raw(server.0, many.as_bytes()).await.starts_with("HTTP/1.1 431 "));
    let long = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "y".repeat(10_000));
    assert!(raw(server.0, long.as_bytes()).await.starts_with("HTTP/1.1 431 "));
}

#[tokio::test]
async fn what_is_not_http_is_refused() {
    let server = echoing(HttpLimits::default());
    let answer = raw(server.0, b"OPTIONS sip:x SIP/2.0\r\nVia: z\r\n\r\n").await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{answer}");
}

#[tokio::test]
async fn clients_that_dawdle_are_shown_out() {
    let quick = Duration::from_millis(150);
    let server = echoing(HttpLimits { head_timeout: quick, body_timeout: quick, ..HttpLimits::default() });
    assert_eq!(raw(server.0, b"").await, "");
    let head = raw(server.0, b"GET / HTTP/1.1\r\nHo").await;
    assert!(head.is_empty() || head.starts_with("HTTP/1.1 408 "), "{head}");
    let body = raw(server.0, b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf").await;
    assert!(body.starts_with("HTTP/1.1 408 "), "{body}");
}

#[tokio::test]
async fn a_client_that_takes_no_answer_is_shown_out() {
    let limits = HttpLimits { write_timeout: Duration::from_millis(200), ..HttpLimits::default() };
    let mut listener = listener("127.0.0.1:0", None, limits);
    // More than the system holds for both ends.
    let mut stream = TcpStream::connect(listener.local_addresses()[0]).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let exchange = timeout(PATIENCE, listener.recv()).await.unwrap();
    exchange.answer.send(Response::new(vec![0; 64 * 1024 * 1024].into()));
    let gone = async {
        while listener.connection_count() > 0 {
            let _ = timeout(Duration::from_millis(20), listener.recv()).await;
        }
    };
    timeout(PATIENCE, gone).await.expect("the connection ends though nobody reads");
}

#[tokio::test]
async fn a_request_without_a_body_needs_no_place_and_one_with_does_not_wait_for_ever() {
    let body_timeout = Duration::from_secs(1);
    let server = echoing(HttpLimits { max_bodies: 1, body_timeout, ..HttpLimits::default() });
    // It keeps the only place until its time is over.
    let mut slow = TcpStream::connect(server.0).await.unwrap();
    slow.write_all(b"PUT /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        .await
        .unwrap();
    let mut word = [0; 12];
    slow.read_exact(&mut word).await.unwrap();
    assert_eq!(&word, b"HTTP/1.1 100", "its body is waited for");
    let bodyless = raw(server.0, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert!(bodyless.starts_with("HTTP/1.1 200"), "{bodyless}");
    let mut left = Vec::new();
    timeout(PATIENCE, slow.read_to_end(&mut left)).await.unwrap().unwrap();
    assert!(String::from_utf8_lossy(&left).contains("HTTP/1.1 408"));
}

#[tokio::test]
async fn one_host_gets_no_more_connections_than_it_may_have_and_gets_them_back() {
    let server = echoing(HttpLimits { max_connections_per_host: 1, ..HttpLimits::default() });
    let mut first = TcpStream::connect(server.0).await.unwrap();
    first.write_all(b"GET /1 HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut begin = [0; 12];
    first.read_exact(&mut begin).await.unwrap();
    assert_eq!(&begin, b"HTTP/1.1 200");
    assert_eq!(raw(server.0, b"").await, "");
    drop(first);
    let again = async {
        while raw(server.0, b"GET /2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.is_empty() {}
    };
    timeout(PATIENCE, again).await.expect("there is room again");
}

#[tokio::test]
async fn requests_to_one_host_are_so_many_at_once_and_no_more() {
    let mut exchanges = listener("127.0.0.1:0", None, HttpLimits::default());
    let uri = format!("http://{}/", exchanges.local_addresses()[0]);
    let client = HttpClient::new(HttpClientOptions { max_per_host: 2, ..options(None) });
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let (client, request) = (client.clone(), put(&uri, ""));
        asking.spawn(async move { client.request(request).await.unwrap().status() });
    }
    let mut waiting = vec![exchanges.recv().await, exchanges.recv().await];
    let third = timeout(Duration::from_millis(100), exchanges.recv()).await;
    assert!(third.is_err(), "two are being answered");
    for _ in 0..4 {
        echo(waiting.remove(0));
        waiting.push(exchanges.recv().await);
    }
    waiting.into_iter().for_each(echo);
    let rest = async { while exchanges.recv().await.peer.port() == 0 {} };
    tokio::select! {
        () = rest => panic!("there were six"),
        () = async { while let Some(status) = asking.join_next().await { assert_eq!(status.unwrap(), 200); } } => {}
    }
}

#[tokio::test]
async fn an_answer_that_is_too_long_is_not_kept() {
    let server = serving(listener("127.0.0.1:0", None, HttpLimits::default()), |exchange| {
        exchange.answer.send(Response::new(Bytes::from(vec![b'x'; 2000])));
    });
    let client = HttpClient::new(HttpClientOptions { max_body: 1000, ..options(None) });
    let error = client.request(put(&format!("http://{}/", server.0), "")).await.unwrap_err();
    assert_eq!(error, HttpError::TooLarge { host: "127.0.0.1".into(), limit: 1000 });
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = HttpClient::new(HttpClientOptions { timeout: Duration::from_millis(200), ..options(None) });
    let error =
        client.request(put(&format!("http://{}/", silent.local_addr().unwrap()), "")).await.unwrap_err();
    assert_eq!(error, HttpError::Timeout { host: "127.0.0.1".into(), seconds: 0 });
}

#[tokio::test]
async fn a_server_that_speaks_something_else_is_told_apart() {
    let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}/", other.local_addr().unwrap());
    let client = client();
    let (answer, ()) = tokio::join!(client.request(put(&uri, "")), async {
        let (mut stream, _) = other.accept().await.unwrap();
        stream.write_all(b"SIP/2.0 400 Bad Request\r\n\r\n").await.unwrap();
    });
    assert!(matches!(answer, Err(HttpError::Broken { .. })), "{answer:?}");
}

#[tokio::test]
async fn addresses_that_cannot_be_asked_say_so() {
    for uri in ["sip:alice@example.com", "/path", "ftp://example.com/"] {
        let error = client().request(put(uri, "")).await.unwrap_err();
        assert!(matches!(&error, HttpError::BadAddress(_)), "{error}");
    }
    let refused = client().request(put("http://127.0.0.1:1/", "")).await.unwrap_err();
    assert_eq!(refused, HttpError::Unreachable { host: "127.0.0.1".into(), cause: FlowError::Refused });
}

#[tokio::test]
async fn closing_lets_answers_out() {
    let mut exchanges = listener("127.0.0.1:0", None, HttpLimits::default());
    let uri = format!("http://{}/", exchanges.local_addresses()[0]);
    let asked = tokio::spawn(async move { client().request(put(&uri, "last")).await });
    let exchange = exchanges.recv().await;
    let closing = tokio::spawn(exchanges.close(PATIENCE));
    echo(exchange);
    let response = asked.await.unwrap().unwrap();
    assert_eq!(response.body(), "PUT / last");
    assert_eq!(response.headers().get(header::CONTENT_LENGTH).unwrap(), "10");
    closing.await.unwrap();
}
