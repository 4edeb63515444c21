//! Files on their way (RFC 5547).
//!
//! Each has a session of its own, offered with the file's name, type, length and hash, and answered when the person wants it.
//! Octets pass through: whoever runs the engine reads and writes them, and no more of them are in memory than the sessions'
//! windows. What arrives is compared with what was offered, and is only done when it is the same.

use core::time::Duration;
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::Instant,
};

use attache_msrp::{
    Body as Octets, FailureReport, IncomingId, MsrpEvent, MsrpUri, Outgoing, OutgoingId, Receive, Role,
    SessionId, SessionParams,
    sdp::{self, Direction, FileHasher, FileOffer, FileSelector, Media, MessageMedia, Session, Setup},
};
use attache_sip::{
    agent::{Cause, InviteId},
    usage::{Body, EndedBy, InviteEvent, InviteParams},
};

use crate::{
    address::Address,
    code::Code,
    command::Accepted,
    conversation::is_media_type,
    engine::{Engine, ledger::Ticket},
    error::{Error, Retry},
    event::{EventKind, SessionState},
    file::{FileHash, FileInput, FileRequest, FileState, FileTransfer, clean_name},
    id::{FileId, RequestId},
    time::Now,
};

/// Files on their way at once.
const MAX_FILES: usize = 32;
/// Most that one person can offer at once: beyond, nobody else could.
const MAX_FILES_OF_ONE: usize = 8;
/// Files that are over and shown.
const SHOWN: usize = 64;
/// So long may a person think about an offer, in seconds.
const RINGS: u32 = 300;
/// Progress is told this often at most.
const PACE: Duration = Duration::from_millis(500);

/// A file on its way.
#[derive(Debug)]
struct Carried {
    transfer: FileTransfer,
    request: Option<RequestId>,
    invite: InviteId,
    session: Option<SessionId>,
    /// What the other side offered, until it is answered.
    offer: Option<(Session, usize, MessageMedia)>,
    sending: Option<OutgoingId>,
    receiving: Option<IncomingId>,
    /// Of what has arrived in order, and how much that is.
    hasher: Option<FileHasher>,
    hashed: u64,
    /// Bytes that were handed out to be written, and are not yet.
    unwritten: u64,
    complete: bool,
    told_at: Option<Instant>,
}

/// Every file on its way.
#[derive(Debug, Default)]
pub(super) struct Files {
    of: BTreeMap<FileId, Carried>,
    by_invite: HashMap<InviteId, FileId>,
    by_session: HashMap<SessionId, FileId>,
    requests: VecDeque<FileRequest>,
    over: VecDeque<FileId>,
}

impl Engine {
    /// The next piece of a file to read or write. Call it with the other polls.
    pub fn poll_file(&mut self) -> Option<FileRequest> {
        self.files.requests.pop_front()
    }

    /// Takes what whoever reads and writes the files has to tell.
    pub fn handle_file(&mut self, now: Now, input: FileInput) {
        self.now = now;
        match input {
            FileInput::Read { file, bytes, .. } => {
                let sending = self.files.of.get(&file).and_then(|carried| carried.sending);
                if let Some(sending) = sending
                    && self.streams.supply(sending, bytes).is_err()
                {
                    let error = Error::new(Code::SessionSessionProtocolError, "the file was read wrongly");
                    self.end_file(file, Err(error));
                }
            }
            FileInput::Written { file, bytes } => self.file_written(file, bytes),
            FileInput::Failed { file, reason } => {
                let error = Error::new(Code::Storage, "the file cannot be read or written").because(reason);
                self.end_file(file, Err(error));
            }
        }
        self.settle();
    }

    // ---- commands ----

