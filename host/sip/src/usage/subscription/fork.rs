//! One notifier's dialog.

use std::sync::Arc;
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use crate::agent::Cause;
use crate::agent::core::Core;
use crate::usage::MIN_REFRESH;

/// A dialog that a NOTIFY has created (RFC 6665 §4.4.1).
pub(super) struct Fork {
    /// Its number within the subscription.
    pub(super) id: u32,
    pub(super) remote_tag: Box<str>,
    /// Where requests within the dialog go; each NOTIFY and each answer may move it (RFC 6665 §4.4.1).
    pub(super) target: Box<str>,
    pub(super) routes: SmallVec<[Box<str>; 1]>,
    pub(super) remote_cseq: u32,
    /// The tag of its state, as the user has it (RFC 5839).
    pub(super) etag: Option<Arc<str>>,
    pub(super) active: bool,
    pub(super) expires_at: Instant,
    pub(super) refresh_at: Option<Instant>,
    /// A refresh wants a NOTIFY by then (RFC 6665 §4.1.2.2).
    pub(super) timer_n: Option<Instant>,
    /// A request waits for its place, or for its answer.
    pub(super) busy: bool,
    /// A refresh was refused in a way that does not end the dialog: it runs out.
    pub(super) refused: Option<Cause>,
    pub(super) failures: u32,
    /// The request that ends it was sent.
    pub(super) closed: bool,
}

impl Fork {
    /// A dialog that has expired unless it is [extended](Self::extend).
    pub(super) fn new(
        id: u32,
        remote_tag: Box<str>,
        target: Box<str>,
        routes: SmallVec<[Box<str>; 1]>,
        remote_cseq: u32,
        now: Instant,
    ) -> Self {
        Self {
            id,
            remote_tag,
            target,
            routes,
            remote_cseq,
            etag: None,
            active: false,
            expires_at: now,
            refresh_at: None,
            timer_n: None,
            busy: false,
            refused: None,
            failures: 0,
            closed: false,
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        [Some(self.expires_at), self.refresh_at, self.timer_n].into_iter().flatten().min()
    }

    /// Sets the time at which it ends without a refresh, and the time of the refresh. A time that hardly moves keeps the
    /// refresh where it was, so that frequent notifications do not push it away.
    pub(super) fn extend(&mut self, core: &mut Core, now: Instant, remaining: Duration) {
        let expires_at = now + remaining;
        let moved = expires_at.max(self.expires_at) - expires_at.min(self.expires_at);
        self.expires_at = expires_at;
        let due = self.refresh_at.is_none() || moved > Duration::from_secs(2);
        if due && self.refused.is_none() && !self.closed {
            self.refresh_at = Some(now + core.share(remaining, 0.7, 0.85).max(MIN_REFRESH));
        }
    }
}
