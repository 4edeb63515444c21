//! Two phones and a controller between them (RFC 3725).
//!
//! The own phone is called first, with an offer of no media, and stands when the person picks it up; then the other side is
//! called without an offer, and what it offers is offered to the own phone (flow IV). So nobody waits for an acknowledgement
//! while the other side rings. A phone that refuses an offer of no media is asked for an offer of its own, which goes to the
//! other side (flow I); where that takes long, the own phone gets an answer that leads nowhere, and is offered the real one
//! afterwards.
//!
//! From then on each offer of one side is put to the other.

use attache_sip::{
    agent::Cause,
    uri::UriBuf,
    usage::{Body, CallError, EndedBy, InviteEvent, InviteParams, Reason},
};

use super::{Leg, OWN_RINGS, PEER_RINGS, Side, Way, Whose, description::Voice, is_number, later, reason};
use crate::{call::CallState, code::Code, engine::Engine, error::Error, id::CallId};

/// So long does the own phone wait for a real answer to its offer: it repeats its own for 32 s (RFC 3261, section 13.3.1.4).
const PATIENCE: u64 = 20;
/// So often is an offer made again that met another one (RFC 3261, section 14.1).
const GLARES: u8 = 4;

/// A call with two sessions.
#[derive(Debug)]
pub(super) struct Third {
    pub(super) own: Leg,
    peer: Option<Leg>,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// The own phone is being called; bare: without an offer.
    CallingOwn { bare: bool, own: UriBuf },
    /// The other side is being called without an offer.
    CallingPeer,
    /// The other side was called with the own phone's offer, which waits for its answer, or has one that leads nowhere.
    Offering { offer: Body, answered: bool },
    /// The own phone has the other side's offer. `Some`: the other side waits for the answer.
    Joining { offer: Body, wanted: bool, glares: u8 },
    /// They talk.
    Up(Passing),
}

/// An offer on its way from one side to the other.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
enum Passing {
    Nothing,
    /// Of that side, to be answered by the other.
    From(Side),
    /// That side asked for an offer, has one now, and owes the answer to the other.
    Back(Side),
}

impl Third {
    pub(super) fn leg(&mut self, side: Side) -> Option<&mut Leg> {
        match side {
            Side::Own => Some(&mut self.own),
            Side::Peer => self.peer.as_mut(),
        }
    }

    /// The session with the other side, when it stands.
    pub(super) fn peer(&self) -> Option<&Leg> {
        self.peer.as_ref().filter(|_| matches!(self.stage, Stage::Up(_)))
    }
}

impl Engine {
    /// Begins a call: the own phone first.
    pub(super) fn call_own_phone(&mut self, own: UriBuf, bare: bool) -> Result<Third, CallError> {
        let mut voice = Voice::new(self.random());
        let address = self.config.local.first().map(|(_, at)| at.ip());
        let offer = address.filter(|_| !bare).map(|address| voice.nothing(address));
        let params = InviteParams { expires: Some(OWN_RINGS), ..InviteParams::new(own.clone(), offer) };
        let id = self.invite(params)?;
        Ok(Third { own: Leg { id, voice }, peer: None, stage: Stage::CallingOwn { bare, own } })
    }

    fn third_mut(&mut self, id: CallId) -> Option<&mut Third> {
        match &mut self.line_mut(id)?.way {
            Way::Third(third) => Some(third),
            _ => None,
        }
    }

    pub(super) fn on_third_event(&mut self, id: CallId, side: Side, event: InviteEvent) {
        match event {
            InviteEvent::Progress { status, .. } if status >= 180 => {
                let state = if side == Side::Own { CallState::OwnRinging } else { CallState::PeerRinging };
                self.advance_call(id, state);
            }
            InviteEvent::Answered { body, offer, .. } => match side {
                Side::Own => self.own_answered(id, body, offer),
                Side::Peer => self.peer_answered(id, body, offer),
            },
            InviteEvent::Offer { body } => self.pass_offer(id, side, body.as_ref()),
            InviteEvent::OfferAnswered { body, offer } => self.pass_answer(id, side, body, offer),
            InviteEvent::OfferRefused { cause } => self.offer_refused(id, side, &cause),
            InviteEvent::Failed { cause, .. } => self.leg_failed(id, side, &cause),
            InviteEvent::Ended { by, .. } => {
                // One who is transferred may hang up before they tell that it came about.
                if let Some(transfer) = self.line_mut(id).and_then(|line| line.transfer.as_mut()) {
                    transfer.done |= side == Side::Peer && by == EndedBy::Peer;
                }
                let talked = self.third_mut(id).is_some_and(|third| matches!(third.stage, Stage::Up(_)));
                let error = match (talked, side) {
                    (true, _) => reason::ended(by),
                    (false, Side::Own) => {
                        let text = "the own phone was hung up before the other side answered";
                        Some(Error::new(Code::SessionSessionCancelledLocal, text))
                    }
                    (false, Side::Peer) => {
                        let text = "the other side hung up before both sides talked";
                        Some(Error::new(Code::SessionSessionCancelledRemote, text))
                    }
                };
                self.end_call(id, error);
            }
            _ => {}
        }
    }

