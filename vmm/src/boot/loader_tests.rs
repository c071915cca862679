//! Whole payloads: what ends up where in guest memory.

use std::io::Write;

use linux_loader::loader::bootparam::boot_params;
use linux_loader::loader::elf::start_info::{hvm_modlist_entry, hvm_start_info};

use super::*;
use crate::boot::test_images::{self, LOAD};

const PVH_ENTRY: u32 = 0x20_0001;

fn payload<'a>(bytes: &'a [u8], cmdline: &'a str) -> Payload<'a> {
    let kernel = KernelSource::Memory { name: "test", bytes };
    Payload { kernel, initramfs: None, cmdline, entry: EntryPreference::Auto }
}

fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    file
}

fn text(ram: &GuestRam, at: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    ram.memory().read_slice(&mut bytes, GuestAddress(at)).unwrap();
    bytes
}

#[test]
fn a_bzimage_gets_a_zero_page() {
    let ram = test_images::ram(64 << 20);
    let initramfs = file(&[7; 100]);
    let image = test_images::bzimage(b"code");
    let payload = Payload { initramfs: Some(initramfs.path()), ..payload(&image, "console=ttyS0") };

    let loaded = load(&ram, &payload).unwrap();

    assert_eq!(loaded.entry, Entry::Long64 { rip: GuestAddress(LOAD + 0x200) });
    let initramfs = loaded.initramfs.unwrap();
    assert_eq!(initramfs, (64 << 20) - 4096..(64 << 20) - 4096 + 100);
    let params: boot_params = ram.memory().read_obj(layout::ZERO_PAGE).unwrap();
    assert_eq!({ params.hdr.boot_flag }, 0xAA55);
    assert_eq!({ params.hdr.version }, 0x20F, "the kernel's own header comes back");
    assert_eq!({ params.hdr.type_of_loader }, 0xFF);
    assert_eq!(u64::from(params.hdr.ramdisk_image), initramfs.start);
    assert_eq!({ params.hdr.ramdisk_size }, 100);
    assert_eq!({ params.acpi_rsdp_addr }, 0xE_0000);
    assert_eq!({ params.e820_entries }, 7);
    let last_ram = { params.e820_table }[4];
    assert_eq!(({ last_ram.addr }, { last_ram.size }, { last_ram.r#type }), (1 << 20, 63 << 20, 1));
    let cmdline = u64::from(params.hdr.cmd_line_ptr);
    assert_eq!(text(&ram, cmdline, 14), b"console=ttyS0\0");
}

#[test]
fn the_seed_is_new_for_each_boot() {
    let seed = || {
        let ram = test_images::ram(64 << 20);
        load(&ram, &payload(&test_images::bzimage(b"code"), "")).unwrap();
        let params: boot_params = ram.memory().read_obj(layout::ZERO_PAGE).unwrap();
        let bytes = text(&ram, params.hdr.setup_data, 48);
        assert_eq!(bytes[..16], [0, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 32, 0, 0, 0]);
        bytes[16..].to_vec()
    };
    assert_ne!(seed(), seed());
}

#[test]
fn an_elf_with_a_note_gets_start_info() {
    let ram = test_images::ram(5 << 30);
    let initramfs = file(&[7; 5000]);
    let image = test_images::elf(b"code", LOAD, Some(PVH_ENTRY));
    let payload = Payload { initramfs: Some(initramfs.path()), ..payload(&image, "quiet") };

    let loaded = load(&ram, &payload).unwrap();

    assert_eq!(loaded.entry, Entry::Pvh { eip: GuestAddress(u64::from(PVH_ENTRY)) });
    let info: hvm_start_info = ram.memory().read_obj(layout::START_INFO).unwrap();
    assert_eq!((info.magic, info.version, info.nr_modules), (0x336E_C578, 1, 1));
    assert_eq!((info.rsdp_paddr, info.memmap_entries), (0xE_0000, 8));
    assert_eq!(text(&ram, info.cmdline_paddr, 6), b"quiet\0");
    let module: hvm_modlist_entry =
        ram.memory().read_obj(GuestAddress(info.modlist_paddr)).unwrap();
    assert_eq!((module.paddr, module.size), (loaded.initramfs.unwrap().start, 5000));
    assert_eq!(module.paddr, (3 << 30) - 8192, "below the 32-bit hole");
}

#[test]
fn the_64_bit_entry_can_be_asked_for() {
    let ram = test_images::ram(8 << 20);
    let image = test_images::elf(b"code", LOAD, Some(PVH_ENTRY));
    let payload = Payload { entry: EntryPreference::Long64, ..payload(&image, "") };

    let loaded = load(&ram, &payload).unwrap();

    assert_eq!(loaded.entry, Entry::Long64 { rip: GuestAddress(LOAD) });
    let first_page = ram.memory().read_obj::<u64>(layout::PAGE_DIRECTORIES).unwrap();
    let last = GuestAddress(layout::PAGE_DIRECTORIES.0 + 4 * 4096 - 8);
    assert_eq!(first_page, 0x83);
    assert_eq!(ram.memory().read_obj::<u64>(last).unwrap(), 0xFFE0_0083);
}

#[test]
fn command_lines_have_the_kernels_limit() {
    let ram = test_images::ram(64 << 20);
    let bzimage = test_images::bzimage(b"code");
    let long = "x".repeat(256);
    assert!(load(&ram, &payload(&bzimage, &long[1..])).is_ok());
    let error = load(&ram, &payload(&bzimage, &long)).unwrap_err().to_string();
    assert_eq!(error, "the kernel command line has 256 bytes; this kernel takes at most 255");

    let elf = test_images::elf(b"code", LOAD, None);
    let error = load(&ram, &payload(&elf, &"x".repeat(2048))).unwrap_err().to_string();
    assert!(error.ends_with("at most 2047"), "{error}");
    let error = load(&ram, &payload(&elf, "a\0b")).unwrap_err().to_string();
    assert!(error.ends_with("offset 1"), "{error}");
}

#[test]
fn too_little_memory_and_bad_kernels_are_told_with_their_name() {
    let image = test_images::elf(b"code", LOAD, None);
    let error = load(&test_images::ram(1 << 20), &payload(&image, "")).unwrap_err().to_string();
    assert!(error.contains("memory size 1048576 is too little"), "{error}");

    let ram = test_images::ram(8 << 20);
    let error = load(&ram, &payload(b"nonsense", "")).unwrap_err().to_string();
    assert!(error.starts_with("kernel test: it is too short"), "{error}");

    let missing = KernelSource::File(Path::new("/nonexistent/vmlinuz"));
    let missing = Payload { kernel: missing, ..payload(&[], "") };
    let error = load(&ram, &missing).unwrap_err().to_string();
    assert!(error.starts_with("kernel /nonexistent/vmlinuz: No such file"), "{error}");
}

#[test]
fn a_file_loads_like_bytes_in_memory() {
    let ram = test_images::ram(8 << 20);
    let kernel = file(&test_images::elf(b"code", LOAD, None));
    let payload = Payload { kernel: KernelSource::File(kernel.path()), ..payload(&[], "") };
    assert_eq!(load(&ram, &payload).unwrap().kernel, LOAD..LOAD + 8);
    assert_eq!(text(&ram, LOAD, 4), b"code");
}
