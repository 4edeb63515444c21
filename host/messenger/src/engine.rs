//! The engine: one account's messenger as a state machine without sockets, clock, store or chance of its own.
//!
//! # The run loop
//! Whoever owns an engine tells it of one thing at a time, and drains what it has to say:
//!
//! ```
//! use attache_messenger::{
//!     address::Address,
//!     command::Command,
//!     engine::{Engine, EngineConfig},
//!     event::SessionState,
//!     storage::Restored,
//!     time::Now,
//! };
//! use attache_sip::transport::Transport;
//!
//! let address = Address::parse("sip:alice@example.com")?;
//! let local = vec![(Transport::Udp, "192.0.2.7:5060".parse()?)];
//! let mut config = EngineConfig::new(address, "wonderland", local, [7; 32]);
//! config.service = Some("sip:192.0.2.1".to_owned());
//! let mut engine = Engine::new(config, Restored::default(), Now::read());
//! engine.handle_command(Now::read(), 1, Command::SignIn);
//!
//! // Batches first: other things wait for them.
//! while let Some((id, batch)) = engine.poll_batch() {
//!     // Keep `batch`; when it is durable:
//!     engine.handle_stored(Now::read(), id, Ok(()));
//! }
//! while let Some(resolve) = engine.poll_resolve() { /* look the name up, then `handle_resolved` */ }
//! while let Some(transmit) = engine.poll_transmit() { /* send it */ }
//! while let Some(request) = engine.poll_stream() { /* connections of message sessions, if there are any */ }
//! while let Some(request) = engine.poll_file() { /* pieces of files to read or write */ }
//! while let Some((token, answer)) = engine.poll_answer() {
//!     assert!(token == 1 && answer.is_ok());
//! }
//! while let Some(event) = engine.poll_event() { /* publish it */ }
//! // Then wait for input, a command, the store, or this time:
//! let _ = engine.poll_timeout();
//! assert_eq!(engine.snapshot().session, SessionState::SigningIn);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Invariants
//! - After any `handle_*`, drain every `poll_*`. [`poll_event`](Engine::poll_event) comes last: its numbers mark what the
//!   [`snapshot`](Engine::snapshot) holds.
//! - The same seed, calls and times give the same bytes, batches and events.
//! - Nothing that must survive is answered, transmitted or told before it is durable.
//! - `seq` only grows, also across a restart.
//! - Nobody is shown offline but by the service's word.
//! - Everything held is bounded by [`Limits`].

mod agent_events;
mod call;
mod calls;
mod composing;
mod conference;
mod config;
mod conversations;
mod deliveries;
mod files;
mod inbox;
mod keep;
mod leases;
mod ledger;
mod mailbox;
mod outbox;
mod own;
mod partial;
mod peers;
mod policy;
mod polls;
mod presence;
mod profiles;
mod receipts;
mod report;
mod roster;
mod session;
mod setup;
mod stream;
mod sync;
mod talk;
mod versions;
mod watch;
mod watchers;
mod wire;

use std::{collections::VecDeque, net::SocketAddr, sync::Arc};

use attache_sip::{
    agent::Agent,
    digest::Secret,
    resolve::{Resolve, ResolveId},
    transport::{Destination, Flow, FlowId, Transport},
    uri::UriBuf,
};
use bytes::Bytes;
use rand_chacha::{
    ChaCha20Rng,
    rand_core::{Rng as _, SeedableRng as _},
};
use rpds::HashTrieSetSync;

use crate::{
    code::Code,
    command::Command,
    error::{Error, Retry},
    event::EventKind,
    id::{ContactId, IdSource, RequestId},
    presence::{Presence, UnknownReason},
    privacy::Who,
    report::XcapState,
    snapshot::{ContactEntry, Snapshot},
    storage::{BatchId, Restored, StorageError},
    sync::Side,
    time::Now,
};

