//! What members write, passed on to the others (RFC 7701): only what says truly whom it is from, to all or to one.

use std::collections::HashSet;
use std::time::Instant;

use attache_documents::cpim::{self, Party};
use attache_msrp::{FailureReport, Incoming, MsrpError, MsrpEvent, NicknameId, Outgoing, SessionId};
use attache_sip::uri::Uri;

use super::{Conference, Departure, Place};
use crate::core::Core;
use crate::directory::{Aor, identity};

/// Characters of a nickname.
const LONGEST_NICKNAME: usize = 64;

/// Whom a message is for.
enum For {
    All,
    One(Aor),
}

impl Core {
    /// Works off what happened in the sessions for messages.
    pub(in super::super) fn work_on_sessions(&mut self, now: Instant) {
        while let Some(event) = self.conferences.as_mut().and_then(|all| all.msrp.poll_event()) {
            match event {
                MsrpEvent::Message { session, message } => self.on_written(now, session, &message),
                MsrpEvent::Nickname { session, request, name } => {
                    let status = self.on_nickname(now, session, &name);
                    self.answer_nickname(now, request, status);
                }
                MsrpEvent::Disconnected { session, failure } => {
                    let place = self.conferences.as_mut().and_then(|all| all.sessions.remove(&session));
                    if let Some(place) = place {
                        tracing::debug!(%failure, "a member cannot be written to any more");
                        self.depart(now, place, Departure::Lost);
                    }
                }
                _ => {}
            }
        }
    }

    fn on_written(&mut self, now: Instant, session: SessionId, message: &Incoming) {
        let outcome = self.pass_to_members(now, session, message);
        let Some(conferences) = &mut self.conferences else { return };
        let late = match outcome {
            Ok(late) => {
                conferences.msrp.accept(now, message.id);
                late
            }
            Err((status, why)) => {
                conferences.msrp.refuse(now, message.id, status, why);
                return;
            }
        };
        for place in late {
            tracing::debug!("a member reads too slowly");
            self.depart(now, place, Departure::Lost);
        }
    }

    /// Passes a message on. Members who can take no more are named; `Err` says why it is not passed on.
    fn pass_to_members(
        &mut self,
        now: Instant,
        session: SessionId,
        message: &Incoming,
    ) -> Result<Vec<Place>, (u16, &'static str)> {
        let conferences = self.conferences.as_mut().ok_or((481, ""))?;
        let place = *conferences.sessions.get(&session).ok_or((481, ""))?;
        let found = conferences.of.get(&place.conference).ok_or((481, ""))?;
        let member = found.members.get(&place.member).ok_or((481, ""))?;
        let wrapped = cpim::read(&message.body).map_err(|_| (400, "no message/cpim"))?;
        let named = |party: &Party| identity(&Uri::parse_str(&party.uri).ok()?);
        if wrapped.from.as_ref().and_then(named).as_deref() != Some(&*member.user) {
            return Err((403, "From is not yours"));
        }
        let to: Vec<String> = wrapped.to.iter().filter_map(named).collect();
        let whom = match to.as_slice() {
            [] => return Err((400, "To is missing")),
            all if all.iter().any(|one| **one == *found.name) => For::All,
            // A private message is for one (RFC 7701, section 6.2).
            [one] => found.present(one).ok_or((404, "nobody of that address is here"))?,
            _ => return Err((403, "to one, or to all")),
        };
        let others: Vec<(u64, SessionId)> = found
            .joined()
            .filter(|(id, other, _)| match &whom {
                For::All => *id != place.member,
                For::One(user) => other.user == *user && *id != place.member,
            })
            .map(|(id, _, joined)| (id, joined.session))
            .collect();
        let mut late = Vec::new();
        for (other, session) in others {
            let copy = Outgoing {
                failure_report: FailureReport::No,
                disposition: message.disposition.clone(),
                ..Outgoing::new(&*message.content_type, message.body.clone())
            };
            match conferences.msrp.send(now, session, copy) {
                // One who takes only shorter ones misses it: the others need not.
                Ok(_) | Err(MsrpError::TooLarge) => {}
                Err(error) => {
                    tracing::debug!(%error, "a message cannot be passed on");
                    late.push(Place { conference: place.conference, member: other });
                }
            }
        }
        Ok(late)
    }

    /// A member wants to be called so (RFC 7701, section 7.1): the status that answers it.
    fn on_nickname(&mut self, now: Instant, session: SessionId, name: &str) -> u16 {
        let Some(conferences) = &mut self.conferences else { return 481 };
        let Some(place) = conferences.sessions.get(&session).copied() else { return 481 };
        let Some(found) = conferences.of.get_mut(&place.conference) else { return 481 };
        let Some(user) = found.members.get(&place.member).map(|member| Aor::clone(&member.user)) else {
            return 481;
        };
        let wanted = name.trim();
        if wanted.chars().count() > LONGEST_NICKNAME || wanted.chars().any(char::is_control) {
            return 423;
        }
        // Nobody may look like somebody else, in whatever case it is written.
        let taken: HashSet<String> = found
            .members
            .values()
            .filter(|member| member.user != user)
            .flat_map(|member| {
                let own =
                    [Some(member.user.to_string()), member.nickname.clone(), member.display_name.clone()];
                own.into_iter().flatten().map(|name| name.to_lowercase())
            })
            .collect();
        if taken.contains(&wanted.to_lowercase()) {
            return 425;
        }
        for member in found.members.values_mut().filter(|member| member.user == user) {
            member.nickname = Some(wanted.to_owned()).filter(|wanted| !wanted.is_empty());
        }
        self.roster_changed(now, place.conference);
        200
    }

    fn answer_nickname(&mut self, now: Instant, request: NicknameId, status: u16) {
        if let Some(conferences) = &mut self.conferences {
            conferences.msrp.answer_nickname(now, request, status);
        }
    }
}

impl Conference {
    /// Whom the address of a user means here.
    fn present(&self, to: &str) -> Option<For> {
        let member = self.joined().find(|(_, member, _)| &*member.user == to);
        member.map(|(_, member, _)| For::One(Aor::clone(&member.user)))
    }
}
