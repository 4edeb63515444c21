//! Who is there (RFC 4575): told to members alone, whole at first, and then what changed.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::{Instant, SystemTime};

use attache_documents::Moment;
use attache_documents::conference_info::{
    self, ConferenceInfo, Description, Endpoint, EndpointStatus, Media, State, Status, User,
};
use attache_sip::endpoint::Response;
use attache_sip::message::{HeaderName, Message};
use attache_sip::transaction::ServerTransactionId;

use super::{Conference, Member, MemberState};
use crate::core::access::Sender;
use crate::core::notify::Notice;
use crate::core::subscribe::accepts;
use crate::core::{Core, Due};
use crate::directory::Aor;
use crate::subscription::Subject;

/// What one subscriber knows.
pub(crate) struct RosterWatch {
    conference: u64,
    /// Of the next document.
    version: u32,
    /// Digests of what was told of each user.
    told: BTreeMap<Aor, u64>,
    /// The next document names all.
    full: bool,
    /// Until then, changes are gathered.
    quiet_until: Option<Instant>,
}

impl RosterWatch {
    pub(in super::super) fn conference(&self) -> u64 {
        self.conference
    }

    /// Everything has to be told anew.
    pub(crate) fn restart(&mut self) {
        self.full = true;
    }
}

impl Core {
    /// Who is in a conference, which only members may know.
    pub(in super::super) fn own_conference(
        &mut self,
        now: Instant,
        id: ServerTransactionId,
        request: &Message,
        sender: &Sender,
    ) -> Option<Subject> {
        let named =
            request.request_uri().ok().and_then(|uri| self.conferences.as_ref()?.named(&uri)).flatten();
        let found = named.and_then(|named| Some((named, self.conferences.as_ref()?.of.get(&named)?)));
        let Some((conference, found)) = found else {
            self.refuse(now, id, 404, "");
            return None;
        };
        if !found.has_joined(&sender.aor) {
            self.refuse(now, id, 403, "Members Only");
            return None;
        }
        // One for each device does: each is told of all.
        let watches =
            |id: &&u64| self.presence.subscriptions.get(*id).is_some_and(|one| one.watcher == sender.aor);
        if found.watchers.iter().filter(watches).count() >= self.limits.conference_seats_per_user {
            self.respond(now, id, &Response::new(503).header(HeaderName::RetryAfter, "60"));
            return None;
        }
        if !accepts(request, conference_info::MEDIA_TYPE) {
            let answer = Response::new(406).header(HeaderName::Accept, conference_info::MEDIA_TYPE);
            self.respond(now, id, &answer);
            return None;
        }
        let watch =
            RosterWatch { conference, version: 0, told: BTreeMap::new(), full: true, quiet_until: None };
        Some(Subject::Conference(Box::new(watch)))
    }

    /// A subscription begins.
    pub(in super::super) fn roster_watched(&mut self, conference: u64, id: u64) {
        if let Some(found) = self.conferences.as_mut().and_then(|all| all.of.get_mut(&conference)) {
            found.watchers.insert(id);
        }
    }

    /// It is over.
    pub(in super::super) fn roster_left(&mut self, watch: &RosterWatch, id: u64) {
        if let Some(found) = self.conferences.as_mut().and_then(|all| all.of.get_mut(&watch.conference)) {
            found.watchers.remove(&id);
        }
    }

    /// Somebody who is a member no more hears no more.
    pub(super) fn no_more_roster(&mut self, _now: Instant, conference: u64, user: &Aor) {
        let found = self.conferences.as_ref().and_then(|all| all.of.get(&conference));
        let watchers: Vec<u64> = found.into_iter().flat_map(|found| &found.watchers).copied().collect();
        for id in watchers {
            if self.presence.subscriptions.get(&id).is_some_and(|one| one.watcher == *user) {
                self.end(id, "noresource");
            }
        }
    }

