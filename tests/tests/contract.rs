//! What plugins can ask and are told about people, conversations, calls and the session, on the embedded service: a plugin on
//! Alice's host does what Bob's messages ask for, and answers.

use std::{path::PathBuf, sync::Arc, time::Duration};

use attache::{
    AccountConfig, Address, BoxFuture, Change, Directory, DirectoryEntry, Error, EventKind, Grant, Host,
    HostConfig, Messenger, PluginConfig, Secret, View,
};
use attache_service::{Service, ServiceConfig};

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(60);

fn address(text: &str) -> Address {
    Address::parse(text).expect("an address")
}

fn service() -> Service {
    let text = "[service]\nlisten = \"127.0.0.1:0\"\nxcap = \"127.0.0.1:0\"\ndomains = [\"example.com\"]\n\n\
                [[user]]\nname = \"alice\"\npassword = \"wonderland\"\n\n\
                [[user]]\nname = \"bob\"\npassword = \"builder\"\n\n\
                [[user]]\nname = \"carol\"\npassword = \"christmas\"\n";
    let config = ServiceConfig::parse(text).expect("a valid configuration");
    Service::start(&config).expect("the service starts")
}

struct Firm;

impl Directory for Firm {
    fn search<'a>(
        &'a self,
        query: &'a str,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<DirectoryEntry>, Error>> {
        let mut carol = DirectoryEntry::new(address("sip:carol@example.com"), "Carol");
        carol.emails = vec!["carol@mail.example.com".to_owned()];
        carol.page = Some("https://people.example.com/carol".to_owned());
        let hits: Vec<DirectoryEntry> = [carol]
            .into_iter()
            .filter(|it| {
                let text = format!("{} {} {}", it.name, it.address, it.emails.join(" ")).to_lowercase();
                text.contains(&query.to_lowercase())
            })
            .take(limit)
            .collect();
        Box::pin(core::future::ready(Ok(hits)))
    }
}

/// Alice with the plugin, and Bob who asks.
struct Pair {
    service: Service,
    alice: Messenger,
    bob: Messenger,
    hosts: [Host; 2],
    view: View,
}

impl Pair {
    async fn new(grants: &[Grant]) -> Self {
        let Some(folder) = std::env::var_os("ATTACHE_PLUGINS") else {
            panic!("ATTACHE_PLUGINS names no folder of built guests: run `cargo xtask plugins`");
        };
        let service = service();
        let mut config = HostConfig::default();
        let mut plugin = PluginConfig::new("switchboard", PathBuf::from(folder).join("switchboard.wasm"));
        plugin.grants = grants.iter().copied().collect();
        plugin.limits.messages_per_minute = 10_000;
        plugin.limits.messages_per_peer_per_minute = 10_000;
        config.plugins.push(plugin);
        config.directory = Some(Arc::new(Firm));
        config.locale = Some("is-IS".to_owned());
        let office = Host::start(config).await.expect("it starts");
        office.plugins_loaded().await;
        let mut account = Self::account(&service, "alice", "wonderland");
        account.email = Some("alice@mail.example.com".to_owned());
        account.phones.mobile = Some(address("tel:+3545550123"));
        account.xcap = Some(format!("http://{}/xcap-root", service.xcap_addrs()[0]));
        let alice = office.add_account(account).await.expect("an account");
        alice.sign_in().await.expect("signed in");
        let home = Host::start(HostConfig::default()).await.expect("it starts");
        let bob = home.add_account(Self::account(&service, "bob", "builder")).await.expect("an account");
        bob.sign_in().await.expect("signed in");
        let view = bob.view();
        Self { service, alice, bob, hosts: [office, home], view }
    }

    fn account(service: &Service, user: &str, password: &str) -> AccountConfig {
        let (_, at) = service.local_addrs()[0];
        let mut account =
            AccountConfig::new(address(&format!("sip:{user}@example.com")), Secret::new(password))
                .service(format!("sip:{at}"));
        account.sign_in = false;
        account
    }

    /// The answer to a request, or an event that begins so.
    async fn heard(&mut self, begins: &str) -> String {
        let mut others = Vec::new();
        let found = async {
            loop {
                if let Change::Event(event) = self.view.changes.next().await.expect("the stream goes on")
                    && let EventKind::MessageReceived(message) = event.kind
                {
                    match message.content.text().strip_prefix(begins) {
                        Some(rest) => return rest.trim().to_owned(),
                        None => others.push(message.content.text().to_owned()),
                    }
                }
            }
        };
        let found = tokio::time::timeout(PATIENCE, found).await;
        found.unwrap_or_else(|_| panic!("`{begins}` did not come, but {others:?}"))
    }

    async fn ask(&mut self, request: &str, begins: &str) -> String {
        self.bob.send(self.alice.address(), request).await.expect("kept");
        self.heard(begins).await
    }

    async fn end(self) {
        for host in &self.hosts {
            host.shutdown().await;
        }
        self.service.shutdown().await;
    }
}

