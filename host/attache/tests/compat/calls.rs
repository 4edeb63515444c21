//! Calls. Other hosts with media of their own stand for telephones.

use std::sync::{Arc, Condvar, Mutex};

use attache::{
    Address, BoxFuture, Call, CallId, CallState, Change, EventKind, Host, IncomingCalls, Media, MediaEngine,
    MediaWanted, SessionState,
    compat::{
        CONVERSATION_TYPE, CONVERSATION_TYPE_AUDIO, CONVERSATION_TYPE_PHONE, CONVERSATION_TYPE_PSTN,
        CONVERSATION_TYPE_VIDEO, HWND, MPHONE_TYPE_CUSTOM, MPHONE_TYPE_HOME, MPHONE_TYPE_WORK,
        MSGR_E_NO_HARDWARE, MSGR_E_NOT_ACCEPTING_PAGES, MSGR_E_PHONE_INVALID_NUMBER, Messenger, Person,
        SR_INVITED_SELF, SR_NO_USER_INVITED,
    },
};

use crate::{
    common::address,
    desk::{Desk, Office},
};

const BOB: &str = "sip:bob@example.com";
const NUMBER: &str = "tel:+3545550100";

/// A telephone that is picked up at once. It has no sound: what it says of itself is enough.
struct Phone {
    _runtime: tokio::runtime::Runtime,
}

/// Media that are described and never flow.
#[derive(Default)]
struct Silence {
    told: Mutex<Vec<String>>,
    more: Condvar,
}

impl Silence {
    fn tell(&self, text: String) {
        self.told.lock().expect("whole").push(text);
        self.more.notify_all();
    }

    fn wait(&self, wanted: &str) {
        let told = self.told.lock().expect("whole");
        let patience = std::time::Duration::from_secs(30);
        let (told, timeout) = self
            .more
            .wait_timeout_while(told, patience, |told| !told.iter().any(|text| text == wanted))
            .expect("whole");
        assert!(!timeout.timed_out(), "`{wanted}` was not told, but {told:?}");
    }
}

impl MediaEngine for Silence {
    fn describe<'a>(&'a self, _: &'a Address, wanted: &'a MediaWanted) -> BoxFuture<'a, Option<Arc<str>>> {
        let what = if wanted.offer.is_some() { "answer" } else { "offer" };
        self.tell(format!("{what} {}", wanted.media.name()));
        // An answer has as many lines of media as its offer (RFC 3264, section 6).
        let video = wanted.media == Media::Video
            || wanted.offer.as_ref().is_some_and(|offer| offer.contains("\nm=video"));
        let mut text = String::from(
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 49170 RTP/AVP 0\r\n",
        );
        if video {
            text.push_str("m=video 49172 RTP/AVP 34\r\n");
        }
        Box::pin(core::future::ready(Some(text.into())))
    }

    fn agreed(&self, _: &Address, _: CallId, answer: &str) {
        self.tell(format!("agreed {}", answer.contains("m=audio")));
    }

    fn ended(&self, _: &Address, call: &Call) {
        self.tell(format!("ended {}", call.state.name()));
    }
}

impl Phone {
    fn new(office: &Office, user: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a thread");
        let mut account = office.account(user);
        account.incoming_calls = IncomingCalls::Take;
        let mut config = office.world().host_config();
        config.media = Some(Arc::new(Silence::default()));
        let messenger = runtime.block_on(async {
            let host = Host::start(config).await.expect("it starts");
            let messenger = host.add_account(account).await.expect("an account");
            messenger.sign_in().await.expect("signed in");
            messenger
        });
        let mut view = messenger.view();
        runtime.spawn(async move {
            while let Some(change) = view.changes.next().await {
                if let Change::Event(event) = change
                    && let EventKind::CallChanged(call) = event.kind
                    && call.state == CallState::Ringing
                {
                    let _ = messenger.answer_call(call.id).await;
                }
            }
        });
        Self { _runtime: runtime }
    }
}

/// Alice's desk; her telephone is Carol's, who lends it.
fn desk(office: &Office, media: Option<Arc<Silence>>) -> Desk {
    let mut account = office.account("alice");
    account.phone = Some(address("sip:carol@example.com"));
    let mut config = office.config(account);
    config.media = media.map(|media| media as Arc<dyn MediaEngine>);
    let desk = Desk::new(config);
    desk.sign_in();
    desk
}

