//! Conversations, calls, files and letters of `Messenger`.

use std::path::Path;

use super::{
    CONVERSATION_TYPE, CONVERSATION_TYPE_AUDIO, CONVERSATION_TYPE_IM, CONVERSATION_TYPE_LIVEMEETING,
    CONVERSATION_TYPE_PHONE, CONVERSATION_TYPE_PSTN, CONVERSATION_TYPE_VIDEO, Failure, HWND, MPHONE_TYPE,
    MPHONE_TYPE_ALL, MPHONE_TYPE_CUSTOM, Messenger, MessengerConversationWnd, Person, Result,
    messenger::number_of,
};
use crate::{Address, CallId, Callee, Code, Context, Error, Media, NewConversation, Phones};

/// Conversations and what else goes to one person.
impl Messenger {
    /// `IMessenger.InstantMessage`: a conversation of text with one person, which is shown.
    ///
    /// # Errors
    /// As [`start_conversation`](Self::start_conversation).
    pub fn instant_message<P: Into<Person>>(&self, contact: P) -> Result<MessengerConversationWnd> {
        let window = self.converse(NewConversation::with(vec![contact.into().address()?]))?;
        window.show()?;
        Ok(window)
    }

    /// `IMessenger.InviteApp`: invites somebody to something that programs share. The application's id reaches the other
    /// side as the context of a conversation, of type `application/x-shared-application`.
    ///
    /// # Errors
    /// [`SR_APP_NOT_SPECIFIED`](super::SR_APP_NOT_SPECIFIED) for an empty id, or as
    /// [`start_conversation`](Self::start_conversation).
    pub fn invite_app<P: Into<Person>>(&self, contact: P, app_id: &str) -> Result<MessengerConversationWnd> {
        if app_id.trim().is_empty() {
            return Err(Error::new(Code::SessionAppNotSpecified, "no application is named").into());
        }
        let context = Context::new("application/x-shared-application", app_id.to_owned())?;
        self.converse(NewConversation::with(vec![contact.into().address()?]).context(context))
    }

    /// `IMessenger.Page`: a conversation with somebody's mobile telephone, whose texts a gateway of the service delivers.
    ///
    /// # Errors
    /// [`MSGR_E_NOT_ACCEPTING_PAGES`](super::MSGR_E_NOT_ACCEPTING_PAGES) when no mobile number of theirs is known.
    pub fn page<P: Into<Person>>(&self, contact: P) -> Result<MessengerConversationWnd> {
        let address = contact.into().address()?;
        let mobile =
            if address.as_str().starts_with("tel:") { Some(address) } else { self.phones(&address)?.mobile };
        let mobile =
            mobile.ok_or_else(|| Error::new(Code::NotAcceptingPages, "no mobile number is known"))?;
        self.converse(NewConversation::with(vec![mobile]))
    }

    /// `IMessenger.Phone`: calls somebody at a number of theirs, or at the number that is given. Says where the call is told
    /// of; how it goes is in [`MessengerConversationWnd::history`] and [`Messenger::modern`].
    ///
    /// # Errors
    /// [`MSGR_E_PHONE_INVALID_NUMBER`](super::MSGR_E_PHONE_INVALID_NUMBER) when there is none,
    /// [`SR_INVITED_SELF`](super::SR_INVITED_SELF), [`MSGR_E_NOT_LOGGED_ON`](super::MSGR_E_NOT_LOGGED_ON).
    pub fn phone<P: Into<Person>>(
        &self,
        contact: P,
        kind: MPHONE_TYPE,
        number: &str,
    ) -> Result<MessengerConversationWnd> {
        let address = contact.into().address()?;
        let callee = if kind == MPHONE_TYPE_CUSTOM {
            Callee::Number(number.into())
        } else {
            let phones = self.phones(&address)?;
            let known = number_of(&phones, kind)?.cloned();
            let none = || Error::new(Code::PhoneInvalidNumber, "no number of this kind is known");
            Callee::Address(known.ok_or_else(none)?)
        };
        let account = self.inner.account()?;
        if address == *account.address() {
            return Err(Error::new(Code::SessionInvitedSelf, "one does not call oneself").into());
        }
        let call = self.inner.wait(async move { account.call(callee).await })?;
        self.window_of_call(call)
    }

    /// `IMessenger.SendFile`: offers a file. How far it has come is told in the conversation and by [`Messenger::modern`].
    ///
    /// # Errors
    /// [`E_INVALIDARG`](super::E_INVALIDARG) when it cannot be read, [`MSGR_E_NOT_LOGGED_ON`](super::MSGR_E_NOT_LOGGED_ON),
    /// [`SR_INVITED_SELF`](super::SR_INVITED_SELF).
    pub fn send_file<P: Into<Person>>(&self, contact: P, file: &Path) -> Result<MessengerConversationWnd> {
        let address = contact.into().address()?;
        let account = self.inner.account()?;
        let (sender, file) = (account.clone(), file.to_owned());
        let id = self.inner.wait(async move { sender.send_file(&address, &file).await })?;
        let known = account.snapshot().files.get(&id).map(|file| file.conversation);
        let conversation =
            known.ok_or_else(|| Error::new(Code::NotFound, "the file is on its way no more"))?;
        Ok(MessengerConversationWnd::new(&self.inner, &account, conversation))
    }

