//! Who may see the account's presence: rules on the service (RFC 5025), and what somebody would see now.
//!
//! A rule that was set is durable here first and written to the service when that is there; until then it is pending. The
//! person's own word wins over what another device wrote about the same watcher meanwhile: rules are set one by one, so
//! nothing else is lost.

mod blocked;
mod rules;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Instant,
};

use attache_documents::{
    Limits, Moment, pidf,
    policy::{self, Permissions, Ruleset, SubHandling, Watcher},
};
use bytes::Bytes;

use crate::{
    address::Address,
    code::Code,
    command::Accepted,
    compose::compose,
    engine::{
        Engine,
        ledger::{Effect, Sealed, Then, Ticket},
        sync::{Ask, Base, Condition, Outcome, Pace, Records, Topic, sentence},
    },
    error::{Error, Retry},
    event::{EventKind, SessionState},
    id::RequestId,
    presence::{Freshness, Presence, UnknownReason},
    privacy::{Decision, Preview, PreviewReason, Rule, WatcherState, Who},
    storage::{Record, RecordKind},
    time::Timestamp,
};

/// Key of the record that holds the document as the service had it last.
const BASE: &str = "pres-rules";
/// The value of a record of a rule that is to be removed.
const REMOVED: &str = "none";
/// Rules that may wait for the service.
const MOST_PENDING: usize = 1_000;

#[derive(Debug, Default, Eq, PartialEq)]
enum Step {
    #[default]
    Idle,
    Reading,
    /// Writing the document; with the pending rules that are in it.
    Writing(Arc<str>, Vec<(Arc<str>, Option<Decision>)>),
}

/// The rules' state.
#[derive(Debug)]
pub(super) struct Policy {
    base: Base,
    ruleset: Ruleset,
    /// By the keys of their records.
    pending: BTreeMap<Arc<str>, (Who, Option<Decision>)>,
    /// Commands that wait for the service, with the keys of their rules.
    waiting: Vec<(RequestId, Arc<str>)>,
    /// Rules of others that let somebody see more than a rule of ours that was written, by its key.
    exceeded: HashMap<Arc<str>, Arc<str>>,
    step: Step,
    /// Contacts came whom the rules may block.
    pub(super) newcomers: bool,
    stale: bool,
    /// The service lost the document, and gets it again.
    lost: bool,
    refused: bool,
    /// The first rule waits for word on who watches.
    held: bool,
    pace: Pace,
}

impl Policy {
    pub(super) fn new(records: &[Record]) -> Self {
        let base = records
            .iter()
            .find(|record| record.kind == RecordKind::Document && &*record.key == BASE)
            .map(|record| Base::restore(&record.value))
            .unwrap_or_default();
        let pending = records.iter().filter(|record| record.kind == RecordKind::Rule);
        let pending = pending.filter_map(|record| {
            let who = spelled(&record.key)?;
            Some((record.key.clone(), (who, Decision::from_name(&record.value))))
        });
        Self {
            ruleset: parsed(&base),
            base,
            pending: pending.collect(),
            waiting: Vec::new(),
            exceeded: HashMap::new(),
            step: Step::Idle,
            newcomers: false,
            stale: true,
            lost: false,
            refused: false,
            held: false,
            pace: Pace::default(),
        }
    }

    pub(super) fn begin(&mut self) {
        self.refused = false;
        self.pace.reset();
        self.stale = true;
    }

    pub(super) fn look_again(&mut self) {
        self.stale = true;
        self.refused = false;
    }

    pub(super) fn pause(&mut self) {
        self.step = Step::Idle;
        self.stale = true;
    }

    pub(super) fn due(&self) -> Option<Instant> {
        let wanted = self.step == Step::Idle && !self.refused && (self.stale || self.is_unwritten());
        self.pace.due().filter(|_| wanted)
    }

    /// The tag of the document, as last heard.
    pub(super) fn etag(&self) -> Option<&Arc<str>> {
        self.base.etag()
    }

    /// Whether what is to be written are the first rules, with none for everybody: what happens to others is then ours
    /// to say.
    fn speaks_for_others(&self) -> bool {
        let everyone = |who: &Who, to: &Option<Decision>| *who == Who::Everyone && to.is_some();
        self.ruleset.rules.is_empty()
            && self.pending.values().any(|(_, to)| to.is_some())
            && !self.pending.values().any(|(who, to)| everyone(who, to))
    }

