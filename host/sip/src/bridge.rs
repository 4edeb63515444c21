//! Between the wire and the vocabulary of `rsip`, which embedders and other libraries speak.
//!
//! `rsip`'s types are filled here field by field from what our codec read, and written here by our builders. `rsip` itself never reads
//! or prints a byte: it misreads addresses, drops branches and prints what other elements refuse. This is the only module that may
//! call its conversions.
//!
//! What `rsip` cannot say is an error, not a guess: a method or a version outside its closed sets. Two things are lossy and named as such:
//! octets that are not UTF-8 in a header are replaced, and headers inside an address (`?Subject=…`) are dropped.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "this is the module the rule keeps them to"
)]

use bytes::Bytes;
use rsip::headers::UntypedHeader as _;
use rsip::message::HasHeaders as _;

use crate::build::{BuildError, RequestBuilder, ResponseBuilder};
use crate::message::{HeaderName, Message, Method};
use crate::uri::{Host, Scheme, Uri, UriError};

/// Why a message has no counterpart on the other side.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BridgeError {
    /// A request was wanted and a response given, or the other way round.
    #[error("the message is of the other kind")]
    Kind,
    /// `rsip` has no such method.
    #[error("rsip has no method {0}")]
    Method(String),
    /// Another version than SIP/2.0.
    #[error("the protocol version is not SIP/2.0")]
    Version,
    /// The address is malformed.
    #[error(transparent)]
    Uri(#[from] UriError),
    /// The message cannot be written.
    #[error(transparent)]
    Build(#[from] BuildError),
}

/// What of a message is shown.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub enum Redaction {
    /// Credentials are replaced by the name of their scheme.
    #[default]
    Credentials,
    /// Nothing is hidden. For those who must replay a message, not for those who watch.
    Nothing,
}

/// What stands in place of credentials.
const REDACTED: &str = "redacted";

/// A request as `rsip` knows it.
pub fn to_request(message: &Message, redaction: Redaction) -> Result<rsip::Request, BridgeError> {
    let method = message.method().ok_or(BridgeError::Kind)?;
    Ok(rsip::Request {
        method: to_method(&method)?,
        uri: to_uri(&message.request_uri()?),
        version: to_version(message)?,
        headers: to_headers(message, redaction),
        body: message.body().to_vec(),
    })
}

/// A response as `rsip` knows it.
pub fn to_response(message: &Message, redaction: Redaction) -> Result<rsip::Response, BridgeError> {
    let code = message.status().ok_or(BridgeError::Kind)?;
    let status_code = match rsip::StatusCode::from(code) {
        rsip::StatusCode::Other(code, _) => {
            rsip::StatusCode::Other(code, String::from_utf8_lossy(message.reason()).into_owned())
        }
        known => known,
    };
    Ok(rsip::Response {
        status_code,
        version: to_version(message)?,
        headers: to_headers(message, redaction),
        body: message.body().to_vec(),
    })
}

/// Either kind as `rsip` knows it.
pub fn to_message(message: &Message, redaction: Redaction) -> Result<rsip::SipMessage, BridgeError> {
    Ok(if message.is_request() {
        rsip::SipMessage::Request(to_request(message, redaction)?)
    } else {
        rsip::SipMessage::Response(to_response(message, redaction)?)
    })
}

/// The bytes of an `rsip` request. Content-Length is counted anew; a line end in a value is an error.
pub fn from_request(request: &rsip::Request) -> Result<Bytes, BridgeError> {
    if request.version != rsip::Version::V2 {
        return Err(BridgeError::Version);
    }
    let method = request.method.to_string();
    let method = Method::parse(method.as_bytes()).ok_or(BuildError::Method)?;
    let mut builder = RequestBuilder::new(&method, &from_uri(&request.uri)?);
    for header in request.headers().iter() {
        let (name, value) = from_header(header);
        builder = builder.other(&name, value);
    }
    Ok(builder.body("", request.body.clone()).finish()?)
}

