//! What the plugin host adds to a call into a guest.
//!
//! Measured in one run, on one machine, against the same engine settings: the bare typed call of wasmtime with the
//! same record, and the way of a message event from `PluginHost::publish` through mailbox, limits, accounting and
//! cursor to the guest's return. The ratio is what counts; it is to be at most 1.5.
//!
//! `cargo xtask plugins` builds the guest; `ATTACHE_PLUGINS` names the folder. With `--test`, one short round.

use std::{
    hint::black_box,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use attache_messenger::{
    address::Address,
    command::{Answer, Command},
    error::Error,
    event::{Event, EventKind, SessionState},
    id::{AccountId, ContactId, ConversationId, MessageId},
    message::{IncomingMessage, Origin},
    presence::{Presence, UnknownReason},
    snapshot::Snapshot,
    storage::{BoxFuture, Storage},
    time::Timestamp,
};
use attache_plugin_host::{Backend, Grant, HostOptions, PluginConfig, PluginHost};
use attache_store::MemoryStore;
use wasmtime::{
    Config, Engine, Store, UpdateDeadline,
    component::{Component, ComponentType, Instance, Linker, Lower, TypedFunc},
};

const SENDER: &str = "sip:bob@example.com";
const TEXT: &str = "Shall we move the review to three o'clock?";
/// Events in one shared batch, as an engine publishes what one datagram or one turn brought.
const BATCH: usize = 16;

#[derive(ComponentType, Lower, Clone, Copy)]
#[component(record)]
struct EventInfo {
    seq: u64,
    account: u64,
    at: u64,
    redelivered: bool,
}

#[derive(ComponentType, Lower, Clone, Copy)]
#[component(enum)]
#[repr(u8)]
enum WitOrigin {
    #[component(name = "person")]
    Person,
    #[component(name = "automatic")]
    #[expect(dead_code, reason = "the enum of the contract has it")]
    Automatic,
}

#[derive(ComponentType, Lower, Clone, Copy)]
#[component(record)]
struct WitMessage<'a> {
    id: u64,
    conversation: u64,
    contact: Option<u64>,
    sender: &'a str,
    text: &'a str,
    origin: WitOrigin,
    #[component(name = "sent-at")]
    sent_at: Option<u64>,
}

#[derive(ComponentType, Lower, Clone, Copy)]
#[component(enum)]
#[repr(u8)]
#[expect(dead_code, reason = "the enum of the contract has more values than are sent here")]
enum WitAvailability {
    #[component(name = "available")]
    Available,
    #[component(name = "idle")]
    Idle,
    #[component(name = "busy")]
    Busy,
    #[component(name = "busy-idle")]
    BusyIdle,
    #[component(name = "be-right-back")]
    BeRightBack,
    #[component(name = "away")]
    Away,
    #[component(name = "do-not-disturb")]
    DoNotDisturb,
    #[component(name = "offline")]
    Offline,
}

#[derive(ComponentType, Lower, Clone, Copy)]
#[component(variant)]
#[expect(dead_code, reason = "the variant of the contract has more cases than are sent here")]
enum WitReason<'a> {
    #[component(name = "pending")]
    Pending,
    #[component(name = "signed-out")]
    SignedOut,
    #[component(name = "service-unavailable")]
    ServiceUnavailable,
    #[component(name = "not-found")]
    NotFound,
    #[component(name = "other")]
    Other(Option<&'a str>),
}

#[derive(ComponentType, Lower, Clone, Copy)]
#[component(variant)]
#[expect(dead_code, reason = "the variant of the contract has more cases than are sent here")]
enum WitFreshness<'a> {
    #[component(name = "live")]
    Live,
    #[component(name = "stale")]
    Stale(u64),
    #[component(name = "unknown")]
    Unknown(WitReason<'a>),
    #[component(name = "denied")]
    Denied,
}

#[derive(ComponentType, Lower, Clone, Copy)]
#[component(record)]
struct WitChange<'a> {
    contact: u64,
    availability: Option<WitAvailability>,
    freshness: WitFreshness<'a>,
    note: Option<&'a str>,
}

