//! Conferences (RFC 4579), what their members write (RFC 7701), and who is there (RFC 4575).

#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use std::collections::BTreeMap;

use attache_documents::conference_info::{self, ConferenceInfo, State};
use attache_documents::recipients::{self, Recipient};
use attache_documents::{Limits, multipart};
use attache_sip::endpoint::{Request, Response};
use attache_sip::message::{HeaderName, Message, Method};
use common::calls::Dialog;
use common::streams::{FACTORY, Seat, Streams, conference_config};
use common::{ALICE, BOB, CAROL, Net, PHONE, status, text};

const IS_ALICE: &str = "sip:alice@example.com";
const IS_BOB: &str = "sip:bob@example.com";
const IS_CAROL: &str = "sip:carol@example.com";

/// Everybody is registered, Bob at one device, and answers by hand.
fn net() -> (Net, Streams) {
    with(conference_config())
}

fn with(config: attache_service::CoreConfig) -> (Net, Streams) {
    let mut net = Net::with(config);
    for at in [ALICE, BOB, CAROL] {
        assert_eq!(status(&net.register(at, 3600)), 200);
        net.client(at, |client| client.is_slow = true);
    }
    net.client(PHONE, |client| client.is_slow = true);
    (net, Streams::default())
}

/// A factory call that names others (RFC 5366).
fn call_with_others(net: &mut Net, streams: &mut Streams, others: &[&str]) -> Seat {
    let (session, invite) = streams.call(net, ALICE, FACTORY);
    let invite = with_list(invite, others);
    streams.sit(net, ALICE, session, invite)
}

fn with_list(mut invite: Request, others: &[&str]) -> Request {
    let list: Vec<Recipient> =
        others.iter().map(|uri| Recipient { uri: (*uri).to_owned(), ..Recipient::default() }).collect();
    let (_, offer) = invite.body.take().unwrap();
    let mut writer = multipart::Writer::new("line");
    writer.part("application/sdp", None, &offer);
    writer.part(recipients::MEDIA_TYPE, None, recipients::write(&list).as_bytes());
    let kind = writer.mixed_type();
    invite.header(HeaderName::Require, "recipient-list-invite").body(kind, writer.finish())
}

fn refer(net: &mut Net, seat: &mut Seat, to: &str) -> Message {
    let refer = seat.dialog.request(Method::Refer);
    let contact = net.client(&seat.at, |client| client.contact());
    let refer = refer.header(HeaderName::Contact, contact).header(HeaderName::ReferTo, format!("<{to}>"));
    net.send_once(&seat.at, refer)
}

/// What a member's REFERs have come to: first lines, and whether that was the last word.
fn progress(net: &mut Net, at: &str) -> Vec<(String, bool)> {
    while net.client(at, |client| !client.ringing.is_empty()) {
        net.reply(at, &Response::new(200));
    }
    let all = net.received(at, Method::Notify);
    let all = all.iter().filter(|notify| notify.event().unwrap().package == "refer");
    all.map(|notify| {
        assert!(text(notify, HeaderName::ContentType).starts_with("message/sipfrag"));
        let line = String::from_utf8(notify.body().to_vec()).unwrap().trim().to_owned();
        (line, text(notify, HeaderName::SubscriptionState).starts_with("terminated"))
    })
    .collect()
}

fn leave(net: &mut Net, seat: &mut Seat) {
    let bye = seat.dialog.request(Method::Bye);
    assert_eq!(status(&net.send_once(&seat.at, bye)), 200);
}

fn conferences(net: &mut Net) -> usize {
    net.core(|core, _| core.statistics().conferences)
}

fn watch(net: &mut Net, seat: &Seat) -> Message {
    net.client(&seat.at, |client| client.is_slow = false);
    let request = net.client(&seat.at, |client| {
        let contact = client.contact();
        client.request(Method::Subscribe, &seat.conference).header(HeaderName::Contact, contact)
    });
    let request = request.header(HeaderName::Event, "conference");
    net.send(&seat.at, request.header(HeaderName::Expires, "600"))
}

