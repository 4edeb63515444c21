//! Events and results as JSON, one object a line, named as in `wit/`.
//!
//! Handles are strings: they have 64 bits, and many readers of JSON keep 53 of a number.

use attache::{
    Address, ArchiveEntry, Call, CallState, Conflict, ConflictAbout, Contact, ContactEntry, Conversation,
    Delivery, Error, Event, EventKind, FileState, FileTransfer, Freshness, IncomingMessage, MessageState,
    Origin, OutboxItem, OutgoingMessage, Presence, Preview, PreviewReason, Profile, Reloaded, Retry, Rule,
    ServiceReport, Snapshot, TranscriptEntry, UnknownReason, Waiting, Watcher, WatcherState, XcapState,
};
use serde_json::{Map, Value, json};

/// The lines of one event: one, except that a batch of presence changes has one for each contact, all with the
/// batch's `seq`.
pub(crate) fn event(account: &Address, event: &Event) -> Vec<Value> {
    let line = |fields: Value| {
        let mut object = Map::new();
        object.insert("seq".to_owned(), event.seq.into());
        object.insert("at".to_owned(), event.at.to_string().into());
        object.insert("account".to_owned(), account.as_str().into());
        object.insert("event".to_owned(), event.kind.name().into());
        if let Value::Object(fields) = fields {
            object.extend(fields);
        }
        Value::Object(object)
    };
    let fields = match &event.kind {
        EventKind::PresenceChanged(changes) => {
            return changes
                .iter()
                .map(|change| {
                    let mut fields = presence(&change.presence);
                    fields.insert("contact".to_owned(), change.address.as_str().into());
                    fields.insert("contact-id".to_owned(), change.contact.to_string().into());
                    line(Value::Object(fields))
                })
                .collect();
        }
        EventKind::WatchedPresenceChanged(changes) => {
            return changes
                .iter()
                .map(|change| {
                    let mut fields = presence(&change.presence);
                    fields.insert("address".to_owned(), change.address.as_str().into());
                    line(Value::Object(fields))
                })
                .collect();
        }
        EventKind::ContactAlert { contact, address, presence: now } => {
            let mut fields = presence(now);
            fields.insert("contact".to_owned(), address.as_str().into());
            fields.insert("contact-id".to_owned(), contact.to_string().into());
            Value::Object(fields)
        }
        EventKind::ReportChanged(it) => report(it),
        EventKind::WatcherRequested(it) => Value::Object(watcher(it)),
        EventKind::RulesChanged(rules) => json!({ "rules": rules.iter().map(rule).collect::<Vec<_>>() }),
        EventKind::RosterConflict(it) | EventKind::ConflictSettled(it) => conflict(it),
        EventKind::TokenNeeded(it) => json!({
            "realm": &*it.realm,
            "authz-server": it.authz_server.as_deref(),
            "scope": it.scope.as_deref(),
            "error": it.error.as_deref(),
            "insecure": it.insecure,
        }),
        EventKind::SessionChanged { state, reason } => {
            json!({ "state": state.name(), "reason": reason.as_ref().map(failure) })
        }
        EventKind::ContactAdded(it) | EventKind::ContactChanged(it) | EventKind::ContactRemoved(it) => {
            Value::Object(contact(it))
        }
        EventKind::GroupAdded(it) | EventKind::GroupRenamed(it) | EventKind::GroupRemoved(it) => {
            json!({ "group-id": it.id.to_string(), "name": &*it.name })
        }
        EventKind::OwnPresenceChanged(it) => Value::Object(presence(it)),
        EventKind::MessageReceived(it) => incoming(it),
        EventKind::MessageAccepted(it) => outgoing(it),
        EventKind::MessageStateChanged { message, conversation, recipient, state } => json!({
            "message": message.to_string(),
            "conversation": conversation.to_string(),
            "to": recipient.as_str(),
            "state": state.name(),
            "reason": match state { MessageState::Failed(error) => failure(error), _ => Value::Null },
        }),
        EventKind::ConversationOpened(it) | EventKind::ConversationClosed(it) => conversation(it),
        EventKind::ConversationChanged(it) => conversation(it),
        EventKind::ParticipantJoined { conversation, participant }
        | EventKind::ParticipantLeft { conversation, participant } => json!({
            "conversation": conversation.to_string(),
            "address": participant.address.as_str(),
        }),
        EventKind::CallChanged(it) => call(it),
        EventKind::FileChanged(it) => file(it),
        EventKind::ComposingChanged { who, conversation, active, .. } => json!({
            "address": who.as_str(),
            "conversation": conversation.map(|id| id.to_string()),
            "active": active,
        }),
        EventKind::OwnProfileChanged { profile: it, .. } => profile(it),
        EventKind::ContactProfileChanged { address, profile: it, .. } => {
            let mut fields = profile(it);
            fields["contact"] = address.as_str().into();
            fields
        }
        EventKind::ContactBlockedChanged { address, blocked, .. } => {
            json!({ "contact": address.as_str(), "blocked": blocked })
        }
        EventKind::CommandCompleted { request, outcome } => match outcome {
            Ok(()) => json!({ "request": request.to_string(), "ok": true }),
            Err(error) => json!({ "request": request.to_string(), "ok": false, "reason": failure(error) }),
        },
        EventKind::Diagnostic(text) => json!({ "text": &**text }),
        _ => json!({}),
    };
    vec![line(fields)]
}

