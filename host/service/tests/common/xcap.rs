//! A client of XCAP for tests.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "test code, of which each binary uses a part"
)]

use std::time::Instant;

use attache_service::Core;
use attache_sip::digest::{Challenge, DigestClient, Policy, Secret};
use bytes::Bytes;
use http::{Method, Request, Response};

pub const LISTS: &str = "application/resource-lists+xml";
pub const SERVICES: &str = "application/rls-services+xml";
pub const RULES: &str = "application/auth-policy+xml";
pub const PIDF: &str = "application/pidf+xml";
pub const ELEMENT: &str = "application/xcap-el+xml";
pub const ATTRIBUTE: &str = "application/xcap-att+xml";

/// A user with a password.
pub struct Xcap {
    digest: DigestClient,
    pub user: String,
    pub peer: std::net::SocketAddr,
    entropy: u128,
}

/// A request, as short as a test wants it.
pub struct Ask<'a> {
    pub method: Method,
    pub path: String,
    pub headers: Vec<(&'static str, &'a str)>,
    pub body: &'a str,
}

impl<'a> Ask<'a> {
    pub fn new(method: Method, path: impl Into<String>) -> Self {
        Self { method, path: path.into(), headers: Vec::new(), body: "" }
    }

    pub fn header(mut self, name: &'static str, value: &'a str) -> Self {
        self.headers.push((name, value));
        self
    }

    pub fn body(self, kind: &'a str, body: &'a str) -> Self {
        let mut this = self.header("content-type", kind);
        this.body = body;
        this
    }

    pub fn request(&self) -> Request<Bytes> {
        let mut request = Request::builder().method(self.method.clone()).uri(&self.path);
        for (name, value) in &self.headers {
            request = request.header(*name, *value);
        }
        request.body(Bytes::copy_from_slice(self.body.as_bytes())).unwrap()
    }
}

impl Xcap {
    pub fn new(user: &str, password: &str) -> Self {
        Self {
            digest: DigestClient::new(user, Secret::new(password), Policy::default()),
            user: user.to_owned(),
            peer: "127.0.9.1:40000".parse().unwrap(),
            entropy: 1,
        }
    }

    /// The request with credentials, if a challenge is known.
    pub fn sign(&mut self, mut request: Request<Bytes>) -> Request<Bytes> {
        self.entropy += 1;
        let uri = request.uri().path_and_query().unwrap().as_str().to_owned();
        let method = request.method().as_str().to_owned();
        for (_, value) in self.digest.authorize(&method, &uri, request.body(), self.entropy) {
            request.headers_mut().insert("authorization", value.parse().unwrap());
        }
        request
    }

    pub fn learn(&mut self, answer: &Response<Bytes>) {
        let rows = answer.headers().get_all("www-authenticate").iter();
        let challenges: Vec<_> = rows.flat_map(|row| Challenge::parse_row(row.as_bytes(), false)).collect();
        self.digest.learn(&challenges, false).unwrap();
    }

    /// The answer to a request, after the challenge.
    pub fn ask(&mut self, core: &mut Core, now: Instant, ask: &Ask<'_>) -> Response<Bytes> {
        let signed = self.sign(ask.request());
        let answer = core.handle_http(now, self.peer, signed);
        if answer.status() != 401 {
            return answer;
        }
        self.learn(&answer);
        let signed = self.sign(ask.request());
        core.handle_http(now, self.peer, signed)
    }
}

pub fn text(answer: &Response<Bytes>) -> String {
    String::from_utf8(answer.body().to_vec()).unwrap()
}

pub fn header(answer: &Response<Bytes>, name: &str) -> String {
    answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
}
