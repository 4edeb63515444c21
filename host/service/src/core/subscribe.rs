//! SUBSCRIBE (RFC 6665, section 4.2.1), package `presence` (RFC 3856).

use std::time::{Duration, Instant};

use attache_documents::pidf;
use attache_sip::endpoint::Response;
use attache_sip::message::{HeaderName, Message};
use attache_sip::transaction::ServerTransactionId;
use attache_sip::transport::Flow;

use super::access::{Challenger, Sender};
use super::{ALLOW_EVENTS, Core, Due};
use crate::directory::Aor;
use crate::presence::{DialogId, Subscription};
use crate::reach::Reach;

/// More would be a route through more proxies than Max-Forwards lets anything pass.
const MAX_ROUTES: usize = 70;

/// Bytes of text that a subscription may have us keep for its time.
const LARGEST_DIALOG: usize = 4 * 1024;

impl Core {
    pub(super) fn on_subscribe(
        &mut self,
        now: Instant,
        id: ServerTransactionId,
        request: &Message,
        flow: &Flow,
    ) {
        if request.event().is_none_or(|event| event.package != ALLOW_EVENTS) {
            self.respond(now, id, &Response::new(489).header(HeaderName::AllowEvents, ALLOW_EVENTS));
            return;
        }
        let Some(sender) = self.authenticate(now, id, request, flow, Challenger::Server) else { return };
        let asked = request.expires().map_or(self.limits.max_expires, |s| Duration::from_secs(s.into()));
        if !asked.is_zero() && asked < self.limits.min_expires {
            let least = self.limits.min_expires.as_secs().to_string();
            self.respond(now, id, &Response::new(423).header(HeaderName::MinExpires, least));
            return;
        }
        let expires = asked.min(self.limits.max_expires);
        if request.to().is_ok_and(|to| to.tag().is_some()) {
            self.refresh(now, id, request, flow, &sender, expires);
        } else if let Some(presentity) = self.addressee(now, id, request) {
            self.subscribe(now, id, request, flow, sender, presentity, expires);
        }
    }

    #[allow(clippy::too_many_arguments, reason = "what a request is made of, taken apart once")]
    fn subscribe(
        &mut self,
        now: Instant,
        id: ServerTransactionId,
        request: &Message,
        flow: &Flow,
        sender: Sender,
        presentity: Aor,
        expires: Duration,
    ) {
        if !accepts_presence(request) {
            self.respond(now, id, &Response::new(406).header(HeaderName::Accept, pidf::MEDIA_TYPE));
            return;
        }
        if self.presence.subscriptions.len() >= self.limits.subscriptions
            || self.presence.count_of(&sender.aor) >= self.limits.subscriptions_per_user
        {
            let refusal = Response::new(503).reason("Too Many Subscriptions");
            self.respond(now, id, &refusal.header(HeaderName::RetryAfter, "60"));
            return;
        }
        let tag = self.fresh_tag();
        let contact = self.contact(flow);
        let Some(subscription) =
            new_subscription(now, request, flow, sender.aor, presentity, expires, &tag, &contact)
        else {
            self.refuse(now, id, 400, "Missing Contact Or Tag");
            return;
        };
        if subscription.text() > LARGEST_DIALOG {
            self.refuse(now, id, 513, "");
            return;
        }
        self.respond(now, id, &accepted(expires, &contact).to_tag(tag));
        let subscription = self.presence.add(subscription);
        self.arm(now, subscription, expires);
        self.queue(subscription);
    }

    fn refresh(
        &mut self,
        now: Instant,
        id: ServerTransactionId,
        request: &Message,
        flow: &Flow,
        sender: &Sender,
        expires: Duration,
    ) {
        let dialog = dialog_of(request);
        let found = dialog.and_then(|dialog| self.presence.dialogs.get(&dialog)).copied();
        let Some((number, subscription)) =
            found.and_then(|number| Some((number, self.presence.subscriptions.get_mut(&number)?)))
        else {
            self.refuse(now, id, 481, "");
            return;
        };
        if subscription.watcher != sender.aor || subscription.ended {
            self.refuse(now, id, 481, "");
            return;
        }
        let cseq = request.cseq().map_or(0, |cseq| cseq.number);
        if cseq <= subscription.remote_cseq {
            self.refuse(now, id, 500, "Out Of Order");
            return;
        }
        subscription.remote_cseq = cseq;
        if let Some(Ok(contact)) = request.contacts().next()
            && let Ok(uri) = contact.uri()
            && subscription.text() - subscription.target.len() + uri.as_str().len() <= LARGEST_DIALOG
        {
            subscription.target = uri.as_str().to_owned();
            subscription.reach = reach(&subscription.routes, &uri, flow);
        }
        let contact = subscription.contact.clone();
        self.respond(now, id, &accepted(expires, &contact));
        self.arm(now, number, expires);
        self.queue(number);
    }

