//! What other programs are known to send, and what becomes of it. Each test names the program and, where there is one, the
//! report; the bytes are of the kind that it describes.
//!
//! Alice is the one who gets it, Bob the one whom it is about.

mod calls;
mod lean;

use std::{
    io::{Read, Write},
    net::{TcpListener, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use attache::{Address, Availability, Command, Freshness, Strategy, UnknownReason, XcapState};
use attache_tests::{
    desk::{Desk, Login},
    scripted::{Scripted, Subscription},
};

const ALICE: &str = "sip:alice@example.test";
const BOB: &str = "sip:bob@example.test";
const ACTIVE: &str = "Event: presence\r\nSubscription-State: active;expires=600\r\n";
const PIDF: &str = "Content-Type: application/pidf+xml\r\n";

/// Alice, signed in, with Bob on her list and a subscription to him that was accepted.
fn watching() -> Result<(Scripted, Desk, Subscription)> {
    let service = Scripted::start()?;
    let alice = Desk::sign_in(&service.login())?;
    alice.add(BOB)?;
    let subscription = service.accept(BOB)?;
    Ok((service, alice, subscription))
}

fn document(entity: &str, basic: &str, note: &str, contact: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"no\"?>\n\
         <presence xmlns=\"urn:ietf:params:xml:ns:pidf\" entity=\"{entity}\">\n\
         <note>{note}</note>\n\
         <tuple id=\"bob\"><status><basic>{basic}</basic></status>\n\
         <contact priority=\"1\">{contact}</contact></tuple></presence>\n"
    )
}

fn is_live(alice: &Desk, availability: Availability) -> Result<bool> {
    let presence = alice.messenger().presence(&Address::parse(BOB)?).context("Bob is no contact")?;
    Ok(presence.availability == Some(availability) && presence.freshness == Freshness::Live)
}

// ---- Asterisk ----

#[test]
fn a_contact_element_with_the_watchers_own_address_is_no_reason_to_ignore_a_document() -> Result<()> {
    // asterisk/asterisk#1898: <contact> carries the subscriber's URI.
    let (service, alice, bob) = watching()?;
    let body = document(BOB, "open", "Ready", "sip:alice@192.0.2.7:5060");
    let status = service.notify(&bob, &format!("{ACTIVE}{PIDF}"), &body)?;
    assert_eq!(status, 200);
    alice.sees(BOB, Availability::Available)?;
    Ok(())
}

#[test]
fn a_document_that_names_another_entity_is_about_the_one_who_was_subscribed_to() -> Result<()> {
    // InnovateAsterisk/Browser-Phone#370, #98: chan_sip writes the watcher as the entity.
    let (service, alice, bob) = watching()?;
    let body = document(ALICE, "open", "Ready", BOB);
    assert_eq!(service.notify(&bob, &format!("{ACTIVE}{PIDF}"), &body)?, 200);
    alice.sees(BOB, Availability::Available)?;
    Ok(())
}

#[test]
fn a_list_notification_of_eleven_kilobytes_is_taken_whole() -> Result<()> {
    // Asterisk's res_pjsip_pubsub: fifteen members make a NOTIFY of some 11,500 bytes, which no datagram carries; parts
    // have a Content-Length each, and From has the scheme sips (BelledonneCommunications/linphone-sdk#601).
    let service = Scripted::start()?;
    let mut login = service.login();
    login.account = "list = \"sip:rls@example.test\"".to_owned();
    let alice = Desk::sign_in(&login)?;
    let people: Vec<String> = (0..15).map(|number| format!("sip:person{number}@example.test")).collect();
    for person in &people {
        alice.add(person)?;
    }
    let list = service.accept("sip:rls@example.test")?;
    let mut resources = String::new();
    let mut parts = String::new();
    for (number, person) in people.iter().enumerate() {
        resources.push_str(&format!(
            " <resource uri=\"{person}\">\n  <name>person{number}</name>\n  \
             <instance id=\"gdb{number}\" state=\"active\" cid=\"ntt{number}@example.test\" />\n </resource>\n"
        ));
        let body = document(person, "open", &"padding ".repeat(40), person);
        parts.push_str(&format!(
            "--mtgom\r\nContent-ID: <ntt{number}@example.test>\r\nContent-Type: application/pidf+xml\r\n\
             Content-Length:   {}\r\n\r\n{body}\r\n",
            body.len()
        ));
    }
    let rlmi = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<list xmlns=\"urn:ietf:params:xml:ns:rlmi\" \
         uri=\"sip:rls@example.test\" version=\"0\" fullState=\"true\">\n <name>rls</name>\n{resources}</list>\n"
    );
    let body = format!(
        "--mtgom\r\nContent-ID: <lmpbw@example.test>\r\nContent-Type: application/rlmi+xml\r\n\
         Content-Length:   {}\r\n\r\n{rlmi}\r\n{parts}--mtgom--\r\n",
        rlmi.len()
    );
    ensure!(body.len() > 11_000, "only {} bytes", body.len());
    let headers = format!(
        "{ACTIVE}Require: eventlist\r\n\
         Content-Type: multipart/related;type=\"application/rlmi+xml\";boundary=mtgom\r\n"
    );
    let text = list.notify(7, &headers, &body).replace("From: <sip:rls@", "From: <sips:rls@");
    service.send(&text)?;
    assert_eq!(service.answered(7)?, 200);
    for person in &people {
        alice.sees(person, Availability::Available)?;
    }
    alice.until("that all of them are watched through the list", |snapshot| {
        let watching = &snapshot.report.watching;
        watching.iter().any(|used| used.strategy == Strategy::ServerList && used.people == people.len())
    })
}

