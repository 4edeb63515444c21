//! Reports every event that it gets, as a message to `sip:report@example.com`, so that a test sees what a plugin sees.

wit_bindgen::generate!({
    path: "../../../wit",
    inline: "
        package test:probe;

        world probe {
            import attache:messenger/messages@1.0.0;
            import attache:messenger/clock@1.0.0;
            import wasi:config/store@0.2.0-rc.1;

            export attache:messenger/lifecycle@1.0.0;
            export attache:messenger/session-events@1.0.0;
            export attache:messenger/contact-events@1.0.0;
            export attache:messenger/presence-events@1.0.0;
            export attache:messenger/message-events@1.0.0;
            export attache:messenger/timer-events@1.0.0;
        }
    ",
    world: "test:probe/probe",
    generate_all,
});

use std::cell::{Cell, RefCell};

use attache::messenger::{
    clock,
    messages::{Purpose, send},
    types::{Availability, Contact, Error, EventInfo, SessionState},
};
use exports::attache::messenger::{
    contact_events, lifecycle, message_events, presence_events, session_events, timer_events,
};
use wasi::config::store;

struct Probe;

export!(Probe);

/// The token of the timer that answers a message later.
const LATER: u64 = 43;

thread_local! {
    static SENDER: RefCell<String> = const { RefCell::new(String::new()) };
    static ACCOUNT: Cell<u64> = const { Cell::new(0) };
}

fn report(account: u64, text: &str) {
    // `quiet` is for measuring: the event and nothing else.
    if store::get("quiet").ok().flatten().is_none() {
        let _ = send(account, "sip:report@example.com", text, Purpose::OnBehalf);
    }
}

impl lifecycle::Guest for Probe {
    fn start(info: lifecycle::StartInfo) -> Result<(), String> {
        let account = info.accounts.first().copied().unwrap_or_default();
        ACCOUNT.set(account);
        report(account, &format!("start {} {}", info.name, info.attempt));
        if let Some(delay) = store::get("timer").ok().flatten().and_then(|delay| delay.parse().ok()) {
            clock::set_timer(delay, 42).map_err(|error| error.message)?;
        }
        Ok(())
    }

    fn stop(_: lifecycle::StopReason) {
        report(ACCOUNT.get(), "stop");
    }
}

impl session_events::Guest for Probe {
    fn session_changed(event: EventInfo, state: SessionState, _: Option<Error>) {
        report(event.account, &format!("session {state:?}"));
    }

    fn command_completed(event: EventInfo, request: u64, outcome: Result<(), Error>) {
        report(event.account, &format!("completed {request} {}", outcome.is_ok()));
    }
}

impl contact_events::Guest for Probe {
    fn contact_added(event: EventInfo, contact: Contact) {
        report(event.account, &format!("contact-added {} {}", contact.address, contact.groups.len()));
    }

    fn contact_changed(event: EventInfo, contact: Contact) {
        report(event.account, &format!("contact-changed {}", contact.address));
    }

    fn contact_removed(event: EventInfo, id: u64, address: String) {
        report(event.account, &format!("contact-removed {id} {address}"));
    }
}

impl presence_events::Guest for Probe {
    fn presence_changed(event: EventInfo, snapshot: bool, changes: Vec<presence_events::PresenceChange>) {
        let kind = if snapshot { "snapshot" } else { "presence" };
        let changes: Vec<String> = changes
            .iter()
            .map(|change| {
                format!(
                    "{}:{:?}:{}",
                    change.contact,
                    change.availability,
                    change.note.as_deref().unwrap_or("-")
                )
            })
            .collect();
        report(event.account, &format!("{kind} {}", changes.join(",")));
    }

    fn own_presence_changed(event: EventInfo, availability: Availability, note: String) {
        report(event.account, &format!("own {availability:?} {note}"));
    }
}

impl message_events::Guest for Probe {
    fn message_received(event: EventInfo, message: message_events::IncomingMessage) -> Result<(), String> {
        if store::get("quiet").ok().flatten().is_none() {
            report(event.account, &format!("received {} {} {}", event.seq, event.redelivered, message.text));
        }
        if let Some(delay) = store::get("later").ok().flatten().and_then(|delay| delay.parse().ok()) {
            SENDER.set(message.sender);
            clock::set_timer(delay, LATER).map_err(|error| error.message)?;
        }
        Ok(())
    }

    fn message_accepted(event: EventInfo, message: message_events::OutgoingMessage) -> Result<(), String> {
        report(event.account, &format!("accepted {} {}", event.seq, message.recipient));
        Ok(())
    }

    fn message_state_changed(
        event: EventInfo,
        _: u64,
        state: message_events::MessageState,
    ) -> Result<(), String> {
        report(event.account, &format!("state {} {state:?}", event.seq));
        Ok(())
    }
}

impl timer_events::Guest for Probe {
    fn timer_fired(token: u64) {
        if token == LATER {
            let sent = send(ACCOUNT.get(), &SENDER.take(), "later", Purpose::AutomaticReply);
            let outcome = sent.map_or_else(|error| error.name, |_| "sent".to_owned());
            return report(ACCOUNT.get(), &format!("later {outcome}"));
        }
        report(ACCOUNT.get(), &format!("timer {token}"));
    }
}
