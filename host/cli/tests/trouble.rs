//! What happens when something is wrong: the service, the password, the process.

#![cfg(unix)]

mod common;

use std::time::Duration;

use anyhow::Result;
use attache_tests::console::Console;
use common::{config, kamailio, program, receives, sees, signed_in};
use serde_json::json;

const ALICE: &str = "sip:alice@example.test";
const BOB: &str = "sip:bob@example.test";

#[test]
fn a_wrong_password_is_one_clear_error_and_is_not_tried_again() -> Result<()> {
    let kamailio = kamailio()?;
    let folder = tempfile::tempdir()?;
    let service = format!("sip:{}", kamailio.udp_addr());
    let file = config(folder.path(), "alice", "looking-glass", &service, "")?;
    let mut alice = Console::run(program(), &file)?;
    let refused = alice.event("the refusal", |line| {
        line["event"] == "session-changed" && line["state"] == "signed-out" && !line["reason"].is_null()
    })?;
    assert_eq!(refused["reason"]["code"], json!("MSGR_E_INVALID_PASSWORD"), "{refused}");
    assert_eq!(refused["reason"]["number"], json!("0x81000303"));
    let more = alice.quiet(Duration::from_secs(5));
    let again =
        more.iter().filter(|line| line["event"] == "session-changed" && line["state"] != "signed-out");
    // The state before the refusal may have been printed first; nothing may come after it.
    assert!(again.clone().all(|line| line["seq"].as_u64() < refused["seq"].as_u64()), "{more:?}");
    let registers = kamailio.log().matches("wrong password").count();
    assert!(registers <= 2, "no storm: {registers}");
    Ok(())
}

#[test]
fn a_dead_service_makes_presence_stale_and_everything_recovers_by_itself() -> Result<()> {
    let mut kamailio = kamailio()?;
    let folder = tempfile::tempdir()?;
    let service = format!("sip:{};transport=tcp", kamailio.tcp_addr());
    let mut alice = signed_in(&config(folder.path(), "alice", "wonderland", &service, "")?)?;
    let mut bob = signed_in(&config(folder.path(), "bob", "builder", &service, "")?)?;
    bob.done(json!({ "command": "add", "address": ALICE }))?;
    alice.done(json!({ "command": "status", "availability": "busy", "note": "before" }))?;
    sees(&mut bob, ALICE, "busy", "before")?;
    // The service writes its publications down every second; one that it lost it would truly deny.
    std::thread::sleep(Duration::from_secs(2));

    kamailio.kill()?;
    let failure = bob
        .event("the failure", |line| line["event"] == "session-changed" && line["state"] == "reconnecting")?;
    let stale = bob.event("that Alice's presence is stale", |line| {
        line["event"] == "presence-changed" && line["freshness"] == "stale"
    })?;
    assert_eq!(stale["availability"], json!("busy"), "what was known stays, and is never shown as offline");
    // Accepted while nobody is there to take it.
    bob.done(json!({ "command": "im", "to": ALICE, "text": "in between" }))?;

    kamailio.restart()?;
    bob.event_within(Duration::from_secs(60), "the recovery", |line| {
        line["event"] == "session-changed" && line["state"] == "signed-in"
    })?;
    alice.event_within(Duration::from_secs(60), "Alice's recovery", |line| {
        line["event"] == "session-changed" && line["state"] == "signed-in"
    })?;
    bob.event_within(Duration::from_secs(60), "live presence", |line| {
        line["event"] == "presence-changed" && line["freshness"] == "live" && line["availability"] == "busy"
    })?;
    alice.event_within(Duration::from_secs(60), "the message", |line| {
        line["event"] == "message-received"
            && line["text"].as_str().is_some_and(|text| text.ends_with("in between"))
    })?;
    // Before it, the service may have said so itself: Alice had not published yet.
    let later = bob.came().iter().filter(|line| line["seq"].as_u64() > failure["seq"].as_u64());
    let offline: Vec<_> = later.filter(|line| line["availability"] == "offline").collect();
    assert!(offline.is_empty(), "nobody is shown as offline because of an outage: {offline:?}");
    Ok(())
}

#[test]
fn kill_9_in_a_conversation_loses_no_accepted_message_and_repeats_none() -> Result<()> {
    let rounds: usize = if std::env::var_os("ATTACHE_SOAK").is_some() { 50 } else { 4 };
    let kamailio = kamailio()?;
    let folder = tempfile::tempdir()?;
    let service = format!("sip:{}", kamailio.udp_addr());
    let file = config(folder.path(), "alice", "wonderland", &service, "")?;
    let mut bob = signed_in(&config(folder.path(), "bob", "builder", &service, "")?)?;
    let mut accepted = Vec::new();
    for round in 0..rounds {
        let mut alice = signed_in(&file)?;
        for number in 0..5 {
            let text = format!("message {round}.{number}");
            alice.done(json!({ "command": "im", "to": BOB, "text": text }))?;
            accepted.push(text);
        }
        alice.kill()?;
    }
    let alice = signed_in(&file)?;
    for text in &accepted {
        receives(&mut bob, ALICE, text)?;
    }
    let more = bob.quiet(Duration::from_secs(3));
    let repeated: Vec<_> = more.iter().filter(|line| line["event"] == "message-received").collect();
    assert!(repeated.is_empty(), "every message came once: {repeated:?}");
    drop(alice);
    Ok(())
}

