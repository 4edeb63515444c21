//! A simulated network of connections under a virtual clock, for tests of anything that owns an [`Msrp`].
//!
//! Bytes arrive in order or not at all, late, and cut anywhere; connections break; whoever does not read makes the other
//! side wait. The same seed gives the same run.

use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

use crate::fingerprint::Fingerprint;
use crate::machine::Msrp;
use crate::stream::{StreamId, StreamInput, StreamRequest, Target};

/// Something that has connections as a machine of this crate has.
pub trait Node: Any {
    /// Takes what happened on a connection.
    fn handle_stream(&mut self, now: Instant, input: StreamInput);
    /// Does what is due.
    fn handle_timeout(&mut self, now: Instant);
    /// What should be done on a connection next.
    fn poll_stream(&mut self, now: Instant) -> Option<StreamRequest>;
    /// When something is due.
    fn poll_timeout(&mut self) -> Option<Instant>;
}

impl Node for Msrp {
    fn handle_stream(&mut self, now: Instant, input: StreamInput) {
        self.handle_input(now, input);
    }

    fn handle_timeout(&mut self, now: Instant) {
        Self::handle_timeout(self, now);
    }

    fn poll_stream(&mut self, now: Instant) -> Option<StreamRequest> {
        self.poll_transmit(now)
    }

    fn poll_timeout(&mut self) -> Option<Instant> {
        Self::poll_timeout(self)
    }
}

/// A network of nodes, each of which listens at one host name on every port.
pub struct Network {
    nodes: BTreeMap<String, Box<dyn Node>>,
    certificates: BTreeMap<String, Fingerprint>,
    clock: Instant,
    rng: ChaCha8Rng,
    latency: Duration,
    /// Most octets that arrive at once.
    piece: usize,
    pipes: BTreeMap<u64, Pipe>,
    next: u64,
    happenings: BTreeMap<(Instant, u64), Happening>,
    opened: u64,
    carried: u64,
}

/// A connection: the end of the node that opened it, and the other.
struct Pipe {
    ends: [End; 2],
}

struct End {
    host: String,
    stream: StreamId,
    paused: bool,
    /// What came while it was not read.
    backlog: VecDeque<StreamInput>,
    /// Nothing overtakes what was sent before.
    last: Instant,
}

enum Happening {
    /// Something for one end of a connection.
    At { pipe: u64, end: usize, input: StreamInput },
    /// A connection that nobody accepts.
    Refused { host: String, stream: StreamId },
}

impl Network {
    /// An empty network. All chance in it comes from `seed`.
    pub fn new(seed: u64) -> Self {
        Self {
            nodes: BTreeMap::new(),
            certificates: BTreeMap::new(),
            clock: Instant::now(),
            rng: ChaCha8Rng::seed_from_u64(seed),
            latency: Duration::from_millis(5),
            piece: usize::MAX,
            pipes: BTreeMap::new(),
            next: 0,
            happenings: BTreeMap::new(),
            opened: 0,
            carried: 0,
        }
    }

    /// How long bytes travel.
    pub fn set_latency(&mut self, latency: Duration) {
        self.latency = latency;
    }

    /// Cuts what is sent into pieces of at most so many octets, by chance.
    pub fn set_piece(&mut self, octets: usize) {
        self.piece = octets.max(1);
    }

    /// The virtual time.
    pub fn now(&self) -> Instant {
        self.clock
    }

    /// How many connections were opened.
    pub fn connections_opened(&self) -> u64 {
        self.opened
    }

    /// How many octets were sent.
    pub fn octets_carried(&self) -> u64 {
        self.carried
    }

    /// Puts a node at a host.
    pub fn add(&mut self, host: &str, node: impl Node) {
        self.nodes.insert(host.to_owned(), Box::new(node));
        self.drain(host);
    }

    /// The certificate that the node at a host shows on connections over TLS from now on. Without one it shows none, and
    /// is believed by those who want none in particular.
    pub fn set_certificate(&mut self, host: &str, certificate: Fingerprint) {
        self.certificates.insert(host.to_owned(), certificate);
    }

