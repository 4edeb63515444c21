//! Who may do what.

#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use attache_sip::endpoint::Request;
use attache_sip::message::{HeaderName, Method};
use common::{ALICE, BOB, Net, config, pidf, status, text};

fn methods() -> [(Method<'static>, &'static str, u16); 4] {
    [
        (Method::Register, "sip:example.com", 401),
        (Method::Publish, "sip:alice@example.com", 401),
        (Method::Subscribe, "sip:bob@example.com", 401),
        (Method::Message, "sip:bob@example.com", 407),
    ]
}

/// A complete request of Alice.
fn request(net: &mut Net, method: Method<'_>, uri: &str) -> Request {
    let mut request = net.client(ALICE, |alice| {
        let contact = alice.contact();
        alice.request(method, uri).header(HeaderName::Contact, contact)
    });
    if matches!(method, Method::Publish | Method::Subscribe) {
        request = request.header(HeaderName::Event, "presence");
    }
    if method == Method::Publish {
        request = request.body("application/pidf+xml", pidf("x"));
    }
    request
}

#[test]
fn every_request_of_a_user_is_challenged_strongest_algorithm_first() {
    let mut net = Net::new();
    for (method, uri, expected) in methods() {
        let request = request(&mut net, method, uri);
        // Another scheme of authentication proves nothing.
        let request = request.header(HeaderName::Authorization, "Basic Zm9v");
        let answer = net.send_once(ALICE, request);
        assert_eq!(status(&answer), expected, "{method}");
        let algorithms: Vec<_> = answer
            .challenges()
            .iter()
            .map(|one| one.algorithm.map(attache_sip::digest::Algorithm::as_str))
            .collect();
        assert_eq!(algorithms, [Some("SHA-256"), Some("MD5")], "{method}");
    }
}

#[test]
fn a_wrong_password_is_refused_for_every_method() {
    let mut net = Net::new();
    net.join("alice", "guess", ALICE);
    for (method, uri, expected) in methods() {
        let request = request(&mut net, method, uri);
        assert_eq!(status(&net.send(ALICE, request)), expected, "{method}");
    }
}

#[test]
fn an_unknown_user_is_challenged_like_any_other_and_never_let_in() {
    let mut net = Net::new();
    net.join("mallory", "x", "127.0.9.9:5060");
    assert_eq!(status(&net.register("127.0.9.9:5060", 600)), 401);
}

#[test]
fn nobody_sends_in_somebody_elses_name() {
    let mut net = Net::new();
    for (method, uri, _) in methods() {
        let mut request = request(&mut net, method, uri);
        request.headers.retain(|(name, _)| *name != HeaderName::From.into());
        let request = request.from("<sip:bob@example.com>;tag=x");
        assert_eq!(status(&net.send(ALICE, request)), 403, "{method}");
    }
}

#[test]
fn nobody_registers_or_publishes_for_somebody_else() {
    let mut net = Net::new();
    let mut request = net.client(ALICE, |alice| alice.request(Method::Register, "sip:example.com"));
    request.headers.retain(|(name, _)| *name != HeaderName::To.into());
    let request = request.to("<sip:bob@example.com>").header(HeaderName::Contact, "<sip:alice@127.0.1.1>");
    assert_eq!(status(&net.send(ALICE, request)), 403);
    let request = self::request(&mut net, Method::Publish, "sip:bob@example.com");
    assert_eq!(status(&net.send(ALICE, request)), 403);
}

#[test]
fn the_service_is_no_open_relay() {
    let mut net = Net::new();
    for (method, _, _) in methods() {
        let request = request(&mut net, method, "sip:victim@elsewhere.example");
        assert_eq!(status(&net.send(ALICE, request)), 403, "{method}");
    }
}

#[test]
fn an_unknown_user_of_our_domain_is_not_found() {
    let mut net = Net::new();
    assert_eq!(status(&net.message(ALICE, "sip:nobody@example.com", "hi")), 404);
    assert_eq!(status(&net.subscribe(ALICE, "sip:nobody@example.com", 600)), 404);
    assert_eq!(status(&net.message(ALICE, "sip:example.com", "hi")), 404);
}

