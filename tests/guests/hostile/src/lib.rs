//! Misbehaves as the keys of its configuration say: `start`, `message` and `presence` each name what it does there.

wit_bindgen::generate!({
    path: "../../../wit",
    inline: "
        package test:hostile;

        world hostile {
            import attache:messenger/contacts@1.0.0;
            import attache:messenger/messages@1.0.0;
            import attache:messenger/clock@1.0.0;
            import wasi:config/store@0.2.0-rc.1;
            import wasi:keyvalue/store@0.2.0-draft;
            import wasi:logging/logging@0.1.0-draft;

            export attache:messenger/lifecycle@1.0.0;
            export attache:messenger/presence-events@1.0.0;
            export attache:messenger/message-events@1.0.0;
        }
    ",
    world: "test:hostile/hostile",
    generate_all,
});

use std::hint::black_box;

use attache::messenger::{
    clock, contacts,
    messages::{Purpose, send},
    types::{Availability, EventInfo},
};
use exports::attache::messenger::{lifecycle, message_events, presence_events};
use wasi::{
    config::store as config,
    keyvalue::store as values,
    logging::logging::{Level, log},
};

struct Hostile;

export!(Hostile);

fn mode(key: &str) -> String {
    config::get(key).ok().flatten().unwrap_or_default()
}

/// Tells the test, through a message to `sip:report@example.com`.
fn report(account: u64, text: &str) {
    let _ = send(account, "sip:report@example.com", text, Purpose::OnBehalf);
}

/// How often this was called, counted across restarts.
fn count() -> u64 {
    let Ok(bucket) = values::open("") else { return 0 };
    let text = bucket.get("count").ok().flatten().unwrap_or_default();
    let count = String::from_utf8_lossy(&text).parse().unwrap_or(0_u64) + 1;
    let _ = bucket.set("count", count.to_string().as_bytes());
    count
}

fn misbehave(mode: &str, account: u64, sender: &str) -> Result<(), String> {
    match mode {
        "trap" => unreachable!("as it was told to"),
        "trap-once" => assert!(count() > 1, "as it was told to, once"),
        "refuse" => return Err("as it was told to".to_owned()),
        "refuse-once" if count() == 1 => return Err("as it was told to, once".to_owned()),
        "refuse-often" if count() <= 8 => return Err("as it was told to, often".to_owned()),
        "loop" => loop {
            black_box(0_u32);
        },
        "trap-slowly-once" => match count() {
            1 => {
                report(account, "slow");
                let _ = misbehave("burn", account, "");
            }
            2 => unreachable!("as it was told to, the second time"),
            _ => {}
        },
        "burn" => {
            let end = clock::now() + 300;
            while clock::now() < end {
                for n in 0..1_000_000_u64 {
                    black_box(n);
                }
            }
        }
        "memory" => {
            let mut hoard = Vec::new();
            loop {
                hoard.push(vec![1_u8; 1 << 20]);
                black_box(&hoard);
            }
        }
        "recursion" => drop(black_box(deeper(0))),
        "flood" => {
            let mut refused = 0;
            for n in 0..1000 {
                refused += u32::from(
                    send(account, &format!("sip:user{n}@example.com"), "spam", Purpose::OnBehalf).is_err(),
                );
            }
            log(Level::Info, "flood", &format!("{refused} refused"));
        }
        "reply" => {
            for _ in 0..3 {
                if let Err(error) = send(account, sender, "I am away", Purpose::AutomaticReply) {
                    log(Level::Info, "reply", &error.name);
                }
            }
        }
        "on-behalf" => {
            for to in [sender.to_owned(), sender.replace("sip:", "im:")] {
                if let Err(error) = send(account, &to, "I am away", Purpose::OnBehalf) {
                    log(Level::Info, "on-behalf", &error.name);
                }
            }
        }
        "log" => {
            for n in 0..5_000 {
                log(Level::Info, "flood", &format!("line {n}\n\x1b[2Jline {n} and a half"));
            }
        }
        "denied" => match contacts::list_contacts(account) {
            Ok(_) => report(account, "granted"),
            Err(error) => report(account, &format!("{} {}", error.name, error.message)),
        },
        "calls" => {
            for _ in 0..10_000_000 {
                clock::now();
            }
        }
        "argument" => log(Level::Info, "huge", &"x".repeat(8 << 20)),
        "handles" => {
            let mut open = Vec::new();
            for _ in 0..100_000 {
                open.extend(values::open("b"));
            }
        }
        "values" => {
            let bucket = values::open("b").map_err(|error| format!("{error:?}"))?;
            let mut kept = 0;
            for n in 0..50 {
                kept += u32::from(bucket.set(&format!("key{n}"), &[1; 10_000]).is_ok());
            }
            report(account, &format!("kept {kept}"));
        }
        "foreign" => match send(account ^ 1, "sip:report@example.com", "as somebody else", Purpose::OnBehalf)
        {
            Ok(_) => report(account, "sent as somebody else"),
            Err(error) => report(account, &error.name),
        },
        _ => {}
    }
    Ok(())
}

/// Takes little of the guest's own stack for each step, so that the host's limit is met first.
#[inline(never)]
fn deeper(depth: u64) -> u64 {
    if black_box(depth) == u64::MAX { 0 } else { deeper(depth + 1) + 1 }
}

impl lifecycle::Guest for Hostile {
    fn start(info: lifecycle::StartInfo) -> Result<(), String> {
        misbehave(&mode("start"), info.accounts.first().copied().unwrap_or_default(), "")
    }

    fn stop(_: lifecycle::StopReason) {
        let _ = misbehave(&mode("stop"), 0, "");
    }
}

impl presence_events::Guest for Hostile {
    fn presence_changed(event: EventInfo, snapshot: bool, _: Vec<presence_events::PresenceChange>) {
        if !snapshot {
            let _ = misbehave(&mode("presence"), event.account, "");
        }
    }

    fn own_presence_changed(event: EventInfo, _: Availability, _: String) {
        let _ = misbehave(&mode("own"), event.account, "");
    }
}

impl message_events::Guest for Hostile {
    fn message_received(event: EventInfo, message: message_events::IncomingMessage) -> Result<(), String> {
        // `only` narrows the misbehaviour to one text.
        let only = mode("only");
        if only.is_empty() || only == message.text {
            misbehave(&mode("message"), event.account, &message.sender)?;
        }
        report(event.account, &format!("received {} {} {}", event.seq, event.redelivered, message.text));
        Ok(())
    }

    fn message_accepted(_: EventInfo, _: message_events::OutgoingMessage) -> Result<(), String> {
        Ok(())
    }

    fn message_state_changed(_: EventInfo, _: u64, _: message_events::MessageState) -> Result<(), String> {
        Ok(())
    }
}