#[test]
fn a_process_that_is_killed_while_it_receives_loses_no_archived_message() -> Result<()> {
    // A killed process leaves its binding behind, and Kamailio passes a message on to twelve at most.
    let (passes, rounds) = if std::env::var_os("ATTACHE_SOAK").is_some() { (5, 8) } else { (1, 3) };
    (0..passes).try_for_each(|_| kill_while_receiving(rounds))
}

fn kill_while_receiving(rounds: usize) -> Result<()> {
    let kamailio = kamailio()?;
    let plugins = attache_tests::console::plugins()?;
    let folder = tempfile::tempdir()?;
    let service = format!("sip:{}", kamailio.udp_addr());
    let rest = format!(
        "[[plugin]]\nname = \"history\"\ncomponent = '{}/history.wasm'\n\
         grants = [\"messages.receive\", \"archive.write\", \"session.read\", \"storage\"]\n",
        plugins.display()
    );
    let file = config(folder.path(), "alice", "wonderland", &service, &rest)?;
    let mut bob = signed_in(&config(folder.path(), "bob", "builder", &service, "")?)?;
    let mut delivered = Vec::new();
    for round in 0..rounds {
        let mut alice = signed_in(&file)?;
        for number in 0..5 {
            let text = format!("archive{round}x{number}");
            bob.done(json!({ "command": "im", "to": ALICE, "text": text }))?;
            delivered.push(text);
        }
        // She has seen the last one, so the engine took all of them; the plugin may still be behind.
        receives(&mut alice, BOB, delivered.last().map_or("", String::as_str))?;
        alice.kill()?;
    }
    let mut alice = signed_in(&file)?;
    for text in &delivered {
        let mut found = 0;
        for _ in 0..100 {
            let result = alice.done(json!({ "command": "history", "text": text }))?;
            found = result["messages"].as_array().map_or(0, Vec::len);
            if found > 0 {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        if found != 1 {
            let plugins = alice.done(json!({ "command": "plugins" }))?;
            panic!("{text} is {found} times in the archive; {plugins}");
        }
    }
    Ok(())
}

#[test]
fn the_service_may_be_away_when_the_program_starts() -> Result<()> {
    let mut kamailio = kamailio()?;
    kamailio.kill()?;
    let folder = tempfile::tempdir()?;
    let service = format!("sip:{};transport=tcp", kamailio.tcp_addr());
    let file = config(folder.path(), "alice", "wonderland", &service, "")?;
    let mut alice = Console::run(program(), &file)?;
    alice.event("that it tries again", |line| {
        line["event"] == "session-changed" && line["state"] == "reconnecting" && !line["reason"].is_null()
    })?;
    kamailio.restart()?;
    alice.event_within(Duration::from_secs(60), "the sign-in", |line| {
        line["event"] == "session-changed" && line["state"] == "signed-in"
    })?;
    Ok(())
}

#[test]
fn a_service_that_is_away_does_not_keep_the_program_from_ending() -> Result<()> {
    for quit in [true, false] {
        let mut kamailio = kamailio()?;
        let folder = tempfile::tempdir()?;
        let service = format!("sip:{};transport=tcp", kamailio.tcp_addr());
        let mut alice = signed_in(&config(folder.path(), "alice", "wonderland", &service, "")?)?;
        kamailio.kill()?;
        alice.event("the failure", |line| line["state"] == "reconnecting")?;
        alice.write_line("status away")?;
        alice.write_line("sign-in")?;
        let begun = std::time::Instant::now();
        let status = if quit {
            alice.quit()?
        } else {
            alice.terminate()?;
            alice.ended()?
        };
        assert!(status.success(), "{status}");
        assert!(begun.elapsed() < Duration::from_secs(15), "it took {:?}", begun.elapsed());
    }
    Ok(())
}

#[test]
fn commands_before_a_quit_are_carried_out() -> Result<()> {
    let kamailio = kamailio()?;
    let folder = tempfile::tempdir()?;
    let service = format!("sip:{}", kamailio.udp_addr());
    let mut bob = signed_in(&config(folder.path(), "bob", "builder", &service, "")?)?;
    let mut alice = signed_in(&config(folder.path(), "alice", "wonderland", &service, "")?)?;
    alice.write_line(&format!("im {BOB} one"))?;
    alice.write_line(&format!("im {BOB} two"))?;
    assert!(alice.quit()?.success());
    // What was accepted and not yet sent waits for the next start.
    let alice = signed_in(&folder.path().join("alice.toml"))?;
    receives(&mut bob, ALICE, "one")?;
    receives(&mut bob, ALICE, "two")?;
    drop(alice);
    Ok(())
}
