//! The account's own rules in a document that others write too (RFC 5025, RFC 4745).
//!
//! A rule of such a document never takes away what another one grants, so "everybody, but not Carol" has to be written
//! as an exception. Here the nearest rule decides: an address before its domain, a domain before everybody; whoever has
//! a nearer rule is made an exception of those further away. Rules that depend on more than who asks (on the time, the
//! place) are left as they are, and so is everything in the document that is not known.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use attache_documents::{
    Moment,
    policy::{self, Condition, Except, Rule, Ruleset, SubHandling, Who as Named},
};

use crate::{
    address::Address,
    privacy::{Decision, WatcherState, Who},
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

/// What a rule without conditions is for. It holds for those as well who do not say who they are; where somebody has to
/// be taken out of it, it becomes one for everybody who does.
static EVERYBODY: [Named; 1] = [Named::Many { domain: None, except: Vec::new() }];

/// What a rule says, where it depends on nothing but who asks.
fn plain(rule: &Rule) -> Option<(&[Named], Decision)> {
    match &rule.conditions[..] {
        [Condition::Identity(named)] => Some((named, decision(rule.handling.unwrap_or_default()))),
        // Without a handling, it only says what those see whom other rules let in.
        [] => Some((&EVERYBODY, decision(rule.handling?))),
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

fn excepted(except: &Except) -> Option<Who> {
    match except {
        Except::One(uri) => Address::parse(uri).ok().map(Who::Address),
        Except::Domain(domain) => Some(Who::Domain(domain.to_lowercase().into())),
    }
}

/// One spelling for all whom a rule takes for the same: whatever the scheme and the port. Can be read as an address again.
pub(super) fn key(who: &Who) -> Arc<str> {
    let Who::Address(address) = who else { return who.to_string().into() };
    let canonical = address.canonical();
    let (scheme, rest) = canonical.split_once(':').unwrap_or(("", canonical));
    match rest.rsplit_once('@') {
        Some((user, _)) if matches!(scheme, "sip" | "sips" | "pres" | "im") => {
            format!("sip:{user}@{}", host(address)).into()
        }
        _ => canonical.into(),
    }
}

/// Who has a rule, and what it says; the nearest first.
pub(super) fn listed(ruleset: &Ruleset) -> Vec<(Who, Decision)> {
    let mut all: HashMap<Arc<str>, (Who, Decision)> = HashMap::new();
    for (named, decision) in ruleset.rules.iter().filter_map(plain) {
        for who in named.iter().filter_map(who) {
            // Of two rules, the one that grants more holds (RFC 4745, section 10.2).
            let known = all.entry(key(&who)).or_insert((who, decision));
            known.1 = known.1.max(decision);
        }
    }
    let mut all: Vec<(Who, Decision)> = all.into_values().collect();
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

/// Sets or removes rules, each for somebody else.
pub(super) fn set<'a>(ruleset: &mut Ruleset, wanted: impl IntoIterator<Item = (&'a Who, Option<Decision>)>) {
    let wanted: Vec<(Arc<str>, &Who, Option<Decision>)> =
        wanted.into_iter().map(|(who, to)| (key(who), who, to)).collect();
    let keys: HashSet<&str> = wanted.iter().map(|(key, ..)| &**key).collect();
    let is_wanted = |who: Option<Who>| who.is_some_and(|who| keys.contains(&*key(&who)));
    // Whom others left out of a rule that is set anew stays left out.
    let mut left_out: HashMap<Arc<str>, Vec<Except>> = HashMap::new();
    ruleset.rules.retain_mut(|rule| {
        if plain(rule).is_none() {
            return true;
        }
        let [Condition::Identity(named)] = &mut rule.conditions[..] else {
            return !keys.contains(&*key(&Who::Everyone));
        };
        let before = named.len();
        named.retain_mut(|named| {
            let who = who(named);
            if let Named::Many { except, .. } = named {
                except.retain(|except| !is_wanted(excepted(except)));
            }
            if !is_wanted(who.clone()) {
                return true;
            }
            if let (Named::Many { except, .. }, Some(who)) = (named, who) {
                left_out.entry(key(&who)).or_default().append(except);
            }
            false
        });
        // A rule for nobody that was for somebody before has no use.
        !(named.is_empty() && before > 0)
    });
    for (key, who, to) in &wanted {
        let Some(to) = *to else { continue };
        let mut except = left_out.remove(key).unwrap_or_default();
        let mut seen = HashSet::new();
        except.retain(|except| excepted(except).is_none_or(|who| seen.insert(self::key(&who))));
        let named = match who {
            Who::Address(address) => Named::One(address.as_str().to_owned()),
            Who::Domain(domain) => Named::Many { domain: Some(domain.to_string()), except },
            Who::Everyone => Named::Many { domain: None, except },
        };
        add(ruleset, named, to);
    }
    except_the_nearer(ruleset);
    ruleset.rules.sort_by_key(distance);
}

/// How far away those are whom a rule is for, the furthest counts: people, domains, everybody. The order of rules means
/// nothing (RFC 4745, section 10); but some services take the first one that fits and overlook exceptions, and are right
/// all the same where the nearest comes first.
fn distance(rule: &Rule) -> u8 {
    let Some((named, _)) = plain(rule) else { return 0 };
    named.iter().filter_map(who).map(|who| order(&who).0).max().unwrap_or(0)
}

/// The rule that lets somebody see more than was asked for them though all of ours say otherwise, because it depends on
/// more than who asks: now, at another time, or as far as can be known.
pub(super) fn exceeding<'a>(
    ruleset: &'a Ruleset,
    who: &Who,
    asked: Decision,
    now: Moment,
) -> Option<&'a str> {
    // For many: whatever holds for somebody of them about whom nothing else is said.
    let (watcher, one) = match who {
        Who::Address(address) => (address.as_str().to_owned(), true),
        Who::Domain(domain) => (format!("sip:-@{domain}"), false),
        Who::Everyone => ("sip:-@invalid".to_owned(), false),
    };
    let watcher = policy::Watcher::new(&watcher);
    let may_hold = |condition: &&Condition| match condition {
        Condition::Identity(_) | Condition::Sphere(_) => true,
        Condition::ExternalList(_) => one,
        Condition::Validity(spans) => spans.iter().any(|(_, until)| now < *until),
        // Somebody with a rule is not among others.
        Condition::OtherIdentity | Condition::Anonymous | Condition::Foreign(_) => false,
    };
    let grants = |rule: &&Rule| {
        decision(rule.handling.unwrap_or_default()) > asked
            && rule.conditions.iter().all(|one| may_hold(&one))
    };
    let named = |rule: &&Rule| {
        let mut alone = (*rule).clone();
        alone.conditions.retain(|condition| matches!(condition, Condition::Identity(_)));
        let alone = Ruleset { rules: vec![alone], ..Ruleset::default() };
        decision(policy::evaluate(&alone, &watcher).handling) > asked
    };
    ruleset.rules.iter().filter(grants).find(named).map(|rule| rule.id.as_str())
}

