//! What a watcher may see of a presentity.

use std::time::Instant;

use super::Core;
use crate::directory::Aor;
use crate::presence::Shown;
use crate::subscription::Mark;

/// What a watcher sees.
#[allow(dead_code, reason = "without rules, everybody sees everything")]
pub(crate) enum View {
    /// A document.
    Shown(Shown),
    /// Nothing until the presentity has decided (RFC 3857: `pending`).
    Pending,
    /// Nothing, and no more.
    Rejected,
}

impl View {
    pub(crate) fn mark(&self) -> Mark {
        match self {
            Self::Shown(shown) => shown.mark,
            Self::Pending => 1,
            Self::Rejected => 2,
        }
    }
}

impl Core {
    /// What a watcher sees of a presentity now. Composed once for all who see the same.
    pub(super) fn view(&mut self, now: Instant, presentity: &Aor, watcher: &Aor) -> View {
        let _ = (now, watcher);
        let known = self.presence.presentities.entry(Aor::clone(presentity)).or_default();
        View::Shown(known.document(presentity))
    }
}
