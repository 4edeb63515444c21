//! Two people at two desks, on the embedded service, with two plugins: the story that the demo tells.
//!
//! Alice's host loads `auto-reply` and `history` from a configuration file, as an operator would write it; Bob's
//! host has none. Nothing in here is arranged: each step waits for what the other side really receives, and
//! the program fails when it does not come.

mod desk;
mod story;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use desk::Desk;

#[tokio::main]
async fn main() -> Result<()> {
    let mut stay = false;
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--stay" => stay = true,
            "--help" | "-h" => {
                println!(
                    "usage: two-desks [--stay]\n\n--stay  keep both signed in afterwards, and take commands"
                );
                return Ok(());
            }
            other => bail!("`{other}` is no option; --stay is the only one"),
        }
    }
    let plugins = plugins()?;
    let folder = tempfile::Builder::new().prefix("attache-demo-").tempdir()?;
    let service = story::open_service(folder.path()).await?;
    let alice = Desk::open("alice", &story::alice(folder.path(), &plugins, &service)?).await?;
    let bob = Desk::open("bob", &story::bob(folder.path(), &service)?).await?;
    let mut told = story::tell(&alice, &bob).await;
    if told.is_ok() {
        let phone = Desk::open("phone", &story::phone(folder.path(), &service)?).await?;
        told = story::tell_of_the_phone(&phone, &bob).await;
        phone.close().await;
    }
    match (&told, stay) {
        (Ok(()), true) => desk::stay(&alice, &bob).await?,
        (Ok(()), false) => {
            println!("\nAll of it happened. `cargo xtask demo --stay` keeps both desks open for you.");
        }
        (Err(_), _) => {}
    }
    alice.close().await;
    bob.close().await;
    service.shutdown().await;
    told
}

/// The folder with the plugins, as `cargo xtask plugins` builds them.
fn plugins() -> Result<PathBuf> {
    let folder =
        std::env::var_os("ATTACHE_PLUGINS").map_or_else(|| PathBuf::from("target/plugins"), PathBuf::from);
    for name in ["auto-reply.wasm", "history.wasm"] {
        let file = folder.join(name);
        if !file.is_file() {
            bail!("there is no {}: build the plugins first with `cargo xtask plugins`", file.display());
        }
    }
    folder.canonicalize().with_context(|| format!("{} cannot be read", folder.display()))
}
