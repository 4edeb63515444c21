//! Grants: what a plugin may do beyond computing.
//!
//! One interface of the contract belongs to one grant, so an operator can read from a component's imports and exports
//! what it will ask for, and nothing comes with anything else.

use core::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

macro_rules! grants {
    ($($(#[$doc:meta])* $variant:ident = $name:literal: $($interface:literal),*;)*) => {
        /// One permission, as it is written in `grants` of the configuration file.
        #[derive(Copy, Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        #[non_exhaustive]
        pub enum Grant {
            $($(#[$doc])* $variant,)*
        }

        impl Grant {
            /// Every grant.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The name in the configuration file.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The interfaces of the contract that need it, without versions.
            #[must_use]
            pub const fn interfaces(self) -> &'static [&'static str] {
                match self { $(Self::$variant => &[$($interface),*],)* }
            }
        }
    };
}

grants! {
    /// Asking about the account and its connection, and being told when they change.
    SessionRead = "session.read": "attache:messenger/session", "attache:messenger/services", "attache:messenger/mailbox",
        "attache:messenger/session-events", "attache:messenger/mailbox-events";
    /// Signing the account in and out.
    SessionControl = "session.control": "attache:messenger/session-control";
    /// Reading contacts and groups, and being told when they change.
    ContactsRead = "contacts.read":
        "attache:messenger/contacts", "attache:messenger/contact-events", "attache:messenger/group-events",
        "attache:messenger/profile-events";
    /// Changing contacts and groups.
    ContactsWrite = "contacts.write": "attache:messenger/contact-editor";
    /// Reading presence, and being told when it changes.
    PresenceRead = "presence.read":
        "attache:messenger/presence", "attache:messenger/presence-events", "attache:messenger/alert-events";
    /// Watching people who need not be contacts.
    PresenceWatch = "presence.watch":
        "attache:messenger/presence-watcher", "attache:messenger/watched-presence-events";
    /// Publishing the account's own presence.
    PresenceWrite = "presence.write": "attache:messenger/presence-publisher";
    /// Seeing who watches the account, and being told who wants to.
    WatchersRead = "watchers.read": "attache:messenger/watchers", "attache:messenger/watcher-events",
        "attache:messenger/rule-events";
    /// Deciding who may see the account's presence.
    WatchersWrite = "watchers.write": "attache:messenger/watcher-editor";
    /// Getting the account's messages.
    MessagesReceive = "messages.receive": "attache:messenger/message-events", "attache:messenger/composing-events";
    /// Sending messages as the account.
    MessagesSend = "messages.send": "attache:messenger/messages";
    /// Reading transcripts, and being told when conversations open and close.
    ConversationsRead = "conversations.read":
        "attache:messenger/conversations", "attache:messenger/conversation-events",
        "attache:messenger/participant-events";
    /// Starting and ending conversations, and changing who takes part.
    ConversationsWrite = "conversations.write": "attache:messenger/conversation-editor";
    /// Seeing calls, and being told how they go.
    CallsRead = "calls.read": "attache:messenger/calls", "attache:messenger/call-events";
    /// Making calls as the account.
    CallsControl = "calls.control": "attache:messenger/call-control";
    /// Seeing files that are offered, and declining them.
    FilesRead = "files.read": "attache:messenger/files";
    /// Looking people up, and their numbers and mail addresses.
    DirectorySearch = "directory.search": "attache:messenger/directory";
    /// Searching the archive.
    ArchiveRead = "archive.read": "attache:messenger/archive";
    /// Adding to the archive and purging it.
    ArchiveWrite = "archive.write": "attache:messenger/archive-writer";
    /// Keeping values of its own.
    Storage = "storage": "wasi:keyvalue/store";
}

impl Grant {
    /// The grant that an interface needs, if it needs one. `interface` is without its version.
    #[must_use]
    pub fn of_interface(interface: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|grant| grant.interfaces().contains(&interface))
    }

    /// The grant with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|grant| grant.name() == name)
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Grant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Grant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::from_name(&name).ok_or_else(|| {
            let known: Vec<&str> = Self::ALL.iter().map(|grant| grant.name()).collect();
            de::Error::custom(format!("there is no grant `{name}`; the grants are {}", known.join(", ")))
        })
    }
}

/// A set of grants, checked on every host call: one bit each.
#[derive(Copy, Clone, Debug, Default)]
pub(crate) struct GrantSet(u32);

impl GrantSet {
    pub(crate) fn has(self, grant: Grant) -> bool {
        self.0 & (1 << grant as u32) != 0
    }
}

impl<'a> FromIterator<&'a Grant> for GrantSet {
    fn from_iter<T: IntoIterator<Item = &'a Grant>>(grants: T) -> Self {
        Self(grants.into_iter().fold(0, |bits, grant| bits | 1 << *grant as u32))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_interface_belongs_to_two_grants() {
        let mut seen = BTreeSet::new();
        for grant in Grant::ALL {
            for interface in grant.interfaces() {
                assert!(seen.insert(*interface), "{interface}");
            }
        }
    }

    #[test]
    fn names_are_read_back() {
        for grant in Grant::ALL {
            assert_eq!(Grant::from_name(grant.name()), Some(*grant));
        }
    }
}
