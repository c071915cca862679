//! How VMs are found: a directory of sockets, one per VM, named after it.
//!
//! The directory is `$XDG_RUNTIME_DIR/stillpoint`, else `/run/user/UID/stillpoint`, else
//! `/tmp/stillpoint-UID`. It is the user's own, with mode 0700: whoever can connect to a socket in
//! it controls the VM.
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::failure::Failure;

const SUFFIX: &str = ".sock";

/// The directory; it need not exist.
fn directory() -> PathBuf {
    let uid = rustix::process::getuid().as_raw();
    let run = PathBuf::from(format!("/run/user/{uid}"));
    match std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from) {
        Some(base) if base.is_absolute() => base.join("stillpoint"),
        _ if run.is_dir() => run.join("stillpoint"),
        _ => PathBuf::from(format!("/tmp/stillpoint-{uid}")),
    }
}

/// The directory, made if it is missing, and refused unless it is private: in `/tmp` anybody
/// could have made it first.
fn private_directory() -> Result<PathBuf, Failure> {
    let path = directory();
    let failed = |why: &dyn std::fmt::Display| {
        Failure::Failed(format!("runtime directory {}: {why}", path.display()))
    };
    match DirBuilder::new().mode(0o700).create(&path) {
        Ok(()) => return Ok(path),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed(&error)),
    }
    let metadata = std::fs::symlink_metadata(&path).map_err(|error| failed(&error))?;
    let uid = rustix::process::getuid().as_raw();
    if !metadata.is_dir() {
        Err(failed(&"is no directory"))
    } else if metadata.uid() != uid {
        Err(failed(&format!("belongs to user {}, not to user {uid}", metadata.uid())))
    } else if metadata.permissions().mode() & 0o077 != 0 {
        Err(failed(&"is open to other users; chmod it to 0700"))
    } else {
        Ok(path)
    }
}

/// Checks a name that shall become a file's.
fn check(name: &str) -> Result<(), Failure> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.is_empty() || name.len() > 64 {
        Err(Failure::Usage(format!("--name {name:?}: a name has 1 to 64 characters")))
    } else if !name.chars().all(fits) || name.starts_with(['.', '-']) {
        Err(Failure::Usage(format!(
            "--name {name:?}: a name has letters, digits, \".\", \"_\" and \"-\", \
             and begins with a letter, a digit or \"_\""
        )))
    } else {
        Ok(())
    }
}

/// The socket of a VM of that name, which need not exist.
pub fn socket_of(name: &str) -> Result<PathBuf, Failure> {
    check(name)?;
    Ok(private_directory()?.join(format!("{name}{SUFFIX}")))
}

/// Names that are free unless somebody is faster: `vm-1`, `vm-2`, …
pub fn generated() -> impl Iterator<Item = String> {
    (1_u32..).map(|number| format!("vm-{number}"))
}

/// The name in a socket's path.
pub fn name_of(socket: &Path) -> String {
    let file = socket.file_name().unwrap_or(socket.as_os_str()).to_string_lossy();
    file.strip_suffix(SUFFIX).unwrap_or(&file).to_owned()
}

/// The sockets of all VMs that have a name, dead or alive, sorted by name.
pub fn sockets() -> Result<Vec<PathBuf>, Failure> {
    if !directory().exists() {
        return Ok(Vec::new());
    }
    let path = private_directory()?;
    let failed = |error: &io::Error| Failure::of(path.display(), error);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&path).map_err(|error| failed(&error))? {
        let entry = entry.map_err(|error| failed(&error))?;
        if entry.file_name().as_encoded_bytes().ends_with(SUFFIX.as_bytes()) {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_the_directory() {
        for good in ["web", "vm-1", "a.b_C", "_x", &"x".repeat(64)] {
            assert!(check(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "../x", "a/b", "-v", "a b", "ä", "a\0", &"x".repeat(65)] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_socket_tells_its_name() {
        assert_eq!(name_of(Path::new("/run/x/web.sock")), "web");
        assert_eq!(name_of(Path::new("/tmp/api")), "api");
    }
}