// ---- FreeSWITCH ----

#[test]
fn notifications_after_the_end_of_a_subscription_get_481_each_time_and_change_nothing() -> Result<()> {
    // signalwire/freeswitch#1110: NOTIFYs go on after a 481. kamailio/kamailio#3074: and after expiry.
    let (service, alice, bob) = watching()?;
    let open = document(BOB, "open", "", BOB);
    assert_eq!(service.notify(&bob, &format!("{ACTIVE}{PIDF}"), &open)?, 200);
    alice.sees(BOB, Availability::Available)?;
    // For good: the engine has no reason to subscribe again by itself.
    let over = "Event: presence\r\nSubscription-State: terminated;reason=rejected\r\n";
    assert_eq!(service.notify(&bob, over, "")?, 200);
    alice.until("that Bob is not seen any more", |_| {
        !is_live(&alice, Availability::Available).unwrap_or(true)
    })?;
    for _ in 0..3 {
        assert_eq!(service.notify(&bob, &format!("{ACTIVE}{PIDF}"), &open)?, 481);
    }
    assert!(!is_live(&alice, Availability::Available)?);
    Ok(())
}

#[test]
fn a_notification_whose_number_went_back_is_refused_and_changes_nothing() -> Result<()> {
    // signalwire/freeswitch#3056: CSeq starts again after a restart or a new year.
    let (service, alice, bob) = watching()?;
    let headers = format!("{ACTIVE}{PIDF}");
    assert_eq!(service.notify_numbered(&bob, 900, &headers, &document(BOB, "open", "", BOB))?, 200);
    alice.sees(BOB, Availability::Available)?;
    assert_eq!(service.notify_numbered(&bob, 17, &headers, &document(BOB, "closed", "", BOB))?, 500);
    assert!(is_live(&alice, Availability::Available)?);
    // Asking anew is what helps: the same dialog, from the number it had.
    assert_eq!(service.notify_numbered(&bob, 901, &headers, &document(BOB, "closed", "", BOB))?, 200);
    alice.sees(BOB, Availability::Offline)?;
    Ok(())
}

#[test]
fn a_notification_with_compact_headers_is_read() -> Result<()> {
    // BelledonneCommunications/linphone-android#260: over IPv6 FreeSWITCH sends `o:` for Event, and all the others so.
    let (service, alice, bob) = watching()?;
    let body = document(BOB, "open", "", BOB);
    let text = bob.notify(
        5,
        "o:presence\r\nSubscription-State:active;expires=300\r\nc:application/pidf+xml\r\n",
        &body,
    );
    let text = text
        .replace("\r\nVia: ", "\r\nv:")
        .replace("\r\nFrom: ", "\r\nf:")
        .replace("\r\nTo: ", "\r\nt:")
        .replace("\r\nCall-ID: ", "\r\ni:")
        .replace("\r\nContact: ", "\r\nm:")
        .replace("\r\nContent-Length: ", "\r\nl:");
    service.send(&text)?;
    assert_eq!(service.answered(5)?, 200);
    alice.sees(BOB, Availability::Available)?;
    Ok(())
}

