//! What a notifier leaves out, shortens and paces: RFC 5839, RFC 5263, RFC 5264, RFC 6446.

#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use attache_documents::Limits;
use attache_documents::pidf_diff::{self, Replica, Update};
use attache_documents::tree::Tree;
use attache_sip::endpoint::Request;
use attache_sip::message::{HeaderName, Message, Method};
use common::{ALICE, BOB, Net, pidf, status, text};

const TO_BOB: &str = "sip:bob@example.com";

fn request(net: &mut Net, event: &str, accept: &str) -> Request {
    let request = net.client(ALICE, |client| {
        let contact = client.contact();
        client.request(Method::Subscribe, TO_BOB).header(HeaderName::Contact, contact)
    });
    request
        .header(HeaderName::Event, event)
        .header(HeaderName::Accept, accept)
        .header(HeaderName::Expires, "600")
}

fn subscribe(net: &mut Net, event: &str, accept: &str) -> Message {
    let request = request(net, event, accept);
    let answer = net.send(ALICE, request);
    assert_eq!(status(&answer), 200);
    answer
}

/// A SUBSCRIBE within the dialog that `answer` began.
fn again(net: &mut Net, answer: &Message, expires: &str, etag: Option<&str>) -> Message {
    let mut request = request(net, "presence", "application/pidf+xml");
    request.uri = answer.contacts().next().unwrap().unwrap().uri().unwrap().as_str().to_owned();
    request.headers.retain(|(name, _)| {
        ![HeaderName::From, HeaderName::To, HeaderName::CallId, HeaderName::Expires]
            .iter()
            .any(|known| *name == (*known).into())
    });
    let mut request = request
        .from(text(answer, HeaderName::From))
        .to(text(answer, HeaderName::To))
        .call_id(text(answer, HeaderName::CallId))
        .header(HeaderName::Expires, expires);
    if let Some(etag) = etag {
        request = request.header(HeaderName::SuppressIfMatch, etag);
    }
    net.send(ALICE, request)
}

fn notifies(net: &mut Net) -> Vec<Message> {
    net.received(ALICE, Method::Notify)
}

const WHOLE: &str = "application/pidf+xml";
const CHANGES: &str = "application/pidf+xml;q=0.3, application/pidf-diff+xml;q=1";

#[test]
fn every_notify_names_its_state() {
    let mut net = Net::new();
    subscribe(&mut net, "presence", WHOLE);
    net.run(1);
    net.publish(BOB, "here", None);
    net.run(2);
    let tags: Vec<_> = notifies(&mut net).iter().map(|notify| text(notify, HeaderName::SipEtag)).collect();
    assert!(tags.len() == 2 && !tags[0].is_empty() && tags[0] != tags[1], "{tags:?}");
}

#[test]
fn a_refresh_with_the_state_that_is_gets_no_notify() {
    let mut net = Net::new();
    let answer = subscribe(&mut net, "presence", WHOLE);
    net.run(1);
    let etag = text(&notifies(&mut net)[0], HeaderName::SipEtag);
    let kept = again(&mut net, &answer, "600", Some(&etag));
    assert_eq!((status(&kept), text(&kept, HeaderName::SipEtag)), (204, etag.clone()));
    assert_eq!(text(&kept, HeaderName::Expires), "600");
    assert_eq!(status(&again(&mut net, &answer, "600", Some("*"))), 204);
    net.run(5);
    assert!(notifies(&mut net).is_empty());
    net.publish(BOB, "here", None);
    net.run(2);
    assert_eq!(notifies(&mut net).len(), 1, "changes are told as ever");
    assert_eq!(status(&again(&mut net, &answer, "600", Some(&etag))), 200);
    net.run(2);
    assert_eq!(notifies(&mut net).len(), 1, "the old state is not the state");
}

#[test]
fn an_end_with_the_state_that_is_gets_no_notify() {
    let mut net = Net::new();
    let answer = subscribe(&mut net, "presence", WHOLE);
    net.run(1);
    let etag = text(&notifies(&mut net)[0], HeaderName::SipEtag);
    assert_eq!(status(&again(&mut net, &answer, "0", Some(&etag))), 204);
    net.run(5);
    assert!(notifies(&mut net).is_empty());
    assert_eq!(net.core(|core, _| core.statistics().subscriptions), 0);
}