fn rosters(net: &mut Net, at: &str) -> Vec<ConferenceInfo> {
    let all = net.received(at, Method::Notify);
    let all = all
        .iter()
        .filter(|notify| notify.event().unwrap().package == "conference" && !notify.body().is_empty());
    all.map(|notify| conference_info::read(notify.body(), &Limits::DEFAULT).unwrap().document).collect()
}

/// Users of a document, and whether they are connected; `None` for those who are gone.
fn people(document: &ConferenceInfo) -> BTreeMap<String, Option<bool>> {
    let one = |user: &conference_info::User| {
        let state = (user.state != State::Deleted).then(|| user.is_connected());
        (user.entity.clone(), state)
    };
    document.users.iter().map(one).collect()
}

#[test]
fn a_call_to_the_factory_makes_a_conference_of_ones_own() {
    let (mut net, mut streams) = net();
    let (session, invite) = streams.call(&mut net, ALICE, FACTORY);
    let answer = net.send(ALICE, invite.header(HeaderName::Subject, "Lunch"));
    assert_eq!(status(&answer), 200);
    streams.take(&net, ALICE, session, &answer);
    let contact = text(&answer, HeaderName::Contact);
    assert!(contact.starts_with("<sip:conf-") && contact.ends_with("@example.com>;isfocus"), "{contact}");
    assert!(contact.len() > "<sip:conf-@example.com>;isfocus".len() + 30, "nobody guesses it");
    assert!(String::from_utf8_lossy(answer.body()).contains("s=Lunch"));
    let mut first = Dialog::of_caller(&answer);
    let ack = first.request(Method::Ack);
    net.acknowledge(ALICE, &ack);
    let second = streams.join(&mut net, CAROL, FACTORY);
    assert_ne!(first.target, second.conference);
    assert_eq!(conferences(&mut net), 2);
}

#[test]
fn the_answer_is_said_again_until_it_is_acknowledged_and_then_given_up() {
    let (mut net, mut streams) = net();
    let (session, invite) = streams.call(&mut net, ALICE, FACTORY);
    let answer = net.send(ALICE, invite);
    streams.take(&net, ALICE, session, &answer);
    streams.run(&mut net, 10);
    let repeats = net.client(ALICE, |alice| alice.progress.iter().filter(|one| status(one) == 200).count());
    assert!((3..8).contains(&repeats), "{repeats}");
    assert_eq!(conferences(&mut net), 1);
    streams.run(&mut net, 40);
    assert_eq!(net.rings(ALICE).method(), Some(Method::Bye), "it is hung up");
    assert_eq!(conferences(&mut net), 0);
}

#[test]
fn others_who_are_named_are_called_and_what_is_written_reaches_all_others() {
    let (mut net, mut streams) = net();
    let alice = call_with_others(&mut net, &mut streams, &[IS_BOB, IS_CAROL, "sip:nobody@example.com"]);
    let invite = net.rings(BOB);
    assert_eq!(text(&invite, HeaderName::ReferredBy), "<sip:alice@example.com>");
    assert!(text(&invite, HeaderName::Contact).ends_with(";isfocus"));
    let bob = streams.accept(&mut net, BOB);
    let carol = streams.accept(&mut net, CAROL);
    assert_eq!((&bob.conference, &carol.conference), (&alice.conference, &alice.conference));
    streams.write(&mut net, &alice, IS_ALICE, &alice.conference, "hello all");
    streams.write(&mut net, &bob, IS_BOB, &alice.conference, "hello Alice");
    streams.run(&mut net, 1);
    assert_eq!(streams.heard(ALICE), ["hello Alice"]);
    assert_eq!(streams.heard(BOB), ["hello all"]);
    assert_eq!(streams.heard(CAROL), ["hello all", "hello Alice"]);
}

#[test]
fn a_private_message_reaches_one_member_alone() {
    let (mut net, mut streams) = net();
    let alice = call_with_others(&mut net, &mut streams, &[IS_BOB, IS_CAROL]);
    streams.accept(&mut net, BOB);
    streams.accept(&mut net, CAROL);
    streams.write(&mut net, &alice, IS_ALICE, IS_BOB, "between us");
    streams.run(&mut net, 1);
    assert_eq!(streams.heard(BOB), ["between us"]);
    assert!(streams.heard(CAROL).is_empty());
}

