//! A copy of the workspace's sources, in which mutations are made and models built.
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::list::Mutation;
use crate::paths;
use crate::suites::cargo::{self, MODELS};

/// What of the root is no source.
const LEFT_OUT: [&str; 2] = ["target", ".git"];

/// Which models.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Models {
    /// Every one.
    All,
    /// Those over the crates below `vmm`.
    WithoutVmm,
}

/// The copy.
pub struct Copy {
    root: PathBuf,
    built: PathBuf,
}

impl Copy {
    /// Makes it anew. What was built of the last one is kept: dependencies are the same.
    pub fn make() -> Result<Self> {
        let dir = paths::target().join("mutants/models");
        let (root, built) = (dir.join("tree"), dir.join("built"));
        if root.exists() {
            fs::remove_dir_all(&root)
                .with_context(|| format!("cannot clear {}", root.display()))?;
        }
        copy(paths::workspace(), &root, &LEFT_OUT)
            .with_context(|| format!("cannot copy the sources to {}", root.display()))?;
        Ok(Self { root, built })
    }

    /// Builds the models over the code as it is; those over `vmm`, the largest crate, only if they are wanted.
    pub fn build(&self, wanted: Models) -> Command {
        let mut command = Command::new(crate::build::cargo());
        command
            .current_dir(&self.root)
            .args(["build", "--release", "--package", MODELS, "--bin", MODELS])
            .env("CARGO_TARGET_DIR", &self.built)
            .env("RUSTFLAGS", cargo::rustflags_with("loom"))
            .env("CARGO_PROFILE_RELEASE_LTO", "off")
            // It is built once for each mutation, and runs for seconds.
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
            .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
            .env("CARGO_INCREMENTAL", "1");
        if wanted == Models::WithoutVmm {
            command.arg("--no-default-features");
        }
        command
    }

    /// Explores a model. One that does not come to an end is ended after `seconds`.
    pub fn explore(&self, model: &str, seconds: u32) -> Command {
        let mut command = Command::new("timeout");
        command.arg(seconds.to_string()).arg(self.built.join("release").join(MODELS)).arg(model);
        command
    }

    /// Makes a mutation while `then` runs.
    pub fn with<T>(&self, mutation: &Mutation, then: impl FnOnce() -> Result<T>) -> Result<T> {
        let path = self.root.join(&mutation.file);
        let changed = mutation.applied(&self.root)?;
        let original = fs::read_to_string(&path)?;
        fs::write(&path, changed)?;
        let result = then();
        fs::write(&path, original)?;
        result
    }
}

fn copy(from: &Path, to: &Path, left_out: &[&str]) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if left_out.iter().any(|out| name == *out) {
            continue;
        }
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy(&entry.path(), &to.join(name), &[])?;
        } else if kind.is_file() {
            fs::copy(entry.path(), to.join(name))?;
        }
    }
    Ok(())
}
