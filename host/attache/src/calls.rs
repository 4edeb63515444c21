//! Calls: two phones that are connected, or media of the application.

use std::sync::Arc;

use attache_messenger::{
    call::{Call, CallMethod, Callee, Media},
    command::{Command, TransferTarget},
    id::CallId,
};

use crate::{Address, Code, Error, Messenger};

/// Calls. Where each stands is told by [`CallChanged`](crate::EventKind::CallChanged).
impl Messenger {
    /// Calls somebody from one's own phone, which rings first; says which call it is when it was taken on.
    ///
    /// # Errors
    /// [`Code::NotLoggedOn`], [`Code::PhoneInvalidNumber`], [`Code::SessionInvitedSelf`], [`Code::Busy`] with too many calls.
    pub async fn call(&self, to: Callee) -> Result<CallId, Error> {
        self.call_from(to, None, None).await
    }

    /// As [`call`](Self::call), from this phone and in this way. `None` takes the account's.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn call_from(
        &self,
        to: Callee,
        own: Option<Address>,
        method: Option<CallMethod>,
    ) -> Result<CallId, Error> {
        self.begin(Command::Call { to, own, method }).await
    }

    /// Calls somebody with the media of the application ([`HostConfig::media`](crate::HostConfig::media)).
    ///
    /// # Errors
    /// As [`call`](Self::call). Without media of the application the call ends at once, and its state says why.
    pub async fn start_media(&self, to: Callee, media: Media) -> Result<CallId, Error> {
        self.begin(Command::StartMedia { to, media }).await
    }

    async fn begin(&self, command: Command) -> Result<CallId, Error> {
        let accepted = self.shared().command(command).await?;
        accepted.call.ok_or_else(|| Error::new(Code::Internal, "a call has no handle"))
    }

    /// Takes a call that rings, with the media of the application.
    ///
    /// # Errors
    /// [`Code::NotFound`], or that it does not ring.
    pub async fn answer_call(&self, call: CallId) -> Result<(), Error> {
        self.shared().complete(Command::AnswerCall(call)).await.map(drop)
    }

    /// Ends a call, wherever it stands; one that rings here is declined.
    ///
    /// # Errors
    /// [`Code::NotFound`].
    pub async fn hang_up(&self, call: CallId) -> Result<(), Error> {
        self.shared().complete(Command::HangUp(call)).await.map(drop)
    }

    /// Asks the other side to talk to somebody else instead. Completes when they do, and the call has ended here.
    ///
    /// # Errors
    /// [`Code::NotFound`], or why it did not work: the call goes on then.
    pub async fn transfer(&self, call: CallId, to: TransferTarget) -> Result<(), Error> {
        self.shared().complete(Command::Transfer { call, to }).await.map(drop)
    }

    /// Calls in progress, and some that ended lately.
    #[must_use]
    pub fn calls(&self) -> Vec<Arc<Call>> {
        self.snapshot().calls.values().cloned().collect()
    }
}
