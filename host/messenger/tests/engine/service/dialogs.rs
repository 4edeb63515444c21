//! Who is on the phone (RFC 4235).

use attache_sip::{
    endpoint::{Request, Response},
    message::{HeaderName, Message, Method},
    transaction::ServerTransactionId,
    transport::{Destination, Flow},
};
use bytes::Bytes;

use super::{Service, destination, user};

pub(crate) struct Watcher {
    target: String,
    from: String,
    to: String,
    contact: String,
    destination: Destination,
    cseq: u32,
    version: u32,
}

impl Service {
    pub(super) fn on_dialog_subscription(&mut self, id: ServerTransactionId, request: &Message, flow: &Flow) {
        let call_id = request.call_id().unwrap().to_owned();
        let expires = request.expires().unwrap_or(3600);
        let tag = match request.to().unwrap().tag() {
            Some(tag) => tag.to_owned(),
            None => {
                let target = user(&request.request_uri().unwrap());
                let contact = request.contacts().next().unwrap().unwrap().uri().unwrap().to_string();
                let watcher = Watcher {
                    from: format!("<sip:{target}@example.com>;tag=d"),
                    to: String::from_utf8(request.header(HeaderName::From).unwrap().to_vec()).unwrap(),
                    destination: destination(&contact).unwrap(),
                    target,
                    contact,
                    cseq: 0,
                    version: 0,
                };
                self.dialogs.as_mut().unwrap().insert(call_id.clone(), watcher);
                "d".to_owned()
            }
        };
        let response = Response::new(200)
            .to_tag(tag)
            .header(HeaderName::Expires, expires.to_string())
            .header(HeaderName::Contact, format!("<sip:{}>", flow.local));
        self.respond(id, &response);
        self.tell_dialogs(&call_id, None, expires == 0);
    }

    /// Somebody's dialog is in this state now.
    pub(crate) fn call(&mut self, now: std::time::Instant, target: &str, state: &str) {
        self.now = now;
        let watchers = self.dialogs.as_ref().unwrap().iter();
        let ids: Vec<String> =
            watchers.filter(|(_, watcher)| watcher.target == target).map(|(id, _)| id.clone()).collect();
        for id in ids {
            self.tell_dialogs(&id, Some(state), false);
        }
    }

    fn tell_dialogs(&mut self, call_id: &str, state: Option<&str>, last: bool) {
        let Some(watcher) = self.dialogs.as_mut().unwrap().get_mut(call_id) else { return };
        watcher.cseq += 1;
        let (kind, dialog) = match state {
            None => ("full", String::new()),
            Some(state) => ("partial", format!(r#"<dialog id="1"><state>{state}</state></dialog>"#)),
        };
        // As some servers do, the watcher's own address stands where the person's should.
        let body = format!(
            r#"<dialog-info xmlns="urn:ietf:params:xml:ns:dialog-info" version="{}" state="{kind}" entity="sip:alice@example.com">{dialog}</dialog-info>"#,
            watcher.version
        );
        watcher.version += 1;
        let state = if last { "terminated;reason=timeout" } else { "active;expires=600" };
        let request = Request::new(Method::Notify, watcher.contact.clone())
            .from(watcher.from.clone())
            .to(watcher.to.clone())
            .call_id(call_id)
            .cseq(watcher.cseq)
            .header(HeaderName::Event, "dialog")
            .header(HeaderName::SubscriptionState, state)
            .header(HeaderName::Contact, "<sip:10.0.0.9:5060>")
            .body("application/dialog-info+xml", Bytes::from(body));
        let destination = watcher.destination;
        self.endpoint.send_request(self.now, &request, destination, None).unwrap();
    }
}
