//! Members bring others in and take them out by REFER to the focus (RFC 4579, sections 5.5 and 5.6), and hear how that went
//! (RFC 3515), unless they do not want to (RFC 4488).

use std::time::Instant;

use attache_documents::{Limits, recipients};
use attache_sip::build::reason_phrase;
use attache_sip::endpoint::Response;
use attache_sip::message::{HeaderName, Message, Method, NameAddr};
use attache_sip::transaction::ServerTransactionId;
use attache_sip::transport::Flow;
use attache_sip::uri::Uri;

use super::dialog::Dialog;
use super::{Departure, Place};
use crate::core::Core;
use crate::core::access::Challenger;
use crate::core::subscribe::first_reach;
use crate::directory::Aor;

/// Who is told what became of a REFER.
pub(super) struct Referral {
    /// The member whose dialog it came in; otherwise it has one of its own.
    place: Option<Place>,
    dialog: Option<Box<Dialog>>,
    event: String,
}

/// What a REFER wants.
enum Errand {
    Invite(String),
    Remove(String),
    /// Several at once (RFC 5368).
    InviteAll(Vec<String>),
}

impl Core {
    /// A REFER to a conference; `place` is the member whose dialog it came in.
    pub(super) fn on_referral(
        &mut self,
        now: Instant,
        id: ServerTransactionId,
        request: &Message,
        flow: &Flow,
        place: Option<Place>,
    ) {
        let (conference, who) = match place {
            Some(place) => {
                let member = self.conferences.as_ref().and_then(|all| all.member(place));
                let Some(user) = member.map(|member| Aor::clone(&member.user)) else { return };
                (place.conference, user)
            }
            None => {
                let Some(sender) = self.authenticate(now, id, request, flow, Challenger::Proxy) else {
                    return;
                };
                let named = request.request_uri().ok();
                let named = named.and_then(|uri| self.conferences.as_ref()?.named(&uri)).flatten();
                let Some(conference) = named else {
                    self.refuse(now, id, 404, "");
                    return;
                };
                (conference, sender.aor)
            }
        };
        let is_member = self
            .conferences
            .as_ref()
            .and_then(|all| all.of.get(&conference))
            .is_some_and(|found| found.has_joined(&who));
        if !is_member {
            self.refuse(now, id, 403, "Members Only");
            return;
        }
        let errand = match self.errand(request) {
            Ok(errand) => errand,
            Err(refusal) => {
                self.respond(now, id, &refusal);
                return;
            }
        };
        let wants_news = !is_unsubscribed(request) && !matches!(errand, Errand::InviteAll(_));
        let mut answer = Response::new(202);
        let mut referral = None;
        if wants_news {
            let Some(made) = self.referral(request, flow, place, conference) else {
                self.refuse(now, id, 400, "Missing Contact");
                return;
            };
            if let Some(dialog) = &made.dialog {
                answer = answer.to_tag(&*dialog.id.local_tag).header(HeaderName::Contact, &*dialog.contact);
            } else if let Some(joined) = place.and_then(|place| self.conferences.as_mut()?.joined(place)) {
                answer = answer.header(HeaderName::Contact, &*joined.dialog.contact);
            }
            referral = Some(Box::new(made));
        } else {
            answer = answer.header(HeaderName::ReferSub, "false");
        }
        if let Errand::Remove(whom) = &errand
            && let Err(status) = self.may_take_out(conference, &who, whom)
        {
            self.refuse(now, id, status, "");
            return;
        }
        self.respond(now, id, &answer);
        if let Some(referral) = &mut referral {
            self.tell_progress(now, referral, 100, false);
        }
        match errand {
            Errand::Invite(whom) => {
                if let Err((status, Some(referral))) = self.invite(now, conference, &who, &whom, referral) {
                    self.tell_referrer(now, *referral, status);
                }
            }
            Errand::InviteAll(all) => {
                for whom in all {
                    let _ = self.invite(now, conference, &who, &whom, None);
                }
            }
            Errand::Remove(whom) => {
                if let Some(referral) = referral {
                    self.tell_referrer(now, *referral, 200);
                }
                self.take_out(now, conference, &whom);
            }
        }
    }