#[test]
fn nobody_writes_in_the_name_of_somebody_else_or_to_strangers() {
    let (mut net, mut streams) = net();
    let alice = call_with_others(&mut net, &mut streams, &[IS_BOB]);
    streams.accept(&mut net, BOB);
    let room = alice.conference.clone();
    for (from, to, refusal) in [
        (IS_BOB, &*room, 403),
        ("sip:alice@elsewhere.org", &*room, 403),
        (IS_ALICE, IS_CAROL, 404),
        (IS_ALICE, "sip:conf-0@example.com", 404),
        (IS_ALICE, "", 400),
        (IS_ALICE, "sip:bob@example.com>\r\nTo: <sip:carol@example.com", 403),
    ] {
        streams.write(&mut net, &alice, from, to, "x");
        streams.run(&mut net, 1);
        assert_eq!(streams.refusals(ALICE), [refusal], "{from} to {to}");
    }
    streams.write_raw(&mut net, &alice, "text/plain", "bare".into());
    streams.write_raw(&mut net, &alice, "message/cpim", "no wrapper".into());
    streams.run(&mut net, 1);
    assert_eq!(streams.refusals(ALICE), [415, 400]);
    assert!(streams.heard(BOB).is_empty());
}

#[test]
fn a_nickname_is_granted_once_and_never_looks_like_somebody_else() {
    let (mut net, mut streams) = net();
    let alice = call_with_others(&mut net, &mut streams, &[IS_BOB]);
    let bob = streams.accept(&mut net, BOB);
    assert_eq!(streams.nickname(&mut net, &alice, "Queen"), Ok(()));
    for (name, refusal) in [("queen", 425), ("alice@example.com", 425), (&*"x".repeat(65), 423)] {
        assert_eq!(streams.nickname(&mut net, &bob, name), Err(refusal), "{name}");
    }
    assert_eq!(streams.nickname(&mut net, &alice, ""), Ok(()));
    assert_eq!(streams.nickname(&mut net, &bob, "Queen"), Ok(()));
    watch(&mut net, &alice);
    streams.run(&mut net, 2);
    let roster = rosters(&mut net, ALICE).pop().unwrap();
    let nickname = |who: &str| roster.users.iter().find(|user| user.entity == who).unwrap().nickname.clone();
    assert_eq!((nickname(IS_BOB).as_deref(), nickname(IS_ALICE)), (Some("Queen"), None));
}

#[test]
fn members_are_told_who_comes_and_goes() {
    let (mut net, mut streams) = net();
    let mut alice = streams.join(&mut net, ALICE, FACTORY);
    assert_eq!(status(&watch(&mut net, &alice)), 200);
    streams.run(&mut net, 2);
    let first = rosters(&mut net, ALICE);
    assert_eq!((first.len(), first[0].version, first[0].state), (1, 0, State::Full));
    assert_eq!(first[0].entity, alice.conference);
    assert_eq!(people(&first[0]), [(IS_ALICE.to_owned(), Some(true))].into());
    assert_eq!(status(&refer(&mut net, &mut alice, IS_BOB)), 202);
    streams.run(&mut net, 2);
    let second = rosters(&mut net, ALICE);
    assert_eq!((second[0].version, second[0].state), (1, State::Partial));
    assert_eq!(people(&second[0]), [(IS_BOB.to_owned(), Some(false))].into());
    let mut bob = streams.accept(&mut net, BOB);
    streams.run(&mut net, 2);
    let third = rosters(&mut net, ALICE);
    assert_eq!(people(third.last().unwrap()), [(IS_BOB.to_owned(), Some(true))].into());
    assert_eq!(third.last().unwrap().status.as_ref().unwrap().user_count, Some(2));
    leave(&mut net, &mut bob);
    streams.run(&mut net, 2);
    let fourth = rosters(&mut net, ALICE);
    assert_eq!(people(fourth.last().unwrap()), [(IS_BOB.to_owned(), None)].into());
    let mut whole = first[0].clone();
    for change in second.into_iter().chain(third).chain(fourth) {
        assert_eq!(change.version, whole.version + 1, "without a gap");
        whole.merge(change, 100);
    }
    assert_eq!(people(&whole), [(IS_ALICE.to_owned(), Some(true))].into());
}

