//! From bytes to transactions.

use std::time::Instant;

use bytes::Bytes;

use super::{Endpoint, EndpointEvent, Response};
use crate::framing::{Frame, FrameError, StreamDecoder, is_keep_alive};
use crate::message::{Finding, HeaderName, Message, Method, ParseError, validate};
use crate::transport::{Flow, Transmit, Transport};

impl Endpoint {
    /// Takes bytes that came on a flow: a datagram, a WebSocket message, or a piece of a stream cut anywhere. Streams are
    /// put together here; tell the end of one with [`handle_flow_failed`](Self::handle_flow_failed).
    pub fn handle_input(&mut self, now: Instant, flow: Flow, bytes: Bytes) {
        match flow.transport {
            Transport::Tcp | Transport::Tls => self.handle_stream(now, flow, &bytes),
            Transport::Udp | Transport::Ws | Transport::Wss => self.handle_datagram(now, flow, bytes),
        }
    }

    /// Takes a message that the caller has read already.
    pub fn handle_message(&mut self, now: Instant, flow: Flow, message: Message) {
        if self.refuse_invalid(&message, &flow) {
            return;
        }
        if message.is_request() {
            self.on_request(now, flow, message);
        } else {
            self.on_response(now, flow, message);
        }
    }

    fn handle_datagram(&mut self, now: Instant, flow: Flow, bytes: Bytes) {
        if is_keep_alive(&bytes) {
            self.events.push_back(EndpointEvent::KeepAlive { flow });
            return;
        }
        // STUN shares the port in RFC 5626; no SIP message begins with such an octet.
        if bytes[0] < 4 {
            return;
        }
        match Message::parse_with(bytes, &self.config.limits) {
            Ok(message) => self.handle_message(now, flow, message),
            Err(error) => self.on_parse_error(&flow, &error, error.status()),
        }
    }

    fn handle_stream(&mut self, now: Instant, flow: Flow, bytes: &[u8]) {
        if !self.streams.contains_key(&flow.id) && self.streams.len() >= self.config.max_streams {
            return;
        }
        let limits = self.config.limits;
        let mut decoder = self.streams.remove(&flow.id).unwrap_or_else(|| StreamDecoder::new(limits));
        decoder.push(bytes);
        while let Some(frame) = decoder.next() {
            match frame {
                Ok(Frame::Message(bytes)) => match Message::parse_with(bytes, &limits) {
                    Ok(message) => self.handle_message(now, flow, message),
                    Err(error) => self.on_parse_error(&flow, &error, error.status()),
                },
                Ok(Frame::KeepAlive { pings, .. }) => {
                    // Several pings in one piece are one wish to know whether we live.
                    if pings > 0 {
                        self.transmits.push_back(Transmit {
                            destination: flow.back(),
                            flow: Some(flow.id),
                            domain: None,
                            payload: Bytes::from_static(b"\r\n"),
                        });
                    }
                    self.events.push_back(EndpointEvent::KeepAlive { flow });
                }
                Err(error) => self.on_frame_error(&flow, &error),
            }
        }
        self.streams.insert(flow.id, decoder);
    }

    /// Answers what can be answered of bytes that are no message.
    fn on_parse_error(&mut self, flow: &Flow, error: &ParseError, status: u16) {
        let answered = error.salvage().and_then(|message| self.refuse(message, flow, status));
        self.events.push_back(EndpointEvent::Malformed { flow: *flow, error: error.to_string(), answered });
    }

    /// Answers what can be answered of a piece of a stream that is no message.
    fn on_frame_error(&mut self, flow: &Flow, error: &FrameError) {
        let status = error.fault.status();
        let answered = match Message::parse_with(error.head.clone(), &self.config.limits) {
            Ok(message) => self.refuse(&message, flow, status),
            Err(head) => head.salvage().and_then(|message| self.refuse(message, flow, status)),
        };
        self.events.push_back(EndpointEvent::Malformed { flow: *flow, error: error.to_string(), answered });
    }

    /// Refuses a request without remembering it, if it can be answered at all. An ACK never is.
    fn refuse(&mut self, message: &Message, flow: &Flow, status: u16) -> Option<u16> {
        let answerable =
            message.is_request() && message.method() != Some(Method::Ack) && message.top_via().is_ok();
        let mut response = Response::new(status);
        if status == 420 {
            for tag in message.values(HeaderName::Require) {
                response = response.header(HeaderName::Unsupported, String::from_utf8_lossy(tag));
            }
        }
        (answerable && self.respond_stateless(message, flow, &response)).then_some(status)
    }

    /// Whether a message is so wrong that it was answered, or dropped, here.
    fn refuse_invalid(&mut self, message: &Message, flow: &Flow) -> bool {
        let is_others =
            |finding: &Finding| self.config.is_proxy && finding.header == Some(HeaderName::Require);
        let mut findings = validate(message).into_iter();
        let Some(finding) = findings.find(|finding| finding.must_refuse() && !is_others(finding)) else {
            return false;
        };
        let answered = self.refuse(message, flow, finding.code);
        let error = match finding.header {
            Some(header) => format!("{header}: {}", finding.what),
            None => finding.what.to_owned(),
        };
        self.events.push_back(EndpointEvent::Malformed { flow: *flow, error, answered });
        true
    }
}
