//! Requests of others.

use std::hash::Hasher as _;
use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;

use super::{Endpoint, EndpointEvent, RespondError, Response, TimerKey};
use crate::message::{HeaderName, Message, Method};
use crate::transaction::ServerTransactionId;
use crate::transaction::server::{Action, ServerMachine};
use crate::transport::{Destination, Flow, FlowId, Transmit, Transport};
use crate::uri::Host;

/// Most bytes of answers kept for repeats of their requests.
const MAX_ANSWERED_BYTES: usize = 64 * 1024 * 1024;

pub(super) enum Server {
    /// Something is still owed to it, or it is an INVITE.
    Active(Box<Active>),
    /// A non-INVITE request over datagrams that has its final answer, kept for timer J alone.
    Answered(Answer),
}

pub(super) struct Active {
    machine: ServerMachine,
    pub(super) request: Message,
    pub(super) flow: Flow,
    last: Bytes,
}

impl Active {
    /// Whether an answer of this status may leave.
    pub(super) fn may_answer(&self, status: u16) -> Result<(), RespondError> {
        if self.machine.admits(status) {
            return Ok(());
        }
        Err(if self.machine.is_pending() { RespondError::Forbidden(status) } else { RespondError::Over })
    }
}

/// How to say an answer again.
pub(super) enum Answer {
    /// A bare status: whatever else stands in the answer is copied from the request, and a repeat of that brings it along.
    Status(u16),
    /// Its bytes.
    Bytes(Bytes),
}

impl Server {
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Active(active) => active.machine.deadline(),
            // Timer J is kept in a queue of its own.
            Self::Answered(_) => None,
        }
    }
}

impl Endpoint {
    /// Answers a request. A final answer is repeated whenever the request is, for timer J, or in case of a refused
    /// INVITE, until it is acknowledged.
    ///
    /// An accepted INVITE takes further 2xx until timer L ends: its user repeats the 2xx until the ACK comes
    /// (RFC 3261 §13.3.1.4).
    ///
    /// # Errors
    /// When the transaction is over, the protocol forbids the status here, or a header cannot be written. Nothing is sent
    /// then.
    pub fn respond(
        &mut self,
        now: Instant,
        id: ServerTransactionId,
        response: &Response,
    ) -> Result<(), RespondError> {
        let Some(Server::Active(active)) = self.servers.get(&id.0) else {
            return Err(RespondError::Over);
        };
        active.may_answer(response.status)?;
        let payload = response.write(&active.request, active.flow.remote, &tag(id.0))?;
        self.answer(now, id, response.status, payload, response.is_plain());
        Ok(())
    }

    /// Forgets a request that has a refusal and came over a stream, where neither is repeated: its ACK then belongs to
    /// nothing. For who need not prove anything to be refused, so that refusals cost no memory. Any other stays.
    pub fn forget(&mut self, id: ServerTransactionId) {
        let Some(Server::Active(active)) = self.servers.get(&id.0) else { return };
        if !active.machine.is_pending()
            && !active.machine.is_accepted()
            && active.flow.transport.is_reliable()
        {
            self.servers.remove(&id.0);
        }
    }

    /// An answer that may leave leaves.
    pub(super) fn answer(
        &mut self,
        now: Instant,
        id: ServerTransactionId,
        status: u16,
        payload: Bytes,
        plain: bool,
    ) {
        let Some(Server::Active(active)) = self.servers.get_mut(&id.0) else { return };
        let invite = active.request.method() == Some(Method::Invite);
        let (destination, flow) = way_back(&active.request, &active.flow);
        active.machine.on_respond(now, status, &self.config.timers);
        self.transmits.push_back(Transmit { destination, flow, domain: None, payload: payload.clone() });
        if status < 200 || invite {
            active.last = payload;
            self.arm(TimerKey::Server(id.0));
        } else if destination.transport.is_reliable() {
            // Timer J is zero where nothing is repeated.
            self.servers.remove(&id.0);
        } else {
            // Under a flood, the status must do for a repeat: what is kept is bounded.
            let fits = self.answered_bytes + payload.len() <= MAX_ANSWERED_BYTES;
            let answer = if plain || !fits {
                Answer::Status(status)
            } else {
                self.answered_bytes += payload.len();
                Answer::Bytes(payload)
            };
            self.servers.insert(id.0, Server::Answered(answer));
            self.answered.push_back((now + self.config.timers.timeout(), id.0));
        }
    }