/// The bytes of an `rsip` response, with the usual reason phrase of its code.
pub fn from_response(response: &rsip::Response) -> Result<Bytes, BridgeError> {
    if response.version != rsip::Version::V2 {
        return Err(BridgeError::Version);
    }
    let reason = match &response.status_code {
        rsip::StatusCode::Other(_, reason) => reason.as_str(),
        _ => "",
    };
    let mut builder = ResponseBuilder::new(response.status_code.code(), reason);
    for header in response.headers().iter() {
        let (name, value) = from_header(header);
        builder = builder.other(&name, value);
    }
    Ok(builder.body("", response.body.clone()).finish()?)
}

fn to_version(message: &Message) -> Result<rsip::Version, BridgeError> {
    if message.version() == (2, 0) { Ok(rsip::Version::V2) } else { Err(BridgeError::Version) }
}

fn to_method(method: &Method<'_>) -> Result<rsip::Method, BridgeError> {
    Ok(match method {
        Method::Invite => rsip::Method::Invite,
        Method::Ack => rsip::Method::Ack,
        Method::Bye => rsip::Method::Bye,
        Method::Cancel => rsip::Method::Cancel,
        Method::Options => rsip::Method::Options,
        Method::Register => rsip::Method::Register,
        Method::Subscribe => rsip::Method::Subscribe,
        Method::Notify => rsip::Method::Notify,
        Method::Publish => rsip::Method::Publish,
        Method::Message => rsip::Method::Message,
        Method::Refer => rsip::Method::Refer,
        Method::Info => rsip::Method::Info,
        Method::Update => rsip::Method::Update,
        Method::Prack => rsip::Method::PRack,
        Method::Other(name) => return Err(BridgeError::Method((*name).to_owned())),
    })
}

/// An address as `rsip` knows it. Of schemes without a host, what follows the colon becomes the host, which is where [`from_uri`] finds it again.
pub fn to_uri(uri: &Uri<'_>) -> rsip::Uri {
    let scheme = match uri.scheme() {
        Scheme::Sip => rsip::Scheme::Sip,
        Scheme::Sips => rsip::Scheme::Sips,
        other => rsip::Scheme::Other(other.as_str().to_owned()),
    };
    let Some(host) = uri.host() else {
        let host = rsip::Host::Domain(uri.opaque().to_owned().into());
        return rsip::Uri { scheme: Some(scheme), host_with_port: host.into(), ..rsip::Uri::default() };
    };
    let host = match host {
        Host::Name(name) => rsip::Host::Domain(name.to_owned().into()),
        Host::V4(address) => rsip::Host::IpAddr(address.into()),
        Host::V6(address) => rsip::Host::IpAddr(address.into()),
    };
    rsip::Uri {
        scheme: Some(scheme),
        auth: uri
            .user()
            .map(|user| rsip::Auth { user: user.to_owned(), password: uri.password().map(str::to_owned) }),
        host_with_port: rsip::HostWithPort { host, port: uri.port().map(Into::into) },
        params: uri.params().iter().map(to_param).collect(),
        headers: Vec::new(),
    }
}

fn to_param((name, value): (&[u8], Option<&[u8]>)) -> rsip::Param {
    let name = String::from_utf8_lossy(name);
    let value = value.map(|value| String::from_utf8_lossy(value).into_owned());
    let other =
        |value: Option<String>| rsip::Param::Other(name.clone().into_owned().into(), value.map(Into::into));
    match (name.to_ascii_lowercase().as_str(), value) {
        ("transport", Some(text)) => match crate::transport::Transport::parse(text.as_bytes()) {
            Some(crate::transport::Transport::Udp) => rsip::Param::Transport(rsip::Transport::Udp),
            Some(crate::transport::Transport::Tcp) => rsip::Param::Transport(rsip::Transport::Tcp),
            Some(crate::transport::Transport::Tls) => rsip::Param::Transport(rsip::Transport::Tls),
            Some(crate::transport::Transport::Ws) => rsip::Param::Transport(rsip::Transport::Ws),
            Some(crate::transport::Transport::Wss) => rsip::Param::Transport(rsip::Transport::Wss),
            None => other(Some(text)),
        },
        ("lr", None) => rsip::Param::Lr,
        ("user", Some(text)) => rsip::Param::User(text.into()),
        ("maddr", Some(text)) => rsip::Param::Maddr(text.into()),
        ("ttl", Some(text)) => rsip::Param::Ttl(text.into()),
        (_, value) => other(value),
    }
}

