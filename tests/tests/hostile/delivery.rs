//! What a well-behaved plugin gets, and when.

use std::{fs, time::Duration};

use attache_messenger::{
    event::{EventKind, SessionState},
    id::RequestId,
    message::Origin,
    presence::Availability,
};
use attache_plugin_host::{AccountPattern, Grant, InstanceState, LoadState, PluginConfig, Scope};

use crate::desk::{Desk, component, hostile, options, probe};

#[tokio::test]
async fn a_message_reaches_a_plugin_that_exports_message_events() {
    let mut desk = Desk::new(vec![probe()]).await;
    desk.reported("probe", "start probe 1").await;
    desk.message("hello").await;
    desk.reported("probe", "received 1 false hello").await;
}

#[tokio::test]
async fn a_plugin_without_the_grant_gets_no_messages_and_a_warning() {
    let mut config = probe();
    config.grants.remove(&Grant::MessagesReceive);
    let mut desk = Desk::new(vec![config]).await;
    desk.message("hello").await;
    desk.publish(EventKind::SessionChanged { state: SessionState::SignedIn, reason: None });
    desk.reported("probe", "session SessionState::SignedIn").await;
    assert!(!desk.reports("probe").iter().any(|report| report.contains("hello")));
    let warnings = desk.plugin("probe").warnings;
    assert!(warnings.iter().any(|warning| warning.contains("\"messages.receive\"")), "{warnings:?}");
}

#[tokio::test]
async fn presence_begins_with_a_snapshot() {
    let mut desk = Desk::new(vec![probe()]).await;
    desk.reported("probe", "snapshot 1:None:-").await;
    desk.presence(Availability::Busy, Some("in a review"));
    desk.reported("probe", "presence 1:Some(Availability::Busy):in a review").await;
    desk.presence(Availability::Away, None);
    desk.reported("probe", "presence 1:Some(Availability::Away):-").await;
}

#[tokio::test]
async fn only_completions_of_its_own_commands_reach_a_plugin() {
    let mut desk = Desk::new(vec![probe()]).await;
    desk.publish(EventKind::CommandCompleted { request: RequestId(99), outcome: Ok(()) });
    desk.publish(EventKind::SessionChanged { state: SessionState::SignedOut, reason: None });
    desk.reported("probe", "session SessionState::SignedOut").await;
    assert!(!desk.reports("probe").iter().any(|report| report.starts_with("completed")));
}

#[tokio::test]
async fn a_timer_fires() {
    let mut config = probe();
    config.config.insert("timer".to_owned(), "100".to_owned());
    let desk = Desk::new(vec![config]).await;
    desk.reported("probe", "timer 42").await;
}

#[tokio::test]
async fn messages_beyond_the_mailbox_come_from_the_journal_in_order() {
    let mut config = probe();
    config.limits.mailbox = 4;
    let mut desk = Desk::new(vec![config]).await;
    desk.reported("probe", "snapshot 1:None:-").await;
    for n in 1..=500 {
        desk.message(&n.to_string()).await;
    }
    desk.reported("probe", "received 500 false 500").await;
    let received: Vec<_> =
        desk.reports("probe").into_iter().filter(|report| report.starts_with("received")).collect();
    let expected: Vec<_> = (1..=500).map(|n| format!("received {n} false {n}")).collect();
    assert_eq!(received, expected);
}

#[tokio::test]
async fn a_new_plugin_begins_at_the_end_of_the_journal() {
    let mut desk = Desk::new(vec![]).await;
    desk.message("before").await;
    let mut desk = desk.restarted(vec![probe()]).await;
    desk.message("after").await;
    desk.reported("probe", "received 2 false after").await;
    assert!(!desk.reports("probe").iter().any(|report| report.contains("before")));
}

#[tokio::test]
async fn what_was_handled_before_a_shutdown_does_not_come_again() {
    let mut desk = Desk::new(vec![probe()]).await;
    desk.message("one").await;
    desk.reported("probe", "received 1 false one").await;
    desk.host.shutdown().await;
    desk.reported("probe", "stop").await;
    desk.message("two").await;
    let desk = desk.restarted(vec![probe()]).await;
    desk.reported("probe", "received 2 true two").await;
    let ones = desk.reports("probe").iter().filter(|report| report.ends_with(" one")).count();
    assert_eq!(ones, 1);
}

