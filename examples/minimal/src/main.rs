//! The smallest application that embeds the host: signs in, says so, and prints what happens.
//!
//! ```text
//! cargo run -p example-minimal -- sip:alice@example.com PASSWORD 'sip:127.0.0.1:5060'
//! ```

use attache::{AccountConfig, Address, Availability, Change, Host, HostConfig, Secret};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(address), Some(password)) = (arguments.next(), arguments.next()) else {
        anyhow::bail!("usage: minimal ADDRESS PASSWORD [SERVICE]");
    };
    let mut account = AccountConfig::new(Address::parse(&address)?, Secret::new(password));
    if let Some(service) = arguments.next() {
        account = account.service(service);
    }

    let host = Host::start(HostConfig::default()).await?;
    let messenger = host.add_account(account).await?;
    messenger.publish(Availability::Available, "trying Attaché").await?;

    let mut view = messenger.view();
    while let Some(change) = view.changes.next().await {
        if let Change::Event(event) = change {
            println!("{} {:?}", event.at, event.kind);
        }
    }
    Ok(())
}
