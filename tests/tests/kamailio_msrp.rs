//! Message sessions through a relay written by others (RFC 4976).

#![cfg(unix)]

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use attache_msrp::{
    Body, Failure, Msrp, MsrpConfig, MsrpEvent, Outgoing, Peer, Receive, RelayId, RelayParams, Role,
    SessionId, SessionParams,
};
use attache_net::{MsrpOptions, MsrpSockets};
use attache_sip::digest::Secret;
use attache_tests::kamailio::MsrpRelay;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(40);

struct Node {
    msrp: Msrp,
    sockets: MsrpSockets,
}

impl Node {
    fn new(seed: u8) -> Result<Self> {
        let addresses = vec![([127, 0, 0, 1], 0).into()];
        let sockets = MsrpSockets::bind(MsrpOptions { addresses, ..MsrpOptions::default() })?;
        let port = sockets.local_addresses()[0].1.port();
        let config = MsrpConfig { host: "127.0.0.1".into(), port, ..MsrpConfig::default() };
        Ok(Self { msrp: Msrp::new(config, [seed; 32]), sockets })
    }

    fn drain(&mut self) {
        while let Some(request) = self.msrp.poll_transmit(Instant::now()) {
            self.sockets.request(request);
        }
    }

    async fn step(&mut self) {
        self.drain();
        let due = self.msrp.poll_timeout().unwrap_or_else(|| Instant::now() + PATIENCE);
        tokio::select! {
            input = self.sockets.recv() => self.msrp.handle_input(Instant::now(), input),
            () = tokio::time::sleep_until(due.into()) => self.msrp.handle_timeout(Instant::now()),
        }
        self.drain();
    }

    fn authorize(&mut self, relay: &MsrpRelay, password: &str) -> Result<RelayId> {
        let params = RelayParams {
            uri: format!("msrp://{};tcp", relay.address()).parse()?,
            user: "alice".into(),
            password: Secret::new(password),
            expires: Duration::from_secs(600),
        };
        Ok(self.msrp.authorize(Instant::now(), params)?)
    }
}

/// Runs both until `look` has seen enough.
async fn run<T>(
    a: &mut Node,
    b: &mut Node,
    relay: &MsrpRelay,
    mut look: impl FnMut(&mut Node, &mut Node) -> Result<Option<T>>,
) -> Result<T> {
    let all = async {
        loop {
            if let Some(found) = look(a, b)? {
                return Ok(found);
            }
            a.drain();
            b.drain();
            tokio::select! {
                () = a.step() => {}
                () = b.step() => {}
            }
        }
    };
    timeout(PATIENCE, all).await.with_context(|| format!("nothing more happens\n{}", relay.log()))?
}

async fn ready(a: &mut Node, b: &mut Node, relay: &MsrpRelay) -> Result<()> {
    run(a, b, relay, |a, _| match a.msrp.poll_event() {
        Some(MsrpEvent::RelayReady { .. }) => Ok(Some(())),
        Some(other) => bail!("{other:?}"),
        None => Ok(None),
    })
    .await
}

/// A session of the first, behind the relay, with the second, which waits for whoever connects.
fn connect(a: &mut Node, b: &mut Node, id: RelayId, receive: Receive) -> Result<(SessionId, SessionId)> {
    let now = Instant::now();
    let here = a.msrp.open(now, SessionParams { relay: Some(id), ..SessionParams::default() })?;
    let there = b.msrp.open(now, SessionParams { receive, ..SessionParams::default() })?;
    let path = |node: &Node, session| node.msrp.local_path(session).context("it is open");
    let peer = |path, role| Peer { path, role, target: None, fingerprints: Vec::new(), max_size: None };
    let (offered, answered) = (path(a, here)?, path(b, there)?);
    ensure!(offered.len() == 2, "{offered:?}");
    b.msrp.connect(now, there, peer(offered, Role::Passive))?;
    a.msrp.connect(now, here, peer(answered, Role::Active))?;
    Ok((here, there))
}

fn message(node: &mut Node) -> Option<String> {
    while let Some(event) = node.msrp.poll_event() {
        if let MsrpEvent::Message { message, .. } = event {
            node.msrp.accept(Instant::now(), message.id);
            return Some(String::from_utf8_lossy(&message.body).into_owned());
        }
    }
    None
}

