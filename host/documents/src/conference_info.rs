//! Conferences: who takes part, and how (RFC 4575).
//!
//! A notifier tells all of it once and changes of it after. [`ConferenceInfo::merge`] puts a change into what is known; whether
//! a change follows what is known says its version, which is for the reader of the subscription to look after.

use core::fmt::Write as _;

use crate::{
    error::{DocumentError, Finding, Parsed},
    limits::Limits,
    moment::Moment,
    xml::{CONFERENCE_INFO, Element, Ns, XCON, Xml, cut, decode, escape_into},
};

/// The media type.
pub const MEDIA_TYPE: &str = "application/conference-info+xml";

/// Limits that suit a conference of a thousand people.
pub const LIMITS: Limits =
    Limits { bytes: 2 * 1024 * 1024, depth: 16, elements: 65_536, entries: 2_048, text: 1_024 };

/// The document.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ConferenceInfo {
    /// The conference's address.
    pub entity: String,
    /// Grows by one with each document of a subscription.
    pub version: u32,
    /// Whether this is the whole, a change, or the conference's end.
    pub state: State,
    /// What the conference is; `None` where this document does not say.
    pub description: Option<Description>,
    /// How the conference stands; `None` where this document does not say.
    pub status: Option<Status>,
    /// Whether `users` are all there are, also where the document as a whole is a change.
    pub users_state: State,
    /// Who takes part.
    pub users: Vec<User>,
}

/// Whether an element tells the whole of what it stands for (section 4.4).
#[derive(Copy, Clone, Debug, Default, Eq, Hash, PartialEq)]
pub enum State {
    /// All of it.
    #[default]
    Full,
    /// What changed.
    Partial,
    /// It is gone.
    Deleted,
}

impl State {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Partial => "partial",
            Self::Deleted => "deleted",
        }
    }

    fn read(xml: &mut Xml<'_>, element: &Element<'_>) -> Self {
        match xml.attribute(element, "state").as_deref().map(str::trim) {
            None | Some("full") => Self::Full,
            Some("partial") => Self::Partial,
            Some("deleted") => Self::Deleted,
            Some(_) => {
                xml.forgive(element.offset, Finding::Attribute);
                Self::Full
            }
        }
    }
}

/// What a conference is (section 5.3).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Description {
    /// Its name.
    pub display_text: Option<String>,
    /// What it is about.
    pub subject: Option<String>,
    /// More words on it.
    pub free_text: Option<String>,
    /// Most people it takes.
    pub maximum_users: Option<u32>,
}

/// How a conference stands (section 5.5).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Status {
    /// How many take part.
    pub user_count: Option<u32>,
    /// Whether it goes on.
    pub active: Option<bool>,
    /// Whether nobody else is let in.
    pub locked: Option<bool>,
}

/// Somebody who takes part (section 5.6).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct User {
    /// Their address.
    pub entity: String,
    /// Whether this is all of them.
    pub state: State,
    /// Their name.
    pub display_text: Option<String>,
    /// The name that they gave themselves here (the `nickname` of RFC 6501).
    pub nickname: Option<String>,
    /// What they are here, such as `participant`.
    pub roles: Vec<String>,
    /// Their devices here.
    pub endpoints: Vec<Endpoint>,
}

impl User {
    /// Whether they are there with a device, and not merely being asked or on their way out.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.endpoints.iter().any(|endpoint| endpoint.status.is_some_and(EndpointStatus::is_connected))
    }
}

/// A device of somebody who takes part (section 5.7).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Endpoint {
    /// Its address.
    pub entity: String,
    /// Whether this is all of it.
    pub state: State,
    /// Its name.
    pub display_text: Option<String>,
    /// Where it is.
    pub status: Option<EndpointStatus>,
    /// How it came in, such as `dialed-in`, `dialed-out`, `focus-owner`.
    pub joining_method: Option<String>,
    /// When it came in.
    pub joined_at: Option<Moment>,
    /// How it left, such as `departed`, `booted`, `failed`, `busy`.
    pub disconnection_method: Option<String>,
    /// Why it left.
    pub disconnection_reason: Option<String>,
    /// Its media.
    pub media: Vec<Media>,
}

