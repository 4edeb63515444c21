//! From nothing to a connection that carries messages: the handshakes of each transport, within their time.

use std::sync::Arc;

use attache_sip::transport::{Destination, Flow, FlowId, Transport};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::connection::{self, Ends, Report};
use crate::error::FlowError;
use crate::framing::Plain;
use crate::options::Limits;
use crate::stream::{self, Stream};
use crate::tls::Tls;

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
        let secured = stream::secure(stream, peer, domain.as_deref(), terms.tls.as_ref());
        Ok((local, in_time(&terms.limits, secured).await?))
    };
    match opened.await {
        Ok((local, stream)) => {
            run(stream, Flow { id, transport: peer.transport, local, remote: peer.remote }, ends, &terms)
                .await;
        }
        Err(reason) => {
            let _ = ends.reports.send(Report::Unopened(id, reason)).await;
        }
    }
}

/// Takes a connection that a peer has opened, and runs it until it ends.
pub(crate) async fn receive(stream: TcpStream, flow: Flow, ends: Ends, terms: Arc<Terms>) {
    stream::prepare(&stream, &terms.limits);
    match in_time(&terms.limits, stream::welcome(stream, flow.transport, terms.tls.as_ref())).await {
        Ok(stream) => run(stream, flow, ends, &terms).await,
        Err(reason) => {
            let _ = ends.reports.send(Report::Unopened(flow.id, reason)).await;
        }
    }
}

async fn run(stream: Stream, flow: Flow, ends: Ends, terms: &Terms) {
    if flow.transport != Transport::Tcp {
        let opened = Report::Opened(flow.id, stream.peer_certificate());
        if ends.reports.send(opened).await.is_err() {
            return;
        }
    }
    connection::run(stream, Plain::new(&terms.limits, flow.remote), flow, ends).await;
}

async fn in_time<T>(
    limits: &Limits,
    handshake: impl Future<Output = Result<T, FlowError>>,
) -> Result<T, FlowError> {
    let patience = limits.handshake_timeout;
    timeout(patience, handshake).await.unwrap_or(Err(FlowError::HandshakeTimeout(patience.as_secs())))
}
