//! TLS directories, made when they are needed.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, date_time_ymd,
};
use tempfile::TempDir;

/// Who issues certificates.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// What is unusual about a certificate.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Odd {
    Nothing,
    /// It was valid long ago.
    Expired,
    /// It will be.
    Early,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap());
        Self(issuer.unwrap())
    }

    /// A certificate for `hosts` and its key, as PEM.
    fn issue(
        &self,
        hosts: &[&str],
        purpose: ExtendedKeyUsagePurpose,
        odd: Odd,
    ) -> (String, String) {
        let hosts: Vec<_> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let mut params = CertificateParams::new(hosts).unwrap();
        params.extended_key_usages = vec![purpose];
        match odd {
            Odd::Nothing => {}
            Odd::Expired => params.not_after = date_time_ymd(2020, 1, 1),
            Odd::Early => params.not_before = date_time_ymd(4000, 1, 1),
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}

/// A directory with the files of both roles.
pub struct Directory(TempDir);

impl Directory {
    /// All of it from one authority, for `localhost`.
    pub fn of(authority: &Authority) -> Self {
        let directory = Self(tempfile::tempdir().unwrap());
        directory.trust(authority);
        directory.server(authority, &["localhost", "127.0.0.1"], Odd::Nothing);
        directory.client(authority, Odd::Nothing);
        directory
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    pub fn put(&self, name: &str, text: &str) {
        std::fs::write(self.file(name), text).unwrap();
    }

    /// Accepts what this authority issues.
    pub fn trust(&self, authority: &Authority) {
        self.put("ca-cert.pem", &authority.0.pem());
    }

    pub fn server(&self, authority: &Authority, hosts: &[&str], odd: Odd) {
        let purpose = ExtendedKeyUsagePurpose::ServerAuth;
        let (certificate, key) = authority.issue(hosts, purpose, odd);
        self.put("server-cert.pem", &certificate);
        self.put("server-key.pem", &key);
    }

    pub fn client(&self, authority: &Authority, odd: Odd) {
        let (certificate, key) =
            authority.issue(&["source"], ExtendedKeyUsagePurpose::ClientAuth, odd);
        self.put("client-cert.pem", &certificate);
        self.put("client-key.pem", &key);
    }
}
