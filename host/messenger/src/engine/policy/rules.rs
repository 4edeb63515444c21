//! The account's own rules in a document that others write too (RFC 5025, RFC 4745).
//!
//! A rule of such a document never takes away what another one grants, so "everybody, but not Carol" has to be written
//! as an exception. Here the nearest rule decides: an address before its domain, a domain before everybody; whoever has
//! a nearer rule is made an exception of those further away. Rules that depend on more than who asks (on the time, the
//! place) are left as they are, and so is everything in the document that is not known.

use std::sync::Arc;

use attache_documents::policy::{Condition, Except, Rule, Ruleset, SubHandling, Who as Named, same_identity};

use crate::{
    address::Address,
    privacy::{Decision, Who},
};

pub(super) fn handling(decision: Decision) -> SubHandling {
    match decision {
        Decision::Block => SubHandling::Block,
        Decision::Confirm => SubHandling::Confirm,
        Decision::PoliteBlock => SubHandling::PoliteBlock,
        Decision::Allow => SubHandling::Allow,
    }
}

pub(super) fn decision(handling: SubHandling) -> Decision {
    match handling {
        SubHandling::Block => Decision::Block,
        SubHandling::Confirm => Decision::Confirm,
        SubHandling::PoliteBlock => Decision::PoliteBlock,
        SubHandling::Allow => Decision::Allow,
    }
}

/// What a rule says, where it depends on nothing but who asks.
fn plain(rule: &Rule) -> Option<(&[Named], Decision)> {
    match &rule.conditions[..] {
        [Condition::Identity(named)] => Some((named, decision(rule.handling.unwrap_or_default()))),
        _ => None,
    }
}

fn who(named: &Named) -> Option<Who> {
    match named {
        Named::One(uri) => Address::parse(uri).ok().map(Who::Address),
        Named::Many { domain: Some(domain), .. } => Some(Who::Domain(domain.to_lowercase().into())),
        Named::Many { domain: None, .. } => Some(Who::Everyone),
        Named::Foreign(_) => None,
    }
}

fn is(named: &Named, wanted: &Who) -> bool {
    match (named, wanted) {
        (Named::One(uri), Who::Address(address)) => same_identity(uri, address.as_str()),
        (Named::Many { domain: Some(domain), .. }, Who::Domain(wanted)) => {
            domain.eq_ignore_ascii_case(wanted)
        }
        (Named::Many { domain: None, .. }, Who::Everyone) => true,
        _ => false,
    }
}

/// Who has a rule, and what it says; the nearest first.
pub(super) fn listed(ruleset: &Ruleset) -> Vec<(Who, Decision)> {
    let mut all: Vec<(Who, Decision)> = Vec::new();
    for (named, decision) in ruleset.rules.iter().filter_map(plain) {
        for who in named.iter().filter_map(who) {
            // Of two rules, the one that grants more holds (RFC 4745, section 10.2).
            match all.iter_mut().find(|(known, _)| *known == who) {
                Some((_, known)) => *known = decision.max(*known),
                None => all.push((who, decision)),
            }
        }
    }
    all.sort_by_cached_key(|(who, _)| order(who));
    all
}

/// Sorts the nearest first.
pub(super) fn order(who: &Who) -> (u8, Arc<str>) {
    match who {
        Who::Address(address) => (0, address.canonical().into()),
        Who::Domain(domain) => (1, domain.clone()),
        Who::Everyone => (2, "".into()),
    }
}

/// Sets or removes the rule for somebody.
pub(super) fn set(ruleset: &mut Ruleset, wanted: &Who, to: Option<Decision>) {
    ruleset.rules.retain_mut(|rule| {
        let [Condition::Identity(named)] = &mut rule.conditions[..] else { return true };
        let before = named.len();
        named.retain(|named| !is(named, wanted));
        for named in named.iter_mut() {
            if let Named::Many { except, .. } = named {
                except.retain(|except| !is_except(except, wanted));
            }
        }
        // A rule for nobody that was for somebody before has no use.
        !(named.is_empty() && before > 0)
    });
    if let Some(to) = to {
        let named = match wanted {
            Who::Address(address) => Named::One(address.as_str().to_owned()),
            Who::Domain(domain) => Named::Many { domain: Some(domain.to_string()), except: Vec::new() },
            Who::Everyone => Named::Many { domain: None, except: Vec::new() },
        };
        add(ruleset, named, to);
    }
    except_the_nearer(ruleset);
}

/// Where there was no rule at all, the service did what it does by default. With the first rule, everybody without one
/// would be blocked (RFC 5025, section 3.2.1), silently: they are asked about instead.
pub(super) fn ask_about_others(ruleset: &mut Ruleset) {
    let all = listed(ruleset);
    if !all.is_empty() && !all.iter().any(|(who, _)| *who == Who::Everyone) {
        set(ruleset, &Who::Everyone, Some(Decision::Confirm));
    }
}

fn add(ruleset: &mut Ruleset, named: Named, to: Decision) {
    let base = format!("attache-{}", to.name());
    let ours = |rule: &Rule| rule.id.starts_with(&base) && plain(rule).is_some_and(|(_, known)| known == to);
    if let Some(rule) = ruleset.rules.iter_mut().find(|rule| ours(rule)) {
        if let [Condition::Identity(known)] = &mut rule.conditions[..] {
            known.push(named);
        }
        return;
    }
    let mut id = base.clone();
    let mut number = 1;
    while ruleset.rules.iter().any(|rule| rule.id == id) {
        number += 1;
        id = format!("{base}-{number}");
    }
    let mut rule = Rule::for_people(id, Vec::<String>::new(), handling(to));
    rule.conditions = vec![Condition::Identity(vec![named])];
    ruleset.rules.push(rule);
}