use call::Lines;
use composing::Composers;
use conference::Asked;
pub use config::{EngineConfig, Limits};
use conversations::Conversations;
use deliveries::Deliveries;
use files::Files;
use inbox::Inbox;
use keep::Keeping;
use leases::{Leases, restored_alerts};
use ledger::{Effect, Ledger, Sealed, Then, Ticket};
use mailbox::Mailbox;
use outbox::Outbox;
use own::Own;
use peers::Peers;
use policy::Policy;
use presence::Presences;
use receipts::Wants;
use report::Reporting;
use roster::Roster;
use session::Session;
use setup::{agent_config, store_error};
use stream::Streams;
pub use sync::HttpId;
use sync::{Client, Sync, restored_conflicts};
use watch::{Settings, Watch};
use watchers::Watchers;

/// One account. See the [module](self).
pub struct Engine {
    config: EngineConfig,
    agent: Agent,
    rng: ChaCha20Rng,
    ids: IdSource,
    /// The time of the call that is being handled.
    now: Now,
    view: Snapshot,
    ledger: Ledger,
    roster: Roster,
    conversations: Conversations,
    lines: Lines,
    streams: Streams,
    files: Files,
    /// What focuses of conferences were asked to do.
    asked: Asked,
    outbox: Outbox,
    inbox: Inbox,
    deliveries: Deliveries,
    wants: Wants,
    peers: Peers,
    composers: Composers,
    presences: Presences,
    keeping: Keeping,
    own: Own,
    watch: Watch,
    leases: Leases,
    /// As it will be once everything is durable.
    alerts: HashTrieSetSync<ContactId>,
    reporting: Reporting,
    session: Session,
    resolves: VecDeque<Resolve>,
    sync: Sync,
    policy: Policy,
    watchers: Watchers,
    mailbox: Mailbox,
}

