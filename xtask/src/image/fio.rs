//! fio, with the libraries that it needs for what it does here.
//!
//! Debian's fio is linked with the clients of several storage clusters, 80 MB of libraries, which its loader wants to see
//! although no job here uses those engines. In their place it gets libraries with the names and versions of the same functions,
//! each of which is a trap.
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::packages::{Fio, Program};
use crate::tool;

/// Libraries that are not used, by how the names of their functions begin; of two that fit the first one counts.
const UNUSED: [(&str, &str); 8] = [
    ("glfs_", "libgfapi.so.0"),
    ("nbd_", "libnbd.so.0"),
    ("ibv_", "libibverbs.so.1"),
    ("rdma_", "librdmacm.so.1"),
    ("rados_", "librados.so.2"),
    ("rbd_", "librbd.so.1"),
    ("pmemblk_", "libpmemblk.so.1"),
    ("pmem_", "libpmem.so.1"),
];

/// Functions by the version that is asked for, which may be none.
type Versions = BTreeMap<String, Vec<String>>;

/// fio with a directory of libraries, which is made below `dir`.
pub fn program(fio: &Fio, dir: &Path) -> Result<Program> {
    let libraries = dir.join(format!("fio-libraries.{}", std::process::id()));
    std::fs::create_dir_all(&libraries)
        .with_context(|| format!("cannot make {}", libraries.display()))?;
    for package in &fio.libraries {
        copy_libraries(package, &libraries)?;
    }
    let symbols = Command::new("nm").args(["-D", "--undefined-only"]).arg(&fio.file).output();
    let symbols = symbols.context("cannot start `nm`: install binutils")?;
    let symbols = String::from_utf8_lossy(&symbols.stdout).into_owned();
    for (prefix, library) in UNUSED {
        build(&libraries, library, &functions(&symbols, prefix))?;
    }
    Ok(Program { file: fio.file.clone(), libraries })
}

/// The functions in nm's lines that begin like this.
fn functions(symbols: &str, prefix: &str) -> Versions {
    let mut versions = Versions::new();
    let names = symbols.lines().filter_map(|line| line.split_whitespace().last());
    for symbol in names.filter(|name| name.starts_with(prefix)) {
        let (name, version) = symbol.split_once('@').unwrap_or((symbol, ""));
        versions.entry(version.to_owned()).or_default().push(name.to_owned());
    }
    versions
}

/// A library of traps.
fn build(dir: &Path, library: &str, versions: &Versions) -> Result<()> {
    let (mut source, mut script) = (String::new(), String::new());
    for (version, functions) in versions {
        for function in functions {
            writeln!(source, "void {function}(void) {{ __builtin_trap(); }}")?;
        }
        writeln!(script, "{version} {{ global: {}; }};", functions.join("; "))?;
    }
    let (code, map) = (dir.join("traps.c"), dir.join("traps.map"));
    std::fs::write(&code, source)?;
    std::fs::write(&map, script)?;
    let mut compile = Command::new("cc");
    compile.args(["-shared", "-nostdlib", "-fPIC"]).arg(format!("-Wl,-soname,{library}"));
    if !versions.is_empty() {
        compile.arg(format!("-Wl,--version-script,{}", map.display()));
    }
    tool::output(compile.arg("-o").arg(dir.join(library)).arg(&code)).map(drop)
}

/// The shared libraries in an unpacked package, wherever they lie, below each of their names.
fn copy_libraries(package: &Path, to: &Path) -> Result<()> {
    for dir in ["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"] {
        let Ok(entries) = std::fs::read_dir(package.join(dir)) else { continue };
        for entry in entries {
            let from: PathBuf = entry?.path();
            if let Some(name) = from.file_name().filter(|_| from.is_file()) {
                std::fs::copy(&from, to.join(name))
                    .with_context(|| format!("cannot copy {}", from.display()))?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Versions, functions};

    #[test]
    fn functions_are_found_by_prefix_and_version() {
        let symbols = "                 U glfs_close@GFAPI_3.4.0\n                 U rbd_open\n                 w __gmon_start__\n";
        let versions = |version: &str, name: &str| {
            Versions::from([(version.to_owned(), vec![name.to_owned()])])
        };
        assert_eq!(functions(symbols, "glfs_"), versions("GFAPI_3.4.0", "glfs_close"));
        assert_eq!(functions(symbols, "rbd_"), versions("", "rbd_open"));
        assert_eq!(functions(symbols, "nbd_"), Versions::new());
    }
}