// ---- Kamailio and OpenSIPS ----

#[test]
fn a_late_first_notification_leaves_presence_pending_and_not_offline() -> Result<()> {
    // Kamailio's notifier_processes: the first NOTIFY may come five seconds after the answer.
    let (service, alice, bob) = watching()?;
    let presence = alice.messenger().presence(&Address::parse(BOB)?).context("no contact")?;
    assert_eq!(presence.freshness, Freshness::Unknown(UnknownReason::Pending));
    assert_eq!(presence.availability, None);
    let body = document(BOB, "open", "", BOB);
    assert_eq!(service.notify(&bob, &format!("{ACTIVE}{PIDF}"), &body)?, 200);
    alice.sees(BOB, Availability::Available)?;
    Ok(())
}

#[test]
fn somebody_is_there_for_as_long_as_the_service_says_so() -> Result<()> {
    // kamailio/kamailio#864: who vanishes is offline only when the publication runs out. That is the service's word, and
    // nothing is made up before it; an empty NOTIFY then is offline.
    let (service, alice, bob) = watching()?;
    let body = document(BOB, "open", "", BOB);
    assert_eq!(service.notify(&bob, &format!("{ACTIVE}{PIDF}"), &body)?, 200);
    alice.sees(BOB, Availability::Available)?;
    assert_eq!(service.notify(&bob, ACTIVE, "")?, 200);
    alice.sees(BOB, Availability::Offline)?;
    Ok(())
}

#[test]
fn of_several_publications_in_one_document_the_newest_person_counts() -> Result<()> {
    // OpenSIPS/opensips#2249: publications that were replaced stay beside the new one, each with names of its own.
    replaced_publications(["t1", "t2"], ["p1", "p2"])
}

#[test]
fn of_several_publications_with_one_name_the_newest_counts() -> Result<()> {
    // kamailio/kamailio#4565: entries with the same entity tag pile up, so that the document has one name several times.
    replaced_publications(["t1", "t1"], ["p1", "p1"])
}

/// One NOTIFY with what is new beside what was replaced, in both orders.
fn replaced_publications(tuples: [&str; 2], persons: [&str; 2]) -> Result<()> {
    let (service, alice, bob) = watching()?;
    let person = |id: &str, activity: &str, at: &str| {
        format!(
            "<dm:person id=\"{id}\"><rpid:activities>{activity}</rpid:activities>\
             <dm:timestamp>{at}</dm:timestamp></dm:person>"
        )
    };
    let tuple = |id: &str, at: &str| {
        format!("<tuple id=\"{id}\"><status><basic>open</basic></status><timestamp>{at}</timestamp></tuple>")
    };
    let old = "2026-01-23T08:00:00Z";
    let new = "2026-01-23T09:00:00Z";
    for order in [false, true] {
        let mut persons = [person(persons[0], "<rpid:busy/>", old), person(persons[1], "<rpid:away/>", new)];
        let mut tuples = [tuple(tuples[0], old), tuple(tuples[1], new)];
        if order {
            persons.reverse();
            tuples.reverse();
        }
        let body = format!(
            "<presence xmlns=\"urn:ietf:params:xml:ns:pidf\" xmlns:dm=\"urn:ietf:params:xml:ns:pidf:data-model\" \
             xmlns:rpid=\"urn:ietf:params:xml:ns:pidf:rpid\" entity=\"{BOB}\">{}{}</presence>",
            tuples.concat(),
            persons.concat()
        );
        assert_eq!(service.notify(&bob, &format!("{ACTIVE}{PIDF}"), &body)?, 200);
        alice.sees(BOB, Availability::Away)?;
        // So that the second round shows something.
        let closed = document(BOB, "closed", "", BOB);
        assert_eq!(service.notify(&bob, &format!("{ACTIVE}{PIDF}"), &closed)?, 200);
        alice.sees(BOB, Availability::Offline)?;
    }
    Ok(())
}