#[test]
fn a_watcher_that_comes_back_with_its_state_gets_an_empty_notify() {
    let mut net = Net::new();
    net.publish(BOB, "here", None);
    subscribe(&mut net, "presence", WHOLE);
    net.run(1);
    let etag = text(&notifies(&mut net)[0], HeaderName::SipEtag);
    let request = request(&mut net, "presence", WHOLE).header(HeaderName::SuppressIfMatch, &*etag);
    assert_eq!(status(&net.send(ALICE, request)), 200);
    net.run(1);
    let [notify] = &notifies(&mut net)[..] else { panic!() };
    assert!(notify.body().is_empty());
    assert_eq!(text(notify, HeaderName::SipEtag), etag);
    assert!(text(notify, HeaderName::SubscriptionState).starts_with("active"));
}

/// A document of a desk with much to say, and a note.
fn desk(note: &str) -> String {
    let contact =
        "<contact>sip:bob@192.0.2.1:5060;transport=tcp;much=more-than-a-change-takes-up-of-itself</contact>";
    pidf(note).replace("<note>", &format!("{contact}<note>"))
}

fn publish(net: &mut Net, content_type: &str, body: String, etag: Option<&str>) -> Message {
    let request = net.client(BOB, |client| client.request(Method::Publish, TO_BOB));
    let mut request = request.header(HeaderName::Event, "presence");
    if let Some(etag) = etag {
        request = request.header(HeaderName::SipIfMatch, etag);
    }
    net.send(BOB, request.body(content_type, body))
}

fn tree(text: &str) -> Tree {
    Tree::read(text.as_bytes(), &Limits::DEFAULT).unwrap()
}

#[test]
fn a_watcher_of_changes_gets_everything_once_and_then_what_changed() {
    let mut net = Net::new();
    let etag = text(&publish(&mut net, WHOLE, desk("here"), None), HeaderName::SipEtag);
    let answer = subscribe(&mut net, "presence", CHANGES);
    net.run(2);
    let etag = text(&publish(&mut net, WHOLE, desk("away"), Some(&etag)), HeaderName::SipEtag);
    net.run(2);
    publish(&mut net, WHOLE, desk("back"), Some(&etag));
    net.run(2);
    let mut replica = Replica::default();
    let mut kinds = Vec::new();
    for notify in notifies(&mut net) {
        assert_eq!(text(&notify, HeaderName::ContentType), "application/pidf-diff+xml");
        let update = pidf_diff::read(notify.body(), &Limits::DEFAULT).unwrap();
        kinds.push(matches!(update, Update::Full { .. }));
        replica.take(update).unwrap();
    }
    assert_eq!(kinds, [true, false, false]);
    let (there, wanted) = (replica.presence().unwrap(), tree(&desk("back")));
    assert!(there.same(there.root(), &wanted, wanted.root()));
    assert_eq!(status(&again(&mut net, &answer, "600", None)), 200);
    net.run(1);
    let [notify] = &notifies(&mut net)[..] else { panic!() };
    let update = pidf_diff::read(notify.body(), &Limits::DEFAULT).unwrap();
    assert!(matches!(update, Update::Full { .. }), "a refresh brings everything");
}

#[test]
fn a_watcher_of_changes_sees_what_needs_putting_right_too() {
    let mut net = Net::new();
    subscribe(&mut net, "presence", CHANGES);
    net.run(2);
    notifies(&mut net);
    let bare = pidf("bare").replace(" xmlns=\"urn:ietf:params:xml:ns:pidf\"", "");
    assert_eq!(status(&publish(&mut net, WHOLE, bare, None)), 200);
    net.run(2);
    let [notify] = &notifies(&mut net)[..] else { panic!() };
    let update = pidf_diff::read(notify.body(), &Limits::DEFAULT).unwrap();
    assert!(matches!(update, Update::Full { .. } | Update::Diff { .. }));
    assert!(String::from_utf8_lossy(notify.body()).contains("bare"));
}

