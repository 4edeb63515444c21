//! What a live contact takes on the heap of an engine: 10,000 people, each with a status, a note and a device.
//!
//! The engine and the service run as machines in one thread, without sockets, store or plugins, under a virtual clock,
//! so every byte is counted exactly: what the engine has allocated and not given back, from the restored contact list
//! to a live roster, when transactions have come to their end. The bound that the project sets itself for a list of the
//! service is 2 kB a contact; passing it fails the bench.
//!
//! With `--test`, fewer contacts.

use std::time::{Duration, Instant, SystemTime};

use attache_messenger::{
    address::Address,
    command::Command,
    compose::express,
    engine::{Engine, EngineConfig},
    event::Contact,
    id::ContactId,
    presence::{Availability, Freshness},
    storage::Restored,
    time::{Now, Timestamp},
};
use attache_service::{Core, CoreConfig, ServiceConfig};
use attache_sip::{
    agent::{Agent, AgentConfig},
    transport::{Destination, Flow, FlowId, Transmit, Transport},
    uri::UriBuf,
    usage::PublishParams,
};
use bytes::Bytes;

const SERVICE: &str = "10.0.0.9:5060";
const CLIENT: &str = "10.0.0.1:5060";
const LIST: &str = "sip:everybody@example.com";
/// Bytes of a contact that is watched through a list of the service.
const BOUND: f64 = 2_000.0;

fn main() {
    let contacts = if std::env::args().any(|argument| argument == "--test") { 500 } else { 10_000 };
    println!("{contacts} contacts; bytes of each on the heap");
    println!("strategy            signed out    live");
    let list = measure(contacts, Some(LIST));
    let each = measure(contacts, None);
    println!("one each against the list: {:.2}", each / list);
    assert!(list <= BOUND, "a contact takes {list:.0} bytes, more than {BOUND}");
}

fn person(number: usize) -> String {
    format!("sip:person{number}@example.com")
}

/// Bytes of one live contact.
fn measure(contacts: usize, list: Option<&str>) -> f64 {
    let mut world = World::new(contacts);
    let restored = Restored {
        contacts: (0..contacts)
            .map(|number| Contact {
                id: ContactId(number as u64 + 1),
                address: Address::parse(&person(number)).expect("an address"),
                name: format!("Person {number}").into(),
                groups: [].into_iter().collect(),
                details: None,
            })
            .collect(),
        ..Restored::default()
    };
    let address = Address::parse("sip:alice@example.com").expect("an address");
    let local = vec![(Transport::Tcp, CLIENT.parse().expect("an address"))];
    let mut config = EngineConfig::new(address, "secret", local, [1; 32]);
    config.service = Some(format!("sip:{SERVICE};transport=tcp"));
    config.list = list.map(str::to_owned);
    // Names and addresses were allocated before they are counted: they are in the list of restored contacts.
    let names: usize =
        restored.contacts.iter().map(|c| c.name.len() + 2 * c.address.as_str().len() + 3 * 16).sum();
    let mut engine = None;
    let now = world.now();
    let info = allocation_counter::measure(|| engine = Some(Engine::new(config, restored, now)));
    let mut engine = engine.expect("it was just made");
    let signed_out = (names as i64 + info.bytes_current) as f64 / contacts as f64;
    world.held += names as i64 + info.bytes_current;
    world.tell(|now| engine.handle_command(now, 1, Command::SignIn), |_| {});
    while live(&engine) < contacts {
        assert!(world.waited < Duration::from_secs(600), "{} of {contacts} are live", live(&engine));
        world.turn(&mut engine);
    }
    // Transactions end 32 s after their answers.
    let end = world.waited + Duration::from_secs(70);
    while world.waited < end {
        world.turn(&mut engine);
    }
    let bytes = world.held as f64 / contacts as f64;
    println!("{:<18}  {signed_out:>10.0}  {bytes:>6.0}", if list.is_some() { "list" } else { "one each" });
    bytes
}

fn live(engine: &Engine) -> usize {
    engine
        .snapshot()
        .contacts
        .values()
        .filter(|entry| entry.presence.freshness == Freshness::Live && !entry.presence.note.is_empty())
        .count()
}

/// The service and the time.
struct World {
    core: Core,
    begun: Instant,
    waited: Duration,
    /// What the engine holds, in bytes.
    held: i64,
}

