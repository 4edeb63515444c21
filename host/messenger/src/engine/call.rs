//! Calls: what is asked for, how each stands, and what is told of them.
//!
//! A call is not kept: its phones are in dialogs with this process, and what they have of it is lost with it. Whatever it did
//! to own presence ends with the process as well, as facts are not kept either, and what was published runs out. The
//! phones notice by their session timers (RFC 4028).

mod description;
mod media;
mod reason;
mod refer;
mod third;
mod transfer;

use core::time::Duration;
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::Instant,
};

use attache_sip::{
    agent::{InviteId, ReferId, SubscriptionId},
    uri::UriBuf,
    usage::{CallError, InviteEvent, InviteParams, ReferEvent},
};

use crate::{
    address::Address,
    call::{self, Call, CallMethod, CallState, Callee, Media},
    code::Code,
    command::Accepted,
    engine::{Engine, ledger::Ticket},
    error::{Error, Retry},
    event::{EventKind, SessionState},
    id::{CallId, RequestId},
    presence::Fact,
    snapshot::TranscriptEntry,
};
use description::Voice;
use media::Own;
use reason::Whose;
use refer::Referred;
use third::Third;
use transfer::Transfer;

/// So many calls that are over are shown.
const SHOWN: usize = 64;
/// Most calls of one person that ring at once: beyond, nobody else could call, nor be called.
const RINGING_OF_ONE: usize = 2;
/// So long may one's own phone ring, and then the other side's, in seconds.
const OWN_RINGS: u32 = 60;
const PEER_RINGS: u32 = 120;
/// Names the fact that somebody is on the phone.
pub(super) const SOURCE: &str = "calls";

/// One session of a call.
#[derive(Debug)]
struct Leg {
    id: InviteId,
    voice: Voice,
}

/// Which session of a call.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
enum Side {
    /// The one with the own phone.
    Own,
    /// The one with the other side.
    Peer,
}

impl Side {
    const fn other(self) -> Self {
        match self {
            Self::Own => Self::Peer,
            Self::Peer => Self::Own,
        }
    }
}

/// How a call is made.
#[derive(Debug)]
enum Way {
    /// Two sessions, and we between them.
    Third(Third),
    /// The own phone was asked to call.
    Referred(Referred),
    /// One session, with the application's media.
    Own(Own),
}

/// A call in progress.
#[derive(Debug)]
struct Line {
    call: Call,
    /// The command that waits for both sides to talk.
    request: Option<RequestId>,
    way: Way,
    transfer: Option<Transfer>,
    /// When something is due: what, says the way.
    due: Option<Instant>,
}

/// Calls in progress.
#[derive(Debug, Default)]
pub(super) struct Lines {
    lines: BTreeMap<CallId, Line>,
    legs: HashMap<InviteId, (CallId, Side)>,
    refers: HashMap<ReferId, CallId>,
    dialogs: HashMap<SubscriptionId, CallId>,
    /// Calls that are over and shown, oldest first.
    over: VecDeque<CallId>,
}

impl Engine {
    // ---- commands ----

    /// Calls somebody from the own phone.
    pub(super) fn dial(
        &mut self,
        ticket: Ticket,
        to: &Callee,
        own: Option<Address>,
        method: Option<CallMethod>,
    ) {
        let method = method.unwrap_or(CallMethod::ThirdParty);
        let phone = own.or_else(|| self.config.phone.clone()).unwrap_or_else(|| self.config.address.clone());
        let checked = self.check_call(to).and_then(|peer| Ok((peer, phone.to_uri()?)));
        let (peer, own) = match checked {
            Ok(checked) => checked,
            Err(error) => return self.ledger.answer(ticket.token, Err(error)),
        };
        let mut call = self.new_call(peer);
        call.own = Some(phone);
        call.method = Some(method);
        let way = match method {
            CallMethod::ThirdParty => self.call_own_phone(own, false).map(Way::Third),
            CallMethod::Refer => self.ask_own_phone(own, &call.peer).map(Way::Referred),
        };
        match way {
            Ok(way) => self.begin_call(ticket, call, way),
            Err(error) => self.ledger.answer(ticket.token, Err(busy(error))),
        }
    }

