//! Conversations, receipts and files between `attache` programs on the embedded service.

mod common;

use std::{fs, path::Path};

use anyhow::Result;
use attache_tests::console::Console;
use common::{Embedded, config, receives, signed_in};
use serde_json::{Value, json};

const ALICE: &str = "sip:alice@example.test";
const BOB: &str = "sip:bob@example.test";
const CAROL: &str = "sip:carol@example.test";

fn alice(folder: &Path, service: &Embedded) -> Result<Console> {
    signed_in(&config(folder, "alice", "wonderland", &service.uri(), "")?)
}

fn bob(folder: &Path, service: &Embedded) -> Result<Console> {
    signed_in(&config(folder, "bob", "builder", &service.uri(), "")?)
}

fn carol(folder: &Path, service: &Embedded) -> Result<Console> {
    signed_in(&config(folder, "carol", "christmas", &service.uri(), "")?)
}

/// The people of a line, in order.
fn people(line: &Value) -> Vec<&str> {
    let mut all: Vec<&str> =
        line["participants"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    all.sort_unstable();
    all
}

/// Waits until a message is in this state at this recipient.
fn reaches(console: &mut Console, message: &Value, to: &str, state: &str) -> Result<()> {
    console.event(&format!("{message} {state} at {to}"), |line| {
        line["event"] == "message-state-changed"
            && line["message"] == *message
            && line["to"] == json!(to)
            && line["state"] == json!(state)
    })?;
    Ok(())
}

/// Waits for somebody who comes or goes.
fn participant(console: &mut Console, event: &str, conversation: &Value, address: &str) -> Result<()> {
    console.event(&format!("{event} of {address}"), |line| {
        line["event"] == json!(event)
            && line["conversation"] == *conversation
            && line["address"] == json!(address)
    })?;
    Ok(())
}

#[test]
fn three_people_talk_about_a_subject_and_one_is_taken_out() -> Result<()> {
    let service = Embedded::start()?;
    let folder = tempfile::tempdir()?;
    let mut alice = alice(folder.path(), &service)?;
    let mut bob = bob(folder.path(), &service)?;
    let mut carol = carol(folder.path(), &service)?;
    let begun = alice.done(
        json!({ "command": "start-conversation", "participants": [BOB, CAROL], "subject": "The harvest" }),
    )?;
    let id = begun["conversation"].clone();
    participant(&mut alice, "participant-joined", &id, BOB)?;
    participant(&mut alice, "participant-joined", &id, CAROL)?;
    alice.done(json!({ "command": "say", "conversation": id, "text": "who brings a cart?" }))?;
    let asked = receives(&mut bob, ALICE, "who brings a cart?")?;
    let told = receives(&mut carol, ALICE, "who brings a cart?")?;
    bob.done(json!({ "command": "say", "conversation": asked["conversation"], "text": "I do" }))?;
    assert_eq!(receives(&mut alice, BOB, "I do")?["conversation"], id);
    assert_eq!(receives(&mut carol, BOB, "I do")?["conversation"], told["conversation"]);

    let theirs = bob.done(json!({ "command": "conversations" }))?;
    let known = theirs["conversations"].as_array().into_iter().flatten();
    let known = known.filter(|it| it["conversation"] == asked["conversation"]).collect::<Vec<_>>();
    assert_eq!(known.len(), 1, "{theirs}");
    assert_eq!((&known[0]["subject"], people(known[0])), (&json!("The harvest"), vec![ALICE, CAROL]));
    let read = alice.done(json!({ "command": "transcript", "conversation": id }))?;
    assert_eq!(people(&read["conversation"]), [BOB, CAROL]);
    let texts = read["transcript"].as_array().into_iter().flatten().filter_map(|it| it["text"].as_str());
    assert_eq!(texts.collect::<Vec<_>>(), ["who brings a cart?", "I do"]);

    alice.done(json!({ "command": "remove-participant", "conversation": id, "address": CAROL }))?;
    participant(&mut alice, "participant-left", &id, CAROL)?;
    participant(&mut bob, "participant-left", &asked["conversation"], CAROL)?;
    alice.done(json!({ "command": "close-conversation", "conversation": id }))?;
    alice.event("that it is closed", |line| {
        line["event"] == "conversation-closed" && line["conversation"] == id
    })?;
    let late = alice.command(json!({ "command": "say", "conversation": id, "text": "too late" }))?;
    assert_eq!(late["ok"], json!(false), "{late}");
    Ok(())
}

#[test]
fn a_conversation_that_was_closed_is_read_after_a_restart() -> Result<()> {
    let service = Embedded::start()?;
    let folder = tempfile::tempdir()?;
    let mut first = alice(folder.path(), &service)?;
    let mut bob = bob(folder.path(), &service)?;
    let begun = first
        .done(json!({ "command": "start-conversation", "participants": [BOB], "subject": "The harvest" }))?;
    let id = begun["conversation"].clone();
    first.done(json!({ "command": "say", "conversation": id, "text": "who brings a cart?" }))?;
    let asked = receives(&mut bob, ALICE, "who brings a cart?")?;
    bob.done(json!({ "command": "say", "conversation": asked["conversation"], "text": "I do" }))?;
    receives(&mut first, BOB, "I do")?;
    first.done(json!({ "command": "close-conversation", "conversation": id }))?;
    assert!(first.quit()?.success());

    let mut again = alice(folder.path(), &service)?;
    let read = again.done(json!({ "command": "transcript", "conversation": id }))?;
    assert_eq!(read["conversation"]["subject"], json!("The harvest"));
    let texts = read["transcript"].as_array().into_iter().flatten().filter_map(|it| it["text"].as_str());
    assert_eq!(texts.collect::<Vec<_>>(), ["who brings a cart?", "I do"]);
    Ok(())
}

#[test]
fn somebody_is_added_to_a_conversation() -> Result<()> {
    let service = Embedded::start()?;
    let folder = tempfile::tempdir()?;
    let mut alice = alice(folder.path(), &service)?;
    let mut bob = bob(folder.path(), &service)?;
    let mut carol = carol(folder.path(), &service)?;
    let begun = alice.done(json!({ "command": "start-conversation", "participants": [BOB] }))?;
    let id = begun["conversation"].clone();
    alice.done(json!({ "command": "say", "conversation": id, "text": "just us" }))?;
    receives(&mut bob, ALICE, "just us")?;
    alice.done(json!({ "command": "add-participant", "conversation": id, "address": CAROL }))?;
    participant(&mut alice, "participant-joined", &id, CAROL)?;
    alice.done(json!({ "command": "say", "conversation": id, "text": "all of us" }))?;
    receives(&mut bob, ALICE, "all of us")?;
    let told = receives(&mut carol, ALICE, "all of us")?;
    let read = carol.done(json!({ "command": "transcript", "conversation": told["conversation"] }))?;
    assert_eq!(people(&read["conversation"]), [ALICE, BOB]);
    Ok(())
}

#[test]
fn whoever_writes_is_shown_writing_and_a_receipt_tells_that_a_message_is_there() -> Result<()> {
    let service = Embedded::start()?;
    let folder = tempfile::tempdir()?;
    let mut alice = alice(folder.path(), &service)?;
    let mut bob = bob(folder.path(), &service)?;
    let sent =
        alice.done(json!({ "command": "im", "to": BOB, "text": "are you there?" }))?["message"].clone();
    let got = receives(&mut bob, ALICE, "are you there?")?;
    reaches(&mut alice, &sent, BOB, "delivered")?;

    bob.done(json!({ "command": "typing", "to": ALICE }))?;
    let writes = |active: bool| {
        move |line: &Value| {
            line["event"] == "composing-changed"
                && line["address"] == json!(BOB)
                && line["active"] == json!(active)
        }
    };
    alice.event("that Bob writes", writes(true))?;
    bob.done(json!({ "command": "typing", "to": ALICE, "active": false }))?;
    alice.event("that Bob writes no more", writes(false))?;

    bob.done(json!({ "command": "seen", "message": got["message"] }))?;
    let receipts = alice.done(json!({ "command": "receipts", "message": sent }))?;
    let receipts = &receipts["receipts"];
    assert_eq!(receipts.as_array().map(Vec::len), Some(1), "{receipts}");
    assert_eq!((&receipts[0]["recipient"], &receipts[0]["state"]), (&json!(BOB), &json!("delivered")));
    let late = alice.command(json!({ "command": "cancel", "message": sent }))?;
    assert_eq!(late["ok"], json!(false), "{late}");
    Ok(())
}

#[test]
fn a_message_that_waits_is_cancelled() -> Result<()> {
    let service = Embedded::start()?;
    let folder = tempfile::tempdir()?;
    let file = config(folder.path(), "alice", "wonderland", &service.uri(), "")?;
    let mut bob = bob(folder.path(), &service)?;
    let mut alice = signed_in(&file)?;
    alice.done(json!({ "command": "sign-out" }))?;
    alice
        .event("the sign-out", |line| line["event"] == "session-changed" && line["state"] == "signed-out")?;
    let regretted =
        alice.done(json!({ "command": "im", "to": BOB, "text": "I regret this" }))?["message"].clone();
    let meant = alice.done(json!({ "command": "im", "to": BOB, "text": "I mean this" }))?["message"].clone();
    let waiting = alice.done(json!({ "command": "outbox" }))?;
    let item = &waiting["outbox"][0];
    assert_eq!(waiting["outbox"].as_array().map(Vec::len), Some(2), "{waiting}");
    assert_eq!((&item["message"], &item["waiting"][0]["reason"]), (&regretted, &json!("turn")));
    alice.done(json!({ "command": "cancel", "message": regretted }))?;
    reaches(&mut alice, &regretted, BOB, "cancelled")?;
    alice.done(json!({ "command": "sign-in" }))?;
    reaches(&mut alice, &meant, BOB, "delivered")?;
    receives(&mut bob, ALICE, "I mean this")?;
    // Messages to one person go in order: the first one would have come before.
    assert!(!bob.came().iter().any(|line| line["text"] == "I regret this"));
    Ok(())
}

#[test]
fn a_file_is_offered_and_arrives_as_it_was() -> Result<()> {
    let service = Embedded::start()?;
    let folder = tempfile::tempdir()?;
    let mut alice = alice(folder.path(), &service)?;
    let mut bob = bob(folder.path(), &service)?;
    let bytes: Vec<u8> = (0_u32..200_000).map(|it| (it % 251) as u8).collect();
    let (source, target) = (folder.path().join("map.bin"), folder.path().join("received.bin"));
    fs::write(&source, &bytes)?;
    let sent = alice.done(json!({ "command": "send-file", "to": BOB, "path": source }))?["file"].clone();
    let offered = bob.event("the offer", |line| {
        line["event"] == "file-changed" && line["state"] == "offered" && line["incoming"] == json!(true)
    })?;
    assert_eq!(
        (&offered["name"], &offered["size"], &offered["peer"]),
        (&json!("map.bin"), &json!(bytes.len()), &json!(ALICE))
    );
    bob.done(json!({ "command": "accept-file", "file": offered["file"], "path": target }))?;
    for (console, file) in [(&mut alice, &sent), (&mut bob, &offered["file"])] {
        console.event("that it is there", |line| {
            line["event"] == "file-changed" && line["file"] == *file && line["state"] == "done"
        })?;
    }
    assert_eq!(fs::read(&target)?, bytes);
    let files = bob.done(json!({ "command": "files" }))?;
    assert_eq!(
        (&files["files"][0]["state"], &files["files"][0]["done"]),
        (&json!("done"), &json!(bytes.len()))
    );
    Ok(())
}

#[test]
fn a_file_that_nobody_wants_and_one_that_is_not_there_are_told() -> Result<()> {
    let service = Embedded::start()?;
    let folder = tempfile::tempdir()?;
    let mut alice = alice(folder.path(), &service)?;
    let mut bob = bob(folder.path(), &service)?;
    let source = folder.path().join("spam.txt");
    fs::write(&source, "buy now")?;
    let sent = alice.done(json!({ "command": "send-file", "to": BOB, "path": source }))?["file"].clone();
    let offered = bob.event("the offer", |line| {
        line["event"] == "file-changed" && line["state"] == "offered" && line["incoming"] == json!(true)
    })?;
    bob.done(json!({ "command": "decline-file", "file": offered["file"] }))?;
    let ended = alice.event("that nobody wants it", |line| {
        line["event"] == "file-changed" && line["file"] == sent && line["state"] == "ended"
    })?;
    assert!(ended["reason"]["code"].is_string(), "{ended}");
    let absent = alice.command(json!({
        "command": "send-file", "to": BOB, "path": folder.path().join("none.txt"),
    }))?;
    assert_eq!(absent["ok"], json!(false), "{absent}");
    Ok(())
}

#[test]
fn a_call_without_a_phone_is_one_clear_error() -> Result<()> {
    let service = Embedded::start()?;
    let folder = tempfile::tempdir()?;
    let mut alice = alice(folder.path(), &service)?;
    let call = alice.done(json!({ "command": "call", "to": BOB }))?["call"].clone();
    let ended = alice.event("that nobody is called", |line| {
        line["event"] == "call-changed" && line["call"] == call && line["state"] == "ended"
    })?;
    let reason = &ended["reason"];
    assert_eq!(reason["code"], json!("MSGR_E_VOICE_NO_ANSWER"), "{reason}");
    for command in ["hang-up", "answer-call"] {
        let nothing = alice.command(json!({ "command": command }))?;
        assert_eq!(nothing["code"], json!("ATTACHE_E_NOT_FOUND"), "{nothing}");
    }
    Ok(())
}
