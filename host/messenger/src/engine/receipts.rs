//! Receipts that we give (RFC 5438): who wants to know what of their message, until they have been told.
//!
//! What is wanted is kept with the message, and forgotten when it was told, so that it is told also after a restart, and
//! days after the message came. A receipt goes to whoever sent the message by the envelope, and says no more than the
//! account's policy lets it.

use core::time::Duration;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

use attache_documents::{
    Moment,
    cpim::{self, Cpim, Party},
    imdn::{self, Display, Imdn, Notification},
};
use attache_sip::{
    agent::{Cause, MessageParams},
    uri::UriBuf,
};
use serde::{Deserialize, Serialize};

use crate::{
    address::Address,
    command::Accepted,
    content::Wrapper,
    engine::{
        Engine,
        ledger::{Effect, Sealed, Then, Ticket},
        outbox::Note,
        policy, wire,
    },
    error::Error,
    id::MessageId,
    message::ReceiptPolicy,
    privacy::{Decision, Who},
    storage::{Record, RecordKind},
    time::Timestamp,
};

/// How long receipts are wanted, and states of our messages known.
pub(super) const MEMORY: Duration = Duration::from_secs(31 * 86_400);
/// Attempts at one receipt that nobody decides on.
const ATTEMPTS: u32 = 8;
/// First pause between those; doubles.
const PAUSE: Duration = Duration::from_secs(30);

/// Which receipts somebody wants for their message.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Want {
    /// Who.
    to: Address,
    /// The message, as they name it.
    id: Arc<str>,
    /// When they wrote it, as they say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at: Option<i64>,
    /// To whom it went at first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    original_to: Option<String>,
    /// By whom a receipt goes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    route: Vec<String>,
    /// That it was delivered is still to be told.
    delivery: bool,
    display: Wish,
    #[serde(skip)]
    attempts: u32,
}

#[derive(Copy, Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Wish {
    /// Not wanted, or not for them to know, or told.
    No,
    /// Wanted, once the person has seen the message.
    Wanted,
    /// Still to be told.
    Due,
}

impl Want {
    fn is_due(&self) -> bool {
        self.delivery || self.display == Wish::Due
    }

    pub(super) fn record(&self, id: MessageId) -> (RecordKind, Arc<str>, Option<Arc<str>>) {
        let wanted = self.is_due() || self.display == Wish::Wanted;
        let value = wanted.then(|| serde_json::to_string(self).ok()).flatten();
        (RecordKind::Receipt, id.to_string().into(), value.map(Into::into))
    }
}

/// Receipts that are wanted, and not told yet.
#[derive(Debug, Default)]
pub(super) struct Wants {
    by_message: BTreeMap<MessageId, Want>,
    retry: BTreeSet<(Instant, MessageId)>,
}

impl Wants {
    pub(super) fn new(records: &[Record]) -> Self {
        let receipts = records.iter().filter(|record| record.kind == RecordKind::Receipt);
        let by_message = receipts.filter_map(|record| {
            Some((MessageId(record.key.parse().ok()?), serde_json::from_str(&record.value).ok()?))
        });
        Self { by_message: by_message.collect(), retry: BTreeSet::new() }
    }
}

/// Whether a message, a state or a wish is too old to be remembered. Handles tell their time.
pub(super) fn is_old(id: MessageId, now: Timestamp) -> bool {
    let memory = u64::try_from(MEMORY.as_millis()).unwrap_or(u64::MAX);
    (id.0 >> 16).saturating_add(memory) < now.as_millis()
}

impl Engine {
    /// Which receipts the sender of a message gets, as far as they want any.
    pub(super) fn want(&self, sender: &Address, wrapper: Option<&Wrapper>) -> Option<Want> {
        let wrapper = wrapper?;
        let request = &wrapper.receipts;
        let policy = self.config.receipts;
        if !request.wants_any()
            || policy == ReceiptPolicy::None
            || is_anonymous(sender)
            || self.hides_from(sender)
        {
            return None;
        }
        let display = request.display && policy == ReceiptPolicy::Displayed;
        let want = Want {
            to: sender.clone(),
            id: request.message_id.as_deref()?.into(),
            at: wrapper.sent_at.and_then(|at| i64::try_from(at.as_millis()).ok()),
            original_to: request.original_to.clone(),
            route: self.trusted_route(sender, &request.record_route),
            delivery: request.positive_delivery,
            display: if display { Wish::Wanted } else { Wish::No },
            attempts: 0,
        };
        (want.is_due() || display).then_some(want)
    }

