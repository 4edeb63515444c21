//! A small scripted SIP service: registrar with digest, presence agent, message relay. It keeps its promises, except
//! where a test tells it otherwise.

mod dialogs;
mod lists;
mod packages;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use attache_messenger::sim::Node;
use attache_sip::{
    digest::{DigestServer, Password, Refusal, Secret},
    endpoint::{Endpoint, EndpointConfig, EndpointEvent, Request, Response},
    message::{HeaderName, Message, Method},
    resolve::literal,
    transaction::{ServerTransactionId, TransactionId},
    transport::{Destination, Flow, FlowId, Transmit, Transport},
    uri::Uri,
};
use bytes::Bytes;

/// What a presentity lets others see.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) enum Policy {
    Allow,
    Reject,
    /// Whatever is asked is answered with 603.
    Decline,
    Pending,
}

struct Published {
    etag: String,
    body: Bytes,
    until: Instant,
}

struct Watcher {
    target: String,
    from: String,
    to: String,
    call_id: String,
    cseq: u32,
    contact: String,
    destination: Destination,
    expires: u32,
}

pub(crate) struct Service {
    endpoint: Endpoint,
    digest: DigestServer,
    passwords: BTreeMap<String, String>,
    bindings: BTreeMap<String, String>,
    published: BTreeMap<String, Vec<Published>>,
    watchers: BTreeMap<String, Watcher>,
    relayed: BTreeMap<u64, (TransactionId, ServerTransactionId)>,
    pub(crate) policies: BTreeMap<String, Policy>,
    /// Statuses to answer a method with, instead of doing it; used up one by one.
    pub(crate) script: BTreeMap<String, Vec<u16>>,
    /// How many requests of a method came.
    pub(crate) counts: BTreeMap<String, usize>,
    /// Messages for people who are not there are taken for later.
    pub(crate) offline_store: bool,
    pub(crate) stored: Vec<(String, Message)>,
    pub(crate) lists: lists::Lists,
    /// Who watches dialogs, where they are told.
    pub(crate) dialogs: Option<BTreeMap<String, dialogs::Watcher>>,
    /// Other event packages, by name.
    pub(crate) packages: BTreeMap<String, packages::Package>,
    /// Presence is told when asked, and never by itself: subscriptions that last are refused so.
    pub(crate) fetch_only: Option<u16>,
    /// The type by which presence documents go.
    pub(crate) document_type: &'static str,
    /// And within lists, those of these people.
    pub(crate) document_types: BTreeMap<String, &'static str>,
    next: u64,
    now: Instant,
}

impl Service {
    pub(crate) fn new(at: SocketAddr, now: Instant, users: &[(&str, &str)]) -> Self {
        Self {
            endpoint: Endpoint::new(EndpointConfig::at(at), [9; 32]),
            digest: DigestServer::new("example.com", [8; 32], now),
            passwords: users.iter().map(|(user, password)| ((*user).into(), (*password).into())).collect(),
            bindings: BTreeMap::new(),
            published: BTreeMap::new(),
            watchers: BTreeMap::new(),
            relayed: BTreeMap::new(),
            policies: BTreeMap::new(),
            script: BTreeMap::new(),
            counts: BTreeMap::new(),
            offline_store: false,
            stored: Vec::new(),
            lists: lists::Lists::default(),
            dialogs: None,
            packages: BTreeMap::new(),
            fetch_only: None,
            document_type: "application/pidf+xml",
            document_types: BTreeMap::new(),
            next: 0,
            now,
        }
    }

    pub(crate) fn count(&self, method: &str) -> usize {
        self.counts.get(method).copied().unwrap_or(0)
    }

    /// Documents that the service holds of somebody.
    pub(crate) fn documents(&self, user: &str) -> Vec<Bytes> {
        self.published.get(user).into_iter().flatten().map(|published| published.body.clone()).collect()
    }

