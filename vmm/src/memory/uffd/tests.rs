//! Pages that threads and system calls wait for.

use rustix::event::{PollFd, PollFlags, poll};
use vm_memory::{Bytes, GuestAddress};

use super::super::write_out::write_out;
use super::*;
use crate::config::MemoryConfig;

fn ram(size: u64) -> GuestRam {
    GuestRam::new(&MemoryConfig { size, ..MemoryConfig::default() }, 46).unwrap()
}

#[test]
fn who_touches_a_missing_page_waits_for_it_and_finds_it_whole() {
    let ram = ram((3 << 30) + (1 << 20));
    let uffd = match Uffd::watch(&ram) {
        Err(UffdError::Open(error)) => return println!("left out: {error}"),
        other => other.unwrap(),
    };
    // The last page, above the hole.
    let last = ram.size() / PAGE_SIZE - 1;
    let gpa = GuestAddress((4 << 30) + (1 << 20) - PAGE_SIZE);
    let toucher = std::thread::spawn({
        let ram = ram.clone();
        move || {
            let whole: [u64; 32] = ram.memory().read_obj(gpa).unwrap();
            ram.memory().write_obj(0_u8, gpa).unwrap();
            let zeros: [u64; 32] = ram.memory().read_obj(GuestAddress(PAGE_SIZE)).unwrap();
            (whole, zeros)
        }
    });
    let mut asked = Vec::new();
    for bytes in [Some([7; 4096]), None] {
        poll(&mut [PollFd::new(&uffd, PollFlags::IN)], None).unwrap();
        let page = uffd.next_fault().unwrap().unwrap();
        asked.push(page);
        let placed = match &bytes {
            Some(bytes) => uffd.place(page, bytes),
            None => uffd.place_zeros(page, 1),
        };
        assert_eq!(placed.unwrap(), 1);
    }
    let (whole, zeros) = toucher.join().unwrap();
    assert_eq!(asked, [last, 1]);
    assert_eq!((whole, zeros), ([0x0707_0707_0707_0707; 32], [0; 32]));
    // What was written since stays.
    assert_eq!(uffd.place_zeros(last, 1).unwrap(), 0);
    assert_eq!(ram.memory().read_obj::<u16>(gpa).unwrap(), 0x0700);
    // Around pages that are there, and over the hole.
    let hole = (3 << 30) / PAGE_SIZE;
    assert_eq!(uffd.place(0, &[1; 3 * 4096]).unwrap(), 2);
    assert_eq!(uffd.place_zeros(hole - 1, 2).unwrap(), 2);
    assert_eq!(uffd.place(hole - 2, &[2; 4 * 4096]).unwrap(), 2);
    let bytes = |gpa: u64| ram.memory().read_obj::<u8>(GuestAddress(gpa)).unwrap();
    let around = [0, 1, 2, hole - 2, hole - 1].map(|page| bytes(page * PAGE_SIZE));
    assert_eq!(around, [1, 0, 1, 2, 0]);
    assert_eq!([0, 1].map(|page| bytes((4 << 30) + page * PAGE_SIZE)), [0, 2]);
    assert_eq!(
        uffd.place(last - 1, &[9; 3 * 4096]).unwrap_err().kind(),
        io::ErrorKind::InvalidInput
    );
    uffd.end().unwrap();
    assert_eq!(bytes(9 * PAGE_SIZE), 0);
}

#[test]
fn a_page_that_cannot_be_had_is_an_error_for_a_system_call_and_never_zeros() {
    let ram = ram(1 << 20);
    let uffd = match Uffd::watch(&ram) {
        Err(UffdError::Open(error)) => return println!("left out: {error}"),
        other => other.unwrap(),
    };
    let file = tempfile::tempfile().unwrap();
    let writer = std::thread::spawn({
        let (file, ram) = (file.try_clone().unwrap(), ram.clone());
        move || write_out(&ram, 5, &file)
    });
    poll(&mut [PollFd::new(&uffd, PollFlags::IN)], None).unwrap();
    assert_eq!(uffd.next_fault().unwrap(), Some(5));
    let page = uffd.address_of(5).unwrap().0;
    uffd.deny(page, 4096).unwrap();
    uffd.deny(page, 1 << 40).unwrap_err();
    uffd.wake_all().unwrap();
    assert_eq!(writer.join().unwrap(), Err(Some(libc::EFAULT)));
    assert_eq!(file.metadata().unwrap().len(), 0);
}
