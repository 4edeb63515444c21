//! Reports every event that it gets, as a message to `sip:report@example.com`, so that a test sees what a plugin sees.

wit_bindgen::generate!({
    path: "../../../wit",
    inline: "
        package test:probe;

        world probe {
            import attache:messenger/messages@1.0.0;
            import attache:messenger/clock@1.0.0;
            import attache:messenger/presence@1.0.0;
            import attache:messenger/presence-watcher@1.0.0;
            import attache:messenger/watchers@1.0.0;
            import attache:messenger/watcher-editor@1.0.0;
            import wasi:config/store@0.2.0-rc.1;

            export attache:messenger/lifecycle@1.0.0;
            export attache:messenger/session-events@1.0.0;
            export attache:messenger/contact-events@1.0.0;
            export attache:messenger/presence-events@1.0.0;
            export attache:messenger/alert-events@1.0.0;
            export attache:messenger/watched-presence-events@1.0.0;
            export attache:messenger/watcher-events@1.0.0;
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
    presence, presence_watcher,
    types::{Availability, Contact, Error, EventInfo, SessionState},
    watcher_editor,
    watcher_types::{Decision, Watcher},
    watchers,
};
use exports::attache::messenger::{
    alert_events, contact_events, lifecycle, message_events, presence_events, session_events, timer_events,
    watched_presence_events, watcher_events,
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

impl alert_events::Guest for Probe {
    fn contact_alert(event: EventInfo, contact: u64, availability: Availability, note: String) {
        report(event.account, &format!("alert {contact} {availability:?} {note}"));
    }
}

impl watched_presence_events::Guest for Probe {
    fn watched_presence_changed(event: EventInfo, changes: Vec<watched_presence_events::WatchedChange>) {
        let changes: Vec<String> =
            changes.iter().map(|change| format!("{}:{:?}", change.address, change.availability)).collect();
        report(event.account, &format!("watched {}", changes.join(",")));
    }
}

impl watcher_events::Guest for Probe {
    fn watcher_requested(event: EventInfo, watcher: Watcher) {
        report(event.account, &format!("watcher {} {:?}", watcher.address, watcher.state));
        if let Err(error) = watcher_editor::answer(event.account, &watcher.address, Decision::Allow) {
            report(event.account, &error.name);
        }
    }

    fn watchers_changed(event: EventInfo) {
        let count = watchers::list_watchers(event.account).map_or(0, |watchers| watchers.len());
        report(event.account, &format!("watchers {count}"));
    }
}

/// Does what a message asks for: `watch ADDRESS`, `unwatch LEASE`, `why`.
fn obey(account: u64, text: &str) -> Option<Result<String, Error>> {
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    Some(match word {
        "watch" => presence_watcher::watch(account, rest, 60_000).map(|lease| format!("lease {lease}")),
        "unwatch" => presence_watcher::unwatch(account, rest.parse().unwrap_or_default())
            .map(|()| "unwatched".to_owned()),
        "look" => presence_watcher::get_watched(account, rest)
            .map(|seen| format!("looked {:?} {:?}", seen.availability, seen.freshness)),
        "why" => presence::why(account, None).map(|reasons| format!("why {}", reasons.len())),
        _ => return None,
    })
}

impl message_events::Guest for Probe {
    fn message_received(event: EventInfo, message: message_events::IncomingMessage) -> Result<(), String> {
        match obey(event.account, &message.text) {
            Some(Ok(done)) => report(event.account, &done),
            Some(Err(error)) => report(event.account, &format!("{}: {}", error.name, error.message)),
            None if message.text == "trap" => unreachable!("as it was told to"),
            None => {}
        }
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
