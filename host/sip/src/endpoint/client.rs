//! Requests of our own.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use rand_chacha::rand_core::Rng as _;

use super::{Endpoint, EndpointEvent, Failure, Request, TimerKey};
use crate::build::{BuildError, RequestBuilder};
use crate::message::{HeaderName, Message, Method};
use crate::transaction::client::{Action, ClientMachine};
use crate::transaction::{self, TransactionId};
use crate::transport::{Destination, Flow, FlowId, Transmit, Transport, sent_by};

/// The number in the branch, and whether it is the CANCEL of the INVITE with that number.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub(super) struct ClientKey {
    id: u64,
    cancel: bool,
}

/// Most that a datagram holds: 65,507 bytes over IPv4, less what tunnels and options may take.
const MAX_DATAGRAM: usize = 65_000;

pub(super) struct Client {
    machine: ClientMachine,
    invite: bool,
    /// The bytes to repeat. Dropped when nothing of the request is needed any more.
    request: Bytes,
    destination: Destination,
    flow: Option<FlowId>,
    /// What its branch says beside its number.
    mark: Option<u64>,
    /// The name that a certificate there must be for.
    domain: Option<Arc<str>>,
    /// It went by TCP for its size alone, and goes here by UDP where TCP is refused.
    fallback: Option<Destination>,
    cancel: Cancel,
    /// Why it is cancelled: the value of Reason.
    reason: Option<Box<str>>,
}

#[derive(Copy, Clone, Eq, PartialEq)]
enum Cancel {
    No,
    /// Wanted, but nothing was heard of the INVITE yet (RFC 3261 §9.1).
    Wanted,
    Sent,
}

impl Client {
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.machine.deadline()
    }

    /// Whether it waits for an answer that a failure at this destination or on this flow prevents.
    pub(super) fn is_on(&self, destination: Destination, flow: Option<FlowId>) -> bool {
        self.machine.is_pending()
            && match (flow, self.flow) {
                (Some(broken), Some(used)) => broken == used,
                _ => self.destination == destination,
            }
    }

    /// Whether an answer may come from there: by the transport of the request (RFC 3261 §18.1.2), and on a stream from whom the
    /// request went to. A datagram may have another source.
    fn may_answer(&self, flow: &Flow) -> bool {
        let Destination { transport, remote } = self.destination;
        transport == flow.transport
            && match transport {
                Transport::Udp => true,
                // The connection may have been lost, and the peer have opened one (RFC 3261 §18.2.2).
                Transport::Tcp => remote.ip().to_canonical() == flow.remote.ip().to_canonical(),
                _ => remote == flow.remote,
            }
    }
}

impl Endpoint {
    /// Sends a request and begins its transaction. `flow` prefers a connection.
    ///
    /// A request for a UDP destination that is larger than [`datagram_limit`](super::EndpointConfig::datagram_limit) goes
    /// by TCP to the same address, and back to UDP if the connection fails (RFC 3261 §18.1.1).
    ///
    /// # Errors
    /// When a header cannot be written; nothing is sent then.
    /// An ACK to a 2xx has no transaction and goes by [`send_ack`](Self::send_ack).
    pub fn send_request(
        &mut self,
        now: Instant,
        request: &Request,
        destination: Destination,
        flow: Option<FlowId>,
    ) -> Result<TransactionId, BuildError> {
        self.send_with(now, request, &[], destination, flow, None)
    }

    /// [`send_request`](Self::send_request) to a place where a certificate must be for `domain`.
    ///
    /// # Errors
    /// As [`send_request`](Self::send_request).
    pub fn send_request_to(
        &mut self,
        now: Instant,
        request: &Request,
        destination: Destination,
        domain: Option<Arc<str>>,
    ) -> Result<TransactionId, BuildError> {
        self.send_with(now, request, &[], destination, None, domain)
    }