#[test]
fn only_members_are_told_who_is_there() {
    let (mut net, mut streams) = net();
    let alice = streams.join(&mut net, ALICE, FACTORY);
    let mut bob = streams.join(&mut net, BOB, &alice.conference);
    let stranger = Seat { at: CAROL.to_owned(), dialog: alice.dialog.clone(), ..alice };
    assert_eq!(status(&watch(&mut net, &stranger)), 403);
    watch(&mut net, &bob);
    streams.run(&mut net, 2);
    assert_eq!(rosters(&mut net, BOB).len(), 1);
    net.client(BOB, |client| client.received.clear());
    leave(&mut net, &mut bob);
    streams.run(&mut net, 2);
    let last = net.received(BOB, Method::Notify).pop().unwrap();
    assert_eq!(text(&last, HeaderName::SubscriptionState), "terminated;reason=noresource");
    assert_eq!(net.core(|core, _| core.statistics().subscriptions), 0);
}

#[test]
fn a_member_brings_somebody_in_and_hears_how_it_went() {
    let (mut net, mut streams) = net();
    let mut alice = streams.join(&mut net, ALICE, FACTORY);
    assert_eq!(status(&refer(&mut net, &mut alice, IS_BOB)), 202);
    streams.accept(&mut net, BOB);
    let word = |line: &str, last| (line.to_owned(), last);
    assert_eq!(progress(&mut net, ALICE), [word("SIP/2.0 100 Trying", false), word("SIP/2.0 200 OK", true)]);
    refer(&mut net, &mut alice, IS_CAROL);
    net.rings(CAROL);
    net.reply(CAROL, &Response::new(603));
    streams.run(&mut net, 2);
    assert_eq!(
        progress(&mut net, ALICE),
        [word("SIP/2.0 100 Trying", false), word("SIP/2.0 603 Decline", true)]
    );
    net.register(CAROL, 0);
    refer(&mut net, &mut alice, IS_CAROL);
    streams.run(&mut net, 2);
    assert_eq!(progress(&mut net, ALICE).last().unwrap(), &word("SIP/2.0 480 Temporarily Unavailable", true));
}

#[test]
fn a_member_who_wants_no_news_of_a_referral_gets_none() {
    let (mut net, mut streams) = net();
    let mut alice = streams.join(&mut net, ALICE, FACTORY);
    let request = alice.dialog.request(Method::Refer).header(HeaderName::ReferTo, format!("<{IS_BOB}>"));
    let answer = net.send_once(ALICE, request.header(HeaderName::ReferSub, "false"));
    assert_eq!((status(&answer), text(&answer, HeaderName::ReferSub)), (202, "false".to_owned()));
    streams.accept(&mut net, BOB);
    assert!(progress(&mut net, ALICE).is_empty());
}

#[test]
fn a_referral_outside_the_members_dialog_works_as_well() {
    let (mut net, mut streams) = net();
    let alice = streams.join(&mut net, ALICE, FACTORY);
    let refer = net.client(ALICE, |client| {
        let contact = client.contact();
        client.request(Method::Refer, &alice.conference).header(HeaderName::Contact, contact)
    });
    let answer = net.send(ALICE, refer.header(HeaderName::ReferTo, format!("<{IS_BOB};method=INVITE>")));
    assert_eq!(status(&answer), 202);
    assert!(answer.to().unwrap().tag().is_some());
    streams.accept(&mut net, BOB);
    assert_eq!(progress(&mut net, ALICE).len(), 2);
    let stranger = net.client(CAROL, |client| {
        let contact = client.contact();
        client.request(Method::Refer, &alice.conference).header(HeaderName::Contact, contact)
    });
    let answer = net.send(CAROL, stranger.header(HeaderName::ReferTo, format!("<{IS_CAROL}>")));
    assert_eq!(status(&answer), 403);
}

