//! Authorities and certificates for tests.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::needless_pass_by_value,
    clippy::unwrap_used,
    reason = "test code, of which each binary uses a part"
)]

use attache_net::{Identity, Roots, Tls, TlsOptions};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType, date_time_ymd,
    string::Ia5String,
};

/// Somebody who vouches for others.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    root: Vec<u8>,
    pem: String,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap();
        Self { root: root.der().to_vec(), pem: root.pem(), issuer: Issuer::new(params, key) }
    }

    /// Trusts this authority alone.
    pub fn roots(&self) -> Roots {
        Roots::Only(vec![self.root.clone()])
    }

    /// Its own certificate as PEM.
    pub fn root_pem(&self) -> &str {
        &self.pem
    }

    /// A client that trusts this authority alone.
    pub fn client(&self) -> Tls {
        Tls::new(&TlsOptions { roots: self.roots(), identity: None }).unwrap()
    }

    /// A server with this certificate, that trusts this authority too.
    pub fn server(&self, params: CertificateParams) -> Tls {
        let identity = self.issue(params);
        Tls::new(&TlsOptions { roots: self.roots(), identity: Some(identity) }).unwrap()
    }

    /// A server with these names.
    pub fn server_for(&self, names: &[&str]) -> Tls {
        self.server(naming(names))
    }

    pub fn issue(&self, params: CertificateParams) -> Identity {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Identity::Der { chain: vec![certificate.der().to_vec()], key: key.serialize_der() }
    }

    /// The same as PEM: certificate and key.
    pub fn issue_pem(&self, params: CertificateParams) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }
}

/// URIs become URI names, addresses become address names, and everything else host names.
pub fn naming(names: &[&str]) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.subject_alt_names = names
        .iter()
        .map(|name| match name.parse() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) if name.contains(':') => SanType::URI(Ia5String::try_from(*name).unwrap()),
            Err(_) => SanType::DnsName(Ia5String::try_from(*name).unwrap()),
        })
        .collect();
    params.distinguished_name.push(DnType::CommonName, "a server of the tests");
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2120, 1, 1);
    params
}
