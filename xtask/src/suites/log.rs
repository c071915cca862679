//! The log file of a suite: everything that its commands write, in the order in which they write it.
use std::fs::File;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::paths;
use crate::tool;

/// What a command came to.
pub struct Ran {
    /// Whether its exit status was 0.
    pub success: bool,
    /// Its exit status, if it was not ended by a signal.
    pub code: Option<i32>,
    /// Both its streams.
    pub text: String,
    /// Where they are kept.
    pub file: PathBuf,
}

/// Runs `command` with both its streams in the file `NAME.log` in `target/test-logs`.
pub fn run(name: &str, command: &mut Command) -> Result<Ran> {
    let dir = paths::target().join("test-logs");
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let file = dir.join(format!("{name}.log"));
    let shown = tool::describe(command);
    let out = File::create(&file).with_context(|| format!("cannot write {}", file.display()))?;
    let err = out.try_clone()?;
    let status = command
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        .status()
        .with_context(|| format!("cannot start `{shown}`"))?;
    let text = String::from_utf8_lossy(&std::fs::read(&file)?).into_owned();
    Ok(Ran { success: status.success(), code: status.code(), text, file })
}
