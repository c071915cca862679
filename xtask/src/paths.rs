//! Where things are: the workspace, its target directory, and the user's cache.
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The root of the workspace that this program was built from.
pub fn workspace() -> &'static Path {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own)
}

/// The workspace's target directory.
pub fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => workspace().join(dir),
        None => workspace().join("target"),
    }
}

/// This project's part of the user's cache directory (`$XDG_CACHE_HOME`, else `~/.cache`); made if missing.
pub fn cache() -> Result<PathBuf> {
    let base = match std::env::var_os("XDG_CACHE_HOME").filter(|dir| !dir.is_empty()) {
        Some(dir) => PathBuf::from(dir),
        None => PathBuf::from(std::env::var_os("HOME").context(
            "neither XDG_CACHE_HOME nor HOME is set, so there is nowhere to keep packages",
        )?)
        .join(".cache"),
    };
    let dir = base.join("stillpoint");
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    Ok(dir)
}
