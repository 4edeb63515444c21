//! `Messenger`: what `IMessenger` and its successors had.

use core::time::Duration;
use std::sync::{
    Arc, Mutex, PoisonError, Weak,
    atomic::{AtomicI32, Ordering},
    mpsc::{RecvTimeoutError, sync_channel},
};

use tokio::runtime::{Handle, Runtime, RuntimeFlavor};

use super::{
    ADDRESS_TYPE, ADDRESS_TYPE_DISPLAY_NAME, ADDRESS_TYPE_EXTERNAL, ADDRESS_TYPE_SMTP, Answer,
    CONTACT_RESOLUTION_CACHED_ONLY, CONTACT_RESOLUTION_TYPE, Cookie, DMessengerEvents, Failure, HRESULT,
    MCONTACTPROP_EMAIL, MCONTACTPROPERTY, MISTATUS, MMESSENGERPROP_PLCID, MMESSENGERPROP_VERSION,
    MMESSENGERPROPERTY, MPHONE_TYPE, MPHONE_TYPE_ALL, MPHONE_TYPE_HOME, MPHONE_TYPE_MOBILE, MPHONE_TYPE_WORK,
    MSGR_E_NOT_LOGGED_ON, MUASORT, MUASORT_GROUPS, MUASORT_ONOFFLINE, MessengerContact, MessengerContacts,
    MessengerGroup, MessengerGroups, MessengerServices, MessengerWindow, Person, Result, S_OK, Shell,
    Variant,
    arguments::address,
    presence,
    relay::{Done, Relay},
};
use crate::{
    AccountConfig, Address, Availability, Code, Command, Error, Fact, Host, HostConfig, PersonQuery,
    PhoneKind, Phones, Profile, Secret, SessionState, SortOrder, VERSION,
};

/// Longest wait of any method. Most wait for no more than the engine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Names whose fact a status is that the modern API says by an activity.
const SOURCE: &str = "status";

/// The messenger. A handle: cheap to clone, and usable from any thread.
///
/// Where a member is about one account, it is the primary one: see [`Host::primary`]. When the last handle, contact, group or
/// window is gone, a messenger that was [started](Self::start) here signs out and ends.
#[derive(Clone)]
pub struct Messenger {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) host: Host,
    pub(super) relay: Relay,
    shell: Mutex<Option<Arc<dyn Shell>>>,
    sort: AtomicI32,
    /// There when it was made here.
    runtime: Option<Runtime>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        let Some(runtime) = self.runtime.take() else { return };
        let host = self.host.clone();
        // Whoever drops the last handle may be a task, which must not wait.
        let ended = std::thread::Builder::new().name("attache-compat-end".to_owned()).spawn(move || {
            runtime.block_on(host.shutdown());
        });
        if let Err(error) = ended {
            tracing::error!(%error, "no thread to sign out on");
        }
    }
}

