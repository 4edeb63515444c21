//! A small scripted XCAP server: documents and elements with entity tags, and faults on demand.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use attache_documents::{
    Limits,
    select::{Dialect, Selector},
    tree::Tree,
    xcap::Resource,
};
use attache_messenger::sim::HttpServer;
use attache_sip::digest::{Credentials, DigestServer, Password, Secret};
use bytes::Bytes;
use http::{Method, Request, Response, header};

/// What goes wrong with a request, instead of or after doing it.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// Answered with this status, and this body; nothing is done.
    Status(u16, &'static str),
    /// Done, and the answer is lost.
    LostAfter,
    /// Neither done nor answered.
    Lost,
    /// Done, and answered so much later.
    Slow(Duration),
    /// Done as it should be.
    Fine,
}

pub(crate) struct Server {
    /// By path below the root: tag and text.
    pub(crate) documents: BTreeMap<String, (u64, String)>,
    /// For the next requests about documents of one usage, one by one.
    pub(crate) script: VecDeque<Fault>,
    /// Which usage.
    pub(crate) scripted: &'static str,
    /// Every write of that usage is answered with this status, and not done.
    pub(crate) no_writes: Option<u16>,
    /// Nobody answers.
    pub(crate) down: bool,
    /// Method and path of everything that came.
    pub(crate) log: Vec<(Method, String)>,
    /// Asks for this password.
    pub(crate) password: Option<String>,
    /// Gives no entity tags.
    pub(crate) untagged: bool,
    digest: DigestServer,
    tags: u64,
}

impl Server {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            documents: BTreeMap::new(),
            script: VecDeque::new(),
            scripted: "resource-lists",
            no_writes: None,
            down: false,
            log: Vec::new(),
            password: None,
            untagged: false,
            digest: DigestServer::new("xcap.example.com", [4; 32], now),
            tags: 0,
        }
    }

    pub(crate) fn put(&mut self, path: &str, text: &str) {
        self.tags += 1;
        self.documents.insert(path.to_owned(), (self.tags, text.to_owned()));
    }

    pub(crate) fn text(&self, path: &str) -> &str {
        self.documents.get(path).map_or("", |(_, text)| text)
    }

    pub(crate) fn count(&self, method: &Method, usage: &str) -> usize {
        self.log.iter().filter(|(known, path)| known == method && path.contains(usage)).count()
    }

    fn serve(&mut self, now: Instant, request: &Request<Bytes>) -> Response<Bytes> {
        let status = |code: u16| Response::builder().status(code);
        if let Some(password) = &self.password {
            let row = request.headers().get(header::AUTHORIZATION);
            let password = Password::Plain(Secret::new(password.clone()));
            let granted = row.and_then(|row| Credentials::parse(row.as_bytes())).is_some_and(|credentials| {
                let uri = request.uri().path_and_query().unwrap().as_str();
                let method = request.method().as_str();
                let user = "alice";
                self.digest
                    .verify(now, &credentials, user, &password, method, Some(uri), request.body())
                    .is_ok()
            });
            if !granted {
                let mut response = status(401);
                for challenge in self.digest.challenges(now, 7, false) {
                    response = response.header(header::WWW_AUTHENTICATE, challenge);
                }
                return response.body(Bytes::new()).unwrap();
            }
        }
        let path = request.uri().path_and_query().unwrap().as_str();
        let path = path.strip_prefix("/xcap-root/").expect("below the root");
        let Ok(resource) = Resource::parse(path) else {
            return status(404).body(Bytes::new()).unwrap();
        };
        let document = resource.document.to_string();
        let known = self.documents.get(&document).cloned();
        let tag = known.as_ref().map(|(tag, _)| format!("\"{tag}\""));
        let asked = |name| request.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        if let Some(wanted) = asked(header::IF_MATCH)
            && tag.as_ref() != Some(&wanted)
        {
            return status(412).body(Bytes::new()).unwrap();
        }
        if let Some(other) = asked(header::IF_NONE_MATCH)
            && (other == "*" && known.is_some() || tag.as_ref() == Some(&other))
        {
            let code = if request.method() == Method::GET { 304 } else { 412 };
            return status(code).header(header::ETAG, tag.unwrap_or_default()).body(Bytes::new()).unwrap();
        }
        let text = match (request.method(), &resource.node) {
            (&Method::GET, None) => match known {
                Some((_, text)) => {
                    let mut response = status(200);
                    if !self.untagged {
                        response = response.header(header::ETAG, tag.unwrap_or_default());
                    }
                    return response.body(Bytes::from(text)).unwrap();
                }
                None => return status(404).body(Bytes::new()).unwrap(),
            },
            (&Method::PUT, None) => String::from_utf8(request.body().to_vec()).unwrap(),
            (method, Some(node)) => {
                let Some((_, text)) = known else { return status(404).body(Bytes::new()).unwrap() };
                match edit(&text, &node.selector, method, request.body()) {
                    Some(text) => text,
                    None => return status(409).body(Bytes::new()).unwrap(),
                }
            }
            _ => return status(405).body(Bytes::new()).unwrap(),
        };
        Tree::read(text.as_bytes(), &Limits::STORED).expect("well-formed");
        self.put(&document, &text);
        let mut response = status(200);
        if !self.untagged {
            response = response.header(header::ETAG, format!("\"{}\"", self.tags));
        }
        response.body(Bytes::new()).unwrap()
    }
}

fn edit(text: &str, selector: &str, method: &Method, body: &Bytes) -> Option<String> {
    let mut tree = Tree::read(text.as_bytes(), &Limits::STORED).unwrap();
    let namespace = tree.name(tree.root()).unwrap().namespace().unwrap().to_owned();
    let selector = Selector::parse(selector, Dialect::Xcap, |prefix| {
        prefix.is_none().then(|| namespace.as_str().into())
    })
    .unwrap();
    let known = selector.node(&tree).ok();
    match *method {
        Method::DELETE => {
            tree.detach(known?);
        }
        _ => {
            let parent = selector.parent()?.node(&tree).ok()?;
            let node = tree.read_fragment(parent, body).unwrap();
            match known {
                Some(known) => tree.replace(known, node).unwrap(),
                None => tree.append(parent, node).unwrap(),
            }
        }
    }
    Some(tree.write())
}

const SOON: Duration = Duration::from_millis(15);

impl HttpServer for Server {
    fn handle(
        &mut self,
        now: Instant,
        request: Request<Bytes>,
    ) -> Option<(Duration, Result<Response<Bytes>, String>)> {
        self.log.push((request.method().clone(), request.uri().path().to_owned()));
        if self.down {
            return Some((SOON, Err("connection refused".to_owned())));
        }
        let hit = request.uri().path().contains(&format!("/{}/", self.scripted));
        if let Some(code) = self.no_writes.filter(|_| hit && request.method() != Method::GET) {
            return Some((SOON, Ok(Response::builder().status(code).body(Bytes::new()).unwrap())));
        }
        let fault = if hit { self.script.pop_front() } else { None }.unwrap_or(Fault::Fine);
        match fault {
            Fault::Status(code, body) => {
                let response = Response::builder().status(code).body(Bytes::from_static(body.as_bytes()));
                Some((SOON, Ok(response.unwrap())))
            }
            Fault::Lost => None,
            Fault::LostAfter => {
                self.serve(now, &request);
                None
            }
            Fault::Slow(after) => Some((after, Ok(self.serve(now, &request)))),
            Fault::Fine => Some((SOON, Ok(self.serve(now, &request)))),
        }
    }
}