    fn check_call(&self, to: &Callee) -> Result<Address, Error> {
        let peer = self.callee(to)?;
        peer.to_uri()?;
        if peer == self.config.address {
            return Err(Error::new(Code::SessionInvitedSelf, "nobody can call themselves"));
        }
        match self.view.session {
            SessionState::SignedIn | SessionState::Reconnecting => {}
            _ => {
                let error = Error::new(Code::NotLoggedOn, "not signed in");
                return Err(error.retry(Retry::AfterChange));
            }
        }
        if self.lines.lines.len() >= self.config.limits.calls {
            let text = format!("there are {} calls already, which is the limit", self.config.limits.calls);
            return Err(Error::new(Code::TooManySessions, text).retry(Retry::AfterChange));
        }
        Ok(peer)
    }

    fn callee(&self, to: &Callee) -> Result<Address, Error> {
        match to {
            Callee::Address(address) => Ok(address.clone()),
            Callee::Number(text) => {
                let uri = UriBuf::parse(self.config.address.as_str()).ok();
                let domain = uri.as_ref().and_then(|uri| uri.as_uri().host().map(|host| host.to_string()));
                call::number(text, domain.as_deref().unwrap_or_default())
            }
            Callee::Contact(id, kind) => {
                let Some(entry) = self.view.contacts.get(id) else {
                    return Err(Error::new(Code::ContactNotFound, format!("there is no contact {id}")));
                };
                if let Some(number) = entry.phone(*kind) {
                    return Ok(number.clone());
                }
                let text = format!("no {} number of the contact is known", kind.name());
                Err(Error::new(Code::PhoneInvalidNumber, text))
            }
        }
    }

    fn new_call(&mut self, peer: Address) -> Call {
        Call {
            id: CallId(self.next_id()),
            contact: self.view.by_address.get(&peer).copied(),
            conversation: self.conversation_with(&peer),
            peer,
            incoming: false,
            own: None,
            method: None,
            media: Media::Audio,
            state: CallState::Starting,
            started_at: self.now.wall,
            connected_at: None,
            ended_at: None,
        }
    }

    fn begin_call(&mut self, ticket: Ticket, call: Call, way: Way) {
        let accepted = Accepted { call: Some(call.id), ..Accepted::new(ticket.request) };
        self.ledger.answer(ticket.token, Ok(accepted));
        self.put_line(call, way, Some(ticket.request));
    }

    fn put_line(&mut self, call: Call, way: Way, request: Option<RequestId>) {
        let id = call.id;
        match &way {
            Way::Third(third) => {
                self.lines.legs.insert(third.own.id, (id, Side::Own));
            }
            Way::Referred(referred) => {
                self.lines.refers.insert(referred.refer, id);
            }
            Way::Own(own) => {
                if let Some(leg) = own.leg {
                    self.lines.legs.insert(leg, (id, Side::Peer));
                }
            }
        }
        let due = match &way {
            Way::Own(own) => own.due(self.now.instant),
            _ => None,
        };
        self.lines.lines.insert(id, Line { call, request, way, transfer: None, due });
        self.show_call(id);
    }

    /// The command: ends a call.
    pub(super) fn hang_up(&mut self, ticket: Ticket, id: CallId) {
        if !self.lines.lines.contains_key(&id) {
            return self.no_line(ticket, id);
        }
        self.accept(ticket);
        self.decline(id);
        self.drop_call(id, None);
        self.complete(ticket.request, Ok(()));
    }

    fn no_line(&mut self, ticket: Ticket, id: CallId) {
        let error = match self.view.calls.contains_key(&id) {
            true => Error::new(Code::Closed, "the call is over"),
            false => Error::new(Code::NotFound, format!("there is no call {id}")),
        };
        self.ledger.answer(ticket.token, Err(error));
    }

    /// Every call ends: the person signs out.
    pub(super) fn drop_calls(&mut self) {
        let ids: Vec<CallId> = self.lines.lines.keys().copied().collect();
        for id in ids {
            self.drop_call(id, None);
        }
    }

