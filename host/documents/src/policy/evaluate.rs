//! What a watcher is granted by all rules together (RFC 4745, sections 7 and 10).

use std::borrow::Cow;
use std::collections::BTreeSet;

use crate::moment::Moment;

use super::{
    Attribute, Condition, DeviceSelector, Except, PersonSelector, Provide, Rule, Ruleset, ServiceSelector,
    SubHandling, UserInputDetail, Who,
};

/// Who asks, and when.
#[derive(Copy, Clone, Debug)]
pub struct Watcher<'a> {
    /// The address that the watcher proved, such as `sip:bob@example.com`; `None` for one who proved none.
    pub identity: Option<&'a str>,
    /// The parts of life that the person is in, as the person's own document says.
    pub spheres: &'a [String],
    /// The time.
    pub now: Moment,
}

impl<'a> Watcher<'a> {
    /// A watcher who proved an address, at the beginning of time, of somebody in no stated part of life.
    #[must_use]
    pub const fn new(identity: &'a str) -> Self {
        Self { identity: Some(identity), spheres: &[], now: Moment::from_millis(0) }
    }

    /// The same at another time.
    #[must_use]
    pub const fn at(self, now: Moment) -> Self {
        Self { now, ..self }
    }
}

/// What is granted. Combining two grants is commutative, associative and idempotent, and never takes away.
#[derive(Clone, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Permissions {
    /// What happens to the subscription.
    pub handling: SubHandling,
    /// The devices that are shown.
    pub devices: Selection<DeviceSelector>,
    /// The persons that are shown.
    pub persons: Selection<PersonSelector>,
    /// The services that are shown.
    pub services: Selection<ServiceSelector>,
    /// Their elements that are shown.
    pub shown: BTreeSet<Attribute>,
    /// How much is shown of whether a device is used.
    pub user_input: UserInputDetail,
    /// Elements that are shown though RFC 5025 does not know them, by namespace and name.
    pub unknown: BTreeSet<(String, String)>,
    /// Whether every element is shown.
    pub all_attributes: bool,
}

/// Which of several are shown.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Selection<S: Ord> {
    /// Those that fit one of these.
    Some(BTreeSet<S>),
    /// All.
    All,
}

impl<S: Ord> Default for Selection<S> {
    fn default() -> Self {
        Self::Some(BTreeSet::new())
    }
}

impl<S: Clone + Ord> Selection<S> {
    fn add(&mut self, other: &Self) {
        match (&mut *self, other) {
            (Self::All, _) => {}
            (_, Self::All) => *self = Self::All,
            (Self::Some(mine), Self::Some(others)) => mine.extend(others.iter().cloned()),
        }
    }

    fn of(provide: Option<&Provide<S>>) -> Self {
        match provide {
            None => Self::default(),
            Some(Provide::All) => Self::All,
            Some(Provide::Some(selectors)) => Self::Some(selectors.clone()),
        }
    }

    /// Whether one that these fit is shown.
    pub(crate) fn has<const N: usize>(&self, fitting: &[Option<S>; N]) -> bool {
        match self {
            Self::All => true,
            Self::Some(selectors) => fitting.iter().flatten().any(|one| selectors.contains(one)),
        }
    }
}

impl Permissions {
    /// Everything, as where there are no rules.
    #[must_use]
    pub fn everything() -> Self {
        Self {
            handling: SubHandling::Allow,
            devices: Selection::All,
            persons: Selection::All,
            services: Selection::All,
            all_attributes: true,
            user_input: UserInputDetail::Full,
            ..Self::default()
        }
    }

    /// What one rule grants when it applies.
    #[must_use]
    pub fn of(rule: &Rule) -> Self {
        let what = &rule.transformations;
        let granted = |(key, is_shown): (&(String, String), &bool)| is_shown.then(|| key.clone());
        Self {
            handling: rule.handling.unwrap_or_default(),
            devices: Selection::of(what.devices.as_ref()),
            persons: Selection::of(what.persons.as_ref()),
            services: Selection::of(what.services.as_ref()),
            shown: what.shown.iter().filter(|(_, is_shown)| **is_shown).map(|(one, _)| *one).collect(),
            user_input: what.user_input.unwrap_or_default(),
            unknown: what.unknown.iter().filter_map(granted).collect(),
            all_attributes: what.all_attributes,
        }
    }

    /// Adds what another rule grants: the greater value, or both sets (RFC 4745, section 10.2).
    pub fn add(&mut self, other: &Self) {
        self.handling = self.handling.max(other.handling);
        self.devices.add(&other.devices);
        self.persons.add(&other.persons);
        self.services.add(&other.services);
        self.shown.extend(&other.shown);
        self.user_input = self.user_input.max(other.user_input);
        self.unknown.extend(other.unknown.iter().cloned());
        self.all_attributes |= other.all_attributes;
    }

    /// Whether elements of a kind are shown.
    #[must_use]
    pub fn shows(&self, attribute: Attribute) -> bool {
        self.all_attributes || self.shown.contains(&attribute)
    }

