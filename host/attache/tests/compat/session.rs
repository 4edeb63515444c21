//! Signing in and out, and what one is meanwhile.

use std::sync::Arc;

use attache::{
    Code, Secret,
    compat::{
        DMessengerEvents, E_FAIL, E_INVALIDARG, MISTATUS, MISTATUS_OFFLINE, MISTATUS_ONLINE,
        MSGR_E_ALREADY_LOGGED_ON, MSGR_E_INVALID_AUTH_PACKAGES, MSGR_E_NOT_LOGGED_ON, Messenger,
        MessengerContact, S_OK,
    },
};

use crate::desk::{Desk, Office};

/// seed: IMessenger.AutoSignin DMessengerEvents.OnSignin DMessengerEvents.OnMyStatusChange MISTATUS_LOCAL_CONNECTING_TO_SERVER
/// seed: MSGR_E_ALREADY_LOGGED_ON S_OK MISTATUS_ONLINE
/// pain: 1 8 25
#[test]
fn signing_in_works_without_a_client_or_a_window_and_tells_its_phases() {
    let office = Office::open();
    let desk = Desk::new(office.config(office.account("alice")));
    assert_eq!(desk.messenger.auto_signin().expect("taken on"), S_OK);
    let told = desk.heard.wait("my status S_OK (0x00000000) 0x0002");
    let phase = told.iter().position(|line| line == "my status S_OK (0x00000000) 0x0200").expect("a phase");
    let done = told.iter().position(|line| line == "signin S_OK (0x00000000)").expect("an outcome");
    assert!(phase < done, "{told:?}");
    assert_eq!(desk.messenger.my_status().expect("an account"), MISTATUS_ONLINE);
    let again = desk.messenger.auto_signin().expect_err("signed in already");
    assert_eq!(again.hresult(), MSGR_E_ALREADY_LOGGED_ON);
}

/// seed: DMessengerEvents.OnSignin MSGR_E_INVALID_PASSWORD IMessenger.Signin
#[test]
fn a_sign_in_that_is_refused_is_told_with_its_code() {
    let office = Office::open();
    let mut account = office.account("alice");
    account.credential = attache::Credential::Password(Secret::new("looking-glass"));
    let desk = Desk::new(office.config(account));
    desk.messenger
        .signin("sip:alice@example.com", "not looked at: the account is configured")
        .expect("taken on");
    desk.heard.wait("signin MSGR_E_INVALID_PASSWORD (0x81000303)");
    assert_eq!(desk.messenger.my_status().expect("an account"), MISTATUS_OFFLINE);
}

/// seed: IMessenger.Signin
#[test]
fn credentials_that_are_given_make_an_account() {
    let office = Office::open();
    let config = office.world().host_config();
    let desk = Desk::new(config);
    assert_eq!(desk.messenger.my_status().expect_err("no account").hresult(), E_FAIL);
    assert_eq!(desk.messenger.signin("", "x").expect_err("nobody").hresult(), E_INVALIDARG);
    // Its domain is that of no service here: what counts is that it is tried.
    desk.messenger.signin("sip:alice@127.0.0.1", "wonderland").expect("taken on");
    assert_eq!(desk.messenger.my_signin_name().expect("an account"), "sip:alice@127.0.0.1");
    desk.heard.wait("my status S_OK (0x00000000) 0x0200");
}

/// seed: IMessenger.Signout DMessengerEvents.OnSignout MISTATUS_LOCAL_DISCONNECTING_FROM_SERVER MSGR_E_NOT_LOGGED_ON
/// seed: MISTATUS_OFFLINE
/// pain: 2 9
#[test]
fn signing_out_asks_nothing_and_what_needs_no_service_goes_on_working() {
    let office = Office::open();
    let desk = office.desk("alice");
    assert_eq!(desk.messenger.signout().expect("taken on"), S_OK);
    let told = desk.heard.wait("signout");
    assert!(told.iter().any(|line| line == "my status S_OK (0x00000000) 0x0400"), "{told:?}");
    assert_eq!(desk.messenger.my_status().expect("an account"), MISTATUS_OFFLINE);
    let again = desk.messenger.signout().expect_err("signed out already");
    assert_eq!(again.hresult(), MSGR_E_NOT_LOGGED_ON);
    // Contacts are changed and messages wait.
    desk.add("sip:bob@example.com");
    let window = desk.messenger.instant_message("sip:bob@example.com").expect("a conversation");
    window.send_text("for later").expect("kept");
    // Publishing says that it is kept, and nothing else.
    let kept = desk.messenger.put_my_status(attache::compat::MISTATUS_AWAY).expect_err("not told yet");
    assert_eq!(kept.hresult(), MSGR_E_NOT_LOGGED_ON);
}

