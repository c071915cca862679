//! What the nested host's initial file system holds.
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::image::cpio::Kind;
use crate::image::guest::Guest;
use crate::image::tree::{self, Tree};
use crate::packages::Packages;

/// Kernel modules: KVM on AMD, taps and what joins them to a network, the disk and the ports that results come back on, and block devices in memory: its
/// file systems lie in memory, too, and have no direct I/O.
const MODULES: [&str; 8] =
    ["kvm-amd", "tun", "veth", "bridge", "virtio_pci", "virtio_blk", "virtio_console", "brd"];

/// All that goes in.
pub struct Contents<'a> {
    /// Kernel modules and busybox.
    pub packages: &'a Packages,
    /// The VMM.
    pub stillpoint: &'a Path,
    /// Its bzImage and initramfs go to `/guest`.
    pub guest: &'a Guest,
    /// More files, with their paths.
    pub files: &'a [(PathBuf, String)],
    /// The command, word by word.
    pub command: &'a [String],
}

impl Contents<'_> {
    /// The initramfs.
    pub fn pack(&self) -> Result<Vec<u8>> {
        let mut root = Tree::new(&self.packages.busybox, include_str!("init.sh"))?;
        root.modules(&self.packages.host_kernel.modules, &MODULES)?;
        // First, so that they take the place of what would be there otherwise.
        for (from, to) in self.files {
            root.host_file(from, to)?;
        }
        root.directory("files");
        root.directory("out");
        root.host_file(self.stillpoint, "usr/local/bin/stillpoint")?;
        root.host_file(&tree::lscpu()?, "usr/bin/lscpu")?;
        root.host_file(&self.guest.bzimage(), "guest/vmlinuz")?;
        root.host_file(&self.guest.initramfs(), "guest/initramfs")?;
        let words: Vec<String> = self.command.iter().map(|word| quote(word)).collect();
        root.file("sp/command", Kind::Data, format!("exec {}\n", words.join(" ")).as_bytes());
        Ok(root.finish())
    }
}

/// The word in single quotes, in which a shell sees nothing special.
fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::quote;

    proptest! {
        #[test]
        fn a_shell_reads_back_what_was_quoted(word in "[^\0]{0,20}") {
            let script = format!("printf %s {}", quote(&word));
            let out = Command::new("sh").args(["-c", &script]).output().unwrap();
            prop_assert_eq!(String::from_utf8_lossy(&out.stdout), word);
        }
    }
}
