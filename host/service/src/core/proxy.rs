//! Calls, and whatever else goes from user to user: a stateful proxy (RFC 3261, section 16, with RFC 5393 and RFC 6026).
//!
//! A request that begins something must prove its sender, and goes to the devices of a user here and nowhere else. A
//! request within a dialog goes where the route says that this service has written into the dialog's first request (see
//! [`route`](crate::route)): nothing else is believed about where a request is to go, so nobody can make this service send
//! anything to a stranger.

mod forward;
mod outgoing;

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Instant;

use attache_sip::endpoint::Response;
use attache_sip::message::{HeaderName, Message, Method, NameAddr};
use attache_sip::transaction::{ServerTransactionId, TransactionId, branch_mark};
use attache_sip::transport::{Flow, Transport};
use attache_sip::uri::{Uri, UriBuf};

use super::access::{Challenger, Sender};
use super::message::Target;
use super::subscribe::first_reach;
use super::{Core, Due};
use crate::directory::{Aor, domain, identity};
use crate::reach::Reach;
use crate::route::{End, Ends, Side};

use forward::{Beginning, Forward, Record};
use outgoing::{Outgoing, has_privacy};

/// More would be a route through more proxies than Max-Forwards lets anything pass.
const MOST_ROUTES: usize = 70;
/// Branches that a request may have at one time where it does not say (RFC 5393, section 5.3.3).
const BREADTH: u32 = 60;

/// Requests on their way from one user to another.
#[derive(Default)]
pub(super) struct Forwards {
    of: HashMap<u64, Forward>,
    servers: HashMap<ServerTransactionId, u64>,
    branches: HashMap<TransactionId, (u64, usize)>,
    /// Calls that ring, by who makes them.
    ringing: HashMap<Aor, usize>,
    /// Requests that are held, by the user who has sent them, as routes name users.
    sent: HashMap<u64, usize>,
    next: u64,
}

impl Forwards {
    pub(super) fn len(&self) -> usize {
        self.of.len()
    }

    /// The branch that a request of ours belongs to.
    pub(super) fn branch(&self, id: TransactionId) -> Option<(u64, usize)> {
        self.branches.get(&id).copied()
    }
}

/// Where a request within a dialog goes.
pub(super) struct Way {
    ends: Ends,
    to: End,
    uri: String,
    /// What is left of Route behind ours.
    routes: Vec<String>,
}

impl Core {
    /// Where a request goes that belongs to a dialog whose first request went through here; `None` for any other.
    pub(super) fn way_within(&self, request: &Message) -> Option<Way> {
        if matches!(request.method(), None | Some(Method::Register | Method::Publish | Method::Cancel)) {
            return None;
        }
        request.to().ok()?.tag()?;
        let call_id = request.call_id()?;
        let mut routes: Vec<&[u8]> = request.values(HeaderName::Route).take(MOST_ROUTES).collect();
        let ours = |value: &[u8]| {
            let address = NameAddr::parse(value)?;
            self.routes.read(call_id, address.uri().ok()?.user()?)
        };
        let uri = request.request_uri().ok()?;
        let mut uri = uri.as_str();
        // A neighbour that knows strict routing only (RFC 3261, section 16.4).
        let strict = Uri::parse_str(uri).ok().and_then(|uri| self.routes.read(call_id, uri.user()?));
        let (ends, to) = match strict {
            Some(found) => {
                let last = NameAddr::parse(routes.pop()?)?;
                uri = std::str::from_utf8(last.uri_bytes()).ok()?;
                found
            }
            None => ours(routes.first()?)?,
        };
        // One route of ours faces each end.
        let own = routes.iter().take(2).take_while(|value| ours(value).is_some()).count();
        let rest = routes.drain(own..).map(|value| String::from_utf8_lossy(value).into_owned());
        Some(Way { ends, to, uri: uri.to_owned(), routes: rest.collect() })
    }