    /// `IMessenger.SendMail`: opens a new letter to somebody, by [`Shell::open`](super::Shell::open); the URI is the answer as well.
    ///
    /// # Errors
    /// [`MSGR_E_USER_NOT_FOUND`](super::MSGR_E_USER_NOT_FOUND) when no mail address is known, or the directory's own.
    pub fn send_mail<P: Into<Person>>(&self, contact: P) -> Result<String> {
        let address = contact.into().address()?;
        let account = self.inner.account()?;
        let uri = self.inner.wait(async move { account.mail_to(&address).await })?;
        self.inner.open(&uri);
        Ok(uri)
    }

    /// `IMessenger.StartVoice`: calls somebody with the media of the application.
    ///
    /// # Errors
    /// As [`phone`](Self::phone).
    pub fn start_voice<P: Into<Person>>(&self, contact: P) -> Result<MessengerConversationWnd> {
        self.media(&contact.into().address()?, Media::Audio)
    }

    /// `IMessenger2.StartVideo`: as [`start_voice`](Self::start_voice), with pictures.
    ///
    /// # Errors
    /// As [`phone`](Self::phone).
    pub fn start_video<P: Into<Person>>(&self, contact: P) -> Result<MessengerConversationWnd> {
        self.media(&contact.into().address()?, Media::Video)
    }

    fn media(&self, address: &Address, media: Media) -> Result<MessengerConversationWnd> {
        let account = self.inner.account()?;
        if address == account.address() {
            return Err(Error::new(Code::SessionInvitedSelf, "one does not call oneself").into());
        }
        let callee = Callee::Address(address.clone());
        let call = self.inner.wait(async move { account.start_media(callee, media).await })?;
        self.window_of_call(call)
    }

    /// `IMessengerAdvanced.StartConversation`: starts a conversation of one kind, and says its handle. The object is told by
    /// [`on_im_window_created`](super::DMessengerEvents::on_im_window_created), and [`window_of`](Self::window_of) has it at once.
    ///
    /// `context` reaches the others' programs as it is. Calls are with one person; `number` is theirs where it is not one that
    /// is known.
    ///
    /// # Errors
    /// [`SR_NO_USER_INVITED`](super::SR_NO_USER_INVITED), [`SR_INVITED_SELF`](super::SR_INVITED_SELF),
    /// [`SR_CONTEXT_DATA_OVER_LIMIT`](super::SR_CONTEXT_DATA_OVER_LIMIT),
    /// [`MSGR_E_SESSION_FULL`](super::MSGR_E_SESSION_FULL), [`E_INVALIDARG`](super::E_INVALIDARG) for no kind.
    pub fn start_conversation(
        &self,
        kind: CONVERSATION_TYPE,
        participants: &[Person],
        context: Option<Context>,
        subject: &str,
        number: Option<&str>,
    ) -> Result<HWND> {
        let mut others = participants.iter().map(Person::address).collect::<Result<Vec<_>>>()?;
        let call = matches!(
            kind,
            CONVERSATION_TYPE_PHONE
                | CONVERSATION_TYPE_PSTN
                | CONVERSATION_TYPE_AUDIO
                | CONVERSATION_TYPE_VIDEO
        );
        if call && others.len() > 1 {
            let why = "a call is with one person at a time";
            return Err(Error::new(Code::UnsupportedByService, why).into());
        }
        let nobody = || Error::new(Code::SessionNoUserInvited, "a conversation needs somebody to talk to");
        let window = match kind {
            CONVERSATION_TYPE_IM | CONVERSATION_TYPE_LIVEMEETING => {
                let mut new = NewConversation::with(others).about(subject);
                new.context = context;
                self.converse(new)?
            }
            CONVERSATION_TYPE_PHONE | CONVERSATION_TYPE_PSTN => {
                let other = others.pop().ok_or_else(nobody)?;
                match number {
                    Some(number) => self.phone(&other, MPHONE_TYPE_CUSTOM, number)?,
                    None if other.as_str().starts_with("tel:") => {
                        self.phone(&other, MPHONE_TYPE_CUSTOM, other.as_str())?
                    }
                    None => self.phone(&other, MPHONE_TYPE_ALL, "")?,
                }
            }
            CONVERSATION_TYPE_AUDIO => self.media(&others.pop().ok_or_else(nobody)?, Media::Audio)?,
            CONVERSATION_TYPE_VIDEO => self.media(&others.pop().ok_or_else(nobody)?, Media::Video)?,
            _ => return Err(Failure::argument("a conversation has one kind")),
        };
        Ok(window.hwnd())
    }

    /// The conversation with a handle, open or closed.
    ///
    /// # Errors
    /// When there is none.
    pub fn window_of(&self, handle: HWND) -> Result<MessengerConversationWnd> {
        let account = self.inner.account()?;
        let window = MessengerConversationWnd::new(&self.inner, &account, crate::ConversationId(handle.0));
        window.conversation().map(|_| window)
    }

    fn converse(&self, new: NewConversation) -> Result<MessengerConversationWnd> {
        let account = self.inner.account()?;
        let starter = account.clone();
        let conversation = self.inner.wait(async move { starter.start_conversation(new).await })?;
        Ok(MessengerConversationWnd::new(&self.inner, &account, conversation))
    }

    fn window_of_call(&self, call: CallId) -> Result<MessengerConversationWnd> {
        let account = self.inner.account()?;
        let known = account.snapshot().calls.get(&call).map(|call| call.conversation);
        let conversation = known.ok_or_else(|| Error::new(Code::NotFound, "the call is over"))?;
        Ok(MessengerConversationWnd::new(&self.inner, &account, conversation))
    }

    /// Numbers of somebody: what they say, and what the directory has.
    fn phones(&self, address: &Address) -> Result<Phones> {
        let (account, address) = (self.inner.account()?, address.clone());
        Ok(self.inner.wait(async move { account.profile(&address).await })?.phones)
    }
}
