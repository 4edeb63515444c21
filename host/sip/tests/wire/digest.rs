//! Digest authentication: the vectors of the RFCs, the client against the server, and what is refused.

use std::time::{Duration, Instant};

use attache_sip::digest::{
    Algorithm, AuthError, Challenge, Credentials, DigestClient, DigestServer, Password, Policy, Qop, Refusal,
    Secret, ha1,
};
use attache_sip::message::HeaderName;

const URI: &str = "sip:example.com";

fn challenges(rows: &[&str]) -> Vec<Challenge> {
    rows.iter().flat_map(|row| Challenge::parse_row(row.as_bytes(), false)).collect()
}

fn client(policy: Policy) -> DigestClient {
    DigestClient::new("alice", Secret::new("swordfish"), policy)
}

fn server(epoch: Instant) -> DigestServer {
    DigestServer::new("example.com", [7; 32], epoch)
}

fn parsed(server: &DigestServer, now: Instant, stale: bool) -> Vec<Challenge> {
    server
        .challenges(now, 42, stale)
        .iter()
        .flat_map(|row| Challenge::parse_row(row.as_bytes(), false))
        .collect()
}

fn one(client: &mut DigestClient, method: &str, body: &[u8]) -> Credentials {
    let headers = client.authorize(method, URI, body, 0x1234);
    assert_eq!(headers.len(), 1);
    Credentials::parse(headers[0].1.as_bytes()).unwrap()
}

/// Has the server check a response that somebody else computed, with its own nonce: the arithmetic is the one of the client.
fn answer(row: &str, user: &str, password: &str, method: &str, uri: &str, body: &[u8]) -> String {
    let mut client = DigestClient::new(user, Secret::new(password), Policy::default());
    client.learn(&challenges(&[row]), false).unwrap();
    client.authorize(method, uri, body, 0).remove(0).1
}

#[test]
fn the_vector_of_rfc_2617_without_quality_holds() {
    // RFC 2069 as corrected: without qop only HA1, nonce and HA2 take part. The same parts as in RFC 2617 §3.5.
    let row = r#"Digest realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", opaque="5ccc069c403ebaf9f0171e9517f40e41""#;
    let value = answer(row, "Mufasa", "Circle Of Life", "GET", "/dir/index.html", b"");
    assert!(value.contains("response=\"670fd8c2df070c60b045671b8b24ff02\""), "{value}");
    assert!(
        !value.contains("qop")
            && !value.contains("nc=")
            && !value.contains("cnonce")
            && !value.contains("algorithm")
    );
    assert!(value.contains("opaque=\"5ccc069c403ebaf9f0171e9517f40e41\""));
}

/// The parts of RFC 7616 §3.9.1, whose client nonce is given.
fn rfc7616(algorithm: &str, response: &str) -> Credentials {
    let value = format!(
        "Digest username=\"Mufasa\", realm=\"http-auth@example.org\", uri=\"/dir/index.html\", algorithm={algorithm}, \
         nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", nc=00000001, \
         cnonce=\"f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ\", qop=auth, response=\"{response}\""
    );
    Credentials::parse(value.as_bytes()).unwrap()
}

fn check(credentials: &Credentials, user: &str, password: &str, method: &str) -> Result<u32, Refusal> {
    let now = Instant::now();
    let server = DigestServer::new(credentials.realm.clone(), [0; 32], now).algorithms(&Algorithm::ALL);
    server.verify(now, credentials, user, &Password::Plain(password.into()), method, None, b"")
}

#[test]
fn the_vectors_of_rfc_7616_hold() {
    // A right proof under a nonce of somebody else's making is stale; a wrong one is wrong. So this tells the two apart.
    for (algorithm, response) in [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ] {
        let good = rfc7616(algorithm, response);
        assert_eq!(check(&good, "Mufasa", "Circle of Life", "GET"), Err(Refusal::Stale), "{algorithm}");
        assert_eq!(check(&good, "Mufasa", "Circle of Lies", "GET"), Err(Refusal::Wrong), "{algorithm}");
    }
}

#[test]
fn the_vector_of_rfc_2617_holds() {
    let value = "Digest username=\"Mufasa\", realm=\"testrealm@host.com\", nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", \
                 uri=\"/dir/index.html\", qop=auth, nc=00000001, cnonce=\"0a4f113b\", response=\"6629fae49393a05397450978507c4ef1\", \
                 opaque=\"5ccc069c403ebaf9f0171e9517f40e41\"";
    let credentials = Credentials::parse(value.as_bytes()).unwrap();
    assert_eq!(check(&credentials, "Mufasa", "Circle Of Life", "GET"), Err(Refusal::Stale));
}

