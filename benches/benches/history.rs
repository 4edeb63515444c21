//! What it takes to open and to search a long transcript: 100,000 messages with one person, beside those with others.
//!
//! Everything is read from the store, as after a restart. Each subject is compared with opening a conversation of a hundred
//! messages: that is what a person calls at once, and what the length of a transcript adds to it is a ratio. The export of
//! everything is measured once, with the most memory that it held beyond what was there before.
//!
//! With `--test`, few messages.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use attache_benches::{Effort, Subject, measure, process::resident};
use attache_messenger::{
    address::Address,
    export::{Exporter, Format},
    id::{AccountId, ConversationId, MessageId},
    storage::{ArchiveEntry, ArchiveQuery, Batch, Direction, Order, Storage as _, Write},
    time::Timestamp,
};
use attache_store::{Store, conformance::block_on};

const ACCOUNT: AccountId = AccountId(7);
const LONG: ConversationId = ConversationId(1);
const SHORT: ConversationId = ConversationId(2);
/// Lines of a page, as a window shows them.
const PAGE: u32 = 100;
const WORDS: [&str; 16] = [
    "coffee", "meeting", "train", "letter", "garden", "window", "report", "summer", "ticket", "doctor",
    "market", "number", "bridge", "winter", "dinner", "friend",
];

fn main() {
    let effort = Effort::from_args(20);
    let messages = if effort.is_test() { 2_000 } else { 100_000 };
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(folder.path()).expect("a store");
    let begun = Instant::now();
    fill(&store, messages);
    let filled = begun.elapsed();
    let bytes = std::fs::metadata(store.path()).map_or(0, |data| data.len());
    println!(
        "{messages} messages in one conversation, {} in others; kept in {filled:.1?}, {bytes} bytes",
        messages / 2
    );

    let page = |conversation| ArchiveQuery {
        conversation: Some(conversation),
        limit: PAGE,
        ..ArchiveQuery::default()
    };
    let middle = Some((at(messages / 2), MessageId(messages / 2)));
    let words =
        |text: &str| ArchiveQuery { text: Some(text.to_owned()), limit: 50, ..ArchiveQuery::default() };
    let rare = format!("nr{}", messages / 3);
    let peer = Some(peer(1));
    let queries = [
        ("open 100 messages", page(SHORT)),
        ("open the long transcript", page(LONG)),
        ("... in its middle", ArchiveQuery { after: middle, ..page(LONG) }),
        ("... at its beginning", ArchiveQuery { order: Order::OldestFirst, ..page(LONG) }),
        ("search a word said once", words(&rare)),
        ("search a word said often", words("coffee")),
        ("search two words of a person", ArchiveQuery { peer, ..words("coffee dinner") }),
        ("search a beginning", words("nr777*")),
    ];
    let mut subjects: Vec<Subject<'_>> = queries
        .iter()
        .map(|(name, query)| {
            Subject::new(name, || block_on(store.search(ACCOUNT, query.clone())).expect("a page"))
        })
        .collect();
    let effort = if effort.is_test() { effort } else { Effort { batches: 41, steps: 1 } };
    let times = measure(&mut subjects, effort);
    println!("{:32} {:>10} {:>7}", "", "time", "ratio");
    for ((name, query), time) in queries.iter().zip(&times) {
        let found = block_on(store.search(ACCOUNT, query.clone())).expect("a page").len();
        assert!(found > 0 || effort.is_test(), "{name}: nothing was found");
        println!("{name:32} {:>10} {:>7.1}", format!("{time:.1?}"), ratio(*time, times[0]));
    }
    let begun = Instant::now();
    let count = block_on(store.count(ACCOUNT, words("coffee"))).expect("a count");
    println!("{:32} {:>10}", format!("count {count} that say a word"), format!("{:.1?}", begun.elapsed()));
    for format in Format::ALL {
        let begun = Instant::now();
        let (exported, most) = export(&store, format);
        let time = format!("{:.1?}", begun.elapsed());
        println!(
            "export {:25} {time:>10}  {exported} messages, {} KiB more at a time",
            format.name(),
            most / 1024
        );
    }
}

fn ratio(time: Duration, base: Duration) -> f64 {
    time.as_secs_f64() / base.as_secs_f64().max(1e-9)
}

fn at(number: u64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + number * 1_000)
}

fn peer(number: u64) -> Address {
    Address::parse(&format!("sip:peer-{number}@example.com")).expect("an address")
}

/// A long transcript with one person, a short one, and many with others, all mixed in time.
fn fill(store: &Store, messages: u64) {
    let line = |number: u64, conversation, person| {
        let word = |step: u64| WORDS[usize::try_from(number * 7 / step % 16).unwrap_or(0)];
        let text = format!("the {} and the {} are nr{number}, {}", word(1), word(5), word(11));
        let line = Arc::new(ArchiveEntry {
            message: MessageId(number),
            conversation,
            at: at(number % messages),
            direction: if number.is_multiple_of(3) { Direction::Outgoing } else { Direction::Incoming },
            peer: peer(person),
            others: Default::default(),
            content: text.as_str().into(),
            automatic: false,
        });
        Write::KeepLine { line, forget: Timestamp::default() }
    };
    let mut writes = Vec::new();
    for number in 1..=messages {
        writes.push(line(number, LONG, 1));
        if number.is_multiple_of(2) {
            writes.push(line(number + messages, ConversationId(10 + number % 200), 10 + number % 200));
        }
        if number <= 100 {
            writes.push(line(number + 3 * messages, SHORT, 2));
        }
        if writes.len() >= 1_000 || number == messages {
            let batch = Batch { writes: core::mem::take(&mut writes) };
            block_on(store.commit(ACCOUNT, batch)).expect("kept");
        }
    }
}

/// Page by page, as the facade does it. How many there were, and how much the process grew on the way.
fn export(store: &Store, format: Format) -> (u64, u64) {
    let account = peer(0);
    let (before, mut most) = (resident(), 0);
    let mut exporter = Exporter::new(std::io::sink(), format).expect("a beginning");
    let mut query = ArchiveQuery { order: Order::OldestFirst, limit: 500, ..ArchiveQuery::default() };
    loop {
        let page = block_on(store.search(ACCOUNT, query.clone())).expect("a page");
        for entry in &page {
            exporter.entry(&account, entry).expect("written");
        }
        most = most.max(resident().saturating_sub(before));
        let Some(last) = page.last() else { break };
        query.after = Some((last.at, last.message));
    }
    (exporter.written(), most)
}
