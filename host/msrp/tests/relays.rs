//! Authorisation with a relay, and sessions behind one (RFC 4976).

#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use std::time::{Duration, Instant};

use attache_msrp::{
    Failure, Limits, Msrp, MsrpError, MsrpEvent, Outgoing, RelayId, RelayParams, Role, SessionParams,
    StreamId, StreamInput, StreamRequest,
};
use attache_sip::digest::{Credentials, DigestServer, Password, Secret};
use bytes::Bytes;
use common::{node, peer, text};

const RELAY: &str = "msrps://relay.example.com:2855;tcp";
const PATH: &str = "msrps://relay.example.com:2855/abc123;tcp";

/// A machine that asks a relay, whose part the test plays.
struct Asking {
    node: Msrp,
    now: Instant,
    relay: RelayId,
    stream: StreamId,
}

impl Asking {
    fn new() -> Self {
        let mut node = node("alice", Limits::default());
        let now = Instant::now();
        let params = RelayParams {
            uri: RELAY.parse().unwrap(),
            user: "alice".into(),
            password: Secret::new("wonderland"),
            expires: Duration::from_secs(600),
        };
        let relay = node.authorize(now, params).unwrap();
        let Some(StreamRequest::Connect { stream, target }) = node.poll_transmit(now) else { panic!() };
        assert_eq!((target.host.as_str(), target.port, target.secure), ("relay.example.com", 2855, true));
        node.handle_input(now, StreamInput::Opened { stream });
        Self { node, now, relay, stream }
    }

    /// What the machine says next, as its first line and the values of some headers.
    fn said(&mut self) -> Option<String> {
        match self.node.poll_transmit(self.now)? {
            StreamRequest::Send { stream, bytes } => {
                let length = bytes.len();
                self.node.handle_input(self.now, StreamInput::Written { stream, bytes: length });
                Some(String::from_utf8(bytes.to_vec()).unwrap())
            }
            other => panic!("{other:?}"),
        }
    }

    fn answer(&mut self, request: &str, status: &str, headers: &str) {
        let id = request.split(' ').nth(1).unwrap();
        let response = format!(
            "MSRP {id} {status}\r\nTo-Path: {}\r\nFrom-Path: {RELAY}\r\n{headers}-------{id}$\r\n",
            header(request, "From-Path").unwrap()
        );
        let bytes = Bytes::from(response);
        self.node.handle_input(self.now, StreamInput::Bytes { stream: self.stream, bytes });
    }

    fn wait(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        self.node.handle_timeout(self.now);
    }

    fn ready(&mut self) {
        let asked = self.said().unwrap();
        self.answer(&asked, "200 OK", &format!("Use-Path: {PATH}\r\nExpires: 600\r\n"));
        assert!(
            matches!(self.node.poll_event(), Some(MsrpEvent::RelayReady { relay }) if relay == self.relay)
        );
    }
}

fn header<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

fn challenge(server: &DigestServer, now: Instant) -> String {
    let rows = server.challenges(now, 7, false);
    rows.iter().map(|row| format!("WWW-Authenticate: {row}\r\n")).collect()
}

#[test]
fn an_account_is_proved_to_a_relay_and_renewed_in_time() {
    let mut asking = Asking::new();
    let server = DigestServer::new("example.com", [9; 32], asking.now);
    let first = asking.said().unwrap();
    assert!(first.contains(" AUTH\r\n") && header(&first, "To-Path") == Some(RELAY), "{first}");
    assert_eq!((header(&first, "Expires"), header(&first, "Authorization")), (Some("600"), None));
    let row = challenge(&server, asking.now);
    asking.answer(&first, "401 Unauthorized", &row);
    let second = asking.said().unwrap();
    let credentials = Credentials::parse(header(&second, "Authorization").unwrap().as_bytes()).unwrap();
    assert_eq!(credentials.uri, RELAY);
    let password = Password::Plain(Secret::new("wonderland"));
    assert!(server.verify(asking.now, &credentials, "alice", &password, "AUTH", None, b"").is_ok());
    asking.answer(&second, "200 OK", &format!("Use-Path: {PATH}\r\nExpires: 300\r\n"));
    assert!(matches!(asking.node.poll_event(), Some(MsrpEvent::RelayReady { .. })));
    // Before the 300 seconds are over it asks again, with credentials at once.
    asking.wait(200);
    assert_eq!(asking.said(), None);
    asking.wait(40);
    let third = asking.said().unwrap();
    assert!(header(&third, "Authorization").is_some());
    asking.answer(&third, "200 OK", &format!("Use-Path: {PATH}\r\nExpires: 300\r\n"));
    assert!(asking.node.poll_event().is_none());
}

