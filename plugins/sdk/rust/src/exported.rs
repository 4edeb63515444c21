//! Between the generated bindings, which know functions, and plugins, which are values. Used by `export!` only.

use std::marker::PhantomData;

use crate::bindings::alert_events::exports::attache::messenger::alert_events;
use crate::bindings::call_events::exports::attache::messenger::call_events;
use crate::bindings::composing_events::exports::attache::messenger::composing_events;
use crate::bindings::contact_events::exports::attache::messenger::contact_events;
use crate::bindings::conversation_events::exports::attache::messenger::conversation_events;
use crate::bindings::group_events::exports::attache::messenger::group_events;
use crate::bindings::lifecycle::exports::attache::messenger::lifecycle;
use crate::bindings::mailbox_events::exports::attache::messenger::mailbox_events;
use crate::bindings::message_events::exports::attache::messenger::message_events;
use crate::bindings::participant_events::exports::attache::messenger::participant_events;
use crate::bindings::presence_events::exports::attache::messenger::presence_events;
use crate::bindings::profile_events::exports::attache::messenger::profile_events;
use crate::bindings::rule_events::exports::attache::messenger::rule_events;
use crate::bindings::session_events::exports::attache::messenger::session_events;
use crate::bindings::timer_events::exports::attache::messenger::timer_events;
use crate::bindings::watched_presence_events::exports::attache::messenger::watched_presence_events;
use crate::bindings::watcher_events::exports::attache::messenger::watcher_events;
use crate::watcher_types::Watcher;
use crate::{
    AlertEvents, Availability, Call, CallEvents, ComposingEvents, Contact, ContactEvents, ContactId,
    Conversation, ConversationEvents, ConversationId, Error, EventInfo, Group, GroupEvents, GroupId,
    IncomingMessage, MailboxEvents, MessageEvents, MessageId, MessageState, OutgoingMessage,
    ParticipantEvents, Plugin, PresenceChange, PresenceEvents, ProfileEvents, RequestId, RuleEvents,
    SessionEvents, SessionState, StartInfo, StopReason, TimerEvents, WatchedChange, WatchedPresenceEvents,
    WatcherEvents, log,
};

/// Where the plugin of a component is kept.
pub trait Slot: Plugin {
    /// Calls with what is in the slot: nothing before the start and after the stop.
    fn with<R>(call: impl FnOnce(&mut Option<Self>) -> R) -> R;
}

/// The exports of a plugin.
pub struct Exported<P>(PhantomData<P>);

/// Calls a plugin that runs. The host starts a plugin before its first event, so nothing is lost.
fn tell<P: Slot>(call: impl FnOnce(&mut P)) {
    P::with(|plugin| plugin.as_mut().map(call));
}

/// The same where the host waits for an answer.
fn ask<P: Slot>(call: impl FnOnce(&mut P) -> Result<(), String>) -> Result<(), String> {
    P::with(|plugin| plugin.as_mut().map_or_else(|| Err("the plugin is not started".to_owned()), call))
}

impl<P: Slot> lifecycle::Guest for Exported<P> {
    fn start(info: StartInfo) -> Result<(), String> {
        log::tell_panics();
        let plugin = P::start(info)?;
        P::with(|slot| *slot = Some(plugin));
        Ok(())
    }

    fn stop(reason: StopReason) {
        if let Some(mut plugin) = P::with(Option::take) {
            plugin.stop(reason);
        }
    }
}

impl<P: Slot + SessionEvents> session_events::Guest for Exported<P> {
    fn session_changed(event: EventInfo, state: SessionState, reason: Option<Error>) {
        tell(|plugin: &mut P| plugin.session_changed(event, state, reason));
    }

    fn command_completed(event: EventInfo, request: RequestId, outcome: Result<(), Error>) {
        tell(|plugin: &mut P| plugin.command_completed(event, request, outcome));
    }
}

impl<P: Slot + ContactEvents> contact_events::Guest for Exported<P> {
    fn contact_added(event: EventInfo, contact: Contact) {
        tell(|plugin: &mut P| plugin.contact_added(event, contact));
    }

    fn contact_changed(event: EventInfo, contact: Contact) {
        tell(|plugin: &mut P| plugin.contact_changed(event, contact));
    }

    fn contact_removed(event: EventInfo, id: ContactId, address: String) {
        tell(|plugin: &mut P| plugin.contact_removed(event, id, address));
    }
}

impl<P: Slot + GroupEvents> group_events::Guest for Exported<P> {
    fn group_added(event: EventInfo, group: Group) {
        tell(|plugin: &mut P| plugin.group_added(event, group));
    }

    fn group_renamed(event: EventInfo, group: Group) {
        tell(|plugin: &mut P| plugin.group_renamed(event, group));
    }