/// seed: DMessengerEvents.OnMyStatusChange MSGR_E_DISCONNECTED
#[test]
fn a_service_that_goes_away_is_told_as_a_phase() {
    let office = Office::open();
    let desk = office.desk("alice");
    drop(office);
    desk.heard.wait("my status MSGR_E_DISCONNECTED (0x8100030c) 0x0200");
}

/// seed: DMessengerEvents.OnAppShutdown IMessenger.Window IMessengerWindow.IsClosed
/// pain: 18
#[test]
fn objects_stay_valid_after_the_end_and_answer_what_was_known() {
    let office = Office::open();
    let desk = office.desk("alice");
    let bob = desk.add("sip:bob@example.com");
    let window = desk.messenger.window();
    assert!(!window.is_closed());
    let group = desk.messenger.create_group("Friends", "").expect("made");
    desk.messenger.shutdown();
    desk.heard.wait("shutdown");
    assert!(window.is_closed());
    assert_eq!((bob.signin_name().as_str(), group.name().as_str()), ("sip:bob@example.com", "Friends"));
    let closed = group.put_name("Foes").expect("its outcome is told to those who are left");
    assert_eq!(closed, S_OK);
    let failure = desk.messenger.auto_signin().expect_err("nothing is left to sign in");
    assert!(matches!(failure.why().code(), Code::Closed | Code::AccountNotFound), "{failure}");
}

/// A callback that calls back, from a thread of its own and from another one.
struct Eager(Messenger);

impl DMessengerEvents for Eager {
    fn on_contact_status_change(&self, contact: Option<&MessengerContact>, _: MISTATUS) {
        let Some(contact) = contact.filter(|contact| !contact.is_self()) else { return };
        // This waits for the service, on the thread of callbacks.
        let outcome = self.0.put_my_status(attache::compat::MISTATUS_BUSY);
        assert_eq!(outcome.expect("published"), S_OK);
        let (messenger, name) = (self.0.clone(), contact.signin_name());
        let other = std::thread::spawn(move || messenger.create_group(&name, "").expect("made"));
        other.join().expect("no panic");
    }
}

/// pain: 24
#[test]
fn a_callback_may_call_anything_from_any_thread() {
    let office = Office::open();
    let (alice, bob) = (office.desk("alice"), office.desk("bob"));
    let cookie = alice.messenger.advise(Arc::new(Eager(alice.messenger.clone())));
    alice.add("sip:bob@example.com");
    alice.heard.wait("group S_OK (0x00000000) sip:bob@example.com");
    alice.heard.wait("my status S_OK (0x00000000) 0x000a");
    alice.messenger.unadvise(cookie);
    drop(bob);
}

struct Clumsy;

impl DMessengerEvents for Clumsy {
    fn on_group_added(&self, _: attache::compat::HRESULT, _: Option<&attache::compat::MessengerGroup>) {
        panic!("a fault of this program");
    }
}

/// pain: 21
#[test]
fn a_callback_that_panics_hurts_nobody_else() {
    let office = Office::open();
    let desk = office.desk("alice");
    let clumsy = desk.messenger.advise(Arc::new(Clumsy));
    desk.messenger.create_group("One", "").expect("made");
    desk.heard.wait("group S_OK (0x00000000) One");
    desk.messenger.unadvise(clumsy);
    desk.messenger.create_group("Two", "").expect("made");
    desk.heard.wait("group S_OK (0x00000000) Two");
}

/// seed: IMessengerAdvanced.GetAuthenticationInfo MSGR_E_INVALID_AUTH_PACKAGES
#[test]
fn a_token_is_given_to_whoever_embeds_and_a_password_never() {
    let office = Office::open();
    let desk = office.desk("alice");
    let refused = desk.messenger.get_authentication_info().expect_err("a password");
    assert_eq!(refused.hresult(), MSGR_E_INVALID_AUTH_PACKAGES);
    let mut account = attache::AccountConfig::with_token(
        crate::common::address("sip:bob@example.com"),
        Some(Secret::new("an-access-token")),
    );
    account.sign_in = false;
    let bob = Desk::new(office.config(account));
    let token = bob.messenger.get_authentication_info().expect("a token");
    assert!(token == Secret::new("an-access-token"));
}

#[test]
fn a_call_that_would_wait_for_itself_says_so() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a thread");
    runtime.block_on(async {
        let host = attache::Host::start(attache::HostConfig::default()).await.expect("it starts");
        let messenger = Messenger::over(&host).expect("a messenger");
        let account =
            attache::AccountConfig::new(crate::common::address("sip:a@127.0.0.1"), Secret::new("x"));
        let mut account = account;
        account.sign_in = false;
        host.add_account(account).await.expect("an account");
        let failure = messenger.create_group("Friends", "").expect_err("a single thread");
        assert_eq!(failure.hresult(), E_FAIL);
        host.shutdown().await;
    });
}