    fn errand(&self, request: &Message) -> Result<Errand, Box<Response>> {
        let refuse = |status: u16, why: &str| Box::new(Response::new(status).reason(why));
        let value = request.header(HeaderName::ReferTo).ok_or_else(|| refuse(400, "Missing Refer-To"))?;
        let address = NameAddr::parse(value).ok_or_else(|| refuse(400, "Unreadable Refer-To"))?;
        if address.uri_bytes().starts_with(b"cid:") {
            let is_list = request.content_type().is_some_and(|kind| kind.is(recipients::MEDIA_TYPE));
            if !is_list {
                return Err(Box::new(Response::new(415).header(HeaderName::Accept, recipients::MEDIA_TYPE)));
            }
            let bounds = Limits { entries: self.limits.conference_members, ..Limits::DEFAULT };
            let all = recipients::read(request.body(), &bounds)
                .map_err(|_| refuse(400, "Unreadable Or Too Long Resource List"))?;
            return Ok(Errand::InviteAll(all.into_iter().map(|one| one.uri).collect()));
        }
        let uri = address.uri().map_err(|_| refuse(400, "Unreadable Refer-To"))?;
        let whom = bare(&uri);
        match uri.param("method") {
            None => Ok(Errand::Invite(whom)),
            Some(method) if method.eq_ignore_ascii_case("INVITE") => Ok(Errand::Invite(whom)),
            Some(method) if method.eq_ignore_ascii_case("BYE") => Ok(Errand::Remove(whom)),
            Some(_) => Err(refuse(501, "Only INVITE And BYE Are Done For Others")),
        }
    }

    fn may_take_out(&self, conference: u64, who: &Aor, whom: &str) -> Result<(), u16> {
        let whom = self.user_at(whom).ok_or(404_u16)?;
        let found = self.conferences.as_ref().and_then(|all| all.of.get(&conference)).ok_or(404_u16)?;
        if !found.members.values().any(|member| member.user == whom) {
            return Err(404);
        }
        if found.may_remove(who, &whom) { Ok(()) } else { Err(403) }
    }

    /// Takes all devices of a user out.
    fn take_out(&mut self, now: Instant, conference: u64, whom: &str) {
        let Some(whom) = self.user_at(whom) else { return };
        let found = self.conferences.as_ref().and_then(|all| all.of.get(&conference));
        let members = found.into_iter().flat_map(|found| &found.members);
        let gone: Vec<u64> =
            members.filter(|(_, member)| member.user == whom).map(|(member, _)| *member).collect();
        for member in gone {
            self.depart(now, Place { conference, member }, Departure::Removed);
        }
    }

    fn referral(
        &mut self,
        request: &Message,
        flow: &Flow,
        place: Option<Place>,
        conference: u64,
    ) -> Option<Referral> {
        let event = format!("refer;id={}", request.cseq().ok()?.number);
        if place.is_some() {
            return Some(Referral { place, dialog: None, event });
        }
        let tag = self.fresh_tag();
        let uri = self.conference_uri(conference)?;
        let dialog = Dialog::of_callee(request, &tag, &uri, first_reach(request, flow)?)?;
        Some(Referral { place: None, dialog: Some(Box::new(dialog)), event })
    }

    /// The last news of a referral.
    pub(super) fn tell_referrer(&mut self, now: Instant, mut referral: Referral, status: u16) {
        self.tell_progress(now, &mut referral, status, true);
    }

    fn tell_progress(&mut self, now: Instant, referral: &mut Referral, status: u16, is_last: bool) {
        let dialog = match (&mut referral.dialog, referral.place) {
            (Some(dialog), _) => &mut **dialog,
            (None, Some(place)) => match self.conferences.as_mut().and_then(|all| all.joined(place)) {
                Some(joined) => &mut joined.dialog,
                None => return,
            },
            (None, None) => return,
        };
        let ring = self.limits.ring_timeout.as_secs();
        let state = if is_last {
            "terminated;reason=noresource".to_owned()
        } else {
            format!("active;expires={ring}")
        };
        let fragment = format!("SIP/2.0 {status} {}\r\n", reason_phrase(status));
        let notify = dialog
            .request(Method::Notify)
            .header(HeaderName::Event, &*referral.event)
            .header(HeaderName::SubscriptionState, state)
            .body("message/sipfrag;version=2.0", fragment);
        let reach = dialog.reach;
        self.send_within(now, &notify, reach);
    }
}

/// An address without what it says beside whose it is.
fn bare(uri: &Uri<'_>) -> String {
    match (uri.user(), uri.host()) {
        (Some(user), Some(host)) => format!("sip:{user}@{host}"),
        _ => uri.as_str().to_owned(),
    }
}

/// Whether the sender of a REFER does not want to hear how it goes (RFC 4488).
fn is_unsubscribed(request: &Message) -> bool {
    request.header(HeaderName::ReferSub).is_some_and(|value| {
        let value = value.split(|byte| *byte == b';').next().unwrap_or_default();
        value.trim_ascii().eq_ignore_ascii_case(b"false")
    })
}
