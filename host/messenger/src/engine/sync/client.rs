//! An XCAP client (RFC 4825) without a socket: requests out, answers in, credentials and time limits in between.
//!
//! Every write is conditional on what the document was when it was read last (section 7.11), so two devices never write
//! over each other. What an answer means for a document is for those who asked; here it is only sorted.

use core::time::Duration;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Instant,
};

use attache_documents::{
    Limits, policy, resource_lists, rls_services,
    xcap::{self, Conflict, DocumentPath, NodeSelector, XcapError},
};
use attache_sip::digest::{AuthError, Challenge, DigestClient, Policy, Secret};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, Request, Response, StatusCode, Uri, header};

use crate::engine::EngineConfig;

/// Names a request of the engine for the XCAP server. Numbers of one engine only grow.
#[derive(Copy, Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct HttpId(pub u64);

/// Requests under way at once.
const WINDOW: usize = 4;
/// Whoever carries requests gives up sooner; this is for one that forgets them.
const PATIENCE: Duration = Duration::from_secs(60);
/// A nonce may die between two requests, so credentials are tried again; but not without end.
const ATTEMPTS: u8 = 3;
/// Longest entity tag that is kept.
const MAX_ETAG: usize = 256;

/// Documents that the engine keeps on the service.
#[derive(Copy, Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(in crate::engine) enum Topic {
    /// What the server can do (RFC 4825, section 12).
    Capabilities,
    /// Contacts and groups (RFC 4826, section 3).
    Contacts,
    /// Lists that can be subscribed to (RFC 4826, section 4).
    Lists,
    /// Who may see one's presence (RFC 5025).
    Rules,
}

impl Topic {
    fn auid(self) -> &'static str {
        match self {
            Self::Capabilities => xcap::CAPS_AUID,
            Self::Contacts => resource_lists::AUID,
            Self::Lists => rls_services::AUID,
            Self::Rules => policy::AUID,
        }
    }

    fn media_type(self) -> &'static str {
        match self {
            Self::Capabilities => xcap::CAPS_TYPE,
            Self::Contacts => resource_lists::MEDIA_TYPE,
            Self::Lists => rls_services::MEDIA_TYPE,
            Self::Rules => policy::MEDIA_TYPE,
        }
    }
}

/// When a write may happen.
#[derive(Clone, Debug)]
pub(in crate::engine) enum Condition {
    /// The document is what it was.
    Unchanged(Arc<str>),
    /// There is no document.
    New,
    /// Always: the service gave no tag.
    Always,
}

impl Condition {
    /// The condition for a document that was read with this tag.
    pub(in crate::engine) fn of(etag: Option<&Arc<str>>, there: bool) -> Self {
        match etag {
            Some(etag) => Self::Unchanged(etag.clone()),
            None if there => Self::Always,
            None => Self::New,
        }
    }
}

/// What is asked.
#[derive(Clone, Debug)]
pub(in crate::engine) enum Ask {
    /// Read a document, unless it is still the one with this tag.
    Get { known: Option<Arc<str>> },
    /// Write a document.
    Put { body: Bytes, condition: Condition },
    /// Write one element of a document.
    PutElement { node: NodeSelector, body: Bytes, condition: Condition },
    /// Remove one element of a document.
    DeleteElement { node: NodeSelector, condition: Condition },
}

/// What came of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::engine) enum Outcome {
    /// The document.
    Document { etag: Option<Arc<str>>, body: Bytes },
    /// The document is the known one.
    NotModified,
    /// There is no such document, or no such element.
    Absent,
    /// It was written.
    Written { etag: Option<Arc<str>> },
    /// The document is another one by now.
    Changed,
    /// The document would be wrong (RFC 4825, section 11).
    Conflict(XcapError),
    /// The service will not do it.
    Refused { status: u16, sentence: String, advice: &'static str },
    /// The service is away, for now.
    Away { cause: String, retry_after: Option<Duration> },
}

/// Why the service did not take a document, as a sentence.
pub(in crate::engine) fn sentence(error: &XcapError) -> String {
    let what = match &error.conflict {
        Conflict::Uniqueness(_) => "a name in it that must be unique is taken",
        Conflict::NoParent { .. } => "the service has no folder for this account",
        Conflict::Constraint => "it breaks a rule of the service",
        Conflict::NotWellFormed
        | Conflict::NotXmlFrag
        | Conflict::NotXmlAttValue
        | Conflict::SchemaValidation => "the service cannot read it",
        Conflict::CannotInsert | Conflict::CannotDelete => "there is no such place in it",
        Conflict::NotUtf8 => "the service wants another encoding",
        _ => "the service gives no reason that is known",
    };
    let told = error.phrase.as_deref().map(|phrase| format!(" ({})", shortened(phrase, 200)));
    format!("the service did not take the document: {what}{}", told.unwrap_or_default())
}

