//! The exports of a component: each event interface looked up by itself, because a plugin exports what it wants.

use wasmtime::{
    Store,
    component::{Instance, InstancePre},
};

use crate::{
    bindings::called::exports::attache::messenger as wit,
    family::Families,
    grant::GrantSet,
    state::GuestState,
    surface::{Needs, split},
};

macro_rules! exports {
    ($($field:ident: $interface:ident = $name:literal;)*) => {
        /// Where a component's exports are. Found once, when it is loaded.
        pub(crate) struct ExportIndices {
            $($field: Option<wit::$interface::GuestIndices>,)*
        }

        /// The exports of one instance.
        #[derive(Default)]
        pub(crate) struct Exports {
            $(pub(crate) $field: Option<wit::$interface::Guest>,)*
        }

        impl ExportIndices {
            /// Looks up what `needs` says is there. Interfaces of a newer minor version are found as well.
            pub(crate) fn find(pre: &InstancePre<GuestState>, needs: &Needs) -> wasmtime::Result<Self> {
                Ok(Self {$(
                    $field: if exported(needs, $name) {
                        Some(wit::$interface::GuestIndices::new(pre)?)
                    } else {
                        None
                    },
                )*})
            }

            /// The exports of an instance, their types checked.
            pub(crate) fn load(
                &self,
                store: &mut Store<GuestState>,
                instance: &Instance,
            ) -> wasmtime::Result<Exports> {
                Ok(Exports {$(
                    $field: match &self.$field {
                        Some(indices) => Some(indices.load(&mut *store, instance)?),
                        None => None,
                    },
                )*})
            }
        }
    };
}

exports! {
    lifecycle: lifecycle = "lifecycle";
    sessions: session_events = "session-events";
    contacts: contact_events = "contact-events";
    groups: group_events = "group-events";
    presence: presence_events = "presence-events";
    alerts: alert_events = "alert-events";
    watched: watched_presence_events = "watched-presence-events";
    watchers: watcher_events = "watcher-events";
    messages: message_events = "message-events";
    conversations: conversation_events = "conversation-events";
    mailbox: mailbox_events = "mailbox-events";
    rules: rule_events = "rule-events";
    composing: composing_events = "composing-events";
    participants: participant_events = "participant-events";
    calls: call_events = "call-events";
    profiles: profile_events = "profile-events";
    timers: timer_events = "timer-events";
}

impl ExportIndices {
    pub(crate) fn takes_timers(&self) -> bool {
        self.timers.is_some()
    }
}

/// The families that a component subscribes to and was granted.
pub(crate) fn wanted(needs: &Needs, grants: GrantSet) -> Families {
    let granted =
        Families::BY_INTERFACE.iter().filter(|(name, _, grant)| exported(needs, name) && grants.has(*grant));
    granted.fold(Families::default(), |families, (_, family, _)| families.with(*family))
}

fn exported(needs: &Needs, name: &str) -> bool {
    needs.exports.iter().any(|export| split(export).0.strip_prefix("attache:messenger/") == Some(name))
}
