//! What was typed, and what it means.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::Deserialize;
use toml::Spanned;

use super::{
    ConfigError, HostConfig, REFRESH_BUDGET,
    account::{AccountTable, TlsTable},
    problem::{Problem, Source},
    table,
};
use crate::Address;
use attache_plugin_host::{ConfigError as PluginError, ConfigLocation, PluginConfig};

/// The file as it was typed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    #[serde(default)]
    host: HostTable,
    #[serde(default)]
    account: Vec<Spanned<AccountTable>>,
    #[serde(default)]
    plugin: Vec<Spanned<PluginConfig>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct HostTable {
    data_dir: Option<PathBuf>,
    tls: Option<TlsTable>,
    #[serde(default)]
    name_servers: Vec<Spanned<String>>,
    refresh_budget: Option<Spanned<u32>>,
}

pub(super) fn read(text: &str, path: &Path, secrets: bool) -> Result<HostConfig, ConfigError> {
    let source = Source { file: path, text };
    let typed = table::read::<File>(&source);
    let mut reader =
        Reader { folder: path.parent().unwrap_or(Path::new("")), source, secrets, problems: typed.problems };
    let config = typed.file.map(|file| reader.host(file, &typed.spoilt)).unwrap_or_default();
    let mut problems = reader.problems;
    if problems.is_empty() {
        return Ok(config);
    }
    problems.sort_by_key(|problem| problem.line);
    Err(ConfigError { problems })
}

/// Goes on after a problem, so that a person sees all of them at once.
pub(super) struct Reader<'a> {
    pub(super) source: Source<'a>,
    pub(super) folder: &'a Path,
    /// Whether passwords that stand elsewhere are fetched.
    pub(super) secrets: bool,
    pub(super) problems: Vec<Problem>,
}