impl World {
    fn new(contacts: usize) -> Self {
        let mut text =
            "[service]\ndomains = [\"example.com\"]\n[[user]]\nname = \"alice\"\npassword = \"secret\"\n"
                .to_owned();
        for number in 0..contacts {
            text.push_str(&format!("[[user]]\nname = \"person{number}\"\npassword = \"secret\"\n"));
        }
        let config = ServiceConfig::parse(&text).expect("a valid configuration");
        let at = SERVICE.parse().expect("an address");
        let core = CoreConfig::new("example.com", config.accounts().expect("accounts"), at);
        let begun = Instant::now();
        let mut world = Self {
            core: Core::new(core, begun, SystemTime::now(), [9; 32]),
            begun,
            waited: Duration::ZERO,
            held: 0,
        };
        for number in 0..contacts {
            world.publish(number);
        }
        let members = (0..contacts).map(person).collect();
        world.core.set_list(world.now().instant, LIST, None, members).expect("a list");
        world
    }

    fn now(&self) -> Now {
        let millis = 1_769_850_000_000 + u64::try_from(self.waited.as_millis()).expect("a short time");
        Now { instant: self.begun + self.waited, wall: Timestamp::from_millis(millis) }
    }

    /// One person's device says what it has to say.
    fn publish(&mut self, number: usize) {
        let statuses = [Availability::Available, Availability::Busy, Availability::Away];
        let address = person(number);
        let aor = UriBuf::parse(&address).expect("an address");
        let mut seed = [7; 32];
        seed[..8].copy_from_slice(&(number as u64).to_le_bytes());
        let local = CLIENT.parse().expect("an address");
        let mut agent = Agent::new(AgentConfig::new(aor, "secret", vec![(Transport::Tcp, local)]), seed);
        let service = Destination { transport: Transport::Tcp, remote: SERVICE.parse().expect("an address") };
        let now = self.now().instant;
        agent.set_next_hop(now, vec![service]);
        let note = format!("at desk {number}, back at noon");
        let document = express(&address, "bench", statuses[number % 3], &note, self.now().wall);
        agent.publish(now, PublishParams::presence(attache_documents::pidf::write(&document)));
        loop {
            let sent: Vec<Transmit> = std::iter::from_fn(|| agent.poll_transmit()).collect();
            if sent.is_empty() {
                return;
            }
            for transmit in sent {
                self.core.handle_input(now, flow(SERVICE, CLIENT, number), transmit.payload);
            }
            while let Some(transmit) = self.core.poll_transmit() {
                agent.handle_input(now, flow(CLIENT, SERVICE, number), transmit.payload);
            }
        }
    }

    /// Counts what the engine does, and what it says of it.
    fn tell<T>(&mut self, action: impl FnOnce(Now) -> T, mut then: impl FnMut(T)) {
        let now = self.now();
        let mut result = None;
        let info = allocation_counter::measure(|| result = Some(action(now)));
        self.held += info.bytes_current;
        if let Some(result) = result {
            then(result);
        }
    }

    /// Everything that can happen now, then a little time.
    fn turn(&mut self, engine: &mut Engine) {
        loop {
            let mut sent: Vec<Bytes> = Vec::new();
            self.tell(
                |now| {
                    while let Some((id, _)) = engine.poll_batch() {
                        engine.handle_stored(now, id, Ok(()));
                    }
                    while engine.poll_answer().is_some() || engine.poll_event().is_some() {}
                },
                |()| {},
            );
            // What it hands out is not its own any more.
            self.tell(
                |_| {
                    let mut bytes = Vec::new();
                    while let Some(transmit) = engine.poll_transmit() {
                        bytes.push(transmit.payload.to_vec());
                    }
                    bytes
                },
                |bytes| sent.extend(bytes.into_iter().map(Bytes::from)),
            );
            self.held -= sent.iter().map(|bytes| bytes.len() as i64).sum::<i64>();
            let now = self.now().instant;
            let nothing = sent.is_empty();
            for bytes in sent {
                self.core.handle_input(now, flow(SERVICE, CLIENT, 1 << 40), bytes);
            }
            let answers: Vec<Bytes> =
                std::iter::from_fn(|| self.core.poll_transmit()).map(|transmit| transmit.payload).collect();
            if nothing && answers.is_empty() {
                break;
            }
            for bytes in answers {
                // A copy that only the engine can keep alive.
                self.tell(
                    |now| {
                        let bytes = Bytes::copy_from_slice(&bytes);
                        engine.handle_input(now, flow(CLIENT, SERVICE, 1 << 40), bytes);
                    },
                    |()| {},
                );
            }
        }
        self.waited += Duration::from_millis(100);
        self.core.handle_timeout(self.now().instant);
        self.tell(|now| engine.handle_timeout(now), |()| {});
    }
}

fn flow(local: &str, remote: &str, connection: usize) -> Flow {
    let parse = |text: &str| text.parse().expect("an address");
    Flow {
        id: FlowId(connection as u64 + 1),
        transport: Transport::Tcp,
        local: parse(local),
        remote: parse(remote),
    }
}