#[test]
fn a_wrong_password_is_told_once() {
    let mut asking = Asking::new();
    let server = DigestServer::new("example.com", [9; 32], asking.now);
    for _ in 0..2 {
        let asked = asking.said().unwrap();
        let row = challenge(&server, asking.now);
        asking.answer(&asked, "401 Unauthorized", &row);
    }
    assert!(matches!(
        asking.node.poll_event(),
        Some(MsrpEvent::RelayFailed { failure: Failure::Unauthorized(_), .. })
    ));
    asking.wait(1000);
    assert!(asking.node.poll_event().is_none());
    let params = SessionParams { relay: Some(asking.relay), ..SessionParams::default() };
    assert_eq!(asking.node.open(asking.now, params).unwrap_err(), MsrpError::Unknown);
}

#[test]
fn a_relay_says_for_how_long_it_serves() {
    let mut asking = Asking::new();
    let asked = asking.said().unwrap();
    asking.answer(&asked, "423 Interval Out-of-Bounds", "Max-Expires: 120\r\n");
    let again = asking.said().unwrap();
    assert_eq!(header(&again, "Expires"), Some("120"));
    asking.answer(&again, "423 Interval Out-of-Bounds", "Max-Expires: 60\r\n");
    assert!(matches!(
        asking.node.poll_event(),
        Some(MsrpEvent::RelayFailed { failure: Failure::Status { status: 423, .. }, .. })
    ));
}

#[test]
fn a_session_behind_a_relay_is_named_and_reached_by_it() {
    let mut asking = Asking::new();
    let relayed = SessionParams { secure: true, relay: Some(asking.relay), ..SessionParams::default() };
    assert_eq!(asking.node.open(asking.now, relayed.clone()).unwrap_err(), MsrpError::NotNow);
    asking.ready();
    let session = asking.node.open(asking.now, relayed).unwrap();
    let path = asking.node.local_path(session).unwrap();
    assert_eq!((path.len(), path[0].as_str()), (2, PATH));
    let far = ["msrps://far.example.org:1/r;tcp", "msrps://bob.example.org:2/b;tcp"];
    let theirs = far.iter().map(|uri| uri.parse().unwrap()).collect();
    // Whatever was agreed on, this side connects: it has done so.
    asking.node.connect(asking.now, session, peer(theirs, Role::Passive)).unwrap();
    assert!(matches!(asking.node.poll_event(), Some(MsrpEvent::Connected { .. })));
    let hello = asking.said().unwrap();
    assert_eq!(header(&hello, "To-Path"), Some(format!("{PATH} {} {}", far[0], far[1]).as_str()));
    assert_eq!(header(&hello, "From-Path"), Some(path[1].as_str()));
    asking.answer(&hello, "200 OK", "");

    let message = Outgoing { success_report: true, ..text("Hi") };
    let message = asking.node.send(asking.now, session, message).unwrap();
    let sent = asking.said().unwrap();
    asking.answer(&sent, "200 OK", "");
    assert!(matches!(asking.node.poll_event(), Some(MsrpEvent::Sent { .. })));
    // The relay has taken it; that the far end could not be reached comes as a report.
    let report = format!(
        "MSRP r1r1 REPORT\r\nTo-Path: {}\r\nFrom-Path: {PATH}\r\nMessage-ID: {}\r\nByte-Range: 1-2/2\r\n\
         Status: 000 408 Nobody there\r\n-------r1r1$\r\n",
        path[1],
        header(&sent, "Message-ID").unwrap()
    );
    let bytes = Bytes::from(report);
    asking.node.handle_input(asking.now, StreamInput::Bytes { stream: asking.stream, bytes });
    let event = asking.node.poll_event();
    let Some(MsrpEvent::Failed { message: failed, failure, .. }) = event else { panic!("{event:?}") };
    assert_eq!(failed, message);
    assert_eq!(failure, Failure::Status { status: 408, comment: "Nobody there".into() });
}

#[test]
fn a_relay_that_is_lost_ends_what_is_behind_it() {
    let mut asking = Asking::new();
    asking.ready();
    let params = SessionParams { relay: Some(asking.relay), ..SessionParams::default() };
    let session = asking.node.open(asking.now, params).unwrap();
    let path = vec!["msrps://bob.example.org:2/b;tcp".parse().unwrap()];
    asking.node.connect(asking.now, session, peer(path, Role::Active)).unwrap();
    asking.node.poll_event();
    let input = StreamInput::Closed { stream: asking.stream, reason: "connection reset".into() };
    asking.node.handle_input(asking.now, input);
    assert!(matches!(asking.node.poll_event(), Some(MsrpEvent::Disconnected { .. })));
    assert!(matches!(asking.node.poll_event(), Some(MsrpEvent::RelayFailed { .. })));
}
