//! Where the service is, and where we are: targets, certificates' names, contacts, and the way of requests within dialogs.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use super::core::{Core, Lookup};
use super::{Cause, GruuUse, NotifySource};
use crate::resolve::{self, Resolve, ResolveId, Targets};
use crate::transport::{Destination, Flow, Transport, sent_by};
use crate::uri::{Scheme, Uri, UriBuf};

/// Whether a request carries Contact, which depends on the transport it takes.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub(crate) enum Contact {
    None,
    /// For a dialog: the GRUU, where there is one.
    Plain,
    /// For a registrar: the address itself, with the instance, and the number of the flow where flows are kept apart.
    Registration {
        reg_id: Option<u32>,
    },
}

/// Where a request goes.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub(crate) enum Route {
    /// To the service, whichever of its targets works.
    Service,
    /// Nowhere else than here.
    To(Destination),
}

/// Places that answered for the service itself, remembered for the notifications that come from there.
const MAX_KNOWN: usize = 16;

impl Core {
    /// Whether the service is at this address, as far as is known.
    pub(crate) fn is_service(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.targets.iter().any(|target| target.remote.ip().to_canonical() == ip) || self.known.contains(&ip)
    }

    pub(crate) fn is_target(&self, destination: Destination) -> bool {
        self.targets.iter().any(|target| target == destination)
    }

    /// Whether a NOTIFY may come from there.
    pub(crate) fn may_notify(&self, flow: &Flow) -> bool {
        let ip = flow.remote.ip();
        self.config.accept_from_anywhere
            || self.is_service(ip)
            || match &self.config.accept_notify_from {
                NotifySource::Service => false,
                NotifySource::ServiceAnd(others) => {
                    others.iter().any(|other| other.to_canonical() == ip.to_canonical())
                }
                NotifySource::Anybody => true,
            }
    }

    /// An answer of the service itself came from there.
    pub(super) fn remember(&mut self, ip: IpAddr) {
        let ip = ip.to_canonical();
        if !self.known.contains(&ip) {
            if self.known.len() == MAX_KNOWN {
                self.known.remove(0);
            }
            self.known.push(ip);
        }
    }

    /// Whether all of the way to the service must be encrypted: its address says so.
    pub(super) fn wants_security(&self) -> bool {
        self.service().as_uri().scheme() == Scheme::Sips
    }

    pub(crate) fn set_targets(&mut self, now: Instant, destinations: Vec<Destination>) {
        self.fixed = !destinations.is_empty();
        self.targets = Targets::new(self.admissible(destinations));
        self.lookup = if self.fixed { Lookup::Known } else { Lookup::Unknown };
        self.release(now, None);
    }

    /// A `sips` service is never reached without encryption, whatever the driver or the name service says; nor is another one that offers
    /// encryption, or whoever breaks its connections could have everything in the clear.
    fn admissible(&self, mut destinations: Vec<Destination>) -> Vec<Destination> {
        let offered = destinations.iter().any(|destination| destination.transport.is_secure());
        if self.wants_security() || offered && !self.config.mixed_security {
            destinations.retain(|destination| destination.transport.is_secure());
        }
        destinations
    }

    pub(crate) fn resolved(&mut self, now: Instant, id: ResolveId, answer: Result<Vec<Destination>, String>) {
        if !matches!(self.lookup, Lookup::Asked(asked) if asked == id) {
            return;
        }
        match answer.map(|destinations| self.admissible(destinations)) {
            Ok(destinations) if !destinations.is_empty() => {
                self.targets = Targets::new(destinations);
                self.lookup = Lookup::Known;
                self.release(now, None);
            }
            answer => {
                self.lookup = Lookup::Unknown;
                let why = answer.err().unwrap_or_else(|| "no address".to_owned());
                self.release(now, Some(&Cause::NotFound(why)));
            }
        }
    }

    /// The service's address as it is configured: the outbound proxy, or the domain of the account.
    pub(super) fn service(&self) -> UriBuf {
        self.config.service.clone().unwrap_or_else(|| self.config.aor.clone())
    }

    pub(super) fn look_up(&mut self) {
        let service = self.service();
        let uri = service.as_uri();
        if let Some(destination) = resolve::literal(&uri, Transport::Udp) {
            self.targets = Targets::new([destination]);
            self.lookup = Lookup::Known;
            return;
        }
        let id = ResolveId(self.next_id());
        self.resolves.push_back(Resolve {
            id,
            host: uri.host().map(|host| host.to_string()).unwrap_or_default(),
            port: uri.port(),
            transport: resolve::transport_of(&uri),
            secure: uri.scheme() == Scheme::Sips,
        });
        self.lookup = Lookup::Asked(id);
    }

    /// The name that a certificate at this place must be for: the one that the service was asked for by, whatever it led to
    /// (RFC 5922 §7.1).
    pub(super) fn domain_at(&self, destination: Destination) -> Option<Arc<str>> {
        if self.is_target(destination) { self.domain.clone() } else { None }
    }

