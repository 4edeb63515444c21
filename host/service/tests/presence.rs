//! PUBLISH (RFC 3903), SUBSCRIBE and NOTIFY (RFC 6665, RFC 3856).

#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use std::time::Duration;

use attache_sip::message::{HeaderName, Message, Method};
use common::{ALICE, BOB, CAROL, Net, PHONE, config, note, pidf, status, text};

const TO_BOB: &str = "sip:bob@example.com";

fn etag(message: &Message) -> String {
    assert_eq!(status(message), 200);
    text(message, HeaderName::SipEtag)
}

/// A SUBSCRIBE within the dialog that `answer` began.
fn again(net: &mut Net, at: &str, answer: &Message, expires: &str) -> Message {
    let contact = net.client(at, |client| client.contact());
    let target = answer.contacts().next().unwrap().unwrap().uri().unwrap().as_str().to_owned();
    let mut request = net.client(at, |client| client.request(Method::Subscribe, &target));
    request.headers.clear();
    let request = request
        .from(text(answer, HeaderName::From))
        .to(text(answer, HeaderName::To))
        .call_id(text(answer, HeaderName::CallId))
        .header(HeaderName::Contact, contact)
        .header(HeaderName::Event, "presence")
        .header(HeaderName::Expires, expires);
    net.send(at, request)
}

fn state(message: &Message) -> String {
    text(message, HeaderName::SubscriptionState)
}

#[test]
fn a_watcher_is_told_at_once_and_at_each_change() {
    let mut net = Net::new();
    let answer = net.subscribe(ALICE, TO_BOB, 600);
    assert_eq!((status(&answer), text(&answer, HeaderName::Expires)), (200, "600".into()));
    net.run(1);
    assert_eq!(net.notes(ALICE), ["closed"]);
    let tag = etag(&net.publish(BOB, "here", None));
    net.run(2);
    assert_eq!(net.notes(ALICE), ["here"]);
    net.publish(BOB, "away", Some(&tag));
    net.run(2);
    assert_eq!(net.notes(ALICE), ["away"]);
}

#[test]
fn a_notify_belongs_to_its_dialog() {
    let mut net = Net::new();
    let answer = net.subscribe(ALICE, TO_BOB, 600);
    net.run(1);
    let notify = net.received(ALICE, Method::Notify).remove(0);
    assert_eq!(text(&notify, HeaderName::CallId), text(&answer, HeaderName::CallId));
    assert_eq!(text(&notify, HeaderName::From), text(&answer, HeaderName::To));
    assert_eq!(text(&notify, HeaderName::To), text(&answer, HeaderName::From));
    assert_eq!(text(&notify, HeaderName::Event), "presence");
    assert_eq!(text(&notify, HeaderName::ContentType), "application/pidf+xml");
    assert!(state(&notify).starts_with("active;expires="), "{}", state(&notify));
    assert_eq!(notify.request_uri_bytes(), b"sip:alice@127.0.1.1:5060");
}

#[test]
fn who_comes_later_hears_what_is() {
    let mut net = Net::new();
    net.publish(BOB, "here", None);
    net.subscribe(ALICE, TO_BOB, 600);
    net.run(1);
    assert_eq!(net.notes(ALICE), ["here"]);
}

#[test]
fn changes_in_quick_succession_are_told_once_and_the_last_one_wins() {
    let mut config = config();
    config.limits.notify_interval = Duration::from_secs(5);
    let mut net = Net::with(config);
    net.subscribe(ALICE, TO_BOB, 600);
    net.run(10);
    net.notes(ALICE);
    let mut tag = etag(&net.publish(BOB, "0", None));
    for number in 1..=20 {
        tag = etag(&net.publish(BOB, &number.to_string(), Some(&tag)));
    }
    net.run(4);
    assert_eq!(net.notes(ALICE), ["0"]);
    net.run(2);
    assert_eq!(net.notes(ALICE), ["20"]);
}

#[test]
fn a_watcher_that_does_not_answer_gets_one_notify_at_a_time_and_the_latest_next() {
    let mut config = config();
    config.limits.notify_interval = Duration::ZERO;
    let mut net = Net::with(config);
    net.subscribe(ALICE, TO_BOB, 600);
    net.run(1);
    net.client(ALICE, |alice| alice.received.clear());
    net.client(ALICE, |alice| alice.is_deaf = true);
    let mut tag = etag(&net.publish(BOB, "0", None));
    for number in 1..=9 {
        tag = etag(&net.publish(BOB, &number.to_string(), Some(&tag)));
    }
    net.run(2);
    assert_eq!(net.notes(ALICE), ["0"]);
}

