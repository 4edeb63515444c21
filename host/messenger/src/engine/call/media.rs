//! Calls with the application's media, and calls that come in.
//!
//! Who describes sound and pictures is the application: it is asked for each offer and each answer, and what it says goes to
//! the other side as it is. A call that comes in rings here only where the application takes calls; where they are only
//! shown, the person's phones ring, and this device says nothing until the service calls it off.

use std::{sync::Arc, time::Instant};

use attache_sip::{
    agent::InviteId,
    usage::{EndedBy, Incoming, InviteEvent, InviteParams},
};

use super::{Line, PEER_RINGS, Side, Way, Whose, description, is_number, later, reason};
use crate::{
    address::Address,
    call::{CallState, Callee, IncomingCalls, MAX_DESCRIPTION, Media, MediaWanted},
    code::Code,
    engine::{Engine, ledger::Ticket},
    error::Error,
    event::EventKind,
    id::CallId,
};

/// So long may the application take to describe a session.
const PATIENCE: u64 = 20;

/// A call with one session.
#[derive(Debug)]
pub(super) struct Own {
    /// The session; none before there is an offer.
    pub(super) leg: Option<InviteId>,
    stage: Stage,
    /// The offer that came with the call.
    offer: Option<Arc<str>>,
}

#[derive(Copy, Clone, Debug, Eq, PartialEq)]
enum Stage {
    /// The application describes the session, to begin it.
    Describing,
    /// The other side was asked.
    Calling,
    /// The other side asks, and nobody has answered.
    Ringing,
    /// The application describes the session, to accept it.
    Accepting,
    /// They talk.
    Up,
    /// They talk, and the application answers an offer or makes one.
    Changing,
}

impl Own {
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        later(now, PATIENCE).filter(|_| matches!(self.stage, Stage::Describing | Stage::Accepting))
    }
}

impl Engine {
    // ---- commands ----

    /// Calls somebody with the application's media.
    pub(in crate::engine) fn start_media(&mut self, ticket: Ticket, to: &Callee, media: Media) {
        let peer = match self.check_call(to) {
            Ok(peer) => peer,
            Err(error) => return self.ledger.answer(ticket.token, Err(error)),
        };
        let mut call = self.new_call(peer);
        call.media = media;
        let id = call.id;
        self.begin_call(ticket, call, Way::Own(Own { leg: None, stage: Stage::Describing, offer: None }));
        self.want_media(id, None);
    }

    /// The application has described a session, or cannot.
    pub(in crate::engine) fn answer_media(&mut self, ticket: Ticket, id: CallId, given: Option<&Arc<str>>) {
        let Some(line) = self.lines.lines.get(&id) else { return self.no_line(ticket, id) };
        let stage = match &line.way {
            Way::Own(own) if matches!(own.stage, Stage::Describing | Stage::Accepting | Stage::Changing) => {
                own.stage
            }
            _ => {
                let error = reason::not_supported("no description is wanted for this call");
                return self.ledger.answer(ticket.token, Err(error));
            }
        };
        if given.is_some_and(|text| text.len() > MAX_DESCRIPTION || !text.starts_with("v=0")) {
            let text =
                format!("a session description has at most {MAX_DESCRIPTION} bytes, and begins with v=0");
            return self.ledger.answer(ticket.token, Err(Error::new(Code::InvalidArgument, text)));
        }
        self.accept(ticket);
        self.described(id, stage, given);
        self.complete(ticket.request, Ok(()));
    }

