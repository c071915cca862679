//! What the Linux guests boot from, built once a version into the target directory: Debian's stock cloud
//! kernel as a bzImage and as the ELF inside it, and an initramfs.
//!
//! The initramfs obeys one word of the kernel's command line, `sp.run=`; see `guest-init.sh`.
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::{bzimage, fio, tree};
use crate::packages::Packages;
use crate::tool;

/// The guest's first program.
const INIT: &str = include_str!("guest-init.sh");
/// A program that looks whether the VM is what it was.
const WITNESS: &str = include_str!("../../guest/witness.rs");

/// Drivers of the VM's devices, which this kernel has as modules. They are loaded when a test asks for them.
const MODULES: [&str; 11] = [
    "virtio_pci",
    "virtio_blk",
    "virtio_net",
    "virtio_rng",
    "virtio_balloon",
    "virtio_mem",
    "virtio_console",
    "vmw_vsock_virtio_transport",
    "button",
    "evdev",
    "pvpanic_mmio",
];

/// Those that only Debian's kernel for real machines has.
const STOCK_MODULES: [&str; 1] = ["i6300esb"];

/// The files of a guest.
#[derive(Clone)]
pub struct Guest {
    dir: PathBuf,
}

impl Guest {
    /// The guest whose files lie in `dir`.
    pub fn at(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// Builds the files into `dir`, or leaves them when they are as they should be.
    pub fn build(dir: &Path, packages: &Packages) -> Result<Self> {
        std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let guest = Self::at(dir);
        let bzimage = read(&packages.guest_kernel.image)?;
        if std::fs::read(guest.bzimage()).ok().as_ref() != Some(&bzimage) {
            let vmlinux = bzimage::vmlinux(&bzimage).with_context(|| {
                format!("no ELF kernel in {}", packages.guest_kernel.image.display())
            })?;
            write(&guest.vmlinux(), &vmlinux)?;
            // Last: that it is there says that the other is.
            write(&guest.bzimage(), &bzimage)?;
        }
        let mut root = tree::Tree::new(&packages.busybox, INIT)?;
        root.host_file(&tree::lscpu()?, "usr/bin/lscpu")?;
        root.program(&packages.socat, "usr/bin/socat")?;
        root.program(&fio::program(&packages.fio, dir)?, "usr/bin/fio")?;
        let witness = witness(dir)?;
        root.host_file(&witness, "usr/bin/witness")?;
        std::fs::remove_file(witness)?;
        root.modules(&packages.guest_kernel.modules, &MODULES)?;
        write(&guest.initramfs(), &root.finish())?;
        write(&guest.stock_bzimage(), &read(&packages.host_kernel.image)?)?;
        let mut root = tree::Tree::new(&packages.busybox, INIT)?;
        root.modules(&packages.host_kernel.modules, &STOCK_MODULES)?;
        write(&guest.stock_initramfs(), &root.finish())?;
        Ok(guest)
    }

    /// The kernel as the distribution ships it.
    pub fn bzimage(&self) -> PathBuf {
        self.dir.join("vmlinuz")
    }

    /// Debian's kernel for real machines, which has drivers that the cloud kernel lacks.
    pub fn stock_bzimage(&self) -> PathBuf {
        self.dir.join("stock-vmlinuz")
    }

    /// The initial file system for that one.
    pub fn stock_initramfs(&self) -> PathBuf {
        self.dir.join("stock-initramfs")
    }

    /// The ELF kernel, with a PVH note.
    pub fn vmlinux(&self) -> PathBuf {
        self.dir.join("vmlinux")
    }

    /// Where all of them are.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The initial file system.
    pub fn initramfs(&self) -> PathBuf {
        self.dir.join("initramfs")
    }
}

/// Compiles the guest's own program; where it is.
fn witness(dir: &Path) -> Result<PathBuf> {
    let id = std::process::id();
    let (source, program) =
        (dir.join(format!("witness.{id}.rs")), dir.join(format!("witness.{id}")));
    write(&source, WITNESS.as_bytes())?;
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut compile = Command::new(rustc);
    compile.args(["--edition", "2024", "--crate-name", "witness", "-O", "-D", "warnings"]);
    let compiled = tool::output(compile.arg(&source).arg("-o").arg(&program));
    std::fs::remove_file(&source)?;
    compiled.map(|_| program)
}

fn read(file: &Path) -> Result<Vec<u8>> {
    std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}

/// Writes a whole file or none: other runs may use the old one right now.
fn write(file: &Path, bytes: &[u8]) -> Result<()> {
    let new = file.with_extension(format!("{}.new", std::process::id()));
    std::fs::write(&new, bytes)
        .and_then(|()| std::fs::rename(&new, file))
        .with_context(|| format!("cannot write {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::INIT;

    /// A command sent in answer to a greeting that came first was echoed into the guest's answer:
    /// "checkSP cpus=4".
    #[test]
    fn the_guest_greets_when_it_echoes_no_longer() {
        let place = |what| INIT.find(what).unwrap_or(usize::MAX);
        assert!(place("stty -echo") < place("\necho \"SP-READY\""));
        assert_ne!(place("\necho \"SP-READY\""), usize::MAX);
    }
}
