//! Documents that say less than they could, or say it in the words of a draft: phones and softphones.

use std::{net::UdpSocket, time::Duration};

use anyhow::{Context, Result, ensure};
use attache::{Address, Availability, Freshness};
use attache_sip::digest::{Challenge, DigestClient, Policy, Secret};

use super::{ACTIVE, BOB, PIDF, document, watching};

#[test]
fn the_leanest_document_is_enough() -> Result<()> {
    // No public report shows the bytes of Zoiper: this is the least that a softphone can publish (RFC 3863).
    let (service, alice, bob) = watching()?;
    let lean = |basic: &str| {
        format!(
            "<presence xmlns=\"urn:ietf:params:xml:ns:pidf\" entity=\"{BOB}\"><tuple id=\"0\"><status>\
             <basic>{basic}</basic></status></tuple></presence>"
        )
    };
    assert_eq!(service.notify(&bob, &format!("{ACTIVE}{PIDF}"), &lean("open"))?, 200);
    assert_eq!(alice.sees(BOB, Availability::Available)?, "");
    assert_eq!(service.notify(&bob, &format!("{ACTIVE}{PIDF}"), &lean("closed"))?, 200);
    alice.sees(BOB, Availability::Offline)?;
    Ok(())
}

#[test]
fn a_note_in_a_tuple_alone_is_shown() -> Result<()> {
    // pjsip/pjproject#2639: softphones write what a person says of themselves into the tuple, and nothing else of RPID.
    let (service, alice, bob) = watching()?;
    let body = format!(
        "<presence xmlns=\"urn:ietf:params:xml:ns:pidf\" entity=\"{BOB}\"><tuple id=\"0\"><status>\
         <basic>open</basic></status><note>Lunch</note></tuple></presence>"
    );
    assert_eq!(service.notify(&bob, &format!("{ACTIVE}{PIDF}"), &body)?, 200);
    assert_eq!(alice.sees(BOB, Availability::Available)?, "Lunch");
    Ok(())
}

#[test]
fn the_namespaces_of_a_draft_are_understood() -> Result<()> {
    // gmaruzz/saraphone#30: a presence server still writes the namespaces of drafts, and declares ISO-8859-1.
    let (service, alice, bob) = watching()?;
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?><presence xmlns=\"urn:ietf:params:xml:ns:pidf\" \
         xmlns:pp=\"urn:ietf:params:xml:ns:pidf:person\" xmlns:es=\"urn:ietf:params:xml:ns:pidf:rpid:status:rpid-status\" \
         xmlns:ep=\"urn:ietf:params:xml:ns:pidf:rpid:rpid-person\" entity=\"{BOB}\"><pp:person><status>\
         <ep:activities><ep:busy/></ep:activities></status></pp:person><note>On the phone</note><tuple id=\"bob\">\
         <contact priority=\"1\">{BOB}</contact><status><basic>open</basic></status></tuple></presence>"
    );
    assert_eq!(service.notify(&bob, &format!("{ACTIVE}{PIDF}"), &body)?, 200);
    assert_eq!(alice.sees(BOB, Availability::Busy)?, "On the phone");
    Ok(())
}

/// Presence in the format of the draft that Windows Messenger spoke, and with it Polycom's phones: their administrators'
/// guides name Windows Messenger 5.1, and [MS-SIP], section 7, has the format.
fn xpidf(status: &str, substatus: &str) -> String {
    format!(
        "<?xml version=\"1.0\"?>\n<!DOCTYPE presence PUBLIC \"-//IETF//DTD RFCxxxx XPIDF 1.0//EN\" \"xpidf.dtd\">\n\
         <presence>\n<presentity uri=\"{BOB};method=SUBSCRIBE\" />\n<atom id=\"1003\">\n\
         <address uri=\"{BOB};user=ip\" priority=\"0.800000\">\n<status status=\"{status}\" />\n\
         <msnsubstatus substatus=\"{substatus}\" />\n</address>\n</atom>\n</presence>\n"
    )
}

