//! NOTIFY (RFC 6665, section 4.2.2): what watchers are told, and when.
//!
//! A watcher has at most one NOTIFY on its way. What changes meanwhile is told by the one after it, so a slow watcher
//! skips states and costs nothing. A presentity is told about at most once in its interval, the latest state then.

use std::sync::Arc;
use std::time::{Duration, Instant};

use attache_documents::{pidf, pidf_diff};
use attache_sip::endpoint::{Failure, Request};
use attache_sip::message::{HeaderName, Method};
use attache_sip::uri::Uri;
use bytes::Bytes;

use super::rls::{EVENT_LIST, list_etag};
use super::view::View;
use super::{Core, Due, NOTIFY_SLICE, Outcome, Use};
use crate::directory::Aor;
use crate::reach::Reach;
use crate::registrar::Registrar;
use crate::subscription::{Mark, Subject};

/// Answers to NOTIFY that end a subscription (RFC 6665, section 4.2.2, by way of RFC 5057, section 5).
const FATAL: [u16; 13] = [401, 403, 404, 405, 407, 408, 410, 416, 480, 481, 482, 489, 501];

/// Times that a NOTIFY is sent to a watcher who cannot take it at the moment. More end the subscription.
const MAX_TRIES: u32 = 5;
/// Wait before the second one, and so much more before each further one, where the watcher names no time.
const FIRST_REST: Duration = Duration::from_secs(5);
/// Bounds on the time that the watcher names.
const SHORTEST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(300);

impl Core {
    /// Somebody's presence may have changed: tells the watchers now, or when the quiet time is over.
    pub(super) fn changed(&mut self, now: Instant, aor: &Aor) {
        let Some(presentity) = self.presence.presentities.get(aor) else { return };
        if presentity.is_forgettable() {
            self.presence.presentities.remove(aor);
            return;
        }
        match presentity.quiet_until {
            Some(until) if until > now => self.timers.set(Due::News(Aor::clone(aor)), until),
            _ => self.tell(now, aor),
        }
    }

    /// Tells all watchers, if there is something that they have not heard.
    pub(super) fn tell(&mut self, now: Instant, aor: &Aor) {
        let Some(presentity) = self.presence.presentities.get_mut(aor) else { return };
        if !presentity.news(aor) {
            return;
        }
        presentity.quiet_until = Some(now + self.limits.notify_interval);
        self.tell_all(now, aor);
    }

    /// Has each watcher of somebody look whether there is something to tell.
    pub(super) fn tell_all(&mut self, now: Instant, aor: &Aor) {
        let Some(presentity) = self.presence.presentities.get(aor) else { return };
        let mut lists = Vec::new();
        for &(id, slot) in &presentity.watchers {
            let Some(subscription) = self.presence.subscriptions.get_mut(&id) else { continue };
            if let Subject::List(list) = &mut subscription.subject {
                list.touch(slot);
                lists.push(id);
            } else if !subscription.queued {
                subscription.queued = true;
                self.ready.push_back(id);
            }
        }
        for id in lists {
            self.list_news(now, id);
        }
    }

    /// Puts one watcher into the queue.
    pub(super) fn queue(&mut self, id: u64) {
        if let Some(subscription) = self.presence.subscriptions.get_mut(&id)
            && !subscription.queued
        {
            subscription.queued = true;
            self.ready.push_back(id);
        }
    }

    /// Sends the NOTIFYs that are due, but no more than leaves room for other work.
    pub(super) fn send_ready(&mut self, now: Instant) {
        for presentity in core::mem::take(&mut self.presence.watched_anew) {
            self.watchers_changed(now, &presentity);
        }
        let mut cost = 0;
        while cost < NOTIFY_SLICE {
            let Some(id) = self.ready.pop_front() else { return };
            cost += self.notify(now, id);
        }
    }

