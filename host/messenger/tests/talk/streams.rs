//! Connections of message sessions, carried between the nodes of a simulation.

use std::{collections::BTreeMap, time::Duration};

use attache_messenger::sim::{EngineNode, Simulation};
use attache_msrp::{Fingerprint, MsrpConfig, StreamId, StreamInput, StreamRequest};

use crate::world::{Service, World, at};

/// How often bytes are carried on.
const STEP: Duration = Duration::from_millis(20);

type End = (&'static str, StreamId);

/// The connections between some nodes.
#[derive(Default)]
pub(crate) struct Wires {
    nodes: Vec<&'static str>,
    ends: BTreeMap<End, End>,
    next: u64,
    waiting: Vec<(&'static str, StreamInput)>,
    /// How many connections were made.
    pub(crate) made: u32,
    /// How many of them over TLS.
    pub(crate) made_over_tls: u32,
    /// Who shows another certificate than its own.
    pub(crate) impostor: Option<&'static str>,
}

pub(crate) fn config(name: &str) -> MsrpConfig {
    MsrpConfig { host: at(name).ip().to_string(), port: 2855, ..MsrpConfig::default() }
}

/// Of somebody who can have sessions over TLS too.
pub(crate) fn config_with_tls(name: &str) -> MsrpConfig {
    MsrpConfig { tls_port: 2856, fingerprint: Some(certificate(name)), ..config(name) }
}

fn certificate(name: &str) -> Fingerprint {
    Fingerprint::of(name.as_bytes())
}

impl Wires {
    pub(crate) fn new(nodes: &[&'static str]) -> Self {
        let nodes = nodes.iter().copied().chain(["service"]).collect();
        Self { nodes, ..Self::default() }
    }

    /// Breaks every connection.
    pub(crate) fn cut(&mut self) {
        for (name, stream) in core::mem::take(&mut self.ends).into_keys() {
            self.waiting.push((name, StreamInput::Closed { stream, reason: "cut".into() }));
        }
    }

    /// Breaks the connections of one node.
    pub(crate) fn cut_off(&mut self, name: &'static str) {
        let ends: Vec<End> = self.ends.keys().filter(|(known, _)| *known == name).copied().collect();
        for end in ends {
            let Some(other) = self.ends.remove(&end) else { continue };
            self.ends.remove(&other);
            for (name, stream) in [end, other] {
                self.waiting.push((name, StreamInput::Closed { stream, reason: "cut".into() }));
            }
        }
    }

    /// Lets time pass.
    pub(crate) fn run_for(&mut self, world: &mut World, time: Duration) {
        self.run_until(world, time, |_| false);
    }

    pub(crate) fn run_until(
        &mut self,
        world: &mut World,
        limit: Duration,
        mut done: impl FnMut(&mut World) -> bool,
    ) -> bool {
        let end = world.sim.elapsed() + limit;
        while world.sim.elapsed() < end {
            if done(world) {
                return true;
            }
            world.sim.run_for(STEP);
            self.carry(&mut world.sim);
        }
        done(world)
    }

    fn carry(&mut self, sim: &mut Simulation) {
        for (name, input) in core::mem::take(&mut self.waiting) {
            hand(sim, name, input);
        }
        for name in self.nodes.clone() {
            for request in requests(sim, name) {
                self.take(name, request);
            }
        }
    }

    fn take(&mut self, name: &'static str, request: StreamRequest) {
        match request {
            StreamRequest::Connect { stream, target } => {
                let other = self.nodes.iter().find(|other| at(other).ip().to_string() == target.host);
                let shown = |name| {
                    let shown = if self.impostor == Some(name) { "another" } else { name };
                    target.secure.then(|| certificate(shown))
                };
                let port = if target.secure { 2856 } else { 2855 };
                let other = other.filter(|other| {
                    let wanted = &target.fingerprints;
                    let known = shown(other).is_some_and(|shown| wanted.contains(&shown));
                    target.port == port && (wanted.is_empty() || known)
                });
                let certificate = shown(name);
                let Some(&other) = other else {
                    let reason = "nobody listens there".to_owned();
                    return self.waiting.push((name, StreamInput::Closed { stream, reason }));
                };
                self.next += 1;
                self.made += 1;
                self.made_over_tls += u32::from(target.secure);
                let theirs = StreamId::Theirs(self.next);
                self.ends.insert((name, stream), (other, theirs));
                self.ends.insert((other, theirs), (name, stream));
                self.waiting.push((
                    other,
                    StreamInput::Accepted { stream: theirs, secure: target.secure, certificate },
                ));
                self.waiting.push((name, StreamInput::Opened { stream }));
            }
            StreamRequest::Send { stream, bytes } => {
                self.waiting.push((name, StreamInput::Written { stream, bytes: bytes.len() }));
                if let Some(&(other, stream)) = self.ends.get(&(name, stream)) {
                    self.waiting.push((other, StreamInput::Bytes { stream, bytes }));
                }
            }
            StreamRequest::Close { stream } => {
                if let Some((other, theirs)) = self.ends.remove(&(name, stream)) {
                    self.ends.remove(&(other, theirs));
                    let reason = "closed".to_owned();
                    self.waiting.push((other, StreamInput::Closed { stream: theirs, reason }));
                }
            }
            StreamRequest::Pause { .. } | StreamRequest::Resume { .. } => {}
        }
    }
}

fn requests(sim: &mut Simulation, name: &str) -> Vec<StreamRequest> {
    match name {
        "service" => sim.with(at(name), |service: &mut Service, now| service.take_streams(now)),
        _ => sim.with(at(name), |node: &mut EngineNode, _| node.take_streams()),
    }
}

fn hand(sim: &mut Simulation, name: &str, input: StreamInput) {
    match name {
        "service" => sim.with(at(name), |service: &mut Service, now| service.handle_stream(now, input)),
        _ => sim.with(at(name), |node: &mut EngineNode, now| node.handle_stream(now, input)),
    }
}
