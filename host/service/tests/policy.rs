//! Presence rules (RFC 5025), hard state (RFC 4827), and lists that users keep (RFC 4826).

#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use std::time::Duration;

use attache_documents::policy::{Attribute, Condition, Rule, SubHandling, Transformations};
use attache_documents::{Limits, Moment, pidf, policy};
use attache_service::DefaultPolicy;
use attache_sip::message::{HeaderName, Message, Method};
use common::xcap::{Ask, LISTS, PIDF, SERVICES};
use common::{ALICE, BOB, CAROL, EPOCH, Net, PHONE, config, note, status, text};

const TO_BOB: &str = "sip:bob@example.com";

fn rule(id: &str, who: &str, handling: SubHandling) -> Rule {
    Rule::for_people(id, [format!("sip:{who}@example.com")], handling)
}

fn states(net: &mut Net, at: &str) -> Vec<String> {
    let all = net.received(at, Method::Notify);
    all.iter().map(|notify| text(notify, HeaderName::SubscriptionState)).collect()
}

fn last(net: &mut Net, at: &str) -> Message {
    net.received(at, Method::Notify).pop().expect("a NOTIFY")
}

fn document(message: &Message) -> pidf::Document {
    pidf::read(message.body(), &Limits::DEFAULT).unwrap().document
}

#[test]
fn who_is_blocked_is_refused() {
    let mut net = Net::new();
    net.keep_rules("bob", &[rule("1", "alice", SubHandling::Block), rule("2", "carol", SubHandling::Allow)]);
    assert_eq!(status(&net.subscribe(ALICE, TO_BOB, 600)), 403);
    assert_eq!(status(&net.subscribe(ALICE, TO_BOB, 0)), 403);
    assert_eq!(status(&net.subscribe(CAROL, TO_BOB, 600)), 200);
    assert_eq!(net.core(|core, _| core.statistics().subscriptions), 1);
}

#[test]
fn who_is_in_no_rule_is_refused() {
    let mut net = Net::new();
    net.keep_rules("bob", &[rule("1", "carol", SubHandling::Allow)]);
    assert_eq!(status(&net.subscribe(ALICE, TO_BOB, 600)), 403);
    assert_eq!(net.core(|core, _| core.statistics().presentities), 0);
}

#[test]
fn who_has_to_be_confirmed_waits_without_a_document_and_is_told_once_allowed() {
    let mut net = Net::new();
    net.publish(BOB, "here", None);
    net.keep_rules("bob", &[rule("1", "alice", SubHandling::Confirm)]);
    assert_eq!(status(&net.subscribe(ALICE, TO_BOB, 600)), 200);
    net.run(2);
    let notify = last(&mut net, ALICE);
    assert!(text(&notify, HeaderName::SubscriptionState).starts_with("pending;expires="));
    assert!(notify.body().is_empty());
    net.publish(BOB, "still here", None);
    net.run(5);
    assert!(net.received(ALICE, Method::Notify).is_empty(), "who waits hears of no change");
    net.keep_rules("bob", &[rule("1", "alice", SubHandling::Allow)]);
    net.run(1);
    let notify = last(&mut net, ALICE);
    assert!(text(&notify, HeaderName::SubscriptionState).starts_with("active;"));
    assert!(String::from_utf8_lossy(notify.body()).contains("still here"));
}

#[test]
fn who_is_blocked_politely_sees_nobody_and_hears_of_no_change() {
    let mut net = Net::new();
    net.keep_rules(
        "bob",
        &[rule("1", "alice", SubHandling::PoliteBlock), rule("2", "carol", SubHandling::Allow)],
    );
    let tag = text(&net.publish(BOB, "here", None), HeaderName::SipEtag);
    assert_eq!(status(&net.subscribe(ALICE, TO_BOB, 600)), 200);
    net.subscribe(CAROL, TO_BOB, 600);
    net.run(2);
    let polite = last(&mut net, ALICE);
    assert_eq!((note(&polite), net.notes(CAROL)), ("closed".into(), vec!["here".into()]));
    net.publish(BOB, "away", Some(&tag));
    net.run(5);
    assert!(net.received(ALICE, Method::Notify).is_empty());
    assert_eq!(net.notes(CAROL), ["away"]);

    let mut gone = Net::new();
    gone.subscribe(ALICE, TO_BOB, 600);
    gone.run(2);
    let really = last(&mut gone, ALICE);
    assert_eq!(polite.body(), really.body(), "it looks like somebody who is really not there");
    assert_eq!(text(&polite, HeaderName::SipEtag), text(&really, HeaderName::SipEtag));
}