    /// There is word on who watches, or there will be none.
    pub(super) fn watchers_are_known(&mut self, now: Instant) {
        if core::mem::take(&mut self.held) {
            self.pace.wait_until(now);
        }
    }

    fn is_unwritten(&self) -> bool {
        self.lost || !self.pending.is_empty()
    }

    pub(super) fn is_busy(&self) -> bool {
        self.step != Step::Idle
    }

    /// Rules as they are, and as they will be.
    fn shown(&self) -> Arc<[Rule]> {
        let pending: HashSet<Arc<str>> = self.pending.values().map(|(who, _)| rules::key(who)).collect();
        let mut all: Vec<Rule> = rules::listed(&self.ruleset)
            .into_iter()
            .filter(|(who, _)| !pending.contains(&rules::key(who)))
            .map(|(who, decision)| Rule { who, decision, pending: false })
            .collect();
        let pending = self.pending.values().filter_map(|(who, decision)| {
            Some(Rule { who: who.clone(), decision: (*decision)?, pending: true })
        });
        all.extend(pending);
        all.sort_by_cached_key(|rule| rules::order(&rule.who));
        all.into()
    }

    /// What the owner said of people by address, on the service or not yet; where nobody is asked about, nothing.
    pub(super) fn about<'a>(
        &self,
        addresses: impl IntoIterator<Item = &'a Address>,
    ) -> HashMap<Address, Decision> {
        let mut addresses = addresses.into_iter().peekable();
        if addresses.peek().is_none() {
            return HashMap::new();
        }
        let mut said: HashMap<Arc<str>, Option<Decision>> = rules::listed(&self.ruleset)
            .into_iter()
            .map(|(who, decision)| (rules::key(&who), Some(decision)))
            .collect();
        said.extend(self.pending.values().map(|(who, decision)| (rules::key(who), *decision)));
        addresses
            .filter_map(|address| {
                let decision = said.get(&rules::key(&Who::Address(address.clone()))).copied().flatten()?;
                Some((address.clone(), decision))
            })
            .collect()
    }
}

fn parsed(base: &Base) -> Ruleset {
    let read = base.body.as_ref().and_then(|body| policy::read(body.as_bytes(), &Limits::STORED).ok());
    read.unwrap_or_default()
}

/// Whom a rule is for, from how it is printed.
fn spelled(text: &str) -> Option<Who> {
    match text.strip_prefix('@') {
        _ if text == "*" => Some(Who::Everyone),
        Some(domain) => Some(Who::Domain(domain.into())),
        None => Address::parse(text).ok().map(Who::Address),
    }
}

fn checked(who: Who) -> Result<Who, Error> {
    let Who::Domain(domain) = &who else { return Ok(who) };
    let letters = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']');
    if domain.is_empty() || domain.len() > 255 || !domain.chars().all(letters) {
        return Err(Error::new(Code::InvalidArgument, format!("`{domain}` is no domain")));
    }
    Ok(Who::Domain(domain.to_lowercase().into()))
}

impl Engine {
    /// The command.
    pub(super) fn set_rule(&mut self, ticket: Ticket, who: Who, decision: Option<Decision>) {
        let refused = if self.sync.client.is_none() {
            let text = "no XCAP server is configured, so the service takes no rules";
            Some(Error::new(Code::UnsupportedByService, text).retry(Retry::AfterChange))
        } else if self.policy.pending.len() >= MOST_PENDING {
            Some(Error::new(Code::Busy, "too many rules wait for the service"))
        } else {
            None
        };
        match refused.map_or_else(|| checked(who), Err) {
            Ok(who) => self.ledger.keep(Effect::Rule { ticket, who, decision }),
            Err(error) => self.ledger.answer(ticket.token, Err(error)),
        }
    }

    /// How a rule is kept.
    pub(super) fn rule_record(
        who: &Who,
        decision: Option<Decision>,
    ) -> (RecordKind, Arc<str>, Option<Arc<str>>) {
        let value = decision.map_or(REMOVED, Decision::name);
        (RecordKind::Rule, rules::key(who), Some(value.into()))
    }

