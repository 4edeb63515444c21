//! Conferences (RFC 4579): whoever calls the factory gets one of their own, under an address that cannot be guessed. This
//! service is its focus, and the switch of what its members write (RFC 7701).
//!
//! A member is a call of one device to the focus, or of the focus to one device, with a session for messages. Members
//! bring others in and take them out by REFER, leave by BYE, and hear of each other by the package `conference`
//! (RFC 4575). With the last member the conference is over, and its address leads nowhere.

mod alive;
mod answer;
mod dialog;
mod invite;
mod refer;
mod roster;
mod switch;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::{Instant, SystemTime};

use attache_msrp::{Fingerprint, Msrp, MsrpConfig, SessionId, StreamInput, StreamRequest};
use attache_sip::endpoint::Response;
use attache_sip::message::{HeaderName, Message, Method, NameAddr};
use attache_sip::transaction::{ServerTransactionId, TransactionId};
use attache_sip::transport::Flow;
use attache_sip::uri::Uri;
use rand_chacha::rand_core::Rng as _;

use super::access::Challenger;
use super::{Core, Due};
use crate::directory::{Aor, identity};
use crate::subscription::DialogId;

use dialog::{Dialog, Unacknowledged};
use invite::Branch;
use refer::Referral;
use switch::WritingPace;

pub(crate) use roster::RosterWatch;

/// The package.
pub(super) const PACKAGE: &str = "conference";

/// How the addresses of conferences begin.
const PREFIX: &str = "conf-";
/// Messages of one member that have begun to arrive and are not complete.
const INCOMPLETE: usize = 4;
/// Messages that wait for one member.
const QUEUED: usize = 1024;
/// Octets of a subject.
const LONGEST_SUBJECT: usize = 512;

/// What conferences are made with.
#[derive(Clone, Debug)]
pub struct ConferenceConfig {
    /// The address that makes a new conference for each call: `sip:conference@example.com`.
    pub factory: String,
    /// The IP address at which clients reach the sessions for messages.
    pub host: IpAddr,
    /// Its port for plain connections; 9, the port that discards, where there are none.
    pub port: u16,
    /// Its port for connections over TLS; 9 where there are none.
    pub tls_port: u16,
}

/// All conferences.
pub(super) struct Conferences {
    /// `user@domain` of the factory.
    factory: Aor,
    host: IpAddr,
    is_secure: bool,
    is_plain: bool,
    msrp: Msrp,
    of: HashMap<u64, Conference>,
    by_name: HashMap<Aor, u64>,
    next: u64,
    /// Members by their dialogs, sessions and invitations.
    legs: HashMap<DialogId, Place>,
    sessions: HashMap<SessionId, Place>,
    branches: HashMap<TransactionId, Branch>,
}

/// A member of a conference.
#[derive(Copy, Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Place {
    conference: u64,
    member: u64,
}

struct Conference {
    /// `user@domain` of its address.
    name: Aor,
    subject: Option<String>,
    creator: Aor,
    members: BTreeMap<u64, Member>,
    next_member: u64,
    /// Whoever was taken out does not come back by themselves.
    barred: BTreeSet<Aor>,
    /// Subscriptions to who is there.
    watchers: BTreeSet<u64>,
    description: u64,
}

/// One device, or a user whose devices ring.
struct Member {
    user: Aor,
    display_name: Option<String>,
    nickname: Option<String>,
    joined_at: SystemTime,
    /// Who brought the user in; `None` for one who came.
    invited_by: Option<Aor>,
    state: MemberState,
}

enum MemberState {
    /// Its devices ring.
    Invited {
        /// Those that have not answered.
        ringing: BTreeSet<TransactionId>,
        /// Who is to be told how that ends.
        referral: Option<Box<Referral>>,
        /// Until then.
        until: Instant,
        /// The best refusal so far.
        refusal: u16,
    },
    /// It is there.
    Joined(Box<Joined>),
}

struct Joined {
    dialog: Dialog,
    session: SessionId,
    /// The description that the peer sent last, and ours, for those who ask again.
    offered: String,
    described: String,
    unacknowledged: Option<Unacknowledged>,
    pace: WritingPace,
    /// When it is to be asked whether it is still there.
    ask_at: Instant,
}

/// Why somebody is a member no more.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
enum Departure {
    /// By themselves.
    Left,
    /// Somebody took them out.
    Removed,
    /// They could not be reached, or not any more.
    Lost,
}

