//! Session timers (RFC 4028): each end notices that the other one is gone.

use std::time::{Duration, Instant};

use super::{Call, Phase, lists};
use crate::agent::core::Core;
use crate::endpoint::Request;
use crate::message::{HeaderName, Message};
use crate::text::{Params, seconds, split_outside, trim};

/// The shortest interval there is, in seconds (RFC 4028 §5).
const MINIMUM: u32 = 90;
/// An interval longer than a day says nothing.
const MAXIMUM: u32 = 86_400;

/// The interval of one session.
#[derive(Clone, Default)]
pub(super) struct SessionTimer {
    /// Seconds; zero when nothing is asked for or agreed.
    interval: u32,
    /// The least that the peer, or somebody between, accepts.
    min_se: u32,
    /// We refresh.
    ours: bool,
    refresh_at: Option<Instant>,
    ends_at: Option<Instant>,
}

impl SessionTimer {
    /// What we ask for.
    pub(super) fn wanted(core: &Core, asked: Option<u32>) -> Self {
        let settings = &core.config.invite;
        let interval = match asked.unwrap_or(settings.session_expires) {
            0 => 0,
            seconds => seconds.clamp(MINIMUM.max(settings.min_se), MAXIMUM),
        };
        Self { interval, ..Self::default() }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.refresh_at.into_iter().chain(self.ends_at).min()
    }

    pub(super) const fn is_ours(&self) -> bool {
        self.ours
    }

    /// Asks for the interval in a request. `ours` says who refreshes, where that is agreed already.
    pub(super) fn ask(&self, request: &mut Request, ours: Option<bool>) {
        if self.interval == 0 {
            return;
        }
        let refresher = match ours {
            // In a request of ours, `uac` means us (RFC 4028 §7.4).
            Some(true) => ";refresher=uac",
            Some(false) => ";refresher=uas",
            None => "",
        };
        request.push(HeaderName::SessionExpires, format!("{}{refresher}", self.interval));
        if self.min_se > 0 {
            request.push(HeaderName::MinSe, self.min_se.to_string());
        }
    }

    /// Takes the minimum of a 422. Returns whether there is something else to ask for.
    pub(super) fn raise(&mut self, answer: &Message) -> bool {
        let Some(minimum) = answer.header(HeaderName::MinSe).and_then(first_seconds) else { return false };
        if minimum > MAXIMUM || minimum <= self.interval.min(self.min_se) {
            return false;
        }
        self.min_se = minimum;
        self.interval = self.interval.max(minimum);
        true
    }

    /// A 2xx to a request of ours came (RFC 4028 §7.2).
    pub(super) fn agreed(&mut self, core: &Core, now: Instant, answer: &Message) {
        let said = answer.header(HeaderName::SessionExpires).and_then(said);
        let floor = core.config.invite.min_se.max(MINIMUM);
        match said {
            // However short a time a peer grants: it must not make us storm.
            Some((interval, refresher)) => {
                self.interval = interval.clamp(floor, MAXIMUM);
                self.ours = refresher != Some(Refresher::Uas);
            }
            // The peer knows no timers, but we can ask whether it is there.
            None => self.ours = true,
        }
        self.restart(now);
    }

    fn restart(&mut self, now: Instant) {
        (self.refresh_at, self.ends_at) = (None, None);
        if self.interval > 0 {
            let interval = Duration::from_secs(u64::from(self.interval));
            // RFC 4028 §10: a little before the end, so that the BYE still finds its way.
            self.ends_at = Some(now + interval - (interval / 3).min(Duration::from_secs(32)));
            self.refresh_at = self.ours.then(|| now + interval / 2);
        }
    }

    /// A refresh was refused, but the session lives: it is tried again before the end.
    pub(super) fn refused(&mut self, core: &mut Core, now: Instant) {
        if self.ours && self.ends_at.is_some() {
            self.refresh_at = Some(now + core.backoff(2, None));
        }
    }

    /// The least interval that we accept, if a request asks for less and can be told so (RFC 4028 §9).
    pub(super) fn too_small(core: &Core, request: &Message) -> Option<u32> {
        let (asked, _) = said(request.header(HeaderName::SessionExpires)?)?;
        let minimum = core.config.invite.min_se.max(MINIMUM);
        (asked < minimum && lists(request, HeaderName::Supported, "timer")).then_some(minimum)
    }

    /// What our 2xx to a request says, and begins the interval (RFC 4028 §9).
    pub(super) fn grant(
        &mut self,
        core: &Core,
        now: Instant,
        request: &Message,
    ) -> Vec<(HeaderName, String)> {
        let settings = &core.config.invite;
        let knows = lists(request, HeaderName::Supported, "timer");
        let floor = settings.min_se.max(MINIMUM);
        let least = request.header(HeaderName::MinSe).and_then(first_seconds).unwrap_or(0).min(MAXIMUM);
        let asked = request.header(HeaderName::SessionExpires).and_then(said);
        let (interval, refresher) = match asked {
            Some((interval, refresher)) => (interval.clamp(floor, MAXIMUM), refresher),
            None if knows && settings.session_expires > 0 => {
                (settings.session_expires.clamp(floor, MAXIMUM).max(least), None)
            }
            None => {
                // A peer that knows no timers changes nothing about our asking whether it is there.
                match self.ours && self.ends_at.is_some() {
                    true => self.restart(now),
                    false => *self = Self::default(),
                }
                return Vec::new();
            }
        };
        self.interval = interval;
        // Whoever does not know timers cannot be told to refresh.
        self.ours = match refresher {
            _ if !knows => true,
            Some(Refresher::Uas) => true,
            Some(Refresher::Uac) => false,
            None => false,
        };
        self.restart(now);
        let refresher = if self.ours { "uas" } else { "uac" };
        let mut headers = vec![(HeaderName::SessionExpires, format!("{interval};refresher={refresher}"))];
        if knows {
            headers.push((HeaderName::Require, "timer".to_owned()));
        }
        headers
    }
}

#[derive(Copy, Clone, Eq, PartialEq)]
enum Refresher {
    Uac,
    Uas,
}

/// The value of Session-Expires.
fn said(value: &[u8]) -> Option<(u32, Option<Refresher>)> {
    let (_, params) = split_outside(value, b';');
    let refresher = params.and_then(|params| match Params::new(params).get("refresher")? {
        name if name.eq_ignore_ascii_case(b"uac") => Some(Refresher::Uac),
        name if name.eq_ignore_ascii_case(b"uas") => Some(Refresher::Uas),
        _ => None,
    });
    Some((first_seconds(value)?, refresher))
}

fn first_seconds(value: &[u8]) -> Option<u32> {
    seconds(trim(split_outside(value, b';').0))
}

impl Call {
    pub(super) fn on_session_timer(&mut self, core: &mut Core, now: Instant) {
        if self.phase != Phase::Standing {
            return;
        }
        if self.timer.ends_at.is_some_and(|at| at <= now) {
            return self.lost(core, now, true);
        }
        if self.timer.refresh_at.is_none_or(|at| at > now) {
            return;
        }
        self.timer.refresh_at = None;
        if self.pending.is_some() || self.inviting.is_some() || self.served.is_some() || self.glare.is_some()
        {
            // What is on its way refreshes as well, or leaves room for a refresh.
            self.timer.refused(core, now);
        } else if self.peer_updates {
            self.update(core, now, None);
        } else if let Some(body) = self.local_body.clone() {
            self.invite_again(core, now, Some(body), true);
        }
    }
}
