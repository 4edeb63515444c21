//! What other people's programs are known to read.
//!
//! With MESSAGE there is no negotiation, and many programs read texts alone. So a text goes out as a text, until the
//! other side has shown that it reads more: by what it sends itself, or by refusing. That is remembered.

use std::collections::HashMap;

use crate::{
    address::Address,
    engine::{
        Engine,
        ledger::{Effect, Then},
        sync::Records,
    },
    storage::{Record, RecordKind},
    time::Timestamp,
};

/// What somebody's programs read beside texts.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Reads {
    /// Wrappers, and receipts with them; `None` while nothing is known.
    pub(super) cpim: Option<bool>,
    /// Alternatives with markup.
    pub(super) rich: Option<bool>,
    /// That somebody writes.
    pub(super) composing: bool,
}

/// What is known of people's programs, and since when.
#[derive(Debug, Default)]
pub(super) struct Peers(HashMap<Address, (Reads, Timestamp)>);

impl Peers {
    pub(super) fn new(records: &[Record]) -> Self {
        let of_peers = records.iter().filter(|record| record.kind == RecordKind::Peer);
        Self(
            of_peers
                .filter_map(|record| Some((Address::parse(&record.key).ok()?, read(&record.value)?)))
                .collect(),
        )
    }
}

impl Engine {
    /// What somebody's programs read.
    pub(super) fn reads(&self, peer: &Address) -> Reads {
        self.peers.0.get(peer).map(|(reads, _)| *reads).unwrap_or_default()
    }

    /// Somebody's programs have shown what they read.
    pub(super) fn learn(&mut self, peer: &Address, change: impl FnOnce(&mut Reads)) {
        let before = self.reads(peer);
        let mut reads = before;
        change(&mut reads);
        if reads == before {
            return;
        }
        let at = self.now.wall;
        let mut records: Records = Vec::new();
        if !self.peers.0.contains_key(peer) && self.peers.0.len() >= self.config.limits.peers {
            // Whoever has shown nothing new for longest is asked to show it again.
            let oldest = self.peers.0.iter().min_by_key(|(known, (_, at))| (*at, known.canonical()));
            if let Some(oldest) = oldest.map(|(known, _)| known.clone()) {
                self.peers.0.remove(&oldest);
                records.push((RecordKind::Peer, oldest.canonical().into(), None));
            }
        }
        self.peers.0.insert(peer.clone(), (reads, at));
        records.push((RecordKind::Peer, peer.canonical().into(), Some(write(reads, at).into())));
        self.ledger.keep(Effect::Records { records, then: Then::Nothing });
    }
}

/// Words and the time, such as `cpim no-rich composing 1769850000000`.
fn write(reads: Reads, at: Timestamp) -> String {
    let mut words = String::new();
    for (known, yes, no) in [(reads.cpim, "cpim ", "no-cpim "), (reads.rich, "rich ", "no-rich ")] {
        words.push_str(known.map_or("", |known| if known { yes } else { no }));
    }
    if reads.composing {
        words.push_str("composing ");
    }
    words.push_str(&at.as_millis().to_string());
    words
}

fn read(text: &str) -> Option<(Reads, Timestamp)> {
    let (words, at) = text.rsplit_once(' ').unwrap_or(("", text));
    let mut reads = Reads::default();
    for word in words.split(' ') {
        match word {
            "cpim" => reads.cpim = Some(true),
            "no-cpim" => reads.cpim = Some(false),
            "rich" => reads.rich = Some(true),
            "no-rich" => reads.rich = Some(false),
            "composing" => reads.composing = true,
            _ => {}
        }
    }
    Some((reads, Timestamp::from_millis(at.parse().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_of_a_program_reads_back_as_it_was_written() {
        let at = Timestamp::from_millis(17);
        for cpim in [None, Some(true), Some(false)] {
            for composing in [true, false] {
                let reads = Reads { cpim, rich: cpim.map(|yes| !yes), composing };
                assert_eq!(read(&write(reads, at)), Some((reads, at)));
            }
        }
        assert_eq!(read("cpim later"), None);
    }
}
