//! One request that is passed on, and its branches (RFC 3261, sections 16.6 to 16.10): all devices of one preference are
//! asked together, those of less after them; one answer goes back.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::Instant;

use attache_sip::endpoint::{Failure, Response};
use attache_sip::message::{HeaderName, Message, Method};
use attache_sip::transaction::{ServerTransactionId, TransactionId};

use super::super::own::Package;
use super::super::{Core, Due, Outcome};
use super::{Outgoing, Target};
use crate::directory::Aor;
use crate::reach::Reach;
use crate::route::{End, Ends, Side};

/// What other hops assert of themselves is not passed on.
const NOT_PASSED_BACK: [HeaderName; 2] = [HeaderName::PAssertedIdentity, HeaderName::PPreferredIdentity];

/// Why a device stops ringing (RFC 3326): so that it does not show a call that was missed.
const TAKEN: &str = "SIP;cause=200;text=\"Call completed elsewhere\"";
const REFUSED: &str = "SIP;cause=603;text=\"Declined elsewhere\"";

/// How a request is to be passed on.
pub(super) struct Beginning {
    pub(super) outgoing: Outgoing,
    /// Those of one preference together, the dearest first.
    pub(super) groups: VecDeque<Vec<Target>>,
    /// Branches at one time.
    pub(super) breadth: u32,
    /// Who sends it, as routes name users.
    pub(super) sender: u64,
    /// Whose call it is.
    pub(super) caller: Option<Aor>,
    /// Whose devices the targets are.
    pub(super) callee: Option<Aor>,
    /// The one of them that is meant.
    pub(super) device: Option<String>,
    /// Where a dialog begins: what its route is to say.
    pub(super) record: Option<Record>,
}

/// What is known of a dialog's ends before it has a callee.
pub(super) struct Record {
    pub(super) caller: Side,
    /// Whose devices are called.
    pub(super) callee: u64,
    /// The address at which the caller reaches us.
    pub(super) address: String,
}

impl Beginning {
    /// To one place, within a dialog.
    pub(super) fn within(outgoing: Outgoing, target: Target, sender: u64) -> Self {
        Self {
            outgoing,
            sender,
            groups: VecDeque::from([vec![target]]),
            breadth: 1,
            caller: None,
            callee: None,
            device: None,
            record: None,
        }
    }
}

/// A request that was passed on.
pub(super) struct Forward {
    server: ServerTransactionId,
    is_invite: bool,
    plan: Beginning,
    branches: Vec<Branch>,
    /// The best refusal so far, and its branch.
    best: Option<(Best, usize)>,
    /// What branches want to be proved, by branch (RFC 3261, section 16.7, step 7).
    challenges: Vec<(usize, HeaderName, String)>,
    is_cancelled: bool,
    /// Its sender has a final answer.
    is_over: bool,
    /// Until then, a 2xx that is repeated goes back as well.
    forget_at: Option<Instant>,
}

struct Branch {
    transaction: TransactionId,
    target: Target,
    is_open: bool,
    /// Timer C (RFC 3261, section 16.8).
    limit: Option<Instant>,
    /// It was given up for its silence.
    is_late: bool,
}

enum Best {
    /// What a device said.
    Said(Box<Message>),
    /// What is said in place of one that could not be asked.
    Own(u16),
}

impl Best {
    fn status(&self) -> u16 {
        match self {
            Self::Said(message) => message.status().unwrap_or(500),
            Self::Own(status) => *status,
        }
    }

    /// The less, the more it says (RFC 3261, section 16.7, step 6): 6xx speaks for all devices, then the lower class; in a
    /// class what can be mended, and what was really said.
    fn rank(&self) -> u16 {
        let status = self.status();
        let within = match (self, status) {
            (Self::Own(_), _) => 9,
            (_, 401 | 407 | 415 | 420 | 484) => 0,
            _ => 5,
        };
        if status >= 600 { 0 } else { status / 100 * 10 + within }
    }
}

impl Forward {
    /// When there is something to be done about it.
    pub(super) fn due(&self) -> Option<Instant> {
        let limits = self.branches.iter().filter(|branch| branch.is_open).filter_map(|branch| branch.limit);
        limits.chain(self.forget_at).min()
    }

    fn is_open(&self) -> bool {
        self.branches.iter().any(|branch| branch.is_open)
    }

