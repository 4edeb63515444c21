//! What wit-bindgen makes of the contract.
//!
//! One small world per interface that can be exported, because exporting is subscribing: the worlds that a plugin names
//! in [`export!`](crate::export!) are merged when it is made a component, and no others are in it. All imports are one
//! world: of those, a component keeps what it calls.

/// Everything that a plugin can call.
pub mod imports {
    wit_bindgen::generate!({
        path: ["../../../wit", "wit"],
        world: "attache:plugin/imports",
        generate_all,
    });
}

/// A world that exports one interface; its types are those of [`imports`].
macro_rules! exported {
    ($module:ident, $world:literal, $path:literal) => {
        #[doc = concat!("The world `", $world, "`.")]
        pub mod $module {
            wit_bindgen::generate!({
                path: ["../../../wit", "wit"],
                world: $world,
                with: { "attache:messenger/types@1.0.0": crate::bindings::imports::attache::messenger::types },
                pub_export_macro: true,
                default_bindings_module: $path,
            });
        }
    };
}

exported!(lifecycle, "attache:plugin/lifecycle", "attache_plugin::bindings::lifecycle");
exported!(session_events, "attache:plugin/session-events", "attache_plugin::bindings::session_events");
exported!(contact_events, "attache:plugin/contact-events", "attache_plugin::bindings::contact_events");
exported!(group_events, "attache:plugin/group-events", "attache_plugin::bindings::group_events");
exported!(presence_events, "attache:plugin/presence-events", "attache_plugin::bindings::presence_events");
exported!(alert_events, "attache:plugin/alert-events", "attache_plugin::bindings::alert_events");
exported!(
    watched_presence_events,
    "attache:plugin/watched-presence-events",
    "attache_plugin::bindings::watched_presence_events"
);

/// The world `attache:plugin/watcher-events`; its types are those of [`imports`].
pub mod watcher_events {
    wit_bindgen::generate!({
        path: ["../../../wit", "wit"],
        world: "attache:plugin/watcher-events",
        with: {
            "attache:messenger/types@1.0.0": crate::bindings::imports::attache::messenger::types,
            "attache:messenger/watcher-types@1.0.0": crate::bindings::imports::attache::messenger::watcher_types,
        },
        pub_export_macro: true,
        default_bindings_module: "attache_plugin::bindings::watcher_events",
    });
}

exported!(message_events, "attache:plugin/message-events", "attache_plugin::bindings::message_events");
exported!(
    conversation_events,
    "attache:plugin/conversation-events",
    "attache_plugin::bindings::conversation_events"
);
exported!(mailbox_events, "attache:plugin/mailbox-events", "attache_plugin::bindings::mailbox_events");
exported!(rule_events, "attache:plugin/rule-events", "attache_plugin::bindings::rule_events");
exported!(composing_events, "attache:plugin/composing-events", "attache_plugin::bindings::composing_events");
exported!(
    participant_events,
    "attache:plugin/participant-events",
    "attache_plugin::bindings::participant_events"
);
exported!(profile_events, "attache:plugin/profile-events", "attache_plugin::bindings::profile_events");
exported!(call_events, "attache:plugin/call-events", "attache_plugin::bindings::call_events");

/// The world `attache:plugin/timer-events`, which needs no types.
pub mod timer_events {
    wit_bindgen::generate!({
        path: ["../../../wit", "wit"],
        world: "attache:plugin/timer-events",
        pub_export_macro: true,
        default_bindings_module: "attache_plugin::bindings::timer_events",
    });
}
