//! A queue is reset with requests in flight and set up again, over and over, while its device stays active.

use crate::arena::Arena;
use crate::block::{self, Slots};
use crate::io::{Line, Random};
use crate::pci::Function;
use crate::registers::Way;
use crate::shared::{OUTCOME_FEATURES, OUTCOME_LATE_WRITE, OUTCOME_NO_DEVICE};
use crate::virtio::{Device, RING_RESET};

/// Requests between two resets.
const REQUESTS: u64 = 4;
const BYTES: u64 = 4096;

pub fn run(line: &Line, vcpu: u64) -> Result<(), u64> {
    let function = Function::virtio(line.argument(0))?;
    if function.device_id() != block::DEVICE_ID {
        return Err(OUTCOME_NO_DEVICE);
    }
    let mut random = Random::new(line.argument(2));
    let device = Device::open(function, Way::Bar)?;
    if device.negotiate(RING_RESET)? & RING_RESET == 0 {
        return Err(OUTCOME_FEATURES);
    }
    let mut arena = Arena::of(vcpu);
    let mut queue = device.queue(0, 64, &mut arena);
    device.driver_ok()?;
    let mut awaited = 0;
    for round in 1..=line.argument(1) {
        let slots = Slots::of(&mut arena, BYTES, REQUESTS);
        // Now and then the reset meets requests in flight.
        let wait_for = random.below(REQUESTS + 1);
        block::read_some(&device, &mut queue, &slots, REQUESTS, wait_for)?;
        awaited += wait_for;
        device.reset_queue(0)?;
        // What the queue had, the device has let go of.
        arena.poison();
        line.progress(2 * round - 1);
        if !arena.is_poisoned() {
            return Err(OUTCOME_LATE_WRITE);
        }
        arena = Arena::of(vcpu);
        // Of another size each time.
        queue = device.queue(0, 16 << (round % 3), &mut arena);
        line.result(1, round);
        line.result(2, awaited);
        line.progress(2 * round);
    }
    device.reset()
}