    // ---- what happens ----

    /// Something happened to a session.
    pub(super) fn on_session_event(&mut self, leg: InviteId, event: InviteEvent) {
        if self.on_chat_event(leg, &event) || self.on_file_invite(leg, &event) {
            return;
        }
        if let InviteEvent::Incoming(incoming) = event {
            if self.on_invited(leg, &incoming) {
                return;
            }
            return self.on_incoming_call(leg, &incoming);
        }
        let Some(&(id, side)) = self.lines.legs.get(&leg) else { return };
        if matches!(event, InviteEvent::Failed { .. } | InviteEvent::Ended { .. }) {
            self.lines.legs.remove(&leg);
        }
        let Some(line) = self.lines.lines.get(&id) else { return };
        if let InviteEvent::Request { request, .. } = event {
            // Tones that are sent as requests go nowhere: the media carry them as well.
            let _ = self.agent.respond(self.now.instant, request, 501);
            return;
        }
        match line.way {
            Way::Third(_) => self.on_third_event(id, side, event),
            Way::Own(_) => self.on_own_event(id, event),
            Way::Referred(_) => {}
        }
    }

    /// Something happened to what somebody was asked.
    pub(super) fn on_refer_event(&mut self, refer: ReferId, event: &ReferEvent) {
        if self.on_asked(refer, event) {
            return;
        }
        let Some(&id) = self.lines.refers.get(&refer) else { return };
        if matches!(event, ReferEvent::Failed { .. } | ReferEvent::Ended { .. }) {
            self.lines.refers.remove(&refer);
        }
        let Some(line) = self.lines.lines.get(&id) else { return };
        match &line.transfer {
            Some(transfer) if transfer.refer == refer => self.on_transfer_event(id, event),
            _ => self.on_referred_event(id, event),
        }
    }

    pub(super) fn calls_timeout(&self) -> Option<Instant> {
        self.lines.lines.values().filter_map(|line| line.due).min()
    }

    pub(super) fn calls_due(&mut self) {
        let now = self.now.instant;
        let due = self.lines.lines.iter_mut().filter(|(_, line)| line.due.is_some_and(|at| at <= now));
        let due: Vec<CallId> = due
            .map(|(id, line)| {
                line.due = None;
                *id
            })
            .collect();
        for id in due {
            let Some(line) = self.lines.lines.get(&id) else { continue };
            if line.transfer.is_some() {
                self.transfer_due(id);
                continue;
            }
            match line.way {
                Way::Third(_) => self.third_due(id),
                Way::Own(_) => self.own_media_due(id),
                Way::Referred(_) => self.referred_due(id),
            }
        }
    }

    // ---- how it stands ----

    /// A call goes on to a state; never back.
    fn advance_call(&mut self, id: CallId, state: CallState) {
        let wall = self.now.wall;
        let Some(line) = self.lines.lines.get_mut(&id) else { return };
        let back = matches!(
            (&line.call.state, &state),
            (CallState::Transferring, CallState::Connected) if line.transfer.is_none()
        );
        if rank(&state) <= rank(&line.call.state) && !back {
            return;
        }
        let connected = state == CallState::Connected;
        line.call.state = state;
        let request = match connected {
            true => {
                line.call.connected_at.get_or_insert(wall);
                line.request.take()
            }
            false => None,
        };
        self.show_call(id);
        if let Some(request) = request {
            self.complete(request, Ok(()));
        }
    }

    fn show_call(&mut self, id: CallId) {
        let Some(line) = self.lines.lines.get(&id) else { return };
        let call = Arc::new(line.call.clone());
        self.view.calls.insert_mut(id, call.clone());
        self.ledger.emit(self.now.wall, EventKind::CallChanged(call));
        self.note_talking();
    }

    /// Hangs up whatever there is of a call, and ends it.
    fn drop_call(&mut self, id: CallId, error: Option<Error>) {
        let Some(line) = self.lines.lines.get(&id) else { return };
        let error = error.or_else(|| {
            let text = "it was hung up here before both sides talked";
            (rank(&line.call.state) < rank(&CallState::Connected))
                .then(|| Error::new(Code::SessionSessionCancelledLocal, text))
        });
        self.end_call(id, error);
    }

