//! Debian packages: unpacked into the user's cache directory, one directory a version, so that
//! nothing is installed; only QEMU, which needs its many libraries, is installed (by root).
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::paths;
use crate::progress::step;
use crate::tool;

/// The packages of the nested host and of its guests, unpacked.
pub struct Packages {
    /// Kernel with KVM and its modules.
    pub host_kernel: Kernel,
    /// Debian's stock cloud kernel.
    pub guest_kernel: Kernel,
    /// A static busybox.
    pub busybox: PathBuf,
    /// Programs that make disk images and look into them.
    pub image_tools: Vec<PathBuf>,
    /// A program that knows vsock.
    pub socat: Program,
    /// A program that writes disks and verifies them.
    pub fio: Fio,
}

/// fio, and those of its libraries that it gets.
pub struct Fio {
    /// The program.
    pub file: PathBuf,
    /// Unpacked packages.
    pub libraries: Vec<PathBuf>,
}

/// A program, and where its libraries are that this machine may lack.
pub struct Program {
    /// The program.
    pub file: PathBuf,
    /// The directory of its libraries.
    pub libraries: PathBuf,
}

/// A kernel package.
pub struct Kernel {
    /// The bzImage.
    pub image: PathBuf,
    /// `…/lib/modules/VERSION`.
    pub modules: PathBuf,
}

impl Packages {
    /// Fetches what is not in the cache yet.
    pub fn fetch() -> Result<Self> {
        for needed in ["apt-get", "apt-cache", "dpkg"] {
            if !tool::exists(needed) {
                bail!("`{needed}` is missing: the Linux guests come from Debian packages");
            }
        }
        refresh_lists()?;
        let host_kernel = unpack_kernel("linux-image-amd64")?;
        let guest_kernel = unpack_kernel("linux-image-cloud-amd64")?;
        let busybox = unpack("busybox-static")?;
        let busybox = ["bin/busybox", "usr/bin/busybox"]
            .iter()
            .map(|name| busybox.join(name))
            .find(|file| file.is_file())
            .context("the package busybox-static holds no bin/busybox")?;
        let image_tools = image_tools(&unpack("e2fsprogs")?, &unpack("qemu-utils")?)?;
        let socat = Program {
            file: unpack("socat")?.join("usr/bin/socat"),
            libraries: unpack("libwrap0")?.join("usr/lib/x86_64-linux-gnu"),
        };
        let fio = Fio {
            file: unpack("fio")?.join("usr/bin/fio"),
            libraries: ["libaio1", "libnuma1"]
                .iter()
                .map(|library| unpack(&dependency("fio", library)?))
                .collect::<Result<_>>()?,
        };
        Ok(Self { host_kernel, guest_kernel, busybox, image_tools, socat, fio })
    }
}

/// mkfs.ext4, e2fsck, debugfs and qemu-img in these unpacked packages. Their libraries are those of this machine.
fn image_tools(e2fsprogs: &Path, qemu_utils: &Path) -> Result<Vec<PathBuf>> {
    let wanted = [
        (e2fsprogs, "sbin/mkfs.ext4"),
        (e2fsprogs, "sbin/e2fsck"),
        (e2fsprogs, "sbin/debugfs"),
        (qemu_utils, "bin/qemu-img"),
    ];
    let find = |(root, name): &(&Path, &str)| {
        let places = [root.join(name), root.join("usr").join(name)];
        let found = places.into_iter().find(|file| file.is_file());
        found.with_context(|| format!("there is no {name} in {}", root.display()))
    };
    wanted.iter().map(find).collect()
}

/// The directory that holds `iasl`, where the search path has none.
///
/// # Errors
/// It is missing, and cannot be had from a package.
pub fn iasl() -> Result<Option<PathBuf>> {
    const PROGRAM: &str = "iasl";
    const PACKAGE: &str = "acpica-tools";
    if tool::exists(PROGRAM) {
        return Ok(None);
    }
    for needed in ["apt-get", "apt-cache", "dpkg"] {
        if !tool::exists(needed) {
            bail!("{PROGRAM} is missing, and `{needed}`, which would fetch it");
        }
    }
    refresh_lists()?;
    let programs = unpack(PACKAGE)?.join("usr/bin");
    if !programs.join(PROGRAM).is_file() {
        bail!("the package {PACKAGE} holds no usr/bin/{PROGRAM}");
    }
    Ok(Some(programs))
}