impl Messenger {
    /// Starts a host on threads of its own.
    ///
    /// # Errors
    /// As [`Host::start`].
    pub fn start(config: HostConfig) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("attache-compat")
            .enable_all()
            .build()
            .map_err(|error| {
                Error::new(Code::Internal, "no threads can be started").because(error.to_string())
            })?;
        let host = wait(runtime.handle(), Host::start(config))?;
        Self::new(host, Some(runtime))
    }

    /// The messenger of a host that runs already. See the [module](super) for where its methods may be called.
    ///
    /// # Errors
    /// When no thread can be started for callbacks.
    pub fn over(host: &Host) -> Result<Self> {
        Self::new(host.clone(), None)
    }

    fn new(host: Host, runtime: Option<Runtime>) -> Result<Self> {
        let (relay, jobs) = Relay::new();
        let inner =
            Inner { host, relay, shell: Mutex::default(), sort: AtomicI32::new(MUASORT_GROUPS.0), runtime };
        let messenger = Self { inner: Arc::new(inner) };
        super::relay::run(Arc::downgrade(&messenger.inner), jobs)?;
        messenger.inner.follow();
        Ok(messenger)
    }

    /// The host, with all of the modern API.
    #[must_use]
    pub fn modern(&self) -> &Host {
        &self.inner.host
    }

    /// Tells a program what happens, until it is taken back or the messenger shuts down.
    pub fn advise(&self, events: Arc<dyn DMessengerEvents>) -> Cookie {
        self.inner.follow();
        self.inner.relay.advise(events)
    }

    /// Tells a program no more. A callback may be under way still.
    pub fn unadvise(&self, cookie: Cookie) {
        self.inner.relay.unadvise(cookie);
    }

    /// Does from now on what windows did.
    pub fn set_shell(&self, shell: Arc<dyn Shell>) {
        *self.inner.shell.lock().unwrap_or_else(PoisonError::into_inner) = Some(shell);
    }

    /// Signs every account out and ends the host. Objects stay valid, and answer with what was known.
    pub fn shutdown(&self) {
        let host = self.inner.host.clone();
        let inner = self.inner.clone();
        let _ = self.inner.wait(async move {
            host.shutdown().await;
            inner.relay.post_end().await;
            Ok(())
        });
    }

    /// `IMessenger.AutoSignin`: signs the primary account in as it is configured. The outcome is told by
    /// [`on_signin`](DMessengerEvents::on_signin).
    ///
    /// # Errors
    /// [`MSGR_E_ALREADY_LOGGED_ON`](super::MSGR_E_ALREADY_LOGGED_ON); [`E_FAIL`](super::E_FAIL) without an account.
    pub fn auto_signin(&self) -> Result<HRESULT> {
        let account = self.inner.account()?;
        self.inner.wait(async move { account.command(Command::SignIn).await })?;
        Ok(S_OK)
    }

    /// `IMessenger.Signin`: signs in with these credentials, as an account of their own. An account of that name that is
    /// there already is signed in as it is configured.
    ///
    /// # Errors
    /// As [`auto_signin`](Self::auto_signin), and of [`Host::add_account`].
    pub fn signin(&self, signin_name: &str, password: &str) -> Result<HRESULT> {
        let address = address(signin_name)?;
        let host = self.inner.host.clone();
        let config = AccountConfig::new(address.clone(), Secret::new(password));
        let account = self.inner.wait(async move {
            match host.messenger(&address) {
                Some(account) => Ok(account),
                None => host.add_account(AccountConfig { sign_in: false, ..config }).await,
            }
        })?;
        // Before it signs in: callbacks hear of that as well.
        self.inner.follow();
        self.inner.wait(async move { account.command(Command::SignIn).await })?;
        Ok(S_OK)
    }

    /// `IMessenger.Signout`: signs the primary account out; [`on_signout`](DMessengerEvents::on_signout) follows.
    ///
    /// # Errors
    /// [`MSGR_E_NOT_LOGGED_ON`].
    pub fn signout(&self) -> Result<HRESULT> {
        let account = self.inner.account()?;
        if account.snapshot().session == SessionState::SignedOut {
            return Err(signed_out(&account));
        }
        self.inner.wait(async move { account.command(Command::SignOut).await })?;
        Ok(S_OK)
    }

    /// `IMessenger.AddContact`: asks by [`Shell::add_contact`], and adds whoever it says. An empty name asks whom.
    ///
    /// # Errors
    /// [`E_INVALIDARG`](super::E_INVALIDARG) for what is no address; [`MSGR_E_CANCEL`](super::MSGR_E_CANCEL) when the answer is
    /// no, or nobody is there to ask for a name.
    pub fn add_contact(&self, signin_name: &str) -> Result<HRESULT> {
        let wanted = if signin_name.is_empty() { None } else { Some(address(signin_name)?) };
        let answer = match self.inner.shell() {
            Some(shell) => shell.add_contact(wanted.as_ref()),
            None => wanted.map_or(Answer::Cancel, Answer::Add),
        };
        match answer {
            Answer::Add(address) => self.add(address),
            Answer::Cancel => Err(Error::new(Code::Cancel, "nobody is added").into()),
        }
    }

    /// `IMessengerPrivate.AddContact`: adds somebody without asking anybody. The outcome is told by
    /// [`on_contact_list_add`](DMessengerEvents::on_contact_list_add).
    ///
    /// # Errors
    /// [`E_INVALIDARG`](super::E_INVALIDARG) for what is no address or no service of the primary account.
    pub fn add_contact_silently(&self, signin_name: &str, service_id: &str) -> Result<HRESULT> {
        self.check_service(service_id)?;
        self.add(address(signin_name)?)
    }

    fn add(&self, address: Address) -> Result<HRESULT> {
        let command = Command::AddContact { address, name: "".into() };
        self.inner.begin(&self.inner.account()?, command, Done::ContactListAdd)
    }

    /// An empty id, or that of the primary account's service.
    fn check_service(&self, service_id: &str) -> Result<()> {
        let service = self.inner.account()?.service();
        if service_id.is_empty() || service_id.eq_ignore_ascii_case(&service.id) {
            Ok(())
        } else {
            Err(Error::new(Code::NotPrimaryService, "this is not the service of the primary account").into())
        }
    }

    /// `IMessenger.FindContact`: people of the directory by name and place, at most 50. Blank parts do not count.
    ///
    /// # Errors
    /// [`MSGR_E_NO_DIRECTORY`](super::MSGR_E_NO_DIRECTORY) without a directory, or the directory's own.
    pub fn find_contact(
        &self,
        first_name: &str,
        last_name: &str,
        city: &str,
        state: &str,
        country: &str,
    ) -> Result<Vec<MessengerContact>> {
        let account = self.inner.account()?;
        if account.directory().is_none() {
            let why = "the application provides no directory to look people up in";
            return Err(Error::new(Code::NoDirectory, why).into());
        }
        let words = [first_name, last_name, city, state, country];
        let query =
            words.map(str::trim).into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
        let asked = account.clone();
        let found = self.inner.wait(async move { asked.search_directory(&query, 50).await })?;
        let contact = |entry: crate::DirectoryEntry| {
            MessengerContact::new(&self.inner, &account, entry.address).named(&entry.name)
        };
        Ok(found.into_iter().map(contact).collect())
    }

    /// `IMessenger.GetContact`: a contact by sign-in name. With an empty service id on the list only; with the id of the
    /// service anybody, whose presence is watched for as long as the object is held.
    ///
    /// # Errors
    /// [`MSGR_E_USER_NOT_FOUND`](super::MSGR_E_USER_NOT_FOUND), [`E_INVALIDARG`](super::E_INVALIDARG).
    pub fn get_contact(&self, signin_name: &str, service_id: &str) -> Result<MessengerContact> {
        let address = address(signin_name)?;
        self.check_service(service_id)?;
        let account = self.inner.account()?;
        let listed = account.snapshot().by_address.contains_key(&address) || address == *account.address();
        if listed {
            return Ok(MessengerContact::new(&self.inner, &account, address));
        }
        if service_id.is_empty() {
            return Err(Error::new(Code::UserNotFound, format!("{address} is not on the list")).into());
        }
        let (watcher, whom) = (account.clone(), address.clone());
        let watching = self.inner.wait(async move { watcher.watch(&whom).await })?;
        Ok(MessengerContact::new(&self.inner, &account, address).watching(watching))
    }

    /// `IMessenger.ViewProfile`: opens what is known of somebody, by [`Shell::open`]; the URI is the answer as well.
    ///
    /// # Errors
    /// [`MSGR_E_USER_NOT_FOUND`](super::MSGR_E_USER_NOT_FOUND) when neither the person nor the directory names a page.
    pub fn view_profile<P: Into<Person>>(&self, contact: P) -> Result<String> {
        let address = contact.into().address()?;
        let account = self.inner.account()?;
        let profile = self.inner.wait(async move { account.profile(&address).await })?;
        let safe = |page: &Arc<str>| {
            page.split_once(':').is_some_and(|(scheme, _)| {
                ["http", "https"].iter().any(|known| known.eq_ignore_ascii_case(scheme))
            })
        };
        let page = profile.homepage.filter(safe);
        let page =
            page.ok_or_else(|| Error::new(Code::UserNotFound, "no page about this person is known"))?;
        self.inner.open(&page);
        Ok(page.to_string())
    }

    /// `IMessenger.MyContacts`: the contact list, in the order of [`contacts_sort_order`](Self::contacts_sort_order).
    ///
    /// # Errors
    /// [`E_FAIL`](super::E_FAIL) without an account.
    pub fn my_contacts(&self) -> Result<MessengerContacts> {
        let account = self.inner.account()?;
        let order = match self.contacts_sort_order() {
            MUASORT_ONOFFLINE => SortOrder::Availability,
            _ => SortOrder::Groups,
        };
        let contacts = account.contacts(order);
        let contacts = contacts.into_iter().map(|entry| entry.contact.address.clone());
        Ok(MessengerContacts::new(&self.inner, &account, contacts.collect(), true))
    }

    /// `IMessenger.MyFriendlyName`: one's own display name; the user part of the address without one.
    ///
    /// # Errors
    /// [`E_FAIL`](super::E_FAIL) without an account.
    pub fn my_friendly_name(&self) -> Result<String> {
        Ok(super::service::own_name(&self.inner.account()?))
    }

    /// `IMessenger.MyPhoneNumber`: one's own number of a kind, as a `tel:` address.
    ///
    /// # Errors
    /// [`E_FAIL`](super::E_FAIL) when it is not known, [`E_INVALIDARG`](super::E_INVALIDARG) for no kind.
    pub fn my_phone_number(&self, kind: MPHONE_TYPE) -> Result<String> {
        let own = self.inner.account()?.own_profile();
        let number = number_of(&own.phones, kind)?;
        number.map(ToString::to_string).ok_or_else(|| no_number().into())
    }

    /// `IMessenger.MyProperty`: one's own mail address.
    ///
    /// # Errors
    /// [`E_INVALIDARG`](super::E_INVALIDARG) for another property.
    pub fn my_property(&self, property: MCONTACTPROPERTY) -> Result<Variant> {
        if property != MCONTACTPROP_EMAIL {
            return Err(Failure::argument("only the mail address is a property of one's own"));
        }
        let email = self.inner.account()?.own_profile().email.clone();
        Ok(email.map_or(Variant::Empty, |email| Variant::Bstr(email.to_string())))
    }

    /// `IMessenger.MyProperty`: gives oneself another mail address, told by
    /// [`on_my_property_change`](DMessengerEvents::on_my_property_change).
    ///
    /// # Errors
    /// [`E_INVALIDARG`](super::E_INVALIDARG) for another property or value.
    pub fn put_my_property(&self, property: MCONTACTPROPERTY, value: &Variant) -> Result<HRESULT> {
        let email: Option<Arc<str>> = match (property, value) {
            (MCONTACTPROP_EMAIL, Variant::Bstr(email)) => Some(email.as_str().into()),
            (MCONTACTPROP_EMAIL, Variant::Empty) => None,
            _ => return Err(Failure::argument("only the mail address is a property of one's own, as text")),
        };
        let profile = Profile::clone(&self.inner.account()?.own_profile());
        self.put_profile(Profile { email, ..profile })
    }

    /// `IMessenger.MyServiceId`: the id of the primary account's service.
    ///
    /// # Errors
    /// [`E_FAIL`](super::E_FAIL) without an account.
    pub fn my_service_id(&self) -> Result<String> {
        Ok(self.inner.account()?.service().id.to_string())
    }

    /// `IMessenger.MyServiceName`: the name of the primary account's service.
    ///
    /// # Errors
    /// [`E_FAIL`](super::E_FAIL) without an account.
    pub fn my_service_name(&self) -> Result<String> {
        Ok(self.inner.account()?.service().name.to_string())
    }

    /// `IMessenger.MySigninName`: one's own address, signed in or not.
    ///
    /// # Errors
    /// [`E_FAIL`](super::E_FAIL) without an account.
    pub fn my_signin_name(&self) -> Result<String> {
        Ok(self.inner.account()?.address().to_string())
    }

    /// `IMessenger.MyStatus`: one's own status, as others see it; offline while signed out.
    ///
    /// # Errors
    /// [`E_FAIL`](super::E_FAIL) without an account.
    pub fn my_status(&self) -> Result<MISTATUS> {
        Ok(own_status(&self.inner.account()?))
    }

    /// `IMessenger.MyStatus`: publishes a status, and waits for the service. One's own words stay.
    ///
    /// # Errors
    /// [`E_INVALIDARG`](super::E_INVALIDARG) for what is no status of a person; [`MSGR_E_NOT_LOGGED_ON`] when it is kept for the
    /// next sign-in; or what the service answered.
    pub fn put_my_status(&self, status: MISTATUS) -> Result<HRESULT> {
        let (availability, activity) = presence::of_status(status)?;
        let note = self.inner.account()?.own_presence().note.to_string();
        self.inner.publish(availability, activity, note)
    }

    /// `IMessenger.Services`: the services of all accounts.
    #[must_use]
    pub fn services(&self) -> MessengerServices {
        self.inner.follow();
        MessengerServices::new(&self.inner, self.inner.host.messengers())
    }

    /// `IMessenger.Window`: what stands for the main window.
    #[must_use]
    pub fn window(&self) -> MessengerWindow {
        MessengerWindow::new(&self.inner)
    }

    /// `IMessenger2.CreateGroup`: makes a group, which [`on_group_added`](DMessengerEvents::on_group_added) tells of as well.
    ///
    /// # Errors
    /// [`MSGR_E_BAD_GROUP_NAME`](super::MSGR_E_BAD_GROUP_NAME),
    /// [`MSGR_E_GROUP_NAME_TOO_LONG`](super::MSGR_E_GROUP_NAME_TOO_LONG),
    /// [`MSGR_E_GROUP_ALREADY_EXISTS`](super::MSGR_E_GROUP_ALREADY_EXISTS),
    /// [`MSGR_E_TOO_MANY_GROUPS`](super::MSGR_E_TOO_MANY_GROUPS), and for another service
    /// [`MSGR_E_NOT_PRIMARY_SERVICE`](super::MSGR_E_NOT_PRIMARY_SERVICE).
    pub fn create_group(&self, name: &str, service_id: &str) -> Result<MessengerGroup> {
        self.check_service(service_id)?;
        let account = self.inner.account()?;
        let (maker, wanted) = (account.clone(), name.to_owned());
        match self.inner.wait(async move { maker.add_group(&wanted).await }) {
            Ok(group) => Ok(MessengerGroup::new(&self.inner, &account, group)),
            Err(failure) => {
                self.inner.tell(Done::GroupAdded, failure.hresult());
                Err(failure)
            }
        }
    }

    /// `IMessenger2.ContactsSortOrder`: how [`my_contacts`](Self::my_contacts) is sorted.
    #[must_use]
    pub fn contacts_sort_order(&self) -> MUASORT {
        MUASORT(self.inner.sort.load(Ordering::Relaxed))
    }

    /// `IMessenger2.ContactsSortOrder`: sorts [`my_contacts`](Self::my_contacts) otherwise, for this program.
    ///
    /// # Errors
    /// [`E_INVALIDARG`](super::E_INVALIDARG) for no order.
    pub fn put_contacts_sort_order(&self, order: MUASORT) -> Result<HRESULT> {
        if order != MUASORT_GROUPS && order != MUASORT_ONOFFLINE {
            return Err(Failure::argument("contacts are sorted by groups, or by who is there"));
        }
        self.inner.sort.store(order.0, Ordering::Relaxed);
        Ok(S_OK)
    }

    /// `IMessenger2.MyGroups`: all groups, in the order in which they were made.
    ///
    /// # Errors
    /// [`E_FAIL`](super::E_FAIL) without an account.
    pub fn my_groups(&self) -> Result<MessengerGroups> {
        let account = self.inner.account()?;
        let groups = account.snapshot().groups.keys().copied().collect();
        Ok(MessengerGroups::new(&self.inner, &account, groups))
    }

    /// `IMessenger3.Property`: the version as text, or the locale as a number of Windows.
    ///
    /// # Errors
    /// [`E_INVALIDARG`](super::E_INVALIDARG) for another property.
    pub fn property(&self, property: MMESSENGERPROPERTY) -> Result<Variant> {
        match property {
            MMESSENGERPROP_VERSION => Ok(Variant::Bstr(VERSION.to_owned())),
            MMESSENGERPROP_PLCID => Ok(Variant::I4(super::service::locale_id(self.inner.host.locale()))),
            _ => Err(Failure::argument("the messenger has a version and a locale")),
        }
    }

    /// `IMessengerAdvanced.GetAuthenticationInfo`: the access token of the session. Take care where it goes.
    ///
    /// # Errors
    /// [`MSGR_E_INVALID_AUTH_PACKAGES`](super::MSGR_E_INVALID_AUTH_PACKAGES) for an account with a password.
    pub fn get_authentication_info(&self) -> Result<Secret> {
        Ok(self.inner.account()?.access_token()?)
    }

    /// `IMessengerContactResolution.ResolveContact`: from a mail address or a name to an address. What is known here is the
    /// answer; otherwise the directory is asked, and [`on_contact_resolved`](DMessengerEvents::on_contact_resolved) has its
    /// answer.
    ///
    /// # Errors
    /// [`MSGR_E_USER_NOT_FOUND`](super::MSGR_E_USER_NOT_FOUND) for somebody who is not known here, when only that was asked;
    /// [`MSGR_E_TOO_MANY_MATCHES`](super::MSGR_E_TOO_MANY_MATCHES), [`E_INVALIDARG`](super::E_INVALIDARG).
    pub fn resolve_contact(
        &self,
        kind: ADDRESS_TYPE,
        resolution: CONTACT_RESOLUTION_TYPE,
        name: &str,
    ) -> Result<Option<String>> {
        if name.trim().is_empty() {
            return Err(Failure::argument("nobody is named"));
        }
        let query = match kind {
            ADDRESS_TYPE_SMTP => PersonQuery::Email(name.to_owned()),
            ADDRESS_TYPE_DISPLAY_NAME => PersonQuery::Name(name.to_owned()),
            ADDRESS_TYPE_EXTERNAL => PersonQuery::Address(address(name)?),
            _ => return Err(Failure::argument("there are mail addresses, names, and other addresses")),
        };
        let account = self.inner.account()?;
        if let Some(known) = account.resolve_known(&query)? {
            return Ok(Some(known.address.to_string()));
        }
        if resolution == CONTACT_RESOLUTION_CACHED_ONLY {
            return Err(Error::new(Code::UserNotFound, "nobody is known here by this").into());
        }
        let (inner, name) = (self.inner.clone(), name.to_owned());
        self.inner.spawn(async move {
            let found = account.resolve(&query).await;
            let hresult = found.as_ref().map_or_else(HRESULT::from, |_| S_OK);
            let address = found.map(|found| found.address.to_string()).unwrap_or_default();
            inner.relay.post(Done::Resolved { kind, name, address }, hresult).await;
        });
        Ok(None)
    }

    /// Changes one's own telephone number, told by [`on_my_phone_change`](DMessengerEvents::on_my_phone_change). In 2007 this was
    /// for the options dialog to do.
    ///
    /// # Errors
    /// [`MSGR_E_PHONE_INVALID_NUMBER`](super::MSGR_E_PHONE_INVALID_NUMBER), [`E_INVALIDARG`](super::E_INVALIDARG) for no kind.
    pub fn put_my_phone_number(&self, kind: MPHONE_TYPE, number: &str) -> Result<HRESULT> {
        let account = self.inner.account()?;
        let own = account.own_profile();
        let mut phones = own.phones.clone();
        let domain = account.address().canonical().rsplit_once('@').map_or("localhost", |(_, domain)| domain);
        let number = match number {
            "" => None,
            number => Some(attache_messenger::call::number(number, domain)?),
        };
        match kind {
            MPHONE_TYPE_HOME => phones.home = number,
            MPHONE_TYPE_WORK => phones.work = number,
            MPHONE_TYPE_MOBILE => phones.mobile = number,
            _ => return Err(Failure::argument("one's own numbers are at home, at work, and mobile")),
        }
        self.put_profile(Profile { phones, ..Profile::clone(&own) })
    }

    /// Changes one's own display name, told by
    /// [`on_my_friendly_name_change`](DMessengerEvents::on_my_friendly_name_change). In 2007 there was no way to.
    ///
    /// # Errors
    /// [`MSGR_E_INVALID_FRIENDLY_NAME`](super::MSGR_E_INVALID_FRIENDLY_NAME).
    pub fn put_my_friendly_name(&self, name: &str) -> Result<HRESULT> {
        let profile = Profile::clone(&self.inner.account()?.own_profile());
        self.put_profile(Profile { display_name: name.into(), ..profile })
    }

    /// Kept at once, and published when the service is there.
    fn put_profile(&self, profile: Profile) -> Result<HRESULT> {
        let account = self.inner.account()?;
        let command = Command::SetProfile(Some(Box::new(profile)));
        self.inner.wait(async move { account.command(command).await })?;
        Ok(S_OK)
    }
}

