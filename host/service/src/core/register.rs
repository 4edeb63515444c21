//! REGISTER (RFC 3261, section 10.3).

use std::net::SocketAddr;
use std::time::Instant;

use attache_sip::endpoint::Response;
use attache_sip::message::{HeaderName, Message};
use attache_sip::transaction::ServerTransactionId;
use attache_sip::transport::Flow;

use super::access::Challenger;
use super::{Core, Due};
use crate::date::sip_date;
use crate::directory::{Aor, domain, identity};
use crate::registrar::{Bounds, Change, Refusal, contact_value, leads_here};

impl Core {
    pub(super) fn on_register(
        &mut self,
        now: Instant,
        id: ServerTransactionId,
        request: &Message,
        flow: &Flow,
    ) {
        // Some clients name the address of the service in place of its domain.
        let host = request.request_uri().ok().and_then(|uri| domain(&uri));
        let is_here = |host: &str| {
            let address = host.trim_matches(['[', ']']).parse();
            address.is_ok_and(|address: std::net::IpAddr| {
                address == flow.local.ip() || self.local.iter().any(|(_, local)| local.ip() == address)
            })
        };
        if !host.is_some_and(|host| self.directory.is_ours(&host) || is_here(&host)) {
            self.refuse(now, id, 403, "Domain Not Served");
            return;
        }
        let Some(sender) = self.authenticate(now, id, request, flow, Challenger::Server) else { return };
        let aor = request.to().ok().and_then(|to| identity(&to.uri().ok()?));
        let Some(aor) = aor.and_then(|aor| self.directory.find(&aor)) else {
            self.refuse(now, id, 404, "");
            return;
        };
        if !self.directory.owns(sender.account, &aor) {
            self.refuse(now, id, 403, "To Is Not Yours");
            return;
        }
        match self.register(now, request, flow, &aor) {
            Ok(()) => {}
            Err(Refusal::TooBrief) => {
                let least = self.limits.min_expires.as_secs().to_string();
                self.respond(now, id, &Response::new(423).header(HeaderName::MinExpires, least));
                return;
            }
            Err(Refusal::OutOfOrder) => {
                self.refuse(now, id, 500, "Out Of Order");
                return;
            }
            Err(Refusal::Malformed(what)) => {
                self.refuse(now, id, 400, what);
                return;
            }
        }
        let mut response = Response::new(200).header(HeaderName::Date, sip_date(self.wall(now)));
        for binding in self.registrar.bindings(&aor, now) {
            response = response.header(HeaderName::Contact, contact_value(binding, now));
        }
        self.respond(now, id, &response);
        self.expire_bindings(now, &aor);
        self.begin_round(now, &aor);
    }

    fn register(&mut self, now: Instant, request: &Message, flow: &Flow, aor: &Aor) -> Result<(), Refusal> {
        let limits = &self.limits;
        let bounds =
            Bounds { min: limits.min_expires, max: limits.max_expires, per_user: limits.contacts_per_user };
        let change = Change::read(request, &bounds)?;
        let local: Vec<SocketAddr> = self.local.iter().map(|(_, address)| *address).collect();
        if change.contacts().any(|contact| leads_here(&contact, &local)) {
            return Err(Refusal::Malformed("A Contact Leads Back Here"));
        }
        self.registrar.apply(aor, change, request, flow, now, bounds.per_user)
    }

    pub(super) fn expire_bindings(&mut self, now: Instant, aor: &Aor) {
        match self.registrar.expire(aor, now) {
            Some(next) => self.timers.set(Due::Bindings(Aor::clone(aor)), next),
            None => self.timers.clear(&Due::Bindings(Aor::clone(aor))),
        }
    }
}