impl Engine {
    /// An account as it was left, signed out. Messages that wait go out after the next sign-in.
    #[must_use]
    pub fn new(config: EngineConfig, restored: Restored, now: Now) -> Self {
        let mut rng = ChaCha20Rng::from_seed(config.seed);
        let mut agent_seed = [0; 32];
        rng.fill_bytes(&mut agent_seed);
        let setting = |name| {
            restored.settings.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
        };
        let reserved = setting(ledger::SEQ).and_then(|text| text.parse().ok()).unwrap_or(0);
        let account = config.address.account_id();
        let mut ids = IdSource::new((rng.next_u32() & 0xffff) as u16);
        let mut ledger = Ledger::new(account, restored.last_seq.max(reserved));
        let instance = match setting(ledger::INSTANCE) {
            Some(instance) => instance.to_owned(),
            None => {
                let instance = format!("{:016x}", rng.next_u64());
                ledger.keep(Effect::Setting(ledger::INSTANCE, instance.clone()));
                instance
            }
        };
        let agent = Agent::new(agent_config(&config, &instance), agent_seed);
        let mut stream_seed = [0; 32];
        if config.msrp.is_some() {
            rng.fill_bytes(&mut stream_seed);
        }
        let streams = Streams::new(&config, stream_seed);
        let mut view = Snapshot {
            profile: profiles::own(&config, setting(ledger::PROFILE)),
            seq: ledger.seq(),
            ..Snapshot::new(config.address.clone(), now.wall)
        };
        let own = Own::new(instance, setting(ledger::OWN));
        let alerts = setting(ledger::ALERTS).map(restored_alerts).unwrap_or_default();
        view.display_name = view.profile.display_name.clone();
        view.alerts = alerts.clone();
        for conflict in restored_conflicts(&restored.records) {
            ids.skip_past(conflict.id.0);
            view.conflicts.insert_mut(conflict.id, conflict);
        }
        let mut xcap = XcapState::Off;
        let client = match Client::new(&config) {
            Some(Ok(client)) => Some(client),
            Some(Err(sentence)) => {
                let advice = Arc::from("correct the address of the XCAP root");
                xcap = XcapState::Refused { status: 0, sentence: sentence.into(), advice };
                None
            }
            None => None,
        };
        let sync = Sync::new(client, &restored.records);
        let mut roster = Roster::new();
        for group in restored.groups {
            ids.skip_past(group.id.0);
            let group = Arc::new(group);
            view.groups.insert_mut(group.id, group.clone());
            roster.put_group(group);
        }
        let nothing = Arc::new(Presence::unknown(UnknownReason::SignedOut));
        for contact in restored.contacts {
            ids.skip_past(contact.id.0);
            let contact = Arc::new(contact);
            view.contacts.insert_mut(
                contact.id,
                ContactEntry { contact: contact.clone(), presence: nothing.clone(), published: None },
            );
            roster.put_contact(contact);
        }
        // One map for both, until one of them changes.
        view.by_address = roster.by_address().clone();
        let mut inbox = Inbox::default();
        let mut seen = restored.seen;
        seen.sort_unstable_by_key(|(_, at)| *at);
        for (key, at) in seen {
            inbox.remember(key, at, config.limits.seen);
        }
        let subscription = u32::try_from(config.subscription.as_secs()).unwrap_or(u32::MAX);
        let mut engine = Self {
            agent,
            rng,
            ids,
            now,
            view,
            ledger,
            roster,
            conversations: Conversations::default(),
            lines: Lines::default(),
            streams,
            files: Files::default(),
            asked: Asked::default(),
            outbox: Outbox::default(),
            inbox,
            deliveries: Deliveries::new(&restored.records),
            wants: Wants::new(&restored.records),
            peers: Peers::new(&restored.records),
            composers: Composers::default(),
            presences: Presences::default(),
            keeping: Keeping::default(),
            own,
            watch: Watch::new(Settings {
                expires: subscription,
                calls: config.calls,
                chunk: config.limits.list_chunk,
                polling: config.polling,
                list_rate: (!config.list_interval.is_zero())
                    .then(|| 1.0 / config.list_interval.as_secs_f64()),
                most: config.limits.contacts.saturating_mul(2),
                list: match config.list.as_deref() {
                    Some(list) => UriBuf::parse(list).ok(),
                    None => sync.lists.known(&config.address),
                },
            }),
            leases: Leases::default(),
            alerts,
            reporting: Reporting::default(),
            session: Session::new(now.instant, now.wall),
            resolves: VecDeque::new(),
            sync,
            policy: Policy::new(&restored.records),
            watchers: Watchers::new(&restored.records),
            mailbox: Mailbox::default(),
            config,
        };
        let contacts: Vec<_> = engine.view.contacts.values().map(|entry| entry.contact.clone()).collect();
        for contact in contacts {
            engine.watch_contact(&contact);
        }
        engine.use_own_name();
        engine.restore_presence(&restored.records);
        engine.compose_own();
        engine.set_xcap(xcap);
        engine.restore_conversations(&restored.records);
        for (id, states) in engine.deliveries.shown() {
            engine.ids.skip_past(id.0);
            engine.view.deliveries.insert_mut(id, states);
        }
        for entry in restored.outbox {
            engine.ids.skip_past(entry.message.id.0);
            engine.ids.skip_past(entry.message.conversation.0);
            engine.restore_message(entry);
        }
        engine
    }

    /// Takes bytes that came on a flow.
    pub fn handle_input(&mut self, now: Now, flow: Flow, bytes: Bytes) {
        self.now = now;
        self.agent.handle_input(now.instant, flow, bytes);
        self.settle();
    }

    /// Bytes for `destination` could not be delivered, or the connection `flow` broke.
    pub fn handle_flow_failed(
        &mut self,
        now: Now,
        destination: Destination,
        flow: Option<FlowId>,
        reason: &str,
    ) {
        self.now = now;
        self.agent.handle_flow_failed(now.instant, destination, flow, reason);
        self.settle();
        let broken = flow.is_some() && destination.transport.is_reliable();
        if broken && self.agent.is_target(destination) {
            // Over another flow everything goes on (RFC 5626, section 4.2); the agent makes this one anew.
            if self.agent.flows().all(|(_, at)| at == destination) {
                self.flow_broken(reason);
            }
        } else {
            self.suspect_outage();
        }
        self.settle();
    }

