//! Events as guests see them. Everything borrows: an event lies in a batch that all plugins share.

use attache_messenger::{
    address::Address,
    call::{Call, CallState, Media},
    error::{Error, Retry},
    event::{Contact, Conversation, Event, Group, SessionState},
    message::{Author, IncomingMessage, MessageState, Origin, OutgoingMessage},
    presence::{Availability, Freshness, UnknownReason},
    privacy::{Watcher, WatcherState},
    storage::{JournalEntry, JournalEvent},
    time::Timestamp,
};

use crate::{
    bindings::called::{
        attache::messenger::{types, watcher_types},
        exports::attache::messenger::{
            message_events as messages, presence_events, watched_presence_events as watched_events,
        },
    },
    mailbox::{Pending, Watched},
};

pub(crate) fn info(event: &Event) -> types::EventInfo {
    types::EventInfo {
        seq: event.seq,
        account: event.account.0,
        at: event.at.as_millis(),
        redelivered: false,
    }
}

pub(crate) fn error_text(error: &Error) -> String {
    match error.cause() {
        Some(cause) => format!("{}: {cause}", error.message()),
        None => error.message().to_owned(),
    }
}

pub(crate) fn error<'a>(error: &Error, text: &'a str) -> types::Error<'a> {
    types::Error {
        code: error.code().number(),
        name: error.code().name(),
        message: text,
        retry: match error.retry_hint() {
            Retry::After(time) => {
                types::RetryHint::After(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
            }
            Retry::AfterChange => types::RetryHint::AfterChange,
            _ => types::RetryHint::Never,
        },
    }
}

pub(crate) fn session(state: SessionState) -> types::SessionState {
    match state {
        SessionState::SignedOut => types::SessionState::SignedOut,
        SessionState::SigningIn => types::SessionState::SigningIn,
        SessionState::SignedIn => types::SessionState::SignedIn,
        SessionState::Reconnecting => types::SessionState::Reconnecting,
        SessionState::SigningOut => types::SessionState::SigningOut,
    }
}

pub(crate) fn availability(availability: Availability) -> types::Availability {
    match availability {
        Availability::Available => types::Availability::Available,
        Availability::Idle => types::Availability::Idle,
        Availability::Busy => types::Availability::Busy,
        Availability::BusyIdle => types::Availability::BusyIdle,
        Availability::BeRightBack => types::Availability::BeRightBack,
        Availability::Away => types::Availability::Away,
        Availability::DoNotDisturb => types::Availability::DoNotDisturb,
        Availability::Offline => types::Availability::Offline,
    }
}

fn freshness(freshness: &Freshness) -> types::Freshness<'_> {
    match freshness {
        Freshness::Live => types::Freshness::Live,
        Freshness::Stale(since) => types::Freshness::Stale(since.as_millis()),
        Freshness::Denied => types::Freshness::Denied,
        Freshness::Unknown(reason) => types::Freshness::Unknown(match reason {
            UnknownReason::Pending => types::UnknownReason::Pending,
            UnknownReason::SignedOut => types::UnknownReason::SignedOut,
            UnknownReason::ServiceUnavailable => types::UnknownReason::ServiceUnavailable,
            UnknownReason::NotFound => types::UnknownReason::NotFound,
            UnknownReason::Other(words) => types::UnknownReason::Other(Some(words)),
            _ => types::UnknownReason::Other(None),
        }),
    }
}

pub(crate) fn presence(pending: &Pending) -> presence_events::PresenceChange<'_> {
    presence_events::PresenceChange {
        contact: pending.contact.0,
        availability: pending.presence.availability.map(availability),
        freshness: freshness(&pending.presence.freshness),
        note: pending.note_changed.then_some(&*pending.presence.note),
    }
}

pub(crate) fn watched(change: &Watched) -> watched_events::WatchedChange<'_> {
    watched_events::WatchedChange {
        address: change.address.as_str(),
        availability: change.presence.availability.map(availability),
        freshness: freshness(&change.presence.freshness),
        note: change.note_changed.then_some(&*change.presence.note),
    }
}

pub(crate) fn watcher(watcher: &Watcher) -> watcher_types::Watcher<'_> {
    watcher_types::Watcher {
        address: watcher.address.as_str(),
        name: &watcher.name,
        state: match watcher.state {
            WatcherState::Pending => watcher_types::WatcherState::Pending,
            WatcherState::Waiting => watcher_types::WatcherState::Waiting,
            WatcherState::Active => watcher_types::WatcherState::Active,
        },
        since: watcher.since.as_millis(),
    }
}

