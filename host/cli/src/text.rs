//! Events and results as lines for a person.

use attache::{
    Address, ArchiveEntry, ContactEntry, Event, EventKind, Freshness, InstanceState, LoadState, MessageState,
    Origin, PluginStatus, Presence, SessionState,
};

use crate::json;

/// A line for an event, or none where a person has no use for it.
pub(crate) fn event(account: &Address, event: &Event) -> Vec<String> {
    let line = |words: String| format!("{} {account}: {words}", clock(event.at));
    let words = match &event.kind {
        EventKind::PresenceChanged(changes) => {
            return changes
                .iter()
                .map(|change| line(format!("{} is {}", change.address, presence(&change.presence))))
                .collect();
        }
        EventKind::SessionChanged { state, reason } => match (state, reason) {
            (SessionState::SignedOut, Some(error)) => format!("not signed in: {}", safe(&error.to_string())),
            (state, Some(error)) => format!("{}: {}", state.name(), safe(&error.to_string())),
            (state, None) => state.name().replace('-', " "),
        },
        EventKind::ContactAdded(it) => format!("{} is on the list now", it.address),
        EventKind::ContactChanged(it) => format!("{} has changed on the list", it.address),
        EventKind::ContactRemoved(it) => format!("{} is no longer on the list", it.address),
        EventKind::GroupAdded(it) => format!("group `{}` exists now", it.name),
        EventKind::GroupRenamed(it) => format!("a group is called `{}` now", it.name),
        EventKind::GroupRemoved(it) => format!("group `{}` is gone", it.name),
        EventKind::OwnPresenceChanged(it) => format!("published as {}", presence(it)),
        EventKind::MessageReceived(it) => {
            let how = if it.origin == Origin::Automatic { " (automatic)" } else { "" };
            format!("{} says{how}: {}", it.sender, safe(it.text.as_str()))
        }
        EventKind::MessageAccepted(it) => match &it.author {
            attache::Author::Plugin(name) => {
                format!("plugin {name} to {}: {}", it.recipient, safe(it.text.as_str()))
            }
            attache::Author::User => format!("to {}: {}", it.recipient, safe(it.text.as_str())),
        },
        EventKind::MessageStateChanged { recipient, state: MessageState::Failed(error), .. } => {
            format!("the message to {recipient} failed: {}", safe(&error.to_string()))
        }
        EventKind::MessageStateChanged { recipient, state, .. } => {
            format!("the message to {recipient} is {}", state.name())
        }
        EventKind::Diagnostic(text) => format!("note: {}", safe(text)),
        _ => return Vec::new(),
    };
    vec![line(words)]
}

/// One contact.
pub(crate) fn entry(entry: &ContactEntry) -> String {
    let name = if entry.contact.name.is_empty() {
        String::new()
    } else {
        format!(" ({})", safe(&entry.contact.name))
    };
    format!("{}{name} is {}", entry.contact.address, presence(&entry.presence))
}

/// One archived message.
pub(crate) fn archived(account: &Address, entry: &ArchiveEntry) -> String {
    let (from, to) = match entry.direction {
        attache::Direction::Incoming => (&entry.peer, account),
        attache::Direction::Outgoing => (account, &entry.peer),
    };
    let how = if entry.automatic { " (automatic)" } else { "" };
    format!("{} {from} to {to}{how}: {}", entry.at, safe(entry.text.as_str()))
}

/// Words for what is known of somebody.
pub(crate) fn presence(presence: &Presence) -> String {
    let mut words = match presence.availability {
        Some(availability) => availability.name().replace('-', " "),
        None => "unknown".to_owned(),
    };
    let said = presence.availability.map(attache::Availability::name);
    for activity in presence.activities.iter().filter(|activity| Some(&***activity) != said) {
        words.push_str(", ");
        words.push_str(&safe(&activity.replace('-', " ")));
    }
    if !presence.note.is_empty() {
        words.push_str(&format!(": \"{}\"", safe(&presence.note)));
    }
    match &presence.freshness {
        Freshness::Live => {}
        Freshness::Stale(since) => words.push_str(&format!(" (last known at {})", clock(*since))),
        Freshness::Unknown(reason) => {
            words.push_str(&format!(" ({})", json::unknown(reason).replace('-', " ")));
        }
        Freshness::Denied => words.push_str(" (may not be seen)"),
    }
    words
}

/// How a plugin is.
pub(crate) fn plugin(plugin: &PluginStatus) -> Vec<String> {
    let name = &plugin.name;
    let mut lines = match &plugin.load {
        LoadState::Refused { reason } => vec![format!("{name}: refused: {reason}")],
        LoadState::Loading => vec![format!("{name}: is being loaded")],
        _ => Vec::new(),
    };
    lines.extend(plugin.warnings.iter().map(|warning| format!("{name}: {warning}")));
    for instance in &plugin.instances {
        let state = match instance.state {
            InstanceState::Starting => "starting".to_owned(),
            InstanceState::Running => "running".to_owned(),
            InstanceState::BackingOff { until } => format!("starts again at {}", clock(until)),
            InstanceState::Quarantined { until } => format!("in quarantine until {}", clock(until)),
            InstanceState::Throttled { until } => format!("used up its CPU time until {}", clock(until)),
            InstanceState::Failed => "failed".to_owned(),
            _ => "stopped".to_owned(),
        };
        let counters = &instance.counters;
        let mut line =
            format!("{name}: {state}; {} events, {} restarts", counters.delivered, counters.restarts);
        for error in instance.last_error.iter().chain(&instance.last_denial) {
            line.push_str("; ");
            line.push_str(error);
        }
        lines.push(line);
    }
    lines
}

fn clock(at: attache::Timestamp) -> String {
    let text = at.to_string();
    text.get(11..19).map(str::to_owned).unwrap_or(text)
}

/// What others wrote, without what could steer a terminal.
pub(crate) fn safe(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c == '\n' {
                '⏎'
            } else if c.is_control() {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}
