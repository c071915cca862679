//! Two vCPUs at one device: both write DRIVER_OK at once, then both reset it at once.
//!
//! ```text
//!   first:   BAR ─▶ 1 ─▶ negotiates, sets queues up ─▶ 2 ─▶ DRIVER_OK ─▶ 3 ─▶ reset ─▶ 4 …
//!   second:         1 ─▶ looks for the registers  ──▶ 2 ─▶ DRIVER_OK ─▶ 3 ─▶ reset ─▶ 4 …
//! ```
//!
//! A number is a place in [`Line`] at which both meet. The lower vCPU is the first; whoever ends, in whatever way, says
//! so there.

use crate::arena::Arena;
use crate::io::Line;
use crate::pci::Function;
use crate::registers::Way;
use crate::shared::storm;
use crate::storm::Storm;
use crate::virtio::Device;

/// The place of a vCPU that has ended.
const ENDED: u64 = u64::MAX;
/// Places of one round.
const PLACES: u64 = 4;

pub fn run(line: &Line, vcpu: u64) -> Result<(), u64> {
    let other = line.argument(1);
    let pair = Pair { own: line, other: Line::of(other) };
    let function = Function::virtio(line.argument(0))?;
    let storm = Storm::new(line, vcpu, line.argument(2), line.argument(3));
    let end = if vcpu < other {
        first(&pair, function, storm, vcpu)
    } else {
        second(&pair, function, storm)
    };
    line.arrive(ENDED);
    end
}

struct Pair<'a> {
    own: &'a Line,
    other: Line,
}

impl Pair<'_> {
    /// Waits until both are there; not if the other one has ended.
    fn meet(&self, place: u64) -> Option<()> {
        self.own.arrive(place);
        loop {
            match self.other.arrived() {
                ENDED => return None,
                at if at >= place => return Some(()),
                _ => core::hint::spin_loop(),
            }
        }
    }
}

fn first(pair: &Pair, function: Function, mut storm: Storm, vcpu: u64) -> Result<(), u64> {
    let mut place = 0;
    while !storm.line.stopped() {
        if storm.now(storm::MOVE_BAR) {
            storm.move_bar(function);
        }
        let device = Device::open(function, Way::Bar)?;
        let Some(()) = pair.meet(place + 1) else { break };
        device.negotiate(0)?;
        device.all_queues(&mut Arena::of(vcpu));
        storm.step();
        let Some(()) = pair.meet(place + 2) else { break };
        device.driver_ok()?;
        storm.activated();
        let Some(()) = pair.meet(place + 3) else { break };
        device.reset()?;
        // Not earlier: the second one knows the BAR's old place.
        let Some(()) = pair.meet(place + 4) else { break };
        place += PLACES;
    }
    Ok(())
}

fn second(pair: &Pair, function: Function, mut storm: Storm) -> Result<(), u64> {
    let mut place = 0;
    loop {
        let Some(()) = pair.meet(place + 1) else { return Ok(()) };
        let device = Device::open(function, Way::Bar)?;
        let Some(()) = pair.meet(place + 2) else { return Ok(()) };
        device.driver_ok()?;
        storm.activated();
        let Some(()) = pair.meet(place + 3) else { return Ok(()) };
        device.reset()?;
        let Some(()) = pair.meet(place + 4) else { return Ok(()) };
        place += PLACES;
    }
}
