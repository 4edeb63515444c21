//! Takes events and does nothing with them, so that a bench measures the way to a guest and no work of its own.

wit_bindgen::generate!({
    path: "../../../wit",
    inline: "
        package test:sink;

        world sink {
            export attache:messenger/presence-events@1.0.0;
            export attache:messenger/message-events@1.0.0;
        }
    ",
    world: "test:sink/sink",
    generate_all,
});

use std::hint::black_box;

use attache::messenger::types::{Availability, EventInfo};
use exports::attache::messenger::{message_events, presence_events};

struct Sink;

export!(Sink);

impl presence_events::Guest for Sink {
    fn presence_changed(event: EventInfo, snapshot: bool, changes: Vec<presence_events::PresenceChange>) {
        black_box((event, snapshot, changes));
    }

    fn own_presence_changed(event: EventInfo, availability: Availability, note: String) {
        black_box((event, availability, note));
    }
}

impl message_events::Guest for Sink {
    fn message_received(event: EventInfo, message: message_events::IncomingMessage) -> Result<(), String> {
        black_box((event, message));
        Ok(())
    }

    fn message_accepted(event: EventInfo, message: message_events::OutgoingMessage) -> Result<(), String> {
        black_box((event, message));
        Ok(())
    }

    fn message_state_changed(
        event: EventInfo,
        message: u64,
        state: message_events::MessageState,
    ) -> Result<(), String> {
        black_box((event, message, state));
        Ok(())
    }
}
