//! The files of a TLS directory.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::VerifierBuilderError;
use rustls::{CertificateError, Error, RootCertStore};

use super::error::{TlsError, certificate_problem};

/// The longest file that is read.
const MAX_FILE: u64 = 1 << 20;

/// Which end of TLS, and so which end of the migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Who sends the VM.
    Client,
    /// Who receives it.
    Server,
}

impl Role {
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Client => ("client-cert.pem", "client-key.pem"),
            Self::Server => ("server-cert.pem", "server-key.pem"),
        }
    }

    /// What has to be there.
    pub(super) fn needs(self) -> &'static str {
        match self {
            Self::Client => "to send a VM, ca-cert.pem, client-cert.pem and client-key.pem",
            Self::Server => "to receive a VM, ca-cert.pem, server-cert.pem and server-key.pem",
        }
    }
}

/// What a role's files have in them.
pub(super) struct Files {
    issuer_file: PathBuf,
    certificate_file: PathBuf,
    key_file: PathBuf,
    pub(super) issuers: Arc<RootCertStore>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

pub(super) fn now() -> UnixTime {
    UnixTime::now()
}

impl Files {
    pub(super) fn read(directory: &Path, role: Role) -> Result<Self, TlsError> {
        let (certificate, key) = role.names();
        let issuer_file = directory.join("ca-cert.pem");
        let (certificate_file, key_file) = (directory.join(certificate), directory.join(key));
        let mut issuers = RootCertStore::empty();
        for issuer in certificates(&issuer_file, role)? {
            issuers.add(issuer).map_err(|error| problem(&issuer_file, &error))?;
        }
        let chain = certificates(&certificate_file, role)?;
        let key = PrivateKeyDer::from_pem_slice(&contents(&key_file, role)?);
        let key = key.map_err(|error| match error {
            PemError::NoItemsFound => problem(&key_file, &"there is no private key in it"),
            error => problem(&key_file, &error),
        })?;
        let issuers = Arc::new(issuers);
        Ok(Self { issuer_file, certificate_file, key_file, issuers, chain, key })
    }

    /// This end's certificate, and those on the way to its issuer.
    pub(super) fn own_chain(
        &self,
    ) -> Result<(&CertificateDer<'static>, &[CertificateDer<'static>]), TlsError> {
        let none = || problem(&self.certificate_file, &"there is no certificate in it");
        self.chain.split_first().ok_or_else(none)
    }

    pub(super) fn own(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        (self.chain.clone(), self.key.clone_key())
    }

    /// Whether a source with the same issuers would accept a destination's certificate, for whatever host it is.
    pub(super) fn check_server(&self, verifier: &impl ServerCertVerifier) -> Result<(), TlsError> {
        let (own, others) = self.own_chain()?;
        let host = ServerName::try_from("localhost").map_err(|error| self.own_problem(&error))?;
        match verifier.verify_server_cert(own, others, &host, &[], now()) {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(()),
            verified => self.check_own(verified.map(drop)),
        }
    }

    /// Whether this end's certificate was accepted.
    pub(super) fn check_own(&self, verified: Result<(), Error>) -> Result<(), TlsError> {
        let Err(error) = verified else { return Ok(()) };
        let (path, issuer) = (&self.certificate_file, &self.issuer_file);
        let what = match &error {
            Error::InvalidCertificate(error @ CertificateError::UnknownIssuer) => {
                format!("{}: {}", certificate_problem(error), issuer.display())
            }
            Error::InvalidCertificate(error) => certificate_problem(error),
            error => error.to_string(),
        };
        Err(problem(path, &what))
    }

    pub(super) fn own_problem(&self, error: &impl std::fmt::Display) -> TlsError {
        let (certificate, key) = (self.certificate_file.clone(), self.key_file.clone());
        TlsError::Pair { certificate, key, problem: error.to_string() }
    }

    pub(super) fn issuer_problem(&self, error: &VerifierBuilderError) -> TlsError {
        problem(&self.issuer_file, error)
    }
}

fn certificates(path: &Path, role: Role) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let contents = contents(path, role)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&contents).collect();
    let found = found.map_err(|error| problem(path, &error))?;
    if found.is_empty() {
        return Err(problem(path, &"there is no certificate in it"));
    }
    Ok(found)
}

fn contents(path: &Path, role: Role) -> Result<Vec<u8>, TlsError> {
    use std::io::Read;
    let read = || {
        let mut contents = Vec::new();
        let file = std::fs::File::open(path)?;
        if file.take(MAX_FILE + 1).read_to_end(&mut contents)? as u64 > MAX_FILE {
            return Err(io::Error::other("it is longer than 1 MiB"));
        }
        Ok(contents)
    };
    read().map_err(|source| TlsError::Read { path: path.to_owned(), source, needs: role.needs() })
}

fn problem(path: &Path, problem: &impl std::fmt::Display) -> TlsError {
    TlsError::File { path: path.to_owned(), problem: problem.to_string() }
}