    /// The person has picked up: now the other side.
    fn own_answered(&mut self, id: CallId, body: Option<Body>, offer: bool) {
        let Some(line) = self.lines.lines.get(&id) else { return };
        let Ok(peer) = line.call.peer.to_uri() else { return };
        let mut voice = Voice::new(self.random());
        let passed = match (&body, offer) {
            (Some(body), true) => Some(voice.say(body)),
            _ => None,
        };
        let params = InviteParams { expires: Some(PEER_RINGS), ..InviteParams::new(peer, passed) };
        let leg = match self.invite(params) {
            Ok(leg) => leg,
            Err(error) => return self.end_call(id, Some(super::busy(error))),
        };
        self.lines.legs.insert(leg, (id, Side::Peer));
        let now = self.now.instant;
        let Some(line) = self.line_mut(id) else { return };
        line.due = later(now, PATIENCE).filter(|_| offer);
        if let Way::Third(third) = &mut line.way {
            third.peer = Some(Leg { id: leg, voice });
            third.stage = match body.filter(|_| offer) {
                Some(offer) => Stage::Offering { offer, answered: false },
                None => Stage::CallingPeer,
            };
        }
        self.advance_call(id, CallState::OwnAnswered);
    }

    /// The other side has picked up.
    fn peer_answered(&mut self, id: CallId, body: Option<Body>, offer: bool) {
        let now = self.now.instant;
        let Some(third) = self.third_mut(id) else { return };
        let Some(body) = body else { return self.not_joined(id) };
        match &third.stage {
            Stage::CallingPeer if offer => {
                third.stage = Stage::Joining { offer: body, wanted: true, glares: 0 };
                self.offer_own(id);
            }
            Stage::Offering { answered: false, .. } if !offer => {
                let answer = third.own.voice.say(&body);
                let own = third.own.id;
                third.stage = Stage::Up(Passing::Nothing);
                if let Some(line) = self.line_mut(id) {
                    line.due = None;
                }
                match self.agent.acknowledge(now, own, Some(answer)) {
                    Ok(()) => self.advance_call(id, CallState::Connected),
                    Err(_) => self.not_joined(id),
                }
            }
            Stage::Offering { answered: true, .. } if !offer => {
                // The own phone was put off: what the other side answered is offered to it.
                third.stage = Stage::Joining { offer: body, wanted: false, glares: 0 };
                self.offer_own(id);
            }
            _ => self.not_joined(id),
        }
    }

    /// Offers to the own phone what the other side said.
    fn offer_own(&mut self, id: CallId) {
        let now = self.now.instant;
        let Some(third) = self.third_mut(id) else { return };
        let Stage::Joining { offer, .. } = &third.stage else { return };
        let offer = third.own.voice.say(offer);
        let own = third.own.id;
        match self.agent.reoffer(now, own, Some(offer)) {
            Ok(()) => {}
            Err(CallError::OfferPending) => self.offer_later(id),
            Err(_) => self.not_joined(id),
        }
    }

    /// Two offers met: ours is made again after a while, by chance (RFC 3261, section 14.1: we own the Call-ID).
    fn offer_later(&mut self, id: CallId) {
        let pause = core::time::Duration::from_millis(2_100 + self.random() % 1_900);
        let at = self.now.instant + pause;
        let Some(line) = self.line_mut(id) else { return };
        if let Way::Third(Third { stage: Stage::Joining { glares, .. }, .. }) = &mut line.way {
            *glares += 1;
            if *glares > GLARES {
                return self.not_joined(id);
            }
            line.due = Some(at);
        }
    }

    pub(super) fn third_due(&mut self, id: CallId) {
        let now = self.now.instant;
        let Some(third) = self.third_mut(id) else { return };
        match &mut third.stage {
            Stage::Joining { .. } => self.offer_own(id),
            Stage::Offering { offer, answered } if !*answered => {
                let answer = third.own.voice.nowhere(offer);
                *answered = true;
                let own = third.own.id;
                if answer.is_none_or(|answer| self.agent.acknowledge(now, own, Some(answer)).is_err()) {
                    self.not_joined(id);
                }
            }
            _ => {}
        }
    }

    // ---- offers and answers ----

    /// One side wants to change what is sent: the other is asked.
    fn pass_offer(&mut self, id: CallId, side: Side, body: Option<&Body>) {
        let now = self.now.instant;
        let Some(third) = self.third_mut(id) else { return };
        let Some(from) = third.leg(side).map(|leg| leg.id) else { return };
        if !matches!(third.stage, Stage::Up(Passing::Nothing)) {
            // The person may put the own phone on hold while the other side rings; what it gets then comes with the answer.
            let _ = self.agent.answer_offer(now, from, Err(491));
            return;
        }
        let Some(other) = third.leg(side.other()) else { return };
        let passed = body.map(|body| other.voice.say(body));
        let to = other.id;
        match self.agent.reoffer(now, to, passed) {
            Ok(()) => {
                if let Some(third) = self.third_mut(id) {
                    third.stage = Stage::Up(Passing::From(side));
                }
            }
            Err(error) => {
                let status = if error == CallError::OfferPending { 491 } else { 488 };
                let _ = self.agent.answer_offer(now, from, Err(status));
            }
        }
    }

