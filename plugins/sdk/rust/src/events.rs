//! The plugin, and one trait per family of events.

use crate::watcher_types::Watcher;
use crate::{
    Availability, Call, Contact, ContactId, Conversation, ConversationId, Error, EventInfo, Group, GroupId,
    IncomingMessage, MessageId, MessageState, OutgoingMessage, PresenceChange, RequestId, SessionState,
    StartInfo, StopReason, WatchedChange,
};

/// What every plugin is.
pub trait Plugin: Sized + 'static {
    /// Makes the plugin, before any event. Called again in a new instance after a trap.
    ///
    /// # Errors
    /// A sentence for the operator, such as which key of the configuration is wrong; the plugin then does not start.
    fn start(info: StartInfo) -> Result<Self, String>;

    /// The last call, if the instance is well.
    fn stop(&mut self, reason: StopReason) {
        let _ = reason;
    }
}

/// The connection and commands. Needs the grant `session.read`.
pub trait SessionEvents: Plugin {
    /// The session changed its state; `reason` is there when a failure caused it.
    fn session_changed(&mut self, event: EventInfo, state: SessionState, reason: Option<Error>) {
        let _ = (event, state, reason);
    }

    /// A command of this plugin completed.
    fn command_completed(&mut self, event: EventInfo, request: RequestId, outcome: Result<(), Error>) {
        let _ = (event, request, outcome);
    }
}

/// Changes of the contact list. Needs the grant `contacts.read`.
pub trait ContactEvents: Plugin {
    /// A contact was added.
    fn contact_added(&mut self, event: EventInfo, contact: Contact) {
        let _ = (event, contact);
    }

    /// A contact's name or groups changed; the record holds the new values.
    fn contact_changed(&mut self, event: EventInfo, contact: Contact) {
        let _ = (event, contact);
    }

    /// A contact was removed; the getter no longer knows its id.
    fn contact_removed(&mut self, event: EventInfo, id: ContactId, address: String) {
        let _ = (event, id, address);
    }
}

/// Changes of the groups. Needs the grant `contacts.read`.
pub trait GroupEvents: Plugin {
    /// A group was added.
    fn group_added(&mut self, event: EventInfo, group: Group) {
        let _ = (event, group);
    }

    /// A group has another name.
    fn group_renamed(&mut self, event: EventInfo, group: Group) {
        let _ = (event, group);
    }

    /// A group was removed.
    fn group_removed(&mut self, event: EventInfo, id: GroupId, name: String) {
        let _ = (event, id, name);
    }
}

/// Presence. Needs the grant `presence.read`. Coalesced: a slow plugin sees the latest value of a contact, not every one.
pub trait PresenceEvents: Plugin {
    /// Contacts changed. `snapshot` is set on the first batch after the start, which holds every contact.
    fn presence_changed(&mut self, event: EventInfo, snapshot: bool, changes: Vec<PresenceChange>) {
        let _ = (event, snapshot, changes);
    }

    /// The account's own presence changed.
    fn own_presence_changed(&mut self, event: EventInfo, availability: Availability, note: String) {
        let _ = (event, availability, note);
    }
}

/// Contacts for whom that was asked became available. Needs the grant `presence.read`.
pub trait AlertEvents: Plugin {
    /// The contact became available.
    fn contact_alert(
        &mut self,
        event: EventInfo,
        contact: ContactId,
        availability: Availability,
        note: String,
    ) {
        let _ = (event, contact, availability, note);
    }
}

/// Presence of the people whom this plugin watches with [`presence_watcher`](crate::presence_watcher). Needs the grant
/// `presence.watch`. Coalesced: a slow plugin sees the latest value of a person, not every one.
pub trait WatchedPresenceEvents: Plugin {
    /// People changed.
    fn watched_presence_changed(&mut self, event: EventInfo, changes: Vec<WatchedChange>) {
        let _ = (event, changes);
    }
}

/// Those who watch the account, or want to. Needs the grant `watchers.read`.
pub trait WatcherEvents: Plugin {
    /// Somebody waits for an answer.
    fn watcher_requested(&mut self, event: EventInfo, watcher: Watcher) {
        let _ = (event, watcher);
    }

    /// [`watchers::list_watchers`](crate::watchers::list_watchers) has changed.
    fn watchers_changed(&mut self, event: EventInfo) {
        let _ = event;
    }
}