#[derive(Debug)]
struct Call {
    topic: Topic,
    ask: Ask,
    attempts: u8,
    with_credentials: bool,
    deadline: Instant,
}

/// The client of one account.
#[derive(Debug)]
pub(in crate::engine) struct Client {
    root: String,
    user: String,
    agent: String,
    digest: DigestClient,
    token: Option<Secret>,
    next: u64,
    waiting: VecDeque<(HttpId, Request<Bytes>)>,
    under_way: BTreeMap<HttpId, Call>,
    entropy: [u64; 2],
}

impl Client {
    /// The client, where a root is configured; or why there cannot be one.
    pub(in crate::engine) fn new(config: &EngineConfig) -> Option<Result<Self, String>> {
        let root = config.xcap.as_deref()?.trim_end_matches('/').to_owned();
        let usable = root.parse::<Uri>().is_ok_and(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https"))
                && uri.host().is_some()
                && uri.query().is_none()
        });
        if !usable {
            return Some(Err(format!(
                "`{root}` is no address of an XCAP server, such as https://host/xcap-root"
            )));
        }
        let address = config.address.as_str();
        let name = address.split_once(':').map_or(address, |(_, rest)| rest);
        let name = config.auth_user.as_deref().or(name.split('@').next()).unwrap_or_default();
        Some(Ok(Self {
            root,
            user: config.xcap_user.clone().unwrap_or_else(|| address.to_owned()),
            agent: config.user_agent.clone(),
            digest: DigestClient::new(name, config.password.clone(), Policy::default()),
            token: None,
            next: 0,
            waiting: VecDeque::new(),
            under_way: BTreeMap::new(),
            entropy: [0; 2],
        }))
    }

    /// Where a document is, below the root.
    pub(in crate::engine) fn path(&self, topic: Topic) -> DocumentPath {
        match topic {
            Topic::Capabilities => DocumentPath::global(topic.auid(), "index"),
            _ => DocumentPath::user(topic.auid(), self.user.clone(), "index"),
        }
    }

    /// Asks, some time.
    pub(in crate::engine) fn ask(
        &mut self,
        now: Instant,
        entropy: [u64; 2],
        topic: Topic,
        ask: Ask,
    ) -> HttpId {
        self.next += 1;
        let id = HttpId(self.next);
        self.entropy = entropy;
        let call = Call { topic, ask, attempts: 0, with_credentials: false, deadline: now + PATIENCE };
        self.send(id, call);
        id
    }

    /// Whether another request fits in.
    pub(in crate::engine) fn has_room(&self) -> bool {
        self.under_way.len() < WINDOW
    }

    /// Forgets whatever is under way.
    pub(in crate::engine) fn clear(&mut self) {
        self.waiting.clear();
        self.under_way.clear();
    }

    pub(in crate::engine) fn poll(&mut self) -> Option<(HttpId, Request<Bytes>)> {
        self.waiting.pop_front()
    }

    pub(in crate::engine) fn poll_timeout(&self) -> Option<Instant> {
        self.under_way.values().map(|call| call.deadline).min()
    }

    /// Requests that nobody answered.
    pub(in crate::engine) fn handle_timeout(&mut self, now: Instant) -> Vec<(Topic, Outcome)> {
        let late: Vec<HttpId> =
            self.under_way.iter().filter(|(_, call)| call.deadline <= now).map(|(id, _)| *id).collect();
        late.into_iter()
            .filter_map(|id| {
                let call = self.under_way.remove(&id)?;
                self.waiting.retain(|(known, _)| *known != id);
                let cause = "the XCAP server did not answer".to_owned();
                Some((call.topic, Outcome::Away { cause, retry_after: None }))
            })
            .collect()
    }

    /// Takes an answer; what came of the question, unless it is asked again with credentials.
    pub(in crate::engine) fn handle(
        &mut self,
        id: HttpId,
        answer: Result<Response<Bytes>, String>,
    ) -> Option<(Topic, Outcome)> {
        let mut call = self.under_way.remove(&id)?;
        let topic = call.topic;
        let response = match answer {
            Ok(response) => response,
            Err(cause) => {
                return Some((topic, Outcome::Away { cause: shortened(&cause, 200), retry_after: None }));
            }
        };
        for row in response.headers().get_all("authentication-info") {
            self.digest.learn_info(row.as_bytes(), false);
        }
        if response.status() != StatusCode::UNAUTHORIZED {
            self.digest.accepted();
            return Some((topic, read(&call.ask, &response)));
        }
        let challenges: Vec<Challenge> = response
            .headers()
            .get_all(header::WWW_AUTHENTICATE)
            .iter()
            .flat_map(|row| Challenge::parse_row(row.as_bytes(), false))
            .collect();
        if call.attempts >= ATTEMPTS {
            return Some((topic, unauthorized("the XCAP server asked for credentials again and again")));
        }
        match self.digest.learn(&challenges, call.with_credentials) {
            Ok(()) => {
                call.attempts += 1;
                self.send(id, call);
                None
            }
            Err(AuthError::Rejected(_)) => {
                Some((topic, unauthorized("the XCAP server did not accept user name or password")))
            }
            Err(error) => {
                let sentence = format!("the XCAP server's challenge has no answer: {error}");
                Some((topic, unauthorized(&sentence)))
            }
        }
    }

    fn send(&mut self, id: HttpId, mut call: Call) {
        match self.request(&mut call) {
            Ok(request) => {
                self.waiting.push_back((id, request));
                self.under_way.insert(id, call);
            }
            // What is configured was checked, and what is computed is escaped; still, nothing waits for ever.
            Err(error) => {
                tracing::warn!(%error, "no request can be made");
                self.under_way.insert(id, call);
            }
        }
    }

    fn request(&mut self, call: &mut Call) -> Result<Request<Bytes>, http::Error> {
        let path = self.path(call.topic);
        let document = path.uri(&self.root);
        let media_type = call.topic.media_type();
        let (method, uri, body, condition) = match &call.ask {
            Ask::Get { known } => {
                let condition = known.as_ref().map(|etag| (header::IF_NONE_MATCH, etag.to_string()));
                (Method::GET, document, None, condition)
            }
            Ask::Put { body, condition } => {
                (Method::PUT, document, Some((media_type, body.clone())), header_of(condition))
            }
            Ask::PutElement { node, body, condition } => {
                let body = Some((xcap::ELEMENT_TYPE, body.clone()));
                (Method::PUT, path.node_uri(&self.root, node), body, header_of(condition))
            }
            Ask::DeleteElement { node, condition } => {
                (Method::DELETE, path.node_uri(&self.root, node), None, header_of(condition))
            }
        };
        let uri: Uri = uri.parse()?;
        let mut request = Request::builder().method(&method).uri(&uri);
        if method == Method::GET {
            request = request.header(header::ACCEPT, format!("{media_type}, */*;q=0.1"));
        }
        if !self.agent.is_empty() {
            request = request.header(header::USER_AGENT, &self.agent);
        }
        if let Some((name, value)) = condition {
            request = request.header(name, value);
        }
        let (media_type, body) = body.unzip();
        if let Some(media_type) = media_type {
            request = request.header(header::CONTENT_TYPE, media_type);
        }
        let body = body.unwrap_or_default();
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        call.with_credentials = self.digest.is_ready();
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", token.expose()));
        } else {
            let entropy = u128::from(self.entropy[0]) << 64 | u128::from(self.entropy[1]);
            // The same credentials are never used twice, so the next request needs other entropy.
            self.entropy[1] = self.entropy[1].wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            for (_, value) in self.digest.authorize(method.as_str(), path, &body, entropy) {
                request = request.header(header::AUTHORIZATION, value);
            }
        }
        request.body(body)
    }

    /// Uses an access token (RFC 6750) from now on, in place of the password; but never where others could read it.
    pub(in crate::engine) fn set_token(&mut self, token: &Secret) {
        if self.root.starts_with("https:") {
            self.token = Some(token.clone());
        }
    }
}

