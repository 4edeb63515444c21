//! Signs in, and looks.

use core::time::Duration;
use std::{collections::BTreeSet, sync::Arc};

use attache_net::{Inspection, Tls};
use attache_sip::uri::{Host as UriHost, UriBuf};
use futures_util::future::join_all;
use tokio::time::{Instant, timeout_at};

use super::{Examination, Shown, judge};
use crate::{
    AccountConfig, Change, Destination, Error, EventKind, Freshness, Host, HostConfig, Messenger,
    SessionState, TokenNeeded, UnknownReason, Watching, XcapState,
};

/// Most places whose certificates are looked at.
const PLACES: usize = 4;

/// How long a service may take to say which methods it takes.
const TELLING: Duration = Duration::from_secs(3);

/// What was seen, before it is judged.
pub(super) struct Seen<'a> {
    pub(super) account: &'a AccountConfig,
    pub(super) messenger: &'a Messenger,
    pub(super) certificates: Vec<(Destination, Inspection)>,
    pub(super) token: Option<Arc<TokenNeeded>>,
    pub(super) watching: Option<Watching>,
}

/// Examines an account of a configuration. Takes about as long as the service needs to answer, at most `patience` and a few
/// seconds for signing out. A failure to sign in is a finding, not an error.
///
/// Cancellation safe in that nothing stays behind but a binding that the service forgets by itself.
///
/// # Errors
/// When it cannot begin: no socket, or TLS settings that cannot be used.
pub async fn examine(
    config: &HostConfig,
    account: &AccountConfig,
    patience: Duration,
) -> Result<Examination, Error> {
    let empty = HostConfig {
        tls: config.tls.clone(),
        name_servers: config.name_servers.clone(),
        refresh_budget: config.refresh_budget,
        ..HostConfig::default()
    };
    let host = Host::start(empty).await?;
    let mut account = account.clone();
    account.sign_in = false;
    let looked = look(&host, &account, Instant::now() + patience).await;
    host.shutdown().await;
    looked
}

async fn look(host: &Host, account: &AccountConfig, deadline: Instant) -> Result<Examination, Error> {
    let (tls, _) = host.common().secure(account)?;
    let messenger = host.add(account.clone(), true).await?;
    let mut seen =
        Seen { account, messenger: &messenger, certificates: Vec::new(), token: None, watching: None };
    seen.token = sign_in(&messenger, deadline).await;
    if messenger.snapshot().session == SessionState::SignedIn {
        // One's own presence shows how others are watched.
        let watching = timeout_at(deadline, messenger.watch(messenger.address())).await;
        seen.watching = watching.ok().and_then(Result::ok);
        settle(&seen, deadline).await;
    }
    seen.certificates = certificates(&tls, account, &messenger).await;
    let findings = judge::findings(&seen);
    let snapshot = messenger.snapshot();
    let certificates = seen.certificates.into_iter().map(|(destination, looked)| Shown {
        destination,
        certificate: looked.certificate,
        version: looked.version.map(str::to_owned),
        trouble: looked.outcome.err().map(|error| error.to_string()),
    });
    Ok(Examination {
        account: account.address.clone(),
        findings,
        session: snapshot.session,
        reason: snapshot.session_reason.clone(),
        connection: messenger.connection(),
        certificates: certificates.collect(),
        report: snapshot.report.clone(),
    })
}

/// Waits for the first outcome of the sign-in; a token that was asked for is one.
async fn sign_in(messenger: &Messenger, deadline: Instant) -> Option<Arc<TokenNeeded>> {
    let mut changes = messenger.view().changes;
    let token = async {
        loop {
            match changes.next().await {
                Some(Change::Event(event)) => {
                    if let EventKind::TokenNeeded(needed) = event.kind {
                        return Some(needed);
                    }
                }
                Some(Change::Reset(_)) => {}
                None => return None,
            }
        }
    };
    tokio::select! {
        // The token first: the registration fails for want of it.
        biased;
        token = token => token,
        _ = timeout_at(deadline, messenger.sign_in()) => None,
    }
}

/// Waits until nothing is under way that belongs to a sign-in.
async fn settle(seen: &Seen<'_>, deadline: Instant) {
    let mut view = seen.messenger.view();
    let mut changes = seen.messenger.view().changes;
    let settled = async {
        loop {
            let snapshot = seen.messenger.snapshot();
            let watched = seen.watching.as_ref().is_none_or(|watching| {
                watching.presence().freshness != Freshness::Unknown(UnknownReason::Pending)
            });
            let told = snapshot.report.xcap == XcapState::Off || snapshot.report.xcap_offers.is_some();
            let away = matches!(snapshot.report.xcap, XcapState::Offline { .. });
            if watched && snapshot.report.xcap != XcapState::Syncing && (told || away) {
                return;
            }
            if changes.next().await.is_none() {
                return;
            }
        }
    };
    let _ = timeout_at(deadline, settled).await;
    let told = async {
        while seen.messenger.report().service.allow.is_empty() {
            if view.changes.next().await.is_none() {
                return;
            }
        }
    };
    // Not every service says what it can do.
    let _ = timeout_at(deadline.min(Instant::now() + TELLING), told).await;
}

/// Looks at the certificates of the places that the service was found at.
async fn certificates(
    tls: &Tls,
    account: &AccountConfig,
    messenger: &Messenger,
) -> Vec<(Destination, Inspection)> {
    let connection = messenger.connection();
    let found =
        connection.lookups.iter().filter_map(|lookup| lookup.answer.as_ref()?.as_ref().ok()).flatten();
    let tried = connection.flows.iter().map(|flow| flow.destination);
    let failed = connection.failures.iter().map(|failure| failure.destination);
    let mut seen = BTreeSet::new();
    let places: Vec<Destination> = tried
        .chain(failed)
        .chain(found.copied())
        .filter(|place| place.transport.is_secure())
        .filter(|place| seen.insert((place.transport.uri_name(), place.remote)))
        .take(PLACES)
        .collect();
    let domain = domain(account);
    let looks = places.into_iter().map(|place| {
        let domain = domain.as_deref();
        async move { (place, tls.inspect(place, domain).await) }
    });
    join_all(looks).await
}

/// The name that the service's certificate must have; `None` for an address.
pub(super) fn domain(account: &AccountConfig) -> Option<String> {
    let service = account.service.as_deref().unwrap_or(account.address.as_str());
    let uri = UriBuf::parse(service).ok()?;
    match uri.as_uri().host()? {
        UriHost::Name(name) => Some(name.to_owned()),
        _ => None,
    }
}