impl Inner {
    pub(super) fn shell(&self) -> Option<Arc<dyn Shell>> {
        self.shell.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn open(&self, uri: &str) {
        if let Some(shell) = self.shell() {
            shell.open(uri);
        }
    }

    /// The primary account.
    pub(super) fn account(self: &Arc<Self>) -> Result<crate::Messenger> {
        self.follow();
        let none = || Failure::new(super::E_FAIL, Error::new(Code::AccountNotFound, "there is no account"));
        self.host.primary().ok_or_else(none)
    }

    /// Tells callbacks of accounts that came since.
    pub(super) fn follow(self: &Arc<Self>) {
        self.relay.follow(&self.host, &self.host.inner.runtime);
    }

    pub(super) fn publish(
        self: &Arc<Self>,
        availability: Availability,
        activity: &str,
        note: String,
    ) -> Result<HRESULT> {
        let account = self.account()?;
        let fact = (!activity.is_empty()).then(|| Fact {
            availability: None,
            activity: activity.into(),
            note: "".into(),
            from: None,
            until: None,
        });
        let outcome = self.wait(async move {
            // Kept here whatever the service says to it; the status itself says how it went.
            let _ = account.command(Command::SetFact { source: SOURCE.into(), fact }).await;
            account.publish(availability, &note).await
        });
        if let Err(failure) = &outcome {
            self.tell(Done::MyStatus, failure.hresult());
        }
        outcome.map(|()| S_OK)
    }

    /// Hands a command over whose outcome is told by a callback: its failure here, its success by what it changes.
    pub(super) fn begin(
        self: &Arc<Self>,
        account: &crate::Messenger,
        command: Command,
        done: Done,
    ) -> Result<HRESULT> {
        let account = account.clone();
        match self.wait(async move { account.shared().begin(command).await }) {
            Ok((_, completion)) => {
                let inner: Weak<Self> = Arc::downgrade(self);
                self.spawn(async move {
                    if let Ok(Err(error)) = completion.await
                        && let Some(inner) = inner.upgrade()
                    {
                        inner.relay.post(done, HRESULT::from(&error)).await;
                    }
                });
            }
            Err(failure) if matches!(failure.why().code(), Code::InvalidArgument | Code::InvalidAddress) => {
                return Err(failure);
            }
            Err(failure) => self.tell(done, failure.hresult()),
        }
        Ok(S_OK)
    }

    /// Tells callbacks of a failure.
    pub(super) fn tell(self: &Arc<Self>, done: Done, hresult: HRESULT) {
        let inner = self.clone();
        self.spawn(async move { inner.relay.post(done, hresult).await });
    }

    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.host.inner.runtime.spawn(task);
    }