    /// Sends a NOTIFY, if there is something to tell. What it cost, in NOTIFYs of one document.
    fn notify(&mut self, now: Instant, id: u64) -> usize {
        let Some(subscription) = self.presence.subscriptions.get_mut(&id) else { return 1 };
        subscription.queued = false;
        if subscription.in_flight || (subscription.resting && !subscription.ended) {
            subscription.behind = true;
            return 1;
        }
        subscription.behind = false;
        let free = subscription.must || subscription.ended || subscription.goes_on;
        let held = subscription.pace.as_ref().and_then(|pace| pace.held_until());
        if let Some(until) = held.filter(|until| !free && *until > now) {
            self.timers.set(Due::Pace(id), until);
            return 1;
        }
        let watcher = Aor::clone(&subscription.watcher);
        let transport = subscription.reach.destination.transport;
        let mut subject = core::mem::replace(&mut subscription.subject, Subject::Taken);
        let (ended, fetch) = (subscription.ended, subscription.fetch);
        let (must, told) = (core::mem::take(&mut subscription.must), subscription.told);
        let bare = core::mem::take(&mut subscription.bare);
        let mut partial = subscription.partial.take();
        let notice = match &mut subject {
            Subject::Presence(aor) => {
                let view = self.view(now, aor, &watcher);
                let known = told == Some(view.mark()) && !must && !ended;
                match (view, &mut partial) {
                    _ if known => None,
                    (View::Shown(shown), Some(partial)) if !bare => {
                        let body = self.partial_body(partial, &shown);
                        let notice = Notice::of(View::Shown(shown), body.is_some());
                        let content_type = pidf_diff::MEDIA_TYPE.to_owned();
                        Some(match body {
                            Some(body) => Notice { body: Some(body), content_type, ..notice },
                            None => notice,
                        })
                    }
                    (view, _) => Some(Notice::of(view, bare)),
                }
            }
            Subject::List(list) if bare || (ended && !fetch) => {
                let etag = list_etag(list.digest);
                Some(Notice { state: "active", etag, is_list: true, ..Notice::default() })
            }
            Subject::List(list) => self.list_notice(now, id, &watcher, list, transport),
            Subject::Watchers(..) | Subject::Documents(..) | Subject::Own(..) | Subject::Conference(_)
                if ended && !fetch =>
            {
                None
            }
            Subject::Watchers(aor, watch) => self.watchers_notice(now, aor, watch, must, transport),
            Subject::Documents(owner, watch) => self.documents_notice(owner, watch, must, transport),
            Subject::Own(owner, watch) => self.own_notice(now, owner, watch, must),
            Subject::Conference(watch) => self.roster_notice(now, watch, must),
            Subject::Taken => None,
        };
        let Some(subscription) = self.presence.subscriptions.get_mut(&id) else { return 1 };
        (subscription.subject, subscription.partial) = (subject, partial);
        let notice = match notice {
            Some(notice) => notice,
            None if ended => Notice::default(),
            None => {
                self.arm_pace(id);
                return 1;
            }
        };
        if let Some(pace) = &mut subscription.pace {
            pace.told(now);
        }
        subscription.goes_on = notice.more;
        let cost = 1 + notice.body.as_ref().map_or(0, Bytes::len) / 4096;
        subscription.told = Some(notice.mark);
        subscription.local_cseq += 1;
        if notice.state == "terminated" {
            (subscription.ended, subscription.end) = (true, "rejected");
        }
        // What is wanted once may take several bodies.
        let last = subscription.ended && !notice.more;
        let left = subscription.expires_at.saturating_duration_since(now).as_secs();
        let state = if last {
            format!("terminated;reason={}", subscription.end)
        } else {
            let mut state = format!("{};expires={left}", notice.state);
            if let Some(pace) = &subscription.pace {
                pace.rates.write(&mut state);
            }
            state
        };
        let mut request = Request::new(Method::Notify, &*subscription.target)
            .from(&*subscription.local)
            .to(&*subscription.remote)
            .call_id(&*subscription.dialog.call_id)
            .cseq(subscription.local_cseq)
            .header(HeaderName::Contact, &*subscription.contact)
            .header(HeaderName::Event, &*subscription.event)
            .header(HeaderName::SubscriptionState, state);
        if !notice.etag.is_empty() {
            request.push(HeaderName::SipEtag, notice.etag);
        }
        if notice.is_list {
            request.push(HeaderName::Require, EVENT_LIST);
        }
        if let Some(body) = notice.body {
            request = request.body(notice.content_type, body);
        }
        for route in &subscription.routes {
            request.push(HeaderName::Route, &**route);
        }
        let mut reach = subscription.reach;
        if let Some((contact, at, path)) = device_of(&self.registrar, &subscription.target, &watcher, now) {
            (request.uri, reach) = (contact, at);
            for hop in path.iter() {
                request.push(HeaderName::Route, &**hop);
            }
        }
        match self.endpoint.send_request(now, &request, reach.destination, reach.flow) {
            Ok(transaction) if last => {
                // Nothing depends on the answer to the last one.
                tracing::trace!(?transaction, "subscription ended");
                self.forget_subscription(id);
            }
            Ok(transaction) => {
                if let Some(subscription) = self.presence.subscriptions.get_mut(&id) {
                    subscription.in_flight = true;
                    subscription.behind = notice.more;
                }
                self.uses.insert(transaction, Use::Notify { subscription: id, reach });
                self.arm_pace(id);
            }
            Err(error) => {
                tracing::debug!(%error, "a NOTIFY cannot be written");
                self.forget_subscription(id);
            }
        }
        cost
    }

    /// Sets when a watcher is told even without news, if it wants that.
    fn arm_pace(&mut self, id: u64) {
        let Some(subscription) = self.presence.subscriptions.get(&id) else { return };
        if let Some(at) = subscription.pace.as_ref().and_then(|pace| pace.repeat_at()) {
            self.timers.set(Due::Pace(id), at);
        }
    }

    /// A watcher may hear again, or wants to.
    pub(super) fn paced(&mut self, now: Instant, id: u64) {
        let Some(subscription) = self.presence.subscriptions.get_mut(&id) else { return };
        if subscription.pace.as_ref().and_then(|pace| pace.repeat_at()).is_some_and(|at| at <= now) {
            subscription.start_over();
        }
        self.queue(id);
    }