    pub(crate) fn is_bound(&self, user: &str) -> bool {
        self.bindings.contains_key(user)
    }

    /// Publishes for somebody who uses other software.
    pub(crate) fn publish_as(&mut self, now: Instant, user: &str, body: &str) {
        self.now = now;
        let until = now + Duration::from_secs(1_000_000);
        let body = Bytes::copy_from_slice(body.as_bytes());
        self.published.insert(user.into(), vec![Published { etag: "foreign".into(), body, until }]);
        self.notify(user);
    }

    /// Tells those who watch somebody once more what is held.
    pub(crate) fn tell_again(&mut self, now: Instant, user: &str) {
        self.now = now;
        self.notify(user);
    }

    /// Sends a MESSAGE that nobody of the network wrote, with these headers, straight to a user.
    pub(crate) fn inject(
        &mut self,
        now: Instant,
        to: &str,
        call_id: &str,
        cseq: u32,
        headers: &[(&str, &str)],
        content: (&str, &[u8]),
    ) {
        self.inject_from(now, "sip:carol@example.com", to, call_id, cseq, headers, content);
    }

    #[expect(clippy::too_many_arguments, reason = "what a request is made of")]
    pub(crate) fn inject_from(
        &mut self,
        now: Instant,
        from: &str,
        to: &str,
        call_id: &str,
        cseq: u32,
        headers: &[(&str, &str)],
        content: (&str, &[u8]),
    ) {
        let Some(contact) = self.bindings.get(to).cloned() else { return };
        let Some(destination) = destination(&contact) else { return };
        let mut request = Request::new(Method::Message, contact)
            .from(format!("<{from}>;tag=c"))
            .to(format!("<sip:{to}@example.com>"))
            .call_id(call_id)
            .cseq(cseq)
            .body(content.0, Bytes::copy_from_slice(content.1));
        for (name, value) in headers {
            request.push(*name, *value);
        }
        self.endpoint.send_request(now, &request, destination, None).unwrap();
    }

    /// Notifies everybody who watches somebody, as another notifier that the request was forked to.
    pub(crate) fn notify_as_fork(&mut self, now: Instant, target: &str, cseq: u32, state: &str, body: &str) {
        for watcher in self.watchers.values().filter(|watcher| watcher.target == target) {
            let mut request = Request::new(Method::Notify, watcher.contact.clone())
                .from(format!("<sip:{target}@example.com>;tag=fork"))
                .to(watcher.to.clone())
                .call_id(watcher.call_id.clone())
                .cseq(cseq)
                .header(HeaderName::Event, "presence")
                .header(HeaderName::SubscriptionState, state)
                .header(HeaderName::Contact, "<sip:10.0.0.9:5060>");
            if !body.is_empty() {
                request = request.body("application/pidf+xml", Bytes::copy_from_slice(body.as_bytes()));
            }
            self.endpoint.send_request(now, &request, watcher.destination, None).unwrap();
        }
    }

    fn drain(&mut self, now: Instant) {
        self.now = now;
        self.expire();
        while let Some(event) = self.endpoint.poll_event() {
            match event {
                EndpointEvent::Request { id, message, flow } => self.on_request(id, &message, flow),
                EndpointEvent::Response { id, message, .. } => {
                    let status = message.status().unwrap();
                    if status >= 200 {
                        self.finish(id, status);
                    }
                }
                EndpointEvent::Failed { id, .. } => self.finish(id, 408),
                _ => {}
            }
        }
    }

    fn expire(&mut self) {
        let now = self.now;
        let mut changed = Vec::new();
        for (user, list) in &mut self.published {
            let before = list.len();
            list.retain(|published| published.until > now);
            if list.len() != before {
                changed.push(user.clone());
            }
        }
        for user in changed {
            self.notify(&user);
        }
    }

