//! What a datagram's request must show before anything of it is remembered.
//!
//! The source of a datagram is easily forged. So requests that prove nothing are answered without a transaction, which
//! would otherwise keep up to 64 KiB for half a minute for each of them. Whatever passes here is looked at again, once
//! the transaction layer has taken the repeats out.

use std::hash::Hasher as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use attache_sip::build::{BuildError, ResponseBuilder};
use attache_sip::endpoint::{Field, Response};
use attache_sip::message::{HeaderName, Message, Method, validate};
use attache_sip::transport::{Destination, Flow, Transmit};
use bytes::Bytes;

use super::Core;
use super::access::Challenger;

/// For so long a client repeats a request: a nonce that has grown too old meanwhile is still good for the repeats.
const REPEATED_FOR: Duration = Duration::from_secs(40);

impl Core {
    pub(super) fn handle_datagram(&mut self, now: Instant, flow: Flow, bytes: Bytes) {
        let Ok(message) = Message::parse_with(bytes.clone(), &self.endpoint.config().limits) else {
            // Answered without a transaction there too, as is what is invalid.
            self.endpoint.handle_input(now, flow, bytes);
            return;
        };
        let is_answerable = message.is_request()
            && message.method() != Some(Method::Ack)
            && !validate(&message)
                .iter()
                .any(|one| one.must_refuse() && one.header != Some(HeaderName::Require));
        match is_answerable.then(|| self.refusal_at_the_door(now, &message, &flow)).flatten() {
            Some(refusal) => self.respond_at_the_door(&message, &flow, &refusal),
            None => self.endpoint.handle_message(now, flow, message),
        }
    }

    /// The answer to a request that must not come in. `None` for one that may.
    fn refusal_at_the_door(&mut self, now: Instant, request: &Message, flow: &Flow) -> Option<Response> {
        if !self.rate.admits(flow.remote.ip(), now) {
            return Some(too_fast());
        }
        if self.way_within(request).is_some() || self.is_of_member(request) {
            return None;
        }
        let challenger = match request.method()? {
            // The transaction layer answers it, in few bytes.
            Method::Cancel => return None,
            Method::Options => return Some(self.capabilities(200)),
            _ if self.is_lost(request) => return Some(Response::new(481)),
            Method::Message | Method::Invite | Method::Refer => Challenger::Proxy,
            Method::Register | Method::Publish | Method::Subscribe => Challenger::Server,
            Method::Other(_) => return Some(self.capabilities(501)),
            _ => return Some(Response::new(481)),
        };
        let then = now.checked_sub(REPEATED_FOR).unwrap_or(now);
        self.look_at(now, then, request, flow, challenger).err().map(|refusal| *refusal)
    }

    fn respond_at_the_door(&mut self, request: &Message, flow: &Flow, response: &Response) {
        match write(response, request, flow.remote, &self.stateless_tag(request)) {
            Ok(payload) => {
                let destination = Destination { remote: way_back(request, flow), ..flow.back() };
                self.refusals.push_back(Transmit { destination, flow: Some(flow.id), domain: None, payload });
            }
            Err(error) => tracing::debug!(status = response.status, %error, "not answered"),
        }
    }

    /// Whether a request is within a call that did not go through here.
    fn is_lost(&self, request: &Message) -> bool {
        let is_call = matches!(request.method(), Some(Method::Invite | Method::Refer));
        is_call && request.to().is_ok_and(|to| to.tag().is_some())
    }

    /// The same for each repeat of a request (RFC 3261, section 8.2.7), and not to be guessed.
    fn stateless_tag(&self, request: &Message) -> String {
        let mut hasher = std::hash::DefaultHasher::new();
        hasher.write_u64(self.tag_key);
        for name in [HeaderName::Via, HeaderName::From, HeaderName::CallId, HeaderName::CSeq] {
            let value = request.header(name).unwrap_or_default();
            hasher.write_usize(value.len());
            hasher.write(value);
        }
        format!("{:016x}", hasher.finish())
    }
}

pub(super) fn too_fast() -> Response {
    Response::new(503).header(HeaderName::RetryAfter, "1")
}

