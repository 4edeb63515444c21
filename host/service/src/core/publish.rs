//! PUBLISH (RFC 3903).

use std::time::{Duration, Instant};

use attache_documents::pidf::{self, Document};
use attache_documents::pidf_diff;
use attache_sip::endpoint::Response;
use attache_sip::message::{HeaderName, Message};
use attache_sip::transaction::ServerTransactionId;
use attache_sip::transport::Flow;
use bytes::Bytes;

use super::access::Challenger;
use super::{Core, Due, PRESENCE};
use crate::directory::Aor;

impl Core {
    pub(super) fn on_publish(
        &mut self,
        now: Instant,
        id: ServerTransactionId,
        request: &Message,
        flow: &Flow,
    ) {
        let Some(sender) = self.authenticate(now, id, request, flow, Challenger::Server) else { return };
        let Some(aor) = self.addressee(now, id, request) else { return };
        if !self.directory.owns(sender.account, &aor) {
            self.refuse(now, id, 403, "Presence Of Somebody Else");
            return;
        }
        let response = self.publish(now, request, &aor).unwrap_or_else(|refusal| *refusal);
        self.respond(now, id, &response);
        self.changed(now, &aor);
    }

    fn publish(&mut self, now: Instant, request: &Message, aor: &Aor) -> Result<Response, Box<Response>> {
        if request.event().is_none_or(|event| event.package != PRESENCE) {
            return Err(Box::new(Response::new(489).header(HeaderName::AllowEvents, PRESENCE)));
        }
        let limits = &self.limits;
        let asked =
            request.expires().map_or(limits.max_expires, |seconds| Duration::from_secs(seconds.into()));
        if !asked.is_zero() && asked < limits.min_expires {
            let least = limits.min_expires.as_secs().to_string();
            return Err(Box::new(Response::new(423).header(HeaderName::MinExpires, least)));
        }
        let (expires, most) = (asked.min(limits.max_expires), limits.publications_per_user);
        let presentity = self.presence.presentities.get(aor);
        let index = match request.header(HeaderName::SipIfMatch) {
            None => None,
            Some(etag) => {
                let publications = presentity.map_or(&[][..], |presentity| &presentity.publications);
                let found =
                    publications.iter().position(|one| one.etag.as_bytes() == etag && one.expires_at > now);
                Some(found.ok_or_else(|| Box::new(Response::new(412)))?)
            }
        };
        let before = index.and_then(|index| Some(presentity?.publications.get(index)?.body()));
        let content = self.published_document(request, before)?;
        if index.is_none() && content.is_none() && !expires.is_zero() {
            return Err(Box::new(Response::new(400).reason("A First Publication Has A Body")));
        }
        let etag = self.fresh_tag();
        let presentity = self.presence.presentities.entry(Aor::clone(aor)).or_default();
        if expires.is_zero() {
            if let Some(index) = index {
                presentity.withdraw(index);
            }
        } else {
            presentity.publish(index, etag.clone(), content, now + expires, most);
        }
        self.expire_publications(now, aor);
        Ok(Response::new(200)
            .header(HeaderName::SipEtag, etag)
            .header(HeaderName::Expires, expires.as_secs().to_string()))
    }

    /// The body, if there is one, and if it is a presence document.
    fn published_document(
        &self,
        request: &Message,
        before: Option<&Bytes>,
    ) -> Result<Option<(Bytes, Document)>, Box<Response>> {
        let body = request.body();
        if body.is_empty() {
            return Ok(None);
        }
        if body.len() > self.limits.publication_bytes {
            return Err(Box::new(Response::new(413)));
        }
        let is_plain = request.header(HeaderName::ContentEncoding).is_none_or(|name| name == b"identity");
        let is = |media_type| request.content_type().is_some_and(|kind| kind.is(media_type));
        let is_partial = is(pidf_diff::MEDIA_TYPE);
        if !is_plain || !(is_partial || is(pidf::MEDIA_TYPE)) {
            let ours = format!("{}, {}", pidf::MEDIA_TYPE, pidf_diff::MEDIA_TYPE);
            let refusal = Response::new(415).header(HeaderName::Accept, ours);
            return Err(Box::new(refusal.header(HeaderName::AcceptEncoding, "identity")));
        }
        let bounds = attache_documents::Limits {
            bytes: self.limits.publication_bytes,
            ..attache_documents::Limits::DEFAULT
        };
        // Copied, so that it does not hold on to the request.
        let body = match is_partial {
            true => self.published_partially(body, before)?,
            false => Bytes::copy_from_slice(body),
        };
        match pidf::read(&body, &bounds) {
            Ok(parsed) => Ok(Some((body, parsed.document))),
            Err(error) => {
                tracing::debug!(%error, "a published document cannot be read");
                Err(Box::new(Response::new(400).reason("Unreadable Presence Document")))
            }
        }
    }

    pub(super) fn expire_publications(&mut self, now: Instant, aor: &Aor) {
        let Some(presentity) = self.presence.presentities.get_mut(aor) else { return };
        let (any, next) = presentity.expire(now);
        match next {
            Some(next) => self.timers.set(Due::Publications(Aor::clone(aor)), next),
            None => self.timers.clear(&Due::Publications(Aor::clone(aor))),
        }
        if any {
            self.changed(now, aor);
        }
    }
}
