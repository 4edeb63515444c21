//! What it takes to sign in with a long contact list: 10,000 people, all of whom publish a status and a note.
//!
//! The service runs in a process of its own and holds the list (RFC 4662). Measured are the time from signing in until
//! everybody is live, and what a contact adds to the resident set by then: the difference between the whole list and a
//! tenth of it, so that what the host needs without contacts is left out. In the same run the same is done with one
//! subscription for each contact: what the list saves is a ratio.
//!
//! Each way is measured in a process of its own, for memory that one gave back the other would take again unseen.
//!
//! With `--test`, few contacts.

use std::{
    net::UdpSocket,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use attache::{AccountConfig, Address, Availability, Freshness, Host, HostConfig, Messenger, Secret};
use attache_benches::process::{Server, processor_time, resident};
use attache_messenger::{compose::express, time::Timestamp};
use attache_service::{Service, ServiceConfig};
use attache_sip::{
    agent::{Agent, AgentConfig, AgentEvent},
    transport::{Destination, Flow, FlowId, Transport},
    uri::UriBuf,
    usage::{PublicationState, PublishParams},
};

/// Longest wait for everybody to be live.
const PATIENCE: Duration = Duration::from_secs(300);
/// Says that this process is to be the service.
const SERVE: &str = "--serve";
/// Says that this process is to fill a folder with contacts.
const FILL: &str = "--fill";
/// Says that this process is to measure one way.
const MEASURE: &str = "--measure";
const LIST: &str = "sip:everybody@example.com";

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(contacts) = arguments.iter().skip_while(|argument| *argument != SERVE).nth(1) {
        serve(contacts.parse().expect("a number of contacts"));
        return;
    }
    let after = |name| arguments.iter().position(|argument| argument == name).map(|at| &arguments[at + 1..]);
    if let Some([folder, contacts, ..]) = after(FILL) {
        fill(Path::new(folder), contacts.parse().expect("a number of contacts"));
        return;
    }
    if let Some([folder, way, contacts, ..]) = after(MEASURE) {
        let cost = measure(Path::new(folder), contacts.parse().expect("a number of contacts"), way == "list");
        println!("{} {} {}", cost.seconds, cost.processor, cost.bytes);
        return;
    }
    let contacts = if arguments.iter().any(|argument| argument == "--test") { 200 } else { 10_000 };
    println!("{contacts} contacts, each with a status and a note; until everybody is live");
    println!("strategy      seconds  contacts/s  CPU s  bytes/contact");
    let (few, many) = (Filled::new(contacts / 10), Filled::new(contacts));
    let list = compare(&few, &many, "list");
    let each = compare(&few, &many, "each");
    println!(
        "one each against the list: time {:.2}, memory {:.2}",
        each.seconds / list.seconds,
        each.bytes / list.bytes
    );
}

/// This program with other work.
fn again(arguments: &[&str]) -> String {
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args(arguments)
        .stderr(Stdio::inherit())
        .output()
        .expect("it starts");
    assert!(output.status.success(), "{arguments:?} failed");
    String::from_utf8(output.stdout).expect("text")
}

/// A data folder with contacts.
struct Filled {
    folder: tempfile::TempDir,
    contacts: usize,
}

impl Filled {
    fn new(contacts: usize) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        again(&[FILL, folder.path().to_str().expect("UTF-8"), &contacts.to_string()]);
        Self { folder, contacts }
    }

    fn measure(&self, way: &str) -> Cost {
        let folder = self.folder.path().to_str().expect("UTF-8");
        let text = again(&[MEASURE, folder, way, &self.contacts.to_string()]);
        let mut figures = text.trim().split(' ').map(|figure| figure.parse().expect("a number"));
        let mut figure = || figures.next().expect("three figures");
        Cost { seconds: figure(), processor: figure(), bytes: figure() }
    }
}

/// Time of the whole list, and what each contact beyond the first few adds.
fn compare(few: &Filled, many: &Filled, way: &str) -> Cost {
    let base = few.measure(way);
    let mut cost = many.measure(way);
    cost.bytes = (cost.bytes - base.bytes) / (many.contacts - few.contacts) as f64;
    let rate = many.contacts as f64 / cost.seconds;
    println!("{way:<12}  {:>7.2}  {rate:>10.0}  {:>5.2}  {:>13.0}", cost.seconds, cost.processor, cost.bytes);
    cost
}

struct Cost {
    seconds: f64,
    /// Seconds of processor time.
    processor: f64,
    bytes: f64,
}

fn address(number: usize) -> String {
    format!("sip:person{number}@example.com")
}

