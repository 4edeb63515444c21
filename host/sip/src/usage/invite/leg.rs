//! One dialog of a call.

use std::time::Instant;

use crate::agent::core::Core;
use crate::agent::place::Route;
use crate::endpoint::Request;
use crate::message::{HeaderName, Method};
use crate::usage::dialog::Dialog;

use super::Body;

/// A dialog, and what is known of the session in it.
pub(super) struct Leg {
    pub(super) dialog: Dialog,
    pub(super) fork: u32,
    /// The last reliable provisional answer that was acknowledged (RFC 3262 §4).
    pub(super) rseq: Option<u32>,
    /// An offer was made and answered: the session is described.
    pub(super) negotiated: bool,
    /// What a repeated 2xx is answered with.
    ack: Option<Ack>,
}

struct Ack {
    request: Request,
    route: Route,
    /// How often it was sent.
    sent: u32,
}

impl Leg {
    pub(super) const fn new(dialog: Dialog, fork: u32) -> Self {
        Self { dialog, fork, rseq: None, negotiated: false, ack: None }
    }

    /// Acknowledges a 2xx (RFC 3261 §13.2.2.4): with the number and the credentials of the INVITE.
    pub(super) fn acknowledge(
        &mut self,
        core: &mut Core,
        now: Instant,
        cseq: u32,
        credentials: &[(HeaderName, String)],
        body: Option<&Body>,
    ) {
        let (mut request, route) = self.dialog.numbered(core, Method::Ack, cseq);
        for (name, value) in credentials {
            request.push(*name, value.clone());
        }
        if let Some(body) = body {
            request.body = Some(body.parts());
        }
        self.ack = Some(Ack { request, route, sent: 0 });
        self.acknowledge_again(core, now, cseq);
    }

    /// Acknowledges a repeat of the 2xx to the INVITE with this number. Nothing happens where it was not acknowledged before: the answer to
    /// its offer is still missing.
    pub(super) fn acknowledge_again(&mut self, core: &mut Core, now: Instant, cseq: u32) {
        if let Some(ack) = self.ack.as_mut().filter(|ack| ack.request.cseq == cseq) {
            core.send_ack(now, &ack.request, ack.route, self.dialog.secure, ack.sent % 2 == 1);
            ack.sent = ack.sent.wrapping_add(1);
        }
    }
}
