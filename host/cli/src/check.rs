//! `attache check`: a configuration file, and what its plugins need against what they are granted.

use std::{fmt::Write, path::Path};

use attache::{HostConfig, PluginConfig};

use crate::Failure;

pub(crate) fn run(file: &Path) -> Result<(), Failure> {
    let config = crate::read(file)?;
    let mut problems = Vec::new();
    let mut text = String::new();
    for plugin in &config.plugins {
        match describe(plugin) {
            Ok((described, missing)) => {
                text.push_str(&described);
                problems.extend(missing);
            }
            Err(problem) => problems.push(problem),
        }
    }
    describe_accounts(&config, &mut text);
    if let Err(wrong) = config.check_tls() {
        let words = |error: &attache::Error| format!("{}: tls: {error}", file.display());
        problems.extend(wrong.iter().map(words));
    }
    if problems.is_empty() {
        let _ = writeln!(text, "{} is in order.", file.display());
    }
    crate::print(&text)?;
    if problems.is_empty() { Ok(()) } else { Err(Failure::Configuration(problems.join("\n"))) }
}

fn describe_accounts(config: &HostConfig, text: &mut String) {
    for account in &config.accounts {
        let service = account.service.as_deref().unwrap_or("the domain of the address");
        let _ = writeln!(text, "account {}: signs in at {service}", account.address);
        let plugins: Vec<&str> = config
            .plugins
            .iter()
            .filter(|plugin| {
                plugin.accounts.iter().any(|pattern| pattern.matches(account.address.canonical()))
            })
            .map(|plugin| &*plugin.name)
            .collect();
        let _ = writeln!(text, "  plugins: {}", list(&plugins));
    }
    if config.data_dir.is_none() {
        text.push_str("host: no data-dir, so nothing outlives the process\n");
    }
}

/// What a plugin hears and asks for, and what it lacks.
fn describe(plugin: &PluginConfig) -> Result<(String, Option<String>), String> {
    let place = |key: &str| match &plugin.location {
        Some(at) => format!("{}:{}: plugin.{key}", at.file.display(), at.plugin_line),
        None => format!("plugin.{key}"),
    };
    let needs =
        attache::inspect(&plugin.component).map_err(|error| format!("{}: {error}", place("component")))?;
    let mut text = format!("plugin {}: {}\n", plugin.name, plugin.component.display());
    let names = |interfaces: &[String]| {
        let short: Vec<&str> =
            interfaces.iter().map(|name| name.strip_prefix("attache:messenger/").unwrap_or(name)).collect();
        list(&short)
    };
    let _ = writeln!(text, "  hears: {}", names(&needs.exports));
    let _ = writeln!(text, "  calls: {}", names(&needs.imports));
    let wanted = needs.grants();
    let granted: Vec<&str> = plugin.grants.iter().map(|grant| grant.name()).collect();
    let _ = writeln!(text, "  granted: {}", list(&granted));
    let unused: Vec<&str> = plugin.grants.difference(&wanted).map(|grant| grant.name()).collect();
    if !unused.is_empty() {
        let _ = writeln!(text, "  granted, but never used: {}", list(&unused));
    }
    let missing: Vec<String> =
        wanted.difference(&plugin.grants).map(|grant| format!("\"{}\"", grant.name())).collect();
    let problem = (!missing.is_empty()).then(|| {
        format!(
            "{}: plugin.grants: plugin `{}` uses {} without being granted it; add it to grants",
            plugin.grants_place(),
            plugin.name,
            missing.join(", ")
        )
    });
    Ok((text, problem))
}

fn list(names: &[&str]) -> String {
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}