    fn described(&mut self, id: CallId, stage: Stage, given: Option<&Arc<str>>) {
        let now = self.now.instant;
        let body = given.map(|text| description::body(text));
        let Some(line) = self.lines.lines.get_mut(&id) else { return };
        line.due = None;
        let peer = line.call.peer.clone();
        let Way::Own(own) = &mut line.way else { return };
        let unable = || Error::new(Code::NoHardware, "the application has no media for the call");
        match (stage, body) {
            (Stage::Describing, Some(body)) => {
                let Ok(to) = peer.to_uri() else { return };
                let params = InviteParams { expires: Some(PEER_RINGS), ..InviteParams::new(to, Some(body)) };
                match self.agent.invite(now, params) {
                    Ok(leg) => {
                        own.leg = Some(leg);
                        own.stage = Stage::Calling;
                        self.lines.legs.insert(leg, (id, Side::Peer));
                    }
                    Err(error) => self.end_call(id, Some(super::busy(error))),
                }
            }
            (Stage::Describing, None) => self.end_call(id, Some(unable())),
            (Stage::Accepting, Some(body)) => {
                own.stage = Stage::Up;
                let accepted = own.leg.map(|leg| self.agent.accept(now, leg, Some(body), Vec::new()));
                if !matches!(accepted, Some(Ok(()))) {
                    let text = "the caller gave up";
                    self.end_call(id, Some(Error::new(Code::SessionSessionCancelledRemote, text)));
                }
            }
            (Stage::Accepting, None) => {
                if let Some(leg) = own.leg.take() {
                    self.lines.legs.remove(&leg);
                    let _ = self.agent.reject(now, leg, 488, Vec::new());
                }
                self.end_call(id, Some(unable()));
            }
            (_, body) => {
                own.stage = Stage::Up;
                if let Some(leg) = own.leg {
                    let _ = self.agent.answer_offer(now, leg, body.ok_or(488));
                }
            }
        }
    }

    /// Takes a call that rings.
    pub(in crate::engine) fn answer_call(&mut self, ticket: Ticket, id: CallId) {
        let now = self.now.instant;
        let Some(line) = self.lines.lines.get_mut(&id) else { return self.no_line(ticket, id) };
        let wrong = match (&mut line.way, self.config.incoming_calls) {
            (Way::Own(own), IncomingCalls::Take) if own.stage == Stage::Ringing => {
                own.stage = Stage::Accepting;
                line.due = own.due(now);
                line.request = Some(ticket.request);
                let offer = own.offer.clone();
                self.accept(ticket);
                return self.want_media(id, offer);
            }
            (Way::Own(own), _) if own.stage == Stage::Ringing => Error::new(
                Code::NoHardware,
                "calls are answered at the phone: this account has no media here",
            ),
            _ => reason::not_supported("the call does not ring here"),
        };
        self.ledger.answer(ticket.token, Err(wrong));
    }

    fn want_media(&mut self, id: CallId, offer: Option<Arc<str>>) {
        let Some(line) = self.lines.lines.get(&id) else { return };
        let wanted = MediaWanted { call: id, media: line.call.media, offer };
        self.ledger.emit(self.now.wall, EventKind::MediaWanted(Arc::new(wanted)));
    }

    pub(super) fn own_media_due(&mut self, id: CallId) {
        let now = self.now.instant;
        let Some(line) = self.lines.lines.get_mut(&id) else { return };
        let Way::Own(own) = &mut line.way else { return };
        if own.stage == Stage::Changing {
            own.stage = Stage::Up;
            if let Some(leg) = own.leg {
                let _ = self.agent.answer_offer(now, leg, Err(488));
            }
            return;
        }
        let error = Error::new(Code::NoHardware, "the application did not describe its media in time");
        if let (Stage::Accepting, Some(leg)) = (own.stage, own.leg.take()) {
            self.lines.legs.remove(&leg);
            let _ = self.agent.reject(now, leg, 480, Vec::new());
        }
        self.end_call(id, Some(error));
    }

    // ---- what happens ----

    /// How many calls of somebody ring.
    fn ringing_of(&self, caller: &Address) -> usize {
        let calls = self.lines.lines.values().map(|line| &line.call);
        calls.filter(|call| call.state == CallState::Ringing && call.peer == *caller).count()
    }