#[test]
fn one_who_is_taken_out_is_hung_up_and_does_not_come_back() {
    let (mut net, mut streams) = net();
    let mut alice = call_with_others(&mut net, &mut streams, &[IS_BOB, IS_CAROL]);
    let bob = streams.accept(&mut net, BOB);
    let mut carol = streams.accept(&mut net, CAROL);
    assert_eq!(status(&refer(&mut net, &mut carol, &format!("{IS_BOB};method=BYE"))), 403, "not hers to say");
    assert_eq!(status(&refer(&mut net, &mut alice, &format!("{IS_BOB};method=BYE"))), 202);
    streams.run(&mut net, 1);
    assert_eq!(net.rings(BOB).method(), Some(Method::Bye));
    net.reply(BOB, &Response::new(200));
    streams.write(&mut net, &alice, IS_ALICE, &alice.conference, "without Bob");
    streams.run(&mut net, 1);
    assert!(streams.heard(BOB).is_empty());
    assert_eq!(streams.heard(CAROL), ["without Bob"]);
    let (_, invite) = streams.call(&mut net, BOB, &bob.conference);
    assert_eq!(status(&net.send(BOB, invite)), 403);
    refer(&mut net, &mut alice, IS_BOB);
    streams.accept(&mut net, BOB);
}

#[test]
fn the_first_of_several_devices_is_the_member() {
    let (mut net, mut streams) = net();
    net.register(PHONE, 3600);
    let mut alice = streams.join(&mut net, ALICE, FACTORY);
    refer(&mut net, &mut alice, IS_BOB);
    net.rings(BOB);
    net.rings(PHONE);
    net.reply(BOB, &Response::new(180));
    streams.accept(&mut net, PHONE);
    streams.run(&mut net, 1);
    assert_eq!(net.client(BOB, |bob| bob.cancelled.len()), 1);
    streams.write(&mut net, &alice, IS_ALICE, &alice.conference, "hi");
    streams.run(&mut net, 1);
    assert_eq!((streams.heard(PHONE).len(), streams.heard(BOB).len()), (1, 0));
}

#[test]
fn a_conference_ends_with_its_last_member_and_its_address_leads_nowhere() {
    let (mut net, mut streams) = net();
    let mut alice = streams.join(&mut net, ALICE, FACTORY);
    let mut bob = streams.join(&mut net, BOB, &alice.conference);
    leave(&mut net, &mut alice);
    streams.run(&mut net, 1);
    assert_eq!(conferences(&mut net), 1);
    refer(&mut net, &mut bob, IS_CAROL);
    net.rings(CAROL);
    net.reply(CAROL, &Response::new(180));
    leave(&mut net, &mut bob);
    streams.run(&mut net, 1);
    assert_eq!(conferences(&mut net), 0);
    assert_eq!(net.client(CAROL, |carol| carol.cancelled.len()), 1, "nobody is called any more");
    let (_, invite) = streams.call(&mut net, CAROL, &alice.conference);
    assert_eq!(status(&net.send(CAROL, invite)), 404);
}

#[test]
fn a_member_whose_connection_breaks_is_hung_up() {
    let (mut net, mut streams) = net();
    let alice = streams.join(&mut net, ALICE, FACTORY);
    streams.join(&mut net, BOB, &alice.conference);
    streams.cut(&mut net, BOB);
    streams.run(&mut net, 1);
    assert_eq!(net.rings(BOB).method(), Some(Method::Bye));
    assert_eq!(conferences(&mut net), 1);
}

#[test]
fn a_member_who_reads_nothing_loses_the_seat_and_holds_nobody_up() {
    let (mut net, mut streams) = net();
    let alice = streams.join(&mut net, ALICE, FACTORY);
    streams.join(&mut net, BOB, &alice.conference);
    let carol = streams.join(&mut net, CAROL, &alice.conference);
    streams.frozen.push(BOB.to_owned());
    for _ in 0..10 {
        streams.write(&mut net, &alice, IS_ALICE, &carol.conference, "is anybody there?");
    }
    streams.run(&mut net, 1);
    assert_eq!(streams.heard(CAROL).len(), 10);
    streams.run(&mut net, 40);
    assert_eq!(net.rings(BOB).method(), Some(Method::Bye));
    assert_eq!(conferences(&mut net), 1);
}