/// Where there was no rule at all, the service did what it does by default. With the first rule, everybody without one
/// would be blocked (RFC 5025, section 3.2.1), silently: others go on as the service had it so far, as can be seen from
/// where those stand who watch. Where it let everybody in, everybody is let in; else those who are not in yet are asked
/// about.
pub(super) fn keep_others<'a>(
    ruleset: &mut Ruleset,
    watchers: impl Iterator<Item = (&'a Address, WatcherState)>,
) {
    let all = listed(ruleset);
    if all.is_empty() || all.iter().any(|(who, _)| *who == Who::Everyone) {
        return;
    }
    let (active, asking): (Vec<_>, Vec<_>) = watchers.partition(|(_, state)| *state == WatcherState::Active);
    if !active.is_empty() && asking.is_empty() {
        set(ruleset, [(&Who::Everyone, Some(Decision::Allow))]);
        return;
    }
    // The service tells people apart: who is in stays in, each by name.
    let said: HashSet<Arc<str>> = all.iter().map(|(who, _)| key(who)).collect();
    let is_said = |address: &Address| {
        said.contains(&key(&Who::Address(address.clone())))
            || said.contains(&key(&Who::Domain(host(address).into())))
    };
    let mut others: Vec<Who> = active
        .into_iter()
        .filter(|(address, _)| !is_said(address))
        .map(|(address, _)| Who::Address(address.clone()))
        .collect();
    others.sort_by_cached_key(order);
    let others = others.iter().map(|who| (who, Some(Decision::Allow)));
    set(ruleset, others.chain([(&Who::Everyone, Some(Decision::Confirm))]));
}