    pub(super) fn on_request(&mut self, now: Instant, flow: Flow, message: Message) {
        let Some(method) = message.method() else { return };
        let key = self.server_key(&message, method);
        match self.servers.get(&key) {
            Some(_) if method == Method::Ack => self.on_ack(now, key, message, flow),
            Some(server) => {
                if let Some(payload) = repeated(server, &message, flow.remote, key) {
                    let (destination, flow) = way_back(&message, &flow);
                    self.transmits.push_back(Transmit { destination, flow, domain: None, payload });
                }
            }
            None if method == Method::Ack => self.events.push_back(EndpointEvent::Ack { message, flow }),
            None if self.servers.len() >= self.config.max_server_transactions => {
                let refusal = Response::new(503).header(HeaderName::RetryAfter, "10");
                self.respond_stateless(&message, &flow, &refusal);
            }
            None if method == Method::Cancel => self.on_cancel(now, key, message, flow),
            None => {
                let invite = method == Method::Invite;
                self.accept(now, key, invite, message.clone(), flow);
                let id = ServerTransactionId(key);
                self.events.push_back(EndpointEvent::Request { id, message, flow });
            }
        }
    }

    fn accept(&mut self, now: Instant, key: u128, invite: bool, request: Message, flow: Flow) {
        let machine = ServerMachine::new(now, invite, flow.transport.is_reliable(), &self.config.timers);
        let active = Active { machine, request, flow, last: Bytes::new() };
        self.servers.insert(key, Server::Active(Box::new(active)));
        self.arm(TimerKey::Server(key));
    }

    fn on_ack(&mut self, now: Instant, key: u128, message: Message, flow: Flow) {
        let Some(Server::Active(active)) = self.servers.get_mut(&key) else { return };
        if active.machine.is_accepted() {
            // Some peers give the ACK to a 2xx the branch of its INVITE.
            self.events.push_back(EndpointEvent::Ack { message, flow });
        } else if active.machine.on_ack(now, &self.config.timers) {
            self.servers.remove(&key);
        } else {
            self.arm(TimerKey::Server(key));
        }
    }

    /// A CANCEL is answered here whatever becomes of the INVITE (RFC 3261 §9.2).
    fn on_cancel(&mut self, now: Instant, key: u128, message: Message, flow: Flow) {
        let invite = self.server_key(&message, Method::Invite);
        let status = match self.servers.get(&invite) {
            Some(Server::Active(active)) => {
                if active.machine.is_pending() {
                    let id = ServerTransactionId(invite);
                    self.events.push_back(EndpointEvent::Cancelled { id, message: message.clone() });
                }
                200
            }
            _ => 481,
        };
        self.accept(now, key, false, message, flow);
        let id = ServerTransactionId(key);
        if let Err(error) = self.respond(now, id, &Response::new(status)) {
            tracing::debug!(%error, "a CANCEL could not be answered");
        }
    }

    pub(super) fn server_timeout(&mut self, now: Instant, key: u128) {
        let Some(Server::Active(active)) = self.servers.get_mut(&key) else { return };
        match active.machine.on_timeout(now, &self.config.timers) {
            Action::None => {}
            Action::Retransmit => {
                let (destination, flow) = way_back(&active.request, &active.flow);
                self.transmits.push_back(Transmit {
                    destination,
                    flow,
                    domain: None,
                    payload: active.last.clone(),
                });
            }
            Action::Trying => {
                if let Err(error) = self.respond(now, ServerTransactionId(key), &Response::new(100)) {
                    tracing::debug!(%error, "a 100 could not be sent");
                }
            }
            Action::Unacknowledged => {
                self.servers.remove(&key);
                self.events.push_back(EndpointEvent::Unacknowledged { id: ServerTransactionId(key) });
            }
            Action::Terminate => {
                self.servers.remove(&key);
            }
        }
        self.arm(TimerKey::Server(key));
    }