#[test]
fn a_watcher_of_changes_sees_more_elements_than_one_document_may_have() {
    let mut net = Net::new();
    let wide = |tag: &str| {
        let unknown = format!("<x{tag} xmlns=\"urn:x\"/>").repeat(2_000);
        pidf(tag).replace("</presence>", &format!("{unknown}</presence>"))
    };
    for tag in ["a", "b", "c", "d", "e"] {
        assert_eq!(status(&publish(&mut net, WHOLE, wide(tag), None)), 200);
    }
    subscribe(&mut net, "presence", CHANGES);
    net.run(2);
    let notify = notifies(&mut net).pop().unwrap();
    let shown = String::from_utf8_lossy(notify.body()).into_owned();
    assert!(
        ["a", "b", "c", "d", "e"].iter().all(|tag| shown.contains(&format!("<note>{tag}</note>"))),
        "{shown}"
    );
}

#[test]
fn a_watcher_of_changes_that_lost_one_gets_everything() {
    let mut net = Net::new();
    let etag = text(&publish(&mut net, WHOLE, desk("here"), None), HeaderName::SipEtag);
    subscribe(&mut net, "presence", CHANGES);
    net.run(2);
    net.client(ALICE, |alice| alice.answer_with = 503);
    publish(&mut net, WHOLE, desk("away"), Some(&etag));
    net.run(2);
    notifies(&mut net);
    net.client(ALICE, |alice| alice.answer_with = 200);
    net.run(10);
    let [notify] = &notifies(&mut net)[..] else { panic!() };
    let update = pidf_diff::read(notify.body(), &Limits::DEFAULT).unwrap();
    assert!(matches!(update, Update::Full { .. }));
}

#[test]
fn who_prefers_whole_documents_gets_them() {
    let mut net = Net::new();
    subscribe(&mut net, "presence", "application/pidf+xml, application/pidf-diff+xml;q=0.5");
    net.run(1);
    assert_eq!(text(&notifies(&mut net)[0], HeaderName::ContentType), WHOLE);
}

#[test]
fn a_publication_can_say_what_changed() {
    let mut net = Net::new();
    let (here, away) = (tree(&desk("here")), tree(&desk("away")));
    let full = pidf_diff::write_full(&here, None).unwrap();
    let first = publish(&mut net, pidf_diff::MEDIA_TYPE, full, None);
    assert_eq!(status(&first), 200);
    subscribe(&mut net, "presence", WHOLE);
    net.run(1);
    assert_eq!(net.notes(ALICE), ["here"]);
    let changes = pidf_diff::diff(&here, &away).unwrap().write(None).unwrap();
    let etag = text(&first, HeaderName::SipEtag);
    assert_eq!(status(&publish(&mut net, pidf_diff::MEDIA_TYPE, changes, Some(&etag))), 200);
    net.run(2);
    assert_eq!(net.notes(ALICE), ["away"]);
}

#[test]
fn changes_that_do_not_fit_are_refused_and_change_nothing() {
    let mut net = Net::new();
    let etag = text(&publish(&mut net, WHOLE, desk("here"), None), HeaderName::SipEtag);
    let misfit = "<p:pidf-diff xmlns:p=\"urn:ietf:params:xml:ns:pidf-diff\"><p:remove sel=\"*/nothing\"/></p:pidf-diff>";
    let refused = publish(&mut net, pidf_diff::MEDIA_TYPE, misfit.into(), Some(&etag));
    assert_eq!(status(&refused), 400);
    assert_eq!(text(&refused, HeaderName::ContentType), "application/patch-ops-error+xml");
    assert!(std::str::from_utf8(refused.body()).unwrap().contains("<unlocated-node/>"));
    assert_eq!(
        status(&publish(&mut net, pidf_diff::MEDIA_TYPE, misfit.into(), None)),
        400,
        "nothing to change"
    );
    subscribe(&mut net, "presence", WHOLE);
    net.run(1);
    assert_eq!(net.notes(ALICE), ["here"]);
    assert_eq!(status(&publish(&mut net, WHOLE, desk("away"), Some(&etag))), 200, "the tag is still good");
    let refused = publish(&mut net, "text/plain", "away".into(), None);
    assert!(text(&refused, HeaderName::Accept).contains("application/pidf-diff+xml"));
}