#[test]
fn one_who_writes_too_much_is_held_back_and_nobody_else_pays_for_it() {
    let mut config = conference_config();
    config.limits.conference_bytes = 4 * 1024 * 1024;
    let (mut net, mut streams) = with(config);
    let alice = streams.join(&mut net, ALICE, FACTORY);
    streams.join(&mut net, BOB, &alice.conference);
    for _ in 0..300 {
        streams.write(&mut net, &alice, IS_ALICE, &alice.conference, "flood");
    }
    assert_eq!(streams.heard(BOB).len(), 100);
    assert_eq!(streams.refusals(ALICE), vec![413; 200]);
    streams.run(&mut net, 2);
    for _ in 0..50 {
        streams.write(&mut net, &alice, IS_ALICE, &alice.conference, "again");
    }
    let again = streams.heard(BOB).len();
    assert!((35..=45).contains(&again), "twenty a second: {again}");
    // Long ones for a member who does not read them fill no more than there is room for.
    streams.run(&mut net, 10);
    streams.refusals(ALICE);
    streams.frozen.push(BOB.to_owned());
    let long = "x".repeat(15 * 1024);
    for count in [100, 20, 20, 20, 20, 20, 20] {
        for _ in 0..count {
            streams.write(&mut net, &alice, IS_ALICE, &alice.conference, &long);
        }
        streams.run(&mut net, 1);
    }
    let refused = streams.refusals(ALICE).len();
    assert!((10..40).contains(&refused), "{refused}");
    assert_eq!(net.client(BOB, |bob| bob.ringing.len()), 0, "he still has the time to read");
    assert_eq!(conferences(&mut net), 1);
}

#[test]
fn a_caller_who_never_opens_the_session_does_not_stay() {
    let (mut net, mut streams) = net();
    for _ in 0..3 {
        let (_, invite) = streams.call(&mut net, ALICE, FACTORY);
        let answer = net.send(ALICE, invite);
        let ack = Dialog::of_caller(&answer).request(Method::Ack);
        net.acknowledge(ALICE, &ack);
    }
    assert_eq!(conferences(&mut net), 3);
    streams.run(&mut net, 70);
    assert_eq!(conferences(&mut net), 0);
}

#[test]
fn a_member_who_describes_the_session_anew_goes_on() {
    let (mut net, mut streams) = net();
    let mut alice = streams.join(&mut net, ALICE, FACTORY);
    let bob = streams.join(&mut net, BOB, &alice.conference);
    let (session, offer) = streams.offer(ALICE);
    let contact = net.client(ALICE, |client| client.contact());
    let again = alice.dialog.request(Method::Invite).header(HeaderName::Contact, contact);
    let answer = net.send_once(ALICE, again.body("application/sdp", offer));
    assert_eq!(status(&answer), 200);
    streams.take(&net, ALICE, session, &answer);
    let ack = alice.dialog.request(Method::Ack);
    net.acknowledge(ALICE, &ack);
    streams.run(&mut net, 1);
    streams.write(&mut net, &bob, IS_BOB, &bob.conference, "still there?");
    streams.run(&mut net, 1);
    assert_eq!(streams.heard(ALICE), ["still there?"]);
    assert_eq!(conferences(&mut net), 1);
}

#[test]
fn what_cannot_be_a_session_for_messages_is_refused() {
    let (mut net, mut streams) = net();
    let offer = |net: &mut Net, kind: &str, body: &str| {
        let invite = net.client(ALICE, |client| {
            let contact = client.contact();
            client.request(Method::Invite, FACTORY).header(HeaderName::Contact, contact)
        });
        let invite = if body.is_empty() { invite } else { invite.body(kind, body.to_owned()) };
        status(&net.send(ALICE, invite))
    };
    assert_eq!(offer(&mut net, "", ""), 488, "no offer");
    assert_eq!(offer(&mut net, "application/sdp", common::calls::SDP), 488, "audio");
    assert_eq!(offer(&mut net, "application/sdp", "nonsense"), 400);
    assert_eq!(offer(&mut net, "text/plain", "hello"), 415);
    let (_, plain) = streams.offer(ALICE);
    let plain = plain.replace("message/cpim", "text/plain");
    assert_eq!(offer(&mut net, "application/sdp", &plain), 488, "no message/cpim");
    assert_eq!(conferences(&mut net), 0);
}

