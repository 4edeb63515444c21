//! Documents that say less than they could, or say it in the words of a draft: phones and softphones.

use anyhow::{Context, Result, ensure};
use attache::{Address, Availability, Freshness};
use attache_tests::{bare::Bare, desk::Login};

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
    let login = Login {
        user: "alice".to_owned(),
        password: "wonderland".to_owned(),
        domain: "example.test".to_owned(),
        ..Login::default()
    };
    let mut phone = Bare::new(&login, addr)?;
    let mut ask = |accept: &str| {
        let headers = format!(
            "User-Agent: PolycomSoundPointIP-SPIP_601-UA/3.0.2\r\nEvent: presence\r\nAccept: {accept}\r\nExpires: 600\r\n"
        );
        phone.ask("SUBSCRIBE", BOB, &headers, "")
    };
    let refusal = ask("application/xpidf+xml")?;
    ensure!(refusal.starts_with("SIP/2.0 406"), "{refusal}");
    ensure!(refusal.contains("Accept: application/pidf+xml"), "{refusal}");
    // One that reads both, as newer ones say they do, gets the standard's.
    let taken = ask("application/xpidf+xml, text/xml+msrtc.pidf, application/pidf+xml")?;
    ensure!(taken.starts_with("SIP/2.0 200"), "{taken}");
    runtime.block_on(service.shutdown());
    Ok(())
}
