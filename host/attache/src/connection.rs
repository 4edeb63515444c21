//! How the service was found and reached: for a person who looks for a fault.

use std::{sync::Arc, time::SystemTime};

use arc_swap::ArcSwap;
use attache_net::{CertificateProblem, CertificateSummary, FlowError};
use attache_sip::{
    resolve::{Resolve, ResolveId},
    transport::{Destination, Flow, FlowId, Transport},
};

/// Most entries of each list; the oldest go first.
const MOST: usize = 16;

/// What is known of an account's ways to its service.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Connection {
    /// Names that were looked up, and what came of it, oldest first. Empty where the service is given as an IP address.
    pub lookups: Vec<Lookup>,
    /// Ways on which something was heard and that have not failed since, oldest first.
    pub flows: Vec<FlowInfo>,
    /// Ways that failed, oldest first; a way that works now may be among them.
    pub failures: Vec<FlowFailure>,
}

/// One question to name servers.
#[derive(Clone, Debug)]
pub struct Lookup {
    /// The name.
    pub host: String,
    /// The port that was asked for.
    pub port: Option<u16>,
    /// The transport that was asked for.
    pub transport: Option<Transport>,
    /// Where it leads, in the order of preference; `None` while there is no answer.
    pub answer: Option<Result<Vec<Destination>, String>>,
    id: ResolveId,
}

/// One way to the service that works.
#[derive(Clone, Debug)]
pub struct FlowInfo {
    /// Where it leads.
    pub destination: Destination,
    /// The certificate that was shown there, over TLS.
    pub certificate: Option<Arc<CertificateSummary>>,
    flow: FlowId,
}

/// One way to the service that failed.
#[derive(Clone, Debug)]
pub struct FlowFailure {
    /// Where it led.
    pub destination: Destination,
    /// Why, as a sentence.
    pub reason: String,
    /// Where a certificate was the reason: what is wrong with it.
    pub certificate: Option<CertificateProblem>,
    /// When.
    pub at: SystemTime,
}

/// Keeps a [`Connection`] up to date.
#[derive(Default)]
pub(crate) struct Track {
    now: Connection,
    shared: Arc<ArcSwap<Connection>>,
}

impl Track {
    pub(crate) fn shared(&self) -> Arc<ArcSwap<Connection>> {
        self.shared.clone()
    }

    pub(crate) fn asks(&mut self, resolve: &Resolve) {
        if self.now.lookups.len() >= MOST {
            self.now.lookups.remove(0);
        }
        self.now.lookups.push(Lookup {
            host: resolve.host.clone(),
            port: resolve.port,
            transport: resolve.transport,
            answer: None,
            id: resolve.id,
        });
        self.publish();
    }

    pub(crate) fn resolved(&mut self, id: ResolveId, answer: &Result<Vec<Destination>, String>) {
        if let Some(lookup) = self.now.lookups.iter_mut().find(|lookup| lookup.id == id) {
            lookup.answer = Some(answer.clone());
            self.publish();
        }
    }

    /// Called for every message: does nothing for a way that is known.
    pub(crate) fn heard(
        &mut self,
        flow: Flow,
        certificate: impl FnOnce() -> Option<Arc<CertificateSummary>>,
    ) {
        let destination = flow.back();
        let same = |known: &FlowInfo| known.flow == flow.id && known.destination == destination;
        if self.now.flows.iter().rev().any(same) {
            return;
        }
        if self.now.flows.len() >= MOST {
            self.now.flows.remove(0);
        }
        self.now.flows.push(FlowInfo { destination, certificate: certificate(), flow: flow.id });
        self.publish();
    }

    pub(crate) fn failed(&mut self, destination: Destination, flow: Option<FlowId>, reason: &FlowError) {
        self.now.flows.retain(|known| match flow {
            Some(flow) => known.flow != flow,
            None => known.destination != destination,
        });
        if self.now.failures.len() >= MOST {
            self.now.failures.remove(0);
        }
        self.now.failures.push(FlowFailure {
            destination,
            reason: reason.to_string(),
            certificate: match reason {
                FlowError::Certificate(problem) => Some(problem.clone()),
                _ => None,
            },
            at: SystemTime::now(),
        });
        self.publish();
    }

    fn publish(&self) {
        self.shared.store(Arc::new(self.now.clone()));
    }
}