#[test]
fn conferences_and_their_members_are_bounded() {
    let mut config = conference_config();
    config.limits.conferences_per_user = 1;
    config.limits.conference_members = 2;
    let (mut net, mut streams) = with(config);
    let mut alice = streams.join(&mut net, ALICE, FACTORY);
    let (_, invite) = streams.call(&mut net, ALICE, FACTORY);
    assert_eq!(status(&net.send(ALICE, invite)), 503);
    streams.join(&mut net, BOB, &alice.conference);
    let (_, invite) = streams.call(&mut net, CAROL, &alice.conference);
    assert_eq!(status(&net.send(CAROL, invite)), 486);
    refer(&mut net, &mut alice, IS_CAROL);
    streams.run(&mut net, 1);
    assert_eq!(progress(&mut net, ALICE).last().unwrap().0, "SIP/2.0 486 Busy Here");
    let (_, invite) = streams.call(&mut net, CAROL, FACTORY);
    let others = [IS_ALICE, IS_BOB, IS_CAROL];
    assert_eq!(status(&net.send(CAROL, with_list(invite, &others))), 400, "more than there may be");
    assert_eq!(conferences(&mut net), 1);
}

#[test]
fn a_request_in_a_members_name_from_elsewhere_must_be_proved() {
    let (mut net, mut streams) = net();
    let mut alice = streams.join(&mut net, ALICE, FACTORY);
    let bye = alice.dialog.request(Method::Bye);
    assert_eq!(status(&net.send_once(CAROL, bye)), 407);
    let mut forged = alice.dialog.clone();
    forged.from = forged.from.replace("alice@", "carol@");
    let bye = forged.request(Method::Bye);
    assert_eq!(status(&net.send(CAROL, bye)), 403);
    assert_eq!(conferences(&mut net), 1);
}

#[test]
fn conferences_work_over_a_network_that_loses_much() {
    let (mut net, mut streams) = net();
    net.sim.set_default_link(attache_sip::sim::Link { loss: 0.25, ..attache_sip::sim::Link::default() });
    let mut alice = streams.join(&mut net, ALICE, FACTORY);
    refer(&mut net, &mut alice, IS_BOB);
    let bob = streams.accept(&mut net, BOB);
    streams.run(&mut net, 60);
    streams.write(&mut net, &bob, IS_BOB, &bob.conference, "through it all");
    streams.run(&mut net, 1);
    assert_eq!(streams.heard(ALICE), ["through it all"]);
}

#[test]
fn without_a_factory_there_are_no_conferences() {
    let (mut net, mut streams) = with(common::config());
    let (_, invite) = streams.call(&mut net, ALICE, FACTORY);
    assert_eq!(status(&net.send(ALICE, invite)), 404);
}

#[test]
fn a_message_that_names_two_senders_reaches_nobody() {
    let (mut net, mut streams) = net();
    let alice = call_with_others(&mut net, &mut streams, &[IS_BOB]);
    streams.accept(&mut net, BOB);
    let to = &alice.conference;
    for senders in [
        format!("From: Carol <{IS_CAROL}> here\r\nFrom: <{IS_ALICE}>"),
        format!("From: <{IS_ALICE}>\r\nFrom: <{IS_CAROL}>"),
    ] {
        let body = format!("{senders}\r\nTo: <{to}>\r\n\r\nContent-Type: text/plain\r\n\r\nsend me money");
        streams.write_raw(&mut net, &alice, "message/cpim", body);
        streams.run(&mut net, 1);
        assert_eq!(streams.refusals(ALICE), [400]);
    }
    assert!(streams.heard(BOB).is_empty());
}

#[test]
fn a_member_who_is_silently_gone_loses_the_seat() {
    let (mut net, mut streams) = net();
    let alice = streams.join(&mut net, ALICE, FACTORY);
    let bob = streams.join(&mut net, BOB, FACTORY);
    assert_ne!(alice.conference, bob.conference);
    for at in [ALICE, BOB] {
        net.client(at, |client| client.is_slow = false);
    }
    net.run(400);
    assert_eq!(conferences(&mut net), 2);
    // His connection stays as it is, but nobody is at its end.
    net.sim.kill(BOB.parse().unwrap());
    net.run(400);
    assert_eq!(conferences(&mut net), 1);
    // A device that has started anew knows nothing of the call.
    net.client(ALICE, |alice| alice.answer_with = 481);
    net.run(301);
    assert_eq!(conferences(&mut net), 0);
}