impl Conferences {
    pub(super) fn new(
        config: &ConferenceConfig,
        limits: &crate::limits::Limits,
        seed: [u8; 32],
    ) -> Option<Self> {
        let factory = Uri::parse_str(&config.factory).ok().and_then(|uri| identity(&uri))?;
        let bounds = attache_msrp::Limits {
            // A member who is being called has one for each device.
            sessions: limits.conference_members_in_all.saturating_mul(limits.contacts_per_user.max(1)),
            streams: limits.conference_members_in_all,
            message: limits.conference_message_bytes as u64,
            memory: limits.conference_bytes,
            incoming: INCOMPLETE,
            outgoing: QUEUED,
            outgoing_memory: limits.conference_bytes,
            ..attache_msrp::Limits::default()
        };
        let msrp = Msrp::new(
            MsrpConfig {
                host: match config.host {
                    IpAddr::V4(address) => address.to_string(),
                    IpAddr::V6(address) => format!("[{address}]"),
                },
                port: config.port,
                tls_port: config.tls_port,
                fingerprint: None,
                limits: bounds,
            },
            seed,
        );
        Some(Self {
            factory: factory.into(),
            host: config.host,
            is_secure: config.tls_port != 9,
            is_plain: config.port != 9,
            msrp,
            of: HashMap::new(),
            by_name: HashMap::new(),
            next: 1,
            legs: HashMap::new(),
            sessions: HashMap::new(),
            branches: HashMap::new(),
        })
    }

    pub(super) fn len(&self) -> usize {
        self.of.len()
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.msrp.poll_timeout()
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.msrp.handle_timeout(now);
    }

    pub(super) fn has_branch(&self, id: TransactionId) -> bool {
        self.branches.contains_key(&id)
    }

    fn member(&self, place: Place) -> Option<&Member> {
        self.of.get(&place.conference)?.members.get(&place.member)
    }

    fn member_mut(&mut self, place: Place) -> Option<&mut Member> {
        self.of.get_mut(&place.conference)?.members.get_mut(&place.member)
    }

    fn joined(&mut self, place: Place) -> Option<&mut Joined> {
        match &mut self.member_mut(place)?.state {
            MemberState::Joined(joined) => Some(joined),
            MemberState::Invited { .. } => None,
        }
    }

    /// Devices of a user in all conferences. Where others call the user to is not counted: it would keep the user out.
    fn seats(&self, user: &str) -> usize {
        let all = self.of.values().flat_map(Conference::joined);
        all.filter(|(_, member, _)| &*member.user == user).count()
    }

    /// Users who are being called in by this one, into whatever conference.
    fn called_by(&self, user: &Aor) -> usize {
        let all = self.of.values().flat_map(|conference| conference.members.values());
        let called = all.filter(|member| matches!(member.state, MemberState::Invited { .. }));
        called.filter(|member| member.invited_by.as_ref() == Some(user)).count()
    }

    /// Members of all conferences.
    fn members(&self) -> usize {
        self.of.values().map(|conference| conference.members.len()).sum()
    }

    /// The conference of an address; `None` inside for the factory.
    fn named(&self, uri: &Uri<'_>) -> Option<Option<u64>> {
        let name = identity(uri)?;
        if *name == *self.factory {
            return Some(None);
        }
        self.by_name.get(&*name).map(|id| Some(*id))
    }
}

impl Conference {
    fn has_joined(&self, user: &str) -> bool {
        self.joined().any(|(_, member, _)| &*member.user == user)
    }

    fn joined(&self) -> impl Iterator<Item = (u64, &Member, &Joined)> {
        self.members.iter().filter_map(|(id, member)| match &member.state {
            MemberState::Joined(joined) => Some((*id, member, &**joined)),
            MemberState::Invited { .. } => None,
        })
    }

    /// Whether a member may take somebody out: its creator may, and who brought them in; when the creator has left, all
    /// may.
    fn may_remove(&self, who: &Aor, whom: &Aor) -> bool {
        let brought = |member: &Member| member.user == *whom && member.invited_by.as_ref() == Some(who);
        who == whom
            || *who == self.creator
            || !self.has_joined(&self.creator)
            || self.members.values().any(brought)
    }
}

impl Core {
    /// Takes what happened on a connection for messages. For a service without conferences it does nothing.
    pub fn handle_stream(&mut self, now: Instant, input: StreamInput) {
        self.now = now;
        if let Some(conferences) = &mut self.conferences {
            conferences.msrp.handle_input(now, input);
        }
        self.work(now);
    }

