//! Kernel images: one byte of choices, then the image.
//!
//! No image panics or takes long. When one loads, RAM holds data only in the first MiB and where
//! the loader says that kernel and initramfs are, the entry point is in the kernel, and what
//! lies there is what the image has.
#![no_main]
use std::cell::OnceCell;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use libfuzzer_sys::fuzz_target;
use rustix::fs::{MemfdFlags, SeekFrom, memfd_create, seek};
use rustix::io::Errno;
use vm_memory::{Bytes, GuestAddress};
use vmm::boot::{Entry, EntryPreference, KernelSource, LoadedKernel, Payload, layout, load};
use vmm::config::MemoryConfig;
use vmm::memory::GuestRam;

const MIB: u64 = 1 << 20;
/// The least there can be, plenty, and a VM with RAM above the 32-bit hole.
const SIZES: [u64; 4] = [layout::MIN_RAM, 4 * MIB, 16 * MIB, (3 << 10) * MIB + 16 * MIB];
const INITRAMFS: u64 = 0x2345;

struct Bed {
    rams: Vec<GuestRam>,
    /// Kept open: the path leads to it.
    _initramfs: std::fs::File,
    initramfs: PathBuf,
}

impl Bed {
    fn new() -> Self {
        let ram = |size| {
            let config = MemoryConfig { size, thp: false, ..MemoryConfig::default() };
            GuestRam::new(&config, 46).expect("RAM")
        };
        let memfd = memfd_create("initramfs", MemfdFlags::CLOEXEC).expect("a memfd");
        let mut file = std::fs::File::from(memfd);
        file.write_all(&[0xA5; INITRAMFS as usize]).expect("written");
        Self {
            rams: SIZES.map(ram).into(),
            initramfs: format!("/proc/self/fd/{}", file.as_raw_fd()).into(),
            _initramfs: file,
        }
    }
}

/// Every page of RAM that was written lies in one of `allowed` (guest physical addresses below
/// the hole, where they are also offsets in the memfd).
fn check_writes(ram: &GuestRam, allowed: &[std::ops::Range<u64>]) {
    let mut at = 0;
    loop {
        let data = match seek(ram.memfd().expect("a memfd"), SeekFrom::Data(at)) {
            Ok(data) => data,
            // No data from there on.
            Err(Errno::NXIO) => return,
            Err(errno) => panic!("{errno}"),
        };
        let hole =
            seek(ram.memfd().expect("a memfd"), SeekFrom::Hole(data)).expect("a hole follows");
        for page in (data..hole).step_by(4096) {
            let inside =
                |range: &std::ops::Range<u64>| page + 4096 > range.start && page < range.end;
            assert!(allowed.iter().any(inside), "{page:#x} was written, allowed is {allowed:x?}");
        }
        at = hole;
    }
}

fn bytes_at(ram: &GuestRam, address: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    ram.memory().read_slice(&mut bytes, GuestAddress(address)).expect("in RAM");
    bytes
}

fn check(ram: &GuestRam, image: &[u8], cmdline: &str, loaded: &LoadedKernel) {
    let LoadedKernel { entry, kernel, initramfs } = loaded;
    assert!(MIB <= kernel.start && kernel.start < kernel.end && kernel.end <= ram.low_size());
    let entry = match entry {
        Entry::Long64 { rip } => rip.0,
        Entry::Pvh { eip } => eip.0,
    };
    assert!(kernel.contains(&entry), "entry {entry:#x} outside {kernel:x?}");
    let mut allowed = vec![0..MIB, kernel.clone()];
    if let Some(initramfs) = initramfs {
        assert!(kernel.end <= initramfs.start && initramfs.end <= ram.low_size());
        assert_eq!(initramfs.end - initramfs.start, INITRAMFS);
        assert!(
            bytes_at(ram, initramfs.start, INITRAMFS as usize).iter().all(|byte| *byte == 0xA5)
        );
        allowed.push(initramfs.clone());
    }
    check_writes(ram, &allowed);
    assert_eq!(bytes_at(ram, layout::CMDLINE.0, cmdline.len()), cmdline.as_bytes());
    if !image.starts_with(b"\x7FELF") {
        let setup = (usize::from(if image[0x1F1] == 0 { 4 } else { image[0x1F1] }) + 1) * 512;
        let code = &image[setup..];
        assert!(code.len() as u64 <= kernel.end - kernel.start, "code past the kernel's end");
        assert!(bytes_at(ram, kernel.start, code.len()) == code, "the code is not what was given");
        assert_eq!(entry, kernel.start + 0x200);
    }
}

thread_local! {
    static BED: OnceCell<Bed> = const { OnceCell::new() };
}

fuzz_target!(|input: &[u8]| {
    let [choices, image @ ..] = input else { return };
    BED.with(|bed| {
        let bed = bed.get_or_init(Bed::new);
        let ram = &bed.rams[usize::from(choices & 3)];
        let cmdline = if choices & 4 == 0 { "console=ttyS0 panic=-1" } else { "" };
        let entry = if choices & 8 == 0 { EntryPreference::Auto } else { EntryPreference::Long64 };
        let initramfs = (choices & 16 != 0).then_some(bed.initramfs.as_path());
        let kernel = KernelSource::Memory { name: "fuzz", bytes: image };
        let payload = Payload { kernel, initramfs, cmdline, entry };
        match load(ram, &payload) {
            Ok(loaded) => check(ram, image, cmdline, &loaded),
            Err(error) => {
                let message = error.to_string();
                assert!(!message.contains(char::is_control), "{message:?}");
            }
        }
        ram.discard().expect("RAM is given back");
    });
});