    /// Somebody came, went or changed.
    pub(super) fn roster_changed(&mut self, now: Instant, conference: u64) {
        let found = self.conferences.as_ref().and_then(|all| all.of.get(&conference));
        let watchers: Vec<u64> = found.into_iter().flat_map(|found| &found.watchers).copied().collect();
        for id in watchers {
            let quiet = match self.presence.subscriptions.get(&id).map(|one| &one.subject) {
                Some(Subject::Conference(watch)) => watch.quiet_until,
                _ => None,
            };
            match quiet {
                Some(until) if until > now => self.timers.set(Due::ListNews(id), until),
                _ => self.queue(id),
            }
        }
    }

    /// What a subscriber is told next; `None` if there is nothing.
    pub(in super::super) fn roster_notice(
        &self,
        now: Instant,
        watch: &mut RosterWatch,
        must: bool,
    ) -> Option<Notice> {
        let found = self.conferences.as_ref()?.of.get(&watch.conference)?;
        let full = core::mem::take(&mut watch.full) || must;
        let current = users(found);
        let digests: BTreeMap<Aor, u64> =
            current.iter().map(|(who, user)| (Aor::clone(who), digest(user))).collect();
        let mut users = Vec::new();
        for (who, user) in current {
            if full || watch.told.get(&who) != digests.get(&who) {
                users.push(user);
            }
        }
        if !full {
            let gone = watch.told.keys().filter(|who| !digests.contains_key(*who));
            users.extend(gone.map(|who| User {
                entity: format!("sip:{who}"),
                state: State::Deleted,
                ..User::default()
            }));
        }
        if users.is_empty() && !full {
            return None;
        }
        watch.told = digests;
        let count = found.joined().count();
        let document = ConferenceInfo {
            entity: format!("sip:{}", found.name),
            version: watch.version,
            state: if full { State::Full } else { State::Partial },
            description: full.then(|| Description {
                subject: found.subject.clone(),
                maximum_users: u32::try_from(self.limits.conference_members).ok(),
                ..Description::default()
            }),
            status: Some(Status { user_count: u32::try_from(count).ok(), active: Some(true), locked: None }),
            users_state: if full { State::Full } else { State::Partial },
            users,
        };
        watch.version = watch.version.wrapping_add(1);
        watch.quiet_until = Some(now + self.limits.notify_interval);
        Some(Notice {
            state: "active",
            content_type: conference_info::MEDIA_TYPE.to_owned(),
            body: Some(conference_info::write(&document).into()),
            ..Notice::default()
        })
    }
}

/// All users of a conference with their devices.
fn users(conference: &Conference) -> BTreeMap<Aor, User> {
    let mut users: BTreeMap<Aor, User> = BTreeMap::new();
    for member in conference.members.values() {
        let user = users.entry(Aor::clone(&member.user)).or_insert_with(|| User {
            entity: format!("sip:{}", member.user),
            roles: vec!["participant".to_owned()],
            ..User::default()
        });
        if member.display_name.is_some() {
            user.display_text.clone_from(&member.display_name);
        }
        if member.nickname.is_some() {
            user.nickname.clone_from(&member.nickname);
        }
        user.endpoints.push(endpoint(member));
    }
    users
}

fn endpoint(member: &Member) -> Endpoint {
    let since = member.joined_at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let joined_at = i64::try_from(since.as_millis()).ok().map(Moment::from_millis);
    let method = if member.invited_by.is_some() { "dialed-out" } else { "dialed-in" };
    match &member.state {
        MemberState::Invited { .. } => Endpoint {
            entity: format!("sip:{}", member.user),
            status: Some(EndpointStatus::DialingOut),
            joining_method: Some(method.to_owned()),
            ..Endpoint::default()
        },
        MemberState::Joined(joined) => Endpoint {
            entity: joined.dialog.target.clone(),
            status: Some(EndpointStatus::Connected),
            joining_method: Some(method.to_owned()),
            joined_at,
            media: vec![Media {
                id: "1".to_owned(),
                kind: Some("message".to_owned()),
                status: Some("sendrecv".to_owned()),
            }],
            ..Endpoint::default()
        },
    }
}

fn digest(user: &User) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&user.display_text, &user.nickname).hash(&mut hasher);
    for endpoint in &user.endpoints {
        (&endpoint.entity, endpoint.status).hash(&mut hasher);
    }
    hasher.finish()
}
