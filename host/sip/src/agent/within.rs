//! What dialogs need of the agent's core besides sending requests: ACK, CANCEL, and what we say that we can do.

use std::time::Instant;

use super::Cause;
use super::core::{Core, Purpose};
use super::place::{Contact, Route};
use crate::endpoint::Request;
use crate::message::{HeaderName, Message};
use crate::transport::{Destination, Flow};
use crate::uri::Scheme;

impl Core {
    /// Where a sequence of requests begins: anywhere, so that nobody can guess the next, and far below the end.
    pub(crate) fn random_start(&mut self) -> u32 {
        self.random() as u32 & 0x00ff_ffff
    }

    /// Whether this agent makes and takes sessions.
    pub(crate) fn has_sessions(&self) -> bool {
        self.config.invite.max > 0
    }

    /// The value of Allow: what is not answered with 405 or 501.
    pub(crate) fn allow(&self) -> String {
        let sessions: &[&str] = match self.has_sessions() {
            true => &["INVITE", "ACK", "CANCEL", "BYE", "PRACK", "UPDATE", "REFER", "INFO"],
            false => &[],
        };
        let mut all = vec!["MESSAGE", "NOTIFY", "OPTIONS"];
        all.extend(sessions);
        for own in &self.config.methods {
            if !all.contains(&own.as_str()) {
                all.push(own.as_str());
            }
        }
        all.join(", ")
    }

    /// The value of Supported.
    pub(crate) fn supported(&self) -> String {
        let mut all = vec!["eventlist", "gruu", "outbound", "path"];
        if self.has_sessions() {
            all.extend(["100rel", "timer", "replaces", "norefersub", "tdialog", "answermode"]);
            if self.config.invite.join {
                all.push("join");
            }
        }
        all.join(", ")
    }

    /// The value of Allow-Events.
    pub(crate) fn allow_events(&self) -> String {
        let refer = self.has_sessions().then_some("refer");
        let all: Vec<&str> = self.config.packages.iter().map(String::as_str).chain(refer).collect();
        all.join(", ")
    }

    /// Whether a request may demand this extension.
    pub(crate) fn understands(&self, tag: &[u8]) -> bool {
        let among = |tags: &[&str]| tags.iter().any(|known| tag.eq_ignore_ascii_case(known.as_bytes()));
        // Whoever lists subscribers in a request means a server, which answers 405 where it is none.
        let always = ["eventlist", "gruu", "outbound", "path", "norefersub", "recipient-list-subscribe"];
        let sessions = ["100rel", "timer", "replaces", "tdialog", "answermode", "multiple-refer"];
        among(&always)
            || self.has_sessions() && (among(&sessions) || self.config.invite.join && among(&["join"]))
    }

    /// The value of Accept.
    pub(crate) fn accept(&self) -> String {
        let sessions = if self.has_sessions() { &self.config.invite.accept[..] } else { &[] };
        let mut all: Vec<&str> = self.config.accept.iter().map(String::as_str).collect();
        for kind in sessions {
            if !all.contains(&kind.as_str()) {
                all.push(kind);
            }
        }
        if self.has_sessions() && !all.contains(&"message/sipfrag") {
            all.push("message/sipfrag");
        }
        all.join(", ")
    }

    /// Our Contact in answers that go back over a flow, with parameters.
    pub(crate) fn contact_for(&self, flow: &Flow, features: Option<&str>, secure: bool) -> String {
        let contact = self.contact(flow.back(), Contact::Plain, secure);
        match features {
            Some(features) => format!("{contact};{features}"),
            None => contact,
        }
    }

    /// Whether our Contact must be a `sips` address (RFC 3261 §12.1.1): so is the Request-URI, or the hop before us.
    pub(crate) fn wants_sips(request: &Message) -> bool {
        let first = request.values(HeaderName::RecordRoute).next();
        let hop = first.and_then(crate::message::NameAddr::parse);
        request.request_uri().is_ok_and(|uri| uri.scheme() == Scheme::Sips)
            || hop.and_then(|hop| hop.uri().ok()).is_some_and(|uri| uri.scheme() == Scheme::Sips)
    }

    /// Sends the ACK to a 2xx: over an encrypted transport alone where the dialog is `secure`, as all requests in it. `exact` keeps a
    /// long one from going by TCP, where that may have been in vain.
    pub(crate) fn send_ack(
        &mut self,
        now: Instant,
        request: &Request,
        route: Route,
        secure: bool,
        exact: bool,
    ) {
        let fits = |destination: &Destination| !secure || destination.transport.is_secure();
        let destination = match route {
            Route::To(destination) => Some(destination).filter(fits),
            Route::Service => self.targets.pick_if(now, fits),
        };
        // The peer repeats its 2xx, and perhaps there is a way then.
        let Some(destination) = destination else { return };
        let domain = self.domain_at(destination);
        if let Err(error) = self.endpoint.send_ack_to(request, destination, domain, exact) {
            tracing::debug!(%error, "an ACK was not sent");
        }
    }

    /// Gives up a request: an INVITE on its way is cancelled (RFC 3261 §9.1), for a reason (RFC 3326); what waits is dropped. Its end is found
    /// in `done` as always.
    pub(crate) fn cancel(&mut self, now: Instant, purpose: Purpose, reason: Option<&str>) {
        let mut dropped = None;
        for list in [&mut self.waiting, &mut self.tokenless] {
            if let Some(at) = list.iter().position(|exchange| exchange.purpose == purpose) {
                dropped = Some(list.remove(at));
            }
        }
        if let Some(exchange) = dropped {
            return self.finish(now, &exchange, Err(Cause::Closed));
        }
        let mut exchanges = self.exchanges.iter_mut();
        if let Some((id, exchange)) = exchanges.find(|(_, exchange)| exchange.purpose == purpose) {
            exchange.cancelled = true;
            let id = *id;
            self.endpoint.cancel_for(now, id, reason);
        }
    }

    /// A whole number of seconds from 0 to 10, for Retry-After (RFC 3261 §14.2).
    pub(crate) fn brief_wait(&mut self) -> String {
        (self.random() % 11).to_string()
    }
}