    fn consider(&mut self, branch: usize, refusal: Best) {
        if self.best.as_ref().is_none_or(|(best, _)| refusal.rank() < best.rank()) {
            self.best = Some((refusal, branch));
        }
    }
}

impl Core {
    /// Passes a request on.
    pub(super) fn forward(&mut self, now: Instant, server: ServerTransactionId, plan: Beginning) {
        self.forwards.next += 1;
        let number = self.forwards.next;
        let is_invite = plan.outgoing.is(&Method::Invite);
        if is_invite {
            self.respond(now, server, &Response::new(100));
        }
        *self.forwards.sent.entry(plan.sender).or_default() += 1;
        if let Some(caller) = &plan.caller {
            *self.forwards.ringing.entry(Aor::clone(caller)).or_default() += 1;
        }
        let mut forward = Forward {
            server,
            is_invite,
            plan,
            branches: Vec::new(),
            best: None,
            challenges: Vec::new(),
            is_cancelled: false,
            is_over: false,
            forget_at: None,
        };
        self.forwards.servers.insert(server, number);
        self.go_on(now, number, &mut forward);
        self.put_back(now, number, forward);
    }

    /// Asks the devices whose turn it is.
    fn go_on(&mut self, now: Instant, number: u64, forward: &mut Forward) {
        while !forward.is_open() {
            let Some(mut group) = forward.plan.groups.pop_front() else { return };
            let most = forward.plan.breadth.max(1);
            let later = group.split_off(group.len().min(most as usize));
            if !later.is_empty() {
                forward.plan.groups.push_front(later);
            }
            let share = most / u32::try_from(group.len()).unwrap_or(u32::MAX).max(1);
            for target in group {
                self.branch_to(now, number, forward, target, share.max(1));
            }
        }
    }

    fn branch_to(&mut self, now: Instant, number: u64, forward: &mut Forward, target: Target, breadth: u32) {
        let mut own = Vec::new();
        if let Some(Record { caller, callee, address: caller_route }) = &forward.plan.record
            && let Some(callee_route) = self.address_towards(&target.reach)
        {
            let ends = Ends { caller: *caller, callee: Side { reach: target.reach, user: *callee } };
            let call_id = forward.plan.outgoing.call_id();
            let route =
                |to, address: &str| format!("<sip:{}@{address};lr>", self.routes.write(call_id, &ends, to));
            // The upper one is the first that the callee meets on the way back, the lower one the caller's.
            own = vec![route(End::Caller, &callee_route), route(End::Callee, caller_route)];
        }
        let mut request = forward.plan.outgoing.to(&target, &own);
        request.push(HeaderName::MaxBreadth, breadth.to_string());
        let Reach { destination, flow, .. } = target.reach;
        match self.endpoint.send_request(now, &request, destination, flow) {
            Ok(transaction) => {
                self.forwards.branches.insert(transaction, (number, forward.branches.len()));
                let limit = forward.is_invite.then(|| now + self.limits.ring_timeout);
                forward.branches.push(Branch { transaction, target, is_open: true, limit, is_late: false });
            }
            Err(error) => {
                tracing::debug!(%error, "a request cannot be passed on");
                forward.consider(usize::MAX, Best::Own(400));
            }
        }
    }

    /// A device has answered, for now or for good, or cannot be asked.
    pub(in super::super) fn branch_heard(
        &mut self,
        now: Instant,
        number: u64,
        index: usize,
        outcome: Outcome,
    ) {
        let Some(mut forward) = self.forwards.of.remove(&number) else { return };
        match outcome {
            Outcome::Answered(answer) => match answer.status().unwrap_or(500) {
                100..=199 => self.heard_progress(now, &mut forward, index, &answer),
                200..=299 => self.heard_success(now, &mut forward, index, &answer),
                _ => self.heard_refusal(now, number, &mut forward, index, answer),
            },
            Outcome::Failed(failure) => self.heard_failure(now, number, &mut forward, index, &failure),
        }
        if !forward.is_over {
            self.go_on(now, number, &mut forward);
        }
        self.put_back(now, number, forward);
    }