    /// Whether a rule keeps somebody from seeing this account's presence. A receipt says when somebody is there.
    fn hides_from(&self, person: &Address) -> bool {
        let key = policy::one_spelling(person);
        let domain = person.canonical().rsplit_once('@').map(|(_, domain)| domain);
        let nearness = |who: &Who| match who {
            Who::Address(address) => (policy::one_spelling(address) == key).then_some(2),
            Who::Domain(known) => (domain == Some(&**known)).then_some(1),
            Who::Everyone => Some(0),
        };
        let nearest = self.view.rules.iter().filter_map(|rule| Some((nearness(&rule.who)?, rule.decision)));
        let decision = nearest.max_by_key(|(nearness, _)| *nearness).map(|(_, decision)| decision);
        matches!(decision, Some(Decision::Block | Decision::PoliteBlock))
    }

    /// Whom a receipt passes on its way, where they are of the sender's domain or ours: a message must not make us write to
    /// whomever it names.
    fn trusted_route(&self, sender: &Address, route: &[String]) -> Vec<String> {
        let domain = |text: &str| text.rsplit_once('@').map(|(_, domain)| domain.to_owned());
        let ours = domain(self.config.address.canonical());
        let theirs = domain(sender.canonical());
        let known = |hop: &String| {
            let Ok(uri) = UriBuf::parse(hop) else { return false };
            let key = uri.as_uri().aor_key();
            let host = key.rsplit_once(['@', ':']).map(|(_, host)| host.to_owned());
            host.is_some() && (host == ours || host == theirs)
        };
        if route.iter().all(known) { route.to_vec() } else { Vec::new() }
    }

    /// The record that keeps a wish, and those of wishes that are forgotten for it.
    pub(super) fn want_records(&self, id: MessageId, want: &Want) -> super::sync::Records {
        let mut records = vec![want.record(id)];
        let excess = (self.wants.by_message.len() + 1).saturating_sub(self.config.limits.deliveries);
        let old = self.wants.by_message.keys().enumerate();
        let old = old.take_while(|(place, id)| *place < excess || is_old(**id, self.now.wall));
        records.extend(old.map(|(_, id)| (RecordKind::Receipt, id.to_string().into(), None)));
        records
    }

    /// A message is durable, and with it what its sender wants to know.
    pub(super) fn apply_want(&mut self, id: MessageId, want: &Want) {
        while self.wants.by_message.len() >= self.config.limits.deliveries
            || self.wants.by_message.first_key_value().is_some_and(|(id, _)| is_old(*id, self.now.wall))
        {
            self.wants.by_message.pop_first();
        }
        self.wants.by_message.insert(id, want.clone());
        if want.is_due() {
            self.queue_note(&want.to.clone(), Note::Receipt(id));
        }
    }

    /// The command: the person saw a message.
    pub(super) fn mark_displayed(&mut self, ticket: Ticket, id: MessageId) {
        let wanted = self.wants.by_message.get(&id).filter(|want| want.display == Wish::Wanted);
        let Some(want) = wanted else {
            self.accept(ticket);
            return self.complete(ticket.request, Ok(()));
        };
        // That it was displayed says that it was delivered.
        let want = Want { delivery: false, display: Wish::Due, ..want.clone() };
        self.ledger.keep(Effect::Displayed { ticket, message: id, want: Box::new(want) });
    }

    /// That the person saw a message is durable.
    pub(super) fn apply_displayed(&mut self, sealed: &Sealed, ticket: Ticket, id: MessageId, want: &Want) {
        self.ledger.answer(ticket.token, Ok(Accepted::new(ticket.request)));
        let mut seq = sealed.seq;
        let kind = crate::event::EventKind::CommandCompleted { request: ticket.request, outcome: Ok(()) };
        self.ledger.emit_sealed(&mut seq, sealed.at, kind);
        // Told twice, it is still told once.
        let told = self.wants.by_message.get(&id).is_none_or(|known| known.display != Wish::Wanted);
        if !told {
            self.wants.by_message.insert(id, want.clone());
            self.queue_note(&want.to.clone(), Note::Receipt(id));
        }
    }

    pub(super) fn refuse_displayed(&mut self, ticket: Ticket, error: Error) {
        self.ledger.answer(ticket.token, Err(error));
    }

