//! The `attache` command on the embedded service.

mod common;

use std::fs;

use anyhow::Result;
use attache_tests::console::Console;
use common::{Embedded, config, program, signed_in};
use serde_json::json;

const ALICE: &str = "sip:alice@example.test";
const BOB: &str = "sip:bob@example.test";

#[test]
fn somebody_off_the_list_is_watched_until_it_is_enough() -> Result<()> {
    let service = Embedded::start()?;
    let folder = tempfile::tempdir()?;
    let mut alice = signed_in(&config(folder.path(), "alice", "wonderland", &service.uri(), "")?)?;
    let mut bob = signed_in(&config(folder.path(), "bob", "builder", &service.uri(), "")?)?;
    let now = alice.done(json!({ "command": "watch", "address": BOB }))?;
    assert_eq!(now["address"], json!(BOB));
    bob.done(json!({ "command": "status", "availability": "busy", "note": "in a review" }))?;
    alice.event("that Bob is busy", |line| {
        line["event"] == "watched-presence-changed"
            && line["address"] == json!(BOB)
            && line["availability"] == "busy"
            && line["note"] == "in a review"
            && line["freshness"] == "live"
    })?;
    let watched = alice.done(json!({ "command": "watched" }))?;
    assert_eq!(watched["watched"][0]["availability"], json!("busy"));
    assert_eq!(alice.done(json!({ "command": "contacts" }))?["contacts"], json!([]));
    alice.done(json!({ "command": "unwatch", "address": BOB }))?;
    assert_eq!(alice.done(json!({ "command": "watched" }))?["watched"], json!([]));
    let again = alice.command(json!({ "command": "unwatch", "address": BOB }))?;
    assert_eq!(again["code"], json!("ATTACHE_E_NOT_FOUND"));
    Ok(())
}

#[test]
fn a_choice_runs_out_and_can_be_given_back() -> Result<()> {
    let service = Embedded::start()?;
    let folder = tempfile::tempdir()?;
    let mut alice = signed_in(&config(folder.path(), "alice", "wonderland", &service.uri(), "")?)?;
    let own = |value: &'static str| {
        move |line: &serde_json::Value| {
            line["event"] == "own-presence-changed" && line["availability"] == json!(value)
        }
    };
    alice
        .done(json!({ "command": "status", "availability": "busy", "until": "+1s", "note": "soon back" }))?;
    alice.event("busy", own("busy"))?;
    alice.event("that the choice ran out", own("available"))?;
    alice.done(json!({ "command": "status", "availability": "do-not-disturb" }))?;
    alice.event("the choice", own("do-not-disturb"))?;
    let why = alice.done(json!({ "command": "why" }))?;
    assert!(why["reasons"].as_array().is_some_and(|reasons| !reasons.is_empty()), "{why}");
    alice.done(json!({ "command": "automatic" }))?;
    alice.event("no choice", own("available"))?;
    alice.done(
        json!({ "command": "fact", "source": "calendar", "availability": "busy", "activity": "meeting" }),
    )?;
    let busy = alice.event("the meeting", own("busy"))?;
    assert!(busy["activities"].as_array().is_some_and(|all| all.contains(&json!("meeting"))), "{busy}");
    alice.done(json!({ "command": "no-fact", "source": "calendar" }))?;
    alice.event("no meeting", own("available"))?;
    let wrong = alice.command(json!({ "command": "status", "availability": "busy", "until": "Monday" }))?;
    assert_eq!(wrong["code"], json!("ATTACHE_E_INVALID_ARGUMENT"));
    Ok(())
}

