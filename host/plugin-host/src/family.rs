//! Families of events: what one exported interface subscribes to.

use attache_messenger::event::EventKind;

use crate::grant::Grant;

/// A set of families, one bit each.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Families(u32);

impl Families {
    pub(crate) const SESSION: Self = Self(1);
    pub(crate) const CONTACTS: Self = Self(1 << 1);
    pub(crate) const GROUPS: Self = Self(1 << 2);
    pub(crate) const PRESENCE: Self = Self(1 << 3);
    pub(crate) const MESSAGES: Self = Self(1 << 4);
    pub(crate) const CONVERSATIONS: Self = Self(1 << 5);
    pub(crate) const ALERTS: Self = Self(1 << 6);
    pub(crate) const WATCHED: Self = Self(1 << 7);
    pub(crate) const WATCHERS: Self = Self(1 << 8);
    pub(crate) const MAILBOX: Self = Self(1 << 9);
    pub(crate) const RULES: Self = Self(1 << 10);
    pub(crate) const COMPOSING: Self = Self(1 << 11);
    pub(crate) const PARTICIPANTS: Self = Self(1 << 12);
    pub(crate) const CALLS: Self = Self(1 << 13);
    pub(crate) const PROFILES: Self = Self(1 << 14);

    /// The families that interfaces subscribe to, and what each needs.
    pub(crate) const BY_INTERFACE: [(&'static str, Self, Grant); 15] = [
        ("session-events", Self::SESSION, Grant::SessionRead),
        ("contact-events", Self::CONTACTS, Grant::ContactsRead),
        ("group-events", Self::GROUPS, Grant::ContactsRead),
        ("presence-events", Self::PRESENCE, Grant::PresenceRead),
        ("alert-events", Self::ALERTS, Grant::PresenceRead),
        ("watched-presence-events", Self::WATCHED, Grant::PresenceWatch),
        ("watcher-events", Self::WATCHERS, Grant::WatchersRead),
        ("message-events", Self::MESSAGES, Grant::MessagesReceive),
        ("conversation-events", Self::CONVERSATIONS, Grant::ConversationsRead),
        ("mailbox-events", Self::MAILBOX, Grant::SessionRead),
        ("rule-events", Self::RULES, Grant::WatchersRead),
        ("composing-events", Self::COMPOSING, Grant::MessagesReceive),
        ("participant-events", Self::PARTICIPANTS, Grant::ConversationsRead),
        ("call-events", Self::CALLS, Grant::CallsRead),
        ("profile-events", Self::PROFILES, Grant::ContactsRead),
    ];

    /// The family of an event; none for what no plugin gets.
    pub(crate) fn of(kind: &EventKind) -> Self {
        match kind {
            EventKind::SessionChanged { .. } | EventKind::CommandCompleted { .. } => Self::SESSION,
            EventKind::ContactAdded(_) | EventKind::ContactChanged(_) | EventKind::ContactRemoved(_) => {
                Self::CONTACTS
            }
            EventKind::GroupAdded(_) | EventKind::GroupRenamed(_) | EventKind::GroupRemoved(_) => {
                Self::GROUPS
            }
            EventKind::PresenceChanged(_) | EventKind::OwnPresenceChanged(_) => Self::PRESENCE,
            EventKind::ContactAlert { .. } => Self::ALERTS,
            EventKind::WatchedPresenceChanged(_) => Self::WATCHED,
            EventKind::WatcherRequested(_) | EventKind::WatchersChanged => Self::WATCHERS,
            EventKind::MessageReceived(_)
            | EventKind::MessageAccepted(_)
            | EventKind::MessageStateChanged { .. } => Self::MESSAGES,
            EventKind::ConversationOpened(_) | EventKind::ConversationClosed(_) => Self::CONVERSATIONS,
            EventKind::MessagesWaitingChanged(_) => Self::MAILBOX,
            EventKind::RulesChanged(_) => Self::RULES,
            EventKind::ComposingChanged { .. } => Self::COMPOSING,
            EventKind::ConversationChanged(_)
            | EventKind::ParticipantJoined { .. }
            | EventKind::ParticipantLeft { .. } => Self::PARTICIPANTS,
            EventKind::CallChanged(_) => Self::CALLS,
            EventKind::ContactProfileChanged { .. } | EventKind::OwnProfileChanged { .. } => Self::PROFILES,
            _ => Self(0),
        }
    }

    pub(crate) fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) fn overlaps(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(crate) fn bits(self) -> u32 {
        self.0
    }

    pub(crate) fn from_bits(bits: u32) -> Self {
        Self(bits)
    }
}