/// The state from which a reader that fell behind starts again.
pub(crate) fn reset(snapshot: &Snapshot) -> Value {
    json!({
        "seq": snapshot.seq,
        "account": snapshot.address.as_str(),
        "event": "reset",
        "state": snapshot.session.name(),
        "contacts": snapshot.contacts.values().map(entry).collect::<Vec<_>>(),
    })
}

/// One contact with its presence.
pub(crate) fn entry(entry: &ContactEntry) -> Value {
    let mut fields = contact(&entry.contact);
    fields.extend(presence(&entry.presence));
    Value::Object(fields)
}

/// One failure.
pub(crate) fn failure(error: &Error) -> Value {
    let retry = match error.retry_hint() {
        Retry::Never => json!("never"),
        Retry::After(time) => json!({ "after-ms": u64::try_from(time.as_millis()).unwrap_or(u64::MAX) }),
        _ => json!("after-change"),
    };
    json!({
        "code": error.code().name(),
        "number": format!("{:#010x}", error.code().number()),
        "message": error.message(),
        "cause": error.cause(),
        "retry": retry,
    })
}

/// One archived message.
pub(crate) fn archived(entry: &ArchiveEntry) -> Value {
    json!({
        "message": entry.message.to_string(),
        "conversation": entry.conversation.to_string(),
        "at": entry.at.to_string(),
        "direction": match entry.direction {
            attache::Direction::Incoming => "incoming",
            attache::Direction::Outgoing => "outgoing",
        },
        "peer": entry.peer.as_str(),
        "text": entry.content.text(),
        "automatic": entry.automatic,
    })
}

fn contact(contact: &Contact) -> Map<String, Value> {
    let mut fields = Map::new();
    fields.insert("contact".to_owned(), contact.address.as_str().into());
    fields.insert("contact-id".to_owned(), contact.id.to_string().into());
    fields.insert("name".to_owned(), (*contact.name).into());
    fields.insert(
        "groups".to_owned(),
        contact.groups.iter().map(ToString::to_string).collect::<Vec<_>>().into(),
    );
    fields
}

/// What is known of somebody.
pub(crate) fn presence(presence: &Presence) -> Map<String, Value> {
    let mut fields = Map::new();
    let availability = presence.availability.map_or("unknown", attache::Availability::name);
    fields.insert("availability".to_owned(), availability.into());
    let (freshness, detail) = match &presence.freshness {
        Freshness::Live => ("live", Value::Null),
        Freshness::Stale(since) => ("stale", json!({ "since": since.to_string() })),
        Freshness::Unknown(reason) => ("unknown", json!({ "reason": unknown(reason) })),
        Freshness::Denied => ("denied", Value::Null),
    };
    fields.insert("freshness".to_owned(), freshness.into());
    if let Value::Object(detail) = detail {
        fields.extend(detail);
    }
    fields.insert("note".to_owned(), (*presence.note).into());
    let activities: Vec<&str> = presence.activities.iter().map(|activity| &**activity).collect();
    fields.insert("activities".to_owned(), activities.into());
    if let Some(at) = presence.next_change_at {
        fields.insert("next-change-at".to_owned(), at.to_string().into());
    }
    fields
}

/// Somebody who watches, or wants to.
pub(crate) fn watcher(watcher: &Watcher) -> Map<String, Value> {
    let mut fields = Map::new();
    fields.insert("address".to_owned(), watcher.address.as_str().into());
    fields.insert("name".to_owned(), (*watcher.name).into());
    fields.insert("state".to_owned(), watcher.state.name().into());
    fields.insert("since".to_owned(), watcher.since.to_string().into());
    fields
}

/// One rule.
pub(crate) fn rule(rule: &Rule) -> Value {
    json!({ "who": rule.who.to_string(), "decision": rule.decision.name(), "pending": rule.pending })
}

