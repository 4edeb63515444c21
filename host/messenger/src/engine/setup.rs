//! What the agent below is made with, and its words for people.

use attache_sip::{
    agent::{AgentConfig, Diagnostic, instance_urn},
    uri::UriBuf,
    usage::{Backoff, InviteSettings},
};

use super::EngineConfig;
use crate::{
    code::Code,
    error::{Error, Retry},
    storage::StorageError,
};

pub(super) fn agent_config(config: &EngineConfig, instance: &str) -> AgentConfig {
    // An address was checked when it was read; one that SIP cannot carry (`tel:`) fails at the registrar with a status.
    let aor = config
        .address
        .to_uri()
        .unwrap_or_else(|_| UriBuf::parse("sip:anonymous@anonymous.invalid").expect("a valid address"));
    let service = config.service.as_deref().and_then(|service| UriBuf::parse(service).ok());
    let credential = config.credential.clone().unwrap_or_else(|| config.password.clone().into());
    AgentConfig {
        display_name: (!config.display_name.is_empty()).then(|| config.display_name.to_string()),
        auth_user: config.auth_user.clone(),
        service,
        user_agent: config.user_agent.clone(),
        timers: config.timers,
        accept_from_anywhere: config.accept_from_anywhere,
        // A person waits for this: sooner than a machine would be content with.
        backoff: Backoff {
            base: core::time::Duration::from_secs(2),
            max: core::time::Duration::from_secs(60),
        },
        subscribe_window: 50,
        max_message: config.limits.message,
        max_subscriptions: config.limits.contacts.saturating_mul(2),
        budget: config.budget.clone(),
        flows: config.flows,
        // The same after a restart, so that the service knows the binding again (RFC 5626, section 4.1).
        instance: Some(instance_urn(&format!("{} {instance}", config.address))),
        invite: InviteSettings {
            // Two for each call between phones, and as many again that are turned away.
            max: config.limits.calls.saturating_mul(4) + 64,
            ..InviteSettings::default()
        },
        ..AgentConfig::new(aor, credential, config.local.clone())
    }
}

pub(super) fn store_error(error: &StorageError) -> Error {
    let (code, text) = match error {
        StorageError::Full(_) => (Code::StorageFull, "the local disk is full"),
        _ => (Code::Storage, "the local store failed"),
    };
    Error::new(code, text).because(error.to_string()).retry(Retry::AfterChange)
}

pub(super) fn describe(diagnostic: &Diagnostic) -> String {
    match diagnostic {
        Diagnostic::PublicAddress { local, seen } => {
            format!("the service sees {seen} where we are {local}: a NAT stands between")
        }
        Diagnostic::Malformed { from, error, answered } => match answered {
            Some(status) => format!("malformed SIP from {from} was answered with {status}: {error}"),
            None => format!("malformed SIP from {from} was dropped: {error}"),
        },
        Diagnostic::Refused { method, from, status, why } => {
            format!("{method} from {from} was refused with {status}: {why}")
        }
        Diagnostic::Forgiven { what, .. } => format!("forgiven in a notification: {what}"),
        other => format!("{other:?}"),
    }
}