/// Waits for where the only call is.
fn until(messenger: &Messenger, what: &str, holds: impl Fn(&Call) -> bool) -> Arc<Call> {
    let account = messenger.modern().primary().expect("an account");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        let calls = account.calls();
        if let Some(call) = calls.iter().find(|call| holds(call)) {
            return call.clone();
        }
        assert!(std::time::Instant::now() < deadline, "{what}: {calls:?}");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

fn hang_up(messenger: &Messenger, call: &Call) {
    let account = messenger.modern().primary().expect("an account");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a thread");
    runtime.block_on(account.hang_up(call.id)).expect("hung up");
    until(messenger, "it is over", |it| it.id == call.id && it.is_over());
}

/// seed: IMessenger.Phone CONVERSATION_TYPE_PHONE CONVERSATION_TYPE_PSTN MPHONE_TYPE_CUSTOM MPHONE_TYPE_WORK
/// seed: MSGR_E_PHONE_INVALID_NUMBER SR_INVITED_SELF
#[test]
fn a_number_is_called_from_the_own_phone_and_the_conversation_tells_of_it() {
    let office = Office::open();
    let (_own, _theirs) = (Phone::new(&office, "carol"), Phone::new(&office, "bob"));
    let desk = desk(&office, None);
    let window = desk.messenger.phone(BOB, MPHONE_TYPE_CUSTOM, "+354 555 0100").expect("taken on");
    let call = until(&desk.messenger, "both talk", |call| call.state == CallState::Connected);
    assert_eq!((call.peer.as_str(), window.hwnd()), (NUMBER, HWND(call.conversation.0)));
    // Calls in progress show in presence.
    desk.heard.wait("my status S_OK (0x00000000) 0x0032");
    hang_up(&desk.messenger, &call);
    assert!(window.history().expect("there").contains("call"), "{}", window.history().expect("there"));

    // A number that is noted of a contact is called by its kind.
    let contact = desk.add(BOB);
    let account = desk.messenger.modern().primary().expect("an account");
    let id = account.snapshot().by_address.get(&address(BOB)).copied().expect("on the list");
    let mut details = attache::ContactDetails::default();
    details.phones.work = Some(address(NUMBER));
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a thread");
    runtime.block_on(account.set_contact_details(id, details)).expect("noted");
    let first = call.id;
    let start = |kind| desk.messenger.start_conversation(kind, &[Person::from(&contact)], None, "", None);
    start(CONVERSATION_TYPE_PHONE).expect("taken on");
    let call = until(&desk.messenger, "they talk", |it| it.id != first && it.state == CallState::Connected);
    hang_up(&desk.messenger, &call);
    let second = call.id;
    start(CONVERSATION_TYPE_PSTN).expect("taken on");
    let call = until(&desk.messenger, "they talk", |it| {
        it.id != first && it.id != second && it.state == CallState::Connected
    });
    hang_up(&desk.messenger, &call);
    desk.messenger.phone(&contact, MPHONE_TYPE_WORK, "").expect("taken on");

    let none = desk.messenger.phone(&contact, MPHONE_TYPE_HOME, "").expect_err("not known");
    assert_eq!(none.hresult(), MSGR_E_PHONE_INVALID_NUMBER);
    let words = desk.messenger.phone(&contact, MPHONE_TYPE_CUSTOM, "call me").expect_err("no number");
    assert_eq!(words.hresult(), MSGR_E_PHONE_INVALID_NUMBER);
    let oneself =
        desk.messenger.phone("sip:alice@example.com", MPHONE_TYPE_CUSTOM, "42").expect_err("oneself");
    assert_eq!(oneself.hresult(), SR_INVITED_SELF);
}

/// seed: IMessenger.StartVoice CONVERSATION_TYPE_AUDIO IMessenger.MediaWizard SR_NO_USER_INVITED
#[test]
fn sound_is_the_applications_and_its_description_is_carried() {
    let office = Office::open();
    let _theirs = Phone::new(&office, "bob");
    let media = Arc::new(Silence::default());
    let desk = desk(&office, Some(media.clone()));
    let window = desk.messenger.start_voice(BOB).expect("taken on");
    let call = until(&desk.messenger, "both talk", |call| call.state == CallState::Connected);
    assert_eq!((call.media, window.hwnd()), (Media::Audio, HWND(call.conversation.0)));
    media.wait("offer audio");
    media.wait("agreed true");
    hang_up(&desk.messenger, &call);
    media.wait("ended ended");
    let start = |people: &[Person]| {
        desk.messenger.start_conversation(CONVERSATION_TYPE_AUDIO, people, None, "", None)
    };
    assert_eq!(start(&[]).expect_err("nobody").hresult(), SR_NO_USER_INVITED);
    assert_eq!(
        start(&[Person::from("sip:alice@example.com")]).expect_err("oneself").hresult(),
        SR_INVITED_SELF
    );
}

/// seed: IMessenger2.StartVideo CONVERSATION_TYPE_VIDEO
#[test]
fn pictures_are_the_applications_as_well() {
    let office = Office::open();
    let _theirs = Phone::new(&office, "bob");
    let media = Arc::new(Silence::default());
    let desk = desk(&office, Some(media.clone()));
    desk.messenger.start_video(BOB).expect("taken on");
    let call = until(&desk.messenger, "both talk", |call| call.state == CallState::Connected);
    assert_eq!(call.media, Media::Video);
    media.wait("offer video");
    hang_up(&desk.messenger, &call);
    let kind = CONVERSATION_TYPE(CONVERSATION_TYPE_VIDEO.0);
    desk.messenger.start_conversation(kind, &[Person::from(BOB)], None, "", None).expect("taken on");
    until(&desk.messenger, "both talk again", |it| it.id != call.id && it.state == CallState::Connected);
}

/// seed: MSGR_E_NO_HARDWARE IMessenger.StartVoice
#[test]
fn a_call_without_media_of_the_application_fails_at_once_and_says_why() {
    let office = Office::open();
    let desk = desk(&office, None);
    desk.messenger.start_voice(BOB).expect("taken on");
    let call = until(&desk.messenger, "it is over", Call::is_over);
    let CallState::Ended(Some(error)) = &call.state else { panic!("{:?}", call.state) };
    assert_eq!(attache::compat::HRESULT::from(error), MSGR_E_NO_HARDWARE);
}

/// seed: IMessenger.Page MSGR_E_NOT_ACCEPTING_PAGES
#[test]
fn a_text_to_a_mobile_telephone_is_a_conversation_with_its_number() {
    let office = Office::open();
    let desk = desk(&office, None);
    let bob = office.desk("bob");
    // The service knows whose number it is; elsewhere a gateway does.
    let window = desk.messenger.page(NUMBER).expect("a conversation");
    window.send_text("call back, please").expect("kept");
    bob.heard.wait("text sip:alice@example.com call back, please");
    let none = desk.messenger.page("sip:dora@example.com").expect_err("no number");
    assert_eq!(none.hresult(), MSGR_E_NOT_ACCEPTING_PAGES);
    let account = desk.messenger.modern().primary().expect("an account");
    assert_eq!(account.snapshot().session, SessionState::SignedIn);
}