    /// A call is over. Its sessions that still stand are ended.
    fn end_call(&mut self, id: CallId, error: Option<Error>) {
        let now = self.now.instant;
        let Some(mut line) = self.lines.lines.remove(&id) else { return };
        let legs = self.lines.legs.extract_if(|_, (known, _)| *known == id);
        let mut legs: Vec<InviteId> = legs.map(|(leg, _)| leg).collect();
        // The same in every run of a simulation.
        legs.sort_unstable();
        for leg in legs {
            self.agent.hang_up(now, leg, None);
        }
        let refers = self.lines.refers.extract_if(|_, known| *known == id);
        let refers: Vec<ReferId> = refers.map(|(refer, _)| refer).collect();
        for refer in refers {
            self.agent.end_refer(now, refer);
        }
        let dialogs = self.lines.dialogs.extract_if(|_, known| *known == id);
        let dialogs: Vec<SubscriptionId> = dialogs.map(|(dialog, _)| dialog).collect();
        for dialog in dialogs {
            self.agent.unsubscribe(now, dialog);
        }
        line.call.state = CallState::Ended(error.clone());
        line.call.ended_at = Some(self.now.wall);
        let call = Arc::new(line.call);
        self.view.calls.insert_mut(id, call.clone());
        self.lines.over.push_back(id);
        while self.lines.over.len() > SHOWN {
            if let Some(oldest) = self.lines.over.pop_front() {
                self.view.calls.remove_mut(&oldest);
            }
        }
        self.ledger.emit(self.now.wall, EventKind::CallChanged(call.clone()));
        self.write_line(call.conversation, TranscriptEntry::Call(call));
        self.note_talking();
        if let Some(request) = line.request {
            self.complete(request, error.clone().map_or(Ok(()), Err));
        }
        if let Some(transfer) = line.transfer {
            let text = "the call ended before it was transferred";
            let error = error.unwrap_or_else(|| Error::new(Code::PhoneCallNotComplete, text));
            self.complete(transfer.request, if transfer.done { Ok(()) } else { Err(error) });
        }
    }

    /// Whoever talks is on the phone (RFC 4480, section 3.2).
    fn note_talking(&mut self) {
        let mut calls = self.lines.lines.values().map(|line| &line.call);
        let talking = calls.any(|call| match call.state {
            CallState::OwnAnswered | CallState::PeerRinging => call.method == Some(CallMethod::ThirdParty),
            CallState::Connected | CallState::Transferring => true,
            _ => false,
        });
        let fact = talking.then(|| Fact {
            availability: None,
            activity: Arc::from("on-the-phone"),
            note: Arc::from(""),
            from: None,
            until: None,
        });
        self.own_fact(SOURCE, fact);
    }

    fn line_mut(&mut self, id: CallId) -> Option<&mut Line> {
        self.lines.lines.get_mut(&id)
    }

    /// A session with somebody, for a call.
    fn invite(&mut self, params: InviteParams) -> Result<InviteId, CallError> {
        self.agent.invite(self.now.instant, params)
    }
}

const fn rank(state: &CallState) -> u8 {
    match state {
        CallState::Starting => 0,
        CallState::OwnRinging | CallState::Ringing => 1,
        CallState::OwnAnswered => 2,
        CallState::PeerRinging => 3,
        CallState::Connected => 4,
        CallState::Transferring => 5,
        CallState::Ended(_) => 6,
    }
}

fn is_number(address: &Address) -> bool {
    let text = address.as_str();
    text.starts_with("tel:") || text.contains(";user=phone")
}

fn busy(error: CallError) -> Error {
    let (code, text) = match error {
        CallError::TooMany => (Code::TooManySessions, "there are as many sessions as are allowed"),
        _ => (Code::PhoneCallNotComplete, "the call could not be begun"),
    };
    Error::new(code, text).because(error.to_string())
}

/// A time from now on.
fn later(now: Instant, seconds: u64) -> Option<Instant> {
    now.checked_add(Duration::from_secs(seconds))
}