    /// Signed in: what is due is told.
    pub(super) fn resume_receipts(&mut self) {
        self.wants.retry.clear();
        let due = self.wants.by_message.iter().filter(|(_, want)| want.is_due());
        let due: Vec<_> = due.map(|(id, want)| (*id, want.to.clone())).collect();
        for (id, to) in due {
            self.queue_note(&to, Note::Receipt(id));
        }
    }

    pub(super) fn receipts_timeout(&self) -> Option<Instant> {
        self.wants.retry.first().map(|(at, _)| *at)
    }

    pub(super) fn receipts_due(&mut self) {
        while let Some((at, id)) = self.wants.retry.first().copied()
            && at <= self.now.instant
        {
            self.wants.retry.pop_first();
            if let Some(to) = self.wants.by_message.get(&id).map(|want| want.to.clone()) {
                self.queue_note(&to, Note::Receipt(id));
            }
        }
    }

    /// The request that carries a receipt, and whether it says that the message was displayed.
    pub(super) fn receipt(&self, id: MessageId) -> Option<(MessageParams, bool)> {
        let want = self.wants.by_message.get(&id).filter(|want| want.is_due())?;
        let displayed = want.display == Wish::Due;
        let notification = if displayed {
            Notification::Display(Display::Displayed)
        } else {
            Notification::Delivery(imdn::Delivery::Delivered)
        };
        let own = self.config.address.as_str();
        let document = imdn::write(&Imdn {
            message_id: want.id.to_string(),
            date_time: want.at.map(Moment::from_millis),
            recipient: Some(own.to_owned()),
            original_recipient: Some(want.original_to.clone().unwrap_or_else(|| own.to_owned())),
            notification: Some(notification),
        });
        let mut cpim = Cpim::new(imdn::MEDIA_TYPE, document.as_bytes());
        // Whoever gathers receipts knows one by this; and a receipt never asks for one (section 7.2.1).
        cpim.content_headers.push(("Content-Disposition".to_owned(), "notification".to_owned()));
        cpim.from = Some(wire::own_party(&self.config));
        cpim.to = vec![Party::new(want.to.as_str())];
        cpim.date_time = Some(wire::moment(self.now.wall));
        let route = want.route.iter().skip(1).cloned().collect();
        let kind = if displayed { 's' } else { 'd' };
        let call_id = format!("{kind}{id}.{:016x}@attache", self.view.account.0);
        let message_id = Some(wire::wire_id(&call_id).to_owned());
        imdn::Request { message_id, route, ..imdn::Request::default() }.write(&mut cpim);
        let to = match want.route.first() {
            Some(hop) => UriBuf::parse(hop).ok()?,
            None => want.to.to_uri().ok()?,
        };
        let (content_type, body) = (cpim::MEDIA_TYPE.to_owned(), cpim.write().into());
        Some((MessageParams { to, content_type, body, headers: Vec::new(), call_id }, displayed))
    }

    /// A receipt was taken, or never will be.
    pub(super) fn receipt_done(&mut self, id: MessageId, displayed: bool) {
        let Some(want) = self.wants.by_message.get_mut(&id) else { return };
        want.delivery = false;
        want.attempts = 0;
        if displayed {
            want.display = Wish::No;
        }
        let (record, again) = (want.record(id), want.is_due().then(|| want.to.clone()));
        if record.2.is_none() {
            self.wants.by_message.remove(&id);
        }
        self.ledger.keep(Effect::Records { records: vec![record], then: Then::Nothing });
        if let Some(to) = again {
            self.queue_note(&to, Note::Receipt(id));
        }
    }

    /// A receipt was not taken.
    pub(super) fn receipt_failed(&mut self, id: MessageId, displayed: bool, cause: &Cause) {
        let Some(want) = self.wants.by_message.get_mut(&id) else { return };
        want.attempts += 1;
        if !cause.is_outage() || want.attempts >= ATTEMPTS {
            let to = want.to.clone();
            self.diagnose(format!("a receipt for {to} was not taken: {cause}"));
            return self.receipt_done(id, displayed);
        }
        let pause = PAUSE.saturating_mul(1 << want.attempts.min(8));
        self.wants.retry.insert((self.now.instant + pause, id));
    }
}

/// Nobody can be told anything there (RFC 3323, section 4.1.1.3).
fn is_anonymous(sender: &Address) -> bool {
    sender.canonical().ends_with(".invalid") || sender.canonical().contains(":anonymous@")
}