/// Where a device is (section 5.7.3).
#[derive(Copy, Clone, Debug, Eq, Hash, PartialEq)]
pub enum EndpointStatus {
    /// In the conference.
    Connected,
    /// Not in it.
    Disconnected,
    /// In it, and hears nothing of it.
    OnHold,
    /// In it, and not heard.
    MutedViaFocus,
    /// Waits to be let in.
    Pending,
    /// Rings.
    Alerting,
    /// On its way in.
    DialingIn,
    /// Being called.
    DialingOut,
    /// On its way out.
    Disconnecting,
}

impl EndpointStatus {
    const ALL: [Self; 9] = [
        Self::Connected,
        Self::Disconnected,
        Self::OnHold,
        Self::MutedViaFocus,
        Self::Pending,
        Self::Alerting,
        Self::DialingIn,
        Self::DialingOut,
        Self::Disconnecting,
    ];

    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Disconnected => "disconnected",
            Self::OnHold => "on-hold",
            Self::MutedViaFocus => "muted-via-focus",
            Self::Pending => "pending",
            Self::Alerting => "alerting",
            Self::DialingIn => "dialing-in",
            Self::DialingOut => "dialing-out",
            Self::Disconnecting => "disconnecting",
        }
    }

    /// Whether it takes part.
    #[must_use]
    pub const fn is_connected(self) -> bool {
        matches!(self, Self::Connected | Self::OnHold | Self::MutedViaFocus)
    }

    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name() == name)
    }
}

/// A stream of a device (section 5.8).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Media {
    /// Tells it from others of the device.
    pub id: String,
    /// As in the session description: `audio`, `video`, `message`.
    pub kind: Option<String>,
    /// Which way it goes: `sendrecv`, `sendonly`, `recvonly`, `inactive`.
    pub status: Option<String>,
}

impl ConferenceInfo {
    /// Puts a document into what is known: a whole one replaces it, a change changes what it names (section 4.6). At most
    /// `limit` people are kept.
    pub fn merge(&mut self, change: Self, limit: usize) {
        if change.state == State::Full {
            *self = change;
            self.users.truncate(limit);
            return;
        }
        self.version = change.version;
        if change.state == State::Deleted {
            self.state = State::Deleted;
            self.users.clear();
            return;
        }
        if change.description.is_some() {
            self.description = change.description;
        }
        if change.status.is_some() {
            self.status = change.status;
        }
        // An element that is not there has not changed, which the reader tells by `Partial` without anybody in it.
        match change.users_state {
            State::Full => self.users = change.users,
            State::Deleted => self.users.clear(),
            State::Partial => {
                // By name, so that a change of everybody takes no more than linear time.
                let mut known: std::collections::HashMap<String, usize> =
                    self.users.iter().enumerate().map(|(at, user)| (user.entity.clone(), at)).collect();
                for user in change.users {
                    match known.get(&user.entity) {
                        Some(&at) => self.users[at].merge(user),
                        None if self.users.len() < limit && user.state != State::Deleted => {
                            known.insert(user.entity.clone(), self.users.len());
                            self.users.push(user);
                        }
                        None => {}
                    }
                }
                self.users.retain(|user| user.state != State::Deleted);
            }
        }
        self.users.truncate(limit);
    }
}

impl User {
    fn merge(&mut self, change: Self) {
        if change.state != State::Partial {
            *self = change;
            return;
        }
        self.display_text = change.display_text.or(self.display_text.take());
        self.nickname = change.nickname.or(self.nickname.take());
        if !change.roles.is_empty() {
            self.roles = change.roles;
        }
        for endpoint in change.endpoints {
            let room = self.endpoints.len() < MAX_ENDPOINTS;
            match self.endpoints.iter_mut().find(|known| known.entity == endpoint.entity) {
                Some(known) => known.merge(endpoint),
                // Few devices a person: more than that is nobody.
                None if room => self.endpoints.push(endpoint),
                None => {}
            }
        }
        self.endpoints.retain(|endpoint| endpoint.state != State::Deleted);
    }
}

