//! Kernel modules: finding them in a kernel package and in which order to load them.
//!
//! A package carries no `modules.dep`, so each module is asked what it depends on: its `.modinfo` section holds
//! NUL-terminated `key=value` strings, `depends=a,b` among them (kernel: `scripts/mod/modpost.c`).
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// A module, ready to be loaded.
pub struct Module {
    /// Its name with underscores, as the kernel spells it.
    pub name: String,
    /// The uncompressed object.
    pub object: Vec<u8>,
}

/// `wanted` and all that they depend on, each after what it depends on.
pub fn in_load_order(modules: &Path, wanted: &[&str]) -> Result<Vec<Module>> {
    let mut files = HashMap::new();
    index(modules, &mut files)?;
    let mut order = Vec::new();
    let mut seen = HashSet::new();
    for name in wanted {
        visit(name, &files, &mut seen, &mut order)?;
    }
    Ok(order)
}

fn visit(
    name: &str,
    files: &HashMap<String, PathBuf>,
    seen: &mut HashSet<String>,
    order: &mut Vec<Module>,
) -> Result<()> {
    let name = name.replace('-', "_");
    if !seen.insert(name.clone()) {
        return Ok(());
    }
    let file =
        files.get(&name).with_context(|| format!("the kernel package has no module {name}"))?;
    let object = read(file)?;
    for dependency in dependencies(&object) {
        visit(&dependency, files, seen, order)?;
    }
    order.push(Module { name, object });
    Ok(())
}

/// Maps the name of each module below `dir` to its file.
fn index(dir: &Path, files: &mut HashMap<String, PathBuf>) -> Result<()> {
    let entries =
        std::fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))?;
    for entry in entries {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            index(&path, files)?;
            continue;
        }
        let file_name = entry.file_name().to_string_lossy().into_owned();
        let stem = [".ko", ".ko.xz", ".ko.zst"].iter().find_map(|end| file_name.strip_suffix(end));
        if let Some(stem) = stem {
            files.insert(stem.replace('-', "_"), path);
        }
    }
    Ok(())
}

fn read(file: &Path) -> Result<Vec<u8>> {
    let program = match file.extension().and_then(|end| end.to_str()) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        _ => return std::fs::read(file).with_context(|| format!("cannot read {}", file.display())),
    };
    let out = Command::new(program).arg("-dc").arg(file).output();
    let out =
        out.with_context(|| format!("cannot start `{program}`, needed for {}", file.display()))?;
    if !out.status.success() {
        bail!("`{program}` can't unpack {}", file.display());
    }
    Ok(out.stdout)
}

/// What `.modinfo` in this object says the module depends on.
fn dependencies(object: &[u8]) -> Vec<String> {
    let key = b"\0depends=";
    let Some(at) = object.windows(key.len()).position(|window| window == key) else {
        return Vec::new();
    };
    let value = object[at + key.len()..].split(|byte| *byte == 0).next().unwrap_or_default();
    let value = String::from_utf8_lossy(value);
    value.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(dir: &Path, name: &str, depends: &str) {
        std::fs::write(dir.join(name), format!("ELF\0license=GPL\0depends={depends}\0end"))
            .unwrap();
    }

    #[test]
    fn dependencies_come_first_and_once() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "kvm-amd.ko", "kvm,ccp");
        std::fs::create_dir(dir.path().join("sub")).unwrap();
        write(&dir.path().join("sub"), "kvm.ko", "irqbypass");
        write(dir.path(), "irqbypass.ko", "");
        write(dir.path(), "ccp.ko", "");

        let order = in_load_order(dir.path(), &["kvm-amd", "kvm"]).unwrap();

        let names: Vec<_> = order.iter().map(|module| module.name.as_str()).collect();
        assert_eq!(names, ["irqbypass", "kvm", "ccp", "kvm_amd"]);
    }

    #[test]
    fn a_missing_module_is_named() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "a.ko", "gone");
        let error = in_load_order(dir.path(), &["a"]).err().unwrap();
        assert!(error.to_string().contains("no module gone"), "{error}");
    }
}