#[test]
fn only_what_is_granted_is_shown() {
    let mut net = Net::new();
    let mut some = rule("1", "alice", SubHandling::Allow);
    some.transformations = Transformations {
        services: Some(policy::Provide::All),
        shown: [(Attribute::Class, true)].into(),
        ..Transformations::default()
    };
    net.keep_rules("bob", &[some.clone(), rule("2", "carol", SubHandling::Allow)]);
    net.publish(BOB, "secret", None);
    net.subscribe(ALICE, TO_BOB, 600);
    net.subscribe(CAROL, TO_BOB, 600);
    net.run(2);
    let seen = document(&last(&mut net, ALICE));
    assert_eq!(seen.tuples[0].basic, Some(pidf::Basic::Open));
    assert!(seen.tuples[0].notes.is_empty());
    assert_eq!(net.notes(CAROL), ["secret"]);
    some.transformations.shown.insert(Attribute::Note, true);
    net.keep_rules("bob", &[some, rule("2", "carol", SubHandling::Allow)]);
    net.run(1);
    assert_eq!(net.notes(ALICE), ["secret"], "a change of rules is told at once");
    assert!(net.notes(CAROL).is_empty(), "to those whom it concerns");
}

#[test]
fn a_watcher_who_is_blocked_later_is_told_that_it_is_over() {
    let mut net = Net::new();
    net.subscribe(ALICE, TO_BOB, 600);
    net.run(1);
    states(&mut net, ALICE);
    net.keep_rules("bob", &[rule("1", "alice", SubHandling::Block)]);
    net.run(1);
    assert_eq!(states(&mut net, ALICE), ["terminated;reason=rejected"]);
    assert_eq!(net.core(|core, _| core.statistics().subscriptions), 0);
}

#[test]
fn without_rules_the_service_decides() {
    let mut net = Net::new();
    net.subscribe(ALICE, TO_BOB, 600);
    net.run(1);
    assert_eq!(net.notes(ALICE), ["closed"]);
    let mut config = config();
    config.default_policy = DefaultPolicy::Confirm;
    let mut net = Net::with(config);
    net.subscribe(ALICE, TO_BOB, 600);
    net.run(1);
    assert!(states(&mut net, ALICE)[0].starts_with("pending;"));
    net.keep_rules("bob", &[rule("1", "alice", SubHandling::Allow)]);
    net.run(1);
    assert!(states(&mut net, ALICE)[0].starts_with("active;"));
    net.xcap("bob", &Ask::new(http::Method::DELETE, "/xcap-root/pres-rules/users/sip:bob@example.com/index"));
    net.run(1);
    assert!(states(&mut net, ALICE)[0].starts_with("pending;"));
}

#[test]
fn users_see_themselves_whatever_their_rules_say() {
    let mut net = Net::new();
    net.keep_rules("bob", &[]);
    net.publish(BOB, "here", None);
    assert_eq!(status(&net.subscribe(PHONE, TO_BOB, 600)), 200);
    net.run(1);
    assert_eq!(net.notes(PHONE), ["here"]);
}

#[test]
fn a_rule_that_holds_for_a_time_begins_and_ends_by_itself() {
    let mut net = Net::new();
    let mut rule = rule("1", "alice", SubHandling::Allow);
    let at = |seconds: u64| Moment::from_millis(i64::try_from((EPOCH + seconds) * 1000).unwrap());
    rule.conditions.push(Condition::Validity(vec![(at(100), at(200))]));
    let mut wait = Rule::for_people("2", ["sip:alice@example.com"], SubHandling::Confirm);
    wait.transformations = Transformations::default();
    net.keep_rules("bob", &[rule, wait]);
    net.subscribe(ALICE, TO_BOB, 3600);
    net.run(95);
    assert!(states(&mut net, ALICE)[0].starts_with("pending;"));
    net.run(10);
    assert!(states(&mut net, ALICE)[0].starts_with("active;"));
    net.run(100);
    assert!(states(&mut net, ALICE)[0].starts_with("pending;"));
}

