//! Answers before they are bytes.

use std::net::SocketAddr;

use bytes::Bytes;

use super::Field;
use crate::build::{BuildError, ResponseBuilder};
use crate::message::Message;

/// An answer to be sent. What RFC 3261 §8.2.6.2 copies from the request is added by the endpoint, and a tag in To where
/// none is.
#[derive(Clone, Eq, PartialEq)]
pub struct Response {
    /// The status code, 100 to 699.
    pub status: u16,
    /// The reason phrase; `None` takes the usual one.
    pub reason: Option<String>,
    /// The tag in To. `None` keeps the request's, or takes one that stays the same for all answers of the transaction.
    pub to_tag: Option<String>,
    /// Further headers, in the order in which they shall stand.
    pub headers: Vec<(Field, String)>,
    /// Content type and octets of the body.
    pub body: Option<(String, Bytes)>,
}

impl Response {
    /// An answer without further headers.
    pub const fn new(status: u16) -> Self {
        Self { status, reason: None, to_tag: None, headers: Vec::new(), body: None }
    }

    /// Sets the reason phrase.
    #[must_use]
    pub fn reason(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    /// Sets the tag in To: the identity of this end of a dialog.
    #[must_use]
    pub fn to_tag(mut self, tag: impl Into<String>) -> Self {
        self.to_tag = Some(tag.into());
        self
    }

    /// Adds a header after those already there.
    #[must_use]
    pub fn header(mut self, name: impl Into<Field>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, content_type: impl Into<String>, bytes: impl Into<Bytes>) -> Self {
        self.body = Some((content_type.into(), bytes.into()));
        self
    }

    /// Whether the status alone says it all, so that the answer can be written again from a repeat of the request.
    pub(super) const fn is_plain(&self) -> bool {
        self.reason.is_none() && self.to_tag.is_none() && self.headers.is_empty() && self.body.is_none()
    }

    /// Writes the answer to a request that came from `source`. `tag` is the one that To gets where neither the request nor
    /// the answer names one.
    pub(super) fn write(
        &self,
        request: &Message,
        source: SocketAddr,
        tag: &str,
    ) -> Result<Bytes, BuildError> {
        let mut builder = ResponseBuilder::for_request_from(
            request,
            source,
            self.status,
            self.reason.as_deref().unwrap_or_default(),
        );
        if self.status > 100 {
            builder = builder.to_tag(self.to_tag.as_deref().unwrap_or(tag));
        }
        for (field, value) in &self.headers {
            builder = match field {
                Field::Known(name) => builder.header(*name, value),
                Field::Other(name) => builder.other(name, value.as_bytes()),
            };
        }
        match &self.body {
            Some((content_type, body)) => builder.body(content_type, body.clone()).finish(),
            None => builder.finish(),
        }
    }
}

impl std::fmt::Debug for Response {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status)
            .field("headers", &self.headers.len())
            .field("body", &self.body.as_ref().map_or(0, |(_, body)| body.len()))
            .finish_non_exhaustive()
    }
}
