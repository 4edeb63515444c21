//! MESSAGE (RFC 3428): passed on to every device of the recipient, or kept until there is one.
//!
//! The service answers the sender itself and sends requests of its own to the devices (so two transactions meet here,
//! no Via is carried on), but Call-ID, CSeq and From stay those of the sender: whatever way and however often a message
//! arrives, its recipient can tell that it is the same one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use attache_sip::endpoint::{Failure, Field, Request, Response};
use attache_sip::message::{HeaderName, Message, Method};
use attache_sip::transaction::ServerTransactionId;
use attache_sip::transport::{Flow, Transport};
use attache_sip::uri::UriBuf;

use super::access::Challenger;
use super::own::Package;
use super::{Core, Due, Outcome, Storing, Use, letters};
use crate::date::sip_date;
use crate::directory::Aor;
use crate::mailbox::{StoreChange, StoredMessage};
use crate::reach::Reach;
use crate::registrar::Binding;

/// A message on its way to the devices of one recipient.
pub(super) struct Relay {
    recipient: Aor,
    message: Arc<StoredMessage>,
    origin: Origin,
    /// The one device that is meant, where it is not all of them.
    device: Option<String>,
    /// Ways that were tried.
    tried: Vec<(UriBuf, Reach)>,
    /// Devices that have not answered.
    open: usize,
    /// The best refusal so far.
    refusal: Option<u16>,
}

/// Where a message goes.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) contact: UriBuf,
    pub(super) reach: Reach,
    pub(super) path: Arc<[String]>,
}

impl Target {
    pub(super) fn of(binding: &Binding) -> Self {
        Self { contact: binding.contact.clone(), reach: binding.reach, path: Arc::clone(&binding.path) }
    }
}

pub(super) enum Origin {
    /// The sender waits.
    Live(ServerTransactionId),
    /// The sender waits, and means one device only: it is not kept.
    Device(ServerTransactionId),
    /// The sender was told 202: the message is in the mailbox, but a device may still take it.
    Kept,
    /// It comes out of the mailbox.
    Mailbox,
    /// The sender has a final answer, and nothing is left to be done.
    Done,
}

/// What a device says of a message.
#[derive(Copy, Clone, Eq, PartialEq)]
enum Verdict {
    Taken(u16),
    /// It does not want this message, now or later.
    Refused(u16),
    /// It could not be asked, or cannot take messages now.
    Absent {
        /// Nobody is at that contact any more.
        gone: bool,
    },
}

/// How long a mailbox waits before it tries again to deliver to a device that is registered but does not answer.
const RETRY: Duration = Duration::from_secs(60);

/// Bytes of a message that fit into a datagram together with the headers of its hop.
const LARGEST_DATAGRAM: usize = 64_000;

/// Headers that belong to one hop, to authentication, or to a dialog that a MESSAGE does not have.
const NOT_PASSED_ON: [HeaderName; 20] = [
    HeaderName::Authorization,
    HeaderName::CSeq,
    HeaderName::Contact,
    HeaderName::ContentLength,
    HeaderName::ContentType,
    HeaderName::MaxForwards,
    HeaderName::PAssertedIdentity,
    HeaderName::PPreferredIdentity,
    HeaderName::Path,
    HeaderName::ProxyAuthenticate,
    HeaderName::ProxyAuthorization,
    HeaderName::ProxyRequire,
    HeaderName::RecordRoute,
    HeaderName::Route,
    HeaderName::SecurityClient,
    HeaderName::SecurityVerify,
    HeaderName::ServiceRoute,
    HeaderName::Timestamp,
    HeaderName::Via,
    HeaderName::WwwAuthenticate,
];

/// Kept here, for the next hop only; it is no header of the message.
const HOPS: &str = "Max-Forwards";

