//! Plugins that take more than their share, or what is not theirs.

use std::path::PathBuf;

use attache_messenger::presence::Availability;
use attache_plugin_host::{ConfigLocation, InstanceState, Limits, Period};

use crate::desk::{Desk, hostile, options, probe};

#[tokio::test]
async fn a_flood_of_messages_stops_at_the_quota() {
    let mut config = hostile(&[("message", "flood"), ("only", "go")]);
    config.limits = Limits::default();
    config.limits.log_lines_per_minute = 10;
    let mut desk = Desk::new(vec![config, probe()]).await;
    desk.message("go").await;
    desk.reported("probe", "received 1 false go").await;
    let status = desk
        .instance("hostile", |status| status.counters.messages_refused > 0 && status.counters.delivered > 1)
        .await;
    assert_eq!(status.counters.messages_sent, 30);
    assert_eq!(status.counters.messages_refused, 971, "970 of the flood and the report");
    assert_eq!(desk.sent("hostile").len(), 30);
}

#[tokio::test]
async fn a_flood_of_log_lines_stops_at_the_quota() {
    let mut config = hostile(&[("message", "log")]);
    config.limits.log_lines_per_minute = 100;
    let mut desk = Desk::new(vec![config, probe()]).await;
    desk.message("go").await;
    desk.reported("hostile", "received 1 false go").await;
    desk.reported("probe", "received 1 false go").await;
    let status = desk.instance("hostile", |_| true).await;
    assert_eq!(status.counters.log_lines_dropped, 9_900);
}

#[tokio::test]
async fn a_call_without_a_grant_is_denied_with_the_line_that_would_grant_it() {
    let mut config = hostile(&[("message", "denied")]);
    config.location =
        Some(ConfigLocation { file: PathBuf::from("attache.toml"), plugin_line: 10, grants_line: Some(12) });
    let mut desk = Desk::new(vec![config]).await;
    desk.message("go").await;
    let sentence = "plugin `hostile` may not call contacts.list-contacts: add \"contacts.read\" to grants in attache.toml:12";
    desk.reported("hostile", &format!("ATTACHE_E_DENIED {sentence}")).await;
    let status = desk.instance("hostile", |_| true).await;
    assert_eq!(status.counters.denials, 1);
    assert_eq!(status.last_denial.as_deref(), Some(sentence));
}

#[tokio::test]
async fn what_a_plugin_keeps_stops_at_its_quota() {
    let mut config = hostile(&[("message", "values")]);
    config.limits.storage = attache_plugin_host::ByteSize::kib(100);
    config.limits.cpu_per_event = Period::secs(5);
    let mut desk = Desk::new(vec![config]).await;
    desk.message("go").await;
    desk.reported("hostile", "kept 10").await;
}

#[tokio::test]
async fn a_plugin_cannot_act_for_an_account_that_it_does_not_serve() {
    let mut desk = Desk::new(vec![hostile(&[("message", "foreign")])]).await;
    desk.message("go").await;
    desk.reported("hostile", "ATTACHE_E_ACCOUNT_NOT_FOUND").await;
}

#[tokio::test]
async fn the_embedder_caps_what_the_file_says() {
    let mut config = hostile(&[("message", "loop"), ("only", "bad")]);
    config.limits.cpu_per_event = Period::secs(60);
    let mut caps = Limits::maximum();
    caps.cpu_per_event = Period::millis(20);
    let mut options = options();
    options.caps = caps;
    let mut desk = Desk::with_options(vec![config], options).await;
    desk.message("bad").await;
    desk.message("two").await;
    desk.reported("hostile", "received 2 false two").await;
    assert!(desk.plugin("hostile").warnings.iter().any(|warning| warning.contains("cpu-per-event")));
}

#[tokio::test]
async fn a_plugin_that_loops_does_not_hold_the_others_up() {
    let mut config = hostile(&[("message", "loop"), ("only", "bad")]);
    config.limits.cpu_per_event = Period::secs(10);
    let mut desk = Desk::new(vec![config, probe()]).await;
    desk.message("bad").await;
    for n in 2..=50 {
        desk.message(&format!("m{n}")).await;
    }
    desk.reported("probe", "received 50 false m50").await;
    let status = desk.instance("hostile", |_| true).await;
    assert_eq!(status.counters.traps, 0, "it was still running: {status:?}");
}

#[tokio::test]
async fn a_plugin_that_used_its_minute_of_cpu_time_up_gets_messages_and_nothing_else() {
    let mut config = hostile(&[("presence", "burn")]);
    config.limits.cpu_per_event = Period::secs(10);
    config.limits.cpu_per_minute = Period::millis(100);
    let mut desk = Desk::new(vec![config]).await;
    desk.instance("hostile", |status| status.counters.delivered > 0).await;
    desk.presence(Availability::Busy, None);
    desk.instance("hostile", |status| matches!(status.state, InstanceState::Throttled { .. })).await;
    let before = desk.instance("hostile", |_| true).await.counters.delivered;
    desk.presence(Availability::Away, None);
    desk.message("hello").await;
    desk.reported("hostile", "received 3 false hello").await;
    let status = desk.instance("hostile", |status| status.counters.delivered > before).await;
    assert_eq!((status.counters.delivered, status.mailbox), (before + 1, 1), "{status:?}");
}
