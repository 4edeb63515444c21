//! NOTIFY (RFC 6665, section 4.2.2): what watchers are told, and when.
//!
//! A watcher has at most one NOTIFY on its way. What changes meanwhile is told by the one after it, so a slow watcher
//! skips states and costs nothing. A presentity is told about at most once in its interval, the latest state then.

use std::time::{Duration, Instant};

use attache_documents::pidf;
use attache_sip::endpoint::{Failure, Request};
use attache_sip::message::{HeaderName, Method};

use super::{Core, Due, NOTIFY_SLICE, Outcome, Use};
use crate::directory::Aor;
use crate::reach::Reach;

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
        for id in &presentity.watchers {
            if let Some(subscription) = self.presence.subscriptions.get_mut(id)
                && !subscription.queued
            {
                subscription.queued = true;
                self.ready.push_back(*id);
            }
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
        for _ in 0..NOTIFY_SLICE {
            let Some(id) = self.ready.pop_front() else { return };
            self.notify(now, id);
        }
    }

    fn notify(&mut self, now: Instant, id: u64) {
        let Some(subscription) = self.presence.subscriptions.get_mut(&id) else { return };
        subscription.queued = false;
        if subscription.in_flight || (subscription.resting && !subscription.ended) {
            subscription.behind = true;
            return;
        }
        subscription.behind = false;
        subscription.local_cseq += 1;
        let state = if subscription.ended {
            "terminated;reason=timeout".to_owned()
        } else {
            let left = subscription.expires_at.saturating_duration_since(now).as_secs();
            format!("active;expires={left}")
        };
        let presentity = self.presence.presentities.entry(Aor::clone(&subscription.presentity)).or_default();
        let document = presentity.document(&subscription.presentity);
        let mut request = Request::new(Method::Notify, &*subscription.target)
            .from(&*subscription.local)
            .to(&*subscription.remote)
            .call_id(&*subscription.dialog.call_id)
            .cseq(subscription.local_cseq)
            .header(HeaderName::Contact, &*subscription.contact)
            .header(HeaderName::Event, &*subscription.event)
            .header(HeaderName::SubscriptionState, state)
            .body(pidf::MEDIA_TYPE, document);
        for route in &subscription.routes {
            request.push(HeaderName::Route, &**route);
        }
        let (reach, ended) = (subscription.reach, subscription.ended);
        match self.endpoint.send_request(now, &request, reach.destination, reach.flow) {
            Ok(transaction) if ended => {
                // Nothing depends on the answer to the last one.
                tracing::trace!(?transaction, "subscription ended");
                self.forget_subscription(id);
            }
            Ok(transaction) => {
                if let Some(subscription) = self.presence.subscriptions.get_mut(&id) {
                    subscription.in_flight = true;
                }
                self.uses.insert(transaction, Use::Notify { subscription: id, reach });
            }
            Err(error) => {
                tracing::debug!(%error, "a NOTIFY cannot be written");
                self.forget_subscription(id);
            }
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

    fn forget_subscription(&mut self, id: u64) {
        self.timers.clear(&Due::Renotify(id));
        self.timers.clear(&Due::Subscription(id));
        self.presence.remove(id);
    }
}