#[test]
fn a_rule_for_a_part_of_life_follows_what_is_published() {
    let mut net = Net::new();
    let mut at_work = rule("1", "alice", SubHandling::Allow);
    at_work.conditions.push(Condition::Sphere("work".into()));
    net.keep_rules("bob", &[at_work, rule("2", "alice", SubHandling::PoliteBlock)]);
    net.subscribe(ALICE, TO_BOB, 3600);
    let mut publish = |sphere: &str| {
        let body = format!(
            "<presence xmlns=\"urn:ietf:params:xml:ns:pidf\" xmlns:dm=\"urn:ietf:params:xml:ns:pidf:data-model\" \
             xmlns:r=\"urn:ietf:params:xml:ns:pidf:rpid\" entity=\"sip:bob@example.com\"><tuple id=\"t\"><status>\
             <basic>open</basic></status><note>here</note></tuple>\
             <dm:person id=\"p\"><r:sphere><r:{sphere}/></r:sphere></dm:person></presence>"
        );
        let request = net.client(BOB, |bob| bob.request(Method::Publish, TO_BOB));
        let request = request.header(HeaderName::Event, "presence").header(HeaderName::Expires, "60");
        net.send(BOB, request.body("application/pidf+xml", body));
        net.run(5);
        net.notes(ALICE).pop()
    };
    assert_eq!(publish("work").as_deref(), Some("here"));
    assert_eq!(publish("home").as_deref(), Some("closed"));
}

#[test]
fn rules_hold_in_lists_too() {
    let mut net = Net::new();
    net.publish(BOB, "here", None);
    net.core(|core, now| {
        let members = vec![TO_BOB.to_owned(), "sip:carol@example.com".to_owned()];
        core.set_list(now, "sip:all@example.com", None, members).unwrap();
    });
    net.keep_rules("bob", &[rule("1", "alice", SubHandling::Block)]);
    net.keep_rules("carol", &[rule("1", "alice", SubHandling::Confirm)]);
    let request = net.client(ALICE, |alice| {
        let contact = alice.contact();
        alice.request(Method::Subscribe, "sip:all@example.com").header(HeaderName::Contact, contact)
    });
    let request = request.header(HeaderName::Event, "presence").header(HeaderName::Supported, "eventlist");
    assert_eq!(status(&net.send(ALICE, request)), 200);
    net.run(2);
    let body = String::from_utf8_lossy(last(&mut net, ALICE).body()).into_owned();
    assert!(body.contains("state=\"terminated\" reason=\"rejected\""), "{body}");
    assert!(body.contains("state=\"pending\""), "{body}");
    assert!(!body.contains("here"), "{body}");
    net.keep_rules("bob", &[rule("1", "alice", SubHandling::Allow)]);
    net.run(5);
    let body = String::from_utf8_lossy(last(&mut net, ALICE).body()).into_owned();
    assert!(body.contains("here"), "{body}");
}

#[test]
fn rules_hold_after_a_restart_and_unreadable_ones_grant_nothing() {
    let path = attache_documents::xcap::DocumentPath::user("pres-rules", "bob@example.com", "index");
    for body in [
        policy::write(&policy::Ruleset {
            rules: vec![rule("1", "alice", SubHandling::Block)],
            ..policy::Ruleset::default()
        }),
        "<nonsense/>".into(),
    ] {
        let mut config = config();
        let document =
            attache_service::StoredDocument { path: path.clone(), etag: "1".into(), body: body.into() };
        config.documents = vec![document];
        let mut net = Net::with(config);
        assert_eq!(status(&net.subscribe(ALICE, TO_BOB, 600)), 403);
    }
}

