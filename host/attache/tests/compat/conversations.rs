//! Conversations of text.

use std::sync::Arc;

use attache::{
    Context, TranscriptEntry,
    compat::{
        CONVERSATION_TYPE, CONVERSATION_TYPE_IM, E_INVALIDARG, HWND, Person, S_FALSE, S_OK,
        SR_APP_NOT_SPECIFIED, SR_CONTEXT_DATA_OVER_LIMIT, SR_INVITED_SELF, SR_NO_USER_INVITED,
    },
};

use crate::desk::{Front, Office};

const ALICE: &str = "sip:alice@example.com";
const BOB: &str = "sip:bob@example.com";
const CAROL: &str = "sip:carol@example.com";

/// seed: IMessenger.InstantMessage IMessengerConversationWndAdvanced.SendText DMessengerEvents.OnIMWindowCreated
/// seed: IMessengerConversationWnd.History IMessengerWindow.Show DMessengerEvents.OnUnreadEmailChange
/// seed: IMessenger.UnreadEmailCount IMessengerWindow.Left IMessengerWindow.Top IMessengerWindow.Width
/// seed: IMessengerWindow.Height IMessengerWindow.Property MWINDOWPROPERTY.*
/// pain: 4 5 8
#[test]
fn texts_go_both_ways_are_told_and_are_read_as_values_and_as_sound_html() {
    let office = Office::open();
    let (alice, bob) = (office.desk("alice"), office.desk("bob"));
    let front = Arc::new(Front::default());
    alice.messenger.set_shell(front.clone());
    let window = alice.messenger.instant_message(BOB).expect("a conversation");
    alice.heard.wait(&format!("window {}", window.hwnd().0));
    assert_eq!(*front.shown.lock().expect("whole"), [format!("show {}", window.hwnd().0)]);
    assert_eq!(window.send_text("is 1 < 2 & \"true\"?").expect("kept"), S_OK);
    bob.heard.wait(&format!("text {ALICE} is 1 < 2 & \"true\"?"));
    let theirs = bob.heard.windows().first().cloned().expect("a window there");
    theirs.send_text("yes\nit is").expect("kept");
    alice.heard.wait(&format!("text {BOB} yes\nit is"));

    let said: Vec<(bool, String)> = window
        .entries()
        .iter()
        .filter_map(|entry| match entry {
            TranscriptEntry::Incoming(message) => Some((false, message.content.text().to_owned())),
            TranscriptEntry::Outgoing(message) => Some((true, message.content.text().to_owned())),
            _ => None,
        })
        .collect();
    assert_eq!(said, [(true, "is 1 < 2 & \"true\"?".to_owned()), (false, "yes\nit is".to_owned())]);
    let html = window.history().expect("there");
    assert!(html.contains("<b>alice</b> is 1 &lt; 2 &amp; &quot;true&quot;?</li>"), "{html}");
    assert!(html.contains(&format!("<b>{BOB}</b> yes<br/>it is</li>")), "{html}");
    assert_eq!(html.matches("<li").count(), html.matches("</li>").count());
    assert_eq!(window.send_text("").expect_err("nothing to say").hresult(), E_INVALIDARG);
    // The main window shows nothing by itself.
    assert_eq!(alice.messenger.window().show(), S_OK);
    assert_eq!(front.shown.lock().expect("whole").last().map(String::as_str), Some("show main"));
}

/// seed: IMessengerWindow.Close IMessengerWindow.IsClosed DMessengerEvents.OnIMWindowDestroyed IMessengerWindow.HWND
/// seed: IMessenger.Window
/// pain: 6 9
#[test]
fn a_conversation_that_is_closed_is_readable_and_closing_asks_nobody() {
    let office = Office::open();
    let (alice, bob) = (office.desk("alice"), office.desk("bob"));
    let window = alice.messenger.instant_message(BOB).expect("a conversation");
    assert_eq!(window.show().expect("there"), S_FALSE, "nobody shows anything");
    window.send_text("goodbye").expect("kept");
    bob.heard.wait(&format!("text {ALICE} goodbye"));
    assert!(!window.is_closed());
    assert_eq!(window.close().expect("closed"), S_OK);
    alice.heard.wait(&format!("window closed {}", window.hwnd().0));
    assert!(window.is_closed());
    assert_eq!(window.close().expect("closed already"), S_FALSE);
    assert_eq!(window.show().expect("closed"), S_FALSE);
    assert!(window.history().expect("readable").contains("goodbye"));
    assert_eq!(window.contacts().expect("readable").count(), 1);
    assert_eq!(alice.messenger.window_of(window.hwnd()).expect("still there"), window);
    assert!(alice.messenger.window_of(HWND(1)).is_err());
    assert_eq!(alice.messenger.window().close(), S_FALSE, "the program goes on");
}

