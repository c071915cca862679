//! A disk for the driver guest, and where a guest finds a device.

use std::path::Path;

use stillpoint_guest::driver::{Command, OUTCOME_DONE};
use vmm::config::DiskConfig;

use super::driver::DriverVm;

/// Sectors of the disk.
pub const SECTORS: u64 = 8192;
/// What PCI calls a virtio disk, and a source of entropy (virtio 1.2, 4.1.2).
pub const DISK: u64 = 0x1042;
pub const RNG: u64 = 0x1044;

/// A new raw image in `dir`, of zeros.
pub fn image(dir: &Path, name: &str) -> DiskConfig {
    let path = dir.join(name);
    std::fs::File::create(&path).unwrap().set_len(SECTORS * 512).unwrap();
    DiskConfig::of_path(&path)
}

/// A new qcow2 image in `dir`, of nothing: two clusters of 64 KiB are its header and refcount table, then a refcount block and the L1 table.
pub fn qcow2(dir: &Path, name: &str) -> DiskConfig {
    const CLUSTER: usize = 1 << 16;
    let path = dir.join(name);
    let mut image = vec![0; 4 * CLUSTER];
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"QFI\xfb");
    put(4, &3_u32.to_be_bytes());
    put(20, &16_u32.to_be_bytes());
    put(24, &(SECTORS * 512).to_be_bytes());
    put(36, &1_u32.to_be_bytes());
    put(40, &(3 * CLUSTER as u64).to_be_bytes());
    put(48, &(CLUSTER as u64).to_be_bytes());
    put(56, &1_u32.to_be_bytes());
    // Refcounts of 16 bits, a header of 104 bytes.
    put(96, &4_u32.to_be_bytes());
    put(100, &104_u32.to_be_bytes());
    put(CLUSTER, &(2 * CLUSTER as u64).to_be_bytes());
    for cluster in 0..4 {
        put(2 * CLUSTER + 2 * cluster, &1_u16.to_be_bytes());
    }
    std::fs::write(&path, image).unwrap();
    DiskConfig::of_path(&path)
}

impl DriverVm {
    /// The slot of the first device of a kind, as the guest finds it.
    pub fn slot_of(&mut self, device_id: u64) -> u64 {
        let found = self.run(0, Command::Probe, &[]);
        assert_eq!(found[0], OUTCOME_DONE);
        let functions = &found[2..2 + usize::try_from(found[1]).unwrap()];
        let function = functions.iter().find(|function| *function & 0xFFFF == device_id);
        function.unwrap_or_else(|| panic!("{device_id:#x} is not among {functions:x?}")) >> 16
    }
}