#[test]
fn a_refresh_that_the_service_cannot_place_becomes_a_new_subscription() -> Result<()> {
    // kamailio/kamailio#2739: every refresh fails on some databases. A 481 says that the dialog is gone.
    let (service, alice, bob) = watching()?;
    let body = document(BOB, "open", "", BOB);
    assert_eq!(service.notify(&bob, &format!("{ACTIVE}{PIDF}"), &body)?, 200);
    alice.sees(BOB, Availability::Available)?;
    let id =
        alice.messenger().snapshot().by_address.get(&Address::parse(BOB)?).copied().context("no contact")?;
    alice.wait("the wish", alice.messenger().command(Command::Refresh(id)))??;
    let refresh = service.subscribe(BOB)?;
    ensure!(refresh.request().header("To").is_some_and(|to| to.contains(";tag=")), "no refresh: {refresh:?}");
    service.send(&refresh.request().answer("481 Subscription Does Not Exist", ""))?;
    let again = service.accept(BOB)?;
    ensure!(again.request().header("Call-ID") != bob.request().header("Call-ID"), "the same dialog");
    // Not offline, which is believed only some time after a new beginning: others may not have published yet.
    let busy = body.replace(
        "<tuple id",
        "<person xmlns=\"urn:ietf:params:xml:ns:pidf:data-model\" id=\"p\"><activities \
         xmlns=\"urn:ietf:params:xml:ns:pidf:rpid\"><busy/></activities></person><tuple id",
    );
    assert_eq!(service.notify(&again, &format!("{ACTIVE}{PIDF}"), &busy)?, 200);
    alice.sees(BOB, Availability::Busy)?;
    Ok(())
}

#[test]
fn a_server_that_closes_kept_http_connections_without_a_word_is_asked_again() -> Result<()> {
    // Kamailio's xhttp with set_reply_close(): no `Connection: close`, and the connection is gone after the answer.
    let asked = Arc::new(AtomicUsize::new(0));
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let root = format!("http://{}/xcap-root", listener.local_addr()?);
    let count = asked.clone();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let count = count.clone();
            thread::spawn(move || close_without_a_word(stream, &count));
        }
    });
    let service = Scripted::start()?;
    let mut login: Login = service.login();
    login.account = format!("xcap = \"{root}\"");
    let alice = Desk::sign_in(&login)?;
    alice.until("that the contacts are on the service", |snapshot| {
        matches!(snapshot.report.xcap, XcapState::Synced { .. })
    })?;
    alice.add(BOB)?;
    alice.until("that the edit is there", |_| asked.load(Ordering::SeqCst) > 4)?;
    assert!(!alice.events().contains("connection closed before"), "{}", alice.events());
    Ok(())
}

/// Answers one request, reads the next one, and closes.
fn close_without_a_word(mut stream: std::net::TcpStream, asked: &AtomicUsize) {
    let mut request = [0; 16 * 1024];
    let length = stream.read(&mut request).unwrap_or(0);
    if length == 0 {
        return;
    }
    asked.fetch_add(1, Ordering::SeqCst);
    let get = request.starts_with(b"GET");
    let answer: &[u8] = if get {
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
    } else {
        b"HTTP/1.1 200 OK\r\nETag: \"one\"\r\nContent-Length: 0\r\n\r\n"
    };
    let _ = stream.write_all(answer);
    // The next request is taken and not answered: nobody told the client that there is no more.
    let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
    let _ = stream.read(&mut request);
}

// ---- clients and others ----

#[test]
fn a_notification_without_an_event_is_refused_and_the_subscription_goes_on() -> Result<()> {
    // BelledonneCommunications/linphone-sdk#109: a proxy's NOTIFY has no Event, which RFC 6665 wants.
    let (service, alice, bob) = watching()?;
    let body = document(BOB, "open", "", BOB);
    let status = service.notify(&bob, &format!("Subscription-State: active;expires=600\r\n{PIDF}"), &body)?;
    assert!(status == 200 || (400..500).contains(&status), "{status}");
    assert_ne!(status, 481, "the subscription would end on both sides");
    assert_eq!(service.notify(&bob, &format!("{ACTIVE}{PIDF}"), &body)?, 200);
    alice.sees(BOB, Availability::Available)?;
    Ok(())
}

