//! Files that are no plugins.

use std::fs;

use attache_plugin_host::{PluginConfig, Sha256Pin, inspect};

use crate::desk::{Desk, component, probe};

/// What a file with this content is refused with; the probe beside it is not disturbed.
async fn refusal(content: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wrong.wasm");
    fs::write(&path, content).unwrap();
    let mut desk = Desk::new(vec![PluginConfig::new("wrong", &path), probe()]).await;
    desk.message("hello").await;
    desk.reported("probe", "received 1 false hello").await;
    let refusal = desk.refusal("wrong");
    assert_eq!(inspect(&path).unwrap_err().to_string(), refusal);
    refusal
}

#[tokio::test]
async fn a_component_for_another_world_is_refused() {
    let wat = r#"(component (instance $i) (export "wasi:http/incoming-handler@0.2.0" (instance $i)))"#;
    let refusal = refusal(&wat::parse_str(wat).unwrap()).await;
    assert!(refusal.contains("so it is no plugin; it exports wasi:http/incoming-handler@0.2.0"), "{refusal}");
}

#[tokio::test]
async fn an_import_that_this_host_lacks_is_named() {
    let wat = r#"(component (import "wasi:http/outgoing-handler@0.2.3" (instance)))"#;
    let refusal = refusal(&wat::parse_str(wat).unwrap()).await;
    assert!(
        refusal.contains("imports `wasi:http/outgoing-handler@0.2.3`, which this host does not offer"),
        "{refusal}"
    );
}

#[tokio::test]
async fn a_function_that_this_host_lacks_is_named() {
    let wat = r#"(component
        (import "attache:messenger/clock@1.0.0" (instance (export "rewind" (func))))
        (core module $m (func (export "f") (param i64)))
        (core instance $i (instantiate $m))
        (func $f (param "token" u64) (canon lift (core func $i "f")))
        (instance $timers (export "timer-fired" (func $f)))
        (export "attache:messenger/timer-events@1.0.0" (instance $timers)))"#;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("newer.wasm");
    fs::write(&path, wat::parse_str(wat).unwrap()).unwrap();
    let desk = Desk::new(vec![PluginConfig::new("newer", &path)]).await;
    let refusal = desk.refusal("newer");
    assert!(refusal.contains("does not fit this host") && refusal.contains("rewind"), "{refusal}");
}

#[tokio::test]
async fn a_core_module_is_refused_with_a_hint() {
    let refusal = refusal(&wat::parse_str("(module)").unwrap()).await;
    assert!(refusal.contains("it is a core module"), "{refusal}");
}

#[tokio::test]
async fn truncated_files_are_refused() {
    let whole = fs::read(component("probe")).unwrap();
    for length in [0, 3, 100, whole.len() / 2, whole.len() - 1] {
        let refusal = refusal(&whole[..length]).await;
        assert!(refusal.contains("is no valid WebAssembly component"), "{refusal}");
    }
}

#[tokio::test]
async fn a_file_that_is_not_there_is_named() {
    let desk = Desk::new(vec![PluginConfig::new("wrong", "/nowhere/x.wasm")]).await;
    assert!(desk.refusal("wrong").starts_with("cannot read /nowhere/x.wasm"));
}

#[tokio::test]
async fn a_file_that_is_not_the_pinned_one_is_refused() {
    let mut config = probe();
    config.sha256 = Some(Sha256Pin([7; 32]));
    let desk = Desk::new(vec![config]).await;
    assert!(desk.refusal("probe").contains(&format!("but {} is pinned", "07".repeat(32))));
}

#[tokio::test]
async fn a_file_over_its_limit_is_refused() {
    let mut config = probe();
    config.limits.component_size = attache_plugin_host::ByteSize::kib(4);
    let desk = Desk::new(vec![config]).await;
    assert!(desk.refusal("probe").contains("raise `limits.component-size`"));
}

#[tokio::test]
async fn two_plugins_of_one_name_are_one_too_many() {
    let desk = Desk::new(vec![probe(), probe()]).await;
    let status = desk.host.status();
    assert!(matches!(status[0].load, attache_plugin_host::LoadState::Loaded { .. }));
    assert!(matches!(status[1].load, attache_plugin_host::LoadState::Refused { .. }));
    assert_eq!(status[1].instances.len(), 0);
}

#[tokio::test]
async fn what_a_component_needs_is_told_without_running_it() {
    let needs = inspect(&component("probe")).unwrap();
    let names: Vec<_> = needs.grants().into_iter().map(attache_plugin_host::Grant::name).collect();
    assert_eq!(
        names,
        [
            "session.read",
            "contacts.read",
            "presence.read",
            "presence.watch",
            "watchers.read",
            "watchers.write",
            "messages.receive",
            "messages.send"
        ]
    );
}
