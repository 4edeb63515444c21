//! What the agent learns about its service, for those who look for a fault.

use std::time::{Duration, SystemTime};

use attache_sip::endpoint::{Request, Response};
use attache_sip::message::{HeaderName, Method};
use attache_sip::usage::SubscribeParams;

use crate::pair::{Incoming, Pair, seconds, uri};

fn accept(pair: &mut Pair, register: &Incoming, headers: &[(HeaderName, &str)]) {
    let mut answer = Response::new(200)
        .header(HeaderName::Contact, format!("{};expires=60", register.header(HeaderName::Contact)));
    for (name, value) in headers {
        answer = answer.header(*name, *value);
    }
    pair.respond(register, &answer);
    pair.event();
}

#[test]
fn what_a_service_says_of_itself_is_told_once() {
    let mut pair = Pair::new();
    pair.agent(|agent, now| agent.register(now, 60));
    let headers = [
        (HeaderName::Allow, "REGISTER, SUBSCRIBE"),
        (HeaderName::Supported, "path, outbound"),
        (HeaderName::AllowEvents, "presence"),
        (HeaderName::Server, "kamailio (5.8)"),
    ];
    for _ in 0..3 {
        let register = pair.expect("REGISTER");
        accept(&mut pair, &register, &headers);
    }
    assert_eq!(pair.learnt.len(), 1);
    let facts = &pair.learnt[0];
    assert_eq!(facts.allow, ["REGISTER", "SUBSCRIBE"]);
    assert_eq!(facts.supported, ["path", "outbound"]);
    assert_eq!(facts.allow_events, ["presence"]);
    assert_eq!(facts.server.as_deref(), Some("kamailio (5.8)"));
    assert_eq!(facts.date, None);
}

#[test]
fn what_is_new_is_told_with_what_was_known() {
    let mut pair = Pair::new();
    pair.agent(|agent, now| agent.register(now, 60));
    let register = pair.expect("REGISTER");
    accept(&mut pair, &register, &[(HeaderName::Allow, "REGISTER")]);
    let register = pair.expect("REGISTER");
    accept(&mut pair, &register, &[(HeaderName::Allow, "PUBLISH")]);
    assert_eq!(pair.learnt.last().unwrap().allow, ["REGISTER", "PUBLISH"]);
    let known = pair.agent(|agent, _| agent.service_facts().clone());
    assert_eq!(Some(&known), pair.learnt.last());
}

#[test]
fn a_clock_is_told_when_it_is_first_seen_and_when_it_jumps() {
    let mut pair = Pair::new();
    pair.agent(|agent, now| agent.register(now, 60));
    let register = pair.expect("REGISTER");
    accept(&mut pair, &register, &[(HeaderName::Date, "Sat, 13 Nov 2010 23:29:00 GMT")]);
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_289_690_940);
    assert_eq!(pair.learnt.last().unwrap().date, Some(at));
    // Less than a minute later, as it should be.
    let register = pair.expect("REGISTER");
    accept(&mut pair, &register, &[(HeaderName::Date, "Sat, 13 Nov 2010 23:29:46 GMT")]);
    assert_eq!(pair.learnt.len(), 1);
    let register = pair.expect("REGISTER");
    accept(&mut pair, &register, &[(HeaderName::Date, "Sun, 14 Nov 2010 03:29:00 GMT")]);
    assert_eq!(pair.learnt.len(), 2);
}

#[test]
fn a_peers_answer_says_nothing_of_the_service() {
    let mut pair = Pair::new();
    pair.agent(|agent, now| agent.request(now, Request::new(Method::Options, "sip:bob@example.com")));
    let options = pair.expect("OPTIONS");
    pair.respond(&options, &Response::new(200).header(HeaderName::Server, "Bob's phone"));
    pair.event();
    assert!(pair.learnt.is_empty());
    pair.agent(|agent, now| agent.request(now, Request::new(Method::Options, "sip:example.com")));
    let options = pair.expect("OPTIONS");
    pair.respond(&options, &Response::new(200).header(HeaderName::Server, "the service"));
    pair.event();
    assert_eq!(pair.learnt.len(), 1);
}

#[test]
fn the_last_refusal_of_each_kind_of_request_is_kept_until_one_is_taken() {
    let mut pair = Pair::new();
    let winfo = SubscribeParams::watchers(uri("sip:alice@example.com"));
    pair.agent(|agent, now| {
        agent.register(now, 3600);
        agent.subscribe(now, winfo);
    });
    for _ in 0..2 {
        let request = pair.expect_any();
        let refusal = match request.message.method() {
            Some(Method::Register) => Response::new(500),
            _ => Response::new(489).header(HeaderName::Warning, "399 example.com \"no winfo here\""),
        };
        pair.respond(&request, &refusal);
        pair.event();
    }
    let refused = pair.agent(|agent, _| {
        agent
            .refusals()
            .map(|(class, refusal)| (class.to_owned(), refusal.cause.status(), refusal.warning.clone()))
            .collect::<Vec<_>>()
    });
    assert_eq!(refused.len(), 2, "{refused:?}");
    assert_eq!((refused[0].0.as_str(), refused[0].1), ("REGISTER", Some(500)));
    assert_eq!((refused[1].0.as_str(), refused[1].1), ("SUBSCRIBE presence.winfo", Some(489)));
    assert_eq!(refused[1].2.as_deref(), Some("399 example.com \"no winfo here\""));
    let register = pair.expect_within("REGISTER", seconds(10));
    pair.accept_registration(&register, 3600);
    pair.event();
    assert_eq!(pair.agent(|agent, _| agent.refusals().count()), 1);
}