    /// Answers without remembering anything.
    pub(super) fn respond_stateless(&mut self, request: &Message, flow: &Flow, response: &Response) -> bool {
        let key = self.server_key(request, request.method().unwrap_or(Method::Options));
        match response.write(request, flow.remote, &tag(key)) {
            Ok(payload) => {
                let (destination, flow) = way_back(request, flow);
                self.transmits.push_back(Transmit { destination, flow, domain: None, payload });
                true
            }
            Err(error) => {
                tracing::debug!(%error, "a refusal could not be written");
                false
            }
        }
    }

    /// What RFC 3261 §17.2.3 compares, hashed under a secret.
    fn server_key(&self, message: &Message, method: Method<'_>) -> u128 {
        let method = if method == Method::Ack { Method::Invite } else { method };
        let half = |secret: u64| {
            // Sip-hash with a secret in front: nobody outside can find two requests with one key.
            let mut hasher = std::hash::DefaultHasher::new();
            hasher.write_u64(secret);
            let mut part = |bytes: &[u8]| {
                hasher.write_usize(bytes.len());
                hasher.write(bytes);
            };
            part(method.as_str().as_bytes());
            let via = message.top_via();
            match via.as_ref().ok().and_then(|via| via.rfc3261_branch().map(|branch| (via, branch))) {
                Some((via, branch)) => {
                    part(branch.as_bytes());
                    match via.host() {
                        Host::Name(name) => part(name.as_bytes()),
                        Host::V4(address) => part(&address.octets()),
                        Host::V6(address) => part(&address.octets()),
                    }
                    part(&via.port().unwrap_or(0).to_be_bytes());
                }
                // An element of RFC 2543 has no branch to rely on.
                None => {
                    part(message.request_uri_bytes());
                    part(message.header(HeaderName::Via).unwrap_or_default());
                    part(message.header(HeaderName::From).unwrap_or_default());
                    part(message.call_id().unwrap_or_default().as_bytes());
                    part(&message.cseq().map_or(0, |cseq| cseq.number).to_be_bytes());
                }
            }
            hasher.finish()
        };
        u128::from(half(self.hash_key[0])) << 64 | u128::from(half(self.hash_key[1]))
    }
}

/// The tag of this end where the user gives none: the same for all answers of a transaction, and no peer can guess it.
fn tag(key: u128) -> String {
    format!("{:016x}", (key >> 64) as u64 ^ key as u64)
}

/// The answer to a repeat of a request, if it gets one.
fn repeated(server: &Server, request: &Message, source: SocketAddr, key: u128) -> Option<Bytes> {
    match server {
        Server::Active(active) => active.machine.repeats_answer().then(|| active.last.clone()),
        Server::Answered(Answer::Bytes(bytes)) => Some(bytes.clone()),
        Server::Answered(Answer::Status(status)) => {
            Response::new(*status).write(request, source, &tag(key)).ok()
        }
    }
}

/// Where an answer goes (RFC 3261 §18.2.2, RFC 3581 §4). `maddr` is not followed: it would let any sender aim our answers
/// at anybody.
fn way_back(request: &Message, flow: &Flow) -> (Destination, Option<FlowId>) {
    let via = request.top_via();
    let sent_by_port = |via: &crate::message::Via<'_>| via.port().unwrap_or(flow.transport.default_port());
    let port = match &via {
        Ok(via) if flow.transport != Transport::Udp || via.rport().is_none() => sent_by_port(via),
        _ => flow.remote.port(),
    };
    let remote = SocketAddr::new(flow.remote.ip(), port);
    (Destination { transport: flow.transport, remote }, Some(flow.id))
}