#[test]
fn the_hashed_name_of_rfc_7616_is_recognised() {
    // RFC 7616 §3.9.2 as corrected by erratum 4897: the printed figures were made with another hash than SHA-512/256. The response was
    // computed by an independent implementation.
    let value = "Digest username=\"793263caabb707a56211940d90411ea4a575adeccb7e360aeb624ed06ece9b0b\", realm=\"api@example.org\", \
                 uri=\"/doe.json\", algorithm=SHA-512-256, nonce=\"5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK\", nc=00000001, \
                 cnonce=\"NTg6RKcb9boFIAS3KrFK9BGeh+niz/sm\", qop=auth, \
                 response=\"7a4e1192babbba02e91182d2895bfdbf7adafc6e48d4e517ca301974843d840c\", \
                 opaque=\"HRPCssKJSGjCrkzDg8OhwpzCiGPChXYjwrI2QmXDnsOS\", userhash=true";
    let credentials = Credentials::parse(value.as_bytes()).unwrap();
    assert_eq!(check(&credentials, "J\u{e4}s\u{f8}n Doe", "Secret, or not?", "GET"), Err(Refusal::Stale));
    assert_eq!(check(&credentials, "Jason Doe", "Secret, or not?", "GET"), Err(Refusal::Malformed));
}

#[test]
fn an_extended_user_name_is_decoded() {
    let value =
        "Digest username*=UTF-8''J%C3%A4s%C3%B8n%20Doe, realm=\"r\", nonce=\"n\", uri=\"u\", response=\"x\"";
    assert_eq!(Credentials::parse(value.as_bytes()).unwrap().username, "J\u{e4}s\u{f8}n Doe");
}

#[test]
fn each_algorithm_and_quality_is_accepted_by_the_server() {
    let epoch = Instant::now();
    for algorithm in Algorithm::ALL {
        for prefer_integrity in [false, true] {
            let server = server(epoch).algorithms(&[algorithm]);
            let mut client = client(Policy { prefer_integrity, ..Policy::default() });
            client.learn(&parsed(&server, epoch, false), false).unwrap();
            let credentials = one(&mut client, "MESSAGE", b"hello");
            assert_eq!(credentials.qop, Some(if prefer_integrity { Qop::AuthInt } else { Qop::Auth }));
            for password in [
                Password::Plain("swordfish".into()),
                Password::Ha1(
                    algorithm.base(),
                    ha1(algorithm, "alice", "example.com", &"swordfish".into()).into(),
                ),
            ] {
                let verify = |method, body| {
                    server.verify(epoch, &credentials, "alice", &password, method, Some(URI), body)
                };
                assert_eq!(verify("MESSAGE", b"hello"), Ok(1), "{algorithm:?}");
                assert_eq!(verify("PUBLISH", b"hello"), Err(Refusal::Wrong));
                assert_eq!(verify("MESSAGE", b"hullo").is_err(), prefer_integrity);
            }
        }
    }
}

#[test]
fn the_strongest_allowed_challenge_is_answered() {
    let rows = [
        r#"Digest realm="r", nonce="a", algorithm=MD5, qop="auth""#,
        r#"Digest realm="r", nonce="b", algorithm=SHA-512-256, qop="auth""#,
        r#"Digest realm="r", nonce="c", algorithm=SHA-256, qop="auth""#,
        r#"Digest realm="r", nonce="d", algorithm=AKAv2, qop="auth""#,
        r#"Basic realm="r""#,
    ];
    let mut client = client(Policy::default());
    client.learn(&challenges(&rows), false).unwrap();
    assert_eq!(one(&mut client, "REGISTER", b"").nonce, "b");
}

#[test]
fn each_realm_is_answered_with_a_header_of_its_own() {
    let mut all = challenges(&[
        r#"Digest realm="a", nonce="1", qop="auth""#,
        r#"Digest realm="b", nonce="2", qop="auth""#,
    ]);
    all[1].proxy = true;
    let mut client = client(Policy::default());
    client.learn(&all, false).unwrap();
    let names: Vec<_> = client.authorize("INVITE", URI, b"", 0).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, [HeaderName::Authorization, HeaderName::ProxyAuthorization]);
}