#[tokio::test]
async fn compiled_code_is_kept_and_damaged_code_is_compiled_again() {
    let folder = tempfile::tempdir().unwrap();
    let load = async |config| {
        let mut options = options();
        options.cache_dir = Some(folder.path().join("code"));
        let desk = Desk::with_options(vec![config], options).await;
        match desk.plugin("probe").load {
            LoadState::Loaded { cached, .. } => cached,
            other => panic!("{other:?}"),
        }
    };
    assert!(!load(probe()).await);
    assert!(load(probe()).await);
    let file = fs::read_dir(folder.path().join("code")).unwrap().next().unwrap().unwrap().path();
    let mut code = fs::read(&file).unwrap();
    let middle = code.len() / 2;
    code[middle] ^= 0xff;
    // Another file of the same name: what is mapped is never written to.
    fs::remove_file(&file).unwrap();
    fs::write(&file, code).unwrap();
    assert!(!load(probe()).await);
    assert!(load(probe()).await);
}

#[tokio::test]
async fn each_account_has_an_instance_of_its_own() {
    let mut desk = Desk::new(vec![probe()]).await;
    desk.message("to alice").await;
    desk.reported("probe", "received 1 false to alice").await;
    let alice = desk.account;
    desk.switch("sip:carol@example.com");
    desk.message("to carol").await;
    desk.reported("probe", "received 2 false to carol").await;
    let status = desk.plugin("probe");
    let delivered: Vec<_> = status.instances.iter().map(|it| (it.account, it.counters.restarts)).collect();
    assert_eq!(delivered, [(Some(alice), 0), (Some(desk.account), 0)]);

    desk.host.remove_account(alice);
    assert_eq!(desk.plugin("probe").instances.len(), 1);
    desk.message("still there").await;
    desk.reported("probe", "received 3 false still there").await;
}

#[tokio::test]
async fn one_instance_serves_all_accounts_where_the_operator_says_so() {
    let mut config = probe();
    config.scope = Scope::Host;
    let mut desk = Desk::new(vec![config]).await;
    desk.message("to alice").await;
    desk.reported("probe", "received 1 false to alice").await;
    desk.switch("sip:carol@example.com");
    desk.message("to carol").await;
    desk.reported("probe", "received 2 false to carol").await;
    let status = desk.plugin("probe");
    assert_eq!(status.instances.len(), 1);
    assert_eq!(status.instances[0].account, None);
    let snapshots = desk.reports("probe").iter().filter(|report| report.starts_with("snapshot")).count();
    assert_eq!(snapshots, 2, "one for each account");
}

#[tokio::test]
async fn an_account_that_no_pattern_names_is_not_served() {
    let mut config = probe();
    config.accounts = vec![AccountPattern::new("*@example.org")];
    let desk = Desk::new(vec![config]).await;
    assert!(desk.plugin("probe").instances.is_empty());
}

#[tokio::test]
async fn the_plugins_of_the_project_load_and_start() {
    for name in ["auto-reply", "history"] {
        let mut config = PluginConfig::new(name, component(name));
        config.grants = Grant::ALL.iter().copied().collect();
        let desk = Desk::new(vec![config]).await;
        let status = desk.instance(name, |status| status.state != InstanceState::Starting).await;
        assert_eq!(status.state, InstanceState::Running, "{status:?}");
        assert!(desk.plugin(name).warnings.is_empty());
    }
}

#[tokio::test]
async fn the_usual_imports_of_wasi_are_there() {
    let wat = r#"(component
        (import "wasi:cli/environment@0.2.3" (instance
            (export "get-environment" (func (result (list (tuple string string)))))
            (export "get-arguments" (func (result (list string))))))
        (import "wasi:cli/exit@0.2.0" (instance (export "exit" (func (param "status" (result))))))
        (import "wasi:random/random@0.2.6" (instance (export "get-random-u64" (func (result u64)))))
        (import "wasi:filesystem/preopens@0.2.3" (instance))
        (import "wasi:sockets/tcp@0.2.3" (instance))
        (import "wasi:logging/logging" (instance
            (type (enum "trace" "debug" "info" "warn" "error" "critical"))
            (export "level" (type (eq 0)))
            (export "log" (func (param "level" 1) (param "context" string) (param "message" string)))))
        (core module $m (func (export "f") (param i64)))
        (core instance $i (instantiate $m))
        (func $f (param "token" u64) (canon lift (core func $i "f")))
        (instance $timers (export "timer-fired" (func $f)))
        (export "attache:messenger/timer-events@1.0.0" (instance $timers)))"#;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("usual.wasm");
    fs::write(&path, wat::parse_str(wat).unwrap()).unwrap();
    let desk = Desk::new(vec![PluginConfig::new("usual", &path)]).await;
    desk.instance("usual", |status| status.state == InstanceState::Running).await;
}

