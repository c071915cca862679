//! Devices whose own part is a number or two, or nothing.

use std::io;

use vm_memory::GuestAddress;

use super::*;
use crate::virtio::balloon::{Balloon, BalloonOptions, PageReturn};
use crate::virtio::mem::{BLOCK_SIZE, MemDevice, MemHost, MemOptions};
use crate::virtio::rng::Rng;
use crate::virtio::testing::Buffers;

struct Host;

impl PageReturn for Host {
    fn discard(&self, _: GuestAddress, _: u64) -> io::Result<()> {
        Ok(())
    }
}

impl MemHost for Host {
    fn plug(&self, _: GuestAddress, _: u64) -> io::Result<()> {
        Ok(())
    }
    fn unplug(&self, _: GuestAddress, _: u64) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_request_for_entropy_that_waits_is_answered_in_the_next_machine() {
    let dir = tempfile::TempDir::new().unwrap();
    let path = dir.path().join("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RWXU).unwrap();
    // Held open at both ends, so that it never ends.
    let mut source = std::fs::File::options().read(true).write(true).open(&path).unwrap();
    let device = || Arc::new(Rng::open("rng0", &path).unwrap()) as Arc<dyn VirtioDevice>;
    let mut machine = Machine::new(device(), Driver::queues(1, 16));
    machine.start(0);
    let sent = machine.drivers[0].send(&Buffers { readable: vec![], writable: vec![4] });
    let mut machine = machine.moved(device);
    io::Write::write_all(&mut source, b"good").unwrap();
    let used = machine.await_used(0);
    assert_eq!(used, (sent.head, 4));
    assert_eq!(machine.drivers[0].read(sent.writable[0].0, 4), b"good");
}

#[test]
fn a_balloon_is_as_full_as_it_was_and_its_guest_is_asked_for_the_same() {
    let device = |size| {
        let options = BalloonOptions { size, ..BalloonOptions::default() };
        Arc::new(Balloon::new("balloon".into(), options, Arc::new(Host)).unwrap())
    };
    let first = device(0);
    let mut machine = Machine::new(Arc::clone(&first) as _, Driver::queues(2, 16));
    machine.start(0);
    first.set_target(40 << 12).unwrap();
    machine.write(0x2004, 4, 30);
    let second = device(0);
    let machine = machine.moved(|| Arc::clone(&second) as _);
    assert_eq!((second.target(), second.actual()), (40 << 12, 30 << 12));
    machine.await_state(State::Active);
    // The driver that begins anew has nothing in it.
    machine.write(STATUS, 1, 0);
    assert_eq!((second.target(), second.actual()), (40 << 12, 0));
}

fn memory(blocks: u64) -> Arc<MemDevice> {
    let options = MemOptions {
        gpa: GuestAddress(1 << 32),
        size: blocks * BLOCK_SIZE,
        requested: 0,
        proximity_domain: 0,
    };
    let device = MemDevice::new("mem".into(), options).unwrap();
    device.start(Arc::new(Host));
    Arc::new(device)
}

fn ask(machine: &mut Machine, kind: u64, block: u64, count: u64) -> Vec<u8> {
    let words = [kind, (1 << 32) + block * BLOCK_SIZE, count].map(u64::to_le_bytes);
    let request = words.concat();
    let sent = machine.drivers[0].send(&Buffers { readable: vec![&request], writable: vec![10] });
    assert_eq!(machine.await_used(0).0, sent.head);
    machine.drivers[0].read(sent.writable[0].0, 10)
}

#[test]
fn what_is_plugged_stays_plugged() {
    let first = memory(70);
    let mut machine = Machine::new(Arc::clone(&first) as _, Driver::queues(1, 16));
    machine.start(0);
    first.set_requested(6 * BLOCK_SIZE).unwrap();
    assert_eq!(ask(&mut machine, 0, 62, 5)[0], 0, "plugged");
    let second = memory(70);
    let mut machine = machine.moved(|| Arc::clone(&second) as _);
    assert_eq!((second.requested(), second.plugged()), (6 * BLOCK_SIZE, 5 * BLOCK_SIZE));
    for (block, count, state) in [(62, 5, 0), (0, 62, 1), (67, 3, 1), (0, 70, 2)] {
        assert_eq!(ask(&mut machine, 3, block, count), [0, 0, 0, 0, 0, 0, 0, 0, state, 0]);
    }
    assert_eq!(ask(&mut machine, 0, 0, 2)[0], 1, "no more than is asked for");
    assert_eq!(ask(&mut machine, 1, 62, 5)[0], 0, "unplugged");
    assert_eq!(second.plugged(), 0);
}

#[test]
fn memory_of_another_size_or_with_blocks_beyond_its_end_is_refused() {
    let machine = Machine::new(memory(70), Driver::queues(1, 16));
    let saved = machine.function.save();
    let other = Machine::new(memory(71), Driver::queues(1, 16));
    let error = other.function.restore(&saved).unwrap_err().to_string();
    assert!(error.starts_with("the region (its start and size)"), "{error}");
    let mut damaged = saved.clone();
    let crate::virtio::saved::SavedDevice::Mem(mem) = &mut damaged.device else { panic!() };
    mem.plugged[1] = 1 << 6;
    let error = machine.function.restore(&damaged).unwrap_err().to_string();
    assert_eq!(error, "the plugged blocks cannot be [0, 64]");
}
