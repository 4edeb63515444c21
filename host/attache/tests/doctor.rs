//! What the doctor says of an account that is well, and of each thing that can be in the way.

mod common;

use std::time::Duration;

use attache::{
    AccountConfig, HostConfig, Secret, SessionState, Transport,
    doctor::{Examination, Finding, Level, Topic, examine},
};
use common::{PATIENCE, World, address, signed_in, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

async fn examined(config: &HostConfig, account: &AccountConfig) -> Examination {
    examine(config, account, PATIENCE).await.expect("it begins")
}

fn find<'a>(examination: &'a Examination, topic: Topic, words: &str) -> &'a Finding {
    let found = examination.findings.iter().find(|it| it.topic == topic && it.sentence.contains(words));
    found.unwrap_or_else(|| panic!("`{words}` is not in {:#?}", examination.findings))
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_in_the_way_of_a_healthy_account() {
    let world = World::with("127.0.0.1", 2120, "xcap = \"127.0.0.1:0\"");
    let account = world.account("alice", "wonderland", Transport::Tls).xcap(world.xcap());
    let examination = examined(&world.host_config(), &account).await;
    assert!(!examination.has_problems(), "{:#?}", examination.findings);
    assert_eq!(examination.session, SessionState::SignedIn);
    let certificate = find(&examination, Topic::Certificate, "is good");
    assert!(certificate.sentence.contains("until 2120-01-01"), "{}", certificate.sentence);
    find(&examination, Topic::Lookup, "by its IP address");
    find(&examination, Topic::Transport, "over TLS");
    find(&examination, Topic::Clock, "is the service's");
    find(&examination, Topic::Registration, "is signed in");
    find(&examination, Topic::Service, "takes the methods");
    find(&examination, Topic::Publication, "publishing was not tried");
    find(&examination, Topic::Watching, "people are watched");
    find(&examination, Topic::Watching, "comes back");
    find(&examination, Topic::Contacts, "the same here and on the service");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_takes_no_message_away() {
    let world = World::start();
    let host = world.host().await;
    let bob = signed_in(&host, world.account("bob", "builder", Transport::Udp)).await;
    let alice = world.account("alice", "wonderland", Transport::Udp);
    // Nobody but the doctor is there to take it.
    bob.send(&alice.address, "for Alice alone").await.expect("accepted");
    examined(&world.host_config(), &alice).await;
    let messenger = host.add_account(alice).await.expect("an account");
    let view = messenger.view();
    messenger.sign_in().await.expect("signed in");
    let text = common::event(view, |kind| match kind {
        attache::EventKind::MessageReceived(message) => Some(message.content.text().to_owned()),
        _ => None,
    })
    .await;
    assert!(text.ends_with("for Alice alone"), "{text}");
    host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_named_with_its_key() {
    let world = World::start();
    let account = world.account("alice", "looking-glass", Transport::Udp);
    let examination = examined(&world.host_config(), &account).await;
    let finding = find(&examination, Topic::Registration, "not signed in");
    assert_eq!((finding.level, finding.key), (Level::Problem, Some("account.password")));
    find(&examination, Topic::Transport, "the service answers at");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_no_name_server_knows_is_named() {
    let mut config = HostConfig::default();
    // Nobody answers there.
    config.name_servers = vec!["127.0.0.1:1".parse().expect("an address")];
    let account = AccountConfig::new(address("sip:alice@nowhere.example"), Secret::new("x"));
    let examination = examined(&config, &account).await;
    let finding = find(&examination, Topic::Lookup, "nowhere.example cannot be found");
    assert_eq!((finding.level, finding.key), (Level::Problem, Some("account.service")));
    assert!(finding.advice.contains("add `service"), "{}", finding.advice);
    find(&examination, Topic::Registration, "not signed in");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_certificate_is_shown_with_its_dates() {
    let world = World::with("127.0.0.1", 2021, "");
    let account = world.account("alice", "wonderland", Transport::Tls);
    let examination = examined(&world.host_config(), &account).await;
    let finding = find(&examination, Topic::Certificate, "is refused");
    assert_eq!(finding.level, Level::Problem);
    assert!(finding.sentence.contains("expired on 2021-01-01"), "{}", finding.sentence);
    assert!(finding.advice.contains("clock"), "{}", finding.advice);
    let shown = &examination.certificates[0];
    assert!(shown.certificate.as_ref().is_some_and(|it| it.subject.contains("the service of the tests")));
    assert!(shown.trouble.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_is_not_trusted_is_named_with_the_key_for_roots() {
    let world = World::start();
    let mut config = world.host_config();
    config.tls.roots = attache::Roots::File(world.file("other.pem"));
    let account = world.account("alice", "wonderland", Transport::Wss);
    let examination = examined(&config, &account).await;
    let finding = find(&examination, Topic::Certificate, "is refused");
    assert_eq!((finding.level, finding.key), (Level::Problem, Some("host.tls.roots")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_where_nobody_listens_is_named() {
    let world = World::start();
    let mut account = world.account("alice", "wonderland", Transport::Tcp);
    account.service = Some("sip:127.0.0.1:1;transport=tcp".to_owned());
    let examination = examined(&world.host_config(), &account).await;
    let finding = find(&examination, Topic::Transport, "127.0.0.1:1 over TCP does not work");
    assert_eq!((finding.level, finding.key), (Level::Problem, Some("account.service")));
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_is_named_when_the_time_is_up() {
    let world = World::start();
    // A socket that answers nothing.
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let mut account = world.account("alice", "wonderland", Transport::Udp);
    account.service = Some(format!("sip:{}", silent.local_addr().expect("its address")));
    let examination =
        examine(&world.host_config(), &account, Duration::from_secs(2)).await.expect("it begins");
    let finding = find(&examination, Topic::Transport, "nothing was heard");
    assert_eq!((finding.level, finding.key), (Level::Problem, Some("account.service")));
    find(&examination, Topic::Registration, "has not answered in time");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_xcap_server_that_is_not_there_is_named() {
    let world = World::start();
    let account = world.account("alice", "wonderland", Transport::Udp).xcap("http://127.0.0.1:1/xcap-root");
    let examination = examined(&world.host_config(), &account).await;
    assert_eq!(examination.session, SessionState::SignedIn);
    let finding = find(&examination, Topic::Contacts, "XCAP server");
    assert_eq!((finding.level, finding.key), (Level::Problem, Some("account.xcap")));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_may_come_while_the_account_is_signed_in() {
    let world = World::start();
    let host = world.host().await;
    let account = world.account("alice", "wonderland", Transport::Tcp);
    let alice = signed_in(&host, account.clone()).await;
    alice.publish(attache::Availability::Busy, "in a review").await.expect("published");
    let examination = examined(&world.host_config(), &account).await;
    assert!(!examination.has_problems(), "{:#?}", examination.findings);
    until(&alice, "still signed in", |it| it.snapshot().session == SessionState::SignedIn).await;
    assert_eq!(alice.own_presence().availability, Some(attache::Availability::Busy));
    host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_sees_that_the_doctor_was_there() {
    let world = World::start();
    let host = world.host().await;
    let account = world.account("alice", "wonderland", Transport::Tcp);
    let alice = signed_in(&host, account.clone()).await;
    alice.publish(attache::Availability::DoNotDisturb, "").await.expect("published");
    let bob = signed_in(&host, world.account("bob", "builder", Transport::Tcp)).await;
    let mut watching = bob.watch(&account.address).await.expect("a lease");
    let shows = |watching: &attache::Watching, wanted| {
        let presence = watching.presence();
        presence.freshness == attache::Freshness::Live && presence.availability == Some(wanted)
    };
    let seen = async {
        while !shows(&watching, attache::Availability::DoNotDisturb) {
            watching.changed().await;
        }
    };
    tokio::time::timeout(PATIENCE, seen).await.expect("in time");
    let view = bob.view();
    examined(&world.host_config(), &account).await;
    // The mark comes after whatever the doctor could have caused.
    alice.publish(attache::Availability::Away, "a mark").await.expect("published");
    let between = common::event(view, |kind| match kind {
        attache::EventKind::WatchedPresenceChanged(changes) => {
            changes.iter().find(|it| it.address == account.address).map(|it| it.presence.availability)
        }
        _ => None,
    })
    .await;
    assert_eq!(between, Some(attache::Availability::Away));
    host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_xcap_root_that_leads_nowhere_is_a_problem_with_its_key() {
    let world = World::with("127.0.0.1", 2120, "xcap = \"127.0.0.1:0\"");
    let root = world.xcap().replace("xcap-root", "elsewhere");
    let account = world.account("alice", "wonderland", Transport::Tcp).xcap(root);
    let examination = examined(&world.host_config(), &account).await;
    let finding = find(&examination, Topic::Contacts, "nothing was found below the XCAP root");
    assert_eq!((finding.level, finding.key), (Level::Problem, Some("account.xcap")));
    let of_contacts = examination.findings.iter().filter(|it| it.topic == Topic::Contacts).count();
    assert_eq!(of_contacts, 1, "it is said once: {:#?}", examination.findings);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_waits_for_what_a_slow_xcap_server_says_of_itself() {
    let service = World::start();
    // It knows nothing, and takes its time to say so of what it can do.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a socket");
    let root = format!("http://{}/xcap-root", listener.local_addr().expect("its address"));
    let serving = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = vec![0; 16 * 1024];
                let length = stream.read(&mut request).await.unwrap_or(0);
                if String::from_utf8_lossy(&request[..length]).contains("xcap-caps") {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                let answer = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
                let _ = stream.write_all(answer).await;
            });
        }
    });
    let account = service.account("alice", "wonderland", Transport::Tcp).xcap(root);
    let examination = examined(&service.host_config(), &account).await;
    find(&examination, Topic::Contacts, "nothing was found below the XCAP root");
    assert_eq!(examination.report.xcap_offers.as_deref(), Some(&[][..]));
    serving.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_root_with_contacts_and_without_capabilities_is_noted_only() {
    let service = World::start();
    let contacts = "<resource-lists xmlns=\"urn:ietf:params:xml:ns:resource-lists\"><list name=\"friends\">\
                    <entry uri=\"sip:bob@example.com\"/></list></resource-lists>";
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a socket");
    let root = format!("http://{}/xcap-root", listener.local_addr().expect("its address"));
    let serving = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = vec![0; 16 * 1024];
                let length = stream.read(&mut request).await.unwrap_or(0);
                let line =
                    String::from_utf8_lossy(&request[..length]).lines().next().unwrap_or("").to_owned();
                let answer = if line.starts_with("GET") && line.contains("/resource-lists/") {
                    format!(
                        "HTTP/1.1 200 OK\r\nETag: \"1\"\r\nContent-Type: application/resource-lists+xml\r\n\
                         Content-Length: {}\r\nConnection: close\r\n\r\n{contacts}",
                        contacts.len()
                    )
                } else if line.starts_with("GET") {
                    "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_owned()
                } else {
                    "HTTP/1.1 201 Created\r\nETag: \"2\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                        .to_owned()
                };
                let _ = stream.write_all(answer.as_bytes()).await;
            });
        }
    });
    let account = service.account("alice", "wonderland", Transport::Tcp).xcap(root);
    let examination = examined(&service.host_config(), &account).await;
    let finding = find(&examination, Topic::Contacts, "xcap-caps");
    assert_eq!((finding.level, finding.key), (Level::Note, Some("account.xcap")));
    find(&examination, Topic::Contacts, "one contact is the same here and on the service");
    serving.abort();
}