fn write(response: &Response, request: &Message, source: SocketAddr, tag: &str) -> Result<Bytes, BuildError> {
    let reason = response.reason.as_deref().unwrap_or_default();
    let mut builder = ResponseBuilder::for_request_from(request, source, response.status, reason).to_tag(tag);
    for (field, value) in &response.headers {
        builder = match field {
            Field::Known(name) => builder.header(*name, value),
            Field::Other(name) => builder.other(name, value.as_bytes()),
        };
    }
    builder.finish()
}

/// Where an answer goes (RFC 3261, section 18.2.2; RFC 3581, section 4): always to the host that the request came from.
fn way_back(request: &Message, flow: &Flow) -> SocketAddr {
    let port = match request.top_via() {
        Ok(via) if via.rport().is_none() => via.port().unwrap_or(flow.transport.default_port()),
        _ => flow.remote.port(),
    };
    SocketAddr::new(flow.remote.ip(), port)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use attache_sip::transport::{FlowId, Transport};

    use super::super::CoreConfig;
    use super::*;

    #[test]
    fn datagrams_that_prove_nothing_leave_nothing_behind() {
        let now = Instant::now();
        let local: SocketAddr = "192.0.2.1:5060".parse().unwrap();
        let config = CoreConfig::new("example.com", Vec::new(), local);
        let mut core = Core::new(config, now, SystemTime::UNIX_EPOCH, [7; 32]);
        let proof = "Digest username=\"alice\", realm=\"example.com\", nonce=\"0\", uri=\"sip:example.com\", \
                     response=\"00000000000000000000000000000000\", algorithm=MD5, qop=auth, nc=00000001, cnonce=\"x\"";
        let mut answers = 0;
        for method in ["REGISTER", "MESSAGE", "OPTIONS", "INVITE", "BREW"] {
            for (number, proof) in ["Basic x", proof].into_iter().enumerate() {
                let text = format!(
                    "{method} sip:example.com SIP/2.0\r\nVia: SIP/2.0/UDP 198.51.100.7;branch=z9hG4bK{method}{number};rport\r\n\
                     From: <sip:alice@example.com>;tag=1\r\nTo: <sip:alice@example.com>\r\nCall-ID: {number}\r\n\
                     CSeq: 1 {method}\r\nMax-Forwards: 70\r\nContact: <sip:alice@198.51.100.7>\r\n\
                     Authorization: {proof}\r\nContent-Length: 0\r\n\r\n"
                );
                let remote = "198.51.100.7:40000".parse().unwrap();
                let flow = Flow { id: FlowId(1), transport: Transport::Udp, local, remote };
                core.handle_input(now, flow, text.into());
                while let Some(transmit) = core.poll_transmit() {
                    assert_eq!(transmit.destination, flow.back());
                    answers += 1;
                }
            }
        }
        assert_eq!((answers, core.endpoint.transactions()), (10, (0, 0)));
    }

    #[test]
    fn calls_over_streams_that_prove_nothing_leave_nothing_behind() {
        let now = Instant::now();
        let local: SocketAddr = "192.0.2.1:5060".parse().unwrap();
        let config = CoreConfig::new("example.com", Vec::new(), local);
        let mut core = Core::new(config, now, SystemTime::UNIX_EPOCH, [7; 32]);
        let remote = "198.51.100.7:40000".parse().unwrap();
        let flow = Flow { id: FlowId(1), transport: Transport::Tcp, local, remote };
        for (number, tag) in ["", "", ";tag=lost"].into_iter().enumerate() {
            let text = format!(
                "INVITE sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/TCP 198.51.100.7;branch=z9hG4bK{number}\r\n\
                 From: <sip:alice@example.com>;tag=1\r\nTo: <sip:bob@example.com>{tag}\r\nCall-ID: {number}\r\n\
                 CSeq: 1 INVITE\r\nMax-Forwards: 70\r\nContact: <sip:alice@198.51.100.7>\r\nContent-Length: 0\r\n\r\n"
            );
            core.handle_input(now, flow, text.into());
            assert!(core.poll_transmit().is_some());
        }
        assert_eq!(core.endpoint.transactions(), (0, 0));
    }
}