type MessageCall<'a> = TypedFunc<(EventInfo, WitMessage<'a>), (Result<(), String>,)>;
type PresenceCall<'a> = TypedFunc<(EventInfo, bool, &'a [WitChange<'a>]), ()>;

/// The bare call: an engine, a store and an instance with nothing around them.
struct Bare {
    runtime: tokio::runtime::Runtime,
    store: Store<()>,
    instance: Instance,
    ticking: Arc<AtomicBool>,
}

impl Bare {
    fn new(component: &PathBuf) -> Self {
        let mut config = Config::new();
        config.epoch_interruption(true).concurrency_support(false);
        let engine = Engine::new(&config).expect("the engine's settings are valid");
        let component = Component::from_file(&engine, component).expect("the guest compiles");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let mut store = Store::new(&engine, ());
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|_| Ok(UpdateDeadline::Yield(1)));
        let linker = Linker::new(&engine);
        let instance =
            runtime.block_on(linker.instantiate_async(&mut store, &component)).expect("the guest starts");
        let ticking = Arc::new(AtomicBool::new(true));
        let tick = Arc::clone(&ticking);
        thread::spawn(move || {
            while tick.load(Ordering::Relaxed) {
                engine.increment_epoch();
                thread::sleep(Duration::from_millis(5));
            }
        });
        Self { runtime, store, instance, ticking }
    }

    fn message(&mut self, rounds: u32) -> Duration {
        let Self { runtime, store, instance, .. } = self;
        let call: MessageCall<'_> = find(store, instance, "message-events", "message-received");
        let message = WitMessage {
            id: 7,
            conversation: 1,
            contact: Some(1),
            sender: SENDER,
            text: TEXT,
            origin: WitOrigin::Person,
            sent_at: None,
        };
        runtime.block_on(async {
            let begun = Instant::now();
            for seq in 0..u64::from(rounds) {
                let info = EventInfo { seq, account: 1, at: 1, redelivered: false };
                let (answer,) =
                    call.call_async(&mut *store, black_box((info, message))).await.expect("a call");
                black_box(&answer);
            }
            begun.elapsed() / rounds
        })
    }

    fn presence(&mut self, rounds: u32, batch: usize, note: Option<&'static str>) -> Duration {
        let Self { runtime, store, instance, .. } = self;
        let call: PresenceCall<'_> = find(store, instance, "presence-events", "presence-changed");
        let change = WitChange {
            contact: 1,
            availability: Some(WitAvailability::Busy),
            freshness: WitFreshness::Live,
            note,
        };
        let changes = vec![change; batch];
        let calls = (rounds as usize / batch).max(1);
        runtime.block_on(async {
            let begun = Instant::now();
            for seq in 0..calls as u64 {
                let info = EventInfo { seq, account: 1, at: 1, redelivered: false };
                call.call_async(&mut *store, black_box((info, false, &changes))).await.expect("a call");
            }
            begun.elapsed() / u32::try_from(calls * batch).unwrap_or(u32::MAX)
        })
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        self.ticking.store(false, Ordering::Relaxed);
    }
}

fn find<Params, Return>(
    store: &mut Store<()>,
    instance: &Instance,
    interface: &str,
    function: &str,
) -> TypedFunc<Params, Return>
where
    Params: wasmtime::component::ComponentNamedList + Lower,
    Return: wasmtime::component::ComponentNamedList + wasmtime::component::Lift,
{
    let interface = instance
        .get_export_index(&mut *store, None, &format!("attache:messenger/{interface}@1.0.0"))
        .expect("the guest exports it");
    let function =
        instance.get_export_index(&mut *store, Some(&interface), function).expect("the guest exports it");
    instance.get_typed_func(store, function).expect("the guest's types are those of the contract")
}

/// The way through the host.
struct Hosted {
    host: PluginHost,
    account: AccountId,
    message: Arc<IncomingMessage>,
    seq: u64,
    delivered: u64,
}

impl Hosted {
    fn new(component: &PathBuf) -> Self {
        let address = Address::parse("sip:alice@example.com").expect("an address");
        let account = address.account_id();
        let mut config = PluginConfig::new("sink", component);
        config.grants = [Grant::MessagesReceive].into_iter().collect();
        config.limits.mailbox = 1_000_000;
        let mut options = HostOptions::default();
        options.workers = 1;
        let backend = Silent { store: Arc::new(MemoryStore::new()), address: address.clone() };
        let host = PluginHost::start(options, vec![config], Arc::new(backend)).expect("the host starts");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(host.loaded());
        host.add_account(account, address, 0);
        let message = Arc::new(IncomingMessage {
            id: MessageId(7),
            conversation: ConversationId(1),
            contact: Some(ContactId(1)),
            sender: Address::parse(SENDER).expect("an address"),
            also_to: Default::default(),
            subject: None,
            content: TEXT.into(),
            origin: Origin::Person,
            sent_at: None,
            received_at: Timestamp::from_millis(1),
        });
        let mut hosted = Self { host, account, message, seq: 0, delivered: 0 };
        // The first event may come while the stream still reads the (empty) journal, where it is not.
        thread::sleep(Duration::from_millis(300));
        let _ = hosted.burst(1_000);
        hosted
    }