/// seed: IMessengerAdvanced.StartConversation CONVERSATION_TYPE_IM CONVERSATION_TYPE_LIVEMEETING SR_NO_USER_INVITED
/// seed: SR_INVITED_SELF SR_CONTEXT_DATA_OVER_LIMIT
/// pain: 7 22
#[test]
fn starting_gives_the_handle_and_what_is_handed_over_arrives_as_it_was() {
    let office = Office::open();
    let (alice, bob, carol) = (office.desk("alice"), office.desk("bob"), office.desk("carol"));
    let others = [Person::from(BOB), Person::from(CAROL)];
    let handed: Vec<u8> = (0..=255).cycle().take(Context::MAX).collect();
    let context = Context::new("application/x-order", handed.clone()).expect("within the limit");
    let start = |kind, others: &[Person], context| {
        alice.messenger.start_conversation(kind, others, context, "Order 7", None)
    };
    let handle = start(CONVERSATION_TYPE_IM, &others, Some(context)).expect("started");
    let window = alice.messenger.window_of(handle).expect("the object, at once");
    alice.heard.wait(&format!("window {}", handle.0));
    window.send_text("about order 7").expect("kept");
    for desk in [&bob, &carol] {
        desk.heard.wait(&format!("text {ALICE} about order 7"));
        let account = desk.messenger.modern().primary().expect("an account");
        let windows = desk.heard.windows();
        let id = attache::ConversationId(windows[0].hwnd().0);
        let conversation = account.conversation(id).expect("there");
        assert_eq!(&*conversation.subject, "Order 7");
        let context = conversation.context.as_ref().expect("it arrived");
        assert_eq!((&**context.media_type(), &context.bytes()[..]), ("application/x-order", &handed[..]));
        assert_eq!(windows[0].contacts().expect("there").count(), 2, "the others, without oneself");
    }
    let nobody = start(CONVERSATION_TYPE_IM, &[], None).expect_err("nobody");
    assert_eq!(nobody.hresult(), SR_NO_USER_INVITED);
    let oneself = start(CONVERSATION_TYPE_IM, &[Person::from(ALICE)], None).expect_err("oneself");
    assert_eq!(oneself.hresult(), SR_INVITED_SELF);
    let both = CONVERSATION_TYPE(CONVERSATION_TYPE_IM.0 | attache::compat::CONVERSATION_TYPE_AUDIO.0);
    assert_eq!(start(both, &others, None).expect_err("two kinds").hresult(), E_INVALIDARG);
    let long = Context::new("application/x-order", vec![0; Context::MAX + 1]).expect_err("too long");
    assert_eq!(attache::compat::HRESULT::from(&long), SR_CONTEXT_DATA_OVER_LIMIT);
}

