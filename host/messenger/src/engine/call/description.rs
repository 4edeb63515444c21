//! Session descriptions that pass through: nothing of them is understood here but who speaks.

use core::net::IpAddr;

use attache_msrp::sdp::{self, Direction};
use attache_sip::usage::Body;
use bytes::Bytes;

use crate::call::Media;

/// Who describes the sessions of one leg. Each side must hear one voice, whose version grows (RFC 3264, section 8), though
/// the words are those of whoever is on the other leg at the time.
#[derive(Clone, Debug)]
pub(super) struct Voice {
    id: u64,
    version: u64,
}

impl Voice {
    pub(super) fn new(id: u64) -> Self {
        // Read as a signed number by many.
        Self { id: id >> 1, version: 0 }
    }

    /// A description of somebody else in this voice.
    pub(super) fn say(&mut self, body: &Body) -> Body {
        if !is_description(body) {
            return body.clone();
        }
        self.version += 1;
        let mut out = Vec::with_capacity(body.content.len() + 32);
        let mut done = false;
        for line in body.content.split_inclusive(|byte| *byte == b'\n') {
            match line.strip_prefix(b"o=") {
                Some(origin) if !done => {
                    done = true;
                    // o=USER ID VERSION and where.
                    let place =
                        origin.splitn(4, |byte| *byte == b' ').nth(3).unwrap_or(b"IN IP4 0.0.0.0\r\n");
                    out.extend_from_slice(format!("o=- {} {} ", self.id, self.version).as_bytes());
                    out.extend_from_slice(place);
                }
                _ => out.extend_from_slice(line),
            }
        }
        Body::new(body.content_type.clone(), out)
    }

    /// An offer of no media at all: the session stands, and nothing is heard in it yet (RFC 3725, section 4.4).
    pub(super) fn nothing(&mut self, address: IpAddr) -> Body {
        self.version += 1;
        Body::sdp(sdp::write(&sdp::session(self.id << 1, self.version, address, Vec::new())))
    }

    /// An answer that takes an offer and leads nowhere, for who waits too long for a real one.
    pub(super) fn nowhere(&mut self, offer: &Body) -> Option<Body> {
        let mut session = sdp::parse(&offer.content).ok()?;
        sdp::black_hole(&mut session);
        for media in &mut session.medias {
            sdp::set_direction(media, Direction::Inactive);
        }
        Some(self.say(&Body::sdp(sdp::write(&session))))
    }
}

fn is_description(body: &Body) -> bool {
    body.content_type.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/sdp")
}

/// The description in a body, if it is one that can be handed to the application.
pub(super) fn text(body: &Body) -> Option<&str> {
    let fits = is_description(body) && body.content.len() <= crate::call::MAX_DESCRIPTION;
    fits.then(|| core::str::from_utf8(&body.content).ok()).flatten()
}

/// The description that the application gave.
pub(super) fn body(text: &str) -> Body {
    Body::sdp(Bytes::copy_from_slice(text.as_bytes()))
}

/// What a description asks for; `None` where it is none of sound or pictures.
pub(super) fn media(body: &Body) -> Option<Media> {
    let session = is_description(body).then(|| sdp::parse(&body.content).ok()).flatten()?;
    if sdp::wants(&session, "video") {
        Some(Media::Video)
    } else {
        sdp::wants(&session, "audio").then_some(Media::Audio)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_leg_hears_one_voice_whose_version_grows() {
        let mut voice = Voice::new(84);
        let text = "v=0\r\no=bob 2890844730 7 IN IP4 host.example.com\r\ns= \r\nc=IN IP4 192.0.2.2\r\nt=0 0\r\nm=audio 49920 RTP/AVP 0\r\na=o=x\r\n";
        let said = voice.say(&Body::sdp(text));
        let said = core::str::from_utf8(&said.content).unwrap();
        assert_eq!(said, text.replace("bob 2890844730 7", "- 42 1"));
        let nothing = voice.nothing("192.0.2.9".parse().unwrap());
        assert!(core::str::from_utf8(&nothing.content).unwrap().contains("o=- 42 2 IN IP4 192.0.2.9\r\n"));
        assert_eq!(media(&nothing), None);
        assert_eq!(media(&Body::sdp(text)), Some(Media::Audio));
    }

    #[test]
    fn an_answer_that_leads_nowhere_keeps_every_line() {
        let offer = Body::sdp(
            "v=0\r\no=a 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\nm=video 4002 RTP/AVP 31\r\n",
        );
        let answer = Voice::new(2).nowhere(&offer).unwrap();
        let answer = core::str::from_utf8(&answer.content).unwrap();
        assert!(answer.contains("c=IN IP4 0.0.0.0\r\n"), "{answer}");
        assert_eq!(answer.matches("a=inactive\r\n").count(), 2);
    }
}
