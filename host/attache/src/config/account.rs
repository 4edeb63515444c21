//! `[[account]]`: what was typed, and what it means.

use std::path::{Path, PathBuf};

use attache_sip::uri::{Scheme, UriBuf};
use serde::Deserialize;
use toml::Spanned;

use super::{
    AccountConfig, Credential, Identity, Roots, TlsConfig, Tuning, file::Reader, messages::MessagesTable,
    problem::suggest,
};
use crate::{Address, IncomingCalls, Phones, Secret};

/// Values of the `transport` parameter of `service`.
const TRANSPORTS: [&str; 5] = ["udp", "tcp", "tls", "ws", "wss"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct AccountTable {
    address: Option<Spanned<String>>,
    #[serde(default)]
    display_name: String,
    auth_user: Option<String>,
    password: Option<Spanned<SecretTable>>,
    token: Option<Spanned<SecretTable>>,
    service: Option<Spanned<String>>,
    ws_path: Option<Spanned<String>>,
    #[serde(default = "yes")]
    sign_in: bool,
    tls: Option<TlsTable>,
    xcap: Option<Spanned<String>>,
    xcap_user: Option<Spanned<String>>,
    list: Option<Spanned<String>>,
    #[serde(default = "yes")]
    outbound: bool,
    #[serde(default)]
    calls: bool,
    phone: Option<Spanned<String>>,
    #[serde(default)]
    incoming_calls: IncomingTable,
    conference: Option<Spanned<String>>,
    service_name: Option<String>,
    email: Option<String>,
    #[serde(default)]
    phones: PhonesTable,
    #[serde(default)]
    messages: MessagesTable,
    tuning: Option<Spanned<Tuning>>,
}

/// Telephone numbers, as people write them.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct PhonesTable {
    home: Option<Spanned<String>>,
    work: Option<Spanned<String>>,
    mobile: Option<Spanned<String>>,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum IncomingTable {
    #[default]
    Ignore,
    Show,
    Take,
}

fn yes() -> bool {
    true
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct TlsTable {
    roots: Option<Spanned<PathBuf>>,
    certificate: Option<Spanned<PathBuf>>,
    key: Option<Spanned<PathBuf>>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a secret is text, { env = \"NAME\" } or { file = \"PATH\" }")]
enum SecretTable {
    Text(String),
    Elsewhere(SecretSource),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct SecretSource {
    env: Option<String>,
    file: Option<PathBuf>,
}

impl Reader<'_> {
    /// `whole` is false when a mistake was taken out of the table: then what is missing is not told a second time.
    pub(super) fn account(&mut self, table: Spanned<AccountTable>, whole: bool) -> Option<AccountConfig> {
        let at = table.span();
        let table = table.into_inner();
        let address = match table.address {
            Some(address) => {
                let parsed = Address::parse(address.get_ref());
                self.check(address.span(), parsed.map_err(|error| error.message().to_owned()))
            }
            None => {
                self.missing(&at, whole, "the account has no address", "add address = \"sip:USER@DOMAIN\"");
                None
            }
        };
        let credential = match (table.password, table.token) {
            (Some(password), None) => self.secret(password, "password").map(Credential::Password),
            (None, Some(token)) => self.secret(token, "token").map(|token| Credential::Token(Some(token))),
            (Some(_), Some(token)) => {
                self.check::<()>(
                    token.span(),
                    Err("an account has a password or a token, not both".to_owned()),
                );
                None
            }
            (None, None) => {
                let hint =
                    "add password = { env = \"NAME\" }, { file = \"PATH\" } or text; or a token likewise";
                self.missing(&at, whole, "the account has no password and no token", hint);
                None
            }
        };
        let service = table.service.map(|service| {
            let checked = check_service(service.get_ref());
            self.check(service.span(), checked).map(|()| service.into_inner())
        });
        let ws_path = table.ws_path.map(|path| {
            let checked = check_path(path.get_ref());
            self.check(path.span(), checked).map(|()| path.into_inner())
        });
        let xcap = table.xcap.map(|root| {
            let checked = check_root(root.get_ref());
            self.check(root.span(), checked)
        });
        let xcap_user = table.xcap_user.map(|user| {
            let checked = check_xcap_user(user.get_ref());
            self.check(user.span(), checked).map(|()| user.into_inner())
        });
        let list = table.list.map(|list| {
            let checked = check_list(list.get_ref());
            self.check(list.span(), checked).map(|()| list.into_inner())
        });
        let phone = table.phone.map(|phone| self.number(&phone, address.as_ref()));
        let phones = Phones {
            home: table.phones.home.and_then(|phone| self.number(&phone, address.as_ref())),
            work: table.phones.work.and_then(|phone| self.number(&phone, address.as_ref())),
            mobile: table.phones.mobile.and_then(|phone| self.number(&phone, address.as_ref())),
        };
        let conference = table.conference.map(|factory| {
            let parsed = Address::parse(factory.get_ref()).map_err(|error| error.message().to_owned());
            self.check(factory.span(), parsed)
        });
        let tls = table.tls.map(|tls| self.tls(tls));
        let messages = self.messages(table.messages);
        let tuning = match table.tuning {
            Some(tuning) => {
                let span = tuning.span();
                let tuning = tuning.into_inner();
                if let Err(wrong) = tuning.validate() {
                    for one in wrong {
                        let mut problem = self.source.problem(Some(span.clone()), one.to_string());
                        problem.key = format!("account.tuning.{}", one.key);
                        problem.line = self.line_within(span.start, one.key).unwrap_or(problem.line);
                        self.problems.push(problem);
                    }
                }
                tuning
            }
            None => Tuning::default(),
        };
        // What was given and is wrong has been noted: the account is left out.
        fn given<T>(value: Option<Option<T>>) -> Option<Option<T>> {
            value.map_or(Some(None), |value| value.map(Some))
        }
        Some(AccountConfig {
            address: address?,
            display_name: table.display_name,
            auth_user: table.auth_user,
            credential: credential?,
            service: given(service)?,
            ws_path: given(ws_path)?,
            sign_in: table.sign_in,
            tls,
            xcap: given(xcap)?,
            xcap_user: given(xcap_user)?,
            list: given(list)?,
            outbound: table.outbound,
            calls: table.calls,
            phone: given(phone)?,
            incoming_calls: match table.incoming_calls {
                IncomingTable::Ignore => IncomingCalls::Ignore,
                IncomingTable::Show => IncomingCalls::Show,
                IncomingTable::Take => IncomingCalls::Take,
            },
            conference: given(conference)?,
            service_name: table.service_name,
            email: table.email,
            phones,
            messages: messages?,
            tuning,
        })
    }

    fn missing(&mut self, at: &core::ops::Range<usize>, whole: bool, message: &str, hint: &str) {
        if whole {
            let mut problem = self.source.problem(Some(at.clone()), message);
            problem.suggestion = Some(hint.to_owned());
            self.problems.push(problem);
        }
    }

    pub(super) fn tls(&mut self, table: TlsTable) -> TlsConfig {
        let roots = match table.roots {
            None => Roots::System,
            Some(roots) if roots.get_ref() == Path::new("system") => Roots::System,
            Some(roots) => Roots::File(self.pem(roots)),
        };
        let identity = match (table.certificate, table.key) {
            (None, None) => None,
            (Some(certificate), Some(key)) => {
                Some(Identity { certificate: self.pem(certificate), key: self.pem(key) })
            }
            (Some(one), None) => {
                self.check::<()>(
                    one.span(),
                    Err("a certificate needs its private key: add key = \"FILE\"".to_owned()),
                );
                None
            }
            (None, Some(one)) => {
                let message = "a private key needs its certificate: add certificate = \"FILE\"".to_owned();
                self.check::<()>(one.span(), Err(message));
                None
            }
        };
        TlsConfig { roots, identity }
    }

    /// The path of a file that has to be there.
    fn pem(&mut self, path: Spanned<PathBuf>) -> PathBuf {
        let span = path.span();
        let path = self.folder.join(path.into_inner());
        let found = match std::fs::File::open(&path).and_then(|file| file.metadata()) {
            Ok(found) if found.is_file() => Ok(()),
            Ok(_) => Err(format!("{} is no file", path.display())),
            Err(error) => Err(format!("{} cannot be read: {error}", path.display())),
        };
        self.check(span, found);
        path
    }

    /// A telephone number, or the address of a phone. A number without `+` is one of the account's own service.
    fn number(&mut self, number: &Spanned<String>, account: Option<&Address>) -> Option<Address> {
        let domain = account.and_then(|account| account.canonical().rsplit_once('@'));
        let domain = domain.map_or("localhost", |(_, domain)| domain);
        let read = attache_messenger::call::number(number.get_ref(), domain);
        self.check(number.span(), read.map_err(|error| error.message().to_owned()))
    }

    fn secret(&mut self, table: Spanned<SecretTable>, what: &str) -> Option<Secret> {
        let span = table.span();
        let found = match table.into_inner() {
            SecretTable::Elsewhere(_) if !self.secrets => Ok(Secret::new(String::new())),
            SecretTable::Text(text) => Ok(Secret::new(text)),
            SecretTable::Elsewhere(SecretSource { env: Some(name), file: None }) => std::env::var(&name)
                .map(Secret::new)
                .map_err(|_| format!("the environment variable `{name}` is not set, or is not UTF-8")),
            SecretTable::Elsewhere(SecretSource { env: None, file: Some(file) }) => {
                let file = self.folder.join(file);
                match std::fs::read_to_string(&file) {
                    Ok(text) => Ok(Secret::new(text.trim_end_matches(['\r', '\n']).to_owned())),
                    Err(error) => Err(format!("the {what} file {} cannot be read: {error}", file.display())),
                }
            }
            SecretTable::Elsewhere(_) => Err(format!(
                "a {what} comes from one place: text, {{ env = \"NAME\" }} or {{ file = \"PATH\" }}"
            )),
        };
        self.check(span, found)
    }
}

/// Checks the address of an outbound proxy.
fn check_service(service: &str) -> Result<(), String> {
    let uri = UriBuf::parse(service).map_err(|error| {
        format!("`{service}` is no address of a service, such as sip:sip.example.com;transport=tls: {error}")
    })?;
    let uri = uri.as_uri();
    if !matches!(uri.scheme(), Scheme::Sip | Scheme::Sips) {
        return Err(format!(
            "`{service}` is no address of a service, such as sip:sip.example.com;transport=tls"
        ));
    }
    match uri.param("transport") {
        Some(name) if !TRANSPORTS.iter().any(|known| known.eq_ignore_ascii_case(name)) => {
            let hint = suggest(name, &TRANSPORTS).unwrap_or_default();
            Err(format!("`{name}` is no transport that is known here; {hint}"))
        }
        _ => Ok(()),
    }
}

/// Checks the path of a WebSocket.
fn check_path(path: &str) -> Result<(), String> {
    if path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
        Ok(())
    } else {
        Err(format!("`{path}` is no path of a WebSocket, such as /ws"))
    }
}

/// Checks an XCAP root, and takes a slash at its end away.
fn check_root(root: &str) -> Result<String, String> {
    let rest = root.strip_prefix("https://").or_else(|| root.strip_prefix("http://"));
    let host = rest.map(|rest| rest.split('/').next().unwrap_or_default()).unwrap_or_default();
    let plain = root.bytes().all(|byte| byte.is_ascii_graphic()) && !root.contains(['?', '#', '@']);
    if host.is_empty() || !plain {
        return Err(format!("`{root}` is no XCAP root, such as https://xcap.example.com/xcap-root"));
    }
    Ok(root.trim_end_matches('/').to_owned())
}

fn check_xcap_user(user: &str) -> Result<(), String> {
    let wrong =
        user.is_empty() || user.len() > 512 || user.contains('/') || user.chars().any(char::is_control);
    if wrong {
        return Err(format!(
            "`{user}` is no name of a user of an XCAP server, such as sip:alice@example.com or alice"
        ));
    }
    Ok(())
}

fn check_list(list: &str) -> Result<(), String> {
    Address::parse(list)
        .map(drop)
        .map_err(|_| format!("`{list}` is no address of a list, such as sip:alice-list@example.com"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::HostConfig;

    #[test]
    fn the_name_at_the_xcap_server_may_be_another_one() {
        let account = "[[account]]\naddress = \"sip:a@example.com\"\npassword = \"x\"\n";
        let user = |line: &str| {
            let config = HostConfig::from_toml(&format!("{account}{line}\n"), Path::new("x.toml"))?;
            Ok::<_, crate::ConfigError>(config.accounts[0].xcap_user.clone())
        };
        assert_eq!(user("").expect("left out"), None);
        assert_eq!(user("xcap-user = \"a.smith\"").expect("given").as_deref(), Some("a.smith"));
        let wrong = user("xcap-user = \"users/a\"").expect_err("a path").to_string();
        assert!(wrong.contains("x.toml:4: account.xcap-user"), "{wrong}");
    }

    #[test]
    fn calls_are_asked_for_only_where_the_account_says_so() {
        let account = "[[account]]\naddress = \"sip:a@example.com\"\npassword = \"x\"\n";
        let calls = |line: &str| {
            let config = HostConfig::from_toml(&format!("{account}{line}\n"), Path::new("x.toml"))?;
            Ok::<_, crate::ConfigError>(config.accounts.iter().any(|account| account.calls))
        };
        assert!(!calls("").expect("left out"));
        assert!(calls("calls = true").expect("asked for"));
        let wrong = calls("calls = \"yes\"").expect_err("no boolean").to_string();
        assert!(wrong.contains("x.toml:4: account.calls"), "{wrong}");
    }
}