    fn finish(&mut self, id: TransactionId, status: u16) {
        let Some(key) = self.relayed.iter().find(|(_, (known, _))| *known == id).map(|(key, _)| *key) else {
            return;
        };
        let (_, server) = self.relayed.remove(&key).unwrap();
        // RFC 4320: a timeout downstream is not told as 408.
        let status = if status == 408 { 480 } else { status };
        let _ = self.endpoint.respond(self.now, server, &Response::new(status));
    }

    fn respond(&mut self, id: ServerTransactionId, response: &Response) {
        let _ = self.endpoint.respond(self.now, id, response);
    }

    fn on_request(&mut self, id: ServerTransactionId, request: &Message, flow: Flow) {
        let method = request.method().unwrap().to_string();
        // Who watches, and what else there is to subscribe to, is not known here.
        match request.event().map(|event| event.package.to_owned()) {
            Some(package) if package == "dialog" && self.dialogs.is_some() => {
                return self.on_dialog_subscription(id, request, &flow);
            }
            Some(package) if self.packages.contains_key(&package) => {
                return self.on_package(id, &package, request, &flow);
            }
            Some(package) if package != "presence" => return self.respond(id, &Response::new(489)),
            _ => {}
        }
        *self.counts.entry(method.clone()).or_default() += 1;
        let from = user(&request.from().unwrap().uri().unwrap());
        if !self.authorised(id, request, &from) {
            return;
        }
        if let Some(script) = self.script.get_mut(&method)
            && !script.is_empty()
        {
            let status = script.remove(0);
            return self.respond(id, &Response::new(status));
        }
        match method.as_str() {
            "REGISTER" => self.on_register(id, request, &from),
            "PUBLISH" => self.on_publish(id, request, &from),
            "SUBSCRIBE" => self.on_subscribe(id, request, flow),
            "MESSAGE" => self.on_message(id, request),
            _ => self.respond(id, &Response::new(200)),
        }
    }

    fn authorised(&mut self, id: ServerTransactionId, request: &Message, from: &str) -> bool {
        let Some(password) = self.passwords.get(from).cloned() else {
            self.respond(id, &Response::new(404));
            return false;
        };
        let method = request.method().unwrap().to_string();
        let known = request.credentials(false).next();
        let verdict = known.map(|credentials| {
            let password = Password::Plain(Secret::new(password));
            self.digest.verify(self.now, &credentials, from, &password, &method, None, request.body())
        });
        let good = matches!(verdict, Some(Ok(_)));
        let stale = matches!(verdict, Some(Err(Refusal::Stale)));
        if !good {
            self.next += 1;
            let mut response = Response::new(401);
            for challenge in self.digest.challenges(self.now, self.next, stale) {
                response = response.header(HeaderName::WwwAuthenticate, challenge);
            }
            self.respond(id, &response);
        }
        good
    }

    fn on_register(&mut self, id: ServerTransactionId, request: &Message, from: &str) {
        let contact = request.contacts().next().unwrap().unwrap();
        let expires = contact.expires().or(request.expires()).unwrap_or(3600);
        let uri = contact.uri().unwrap().to_string();
        let mut response = Response::new(200);
        if self.lists.in_requests {
            response = response.header(HeaderName::Supported, "recipient-list-subscribe");
        }
        if expires == 0 {
            self.bindings.remove(from);
        } else {
            response = response.header(HeaderName::Contact, format!("<{uri}>;expires={expires}"));
            self.bindings.insert(from.into(), uri);
        }
        self.respond(id, &response);
    }

    fn on_publish(&mut self, id: ServerTransactionId, request: &Message, from: &str) {
        let expires = request.expires().unwrap_or(3600);
        let until = self.now + Duration::from_secs(u64::from(expires));
        let held = self.published.entry(from.into()).or_default();
        let mut body = Bytes::copy_from_slice(request.body());
        if let Some(tag) = request.sip_if_match() {
            let Some(at) = held.iter().position(|published| published.etag == tag) else {
                return self.respond(id, &Response::new(412));
            };
            let before = held.remove(at);
            if body.is_empty() {
                body = before.body;
            }
        }
        self.next += 1;
        let etag = format!("e{}", self.next);
        if expires > 0 {
            held.push(Published { etag: etag.clone(), body, until });
        }
        let response = Response::new(200)
            .header(HeaderName::SipEtag, etag)
            .header(HeaderName::Expires, expires.to_string());
        self.respond(id, &response);
        self.notify(from);
    }