#[tokio::test]
async fn messages_go_both_ways_through_a_foreign_relay() -> Result<()> {
    let relay = tokio::task::spawn_blocking(MsrpRelay::start).await??;
    let (mut alice, mut bob) = (Node::new(1)?, Node::new(2)?);
    let id = alice.authorize(&relay, "wonderland")?;
    ready(&mut alice, &mut bob, &relay).await?;
    let (here, there) = connect(&mut alice, &mut bob, id, Receive::Whole)?;
    let text = Outgoing { success_report: true, ..Outgoing::new("text/plain", "through the relay") };
    alice.msrp.send(Instant::now(), here, text)?;
    let got = run(&mut alice, &mut bob, &relay, |_, bob| Ok(message(bob))).await?;
    assert_eq!(got, "through the relay");
    // The report finds its way back.
    run(&mut alice, &mut bob, &relay, |alice, _| match alice.msrp.poll_event() {
        Some(MsrpEvent::Delivered { .. }) => Ok(Some(())),
        Some(MsrpEvent::Failed { failure, .. } | MsrpEvent::Disconnected { failure, .. }) => {
            Err(failure.into())
        }
        _ => Ok(None),
    })
    .await?;
    bob.msrp.send(Instant::now(), there, Outgoing::new("text/plain", "and back"))?;
    assert_eq!(run(&mut alice, &mut bob, &relay, |alice, _| Ok(message(alice))).await?, "and back");
    // A name is asked for and answered from end to end.
    alice.msrp.set_nickname(Instant::now(), here, "Al")?;
    run(&mut alice, &mut bob, &relay, |alice, bob| {
        if let Some(MsrpEvent::Nickname { request, name, .. }) = bob.msrp.poll_event() {
            ensure!(name == "Al");
            bob.msrp.answer_nickname(Instant::now(), request, 200);
        }
        match alice.msrp.poll_event() {
            Some(MsrpEvent::NicknameAnswered { outcome, .. }) => {
                Ok(Some(outcome.with_context(|| relay.log())?))
            }
            _ => Ok(None),
        }
    })
    .await
}

#[tokio::test]
async fn a_file_goes_through_a_foreign_relay_chunk_by_chunk() -> Result<()> {
    const TOTAL: u64 = 300_000;
    let octet = |at: u64| (at * 13 % 253) as u8;
    let relay = tokio::task::spawn_blocking(MsrpRelay::start).await??;
    let (mut alice, mut bob) = (Node::new(1)?, Node::new(2)?);
    let id = alice.authorize(&relay, "wonderland")?;
    ready(&mut alice, &mut bob, &relay).await?;
    let (here, _) = connect(&mut alice, &mut bob, id, Receive::Pieces)?;
    let body = Body::Pulled { total: TOTAL, from: 0 };
    let file = Outgoing { body, success_report: true, ..Outgoing::new("application/octet-stream", "") };
    alice.msrp.send(Instant::now(), here, file)?;
    let mut got = 0;
    run(&mut alice, &mut bob, &relay, |alice, bob| {
        while let Some(event) = bob.msrp.poll_event() {
            match event {
                MsrpEvent::Piece { message, offset, bytes, .. } => {
                    ensure!(bytes.0.iter().zip(offset..).all(|(byte, at)| *byte == octet(at)));
                    got += bytes.0.len() as u64;
                    bob.msrp.taken(message, bytes.0.len());
                }
                MsrpEvent::Complete { message, .. } => bob.msrp.accept(Instant::now(), message),
                MsrpEvent::Aborted { failure, .. } | MsrpEvent::Disconnected { failure, .. } => {
                    return Err(failure).with_context(|| relay.log());
                }
                _ => {}
            }
        }
        while let Some(event) = alice.msrp.poll_event() {
            match event {
                MsrpEvent::Wanted { message, offset, length, .. } => {
                    alice.msrp.supply(message, (offset..).take(length).map(octet).collect())?;
                }
                MsrpEvent::Delivered { .. } => return Ok(Some(())),
                MsrpEvent::Failed { failure, .. } => return Err(failure.into()),
                _ => {}
            }
        }
        Ok(None)
    })
    .await?;
    assert_eq!(got, TOTAL);
    Ok(())
}

#[tokio::test]
async fn a_foreign_relay_refuses_a_wrong_password_once() -> Result<()> {
    let relay = tokio::task::spawn_blocking(MsrpRelay::start).await??;
    let (mut alice, mut bob) = (Node::new(1)?, Node::new(2)?);
    alice.authorize(&relay, "looking glass")?;
    let failure = run(&mut alice, &mut bob, &relay, |alice, _| match alice.msrp.poll_event() {
        Some(MsrpEvent::RelayFailed { failure, .. }) => Ok(Some(failure)),
        Some(other) => bail!("{other:?}"),
        None => Ok(None),
    })
    .await?;
    assert!(matches!(failure, Failure::Unauthorized(_)), "{failure:?}");
    Ok(())
}
