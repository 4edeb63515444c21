//! Plugins that fail: restarts, quarantine, dead letters, and nothing lost.

use attache_plugin_host::InstanceState;

use crate::desk::{Desk, hostile, is_quarantined, options, probe};

/// A guest fails at every message that says `bad`: the message is tried twice and given up, and the rest goes on.
async fn poison(mode: &str, error: &str) {
    let mut config = hostile(&[("message", mode), ("only", "bad")]);
    config.limits.memory = attache_plugin_host::ByteSize::mib(16);
    let mut desk = Desk::new(vec![config, probe()]).await;
    desk.message("one").await;
    desk.reported("hostile", "received 1 false one").await;
    desk.message("bad").await;
    desk.message("three").await;
    desk.reported("probe", "received 2 false bad").await;
    desk.reported("probe", "received 3 false three").await;
    desk.reported("hostile", "received 3 false three").await;

    let status = desk.instance("hostile", |status| status.state == InstanceState::Running).await;
    assert_eq!(status.counters.traps, 2, "{status:#?}");
    assert_eq!(status.counters.restarts, 2);
    assert_eq!(status.counters.dead_letters, 1);
    let letter = &status.dead_letters[0];
    assert_eq!((letter.seq, letter.event), (2, "message-received"));
    assert!(letter.reason.contains(error), "{letter:?}");
    let received: Vec<_> =
        desk.reports("hostile").into_iter().filter(|report| report.starts_with("received")).collect();
    assert_eq!(received, ["received 1 false one", "received 3 false three"]);
    let healthy = desk.instance("probe", |_| true).await;
    assert_eq!((healthy.counters.traps, healthy.counters.dropped), (0, 0));
}

#[tokio::test]
async fn an_endless_loop_in_an_event_is_stopped() {
    poison("loop", "CPU time").await;
}

#[tokio::test]
async fn a_trap_in_an_event_costs_the_event_only() {
    poison("trap", "trapped").await;
}

#[tokio::test]
async fn a_memory_bomb_is_held_down() {
    poison("memory", "memory limit of 16MiB").await;
}

#[tokio::test]
async fn deep_recursion_is_a_trap() {
    poison("recursion", "call stack").await;
}

#[tokio::test]
async fn a_flood_of_host_calls_is_stopped() {
    poison("calls", "host calls").await;
}

#[tokio::test]
async fn a_huge_argument_is_not_copied() {
    poison("argument", "trapped").await;
}

#[tokio::test]
async fn a_flood_of_handles_is_stopped() {
    poison("handles", "trapped").await;
}

#[tokio::test]
async fn a_message_comes_again_after_a_trap_and_nothing_is_lost() {
    let mut desk = Desk::new(vec![hostile(&[("message", "trap-once")]), probe()]).await;
    for n in 1..=5 {
        desk.message(&format!("m{n}")).await;
    }
    desk.reported("hostile", "received 5 false m5").await;
    let received: Vec<_> = desk.reports("hostile");
    assert_eq!(received[0], "received 1 true m1");
    assert_eq!(received.len(), 5, "{received:?}");
    let status = desk.instance("hostile", |_| true).await;
    assert_eq!((status.counters.traps, status.counters.dead_letters), (1, 0));
    desk.reported("probe", "received 5 false m5").await;
}

#[tokio::test]
async fn a_refused_message_comes_again_without_a_restart() {
    let mut desk = Desk::new(vec![hostile(&[("message", "refuse-once")])]).await;
    desk.message("one").await;
    desk.message("two").await;
    desk.reported("hostile", "received 2 false two").await;
    assert_eq!(desk.reports("hostile"), ["received 1 true one", "received 2 false two"]);
    assert_eq!(desk.instance("hostile", |_| true).await.counters.traps, 0);
}

#[tokio::test]
async fn a_message_that_is_refused_often_is_kept_until_it_is_taken() {
    let mut desk = Desk::new(vec![hostile(&[("message", "refuse-often"), ("only", "bad")])]).await;
    desk.message("bad").await;
    desk.message("two").await;
    desk.reported("hostile", "received 2 false two").await;
    assert_eq!(desk.reports("hostile"), ["received 1 true bad", "received 2 false two"]);
    let status = desk.instance("hostile", |_| true).await;
    assert_eq!((status.counters.dead_letters, status.counters.redelivered), (0, 8));
    assert!(status.last_error.unwrap().contains("as it was told to, often"));
}

#[tokio::test]
async fn a_trap_at_start_ends_in_quarantine_and_a_reset_ends_that() {
    let mut desk = Desk::new(vec![hostile(&[("start", "trap")]), probe()]).await;
    let status = desk.instance("hostile", is_quarantined).await;
    assert_eq!(status.counters.traps, 5);
    assert!(status.last_error.unwrap().contains("at start"));
    desk.message("hello").await;
    desk.reported("probe", "received 1 false hello").await;
    assert!(desk.host.reset("hostile"));
    desk.instance("hostile", |status| is_quarantined(status) && status.counters.traps == 10).await;
}