impl Core {
    pub(super) fn on_message(
        &mut self,
        now: Instant,
        id: ServerTransactionId,
        request: &Message,
        flow: &Flow,
    ) {
        if self.authenticate(now, id, request, flow, Challenger::Proxy).is_none() {
            return;
        }
        if letters::is_for_many(request) {
            self.on_letters(now, id, request, flow);
            return;
        }
        let Some(recipient) = self.addressee(now, id, request) else { return };
        let device = request.request_uri().ok().and_then(|uri| self.registrar.device(&uri));
        let device = device.map(|(_, device)| device);
        let hops = request.max_forwards().unwrap_or(70);
        if hops == 0 {
            self.refuse(now, id, 483, "");
            return;
        }
        if request.body().len() > self.limits.message_bytes {
            self.refuse(now, id, 413, "");
            return;
        }
        if self.relays.len() >= self.limits.relays {
            self.respond(now, id, &Response::new(503).header(HeaderName::RetryAfter, "5"));
            return;
        }
        let message = Arc::new(self.letter(now, request, &recipient, hops - 1));
        if let Some(device) = device {
            // For one device and no other: there is no point in keeping it (RFC 5627, section 5.4).
            match device.filter(|device| !self.registrar.targets(&recipient, Some(device), now).is_empty()) {
                Some(device) => {
                    self.timers.set(Due::Relay(self.next_relay), now + self.limits.relay_timeout);
                    self.relay(now, &recipient, message, Origin::Device(id), Some(device));
                }
                None => self.refuse(now, id, 480, "Device Not Registered"),
            }
            return;
        }
        // What waits goes first.
        let overtakes = self.mailboxes.is_waiting(&recipient) && is_storable(&message);
        if overtakes || self.registrar.bindings(&recipient, now).next().is_none() {
            self.keep(now, &recipient, message, Some(id));
            self.deliver_next(now, &recipient);
            return;
        }
        self.timers.set(Due::Relay(self.next_relay), now + self.limits.relay_timeout);
        self.relay(now, &recipient, message, Origin::Live(id), None);
    }

    pub(super) fn letter(
        &mut self,
        now: Instant,
        request: &Message,
        recipient: &Aor,
        hops: u8,
    ) -> StoredMessage {
        let mut headers = vec![(HOPS.to_owned(), hops.to_string())];
        for (name, known, value) in request.all() {
            if !NOT_PASSED_ON.contains(&known)
                && let (Ok(name), Ok(value)) = (std::str::from_utf8(name), std::str::from_utf8(value))
            {
                let name = if known == HeaderName::Other { name } else { known.as_str() };
                headers.push((name.to_owned(), value.to_owned()));
            }
        }
        let content_type = request.header(HeaderName::ContentType).unwrap_or_default();
        let at = self.wall(now);
        let wanted = request.expires().map_or(Duration::MAX, |seconds| Duration::from_secs(seconds.into()));
        StoredMessage {
            id: self.mailboxes.next_id(),
            recipient: recipient.to_string(),
            headers,
            cseq: request.cseq().map_or(1, |cseq| cseq.number),
            content_type: String::from_utf8_lossy(content_type).into_owned(),
            body: request.body_bytes(),
            at,
            until: at + wanted.min(self.limits.stored_for),
        }
    }

    /// Sends a message to every device, or to the one that is meant.
    pub(super) fn relay(
        &mut self,
        now: Instant,
        recipient: &Aor,
        message: Arc<StoredMessage>,
        origin: Origin,
        device: Option<String>,
    ) {
        let number = self.next_relay;
        self.next_relay += 1;
        let targets = self.registrar.targets(recipient, device.as_deref(), now);
        let targets: Vec<_> = targets.into_iter().map(Target::of).collect();
        let is_late = matches!(origin, Origin::Mailbox);
        let mut relay = Relay {
            recipient: Aor::clone(recipient),
            message,
            origin,
            device,
            tried: Vec::new(),
            open: 0,
            refusal: None,
        };
        for target in targets {
            self.relay_to(now, number, &mut relay, target);
        }
        if is_late && let Some(mailbox) = self.mailboxes.of.get_mut(recipient) {
            mailbox.in_flight = Some(number);
        }
        if relay.open == 0 {
            relay.refusal = Some(400);
            self.conclude(now, number, relay);
        } else {
            self.relays.insert(number, relay);
        }
    }

    fn relay_to(&mut self, now: Instant, number: u64, relay: &mut Relay, target: Target) {
        relay.tried.push((target.contact.clone(), target.reach));
        self.relay_as(now, number, relay, target, None);
    }

    /// Sends a message to one device, or a `plain` one in its place.
    fn relay_as(
        &mut self,
        now: Instant,
        number: u64,
        relay: &mut Relay,
        target: Target,
        plain: Option<&StoredMessage>,
    ) {
        let is_late = matches!(relay.origin, Origin::Mailbox);
        let mut request = outgoing(plain.unwrap_or(&relay.message), &target.contact, is_late);
        for hop in target.path.iter() {
            request.push(HeaderName::Route, &**hop);
        }
        let reach = target.reach;
        match self.endpoint.send_request(now, &request, reach.destination, reach.flow) {
            Ok(transaction) => {
                relay.open += 1;
                let plain = plain.is_some();
                self.uses.insert(transaction, Use::Relay { relay: number, target, plain });
            }
            Err(error) => tracing::debug!(%error, "a MESSAGE cannot be passed on"),
        }
    }

