//! The sessions by what they are known by, and what is asked of the machine that carries them.

use std::time::Instant;

use attache_msrp::{
    IncomingId, MsrpError, Outgoing, OutgoingId, Role, SessionId, SessionParams, sdp::MessageMedia,
};
use attache_sip::agent::InviteId;
use bytes::Bytes;

use super::{Chat, Streams};

/// What files need of the sessions.
impl Streams {
    pub(in crate::engine) fn open(
        &mut self,
        now: Instant,
        params: SessionParams,
    ) -> Option<(SessionId, MessageMedia)> {
        let msrp = self.msrp.as_mut()?;
        let secure = params.secure;
        let session = msrp.open(now, params).ok()?;
        let media = msrp.describe(session)?;
        if secure && media.fingerprints.is_empty() {
            // Nobody could tell this node from another one.
            msrp.close(now, session);
            return None;
        }
        Some((session, media))
    }

    pub(in crate::engine) fn send(
        &mut self,
        now: Instant,
        session: SessionId,
        message: Outgoing,
    ) -> Result<OutgoingId, MsrpError> {
        self.msrp.as_mut().ok_or(MsrpError::Unknown)?.send(now, session, message)
    }

    pub(in crate::engine) fn supply(&mut self, message: OutgoingId, bytes: Bytes) -> Result<(), MsrpError> {
        self.msrp.as_mut().ok_or(MsrpError::Unknown)?.supply(message, bytes)
    }

    pub(in crate::engine) fn taken(&mut self, message: IncomingId, bytes: usize) {
        if let Some(msrp) = &mut self.msrp {
            msrp.taken(message, bytes);
        }
    }

    pub(in crate::engine) fn accept(&mut self, now: Instant, message: IncomingId) {
        if let Some(msrp) = &mut self.msrp {
            msrp.accept(now, message);
        }
    }

    pub(in crate::engine) fn refuse(
        &mut self,
        now: Instant,
        message: IncomingId,
        status: u16,
        comment: &str,
    ) {
        if let Some(msrp) = &mut self.msrp {
            msrp.refuse(now, message, status, comment);
        }
    }

    /// The last answer of a session is on its way; its other side ends it.
    pub(in crate::engine) fn linger(&mut self, session: SessionId, invite: InviteId) {
        self.lingering.insert(invite, session);
    }

    /// The other side has ended a session that lingered.
    pub(in crate::engine) fn end_lingering(&mut self, now: Instant, invite: InviteId) -> bool {
        let Some(session) = self.lingering.remove(&invite) else { return false };
        self.close(now, session);
        true
    }

    /// Nobody will end those that linger.
    pub(in crate::engine) fn end_all_lingering(&mut self, now: Instant) {
        let mut sessions: Vec<SessionId> = core::mem::take(&mut self.lingering).into_values().collect();
        sessions.sort_unstable();
        for session in sessions {
            self.close(now, session);
        }
    }
}

impl Streams {
    pub(in crate::engine) fn put(&mut self, number: u64, chat: Chat) {
        self.by_invite.insert(chat.invite, number);
        self.by_session.insert(chat.session, number);
        self.chats.insert(number, chat);
    }

    pub(in crate::engine) fn remove(&mut self, number: u64) -> Option<Chat> {
        let chat = self.chats.remove(&number)?;
        self.by_invite.remove(&chat.invite);
        self.by_session.remove(&chat.session);
        Some(chat)
    }

    pub(in crate::engine) fn close(&mut self, now: Instant, session: SessionId) {
        if let Some(msrp) = &mut self.msrp {
            msrp.close(now, session);
        }
    }

    pub(in crate::engine) fn connect(
        &mut self,
        now: Instant,
        session: SessionId,
        theirs: &MessageMedia,
        role: Role,
    ) -> bool {
        let msrp = self.msrp.as_mut();
        msrp.is_some_and(|msrp| msrp.connect(now, session, theirs.peer(role, false)).is_ok())
    }
}
