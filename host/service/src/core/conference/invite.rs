//! Whom the focus calls (RFC 4579, section 5.3; RFC 5366): all devices of a user, each with an offer of its own; the first
//! that answers is the member.

use std::collections::BTreeSet;
use std::time::Instant;

use attache_msrp::sdp::{self, MessageMedia, Setup};
use attache_msrp::{MsrpError, SessionId};
use attache_sip::endpoint::Request;
use attache_sip::message::{HeaderName, Message, Method};
use attache_sip::transaction::TransactionId;
use attache_sip::uri::Uri;

use super::answer::{CPIM, SDP, peer_at};
use super::dialog::{ALLOW, Dialog, focus};
use super::refer::Referral;
use super::switch::WritingPace;
use super::{Departure, Joined, Member, MemberState, Place};
use crate::core::message::Target;
use crate::core::{Core, Due, Outcome};
use crate::directory::{Aor, identity};

/// A device that rings.
pub(super) struct Branch {
    place: Place,
    session: SessionId,
    target: Target,
    uri: String,
    offered: String,
    /// Whether the route of the dialog begins with a row of ours.
    recorded: bool,
    /// The tags of those who have answered: of several at one place, the first counts.
    answered: Vec<String>,
}

/// Devices behind one contact that may answer one call.
const MOST_ANSWERS: usize = 8;

impl Core {
    /// Calls a user into a conference. `Err` says why not, and gives the referral back.
    pub(super) fn invite(
        &mut self,
        now: Instant,
        conference: u64,
        by: &Aor,
        whom: &str,
        referral: Option<Box<Referral>>,
    ) -> Result<(), (u16, Option<Box<Referral>>)> {
        let Some(user) = self.user_at(whom) else { return Err((404, referral)) };
        let most = self.limits.conference_members;
        let Some(conferences) = &mut self.conferences else { return Err((404, referral)) };
        let in_all = conferences.members();
        // Nobody has the devices of everybody ring, and takes the room of others for it.
        if conferences.called_by(by) >= most {
            return Err((503, referral));
        }
        let Some(found) = conferences.of.get_mut(&conference) else { return Err((404, referral)) };
        if found.members.values().any(|member| member.user == user) {
            // Whoever is there, or is being called, is not called again.
            return Err((200, referral));
        }
        if found.members.len() >= most || in_all >= self.limits.conference_members_in_all {
            return Err((486, referral));
        }
        found.barred.remove(&user);
        let member = found.next_member;
        found.next_member += 1;
        let place = Place { conference, member };
        let targets = self.registrar.targets(&user, None, now);
        let targets: Vec<Target> = targets.into_iter().map(Target::of).collect();
        if targets.is_empty() {
            return Err((480, referral));
        }
        let tag = self.fresh_tag();
        let call_id = self.fresh_tag();
        let mut ringing = BTreeSet::new();
        for target in targets {
            if let Some(id) = self.ring(now, place, &user, by, target, &tag, &call_id) {
                ringing.insert(id);
            }
        }
        if ringing.is_empty() {
            return Err((500, referral));
        }
        let (joined_at, until) = (self.wall(now), now + self.limits.ring_timeout);
        if let Some(found) = self.conferences.as_mut().and_then(|all| all.of.get_mut(&conference)) {
            found.members.insert(
                member,
                Member {
                    user,
                    display_name: None,
                    nickname: None,
                    joined_at,
                    invited_by: Some(Aor::clone(by)),
                    state: MemberState::Invited { ringing, referral, until, refusal: 480 },
                },
            );
        }
        self.timers.set(Due::Member(conference, member), until);
        self.roster_changed(now, conference);
        Ok(())
    }

    /// The user whom an address is of.
    pub(super) fn user_at(&self, address: &str) -> Option<Aor> {
        let uri = Uri::parse_str(address).ok()?;
        let named = identity(&uri).and_then(|name| self.directory.find(&name));
        named.or_else(|| self.directory.find_number(&uri))
    }

