//! The focus's end of the dialog with a member (RFC 3261, section 12; RFC 4579, section 5).

use std::time::{Duration, Instant};

use attache_sip::endpoint::{Request, Response};
use attache_sip::message::{HeaderName, Message, Method};
use attache_sip::transaction::{ServerTransactionId, Timers};
use attache_sip::transport::Flow;

use super::{Departure, Place};
use crate::core::access::Challenger;
use crate::core::answer_to_options;
use crate::core::proxy::is_at;
use crate::core::{Core, Due};
use crate::reach::Reach;
use crate::subscription::DialogId;

/// What members may ask of the focus.
pub(super) const ALLOW: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, REFER, SUBSCRIBE, UPDATE";
/// More would be a route through more proxies than Max-Forwards lets anything pass.
const MOST_ROUTES: usize = 70;

/// One dialog.
#[derive(Clone)]
pub(super) struct Dialog {
    pub(super) id: DialogId,
    /// From and To of our requests.
    pub(super) local: String,
    pub(super) remote: String,
    pub(super) target: String,
    pub(super) routes: Vec<String>,
    pub(super) contact: String,
    pub(super) reach: Reach,
    pub(super) cseq: u32,
    pub(super) remote_cseq: u32,
}

/// A 2xx that waits for its ACK (RFC 3261, section 13.3.1.4).
pub(super) struct Unacknowledged {
    server: ServerTransactionId,
    answer: Response,
    again_at: Instant,
    interval: Duration,
    until: Instant,
}

impl Unacknowledged {
    pub(super) fn new(now: Instant, server: ServerTransactionId, answer: Response, timers: &Timers) -> Self {
        Self { server, answer, again_at: now + timers.t1, interval: timers.t1, until: now + timers.timeout() }
    }
}

fn rows(message: &Message, name: HeaderName) -> Vec<String> {
    let rows = message.values(name).take(MOST_ROUTES);
    rows.map(|row| String::from_utf8_lossy(row).into_owned()).collect()
}

fn text(message: &Message, name: HeaderName) -> Option<String> {
    Some(String::from_utf8_lossy(message.header(name)?).into_owned())
}

fn target(message: &Message) -> Option<String> {
    let contact = message.contacts().next()?.ok()?;
    Some(contact.uri().ok()?.as_str().to_owned())
}

/// The Contact that says that a focus is there.
pub(super) fn focus(uri: &str) -> String {
    format!("<{uri}>;isfocus")
}

impl Dialog {
    /// As the one who is called knows it.
    pub(super) fn of_callee(request: &Message, tag: &str, uri: &str, reach: Reach) -> Option<Self> {
        Some(Self {
            id: DialogId {
                call_id: request.call_id()?.to_owned(),
                local_tag: tag.to_owned(),
                remote_tag: request.from().ok()?.tag()?.to_owned(),
            },
            local: format!("{};tag={tag}", text(request, HeaderName::To)?),
            remote: text(request, HeaderName::From)?,
            target: target(request)?,
            routes: rows(request, HeaderName::RecordRoute),
            contact: focus(uri),
            reach,
            cseq: 0,
            remote_cseq: request.cseq().ok()?.number,
        })
    }

    /// As the one who called knows it from the answer. `recorded`: whether the first row of its route is our own.
    pub(super) fn of_caller(
        answer: &Message,
        uri: &str,
        reach: Reach,
        path: &[String],
        recorded: bool,
    ) -> Option<Self> {
        let mut routes = rows(answer, HeaderName::RecordRoute);
        routes.reverse();
        if recorded && !routes.is_empty() {
            routes.remove(0);
        }
        if routes.is_empty() {
            routes = path.to_vec();
        }
        Some(Self {
            id: DialogId {
                call_id: answer.call_id()?.to_owned(),
                local_tag: answer.from().ok()?.tag()?.to_owned(),
                remote_tag: answer.to().ok()?.tag()?.to_owned(),
            },
            local: text(answer, HeaderName::From)?,
            remote: text(answer, HeaderName::To)?,
            target: target(answer)?,
            routes,
            contact: focus(uri),
            reach,
            cseq: answer.cseq().ok()?.number,
            remote_cseq: 0,
        })
    }

    /// A request within it.
    pub(super) fn request(&mut self, method: Method<'_>) -> Request {
        if method != Method::Ack {
            self.cseq += 1;
        }
        let request = Request::new(method, &*self.target)
            .from(&*self.local)
            .to(&*self.remote)
            .call_id(&*self.id.call_id)
            .cseq(self.cseq)
            .header(HeaderName::Contact, &*self.contact);
        self.routes.iter().fold(request, |request, route| request.header(HeaderName::Route, &**route))
    }
}

