//! Whether the images of disks can be had by their paths: each by itself, and all beside each other.
use std::collections::BTreeMap;
use std::fs::Metadata;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use rustix::fs::Access;

use super::validate::invalid;
use super::{ConfigError, DiskConfig, VmConfig};

/// Where the images of disks come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Images {
    /// They are opened by their paths.
    ByPath,
    /// Another VMM has passed them; paths may lead anywhere.
    Open,
}

impl VmConfig {
    /// Images that disks would share.
    pub(super) fn check_images(&self) -> Result<(), ConfigError> {
        let mut images: BTreeMap<(u64, u64), (String, bool)> = BTreeMap::new();
        for (index, disk) in self.disks.iter().enumerate() {
            let place = format!("disks[{index}]");
            // What is not there was told before, or has gone since: then nobody shares it.
            let Ok(metadata) = std::fs::metadata(&disk.path) else { continue };
            let entry = images.entry(identity(&metadata));
            let (other, readonly) = entry.or_insert_with(|| (place.clone(), disk.readonly));
            if *other != place && !(*readonly && disk.readonly) {
                let what = format!(
                    "{}; disks can share an image only if all of them are readonly=on",
                    disk.path.display()
                );
                return twice(other, &place, &what);
            }
        }
        Ok(())
    }
}

/// Two want what one can have.
pub(super) fn twice(one: &str, other: &str, what: &str) -> Result<(), ConfigError> {
    Err(invalid(&format!("{one} and {other}"), &format!("both want {what}")))
}

/// The file behind a path, whatever its name.
fn identity(metadata: &Metadata) -> (u64, u64) {
    if metadata.file_type().is_block_device() {
        (u64::MAX, metadata.rdev())
    } else {
        (metadata.dev(), metadata.ino())
    }
}

/// What is wrong with the path of a disk's image.
pub(super) fn image_problem(disk: &DiskConfig) -> Result<(), String> {
    let metadata = std::fs::metadata(&disk.path).map_err(|error| error.to_string())?;
    let kind = metadata.file_type();
    if kind.is_dir() {
        return Err("is a directory".to_owned());
    }
    if !kind.is_file() && !kind.is_block_device() {
        return Err("is neither a regular file nor a block device".to_owned());
    }
    if kind.is_file() && metadata.len() == 0 {
        return Err("is empty; give the image a size first (truncate -s 10G)".to_owned());
    }
    if disk.readonly {
        accessible(&disk.path, Access::READ_OK)
    } else {
        accessible(&disk.path, Access::READ_OK | Access::WRITE_OK)
            .map_err(|error| format!("{error}; readonly=on would open it for reading only"))
    }
}

/// Asked for, not tried: to open a device can do something to it.
pub(super) fn accessible(path: &Path, access: Access) -> Result<(), String> {
    rustix::fs::accessat(rustix::fs::CWD, path, access, rustix::fs::AtFlags::EACCESS)
        .map_err(|error| std::io::Error::from(error).to_string())
}