    #[allow(clippy::too_many_arguments, reason = "what a request is made of, put together once")]
    fn ring(
        &mut self,
        now: Instant,
        place: Place,
        user: &Aor,
        by: &Aor,
        target: Target,
        tag: &str,
        call_id: &str,
    ) -> Option<TransactionId> {
        let uri = self.conference_uri(place.conference)?;
        let conferences = self.conferences.as_ref()?;
        let wants_secure = target.reach.destination.transport.is_secure();
        let secure = conferences.is_secure && (wants_secure || !conferences.is_plain);
        let session = self.open_session(now, secure)?;
        let mut media = self.media_for(session)?;
        media.setup = Some(Setup::Either);
        let offered = self.describe(place.conference, 1, vec![media.write()])?;
        let mut invite = Request::new(Method::Invite, target.contact.as_str())
            .from(format!("<{uri}>;tag={tag}"))
            .to(format!("<sip:{user}>"))
            .call_id(call_id)
            .cseq(1)
            .header(HeaderName::Contact, focus(&uri))
            .header(HeaderName::Allow, ALLOW)
            .header(HeaderName::AllowEvents, super::PACKAGE)
            .header(HeaderName::ReferredBy, format!("<sip:{by}>"))
            .header(HeaderName::PAssertedIdentity, format!("<{uri}>"));
        let address = self.address_towards(&target.reach);
        let recorded = address.is_some();
        if let Some(address) = address {
            invite.push(HeaderName::RecordRoute, format!("<sip:{address};lr>"));
        }
        let subject = self.conferences.as_ref()?.of.get(&place.conference)?.subject.clone();
        if let Some(subject) = subject {
            invite.push(HeaderName::Subject, subject.replace(['\r', '\n'], " "));
        }
        for hop in target.path.iter() {
            invite.push(HeaderName::Route, &**hop);
        }
        let invite = invite.body(SDP, offered.clone());
        let (destination, flow) = (target.reach.destination, target.reach.flow);
        let sent = self.endpoint.send_request(now, &invite, destination, flow);
        let conferences = self.conferences.as_mut()?;
        match sent {
            Ok(id) => {
                let branch = Branch { place, session, target, uri, offered, recorded, answered: Vec::new() };
                conferences.branches.insert(id, branch);
                self.timers.set(Due::Invitation(id), now + self.limits.ring_timeout * 2);
                Some(id)
            }
            Err(error) => {
                tracing::debug!(%error, "an invitation cannot be written");
                conferences.msrp.close(now, session);
                None
            }
        }
    }

    /// A device has answered, or cannot be called.
    pub(in super::super) fn invitation_heard(&mut self, now: Instant, id: TransactionId, outcome: &Outcome) {
        match outcome {
            Outcome::Answered(answer) => match answer.status().unwrap_or(500) {
                100..=199 => {}
                200..=299 => self.invitation_accepted(now, id, answer),
                status => self.invitation_refused(now, id, status),
            },
            Outcome::Failed(_) => self.invitation_refused(now, id, 480),
        }
    }