#[test]
fn a_phone_that_answers_in_the_format_of_a_draft_is_told_so_and_nobody_becomes_offline() -> Result<()> {
    let (service, alice, bob) = watching()?;
    let headers = format!("{ACTIVE}Content-Type: application/xpidf+xml\r\n");
    let status = service.notify(&bob, &headers, &xpidf("inactive", "away"))?;
    assert!(matches!(status, 200 | 415), "{status}: the subscription must go on");
    let presence = alice.messenger().presence(&Address::parse(BOB)?).context("no contact")?;
    assert_eq!(presence.availability, None, "nothing is read into it");
    assert!(matches!(presence.freshness, Freshness::Unknown(_)), "{presence:?}");
    // What comes in the right format afterwards counts, in the same subscription.
    let open = document(BOB, "open", "", BOB);
    assert_eq!(service.notify(&bob, &format!("{ACTIVE}{PIDF}"), &open)?, 200);
    alice.sees(BOB, Availability::Available)?;
    Ok(())
}

#[test]
fn a_phone_that_wants_the_format_of_a_draft_alone_is_told_what_there_is() -> Result<()> {
    // Polycom's phones subscribe to buddies as Windows Messenger does ([MS-SIP], section 4.11).
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let config = attache_service::ServiceConfig::parse(
        "[service]\nlisten = \"127.0.0.1:0\"\ndomains = [\"example.test\"]\nrealm = \"example.test\"\n\
         [[user]]\nname = \"alice\"\npassword = \"wonderland\"\n[[user]]\nname = \"bob\"\npassword = \"builder\"\n",
    )?;
    let entered = runtime.enter();
    let service = attache_service::Service::start(&config)?;
    drop(entered);
    let (_, addr) = service.local_addrs().first().copied().context("it listens nowhere")?;
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.set_read_timeout(Some(Duration::from_secs(20)))?;
    let me = socket.local_addr()?;
    let ask = |number: u32, credentials: &str, accept: &str| -> Result<String> {
        let request = format!(
            "SUBSCRIBE sip:bob@example.test SIP/2.0\r\nVia: SIP/2.0/UDP {me};branch=z9hG4bK{number}x\r\n\
             Max-Forwards: 70\r\nFrom: <sip:alice@example.test>;tag=12e78ca4\r\nTo: <sip:bob@example.test>\r\n\
             Call-ID: 21824beb\r\nCSeq: {number} SUBSCRIBE\r\nContact: <sip:{me}>\r\n\
             User-Agent: PolycomSoundPointIP-SPIP_601-UA/3.0.2\r\nEvent: presence\r\nAccept: {accept}\r\n\
             {credentials}Content-Length: 0\r\n\r\n"
        );
        socket.send_to(request.as_bytes(), addr)?;
        let mut answer = [0; 4096];
        loop {
            let length = socket.recv(&mut answer)?;
            let text = String::from_utf8_lossy(&answer[..length]).into_owned();
            if text.contains(&format!("CSeq: {number} SUBSCRIBE")) && !text.starts_with("SIP/2.0 1") {
                return Ok(text);
            }
        }
    };
    let challenge = ask(1, "", "application/xpidf+xml")?;
    ensure!(challenge.starts_with("SIP/2.0 401"), "{challenge}");
    let challenges: Vec<Challenge> = challenge
        .lines()
        .filter_map(|line| line.strip_prefix("WWW-Authenticate: "))
        .flat_map(|row| Challenge::parse_row(row.as_bytes(), false))
        .collect();
    let mut digest = DigestClient::new("alice", Secret::new("wonderland"), Policy::default());
    digest.learn(&challenges, false)?;
    let mut credentials = || -> String {
        let answers = digest.authorize("SUBSCRIBE", "sip:bob@example.test", b"", 7);
        answers.iter().map(|(_, value)| format!("Authorization: {value}\r\n")).collect()
    };
    let refusal = ask(2, &credentials(), "application/xpidf+xml")?;
    ensure!(refusal.starts_with("SIP/2.0 406"), "{refusal}");
    ensure!(refusal.contains("Accept: application/pidf+xml"), "{refusal}");
    // One that reads both, as newer ones say they do, gets the standard's.
    let taken = ask(3, &credentials(), "application/xpidf+xml, text/xml+msrtc.pidf, application/pidf+xml")?;
    ensure!(taken.starts_with("SIP/2.0 200"), "{taken}");
    runtime.block_on(service.shutdown());
    Ok(())
}
