//! What windows stood for: a conversation, and the program itself.

use std::sync::Arc;

use super::{Failure, HRESULT, MessengerContacts, Person, Result, S_FALSE, S_OK, messenger::Inner};
use crate::{
    Address, CallState, Code, Command, Conversation, ConversationId, Draft, Error, ParticipantState,
    TranscriptEntry,
};

/// Names a conversation, as the handle of its window did. It is the number of the modern API's
/// [`ConversationId`], and stays what it is.
#[derive(Copy, Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct HWND(pub u64);

/// A conversation, with the members of `IMessengerConversationWnd` and `IMessengerWindow`.
#[derive(Clone)]
pub struct MessengerConversationWnd {
    inner: Arc<Inner>,
    account: crate::Messenger,
    id: ConversationId,
}

impl MessengerConversationWnd {
    pub(super) fn new(inner: &Arc<Inner>, account: &crate::Messenger, id: ConversationId) -> Self {
        Self { inner: inner.clone(), account: account.clone(), id }
    }

    pub(super) fn conversation(&self) -> Result<Arc<Conversation>> {
        self.account.conversation(self.id).ok_or_else(|| {
            let why = format!("there is no conversation {}, or not any more", self.id.0);
            Error::new(Code::ConversationNotFound, why).into()
        })
    }

    /// `IMessengerWindow.Close`: ends the conversation, and asks nobody. [`S_FALSE`] when it has ended already.
    ///
    /// # Errors
    /// When the conversation is not there any more.
    pub fn close(&self) -> Result<HRESULT> {
        if !self.conversation()?.is_open() {
            return Ok(S_FALSE);
        }
        let (account, id) = (self.account.clone(), self.id);
        self.inner.wait(async move { account.command(Command::CloseConversation(id)).await })?;
        Ok(S_OK)
    }

    /// `IMessengerWindow.Show`: has the conversation brought to the front, by [`Shell::show`](super::Shell::show).
    /// [`S_FALSE`] when it has ended, or nothing shows anything.
    ///
    /// # Errors
    /// When the conversation is not there any more.
    pub fn show(&self) -> Result<HRESULT> {
        match (self.conversation()?.is_open(), self.inner.shell()) {
            (true, Some(shell)) => {
                shell.show(self);
                Ok(S_OK)
            }
            _ => Ok(S_FALSE),
        }
    }

    /// `IMessengerWindow.HWND`: what names the conversation, also after it has ended.
    #[must_use]
    pub fn hwnd(&self) -> HWND {
        HWND(self.id.0)
    }

    /// `IMessengerWindow.IsClosed`: whether the conversation has ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.conversation().is_ok_and(|conversation| !conversation.is_open())
    }

    /// `IMessengerConversationWnd.AddContact`: asks somebody into the conversation, told by
    /// [`on_im_window_contact_added`](super::DMessengerEvents::on_im_window_contact_added). [`S_FALSE`] when they take part
    /// already.
    ///
    /// # Errors
    /// [`MSGR_E_SESSION_FULL`](super::MSGR_E_SESSION_FULL), [`SR_INVITED_SELF`](super::SR_INVITED_SELF),
    /// [`E_INVALIDARG`](super::E_INVALIDARG).
    pub fn add_contact<P: Into<Person>>(&self, contact: P) -> Result<HRESULT> {
        let address = contact.into().address()?;
        if self.conversation()?.present().any(|present| *present == address) {
            return Ok(S_FALSE);
        }
        let (account, conversation) = (self.account.clone(), self.id);
        let command = Command::AddParticipant { conversation, address };
        self.inner.wait(async move { account.command(command).await })?;
        Ok(S_OK)
    }

    /// `IMessengerConversationWnd.Contacts`: who takes part, without oneself; of one that has ended, who did last.
    ///
    /// # Errors
    /// When the conversation is not there any more.
    pub fn contacts(&self) -> Result<MessengerContacts> {
        let conversation = self.conversation()?;
        let present: Vec<Address> = conversation.present().cloned().collect();
        Ok(MessengerContacts::new(&self.inner, &self.account, present, false))
    }

    /// `IMessengerConversationWnd.History`: what was said so far, as well-formed HTML: a list whose entries have a time, a
    /// name and words. Of one that has ended as well. [`entries`](Self::entries) has the same as values.
    ///
    /// # Errors
    /// When the conversation is not there any more.
    pub fn history(&self) -> Result<String> {
        self.conversation()?;
        let own = super::service::own_name(&self.account);
        let mut html = String::from("<ol class=\"transcript\">\n");
        for entry in self.entries() {
            let (at, class, who, words) = line(&entry, &own);
            html.push_str(&format!(
                "<li class=\"{class}\"><time>{at}</time> <b>{}</b> {}</li>\n",
                Escaped(&who),
                Escaped(&words)
            ));
        }
        html.push_str("</ol>\n");
        Ok(html)
    }

    /// What was said, as values, oldest first.
    #[must_use]
    pub fn entries(&self) -> Vec<TranscriptEntry> {
        self.account.transcript(self.id)
    }

    /// `IMessengerConversationWndAdvanced.SendText`: says something to everybody who takes part. When this returns, it is kept
    /// until it is delivered or has failed; signed out, it waits.
    ///
    /// # Errors
    /// [`MSGR_E_MESSAGE_TOO_LONG`](super::MSGR_E_MESSAGE_TOO_LONG), [`E_INVALIDARG`](super::E_INVALIDARG) for no text, or that
    /// the conversation is not there any more.
    pub fn send_text(&self, text: &str) -> Result<HRESULT> {
        if text.is_empty() {
            return Err(Failure::argument("there is nothing to say"));
        }
        let (account, draft) = (self.account.clone(), Draft::new(self.id, text));
        self.inner.wait(async move { account.send_draft(draft).await })?;
        Ok(S_OK)
    }
}