/// seed: IMessengerConversationWnd.AddContact IMessengerConversationWnd.Contacts DMessengerEvents.OnIMWindowContactAdded
/// seed: DMessengerEvents.OnIMWindowContactRemoved
#[test]
fn people_join_a_conversation_and_leave_it() {
    let office = Office::open();
    let (alice, bob, carol) = (office.desk("alice"), office.desk("bob"), office.desk("carol"));
    let window = alice.messenger.instant_message(BOB).expect("a conversation");
    window.send_text("hello").expect("kept");
    bob.heard.wait(&format!("text {ALICE} hello"));
    assert_eq!(window.add_contact(CAROL).expect("asked"), S_OK);
    alice.heard.wait(&format!("joined {} {CAROL}", window.hwnd().0));
    assert_eq!(window.add_contact(CAROL).expect("there already"), S_FALSE);
    assert_eq!(window.contacts().expect("there").count(), 2);
    assert_eq!(window.add_contact(ALICE).expect_err("oneself").hresult(), SR_INVITED_SELF);
    window.send_text("hello both").expect("kept");
    carol.heard.wait(&format!("text {ALICE} hello both"));
    let theirs = carol.heard.windows().last().cloned().expect("a window there");
    theirs.close().expect("left");
    alice.heard.wait(&format!("left {} {CAROL}", window.hwnd().0));
    assert_eq!(window.contacts().expect("there").count(), 1);
}

/// seed: IMessenger.InviteApp SR_APP_NOT_SPECIFIED CONVERSATION_TYPE_LIVEMEETING
#[test]
fn an_invitation_to_a_program_is_a_conversation_with_its_id() {
    let office = Office::open();
    let (alice, bob) = (office.desk("alice"), office.desk("bob"));
    let window = alice.messenger.invite_app(BOB, "{whiteboard}").expect("invited");
    window.send_text("join me").expect("kept");
    bob.heard.wait(&format!("text {ALICE} join me"));
    let account = bob.messenger.modern().primary().expect("an account");
    let id = attache::ConversationId(bob.heard.windows()[0].hwnd().0);
    let conversation = account.conversation(id).expect("there");
    let context = conversation.context.as_ref().expect("it arrived");
    assert_eq!(&**context.media_type(), "application/x-shared-application");
    assert_eq!(&context.bytes()[..], b"{whiteboard}");
    let nothing = alice.messenger.invite_app(BOB, " ").expect_err("no program");
    assert_eq!(nothing.hresult(), SR_APP_NOT_SPECIFIED);
}

/// seed: IMessenger.SendFile IMessenger.ReceiveFileDirectory
#[test]
fn a_file_is_offered_and_lies_where_it_was_taken_to() {
    let office = Office::open();
    let (alice, bob) = (office.desk("alice"), office.desk("bob"));
    let folder = tempfile::tempdir().expect("a folder");
    let source = folder.path().join("plan.txt");
    let words: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
    std::fs::write(&source, &words).expect("written");
    let account = bob.messenger.modern().primary().expect("an account");
    let view = account.view();
    let window = alice.messenger.send_file(BOB, &source).expect("offered");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a thread");
    let offered = runtime.block_on(crate::common::event(view, |kind| match kind {
        attache::EventKind::FileChanged(file) if file.incoming => Some(file.clone()),
        _ => None,
    }));
    assert_eq!((&*offered.name, &*offered.media_type, offered.size), ("plan.txt", "text/plain", 800_000));
    let place = folder.path().join("received.txt");
    runtime.block_on(account.accept_file(offered.id, &place)).expect("it arrives");
    assert_eq!(std::fs::read(&place).expect("in its place"), words);
    assert!(!folder.path().join("received.txt.part").exists());
    assert!(!window.is_closed());

    // Nothing that lies there is replaced, and what is no file is not sent.
    let again = runtime.block_on(account.accept_file(offered.id, &place)).expect_err("something lies there");
    assert_eq!(again.code(), attache::Code::InvalidArgument);
    let missing = alice.messenger.send_file(BOB, &folder.path().join("missing")).expect_err("no file");
    assert_eq!(missing.hresult(), E_INVALIDARG);

    // What is declined is not there.
    let view = account.view();
    alice.messenger.send_file(BOB, &source).expect("offered");
    let other = runtime.block_on(crate::common::event(view, |kind| match kind {
        attache::EventKind::FileChanged(file) if file.incoming && file.id != offered.id => Some(file.id),
        _ => None,
    }));
    let sender = alice.messenger.modern().primary().expect("an account");
    runtime.block_on(async {
        account.decline_file(other).await.expect("declined");
        crate::common::until(&sender, "the sender knows", |it| {
            it.files().iter().any(|file| matches!(file.state, attache::FileState::Ended(_)))
        })
        .await;
    });
}