    fn heard_progress(&mut self, now: Instant, forward: &mut Forward, index: usize, answer: &Message) {
        // The 100 of a hop is for this hop only, and other requests have no progress (RFC 4320).
        if answer.status() == Some(100) || !forward.is_invite {
            return;
        }
        let limit = now + self.limits.ring_timeout;
        if let Some(branch) = forward.branches.get_mut(index).filter(|branch| branch.limit.is_some()) {
            branch.limit = Some(limit);
        }
        if !forward.is_over {
            self.send_back(now, forward, answer, &[]);
        }
    }

    fn heard_success(&mut self, now: Instant, forward: &mut Forward, index: usize, answer: &Message) {
        if let Some(branch) = forward.branches.get_mut(index) {
            branch.is_open = false;
        }
        // Every 2xx to an INVITE goes back, also that of a second branch (RFC 3261, section 16.7, step 5): its caller ends
        // what is too much.
        if forward.is_invite || !forward.is_over {
            self.send_back(now, forward, answer, &[]);
        }
        if !forward.is_over {
            self.over(forward);
            self.cancel_branches(now, forward, Some(TAKEN));
            // A cancelled branch may take a transaction's time to end, and its 2xx may be repeated for another.
            forward.forget_at = Some(now + self.endpoint.config().timers.timeout() * 2);
        }
    }

    fn heard_refusal(
        &mut self,
        now: Instant,
        number: u64,
        forward: &mut Forward,
        index: usize,
        answer: Message,
    ) {
        let status = answer.status().unwrap_or(500);
        let Some(branch) = forward.branches.get_mut(index).filter(|branch| branch.is_open) else { return };
        branch.is_open = false;
        if branch.is_late {
            forward.consider(index, Best::Own(408));
            return;
        }
        if status == 430 && self.another_flow(now, number, forward, index, true) {
            return;
        }
        if matches!(status, 401 | 407) {
            for name in [HeaderName::WwwAuthenticate, HeaderName::ProxyAuthenticate] {
                for row in answer.headers(name) {
                    forward.challenges.push((index, name, String::from_utf8_lossy(row).into_owned()));
                }
            }
        }
        if status >= 600 {
            forward.plan.groups.clear();
            self.cancel_branches(now, forward, Some(REFUSED));
        }
        // That one of several devices is overloaded says nothing of the others (RFC 3261, section 16.7, step 6).
        let refusal = if status == 503 { Best::Own(500) } else { Best::Said(Box::new(answer)) };
        forward.consider(index, refusal);
    }

    fn heard_failure(
        &mut self,
        now: Instant,
        number: u64,
        forward: &mut Forward,
        index: usize,
        failure: &Failure,
    ) {
        let Some(branch) = forward.branches.get_mut(index).filter(|branch| branch.is_open) else { return };
        branch.is_open = false;
        let is_broken = matches!(failure, Failure::Transport(_));
        let is_gone = is_broken && branch.target.reach.ends_with_its_flow();
        if self.another_flow(now, number, forward, index, is_gone) {
            return;
        }
        forward.consider(index, Best::Own(if is_broken { 480 } else { 408 }));
    }

    /// Tries another flow of a device whose flow has failed (RFC 5626, section 6), if there is one.
    fn another_flow(
        &mut self,
        now: Instant,
        number: u64,
        forward: &mut Forward,
        index: usize,
        is_gone: bool,
    ) -> bool {
        let (Some(callee), Some(branch)) = (forward.plan.callee.clone(), forward.branches.get(index)) else {
            return false;
        };
        let (contact, reach) = (branch.target.contact.clone(), branch.target.reach);
        let device = self.registrar.device_at(&callee, &contact, &reach);
        if is_gone {
            self.registrar.remove(&callee, &contact, &reach);
            self.own_changed(now, &callee, Package::Registration);
        }
        // Nothing rings anew for a call that was taken, refused for all devices, or taken back.
        let is_declined = forward.best.as_ref().is_some_and(|(best, _)| best.status() >= 600);
        if forward.is_over || forward.is_cancelled || is_declined {
            return false;
        }
        let Some(device) = device.or_else(|| forward.plan.device.clone()) else { return false };
        let is_tried = |one: &Target| {
            forward.branches.iter().any(|branch| {
                branch.target.contact.as_str() == one.contact.as_str() && branch.target.reach == one.reach
            })
        };
        let bindings = self.registrar.bindings(&callee, now);
        let mut targets = bindings.filter(|one| one.device() == Some(&device)).map(Target::of);
        let Some(next) = targets.find(|one| !is_tried(one)) else { return false };
        drop(targets);
        self.branch_to(now, number, forward, next, 1);
        true
    }

