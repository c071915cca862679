//! The image as a file: a loader takes it, and its tables are where the layout says.

use crate::loaded::load;
use stillpoint_guest::{IMAGE, layout};
use vm_memory::GuestAddress;

#[test]
fn a_loader_puts_it_where_the_layout_says() {
    let result = load().result;
    assert_eq!(result.kernel_load, GuestAddress(layout::ENTRY));
    assert_eq!(result.kernel_end, layout::MEMORY_END, "memory size covers all the guest uses");
}

#[test]
fn the_header_is_that_of_an_x86_64_executable() {
    assert_eq!(&IMAGE[..7], b"\x7fELF\x02\x01\x01");
    assert_eq!(IMAGE[16..20], [2, 0, 62, 0], "ET_EXEC, EM_X86_64");
    let field = |at: usize| u64::from_le_bytes(IMAGE[at..at + 8].try_into().unwrap());
    let (offset, file_size) = (field(64 + 8), field(64 + 32));
    assert_eq!(offset + file_size, IMAGE.len() as u64, "the segment ends with the file");
    assert_eq!(offset % 0x1000, layout::IMAGE_BASE % 0x1000);
}

#[test]
fn the_image_is_small() {
    assert!(IMAGE.len() <= 40 * 1024, "{} bytes", IMAGE.len());
}

#[test]
fn every_gate_leads_into_the_kernel() {
    let loaded = load();
    let code = layout::ENTRY..layout::IMAGE_LIMIT;
    for vector in 0..u64::from(layout::IDT_VECTORS) {
        let low = loaded.word(layout::IDT + vector * 16);
        let high = loaded.word(layout::IDT + vector * 16 + 8);
        let handler = low & 0xFFFF | low >> 32 & 0xFFFF_0000 | high << 32;
        assert!(code.contains(&handler), "vector {vector:#x}: {handler:#x}");
        assert_eq!(low >> 16 & 0xFFFF, u64::from(layout::KERNEL_CS));
        assert_eq!(low >> 40 & 0xFF, 0x8E, "vector {vector:#x} is an interrupt gate");
        let own_stack = matches!(vector, 2 | 8);
        assert_eq!(low >> 32 & 7, u64::from(own_stack), "IST of vector {vector:#x}");
    }
}

#[test]
fn the_trampoline_points_to_the_gdt_and_fits_its_copy() {
    let loaded = load();
    let trampoline = loaded.bytes(layout::TRAMPOLINE_IMAGE, 0x100);
    let code = trampoline.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    assert!(code < 0x100);
    let pointer = &trampoline[0x60..0x66];
    assert_eq!(u16::from_le_bytes([pointer[0], pointer[1]]), layout::FIRST_TSS + 16 * 1024 - 1);
    assert_eq!(u64::from(u32::from_le_bytes(pointer[2..].try_into().unwrap())), layout::GDT);
}
