//! Memory that comes and goes: requests of a memory device, and what the memory holds.

use crate::arena::Arena;
use crate::io::{Address, Line};
use crate::pci::Function;
use crate::registers::Way;
use crate::shared::{HOT, HOT_SIZE, OUTCOME_DATA, OUTCOME_NEEDS_RESET, OUTCOME_NO_DEVICE};
use crate::virtio::{Device, NEXT, WRITE};

const DEVICE_ID: u16 = 0x1058;
/// The capability of the device's own registers, and two of them.
const DEVICE_REGISTERS: u8 = 4;
const PLUGGED_SIZE: u64 = 40;
const REQUESTED_SIZE: u64 = 48;

/// One request.
pub fn request(line: &Line, vcpu: u64) -> Result<(), u64> {
    let function = Function::virtio(line.argument(0))?;
    if function.device_id() != DEVICE_ID {
        return Err(OUTCOME_NO_DEVICE);
    }
    let device = Device::open(function, Way::Bar)?;
    device.negotiate(0b11)?;
    let mut arena = Arena::of(vcpu);
    let mut queue = device.queue(0, 8, &mut arena);
    device.driver_ok()?;
    let request = arena.take(64);
    let answer = request.at(32);
    request.write64(line.argument(1));
    request.at(8).write64(line.argument(2));
    request.at(16).write64(line.argument(3));
    queue.describe(0, request, 24, NEXT);
    queue.describe(1, answer, 10, WRITE);
    queue.offer(0);
    queue.notify();
    let mut idle = 0_u32;
    while queue.used().is_none() {
        core::hint::spin_loop();
        idle = idle.wrapping_add(1);
        if idle % 0x10_0000 == 0 && device.needs_reset() {
            return Err(OUTCOME_NEEDS_RESET);
        }
    }
    line.result(1, u64::from(answer.read16()));
    line.result(2, u64::from(answer.at(8).read16()));
    let registers = function.config.at(function.capability(DEVICE_REGISTERS)?).at(8).read32();
    let register = |offset| Address(function.bar() + u64::from(registers) + offset);
    let read = |offset| {
        u64::from(register(offset).read32()) | u64::from(register(offset + 4).read32()) << 32
    };
    line.result(3, read(PLUGGED_SIZE));
    line.result(4, read(REQUESTED_SIZE));
    Ok(())
}

/// Writes to each 512 bytes of memory what depends on place and seed, or reads whether that is there.
pub fn words(line: &Line, write: bool) -> Result<(), u64> {
    let (start, bytes, seed) = (line.argument(0), line.argument(1), line.argument(2));
    if !(HOT..HOT + HOT_SIZE).contains(&start) || bytes > HOT + HOT_SIZE - start {
        return Err(OUTCOME_DATA);
    }
    for (rounds, at) in (start..start + bytes).step_by(512).enumerate() {
        let word = (at ^ seed << 40).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let expected = if seed == 0 { 0 } else { word };
        if write {
            Address(at).write64(expected);
        } else if Address(at).read64() != expected {
            line.result(1, at);
            return Err(OUTCOME_DATA);
        }
        line.progress(rounds as u64);
    }
    Ok(())
}