/// The text of an `rsip` address, checked: IPv6 gets its brackets, and `tel:` no slashes.
pub fn from_uri(uri: &rsip::Uri) -> Result<String, BridgeError> {
    let mut text = match &uri.scheme {
        Some(rsip::Scheme::Sips) => "sips:".to_owned(),
        Some(rsip::Scheme::Other(scheme)) => format!("{scheme}:"),
        Some(rsip::Scheme::Sip) | None => "sip:".to_owned(),
    };
    if let Some(auth) = &uri.auth {
        text.push_str(&auth.user);
        if let Some(password) = &auth.password {
            text.push(':');
            text.push_str(password);
        }
        text.push('@');
    }
    match &uri.host_with_port.host {
        rsip::Host::IpAddr(std::net::IpAddr::V6(address)) => text.push_str(&format!("[{address}]")),
        rsip::Host::IpAddr(address) => text.push_str(&address.to_string()),
        rsip::Host::Domain(name) => text.push_str(&name.to_string()),
    }
    if let Some(port) = &uri.host_with_port.port {
        text.push(':');
        text.push_str(&port.to_string());
    }
    for param in &uri.params {
        match param {
            // The one parameter whose case `rsip` changes.
            rsip::Param::Transport(transport) => {
                text.push_str(&format!(";transport={}", transport.to_string().to_ascii_lowercase()));
            }
            param => text.push_str(&param.to_string()),
        }
    }
    Uri::parse_str(&text)?;
    Ok(text)
}

fn to_headers(message: &Message, redaction: Redaction) -> rsip::Headers {
    let rows = message.all().map(|(name, id, value)| {
        let mut value = String::from_utf8_lossy(value).into_owned();
        if redaction == Redaction::Credentials
            && matches!(id, HeaderName::Authorization | HeaderName::ProxyAuthorization)
        {
            let scheme = value.split(' ').next().filter(|scheme| crate::text::is_token(scheme.as_bytes()));
            value = format!("{} {REDACTED}", scheme.unwrap_or("Digest"));
        }
        to_header(name, id, value)
    });
    rows.collect::<Vec<_>>().into()
}

/// One table for both directions of the names that `rsip` has a variant for.
macro_rules! headers {
    ($($variant:ident)*) => {
        fn to_header(name: &[u8], id: HeaderName, value: String) -> rsip::Header {
            match id {
                $(HeaderName::$variant => rsip::Header::$variant(rsip::headers::$variant::new(value)),)*
                HeaderName::Other => rsip::Header::Other(String::from_utf8_lossy(name).into_owned(), value),
                known => rsip::Header::Other(known.as_str().to_owned(), value),
            }
        }

        fn from_header(header: &rsip::Header) -> (String, String) {
            match header {
                $(rsip::Header::$variant(inner) => {
                    (HeaderName::$variant.as_str().to_owned(), inner.value().to_owned())
                })*
                rsip::Header::Other(name, value) => (name.clone(), value.clone()),
            }
        }
    };
}

headers! {
    Accept AcceptEncoding AcceptLanguage AlertInfo Allow AuthenticationInfo Authorization CSeq CallId CallInfo Contact
    ContentDisposition ContentEncoding ContentLanguage ContentLength ContentType Date ErrorInfo Event Expires From
    InReplyTo MaxForwards MimeVersion MinExpires Organization Priority ProxyAuthenticate ProxyAuthorization
    ProxyRequire RecordRoute ReplyTo Require RetryAfter Route Server Subject SubscriptionState Supported Timestamp To
    Unsupported UserAgent Via Warning WwwAuthenticate
}
