//! What a watcher may see of a presentity (RFC 5025).

use std::time::{Duration, Instant, SystemTime};

use attache_documents::policy::{AUID, OMA_AUID, Permissions, Ruleset, SubHandling, read};
use attache_documents::{Limits, Moment};

use super::{Core, Due};
use crate::directory::Aor;
use crate::presence::{Presentity, Shown};
use crate::rules::{DefaultPolicy, Rules};
use crate::subscription::Mark;
use crate::xcap::lists::Resolver;

/// The longest sleep between two looks at rules that depend on the time: dates may be corrected meanwhile.
const LONGEST_SLEEP: Duration = Duration::from_secs(3600);

/// What a watcher sees.
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
        let moment = moment(self.wall(now));
        let known = self.presence.presentities.entry(Aor::clone(presentity)).or_default();
        if presentity == watcher {
            return View::Shown(known.document(presentity));
        }
        let Some(rules) = self.rules.get_mut(presentity) else {
            return match self.default_policy {
                DefaultPolicy::Allow => View::Shown(known.document(presentity)),
                DefaultPolicy::Confirm => View::Pending,
            };
        };
        if rules.use_spheres() {
            rules.in_spheres(&known.spheres());
        }
        let limits = Limits { bytes: self.limits.document_bytes, ..Limits::STORED };
        let (documents, most) = (&self.documents, self.limits.list_entries);
        // One for all lists, so that each document is read once.
        let mut resolver = Resolver::new(documents, presentity, &limits, most);
        let granted = rules.decide(watcher, moment, &mut |list| resolver.members(list));
        match granted.permissions.handling {
            SubHandling::Block => View::Rejected,
            SubHandling::Confirm => View::Pending,
            SubHandling::PoliteBlock | SubHandling::Allow if shows_all(&granted.permissions) => {
                View::Shown(known.document(presentity))
            }
            SubHandling::PoliteBlock | SubHandling::Allow => {
                View::Shown(known.document_for(presentity, &granted))
            }
        }
    }

    /// A presentity's rules may have changed: all watchers are looked at again, at once.
    pub(super) fn rules_changed(&mut self, now: Instant, owner: &Aor) {
        match self.ruleset_of(owner) {
            Some(ruleset) => {
                let next = self.rules.get(owner).map_or(0, Rules::next_set);
                self.rules.insert(Aor::clone(owner), Rules::new(ruleset, next));
            }
            None => {
                self.rules.remove(owner);
            }
        }
        self.decide_again(now, owner);
    }

    /// Decisions on a presentity's watchers may have changed, with the time or otherwise.
    pub(super) fn decide_again(&mut self, now: Instant, owner: &Aor) {
        let wall = moment(self.wall(now));
        match self.rules.get_mut(owner) {
            Some(rules) => {
                rules.reconsider();
                if let Some(next) = rules.next_change(wall) {
                    let millis = u64::try_from(next.as_millis() - wall.as_millis()).unwrap_or(0);
                    let wait = Duration::from_millis(millis).min(LONGEST_SLEEP);
                    self.timers.set(Due::Rules(Aor::clone(owner)), now + wait);
                }
            }
            None => self.timers.clear(&Due::Rules(Aor::clone(owner))),
        }
        if let Some(presentity) = self.presence.presentities.get_mut(owner) {
            presentity.forget_shown();
        }
        self.tell_all(now, owner);
        self.watchers_changed(now, owner);
    }

    /// Forgets a presentity of whom nothing is known and whom nobody watches.
    pub(super) fn forget_if_nobody(&mut self, presentity: &Aor) {
        if self.presence.presentities.get(presentity).is_some_and(Presentity::is_forgettable) {
            self.presence.presentities.remove(presentity);
        }
    }

    /// All rules that a user keeps; `None` for one who keeps none. Rules that cannot be read grant nothing.
    fn ruleset_of(&self, owner: &Aor) -> Option<Ruleset> {
        let limits = Limits { bytes: self.limits.document_bytes, ..Limits::STORED };
        let mut all = Ruleset::default();
        let mut any = false;
        for auid in [AUID, OMA_AUID] {
            for (_, kept) in self.documents.of_usage(owner, auid) {
                any = true;
                match read(&kept.body, &limits) {
                    Ok(ruleset) => all.rules.extend(ruleset.rules),
                    Err(error) => tracing::error!(%error, "a user's rules cannot be read"),
                }
            }
        }
        any.then_some(all)
    }
}

fn shows_all(granted: &Permissions) -> bool {
    let all = Permissions::everything();
    granted.handling == SubHandling::Allow
        && granted.all_attributes
        && (&granted.devices, &granted.persons, &granted.services)
            == (&all.devices, &all.persons, &all.services)
}

pub(super) fn moment(wall: SystemTime) -> Moment {
    let since = wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Moment::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