    fn on_subscribe(&mut self, id: ServerTransactionId, request: &Message, flow: Flow) {
        let call_id = request.call_id().unwrap().to_owned();
        let expires = request.expires().unwrap_or(3600);
        if request.to().unwrap().tag().is_some() {
            if let Some(watcher) = self.lists.watchers.get(&call_id) {
                let to_tag = request.to().unwrap().tag().unwrap().to_owned();
                let response = Response::new(200).to_tag(to_tag);
                let response = response.header(HeaderName::Expires, watcher.dialog.expires.to_string());
                self.respond(id, &response);
                return self.notify_list(&call_id, None, expires == 0);
            }
            let Some(watcher) = self.watchers.get_mut(&call_id) else {
                return self.respond(id, &Response::new(481));
            };
            watcher.cseq += 1;
            let target = watcher.target.clone();
            let to_tag = request.to().unwrap().tag().unwrap().to_owned();
            let response = Response::new(200).to_tag(to_tag).header(HeaderName::Expires, expires.to_string());
            self.respond(id, &response);
            return self.notify_one(&call_id, &target, expires == 0);
        }
        let mut target = user(&request.request_uri().unwrap());
        if target.is_empty() {
            target = "service".into();
        }
        let members = self.lists.asked(request, &target);
        if let Some(status) = self.lists.down.filter(|_| members.is_some()) {
            return self.respond(id, &Response::new(status));
        }
        if members.is_none() && !self.passwords.contains_key(&target) {
            return self.respond(id, &Response::new(404));
        }
        if let Some(status) = self.fetch_only.filter(|_| expires > 0) {
            return self.respond(id, &Response::new(status));
        }
        if self.policies.get(&target) == Some(&Policy::Decline) {
            return self.respond(id, &Response::new(603));
        }
        self.next += 1;
        let tag = format!("n{}", self.next);
        let contact = request.contacts().next().unwrap().unwrap().uri().unwrap().to_string();
        let local = flow.local;
        let response = Response::new(200)
            .to_tag(tag.clone())
            .header(HeaderName::Expires, expires.to_string())
            .header(HeaderName::Contact, format!("<sip:{local}>"));
        self.respond(id, &response);
        let watcher = Watcher {
            target: target.clone(),
            from: format!("<sip:{target}@example.com>;tag={tag}"),
            to: String::from_utf8(request.header(HeaderName::From).unwrap().to_vec()).unwrap(),
            call_id: call_id.clone(),
            cseq: 0,
            destination: destination(&contact).unwrap(),
            expires,
            contact,
        };
        if let Some(members) = members {
            let known = request.header(HeaderName::SuppressIfMatch);
            self.lists.add(watcher, members, known);
            return self.notify_list(&call_id, None, false);
        }
        self.watchers.insert(call_id.clone(), watcher);
        self.notify_one(&call_id, &target, false);
        if expires == 0 {
            self.watchers.remove(&call_id);
        }
    }

    fn notify(&mut self, target: &str) {
        let ids: Vec<String> =
            self.watchers.values().filter(|w| w.target == target).map(|w| w.call_id.clone()).collect();
        for id in ids {
            self.notify_one(&id, target, false);
        }
        self.notify_lists(target);
    }

