//! What presentities let their watchers see (RFC 5025), decided once for each watcher.

use std::collections::HashMap;
use std::sync::Arc;

use attache_documents::Moment;
use attache_documents::policy::{Condition, Evaluator, Permissions, Ruleset, Watcher, canonical_identity};

use crate::directory::Aor;

/// Decisions that are remembered for one presentity.
const MOST_DECIDED: usize = 65_536;
/// Lists that the rules of one presentity can name; nobody is in further ones.
const MOST_ANCHORS: usize = u64::BITS as usize;

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

/// What a watcher is granted, and the number of that: equal numbers grant the same, and none is used twice for another.
#[derive(Clone)]
pub(crate) struct Granted {
    pub(crate) set: u64,
    pub(crate) permissions: Arc<Permissions>,
}

/// One presentity's rules, with what they came to.
pub(crate) struct Rules {
    rules: Evaluator,
    by_sphere: bool,
    /// The lists that conditions name.
    anchors: Vec<String>,
    /// Who is in them, each with a bit for each list; `None` until somebody asks.
    members: Option<HashMap<String, u64>>,
    /// The spheres under which the decisions were made.
    spheres: Vec<String>,
    /// What watchers were found to be granted: many are granted the same.
    sets: HashMap<Arc<Permissions>, u64>,
    next: u64,
    decided: HashMap<Aor, Granted>,
}

impl Rules {
    /// Rules without decisions, which get numbers from `next` on.
    pub(crate) fn new(ruleset: Ruleset, next: u64) -> Self {
        let any =
            |kind: fn(&Condition) -> bool| ruleset.rules.iter().any(|rule| rule.conditions.iter().any(kind));
        Self {
            by_sphere: any(|condition| matches!(condition, Condition::Sphere(_))),
            anchors: anchors_of(&ruleset),
            members: None,
            rules: Evaluator::new(ruleset),
            spheres: Vec::new(),
            sets: HashMap::new(),
            next,
            decided: HashMap::new(),
        }
    }

    /// The number that no set has had yet.
    pub(crate) fn next_set(&self) -> u64 {
        self.next
    }

    /// Whether decisions depend on where the presentity is in life.
    pub(crate) fn use_spheres(&self) -> bool {
        self.by_sphere
    }

    /// Whether decisions depend on the presentity's lists.
    pub(crate) fn use_lists(&self) -> bool {
        !self.anchors.is_empty()
    }

    /// The next moment at which decisions may change by themselves.
    pub(crate) fn next_change(&self, now: Moment) -> Option<Moment> {
        let conditions = self.rules.rules().iter().flat_map(|rule| &rule.conditions);
        let moments = conditions.flat_map(|condition| match condition {
            Condition::Validity(intervals) => intervals.as_slice(),
            _ => &[],
        });
        moments.flat_map(|(from, until)| [*from, *until]).filter(|moment| *moment > now).min()
    }

    /// Forgets all decisions, and who is in which list.
    pub(crate) fn reconsider(&mut self) {
        self.members = None;
        self.forget_decisions();
    }

    fn forget_decisions(&mut self) {
        self.decided.clear();
        self.sets.clear();
    }

    /// Takes note of the presentity's spheres.
    pub(crate) fn in_spheres(&mut self, spheres: &[String]) {
        if self.spheres != spheres {
            self.spheres = spheres.to_vec();
            self.forget_decisions();
        }
    }

    /// What a watcher is granted. `members` tells who is in a list, and is asked once for each until the rules are
    /// [reconsidered](Self::reconsider).
    pub(crate) fn decide(
        &mut self,
        watcher: &Aor,
        now: Moment,
        members: &mut dyn FnMut(&str) -> Vec<String>,
    ) -> Granted {
        if let Some(granted) = self.decided.get(watcher) {
            return granted.clone();
        }
        if self.decided.len() >= MOST_DECIDED {
            self.forget_decisions();
        }
        let anchors = &self.anchors;
        let known = self.members.get_or_insert_with(|| {
            let mut all: HashMap<String, u64> = HashMap::new();
            for (number, anchor) in anchors.iter().enumerate() {
                for member in members(anchor) {
                    *all.entry(canonical_identity(&member)).or_default() |= 1 << number;
                }
            }
            all
        });
        let identity = format!("sip:{watcher}");
        let lists = known.get(&canonical_identity(&identity)).copied().unwrap_or(0);
        let mut is_member = |list: &str, _: &str| {
            anchors.iter().position(|known| known == list).is_some_and(|number| lists >> number & 1 == 1)
        };
        let asking = Watcher { identity: Some(&identity), spheres: &self.spheres, now };
        let found = self.rules.evaluate(&asking, &mut is_member);
        let granted = match self.sets.get_key_value(&found) {
            Some((permissions, set)) => Granted { set: *set, permissions: Arc::clone(permissions) },
            None => {
                let granted = Granted { set: self.next, permissions: Arc::new(found) };
                self.next += 1;
                self.sets.insert(Arc::clone(&granted.permissions), granted.set);
                granted
            }
        };
        self.decided.insert(Aor::clone(watcher), granted.clone());
        granted
    }
}

fn anchors_of(ruleset: &Ruleset) -> Vec<String> {
    let mut anchors: Vec<String> = Vec::new();
    for condition in ruleset.rules.iter().flat_map(|rule| &rule.conditions) {
        let Condition::ExternalList(lists) = condition else { continue };
        for list in lists {
            if anchors.len() < MOST_ANCHORS && !anchors.contains(list) {
                anchors.push(list.clone());
            }
        }
    }
    anchors
}
