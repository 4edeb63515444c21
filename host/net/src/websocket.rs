//! SIP over WebSocket (RFC 7118): one message a frame, agreed on as the subprotocol `sip`.
//!
//! Frames, masks and the upgrade are the library's; sizes are checked there before anything is allocated. What is ours is
//! what RFC 7118 says of them, and that a peer which dawdles within a message or sends something else loses its
//! connection and nothing more.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use attache_sip::framing::is_keep_alive;
use attache_sip::transport::Transport;
use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::{Error, ProtocolError, SubProtocolError};
use tokio_tungstenite::tungstenite::handshake::server;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use crate::error::FlowError;
use crate::framing::{Inbound, Outbound, Received, Sending, broken};
use crate::options::Limits;
use crate::pulse::Pulse;
use crate::stream::Stream;

const PROTOCOL_HEADER: &str = "Sec-WebSocket-Protocol";
const PROTOCOL: &str = "sip";
/// Bytes read at once, held by every connection.
const READ_BUFFER: usize = 4 * 1024;
/// Bytes gathered for one call.
const WRITE_GATHER: usize = 16 * 1024;
/// Messages gathered for one call.
const WRITE_BATCH: usize = 64;
/// Time for the peer to take a farewell.
const FAREWELL: Duration = Duration::from_secs(1);

type Socket = WebSocketStream<Watched>;

/// Asks a server for the upgrade. Without time limit.
pub(crate) async fn ask(
    stream: Stream,
    transport: Transport,
    domain: Option<&str>,
    remote: SocketAddr,
    path: &str,
    limits: &Limits,
    pulse: &Arc<Pulse>,
) -> Result<(WsIn, WsOut), FlowError> {
    let port =
        if remote.port() == transport.default_port() { String::new() } else { format!(":{}", remote.port()) };
    let host = domain.map_or_else(|| remote.ip().to_string(), str::to_owned);
    let host = if host.parse::<Ipv6Addr>().is_ok() { format!("[{host}]") } else { host };
    let address = format!("{}://{host}{port}{path}", transport.uri_name());
    let mut request =
        address.as_str().into_client_request().map_err(|error| FlowError::WebSocket(error.to_string()))?;
    request.headers_mut().insert(PROTOCOL_HEADER, HeaderValue::from_static(PROTOCOL));
    let stream = Watched { stream, pulse: Arc::clone(pulse) };
    let asked = tokio_tungstenite::client_async_with_config(request, stream, Some(config(limits))).await;
    let (socket, _) = asked.map_err(|error| refused(error, path))?;
    Ok(halves(socket, limits))
}

/// Grants a client the upgrade, if it asks for the right thing. Without time limit.
#[expect(clippy::result_large_err, reason = "the library asks for this type")]
pub(crate) async fn grant(
    stream: Stream,
    path: &str,
    limits: &Limits,
    pulse: &Arc<Pulse>,
) -> Result<(WsIn, WsOut), FlowError> {
    let stream = Watched { stream, pulse: Arc::clone(pulse) };
    let check = |request: &server::Request, mut response: server::Response| {
        if request.uri().path() != path {
            return Err(refusal(StatusCode::NOT_FOUND, "No WebSocket here.\n"));
        }
        if !asks_for_sip(request.headers()) {
            return Err(refusal(
                StatusCode::BAD_REQUEST,
                "The WebSocket subprotocol must be sip (RFC 7118).\n",
            ));
        }
        response.headers_mut().insert(PROTOCOL_HEADER, HeaderValue::from_static(PROTOCOL));
        Ok(response)
    };
    let granted = tokio_tungstenite::accept_hdr_async_with_config(stream, check, Some(config(limits))).await;
    granted.map(|socket| halves(socket, limits)).map_err(|error| refused(error, path))
}

fn asks_for_sip(headers: &HeaderMap) -> bool {
    let named = headers.get_all(PROTOCOL_HEADER).iter().filter_map(|value| value.to_str().ok());
    named.flat_map(|value| value.split(',')).any(|name| name.trim().eq_ignore_ascii_case(PROTOCOL))
}

fn refusal(status: StatusCode, words: &str) -> server::ErrorResponse {
    let mut response = Response::new(Some(words.to_owned()));
    *response.status_mut() = status;
    response
}

fn config(limits: &Limits) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_GATHER)
        .max_message_size(Some(limits.max_message))
        .max_frame_size(Some(limits.max_message))
}

fn halves(socket: Socket, limits: &Limits) -> (WsIn, WsOut) {
    let (sink, stream) = socket.split();
    let patience = limits.write_timeout;
    (WsIn { stream, next: None, patience }, WsOut { sink, waiting: VecDeque::new(), bytes: 0 })
}

fn refused(error: Error, path: &str) -> FlowError {
    match error {
        Error::Io(error) => error.into(),
        Error::Http(response) => FlowError::WebSocket(format!(
            "the peer answers {} to an upgrade at `{path}`: see which path it has for SIP",
            response.status()
        )),
        Error::Protocol(ProtocolError::SecWebSocketSubProtocolError(
            SubProtocolError::NoSubProtocol | SubProtocolError::InvalidSubProtocol,
        )) => FlowError::WebSocket(format!("the peer does not offer SIP at `{path}`")),
        other => FlowError::WebSocket(other.to_string()),
    }
}

