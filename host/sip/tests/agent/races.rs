//! What happens when things cross on the way (RFC 5407), and calls with a peer that says anything at all.

use std::collections::BTreeSet;
use std::time::Instant;

use attache_sip::agent::{Agent, AgentEvent, InviteId};
use attache_sip::message::HeaderName;
use attache_sip::sim::Fate;
use attache_sip::transport::{Flow, FlowId, Transport};
use attache_sip::usage::{Body, EndedBy, InviteEvent, InviteParams, ReferParams, ReferTarget, Reliability};
use bytes::Bytes;

use crate::duo::{Alice, Bob, Duo, Who, answer, offer};
use crate::pair::{seconds, uri};

fn hold() -> Body {
    Body::sdp("v=0\r\no=- 1 2 IN IP4 127.0.0.2\r\ns=-\r\na=sendonly\r\n")
}

/// Loses the first packets that begin so.
fn lose(duo: &mut Duo, beginning: &'static str, times: u32) {
    let mut lost = 0;
    duo.sim.set_filter(move |packet| {
        let first = packet.is(beginning) && lost < times;
        lost += u32::from(first);
        if first { Fate::Drop } else { Fate::Deliver }
    });
}

#[test]
fn a_hang_up_that_overtakes_the_acknowledgement_ends_the_call() {
    // RFC 5407 §3.1.3.
    let mut duo = Duo::new();
    duo.sim.set_filter(|packet| if packet.is("ACK") { Fate::Delay(seconds(1) / 4) } else { Fate::Deliver });
    let ours = duo.call(Some(offer()));
    let (theirs, _) = duo.incoming(Bob);
    duo.accept(Bob, theirs, Some(answer()));
    duo.event(Alice);
    duo.hang_up(Alice, ours);
    assert!(matches!(duo.event(Bob), InviteEvent::Ended { by: EndedBy::Peer, .. }));
    duo.no_event(Bob, seconds(60));
    duo.nothing_left();
}

#[test]
fn a_change_that_overtakes_the_acknowledgement_confirms_the_call() {
    // RFC 5407 §3.1.4.
    let mut duo = Duo::new();
    lose(&mut duo, "ACK", 1);
    let ours = duo.call(Some(offer()));
    let (theirs, _) = duo.incoming(Bob);
    duo.accept(Bob, theirs, Some(answer()));
    duo.event(Alice);
    duo.agent(Alice, |agent, now| agent.reoffer(now, ours, Some(hold()))).unwrap();
    assert!(matches!(duo.event(Bob), InviteEvent::Confirmed { .. }));
    assert!(matches!(duo.event(Bob), InviteEvent::Offer { .. }));
    duo.agent(Bob, |agent, now| agent.answer_offer(now, theirs, Ok(answer()))).unwrap();
    assert!(matches!(duo.event(Alice), InviteEvent::OfferAnswered { .. }));
    duo.no_event(Bob, seconds(60));
}

#[test]
fn a_cancel_that_comes_too_late_changes_nothing() {
    // RFC 5407 §3.1.2: the acceptance was on its way; it is ended by BYE.
    let mut duo = Duo::new();
    let ours = duo.call(Some(offer()));
    let (theirs, _) = duo.incoming(Bob);
    duo.agent(Bob, |agent, now| agent.ring(now, theirs, 180, None)).unwrap();
    duo.event(Alice);
    duo.accept(Bob, theirs, Some(answer()));
    duo.hang_up(Alice, ours);
    assert!(matches!(duo.event(Alice), InviteEvent::Ended { by: EndedBy::Us, .. }));
    assert!(matches!(duo.event(Bob), InviteEvent::Confirmed { .. }));
    assert!(matches!(duo.event(Bob), InviteEvent::Ended { by: EndedBy::Peer, .. }));
    duo.nothing_left();
}