    /// One side answered an offer.
    fn pass_answer(&mut self, id: CallId, side: Side, body: Option<Body>, offer: bool) {
        let now = self.now.instant;
        let Some(third) = self.third_mut(id) else { return };
        match &third.stage {
            Stage::Joining { wanted, .. } if side == Side::Own && !offer => {
                let wanted = *wanted;
                let Some(body) = body else { return self.not_joined(id) };
                let answer = third.peer.as_mut().map(|leg| (leg.id, leg.voice.say(&body)));
                third.stage = Stage::Up(Passing::Nothing);
                if let (Some((peer, answer)), true) = (answer, wanted)
                    && self.agent.acknowledge(now, peer, Some(answer)).is_err()
                {
                    return self.not_joined(id);
                }
                self.advance_call(id, CallState::Connected);
            }
            Stage::Up(Passing::From(asking)) if *asking == side.other() => {
                let asking = *asking;
                let Some(body) = body else {
                    // They said yes to nothing: whoever asked must hear something, or nobody could ask again.
                    third.stage = Stage::Up(Passing::Nothing);
                    let Some(to) = third.leg(asking).map(|leg| leg.id) else { return };
                    let _ = self.agent.answer_offer(now, to, Err(488));
                    return;
                };
                third.stage = Stage::Up(if offer { Passing::Back(asking) } else { Passing::Nothing });
                let Some(leg) = third.leg(asking) else { return };
                let (to, passed) = (leg.id, leg.voice.say(&body));
                let _ = self.agent.answer_offer(now, to, Ok(passed));
            }
            Stage::Up(Passing::Back(asked)) if *asked == side => {
                third.stage = Stage::Up(Passing::Nothing);
                let Some(leg) = third.leg(side.other()) else { return };
                let passed = body.as_ref().map(|body| leg.voice.say(body));
                let to = leg.id;
                let _ = self.agent.acknowledge(now, to, passed);
            }
            _ => {}
        }
    }

    fn offer_refused(&mut self, id: CallId, side: Side, cause: &Cause) {
        let now = self.now.instant;
        let Some(third) = self.third_mut(id) else { return };
        match &third.stage {
            Stage::Joining { .. } if side == Side::Own => match cause.status() {
                Some(491 | 500) => self.offer_later(id),
                _ => self.not_joined(id),
            },
            Stage::Up(Passing::From(asking)) if *asking == side.other() => {
                let asking = *asking;
                third.stage = Stage::Up(Passing::Nothing);
                let Some(to) = third.leg(asking).map(|leg| leg.id) else { return };
                let status = cause.status().filter(|status| (400..700).contains(status)).unwrap_or(488);
                let _ = self.agent.answer_offer(now, to, Err(status));
            }
            _ => {}
        }
    }

    /// Both have picked up, and could not be brought together.
    fn not_joined(&mut self, id: CallId) {
        let text = "the two phones found nothing that both of them can do";
        self.end_call(id, Some(Error::new(Code::PhoneCallNotComplete, text)));
    }

    /// One side did not come about: the other is released.
    fn leg_failed(&mut self, id: CallId, side: Side, cause: &Cause) {
        let now = self.now.instant;
        let Some(line) = self.lines.lines.get(&id) else { return };
        let number = is_number(&line.call.peer);
        let Way::Third(third) = &line.way else { return };
        match (side, &third.stage) {
            (Side::Own, Stage::CallingOwn { bare: false, own })
                if matches!(cause.status(), Some(400 | 406 | 415 | 488 | 500 | 501 | 606)) =>
            {
                // It does not know what to do with an offer of nothing.
                match self.call_own_phone(own.clone(), true) {
                    Ok(third) => {
                        self.lines.legs.insert(third.own.id, (id, Side::Own));
                        if let Some(line) = self.line_mut(id) {
                            line.way = Way::Third(third);
                        }
                    }
                    Err(error) => self.end_call(id, Some(super::busy(error))),
                }
            }
            (Side::Own, _) => self.end_call(id, Some(reason::failed(cause, Whose::Own, false))),
            (Side::Peer, _) => {
                // The own phone is told why, which some show.
                let own = third.own.id;
                let error = reason::failed(cause, Whose::Peer, number);
                self.lines.legs.remove(&own);
                let why = cause.status().map(|status| Reason::sip(status, error.message()));
                self.agent.hang_up(now, own, why);
                self.end_call(id, Some(error));
            }
        }
    }
}
