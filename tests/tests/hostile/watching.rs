//! Plugins that watch people off the contact list, and answer those who want to see the account.

use std::{path::PathBuf, sync::Arc};

use attache_messenger::{
    address::Address,
    event::EventKind,
    id::ContactId,
    presence::{Availability, Presence, UnknownReason},
    privacy::{Watcher, WatcherState},
    time::Timestamp,
};
use attache_plugin_host::{ConfigLocation, Grant};

use crate::desk::{Desk, probe};

const CAROL: &str = "sip:carol@example.com";

/// The report that begins so.
async fn report(desk: &Desk, begin: &str) -> String {
    desk.until(begin, |desk| desk.reports("probe").iter().any(|report| report.starts_with(begin))).await;
    desk.reports("probe").into_iter().rev().find(|report| report.starts_with(begin)).unwrap()
}

#[tokio::test]
async fn a_plugin_hears_of_those_whom_it_watches_and_of_nobody_else() {
    let mut desk = Desk::new(vec![probe()]).await;
    desk.message(&format!("watch {CAROL}")).await;
    let lease = report(&desk, "lease ").await;
    desk.watched("sip:dave@example.com", Availability::Away);
    desk.watched(CAROL, Availability::Busy);
    desk.reported("probe", &format!("watched {CAROL}:Some(Availability::Busy)")).await;
    assert!(!desk.reports("probe").iter().any(|report| report.contains("dave")));
    let lease = lease.trim_start_matches("lease ").to_owned();
    desk.message(&format!("unwatch {lease}")).await;
    desk.reported("probe", "unwatched").await;
    assert_eq!(desk.leases(), 0);
    desk.watched(CAROL, Availability::Away);
    let seq = desk.message("after").await;
    desk.reported("probe", &format!("received {seq} false after")).await;
    assert!(!desk.reports("probe").iter().any(|report| report.contains("Away")));
}

#[tokio::test]
async fn leases_end_with_the_guest_however_that_ends() {
    let mut desk = Desk::new(vec![probe()]).await;
    desk.message(&format!("watch {CAROL}")).await;
    report(&desk, "lease ").await;
    assert_eq!(desk.leases(), 1);
    desk.message("trap").await;
    desk.until("the crash took the lease", |desk| desk.leases() == 0).await;

    let mut desk = Desk::new(vec![probe()]).await;
    desk.message(&format!("watch {CAROL}")).await;
    report(&desk, "lease ").await;
    desk.host.remove_account(desk.account);
    desk.until("the stop took the lease", |desk| desk.leases() == 0).await;
}

#[tokio::test]
async fn a_plugin_watches_no_more_people_than_its_limit() {
    let mut config = probe();
    config.limits.watches = 2;
    let mut desk = Desk::new(vec![config]).await;
    for name in ["a", "b", "c"] {
        desk.message(&format!("watch sip:{name}@example.com")).await;
    }
    let refused = report(&desk, "ATTACHE_E_QUOTA_EXCEEDED").await;
    assert!(refused.contains("`watches`"), "{refused}");
    assert_eq!(desk.leases(), 2);
}

#[tokio::test]
async fn what_others_watch_is_not_told_to_a_plugin() {
    let mut desk = Desk::new(vec![probe()]).await;
    desk.message(&format!("look {CAROL}")).await;
    report(&desk, "ATTACHE_E_NOT_FOUND").await;
    desk.message("unwatch 77").await;
    desk.until("the refusal", |desk| {
        desk.reports("probe").iter().any(|report| report.contains("no lease 77"))
    })
    .await;
}

#[tokio::test]
async fn watching_without_the_grant_is_denied_with_the_line_that_would_grant_it() {
    let mut config = probe();
    config.grants.remove(&Grant::PresenceWatch);
    config.location =
        Some(ConfigLocation { file: PathBuf::from("attache.toml"), plugin_line: 10, grants_line: Some(12) });
    let mut desk = Desk::new(vec![config]).await;
    desk.message(&format!("watch {CAROL}")).await;
    let denied = report(&desk, "ATTACHE_E_DENIED").await;
    assert!(denied.contains("add \"presence.watch\" to grants in attache.toml:12"), "{denied}");
    assert_eq!(desk.leases(), 0);
}

#[tokio::test]
async fn a_plugin_answers_those_who_want_to_see_the_account() {
    let mut desk = Desk::new(vec![probe()]).await;
    let watcher = Watcher {
        address: Address::parse(CAROL).unwrap(),
        name: "Carol".into(),
        state: WatcherState::Pending,
        since: Timestamp::from_millis(1),
    };
    desk.publish(EventKind::WatcherRequested(Arc::new(watcher)));
    desk.reported("probe", &format!("watcher {CAROL} WatcherState::Pending")).await;
    desk.until("the answer", |desk| desk.answered() == [format!("{CAROL} allow")]).await;
    desk.publish(EventKind::WatchersChanged);
    desk.reported("probe", "watchers 0").await;
}

#[tokio::test]
async fn a_plugin_is_told_that_a_contact_became_available() {
    let mut desk = Desk::new(vec![probe()]).await;
    let mut presence = Presence::unknown(UnknownReason::Pending);
    presence.availability = Some(Availability::Available);
    desk.publish(EventKind::ContactAlert {
        contact: ContactId(1),
        address: Address::parse("sip:bob@example.com").unwrap(),
        presence: Arc::new(presence),
    });
    desk.reported("probe", "alert 1 Availability::Available ").await;
}
