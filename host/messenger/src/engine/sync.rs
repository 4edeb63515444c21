//! The contact list and the rules on the service: an XCAP client (RFC 4825) and what is done with it.

use std::collections::VecDeque;

use bytes::Bytes;

/// Names a request of the engine for the XCAP server. Numbers of one engine only grow.
#[derive(Copy, Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct HttpId(pub u64);

/// Requests on their way.
#[derive(Debug, Default)]
pub(super) struct Http {
    waiting: VecDeque<(HttpId, http::Request<Bytes>)>,
}

impl Http {
    pub(super) fn poll(&mut self) -> Option<(HttpId, http::Request<Bytes>)> {
        self.waiting.pop_front()
    }

    pub(super) fn handle(&mut self, _: HttpId, _: Result<http::Response<Bytes>, String>) {}
}