    /// Offers a file to somebody.
    pub(super) fn offer_file(
        &mut self,
        ticket: Ticket,
        to: &Address,
        (name, media_type, size, hash): (&str, &Arc<str>, u64, Option<FileHash>),
    ) {
        match self.check_file(to, name, media_type, size) {
            Ok(()) => {}
            Err(error) => return self.ledger.answer(ticket.token, Err(error)),
        }
        let transfer = FileTransfer {
            id: FileId(self.next_id()),
            conversation: self.conversation_with(to),
            peer: to.clone(),
            contact: self.view.by_address.get(to).copied(),
            incoming: false,
            name: clean_name(name).into(),
            media_type: media_type.clone(),
            size,
            hash,
            done: 0,
            state: FileState::Offered,
            offered_at: self.now.wall,
            ended_at: None,
        };
        let id = transfer.id;
        let Some((session, invite)) = self.ask_to_take(&transfer) else {
            let error = Error::new(Code::TooManySessions, "there are as many sessions as are allowed");
            return self.ledger.answer(ticket.token, Err(error));
        };
        let accepted = Accepted { file: Some(id), ..Accepted::new(ticket.request) };
        self.ledger.answer(ticket.token, Ok(accepted));
        self.put_file(transfer, invite, Some(session), None, Some(ticket.request));
    }

    fn check_file(&self, to: &Address, name: &str, media_type: &str, size: u64) -> Result<(), Error> {
        to.to_uri()?;
        if *to == self.config.address {
            return Err(Error::new(Code::SessionInvitedSelf, "a file to yourself cannot be sent"));
        }
        if !self.has_sessions() {
            let text = "this account has no sessions, which carry files";
            return Err(Error::new(Code::UnsupportedByService, text));
        }
        if clean_name(name).is_empty() || !is_media_type(media_type) || size == 0 {
            let text = "a file has a name, a media type such as application/pdf, and bytes";
            return Err(Error::new(Code::InvalidArgument, text));
        }
        if self.view.session != SessionState::SignedIn {
            return Err(Error::new(Code::NotLoggedOn, "not signed in").retry(Retry::AfterChange));
        }
        if self.files.of.len() >= MAX_FILES {
            let text = format!("there are {MAX_FILES} files on their way, which is the limit");
            return Err(Error::new(Code::TooManySessions, text).retry(Retry::AfterChange));
        }
        Ok(())
    }

    fn ask_to_take(&mut self, transfer: &FileTransfer) -> Option<(SessionId, InviteId)> {
        let now = self.now.instant;
        let secure = self.needs_tls();
        let params =
            SessionParams { secure, accept_types: vec!["text/plain".to_owned()], ..SessionParams::default() };
        let (session, mut media) = self.streams.open(now, params)?;
        media.setup = Some(self.own_setup(secure));
        media.accept_types = vec![transfer.media_type.to_string()];
        media.direction = Direction::Send;
        media.file = Some(FileOffer {
            selector: FileSelector {
                name: Some(transfer.name.to_string()),
                media_type: Some(transfer.media_type.to_string()),
                size: Some(transfer.size),
                hash: transfer.hash.clone(),
            },
            transfer_id: transfer.id.to_string(),
            disposition: Some("attachment".to_owned()),
            ..FileOffer::default()
        });
        let body = self.description(vec![media.write()], None);
        let to = transfer.peer.to_uri().ok()?;
        let params = InviteParams { expires: Some(RINGS), ..InviteParams::new(to, Some(body)) };
        match self.agent.invite(now, params) {
            Ok(invite) => Some((session, invite)),
            Err(_) => {
                self.streams.close(now, session);
                None
            }
        }
    }

    fn put_file(
        &mut self,
        transfer: FileTransfer,
        invite: InviteId,
        session: Option<SessionId>,
        offer: Option<(Session, usize, MessageMedia)>,
        request: Option<RequestId>,
    ) {
        let id = transfer.id;
        let hasher = transfer.hash.as_ref().filter(|_| transfer.incoming);
        let hasher = hasher.map(|hash| FileHasher::new(hash.algorithm));
        self.files.by_invite.insert(invite, id);
        if let Some(session) = session {
            self.files.by_session.insert(session, id);
        }
        let carried = Carried {
            transfer,
            request,
            invite,
            session,
            offer,
            sending: None,
            receiving: None,
            hasher,
            hashed: 0,
            unwritten: 0,
            complete: false,
            told_at: None,
        };
        self.files.of.insert(id, carried);
        self.show_file(id);
    }