    /// [`send_request`](Self::send_request) with headers that only this attempt has.
    pub(crate) fn send_with(
        &mut self,
        now: Instant,
        request: &Request,
        extra: &[(HeaderName, String)],
        destination: Destination,
        flow: Option<FlowId>,
        domain: Option<Arc<str>>,
    ) -> Result<TransactionId, BuildError> {
        let id = self.fresh_id();
        let invite = request.method == Method::Invite;
        let mut chosen = (destination, flow, None);
        // RFC 6223: we would keep this flow alive, if the next hop says how often.
        let keep = if request.method == Method::Register { ";keep" } else { "" };
        let mut bytes =
            request.write(&format!("{}{keep}", self.via(destination, id, request.mark)), extra)?;
        if destination.transport == Transport::Udp && bytes.len() > self.config.datagram_limit {
            let stream = Destination { transport: Transport::Tcp, ..destination };
            if self.config.local_for(Transport::Tcp, destination.remote).is_some() {
                chosen = (stream, None, Some(destination));
                bytes = request.write(&format!("{}{keep}", self.via(stream, id, request.mark)), extra)?;
            }
        }
        let (destination, flow, fallback) = chosen;
        let reliable = destination.transport.is_reliable();
        let client = Client {
            machine: ClientMachine::new(now, invite, reliable, &self.config.timers),
            invite,
            request: bytes.clone(),
            destination,
            flow,
            mark: request.mark,
            domain: domain.clone(),
            fallback,
            cancel: Cancel::No,
            reason: None,
        };
        self.transmits.push_back(Transmit { destination, flow, domain, payload: bytes });
        self.begin(ClientKey { id: id.0, cancel: false }, client);
        Ok(id)
    }

    /// Sends the ACK to a 2xx: it has a branch of its own and no transaction (RFC 3261 §13.2.2.4). Send it again for each
    /// repeat of the 2xx.
    ///
    /// # Errors
    /// When a header cannot be written.
    pub fn send_ack(
        &mut self,
        request: &Request,
        destination: Destination,
        flow: Option<FlowId>,
    ) -> Result<(), BuildError> {
        let id = self.fresh_id();
        let payload = request.write(&self.via(destination, id, request.mark), &[])?;
        self.transmits.push_back(Transmit { destination, flow, domain: None, payload });
        Ok(())
    }

    /// [`send_ack`](Self::send_ack) to a place where a certificate must be for `domain`. Unless it must be `exact`, one that is too long for
    /// a datagram goes by TCP, as a request does.
    ///
    /// # Errors
    /// When a header cannot be written.
    pub fn send_ack_to(
        &mut self,
        request: &Request,
        destination: Destination,
        domain: Option<Arc<str>>,
        exact: bool,
    ) -> Result<(), BuildError> {
        let id = self.fresh_id();
        let mut destination = destination;
        let mut payload = request.write(&self.via(destination, id, request.mark), &[])?;
        let long = destination.transport == Transport::Udp && payload.len() > self.config.datagram_limit;
        if long && !exact && self.config.local_for(Transport::Tcp, destination.remote).is_some() {
            destination.transport = Transport::Tcp;
            payload = request.write(&self.via(destination, id, request.mark), &[])?;
        }
        self.transmits.push_back(Transmit { destination, flow: None, domain, payload });
        Ok(())
    }

    /// Cancels an INVITE: at once if it has a provisional answer, else when one comes (RFC 3261 §9.1). Its end is reported
    /// as always, usually as a 487. Other requests cannot be cancelled, and finished ones need not be: then nothing happens.
    pub fn cancel(&mut self, now: Instant, id: TransactionId) {
        self.cancel_for(now, id, None);
    }

    /// [`cancel`](Self::cancel) with a value of Reason (RFC 3326).
    pub fn cancel_for(&mut self, now: Instant, id: TransactionId, reason: Option<&str>) {
        let key = ClientKey { id: id.0, cancel: false };
        let Some(client) = self.clients.get_mut(&key) else { return };
        if !client.invite || !client.machine.is_pending() || client.cancel == Cancel::Sent {
            return;
        }
        client.cancel = Cancel::Wanted;
        client.reason = reason.map(Into::into);
        if client.machine.is_proceeding() {
            self.send_cancel(now, key);
        }
    }

