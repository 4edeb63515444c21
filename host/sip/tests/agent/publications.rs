//! Publications (RFC 3903).

use attache_sip::agent::{AgentEvent, PublicationId};
use attache_sip::endpoint::Response;
use attache_sip::message::HeaderName;
use attache_sip::usage::{Patch, PublicationState, PublishParams};

use crate::pair::{Incoming, Pair, client, seconds};

fn publish(pair: &mut Pair, expires: u32) -> (PublicationId, Incoming) {
    let params = PublishParams { expires, ..PublishParams::presence("<one/>") };
    let id = pair.agent(|agent, now| agent.publish(now, params));
    (id, pair.expect("PUBLISH"))
}

fn hold(pair: &mut Pair, publish: &Incoming, etag: &str, expires: u32) {
    let response =
        Response::new(200).header(HeaderName::SipEtag, etag).header(HeaderName::Expires, expires.to_string());
    pair.respond(publish, &response);
}

fn state(pair: &mut Pair) -> PublicationState {
    match pair.event() {
        AgentEvent::Publication { state, .. } => state,
        event => panic!("an unexpected event: {event:?}"),
    }
}

/// A publication that the service holds under the tag `e1`.
fn held(pair: &mut Pair, expires: u32) -> PublicationId {
    let (id, request) = publish(pair, expires);
    hold(pair, &request, "e1", expires);
    assert_eq!(state(pair), PublicationState::Published { expires: seconds(u64::from(expires)) });
    id
}

#[test]
fn the_first_publish_carries_the_document_and_no_tag() {
    let mut pair = Pair::new();
    let (_, request) = publish(&mut pair, 600);
    assert_eq!(request.message.request_uri_bytes(), b"sip:alice@example.com");
    assert_eq!(request.header(HeaderName::Event), "presence");
    assert_eq!(request.message.body(), b"<one/>");
    assert!(!request.has(HeaderName::SipIfMatch));
}

#[test]
fn a_refresh_carries_the_tag_and_no_document() {
    let mut pair = Pair::new();
    held(&mut pair, 600);
    let refresh = pair.expect("PUBLISH");
    assert!((420..511).contains(&pair.sim.elapsed().as_secs()));
    assert_eq!(refresh.header(HeaderName::SipIfMatch), "e1");
    assert!(refresh.message.body().is_empty());
    hold(&mut pair, &refresh, "e2", 600);
    let next = pair.expect("PUBLISH");
    assert_eq!(next.header(HeaderName::SipIfMatch), "e2", "each answer brings a new tag");
}

#[test]
fn a_change_carries_the_tag_and_the_document() {
    let mut pair = Pair::new();
    let id = held(&mut pair, 600);
    pair.agent(|agent, now| agent.modify(now, id, "<two/>"));
    let change = pair.expect("PUBLISH");
    assert_eq!(change.header(HeaderName::SipIfMatch), "e1");
    assert_eq!(change.message.body(), b"<two/>");
}

#[test]
fn changes_while_a_request_is_on_its_way_become_one() {
    let mut pair = Pair::new();
    let (id, request) = publish(&mut pair, 600);
    for text in ["<two/>", "<three/>", "<four/>"] {
        pair.agent(|agent, now| agent.modify(now, id, text));
    }
    hold(&mut pair, &request, "e1", 600);
    let change = pair.expect("PUBLISH");
    assert_eq!(change.message.body(), b"<four/>");
    hold(&mut pair, &change, "e2", 600);
    assert!(matches!(state(&mut pair), PublicationState::Published { .. }));
    pair.quiet(seconds(300));
}

#[test]
fn a_tag_that_the_service_forgot_begins_anew() {
    let mut pair = Pair::new();
    held(&mut pair, 600);
    let refresh = pair.expect("PUBLISH");
    pair.answer(&refresh, 412);
    let anew = pair.expect("PUBLISH");
    assert!(!anew.has(HeaderName::SipIfMatch));
    assert_eq!(anew.message.body(), b"<one/>");
    hold(&mut pair, &anew, "e9", 600);
    assert!(matches!(state(&mut pair), PublicationState::Published { .. }));
}

#[test]
fn a_service_that_gives_no_tag_gets_the_document_each_time() {
    let mut pair = Pair::new();
    let (_, request) = publish(&mut pair, 600);
    pair.respond(&request, &Response::new(200).header(HeaderName::Expires, "600"));
    assert!(matches!(state(&mut pair), PublicationState::Published { .. }));
    let refresh = pair.expect("PUBLISH");
    assert!(!refresh.has(HeaderName::SipIfMatch));
    assert_eq!(refresh.message.body(), b"<one/>");
}

#[test]
fn too_brief_an_interval_is_raised_once() {
    let mut pair = Pair::new();
    let (_, request) = publish(&mut pair, 10);
    pair.respond(&request, &Response::new(423).header(HeaderName::MinExpires, "60"));
    let again = pair.expect("PUBLISH");
    assert_eq!(again.header(HeaderName::Expires), "60");
    assert_eq!(again.message.body(), b"<one/>");
    pair.respond(&again, &Response::new(423).header(HeaderName::MinExpires, "99"));
    assert!(state(&mut pair).is_final());
}