impl Endpoint {
    fn merge(&mut self, change: Self) {
        if change.state != State::Partial {
            *self = change;
            return;
        }
        self.display_text = change.display_text.or(self.display_text.take());
        self.status = change.status.or(self.status);
        self.joining_method = change.joining_method.or(self.joining_method.take());
        self.joined_at = change.joined_at.or(self.joined_at);
        self.disconnection_method = change.disconnection_method.or(self.disconnection_method.take());
        self.disconnection_reason = change.disconnection_reason.or(self.disconnection_reason.take());
        for media in change.media {
            let room = self.media.len() < MAX_MEDIA;
            match self.media.iter_mut().find(|known| known.id == media.id) {
                Some(known) => {
                    known.kind = media.kind.or(known.kind.take());
                    known.status = media.status.or(known.status.take());
                }
                None if room => self.media.push(media),
                None => {}
            }
        }
    }
}

/// Most devices of one person that are kept.
const MAX_ENDPOINTS: usize = 16;
/// Most streams of one device that are kept.
const MAX_MEDIA: usize = 16;

/// Reads the document.
///
/// # Errors
/// [`DocumentError`]. `version` cannot be done without in a change: without it no gap would be seen.
pub fn read(bytes: &[u8], limits: &Limits) -> Result<Parsed<ConferenceInfo>, DocumentError> {
    let (text, latin) = decode(bytes, limits)?;
    let mut xml = Xml::new(&text, latin, *limits);
    let root = xml.root()?;
    if root.name() != "conference-info" || !matches!(root.ns, Ns::ConferenceInfo | Ns::None) {
        let root = cut(root.name(), 64).to_owned();
        return Err(DocumentError::WrongRoot { root, expected: "a document of RFC 4575" });
    }
    let state = State::read(&mut xml, &root);
    let version = xml.attribute(&root, "version").and_then(|text| text.trim().parse().ok());
    let version = match (version, state) {
        (Some(version), _) => version,
        // A whole document stands for itself.
        (None, State::Full) => {
            xml.forgive(root.offset, Finding::Attribute);
            0
        }
        (None, _) => {
            let what = "`version` is missing".to_owned();
            return Err(DocumentError::Malformed { offset: root.offset, what });
        }
    };
    let entity = xml.attribute(&root, "entity").unwrap_or_default();
    let users_state = if state == State::Full { State::Full } else { State::Partial };
    let mut document = ConferenceInfo { entity, version, state, users_state, ..ConferenceInfo::default() };
    while let Some(child) = xml.child(&root)? {
        match (child.ns, child.name()) {
            (Ns::ConferenceInfo | Ns::None, "conference-description") => {
                document.description = Some(description(&mut xml, &child)?);
            }
            (Ns::ConferenceInfo | Ns::None, "conference-state") => {
                document.status = Some(status(&mut xml, &child)?);
            }
            (Ns::ConferenceInfo | Ns::None, "users") => {
                document.users_state = State::read(&mut xml, &child);
                while let Some(one) = xml.child(&child)? {
                    if one.name() != "user" || !xml.room(document.users.len(), one.offset) {
                        xml.skip(&one)?;
                        continue;
                    }
                    let user = user(&mut xml, &one)?;
                    document.users.push(user);
                }
            }
            _ => xml.skip(&child)?,
        }
    }
    xml.finish()?;
    Ok(Parsed { document, forgiven: xml.into_forgiven() })
}

fn filled(xml: &mut Xml<'_>, element: &Element<'_>) -> Result<Option<String>, DocumentError> {
    Ok(Some(xml.text(element)?).filter(|text| !text.is_empty()))
}

