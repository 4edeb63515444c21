//! A machine, and a peer that writes what it likes.

use std::time::{Duration, Instant};

use attache_msrp::{
    Msrp, MsrpEvent, MsrpUri, SessionId, SessionParams, StreamId, StreamInput, StreamRequest,
};
use bytes::Bytes;

use super::{node, peer};

pub(crate) const STREAM: StreamId = StreamId::Theirs(1);

pub(crate) struct Raw {
    pub(crate) node: Msrp,
    pub(crate) now: Instant,
    /// What the machine did besides sending.
    pub(crate) asked: Vec<StreamRequest>,
    /// What it sent.
    pub(crate) said: String,
    /// Whether what it sends is read.
    pub(crate) reads: bool,
}

impl Raw {
    /// A machine with one connection that a peer has opened.
    pub(crate) fn new(limits: attache_msrp::Limits) -> Self {
        let mut raw = Self {
            node: node("bob", limits),
            now: Instant::now(),
            asked: Vec::new(),
            said: String::new(),
            reads: true,
        };
        raw.input(StreamInput::Accepted { stream: STREAM, secure: false, certificate: None });
        raw
    }

    /// A session whose peer is known and should connect; and its address.
    pub(crate) fn session(&mut self, params: SessionParams) -> (SessionId, MsrpUri) {
        let id = self.node.open(self.now, params).unwrap();
        let path = vec!["msrp://alice:1/a;tcp".parse().unwrap()];
        self.node.connect(self.now, id, peer(path, attache_msrp::Role::Passive)).unwrap();
        (id, self.node.local_path(id).unwrap().remove(0))
    }

    pub(crate) fn input(&mut self, input: StreamInput) {
        self.node.handle_input(self.now, input);
        self.drain();
    }

    pub(crate) fn drain(&mut self) {
        while let Some(request) = self.node.poll_transmit(self.now) {
            match request {
                StreamRequest::Send { stream, bytes } => {
                    self.said.push_str(std::str::from_utf8(&bytes).unwrap());
                    if self.reads {
                        let bytes = bytes.len();
                        self.node.handle_input(self.now, StreamInput::Written { stream, bytes });
                    }
                }
                other => self.asked.push(other),
            }
        }
    }

    pub(crate) fn bytes_on(&mut self, stream: StreamId, bytes: impl AsRef<[u8]>) {
        self.input(StreamInput::Bytes { stream, bytes: Bytes::copy_from_slice(bytes.as_ref()) });
    }

    pub(crate) fn bytes(&mut self, bytes: impl AsRef<[u8]>) {
        self.bytes_on(STREAM, bytes);
    }

    /// The status lines of what was said since the last time, `id status`.
    pub(crate) fn answers(&mut self) -> Vec<String> {
        let said = std::mem::take(&mut self.said);
        let line = |line: &str| line.strip_prefix("MSRP ").map(|rest| rest.chars().take(7).collect());
        said.lines().filter_map(line).collect()
    }

    pub(crate) fn events(&mut self) -> Vec<MsrpEvent> {
        std::iter::from_fn(|| self.node.poll_event()).collect()
    }

    pub(crate) fn wait(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(due) = self.node.poll_timeout().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.node.handle_timeout(self.now);
            self.drain();
        }
        self.now = until;
    }

    /// The bodies of messages that are there, all accepted.
    pub(crate) fn messages(&mut self) -> Vec<Bytes> {
        let mut all = Vec::new();
        for event in self.events() {
            if let MsrpEvent::Message { message, .. } = event {
                self.node.accept(self.now, message.id);
                all.push(message.body);
            }
        }
        self.drain();
        all
    }
}

/// A chunk of a message.
pub(crate) fn chunk(to: &MsrpUri, id: &str, headers: &str, body: &str, flag: char) -> String {
    format!(
        "MSRP {id} SEND\r\nTo-Path: {to}\r\nFrom-Path: msrp://alice:1/a;tcp\r\n{headers}\
         Content-Type: text/plain\r\n\r\n{body}\r\n-------{id}{flag}\r\n"
    )
}