    /// Takes a file that was offered.
    pub(super) fn accept_file(&mut self, ticket: Ticket, id: FileId) {
        let now = self.now.instant;
        let Some(carried) = self.files.of.get_mut(&id) else { return self.no_file(ticket, id) };
        let Some((offered, place, theirs)) = carried.offer.take() else {
            let error = Error::new(Code::SessionSessionStateInvalid, "the file does not wait to be taken");
            return self.ledger.answer(ticket.token, Err(error));
        };
        let (invite, size) = (carried.invite, carried.transfer.size);
        carried.request = Some(ticket.request);
        self.accept(ticket);
        let params = SessionParams {
            secure: theirs.path.first().is_some_and(MsrpUri::is_secure),
            accept_types: vec!["*".to_owned()],
            max_size: Some(size),
            receive: Receive::Pieces,
            ..SessionParams::default()
        };
        let agreed = self.streams.open(now, params).and_then(|(session, mut media)| {
            let (setup, role) = Setup::answer(theirs.setup, Role::Active);
            media.setup = setup;
            media.direction = Direction::Receive;
            media.file = theirs.file.clone();
            let answer: Vec<Media> = offered
                .medias
                .iter()
                .enumerate()
                .map(|(at, line)| if at == place { media.write() } else { sdp::refused(line) })
                .collect();
            let answer = self.description(answer, None);
            let connected = self.streams.connect(now, session, &theirs, role);
            let accepted = connected && self.agent.accept(now, invite, Some(answer), Vec::new()).is_ok();
            if !accepted {
                self.streams.close(now, session);
            }
            accepted.then_some(session)
        });
        match (agreed, self.files.of.get_mut(&id)) {
            (Some(session), Some(carried)) => {
                carried.session = Some(session);
                carried.transfer.state = FileState::Transferring;
                self.files.by_session.insert(session, id);
                self.show_file(id);
            }
            _ => {
                let text = "the sender has taken the file back";
                self.end_file(id, Err(Error::new(Code::SessionSessionCancelledRemote, text)));
            }
        }
    }

    /// Declines a file, or takes one back that is on its way.
    pub(super) fn decline_file(&mut self, ticket: Ticket, id: FileId) {
        let now = self.now.instant;
        let Some(carried) = self.files.of.get(&id) else { return self.no_file(ticket, id) };
        if carried.offer.is_some() {
            let invite = carried.invite;
            self.files.by_invite.remove(&invite);
            let _ = self.agent.reject(now, invite, 603, Vec::new());
        }
        self.accept(ticket);
        self.end_file(id, Err(Error::new(Code::SessionSessionCancelledLocal, "it was called off here")));
        self.complete(ticket.request, Ok(()));
    }

    fn no_file(&mut self, ticket: Ticket, id: FileId) {
        let error = match self.view.files.contains_key(&id) {
            true => Error::new(Code::Closed, "the file is not on its way any more"),
            false => Error::new(Code::NotFound, format!("there is no file {id}")),
        };
        self.ledger.answer(ticket.token, Err(error));
    }

    // ---- what happens ----