/// Instant messages. Needs the grant `messages.receive`.
///
/// Each event comes at least once: what returns an error, or traps, comes again after a pause, with the same `seq` and
/// with `redelivered` set. So do the lasting part first or make it repeatable, and return an error only where a later
/// attempt may succeed.
pub trait MessageEvents: Plugin {
    /// A message arrived.
    ///
    /// # Errors
    /// A sentence for the log; the event comes again.
    fn message_received(&mut self, event: EventInfo, message: IncomingMessage) -> Result<(), String> {
        let _ = (event, message);
        Ok(())
    }

    /// The account accepted a message for sending, from the application or from any plugin.
    ///
    /// # Errors
    /// A sentence for the log; the event comes again.
    fn message_accepted(&mut self, event: EventInfo, message: OutgoingMessage) -> Result<(), String> {
        let _ = (event, message);
        Ok(())
    }

    /// A message of the account went further.
    ///
    /// # Errors
    /// A sentence for the log; the event comes again.
    fn message_state_changed(
        &mut self,
        event: EventInfo,
        id: MessageId,
        state: MessageState,
    ) -> Result<(), String> {
        let _ = (event, id, state);
        Ok(())
    }
}

/// Conversations open and close. Needs the grant `conversations.read`.
pub trait ConversationEvents: Plugin {
    /// A conversation was opened.
    fn conversation_opened(&mut self, event: EventInfo, conversation: Conversation) {
        let _ = (event, conversation);
    }

    /// A conversation was closed; it stays readable.
    fn conversation_closed(&mut self, event: EventInfo, conversation: Conversation) {
        let _ = (event, conversation);
    }
}

/// The mailbox of the account. Needs the grant `session.read`.
pub trait MailboxEvents: Plugin {
    /// Something waits there, or nothing any more; [`mailbox::messages_waiting`](crate::mailbox::messages_waiting) has more.
    fn messages_waiting_changed(&mut self, event: EventInfo, waiting: bool) {
        let _ = (event, waiting);
    }
}

/// Rules about who may see the account's presence. Needs the grant `watchers.read`.
pub trait RuleEvents: Plugin {
    /// [`watchers::rules`](crate::watchers::rules) has changed.
    fn rules_changed(&mut self, event: EventInfo) {
        let _ = event;
    }
}

/// People who write at the moment. Needs the grant `messages.receive`. Lossy.
pub trait ComposingEvents: Plugin {
    /// Somebody writes, or no longer; `conversation` is there when one is open.
    fn composing_changed(
        &mut self,
        event: EventInfo,
        address: String,
        conversation: Option<ConversationId>,
        active: bool,
    ) {
        let _ = (event, address, conversation, active);
    }
}

/// People come and go in conversations. Needs the grant `conversations.read`.
pub trait ParticipantEvents: Plugin {
    /// The subject, the context, how messages travel, or somebody who takes part.
    fn conversation_changed(&mut self, event: EventInfo, conversation: Conversation) {
        let _ = (event, conversation);
    }

    /// Somebody takes part now.
    fn participant_joined(&mut self, event: EventInfo, id: ConversationId, address: String) {
        let _ = (event, id, address);
    }

    /// Somebody no longer takes part.
    fn participant_left(&mut self, event: EventInfo, id: ConversationId, address: String) {
        let _ = (event, id, address);
    }
}

/// Names, numbers and addresses of people. Needs the grant `contacts.read`.
pub trait ProfileEvents: Plugin {
    /// Those of a contact: the user edited them, or the person published others.
    fn contact_profile_changed(&mut self, event: EventInfo, contact: ContactId, name: String) {
        let _ = (event, contact, name);
    }

    /// The account's own.
    fn own_profile_changed(&mut self, event: EventInfo, name: String) {
        let _ = (event, name);
    }
}

/// Calls of the account. Needs the grant `calls.read`.
pub trait CallEvents: Plugin {
    /// A call began, went further, or ended.
    fn call_changed(&mut self, event: EventInfo, call: Call) {
        let _ = (event, call);
    }
}

/// Timers that the plugin set with [`clock::set_timer`](crate::clock::set_timer). Needs no grant.
pub trait TimerEvents: Plugin {
    /// A timer ran out; `token` is the one that it was set with.
    fn timer_fired(&mut self, token: u64) {
        let _ = token;
    }
}