/// The service with everybody's presence, until its standard input ends.
fn serve(contacts: usize) {
    let mut text = "[service]\nlisten = \"127.0.0.1:0\"\ndomains = [\"example.com\"]\n\
                    [[user]]\nname = \"alice\"\npassword = \"secret\"\n"
        .to_owned();
    let mut members = Vec::new();
    for number in 0..contacts {
        text.push_str(&format!("[[user]]\nname = \"person{number}\"\npassword = \"secret\"\n"));
        members.push(format!("\"{}\"", address(number)));
    }
    text.push_str(&format!("[[list]]\naddress = \"{LIST}\"\nmembers = [{}]\n", members.join(", ")));
    let config = ServiceConfig::parse(&text).expect("a valid configuration");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let service = Service::start(&config).expect("the service starts");
        let at = service.local_addrs()[0].1;
        let published = tokio::task::spawn_blocking(move || {
            let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
            for number in 0..contacts {
                publish(&socket, at, number);
            }
        });
        published.await.expect("everybody has published");
        println!("{at}");
        let _ = tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new())).await;
    });
}

/// One person's device says what it has to say, and is heard.
fn publish(socket: &UdpSocket, service: std::net::SocketAddr, number: usize) {
    let statuses =
        [Availability::Available, Availability::Busy, Availability::Away, Availability::DoNotDisturb];
    let local = socket.local_addr().expect("it is bound");
    let aor = UriBuf::parse(&address(number)).expect("an address");
    let mut seed = [7; 32];
    seed[..8].copy_from_slice(&(number as u64).to_le_bytes());
    let mut agent = Agent::new(AgentConfig::new(aor, "secret", vec![(Transport::Udp, local)]), seed);
    agent.set_next_hop(Instant::now(), vec![Destination { transport: Transport::Udp, remote: service }]);
    let note = format!("at desk {number}, back at noon");
    let status = statuses[number % statuses.len()];
    let document =
        express(&address(number), "bench", status, &note, Timestamp::from_millis(1_769_850_000_000));
    agent.publish(Instant::now(), PublishParams::presence(attache_documents::pidf::write(&document)));
    let mut buffer = [0; 65_536];
    loop {
        while let Some(transmit) = agent.poll_transmit() {
            socket.send_to(&transmit.payload, transmit.destination.remote).expect("loopback takes it");
        }
        while let Some(event) = agent.poll_event() {
            match event {
                AgentEvent::Publication { state: PublicationState::Published { .. }, .. } => return,
                AgentEvent::Publication { state, .. } => panic!("person {number} cannot publish: {state:?}"),
                _ => {}
            }
        }
        socket.set_read_timeout(Some(Duration::from_millis(500))).expect("a time");
        match socket.recv_from(&mut buffer) {
            Ok((length, remote)) => {
                let flow = Flow { id: FlowId(0), transport: Transport::Udp, local, remote };
                agent.handle_input(Instant::now(), flow, buffer[..length].to_vec().into());
            }
            Err(_) => agent.handle_timeout(Instant::now()),
        }
    }
}

/// The account as it is, signed out.
async fn account(host: &Host, service: Option<&str>, list: bool) -> Messenger {
    let address = Address::parse("sip:alice@example.com").expect("an address");
    let mut config = AccountConfig::new(address, Secret::new("secret"));
    config.service = service.map(|at| format!("sip:{at};transport=tcp"));
    config.sign_in = false;
    config.list = list.then(|| LIST.to_owned());
    host.add_account(config).await.expect("an account")
}

async fn host(folder: &Path) -> Host {
    let mut config = HostConfig::default();
    config.data_dir = Some(folder.to_owned());
    Host::start(config).await.expect("the host starts")
}

/// Puts the contacts on the list, long before they are looked at.
fn fill(folder: &Path, contacts: usize) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let host = host(folder).await;
        let alice = account(&host, Some("127.0.0.1:9"), false).await;
        for number in 0..contacts {
            let person = Address::parse(&address(number)).expect("an address");
            alice.add_contact(&person, &format!("Person {number}")).await.expect("a contact");
        }
        host.shutdown().await;
    });
}

fn measure(folder: &Path, contacts: usize, by_list: bool) -> Cost {
    let server = Server::start(&[SERVE, &contacts.to_string()]);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let before = resident();
        let host = host(folder).await;
        let alice = account(&host, Some(&server.at), by_list).await;
        assert_eq!(alice.snapshot().contacts.size(), contacts);
        let (begun, busy) = (Instant::now(), processor_time());
        alice.sign_in().await.expect("signed in");
        while live(&alice) < contacts {
            assert!(
                begun.elapsed() < PATIENCE,
                "{} of {contacts} are live after {PATIENCE:?}: {:?}",
                live(&alice),
                alice.snapshot().report
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let seconds = begun.elapsed().as_secs_f64();
        let processor = (processor_time() - busy).as_secs_f64();
        let bytes = resident().saturating_sub(before) as f64;
        host.shutdown().await;
        Cost { seconds, processor, bytes }
    })
}

fn live(messenger: &Messenger) -> usize {
    let snapshot = messenger.snapshot();
    snapshot
        .contacts
        .values()
        .filter(|entry| entry.presence.freshness == Freshness::Live && !entry.presence.note.is_empty())
        .count()
}