    /// Somebody offers a file.
    pub(super) fn on_file_offered(
        &mut self,
        invite: InviteId,
        sender: &Address,
        offer: (Session, usize, MessageMedia),
    ) -> Result<(), u16> {
        let now = self.now.instant;
        let file = offer.2.file.clone().ok_or(488_u16)?;
        let selector = &file.selector;
        let name = clean_name(selector.name.as_deref().unwrap_or("file"));
        let size = selector.size.filter(|size| *size > 0).ok_or(488_u16)?;
        // Asked for, and not offered; or too long for this account.
        if offer.2.direction == Direction::Receive || file.skipped() > 0 || name.is_empty() {
            return Err(488);
        }
        if size > self.config.largest_file {
            return Err(606);
        }
        let offered =
            self.files.of.values().filter(|one| one.transfer.incoming && one.transfer.peer == *sender);
        if offered.count() >= MAX_FILES_OF_ONE || self.files.of.len() >= MAX_FILES {
            return Err(486);
        }
        let media_type = selector.media_type.as_deref().filter(|text| is_media_type(text));
        let transfer = FileTransfer {
            id: FileId(self.next_id()),
            conversation: self.conversation_with(sender),
            peer: sender.clone(),
            contact: self.view.by_address.get(sender).copied(),
            incoming: true,
            name: name.into(),
            media_type: media_type.unwrap_or("application/octet-stream").into(),
            size,
            hash: selector.hash.clone(),
            done: 0,
            state: FileState::Offered,
            offered_at: self.now.wall,
            ended_at: None,
        };
        let _ = self.agent.ring(now, invite, 180, None);
        self.put_file(transfer, invite, None, Some(offer), None);
        Ok(())
    }

    /// Something happened to the invitation of a file; false when it is none of these.
    pub(super) fn on_file_invite(&mut self, invite: InviteId, event: &InviteEvent) -> bool {
        let now = self.now.instant;
        if matches!(event, InviteEvent::Ended { .. } | InviteEvent::Failed { .. })
            && self.streams.end_lingering(now, invite)
        {
            return true;
        }
        let Some(&id) = self.files.by_invite.get(&invite) else { return false };
        match event {
            InviteEvent::Answered { body, .. } => self.file_taken(id, body.as_ref()),
            InviteEvent::Offer { .. } => drop(self.agent.answer_offer(now, invite, Err(488))),
            InviteEvent::Request { request, .. } => drop(self.agent.respond(now, *request, 501)),
            InviteEvent::Failed { cause, .. } => {
                self.files.by_invite.remove(&invite);
                self.end_file(id, Err(refused(cause)));
            }
            InviteEvent::Ended { by, .. } => {
                self.files.by_invite.remove(&invite);
                let whole = self.files.of.get(&id).is_some_and(|carried| carried.complete);
                if !whole {
                    let (code, text) = match by {
                        EndedBy::Peer => {
                            (Code::SessionSessionCancelledRemote, "the other side called it off")
                        }
                        _ => (Code::SessionConnectionFailure, "the other side was not heard of any more"),
                    };
                    self.end_file(id, Err(Error::new(code, text)));
                }
            }
            _ => {}
        }
        true
    }

    /// The other side takes the file.
    fn file_taken(&mut self, id: FileId, body: Option<&Body>) {
        let now = self.now.instant;
        let theirs = body.and_then(|body| {
            let session = sdp::parse(&body.content).ok()?;
            let media = session.medias.iter().find(|media| MessageMedia::is_one(media) && media.port != 0)?;
            MessageMedia::read(&session, media).ok()
        });
        let Some(carried) = self.files.of.get_mut(&id) else { return };
        let (Some(session), size) = (carried.session, carried.transfer.size) else { return };
        let message = Outgoing {
            body: Octets::Pulled { total: size, from: 0 },
            success_report: true,
            failure_report: FailureReport::Yes,
            disposition: Some("attachment".to_owned()),
            ..Outgoing::new(carried.transfer.media_type.to_string(), bytes::Bytes::new())
        };
        let sending =
            theirs.filter(|theirs| self.streams.connect(now, session, theirs, Setup::conclude(theirs.setup)));
        let sending = sending.and_then(|_| self.streams.send(now, session, message).ok());
        match (sending, self.files.of.get_mut(&id)) {
            (Some(sending), Some(carried)) => {
                carried.sending = Some(sending);
                carried.transfer.state = FileState::Transferring;
                self.show_file(id);
            }
            _ => {
                let text = "the other side cannot take the file";
                self.end_file(id, Err(Error::new(Code::SessionSessionProtocolError, text)));
            }
        }
    }

