//! Two `attache run` processes on one Kamailio: what the framework is for, on a service written by others.

#![cfg(unix)]

mod common;

use anyhow::Result;
use attache_tests::console;
use common::{config, kamailio, program, receives, sees, signed_in};
use serde_json::json;

const ALICE: &str = "sip:alice@example.test";
const BOB: &str = "sip:bob@example.test";

#[test]
fn two_processes_see_each_other_and_talk() -> Result<()> {
    for transport in ["udp", "tcp"] {
        let kamailio = kamailio()?;
        let folder = tempfile::tempdir()?;
        let service = format!("sip:{};transport={transport}", kamailio.udp_addr());
        let mut alice = signed_in(&config(folder.path(), "alice", "wonderland", &service, "")?)?;
        let mut bob = signed_in(&config(folder.path(), "bob", "builder", &service, "")?)?;

        alice.done(json!({ "command": "add", "address": BOB }))?;
        bob.done(json!({ "command": "add", "address": ALICE, "name": "Alice" }))?;
        alice.done(json!({ "command": "status", "availability": "busy", "note": "in a review" }))?;
        sees(&mut bob, ALICE, "busy", "in a review")?;
        bob.done(json!({ "command": "status", "availability": "available", "note": "" }))?;
        sees(&mut alice, BOB, "available", "")?;

        alice.done(json!({ "command": "im", "to": BOB, "text": "hello" }))?;
        receives(&mut bob, ALICE, "hello")?;
        bob.done(json!({ "command": "im", "to": ALICE, "text": "good morning — 早上好" }))?;
        receives(&mut alice, BOB, "good morning — 早上好")?;

        let contacts = bob.done(json!({ "command": "contacts" }))?;
        assert_eq!(contacts["contacts"][0]["contact"], json!(ALICE));
        assert_eq!(contacts["contacts"][0]["availability"], json!("busy"));

        assert!(alice.quit()?.success(), "quit ends with code 0");
        sees(&mut bob, ALICE, "offline", "")?;
        assert!(bob.quit()?.success());
    }
    Ok(())
}

#[test]
fn every_availability_survives_a_foreign_presence_agent() -> Result<()> {
    let kamailio = kamailio()?;
    let folder = tempfile::tempdir()?;
    let service = format!("sip:{}", kamailio.udp_addr());
    let mut alice = signed_in(&config(folder.path(), "alice", "wonderland", &service, "")?)?;
    let mut bob = signed_in(&config(folder.path(), "bob", "builder", &service, "")?)?;
    bob.done(json!({ "command": "add", "address": ALICE }))?;
    for availability in
        ["available", "idle", "busy", "busy-idle", "be-right-back", "away", "do-not-disturb", "offline"]
    {
        let note = format!("now {availability}");
        alice.done(json!({ "command": "status", "availability": availability, "note": note }))?;
        sees(&mut bob, ALICE, availability, &note)?;
    }
    Ok(())
}

#[test]
fn a_plugin_answers_for_the_one_who_is_away_and_another_archives() -> Result<()> {
    let kamailio = kamailio()?;
    let plugins = console::plugins()?;
    let folder = tempfile::tempdir()?;
    let service = format!("sip:{}", kamailio.udp_addr());
    let rest = format!(
        r#"[[plugin]]
name = "auto-reply"
component = '{plugins}/auto-reply.wasm'
grants = ["contacts.read", "presence.read", "messages.receive", "messages.send", "session.read", "storage"]
config.texts.away = "I am away: {{note}}."

[[plugin]]
name = "history"
component = '{plugins}/history.wasm'
grants = ["messages.receive", "archive.write", "session.read", "storage"]
"#,
        plugins = plugins.display()
    );
    let file = config(folder.path(), "alice", "wonderland", &service, &rest)?;
    let mut alice = signed_in(&file)?;
    let mut bob = signed_in(&config(folder.path(), "bob", "builder", &service, "")?)?;
    bob.done(json!({ "command": "add", "address": ALICE }))?;
    alice.done(json!({ "command": "status", "availability": "away", "note": "at lunch" }))?;
    sees(&mut bob, ALICE, "away", "at lunch")?;

    bob.done(json!({ "command": "im", "to": ALICE, "text": "did the Reykjavik contract arrive?" }))?;
    let reply = receives(&mut bob, ALICE, "I am away: at lunch.")?;
    assert_eq!(reply["automatic"], json!(true), "the reply is marked: {reply}");

    let mut found = json!(null);
    for _ in 0..100 {
        found = alice.done(json!({ "command": "history", "text": "reykjavik" }))?["messages"].clone();
        if found != json!([]) {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    assert_eq!(found.as_array().map(Vec::len), Some(1), "{found}");
    assert_eq!(found[0]["peer"], json!(BOB));
    assert_eq!(found[0]["direction"], json!("incoming"));

    // The command line reads the same archive while the program has it open.
    let output = std::process::Command::new(program())
        .args(["history", "search", "--format", "json", "--config"])
        .arg(&file)
        .arg("reykjavik")
        .output()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let line: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    assert_eq!(line["text"], json!("did the Reykjavik contract arrive?"));
    Ok(())
}

#[test]
fn a_message_to_somebody_who_is_not_there_arrives_when_they_come() -> Result<()> {
    let kamailio = kamailio()?;
    let folder = tempfile::tempdir()?;
    let service = format!("sip:{}", kamailio.udp_addr());
    let mut alice = signed_in(&config(folder.path(), "alice", "wonderland", &service, "")?)?;
    alice.done(json!({ "command": "im", "to": BOB, "text": "for later" }))?;
    alice.event("that the service took it", |line| {
        line["event"] == "message-state-changed" && line["state"] == "sent"
    })?;
    let mut bob = signed_in(&config(folder.path(), "bob", "builder", &service, "")?)?;
    bob.event("the stored message", |line| {
        line["event"] == "message-received"
            && line["text"].as_str().is_some_and(|text| text.ends_with("for later"))
    })?;
    Ok(())
}