/// pain: 11 17 19
#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_finds_people_and_knows_the_services() {
    let mut pair = Pair::new(Grant::ALL).await;
    assert_eq!(pair.ask("own", "own").await, "alice@mail.example.com PhoneKind::Mobile tel:+3545550123");
    assert_eq!(pair.ask("resolve carol", "resolved").await, "sip:carol@example.com FoundIn::Directory");
    let found = pair.ask("email carol@mail.example.com", "resolved").await;
    assert_eq!(found, "sip:carol@example.com FoundIn::Directory");
    assert_eq!(pair.ask("search CAR", "found").await, "Carol");
    assert_eq!(
        pair.ask("resolve nobody", "error").await,
        "nobody goes by this name or mail address (MSGR_E_USER_NOT_FOUND)"
    );
    assert_eq!(pair.ask("mail sip:carol@example.com", "mail").await, "mailto:carol@mail.example.com");
    assert_eq!(pair.ask("phones sip:bob@example.com", "phones").await, "0");
    let services = pair.ask("services", "services").await;
    assert_eq!(services, format!("example.com 38 true version {} is-IS", attache::VERSION));
    let contact = pair.alice.add_contact(pair.bob.address(), "Bob").await.expect("added");
    assert_eq!(pair.ask(&format!("card {}", contact.0), "card").await, "none");
    let told = pair.ask("waiting", "waiting").await;
    let known = pair.alice.snapshot().messages_waiting.as_ref().map(|it| it.classes.len());
    assert_eq!(told, format!("{known:?}"));
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_starts_conversations_and_is_told_who_comes_and_goes() {
    let mut pair = Pair::new(Grant::ALL).await;
    let home = Host::start(HostConfig::default()).await.expect("it starts");
    let carol = Pair::account(&pair.service, "carol", "christmas");
    let carol = home.add_account(carol).await.expect("an account");
    carol.sign_in().await.expect("signed in");
    let mut theirs = carol.view();
    let details = pair.ask("details", "details").await;
    assert_eq!(details, "ConversationKind::Direct sip:bob@example.com ParticipantState::Joined");
    pair.bob
        .send(pair.alice.address(), "invite sip:bob@example.com sip:carol@example.com")
        .await
        .expect("kept");
    let id = pair.heard("began").await;
    let welcomed = async {
        loop {
            if let Change::Event(event) = theirs.changes.next().await.expect("the stream goes on")
                && let EventKind::MessageReceived(message) = event.kind
            {
                return message;
            }
        }
    };
    let message = tokio::time::timeout(PATIENCE, welcomed).await.expect("in time");
    assert_eq!(message.content.text(), "welcome");
    let conversation = carol.conversation(message.conversation).expect("there");
    assert_eq!(&*conversation.subject, "Order 7");
    let context = conversation.context.as_ref().expect("it arrived");
    assert_eq!(
        (&**context.media_type(), &context.bytes()[..]),
        ("application/x-order", &[0, 1, 254, 255][..])
    );
    carol.close_conversation(message.conversation).await.expect("left");
    assert_eq!(pair.heard(&format!("event left {id}")).await, "sip:carol@example.com");
    pair.bob.send(pair.alice.address(), &format!("add {id} sip:carol@example.com")).await.expect("kept");
    assert_eq!(pair.heard(&format!("event joined {id}")).await, "sip:carol@example.com");
    pair.bob.send(pair.alice.address(), &format!("remove {id} sip:carol@example.com")).await.expect("kept");
    assert_eq!(pair.heard(&format!("event left {id}")).await, "sip:carol@example.com");
    pair.bob.send(pair.alice.address(), &format!("close {id}")).await.expect("kept");
    assert_eq!(pair.heard("event closed").await, id);
    home.shutdown().await;
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_hears_who_writes_and_shows_that_it_writes() {
    let mut pair = Pair::new(Grant::ALL).await;
    let mut changes = pair.bob.view().changes;
    assert_eq!(pair.ask("composing", "composing").await, "");
    let shown = async {
        loop {
            if let Change::Event(event) = changes.next().await.expect("the stream goes on")
                && let EventKind::ComposingChanged { who, active: true, .. } = event.kind
            {
                return who;
            }
        }
    };
    let who = tokio::time::timeout(PATIENCE, shown).await.expect("in time");
    assert_eq!(&who, pair.alice.address());
    let alice = pair.alice.address().clone();
    pair.bob.set_composing(alice.clone(), true).await.expect("taken on");
    assert_eq!(pair.heard("event composing").await, "sip:bob@example.com true");
    pair.bob.set_composing(alice, false).await.expect("taken on");
    assert_eq!(pair.heard("event composing").await, "sip:bob@example.com false");
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_sets_rules_and_signs_out() {
    let mut pair = Pair::new(Grant::ALL).await;
    pair.ask("block sip:carol@example.com", "event rules").await;
    let rules = pair.ask("rules", "rules").await;
    assert!(rules.contains("sip:carol@example.com Decision::PoliteBlock"), "{rules}");
    pair.alice
        .set_profile(Some(attache::Profile {
            display_name: "Alice L.".into(),
            ..attache::Profile::default()
        }))
        .await
        .expect("published");
    assert_eq!(pair.heard("event own name").await, "Alice L.");
    let alice = pair.alice.clone();
    let mut changes = alice.view().changes;
    pair.bob.send(pair.alice.address(), "sign-out").await.expect("kept");
    let out = async {
        while alice.snapshot().session != attache::SessionState::SignedOut {
            changes.next().await.expect("the stream goes on");
        }
    };
    tokio::time::timeout(PATIENCE, out).await.expect("in time");
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_granted_of_the_contract_is_denied_with_its_line() {
    let grants = [Grant::MessagesReceive, Grant::MessagesSend, Grant::SessionRead];
    let mut pair = Pair::new(&grants).await;
    for (request, grant) in [
        ("own", "directory.search"),
        ("rules", "watchers.read"),
        ("block *", "watchers.write"),
        ("details", "conversations.read"),
        ("invite sip:bob@example.com sip:carol@example.com", "conversations.write"),
        ("call 42", "calls.control"),
        ("calls", "calls.read"),
        ("sign-out", "session.control"),
    ] {
        let answer = pair.ask(request, "error").await;
        assert!(answer.contains(grant) && answer.contains("ATTACHE_E_DENIED"), "{request}: {answer}");
    }
    pair.end().await;
}