fn truth(text: &str) -> Option<bool> {
    match text {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

fn description(xml: &mut Xml<'_>, element: &Element<'_>) -> Result<Description, DocumentError> {
    let mut description = Description::default();
    while let Some(child) = xml.child(element)? {
        match child.name() {
            "display-text" => description.display_text = filled(xml, &child)?,
            "subject" => description.subject = filled(xml, &child)?,
            "free-text" => description.free_text = filled(xml, &child)?,
            "maximum-user-count" => description.maximum_users = xml.text(&child)?.parse().ok(),
            _ => xml.skip(&child)?,
        }
    }
    Ok(description)
}

fn status(xml: &mut Xml<'_>, element: &Element<'_>) -> Result<Status, DocumentError> {
    let mut status = Status::default();
    while let Some(child) = xml.child(element)? {
        match child.name() {
            "user-count" => status.user_count = xml.text(&child)?.parse().ok(),
            "active" => status.active = truth(&xml.text(&child)?),
            "locked" => status.locked = truth(&xml.text(&child)?),
            _ => xml.skip(&child)?,
        }
    }
    Ok(status)
}

fn user(xml: &mut Xml<'_>, element: &Element<'_>) -> Result<User, DocumentError> {
    let state = State::read(xml, element);
    let entity = xml.attribute(element, "entity").unwrap_or_default();
    if entity.is_empty() {
        xml.forgive(element.offset, Finding::Attribute);
    }
    let mut user = User { entity, state, ..User::default() };
    while let Some(child) = xml.child(element)? {
        match (child.ns, child.name()) {
            (Ns::Xcon, "nickname") => user.nickname = filled(xml, &child)?,
            (_, "display-text") => user.display_text = filled(xml, &child)?,
            (_, "roles") => {
                while let Some(entry) = xml.child(&child)? {
                    let role = xml.text(&entry)?;
                    if user.roles.len() < MAX_MEDIA && !role.is_empty() {
                        user.roles.push(role);
                    }
                }
            }
            (_, "endpoint") if user.endpoints.len() < MAX_ENDPOINTS => {
                let endpoint = endpoint(xml, &child)?;
                user.endpoints.push(endpoint);
            }
            _ => xml.skip(&child)?,
        }
    }
    Ok(user)
}

fn endpoint(xml: &mut Xml<'_>, element: &Element<'_>) -> Result<Endpoint, DocumentError> {
    let state = State::read(xml, element);
    let entity = xml.attribute(element, "entity").unwrap_or_default();
    let mut endpoint = Endpoint { entity, state, ..Endpoint::default() };
    while let Some(child) = xml.child(element)? {
        match child.name() {
            "display-text" => endpoint.display_text = filled(xml, &child)?,
            "status" => {
                endpoint.status = EndpointStatus::from_name(&xml.text(&child)?);
                if endpoint.status.is_none() {
                    xml.forgive(child.offset, Finding::Value);
                }
            }
            "joining-method" => endpoint.joining_method = filled(xml, &child)?,
            "disconnection-method" => endpoint.disconnection_method = filled(xml, &child)?,
            "joining-info" => {
                while let Some(one) = xml.child(&child)? {
                    match one.name() {
                        "when" => endpoint.joined_at = xml.text(&one)?.parse().ok(),
                        _ => xml.skip(&one)?,
                    }
                }
            }
            "disconnection-info" => {
                while let Some(one) = xml.child(&child)? {
                    match one.name() {
                        "reason" => endpoint.disconnection_reason = filled(xml, &one)?,
                        _ => xml.skip(&one)?,
                    }
                }
            }
            "media" if endpoint.media.len() < MAX_MEDIA => {
                let media = media(xml, &child)?;
                endpoint.media.push(media);
            }
            _ => xml.skip(&child)?,
        }
    }
    Ok(endpoint)
}

fn media(xml: &mut Xml<'_>, element: &Element<'_>) -> Result<Media, DocumentError> {
    let mut media = Media { id: xml.attribute(element, "id").unwrap_or_default(), ..Media::default() };
    while let Some(child) = xml.child(element)? {
        match child.name() {
            "type" => media.kind = filled(xml, &child)?,
            "status" => media.status = filled(xml, &child)?,
            _ => xml.skip(&child)?,
        }
    }
    Ok(media)
}

/// Writes the document in UTF-8.
#[must_use]
pub fn write(document: &ConferenceInfo) -> String {
    let mut out = String::with_capacity(256 + 256 * document.users.len());
    let _ = write!(
        out,
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<conference-info xmlns=\"{CONFERENCE_INFO}\" version=\"{}\" state=\"{}\"",
        document.version,
        document.state.name()
    );
    attribute(&mut out, "entity", &document.entity);
    out.push('>');
    if let Some(description) = &document.description {
        out.push_str("<conference-description>");
        text(&mut out, "display-text", description.display_text.as_deref());
        text(&mut out, "subject", description.subject.as_deref());
        text(&mut out, "free-text", description.free_text.as_deref());
        number(&mut out, "maximum-user-count", description.maximum_users);
        out.push_str("</conference-description>");
    }
    if let Some(status) = &document.status {
        out.push_str("<conference-state>");
        number(&mut out, "user-count", status.user_count);
        text(&mut out, "active", status.active.map(word));
        text(&mut out, "locked", status.locked.map(word));
        out.push_str("</conference-state>");
    }
    // A change that says nothing of anybody leaves the element out.
    if !document.users.is_empty() || document.users_state != State::Partial {
        let _ = write!(out, "<users state=\"{}\">", document.users_state.name());
        for user in &document.users {
            write_user(&mut out, user);
        }
        out.push_str("</users>");
    }
    out.push_str("</conference-info>\n");
    out
}

fn write_user(out: &mut String, user: &User) {
    out.push_str("<user");
    attribute(out, "entity", &user.entity);
    let _ = write!(out, " state=\"{}\">", user.state.name());
    text(out, "display-text", user.display_text.as_deref());
    if !user.roles.is_empty() {
        out.push_str("<roles>");
        for role in &user.roles {
            text(out, "entry", Some(role));
        }
        out.push_str("</roles>");
    }
    for endpoint in &user.endpoints {
        write_endpoint(out, endpoint);
    }
    if let Some(nickname) = &user.nickname {
        let _ = write!(out, "<nickname xmlns=\"{XCON}\">");
        escape_into(out, nickname);
        out.push_str("</nickname>");
    }
    out.push_str("</user>");
}

fn write_endpoint(out: &mut String, endpoint: &Endpoint) {
    out.push_str("<endpoint");
    attribute(out, "entity", &endpoint.entity);
    let _ = write!(out, " state=\"{}\">", endpoint.state.name());
    text(out, "display-text", endpoint.display_text.as_deref());
    text(out, "status", endpoint.status.map(EndpointStatus::name));
    text(out, "joining-method", endpoint.joining_method.as_deref());
    if let Some(at) = endpoint.joined_at {
        let _ = write!(out, "<joining-info><when>{at}</when></joining-info>");
    }
    text(out, "disconnection-method", endpoint.disconnection_method.as_deref());
    if endpoint.disconnection_reason.is_some() {
        out.push_str("<disconnection-info>");
        text(out, "reason", endpoint.disconnection_reason.as_deref());
        out.push_str("</disconnection-info>");
    }
    for media in &endpoint.media {
        out.push_str("<media");
        attribute(out, "id", &media.id);
        out.push('>');
        text(out, "type", media.kind.as_deref());
        text(out, "status", media.status.as_deref());
        out.push_str("</media>");
    }
    out.push_str("</endpoint>");
}

const fn word(truth: bool) -> &'static str {
    if truth { "true" } else { "false" }
}

fn number(out: &mut String, name: &str, value: Option<u32>) {
    if let Some(value) = value {
        let _ = write!(out, "<{name}>{value}</{name}>");
    }
}

fn text(out: &mut String, name: &str, value: Option<&str>) {
    if let Some(value) = value {
        let _ = write!(out, "<{name}>");
        escape_into(out, value);
        let _ = write!(out, "</{name}>");
    }
}

fn attribute(out: &mut String, name: &str, value: &str) {
    let _ = write!(out, " {name}=\"");
    escape_into(out, value);
    out.push('"');
}