    /// Answers a [`Resolve`] of [`poll_resolve`](Self::poll_resolve).
    pub fn handle_resolved(&mut self, now: Now, id: ResolveId, answer: Result<Vec<Destination>, String>) {
        self.now = now;
        self.agent.handle_resolved(now.instant, id, answer);
        self.settle();
    }

    /// Takes a command. Its answer comes by [`poll_answer`](Self::poll_answer) with the same token, perhaps only after a
    /// batch is durable; an accepted command completes with one
    /// [`CommandCompleted`](EventKind::CommandCompleted) that names its request.
    ///
    /// What needs no service works signed out: the contact list, own presence (kept for the next sign-in), and
    /// messages (kept in the outbox).
    pub fn handle_command(&mut self, now: Now, token: u64, command: Command) {
        self.now = now;
        // Signing in and out needs no store, and must work when it hangs.
        let stored = !matches!(command, Command::SignIn | Command::SignOut | Command::CloseConversation(_));
        if stored && self.ledger.waiting() >= self.config.limits.storing {
            let error = Error::new(Code::Busy, "too many commands wait for the store")
                .retry(Retry::After(core::time::Duration::from_secs(1)));
            self.ledger.answer(token, Err(error));
            return;
        }
        let ticket = Ticket { token, request: RequestId(self.next_id()) };
        match command {
            Command::SignIn => self.sign_in(ticket),
            Command::SignOut => self.sign_out(ticket),
            Command::Publish { availability, note, until } => {
                self.publish_command(ticket, availability, &note, until);
            }
            Command::Undo => self.undo(ticket),
            Command::KeepMine(id) => self.settle_conflict(ticket, id, Side::Mine),
            Command::KeepTheirs(id) => self.settle_conflict(ticket, id, Side::Theirs),
            Command::AnswerWatcher { address, decision } => {
                self.set_rule(ticket, Who::Address(address), Some(decision));
            }
            Command::SetRule { who, decision } => self.set_rule(ticket, who, decision),
            Command::SetProfile(profile) => self.profile_command(ticket, profile),
            Command::SetIdle(since) => self.idle_command(ticket, since),
            Command::SetFact { source, fact } => self.fact_command(ticket, source, fact),
            Command::Watch { address, ttl } => self.watch_command(ticket, &address, ttl),
            Command::Unwatch(lease) => self.unwatch_command(ticket, lease),
            Command::ExtendLease { lease, ttl } => self.extend_command(ticket, lease, ttl),
            Command::SetAlert(contact, on) => self.alert_command(ticket, contact, on),
            Command::Refresh(contact) => self.refresh_command(ticket, contact),
            Command::Send(draft) => self.send(ticket, draft),
            Command::CancelMessage(id) => self.cancel_message(ticket, id),
            Command::MarkDisplayed(id) => self.mark_displayed(ticket, id),
            Command::SetComposing { to, active } => self.set_composing(ticket, &to, active),
            Command::CloseConversation(id) => self.close_conversation(ticket, id),
            Command::StartConversation { .. } => self.start_conversation(ticket, command),
            Command::AddParticipant { conversation, address } => {
                self.add_participant(ticket, conversation, &address);
            }
            Command::RemoveParticipant { conversation, address } => {
                self.remove_participant(ticket, conversation, &address);
            }
            Command::Call { to, own, method } => self.dial(ticket, &to, own, method),
            Command::StartMedia { to, media } => self.start_media(ticket, &to, media),
            Command::AnswerMedia { call, description } => {
                self.answer_media(ticket, call, description.as_ref());
            }
            Command::OfferFile { to, name, media_type, size, hash } => {
                self.offer_file(ticket, &to, (&name, &media_type, size, hash));
            }
            Command::AcceptFile(file) => self.accept_file(ticket, file),
            Command::DeclineFile(file) => self.decline_file(ticket, file),
            Command::AnswerCall(call) => self.answer_call(ticket, call),
            Command::HangUp(call) => self.hang_up(ticket, call),
            Command::Transfer { call, to } => self.transfer(ticket, call, &to),
            Command::AddContact { .. }
            | Command::RemoveContact(_)
            | Command::RenameContact(..)
            | Command::SetContactDetails(..)
            | Command::AddGroup(_)
            | Command::RemoveGroup(_)
            | Command::RenameGroup(..)
            | Command::AddToGroup(..)
            | Command::RemoveFromGroup(..) => self.edit_roster(ticket, command),
        }
        self.settle();
    }