    /// Waits for something that runs on the host's threads.
    pub(super) fn wait<T: Send + 'static>(
        &self,
        task: impl Future<Output = core::result::Result<T, Error>> + Send + 'static,
    ) -> Result<T> {
        wait(&self.host.inner.runtime, task)
    }
}

fn wait<T: Send + 'static>(
    runtime: &Handle,
    task: impl Future<Output = core::result::Result<T, Error>> + Send + 'static,
) -> Result<T> {
    let here = Handle::try_current().ok();
    let single = here.as_ref().is_some_and(|here| here.runtime_flavor() == RuntimeFlavor::CurrentThread);
    if single && here.as_ref().is_some_and(|here| here.id() == runtime.id()) {
        let why = "this would wait for the thread that it waits on: call it from a thread of its own";
        return Err(Failure::new(super::E_FAIL, Error::new(Code::Internal, why)));
    }
    let (sender, receiver) = sync_channel(1);
    let task = runtime.spawn(async move {
        let _ = sender.send(task.await);
    });
    let receive = || receiver.recv_timeout(PATIENCE);
    // A worker of a runtime hands its other tasks over before it waits.
    let received = if here.is_some() && !single { tokio::task::block_in_place(receive) } else { receive() };
    match received {
        Ok(outcome) => Ok(outcome?),
        Err(RecvTimeoutError::Timeout) => {
            task.abort();
            Err(Error::new(Code::SessionTimeout, "there was no answer in a minute").into())
        }
        Err(RecvTimeoutError::Disconnected) => Err(Error::new(Code::Closed, "the host has ended").into()),
    }
}

