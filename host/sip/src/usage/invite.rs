//! Sessions that INVITE begins (RFC 3261 §12 to §15).
//!
//! A [`Call`] is one INVITE of ours or of a peer, and the dialogs that come of it: one where we are called, perhaps several where we
//! call and a proxy forks. One of them is chosen by the first 2xx; the others are ended. What a call is about stands in
//! session descriptions, which the user makes and reads: here only their order is kept (RFC 3264, RFC 6337).
//!
//! The user is told of the end of a call at once. The call itself lives on for a while, to acknowledge what is still repeated and to
//! end what comes too late (RFC 5407).

mod callee;
mod caller;
mod event;
mod facts;
mod leg;
mod offer;
mod params;
mod reliable;
mod timer;
mod within;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use smallvec::SmallVec;

use crate::agent::core::{Core, Done, Errand, Heard, Purpose, UsageKey};
use crate::agent::{AgentEvent, InviteId};
use crate::endpoint::Request;
use crate::message::{HeaderName, Message};
use crate::transaction;

use callee::Served;
pub use event::{CallError, EndedBy, Incoming, InviteEvent};
pub use facts::DialogFacts;
use leg::Leg;
use offer::{Asked, Glare, Pending};
pub use params::{AnswerMode, Body, DialogName, InviteParams, Reason, Reliability};
use timer::SessionTimer;

/// Whether and how an agent makes and takes sessions.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct InviteSettings {
    /// The most sessions at once. With zero, which is the default, INVITE and REFER are answered with 405, and none can be made.
    pub max: usize,
    /// How long a session lives without a refresh, in seconds (RFC 4028): 90 at least, or zero for no such limit. 1800 by default.
    pub session_expires: u32,
    /// The shortest such time that is accepted of others, in seconds. 90 by default.
    pub min_se: u32,
    /// Whether sessions can be mixed, so that `Join` (RFC 3911) is something to offer. False by default.
    pub join: bool,
    /// The types of bodies that are understood in sessions. `application/sdp` by default.
    pub accept: Vec<String>,
}

impl Default for InviteSettings {
    fn default() -> Self {
        Self {
            max: 0,
            session_expires: 1800,
            min_se: 90,
            join: false,
            accept: vec!["application/sdp".to_owned()],
        }
    }
}

/// Calls that are over and only wait for stragglers, for each one that may stand.
const AFTERLIFE: usize = 4;

#[derive(Copy, Clone, Eq, PartialEq, Debug)]
enum Phase {
    /// We call, and nobody has accepted.
    Calling,
    /// We are called, and have not accepted.
    Ringing,
    /// It was accepted.
    Standing,
    /// The user knows that it is over. `None` while something is still owed: the end of an INVITE, or a BYE.
    Over { until: Option<Instant> },
    /// Nothing is left to be done.
    Gone,
}

/// An INVITE of ours that has no final answer, or whose 2xx waits for our ACK.
struct Inviting {
    cseq: u32,
    /// It had an offer.
    offered: bool,
    /// It only says that we are still there (RFC 4028): the user knows nothing of it.
    refresh: bool,
    /// What we had described before, should it be refused.
    before: Option<Body>,
}

/// One session.
pub(crate) struct Call {
    id: u64,
    caller: bool,
    phase: Phase,
    call_id: Arc<str>,
    /// Ourselves with the tag, and the peer without.
    local: Arc<str>,
    remote: Arc<str>,
    /// Parameters of our Contact.
    features: Option<Arc<str>>,
    secure: bool,
    /// The dialogs. Where we are called, there is one.
    legs: SmallVec<[Leg; 1]>,
    /// Which of them was accepted.
    main: Option<usize>,
    next_fork: u32,
    /// The INVITE that began it, as long as it may have to be sent again.
    initial: Option<Box<Request>>,
    /// It had an offer.
    offered: bool,
    /// It was sent again with a longer interval (RFC 4028).
    raised: bool,
    inviting: Option<Inviting>,
    /// The peer's INVITE that is not answered and acknowledged.
    served: Option<Box<Served>>,
    pending: Option<Pending>,
    /// What we described last, and the peer: a refresh says the same again.
    local_body: Option<Body>,
    remote_body: Option<Body>,
    /// What we had described before our UPDATE, should it be refused.
    update_before: Option<Body>,
    /// Those of our last INVITE.
    credentials: Vec<(HeaderName, String)>,
    glare: Option<Glare>,
    /// How often in a row ours met one of the peer's.
    glares: u8,
    timer: SessionTimer,
    /// It may not ring any longer.
    rings_until: Option<Instant>,
    /// The last reliable provisional answer, where it was overtaken by the 2xx: its number and that of the INVITE.
    overtaken: Option<(u32, u32)>,
    /// A BYE follows the peer's ACK (RFC 3261 §15).
    owes_bye: Option<Option<Reason>>,
    /// Our call that this one takes the place of.
    replaces: Option<u64>,
    /// The peer's Allow names UPDATE.
    peer_updates: bool,
    deadline: Option<Instant>,
}

