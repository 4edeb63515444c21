//! The program at work, on the embedded service.

use std::{sync::mpsc::Receiver, time::Duration};

use attache::{
    AccountConfig, Address, Host, HostConfig, Secret,
    compat::{MISTATUS_AWAY, Messenger, S_OK},
};
use attache_service::{Service, ServiceConfig};
use example_old_program::{ANSWER, Did, begin};

const SERVICE: &str = "[service]\nlisten = \"127.0.0.1:0\"\ndomains = [\"example.com\"]\n\n\
    [[user]]\nname = \"alice\"\npassword = \"wonderland\"\n\n[[user]]\nname = \"bob\"\npassword = \"builder\"\n";

fn account(service: &Service, user: &str, password: &str) -> AccountConfig {
    let (_, at) = service.local_addrs()[0];
    let address = Address::parse(&format!("sip:{user}@example.com")).expect("an address");
    let mut account = AccountConfig::new(address, Secret::new(password)).service(format!("sip:{at}"));
    account.sign_in = false;
    account
}

/// Waits for something that the program does.
fn until<T>(seen: &Receiver<Did>, wanted: impl Fn(&Did) -> Option<T>) -> T {
    loop {
        let did = seen.recv_timeout(Duration::from_secs(60)).expect("it does what is wanted");
        if let Some(found) = wanted(&did) {
            return found;
        }
    }
}

/// pain: 4 6 24
#[test]
fn it_watches_answers_and_saves_what_was_said() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads");
    let config = ServiceConfig::parse(SERVICE).expect("a valid configuration");
    let service = runtime.block_on(async { Service::start(&config).expect("it starts") });
    let folder = tempfile::tempdir().expect("a folder");

    let mut config = HostConfig::default();
    config.accounts.push(account(&service, "alice", "wonderland"));
    let messenger = Messenger::start(config).expect("it starts");
    messenger.add_contact_silently("sip:bob@example.com", "").expect("taken on");
    let seen = begin(&messenger, folder.path()).expect("it begins");
    until(&seen, |did| (*did == Did::SignedIn(S_OK)).then_some(()));

    let (home, bob) = runtime.block_on(async {
        let home = Host::start(HostConfig::default()).await.expect("it starts");
        let bob = home.add_account(account(&service, "bob", "builder")).await.expect("an account");
        bob.sign_in().await.expect("signed in");
        (home, bob)
    });
    until(&seen, |did| matches!(did, Did::Saw(name, "is there") if name.starts_with("bob")).then_some(()));

    messenger.put_my_status(MISTATUS_AWAY).expect("published");
    let alice = Address::parse("sip:alice@example.com").expect("an address");
    runtime.block_on(bob.deliver(&alice, "are you <there>?")).expect("delivered");
    let to = until(&seen, |did| if let Did::Answered(name) = did { Some(name.clone()) } else { None });
    assert_eq!(to, "sip:bob@example.com");

    let account = messenger.modern().primary().expect("an account");
    let conversation = account.conversations().first().map(|it| it.id).expect("a conversation");
    runtime.block_on(account.close_conversation(conversation)).expect("closed");
    let path = until(&seen, |did| if let Did::Saved(path) = did { Some(path.clone()) } else { None });
    let saved = std::fs::read_to_string(path).expect("a file");
    assert!(saved.contains("are you &lt;there&gt;?") && saved.contains(ANSWER), "{saved}");

    messenger.shutdown();
    runtime.block_on(async {
        home.shutdown().await;
        service.shutdown().await;
    });
}
