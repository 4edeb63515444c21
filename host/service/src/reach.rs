//! Where requests to a client go.

use attache_sip::transport::{Destination, Flow, FlowId, Transport};
use attache_sip::uri::Uri;
use std::net::SocketAddr;

/// How to reach a client that gave an address and was seen somewhere.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) struct Reach {
    pub(crate) destination: Destination,
    /// The connection that it came over.
    pub(crate) flow: Option<FlowId>,
    /// Whether the destination is the client's own, so that it still leads there when the connection is gone.
    pub(crate) is_listening: bool,
}

impl Reach {
    /// Requests go to the address in the Contact if it is on the host that the request came from, and otherwise back to
    /// where that came from. So a client behind a NAT is reached, and nobody can aim our requests at somebody else.
    pub(crate) fn new(contact: &Uri<'_>, flow: &Flow) -> Self {
        let stream = (flow.transport != Transport::Udp).then_some(flow.id);
        let address = contact.host().and_then(|host| host.ip()).map(|ip| ip.to_canonical());
        let transport =
            contact.transport().unwrap_or(if stream.is_some() { flow.transport } else { Transport::Udp });
        let known = matches!(transport, Transport::Udp | Transport::Tcp);
        if address == Some(flow.remote.ip().to_canonical()) && known {
            let port = contact.port().unwrap_or(transport.default_port());
            let destination = Destination { transport, remote: SocketAddr::new(flow.remote.ip(), port) };
            let flow = if transport == flow.transport { stream } else { None };
            return Self { destination, flow, is_listening: true };
        }
        Self { destination: flow.back(), flow: stream, is_listening: stream.is_none() }
    }

    /// Back over the flow that a request came on, and no other way (RFC 5626, section 6).
    pub(crate) fn over(flow: &Flow) -> Self {
        let stream = flow.transport.is_reliable().then_some(flow.id);
        Self { destination: flow.back(), flow: stream, is_listening: stream.is_none() }
    }

    /// Whether nobody can be there any more when something could not be sent: the connection was the only way. Elsewhere
    /// the next attempt may succeed.
    pub(crate) fn ends_with_its_flow(&self) -> bool {
        self.flow.is_some() && !self.is_listening
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(contact: &str, transport: Transport) -> String {
        let flow = Flow {
            id: FlowId(7),
            transport,
            local: "192.0.2.1:5060".parse().unwrap(),
            remote: "198.51.100.9:40000".parse().unwrap(),
        };
        let reach = Reach::new(&Uri::parse_str(contact).unwrap(), &flow);
        format!("{} {:?}", reach.destination, reach.flow.map(|flow| flow.0))
    }

    #[test]
    fn a_contact_on_the_sending_host_is_used() {
        assert_eq!(reach("sip:a@198.51.100.9:5070", Transport::Udp), "udp:198.51.100.9:5070 None");
        assert_eq!(
            reach("sip:a@198.51.100.9:5070;transport=tcp", Transport::Udp),
            "tcp:198.51.100.9:5070 None"
        );
        assert_eq!(
            reach("sip:a@198.51.100.9:5070;transport=tcp", Transport::Tcp),
            "tcp:198.51.100.9:5070 Some(7)"
        );
    }

    #[test]
    fn a_contact_elsewhere_is_not_believed() {
        assert_eq!(reach("sip:a@10.0.0.9:5070", Transport::Udp), "udp:198.51.100.9:40000 None");
        assert_eq!(reach("sip:a@victim.example", Transport::Udp), "udp:198.51.100.9:40000 None");
        assert_eq!(
            reach("sip:a@10.0.0.9:5070;transport=tcp", Transport::Tcp),
            "tcp:198.51.100.9:40000 Some(7)"
        );
    }
}
