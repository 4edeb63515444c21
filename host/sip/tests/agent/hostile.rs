//! A service that says anything at all: nothing panics, nothing grows without bound, and the agent goes on.

use std::time::Instant;

use attache_sip::agent::{Agent, AgentEvent, Credential};
use attache_sip::endpoint::Response;
use attache_sip::message::HeaderName;
use attache_sip::transport::{Flow, FlowId, Transport};
use attache_sip::usage::{PublishParams, SubscribeParams};
use bytes::Bytes;

use crate::pair::{Notify, Pair, client, seconds, server, uri};

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

fn start(agent: &mut Agent, now: Instant) {
    agent.register(now, 3600);
    let bob = SubscribeParams {
        etag: Some("stored".into()),
        ..SubscribeParams::presence(uri("sip:bob@example.com"))
    };
    agent.subscribe(now, bob);
    agent.subscribe(now, SubscribeParams::list(uri("sip:alice-list@example.com")));
    agent.publish(now, PublishParams::presence("<presence/>"));
}

fn account(bearer: bool) -> Pair {
    Pair::with(|config| {
        config.instance = Some("urn:uuid:00000000-0000-1000-8000-AABBCCDDEEFF".into());
        if bearer {
            config.credential = Credential::Bearer { token: Some("one".into()), insecure: true };
        }
    })
}

/// What a service says in a session, by the agent of the same seed.
fn recorded(bearer: bool) -> Vec<Bytes> {
    let mut pair = account(bearer);
    pair.agent(start);
    for _ in 0..4 {
        let request = pair.expect_any();
        let contact = request.header(HeaderName::Contact);
        let mut answer = Response::new(200)
            .to_tag("notifier")
            .header(HeaderName::Expires, "3600")
            .header(HeaderName::SipEtag, "e1")
            .header(HeaderName::Require, "outbound")
            .header(HeaderName::FlowTimer, "120")
            .header(HeaderName::ServiceRoute, "<sip:127.0.0.1:5060;lr>")
            .header(HeaderName::Date, "Sat, 13 Nov 2010 23:29:00 GMT")
            .header(HeaderName::AllowEvents, "presence, presence.winfo");
        if !contact.is_empty() {
            let gruu = r#";expires=3600;pub-gruu="sip:alice@example.com;gr=x""#;
            answer = answer.header(HeaderName::Contact, format!("{contact}{gruu}"));
        }
        pair.respond(&request, &answer);
        if request.has(HeaderName::Event) && !contact.is_empty() {
            let headers = [("SIP-ETag", "stored"), ("Record-Route", "<sip:127.0.0.1:5060;lr>")];
            for (state, cseq) in [
                ("active;expires=3600;max-rate=0.2", 1),
                ("pending;expires=9", 2),
                ("terminated;reason=giveup;retry-after=7", 3),
            ] {
                pair.send_notify(
                    &request,
                    Notify { headers: &headers, ..Notify::state(state, cseq).with("<p/>") },
                );
            }
        }
    }
    pair.sim.run_for(seconds(5));
    let said = pair.sim.trace().iter().filter(|packet| packet.to == client());
    let mut said: Vec<Bytes> = said.map(|packet| packet.payload.clone()).collect();
    // Refusals of every kind, made from what was said.
    let whole = said.clone();
    for packet in &whole {
        let text = String::from_utf8_lossy(packet).into_owned();
        if let Some(rest) = text.strip_prefix("SIP/2.0 200 OK\r\n") {
            let (head, body) = rest.split_once("\r\n\r\n").unwrap();
            for refusal in [
                "401 No\r\nWWW-Authenticate: Digest realm=\"r\", nonce=\"n\", qop=\"auth\", stale=true",
                "407 No\r\nProxy-Authenticate: Bearer realm=\"r\", error=\"invalid_token\"",
                "204 No Notification",
                "423 Brief\r\nMin-Expires: 4000000000",
                "430 Flow Failed",
                "439 No Outbound",
                "470 Consent\r\nPermission-Missing: <sip:a@b>, <sip:c@d>",
                "503 Away\r\nRetry-After: 4000000000",
                "412 Forgotten",
                "415 No",
            ] {
                said.push(format!("SIP/2.0 {refusal}\r\n{head}\r\n\r\n{body}").into());
            }
        }
    }
    said
}

fn mutated(chance: &mut Chance, packet: &Bytes) -> Bytes {
    let mut bytes = packet.to_vec();
    for _ in 0..chance.below(4) {
        if bytes.is_empty() {
            break;
        }
        let at = chance.below(bytes.len());
        match chance.below(6) {
            0 => bytes[at] = chance.below(256) as u8,
            1 => bytes.truncate(at),
            2 => {
                bytes.remove(at);
            }
            3 => {
                // A number becomes huge.
                let digits = bytes.iter().skip(at).position(u8::is_ascii_digit);
                if let Some(digit) = digits {
                    bytes.splice(at + digit..at + digit, *b"99999999999999999999");
                }
            }
            4 => {
                // A line stands twice.
                let lines: Vec<usize> = memchr_all(&bytes);
                if lines.len() > 2 {
                    let n = chance.below(lines.len() - 1);
                    let line = bytes[lines[n]..lines[n + 1]].to_vec();
                    bytes.splice(lines[n]..lines[n], line);
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

fn memchr_all(bytes: &[u8]) -> Vec<usize> {
    bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1).collect()
}

#[test]
fn whatever_a_service_says_the_agent_goes_on() {
    for bearer in [false, true] {
        let corpus = recorded(bearer);
        assert!(corpus.len() > 40, "{}", corpus.len());
        for seed in 1..=8 {
            let mut chance = Chance(0x9e37_79b9_7f4a_7c15 ^ seed << 17);
            let mut pair = account(bearer);
            pair.agent(start);
            let flow = Flow { id: FlowId(0), transport: Transport::Udp, local: client(), remote: server() };
            for _ in 0..60 {
                let packet = &corpus[chance.below(corpus.len())];
                let packet = mutated(&mut chance, packet);
                pair.agent(|agent, now| agent.handle_input(now, flow, packet));
                if chance.below(4) == 0 {
                    let wait = chance.below(4000) as u64;
                    pair.sim.run_for(seconds(wait));
                }
            }
            // It still does as it is told.
            let before = pair.sent("REGISTER");
            pair.agent(|agent, now| {
                agent.set_token(now, "two".into());
                agent.register(now, 3600);
            });
            pair.sim.run_for(seconds(40));
            assert!(pair.sent("REGISTER") > before, "seed {seed}");
            assert!(pair.agent(|agent, _| agent.flows().count()) <= 2);
            assert!(pair.agent(|agent, _| agent.subscriptions()) <= 2);
        }
    }
}

#[test]
fn a_service_that_accepts_and_ends_for_ever_is_asked_less_and_less() {
    let mut pair = Pair::new();
    pair.agent(|agent, now| agent.subscribe(now, SubscribeParams::presence(uri("sip:bob@example.com"))));
    let mut times = Vec::new();
    for _ in 0..12 {
        let request = pair.expect("SUBSCRIBE");
        times.push(pair.sim.elapsed());
        pair.grant(&request, 1);
        pair.notify(&request, Notify::state("terminated;reason=timeout", 1));
        let AgentEvent::Subscription { .. } = pair.event() else { panic!("ended") };
    }
    let last = times[11] - times[10];
    assert!(last >= seconds(100), "{times:?}");
}