    /// The sender takes the request back (RFC 3261, section 16.10).
    pub(in super::super) fn forward_cancelled(
        &mut self,
        now: Instant,
        server: ServerTransactionId,
        cancel: &Message,
    ) {
        let Some(number) = self.forwards.servers.get(&server).copied() else { return };
        let Some(mut forward) = self.forwards.of.remove(&number) else { return };
        forward.is_cancelled = true;
        forward.plan.groups.clear();
        let reason = cancel.header(HeaderName::Reason).and_then(|reason| std::str::from_utf8(reason).ok());
        self.cancel_branches(now, &forward, reason);
        self.put_back(now, number, forward);
    }

    /// A device was silent for too long, or everything is over.
    pub(in super::super) fn forward_due(&mut self, now: Instant, number: u64) {
        let Some(mut forward) = self.forwards.of.remove(&number) else { return };
        for branch in &mut forward.branches {
            if branch.is_open && branch.limit.is_some_and(|limit| limit <= now) {
                (branch.limit, branch.is_late) = (None, true);
                self.endpoint.cancel(now, branch.transaction);
            }
        }
        if forward.forget_at.is_some_and(|at| at <= now) {
            for branch in &mut forward.branches {
                branch.is_open = false;
            }
        }
        self.put_back(now, number, forward);
    }

    fn cancel_branches(&mut self, now: Instant, forward: &Forward, reason: Option<&str>) {
        if forward.is_invite {
            for branch in forward.branches.iter().filter(|branch| branch.is_open) {
                self.endpoint.cancel_for(now, branch.transaction, reason);
            }
        }
    }

    /// Keeps what goes on, answers where nothing does, and forgets what is over.
    fn put_back(&mut self, now: Instant, number: u64, mut forward: Forward) {
        if !forward.is_open() && !forward.is_over {
            self.conclude_forward(now, &mut forward);
        }
        let waits = forward.is_invite && forward.forget_at.is_some_and(|at| at > now);
        if forward.is_open() || waits {
            self.forwards.of.insert(number, forward);
            self.arm_forward(number);
            return;
        }
        self.timers.clear(&Due::Forward(number));
        take_one(&mut self.forwards.sent, &forward.plan.sender);
        self.forwards.servers.remove(&forward.server);
        for branch in &forward.branches {
            self.forwards.branches.remove(&branch.transaction);
        }
    }

    /// All devices have refused, or could not be asked.
    fn conclude_forward(&mut self, now: Instant, forward: &mut Forward) {
        self.over(forward);
        let (best, index) = forward.best.take().unwrap_or((Best::Own(480), usize::MAX));
        match best {
            Best::Own(_) if forward.is_cancelled => self.refuse(now, forward.server, 487, ""),
            // Who sent it has given up by then as well (RFC 4320, section 4.2).
            Best::Own(408) if !forward.is_invite => {}
            Best::Own(status) => self.refuse(now, forward.server, status, ""),
            Best::Said(answer) => {
                let is_challenge = matches!(answer.status(), Some(401 | 407));
                let others =
                    forward.challenges.iter().filter(|(branch, ..)| is_challenge && *branch != index);
                let others: Vec<_> = others.map(|(_, name, value)| (*name, value.clone())).collect();
                self.send_back(now, forward, &answer, &others);
            }
        }
    }

    fn send_back(
        &mut self,
        now: Instant,
        forward: &Forward,
        answer: &Message,
        extra: &[(HeaderName, String)],
    ) {
        if let Err(error) = self.endpoint.pass_on(now, forward.server, answer, &NOT_PASSED_BACK, extra) {
            tracing::debug!(status = answer.status(), %error, "an answer cannot be passed on");
        }
    }

    /// The sender has a final answer, or is about to get it.
    fn over(&mut self, forward: &mut Forward) {
        forward.is_over = true;
        forward.plan.groups.clear();
        if let Some(caller) = &forward.plan.caller {
            take_one(&mut self.forwards.ringing, caller);
        }
    }
}

/// One less of what is counted.
fn take_one<K: Eq + Hash>(counts: &mut HashMap<K, usize>, of: &K) {
    if let Some(count) = counts.get_mut(of) {
        *count -= 1;
        if *count == 0 {
            counts.remove(of);
        }
    }
}