#[tokio::test]
async fn an_endless_loop_at_start_is_stopped() {
    let mut config = hostile(&[("start", "loop")]);
    config.limits.cpu_at_start = attache_plugin_host::Period::millis(20);
    let mut desk = Desk::new(vec![config, probe()]).await;
    desk.message("hello").await;
    desk.reported("probe", "received 1 false hello").await;
    desk.instance("hostile", is_quarantined).await;
}

#[tokio::test]
async fn a_plugin_that_says_it_cannot_start_is_not_tried_again() {
    let desk = Desk::new(vec![hostile(&[("start", "refuse")])]).await;
    let status = desk.instance("hostile", |status| status.state == InstanceState::Failed).await;
    assert_eq!(status.last_error.as_deref(), Some("as it was told to"));
    assert_eq!((status.counters.traps, status.counters.restarts), (0, 0));
}

#[tokio::test]
async fn messages_of_a_quarantine_come_after_it() {
    let mut options = options();
    options.supervision.quarantine = std::time::Duration::from_millis(300);
    options.supervision.quarantine_after = 1;
    let plugins = vec![hostile(&[("presence", "trap-once")])];
    let mut desk = Desk::with_options(plugins, options).await;
    desk.instance("hostile", |status| {
        status.state == InstanceState::Running && status.counters.delivered > 0
    })
    .await;
    desk.presence(attache_messenger::presence::Availability::Busy, None);
    desk.instance("hostile", is_quarantined).await;
    desk.message("kept").await;
    desk.reported("hostile", "received 2 false kept").await;
}

#[tokio::test]
async fn a_trap_in_presence_loses_that_batch_only() {
    let mut desk = Desk::new(vec![hostile(&[("presence", "trap-once")]), probe()]).await;
    desk.instance("hostile", |status| {
        status.state == InstanceState::Running && status.counters.delivered > 0
    })
    .await;
    desk.presence(attache_messenger::presence::Availability::Busy, None);
    let status = desk.instance("hostile", |status| status.counters.restarts == 1).await;
    assert_eq!((status.counters.traps, status.counters.dropped), (1, 1));
    desk.message("hello").await;
    desk.reported("hostile", "received 2 false hello").await;
}

#[tokio::test]
async fn a_trap_in_a_control_event_does_not_forget_what_the_mailbox_left_to_the_journal() {
    let mut config = hostile(&[("own", "trap-slowly-once"), ("message", "")]);
    config.limits.mailbox = 2;
    config.limits.cpu_per_event = attache_plugin_host::Period::secs(10);
    let mut desk = Desk::new(vec![config]).await;
    desk.instance("hostile", |status| {
        status.state == InstanceState::Running && status.counters.delivered > 0
    })
    .await;
    let away =
        attache_messenger::presence::Presence::unknown(attache_messenger::presence::UnknownReason::Pending);
    let own = attache_messenger::presence::Presence {
        availability: Some(attache_messenger::presence::Availability::Away),
        ..away
    };
    let own = std::sync::Arc::new(own);
    // The first keeps the guest busy, so that the second waits with a full mailbox behind it, and then traps.
    desk.publish(attache_messenger::event::EventKind::OwnPresenceChanged(std::sync::Arc::clone(&own)));
    desk.reported("hostile", "slow").await;
    desk.publish(attache_messenger::event::EventKind::OwnPresenceChanged(own));
    for n in 3..=9 {
        desk.message(&n.to_string()).await;
    }
    desk.reported("hostile", "received 9 false 9").await;
    let received: Vec<_> =
        desk.reports("hostile").into_iter().filter(|report| report.starts_with("received")).collect();
    let expected: Vec<_> = (3..=9).map(|n| format!("received {n} false {n}")).collect();
    assert_eq!(received, expected);
    assert_eq!(desk.instance("hostile", |_| true).await.counters.traps, 1);
}

#[tokio::test]
async fn the_journal_of_a_plugin_that_failed_for_good_is_bounded() {
    let mut options = options();
    options.supervision.trim_interval = std::time::Duration::from_millis(50);
    options.supervision.backlog = 10;
    let mut desk = Desk::with_options(vec![hostile(&[("start", "refuse")])], options).await;
    desk.instance("hostile", |status| status.state == InstanceState::Failed).await;
    desk.message("first").await;
    desk.instance("hostile", |status| status.backlog == 1).await;
    for n in 2..=30 {
        desk.message(&n.to_string()).await;
    }
    let status =
        desk.instance("hostile", |status| status.backlog == 10 && status.counters.dead_letters == 20).await;
    assert_eq!(status.state, InstanceState::Failed);
    assert_eq!(desk.cursor_now("hostile").await, Some(20));
}