    /// A request within a dialog.
    pub(super) fn relay_within(
        &mut self,
        now: Instant,
        id: ServerTransactionId,
        request: &Message,
        flow: &Flow,
        way: Way,
    ) {
        if !self.speaks_for(request, &way) {
            self.refuse(now, id, 403, "From Is Not Yours");
            return;
        }
        // Whoever knows the route and comes from where its end was reached is that end. Others must prove themselves: a
        // device may have come to another network.
        if !is_at(flow, &way.ends.at(way.to.other()).reach)
            && self.authenticate(now, id, request, flow, Challenger::Proxy).is_none()
        {
            return;
        }
        let sender = way.ends.at(way.to.other()).user;
        if let Err(refusal) = self.may_pass(request, sender) {
            self.respond(now, id, &refusal);
            return;
        }
        let Some(target) = self.target_within(now, way) else {
            self.refuse(now, id, 480, "Device Not Registered");
            return;
        };
        let Some(outgoing) = self.outgoing(request, flow) else {
            self.refuse(now, id, 483, "");
            return;
        };
        self.forward(now, id, Beginning::within(outgoing, target, sender));
    }

    /// An ACK of a 2xx: it is no transaction, and gets no answer.
    pub(super) fn relay_ack(&mut self, now: Instant, request: &Message, flow: &Flow) {
        let Some(way) = self.way_within(request) else { return };
        let is_there = is_at(flow, &way.ends.at(way.to.other()).reach);
        if !is_there || !self.speaks_for(request, &way) || may_go_on(request).is_err() {
            tracing::debug!(remote = %flow.remote, "an ACK that is not from its dialog");
            return;
        }
        let Some(target) = self.target_within(now, way) else { return };
        let Some(outgoing) = self.outgoing(request, flow) else { return };
        let ack = outgoing.to(&target, &[]);
        if let Err(error) = self.endpoint.send_ack(&ack, target.reach.destination, target.reach.flow) {
            tracing::debug!(%error, "an ACK cannot be passed on");
        }
    }

    /// Where a request within a dialog goes now: to the end that the route names, or to where its device has gone since,
    /// if the end gave an address of its device (RFC 5627, section 5.4).
    fn target_within(&self, now: Instant, way: Way) -> Option<Target> {
        let uri = UriBuf::parse(&way.uri).ok()?;
        if way.routes.is_empty()
            && domain(&uri.as_uri()).is_some_and(|domain| self.directory.is_ours(&domain))
            && let Some((aor, device)) = self.registrar.device(&uri.as_uri())
        {
            // A dialog leads to the devices of its own two users.
            if self.mark_of(&aor) != way.ends.at(way.to).user {
                return None;
            }
            let targets = self.registrar.targets(&aor, Some(&device?), now);
            return targets.first().copied().map(Target::of);
        }
        Some(Target { contact: uri, reach: way.ends.at(way.to).reach, path: way.routes.into() })
    }

    /// Whether a request within a dialog is not in the name of another user than the one at its end.
    fn speaks_for(&self, request: &Message, way: &Way) -> bool {
        let from = request.from().ok().and_then(|from| identity(&from.uri().ok()?));
        let user = from.and_then(|name| self.directory.find(&name));
        user.is_none_or(|user| self.mark_of(&user) == way.ends.at(way.to.other()).user)
    }

