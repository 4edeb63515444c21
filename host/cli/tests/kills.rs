//! A program that is killed again and again, at any step of starting, sending, receiving and archiving: nothing that was
//! accepted is lost, and nothing comes twice.
//!
//! `ATTACHE_SOAK=1` kills it a thousand times.

#![cfg(unix)]

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use attache_tests::{
    console::{Console, PATIENCE, plugins},
    server::{Kind, Server, Transport},
};
use common::{config, program, signed_in};
use serde_json::{Value, json};

const ALICE: &str = "sip:alice@example.test";
const BOB: &str = "sip:bob@example.test";

/// Messages in each direction of one round.
const MESSAGES: usize = 3;

/// When to kill. A linear congruential generator is chance enough for that.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: Duration) -> Duration {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let share = (self.0 >> 11) as f64 / (1_u64 << 53) as f64;
        bound.mul_f64(share)
    }
}

/// What is known of all messages with a text of their own.
#[derive(Default)]
struct Ledger {
    /// Alice's, that her program said it had accepted.
    accepted: BTreeSet<String>,
    /// Bob's, that were accepted.
    for_alice: BTreeSet<String>,
    /// How often Bob got each.
    heard: BTreeMap<String, usize>,
}

impl Ledger {
    /// What Alice's program has said before it ended. `asked` has the texts by the id of the command.
    fn hear_alice(&mut self, lines: &[Value], asked: &BTreeMap<String, String>) {
        for line in lines.iter().filter(|line| line["event"] == "command-result" && line["ok"] == json!(true))
        {
            if let Some(text) = line["id"].as_str().and_then(|id| asked.get(id)) {
                self.accepted.insert(text.clone());
            }
        }
    }

    fn hear_bob(&mut self, bob: &mut Console) {
        for line in bob.take() {
            if line["event"] == "message-received"
                && let Some(text) = line["text"].as_str()
            {
                *self.heard.entry(text.to_owned()).or_default() += 1;
            }
        }
    }
}

fn send(console: &mut Console, id: &str, to: &str, text: &str) -> Result<()> {
    console.write_line(&json!({ "command": "im", "to": to, "text": text, "id": id }).to_string())
}

#[test]
fn nothing_is_lost_and_nothing_comes_twice_however_often_the_program_is_killed() -> Result<()> {
    let kills: usize = if std::env::var_os("ATTACHE_SOAK").is_some() { 1_000 } else { 12 };
    let server = Server::start(Kind::Embedded)?;
    let service = format!("sip:{};transport=tcp", server.addr(Transport::Tcp)?);
    let folder = tempfile::tempdir()?;
    let history = format!(
        "[[plugin]]\nname = \"history\"\ncomponent = '{}/history.wasm'\n\
         grants = [\"messages.receive\", \"archive.write\", \"session.read\", \"storage\"]\n",
        plugins()?.display()
    );
    let file = config(folder.path(), "alice", "wonderland", &service, &history)?;
    let mut bob = signed_in(&config(folder.path(), "bob", "builder", &service, "")?)?;
    let mut ledger = Ledger::default();

    // How long it all takes when nobody disturbs it, so that kills fall on every step of it.
    let begun = Instant::now();
    let mut alice = signed_in(&file)?;
    let starting = begun.elapsed();
    let begun = Instant::now();
    alice.done(json!({ "command": "im", "to": BOB, "text": "undisturbed" }))?;
    common::receives(&mut bob, ALICE, "undisturbed")?;
    let sending = begun.elapsed() * u32::try_from(2 * MESSAGES)?;
    alice.kill()?;

    let seed = u64::from(std::process::id());
    let mut chance = Chance(seed);
    for round in 0..kills {
        let mut asked = BTreeMap::new();
        // Every third one dies while it starts, with what the ones before it left behind.
        let alice = if round % 3 == 2 {
            let alice = Console::run(program(), &file)?;
            std::thread::sleep(chance.below(starting * 2));
            alice
        } else {
            let mut alice = signed_in(&file)?;
            for number in 0..MESSAGES {
                let (to_bob, to_alice) = (format!("out {round}.{number}"), format!("in{round}x{number}"));
                send(&mut alice, &number.to_string(), BOB, &to_bob)?;
                asked.insert(number.to_string(), to_bob);
                bob.done(json!({ "command": "im", "to": ALICE, "text": to_alice }))?;
                ledger.for_alice.insert(to_alice);
            }
            std::thread::sleep(chance.below(sending));
            alice
        };
        ledger.hear_alice(&alice.kill_and_take()?, &asked);
        ledger.hear_bob(&mut bob);
    }

    let mut alice = signed_in(&file)?;
    // Messages to one person go in order: when this one is there, all others are, or never will be.
    alice.done(json!({ "command": "im", "to": BOB, "text": "the last one" }))?;
    let deadline = Instant::now() + 10 * PATIENCE;
    while !ledger.heard.contains_key("the last one") {
        ensure!(Instant::now() < deadline, "the outbox is not worked off");
        std::thread::sleep(Duration::from_millis(50));
        ledger.hear_bob(&mut bob);
    }
    bob.quiet(Duration::from_secs(2));
    ledger.hear_bob(&mut bob);
    let lost: Vec<_> = ledger.accepted.iter().filter(|text| !ledger.heard.contains_key(*text)).collect();
    ensure!(lost.is_empty(), "seed {seed}: accepted, and never came: {lost:?}");
    let twice: Vec<_> = ledger.heard.iter().filter(|(_, times)| **times != 1).collect();
    ensure!(twice.is_empty(), "seed {seed}: came more than once: {twice:?}");
    for text in &ledger.for_alice {
        archived_once(&mut alice, text).with_context(|| format!("seed {seed}"))?;
    }
    println!(
        "{kills} kills: {} sent and {} received messages, each once",
        ledger.heard.len(),
        ledger.for_alice.len()
    );
    Ok(())
}

fn archived_once(alice: &mut Console, text: &str) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let result = alice.done(json!({ "command": "history", "text": text }))?;
        match result["messages"].as_array().map_or(0, Vec::len) {
            1 => return Ok(()),
            0 if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(100)),
            found => bail!("{text} is {found} times in the archive"),
        }
    }
}
