//! An initial file system that holds busybox, and programs of this machine with their shared libraries.
use std::collections::HashSet;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::cpio::{Archive, Kind};
use super::modules;
use crate::packages::Program;
use crate::tool;

/// A file system that grows; every path is added once, with its parents.
pub struct Tree {
    archive: Archive,
    seen: HashSet<String>,
}

impl Tree {
    /// A file system with busybox (no links to it: `busybox --install` makes them), `init` as its first program,
    /// and the mount points and devices that a kernel wants.
    pub fn new(busybox: &Path, init: &str) -> Result<Self> {
        let mut tree = Self { archive: Archive::default(), seen: HashSet::new() };
        for dir in [
            "dev", "proc", "sys", "tmp", "root", "run", "bin", "sbin", "usr/bin", "usr/sbin", "etc",
        ] {
            tree.directory(dir);
        }
        tree.archive.character_device("dev/console", 5, 1);
        tree.archive.character_device("dev/null", 1, 3);
        tree.host_file(busybox, "bin/busybox")?;
        tree.file("init", Kind::Program, init.as_bytes());
        Ok(tree)
    }

    /// Adds a directory and its parents.
    pub fn directory(&mut self, path: &str) {
        let path = path.trim_matches('/');
        if path.is_empty() || self.seen.contains(path) {
            return;
        }
        self.parents(path);
        self.seen.insert(path.to_owned());
        self.archive.directory(path);
    }

    /// Adds a file. A path that is there already stays as it is.
    pub fn file(&mut self, path: &str, kind: Kind, bytes: &[u8]) {
        let path = path.trim_matches('/');
        if self.seen.contains(path) {
            return;
        }
        self.parents(path);
        self.seen.insert(path.to_owned());
        self.archive.file(path, kind, bytes);
    }

    /// Adds a file or, with all that it holds, a directory of this machine.
    ///
    /// Programs that are linked dynamically bring their libraries along.
    pub fn host_file(&mut self, from: &Path, to: &str) -> Result<()> {
        use std::os::unix::fs::PermissionsExt;
        let meta =
            std::fs::metadata(from).with_context(|| format!("cannot read {}", from.display()))?;
        if meta.is_dir() {
            self.directory(to);
            for entry in std::fs::read_dir(from)? {
                let entry = entry?;
                self.host_file(
                    &entry.path(),
                    &format!("{to}/{}", entry.file_name().to_string_lossy()),
                )?;
            }
            return Ok(());
        }
        let bytes =
            std::fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
        let kind = if meta.permissions().mode() & 0o111 == 0 { Kind::Data } else { Kind::Program };
        if kind == Kind::Program && bytes.starts_with(b"\x7fELF") {
            self.libraries(from, None)?;
        }
        self.file(to, kind, &bytes);
        Ok(())
    }

    /// Adds a program with its libraries, of which some lie in a package and not where a loader looks.
    pub fn program(&mut self, program: &Program, to: &str) -> Result<()> {
        self.libraries(&program.file, Some(&program.libraries))?;
        let bytes = std::fs::read(&program.file)
            .with_context(|| format!("cannot read {}", program.file.display()))?;
        self.file(to, Kind::Program, &bytes);
        Ok(())
    }

    /// Adds these modules and what they depend on, and `etc/modules` with their paths in the order to load them in.
    pub fn modules(&mut self, package: &Path, wanted: &[&str]) -> Result<()> {
        let mut list = String::new();
        for module in modules::in_load_order(package, wanted)? {
            let path = format!("lib/modules/{}.ko", module.name);
            self.file(&path, Kind::Data, &module.object);
            list.push('/');
            list.push_str(&path);
            list.push('\n');
        }
        self.file("etc/modules", Kind::Data, list.as_bytes());
        Ok(())
    }

    /// The finished initramfs, uncompressed: unpacking would cost an emulated processor more than reading.
    pub fn finish(self) -> Vec<u8> {
        self.archive.finish()
    }

    fn parents(&mut self, path: &str) {
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.directory(parent);
        }
    }

    /// Adds what the dynamic loader would load for `program`, at the same paths; what it finds in `package`, where the
    /// loader looks first.
    fn libraries(&mut self, program: &Path, package: Option<&Path>) -> Result<()> {
        let mut ldd = Command::new("ldd");
        ldd.arg(program).env("LC_ALL", "C");
        if let Some(package) = package {
            ldd.env("LD_LIBRARY_PATH", package);
        }
        let out = ldd.output().context("cannot start `ldd`")?;
        if !out.status.success() {
            // A static program; ldd says so by failing.
            return Ok(());
        }
        for line in String::from_utf8_lossy(&out.stdout).lines() {
            if line.contains("not found") {
                bail!("{} needs a library that is missing: {}", program.display(), line.trim());
            }
            // `name => /path (address)` or `/path (address)`; the vDSO has no path.
            let path = line.split_whitespace().find(|word| word.starts_with('/'));
            if let Some(path) = path.filter(|path| !self.seen.contains(path.trim_matches('/'))) {
                let bytes = std::fs::read(path).with_context(|| format!("cannot read {path}"))?;
                let name = package.and_then(|package| Path::new(path).strip_prefix(package).ok());
                match name {
                    Some(name) => {
                        let to = format!("usr/lib/x86_64-linux-gnu/{}", name.display());
                        self.file(&to, Kind::Program, &bytes);
                    }
                    None => self.file(path, Kind::Program, &bytes),
                }
            }
        }
        Ok(())
    }
}

/// Where on this machine `lscpu` is; Debian's essential package util-linux has it.
pub fn lscpu() -> Result<std::path::PathBuf> {
    tool::find("lscpu").context("`lscpu` is missing: install util-linux")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_and_libraries_come_along() {
        let dir = tempfile::tempdir().unwrap();
        let busybox = dir.path().join("busybox");
        std::fs::write(&busybox, "static").unwrap();

        let mut tree = Tree::new(&busybox, "#!init").unwrap();
        tree.host_file(&std::env::current_exe().unwrap(), "a/b/program").unwrap();

        for path in ["a", "a/b", "a/b/program", "bin/busybox", "init"] {
            assert!(tree.seen.contains(path), "{path} is missing");
        }
        assert!(tree.seen.iter().any(|path| path.contains("libc.so")), "{:?}", tree.seen);
    }
}
