//! What was typed, and what it means.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::Deserialize;
use toml::Spanned;

use super::{
    AccountConfig, ConfigError, HostConfig,
    problem::{Problem, Source},
};
use crate::{Address, Secret};
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
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct AccountTable {
    address: Spanned<String>,
    #[serde(default)]
    display_name: String,
    auth_user: Option<String>,
    password: Option<Spanned<PasswordTable>>,
    service: Option<Spanned<String>>,
    #[serde(default = "yes")]
    sign_in: bool,
}

fn yes() -> bool {
    true
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a password is text, { env = \"NAME\" } or { file = \"PATH\" }")]
enum PasswordTable {
    Text(String),
    Elsewhere(PasswordSource),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct PasswordSource {
    env: Option<String>,
    file: Option<PathBuf>,
}

pub(super) fn read(text: &str, path: &Path, secrets: bool) -> Result<HostConfig, ConfigError> {
    let source = Source { file: path, text };
    let file: File =
        toml::from_str(text).map_err(|error| ConfigError { problems: vec![source.unreadable(&error)] })?;
    let mut reader =
        Reader { folder: path.parent().unwrap_or(Path::new("")), source, secrets, problems: Vec::new() };
    let config = reader.host(file);
    if reader.problems.is_empty() { Ok(config) } else { Err(ConfigError { problems: reader.problems }) }
}

/// Goes on after a problem, so that a person sees all of them at once.
struct Reader<'a> {
    source: Source<'a>,
    folder: &'a Path,
    /// Whether passwords that stand elsewhere are fetched.
    secrets: bool,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn host(&mut self, file: File) -> HostConfig {
        let mut config = HostConfig {
            data_dir: file.host.data_dir.map(|dir| self.folder.join(dir)),
            ..HostConfig::default()
        };
        let mut seen: HashMap<Address, usize> = HashMap::new();
        for table in file.account {
            let line = self.source.line(table.span().start);
            let Some(account) = self.account(table) else { continue };
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

    fn account(&mut self, table: Spanned<AccountTable>) -> Option<AccountConfig> {
        let at = table.span();
        let table = table.into_inner();
        let span = table.address.span();
        let address = Address::parse(table.address.get_ref());
        let address = self.check(span, address.map_err(|error| error.message().to_owned()));
        let password = match table.password {
            Some(password) => {
                let span = password.span();
                let found = self.password(password.into_inner());
                self.check(span, found)
            }
            None => {
                let mut problem = self.source.problem(Some(at), "the account has no password");
                problem.suggestion =
                    Some("add password = { env = \"NAME\" }, { file = \"PATH\" } or text".to_owned());
                self.problems.push(problem);
                None
            }
        };
        let service = match table.service {
            Some(service) => {
                let span = service.span();
                let service = service.into_inner();
                let checked = check_service(&service).map(|()| service);
                Some(self.check(span, checked)?)
            }
            None => None,
        };
        Some(AccountConfig {
            address: address?,
            display_name: table.display_name,
            auth_user: table.auth_user,
            password: password?,
            service,
            sign_in: table.sign_in,
        })
    }

    fn check<T>(&mut self, span: core::ops::Range<usize>, found: Result<T, String>) -> Option<T> {
        found.map_err(|message| self.problems.push(self.source.problem(Some(span), message))).ok()
    }

    fn password(&self, table: PasswordTable) -> Result<Secret, String> {
        match table {
            PasswordTable::Elsewhere(_) if !self.secrets => Ok(Secret::new(String::new())),
            PasswordTable::Text(text) => Ok(Secret::new(text)),
            PasswordTable::Elsewhere(PasswordSource { env: Some(name), file: None }) => std::env::var(&name)
                .map(Secret::new)
                .map_err(|_| format!("the environment variable `{name}` is not set, or is not UTF-8")),
            PasswordTable::Elsewhere(PasswordSource { env: None, file: Some(file) }) => {
                let file = self.folder.join(file);
                let text = std::fs::read_to_string(&file).map_err(|error| {
                    format!("the password file {} cannot be read: {error}", file.display())
                })?;
                Ok(Secret::new(text.trim_end_matches(['\r', '\n']).to_owned()))
            }
            PasswordTable::Elsewhere(_) => {
                Err("a password comes from one place: text, { env = \"NAME\" } or { file = \"PATH\" }"
                    .to_owned())
            }
        }
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

fn check_service(service: &str) -> Result<(), String> {
    attache_sip::uri::UriBuf::parse(service).map(drop).map_err(|error| {
        format!("`{service}` is no address of a service, such as sip:sip.example.com;transport=tcp: {error}")
    })
}
