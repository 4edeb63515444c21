//! What may be linked: licences, sources and lock files of all workspaces, read from `cargo metadata`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{chores, guests, process, spdx};

/// Licences that ask for no more than a notice.
const ALLOWED: [&str; 13] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Licences that tests may use, because nobody who links the crates gets them.
const ALLOWED_IN_TESTS: [&str; 1] = ["MPL-2.0"];

/// Packages that name no licence but have a file with one: name, version, file, and how the file begins.
const BY_FILE: [(&str, &str, &str, &str); 2] =
    [("rsip", "0.4.0", "LICENSE", "MIT License"), ("rsip-derives", "0.4.0", "LICENSE", "MIT License")];

/// The registry that cargo takes when none is named, as it stands in every lock file.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Checks every workspace of the checkout, and tells which versions are there more than once.
pub(crate) fn check(root: &Path) -> Result<()> {
    let mut complaints = Vec::new();
    for manifest in std::iter::once(root.join("Cargo.toml")).chain(guests::manifests(root)) {
        let graph = Graph::read(root, &manifest)?;
        let shown = manifest.strip_prefix(root).unwrap_or(&manifest).display().to_string();
        let shipped = graph.shipped();
        for package in graph.packages.values() {
            match package.verdict(shipped.contains(package.id.as_str())) {
                Ok(None) => {}
                Ok(Some(note)) => eprintln!("licences: {shown}: {note}"),
                Err(complaint) => complaints.push(format!("{shown}: {complaint:#}")),
            }
        }
        let duplicates = graph.duplicates();
        eprintln!(
            "licences: {shown}: {} packages, {} of them in two versions or more",
            graph.packages.len(),
            duplicates.len()
        );
        for (name, versions) in duplicates {
            eprintln!("  {name} {}", versions.join(", "));
        }
    }
    if complaints.is_empty() { Ok(()) } else { bail!("{}", complaints.join("\n")) }
}

struct Graph {
    packages: BTreeMap<String, Package>,
    members: Vec<String>,
    /// From a package to those that it is built with, tests' own left out.
    links: BTreeMap<String, Vec<String>>,
}

struct Package {
    id: String,
    name: String,
    version: String,
    licence: Option<String>,
    /// None for a package of the checkout.
    source: Option<String>,
    manifest: PathBuf,
}

impl Graph {
    fn read(root: &Path, manifest: &Path) -> Result<Self> {
        let mut command = chores::cargo(root);
        command.args(["metadata", "--format-version=1", "--locked", "--manifest-path"]).arg(manifest);
        let metadata = process::read(&mut command).context("is the lock file current?")?;
        Self::parse(&metadata).context("cargo metadata has an unknown shape")
    }

    fn parse(metadata: &str) -> Result<Self> {
        let metadata: Value = serde_json::from_str(metadata)?;
        let packages = list(&metadata["packages"])?.iter().map(|package| {
            let text = |name: &str| package[name].as_str().map(ToOwned::to_owned);
            let id = text("id").context("id")?;
            let parsed = Package {
                id: id.clone(),
                name: text("name").context("name")?,
                version: text("version").context("version")?,
                licence: text("license"),
                source: text("source"),
                manifest: text("manifest_path").context("manifest_path")?.into(),
            };
            Ok((id, parsed))
        });
        let links = list(&metadata["resolve"]["nodes"])?.iter().map(|node| {
            let mut linked = Vec::new();
            for dependency in list(&node["deps"])? {
                // A kind of its own is "dev" or "build"; none is an ordinary dependency.
                if list(&dependency["dep_kinds"])?.iter().any(|kind| kind["kind"] != "dev") {
                    linked.push(dependency["pkg"].as_str().context("pkg")?.to_owned());
                }
            }
            Ok((node["id"].as_str().context("id")?.to_owned(), linked))
        });
        let members = list(&metadata["workspace_members"])?.iter();
        Ok(Self {
            packages: packages.collect::<Result<_>>()?,
            members: members.filter_map(Value::as_str).map(ToOwned::to_owned).collect(),
            links: links.collect::<Result<_>>()?,
        })
    }

    /// The packages that are more than tests' own.
    fn shipped(&self) -> BTreeSet<&str> {
        let mut reached = BTreeSet::new();
        let mut open: Vec<&str> = self.members.iter().map(String::as_str).collect();
        while let Some(id) = open.pop() {
            if reached.insert(id) {
                open.extend(self.links.get(id).into_iter().flatten().map(String::as_str));
            }
        }
        reached
    }

