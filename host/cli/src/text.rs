//! Events and results as lines for a person.

use attache::{
    Address, ArchiveEntry, Call, CallState, Conflict, ConflictAbout, ContactEntry, Event, EventKind,
    FileState, FileTransfer, Freshness, InstanceState, LoadState, MessageState, Origin, OutboxItem,
    PluginStatus, Presence, Preview, Profile, Reloaded, Rule, ServiceReport, SessionState, TranscriptEntry,
    Waiting, Watcher, XcapState,
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
        EventKind::WatchedPresenceChanged(changes) => {
            return changes
                .iter()
                .map(|change| line(format!("{} is {}", change.address, presence(&change.presence))))
                .collect();
        }
        EventKind::ContactAlert { address, presence: now, .. } => {
            format!("now: {address} is {}", presence(now))
        }
        EventKind::WatcherRequested(it) => {
            format!("{} wants to see your presence: `answer {} allow` or `block`", who(it), it.address)
        }
        EventKind::RulesChanged(_) => "the rules about who may see you have changed".to_owned(),
        EventKind::RosterConflict(it) => format!("a conflict: {}", conflict(it)),
        EventKind::ConflictSettled(it) => format!("settled: {}", conflict(it)),
        EventKind::RosterSynced => "the contact list is the same here and on the service".to_owned(),
        EventKind::TokenNeeded(it) if it.insecure => {
            "the service wants a token, and none is sent over this transport: use transport=tls or wss"
                .to_owned()
        }
        EventKind::TokenNeeded(it) => {
            let realm = safe(&it.realm);
            match &it.authz_server {
                Some(server) => {
                    format!("the service wants a token for {realm}, from {}: `set-token TOKEN`", safe(server))
                }
                None => format!("the service wants a token for {realm}: `set-token TOKEN`"),
            }
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
            format!("{} says{how}: {}", it.sender, safe(it.content.text()))
        }
        EventKind::MessageAccepted(it) => match &it.author {
            attache::Author::Plugin(name) => {
                format!("plugin {name} to {}: {}", it.recipient(), safe(it.content.text()))
            }
            attache::Author::User => format!("to {}: {}", it.recipient(), safe(it.content.text())),
        },
        EventKind::MessageStateChanged { recipient, state: MessageState::Failed(error), .. } => {
            format!("the message to {recipient} failed: {}", safe(&error.to_string()))
        }
        EventKind::MessageStateChanged { recipient, state, .. } => {
            format!("the message to {recipient} is {}", state.name())
        }
        EventKind::ParticipantJoined { conversation, participant } => {
            format!("{} takes part in conversation {conversation}", participant.address)
        }
        EventKind::ParticipantLeft { conversation, participant } => {
            format!("{} has left conversation {conversation}", participant.address)
        }
        EventKind::CallChanged(it) => call(it),
        EventKind::FileChanged(it) => file(it),
        EventKind::ComposingChanged { who, active: true, .. } => format!("{who} writes"),
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
    format!("{} {from} to {to}{how}: {}", entry.at, safe(entry.content.text()))
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

fn who(watcher: &Watcher) -> String {
    if watcher.name.is_empty() {
        watcher.address.to_string()
    } else {
        format!("{} (calls themselves {})", watcher.address, safe(&watcher.name))
    }
}

/// Somebody who watches, or wants to.
pub(crate) fn watcher(watcher: &Watcher) -> String {
    format!("{}: {} since {}", who(watcher), watcher.state.name(), watcher.since)
}

/// One rule.
pub(crate) fn rule(rule: &Rule) -> String {
    let pending = if rule.pending { " (the service does not know it yet)" } else { "" };
    format!("{}: {}{pending}", rule.who, rule.decision.name())
}

/// What somebody sees.
pub(crate) fn preview(address: &str, preview: &Preview) -> Vec<String> {
    let mut lines = vec![format!("{} sees: {}", safe(address), presence(&preview.presence))];
    lines.extend(preview.reasons.iter().map(|reason| format!("because {}", safe(&json::reason(reason)))));
    lines
}

/// Two edits that cannot both hold.
pub(crate) fn conflict(conflict: &Conflict) -> String {
    let about = match &conflict.about {
        ConflictAbout::Contact(address) => format!("contact {address}"),
        ConflictAbout::Group(name) => format!("group `{}`", safe(name)),
        _ => "something".to_owned(),
    };
    let side = |name: &Option<std::sync::Arc<str>>| match name {
        Some(name) => format!("`{}`", safe(name)),
        None => "removed".to_owned(),
    };
    format!("{}: {about}: here {}, elsewhere {}", conflict.id, side(&conflict.mine), side(&conflict.theirs))
}

/// What the service can do, how it is used, and what it refused.
pub(crate) fn report(report: &ServiceReport) -> Vec<String> {
    let list = |words: &[std::sync::Arc<str>]| {
        if words.is_empty() { "not said".to_owned() } else { safe(&words.join(", ")) }
    };
    let service = &report.service;
    let mut lines = Vec::new();
    if !service.server.is_empty() {
        lines.push(format!("service: {}", safe(&service.server)));
    }
    lines.push(format!("methods: {}", list(&service.allow)));
    lines.push(format!("events: {}", list(&service.allow_events)));
    lines.push(format!("extensions: {}", list(&service.supported)));
    for it in &report.watching {
        let people = if it.people == 1 { "person" } else { "people" };
        let (number, how) = (it.people, it.strategy.name());
        lines.push(format!("watching: {number} {people} by {how}: {}", safe(&it.reason)));
    }
    lines.push(format!("contacts and rules on the service: {}", xcap(&report.xcap)));
    if report.outbound_flows > 0 {
        lines.push(format!("flows (RFC 5626): {}", report.outbound_flows));
    }
    if let Some(gruu) = &report.gruu {
        lines.push(format!("address of this device: {}", safe(gruu)));
    }
    if let Some(skew) = report.clock_skew {
        lines.push(format!("clock: {}", clock_skew(skew)));
    }
    if let Some(at) = report.next_refresh {
        lines.push(format!("the registration is refreshed at {at}"));
    }
    for it in &report.refused {
        let status = it.status.map(|status| format!(" ({status})")).unwrap_or_default();
        let advice = if it.advice.is_empty() { String::new() } else { format!("; {}", it.advice) };
        lines.push(format!("refused: {}{status}: {}{}", it.feature, safe(&it.sentence), safe(&advice)));
    }
    lines
}

/// Words for how far the service's clock is ahead of ours, in milliseconds.
pub(crate) fn clock_skew(skew: i64) -> String {
    match (skew.abs() / 1000, skew > 0) {
        (0..=2, _) => "as the service's".to_owned(),
        (seconds, true) => format!("{seconds} s behind the service's"),
        (seconds, false) => format!("{seconds} s ahead of the service's"),
    }
}

/// Words for how contacts and rules are kept on the service.
pub(crate) fn xcap(state: &XcapState) -> String {
    match state {
        XcapState::Off => "no XCAP root is configured, they are kept here".to_owned(),
        XcapState::Syncing => "being brought up to date".to_owned(),
        XcapState::Synced { at } => format!("the same as here since {at}"),
        XcapState::Offline { since, cause } => format!("not reachable since {since}: {}", safe(cause)),
        XcapState::Refused { status, sentence, .. } => format!("refused ({status}): {}", safe(sentence)),
        _ => "in a state that is not known here".to_owned(),
    }
}

/// What a reload has done.
pub(crate) fn reloaded(report: &Reloaded) -> Vec<String> {
    let mut lines = Vec::new();
    for (what, list) in [("added", &report.added), ("removed", &report.removed), ("changed", &report.changed)]
    {
        lines.extend(list.iter().map(|address| format!("{what}: {address}")));
    }
    lines.push(format!("as before: {}", report.unchanged));
    for (address, error) in &report.failed {
        lines.push(format!("failed: {address}: {}", safe(&error.to_string())));
    }
    for key in &report.needs_restart {
        lines.push(format!("`{key}` takes effect when the program is started again"));
    }
    lines
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

/// One call.
pub(crate) fn call(call: &Call) -> String {
    let direction = if call.incoming { "from" } else { "to" };
    let state = match &call.state {
        CallState::Ended(Some(error)) => format!("failed: {}", safe(&error.to_string())),
        state => state.name().replace('-', " "),
    };
    format!("call {} {direction} {}: {state}", call.id, call.peer)
}

/// One line of a transcript; none for what this program does not know.
pub(crate) fn transcript_entry(account: &Address, entry: &TranscriptEntry) -> Option<String> {
    Some(match entry {
        TranscriptEntry::Incoming(it) => {
            format!("{} {}: {}", it.received_at, it.sender, safe(it.content.text()))
        }
        TranscriptEntry::Outgoing(it) => format!("{} {account}: {}", it.accepted_at, safe(it.content.text())),
        TranscriptEntry::Participant { participant } => {
            format!("{} {}: {}", participant.since, participant.address, participant.state.name())
        }
        TranscriptEntry::Call(it) => format!("{} {}", it.ended_at.unwrap_or(it.started_at), call(it)),
        _ => return None,
    })
}

/// A message that has not left, and why: a line for each recipient.
pub(crate) fn outbox_item(item: &OutboxItem) -> Vec<String> {
    let line = |it: &Waiting| {
        let error =
            it.last_error.as_ref().map(|error| format!(", {}", safe(&error.to_string()))).unwrap_or_default();
        format!("{} to {}: waits for its {}{error}", item.message.id, it.recipient, it.reason.name())
    };
    item.waiting.iter().map(line).collect()
}

/// Who somebody is.
pub(crate) fn profile(profile: &Profile) -> Vec<String> {
    let mut lines = Vec::new();
    if !profile.display_name.is_empty() {
        lines.push(safe(&profile.display_name));
    }
    lines.extend(profile.phones.iter().map(|(kind, number)| format!("{}: {number}", kind.name())));
    let rest = [("mail", &profile.email), ("page", &profile.homepage), ("picture", &profile.icon)];
    lines.extend(rest.into_iter().filter_map(|(name, it)| Some(format!("{name}: {}", safe(it.as_ref()?)))));
    lines
}

/// One file on its way.
pub(crate) fn file(file: &FileTransfer) -> String {
    let direction = if file.incoming { "from" } else { "to" };
    let state = match &file.state {
        FileState::Ended(error) => format!("ended: {}", safe(&error.to_string())),
        FileState::Offered if file.incoming => {
            format!("offered: `accept-file {} PATH` or `decline-file {}`", file.id, file.id)
        }
        state => format!("{}, {} of {} bytes", state.name(), file.done, file.size),
    };
    format!("file {} {direction} {}, {}: {state}", file.id, file.peer, safe(&file.name))
}
