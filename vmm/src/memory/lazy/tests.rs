//! What those find who wait for pages that are given up, and those who come later.

use std::thread::spawn;

use vcpu_state::sync::Arc;
use vm_memory::{Bytes, GuestAddress};

use super::super::layout::PAGE_SIZE;
use super::super::uffd::UffdError;
use super::super::write_out::write_out;
use super::super::{GuestRam, MigrationMemory};
use super::{Counted, LazyRam};
use crate::config::MemoryConfig;

const PAGES: u64 = 16;

/// RAM of which page 3 has come; `None` where the host cannot.
fn coming() -> Option<(GuestRam, Arc<LazyRam>)> {
    let config = MemoryConfig { size: PAGES * PAGE_SIZE, ..MemoryConfig::default() };
    let ram = GuestRam::new(&config, 46).unwrap();
    let lazy = match LazyRam::watch(&ram, PAGES) {
        Err(UffdError::Open(error)) => {
            println!("left out: {error}");
            return None;
        }
        other => other.unwrap(),
    };
    lazy.place(3, &[7; 4096]).unwrap();
    lazy.go_live().unwrap();
    Some((ram, lazy))
}

fn await_waiter(lazy: &LazyRam) {
    while lazy.next_fault().unwrap().is_none() {
        lazy.poll(None).unwrap();
    }
}

fn gpa(page: u64) -> GuestAddress {
    GuestAddress(page * PAGE_SIZE)
}

#[test]
fn a_worker_that_waits_for_a_page_that_is_given_up_gets_an_error_and_the_process_lives() {
    let Some((ram, lazy)) = coming() else { return };
    let worker = spawn({
        let ram = ram.clone();
        move || ram.memory().read_obj::<u64>(gpa(5)).map_err(|error| error.to_string())
    });
    await_waiter(&lazy);
    lazy.give_up().unwrap();
    worker.join().unwrap().unwrap_err();
    // Nor does anybody later, by whatever way.
    ram.memory().read_obj::<u64>(gpa(5)).unwrap_err();
    ram.memory().write_obj(1_u64, gpa(6)).unwrap_err();
    ram.memory().write_slice(&[1; 5000], gpa(3)).unwrap_err();
    ram.memory().load::<u16>(gpa(15), std::sync::atomic::Ordering::Acquire).unwrap_err();
    let memory = MigrationMemory::new(&ram).unwrap();
    let mut page = [0; 4096];
    migration::memory::SourceMemory::read(&memory, 5, &mut page).unwrap_err();
    // What is there is there.
    assert_eq!(ram.memory().read_obj::<u16>(gpa(3)).unwrap(), 0x0707);
}

#[test]
fn a_system_call_that_waits_for_a_page_that_is_given_up_writes_no_zeros() {
    let Some((ram, lazy)) = coming() else { return };
    let file = tempfile::tempfile().unwrap();
    let writer = spawn({
        let (file, ram) = (file.try_clone().unwrap(), ram.clone());
        move || write_out(&ram, 5, &file)
    });
    await_waiter(&lazy);
    lazy.give_up().unwrap();
    assert_eq!(writer.join().unwrap(), Err(Some(libc::EFAULT)));
    // Not even when nobody watches the memory any more.
    drop(lazy);
    write_out(&ram, 5, &file).unwrap_err();
    assert_eq!(file.metadata().unwrap().len(), 0);
}

#[test]
fn what_comes_after_it_was_given_up_is_not_placed_and_what_came_before_stays() {
    let Some((ram, lazy)) = coming() else { return };
    lazy.give_up().unwrap();
    lazy.give_up().unwrap();
    lazy.place(5, &[1; 4096]).unwrap();
    lazy.place_zeros(6, 1, Counted::No).unwrap();
    lazy.end().unwrap();
    assert!(ram.is_given_up() && lazy.is_stopped() && ram.missing_bytes() > 0);
    for page in [5, 6] {
        ram.memory().read_obj::<u8>(gpa(page)).unwrap_err();
    }
    assert_eq!(ram.memory().read_obj::<u16>(gpa(3)).unwrap(), 0x0707);
}

#[test]
fn memory_that_has_all_come_is_not_given_up() {
    let Some((ram, lazy)) = coming() else { return };
    lazy.end().unwrap();
    lazy.give_up().unwrap();
    assert!(!ram.is_given_up());
    assert_eq!(ram.memory().read_obj::<u64>(gpa(5)).unwrap(), 0);
}