fn header_of(condition: &Condition) -> Option<(HeaderName, String)> {
    match condition {
        Condition::Unchanged(etag) => Some((header::IF_MATCH, etag.to_string())),
        Condition::New => Some((header::IF_NONE_MATCH, "*".to_owned())),
        Condition::Always => None,
    }
}

fn read(ask: &Ask, response: &Response<Bytes>) -> Outcome {
    let status = response.status();
    let reading = matches!(ask, Ask::Get { .. });
    match status.as_u16() {
        200 if reading => Outcome::Document { etag: etag(response.headers()), body: response.body().clone() },
        200..=299 => Outcome::Written { etag: etag(response.headers()) },
        304 if reading => Outcome::NotModified,
        404 | 410 if reading || matches!(ask, Ask::DeleteElement { .. }) => Outcome::Absent,
        412 => Outcome::Changed,
        409 => {
            // Some servers say nothing in the body.
            let error = xcap::read_error(response.body(), &Limits::DEFAULT);
            Outcome::Conflict(error.unwrap_or_else(|_| Conflict::Extension(Vec::new()).into()))
        }
        408 | 429 | 500..=599 if status != StatusCode::NOT_IMPLEMENTED => {
            let seconds = response.headers().get(header::RETRY_AFTER);
            let seconds: Option<u64> = seconds.and_then(|value| value.to_str().ok()?.trim().parse().ok());
            Outcome::Away {
                cause: format!("the XCAP server answered {status}"),
                retry_after: seconds.map(|seconds| Duration::from_secs(seconds.min(3600))),
            }
        }
        code => {
            let advice = match code {
                403 => "ask the service's operator to let this account keep documents",
                404 | 410 => "check the address of the XCAP root and the XCAP user",
                300..=399 => "give the address to which the service forwards as the XCAP root",
                413 => "remove contacts, or ask the service's operator for a larger limit",
                _ => "",
            };
            Outcome::Refused { status: code, sentence: format!("the XCAP server answered {status}"), advice }
        }
    }
}