    /// The store kept a batch, or refused it. Batches end in the order in which they were handed out.
    pub fn handle_stored(&mut self, now: Now, id: BatchId, result: Result<(), StorageError>) {
        self.now = now;
        let Some(sealed) = self.ledger.stored(id) else { return };
        match result {
            Ok(()) => {
                for effect in &sealed {
                    self.apply(effect);
                }
                if core::mem::take(&mut self.policy.newcomers) {
                    self.count_blocked();
                }
                self.ledger.note_outcome(now, true);
            }
            Err(error) => {
                let error = store_error(&error);
                for effect in sealed {
                    self.refuse(effect.effect, &error);
                }
                self.ledger.note_outcome(now, false);
            }
        }
        self.ledger.finish();
        self.drive_sync();
        self.settle();
    }

    /// Gives the access token that [`TokenNeeded`](EventKind::TokenNeeded) asked for, or a newer one.
    pub fn set_token(&mut self, now: Now, token: Secret) {
        self.now = now;
        if let Some(client) = &mut self.sync.client {
            client.set_token(&token);
        }
        self.agent.set_token(now.instant, token);
        self.settle();
    }

    /// The driver's sockets are at other addresses from now on, as after a change of network: the session is registered anew
    /// from there, and notifications of presence are asked for to come there.
    pub fn set_local(&mut self, now: Now, local: Vec<(Transport, SocketAddr)>) {
        self.now = now;
        self.config.local.clone_from(&local);
        self.agent.set_local(now.instant, local);
        self.settle();
    }

    /// Lets time pass. Calling it too early does nothing.
    pub fn handle_timeout(&mut self, now: Now) {
        self.now = now;
        self.agent.handle_timeout(now.instant);
        self.settle();
        self.ledger.handle_timeout(now);
        self.session_due();
        self.recompose();
        self.keep_due();
        self.leases_due();
        self.own_due();
        self.close_idle();
        self.calls_due();
        self.streams.handle_timeout(now.instant);
        self.rejoin_due();
        self.wake_messages();
        self.receipts_due();
        self.composing_due();
        self.sync_due();
        self.settle();
    }

    fn settle(&mut self) {
        loop {
            if let Some(resolve) = self.agent.poll_resolve() {
                self.resolves.push_back(resolve);
            } else if let Some(event) = self.agent.poll_event() {
                self.on_agent_event(event);
            } else if let Some(event) = self.streams.poll_event() {
                self.on_stream_event(event);
            } else if self.next_outcome() {
            } else if self.watch.has_newcomers() {
                self.watch_newcomers();
            } else {
                return;
            }
        }
    }

