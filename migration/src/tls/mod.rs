//! TLS 1.3 with certificates of both ends, for migrations between hosts.
//!
//! ```text
//!   source (client)                                   destination (server)
//!   ClientHello ────────────────────────────────────▶
//!        ◀──────── ServerHello, CertificateRequest, server-cert.pem
//!   client-cert.pem ────────────────────────────────▶ verifies it
//!        ◀───────────────────────────────────────────  one byte: it was verified
//!   frames ◀────────────────────────────────────────▶ frames
//! ```
//!
//! A client of TLS 1.3 is done before its certificate was looked at. So that a source learns in the handshake, and not somewhere in its migration, that it is
//! refused, the destination's first byte says that it is not.
//!
//! A directory has the files of both roles, with QEMU's and Cloud Hypervisor's names: `ca-cert.pem` (who issued the certificates of the other end; there may be several),
//! `server-cert.pem` and `server-key.pem` to receive, `client-cert.pem` and `client-key.pem` to send.
//!
//! Invariants:
//! - No byte of a migration is sent or believed before both certificates were verified: issuer, time, purpose; of the destination also the host's name.
//! - There is no version but 1.3, no resumption, no early data.
//! - A handshake has a deadline as a whole, whatever comes.

mod error;
mod files;
mod stream;

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use rustls::server::WebPkiClientVerifier;
use rustls::version::TLS13;
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection};

pub use error::TlsError;
use files::{Files, Role};
pub use stream::TlsStream;

use crate::wire::Transport;

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The source's end.
#[derive(Clone, Debug)]
pub struct TlsClient(Arc<ClientConfig>);

impl TlsClient {
    /// Reads its files, and checks them as far as that is possible alone.
    ///
    /// # Errors
    /// One is missing, is no such file, or would not be accepted by an end with the same `ca-cert.pem`.
    pub fn load(directory: &Path) -> Result<Self, TlsError> {
        let files = Files::read(directory, Role::Client)?;
        let provider = provider();
        let accepts = WebPkiClientVerifier::builder_with_provider(
            Arc::clone(&files.issuers),
            Arc::clone(&provider),
        );
        let accepts = accepts.build().map_err(|error| files.issuer_problem(&error))?;
        let (own, others) = files.own_chain()?;
        files.check_own(accepts.verify_client_cert(own, others, files::now()).map(drop))?;
        let verifier = WebPkiServerVerifier::builder_with_provider(
            Arc::clone(&files.issuers),
            Arc::clone(&provider),
        );
        let verifier = verifier.build().map_err(|error| files.issuer_problem(&error))?;
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| files.own_problem(&error))?
            .with_webpki_verifier(verifier);
        let (chain, key) = files.own();
        let config = config.with_client_auth_cert(chain, key);
        let mut config = config.map_err(|error| files.own_problem(&error))?;
        config.resumption = Resumption::disabled();
        Ok(Self(Arc::new(config)))
    }

    /// A connection to the destination on this host. Its handshake is part of its first read or write, or of [`TlsStream::complete`].
    ///
    /// # Errors
    /// No certificate can be for such a host.
    pub fn connect<S: Transport>(&self, socket: S, host: &str) -> Result<TlsStream<S>, TlsError> {
        let connection = ClientConnection::new(Arc::clone(&self.0), name_of(host)?);
        let connection = connection.map_err(|error| TlsError::handshake(&error))?;
        Ok(TlsStream::new(connection.into(), socket))
    }
}

/// The destination's end.
#[derive(Clone, Debug)]
pub struct TlsServer(Arc<ServerConfig>);

impl TlsServer {
    /// Reads its files, and checks them as far as that is possible alone.
    ///
    /// # Errors
    /// One is missing, is no such file, or would not be accepted by an end with the same `ca-cert.pem`.
    pub fn load(directory: &Path) -> Result<Self, TlsError> {
        let files = Files::read(directory, Role::Server)?;
        let provider = provider();
        let accepts = WebPkiServerVerifier::builder_with_provider(
            Arc::clone(&files.issuers),
            Arc::clone(&provider),
        );
        let accepts = accepts.build().map_err(|error| files.issuer_problem(&error))?;
        files.check_server(&*accepts)?;
        let verifier = WebPkiClientVerifier::builder_with_provider(
            Arc::clone(&files.issuers),
            Arc::clone(&provider),
        );
        let verifier = verifier.build().map_err(|error| files.issuer_problem(&error))?;
        let (chain, key) = files.own();
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| files.own_problem(&error))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key);
        let mut config = config.map_err(|error| files.own_problem(&error))?;
        // Nothing is resumed.
        config.send_tls13_tickets = 0;
        Ok(Self(Arc::new(config)))
    }

    /// Shakes hands with a source, and tells it that it was verified.
    ///
    /// # Errors
    /// It shows no certificate that is accepted, or does not accept this end, or not in time.
    pub fn accept<S: Transport>(
        &self,
        socket: S,
        patience: Duration,
    ) -> Result<TlsStream<S>, TlsError> {
        let connection = ServerConnection::new(Arc::clone(&self.0));
        let connection = connection.map_err(|error| TlsError::handshake(&error))?;
        let mut stream = TlsStream::new(connection.into(), socket);
        stream.complete(patience)?;
        Ok(stream)
    }
}

/// What the destination's certificate has to be for.
fn name_of(host: &str) -> Result<ServerName<'static>, TlsError> {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Ok(ServerName::IpAddress(address.into()));
    }
    ServerName::try_from(bare.to_owned()).map_err(|_| TlsError::Host(host.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address() {
        for (host, is_address) in
            [("other", false), ("a.b.example", false), ("10.0.0.1", true), ("[::1]", true)]
        {
            let name = name_of(host).unwrap();
            assert_eq!(matches!(name, ServerName::IpAddress(_)), is_address, "{host}");
        }
        for host in ["", "a b", "[10.0.0"] {
            let error = name_of(host).unwrap_err();
            assert!(matches!(&error, TlsError::Host(told) if told == host), "{error}");
        }
    }
}
