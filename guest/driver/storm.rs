//! A storm: one device is reset, negotiated with, activated and used, over and over, by every way there is.

use crate::arena::Arena;
use crate::block::{self, Slots};
use crate::io::{Line, Random};
use crate::pci::{self, Function};
use crate::registers::Way;
use crate::shared::{OUTCOME_LATE_WRITE, OUTCOME_NO_DEVICE, storm};
use crate::virtio::Device;

/// Where BARs are moved to: places of 64 KiB, of which each vCPU has 16 of its own.
const PLACES: u64 = 0xE800_0000;
const PLACE: u64 = 0x1_0000;
const PLACES_EACH: u64 = 16;
/// Requests of one activation.
const REQUESTS: u64 = 4;
const BYTES: u64 = 4096;

/// What a storm has come to, and how it goes on.
pub struct Storm<'a> {
    pub line: &'a Line,
    vcpu: u64,
    what: u64,
    pub random: Random,
    pub activations: u64,
    requests: u64,
    moves: u64,
    steps: u64,
}

impl<'a> Storm<'a> {
    pub fn new(line: &'a Line, vcpu: u64, what: u64, seed: u64) -> Self {
        let random = Random::new(seed ^ vcpu << 48);
        Self { line, vcpu, what, random, activations: 0, requests: 0, moves: 0, steps: 0 }
    }

    /// Whether what is done besides includes this, and now is the time.
    pub fn now(&mut self, what: u64) -> bool {
        self.what & what != 0 && self.random.below(2) == 0
    }

    /// Something has gone on.
    pub fn step(&mut self) {
        self.steps += 1;
        self.line.progress(self.steps);
    }

    pub fn move_bar(&mut self, function: Function) {
        let place = self.vcpu * PLACES_EACH + self.random.below(PLACES_EACH);
        function.move_bar(PLACES + PLACE * place);
        self.moves += 1;
        self.line.result(3, self.moves);
    }

    pub fn activated(&mut self) {
        self.activations += 1;
        self.line.result(1, self.activations);
        self.step();
    }
}

pub fn run(line: &Line, vcpu: u64) -> Result<(), u64> {
    let (slot, what) = (line.argument(0), line.argument(1));
    let mut storm = Storm::new(line, vcpu, what, line.argument(2));
    let function = Function::virtio(slot)?;
    let uses = what & storm::REQUESTS != 0;
    if uses && function.device_id() != block::DEVICE_ID {
        return Err(OUTCOME_NO_DEVICE);
    }
    let mut arena = Arena::of(vcpu);
    while !line.stopped() {
        if storm.now(storm::MOVE_BAR) {
            storm.move_bar(function);
        }
        let way = if storm.now(storm::WINDOW) { Way::Window } else { Way::Bar };
        let device = Device::open(function, way)?;
        // What the device had before the reset it has let go of when the reset is done.
        device.reset()?;
        arena.poison();
        storm.step();
        device.negotiate(0)?;
        storm.step();
        if !arena.is_poisoned() {
            return Err(OUTCOME_LATE_WRITE);
        }
        arena = Arena::of(vcpu);
        let mut queue = device.queue(0, 64, &mut arena);
        device.queues_besides_first(&mut arena);
        storm.step();
        device.driver_ok()?;
        storm.activated();
        if uses {
            let slots = Slots::of(&mut arena, BYTES, REQUESTS);
            // Now and then the reset meets requests in flight.
            let awaited = storm.random.below(REQUESTS + 1);
            block::read_some(&device, &mut queue, &slots, REQUESTS, awaited)?;
            storm.requests += awaited;
            line.result(2, storm.requests);
        }
        if what & storm::EJECT != 0 && pci::let_go() & 1 << slot != 0 {
            return Ok(());
        }
    }
    Device::open(function, Way::Bar)?.reset()
}

/// One activation.
pub fn activate(line: &Line, vcpu: u64) -> Result<(), u64> {
    let device = Device::open(Function::virtio(line.argument(0))?, Way::Bar)?;
    device.negotiate(0)?;
    device.all_queues(&mut Arena::of(vcpu));
    let end = device.driver_ok();
    line.result(1, u64::from(device.status()));
    end
}