fn add(ruleset: &mut Ruleset, named: Named, to: Decision) {
    let base = format!("attache-{}", to.name());
    let far = |named: &Named| who(named).map(|who| order(&who).0);
    // One for those who are as near, so that it has a place before those who are further away.
    let ours = |rule: &Rule| {
        let fits =
            |(all, known): (&[Named], Decision)| known == to && all.iter().all(|it| far(it) == far(&named));
        rule.id.starts_with(&base) && plain(rule).is_some_and(fits)
    };
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
    let listed: Vec<(Arc<str>, Who, Decision)> =
        listed(ruleset).into_iter().map(|(who, decision)| (key(&who), who, decision)).collect();
    for rule in &mut ruleset.rules {
        let Some((_, says)) = plain(rule) else { continue };
        let other = || listed.iter().filter(|(.., other)| *other != says);
        if rule.conditions.is_empty() && other().any(|(_, who, _)| *who != Who::Everyone) {
            rule.conditions.push(Condition::Identity(EVERYBODY.to_vec()));
        }
        let [Condition::Identity(named)] = &mut rule.conditions[..] else { continue };
        for named in named {
            let Named::Many { domain, except } = named else { continue };
            let mut known: HashSet<Arc<str>> =
                except.iter().filter_map(excepted).map(|who| key(&who)).collect();
            for (key, who, _) in other() {
                let nearer = match who {
                    Who::Address(address) => {
                        let host = host(address);
                        let within = domain.as_deref().is_none_or(|domain| domain.eq_ignore_ascii_case(host));
                        within.then(|| Except::One(address.as_str().to_owned()))
                    }
                    Who::Domain(nearer) if domain.is_none() => Some(Except::Domain(nearer.to_string())),
                    Who::Domain(_) | Who::Everyone => None,
                };
                if let Some(nearer) = nearer
                    && known.insert(key.clone())
                {
                    except.push(nearer);
                }
            }
        }
    }
}

