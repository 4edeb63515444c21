//! The line `m=message` (RFC 4975, section 8; RFC 6135, RFC 6714, RFC 7701).

use sdp_types::{Connection, Media, Session};

use super::{Attribute, Direction, FileOffer, SdpError, attribute, set_direction, value};
use crate::event::{Peer, Role};
use crate::fingerprint::Fingerprint;
use crate::stream::Target;
use crate::uri::MsrpUri;

/// Media types that are read from one list.
const MAX_TYPES: usize = 64;
/// Certificates that one side may show.
const MAX_FINGERPRINTS: usize = 8;

/// Who opens the connection, as one side says it (RFC 6135, RFC 4145).
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Setup {
    /// The describer does.
    Active,
    /// The other side does.
    Passive,
    /// The answerer may choose.
    Either,
}

impl Setup {
    fn parse(text: &str) -> Option<Self> {
        [Self::Active, Self::Passive, Self::Either].into_iter().find(|setup| setup.as_str() == text)
    }

    /// The attribute's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Passive => "passive",
            Self::Either => "actpass",
        }
    }

    /// What the answerer says and does. Where the choice is its own it connects, if it can be `active` only; `prefer` decides
    /// otherwise. Without the attribute the offerer connects (RFC 4975, section 5.4).
    pub fn answer(offered: Option<Self>, prefer: Role) -> (Option<Self>, Role) {
        match (offered, prefer) {
            (None, _) => (None, Role::Passive),
            (Some(Self::Active), _) => (Some(Self::Passive), Role::Passive),
            (Some(Self::Passive), _) => (Some(Self::Active), Role::Active),
            (Some(Self::Either), Role::Active) => (Some(Self::Active), Role::Active),
            (Some(Self::Either), Role::Passive) => (Some(Self::Passive), Role::Passive),
        }
    }

    /// What the offerer does when it has the answer.
    pub fn conclude(answered: Option<Self>) -> Role {
        match answered {
            Some(Self::Active) => Role::Passive,
            Some(Self::Passive | Self::Either) | None => Role::Active,
        }
    }
}

/// One message session, as one side describes it.
#[derive(Clone, Debug)]
pub struct MessageMedia {
    /// How to reach the describer: relays, and itself at the end.
    pub path: Vec<MsrpUri>,
    /// Name or address of the media line, without brackets. Without RFC 6714 it decides nothing.
    pub host: String,
    /// Port of the media line; 0 refuses the session.
    pub port: u16,
    /// Media types that it takes: `text/plain`, `text/*`, `*`.
    pub accept_types: Vec<String>,
    /// Those that it takes within others alone, such as within `message/cpim`.
    pub accept_wrapped_types: Vec<String>,
    /// Octets of the largest message that it takes.
    pub max_size: Option<u64>,
    /// Who opens the connection.
    pub setup: Option<Setup>,
    /// Whether the address of the media line may be used in place of the path's (RFC 6714).
    pub cema: bool,
    /// Those of the certificates of which the describer shows one, over TLS (RFC 4975, section 14.4, RFC 8122).
    pub fingerprints: Vec<Fingerprint>,
    /// Which way messages flow.
    pub direction: Direction,
    /// The session is one with a chat room, with these features: `nickname`, `private-messages` (RFC 7701, section 8).
    pub chatroom: Option<Vec<String>>,
    /// A file is offered, or asked for (RFC 5547).
    pub file: Option<FileOffer>,
}

impl MessageMedia {
    /// A session at this path, which has at least its own address, that takes every media type.
    ///
    /// # Panics
    /// Never for a path that [`Msrp::local_path`](crate::Msrp::local_path) gave.
    pub fn new(path: Vec<MsrpUri>) -> Self {
        let target = path.first().map(Target::of).expect("a path has an address");
        Self {
            host: target.host,
            port: target.port,
            path,
            accept_types: vec!["*".into()],
            accept_wrapped_types: Vec::new(),
            max_size: None,
            setup: None,
            cema: false,
            fingerprints: Vec::new(),
            direction: Direction::Both,
            chatroom: None,
            file: None,
        }
    }

    /// Whether a media line is one that [`read`](Self::read) takes.
    pub fn is_one(media: &Media) -> bool {
        let is_msrp = |proto: &str| {
            proto.eq_ignore_ascii_case("TCP/MSRP") || proto.eq_ignore_ascii_case("TCP/TLS/MSRP")
        };
        media.media.eq_ignore_ascii_case("message") && is_msrp(&media.proto)
    }

