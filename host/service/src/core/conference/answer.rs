//! Offers of members and what they are answered (RFC 3264, RFC 4975, section 8; RFC 5366).

use attache_documents::{Limits, multipart, recipients};
use attache_msrp::sdp::{self, MessageMedia, Setup};
use attache_msrp::{Peer, Role, SessionId, SessionParams, Target};
use attache_sip::endpoint::Response;
use attache_sip::message::{HeaderName, Message};
use attache_sip::transaction::ServerTransactionId;
use attache_sip::transport::Flow;
use std::net::IpAddr;
use std::time::Instant;

use super::dialog::{Dialog, Unacknowledged};
use super::switch::WritingPace;
use super::{Joined, Member, MemberState, Place, display_name};
use crate::core::Core;
use crate::core::subscribe::first_reach;
use crate::directory::Aor;

/// The type of session descriptions.
pub(super) const SDP: &str = "application/sdp";
/// What members may send: messages that say who they are from and for (RFC 7701, section 5.1).
pub(super) const CPIM: &str = "message/cpim";
/// What a chat room can do beside that (RFC 7701, section 8.1).
const FEATURES: [&str; 2] = ["nickname", "private-messages"];
/// Parts of a body.
const MOST_PARTS: usize = 8;

/// What a call to the focus brings along.
pub(super) struct Offer {
    pub(super) session: sdp_types::Session,
    /// The media line that is taken.
    pub(super) line: usize,
    pub(super) media: MessageMedia,
    /// As it came.
    pub(super) text: String,
    pub(super) subject: Option<String>,
    /// Who is to be invited.
    pub(super) recipients: Vec<String>,
}

impl Core {
    /// What a request offers.
    pub(super) fn offer_of(&self, request: &Message) -> Result<Offer, Box<Response>> {
        let refuse = |status: u16, why: &str| Box::new(Response::new(status).reason(why));
        let kind = request.header(HeaderName::ContentType).unwrap_or_default();
        let kind = String::from_utf8_lossy(kind).into_owned();
        let body = request.body_bytes();
        let (mut description, mut list) = (None, None);
        if multipart::is_multipart(&kind) {
            let parts =
                multipart::read(&kind, &body, MOST_PARTS).map_err(|_| refuse(400, "Unreadable Body"))?;
            for part in &parts.parts {
                if part.is(SDP) {
                    description = Some(part.body().clone());
                } else if part.is(recipients::MEDIA_TYPE) {
                    list = Some(part.body().clone());
                }
            }
        } else if multipart::essence(&kind).eq_ignore_ascii_case(SDP) {
            description = Some(body);
        } else if !body.is_empty() {
            let accepted = format!("{SDP}, multipart/mixed");
            return Err(Box::new(Response::new(415).header(HeaderName::Accept, accepted)));
        }
        let description = description.ok_or_else(|| refuse(488, "An Offer Is Needed"))?;
        let mut recipients = Vec::new();
        if let Some(list) = list {
            let bounds = Limits { entries: self.limits.conference_members, ..Limits::DEFAULT };
            let all = recipients::read(&list, &bounds).map_err(|error| {
                tracing::debug!(%error, "a list in a request cannot be read");
                refuse(400, "Unreadable Or Too Long Resource List")
            })?;
            recipients = all.into_iter().map(|one| one.uri).collect();
        }
        let session = sdp::parse(&description).map_err(|_| refuse(400, "Unreadable Session Description"))?;
        let usable = session.medias.iter().enumerate().find_map(|(line, media)| {
            let media = MessageMedia::read(&session, media).ok().filter(|media| media.port != 0)?;
            let takes = media.accepts(CPIM, false);
            let conferences = self.conferences.as_ref()?;
            let secure = media.path.first().is_some_and(attache_msrp::MsrpUri::is_secure);
            let reachable = if secure { conferences.is_secure } else { conferences.is_plain };
            (takes && reachable && media.file.is_none()).then_some((line, media))
        });
        let (line, media) = usable.ok_or_else(|| refuse(488, "A Session For message/cpim Is Needed"))?;
        let subject = Some(session.session_name.trim().to_owned());
        let subject = subject.filter(|subject| !subject.is_empty() && subject != "-");
        let text = String::from_utf8_lossy(&description).into_owned();
        Ok(Offer { session, line, media, text, subject, recipients })
    }

