//! SUBSCRIBE (RFC 6665, section 4.2.1), package `presence` (RFC 3856).

use std::sync::Arc;
use std::time::{Duration, Instant};

use attache_documents::xcap::DIFF_TYPE;
use attache_documents::{pidf, pidf_diff, watcher_info};
use attache_sip::endpoint::Response;
use attache_sip::message::{HeaderName, Message};
use attache_sip::transaction::ServerTransactionId;
use attache_sip::transport::Flow;

use super::access::{Challenger, Sender};
use super::notify::presence_etag;
use super::own::{OwnWatch, Package};
use super::partial::prefers_changes;
use super::rls::{self, list_etag};
use super::view::View;
use super::winfo::{self, WatcherWatch};
use super::{ALLOW_EVENTS, Core, Due, PRESENCE, changes, conference};
use crate::directory::{Aor, domain, identity};
use crate::rates::{Pace, Rates};
use crate::reach::Reach;
use crate::subscription::{DialogId, ListWatch, Subject, Subscription};

/// The package of calls (RFC 4235), which is passed on.
const DIALOG: &str = "dialog";

/// More would be a route through more proxies than Max-Forwards lets anything pass.
const MAX_ROUTES: usize = 70;

/// Bytes of text that a subscription may have us keep for its time.
const LARGEST_DIALOG: usize = 4 * 1024;

/// Users whom a watcher may watch, and subscriptions it may have, to be told of again and again where it wants that
/// (RFC 6446).
const MOST_REPEATED: usize = 200;