#[test]
fn guessing_gets_slow_and_a_right_password_soon_gets_in() {
    let mut net = Net::new();
    net.join("alice", "guess", ALICE);
    let answers: Vec<_> = (0..8).map(|_| status(&net.register(ALICE, 600))).collect();
    assert_eq!(answers[..6], [401; 6]);
    assert_eq!(answers[6..], [503; 2]);
    // Elsewhere nobody notices.
    assert_eq!(status(&net.register(BOB, 600)), 200);
    net.join("alice", "wonderland", "127.0.1.2:5060");
    assert_eq!(status(&net.register("127.0.1.2:5060", 600)), 200);
    net.join("alice", "wonderland", ALICE);
    net.run(31);
    assert_eq!(status(&net.register(ALICE, 600)), 200);
}

#[test]
fn a_challenge_that_is_too_old_is_renewed_with_stale() {
    let mut net = Net::new();
    let request = request(&mut net, Method::Message, "sip:bob@example.com").body("text/plain", "x");
    let answer = net.send_once(ALICE, request.clone());
    let mut digest = attache_sip::digest::DigestClient::new("alice", "wonderland".into(), Default::default());
    digest.learn(&answer.challenges(), false).unwrap();
    net.run(301);
    let (name, value) = digest.authorize("MESSAGE", &request.uri, b"x", 1).remove(0);
    let answer = net.send_once(ALICE, request.cseq(90).header(name, value));
    assert_eq!(status(&answer), 407);
    assert!(answer.challenges().iter().all(|challenge| challenge.stale));
}

#[test]
fn a_source_that_sends_too_much_is_told_to_wait() {
    let mut config = config();
    config.limits.requests_per_source = 1;
    config.limits.burst_per_source = 10;
    let mut net = Net::with(config);
    let answers: Vec<_> = (0..12)
        .map(|_| {
            let request = net.client(ALICE, |alice| alice.request(Method::Options, "sip:example.com"));
            net.send(ALICE, request)
        })
        .collect();
    assert_eq!(status(&answers[9]), 200);
    assert_eq!(status(&answers[11]), 503);
    assert_eq!(text(&answers[11], HeaderName::RetryAfter), "1");
    let request = net.client(BOB, |bob| bob.request(Method::Options, "sip:example.com"));
    assert_eq!(status(&net.send(BOB, request)), 200);
}

#[test]
fn options_tells_what_is_served() {
    let mut net = Net::new();
    let request = net.client(ALICE, |alice| alice.request(Method::Options, "sip:example.com"));
    let answer = net.send(ALICE, request);
    assert_eq!(status(&answer), 200);
    let methods = "OPTIONS, REGISTER, PUBLISH, SUBSCRIBE, NOTIFY, MESSAGE, INVITE, ACK, CANCEL, BYE, PRACK, UPDATE, \
                   INFO, REFER";
    assert_eq!(text(&answer, HeaderName::Allow), methods);
    let packages = "presence, presence.winfo, xcap-diff, message-summary, reg";
    assert_eq!(text(&answer, HeaderName::AllowEvents), packages);
}

#[test]
fn methods_that_are_not_served_are_refused_by_name() {
    let mut net = Net::new();
    let request = net.client(ALICE, |alice| alice.request(Method::Other("BREW"), "sip:bob@example.com"));
    let answer = net.send(ALICE, request);
    assert_eq!((status(&answer), answer.header(HeaderName::Allow).is_some()), (501, true));
}

#[test]
fn what_belongs_to_a_dialog_is_refused_without_one() {
    let mut net = Net::new();
    for method in [Method::Info, Method::Bye, Method::Notify, Method::Prack, Method::Update] {
        let request = net.client(ALICE, |alice| alice.request(method, "sip:bob@example.com"));
        assert_eq!(status(&net.send(ALICE, request)), 481, "{method}");
    }
}

#[test]
fn a_message_that_has_gone_round_too_often_is_stopped() {
    let mut net = Net::new();
    let request =
        request(&mut net, Method::Message, "sip:bob@example.com").header(HeaderName::MaxForwards, "0");
    assert_eq!(status(&net.send(ALICE, request)), 483);
}

/// Credentials of Alice for a request, over the nonce of an answer.
fn proof(
    answer: &attache_sip::message::Message,
    method: &str,
    uri: &str,
    password: &str,
) -> (HeaderName, String) {
    let mut digest = attache_sip::digest::DigestClient::new("alice", password.into(), Default::default());
    digest.learn(&answer.challenges(), false).unwrap();
    digest.authorize(method, uri, b"", 1).remove(0)
}

