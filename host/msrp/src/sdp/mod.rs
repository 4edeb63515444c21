//! What SDP says of message sessions and files, and a few things about every offer and answer (RFC 3264, RFC 8866).
//!
//! The reading and writing of SDP itself is done by [`sdp_types`]; here is what it is asked: [`MessageMedia`] for a line
//! `m=message`, [`FileOffer`] for a file on it, and directions, hold and refusals for media of any kind.

mod file;
mod message;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytes::Bytes;
pub use sdp_types::{Attribute, Connection, Media, Session};

pub use file::{FileHash, FileHasher, FileOffer, FileSelector, HashAlgorithm};
pub(crate) use message::type_matches;
pub use message::{MessageMedia, Setup};

use crate::uri::UriError;

/// Octets of the largest description that is read.
pub const MAX_SDP: usize = 64 * 1024;
/// Most lines of a description.
pub const MAX_LINES: usize = 1024;
/// Most media of a description.
pub const MAX_MEDIA: usize = 16;

/// Why a description is of no use.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SdpError {
    /// It is longer than [`MAX_SDP`], or has more than [`MAX_LINES`] lines or [`MAX_MEDIA`] media.
    #[error("the session description is too large")]
    TooLarge,
    /// It is no SDP, in the reader's words.
    #[error("not a session description: {0}")]
    Malformed(String),
    /// The media are not messages over MSRP.
    #[error("not a message session over msrp")]
    NotMessages,
    /// The path cannot be read.
    #[error("the path of the message session: {0}")]
    Path(#[from] UriError),
    /// An attribute that must be there is missing or malformed.
    #[error("attribute `{0}` is missing or malformed")]
    Attribute(&'static str),
}

/// Reads a description, within bounds.
///
/// # Errors
/// When it is larger than the bounds, or no SDP.
pub fn parse(bytes: &[u8]) -> Result<Session, SdpError> {
    if bytes.len() > MAX_SDP || memchr::memchr_iter(b'\n', bytes).count() > MAX_LINES {
        return Err(SdpError::TooLarge);
    }
    let session = Session::parse(bytes).map_err(|error| SdpError::Malformed(error.to_string()))?;
    if session.medias.len() > MAX_MEDIA {
        return Err(SdpError::TooLarge);
    }
    Ok(session)
}

/// Writes a description.
pub fn write(session: &Session) -> Bytes {
    let mut out = Vec::with_capacity(512);
    session.write(&mut out).expect("memory takes everything");
    out.into()
}

/// A description of our own. `id` names the session, `version` grows with each change of it (RFC 3264, section 8).
pub fn session(id: u64, version: u64, address: IpAddr, media: Vec<Media>) -> Session {
    // The number is read as a signed one by many (RFC 3264, section 5).
    let id = id >> 1;
    let mut session = Session::new(sdp_types::Origin::with_ip_addr(id, version, address), "-");
    session.connection = Some(Connection::from_ip_addr(address));
    session.medias = media;
    session
}

/// Which way media flow, as the describer sees it (RFC 8866, section 6.7).
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub enum Direction {
    /// Both ways.
    #[default]
    Both,
    /// From the describer.
    Send,
    /// To the describer.
    Receive,
    /// Not at all.
    Inactive,
}

impl Direction {
    /// The attribute's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Both => "sendrecv",
            Self::Send => "sendonly",
            Self::Receive => "recvonly",
            Self::Inactive => "inactive",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        [Self::Both, Self::Send, Self::Receive, Self::Inactive].into_iter().find(|d| d.as_str() == name)
    }

    /// The same as the other side sees it: the answer to an offer that wants this.
    #[must_use]
    pub const fn reversed(self) -> Self {
        match self {
            Self::Send => Self::Receive,
            Self::Receive => Self::Send,
            same => same,
        }
    }

    /// The same without what the peer sends (RFC 3264, section 8.4).
    #[must_use]
    pub const fn held(self) -> Self {
        match self {
            Self::Both | Self::Send => Self::Send,
            Self::Receive | Self::Inactive => Self::Inactive,
        }
    }

    /// The direction of one media line; where it says none, that of the whole description.
    pub fn of(session: &Session, media: &Media) -> Self {
        let said = |attributes: &[Attribute]| attributes.iter().find_map(|a| Self::parse(&a.attribute));
        said(&media.attributes).or_else(|| said(&session.attributes)).unwrap_or_default()
    }
}