#[test]
fn accounts_come_and_go_with_the_file_and_without_it() -> Result<()> {
    let service = Embedded::start()?;
    let folder = tempfile::tempdir()?;
    let file = config(folder.path(), "alice", "wonderland", &service.uri(), "")?;
    let mut desk = signed_in(&file)?;
    let bob = json!({
        "command": "add-account", "address": BOB, "password": "builder", "service": service.uri(),
    });
    desk.done(bob)?;
    desk.event("that Bob is signed in", |line| {
        line["event"] == "session-changed" && line["account"] == json!(BOB) && line["state"] == "signed-in"
    })?;
    let accounts = desk.done(json!({ "command": "accounts" }))?;
    assert_eq!(accounts["accounts"].as_array().map(Vec::len), Some(2), "{accounts}");
    desk.done(json!({ "command": "remove-account", "address": BOB }))?;

    let text = fs::read_to_string(&file)?;
    let more = format!(
        "\n[[account]]\naddress = \"{BOB}\"\npassword = \"builder\"\nservice = \"{}\"\n",
        service.uri()
    );
    fs::write(&file, format!("{text}{more}"))?;
    let reloaded = desk.done(json!({ "command": "reload" }))?;
    assert_eq!((&reloaded["added"], &reloaded["unchanged"]), (&json!([BOB]), &json!(1)));
    desk.event("that Bob is signed in again", |line| {
        line["event"] == "session-changed" && line["account"] == json!(BOB) && line["state"] == "signed-in"
    })?;
    let sees = json!({ "command": "watch", "account": ALICE, "address": BOB });
    desk.done(sees)?;

    fs::write(&file, format!("{text}{more}serivce = 1\n"))?;
    let refused = desk.command(json!({ "command": "reload" }))?;
    assert_eq!(refused["ok"], json!(false));
    assert!(refused["cause"].as_str().is_some_and(|it| it.contains("did you mean `service`?")), "{refused}");
    let refused = desk.command(json!({ "command": "add-account", "address": BOB, "pasword": "x" }))?;
    let words = refused["message"].as_str().unwrap_or_default();
    assert!(words.contains("account.pasword") && words.contains("did you mean `password`?"), "{refused}");
    Ok(())
}

#[test]
fn a_plugin_that_does_not_start_is_told_of() -> Result<()> {
    let service = Embedded::start()?;
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("broken.wasm"), b"this is no component")?;
    let rest = "[[plugin]]\nname = \"broken\"\ncomponent = \"broken.wasm\"\n";
    let mut alice =
        Console::run(program(), &config(folder.path(), "alice", "wonderland", &service.uri(), rest)?)?;
    let told = alice.event("that it does not run", |line| line["event"] == "plugin-refused")?;
    assert_eq!(told["plugin"], json!("broken"));
    assert!(told["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{told}");
    Ok(())
}

fn doctor(file: &std::path::Path, more: &[&str]) -> Result<(Option<i32>, String)> {
    let mut command = std::process::Command::new(program());
    let output = command.args(["doctor", "--config"]).arg(file).args(more).output()?;
    Ok((output.status.code(), String::from_utf8(output.stdout)?))
}

#[test]
fn the_doctor_says_what_is_in_the_way_to_people_and_programs() -> Result<()> {
    let service = Embedded::start()?;
    let folder = tempfile::tempdir()?;
    let healthy = config(folder.path(), "alice", "wonderland", &service.uri(), "")?;
    let (code, said) = doctor(&healthy, &[])?;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("nothing is in the way") && said.contains("is signed in"), "{said}");

    let wrong = config(folder.path(), "bob", "looking-glass", &service.uri(), "")?;
    let (code, said) = doctor(&wrong, &["--json"])?;
    assert_eq!(code, Some(1), "{said}");
    let value: serde_json::Value = serde_json::from_str(&said)?;
    let account = &value["accounts"][0];
    assert_eq!((&account["account"], &account["ok"]), (&json!(BOB), &json!(false)));
    assert_eq!(account["reason"]["code"], json!("MSGR_E_INVALID_PASSWORD"));
    let findings = account["findings"].as_array().cloned().unwrap_or_default();
    let password = findings.iter().find(|it| it["key"] == "account.password");
    assert_eq!(password.map(|it| &it["level"]), Some(&json!("problem")), "{said}");
    assert_eq!(account["flows"][0]["transport"], json!("udp"));

    let (code, _) = doctor(&wrong, &["--account", ALICE])?;
    assert_eq!(code, Some(2), "no such account in the file");
    let (code, said) = doctor(&folder.path().join("none.toml"), &["--json"])?;
    assert_eq!(code, Some(3));
    let value: serde_json::Value = serde_json::from_str(&said)?;
    assert!(value["error"].as_str().is_some_and(|error| error.contains("none.toml")), "{said}");
    Ok(())
}