    /// A device has answered, or cannot be asked.
    pub(super) fn relayed(
        &mut self,
        now: Instant,
        number: u64,
        target: &Target,
        plain: bool,
        outcome: &Outcome,
    ) {
        let Some(mut relay) = self.relays.remove(&number) else { return };
        let Target { contact, reach, .. } = target;
        let verdict = verdict(outcome, &relay.message, reach);
        relay.open -= 1;
        match verdict {
            // A device that reads no more than plain text still gets what is said.
            Verdict::Refused(415) if !plain && let Some(bare) = letters::without_history(&relay.message) => {
                self.relay_as(now, number, &mut relay, target.clone(), Some(&bare));
            }
            Verdict::Taken(status) => {
                self.taken(now, number, &mut relay, status);
            }
            Verdict::Refused(status) => {
                relay.refusal = Some(relay.refusal.map_or(status, |other| better(other, status)));
            }
            Verdict::Absent { gone } => {
                let device = self.registrar.device_at(&relay.recipient, contact, reach);
                if gone {
                    self.registrar.remove(&relay.recipient, contact, reach);
                    self.own_changed(now, &relay.recipient, Package::Registration);
                }
                // Another flow of the same device may be alive (RFC 5626, section 6).
                let next = device.or_else(|| relay.device.clone()).and_then(|device| {
                    let targets = self.registrar.bindings(&relay.recipient, now);
                    let mut targets =
                        targets.filter(|binding| binding.device() == Some(&device)).map(Target::of);
                    targets.find(|one| {
                        !relay.tried.iter().any(|(contact, reach)| {
                            contact.as_str() == one.contact.as_str() && *reach == one.reach
                        })
                    })
                });
                if let Some(next) = next {
                    self.relay_to(now, number, &mut relay, next);
                }
            }
        }
        if relay.open == 0 {
            self.conclude(now, number, relay);
        } else {
            self.relays.insert(number, relay);
        }
    }

    fn taken(&mut self, now: Instant, number: u64, relay: &mut Relay, status: u16) {
        match std::mem::replace(&mut relay.origin, Origin::Done) {
            Origin::Live(sender) | Origin::Device(sender) => {
                self.timers.clear(&Due::Relay(number));
                self.respond(now, sender, &Response::new(status));
            }
            Origin::Kept => self.discard(&relay.recipient, relay.message.id),
            Origin::Mailbox => {
                self.discard(&relay.recipient, relay.message.id);
                self.release(&relay.recipient, number);
                self.deliver_next(now, &relay.recipient);
            }
            Origin::Done => {}
        }
    }

    /// All devices have been heard.
    fn conclude(&mut self, now: Instant, number: u64, relay: Relay) {
        self.timers.clear(&Due::Relay(number));
        match (relay.origin, relay.refusal) {
            (Origin::Live(sender) | Origin::Device(sender), Some(status)) => {
                self.respond(now, sender, &Response::new(status));
            }
            (Origin::Device(sender), None) => self.refuse(now, sender, 480, ""),
            (Origin::Live(sender), None) => self.keep(now, &relay.recipient, relay.message, Some(sender)),
            (Origin::Mailbox, refusal) => {
                self.release(&relay.recipient, number);
                if refusal.is_some() {
                    // It stays, for another device perhaps, but others need not wait for it.
                    if let Some(mailbox) = self.mailboxes.of.get_mut(&relay.recipient) {
                        mailbox.refused_up_to = Some(relay.message.id);
                    }
                    self.deliver_next(now, &relay.recipient);
                } else {
                    self.timers.set(Due::Mailbox(relay.recipient), now + RETRY);
                }
            }
            (Origin::Kept | Origin::Done, _) => {}
        }
    }

    /// The sender has waited long enough: the message is kept, and the sender told so. A device that takes it after all
    /// takes it out of the mailbox.
    pub(super) fn relay_timed_out(&mut self, now: Instant, number: u64) {
        let Some(relay) = self.relays.get_mut(&number) else { return };
        if let Origin::Device(sender) = relay.origin {
            relay.origin = Origin::Done;
            self.refuse(now, sender, 480, "");
            return;
        }
        if let Origin::Live(sender) = relay.origin {
            relay.origin = Origin::Kept;
            let (recipient, message) = (Aor::clone(&relay.recipient), Arc::clone(&relay.message));
            self.keep(now, &recipient, message, Some(sender));
        }
    }

