//! Rules prepared for many watchers: those that name people are found by the person, so that thousands of rules and
//! thousands of watchers cost no more than both together.

use std::collections::HashMap;

use super::evaluate::{Identity, Permissions, Watcher, applies};
use super::{Condition, Rule, Ruleset, Who};

/// Rules prepared for many watchers. It finds what [`evaluate_with`](super::evaluate_with) finds.
#[derive(Clone, Debug, Default)]
pub struct Evaluator {
    rules: Vec<Rule>,
    /// What each of them grants.
    granted: Vec<Permissions>,
    /// The rules that need one of these people, by the person.
    by_person: HashMap<String, Vec<usize>>,
    /// All others.
    general: Vec<usize>,
    /// Whom conditions name who are not found by the person.
    groups: Vec<(usize, usize)>,
    has_lists: bool,
}

impl Evaluator {
    /// Prepares rules.
    #[must_use]
    pub fn new(ruleset: Ruleset) -> Self {
        let granted = ruleset.rules.iter().map(Permissions::of).collect();
        let mut index = Self { rules: ruleset.rules, granted, ..Self::default() };
        for (number, rule) in index.rules.iter().enumerate() {
            // One condition that only names people decides for whom the rule is looked at.
            let mut chosen = false;
            for (place, condition) in rule.conditions.iter().enumerate() {
                index.has_lists |= matches!(condition, Condition::ExternalList(_));
                let Condition::Identity(who) = condition else { continue };
                let people: Option<Vec<&str>> = who
                    .iter()
                    .map(|one| if let Who::One(id) = one { Some(id.as_str()) } else { None })
                    .collect();
                match people {
                    Some(people) if !chosen => {
                        chosen = true;
                        for id in people {
                            let rules =
                                index.by_person.entry(Identity::new(id).key.into_owned()).or_default();
                            if rules.last() != Some(&number) {
                                rules.push(number);
                            }
                        }
                    }
                    _ => index.groups.push((number, place)),
                }
            }
            if !chosen {
                index.general.push(number);
            }
        }
        index
    }

    /// The rules.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// What a watcher is granted, where `is_member` says whether the list at a URI has an address.
    pub fn evaluate(
        &self,
        watcher: &Watcher<'_>,
        is_member: &mut dyn FnMut(&str, &str) -> bool,
    ) -> Permissions {
        let identity = watcher.identity.map(Identity::new);
        let by_person = identity.as_ref().and_then(|identity| self.by_person.get(&*identity.key));
        let mut is_named = by_person.is_some();
        if let Some(identity) = &identity {
            is_named |= self.groups.iter().any(|(rule, place)| match &self.rules[*rule].conditions[*place] {
                Condition::Identity(who) => who.iter().any(|one| identity.is_in(one)),
                _ => false,
            });
            if self.has_lists && !is_named {
                let conditions = self.rules.iter().flat_map(|rule| &rule.conditions);
                is_named = conditions.into_iter().any(|condition| match condition {
                    Condition::ExternalList(lists) => {
                        lists.iter().any(|list| is_member(list, identity.written))
                    }
                    _ => false,
                });
            }
        }
        let mut granted = Permissions::default();
        for number in by_person.into_iter().flatten().chain(&self.general) {
            let rule = &self.rules[*number];
            if applies(rule, watcher, identity.as_ref(), is_named, is_member) {
                granted.add(&self.granted[*number]);
            }
        }
        granted
    }
}