    /// Reads one line of a description.
    ///
    /// # Errors
    /// When it is not for messages, its path is missing or malformed, transport and path do not fit together, or its
    /// certificate is named in no way that can be checked.
    pub fn read(session: &Session, media: &Media) -> Result<Self, SdpError> {
        if !Self::is_one(media) {
            return Err(SdpError::NotMessages);
        }
        let attributes = &media.attributes;
        let path = MsrpUri::parse_path(value(attributes, "path").ok_or(SdpError::Attribute("path"))?)?;
        let secure = media.proto.eq_ignore_ascii_case("TCP/TLS/MSRP");
        if path.first().is_some_and(|uri| uri.is_secure() != secure) {
            return Err(SdpError::Attribute("path"));
        }
        let connection = media.connections.first().or(session.connection.as_ref());
        let max_size = value(attributes, "max-size");
        let types = |name| value(attributes, name).map(words).unwrap_or_default();
        Ok(Self {
            path,
            host: connection.map(|connection| connection.connection_address.clone()).unwrap_or_default(),
            port: media.port,
            accept_types: types("accept-types"),
            accept_wrapped_types: types("accept-wrapped-types"),
            max_size: max_size
                .map(|digits| digits.parse().map_err(|_| SdpError::Attribute("max-size")))
                .transpose()?,
            setup: value(attributes, "setup").and_then(Setup::parse),
            cema: value(attributes, "msrp-cema").is_some(),
            fingerprints: if secure { fingerprints(session, media)? } else { Vec::new() },
            direction: Direction::of(session, media),
            chatroom: value(attributes, "chatroom").map(words),
            file: FileOffer::read(media)?,
        })
    }

    /// The line that says this.
    pub fn write(&self) -> Media {
        let secure = self.path.first().is_some_and(MsrpUri::is_secure);
        let path: Vec<_> = self.path.iter().map(MsrpUri::as_str).collect();
        let mut attributes: Vec<Attribute> = Vec::with_capacity(8);
        let mut add = |name: &str, value: Option<String>| attributes.push(attribute(name, value));
        add("accept-types", Some(self.accept_types.join(" ")));
        if !self.accept_wrapped_types.is_empty() {
            add("accept-wrapped-types", Some(self.accept_wrapped_types.join(" ")));
        }
        if let Some(octets) = self.max_size {
            add("max-size", Some(octets.to_string()));
        }
        add("path", Some(path.join(" ")));
        if let Some(setup) = self.setup {
            add("setup", Some(setup.as_str().into()));
        }
        if self.cema {
            add("msrp-cema", None);
        }
        for fingerprint in self.fingerprints.iter().filter(|_| secure) {
            add("fingerprint", Some(fingerprint.to_string()));
        }
        if let Some(features) = &self.chatroom {
            add("chatroom", Some(features.join(" ")).filter(|features| !features.is_empty()));
        }
        if let Some(file) = &self.file {
            attributes.extend(file.attributes());
        }
        let connections = match self.host.parse() {
            Ok::<std::net::IpAddr, _>(ip) => vec![Connection::from_ip_addr(ip)],
            Err(_) => vec![Connection::new(sdp_types::NetType::In, sdp_types::AddrType::Ip4, &self.host)],
        };
        let mut media = Media {
            media: "message".into(),
            port: self.port,
            num_ports: None,
            proto: if secure { "TCP/TLS/MSRP".into() } else { "TCP/MSRP".into() },
            fmt: "*".into(),
            media_title: None,
            connections,
            bandwidths: Vec::new(),
            key: None,
            attributes,
        };
        if self.direction != Direction::Both {
            set_direction(&mut media, self.direction);
        }
        media
    }

    /// What the machine has to know of a peer that described itself so. `role` is this node's; `cema`: whether this node
    /// has said that it knows RFC 6714.
    ///
    /// Where both know it and the media line leads elsewhere than the path, something between the two has put itself in,
    /// and is connected to (RFC 6714, section 4).
    pub fn peer(&self, role: Role, cema: bool) -> Peer {
        let by_path = self.path.first().map(Target::of);
        let by_line = Target {
            host: self.host.to_ascii_lowercase(),
            port: self.port,
            secure: self.path.first().is_some_and(MsrpUri::is_secure),
            fingerprints: Vec::new(),
        };
        let differs = by_path.as_ref() != Some(&by_line) && !self.host.is_empty();
        // Through relays the path is what counts (RFC 6714, section 5).
        let target = (cema && self.cema && differs && self.path.len() == 1).then_some(by_line);
        // Whoever is behind a relay shows its certificate to that, and the relay another one to us.
        let fingerprints = if self.path.len() == 1 { self.fingerprints.clone() } else { Vec::new() };
        Peer { path: self.path.clone(), role, target, fingerprints, max_size: self.max_size }
    }

