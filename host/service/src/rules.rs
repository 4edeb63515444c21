//! What presentities let their watchers see (RFC 5025), decided once for each watcher.

use std::collections::HashMap;

use attache_documents::Moment;
use attache_documents::policy::{Condition, Permissions, Ruleset, Watcher, evaluate_with};

use crate::directory::Aor;

/// Decisions that are remembered for one presentity.
const MOST_DECIDED: usize = 65_536;

/// What holds for watchers of somebody who keeps no rules.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DefaultPolicy {
    /// They see everything.
    #[default]
    Allow,
    /// They wait until the presentity has decided.
    Confirm,
}

/// One presentity's rules, with what they came to.
pub(crate) struct Rules {
    ruleset: Ruleset,
    by_sphere: bool,
    by_list: bool,
    /// The spheres under which the decisions were made.
    spheres: Vec<String>,
    /// What watchers were found to be granted: many are granted the same.
    sets: Vec<Permissions>,
    decided: HashMap<Aor, usize>,
}

impl Rules {
    pub(crate) fn new(ruleset: Ruleset) -> Self {
        let any =
            |kind: fn(&Condition) -> bool| ruleset.rules.iter().any(|rule| rule.conditions.iter().any(kind));
        Self {
            by_sphere: any(|condition| matches!(condition, Condition::Sphere(_))),
            by_list: any(|condition| matches!(condition, Condition::ExternalList(_))),
            ruleset,
            spheres: Vec::new(),
            sets: Vec::new(),
            decided: HashMap::new(),
        }
    }

    /// Whether decisions depend on where the presentity is in life.
    pub(crate) fn use_spheres(&self) -> bool {
        self.by_sphere
    }

    /// Whether decisions depend on the presentity's lists.
    pub(crate) fn use_lists(&self) -> bool {
        self.by_list
    }

    /// The next moment at which decisions may change by themselves.
    pub(crate) fn next_change(&self, now: Moment) -> Option<Moment> {
        let conditions = self.ruleset.rules.iter().flat_map(|rule| &rule.conditions);
        let moments = conditions.flat_map(|condition| match condition {
            Condition::Validity(intervals) => intervals.as_slice(),
            _ => &[],
        });
        moments.flat_map(|(from, until)| [*from, *until]).filter(|moment| *moment > now).min()
    }

    /// Forgets all decisions.
    pub(crate) fn reconsider(&mut self) {
        self.decided.clear();
        self.sets.clear();
    }

    /// Takes note of the presentity's spheres. Whether decisions may be others now.
    pub(crate) fn in_spheres(&mut self, spheres: &[String]) -> bool {
        if !self.by_sphere || self.spheres == spheres {
            return false;
        }
        self.spheres = spheres.to_vec();
        self.reconsider();
        true
    }

    /// What a watcher is granted, and the number of that set.
    pub(crate) fn decide(
        &mut self,
        watcher: &Aor,
        now: Moment,
        is_member: &mut dyn FnMut(&str, &str) -> bool,
    ) -> (usize, &Permissions) {
        if let Some(&set) = self.decided.get(watcher) {
            return (set, &self.sets[set]);
        }
        if self.decided.len() >= MOST_DECIDED {
            self.reconsider();
        }
        let identity = format!("sip:{watcher}");
        let asking = Watcher { identity: Some(&identity), spheres: &self.spheres, now };
        let granted = evaluate_with(&self.ruleset, &asking, is_member);
        let set = match self.sets.iter().position(|known| *known == granted) {
            Some(set) => set,
            None => {
                self.sets.push(granted);
                self.sets.len() - 1
            }
        };
        self.decided.insert(Aor::clone(watcher), set);
        (set, &self.sets[set])
    }
}