pub(crate) fn group(group: &Group) -> types::Group<'_> {
    types::Group { id: group.id.0, name: &group.name }
}

/// The parts of a record that hold lists, which the record then borrows.
pub(crate) fn groups_of(contact: &Contact) -> Vec<u64> {
    contact.groups.iter().map(|group| group.0).collect()
}

pub(crate) fn contact<'a>(contact: &'a Contact, groups: &'a [u64]) -> types::Contact<'a> {
    types::Contact { id: contact.id.0, address: contact.address.as_str(), name: &contact.name, groups }
}

pub(crate) fn participants_of(conversation: &Conversation) -> Vec<&str> {
    conversation.present().map(Address::as_str).collect()
}

pub(crate) fn conversation<'a>(
    conversation: &'a Conversation,
    participants: &'a [&'a str],
) -> types::Conversation<'a> {
    types::Conversation {
        id: conversation.id.0,
        participants,
        subject: &conversation.subject,
        opened_at: conversation.opened_at.as_millis(),
        closed_at: conversation.closed_at.map(Timestamp::as_millis),
    }
}

pub(crate) fn incoming(message: &IncomingMessage) -> messages::IncomingMessage<'_> {
    messages::IncomingMessage {
        id: message.id.0,
        conversation: message.conversation.0,
        contact: message.contact.map(|contact| contact.0),
        sender: message.sender.as_str(),
        text: message.content.text(),
        origin: match message.origin {
            Origin::Person => messages::Origin::Person,
            Origin::Automatic => messages::Origin::Automatic,
        },
        sent_at: message.sent_at.map(Timestamp::as_millis),
    }
}

pub(crate) fn outgoing(message: &OutgoingMessage) -> messages::OutgoingMessage<'_> {
    messages::OutgoingMessage {
        id: message.id.0,
        conversation: message.conversation.0,
        contact: message.contact.map(|contact| contact.0),
        recipient: message.recipient().as_str(),
        text: message.content.text(),
        author: match &message.author {
            Author::User => messages::Author::User,
            Author::Plugin(name) => messages::Author::Plugin(name),
        },
        automatic: message.origin == Origin::Automatic,
    }
}

pub(crate) fn call<'a>(call: &'a Call, text: &'a str) -> types::Call<'a> {
    types::Call {
        id: call.id.0,
        peer: call.peer.as_str(),
        contact: call.contact.map(|contact| contact.0),
        conversation: call.conversation.0,
        incoming: call.incoming,
        video: call.media == Media::Video,
        state: match &call.state {
            CallState::Starting => types::CallState::Starting,
            CallState::OwnRinging => types::CallState::OwnRinging,
            CallState::OwnAnswered => types::CallState::OwnAnswered,
            CallState::PeerRinging => types::CallState::PeerRinging,
            CallState::Ringing => types::CallState::Ringing,
            CallState::Connected => types::CallState::Connected,
            CallState::Transferring => types::CallState::Transferring,
            CallState::Ended(_) => types::CallState::Ended,
            other => types::CallState::Other(Some(other.name())),
        },
        failure: match &call.state {
            CallState::Ended(failure) => failure.as_ref().map(|failure| error(failure, text)),
            _ => None,
        },
        started_at: call.started_at.as_millis(),
        connected_at: call.connected_at.map(Timestamp::as_millis),
        ended_at: call.ended_at.map(Timestamp::as_millis),
    }
}

/// A message's state, unless it is one that plugins are told by another event.
pub(crate) fn message_state<'a>(state: &MessageState, text: &'a str) -> Option<messages::MessageState<'a>> {
    Some(match state {
        MessageState::Sent => messages::MessageState::Sent,
        MessageState::Delivered => messages::MessageState::Delivered,
        MessageState::Displayed => messages::MessageState::Displayed,
        MessageState::Failed(failure) => messages::MessageState::Failed(error(failure, text)),
        MessageState::Cancelled => messages::MessageState::Cancelled,
        _ => return None,
    })
}

/// An event of the journal as it was published.
pub(crate) fn from_journal(entry: JournalEntry, account: attache_messenger::id::AccountId) -> Option<Event> {
    use attache_messenger::event::EventKind;

    let kind = match entry.event {
        JournalEvent::MessageReceived(message) => EventKind::MessageReceived(message),
        JournalEvent::MessageAccepted(message) => EventKind::MessageAccepted(message),
        JournalEvent::MessageStateChanged { message, conversation, recipient, state } => {
            EventKind::MessageStateChanged { message, conversation, recipient, state }
        }
        _ => return None,
    };
    Some(Event { seq: entry.seq, at: entry.at, account, kind })
}