    /// A number that stands for a user, in this run.
    fn mark_of(&self, user: &Aor) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.tag_key, &**user).hash(&mut hasher);
        hasher.finish()
    }

    /// A request that begins a call, or another dialog between users.
    pub(super) fn on_call(
        &mut self,
        now: Instant,
        id: ServerTransactionId,
        request: &Message,
        flow: &Flow,
        challenger: Challenger,
    ) {
        if request.to().is_ok_and(|to| to.tag().is_some()) {
            self.refuse(now, id, 481, "");
            self.endpoint.forget(id);
            return;
        }
        let Some(sender) = self.authenticate(now, id, request, flow, challenger) else { return };
        let mark = self.mark_of(&sender.aor);
        if let Err(refusal) = self.may_pass(request, mark).and_then(|()| self.may_call(request, &sender)) {
            self.respond(now, id, &refusal);
            return;
        }
        let Some(callee) = self.addressee(now, id, request) else { return };
        let uri = request.request_uri().ok();
        let device = uri.and_then(|uri| self.registrar.device(&uri)).map(|(_, device)| device);
        let targets = match &device {
            // The address of a device that is gone.
            Some(None) => Vec::new(),
            Some(Some(device)) => self.registrar.targets(&callee, Some(device), now),
            None => self.registrar.targets(&callee, None, now),
        };
        let mut groups: VecDeque<Vec<Target>> = VecDeque::new();
        let mut dearest = None;
        for target in targets {
            match groups.back_mut() {
                Some(group) if dearest == Some(target.q) => group.push(Target::of(target)),
                _ => groups.push_back(vec![Target::of(target)]),
            }
            dearest = Some(target.q);
        }
        if groups.is_empty() {
            self.refuse(now, id, 480, "Nobody Is Registered There");
            return;
        }
        let Some(mut outgoing) = self.outgoing(request, flow) else {
            self.refuse(now, id, 483, "");
            return;
        };
        outgoing.mark(self.loop_mark(request));
        if !has_privacy(request, "id") {
            outgoing.push(HeaderName::PAssertedIdentity, format!("<sip:{}>", sender.aor));
        }
        let Some(caller) = first_reach(request, flow) else {
            self.refuse(now, id, 400, "Missing Contact");
            return;
        };
        // Those who meet at a focus believe it who wrote (RFC 4579): the service has foci of its own, and users are none.
        if claims_focus(request) {
            self.refuse(now, id, 403, "Not A Focus");
            return;
        }
        let breadth = breadth_of(request);
        let is_invite = request.method() == Some(Method::Invite);
        let record = Record {
            caller: Side { reach: caller, user: mark },
            callee: self.mark_of(&callee),
            address: self.address_for(flow),
        };
        self.forward(
            now,
            id,
            Beginning {
                outgoing,
                groups,
                breadth,
                sender: mark,
                caller: is_invite.then_some(sender.aor),
                callee: Some(callee),
                device: device.flatten(),
                record: Some(record),
            },
        );
    }

    /// What every request that is passed on, and has an answer to wait for, must fulfil.
    fn may_pass(&self, request: &Message, sender: u64) -> Result<(), Box<Response>> {
        may_go_on(request)?;
        // Nobody fills the table alone: there is room for the calls of others.
        let of_sender = self.forwards.sent.get(&sender).copied().unwrap_or_default();
        if self.forwards.len() >= self.limits.relays || of_sender >= self.limits.relays_per_user {
            return Err(Box::new(Response::new(503).header(HeaderName::RetryAfter, "5")));
        }
        Ok(())
    }

    /// What a request that begins a dialog must fulfil beside that.
    fn may_call(&self, request: &Message, sender: &Sender) -> Result<(), Box<Response>> {
        // Routes of a client's own making end here.
        let foreign = request.values(HeaderName::Route).find(|value| {
            let uri = NameAddr::parse(value).and_then(|address| Some(self.names_us(&address.uri().ok()?)));
            uri != Some(true)
        });
        if foreign.is_some() {
            return Err(Box::new(Response::new(403).reason("Route Not Served")));
        }
        let mark = self.loop_mark(request);
        let has_passed = request.values(HeaderName::Via).take(MOST_ROUTES).any(|value| {
            let via = attache_sip::message::Via::parse(value).ok();
            via.and_then(|via| branch_mark(via.branch()?)) == Some(mark)
        });
        if has_passed {
            return Err(Box::new(Response::new(482)));
        }
        if breadth_of(request) == 0 {
            return Err(Box::new(Response::new(440)));
        }
        let ringing = self.forwards.ringing.get(&sender.aor).copied().unwrap_or_default();
        if request.method() == Some(Method::Invite) && ringing >= self.limits.calls_per_user {
            let refusal = Response::new(503).reason("Too Many Calls");
            return Err(Box::new(refusal.header(HeaderName::RetryAfter, "10")));
        }
        Ok(())
    }

    /// Whether an address stands for this service as such.
    fn names_us(&self, uri: &Uri<'_>) -> bool {
        if domain(uri).is_some_and(|domain| self.directory.is_ours(&domain)) {
            return true;
        }
        let Some(address) = uri.host().and_then(|host| host.ip()) else { return false };
        let port = uri.port();
        self.local.iter().any(|(transport, local)| {
            local.ip() == address.to_canonical() && port.unwrap_or(transport.default_port()) == local.port()
        })
    }

    /// What the decision where to send a request rests on, in a number that nobody else can make: a request that comes
    /// back with it in a branch has gone in a circle (RFC 5393, section 4.2).
    fn loop_mark(&self, request: &Message) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.tag_key.hash(&mut hasher);
        request.request_uri_bytes().hash(&mut hasher);
        request.call_id().hash(&mut hasher);
        request.cseq().map_or(0, |cseq| cseq.number).hash(&mut hasher);
        request.from().ok().and_then(|from| from.tag()).hash(&mut hasher);
        request.to().ok().and_then(|to| to.tag()).hash(&mut hasher);
        hasher.finish()
    }

    /// The address, with its transport, at which the peer of a flow reaches us.
    pub(super) fn address_for(&self, flow: &Flow) -> String {
        with_transport(self.address_on(flow), flow.transport)
    }

    /// The same for somebody who is reached that way.
    pub(super) fn address_towards(&self, reach: &Reach) -> Option<String> {
        let transport = reach.destination.transport;
        let address = self.endpoint.config().local_for(transport, reach.destination.remote)?;
        Some(with_transport(address, transport))
    }

    /// What is passed on of a request, whatever it goes to. `None` where it has come too far.
    fn outgoing(&self, request: &Message, flow: &Flow) -> Option<Outgoing> {
        Outgoing::of(request, flow, self.directory.realm())
    }

    fn arm_forward(&mut self, number: u64) {
        let Some(forward) = self.forwards.of.get(&number) else { return };
        match forward.due() {
            Some(at) => self.timers.set(Due::Forward(number), at),
            None => self.timers.clear(&Due::Forward(number)),
        }
    }
}