fn etag(headers: &HeaderMap) -> Option<Arc<str>> {
    let value = headers.get(header::ETAG)?.to_str().ok()?;
    (value.len() <= MAX_ETAG).then(|| value.into())
}

fn unauthorized(sentence: &str) -> Outcome {
    let advice = "check user name and password; the XCAP server may know other ones than the SIP service";
    Outcome::Refused { status: 401, sentence: sentence.to_owned(), advice }
}

fn shortened(text: &str, most: usize) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    text[..text.floor_char_boundary(most)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Address;

    fn client(xcap: &str) -> Option<Result<Client, String>> {
        let address = Address::parse("sip:alice@example.com").unwrap();
        let mut config = EngineConfig::new(address, "secret", Vec::new(), [1; 32]);
        config.xcap = Some(xcap.to_owned());
        Client::new(&config)
    }

    fn made(xcap: &str) -> Client {
        client(xcap).unwrap().unwrap()
    }

    fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Result<Response<Bytes>, String> {
        let mut response = Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        Ok(response.body(Bytes::from(body.to_owned())).unwrap())
    }

    const GET: Ask = Ask::Get { known: None };

    #[test]
    fn a_root_that_is_no_http_address_is_refused_with_a_sentence() {
        for wrong in ["ftp://host/x", "host/xcap-root", "http:///x", "https://host/x?y", ""] {
            assert!(client(wrong).unwrap().is_err(), "{wrong}");
        }
    }

    #[test]
    fn documents_are_where_the_rfc_says() {
        let client = made("https://host:8443/xcap-root/");
        let uri = |topic| client.path(topic).uri(&client.root);
        let users = "https://host:8443/xcap-root/resource-lists/users/sip:alice@example.com/index";
        assert_eq!(uri(Topic::Contacts), users);
        assert_eq!(uri(Topic::Capabilities), "https://host:8443/xcap-root/xcap-caps/global/index");
    }

    #[test]
    fn a_node_selector_is_escaped() {
        let mut client = made("http://host/x");
        let list = NodeSelector::root("resource-lists").child("list").with("name", "a b");
        let ask = Ask::DeleteElement {
            node: list.child("entry").with("uri", "sip:b%6Fb@example.com"),
            condition: Condition::Unchanged("\"e\"".into()),
        };
        client.ask(Instant::now(), [1, 2], Topic::Contacts, ask);
        let (_, request) = client.poll().unwrap();
        assert_eq!(
            request.uri().path(),
            "/x/resource-lists/users/sip:alice@example.com/index/~~/resource-lists/list%5B@name=%22a%20b%22%5D/\
             entry%5B@uri=%22sip:b%256Fb@example.com%22%5D"
        );
        assert_eq!(request.headers()[header::IF_MATCH], "\"e\"");
        assert_eq!(request.method(), Method::DELETE);
    }

    #[test]
    fn a_challenge_is_answered_by_itself_and_later_requests_carry_credentials() {
        let mut client = made("http://host/x");
        let now = Instant::now();
        let id = client.ask(now, [1, 2], Topic::Contacts, GET);
        let (_, first) = client.poll().unwrap();
        assert!(!first.headers().contains_key(header::AUTHORIZATION));
        let challenge = r#"Digest realm="example.com", nonce="n1", qop="auth", algorithm=SHA-256"#;
        assert_eq!(client.handle(id, answer(401, &[("www-authenticate", challenge)], "")), None);
        let (again, second) = client.poll().unwrap();
        assert_eq!(again, id);
        let credentials = second.headers()[header::AUTHORIZATION].to_str().unwrap();
        assert!(credentials.contains(r#"username="alice""#), "{credentials}");
        assert!(credentials.contains(r#"uri="/x/resource-lists/users/sip:alice@example.com/index""#));
        let etag = Some("\"1\"".into());
        let expected = Outcome::Document { etag, body: Bytes::from_static(b"<x/>") };
        let outcome = client.handle(id, answer(200, &[("etag", "\"1\"")], "<x/>"));
        assert_eq!(outcome, Some((Topic::Contacts, expected)));
        client.ask(now, [3, 4], Topic::Rules, GET);
        assert!(client.poll().unwrap().1.headers().contains_key(header::AUTHORIZATION));
    }

    #[test]
    fn a_wrong_password_is_tried_once() {
        let mut client = made("http://host/x");
        let id = client.ask(Instant::now(), [1, 2], Topic::Contacts, GET);
        client.poll().unwrap();
        let row = |nonce| format!(r#"Digest realm="example.com", nonce="{nonce}", qop="auth""#);
        assert_eq!(client.handle(id, answer(401, &[("www-authenticate", &row("a"))], "")), None);
        client.poll().unwrap();
        let outcome = client.handle(id, answer(401, &[("www-authenticate", &row("b"))], ""));
        assert!(matches!(outcome, Some((_, Outcome::Refused { status: 401, .. }))), "{outcome:?}");
        assert!(client.poll().is_none());
    }

    #[test]
    fn each_status_has_its_meaning() {
        let put = Ask::Put { body: Bytes::new(), condition: Condition::New };
        let meaning =
            |ask: &Ask, status, headers: &[(&str, &str)]| read(ask, &answer(status, headers, "").unwrap());
        assert_eq!(meaning(&GET, 404, &[]), Outcome::Absent);
        assert_eq!(meaning(&GET, 304, &[]), Outcome::NotModified);
        assert_eq!(meaning(&put, 412, &[]), Outcome::Changed);
        assert_eq!(meaning(&put, 201, &[("etag", "\"2\"")]), Outcome::Written { etag: Some("\"2\"".into()) });
        assert!(matches!(meaning(&put, 404, &[]), Outcome::Refused { status: 404, .. }));
        assert!(matches!(meaning(&GET, 403, &[]), Outcome::Refused { status: 403, .. }));
        assert!(matches!(meaning(&GET, 302, &[("location", "/y")]), Outcome::Refused { status: 302, .. }));
        assert!(matches!(meaning(&GET, 500, &[]), Outcome::Away { retry_after: None, .. }));
        let busy = meaning(&put, 503, &[("retry-after", "7")]);
        assert!(matches!(busy, Outcome::Away { retry_after: Some(after), .. } if after.as_secs() == 7));
    }

    #[test]
    fn each_conflict_has_its_sentence() {
        for (kind, words) in [
            ("uniqueness-failure", "unique"),
            ("no-parent", "no folder"),
            ("constraint-failure", "a rule of the service"),
            ("schema-validation-error", "cannot read"),
        ] {
            let body = format!(
                r#"<?xml version="1.0"?><xcap-error xmlns="urn:ietf:params:xml:ns:xcap-error"><{kind} phrase="why"/></xcap-error>"#
            );
            let put = Ask::Put { body: Bytes::new(), condition: Condition::New };
            let Outcome::Conflict(error) = read(&put, &answer(409, &[], &body).unwrap()) else { panic!() };
            let told = sentence(&error);
            assert!(told.contains(words) && told.ends_with("(why)"), "{told}");
        }
        let put = Ask::Put { body: Bytes::new(), condition: Condition::New };
        let silent = read(&put, &answer(409, &[], "no xml at all").unwrap());
        assert!(matches!(silent, Outcome::Conflict(_)));
    }

    #[test]
    fn a_request_that_nobody_answers_ends_by_itself() {
        let mut client = made("http://host/x");
        let now = Instant::now();
        let id = client.ask(now, [1, 2], Topic::Contacts, GET);
        assert!(client.handle_timeout(now + PATIENCE / 2).is_empty());
        let late = client.handle_timeout(now + PATIENCE);
        assert!(matches!(&late[..], [(Topic::Contacts, Outcome::Away { .. })]));
        assert_eq!(client.handle(id, answer(200, &[], "")), None);
    }
}