    /// Reaches into a node with the virtual time, and does what it then wants.
    ///
    /// # Panics
    /// When no node is at `host`, or it is not an `N`: a mistake in the test.
    pub fn with<N: Node, R>(&mut self, host: &str, act: impl FnOnce(&mut N, Instant) -> R) -> R {
        let node = self.nodes.get_mut(host).expect("a node is at this host");
        let node: &mut dyn Any = node.as_mut();
        let result = act(node.downcast_mut().expect("the node is of this type"), self.clock);
        self.drain(host);
        result
    }

    /// Lets so much time go by.
    pub fn run_for(&mut self, time: Duration) {
        let until = self.clock + time;
        while self.step(until) {}
        self.clock = until;
    }

    /// Breaks every connection of a node. Both sides hear of it.
    pub fn break_connections(&mut self, host: &str) {
        let broken: Vec<_> = self
            .pipes
            .iter()
            .filter(|(_, pipe)| pipe.ends.iter().any(|end| end.host == host))
            .map(|(number, _)| *number)
            .collect();
        for number in broken {
            let Some(pipe) = self.pipes.remove(&number) else { continue };
            for end in pipe.ends {
                let input = StreamInput::Closed { stream: end.stream, reason: "connection reset".into() };
                self.give(&end.host, input);
            }
        }
    }

    /// The next thing that happens until then. Whether there was one.
    fn step(&mut self, until: Instant) -> bool {
        let due =
            |(host, node): (&String, &mut Box<dyn Node>)| node.poll_timeout().map(|at| (at, host.clone()));
        let timeout = self.nodes.iter_mut().filter_map(due).min();
        let happening = self.happenings.first_key_value().map(|(key, _)| *key);
        match (happening, timeout) {
            (Some((at, number)), timeout)
                if at <= until && timeout.as_ref().is_none_or(|(due, _)| at <= *due) =>
            {
                self.clock = self.clock.max(at);
                match self.happenings.remove(&(at, number)) {
                    Some(Happening::At { pipe, end, input }) => self.arrive(pipe, end, input),
                    Some(Happening::Refused { host, stream }) => {
                        let reason = "connection refused".into();
                        self.give(&host, StreamInput::Closed { stream, reason });
                    }
                    None => {}
                }
                true
            }
            (_, Some((due, host))) if due <= until => {
                self.clock = self.clock.max(due);
                if let Some(node) = self.nodes.get_mut(&host) {
                    node.handle_timeout(self.clock);
                }
                self.drain(&host);
                true
            }
            _ => false,
        }
    }

    fn give(&mut self, host: &str, input: StreamInput) {
        if let Some(node) = self.nodes.get_mut(host) {
            node.handle_stream(self.clock, input);
        }
        self.drain(host);
    }

    fn arrive(&mut self, pipe: u64, end: usize, input: StreamInput) {
        let Some(found) = self.pipes.get_mut(&pipe) else { return };
        let here = &mut found.ends[end];
        if here.paused && !matches!(input, StreamInput::Written { .. }) {
            here.backlog.push_back(input);
            return;
        }
        let host = here.host.clone();
        if let StreamInput::Bytes { bytes, .. } = &input {
            // Now only there is room for as much at the sender.
            let other = &found.ends[1 - end];
            let (to, written) =
                (other.host.clone(), StreamInput::Written { stream: other.stream, bytes: bytes.len() });
            self.give(&host, input);
            self.give(&to, written);
        } else {
            if matches!(input, StreamInput::Closed { .. }) {
                self.pipes.remove(&pipe);
            }
            self.give(&host, input);
        }
    }