    /// The rule is durable.
    pub(super) fn apply_rule(
        &mut self,
        sealed: &Sealed,
        ticket: Ticket,
        who: &Who,
        decision: Option<Decision>,
    ) {
        let key = rules::key(who);
        // In another spelling, as it was kept before.
        let others =
            self.policy.pending.extract_if(.., |known, (other, _)| *known != key && rules::key(other) == key);
        let records: Records = others.map(|(other, _)| (RecordKind::Rule, other, None)).collect();
        if !records.is_empty() {
            self.ledger.keep(Effect::Records { records, then: Then::Nothing });
        }
        self.policy.pending.insert(key.clone(), (who.clone(), decision));
        let mut seq = sealed.seq;
        let shown = self.policy.shown();
        if self.view.rules != shown {
            self.view.rules = shown.clone();
            self.ledger.emit_sealed(&mut seq, sealed.at, EventKind::RulesChanged(shown));
            self.count_blocked();
        }
        self.ledger.answer(ticket.token, Ok(Accepted::new(ticket.request)));
        if let Who::Address(address) = who {
            self.watcher_answered(address);
        }
        let outcome = match self.view.session {
            SessionState::SignedIn if self.policy.refused => {
                let text = "the service takes no rules; the rule is kept, and tried again later";
                Err(Error::new(Code::UnsupportedByService, text).retry(Retry::AfterChange))
            }
            SessionState::SignedIn => {
                self.policy.waiting.push((ticket.request, key));
                self.policy.pace.soon(self.now.instant);
                return;
            }
            _ => Ok(()),
        };
        let kind = EventKind::CommandCompleted { request: ticket.request, outcome };
        self.ledger.emit_sealed(&mut seq, sealed.at, kind);
    }

    pub(super) fn drive_rules(&mut self) {
        let policy = &self.policy;
        let ready = policy.step == Step::Idle
            && !policy.refused
            && policy.pace.is_due(self.now.instant)
            && self.can_ask();
        if !ready {
            return;
        }
        if self.policy.stale {
            if let Err(at) = self.afford() {
                self.policy.pace.wait_until(at);
                return;
            }
            let known = self.policy.base.known();
            self.policy.step = Step::Reading;
            self.ask(Topic::Rules, Ask::Get { known });
        } else if self.policy.is_unwritten() {
            let speaks_for_others = self.policy.speaks_for_others();
            if let Some(until) = self.watchers.awaited(self.now.instant).filter(|_| speaks_for_others) {
                self.policy.held = true;
                self.policy.pace.wait_until(until);
                return;
            }
            self.policy.held = false;
            let mut ruleset = self.policy.ruleset.clone();
            let pending = &self.policy.pending;
            if !pending.is_empty() {
                rules::set(&mut ruleset, pending.values().map(|(who, decision)| (who, *decision)));
            }
            let written = pending.iter().map(|(key, (_, decision))| (key.clone(), *decision)).collect();
            if speaks_for_others {
                rules::keep_others(&mut ruleset, self.watchers.everybody());
            }
            let body: Arc<str> = policy::write(&ruleset).into();
            let condition = if self.policy.lost { Condition::New } else { self.policy.base.condition() };
            self.policy.step = Step::Writing(body.clone(), written);
            self.ask(Topic::Rules, Ask::Put { body: Bytes::from(body.as_bytes().to_vec()), condition });
        }
    }

