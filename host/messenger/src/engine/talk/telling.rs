//! Who has to be told what: one thing at a time to each person, again where it did not arrive, and before their messages.

use core::time::Duration;
use std::{
    collections::{BTreeMap, HashMap},
    time::Instant,
};

use attache_sip::agent::{self, Cause, MessageParams};
use bytes::Bytes;

use super::{CONTRIBUTION, CONVERSATION, Document, MEDIA_TYPE, Member};
use crate::{
    address::Address,
    conversation::ParticipantState,
    engine::{Engine, conversations::After, outbox, wire::IDENTITY},
    error::Error,
    event::SessionState,
    id::ConversationId,
};

/// Attempts to tell one person, before they are told with the next message to them.
const ATTEMPTS: u32 = 6;
const PAUSE: Duration = Duration::from_secs(2);
const MAX_PAUSE: Duration = Duration::from_secs(120);

/// Who has to be told what.
#[derive(Debug, Default)]
pub(in crate::engine) struct Telling {
    tasks: BTreeMap<(ConversationId, Address), Task>,
    under_way: HashMap<agent::MessageId, (ConversationId, Address)>,
    /// How many tasks there are for each person: their messages wait until they know what those belong to.
    peers: HashMap<Address, u32>,
}

#[derive(Debug, Default)]
struct Task {
    attempts: u32,
    not_before: Option<Instant>,
    sending: bool,
    /// Something changed since it was sent.
    again: bool,
}

impl Telling {
    /// Whether somebody has to be told before messages go to them.
    pub(in crate::engine) fn concerns(&self, peer: &Address) -> bool {
        self.peers.contains_key(peer)
    }

    fn remove(&mut self, task: &(ConversationId, Address)) -> Option<Task> {
        let removed = self.tasks.remove(task)?;
        if let Some(count) = self.peers.get_mut(&task.1) {
            *count -= 1;
            if *count == 0 {
                self.peers.remove(&task.1);
            }
        }
        Some(removed)
    }

    pub(super) fn is_telling(&self, id: ConversationId) -> bool {
        self.tasks.keys().any(|(known, _)| *known == id)
    }
}

impl Engine {
    // ---- telling ----

    /// Somebody has to be told how a conversation stands.
    pub(in crate::engine) fn tell_others(&mut self, id: ConversationId, people: &[Address]) {
        let telling = &mut self.conversations.telling;
        for address in people {
            let task = (id, address.clone());
            if let Some(task) = telling.tasks.get_mut(&task) {
                task.again |= task.sending;
                continue;
            }
            *telling.peers.entry(address.clone()).or_default() += 1;
            telling.tasks.insert(task, Task::default());
        }
        self.tell_ready();
    }

    /// A new session: whoever could not be told is told now.
    pub(in crate::engine) fn resume_telling(&mut self) {
        for task in self.conversations.telling.tasks.values_mut() {
            task.not_before = None;
            task.attempts = 0;
        }
        let held = self.conversations.held.iter().filter(|(_, held)| !held.kept.untold.is_empty());
        let untold: Vec<_> = held.map(|(id, held)| (*id, held.kept.untold.clone())).collect();
        for (id, people) in untold {
            if self.view.conversations.contains_key(&id) {
                self.tell_others(id, &people);
            }
        }
        self.tell_ready();
    }

    pub(in crate::engine) fn telling_timeout(&self) -> Option<Instant> {
        if self.view.session != SessionState::SignedIn {
            return None;
        }
        self.conversations.telling.tasks.values().filter_map(|task| task.not_before).min()
    }

    /// Tells whoever may be told: one thing at a time to each person (RFC 3428, section 8).
    pub(in crate::engine) fn tell_ready(&mut self) {
        if self.view.session != SessionState::SignedIn || self.conversations.telling.tasks.is_empty() {
            return;
        }
        let now = self.now.instant;
        let due: Vec<_> = self
            .conversations
            .telling
            .tasks
            .iter()
            .filter(|(_, task)| !task.sending && task.not_before.is_none_or(|at| at <= now))
            .map(|(key, _)| key.clone())
            .collect();
        for (id, peer) in due {
            let telling = &self.conversations.telling;
            let busy = self.outbox.is_sending(&peer) || telling.under_way.values().any(|(_, it)| *it == peer);
            if busy {
                continue;
            }
            if telling.under_way.len() >= self.config.limits.sending {
                return;
            }
            let Some(params) = self.control(id, &peer) else {
                self.conversations.telling.remove(&(id, peer));
                continue;
            };
            let sent = self.agent.send_message(now, params);
            let telling = &mut self.conversations.telling;
            telling.under_way.insert(sent, (id, peer.clone()));
            if let Some(task) = telling.tasks.get_mut(&(id, peer)) {
                task.attempts += 1;
                task.not_before = None;
                task.sending = true;
                task.again = false;
            }
        }
    }

