//! The embedded service with everything that it has, and accounts for it.
#![allow(dead_code, unreachable_pub, reason = "each test program uses a part")]

use std::{fs, path::PathBuf, time::Duration};

use attache::{
    AccountConfig, Address, Change, EventKind, Host, HostConfig, Messenger, Roots, Secret, TlsConfig,
    Transport, View,
};
use attache_service::{Service, ServiceConfig};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType, date_time_ymd,
    string::Ia5String,
};

/// Longest wait for anything.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A service, and the folder with its certificate.
pub struct World {
    pub service: Service,
    pub folder: tempfile::TempDir,
}

impl World {
    /// Everything on 127.0.0.1, with a certificate for `example.com` and that address.
    pub fn start() -> Self {
        Self::with("127.0.0.1", 2120, "")
    }

    /// On another address, with a certificate until a year, and with more lines of `[service]`.
    pub fn with(ip: &str, until: i32, more: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let authority = Authority::new("an authority of the tests");
        fs::write(folder.path().join("root.pem"), &authority.pem).expect("written");
        fs::write(folder.path().join("other.pem"), Authority::new("another authority").pem).expect("written");
        let (certificate, key) = authority.issue(&["sip:example.com", "127.0.0.1", "::1"], until);
        fs::write(folder.path().join("service.pem"), certificate).expect("written");
        fs::write(folder.path().join("service.key"), key).expect("written");
        let host = if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
        let text = format!(
            "[service]\nlisten = \"{host}:0\"\nlisten-tls = \"{host}:0\"\nlisten-ws = \"{host}:0\"\n\
             listen-wss = \"{host}:0\"\ndomains = [\"example.com\"]\n{more}\n\
             [service.tls]\ncertificate = \"service.pem\"\nkey = \"service.key\"\n\
             [[user]]\nname = \"alice\"\npassword = \"wonderland\"\n\
             [[user]]\nname = \"bob\"\npassword = \"builder\"\nnumbers = [\"+3545550100\"]\n\
             [[user]]\nname = \"carol\"\npassword = \"christmas\"\n"
        );
        let file = folder.path().join("service.toml");
        fs::write(&file, text).expect("written");
        let config = ServiceConfig::load(&file).expect("a valid configuration");
        let service = Service::start(&config).expect("the service starts");
        Self { service, folder }
    }

    /// Where the service listens, as `service` of an account.
    pub fn uri(&self, transport: Transport) -> String {
        let listens = self.service.local_addrs().iter();
        let (_, at) = *listens.clone().find(|(it, _)| *it == transport).expect("the service listens so");
        format!("sip:{at};transport={}", transport.uri_name())
    }

    /// The XCAP root.
    pub fn xcap(&self) -> String {
        format!("https://{}/xcap-root", self.service.xcap_addrs()[0])
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// An account that reaches the service so, and signs in when it is told to.
    pub fn account(&self, user: &str, password: &str, transport: Transport) -> AccountConfig {
        let mut account =
            AccountConfig::new(address(&format!("sip:{user}@example.com")), Secret::new(password))
                .service(self.uri(transport));
        account.sign_in = false;
        account
    }

    /// A host that trusts the service's authority.
    pub async fn host(&self) -> Host {
        Host::start(self.host_config()).await.expect("the host starts")
    }

    pub fn host_config(&self) -> HostConfig {
        let mut config = HostConfig::default();
        config.tls = TlsConfig { roots: Roots::File(self.file("root.pem")), identity: None };
        config
    }
}

pub fn address(text: &str) -> Address {
    Address::parse(text).expect("an address")
}

pub async fn signed_in(host: &Host, account: AccountConfig) -> Messenger {
    let messenger = host.add_account(account).await.expect("an account");
    messenger.sign_in().await.expect("signed in");
    messenger
}

/// Waits for the first event that is wanted, after the view was taken.
pub async fn event<T>(mut view: View, mut wanted: impl FnMut(&EventKind) -> Option<T>) -> T {
    let found = async {
        while let Some(change) = view.changes.next().await {
            if let Change::Event(event) = change
                && let Some(found) = wanted(&event.kind)
            {
                return found;
            }
        }
        panic!("the stream ended");
    };
    tokio::time::timeout(PATIENCE, found).await.expect("in time")
}

/// Waits until something holds of the account. The view is taken before it is looked at, so nothing is missed.
pub async fn until(messenger: &Messenger, what: &str, holds: impl Fn(&Messenger) -> bool) {
    let mut changes = messenger.view().changes;
    let reached = async {
        while !holds(messenger) {
            changes.next().await.expect("the stream goes on");
        }
    };
    assert!(tokio::time::timeout(PATIENCE, reached).await.is_ok(), "{what}: {:?}", messenger.snapshot());
}

/// Somebody who vouches for others.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("signed").pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Certificate and key.
    fn issue(&self, names: &[&str], until: i32) -> (String, String) {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names
            .iter()
            .map(|name| match name.parse() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::URI(Ia5String::try_from(*name).expect("a name")),
            })
            .collect();
        params.distinguished_name.push(DnType::CommonName, "the service of the tests");
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        let key = KeyPair::generate().expect("a key");
        (params.signed_by(&key, &self.issuer).expect("signed").pem(), key.serialize_pem())
    }
}
