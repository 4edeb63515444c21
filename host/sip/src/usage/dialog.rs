//! Dialogs (RFC 3261 §12): what two ends agree on, so that requests between them find their way and their order.
//!
//! The numbers of the command sequence are shared: usages of one dialog (RFC 5057) and a request that is sent again with
//! credentials all draw from the same counter, so no two requests have the same one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use smallvec::SmallVec;

use crate::agent::core::Core;
use crate::agent::place::Route;
use crate::endpoint::Request;
use crate::message::{HeaderName, Message, Method, NameAddr};

/// Routes that one dialog may have: more are a loop, or an attack.
const MAX_ROUTES: usize = 32;

/// Our end of a dialog.
#[derive(Clone)]
pub(crate) struct Dialog {
    pub(crate) call_id: Arc<str>,
    /// Ourselves, with the tag.
    pub(crate) local: Arc<str>,
    /// The peer, without the tag.
    pub(crate) remote: Arc<str>,
    /// Empty where the peer gives none, as an element of RFC 2543 does.
    pub(crate) remote_tag: Box<str>,
    /// The peer's Contact.
    pub(crate) target: Box<str>,
    routes: SmallVec<[Box<str>; 1]>,
    sequence: Sequence,
    remote_cseq: Option<u32>,
    /// Every hop must be encrypted (RFC 3261 §12.1.1).
    pub(crate) secure: bool,
}

/// The numbers of the command sequence in one direction.
#[derive(Clone, Debug)]
pub(crate) struct Sequence(Arc<AtomicU32>);

impl Sequence {
    /// A sequence whose next number is the one after this.
    pub(crate) fn after(number: u32) -> Self {
        Self(Arc::new(AtomicU32::new(number)))
    }

    /// The next number, below 2³¹ (RFC 3261 §8.1.1.5): no dialog lives long enough to use them up.
    pub(crate) fn next(&self) -> u32 {
        // Nobody else orders anything by it.
        self.0.fetch_add(1, Ordering::Relaxed).wrapping_add(1) & 0x7fff_ffff
    }
}

impl Dialog {
    /// The dialog that an answer to our request makes (RFC 3261 §12.1.2). `number` is that of the request.
    pub(crate) fn from_answer(
        call_id: Arc<str>,
        local: Arc<str>,
        remote: Arc<str>,
        number: u32,
        secure: bool,
        answer: &Message,
    ) -> Self {
        let tag = answer.to().ok().and_then(|to| to.tag().map(Box::<str>::from)).unwrap_or_default();
        let mut dialog = Self {
            call_id,
            target: uri_of(&remote).into(),
            local,
            remote,
            remote_tag: tag,
            routes: SmallVec::new(),
            sequence: Sequence::after(number),
            remote_cseq: None,
            secure,
        };
        dialog.reroute(answer);
        dialog.retarget(answer);
        dialog
    }

    /// The dialog that a request of a peer makes when we answer it (RFC 3261 §12.1.1). `local_tag` is ours. `None` when the request
    /// cannot make one.
    pub(crate) fn from_request(core: &mut Core, request: &Message, local_tag: &str) -> Option<Self> {
        let (from, to) = (request.from().ok()?, request.to().ok()?);
        let secure = request.request_uri().is_ok_and(|uri| uri.scheme() == crate::uri::Scheme::Sips);
        let first = core.random_start();
        let mut dialog = Self {
            call_id: request.call_id()?.into(),
            local: format!("{};tag={local_tag}", bare(&to)).into(),
            remote: bare(&from).into(),
            remote_tag: from.tag().unwrap_or_default().into(),
            target: String::from_utf8_lossy(from.uri_bytes()).into(),
            routes: routes_of(request).collect(),
            sequence: Sequence::after(first),
            remote_cseq: Some(request.cseq().ok()?.number),
            secure,
        };
        dialog.retarget(request);
        Some(dialog)
    }

    /// The same dialog with other numbers for our requests.
    pub(crate) fn with_sequence(self, sequence: Sequence) -> Self {
        Self { sequence, ..self }
    }

    /// Whether messages with these names belong to it.
    pub(crate) fn is(&self, call_id: &str, remote_tag: &str) -> bool {
        *self.call_id == *call_id && *self.remote_tag == *remote_tag
    }

    /// Takes the Contact of a message as the new target (RFC 3261 §12.2).
    pub(crate) fn retarget(&mut self, message: &Message) {
        let contact = message.contacts().next().and_then(Result::ok);
        if let Some(uri) = contact.and_then(|contact| contact.uri().ok().map(|uri| uri.to_string())) {
            self.target = uri.into();
        }
    }

    /// Takes the route of an answer: that of the 2xx counts, whatever provisional ones said (RFC 3261 §13.2.2.4).
    pub(crate) fn reroute(&mut self, answer: &Message) {
        // In an answer the route stands the other way round.
        self.routes = routes_of(answer).collect();
        self.routes.reverse();
    }

    /// Whether a request of the peer comes in order (RFC 3261 §12.2.2); it is then the last one.
    pub(crate) fn take(&mut self, number: u32) -> bool {
        let in_order = self.remote_cseq.is_none_or(|last| number > last);
        if in_order {
            self.remote_cseq = Some(number);
        }
        in_order
    }

    /// The numbers that requests of ours get.
    pub(crate) fn sequence(&self) -> &Sequence {
        &self.sequence
    }

    /// A request within the dialog with the next number, and where it goes.
    pub(crate) fn request(&self, core: &Core, method: Method<'_>) -> (Request, Route) {
        self.numbered(core, method, self.sequence.next())
    }

    /// [`request`](Self::request) with a number that is given: an ACK has that of its INVITE.
    pub(crate) fn numbered(&self, core: &Core, method: Method<'_>, number: u32) -> (Request, Route) {
        let (uri, routes, route) = core.dialog_route(&self.target, &self.routes);
        let to = match &*self.remote_tag {
            "" => self.remote.to_string(),
            tag => format!("{};tag={tag}", self.remote),
        };
        let mut request =
            core.request(method, uri).from(&*self.local).to(to).call_id(&*self.call_id).cseq(number);
        for header in routes {
            request.push(HeaderName::Route, header);
        }
        (request, route)
    }
}

fn routes_of(message: &Message) -> impl Iterator<Item = Box<str>> {
    message
        .values(HeaderName::RecordRoute)
        .take(MAX_ROUTES)
        .map(|value| String::from_utf8_lossy(value).into())
}

/// A name-addr without its parameters.
pub(crate) fn bare(address: &NameAddr<'_>) -> String {
    let uri = String::from_utf8_lossy(address.uri_bytes());
    match address.name_bytes() {
        b"" => format!("<{uri}>"),
        name => format!("{} <{uri}>", String::from_utf8_lossy(name)),
    }
}

/// The URI in a name-addr.
fn uri_of(name_addr: &str) -> String {
    let address = NameAddr::parse(name_addr.as_bytes());
    address.map(|address| String::from_utf8_lossy(address.uri_bytes()).into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usages_of_one_dialog_never_use_a_number_twice() {
        let sequence = Sequence::after(7);
        let other = sequence.clone();
        assert_eq!([sequence.next(), other.next(), sequence.next()], [8, 9, 10]);
    }
}