/// Makes sure that QEMU for x86-64 is there.
///
/// # Errors
/// One line that names what to install, when it is missing and this is not root's process.
pub fn ensure_qemu() -> Result<()> {
    const PROGRAM: &str = "qemu-system-x86_64";
    const INSTALL: &str = "apt-get install -y --no-install-recommends qemu-system-x86";
    if tool::exists(PROGRAM) {
        return Ok(());
    }
    if !tool::is_root() || !tool::exists("apt-get") {
        bail!("{PROGRAM} is missing: run `{INSTALL}` as root");
    }
    refresh_lists()?;
    step(INSTALL);
    let mut words = INSTALL.split(' ');
    let mut install = Command::new(words.next().unwrap_or_default());
    tool::output(install.args(words).env("DEBIAN_FRONTEND", "noninteractive"))?;
    if !tool::exists(PROGRAM) {
        bail!("qemu-system-x86 was installed, but there is no {PROGRAM} on the search path");
    }
    Ok(())
}

/// Fetches the lists of packages, once, when apt knows none.
fn refresh_lists() -> Result<()> {
    if candidate("linux-image-amd64").is_ok() {
        return Ok(());
    }
    if !tool::is_root() {
        bail!("apt knows no package linux-image-amd64: run `apt-get update` as root");
    }
    step("apt-get update");
    tool::output(Command::new("apt-get").arg("update"))?;
    Ok(())
}

/// The version of `package` that apt would fetch.
fn candidate(package: &str) -> Result<String> {
    let policy =
        tool::output(Command::new("apt-cache").env("LC_ALL", "C").args(["policy", package]))?;
    let version = policy.lines().find_map(|line| line.trim().strip_prefix("Candidate: "));
    match version.filter(|version| *version != "(none)") {
        Some(version) => Ok(version.to_owned()),
        None => bail!("apt knows no package {package}"),
    }
}

/// The package that `package` depends on whose name begins like this: a library's name changes with its ABI.
fn dependency(package: &str, begins: &str) -> Result<String> {
    let depends = tool::output(Command::new("apt-cache").args(["depends", package]))?;
    depends
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .find(|name| name.starts_with(begins))
        .map(str::to_owned)
        .with_context(|| format!("the package {package} depends on no {begins}…"))
}

/// Follows a metapackage such as `linux-image-amd64` to the kernel that it stands for.
fn unpack_kernel(meta: &str) -> Result<Kernel> {
    let package = dependency(meta, "linux-image-")?;
    let root = unpack(&package)?;
    let version = package.trim_start_matches("linux-image-").trim_end_matches("-unsigned");
    let image = root.join("boot").join(format!("vmlinuz-{version}"));
    let modules = ["lib/modules", "usr/lib/modules"]
        .iter()
        .map(|dir| root.join(dir).join(version))
        .find(|dir| dir.is_dir())
        .with_context(|| format!("the package {package} holds no lib/modules/{version}"))?;
    if !image.is_file() {
        bail!("the package {package} holds no boot/vmlinuz-{version}");
    }
    Ok(Kernel { image, modules })
}

/// The directory that holds the unpacked `package`; fetched if the cache lacks this version.
///
/// The directory appears by a rename, so that it is whole whenever it is there.
fn unpack(package: &str) -> Result<PathBuf> {
    let version = candidate(package)?;
    let packages = paths::cache()?.join("packages");
    let done = packages.join(format!("{package}_{}", version.replace(':', "%3a")));
    if done.is_dir() {
        return Ok(done);
    }
    step(format_args!("fetching the package {package} {version}"));
    let scratch = packages.join(format!("{package}.{}.new", std::process::id()));
    let root = scratch.join("root");
    std::fs::create_dir_all(&root).with_context(|| format!("cannot make {}", root.display()))?;
    let name = format!("{package}={version}");
    tool::output(Command::new("apt-get").args(["download", &name]).current_dir(&scratch))?;
    let archive = only_deb(&scratch)?;
    tool::output(Command::new("dpkg").arg("-x").arg(&archive).arg(&root))?;
    if let Err(error) = std::fs::rename(&root, &done) {
        // Another process may have been faster; its copy is as good.
        if !done.is_dir() {
            return Err(error).with_context(|| format!("cannot make {}", done.display()));
        }
    }
    std::fs::remove_dir_all(&scratch)
        .with_context(|| format!("cannot remove {}", scratch.display()))?;
    Ok(done)
}

fn only_deb(dir: &Path) -> Result<PathBuf> {
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "deb") {
            return Ok(path);
        }
    }
    bail!("apt-get download left no .deb in {}", dir.display())
}