    fn duplicates(&self) -> BTreeMap<&str, Vec<&str>> {
        let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for package in self.packages.values() {
            versions.entry(&package.name).or_default().push(&package.version);
        }
        versions.retain(|_, versions| versions.len() > 1);
        versions
    }
}

impl Package {
    /// Nothing, a remark, or a complaint.
    fn verdict(&self, shipped: bool) -> Result<Option<String>> {
        let Self { name, version, .. } = self;
        if let Some(source) = self.source.as_deref().filter(|source| *source != REGISTRY) {
            bail!("{name} {version} comes from {source}; only the default registry and paths are allowed");
        }
        let Some(licence) = &self.licence else { return self.by_file().map(Some) };
        let context = || format!("{name} {version}");
        if spdx::satisfied(licence, &|one| ALLOWED.contains(&one)).with_context(context)? {
            return Ok(None);
        }
        let in_tests = |one: &str| ALLOWED.contains(&one) || ALLOWED_IN_TESTS.contains(&one);
        if !shipped && spdx::satisfied(licence, &in_tests)? {
            return Ok(Some(format!("{name} {version} is under {licence}; only tests use it")));
        }
        bail!("{name} {version} is under {licence}, which is not on the list");
    }

    fn by_file(&self) -> Result<String> {
        let Self { name, version, .. } = self;
        let known = BY_FILE.iter().find(|known| (known.0, known.1) == (name, version));
        let Some((.., file, beginning)) = known else { bail!("{name} {version} names no licence") };
        let path = self.manifest.with_file_name(file);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        if !text.trim_start().starts_with(beginning) {
            bail!("{name} {version}: {} is no longer {beginning}", path.display());
        }
        Ok(format!("{name} {version} names no licence; its file {file} is {beginning}"))
    }
}

fn list(value: &Value) -> Result<&Vec<Value>> {
    value.as_array().context("a list is missing")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(licence: Option<&str>, source: &str) -> Package {
        Package {
            id: "id".to_owned(),
            name: "name".to_owned(),
            version: "1.0.0".to_owned(),
            licence: licence.map(ToOwned::to_owned),
            source: Some(source.to_owned()),
            manifest: PathBuf::from("/nowhere/Cargo.toml"),
        }
    }

    #[test]
    fn a_package_needs_an_allowed_licence_and_source() {
        assert!(package(Some("MIT OR GPL-3.0"), REGISTRY).verdict(true).unwrap().is_none());
        assert!(package(Some("GPL-3.0"), REGISTRY).verdict(true).is_err());
        assert!(package(None, REGISTRY).verdict(true).is_err());
        assert!(package(Some("MIT"), "git+https://example.com/name").verdict(true).is_err());
    }

    #[test]
    fn weak_copyleft_is_for_tests_only() {
        assert!(package(Some("MPL-2.0"), REGISTRY).verdict(true).is_err());
        assert!(package(Some("MPL-2.0"), REGISTRY).verdict(false).unwrap().is_some());
        assert!(package(Some("GPL-3.0"), REGISTRY).verdict(false).is_err());
    }

    #[test]
    fn what_only_tests_use_is_not_shipped() {
        let package = |id: &str| {
            format!(
                r#"{{"id":"{id}","name":"{id}","version":"1","license":"MIT","source":null,"manifest_path":"/"}}"#
            )
        };
        let link = |to: &str, kind: &str| format!(r#"{{"pkg":"{to}","dep_kinds":[{{"kind":{kind}}}]}}"#);
        let metadata = format!(
            r#"{{"packages":[{}],"workspace_members":["a"],"resolve":{{"nodes":[
                {{"id":"a","deps":[{},{}]}},{{"id":"b","deps":[{}]}},{{"id":"c","deps":[]}},{{"id":"d","deps":[]}}]}}}}"#,
            ["a", "b", "c", "d"].map(package).join(","),
            link("b", "null"),
            link("c", "\"dev\""),
            link("d", "\"build\""),
        );
        let graph = Graph::parse(&metadata).unwrap();
        assert_eq!(graph.shipped().into_iter().collect::<Vec<_>>(), ["a", "b", "d"]);
    }
}