    /// Something happened in a session; gives it back when the session carries no file.
    pub(super) fn on_file_event(&mut self, event: MsrpEvent) -> Option<MsrpEvent> {
        let session = match &event {
            MsrpEvent::Disconnected { session, .. }
            | MsrpEvent::Wanted { session, .. }
            | MsrpEvent::Sent { session, .. }
            | MsrpEvent::Delivered { session, .. }
            | MsrpEvent::Failed { session, .. }
            | MsrpEvent::Begun { session, .. }
            | MsrpEvent::Piece { session, .. }
            | MsrpEvent::Complete { session, .. }
            | MsrpEvent::Aborted { session, .. } => *session,
            _ => return Some(event),
        };
        let Some(&id) = self.files.by_session.get(&session) else { return Some(event) };
        let broken = |what: String| {
            Error::new(Code::SessionConnectionFailure, "the connection of the file broke").because(what)
        };
        match event {
            MsrpEvent::Wanted { offset, length, .. } => {
                self.files.requests.push_back(FileRequest::Read { file: id, offset, length });
                self.file_progress(id, offset);
            }
            MsrpEvent::Delivered { .. } => self.end_file(id, Ok(())),
            MsrpEvent::Disconnected { failure, .. }
            | MsrpEvent::Failed { failure, .. }
            | MsrpEvent::Aborted { failure, .. } => self.end_file(id, Err(broken(failure.to_string()))),
            MsrpEvent::Begun { message, total, .. } => self.file_begun(id, message, total),
            MsrpEvent::Piece { message, offset, bytes, .. } => {
                let carried = self.files.of.get_mut(&id)?;
                if carried.receiving != Some(message) {
                    return None;
                }
                if carried.hashed == offset {
                    carried.hashed += bytes.0.len() as u64;
                    if let Some(hasher) = &mut carried.hasher {
                        hasher.update(&bytes.0);
                    }
                }
                carried.unwritten += bytes.0.len() as u64;
                self.files.requests.push_back(FileRequest::Write { file: id, offset, bytes: bytes.0 });
            }
            MsrpEvent::Complete { .. } => {
                if let Some(carried) = self.files.of.get_mut(&id) {
                    carried.complete = true;
                }
                self.file_whole(id);
            }
            _ => {}
        }
        None
    }

    fn file_begun(&mut self, id: FileId, message: IncomingId, total: Option<u64>) {
        let now = self.now.instant;
        let Some(carried) = self.files.of.get_mut(&id) else { return };
        let other = total.is_some_and(|total| total != carried.transfer.size);
        if other || carried.receiving.is_some() {
            self.streams.refuse(now, message, 400, "another file was offered");
            let text = "another file came than was offered";
            return self.end_file(id, Err(Error::new(Code::SessionSessionProtocolError, text)));
        }
        carried.receiving = Some(message);
    }

    fn file_written(&mut self, id: FileId, bytes: usize) {
        let Some(carried) = self.files.of.get_mut(&id) else { return };
        carried.unwritten = carried.unwritten.saturating_sub(bytes as u64);
        let done = carried.transfer.done + bytes as u64;
        if let Some(receiving) = carried.receiving {
            self.streams.taken(receiving, bytes);
        }
        self.file_progress(id, done);
        self.file_whole(id);
    }

    /// Everything came, and is written: is it what was offered?
    fn file_whole(&mut self, id: FileId) {
        let now = self.now.instant;
        let Some(carried) = self.files.of.get_mut(&id) else { return };
        let (true, 0, Some(receiving)) = (carried.complete, carried.unwritten, carried.receiving) else {
            return;
        };
        let hash = carried.hasher.take().map(FileHasher::finish);
        let whole = carried.transfer.done == carried.transfer.size;
        let same = carried.transfer.hash.is_none() || hash == carried.transfer.hash;
        if whole && same {
            self.streams.accept(now, receiving);
            return self.end_file(id, Ok(()));
        }
        carried.complete = false;
        self.streams.refuse(now, receiving, 400, "not the file that was offered");
        let text = "what came is not the file that was offered";
        self.end_file(id, Err(Error::new(Code::SessionSessionProtocolError, text)));
    }