    fn apply(&mut self, sealed: &Sealed) {
        match &sealed.effect {
            Effect::Reserved(end) => self.ledger.reserved(*end, true),
            Effect::Setting(..) => {}
            Effect::Roster { ticket, edit } => self.apply_edit(sealed, *ticket, edit),
            Effect::Records { then, .. } => self.go_on(*then, true),
            Effect::Rule { ticket, who, decision } => self.apply_rule(sealed, *ticket, who, *decision),
            Effect::Asked { watcher } => self.apply_asked(sealed, watcher),
            Effect::Profile { ticket, profile } => self.apply_profile(sealed, *ticket, profile.as_deref()),
            Effect::Own { ticket, choice } => self.apply_own(sealed, *ticket, choice),
            Effect::Alerts { ticket, alerts, .. } => self.apply_alerts(sealed, *ticket, alerts),
            Effect::Conversation(change) => self.apply_conversation(sealed, change),
            Effect::Incoming(incoming) => self.apply_incoming(sealed, incoming),
            Effect::Displayed { ticket, message, want } => {
                self.apply_displayed(sealed, *ticket, *message, want);
            }
            Effect::Accepted { ticket, entry, .. } => self.apply_accepted(sealed, *ticket, entry),
            Effect::Readdressed { entry, .. } => self.apply_readdressed(entry),
            Effect::Advanced(advance) => self.apply_advanced(sealed, advance),
        }
    }

    fn refuse(&mut self, effect: Effect, error: &Error) {
        match effect {
            Effect::Reserved(end) => self.ledger.reserved(end, false),
            // Nothing waits for it; the next start chooses anew.
            Effect::Setting(..) => {}
            Effect::Roster { ticket, edit } => {
                if let Some(ticket) = ticket {
                    self.ledger.answer(ticket.token, Err(error.clone()));
                }
                self.revert_edits(*edit, error);
            }
            Effect::Records { then, .. } => self.go_on(then, false),
            Effect::Rule { ticket, .. } => self.ledger.answer(ticket.token, Err(error.clone())),
            Effect::Asked { watcher } => self.refuse_asked(&watcher),
            Effect::Profile { ticket, .. } => self.ledger.answer(ticket.token, Err(error.clone())),
            Effect::Own { ticket, .. } => self.ledger.answer(ticket.token, Err(error.clone())),
            Effect::Alerts { ticket, .. } => self.refuse_alerts(ticket, error),
            Effect::Conversation(change) => self.refuse_conversation(&change, error),
            Effect::Incoming(incoming) => self.inbox_refused(incoming.key),
            Effect::Displayed { ticket, .. } => self.refuse_displayed(ticket, error.clone()),
            Effect::Accepted { ticket, entry, .. } => self.refuse_accepted(ticket, &entry, error.clone()),
            // It was accepted: it waits until the store works again.
            effect @ Effect::Readdressed { .. } => self.ledger.keep_later(effect),
            // It happened on the wire and cannot be undone: it must be kept some time.
            Effect::Advanced(mut advance) => {
                if let Some(key) = advance.key.take() {
                    self.inbox_refused(key);
                }
                self.ledger.keep_later(Effect::Advanced(advance));
            }
        }
    }

    /// Records are durable, or were refused.
    fn go_on(&mut self, then: Then, kept: bool) {
        match then {
            // What is not kept now is kept with the next change, or found out again.
            Then::Nothing => {}
            Then::WriteContacts => self.contacts_journaled(kept),
            Then::SlimPresence(batch) => self.presence_kept(batch, kept),
        }
    }

    fn complete(&mut self, request: RequestId, outcome: Result<(), Error>) {
        self.ledger.emit(self.now.wall, EventKind::CommandCompleted { request, outcome });
    }

    /// Tells those who look for a fault. Never holds what people say.
    fn diagnose(&mut self, text: impl Into<Arc<str>>) {
        let text = text.into();
        tracing::debug!(%text, "diagnostic");
        self.ledger.emit(self.now.wall, EventKind::Diagnostic(text));
    }

    fn next_id(&mut self) -> u64 {
        self.ids.next(self.now.wall)
    }

    fn random(&mut self) -> u64 {
        self.rng.next_u64()
    }
}

impl core::fmt::Debug for Engine {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Engine")
            .field("address", &self.config.address)
            .field("session", &self.view.session)
            .field("seq", &self.view.seq)
            .finish_non_exhaustive()
    }
}