/// What every request that is passed on must fulfil, an ACK too.
fn may_go_on(request: &Message) -> Result<(), Box<Response>> {
    if request.max_forwards() == Some(0) {
        return Err(Box::new(Response::new(483)));
    }
    let wanted = request.values(HeaderName::ProxyRequire);
    let wanted: Vec<String> = wanted.map(|option| String::from_utf8_lossy(option).into_owned()).collect();
    if !wanted.is_empty() {
        let refusal = Response::new(420);
        let refusal = wanted.into_iter().fold(refusal, |all, one| all.header(HeaderName::Unsupported, one));
        return Err(Box::new(refusal));
    }
    Ok(())
}

/// Whether the sender of a request says of itself that it is the focus of a conference.
fn claims_focus(request: &Message) -> bool {
    let contact = String::from_utf8_lossy(request.header(HeaderName::Contact).unwrap_or_default());
    let params = contact.rsplit('>').next().unwrap_or_default();
    params.split([';', ',']).any(|word| word.trim().to_ascii_lowercase().starts_with("isfocus"))
}

fn with_transport(address: std::net::SocketAddr, transport: Transport) -> String {
    match transport {
        Transport::Udp => address.to_string(),
        other => format!("{address};transport={}", other.uri_name()),
    }
}

/// Whether a request comes from where an end of its dialog is reached.
pub(super) fn is_at(flow: &Flow, end: &Reach) -> bool {
    end.flow == Some(flow.id) || end.destination.remote.ip().to_canonical() == flow.remote.ip().to_canonical()
}

/// Branches that a request may have at one time (RFC 5393, section 5.3).
fn breadth_of(request: &Message) -> u32 {
    let written = request.header(HeaderName::MaxBreadth);
    let number = written.and_then(|value| std::str::from_utf8(value).ok()?.trim().parse().ok());
    number.unwrap_or(BREADTH).min(BREADTH)
}
