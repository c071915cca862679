//! A process's memory as `/proc/PID/maps` and `smaps` show it (`proc_pid_maps(5)`, `proc_pid_smaps(5)`).

use anyhow::{Context, Result};

/// The name of guest RAM's memfd, as the mapping shows it.
const GUEST_RAM: &str = "/memfd:stillpoint-ram";

/// One mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Where it begins.
    pub start: u64,
    /// Offset of its beginning in the file.
    pub offset: u64,
    /// File or kind; empty for anonymous memory.
    pub name: String,
    /// Proportional set size in KiB; 0 where the file does not tell.
    pub pss_kib: u64,
}

impl Mapping {
    /// Whether it is guest RAM.
    pub fn is_guest_ram(&self) -> bool {
        self.name.starts_with(GUEST_RAM)
    }
}

/// The mappings of a process with their PSS.
pub fn with_pss(pid: u32) -> Result<Vec<Mapping>> {
    read(&format!("/proc/{pid}/smaps"))
}

/// The mappings of a process.
pub fn without_pss(pid: u32) -> Result<Vec<Mapping>> {
    read(&format!("/proc/{pid}/maps"))
}

fn read(path: &str) -> Result<Vec<Mapping>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    parse(&text).with_context(|| format!("{path} has an unknown format"))
}

fn parse(text: &str) -> Option<Vec<Mapping>> {
    let mut mappings: Vec<Mapping> = Vec::new();
    for line in text.lines() {
        if let Some(mapping) = head(line) {
            mappings.push(mapping);
        } else if let Some(value) = line.strip_prefix("Pss:") {
            mappings.last_mut()?.pss_kib = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
        }
    }
    Some(mappings)
}

/// `start-end perms offset device inode name`.
fn head(line: &str) -> Option<Mapping> {
    let (range, rest) = line.split_once(' ')?;
    let (start, end) = range.split_once('-')?;
    u64::from_str_radix(end, 16).ok()?;
    let mut fields = rest.splitn(5, ' ');
    let (_perms, offset, _device, _inode) =
        (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    Some(Mapping {
        start: u64::from_str_radix(start, 16).ok()?,
        offset: u64::from_str_radix(offset, 16).ok()?,
        name: fields.next().unwrap_or_default().trim().to_owned(),
        pss_kib: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMAPS: &str = "\
55d0c0a00000-55d0c0a3b000 r--p 00001000 fe:00 1311 /usr/bin/stillpoint
Size:                236 kB
Rss:                 200 kB
Pss:                 100 kB
Pss_Dirty:             7 kB
VmFlags: rd mr mw me sd
7f2c00000000-7f2c20000000 rw-s 00000000 00:01 1044 /memfd:stillpoint-ram (deleted)
Pss:              524288 kB
7f2c40000000-7f2c40021000 rw-p 00000000 00:00 0
Pss:                  12 kB
";

    #[test]
    fn mappings_and_their_pss_are_read() {
        let mappings = parse(SMAPS).unwrap();
        let short: Vec<_> =
            mappings.iter().map(|m| (m.start, m.offset, m.name.as_str(), m.pss_kib)).collect();
        assert_eq!(
            short,
            [
                (0x55d0_c0a0_0000, 0x1000, "/usr/bin/stillpoint", 100),
                (0x7f2c_0000_0000, 0, "/memfd:stillpoint-ram (deleted)", 524_288),
                (0x7f2c_4000_0000, 0, "", 12),
            ]
        );
        assert_eq!(mappings.iter().position(Mapping::is_guest_ram), Some(1));
    }

    #[test]
    fn own_mappings_are_found() {
        let own = with_pss(std::process::id()).unwrap();
        assert!(own.iter().any(|m| m.name == "[stack]"));
        assert!(own.iter().map(|m| m.pss_kib).sum::<u64>() > 100);
        assert!(without_pss(std::process::id()).unwrap().len() > 3);
    }

    #[test]
    fn a_size_before_any_mapping_is_no_smaps() {
        assert_eq!(parse("Pss: 4 kB\n"), None);
        assert_eq!(parse("0-1 r--p 0 0:0 0 x\nPss: many kB\n"), None);
    }
}
