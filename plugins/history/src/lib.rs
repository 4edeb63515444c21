//! Archives conversations: who wrote what to whom, and when, for as long as the operator wants it.
//!
//! An entry is on disk before the message is acknowledged. Where that fails the message comes again, and the archive
//! takes each message once; so none is missing, and none is there twice.
//!
//! # Layout
//! - `settings`: what the operator configured: what is archived, and how long it is kept
//! - this file: the calls to the host

mod settings;

use std::collections::BTreeSet;

use attache_plugin::archive_types::{Direction, Entry};
use attache_plugin::config::Table;
use attache_plugin::store::Bucket;
use attache_plugin::{
    AccountId, EventInfo, IncomingMessage, MessageEvents, Origin, OutgoingMessage, Plugin, StartInfo,
    TimerEvents, Timestamp, archive_writer, clock, explain, info, warn,
};

use settings::{Kind, Settings, written_at};

/// The peers that entries have; the archive cannot be asked for them.
const BUCKET: &str = "peers";
/// As many peers as are kept in mind: strangers must not fill the storage.
const MAX_PEERS: usize = 10_000;
/// How often old entries are removed, in milliseconds: daily.
const PURGE_EVERY: u64 = 24 * 60 * 60 * 1000;
/// Between two parts of that work, in milliseconds.
const PURGE_PAUSE: u64 = 1000;
/// As many removals as are done at once, so that no event takes long.
const PURGE_PART: usize = 32;
const PURGE: u64 = 1;

struct History {
    settings: Settings,
    accounts: Vec<AccountId>,
    bucket: Bucket,
    /// What the bucket holds.
    peers: BTreeSet<String>,
    /// Removals that are still to be done: account, peer or everybody, up to when.
    purges: Vec<(AccountId, Option<String>, Timestamp)>,
}

attache_plugin::export!(History: MessageEvents, TimerEvents);

impl Plugin for History {
    fn start(info: StartInfo) -> Result<Self, String> {
        let settings = Settings::read(Table::read()?)?;
        let bucket = Bucket::open(BUCKET)?;
        let peers = bucket.keys()?.into_iter().collect();
        let mut plugin = Self { settings, accounts: info.accounts, bucket, peers, purges: Vec::new() };
        plugin.purge();
        Ok(plugin)
    }
}

impl MessageEvents for History {
    fn message_received(&mut self, event: EventInfo, message: IncomingMessage) -> Result<(), String> {
        let automatic = message.origin == Origin::Automatic;
        if !self.settings.archives(&message.sender, Kind::Incoming { automatic }) {
            return Ok(());
        }
        let entry = Entry {
            message: message.id,
            conversation: message.conversation,
            at: written_at(message.sent_at, event.at),
            direction: Direction::Incoming,
            peer: message.sender,
            text: message.text,
            automatic,
        };
        self.append(event.account, &entry)
    }

    fn message_accepted(&mut self, event: EventInfo, message: OutgoingMessage) -> Result<(), String> {
        let automatic = message.automatic;
        if !self.settings.archives(&message.recipient, Kind::Outgoing { automatic }) {
            return Ok(());
        }
        let entry = Entry {
            message: message.id,
            conversation: message.conversation,
            at: event.at,
            direction: Direction::Outgoing,
            peer: message.recipient,
            text: message.text,
            automatic,
        };
        self.append(event.account, &entry)
    }
}

impl TimerEvents for History {
    fn timer_fired(&mut self, token: u64) {
        if token == PURGE {
            self.purge();
        }
    }
}

impl History {
    fn append(&mut self, account: AccountId, entry: &Entry) -> Result<(), String> {
        self.remember(&entry.peer);
        archive_writer::append(account, entry).map(drop).map_err(|error| explain(&error))
    }

    /// Keeps a peer in mind, for the day on which its entries are old. Failing that, they are kept longer than they
    /// should be, which is better than to lose them.
    fn remember(&mut self, peer: &str) {
        if self.peers.contains(peer) || self.peers.len() >= MAX_PEERS {
            return;
        }
        match self.bucket.set(peer, "") {
            Ok(()) => drop(self.peers.insert(peer.to_owned())),
            Err(error) => warn!("a peer cannot be kept in mind: {error}"),
        }
    }

    /// Removes a part of what is old, and comes back for the rest or in a day.
    fn purge(&mut self) {
        if self.purges.is_empty() {
            let purges = self.settings.purges(&self.peers, clock::now());
            let of_account =
                |account| purges.iter().map(move |(peer, before)| (account, peer.clone(), *before));
            self.purges = self.accounts.iter().copied().flat_map(of_account).collect();
        }
        let mut removed = 0;
        for (account, peer, before) in self.purges.drain(self.purges.len().saturating_sub(PURGE_PART)..) {
            // A failure is told, and does not keep messages from the archive.
            match archive_writer::purge(account, before, peer.as_deref()) {
                Ok(count) => removed += count,
                Err(error) => warn!("old entries are not removed: {}", explain(&error)),
            }
        }
        if removed > 0 {
            info!("{removed} old entries are removed");
        }
        let pause = if self.purges.is_empty() { PURGE_EVERY } else { PURGE_PAUSE };
        if let Err(error) = clock::set_timer(pause, PURGE) {
            warn!("old entries will not be removed before the next start: {}", explain(&error));
        }
    }
}
