//! From nothing to a connection that carries messages: the handshakes of each transport, within their time.

use std::sync::Arc;

use attache_sip::transport::{Destination, Flow, FlowId, Transport};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::connection::{self, Ends, Report};
use crate::error::FlowError;
use crate::options::Limits;
use crate::plain;
use crate::pulse::Pulse;
use crate::stream::{self, Stream};
use crate::tls::{CertificateSummary, Tls};
use crate::websocket::{self, WsIn, WsOut};

/// What all connections of a node have in common.
pub(crate) struct Terms {
    pub(crate) limits: Arc<Limits>,
    pub(crate) tls: Option<Tls>,
    pub(crate) ws_path: String,
}

/// Opens a connection and runs it until it ends.
pub(crate) async fn dial(
    peer: Destination,
    domain: Option<Arc<str>>,
    id: FlowId,
    ends: Ends,
    terms: Arc<Terms>,
) {
    let opened = async {
        let stream = stream::connect(peer, &terms.limits).await?;
        let local = stream.local_addr()?;
        let flow = Flow { id, transport: peer.transport, local, remote: peer.remote };
        let shaken = async {
            let stream = stream::secure(stream, peer, domain.as_deref(), terms.tls.as_ref()).await?;
            let certificate = stream.peer_certificate();
            let side = Side::Asking(domain.as_deref());
            Ok((certificate, shape(stream, flow, side, &terms).await?))
        };
        Ok((flow, in_time(&terms.limits, shaken).await?))
    };
    match opened.await {
        Ok((flow, (certificate, shape))) => run(shape, certificate, flow, ends, &terms).await,
        Err(reason) => {
            let _ = ends.reports.send(Report::Unopened(id, reason)).await;
        }
    }
}

/// Takes a connection that a peer has opened, and runs it until it ends.
pub(crate) async fn receive(stream: TcpStream, flow: Flow, ends: Ends, terms: Arc<Terms>) {
    stream::prepare(&stream, &terms.limits);
    let shaken = async {
        let stream = stream::welcome(stream, flow.transport, terms.tls.as_ref()).await?;
        let certificate = stream.peer_certificate();
        Ok((certificate, shape(stream, flow, Side::Granting, &terms).await?))
    };
    match in_time(&terms.limits, shaken).await {
        Ok((certificate, shape)) => run(shape, certificate, flow, ends, &terms).await,
        Err(reason) => {
            let _ = ends.reports.send(Report::Unopened(flow.id, reason)).await;
        }
    }
}

/// Which end of an upgrade this is.
enum Side<'a> {
    /// The one that asks, for this domain.
    Asking(Option<&'a str>),
    Granting,
}

/// A stream as messages travel on it.
enum Shape {
    Plain(Stream),
    WebSocket(Box<(WsIn, WsOut)>, Arc<Pulse>),
}

async fn shape(stream: Stream, flow: Flow, side: Side<'_>, terms: &Terms) -> Result<Shape, FlowError> {
    if !matches!(flow.transport, Transport::Ws | Transport::Wss) {
        return Ok(Shape::Plain(stream));
    }
    let pulse = Arc::new(Pulse::new());
    let (path, limits) = (&terms.ws_path, &terms.limits);
    let halves = match side {
        Side::Asking(domain) => {
            websocket::ask(stream, flow.transport, domain, flow.remote, path, limits, &pulse).await?
        }
        Side::Granting => websocket::grant(stream, path, limits, &pulse).await?,
    };
    // The upgrade was no message.
    pulse.within_message(false);
    Ok(Shape::WebSocket(Box::new(halves), pulse))
}

async fn run(
    shape: Shape,
    certificate: Option<Arc<CertificateSummary>>,
    flow: Flow,
    ends: Ends,
    terms: &Terms,
) {
    if flow.transport != Transport::Tcp
        && ends.reports.send(Report::Opened(flow.id, certificate)).await.is_err()
    {
        return;
    }
    match shape {
        Shape::Plain(stream) => {
            let halves = plain::split(stream, &terms.limits, flow.remote);
            connection::run(halves, flow, ends, &Pulse::new()).await;
        }
        Shape::WebSocket(halves, pulse) => connection::run(*halves, flow, ends, &pulse).await,
    }
}

async fn in_time<T>(
    limits: &Limits,
    handshake: impl Future<Output = Result<T, FlowError>>,
) -> Result<T, FlowError> {
    let patience = limits.handshake_timeout;
    timeout(patience, handshake).await.unwrap_or(Err(FlowError::HandshakeTimeout(patience.as_secs())))
}
