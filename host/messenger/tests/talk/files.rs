//! Files between two people (RFC 5547).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use attache_messenger::{
    code::Code,
    command::Command,
    error::Error,
    event::EventKind,
    file::{FileHash, FileInput, FileRequest, FileState, FileTransfer, HashAlgorithm},
    id::FileId,
    sim::EngineNode,
};
use attache_msrp::sdp::FileHasher;

use crate::{sessions::Sessions, world::*};

const STEP: Duration = Duration::from_millis(40);

/// Two people and their disks.
struct Disks {
    sessions: Sessions,
    sent: Vec<u8>,
    received: BTreeMap<u64, Vec<u8>>,
    closed: Vec<&'static str>,
    /// Bob's disk fails.
    full: bool,
    most: usize,
}

impl Disks {
    fn new(seed: u64, sent: Vec<u8>) -> Self {
        let sessions = Sessions::with(seed, &["alice", "bob"], |config| config);
        Self { sessions, sent, received: BTreeMap::new(), closed: Vec::new(), full: false, most: 0 }
    }

    fn pump(&mut self, name: &'static str) {
        let requests = self.sessions.world.sim.with(at(name), |node: &mut EngineNode, _| node.take_files());
        for request in requests {
            let input = match request {
                FileRequest::Read { file, offset, length } => {
                    let from = usize::try_from(offset).unwrap();
                    let bytes = self.sent[from..(from + length).min(self.sent.len())].to_vec();
                    self.most = self.most.max(bytes.len());
                    FileInput::Read { file, offset, bytes: bytes.into() }
                }
                FileRequest::Write { file, .. } if self.full => {
                    FileInput::Failed { file, reason: "no space".into() }
                }
                FileRequest::Write { file, offset, bytes } => {
                    self.received.insert(offset, bytes.to_vec());
                    FileInput::Written { file, bytes: bytes.len() }
                }
                FileRequest::Close { .. } => {
                    self.closed.push(name);
                    continue;
                }
            };
            self.sessions.world.sim.with(at(name), |node: &mut EngineNode, now| node.handle_file(now, input));
        }
    }

    fn run_for(&mut self, time: Duration) {
        let end = self.sessions.world.sim.elapsed() + time;
        while self.sessions.world.sim.elapsed() < end {
            self.sessions.wires.run_for(&mut self.sessions.world, STEP);
            self.pump("alice");
            self.pump("bob");
        }
    }

    fn finish(&mut self, name: &str, token: u64) -> Result<(), Error> {
        for _ in 0..10_000 {
            if let Some(outcome) = self.sessions.world.outcome(name, token) {
                return outcome;
            }
            self.run_for(STEP);
        }
        panic!("it never completed")
    }

    fn offer(&mut self, hash: Option<FileHash>) -> u64 {
        let command = Command::OfferFile {
            to: address("bob"),
            name: "../plans/plan.pdf".into(),
            media_type: "application/pdf".into(),
            size: self.sent.len() as u64,
            hash,
        };
        let token = self.sessions.world.start("alice", command);
        self.run_for(Duration::from_secs(2));
        token
    }

    fn file(&mut self, name: &str) -> Arc<FileTransfer> {
        let files = self.sessions.world.snapshot(name).files;
        assert_eq!(files.size(), 1);
        files.values().next().unwrap().clone()
    }

    fn whole(&self) -> Vec<u8> {
        self.received.values().flatten().copied().collect()
    }
}

fn content(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n * 31 % 251) as u8).collect()
}

fn hash(bytes: &[u8], algorithm: HashAlgorithm) -> FileHash {
    let mut hasher = FileHasher::new(algorithm);
    hasher.update(bytes);
    hasher.finish()
}

#[test]
fn a_file_is_offered_taken_and_arrives_as_it_is() {
    let sent = content(700_001);
    for algorithm in [HashAlgorithm::Sha1, HashAlgorithm::Sha256] {
        let mut disks = Disks::new(1, sent.clone());
        let token = disks.offer(Some(hash(&sent, algorithm)));
        let offered = disks.file("bob");
        assert_eq!((&*offered.name, &*offered.media_type), ("plan.pdf", "application/pdf"));
        assert_eq!((offered.size, &offered.state), (700_001, &FileState::Offered));
        assert_eq!(offered.peer, address("alice"));
        let taken = disks.sessions.world.start("bob", Command::AcceptFile(offered.id));
        disks.finish("bob", taken).unwrap();
        disks.finish("alice", token).unwrap();
        assert_eq!(disks.whole(), sent);
        assert_eq!((disks.file("alice").state.clone(), disks.file("bob").done), (FileState::Done, 700_001));
        disks.run_for(Duration::from_secs(1));
        assert_eq!(disks.closed.len(), 2, "both may close their files");
        assert!(disks.most < 100_000, "a piece at a time");
        let progress = disks.sessions.world.events("bob").into_iter();
        let progress = progress.filter(|event| matches!(event.kind, EventKind::FileChanged(_))).count();
        assert!(progress > 3, "{progress}");
    }
}