    /// Sets when a subscription ends; one of no time ends with the next NOTIFY.
    fn arm(&mut self, now: Instant, id: u64, expires: Duration) {
        let Some(subscription) = self.presence.subscriptions.get_mut(&id) else { return };
        subscription.expires_at = now + expires;
        if expires.is_zero() {
            subscription.ended = true;
            self.timers.clear(&Due::Subscription(id));
        } else {
            self.timers.set(Due::Subscription(id), now + expires);
        }
    }

    pub(super) fn expire_subscription(&mut self, now: Instant, id: u64) {
        let Some(subscription) = self.presence.subscriptions.get_mut(&id) else { return };
        if subscription.expires_at > now {
            self.timers.set(Due::Subscription(id), subscription.expires_at);
            return;
        }
        subscription.ended = true;
        self.queue(id);
    }
}

fn accepted(expires: Duration, contact: &str) -> Response {
    Response::new(200)
        .header(HeaderName::Expires, expires.as_secs().to_string())
        .header(HeaderName::Contact, contact)
}

/// Whether a watcher reads presence documents: those who do not say read them (RFC 3856, section 6.7).
fn accepts_presence(request: &Message) -> bool {
    let mut any = false;
    for value in request.values(HeaderName::Accept) {
        any = true;
        let kind = value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        if [pidf::MEDIA_TYPE, "application/*", "*/*"]
            .iter()
            .any(|ours| kind.eq_ignore_ascii_case(ours.as_bytes()))
        {
            return true;
        }
    }
    !any
}

fn dialog_of(request: &Message) -> Option<DialogId> {
    Some(DialogId {
        call_id: request.call_id()?.to_owned(),
        local_tag: request.to().ok()?.tag()?.to_owned(),
        remote_tag: request.from().ok()?.tag()?.to_owned(),
    })
}

/// Where NOTIFYs go: by a route, if there is one, whose first hop is where the request came from.
fn reach(routes: &[String], contact: &attache_sip::uri::Uri<'_>, flow: &Flow) -> Reach {
    if routes.is_empty() {
        return Reach::new(contact, flow);
    }
    let is_stream = flow.transport.is_reliable();
    Reach { destination: flow.back(), flow: is_stream.then_some(flow.id), is_listening: !is_stream }
}

#[allow(clippy::too_many_arguments, reason = "what a request is made of, taken apart once")]
fn new_subscription(
    now: Instant,
    request: &Message,
    flow: &Flow,
    watcher: Aor,
    presentity: Aor,
    expires: Duration,
    tag: &str,
    contact: &str,
) -> Option<Subscription> {
    let text = |name| Some(String::from_utf8_lossy(request.header(name)?).into_owned());
    let target = request.contacts().next()?.ok()?;
    let uri = target.uri().ok()?;
    let rows = request.values(HeaderName::RecordRoute);
    let routes: Vec<String> =
        rows.map(|row| String::from_utf8_lossy(row).into_owned()).take(MAX_ROUTES).collect();
    let event = match request.event()?.id() {
        Some(id) => format!("{ALLOW_EVENTS};id={id}"),
        None => ALLOW_EVENTS.to_owned(),
    };
    Some(Subscription {
        dialog: DialogId {
            call_id: request.call_id()?.to_owned(),
            local_tag: tag.to_owned(),
            remote_tag: request.from().ok()?.tag()?.to_owned(),
        },
        presentity,
        watcher,
        local: format!("{};tag={tag}", text(HeaderName::To)?),
        remote: text(HeaderName::From)?,
        target: uri.as_str().to_owned(),
        contact: contact.to_owned(),
        reach: reach(&routes, &uri, flow),
        routes,
        event,
        local_cseq: 0,
        remote_cseq: request.cseq().ok()?.number,
        expires_at: now + expires,
        ended: false,
        in_flight: false,
        resting: false,
        tries: 0,
        behind: false,
        queued: false,
    })
}