#[test]
fn a_rule_may_name_a_list_that_its_owner_keeps() {
    let mut net = Net::new();
    let list = |who: &str| {
        format!(
            "<resource-lists xmlns=\"urn:ietf:params:xml:ns:resource-lists\"><list name=\"friends\">\
             <entry uri=\"sip:{who}@example.com\"/></list></resource-lists>"
        )
    };
    net.keep("bob", "resource-lists", LISTS, &list("carol"));
    let anchor = "http://xcap.example.com/xcap-root/resource-lists/users/sip:bob@example.com/index/~~/resource-lists/\
                  list%5B@name=%22friends%22%5D";
    let mut friends = rule("1", "nobody", SubHandling::Allow);
    friends.conditions = vec![Condition::ExternalList(vec![anchor.into()])];
    net.keep_rules("bob", &[friends]);
    assert_eq!(status(&net.subscribe(ALICE, TO_BOB, 600)), 403);
    assert_eq!(status(&net.subscribe(CAROL, TO_BOB, 600)), 200);
    net.keep("bob", "resource-lists", LISTS, &list("alice"));
    net.run(2);
    assert_eq!(status(&net.subscribe(ALICE, TO_BOB, 600)), 200);
    assert_eq!(states(&mut net, CAROL).pop().unwrap(), "terminated;reason=rejected");
}

#[test]
fn hard_state_holds_while_no_device_says_anything() {
    let mut net = Net::new();
    net.subscribe(ALICE, TO_BOB, 3600);
    let state = common::pidf("on holiday until May").replace("open", "closed");
    assert_eq!(net.keep("bob", "pidf-manipulation", PIDF, &state).status(), 201);
    net.run(2);
    assert_eq!(net.notes(ALICE).pop().unwrap(), "on holiday until May");
    let tag = text(&net.publish(BOB, "here", None), HeaderName::SipEtag);
    net.run(2);
    let both = document(&last(&mut net, ALICE));
    let notes: Vec<_> = both.tuples.iter().map(|tuple| tuple.notes[0].text.as_str()).collect();
    assert_eq!(notes, ["here", "on holiday until May"]);
    let request = net.client(BOB, |bob| bob.request(Method::Publish, TO_BOB));
    let request = request.header(HeaderName::Event, "presence").header(HeaderName::SipIfMatch, tag);
    net.send(BOB, request.header(HeaderName::Expires, "0"));
    net.run(2);
    assert_eq!(net.notes(ALICE), ["on holiday until May"]);
    net.xcap(
        "bob",
        &Ask::new(http::Method::DELETE, "/xcap-root/pidf-manipulation/users/sip:bob@example.com/index"),
    );
    net.run(2);
    assert_eq!(net.notes(ALICE), ["closed"]);
}

const INDEX: &str = "resource-lists/users/sip:alice@example.com/index";

fn services(inside: &str) -> String {
    format!(
        "<rls-services xmlns=\"urn:ietf:params:xml:ns:rls-services\" \
         xmlns:rl=\"urn:ietf:params:xml:ns:resource-lists\"><service uri=\"sip:alice-friends@example.com\">{inside}\
         <packages><package>presence</package></packages></service></rls-services>"
    )
}

/// The addresses of all in the list, as a new subscription is told.
fn members(net: &mut Net, at: &str, to: &str) -> Result<Vec<String>, u16> {
    let request = net.client(at, |client| {
        let contact = client.contact();
        client.request(Method::Subscribe, to).header(HeaderName::Contact, contact)
    });
    let request = request.header(HeaderName::Event, "presence").header(HeaderName::Supported, "eventlist");
    let answer = net.send(at, request.header(HeaderName::Expires, "0"));
    if status(&answer) != 200 {
        return Err(status(&answer));
    }
    net.run(2);
    let body = String::from_utf8_lossy(last(net, at).body()).into_owned();
    let uris = body.split("<resource uri=\"").skip(1).map(|rest| rest.split('"').next().unwrap().to_owned());
    Ok(uris.collect())
}

#[test]
fn a_list_that_a_user_keeps_can_be_subscribed_to_by_that_user() {
    let mut net = Net::new();
    let lists = |who: &str| {
        format!(
            "<resource-lists xmlns=\"urn:ietf:params:xml:ns:resource-lists\"><list name=\"friends\">\
             <entry uri=\"sip:bob@example.com\"/><list name=\"close\"><entry uri=\"sip:{who}@example.com\"/></list>\
             </list></resource-lists>"
        )
    };
    net.keep("alice", "resource-lists", LISTS, &lists("carol"));
    let reference =
        format!("http://127.0.0.1:5080/xcap-root/{INDEX}/~~/resource-lists/list%5B@name=%22friends%22%5D");
    let answer = net.keep(
        "alice",
        "rls-services",
        SERVICES,
        &services(&format!("<resource-list>{reference}</resource-list>")),
    );
    assert_eq!(answer.status(), 201);
    let to = "sip:alice-friends@example.com";
    assert_eq!(members(&mut net, ALICE, to).unwrap(), ["sip:bob@example.com", "sip:carol@example.com"]);
    assert_eq!(members(&mut net, BOB, to), Err(403));
    net.keep("alice", "resource-lists", LISTS, &lists("dave"));
    assert_eq!(members(&mut net, ALICE, to).unwrap(), ["sip:bob@example.com", "sip:dave@example.com"]);
    net.xcap(
        "alice",
        &Ask::new(http::Method::DELETE, "/xcap-root/rls-services/users/sip:alice@example.com/index"),
    );
    assert_eq!(members(&mut net, ALICE, to), Err(404));
}

