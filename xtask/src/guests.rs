//! Plugins and test guests: from source to components that the host loads.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use attache_componentise::{Cache, Guest, GuestBuild, Strategy, WasmStd};

use crate::process::Shell;
use crate::steps::seconds;

/// Workspaces of guests. The second is optional for whoever only takes the plugins.
const WORKSPACES: [&str; 2] = ["plugins/Cargo.toml", "tests/guests/Cargo.toml"];

/// Where components go, and where the demo and the tests look for them.
pub(crate) fn default_folder(root: &Path) -> PathBuf {
    root.join("target/plugins")
}

/// The manifests of guests that this checkout has.
pub(crate) fn manifests(root: &Path) -> impl Iterator<Item = PathBuf> {
    WORKSPACES.map(|path| root.join(path)).into_iter().filter(|path| path.is_file())
}

/// Finds or fetches the standard library.
pub(crate) fn set_up() -> Result<WasmStd> {
    let begun = Instant::now();
    let std = WasmStd::prepare(Strategy::from_environment()?, &Cache::of_user()?, &mut Shell)?;
    eprintln!("{} ({})", std.describe(), seconds(begun.elapsed()));
    Ok(std)
}

/// Builds every guest of the checkout into the folder; returns the folder, absolute.
pub(crate) fn build(root: &Path, folder: &Path) -> Result<PathBuf> {
    let manifests: Vec<_> = manifests(root).collect();
    build_all(root, folder, &manifests, true)
}

/// Builds the plugin of a crate or workspace anywhere: a folder, or its manifest.
pub(crate) fn build_one(root: &Path, folder: &Path, plugin: &Path) -> Result<PathBuf> {
    let manifest = if plugin.is_dir() { plugin.join("Cargo.toml") } else { plugin.to_owned() };
    if !manifest.is_file() {
        bail!("there is no {}: name the folder of a plugin's crate", manifest.display());
    }
    // A lock file is for its author to keep: one that is new, or out of date, is written.
    build_all(root, folder, &[manifest], false)
}

fn build_all(root: &Path, folder: &Path, manifests: &[PathBuf], locked: bool) -> Result<PathBuf> {
    let std = set_up()?;
    let cache = Cache::of_user()?;
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    if !cache.guest_target().join(attache_componentise::TARGET).exists() {
        eprintln!(
            "plugins: the first build also compiles what plugins are built with (one to two minutes, once)"
        );
    }
    let mut built = Vec::new();
    for manifest in manifests {
        let begun = Instant::now();
        let guests = GuestBuild::new(manifest, &cache).locked(locked).run(&std, &mut Shell)?;
        for guest in &guests {
            if built.contains(&guest.name) {
                bail!("two guests are named `{}`; one would replace the other", guest.name);
            }
            let size = write(guest, folder)?;
            eprintln!("plugins: {:<28} {:>6.1} kB", format!("{}.wasm", guest.name), size as f64 / 1000.0);
            built.push(guest.name.clone());
        }
        let shown = manifest.strip_prefix(root).unwrap_or(manifest).display();
        eprintln!("plugins: {} of {shown} in {}", guests.len(), seconds(begun.elapsed()));
    }
    let folder = folder.canonicalize().with_context(|| format!("cannot read {}", folder.display()))?;
    eprintln!("plugins: all are in {}", folder.display());
    Ok(folder)
}

/// Writes the component; never half of it, because a running host may be watching the folder.
fn write(guest: &Guest, folder: &Path) -> Result<usize> {
    let component = guest.component().with_context(|| format!("guest `{}`", guest.name))?;
    let path = folder.join(format!("{}.wasm", guest.name));
    if fs::read(&path).is_ok_and(|present| present == component) {
        return Ok(component.len());
    }
    let partial = folder.join(format!(".{}.partial", guest.name));
    fs::write(&partial, &component).with_context(|| format!("cannot write {}", partial.display()))?;
    fs::rename(&partial, &path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(component.len())
}