    /// Whether a message of this type can be sent to the describer, by itself or within others.
    pub fn accepts(&self, media_type: &str, wrapped: bool) -> bool {
        type_matches(&self.accept_types, media_type)
            || wrapped && type_matches(&self.accept_wrapped_types, media_type)
    }
}

/// Whether a list of `type/subtype`, `type/*` and `*` has a media type, whose parameters do not count.
pub(crate) fn type_matches(list: &[String], media_type: &str) -> bool {
    let bare = media_type.split(';').next().unwrap_or("").trim();
    let kind = bare.split('/').next().unwrap_or("");
    list.iter().any(|wanted| {
        let wanted = wanted.split(';').next().unwrap_or("").trim();
        wanted == "*"
            || wanted.eq_ignore_ascii_case(bare)
            || wanted.strip_suffix("/*").is_some_and(|wanted| wanted.eq_ignore_ascii_case(kind))
    })
}

/// The certificates that a line names, or where it names none, those that the whole description does (RFC 8122, section 5).
fn fingerprints(session: &Session, media: &Media) -> Result<Vec<Fingerprint>, SdpError> {
    const NAME: &str = "fingerprint";
    let named = |attributes: &[Attribute]| attributes.iter().any(|attribute| attribute.attribute == NAME);
    let attributes = if named(&media.attributes) { &media.attributes } else { &session.attributes };
    let (mut found, mut any) = (Vec::new(), false);
    for attribute in attributes.iter().filter(|attribute| attribute.attribute == NAME) {
        any = true;
        let mut words = attribute.value.as_deref().unwrap_or("").split_ascii_whitespace();
        // Others say the same of the same certificate in another way.
        if words.next().is_some_and(|function| function.eq_ignore_ascii_case(Fingerprint::FUNCTION)) {
            found.extend(words.next().and_then(Fingerprint::parse));
        }
    }
    // A certificate that is named and cannot be checked is not to be taken for any certificate.
    match any && (found.is_empty() || found.len() > MAX_FINGERPRINTS) {
        true => Err(SdpError::Attribute(NAME)),
        false => Ok(found),
    }
}