#[test]
fn a_watcher_that_is_gone_is_forgotten() {
    let mut net = Net::new();
    net.subscribe(ALICE, TO_BOB, 600);
    net.run(1);
    net.sim.kill(ALICE.parse().unwrap());
    net.publish(BOB, "here", None);
    net.run(40);
    assert_eq!(net.core(|core, _| core.statistics().subscriptions), 0);
}

#[test]
fn a_watcher_that_denies_the_dialog_is_forgotten() {
    let mut net = Net::new();
    net.client(ALICE, |alice| alice.answer_with = 481);
    net.subscribe(ALICE, TO_BOB, 600);
    net.run(1);
    assert_eq!(net.core(|core, _| core.statistics().subscriptions), 0);
}

#[test]
fn a_subscription_can_be_refreshed_and_tells_the_state_again() {
    let mut net = Net::new();
    let answer = net.subscribe(ALICE, TO_BOB, 100);
    net.run(90);
    net.notes(ALICE);
    assert_eq!(status(&again(&mut net, ALICE, &answer, "100")), 200);
    net.run(90);
    assert_eq!(net.notes(ALICE), ["closed"]);
    assert_eq!(net.core(|core, _| core.statistics().subscriptions), 1);
}

#[test]
fn a_subscription_that_is_not_refreshed_ends_with_a_last_notify() {
    let mut net = Net::new();
    net.subscribe(ALICE, TO_BOB, 60);
    net.run(61);
    let states: Vec<_> = net.received(ALICE, Method::Notify).iter().map(state).collect();
    assert_eq!(states.last().unwrap(), "terminated;reason=timeout");
    assert_eq!(net.core(|core, _| core.statistics()), Default::default());
}

#[test]
fn unsubscribing_brings_a_last_notify_and_then_silence() {
    let mut net = Net::new();
    let answer = net.subscribe(ALICE, TO_BOB, 600);
    net.run(1);
    assert_eq!(status(&again(&mut net, ALICE, &answer, "0")), 200);
    net.run(1);
    assert_eq!(state(net.received(ALICE, Method::Notify).last().unwrap()), "terminated;reason=timeout");
    net.publish(BOB, "here", None);
    net.run(2);
    assert!(net.notes(ALICE).is_empty());
    assert_eq!(status(&again(&mut net, ALICE, &answer, "600")), 481);
}

#[test]
fn a_fetch_brings_one_notify_and_leaves_nothing() {
    let mut net = Net::new();
    net.publish(BOB, "here", None);
    net.subscribe(ALICE, TO_BOB, 0);
    net.run(1);
    let notifies = net.received(ALICE, Method::Notify);
    assert_eq!(notifies.len(), 1);
    assert_eq!(
        (state(&notifies[0]), note(&notifies[0])),
        ("terminated;reason=timeout".into(), "here".into())
    );
    assert_eq!(net.core(|core, _| core.statistics().subscriptions), 0);
}

#[test]
fn a_subscribe_in_a_dialog_that_nobody_knows_is_refused() {
    let mut net = Net::new();
    let request = net.client(ALICE, |alice| {
        let contact = alice.contact();
        let mut request = alice.request(Method::Subscribe, TO_BOB).header(HeaderName::Contact, contact);
        request.headers.retain(|(name, _)| *name != HeaderName::To.into());
        request.to("<sip:bob@example.com>;tag=nobody").header(HeaderName::Event, "presence")
    });
    assert_eq!(status(&net.send(ALICE, request)), 481);
}

#[test]
fn nobody_refreshes_the_subscription_of_somebody_else() {
    let mut net = Net::new();
    let answer = net.subscribe(ALICE, TO_BOB, 600);
    net.join("carol", "christmas", CAROL);
    let hijacked = again(&mut net, CAROL, &answer, "600");
    // From is Alice's, and Carol is not Alice.
    assert_eq!(status(&hijacked), 403);
}