    fn send_cancel(&mut self, now: Instant, key: ClientKey) {
        let timers = self.config.timers;
        let Some(client) = self.clients.get_mut(&key) else { return };
        client.cancel = Cancel::Sent;
        client.machine.limit(now + timers.timeout());
        let reason = client.reason.take();
        let Some(payload) = derived(&client.request, Method::Cancel, None, reason.as_deref()) else { return };
        let (destination, flow, domain) = (client.destination, client.flow, client.domain.clone());
        let cancel = Client {
            machine: ClientMachine::new(now, false, destination.transport.is_reliable(), &timers),
            invite: false,
            request: payload.clone(),
            destination,
            flow,
            mark: None,
            domain: domain.clone(),
            fallback: None,
            cancel: Cancel::No,
            reason: None,
        };
        self.arm(TimerKey::Client(key));
        self.transmits.push_back(Transmit { destination, flow, domain, payload });
        self.begin(ClientKey { id: key.id, cancel: true }, cancel);
    }

    fn begin(&mut self, key: ClientKey, client: Client) {
        self.clients.insert(key, client);
        self.arm(TimerKey::Client(key));
    }

    pub(super) fn on_response(&mut self, now: Instant, flow: Flow, message: Message) {
        let Some(status) = message.status() else { return };
        let Some(id) = message
            .top_via()
            .ok()
            .and_then(|via| via.branch().and_then(|branch| transaction::parse_branch(branch.as_bytes())))
        else {
            return;
        };
        let cancel = message.cseq().is_ok_and(|cseq| cseq.method == Method::Cancel);
        // The CANCEL of an INVITE has its branch; the method tells their answers apart.
        let cancel = cancel && self.clients.contains_key(&ClientKey { id: id.0, cancel });
        let key = ClientKey { id: id.0, cancel };
        // A stray answer is dropped, a 2xx to an INVITE too (RFC 6026 §8.9).
        let Some(client) = self.clients.get_mut(&key).filter(|client| client.may_answer(&flow)) else {
            return;
        };
        let verdict = client.machine.on_response(now, status, &self.config.timers);
        if verdict.acknowledge
            && let Some(payload) = derived(&client.request, Method::Ack, Some(&message), None)
        {
            let (destination, flow, domain) = (client.destination, client.flow, client.domain.clone());
            self.transmits.push_back(Transmit { destination, flow, domain, payload });
        }
        let wants_cancel = client.cancel == Cancel::Wanted && client.machine.is_proceeding();
        if !client.machine.is_pending() && !client.invite {
            client.request = Bytes::new();
        }
        if verdict.terminate {
            self.clients.remove(&key);
        } else {
            self.arm(TimerKey::Client(key));
        }
        if wants_cancel {
            self.send_cancel(now, key);
        }
        if verdict.pass_up && !cancel {
            self.events.push_back(EndpointEvent::Response { id, message, flow });
        }
    }

    pub(super) fn client_timeout(&mut self, now: Instant, key: ClientKey) {
        let Some(client) = self.clients.get_mut(&key) else { return };
        match client.machine.on_timeout(now, &self.config.timers) {
            Action::None => {}
            Action::Retransmit => self.transmits.push_back(Transmit {
                destination: client.destination,
                flow: client.flow,
                domain: client.domain.clone(),
                payload: client.request.clone(),
            }),
            Action::TimedOut => {
                self.clients.remove(&key);
                self.fail(key, Failure::Timeout);
            }
            Action::Terminate => {
                self.clients.remove(&key);
            }
        }
        self.arm(TimerKey::Client(key));
    }

    pub(super) fn client_flow_failed(&mut self, now: Instant, key: ClientKey, reason: &str) {
        if let Some(client) = self.clients.get_mut(&key)
            && client.invite
            && client.machine.is_proceeding()
        {
            // Its answer cannot come any more, so nobody's phone shall ring on: told over whatever connection can be made.
            client.flow = None;
            if client.cancel != Cancel::Sent {
                self.send_cancel(now, key);
            }
            self.clients.remove(&key);
            return self.fail(key, Failure::Transport(reason.to_owned()));
        }
        let Some(client) = self.clients.get(&key) else { return };
        if let Some(destination) = client.fallback
            && let Some(payload) =
                self.rerouted(&client.request, destination, TransactionId(key.id), client.mark)
            && payload.len() <= MAX_DATAGRAM
        {
            let machine = ClientMachine::new(now, client.invite, false, &self.config.timers);
            if let Some(client) = self.clients.get_mut(&key) {
                client.machine = machine;
                client.request = payload.clone();
                client.destination = destination;
                client.fallback = None;
            }
            self.transmits.push_back(Transmit { destination, flow: None, domain: None, payload });
            self.arm(TimerKey::Client(key));
            return;
        }
        self.clients.remove(&key);
        self.fail(key, Failure::Transport(reason.to_owned()));
    }

