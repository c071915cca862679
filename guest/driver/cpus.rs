//! vCPUs that come and go: what ACPI methods would do, and what no ACPI method would do.

use crate::io::{Address, Line, Random};
use crate::shared::{CPU_HOTPLUG, GED, OUTCOME_REGISTER, PCI_HOTPLUG, hammer};

const SELECT: Address = Address(CPU_HOTPLUG);
const STATUS: Address = Address(CPU_HOTPLUG + 4);
const COMMAND: Address = Address(CPU_HOTPLUG + 8);
const PCI_UP: Address = Address(PCI_HOTPLUG);

const ENABLED: u32 = 1;
const INSERTING: u32 = 2;
const REMOVING: u32 = 4;
const EJECT: u32 = 8;
const NONE: u32 = u32::MAX;

/// Accesses the registers at random.
pub fn hammer(line: &Line) -> Result<(), u64> {
    let (what, vcpus) = (line.argument(0), line.argument(1));
    let mut random = Random::new(line.argument(2));
    let mut accesses = 0;
    while !line.stopped() {
        match random.below(7) {
            // One more than there can be is none.
            0 if what & hammer::SELECT != 0 => SELECT.write32(random.below(vcpus + 1) as u32),
            1 if what & hammer::SELECT != 0 => COMMAND.write32(0),
            2 => STATUS.write32(INSERTING | REMOVING),
            3 => must(line, STATUS, |status| {
                status & !(ENABLED | INSERTING | REMOVING) == 0 && status != INSERTING
            })?,
            4 => must(line, SELECT, |vcpu| u64::from(vcpu) < vcpus || vcpu == NONE)?,
            5 => must(line, PCI_UP, |slots| slots == 0)?,
            _ => must(line, Address(GED), |events| events & !0xF == 0)?,
        }
        accesses += 1;
        line.progress(accesses);
        line.result(1, accesses);
    }
    Ok(())
}

fn must(line: &Line, register: Address, be: impl Fn(u32) -> bool) -> Result<(), u64> {
    let value = register.read32();
    if be(value) {
        return Ok(());
    }
    line.result(1, register.0);
    line.result(2, u64::from(value));
    Err(OUTCOME_REGISTER)
}

/// What `_EJ0` does, and then `_STA`. Who lets go of itself may not come to the end of it.
pub fn eject(line: &Line) {
    SELECT.write32(line.argument(0) as u32);
    STATUS.write32(EJECT);
    line.result(1, u64::from(STATUS.read32()));
}

/// What the scan method does.
pub fn scan(line: &Line) {
    let mut found = 0;
    loop {
        COMMAND.write32(0);
        let vcpu = SELECT.read32();
        if vcpu == NONE {
            line.result(1, found);
            return;
        }
        let status = STATUS.read32();
        STATUS.write32(status & (INSERTING | REMOVING));
        found += 1;
        if found < 15 {
            line.result(1 + found, u64::from(vcpu) << 8 | u64::from(status));
        }
    }
}