impl Core {
    /// A request within a member's dialog.
    pub(in super::super) fn on_member(
        &mut self,
        now: Instant,
        id: ServerTransactionId,
        request: &Message,
        flow: &Flow,
    ) {
        let Some(place) = self.member_of(request) else { return };
        let Some(joined) = self.conferences.as_mut().and_then(|all| all.joined(place)) else { return };
        let is_there = is_at(flow, &joined.dialog.reach);
        if !is_there {
            // A device may have come to another network: then it proves whose it is.
            let Some(sender) = self.authenticate(now, id, request, flow, Challenger::Proxy) else { return };
            let member = self.conferences.as_ref().and_then(|all| all.member(place));
            if member.is_none_or(|member| member.user != sender.aor) {
                self.refuse(now, id, 403, "");
                return;
            }
        }
        let number = request.cseq().map_or(0, |cseq| cseq.number);
        let Some(joined) = self.conferences.as_mut().and_then(|all| all.joined(place)) else { return };
        if number <= joined.dialog.remote_cseq {
            self.refuse(now, id, 500, "Out Of Order");
            return;
        }
        joined.dialog.remote_cseq = number;
        match request.method() {
            Some(Method::Bye) => {
                self.respond(now, id, &Response::new(200));
                self.depart(now, place, Departure::Left);
            }
            Some(Method::Invite | Method::Update) => self.offered_again(now, id, request, flow, place),
            Some(Method::Refer) => self.on_referral(now, id, request, flow, Some(place)),
            Some(Method::Options) => {
                let answer = answer_to_options(ALLOW);
                self.respond(now, id, &answer);
            }
            _ => self.respond(now, id, &Response::new(405).header(HeaderName::Allow, ALLOW)),
        }
    }

    /// A member describes its session anew (RFC 3264, section 8).
    fn offered_again(
        &mut self,
        now: Instant,
        id: ServerTransactionId,
        request: &Message,
        flow: &Flow,
        place: Place,
    ) {
        let is_invite = request.method() == Some(Method::Invite);
        let mut described = None;
        if !request.body().is_empty() {
            let offer = match self.offer_of(request) {
                Ok(offer) => offer,
                Err(refusal) => {
                    self.respond(now, id, &refusal);
                    return;
                }
            };
            let Some(joined) = self.conferences.as_mut().and_then(|all| all.joined(place)) else { return };
            if joined.offered == offer.text {
                described = Some(joined.described.clone());
            } else {
                let before = joined.session;
                let at = flow.remote.ip();
                let Some((session, answer)) = self.take_offer(now, place.conference, &offer, at) else {
                    self.refuse(now, id, 500, "");
                    return;
                };
                let Some(conferences) = &mut self.conferences else { return };
                conferences.msrp.close(now, before);
                conferences.sessions.remove(&before);
                conferences.sessions.insert(session, place);
                if let Some(joined) = conferences.joined(place) {
                    (joined.session, joined.offered) = (session, offer.text);
                    joined.described.clone_from(&answer);
                }
                described = Some(answer);
            }
        }
        let Some(joined) = self.conferences.as_mut().and_then(|all| all.joined(place)) else { return };
        if let Some(Ok(contact)) = request.contacts().next()
            && let Ok(uri) = contact.uri()
        {
            joined.dialog.target = uri.as_str().to_owned();
            if joined.dialog.routes.is_empty() {
                joined.dialog.reach = Reach::new(&uri, flow);
            }
        }
        let mut answer = Response::new(200)
            .header(HeaderName::Contact, &*joined.dialog.contact)
            .header(HeaderName::Allow, ALLOW);
        // An INVITE without an offer wants one: what was said before.
        if let Some(described) = described.or_else(|| is_invite.then(|| joined.described.clone())) {
            answer = answer.body(super::answer::SDP, described);
        }
        if is_invite {
            let waits = Unacknowledged::new(now, id, answer.clone(), &self.endpoint.config().timers);
            joined.unacknowledged = Some(waits);
        }
        self.respond(now, id, &answer);
        self.arm_member(place);
    }

    /// An ACK of a 2xx of ours.
    pub(in super::super) fn member_acknowledged(&mut self, request: &Message) {
        let Some(place) = self.member_of(request) else { return };
        if let Some(joined) = self.conferences.as_mut().and_then(|all| all.joined(place)) {
            joined.unacknowledged = None;
            self.arm_member(place);
        }
    }

    /// Says a 2xx again that was not acknowledged, or gives up.
    pub(super) fn say_again(&mut self, now: Instant, place: Place) {
        let longest = self.endpoint.config().timers.t2;
        let Some(joined) = self.conferences.as_mut().and_then(|all| all.joined(place)) else { return };
        let Some(waits) = &mut joined.unacknowledged else { return };
        if waits.until <= now {
            self.depart(now, place, Departure::Lost);
            return;
        }
        if waits.again_at <= now {
            waits.interval = (waits.interval * 2).min(longest);
            waits.again_at = now + waits.interval;
            let (server, answer) = (waits.server, waits.answer.clone());
            self.respond(now, server, &answer);
        }
        self.arm_member(place);
    }

    /// Sets when something is to be done about a member.
    pub(super) fn arm_member(&mut self, place: Place) {
        let Some(joined) = self.conferences.as_mut().and_then(|all| all.joined(place)) else { return };
        let due = Due::Member(place.conference, place.member);
        let waits = joined.unacknowledged.as_ref().map(|waits| waits.again_at.min(waits.until));
        self.timers.set(due, waits.map_or(joined.ask_at, |at| at.min(joined.ask_at)));
    }

    /// Ends a dialog.
    pub(super) fn hang_up(&mut self, now: Instant, dialog: &mut Dialog) {
        let bye = dialog.request(Method::Bye);
        self.send_within(now, &bye, dialog.reach);
    }

    /// Sends a request of which no answer matters.
    pub(super) fn send_within(&mut self, now: Instant, request: &Request, reach: Reach) {
        if let Err(error) = self.endpoint.send_request(now, request, reach.destination, reach.flow) {
            tracing::debug!(%error, "a request within a dialog cannot be written");
        }
    }
}