pub(super) fn host(address: &Address) -> &str {
    let text = address.canonical();
    let host = text.rsplit_once('@').map_or("", |(_, host)| host);
    match host.rsplit_once(':') {
        // A colon in brackets is part of an address, not before a port.
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => host,
    }
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
                set(&mut ruleset, [(who, Some(*decision))]);
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
    fn the_nearest_rule_comes_first_for_services_that_overlook_exceptions() {
        let mut ruleset = Ruleset::default();
        set(&mut ruleset, [(&person("bob@example.com"), Some(Decision::Confirm))]);
        set(&mut ruleset, [(&Who::Everyone, Some(Decision::Confirm))]);
        set(&mut ruleset, [(&Who::Domain("example.com".into()), Some(Decision::Block))]);
        set(&mut ruleset, [(&person("bob@example.com"), Some(Decision::Allow))]);
        set(&mut ruleset, [(&person("carol@example.com"), Some(Decision::Confirm))]);
        let first = |watcher: &str| {
            let fits = |named: &Named| match named {
                Named::One(id) => id == watcher,
                Named::Many { domain, .. } => {
                    domain.as_deref().is_none_or(|domain| watcher.ends_with(domain))
                }
                Named::Foreign(_) => false,
            };
            let rule = ruleset
                .rules
                .iter()
                .find(|rule| plain(rule).is_some_and(|(named, _)| named.iter().any(fits)));
            rule.and_then(plain).map(|(_, decision)| decision)
        };
        assert_eq!(first("sip:bob@example.com"), Some(Decision::Allow));
        assert_eq!(first("sip:carol@example.com"), Some(Decision::Confirm));
        assert_eq!(first("sip:dave@example.com"), Some(Decision::Block));
        assert_eq!(first("sip:erin@example.org"), Some(Decision::Confirm));
    }

    #[test]
    fn a_removed_rule_leaves_the_next_nearest() {
        let mut ruleset = Ruleset::default();
        set(&mut ruleset, [(&Who::Everyone, Some(Decision::Allow))]);
        set(&mut ruleset, [(&person("carol@example.com"), Some(Decision::Block))]);
        set(&mut ruleset, [(&person("carol@example.com"), None)]);
        assert_eq!(says(&ruleset, "sip:carol@example.com"), Decision::Allow);
        assert_eq!(listed(&ruleset), [(Who::Everyone, Decision::Allow)]);
        set(&mut ruleset, [(&Who::Everyone, None)]);
        assert!(ruleset.rules.is_empty());
    }

    #[test]
    fn a_rule_of_somebody_else_does_not_outvote_ours() {
        let mut ruleset = Ruleset::default();
        let people = ["sip:carol@example.com", "sip:dave@example.com"];
        ruleset.rules.push(Rule::for_people("friends", people, SubHandling::Allow));
        let nobody: [&str; 0] = [];
        ruleset.rules.push(Rule::for_everybody_but("all", nobody, SubHandling::PoliteBlock));
        set(&mut ruleset, [(&person("carol@example.com"), Some(Decision::Block))]);
        assert_eq!(says(&ruleset, "sip:carol@example.com"), Decision::Block);
        assert_eq!(says(&ruleset, "sip:dave@example.com"), Decision::Allow);
        assert_eq!(says(&ruleset, "sip:eve@example.com"), Decision::PoliteBlock);
        assert_eq!(ruleset.rules[0].id, "friends");
    }

    #[test]
    fn the_first_rule_does_not_block_everybody_else() {
        let mut ruleset = Ruleset::default();
        set(&mut ruleset, [(&person("carol@example.com"), Some(Decision::Block))]);
        keep_others(&mut ruleset, core::iter::empty());
        assert_eq!(says(&ruleset, "sip:carol@example.com"), Decision::Block);
        assert_eq!(says(&ruleset, "sip:bob@example.com"), Decision::Confirm);
    }

    #[test]
    fn the_first_rule_keeps_in_who_is_in_where_the_service_tells_people_apart() {
        let [carol, dave, erin] = ["carol@example.com", "dave@example.com", "erin@example.com"]
            .map(|it| Address::parse(it).unwrap());
        let mut ruleset = Ruleset::default();
        set(&mut ruleset, [(&Who::Address(carol.clone()), Some(Decision::Block))]);
        let watchers =
            [(&carol, WatcherState::Active), (&dave, WatcherState::Active), (&erin, WatcherState::Pending)];
        keep_others(&mut ruleset, watchers.into_iter());
        assert_eq!(says(&ruleset, "sip:carol@example.com"), Decision::Block);
        assert_eq!(says(&ruleset, "sip:dave@example.com"), Decision::Allow);
        assert_eq!(says(&ruleset, "sip:erin@example.com"), Decision::Confirm);
        assert_eq!(says(&ruleset, "sip:frank@example.com"), Decision::Confirm);
    }

    #[test]
    fn rules_that_depend_on_more_are_left_alone() {
        let mut ruleset = Ruleset::default();
        let mut at_work = Rule::for_people("work", ["sip:carol@example.com"], SubHandling::Allow);
        at_work.conditions.push(Condition::Sphere("work".to_owned()));
        ruleset.rules.push(at_work.clone());
        set(&mut ruleset, [(&person("carol@example.com"), Some(Decision::Block))]);
        set(&mut ruleset, [(&person("carol@example.com"), None)]);
        assert_eq!(ruleset.rules, [at_work]);
    }
    #[test]
    fn whom_another_program_left_out_stays_left_out() {
        let mut ruleset = Ruleset::default();
        let people = ["sip:carol@example.com", "sip:dave@example.com"];
        ruleset.rules.push(Rule::for_everybody_but("all", people, SubHandling::Allow));
        set(&mut ruleset, [(&person("dave@example.com"), Some(Decision::PoliteBlock))]);
        set(&mut ruleset, [(&Who::Everyone, Some(Decision::Allow))]);
        assert_eq!(says(&ruleset, "sip:carol@example.com"), Decision::Block);
        assert_eq!(says(&ruleset, "sip:dave@example.com"), Decision::PoliteBlock);
        assert_eq!(says(&ruleset, "sip:bob@example.com"), Decision::Allow);
    }

    #[test]
    fn a_rule_without_conditions_is_one_for_everyone() {
        let mut open = Rule::for_people("open", Vec::<String>::new(), SubHandling::Allow);
        open.conditions.clear();
        let mut ruleset = Ruleset { rules: vec![open], ..Ruleset::default() };
        assert_eq!(listed(&ruleset), [(Who::Everyone, Decision::Allow)]);
        set(&mut ruleset, [(&person("carol@example.com"), Some(Decision::Block))]);
        assert_eq!(says(&ruleset, "sip:carol@example.com"), Decision::Block);
        assert_eq!(says(&ruleset, "sip:bob@example.com"), Decision::Allow);
        set(&mut ruleset, [(&Who::Everyone, Some(Decision::Confirm))]);
        assert_eq!(says(&ruleset, "sip:bob@example.com"), Decision::Confirm);
    }

    #[test]
    fn a_rule_that_lets_somebody_see_more_all_the_same_is_found() {
        let mut work = Rule::for_people("work", ["sip:carol@example.com"], SubHandling::Allow);
        work.conditions.push(Condition::Sphere("work".to_owned()));
        let mut list = Rule::for_people("list", Vec::<String>::new(), SubHandling::Confirm);
        list.conditions = vec![Condition::ExternalList(vec!["http://example.com/friends".to_owned()])];
        let ruleset = Ruleset { rules: vec![work, list], ..Ruleset::default() };
        let now = Moment::from_millis(0);
        let found = |who, asked| exceeding(&ruleset, &who, asked, now);
        assert_eq!(found(person("carol@example.com"), Decision::Block), Some("work"));
        assert_eq!(found(person("dave@example.com"), Decision::Block), Some("list"));
        assert_eq!(found(person("dave@example.com"), Decision::Confirm), None);
        assert_eq!(found(person("carol@example.com"), Decision::Allow), None);
        assert_eq!(found(Who::Everyone, Decision::Block), None);
    }

    #[test]
    fn spellings_of_one_person_have_one_key() {
        let one = key(&person("sip:Bob@Example.com"));
        for other in
            ["pres:Bob@example.com", "sips:B%6Fb@EXAMPLE.com:5061", "sip:Bob@example.com;transport=tcp"]
        {
            assert_eq!(key(&person(other)), one, "{other}");
        }
        assert_eq!(&*key(&person("sip:bob@[2001:DB8::1]:5070")), "sip:bob@[2001:db8::1]");
    }
}
