//! Receipts for messages, RFC 5438: which are wanted, and what they say.
//!
//! The request stands in the headers of a [wrapper](crate::cpim); the receipt is a document of its own, in a wrapper again.

use crate::{
    cpim::{Cpim, Extension},
    error::{DocumentError, Parsed},
    limits::Limits,
    moment::Moment,
    xml::{Ns, Xml, decode, escape_into},
};

/// The media type of receipts.
pub const MEDIA_TYPE: &str = "message/imdn+xml";
/// The namespace of the headers (section 6).
pub const NAMESPACE: &str = "urn:ietf:params:imdn";

/// Longest identity of a message that is read, in bytes.
const MAX_ID: usize = 256;
/// Most addresses that a receipt goes by.
const MAX_ROUTE: usize = 8;

/// What a message says of receipts, in the headers of its wrapper.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Request {
    /// The identity of the message (section 6.3).
    pub message_id: Option<String>,
    /// Tell when it was delivered.
    pub positive_delivery: bool,
    /// Tell when it could not be delivered.
    pub negative_delivery: bool,
    /// Tell what became of it on the way.
    pub processing: bool,
    /// Tell when it was displayed.
    pub display: bool,
    /// To whom it went at first (section 6.2).
    pub original_to: Option<String>,
    /// Whom a receipt has to pass, the last one to have written itself in first (section 6.4).
    pub record_route: Vec<String>,
    /// Whom this receipt has yet to pass (section 6.5).
    pub route: Vec<String>,
}

impl Request {
    /// What the headers of a wrapper say. Unknown wishes are passed over, and what is too long is not read.
    #[must_use]
    pub fn of(cpim: &Cpim<'_>) -> Self {
        let first = |name| {
            let value = cpim.extension(NAMESPACE, name).map(str::trim).find(|value| !value.is_empty());
            value.filter(|value| value.len() <= MAX_ID).map(str::to_owned)
        };
        let uris = |name| {
            let listed = cpim.extension(NAMESPACE, name).flat_map(|value| value.split(','));
            listed.filter_map(uri).take(MAX_ROUTE).collect()
        };
        let mut request = Self {
            message_id: first("Message-ID"),
            original_to: cpim.extension(NAMESPACE, "Original-To").find_map(uri),
            record_route: uris("IMDN-Record-Route"),
            route: uris("IMDN-Route"),
            ..Self::default()
        };
        for wish in cpim.extension(NAMESPACE, "Disposition-Notification").flat_map(|value| value.split(',')) {
            match wish.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
                "positive-delivery" => request.positive_delivery = true,
                "negative-delivery" => request.negative_delivery = true,
                "processing" => request.processing = true,
                "display" => request.display = true,
                _ => {}
            }
        }
        request
    }

    /// Whether any receipt is wanted, and the message has an identity that it could name.
    #[must_use]
    pub fn wants_any(&self) -> bool {
        self.message_id.is_some()
            && (self.positive_delivery || self.negative_delivery || self.processing || self.display)
    }

    /// Writes the headers into a wrapper.
    pub fn write(&self, cpim: &mut Cpim<'_>) {
        let mut put = |name: &str, value: String| {
            let (namespace, name) = (NAMESPACE.to_owned(), name.to_owned());
            cpim.extensions.push(Extension { namespace, name, value });
        };
        if let Some(id) = &self.message_id {
            put("Message-ID", id.clone());
        }
        if let Some(to) = &self.original_to {
            put("Original-To", format!("<{to}>"));
        }
        let wishes = [
            (self.positive_delivery, "positive-delivery"),
            (self.negative_delivery, "negative-delivery"),
            (self.processing, "processing"),
            (self.display, "display"),
        ];
        let wishes: Vec<&str> = wishes.iter().filter(|(wanted, _)| *wanted).map(|(_, name)| *name).collect();
        if !wishes.is_empty() {
            put("Disposition-Notification", wishes.join(", "));
        }
        for route in &self.record_route {
            put("IMDN-Record-Route", format!("<{route}>"));
        }
        for route in &self.route {
            put("IMDN-Route", format!("<{route}>"));
        }
    }
}

fn uri(value: &str) -> Option<String> {
    let value = value.trim();
    let inner =
        value.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map_or(value, |(uri, _)| uri);
    (!inner.is_empty() && inner.len() <= MAX_ID).then(|| inner.to_owned())
}

/// What a receipt says.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Notification {
    /// Of the delivery (section 7.2.1.1).
    Delivery(Delivery),
    /// Of somebody on the way (section 7.2.1.2).
    Processing(Processing),
    /// Of the display (section 7.2.1.3).
    Display(Display),
}

/// Whether a message was delivered.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Delivery {
    /// It was.
    Delivered,
    /// It was not.
    Failed,
    /// Nobody may say.
    Forbidden,
    /// Nobody can say.
    Error,
}

/// What somebody on the way did with a message.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Processing {
    /// It goes on.
    Processed,
    /// It is kept for later.
    Stored,
    /// Nobody may say.
    Forbidden,
    /// Nobody can say.
    Error,
}

/// Whether a message was displayed.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Display {
    /// It was.
    Displayed,
    /// Nobody may say.
    Forbidden,
    /// Nobody can say.
    Error,
}

