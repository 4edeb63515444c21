//! A user of a service who sends single requests over UDP and gets their answers, and does nothing else: for what no
//! client does by itself, such as what a voice mail system publishes.

use std::{
    net::{SocketAddr, UdpSocket},
    time::Instant,
};

use anyhow::{Context, Result, bail, ensure};
use attache_sip::digest::{Challenge, DigestClient, Policy, Secret};

use crate::desk::{Login, PATIENCE};

/// One user.
pub struct Bare {
    socket: UdpSocket,
    service: SocketAddr,
    address: String,
    digest: DigestClient,
    requests: u32,
}

impl Bare {
    /// A user who reaches a service over UDP. Nothing is sent yet.
    ///
    /// # Errors
    /// When there is no socket.
    pub fn new(login: &Login, service: SocketAddr) -> Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let digest =
            DigestClient::new(login.user.clone(), Secret::new(login.password.clone()), Policy::default());
        Ok(Self { socket, service, address: login.address(), digest, requests: 0 })
    }

    /// Sends a request to somebody, again with credentials where they are wanted, and returns the final answer. `headers`
    /// are lines of their own; each ends with CRLF.
    ///
    /// # Errors
    /// When there is no answer in time, or a challenge that cannot be met.
    pub fn ask(&mut self, method: &str, uri: &str, headers: &str, body: &str) -> Result<String> {
        let answer = self.exchange(method, uri, headers, body)?;
        let (wanted, challenges) = challenges(&answer);
        if !wanted {
            return Ok(answer);
        }
        self.digest.learn(&challenges, false)?;
        let answer = self.exchange(method, uri, headers, body)?;
        ensure!(!answer.starts_with("SIP/2.0 401") && !answer.starts_with("SIP/2.0 407"), "{answer}");
        Ok(answer)
    }

    fn exchange(&mut self, method: &str, uri: &str, headers: &str, body: &str) -> Result<String> {
        self.requests += 1;
        let number = self.requests;
        let me = self.socket.local_addr()?;
        let credentials: String = self
            .digest
            .authorize(method, uri, body.as_bytes(), u128::from(number))
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        let request = format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {me};rport;branch=z9hG4bK-bare-{number}\r\n\
             Max-Forwards: 70\r\nFrom: <{address}>;tag=bare\r\nTo: <{uri}>\r\nCall-ID: bare-{number}@{me}\r\n\
             CSeq: {number} {method}\r\nContact: <sip:bare@{me}>\r\n{headers}{credentials}Content-Length: {}\r\n\r\n{body}",
            body.len(),
            address = self.address,
        );
        self.socket.send_to(request.as_bytes(), self.service)?;
        let deadline = Instant::now() + PATIENCE;
        let cseq = format!("CSeq: {number} {method}");
        let mut datagram = vec![0; 64 * 1024];
        while Instant::now() < deadline {
            let length = self.socket.recv(&mut datagram).context("no answer")?;
            let text = String::from_utf8_lossy(&datagram[..length]).into_owned();
            if text.starts_with("SIP/2.0 ") && !text.starts_with("SIP/2.0 1") && text.contains(&cseq) {
                return Ok(text);
            }
        }
        bail!("no answer to {method}")
    }
}

/// Whether credentials are wanted, and by which challenges.
fn challenges(answer: &str) -> (bool, Vec<Challenge>) {
    let (name, proxy) = match answer.split(' ').nth(1) {
        Some("401") => ("WWW-Authenticate: ", false),
        Some("407") => ("Proxy-Authenticate: ", true),
        _ => return (false, Vec::new()),
    };
    let rows = answer.lines().filter_map(|line| line.strip_prefix(name));
    (true, rows.flat_map(|row| Challenge::parse_row(row.as_bytes(), proxy)).collect())
}
