//! Cargo subcommands that the suites need: the user's own, else one in the user's cache directory.
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::cargo::cargo;
use crate::paths;
use crate::progress::step;
use crate::tool;

/// Where the program `name` is; built from its registry if it is missing, without optimisation, which
/// takes longer than it would save.
pub fn ensure(name: &str) -> Result<PathBuf> {
    if let Some(program) = tool::find(name) {
        return Ok(program);
    }
    installed(name, name, &paths::cache()?.join("tools"))
}

/// Like [`ensure`], for a program of which one version gives other answers than the next: that version.
pub fn ensure_version(name: &str, version: &str) -> Result<PathBuf> {
    let root = paths::cache()?.join("tools").join(format!("{name}-{version}"));
    installed(name, &format!("{name}@{version}"), &root)
}

fn installed(name: &str, package: &str, root: &Path) -> Result<PathBuf> {
    let program = root.join("bin").join(name);
    if !program.is_file() {
        step(format_args!("building {package}, once"));
        let mut install = cargo(&["install", "--quiet", "--locked", "--debug", package, "--root"]);
        tool::output(install.arg(root))
            .with_context(|| format!("{name} is missing and could not be built"))?;
    }
    Ok(program)
}