impl Core {
    pub(super) fn on_subscribe(
        &mut self,
        now: Instant,
        id: ServerTransactionId,
        request: &Message,
        flow: &Flow,
    ) {
        // Calls are known to the devices that have them: they decide who hears of them, and say it themselves.
        if request.event().is_some_and(|event| event.package == DIALOG) {
            self.on_call(now, id, request, flow, Challenger::Server);
            return;
        }
        let known = |package: &str| {
            [PRESENCE, winfo::PACKAGE, changes::PACKAGE, conference::PACKAGE].contains(&package)
                || Package::named(package).is_some()
        };
        if request.event().is_none_or(|event| !known(event.package)) {
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
        let expires = asked.min(self.limits.max_expires).min(sender.left);
        if request.to().is_ok_and(|to| to.tag().is_some()) {
            self.refresh(now, id, request, flow, &sender, expires);
        } else if let Some(subject) = self.subject(now, id, request, &sender) {
            let presentity = if let Subject::Presence(aor) = &subject { Some(Aor::clone(aor)) } else { None };
            self.subscribe(now, id, request, flow, sender, subject, expires);
            // Where that was refused, nothing is left of the look at what there is.
            if let Some(presentity) = presentity {
                self.forget_if_nobody(&presentity);
            }
        }
    }

    /// What a request wants to watch; `None` when it was answered.
    fn subject(
        &mut self,
        now: Instant,
        id: ServerTransactionId,
        request: &Message,
        sender: &Sender,
    ) -> Option<Subject> {
        match request.event()?.package {
            winfo::PACKAGE => return self.own_watchers(now, id, request, sender),
            changes::PACKAGE => return self.own_documents(now, id, request, sender),
            conference::PACKAGE => return self.own_conference(now, id, request, sender),
            name => {
                if let Some(package) = Package::named(name) {
                    return self.own_affairs(now, id, request, sender, package);
                }
            }
        }
        let wanted = self.wanted_list(request, sender).and_then(|list| match list {
            Some(list) => rls::understands_lists(request).map(|()| Some(list)),
            None => Ok(None),
        });
        match wanted {
            Ok(Some(list)) => return Some(Subject::List(Box::new(list))),
            Ok(None) => {}
            Err(refusal) => {
                self.respond(now, id, &refusal);
                return None;
            }
        }
        let presentity = self.addressee(now, id, request)?;
        if !accepts(request, pidf::MEDIA_TYPE) && !accepts(request, pidf_diff::MEDIA_TYPE) {
            self.respond(now, id, &Response::new(406).header(HeaderName::Accept, pidf::MEDIA_TYPE));
            return None;
        }
        if matches!(self.view(now, &presentity, &sender.aor), View::Rejected) {
            self.forget_if_nobody(&presentity);
            self.refuse(now, id, 403, "");
            return None;
        }
        Some(Subject::Presence(presentity))
    }

    /// Who watches the sender, which nobody else may know (RFC 3857, section 4.6).
    fn own_watchers(
        &mut self,
        now: Instant,
        id: ServerTransactionId,
        request: &Message,
        sender: &Sender,
    ) -> Option<Subject> {
        let presentity = self.addressee(now, id, request)?;
        if presentity != sender.aor {
            self.refuse(now, id, 403, "Watchers Of Somebody Else");
            return None;
        }
        if !accepts(request, watcher_info::MEDIA_TYPE) {
            self.respond(now, id, &Response::new(406).header(HeaderName::Accept, watcher_info::MEDIA_TYPE));
            return None;
        }
        Some(Subject::Watchers(presentity, Box::new(WatcherWatch::new())))
    }

    /// The sender's own documents.
    fn own_documents(
        &mut self,
        now: Instant,
        id: ServerTransactionId,
        request: &Message,
        sender: &Sender,
    ) -> Option<Subject> {
        let owner = self.addressee(now, id, request)?;
        if owner != sender.aor {
            self.refuse(now, id, 403, "Documents Of Somebody Else");
            return None;
        }
        if !accepts(request, DIFF_TYPE) {
            self.respond(now, id, &Response::new(406).header(HeaderName::Accept, DIFF_TYPE));
            return None;
        }
        match self.wanted_documents(request, &owner) {
            Ok(watch) => Some(Subject::Documents(owner, Box::new(watch))),
            Err(refusal) => {
                self.respond(now, id, &refusal);
                None
            }
        }
    }

    /// The sender's own affairs.
    fn own_affairs(
        &mut self,
        now: Instant,
        id: ServerTransactionId,
        request: &Message,
        sender: &Sender,
        package: Package,
    ) -> Option<Subject> {
        let owner = self.addressee(now, id, request)?;
        if owner != sender.aor {
            self.refuse(now, id, 403, "Affairs Of Somebody Else");
            return None;
        }
        if !accepts(request, package.media_type()) {
            self.respond(now, id, &Response::new(406).header(HeaderName::Accept, package.media_type()));
            return None;
        }
        Some(Subject::Own(owner, Box::new(OwnWatch::new(package))))
    }

    /// The list that a request is for, if it is for one.
    fn wanted_list(&self, request: &Message, sender: &Sender) -> Result<Option<ListWatch>, Box<Response>> {
        let Ok(uri) = request.request_uri() else { return Ok(None) };
        if !domain(&uri).is_some_and(|domain| self.directory.is_ours(&domain)) {
            return Ok(None);
        }
        if let Some(entries) = self.requested_list(request, &sender.aor)? {
            return Ok(Some(ListWatch::new(uri.as_str().to_owned(), None, entries)));
        }
        let Some((name, list)) = identity(&uri).and_then(|name| self.lists.find(&name)) else {
            return Ok(None);
        };
        if !list.is_readable(&sender.aor) {
            return Err(Box::new(Response::new(403).reason("List Of Somebody Else")));
        }
        Ok(Some(ListWatch::new(uri.as_str().to_owned(), Some(name), Arc::clone(&list.entries))))
    }

    #[allow(clippy::too_many_arguments, reason = "what a request is made of, taken apart once")]
    fn subscribe(
        &mut self,
        now: Instant,
        id: ServerTransactionId,
        request: &Message,
        flow: &Flow,
        sender: Sender,
        subject: Subject,
        expires: Duration,
    ) {
        let has = self.presence.count_of(&sender.aor);
        let breadth = subject.breadth();
        if self.presence.subscriptions.len() >= self.limits.subscriptions
            || has.subscriptions >= self.limits.subscriptions_per_user
            || !self.has_room(&sender.aor, breadth)
        {
            self.respond(now, id, &too_many());
            return;
        }
        let tag = self.fresh_tag();
        let contact = self.contact(flow);
        let Some(mut subscription) =
            new_subscription(now, request, flow, sender.aor, subject, expires, &tag, &contact)
        else {
            self.refuse(now, id, 400, "Missing Contact Or Tag");
            return;
        };
        if subscription.text() > LARGEST_DIALOG {
            self.refuse(now, id, 513, "");
            return;
        }
        if let Some(event) = request.event() {
            let repeats = has.watched + breadth <= MOST_REPEATED && has.subscriptions < MOST_REPEATED;
            let rates = Rates::granted(&event, self.limits.notify_interval, repeats);
            subscription.pace = Pace::with(rates, subscription.pace.take());
        }
        if let Some(known) = request.header(HeaderName::SuppressIfMatch) {
            self.suppress_first(now, &mut subscription, known);
        }
        self.respond(now, id, &accepted(expires, &subscription).to_tag(tag));
        let name = subscription.list_name();
        let subscription = self.presence.add(subscription);
        if let Some(list) = name.and_then(|name| self.lists.get_mut(&name)) {
            list.watchers.insert(subscription);
        }
        match self.presence.subscriptions.get(&subscription).map(|added| &added.subject) {
            Some(Subject::Watchers(presentity, _)) => self.observe(&Aor::clone(presentity), subscription),
            Some(Subject::Documents(owner, _)) => self.keeps_an_eye(&Aor::clone(owner), subscription),
            Some(Subject::Conference(watch)) => {
                let conference = watch.conference();
                self.roster_watched(conference, subscription);
            }
            Some(Subject::Own(owner, watch)) => {
                let package = watch.package;
                self.owner_came(&Aor::clone(owner), package, subscription);
            }
            _ => {}
        }
        self.arm(now, subscription, expires);
        self.queue(subscription);
    }

    /// A watcher that comes back with the state it has is only told that it holds (RFC 5839, section 5.3).
    fn suppress_first(&mut self, now: Instant, subscription: &mut Subscription, known: &[u8]) {
        let watcher = Aor::clone(&subscription.watcher);
        match &mut subscription.subject {
            Subject::Presence(aor) => {
                let mark = self.view(now, aor, &watcher).mark();
                subscription.bare = matches(known, &presence_etag(mark));
            }
            Subject::List(list) => {
                subscription.bare = matches(known, &list_etag(self.list_digest(now, &watcher, list)));
                if subscription.bare {
                    self.list_is_known(now, &watcher, list);
                }
            }
            Subject::Watchers(..)
            | Subject::Documents(..)
            | Subject::Own(..)
            | Subject::Conference(_)
            | Subject::Taken => {}
        }
    }

    /// The entity tag of the state, where the watcher has it already and wants no NOTIFY then (RFC 5839, section 5.2).
    fn suppressed(&mut self, now: Instant, number: u64, request: &Message) -> Option<String> {
        let known = request.header(HeaderName::SuppressIfMatch)?;
        let subscription = self.presence.subscriptions.get_mut(&number)?;
        let etag = match &subscription.subject {
            Subject::Presence(aor) => {
                let (aor, watcher) = (Aor::clone(aor), Aor::clone(&subscription.watcher));
                presence_etag(self.view(now, &aor, &watcher).mark())
            }
            Subject::List(list) if list.full || list.any_touched() => return None,
            Subject::List(list) => list_etag(list.digest),
            Subject::Watchers(..)
            | Subject::Documents(..)
            | Subject::Own(..)
            | Subject::Conference(_)
            | Subject::Taken => {
                return None;
            }
        };
        matches(known, &etag).then_some(etag)
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
        // Another package in the same dialog would be another subscription (RFC 6665, section 4.5.2).
        let package = |event: &str| event.split(';').next().unwrap_or_default().to_owned();
        let event = event_of(request).unwrap_or_default();
        if package(&event) != package(&subscription.event) {
            self.respond(now, id, &Response::new(489).header(HeaderName::AllowEvents, ALLOW_EVENTS));
            return;
        }
        if event != subscription.event {
            self.refuse(now, id, 481, "");
            return;
        }
        let cseq = request.cseq().map_or(0, |cseq| cseq.number);
        if cseq <= subscription.remote_cseq {
            self.refuse(now, id, 500, "Out Of Order");
            return;
        }
        subscription.remote_cseq = cseq;
        if let Err(refusal) = self.want_anew(now, number, request, sender) {
            self.respond(now, id, &refusal);
            return;
        }
        let has = self.presence.count_of(&sender.aor);
        let repeats = has.watched <= MOST_REPEATED && has.subscriptions <= MOST_REPEATED;
        let Some(subscription) = self.presence.subscriptions.get_mut(&number) else { return };
        if let Some(event) = request.event() {
            let rates = Rates::granted(&event, self.limits.notify_interval, repeats);
            subscription.pace = Pace::with(rates, subscription.pace.take());
        }
        if let Some(Ok(contact)) = request.contacts().next()
            && let Ok(uri) = contact.uri()
            && subscription.text() - subscription.target.len() + uri.as_str().len() <= LARGEST_DIALOG
        {
            subscription.target = uri.as_str().to_owned();
            subscription.reach = reach(&subscription.routes, &uri, flow);
        }
        let response = accepted(expires, subscription);
        if let Some(etag) = self.suppressed(now, number, request) {
            let response = Response { status: 204, ..response };
            self.respond(now, id, &response.header(HeaderName::SipEtag, etag));
            if expires.is_zero() {
                self.forget_subscription(number);
            } else {
                self.arm(now, number, expires);
            }
            return;
        }
        self.respond(now, id, &response);
        self.arm(now, number, expires);
        if let Some(subscription) = self.presence.subscriptions.get_mut(&number) {
            subscription.start_over();
            // Who asks can take an answer.
            (subscription.resting, subscription.tries) = (false, 0);
            self.timers.clear(&Due::Renotify(number));
        }
        self.queue(number);
    }

    /// What a refresh wants to watch from now on, where it says so; nothing has changed where that is refused.
    fn want_anew(
        &mut self,
        now: Instant,
        number: u64,
        request: &Message,
        sender: &Sender,
    ) -> Result<(), Box<Response>> {
        let Some(subscription) = self.presence.subscriptions.get(&number) else { return Ok(()) };
        match &subscription.subject {
            Subject::List(list) if list.name.is_none() => {
                if let Some(entries) = self.requested_list(request, &sender.aor)?
                    && !self.exchange(now, number, entries)
                {
                    return Err(Box::new(too_many()));
                }
            }
            Subject::Documents(owner, _) if !request.body().is_empty() => {
                let wanted = self.wanted_documents(request, owner)?;
                if let Some(Subscription { subject: Subject::Documents(_, watch), .. }) =
                    self.presence.subscriptions.get_mut(&number)
                {
                    **watch = wanted;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Sets when a subscription ends; one of no time ends with the next NOTIFY.
    fn arm(&mut self, now: Instant, id: u64, expires: Duration) {
        let Some(subscription) = self.presence.subscriptions.get_mut(&id) else { return };
        subscription.expires_at = now + expires;
        if expires.is_zero() {
            subscription.ended = true;
            subscription.end = "timeout";
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
        self.end(id, "timeout");
    }
}

fn too_many() -> Response {
    Response::new(503).reason("Too Many Subscriptions").header(HeaderName::RetryAfter, "60")
}

/// The value of Event in what belongs to a subscription: the package, with the watcher's `id`.
fn event_of(request: &Message) -> Option<String> {
    let event = request.event()?;
    Some(match event.id() {
        Some(id) => format!("{};id={id}", event.package),
        None => event.package.to_owned(),
    })
}

/// Whether the tags that a watcher named fit the state.
fn matches(known: &[u8], etag: &str) -> bool {
    let known = known.trim_ascii();
    known == b"*" || known == etag.as_bytes()
}

fn accepted(expires: Duration, subscription: &Subscription) -> Response {
    let response = Response::new(200)
        .header(HeaderName::Expires, expires.as_secs().to_string())
        .header(HeaderName::Contact, &*subscription.contact);
    match subscription.subject {
        Subject::List(_) => response.header(HeaderName::Require, rls::EVENT_LIST),
        _ => response,
    }
}

/// Whether a watcher reads documents of a type of its package: those who do not say read them (RFC 3856, section 6.7).
pub(super) fn accepts(request: &Message, media_type: &str) -> bool {
    let mut any = false;
    for value in request.values(HeaderName::Accept) {
        any = true;
        let kind = value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        if [media_type, "application/*", "*/*"].iter().any(|ours| kind.eq_ignore_ascii_case(ours.as_bytes()))
        {
            return true;
        }
    }
    !any
}

pub(super) fn dialog_of(request: &Message) -> Option<DialogId> {
    Some(DialogId {
        call_id: request.call_id()?.to_owned(),
        local_tag: request.to().ok()?.tag()?.to_owned(),
        remote_tag: request.from().ok()?.tag()?.to_owned(),
    })
}

/// Where the sender of a request is reached from now on, within the dialog that it begins. `None` without a Contact.
pub(super) fn first_reach(request: &Message, flow: &Flow) -> Option<Reach> {
    let contact = request.contacts().next()?.ok()?;
    let is_routed = request.header(HeaderName::RecordRoute).is_some();
    let routes = if is_routed { &[String::new()][..] } else { &[] };
    Some(reach(routes, &contact.uri().ok()?, flow))
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
    subject: Subject,
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
    let event = event_of(request)?;
    let is_partial = matches!(subject, Subject::Presence(_)) && prefers_changes(request);
    Some(Subscription {
        dialog: DialogId {
            call_id: request.call_id()?.to_owned(),
            local_tag: tag.to_owned(),
            remote_tag: request.from().ok()?.tag()?.to_owned(),
        },
        subject,
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
        end: "timeout",
        fetch: expires.is_zero(),
        must: true,
        bare: false,
        told: None,
        pace: None,
        partial: is_partial.then(Box::default),
        goes_on: false,
        in_flight: false,
        resting: false,
        tries: 0,
        behind: false,
        queued: false,
    })
}
