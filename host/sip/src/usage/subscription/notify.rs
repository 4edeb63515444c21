//! NOTIFY requests (RFC 6665 §4.1.3).

use std::sync::Arc;
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::fork::Fork;
use super::reason::after_termination;
use super::{Forks, Phase, Rates, SubscriptionState, Subscriptions, When};
use crate::agent::core::Core;
use crate::agent::{AgentEvent, Cause, Diagnostic, NotifyBody, SubscriptionId};
use crate::endpoint::Response;
use crate::message::{HeaderName, Message, SubscriptionState as SaidState, SubscriptionStatus};
use crate::transaction::{self, ServerTransactionId};
use crate::transport::Flow;

/// The most notifiers that one subscription listens to.
const MAX_FORKS: usize = 8;

/// Why a NOTIFY is refused: status and words for a log.
type Refusal = (u16, &'static str);

impl Subscriptions {
    pub(crate) fn on_notify(
        &mut self,
        core: &mut Core,
        now: Instant,
        transaction: ServerTransactionId,
        message: &Message,
        flow: &Flow,
    ) {
        let taken = self.take(core, now, message);
        let mut response = match taken {
            Ok(_) => Response::new(200),
            Err((status, why)) => {
                core.refused(now, message, flow, status, why);
                Response::new(status)
            }
        };
        if response.status == 489 {
            response = response.header(HeaderName::AllowEvents, core.allow_events());
        }
        core.answer(now, transaction, &response);
        if let Ok(Some((id, fork))) = taken {
            self.apply(core, now, id, fork, message);
        }
    }

    /// Finds or makes the fork that a NOTIFY belongs to. `None` for a repeat of one that was taken already.
    fn take(
        &mut self,
        core: &mut Core,
        now: Instant,
        message: &Message,
    ) -> Result<Option<(u64, u32)>, Refusal> {
        let event = message.event().ok_or((400, "the Event header is missing"))?;
        let to = message.to().map_err(|_| (400, "the To header is malformed"))?;
        let from = message.from().map_err(|_| (400, "the From header is malformed"))?;
        let unknown = (481, "no such subscription");
        let id = to.tag().and_then(|tag| transaction::parse_hex(tag.as_bytes())).ok_or(unknown)?;
        let subscription = self.all.get_mut(&id).ok_or(unknown)?;
        if message.call_id() != Some(&*subscription.call_id) {
            return Err(unknown);
        }
        if event.package != subscription.params.event_package() {
            return Err((489, "the event package is not the one subscribed to"));
        }
        if message.subscription_state().is_none() {
            return Err((400, "the Subscription-State header is missing"));
        }
        let remote_tag = from.tag().ok_or((400, "the From header has no tag"))?;
        let cseq = message.cseq().map_err(|_| (400, "the CSeq header is malformed"))?.number;
        let target = message
            .contacts()
            .next()
            .and_then(Result::ok)
            .and_then(|contact| contact.uri().ok().map(|uri| Box::<str>::from(uri.to_string())));

        if let Some(fork) = subscription.forks.iter_mut().find(|fork| &*fork.remote_tag == remote_tag) {
            if cseq < fork.remote_cseq {
                // RFC 3261 §12.2.2.
                return Err((500, "an earlier NOTIFY than the last one"));
            }
            if cseq == fork.remote_cseq {
                return Ok(None);
            }
            fork.remote_cseq = cseq;
            if let Some(target) = target {
                fork.target = target;
            }
            return Ok(Some((id, fork.id)));
        }

        let timeout = core.config.timers.timeout();
        let open = subscription.started.is_some_and(|started| now <= started + timeout);
        let room = match subscription.params.forks {
            Forks::Accept => MAX_FORKS,
            Forks::First => 1,
        };
        if !open || subscription.forks.len() >= room {
            return Err((481, "a further notifier is not wanted"));
        }
        let target = target.unwrap_or_else(|| {
            core.events.push_back(AgentEvent::Diagnostic(Diagnostic::Forgiven {
                id: SubscriptionId(id),
                what: "a NOTIFY without Contact",
            }));
            subscription.params.target.as_str().into()
        });
        let routes = message
            .values(HeaderName::RecordRoute)
            .map(|value| String::from_utf8_lossy(value).into())
            .collect();
        let fork = Fork::new(subscription.next_fork, remote_tag.into(), target, routes, cseq, now);
        let fork_id = fork.id;
        subscription.next_fork += 1;
        subscription.forks.push(fork);
        if !matches!(subscription.phase, Phase::Live { .. }) {
            subscription.phase = Phase::Live { since: now };
        }
        Ok(Some((id, fork_id)))
    }

    /// The answer to a SUBSCRIBE says that the state is the one that we have, and that no NOTIFY says so again: then the
    /// answer itself makes the dialog (RFC 5839).
    pub(super) fn resumed(&mut self, core: &mut Core, now: Instant, id: u64, answer: &Message) {
        let Some(subscription) = self.all.get_mut(&id) else { return };
        let tag = answer.to().ok().and_then(|to| to.tag().map(Box::<str>::from));
        let target = answer
            .contacts()
            .next()
            .and_then(Result::ok)
            .and_then(|contact| contact.uri().ok().map(|uri| Box::<str>::from(uri.to_string())));
        let (Some(remote_tag), Some(target)) = (tag, target) else { return };
        // A NOTIFY came after all.
        if !subscription.forks.is_empty() || !matches!(subscription.phase, Phase::Starting { .. }) {
            return;
        }
        if subscription.params.expires == 0 {
            let state = SubscriptionState::Terminated { cause: Cause::Ended { reason: String::new() } };
            self.tell(core, id, state, None, true, None);
            self.all.remove(&id);
            return;
        }
        // In an answer the route stands the other way round (RFC 3261 §12.1.2).
        let mut routes: SmallVec<[Box<str>; 1]> = answer
            .values(HeaderName::RecordRoute)
            .map(|value| String::from_utf8_lossy(value).into())
            .collect();
        routes.reverse();
        let longest = subscription.params.expires.max(1);
        let granted = subscription.granted.unwrap_or(longest).clamp(1, longest);
        let fork = subscription.next_fork;
        let mut known = Fork::new(fork, remote_tag, target, routes, 0, now);
        known.active = true;
        known.etag.clone_from(&subscription.etag);
        known.extend(core, now, Duration::from_secs(u64::from(granted)));
        subscription.next_fork += 1;
        subscription.forks.push(known);
        subscription.phase = Phase::Live { since: now };
        if subscription.closing.is_some() {
            return self.close(core, now, id, fork);
        }
        subscription.reported = Some(SubscriptionState::Active);
        self.tell(core, id, SubscriptionState::Active, None, true, None);
        self.arm(core, id);
    }

    /// Does what a NOTIFY says.
    fn apply(&mut self, core: &mut Core, now: Instant, id: u64, fork: u32, message: &Message) {
        let Some(said) = message.subscription_state() else { return };
        let Some(subscription) = self.all.get_mut(&id) else { return };
        let granted = subscription.granted.unwrap_or(subscription.params.expires);
        let fetch = subscription.params.expires == 0;
        let longest = subscription.params.expires.max(1);
        let closing = subscription.closing.is_some();
        let alone = subscription.forks.len() == 1;
        let had = subscription.etag.clone();
        let only_changes = subscription.params.etag.as_deref() == Some("*");
        subscription.rates = granted_rates(&said);
        let Some(known) = subscription.fork_mut(fork) else { return };
        let first = known.etag.is_none();
        let etag: Option<Arc<str>> = message.sip_etag().map(Into::into);
        // The state that we have is the present one, and not said again (RFC 5839).
        let unchanged = message.body().is_empty()
            && etag.is_some()
            && ((alone && etag == had) || known.etag == etag || (first && only_changes && had.is_none()));
        // The last word of a dialog has often no body, and takes nothing back.
        if etag.is_some() || !message.body().is_empty() || said.status != SubscriptionStatus::Terminated {
            known.etag.clone_from(&etag);
            subscription.etag = if alone { etag.clone() } else { None };
        }
        let Some(known) = subscription.fork_mut(fork) else { return };
        let notify = (!message.body().is_empty()).then(|| NotifyBody {
            fork,
            content_type: message
                .header(HeaderName::ContentType)
                .map(|value| String::from_utf8_lossy(value).into_owned())
                .unwrap_or_default(),
            body: message.body_bytes(),
            etag,
            require: message
                .values(HeaderName::Require)
                .map(|tag| String::from_utf8_lossy(tag).into_owned())
                .collect(),
        });
        let ended = said.status == SubscriptionStatus::Terminated;
        if ended || fetch {
            let reason = said.reason().unwrap_or_default();
            let when = after_termination(said.reason(), said.retry_after());
            let cause = if closing { Cause::Closed } else { Cause::Ended { reason: reason.to_owned() } };
            let when = if fetch { When::Never } else { when };
            return self.drop_fork(core, now, id, fork, cause, when, notify);
        }
        known.active = said.status != SubscriptionStatus::Pending;
        known.timer_n = None;
        match said.expires() {
            // No longer than was asked for (RFC 6665 §4.2.1.1).
            Some(seconds) => {
                known.extend(core, now, Duration::from_secs(u64::from(seconds.clamp(1, longest))));
            }
            // The header may leave the time out: then what was last granted counts on.
            None if known.expires_at <= now => {
                known.extend(core, now, Duration::from_secs(u64::from(granted.clamp(1, longest))));
            }
            None => {}
        }
        let idle = !known.busy;
        let active = subscription.forks.iter().any(|fork| fork.active);
        let state = if active { SubscriptionState::Active } else { SubscriptionState::Pending };
        // Told also when nothing is new in it: an active subscription whose notification has no body says that there is
        // nothing published any more.
        if !closing {
            subscription.reported = Some(state.clone());
            self.tell(core, id, state, notify, unchanged, Some(fork));
        }
        if closing && idle {
            self.close(core, now, id, fork);
        }
        self.arm(core, id);
    }
}

/// How often the notifier says that it notifies (RFC 6446).
fn granted_rates(said: &SaidState<'_>) -> Rates {
    let rate = |name| {
        let rate: f64 = said.params.get_str(name)?.parse().ok()?;
        (rate.is_finite() && rate >= 0.0).then_some(rate)
    };
    Rates { max: rate("max-rate"), min: rate("min-rate"), adaptive_min: rate("adaptive-min-rate") }
}