#[test]
fn credentials_that_were_overheard_cannot_be_used_again() {
    let mut net = Net::new();
    let first = request(&mut net, Method::Register, "sip:example.com");
    let challenge = net.send_once(ALICE, first.clone());
    let (name, value) = proof(&challenge, "REGISTER", "sip:example.com", "wonderland");
    let mut first = first.cseq(50).header(name, value.clone());
    first.headers.retain(|(name, _)| *name != HeaderName::To.into());
    let first = first.to("<sip:alice@example.com>");
    assert_eq!(status(&net.send_once(ALICE, first.clone())), 200);
    // Another contact in the same words, in a transaction of its own.
    let mut again = first.cseq(51);
    again.headers.retain(|(name, _)| *name != HeaderName::Contact.into());
    let answer = net.send_once(ALICE, again.header(HeaderName::Contact, "<sip:mallory@127.0.1.1:5099>"));
    assert_eq!(status(&answer), 401);
    assert!(answer.challenges().iter().all(|challenge| challenge.stale));
}

#[test]
fn an_answer_to_a_challenge_that_another_host_got_proves_nothing() {
    let mut net = Net::new();
    let first = request(&mut net, Method::Publish, "sip:alice@example.com");
    let challenge = net.send_once(BOB, first.clone());
    let (name, value) = proof(&challenge, "PUBLISH", "sip:alice@example.com", "wonderland");
    let answer = net.send_once(ALICE, first.cseq(50).header(name, value));
    assert_eq!(status(&answer), 401);
    assert!(answer.challenges().iter().all(|challenge| challenge.stale));
}

#[test]
fn wrong_answers_from_a_forged_source_lock_nobody_out() {
    let mut net = Net::new();
    // Mallory never sees what is sent to Alice's host, and so answers challenges that another host got.
    let first = request(&mut net, Method::Publish, "sip:alice@example.com");
    let challenge = net.send_once(BOB, first.clone());
    for number in 0..20 {
        let (name, value) = proof(&challenge, "PUBLISH", "sip:alice@example.com", "guess");
        let answer = net.send_once(ALICE, first.clone().cseq(50 + number).header(name, value));
        assert_eq!(status(&answer), 401);
    }
    assert_eq!(status(&net.register(ALICE, 600)), 200);
}

#[test]
fn the_whole_address_may_stand_for_the_name() {
    let mut net = Net::new();
    let first = request(&mut net, Method::Message, "sip:bob@example.com");
    let challenge = net.send_once(ALICE, first.clone());
    let mut digest =
        attache_sip::digest::DigestClient::new("alice@example.com", "wonderland".into(), Default::default());
    digest.learn(&challenge.challenges(), false).unwrap();
    let (name, value) = digest.authorize("MESSAGE", "sip:bob@example.com", b"", 1).remove(0);
    assert_eq!(status(&net.send_once(ALICE, first.cseq(50).header(name, value))), 202);
}

#[test]
fn the_whole_address_is_refused_clearly_where_only_a_hash_for_the_name_is_known() {
    let hash = attache_sip::digest::ha1(
        attache_sip::digest::Algorithm::Sha256,
        "alice",
        "example.com",
        &"wonderland".into(),
    );
    let toml = format!(
        "[service]\ndomains = [\"example.com\"]\n[[user]]\nname = \"alice\"\nha1-sha256 = \"{hash}\"\n"
    );
    let mut config = config();
    config.accounts = attache_service::ServiceConfig::parse(&toml).unwrap().accounts().unwrap();
    let mut net = Net::with(config);
    let first = request(&mut net, Method::Publish, "sip:alice@example.com");
    let challenge = net.send_once(ALICE, first.clone());
    let mut digest =
        attache_sip::digest::DigestClient::new("alice@example.com", "wonderland".into(), Default::default());
    digest.learn(&challenge.challenges(), false).unwrap();
    let (name, value) = digest.authorize("PUBLISH", "sip:alice@example.com", b"", 1).remove(0);
    assert_eq!(status(&net.send_once(ALICE, first.cseq(50).header(name, value))), 403);
    assert_eq!(status(&net.register(ALICE, 600)), 200);
}
