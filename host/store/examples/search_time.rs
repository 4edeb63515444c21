//! How long a search takes in an archive of 100,000 messages, and how many commits a second are durable.
//!
//! `cargo run --release -p attache-store --example search_time [FOLDER]`; the disk under the folder decides the latter.

use std::time::Instant;

use attache_messenger::{
    address::Address,
    id::{AccountId, ConversationId, MessageId},
    storage::{ArchiveEntry, ArchiveQuery, Batch, Direction, Storage as _, StorageError, Write},
    time::Timestamp,
};
use attache_store::{Store, conformance::block_on};

const MESSAGES: u64 = 100_000;
const ACCOUNT: AccountId = AccountId(1);
const WORDS: [&str; 16] = [
    "lunch", "meeting", "tomorrow", "report", "thanks", "please", "review", "server", "release", "coffee",
    "monday", "green", "budget", "train", "kitchen", "window",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let temporary = tempfile::tempdir()?;
    let folder = std::env::args_os().nth(1).map_or_else(|| temporary.path().to_owned(), Into::into);
    let store = Store::open(&folder)?;
    block_on(async {
        fill(&store).await?;
        let peer = Some(Address::parse("sip:peer-7@example.com")?);
        let limit = 50;
        for (what, query) in [
            ("one message has the word", query("number77777")),
            ("one in sixteen has the word", query("coffee")),
            ("every message has the word", query("the")),
            ("two words, both common", query("coffee the")),
            ("a beginning, 11,111 words", query("number7*")),
            ("no word, one peer", ArchiveQuery { peer: peer.clone(), limit, ..ArchiveQuery::default() }),
            ("a word and a peer", ArchiveQuery { peer, ..query("coffee") }),
            ("the newest", ArchiveQuery { limit, ..ArchiveQuery::default() }),
        ] {
            search(&store, what, query).await?;
        }
        commits(&store).await?;
        store.close().await;
        Ok(())
    })
}

fn query(text: &str) -> ArchiveQuery {
    ArchiveQuery { text: Some(text.into()), limit: 50, ..ArchiveQuery::default() }
}

async fn fill(store: &Store) -> Result<(), Box<dyn std::error::Error>> {
    let begun = Instant::now();
    for block in 0..MESSAGES / 1000 {
        let mut waiting = Vec::new();
        for number in block * 1000..(block + 1) * 1000 {
            let word = |step: u64| WORDS[usize::try_from(number * 7 / step % 16).unwrap_or(0)];
            let text = format!("the {} and the {} are number{number}, {}", word(1), word(5), word(11));
            waiting.push(store.archive(
                ACCOUNT,
                ArchiveEntry {
                    message: MessageId(number),
                    conversation: ConversationId(number / 100),
                    at: Timestamp::from_millis(number * 1000),
                    direction: Direction::Incoming,
                    peer: Address::parse(&format!("sip:peer-{}@example.com", number % 50))?,
                    others: Default::default(),
                    content: text.as_str().into(),
                    automatic: false,
                },
            ));
        }
        for waiting in waiting {
            waiting.await?;
        }
    }
    println!("{:32} {:>9.1?}", "archiving 100,000 messages", begun.elapsed());
    Ok(())
}

async fn search(store: &Store, what: &str, query: ArchiveQuery) -> Result<(), StorageError> {
    let mut times = Vec::new();
    let mut found = 0;
    for _ in 0..21 {
        let begun = Instant::now();
        found = store.search(ACCOUNT, query.clone()).await?.len();
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    println!("{what:32} {:>9.1?} median, {:>9.1?} worst, {found} found", times[10], times[20]);
    Ok(())
}

async fn commits(store: &Store) -> Result<(), StorageError> {
    let batch = |n: u32| Batch { writes: vec![Write::PutSetting("n", n.to_string())] };
    let begun = Instant::now();
    for n in 0..500 {
        store.commit(ACCOUNT, batch(n)).await?;
    }
    println!("{:32} {:>9.0} a second", "commits one by one", 500.0 / begun.elapsed().as_secs_f64());
    let begun = Instant::now();
    let waiting: Vec<_> = (0..5000).map(|n| store.commit(ACCOUNT, batch(n))).collect();
    for waiting in waiting {
        waiting.await?;
    }
    println!("{:32} {:>9.0} a second", "commits, 5,000 at once", 5000.0 / begun.elapsed().as_secs_f64());
    Ok(())
}
