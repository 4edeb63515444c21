//! Methods: an open set.

use std::fmt;

/// A request's method. An unknown one is [`Other`](Self::Other), so that it can be answered with 405 or 501.
///
/// Methods are compared octet by octet: `invite` is not `INVITE` (RFC 3261 §7.1).
#[derive(Copy, Clone, Eq, PartialEq, Hash, Debug)]
#[non_exhaustive]
pub enum Method<'a> {
    /// INVITE (RFC 3261).
    Invite,
    /// ACK (RFC 3261).
    Ack,
    /// BYE (RFC 3261).
    Bye,
    /// CANCEL (RFC 3261).
    Cancel,
    /// OPTIONS (RFC 3261).
    Options,
    /// REGISTER (RFC 3261).
    Register,
    /// SUBSCRIBE (RFC 6665).
    Subscribe,
    /// NOTIFY (RFC 6665).
    Notify,
    /// PUBLISH (RFC 3903).
    Publish,
    /// MESSAGE (RFC 3428).
    Message,
    /// REFER (RFC 3515).
    Refer,
    /// INFO (RFC 6086).
    Info,
    /// UPDATE (RFC 3311).
    Update,
    /// PRACK (RFC 3262).
    Prack,
    /// Any other token.
    Other(&'a str),
}

impl<'a> Method<'a> {
    /// Reads a method. `None` when the text is not a token.
    #[inline]
    pub fn parse(text: &'a [u8]) -> Option<Self> {
        Some(match text {
            b"INVITE" => Self::Invite,
            b"ACK" => Self::Ack,
            b"BYE" => Self::Bye,
            b"CANCEL" => Self::Cancel,
            b"OPTIONS" => Self::Options,
            b"REGISTER" => Self::Register,
            b"SUBSCRIBE" => Self::Subscribe,
            b"NOTIFY" => Self::Notify,
            b"PUBLISH" => Self::Publish,
            b"MESSAGE" => Self::Message,
            b"REFER" => Self::Refer,
            b"INFO" => Self::Info,
            b"UPDATE" => Self::Update,
            b"PRACK" => Self::Prack,
            _ if crate::text::is_token(text) => Self::Other(std::str::from_utf8(text).ok()?),
            _ => return None,
        })
    }

    /// The method as it stands on the wire.
    pub const fn as_str(&self) -> &'a str {
        match self {
            Self::Invite => "INVITE",
            Self::Ack => "ACK",
            Self::Bye => "BYE",
            Self::Cancel => "CANCEL",
            Self::Options => "OPTIONS",
            Self::Register => "REGISTER",
            Self::Subscribe => "SUBSCRIBE",
            Self::Notify => "NOTIFY",
            Self::Publish => "PUBLISH",
            Self::Message => "MESSAGE",
            Self::Refer => "REFER",
            Self::Info => "INFO",
            Self::Update => "UPDATE",
            Self::Prack => "PRACK",
            Self::Other(text) => text,
        }
    }

    /// An owned copy.
    pub fn to_buf(&self) -> MethodBuf {
        MethodBuf(match *self {
            Self::Other(text) => Repr::Other(text.into()),
            Self::Invite => Repr::Known(Method::Invite),
            Self::Ack => Repr::Known(Method::Ack),
            Self::Bye => Repr::Known(Method::Bye),
            Self::Cancel => Repr::Known(Method::Cancel),
            Self::Options => Repr::Known(Method::Options),
            Self::Register => Repr::Known(Method::Register),
            Self::Subscribe => Repr::Known(Method::Subscribe),
            Self::Notify => Repr::Known(Method::Notify),
            Self::Publish => Repr::Known(Method::Publish),
            Self::Message => Repr::Known(Method::Message),
            Self::Refer => Repr::Known(Method::Refer),
            Self::Info => Repr::Known(Method::Info),
            Self::Update => Repr::Known(Method::Update),
            Self::Prack => Repr::Known(Method::Prack),
        })
    }
}

impl fmt::Display for Method<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Clone, Eq, PartialEq, Hash, Debug)]
enum Repr {
    Known(Method<'static>),
    Other(Box<str>),
}

/// A method that owns its text. The known ones cost no allocation.
#[derive(Clone, Eq, PartialEq, Hash, Debug)]
pub struct MethodBuf(Repr);

impl MethodBuf {
    /// Reads a method. `None` when the text is not a token.
    pub fn parse(text: &str) -> Option<Self> {
        Method::parse(text.as_bytes()).map(|method| method.to_buf())
    }

    /// The borrowed form.
    pub fn as_method(&self) -> Method<'_> {
        match &self.0 {
            Repr::Known(method) => *method,
            Repr::Other(text) => Method::Other(text),
        }
    }

    /// The method as it stands on the wire.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Repr::Known(method) => method.as_str(),
            Repr::Other(text) => text,
        }
    }
}

impl From<Method<'_>> for MethodBuf {
    fn from(method: Method<'_>) -> Self {
        method.to_buf()
    }
}

impl PartialEq<Method<'_>> for MethodBuf {
    fn eq(&self, other: &Method<'_>) -> bool {
        self.as_method() == *other
    }
}

impl fmt::Display for MethodBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_survives_being_owned() {
        for text in
            ["INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "REGISTER", "SUBSCRIBE", "NOTIFY", "PUBLISH"]
                .into_iter()
                .chain(["MESSAGE", "REFER", "INFO", "UPDATE", "PRACK", "NEWMETHOD", "invite"])
        {
            let method = Method::parse(text.as_bytes()).unwrap();
            assert_eq!(method.as_str(), text);
            assert_eq!(method.to_buf().as_method(), method);
            assert_eq!(MethodBuf::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn methods_are_case_sensitive_and_must_be_tokens() {
        assert_eq!(Method::parse(b"invite"), Some(Method::Other("invite")));
        for bad in ["", "IN VITE", "INVITE:", "\u{00e9}"] {
            assert_eq!(Method::parse(bad.as_bytes()), None, "{bad}");
        }
    }
}