    fn notify_one(&mut self, call_id: &str, target: &str, last: bool) {
        let policy = self.policies.get(target).copied().unwrap_or(Policy::Allow);
        let body = self.documents(target).last().cloned();
        let Some(watcher) = self.watchers.get_mut(call_id) else { return };
        watcher.cseq += 1;
        let state = match policy {
            _ if last => "terminated;reason=timeout".to_owned(),
            Policy::Allow => format!("active;expires={}", watcher.expires),
            Policy::Pending => format!("pending;expires={}", watcher.expires),
            Policy::Reject | Policy::Decline => "terminated;reason=rejected".to_owned(),
        };
        let mut request = Request::new(Method::Notify, watcher.contact.clone())
            .from(watcher.from.clone())
            .to(watcher.to.clone())
            .call_id(call_id)
            .cseq(watcher.cseq)
            .header(HeaderName::Event, "presence")
            .header(HeaderName::SubscriptionState, state)
            .header(HeaderName::Contact, "<sip:10.0.0.9:5060>");
        if policy == Policy::Allow
            && !last
            && let Some(body) = body
        {
            request = request.body(self.document_type, body);
        }
        let destination = watcher.destination;
        self.endpoint.send_request(self.now, &request, destination, None).unwrap();
        if last || policy == Policy::Reject {
            self.watchers.remove(call_id);
        }
    }

    fn on_message(&mut self, id: ServerTransactionId, request: &Message) {
        let to = user(&request.request_uri().unwrap());
        if !self.passwords.contains_key(&to) {
            return self.respond(id, &Response::new(404));
        }
        let Some(contact) = self.bindings.get(&to).cloned() else {
            if self.offline_store {
                self.stored.push((to, request.clone()));
                return self.respond(id, &Response::new(202));
            }
            return self.respond(id, &Response::new(480));
        };
        let client = self.forward(&contact, request);
        self.next += 1;
        self.relayed.insert(self.next, (client, id));
    }

    fn forward(&mut self, contact: &str, request: &Message) -> TransactionId {
        let text = |name| String::from_utf8(request.header(name).unwrap().to_vec()).unwrap();
        let mut forward = Request::new(Method::Message, contact.to_owned())
            .from(text(HeaderName::From))
            .to(text(HeaderName::To))
            .call_id(request.call_id().unwrap())
            .cseq(request.cseq().unwrap().number)
            .body(text(HeaderName::ContentType), Bytes::copy_from_slice(request.body()));
        for name in ["Auto-Submitted", "Attache-Message"] {
            if let Some(value) = request.other(name) {
                forward.push(name, String::from_utf8(value.to_vec()).unwrap());
            }
        }
        self.endpoint.send_request(self.now, &forward, destination(contact).unwrap(), None).unwrap()
    }

    /// Passes on what was taken for later to those who are there now.
    pub(crate) fn deliver_stored(&mut self, now: Instant) {
        self.now = now;
        for (to, request) in core::mem::take(&mut self.stored) {
            let contact = self.bindings.get(&to).cloned().unwrap();
            self.forward(&contact, &request);
        }
    }
}

fn user(uri: &Uri<'_>) -> String {
    uri.user().unwrap_or_default().to_owned()
}

fn destination(contact: &str) -> Option<Destination> {
    literal(&Uri::parse_str(contact).ok()?, Transport::Udp)
}

impl Node for Service {
    fn handle_input(&mut self, now: Instant, flow: Flow, bytes: Bytes) {
        self.endpoint.handle_input(now, flow, bytes);
        self.drain(now);
    }

    fn handle_flow_failed(&mut self, now: Instant, to: Destination, flow: Option<FlowId>, reason: &str) {
        self.endpoint.handle_flow_failed(now, to, flow, reason);
        self.drain(now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.endpoint.handle_timeout(now);
        self.drain(now);
    }

    fn poll_transmit(&mut self) -> Option<Transmit> {
        self.endpoint.poll_transmit()
    }

    fn poll_timeout(&mut self) -> Option<Instant> {
        let expiry = self.published.values().flatten().map(|published| published.until).min();
        [self.endpoint.poll_timeout(), expiry].into_iter().flatten().min()
    }
}