fn words(text: &str) -> Vec<String> {
    text.split_ascii_whitespace().take(MAX_TYPES).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sdp::{self, FileSelector};

    fn path(uri: &str) -> Vec<MsrpUri> {
        vec![uri.parse().unwrap()]
    }

    fn reread(media: &MessageMedia) -> (MessageMedia, String) {
        let session = sdp::session(7, 1, [192, 0, 2, 1].into(), vec![media.write()]);
        let bytes = sdp::write(&session);
        let session = sdp::parse(&bytes).unwrap();
        let read = MessageMedia::read(&session, &session.medias[0]).unwrap();
        (read, String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[test]
    fn a_session_is_read_as_it_was_written() {
        let file = FileOffer {
            selector: FileSelector { name: Some("a.txt".into()), size: Some(5), ..FileSelector::default() },
            transfer_id: "vBnG916bdberum2fFEABR1FR3ExZMUrd".into(),
            disposition: Some("attachment".into()),
            range: Some((3, None)),
            icon: Some("id2@example.com".into()),
            date: None,
        };
        let media = MessageMedia {
            accept_types: vec!["message/cpim".into()],
            accept_wrapped_types: vec!["text/plain".into(), "text/html".into()],
            max_size: Some(65536),
            setup: Some(Setup::Either),
            cema: true,
            fingerprints: vec![Fingerprint::of(b"one"), Fingerprint::of(b"another")],
            direction: Direction::Send,
            chatroom: Some(vec!["nickname".into(), "private-messages".into()]),
            file: Some(file),
            ..MessageMedia::new(path("msrps://192.0.2.1:2856/x;tcp"))
        };
        let (read, text) = reread(&media);
        assert!(text.contains("m=message 2856 TCP/TLS/MSRP *\r\n"), "{text}");
        assert!(text.contains("a=setup:actpass\r\n") && text.contains("a=msrp-cema\r\n"), "{text}");
        assert!(text.contains("a=chatroom:nickname private-messages\r\n"), "{text}");
        assert_eq!(format!("{read:?}"), format!("{media:?}"));
        assert_eq!(read.file.unwrap().skipped(), 2);
    }

    #[test]
    fn a_certificate_that_is_named_is_read_or_the_line_refused() {
        let one = Fingerprint::of(b"one").to_string();
        let read = |head: &str, lines: &str| {
            let text = format!(
                "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n{head}\
                 m=message 4 TCP/TLS/MSRP *\r\na=path:msrps://a:1/x;tcp\r\n{lines}"
            );
            let session = sdp::parse(text.as_bytes()).unwrap();
            MessageMedia::read(&session, &session.medias[0]).map(|media| media.fingerprints)
        };
        let line = format!("a=fingerprint:{}\r\n", one.to_lowercase());
        let other = format!("a=fingerprint:{}\r\n", Fingerprint::of(b"another"));
        let sha1 = "a=fingerprint:sha-1 4A:AD:B9:B1:3F:82:18:3B:54:02:12:DF:3E:5D:49:6B:19:E5:7C:AB\r\n";
        for (head, lines) in [("", &*line), (&*line, ""), (&*other, &*line), ("", &*format!("{sha1}{line}"))]
        {
            assert_eq!(read(head, lines), Ok(vec![Fingerprint::of(b"one")]), "{head}{lines}");
        }
        assert_eq!(read("", ""), Ok(vec![]));
        let many = line.repeat(MAX_FINGERPRINTS + 1);
        for lines in
            [sha1, "a=fingerprint\r\n", "a=fingerprint:sha-256 AB:+1\r\n", &line.replace(':', "::"), &many]
        {
            assert_eq!(read("", lines), Err(SdpError::Attribute("fingerprint")), "{lines}");
        }
    }

    #[test]
    fn what_the_peer_takes_decides_what_can_be_sent() {
        let media = MessageMedia {
            accept_types: vec!["message/cpim".into(), "image/*".into()],
            accept_wrapped_types: vec!["Text/Plain".into()],
            ..MessageMedia::new(path("msrp://a:1/x;tcp"))
        };
        for (media_type, wrapped, takes) in [
            ("Message/CPIM", false, true),
            ("image/png;q=1", false, true),
            ("text/plain", false, false),
            ("text/plain; charset=utf-8", true, true),
            ("text/html", true, false),
        ] {
            assert_eq!(media.accepts(media_type, wrapped), takes, "{media_type}");
        }
    }

    #[test]
    fn who_connects_is_agreed_on_as_rfc_6135_says() {
        use Role::{Active, Passive};
        for (offered, prefer, answered, answerer, offerer) in [
            (None, Active, None, Passive, Active),
            (Some(Setup::Active), Active, Some(Setup::Passive), Passive, Active),
            (Some(Setup::Passive), Passive, Some(Setup::Active), Active, Passive),
            (Some(Setup::Either), Active, Some(Setup::Active), Active, Passive),
            (Some(Setup::Either), Passive, Some(Setup::Passive), Passive, Active),
        ] {
            assert_eq!(Setup::answer(offered, prefer), (answered, answerer), "{offered:?} {prefer:?}");
            assert_eq!(Setup::conclude(answered), offerer, "{offered:?} {prefer:?}");
        }
    }

    #[test]
    fn something_between_is_connected_to_where_both_know_of_it() {
        let between = MessageMedia {
            cema: true,
            host: "203.0.113.9".into(),
            port: 7000,
            ..MessageMedia::new(path("msrp://192.0.2.1:2855/x;tcp"))
        };
        let target = between.peer(Role::Active, true).target.unwrap();
        assert_eq!((target.host.as_str(), target.port), ("203.0.113.9", 7000));
        assert_eq!(between.peer(Role::Active, false).target, None);
        let direct = MessageMedia { cema: true, ..MessageMedia::new(path("msrp://192.0.2.1:2855/x;tcp")) };
        assert_eq!(direct.peer(Role::Active, true).target, None);
        let relayed = MessageMedia {
            path: MsrpUri::parse_path("msrp://r:1/y;tcp msrp://192.0.2.1:2855/x;tcp").unwrap(),
            ..between
        };
        assert_eq!(relayed.peer(Role::Active, true).target, None);
    }

    #[test]
    fn media_that_are_none_are_refused() {
        let head = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n";
        let path = "a=path:msrp://a:1/x;tcp\r\n";
        for (media, error) in [
            ("m=audio 4 RTP/AVP 0\r\n".to_owned(), SdpError::NotMessages),
            ("m=message 4 TCP/SIP *\r\n".to_owned(), SdpError::NotMessages),
            ("m=message 4 TCP/MSRP *\r\n".to_owned(), SdpError::Attribute("path")),
            (format!("m=message 4 TCP/TLS/MSRP *\r\n{path}"), SdpError::Attribute("path")),
            (format!("m=message 4 TCP/MSRP *\r\n{path}a=max-size:many\r\n"), SdpError::Attribute("max-size")),
            (
                format!("m=message 4 TCP/MSRP *\r\n{path}a=file-selector:name:\"a\"\r\n"),
                SdpError::Attribute("file-transfer-id"),
            ),
        ] {
            let session = sdp::parse(format!("{head}{media}").as_bytes()).unwrap();
            let read = MessageMedia::read(&session, &session.medias[0]);
            assert_eq!(read.err(), Some(error), "{media}");
        }
    }
}
