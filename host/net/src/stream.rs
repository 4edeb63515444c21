//! A byte stream to one peer, encrypted or not, and how it comes to be.

use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use attache_msrp::Fingerprint;
use attache_sip::transport::{Destination, Transport};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::{ClientConfig, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use crate::error::FlowError;
use crate::options::Limits;
use crate::socket;
use crate::tls::{self, CertificateSummary, Tls};

/// A byte stream to one peer.
pub(crate) enum Stream {
    Plain(TcpStream),
    // Its state is large, and most connections of a process are of one kind.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// The certificate that the peer has shown, as its summary.
    pub(crate) fn peer_certificate(&self) -> Option<Arc<CertificateSummary>> {
        CertificateSummary::read(self.shown()?).map(Arc::new)
    }

    /// The same by its fingerprint.
    pub(crate) fn peer_fingerprint(&self) -> Option<Fingerprint> {
        self.shown().map(|certificate| Fingerprint::of(certificate))
    }

    fn shown(&self) -> Option<&CertificateDer<'static>> {
        let Self::Tls(stream) = self else { return None };
        stream.get_ref().1.peer_certificates()?.first()
    }
}

/// Opens a TCP connection.
pub(crate) async fn connect(peer: Destination, limits: &Limits) -> Result<TcpStream, FlowError> {
    let patience = limits.connect_timeout;
    let stream = match timeout(patience, TcpStream::connect(peer.remote)).await {
        Ok(connected) => connected?,
        Err(_) => return Err(FlowError::ConnectTimeout(patience.as_secs())),
    };
    prepare(&stream, limits);
    Ok(stream)
}

/// Sets what every connection wants set.
pub(crate) fn prepare(stream: &TcpStream, limits: &Limits) {
    let _ = stream.set_nodelay(true);
    socket::give_up_after(stream, limits.write_timeout);
}

/// Has the peer prove who it is, where the transport is one that can. Without time limit.
pub(crate) async fn secure(
    stream: TcpStream,
    peer: Destination,
    domain: Option<&str>,
    tls: Option<&Tls>,
) -> Result<Stream, FlowError> {
    if !peer.transport.is_secure() {
        return Ok(Stream::Plain(stream));
    }
    let tls = tls.ok_or(FlowError::Unsupported(peer.transport.via_name()))?;
    // A WebSocket server is a web server, and has a web server's certificate (RFC 7118 §8).
    let config = if peer.transport == Transport::Wss { tls.web_client() } else { tls.sip_client() };
    secure_with(stream, peer.remote.ip(), domain, config).await
}

/// As [`secure`], over TLS on these terms.
pub(crate) async fn secure_with(
    stream: TcpStream,
    address: IpAddr,
    domain: Option<&str>,
    config: Arc<ClientConfig>,
) -> Result<Stream, FlowError> {
    let name = tls::server_name(domain, address)?;
    let connected = TlsConnector::from(config).connect(name, stream).await;
    let stream = connected.map_err(tls::handshake_error)?;
    Ok(Stream::Tls(Box::new(stream.into())))
}

/// Proves to a peer who this node is, where the transport is one that can. Without time limit.
pub(crate) async fn welcome(
    stream: TcpStream,
    transport: Transport,
    tls: Option<&Tls>,
) -> Result<Stream, FlowError> {
    if !transport.is_secure() {
        return Ok(Stream::Plain(stream));
    }
    let config = tls.and_then(Tls::server).ok_or(FlowError::Unsupported(transport.via_name()))?;
    welcome_with(stream, config).await
}

/// As [`welcome`], over TLS on these terms.
pub(crate) async fn welcome_with(stream: TcpStream, config: Arc<ServerConfig>) -> Result<Stream, FlowError> {
    let accepted = TlsAcceptor::from(config).accept(stream).await;
    let stream = accepted.map_err(tls::handshake_error)?;
    Ok(Stream::Tls(Box::new(stream.into())))
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }
}