/// Whoever has a nearer rule that says something else is an exception of the others.
fn except_the_nearer(ruleset: &mut Ruleset) {
    let listed = listed(ruleset);
    for rule in &mut ruleset.rules {
        let Some((_, says)) = plain(rule) else { continue };
        let [Condition::Identity(named)] = &mut rule.conditions[..] else { continue };
        for named in named {
            let Named::Many { domain, except } = named else { continue };
            for (who, other) in listed.iter().filter(|(_, other)| *other != says) {
                let nearer = match who {
                    Who::Address(address) => {
                        let host = host(address);
                        let within = domain.as_deref().is_none_or(|domain| domain.eq_ignore_ascii_case(host));
                        within.then(|| Except::One(address.as_str().to_owned()))
                    }
                    Who::Domain(nearer) if domain.is_none() => Some(Except::Domain(nearer.to_string())),
                    Who::Domain(_) | Who::Everyone => None,
                };
                tracing::trace!(?other, "nearer");
                if let Some(nearer) = nearer
                    && !except.iter().any(|known| is_except(known, who))
                {
                    except.push(nearer);
                }
            }
        }
    }
}

fn is_except(except: &Except, who: &Who) -> bool {
    match (except, who) {
        (Except::One(uri), Who::Address(address)) => same_identity(uri, address.as_str()),
        (Except::Domain(domain), Who::Domain(wanted)) => domain.eq_ignore_ascii_case(wanted),
        _ => false,
    }
}

fn host(address: &Address) -> &str {
    let text = address.as_str();
    let host = text.rsplit_once('@').map_or("", |(_, host)| host);
    host.split([';', '?', ':']).next().unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use attache_documents::{Limits, policy};

    use super::*;

    fn person(name: &str) -> Who {
        Who::Address(Address::parse(name).unwrap())
    }

    fn says(ruleset: &Ruleset, watcher: &str) -> Decision {
        decision(policy::evaluate(ruleset, &policy::Watcher::new(watcher)).handling)
    }

    #[test]
    fn the_nearest_rule_decides_whatever_the_order_of_setting() {
        let rules = [
            (Who::Everyone, Decision::Allow),
            (Who::Domain("example.com".into()), Decision::PoliteBlock),
            (person("carol@example.com"), Decision::Block),
            (person("dave@example.org"), Decision::Confirm),
            (person("erin@example.com"), Decision::Allow),
        ];
        for turn in 0..rules.len() {
            let mut ruleset = Ruleset::default();
            for step in 0..rules.len() {
                let (who, decision) = &rules[(turn + step) % rules.len()];
                set(&mut ruleset, who, Some(*decision));
            }
            let read = policy::read(policy::write(&ruleset).as_bytes(), &Limits::STORED).unwrap();
            assert_eq!(says(&read, "sip:carol@example.com"), Decision::Block);
            assert_eq!(says(&read, "sip:bob@example.com"), Decision::PoliteBlock);
            assert_eq!(says(&read, "sip:erin@example.com"), Decision::Allow);
            assert_eq!(says(&read, "sip:dave@example.org"), Decision::Confirm);
            assert_eq!(says(&read, "sip:frank@example.net"), Decision::Allow);
            assert_eq!(listed(&read).len(), 5);
        }
    }

    #[test]
    fn a_removed_rule_leaves_the_next_nearest() {
        let mut ruleset = Ruleset::default();
        set(&mut ruleset, &Who::Everyone, Some(Decision::Allow));
        set(&mut ruleset, &person("carol@example.com"), Some(Decision::Block));
        set(&mut ruleset, &person("carol@example.com"), None);
        assert_eq!(says(&ruleset, "sip:carol@example.com"), Decision::Allow);
        assert_eq!(listed(&ruleset), [(Who::Everyone, Decision::Allow)]);
        set(&mut ruleset, &Who::Everyone, None);
        assert!(ruleset.rules.is_empty());
    }

    #[test]
    fn a_rule_of_somebody_else_does_not_outvote_ours() {
        let mut ruleset = Ruleset::default();
        let people = ["sip:carol@example.com", "sip:dave@example.com"];
        ruleset.rules.push(Rule::for_people("friends", people, SubHandling::Allow));
        let nobody: [&str; 0] = [];
        ruleset.rules.push(Rule::for_everybody_but("all", nobody, SubHandling::PoliteBlock));
        set(&mut ruleset, &person("carol@example.com"), Some(Decision::Block));
        assert_eq!(says(&ruleset, "sip:carol@example.com"), Decision::Block);
        assert_eq!(says(&ruleset, "sip:dave@example.com"), Decision::Allow);
        assert_eq!(says(&ruleset, "sip:eve@example.com"), Decision::PoliteBlock);
        assert_eq!(ruleset.rules[0].id, "friends");
    }

    #[test]
    fn the_first_rule_does_not_block_everybody_else() {
        let mut ruleset = Ruleset::default();
        set(&mut ruleset, &person("carol@example.com"), Some(Decision::Block));
        ask_about_others(&mut ruleset);
        assert_eq!(says(&ruleset, "sip:carol@example.com"), Decision::Block);
        assert_eq!(says(&ruleset, "sip:bob@example.com"), Decision::Confirm);
    }

    #[test]
    fn rules_that_depend_on_more_are_left_alone() {
        let mut ruleset = Ruleset::default();
        let mut at_work = Rule::for_people("work", ["sip:carol@example.com"], SubHandling::Allow);
        at_work.conditions.push(Condition::Sphere("work".to_owned()));
        ruleset.rules.push(at_work.clone());
        set(&mut ruleset, &person("carol@example.com"), Some(Decision::Block));
        set(&mut ruleset, &person("carol@example.com"), None);
        assert_eq!(ruleset.rules, [at_work]);
    }
}