    /// The document as it stands.
    fn control(&mut self, id: ConversationId, peer: &Address) -> Option<MessageParams> {
        let kept = &self.conversations.held.get(&id)?.kept;
        let wire = kept.wire.clone()?;
        let me = Member {
            who: self.config.address.clone(),
            state: if kept.present { ParticipantState::Joined } else { ParticipantState::Left },
            since: kept.since,
        };
        let others = kept.conversation.participants.iter();
        let others =
            others.map(|one| Member { who: one.address.clone(), state: one.state, since: one.since });
        let document = Document {
            conversation: wire.clone(),
            kind: kept.conversation.kind,
            members: core::iter::once(me).chain(others).collect(),
            subject: kept.conversation.subject.clone(),
            context: kept.conversation.context.clone(),
        };
        let body = Bytes::from(serde_json::to_vec(&document).ok()?);
        let to = peer.to_uri().ok()?;
        let identity = self.next_id();
        let call_id = format!("{:016x}{identity:016x}@attache", self.random());
        Some(MessageParams {
            to,
            content_type: MEDIA_TYPE.to_owned(),
            body,
            headers: vec![
                (IDENTITY.to_owned(), identity.to_string()),
                (CONVERSATION.to_owned(), wire.to_string()),
                (CONTRIBUTION.to_owned(), wire.to_string()),
            ],
            call_id,
        })
    }

    /// Somebody answered a document of ours; false when the message was another one.
    pub(in crate::engine) fn on_told(
        &mut self,
        sent: agent::MessageId,
        outcome: Result<u16, (&Cause, Option<Duration>)>,
    ) -> bool {
        let Some((id, peer)) = self.conversations.telling.under_way.remove(&sent) else { return false };
        let pause = match outcome {
            Ok(status) => {
                // 202 is a service that keeps it: nobody has read it yet.
                let state = (status != 202).then_some(ParticipantState::Joined);
                self.told(id, &peer, state, None);
                None
            }
            Err((cause, retry)) => match cause.status() {
                // They take messages, and do not know what a conversation is.
                Some(405 | 406 | 415 | 420 | 488 | 501) => {
                    self.told(id, &peer, None, None);
                    None
                }
                Some(403 | 404 | 410 | 603 | 604 | 606) => {
                    let failure = outbox::failure(cause);
                    self.told(id, &peer, Some(ParticipantState::Left), Some(failure));
                    None
                }
                // Nobody is there at present. With the next message to them they are told again.
                Some(480 | 486 | 600) => {
                    self.not_told(id, &peer, cause);
                    None
                }
                _ => Some(retry),
            },
        };
        if let (Some(retry), Err((cause, _))) = (pause, outcome) {
            self.tell_again(id, &peer, cause, retry);
        }
        self.outbox.wake(&peer);
        self.send_ready();
        true
    }

    fn tell_again(&mut self, id: ConversationId, peer: &Address, cause: &Cause, retry: Option<Duration>) {
        let away = cause.is_outage() && self.view.session != SessionState::SignedIn;
        let chance = self.random() % 512;
        let now = self.now.instant;
        let Some(task) = self.conversations.telling.tasks.get_mut(&(id, peer.clone())) else { return };
        task.sending = false;
        if away {
            task.attempts -= 1;
        } else if task.attempts >= ATTEMPTS {
            return self.not_told(id, peer, cause);
        }
        let doubled = PAUSE.saturating_mul(1 << task.attempts.min(8)).min(MAX_PAUSE);
        let pause = doubled.mul_f64(0.5 + chance as f64 / 1024.0);
        task.not_before = Some(now + pause.max(retry.unwrap_or_default().min(MAX_PAUSE)));
        if cause.is_outage() {
            self.suspect_outage();
        }
    }

    /// Somebody knows, or never will.
    fn told(
        &mut self,
        id: ConversationId,
        peer: &Address,
        state: Option<ParticipantState>,
        failure: Option<Error>,
    ) {
        let key = (id, peer.clone());
        let again = self.conversations.telling.tasks.get(&key).is_some_and(|task| task.again);
        if again {
            // What was said meanwhile is still to be told.
            self.conversations.telling.tasks.insert(key, Task::default());
            return;
        }
        self.conversations.telling.remove(&key);
        let at = self.now.wall;
        let Some(held) = self.conversations.held.get_mut(&id) else { return };
        held.failure = failure.or(held.failure.take());
        let mut kept = held.kept.clone();
        kept.untold.retain(|one| one != peer);
        let people = &mut kept.conversation.participants;
        let one = people.iter_mut().find(|one| one.address == *peer);
        if let (Some(state), Some(one)) = (state, one)
            && one.state == ParticipantState::Invited
        {
            one.state = state;
            one.since = at.max(one.since + Duration::from_millis(1));
        }
        self.stage(kept, After::Nothing);
    }

    fn not_told(&mut self, id: ConversationId, peer: &Address, cause: &Cause) {
        self.conversations.telling.remove(&(id, peer.clone()));
        if let Some(held) = self.conversations.held.get_mut(&id) {
            held.failure = Some(outbox::failure(cause));
        }
        self.complete_told(id);
    }

    /// A conversation is forgotten.
    pub(in crate::engine) fn forget_telling(&mut self, id: ConversationId) {
        let telling = &mut self.conversations.telling;
        let tasks: Vec<_> = telling.tasks.keys().filter(|(known, _)| *known == id).cloned().collect();
        for task in tasks {
            telling.remove(&task);
        }
    }
}