#[test]
fn a_change_that_crosses_a_hang_up_is_refused() {
    // RFC 5407 §3.2.3.
    let mut duo = Duo::new();
    let (ours, theirs) = duo.talk();
    duo.agent(Alice, |agent, now| agent.reoffer(now, ours, Some(hold()))).unwrap();
    duo.hang_up(Bob, theirs);
    assert!(matches!(duo.event(Bob), InviteEvent::Ended { by: EndedBy::Us, .. }));
    assert!(matches!(duo.event(Alice), InviteEvent::Ended { .. }));
    duo.no_event(Alice, seconds(60));
    duo.no_event(Bob, seconds(1));
    duo.nothing_left();
}

#[test]
fn a_referral_that_crosses_a_hang_up_is_refused() {
    // RFC 5407 §3.3.1.
    let mut duo = Duo::new();
    let (ours, theirs) = duo.talk();
    let params = ReferParams::new(ReferTarget::Within(ours), "sip:carol@example.com");
    duo.agent(Alice, |agent, now| agent.refer(now, params)).unwrap();
    duo.hang_up(Bob, theirs);
    let mut kinds = BTreeSet::new();
    while let Some(event) = duo.event_within(Alice, seconds(40)) {
        kinds.insert(match event {
            AgentEvent::Invite { event: InviteEvent::Ended { .. }, .. } => "session ended",
            AgentEvent::Refer { event, .. } => match event {
                attache_sip::usage::ReferEvent::Failed { .. } => "referral failed",
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), ["referral failed", "session ended"]);
    duo.nothing_left();
}

#[test]
fn a_call_that_is_refused_while_it_is_cancelled_ends_once() {
    let mut duo = Duo::new();
    let ours = duo.call(Some(offer()));
    let (theirs, _) = duo.incoming(Bob);
    duo.agent(Bob, |agent, now| agent.ring(now, theirs, 180, None)).unwrap();
    duo.event(Alice);
    duo.agent(Bob, |agent, now| agent.reject(now, theirs, 486, Vec::new())).unwrap();
    duo.hang_up(Alice, ours);
    assert!(matches!(duo.event(Alice), InviteEvent::Ended { by: EndedBy::Us, .. }));
    assert!(matches!(duo.event(Bob), InviteEvent::Ended { by: EndedBy::Us, .. }));
    duo.no_event(Alice, seconds(60));
    duo.no_event(Bob, seconds(1));
    duo.nothing_left();
}

/// Everything that sessions do, at chance; what both sides said, and what they were told.
fn session(seed: u64, loss: f64) -> (Vec<Bytes>, Vec<String>) {
    let mut duo = Duo::lossy(seed, loss);
    let mut chance = Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut known: [Vec<InviteId>; 2] = [Vec::new(), Vec::new()];
    let mut told = Vec::new();
    for round in 0..60 {
        for who in [Alice, Bob] {
            while let Some(event) = duo.event_within(who, seconds(0)) {
                told.push(format!("{round} {who:?} {}", name(&event)));
                react(&mut duo, &mut chance, who, event, &mut known[who as usize]);
            }
        }
        let who = if chance.below(2) == 0 { Alice } else { Bob };
        let ids = &mut known[who as usize];
        let id = (!ids.is_empty()).then(|| ids[chance.below(ids.len())]);
        let what = chance.below(8);
        duo.agent(who, |agent, now| act(agent, now, what, id, ids));
        duo.run(seconds(1) / 5);
    }
    let ids = known.clone();
    for (who, ids) in [Alice, Bob].into_iter().zip(ids) {
        duo.agent(who, |agent, now| ids.into_iter().for_each(|id| agent.hang_up(now, id, None)));
    }
    // What nobody has reacted to yet is dealt with as well.
    for _ in 0..50 {
        for who in [Alice, Bob] {
            while let Some(event) = duo.event_within(who, seconds(0)) {
                told.push(format!("end {who:?} {}", name(&event)));
                match event {
                    // It does no harm to one that is over.
                    AgentEvent::Invite { id, .. } => {
                        duo.agent(who, |agent, now| agent.hang_up(now, id, None));
                    }
                    AgentEvent::ReferReceived(request) => {
                        let _ = duo.agent(who, |agent, now| agent.reject_refer(now, request.id, 486));
                    }
                    _ => {}
                }
            }
        }
        duo.run(seconds(10));
    }
    duo.nothing_left();
    let said = duo.sim.trace().iter().map(|packet| packet.payload.clone()).collect();
    (said, told)
}

fn name(event: &AgentEvent) -> String {
    let text = format!("{event:?}");
    text.chars().take(60).collect()
}

fn act(agent: &mut Agent, now: Instant, what: usize, id: Option<InviteId>, ids: &mut Vec<InviteId>) {
    match (what, id) {
        (0, _) | (_, None) => {
            let body = (what != 1).then(offer);
            let reliability = if what == 2 { Reliability::Required } else { Reliability::Offered };
            let to = if agent.config().aor.as_str().contains("alice") { "sip:bob@x" } else { "sip:alice@x" };
            let params = InviteParams { reliability, ..InviteParams::new(uri(to), body) };
            ids.extend(agent.invite(now, params));
        }
        (1, Some(id)) => agent.hang_up(now, id, None),
        (2, Some(id)) => {
            let _ = agent.reoffer(now, id, Some(hold()));
        }
        (3, Some(id)) => {
            let _ = agent.reoffer(now, id, None);
        }
        (4, Some(id)) => {
            let params = ReferParams::new(ReferTarget::Within(id), "sip:carol@example.com");
            let _ = agent.refer(now, params);
        }
        (5, Some(id)) => {
            let info = attache_sip::endpoint::Request::new(attache_sip::message::Method::Info, "");
            let _ = agent.within(now, id, info);
        }
        _ => {}
    }
}

fn react(duo: &mut Duo, chance: &mut Chance, who: Who, event: AgentEvent, ids: &mut Vec<InviteId>) {
    let what = chance.below(5);
    duo.agent(who, |agent, now| match event {
        AgentEvent::Invite { id, event } => match event {
            InviteEvent::Incoming(_) => {
                ids.push(id);
                let _ = match what {
                    0 => agent.reject(now, id, 486, Vec::new()),
                    1 => agent.ring(now, id, 183, Some(answer())),
                    2 => agent
                        .ring(now, id, 180, None)
                        .and_then(|()| agent.accept(now, id, Some(answer()), Vec::new())),
                    _ => agent.accept(now, id, Some(answer()), Vec::new()),
                };
            }
            InviteEvent::Progress { offer: true, .. } => {
                let _ = agent.answer_offer(now, id, Ok(answer()));
            }
            InviteEvent::Answered { offer: true, .. } | InviteEvent::OfferAnswered { offer: true, .. } => {
                let _ = agent.acknowledge(now, id, Some(answer()));
            }
            InviteEvent::Offer { .. } => {
                let answer = if what == 0 { Err(488) } else { Ok(answer()) };
                let _ = agent.answer_offer(now, id, answer);
            }
            InviteEvent::Request { request, .. } => {
                let _ = agent.respond(now, request, 200);
            }
            InviteEvent::Failed { .. } | InviteEvent::Ended { .. } => ids.retain(|known| *known != id),
            _ => {}
        },
        AgentEvent::ReferReceived(request) => {
            let _ = agent.accept_refer(now, request.id);
            let _ = (what > 0).then(|| agent.refer_progress(now, request.id, 200, ""));
        }
        _ => {}
    });
}

#[test]
fn whatever_happens_nothing_is_left_over() {
    for seed in 1..60 {
        session(seed, if seed % 2 == 0 { 0.2 } else { 0.0 });
    }
}

#[test]
fn the_same_seed_gives_the_same_sessions() {
    let (said, told) = session(77, 0.2);
    assert!(said.len() > 100 && told.len() > 20, "{} {}", said.len(), told.len());
    assert_eq!(session(77, 0.2), (said, told));
}

/// Small and the same everywhere.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

fn mutated(chance: &mut Chance, packet: &Bytes) -> Bytes {
    let mut bytes = packet.to_vec();
    for _ in 0..chance.below(4) {
        if bytes.is_empty() {
            break;
        }
        let at = chance.below(bytes.len());
        match chance.below(5) {
            0 => bytes[at] = chance.below(256) as u8,
            1 => bytes.truncate(at),
            2 => {
                bytes.remove(at);
            }
            3 => {
                let digit = bytes.iter().skip(at).position(u8::is_ascii_digit);
                if let Some(digit) = digit {
                    bytes.splice(at + digit..at + digit, *b"99999999999999999999");
                }
            }
            _ => {
                let what: &[u8] = [&b"<>"[..], b"\"", b";", b",", b"\r\n", b"=\xff", b":"][chance.below(7)];
                bytes.splice(at..at, what.iter().copied());
            }
        }
    }
    bytes.into()
}

#[test]
fn a_peer_that_says_anything_at_all_breaks_nothing() {
    // What Alice says in sessions of all kinds, mutated, comes to a Bob who was told the same before: tags and Call-IDs fit.
    let mut chance = Chance(42);
    for seed in 1..6 {
        let (said, _) = session(seed, 0.0);
        for _ in 0..20 {
            let mut duo = Duo::seeded(seed, Transport::Udp, |_, config| config.invite.max = 4);
            for packet in &said {
                let packet = if chance.below(2) == 0 { packet.clone() } else { mutated(&mut chance, packet) };
                duo.agent(Bob, |agent, now| {
                    let flow = Flow {
                        id: FlowId(99),
                        transport: Transport::Udp,
                        local: Bob.addr(),
                        remote: Alice.addr(),
                    };
                    agent.handle_input(now, flow, packet);
                });
                while let Some(event) = duo.event_within(Bob, seconds(0)) {
                    react(&mut duo, &mut chance, Bob, event, &mut Vec::new());
                }
                duo.agent(Bob, |agent, _| assert!(agent.remembered() <= 4 * 4 + 2 * 16));
                duo.run(seconds(1) / 50);
            }
        }
    }
}

#[test]
fn a_flood_of_calls_takes_no_more_room_than_allowed() {
    let mut duo = Duo::with(|who, config| config.invite.max = if who == Alice { 1_000 } else { 4 });
    for round in 0..200 {
        let params = InviteParams::new(uri("sip:bob@example.com"), Some(offer()));
        let ours = duo.agent(Alice, |agent, now| agent.invite(now, params)).unwrap();
        duo.run(seconds(1) / 20);
        if round % 3 == 0 {
            duo.hang_up(Alice, ours);
        }
        duo.agent(Bob, |agent, _| {
            assert!(agent.sessions() <= 4 && agent.remembered() <= 16);
        });
    }
    let ended = duo.packets(Bob, "SIP/2.0 486").len();
    assert!(ended > 100, "{ended}");
}

#[test]
fn an_end_is_told_once_whatever_was_lost() {
    for seed in 100..130 {
        let mut duo = Duo::lossy(seed, 0.3);
        let ours = duo.call(Some(offer()));
        let (theirs, incoming) = duo.incoming(Bob);
        assert!(incoming.message.header(HeaderName::Contact).is_some());
        duo.accept(Bob, theirs, Some(answer()));
        duo.run(seconds(1));
        duo.hang_up(Bob, theirs);
        let mut ends = 0;
        while let Some(event) = duo.event_within(Alice, seconds(100)) {
            if let AgentEvent::Invite { id, event: InviteEvent::Ended { .. } } = event {
                assert_eq!(id, ours);
                ends += 1;
            }
        }
        assert_eq!(ends, 1, "seed {seed}");
        duo.nothing_left();
    }
}