    /// The certificate that connections for messages over TLS are accepted with from now on: what is said to those who join.
    /// `None` leaves them to an authority that vouches for this service.
    pub fn set_stream_certificate(&mut self, certificate: Option<Fingerprint>) {
        if let Some(conferences) = &mut self.conferences {
            conferences.msrp.set_fingerprint(certificate);
        }
    }

    /// The next thing to do on a connection for messages.
    pub fn poll_stream(&mut self, now: Instant) -> Option<StreamRequest> {
        self.conferences.as_mut()?.msrp.poll_transmit(now)
    }

    /// Whether a request is for the factory or for a conference.
    pub(super) fn is_for_conference(&self, request: &Message) -> bool {
        let Some(conferences) = &self.conferences else { return false };
        request.request_uri().ok().and_then(|uri| conferences.named(&uri)).is_some()
    }

    /// Whether a request is within a dialog of a member.
    pub(super) fn is_of_member(&self, request: &Message) -> bool {
        self.member_of(request).is_some()
    }

    fn member_of(&self, request: &Message) -> Option<Place> {
        let id = super::subscribe::dialog_of(request)?;
        self.conferences.as_ref()?.legs.get(&id).copied()
    }

    /// A request to the factory or to a conference, outside any dialog.
    pub(super) fn on_conference(
        &mut self,
        now: Instant,
        id: ServerTransactionId,
        request: &Message,
        flow: &Flow,
    ) {
        if request.to().is_ok_and(|to| to.tag().is_some()) {
            self.refuse(now, id, 481, "");
            return;
        }
        match request.method() {
            Some(Method::Invite) => self.on_conference_call(now, id, request, flow),
            Some(Method::Refer) => self.on_referral(now, id, request, flow, None),
            Some(Method::Options) => {
                let answer = self.capabilities(200);
                self.respond(now, id, &answer);
            }
            _ => {
                let answer = self.capabilities(405);
                self.respond(now, id, &answer);
            }
        }
    }

    /// A call to the factory makes a conference; one to a conference joins it.
    fn on_conference_call(&mut self, now: Instant, id: ServerTransactionId, request: &Message, flow: &Flow) {
        let Some(sender) = self.authenticate(now, id, request, flow, Challenger::Proxy) else { return };
        if !self.understands(request) {
            self.respond(now, id, &super::bad_extension(request));
            return;
        }
        let offer = match self.offer_of(request) {
            Ok(offer) => offer,
            Err(refusal) => {
                self.respond(now, id, &refusal);
                return;
            }
        };
        let Some(conferences) = &mut self.conferences else { return };
        let Some(named) = request.request_uri().ok().and_then(|uri| conferences.named(&uri)) else { return };
        if conferences.members() >= self.limits.conference_members_in_all {
            self.respond(now, id, &Response::new(503).header(HeaderName::RetryAfter, "30"));
            return;
        }
        let conference = match named {
            Some(conference) => conference,
            None => match self.make_conference(request, &sender.aor, offer.subject.clone()) {
                Ok(conference) => conference,
                Err(refusal) => {
                    self.respond(now, id, &refusal);
                    return;
                }
            },
        };
        let wanted = offer.recipients.clone();
        match self.join(now, id, request, flow, &sender.aor, conference, offer) {
            Ok(()) => {
                for recipient in wanted {
                    // Those who are nobody here are left out (RFC 5366, section 5.3).
                    let referral = None;
                    let _ = self.invite(now, conference, &sender.aor, &recipient, referral);
                }
            }
            Err(refusal) => {
                self.respond(now, id, &refusal);
                self.end_if_empty(now, conference);
            }
        }
    }