/// One's own status: what others see of it.
pub(super) fn own_status(account: &crate::Messenger) -> MISTATUS {
    let snapshot = account.snapshot();
    match snapshot.session {
        SessionState::SignedIn => presence::status(&snapshot.own),
        _ => super::MISTATUS_OFFLINE,
    }
}

fn no_number() -> Error {
    Error::new(Code::Internal, "no number of this kind is known")
}

/// A number by its kind; any of them for `MPHONE_TYPE_ALL`, the one at work first.
pub(super) fn number_of(phones: &Phones, kind: MPHONE_TYPE) -> Result<Option<&Address>> {
    Ok(match kind {
        MPHONE_TYPE_HOME => phones.get(PhoneKind::Home),
        MPHONE_TYPE_WORK => phones.get(PhoneKind::Work),
        MPHONE_TYPE_MOBILE => phones.get(PhoneKind::Mobile),
        MPHONE_TYPE_ALL => phones.work.as_ref().or(phones.mobile.as_ref()).or(phones.home.as_ref()),
        _ => return Err(Failure::argument("numbers are at home, at work, and mobile")),
    })
}

/// A number as text.
pub(super) fn number_text(phones: &Phones, kind: MPHONE_TYPE) -> Result<String> {
    number_of(phones, kind)?.map(ToString::to_string).ok_or_else(|| no_number().into())
}

impl core::fmt::Debug for Messenger {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Messenger").field("host", &self.inner.host).finish_non_exhaustive()
    }
}

/// [`MSGR_E_NOT_LOGGED_ON`], for what cannot be known signed out.
pub(super) fn signed_out(account: &crate::Messenger) -> Failure {
    let why = Error::new(Code::NotLoggedOn, format!("{} is signed out", account.address()));
    Failure::new(MSGR_E_NOT_LOGGED_ON, why)
}
