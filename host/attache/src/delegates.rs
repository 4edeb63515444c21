//! What the application decides or does for an account: access tokens, and the media of calls.
//!
//! The account's task never waits for any of it: it asks, goes on, and takes the answer when it comes.

use std::sync::Arc;

use attache_messenger::{
    call::{Call, MediaWanted},
    command::Command,
    event::{Event, EventKind, TokenNeeded},
    id::CallId,
    storage::BoxFuture,
};

use crate::{Address, Error, Secret};

/// Gives out access tokens (RFC 8898). See [`HostConfig::tokens`](crate::HostConfig::tokens).
pub trait TokenSource: Send + Sync + 'static {
    /// A token for an account, now that the service has asked for one. What waits for it goes on when it is there; after an
    /// error it waits for [`Messenger::set_token`](crate::Messenger::set_token).
    ///
    /// # Errors
    /// When there is none.
    fn token<'a>(
        &'a self,
        account: &'a Address,
        needed: &'a TokenNeeded,
    ) -> BoxFuture<'a, Result<Secret, Error>>;
}

/// Sound and pictures of calls. See [`HostConfig::media`](crate::HostConfig::media).
///
/// The host carries session descriptions (RFC 8866) between this and the other side, and no media.
pub trait MediaEngine: Send + Sync + 'static {
    /// An offer, or the answer to the other side's offer, as [`MediaWanted::offer`] says (RFC 3264); at most 16 KiB. `None`
    /// ends the call.
    fn describe<'a>(
        &'a self,
        account: &'a Address,
        wanted: &'a MediaWanted,
    ) -> BoxFuture<'a, Option<Arc<str>>>;

    /// The other side has answered the offer: media may flow. Must not block.
    fn agreed(&self, account: &Address, call: CallId, answer: &str);

    /// The call is over. Must not block.
    fn ended(&self, account: &Address, call: &Call) {
        let _ = (account, call);
    }
}

/// Those that the application has brought.
#[derive(Clone, Default)]
pub(crate) struct Delegates {
    pub(crate) tokens: Option<Arc<dyn TokenSource>>,
    pub(crate) media: Option<Arc<dyn MediaEngine>>,
}

/// What to do with the engine now.
pub(crate) enum Deed {
    Command(Command),
    Token(Secret),
    Nothing,
}

/// An answer on its way.
pub(crate) type Asked = core::pin::Pin<Box<dyn Future<Output = Deed> + Send>>;

impl Delegates {
    /// Tells them of an event; something to wait for when it is a question.
    pub(crate) fn hear(&self, account: &Address, event: &Event) -> Option<Asked> {
        match &event.kind {
            EventKind::TokenNeeded(needed) => {
                let (tokens, needed, account) = (self.tokens.clone()?, needed.clone(), account.clone());
                Some(Box::pin(async move {
                    match tokens.token(&account, &needed).await {
                        Ok(token) => Deed::Token(token),
                        Err(error) => {
                            tracing::warn!(%account, %error, "no access token");
                            Deed::Nothing
                        }
                    }
                }))
            }
            EventKind::MediaWanted(wanted) => {
                let (media, wanted, account) = (self.media.clone(), wanted.clone(), account.clone());
                Some(Box::pin(async move {
                    // Without media there is nothing to wait for: the call fails at once and says why.
                    let description = match media {
                        Some(media) => media.describe(&account, &wanted).await,
                        None => None,
                    };
                    Deed::Command(Command::AnswerMedia { call: wanted.call, description })
                }))
            }
            EventKind::MediaAgreed { call, answer } => {
                if let Some(media) = &self.media {
                    media.agreed(account, *call, answer);
                }
                None
            }
            EventKind::CallChanged(call) if call.is_over() && call.method.is_none() => {
                if let Some(media) = &self.media {
                    media.ended(account, call);
                }
                None
            }
            _ => None,
        }
    }
}
