//! Why there is no TLS, and what would be right.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, Error};

/// Why two ends cannot speak TLS with each other.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file of the directory cannot be read.
    #[error("cannot read {}: {source}; a TLS directory has, {needs}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
        /// What has to be there.
        needs: &'static str,
    },
    /// A file has something else in it than it should.
    #[error("{}: {problem}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A certificate and a key do not go together.
    #[error("{} cannot be used with {}: {problem}; give the certificate that was made for this key",
        key.display(), certificate.display())]
    Pair {
        /// The certificate.
        certificate: PathBuf,
        /// The key.
        key: PathBuf,
        /// What is wrong with them.
        problem: String,
    },
    /// No certificate could be for this host.
    #[error("no certificate can be for the host {0:?}: give a name, or an address")]
    Host(String),
    /// The other end does not accept this end's certificate.
    #[error("the other end does not accept this end's certificate: {0}")]
    Refused(String),
    /// This end does not accept the other's certificate.
    #[error("the other end's certificate: {0}")]
    NotAccepted(String),
    /// What comes is no TLS.
    #[error("the other end speaks no TLS; it needs a TLS directory, too ({0})")]
    NoTls(String),
    /// It speaks TLS, but not of migrations.
    #[error("the other end speaks TLS, but receives no VMs")]
    NoMigration,
    /// Something else is wrong with what comes.
    #[error("no TLS 1.3 with the other end: {0}")]
    Protocol(String),
    /// The connection ended.
    #[error(
        "the other end closed the connection in the TLS handshake; has it a TLS directory, and does it accept this end's certificate?"
    )]
    Closed,
    /// The deadline passed.
    #[error("the other end did not finish the TLS handshake in time")]
    TimedOut,
    /// The connection broke.
    #[error("the connection broke in the TLS handshake: {0}")]
    Io(#[from] io::Error),
}

impl TlsError {
    /// What went wrong between two ends.
    pub(super) fn handshake(error: &Error) -> Self {
        match error {
            Error::InvalidCertificate(error) => Self::NotAccepted(certificate_problem(error)),
            Error::NoCertificatesPresented => Self::NotAccepted("it shows none".to_owned()),
            Error::InvalidMessage(what) => Self::NoTls(format!("{what:?}")),
            Error::AlertReceived(alert) => alerted(*alert),
            error => Self::Protocol(error.to_string()),
        }
    }
}

/// What the other end says.
fn alerted(alert: AlertDescription) -> TlsError {
    use AlertDescription as A;
    TlsError::Refused(match alert {
        A::UnknownCA => "its ca-cert.pem is not of who issued this one".to_owned(),
        A::DecryptError => {
            "its signature is not that of the issuer in the other end's ca-cert.pem".to_owned()
        }
        A::CertificateExpired => "it has expired, by the other end's clock".to_owned(),
        A::CertificateRequired => "none was shown".to_owned(),
        A::BadCertificate | A::CertificateUnknown | A::UnsupportedCertificate => {
            format!("it is not valid for that host, or not for this purpose ({alert:?})")
        }
        A::AccessDenied | A::CertificateRevoked => format!("{alert:?}"),
        A::DecodeError | A::UnexpectedMessage | A::IllegalParameter => {
            return TlsError::Protocol(format!(
                "it did not understand what this end says ({alert:?})"
            ));
        }
        other => return TlsError::Protocol(format!("it says {other:?}")),
    })
}

/// What is wrong with a certificate.
pub(super) fn certificate_problem(error: &CertificateError) -> String {
    match error {
        CertificateError::Expired => "it has expired".to_owned(),
        CertificateError::ExpiredContext { time, not_after } => {
            format!("it has expired {} ago", span(*not_after, *time))
        }
        CertificateError::NotValidYet => "it is not valid yet".to_owned(),
        CertificateError::NotValidYetContext { time, not_before } => {
            format!("it is valid in {} only; are the clocks right?", span(*time, *not_before))
        }
        CertificateError::UnknownIssuer => {
            "it was not issued by any of those in ca-cert.pem".to_owned()
        }
        CertificateError::BadSignature => {
            "its signature is not that of the issuer in ca-cert.pem".to_owned()
        }
        CertificateError::NotValidForName => "it is for another host".to_owned(),
        CertificateError::NotValidForNameContext { expected, presented } => {
            let those = if presented.is_empty() { "none".to_owned() } else { presented.join(", ") };
            format!("it is not for the host {}; it is for: {those}", expected.to_str())
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "it was made for another purpose (a destination's is for serverAuth, a source's for clientAuth)"
                .to_owned()
        }
        other => other.to_string(),
    }
}

/// From one moment to another, roughly.
fn span(from: UnixTime, to: UnixTime) -> String {
    let seconds = Duration::from_secs(to.as_secs().saturating_sub(from.as_secs())).as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} minutes", seconds / 60),
        7200..172_800 => format!("{} hours", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_ago_is_told_in_two_digits_or_so() {
        let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        for (seconds, expected) in
            [(0, "0 s"), (119, "119 s"), (120, "2 minutes"), (7200, "2 hours"), (400_000, "4 days")]
        {
            assert_eq!(span(at(10), at(10 + seconds)), expected);
        }
        assert_eq!(span(at(10), at(5)), "0 s");
    }

    #[test]
    fn what_the_other_end_says_is_told_with_what_would_be_right() {
        for (alert, told) in [
            (AlertDescription::UnknownCA, "ca-cert.pem"),
            (AlertDescription::CertificateExpired, "expired"),
            (AlertDescription::CertificateRequired, "none was shown"),
            (AlertDescription::DecodeError, "did not understand"),
            (AlertDescription::ProtocolVersion, "TLS 1.3"),
        ] {
            let error = TlsError::handshake(&Error::AlertReceived(alert)).to_string();
            assert!(error.contains(told), "{error}");
        }
    }
}
