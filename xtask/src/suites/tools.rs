//! Cargo subcommands that the suites need: the user's own, else one in the user's cache directory.
use std::path::PathBuf;

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
    let root = paths::cache()?.join("tools");
    let program = root.join("bin").join(name);
    if !program.is_file() {
        step(format_args!("building {name}, once"));
        let mut install = cargo(&["install", "--quiet", "--locked", "--debug", name, "--root"]);
        tool::output(install.arg(&root))
            .with_context(|| format!("{name} is missing and could not be built"))?;
    }
    Ok(program)
}