    fn make_conference(
        &mut self,
        request: &Message,
        creator: &Aor,
        subject: Option<String>,
    ) -> Result<u64, Box<Response>> {
        let mut name = [0; 16];
        self.rng.fill_bytes(&mut name);
        let Some(conferences) = &mut self.conferences else { return Err(Box::new(Response::new(404))) };
        let own = conferences.of.values().filter(|conference| conference.creator == *creator).count();
        if own >= self.limits.conferences_per_user {
            let refusal = Response::new(503).reason("Too Many Conferences");
            return Err(Box::new(refusal.header(HeaderName::RetryAfter, "60")));
        }
        let name: String = name.iter().map(|byte| format!("{byte:02x}")).collect();
        let domain = conferences.factory.split_once('@').map_or("", |(_, domain)| domain);
        let name = Aor::from(format!("{PREFIX}{name}@{domain}"));
        let written = request.header(HeaderName::Subject).map(|subject| String::from_utf8_lossy(subject));
        let subject = written.map(std::borrow::Cow::into_owned).or(subject);
        let subject = subject.map(|mut subject| {
            subject.truncate(subject.floor_char_boundary(LONGEST_SUBJECT));
            subject
        });
        let id = conferences.next;
        conferences.next += 1;
        conferences.by_name.insert(Aor::clone(&name), id);
        conferences.of.insert(
            id,
            Conference {
                name,
                subject: subject.filter(|subject| !subject.trim().is_empty() && subject != "-"),
                creator: Aor::clone(creator),
                members: BTreeMap::new(),
                next_member: 1,
                barred: BTreeSet::new(),
                watchers: BTreeSet::new(),
                description: self.rng.next_u64(),
            },
        );
        Ok(id)
    }

    /// Somebody is a member no more.
    fn depart(&mut self, now: Instant, place: Place, how: Departure) {
        let Some(conferences) = &mut self.conferences else { return };
        let Some(conference) = conferences.of.get_mut(&place.conference) else { return };
        let Some(member) = conference.members.remove(&place.member) else { return };
        let user = Aor::clone(&member.user);
        if how == Departure::Removed {
            conference.barred.insert(Aor::clone(&user));
        }
        let stays = conference.has_joined(&user);
        self.timers.clear(&Due::Member(place.conference, place.member));
        match member.state {
            MemberState::Joined(joined) => {
                let Joined { mut dialog, session, .. } = *joined;
                if let Some(conferences) = &mut self.conferences {
                    conferences.sessions.remove(&session);
                    conferences.legs.remove(&dialog.id);
                    conferences.msrp.close(now, session);
                }
                if how != Departure::Left {
                    self.hang_up(now, &mut dialog);
                }
            }
            MemberState::Invited { ringing, referral, refusal, .. } => {
                for transaction in ringing {
                    self.endpoint.cancel(now, transaction);
                }
                if let Some(referral) = referral {
                    let status = if how == Departure::Removed { 487 } else { refusal };
                    self.tell_referrer(now, *referral, status);
                }
            }
        }
        if !stays {
            self.no_more_roster(now, place.conference, &user);
        }
        self.roster_changed(now, place.conference);
        self.end_if_empty(now, place.conference);
    }

    /// A conference without members is over.
    fn end_if_empty(&mut self, now: Instant, id: u64) {
        let Some(conferences) = &mut self.conferences else { return };
        let is_empty = conferences.of.get(&id).is_some_and(|conference| conference.joined().next().is_none());
        if !is_empty {
            return;
        }
        let Some(conference) = conferences.of.get_mut(&id) else { return };
        let waiting: Vec<u64> = conference.members.keys().copied().collect();
        if !waiting.is_empty() {
            // The last of them comes back here.
            for member in waiting {
                self.depart(now, Place { conference: id, member }, Departure::Lost);
            }
            return;
        }
        let Some(conference) = conferences.of.remove(&id) else { return };
        conferences.by_name.remove(&conference.name);
        for watcher in conference.watchers {
            self.end(watcher, "noresource");
        }
    }

    /// Something was due for a member.
    pub(super) fn member_due(&mut self, now: Instant, conference: u64, member: u64) {
        let place = Place { conference, member };
        let Some(found) = self.conferences.as_mut().and_then(|all| all.member_mut(place)) else { return };
        match &mut found.state {
            MemberState::Invited { until, refusal, .. } => {
                if *until <= now {
                    *refusal = 408;
                    self.depart(now, place, Departure::Lost);
                }
            }
            MemberState::Joined(_) => {
                self.say_again(now, place);
                self.ask_whether_alive(now, place);
            }
        }
    }

    /// The address of a conference.
    fn conference_uri(&self, id: u64) -> Option<String> {
        let conference = self.conferences.as_ref()?.of.get(&id)?;
        Some(format!("sip:{}", conference.name))
    }
}

/// The name that a sender gives in From.
fn display_name(request: &Message) -> Option<String> {
    let from: NameAddr<'_> = request.from().ok()?;
    let mut name = from.display_name()?.into_owned();
    name.truncate(name.floor_char_boundary(128));
    Some(name).filter(|name| !name.trim().is_empty())
}