    /// The next NOTIFY of a subscription is its last.
    pub(super) fn end(&mut self, id: u64, reason: &'static str) {
        if let Some(subscription) = self.presence.subscriptions.get_mut(&id) {
            (subscription.ended, subscription.end) = (true, reason);
            self.queue(id);
        }
    }

    /// A watcher has answered, or cannot be asked.
    pub(super) fn notified(&mut self, now: Instant, id: u64, reach: Reach, outcome: &Outcome) {
        let Some(subscription) = self.presence.subscriptions.get_mut(&id) else { return };
        subscription.in_flight = false;
        let status = match outcome {
            Outcome::Answered(answer) => answer.status().unwrap_or(500),
            // As RFC 6665, section 4.2.2 wants it.
            Outcome::Failed(Failure::Timeout) => 408,
            // A watcher that has refreshed from elsewhere meanwhile is not gone.
            Outcome::Failed(_) if reach == subscription.reach && reach.ends_with_its_flow() => 410,
            Outcome::Failed(_) => 503,
        };
        if (200..300).contains(&status) {
            subscription.tries = 0;
            if subscription.behind || subscription.ended {
                self.queue(id);
            }
            return;
        }
        subscription.tries += 1;
        // Whatever was in it did not arrive.
        subscription.start_over();
        if FATAL.contains(&status) || subscription.tries > MAX_TRIES {
            self.forget_subscription(id);
            return;
        }
        if subscription.ended {
            self.queue(id);
            return;
        }
        let wanted = match outcome {
            Outcome::Answered(answer) => answer.retry_after(),
            Outcome::Failed(_) => None,
        };
        let wait =
            wanted.map_or(FIRST_REST * subscription.tries, |after| Duration::from_secs(after.seconds.into()));
        subscription.resting = true;
        self.timers.set(Due::Renotify(id), now + wait.clamp(SHORTEST_REST, LONGEST_REST));
    }

    /// The time is over for which a watcher could not take a NOTIFY.
    pub(super) fn notify_again(&mut self, id: u64) {
        if let Some(subscription) = self.presence.subscriptions.get_mut(&id) {
            subscription.resting = false;
            self.queue(id);
        }
    }

    pub(super) fn forget_subscription(&mut self, id: u64) {
        self.timers.clear(&Due::Renotify(id));
        self.timers.clear(&Due::Subscription(id));
        self.timers.clear(&Due::ListNews(id));
        self.timers.clear(&Due::Pace(id));
        let Some(subscription) = self.presence.remove(id) else { return };
        self.watcher_left(self.now, id, &subscription);
        match subscription.subject {
            Subject::List(list) => {
                if let Some(list) = list.name.and_then(|name| self.lists.get_mut(&name)) {
                    list.watchers.remove(&id);
                }
            }
            Subject::Documents(owner, _) => self.loses_the_eye(&owner, id),
            Subject::Own(owner, watch) => self.owner_left(&owner, watch.package, id),
            Subject::Conference(watch) => self.roster_left(&watch, id),
            _ => {}
        }
    }
}

/// Where a device is now that a watcher gave the address of (RFC 5627, section 5.4): its contact, and the way there. Only
/// for a device of its own: nobody has others told what they did not ask for.
fn device_of(
    registrar: &Registrar,
    target: &str,
    watcher: &Aor,
    now: Instant,
) -> Option<(String, Reach, Arc<[String]>)> {
    let (aor, device) = registrar.device(&Uri::parse_str(target).ok()?)?;
    if aor != *watcher {
        return None;
    }
    let targets = registrar.targets(&aor, Some(&device?), now);
    targets.first().map(|one| (one.contact.as_str().to_owned(), one.reach, Arc::clone(&one.path)))
}

/// What a watcher is told.
#[derive(Default)]
pub(super) struct Notice {
    /// `active`, `pending` or `terminated`.
    pub(super) state: &'static str,
    pub(super) content_type: String,
    pub(super) body: Option<Bytes>,
    /// Empty where the state has none.
    pub(super) etag: String,
    /// What the watcher knows from then on.
    pub(super) mark: Mark,
    pub(super) is_list: bool,
    /// There is more to tell at once.
    pub(super) more: bool,
}

impl Notice {
    /// Of one presentity. `bare` leaves out what the watcher has.
    fn of(view: View, bare: bool) -> Self {
        let mark = view.mark();
        let (state, body) = match view {
            View::Shown(shown) => ("active", Some(shown.body)),
            View::Pending => ("pending", None),
            View::Rejected => ("terminated", None),
        };
        Self {
            state,
            content_type: pidf::MEDIA_TYPE.to_owned(),
            body: body.filter(|_| !bare),
            etag: presence_etag(mark),
            mark,
            ..Self::default()
        }
    }
}

/// The entity tag of a presentity's state (RFC 5839, section 4.1).
pub(super) fn presence_etag(mark: Mark) -> String {
    format!("p{mark:016x}")
}
