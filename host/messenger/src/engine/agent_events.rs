//! What the agent reports, and who deals with it.

use std::sync::Arc;

use attache_sip::agent::AgentEvent;

use super::{Engine, inbox::Asker, outbox::Carrier, setup::describe};
use crate::event::{EventKind, TokenNeeded};

impl Engine {
    pub(super) fn on_agent_event(&mut self, event: AgentEvent) {
        match event {
            AgentEvent::Registered(registered) => {
                self.note_registered(&registered);
                self.on_registered();
            }
            AgentEvent::Flow { reg_id, state } => self.note_flow(reg_id, &state),
            AgentEvent::TokenNeeded(needed) => {
                let needed = TokenNeeded {
                    realm: needed.realm.into(),
                    authz_server: needed.authz_server.map(Into::into),
                    scope: needed.scope.map(Into::into),
                    error: needed.error.map(Into::into),
                    insecure: needed.insecure,
                };
                self.ledger.emit(self.now.wall, EventKind::TokenNeeded(Arc::new(needed)));
            }
            AgentEvent::ServiceLearnt(learnt) => self.on_service_learnt(&learnt),
            AgentEvent::RegistrationFailed { cause, retry, remaining } => {
                self.on_registration_failed(&cause, retry, remaining);
            }
            AgentEvent::Unregistered { .. } => self.on_unregistered(),
            AgentEvent::Subscription { id, state, notify, terms } => {
                if notify.is_some() || !state.is_final() && !is_retrying(&state) {
                    self.alive();
                }
                if self.is_followed(id) {
                    let document = notify.as_ref().map(|notify| &*notify.body);
                    self.on_followed(id, &state, document);
                } else if self.is_roster(id) {
                    let document = notify.as_ref().map(|notify| &*notify.body);
                    self.on_roster(id, &state, document);
                } else if let Some(package) = self.mailbox.package(id) {
                    self.on_mailbox(package, &state, notify);
                } else if self.watchers.owns(id) {
                    self.on_watchers(&state, notify);
                } else if self.sync.changes.owns(id) {
                    self.on_changes(&state, notify);
                } else {
                    self.on_subscription(id, state, notify, &terms);
                }
            }
            AgentEvent::ForkEnded { id, fork } => self.on_fork_ended(id, fork),
            AgentEvent::Publication { id, state } => self.on_publication(id, &state),
            AgentEvent::MessageSent { id, status } => {
                self.alive();
                if !self.on_told(id, Ok(status)) {
                    self.on_message_sent(Carrier::Message(id), status);
                }
            }
            AgentEvent::MessageFailed { id, cause, retry } => {
                if cause.status().is_some() {
                    self.alive();
                }
                if !self.on_told(id, Err((&cause, retry))) {
                    self.on_message_failed(Carrier::Message(id), &cause, retry);
                }
            }
            AgentEvent::MessageReceived { id, message, .. } => self.on_message(Asker::Sip(id), &message),
            AgentEvent::Invite { id, event } => self.on_session_event(id, event),
            AgentEvent::Refer { id, event } => self.on_refer_event(id, &event),
            AgentEvent::ReferReceived(request) => self.on_referral(&request),
            AgentEvent::Response { id, .. } => self.on_probe_answered(id),
            AgentEvent::RequestFailed { id, cause } => self.on_probe_failed(id, &cause),
            AgentEvent::Diagnostic(diagnostic) => self.diagnose(describe(&diagnostic)),
            _ => {}
        }
    }
}

fn is_retrying(state: &attache_sip::usage::SubscriptionState) -> bool {
    matches!(state, attache_sip::usage::SubscriptionState::Retrying { .. })
}
