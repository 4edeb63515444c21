//! What members write, passed on to the others (RFC 7701): only what says truly whom it is from, to all or to one.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use attache_documents::cpim::{self, Party};
use attache_msrp::{Failure, Incoming, MsrpError, MsrpEvent, NicknameId, Outgoing, SessionId};
use attache_sip::uri::Uri;

use super::{Conference, Departure, Place};
use crate::core::Core;
use crate::directory::{Aor, identity};

/// Characters of a nickname.
const LONGEST_NICKNAME: usize = 64;

/// Messages that a member may write at once, and in a second in the long run.
const BURST: u32 = 100;
const PER_SECOND: u32 = 20;

/// How much a member may write now.
pub(super) struct WritingPace {
    left: u32,
    since: Instant,
}

impl WritingPace {
    pub(super) fn new(now: Instant) -> Self {
        Self { left: BURST, since: now }
    }

    fn admits(&mut self, now: Instant) -> bool {
        let step = Duration::from_secs(1) / PER_SECOND;
        let earned = now.saturating_duration_since(self.since).as_nanos() / step.as_nanos();
        let earned = u32::try_from(earned).unwrap_or(u32::MAX);
        self.since = if self.left.saturating_add(earned) >= BURST { now } else { self.since + step * earned };
        self.left = self.left.saturating_add(earned).min(BURST);
        let is_admitted = self.left > 0;
        self.left = self.left.saturating_sub(1);
        is_admitted
    }
}

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
                // Who does not answer is not there any more, whatever the connection says.
                MsrpEvent::Failed { session, failure: Failure::Timeout, .. } => {
                    let place = self.conferences.as_ref().and_then(|all| all.sessions.get(&session).copied());
                    if let Some(place) = place {
                        tracing::debug!("a member does not answer");
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
        let most = self.limits.conference_bytes / 4 * 3;
        let conferences = self.conferences.as_mut().ok_or((481, ""))?;
        let place = *conferences.sessions.get(&session).ok_or((481, ""))?;
        let joined = conferences.joined(place).ok_or((481, ""))?;
        if !joined.pace.admits(now) {
            return Err((413, "too many messages at once"));
        }
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
        // Nobody's seat is lost because another one writes more than all can hold.
        let copies = message.body.len().saturating_mul(others.len());
        if conferences.msrp.memory().saturating_add(copies) > most {
            return Err((413, "too much waits to be read"));
        }
        let mut late = Vec::new();
        for (other, session) in others {
            let copy = Outgoing {
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
        // Each one is told to all.
        if !conferences.joined(place).is_some_and(|joined| joined.pace.admits(now)) {
            return 403;
        }
        let Some(found) = conferences.of.get_mut(&place.conference) else { return 481 };
        let Some(user) = found.members.get(&place.member).map(|member| Aor::clone(&member.user)) else {
            return 481;
        };
        let wanted = name.trim();
        if wanted.chars().count() > LONGEST_NICKNAME || wanted.chars().any(is_unseen) {
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

/// Whether a character is not seen, or changes how others are: with it, one name can look like another.
fn is_unseen(c: char) -> bool {
    let is_format = matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{feff}' | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{e0000}'..='\u{e007f}');
    c.is_control() || is_format
}

impl Conference {
    /// Whom the address of a user means here.
    fn present(&self, to: &str) -> Option<For> {
        let member = self.joined().find(|(_, member, _)| &*member.user == to);
        member.map(|(_, member, _)| For::One(Aor::clone(&member.user)))
    }
}