    /// Lets somebody in.
    #[allow(clippy::too_many_arguments, reason = "what a request is made of, taken apart once")]
    pub(super) fn join(
        &mut self,
        now: Instant,
        id: ServerTransactionId,
        request: &Message,
        flow: &Flow,
        user: &Aor,
        conference: u64,
        offer: Offer,
    ) -> Result<(), Box<Response>> {
        let refuse = |status: u16, why: &str| Box::new(Response::new(status).reason(why));
        let joined_at = self.wall(now);
        let tag = self.fresh_tag();
        let uri = self.conference_uri(conference).ok_or_else(|| refuse(404, ""))?;
        let most = self.limits.conference_members;
        let conferences = self.conferences.as_ref().ok_or_else(|| refuse(404, ""))?;
        let found = conferences.of.get(&conference).ok_or_else(|| refuse(404, ""))?;
        if found.barred.contains(user) {
            return Err(refuse(403, "Taken Out Of This Conference"));
        }
        let seats = conferences.seats(user);
        if seats >= self.limits.conference_seats_per_user {
            return Err(refuse(486, "Too Many Seats"));
        }
        if found.members.len() >= most {
            return Err(refuse(486, "The Conference Is Full"));
        }
        let reach = first_reach(request, flow).ok_or_else(|| refuse(400, "Missing Contact"))?;
        let dialog =
            Dialog::of_callee(request, &tag, &uri, reach).ok_or_else(|| refuse(400, "Missing Tag"))?;
        let at = reach.destination.remote.ip();
        let (session, described) =
            self.take_offer(now, conference, &offer, at).ok_or_else(|| refuse(503, ""))?;
        let mut answer = Response::new(200)
            .to_tag(tag)
            .header(HeaderName::Contact, &*dialog.contact)
            .header(HeaderName::Allow, super::dialog::ALLOW)
            .header(HeaderName::AllowEvents, super::PACKAGE)
            .body(SDP, described.clone());
        if request.header(HeaderName::RecordRoute).is_none() {
            // The address is that of a domain: this is how to get to the one service of it that is the focus.
            answer = answer.header(HeaderName::RecordRoute, format!("<sip:{};lr>", self.address_for(flow)));
        }
        self.respond(now, id, &answer);
        let unacknowledged = Some(Unacknowledged::new(now, id, answer, &self.endpoint.config().timers));
        let Some(conferences) = &mut self.conferences else { return Ok(()) };
        let Some(found) = conferences.of.get_mut(&conference) else { return Ok(()) };
        let member = found.next_member;
        found.next_member += 1;
        let place = Place { conference, member };
        conferences.legs.insert(dialog.id.clone(), place);
        conferences.sessions.insert(session, place);
        let pace = WritingPace::new(now);
        let ask_at = now + self.limits.conference_check;
        let offered = offer.text;
        let joined = Joined { dialog, session, offered, described, unacknowledged, pace, ask_at };
        found.members.insert(
            member,
            Member {
                user: Aor::clone(user),
                display_name: display_name(request),
                nickname: None,
                joined_at,
                invited_by: None,
                state: MemberState::Joined(Box::new(joined)),
            },
        );
        self.arm_member(place);
        self.roster_changed(now, conference);
        Ok(())
    }

    /// Opens a session for an offer from `at`. Its name, and the description that answers the offer.
    pub(super) fn take_offer(
        &mut self,
        now: Instant,
        conference: u64,
        offer: &Offer,
        at: IpAddr,
    ) -> Option<(SessionId, String)> {
        let secure = offer.media.path.first()?.is_secure();
        let session = self.open_session(now, secure)?;
        let (setup, role) = Setup::answer(offer.media.setup, Role::Passive);
        let mut media = self.media_for(session)?;
        media.setup = setup;
        let conferences = self.conferences.as_mut()?;
        let peer = peer_at(&offer.media, role, at)?;
        if let Err(error) = conferences.msrp.connect(now, session, peer) {
            tracing::debug!(%error, "a session cannot be opened");
            conferences.msrp.close(now, session);
            return None;
        }
        let lines = offer.session.medias.iter().enumerate();
        let lines =
            lines.map(|(line, one)| if line == offer.line { media.write() } else { sdp::refused(one) });
        let lines = lines.collect();
        Some((session, self.describe(conference, 1, lines)?))
    }

    /// A session that takes what members may send.
    pub(super) fn open_session(&mut self, now: Instant, secure: bool) -> Option<SessionId> {
        let largest = self.limits.conference_message_bytes as u64;
        let msrp = &mut self.conferences.as_mut()?.msrp;
        let params = SessionParams {
            secure,
            accept_types: vec![CPIM.to_owned()],
            max_size: Some(largest),
            ..SessionParams::default()
        };
        msrp.open(now, params).map_err(|error| tracing::debug!(%error, "a session cannot be opened")).ok()
    }

    /// How a session is described to its member.
    pub(super) fn media_for(&self, session: SessionId) -> Option<MessageMedia> {
        Some(MessageMedia {
            accept_types: vec![CPIM.to_owned()],
            accept_wrapped_types: vec!["*".to_owned()],
            max_size: Some(self.limits.conference_message_bytes as u64),
            chatroom: Some(FEATURES.map(str::to_owned).into()),
            ..self.conferences.as_ref()?.msrp.describe(session)?
        })
    }

    /// A session description of a conference.
    pub(super) fn describe(
        &self,
        conference: u64,
        version: u64,
        lines: Vec<sdp_types::Media>,
    ) -> Option<String> {
        let conferences = self.conferences.as_ref()?;
        let found = conferences.of.get(&conference)?;
        let mut session = sdp::session(found.description, version, conferences.host, lines);
        if let Some(subject) = &found.subject {
            session.session_name = subject.replace(['\r', '\n'], " ");
        }
        String::from_utf8(sdp::write(&session).to_vec()).ok()
    }
}

/// Whom a session is with. Where this service connects, it connects to the host that the call is with, whatever the
/// description names: nobody can aim it at somebody else.
pub(super) fn peer_at(media: &MessageMedia, role: Role, at: IpAddr) -> Option<Peer> {
    let named = Target::of(media.path.first()?);
    let target = (role == Role::Active).then(|| Target { host: at.to_canonical().to_string(), ..named });
    Some(Peer { target, ..media.peer(role, false) })
}
