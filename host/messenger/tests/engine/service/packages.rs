//! Any other event package, with documents that a test gives.

use attache_sip::{
    endpoint::{Request, Response},
    message::{HeaderName, Message, Method},
    transaction::ServerTransactionId,
    transport::{Destination, Flow},
};
use bytes::Bytes;

use super::{Service, destination};

/// What a test may set about a package, and who subscribed to it.
#[derive(Default)]
pub(crate) struct Package {
    /// Type and words of the document.
    pub(crate) document: (&'static str, String),
    watchers: Vec<Watcher>,
}

struct Watcher {
    from: String,
    to: String,
    call_id: String,
    contact: String,
    destination: Destination,
    cseq: u32,
}

impl Service {
    pub(super) fn on_package(
        &mut self,
        id: ServerTransactionId,
        package: &str,
        request: &Message,
        flow: &Flow,
    ) {
        let expires = request.expires().unwrap_or(3600);
        let call_id = request.call_id().unwrap().to_owned();
        let contact = request.contacts().next().unwrap().unwrap().uri().unwrap().to_string();
        let to = String::from_utf8(request.header(HeaderName::From).unwrap().to_vec()).unwrap();
        let response = Response::new(200)
            .to_tag("p")
            .header(HeaderName::Expires, expires.to_string())
            .header(HeaderName::Contact, format!("<sip:{}>", flow.local));
        self.respond(id, &response);
        let known = self.packages.get_mut(package).unwrap();
        if request.to().unwrap().tag().is_none() {
            known.watchers.push(Watcher {
                from: "<sip:alice@example.com>;tag=p".to_owned(),
                to,
                call_id,
                destination: destination(&contact).unwrap(),
                contact,
                cseq: 0,
            });
        }
        self.tell_package(package, expires == 0);
    }

    /// A package has this document from now on.
    pub(crate) fn set_package(
        &mut self,
        now: std::time::Instant,
        package: &str,
        kind: &'static str,
        body: &str,
    ) {
        self.now = now;
        self.packages.entry(package.to_owned()).or_default().document = (kind, body.to_owned());
        self.tell_package(package, false);
    }

    fn tell_package(&mut self, package: &str, last: bool) {
        let Some(known) = self.packages.get_mut(package) else { return };
        let state = if last { "terminated;reason=timeout" } else { "active;expires=600" };
        for watcher in &mut known.watchers {
            watcher.cseq += 1;
            let request = Request::new(Method::Notify, watcher.contact.clone())
                .from(watcher.from.clone())
                .to(watcher.to.clone())
                .call_id(watcher.call_id.clone())
                .cseq(watcher.cseq)
                .header(HeaderName::Event, package.to_owned())
                .header(HeaderName::SubscriptionState, state)
                .header(HeaderName::Contact, "<sip:10.0.0.9:5060>")
                .body(known.document.0, Bytes::from(known.document.1.clone()));
            self.endpoint.send_request(self.now, &request, watcher.destination, None).unwrap();
        }
        if last {
            known.watchers.clear();
        }
    }
}