#[test]
fn removing_withdraws_the_document() {
    let mut pair = Pair::new();
    let id = held(&mut pair, 600);
    pair.agent(|agent, now| agent.remove(now, id));
    let removal = pair.expect("PUBLISH");
    assert_eq!(removal.header(HeaderName::Expires), "0");
    assert_eq!(removal.header(HeaderName::SipIfMatch), "e1");
    assert!(removal.message.body().is_empty());
    pair.answer(&removal, 200);
    assert_eq!(state(&mut pair), PublicationState::Removed { confirmed: true });
    pair.quiet(seconds(7200));
}

#[test]
fn removing_while_the_first_publish_is_on_its_way_withdraws_it_after_all() {
    let mut pair = Pair::new();
    let (id, request) = publish(&mut pair, 600);
    pair.agent(|agent, now| agent.remove(now, id));
    hold(&mut pair, &request, "e1", 600);
    let removal = pair.expect("PUBLISH");
    assert_eq!(removal.header(HeaderName::Expires), "0");
    assert_eq!(removal.header(HeaderName::SipIfMatch), "e1");
}

#[test]
fn after_a_sleep_beyond_the_expiry_the_tag_is_not_used() {
    let mut pair = Pair::new();
    held(&mut pair, 600);
    pair.sim.kill(client());
    pair.sim.run_for(seconds(5000));
    pair.sim.revive(client());
    let anew = pair.expect("PUBLISH");
    assert!(!anew.has(HeaderName::SipIfMatch), "nothing is left to refresh");
    assert_eq!(anew.message.body(), b"<one/>");
}

#[test]
fn an_outage_is_retried_with_the_newest_document() {
    let mut pair = Pair::new();
    let (id, request) = publish(&mut pair, 600);
    pair.answer(&request, 503);
    assert!(matches!(state(&mut pair), PublicationState::Retrying { .. }));
    pair.agent(|agent, now| agent.modify(now, id, "<two/>"));
    pair.quiet(seconds(1));
    let again = pair.expect("PUBLISH");
    assert_eq!(again.message.body(), b"<two/>");
}

#[test]
fn a_refused_publication_is_told_and_not_tried_again() {
    let mut pair = Pair::new();
    let (_, request) = publish(&mut pair, 600);
    pair.answer(&request, 489);
    let state = state(&mut pair);
    assert!(matches!(&state, PublicationState::Failed { cause } if cause.status() == Some(489)), "{state:?}");
    pair.quiet(seconds(86_400));
}

fn patch(body: &'static str) -> Patch {
    Patch { content_type: "application/pidf-diff+xml".into(), body: body.into() }
}

#[test]
fn what_changed_is_enough_for_a_service_that_holds_the_rest() {
    let mut pair = Pair::new();
    let id = held(&mut pair, 600);
    pair.agent(|agent, now| agent.modify_partly(now, id, "<two/>", patch("<diff/>")));
    let partial = pair.expect("PUBLISH");
    assert_eq!(partial.header(HeaderName::SipIfMatch), "e1");
    assert_eq!(partial.header(HeaderName::ContentType), "application/pidf-diff+xml");
    assert_eq!(partial.message.body(), b"<diff/>");
    hold(&mut pair, &partial, "e2", 600);
    assert!(matches!(state(&mut pair), PublicationState::Published { .. }));
}

#[test]
fn a_service_that_takes_no_patches_gets_the_whole_now_and_in_future() {
    let mut pair = Pair::new();
    let id = held(&mut pair, 600);
    pair.agent(|agent, now| agent.modify_partly(now, id, "<two/>", patch("<diff/>")));
    let partial = pair.expect("PUBLISH");
    pair.answer(&partial, 415);
    let whole = pair.expect("PUBLISH");
    assert_eq!(whole.message.body(), b"<two/>");
    hold(&mut pair, &whole, "e2", 600);
    assert!(matches!(state(&mut pair), PublicationState::Published { .. }));
    pair.agent(|agent, now| agent.modify_partly(now, id, "<three/>", patch("<diff/>")));
    assert_eq!(pair.expect("PUBLISH").message.body(), b"<three/>");
}

#[test]
fn a_patch_of_what_the_service_does_not_hold_is_not_sent() {
    let mut pair = Pair::new();
    let (id, first) = publish(&mut pair, 600);
    // The first document is on its way still.
    pair.agent(|agent, now| agent.modify_partly(now, id, "<two/>", patch("<diff/>")));
    hold(&mut pair, &first, "e1", 600);
    let second = pair.expect("PUBLISH");
    assert_eq!(second.message.body(), b"<two/>");
    // The service forgot everything.
    hold(&mut pair, &second, "e2", 600);
    assert!(matches!(state(&mut pair), PublicationState::Published { .. }));
    pair.agent(|agent, now| agent.modify_partly(now, id, "<three/>", patch("<diff/>")));
    let partial = pair.expect("PUBLISH");
    pair.answer(&partial, 412);
    let anew = pair.expect("PUBLISH");
    assert!(!anew.has(HeaderName::SipIfMatch));
    assert_eq!(anew.message.body(), b"<three/>");
}
