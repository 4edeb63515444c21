//! What an account costs that is signed in and idle.
//!
//! One process holds 1,000 accounts, each with two contacts who are live; the service runs in a process of its own. When
//! all are signed in and everybody sees both contacts, it counts for a while what the process does by itself: how often
//! its threads wake up, and how much processor time they take. Memory is the growth of the resident set since before
//! the first account, divided by the accounts, so it holds sockets' buffers and tasks as well.
//!
//! What counts is one account of many against one account of few: a cost that grows with the number of accounts shows
//! as a ratio above one. With `--test`, few accounts and a short watch.

use std::{
    fs,
    time::{Duration, Instant},
};

use attache::{AccountConfig, Address, Freshness, Host, HostConfig, Messenger, Secret};
use attache_benches::process::{Server, processor_time, resident};
use attache_service::{Service, ServiceConfig};

/// Longest wait for the accounts to be complete.
const PATIENCE: Duration = Duration::from_secs(300);
/// Says that this process is to be the service.
const SERVE: &str = "--serve";

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(users) = arguments.iter().skip_while(|argument| *argument != SERVE).nth(1) {
        serve(users.parse().expect("a number of users"));
        return;
    }
    let short = arguments.iter().any(|argument| argument == "--test");
    let (few, many, watch) =
        if short { (5, 50, Duration::from_secs(2)) } else { (100, 1_000, Duration::from_secs(60)) };
    println!("signed in and idle, two live contacts each, watched for {} s", watch.as_secs());
    println!("accounts  kB each  wake-ups/s  each/min  CPU ms/s  signed in after s");
    let few = measure(few, watch);
    let many = measure(many, watch);
    println!(
        "one of many against one of few: memory {:.2}, wake-ups {:.2}",
        many.memory / few.memory,
        many.wake_ups / few.wake_ups
    );
}

/// Of one account.
struct Cost {
    /// Bytes.
    memory: f64,
    /// A second.
    wake_ups: f64,
}

fn name(number: usize) -> String {
    format!("user{number}")
}

fn address(number: usize) -> Address {
    Address::parse(&format!("sip:{}@example.com", name(number))).expect("an address")
}

/// The service, until its standard input ends.
fn serve(users: usize) {
    let mut text = "[service]\nlisten = \"127.0.0.1:0\"\ndomains = [\"example.com\"]\n\
                    [service.limits]\nconnections-per-source = 20000\nconnections = 20000\n"
        .to_owned();
    for number in 0..users {
        text.push_str(&format!("[[user]]\nname = \"{}\"\npassword = \"secret\"\n", name(number)));
    }
    let config = ServiceConfig::parse(&text).expect("a valid configuration");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let service = Service::start(&config).expect("the service starts");
        println!("{}", service.local_addrs()[0].1);
        let end = tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new()));
        let _ = end.await;
    });
}

fn measure(accounts: usize, watch: Duration) -> Cost {
    let server = Server::start(&[SERVE, &accounts.to_string()]);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let cost = runtime.block_on(async {
        let host = Host::start(HostConfig::default()).await.expect("the host starts");
        let before = resident();
        let begun = Instant::now();
        let mut messengers: Vec<Messenger> = Vec::new();
        for number in 0..accounts {
            let mut config = AccountConfig::new(address(number), Secret::new("secret"));
            config.service = Some(format!("sip:{}", server.at));
            let messenger = host.add_account(config).await.expect("an account");
            for other in [1, 2] {
                let other = address((number + other) % accounts);
                messenger.add_contact(&other, "").await.expect("a contact");
            }
            messengers.push(messenger);
        }
        while !messengers.iter().all(is_complete) {
            assert!(begun.elapsed() < PATIENCE, "not everybody is live after {} s", PATIENCE.as_secs());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let complete = begun.elapsed();
        // What was begun comes to rest.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let memory = resident().saturating_sub(before) as f64 / accounts as f64;
        let (woken, busy) = (wake_ups(), processor_time());
        let from = Instant::now();
        tokio::time::sleep(watch).await;
        let seconds = from.elapsed().as_secs_f64();
        let woken = (wake_ups() - woken) as f64 / seconds;
        let busy = (processor_time() - busy).as_secs_f64() * 1_000.0 / seconds;
        println!(
            "{accounts:>8}  {:>7.1}  {woken:>10.1}  {:>8.2}  {busy:>8.2}  {:>17.1}",
            memory / 1_024.0,
            woken * 60.0 / accounts as f64,
            complete.as_secs_f64()
        );
        host.shutdown().await;
        Cost { memory, wake_ups: woken / accounts as f64 }
    });
    drop(runtime);
    cost
}

fn is_complete(messenger: &Messenger) -> bool {
    let snapshot = messenger.snapshot();
    let live = |entry: &attache::ContactEntry| entry.presence.freshness == Freshness::Live;
    snapshot.contacts.values().all(live)
}

/// How often threads of this process went to sleep since they began, which is how often they were woken.
fn wake_ups() -> u64 {
    let threads = fs::read_dir("/proc/self/task").expect("Linux");
    let of_thread = |thread: fs::DirEntry| {
        let text = fs::read_to_string(thread.path().join("status")).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
        line.trim().parse::<u64>().ok()
    };
    threads.flatten().filter_map(of_thread).sum()
}