#[tokio::test]
async fn an_automatic_message_gets_no_automatic_reply() {
    let mut desk = Desk::new(vec![hostile(&[("message", "reply")])]).await;
    desk.message_of("out of office", Origin::Automatic).await;
    desk.reported("hostile", "received 1 false out of office").await;
    assert!(desk.sent("hostile").iter().all(|sent| sent.to == "sip:report@example.com"));
    desk.message("hello").await;
    desk.reported("hostile", "received 2 false hello").await;
    let replies: Vec<_> =
        desk.sent("hostile").into_iter().filter(|sent| sent.to == "sip:bob@example.com").collect();
    assert_eq!(replies.len(), 1, "one of three, because of the interval");
    assert_eq!(replies[0].origin, Origin::Automatic);
}

#[tokio::test]
async fn an_automatic_message_gets_no_reply_by_another_name() {
    let mut desk = Desk::new(vec![hostile(&[("message", "on-behalf")])]).await;
    desk.message_of("out of office", Origin::Automatic).await;
    desk.reported("hostile", "received 1 false out of office").await;
    assert!(desk.sent("hostile").iter().all(|sent| sent.to == "sip:report@example.com"));
    let status = desk.instance("hostile", |_| true).await;
    assert_eq!(status.counters.messages_refused, 2);
}

#[tokio::test]
async fn a_reply_from_a_timer_is_refused_after_an_automatic_message() {
    let mut config = probe();
    config.config.insert("later".to_owned(), "50".to_owned());
    let mut desk = Desk::new(vec![config]).await;
    desk.message_of("out of office", Origin::Automatic).await;
    desk.reported("probe", "later ATTACHE_E_LOOP_GUARD").await;
    desk.message("hello").await;
    desk.reported("probe", "later sent").await;
}

#[tokio::test]
async fn a_shutdown_is_quick_when_plugins_are_well() {
    let desk = Desk::new(vec![probe()]).await;
    desk.reported("probe", "start probe 1").await;
    tokio::time::timeout(Duration::from_secs(4), desk.host.shutdown()).await.unwrap();
}

#[tokio::test]
async fn a_new_plugin_begins_at_the_position_that_it_is_told_without_a_snapshot() {
    let mut desk = Desk::new(vec![]).await;
    for text in ["one", "two"] {
        desk.message(text).await;
    }
    let mut desk = desk.restarted_unseen(vec![probe()]).await;
    desk.message("three").await;
    desk.reported("probe", "received 3 false three").await;
    let received: Vec<_> =
        desk.reports("probe").into_iter().filter(|report| report.starts_with("received")).collect();
    assert_eq!(received, ["received 3 false three"]);
}

#[tokio::test]
async fn a_plugin_that_cannot_be_loaded_yet_has_its_beginning_written_down() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("probe.wasm");
    let mut config = probe();
    config.component.clone_from(&path);
    let mut desk = Desk::new(vec![]).await;
    desk.message("before").await;
    let mut desk = desk.restarted(vec![config]).await;
    desk.cursor("probe", 1).await;
    desk.message("meanwhile").await;
    fs::copy(component("probe"), &path).unwrap();
    assert!(desk.host.reset("probe"));
    desk.reported("probe", "received 2 false meanwhile").await;
    assert!(!desk.reports("probe").iter().any(|report| report.contains("before")));
}

#[tokio::test]
async fn a_shutdown_waits_for_the_plugins_of_accounts_that_were_removed() {
    let mut options = options();
    options.supervision.cursor_delay = Duration::from_secs(60);
    let mut desk = Desk::with_options(vec![probe()], options).await;
    desk.message("one").await;
    desk.reported("probe", "received 1 false one").await;
    desk.host.remove_account(desk.account);
    desk.host.shutdown().await;
    assert_eq!(desk.cursor_now("probe").await, Some(1));
}
