//! Callbacks.

use super::{
    ADDRESS_TYPE, HRESULT, MCONTACTPROPERTY, MISTATUS, MPHONE_TYPE, MessengerContact,
    MessengerConversationWnd, MessengerGroup, Variant,
};

/// Names an [`advise`](super::Messenger::advise), to take it back.
#[derive(Copy, Clone, Debug, Eq, Hash, PartialEq)]
pub struct Cookie(pub(super) u64);

/// What a program is told. Every callback does nothing unless it is written.
///
/// They come one at a time, on one thread that is for them alone, and no lock is held: a callback may call anything.
/// On failure, `hr` says why and the other arguments may be `None`. A callback that panics is logged, and the others go on.
#[allow(unused_variables, reason = "names are documentation")]
pub trait DMessengerEvents: Send + Sync + 'static {
    /// The host has shut down. Objects stay valid, and answer with what was known.
    fn on_app_shutdown(&self) {}
    /// A contact was put into a group, by whomever; or could not be.
    fn on_contact_added_to_group(
        &self,
        hr: HRESULT,
        group: Option<&MessengerGroup>,
        contact: Option<&MessengerContact>,
    ) {
    }
    /// A contact was blocked, or is no longer; or that could not be done.
    fn on_contact_block_change(&self, hr: HRESULT, contact: Option<&MessengerContact>, blocked: bool) {}
    /// A contact has another name; `previous` is the one before.
    fn on_contact_friendly_name_change(
        &self,
        hr: HRESULT,
        contact: Option<&MessengerContact>,
        previous: &str,
    ) {
    }
    /// A contact was added, by whomever; or could not be.
    fn on_contact_list_add(&self, hr: HRESULT, contact: Option<&MessengerContact>) {}
    /// A contact was removed, by whomever; or could not be.
    fn on_contact_list_remove(&self, hr: HRESULT, contact: Option<&MessengerContact>) {}
    /// A contact has another telephone number; an empty one: none any more.
    fn on_contact_phone_change(
        &self,
        hr: HRESULT,
        contact: Option<&MessengerContact>,
        kind: MPHONE_TYPE,
        number: &str,
    ) {
    }
    /// A property of a contact has changed: the names of its groups.
    fn on_contact_property_change(
        &self,
        hr: HRESULT,
        contact: Option<&MessengerContact>,
        property: MCONTACTPROPERTY,
        value: &Variant,
    ) {
    }
    /// A contact was taken out of a group, by whomever; or could not be.
    fn on_contact_removed_from_group(
        &self,
        hr: HRESULT,
        group: Option<&MessengerGroup>,
        contact: Option<&MessengerContact>,
    ) {
    }
    /// [`resolve_contact`](super::Messenger::resolve_contact) has asked the directory: the address, or why there is none.
    fn on_contact_resolved(&self, hr: HRESULT, kind: ADDRESS_TYPE, address: &str, im_address: &str) {}
    /// A contact, or oneself, has another status. Right after a sign-in it comes for every contact that is not offline.
    fn on_contact_status_change(&self, contact: Option<&MessengerContact>, status: MISTATUS) {}
    /// A group was made, by whomever; or could not be.
    fn on_group_added(&self, hr: HRESULT, group: Option<&MessengerGroup>) {}
    /// A group has another name; or could not be given it.
    fn on_group_name_changed(&self, hr: HRESULT, group: Option<&MessengerGroup>) {}
    /// A group was deleted; or could not be.
    fn on_group_removed(&self, hr: HRESULT, group: Option<&MessengerGroup>) {}
    /// Somebody joined a conversation; they need not be on the list.
    fn on_im_window_contact_added(&self, contact: &MessengerContact, window: &MessengerConversationWnd) {}
    /// Somebody left a conversation.
    fn on_im_window_contact_removed(&self, contact: &MessengerContact, window: &MessengerConversationWnd) {}
    /// A conversation began, by whomever.
    fn on_im_window_created(&self, window: &MessengerConversationWnd) {}
    /// A conversation ended. It can be read all the same.
    fn on_im_window_destroyed(&self, window: &MessengerConversationWnd) {}
    /// Somebody wrote. Not in the 2007 API, whose programs read the transcript again and again.
    fn on_im_text_received(&self, window: &MessengerConversationWnd, contact: &MessengerContact, text: &str) {
    }
    /// One's own name has changed; `previous` is the one before.
    fn on_my_friendly_name_change(&self, hr: HRESULT, previous: &str) {}
    /// One's own telephone number has changed; an empty one: none any more.
    fn on_my_phone_change(&self, kind: MPHONE_TYPE, number: &str) {}
    /// One's own property has changed: the mail address.
    fn on_my_property_change(&self, hr: HRESULT, property: MCONTACTPROPERTY, value: &Variant) {}
    /// One's own status has changed, or the connection goes through a phase (`MISTATUS_LOCAL_…`).
    fn on_my_status_change(&self, hr: HRESULT, status: MISTATUS) {}
    /// Signed in; or why not.
    fn on_signin(&self, hr: HRESULT) {}
    /// Signed out.
    fn on_signout(&self) {}
}