/// Why a WebSocket broke.
fn ended(error: Error, patience: Duration) -> FlowError {
    match error {
        Error::Io(error) => broken(error, patience),
        Error::ConnectionClosed | Error::AlreadyClosed => FlowError::Closed,
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => FlowError::Closed,
        other => FlowError::Garbage(other.to_string()),
    }
}

pub(crate) struct WsIn {
    stream: SplitStream<Socket>,
    next: Option<Received>,
    patience: Duration,
}

impl Inbound for WsIn {
    // Every WebSocket answers pings (RFC 6455 §5.5.2).
    const PONGS: bool = true;

    async fn wait(&mut self) -> Result<usize, FlowError> {
        loop {
            let message = match self.stream.next().await {
                Some(Ok(message)) => message,
                Some(Err(error)) => return Err(ended(error, self.patience)),
                None => return Ok(0),
            };
            let length = message.len().max(1);
            self.next = match message {
                Message::Text(text) => received(text.into()),
                Message::Binary(bytes) => received(bytes),
                // A ping has been answered by now, and shows as well as a pong that somebody is there.
                Message::Ping(_) | Message::Pong(_) => Some(Received::Pong),
                // Answered as well; the end comes next.
                Message::Close(_) | Message::Frame(_) => continue,
            };
            return Ok(length);
        }
    }

    fn next(&mut self) -> Option<Received> {
        self.next.take()
    }

    fn is_within_message(&self) -> bool {
        // Only what has come whole is seen here; `Watched` sees the beginning of the next.
        false
    }
}

/// What a frame holds. Whether it is a good message is for the machine to say, as with a datagram.
fn received(bytes: Bytes) -> Option<Received> {
    if bytes.is_empty() {
        return None;
    }
    if is_keep_alive(&bytes) {
        return Some(if bytes.len() < 4 { Received::Pong } else { Received::Ping });
    }
    let line =
        bytes.split(|byte| *byte == b'\n').find(|line| !matches!(line, [] | [b'\r'])).unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let is_sip = line.starts_with(b"SIP/")
        || line.rsplit(|byte| *byte == b' ').next().is_some_and(|last| last.starts_with(b"SIP/"));
    Some(if is_sip {
        Received::Message(bytes)
    } else {
        Received::Garbage { what: "a frame that holds no SIP message".into(), answer: None }
    })
}

pub(crate) struct WsOut {
    sink: SplitSink<Socket, Message>,
    waiting: VecDeque<Message>,
    bytes: usize,
}

impl Outbound for WsOut {
    fn push(&mut self, what: Sending) {
        let message = match what {
            Sending::Ping => Message::Ping(Bytes::new()),
            Sending::Pong => Message::Text(Utf8Bytes::from_static("\r\n")),
            // Browsers read text more easily; a body that is none makes the whole message binary (RFC 7118 §5).
            Sending::Message(bytes) => match Utf8Bytes::try_from(bytes.clone()) {
                Ok(text) => Message::Text(text),
                Err(_) => Message::Binary(bytes),
            },
        };
        self.bytes += message.len();
        self.waiting.push_back(message);
    }

    fn is_full(&self) -> bool {
        self.bytes >= WRITE_GATHER || self.waiting.len() >= WRITE_BATCH
    }

    async fn flush(&mut self, patience: Duration) -> Result<(), FlowError> {
        self.bytes = 0;
        while let Some(message) = self.waiting.pop_front() {
            in_time(patience, self.sink.feed(message)).await?;
        }
        in_time(patience, self.sink.flush()).await
    }

    async fn close(&mut self, reason: Option<&FlowError>) {
        let (code, reason) = match reason {
            // The peer is gone, or has been given up.
            Some(FlowError::Closed | FlowError::Reset | FlowError::WriteTimeout(_)) => return,
            Some(FlowError::Garbage(_)) => (CloseCode::Protocol, "this is a connection for SIP"),
            Some(FlowError::Idle) => (CloseCode::Away, "idle"),
            Some(_) => (CloseCode::Error, ""),
            None => (CloseCode::Away, ""),
        };
        let farewell = CloseFrame { code, reason: Utf8Bytes::from_static(reason) };
        let _ = timeout(FAREWELL, self.sink.send(Message::Close(Some(farewell)))).await;
    }
}

async fn in_time(
    patience: Duration,
    write: impl Future<Output = Result<(), Error>>,
) -> Result<(), FlowError> {
    match timeout(patience, write).await {
        Ok(outcome) => outcome.map_err(|error| ended(error, patience)),
        Err(_) => Err(FlowError::WriteTimeout(patience.as_secs())),
    }
}

/// Notes when bytes come in that have not become a message yet.
pub(crate) struct Watched {
    stream: Stream,
    pulse: Arc<Pulse>,
}

impl AsyncRead for Watched {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let outcome = ready!(Pin::new(&mut this.stream).poll_read(cx, buffer));
        if buffer.filled().len() > before {
            this.pulse.heard();
            this.pulse.within_message(true);
        }
        Poll::Ready(outcome)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