    fn drain(&mut self, host: &str) {
        while let Some(request) = self.nodes.get_mut(host).and_then(|node| node.poll_stream(self.clock)) {
            match request {
                StreamRequest::Connect { stream, target } => self.connect(host, stream, &target),
                StreamRequest::Send { stream, bytes } => self.send(host, stream, bytes),
                StreamRequest::Pause { stream } => {
                    if let Some((pipe, end)) = self.find(host, stream) {
                        self.end(pipe, end).paused = true;
                    }
                }
                StreamRequest::Resume { stream } => {
                    if let Some((pipe, end)) = self.find(host, stream) {
                        self.end(pipe, end).paused = false;
                        let backlog = std::mem::take(&mut self.end(pipe, end).backlog);
                        for input in backlog {
                            // Before whatever is still on its way, but not within this call.
                            self.happen(self.clock, Happening::At { pipe, end, input });
                        }
                    }
                }
                StreamRequest::Close { stream } => {
                    if let Some((pipe, end)) = self.find(host, stream) {
                        let other = 1 - end;
                        let stream = self.end(pipe, other).stream;
                        let input = StreamInput::Closed { stream, reason: "closed by the peer".into() };
                        let at = self.arrival(pipe, other);
                        self.happen(at, Happening::At { pipe, end: other, input });
                    }
                }
            }
        }
    }

    fn connect(&mut self, host: &str, stream: StreamId, target: &Target) {
        let now = self.clock;
        let to = target.host.as_str();
        let certificate = |host: &str| target.secure.then(|| self.certificates.get(host).copied()).flatten();
        let shown = certificate(to);
        let wanted = &target.fingerprints;
        let believed = wanted.is_empty() || shown.is_some_and(|shown| wanted.contains(&shown));
        if !self.nodes.contains_key(to) || to == host || !believed {
            let refused = Happening::Refused { host: host.to_owned(), stream };
            self.happen(now + self.latency, refused);
            return;
        }
        let certificate = certificate(host);
        let number = self.next;
        self.next += 1;
        self.opened += 1;
        let end = |host: &str, stream| End {
            host: host.to_owned(),
            stream,
            paused: false,
            backlog: VecDeque::new(),
            last: now,
        };
        let theirs = StreamId::Theirs(number);
        self.pipes.insert(number, Pipe { ends: [end(host, stream), end(to, theirs)] });
        let at = self.arrival(number, 1);
        let accepted = StreamInput::Accepted { stream: theirs, secure: target.secure, certificate };
        self.happen(at, Happening::At { pipe: number, end: 1, input: accepted });
        let at = at + self.latency;
        self.end(number, 0).last = at;
        self.happen(at, Happening::At { pipe: number, end: 0, input: StreamInput::Opened { stream } });
    }

    fn send(&mut self, host: &str, stream: StreamId, mut bytes: Bytes) {
        let Some((pipe, end)) = self.find(host, stream) else { return };
        let other = 1 - end;
        self.carried += bytes.len() as u64;
        while !bytes.is_empty() {
            let length = match self.piece {
                usize::MAX => bytes.len(),
                most => 1 + self.rng.next_u32() as usize % most,
            };
            let bytes = bytes.split_to(length.min(bytes.len()));
            let stream = self.end(pipe, other).stream;
            let at = self.arrival(pipe, other);
            self.happen(at, Happening::At { pipe, end: other, input: StreamInput::Bytes { stream, bytes } });
        }
    }

    /// When something that is sent now arrives there.
    fn arrival(&mut self, pipe: u64, end: usize) -> Instant {
        let at = self.clock + self.latency;
        let end = self.end(pipe, end);
        end.last = end.last.max(at);
        end.last
    }

    fn happen(&mut self, at: Instant, happening: Happening) {
        self.happenings.insert((at, self.next), happening);
        self.next += 1;
    }

    fn find(&self, host: &str, stream: StreamId) -> Option<(u64, usize)> {
        self.pipes.iter().find_map(|(number, pipe)| {
            let end = pipe.ends.iter().position(|end| end.host == host && end.stream == stream)?;
            Some((*number, end))
        })
    }

    fn end(&mut self, pipe: u64, end: usize) -> &mut End {
        &mut self.pipes.get_mut(&pipe).expect("the connection was found").ends[end]
    }
}