    /// Puts a message into its mailbox and answers the sender as soon as it is safe there.
    fn keep(
        &mut self,
        now: Instant,
        recipient: &Aor,
        message: Arc<StoredMessage>,
        sender: Option<ServerTransactionId>,
    ) {
        self.keep_for(now, recipient, message, sender, None);
    }

    /// The same for a copy of a message to many. Whether it is kept.
    pub(super) fn keep_for(
        &mut self,
        now: Instant,
        recipient: &Aor,
        message: Arc<StoredMessage>,
        sender: Option<ServerTransactionId>,
        list: Option<u64>,
    ) -> bool {
        if !is_storable(&message) || !self.mailboxes.has_room(recipient, message.size()) {
            if let Some(sender) = sender {
                self.refuse(now, sender, 480, "");
            }
            return false;
        }
        // Out of the datagram or stream that it came in.
        let mut message = Arc::unwrap_or_clone(message);
        message.body = bytes::Bytes::copy_from_slice(&message.body);
        let message = Arc::new(message);
        self.mailboxes.put(recipient, Arc::clone(&message));
        self.own_changed(now, recipient, Package::MessageSummary);
        let until = message.until.duration_since(self.wall(now)).unwrap_or_default();
        self.timers.set(Due::Mailbox(Aor::clone(recipient)), now + until.min(RETRY));
        if self.is_durable {
            let storing = Storing { recipient: Aor::clone(recipient), sender, list };
            self.storing.insert(message.id, storing);
            self.store_changes.push_back(StoreChange::Put(message));
        } else if let Some(sender) = sender {
            self.respond(now, sender, &Response::new(202));
        }
        true
    }

    pub(super) fn message_stored(&mut self, now: Instant, id: u64, outcome: Result<(), &str>) {
        let Some(storing) = self.storing.remove(&id) else { return };
        if let Some(list) = storing.list {
            self.copy_stored(now, list, outcome.is_ok());
        }
        match (outcome, storing.sender) {
            (Ok(()), Some(sender)) => self.respond(now, sender, &Response::new(202)),
            (Ok(()), None) => {}
            (Err(error), sender) => {
                tracing::error!(error, "a message cannot be kept");
                // The sender keeps it.
                self.mailboxes.remove(&storing.recipient, id);
                self.own_changed(now, &storing.recipient, Package::MessageSummary);
                if let Some(sender) = sender {
                    self.respond(now, sender, &Response::new(500).header(HeaderName::RetryAfter, "30"));
                }
            }
        }
    }

    fn discard(&mut self, recipient: &Aor, id: u64) {
        if self.mailboxes.remove(recipient, id) {
            if self.is_durable {
                self.store_changes.push_back(StoreChange::Remove(id));
            }
            self.own_changed(self.now, recipient, Package::MessageSummary);
        }
    }

    fn release(&mut self, recipient: &Aor, number: u64) {
        if let Some(mailbox) = self.mailboxes.of.get_mut(recipient) {
            if mailbox.in_flight == Some(number) {
                mailbox.in_flight = None;
            }
            if mailbox.waiting.is_empty() {
                self.mailboxes.of.remove(recipient);
            }
        }
    }

    /// A user has registered: what waits is delivered from the beginning.
    pub(super) fn begin_round(&mut self, now: Instant, recipient: &Aor) {
        if let Some(mailbox) = self.mailboxes.of.get_mut(recipient) {
            mailbox.refused_up_to = None;
            self.deliver_next(now, recipient);
        }
    }

    /// Delivers the next message that waits, if there is somebody to deliver it to and none is on its way. One after the
    /// other, so that they arrive in order.
    pub(super) fn deliver_next(&mut self, now: Instant, recipient: &Aor) {
        if self.registrar.bindings(recipient, now).next().is_none() {
            return;
        }
        let Some(mailbox) = self.mailboxes.of.get(recipient) else { return };
        if mailbox.in_flight.is_some() {
            return;
        }
        let after = mailbox.refused_up_to.unwrap_or(0);
        let wall = self.wall(now);
        let next = mailbox.waiting.iter().find(|message| message.id > after && message.until > wall).cloned();
        if let Some(message) = next {
            self.relay(now, recipient, message, Origin::Mailbox, None);
        }
    }