#[test]
fn a_notification_before_the_answer_makes_the_subscription() -> Result<()> {
    // DoubangoTelecom/boghe#78: the NOTIFY overtakes the 200, and a client refuses it.
    let service = Scripted::start()?;
    let alice = Desk::sign_in(&service.login())?;
    alice.add(BOB)?;
    let bob = service.subscribe(BOB)?;
    let body = document(BOB, "open", "", BOB);
    assert_eq!(service.notify(&bob, &format!("{ACTIVE}{PIDF}"), &body)?, 200);
    alice.sees(BOB, Availability::Available)?;
    service.send(&bob.request().answer("200 OK", &service.accepted()))?;
    let closed = document(BOB, "closed", "", BOB);
    assert_eq!(service.notify(&bob, &format!("{ACTIVE}{PIDF}"), &closed)?, 200);
    alice.sees(BOB, Availability::Offline)?;
    Ok(())
}

#[test]
fn unreadable_capabilities_of_an_xcap_server_do_not_cost_the_contacts() -> Result<()> {
    // jitsi/jitsi#602: something else than xcap-caps is served, and the contact list is given up.
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let root = format!("http://{}/xcap-root", listener.local_addr()?);
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 16 * 1024];
            let length = stream.read(&mut request).unwrap_or(0);
            let line =
                String::from_utf8_lossy(&request[..length]).lines().next().unwrap_or_default().to_owned();
            let answer = if line.contains("xcap-caps") {
                let body = "<?xml version=\"1.0\"?><xcap-caps><users><item><name>p</name></item></users></xcap-caps>";
                format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: application/xcap-caps+xml\r\nConnection: close\r\n\
                     Content-Length: {}\r\n\r\n{body}",
                    body.len()
                )
            } else if line.starts_with("GET") {
                "HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".to_owned()
            } else {
                "HTTP/1.1 201 Created\r\nETag: \"1\"\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
                    .to_owned()
            };
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    let service = Scripted::start()?;
    let mut login = service.login();
    login.account = format!("xcap = \"{root}\"");
    let alice = Desk::sign_in(&login)?;
    alice.until("that the contacts are on the service", |snapshot| {
        matches!(snapshot.report.xcap, XcapState::Synced { .. })
    })?;
    alice.add(BOB)?;
    let bob = service.accept(BOB)?;
    let body = document(BOB, "open", "", BOB);
    assert_eq!(service.notify(&bob, &format!("{ACTIVE}{PIDF}"), &body)?, 200);
    alice.sees(BOB, Availability::Available)?;
    Ok(())
}

#[test]
fn an_empty_supported_header_is_no_mistake() -> Result<()> {
    // Polycom VVX 400, UA/5.8.5 (seen in kamailio/kamailio#2739), sends `Supported:` with nothing behind it.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let config = attache_service::ServiceConfig::parse(
        "[service]\nlisten = \"127.0.0.1:0\"\ndomains = [\"example.test\"]\n\
         [[user]]\nname = \"10004\"\npassword = \"secret\"\n[[user]]\nname = \"1005\"\npassword = \"secret\"\n",
    )?;
    let entered = runtime.enter();
    let service = attache_service::Service::start(&config)?;
    drop(entered);
    let (_, addr) = service.local_addrs().first().copied().context("it listens nowhere")?;
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.set_read_timeout(Some(Duration::from_secs(20)))?;
    let me = socket.local_addr()?;
    let request = format!(
        "SUBSCRIBE sip:1005@example.test;transport=udp SIP/2.0\r\n\
         Via: SIP/2.0/UDP {me};branch=z9hG4bK271d65c640661e;rport\r\nContact: <sip:10004@{me}>\r\n\
         Max-Forwards: 70\r\nRoute: <sip:{addr};lr>\r\nTo: <sip:1005@example.test;transport=udp>\r\n\
         From: <sip:10004@example.test>;tag=602c0c864ab45075\r\nCall-ID: 181910a72dc93418\r\n\
         CSeq: 26762 SUBSCRIBE\r\nUser-Agent: polycomVVX-VVX_400-UA/5.8.5.1256\r\nEvent: presence\r\n\
         Accept: application/pidf+xml\r\nExpires: 600\r\nSupported:\r\nContent-Length: 0\r\n\r\n"
    );
    socket.send_to(request.as_bytes(), addr)?;
    let mut answer = [0; 4096];
    let length = socket.recv(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer[..length]);
    assert!(answer.starts_with("SIP/2.0 401"), "it is read, and asked who it is: {answer}");
    runtime.block_on(service.shutdown());
    Ok(())
}