#[test]
fn a_change_of_a_kept_list_is_told_to_its_subscriber() {
    let mut net = Net::new();
    let list = |who: &str| services(&format!("<list><rl:entry uri=\"sip:{who}@example.com\"/></list>"));
    net.keep("alice", "rls-services", SERVICES, &list("bob"));
    let request = net.client(ALICE, |alice| {
        let contact = alice.contact();
        alice.request(Method::Subscribe, "sip:alice-friends@example.com").header(HeaderName::Contact, contact)
    });
    let request = request.header(HeaderName::Event, "presence").header(HeaderName::Supported, "eventlist");
    net.send(ALICE, request);
    net.run(2);
    net.received(ALICE, Method::Notify);
    net.keep("alice", "rls-services", SERVICES, &list("carol"));
    net.run(2);
    let body = String::from_utf8_lossy(last(&mut net, ALICE).body()).into_owned();
    assert!(body.contains("carol") && !body.contains("bob"), "{body}");
    net.keep(
        "alice",
        "rls-services",
        SERVICES,
        "<rls-services xmlns=\"urn:ietf:params:xml:ns:rls-services\"/>",
    );
    net.run(2);
    assert_eq!(states(&mut net, ALICE), ["terminated;reason=noresource"]);
}

#[test]
fn references_are_followed_and_circles_end() {
    let mut net = Net::new();
    let near = format!("{INDEX}/~~/resource-lists/list%5B@name=%22a%22%5D");
    let far = format!("http://x/xcap-root/{INDEX}/~~/resource-lists/list%5B@name=%22b%22%5D");
    let body = format!(
        "<resource-lists xmlns=\"urn:ietf:params:xml:ns:resource-lists\">\
         <list name=\"a\"><entry uri=\"sip:bob@example.com\"/><external anchor=\"{far}\"/></list>\
         <list name=\"b\"><external anchor=\"http://x/xcap-root/{near}\"/><entry uri=\"sip:carol@example.com\"/>\
         <entry-ref ref=\"{INDEX}/~~/resource-lists/list%5B@name=%22c%22%5D/entry\"/>\
         <entry-ref ref=\"resource-lists/users/sip:bob@example.com/index/~~/resource-lists/list\"/></list>\
         <list name=\"c\"><entry uri=\"sip:dave@example.com\"/></list></resource-lists>"
    );
    assert_eq!(net.keep("alice", "resource-lists", LISTS, &body).status(), 201);
    let bobs = "<resource-lists xmlns=\"urn:ietf:params:xml:ns:resource-lists\"><list>\
                <entry uri=\"sip:secret@example.com\"/></list></resource-lists>";
    assert_eq!(net.keep("bob", "resource-lists", LISTS, bobs).status(), 201);
    let reference = format!("<resource-list>http://x/xcap-root/{near}</resource-list>");
    assert_eq!(net.keep("alice", "rls-services", SERVICES, &services(&reference)).status(), 201);
    let all = members(&mut net, ALICE, "sip:alice-friends@example.com").unwrap();
    assert_eq!(all, ["sip:bob@example.com", "sip:carol@example.com", "sip:dave@example.com"]);
}

