//! Building what is to be run elsewhere.
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::paths;
use crate::progress::step;

/// Builds `stillpoint` as it is released and returns where the program is.
pub fn stillpoint() -> Result<PathBuf> {
    step("building stillpoint");
    let mut cargo = Command::new(cargo());
    cargo
        .args(["build", "--quiet", "--release", "-p", "stillpoint"])
        .current_dir(paths::workspace());
    if !cargo.status().context("cannot start cargo")?.success() {
        bail!("stillpoint does not build");
    }
    Ok(paths::target().join("release/stillpoint"))
}

/// The cargo that runs this program, else the one on the search path.
pub fn cargo() -> PathBuf {
    std::env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from)
}
