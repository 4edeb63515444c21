//! Making sockets: the options that the standard library does not set.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

/// Connections that the kernel may hold before they are accepted.
const BACKLOG: i32 = 1024;

/// Silence after which a peer is asked whether it is still there; shorter than what middleboxes forget connections after.
const SILENCE: Duration = Duration::from_secs(60);

/// How often to look for a port that is free on both transports.
const PORT_ATTEMPTS: usize = 32;

pub(crate) fn udp(address: SocketAddr, receive_buffer: usize) -> io::Result<UdpSocket> {
    let socket = new(address, Type::DGRAM, Protocol::UDP)?;
    // Less is no failure: the system has a maximum of its own.
    let _ = socket.set_recv_buffer_size(receive_buffer);
    socket.bind(&address.into())?;
    UdpSocket::from_std(socket.into())
}

pub(crate) fn tcp_listener(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = new(address, Type::STREAM, Protocol::TCP)?;
    // So that a service restarts while connections of its predecessor are still being forgotten.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Runs `bind` with `address`; when its port is 0 and what `bind` does needs the same free port twice, again with
/// another one.
pub(crate) fn with_one_port<T>(
    address: SocketAddr,
    mut bind: impl FnMut(SocketAddr) -> io::Result<T>,
) -> io::Result<T> {
    let attempts = if address.port() == 0 { PORT_ATTEMPTS } else { 1 };
    let mut outcome = bind(address);
    for _ in 1..attempts {
        match &outcome {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => outcome = bind(address),
            _ => break,
        }
    }
    outcome
}

/// Has the system break a connection whose peer acknowledges nothing for so long, as one that has lost its network does:
/// the kernel's buffer takes what is written, and would retransmit it for a quarter of an hour.
pub(crate) fn give_up_after(stream: &TcpStream, patience: Duration) {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if let Err(error) = SockRef::from(stream).set_tcp_user_timeout(Some(patience)) {
        tracing::debug!(%error, "no time limit for acknowledgements");
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = (stream, patience);
}

/// Has the system ask the peer of a silent connection now and then whether it is still there.
pub(crate) fn keep_alive(stream: &TcpStream) {
    let how = TcpKeepalive::new().with_time(SILENCE);
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "macos", target_os = "windows"))]
    let how = how.with_interval(SILENCE / 4);
    if let Err(error) = SockRef::from(stream).set_tcp_keepalive(&how) {
        tracing::debug!(%error, "no keep-alive");
    }
}

/// The address that this machine would use to reach `remote`.
///
/// A node that is bound to a wildcard address has to name a real one in Via and Contact. Nothing is sent.
///
/// # Errors
/// When no route leads there.
pub fn source_address(remote: SocketAddr) -> io::Result<IpAddr> {
    let any: SocketAddr = match remote {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = std::net::UdpSocket::bind(any)?;
    socket.connect(remote)?;
    Ok(socket.local_addr()?.ip())
}

fn new(address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if address.is_ipv6() {
        // Each family has a socket of its own, so that an address never arrives in the mapped form.
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}
