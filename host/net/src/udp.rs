//! One UDP socket, and what waits until the operating system takes it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll, ready};

use attache_sip::transport::{Flow, FlowId, Transport};
use bytes::Bytes;
use socket2::SockRef;
use tokio::io::ReadBuf;
use tokio::net::UdpSocket;

use crate::error::FlowError;

/// The largest datagram that IP can carry.
const MAX_DATAGRAM: usize = 65_535;

/// A peer that is gone makes some systems report an error on the next receive. It says nothing about the socket, so it
/// is passed over; but not for ever within one call.
const MAX_ERRORS: usize = 8;

thread_local! {
    /// Where a datagram arrives before its length is known. Shared by the sockets that a thread serves: a process with
    /// a thousand accounts must not hold this a thousand times.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; MAX_DATAGRAM].into_boxed_slice());
}

pub(crate) struct Udp {
    socket: UdpSocket,
    id: FlowId,
    local: SocketAddr,
    waiting: VecDeque<(SocketAddr, Bytes)>,
    max_waiting: usize,
    dropped: u64,
}

impl Udp {
    pub(crate) fn bind(
        address: SocketAddr,
        id: FlowId,
        receive_buffer: usize,
        max_waiting: usize,
    ) -> io::Result<Self> {
        let socket = crate::socket::udp(address, receive_buffer)?;
        let local = socket.local_addr()?;
        Ok(Self { socket, id, local, waiting: VecDeque::new(), max_waiting, dropped: 0 })
    }

    pub(crate) fn id(&self) -> FlowId {
        self.id
    }

    pub(crate) fn local(&self) -> SocketAddr {
        self.local
    }

    /// Datagrams that neither the operating system nor the queue had room for.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }

    pub(crate) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Sends or queues. An error concerns this datagram alone.
    pub(crate) fn send(&mut self, to: SocketAddr, payload: Bytes) -> Result<(), FlowError> {
        // In order behind those that wait already.
        if self.waiting.is_empty() {
            // Straight to the socket: tokio's own attempt fails until its driver has seen the socket for the first time.
            match SockRef::from(&self.socket).send_to(&payload, &to.into()) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(send_error(error)),
            }
        }
        if self.waiting.len() < self.max_waiting {
            self.waiting.push_back((to, payload));
        } else {
            // As a router would: retransmission is the transaction's business.
            self.dropped += 1;
        }
        Ok(())
    }

    /// Sends what waits, as far as the operating system takes it, and has the task woken when it takes more.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while let Some((to, payload)) = self.waiting.front() {
            match ready!(self.socket.poll_send_to(cx, payload, *to)) {
                // Too late to tell the sender of a bad one: its transaction times out.
                Ok(_) | Err(_) => self.waiting.pop_front(),
            };
        }
        Poll::Ready(())
    }

    pub(crate) fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<(Flow, Bytes)> {
        SCRATCH.with_borrow_mut(|scratch| {
            for _ in 0..MAX_ERRORS {
                let mut buffer = ReadBuf::new(scratch);
                match ready!(self.socket.poll_recv_from(cx, &mut buffer)) {
                    Ok(remote) => {
                        let bytes = Bytes::copy_from_slice(buffer.filled());
                        return Poll::Ready((self.flow(remote), bytes));
                    }
                    Err(error) => tracing::debug!(local = %self.local, %error, "receive failed"),
                }
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
    }

    pub(crate) fn try_recv(&mut self) -> Option<(Flow, Bytes)> {
        SCRATCH.with_borrow_mut(|scratch| {
            let (length, remote) = self.socket.try_recv_from(scratch).ok()?;
            Some((self.flow(remote), Bytes::copy_from_slice(&scratch[..length])))
        })
    }

    fn flow(&self, remote: SocketAddr) -> Flow {
        Flow { id: self.id, transport: Transport::Udp, local: self.local, remote }
    }
}

fn send_error(error: io::Error) -> FlowError {
    // Rust has no stable kind for EMSGSIZE; 90 on Linux, 40 on the BSDs and macOS, 10040 on Windows.
    match error.raw_os_error() {
        Some(90 | 40 | 10040) => FlowError::TooLarge,
        _ => error.into(),
    }
}