    /// Where peers reach us, by the transport of the request that says so. `secure` when they must do so encrypted.
    pub(super) fn contact(&self, destination: Destination, kind: Contact, secure: bool) -> String {
        match kind {
            Contact::Registration { reg_id } => {
                let mut uri = self.contact_uri(destination, secure);
                if let Some(push) = &self.config.push {
                    for (name, value) in
                        [("pn-provider", &push.provider), ("pn-param", &push.param), ("pn-prid", &push.prid)]
                    {
                        if !value.is_empty() {
                            uri.push_str(&format!(";{name}={}", escape_param(value)));
                        }
                    }
                }
                let Some(instance) = &self.config.instance else { return format!("<{uri}>") };
                let instance: String =
                    instance.chars().filter(|c| !c.is_control() && !matches!(c, '"' | '<' | '>')).collect();
                match reg_id {
                    Some(reg_id) => format!("<{uri}>;reg-id={reg_id};+sip.instance=\"<{instance}>\""),
                    None => format!("<{uri}>;+sip.instance=\"<{instance}>\""),
                }
            }
            // RFC 5627 §4.4; its scheme is the registrar's affair, but an unencrypted one is no answer where encryption is wanted.
            _ => match self.gruu.as_ref().filter(|_| match self.config.gruu {
                GruuUse::WithFlows => self.outbound,
                GruuUse::Always => true,
                GruuUse::Never => false,
            }) {
                Some(gruu) if !secure || gruu.starts_with("sips:") => format!("<{gruu}>"),
                // What belongs to the dialog shall come over the flow that the request went over (RFC 5626 §4.3).
                _ if self.outbound => format!("<{};ob>", self.contact_uri(destination, secure)),
                _ => format!("<{}>", self.contact_uri(destination, secure)),
            },
        }
    }

    /// Our address for peers that we talk to by this way.
    pub(crate) fn contact_uri(&self, destination: Destination, secure: bool) -> String {
        let transport = destination.transport;
        let host = match self.endpoint.config().local_for(transport, destination.remote) {
            Some(local) => sent_by(local),
            // Nobody connects to us: requests come over the connection that we made (RFC 7118 §5, RFC 5626 §4.2).
            None => self.endpoint.nowhere(),
        };
        let aor = self.config.aor.as_uri();
        let user = aor.user().map(|user| format!("{user}@")).unwrap_or_default();
        // RFC 5630: `sips` says TLS by itself, and its transport is what runs below or beside that.
        match (transport, secure) {
            (Transport::Udp, _) => format!("sip:{user}{host}"),
            (Transport::Tls, true) => format!("sips:{user}{host}"),
            (Transport::Wss, true) => format!("sips:{user}{host};transport=ws"),
            // RFC 7118 has one name for both.
            (Transport::Ws | Transport::Wss, _) => format!("sip:{user}{host};transport=ws"),
            _ => format!("sip:{user}{host};transport={}", transport.uri_name()),
        }
    }

    /// Where in-dialog requests go, and with which Request-URI and Route (RFC 3261 §12.2.1.1).
    pub(crate) fn dialog_route(&self, target: &str, routes: &[Box<str>]) -> (String, Vec<String>, Route) {
        let first = routes.first().and_then(|route| crate::message::NameAddr::parse(route.as_bytes()));
        let (uri, headers) = match first.as_ref().and_then(|first| first.uri().ok()) {
            Some(strict) if !strict.is_loose_router() => {
                let rest = routes[1..].iter().map(ToString::to_string);
                (strict.to_string(), rest.chain([format!("<{target}>")]).collect())
            }
            _ => (target.to_owned(), routes.iter().map(ToString::to_string).collect()),
        };
        let next = first.as_ref().and_then(|first| first.uri().ok()).or_else(|| Uri::parse_str(&uri).ok());
        let route = next.map_or(Route::Service, |next| self.route_to(&next));
        (uri, headers, route)
    }

    /// Where an address leads: straight there if it names an IP address that we can reach, else to the service.
    fn route_to(&self, uri: &Uri<'_>) -> Route {
        let Some(destination) = resolve::literal(uri, Transport::Udp) else { return Route::Service };
        if resolve::transport_of(uri).is_none()
            && let Some(known) = self.targets.iter().find(|target| target.remote == destination.remote)
        {
            // A service that we reach by TCP often leaves the transport out of what it writes into Contact.
            return Route::To(known);
        }
        if self.is_target(destination) {
            return Route::To(destination);
        }
        // Who speaks to the service over an encrypted connection does not leave it for a plain one, and who has no socket for a
        // transport cannot use it.
        let encrypted = !self.targets.is_empty() && self.targets.iter().all(|t| t.transport.is_secure());
        let downgrade = encrypted && !destination.transport.is_secure();
        let datagrams = destination.transport == Transport::Udp;
        let no_socket =
            datagrams && self.endpoint.config().local_for(Transport::Udp, destination.remote).is_none();
        if downgrade || no_socket { Route::Service } else { Route::To(destination) }
    }
}

/// A value as it stands in a URI parameter (RFC 3261 §25.1, `paramchar`): everything else is escaped.
fn escape_param(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.!~*'()[]/:&+$".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