    pub(super) fn on_rules(&mut self, outcome: Outcome) {
        let now = self.now.instant;
        let random = self.random();
        let policy = &mut self.policy;
        match (core::mem::take(&mut policy.step), outcome) {
            (Step::Reading, Outcome::Document { etag, body }) => {
                policy.pace.was_read();
                match (core::str::from_utf8(&body), policy::read(&body, &Limits::STORED)) {
                    (Ok(text), Ok(ruleset)) => {
                        policy.base = Base::new(etag, text);
                        policy.ruleset = ruleset;
                        (policy.stale, policy.lost) = (false, false);
                        self.rules_read();
                    }
                    (_, Err(error)) => {
                        let sentence = format!("the rules on the service cannot be read: {error}");
                        self.refuse_rules(&sentence, false);
                    }
                    (Err(_), _) => self.refuse_rules("the rules on the service are not UTF-8", false),
                }
            }
            (Step::Reading, Outcome::NotModified) => {
                policy.pace.was_read();
                (policy.stale, policy.lost) = (false, false);
                self.rules_read();
            }
            (Step::Reading, Outcome::Absent) => {
                policy.pace.was_read();
                policy.stale = false;
                // A service that lost the rules would decide by itself from now on: it gets them again.
                policy.lost = !policy.ruleset.rules.is_empty();
                policy.base = Base { etag: None, ..core::mem::take(&mut policy.base) };
                if !policy.lost {
                    policy.base = Base::default();
                    policy.ruleset = Ruleset::default();
                }
                self.rules_read();
            }
            (Step::Writing(body, written), Outcome::Written { etag }) => {
                policy.pace.reset();
                policy.stale = etag.is_none();
                policy.lost = false;
                policy.base = Base::new(etag, body);
                policy.ruleset = parsed(&policy.base);
                let mut records = Records::new();
                let millis = i64::try_from(self.now.wall.as_millis()).unwrap_or(i64::MAX);
                for (key, decision) in written {
                    let who = policy.pending.get(&key).map(|(who, _)| who);
                    let exceeding = who.zip(decision).and_then(|(who, decision)| {
                        rules::exceeding(&policy.ruleset, who, decision, Moment::from_millis(millis))
                    });
                    match exceeding {
                        Some(id) => policy.exceeded.insert(key.clone(), id.into()),
                        None => policy.exceeded.remove(&key),
                    };
                    // One that was set again meanwhile still waits.
                    if policy.pending.get(&key).is_some_and(|(_, now)| *now == decision) {
                        policy.pending.remove(&key);
                        records.push((RecordKind::Rule, key, None));
                    }
                }
                self.keep_rules(records);
                if self.policy.pending.is_empty() {
                    self.complete_rules(&Ok(()));
                }
            }
            (Step::Writing(..), Outcome::Changed) => {
                policy.stale = true;
                policy.pace.fail_write(now, random, None);
            }
            (_, Outcome::Conflict(error)) => self.refuse_rules(&sentence(&error), true),
            // Anything else may come from somebody on the way, or be a matter of credentials.
            (
                Step::Writing(..),
                Outcome::Refused { status: 403 | 405 | 413 | 415 | 422 | 501, sentence, .. },
            ) => {
                self.refuse_rules(&sentence, true);
            }
            (_, Outcome::Refused { sentence, .. }) => self.refuse_rules(&sentence, false),
            (step, Outcome::Away { cause, retry_after }) => {
                policy.stale = true;
                match step {
                    Step::Writing(..) => policy.pace.fail_write(now, random, retry_after),
                    _ => policy.pace.fail(now, random, retry_after),
                }
                let text = "the service is away; the rule is kept, and written when it is back";
                self.complete_rules(&Err(Error::new(Code::ServerUnavailable, text).because(cause)));
            }
            _ => {
                policy.stale = true;
                policy.pace.fail(now, random, None);
            }
        }
        self.drive_sync();
    }

    fn rules_read(&mut self) {
        if !self.policy.is_unwritten() {
            self.policy.pace.reset();
        }
        self.keep_rules(Records::new());
    }

    fn keep_rules(&mut self, mut records: Records) {
        let base = &self.policy.base;
        records.push((RecordKind::Document, BASE.into(), base.record()));
        self.ledger.keep(Effect::Records { records, then: Then::Nothing });
        self.show_rules();
    }

    fn show_rules(&mut self) {
        let shown = self.policy.shown();
        if self.view.rules != shown {
            self.view.rules = shown.clone();
            self.ledger.emit(self.now.wall, EventKind::RulesChanged(shown));
            self.count_blocked();
        }
    }

    /// The service takes no rules, for now. Where it read them and said no for good, what waits for it will never hold, and
    /// nobody should think that it does.
    fn refuse_rules(&mut self, sentence: &str, for_good: bool) {
        self.diagnose(format!("the service takes no rules: {sentence}"));
        self.policy.refused = true;
        let text = if for_good {
            self.policy.lost = false;
            let forgotten = core::mem::take(&mut self.policy.pending);
            let records = forgotten.into_keys().map(|key| (RecordKind::Rule, key, None)).collect();
            self.ledger.keep(Effect::Records { records, then: Then::Nothing });
            self.show_rules();
            "the service takes no such rules"
        } else {
            "the service takes no rules; the rule is kept, and tried again later"
        };
        let error = Error::new(Code::UnsupportedByService, text).retry(Retry::AfterChange);
        self.complete_rules(&Err(error.because(sentence)));
    }

    /// Whoever waits for the service's word on rules hears it.
    pub(super) fn complete_rules(&mut self, outcome: &Result<(), Error>) {
        let exceeded = core::mem::take(&mut self.policy.exceeded);
        for (request, key) in core::mem::take(&mut self.policy.waiting) {
            let outcome = match exceeded.get(&key).filter(|_| outcome.is_ok()) {
                Some(rule) => {
                    let text =
                        format!("the rule is set, but the rule `{rule}` of another program may show more");
                    Err(Error::new(Code::PolicyRestricted, text).retry(Retry::AfterChange))
                }
                None => outcome.clone(),
            };
            self.complete(request, outcome);
        }
    }