    /// Somebody calls.
    pub(super) fn on_incoming_call(&mut self, leg: InviteId, incoming: &Incoming) {
        let now = self.now.instant;
        let media = incoming.offer.as_ref().map_or(Some(Media::Audio), description::media);
        let caller = incoming.message.from().ok().and_then(|from| {
            let given = Address::parse(&from.uri().ok()?.to_string()).ok()?;
            Address::parse(given.canonical()).ok()
        });
        let status = match (self.config.incoming_calls, media, &caller) {
            (_, _, None) => Some(400),
            (_, None, _) => Some(488),
            // One of our own devices, or our own call on its way round.
            (_, _, Some(caller)) if *caller == self.config.address => Some(480),
            // For the phones: whoever else was reached decides (RFC 3261, section 16.7).
            (IncomingCalls::Ignore, ..) => Some(480),
            (_, _, Some(caller)) if self.ringing_of(caller) >= super::RINGING_OF_ONE => Some(486),
            _ if self.lines.lines.len() >= self.config.limits.calls => Some(486),
            _ => None,
        };
        let (Some(caller), Some(media), None) = (caller, media, status) else {
            let _ = self.agent.reject(now, leg, status.unwrap_or(480), Vec::new());
            return;
        };
        let offer = incoming.offer.as_ref().and_then(description::text).map(Arc::from);
        let mut call = self.new_call(caller);
        call.incoming = true;
        call.media = media;
        call.state = CallState::Ringing;
        if self.config.incoming_calls == IncomingCalls::Take {
            let _ = self.agent.ring(now, leg, 180, None);
        }
        self.put_line(call, Way::Own(Own { leg: Some(leg), stage: Stage::Ringing, offer }), None);
    }

    pub(super) fn on_own_event(&mut self, id: CallId, event: InviteEvent) {
        let now = self.now.instant;
        let Some(line) = self.lines.lines.get_mut(&id) else { return };
        let number = is_number(&line.call.peer);
        let Way::Own(own) = &mut line.way else { return };
        match event {
            InviteEvent::Progress { status, .. } if status >= 180 => {
                self.advance_call(id, CallState::PeerRinging);
            }
            InviteEvent::Answered { body, .. } => {
                own.stage = Stage::Up;
                self.media_agreed(id, body.as_ref());
                self.advance_call(id, CallState::Connected);
            }
            InviteEvent::Confirmed { body } => {
                self.media_agreed(id, body.as_ref());
                self.advance_call(id, CallState::Connected);
            }
            InviteEvent::Offer { body } => {
                let offer = body.as_ref().map(description::text);
                if own.stage != Stage::Up || offer == Some(None) {
                    if let Some(leg) = own.leg {
                        let _ = self.agent.answer_offer(now, leg, Err(488));
                    }
                    return;
                }
                own.stage = Stage::Changing;
                line.due = later(now, PATIENCE);
                self.want_media(id, offer.flatten().map(Arc::from));
            }
            InviteEvent::OfferAnswered { body, .. } => self.media_agreed(id, body.as_ref()),
            InviteEvent::Failed { cause, reason, .. } => {
                let error = match line.call.incoming {
                    true => reason::given_up(reason.as_ref()),
                    false => reason::failed(&cause, Whose::Peer, number),
                };
                self.end_call(id, Some(error));
            }
            InviteEvent::Ended { by, reason } => {
                let talked = line.call.connected_at.is_some();
                let error = match (talked, by) {
                    (true, by) => reason::ended(by),
                    (false, EndedBy::Peer) => Some(reason::given_up(reason.as_ref())),
                    (false, by) => reason::ended(by),
                };
                self.end_call(id, error);
            }
            _ => {}
        }
    }

    fn media_agreed(&mut self, id: CallId, body: Option<&attache_sip::usage::Body>) {
        if let Some(answer) = body.and_then(description::text) {
            let kind = EventKind::MediaAgreed { call: id, answer: answer.into() };
            self.ledger.emit(self.now.wall, kind);
        }
    }

    /// Declines a call that rings, on every device.
    pub(super) fn decline(&mut self, id: CallId) {
        let now = self.now.instant;
        let Some(Line { way: Way::Own(own), .. }) = self.lines.lines.get_mut(&id) else { return };
        if let (Stage::Ringing | Stage::Accepting, Some(leg)) = (own.stage, own.leg.take()) {
            self.lines.legs.remove(&leg);
            let _ = self.agent.reject(now, leg, 603, Vec::new());
        }
    }
}