#[test]
fn an_unknown_package_is_refused_with_the_known_ones() {
    let mut net = Net::new();
    let packages = [
        (Method::Subscribe, "presence, presence.winfo, xcap-diff, message-summary, reg"),
        (Method::Publish, "presence"),
    ];
    for (method, known) in packages {
        let request = net.client(BOB, |bob| {
            let contact = bob.contact();
            bob.request(method, TO_BOB)
                .header(HeaderName::Contact, contact)
                .header(HeaderName::Event, "weather")
        });
        let answer = net.send(BOB, request);
        assert_eq!(
            (status(&answer), text(&answer, HeaderName::AllowEvents)),
            (489, known.into()),
            "{method}"
        );
    }
}

#[test]
fn a_watcher_that_cannot_read_presence_documents_is_told_so() {
    let mut net = Net::new();
    let request = net.client(ALICE, |alice| {
        let contact = alice.contact();
        alice.request(Method::Subscribe, TO_BOB).header(HeaderName::Contact, contact)
    });
    let request =
        request.header(HeaderName::Event, "presence").header(HeaderName::Accept, "application/xpidf+xml");
    assert_eq!(status(&net.send(ALICE, request)), 406);
}

#[test]
fn each_publication_has_a_tag_that_changes_with_each_request() {
    let mut net = Net::new();
    let first = etag(&net.publish(BOB, "1", None));
    let second = etag(&net.publish(BOB, "2", Some(&first)));
    assert_ne!(first, second);
    assert_eq!(status(&net.publish(BOB, "3", Some(&first))), 412);
    assert_eq!(status(&net.publish(BOB, "3", Some("invented"))), 412);
}

#[test]
fn a_publication_without_body_refreshes_and_with_expires_zero_removes() {
    let mut net = Net::new();
    net.subscribe(ALICE, TO_BOB, 3600);
    let tag = etag(&net.publish(BOB, "here", None));
    net.run(5);
    net.notes(ALICE);
    let bodyless = |net: &mut Net, tag: &str, expires: &str| {
        let request = net.client(BOB, |bob| bob.request(Method::Publish, TO_BOB));
        let request = request.header(HeaderName::Event, "presence").header(HeaderName::SipIfMatch, tag);
        net.send(BOB, request.header(HeaderName::Expires, expires))
    };
    let tag = etag(&bodyless(&mut net, &tag, "100"));
    net.run(5);
    assert!(net.notes(ALICE).is_empty(), "a refresh is no news");
    assert_eq!(status(&bodyless(&mut net, &tag, "0")), 200);
    net.run(5);
    assert_eq!(net.notes(ALICE), ["closed"]);
}

#[test]
fn a_publication_that_is_not_refreshed_ends_and_the_watchers_hear_of_it() {
    let mut net = Net::new();
    net.subscribe(ALICE, TO_BOB, 3600);
    let request = net.client(BOB, |bob| bob.request(Method::Publish, TO_BOB));
    let request = request.header(HeaderName::Event, "presence").header(HeaderName::Expires, "60");
    net.send(BOB, request.body("application/pidf+xml", pidf("here")));
    net.run(50);
    assert_eq!(net.notes(ALICE).last().unwrap(), "here");
    net.run(11);
    assert_eq!(net.notes(ALICE), ["closed"]);
}

#[test]
fn several_devices_are_told_together() {
    let mut net = Net::new();
    net.subscribe(ALICE, TO_BOB, 3600);
    net.publish(BOB, "desk", None);
    net.publish(PHONE, "phone", None);
    net.run(5);
    let last = net.received(ALICE, Method::Notify).pop().unwrap();
    let parsed = attache_documents::pidf::read(last.body(), &attache_documents::Limits::DEFAULT).unwrap();
    let notes: Vec<_> = parsed.document.tuples.iter().map(|tuple| tuple.notes[0].text.as_str()).collect();
    assert_eq!(notes, ["desk", "phone"]);
}

