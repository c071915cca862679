//! Where something is, as a URL: `file://` and an absolute path for a snapshot, `unix:` and a path or `tcp:host:port` for the
//! other end of a migration.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::ConfigError;
use super::validate::invalid;

/// The other end of a migration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkUrl {
    /// A Unix socket.
    Unix(PathBuf),
    /// A host and a port.
    Tcp(String),
}

impl FromStr for LinkUrl {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("{url:?} {why}; give unix:/path or tcp:host:port");
        if let Some(path) = url.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if !path.starts_with('/') {
                return Err(wrong("has no absolute path"));
            }
            return Ok(Self::Unix(PathBuf::from(path)));
        }
        let Some(address) = url.strip_prefix("tcp:") else {
            return Err(wrong("is no address for a migration"));
        };
        let address = address.strip_prefix("//").unwrap_or(address);
        match address.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
                Ok(Self::Tcp(address.to_owned()))
            }
            _ => Err(wrong("has no host and port")),
        }
    }
}

impl fmt::Display for LinkUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp:{address}"),
        }
    }
}

/// The URL of the other end in the field `field`.
pub fn link_url(field: &'static str, url: &str) -> Result<LinkUrl, ConfigError> {
    url.parse().map_err(|problem: String| invalid(field, &problem))
}

/// The directory that the field `field` names.
pub fn file_url(field: &'static str, url: &str) -> Result<PathBuf, ConfigError> {
    let path = url.strip_prefix("file://").map(Path::new);
    path.filter(|path| path.is_absolute()).map(Path::to_owned).ok_or_else(|| {
        let problem = format!("{url:?} is no directory here; give file:// and an absolute path");
        invalid(field, &problem)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_where_the_other_end_is() {
        for (url, expected) in [
            ("unix:/run/x", LinkUrl::Unix("/run/x".into())),
            ("unix:///run/x", LinkUrl::Unix("/run/x".into())),
            ("tcp:host:1", LinkUrl::Tcp("host:1".to_owned())),
            ("tcp://[::1]:65535", LinkUrl::Tcp("[::1]:65535".to_owned())),
        ] {
            assert_eq!(url.parse(), Ok(expected), "{url}");
        }
        for url in
            ["", "unix:", "unix:x", "unix://x", "tcp:host", "tcp::1", "tcp:h:65536", "http://x"]
        {
            let problem = url.parse::<LinkUrl>().unwrap_err();
            assert!(problem.contains("give unix:/path or tcp:host:port"), "{problem}");
        }
    }

    #[test]
    fn a_snapshot_is_in_an_absolute_directory() {
        assert_eq!(file_url("source_url", "file:///a/b").unwrap(), Path::new("/a/b"));
        for url in ["/a/b", "file://a/b", "file:/a", "http:///a", ""] {
            let error = file_url("source_url", url).unwrap_err().to_string();
            assert!(error.contains("source_url") && error.contains("file://"), "{error}");
        }
    }
}
