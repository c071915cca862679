//! Disk images on the host: made, and looked into after a guest has written them.
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::vm::text;
use crate::tool;

/// A directory for the images of one test, which goes with it.
pub struct Images {
    dir: PathBuf,
}

impl Images {
    /// A new one for the test `name`.
    pub fn new(name: &str) -> Result<Self> {
        let dir =
            std::env::temp_dir().join(format!("stillpoint-images-{}-{name}", std::process::id()));
        std::fs::create_dir(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        Ok(Self { dir })
    }

    /// A raw image of so many MiB with an empty ext4.
    pub fn raw(&self, name: &str, mib: u64) -> Result<PathBuf> {
        let image = self.dir.join(format!("{name}.raw"));
        std::fs::File::create(&image)?.set_len(mib << 20)?;
        tool::output(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image))?;
        Ok(image)
    }

    /// An empty ext4 on what has direct I/O. In the nested host, whose file systems lie in memory, that is a block device in
    /// memory, which nobody else has there.
    pub fn direct(&self, name: &str) -> Result<PathBuf> {
        if std::env::var_os("STILLPOINT_GUEST").is_none() {
            return self.raw(name, 16);
        }
        let device = PathBuf::from("/dev/ram0");
        tool::output(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&device))?;
        Ok(device)
    }

    /// The same as qcow2.
    pub fn qcow2(&self, name: &str, mib: u64) -> Result<PathBuf> {
        let raw = self.raw(&format!("{name}.source"), mib)?;
        let image = self.dir.join(format!("{name}.qcow2"));
        convert(&raw, "raw", &image, "qcow2")?;
        std::fs::remove_file(raw)?;
        Ok(image)
    }

    /// Another file here.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

impl Drop for Images {
    fn drop(&mut self) {
        // It lies in the temporary directory.
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// A qcow2 image: consistent in itself, and what is in it as a raw image.
pub fn checked_qcow2(image: &Path) -> Result<PathBuf> {
    tool::output(Command::new("qemu-img").args(["check", "-f", "qcow2"]).arg(image))?;
    let raw = image.with_extension("converted.raw");
    convert(image, "qcow2", &raw, "raw")?;
    Ok(raw)
}

/// A raw image's file system: consistent, and with files of these checksums (lines `sum  name`).
pub fn check_raw(images: &Images, image: &Path, sums: &[String]) -> Result<()> {
    tool::output(Command::new("e2fsck").args(["-f", "-n"]).arg(image))?;
    ensure!(!sums.is_empty(), "the guest has said no checksums");
    for line in sums {
        let (sum, name) = line.split_once("  ").with_context(|| format!("no checksum: {line}"))?;
        let copy = images.path("dumped");
        let request = format!("dump {name} {}", text(&copy)?);
        tool::output(Command::new("debugfs").args(["-R", &request]).arg(image))?;
        let found = tool::output(Command::new("sha256sum").arg(&copy))?;
        ensure!(
            found.split_whitespace().next() == Some(sum),
            "{name} in {} is not what the guest has written: {found}",
            image.display()
        );
    }
    Ok(())
}

/// A raw image of which the guest lost its disk while it was mounted: what the journal holds makes it consistent.
pub fn recover(image: &Path) -> Result<()> {
    let status = Command::new("e2fsck").args(["-f", "-p"]).arg(image).stdin(Stdio::null()).status();
    // 1: errors were corrected, which is what the journal is for.
    let code = status.context("cannot start e2fsck")?.code();
    ensure!(matches!(code, Some(0 | 1)), "e2fsck -p of {} ended with {code:?}", image.display());
    tool::output(Command::new("e2fsck").args(["-f", "-n"]).arg(image)).map(drop)
}

fn convert(from: &Path, format: &str, to: &Path, into: &str) -> Result<()> {
    let mut command = Command::new("qemu-img");
    command.args(["convert", "-f", format, "-O", into]).arg(from).arg(to);
    tool::output(&mut command).map(drop)
}