/// Time, class, name and words of an entry.
fn line(entry: &TranscriptEntry, own: &str) -> (crate::Timestamp, &'static str, String, String) {
    match entry {
        TranscriptEntry::Incoming(message) => {
            (message.received_at, "in", message.sender.to_string(), words(&message.content))
        }
        TranscriptEntry::Outgoing(message) => {
            (message.accepted_at, "out", own.to_owned(), words(&message.content))
        }
        TranscriptEntry::Participant { participant } => {
            let did = match participant.state {
                ParticipantState::Joined => "joined",
                ParticipantState::Left => "left",
                _ => "was invited",
            };
            (participant.since, "note", participant.address.to_string(), did.to_owned())
        }
        TranscriptEntry::Call(call) => {
            let did = match &call.state {
                CallState::Ended(Some(error)) => format!("call: {}", error.message()),
                state => format!("call: {}", state.name()),
            };
            (call.ended_at.unwrap_or(call.started_at), "note", call.peer.to_string(), did)
        }
        _ => (crate::Timestamp::default(), "note", String::new(), String::new()),
    }
}

fn words(content: &crate::Content) -> String {
    if content.is_attachment() { format!("[{}]", content.media_type()) } else { content.text().to_owned() }
}

/// Text as HTML holds it.
struct Escaped<'a>(&'a str);

impl core::fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        for c in self.0.chars() {
            match c {
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '&' => f.write_str("&amp;")?,
                '"' => f.write_str("&quot;")?,
                '\n' => f.write_str("<br/>")?,
                c if c.is_control() => f.write_str("\u{fffd}")?,
                c => core::fmt::Write::write_char(f, c)?,
            }
        }
        Ok(())
    }
}

impl PartialEq for MessengerConversationWnd {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id && self.account.address() == other.account.address()
    }
}

impl Eq for MessengerConversationWnd {}

impl core::fmt::Debug for MessengerConversationWnd {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("MessengerConversationWnd").field(&self.id).finish()
    }
}

/// What stands for the main window.
#[derive(Clone)]
pub struct MessengerWindow {
    inner: Arc<Inner>,
}

impl MessengerWindow {
    pub(super) fn new(inner: &Arc<Inner>) -> Self {
        Self { inner: inner.clone() }
    }

    /// `IMessengerWindow.Close`: there is nothing to close, and the session goes on: [`S_FALSE`].
    #[must_use]
    pub fn close(&self) -> HRESULT {
        S_FALSE
    }

    /// `IMessengerWindow.Show`: has the program brought to the front, by
    /// [`Shell::show_main`](super::Shell::show_main). [`S_FALSE`] where nothing shows anything.
    #[must_use]
    pub fn show(&self) -> HRESULT {
        match self.inner.shell() {
            Some(shell) => {
                shell.show_main(self);
                S_OK
            }
            None => S_FALSE,
        }
    }

    /// `IMessengerWindow.HWND`: no handle.
    #[must_use]
    pub fn hwnd(&self) -> HWND {
        HWND(0)
    }

    /// `IMessengerWindow.IsClosed`: whether the host has ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.inner.relay.has_ended()
    }
}

impl core::fmt::Debug for MessengerWindow {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("MessengerWindow").finish_non_exhaustive()
    }
}
