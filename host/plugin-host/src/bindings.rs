//! The contract in `wit/`, as Rust.
//!
//! Two worlds that no plugin targets: one with all that the host offers, with owned types, because arguments come out
//! of a guest's memory; one with all that the host calls, with borrowed types, because events lie in shared batches
//! and a copy of each string would cost more than the call.
#![allow(
    clippy::pedantic,
    missing_debug_implementations,
    rust_2018_idioms,
    unreachable_pub,
    unused_qualifications,
    reason = "generated code"
)]

pub(crate) mod offered {
    wasmtime::component::bindgen!({
        path: "../../wit",
        inline: "
            package attache:offered;

            world offered {
                import attache:messenger/session@1.0.0;
                import attache:messenger/services@1.0.0;
                import attache:messenger/session-control@1.0.0;
                import attache:messenger/mailbox@1.0.0;
                import attache:messenger/directory@1.0.0;
                import attache:messenger/contacts@1.0.0;
                import attache:messenger/contact-editor@1.0.0;
                import attache:messenger/presence@1.0.0;
                import attache:messenger/presence-publisher@1.0.0;
                import attache:messenger/presence-watcher@1.0.0;
                import attache:messenger/watchers@1.0.0;
                import attache:messenger/watcher-editor@1.0.0;
                import attache:messenger/messages@1.0.0;
                import attache:messenger/conversations@1.0.0;
                import attache:messenger/conversation-editor@1.0.0;
                import attache:messenger/calls@1.0.0;
                import attache:messenger/call-control@1.0.0;
                import attache:messenger/files@1.0.0;
                import attache:messenger/archive@1.0.0;
                import attache:messenger/archive-writer@1.0.0;
                import attache:messenger/clock@1.0.0;
                import wasi:logging/logging@0.1.0-draft;
                import wasi:config/store@0.2.0-rc.1;
                import wasi:keyvalue/store@0.2.0-draft;
            }
        ",
        world: "attache:offered/offered",
        imports: {
            "attache:messenger/contact-editor": async | trappable,
            "attache:messenger/presence.why": async | trappable,
            "attache:messenger/presence-publisher": async | trappable,
            "attache:messenger/presence-watcher": async | trappable,
            "attache:messenger/watcher-editor": async | trappable,
            "attache:messenger/messages": async | trappable,
            "attache:messenger/session-control": async | trappable,
            "attache:messenger/conversation-editor": async | trappable,
            "attache:messenger/call-control": async | trappable,
            "attache:messenger/files.decline-file": async | trappable,
            "attache:messenger/directory.resolve": async | trappable,
            "attache:messenger/directory.search": async | trappable,
            "attache:messenger/directory.find-mail": async | trappable,
            "attache:messenger/archive": async | trappable,
            "attache:messenger/archive-writer": async | trappable,
            "wasi:keyvalue/store": async | trappable,
            default: trappable,
        },
        with: {
            "wasi:keyvalue/store.bucket": crate::imports::keyvalue::Bucket,
        },
    });
}

pub(crate) mod called {
    wasmtime::component::bindgen!({
        path: "../../wit",
        inline: "
            package attache:called;

            world called {
                export attache:messenger/lifecycle@1.0.0;
                export attache:messenger/session-events@1.0.0;
                export attache:messenger/contact-events@1.0.0;
                export attache:messenger/group-events@1.0.0;
                export attache:messenger/presence-events@1.0.0;
                export attache:messenger/alert-events@1.0.0;
                export attache:messenger/watched-presence-events@1.0.0;
                export attache:messenger/watcher-events@1.0.0;
                export attache:messenger/message-events@1.0.0;
                export attache:messenger/conversation-events@1.0.0;
                export attache:messenger/mailbox-events@1.0.0;
                export attache:messenger/rule-events@1.0.0;
                export attache:messenger/composing-events@1.0.0;
                export attache:messenger/participant-events@1.0.0;
                export attache:messenger/call-events@1.0.0;
                export attache:messenger/profile-events@1.0.0;
                export attache:messenger/timer-events@1.0.0;
            }
        ",
        world: "attache:called/called",
        exports: { default: async },
        ownership: Borrowing { duplicate_if_necessary: true },
    });
}