#[test]
fn many_watchers_with_the_same_rights_get_their_news_in_time() {
    let mut config = config();
    config.limits.notify_interval = Duration::ZERO;
    let mut net = Net::with(config);
    net.keep_rules(
        "bob",
        &[
            rule("1", "alice", SubHandling::Allow),
            Rule::for_domain("2", "example.com", SubHandling::PoliteBlock),
        ],
    );
    for _ in 0..20 {
        assert_eq!(status(&net.subscribe(ALICE, TO_BOB, 600)), 200);
        assert_eq!(status(&net.subscribe(CAROL, TO_BOB, 600)), 200);
    }
    net.run(2);
    for at in [ALICE, CAROL] {
        net.notes(at);
    }
    net.publish(BOB, "here", None);
    net.run(2);
    assert_eq!((net.notes(ALICE).len(), net.notes(CAROL).len()), (20, 0));
}

#[test]
fn rules_that_name_ten_thousand_people_decide_on_each() {
    let mut net = Net::new();
    let people =
        (0..10_000).map(|n| format!("sip:user{n}@example.com")).chain(["sip:alice@example.com".to_owned()]);
    let mut rules = vec![Rule::for_people("friends", people, SubHandling::Allow)];
    rules.extend((0..2_000).map(|n| rule(&format!("r{n}"), &format!("other{n}"), SubHandling::Block)));
    net.keep_rules("bob", &rules);
    for _ in 0..100 {
        assert_eq!(status(&net.subscribe(ALICE, TO_BOB, 600)), 200);
        assert_eq!(status(&net.subscribe(CAROL, TO_BOB, 600)), 403);
    }
}

#[test]
fn hard_state_is_no_larger_than_what_a_device_may_publish() {
    let mut config = config();
    config.limits.publication_bytes = 1024;
    let mut net = Net::with(config);
    let entity = |note: &str| common::pidf(note);
    assert_eq!(net.keep("bob", "pidf-manipulation", PIDF, &entity("short")).status(), 201);
    assert_eq!(net.keep("bob", "pidf-manipulation", PIDF, &entity(&"long".repeat(500))).status(), 413);
}

#[test]
fn nobody_keeps_more_services_than_lists() {
    let mut config = config();
    config.limits.lists_per_user = 2;
    let mut net = Net::with(config);
    let all = |count: usize| {
        let one = |number| format!("<service uri=\"sip:list{number}@example.com\"><list/></service>");
        let all: String = (0..count).map(one).collect();
        format!("<rls-services xmlns=\"urn:ietf:params:xml:ns:rls-services\">{all}</rls-services>")
    };
    assert_eq!(net.keep("alice", "rls-services", SERVICES, &all(3)).status(), 409);
    assert_eq!(net.keep("alice", "rls-services", SERVICES, &all(2)).status(), 201);
}

#[test]
fn an_address_that_waits_to_be_written_for_one_user_is_not_given_to_another() {
    let mut config = config();
    config.is_durable = true;
    let mut net = Net::with(config);
    let service = "<rls-services xmlns=\"urn:ietf:params:xml:ns:rls-services\">\
                   <service uri=\"sip:wanted@example.com\"><list/></service></rls-services>";
    assert_eq!(net.keep("alice", "rls-services", SERVICES, service).status(), 503, "not on disk yet");
    assert_eq!(net.keep("bob", "rls-services", SERVICES, service).status(), 409);
}

#[test]
fn each_of_several_lists_in_rules_counts_for_its_own_members() {
    let mut net = Net::new();
    let list = |who: &str| format!("<list name=\"{who}s\"><entry uri=\"sip:{who}@example.com\"/></list>");
    let document = format!(
        "<resource-lists xmlns=\"urn:ietf:params:xml:ns:resource-lists\">{}{}</resource-lists>",
        list("alice"),
        list("carol")
    );
    net.keep("bob", "resource-lists", LISTS, &document);
    let rule = |name: &str, handling| {
        let anchor = format!(
            "http://x/xcap-root/resource-lists/users/sip:bob@example.com/index/~~/resource-lists/\
             list%5B@name=%22{name}%22%5D"
        );
        let mut rule = rule(name, "nobody", handling);
        rule.conditions = vec![Condition::ExternalList(vec![anchor])];
        rule
    };
    net.keep_rules("bob", &[rule("alices", SubHandling::Block), rule("carols", SubHandling::Allow)]);
    assert_eq!(status(&net.subscribe(ALICE, TO_BOB, 600)), 403);
    assert_eq!(status(&net.subscribe(CAROL, TO_BOB, 600)), 200);
}