    /// Forgets what is too old, and tries again.
    pub(super) fn look_into(&mut self, now: Instant, recipient: &Aor) {
        for id in self.mailboxes.outdated(recipient, self.wall(now)) {
            self.discard(recipient, id);
        }
        self.deliver_next(now, recipient);
        if self.mailboxes.is_waiting(recipient) {
            self.timers.set(Due::Mailbox(Aor::clone(recipient)), now + RETRY);
        }
    }
}

fn outgoing(message: &StoredMessage, contact: &UriBuf, is_late: bool) -> Request {
    let mut request = Request::new(Method::Message, contact.as_str()).cseq(message.cseq);
    for (name, value) in &message.headers {
        request.push(Field::from(&**name), &**value);
    }
    if is_late && !request.has(HeaderName::Date) {
        request.push(HeaderName::Date, sip_date(message.at));
    }
    if !message.content_type.is_empty() {
        request = request.body(&*message.content_type, message.body.clone());
    }
    request
}

/// Signs of life, such as somebody's typing, are worth nothing later; and some messages say themselves that they are.
pub(super) fn is_storable(message: &StoredMessage) -> bool {
    let kind = message.content_type.split(';').next().unwrap_or_default().trim();
    message.until > message.at && !kind.eq_ignore_ascii_case("application/im-iscomposing+xml")
}

fn verdict(outcome: &Outcome, message: &StoredMessage, reach: &Reach) -> Verdict {
    let status = match outcome {
        Outcome::Answered(answer) => answer.status().unwrap_or(500),
        // A stream was tried before: what no datagram can hold will not arrive another time either.
        Outcome::Failed(_)
            if reach.destination.transport == Transport::Udp && message.size() > LARGEST_DATAGRAM =>
        {
            return Verdict::Refused(513);
        }
        Outcome::Failed(failure) => {
            let gone = matches!(failure, Failure::Transport(_)) && reach.ends_with_its_flow();
            return Verdict::Absent { gone };
        }
    };
    match status {
        200..=299 => Verdict::Taken(if status == 202 { 202 } else { 200 }),
        // About the message, or a person's wish: another time would not be better.
        400
        | 403
        | 405
        | 406
        | 413..=416
        | 420
        | 421
        | 486
        | 488
        | 489
        | 493
        | 501
        | 505
        | 513
        | 600..=699 => Verdict::Refused(status),
        // Nobody of that name is there any more.
        404 | 410 | 430 => Verdict::Absent { gone: true },
        _ => Verdict::Absent { gone: false },
    }
}

/// Which of two refusals the sender hears: 6xx speaks for all devices, else the lower class says more
/// (RFC 3261, section 16.7).
fn better(one: u16, other: u16) -> u16 {
    match (one >= 600, other >= 600) {
        (true, _) => one,
        (_, true) => other,
        _ => one.min(other),
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use attache_sip::transport::{Destination, FlowId};

    use super::*;

    fn absent_or_refused(transport: Transport, is_listening: bool, size: usize) -> Verdict {
        let message = StoredMessage {
            id: 1,
            recipient: "bob@example.com".into(),
            headers: Vec::new(),
            cseq: 1,
            content_type: "text/plain".into(),
            body: vec![b'x'; size].into(),
            at: SystemTime::UNIX_EPOCH,
            until: SystemTime::UNIX_EPOCH,
        };
        let destination = Destination { transport, remote: ([192, 0, 2, 1], 5060).into() };
        let flow = transport.is_reliable().then_some(FlowId(7));
        let reach = Reach { destination, flow, is_listening };
        verdict(&Outcome::Failed(Failure::Transport("x".into())), &message, &reach)
    }

    #[test]
    fn a_message_that_no_datagram_holds_is_refused_for_its_size() {
        assert!(absent_or_refused(Transport::Udp, true, 65_000) == Verdict::Refused(513));
        assert!(absent_or_refused(Transport::Udp, true, 1_000) == Verdict::Absent { gone: false });
    }

    #[test]
    fn only_a_contact_whose_connection_was_the_only_way_is_gone_with_it() {
        assert!(absent_or_refused(Transport::Tcp, false, 1_000) == Verdict::Absent { gone: true });
        assert!(absent_or_refused(Transport::Tcp, true, 1_000) == Verdict::Absent { gone: false });
    }
}