impl Reader<'_> {
    fn host(&mut self, file: File, spoilt: &[usize]) -> HostConfig {
        let host = file.host;
        let mut config = HostConfig {
            data_dir: host.data_dir.map(|dir| self.folder.join(dir)),
            tls: host.tls.map(|tls| self.tls(tls)).unwrap_or_default(),
            name_servers: host.name_servers.into_iter().filter_map(|it| self.name_server(&it)).collect(),
            refresh_budget: host.refresh_budget.map_or(REFRESH_BUDGET, |budget| self.budget(&budget)),
            ..HostConfig::default()
        };
        let mut seen: HashMap<Address, usize> = HashMap::new();
        let starts: Vec<usize> = file.account.iter().map(|table| table.span().start).collect();
        for (index, table) in file.account.into_iter().enumerate() {
            let line = self.source.line(table.span().start);
            let place = starts[index]..starts.get(index + 1).copied().unwrap_or(usize::MAX);
            let whole = !spoilt.iter().any(|at| place.contains(at));
            let Some(account) = self.account(table, whole) else { continue };
            match seen.insert(account.address.clone(), line) {
                Some(first) => self.problems.push(Problem {
                    file: self.source.file.to_owned(),
                    line,
                    key: "account.address".to_owned(),
                    message: format!("`{}` is an account in line {first} already", account.address),
                    suggestion: None,
                }),
                None => config.accounts.push(account),
            }
        }
        let mut names: HashMap<Arc<str>, usize> = HashMap::new();
        for table in file.plugin {
            let start = table.span().start;
            let line = self.source.line(start);
            let plugin = self.plugin(start, table.into_inner());
            match names.insert(plugin.name.clone(), line) {
                Some(first) => {
                    let message = format!("a plugin in line {first} has the name `{}` already", plugin.name);
                    self.plugin_problem(start, "name", message);
                }
                None => config.plugins.push(plugin),
            }
        }
        config
    }

    fn plugin(&mut self, start: usize, mut plugin: PluginConfig) -> PluginConfig {
        plugin.component = self.folder.join(&plugin.component);
        plugin.location = Some(ConfigLocation {
            file: self.source.file.to_owned(),
            plugin_line: number(self.source.line(start)),
            grants_line: self.line_of_key(start, "grants").map(number),
        });
        if let Err(error) = plugin.validate() {
            let key = if matches!(error, PluginError::Limit(_)) { "limits" } else { "name" };
            self.plugin_problem(start, key, error.to_string());
        }
        let component = &plugin.component;
        let message = match std::fs::metadata(component) {
            Ok(found) if found.is_file() => return plugin,
            Ok(_) => format!("{} is no file", component.display()),
            Err(error) => format!("{} cannot be read: {error}", component.display()),
        };
        let suggestion = near_file(component);
        self.plugin_problem(start, "component", message);
        if let Some(problem) = self.problems.last_mut() {
            problem.suggestion = suggestion;
        }
        plugin
    }

    fn plugin_problem(&mut self, start: usize, key: &str, message: String) {
        let line = self.line_of_key(start, key).unwrap_or_else(|| self.source.line(start));
        let file = self.source.file.to_owned();
        self.problems.push(Problem { file, line, key: format!("plugin.{key}"), message, suggestion: None });
    }

    /// The line of a key within the table that starts at a place.
    fn line_of_key(&self, start: usize, first: &str) -> Option<usize> {
        let first_line = self.source.line(start);
        let lines = self.source.text.lines().enumerate().skip(first_line.saturating_sub(1));
        let mut inside = false;
        let mut own = true;
        for (index, line) in lines {
            let line = line.trim();
            if line.starts_with("[[") {
                if inside {
                    return None;
                }
                inside = true;
            } else if line.starts_with('[') {
                let header = line.trim_start_matches('[').split(']').next().unwrap_or_default().trim();
                if header.strip_prefix("plugin.").is_some_and(|rest| rest.split('.').next() == Some(first)) {
                    return Some(index + 1);
                }
                // What follows are keys of a table within: those of the plugin's own configuration, mostly.
                own = false;
            }
            if own
                && line.split_once('=').is_some_and(|(name, _)| name.trim().split('.').next() == Some(first))
            {
                return Some(index + 1);
            }
        }
        None
    }

    /// `127.0.0.1:5353`, or an address alone for port 53.
    fn name_server(&mut self, text: &Spanned<String>) -> Option<SocketAddr> {
        let name = text.get_ref();
        let address = name.parse().or_else(|_| name.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53)));
        let wrong =
            |_| format!("`{name}` is no address of a name server, such as 192.0.2.53 or [2001:db8::53]:53");
        self.check(text.span(), address.map_err(wrong))
    }

    fn budget(&mut self, budget: &Spanned<u32>) -> u32 {
        let value = *budget.get_ref();
        let checked = if (1..=100_000).contains(&value) {
            Ok(value)
        } else {
            Err(format!("a refresh-budget is from 1 to 100000 requests a second, not {value}"))
        };
        self.check(budget.span(), checked).unwrap_or(REFRESH_BUDGET)
    }

    /// The line of a key that stands at a place or a little behind it.
    pub(super) fn line_within(&self, start: usize, key: &str) -> Option<usize> {
        let first = self.source.line(start);
        let lines = self.source.text.lines().enumerate().skip(first.saturating_sub(1));
        let mut lines = lines.take_while(|(index, line)| index + 1 == first || !line.trim().starts_with('['));
        let named = |line: &str| {
            let key_at = |(at, _): (usize, &str)| {
                let before = line[..at].trim_end().chars().next_back();
                let after = line[at + key.len()..].trim_start();
                matches!(before, None | Some('{' | ',' | '.')) && after.starts_with('=')
            };
            line.match_indices(key).any(key_at)
        };
        lines.find(|(_, line)| named(line)).map(|(index, _)| index + 1)
    }

    pub(super) fn check<T>(&mut self, span: core::ops::Range<usize>, found: Result<T, String>) -> Option<T> {
        found.map_err(|message| self.problems.push(self.source.problem(Some(span), message))).ok()
    }
}

fn number(line: usize) -> u32 {
    u32::try_from(line).unwrap_or(u32::MAX)
}

/// A file in the same folder whose name is nearly the one that was typed.
fn near_file(path: &Path) -> Option<String> {
    let wanted = path.file_name()?.to_string_lossy().into_owned();
    let Ok(folder) = std::fs::read_dir(path.parent()?) else {
        return Some(format!("the folder {} cannot be read", path.parent()?.display()));
    };
    let names: Vec<String> = folder
        .flatten()
        .take(1000)
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".wasm"))
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    super::problem::suggest(&wanted, &names)
}