/// A receipt.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Imdn {
    /// The identity of the message.
    pub message_id: String,
    /// When the message was written, as it says itself.
    pub date_time: Option<Moment>,
    /// Whose receipt it is.
    pub recipient: Option<String>,
    /// To whom the message went at first.
    pub original_recipient: Option<String>,
    /// What it says; `None` for a status that is not known.
    pub notification: Option<Notification>,
}

/// Reads a receipt.
///
/// # Errors
/// As [`pidf::read`](crate::pidf::read), and when it names no message.
pub fn read(bytes: &[u8], limits: &Limits) -> Result<Parsed<Imdn>, DocumentError> {
    let (text, latin) = decode(bytes, limits)?;
    let mut xml = Xml::new(&text, latin, *limits);
    let root = xml.root()?;
    if !(root.is(Ns::Imdn, "imdn") || root.is(Ns::None, "imdn")) {
        return Err(DocumentError::WrongRoot {
            root: crate::xml::cut(root.name(), 64).to_owned(),
            expected: "a receipt of RFC 5438",
        });
    }
    let mut document = Imdn {
        message_id: String::new(),
        date_time: None,
        recipient: None,
        original_recipient: None,
        notification: None,
    };
    while let Some(child) = xml.child(&root)? {
        if !matches!(child.ns, Ns::Imdn | Ns::None) {
            xml.skip(&child)?;
            continue;
        }
        let kind = child.name().to_owned();
        match kind.as_str() {
            "message-id" => document.message_id = xml.text(&child)?.trim().to_owned(),
            "datetime" => document.date_time = xml.text(&child)?.parse().ok(),
            "recipient-uri" => document.recipient = uri(&xml.text(&child)?),
            "original-recipient-uri" => document.original_recipient = uri(&xml.text(&child)?),
            "delivery-notification" | "processing-notification" | "display-notification" => {
                while let Some(status) = xml.child(&child)? {
                    if status.name() != "status" {
                        xml.skip(&status)?;
                        continue;
                    }
                    while let Some(word) = xml.child(&status)? {
                        document.notification = document.notification.or(notification(&kind, word.name()));
                        xml.skip(&word)?;
                    }
                }
            }
            _ => xml.skip(&child)?,
        }
    }
    xml.finish()?;
    if document.message_id.is_empty() || document.message_id.len() > MAX_ID {
        return Err(DocumentError::Malformed { offset: 0, what: "the receipt names no message".to_owned() });
    }
    Ok(Parsed { document, forgiven: xml.into_forgiven() })
}

fn notification(kind: &str, status: &str) -> Option<Notification> {
    Some(match (kind, status) {
        ("delivery-notification", "delivered") => Notification::Delivery(Delivery::Delivered),
        ("delivery-notification", "failed") => Notification::Delivery(Delivery::Failed),
        ("delivery-notification", "forbidden") => Notification::Delivery(Delivery::Forbidden),
        ("delivery-notification", "error") => Notification::Delivery(Delivery::Error),
        ("processing-notification", "processed") => Notification::Processing(Processing::Processed),
        ("processing-notification", "stored") => Notification::Processing(Processing::Stored),
        ("processing-notification", "forbidden") => Notification::Processing(Processing::Forbidden),
        ("processing-notification", "error") => Notification::Processing(Processing::Error),
        ("display-notification", "displayed") => Notification::Display(Display::Displayed),
        ("display-notification", "forbidden") => Notification::Display(Display::Forbidden),
        ("display-notification", "error") => Notification::Display(Display::Error),
        _ => return None,
    })
}

/// Writes a receipt.
#[must_use]
pub fn write(imdn: &Imdn) -> String {
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<imdn xmlns=\"");
    out.push_str(crate::xml::IMDN);
    out.push_str("\">");
    let mut element = |name: &str, text: Option<&str>| {
        if let Some(text) = text {
            out.push_str(&format!("<{name}>"));
            escape_into(&mut out, text);
            out.push_str(&format!("</{name}>"));
        }
    };
    let at = imdn.date_time.map(|at| at.to_string());
    element("message-id", Some(&imdn.message_id));
    element("datetime", at.as_deref());
    element("recipient-uri", imdn.recipient.as_deref());
    element("original-recipient-uri", imdn.original_recipient.as_deref());
    if let Some(notification) = imdn.notification {
        let (kind, status) = match notification {
            Notification::Delivery(Delivery::Delivered) => ("delivery", "delivered"),
            Notification::Delivery(Delivery::Failed) => ("delivery", "failed"),
            Notification::Delivery(Delivery::Forbidden) => ("delivery", "forbidden"),
            Notification::Delivery(Delivery::Error) => ("delivery", "error"),
            Notification::Processing(Processing::Processed) => ("processing", "processed"),
            Notification::Processing(Processing::Stored) => ("processing", "stored"),
            Notification::Processing(Processing::Forbidden) => ("processing", "forbidden"),
            Notification::Processing(Processing::Error) => ("processing", "error"),
            Notification::Display(Display::Displayed) => ("display", "displayed"),
            Notification::Display(Display::Forbidden) => ("display", "forbidden"),
            Notification::Display(Display::Error) => ("display", "error"),
        };
        out.push_str(&format!("<{kind}-notification><status><{status}/></status></{kind}-notification>"));
    }
    out.push_str("</imdn>\n");
    out
}