    fn invitation_accepted(&mut self, now: Instant, id: TransactionId, answer: &Message) {
        let Some(branch) = self.conferences.as_mut().and_then(|all| all.branches.get_mut(&id)) else {
            return;
        };
        let (place, session, reach) = (branch.place, branch.session, branch.target.reach);
        let path = &branch.target.path;
        let Some(mut dialog) = Dialog::of_caller(answer, &branch.uri, reach, path, branch.recorded) else {
            return;
        };
        let ack = dialog.request(Method::Ack);
        if let Err(error) = self.endpoint.send_ack(&ack, reach.destination, reach.flow) {
            tracing::debug!(%error, "an ACK cannot be written");
        }
        let Some(branch) = self.conferences.as_mut().and_then(|all| all.branches.get_mut(&id)) else {
            return;
        };
        if branch.answered.contains(&dialog.id.remote_tag) || branch.answered.len() >= MOST_ANSWERS {
            return;
        }
        branch.answered.push(dialog.id.remote_tag.clone());
        let is_first = branch.answered.len() == 1;
        let offered = branch.offered.clone();
        let media = answered_media(answer);
        // Where it could not be a member, the other devices ring on.
        let others = if is_first && media.is_some() { self.take_invitation(place, id) } else { None };
        let (Some((others, referral)), Some(media)) = (others, media) else {
            // Too late, one too many, or nothing that it could be a member with.
            self.hang_up(now, &mut dialog);
            if is_first {
                self.close_session(now, session);
                self.invitation_refused(now, id, 488);
            }
            return;
        };
        for other in others {
            self.endpoint.cancel(now, other);
        }
        let role = Setup::conclude(media.setup);
        let Some(conferences) = &mut self.conferences else { return };
        let peer = peer_at(&media, role, reach.destination.remote.ip());
        let connected = peer.ok_or(MsrpError::Malformed);
        let connected = connected.and_then(|peer| conferences.msrp.connect(now, session, peer));
        if let Err(error) = connected {
            tracing::debug!(%error, "a session cannot be opened");
            self.hang_up(now, &mut dialog);
            self.depart(now, place, Departure::Lost);
            return;
        }
        conferences.legs.insert(dialog.id.clone(), place);
        conferences.sessions.insert(session, place);
        let joined_at = self.wall(now);
        if let Some(member) = self.conferences.as_mut().and_then(|all| all.member_mut(place)) {
            member.joined_at = joined_at;
            let joined = Joined {
                dialog,
                session,
                offered: String::new(),
                described: offered,
                unacknowledged: None,
                pace: WritingPace::new(now),
                ask_at: now + self.limits.conference_check,
            };
            member.state = MemberState::Joined(Box::new(joined));
        }
        self.arm_member(place);
        if let Some(referral) = referral {
            self.tell_referrer(now, *referral, 200);
        }
        self.roster_changed(now, place.conference);
    }

    /// Takes the invitation out of a member who is about to join: the other devices that ring, and who is to be told.
    #[allow(clippy::type_complexity, reason = "used once, right above")]
    fn take_invitation(
        &mut self,
        place: Place,
        id: TransactionId,
    ) -> Option<(BTreeSet<TransactionId>, Option<Box<Referral>>)> {
        let member = self.conferences.as_mut()?.member_mut(place)?;
        let MemberState::Invited { ringing, referral, .. } = &mut member.state else { return None };
        ringing.remove(&id);
        Some((core::mem::take(ringing), referral.take()))
    }

    fn invitation_refused(&mut self, now: Instant, id: TransactionId, status: u16) {
        let Some(branch) = self.conferences.as_mut().and_then(|all| all.branches.remove(&id)) else { return };
        self.timers.clear(&Due::Invitation(id));
        if branch.answered.is_empty() {
            self.close_session(now, branch.session);
        }
        let Some(member) = self.conferences.as_mut().and_then(|all| all.member_mut(branch.place)) else {
            return;
        };
        let MemberState::Invited { ringing, refusal, .. } = &mut member.state else { return };
        ringing.remove(&id);
        // What a person said counts for more than that nobody was there.
        let is_better = status >= 600 || (*refusal < 600 && matches!(*refusal, 408 | 480 | 487));
        if is_better {
            *refusal = status;
        }
        if ringing.is_empty() || status >= 600 {
            self.depart(now, branch.place, Departure::Lost);
        }
    }

    /// No answer can come any more.
    pub(in super::super) fn invitation_over(&mut self, now: Instant, id: TransactionId) {
        let answered = self
            .conferences
            .as_ref()
            .and_then(|all| all.branches.get(&id))
            .map(|one| !one.answered.is_empty());
        match answered {
            Some(true) => {
                if let Some(conferences) = &mut self.conferences {
                    conferences.branches.remove(&id);
                }
            }
            Some(false) => self.invitation_refused(now, id, 408),
            None => {}
        }
    }

    fn close_session(&mut self, now: Instant, session: SessionId) {
        if let Some(conferences) = &mut self.conferences {
            conferences.msrp.close(now, session);
        }
    }
}

/// The session that an answer takes, if it takes it.
fn answered_media(answer: &Message) -> Option<MessageMedia> {
    if !answer.content_type().is_some_and(|kind| kind.is(SDP)) {
        return None;
    }
    let session = sdp::parse(answer.body()).ok()?;
    let media = MessageMedia::read(&session, session.medias.first()?).ok()?;
    (media.port != 0 && media.accepts(CPIM, false)).then_some(media)
}
