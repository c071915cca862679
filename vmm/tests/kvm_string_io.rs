//! String instructions on ports: every access reaches the device, once and in order.

#![expect(clippy::unwrap_used, reason = "a test ends where its premise fails")]

mod embedded;

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use devices::bus::{AddressRange, BusDevice, Pio, Written};
use embedded::{TestVm, tiny};
use vm_memory::{Bytes, GuestAddress};
use vmm::control::VmmControl;

#[test]
fn string_output_reaches_the_serial_port_byte_by_byte() {
    const REPEATS: usize = 100;
    let text: Vec<u8> = (0..200_u8).map(|i| b'!' + i % 90).collect();
    let code = [
        0xBF, 100, 0, 0, 0, // mov edi, 100
        // again:
        0xBE, 0x20, 0x00, 0x20, 0x00, // mov esi, 200020h
        0xB9, 200, 0, 0, 0, // mov ecx, 200
        0x66, 0xBA, 0xF8, 0x03, // mov dx, 3f8h
        0xF3, 0x6E, // rep outsb
        0xFF, 0xCF, // dec edi
        0x75, 0xEC, // jne again
        0xFA, 0xF4, 0xEB, 0xFD, // cli; hlt; jmp
    ];
    let mut image = code.to_vec();
    image.resize(0x20, 0x90);
    image.extend(&text);
    let vm = TestVm::tiny(&image);
    vm.vmm.boot().unwrap();
    // A pause in the middle of the instruction neither loses nor repeats a byte.
    vm.await_that("all of the text", |vm| {
        vm.vmm.pause().unwrap();
        drop(vm.vmm.resume().unwrap());
        assert_eq!(vm.counter("serial", "output_dropped"), 0);
        vm.output().len() >= text.len() * REPEATS
    });
    vm.vmm.pause().unwrap();
    assert_eq!(vm.counter("serial", "output_bytes"), (text.len() * REPEATS) as u64);
    assert_eq!(vm.output().into_bytes(), text.repeat(REPEATS));
    let exits = vm.counter("exits", "io_out");
    assert!((1..=(text.len() * REPEATS) as u64).contains(&exits), "{exits}");
}

/// Offset 0 gives 0, 1, 2, …, a byte at a time; offset 1 says that it is there.
struct Sequence {
    next: AtomicU8,
}

impl BusDevice for Sequence {
    fn name(&self) -> &'static str {
        "sequence"
    }

    fn read(&self, offset: u64, data: &mut [u8]) {
        if offset == 1 {
            data.fill(1);
        } else {
            data.fill_with(|| self.next.fetch_add(1, Ordering::SeqCst));
        }
    }

    fn write(&self, _offset: u64, _data: &[u8]) -> Written {
        Written::Done
    }
}

#[test]
fn string_input_takes_every_access_in_order() {
    const BUFFER: u64 = 0x30_0000;
    let code = [
        &[
            0x66, 0xBA, 0x01, 0x03, // mov dx, 301h
            0xEC, // again: in al, dx
            0x3C, 0x01, // cmp al, 1
            0x75, 0xFB, // jne again
            0x66, 0xBA, 0x00, 0x03, // mov dx, 300h
            0xBF, 0x00, 0x00, 0x30, 0x00, // mov edi, 300000h
            0xB9, 100, 0, 0, 0, // mov ecx, 100
            0xF3, 0x6C, // rep insb
            0xB9, 50, 0, 0, 0, // mov ecx, 50
            0x66, 0xF3, 0x6D, // rep insw
        ][..],
        &tiny::SAY_T,
        &tiny::STOP,
    ];
    let vm = TestVm::tiny(&code.concat());
    vm.vmm.boot().unwrap();
    let machine = vm.machine();
    let ports = AddressRange::<Pio>::new(0x300, 2).unwrap();
    machine.pio.publish(ports, Arc::new(Sequence { next: AtomicU8::new(0) })).unwrap();
    vm.await_that("the end of the input", |vm| {
        vm.vmm.pause().unwrap();
        drop(vm.vmm.resume().unwrap());
        !vm.output().is_empty()
    });
    let mut buffer = [0xEE; 201];
    machine.ram.memory().read_slice(&mut buffer, GuestAddress(BUFFER)).unwrap();
    let expected: Vec<u8> = (0..200).chain([0]).collect();
    assert_eq!(&buffer[..], expected);
}
