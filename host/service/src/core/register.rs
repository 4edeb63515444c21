//! REGISTER (RFC 3261, section 10.3), with the way to the client (RFC 3327) and from it (RFC 3608), its flow (RFC 5626),
//! and addresses for its device (RFC 5627).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use attache_sip::endpoint::Response;
use attache_sip::message::{HeaderName, Message, NameAddr};
use attache_sip::transaction::ServerTransactionId;
use attache_sip::transport::Flow;
use rand_chacha::rand_core::Rng as _;

use super::access::Challenger;
use super::own::Package;
use super::{Core, Due, SUPPORTED};
use crate::date::sip_date;
use crate::directory::{Aor, domain, identity};
use crate::registrar::{Bounds, Change, Refusal, Terms, contact_value, leads_here};

/// Bytes of Path that a binding may hold.
const LONGEST_PATH: usize = 2 * 1024;

/// Whether a client understands an extension.
fn supports(request: &Message, option: &str) -> bool {
    let headers = [HeaderName::Supported, HeaderName::Require];
    let mut tags = headers.into_iter().flat_map(|name| request.values(name));
    tags.any(|tag| tag.eq_ignore_ascii_case(option.as_bytes()))
}

/// Whether a proxy keeps a flow to the client: its address in Path has `ob`.
fn keeps_flows(hop: &str) -> bool {
    NameAddr::parse(hop.as_bytes())
        .and_then(|address| address.uri().ok().map(|uri| uri.param("ob").is_some()))
        .unwrap_or(false)
}

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
        let is_outbound = match self.register(now, request, flow, &aor, sender.left) {
            Ok(is_outbound) => is_outbound,
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
            Err(Refusal::FirstHop) => {
                self.respond(now, id, &Response::new(439));
                return;
            }
        };
        let mut response = Response::new(200).header(HeaderName::Date, sip_date(self.wall(now)));
        let wants_gruus = supports(request, "gruu");
        for binding in self.registrar.bindings(&aor, now) {
            let gruus = if wants_gruus { self.registrar.gruus(&aor, binding) } else { None };
            response = response.header(HeaderName::Contact, contact_value(binding, gruus, now));
        }
        for hop in request.values(HeaderName::Path) {
            response = response.header(HeaderName::Path, String::from_utf8_lossy(hop));
        }
        for route in &self.service_route {
            response = response.header(HeaderName::ServiceRoute, &**route);
        }
        response = response.header(HeaderName::Supported, SUPPORTED);
        if is_outbound {
            let timer = self.limits.flow_timer.as_secs().to_string();
            response = response.header(HeaderName::Require, "outbound").header(HeaderName::FlowTimer, timer);
        }
        self.respond(now, id, &response);
        self.expire_bindings(now, &aor);
        self.begin_round(now, &aor);
    }

    /// Makes the bindings. Whether they are to flows.
    fn register(
        &mut self,
        now: Instant,
        request: &Message,
        flow: &Flow,
        aor: &Aor,
        left: Duration,
    ) -> Result<bool, Refusal> {
        let limits = &self.limits;
        let bounds = Bounds {
            min: limits.min_expires,
            max: limits.max_expires.min(left),
            per_user: limits.contacts_per_user,
        };
        let change = Change::read(request, &bounds)?;
        let local: Vec<SocketAddr> = self.local.iter().map(|(_, address)| *address).collect();
        if change.contacts().any(|contact| leads_here(&contact, &local)) {
            return Err(Refusal::Malformed("A Contact Leads Back Here"));
        }
        let path: Vec<String> =
            request.values(HeaderName::Path).map(|hop| String::from_utf8_lossy(hop).into_owned()).collect();
        if path.iter().map(String::len).sum::<usize>() > LONGEST_PATH {
            return Err(Refusal::Malformed("the path is too long"));
        }
        // Only the first hop can keep a flow to the client: this service, or a proxy that says so (RFC 5626, section 6).
        let wants_flow = change.names_a_flow() && supports(request, "outbound");
        let is_first = request.values(HeaderName::Via).nth(1).is_none() && path.is_empty();
        let kept_elsewhere = path.last().is_some_and(|hop| keeps_flows(hop));
        if wants_flow && !is_first && !kept_elsewhere {
            return Err(Refusal::FirstHop);
        }
        let outbound = wants_flow && (kept_elsewhere || flow.transport.is_reliable());
        let temporary = supports(request, "gruu").then(|| {
            let mut random = [0; 12];
            self.rng.fill_bytes(&mut random);
            random.iter().map(|byte| format!("{byte:02x}")).collect()
        });
        let terms = Terms { path: path.into(), outbound, temporary, per_user: bounds.per_user };
        self.registrar.apply(aor, change, request, flow, &terms, now)?;
        Ok(outbound)
    }

    pub(super) fn expire_bindings(&mut self, now: Instant, aor: &Aor) {
        match self.registrar.expire(aor, now) {
            Some(next) => self.timers.set(Due::Bindings(Aor::clone(aor)), next),
            None => self.timers.clear(&Due::Bindings(Aor::clone(aor))),
        }
        self.own_changed(now, aor, Package::Registration);
    }
}
