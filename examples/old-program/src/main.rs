//! Runs the program until it is ended, with the accounts of a configuration file.
//!
//! ```text
//! cargo run -p example-old-program -- attache.toml transcripts
//! ```

use std::path::Path;

use attache::{HostConfig, compat::Messenger};
use example_old_program::{Did, begin};

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(config), Some(folder)) = (arguments.next(), arguments.next()) else {
        anyhow::bail!("usage: old-program CONFIG FOLDER");
    };
    let mut config = HostConfig::from_file(Path::new(&config))?;
    for account in &mut config.accounts {
        // The program signs in by itself, once it is there to be told.
        account.sign_in = false;
    }
    let messenger = Messenger::start(config)?;
    for did in begin(&messenger, Path::new(&folder))? {
        match did {
            Did::SignedIn(hr) if hr.is_ok() => println!("signed in"),
            Did::SignedIn(hr) => println!("not signed in: {hr}: {}", hr.meaning()),
            Did::Saw(name, status) => println!("{name} {status}"),
            Did::Answered(name) => println!("answered {name}"),
            Did::Saved(path) => println!("saved {}", path.display()),
        }
    }
    Ok(())
}
