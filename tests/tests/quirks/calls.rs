//! What notifiers write about calls (RFC 4235), and who is on the phone by it.

use anyhow::{Context, Result};
use attache::{Address, Availability, Snapshot};
use attache_tests::{
    desk::Desk,
    scripted::{Scripted, Subscription},
};

use super::{ACTIVE, BOB, PIDF, document};

/// Alice sees that Bob is there, and has subscribed to his calls.
struct Watching {
    service: Scripted,
    alice: Desk,
    calls: Subscription,
}

impl Watching {
    fn start() -> Result<Self> {
        let service = Scripted::offering(&["presence", "dialog"])?;
        let mut login = service.login();
        login.account = "calls = true".to_owned();
        let alice = Desk::sign_in(&login)?;
        alice.add(BOB)?;
        let bob = service.accept(BOB)?;
        service.notify(&bob, &format!("{ACTIVE}{PIDF}"), &document(BOB, "open", "", BOB))?;
        alice.sees(BOB, Availability::Available)?;
        let calls = service.accept_to("dialog", BOB)?;
        let watching = Self { service, alice, calls };
        watching.tell(0, "")?;
        // Once there are calls to go with it, a document of presence is kept, and need not be asked for again.
        watching.service.notify(&bob, &format!("{ACTIVE}{PIDF}"), &document(BOB, "open", "", BOB))?;
        Ok(watching)
    }

    /// Tells of calls: the whole state, with these dialogs.
    fn tell(&self, version: u32, dialogs: &str) -> Result<()> {
        let body = format!(
            "<?xml version=\"1.0\"?>\n<dialog-info xmlns=\"urn:ietf:params:xml:ns:dialog-info\" version=\"{version}\" \
             state=\"full\" entity=\"{BOB}\">{dialogs}</dialog-info>"
        );
        let headers = "Event: dialog\r\nSubscription-State: active;expires=600\r\n\
                       Content-Type: application/dialog-info+xml\r\n";
        let status = self.service.notify(&self.calls, headers, &body)?;
        anyhow::ensure!(status == 200, "{status}");
        Ok(())
    }

    fn until_on_the_phone(&self, wanted: bool) -> Result<()> {
        let bob = Address::parse(BOB)?;
        let talks = |_: &Snapshot| {
            let seen = self.alice.messenger().presence(&bob);
            seen.is_some_and(|seen| seen.activities.iter().any(|word| **word == *"on-the-phone")) == wanted
        };
        self.alice.until(if wanted { "that Bob is on the phone" } else { "that Bob is off the phone" }, talks)
    }
}

fn dialog(id: &str, state: &str) -> String {
    format!(
        "<dialog id=\"{id}\" call-id=\"{id}@192.0.2.9\" direction=\"recipient\"><state>{state}</state></dialog>"
    )
}

#[test]
fn a_document_without_dialogs_ends_all_calls() -> Result<()> {
    // OpenSIPS/opensips#3362, #1193: a whole document with nothing in it, which some phones wait in vain to be filled.
    let watching = Watching::start()?;
    watching.tell(0, &dialog("a", "confirmed"))?;
    watching.until_on_the_phone(true)?;
    watching.tell(0, "")?;
    watching.until_on_the_phone(false)
}

#[test]
fn a_dialog_without_a_state_is_no_call() -> Result<()> {
    // BelledonneCommunications/linphone-desktop#1006: a switchboard's dialog for a phone that is idle or gone.
    let watching = Watching::start()?;
    watching.tell(0, &dialog("a", "confirmed"))?;
    watching.until_on_the_phone(true)?;
    watching.tell(1, "<dialog id=\"a\"/>")?;
    watching.until_on_the_phone(false)
}

#[test]
fn an_old_record_of_a_call_beside_its_end_does_not_prolong_it() -> Result<()> {
    // OpenSIPS/opensips#3801, #3802, kamailio/kamailio#3192: what was published of a call before it ended stays.
    let watching = Watching::start()?;
    for (version, order) in [(0, false), (2, true)] {
        watching.tell(version, &dialog("a", "confirmed"))?;
        watching.until_on_the_phone(true)?;
        let mut records = [dialog("a", "confirmed"), dialog("a", "terminated")];
        if order {
            records.reverse();
        }
        watching.tell(version + 1, &records.concat())?;
        watching.until_on_the_phone(false)?;
    }
    Ok(())
}

#[test]
fn a_call_may_ring_again_after_its_end_was_told() -> Result<()> {
    // kamailio/kamailio#3192: `early` is told after `terminated`, and stays until it runs out. Nobody talks for that.
    let watching = Watching::start()?;
    watching.tell(0, &dialog("a", "confirmed"))?;
    watching.until_on_the_phone(true)?;
    watching.tell(1, &dialog("a", "terminated"))?;
    watching.tell(2, &dialog("a", "early"))?;
    watching.until_on_the_phone(false)
}

#[test]
fn calls_that_share_one_name_are_told_apart_by_their_order() -> Result<()> {
    // mikopbx/Core#1059: Asterisk names every dialog of an extension after the extension.
    let watching = Watching::start()?;
    for version in [0, 2] {
        watching.tell(version, "<dialog id=\"103\"><state>confirmed</state></dialog>")?;
        watching.until_on_the_phone(true)?;
        watching.tell(version + 1, "<dialog id=\"103\"><state>terminated</state></dialog>")?;
        watching.until_on_the_phone(false)?;
    }
    Ok(())
}

#[test]
fn of_two_notifications_in_a_row_the_last_one_counts() -> Result<()> {
    // OpenSIPS/opensips#2854: at the end of a publication the state of before is told once more, and then the right one.
    let watching = Watching::start()?;
    watching.tell(0, &dialog("a", "confirmed"))?;
    watching.until_on_the_phone(true)?;
    watching.tell(1, &dialog("a", "confirmed"))?;
    watching.tell(1, "")?;
    watching.until_on_the_phone(false).context("the number did not even grow")
}