    fn group_removed(event: EventInfo, id: GroupId, name: String) {
        tell(|plugin: &mut P| plugin.group_removed(event, id, name));
    }
}

impl<P: Slot + PresenceEvents> presence_events::Guest for Exported<P> {
    fn presence_changed(event: EventInfo, snapshot: bool, changes: Vec<PresenceChange>) {
        tell(|plugin: &mut P| plugin.presence_changed(event, snapshot, changes));
    }

    fn own_presence_changed(event: EventInfo, availability: Availability, note: String) {
        tell(|plugin: &mut P| plugin.own_presence_changed(event, availability, note));
    }
}

impl<P: Slot + AlertEvents> alert_events::Guest for Exported<P> {
    fn contact_alert(event: EventInfo, contact: ContactId, availability: Availability, note: String) {
        tell(|plugin: &mut P| plugin.contact_alert(event, contact, availability, note));
    }
}

impl<P: Slot + WatchedPresenceEvents> watched_presence_events::Guest for Exported<P> {
    fn watched_presence_changed(event: EventInfo, changes: Vec<WatchedChange>) {
        tell(|plugin: &mut P| plugin.watched_presence_changed(event, changes));
    }
}

impl<P: Slot + WatcherEvents> watcher_events::Guest for Exported<P> {
    fn watcher_requested(event: EventInfo, watcher: Watcher) {
        tell(|plugin: &mut P| plugin.watcher_requested(event, watcher));
    }

    fn watchers_changed(event: EventInfo) {
        tell(|plugin: &mut P| plugin.watchers_changed(event));
    }
}

impl<P: Slot + MessageEvents> message_events::Guest for Exported<P> {
    fn message_received(event: EventInfo, message: IncomingMessage) -> Result<(), String> {
        ask(|plugin: &mut P| plugin.message_received(event, message))
    }

    fn message_accepted(event: EventInfo, message: OutgoingMessage) -> Result<(), String> {
        ask(|plugin: &mut P| plugin.message_accepted(event, message))
    }

    fn message_state_changed(event: EventInfo, id: MessageId, state: MessageState) -> Result<(), String> {
        ask(|plugin: &mut P| plugin.message_state_changed(event, id, state))
    }
}

impl<P: Slot + ConversationEvents> conversation_events::Guest for Exported<P> {
    fn conversation_opened(event: EventInfo, conversation: Conversation) {
        tell(|plugin: &mut P| plugin.conversation_opened(event, conversation));
    }

    fn conversation_closed(event: EventInfo, conversation: Conversation) {
        tell(|plugin: &mut P| plugin.conversation_closed(event, conversation));
    }
}

impl<P: Slot + MailboxEvents> mailbox_events::Guest for Exported<P> {
    fn messages_waiting_changed(event: EventInfo, waiting: bool) {
        tell(|plugin: &mut P| plugin.messages_waiting_changed(event, waiting));
    }
}

impl<P: Slot + RuleEvents> rule_events::Guest for Exported<P> {
    fn rules_changed(event: EventInfo) {
        tell(|plugin: &mut P| plugin.rules_changed(event));
    }
}

impl<P: Slot + ComposingEvents> composing_events::Guest for Exported<P> {
    fn composing_changed(
        event: EventInfo,
        address: String,
        conversation: Option<ConversationId>,
        active: bool,
    ) {
        tell(|plugin: &mut P| plugin.composing_changed(event, address, conversation, active));
    }
}

impl<P: Slot + ParticipantEvents> participant_events::Guest for Exported<P> {
    fn conversation_changed(event: EventInfo, conversation: Conversation) {
        tell(|plugin: &mut P| plugin.conversation_changed(event, conversation));
    }

    fn participant_joined(event: EventInfo, id: ConversationId, address: String) {
        tell(|plugin: &mut P| plugin.participant_joined(event, id, address));
    }

    fn participant_left(event: EventInfo, id: ConversationId, address: String) {
        tell(|plugin: &mut P| plugin.participant_left(event, id, address));
    }
}

impl<P: Slot + ProfileEvents> profile_events::Guest for Exported<P> {
    fn contact_profile_changed(event: EventInfo, contact: ContactId, name: String) {
        tell(|plugin: &mut P| plugin.contact_profile_changed(event, contact, name));
    }

    fn own_profile_changed(event: EventInfo, name: String) {
        tell(|plugin: &mut P| plugin.own_profile_changed(event, name));
    }
}

impl<P: Slot + CallEvents> call_events::Guest for Exported<P> {
    fn call_changed(event: EventInfo, call: Call) {
        tell(|plugin: &mut P| plugin.call_changed(event, call));
    }
}

impl<P: Slot + TimerEvents> timer_events::Guest for Exported<P> {
    fn timer_fired(token: u64) {
        tell(|plugin: &mut P| plugin.timer_fired(token));
    }
}