/// Sets the direction of one media line.
pub fn set_direction(media: &mut Media, direction: Direction) {
    media.attributes.retain(|attribute| Direction::parse(&attribute.attribute).is_none());
    media.attributes.push(attribute(direction.as_str(), None));
}

/// Puts every media line on hold: the peer should send nothing (RFC 3264, section 8.4).
pub fn hold(session: &mut Session) {
    let held: Vec<_> = session.medias.iter().map(|media| Direction::of(session, media).held()).collect();
    for (media, direction) in session.medias.iter_mut().zip(held) {
        set_direction(media, direction);
    }
}

/// Has every media line lead nowhere, as the first offer of a call that this node only arranges (RFC 3725, section 5).
pub fn black_hole(session: &mut Session) {
    let nowhere = |connection: &Connection| {
        let ip: IpAddr = match connection.addrtype {
            sdp_types::AddrType::Ip6 => Ipv6Addr::UNSPECIFIED.into(),
            _ => Ipv4Addr::UNSPECIFIED.into(),
        };
        Connection::from_ip_addr(ip)
    };
    session.connection = session.connection.as_ref().map(nowhere);
    for media in &mut session.medias {
        media.connections = media.connections.iter().map(nowhere).collect();
    }
}

/// Whether the description asks for media of this kind: `audio`, `video`, `message`.
pub fn wants(session: &Session, kind: &str) -> bool {
    session.medias.iter().any(|media| media.port != 0 && media.media.eq_ignore_ascii_case(kind))
}

/// The media line of an answer that refuses an offered one (RFC 3264, section 6).
pub fn refused(offered: &Media) -> Media {
    let mut media = offered.clone();
    media.port = 0;
    media.num_ports = None;
    media.attributes.clear();
    media.connections.clear();
    media.bandwidths.clear();
    media.key = None;
    media
}

/// The value of the first attribute of that name: empty where it has none.
fn value<'a>(attributes: &'a [Attribute], name: &str) -> Option<&'a str> {
    let found = attributes.iter().find(|attribute| attribute.attribute == name)?;
    Some(found.value.as_deref().unwrap_or("").trim())
}

fn attribute(name: &str, value: Option<String>) -> Attribute {
    Attribute { attribute: name.into(), value }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AUDIO: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\na=sendonly\r\n\
        m=audio 4000 RTP/AVP 0\r\nm=video 4002 RTP/AVP 31\r\nc=IN IP6 2001:db8::1\r\na=recvonly\r\n";

    #[test]
    fn directions_of_media_go_before_that_of_the_session() {
        let mut session = parse(AUDIO.as_bytes()).unwrap();
        let seen: Vec<_> = session.medias.iter().map(|media| Direction::of(&session, media)).collect();
        assert_eq!(seen, [Direction::Send, Direction::Receive]);
        hold(&mut session);
        let seen: Vec<_> = session.medias.iter().map(|media| Direction::of(&session, media)).collect();
        assert_eq!(seen, [Direction::Send, Direction::Inactive]);
    }

    #[test]
    fn a_black_hole_keeps_the_address_family() {
        let mut session = parse(AUDIO.as_bytes()).unwrap();
        black_hole(&mut session);
        let text = String::from_utf8(write(&session).to_vec()).unwrap();
        assert!(text.contains("c=IN IP4 0.0.0.0\r\n") && text.contains("c=IN IP6 ::\r\n"), "{text}");
    }

    #[test]
    fn a_refused_media_line_keeps_its_place_and_formats() {
        let session = parse(AUDIO.as_bytes()).unwrap();
        let media = refused(&session.medias[1]);
        assert_eq!((media.port, media.media.as_str(), media.fmt.as_str()), (0, "video", "31"));
        assert!(wants(&session, "video") && !wants(&session, "message"));
    }

    #[test]
    fn descriptions_are_bounded() {
        assert_eq!(parse(&vec![b'x'; MAX_SDP + 1]), Err(SdpError::TooLarge));
        let many = format!("{AUDIO}{}", "a=x\r\n".repeat(MAX_LINES));
        assert_eq!(parse(many.as_bytes()), Err(SdpError::TooLarge));
        let media = format!("{AUDIO}{}", "m=audio 1 RTP/AVP 0\r\n".repeat(MAX_MEDIA));
        assert_eq!(parse(media.as_bytes()), Err(SdpError::TooLarge));
        assert!(matches!(parse(b"hello"), Err(SdpError::Malformed(_))));
    }
}