#[test]
fn a_downgrade_is_refused_unless_the_policy_allows_it() {
    let strong = challenges(&[r#"Digest realm="r", nonce="a", algorithm=SHA-256, qop="auth""#]);
    let weak = challenges(&[r#"Digest realm="r", nonce="b", algorithm=MD5, qop="auth""#]);
    for (allow_downgrade, expected) in [(false, Err(AuthError::Downgrade("r".into()))), (true, Ok(()))] {
        let mut client = client(Policy { allow_downgrade, ..Policy::default() });
        client.learn(&strong, false).unwrap();
        assert_eq!(client.learn(&weak, false), expected);
    }
    let mut strict = client(Policy { weakest: Algorithm::Sha256, ..Policy::default() });
    assert_eq!(strict.learn(&weak, false), Err(AuthError::Algorithm("r".into())));
    assert!(!strict.is_ready());
}

#[test]
fn unknown_qualities_and_missing_challenges_are_errors() {
    let mut client = client(Policy::default());
    assert_eq!(client.learn(&[], false), Err(AuthError::NoChallenge));
    let odd = challenges(&[r#"Digest realm="r", nonce="a", qop="auth-conf""#]);
    assert_eq!(client.learn(&odd, false), Err(AuthError::Quality("r".into())));
}

#[test]
fn the_count_is_eight_hexadecimal_digits_and_goes_on_for_the_same_nonce() {
    let row = challenges(&[r#"Digest realm="r", nonce="a", qop="auth""#]);
    let mut client = client(Policy::default());
    client.learn(&row, false).unwrap();
    for _ in 0..9 {
        one(&mut client, "REGISTER", b"");
    }
    let value = client.authorize("REGISTER", URI, b"", 0).remove(0).1;
    assert!(value.contains(", nc=0000000a"), "{value}");
    assert!(value.contains(", qop=auth,"), "{value}");
    client.accepted();
    client.learn(&row, true).unwrap();
    assert_eq!(one(&mut client, "REGISTER", b"").nc.as_deref(), Some("0000000b"));
    client.learn(&challenges(&[r#"Digest realm="r", nonce="b", qop="auth", stale=true"#]), true).unwrap();
    assert_eq!(one(&mut client, "REGISTER", b"").nc.as_deref(), Some("00000001"));
}

#[test]
fn a_refused_answer_is_a_wrong_password_unless_the_nonce_was_stale() {
    let fresh = |nonce: &str, stale: bool| {
        challenges(&[&format!(r#"Digest realm="r", nonce="{nonce}", qop="auth", stale={stale}"#)])
    };
    let mut client = client(Policy::default());
    client.learn(&fresh("a", false), false).unwrap();
    one(&mut client, "REGISTER", b"");
    assert_eq!(client.learn(&fresh("b", false), true), Err(AuthError::Rejected("r".into())));
    client.learn(&fresh("c", true), true).unwrap();
    one(&mut client, "REGISTER", b"");
    // Once accepted, a nonce that dies unannounced gets one more try, and only one.
    client.accepted();
    client.learn(&fresh("d", false), true).unwrap();
    one(&mut client, "REGISTER", b"");
    assert_eq!(client.learn(&fresh("e", false), true), Err(AuthError::Rejected("r".into())));
}

#[test]
fn the_next_nonce_is_used() {
    let mut client = client(Policy::default());
    client.learn(&challenges(&[r#"Digest realm="r", nonce="a", qop="auth""#]), false).unwrap();
    one(&mut client, "REGISTER", b"");
    client.learn_info(br#"qop=auth, rspauth="x", nextnonce="z""#, false);
    let next = one(&mut client, "REGISTER", b"");
    assert_eq!((next.nonce.as_str(), next.nc.as_deref()), ("z", Some("00000001")));
}

#[test]
fn a_hashed_user_name_is_sent_where_it_is_understood() {
    let epoch = Instant::now();
    let server = server(epoch);
    let mut all = parsed(&server, epoch, false);
    all[0].userhash = true;
    let mut client = client(Policy::default());
    client.learn(&all, false).unwrap();
    let credentials = one(&mut client, "REGISTER", b"");
    assert!(credentials.userhash && credentials.username != "alice");
    assert!(server.names_user(&credentials, "alice") && !server.names_user(&credentials, "bob"));
    let password = Password::Plain("swordfish".into());
    assert_eq!(server.verify(epoch, &credentials, "alice", &password, "REGISTER", Some(URI), b""), Ok(1));
}

#[test]
fn an_old_nonce_and_one_of_another_key_are_stale_when_the_proof_is_right() {
    let epoch = Instant::now();
    let server = server(epoch).max_age(Duration::from_secs(60));
    let mut client = client(Policy::default());
    client.learn(&parsed(&server, epoch, false), false).unwrap();
    let credentials = one(&mut client, "REGISTER", b"");
    let password = Password::Plain("swordfish".into());
    let verify = |server: &DigestServer, now, password: &Password| {
        server.verify(now, &credentials, "alice", password, "REGISTER", Some(URI), b"")
    };
    assert_eq!(verify(&server, epoch + Duration::from_secs(60), &password), Ok(1));
    assert_eq!(verify(&server, epoch + Duration::from_secs(61), &password), Err(Refusal::Stale));
    assert_eq!(
        verify(&DigestServer::new("example.com", [8; 32], epoch), epoch, &password),
        Err(Refusal::Stale)
    );
    let wrong = Password::Plain("marlin".into());
    assert_eq!(verify(&server, epoch + Duration::from_secs(61), &wrong), Err(Refusal::Wrong));
    assert!(server.challenges(epoch, 1, true)[0].contains("stale=true"));
}

#[test]
fn credentials_that_are_not_whole_are_refused() {
    let epoch = Instant::now();
    let server = server(epoch);
    let mut client = client(Policy::default());
    client.learn(&parsed(&server, epoch, false), false).unwrap();
    let good = one(&mut client, "REGISTER", b"");
    let password = Password::Plain("swordfish".into());
    let verify = |change: &dyn Fn(&mut Credentials), uri: &str| {
        let mut bad = good.clone();
        change(&mut bad);
        server.verify(epoch, &bad, "alice", &password, "REGISTER", Some(uri), b"").unwrap_err()
    };
    assert_eq!(verify(&|c| c.realm = "other".into(), URI), Refusal::Malformed);
    assert_eq!(verify(&|c| c.username = "bob".into(), URI), Refusal::Malformed);
    assert_eq!(verify(&|c| c.nc = Some("1".into()), URI), Refusal::Malformed);
    assert_eq!(verify(&|c| c.nc = Some("+0000001".into()), URI), Refusal::Malformed);
    assert_eq!(verify(&|c| c.nc = Some("00000000".into()), URI), Refusal::Malformed);
    assert_eq!(verify(&|c| c.cnonce = None, URI), Refusal::Malformed);
    assert_eq!(verify(&|c| c.qop = None, URI), Refusal::Malformed);
    assert_eq!(verify(&|c| c.algorithm = Some(Algorithm::Md5Sess), URI), Refusal::Algorithm);
    assert_eq!(verify(&|c| c.algorithm = None, URI), Refusal::Algorithm);
    assert_eq!(verify(&|_| (), "sip:other.example"), Refusal::Uri);
    assert_eq!(verify(&|c| c.response = String::new(), URI), Refusal::Wrong);
    for text in [
        "Basic eDp5",
        "Digest",
        "Digest x",
        "Digest username=\"a\", nonce=\"b\"",
        "Digest username=\"a\", nonce=\"b\", response=\"c\", qop=what",
    ] {
        assert!(Credentials::parse(text.as_bytes()).is_none(), "{text}");
    }
}

#[test]
fn quotes_and_commas_in_names_survive() {
    let row = r#"Digest realm="a, \"b\" \\ c", nonce="n", opaque="", qop="auth""#;
    let mut client = DigestClient::new("al\"ice, x", Secret::new("p"), Policy::default());
    client.learn(&challenges(&[row]), false).unwrap();
    let credentials = one(&mut client, "REGISTER", b"");
    assert_eq!((credentials.realm.as_str(), credentials.username.as_str()), (r#"a, "b" \ c"#, "al\"ice, x"));
    assert_eq!(credentials.opaque.as_deref(), Some(""));
}

#[test]
fn secrets_do_not_reach_debug_output() {
    let epoch = Instant::now();
    let mut client = client(Policy::default());
    client.learn(&parsed(&server(epoch), epoch, false), false).unwrap();
    let credentials = one(&mut client, "REGISTER", b"");
    let shown = format!("{client:?} {credentials:?} {:?}", server(epoch));
    assert!(
        !shown.contains("swordfish") && !shown.contains(&credentials.response) && !shown.contains("7, 7, 7")
    );
    assert!(!shown.contains(ha1(Algorithm::Sha256, "alice", "example.com", &"swordfish".into()).as_str()));
}