    fn batch(&mut self, size: usize) -> Arc<[Event]> {
        let event = |_| {
            self.seq += 1;
            let kind = EventKind::MessageReceived(Arc::clone(&self.message));
            Event { seq: self.seq, at: Timestamp::from_millis(1), account: self.account, kind }
        };
        (0..size).map(event).collect()
    }

    /// Publishes as many events at once; answers the time per event for publishing alone, and until all are handled.
    fn burst(&mut self, events: u32) -> (Duration, Duration) {
        let batches: Vec<_> = (0..events as usize / BATCH).map(|_| self.batch(BATCH)).collect();
        let events = u32::try_from(batches.len() * BATCH).unwrap_or(u32::MAX);
        self.delivered += u64::from(events);
        let begun = Instant::now();
        for batch in &batches {
            self.host.publish(batch);
        }
        let published = begun.elapsed() / events;
        self.wait(Duration::from_micros(20));
        (published, begun.elapsed() / events)
    }

    /// One event to an idle plugin.
    fn single(&mut self) -> Duration {
        let batch = self.batch(1);
        self.delivered += 1;
        let begun = Instant::now();
        self.host.publish(&batch);
        self.wait(Duration::ZERO);
        begun.elapsed()
    }

    fn wait(&self, pause: Duration) {
        let begun = Instant::now();
        loop {
            let counters = self.host.status()[0].instances[0].counters;
            if counters.delivered >= self.delivered {
                return;
            }
            assert!(
                begun.elapsed() < Duration::from_secs(60),
                "events are missing: {:#?}",
                self.host.status()
            );
            if !pause.is_zero() {
                thread::sleep(pause);
            }
        }
    }
}

struct Silent {
    store: Arc<MemoryStore>,
    address: Address,
}

impl Backend for Silent {
    fn snapshot(&self, account: AccountId) -> Option<Arc<Snapshot>> {
        Some(Arc::new(Snapshot {
            account,
            session: SessionState::SignedIn,
            own: Arc::new(Presence::unknown(UnknownReason::Pending)),
            ..Snapshot::new(self.address.clone(), Timestamp::default())
        }))
    }

    fn command(&self, _: AccountId, _: Command) -> BoxFuture<'_, Answer> {
        let error = Error::new(attache_messenger::code::Code::Internal, "nothing is sent in a bench");
        Box::pin(core::future::ready(Err(error)))
    }

    fn storage(&self) -> Arc<dyn Storage> {
        Arc::clone(&self.store) as Arc<dyn Storage>
    }
}

fn main() {
    let Some(folder) = std::env::var_os("ATTACHE_PLUGINS") else {
        eprintln!(
            "plugin_boundary: ATTACHE_PLUGINS names no folder of built guests: run `cargo xtask plugins`"
        );
        std::process::exit(1);
    };
    let component = PathBuf::from(folder).join("sink.wasm");
    let short = std::env::args().any(|argument| argument == "--test");
    let (rounds, calls, singles) = if short { (1, 2_000, 10) } else { (100, 10_000, 2_000) };

    let mut bare = Bare::new(&component);
    let mut hosted = Hosted::new(&component);
    let (mut bare_call, mut publish, mut host_event) = (Duration::MAX, Duration::MAX, Duration::MAX);
    for _ in 0..rounds {
        bare_call = bare_call.min(bare.message(calls));
        let (published, handled) = hosted.burst(calls);
        publish = publish.min(published);
        host_event = host_event.min(handled);
    }
    let mut latencies: Vec<Duration> = (0..singles).map(|_| hosted.single()).collect();
    latencies.sort_unstable();

    let nanos = |time: Duration| time.as_secs_f64() * 1e9;
    println!("message event, best of {rounds} rounds of {calls}:");
    println!("  bare typed call                      {:>8.0} ns", nanos(bare_call));
    println!("  through the host, publish to return  {:>8.0} ns", nanos(host_event));
    println!("    of which publishing, in parallel   {:>8.0} ns", nanos(publish));
    println!(
        "  ratio                                {:>8.2}   (to be at most 1.5)",
        nanos(host_event) / nanos(bare_call)
    );
    println!("  one event to an idle plugin, median  {:>8.0} ns", nanos(latencies[latencies.len() / 2]));

    println!("presence change, bare typed call, per change:");
    for (name, note) in [("without note", None), ("with note", Some("in a review until three"))] {
        let best = |bare: &mut Bare, batch| (0..rounds).map(|_| bare.presence(calls, batch, note)).min();
        let single = best(&mut bare, 1).unwrap_or_default();
        let batch = best(&mut bare, 64).unwrap_or_default();
        println!(
            "  {name:<14} alone {:>6.0} ns, in a batch of 64 {:>6.0} ns, ratio {:.2}",
            nanos(single),
            nanos(batch),
            nanos(batch) / nanos(single)
        );
    }
}
