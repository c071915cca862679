//! A storm: one device is reset, negotiated with, activated and used, over and over, by every way there is.

use crate::arena::Arena;
use crate::block::{self, Slots};
use crate::io::{Line, Random};
use crate::pci::Function;
use crate::registers::Way;
use crate::shared::{OUTCOME_NO_DEVICE, storm};
use crate::virtio::Device;

/// Where BARs are moved to: places of 64 KiB, of which each vCPU has 16 of its own.
const PLACES: u64 = 0xE800_0000;
const PLACE: u64 = 0x1_0000;
const PLACES_EACH: u64 = 16;
/// Requests of one activation.
const REQUESTS: u64 = 4;
const BYTES: u64 = 4096;

pub fn run(line: &Line, vcpu: u64) -> Result<(), u64> {
    let (slot, what) = (line.argument(0), line.argument(1));
    let mut random = Random::new(line.argument(2) ^ vcpu << 48);
    let function = Function::virtio(slot)?;
    let is_block = function.device_id() == block::DEVICE_ID;
    let [mut activations, mut requests, mut moves] = [0; 3];
    while !line.stopped() {
        if what & storm::MOVE_BAR != 0 && random.below(2) == 0 {
            let place = vcpu * PLACES_EACH + random.below(PLACES_EACH);
            function.move_bar(PLACES + PLACE * place);
            moves += 1;
        }
        let window = what & storm::WINDOW != 0 && random.below(2) == 0;
        let device = Device::open(function, if window { Way::Window } else { Way::Bar })?;
        device.negotiate(0)?;
        let mut arena = Arena::of(vcpu);
        let mut queue = device.queue(0, 64, &mut arena);
        device.queues_besides_first(&mut arena);
        device.driver_ok()?;
        activations += 1;
        if what & storm::REQUESTS != 0 {
            if !is_block {
                return Err(OUTCOME_NO_DEVICE);
            }
            let slots = Slots::of(&mut arena, BYTES, REQUESTS);
            // Now and then the reset meets requests in flight.
            let awaited = random.below(REQUESTS + 1);
            block::read_some(&device, &mut queue, &slots, REQUESTS, awaited)?;
            requests += awaited;
        }
        line.result(1, activations);
        line.result(2, requests);
        line.result(3, moves);
        line.progress(activations);
    }
    Device::open(function, Way::Bar)?.reset()
}
