//! Requests before they are bytes.

use bytes::Bytes;

use crate::build::{BuildError, RequestBuilder};
use crate::message::{HeaderName, MethodBuf};

/// The name of a header of a message to be sent.
#[derive(Clone, Eq, PartialEq, Debug)]
pub enum Field {
    /// One that this crate knows.
    Known(HeaderName),
    /// Any other, as it shall stand on the wire.
    Other(Box<str>),
}

impl From<HeaderName> for Field {
    fn from(name: HeaderName) -> Self {
        Self::Known(name)
    }
}

impl From<&str> for Field {
    fn from(name: &str) -> Self {
        match HeaderName::parse(name.as_bytes()) {
            HeaderName::Other => Self::Other(name.into()),
            known => Self::Known(known),
        }
    }
}

/// A request to be sent: what its user decides, without what belongs to a hop.
///
/// Via, Max-Forwards and Content-Length are added by the endpoint; whatever else RFC 3261 §8.1.1 demands is the user's.
#[derive(Clone, Eq, PartialEq)]
pub struct Request {
    /// The method.
    pub method: MethodBuf,
    /// The Request-URI.
    pub uri: String,
    /// The number of the command sequence, below 2³¹.
    pub cseq: u32,
    /// What a proxy's decision where to send it rests on, in short: it stands in the branch, so that a loop can be seen
    /// (RFC 5393 §4.2). `None` for requests of one's own.
    pub mark: Option<u64>,
    /// All other headers, in the order in which they shall stand.
    pub headers: Vec<(Field, String)>,
    /// Content type and octets of the body.
    pub body: Option<(String, Bytes)>,
}

impl Request {
    /// A request without headers.
    pub fn new(method: impl Into<MethodBuf>, uri: impl Into<String>) -> Self {
        Self { method: method.into(), uri: uri.into(), cseq: 1, mark: None, headers: Vec::new(), body: None }
    }

    /// Adds a header after those already there.
    #[must_use]
    pub fn header(mut self, name: impl Into<Field>, value: impl Into<String>) -> Self {
        self.push(name, value);
        self
    }

    /// Sets From: a name-addr with a tag.
    #[must_use]
    pub fn from(self, value: impl Into<String>) -> Self {
        self.header(HeaderName::From, value)
    }

    /// Sets To: a name-addr, with a tag inside a dialog.
    #[must_use]
    pub fn to(self, value: impl Into<String>) -> Self {
        self.header(HeaderName::To, value)
    }

    /// Sets Call-ID.
    #[must_use]
    pub fn call_id(self, value: impl Into<String>) -> Self {
        self.header(HeaderName::CallId, value)
    }

    /// Sets the number of the command sequence.
    #[must_use]
    pub const fn cseq(mut self, number: u32) -> Self {
        self.cseq = number;
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, content_type: impl Into<String>, bytes: impl Into<Bytes>) -> Self {
        self.body = Some((content_type.into(), bytes.into()));
        self
    }

    /// Adds a header after those already there.
    pub fn push(&mut self, name: impl Into<Field>, value: impl Into<String>) {
        self.headers.push((name.into(), value.into()));
    }

    /// Removes the headers of that name.
    pub(crate) fn remove(&mut self, name: HeaderName) {
        self.headers.retain(|(field, _)| *field != Field::Known(name));
    }

    /// Takes one element out of the lists of that name.
    pub(crate) fn withdraw(&mut self, name: HeaderName, element: &str) {
        for (_, value) in self.headers.iter_mut().filter(|(field, _)| *field == Field::Known(name)) {
            let left: Vec<&str> = value.split(',').map(str::trim).filter(|known| *known != element).collect();
            *value = left.join(", ");
        }
    }

    /// Whether a header of that name is there.
    pub fn has(&self, name: HeaderName) -> bool {
        self.headers.iter().any(|(field, _)| *field == Field::Known(name))
    }

    /// Writes the request below a Via. `extra` headers stand behind the others.
    pub(crate) fn write(&self, via: &str, extra: &[(HeaderName, String)]) -> Result<Bytes, BuildError> {
        let mut builder =
            RequestBuilder::new(&self.method.as_method(), &self.uri).header(HeaderName::Via, via);
        if !self.has(HeaderName::MaxForwards) {
            builder = builder.header(HeaderName::MaxForwards, 70);
        }
        for (field, value) in &self.headers {
            builder = match field {
                Field::Known(name) => builder.header(*name, value),
                Field::Other(name) => builder.other(name, value.as_bytes()),
            };
        }
        builder = builder.header(HeaderName::CSeq, format_args!("{} {}", self.cseq, self.method));
        for (name, value) in extra {
            builder = builder.header(*name, value);
        }
        match &self.body {
            Some((content_type, body)) => builder.body(content_type, body.clone()).finish(),
            None => builder.finish(),
        }
    }
}

// Headers may hold credentials, and bodies what people wrote.
impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("headers", &self.headers.len())
            .field("body", &self.body.as_ref().map_or(0, |(_, body)| body.len()))
            .finish_non_exhaustive()
    }
}
