//! Calls made by hand: dialogs as their two ends see them (RFC 3261, section 12).

use std::time::Duration;

use attache_sip::endpoint::{Request, Response};
use attache_sip::message::{HeaderName, Message, Method, NameAddr};

use super::{Net, text};

/// One end of a dialog.
#[derive(Clone, Debug)]
pub struct Dialog {
    pub call_id: String,
    pub from: String,
    pub to: String,
    pub target: String,
    pub routes: Vec<String>,
    pub cseq: u32,
}

fn rows(message: &Message, name: HeaderName) -> Vec<String> {
    message.values(name).map(|row| String::from_utf8(row.to_vec()).unwrap()).collect()
}

fn target(message: &Message) -> String {
    let contact = text(message, HeaderName::Contact);
    let address = NameAddr::parse(contact.as_bytes()).unwrap();
    address.uri().unwrap().as_str().to_owned()
}

impl Dialog {
    /// As its caller knows it from the answer.
    pub fn of_caller(answer: &Message) -> Self {
        Self {
            call_id: answer.call_id().unwrap().to_owned(),
            from: text(answer, HeaderName::From),
            to: text(answer, HeaderName::To),
            target: target(answer),
            routes: rows(answer, HeaderName::RecordRoute).into_iter().rev().collect(),
            cseq: answer.cseq().unwrap().number,
        }
    }

    /// As its callee knows it from the request, having answered with this tag.
    pub fn of_callee(request: &Message, tag: &str) -> Self {
        Self {
            call_id: request.call_id().unwrap().to_owned(),
            from: format!("{};tag={tag}", text(request, HeaderName::To)),
            to: text(request, HeaderName::From),
            target: target(request),
            routes: rows(request, HeaderName::RecordRoute),
            cseq: 0,
        }
    }

    pub fn request(&mut self, method: Method<'_>) -> Request {
        if method != Method::Ack {
            self.cseq += 1;
        }
        let request = Request::new(method, &*self.target)
            .from(&*self.from)
            .to(&*self.to)
            .call_id(&*self.call_id)
            .cseq(self.cseq);
        self.routes.iter().fold(request, |request, route| request.header(HeaderName::Route, &**route))
    }
}

pub const SDP: &str =
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";

/// An answer that makes a dialog.
pub fn answered(status: u16, tag: &str, contact: &str) -> Response {
    Response::new(status).to_tag(tag).header(HeaderName::Contact, contact)
}

impl Net {
    /// An INVITE of a user, with an offer.
    pub fn invite(&mut self, at: &str, to: &str) -> Request {
        self.client(at, |client| {
            let contact = client.contact();
            client
                .request(Method::Invite, to)
                .header(HeaderName::Contact, contact)
                .body("application/sdp", SDP)
        })
    }

    /// Begins a call and waits until it rings there.
    pub fn ring(&mut self, from: &str, to: &str, at: &str) -> Message {
        let invite = self.invite(from, to);
        self.start_with_digest(from, invite);
        self.rings(at)
    }

    /// Waits until a request rings there.
    pub fn rings(&mut self, at: &str) -> Message {
        let here = at.parse().unwrap();
        let rings = self.sim.run_until(Duration::from_secs(40), |sim| {
            sim.with(here, |client: &mut super::Client, _| !client.ringing.is_empty())
        });
        assert!(rings, "nothing rings at {at}");
        self.client(at, |client| client.ringing[0].1.clone())
    }

    pub fn reply(&mut self, at: &str, response: &Response) -> Message {
        self.sim.with(at.parse().unwrap(), |client: &mut super::Client, now| client.reply(now, response))
    }

    pub fn cancel(&mut self, at: &str) {
        self.sim.with(at.parse().unwrap(), |client: &mut super::Client, now| client.cancel(now));
    }

    pub fn acknowledge(&mut self, at: &str, ack: &Request) {
        self.client(at, |client| client.acknowledge(ack));
    }

    /// A call that was taken: the caller's end and the callee's.
    pub fn call(&mut self, from: &str, to: &str, at: &str) -> (Dialog, Dialog) {
        let invite = self.ring(from, to, at);
        let contact = self.client(at, |client| client.contact());
        self.reply(at, &answered(200, "callee", &contact).body("application/sdp", SDP));
        self.run(1);
        let answer = self.answer(from).expect("an answer");
        assert_eq!(answer.status(), Some(200));
        let mut caller = Dialog::of_caller(&answer);
        let ack = caller.request(Method::Ack);
        self.acknowledge(from, &ack);
        self.run(1);
        assert_eq!(self.received(at, Method::Ack).len(), 1, "the ACK arrives");
        (caller, Dialog::of_callee(&invite, "callee"))
    }
}
