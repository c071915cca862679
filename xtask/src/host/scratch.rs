//! The files of one run of the nested host. They go away when the run went well; when not, the small ones stay for a
//! look at them.
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};

use crate::paths;
use crate::tool;

/// A directory of one run.
pub struct Scratch {
    dir: PathBuf,
}

impl Scratch {
    /// A new directory.
    pub fn new() -> Result<Self> {
        // One process may have several.
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}-{number}", std::process::id());
        let dir = paths::target().join("nested-host").join(name);
        std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        Ok(Self { dir })
    }

    /// The nested host's initial file system.
    pub fn initramfs(&self) -> PathBuf {
        self.dir.join("initramfs")
    }

    /// What its kernel and its first program said.
    pub fn console(&self) -> PathBuf {
        self.dir.join("console.log")
    }

    /// What the emulator has to say about resets.
    pub fn emulator_log(&self) -> PathBuf {
        self.dir.join("emulator.log")
    }

    /// The exit status of the command, when it ended.
    pub fn status(&self) -> PathBuf {
        self.dir.join("status")
    }

    /// Whether a processor of the machine shut down by a triple fault, as far as the emulator said so.
    pub fn triple_fault(&self) -> bool {
        let log = std::fs::read(self.emulator_log()).unwrap_or_default();
        String::from_utf8_lossy(&log).contains("Triple fault")
    }

    /// The disk that it writes a tar archive of `/out` to.
    pub fn disk(&self) -> PathBuf {
        self.dir.join("out.tar")
    }

    /// Makes the disk, sparse, as large as all memory: `/out` lies in memory.
    pub fn make_disk(&self, mem: u32) -> Result<()> {
        let disk = File::create(self.disk()).context("cannot make the disk for /out")?;
        disk.set_len(u64::from(mem) << 20).context("cannot size the disk for /out")
    }

    /// Unpacks the disk into `out`.
    pub fn unpack_disk(&self, out: &Path) -> Result<()> {
        std::fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
        let mut tar = Command::new("tar");
        tar.arg("--no-same-owner").arg("-xf").arg(self.disk()).arg("-C").arg(out);
        tool::output(&mut tar).context("cannot unpack what came back in /out")?;
        Ok(())
    }

    /// Removes all of it.
    pub fn remove(self) -> Result<()> {
        std::fs::remove_dir_all(&self.dir)
            .with_context(|| format!("cannot remove {}", self.dir.display()))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Large, and made anew in a second; gone already when the run went well.
        let _ = std::fs::remove_file(self.initramfs());
    }
}
