//! What happens, in order.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use attache::{ArchiveQuery, Availability, EventKind, Origin};
use attache_service::{Service, ServiceConfig};

use crate::desk::Desk;

/// The embedded service with two users, on a free port of this machine.
pub(crate) async fn open_service(folder: &Path) -> Result<Service> {
    let file = folder.join("service.toml");
    fs::write(
        &file,
        "[service]\nlisten = \"127.0.0.1:0\"\nxcap = \"127.0.0.1:0\"\ndomains = [\"example.com\"]\n\n\
         [[user]]\nname = \"alice\"\npassword = \"wonderland\"\n\n\
         [[user]]\nname = \"bob\"\npassword = \"builder\"\n",
    )?;
    let service = Service::start(&ServiceConfig::load(&file)?)?;
    println!("The embedded service listens on {}.", address_of(&service)?);
    Ok(service)
}

/// Where the service keeps contact lists.
fn xcap_of(service: &Service) -> Result<String> {
    let address = service.xcap_addrs().first().context("the service serves no documents")?;
    Ok(format!("http://{address}/xcap-root"))
}

fn address_of(service: &Service) -> Result<std::net::SocketAddr> {
    let (_, address) = service.local_addrs().first().copied().context("the service listens nowhere")?;
    Ok(address)
}

/// Alice's configuration file: an account and two plugins.
pub(crate) fn alice(folder: &Path, plugins: &Path, service: &Service) -> Result<PathBuf> {
    let file = folder.join("alice.toml");
    let text = format!(
        r#"[host]
data-dir = "alice"

[[account]]
address = "sip:alice@example.com"
display-name = "Alice"
password = "wonderland"
service = "sip:{service}"
xcap = "{xcap}"

[[plugin]]
name = "auto-reply"
component = '{plugins}/auto-reply.wasm'
grants = ["contacts.read", "presence.read", "messages.receive", "messages.send", "session.read", "storage"]
config.text = "I am not at my desk."
config.texts.away = "I am away: {{note}}. You will hear from me."

[[plugin]]
name = "history"
component = '{plugins}/history.wasm'
grants = ["messages.receive", "archive.write", "session.read", "storage"]
config.retention = "365d"
"#,
        service = address_of(service)?,
        xcap = xcap_of(service)?,
        plugins = plugins.display(),
    );
    fs::write(&file, text)?;
    println!("Alice's host runs the plugins auto-reply and history, as {} says.", file.display());
    Ok(file)
}

/// The configuration file of Alice's phone: the same account, and nothing else.
pub(crate) fn phone(folder: &Path, service: &Service) -> Result<PathBuf> {
    let file = folder.join("phone.toml");
    let text = format!(
        "[[account]]\naddress = \"sip:alice@example.com\"\ndisplay-name = \"Alice\"\npassword = \"wonderland\"\n\
         service = \"sip:{};transport=tcp\"\nxcap = \"{}\"\n",
        address_of(service)?,
        xcap_of(service)?
    );
    fs::write(&file, text)?;
    Ok(file)
}

/// Bob's configuration file: an account.
pub(crate) fn bob(folder: &Path, service: &Service) -> Result<PathBuf> {
    let file = folder.join("bob.toml");
    let text = format!(
        "[host]\ndata-dir = \"bob\"\n\n[[account]]\naddress = \"sip:bob@example.com\"\n\
         display-name = \"Bob\"\npassword = \"builder\"\nservice = \"sip:{};transport=tcp\"\n",
        address_of(service)?
    );
    fs::write(&file, text)?;
    Ok(file)
}

/// Tells the story; fails where it does not go on.
pub(crate) async fn tell(alice: &Desk, bob: &Desk) -> Result<()> {
    println!("\nBoth sign in, Alice over UDP and Bob over TCP, and put each other on their lists.");
    tokio::try_join!(alice.messenger.sign_in(), bob.messenger.sign_in())?;
    alice.messenger.publish(Availability::Available, "").await?;
    bob.messenger.publish(Availability::Available, "").await?;
    alice.messenger.add_contact(bob.address(), "Bob").await?;
    bob.messenger.add_contact(alice.address(), "Alice").await?;
    alice.sees_presence(bob.address(), Availability::Available, "").await?;
    bob.sees_presence(alice.address(), Availability::Available, "").await?;

    println!("\nAlice leaves for lunch, and Bob sees it.");
    alice.messenger.publish(Availability::Away, "at lunch until one").await?;
    bob.sees_presence(alice.address(), Availability::Away, "at lunch until one").await?;

    println!("\nBob writes to her all the same. Her plugin answers.");
    bob.messenger.deliver(alice.address(), "Did the Reykjavik contract arrive?").await?;
    alice
        .sees(
            "Bob's message",
            |kind| matches!(kind, EventKind::MessageReceived(message) if message.sender == *bob.address()),
        )
        .await?;
    bob.sees("the automatic reply", |kind| {
        matches!(kind, EventKind::MessageReceived(message)
            if message.origin == Origin::Automatic && message.content.text().contains("at lunch until one"))
    })
    .await?;

    println!("\nBack at her desk, Alice searches what her other plugin has archived: `reykjavik`.");
    alice.messenger.publish(Availability::Available, "").await?;
    bob.sees_presence(alice.address(), Availability::Available, "").await?;
    let found = archived(alice, "reykjavik").await?;
    println!("  found: {found}");
    let reply = archived(alice, "hear from me").await?;
    println!("  and the reply: {reply}");
    Ok(())
}

/// A second device of Alice's finds what the first one has put on the service.
pub(crate) async fn tell_of_the_phone(phone: &Desk, bob: &Desk) -> Result<()> {
    println!(
        "\nAlice turns her phone on. It knows nothing but her password, and finds her contacts on the service."
    );
    phone.messenger.sign_in().await?;
    phone
        .sees(
            "Bob on the list",
            |kind| matches!(kind, EventKind::ContactAdded(contact) if contact.address == *bob.address()),
        )
        .await?;
    phone.sees_presence(bob.address(), Availability::Available, "").await
}

/// The one archived message with these words. The plugin works behind the event, so it may take a moment.
async fn archived(desk: &Desk, words: &str) -> Result<String> {
    for _ in 0..100 {
        let query = ArchiveQuery { text: Some(words.to_owned()), limit: 10, ..ArchiveQuery::default() };
        let found = desk.messenger.history(query).await?;
        match found.as_slice() {
            [] => tokio::time::sleep(Duration::from_millis(100)).await,
            [only] => return Ok(format!("{} {}: {}", only.at, only.peer, only.content.text())),
            many => bail!("the message is {} times in the archive", many.len()),
        }
    }
    bail!("no message with `{words}` came into the archive")
}
