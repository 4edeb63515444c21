//! One live instance of a guest: its store and its exports, and how a call into it is bounded.

use std::{
    pin::pin,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use attache_messenger::{
    event::{Event, EventKind},
    message::Origin,
};
use tracing::Instrument as _;
use wasmtime::{Store, UpdateDeadline};

use crate::{
    bindings::called::exports::attache::messenger::lifecycle,
    convert,
    engine::{Running, TICK},
    exports::Exports,
    grant::Grant,
    instance::Instance,
    mailbox::{Pending, Watched},
    plugin::Code,
    state::{GuestState, Stopped},
    units::Period,
};

/// A live instance. After a call has failed in any way but `err` it must be dropped.
pub(crate) struct Guest {
    store: Store<GuestState>,
    exports: Exports,
    cpu_per_event: Period,
    time_per_event: Period,
    /// There while calls follow each other.
    running: Option<Running>,
}

/// Why an instance did not start.
#[derive(Debug)]
pub(crate) enum StartFailure {
    /// It says so itself, or does not fit this host: trying again cannot help.
    Final(String),
    /// It trapped, or used up a limit.
    Killed(String),
}

/// How a must-deliver event was taken.
#[derive(Debug)]
pub(crate) enum Handled {
    Ok,
    /// The plugin answered `err`.
    Refused(String),
}

/// A call ended in a trap, a limit or a time-out.
#[derive(Debug)]
pub(crate) struct Killed {
    /// One sentence.
    pub(crate) reason: String,
    /// It took too long by the clock, which is more often the fault of what it waited for.
    pub(crate) timed_out: bool,
}

impl Killed {
    fn new(reason: String) -> Self {
        Self { reason, timed_out: false }
    }
}

/// Calls into the guest within the limits of an event, under a span.
macro_rules! call {
    ($guest:expr, $span:expr, $cpu:expr, |$exports:ident, $store:ident| $call:expr) => {{
        let time = $guest.time_per_event;
        $guest.enter($cpu.unwrap_or($guest.cpu_per_event));
        let outcome = {
            let ($exports, $store) = (&$guest.exports, &mut $guest.store);
            bounded($call.instrument($span), time.0).await
        };
        $guest.finish(outcome, time)
    }};
}

macro_rules! span {
    ($guest:expr, $event:expr, $account:expr, $seq:expr) => {
        tracing::debug_span!(
            target: "attache::plugin",
            "event",
            plugin = %$guest.store.data().instance.plugin.name,
            event = $event,
            account = $account,
            seq = $seq
        )
    };
}

impl Guest {
    /// Instantiates a component and calls its `lifecycle.start`.
    pub(crate) async fn start(
        instance: &Arc<Instance>,
        code: &Code,
        attempt: u32,
    ) -> Result<Self, StartFailure> {
        let limits = &instance.plugin.limits;
        let state = GuestState::new(Arc::clone(instance), code.exports.takes_timers(), TICK);
        let mut store = Store::new(&instance.plugin.shared.engine, state);
        store.limiter(|state| &mut state.memory);
        store.set_hostcall_fuel(limits.host_call_bytes.as_usize());
        store.epoch_deadline_callback(|mut store| {
            store.data_mut().cpu.tick(Instant::now())?;
            Ok(UpdateDeadline::Yield(1))
        });

        let mut guest = Self {
            store,
            exports: Exports::default(),
            cpu_per_event: limits.cpu_per_event,
            time_per_event: limits.time_per_event,
            running: None,
        };
        let cpu = Some(limits.cpu_at_start);
        let span = span!(guest, "instantiate", 0_u64, 0_u64);
        let wasm = call!(guest, span, cpu, |_exports, store| code.pre.instantiate_async(store))
            .map_err(|Killed { reason, .. }| StartFailure::Killed(reason))?;
        guest.exports = code
            .exports
            .load(&mut guest.store, &wasm)
            .map_err(|error| StartFailure::Final(format!("it does not fit this host: {error:#}")))?;

        if guest.exports.lifecycle.is_none() {
            return Ok(guest);
        }
        let accounts: Vec<u64> = {
            let served = instance.accounts();
            served.iter().map(|served| served.account.0).collect()
        };
        let info = lifecycle::StartInfo { name: &instance.plugin.name, accounts: &accounts, attempt };
        let span = span!(guest, "start", 0_u64, 0_u64);
        let outcome = call!(guest, span, cpu, |exports, store| async {
            match &exports.lifecycle {
                Some(lifecycle) => lifecycle.call_start(store, info).await,
                None => Ok(Ok(())),
            }
        });
        match outcome {
            Ok(Ok(())) => Ok(guest),
            Ok(Err(reason)) => Err(StartFailure::Final(crate::log::clean(&reason))),
            Err(Killed { reason, .. }) => Err(StartFailure::Killed(format!("at start, {reason}"))),
        }
    }

    /// Tells the guest that it stops.
    pub(crate) async fn stop(mut self, reason: lifecycle::StopReason) -> Result<(), Killed> {
        if self.exports.lifecycle.is_none() {
            return Ok(());
        }
        let span = span!(self, "stop", 0_u64, 0_u64);
        call!(self, span, None, |exports, store| async {
            match &exports.lifecycle {
                Some(lifecycle) => lifecycle.call_stop(store, reason).await,
                None => Ok(()),
            }
        })
    }

    /// Hands over a message event.
    pub(crate) async fn message(&mut self, event: &Event, redelivered: bool) -> Result<Handled, Killed> {
        let mut info = convert::info(event);
        info.redelivered = redelivered;
        let span = span!(self, event.kind.name(), event.account.0, event.seq);
        let outcome = match &event.kind {
            EventKind::MessageReceived(message) => {
                let automatic = message.origin == Origin::Automatic;
                let state = self.store.data_mut();
                // Only who may send needs to know whom not to answer.
                if state.instance.plugin.grants.has(Grant::MessagesSend) {
                    let sender = crate::quota::person(&message.sender);
                    state.automatic_sender = automatic.then(|| sender.to_owned());
                    state.instance.quota().received(event.account, sender, automatic);
                }
                call!(self, span, None, |exports, store| async {
                    match &exports.messages {
                        Some(it) => it.call_message_received(store, info, convert::incoming(message)).await,
                        None => Ok(Ok(())),
                    }
                })
            }
            EventKind::MessageAccepted(message) => call!(self, span, None, |exports, store| async {
                match &exports.messages {
                    Some(it) => it.call_message_accepted(store, info, convert::outgoing(message)).await,
                    None => Ok(Ok(())),
                }
            }),
            EventKind::MessageStateChanged { message, state, .. } => {
                let text = match state {
                    attache_messenger::message::MessageState::Failed(error) => convert::error_text(error),
                    _ => String::new(),
                };
                let Some(state) = convert::message_state(state, &text) else { return Ok(Handled::Ok) };
                call!(self, span, None, |exports, store| async {
                    match &exports.messages {
                        Some(it) => it.call_message_state_changed(store, info, message.0, state).await,
                        None => Ok(Ok(())),
                    }
                })
            }
            _ => return Ok(Handled::Ok),
        };
        self.store.data_mut().automatic_sender = None;
        Ok(match outcome? {
            Ok(()) => Handled::Ok,
            Err(reason) => Handled::Refused(crate::log::clean(&reason)),
        })
    }

    /// Hands over a control event. False when it was not for this plugin.
    pub(crate) async fn control(&mut self, event: &Event) -> Result<bool, Killed> {
        let info = convert::info(event);
        if let EventKind::CommandCompleted { request, .. } = &event.kind
            && !self.store.data_mut().completes(*request)
        {
            return Ok(false);
        }
        let span = span!(self, event.kind.name(), event.account.0, event.seq);
        call!(self, span, None, |exports, store| control(exports, store, info, &event.kind)).map(|()| true)
    }

    /// Hands over presence: all of one account.
    pub(crate) async fn presence(
        &mut self,
        changes: &[Pending],
        snapshot: Option<&Event>,
    ) -> Result<(), Killed> {
        let mut info = match (snapshot, changes.last()) {
            (Some(event), _) => convert::info(event),
            (None, Some(last)) => crate::bindings::called::attache::messenger::types::EventInfo {
                seq: last.seq,
                account: last.account.0,
                at: last.at.as_millis(),
                redelivered: false,
            },
            (None, None) => return Ok(()),
        };
        info.redelivered = false;
        let list: Vec<_> = changes.iter().map(convert::presence).collect();
        let span = span!(self, "presence-changed", info.account, info.seq);
        call!(self, span, None, |exports, store| async {
            match &exports.presence {
                Some(it) => it.call_presence_changed(store, info, snapshot.is_some(), &list).await,
                None => Ok(()),
            }
        })
    }

    /// Hands over presence of people off the contact list: all of one account.
    pub(crate) async fn watched(&mut self, changes: &[Watched]) -> Result<(), Killed> {
        let Some(last) = changes.last() else { return Ok(()) };
        let info = crate::bindings::called::attache::messenger::types::EventInfo {
            seq: last.seq,
            account: last.account.0,
            at: last.at.as_millis(),
            redelivered: false,
        };
        let list: Vec<_> = changes.iter().map(convert::watched).collect();
        let span = span!(self, "watched-presence-changed", info.account, info.seq);
        call!(self, span, None, |exports, store| async {
            match &exports.watched {
                Some(it) => it.call_watched_presence_changed(store, info, &list).await,
                None => Ok(()),
            }
        })
    }

    /// Tells that a timer fired.
    pub(crate) async fn timer(&mut self, token: u64) -> Result<(), Killed> {
        let span = span!(self, "timer-fired", 0_u64, token);
        call!(self, span, None, |exports, store| async {
            match &exports.timers {
                Some(it) => it.call_timer_fired(store, token).await,
                None => Ok(()),
            }
        })
    }

    /// The token of a timer that is due; it is taken out.
    pub(crate) fn due_timer(&mut self, now: Instant) -> Option<u64> {
        let timers = &mut self.store.data_mut().timers;
        let token = timers
            .iter()
            .filter(|(_, at)| **at <= now)
            .min_by_key(|(_, at)| **at)
            .map(|(token, _)| *token)?;
        timers.remove(&token);
        Some(token)
    }

    /// When the next timer is due.
    pub(crate) fn next_timer(&self) -> Option<Instant> {
        self.store.data().timers.values().min().copied()
    }

    /// Before a call.
    fn enter(&mut self, cpu: Period) {
        let state = self.store.data_mut();
        if self.running.is_none() {
            state.cpu.resume(Instant::now());
            self.running = Some(state.instance.plugin.shared.ticker.enter());
        }
        state.begin(cpu);
        self.store.set_epoch_deadline(1);
    }

    /// After the last of several calls, before anything that waits.
    pub(crate) fn leave(&mut self) {
        if self.running.take().is_some() {
            let state = self.store.data_mut();
            let used = state.cpu.settle(Instant::now());
            state.instance.meters.cpu_nanos.add(u64::try_from(used.as_nanos()).unwrap_or(u64::MAX));
        }
    }

    fn finish<T>(&mut self, outcome: Option<wasmtime::Result<T>>, time: Period) -> Result<T, Killed> {
        if !matches!(outcome, Some(Ok(_))) {
            self.leave();
        }
        let state = self.store.data_mut();
        let error = match outcome {
            Some(Ok(value)) => {
                // What was refused in this event explains no trap in a later one.
                state.memory.refused = None;
                return Ok(value);
            }
            None => return Err(Killed { reason: Stopped::Time(time).to_string(), timed_out: true }),
            Some(Err(error)) => error,
        };
        if let Some(stopped) = error.downcast_ref::<Stopped>() {
            return Err(Killed::new(stopped.to_string()));
        }
        let cause = crate::log::clean(error.root_cause().to_string().lines().next().unwrap_or_default());
        Err(Killed::new(match state.memory.refused.take() {
            Some(limit) => format!("trapped after {limit}: {cause}"),
            None => format!("trapped: {cause}"),
        }))
    }
}

async fn control(
    exports: &Exports,
    store: &mut Store<GuestState>,
    info: crate::bindings::called::attache::messenger::types::EventInfo,
    kind: &EventKind,
) -> wasmtime::Result<()> {
    match kind {
        EventKind::SessionChanged { state, reason } => {
            let Some(it) = &exports.sessions else { return Ok(()) };
            let text = reason.as_ref().map(convert::error_text).unwrap_or_default();
            let reason = reason.as_ref().map(|reason| convert::error(reason, &text));
            it.call_session_changed(store, info, convert::session(*state), reason).await
        }
        EventKind::CommandCompleted { request, outcome } => {
            let Some(it) = &exports.sessions else { return Ok(()) };
            let text = outcome.as_ref().err().map(convert::error_text).unwrap_or_default();
            let outcome = match outcome {
                Ok(()) => Ok(()),
                Err(error) => Err(convert::error(error, &text)),
            };
            it.call_command_completed(store, info, request.0, outcome).await
        }
        EventKind::ContactAdded(contact) => {
            let Some(it) = &exports.contacts else { return Ok(()) };
            it.call_contact_added(store, info, convert::contact(contact, &convert::groups_of(contact))).await
        }
        EventKind::ContactChanged(contact) => {
            let Some(it) = &exports.contacts else { return Ok(()) };
            it.call_contact_changed(store, info, convert::contact(contact, &convert::groups_of(contact)))
                .await
        }
        EventKind::ContactRemoved(contact) => {
            let Some(it) = &exports.contacts else { return Ok(()) };
            it.call_contact_removed(store, info, contact.id.0, contact.address.as_str()).await
        }
        EventKind::GroupAdded(group) => {
            let Some(it) = &exports.groups else { return Ok(()) };
            it.call_group_added(store, info, convert::group(group)).await
        }
        EventKind::GroupRenamed(group) => {
            let Some(it) = &exports.groups else { return Ok(()) };
            it.call_group_renamed(store, info, convert::group(group)).await
        }
        EventKind::GroupRemoved(group) => {
            let Some(it) = &exports.groups else { return Ok(()) };
            it.call_group_removed(store, info, group.id.0, &group.name).await
        }
        EventKind::OwnPresenceChanged(presence) => {
            let Some(it) = &exports.presence else { return Ok(()) };
            // What was published always has an availability; a state that is not published is no event.
            let Some(availability) = presence.availability else { return Ok(()) };
            it.call_own_presence_changed(store, info, convert::availability(availability), &presence.note)
                .await
        }
        EventKind::ContactAlert { contact, presence, .. } => {
            let Some(it) = &exports.alerts else { return Ok(()) };
            let Some(availability) = presence.availability else { return Ok(()) };
            let availability = convert::availability(availability);
            it.call_contact_alert(store, info, contact.0, availability, &presence.note).await
        }
        EventKind::WatcherRequested(watcher) => {
            let Some(it) = &exports.watchers else { return Ok(()) };
            it.call_watcher_requested(store, info, convert::watcher(watcher)).await
        }
        EventKind::WatchersChanged => {
            let Some(it) = &exports.watchers else { return Ok(()) };
            it.call_watchers_changed(store, info).await
        }
        EventKind::MessagesWaitingChanged(waiting) => {
            let Some(it) = &exports.mailbox else { return Ok(()) };
            let waiting = waiting.as_ref().is_some_and(|waiting| waiting.waiting);
            it.call_messages_waiting_changed(store, info, waiting).await
        }
        EventKind::RulesChanged(_) => {
            let Some(it) = &exports.rules else { return Ok(()) };
            it.call_rules_changed(store, info).await
        }
        EventKind::ComposingChanged { who, conversation, active, .. } => {
            let Some(it) = &exports.composing else { return Ok(()) };
            let conversation = conversation.map(|id| id.0);
            it.call_composing_changed(store, info, who.as_str(), conversation, *active).await
        }
        EventKind::ConversationChanged(conversation) => {
            let Some(it) = &exports.participants else { return Ok(()) };
            let participants = convert::participants_of(conversation);
            it.call_conversation_changed(store, info, convert::conversation(conversation, &participants))
                .await
        }
        EventKind::ParticipantJoined { conversation, participant } => {
            let Some(it) = &exports.participants else { return Ok(()) };
            it.call_participant_joined(store, info, conversation.0, participant.address.as_str()).await
        }
        EventKind::ParticipantLeft { conversation, participant } => {
            let Some(it) = &exports.participants else { return Ok(()) };
            it.call_participant_left(store, info, conversation.0, participant.address.as_str()).await
        }
        EventKind::ContactProfileChanged { contact, profile, .. } => {
            let Some(it) = &exports.profiles else { return Ok(()) };
            it.call_contact_profile_changed(store, info, contact.0, &profile.display_name).await
        }
        EventKind::OwnProfileChanged { profile, .. } => {
            let Some(it) = &exports.profiles else { return Ok(()) };
            it.call_own_profile_changed(store, info, &profile.display_name).await
        }
        EventKind::CallChanged(call) => {
            let Some(it) = &exports.calls else { return Ok(()) };
            let text = match &call.state {
                attache_messenger::call::CallState::Ended(Some(error)) => convert::error_text(error),
                _ => String::new(),
            };
            it.call_call_changed(store, info, convert::call(call, &text)).await
        }
        EventKind::ConversationOpened(conversation) => {
            let Some(it) = &exports.conversations else { return Ok(()) };
            let participants = convert::participants_of(conversation);
            it.call_conversation_opened(store, info, convert::conversation(conversation, &participants)).await
        }
        EventKind::ConversationClosed(conversation) => {
            let Some(it) = &exports.conversations else { return Ok(()) };
            let participants = convert::participants_of(conversation);
            it.call_conversation_closed(store, info, convert::conversation(conversation, &participants)).await
        }
        _ => Ok(()),
    }
}

/// Runs a call for at most `limit` by the clock. Most calls are done at the first poll, and cost no timer.
async fn bounded<T>(call: impl Future<Output = T>, limit: Duration) -> Option<T> {
    let mut call = pin!(call);
    let first = core::future::poll_fn(|context| Poll::Ready(call.as_mut().poll(context))).await;
    match first {
        Poll::Ready(value) => Some(value),
        Poll::Pending => tokio::time::timeout(limit, call).await.ok(),
    }
}
