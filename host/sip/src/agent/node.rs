//! An agent as a node of the simulated network.

use std::time::Instant;

use bytes::Bytes;

use super::Agent;
use crate::sim::Node;
use crate::transport::{Destination, Flow, FlowId, Transmit};

impl Node for Agent {
    fn handle_input(&mut self, now: Instant, flow: Flow, bytes: Bytes) {
        Self::handle_input(self, now, flow, bytes);
    }
    fn handle_flow_failed(&mut self, now: Instant, to: Destination, flow: Option<FlowId>, reason: &str) {
        Self::handle_flow_failed(self, now, to, flow, reason);
    }
    fn handle_timeout(&mut self, now: Instant) {
        Self::handle_timeout(self, now);
    }
    fn poll_transmit(&mut self) -> Option<Transmit> {
        Self::poll_transmit(self)
    }
    fn poll_timeout(&mut self) -> Option<Instant> {
        Self::poll_timeout(self)
    }
}