#[test]
fn a_file_that_is_not_the_one_that_was_offered_is_not_done() {
    let mut disks = Disks::new(2, content(50_000));
    let token = disks.offer(Some(hash(b"another", HashAlgorithm::Sha256)));
    let id = disks.file("bob").id;
    let taken = disks.sessions.world.start("bob", Command::AcceptFile(id));
    assert_eq!(disks.finish("bob", taken).unwrap_err().code(), Code::SessionSessionProtocolError);
    assert!(disks.finish("alice", token).is_err());
}

#[test]
fn a_file_can_be_declined_and_called_off_by_either_side() {
    let mut disks = Disks::new(3, content(1_000));
    let token = disks.offer(None);
    let id = disks.file("bob").id;
    disks.sessions.run("bob", Command::DeclineFile(id)).unwrap();
    assert_eq!(disks.finish("alice", token).unwrap_err().code(), Code::SessionInvitationDeclined);
    for who in ["alice", "bob"] {
        let mut disks = Disks::new(4, content(5_000_000));
        let token = disks.offer(None);
        let id = disks.file("bob").id;
        let taken = disks.sessions.world.start("bob", Command::AcceptFile(id));
        disks.run_for(Duration::from_millis(400));
        assert_eq!(disks.file("alice").state, FileState::Transferring);
        let id = disks.file(who).id;
        disks.sessions.run(who, Command::DeclineFile(id)).unwrap();
        assert!(disks.finish("alice", token).is_err() && disks.finish("bob", taken).is_err(), "{who}");
        assert_eq!(disks.closed.len(), 2);
    }
}

#[test]
fn a_file_that_cannot_be_written_or_whose_connection_breaks_ends_with_a_reason() {
    for full in [true, false] {
        let mut disks = Disks::new(5, content(5_000_000));
        let token = disks.offer(None);
        let id = disks.file("bob").id;
        let taken = disks.sessions.world.start("bob", Command::AcceptFile(id));
        disks.full = full;
        disks.run_for(Duration::from_millis(400));
        if !full {
            disks.sessions.wires.cut();
        }
        let code = if full { Code::Storage } else { Code::SessionConnectionFailure };
        assert_eq!(disks.finish("bob", taken).unwrap_err().code(), code);
        assert!(disks.finish("alice", token).is_err());
    }
}

#[test]
fn a_file_that_is_too_long_for_the_account_is_refused_without_asking() {
    let mut disks = Disks::new(6, content(10));
    disks.sessions = Sessions::with(6, &["alice", "bob"], |mut config| {
        config.largest_file = 9;
        config
    });
    let token = disks.offer(None);
    assert_eq!(disks.finish("alice", token).unwrap_err().code(), Code::MessageTooLong);
    assert!(disks.sessions.world.snapshot("bob").files.is_empty());
}

#[test]
fn a_file_that_cannot_be_offered_is_refused_with_its_own_code() {
    let mut disks = Disks::new(7, Vec::new());
    let offer = |to: &str, name: &str, media_type: &str, size| Command::OfferFile {
        to: address(to),
        name: name.into(),
        media_type: media_type.into(),
        size,
        hash: None,
    };
    for (command, code) in [
        (offer("alice", "a", "text/plain", 1), Code::SessionInvitedSelf),
        (offer("bob", "..", "text/plain", 1), Code::InvalidArgument),
        (offer("bob", "a", "text", 1), Code::InvalidArgument),
        (offer("bob", "a", "text/plain", 0), Code::InvalidArgument),
        (Command::AcceptFile(FileId(1)), Code::NotFound),
        (Command::DeclineFile(FileId(1)), Code::NotFound),
    ] {
        assert_eq!(disks.sessions.run("alice", command).unwrap_err().code(), code);
    }
    let mut world = World::new(8, &["alice"]);
    assert_eq!(world.fails("alice", offer("bob", "a", "text/plain", 1)), Code::UnsupportedByService);
}