    /// Whether elements are shown that RFC 5025 does not know.
    #[must_use]
    pub fn shows_unknown(&self, namespace: &str, name: &str) -> bool {
        self.all_attributes || self.unknown.contains(&(namespace.to_owned(), name.to_owned()))
    }
}

/// What a watcher is granted. External lists of OMA are taken as empty; see [`evaluate_with`].
#[must_use]
pub fn evaluate(ruleset: &Ruleset, watcher: &Watcher<'_>) -> Permissions {
    evaluate_with(ruleset, watcher, &mut |_, _| false)
}

/// What a watcher is granted, where `is_member` says whether the list at a URI has an address.
pub fn evaluate_with(
    ruleset: &Ruleset,
    watcher: &Watcher<'_>,
    is_member: &mut dyn FnMut(&str, &str) -> bool,
) -> Permissions {
    let identity = watcher.identity.map(Identity::new);
    let mut granted = Permissions::default();
    // Those of "everybody else" need to know of all others first.
    let mut is_named = false;
    for rule in &ruleset.rules {
        for condition in &rule.conditions {
            is_named |= match (condition, &identity) {
                (Condition::Identity(who), Some(identity)) => who.iter().any(|one| identity.is_in(one)),
                (Condition::ExternalList(lists), Some(identity)) => {
                    lists.iter().any(|list| is_member(list, identity.written))
                }
                _ => false,
            };
        }
    }
    for rule in &ruleset.rules {
        if applies(rule, watcher, identity.as_ref(), is_named, is_member) {
            granted.add(&Permissions::of(rule));
        }
    }
    granted
}

/// Whether a rule applies to a watcher, whom some rule names or none.
pub(super) fn applies(
    rule: &Rule,
    watcher: &Watcher<'_>,
    identity: Option<&Identity<'_>>,
    is_named: bool,
    is_member: &mut dyn FnMut(&str, &str) -> bool,
) -> bool {
    rule.conditions.iter().all(|condition| match condition {
        Condition::Identity(who) => {
            identity.is_some_and(|identity| who.iter().any(|one| identity.is_in(one)))
        }
        Condition::Sphere(value) => watcher.spheres.iter().any(|sphere| sphere == value),
        Condition::Validity(intervals) => {
            intervals.iter().any(|(from, until)| *from <= watcher.now && watcher.now < *until)
        }
        Condition::Anonymous => identity.is_none(),
        Condition::OtherIdentity => identity.is_some() && !is_named,
        Condition::ExternalList(lists) => {
            identity.is_some_and(|identity| lists.iter().any(|list| is_member(list, identity.written)))
        }
        Condition::Foreign(_) => false,
    })
}

/// Whether two addresses are one person's: those of `sip`, `sips`, `pres` and `im` are, whatever stands around user and
/// domain.
#[must_use]
pub fn same_identity(one: &str, other: &str) -> bool {
    Identity::new(one).key == Identity::new(other).key
}

/// The one spelling that all addresses of a person have in common: equal where [`same_identity`] holds.
#[must_use]
pub fn canonical_identity(address: &str) -> String {
    Identity::new(address).key.into_owned()
}

pub(super) struct Identity<'a> {
    pub(super) written: &'a str,
    pub(super) key: Cow<'a, str>,
    domain: Option<String>,
}

impl<'a> Identity<'a> {
    pub(super) fn new(written: &'a str) -> Self {
        let text = written.trim();
        let (scheme, rest) = text.split_once(':').unwrap_or(("", text));
        let is_sip = ["sip", "sips", "pres", "im"].iter().any(|known| scheme.eq_ignore_ascii_case(known));
        if !is_sip && !scheme.is_empty() {
            return Self { written, key: Cow::Borrowed(text), domain: None };
        }
        let rest = rest.split(['?', ';']).next().unwrap_or_default();
        let Some((user, host)) = rest.rsplit_once('@') else {
            return Self { written, key: Cow::Borrowed(rest), domain: None };
        };
        // A colon in brackets is part of an address, not before a port.
        let host = match host.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !host.is_empty() => host,
            _ => host,
        };
        let domain = host.trim_end_matches('.').to_ascii_lowercase();
        let user = crate::xcap::percent_decode(user);
        Self { written, key: Cow::Owned(format!("{user}@{domain}")), domain: Some(domain) }
    }

    pub(super) fn is_in(&self, who: &Who) -> bool {
        let is_of = |domain: &str| self.domain.as_deref().is_some_and(|own| own.eq_ignore_ascii_case(domain));
        match who {
            Who::One(id) => Identity::new(id).key == self.key,
            Who::Many { domain, except } => {
                domain.as_deref().is_none_or(is_of)
                    && !except.iter().any(|one| match one {
                        Except::One(id) => Identity::new(id).key == self.key,
                        Except::Domain(domain) => is_of(domain),
                    })
            }
            Who::Foreign(_) => false,
        }
    }
}
