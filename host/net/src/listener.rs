//! A socket that connections are accepted from.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use attache_sip::transport::Transport;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Sleep, sleep};

use crate::socket;

/// How long to leave a listener alone that the system gives no more connections, for want of file descriptors mostly.
const PAUSE: Duration = Duration::from_secs(1);

pub(crate) struct Listener {
    socket: TcpListener,
    local: SocketAddr,
    transport: Transport,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Listener {
    pub(crate) fn bind(address: SocketAddr, transport: Transport) -> io::Result<Self> {
        let socket = socket::tcp_listener(address)?;
        let local = socket.local_addr()?;
        Ok(Self { socket, local, transport, pause: None })
    }

    pub(crate) fn local(&self) -> SocketAddr {
        self.local
    }

    pub(crate) fn transport(&self) -> Transport {
        self.transport
    }

    /// The next connection. A listener that the system refuses them rests, and wakes the task afterwards.
    pub(crate) fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<(TcpStream, SocketAddr)> {
        loop {
            if let Some(pause) = &mut self.pause {
                if Future::poll(pause.as_mut(), cx).is_pending() {
                    return Poll::Pending;
                }
                self.pause = None;
            }
            match self.socket.poll_accept(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(accepted)) => return Poll::Ready(accepted),
                Poll::Ready(Err(error)) if is_of_one_connection(&error) => {}
                Poll::Ready(Err(error)) => {
                    tracing::warn!(local = %self.local, %error, "cannot accept connections");
                    self.pause = Some(Box::pin(sleep(PAUSE)));
                }
            }
        }
    }
}

/// Errors of `accept` that concern the connection, not the listener.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}