    // ---- preview ----

    /// What somebody would see of this account now, and why: the rules as the service has them, applied to what is
    /// published.
    #[must_use]
    pub fn preview(&self, address: &Address) -> Preview {
        let wall = self.now.wall;
        let own = self.own_document();
        if self.sync.client.is_none() || self.policy.refused {
            let (presence, reasons) = shown_as(&own, wall);
            let reasons = core::iter::once(PreviewReason::NoRules).chain(reasons).collect();
            return Preview { decision: None, presence, reasons };
        }
        if self.policy.ruleset.rules.is_empty() {
            return self.preview_without_rules(address, &own);
        }
        let millis = i64::try_from(wall.as_millis()).unwrap_or(i64::MAX);
        let watcher = Watcher::new(address.as_str()).at(Moment::from_millis(millis));
        let mut reasons: Vec<PreviewReason> = self
            .policy
            .ruleset
            .rules
            .iter()
            .filter(|rule| applies(rule, &watcher))
            .map(|rule| PreviewReason::Rule(rule.id.as_str().into()))
            .collect();
        if reasons.is_empty() {
            // Whether that means to wait or to be refused is up to the service.
            let presence = Presence::unknown(UnknownReason::Pending);
            return Preview { decision: None, presence, reasons: vec![PreviewReason::NoRule] };
        }
        let granted = policy::evaluate(&self.policy.ruleset, &watcher);
        let decision = rules::decision(granted.handling);
        let presence = match decision {
            Decision::Block => {
                Presence { freshness: Freshness::Denied, ..Presence::unknown(UnknownReason::Pending) }
            }
            Decision::Confirm => Presence::unknown(UnknownReason::Pending),
            Decision::PoliteBlock | Decision::Allow => {
                let (presence, why) = shown_as(&policy::transform(&own, &granted), wall);
                if decision == Decision::Allow {
                    let (all, _) = shown_as(&policy::transform(&own, &Permissions::everything()), wall);
                    let mut hidden = |what: &str, is_hidden: bool| {
                        reasons.extend(is_hidden.then(|| PreviewReason::Hidden(what.into())));
                    };
                    hidden("availability", presence.availability != all.availability);
                    hidden("note", presence.note != all.note);
                    hidden("activities", presence.activities != all.activities);
                }
                reasons.extend(why);
                presence
            }
        };
        Preview { decision: Some(decision), presence, reasons }
    }

    /// The service decides by itself: all that is known of it is where those stand who watch.
    fn preview_without_rules(&self, address: &Address, own: &pidf::Document) -> Preview {
        let standing = self.watchers.standing(address);
        let mut reasons = vec![PreviewReason::NoRule];
        reasons.extend(standing.map(PreviewReason::Watcher));
        let presence = match standing {
            Some(WatcherState::Active) => {
                let (presence, why) = shown_as(own, self.now.wall);
                reasons.extend(why);
                presence
            }
            Some(WatcherState::Pending | WatcherState::Waiting) => Presence::unknown(UnknownReason::Pending),
            None => Presence::unknown(UnknownReason::Other(
                "the service decides by its default, which is not known here".into(),
            )),
        };
        Preview { decision: None, presence, reasons }
    }
}

/// One spelling for all that a rule takes for the same person.
pub(super) fn one_spelling(address: &Address) -> Arc<str> {
    rules::key(&Who::Address(address.clone()))
}

/// Whether a rule holds for somebody.
fn applies(rule: &policy::Rule, watcher: &Watcher<'_>) -> bool {
    // Evaluation does not tell a rule that blocks from one that does not apply: one that allows would show.
    let rule = policy::Rule { handling: Some(SubHandling::Allow), ..rule.clone() };
    let alone = Ruleset { rules: vec![rule], ..Ruleset::default() };
    policy::evaluate(&alone, watcher).handling == SubHandling::Allow
}

fn shown_as(document: &pidf::Document, now: Timestamp) -> (Presence, Vec<PreviewReason>) {
    let composed = compose(core::slice::from_ref(document), now);
    let presence = Presence {
        availability: composed.availability,
        freshness: Freshness::Live,
        note: composed.note,
        activities: composed.activities,
        since: None,
        next_change_at: composed.next_change_at,
        details: composed.details.map(Arc::new),
    };
    (presence, composed.reasons.into_iter().map(PreviewReason::Presence).collect())
}