    fn fail(&mut self, key: ClientKey, failure: Failure) {
        if !key.cancel {
            self.events.push_back(EndpointEvent::Failed { id: TransactionId(key.id), failure });
        }
    }

    /// The same request with the Via of another transport. Our Via is always the line below the first.
    fn rerouted(
        &self,
        request: &Bytes,
        destination: Destination,
        id: TransactionId,
        mark: Option<u64>,
    ) -> Option<Bytes> {
        let first = memchr::memchr(b'\n', request)? + 1;
        let second = first + memchr::memchr(b'\n', &request[first..])? + 1;
        let via = self.via(destination, id, mark);
        let mut bytes = Vec::with_capacity(request.len() + 16);
        bytes.extend_from_slice(&request[..first]);
        bytes.extend_from_slice(b"Via: ");
        bytes.extend_from_slice(via.as_bytes());
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&request[second..]);
        Some(bytes.into())
    }

    /// The name of a host that cannot exist: a client behind a connection that it opened has no address worth naming
    /// (RFC 7118 §5). It stays the same for the life of the endpoint, so that Via and Contact agree.
    pub(crate) fn nowhere(&self) -> String {
        format!("{:016x}.invalid", self.nowhere)
    }

    /// Sends what keeps a flow alive and says nothing: the ping of RFC 5626 §3.5.1 on a stream, an empty datagram on UDP.
    pub(crate) fn keep_alive(&mut self, destination: Destination, domain: Option<Arc<str>>) {
        let payload = Bytes::from_static(b"\r\n\r\n");
        self.transmits.push_back(Transmit { destination, flow: None, domain, payload });
    }

    fn fresh_id(&mut self) -> TransactionId {
        loop {
            let id = self.rng.next_u64();
            if !self.clients.contains_key(&ClientKey { id, cancel: false }) {
                return TransactionId(id);
            }
        }
    }

    /// The value of Via for a request of ours. `rport` asks the peer to answer to where the request really came from
    /// (RFC 3581).
    fn via(&self, destination: Destination, id: TransactionId, mark: Option<u64>) -> String {
        let name = destination.transport.via_name();
        let branch = transaction::branch(id, mark);
        match self.config.local_for(destination.transport, destination.remote) {
            Some(local) => format!("SIP/2.0/{name} {};branch={branch};rport", sent_by(local)),
            None => format!("SIP/2.0/{name} {};branch={branch};rport", self.nowhere()),
        }
    }
}

/// The ACK or CANCEL that belongs to an INVITE: same target, branch, route and number (RFC 3261 §9.1, §17.1.1.3). An ACK
/// takes To from the answer that it acknowledges.
fn derived(
    invite: &Bytes,
    method: Method<'_>,
    answer: Option<&Message>,
    reason: Option<&str>,
) -> Option<Bytes> {
    let invite = Message::parse(invite.clone()).ok()?;
    let uri = std::str::from_utf8(invite.request_uri_bytes()).ok()?;
    let to =
        answer.and_then(|answer| answer.header(HeaderName::To)).or_else(|| invite.header(HeaderName::To))?;
    let number = invite.cseq().ok()?.number;
    let mut builder = RequestBuilder::new(&method, uri)
        .header_bytes(HeaderName::Via, invite.header(HeaderName::Via)?)
        .header(HeaderName::MaxForwards, 70);
    for route in invite.headers(HeaderName::Route) {
        builder = builder.header_bytes(HeaderName::Route, route);
    }
    if let Some(reason) = reason {
        builder = builder.header(HeaderName::Reason, reason);
    }
    builder
        .header_bytes(HeaderName::From, invite.header(HeaderName::From)?)
        .header_bytes(HeaderName::To, to)
        .header_bytes(HeaderName::CallId, invite.header(HeaderName::CallId)?)
        .header(HeaderName::CSeq, format_args!("{number} {method}"))
        .finish()
        .ok()
}