impl Call {
    fn next_deadline(&self) -> Option<Instant> {
        let over = match self.phase {
            Phase::Over { until } => until,
            _ => None,
        };
        let served = self.served.as_ref().and_then(|served| served.deadline());
        let glare = self.glare.as_ref().map(|glare| glare.at);
        // Before a session stands, nobody waits for its refresh: an UPDATE may have begun the interval early.
        let timer = self.timer.deadline().filter(|_| self.phase == Phase::Standing);
        let own = [timer, self.rings_until, self.offer_deadline()];
        [over, served, glare].into_iter().chain(own).flatten().min()
    }

    const fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over { .. } | Phase::Gone)
    }

    /// Whether the dialog at this place is one that counts. Beside the one that was chosen, all others have ended, and what is said
    /// in them must not touch it.
    fn counts(&self, at: usize) -> bool {
        self.main.is_none_or(|main| main == at)
    }

    /// The dialog that stands; before that, the only one there is.
    fn leg(&self) -> Option<&Leg> {
        match self.main {
            Some(main) => self.legs.get(main),
            None if self.legs.len() == 1 => self.legs.first(),
            None => None,
        }
    }

    fn leg_mut(&mut self) -> Option<&mut Leg> {
        match self.main {
            Some(main) => self.legs.get_mut(main),
            None if self.legs.len() == 1 => self.legs.first_mut(),
            None => None,
        }
    }

    fn tell(&self, core: &mut Core, event: InviteEvent) {
        if !self.is_over() {
            core.events.push_back(AgentEvent::Invite { id: InviteId(self.id), event });
        }
    }

    /// Tells the end. `until` says how long stragglers may come.
    fn end(&mut self, core: &mut Core, event: InviteEvent, until: Option<Instant>) {
        self.tell(core, event);
        self.over(until);
    }

    /// The end was told.
    fn over(&mut self, until: Option<Instant>) {
        self.phase = Phase::Over { until };
        self.initial = None;
        self.glare = None;
        self.rings_until = None;
        self.pending = None;
        self.timer = SessionTimer::default();
        (self.local_body, self.remote_body) = (None, None);
    }

    fn on_timeout(&mut self, core: &mut Core, now: Instant) {
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        match self.phase {
            Phase::Over { until } if due(until) => return self.phase = Phase::Gone,
            Phase::Gone => return,
            _ => {}
        }
        if due(self.rings_until) {
            self.rings_until = None;
            return self.rang_long_enough(core, now);
        }
        self.repeat(core, now);
        self.offer_timeout(core, now);
        if due(self.glare.as_ref().map(|glare| glare.at)) {
            self.after_glare(core, now);
        }
        self.on_session_timer(core, now);
    }
}

/// All sessions of one agent.
pub(crate) struct Invites {
    /// By the number in the local tag.
    all: BTreeMap<u64, Call>,
}

impl Invites {
    pub(crate) const fn new() -> Self {
        Self { all: BTreeMap::new() }
    }

    /// How many there are that are not over.
    pub(crate) fn len(&self) -> usize {
        self.all.values().filter(|call| !call.is_over()).count()
    }

    /// How many are remembered.
    pub(crate) fn remembered(&self) -> usize {
        self.all.len()
    }

    pub(crate) fn deadline(&self, id: u64) -> Option<Instant> {
        self.all.get(&id).and_then(|call| call.deadline)
    }

    /// Whether another one may begin.
    fn has_room(&self, core: &Core) -> bool {
        let max = core.config.invite.max;
        self.len() < max && self.all.len() < max.saturating_mul(AFTERLIFE)
    }

    fn fresh_id(&self, core: &mut Core) -> u64 {
        loop {
            let id = core.random();
            if !self.all.contains_key(&id) {
                return id;
            }
        }
    }

    /// Lets one session act, and notes when it wants to act next.
    fn with<R>(
        &mut self,
        core: &mut Core,
        id: u64,
        act: impl FnOnce(&mut Call, &mut Core) -> R,
    ) -> Option<R> {
        let call = self.all.get_mut(&id)?;
        let result = act(call, core);
        self.arm(core, id);
        Some(result)
    }

    fn arm(&mut self, core: &mut Core, id: u64) {
        let Some(call) = self.all.get_mut(&id) else { return };
        if call.phase == Phase::Gone {
            self.all.remove(&id);
            return;
        }
        let next = call.next_deadline();
        if next != call.deadline {
            call.deadline = next;
            if let Some(at) = next {
                core.timers.arm(at, UsageKey::Invite(id));
            }
        }
    }