#[test]
fn a_device_that_cannot_be_a_member_leaves_the_others_ringing() {
    let (mut net, mut streams) = net();
    net.register(PHONE, 3600);
    let mut alice = streams.join(&mut net, ALICE, FACTORY);
    refer(&mut net, &mut alice, IS_BOB);
    net.rings(PHONE);
    net.rings(BOB);
    let contact = net.client(BOB, |bob| bob.contact());
    let audio = common::calls::answered(200, "audio", &contact).body("application/sdp", common::calls::SDP);
    net.reply(BOB, &audio);
    streams.run(&mut net, 1);
    assert_eq!(net.rings(BOB).method(), Some(Method::Bye));
    streams.accept(&mut net, PHONE);
    assert_eq!(progress(&mut net, ALICE).last().unwrap(), &("SIP/2.0 200 OK".to_owned(), true));
    // Where it was the only one, that is told, and rings for nobody.
    net.register(PHONE, 0);
    let mut carol = streams.join(&mut net, CAROL, FACTORY);
    net.client(BOB, |bob| bob.ringing.clear());
    refer(&mut net, &mut carol, IS_BOB);
    net.rings(BOB);
    net.reply(BOB, &audio);
    streams.run(&mut net, 1);
    assert_eq!(progress(&mut net, CAROL).last().unwrap().0, "SIP/2.0 488 Not Acceptable Here");
}

#[test]
fn nobody_has_more_people_called_at_once_than_a_conference_holds() {
    let mut config = conference_config();
    config.limits.conference_members = 2;
    config.limits.conference_seats_per_user = 4;
    let (mut net, mut streams) = with(config);
    for other in [IS_BOB, IS_CAROL] {
        call_with_others(&mut net, &mut streams, &[other]);
    }
    let mut third = streams.join(&mut net, ALICE, FACTORY);
    refer(&mut net, &mut third, IS_BOB);
    streams.run(&mut net, 1);
    assert_eq!(progress(&mut net, ALICE).last().unwrap().0, "SIP/2.0 503 Service Unavailable");
    assert_eq!(net.client(BOB, |bob| bob.ringing.len()), 1);
    net.reply(BOB, &Response::new(486));
    streams.run(&mut net, 1);
    refer(&mut net, &mut third, IS_BOB);
    assert_eq!(net.rings(BOB).method(), Some(Method::Invite));
}

#[test]
fn being_called_takes_no_seat() {
    let mut config = conference_config();
    config.limits.conference_seats_per_user = 1;
    let (mut net, mut streams) = with(config);
    call_with_others(&mut net, &mut streams, &[IS_BOB]);
    net.rings(BOB);
    streams.join(&mut net, BOB, FACTORY);
    assert_eq!(conferences(&mut net), 2);
    let (_, invite) = streams.call(&mut net, BOB, FACTORY);
    assert_eq!(status(&net.send(BOB, invite)), 486);
}

#[test]
fn a_nickname_with_what_nobody_sees_is_refused_and_so_are_too_many() {
    let (mut net, mut streams) = net();
    let alice = streams.join(&mut net, ALICE, FACTORY);
    for name in ["bo\u{200b}b", "\u{202e}bob", "b\u{ad}ob"] {
        assert_eq!(streams.nickname(&mut net, &alice, name), Err(423), "{name:?}");
    }
    let outcomes: Vec<_> =
        (0..150).map(|number| streams.nickname(&mut net, &alice, &format!("a{number}"))).collect();
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Ok(())).count(), 97);
    assert_eq!(outcomes.last(), Some(&Err(403)));
}

#[test]
fn a_member_is_told_who_is_there_at_its_devices_and_not_more_often() {
    let mut config = conference_config();
    config.limits.conference_seats_per_user = 2;
    let (mut net, mut streams) = with(config);
    let alice = streams.join(&mut net, ALICE, FACTORY);
    let bob = streams.join(&mut net, BOB, &alice.conference);
    let answers: Vec<u16> = (0..3).map(|_| status(&watch(&mut net, &alice))).collect();
    assert_eq!(answers, [200, 200, 503]);
    assert_eq!(status(&watch(&mut net, &bob)), 200, "others still are");
}