#[test]
fn a_greatest_rate_gathers_changes_and_is_confirmed() {
    let mut net = Net::new();
    subscribe(&mut net, "presence;max-rate=0.05", WHOLE);
    net.run(1);
    let first = notifies(&mut net).remove(0);
    assert!(text(&first, HeaderName::SubscriptionState).ends_with(";max-rate=0.05"));
    let mut etag: Option<String> = None;
    for note in ["one", "two", "three"] {
        etag = Some(text(&net.publish(BOB, note, etag.as_deref()), HeaderName::SipEtag));
        net.run(3);
    }
    assert!(notifies(&mut net).is_empty(), "not within twenty seconds");
    net.run(15);
    assert_eq!(net.notes(ALICE), ["three"]);
}

#[test]
fn a_least_rate_repeats_the_state() {
    let mut net = Net::new();
    net.publish(BOB, "here", None);
    subscribe(&mut net, "presence;min-rate=0.1", WHOLE);
    net.run(35);
    assert_eq!(net.notes(ALICE), ["here"; 4]);
}

#[test]
fn a_least_rate_is_granted_for_so_many_subscriptions_of_a_watcher_only() {
    let mut net = Net::new();
    for number in 0..202 {
        subscribe(&mut net, "presence;min-rate=0.001", WHOLE);
        net.run(1);
        let told = notifies(&mut net);
        let granted = text(&told[0], HeaderName::SubscriptionState).contains("min-rate");
        assert_eq!(granted, number < 200, "{number}");
    }
}

#[test]
fn a_refresh_is_of_the_package_that_the_dialog_is_of() {
    let mut net = Net::new();
    let answer = subscribe(&mut net, "presence", WHOLE);
    net.run(1);
    notifies(&mut net);
    for (event, refused) in [("presence.winfo", 489), ("presence;id=2", 481)] {
        let mut other = request(&mut net, event, "*/*");
        other.uri = answer.contacts().next().unwrap().unwrap().uri().unwrap().as_str().to_owned();
        other.headers.retain(|(name, _)| {
            let ours = [HeaderName::From, HeaderName::To, HeaderName::CallId];
            !ours.iter().any(|known| *name == (*known).into())
        });
        let other = other
            .from(text(&answer, HeaderName::From))
            .to(text(&answer, HeaderName::To))
            .call_id(text(&answer, HeaderName::CallId));
        assert_eq!(status(&net.send(ALICE, other)), refused);
    }
    assert_eq!(status(&again(&mut net, &answer, "600", None)), 200);
}

#[test]
fn an_adaptive_rate_counts_what_comes_anyway() {
    let mut net = Net::new();
    subscribe(&mut net, "presence;adaptive-min-rate=0.1", WHOLE);
    net.run(1);
    let mut etag: Option<String> = None;
    for number in 0..9 {
        etag = Some(text(&net.publish(BOB, &number.to_string(), etag.as_deref()), HeaderName::SipEtag));
        net.run(2);
    }
    assert_eq!(notifies(&mut net).len(), 10);
    net.run(20);
    assert!(notifies(&mut net).is_empty(), "ten in twenty seconds are enough for some time");
    net.run(120);
    assert!(notifies(&mut net).len() >= 5, "but not for ever");
}

#[test]
fn a_refresh_changes_the_rates() {
    let mut net = Net::new();
    let answer = subscribe(&mut net, "presence;max-rate=0.01", WHOLE);
    net.run(1);
    again(&mut net, &answer, "600", None);
    net.run(2);
    notifies(&mut net);
    net.publish(BOB, "here", None);
    net.run(2);
    assert_eq!(net.notes(ALICE), ["here"]);
}