#[test]
fn what_cannot_be_a_publication_is_refused() {
    let mut net = Net::new();
    let mut publish = |kind: &str, body: &str, expires: &str| {
        let request = net.client(BOB, |bob| bob.request(Method::Publish, TO_BOB));
        let mut request = request.header(HeaderName::Event, "presence").header(HeaderName::Expires, expires);
        if !body.is_empty() {
            request = request.body(kind, body.to_owned());
        }
        status(&net.send(BOB, request))
    };
    assert_eq!(publish("text/plain", "here", "600"), 415);
    assert_eq!(publish("application/pidf+xml", "<presence", "600"), 400);
    let bomb =
        "<!DOCTYPE p [<!ENTITY a \"aaaa\">]><presence xmlns=\"urn:ietf:params:xml:ns:pidf\">&a;</presence>";
    assert_eq!(publish("application/pidf+xml", bomb, "600"), 400);
    assert_eq!(publish("", "", "600"), 400);
    assert_eq!(publish("application/pidf+xml", &pidf("x"), "5"), 423);
}

#[test]
fn subscriptions_of_one_user_are_bounded() {
    let mut config = config();
    config.limits.subscriptions_per_user = 3;
    let mut net = Net::with(config);
    let answers: Vec<_> = (0..5).map(|_| status(&net.subscribe(ALICE, TO_BOB, 600))).collect();
    assert_eq!(answers, [200, 200, 200, 503, 503]);
    assert_eq!(status(&net.subscribe(CAROL, TO_BOB, 600)), 200);
}

#[test]
fn presence_survives_a_bad_network() {
    let mut net = Net::new();
    net.sim.set_default_link(attache_sip::sim::Link { loss: 0.2, duplicate: 0.1, ..Default::default() });
    assert_eq!(status(&net.subscribe(ALICE, TO_BOB, 3600)), 200);
    let mut tag = etag(&net.publish(BOB, "0", None));
    for number in 1..=10 {
        tag = etag(&net.publish(BOB, &number.to_string(), Some(&tag)));
        net.run(3);
    }
    net.run(60);
    assert_eq!(net.notes(ALICE).last().unwrap(), "10");
}

#[test]
fn a_notify_that_is_refused_for_the_moment_is_sent_again() {
    let mut net = Net::new();
    net.publish(BOB, "here", None);
    net.client(ALICE, |alice| alice.answer_with = 503);
    net.subscribe(ALICE, "sip:bob@example.com", 3600);
    net.run(2);
    assert_eq!(net.notes(ALICE), ["here"]);
    net.client(ALICE, |alice| alice.answer_with = 200);
    net.run(10);
    assert_eq!(net.notes(ALICE), ["here"]);
    net.run(100);
    assert!(net.notes(ALICE).is_empty());
}

#[test]
fn a_watcher_who_refuses_for_ever_loses_the_subscription() {
    let mut net = Net::new();
    net.publish(BOB, "here", None);
    net.client(ALICE, |alice| alice.answer_with = 503);
    net.subscribe(ALICE, "sip:bob@example.com", 3600);
    net.run(120);
    assert_eq!(net.core(|core, _| core.statistics()).subscriptions, 0);
    assert!(net.notes(ALICE).len() <= 6);
}

#[test]
fn a_subscription_that_would_have_us_keep_too_much_is_refused() {
    let mut net = Net::new();
    let request = net.client(ALICE, |alice| {
        let contact = alice.contact();
        alice.request(Method::Subscribe, "sip:bob@example.com").header(HeaderName::Contact, contact)
    });
    let request = request.header(HeaderName::Event, "presence");
    let long = format!("<sip:{}.example;lr>", "x".repeat(5000));
    assert_eq!(status(&net.send(ALICE, request.header(HeaderName::RecordRoute, long))), 513);
    assert_eq!(net.core(|core, _| core.statistics()).subscriptions, 0);
}

#[test]
fn a_refused_subscription_leaves_nothing() {
    let mut config = config();
    config.limits.subscriptions_per_user = 0;
    let mut net = Net::with(config);
    assert_eq!(status(&net.subscribe(ALICE, "sip:bob@example.com", 600)), 503);
    assert_eq!(net.core(|core, _| core.statistics().presentities), 0);
}

#[test]
fn a_watcher_that_refreshes_is_told_at_once_though_it_could_take_nothing_before() {
    let mut net = Net::new();
    let answer = net.subscribe(ALICE, "sip:bob@example.com", 600);
    net.run(2);
    net.client(ALICE, |alice| alice.answer_with = 503);
    net.publish(BOB, "lost", None);
    net.run(2);
    net.notes(ALICE);
    net.client(ALICE, |alice| alice.answer_with = 200);
    again(&mut net, ALICE, &answer, "600");
    net.run(1);
    assert_eq!(net.notes(ALICE), ["lost"]);
}