/// What somebody sees.
pub(crate) fn preview(preview: &Preview) -> Value {
    let mut fields = presence(&preview.presence);
    let decision = preview.decision.map(attache::Decision::name);
    fields.insert("decision".to_owned(), decision.into());
    let reasons: Vec<String> = preview.reasons.iter().map(reason).collect();
    fields.insert("reasons".to_owned(), reasons.into());
    Value::Object(fields)
}

/// One step of the way to what somebody sees.
pub(crate) fn reason(reason: &PreviewReason) -> String {
    match reason {
        PreviewReason::Rule(name) => format!("the rule `{name}` applies"),
        PreviewReason::NoRule => "no rule applies: the service does what it does by default".to_owned(),
        PreviewReason::Watcher(WatcherState::Active) => "the service lets them watch".to_owned(),
        PreviewReason::Watcher(_) => "the service lets them wait for an answer".to_owned(),
        PreviewReason::NoRules => "the service takes no rules from here and decides by itself".to_owned(),
        PreviewReason::Hidden(what) => format!("the rules hide the {what}"),
        PreviewReason::Presence(reason) => reason.to_string(),
        _ => "for a reason that is not known here".to_owned(),
    }
}

/// Two edits that cannot both hold.
pub(crate) fn conflict(conflict: &Conflict) -> Value {
    let (what, about) = match &conflict.about {
        ConflictAbout::Contact(address) => ("contact", address.as_str()),
        ConflictAbout::Group(name) => ("group", &**name),
        _ => ("other", ""),
    };
    json!({
        "conflict": conflict.id.to_string(),
        "about": what,
        what: about,
        "mine": conflict.mine.as_deref(),
        "theirs": conflict.theirs.as_deref(),
        "shown": match conflict.shown {
            attache::Side::Mine => "mine",
            attache::Side::Theirs => "theirs",
        },
        "found-at": conflict.at.to_string(),
    })
}

/// What the service can do, how it is used, and what it refused.
pub(crate) fn report(report: &ServiceReport) -> Value {
    let watching: Vec<Value> = report
        .watching
        .iter()
        .map(|it| json!({ "strategy": it.strategy.name(), "people": it.people, "reason": &*it.reason }))
        .collect();
    let refused: Vec<Value> = report
        .refused
        .iter()
        .map(|it| {
            json!({
                "feature": &*it.feature,
                "status": it.status,
                "sentence": &*it.sentence,
                "advice": &*it.advice,
                "at": it.at.to_string(),
            })
        })
        .collect();
    json!({
        "watching": watching,
        "refused": refused,
        "service": {
            "server": &*report.service.server,
            "allow": words(&report.service.allow),
            "supported": words(&report.service.supported),
            "allow-events": words(&report.service.allow_events),
        },
        "xcap": xcap(&report.xcap),
        "xcap-offers": report.xcap_offers.as_deref().map(|auids| auids.iter().map(|auid| &**auid).collect::<Vec<_>>()),
        "outbound-flows": report.outbound_flows,
        "gruu": report.gruu.as_deref(),
        "clock-skew-ms": report.clock_skew,
        "next-refresh": report.next_refresh.map(|at| at.to_string()),
        "budget-waits": report.budget_waits,
    })
}

fn words(list: &[std::sync::Arc<str>]) -> Vec<&str> {
    list.iter().map(|word| &**word).collect()
}

fn xcap(state: &XcapState) -> Value {
    match state {
        XcapState::Off => json!({ "state": "off" }),
        XcapState::Syncing => json!({ "state": "syncing" }),
        XcapState::Synced { at } => json!({ "state": "synced", "at": at.to_string() }),
        XcapState::Offline { since, cause } => {
            json!({ "state": "offline", "since": since.to_string(), "cause": &**cause })
        }
        XcapState::Refused { status, sentence, advice } => json!({
            "state": "refused", "status": status, "sentence": &**sentence, "advice": &**advice,
        }),
        _ => json!({ "state": "other" }),
    }
}

/// What a reload has done.
pub(crate) fn reloaded(report: &Reloaded) -> Value {
    let names = |list: &[Address]| list.iter().map(|it| it.as_str().to_owned()).collect::<Vec<_>>();
    let failed: Vec<Value> = report
        .failed
        .iter()
        .map(|(address, error)| json!({ "address": address.as_str(), "reason": failure(error) }))
        .collect();
    json!({
        "added": names(&report.added),
        "removed": names(&report.removed),
        "changed": names(&report.changed),
        "unchanged": report.unchanged,
        "failed": failed,
        "needs-restart": report.needs_restart,
    })
}