    /// [`with`](Self::with) for a command of the user, who does not know sessions that are over.
    pub(crate) fn command(
        &mut self,
        core: &mut Core,
        id: InviteId,
        act: impl FnOnce(&mut Call, &mut Core) -> Result<(), CallError>,
    ) -> Result<(), CallError> {
        if self.all.get(&id.0).is_none_or(Call::is_over) {
            return Err(CallError::Unknown);
        }
        self.with(core, id.0, act).unwrap_or(Err(CallError::Unknown))
    }

    pub(crate) fn on_timeout(&mut self, core: &mut Core, now: Instant, id: u64) {
        self.with(core, id, |call, core| {
            call.deadline = None;
            call.on_timeout(core, now);
        });
    }

    /// A final answer to one of our requests.
    pub(crate) fn on_done(&mut self, core: &mut Core, now: Instant, id: u64, errand: Errand, done: Done) {
        if let Errand::Own(request) = errand {
            core.events.push_back(match done.outcome.clone() {
                Ok(message) => AgentEvent::Response { id: request, message },
                Err(cause) => AgentEvent::RequestFailed { id: request, cause },
            });
        }
        self.with(core, id, |call, core| match errand {
            Errand::Begin => call.on_begun(core, now, done),
            Errand::Again => call.on_invited_again(core, now, done),
            Errand::Update => call.on_updated(core, now, done),
            Errand::Prack(fork) => call.on_pracked(core, now, fork, &done),
            Errand::Bye => {}
            Errand::Own(_) => call.on_within_done(core, now, &done),
        });
    }

    /// A provisional answer to an INVITE, or a further 2xx.
    pub(crate) fn on_heard(&mut self, core: &mut Core, now: Instant, heard: &Heard) {
        let id = match heard.purpose {
            Some(Purpose::Invite(id, _)) => Some(id),
            Some(_) => None,
            None => local_id(heard.message.from().ok().and_then(|from| from.tag())),
        };
        let Some(id) = id else { return };
        self.with(core, id, |call, core| match heard.purpose {
            Some(Purpose::Invite(_, errand)) => {
                call.on_provisional(core, now, errand == Errand::Begin, heard.cseq, &heard.message);
            }
            _ => call.on_late_2xx(core, now, heard.cseq, &heard.message),
        });
    }

    /// The session that a message within a dialog belongs to, by the tag and the Call-ID.
    pub(crate) fn find(&self, message: &Message) -> Option<u64> {
        let id = local_id(message.to().ok()?.tag())?;
        let call = self.all.get(&id)?;
        (message.call_id() == Some(&*call.call_id)).then_some(id)
    }

    /// The session that a Replaces, Join or Target-Dialog means, written for us.
    fn named(&self, name: &DialogName) -> Option<&Call> {
        let call = self.all.get(&local_id(Some(&name.to_tag))?)?;
        let mut legs = call.legs.iter().enumerate();
        let known = legs.any(|(at, leg)| call.counts(at) && leg.dialog.is(&name.call_id, &name.from_tag));
        (known && *call.call_id == *name.call_id).then_some(call)
    }

    /// The session that Target-Dialog means. Either end may have written it (RFC 4538 §7).
    pub(crate) fn target_dialog(&self, message: &Message) -> Option<InviteId> {
        let name = DialogName::parse(message.header(HeaderName::TargetDialog)?)?;
        let other =
            DialogName { to_tag: name.from_tag.clone(), from_tag: name.to_tag.clone(), ..name.clone() };
        let call = self.named(&name).or_else(|| self.named(&other))?;
        (!call.is_over()).then_some(InviteId(call.id))
    }

    pub(crate) fn facts(&self, id: InviteId) -> Option<DialogFacts> {
        let call = self.all.get(&id.0).filter(|call| !call.is_over())?;
        let dialog = call.leg().map(|leg| &leg.dialog);
        Some(DialogFacts {
            call_id: call.call_id.to_string(),
            local_tag: local_tag(call.id),
            remote_tag: dialog.map(|dialog| dialog.remote_tag.to_string()).unwrap_or_default(),
            remote_target: dialog.map(|dialog| dialog.target.to_string()).unwrap_or_default(),
            remote: call.remote.to_string(),
            early: call.phase != Phase::Standing,
            caller: call.caller,
        })
    }
}

/// The local tag of a session.
fn local_tag(id: u64) -> String {
    format!("{id:016x}")
}

fn local_id(tag: Option<&str>) -> Option<u64> {
    transaction::parse_hex(tag?.as_bytes())
}

/// Whether a list header has this value, in any case.
fn lists(message: &Message, name: HeaderName, value: &str) -> bool {
    message.values(name).any(|listed| listed.eq_ignore_ascii_case(value.as_bytes()))
}

/// What every INVITE, UPDATE and 2xx says of us.
fn capabilities(core: &Core) -> [(HeaderName, String); 2] {
    [(HeaderName::Allow, core.allow()), (HeaderName::Supported, core.supported())]
}