    // ---- how it stands ----

    fn file_progress(&mut self, id: FileId, done: u64) {
        let now = self.now.instant;
        let Some(carried) = self.files.of.get_mut(&id) else { return };
        carried.transfer.done = carried.transfer.done.max(done.min(carried.transfer.size));
        if carried.told_at.is_none_or(|at| now >= at + PACE) {
            self.show_file(id);
        }
    }

    fn show_file(&mut self, id: FileId) {
        let Some(carried) = self.files.of.get_mut(&id) else { return };
        carried.told_at = Some(self.now.instant);
        let transfer = Arc::new(carried.transfer.clone());
        self.view.files.insert_mut(id, transfer.clone());
        self.ledger.emit(self.now.wall, EventKind::FileChanged(transfer));
    }

    fn end_file(&mut self, id: FileId, outcome: Result<(), Error>) {
        let now = self.now.instant;
        let Some(mut carried) = self.files.of.remove(&id) else { return };
        // Whoever receives waits for the sender to end the session, so that the last answer gets through.
        let ours = self.files.by_invite.remove(&carried.invite).is_some();
        if ours && (outcome.is_err() || !carried.transfer.incoming) {
            self.agent.hang_up(now, carried.invite, None);
        }
        if let Some(session) = carried.session {
            self.files.by_session.remove(&session);
            // Where the sender has ended it already, nobody will again.
            if outcome.is_err() || !carried.transfer.incoming || !ours {
                self.streams.close(now, session);
            } else {
                self.streams.linger(session, carried.invite);
            }
        }
        self.files.requests.retain(|request| {
            !matches!(request, FileRequest::Read { file, .. } | FileRequest::Write { file, .. } if *file == id)
        });
        self.files.requests.push_back(FileRequest::Close { file: id, complete: outcome.is_ok() });
        carried.transfer.ended_at = Some(self.now.wall);
        if outcome.is_ok() {
            carried.transfer.done = carried.transfer.size;
        }
        carried.transfer.state = outcome.clone().map_or_else(FileState::Ended, |()| FileState::Done);
        let transfer = Arc::new(carried.transfer);
        self.view.files.insert_mut(id, transfer.clone());
        self.files.over.push_back(id);
        while self.files.over.len() > SHOWN {
            if let Some(oldest) = self.files.over.pop_front() {
                self.view.files.remove_mut(&oldest);
            }
        }
        self.ledger.emit(self.now.wall, EventKind::FileChanged(transfer));
        if let Some(request) = carried.request {
            self.complete(request, outcome);
        }
    }

    /// The person signs out.
    pub(super) fn drop_files(&mut self) {
        let ids: Vec<FileId> = self.files.of.keys().copied().collect();
        for id in ids {
            let text = "signed out while it was on its way";
            self.end_file(id, Err(Error::new(Code::SessionSessionCancelledLocal, text)));
        }
        self.streams.end_all_lingering(self.now.instant);
    }
}

/// Why the other side did not take a file.
fn refused(cause: &Cause) -> Error {
    let (code, text) = match cause.status() {
        Some(603) => (Code::SessionInvitationDeclined, "the other side declined the file"),
        Some(606 | 413) => (Code::MessageTooLong, "the file is too long for the other side"),
        Some(404 | 410 | 604) => (Code::UserNotFound, "the service knows no such person"),
        Some(408 | 480 | 486 | 487 | 600) => (Code::FtTimeout, "the other side did not answer"),
        Some(405 | 415 | 420 | 488 | 501) => (Code::UnsupportedByService, "the other side takes no files so"),
        None => (Code::FtTimeout, "nobody answered for the other side"),
        Some(_) => (Code::Rejected, "the other side, or the service, refused the file"),
    };
    Error::new(code, text).because(super::session::detail(cause))
}