/// The name in `wit/`, or the service's own words.
pub(crate) fn unknown(reason: &UnknownReason) -> &str {
    match reason {
        UnknownReason::Pending => "pending",
        UnknownReason::SignedOut => "signed-out",
        UnknownReason::ServiceUnavailable => "service-unavailable",
        UnknownReason::NotFound => "not-found",
        UnknownReason::Other(words) => words,
        _ => "other",
    }
}

fn incoming(message: &IncomingMessage) -> Value {
    json!({
        "message": message.id.to_string(),
        "conversation": message.conversation.to_string(),
        "from": message.sender.as_str(),
        "text": message.content.text(),
        "automatic": message.origin == Origin::Automatic,
        "sent-at": message.sent_at.map(|at| at.to_string()),
    })
}

fn outgoing(message: &OutgoingMessage) -> Value {
    let author = match &message.author {
        attache::Author::User => Value::Null,
        attache::Author::Plugin(name) => (**name).into(),
    };
    json!({
        "message": message.id.to_string(),
        "conversation": message.conversation.to_string(),
        "to": message.recipient().as_str(),
        "text": message.content.text(),
        "automatic": message.origin == Origin::Automatic,
        "plugin": author,
    })
}

pub(crate) fn conversation(conversation: &Conversation) -> Value {
    json!({
        "conversation": conversation.id.to_string(),
        "participants": conversation.present().map(Address::as_str).collect::<Vec<_>>(),
        "kind": conversation.kind.name(),
        "subject": &*conversation.subject,
        "opened-at": conversation.opened_at.to_string(),
        "closed-at": conversation.closed_at.map(|at| at.to_string()),
    })
}

/// One call.
pub(crate) fn call(call: &Call) -> Value {
    let reason = match &call.state {
        CallState::Ended(reason) => reason.as_ref(),
        _ => None,
    };
    json!({
        "call": call.id.to_string(),
        "peer": call.peer.as_str(),
        "conversation": call.conversation.to_string(),
        "incoming": call.incoming,
        "media": call.media.name(),
        "state": call.state.name(),
        "reason": reason.map(failure),
        "started-at": call.started_at.to_string(),
        "connected-at": call.connected_at.map(|at| at.to_string()),
        "ended-at": call.ended_at.map(|at| at.to_string()),
    })
}

/// Who somebody is.
pub(crate) fn profile(profile: &Profile) -> Value {
    let phones: Map<String, Value> = profile
        .phones
        .iter()
        .map(|(kind, number)| (kind.name().to_owned(), number.as_str().into()))
        .collect();
    json!({
        "name": &*profile.display_name,
        "email": profile.email.as_deref(),
        "phones": phones,
        "homepage": profile.homepage.as_deref(),
        "icon": profile.icon.as_deref(),
    })
}

/// One line of a transcript; none for what this program does not know.
pub(crate) fn transcript_entry(entry: &TranscriptEntry) -> Option<Value> {
    Some(match entry {
        TranscriptEntry::Incoming(message) => incoming(message),
        TranscriptEntry::Outgoing(message) => outgoing(message),
        TranscriptEntry::Participant { participant } => json!({
            "address": participant.address.as_str(),
            "state": participant.state.name(),
            "at": participant.since.to_string(),
        }),
        TranscriptEntry::Call(it) => call(it),
        _ => return None,
    })
}

/// A message that has not left, and why.
pub(crate) fn outbox_item(item: &OutboxItem) -> Value {
    let waiting = |it: &Waiting| {
        json!({
            "recipient": it.recipient.as_str(),
            "reason": it.reason.name(),
            "attempts": it.attempts,
            "last-error": it.last_error.as_ref().map(failure),
            "next-try": it.next_try.map(|at| at.to_string()),
        })
    };
    json!({
        "message": item.message.id.to_string(),
        "waiting": item.waiting.iter().map(waiting).collect::<Vec<_>>(),
    })
}

/// Where a message is at one recipient.
pub(crate) fn delivery(delivery: &Delivery) -> Value {
    json!({
        "recipient": delivery.recipient.as_str(),
        "state": delivery.state.name(),
        "since": delivery.since.to_string(),
    })
}

/// One file on its way.
pub(crate) fn file(file: &FileTransfer) -> Value {
    let reason = match &file.state {
        FileState::Ended(reason) => Some(failure(reason)),
        _ => None,
    };
    json!({
        "file": file.id.to_string(),
        "peer": file.peer.as_str(),
        "conversation": file.conversation.to_string(),
        "incoming": file.incoming,
        "name": &*file.name,
        "media-type": &*file.media_type,
        "size": file.size,
        "done": file.done,
        "state": file.state.name(),
        "reason": reason,
    })
}
