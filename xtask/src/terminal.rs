//! The terminal of this program, for an interactive run.
use std::io::IsTerminal;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

/// Restores the terminal's settings when it goes: QEMU does too, but not when it is killed.
pub struct Terminal {
    settings: String,
    /// Rows and columns.
    size: Option<(u16, u16)>,
}

impl Terminal {
    /// Remembers the settings of the terminal on standard input.
    pub fn remember() -> Result<Self> {
        if !std::io::stdin().is_terminal() {
            bail!("standard input is no terminal; there is nobody to type");
        }
        let settings = stty(&["-g"]).unwrap_or_default();
        Ok(Self { settings, size: stty(&["size"]).and_then(|size| parse_size(&size)) })
    }

    /// Words of a kernel's command line that tell its first program what the terminal is; each after a space.
    pub fn words(&self) -> String {
        let size = self.size.map(|(rows, columns)| format!(" sp.rows={rows} sp.columns={columns}"));
        let term = std::env::var("TERM").ok().map(|term| format!(" sp.term={term}"));
        format!("{}{}", size.unwrap_or_default(), term.unwrap_or_default())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if !self.settings.is_empty() {
            let _ = stty(&[&self.settings]);
        }
    }
}

fn stty(args: &[&str]) -> Option<String> {
    let out = Command::new("stty").args(args).stdin(Stdio::inherit()).output().ok()?;
    out.status.success().then(|| String::from_utf8_lossy(&out.stdout).trim().to_owned())
}

fn parse_size(text: &str) -> Option<(u16, u16)> {
    let (rows, columns) = text.split_once(' ')?;
    let size = (rows.parse().ok()?, columns.parse().ok()?);
    (size.0 > 0 && size.1 > 0).then_some(size)
}

#[cfg(test)]
mod tests {
    use super::parse_size;

    #[test]
    fn sizes() {
        assert_eq!(parse_size("24 80"), Some((24, 80)));
        assert_eq!(parse_size("0 0"), None);
        assert_eq!(parse_size("speed"), None);
    }
}
